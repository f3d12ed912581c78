// How float32 products are formed where the device has faster units: what set_float32_matmul_precision says.
//
// For launchers that choose among kernels. Invariant: scratch does not depend on the mode, so it may change at any time; the replays
// of a captured program are told apart by it. Read next: kernels/cuda/gemm/gemm.cuh, kernels/gemm/gemm_tiles_cpu.cpp.
#pragma once

#include <atomic>
#include <cstdint>

namespace gorgo {

enum class Float32Mode : uint8_t {
  highest,  // as accurate as float32 multiply-adds
  high,     // factors may be read with eleven significant bits (tf32)
  medium,   // or with eight (bfloat16)
};

inline std::atomic<Float32Mode> float32_mode{Float32Mode::highest};

// The variable that kernels look at: in libgorgo_cuda.so the module's own, of which it is told when it is opened.
inline const std::atomic<Float32Mode>* float32_mode_in_use = &float32_mode;

// For kernel files of the CPU: an inline variable would be one of their own.
[[nodiscard]] Float32Mode float32_mode_now() noexcept;

}  // namespace gorgo

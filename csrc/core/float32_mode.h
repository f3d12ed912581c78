// How float32 products are formed where the device has faster units: what set_float32_matmul_precision says.
//
// Invariant: who calls a kernel on such a device puts the mode into KernelArgs; kernels never read it here. The replays of a captured
// program are told apart by it. Read next: opdef/enqueue.cpp, kernels/cuda/gemm/gemm.cuh.
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

}  // namespace gorgo

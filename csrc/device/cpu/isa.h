// Which instruction set's kernels this process uses: found once, from the CPU, the operating system and GORGO_ISA.
//
// Invariant: this probe is compiled without any arch flag, so that it runs on every CPU.
#pragma once

#include <cstdint>
#include <string>

namespace gorgo {

// Ascending; on other processors than x86-64 only Base exists. What a set adds may be little: Avx512Vnni and Avx512Bf16 are
// AVX-512 with products of bytes, and of bfloat16 too; Amx has tiles for both, and for float32 as pieces of bfloat16.
enum class Isa : uint8_t { Base, Avx2, Avx512, Avx512Vnni, Avx512Bf16, Amx };

[[nodiscard]] const char* isa_name(Isa isa) noexcept;
// The best set that this CPU, this operating system and this build have.
[[nodiscard]] Isa best_isa() noexcept;
// Whether GORGO_ISA may name it: best_isa() and what is below; and Amx, which is never best then, where its tiles are a model
// (kernels/gemm/tiles.h).
[[nodiscard]] bool is_available(Isa isa) noexcept;
// The one in use: best_isa(), or the available one that GORGO_ISA names. ValueError for an unknown or unavailable name.
[[nodiscard]] Isa chosen_isa();
// The processor's own name, for reports.
[[nodiscard]] std::string cpu_model();

}  // namespace gorgo

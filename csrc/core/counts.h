// Small sums about numbers of blocks, tasks and tiles, for kernel files of every kind.
//
// Invariant: inlined everywhere, so that no copy compiled for one instruction set can be linked into another.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace gorgo {

GORGO_INLINE constexpr int64_t least(int64_t a, int64_t b) noexcept { return a < b ? a : b; }
GORGO_INLINE constexpr int64_t most(int64_t a, int64_t b) noexcept { return a > b ? a : b; }
GORGO_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) noexcept { return (a + b - 1) / b; }
GORGO_INLINE constexpr int64_t round_up(int64_t a, int64_t b) noexcept { return ceil_div(a, b) * b; }

}  // namespace gorgo

// Small sums about numbers of blocks, tasks and tiles.
//
// For kernel files (compiled per ISA, and for CUDA): each set has its own, so that none can be linked into another.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace gorgo::GORGO_ISA_NS {

GORGO_INLINE constexpr int64_t least(int64_t a, int64_t b) noexcept { return a < b ? a : b; }
GORGO_INLINE constexpr int64_t most(int64_t a, int64_t b) noexcept { return a > b ? a : b; }
GORGO_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) noexcept { return (a + b - 1) / b; }
GORGO_INLINE constexpr int64_t round_up(int64_t a, int64_t b) noexcept { return ceil_div(a, b) * b; }

}  // namespace gorgo::GORGO_ISA_NS

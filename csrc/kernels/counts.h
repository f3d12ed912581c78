// Small sums about numbers of blocks, tasks and tiles.
//
// For kernel files (compiled per ISA).
#pragma once

#include <cstdint>

namespace gorgo::GORGO_ISA_NS {

// Each set has its own; inlined always, so that none can be linked into another.
#define GORGO_COUNT [[gnu::always_inline]] inline constexpr std::int64_t
GORGO_COUNT least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
GORGO_COUNT most(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
GORGO_COUNT ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
GORGO_COUNT round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }
#undef GORGO_COUNT

}  // namespace gorgo::GORGO_ISA_NS

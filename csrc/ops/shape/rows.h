// Rows of an output, shared out among tasks: for ops whose lines depend on where they lie.
//
// For kernel files (compiled per ISA). Read next: kernels_cpu.cpp, kernels_cpu_padding.cpp.
#pragma once

#include "kernels/move.h"

namespace gorgo::GORGO_ISA_NS {

[[nodiscard]] GORGO_INLINE int64_t row_length(const KOperand& out) noexcept {
  return out.rank > 0 ? out.shape[out.rank - 1] : 1;
}
[[nodiscard]] GORGO_INLINE int64_t rows_per_task(const KOperand& out) noexcept {
  const int64_t rows = kMoveGrain / (row_length(out) > 0 ? row_length(out) : 1);
  return rows > 0 ? rows : 1;
}

struct TaskRows {
  int64_t begin, end;
};
[[nodiscard]] GORGO_INLINE TaskRows rows_of_task(const KOperand& out, int64_t task) noexcept {
  const int64_t rows = out.numel / row_length(out);
  const int64_t begin = task * rows_per_task(out);
  return {begin, begin + rows_per_task(out) < rows ? begin + rows_per_task(out) : rows};
}

namespace {
[[maybe_unused]] int64_t row_tasks(const KernelArgs& args) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return 0;
  const int64_t per_task = rows_per_task(out);
  return (out.numel / row_length(out) + per_task - 1) / per_task;
}
}  // namespace

}  // namespace gorgo::GORGO_ISA_NS

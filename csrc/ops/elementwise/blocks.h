// Elementwise work on operands of which some lie across others, as x + y.T does: the elements are walked by blocks of rows and
// columns, so that what lies across is read in whole lines of the cache and transposed on its way.
//
// Invariant: which elements make a block depends on shapes and strides alone; the blocks are shared out among as many tasks as
// the elements would be in order.
// For kernel files (compiled per ISA). Read next: walking.h.
#pragma once

#include "ops/elementwise/walking.h"

namespace gorgo::GORGO_ISA_NS {

// An axis of the work with what a step along it is, in bytes, for each operand.
struct BlockAxis {
  static constexpr int kMostOperands = 12;
  int64_t length = 1;
  int64_t stride[kMostOperands];
};

struct BlockPlan {
  static constexpr int kMaxAxes = 8;
  static constexpr int64_t kFewestElements = 1024;  // fewer are not worth a plan

  bool applies = false;
  bool rightwards = false;  // the next block begins at the next columns, else at the next rows
  int rank = 0;             // of what is around the blocks
  BlockAxis around[kMaxAxes];
  BlockAxis down;   // from row to row
  BlockAxis along;  // from column to column
  int64_t rows = 1;
  int64_t columns = 1;
  int64_t run_rows = 1;  // rows to a run: more than one where they follow each other in all operands
  int64_t row_blocks = 1;
  int64_t column_blocks = 1;
  int64_t units = 0;

  // Operands are numbered inputs first.
  BlockPlan(const KOperand* const* in, int in_count, const KOperand* out, int out_count) noexcept;
  [[nodiscard]] BlockSteps steps(int operand, int64_t size) const noexcept {
    return {down.stride[operand], along.stride[operand], columns * size};
  }
};

}  // namespace gorgo::GORGO_ISA_NS

// Operands that do not lie as a loop wants them, handed out and taken in as runs of contiguous elements of the compute type.
//
// A Walker goes through an operand in the order of the output's elements, a chunk at a time. Where one operand's rows lie along
// another's columns, that order tears one of them apart: then all go by blocks (blocks.h), and those that lie across are
// transposed by blocks in the first-level cache. Readers and Writers do either.
// For kernel files (compiled per ISA). Invariant: how a run was come by does not show in its elements.
// Read next: kernels_cpu_staged.cpp, staging.h.
#pragma once

#include "core/shape.h"
#include "ops/elementwise/lanes.h"

namespace gorgo::GORGO_ISA_NS {

// Walks the elements of an operand in the order of the output's, from a given position on.
class Walker {
 public:
  void start(const KOperand& of, const KOperand& over, int64_t size, int64_t position) noexcept;
  // How many elements one step walks, and whether they are the same again and again.
  [[nodiscard]] int64_t row() const noexcept { return shape_[rank_ - 1]; }
  [[nodiscard]] bool repeats() const noexcept { return rank_ == 2 && stride_[0] == 0; }
  [[nodiscard]] bool begins_row() const noexcept { return index_[rank_ - 1] == 0; }
  // The element that the next n all are, or null. Does not advance.
  [[nodiscard]] const unsigned char* held(int64_t n) const noexcept {
    const int last = rank_ - 1;
    return stride_[last] == 0 && shape_[last] - index_[last] >= n ? at_ : nullptr;
  }
  // The next n elements where they lie, or null when they do not lie side by side. Does not advance.
  [[nodiscard]] unsigned char* in_place(int64_t n) const noexcept {
    const int last = rank_ - 1;
    return stride_[last] == size_ && shape_[last] - index_[last] >= n ? at_ : nullptr;
  }
  void skip(int64_t n) noexcept;
  void gather(void* to, int64_t n) noexcept;
  // The same to where kSlackBytes more may be written.
  void gather_to_room(void* to, int64_t n) noexcept;
  void scatter(const void* from, int64_t n) noexcept;

 private:
  template <class F>
  void each_run(int64_t n, F f) noexcept;
  template <class Unit>
  void repeat_each(void* to, int64_t n) noexcept;

  int64_t size_ = 0;
  int rank_ = 0;
  unsigned char* at_ = nullptr;
  int64_t shape_[kMaxRank];
  int64_t stride_[kMaxRank];
  int64_t index_[kMaxRank];
};

// Whether one element stands for every position: a scalar, or one that was spread over a shape, as the gradient of a sum is.
GORGO_INLINE bool is_single(const KOperand& of) noexcept {
  if (of.contiguous || of.numel == 1) return of.numel == 1;
  for (int i = 0; i < of.rank; ++i) {
    if (of.shape[i] != 1 && of.strides[i] != 0) return false;
  }
  return true;
}

// How an operand lies in blocks of rows and columns, which its elements are handed out by: strides in bytes. What lies across has
// columns side by side, and is transposed on its way.
struct BlockSteps {
  int64_t row = 0;
  int64_t column = 0;
  int64_t pitch = 0;  // from row to row of what is transposed
  [[nodiscard]] bool lies_across(int64_t size) const noexcept { return row == size && column != size && column != 0; }
  [[nodiscard]] bool is_single() const noexcept { return row == 0 && column == 0; }
};
// Where the runs of a block lie, or are to be put. Those of an operand that `waits` are made or stored one by one.
struct BlockRuns {
  unsigned char* at = nullptr;
  int64_t step = 0;  // from run to run
  bool waits = false;
};

// Hands out an operand chunk by chunk as contiguous memory of its compute type.
class Reader {
 public:
  // In the order of the output's elements; `chunk` is how many are asked for at a time.
  void start(const KOperand& of, const KOperand& over, bool raw, int64_t begin, int64_t end, int64_t chunk) noexcept;
  // How many elements one step walks; zero where that does not matter.
  [[nodiscard]] int64_t row() const noexcept { return kind_ == Kind::Walk ? walker_.row() : 0; }
  // Chunks will begin and end with rows of this length, as Chunks makes them.
  void walk_by(int64_t row) noexcept { repeats_ = kind_ == Kind::Walk && row == walker_.row() && walker_.repeats(); }
  const void* next(int64_t n) noexcept;

  // By blocks, in runs of `columns` elements or of several rows. A block begins `offset` bytes from the operand's data.
  void start_blocks(const KOperand& of, bool raw, const BlockSteps& steps) noexcept;
  BlockRuns enter(const KOperand& of, int64_t offset, int64_t rows, int64_t columns, int64_t run_rows) noexcept;
  unsigned char* next_run(int64_t n) noexcept;

 private:
  enum class Kind : uint8_t { InOrder, Splat, Walk, Repeat };
  void splat(const unsigned char* from, int64_t n) noexcept;
  const void* refill(int64_t n) noexcept;

  Kind kind_ = Kind::InOrder;
  bool repeats_ = false;
  const unsigned char* held_ = nullptr;  // what all of ready_ is
  int64_t held_count_ = 0;               // elements of ready_ that stay
  int64_t size_ = 0;
  const unsigned char* at_ = nullptr;  // the next element, or run of a block
  Conversion widen_ = nullptr;
  BlockSteps steps_;
  bool across_ = false;
  bool far_ = false;  // in memory, beyond the caches
  int64_t step_ = 0;
  Walker walker_;
  NarrowBuffer raw_;
  BlockBuffer ready_;
};

// Takes an output chunk by chunk.
class Writer {
 public:
  void start(const KOperand& of, bool raw, int64_t begin) noexcept;
  [[nodiscard]] int64_t row() const noexcept { return in_order_ ? 0 : walker_.row(); }
  // Where the loop is to put the next chunk, of n elements.
  void* room(int64_t n) noexcept;
  void done(int64_t n) noexcept;

  void start_blocks(const KOperand& of, bool raw, const BlockSteps& steps) noexcept;
  BlockRuns enter(const KOperand& of, int64_t offset, int64_t run_rows) noexcept;
  unsigned char* run_room() noexcept;
  void run_done(int64_t n) noexcept;
  void leave(int64_t rows, int64_t columns) noexcept;

 private:
  bool in_order_ = true;
  bool in_place_ = false;  // this chunk
  int64_t size_ = 0;
  unsigned char* at_ = nullptr;
  Conversion narrow_ = nullptr;
  BlockSteps steps_;
  bool across_ = false;
  bool streams_ = false;  // past the caches
  int64_t step_ = 0;
  unsigned char* block_ = nullptr;
  Walker walker_;
  NarrowBuffer raw_;
  BlockBuffer ready_;
};

}  // namespace gorgo::GORGO_ISA_NS

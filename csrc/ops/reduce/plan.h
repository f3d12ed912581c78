// How a reduction walks memory: which axes stay, which go, in what order, and how the work is cut into tasks.
//
// For kernel files (compiled per ISA). Invariant: the length of a chunk depends on what one output reduces over, never on how many
// outputs there are nor on threads; so an output's bits are the same in every batch.
// Read next: kernels_cpu.cpp.
#pragma once

#include "core/kernel_args.h"
#include "core/shape.h"
#include "kernels/vec.h"
#include "ops/reduce/axes.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Axes as walked, outermost first.
struct Walk {
  int rank = 0;
  int64_t size[kMaxRank];
  int64_t stride[kMaxRank];
  int64_t out[kMaxRank];

  GORGO_INLINE void push(int64_t n, int64_t in_stride, int64_t out_stride) noexcept {
    size[rank] = n;
    stride[rank] = in_stride;
    out[rank] = out_stride;
    ++rank;
  }
  // Puts the smallest step innermost (a step of zero, which repeats, counts as large), keeping the order of equals.
  GORGO_INLINE void sort_by_stride() noexcept {
    const auto key = [](int64_t s) { return s == 0 ? INT64_MAX : s < 0 ? -s : s; };
    for (int i = 1; i < rank; ++i) {
      for (int j = i; j > 0 && key(stride[j - 1]) < key(stride[j]); --j) {
        swap(size[j - 1], size[j]);
        swap(stride[j - 1], stride[j]);
        swap(out[j - 1], out[j]);
      }
    }
  }
  // Joins neighbours that one step walks.
  GORGO_INLINE void coalesce() noexcept {
    int kept = 0;
    for (int i = 0; i < rank; ++i) {
      if (kept > 0 && stride[kept - 1] == stride[i] * size[i] && out[kept - 1] == out[i] * size[i]) {
        size[kept - 1] *= size[i];
        stride[kept - 1] = stride[i];
        out[kept - 1] = out[i];
      } else {
        size[kept] = size[i];
        stride[kept] = stride[i];
        out[kept] = out[i];
        ++kept;
      }
    }
    rank = kept;
  }
  [[nodiscard]] GORGO_INLINE int64_t inner_size() const noexcept { return rank > 0 ? size[rank - 1] : 1; }
  [[nodiscard]] GORGO_INLINE int64_t inner_stride() const noexcept { return rank > 0 ? stride[rank - 1] : 1; }

 private:
  GORGO_INLINE static void swap(int64_t& a, int64_t& b) noexcept {
    const int64_t t = a;
    a = b;
    b = t;
  }
};

// A position in the outer axes of a walk (all, or all but the innermost).
class Cursor {
 public:
  [[gnu::noinline]] Cursor(const Walk& walk, int rank, int64_t at) noexcept : walk_(walk), rank_(rank) {
    for (int i = rank - 1; i >= 0; --i) {
      index_[i] = at % walk.size[i];
      at /= walk.size[i];
      in_ += index_[i] * walk.stride[i];
      out_ += index_[i] * walk.out[i];
    }
  }
  [[nodiscard]] GORGO_INLINE int64_t in() const noexcept { return in_; }
  [[nodiscard]] GORGO_INLINE int64_t out() const noexcept { return out_; }
  [[gnu::noinline]] void next() noexcept {
    for (int i = rank_ - 1; i >= 0; --i) {
      in_ += walk_.stride[i];
      out_ += walk_.out[i];
      if (++index_[i] < walk_.size[i]) return;
      index_[i] = 0;
      in_ -= walk_.stride[i] * walk_.size[i];
      out_ -= walk_.out[i] * walk_.size[i];
    }
  }

 private:
  const Walk& walk_;
  int rank_;
  int64_t in_ = 0;
  int64_t out_ = 0;
  int64_t index_[kMaxRank];
};

struct ReducePlan {
  static constexpr int64_t kRowChunk = 32768;   // elements of one output that a task folds at most, by rows
  static constexpr int64_t kColumnChunk = 512;  // and by columns
  static constexpr int64_t kStrip = 1024;       // outputs side by side, folded together
  // Smaller units share a task, of which large operands have no more than some: what each begins with is a hundredth of
  // the time of so few elements.
  static constexpr int64_t kTaskElements = 16384;
  static constexpr int64_t kMostTaskElements = 4 * kTaskElements;
  static constexpr int64_t kEnoughTasks = 16;

  Walk kept;
  Walk reduced;
  int64_t outputs = 1;
  int64_t count = 1;  // elements behind one output
  int64_t base = 0;   // offset of the first element walked
  bool by_columns = false;
  int64_t chunks = 1;  // of one output
  int64_t strips = 1;  // by columns: of one line of outputs
  int64_t units = 1;
  int64_t units_per_task = 1;
  int64_t lines_per_chunk = 1;  // by rows: whole runs of the innermost reduced axis in one chunk
  int64_t chunks_per_line = 1;  // or pieces that one such run is cut into

  // `ordered` keeps the reduced axes in their logical order (argmax counts positions).
  [[gnu::noinline]] ReducePlan(const KOperand& in, uint32_t mask, bool ordered) noexcept {
    int64_t out_stride[kMaxRank];
    int64_t running = 1;
    for (int i = in.rank - 1; i >= 0; --i) {
      out_stride[i] = running;
      if (((mask >> i) & 1u) == 0) running *= in.shape[i];
    }
    outputs = running;
    for (int i = 0; i < in.rank; ++i) {
      const int64_t n = in.shape[i];
      const bool goes = ((mask >> i) & 1u) != 0;
      if (goes) count *= n;
      if (n == 1) continue;
      if (!goes) {
        kept.push(n, in.strides[i], out_stride[i]);
      } else if (in.strides[i] < 0 && !ordered) {
        base += (n - 1) * in.strides[i];
        reduced.push(n, -in.strides[i], 0);
      } else {
        reduced.push(n, in.strides[i], 0);
      }
    }
    if (outputs == 0 || count == 0) {
      units = outputs == 0 ? 0 : 1;
      return;
    }
    if (!ordered) reduced.sort_by_stride();
    reduced.coalesce();
    kept.sort_by_stride();
    kept.coalesce();
    const auto step = [](const Walk& w) {
      const int64_t s = w.inner_stride();
      return w.rank == 0 || s == 0 ? INT64_MAX : s < 0 ? -s : s;
    };
    by_columns = kept.rank > 0 && step(kept) < step(reduced);
    if (ordered && reduced.rank > 1) by_columns = false;
    int64_t unit_elements = 0;
    if (by_columns) {
      const int64_t width = kept.inner_size();
      strips = (width + kStrip - 1) / kStrip;
      chunks = (count + kColumnChunk - 1) / kColumnChunk;
      units = outputs / width * strips * chunks;
      unit_elements = (width < kStrip ? width : kStrip) * (count < kColumnChunk ? count : kColumnChunk);
    } else {
      const int64_t length = reduced.inner_size();
      const int64_t lines = count / length;
      if (length >= kRowChunk) {
        chunks_per_line = (length + kRowChunk - 1) / kRowChunk;
        chunks = lines * chunks_per_line;
      } else {
        lines_per_chunk = kRowChunk / length;
        chunks = (lines + lines_per_chunk - 1) / lines_per_chunk;
      }
      units = outputs * chunks;
      unit_elements = count / chunks;
    }
    int64_t task_elements = units * unit_elements / kEnoughTasks;
    if (task_elements < kTaskElements) task_elements = kTaskElements;
    if (task_elements > kMostTaskElements) task_elements = kMostTaskElements;
    if (unit_elements < 1) unit_elements = 1;
    units_per_task = (task_elements + unit_elements - 1) / unit_elements;
  }
  [[nodiscard]] GORGO_INLINE int64_t tasks() const noexcept { return (units + units_per_task - 1) / units_per_task; }
};

// The most common call needs no plan: contiguous elements that all go into one output, in one chunk.
GORGO_INLINE bool is_one_run(const KernelArgs& args) noexcept {
  const KOperand& in = args.in[0];
  return in.contiguous && args.out[0].numel == 1 && in.numel <= ReducePlan::kRowChunk;
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

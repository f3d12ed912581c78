// How a reduction is cut up: axes that stay and axes that go, chunks, and what a thread reads of them at a time.
//
// Invariant: see fold.cuh; the plan follows from shapes and strides alone.
// Read next: fold_dense.cuh, fold.cuh.
#pragma once

#include "core/shape.h"
#include "kernels/cuda/reduce.cuh"

namespace gorgo::cuda {

// ---- the plan, made on the host ----

// Axes as walked, outermost first.
template <int kInputs>
struct FoldAxes {
  int rank = 0;
  int64_t size[kMaxRank];
  int64_t strides[kInputs + 1][kMaxRank];  // of the inputs, then of the output

  void push(int64_t n, const int64_t (&in)[kInputs], int64_t out) noexcept {
    size[rank] = n;
    for (int k = 0; k < kInputs; ++k) strides[k][rank] = in[k];
    strides[kInputs][rank] = out;
    ++rank;
  }
  // Puts the smallest step of the first input innermost (a step of zero, which repeats, counts as large), keeping the order
  // of equals.
  void sort_by_stride() noexcept {
    const auto key = [](int64_t s) { return s == 0 ? INT64_MAX : s < 0 ? -s : s; };
    const auto swap = [](int64_t& a, int64_t& b) {
      const int64_t t = a;
      a = b;
      b = t;
    };
    for (int i = 1; i < rank; ++i) {
      for (int j = i; j > 0 && key(strides[0][j - 1]) < key(strides[0][j]); --j) {
        swap(size[j - 1], size[j]);
        for (auto& s : strides) swap(s[j - 1], s[j]);
      }
    }
  }
};

template <int kInputs>
struct FoldPlan {
  static constexpr int kThreads = 256;
  static constexpr int64_t kRowAtOnce = 32768;  // elements of one output that one group folds without chunks
  static constexpr int64_t kRowChunk = 8192;
  static constexpr int64_t kMostRowChunks = 1024;  // two or three times as many blocks as large cards hold at once
  static constexpr int64_t kFewRows = 8;           // by columns: lanes fold so many rows alone
  static constexpr int64_t kColumnChunk = 256;
  static constexpr int64_t kMostColumnChunks = 4096;

  Walk<kInputs + 1> kept;  // inputs, then the output
  Walk<kInputs> reduced;
  int64_t base[kInputs];  // offsets of the first elements walked
  int64_t outputs = 1;
  int64_t count = 1;  // elements behind one output
  bool by_columns = false;
  int64_t chunk =
      1;  // elements of one output in a chunk; fits into 31 bits, for no memory holds more than 2**31 * 2048
  int64_t chunks = 1;

  // Axes whose bit in `mask` is set go. `ordered` keeps them in their logical order, for policies that ask for positions.
  FoldPlan(const KOperand* const (&in)[kInputs], uint32_t mask, bool ordered) noexcept {
    const KOperand& x = *in[0];
    FoldAxes<kInputs> stay;
    FoldAxes<kInputs> go;
    int64_t out_stride[kMaxRank];
    for (int i = x.rank - 1; i >= 0; --i) {
      out_stride[i] = outputs;
      if (((mask >> i) & 1u) == 0) outputs *= x.shape[i];
    }
    for (int k = 0; k < kInputs; ++k) base[k] = 0;
    for (int i = 0; i < x.rank; ++i) {
      const int64_t n = x.shape[i];
      const bool goes = ((mask >> i) & 1u) != 0;
      if (goes) count *= n;
      if (n == 1) continue;
      int64_t step[kInputs];
      for (int k = 0; k < kInputs; ++k) step[k] = in[k]->strides[i];
      if (!goes) {
        stay.push(n, step, out_stride[i]);
        continue;
      }
      if (step[0] < 0 && !ordered && n > 0) {  // walked from its other end
        for (int k = 0; k < kInputs; ++k) {
          base[k] += (n - 1) * step[k];
          step[k] = -step[k];
        }
      }
      go.push(n, step, 0);
    }
    if (outputs == 0) return;
    if (count != 0) {
      if (!ordered) go.sort_by_stride();
      stay.sort_by_stride();
    }
    kept = walk_of<kInputs + 1>(stay);
    reduced = walk_of<kInputs>(go);
    if (count == 0) return;
    const auto step_of = [](const auto& w) {
      const int64_t s = w.rank == 0 ? 0 : w.strides[0][w.rank - 1];
      return s == 0 ? INT64_MAX : s < 0 ? -s : s;
    };
    by_columns = kept.rank > 0 && step_of(kept) < step_of(reduced) && (!ordered || reduced.rank <= 1);
    chunk = count;
    if (by_columns) {
      if (count > kColumnChunk) chunk = chunk_of(kColumnChunk, kMostColumnChunks);
    } else if (count > kRowAtOnce) {
      chunk = chunk_of(kRowChunk, kMostRowChunks);
    }
    chunks = ceil_div(count, chunk);
  }

  // Whether all inputs can be read in packs of `width` elements of `bytes`: the innermost axis is dense, and every step is whole.
  [[nodiscard]] bool is_wide(const void* const (&data)[kInputs], int width, int64_t bytes) const noexcept {
    if (width == 1 || count == 0) return false;
    const int in_kept = by_columns ? kept.rank - 1 : -1;
    const int in_reduced = by_columns ? -1 : reduced.rank - 1;
    if (!by_columns && reduced.rank == 0) return false;
    for (int k = 0; k < kInputs; ++k) {
      if (!is_aligned(static_cast<const char*>(data[k]) + base[k] * bytes, static_cast<size_t>(width * bytes)))
        return false;
      for (int i = 0; i < kept.rank; ++i) {
        const bool inner = i == in_kept;
        if (inner ? kept.strides[k][i] != 1 || kept.shape[i] % width != 0 : kept.strides[k][i] % width != 0)
          return false;
      }
      for (int i = 0; i < reduced.rank; ++i) {
        const bool inner = i == in_reduced;
        const int64_t step = reduced.strides[k][i];
        if (inner ? step != 1 || reduced.shape[i] % width != 0 : step % width != 0) return false;
      }
    }
    return true;
  }
  // Bytes that partial results take.
  [[nodiscard]] size_t scratch_bytes(size_t partial) const noexcept {
    return outputs == 0 || chunks == 1 ? 0 : static_cast<size_t>(outputs * chunks) * partial;
  }

 private:
  template <int kOperands>
  static Walk<kOperands> walk_of(const FoldAxes<kInputs>& axes) noexcept {
    const int64_t* strides[kOperands];
    for (int k = 0; k < kOperands; ++k) strides[k] = axes.strides[k];
    Walk<kOperands> w = Walk<kOperands>::of(axes.size, axes.rank, strides);
    if (w.rank == 0) {
      for (int k = 0; k < kOperands; ++k) w.strides[k][0] = 0;
    }
    return w;
  }
  [[nodiscard]] int64_t chunk_of(int64_t least, int64_t most_chunks) const noexcept {
    const int64_t wanted = ceil_div(ceil_div(count, most_chunks), least) * least;
    return wanted < least ? least : wanted;
  }
};

#if defined(__CUDACC__)

// ---- what a thread reads ----

// Elements (packs, rows) of a thread that are folded before it flushes.
template <class Policy, int kWidth>
inline constexpr int kFoldGroup = (kWidth == 1 && sizeof(typename Policy::Storage) < 16 ? 8 : 4) / Policy::kInputs;

// What one thread reads at a time, of every input.
template <class Policy, int kWidth>
struct FoldReader {
  using S = typename Policy::Storage;
  static constexpr int kInputs = Policy::kInputs;
  Pack<S, kWidth> pack[kInputs];

  GORGO_DEVICE void load(const S* const (&p)[kInputs]) {
#pragma unroll
    for (int k = 0; k < kInputs; ++k) pack[k] = load_pack<S, kWidth>(p[k]);
  }
  GORGO_DEVICE void load_once(const S* const (&p)[kInputs]) {
#pragma unroll
    for (int k = 0; k < kInputs; ++k) pack[k] = load_pack_once<S, kWidth>(p[k]);
  }
  GORGO_DEVICE void load(const S* const (&base)[kInputs], const int64_t (&offsets)[kInputs]) {
#pragma unroll
    for (int k = 0; k < kInputs; ++k) pack[k] = load_pack<S, kWidth>(base[k] + offsets[k]);
  }
  // Steps that are `times` apart.
  GORGO_DEVICE void load_ahead(const S* const (&p)[kInputs], const int64_t (&step)[kInputs], int times) {
#pragma unroll
    for (int k = 0; k < kInputs; ++k) pack[k] = load_pack<S, kWidth>(p[k] + times * step[k]);
  }
  GORGO_DEVICE void load_at(const S* const (&p)[kInputs], int offset) {
#pragma unroll
    for (int k = 0; k < kInputs; ++k) pack[k] = load_pack<S, kWidth>(p[k] + offset);
  }
  GORGO_DEVICE void pick(int j, S (&v)[kInputs]) const {
#pragma unroll
    for (int k = 0; k < kInputs; ++k) v[k] = pack[k].v[j];
  }
};

#endif

}  // namespace gorgo::cuda

// Attention as its CUDA kernels see it: sizes, where the matrices of each head lie, and the mask.
//
// Invariant: plain data made by the launcher from shapes, strides and attributes; heads are numbered in row-major order.
// Read next: kernels_cuda.cu (which kernels are chosen), tiles_cuda.cuh, tensor_cuda.cuh.
#pragma once

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/operand.cuh"
#include "ops/attention/attrs.h"

namespace gorgo::cuda {

// Operands 0 to 3: queries (..., h, l, e), keys (..., hk, s, e), values (..., hk, s, ev), mask broadcast to (..., h, l, s).
struct AttentionSizes {
  int64_t heads = 1;  // over all leading axes
  int64_t key_heads = 1;
  int64_t group = 1;  // heads that share one of keys and values
  int64_t l = 0;
  int64_t s = 0;
  int32_t e = 0;
  int32_t ev = 0;
  bool causal = false;
  double scale = 1.0;

  explicit AttentionSizes(const KernelArgs& args) noexcept {
    const KOperand& q = args.in[0];
    const KOperand& k = args.in[1];
    const KOperand& v = args.in[2];
    const int r = q.rank;
    for (int i = 0; i < r - 2; ++i) {
      heads *= q.shape[i];
      key_heads *= k.shape[i];
    }
    if (r > 2 && k.shape[r - 3] > 0) group = q.shape[r - 3] / k.shape[r - 3];
    l = q.shape[r - 2];
    s = k.shape[r - 2];
    e = static_cast<int32_t>(q.shape[r - 1]);
    ev = static_cast<int32_t>(v.shape[r - 1]);
    const auto& a = args.attrs_as<AttentionAttrs>();
    causal = a.is_causal;
    scale = a.scale.has ? a.scale.value : 1.0 / sqrt(static_cast<double>(e < 1 ? 1 : e));
  }

#if defined(__CUDACC__)
  // Keys that `count` queries from `first` on may look at.
  GORGO_DEVICE int64_t keys_seen(int64_t first, int64_t count) const {
    if (!causal) return s;
    const int64_t end = first + count < l ? first + count : l;
    return end < s ? end : s;
  }
#endif
};

// Matrices of the heads of one operand: rows `row` apart, columns `column` apart.
struct HeadMatrices {
  const void* data = nullptr;
  int64_t row = 0;
  int64_t column = 0;
  bool packs = false;  // 16 bytes at a time may be read from the start of any row on

  HeadMatrices() = default;
  // Of an operand whose elements have `size` bytes.
  HeadMatrices(const KOperand& x, int64_t size) noexcept
      : data(x.data), row(x.strides[x.rank - 2]), column(x.strides[x.rank - 1]) {
    const int64_t lanes = 16 / size;
    packs = (column == 1 || x.shape[x.rank - 1] == 1) && x.shape[x.rank - 1] % lanes == 0 && is_aligned(data, 16);
    for (int i = 0; i + 1 < x.rank; ++i) packs = packs && (x.shape[i] == 1 || x.strides[i] % lanes == 0);
  }
};

struct HeadMask {
  const void* data = nullptr;  // null where there is none
  int64_t row = 0;
  int64_t column = 0;
  bool is_bool = false;

  HeadMask() = default;
  explicit HeadMask(const KernelArgs& args) noexcept {
    if (args.in_count <= 3 || !args.in[3].given) return;
    const KOperand& x = args.in[3];
    const int r = args.in[0].rank;
    const int64_t scores[] = {args.in[0].shape[r - 2], args.in[1].shape[r - 2]};
    int64_t strides[2];
    KOperand matrix = x;
    if (x.rank > 2) {  // the last two axes alone
      matrix.rank = 2;
      matrix.shape = x.shape + (x.rank - 2);
      matrix.strides = x.strides + (x.rank - 2);
    }
    broadcast_strides(matrix, scores, 2, strides);
    data = x.data;
    row = strides[0];
    column = strides[1];
    is_bool = x.dtype == DType::Bool;
  }

#if defined(__CUDACC__)
  // What is added to a score; `head` is where the head's matrix begins.
  template <class S>
  GORGO_DEVICE ComputeType<S> at(int64_t head, int64_t i, int64_t j) const {
    using T = ComputeType<S>;
    const int64_t k = head + i * row + j * column;
    if (is_bool) return static_cast<const bool*>(data)[k] ? T{0} : -std::numeric_limits<T>::infinity();
    return Element<S>::value(static_cast<const S*>(data)[k]);
  }
#endif
};

// Where the heads of operands begin that have the leading axes of `like`, or broadcast to them; null stands for none.
template <int kCount>
Walk<kCount> head_walk(const KOperand& like, const KOperand* const (&operands)[kCount]) noexcept {
  int64_t strides[kCount][kMaxAxes];
  const int64_t* rows[kCount];
  const int axes = like.rank - 2;
  for (int i = 0; i < kCount; ++i) {
    for (int axis = 0; axis < axes; ++axis) {
      strides[i][axis] = 0;
      if (operands[i] == nullptr) continue;
      const KOperand& x = *operands[i];
      const int own = axis - (like.rank - x.rank);
      if (own >= 0 && !(x.shape[own] == 1 && like.shape[axis] != 1)) strides[i][axis] = x.strides[own];
    }
    rows[i] = strides[i];
  }
  return Walk<kCount>::of(like.shape, axes, rows);
}
inline const KOperand* mask_of(const KernelArgs& args) noexcept {
  return args.in_count > 3 && args.in[3].given ? &args.in[3] : nullptr;
}

struct ForwardProblem {
  AttentionSizes z;
  HeadMatrices q, k, v;
  HeadMask mask;
  Walk<2> query_heads;  // queries, mask
  Walk<2> key_heads;    // keys, values
  void* out;
  void* log_sum;

  ForwardProblem(const KernelArgs& args, int64_t size) noexcept
      : z(args),
        q(args.in[0], size),
        k(args.in[1], size),
        v(args.in[2], size),
        mask(args),
        query_heads(head_walk<2>(args.in[0], {&args.in[0], mask_of(args)})),
        key_heads(head_walk<2>(args.in[1], {&args.in[1], &args.in[2]})),
        out(args.out[0].data),
        log_sum(args.out[1].data) {}
};

struct BackwardProblem {
  AttentionSizes z;
  HeadMatrices q, k, v, g;
  HeadMask mask;
  Walk<3> query_heads;  // queries, g, mask
  Walk<2> key_heads;    // keys, values
  const void* logs;     // of each row's sum, side by side, as is the next; infinity where a row sees no key
  const void* common;   // what the gradients of a row's weights have in common
  void* by_query;
  void* by_key;
  void* by_value;

  BackwardProblem(const KernelArgs& args, int64_t size, const void* logs_at, const void* common_at) noexcept
      : z(args),
        q(args.in[0], size),
        k(args.in[1], size),
        v(args.in[2], size),
        g(args.in[6], size),
        mask(args),
        query_heads(head_walk<3>(args.in[0], {&args.in[0], &args.in[6], mask_of(args)})),
        key_heads(head_walk<2>(args.in[1], {&args.in[1], &args.in[2]})),
        logs(logs_at),
        common(common_at),
        by_query(args.out[0].data),
        by_key(args.out[1].data),
        by_value(args.out[2].data) {}
};
static_assert(sizeof(BackwardProblem) <= 4096);

constexpr int64_t kMostBlocks = INT32_MAX;
inline unsigned blocks_for(int64_t work) noexcept {
  return static_cast<unsigned>(work < kMostBlocks ? work : kMostBlocks);
}

// For all dtypes and sizes; tiles_cuda.cuh.
template <class S>
void attention_by_tiles(const KernelArgs& args, const ForwardProblem& p) noexcept;
template <class S>
void attention_backward_by_tiles(const KernelArgs& args, const BackwardProblem& p) noexcept;

// For 16-bit floats on tensor cores; tensor_cuda.cuh. False where the card, the sizes or the layouts do not suit.
template <class S>
bool attention_by_tensor_cores(const KernelArgs& args, const ForwardProblem& p) noexcept;
template <class S>
bool attention_backward_by_tensor_cores(const KernelArgs& args, const BackwardProblem& p) noexcept;

}  // namespace gorgo::cuda

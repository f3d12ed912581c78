// Scaled dot-product attention and its gradients on CUDA: the launchers, and what both directions of gradients share.
//
// The matrix of scores is never stored: a block of queries meets the blocks of keys in order, with a running maximum and sum.
// Backward makes the weights again from the stored logarithm of each row's sum, in one kernel for queries and one for keys and
// values, so that each result is summed by one block in one order.
// Invariants: what a query yields depends on its own row and the keys alone; no result depends on the grid.
// Source: Dao et al., "FlashAttention", NeurIPS 2022; Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018.
// Read next: problem_cuda.cuh, tiles_cuda.cuh, tensor_cuda.cuh.
#include "ops/attention/problem_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class S>
constexpr bool kIsHalf = sizeof(S) == 2;

template <class S>
void attention(const KernelArgs& args, int64_t) noexcept {
  const ForwardProblem p(args, sizeof(S));
  if (p.z.heads == 0 || p.z.l == 0) return;
  if constexpr (kIsHalf<S>) {
    if (attention_by_tensor_cores<S>(args, p)) return;
  }
  attention_by_tiles<S>(args, p);
}

// ---- gradients ----

constexpr int kRowThreads = 128;

struct RowProblem {
  HeadMatrices out, g;
  Walk<2> heads;  // out, g
  Walk<2> rows;   // log_sum, g_log_sum
  int64_t l;
  int32_t ev;
};
static_assert(sizeof(RowProblem) <= 3840);

// For each row, what its weights' gradients have in common: the product of result and g, less what arrives at the logarithm.
// A warp takes a row. The stored logarithms are laid side by side for the kernels that follow, infinity for rows that see no key:
// their weights then come out as zero.
template <class S>
__global__ void __launch_bounds__(kRowThreads)
    row_kernel(const __grid_constant__ RowProblem p, const ComputeType<S>* log_sum, const ComputeType<S>* by_log_sum,
               ComputeType<S>* logs, ComputeType<S>* common) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t stride = int64_t{gridDim.x} * (kRowThreads / 32);
  for (int64_t row = int64_t{blockIdx.x} * (kRowThreads / 32) + threadIdx.x / 32; row < p.rows.count; row += stride) {
    const int64_t head = row / p.l;
    const int64_t i = row - head * p.l;
    int64_t at[2];
    p.heads.at(head, at);
    const S* out = static_cast<const S*>(p.out.data) + at[0] + i * p.out.row;
    const S* g = static_cast<const S*>(p.g.data) + at[1] + i * p.g.row;
    double sum = 0.0;
    for (int c = lane; c < p.ev; c += 32) {
      sum = fma(static_cast<double>(Element<S>::value(out[c * p.out.column])),
                static_cast<double>(Element<S>::value(g[c * p.g.column])), sum);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane == 0) {
      p.rows.at(row, at);
      if (by_log_sum != nullptr) sum -= static_cast<double>(by_log_sum[at[1]]);
      const ComputeType<S> log_here = log_sum[at[0]];
      logs[row] = log_here == -std::numeric_limits<ComputeType<S>>::infinity() ? -log_here : log_here;
      common[row] = static_cast<ComputeType<S>>(sum);
    }
  }
}

template <class S>
size_t row_bytes(const KernelArgs& args) noexcept {
  return (static_cast<size_t>(args.in[5].numel) * sizeof(ComputeType<S>) + 255) / 256 * 256;
}
template <class S>
size_t backward_scratch(const KernelArgs& args) noexcept {
  return 2 * row_bytes<S>(args);
}

template <class S>
void attention_backward(const KernelArgs& args, int64_t) noexcept {
  using T = ComputeType<S>;
  auto* logs = static_cast<T*>(args.scratch);
  auto* common = reinterpret_cast<T*>(static_cast<char*>(args.scratch) + row_bytes<S>(args));
  const KOperand& log_sum = args.in[5];
  const int64_t rows = log_sum.numel;
  if (rows > 0) {
    const bool has_log = args.in_count > 7 && args.in[7].given;
    const int64_t* strides[] = {log_sum.strides, has_log ? args.in[7].strides : log_sum.strides};
    const AttentionSizes z(args);
    const RowProblem p{HeadMatrices(args.in[4], sizeof(S)),
                       HeadMatrices(args.in[6], sizeof(S)),
                       head_walk<2>(args.in[4], {&args.in[4], &args.in[6]}),
                       Walk<2>::of(log_sum.shape, log_sum.rank, strides),
                       z.l,
                       z.ev};
    row_kernel<S><<<grid_for(rows, kRowThreads / 32, 16), kRowThreads, 0, stream_of(args)>>>(
        p, log_sum.as<const T>(), has_log ? args.in[7].as<const T>() : nullptr, logs, common);
  }
  const BackwardProblem p(args, sizeof(S), logs, common);
  if constexpr (kIsHalf<S>) {
    if (attention_backward_by_tensor_cores<S>(args, p)) return;
  }
  attention_backward_by_tiles<S>(args, p);
}

template <class S>
void fill(KernelSink& sink) {
  add(sink, "attention", kDTypeOf<S>, &attention<S>);
  add(sink, "attention_backward", kDTypeOf<S>, &attention_backward<S>, &backward_scratch<S>);
}

}  // namespace

void fill_attention(KernelSink& sink);
void fill_attention(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda

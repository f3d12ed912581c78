// CUDA kernel of bucketize: a binary search for each element.
//
// Read next: sort.cpp.
#include <cstring>

#include "kernels/cuda/move.cuh"
#include "ops/sort/attrs.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;

// NaN lies behind all numbers.
template <class C>
GORGO_DEVICE bool lies_before(C a, C b) {
  if constexpr (std::is_floating_point_v<C>) {
    return a < b || (b != b && a == a);
  } else {
    return a < b;
  }
}

// Walked are x and the edges' lines.
template <class T>
__global__ void __launch_bounds__(kThreads)
    bucketize_kernel(const __grid_constant__ Walk<2> walk, const T* __restrict__ x, const T number,
                     const T* __restrict__ edges, int64_t step, int64_t n, bool right, int64_t* __restrict__ out) {
  using C = ComputeType<T>;
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < walk.count; i += stride) {
    int64_t at[2];
    walk.at(i, at);
    const C v = static_cast<C>(x != nullptr ? x[at[0]] : number);
    const T* line = edges + at[1];
    int64_t first = 0;
    int64_t left = n;
    while (left > 0) {
      const int64_t half = left / 2;
      const C edge = static_cast<C>(line[(first + half) * step]);
      const bool behind = right ? !lies_before(v, edge) : lies_before(edge, v);
      first += behind ? half + 1 : 0;
      left = behind ? left - half - 1 : half;
    }
    out[i] = first;
  }
}

template <class T>
void bucketize(const KernelArgs& args, int64_t) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& edges = args.in[1];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  int64_t x_strides[kMaxAxes];
  int64_t edge_strides[kMaxAxes];
  for (int k = 0; k < out.rank; ++k) {
    x_strides[k] = x.scalar ? 0 : x.strides[k];
    edge_strides[k] = edges.rank > 1 && k + 1 < out.rank ? edges.strides[k] : 0;
  }
  const int64_t* strides[] = {x_strides, edge_strides};
  T number{};
  if (x.host) std::memcpy(&number, x.data, sizeof number);
  bucketize_kernel<T><<<grid_for(out.numel, kThreads), kThreads, 0, stream_of(args)>>>(
      Walk<2>::of(out.shape, out.rank, strides), x.host ? nullptr : x.as<const T>(), number, edges.as<const T>(),
      edges.strides[edges.rank - 1], edges.shape[edges.rank - 1], args.attrs_as<BucketizeAttrs>().right,
      out.as<int64_t>());
}

template <class T>
void fill_typed(KernelSink& sink) {
  if constexpr (!is_complex(kDTypeOf<T>)) add(sink, "bucketize", kDTypeOf<T>, bucketize<T>);
}

}  // namespace

void fill_search(KernelSink& sink);
void fill_search(KernelSink& sink) {
#define GORGO_X(name, type, text) fill_typed<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
}

}  // namespace gorgo::cuda

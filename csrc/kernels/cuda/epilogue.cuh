// Epilogues on CUDA: what becomes of a result on its way to memory.
//
// Invariant: bit for bit what the elementwise op (Relu of ops/elementwise/functors.h) makes of the stored result. Kernels take saved
// values that lie in order, as the result does; others are met by a launch of their own. Read next: core/epilogue.h, gemm/product.cuh.
#pragma once

#include "core/epilogue.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/operand.cuh"

namespace gorgo::cuda {

// Which elements have epilogues.
template <class S>
inline constexpr bool kHasEpilogues =
    std::is_floating_point_v<S> || std::is_same_v<S, Float16> || std::is_same_v<S, BFloat16>;

struct Finish {
  Epilogue then = Epilogue::None;
  const void* saved = nullptr;  // of the result's dtype, where the epilogue reads one
};

#if defined(__CUDACC__)

// The saved value for the element of the result at that place, in the type it is computed in; 0 where the epilogue reads none. To be
// asked for early: it comes from memory.
template <class S>
GORGO_DEVICE typename Element<S>::Compute saved_at(const Finish& f, int64_t at) {
  return reads_saved(f.then) ? Element<S>::load(static_cast<const S*>(f.saved) + at) : typename Element<S>::Compute{0};
}
// What is stored in place of x, which has been rounded.
template <class S>
GORGO_DEVICE S finished(Epilogue then, S x, typename Element<S>::Compute saved) {
  if (then == Epilogue::None) return x;
  const bool zero = then == Epilogue::Relu ? Element<S>::value(x) < 0 : saved <= 0;
  return zero ? S{} : x;
}
// Both at once.
template <class S>
GORGO_DEVICE S finished_at(const Finish& f, S x, int64_t at) {
  if constexpr (kHasEpilogues<S>) {
    return finished(f.then, x, saved_at<S>(f, at));
  } else {
    return x;
  }
}

// The epilogue by itself, over what a kernel without one has stored.
template <class S>
__global__ void __launch_bounds__(256) finish_stored(S* x, int64_t count, Finish f) {
  constexpr int kPack = 16 / sizeof(S);
  struct alignas(16) Pack {
    S v[kPack];
  };
  const int64_t step = int64_t{gridDim.x} * 256;
  const int64_t thread = int64_t{blockIdx.x} * 256 + threadIdx.x;
  const bool aligned = ((reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(f.saved)) & 15) == 0;
  const int64_t packs = aligned ? count / kPack : 0;
  for (int64_t i = thread; i < packs; i += step) {
    Pack here = reinterpret_cast<const Pack*>(x)[i];
    Pack saved = here;
    if (reads_saved(f.then)) saved = static_cast<const Pack*>(f.saved)[i];
#pragma unroll
    for (int k = 0; k < kPack; ++k) here.v[k] = finished(f.then, here.v[k], Element<S>::value(saved.v[k]));
    reinterpret_cast<Pack*>(x)[i] = here;
  }
  for (int64_t i = packs * kPack + thread; i < count; i += step) x[i] = finished_at(f, x[i], i);
}

template <class S>
void launch_finish(void* x, int64_t count, const Finish& f, cudaStream_t stream) noexcept {
  if constexpr (kHasEpilogues<S>) {
    if (f.then == Epilogue::None || count == 0) return;
    finish_stored<S><<<grid_for(count, 256 * (16 / sizeof(S))), 256, 0, stream>>>(static_cast<S*>(x), count, f);
  }
}

template <class S>
__global__ void __launch_bounds__(256) finish_strided(S* x, const __grid_constant__ Walk<1> walk, Finish f) {
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < walk.count; i += int64_t{gridDim.x} * 256) {
    int64_t offset[1];
    walk.at(i, offset);
    x[i] = finished_at(f, x[i], offset[0]);
  }
}

// Calls run(Finish) for an op with this epilogue, whose last operand is the saved value.
template <class S, class F>
void run_finished(const KernelArgs& args, Epilogue then, F&& run) noexcept {
  if (!reads_saved(then)) return run(Finish{then, nullptr});
  const KOperand& saved = args.in[args.in_count - 1];
  const Finish finish{then, saved.data};
  if (saved.contiguous) return run(finish);
  run(Finish{});
  if (args.out[0].numel == 0) return;
  const int64_t* const strides[1] = {saved.strides};
  finish_strided<S><<<grid_for(args.out[0].numel, 256), 256, 0, stream_of(args)>>>(
      args.out[0].as<S>(), Walk<1>::of(saved.shape, saved.rank, strides), finish);
}

#endif

}  // namespace gorgo::cuda

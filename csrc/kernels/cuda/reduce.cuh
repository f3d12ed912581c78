// Folding across threads: shuffles of any value, groups of lanes within a warp, whole blocks; and loads of several elements.
//
// Invariant: a group of lanes is a power of two of neighbouring threads: part of a warp, or a whole block. Every fold follows
// one tree that depends on the number of lanes alone, and gives its result to all of them.
// Read next: fold.cuh (reductions of tensors), ops/softmax/kernels_cuda.cu.
#pragma once

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/in_stream.cuh"
#include "kernels/cuda/operand.cuh"

namespace gorgo::cuda {

// Neighbouring elements that move in one access; aligned to their size.
template <class S, int kCount>
struct alignas(sizeof(S) * kCount) Pack {
  S v[kCount];
};
template <class S>
inline constexpr int kPackOf = sizeof(S) >= 16 ? 1 : 16 / static_cast<int>(sizeof(S));  // elements of 16 bytes

#if defined(__CUDACC__)

// A stored element in its compute type, and back, rounded once.
template <class S>
GORGO_DEVICE ComputeType<S> lift(S v) {
  return Element<S>::value(v);
}
template <class S, class C>
GORGO_DEVICE S lower(C v) {
  return Element<S>::round(static_cast<ComputeType<S>>(v));
}

template <class S, int kCount>
GORGO_DEVICE Pack<S, kCount> load_pack(const S* p) {
  return *reinterpret_cast<const Pack<S, kCount>*>(p);
}
// The same for what is read once and not beside its neighbours: it passes by the first-level cache. Nothing may write it meanwhile.
template <class S, int kCount>
GORGO_DEVICE Pack<S, kCount> load_pack_once(const S* p) {
  if constexpr (sizeof(Pack<S, kCount>) == 16) {
    uint4 words;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(p));
    Pack<S, kCount> pack;
    __builtin_memcpy(&pack, &words, sizeof words);
    return pack;
  } else {
    return load_pack<S, kCount>(p);
  }
}
template <class S, int kCount>
GORGO_DEVICE void store_pack(S* p, const Pack<S, kCount>& pack) {
  *reinterpret_cast<Pack<S, kCount>*>(p) = pack;
}

// All elements of a pack at once; packs of 16 bytes as words, which take the fewest instructions.
template <class S, int kCount>
GORGO_DEVICE void lift_pack(const Pack<S, kCount>& pack, ComputeType<S> (&v)[kCount]) {
  if constexpr (sizeof pack == 16 && kCount > 1) {
    uint4 words;
    __builtin_memcpy(&words, &pack, sizeof words);
    widen<S>(words, v);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = lift(pack.v[i]);
  }
}
template <class S, int kCount>
GORGO_DEVICE Pack<S, kCount> lower_pack(const ComputeType<S> (&v)[kCount]) {
  Pack<S, kCount> pack;
  if constexpr (sizeof pack == 16 && kCount > 1) {
    const uint4 words = narrow<S>(v);
    __builtin_memcpy(&pack, &words, sizeof words);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) pack.v[i] = lower<S>(v[i]);
  }
  return pack;
}

// Offsets of position p of a walk. Its loops stay loops, for registers are scarce here.
template <int kOperands>
GORGO_DEVICE void offsets_at(const Walk<kOperands>& walk, int64_t p, int64_t (&offsets)[kOperands]) {
  int i = walk.rank - 1;
#pragma unroll
  for (int k = 0; k < kOperands; ++k) offsets[k] = 0;
  if (!walk.wide) {
    auto left = static_cast<uint32_t>(p);
#pragma unroll 1
    for (; i > 0; --i) {
      const uint32_t q = walk.by[i].quotient(left);
      const uint32_t here = left - q * walk.by[i].divisor;
      left = q;
#pragma unroll
      for (int k = 0; k < kOperands; ++k) offsets[k] += here * walk.strides[k][i];
    }
    p = left;
  } else {
#pragma unroll 1
    for (; i > 0; --i) {
      const int64_t q = p / walk.shape[i];
      const int64_t here = p - q * walk.shape[i];
      p = q;
#pragma unroll
      for (int k = 0; k < kOperands; ++k) offsets[k] += here * walk.strides[k][i];
    }
  }
#pragma unroll
  for (int k = 0; k < kOperands; ++k) offsets[k] += p * walk.strides[k][0];
}

template <class T>
GORGO_DEVICE T shuffle_xor(T v, int mask) {
  static_assert(sizeof(T) % 4 == 0);
  constexpr int kWords = sizeof(T) / 4;
  uint32_t words[kWords];
  __builtin_memcpy(words, &v, sizeof v);
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = __shfl_xor_sync(0xffffffffu, words[i], mask);
  __builtin_memcpy(&v, words, sizeof v);
  return v;
}

// Folds over groups of `lanes` (at most 32) threads of a warp, all of whose threads must come here.
template <class T, class Merge>
GORGO_DEVICE T fold_lanes(T v, int lanes, const Merge& merge) {
  for (int mask = lanes >> 1; mask > 0; mask >>= 1) v = merge(v, shuffle_xor(v, mask));
  return v;
}

// Folds over groups of `lanes` threads: of a warp, or (above 32) the whole block, which then has `lanes` threads. All threads
// of the block must come here. `shared` holds one T for each warp; it may be used again at once.
template <class T, class Merge>
GORGO_DEVICE T fold_group(T v, int lanes, void* shared, const Merge& merge) {
  v = fold_lanes(v, lanes < 32 ? lanes : 32, merge);
  if (lanes > 32) {
    T* const parts = static_cast<T*>(shared);
    const int warps = lanes >> 5;
    if ((threadIdx.x & 31u) == 0) parts[threadIdx.x >> 5] = v;
    __syncthreads();
    v = parts[threadIdx.x & static_cast<unsigned>(warps - 1)];
    v = fold_lanes(v, warps, merge);
    __syncthreads();
  }
  return v;
}

// Threads that work on one line together, seen from one of them: neighbours, as fold_group has it.
struct RowGroup {
  int lanes;
  void* shared;  // 32 values of the largest type folded

  template <class T, class Merge>
  GORGO_DEVICE T fold(T v, const Merge& merge) const {
    return fold_group(v, lanes, shared, merge);
  }
};
// Or threads that lie `step` apart, `count` of them, both powers of two: they share a column. All threads of the block must
// come here.
struct ColumnGroup {
  int step;
  int count;
  void* shared;  // a value for each thread

  template <class T, class Merge>
  GORGO_DEVICE T fold(T v, const Merge& merge) const {
    T* const all = static_cast<T*>(shared);
    const int place = static_cast<int>(threadIdx.x);
    const int y = (place / step) & (count - 1);
    all[place] = v;
    __syncthreads();
    for (int half = count >> 1; half > 0; half >>= 1) {
      if (y < half) all[place] = merge(all[place], all[place + half * step]);
      __syncthreads();
    }
    v = all[place - y * step];
    __syncthreads();
    return v;
  }
};

// The larger and the smaller of two; NaN wins over both.
template <class T>
GORGO_DEVICE T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return a > b || a != a ? a : b;
  } else {
    return a > b ? a : b;
  }
}
template <class T>
GORGO_DEVICE T smaller(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return a < b || a != a ? a : b;
  } else {
    return a < b ? a : b;
  }
}

#endif

// The smallest power of two that is at least n, and at most `most`, itself a power of two.
inline int lanes_for(int64_t n, int most) noexcept {
  int lanes = 1;
  while (lanes < most && lanes < n) lanes *= 2;
  return lanes;
}

}  // namespace gorgo::cuda

// How one element lies in memory against how it is computed: 16-bit floats are read as float and rounded once at the store.
//
// Invariant: value() is exact; round() is to nearest, ties to even. Reads go through the read-only path, so a kernel must not
// write what it reads with load().
// Read next: conv.cuh.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "core/dtype.h"
#include "device/cuda/launch.cuh"

namespace gorgo::cuda {

#if defined(__CUDACC__)

template <class S>
struct Element {
  using Compute = S;
  static constexpr bool kConverts = false;
  static GORGO_DEVICE S value(S x) { return x; }
  static GORGO_DEVICE S round(S x) { return x; }
  static GORGO_DEVICE S load(const S* p) {
    if constexpr (sizeof(S) == 8 && std::is_integral_v<S>) {
      return static_cast<S>(__ldg(reinterpret_cast<const long long*>(p)));
    } else {
      return __ldg(p);
    }
  }
};

template <>
struct Element<Float16> {
  using Compute = float;
  static constexpr bool kConverts = true;
  static GORGO_DEVICE float value(Float16 x) { return __half2float(__ushort_as_half(x.bits)); }
  static GORGO_DEVICE Float16 round(float x) {
    Float16 out;
    out.bits = __half_as_ushort(__float2half_rn(x));
    return out;
  }
  static GORGO_DEVICE float load(const Float16* p) {
    return __half2float(__ushort_as_half(__ldg(reinterpret_cast<const unsigned short*>(p))));
  }
};

template <>
struct Element<BFloat16> {
  using Compute = float;
  static constexpr bool kConverts = true;
  static GORGO_DEVICE float value(BFloat16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
  static GORGO_DEVICE BFloat16 round(float x) {
    BFloat16 out;
    out.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
    return out;
  }
  static GORGO_DEVICE float load(const BFloat16* p) {
    return __uint_as_float(static_cast<uint32_t>(__ldg(reinterpret_cast<const unsigned short*>(p))) << 16);
  }
};

GORGO_DEVICE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
GORGO_DEVICE double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// a / b and a % b of numbers that are not negative: most fit 32 bits, where division takes a third of the time.
struct Quotient {
  int64_t quotient, rest;
  GORGO_DEVICE Quotient(int64_t a, int64_t b) {
    if (b == 1) {  // axes and groups that are not there
      quotient = a;
      rest = 0;
    } else if (((a | b) >> 32) == 0) {
      const auto q = static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
      quotient = q;
      rest = static_cast<uint32_t>(a) - q * static_cast<uint32_t>(b);
    } else {
      quotient = a / b;
      rest = a - quotient * b;
    }
  }
};

// Sixteen bytes of elements as words, and the elements as they are computed; packed registers are the fewest that hold a row.
template <class S>
GORGO_DEVICE void widen(const uint4& words, typename Element<S>::Compute (&v)[16 / sizeof(S)]) {
  const uint32_t w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (std::is_same_v<S, float>) {
      v[i] = __uint_as_float(w[i]);
    } else if constexpr (std::is_same_v<S, BFloat16>) {
      v[2 * i] = __uint_as_float(w[i] << 16);
      v[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
    } else if constexpr (std::is_same_v<S, Float16>) {
      v[2 * i] = __half2float(__ushort_as_half(static_cast<unsigned short>(w[i])));
      v[2 * i + 1] = __half2float(__ushort_as_half(static_cast<unsigned short>(w[i] >> 16)));
    } else {
      static_assert(std::is_same_v<S, double>);
      if (i % 2 == 0) v[i / 2] = __hiloint2double(static_cast<int>(w[i + 1]), static_cast<int>(w[i]));
    }
  }
}
// Rounded once.
template <class S>
GORGO_DEVICE uint4 narrow(const typename Element<S>::Compute (&v)[16 / sizeof(S)]) {
  uint32_t w[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (std::is_same_v<S, float>) {
      w[i] = __float_as_uint(v[i]);
    } else if constexpr (std::is_same_v<S, BFloat16>) {
      const __nv_bfloat162 two = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
      __builtin_memcpy(&w[i], &two, 4);
    } else if constexpr (std::is_same_v<S, Float16>) {
      const __half2 two = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
      __builtin_memcpy(&w[i], &two, 4);
    } else {
      static_assert(std::is_same_v<S, double>);
      w[i] = static_cast<uint32_t>(i % 2 == 0 ? __double2loint(v[i / 2]) : __double2hiint(v[i / 2]));
    }
  }
  return make_uint4(w[0], w[1], w[2], w[3]);
}

// Keeps words packed up to here: the compiler would widen them once and hold twice the registers.
GORGO_DEVICE void stay_packed(uint4& words) {
  asm volatile("" : "+r"(words.x), "+r"(words.y), "+r"(words.z), "+r"(words.w));
}

// Four elements that lie side by side, written at once. `to` is aligned to their size together.
GORGO_DEVICE void store_four(float* to, const float (&v)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}
GORGO_DEVICE void store_four(double* to, const double (&v)[4]) {
  reinterpret_cast<double2*>(to)[0] = make_double2(v[0], v[1]);
  reinterpret_cast<double2*>(to)[1] = make_double2(v[2], v[3]);
}
template <class S>
GORGO_DEVICE void store_four(S* to, const float (&v)[4]) {
  ushort4 bits;
  bits.x = Element<S>::round(v[0]).bits;
  bits.y = Element<S>::round(v[1]).bits;
  bits.z = Element<S>::round(v[2]).bits;
  bits.w = Element<S>::round(v[3]).bits;
  *reinterpret_cast<ushort4*>(to) = bits;
}

#endif

inline bool is_aligned(const void* p, uintptr_t bytes) noexcept { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

}  // namespace gorgo::cuda

// The vocabulary of kernels/math.h for single numbers on CUDA, with the bits that the CPU's vector code has.
//
// Formulas that are written once for both (optimizers' rules, random methods) call abs, sqrt, log, ... by name; on CUDA they find
// the functions below. They follow the steps of math.h with its coefficients, where a product and a sum are rounded once as on
// AVX2, AVX-512 and NEON, so that a draw or an update does not depend on where it is computed.
// Invariant: included before headers that use the vocabulary; every function is exact or has the CPU's bits.
// Read next: kernels/math.h (what each step is for), ops/random/substream.h, ops/update/rules.h.
#pragma once

#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS cuda
#endif

#include <cmath>

#include "device/cuda/launch.cuh"
#include "kernels/math.h"

namespace gorgo::cuda {

GORGO_INLINE float abs(float x) { return ::fabsf(x); }
GORGO_INLINE double abs(double x) { return ::fabs(x); }
GORGO_INLINE float sqrt(float x) { return ::sqrtf(x); }
GORGO_INLINE double sqrt(double x) { return ::sqrt(x); }
GORGO_INLINE double floor(double x) { return ::floor(x); }
GORGO_INLINE float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
GORGO_INLINE double fma(double a, double b, double c) { return ::fma(a, b, c); }
GORGO_INLINE float maximum(float a, float b) { return a != a ? a : a > b ? a : b; }
GORGO_INLINE double maximum(double a, double b) { return a != a ? a : a > b ? a : b; }
GORGO_INLINE bool isinf(double x) { return abs(x) == FloatBits<double>::kInfinity; }
GORGO_INLINE bool isfinite(double x) { return abs(x) < FloatBits<double>::kInfinity; }

template <class To, class From>
GORGO_INLINE To same_bits(From x) {
  return __builtin_bit_cast(To, x);
}

// kCoefficients[kFirst] + kCoefficients[kFirst + 1] x + ... Tables of the host may be read here as constants only, hence the
// recursion instead of a loop.
template <const auto& kCoefficients, int kFirst = 0, class T>
GORGO_INLINE T horner(T x) {
  constexpr T kHere = kCoefficients[kFirst];
  if constexpr (kFirst + 1 == sizeof kCoefficients / sizeof(T)) {
    return kHere;
  } else {
    return fma(horner<kCoefficients, kFirst + 1>(x), x, kHere);
  }
}

GORGO_INLINE double power_of_two(int64_t n) { return same_bits<double>((n + 1023) << 52); }

GORGO_INLINE double exp(double x) {
  using L = Ln2<double>;
  x = 710.0 < x ? 710.0 : x;  // in this order NaN stays
  x = -746.0 > x ? -746.0 : x;
  const double shifted = fma(x, L::kInverse, L::kMagic);
  const double whole = shifted - L::kMagic;
  const double head = fma(-whole, L::kHigh, x);
  const double tail = whole * L::kLow;
  const double r = head - tail;
  const double low = (head - r) - tail;
  const int64_t n = same_bits<int64_t>(shifted) - same_bits<int64_t>(L::kMagic);
  const double sum = r + fma(r * r, horner<kExpQ64>(r), low);
  const int64_t half = ((n + 4096) >> 1) - 2048;
  return (1.0 + sum) * power_of_two(half) * power_of_two(n - half);
}

// For a positive finite x that is no denormal number, which the draws that call it never make.
GORGO_INLINE float log_of_normal(float x) {
  using L = Ln2<float>;
  const int32_t bits = same_bits<int32_t>(x);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;
  const float e = static_cast<float>(exponent);
  const float f = same_bits<float>(bits - (exponent << 23)) - 1.0f;
  const float f2 = f * f;
  float rest = fma(f * f2, horner<kLogP>(f), 0.0f);
  rest = fma(e, L::kLow, rest);
  const float half = 0.5f * f2;
  const float high = e * L::kHigh;
  const float lead = high + f;
  const float lost = e == 0.0f ? 0.0f : f - (lead - high);
  return lead + ((rest - half) + lost);
}

GORGO_INLINE double log(double x) {
  using L = Ln2<double>;
  const bool tiny = x < 0x1p-1022;
  const uint64_t bits = same_bits<uint64_t>(tiny ? x * 0x1p52 : x);
  const uint64_t biased = (bits - 0x3fe6a09e667f3bcdu + (uint64_t{1024} << 52)) >> 52;
  const double m = same_bits<double>(bits - ((biased - 1024) << 52));
  const double e = (same_bits<double>(biased | 0x4330000000000000u) - (0x1p52 + 1024.0)) - (tiny ? 52.0 : 0.0);
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  const double half = 0.5 * f * f;
  const double rest = fma(e, L::kLow, s * fma(z, horner<kLogR>(z), half));
  double value = e * L::kHigh - ((half - rest) - f);
  value = x < FloatBits<double>::kInfinity ? value : x;
  value = x == 0.0 ? -FloatBits<double>::kInfinity : value;
  return x < 0.0 ? FloatBits<double>::kNan : value;
}

// The sine and cosine of a float, |x| < 2^20, by way of float64.
struct FloatSinCos {
  float sin;
  float cos;
};
GORGO_INLINE FloatSinCos sin_cos(float x) {
  const double wide = static_cast<double>(x);
  const double shifted = fma(wide, 0x1.45f306dc9c883p-1, 0x1.8p52);
  const double n = shifted - 0x1.8p52;
  double r = wide - n * 0x1.921fb544p+0;
  r = r - n * 0x1.0b4611a6p-34;
  r = r - n * 0x1.3198a2e037073p-69;
  const double z = r * r;
  const float s = static_cast<float>(fma(r * z, horner<kSinS>(z), r));
  const float c = static_cast<float>(fma(z * z, horner<kCosC>(z), 1.0 - 0.5 * z));
  const auto quadrant = static_cast<uint32_t>(same_bits<uint64_t>(shifted));
  const bool swap = (quadrant & 1) != 0;
  const uint32_t sin_sign = (quadrant & 2) << 30;
  const uint32_t cos_sign = ((quadrant + 1) & 2) << 30;
  return {same_bits<float>(same_bits<uint32_t>(swap ? c : s) ^ sin_sign),
          same_bits<float>(same_bits<uint32_t>(swap ? s : c) ^ cos_sign)};
}

}  // namespace gorgo::cuda

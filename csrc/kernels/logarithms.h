// Logarithms by a table, and what rests on them: log2, log10, pow, and log1p of float64.
//
// Invariant: as in math.h. A logarithm is the sum of what the exponent and the table give, which is exact, and a short polynomial;
// so it rounds hardly more than once. log itself and log1p of float32 stand in exp_log.h.
// Read next: arcs.h, whose hyperbolic functions use log1p_of_sum.
#pragma once

#include "kernels/exp_log.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// x = 2^e m with m in [3/4, 3/2), and the number of the table's entry: 20 m to the nearest whole number, 15 to 30.
template <class T, int N>
struct LogPlace {
  Vec<T, N> e;
  Vec<T, N> m;
  Vec<SignedLike<T>, N> index;
};
template <class T, int N>
GORGO_INLINE LogPlace<T, N> log_place(Vec<T, N> x) {
  using V = Vec<T, N>;
  const auto placed = [](V e, V m) __attribute__((always_inline)) {
    const auto twentieths = mul_add(m, broadcast<V>(T{20}), broadcast<V>(Ln2<T>::kMagic));
    return LogPlace<T, N>{e, m, bits_as<SignedLike<T>>(twentieths)};
  };
#if defined(GORGO_ISA_AVX512)
  using R = RawVector<T, N>;
  if constexpr (V::kBytes == 64 && sizeof(T) == 8) {
    const auto raw = (__m512d)x.raw;
    const auto m = _mm512_getmant_pd(raw, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
    return placed({(R)_mm512_sub_pd(_mm512_getexp_pd(raw), _mm512_getexp_pd(m))}, {(R)m});
  }
  if constexpr (V::kBytes == 64 && sizeof(T) == 4) {
    const auto raw = (__m512)x.raw;
    const auto m = _mm512_getmant_ps(raw, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
    return placed({(R)_mm512_sub_ps(_mm512_getexp_ps(raw), _mm512_getexp_ps(m))}, {(R)m});
  }
#endif
  constexpr UnsignedLike<T> kThreeQuarters =
      sizeof(T) == 4 ? 0x3f400000u : static_cast<UnsignedLike<T>>(0x3fe8000000000000u);
  const auto parts = log_reduce<kThreeQuarters>(x);
  return placed(parts.e, parts.m);
}

// 1 / c for c = k / 20, at k mod 16, and the logarithm of c, rounded to a multiple of 2^-40 and the rest. So is that of 2 (2^-41),
// and their sum is exact. Of float the multiples are those of 2^-14. The unit is the logarithm of Euler's number.
template <class T>
struct LogInverse;
template <>
struct LogInverse<double> {
  alignas(64) static constexpr double k[16] = {0x1.4p+0,
                                               0x1.2d2d2d2d2d2d3p+0,
                                               0x1.1c71c71c71c72p+0,
                                               0x1.0d79435e50d79p+0,
                                               0x1p+0,
                                               0x1.e79e79e79e79ep-1,
                                               0x1.d1745d1745d17p-1,
                                               0x1.bd37a6f4de9bdp-1,
                                               0x1.aaaaaaaaaaaabp-1,
                                               0x1.999999999999ap-1,
                                               0x1.89d89d89d89d9p-1,
                                               0x1.7b425ed097b42p-1,
                                               0x1.6db6db6db6db7p-1,
                                               0x1.611a7b9611a7cp-1,
                                               0x1.5555555555555p-1,
                                               0x1.5555555555555p+0};
};
template <>
struct LogInverse<float> {
  alignas(64) static constexpr float k[16] = {0x1.4p+0f,      0x1.2d2d2ep+0f, 0x1.1c71c8p+0f, 0x1.0d7944p+0f,
                                              0x1p+0f,        0x1.e79e7ap-1f, 0x1.d1745ep-1f, 0x1.bd37a6p-1f,
                                              0x1.aaaaaap-1f, 0x1.99999ap-1f, 0x1.89d89ep-1f, 0x1.7b425ep-1f,
                                              0x1.6db6dcp-1f, 0x1.611a7cp-1f, 0x1.555556p-1f, 0x1.555556p+0f};
};
enum class LogBase { Natural, Two, Ten };
template <LogBase Base, class T>
struct LogTable;
template <>
struct LogTable<LogBase::Natural, double> {
  alignas(64) static constexpr double kHigh[16] = {
      -0x1.c8ff7c79a8p-3, -0x1.4cd6b97968p-3, -0x1.af8e8210ap-4, -0x1.a431d5bccp-5, 0x0p+0,
      0x1.8fb063ef2p-5,   0x1.8663f793cp-4,   0x1.1e3b825ddp-3,  0x1.7565011e48p-3, 0x1.c8ff7c79a8p-3,
      0x1.0ca937be1cp-2,  0x1.334e9e47dp-2,   0x1.588c2d9134p-2, 0x1.7c7b282d0cp-2, 0x1.9f323ecbf8p-2,
      -0x1.269621134cp-2};
  alignas(64) static constexpr double kLow[16] = {-0x1.a21ac25d81ef3p-43,
                                                  0x1.f435c8313851bp-42,
                                                  -0x1.058286516dc4ep-42,
                                                  -0x1.92f8ec7d853afp-45,
                                                  0x0p+0,
                                                  0x1.8fe2d89dbc5f8p-42,
                                                  0x1.1b2409228c1d3p-42,
                                                  0x1.7b2367b02240bp-45,
                                                  0x1.6749fada93452p-43,
                                                  0x1.a1fac25d81ef3p-43,
                                                  -0x1.8948ad9a1799ap-44,
                                                  0x1.fd65c790d9bb9p-44,
                                                  -0x1.6e181413e53fp-43,
                                                  0x1.46a362502013ep-42,
                                                  0x1.84cf2b68d766fp-42,
                                                  -0x1.b91783beb7677p-42};
  static constexpr double kTwoHigh = 0x1.62e42fefa4p-1;
  static constexpr double kTwoLow = -0x1.8432a1b0e2634p-43;
  static constexpr double kUnit = 0x1p+0;
  static constexpr double kUnitLow = 0.0;
};
template <>
struct LogTable<LogBase::Two, double> {
  alignas(64) static constexpr double kHigh[16] = {
      -0x1.49a784bcdp-2, -0x1.e02f51a358p-3, -0x1.374d65d9e8p-3, -0x1.2f1b3bd3p-4, 0x0p+0,           0x1.20508f548p-4,
      0x1.199b728cb8p-3, 0x1.9cf236bbe8p-3,  0x1.0d58e42b1cp-2,  0x1.49a784bcdp-2, 0x1.83988d0c2p-2, 0x1.bb59b5fafcp-2,
      0x1.f113baed3p-2,  0x1.12758696eap-1,  0x1.2b803473f8p-1,  -0x1.a8ff97181p-2};
  alignas(64) static constexpr double kLow[16] = {-0x1.b8afe492bf6ffp-42,
                                                  -0x1.6c63caf2ae1a2p-42,
                                                  0x1.f6f5420290618p-43,
                                                  0x1.87b84dfb7280dp-42,
                                                  0x0p+0,
                                                  -0x1.2036108027b6ep-44,
                                                  0x1.d09bb1d4bdb99p-43,
                                                  0x1.9c26b65bdd794p-42,
                                                  0x1.a15c22811be89p-42,
                                                  0x1.b898cf4b5a447p-42,
                                                  -0x1.3e9aa7fd7852bp-43,
                                                  0x1.570ab0d4aa502p-44,
                                                  0x1.76ceb188f09b3p-44,
                                                  0x1.44fba371df1edp-43,
                                                  -0x1.4b94d870dd18bp-43,
                                                  -0x1.4b94d870dd18bp-43};
  static constexpr double kTwoHigh = 0x1p+0;
  static constexpr double kTwoLow = 0.0;
  static constexpr double kUnit = 0x1.71547652b82fep+0;
  static constexpr double kUnitLow = 0x1.777d0ffda0d24p-56;
};
template <>
struct LogTable<LogBase::Ten, double> {
  alignas(64) static constexpr double kHigh[16] = {
      -0x1.8cf183886p-4, -0x1.21199edc6p-4, -0x1.76d869b02p-5, -0x1.6cf9f8b08p-6, 0x0p+0,           0x1.5b2a5ca2p-6,
      0x1.5316c0a18p-5,  0x1.f13c98e84p-5,  0x1.44538de3bp-4,  0x1.8cf183886p-4,  0x1.d2b643bc1p-4, 0x1.0aec6e4ap-3,
      0x1.2b452cf22p-3,  0x1.4a7b4ea1cp-3,  0x1.68a288b608p-3, -0x1.ffbfc2bbcp-4};
  alignas(64) static constexpr double kLow[16] = {-0x1.20326ca2c7e5fp-42,
                                                  -0x1.d13788b99ebep-45,
                                                  -0x1.406476b8355f9p-42,
                                                  0x1.48691a1900951p-43,
                                                  0x0p+0,
                                                  -0x1.706508d6b299p-43,
                                                  0x1.5ba79c89479e8p-42,
                                                  -0x1.4020c55e22cbep-42,
                                                  0x1.3f52beab77994p-43,
                                                  0x1.202b79c4029c4p-42,
                                                  0x1.278e3643285c1p-43,
                                                  0x1.fe2599413d17ap-44,
                                                  0x1.27d1973783abbp-42,
                                                  0x1.5a8a3663c3af1p-42,
                                                  0x1.bfe84defe6d0ep-42,
                                                  -0x1.e006e32f2be27p-42};
  static constexpr double kTwoHigh = 0x1.34413509f8p-2;
  static constexpr double kTwoLow = -0x1.80433b83b532ap-44;
  static constexpr double kUnit = 0x1.bcb7b1526e50ep-2;
  static constexpr double kUnitLow = 0x1.95355baaafad3p-57;
};

template <>
struct LogTable<LogBase::Two, float> {
  alignas(64) static constexpr float kHigh[16] = {
      -0x1.49ap-2f, -0x1.e02p-3f, -0x1.374p-3f, -0x1.2fp-4f, 0.0f,        0x1.204p-4f,  0x1.19ap-3f, 0x1.9dp-3f,
      0x1.0d6p-2f,  0x1.49ap-2f,  0x1.83ap-2f,  0x1.bb6p-2f, 0x1.f11p-2f, 0x1.1278p-1f, 0x1.2b8p-1f, -0x1.a9p-2f};
  alignas(64) static constexpr float kLow[16] = {
      -0x1.e12f34p-16f, -0x1.eb36f4p-16f, -0x1.ade2b4p-16f, -0x1.b49ac8p-16f, 0.0f,
      0x1.08e2dp-16f,   -0x1.24ce26p-17f, -0x1.b85d6p-16f,  -0x1.c6617ep-16f, 0x1.e0d2ep-16f,
      -0x1.dd2bc4p-16f, -0x1.91b62p-16f,  0x1.dc4f22p-17f,  -0x1.3d2358p-16f, 0x1.98151ap-20f,
      0x1.98151ap-20f};
  static constexpr float kTwoHigh = 0x1p+0f;
  static constexpr float kTwoLow = 0.0f;
  static constexpr float kUnit = 0x1.715476p+0f;
  static constexpr float kUnitLow = 0x1.4ae0cp-26f;
};
template <>
struct LogTable<LogBase::Ten, float> {
  alignas(64) static constexpr float kHigh[16] = {
      -0x1.8dp-4f, -0x1.21p-4f, -0x1.77p-5f, -0x1.6dp-6f, 0.0f,        0x1.5bp-6f,  0x1.53p-5f,  0x1.f1p-5f,
      0x1.444p-4f, 0x1.8dp-4f,  0x1.d2cp-4f, 0x1.0aep-3f, 0x1.2b4p-3f, 0x1.4a8p-3f, 0x1.68ap-3f, -0x1.ffcp-4f};
  alignas(64) static constexpr float kLow[16] = {
      0x1.cf8ef4p-17f,  -0x1.9a3b9ap-16f, 0x1.3c598ep-16f, 0x1.7da89p-20f,   0.0f,
      0x1.52d9f2p-17f,  0x1.6b9aeap-17f,  0x1.e50468p-16f, 0x1.390ab4p-16f,  -0x1.cfc68ap-17f,
      -0x1.37cb32p-17f, 0x1.8e0666p-16f,  0x1.4ae398p-17f, -0x1.2c9a44p-17f, 0x1.437caap-18f,
      0x1.ce5648p-23f};
  static constexpr float kTwoHigh = 0x1.344p-2f;
  static constexpr float kTwoLow = 0x1.3509f8p-18f;
  static constexpr float kUnit = 0x1.bcb7b2p-2f;
  static constexpr float kUnitLow = -0x1.5b235ep-27f;
};

// log(1 + r) = r - r^2 / 2 + r^3 P(r) on |r| <= 1/30, error 2.3e-17 r^2.
constexpr double kLogTail[] = {0.3333333333333296,  -0.24999999999998485, 0.2000000000519581,  -0.16666666677664863,
                               0.14285696369823744, -0.12499973952273283, 0.11133366349780667, -0.10024907367698137};

// The same without r, of float; error 3.7e-10 r^2.
constexpr float kLogCurve[] = {-0x1p-1f, 0x1.555552p-2f, -0x1.fffffp-3f, 0x1.9a01bap-3f, -0x1.55d4eap-3f};
template <class T, int N>
GORGO_INLINE Vec<T, N> log_curve(Vec<T, N> r) {
  if constexpr (std::is_same_v<T, float>) {
    return polynomial(r, kLogCurve);
  } else {
    return mul_add(r, polynomial(r, kLogTail), broadcast<Vec<T, N>>(-0.5));
  }
}

// e and c give the first part, r the second; low is what r has lost.
template <LogBase Base, class T, int N>
GORGO_INLINE Vec<T, N> log_of_parts(Vec<T, N> e, Vec<SignedLike<T>, N> index, Vec<T, N> r, Vec<T, N> low) {
  using V = Vec<T, N>;
  using Table = LogTable<Base, T>;
  const auto first = mul_add(e, broadcast<V>(Table::kTwoHigh), pick(Table::kHigh, index));
  const auto first_low = mul_add(e, broadcast<V>(Table::kTwoLow), pick(Table::kLow, index));
  auto rest = mul_add(r * r, log_curve(r), low);
  auto second = r;
  if constexpr (Base != LogBase::Natural) {
    const auto unit = broadcast<V>(Table::kUnit);
    second = r * unit;
    rest = mul_add(rest, unit, mul_add(r, broadcast<V>(Table::kUnitLow), product_lost(r, unit, second)));
  }
  const auto high = first + second;
  return high + ((second - (high - first)) + (rest + first_low));
}
// m / c - 1, exact where c is 1.
template <class T, int N>
GORGO_INLINE Vec<T, N> log_ratio(Vec<T, N> m, Vec<T, N> inverse) {
  return mul_add_once(m, inverse, broadcast<Vec<T, N>>(T{-1}));
}
template <LogBase Base, class T, int N>
GORGO_INLINE Vec<T, N> log_by_table(Vec<T, N> x) {
  const auto at = log_place(x);
  const auto r = log_ratio(at.m, pick(LogInverse<T>::k, at.index));
  return log_specials(x, log_of_parts<Base>(at.e, at.index, r, broadcast<Vec<T, N>>(T{0})));
}
template <class T, int N>
GORGO_INLINE Vec<T, N> log2(Vec<T, N> x) {
  return log_by_table<LogBase::Two>(x);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> log10(Vec<T, N> x) {
  return log_by_table<LogBase::Ten>(x);
}

// 2^-e, e a whole number up to 1024; from 1000 on anything as small.
template <int N>
GORGO_INLINE Vec<double, N> times_inverse_power(Vec<double, N> x, Vec<double, N> e) {
#if defined(GORGO_ISA_AVX512)
  if constexpr (N == 8) return times_power_of_two(x, -e);
#endif
  using V = Vec<double, N>;
  using U = Vec<std::uint64_t, N>;
  const auto biased = broadcast<V>(0x1p52 + 1023.0) - at_most(e, broadcast<V>(1000.0));
  return x * bits_as<double>(shift_left_by<52>(bits_as<std::uint64_t>(biased) & broadcast<U>(0x7ff)));
}
// log(1 + x + low) for x > -1; what the sum loses is carried on.
template <int N>
GORGO_INLINE Vec<double, N> log1p_of_sum(Vec<double, N> x, Vec<double, N> low) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto sum = one + x;
  const auto at = log_place(sum);
  const auto lost = times_inverse_power(sum_lost(one, x, sum) + low, at.e);
  const auto inverse = pick(LogInverse<double>::k, at.index);
  const auto near = log_ratio(at.m, inverse);
  const auto shift = lost * inverse;
  const auto r = near + shift;
  return log_of_parts<LogBase::Natural>(at.e, at.index, r, (near - r) + shift);
}
template <int N>
GORGO_INLINE Vec<double, N> log1p(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto zero = broadcast<V>(0.0);
  const auto value = log1p_of_sum(x, zero);
  return select(x == zero, x, log_specials(broadcast<V>(1.0) + x, value));
}

// The same, error 3.8e-19 r^2.
constexpr double kLogTailLong[] = {0.3333333333333333, -0.24999999999999198, 0.19999999999996917,
                                   -0.166666666740146, 0.14285714300950633,  -0.12499979497260752,
                                   0.1111108143257544, -0.10022331239922047, 0.09115982767576114};
// The logarithm in two parts, off by 2^-64 of itself; e^(y log |x|); the cases of C's annex F.
template <int N>
GORGO_INLINE Vec<double, N> pow(Vec<double, N> x, Vec<double, N> y) {
  using V = Vec<double, N>;
  using Table = LogTable<LogBase::Natural, double>;
  const auto zero = broadcast<V>(0.0);
  const auto one = broadcast<V>(1.0);
  const auto infinity = broadcast<V>(FloatBits<double>::kInfinity);
  const auto magnitude = abs(x);
  const auto at = log_place(magnitude);
  const auto inverse = pick(LogInverse<double>::k, at.index);
  const auto ratio = at.m * inverse;
  const auto ratio_low = product_lost(at.m, inverse, ratio);
  const auto r = ratio - one;
  const auto first = mul_add(at.e, broadcast<V>(Table::kTwoHigh), pick(Table::kHigh, at.index));
  const auto first_low = mul_add(at.e, broadcast<V>(Table::kTwoLow), pick(Table::kLow, at.index));
  const auto square = r * r;
  const auto half = broadcast<V>(0.5) * square;
  const auto half_low = broadcast<V>(0.5) * product_lost(r, r, square);
  const auto sum = first + r;
  const auto lead = sum - half;
  const auto lost = (r - (sum - first)) + ((sum - lead) - half);
  const auto small = mul_add(ratio_low, mul_add(r, r - one, one), -half_low) + first_low;
  const auto rest = lost + mul_add(r * square, polynomial(r, kLogTailLong), small);
  const auto log_high = lead + rest;
  const auto log_low = rest - (log_high - lead);
  auto log_x = select(magnitude == zero, -infinity, log_high);
  log_x = select(magnitude == infinity, infinity, log_x);
  const auto exponent =
      clamp(y, broadcast<V>(-0x1p900), broadcast<V>(0x1p900));  // so large, all but 1 is 0 or infinite
  const auto product = exponent * log_x;
  const auto product_low = mul_add(exponent, log_low, product_lost(exponent, log_x, product));
  const auto ordinary = abs(product) < broadcast<V>(800.0);
  const auto bounded = clamp(product, broadcast<V>(-746.0), broadcast<V>(710.0));
  const auto e = exp_reduce(bounded, select(ordinary, product_low, zero));
  const auto value = times_power(one + exp_rise_exact(e.r, e.low), e);
  return pow_specials(x, y, value);
}

// log2 of positive numbers to what a power of float32 shows: log2(1 + r) = r P(r), |r| <= 1/30, relative error 8.9e-12.
constexpr double kLog2Rough[] = {1.442695040897815,    -0.7213475204909552, 0.48089820361567637,
                                 -0.36067349537568577, 0.28888288575417426, -0.2408504465960342};
template <int N>
GORGO_INLINE Vec<double, N> rough_log2(Vec<double, N> x) {
  const auto at = log_place(x);
  const auto r = log_ratio(at.m, pick(LogInverse<double>::k, at.index));
  return mul_add(r, polynomial(r, kLog2Rough), at.e + pick(LogTable<LogBase::Two, double>::kHigh, at.index));
}
// 2^t on [-1/2, 1/2], relative error 4e-11.
constexpr double kExp2P[] = {0.999999999959558029,    0.693147180535475639,    0.240226512135246299,
                             0.055504109746639213,    0.00961802561050114167,  0.00133334238049947226,
                             0.000154697299630863616, 0.0000153161961439203505};
template <int N>
GORGO_INLINE Vec<float, N> float_exp2(Vec<double, N> x) {
  using V = Vec<double, N>;
  using I = std::int64_t;
  const auto z = clamp(x, broadcast<V>(-160.0), broadcast<V>(160.0));
  const auto magic = broadcast<V>(0x1.8p52);
  const auto shifted = z + magic;
  const auto whole = shifted - magic;
  const auto p = polynomial(z - whole, kExp2P);
  if constexpr (kHasTimesPower<double, N>) {
    return convert<float>(times_power_of_two(p, whole));
  } else {
    return convert<float>(p * power_of_two(bits_as<I>(shifted) - bits_as<I>(magic)));
  }
}
template <int N>
GORGO_INLINE Vec<float, N> pow(Vec<float, N> x, Vec<float, N> y) {
  const auto magnitude = abs(x);
  const auto value = by_wide_lanes(
      [](auto m, auto e) __attribute__((always_inline)) {
        const auto huge = like(convert<double>(m), FloatBits<double>::kInfinity);
        auto exponent = rough_log2(convert<double>(m));
        exponent = select(m == like(m, 0.0), -huge, exponent);
        exponent = select(convert<double>(m) == huge, huge, exponent);
        return float_exp2(convert<double>(e) * exponent);
      },
      magnitude, y);
  return pow_specials(x, y, value);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

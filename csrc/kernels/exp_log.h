// Exponentials, logarithms, powers and hyperbolic functions over Vec<T, N>.
//
// Invariant: as in math.h. A reduction leaves r and what r has lost, and who needs the last place adds that last.
// Read next: trigonometric.h, activations.h.
#pragma once

#include "kernels/arithmetic.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// ---- exp and what rests on it ----

// x = n ln2 + r + low with |r| <= ln2 / 2. The first product is exact: ln2's upper part ends in zeros.
template <class T, int N>
struct ExpReduced {
  Vec<SignedLike<T>, N> n;
  Vec<T, N> whole;  // n as well
  Vec<T, N> r;
  Vec<T, N> low;
};
template <class T>
struct Ln2;
template <>
struct Ln2<float> {
  static constexpr float kInverse = 0x1.715476p+0f;
  static constexpr float kHigh = 0x1.62e4p-1f;
  static constexpr float kLow = 0x1.7f7d1cp-20f;
  static constexpr float kNearest = 0x1.62e430p-1f;  // and what it lacks
  static constexpr float kRest = -0x1.05c610p-29f;
  static constexpr float kMagic = 0x1.8p23f;
};
template <>
struct Ln2<double> {
  static constexpr double kInverse = 0x1.71547652b82fep+0;
  static constexpr double kHigh = 0x1.62e42fefa2p-1;
  static constexpr double kLow = 0x1.9ef35793c7673p-41;
  static constexpr double kNearest = 0x1.62e42fefa39efp-1;
  static constexpr double kRest = 0x1.abc9e3b39803fp-56;
  static constexpr double kMagic = 0x1.8p52;
};
// `tail_of` gives what the product by ln2's lower part and an operand's own lower part take away.
template <class T, int N, class F>
GORGO_INLINE ExpReduced<T, N> exp_reduce_by(Vec<T, N> x, F tail_of) {
  using V = Vec<T, N>;
  using I = SignedLike<T>;
  const auto magic = broadcast<V>(Ln2<T>::kMagic);
  const auto shifted = mul_add(x, broadcast<V>(Ln2<T>::kInverse), magic);
  const auto whole = shifted - magic;
  const auto head = mul_add(-whole, broadcast<V>(Ln2<T>::kHigh), x);
  const auto tail = tail_of(whole, broadcast<V>(Ln2<T>::kLow));
  const auto r = head - tail;
  return {bits_as<I>(shifted) - bits_as<I>(magic), whole, r, (head - r) - tail};
}
template <class T, int N>
GORGO_INLINE ExpReduced<T, N> exp_reduce(Vec<T, N> x) {
  return exp_reduce_by(x, [](auto whole, auto ln2_low) __attribute__((always_inline)) { return whole * ln2_low; });
}
// The same of x + x_low.
template <class T, int N>
GORGO_INLINE ExpReduced<T, N> exp_reduce(Vec<T, N> x, Vec<T, N> x_low) {
  return exp_reduce_by(
      x, [x_low](auto whole, auto ln2_low) __attribute__((always_inline)) { return mul_add(whole, ln2_low, -x_low); });
}
// x 2^n for whole n by one instruction, which rounds once; for the vectors that have one.
#if defined(GORGO_ISA_AVX512)
template <class T, int N>
constexpr bool kHasTimesPower = N * sizeof(T) == 64;
template <class T, int N>
GORGO_INLINE Vec<T, N> times_power_of_two(Vec<T, N> x, Vec<T, N> n) {
  using R = RawVector<T, N>;
  if constexpr (std::is_same_v<T, float>) return {(R)_mm512_scalef_ps((__m512)x.raw, (__m512)n.raw)};
  if constexpr (std::is_same_v<T, double>) return {(R)_mm512_scalef_pd((__m512d)x.raw, (__m512d)n.raw)};
}
#else
template <class T, int N>
constexpr bool kHasTimesPower = false;
#endif
// x 2^n and x 2^-n.
template <class T, int N>
GORGO_INLINE Vec<T, N> times_power(Vec<T, N> x, const ExpReduced<T, N>& e) {
  if constexpr (kHasTimesPower<T, N>) {
    return times_power_of_two(x, e.whole);
  } else {
    return scale(x, e.n);
  }
}
template <class T, int N>
GORGO_INLINE Vec<T, N> over_power(Vec<T, N> x, const ExpReduced<T, N>& e) {
  return times_power(x, ExpReduced<T, N>{-e.n, -e.whole, e.r, e.low});
}
// 2^-n, for those to whom all below 2^-kLeast is alike. The exponent stays a normal one where that is cheaper.
template <int kLeast, class T, int N>
GORGO_INLINE Vec<T, N> inverse_power(const ExpReduced<T, N>& e) {
  if constexpr (kHasTimesPower<T, N>) {
    return over_power(broadcast<Vec<T, N>>(T{1}), e);
  } else {
    const auto most = broadcast<Vec<SignedLike<T>, N>>(kLeast);
    return power_of_two(-select(e.n < most, e.n, most));
  }
}

// e^r = 1 + r + r^2 Q(r) on |r| <= ln2 / 2, error 1.1e-10.
constexpr float kExpQ32[] = {0x1p-1f, 0x1.555556p-3f, 0x1.5554e8p-5f, 0x1.110ff4p-7f, 0x1.6d4cc6p-10f, 0x1.a266d8p-13f};
// The same, error 3.4e-18.
constexpr double kExpQ64[] = {0.500000000000001289,     0.166666666666666923,   0.0416666666665144073,
                              0.00833333333331114819,   0.00138888889472440078, 0.000198412699095044337,
                              0.0000248014897361252316, 2.75572228896068532e-6, 2.76313451507181378e-7,
                              2.51158868776908431e-8};
template <int N>
GORGO_INLINE Vec<float, N> exp_q(Vec<float, N> r) {
  return polynomial(r, kExpQ32);
}
template <int N>
GORGO_INLINE Vec<double, N> exp_q(Vec<double, N> r) {
  return polynomial(r, kExpQ64);
}

// e^(r + low) - 1 on |r| <= ln2 / 2.
template <class T, int N>
GORGO_INLINE Vec<T, N> exp_rise_exact(Vec<T, N> r, Vec<T, N> low) {
  return r + mul_add(r * r, exp_q(r), low);
}
template <int N>
GORGO_INLINE Vec<float, N> exp(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto e = exp_reduce(clamp(x, broadcast<V>(-104.0f), broadcast<V>(89.0f)));
  return times_power(broadcast<V>(1.0f) + exp_rise_exact(e.r, e.low), e);
}
template <int N>
GORGO_INLINE Vec<double, N> exp(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto e = exp_reduce(clamp(x, broadcast<V>(-746.0), broadcast<V>(710.0)));
  return times_power(broadcast<V>(1.0) + exp_rise_exact(e.r, e.low), e);
}

// e^r - 1 on |r| <= ln2 / 2 for those to whom one place of r is enough: a term less, error 3.1e-9 (exp and expm1 pass on
// every place).
constexpr float kRiseQ[] = {0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558b6p-5f, 0x1.1239a2p-7f, 0x1.6a4748p-10f};
template <int N>
GORGO_INLINE Vec<float, N> rise_q(Vec<float, N> r) {
  return polynomial(r, kRiseQ);
}
template <int N>
GORGO_INLINE Vec<double, N> rise_q(Vec<double, N> r) {
  return exp_q(r);
}
template <int N>
GORGO_INLINE Vec<float, N> exp_rise(Vec<float, N> r) {
  return mul_add(r * r, rise_q(r), r);
}
// x = u v reduced without a rest for them: the product rounds when its first multiple of ln2 has gone.
template <int N>
GORGO_INLINE ExpReduced<float, N> exp_reduce_product(Vec<float, N> u, Vec<float, N> v) {
  using V = Vec<float, N>;
  const auto magic = broadcast<V>(Ln2<float>::kMagic);
  const auto shifted = mul_add(u * v, broadcast<V>(Ln2<float>::kInverse), magic);
  const auto whole = shifted - magic;
  const auto head = mul_add_once(u, v, -(whole * broadcast<V>(Ln2<float>::kHigh)));
  const auto r = mul_add(-whole, broadcast<V>(Ln2<float>::kLow), head);
  return {bits_as<std::int32_t>(shifted) - bits_as<std::int32_t>(magic), whole, r, broadcast<V>(0.0f)};
}
template <class T, int N>
GORGO_INLINE Vec<T, N> expm1(Vec<T, N> x) {
  using V = Vec<T, N>;
  constexpr int kDigits = sizeof(T) == 4 ? 24 : 53;
  constexpr T kLimits[] = {sizeof(T) == 4 ? T(-18) : T(-38), sizeof(T) == 4 ? T(89) : T(710)};
  const auto e = exp_reduce(clamp(x, broadcast<V>(kLimits[0]), broadcast<V>(kLimits[1])));
  // 2^n (e^r - 1) + (2^n - 1) = 2^n ((1 - 2^-n) + (e^r - 1)); past all digits the 2^-n no longer shows.
  const auto one = broadcast<V>(T{1});
  const auto power = inverse_power<kDigits + 6>(e);
  const auto c = one - power;
  const auto high = c + e.r;
  const auto low = (e.r - (high - c)) + (e.low + ((one - c) - power));
  const auto sum = high + mul_add(e.r * e.r, exp_q(e.r), low);
  return select(x == broadcast<V>(T{0}), x, times_power(sum, e));
}

// sinh r = r + r^3 S(r^2), cosh r = 1 + r^2 C(r^2) on |r| <= ln2 / 2, errors 3.3e-19 of r and 2e-21, of float 6e-12 and 1.6e-10.
template <class T>
struct Hyperbolic;
template <>
struct Hyperbolic<double> {
  static constexpr double kS[] = {0.16666666666666669, 0.008333333333330063, 0.00019841269863043036,
                                  2.7557268476991908e-06, 2.510037721383154e-08};
  static constexpr double kC[] = {0.5,
                                  0.04166666666666668,
                                  0.0013888888888879082,
                                  2.4801587336424046e-05,
                                  2.755726329888237e-07,
                                  2.091813031829339e-09};
  static constexpr double kEnd = 712.0;
};
template <>
struct Hyperbolic<float> {
  static constexpr float kS[] = {0x1.555556p-3f, 0x1.1110e0p-7f, 0x1.a124eap-13f};
  static constexpr float kC[] = {0x1p-1f, 0x1.5554eap-5f, 0x1.6d431ep-10f};
  static constexpr float kEnd = 91.0f;
};
// With |x| = n ln2 + r: sinh |x| = 2^(n-1) (b cosh r + a sinh r) and cosh |x| = 2^(n-1) (a cosh r + b sinh r), where
// a = 1 + 2^-2n, b = 1 - 2^-2n. The leading terms, b + a r and a + b r, keep what they lose.
template <bool Odd, class T, int N>
GORGO_INLINE Vec<T, N> hyperbolic(Vec<T, N> x) {
  using V = Vec<T, N>;
  const auto one = broadcast<V>(T{1});
  const auto e = exp_reduce(at_most(abs(x), broadcast<V>(Hyperbolic<T>::kEnd)));
  const auto power = inverse_power<120>(ExpReduced<T, N>{e.n + e.n, e.whole + e.whole, e.r, e.low});
  const auto a = one + power;
  const auto b = one - power;
  const auto even = Odd ? b : a;
  const auto odd = Odd ? a : b;
  const auto lost = Odd ? (one - b) - power : power - (a - one);
  const auto z = e.r * e.r;
  const auto first = odd * e.r;
  const auto high = even + first;
  const auto high_low = (first - (high - even)) + product_lost(odd, e.r, first);
  const auto tails = mul_add(z * even, polynomial(z, Hyperbolic<T>::kC),
                             odd * mul_add(z * e.r, polynomial(z, Hyperbolic<T>::kS), e.low));
  const auto sum = high + (tails + (high_low + lost));
  const auto less = broadcast<Vec<SignedLike<T>, N>>(1);
  const auto value = times_power(sum, ExpReduced<T, N>{e.n - less, e.whole - one, e.r, e.low});
  return Odd ? copysign(value, x) : value;
}
template <class T, int N>
GORGO_INLINE Vec<T, N> cosh(Vec<T, N> x) {
  return hyperbolic<false>(x);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> sinh(Vec<T, N> x) {
  return hyperbolic<true>(x);
}

// ---- log and what rests on it ----

// x = 2^e m with m in [sqrt(1/2), sqrt(2)), for positive finite x, denormals too; `Least` has the bits of m's lower end.
template <class T, int N>
struct LogReduced {
  Vec<T, N> e;
  Vec<T, N> m;
};
template <std::uint32_t Least = 0x3f3504f3, int N>
GORGO_INLINE LogReduced<float, N> log_reduce(Vec<float, N> x) {
  using V = Vec<float, N>;
  using I = Vec<std::int32_t, N>;
  const auto tiny = x < broadcast<V>(0x1p-126f);
  const auto normal = select(tiny, x * broadcast<V>(0x1p23f), x);
  const auto bits = bits_as<std::int32_t>(normal);
  const auto e = shift_right_by<23>(bits - broadcast<I>(static_cast<std::int32_t>(Least)));
  const auto m = bits_as<float>(bits - shift_left_by<23>(e));
  const auto shift = select(tiny, broadcast<V>(23.0f), broadcast<V>(0.0f));
  return {convert<float>(e) - shift, m};
}
template <std::uint64_t Least = 0x3fe6a09e667f3bcdu, int N>
GORGO_INLINE LogReduced<double, N> log_reduce(Vec<double, N> x) {
  using V = Vec<double, N>;
  using U = Vec<std::uint64_t, N>;
  const auto tiny = x < broadcast<V>(0x1p-1022);
  const auto normal = select(tiny, x * broadcast<V>(0x1p52), x);
  // The exponent plus 1024 is positive, and as the low bits of 2^52 it becomes a float64 without a 64-bit conversion.
  const auto bits = bits_as<std::uint64_t>(normal);
  const auto biased = shift_right_by<52>(bits - broadcast<U>(Least) + broadcast<U>(std::uint64_t{1024} << 52));
  const auto exponent = biased - broadcast<U>(1024);
  const auto m = bits_as<double>(bits - shift_left_by<52>(exponent));
  const auto e = bits_as<double>(biased | broadcast<U>(0x4330000000000000u)) - broadcast<V>(0x1p52 + 1024.0);
  const auto shift = select(tiny, broadcast<V>(52.0), broadcast<V>(0.0));
  return {e - shift, m};
}
// Puts in what the reduction does not cover: 0, negative numbers, infinity, NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> log_specials(Vec<T, N> x, Vec<T, N> value) {
  using V = Vec<T, N>;
  const auto zero = broadcast<V>(T{0});
  const auto infinity = broadcast<V>(FloatBits<T>::kInfinity);
  value = select(x < infinity, value, x);  // infinity and NaN stay
  value = select(x == zero, -infinity, value);
  return select(x < zero, broadcast<V>(FloatBits<T>::kNan), value);
}

// log(1 + f) = f - f^2 / 2 + f^3 P(f), f in [sqrt(1/2) - 1, sqrt(2) - 1], relative error 7.7e-10.
constexpr float kLogP[] = {0x1.555548p-2f,  -0x1.000006p-2f, 0x1.99a47ap-3f, -0x1.555c52p-3f, 0x1.233b46p-3f,
                           -0x1.fc25b2p-4f, 0x1.e6c23p-4f,   -0x1.de17p-4f,  0x1.148978p-4f};
// e ln2 + log(1 + f) + low, as a sum of two numbers.
template <int N>
struct LogSum {
  Vec<float, N> lead;
  Vec<float, N> rest;
};
template <int N>
GORGO_INLINE LogSum<N> log_sum(Vec<float, N> e, Vec<float, N> f, Vec<float, N> low) {
  using V = Vec<float, N>;
  const auto f2 = f * f;
  auto rest = mul_add(f * f2, polynomial(f, kLogP), low);
  rest = mul_add(e, broadcast<V>(Ln2<float>::kLow), rest);
  const auto half = broadcast<V>(0.5f) * f2;
  const auto high = e * broadcast<V>(Ln2<float>::kHigh);
  // The larger of the two leading terms first, keeping what its addition loses.
  const auto lead = high + f;
  const auto lost = select(e == broadcast<V>(0.0f), broadcast<V>(0.0f), f - (lead - high));
  return {lead, (rest - half) + lost};
}
template <int N>
GORGO_INLINE Vec<float, N> log(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto parts = log_reduce(x);
  const auto sum = log_sum(parts.e, parts.m - broadcast<V>(1.0f), broadcast<V>(0.0f));
  return log_specials(x, sum.lead + sum.rest);
}
// With s = f / (2 + f): log(1 + f) = 2 s + s^3 R(s^2), error 2.5e-18.
constexpr double kLogR[] = {0.666666666666673443, 0.399999999994148728, 0.285714287423243159, 0.222221985801243795,
                            0.181835639785044553, 0.153140586814405661, 0.147958780662560973};
template <int N>
GORGO_INLINE Vec<double, N> log(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto parts = log_reduce(x);
  const auto f = parts.m - broadcast<V>(1.0);
  const auto s = f / (broadcast<V>(2.0) + f);
  const auto z = s * s;
  const auto half = broadcast<V>(0.5) * f * f;
  // 2 s + s^3 R = f - f^2/2 + s (f^2/2 + s^2 R): the leading term is exact.
  const auto rest = mul_add(parts.e, broadcast<V>(Ln2<double>::kLow), s * mul_add(z, polynomial(z, kLogR), half));
  const auto value = parts.e * broadcast<V>(Ln2<double>::kHigh) - ((half - rest) - f);
  return log_specials(x, value);
}

// log(1 + x + x_low) for x > -1, where 1 + x may have lost digits, as `sum` says.
template <int N>
GORGO_INLINE LogSum<N> log1p_sum(Vec<float, N> x, Vec<float, N> x_low, Vec<float, N> sum) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto lost = select(x > one, one - (sum - x), x - (sum - one));
  const auto parts = log_reduce(sum);
  const auto near = parts.e == broadcast<V>(0.0f);  // there x itself is the exact argument
  const auto f = select(near, x, parts.m - one);
  // What the sum lost, times the slope of log there.
  return log_sum(parts.e, f, (select(near, broadcast<V>(0.0f), lost) + x_low) / sum);
}
template <int N>
GORGO_INLINE Vec<float, N> log1p(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto zero = broadcast<V>(0.0f);
  const auto sum = broadcast<V>(1.0f) + x;
  const auto value = log1p_sum(x, zero, sum);
  return select(x == zero, x, log_specials(sum, value.lead + value.rest));
}

// ---- powers ----

// 2^n e^(r ln2), r in two parts.
template <class T, int N>
GORGO_INLINE Vec<T, N> exp2(Vec<T, N> x) {
  using V = Vec<T, N>;
  using I = SignedLike<T>;
  constexpr T kLimits[] = {sizeof(T) == 4 ? T(-152) : T(-1080), sizeof(T) == 4 ? T(129) : T(1025)};
  const auto magic = broadcast<V>(Ln2<T>::kMagic);
  const auto z = clamp(x, broadcast<V>(kLimits[0]), broadcast<V>(kLimits[1]));
  const auto shifted = z + magic;
  const auto whole = shifted - magic;
  const auto part = z - whole;
  const auto ln2 = broadcast<V>(Ln2<T>::kNearest);
  const auto r = part * ln2;
  const auto low = mul_add(part, broadcast<V>(Ln2<T>::kRest), product_lost(part, ln2, r));
  const ExpReduced<T, N> e{bits_as<I>(shifted) - bits_as<I>(magic), whole, r, low};
  return times_power(broadcast<V>(T{1}) + exp_rise_exact(e.r, e.low), e);
}

// Puts signs and special cases into |x|^y.
template <class T, int N>
GORGO_INLINE Vec<T, N> pow_specials(Vec<T, N> x, Vec<T, N> y, Vec<T, N> value) {
  using V = Vec<T, N>;
  const auto zero = broadcast<V>(T{0});
  const auto one = broadcast<V>(T{1});
  const auto half_y = y * broadcast<V>(T(0.5));
  const auto whole = trunc(y) == y;
  const auto odd = whole & (trunc(half_y) != half_y);
  value = select(odd, copysign(value, x), value);
  const auto no_root = (x < zero) & (abs(x) < broadcast<V>(FloatBits<T>::kInfinity)) & !whole;
  value = select(no_root, broadcast<V>(FloatBits<T>::kNan), value);
  value = select(isnan(x) | isnan(y), x + y, value);
  return select((y == zero) | (x == one) | ((x == -one) & isinf(y)), one, value);
}
// Integers wrap; a negative exponent gives 0 except for bases 1 and -1.
template <class T, int N>
GORGO_INLINE Vec<T, N> pow(Vec<T, N> x, Vec<T, N> y) {
  using U = UnsignedLike<T>;
  return map_lanes<T>(x, y, [](T base, T exponent) {
    if constexpr (std::is_signed_v<T>) {
      if (exponent < 0) {
        if (base == 1) return T{1};
        if (base == -1) return static_cast<T>((exponent & 1) != 0 ? -1 : 1);
        return T{0};
      }
    }
    auto factor = static_cast<std::uint64_t>(base);
    std::uint64_t result = 1;
    for (auto left = static_cast<std::uint64_t>(exponent); left != 0; left >>= 1) {
      if ((left & 1) != 0) result *= factor;
      factor *= factor;
    }
    return static_cast<T>(static_cast<U>(result));
  });
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

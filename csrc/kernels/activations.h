// Activations over Vec<T, N>: sigmoid, silu, tanh, softplus, gelu and its approximation.
//
// Invariant: as in math.h. Each keeps its relative accuracy in its tails: no difference of near numbers, and exponents in two
// parts.
// Read next: ops/elementwise/functors.h, whose plain formulas serve where nothing stands here.
#pragma once

#include "kernels/error_function.h"
#include "kernels/logarithms.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// 1 / (d + d_low), the quotient corrected by its remainder.
template <class T, int N>
GORGO_INLINE Vec<T, N> corrected_reciprocal(Vec<T, N> d, Vec<T, N> d_low) {
  const auto one = broadcast<Vec<T, N>>(T{1});
  const auto q = one / d;
  const auto rest = mul_add(-q, d_low, mul_add_once(-q, d, one));
  return mul_add(rest, q, q);
}

// 1 / (1 + e^h) = 2^-n / ((1 + 2^-n) + (e^r - 1)): the divisor in two parts. Below 2^-60 nothing of the power shows beside 1.
template <class T, int N>
struct LogisticDivisor {
  Vec<T, N> d;
  Vec<T, N> low;
};
template <int N>
GORGO_INLINE LogisticDivisor<float, N> logistic_divisor(const ExpReduced<float, N>& e) {
  const auto one = broadcast<Vec<float, N>>(1.0f);
  const auto power = inverse_power<60>(e);
  const auto whole = one + power;
  const auto rise = exp_rise(e.r);
  const auto d = whole + rise;
  return {d, (rise - (d - whole)) + (power - (whole - one))};
}
// The same, with all that r tells: r joins the first part, and what that loses the rest of the rise.
template <class T, int N>
GORGO_INLINE LogisticDivisor<T, N> logistic_divisor_exact(const ExpReduced<T, N>& e) {
  const auto one = broadcast<Vec<T, N>>(T{1});
  const auto power = inverse_power<60>(e);
  const auto whole = one + power;
  const auto first = whole + e.r;
  const auto lost = (e.r - (first - whole)) + (power - (whole - one));
  const auto rest = mul_add(e.r * e.r, rise_q(e.r), e.low) + lost;
  const auto d = first + rest;
  return {d, rest - (d - first)};
}

template <int N>
GORGO_INLINE Vec<float, N> sigmoid(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto e = exp_reduce(at_most(abs(x), broadcast<V>(104.0f)));
  const auto [d, d_low] = logistic_divisor(e);
  const auto tail = over_power(corrected_reciprocal(d, d_low), e);
  return select(x < broadcast<V>(0.0f), tail, one - tail);
}
template <int N>
GORGO_INLINE Vec<double, N> sigmoid(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto e = exp_reduce(at_most(abs(x), broadcast<V>(760.0)));
  const auto [d, d_low] = logistic_divisor_exact(e);
  const auto tail = over_power(corrected_reciprocal(d, d_low), e);
  return select(x < broadcast<V>(0.0), tail, one - tail);
}

// x sigmoid(h) for h of the sign of x, |h| = n ln2 + r + low. The quotient keeps what it loses, so that the product
// is the first to round. -inf times 0 is NaN.
template <class T, int N>
GORGO_INLINE Vec<T, N> times_logistic(Vec<T, N> x, Vec<T, N> magnitude, const ExpReduced<T, N>& e) {
  using V = Vec<T, N>;
  const auto one = broadcast<V>(T{1});
  const auto zero = broadcast<V>(T{0});
  const auto [d, d_low] = logistic_divisor_exact(e);
  const auto q = one / d;
  const auto q_low = mul_add(-q, d_low, mul_add_once(-q, d, one)) * q;
  const auto v = mul_add_once(magnitude, q, magnitude * q_low);
  return select(x < zero, x * zero, x) - over_power(v, e);
}
// Beyond these the result for negative x is 0.
template <class T>
struct LogisticLimits;
template <>
struct LogisticLimits<float> {
  static constexpr float kSilu = 110.0f;
  static constexpr float kGelu = 11.5f;
};
template <>
struct LogisticLimits<double> {
  static constexpr double kSilu = 760.0;
  static constexpr double kGelu = 22.0;
};
template <class T, int N>
GORGO_INLINE Vec<T, N> silu(Vec<T, N> x) {
  const auto m = magnitude_at_most(x, LogisticLimits<T>::kSilu);
  return times_logistic(x, m, exp_reduce(m));
}
// x sigmoid(a x + b x^3), a = sqrt(8 / pi), b = 0.044715 a. The argument is formed in two parts: where it is large, its
// last place is the result's first ones.
template <class T>
struct GeluTanhFactors;
template <>
struct GeluTanhFactors<float> {
  static constexpr float kA[] = {0x1.988454p+0f, -0x1.857936p-25f};
  static constexpr float kB[] = {0x1.2444f2p-4f, 0x1.49b16ap-29f};
};
template <>
struct GeluTanhFactors<double> {
  static constexpr double kA[] = {0x1.9884533d43651p+0, -0x1.cbc0d30ebfd15p-54};
  static constexpr double kB[] = {0x1.2444f2a4d8b4bp-4, -0x1.6c843a29d1c70p-61};
};
template <class T, int N>
GORGO_INLINE Vec<T, N> gelu_tanh(Vec<T, N> x) {
  using V = Vec<T, N>;
  using Factors = GeluTanhFactors<T>;
  const auto a = broadcast<V>(Factors::kA[0]);
  const auto b = broadcast<V>(Factors::kB[0]);
  const auto m = magnitude_at_most(x, LogisticLimits<T>::kGelu);
  const auto square = m * m;
  const auto square_low = product_lost(m, m, square);
  const auto term = b * square;
  const auto term_low =
      mul_add(broadcast<V>(Factors::kB[1]), square, mul_add(b, square_low, product_lost(b, square, term)));
  const auto sum = a + term;
  const auto part = sum - a;
  const auto sum_low = ((a - (sum - part)) + (term - part)) + (broadcast<V>(Factors::kA[1]) + term_low);
  const auto h = m * sum;
  return times_logistic(x, m, exp_reduce(h, mul_add(m, sum_low, product_lost(m, sum, h))));
}

// tanh x = x + x z P(z), z = x^2, |x| < 0.625, relative error 1.6e-10.
constexpr float kTanhP[] = {-0x1.555554p-2f, 0x1.11107cp-3f,  -0x1.b9f21cp-5f,
                            0x1.63acc4p-6f,  -0x1.0c8726p-7f, 0x1.1ac484p-9f};
template <int N>
GORGO_INLINE Vec<float, N> tanh_by_quotient(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto magnitude = abs(x);
  const auto z = x * x;
  const auto small = mul_add(x * z, polynomial(z, kTanhP), x);
  // 1 - 2 / (e^2|x| + 1). The divisor is (2^n + 1) + 2^n (e^r - 1), whose first part is exact.
  const auto e = exp_reduce(at_most(magnitude + magnitude, broadcast<V>(20.0f)));
  const auto power = times_power(one, e);
  const auto rise = power * exp_rise(e.r);
  const auto whole = power + one;
  const auto d = whole + rise;
  const auto large = mul_add(broadcast<V>(-2.0f), corrected_reciprocal(d, rise - (d - whole)), one);
  return copysign(select(magnitude < broadcast<V>(0.625f), small, large), x);
}

// A function of m >= 0 by pieces, as many as a table has entries that one instruction picks from: value + t P(t), t = m - centre. A
// piece is two or one of the leading bits of m kScale + kOffset behind its first. At a centre the function is next to a float, to a
// thousandth of a place; in the first piece, which lies around 0, the value is a multiple of m that the caller knows.
template <int N>
struct Piece {
  Vec<float, N> t;
  Vec<float, N> p;
  Vec<float, N> value;
};
template <class Pieces, int N, int I = 0>
GORGO_INLINE Vec<float, N> polynomial_of_piece(Vec<float, N> t, Vec<std::int32_t, N> index) {
  const auto c = pick(Pieces::kC[I], index);
  if constexpr (I + 1 == sizeof Pieces::kC / sizeof Pieces::kC[0]) {
    return c;
  } else {
    return mul_add(polynomial_of_piece<Pieces, N, I + 1>(t, index), t, c);
  }
}
template <class Pieces, int N>
GORGO_INLINE Piece<N> piece_of(Vec<float, N> m, Vec<float, N> first_value) {
  using V = Vec<float, N>;
  constexpr int kBits = kPickSize == 16 ? 2 : 1;
  constexpr float kFirstEnd = 1.0f + 1.0f / (1 << kBits);
  const auto place = mul_add(m, broadcast<V>(Pieces::kScale), broadcast<V>(Pieces::kOffset));
  const auto index = shift_right_by<23 - kBits>(bits_as<std::int32_t>(place));
  const auto t = m - pick(Pieces::kCentre, index);
  const auto p = polynomial_of_piece<Pieces>(t, index);
  return {t, p, select(place < broadcast<V>(kFirstEnd), first_value, pick(Pieces::kValue, index))};
}

// tanh on [0, kEnd], from where on it is 1, error 0.09 places; with eight pieces 0.24.
template <int Count>
struct TanhPieces;
template <>
struct TanhPieces<16> {
  static constexpr float kEnd = 10.0f;
  static constexpr float kScale = 1.0f;
  static constexpr float kOffset = 1.0f;
  alignas(64) static constexpr float kCentre[16] = {0x1.3fed1ep+0f, 0x1.bff09ap+0f, 0x1.202ec8p+1f, 0x1.5fe7f2p+1f,
                                                    0x1.c01338p+1f, 0x1.1fe142p+2f, 0x1.5fe8bep+2f, 0x1.9fef28p+2f,
                                                    0x1.0a2b24p+3f, 0x1.2p+3f,      0x1.2p+3f,      0x1.2p+3f,
                                                    0x0p+0f,        0x1.80169p-2f,  0x1.400dfap-1f, 0x1.c0129cp-1f};
  alignas(64) static constexpr float kValue[16] = {0x1.b247a4p-1f, 0x1.e1f878p-1f, 0x1.f4c7f6p-1f, 0x1.fbd37ap-1f,
                                                   0x1.ff1174p-1f, 0x1.ffdf88p-1f, 0x1.fffb9cp-1f, 0x1.ffff68p-1f,
                                                   0x1.fffffcp-1f, 0x1p+0f,        0x1p+0f,        0x1p+0f,
                                                   0x0p+0f,        0x1.6f08e8p-2f, 0x1.1bfe2cp-1f, 0x1.686fb4p-1f};
  alignas(64) static constexpr float kC[6][16] = {
      {0x1.1f48fcp-2f, 0x1.d26162p-4f, 0x1.631256p-5f, 0x1.0a0ac4p-6f, 0x1.dcab24p-9f, 0x1.03b92ap-11f, 0x1.190054p-14f,
       0x1.30017ep-17f, 0x1.fefa4cp-23f, 0x0p+0f, 0x0p+0f, 0x0p+0f, 0x1.5a01a4p-28f, 0x1.be38aep-1f, 0x1.627a08p-1f,
       0x1.0242d2p-1f},
      {-0x1.e75a36p-3f, -0x1.b706cep-4f, -0x1.5b4a8ep-5f, -0x1.07df88p-6f, -0x1.dbcc52p-9f, -0x1.03a81cp-11f,
       -0x1.18fd5ap-14f, -0x1.300096p-17f, -0x1.017678p-22f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.8de414p-20f,
       -0x1.3fe164p-2f, -0x1.893cd8p-2f, -0x1.6b9ea8p-2f},
      {0x1.bbc32ep-4f, 0x1.01d826p-4f, 0x1.baa752p-6f, 0x1.5a1234p-7f, 0x1.3bbf3ep-9f, 0x1.59acf4p-12f, 0x1.763b0ap-15f,
       0x1.94e6c4p-18f, 0x1.5e6a3p-23f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.5542bp-2f, -0x1.6da45ep-3f, -0x1.23582ap-6f,
       0x1.4f3bd8p-4f},
      {-0x1.9b63ccp-7f, -0x1.817dbcp-6f, -0x1.92e07p-7f, -0x1.4eb1acp-8f, -0x1.398092p-10f, -0x1.596ebcp-13f,
       -0x1.76458ap-16f, -0x1.94facap-19f, -0x1.320078p-24f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.483d24p-10f,
       0x1.584f0ap-3f, 0x1.1a56c8p-3f, 0x1.f1ad46p-5f},
      {-0x1.430048p-6f, 0x1.c81e84p-9f, 0x1.0443dcp-8f, 0x1.f6927ap-10f, 0x1.00bf22p-11f, 0x1.1f7ef6p-14f,
       0x1.382ffcp-17f, 0x1.51ead4p-20f, 0x1.c191d8p-26f, 0x0p+0f, 0x0p+0f, 0x0p+0f, 0x1.25937p-3f, 0x1.312daap-6f,
       -0x1.bbcecep-5f, -0x1.e174eep-5f},
      {0x1.edced8p-7f, 0x1.12bfecp-9f, -0x1.77621ap-11f, -0x1.1dff72p-11f, -0x1.4a9808p-13f, -0x1.7b742cp-16f,
       -0x1.9df9bap-19f, -0x1.c0a80ep-22f, -0x1.8ee1cap-26f, 0x0p+0f, 0x0p+0f, 0x0p+0f, -0x1.320272p-5f,
       -0x1.1b61e2p-4f, -0x1.8349eap-6f, 0x1.ab94d6p-7f}};
};
template <>
struct TanhPieces<8> {
  static constexpr float kEnd = 9.02f;
  static constexpr float kScale = 1.66f;
  static constexpr float kOffset = 1.0f;
  alignas(64) static constexpr float kCentre[8] = {0x1.d41334p-1f, 0x1.81bdbap+0f, 0x1.36bdc4p+1f, 0x1.d0fe5ep+1f,
                                                   0x1.5a0bdap+2f, 0x1.f70402p+2f, 0x0p+0f,        0x1.d44e6ep-2f};
  alignas(64) static constexpr float kValue[8] = {0x1.72403cp-1f, 0x1.d00fb2p-1f, 0x1.f81686p-1f, 0x1.ff48d4p-1f,
                                                  0x1.fffabap-1f, 0x1.fffff6p-1f, 0x0p+0f,        0x1.b62cfap-2f};
  alignas(64) static constexpr float kC[7][8] = {{0x1.e8823ep-2f, 0x1.6d8e34p-3f, 0x1.f67532p-6f, 0x1.6e165ap-9f,
                                                  0x1.517598p-14f, 0x1.3fe596p-21f, 0x1.56d05p-31f, 0x1.a24042p-1f},
                                                 {-0x1.6143b4p-2f, -0x1.4b5404p-3f, -0x1.eeae78p-6f, -0x1.6d95a2p-9f,
                                                  -0x1.52282cp-14f, -0x1.409e44p-21f, -0x1.a5cp-23f, -0x1.65f1b6p-2f},
                                                 {0x1.728756p-4f, 0x1.64e86cp-4f, 0x1.3f85fep-6f, 0x1.e61a62p-10f,
                                                  0x1.c29228p-15f, 0x1.ac7368p-22f, -0x1.5552b2p-2f, -0x1.f6ab4p-4f},
                                                 {0x1.96cf66p-5f, -0x1.9a8f22p-6f, -0x1.2bcc8ep-7f, -0x1.e2cae2p-11f,
                                                  -0x1.b6aef2p-16f, -0x1.a062dp-23f, -0x1.927e88p-13f, 0x1.5a2b48p-3f},
                                                 {-0x1.c77cf2p-5f, -0x1.370a14p-9f, 0x1.a2f582p-9f, 0x1.7d60bcp-12f,
                                                  0x1.6165a8p-17f, 0x1.46cffcp-24f, 0x1.14917p-3f, -0x1.b2b7bcp-7f},
                                                 {0x1.d64968p-7f, 0x1.cfa648p-8f, -0x1.715e9cp-11f, -0x1.03c798p-13f,
                                                  -0x1.2376acp-18f, -0x1.13e418p-25f, -0x1.e83f2p-8f, -0x1.daf0aap-5f},
                                                 {0x1.3ca0e2p-7f, -0x1.fe2726p-9f, -0x1.10761p-19f, 0x1.2258bep-15f,
                                                  0x1.42321p-20f, 0x1.531664p-27f, -0x1.4a07dep-5f, 0x1.89e378p-6f}};
};
template <int N>
GORGO_INLINE Vec<float, N> tanh_by_pieces(Vec<float, N> x) {
  using Pieces = TanhPieces<kPickSize>;
  const auto m = at_most(abs(x), broadcast<Vec<float, N>>(Pieces::kEnd));
  const auto piece = piece_of<Pieces>(m, m);
  return copysign(mul_add(piece.t, piece.p, piece.value), x);
}
template <int N>
GORGO_INLINE Vec<float, N> tanh(Vec<float, N> x) {
  if constexpr (kPicks) {
    return tanh_by_pieces(x);
  } else {
    return tanh_by_quotient(x);
  }
}
// With 2 |x| = n ln2 + r: ((1 - 2^-n) + (e^r - 1)) / ((1 + 2^-n) + (e^r - 1)), both in two parts.
template <int N>
GORGO_INLINE Vec<double, N> tanh(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto m = at_most(abs(x), broadcast<V>(20.0));
  const auto e = exp_reduce(m + m);
  const auto power = inverse_power<60>(e);
  const auto rest = mul_add(e.r * e.r, exp_q(e.r), e.low);
  const auto difference = one - power;
  const auto first = difference + e.r;
  const auto first_low = (e.r - (first - difference)) + ((one - difference) - power) + rest;
  const auto top = first + first_low;
  const auto top_low = first_low - (top - first);
  const auto sum = one + power;
  const auto second = sum + e.r;
  const auto second_low = (e.r - (second - sum)) + (power - (sum - one)) + rest;
  const auto d = second + second_low;
  const auto d_low = second_low - (d - second);
  const auto inverse = one / d;
  const auto q = top * inverse;
  const auto left = mul_add_once(-q, d, top) + mul_add(-q, d_low, top_low);
  return copysign(mul_add(left, inverse, q), x);
}

// max(x, 0) + log1p(e^-|x|). For float32 the exponential comes with what its last addition loses, and the sum keeps its
// own loss, so that it rounds about once.
template <int N>
GORGO_INLINE Vec<float, N> softplus(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto e = exp_reduce(at_least(-abs(x), broadcast<V>(-104.0f)));
  const auto rise = exp_rise_exact(e.r, e.low);
  const auto high = one + rise;
  const auto z = times_power(high, e);
  const auto z_low = times_power((one - high) + rise, e);
  const auto value = log1p_sum(z, z_low, one + z);
  const auto ramp = at_least(x, broadcast<V>(0.0f));
  const auto sum = ramp + value.lead;
  const auto part = sum - ramp;
  const auto lost = (ramp - (sum - part)) + (value.lead - part);
  // From 32 on the logarithm does not show; infinity and NaN stay so.
  return select(x < broadcast<V>(32.0f), sum + (lost + value.rest), x);
}
template <int N>
GORGO_INLINE Vec<double, N> softplus(Vec<double, N> x) {
  return at_least(x, broadcast<Vec<double, N>>(0.0)) + log1p(exp(-abs(x)));
}

// The normal distribution's tail P(X > m) is e^(-m^2/2) W(m); W as a quotient of polynomials in m without a negative
// coefficient, relative error 1.7e-8 for m in [0, 14.7].
constexpr float kTailTop[] = {0x1p-1f, 0x1.c13998p-2f, 0x1.77e01ap-3f, 0x1.4db0d8p-5f, 0x1.0ebf1ep-8f};
constexpr float kTailBottom[] = {0x1p+0f,        0x1.acdefcp+0f, 0x1.34283ep+0f,
                                 0x1.e18b02p-2f, 0x1.a23ec8p-4f, 0x1.5353a0p-7f};
template <class T, int N>
GORGO_INLINE Vec<T, N> normal_weight(Vec<T, N> m) {
  return polynomial(m, kTailTop) / polynomial(m, kTailBottom);
}
// e^(-m^2/2) = 2^n (1 + rise) for m up to where P(X > m) rounds to 0.
constexpr float kTailEnd = 15.0f;
template <int N>
GORGO_INLINE ExpReduced<float, N> normal_exponent(Vec<float, N> m) {
  return exp_reduce_product(broadcast<Vec<float, N>>(-0.5f) * m, m);
}

// m W(m) for m up to kEnd, where gelu rounds to 0, error 0.04 places; with eight pieces 0.19.
struct GeluRange {
  static constexpr float kEnd = 14.37f;
  static constexpr float kScale = 1.0368f;
  static constexpr float kOffset = 1.1f;
};
template <int Count>
struct GeluPieces;
template <>
struct GeluPieces<16> : GeluRange {
  alignas(64) static constexpr float kCentre[16] = {0x1.1ab272p+0f, 0x1.984d7ep+0f, 0x1.08c0eep+1f, 0x1.47d1fcp+1f,
                                                    0x1.a6303ap+1f, 0x1.106506p+2f, 0x1.4ccfaap+2f, 0x1.8b54fcp+2f,
                                                    0x1.e89668p+2f, 0x1.308f9p+3f,  0x1.6eb6b2p+3f, 0x1.ac585ep+3f,
                                                    0x0p+0f,        0x1.0e6c38p-2f, 0x1.036e56p-1f, 0x1.812ee6p-1f};
  alignas(64) static constexpr float kValue[16] = {0x1.1852e8p-2f, 0x1.42968ep-2f, 0x1.5b2a04p-2f, 0x1.6b7912p-2f,
                                                   0x1.7a4f34p-2f, 0x1.84f10cp-2f, 0x1.8ad64ap-2f, 0x1.8e8ef4p-2f,
                                                   0x1.91d72cp-2f, 0x1.942614p-2f, 0x1.957986p-2f, 0x1.96462cp-2f,
                                                   0x0p+0f,        0x1.bb63d6p-4f, 0x1.694138p-3f, 0x1.cdf5c2p-3f};
  alignas(64) static constexpr float kC[6][16] = {
      {0x1.c1282cp-4f, 0x1.04d488p-4f, 0x1.478848p-5f, 0x1.a8f186p-6f, 0x1.e1fa9ap-7f, 0x1.0227a4p-7f, 0x1.3291ep-8f,
       0x1.810b0cp-9f, 0x1.ab1832p-10f, 0x1.c77f0ep-11f, 0x1.09efaep-11f, 0x1.519c16p-12f, -0x1.69c444p-35f,
       0x1.5521dep-2f, 0x1.e202bp-3f, 0x1.5aedcp-3f},
      {-0x1.08c604p-4f, -0x1.0f6c82p-5f, -0x1.302e32p-6f, -0x1.611606p-7f, -0x1.578c8p-8f, -0x1.3423e2p-9f,
       -0x1.399a58p-10f, -0x1.55df8ep-11f, -0x1.3b9674p-12f, -0x1.13957cp-13f, -0x1.0e85bcp-14f, -0x1.283822p-15f,
       -0x1.988452p-2f, -0x1.f9403cp-3f, -0x1.4da95p-3f, -0x1.c1263ap-4f},
      {0x1.fc708ep-6f, 0x1.d219fcp-7f, 0x1.d73c86p-8f, 0x1.ee0dcap-9f, 0x1.a0fddcp-10f, 0x1.3c8c58p-11f,
       0x1.16286ap-12f, 0x1.08a49ep-13f, 0x1.98bc44p-15f, 0x1.258e6cp-16f, 0x1.e5d552p-18f, 0x1.cba57p-19f,
       0x1.ffff32p-3f, 0x1.28a63ap-3f, 0x1.714c1ap-4f, 0x1.d494ep-5f},
      {-0x1.a94f8cp-7f, -0x1.600c4p-8f, -0x1.43cb2cp-9f, -0x1.34e03ep-10f, -0x1.c84f18p-12f, -0x1.27e7dep-13f,
       -0x1.c4056ep-15f, -0x1.791c24p-16f, -0x1.e9a48ep-18f, -0x1.228ef2p-19f, -0x1.965142p-21f, -0x1.4cacfep-22f,
       -0x1.103fd4p-3f, -0x1.29b23cp-4f, -0x1.5f542p-5f, -0x1.a6a0a2p-6f},
      {0x1.44458p-8f, 0x1.e786aap-10f, 0x1.99b612p-11f, 0x1.652ce8p-12f, 0x1.d95456p-14f, 0x1.06c246p-15f,
       0x1.5d28b2p-17f, 0x1.ff822cp-19f, 0x1.1e7b7p-20f, 0x1.170126p-22f, 0x1.490dd2p-24f, 0x1.d16cd8p-26f,
       0x1.fac6bcp-5f, 0x1.0b4d52p-5f, 0x1.2b30d6p-6f, 0x1.58302p-7f},
      {-0x1.bf39e6p-10f, -0x1.38390ap-11f, -0x1.db921ap-13f, -0x1.84da76p-14f, -0x1.d2c34ep-16f, -0x1.ba331ap-18f,
       -0x1.f7c88ep-20f, -0x1.4b158ap-21f, -0x1.3e2766p-23f, -0x1.f0d43ep-26f, -0x1.f6268cp-28f, -0x1.341cc2p-29f,
       -0x1.70e314p-6f, -0x1.a09f06p-7f, -0x1.cb1382p-8f, -0x1.ebcf14p-9f}};
};
template <>
struct GeluPieces<8> : GeluRange {
  alignas(64) static constexpr float kCentre[8] = {0x1.568e38p+0f, 0x1.2951f4p+1f, 0x1.e3d1bap+1f, 0x1.6d4p+2f,
                                                   0x1.10c724p+3f, 0x1.8ea65cp+3f, 0x0p+0f,        0x1.3fd0b8p-1f};
  alignas(64) static constexpr float kValue[8] = {0x1.2f5492p-2f, 0x1.647626p-2f, 0x1.807a42p-2f, 0x1.8cfb7ap-2f,
                                                  0x1.931cc6p-2f, 0x1.95ef18p-2f, 0x0p+0f,        0x1.9dbf74p-3f};
  alignas(64) static constexpr float kC[7][8] = {
      {0x1.57bd9ap-4f, 0x1.045e8cp-5f, 0x1.5b4dcap-7f, 0x1.ddb546p-9f, 0x1.385a14p-10f, 0x1.a0c2fep-12f,
       -0x1.c08246p-32f, 0x1.9a787cp-3f},
      {-0x1.7d8838p-5f, -0x1.c831a8p-7f, -0x1.c389d2p-9f, -0x1.c51bd6p-11f, -0x1.a21924p-13f, -0x1.87a88ap-15f,
       -0x1.98844cp-2f, -0x1.13168p-3f},
      {0x1.5b2172p-6f, 0x1.4f0b5cp-8f, 0x1.f6e362p-11f, 0x1.75d0dcp-13f, 0x1.ebb468p-16f, 0x1.453f7cp-18f,
       0x1.fffdaep-3f, 0x1.27eb8ep-4f},
      {-0x1.1446a2p-7f, -0x1.b621a6p-10f, -0x1.fa5b72p-13f, -0x1.1b046p-15f, -0x1.0b0dbep-18f, -0x1.f6fe3cp-22f,
       -0x1.10346cp-3f, -0x1.125a58p-5f},
      {0x1.8e232cp-9f, 0x1.06a78ep-11f, 0x1.d9ea2ap-15f, 0x1.934136p-18f, 0x1.1536cap-21f, 0x1.733c5p-25f,
       0x1.fbd8ap-5f, 0x1.c5e656p-7f},
      {-0x1.139534p-10f, -0x1.2ed71cp-13f, -0x1.c8c738p-17f, -0x1.20455cp-20f, -0x1.321596p-24f, -0x1.183b48p-28f,
       -0x1.93665p-6f, -0x1.5be2c4p-8f},
      {0x1.529954p-12f, 0x1.46518p-15f, 0x1.94dee2p-19f, 0x1.861658p-23f, 0x1.1df0b4p-27f, 0x1.8ea44p-32f,
       0x1.a412b2p-8f, 0x1.1197a2p-9f}};
};
// 2^(k / Count), as sums; e^r = 1 + r + r^2 Q(r) on |r| <= ln2 / (2 Count), errors 1.6e-9 and 1.7e-10.
template <int Count>
struct ExpSteps;
template <>
struct ExpSteps<16> {
  alignas(64) static constexpr float kHigh[16] = {0x1p+0f,        0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f,
                                                  0x1.306fep+0f,  0x1.3dea64p+0f, 0x1.4bfdaep+0f, 0x1.5ab07ep+0f,
                                                  0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f,
                                                  0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f};
  alignas(64) static constexpr float kLow[16] = {0x0p+0f,          0x1.9f3122p-25f,  -0x1.c15742p-27f, 0x1.ceac48p-25f,
                                                 0x1.4636e2p-25f,  0x1.824684p-25f,  -0x1.593abcp-25f, -0x1.5bd5ecp-27f,
                                                 0x1.9fcef4p-26f,  -0x1.829fdp-25f,  0x1.15506ep-27f,  0x1.51f848p-27f,
                                                 -0x1.a94b14p-26f, -0x1.3d56b2p-27f, -0x1.822dbcp-27f, 0x1.52486cp-27f};
  static constexpr float kQ[] = {0x1.000220p-1f, 0x1.55571cp-3f};
};
template <>
struct ExpSteps<8> {
  alignas(64) static constexpr float kHigh[8] = {0x1p+0f,        0x1.172b84p+0f, 0x1.306fep+0f,  0x1.4bfdaep+0f,
                                                 0x1.6a09e6p+0f, 0x1.8ace54p+0f, 0x1.ae89fap+0f, 0x1.d5818ep+0f};
  alignas(64) static constexpr float kLow[8] = {0x0p+0f,         -0x1.c15742p-27f, 0x1.4636e2p-25f,  -0x1.593abcp-25f,
                                                0x1.9fcef4p-26f, 0x1.15506ep-27f,  -0x1.a94b14p-26f, -0x1.822dbcp-27f};
  static constexpr float kQ[] = {0x1p-1f, 0x1.555c76p-3f, 0x1.555a42p-5f};
};
// m P(X > m). What products and sums lose is carried on until the power of 2 is in, so that denormal results are good too.
template <int N>
GORGO_INLINE Vec<float, N> gelu_tail(Vec<float, N> m) {
  using V = Vec<float, N>;
  using Steps = ExpSteps<kPickSize>;
  using L = Ln2<float>;
  const auto half = broadcast<V>(0.5f) * m;
  const auto piece = piece_of<GeluPieces<kPickSize>>(m, half);
  const auto g = mul_add(piece.t, piece.p, piece.value);
  const auto g_low = mul_add(piece.t, piece.p, piece.value - g);
  // -m^2 / 2 = whole ln2 + r, whole in steps of 1 / kPickSize. The bits of `shifted` end with 64 + 127 + whole, its fraction first.
  const auto h = half * m;
  const auto h_low = product_lost(half, m, h);
  const auto magic = broadcast<V>(L::kMagic / kPickSize + 191.0f);
  const auto shifted = mul_add(h, broadcast<V>(-L::kInverse), magic);
  const auto whole = shifted - magic;
  const auto head = mul_add(-whole, broadcast<V>(L::kHigh), -h);
  const auto r = head - mul_add(whole, broadcast<V>(L::kLow), h_low);
  const auto rise = mul_add(r * r, polynomial(r, Steps::kQ), r);
  const auto bits = bits_as<std::int32_t>(shifted);
  const auto step = pick(Steps::kHigh, bits);
  const auto u = g * step;
  const auto u_low = mul_add(g_low, step, product_lost(g, step, u));
  const auto v = u + mul_add(g, mul_add(step, rise, pick(Steps::kLow, bits)), u_low);
  if constexpr (kHasTimesPower<float, N>) {
    return times_power_of_two(v, whole);  // rounds `whole` down
  } else {
    const auto exponent = broadcast<Vec<std::int32_t, N>>(static_cast<std::int32_t>(0xff800000u));
    const auto power = bits_as<float>(shift_left_by<kPickSize == 16 ? 19 : 20>(bits) & exponent);
    return v * power * broadcast<V>(0x1p-64f);
  }
}

// x times the normal distribution function of x, as max(x, 0) - |x| P(X > |x|), so that neither side cancels; its
// slope. -inf times 0 is NaN here too. functors.h has the plain formulas, for everything but float32.
template <int N>
GORGO_INLINE Vec<float, N> gelu(Vec<float, N> x) {
  if constexpr (kPicks) {
    const auto tail = gelu_tail(magnitude_at_most(x, GeluRange::kEnd));
    const auto zero = broadcast<Vec<float, N>>(0.0f);
    return select(x < zero, x * zero, x) - tail;
  } else {
    return through_float64(
        [](auto wide) __attribute__((always_inline)) {
          const auto zero = like(wide, 0.0);
          const auto m = at_most(abs(wide), like(wide, kTailEnd));
          return select(wide < zero, wide * zero, wide) - m * normal_weight(m) * exp(like(m, -0.5) * m * m);
        },
        x);
  }
}
template <int N>
GORGO_INLINE Vec<float, N> gelu_slope(Vec<float, N> x) {
  using V = Vec<float, N>;
  constexpr float kInvSqrtTwoPi32 = 0x1.988454p-2f;
  const auto m = at_most(abs(x), broadcast<V>(kTailEnd));
  const auto e = normal_exponent(m);
  const auto v = normal_weight(m) - m * broadcast<V>(kInvSqrtTwoPi32);
  const auto slope = times_power(mul_add(v, exp_rise(e.r), v), e);
  return select(x < broadcast<V>(0.0f), slope, broadcast<V>(1.0f) - slope);
}
template <int N>
GORGO_INLINE Vec<double, N> gelu(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto m = magnitude_at_most(x, 38.7);
  const auto half = broadcast<V>(0.5) * m;
  const auto h = half * m;
  const auto e = exp_reduce(-h, -product_lost(half, m, h));
  const auto w = scaled_tail<TailOfNormal>(m);
  const auto v = half * w.high;
  const auto v_low = mul_add(half, w.low, product_lost(half, w.high, v));
  const auto zero = broadcast<V>(0.0);
  return select(x < zero, x * zero, x) - times_exp({v, v_low}, e);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

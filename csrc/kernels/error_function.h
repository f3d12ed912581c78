// The error function and its complement over Vec<T, N>, and the tail of the normal distribution in two parts.
//
// Invariant: as in math.h.
// Read next: activations.h.
#pragma once

#include "kernels/exp_log.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// erf x = x + x P(x^2), |x| < 1, relative error 1.3e-9; ln erfc(1 + t) for t in [0, 3], absolute error in erfc 8e-9.
constexpr float kErfP0 = 0x1.06eba8p-3f;
constexpr float kErfP[] = {-0x1.81274p-2f, 0x1.ce2d5p-4f,    -0x1.b7fe9p-6f,
                           0x1.542e0ep-8f, -0x1.a50aeap-11f, 0x1.4c33aep-14f};
constexpr float kLnErfc0 = -0x1.d97fcp+0f;
constexpr float kLnErfc[] = {-0x1.51c98cp+1f, -0x1.afb326p-1f,  -0x1.525fe6p-5f,
                             0x1.388acep-7f,  -0x1.96c246p-10f, 0x1.ceee68p-14f};
template <int N>
GORGO_INLINE Vec<float, N> erf(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto one = broadcast<V>(1.0f);
  const auto magnitude = abs(x);
  const auto z = x * x;
  const auto small = mul_add_once(x, mul_add_once(z, polynomial(z, kErfP), broadcast<V>(kErfP0)), x);
  const auto t = clamp(magnitude, one, broadcast<V>(4.0f)) - one;
  // What the exponent loses by rounding shows near 1: exp(h + low) = exp(h) + low exp(h).
  const auto factor = polynomial(t, kLnErfc);
  const auto h = mul_add_once(t, factor, broadcast<V>(kLnErfc0));
  const auto low = mul_add_once(t, factor, broadcast<V>(kLnErfc0) - h);
  const auto tail = exp(h);
  const auto large = one - mul_add(tail, low, tail);
  return select(magnitude < one, small, copysign(large, x));
}
// The same for float64: relative error 8e-18; t in [0, 5], absolute error in erfc 3e-18.
constexpr double kErfP64[] = {0x1.06eba8214db68p-3,   -0x1.812746b0379bdp-2,  0x1.ce2f21a040d21p-4,
                              -0x1.b82ce311fab6fp-6,  0x1.565bccf92eaadp-8,   -0x1.c02db03e3cd72p-11,
                              0x1.f9a2bab00ed8ep-14,  -0x1.f4ca4dbca9a02p-17, 0x1.b97fd5d5cea58p-20,
                              -0x1.5c072df7c0e9ep-23, 0x1.d71b21cf3dcd1p-27,  -0x1.abae353b8c9f6p-31};
constexpr double kLnErfc64[] = {-0x1.d97fbf27aa2a1p+0,  -0x1.51c9b0006c23dp+1,  -0x1.afabc11a28f3ap-1,
                                -0x1.5477f09ca8aafp-5,  0x1.48c9d40bb7511p-7,   -0x1.033f69815273ep-9,
                                0x1.f1b4b1cda1705p-13,  0x1.b8bfd46a279c3p-16,  -0x1.c75e8b6945107p-16,
                                0x1.416e6b583b140p-17,  -0x1.0f5257c4bc164p-19, 0x1.c475cda06168bp-24,
                                0x1.0d976ba1bf55fp-23,  -0x1.23b5dffe6387dp-24, 0x1.753a2c4d1774bp-26,
                                -0x1.5aa7e53005bbdp-28, 0x1.e1e7136017662p-31,  -0x1.eb9cc68c64127p-34,
                                0x1.5c17a69a1ff02p-37,  -0x1.316423040a692p-41, 0x1.f32a67c371a8ep-47};
template <int N>
GORGO_INLINE Vec<double, N> erf(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto magnitude = abs(x);
  const auto z = x * x;
  const auto small = mul_add(x, polynomial(z, kErfP64), x);
  const auto t = clamp(magnitude, one, broadcast<V>(6.0)) - one;
  const auto large = one - exp(polynomial(t, kLnErfc64));
  return select(magnitude < one, small, copysign(large, x));
}

// erfc x = e^(-x^2) P(t) / (1 + 2 x), t = (x - 2) / (x + 2), for x in [0.5, 10.1], relative error 6.4e-9. Through
// float64, where x^2 is exact.
constexpr double kErfcP[] = {0x1.46e80ep+0,  -0x1.7bf5eap-4, -0x1.5407bap-3, 0x1.4ff962p-3,   -0x1.bc22c4p-5,
                             -0x1.068ea6p-7, 0x1.1c4588p-7,  0x1.308ca6p-10, -0x1.50bf38p-10, -0x1.ed7856p-13};
template <int N>
GORGO_INLINE Vec<float, N> erfc(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto z = x * x;
  const auto near_factor = mul_add(z, polynomial(z, kErfP), broadcast<V>(kErfP0));
  return through_float64(
      [](auto wide, auto factor) __attribute__((always_inline)) {
        const auto one = like(wide, 1.0);
        const auto two = like(wide, 2.0);
        const auto m = at_most(abs(wide), like(wide, 10.1));
        const auto t = (m - two) / (m + two);
        const auto tail = exp(-(m * m)) * (polynomial(t, kErfcP) / (one + two * m));
        const auto far_value = select(wide < like(wide, 0.0), two - tail, tail);
        const auto near_value = (one - wide) - wide * factor;
        return select(m < like(wide, 0.5), near_value, far_value);
      },
      x, near_factor);
}
// erfc x = e^(-x^2) (1 + A x) / (1 + B x + C x^2) (1 + G(t)), t = (x - 3) / (x + 3), for x in [0, 27.4], error 7e-18. The first
// quotient is within 0.3 percent, and so flat a G does not mind what t has lost. Of y in place of x = y / sqrt(2) the same.
struct TailOfErf {
  static constexpr double kA[] = {0x1.2acp-1, 0.0};
  static constexpr double kB[] = {0x1.acep+0, 0.0};
  static constexpr double kC = 0x1.098p+0;
  static constexpr double kCentre = 3.0;
};
struct TailOfNormal {
  static constexpr double kA[] = {0x1.a67f0da1cfb09p-2, -0x1.946485fc6e970p-60};
  static constexpr double kB[] = {0x1.2f42aaefb33a7p+0, 0x1.529cb61808429p-55};
  static constexpr double kC = 0x1.098p-1;
  static constexpr double kCentre = 4.242640687119285;
};
constexpr double kTailG[] = {
    -0.00038359440564819983, -0.010210723279146008,   0.005353948548853781,    0.021566699999172614,
    -0.018363255303099252,   0.0009039492280391411,   0.009975045923377177,    -0.009751266548875225,
    0.004824799169048417,    -0.0011519826355358182,  -4.1470603962368616e-05, 5.9220532131302915e-05,
    3.28804232280065e-05,    -2.12586255844097e-05,   -2.0432819076418364e-06, 2.7495461768731613e-06,
    7.703784914474921e-07,   -5.126442804710007e-07,  -1.8461299070955283e-07, 6.28298439106142e-08,
    4.5523774445028065e-08,  -1.7084947618927196e-09, -6.432890613517504e-09,  -1.367172660858447e-09};
template <class T, int N>
struct Parts {
  Vec<T, N> high;
  Vec<T, N> low;
};
// e^(x^2) erfc x of x >= 0.
template <class Tail, int N>
GORGO_INLINE Parts<double, N> scaled_tail(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto linear = [&](const double (&factor)[2]) __attribute__((always_inline)) {
    const auto high = broadcast<V>(factor[0]) * x;
    const auto lost = product_lost(broadcast<V>(factor[0]), x, high);
    return Parts<double, N>{high, mul_add(broadcast<V>(factor[1]), x, lost)};
  };
  const auto ax = linear(Tail::kA);
  const auto top = one + ax.high;
  const auto top_low = sum_lost(one, ax.high, top) + ax.low;
  const auto bx = linear(Tail::kB);
  const auto cx = broadcast<V>(Tail::kC) * x;
  const auto cx_low = product_lost(broadcast<V>(Tail::kC), x, cx);
  const auto cxx = cx * x;
  const auto cxx_low = mul_add(cx_low, x, product_lost(cx, x, cxx));
  const auto first = bx.high + cxx;
  const auto d = one + first;
  const auto d_low = sum_lost(one, first, d) + (sum_lost(bx.high, cxx, first) + (bx.low + cxx_low));
  // One division for both quotients.
  const auto centre = broadcast<V>(Tail::kCentre);
  const auto beyond = x + centre;
  const auto both = one / (d * beyond);
  const auto g = polynomial((x - centre) * (d * both), kTailG);
  const auto q = both * beyond;
  const auto dq = d * q;
  const auto q_low = q * (((one - dq) - product_lost(d, q, dq)) - d_low * q);
  const auto w = top * q;
  const auto w_low = product_lost(top, q, w) + mul_add(top_low, q, top * q_low);
  return {w, mul_add(w, g, w_low)};
}
// (high + low) e^x, x reduced, hardly more than once rounded.
template <int N>
GORGO_INLINE Vec<double, N> times_exp(const Parts<double, N>& w, const ExpReduced<double, N>& e) {
  const auto wr = w.high * e.r;
  const auto u = w.high + wr;
  const auto u_low = ((w.high - u) + wr) + product_lost(w.high, e.r, wr);
  const auto rest = mul_add(e.r * e.r, exp_q(e.r), e.low);
  const auto growth = (broadcast<Vec<double, N>>(1.0) + e.r) + rest;
  return times_power(u + mul_add(w.low, growth, mul_add(w.high, rest, u_low)), e);
}
// erf x = x + x P(x^2), |x| < 0.46, error 1.3e-17.
constexpr double kErfNear[] = {0.1283791670955126,     -0.37612638903183754,    0.11283791670955055,
                               -0.02686617064508844,   0.005223977624130852,    -0.0008548326792600122,
                               0.00012055308216208789, -1.4924003141288705e-05, 1.639567785186546e-06,
                               -1.4869611900918412e-07};
template <int N>
GORGO_INLINE Vec<double, N> erfc(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto m = at_most(abs(x), broadcast<V>(27.4));
  const auto square = m * m;
  const auto e = exp_reduce(-square, -product_lost(m, m, square));
  const auto tail = times_exp(scaled_tail<TailOfErf>(m), e);
  const auto far_value = select(x < broadcast<V>(0.0), broadcast<V>(2.0) - tail, tail);
  const auto near_value = (broadcast<V>(1.0) - x) - x * polynomial(square, kErfNear);
  return select(m < broadcast<V>(0.46), near_value, far_value);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

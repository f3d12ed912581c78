// Circular functions over Vec<T, N>: sin, cos, tan and sinc.
//
// Invariant: as in math.h. float32 goes through float64; beyond 2^20 sin, cos and tan go lane by lane through the C library.
// Read next: arcs.h.
#pragma once

#include "kernels/arithmetic.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

constexpr double kPiValue = 3.14159265358979323846;

// sin and cos of r on |r| <= pi / 4: r + r z S(z) and 1 - z / 2 + z^2 C(z), z = r^2, errors 5e-12 and 1e-13.
constexpr double kSinS[] = {-0.166666666415751377, 0.00833332937993358126, -0.000198393325673621354,
                            2.71828709362154429e-6};
constexpr double kCosC[] = {0.0416666666226936603, -0.00138888837385933334, 0.0000247995157120286733,
                            -2.72098688624350039e-7};
template <int N>
struct SinCos {
  Vec<double, N> sin;
  Vec<double, N> cos;
};
// Valid for |x| < 2^20: pi / 2 comes in three parts, the products by the first two are exact.
template <int N>
GORGO_INLINE SinCos<N> sin_cos_of_float(Vec<float, N> x) {
  using V = Vec<double, N>;
  using U = Vec<std::uint64_t, N>;
  const auto wide = convert<double>(x);
  const auto magic = broadcast<V>(0x1.8p52);
  const auto shifted = mul_add(wide, broadcast<V>(0x1.45f306dc9c883p-1), magic);
  const auto n = shifted - magic;
  auto r = wide - n * broadcast<V>(0x1.921fb544p+0);
  r = r - n * broadcast<V>(0x1.0b4611a6p-34);
  r = r - n * broadcast<V>(0x1.3198a2e037073p-69);
  const auto z = r * r;
  const auto one = broadcast<V>(1.0);
  const auto s = mul_add(r * z, polynomial(z, kSinS), r);
  const auto c = mul_add(z * z, polynomial(z, kCosC), one - broadcast<V>(0.5) * z);
  const auto quadrant = bits_as<std::uint64_t>(shifted);
  const auto swap = (quadrant & broadcast<U>(1)) != broadcast<U>(0);
  const auto sin_sign = shift_left_by<62>(quadrant & broadcast<U>(2));
  const auto cos_sign = shift_left_by<62>((quadrant + broadcast<U>(1)) & broadcast<U>(2));
  const auto sin_value = bits_as<std::uint64_t>(select(swap, c, s)) ^ sin_sign;
  const auto cos_value = bits_as<std::uint64_t>(select(swap, s, c)) ^ cos_sign;
  return {bits_as<double>(sin_value), bits_as<double>(cos_value)};
}
constexpr float kSinCosLimit = 0x1p20f;
template <int N>
GORGO_INLINE Mask<4, N> beyond_sin_cos(Vec<float, N> x) {
  return !(abs(x) < broadcast<Vec<float, N>>(kSinCosLimit));
}
// Both of them, for |x| < 2^20: device code of the random numbers has the same bits.
template <int N>
GORGO_INLINE Vec<float, N> sin_of_pair(Vec<float, N> x) {
  return by_wide_lanes([](auto v) __attribute__((always_inline)) { return convert<float>(sin_cos_of_float(v).sin); },
                       x);
}
template <int N>
GORGO_INLINE Vec<float, N> cos_of_pair(Vec<float, N> x) {
  return by_wide_lanes([](auto v) __attribute__((always_inline)) { return convert<float>(sin_cos_of_float(v).cos); },
                       x);
}

// sin r = r + r z S(z), |r| <= pi / 2, error 5e-11. x = (n + Half / 2) pi + r, so that one polynomial serves; valid for |x| < 2^20.
constexpr double kSinHalf[] = {-0.1666666663197766, 0.008333331332262394, -0.00019840895082471742,
                               2.7526662804515283e-06, -2.390993892233509e-08};
template <int Half, int N>
GORGO_INLINE Vec<float, N> sine_of_float(Vec<float, N> x) {
  using V = Vec<double, N>;
  const auto wide = convert<double>(x);
  const auto magic = broadcast<V>(0x1.8p52);
  const auto turns = mul_add(wide, broadcast<V>(0x1.45f306dc9c883p-2), broadcast<V>(-0.5 * Half));
  const auto shifted = turns + magic;
  const auto n = (shifted - magic) + broadcast<V>(0.5 * Half);
#if defined(GORGO_ISA_AVX512) || defined(GORGO_ISA_AVX2) || defined(__aarch64__)
  auto r = fma(-n, broadcast<V>(kPiValue), wide);
  r = fma(-n, broadcast<V>(0x1.1a62633145c07p-53), r);
#else
  auto r = wide - n * broadcast<V>(0x1.921fb544p+1);
  r = r - n * broadcast<V>(0x1.0b4611a6p-33);
  r = r - n * broadcast<V>(0x1.3198a2e037073p-68);
#endif
  const auto z = r * r;
  const auto s = mul_add(r * z, polynomial(z, kSinHalf), r);
  // The sign turns with every n; the cosine of (n + 1/2) pi + r is the sine of r with the other sign.
  const auto parity = bits_as<std::uint64_t>(shifted) + broadcast<Vec<std::uint64_t, N>>(Half);
  return convert<float>(bits_as<double>(bits_as<std::uint64_t>(s) ^ shift_left_by<63>(parity)));
}
template <int N>
GORGO_INLINE Vec<float, N> sin(Vec<float, N> x) {
  const auto value = by_wide_lanes([](auto v) __attribute__((always_inline)) { return sine_of_float<0>(v); }, x);
  const auto beyond = beyond_sin_cos(x);
  const auto kept = select(x == broadcast<Vec<float, N>>(0.0f), x, value);
  if (__builtin_expect(!any(beyond), 1)) return kept;
  return select(beyond, libm_sin(x), kept);
}
template <int N>
GORGO_INLINE Vec<float, N> cos(Vec<float, N> x) {
  const auto value = by_wide_lanes([](auto v) __attribute__((always_inline)) { return sine_of_float<1>(v); }, x);
  const auto beyond = beyond_sin_cos(x);
  if (__builtin_expect(!any(beyond), 1)) return value;
  return select(beyond, libm_cos(x), value);
}
template <int N>
GORGO_INLINE Vec<float, N> tan(Vec<float, N> x) {
  const auto value = by_wide_lanes(
      [](auto v) __attribute__((always_inline)) {
        const auto both = sin_cos_of_float(v);
        return convert<float>(both.sin / both.cos);
      },
      x);
  const auto kept = select(x == broadcast<Vec<float, N>>(0.0f), x, value);
  const auto beyond = beyond_sin_cos(x);
  if (__builtin_expect(!any(beyond), 1)) return kept;
  // The C library's tangent of float32 is off by more than a place here.
  const auto far_value = map_lanes<float>(x, [](float v) { return static_cast<float>(__builtin_tan(double{v})); });
  return select(beyond, far_value, kept);
}
// The same for float64, errors 2e-17 and 1.3e-18.
constexpr double kSinS64[] = {-0.16666666666666666,   0.00833333333333095,     -0.0001984126983676101,
                              2.7557316103657575e-06, -2.5051132049743617e-08, 1.591814257073265e-10};
constexpr double kCosC64[] = {0.041666666666666664,    -0.0013888888888887398, 2.480158729876704e-05,
                              -2.7557317272344194e-07, 2.087614638222912e-09,  -1.1382639806318638e-11};
// x = n pi / 2 + r + low, valid for |x| < 2^20: pi / 2 in three parts of 33, 53 and 53 digits (Cody and Waite), of which the product
// by the first is exact and that by the second comes in two parts. So r keeps all its digits next to a multiple of pi / 2 too.
template <int N>
struct CircleReduced {
  Vec<std::uint64_t, N> quadrant;
  Vec<double, N> r;
  Vec<double, N> low;
};
template <int N>
GORGO_INLINE CircleReduced<N> circle_reduce(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto magic = broadcast<V>(0x1.8p52);
  const auto shifted = mul_add(x, broadcast<V>(0x1.45f306dc9c883p-1), magic);
  const auto n = shifted - magic;
  const auto middle = broadcast<V>(0x1.0b4611a626331p-34);
  const auto head = x - n * broadcast<V>(0x1.921fb544p+0);
  const auto next = n * middle;
  const auto next_low = mul_add(n, broadcast<V>(0x1.1701b839a252p-88), product_lost(n, middle, next));
  const auto difference = head - next;
  const auto rest = sum_lost(head, -next, difference) - next_low;
  const auto r = difference + rest;
  return {bits_as<std::uint64_t>(shifted), r, (difference - r) + rest};
}
// A sine and a cosine in two parts.
template <int N>
struct SinCosParts {
  Vec<double, N> sin;
  Vec<double, N> sin_low;
  Vec<double, N> cos;
  Vec<double, N> cos_low;
};
template <int N>
GORGO_INLINE SinCosParts<N> sin_cos_parts(Vec<double, N> r, Vec<double, N> low) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto z = r * r;
  const auto half = broadcast<V>(0.5) * z;
  const auto even = one - half;
  const auto sin_low = mul_add(r * z, polynomial(z, kSinS64), low * even);
  const auto cos_low = ((one - even) - half) + mul_add(z * z, polynomial(z, kCosC64), -(r * low));
  return {r, sin_low, even, cos_low};
}
template <int N>
GORGO_INLINE Mask<8, N> beyond_circle(Vec<double, N> x) {
  return !(abs(x) < broadcast<Vec<double, N>>(double{kSinCosLimit}));
}
// The sine of r + (n + turn) pi / 2.
template <std::uint64_t Turn, int N>
GORGO_INLINE Vec<double, N> sin_of(const CircleReduced<N>& at) {
  using U = Vec<std::uint64_t, N>;
  const auto parts = sin_cos_parts(at.r, at.low);
  const auto quadrant = at.quadrant + broadcast<U>(Turn);
  const auto swap = (quadrant & broadcast<U>(1)) != broadcast<U>(0);
  const auto value = select(swap, parts.cos, parts.sin) + select(swap, parts.cos_low, parts.sin_low);
  return bits_as<double>(bits_as<std::uint64_t>(value) ^ shift_left_by<62>(quadrant & broadcast<U>(2)));
}
template <int N>
GORGO_INLINE Vec<double, N> sin(Vec<double, N> x) {
  const auto value = sin_of<0>(circle_reduce(x));
  const auto beyond = beyond_circle(x);
  const auto kept = select(x == broadcast<Vec<double, N>>(0.0), x, value);
  if (__builtin_expect(!any(beyond), 1)) return kept;
  return select(beyond, libm_sin(x), kept);
}
template <int N>
GORGO_INLINE Vec<double, N> cos(Vec<double, N> x) {
  const auto value = sin_of<1>(circle_reduce(x));
  const auto beyond = beyond_circle(x);
  if (__builtin_expect(!any(beyond), 1)) return value;
  return select(beyond, libm_cos(x), value);
}
// The quotient of sine and cosine, in odd quadrants that of -cosine and sine, corrected by what it leaves.
template <int N>
GORGO_INLINE Vec<double, N> tan(Vec<double, N> x) {
  using V = Vec<double, N>;
  using U = Vec<std::uint64_t, N>;
  const auto at = circle_reduce(x);
  const auto parts = sin_cos_parts(at.r, at.low);
  const auto swap = (at.quadrant & broadcast<U>(1)) != broadcast<U>(0);
  const auto top = select(swap, parts.cos, parts.sin);
  const auto top_low = select(swap, parts.cos_low, parts.sin_low);
  const auto bottom = select(swap, parts.sin, parts.cos);
  const auto bottom_low = select(swap, parts.sin_low, parts.cos_low);
  const auto d = bottom + bottom_low;
  const auto d_low = (bottom - d) + bottom_low;
  const auto t = top + top_low;
  const auto t_low = (top - t) + top_low;
  const auto inverse = broadcast<V>(1.0) / d;
  const auto q = t * inverse;
  const auto left = mul_add_once(-q, d, t) + mul_add(-q, d_low, t_low);
  const auto value = mul_add(left, inverse, q);
  const auto signed_value = bits_as<std::uint64_t>(value) ^ shift_left_by<63>(at.quadrant);
  const auto kept = select(x == broadcast<V>(0.0), x, bits_as<double>(signed_value));
  const auto beyond = beyond_circle(x);
  if (__builtin_expect(!any(beyond), 1)) return kept;
  return select(beyond, libm_tan(x), kept);
}

// ---- sinc ----

// sin(pi x) / (pi x), exactly 0 at the other whole numbers: x less its nearest even number, folded into [-1/2, 1/2].
template <class T, int N>
GORGO_INLINE Vec<T, N> sinc_folded(Vec<T, N> x) {
  const auto even = like(x, 2.0) * round(like(x, 0.5) * x);
  const auto r = x - even;
  return select(abs(r) > like(x, 0.5), copysign(like(x, 1.0), r) - r, r);
}
template <class T, int N>
GORGO_INLINE Vec<T, N> sinc_ends(Vec<T, N> x, Vec<T, N> value) {
  const auto zero = like(x, 0.0);
  const auto bounded = select(isinf(x) | (value == zero), zero, value);
  return select(x == zero, like(x, 1.0), bounded);
}
template <int N>
GORGO_INLINE Vec<float, N> sinc(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto wide, auto r) __attribute__((always_inline)) {
        const auto m = abs(r);
        const auto steep = m > like(r, 0.25);
        const auto t = like(r, kPiValue) * select(steep, like(r, 0.5) - m, m);
        const auto z = t * t;
        const auto sine = mul_add(t * z, polynomial(z, kSinS), t);
        const auto cosine = mul_add(z * z, polynomial(z, kCosC), like(z, 1.0) - like(z, 0.5) * z);
        const auto signed_value = copysign(select(steep, cosine, sine), r);
        return signed_value / (like(r, kPiValue) * wide);
      },
      x, sinc_folded(x));
  return sinc_ends(x, value);
}
// sin(pi r) / pi = r + r z S(z), |r| <= 1/4, and cos(pi r) / pi = 1 / pi + z C(z), z = r^2, errors 2e-18 and 4e-18.
constexpr double kSinPi[] = {-1.6449340668482264,    0.8117424252833535,     -0.19075182412203792,  0.0261478478132175,
                             -0.0023460808328646244, 0.00014842404363629607, -6.920627065721436e-06};
constexpr double kCosPi[] = {-1.5707963267948966,  1.2919281950124915,    -0.4250273399793073,    0.0749080661411046,
                             -0.00821458756557135, 0.0006141768939480378, -3.3008523999403296e-05};
template <int N>
GORGO_INLINE Vec<double, N> sinc(Vec<double, N> x) {
  const auto r = sinc_folded(x);
  const auto m = abs(r);
  const auto steep = m > like(r, 0.25);
  const auto t = select(steep, like(r, 0.5) - m, m);
  const auto z = t * t;
  const auto sine = mul_add(t * z, polynomial(z, kSinPi), t);
  // What z has lost shows in the cosine, and so does what 1 / pi has.
  const auto lost = mul_add(product_lost(t, t, z), like(z, kCosPi[0]), like(z, -0x1.6b01ec5417056p-56));
  const auto cosine = like(z, 0x1.45f306dc9c883p-2) + mul_add(z, polynomial(z, kCosPi), lost);
  return sinc_ends(x, copysign(select(steep, cosine, sine), r) / x);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

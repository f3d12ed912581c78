// Inverse circular and hyperbolic functions over Vec<T, N>, and the logarithm of odds, in the vocabulary of math.h.
//
// Invariant: as in math.h. float32 mostly goes through float64, where its formulas lose nothing that shows, so that results are
// the nearest number but for one in thousands; float64 carries what its steps lose.
// Read next: special.h.
#pragma once

#include "kernels/math.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// atan t = t + t z A(z), z = t^2, for t in [0, 1], relative error 1.2e-10.
constexpr double kAtanA[] = {-0.33333332694913514, 0.1999994771082847,   -0.14284420813284243,  0.1109599826441098,
                             -0.08990125321573543, 0.0726711660657231,   -0.05456056586804667,  0.03442393201254242,
                             -0.01619065611663842, 0.004854113135338573, -0.0006804972861522193};
constexpr double kHalfPi = 0.5 * kPiValue;

// The angle of the point (x, y), both at least 0 and not both 0 or infinite: in [0, pi / 2].
template <int N>
GORGO_INLINE Vec<double, N> angle_of_point(Vec<double, N> y, Vec<double, N> x) {
  const auto steep = y > x;
  const auto t = select(steep, x, y) / select(steep, y, x);
  const auto z = t * t;
  const auto angle = mul_add(t * z, polynomial(z, kAtanA), t);
  return select(steep, like(angle, kHalfPi) - angle, angle);
}

template <int N>
GORGO_INLINE Vec<float, N> atan(Vec<float, N> x) {
  const auto value =
      through_float64([](auto m) __attribute__((always_inline)) { return angle_of_point(m, like(m, 1.0)); }, abs(x));
  return copysign(value, x);
}
template <int N>
GORGO_INLINE Vec<float, N> atan2(Vec<float, N> y, Vec<float, N> x) {
  const auto value = through_float64(
      [](auto v, auto u) __attribute__((always_inline)) {
        const auto one = like(u, 1.0);
        const auto top = abs(v);
        const auto bottom = abs(u);
        // Equal ends, 0 and 0 or two infinities: the angles of C are those of (0, 1) and (1, 1).
        const auto both_infinite = isinf(top) & isinf(bottom);
        const auto safe_top = select(both_infinite, one, top);
        const auto safe_bottom = select(both_infinite | ((top == like(top, 0.0)) & (bottom == top)), one, bottom);
        const auto angle = angle_of_point(safe_top, safe_bottom);
        const auto behind = copysign(one, u) < like(one, 0.0);
        return select(behind, like(angle, kPiValue) - angle, angle);
      },
      y, x);
  return select(isnan(x) | isnan(y), x + y, copysign(value, y));
}
// asin s = s + s z P(z), z = s^2 <= 1/4, error 1.3e-9. From 1/2 on asin m = pi / 2 - 2 asin s with s = sqrt((1 - m) / 2), and acos m
// is twice that of s; what the root has lost is carried on.
constexpr float kAsinP[] = {0x1.5555c6p-3f, 0x1.330260p-4f, 0x1.747598p-5f, 0x1.8c68d2p-6f, 0x1.594274p-5f};
constexpr float kHalfPiParts[] = {0x1.921fb6p+0f, -0x1.777a5cp-25f};
template <int N>
struct HalfArc {
  Mask<4, N> large;
  Vec<float, N> s;
  Vec<float, N> rest;
};
template <int N>
GORGO_INLINE HalfArc<N> half_arc(Vec<float, N> m) {
  using V = Vec<float, N>;
  const auto half = broadcast<V>(0.5f);
  const auto large = m > half;
  const auto z = select(large, mul_add(-half, m, half), m * m);
  const auto root = sqrt(z);
  const auto lost = mul_add_once(-root, root, z) / (root + root);
  const auto s = select(large, root, m);
  const auto low = select(large & (z > broadcast<V>(0.0f)), lost, broadcast<V>(0.0f));
  return {large, s, mul_add(s * z, polynomial(z, kAsinP), low)};
}
// a - b + low, |a| >= |b|.
template <int N>
GORGO_INLINE Vec<float, N> less(Vec<float, N> a, Vec<float, N> b, Vec<float, N> low) {
  const auto difference = a - b;
  return difference + (((a - difference) - b) + low);
}
template <int N>
GORGO_INLINE Vec<float, N> asin(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto [large, s, rest] = half_arc(abs(x));
  const auto far_value = less(broadcast<V>(kHalfPiParts[0]), s + s, broadcast<V>(kHalfPiParts[1]) - (rest + rest));
  return copysign(select(large, far_value, s + rest), x);
}
template <int N>
GORGO_INLINE Vec<float, N> acos(Vec<float, N> x) {
  using V = Vec<float, N>;
  const auto [large, s, rest] = half_arc(abs(x));
  const auto behind = x < broadcast<V>(0.0f);
  const auto factor = select(large, broadcast<V>(2.0f), copysign(broadcast<V>(1.0f), x));
  const auto turns = select(large, broadcast<V>(2.0f), broadcast<V>(1.0f));
  const auto part = s * factor;
  const auto part_rest = rest * factor;
  const auto base =
      less(broadcast<V>(kHalfPiParts[0]) * turns, part, broadcast<V>(kHalfPiParts[1]) * turns - part_rest);
  return select(large & !behind, part + part_rest, base);
}

// A logarithm in float64, relative error 9e-12.
template <int N>
GORGO_INLINE Vec<double, N> log_for_float(Vec<double, N> x) {
  return log_specials(x, rough_log2(x) * like(x, 0x1.62e42fefa39efp-1));
}

// Below this two terms of the series are exact to float32, and a logarithm in float64 is good above.
constexpr double kSeriesEnd = 0x1p-10;

template <int N>
GORGO_INLINE Vec<float, N> asinh(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto m) __attribute__((always_inline)) { return log_for_float(m + sqrt(m * m + like(m, 1.0))); }, abs(x));
  const auto near_value = mul_add(x * x, x * like(x, -1.0 / 6), x);
  return copysign(select(abs(x) < like(x, kSeriesEnd), near_value, value), x);
}
template <int N>
GORGO_INLINE Vec<float, N> acosh(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto wide) __attribute__((always_inline)) {
        const auto one = like(wide, 1.0);
        return log_for_float(wide + sqrt((wide - one) * (wide + one)));
      },
      x);
  return select(x < like(x, 1.0), broadcast<Vec<float, N>>(FloatBits<float>::kNan), value);
}
template <int N>
GORGO_INLINE Vec<float, N> atanh(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto m) __attribute__((always_inline)) {
        const auto one = like(m, 1.0);
        return like(m, 0.5) * log_for_float((one + m) / (one - m));
      },
      abs(x));
  const auto near_value = mul_add(x * x, x * like(x, 1.0 / 3), x);
  return copysign(select(abs(x) < like(x, kSeriesEnd), near_value, value), x);
}

// atan u = u + u^3 A(u^2) for |u| <= 1/30, error 3e-19 u^3; k / 15 and its angle in two parts.
constexpr double kAtanA64[] = {-0.3333333333333333, 0.19999999999998813, -0.14285714277242087, 0.111110899660228,
                               -0.0906936300305653};
alignas(64) constexpr double kAtanCentre[16] = {0 / 15.0,  1 / 15.0,  2 / 15.0,  3 / 15.0, 4 / 15.0,  5 / 15.0,
                                                6 / 15.0,  7 / 15.0,  8 / 15.0,  9 / 15.0, 10 / 15.0, 11 / 15.0,
                                                12 / 15.0, 13 / 15.0, 14 / 15.0, 15 / 15.0};
alignas(64) constexpr double kAtanHigh[16] = {0.0,
                                              0x1.10a9c765f3724p-4,
                                              0x1.0f772d81fdc0bp-3,
                                              0x1.94441f8f7260cp-3,
                                              0x1.0adb5a7741c03p-2,
                                              0x1.4978fa3269ee1p-2,
                                              0x1.85a376b677dcp-2,
                                              0x1.bf1b30afc731bp-2,
                                              0x1.f5b75f92c80ddp-2,
                                              0x1.14b1dd5f90ce1p-1,
                                              0x1.2d0ead6066395p-1,
                                              0x1.43f7a7c1d53c7p-1,
                                              0x1.5977a5103ea93p-1,
                                              0x1.6d9d4bc9d5828p-1,
                                              0x1.8079c6293aeep-1,
                                              0x1.921fb54442d18p-1};
alignas(64) constexpr double kAtanLow[16] = {0.0,
                                             -0x1.40108d2f59ae2p-58,
                                             0x1.3e1959820e856p-60,
                                             -0x1.bd7fbfba49d93p-58,
                                             0x1.dc8f0bd95a7ap-56,
                                             -0x1.424cbde73c20fp-57,
                                             0x1.05437130f10cdp-58,
                                             0x1.5ca225f568c1dp-60,
                                             0x1.206ab5bf89282p-56,
                                             -0x1.bdc3d8b25f2a4p-56,
                                             0x1.90737b3d6cbc1p-56,
                                             -0x1.4b583245c4c55p-55,
                                             -0x1.df27bdae742c1p-55,
                                             -0x1.0ceccdd81fc31p-56,
                                             -0x1.c2cfe75319506p-56,
                                             0x1.1a62633145c07p-55};
constexpr double kHalfPiLow = 0x1.1a62633145c07p-54;
// A quotient to three digits, b > 0, without a division: the bits of b taken from a constant give its reciprocal to one digit, two
// steps of Newton's the others. 0 and infinity give anything, but no infinity for 0 / 0.
template <int N>
GORGO_INLINE Vec<double, N> rough_quotient(Vec<double, N> a, Vec<double, N> b) {
  const auto two = like(b, 2.0);
  auto inverse = bits_as<double>(broadcast<Vec<std::uint64_t, N>>(0x7fde623822fc16e6u) - bits_as<std::uint64_t>(b));
  inverse = inverse * mul_add(-b, inverse, two);
  inverse = inverse * mul_add(-b, inverse, two);
  return a * inverse;
}
// The angle as above, of numbers of which the larger is within 2^-500 and 2^500: the angle of
// c = k / 15, k / 15 next to the quotient of the smaller by the larger, and that of the point turned back by it.
template <int N>
GORGO_INLINE Parts<double, N> precise_angle(Vec<double, N> y, Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto steep = y > x;
  const auto large = select(steep, y, x);
  const auto little = select(steep, x, y);
  const auto place = mul_add(rough_quotient(little, large), broadcast<V>(15.0), broadcast<V>(0x1.8p52));
  const auto index = bits_as<std::int64_t>(place);
  const auto c = pick(kAtanCentre, index);
  const auto top_part = c * large;
  const auto top = little - top_part;
  const auto top_low = (little - top) - top_part - product_lost(c, large, top_part);
  const auto bottom_part = c * little;
  const auto bottom = large + bottom_part;
  const auto bottom_low = (bottom_part - (bottom - large)) + product_lost(c, little, bottom_part);
  const auto inverse = broadcast<V>(1.0) / bottom;
  const auto u = top * inverse;
  const auto u_low = (mul_add_once(-u, bottom, top) + mul_add(-u, bottom_low, top_low)) * inverse;
  const auto z = u * u;
  const auto base = pick(kAtanHigh, index);
  const auto rest = mul_add(u * z, polynomial(z, kAtanA64), u_low) + pick(kAtanLow, index);
  const auto angle = base + u;
  const auto angle_low = (u - (angle - base)) + rest;
  const auto half_pi = broadcast<V>(kHalfPi);
  const auto turned = half_pi - angle;
  const auto turned_low = ((half_pi - turned) - angle) + (broadcast<V>(kHalfPiLow) - angle_low);
  return {select(steep, turned, angle), select(steep, turned_low, angle_low)};
}
template <int N>
GORGO_INLINE Vec<double, N> atan(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto m = abs(x);
  const auto angle = precise_angle(at_most(m, broadcast<V>(0x1p60)), broadcast<V>(1.0));
  return copysign(select(m < broadcast<V>(0x1p-30), m, angle.high + angle.low), x);
}
// The root of v + low, v >= 0.
template <int N>
GORGO_INLINE Parts<double, N> root_of_sum(Vec<double, N> v, Vec<double, N> low) {
  const auto root = sqrt(v);
  const auto left = low - (root * root - v) - product_lost(root, root, root * root);
  return {root, select(v > like(v, 0.0), rough_quotient(like(v, 0.5) * left, root), like(v, 0.0))};
}
// sqrt((1 - m) (1 + m)).
template <int N>
GORGO_INLINE Parts<double, N> other_side(Vec<double, N> m) {
  const auto one = like(m, 1.0);
  const auto a = one - m;
  const auto b = one + m;
  const auto v = a * b;
  return root_of_sum(v, product_lost(a, b, v) + mul_add(a, (one - b) + m, b * ((one - a) - m)));
}
// What the root lacks turns the angle by m times as much.
template <int N>
GORGO_INLINE Vec<double, N> asin(Vec<double, N> x) {
  const auto m = abs(x);
  const auto side = other_side(m);
  const auto angle = precise_angle(m, side.high);
  return copysign(select(m < like(x, 0x1p-30), m, angle.high + (angle.low - m * side.low)), x);
}
template <int N>
GORGO_INLINE Vec<double, N> acos(Vec<double, N> x) {
  const auto m = abs(x);
  const auto side = other_side(m);
  const auto angle = precise_angle(side.high, m);
  const auto low = mul_add(m, side.low, angle.low);
  const auto pi = like(x, kPiValue);
  const auto turned = pi - angle.high;
  const auto turned_low = ((pi - turned) - angle.high) + (like(x, 2.0 * kHalfPiLow) - low);
  const auto behind = x < like(x, 0.0);
  return select(behind, turned, angle.high) + select(behind, turned_low, low);
}
// The angle of infinite points is that of (1, 1), (0, 1) or (1, 0), that of (0, 0) and (0, -0) that of (0, 1) and (0, -1). Points far
// away and near are scaled by a power of 2; of angles next to 0, whose parts might then be denormal, the quotient is the angle.
template <int N>
GORGO_INLINE Vec<double, N> atan2(Vec<double, N> y, Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto zero = broadcast<V>(0.0);
  const auto one = broadcast<V>(1.0);
  const auto infinite = isinf(x) | isinf(y);
  auto top = select(infinite, select(isinf(y), one, zero), abs(y));
  auto bottom = select(infinite, select(isinf(x), one, zero), abs(x));
  bottom = select((top == zero) & (bottom == zero), one, bottom);
  const auto large = select(top > bottom, top, bottom);
  const auto near = select(large < broadcast<V>(0x1p-400), broadcast<V>(0x1p600), one);
  const auto factor = select(large > broadcast<V>(0x1p500), broadcast<V>(0x1p-600), near);
  top = top * factor;
  bottom = bottom * factor;
  auto [angle, low] = precise_angle(top, bottom);
  const auto flat = (top < bottom * broadcast<V>(0x1p-60)) & (abs(y) > zero) & !infinite;
  if (__builtin_expect(any(flat), 0)) {
    angle = select(flat, abs(y) / abs(x), angle);
    low = select(flat, zero, low);
  }
  const auto pi = broadcast<V>(kPiValue);
  const auto turned = pi - angle;
  const auto turned_low = ((pi - turned) - angle) + (broadcast<V>(2.0 * kHalfPiLow) - low);
  const auto behind = copysign(one, x) < zero;
  const auto value = select(behind, turned, angle) + select(behind, turned_low, low);
  return select(isnan(x) | isnan(y), x + y, copysign(value, y));
}

// asinh m = log(1 + (m + m^2 / (1 + sqrt(1 + m^2)))); from 2^60 on log(2 m).
template <int N>
GORGO_INLINE Vec<double, N> asinh(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto m = abs(x);
  const auto near = at_most(m, broadcast<V>(0x1p60));
  const auto square = near * near;
  const auto q = square / (one + sqrt(one + square));
  const auto far = m > near;
  const auto sum = near + q;
  const auto low = select(far, broadcast<V>(0.0), (select(m < one, near, q) - sum) + select(m < one, q, near));
  const auto value = log1p_of_sum(select(far, m, sum), low);
  const auto doubled = select(far, value + broadcast<V>(0x1.62e42fefa39efp-1), value);
  return copysign(
      select(m < broadcast<V>(FloatBits<double>::kInfinity), select(m < broadcast<V>(0x1p-28), m, doubled), m), x);
}
// log(1 + (d + sqrt(d (d + 2)))), d = x - 1.
template <int N>
GORGO_INLINE Vec<double, N> acosh(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto near = at_most(x, broadcast<V>(0x1p60));
  const auto d = near - one;
  const auto two = broadcast<V>(2.0);
  const auto e = d + two;
  const auto v = d * e;
  const auto root = root_of_sum(v, mul_add(d, sum_lost(two, d, e), product_lost(d, e, v)));
  const auto far = x > near;
  const auto sum = d + root.high;
  const auto low = sum_lost(d, root.high, sum) + root.low;
  const auto value = log1p_of_sum(select(far, x, sum), select(far, broadcast<V>(0.0), low));
  const auto doubled = select(far, value + broadcast<V>(0x1.62e42fefa39efp-1), value);
  const auto defined = select(x < one, broadcast<V>(FloatBits<double>::kNan), doubled);
  return select((x == one) | (x == broadcast<V>(FloatBits<double>::kInfinity)), d * x, defined);
}
// log(1 + 2 m / (1 - m)) / 2.
template <int N>
GORGO_INLINE Vec<double, N> atanh(Vec<double, N> x) {
  using V = Vec<double, N>;
  const auto one = broadcast<V>(1.0);
  const auto m = abs(x);
  const auto d = one - m;
  const auto d_low = (one - d) - m;
  const auto inverse = one / d;
  const auto twice = m + m;
  const auto q = twice * inverse;
  const auto q_low = (mul_add_once(-q, d, twice) - q * d_low) * inverse;
  const auto value = broadcast<V>(0.5) * log1p_of_sum(q, q_low);
  const auto inside = select(m < broadcast<V>(0x1p-28), m, value);
  const auto ends = select(m == one, broadcast<V>(FloatBits<double>::kInfinity), broadcast<V>(FloatBits<double>::kNan));
  return copysign(select(m < one, inside, ends), x);
}

// log(x / (1 - x)). Around 1/2 the quotient is near 1, and its distance from 1 is what counts.
template <int N>
GORGO_INLINE Vec<float, N> logit(Vec<float, N> x) {
  return through_float64(
      [](auto wide) __attribute__((always_inline)) { return log_for_float(wide / (like(wide, 1.0) - wide)); }, x);
}
template <int N>
GORGO_INLINE Vec<double, N> logit(Vec<double, N> x) {
  // The smaller of x and 1 - x, which from 1/2 on is exact; its log(m / (1 - m)) is at most 0.
  const auto one = like(x, 1.0);
  const auto above = x >= like(x, 0.5);
  const auto m = select(above, one - x, x);
  const auto other = select(above, x, one - x);
  const auto near = m > like(x, 0.25);
  // Around 1/2 the quotient other / m is 1 + (1 - 2 m) / m, whose numerator is exact there.
  const auto value = select(near, log1p((one - (m + m)) / m), -log(m / other));
  return select(above, value, -value);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

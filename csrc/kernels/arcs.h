// Inverse circular and hyperbolic functions over Vec<T, N>, and the logarithm of odds, in the vocabulary of math.h.
//
// Invariant: as in math.h. float32 goes through float64, where its formulas lose nothing that shows, so that results are
// the nearest number but for one in thousands; float64 goes lane by lane through the C library.
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
template <int N>
GORGO_INLINE Vec<float, N> asin(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto m) __attribute__((always_inline)) {
        const auto one = like(m, 1.0);
        return angle_of_point(m, sqrt((one - m) * (one + m)));
      },
      abs(x));
  return copysign(value, x);
}
// Twice the angle of half the chord: near 1 nothing cancels.
template <int N>
GORGO_INLINE Vec<float, N> acos(Vec<float, N> x) {
  return through_float64(
      [](auto wide) __attribute__((always_inline)) {
        const auto one = like(wide, 1.0);
        return like(wide, 2.0) * angle_of_point(sqrt(one - wide), sqrt(one + wide));
      },
      x);
}

// Below this two terms of the series are exact to float32, and a logarithm in float64 is good above.
constexpr double kSeriesEnd = 0x1p-10;

template <int N>
GORGO_INLINE Vec<float, N> asinh(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto m) __attribute__((always_inline)) { return log(m + sqrt(m * m + like(m, 1.0))); }, abs(x));
  const auto near_value = mul_add(x * x, x * like(x, -1.0 / 6), x);
  return copysign(select(abs(x) < like(x, kSeriesEnd), near_value, value), x);
}
template <int N>
GORGO_INLINE Vec<float, N> acosh(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto wide) __attribute__((always_inline)) {
        const auto one = like(wide, 1.0);
        return log(wide + sqrt((wide - one) * (wide + one)));
      },
      x);
  return select(x < like(x, 1.0), broadcast<Vec<float, N>>(FloatBits<float>::kNan), value);
}
template <int N>
GORGO_INLINE Vec<float, N> atanh(Vec<float, N> x) {
  const auto value = through_float64(
      [](auto m) __attribute__((always_inline)) {
        const auto one = like(m, 1.0);
        return like(m, 0.5) * log((one + m) / (one - m));
      },
      abs(x));
  const auto near_value = mul_add(x * x, x * like(x, 1.0 / 3), x);
  return copysign(select(abs(x) < like(x, kSeriesEnd), near_value, value), x);
}

#define GORGO_ARC(name)                                \
  template <int N>                                     \
  GORGO_INLINE Vec<double, N> name(Vec<double, N> x) { \
    return libm_##name(x);                             \
  }
GORGO_ARC(asin)
GORGO_ARC(acos)
GORGO_ARC(atan)
GORGO_ARC(asinh)
GORGO_ARC(acosh)
GORGO_ARC(atanh)
#undef GORGO_ARC
template <int N>
GORGO_INLINE Vec<double, N> atan2(Vec<double, N> y, Vec<double, N> x) {
  return libm_atan2(y, x);
}

// log(x / (1 - x)). Around 1/2 the quotient is near 1, and its distance from 1 is what counts.
template <int N>
GORGO_INLINE Vec<float, N> logit(Vec<float, N> x) {
  return through_float64([](auto wide) __attribute__((always_inline)) { return log(wide / (like(wide, 1.0) - wide)); },
                         x);
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

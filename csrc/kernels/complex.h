// One complex number and the vocabulary of math.h over it; the value type of complex kernels.
//
// Invariant: as in math.h; special functions go through the C library, whose branch cuts they have.
#pragma once

#include "core/rounded.h"
#include "kernels/math.h"

namespace gorgo::GORGO_ISA_NS {

template <class T>
struct Complex {
  using Part = T;
  T re;
  T im;
};
template <class V>
struct IsComplex : std::false_type {};
template <class T>
struct IsComplex<Complex<T>> : std::true_type {};

template <class T>
GORGO_INLINE Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
GORGO_INLINE Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
GORGO_INLINE Complex<T> operator-(Complex<T> a) {
  return {-a.re, -a.im};
}
template <class T>
GORGO_INLINE Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {rounded(a.re * b.re) - rounded(a.im * b.im), rounded(a.re * b.im) + rounded(a.im * b.re)};
}
// Scaled by the divisor's larger part (Smith), so that no square overflows.
template <class T>
GORGO_INLINE Complex<T> operator/(Complex<T> a, Complex<T> b) {
  const bool real_leads = abs(b.re) >= abs(b.im);
  const T large = real_leads ? b.re : b.im;
  const T small = real_leads ? b.im : b.re;
  if (large == 0) return {a.re / large, a.im / large};
  const T ratio = small / large;
  const T scale = 1 / (large + small * ratio);
  if (real_leads) return {(a.re + rounded(a.im * ratio)) * scale, (a.im - rounded(a.re * ratio)) * scale};
  return {(rounded(a.re * ratio) + a.im) * scale, (rounded(a.im * ratio) - a.re) * scale};
}
template <class T>
GORGO_INLINE bool operator==(Complex<T> a, Complex<T> b) {
  return a.re == b.re && a.im == b.im;
}
template <class T>
GORGO_INLINE bool operator!=(Complex<T> a, Complex<T> b) {
  return !(a == b);
}
template <class T>
GORGO_INLINE Complex<T> select(bool m, Complex<T> a, Complex<T> b) {
  return m ? a : b;
}
template <class T>
GORGO_INLINE Complex<T> like(Complex<T>, double value) {
  return {static_cast<T>(value), T{0}};
}
template <class T>
GORGO_INLINE Complex<T> conj(Complex<T> x) {
  return {x.re, -x.im};
}
template <class T>
GORGO_INLINE Complex<T> square(Complex<T> x) {
  return x * x;
}
template <class T>
GORGO_INLINE Complex<T> reciprocal(Complex<T> x) {
  return Complex<T>{T{1}, T{0}} / x;
}
template <class T>
GORGO_INLINE bool isnan(Complex<T> x) {
  return isnan(x.re) || isnan(x.im);
}
template <class T>
GORGO_INLINE bool isinf(Complex<T> x) {
  return isinf(x.re) || isinf(x.im);
}
template <class T>
GORGO_INLINE bool isfinite(Complex<T> x) {
  return isfinite(x.re) && isfinite(x.im);
}
// The modulus.
template <class T>
GORGO_INLINE T magnitude(Complex<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    return __builtin_hypotf(x.re, x.im);
  } else {
    return __builtin_hypot(x.re, x.im);
  }
}

// The compiler's own complex type, which the C library takes.
template <class T>
struct NativeComplexOf;
template <>
struct NativeComplexOf<float> {
  using Type = _Complex float;
};
template <>
struct NativeComplexOf<double> {
  using Type = _Complex double;
};
template <class T>
GORGO_INLINE typename NativeComplexOf<T>::Type native(Complex<T> x) {
  typename NativeComplexOf<T>::Type z;
  __real__ z = x.re;
  __imag__ z = x.im;
  return z;
}

#define GORGO_COMPLEX_1(name)                            \
  GORGO_INLINE Complex<float> name(Complex<float> x) {   \
    const auto y = __builtin_c##name##f(native(x));      \
    return {__real__ y, __imag__ y};                     \
  }                                                      \
  GORGO_INLINE Complex<double> name(Complex<double> x) { \
    const auto y = __builtin_c##name(native(x));         \
    return {__real__ y, __imag__ y};                     \
  }
GORGO_COMPLEX_1(sqrt)
GORGO_COMPLEX_1(exp)
GORGO_COMPLEX_1(log)
GORGO_COMPLEX_1(sin)
GORGO_COMPLEX_1(cos)
GORGO_COMPLEX_1(tan)
GORGO_COMPLEX_1(asin)
GORGO_COMPLEX_1(acos)
GORGO_COMPLEX_1(atan)
GORGO_COMPLEX_1(sinh)
GORGO_COMPLEX_1(cosh)
GORGO_COMPLEX_1(asinh)
GORGO_COMPLEX_1(acosh)
GORGO_COMPLEX_1(atanh)
#undef GORGO_COMPLEX_1

#define GORGO_COMPLEX_1(name, wide)                                                         \
  GORGO_INLINE Complex<float> name(Complex<float> x) {                                      \
    const Complex<double> y = wide({static_cast<double>(x.re), static_cast<double>(x.im)}); \
    return {static_cast<float>(y.re), static_cast<float>(y.im)};                            \
  }                                                                                         \
  GORGO_INLINE Complex<double> name(Complex<double> x) { return wide(x); }

// The C library takes an infinite real part's imaginary zero from sin 2 b; the array API says that of b.
template <class T>
GORGO_INLINE Complex<T> settled_tanh(Complex<T> x, Complex<T> y) {
  if (isinf(x.re) && isfinite(x.im)) y.im = copysign(T{0}, x.im);
  return y;
}
GORGO_INLINE Complex<float> tanh(Complex<float> x) {
  const auto y = __builtin_ctanhf(native(x));
  return settled_tanh(x, Complex<float>{__real__ y, __imag__ y});
}
GORGO_INLINE Complex<double> tanh(Complex<double> x) {
  const auto y = __builtin_ctanh(native(x));
  return settled_tanh(x, Complex<double>{__real__ y, __imag__ y});
}

// e^x - 1 = expm1(a) cos b - 2 sin^2(b / 2) + i e^a sin b; far from 0, and for special values, from exp.
inline Complex<double> expm1_of(Complex<double> x) noexcept {
  if (!isfinite(x) || __builtin_fabs(x.re) > 1.0) {
    const Complex<double> y = exp(x);
    return {y.re - 1.0, y.im};
  }
  const double half = __builtin_sin(0.5 * x.im);
  const double real = __builtin_expm1(x.re) * __builtin_cos(x.im) - 2.0 * half * half;
  return {real + 0.0, __builtin_exp(x.re) * __builtin_sin(x.im)};  // no negative zero in the real part
}
// log(1 + x). Where |1 + x|^2 = 1 + (2 a + a^2 + b^2) is near 1, what is in brackets is summed with the products' errors.
inline Complex<double> log1p_of(Complex<double> x) noexcept {
  if (!isfinite(x)) return log(Complex<double>{1.0 + x.re, x.im});
  const double a2 = x.re * x.re;
  const double b2 = x.im * x.im;
  const double twice = 2.0 * x.re;
  const double first = twice + a2;
  const double first_lost = __builtin_fabs(twice) > a2 ? a2 - (first - twice) : twice - (first - a2);
  const double sum = first + b2;
  const double sum_lost = __builtin_fabs(first) > b2 ? b2 - (sum - first) : first - (sum - b2);
  const double products = __builtin_fma(x.re, x.re, -a2) + __builtin_fma(x.im, x.im, -b2);
  const double total = sum + (first_lost + sum_lost + products);
  const double angle = __builtin_atan2(x.im, 1.0 + x.re);
  if (__builtin_fabs(total) < 0.5) return {0.5 * __builtin_log1p(total), angle};
  return {__builtin_log(__builtin_hypot(1.0 + x.re, x.im)), angle};
}
inline Complex<double> log2_of(Complex<double> x) noexcept {
  const Complex<double> y = log(x);
  return {y.re * 1.4426950408889634074, y.im * 1.4426950408889634074};
}
inline Complex<double> log10_of(Complex<double> x) noexcept {
  const Complex<double> y = log(x);
  return {y.re * 0.43429448190325182765, y.im * 0.43429448190325182765};
}
GORGO_COMPLEX_1(expm1, expm1_of)
GORGO_COMPLEX_1(log1p, log1p_of)
GORGO_COMPLEX_1(log2, log2_of)
GORGO_COMPLEX_1(log10, log10_of)
#undef GORGO_COMPLEX_1

// x / |x|, scaled by the larger part so that the modulus does not overflow; 0 of 0.
template <class T>
GORGO_INLINE Complex<T> sign(Complex<T> x) {
  if (isnan(x)) return {FloatBits<T>::kNan, FloatBits<T>::kNan};
  const T largest = maximum(abs(x.re), abs(x.im));
  if (largest == 0) return {T{0}, T{0}};
  const Complex<T> scaled = {x.re / largest, x.im / largest};
  const T modulus = magnitude(scaled);
  return {scaled.re / modulus, scaled.im / modulus};
}

// x^0 is 1, 0^y is 0 when y's real part is positive; small whole powers are products.
template <class T>
GORGO_INLINE Complex<T> pow(Complex<T> x, Complex<T> y) {
  if (y.re == 0 && y.im == 0) return {T{1}, T{0}};
  if (x.re == 0 && x.im == 0 && y.re > 0) return {T{0}, T{0}};
  if (y.im == 0) {
    if (y.re == 1) return x;
    if (y.re == 2) return x * x;
    if (y.re == 3) return x * x * x;
    if (y.re == -1) return reciprocal(x);
  }
  if constexpr (std::is_same_v<T, float>) {
    const auto z = __builtin_cpowf(native(x), native(y));
    return {__real__ z, __imag__ z};
  } else {
    const auto z = __builtin_cpow(native(x), native(y));
    return {__real__ z, __imag__ z};
  }
}

}  // namespace gorgo::GORGO_ISA_NS

// One complex number of a CUDA thread and the part of lane.cuh's vocabulary that needs no special function of it.
//
// Invariant: products and quotients are rounded as on the CPU (kernels/complex.h); nvcc is told not to contract.
// Read next: complex_math.cuh (the others), lane.cuh.
#pragma once

#include "kernels/cuda/lane.cuh"

namespace gorgo::cuda {

template <class T>
struct Complex {
  T re;
  T im;
};

template <class T>
GORGO_DEVICE Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
GORGO_DEVICE Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
GORGO_DEVICE Complex<T> operator-(Complex<T> a) {
  return {-a.re, -a.im};
}
template <class T>
GORGO_DEVICE Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
// Scaled by the divisor's larger part (Smith), so that no square overflows.
template <class T>
GORGO_DEVICE Complex<T> operator/(Complex<T> a, Complex<T> b) {
  const bool real_leads = abs(Lane<T>{b.re}).v >= abs(Lane<T>{b.im}).v;
  const T large = real_leads ? b.re : b.im;
  const T small = real_leads ? b.im : b.re;
  if (large == 0) return {a.re / large, a.im / large};
  const T ratio = small / large;
  const T scale = T{1} / (large + small * ratio);
  if (real_leads) return {(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale};
  return {(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
template <class T>
GORGO_DEVICE Truth operator==(Complex<T> a, Complex<T> b) {
  return {a.re == b.re && a.im == b.im};
}
template <class T>
GORGO_DEVICE Truth operator!=(Complex<T> a, Complex<T> b) {
  return {!(a.re == b.re && a.im == b.im)};
}
template <class T>
GORGO_DEVICE Complex<T> select(Truth m, Complex<T> a, Complex<T> b) {
  return m.v ? a : b;
}
template <class T>
GORGO_DEVICE Complex<T> like(Complex<T>, double value) {
  return {static_cast<T>(value), T{0}};
}
template <class T>
GORGO_DEVICE Complex<T> conj(Complex<T> x) {
  return {x.re, -x.im};
}
template <class T>
GORGO_DEVICE Complex<T> reciprocal(Complex<T> x) {
  return Complex<T>{T{1}, T{0}} / x;
}
template <class T>
GORGO_DEVICE Truth isnan(Complex<T> x) {
  return {x.re != x.re || x.im != x.im};
}
template <class T>
GORGO_DEVICE Truth isinf(Complex<T> x) {
  return isinf(Lane<T>{x.re}) | isinf(Lane<T>{x.im});
}
template <class T>
GORGO_DEVICE Truth isfinite(Complex<T> x) {
  return isfinite(Lane<T>{x.re}) & isfinite(Lane<T>{x.im});
}
// The modulus.
template <class T>
GORGO_DEVICE T magnitude(Complex<T> x) {
  return hypot(Lane<T>{x.re}, Lane<T>{x.im}).v;
}
template <class T>
GORGO_DEVICE Complex<T> round(Complex<T> x) {
  return {round(Lane<T>{x.re}).v, round(Lane<T>{x.im}).v};
}
// x / |x|, scaled by the larger part so that the modulus does not overflow; 0 of 0.
template <class T>
GORGO_DEVICE Complex<T> sign(Complex<T> x) {
  constexpr T kNan = std::numeric_limits<T>::quiet_NaN();
  if (isnan(x).v) return {kNan, kNan};
  const T largest = maximum(abs(Lane<T>{x.re}), abs(Lane<T>{x.im})).v;
  if (largest == 0) return {T{0}, T{0}};
  const Complex<T> scaled = {x.re / largest, x.im / largest};
  const T modulus = magnitude(scaled);
  return {scaled.re / modulus, scaled.im / modulus};
}

}  // namespace gorgo::cuda

// Numbers that come as attributes, as elements of a dtype. For kernel files (compiled per ISA).
// Invariant: infer has checked that the number fits the dtype.
#pragma once

#include "core/dtype.h"
#include "core/scalar.h"

namespace gorgo::GORGO_ISA_NS {

template <class T>
GORGO_INLINE T from_double(double v) noexcept {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return T(static_cast<float>(v));
  } else {
    return static_cast<T>(v);
  }
}

template <class T>
GORGO_INLINE T from_scalar(const Scalar& s) noexcept {
  if constexpr (std::is_same_v<T, bool>) {
    return s.i != 0;
  } else if constexpr (std::is_same_v<T, std::complex<float>>) {
    return {static_cast<float>(s.to_double()), static_cast<float>(s.imag)};
  } else if constexpr (std::is_same_v<T, std::complex<double>>) {
    return {s.to_double(), s.imag};
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(s.u);
  } else {
    return from_double<T>(s.to_double());
  }
}

// The element of dtype `d` as a unit U of its size.
template <class U>
GORGO_INLINE U unit_from_scalar(const Scalar& s, DType d) noexcept {
  U unit{};
  switch (d) {
#define GORGO_X(name, type, text)                                                                  \
  case DType::name: {                                                                              \
    const type value = from_scalar<type>(s);                                                       \
    if constexpr (sizeof value == sizeof unit) {                                                   \
      __builtin_memcpy(static_cast<void*>(&unit), static_cast<const void*>(&value), sizeof value); \
    }                                                                                              \
    break;                                                                                         \
  }
    GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
  }
  return unit;
}

}  // namespace gorgo::GORGO_ISA_NS

// The type that stands for all whose sums and products have the same bits, so that one kernel serves them.
//
// For kernel files (compiled per ISA).
#pragma once

#include <type_traits>

namespace gorgo::GORGO_ISA_NS {

// Integers of one width wrap alike, signed or not.
template <class T, bool kInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>>
struct WrappingOf {
  using Type = T;
};
template <class T>
struct WrappingOf<T, true> {
  using Type = std::make_unsigned_t<T>;
};
template <class T>
using Wrapping = typename WrappingOf<T>::Type;

}  // namespace gorgo::GORGO_ISA_NS

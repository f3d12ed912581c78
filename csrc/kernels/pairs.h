// Elements by twos: those at even and at odd places of two neighbouring vectors, and back.
//
// For kernel files (compiled per ISA). Read next: vec.h.
#pragma once

#include "kernels/vec.h"

namespace gorgo::GORGO_ISA_NS {

#if defined(__clang__)
#define GORGO_SHUFFLE(Index, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GORGO_SHUFFLE(Index, a, b, ...) __builtin_shuffle(a, b, Index{__VA_ARGS__})
#endif

template <class T>
struct Pairs {
  using V = Vec<T>;
  using Index = RawVector<SignedLike<T>, V::kLanes>;
  static constexpr int kLanes = V::kLanes;
  V even, odd;

  GORGO_INLINE static Pairs load(const T* p) { return split(load_raw<V>(p), load_raw<V>(p + kLanes)); }
  GORGO_INLINE static Pairs split(V a, V b) { return split(a, b, std::make_integer_sequence<int, kLanes>{}); }
  GORGO_INLINE void store(T* p) const { join_to(p, std::make_integer_sequence<int, kLanes>{}); }

 private:
  template <int... I>
  GORGO_INLINE static Pairs split(V a, V b, std::integer_sequence<int, I...>) {
    return {{GORGO_SHUFFLE(Index, a.raw, b.raw, (2 * I)...)}, {GORGO_SHUFFLE(Index, a.raw, b.raw, (2 * I + 1)...)}};
  }
  template <int... I>
  GORGO_INLINE void join_to(T* p, std::integer_sequence<int, I...>) const {
    store_raw(p, V{GORGO_SHUFFLE(Index, even.raw, odd.raw, (I / 2 + I % 2 * kLanes)...)});
    store_raw(p + kLanes, V{GORGO_SHUFFLE(Index, even.raw, odd.raw, (kLanes / 2 + I / 2 + I % 2 * kLanes)...)});
  }
};
#undef GORGO_SHUFFLE

}  // namespace gorgo::GORGO_ISA_NS

// Elements by twos: those at even and at odd places of two neighbouring vectors, and back.
//
// For kernel files (compiled per ISA). Read next: zip.h.
#pragma once

#include "kernels/zip.h"

namespace gorgo::GORGO_ISA_NS {

template <class T, int N = Vec<T>::kLanes>
struct Pairs {
  using V = Vec<T, N>;
  static constexpr int kLanes = N;
  using Z = Zip<T, N>;
  V even, odd;

  GORGO_INLINE static Pairs load(const T* p) { return split(load_raw<V>(p), load_raw<V>(p + kLanes)); }
  GORGO_INLINE static Pairs split(V a, V b) { return {{Z::even(a.raw, b.raw)}, {Z::odd(a.raw, b.raw)}}; }
  GORGO_INLINE void store(T* p) const {
    store_raw(p, V{Z::low(even.raw, odd.raw)});
    store_raw(p + kLanes, V{Z::high(even.raw, odd.raw)});
  }
  // The first `count` elements, 0 <= count <= 2 * kLanes.
  GORGO_INLINE void store_first(T* p, int count) const {
    const V low{Z::low(even.raw, odd.raw)};
    if (count < kLanes) return store_raw_partial(p, low, count);
    store_raw(p, low);
    store_raw_partial(p + kLanes, V{Z::high(even.raw, odd.raw)}, count - kLanes);
  }
};

}  // namespace gorgo::GORGO_ISA_NS

// Short lines, as many side by side as a vector has lanes, sorted by a network: which places are compared does not depend on what
// is there.
//
// For kernel files (compiled per ISA). Source: K. E. Batcher, Sorting networks and their applications, 1968 (the odd-even merge).
// Read next: kernels_cpu.cpp.
#pragma once

#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Places of lines of one number each: a key, or a key and its index.
template <class T>
struct NumberTile {
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int64_t kBytesPerPlace = kVectorBytes;
  using V = Vec<T, kLanes>;
  T* numbers;

  GORGO_INLINE void exchange(int64_t i, int64_t j) const noexcept {
    const V a = load_raw<V>(numbers + i * kLanes);
    const V b = load_raw<V>(numbers + j * kLanes);
    const auto in_order = a < b;
    store_raw(numbers + i * kLanes, select(in_order, a, b));
    store_raw(numbers + j * kLanes, select(in_order, b, a));
  }
};

// Places of lines of keys with their indices beside them.
struct PairTile {
  static constexpr int kLanes = kVectorBytes / 8;
  static constexpr int64_t kBytesPerPlace = 2 * kVectorBytes;
  using V = Vec<uint64_t, kLanes>;
  uint64_t* keys;
  uint64_t* indices;

  GORGO_INLINE void exchange(int64_t i, int64_t j) const noexcept {
    const V a = load_raw<V>(keys + i * kLanes);
    const V b = load_raw<V>(keys + j * kLanes);
    const V p = load_raw<V>(indices + i * kLanes);
    const V q = load_raw<V>(indices + j * kLanes);
    const auto in_order = (a < b) | ((a == b) & (p < q));
    store_raw(keys + i * kLanes, select(in_order, a, b));
    store_raw(keys + j * kLanes, select(in_order, b, a));
    store_raw(indices + i * kLanes, select(in_order, p, q));
    store_raw(indices + j * kLanes, select(in_order, q, p));
  }
};

template <class Tile>
[[gnu::noinline]] void sort_network(Tile tile, int64_t n) noexcept {
  const auto exchange_run = [&](int64_t first, int64_t distance, int64_t count) GORGO_INLINE_LAMBDA {
    const int64_t end = first + count < n - distance ? first + count : n - distance;
    for (int64_t i = first; i < end; ++i) tile.exchange(i, i + distance);
  };
  for (int64_t half = 1; half < n; half *= 2) {
    // Pairs of sorted runs of `half` places are merged.
    for (int64_t begin = 0; begin + half < n; begin += 2 * half) exchange_run(begin, half, half);
    for (int64_t distance = half / 2; distance > 0; distance /= 2) {
      for (int64_t begin = 0; begin < n; begin += 2 * half) {
        const int64_t last = 2 * half - distance;
        for (int64_t at = distance; at < last && begin + at + distance < n; at += 2 * distance) {
          exchange_run(begin + at, distance, distance);
        }
      }
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

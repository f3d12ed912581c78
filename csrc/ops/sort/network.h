// Short lines, as many side by side as a vector has lanes, sorted by a network: which places are compared does not depend on what
// is there.
//
// For kernel files (compiled per ISA). Source: K. E. Batcher, Sorting networks and their applications, 1968 (both merges: odd-even
// of eight places, bitonic beyond).
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
  using Place = Vec<T, kLanes>;
  T* numbers;

  [[nodiscard]] GORGO_INLINE Place load(int64_t i) const noexcept { return load_raw<Place>(numbers + i * kLanes); }
  GORGO_INLINE void store(int64_t i, Place p) const noexcept { store_raw(numbers + i * kLanes, p); }
  GORGO_INLINE static void exchange(Place& a, Place& b) noexcept {
    const auto in_order = a < b;
    const Place least = select(in_order, a, b);
    b = select(in_order, b, a);
    a = least;
  }
  GORGO_INLINE static Place behind_all() noexcept { return broadcast<Place>(static_cast<T>(~T{0})); }
};

// Places of lines of keys with their indices beside them.
struct PairTile {
  static constexpr int kLanes = kVectorBytes / 8;
  static constexpr int64_t kBytesPerPlace = 2 * kVectorBytes;
  using V = Vec<uint64_t, kLanes>;
  struct Place {
    V key, index;
  };
  uint64_t* keys;
  uint64_t* indices;

  [[nodiscard]] GORGO_INLINE Place load(int64_t i) const noexcept {
    return {load_raw<V>(keys + i * kLanes), load_raw<V>(indices + i * kLanes)};
  }
  GORGO_INLINE void store(int64_t i, Place p) const noexcept {
    store_raw(keys + i * kLanes, p.key);
    store_raw(indices + i * kLanes, p.index);
  }
  GORGO_INLINE static void exchange(Place& a, Place& b) noexcept {
    const auto in_order = (a.key < b.key) | ((a.key == b.key) & (a.index < b.index));
    const Place least{select(in_order, a.key, b.key), select(in_order, a.index, b.index)};
    b = {select(in_order, b.key, a.key), select(in_order, b.index, a.index)};
    a = least;
  }
  GORGO_INLINE static Place behind_all() noexcept { return {broadcast<V>(~uint64_t{0}), broadcast<V>(~uint64_t{0})}; }
};

// How many places a tile must have for lines of n.
GORGO_INLINE int64_t network_places(int64_t n) noexcept {
  int64_t places = 8;
  while (places < n) places *= 2;
  return places;
}

// Two rounds of the network at a time pass through registers. Places behind the lines' ends are made greater than all.
template <class Tile>
[[gnu::noinline]] void sort_network(Tile tile, int64_t n) noexcept {
  using Place = typename Tile::Place;
  const int64_t places = network_places(n);
  for (int64_t i = n; i < places; ++i) tile.store(i, Tile::behind_all());
  for (int64_t begin = 0; begin < n; begin += 8) {
    Place p[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) p[i] = tile.load(begin + i);
    constexpr int kPairs[19][2] = {{0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2}, {1, 3}, {4, 6}, {5, 7}, {1, 2}, {5, 6},
                                   {0, 4}, {1, 5}, {2, 6}, {3, 7}, {2, 4}, {3, 5}, {1, 2}, {3, 4}, {5, 6}};
#pragma GCC unroll 19
    for (int i = 0; i < 19; ++i) Tile::exchange(p[kPairs[i][0]], p[kPairs[i][1]]);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) tile.store(begin + i, p[i]);
  }
  // First the outer two with each other and the inner ones, or the first and the third and so on; then neighbours.
  const auto four = [&](int64_t a, int64_t b, int64_t c, int64_t d, auto mirrored) GORGO_INLINE_LAMBDA {
    Place p[4] = {tile.load(a), tile.load(b), tile.load(c), tile.load(d)};
    Tile::exchange(p[0], p[mirrored ? 3 : 2]);
    Tile::exchange(p[1], p[mirrored ? 2 : 3]);
    Tile::exchange(p[0], p[1]);
    Tile::exchange(p[2], p[3]);
    tile.store(a, p[0]);
    tile.store(b, p[1]);
    tile.store(c, p[2]);
    tile.store(d, p[3]);
  };
  for (int64_t half = 8; half < places; half *= 2) {
    // Pairs of sorted runs of `half` places are merged.
    for (int64_t begin = 0; begin < n; begin += 2 * half) {
      const int64_t last = begin + 2 * half - 1;
      for (int64_t i = 0; i < half / 2; ++i) {
        four(begin + i, begin + half / 2 + i, last - half / 2 - i, last - i, std::true_type{});
      }
    }
    int64_t distance = half / 4;
    for (; distance > 1; distance /= 4) {
      for (int64_t begin = 0; begin < n; begin += 2 * distance) {
        for (int64_t i = begin; i < begin + distance / 2; ++i) {
          four(i, i + distance / 2, i + distance, i + distance + distance / 2, std::false_type{});
        }
      }
    }
    for (int64_t i = 0; distance == 1 && i < n; i += 2) {
      Place a = tile.load(i);
      Place b = tile.load(i + 1);
      Tile::exchange(a, b);
      tile.store(i, a);
      tile.store(i + 1, b);
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

// A stable sort of (key, index) pairs by unsigned keys; for kernel files (compiled per ISA).
//
// Invariant: never allocates; the caller brings a second buffer of the same length.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

namespace gorgo::GORGO_ISA_NS {

template <class K>
struct KeyedIndex {
  K key;
  uint32_t index;
};

// Sorts `n` entries and returns where they lie now: in `entries` or in `spare`.
template <class K>
GORGO_INLINE KeyedIndex<K>* radix_sort(KeyedIndex<K>* entries, KeyedIndex<K>* spare, int64_t n) noexcept {
  using Item = KeyedIndex<K>;
  // Below this length moving single items beats filling histograms.
  if (n <= 64) {
    for (int64_t i = 1; i < n; ++i) {
      const Item item = entries[i];
      int64_t at = i;
      for (; at > 0 && entries[at - 1].key > item.key; --at) entries[at] = entries[at - 1];
      entries[at] = item;
    }
    return entries;
  }
  constexpr int kDigits = static_cast<int>(sizeof(K));
  uint32_t counts[kDigits][256];
  std::memset(counts, 0, sizeof counts);
  for (int64_t i = 0; i < n; ++i) {
    for (int d = 0; d < kDigits; ++d) ++counts[d][(entries[i].key >> (8 * d)) & 0xff];
  }
  for (int d = 0; d < kDigits; ++d) {
    // A digit that all keys share needs no pass.
    if (counts[d][(entries[0].key >> (8 * d)) & 0xff] == static_cast<uint32_t>(n)) continue;
    uint32_t start = 0;
    for (uint32_t& count : counts[d]) {
      const uint32_t here = count;
      count = start;
      start += here;
    }
    for (int64_t i = 0; i < n; ++i) spare[counts[d][(entries[i].key >> (8 * d)) & 0xff]++] = entries[i];
    Item* const sorted = spare;
    spare = entries;
    entries = sorted;
  }
  return entries;
}

}  // namespace gorgo::GORGO_ISA_NS

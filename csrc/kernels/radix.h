// A stable sort of (key, index) pairs by unsigned keys; for kernel files (compiled per ISA). Long sequences are sorted in two
// rounds of tasks: blocks of the sequence, each by itself, then blocks of the result, each gathered from the sorted blocks.
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

// How a long sequence is cut into blocks, by its length alone. There are at most kMost of them, since each block of the
// result looks into all others.
struct SortBlocks {
  static constexpr int64_t kLeast = int64_t{1} << 17;
  static constexpr int64_t kMost = 256;
  int64_t n = 0;
  int64_t size = 0;
  int64_t count = 1;

  GORGO_INLINE explicit SortBlocks(int64_t length) noexcept : n(length), size(length) {
    if (n < 2 * kLeast) return;
    size = (n + kMost - 1) / kMost;
    if (size < kLeast) size = kLeast;
    count = (n + size - 1) / size;
  }
  [[nodiscard]] GORGO_INLINE int64_t begin(int64_t block) const noexcept { return block * size; }
  [[nodiscard]] GORGO_INLINE int64_t end(int64_t block) const noexcept {
    return block + 1 < count ? (block + 1) * size : n;
  }
};

// How many of the sorted entries [first, last) have a key below `key`.
template <class K>
GORGO_INLINE int64_t count_below(const KeyedIndex<K>* entries, int64_t first, int64_t last, K key) noexcept {
  const int64_t start = first;
  while (first < last) {
    const int64_t middle = first + (last - first) / 2;
    if (entries[middle].key < key) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first - start;
}

// Where a rank of the whole lies: `equal` entries of `key` come before it, and all entries below `key`.
template <class K>
struct RankCut {
  K key = 0;
  int64_t equal = 0;

  GORGO_INLINE RankCut(const KeyedIndex<K>* entries, const SortBlocks& blocks, int64_t rank) noexcept {
    const auto below = [&](K bound) {
      int64_t sum = 0;
      for (int64_t b = 0; b < blocks.count; ++b) sum += count_below(entries, blocks.begin(b), blocks.end(b), bound);
      return sum;
    };
    for (int bit = static_cast<int>(sizeof(K)) * 8 - 1; bit >= 0; --bit) {
      const K higher = static_cast<K>(key | static_cast<K>(K{1} << bit));
      if (below(higher) <= rank) key = higher;
    }
    equal = rank - below(key);
  }
  // The first entry of block b that is not before the rank. To be asked of all blocks in order.
  GORGO_INLINE int64_t in_block(const KeyedIndex<K>* entries, const SortBlocks& blocks, int64_t b) noexcept {
    const int64_t end = blocks.end(b);
    int64_t at = blocks.begin(b);
    at += count_below(entries, at, end, key);
    if (equal == 0) return at;
    const int64_t ties =
        key == static_cast<K>(~K{0}) ? end - at : count_below(entries, at, end, static_cast<K>(key + 1));
    const int64_t before = ties < equal ? ties : equal;
    equal -= before;
    return at + before;
  }
};

// Second round: the entries of block `block` of the result, gathered from the sorted blocks of `entries` into `gathered` and
// sorted; both buffers have room for a block. Returns where they lie.
template <class K>
GORGO_INLINE KeyedIndex<K>* gather_sorted(const KeyedIndex<K>* entries, const SortBlocks& blocks, int64_t block,
                                          KeyedIndex<K>* gathered, KeyedIndex<K>* spare) noexcept {
  RankCut<K> first(entries, blocks, blocks.begin(block));
  const bool to_the_end = block + 1 == blocks.count;
  RankCut<K> last = to_the_end ? first : RankCut<K>(entries, blocks, blocks.end(block));
  int64_t n = 0;
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t from = first.in_block(entries, blocks, b);
    const int64_t to = to_the_end ? blocks.end(b) : last.in_block(entries, blocks, b);
    std::memcpy(gathered + n, entries + from, static_cast<size_t>(to - from) * sizeof(KeyedIndex<K>));
    n += to - from;
  }
  return radix_sort(gathered, spare, n);
}

}  // namespace gorgo::GORGO_ISA_NS

// A stable sort by unsigned keys, of keys alone or of (key, index) pairs; for kernel files (compiled per ISA). Long sequences are
// sorted in two rounds of tasks: blocks of the sequence, each by itself, then blocks of the result, each gathered from the sorted
// blocks.
//
// Invariant: never allocates; the caller brings a second buffer of the same length.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/dtype.h"

namespace gorgo::GORGO_ISA_NS {

template <class K>
struct KeyedIndex {
  K key;
  uint32_t index;
};

template <class K>
GORGO_INLINE K sort_key(KeyedIndex<K> item) noexcept {
  return item.key;
}
GORGO_INLINE uint32_t sort_key(uint32_t item) noexcept { return item; }
GORGO_INLINE uint64_t sort_key(uint64_t item) noexcept { return item; }
template <class Item>
using SortKey = decltype(sort_key(Item{}));

// Moves items to where they belong among those before them; gives up after `most` moves and says so.
template <class Item>
GORGO_INLINE bool insertion_sort(Item* entries, int64_t n, int64_t most) noexcept {
  for (int64_t i = 1; i < n; ++i) {
    const Item item = entries[i];
    int64_t at = i;
    for (; at > 0 && sort_key(entries[at - 1]) > sort_key(item); --at) entries[at] = entries[at - 1];
    entries[at] = item;
    most -= i - at;
    if (most < 0) return false;
  }
  return true;
}

// By bits [low, high) of the keys, at most 32 of them.
template <class Item>
[[gnu::noinline]] static Item* radix_passes(Item* entries, Item* spare, int64_t n, int low, int high) noexcept {
  constexpr int kMostDigits = 4;
  const int digits = (high - low + 7) / 8;
  const int bits = (high - low + digits - 1) / digits;
  uint32_t counts[kMostDigits][256];
  std::memset(counts, 0, sizeof counts[0] * static_cast<size_t>(digits));
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  const auto count = [&](auto number) __attribute__((always_inline)) {
    for (int64_t i = 0; i < n; ++i) {
      const SortKey<Item> key = sort_key(entries[i]) >> low;
      for (int d = 0; d < number; ++d) ++counts[d][static_cast<uint32_t>(key >> (bits * d)) & mask];
    }
  };
  if (digits == 4) {
    count(std::integral_constant<int, 4>{});
  } else {
    count(digits);
  }
  for (int d = 0; d < digits; ++d) {
    const int shift = low + bits * d;
    const auto digit = [=](Item item) __attribute__((always_inline)) {
      return static_cast<uint32_t>(sort_key(item) >> shift) & mask;
    };
    // A digit that all keys share needs no pass.
    if (counts[d][digit(entries[0])] == static_cast<uint32_t>(n)) continue;
    uint32_t start = 0;
    for (uint32_t& place : counts[d]) {
      const uint32_t here = place;
      place = start;
      start += here;
    }
    for (int64_t i = 0; i < n; ++i) spare[counts[d][digit(entries[i])]++] = entries[i];
    std::swap(entries, spare);
  }
  return entries;
}

// Keys that differ in `bits` bits from `low` on are counted, and written again.
template <class K>
GORGO_INLINE void counting_sort(K* keys, uint32_t* counts, int64_t n, int low, int bits) noexcept {
  const uint32_t size = uint32_t{1} << bits;
  std::memset(counts, 0, sizeof(uint32_t) * size);
  for (int64_t i = 0; i < n; ++i) ++counts[static_cast<uint32_t>(keys[i] >> low) & (size - 1)];
  const K rest = keys[0] & ~(static_cast<K>(size - 1) << low);
  for (uint32_t digit = 0; digit < size; ++digit) {
    const K key = rest | static_cast<K>(K{digit} << low);
    for (uint32_t i = 0; i < counts[digit]; ++i) *keys++ = key;
  }
}

// Sorts `n` entries by the bits of their keys that `relevant` names and returns where they lie now: in `entries` or in `spare`.
// What the other bits hold must be in order already among equals. Few keys should be alike in their first `telling` bits.
template <class Item>
[[gnu::noinline]] static Item* radix_sort(Item* entries, Item* spare, int64_t n,
                                          SortKey<Item> relevant = ~SortKey<Item>{0}, int telling = 32) noexcept {
  using K = SortKey<Item>;
  // Below this length moving single items beats filling histograms.
  if (n <= 24) {
    insertion_sort(entries, n, INT64_MAX);
    return entries;
  }
  K differ = 0;
  for (int64_t i = 0; i < n; ++i) differ |= sort_key(entries[i]) ^ sort_key(entries[0]);
  differ &= relevant;
  if (differ == 0) return entries;
  const int low = __builtin_ctzll(differ);
  const int high = 64 - __builtin_clzll(differ);
  if constexpr (std::is_same_v<Item, K>) {
    constexpr int kMostBits = 11;
    uint32_t counts[1 << kMostBits];
    if (high - low <= kMostBits && relevant == ~K{0} && n >= 1 << (high - low)) {
      counting_sort(entries, counts, n, low, high - low);
      return entries;
    }
  }
  if (high - low <= 32 && (telling == 32 || high - low <= telling)) return radix_passes(entries, spare, n, low, high);
  Item* sorted = radix_passes(entries, spare, n, high - telling, high);
  if (insertion_sort(sorted, n, 2 * n)) return sorted;
  for (int from = low; from < high; from += 32) {
    sorted = radix_passes(sorted, sorted == entries ? spare : entries, n, from, from + 32 < high ? from + 32 : high);
  }
  return sorted;
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
template <class Item>
GORGO_INLINE int64_t count_below(const Item* entries, int64_t first, int64_t last, SortKey<Item> key) noexcept {
  const int64_t start = first;
  while (first < last) {
    const int64_t middle = first + (last - first) / 2;
    if (sort_key(entries[middle]) < key) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first - start;
}

// Where a rank of the whole lies: `equal` entries of `key` come before it, and all entries below `key`.
template <class Item>
struct RankCut {
  using K = SortKey<Item>;
  K key = 0;
  int64_t equal = 0;

  GORGO_INLINE RankCut(const Item* entries, const SortBlocks& blocks, int64_t rank) noexcept {
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
  GORGO_INLINE int64_t in_block(const Item* entries, const SortBlocks& blocks, int64_t b) noexcept {
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
template <class Item>
GORGO_INLINE Item* gather_sorted(const Item* entries, const SortBlocks& blocks, int64_t block, Item* gathered,
                                 Item* spare, SortKey<Item> relevant = ~SortKey<Item>{0}) noexcept {
  RankCut<Item> first(entries, blocks, blocks.begin(block));
  const bool to_the_end = block + 1 == blocks.count;
  RankCut<Item> last = to_the_end ? first : RankCut<Item>(entries, blocks, blocks.end(block));
  int64_t n = 0;
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t from = first.in_block(entries, blocks, b);
    const int64_t to = to_the_end ? blocks.end(b) : last.in_block(entries, blocks, b);
    std::memcpy(gathered + n, entries + from, static_cast<size_t>(to - from) * sizeof(Item));
    n += to - from;
  }
  return radix_sort(gathered, spare, n, relevant);
}

}  // namespace gorgo::GORGO_ISA_NS

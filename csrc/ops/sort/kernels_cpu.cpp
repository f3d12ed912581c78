// CPU kernels of the sort family. The elements of a line along the axis become keys, unsigned integers in the wanted order, which
// are sorted alone where values are wanted, else with their indices; so there is one sort for keys of 32 and one for keys of 64 bits.
//
// Which way a line is sorted depends on the shape alone, and none changes the outcome: every order is stable.
//     short lines: side by side, by a network
//     indices of many elements of one or two bytes: by counting them
//     a few greatest of a long line: those that pass the least of the best so far are collected and sorted when there are many
//     else: by digits; a few long lines in blocks (kernels/radix.h)
// Compiled once per ISA. Lines are shared out over at most kMostTasks tasks, each with its own scratch.
// Read next: keys.h, network.h, kernels/radix.h, sort.cpp (what each op means).
#include "kernels/move.h"
#include "kernels/radix.h"
#include "kernels/zip.h"
#include "ops/sort/attrs.h"
#include "ops/sort/keys.h"
#include "ops/sort/network.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kMostTasks = 32;
// Lines up to this number are cut into blocks when they are long. All of them have their entries in scratch at once.
constexpr int64_t kFewLines = 8;
// Lines up to these lengths are sorted by a network: any, and where there are several.
constexpr int64_t kShort = 128;
constexpr int64_t kShortSideBySide = 512;
constexpr int64_t kSeveral = 4;
// The greatest of a line of more than this number is looked for in the line alone.
constexpr int64_t kVeryShort = 16;

struct Lines {
  int64_t axis = 0;
  int64_t length = 0;
  int64_t count = 0;
  int64_t inner = 1;  // lines that lie side by side

  GORGO_INLINE Lines(const KOperand& x, int64_t given_axis) noexcept {
    axis = given_axis < 0 ? given_axis + x.rank : given_axis;
    length = x.rank > 0 ? x.shape[axis] : 1;
    count = x.numel == 0 ? 0 : x.numel / length;
    for (int64_t i = x.rank - 1; i > axis; --i) inner *= x.shape[i];
  }
  [[nodiscard]] GORGO_INLINE int64_t tasks() const noexcept {
    // Short lines are worth a task only together.
    const int64_t wanted = (count * length + kMoveGrain - 1) / kMoveGrain;
    const int64_t most = wanted < kMostTasks ? wanted : kMostTasks;
    return count < most ? count : most;
  }
  [[nodiscard]] GORGO_INLINE bool in_blocks() const noexcept {
    return count > 0 && count <= kFewLines && SortBlocks(length).count > 1;
  }
  // The first element of line `line` in an operand.
  [[nodiscard]] GORGO_INLINE int64_t start(const KOperand& t, int64_t line) const noexcept {
    if (t.contiguous && inner == 1) return t.rank > 0 ? line * t.shape[axis] : 0;
    int64_t at = 0;
    for (int32_t i = t.rank - 1; i >= 0; --i) {
      if (i == axis) continue;
      at += line % t.shape[i] * t.strides[i];
      line /= t.shape[i];
    }
    return at;
  }
};

// What an op does with the sorted indices of a line.
enum class Want : uint8_t { Values, Indices, First };

// Items of what is sorted: keys, keys of 32 bits before their index, or longer keys beside it.
template <class K, bool kIndices>
using ItemFor = std::conditional_t<!kIndices, K, std::conditional_t<sizeof(K) == 4, uint64_t, KeyedIndex<uint64_t>>>;

GORGO_INLINE uint64_t item_of(uint32_t key, int64_t index, uint64_t) noexcept {
  return static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(index);
}
GORGO_INLINE KeyedIndex<uint64_t> item_of(uint64_t key, int64_t index, KeyedIndex<uint64_t>) noexcept {
  return {key, static_cast<uint32_t>(index)};
}

GORGO_INLINE int64_t round_up(int64_t n, int64_t step) noexcept { return (n + step - 1) / step * step; }

template <class K, Want kWant>
struct Sort {
  static constexpr bool kIndices = kWant != Want::Values;
  using Item = ItemFor<K, kIndices>;
  static constexpr bool kPacked = kIndices && sizeof(K) == 4;
  // Packed indices are in order from the start.
  static constexpr auto kRelevant = static_cast<SortKey<Item>>(kPacked ? ~uint64_t{0} << 32 : ~uint64_t{0});
  using Tile = std::conditional_t<std::is_same_v<Item, KeyedIndex<uint64_t>>, PairTile, NumberTile<SortKey<Item>>>;
  static constexpr int kLanes = Tile::kLanes;

  // Whether elements of one or two bytes may be counted.
  static constexpr bool kCounts = kWant != Want::First && sizeof(K) == 4;

  enum class Way : uint8_t { None, Network, Select, SelectInBlocks, Digits, DigitsInBlocks, Counting };

  struct Plan {
    Lines lines;
    KeyRule rule;
    int64_t kept = 0;  // places of the result
    Way way = Way::None;
    int64_t capacity = 0;  // of a collection

    explicit Plan(const KernelArgs& args) noexcept
        : lines(args.in[0], axis_of(args)), rule(rule_of(args)), kept(kept_of(args, lines)) {
      const int64_t n = lines.length;
      if (args.out[0].numel == 0) return;
      capacity = 4 * kept + 64;
      const bool is_short =
          n <= kShort || (n <= kShortSideBySide && lines.count >= kSeveral && (kWant != Want::First || sizeof(K) == 4));
      bool selects = kWant == Want::First && (2 * capacity <= n || minima_for(kept, n) > 0);
      // What a network sorts as fast. Pairs take it twice as long.
      if (kept == 1) {
        selects = selects && n > kVeryShort;
      } else if (is_short) {
        selects = selects && (sizeof(K) == 8 ? n > kShort / 4 : n > kShort && 16 * kept <= n);
      }
      if (is_short && !selects) {
        way = Way::Network;
      } else if (selects) {
        way = lines.in_blocks() && 2 * capacity <= SortBlocks::kLeast ? Way::SelectInBlocks : Way::Select;
      } else if (may_count() && lines.in_blocks()) {
        way = Way::Counting;
      } else {
        way = lines.in_blocks() ? Way::DigitsInBlocks : Way::Digits;
      }
    }
    // Values need two bytes for it: single ones, and floats, whose zeros must be restored, go by digits.
    [[nodiscard]] bool may_count() const noexcept {
      const auto bytes = dtype_size(rule.dtype);
      return kCounts && (kIndices ? bytes <= 2 : bytes == 2 && !is_floating(rule.dtype));
    }
    [[nodiscard]] GORGO_INLINE bool in_blocks() const noexcept {
      return way == Way::DigitsInBlocks || way == Way::SelectInBlocks || way == Way::Counting;
    }
    // Items of scratch that a task of the first phase has for itself, or a line where tasks are blocks.
    [[nodiscard]] int64_t room() const noexcept {
      const int64_t n = lines.length;
      switch (way) {
        case Way::None:
          return 0;
        case Way::Network:
          return network_bytes(n) / static_cast<int64_t>(sizeof(Item));
        case Way::Select:
          return 2 * capacity;
        case Way::Digits:
          return 2 * n;
        case Way::SelectInBlocks:
          return SortBlocks(n).count * 2 * (capacity + kept);
        case Way::DigitsInBlocks:
          return 3 * n + SortBlocks(n).count;  // with a mark for each block
        case Way::Counting:
          return SortBlocks(n).count * kCountItems + (dtype_size(rule.dtype) == 2 ? n : 0);
      }
      return 0;
    }
  };
  static int64_t axis_of(const KernelArgs& args) noexcept {
    if constexpr (kWant == Want::First) {
      return args.attrs_as<TopkAttrs>().axis;
    } else {
      return args.attrs_as<SortAttrs>().axis;
    }
  }
  static KeyRule rule_of(const KernelArgs& args) noexcept {
    if constexpr (kWant == Want::First) {
      return {args.in[0].dtype, args.attrs_as<TopkAttrs>().largest, false};
    } else {
      return {args.in[0].dtype, args.attrs_as<SortAttrs>().descending, true};
    }
  }
  static int64_t kept_of(const KernelArgs& args, const Lines& lines) noexcept {
    return args.out[0].rank > 0 ? args.out[0].shape[lines.axis] : 1;
  }

  // A line of the input and its place in the outputs.
  struct Line {
    const char* from;
    int64_t step;
    char* to;  // elements, or indices for argsort
    int64_t* indices;
    int64_t to_step;
    int64_t size;  // of an element

    GORGO_INLINE Line(const KernelArgs& args, const Lines& lines, int64_t line) noexcept {
      const KOperand& x = args.in[0];
      const KOperand& out = args.out[0];
      size = dtype_size(x.dtype);
      // The stride of an axis of length one may be anything.
      step = lines.length > 1 ? x.strides[lines.axis] : 1;
      to_step = out.rank > 0 && out.shape[lines.axis] > 1 ? out.strides[lines.axis] : 1;
      from = x.as<const char>() + lines.start(x, line) * size;
      const int64_t at = lines.start(out, line);
      to = kWant == Want::Indices ? nullptr : out.as<char>() + at * size;
      indices = kIndices ? args.out[kWant == Want::First ? 1 : 0].as<int64_t>() + at : nullptr;
    }
    // The keys of elements [begin, end).
    GORGO_INLINE bool keys(int64_t begin, int64_t end, K* keys, const KeyRule& rule) const noexcept {
      return with_keys(rule.dtype, [&](auto kind) GORGO_INLINE_LAMBDA {
        return kind.make(from + begin * step * size, step, end - begin, keys, rule);
      });
    }
    // Writes sorted items to the places from `begin` on.
    void give(const Item* sorted, int64_t begin, int64_t count, const KeyRule& rule) const noexcept {
      char* const at = to + begin * to_step * size;
      with_keys(rule.dtype, [&](auto kind) GORGO_INLINE_LAMBDA {
        if constexpr (kWant == Want::Values) kind.undo(sorted, count, at, to_step, rule);
        if constexpr (kWant == Want::First) kind.pick(from, step, sorted, count, at, to_step);
      });
      if constexpr (kIndices) {
        for (int64_t i = 0; i < count; ++i) indices[(begin + i) * to_step] = index_in(sorted[i]);
      }
    }
    GORGO_INLINE void restore(int64_t n, int64_t first_zero, int64_t first_nan, const KeyRule& rule) const noexcept {
      with_keys(rule.dtype, [&](auto kind) GORGO_INLINE_LAMBDA {
        kind.restore(from, step, n, to, to_step, first_zero, first_nan, rule);
      });
    }
    // The same where all keys of the line are at hand, sorted.
    GORGO_INLINE void restore(const Item* sorted, int64_t n, const KeyRule& rule) const noexcept {
      if constexpr (!kIndices) {
        restore(n, count_below(sorted, 0, n, static_cast<K>(rule.zero)),
                count_below(sorted, 0, n, static_cast<K>(rule.nan)), rule);
      }
    }
  };

  static constexpr int64_t kTile = 512;  // keys that are made at a time

  // Items [begin, end) of a line; returns as Keys::make.
  static bool fill(const Line& line, int64_t begin, int64_t end, Item* items, const KeyRule& rule) noexcept {
    if constexpr (!kIndices) {
      return line.keys(begin, end, items, rule);
    } else {
      K keys[kTile];
      for (int64_t i = begin; i < end; i += kTile) {
        const int64_t stop = i + kTile < end ? i + kTile : end;
        line.keys(i, stop, keys, rule);
        for (int64_t j = i; j < stop; ++j) *items++ = item_of(keys[j - i], j, Item{});
      }
      return false;
    }
  }

  // ---- by a network ----
  // Scratch: the keys of as many lines as there are lanes, and room to read a vector from the last, then the tile.
  static int64_t padded(int64_t n) noexcept {
    const int64_t places = network_places(n);
    return places > round_up(n, kLanes) ? places : round_up(n, kLanes);
  }
  static int64_t rows_bytes(int64_t n) noexcept { return (n + 1) * kLanes * static_cast<int64_t>(sizeof(K)); }
  static int64_t network_bytes(int64_t n) noexcept {
    return round_up(rows_bytes(n), 64) + padded(n) * Tile::kBytesPerPlace;
  }
  static Tile tile_in(void* scratch, int64_t n) noexcept {
    auto* const at = reinterpret_cast<SortKey<Item>*>(static_cast<char*>(scratch) + round_up(rows_bytes(n), 64));
    if constexpr (std::is_same_v<Tile, PairTile>) {
      return {at, at + padded(n) * kLanes};
    } else {
      return {at};
    }
  }
  using Keys = Vec<K, kLanes>;
  GORGO_INLINE static void put(const Tile& tile, int64_t i, Keys keys) noexcept {
    if constexpr (std::is_same_v<Tile, PairTile>) {
      store_raw(tile.keys + i * kLanes, keys);
      store_raw(tile.indices + i * kLanes, broadcast<Keys>(static_cast<uint64_t>(i)));
    } else if constexpr (kPacked) {
      using W = Vec<uint64_t, kLanes>;
      store_raw(tile.numbers + i * kLanes,
                shift_left_by<32>(convert<uint64_t>(keys)) | broadcast<W>(static_cast<uint64_t>(i)));
    } else {
      store_raw(tile.numbers + i * kLanes, keys);
    }
  }
  // Both ways between rows of keys and places of a tile.
  static void turn(const K* rows, const Tile& tile, int64_t n) noexcept {
    for (int64_t i = 0; i < n; i += kLanes) {
      typename Keys::Raw square[kLanes];
      for (int j = 0; j < kLanes; ++j) square[j] = load_raw<Keys>(rows + j * n + i).raw;
      transpose_square<K, kLanes>(square);
      for (int j = 0; j < kLanes; ++j) put(tile, i + j, Keys{square[j]});
    }
  }
  static void turn_back(K* rows, const Tile& tile, int64_t n) noexcept {
    for (int64_t i = 0; i < n; i += kLanes) {
      typename Keys::Raw square[kLanes];
      for (int j = 0; j < kLanes; ++j) square[j] = load_raw<Keys>(tile.numbers + (i + j) * kLanes).raw;
      transpose_square<K, kLanes>(square);
      for (int j = 0; j < kLanes; ++j) {
        if (i + kLanes <= n) {
          store_raw(rows + j * n + i, Keys{square[j]});
        } else {
          store_raw_partial(rows + j * n + i, Keys{square[j]}, static_cast<int>(n - i));
        }
      }
    }
  }
  GORGO_INLINE static Item item_at(const Tile& tile, int64_t i, int lane) noexcept {
    if constexpr (std::is_same_v<Tile, PairTile>) {
      return {tile.keys[i * kLanes + lane], static_cast<uint32_t>(tile.indices[i * kLanes + lane])};
    } else {
      return tile.numbers[i * kLanes + lane];
    }
  }
  // Lines [first, first + live), at most one for each lane.
  static void sort_lanes(const KernelArgs& args, const Plan& plan, int64_t first, int live, void* scratch) noexcept {
    const int64_t n = plan.lines.length;
    K* const rows = static_cast<K*>(scratch);
    const Tile tile = tile_in(scratch, n);
    const Line line(args, plan.lines, first);
    const Line last(args, plan.lines, first + live - 1);
    // Whether neighbouring lanes are neighbours in memory.
    const bool adjacent = plan.lines.inner > 1 && first % plan.lines.inner + live <= plan.lines.inner &&
                          last.from - line.from == (live - 1) * line.size &&
                          is_dense_inside(args.in[0], plan.lines.axis);
    // Whether lines follow each other.
    const bool flat = plan.lines.inner == 1 && args.in[0].contiguous;
    bool odd = false;
    if (adjacent) {
      with_keys(plan.rule.dtype, [&](auto kind) GORGO_INLINE_LAMBDA {
        K keys[kLanes] = {};
        for (int64_t i = 0; i < n; ++i) {
          odd = kind.make(line.from + i * line.step * line.size, 1, live, keys, plan.rule) || odd;
          put(tile, i, load_raw<Keys>(keys));
        }
      });
    } else {
      if (flat) {
        odd = line.keys(0, live * n, rows, plan.rule);
      } else {
        for (int lane = 0; lane < live; ++lane) {
          odd = Line(args, plan.lines, first + lane).keys(0, n, rows + lane * n, plan.rule) || odd;
        }
      }
      turn(rows, tile, n);
    }
    sort_network(tile, n);
    if constexpr (kIndices) {
      for (int lane = 0; lane < live; ++lane) {
        const Line own(args, plan.lines, first + lane);
        if constexpr (kWant == Want::Indices) {
          for (int64_t i = 0; i < plan.kept; ++i) own.indices[i * own.to_step] = index_in(item_at(tile, i, lane));
        } else {
          constexpr int64_t kBatch = 64;
          for (int64_t i = 0; i < plan.kept; i += kBatch) {
            Item sorted[kBatch];
            const int64_t count = plan.kept - i < kBatch ? plan.kept - i : kBatch;
            for (int64_t j = 0; j < count; ++j) sorted[j] = item_at(tile, i + j, lane);
            own.give(sorted, i, count, plan.rule);
          }
        }
      }
    } else {
      if (adjacent) {
        with_keys(plan.rule.dtype, [&](auto kind) GORGO_INLINE_LAMBDA {
          for (int64_t i = 0; i < n; ++i) {
            kind.undo(tile.numbers + i * kLanes, live, line.to + i * line.to_step * line.size, 1, plan.rule);
          }
        });
      }
      if (!adjacent || odd) turn_back(rows, tile, n);
      if (flat) line.give(rows, 0, live * n, plan.rule);
      if (adjacent && !odd) return;
      for (int lane = 0; lane < live && (!flat || odd); ++lane) {
        const Line own(args, plan.lines, first + lane);
        const K* sorted = rows + lane * n;
        if (!adjacent && !flat) own.give(sorted, 0, n, plan.rule);
        if (odd) own.restore(sorted, n, plan.rule);
      }
    }
  }
  static bool is_dense_inside(const KOperand& x, int64_t axis) noexcept {
    int64_t run = 1;
    for (int64_t i = x.rank - 1; i > axis; --i) {
      if (x.shape[i] != 1 && x.strides[i] != run) return false;
      run *= x.shape[i];
    }
    return true;
  }

  // ---- the first few ----
  static constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(K));
  static constexpr int64_t kMostMinima = 128;

  using V = Vec<K, kWidth>;

  // The least keys of how many parts of n elements tell a bound for the first `kept`; zero where it is not worth it.
  static int64_t minima_for(int64_t kept, int64_t n) noexcept {
    const int64_t wanted = round_up(kept + kept / 4, kWidth);
    return wanted <= kMostMinima && 2 * wanted <= n ? wanted : 0;
  }
  // A key that at least `kept` of n keys do not exceed.
  static K bound_of(const K* keys, int64_t n, int64_t minima, int64_t kept) noexcept {
    K least[kMostMinima];
    K spare[kMostMinima];
    for (int64_t i = 0; i < minima; i += kWidth) {
      V v = load_raw<V>(keys + i);
      for (int64_t j = i + minima; j + kWidth <= n; j += minima) v = smaller_of(v, load_raw<V>(keys + j));
      store_raw(least + i, v);
    }
    return radix_sort(least, spare, minima)[kept - 1];
  }
  GORGO_INLINE static V smaller_of(V a, V b) noexcept { return gorgo::GORGO_ISA_NS::select(b < a, b, a); }
  // Collects in `items`, which has room for twice the capacity, the first `kept` items of elements [begin, end) in order.
  static const Item* select(const Line& line, const Plan& plan, int64_t begin, int64_t end, Item* items) noexcept {
    const int64_t capacity = plan.capacity;
    const int64_t kept = plan.kept;
    if (kept == 1) return select_first(line, plan, begin, end, items);
    int64_t count = 0;
    K worst = 0;
    const auto compact = [&] {
      const Item* sorted = radix_sort(items, items + capacity, count, kRelevant);
      count = count < kept ? count : kept;
      if (sorted != items) std::memcpy(items, sorted, static_cast<size_t>(count) * sizeof(Item));
      if constexpr (kPacked) {
        worst = static_cast<K>(items[count - 1] >> 32);
      } else {
        worst = static_cast<K>(sort_key(items[count - 1]));
      }
    };
    // The first bound is told by the first tile, or is that of a few, which are sorted soon.
    K keys[kTile];
    const int64_t seen = kTile < end - begin ? kTile : end - begin;
    const int64_t minima = minima_for(kept, seen);
    if (minima > 0) {
      line.keys(begin, begin + seen, keys, plan.rule);
      worst = static_cast<K>(bound_of(keys, seen, minima, kept) + 1);  // zero where nothing lies behind it
    }
    bool ready = worst != 0;  // `keys` has those of the tile
    if (!ready) {
      const int64_t first = kept > 12 ? 2 * kept : 24;
      count = first < end - begin ? first : end - begin;
      fill(line, begin, begin + count, items, plan.rule);
      begin += count;
      compact();
    }
    for (; begin < end; begin += kTile, ready = false) {
      const int64_t n = kTile < end - begin ? kTile : end - begin;
      if (!ready) line.keys(begin, begin + n, keys, plan.rule);
      for (int64_t i = n; i < round_up(n, 2 * kWidth); ++i) keys[i] = static_cast<K>(~K{0});
      for (int64_t i = 0; i < n; i += 2 * kWidth) {
        const V bound = broadcast<V>(worst);
        if (!any((load_raw<V>(keys + i) < bound) | (load_raw<V>(keys + i + kWidth) < bound))) continue;
        const int64_t stop = i + 2 * kWidth < n ? i + 2 * kWidth : n;
        for (int64_t j = i; j < stop; ++j) {
          if (keys[j] >= worst) continue;
          if constexpr (kIndices) items[count++] = item_of(keys[j], begin + j, Item{});
          if (count == capacity) compact();
        }
      }
    }
    compact();
    return items;
  }

  // The first of all.
  static const Item* select_first(const Line& line, const Plan& plan, int64_t begin, int64_t end,
                                  Item* items) noexcept {
    K keys[kTile];
    K best = static_cast<K>(~K{0});
    int64_t place = begin;
    for (; begin < end; begin += kTile) {
      const int64_t n = kTile < end - begin ? kTile : end - begin;
      line.keys(begin, begin + n, keys, plan.rule);
      for (int64_t i = n; i < round_up(n, kWidth); ++i) keys[i] = static_cast<K>(~K{0});
      V least = load_raw<V>(keys);
      for (int64_t i = kWidth; i < n; i += kWidth) least = smaller_of(least, load_raw<V>(keys + i));
      K found = least.raw[0];
      for (int i = 1; i < kWidth; ++i) found = least.raw[i] < found ? least.raw[i] : found;
      if (found >= best) continue;
      best = found;
      for (int64_t i = 0;; i += kWidth) {
        const auto hit = load_raw<V>(keys + i) == broadcast<V>(best);
        if (!any(hit)) continue;
        place = begin + i;
        while (keys[place - begin] != best) ++place;
        break;
      }
    }
    if constexpr (kIndices) items[0] = item_of(best, place, Item{});
    return items;
  }

  // How many a block gives; only the last may have too few.
  static int64_t selected(const Plan& plan, const SortBlocks& blocks, int64_t block) noexcept {
    const int64_t n = blocks.end(block) - blocks.begin(block);
    return n < plan.kept ? n : plan.kept;
  }

  // ---- many elements of one or two bytes: those of a block are counted, then placed behind those before them ----
  // Two bytes go in two rounds, the lower byte first; in between, items lie behind the counts.
  static constexpr int64_t kBytes = 256;
  static constexpr int64_t kCountItems = kBytes * 4 / static_cast<int64_t>(sizeof(Item));  // room for counts of 32 bits
  template <class F>
  GORGO_INLINE static void each_key(const Line& line, const Plan& plan, int64_t begin, int64_t end,
                                    const F& f) noexcept {
    K keys[kTile];
    for (; begin < end; begin += kTile) {
      const int64_t n = kTile < end - begin ? kTile : end - begin;
      line.keys(begin, begin + n, keys, plan.rule);
      for (int64_t i = 0; i < n; ++i) f(keys[i], begin + i);
    }
  }
  struct Counted {
    SortBlocks blocks;
    int64_t block, begin, end;
    uint32_t* counts;  // of this line's blocks
    Item* items;
    Line line;

    Counted(const KernelArgs& args, const Plan& plan, int64_t task) noexcept
        : blocks(plan.lines.length),
          block(task % blocks.count),
          begin(blocks.begin(block)),
          end(blocks.end(block)),
          counts(reinterpret_cast<uint32_t*>(static_cast<Item*>(args.scratch) + task / blocks.count * plan.room())),
          items(static_cast<Item*>(args.scratch) + task / blocks.count * plan.room() + blocks.count * kCountItems),
          line(args, plan.lines, task / blocks.count) {}
    // Where the block's items of each byte go.
    void starts(int64_t* places) const noexcept {
      int64_t next = 0;
      for (int64_t key = 0; key < kBytes; ++key) {
        for (int64_t b = 0; b < blocks.count; ++b) {
          if (b == block) places[key] = next;
          next += counts[b * kBytes + key];
        }
      }
    }
  };
  GORGO_INLINE static int64_t upper_byte(Item item) noexcept {
    return static_cast<int64_t>(sort_key(item) >> (sizeof(Item) * 8 - 24)) % kBytes;
  }
  static void count_bytes(const Counted& c, const Plan& plan, bool upper) noexcept {
    uint32_t* const counts = c.counts + c.block * kBytes;
    std::memset(counts, 0, kBytes * sizeof(uint32_t));
    if (upper) {
      for (int64_t i = c.begin; i < c.end; ++i) ++counts[upper_byte(c.items[i])];
    } else {
      each_key(c.line, plan, c.begin, c.end, [&](K key, int64_t) GORGO_INLINE_LAMBDA { ++counts[key % kBytes]; });
    }
  }
  static void place_bytes(const Counted& c, const Plan& plan, bool upper) noexcept {
    int64_t places[kBytes];
    c.starts(places);
    const int64_t step = c.line.to_step;
    if (upper) {
      for (int64_t i = c.begin; i < c.end; ++i) {
        const int64_t at = places[upper_byte(c.items[i])]++ * step;
        if constexpr (kIndices) {
          c.line.indices[at] = index_in(c.items[i]);
        } else {
          reinterpret_cast<Unit2*>(c.line.to)[at].bits = static_cast<uint16_t>(c.items[i] ^ plan.rule.flip);
        }
      }
      return;
    }
    each_key(c.line, plan, c.begin, c.end, [&](K key, int64_t index) GORGO_INLINE_LAMBDA {
      const int64_t at = places[key % kBytes]++;
      if constexpr (kIndices) {
        if (c.line.size == 1) {
          c.line.indices[at * step] = index;
        } else {
          c.items[at] = item_of(key, index, Item{});
        }
      } else {
        c.items[at] = key;
      }
    });
  }
  // Third and fourth phase, of the upper bytes.
  static void count_upper(const KernelArgs& args, int64_t task) noexcept {
    const Plan plan(args);
    count_bytes(Counted(args, plan, task), plan, true);
  }
  static void place_upper(const KernelArgs& args, int64_t task) noexcept {
    const Plan plan(args);
    place_bytes(Counted(args, plan, task), plan, true);
  }
  static int64_t upper_tasks(const KernelArgs& args) noexcept {
    const Plan plan(args);
    return plan.way == Way::Counting && dtype_size(plan.rule.dtype) == 2 ? block_tasks(args) : 0;
  }

  // First phase: whole lines, or the blocks of long ones each by itself.
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Plan plan(args);
    const int64_t n = plan.lines.length;
    if (plan.in_blocks()) {
      const SortBlocks blocks(n);
      const int64_t block = task % blocks.count;
      const int64_t begin = blocks.begin(block);
      const int64_t end = blocks.end(block);
      Item* const room = static_cast<Item*>(args.scratch) + task / blocks.count * plan.room();
      const Line line(args, plan.lines, task / blocks.count);
      if constexpr (kCounts) {
        if (plan.way == Way::Counting) return count_bytes(Counted(args, plan, task), plan, false);
      }
      if constexpr (kWant == Want::First) {
        if (plan.way == Way::SelectInBlocks) {
          const Item* best = select(line, plan, begin, end, room + block * 2 * plan.capacity);
          Item* to = room + blocks.count * 2 * plan.capacity + block * plan.kept;
          std::memcpy(to, best, static_cast<size_t>(selected(plan, blocks, block)) * sizeof(Item));
          return;
        }
      }
      Item* items = room + begin;
      const bool odd = fill(line, begin, end, items, plan.rule);
      if constexpr (!kIndices) room[3 * n + block] = odd ? 1 : 0;
      const Item* sorted = radix_sort(items, items + n, end - begin, kRelevant);
      if (sorted != items) std::memcpy(items, sorted, static_cast<size_t>(end - begin) * sizeof(Item));
      return;
    }
    Item* items = static_cast<Item*>(args.scratch) + task * plan.room();
    const int64_t tasks = plan.lines.tasks();
    const int64_t end = plan.lines.count * (task + 1) / tasks;
    int64_t at = plan.lines.count * task / tasks;
    if (plan.way == Way::Network) {
      for (; at < end; at += kLanes) {
        sort_lanes(args, plan, at, end - at < kLanes ? static_cast<int>(end - at) : kLanes, items);
      }
      return;
    }
    for (; at < end; ++at) {
      const Line line(args, plan.lines, at);
      if constexpr (kWant == Want::First) {
        if (plan.way == Way::Select) {
          line.give(select(line, plan, 0, n, items), 0, plan.kept, plan.rule);
          continue;
        }
      }
      const bool odd = fill(line, 0, n, items, plan.rule);
      const Item* sorted = radix_sort(items, items + n, n, kRelevant);
      line.give(sorted, 0, plan.kept, plan.rule);
      if (odd) line.restore(sorted, n, plan.rule);
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Plan plan(args);
    if (plan.way == Way::None) return 0;
    return plan.in_blocks() ? plan.lines.count * SortBlocks(plan.lines.length).count : plan.lines.tasks();
  }
  // Second phase: blocks of the result, or whole ones that blocks have selected for. It has no tasks where whole lines were
  // sorted.
  static void run_blocks(const KernelArgs& args, int64_t task) noexcept {
    const Plan plan(args);
    const int64_t n = plan.lines.length;
    const SortBlocks blocks(n);
    if constexpr (kWant == Want::First) {
      if (plan.way == Way::SelectInBlocks) {
        Item* best = static_cast<Item*>(args.scratch) + task * plan.room() + blocks.count * 2 * plan.capacity;
        const int64_t count = (blocks.count - 1) * plan.kept + selected(plan, blocks, blocks.count - 1);
        const Line line(args, plan.lines, task);
        line.give(radix_sort(best, best + count, count, kRelevant), 0, plan.kept, plan.rule);
        return;
      }
    }
    const int64_t block = task % blocks.count;
    const int64_t begin = blocks.begin(block);
    if (begin >= plan.kept) return;
    Item* items = static_cast<Item*>(args.scratch) + task / blocks.count * plan.room();
    if constexpr (kCounts) {
      if (plan.way == Way::Counting) return place_bytes(Counted(args, plan, task), plan, false);
    }
    const Item* sorted = gather_sorted(items, blocks, block, items + n + begin, items + 2 * n + begin, kRelevant);
    const int64_t end = blocks.end(block) < plan.kept ? blocks.end(block) : plan.kept;
    Line(args, plan.lines, task / blocks.count).give(sorted, begin, end - begin, plan.rule);
  }
  static int64_t block_tasks(const KernelArgs& args) noexcept {
    const Plan plan(args);
    if (!plan.in_blocks()) return 0;
    return plan.way == Way::SelectInBlocks ? plan.lines.count : plan.lines.count * SortBlocks(plan.lines.length).count;
  }
  // Third phase: zeros and NaN of long lines.
  static void run_restore(const KernelArgs& args, int64_t task) noexcept {
    if constexpr (!kIndices) {
      const Plan plan(args);
      const int64_t n = plan.lines.length;
      const SortBlocks blocks(n);
      const K* keys = static_cast<const K*>(args.scratch) + task * plan.room();
      int64_t first_zero = 0;
      int64_t first_nan = 0;
      bool odd = false;
      for (int64_t b = 0; b < blocks.count; ++b) {
        odd = odd || keys[3 * n + b] != 0;
        first_zero += count_below(keys, blocks.begin(b), blocks.end(b), static_cast<K>(plan.rule.zero));
        first_nan += count_below(keys, blocks.begin(b), blocks.end(b), static_cast<K>(plan.rule.nan));
      }
      if (odd) Line(args, plan.lines, task).restore(n, first_zero, first_nan, plan.rule);
    }
  }
  static int64_t restore_tasks(const KernelArgs& args) noexcept {
    const Plan plan(args);
    return plan.in_blocks() && is_floating(plan.rule.dtype) ? plan.lines.count : 0;
  }
  static void run_third(const KernelArgs& args, int64_t task) noexcept {
    if constexpr (kCounts) {
      if (Plan(args).way == Way::Counting) return count_upper(args, task);
    }
    run_restore(args, task);
  }
  static int64_t third_tasks(const KernelArgs& args) noexcept {
    const int64_t upper = upper_tasks(args);
    return upper > 0 || kIndices ? upper : restore_tasks(args);
  }
  static size_t scratch(const KernelArgs& args) noexcept {
    const Plan plan(args);
    const int64_t rooms = plan.in_blocks() ? plan.lines.count : plan.way == Way::None ? 0 : plan.lines.tasks();
    return static_cast<size_t>(rooms * plan.room()) * sizeof(Item);
  }
  static Kernel kernel() noexcept {
    Kernel k = Kernel::of({run, tasks}, {run_blocks, block_tasks}, scratch);
    if constexpr (kCounts) {
      k.phases[k.phase_count++] = {run_third, third_tasks};
      k.phases[k.phase_count++] = {place_upper, upper_tasks};
    } else if (!kIndices) {
      k.phases[k.phase_count++] = {run_restore, restore_tasks};
    }
    return k;
  }
};

template <class K>
void fill_sort_of(KernelSink& sink, DType d) {
  sink.add("sort", d, Sort<K, Want::Values>::kernel());
  sink.add("argsort", d, Sort<K, Want::Indices>::kernel());
  sink.add("topk", d, Sort<K, Want::First>::kernel());
}

}  // namespace

void fill_search(KernelSink& sink);

void fill_sort(KernelSink& sink) {
  fill_search(sink);
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    if (is_complex(d)) continue;
    if (dtype_size(d) == 8) {
      fill_sort_of<uint64_t>(sink, d);
    } else {
      fill_sort_of<uint32_t>(sink, d);
    }
  }
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

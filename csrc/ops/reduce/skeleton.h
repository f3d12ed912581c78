// The skeleton that all reductions share: tasks, chunks, strips and the merging of partial results.
//
// A reduction is a Policy (what a partial result is and how runs and columns make one) and a Finish (how partial results
// become outputs). All that walks memory is compiled once, and calls what belongs to a policy through Methods: there are
// dozens of policies, and the walk costs more to compile than the arithmetic. For kernel files (compiled per ISA).
// Invariant: partial results of one output are merged pairwise in the order of their chunks, whichever task made them.
// Read next: kernels_cpu.cpp (the policies), plan.h.
#pragma once

#include "kernels/fold.h"
#include "ops/reduce/plan.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Calls visit(offset, stride, n, position) for the runs of one chunk, in order; `position` counts elements of the output.
template <class Visit>
GORGO_INLINE void walk_chunk(const ReducePlan& plan, int64_t chunk, const Visit& visit) noexcept {
  const int64_t length = plan.reduced.inner_size();
  const int64_t stride = plan.reduced.inner_stride();
  const int outer = plan.reduced.rank > 0 ? plan.reduced.rank - 1 : 0;
  // A long line is cut into chunks; short ones share a chunk. One loop does both: there is a single call of `visit`.
  const bool cut = length >= ReducePlan::kRowChunk;
  const int64_t begin = cut ? chunk % plan.chunks_per_line * ReducePlan::kRowChunk : 0;
  const int64_t left = length - begin;
  const int64_t n = left < ReducePlan::kRowChunk ? left : ReducePlan::kRowChunk;
  const int64_t first = cut ? chunk / plan.chunks_per_line : chunk * plan.lines_per_chunk;
  const int64_t lines = cut || outer == 0 ? first + 1 : plan.count / length;
  const int64_t last = first + plan.lines_per_chunk < lines ? first + plan.lines_per_chunk : lines;
  Cursor at(plan.reduced, outer, first);
  for (int64_t line = first;;) {
    visit(at.in() + begin * stride, stride, n, line * length + begin);
    if (++line >= last) return;
    at.next();
  }
}

// An element of some bytes, whatever it is.
template <class Unsigned>
struct [[gnu::may_alias]] Element {
  Unsigned bits;
};

// Brings n elements that lie `stride` apart side by side: four at a time, so that there are fewer stores.
template <class Unsigned>
GORGO_INLINE void gather_as(const unsigned char* from, int64_t stride, int64_t n, unsigned char* to) noexcept {
  const auto* p = reinterpret_cast<const Element<Unsigned>*>(from);
  auto* q = reinterpret_cast<Element<Unsigned>*>(to);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4, p += 4 * stride) {
    const RawVector<Unsigned, 4> four = {p[0].bits, p[stride].bits, p[2 * stride].bits, p[3 * stride].bits};
    __builtin_memcpy(q + i, &four, sizeof four);
  }
  for (; i < n; ++i, p += stride) q[i].bits = p->bits;
}
[[gnu::noinline]] inline void gather_bytes(int64_t bytes, const unsigned char* from, int64_t stride, int64_t n,
                                           unsigned char* to) noexcept {
  switch (bytes) {
    case 1:
      return gather_as<uint8_t>(from, stride, n, to);
    case 2:
      return gather_as<uint16_t>(from, stride, n, to);
    case 4:
      return gather_as<uint32_t>(from, stride, n, to);
    default:
      return gather_as<uint64_t>(from, stride, n, to);
  }
}
// Copies fewer bytes than a vector has, in two pieces that may overlap, whose size the compiler knows.
GORGO_INLINE void copy_few(const unsigned char* from, int64_t bytes, unsigned char* to) noexcept {
  const auto twice = [&](auto size) GORGO_INLINE_LAMBDA {
    if (bytes < size()) return false;
    __builtin_memcpy(to, from, size());
    __builtin_memcpy(to + bytes - size(), from + bytes - size(), size());
    return true;
  };
  if (twice(std::integral_constant<int, 32>{}) || twice(std::integral_constant<int, 16>{}) ||
      twice(std::integral_constant<int, 8>{}) || twice(std::integral_constant<int, 4>{}) ||
      twice(std::integral_constant<int, 2>{})) {
    return;
  }
  *to = *from;
}

// ---- folding by columns ----

// Rows folded in lanes of V, one after the other, before they go on to lanes of W.
constexpr int kRowsAtOnce = 16;
// Folds `rows` lines of n columns, whole vectors of them, from `column` on into `into`, or starts it.
using BlockFn = void (*)(const void* source, const unsigned char* const* line, int rows, int64_t column, int64_t n,
                         void* into, bool start) noexcept;

// The same for any number of lines that lie `pitch` bytes apart, from column 0 on; far: they come from the outer caches
// or beyond.
using EvenFn = void (*)(const void* source, const unsigned char* first, int64_t pitch, int64_t rows, int64_t n,
                        bool far, void* into) noexcept;

// Vectors of columns are those that RunFolder takes, for the same reason.
template <class Source>
using ColumnPart = typename RunFolder<Source>::Part;

// Where the wide sums of a vector of columns lie. Vectors longer than the processor's would go through memory.
template <class Source>
struct WideColumns {
  using Part = ColumnPart<Source>;
  using Wide = typename Source::W::Lane;
  using Combine = typename Source::Combine;
  static constexpr int kHalves = Part::kLanes * static_cast<int>(sizeof(Wide)) > kVectorBytes ? 2 : 1;
  using Sums = Vec<Wide, Part::kLanes / kHalves>;
  Sums sums[kHalves];

  // A sum starts from -0, which leaves any first element as it is.
  GORGO_INLINE void start() {
    constexpr bool kSigned = std::is_same_v<Combine, FoldSum> && std::is_floating_point_v<Wide>;
    constexpr Wide kNothing = kSigned ? -Combine::template kIdentity<Wide> : Combine::template kIdentity<Wide>;
    for (auto& part : sums) part = broadcast<Sums>(kNothing);
  }
  GORGO_INLINE void load(const Wide* from) {
    for (int half = 0; half < kHalves; ++half) sums[half] = load_raw<Sums>(from + half * Sums::kLanes);
  }
  GORGO_INLINE void store(Wide* to) const {
    for (int half = 0; half < kHalves; ++half) store_raw(to + half * Sums::kLanes, sums[half]);
  }
  GORGO_INLINE void fold(Part part) {
    if constexpr (kHalves == 2) {
      sums[0] = Combine::of(sums[0], convert<Wide>(low_half(part)));
      sums[1] = Combine::of(sums[1], convert<Wide>(high_half(part)));
    } else {
      sums[0] = Combine::of(sums[0], convert<Wide>(part));
    }
  }
};

// kVectors vectors of columns from `column` on, of any number of rows; row(r) is where row r of them is.
template <class Source, int kVectors, class Row>
GORGO_INLINE void fold_vectors(const Source& source, const Row& row, int64_t rows, int64_t column,
                               typename Source::W::Lane* into, bool start) noexcept {
  using Part = ColumnPart<Source>;
  WideColumns<Source> wide[kVectors];
  const auto each = [](const auto& body) GORGO_INLINE_LAMBDA {
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) body(k);
  };
  const auto load = [&](int64_t r, int k) GORGO_INLINE_LAMBDA {
    return source.template load<Part::kLanes>(row(r) + k * Part::kLanes, column + k * Part::kLanes);
  };
  each([&](int k) GORGO_INLINE_LAMBDA { start ? wide[k].start() : wide[k].load(into + column + k * Part::kLanes); });
  for (int64_t r = 0; r < rows; r += kRowsAtOnce) {
    Part sums[kVectors];
    each([&](int k) GORGO_INLINE_LAMBDA { sums[k] = load(r, k); });
    const auto add = [&](int64_t i) GORGO_INLINE_LAMBDA {
      each([&](int k) GORGO_INLINE_LAMBDA { sums[k] = Source::Combine::of(sums[k], load(r + i, k)); });
    };
    const int64_t together = rows - r < kRowsAtOnce ? rows - r : kRowsAtOnce;
    // Unrolled, several vectors were read at half the rate: loads that come in order are best left to one instruction.
    if (kVectors == 1 && together == kRowsAtOnce) {
#pragma GCC unroll 5
      for (int64_t i = 1; i < kRowsAtOnce; ++i) add(i);
    } else {
      for (int64_t i = 1; i < together; ++i) add(i);
    }
    each([&](int k) GORGO_INLINE_LAMBDA { wide[k].fold(sums[k]); });
  }
  each([&](int k) GORGO_INLINE_LAMBDA { wide[k].store(into + column + k * Part::kLanes); });
}
template <class Source>
void fold_block(const void* given, const unsigned char* const* line, int rows, int64_t column, int64_t n, void* to,
                bool start) noexcept {
  using S = typename Source::Storage;
  const Source source = *static_cast<const Source*>(given);
  for (int64_t j = 0; j < n; j += ColumnPart<Source>::kLanes) {
    const auto row = [=](int64_t r) GORGO_INLINE_LAMBDA { return reinterpret_cast<const S*>(line[r]) + j; };
    fold_vectors<Source, 1>(source, row, rows, column + j, static_cast<typename Source::W::Lane*>(to), start);
  }
}
// Row after row: what is far comes at twice the rate if it is read in order.
template <class Source>
GORGO_INLINE void fold_in_order(const Source& source, const unsigned char* first, int64_t pitch, int64_t rows,
                                int64_t n, typename Source::W::Lane* into) noexcept {
  using Part = ColumnPart<Source>;
  using Lane = typename Part::Lane;
  alignas(64) Lane sums[ReducePlan::kStrip];
  for (int64_t r = 0; r < rows; ++r, first += pitch) {
    const auto* row = reinterpret_cast<const typename Source::Storage*>(first);
    const bool starts = r % kRowsAtOnce == 0;
    const auto add = [&](auto vectors, int64_t at) GORGO_INLINE_LAMBDA {
      constexpr int kVectors = decltype(vectors)::value;
      Part v[kVectors];
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) {
        v[k] = source.template load<Part::kLanes>(row + at + k * Part::kLanes, at + k * Part::kLanes);
        if (!starts) v[k] = Source::Combine::of(load_raw<Part>(sums + at + k * Part::kLanes), v[k]);
      }
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) store_raw(sums + at + k * Part::kLanes, v[k]);
    };
    int64_t j = 0;
    for (; j + 4 * Part::kLanes <= n; j += 4 * Part::kLanes) add(std::integral_constant<int, 4>{}, j);
    for (; j < n; j += Part::kLanes) add(std::integral_constant<int, 1>{}, j);
    if (r % kRowsAtOnce != kRowsAtOnce - 1 && r != rows - 1) continue;
    for (j = 0; j < n; j += Part::kLanes) {
      WideColumns<Source> wide;
      r < kRowsAtOnce ? wide.start() : wide.load(into + j);
      wide.fold(load_raw<Part>(sums + j));
      wide.store(into + j);
    }
  }
}
template <class Source>
void fold_even(const void* given, const unsigned char* first, int64_t pitch, int64_t rows, int64_t n, bool far,
               void* to) noexcept {
  using S = typename Source::Storage;
  constexpr int64_t kLanes = ColumnPart<Source>::kLanes;
  const Source source = *static_cast<const Source*>(given);
  auto* into = static_cast<typename Source::W::Lane*>(to);
  // Few columns keep their sums in registers down all rows.
  const bool few = n <= 4 * kLanes;
  const bool in_order = far && !few && 4 * n * static_cast<int64_t>(sizeof(S)) > 3 * pitch;
  if (in_order) return fold_in_order(source, first, pitch, rows, n, into);
  // Parts of long rows come fastest as so many streams, a vector of each at a time.
  const bool many_streams = far && !few;
  const int64_t together = few ? rows : kRowsAtOnce;
  for (int64_t r0 = 0; r0 < rows; r0 += together) {
    const int64_t count = rows - r0 < together ? rows - r0 : together;
    const unsigned char* from = first + r0 * pitch;
    int64_t j = 0;
    const auto row = [&](int64_t r) GORGO_INLINE_LAMBDA { return reinterpret_cast<const S*>(from + r * pitch) + j; };
    while (!many_streams && j + 4 * kLanes <= n) {
      fold_vectors<Source, 4>(source, row, count, j, into, r0 == 0);
      j += 4 * kLanes;
    }
    for (; j < n; j += kLanes) fold_vectors<Source, 1>(source, row, count, j, into, r0 == 0);
  }
}

// Folds the rows of a chunk into `width` columns side by side, `step` elements apart: sixteen rows at a time, in lanes of V,
// then on into `into` in lanes of W.
[[gnu::noinline]] inline void walk_columns(BlockFn fold, EvenFn fold_rows_apart, const void* source, int64_t bytes,
                                           int64_t lanes, const void* base, const ReducePlan& plan, int64_t chunk,
                                           int64_t step, int64_t width, void* into) noexcept {
  const int64_t begin = chunk * ReducePlan::kColumnChunk;
  const int64_t end = begin + ReducePlan::kColumnChunk < plan.count ? begin + ReducePlan::kColumnChunk : plan.count;
  const int64_t dense = step == 1 ? width - width % lanes : 0;
  // Columns that are not dense are gathered first, many at a time; so are the last ones, less than a vector, of so many rows
  // that none is read when it has just been written. What a tile holds beyond them comes to nothing.
  constexpr int64_t kGathered = 512;
  constexpr int kMostRows = 4 * kRowsAtOnce;
  static_assert(kMostRows * kVectorBytes <= kRowsAtOnce * kGathered);
  alignas(64) unsigned char tile[kRowsAtOnce * kGathered];
  const unsigned char* gathered[kMostRows];
  const int64_t tile_row = step == 1 ? lanes * bytes : kGathered;
  const int64_t piece = step == 1 ? lanes : kGathered / (lanes * bytes) * lanes;
  const int together = step == 1 ? kMostRows : kRowsAtOnce;
  const auto* from = static_cast<const unsigned char*>(base);
  const bool even = plan.reduced.rank == 1 && step == 1;
  const int64_t pitch = plan.reduced.rank == 1 ? plan.reduced.stride[0] * bytes : 0;  // of rows that lie evenly
  int64_t row = begin;
  if (even) {
    // Vectors may reach beyond the last column as long as that lies before the end of the last row.
    const int64_t beyond = dense < width ? (dense + lanes - width) * bytes : 0;
    int64_t whole = plan.count;
    if (beyond > 0) whole = pitch > 0 ? plan.count - (beyond + pitch - 1) / pitch : 0;
    if (whole >= end) {
      row = end;
    } else if (whole > begin) {
      row += (whole - begin) / kRowsAtOnce * kRowsAtOnce;
    }
    if (row > begin) {
      const bool far = pitch * plan.count > 512 * 1024;
      const int64_t n = dense < width ? dense + lanes : dense;
      fold_rows_apart(source, from + begin * pitch, pitch, row - begin, n, far, into);
    }
    if (row == end) return;
  }
  if (dense < width) {
    __builtin_memset(tile, 0, static_cast<size_t>(together * tile_row));
    for (int r = 0; r < together; ++r) gathered[r] = tile + r * tile_row;
  }
  Cursor at(plan.reduced, plan.reduced.rank, row);
  for (; row < end; row += together) {
    const int rows = end - row < together ? static_cast<int>(end - row) : together;
    const unsigned char* line[kMostRows];
    if (plan.reduced.rank == 1) {
      for (int r = 0; r < rows; ++r) line[r] = from + (row + r) * pitch;
    } else {
      for (int r = 0; r < rows; ++r, at.next()) line[r] = from + at.in() * bytes;
    }
    const auto fold_all = [&](const unsigned char* const* rows_of, int64_t column, int64_t n) {
      for (int r = 0; r < rows; r += kRowsAtOnce) {
        fold(source, rows_of + r, rows - r < kRowsAtOnce ? rows - r : kRowsAtOnce, column, n, into, row + r == begin);
      }
    };
    if (dense > 0) fold_all(line, 0, dense);
    for (int64_t j = dense; j < width; j += piece) {
      const int64_t left = width - j < piece ? width - j : piece;
      for (int r = 0; r < rows; ++r) {
        const unsigned char* first = line[r] + j * step * bytes;
        if (step == 1) {
          copy_few(first, left * bytes, tile + r * tile_row);
        } else {
          gather_bytes(bytes, first, step, left, tile + r * tile_row);
        }
      }
      fold_all(gathered, j, (left + lanes - 1) / lanes * lanes);
    }
  }
}
template <class Source>
GORGO_INLINE void fold_columns(const Source& source, const typename Source::Storage* base, const ReducePlan& plan,
                               int64_t chunk, int64_t step, int64_t width, typename Source::W::Lane* into) noexcept {
  walk_columns(fold_block<Source>, fold_even<Source>, &source, sizeof(typename Source::Storage),
               ColumnPart<Source>::kLanes, base, plan, chunk, step, width, into);
}

// ---- folding by rows ----

// Gives a run to `add`, made dense: a tile holds whole groups of a RunFolder, so its tree is that of a dense run.
using AddFn = void (*)(void* folder, const void* p, int64_t n) noexcept;
[[gnu::noinline]] inline void walk_strided(AddFn add, void* folder, int64_t bytes, int64_t tile_elements,
                                           const unsigned char* p, int64_t stride, int64_t n) noexcept {
  alignas(64) unsigned char tile[32 * kVectorBytes];
  for (int64_t i = 0; i < n; i += tile_elements) {
    const int64_t m = n - i < tile_elements ? n - i : tile_elements;
    gather_bytes(bytes, p + i * stride * bytes, stride, m, tile);
    add(folder, tile, m);
  }
}
// The same for the runs of a chunk.
[[gnu::noinline]] inline void walk_rows(AddFn add, void* folder, int64_t bytes, int64_t tile_elements, const void* base,
                                        const ReducePlan& plan, int64_t chunk) noexcept {
  walk_chunk(plan, chunk, [&](int64_t offset, int64_t stride, int64_t n, int64_t) GORGO_INLINE_LAMBDA {
    const unsigned char* p = static_cast<const unsigned char*>(base) + offset * bytes;
    if (stride == 1) {
      add(folder, p, n);
    } else {
      walk_strided(add, folder, bytes, tile_elements, p, stride, n);
    }
  });
}

template <class Source>
[[gnu::noinline]] typename Source::W::Lane fold_run(const Source& source, const typename Source::Storage* p,
                                                    int64_t n) noexcept {
  if (n <= kFewVectors * Source::V::kLanes) return fold_few(source, p, n);
  return RunFolder<Source>::of(source, p, n);
}

template <class Source>
[[gnu::noinline]] typename Source::W::Lane fold_rows(const Source& source, const typename Source::Storage* base,
                                                     const ReducePlan& plan, int64_t chunk) noexcept {
  using S = typename Source::Storage;
  using Folder = RunFolder<Source>;
  static_assert(Folder::kTile * sizeof(S) <= 32 * kVectorBytes);
  const auto* from = reinterpret_cast<const unsigned char*>(base);
  const bool one_run = plan.reduced.rank == 1 && plan.chunks == 1;
  if (one_run && plan.reduced.stride[0] == 1) return fold_run(source, base, plan.count);
  if (one_run && plan.count <= kFewVectors * Source::V::kLanes) {
    S tile[kFewVectors * Source::V::kLanes];
    gather_bytes(sizeof(S), from, plan.reduced.stride[0], plan.count, reinterpret_cast<unsigned char*>(tile));
    return fold_run(source, tile, plan.count);
  }
  Folder folder(source);
  if (one_run) {
    walk_strided(Folder::add_dense, &folder, sizeof(S), Folder::kTile, from, plan.reduced.stride[0], plan.count);
  } else {
    walk_rows(Folder::add_dense, &folder, sizeof(S), Folder::kTile, base, plan, chunk);
  }
  return folder.finish();
}

// ---- what belongs to a policy ----

// How partial results become outputs: stores n of them, `stride` apart from `offset` on, each made of `count` elements.
using StoreFn = void (*)(const KernelArgs& args, int64_t offset, int64_t stride, const void* p, int64_t n,
                         int64_t count) noexcept;

// A policy without its types. Partial results go through memory.
struct Methods {
  int64_t element_bytes;
  int64_t partial_bytes;
  bool ordered;  // see ReducePlan
  void (*empty)(void* into) noexcept;
  // n rows of `count` dense elements, `stride` apart.
  void (*strip)(const void* base, int64_t stride, int64_t count, int64_t n, void* into) noexcept;
  void (*rows)(const void* base, const ReducePlan& plan, int64_t chunk, void* into) noexcept;
  void (*columns)(const void* base, const ReducePlan& plan, int64_t chunk, int64_t step, int64_t width,
                  void* into) noexcept;
  // n partial results, `stride` apart, into one.
  void (*merge)(const void* partials, int64_t stride, int64_t n, void* into) noexcept;
};
constexpr int64_t kMostPartialBytes = 24;

template <class Partial, class Merge>
void merge_line(const void* given, int64_t stride, int64_t n, void* into) noexcept {
  const auto* partials = static_cast<const Partial*>(given);
  PairwiseFolder<Partial, Merge> folder;
  for (int64_t c = 0; c < n; ++c) folder.add(partials[c * stride]);
  *static_cast<Partial*>(into) = folder.finish();
}

// Policy: Storage, Partial, kOrdered; run(p, n), rows(base, plan, chunk), columns(base, plan, chunk, step, width, into);
// Merge::of(a, b) merges, empty() is the result over no elements, strip(p, stride, count, n, into) is run(p, count) of n rows.
template <class Policy>
struct MethodsOf {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  static_assert(sizeof(Partial) <= kMostPartialBytes && alignof(Partial) <= 8);

  static void empty(void* into) noexcept { *static_cast<Partial*>(into) = Policy::empty(); }
  static void strip(const void* base, int64_t stride, int64_t count, int64_t n, void* into) noexcept {
    Policy::strip(static_cast<const S*>(base), stride, count, n, static_cast<Partial*>(into));
  }
  static void rows(const void* base, const ReducePlan& plan, int64_t chunk, void* into) noexcept {
    *static_cast<Partial*>(into) = Policy::rows(static_cast<const S*>(base), plan, chunk);
  }
  static void columns(const void* base, const ReducePlan& plan, int64_t chunk, int64_t step, int64_t width,
                      void* into) noexcept {
    Policy::columns(static_cast<const S*>(base), plan, chunk, step, width, static_cast<Partial*>(into));
  }
  static constexpr Methods kMethods = {sizeof(S),
                                       sizeof(Partial),
                                       Policy::kOrdered,
                                       empty,
                                       strip,
                                       rows,
                                       columns,
                                       merge_line<Partial, typename Policy::Merge>};
};

// ---- tasks ----

// Outputs whose partial results a task merges.
constexpr int64_t kMergeGrain = 1024;

// Where the partial results of one output lie in scratch: `stride` apart from `first` on. Those by columns lie as the columns
// do.
struct Partials {
  int64_t first;
  int64_t stride;
  GORGO_INLINE Partials(const ReducePlan& plan, int64_t output) noexcept {
    stride = plan.by_columns ? plan.kept.inner_size() : 1;
    first = output / stride * stride * plan.chunks + output % stride * (plan.by_columns ? 1 : plan.chunks);
  }
};

// Dense rows, one after the other.
inline void run_dense(const KernelArgs& args, const ReducePlan& plan, const Methods& methods, StoreFn store,
                      const unsigned char* base, int64_t begin, int64_t end) noexcept {
  constexpr int64_t kAtOnce = 256;
  alignas(64) unsigned char strip[kAtOnce * kMostPartialBytes];
  const int64_t stride = plan.kept.stride[0];
  const int64_t out_stride = plan.kept.out[0];
  for (int64_t o = begin; o < end; o += kAtOnce) {
    const int64_t n = end - o < kAtOnce ? end - o : kAtOnce;
    methods.strip(base + o * stride * methods.element_bytes, stride, plan.count, n, strip);
    store(args, o * out_stride, out_stride, strip, n, plan.count);
  }
}
inline void run_columns(const KernelArgs& args, const ReducePlan& plan, const Methods& methods, StoreFn store,
                        const unsigned char* base, int64_t begin, int64_t end) noexcept {
  const int outer = plan.kept.rank - 1;
  const int64_t width = plan.kept.size[outer];
  const int64_t step = plan.kept.stride[outer];
  const int64_t out_step = plan.kept.out[outer];
  alignas(64) unsigned char strip[ReducePlan::kStrip * kMostPartialBytes];
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t chunk = unit % plan.chunks;
    const int64_t place = unit / plan.chunks;
    const int64_t first = place % plan.strips * ReducePlan::kStrip;
    const int64_t n = width - first < ReducePlan::kStrip ? width - first : ReducePlan::kStrip;
    const int64_t line = place / plan.strips;
    const Cursor at(plan.kept, outer, line);
    methods.columns(base + (at.in() + first * step) * methods.element_bytes, plan, chunk, step, n, strip);
    if (plan.chunks == 1) {
      store(args, at.out() + first * out_step, out_step, strip, n, plan.count);
    } else {
      const int64_t to = (line * plan.chunks + chunk) * width + first;  // see Partials
      __builtin_memcpy(static_cast<unsigned char*>(args.scratch) + to * methods.partial_bytes, strip,
                       static_cast<size_t>(n * methods.partial_bytes));
    }
  }
}
[[gnu::noinline]] inline void run_task(const KernelArgs& args, const ReducePlan& plan, const Methods& methods,
                                       StoreFn store, int64_t task) noexcept {
  alignas(64) unsigned char p[kMostPartialBytes];
  if (plan.count == 0) {
    methods.empty(p);
    for (int64_t o = 0; o < plan.outputs; ++o) store(args, o, 1, p, 1, 0);
    return;
  }
  const int64_t begin = task * plan.units_per_task;
  const int64_t end = begin + plan.units_per_task < plan.units ? begin + plan.units_per_task : plan.units;
  const int64_t bytes = methods.element_bytes;
  const unsigned char* base = args.in[0].as<const unsigned char>() + plan.base * bytes;
  if (plan.by_columns) {
    run_columns(args, plan, methods, store, base, begin, end);
    return;
  }
  if (plan.chunks == 1 && plan.reduced.rank == 1 && plan.reduced.stride[0] == 1 && plan.kept.rank == 1) {
    run_dense(args, plan, methods, store, base, begin, end);
    return;
  }
  if (plan.chunks == 1) {
    Cursor at(plan.kept, plan.kept.rank, begin);
    for (int64_t o = begin; o < end; ++o, at.next()) {
      methods.rows(base + at.in() * bytes, plan, 0, p);
      store(args, at.out(), 1, p, 1, plan.count);
    }
    return;
  }
  auto* partials = static_cast<unsigned char*>(args.scratch);
  for (int64_t unit = begin; unit < end; ++unit) {
    const Cursor at(plan.kept, plan.kept.rank, unit / plan.chunks);
    methods.rows(base + at.in() * bytes, plan, unit % plan.chunks, partials + unit * methods.partial_bytes);
  }
}
[[gnu::noinline]] inline void merge_task(const KernelArgs& args, const ReducePlan& plan, const Methods& methods,
                                         StoreFn store, int64_t task) noexcept {
  const int64_t begin = task * kMergeGrain;
  const int64_t end = begin + kMergeGrain < plan.outputs ? begin + kMergeGrain : plan.outputs;
  const auto* partials = static_cast<const unsigned char*>(args.scratch);
  alignas(64) unsigned char p[kMostPartialBytes];
  Cursor at(plan.kept, plan.kept.rank, begin);
  for (int64_t o = begin; o < end; ++o, at.next()) {
    const Partials of_output(plan, o);
    methods.merge(partials + of_output.first * methods.partial_bytes, of_output.stride, plan.chunks, p);
    store(args, at.out(), 1, p, 1, plan.count);
  }
}

// The part that looks at shapes alone, so that ops with equal attributes share it.
template <class Attrs>
struct Planned {
  [[gnu::noinline]] static ReducePlan plan_of(const KernelArgs& args, bool ordered) noexcept {
    return {args.in[0], reduced_axes(args.attrs_as<Attrs>(), args), ordered};
  }
  [[gnu::noinline]] static void run(const KernelArgs& args, const Methods& methods, StoreFn store,
                                    int64_t task) noexcept {
    run_task(args, plan_of(args, methods.ordered), methods, store, task);
  }
  [[gnu::noinline]] static void merge(const KernelArgs& args, const Methods& methods, StoreFn store,
                                      int64_t task) noexcept {
    merge_task(args, plan_of(args, methods.ordered), methods, store, task);
  }
  template <bool kOrdered>
  static int64_t tasks(const KernelArgs& args) noexcept {
    return is_one_run(args) ? 1 : plan_of(args, kOrdered).tasks();
  }
  template <bool kOrdered>
  static int64_t merge_tasks(const KernelArgs& args) noexcept {
    if (is_one_run(args)) return 0;
    const ReducePlan plan = plan_of(args, kOrdered);
    return plan.chunks > 1 ? (plan.outputs + kMergeGrain - 1) / kMergeGrain : 0;
  }
  template <bool kOrdered, size_t kPartialBytes>
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    if (is_one_run(args)) return 0;
    const ReducePlan plan = plan_of(args, kOrdered);
    return plan.chunks > 1 ? static_cast<size_t>(plan.outputs * plan.chunks) * kPartialBytes : 0;
  }
};

// Stores through Finish::run, which is a StoreFn but for the type of what it stores.
template <class Partial, class Finish>
void store_with(const KernelArgs& args, int64_t offset, int64_t stride, const void* p, int64_t n,
                int64_t count) noexcept {
  Finish::run(args, offset, stride, static_cast<const Partial*>(p), n, count);
}

[[gnu::noinline]] inline void add_phases(KernelSink& sink, const char* op, DType dtype, Phase run, Phase merge,
                                         size_t (*scratch)(const KernelArgs&) noexcept) {
  sink.add(op, dtype, Kernel::of(run, merge, scratch));
}

// One kernel.
template <class Policy, class Finish, class Attrs>
struct Reduction {
  using S = typename Policy::Storage;
  using Partial = typename Policy::Partial;
  static constexpr StoreFn kStore = store_with<Partial, Finish>;

  static void run(const KernelArgs& args, int64_t task) noexcept {
    if (is_one_run(args)) {
      const int64_t n = args.in[0].numel;
      const Partial p = n == 0 ? Policy::empty() : Policy::run(args.in[0].as<const S>(), n);
      store_with<Partial, Finish>(args, 0, 1, &p, 1, n);
    } else {
      Planned<Attrs>::run(args, MethodsOf<Policy>::kMethods, kStore, task);
    }
  }
  static void merge(const KernelArgs& args, int64_t task) noexcept {
    Planned<Attrs>::merge(args, MethodsOf<Policy>::kMethods, kStore, task);
  }
};

template <class Policy, class Finish, class Attrs>
GORGO_INLINE void add_reduction(KernelSink& sink, const char* op, DType dtype) {
  using R = Reduction<Policy, Finish, Attrs>;
  using P = Planned<Attrs>;
  constexpr bool kOrdered = Policy::kOrdered;
  add_phases(sink, op, dtype, {R::run, P::template tasks<kOrdered>}, {R::merge, P::template merge_tasks<kOrdered>},
             P::template scratch_bytes<kOrdered, sizeof(typename Policy::Partial)>);
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

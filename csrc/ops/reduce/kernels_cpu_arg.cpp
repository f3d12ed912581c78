// Where the largest and the smallest elements are.
//
// Compiled once per ISA. Invariant: the first of equal elements wins, and the first NaN wins over all.
// Read next: skeleton.h.
#include "ops/reduce/skeleton.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

// Small integers are compared as int32, so that lanes are wide enough for row numbers too.
template <class S>
using ArgLane = std::conditional_t<std::is_integral_v<S> && sizeof(S) < 4, int32_t, ComputeType<S>>;

template <class Lane>
struct ArgPartial {
  Lane value{};
  int64_t index = -1;  // none yet
};

// Which of two elements wins, and which of two partial results.
template <class Lane, class Combine>
struct ArgMerge {
  static constexpr bool kLargest = std::is_same_v<Combine, FoldLargest>;
  GORGO_INLINE static bool beats(Lane a, Lane b) {
    if constexpr (std::is_floating_point_v<Lane>) {
      if (a != a) return b == b;
    }
    return kLargest ? a > b : a < b;
  }
  GORGO_INLINE static ArgPartial<Lane> of(ArgPartial<Lane> a, ArgPartial<Lane> b) {
    return a.index < 0 || (b.index >= 0 && beats(b.value, a.value)) ? b : a;
  }
};

template <class Derived, class S, class CombineT, class LaneT = ArgLane<S>>
struct ArgSourceOf {
  using Storage = S;
  using Lane = LaneT;
  using Combine = CombineT;
  using Merge = ArgMerge<Lane, CombineT>;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Lane));
  using V = Vec<Lane, kLanes>;
  using W = V;
  template <int kCount = kLanes>
  GORGO_INLINE Vec<Lane, kCount> load(const S* p, int64_t) const {
    return value(gorgo::GORGO_ISA_NS::load<S, kCount, static_cast<int>(sizeof(Lane))>(p));
  }
  GORGO_INLINE V load_partial(const S* p, int64_t, int n) const {
    const auto loaded = gorgo::GORGO_ISA_NS::load_partial<S, kLanes, static_cast<int>(sizeof(Lane))>(p, n);
    return keep_first(value(loaded), n, Combine::template kIdentity<Lane>);
  }

 private:
  template <class L>
  GORGO_INLINE V value(L loaded) const {
    return convert<Lane>(static_cast<const Derived&>(*this).ordered(loaded));
  }
};
// The elements themselves.
template <class S, class Combine>
struct ArgValues : ArgSourceOf<ArgValues<S, Combine>, S, Combine> {
  template <class L>
  GORGO_INLINE static L ordered(L loaded) {
    return loaded;
  }
};
// Integers of one width, whose bits are flipped such that the order wanted is that of signed integers; see kernels_cpu.cpp.
template <class S, class LaneT = ArgLane<S>>
struct ArgFlipped : ArgSourceOf<ArgFlipped<S, LaneT>, S, FoldLargest, LaneT> {
  S flip = 0;
  template <class L>
  GORGO_INLINE L ordered(L loaded) const {
    return loaded ^ broadcast<L>(flip);
  }
};

// The first place in a dense run where `value` stands; it must be there.
template <class Source>
[[gnu::noinline]] int64_t find_value(const Source& source, const typename Source::Storage* p, int64_t n,
                                     typename Source::Lane value) noexcept {
  using V = typename Source::V;
  constexpr int kLanes = Source::kLanes;
  int64_t i = 0;
  const V sought = broadcast<V>(value);
  const auto hits = [&](V v) GORGO_INLINE_LAMBDA {
    if constexpr (std::is_floating_point_v<typename Source::Lane>) {
      return (v == sought) | (isnan(v) & isnan(sought));
    } else {
      return v == sought;
    }
  };
  const auto load = [&]() GORGO_INLINE_LAMBDA {
    return i + kLanes <= n ? source.load(p + i, 0) : source.load_partial(p + i, 0, static_cast<int>(n - i));
  };
  // Four vectors at a time, until one of them has it.
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    const auto at = [&](int k) GORGO_INLINE_LAMBDA { return hits(source.load(p + i + k * kLanes, 0)); };
    if (any((at(0) | at(1)) | (at(2) | at(3)))) break;
  }
  auto hit = hits(load());
  while (!any(hit)) {
    i += kLanes;
    hit = hits(load());
  }
  typename decltype(hit)::Lane lanes[kLanes];
  __builtin_memcpy(lanes, &hit.raw, sizeof lanes);
  int k = 0;
  while (lanes[k] == 0) ++k;
  return i + k;
}

// A dense run goes by blocks, so that only the one that has it is read again.
template <class Partial, class Source>
[[gnu::noinline]] Partial arg_run(const Source& source, const typename Source::Storage* p, int64_t n) noexcept {
  constexpr int64_t kBlock = 8192;
  const auto block = [n](int64_t at) GORGO_INLINE_LAMBDA { return n - at < kBlock ? n - at : kBlock; };
  typename Source::Lane best{};
  int64_t place = 0;
  for (int64_t i = 0; i < n; i += kBlock) {
    const auto value = fold_run(source, p + i, block(i));
    if (i > 0 && !Source::Merge::beats(value, best)) continue;
    best = value;
    place = i;
  }
  return {best, place + find_value(source, p + place, block(place), best)};
}

template <class Source, class Partial>
[[gnu::noinline]] void arg_strip(const Source& source, const typename Source::Storage* p, int64_t stride, int64_t count,
                                 int64_t n, Partial* into) noexcept {
  for (int64_t i = 0; i < n; ++i, p += stride) {
    const auto value = count <= kFewVectors * Source::kLanes ? fold_few(source, p, count) : fold_run(source, p, count);
    into[i] = {value, find_value(source, p, count, value)};
  }
}

template <class Partial, class Source>
[[gnu::noinline]] Partial arg_rows(const Source& source, const typename Source::Storage* base, const ReducePlan& plan,
                                   int64_t chunk) noexcept {
  using S = typename Source::Storage;
  using Merge = ArgMerge<decltype(Partial::value), typename Source::Combine>;
  constexpr int64_t kTile = 256;
  Partial best;
  walk_chunk(plan, chunk, [&](int64_t offset, int64_t stride, int64_t n, int64_t position) GORGO_INLINE_LAMBDA {
    for (int64_t i = 0; i < n;) {
      S tile[kTile];
      const S* p = base + offset + i * stride;
      int64_t m = n - i;
      if (stride != 1) {
        if (m > kTile) m = kTile;
        gather(p, stride, m, tile);
        p = tile;
      }
      const auto value = fold_run(source, p, m);
      if (best.index < 0 || Merge::beats(value, best.value)) {
        best = {value, position + i + find_value(source, p, m, value)};
      }
      i += m;
    }
  });
  return best;
}

// One reduced axis; see ReducePlan.
template <class Source>
[[gnu::noinline]] void arg_columns(const Source& source, const typename Source::Storage* base, const ReducePlan& plan,
                                   int64_t chunk, int64_t step, int64_t width,
                                   ArgPartial<typename Source::Lane>* into) noexcept {
  using S = typename Source::Storage;
  using Lane = typename Source::Lane;
  using V = typename Source::V;
  constexpr int kLanes = Source::kLanes;
  using I = Vec<SignedLike<Lane>, kLanes>;
  const int64_t begin = chunk * ReducePlan::kColumnChunk;
  const int64_t left = plan.count - begin;
  const int64_t rows = left < ReducePlan::kColumnChunk ? left : ReducePlan::kColumnChunk;
  const int64_t stride = plan.reduced.inner_stride();
  for (int64_t j = 0; j < width; j += kLanes) {
    const auto lanes = width - j < kLanes ? static_cast<int>(width - j) : kLanes;
    const S* p = base + begin * stride + j * step;
    const auto load = [&](int64_t row) GORGO_INLINE_LAMBDA {
      const S* at = p + row * stride;
      S tile[kLanes];
      if (step != 1) {
        gather(at, step, lanes, tile);
        at = tile;
      }
      return source.load_partial(at, 0, lanes);
    };
    V best = load(0);
    I index = broadcast<I>(0);
    for (int64_t row = 1; row < rows; ++row) {
      const V v = load(row);
      auto better = Source::Merge::kLargest ? v > best : v < best;
      if constexpr (std::is_floating_point_v<Lane>) better = (better | isnan(v)) & ~isnan(best);
      best = select(better, v, best);
      index = select(better, broadcast<I>(static_cast<SignedLike<Lane>>(row)), index);
    }
    for (int k = 0; k < lanes; ++k) into[j + k] = {best.raw[k], begin + static_cast<int64_t>(index.raw[k])};
  }
}

// Runs are read through RunSource, whose lanes may be narrower than those that have room for row numbers. kFlip: of sources that
// flip bits.
template <class Source, int64_t kFlip = 0, class RunSource = Source>
struct ArgBest {
  using Storage = typename Source::Storage;
  using Lane = typename Source::Lane;
  using Partial = ArgPartial<Lane>;
  using Merge = typename Source::Merge;
  static constexpr bool kOrdered = true;

  template <class Any = RunSource>
  GORGO_INLINE static Any source() {
    Any s;
    if constexpr (kFlip != 0) s.flip = static_cast<Storage>(kFlip);
    return s;
  }
  GORGO_INLINE static Partial empty() { return {}; }
  GORGO_INLINE static Partial run(const Storage* p, int64_t n) { return arg_run<Partial>(source(), p, n); }
  GORGO_INLINE static void strip(const Storage* p, int64_t stride, int64_t count, int64_t n, Partial* into) {
    arg_strip(source(), p, stride, count, n, into);
  }
  GORGO_INLINE static Partial rows(const Storage* base, const ReducePlan& plan, int64_t chunk) {
    return arg_rows<Partial>(source(), base, plan, chunk);
  }
  GORGO_INLINE static void columns(const Storage* base, const ReducePlan& plan, int64_t chunk, int64_t step,
                                   int64_t width, Partial* into) {
    arg_columns(source<Source>(), base, plan, chunk, step, width, into);
  }
};

struct StoreIndex {
  template <class Partial>
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const Partial* p, int64_t n,
                  int64_t) noexcept {
    auto* out = args.out[0].as<int64_t>() + offset;
    for (int64_t i = 0; i < n; ++i) out[i * stride] = p[i].index;
  }
};

template <class S>
void fill_arg(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add_reduction<ArgBest<ArgValues<S, FoldLargest>>, StoreIndex, ArgAttrs>(sink, "argmax", d);
  add_reduction<ArgBest<ArgValues<S, FoldSmallest>>, StoreIndex, ArgAttrs>(sink, "argmin", d);
}
// The integers that are small or rare, in the bits of signed ones.
template <class S>
void fill_flipped_arg(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  using I = SignedLike<S>;
  constexpr I kFlip = kOrderFlip<S>;
  add_reduction<ArgBest<ArgFlipped<I>, kFlip, ArgFlipped<I, I>>, StoreIndex, ArgAttrs>(sink, "argmax", d);
  add_reduction<ArgBest<ArgFlipped<I>, static_cast<I>(~kFlip), ArgFlipped<I, I>>, StoreIndex, ArgAttrs>(sink, "argmin",
                                                                                                        d);
}

}  // namespace

void fill_reduce_arg(KernelSink& sink) {
  fill_arg<float>(sink);
  fill_arg<double>(sink);
  fill_arg<BFloat16>(sink);
  fill_arg<Float16>(sink);
  fill_arg<int32_t>(sink);
  fill_arg<int64_t>(sink);
  fill_flipped_arg<bool>(sink);
#ifdef GORGO_WITH_RARE_DTYPES
  fill_flipped_arg<int8_t>(sink);
  fill_flipped_arg<int16_t>(sink);
  fill_flipped_arg<uint8_t>(sink);
  fill_flipped_arg<uint16_t>(sink);
  fill_flipped_arg<uint32_t>(sink);
  fill_flipped_arg<uint64_t>(sink);
#endif
}

#else  // inherited
void fill_reduce_arg(KernelSink& sink);
void fill_reduce_arg(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

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

template <class S, class CombineT>
struct ArgSource {
  using Storage = S;
  using Lane = ArgLane<S>;
  using Combine = CombineT;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Lane));
  using V = Vec<Lane, kLanes>;
  using W = V;
  GORGO_INLINE static V load(const S* p, int64_t) {
    return convert<Lane>(gorgo::GORGO_ISA_NS::load<S, kLanes, static_cast<int>(sizeof(Lane))>(p));
  }
  GORGO_INLINE static V load_partial(const S* p, int64_t, int n) {
    const auto loaded = gorgo::GORGO_ISA_NS::load_partial<S, kLanes, static_cast<int>(sizeof(Lane))>(p, n);
    return keep_first(convert<Lane>(loaded), n, Combine::template kIdentity<Lane>);
  }
  GORGO_INLINE static W widen(V v) { return v; }
};

template <class Lane>
struct ArgPartial {
  Lane value{};
  int64_t index = -1;  // none yet
};

template <class S, class Combine>
struct ArgBest {
  using Storage = S;
  using Source = ArgSource<S, Combine>;
  using Lane = typename Source::Lane;
  using V = typename Source::V;
  using Partial = ArgPartial<Lane>;
  static constexpr bool kOrdered = true;
  static constexpr bool kLargest = std::is_same_v<Combine, FoldLargest>;
  static constexpr int kLanes = Source::kLanes;

  GORGO_INLINE static bool beats(Lane a, Lane b) {
    if constexpr (std::is_floating_point_v<Lane>) {
      if (a != a) return b == b;
    }
    return kLargest ? a > b : a < b;
  }
  GORGO_INLINE static Partial of(Partial a, Partial b) {
    return a.index < 0 || (b.index >= 0 && beats(b.value, a.value)) ? b : a;
  }
  GORGO_INLINE static Partial empty() { return {}; }
  static constexpr int64_t kFew = kFewVectors * kLanes;

  // The first place in a dense run where `value` stands; it must be there.
  [[gnu::noinline]] static int64_t find(const S* p, int64_t n, Lane value) noexcept {
    int64_t i = 0;
    const V sought = broadcast<V>(value);
    const auto hits = [&](V v) GORGO_INLINE_LAMBDA {
      if constexpr (std::is_floating_point_v<Lane>) {
        return (v == sought) | (isnan(v) & isnan(sought));
      } else {
        return v == sought;
      }
    };
    const auto load = [&]() GORGO_INLINE_LAMBDA {
      return i + kLanes <= n ? Source::load(p + i, 0) : Source::load_partial(p + i, 0, static_cast<int>(n - i));
    };
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
  GORGO_INLINE static Partial run(const S* p, int64_t n) {
    const Lane value = fold_run(Source{}, p, n);
    return {value, find(p, n, value)};
  }
  GORGO_INLINE static Partial few(const S* p, int64_t n) {
    const Lane value = fold_few(Source{}, p, n);
    return {value, find(p, n, value)};
  }
  static Partial rows(const S* base, const ReducePlan& plan, int64_t chunk) noexcept {
    constexpr int64_t kTile = 256;
    Partial best;
    walk_chunk(plan, chunk, [&](int64_t offset, int64_t stride, int64_t n, int64_t position) {
      for (int64_t i = 0; i < n;) {
        S tile[kTile];
        const S* p = base + offset + i * stride;
        int64_t m = n - i;
        if (stride != 1) {
          if (m > kTile) m = kTile;
          gather(p, stride, m, tile);
          p = tile;
        }
        const Lane value = fold_run(Source{}, p, m);
        if (best.index < 0 || beats(value, best.value)) best = {value, position + i + find(p, m, value)};
        i += m;
      }
    });
    return best;
  }
  // One reduced axis; see ReducePlan.
  static void columns(const S* base, const ReducePlan& plan, int64_t chunk, int64_t step, int64_t width,
                      Partial* into) noexcept {
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
        return Source::load_partial(at, 0, lanes);
      };
      V best = load(0);
      I index = broadcast<I>(0);
      for (int64_t row = 1; row < rows; ++row) {
        const V v = load(row);
        auto better = kLargest ? v > best : v < best;
        if constexpr (std::is_floating_point_v<Lane>) better = (better | isnan(v)) & ~isnan(best);
        best = select(better, v, best);
        index = select(better, broadcast<I>(static_cast<SignedLike<Lane>>(row)), index);
      }
      for (int k = 0; k < lanes; ++k) into[j + k] = {best.raw[k], begin + static_cast<int64_t>(index.raw[k])};
    }
  }
};

struct StoreIndex {
  using Attrs = ArgAttrs;
  template <class Partial>
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const Partial* p, int64_t n,
                  int64_t) noexcept {
    auto* out = args.out[0].as<int64_t>() + offset;
    for (int64_t i = 0; i < n; ++i) out[i * stride] = p[i].index;
  }
};

template <class S>
void fill_arg(KernelSink& sink) {
  sink.add("argmax", kDTypeOf<S>, Reduction<ArgBest<S, FoldLargest>, StoreIndex>::kernel());
  sink.add("argmin", kDTypeOf<S>, Reduction<ArgBest<S, FoldSmallest>, StoreIndex>::kernel());
}

}  // namespace

void fill_reduce_arg(KernelSink& sink) {
  fill_arg<float>(sink);
  fill_arg<double>(sink);
  fill_arg<BFloat16>(sink);
  fill_arg<Float16>(sink);
  fill_arg<int32_t>(sink);
  fill_arg<int64_t>(sink);
  fill_arg<bool>(sink);
#ifdef GORGO_WITH_RARE_DTYPES
  fill_arg<int8_t>(sink);
  fill_arg<int16_t>(sink);
  fill_arg<uint8_t>(sink);
  fill_arg<uint16_t>(sink);
  fill_arg<uint32_t>(sink);
  fill_arg<uint64_t>(sink);
#endif
}

#else  // inherited
void fill_reduce_arg(KernelSink& sink);
void fill_reduce_arg(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

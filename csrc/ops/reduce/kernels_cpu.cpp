// Reductions on the CPU: sums and products, largest and smallest, counts, mean and variance.
//
// Compiled once per ISA. Invariant: see skeleton.h and kernels/fold.h; float sums are made in float within small groups and
// in double beyond them, integers wrap.
// Read next: kernels_cpu_arg.cpp (argmax, argmin).
#include "core/rounded.h"
#include "kernels/places.h"
#include "kernels/zip.h"
#include "ops/reduce/skeleton.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

template <class S>
using SumLane = std::conditional_t<std::is_floating_point_v<ComputeType<S>>, ComputeType<S>, int64_t>;
template <class Lane>
using WideOf = std::conditional_t<std::is_same_v<Lane, float>, double, Lane>;

// What all sources have in common: how many lanes, and how loads that are not whole fill up.
template <class Derived, class S, class LaneT, class WideT, class CombineT>
struct SourceOf {
  using Storage = S;
  using Lane = LaneT;
  using Combine = CombineT;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Lane));
  using V = Vec<Lane, kLanes>;
  using W = Vec<WideT, kLanes>;
  static constexpr int kMaskBytes = static_cast<int>(sizeof(ComputeType<S>));

  template <int kCount = kLanes>
  GORGO_INLINE Vec<Lane, kCount> load(const S* p, int64_t column) const {
    return self().value(gorgo::GORGO_ISA_NS::load<S, kCount, kMaskBytes>(p), column);
  }
  GORGO_INLINE V load_partial(const S* p, int64_t column, int n) const {
    return fill(self().value(gorgo::GORGO_ISA_NS::load_partial<S, kLanes, kMaskBytes>(p, n), column), n);
  }

 private:
  GORGO_INLINE const Derived& self() const { return static_cast<const Derived&>(*this); }
  GORGO_INLINE static V fill(V v, int n) {
    // Absent lanes are loaded as zeros, which map to zero in every source but those that are centred.
    if constexpr (std::is_same_v<Combine, FoldSum> && !Derived::kCentred) {
      return v;
    } else {
      return keep_first(v, n, Combine::template kIdentity<Lane>);
    }
  }
};

// The elements themselves. Unsigned integers are summed and multiplied as signed ones, whose low bits are the same.
template <class S, class CombineT, class LaneT, class WideT>
struct Values : SourceOf<Values<S, CombineT, LaneT, WideT>, S, LaneT, WideT, CombineT> {
  static constexpr bool kCentred = false;
  template <class L>
  GORGO_INLINE auto value(L loaded, int64_t) const {
    return convert<LaneT>(loaded);
  }
};
template <class S>
using ToSum = Values<S, FoldSum, SumLane<S>, WideOf<SumLane<S>>>;
// Sums of the small integers: those of a group fit 32 bits.
template <class S>
using ToSumSmall = Values<S, FoldSum, int32_t, int64_t>;
template <class S>
using ToMultiply = Values<S, FoldProduct, SumLane<S>, WideOf<SumLane<S>>>;
template <class S>
using ToMaximize = Values<S, FoldLargest, ComputeType<S>, ComputeType<S>>;
template <class S>
using ToMinimize = Values<S, FoldSmallest, ComputeType<S>, ComputeType<S>>;

// Integers of one width, whose bits are flipped such that the order wanted is that of signed integers: one source finds the
// largest and the smallest, signed and unsigned.
template <class S>
struct Flipped : SourceOf<Flipped<S>, S, S, S, FoldLargest> {
  static constexpr bool kCentred = false;
  S flip = 0;
  template <class L>
  GORGO_INLINE auto value(L loaded, int64_t) const {
    return loaded ^ broadcast<L>(flip);
  }
};

// One for each element that is not zero. S is float, double, or an unsigned integer whose bits say it: integers and bool
// do by their size, and the half types once their sign is gone.
template <class S, uint64_t kRelevant = ~uint64_t{0}>
struct Nonzero
    : SourceOf<Nonzero<S, kRelevant>, S, std::conditional_t<sizeof(S) == 8, int64_t, int32_t>, int64_t, FoldSum> {
  static constexpr bool kCentred = false;
  template <class L>
  GORGO_INLINE auto value(L loaded, int64_t) const {
    using Count = std::conditional_t<sizeof(S) == 8, int64_t, int32_t>;
    if constexpr (std::is_integral_v<S>) {
      return convert<Count>((loaded & broadcast<L>(static_cast<S>(kRelevant))) != broadcast<L>(0));
    } else {
      return convert<Count>(loaded != broadcast<L>(0));
    }
  }
};

// Squares of distances from a centre: one for all, or one for each column.
template <class S>
struct Squares : SourceOf<Squares<S>, S, ComputeType<S>, double, FoldSum> {
  static constexpr bool kCentred = true;
  ComputeType<S> centre = 0;
  const ComputeType<S>* centres = nullptr;
  template <class V>
  GORGO_INLINE auto value(V v, int64_t column) const {
    const V d = v - (centres != nullptr ? load_raw<V>(centres + column) : broadcast<V>(centre));
    return d * d;
  }
};

template <class Partial, class Combine>
struct MergeBy {
  GORGO_INLINE static Partial of(Partial a, Partial b) { return fold_two<Combine>(a, b); }
};

template <class Source>
[[gnu::noinline]] void fold_strip(const Source& source, const typename Source::Storage* p, int64_t stride,
                                  int64_t count, int64_t n, typename Source::W::Lane* into) noexcept {
  if (count > kFewVectors * Source::V::kLanes) {
    for (int64_t i = 0; i < n; ++i) into[i] = fold_run(source, p + i * stride, count);
    return;
  }
  int64_t i = 0;
  using V = typename Source::V;
  using Lane = typename V::Lane;
  if constexpr (std::is_same_v<typename Source::Combine, FoldSum> && std::is_floating_point_v<Lane>) {
    // As many rows as a vector has lanes are summed across the lanes together.
    for (; i + V::kLanes <= n; i += V::kLanes) {
      typename V::Raw rows[V::kLanes];
      for (int k = 0; k < V::kLanes; ++k) rows[k] = fold_few_vectors(source, p + (i + k) * stride, count).raw;
      sum_square<Lane, V::kLanes>(rows);
      store_raw(into + i, convert<typename Source::W::Lane>(V{rows[0]}));
    }
  }
  for (; i < n; ++i) into[i] = fold_few(source, p + i * stride, count);
}

// kFlip: of a source that flips bits.
template <class Source, int64_t kFlip = 0>
struct Folded {
  using Storage = typename Source::Storage;
  using Partial = typename Source::W::Lane;
  using Merge = MergeBy<Partial, typename Source::Combine>;
  static constexpr bool kOrdered = false;
  GORGO_INLINE static Source source() {
    Source s;
    if constexpr (kFlip != 0) s.flip = static_cast<Storage>(kFlip);
    return s;
  }
  GORGO_INLINE static Partial run(const Storage* p, int64_t n) { return fold_run(source(), p, n); }
  GORGO_INLINE static void strip(const Storage* p, int64_t stride, int64_t count, int64_t n, Partial* into) {
    fold_strip(source(), p, stride, count, n, into);
  }
  GORGO_INLINE static Partial rows(const Storage* base, const ReducePlan& plan, int64_t chunk) {
    return fold_rows(source(), base, plan, chunk);
  }
  GORGO_INLINE static void columns(const Storage* base, const ReducePlan& plan, int64_t chunk, int64_t step,
                                   int64_t width, Partial* into) noexcept {
    fold_columns(source(), base, plan, chunk, step, width, into);
  }
  GORGO_INLINE static Partial empty() { return Source::Combine::template kIdentity<Partial>; }
};

// How many bytes are not zero: dense runs by the bit, 64 at a time.
using BytesCounted = Folded<Nonzero<uint8_t>>;
struct BitsCounted : BytesCounted {
  static Partial run(const uint8_t* p, int64_t n) noexcept {
    Partial count = 0;
    int64_t i = 0;
    for (; i + kPlacesBlock <= n; i += kPlacesBlock) {
      count += __builtin_popcountll(ones_of<uint8_t, 1>(p + i, uint8_t{0xff}));
    }
    return i < n ? count + BytesCounted::run(p + i, n - i) : count;
  }
  [[gnu::noinline]] static Partial rows(const uint8_t* base, const ReducePlan& plan, int64_t chunk) noexcept {
    if (plan.reduced.rank != 1 || plan.reduced.stride[0] != 1) return BytesCounted::rows(base, plan, chunk);
    Partial count = 0;
    walk_chunk(plan, chunk, [&](int64_t offset, int64_t, int64_t n, int64_t) { count += run(base + offset, n); });
    return count;
  }
};
using CountBytes = std::conditional_t<kOnesByVectors, BitsCounted, BytesCounted>;

// Whether some element, or all, are not zero, by the largest of them with some bits flipped; kZero is what zero has become. Dense runs
// are read no further than the first block that tells.
template <class Base, auto kZero, bool kSome>
struct Truth : Base {
  using typename Base::Partial;
  using typename Base::Storage;
  static constexpr int64_t kBlock = 2048;

  [[gnu::noinline]] static Partial rows(const Storage* base, const ReducePlan& plan, int64_t chunk) noexcept {
    if (plan.reduced.rank != 1 || plan.reduced.stride[0] != 1) return Base::rows(base, plan, chunk);
    Partial found = Base::empty();
    walk_chunk(plan, chunk, [&](int64_t offset, int64_t, int64_t n, int64_t) {
      for (int64_t i = 0; i < n && (found == kZero) == kSome; i += kBlock) {
        found = Base::Merge::of(found, Base::run(base + offset + i, n - i < kBlock ? n - i : kBlock));
      }
    });
    return found;
  }
};

// How many elements a chunk by rows has.
[[gnu::noinline]] double elements_of(const ReducePlan& plan, int64_t chunk) noexcept {
  int64_t count = 0;
  walk_chunk(plan, chunk, [&](int64_t, int64_t, int64_t n, int64_t) { count += n; });
  return static_cast<double>(count);
}

// Count, mean and sum of squared distances from it; pieces are merged by the formula of Chan, Golub and LeVeque (1979).
struct MomentsPartial {
  double n = 0.0;
  double mean = 0.0;
  double squares = 0.0;
};
template <class S>
struct Moments {
  using Storage = S;
  using Partial = MomentsPartial;
  using Merge = Moments;
  using Centre = ComputeType<S>;
  static constexpr bool kOrdered = false;
  // `squares` were taken around the mean rounded to the compute type; moves them to the mean itself.
  GORGO_INLINE static Partial make(double n, double mean, Centre centre, double squares) {
    const double d = mean - static_cast<double>(centre);
    const double about_mean = squares - n * d * d;
    return {n, mean, about_mean < 0.0 ? 0.0 : about_mean};
  }
  GORGO_INLINE static Partial run(const S* p, int64_t n) {
    const auto count = static_cast<double>(n);
    const double mean = fold_run(ToSum<S>{}, p, n) / count;
    Squares<S> source;
    source.centre = static_cast<Centre>(mean);
    return make(count, mean, source.centre, fold_run(source, p, n));
  }
  static void strip(const S* p, int64_t stride, int64_t count, int64_t n, Partial* into) noexcept {
    for (int64_t i = 0; i < n; ++i) into[i] = run(p + i * stride, count);
  }
  GORGO_INLINE static Partial rows(const S* base, const ReducePlan& plan, int64_t chunk) {
    const double count = plan.chunks == 1 ? static_cast<double>(plan.count) : elements_of(plan, chunk);
    const double mean = fold_rows(ToSum<S>{}, base, plan, chunk) / count;
    Squares<S> source;
    source.centre = static_cast<Centre>(mean);
    return make(count, mean, source.centre, fold_rows(source, base, plan, chunk));
  }
  static void columns(const S* base, const ReducePlan& plan, int64_t chunk, int64_t step, int64_t width,
                      Partial* into) noexcept {
    const int64_t left = plan.count - chunk * ReducePlan::kColumnChunk;
    const auto count = static_cast<double>(left < ReducePlan::kColumnChunk ? left : ReducePlan::kColumnChunk);
    alignas(64) double sums[ReducePlan::kStrip];
    alignas(64) double squares[ReducePlan::kStrip];
    alignas(64) Centre centres[ReducePlan::kStrip];
    fold_columns(ToSum<S>{}, base, plan, chunk, step, width, sums);
    for (int64_t j = 0; j < width; ++j) centres[j] = static_cast<Centre>(sums[j] / count);
    for (int64_t j = width; j < ReducePlan::kStrip && j % Squares<S>::kLanes != 0; ++j) centres[j] = 0;
    Squares<S> source;
    source.centres = centres;
    fold_columns(source, base, plan, chunk, step, width, squares);
    for (int64_t j = 0; j < width; ++j) into[j] = make(count, sums[j] / count, centres[j], squares[j]);
  }
  GORGO_INLINE static Partial of(Partial a, Partial b) {
    const double n = a.n + b.n;
    const double d = b.mean - a.mean;
    return {n, a.mean + d * (b.n / n), a.squares + b.squares + d * d * (a.n * b.n / n)};
  }
  GORGO_INLINE static Partial empty() { return {0.0, FloatBits<double>::kNan, 0.0}; }
};

// ---- storing ----

template <class To, class From>
GORGO_INLINE To stored_as(From v) {
  if constexpr (kIsHalf<To>) {
    return To(static_cast<float>(v));
  } else {
    return static_cast<To>(v);
  }
}
template <class To, class Partial, class Map>
GORGO_INLINE void store_each(const KernelArgs& args, int64_t offset, int64_t stride, const Partial* p, int64_t n,
                             const Map& map) {
  To* out = args.out[0].as<To>() + offset;
  for (int64_t i = 0; i < n; ++i) out[i * stride] = stored_as<To>(map(p[i]));
}

// The output is of the input's dtype S.
template <class S>
struct Store {
  template <class Partial>
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const Partial* p, int64_t n,
                  int64_t) noexcept {
    store_each<S>(args, offset, stride, p, n, [](Partial v) GORGO_INLINE_LAMBDA { return v; });
  }
};
template <class S, S kFlip>
struct StoreFlipped {
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const S* p, int64_t n, int64_t) noexcept {
    store_each<S>(args, offset, stride, p, n, [](S v) GORGO_INLINE_LAMBDA { return v ^ kFlip; });
  }
};
// Integers are summed as 64 bits; the output holds all of them or, where the caller asked, the lowest.
struct StoreInteger {
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const int64_t* p, int64_t n,
                  int64_t) noexcept {
    const auto same = [](int64_t v) GORGO_INLINE_LAMBDA { return v; };
    switch (dtype_size(args.out[0].dtype)) {
      case 1:
        return store_each<int8_t>(args, offset, stride, p, n, same);
      case 2:
        return store_each<int16_t>(args, offset, stride, p, n, same);
      case 4:
        return store_each<int32_t>(args, offset, stride, p, n, same);
      default:
        return store_each<int64_t>(args, offset, stride, p, n, same);
    }
  }
};
template <class S>
using StoreSum = std::conditional_t<std::is_floating_point_v<ComputeType<S>>, Store<S>, StoreInteger>;
template <class S>
struct StoreMean {
  template <class Partial>
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const Partial* p, int64_t n,
                  int64_t count) noexcept {
    const auto divisor = static_cast<double>(count);
    using To = std::conditional_t<std::is_floating_point_v<ComputeType<S>>, S, float>;
    using Sum = std::conditional_t<std::is_same_v<S, uint64_t>, uint64_t, Partial>;
    store_each<To>(args, offset, stride, p, n,
                   [=](Partial v) GORGO_INLINE_LAMBDA { return static_cast<double>(static_cast<Sum>(v)) / divisor; });
  }
};
struct StoreAny {
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const int64_t* p, int64_t n,
                  int64_t) noexcept {
    store_each<bool>(args, offset, stride, p, n, [](int64_t v) GORGO_INLINE_LAMBDA { return v != 0; });
  }
};
struct StoreAll {
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const int64_t* p, int64_t n,
                  int64_t count) noexcept {
    store_each<bool>(args, offset, stride, p, n, [=](int64_t v) GORGO_INLINE_LAMBDA { return v == count; });
  }
};
// Whether the largest of unsigned integers, or the smallest, is not zero; kZero is what zero has become by flipping its bits.
template <class S, S kZero>
struct StoreNonzero {
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const S* p, int64_t n, int64_t) noexcept {
    store_each<bool>(args, offset, stride, p, n, [](S v) GORGO_INLINE_LAMBDA { return v != kZero; });
  }
};
// Also from float64 rows to float32 outputs: the variance of integers.
template <class S, bool kRoot>
struct StoreVariance {
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const MomentsPartial* p, int64_t n,
                  int64_t count) noexcept {
    const double divisor = static_cast<double>(count) - args.attrs_as<VarAttrs>().correction;
    const double freedom = divisor > 0.0 ? divisor : 0.0;
    const auto value = [=](const MomentsPartial& m) GORGO_INLINE_LAMBDA {
      const double variance = m.squares / freedom;
      if constexpr (kRoot) {
        return __builtin_sqrt(variance);
      } else {
        return variance;
      }
    };
    if constexpr (std::is_same_v<S, double>) {
      if (args.out[0].dtype == DType::Float32) return store_each<float>(args, offset, stride, p, n, value);
    }
    store_each<S>(args, offset, stride, p, n, value);
  }
};

// ---- complex numbers: scalar code, sums in double ----

#ifdef GORGO_WITH_RARE_DTYPES
struct ComplexPartial {
  double re = 0.0;
  double im = 0.0;
};
template <class T, bool kProduct>
struct ComplexFold {
  using Storage = std::complex<T>;
  using Partial = ComplexPartial;
  using Merge = ComplexFold;
  static constexpr bool kOrdered = false;
  GORGO_INLINE static Partial of(Partial a, Partial b) {
    if constexpr (kProduct) {
      return {rounded(a.re * b.re) - rounded(a.im * b.im), rounded(a.re * b.im) + rounded(a.im * b.re)};
    } else {
      return {a.re + b.re, a.im + b.im};
    }
  }
  GORGO_INLINE static Partial empty() { return {kProduct ? 1.0 : 0.0, 0.0}; }
  GORGO_INLINE static Partial at(const Storage* p) {
    const T* parts = reinterpret_cast<const T*>(p);
    return {static_cast<double>(parts[0]), static_cast<double>(parts[1])};
  }
  [[gnu::noinline]] static Partial line(const Storage* p, int64_t stride, int64_t n) noexcept {
    Partial a = empty();
    Partial b = empty();
    for (int64_t i = 0; i + 1 < n; i += 2) {
      a = of(a, at(p + i * stride));
      b = of(b, at(p + (i + 1) * stride));
    }
    if (n % 2 != 0) a = of(a, at(p + (n - 1) * stride));
    return of(a, b);
  }
  GORGO_INLINE static Partial run(const Storage* p, int64_t n) { return line(p, 1, n); }
  GORGO_INLINE static void strip(const Storage* p, int64_t stride, int64_t count, int64_t n, Partial* into) {
    for (int64_t i = 0; i < n; ++i) into[i] = of(empty(), run(p + i * stride, count));
  }
  GORGO_INLINE static Partial rows(const Storage* base, const ReducePlan& plan, int64_t chunk) {
    Partial total = empty();
    walk_chunk(plan, chunk, [&](int64_t offset, int64_t stride, int64_t n, int64_t) {
      total = of(total, line(base + offset, stride, n));
    });
    return total;
  }
  static void columns(const Storage* base, const ReducePlan& plan, int64_t chunk, int64_t step, int64_t width,
                      Partial* into) noexcept {
    const int64_t begin = chunk * ReducePlan::kColumnChunk;
    const int64_t end = begin + ReducePlan::kColumnChunk < plan.count ? begin + ReducePlan::kColumnChunk : plan.count;
    for (int64_t j = 0; j < width; ++j) into[j] = empty();
    Cursor cursor(plan.reduced, plan.reduced.rank, begin);
    for (int64_t row = begin; row < end; ++row, cursor.next()) {
      for (int64_t j = 0; j < width; ++j) into[j] = of(into[j], at(base + cursor.in() + j * step));
    }
  }
};
template <class T>
struct ComplexNonzero : ComplexFold<T, false> {
  using Storage = std::complex<T>;
  using Partial = int64_t;
  using Merge = MergeBy<int64_t, FoldSum>;
  GORGO_INLINE static Partial empty() { return 0; }
  GORGO_INLINE static Partial at(const Storage* p) {
    const T* parts = reinterpret_cast<const T*>(p);
    return parts[0] != T{0} || parts[1] != T{0} ? 1 : 0;
  }
  GORGO_INLINE static Partial run(const Storage* p, int64_t n) {
    Partial total = 0;
    for (int64_t i = 0; i < n; ++i) total += at(p + i);
    return total;
  }
  GORGO_INLINE static void strip(const Storage* p, int64_t stride, int64_t count, int64_t n, Partial* into) {
    for (int64_t i = 0; i < n; ++i) into[i] = run(p + i * stride, count);
  }
  GORGO_INLINE static Partial rows(const Storage* base, const ReducePlan& plan, int64_t chunk) {
    Partial total = 0;
    walk_chunk(plan, chunk, [&](int64_t offset, int64_t stride, int64_t n, int64_t) {
      for (int64_t i = 0; i < n; ++i) total += at(base + offset + i * stride);
    });
    return total;
  }
  static void columns(const Storage* base, const ReducePlan& plan, int64_t chunk, int64_t step, int64_t width,
                      Partial* into) noexcept {
    const int64_t begin = chunk * ReducePlan::kColumnChunk;
    const int64_t end = begin + ReducePlan::kColumnChunk < plan.count ? begin + ReducePlan::kColumnChunk : plan.count;
    for (int64_t j = 0; j < width; ++j) into[j] = 0;
    Cursor cursor(plan.reduced, plan.reduced.rank, begin);
    for (int64_t row = begin; row < end; ++row, cursor.next()) {
      for (int64_t j = 0; j < width; ++j) into[j] += at(base + cursor.in() + j * step);
    }
  }
};
template <class T, bool kMean>
struct StoreComplex {
  static void run(const KernelArgs& args, int64_t offset, int64_t stride, const ComplexPartial* p, int64_t n,
                  int64_t count) noexcept {
    T* out = reinterpret_cast<T*>(args.out[0].data);
    const double divisor = kMean ? static_cast<double>(count) : 1.0;
    for (int64_t i = 0; i < n; ++i) {
      out[2 * (offset + i * stride)] = static_cast<T>(p[i].re / divisor);
      out[2 * (offset + i * stride) + 1] = static_cast<T>(p[i].im / divisor);
    }
  }
};

template <class T>
void fill_complex(KernelSink& sink) {
  constexpr DType d = kDTypeOf<std::complex<T>>;
  using Sum = ComplexFold<T, false>;
  using Count = ComplexNonzero<T>;
  add_reduction<Sum, StoreComplex<T, false>, SumAttrs>(sink, "sum", d);
  add_reduction<Sum, StoreComplex<T, false>, SumToAttrs>(sink, "sum_to", d);
  add_reduction<ComplexFold<T, true>, StoreComplex<T, false>, SumAttrs>(sink, "prod", d);
  add_reduction<Sum, StoreComplex<T, true>, ReduceAttrs>(sink, "mean", d);
  add_reduction<Count, StoreInteger, ReduceAttrs>(sink, "count_nonzero", d);
  add_reduction<Count, StoreAny, ReduceAttrs>(sink, "any", d);
  add_reduction<Count, StoreAll, ReduceAttrs>(sink, "all", d);
}
#endif

template <class Policy, class... DTypes>
void fill_counts(KernelSink& sink, DTypes... dtypes) {
  for (const DType d : {dtypes...}) add_reduction<Policy, StoreInteger, ReduceAttrs>(sink, "count_nonzero", d);
}
template <class Source, class... DTypes>
void fill_truth(KernelSink& sink, DTypes... dtypes) {
  fill_counts<Folded<Source>>(sink, dtypes...);
  for (const DType d : {dtypes...}) {
    add_reduction<Folded<Source>, StoreAny, ReduceAttrs>(sink, "any", d);
    add_reduction<Folded<Source>, StoreAll, ReduceAttrs>(sink, "all", d);
  }
}
template <class S>
void fill_order(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add_reduction<Folded<ToMaximize<S>>, Store<S>, ReduceAttrs>(sink, "max", d);
  add_reduction<Folded<ToMinimize<S>>, Store<S>, ReduceAttrs>(sink, "min", d);
}
// The integers that are rare.
template <class S>
void fill_flipped(KernelSink& sink) {
  using I = SignedLike<S>;
  constexpr DType d = kDTypeOf<S>;
  constexpr I kFlip = kOrderFlip<S>;
  constexpr I kFlipToo = static_cast<I>(~kFlip);
  add_reduction<Folded<Flipped<I>, kFlip>, StoreFlipped<I, kFlip>, ReduceAttrs>(sink, "max", d);
  add_reduction<Folded<Flipped<I>, kFlipToo>, StoreFlipped<I, kFlipToo>, ReduceAttrs>(sink, "min", d);
}
#ifdef GORGO_WITH_RARE_DTYPES
// Of integers of one or two bytes, and of bool: by their size as unsigned numbers.
template <class U, class... DTypes>
void fill_small_truth(KernelSink& sink, const char* any, const char* all, DTypes... dtypes) {
  using I = SignedLike<U>;
  constexpr I kFlip = kOrderFlip<U>;
  constexpr I kFlipToo = static_cast<I>(~kFlip);
  for (const DType d : {dtypes...}) {
    using Any = Folded<Flipped<I>, kFlip>;
    using All = Folded<Flipped<I>, kFlipToo>;
    if constexpr (sizeof(U) == 1) {
      add_reduction<Truth<Any, kFlip, true>, StoreNonzero<I, kFlip>, ReduceAttrs>(sink, any, d);
      add_reduction<Truth<All, kFlipToo, false>, StoreNonzero<I, kFlipToo>, ReduceAttrs>(sink, all, d);
    } else {
      add_reduction<Any, StoreNonzero<I, kFlip>, ReduceAttrs>(sink, any, d);
      add_reduction<All, StoreNonzero<I, kFlipToo>, ReduceAttrs>(sink, all, d);
    }
  }
}
#endif
// Products of all integers but the widest are made of elements cast before, and sums of uint32; see infer.
template <class S, class Policy = Folded<ToSum<S>>>
void fill_sums(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add_reduction<Policy, StoreSum<S>, SumAttrs>(sink, "sum", d);
  add_reduction<Policy, StoreMean<S>, ReduceAttrs>(sink, "mean", d);
}
template <class S, class Source = ToMultiply<S>>
void fill_product(KernelSink& sink) {
  add_reduction<Folded<Source>, StoreSum<S>, SumAttrs>(sink, "prod", kDTypeOf<S>);
}
template <class S>
void fill_float(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  fill_order<S>(sink);
  fill_sums<S>(sink);
  fill_product<S>(sink);
  add_reduction<Folded<ToSum<S>>, Store<S>, SumToAttrs>(sink, "sum_to", d);
  add_reduction<Moments<S>, StoreVariance<S, false>, VarAttrs>(sink, "var", d);
  add_reduction<Moments<S>, StoreVariance<S, true>, VarAttrs>(sink, "std", d);
}

}  // namespace

void fill_reduce_arg(KernelSink& sink);

void fill_reduce(KernelSink& sink) {
  fill_float<float>(sink);
  fill_float<double>(sink);
  fill_float<BFloat16>(sink);
  fill_float<Float16>(sink);
  fill_order<int32_t>(sink);
  fill_order<int64_t>(sink);
  fill_sums<int32_t>(sink);
  fill_sums<int64_t>(sink);
  fill_sums<bool, CountBytes>(sink);
  fill_product<int64_t>(sink);
  fill_truth<Nonzero<float>>(sink, DType::Float32);
  fill_truth<Nonzero<double>>(sink, DType::Float64);
  fill_truth<Nonzero<uint16_t, 0x7fff>>(sink, DType::BFloat16, DType::Float16);
  fill_truth<Nonzero<uint32_t>>(sink, DType::Int32);
  fill_truth<Nonzero<uint64_t>>(sink, DType::Int64);
  fill_counts<CountBytes>(sink, DType::Bool);
#ifdef GORGO_WITH_RARE_DTYPES
  fill_flipped<int8_t>(sink);
  fill_flipped<int16_t>(sink);
  fill_flipped<uint8_t>(sink);
  fill_flipped<uint16_t>(sink);
  fill_flipped<uint32_t>(sink);
  fill_flipped<uint64_t>(sink);
  fill_sums<uint64_t, Folded<ToSum<int64_t>>>(sink);
  fill_product<uint64_t, ToMultiply<int64_t>>(sink);
  fill_sums<int8_t, Folded<ToSumSmall<int8_t>>>(sink);
  fill_sums<int16_t, Folded<ToSumSmall<int16_t>>>(sink);
  fill_sums<uint8_t, Folded<ToSumSmall<uint8_t>>>(sink);
  fill_sums<uint16_t, Folded<ToSumSmall<uint16_t>>>(sink);
  fill_counts<CountBytes>(sink, DType::UInt8, DType::Int8);
  fill_counts<Folded<Nonzero<uint16_t>>>(sink, DType::UInt16, DType::Int16);
  fill_small_truth<uint8_t>(sink, "any", "all", DType::Bool, DType::UInt8, DType::Int8);
  fill_small_truth<uint8_t>(sink, "max", "min", DType::Bool);
  fill_small_truth<uint16_t>(sink, "any", "all", DType::UInt16, DType::Int16);
  fill_truth<Nonzero<uint32_t>>(sink, DType::UInt32);
  fill_truth<Nonzero<uint64_t>>(sink, DType::UInt64);
  fill_complex<float>(sink);
  fill_complex<double>(sink);
#endif
  fill_reduce_arg(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

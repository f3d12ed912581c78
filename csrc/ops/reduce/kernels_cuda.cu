// Reductions on CUDA: sums and products, counts, mean and variance.
//
// Invariant: float sums are made in float within a few elements and in double beyond them, products in double; integers wrap.
// Read next: kernels/cuda/fold.cuh (how tensors are walked), kernels_cuda_order.cu, kernels_cuda_arg.cu.
#include "kernels/cuda/moments.cuh"
#include "ops/reduce/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class S>
inline constexpr bool kIsReal = std::is_floating_point_v<ComputeType<S>>;

// Sums; integers as 64 bits, a bool as a small number first.
template <class S>
struct SumFold {
  using Storage = S;
  using Lane =
      std::conditional_t<kIsReal<S>, ComputeType<S>, std::conditional_t<std::is_same_v<S, bool>, uint32_t, uint64_t>>;
  using Partial = std::conditional_t<kIsReal<S>, double, uint64_t>;
  static constexpr bool kFlushes = !std::is_same_v<Lane, Partial>;

  // A signed integer is extended by its sign first.
  GORGO_DEVICE static Lane map(S v) {
    if constexpr (kIsReal<S>) {
      return lift(v);
    } else if constexpr (std::is_signed_v<S>) {
      return static_cast<Lane>(static_cast<int64_t>(v));
    } else {
      return static_cast<Lane>(v);
    }
  }
  GORGO_DEVICE static Lane identity() { return Lane{0}; }
  GORGO_DEVICE static Lane fold(Lane a, Lane b) { return a + b; }
  GORGO_DEVICE static Partial widen(Lane v) { return static_cast<Partial>(v); }
  GORGO_DEVICE static Partial none() { return Partial{0}; }
  GORGO_DEVICE static Partial merge(Partial a, Partial b) { return a + b; }
  GORGO_DEVICE static void store(const Finish& f, int64_t at, Partial p) {
    if constexpr (kIsReal<S>) {
      put_real(f, at, f.keep == Keep::Mean ? p / f.divisor : p);
    } else if (f.keep == Keep::Mean) {
      const double sum = std::is_signed_v<S> ? static_cast<double>(static_cast<int64_t>(p)) : static_cast<double>(p);
      put_real(f, at, sum / f.divisor);
    } else {
      put_integer(f, at, p);
    }
  }
};

template <class S>
struct ProductFold {
  using Storage = S;
  using Lane = std::conditional_t<kIsReal<S>, double, uint64_t>;
  using Partial = Lane;
  static constexpr bool kFlushes = false;

  GORGO_DEVICE static Lane map(S v) {
    if constexpr (kIsReal<S>) {
      return static_cast<double>(lift(v));
    } else {
      return static_cast<uint64_t>(v);
    }
  }
  GORGO_DEVICE static Lane identity() { return Lane{1}; }
  GORGO_DEVICE static Lane fold(Lane a, Lane b) { return a * b; }
  GORGO_DEVICE static Partial widen(Lane v) { return v; }
  GORGO_DEVICE static Partial none() { return Partial{1}; }
  GORGO_DEVICE static Partial merge(Partial a, Partial b) { return a * b; }
  GORGO_DEVICE static void store(const Finish& f, int64_t at, Partial p) {
    if constexpr (kIsReal<S>) {
      put_real(f, at, p);
    } else {
      put_integer(f, at, p);
    }
  }
};

// One for each element that is not zero. S is float, double, or an unsigned integer whose relevant bits say it.
template <class S, uint64_t kRelevant = ~uint64_t{0}>
struct NonzeroFold {
  using Storage = S;
  using Lane = uint32_t;
  using Partial = int64_t;
  static constexpr bool kFlushes = true;

  GORGO_DEVICE static Lane map(S v) {
    if constexpr (std::is_integral_v<S>) {
      return (v & static_cast<S>(kRelevant)) != 0 ? 1u : 0u;
    } else {
      return v != S{0} ? 1u : 0u;
    }
  }
  GORGO_DEVICE static Lane identity() { return 0; }
  GORGO_DEVICE static Lane fold(Lane a, Lane b) { return a + b; }
  GORGO_DEVICE static Partial widen(Lane v) { return v; }
  GORGO_DEVICE static Partial none() { return 0; }
  GORGO_DEVICE static Partial merge(Partial a, Partial b) { return a + b; }
  GORGO_DEVICE static void store(const Finish& f, int64_t at, Partial p) {
    if (f.keep == Keep::Count) {
      static_cast<int64_t*>(f.out)[at] = p;
    } else {
      static_cast<bool*>(f.out)[at] = f.keep == Keep::Any ? p != 0 : p == f.count;
    }
  }
};

// Complex numbers: sums and products of both parts in double.
template <class T>
struct alignas(2 * sizeof(T)) ComplexOf {
  T re, im;
};
template <class T, bool kProduct>
struct ComplexFold {
  using Storage = ComplexOf<T>;
  using Lane = ComplexOf<double>;
  using Partial = Lane;
  static constexpr bool kFlushes = false;

  GORGO_DEVICE static Lane map(Storage v) { return {static_cast<double>(v.re), static_cast<double>(v.im)}; }
  GORGO_DEVICE static Lane identity() { return {kProduct ? 1.0 : 0.0, 0.0}; }
  GORGO_DEVICE static Lane fold(Lane a, Lane b) {
    if constexpr (kProduct) {
      return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
    } else {
      return {a.re + b.re, a.im + b.im};
    }
  }
  GORGO_DEVICE static Partial widen(Lane v) { return v; }
  GORGO_DEVICE static Partial none() { return identity(); }
  GORGO_DEVICE static Partial merge(Partial a, Partial b) { return fold(a, b); }
  GORGO_DEVICE static void store(const Finish& f, int64_t at, Partial p) {
    static_cast<Storage*>(f.out)[at] = {static_cast<T>(p.re / f.divisor), static_cast<T>(p.im / f.divisor)};
  }
};
template <class T>
struct ComplexNonzeroFold : NonzeroFold<T> {
  using Storage = ComplexOf<T>;
  GORGO_DEVICE static uint32_t map(Storage v) { return v.re != T{0} || v.im != T{0} ? 1u : 0u; }
};

struct StoreVariance {
  GORGO_DEVICE static void store(const Finish& f, int64_t at, const MomentSums& p) {
    const double variance = squares_about_mean(p.sum, p.squares, static_cast<double>(f.count)) / f.divisor;
    put_real(f, at, f.keep == Keep::Deviation ? sqrt(variance) : variance);
  }
};
template <class S>
using Variance = Moments<S, Stored<StoreVariance, MomentSums>>;

template <class Fold>
void fill_truth(KernelSink& sink, DType d) {
  using Policy = Folding<Fold>;
  add_reduction<Policy, ReduceAttrs, Keep::Count>(sink, "count_nonzero", d);
  add_reduction<Policy, ReduceAttrs, Keep::Any>(sink, "any", d);
  add_reduction<Policy, ReduceAttrs, Keep::All>(sink, "all", d);
}
// Products of all integers but the widest are made of elements cast before, and sums of uint32; see infer.
template <class S>
void fill_sums(KernelSink& sink) {
  using Policy = Folding<SumFold<S>>;
  add_reduction<Policy, SumAttrs, Keep::Value>(sink, "sum", kDTypeOf<S>);
  add_reduction<Policy, ReduceAttrs, Keep::Mean>(sink, "mean", kDTypeOf<S>);
}
template <class S>
void fill_product(KernelSink& sink) {
  add_reduction<Folding<ProductFold<S>>, SumAttrs, Keep::Value>(sink, "prod", kDTypeOf<S>);
}
template <class S>
void fill_float(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  fill_sums<S>(sink);
  fill_product<S>(sink);
  add_reduction<Folding<SumFold<S>>, SumToAttrs, Keep::Value>(sink, "sum_to", d);
  add_reduction<Variance<S>, VarAttrs, Keep::Variance>(sink, "var", d);
  add_reduction<Variance<S>, VarAttrs, Keep::Deviation>(sink, "std", d);
}
template <class T>
void fill_complex(KernelSink& sink) {
  constexpr DType d = kDTypeOf<std::complex<T>>;
  using Sum = Folding<ComplexFold<T, false>>;
  add_reduction<Sum, SumAttrs, Keep::Value>(sink, "sum", d);
  add_reduction<Sum, SumToAttrs, Keep::Value>(sink, "sum_to", d);
  add_reduction<Sum, ReduceAttrs, Keep::Mean>(sink, "mean", d);
  add_reduction<Folding<ComplexFold<T, true>>, SumAttrs, Keep::Value>(sink, "prod", d);
  fill_truth<ComplexNonzeroFold<T>>(sink, d);
}

}  // namespace

void fill_reduce(KernelSink& sink) {
  fill_float<float>(sink);
  fill_float<double>(sink);
  fill_float<BFloat16>(sink);
  fill_float<Float16>(sink);
  fill_sums<int32_t>(sink);
  fill_sums<int64_t>(sink);
  fill_sums<uint64_t>(sink);
  fill_sums<bool>(sink);
  fill_sums<int8_t>(sink);
  fill_sums<int16_t>(sink);
  fill_sums<uint8_t>(sink);
  fill_sums<uint16_t>(sink);
  fill_product<int64_t>(sink);
  fill_product<uint64_t>(sink);
  fill_truth<NonzeroFold<float>>(sink, DType::Float32);
  fill_truth<NonzeroFold<double>>(sink, DType::Float64);
  fill_truth<NonzeroFold<uint16_t, 0x7fff>>(sink, DType::BFloat16);
  fill_truth<NonzeroFold<uint16_t, 0x7fff>>(sink, DType::Float16);
  fill_truth<NonzeroFold<uint8_t>>(sink, DType::Bool);
  fill_truth<NonzeroFold<uint8_t>>(sink, DType::UInt8);
  fill_truth<NonzeroFold<uint8_t>>(sink, DType::Int8);
  fill_truth<NonzeroFold<uint16_t>>(sink, DType::UInt16);
  fill_truth<NonzeroFold<uint16_t>>(sink, DType::Int16);
  fill_truth<NonzeroFold<uint32_t>>(sink, DType::UInt32);
  fill_truth<NonzeroFold<uint32_t>>(sink, DType::Int32);
  fill_truth<NonzeroFold<uint64_t>>(sink, DType::UInt64);
  fill_truth<NonzeroFold<uint64_t>>(sink, DType::Int64);
  fill_complex<float>(sink);
  fill_complex<double>(sink);
  using Truth = Folding<NonzeroFold<uint8_t>>;
  add_reduction<Truth, ReduceAttrs, Keep::Any>(sink, "max", DType::Bool);
  add_reduction<Truth, ReduceAttrs, Keep::All>(sink, "min", DType::Bool);
  fill_reduce_order(sink);
  fill_reduce_arg(sink);
}

}  // namespace gorgo::cuda

// cumulative_sum, cumulative_prod, logcumsumexp and linear_scan on CUDA.
//
// Invariants: floats are carried in double and complex numbers in pairs of it, integers wrap. Products of floats keep their
// exponent apart: that of a chunk may lie beyond what double holds where the whole does not.
// Read next: kernels_cuda.cuh, kernels_cuda_extremes.cu.
#include "ops/scan/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class T>
struct alignas(2 * sizeof(T)) ComplexOf {
  T re, im;
};
template <class S>
inline constexpr bool kIsComplex = false;
template <class T>
inline constexpr bool kIsComplex<ComplexOf<T>> = true;

// Elements are stored as unsigned integers, floats or pairs; what is added and multiplied is wide enough.
template <class S>
struct SumTypeOf {
  using Type = double;
};
template <class S>
  requires std::is_integral_v<S>
struct SumTypeOf<S> {
  using Type = std::conditional_t<sizeof(S) == 8, uint64_t, uint32_t>;
};
template <class T>
struct SumTypeOf<ComplexOf<T>> {
  using Type = ComplexOf<double>;
};
template <class S>
using SumType = typename SumTypeOf<S>::Type;

template <class S>
GORGO_DEVICE SumType<S> widen(S v) {
  if constexpr (kIsComplex<S>) {
    return {static_cast<double>(v.re), static_cast<double>(v.im)};
  } else {
    return static_cast<SumType<S>>(lift(v));
  }
}
template <class S>
GORGO_DEVICE S narrow(SumType<S> v) {
  if constexpr (kIsComplex<S>) {
    using T = decltype(S::re);
    return {static_cast<T>(v.re), static_cast<T>(v.im)};
  } else {
    return lower<S>(v);
  }
}
GORGO_DEVICE ComplexOf<double> plus(ComplexOf<double> a, ComplexOf<double> b) { return {a.re + b.re, a.im + b.im}; }
GORGO_DEVICE ComplexOf<double> times(ComplexOf<double> a, ComplexOf<double> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class T>
GORGO_DEVICE T plus(T a, T b) {
  return a + b;
}
template <class T>
GORGO_DEVICE T times(T a, T b) {
  return a * b;
}

// m 2**e: m is zero, infinite, NaN, or has a magnitude in [1, 2).
struct Scaled {
  double m;
  int64_t e;
};
GORGO_DEVICE Scaled scaled(double v) {
  int high = __double2hiint(v);
  int exponent = (high >> 20) & 0x7ff;
  if (exponent == 0x7ff || v == 0.0) return {v, 0};
  int64_t e = -1023;
  if (exponent == 0) {  // subnormal
    v *= 0x1p54;
    high = __double2hiint(v);
    exponent = (high >> 20) & 0x7ff;
    e -= 54;
  }
  return {__hiloint2double((high & static_cast<int>(0x800fffffu)) | 0x3ff00000, __double2loint(v)), e + exponent};
}
GORGO_DEVICE Scaled times(Scaled a, Scaled b) {
  Scaled r{a.m * b.m, a.e + b.e};
  if (fabs(r.m) >= 2.0 && fabs(r.m) <= 4.0) {
    r.m *= 0.5;
    ++r.e;
  }
  return r;
}
// v 2**e
GORGO_DEVICE double at_scale(double v, int64_t e) {
  if (e >= -1022 && e <= 1023) return v * __hiloint2double((static_cast<int>(e) + 1023) << 20, 0);
  if (v == 0.0) return v;
  return ::scalbn(v, e < -4000 ? -4000 : e > 4000 ? 4000 : static_cast<int>(e));
}

GORGO_DEVICE double product(Scaled a, double b) {
  return a.e >= -1022 && a.e <= 1023 ? at_scale(a.m, a.e) * b : at_scale(a.m * b, a.e);
}
GORGO_DEVICE ComplexOf<double> product(ComplexOf<double> a, ComplexOf<double> b) { return times(a, b); }

GORGO_DEVICE bool is_zero(double v) { return v == 0.0; }
GORGO_DEVICE bool is_zero(Scaled v) { return v.m == 0.0; }
GORGO_DEVICE bool is_zero(ComplexOf<double> v) { return v.re == 0.0 && v.im == 0.0; }

// Where results go, one for each element.
template <class Policy, class S>
struct Into {
  S* to;
  GORGO_DEVICE void put(int64_t at, const typename Policy::State& s) const { to[at] = Policy::result(s); }
};

template <class S>
struct SumScan {
  using Storage = S;
  using State = SumType<S>;
  using Out = Into<SumScan, S>;
  static constexpr int kInputs = 1;
  static constexpr bool kPacks = true;
  GORGO_DEVICE static State neutral() { return widen(S{}); }
  GORGO_DEVICE static State of(const S (&v)[1], int64_t) { return widen(v[0]); }
  GORGO_DEVICE static State combine(State a, State b) { return plus(a, b); }
  GORGO_DEVICE static S result(State s) { return narrow<S>(s); }
};

template <class S>
struct ProductScan {
  static constexpr bool kIsReal = std::is_same_v<SumType<S>, double>;
  using Storage = S;
  using State = std::conditional_t<kIsReal, Scaled, SumType<S>>;
  using Out = Into<ProductScan, S>;
  static constexpr int kInputs = 1;
  static constexpr bool kPacks = true;
  GORGO_DEVICE static State neutral() {
    if constexpr (kIsReal) {
      return {1.0, 0};
    } else if constexpr (kIsComplex<S>) {
      return {1.0, 0.0};
    } else {
      return State{1};
    }
  }
  GORGO_DEVICE static State of(const S (&v)[1], int64_t) {
    if constexpr (kIsReal) {
      return scaled(widen(v[0]));
    } else {
      return widen(v[0]);
    }
  }
  GORGO_DEVICE static State combine(State a, State b) { return times(a, b); }
  GORGO_DEVICE static S result(State s) {
    if constexpr (kIsReal) {
      return narrow<S>(at_scale(s.m, s.e));
    } else {
      return narrow<S>(s);
    }
  }
};

// h[i] = a[i] h[i - 1] + b[i] (the parallel form is Blelloch's, "Prefix sums and their applications", 1990): of several steps, what h is multiplied by, and what is added.
template <class Factor, class Term>
struct Steps {
  Factor a;
  Term b;
};
template <class S>
struct LinearScan {
  static constexpr bool kIsReal = std::is_same_v<SumType<S>, double>;
  using Storage = S;
  using Term = SumType<S>;
  using Factor = std::conditional_t<kIsReal, Scaled, Term>;
  using State = Steps<Factor, Term>;
  using Out = Into<LinearScan, S>;
  static constexpr int kInputs = 2;
  static constexpr bool kPacks = true;
  GORGO_DEVICE static State neutral() {
    if constexpr (kIsReal) {
      return {{1.0, 0}, 0.0};
    } else {
      return {{1.0, 0.0}, {0.0, 0.0}};
    }
  }
  // There is nothing before the first element: its factor is not looked at.
  GORGO_DEVICE static State of(const S (&v)[2], int64_t position) {
    const Term a = position == 0 ? Term{} : widen(v[0]);
    if constexpr (kIsReal) {
      return {scaled(a), widen(v[1])};
    } else {
      return {a, widen(v[1])};
    }
  }
  // A factor of zero forgets what was before, whatever follows; and where nothing was added yet (as in neutral()) nothing is
  // multiplied: a factor may be infinite.
  GORGO_DEVICE static State combine(const State& x, const State& y) {
    if (is_zero(x.b) && !is_zero(x.a)) return {times(x.a, y.a), y.b};
    return {is_zero(x.a) ? x.a : times(x.a, y.a), plus(product(y.a, x.b), y.b)};
  }
  GORGO_DEVICE static S result(const State& s) { return narrow<S>(s.b); }
};

// The greatest so far, and the sum of exponentials of differences from it.
struct LogSum {
  double top;
  double sum;
};
template <class S>
struct LogSumScan {
  using Storage = S;
  using State = LogSum;
  using Out = Into<LogSumScan, S>;
  static constexpr int kInputs = 1;
  static constexpr bool kPacks = true;
  GORGO_DEVICE static double nothing() { return -__longlong_as_double(0x7ff0000000000000ll); }
  GORGO_DEVICE static State neutral() { return {nothing(), 0.0}; }
  GORGO_DEVICE static State of(const S (&v)[1], int64_t) {
    const auto x = static_cast<double>(lift(v[0]));
    return {x, x == nothing() ? 0.0 : 1.0};
  }
  GORGO_DEVICE static State combine(const State& a, const State& b) {
    const double top = larger(a.top, b.top);
    // Equal infinities have no difference.
    const double share = ::exp((a.top == top ? b.top : a.top) - top);
    const double of_a = a.top == top ? a.sum : a.sum * share;
    const double of_b = b.top == top ? b.sum : b.sum * share;
    return {top, of_a + of_b};
  }
  GORGO_DEVICE static S result(const State& s) { return lower<S>(s.top == nothing() ? s.top : s.top + ::log(s.sum)); }
};

int64_t axis_of(const CumulativeAttrs& a) noexcept { return a.axis.has ? a.axis.value : 0; }
int64_t axis_of(const ScanAttrs& a) noexcept { return a.axis; }
int64_t initial_of(const CumulativeAttrs& a) noexcept { return a.include_initial ? 1 : 0; }
int64_t initial_of(const ScanAttrs&) noexcept { return 0; }

template <class Policy, class Attrs>
void run(const KernelArgs& args, int64_t) noexcept {
  const auto& attrs = args.attrs_as<Attrs>();
  run_scan<Policy>(args, axis_of(attrs), initial_of(attrs), {args.out[0].as<typename Policy::Storage>()});
}
template <class Policy, class Attrs>
size_t scratch(const KernelArgs& args) noexcept {
  if (args.out[0].numel == 0) return 0;
  return ScanPlan<Policy::kInputs>(args, axis_of(args.attrs_as<Attrs>())).scratch_bytes(sizeof(typename Policy::State));
}

template <class S>
void add_sums(KernelSink& sink, DType d) {
  add(sink, "cumulative_sum", d, run<SumScan<S>, CumulativeAttrs>, scratch<SumScan<S>, CumulativeAttrs>);
  add(sink, "cumulative_prod", d, run<ProductScan<S>, CumulativeAttrs>, scratch<ProductScan<S>, CumulativeAttrs>);
}
template <class S>
void add_linear(KernelSink& sink, DType d) {
  add(sink, "linear_scan", d, run<LinearScan<S>, ScanAttrs>, scratch<LinearScan<S>, ScanAttrs>);
}
template <class S>
void add_real(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add_sums<S>(sink, d);
  add_linear<S>(sink, d);
  add(sink, "logcumsumexp", d, run<LogSumScan<S>, ScanAttrs>, scratch<LogSumScan<S>, ScanAttrs>);
}

}  // namespace

void fill_scan(KernelSink& sink);
void fill_scan(KernelSink& sink) {
  // Integers wrap, so their signs make no difference.
  add_sums<uint8_t>(sink, DType::UInt8);
  add_sums<uint8_t>(sink, DType::Int8);
  add_sums<uint16_t>(sink, DType::UInt16);
  add_sums<uint16_t>(sink, DType::Int16);
  add_sums<uint32_t>(sink, DType::UInt32);
  add_sums<uint32_t>(sink, DType::Int32);
  add_sums<uint64_t>(sink, DType::UInt64);
  add_sums<uint64_t>(sink, DType::Int64);
  add_real<float>(sink);
  add_real<double>(sink);
  add_real<BFloat16>(sink);
  add_real<Float16>(sink);
  add_sums<ComplexOf<float>>(sink, DType::Complex64);
  add_sums<ComplexOf<double>>(sink, DType::Complex128);
  add_linear<ComplexOf<float>>(sink, DType::Complex64);
  add_linear<ComplexOf<double>>(sink, DType::Complex128);
  fill_scan_extremes(sink);
}

}  // namespace gorgo::cuda

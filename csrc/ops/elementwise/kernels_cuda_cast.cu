// astype: between any two dtypes, through what they are computed in.
//
// Invariant: as on the CPU, floats beyond an integer's range take the nearest end of int32, int64 or uint64 and then wrap, and NaN
// becomes 0; half types are rounded once, from whatever dtype.
// Read next: kernels/cuda/granules.cuh.
#include <initializer_list>

#include "kernels/cuda/copy.cuh"
#include "kernels/cuda/granules.cuh"

namespace gorgo::cuda {
namespace {

template <class To, class From>
GORGO_DEVICE To converted(From x) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (x != x) return 0;
    if constexpr (std::is_same_v<From, float>) {
      if constexpr (std::is_same_v<To, int32_t>) return __float2int_rz(x);
      if constexpr (std::is_same_v<To, int64_t>) return __float2ll_rz(x);
      if constexpr (std::is_same_v<To, uint64_t>) return __float2ull_rz(x);
    } else {
      if constexpr (std::is_same_v<To, int32_t>) return __double2int_rz(x);
      if constexpr (std::is_same_v<To, int64_t>) return __double2ll_rz(x);
      if constexpr (std::is_same_v<To, uint64_t>) return __double2ull_rz(x);
    }
  } else {
    return static_cast<To>(x);
  }
}
template <class T>
GORGO_DEVICE T real_of(Lane<T> x) {
  return x.v;
}
template <class T>
GORGO_DEVICE T real_of(Complex<T> x) {
  return x.re;
}
template <class T>
GORGO_DEVICE T imaginary_of(Lane<T>) {
  return T{0};
}
template <class T>
GORGO_DEVICE T imaginary_of(Complex<T> x) {
  return x.im;
}

template <class T>
struct PartOf {
  using Type = T;
};
template <class T>
struct PartOf<Complex<T>> {
  using Type = T;
};

template <class To, class From>
struct CastLoop {
  using In = From;
  using Out = To;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 2;
  GORGO_DEVICE void operator()(LaneOf<To> (&y)[1], const LaneOf<From> (&x)[1]) const {
    if constexpr (IsComplexNumber<To>::value && IsComplexNumber<From>::value) {
      using T = typename PartOf<To>::Type;
      y[0] = {static_cast<T>(real_of(x[0])), static_cast<T>(imaginary_of(x[0]))};
    } else if constexpr (IsComplexNumber<To>::value) {
      using T = typename PartOf<To>::Type;
      y[0] = {static_cast<T>(real_of(x[0])), T{0}};
    } else {
      y[0] = {converted<To>(real_of(x[0]))};
    }
  }
};
// Anything but zero is true; NaN is.
template <class From>
struct TruthLoop {
  using In = From;
  using Out = bool;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 2;
  GORGO_DEVICE void operator()(Truth (&y)[1], const LaneOf<From> (&x)[1]) const {
    y[0] = {real_of(x[0]) != 0 || imaginary_of(x[0]) != 0};
  }
};
// To float by way of float64, rounded so that a second rounding to a half type is right: what is lost makes the last bit odd.
template <class From>
struct OddLoop {
  using In = From;
  using Out = float;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 2;
  GORGO_DEVICE void operator()(Lane<float> (&y)[1], const LaneOf<From> (&x)[1]) const {
    const auto exact = static_cast<double>(real_of(x[0]));
    // Towards zero, and then the last bit set where anything was cut off; a value beyond all floats stays below infinity.
    const float cut = __double2float_rz(exact);
    const bool lost = static_cast<double>(cut) != exact && exact == exact;
    y[0] = {lost ? __uint_as_float(__float_as_uint(cut) | 1u) : cut};
  }
};

template <class F>
void run(const KernelArgs& args) noexcept {
  run_granules(args, {&args.out[0], &args.in[0]}, F{});
}

// `From` is what the operand is computed in.
template <class From>
void run_cast(const KernelArgs& args, int64_t) noexcept {
  const DType to = args.out[0].dtype;
  if (args.in[0].dtype == to) return copy_operand(args, args.out[0], args.in[0]);
  switch (to) {
    case DType::Bool:
      return run<TruthLoop<From>>(args);
    case DType::UInt8:
    case DType::UInt16:
    case DType::Int8:
    case DType::Int16:
    case DType::Int32:
      return run<CastLoop<int32_t, From>>(args);
    case DType::UInt32:
    case DType::Int64:
      return run<CastLoop<int64_t, From>>(args);
    case DType::UInt64:
      return run<CastLoop<uint64_t, From>>(args);
    case DType::Float16:
    case DType::BFloat16:
      if constexpr (!std::is_same_v<From, float> && !std::is_same_v<From, Complex<float>>) {
        return run<OddLoop<From>>(args);
      } else {
        return run<CastLoop<float, From>>(args);
      }
    case DType::Float32:
      return run<CastLoop<float, From>>(args);
    case DType::Float64:
      return run<CastLoop<double, From>>(args);
    case DType::Complex64:
      return run<CastLoop<Complex<float>, From>>(args);
    case DType::Complex128:
      return run<CastLoop<Complex<double>, From>>(args);
  }
}

}  // namespace

void fill_elementwise_cast(KernelSink& sink) {
  const auto fill = [&](Launcher run, std::initializer_list<DType> dtypes) {
    for (const DType d : dtypes) add(sink, "astype", d, run);
  };
  fill(run_cast<int32_t>, {DType::Bool, DType::UInt8, DType::UInt16, DType::Int8, DType::Int16, DType::Int32});
  fill(run_cast<int64_t>, {DType::UInt32, DType::Int64});
  fill(run_cast<uint64_t>, {DType::UInt64});
  fill(run_cast<float>, {DType::Float16, DType::BFloat16, DType::Float32});
  fill(run_cast<double>, {DType::Float64});
  fill(run_cast<Complex<float>>, {DType::Complex64});
  fill(run_cast<Complex<double>>, {DType::Complex128});
}

}  // namespace gorgo::cuda

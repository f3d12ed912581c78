// Elementwise ops that are no functor of functors.h: copies, selection, clip, polygamma, parts of complex numbers.
// Read next: kernels/cuda/copy.cuh, kernels_cuda_cast.cu.
#include "kernels/cuda/copy.cuh"
#include "ops/elementwise/loops.cuh"

namespace gorgo::cuda {
namespace {

void run_copy(const KernelArgs& args, int64_t) noexcept { copy_operand(args, args.out[0], args.in[0]); }

// ---- where ----

// By element size: no value is looked at but the condition's.
template <int Bytes>
struct WhereLoop {
  using In = Bits<Bytes>;
  using Out = Bits<Bytes>;
  static constexpr int kIn = 3;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 2;
  GORGO_DEVICE void operator()(LaneOf<Out> (&y)[1], const LaneOf<In> (&x)[3]) const {
    bool holds = false;
    if constexpr (Bytes == 16) {
      holds = x[0].v.low != 0;
    } else {
      holds = x[0].v != 0;
    }
    y[0] = holds ? x[1] : x[2];
  }
};
template <int Bytes>
void run_where(const KernelArgs& args, int64_t) noexcept {
  run_granules(args, {&args.out[0], &args.in[0], &args.in[1], &args.in[2]}, WhereLoop<Bytes>{});
}

// ---- clip ----

template <class C>
struct ClipLoop {
  using In = C;
  using Out = C;
  static constexpr int kIn = 3;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 2;
  GORGO_DEVICE void operator()(LaneOf<C> (&y)[1], const LaneOf<C> (&x)[3]) const {
    y[0] = minimum(maximum(x[0], x[1]), x[2]);
  }
};
// What is within its bounds passes the gradient on.
template <class C>
struct ClipBackwardLoop {
  using In = C;
  using Out = C;
  static constexpr int kIn = 4;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 2;
  GORGO_DEVICE void operator()(LaneOf<C> (&y)[1], const LaneOf<C> (&x)[4]) const {
    y[0] = select((x[1] >= x[2]) & (x[1] <= x[3]), x[0], like(x[0], 0.0));
  }
};
// A bound that is not given: the smallest or the largest number of C.
template <class C>
struct Bound {
  C value{};
  KOperand operand;
  const KOperand* over(const KOperand& given, bool high) noexcept {
    using Limits = std::numeric_limits<C>;
    if (given.given) return &given;
    if constexpr (std::is_floating_point_v<C>) {
      value = high ? Limits::infinity() : -Limits::infinity();
    } else {
      value = high ? Limits::max() : Limits::lowest();
    }
    operand.data = &value;
    operand.numel = 1;
    operand.dtype = kDTypeOf<C>;
    operand.scalar = true;
    operand.host = true;
    return &operand;
  }
};
template <class C>
void run_clip(const KernelArgs& args, int64_t) noexcept {
  Bound<C> low;
  Bound<C> high;
  run_granules(args, {&args.out[0], &args.in[0], low.over(args.in[1], false), high.over(args.in[2], true)},
               ClipLoop<C>{});
}
template <class C>
void run_clip_backward(const KernelArgs& args, int64_t) noexcept {
  Bound<C> low;
  Bound<C> high;
  run_granules(args, {&args.out[0], &args.in[0], &args.in[1], low.over(args.in[2], false), high.over(args.in[3], true)},
               ClipBackwardLoop<C>{});
}

// ---- polygamma ----

template <class C>
struct PolygammaLoop {
  using In = C;
  using Out = C;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 1;
  Polygamma polygamma;
  GORGO_DEVICE void operator()(LaneOf<C> (&y)[1], const LaneOf<C> (&x)[1]) const {
    y[0] = {static_cast<C>(polygamma(static_cast<double>(x[0].v)))};
  }
};
template <class C>
void run_polygamma(const KernelArgs& args, int64_t) noexcept {
  run_granules(args, {&args.out[0], &args.in[0]}, PolygammaLoop<C>{Polygamma(args.attrs_as<PolygammaAttrs>().n)});
}

// ---- nextafter of the half types, whose neighbours are not those of the floats they are widened to ----

template <class S>
struct HalfNextafterLoop {
  using In = Bits<2>;
  using Out = Bits<2>;
  static constexpr int kIn = 2;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 1;
  static GORGO_DEVICE float value(Bits<2> x) {
    return std::is_same_v<S, Float16> ? float_of_half_bits(x.v) : float_of_bfloat_bits(x.v);
  }
  GORGO_DEVICE void operator()(LaneOf<Out> (&y)[1], const LaneOf<In> (&x)[2]) const {
    const float from = value(x[0]);
    const float towards = value(x[1]);
    if (from != from || towards == from) {
      y[0] = from != from ? x[0] : x[1];
    } else if (towards != towards) {
      y[0] = x[1];
    } else if (from == 0) {
      y[0].v = static_cast<uint16_t>((x[1].v & 0x8000u) | 1u);
    } else {
      const bool outwards = (from < towards) == (from > 0);
      y[0].v = static_cast<uint16_t>(x[0].v + (outwards ? 1 : -1));
    }
  }
};
template <class S>
void run_half_nextafter(const KernelArgs& args, int64_t) noexcept {
  run_granules(args, {&args.out[0], &args.in[0], &args.in[1]}, HalfNextafterLoop<S>{});
}

// ---- complex numbers ----

enum class Part : uint8_t { Magnitude, Real, Imaginary };
template <class T, Part P>
struct PartLoop {
  using In = Complex<T>;
  using Out = T;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = P == Part::Magnitude ? 1 : 2;
  GORGO_DEVICE void operator()(LaneOf<T> (&y)[1], const Complex<T> (&x)[1]) const {
    y[0].v = P == Part::Magnitude ? magnitude(x[0]) : P == Part::Real ? x[0].re : x[0].im;
  }
};
template <class T, bool Rounds>
struct WholeComplexLoop {
  using In = Complex<T>;
  using Out = Complex<T>;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 1;
  GORGO_DEVICE void operator()(Complex<T> (&y)[1], const Complex<T> (&x)[1]) const {
    y[0] = Rounds ? round(x[0]) : sign(x[0]);
  }
};
template <class F>
void run_plain(const KernelArgs& args, int64_t) noexcept {
  run_granules(args, {&args.out[0], &args.in[0]}, F{});
}

// ---- the table ----

template <class S>
void fill_moves(KernelSink& sink) {
  add(sink, "where", kDTypeOf<S>, run_where<static_cast<int>(sizeof(S))>);
  add(sink, "copy", kDTypeOf<S>, run_copy);
  if constexpr (!is_complex(kDTypeOf<S>) && !std::is_same_v<S, bool>) add(sink, "real", kDTypeOf<S>, run_copy);
}
template <class C>
void fill_clip(KernelSink& sink) {
  add_class<C>(sink, "clip", run_clip<C>);
  if constexpr (std::is_floating_point_v<C>) {
    add_class<C>(sink, "clip_backward", run_clip_backward<C>);
    add_class<C>(sink, "polygamma", run_polygamma<C>);
  }
}
template <class T>
void fill_complex(KernelSink& sink, DType dtype) {
  add(sink, "abs", dtype, run_plain<PartLoop<T, Part::Magnitude>>);
  add(sink, "real", dtype, run_plain<PartLoop<T, Part::Real>>);
  add(sink, "imag", dtype, run_plain<PartLoop<T, Part::Imaginary>>);
  add(sink, "sign", dtype, run_plain<WholeComplexLoop<T, false>>);
  add(sink, "round", dtype, run_plain<WholeComplexLoop<T, true>>);
}

}  // namespace

void fill_elementwise_moves(KernelSink& sink) {
#define GORGO_X(name, type, text) fill_moves<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
  fill_clip<float>(sink);
  fill_clip<double>(sink);
  fill_clip<int32_t>(sink);
  fill_clip<int64_t>(sink);
  fill_clip<uint64_t>(sink);
  fill_complex<float>(sink, DType::Complex64);
  fill_complex<double>(sink, DType::Complex128);
  // In place of the float table's, so this comes after it.
  add(sink, "nextafter", DType::Float16, run_half_nextafter<Float16>);
  add(sink, "nextafter", DType::BFloat16, run_half_nextafter<BFloat16>);
}

}  // namespace gorgo::cuda

// Elementwise kernels that are no functor: copies, casts, selection, clip, polygamma, complex parts.
//
// Read next: loops_cpu.h, staging.h.
#include "kernels/gamma.h"
#include "ops/elementwise/attrs.h"
#include "ops/elementwise/loops_cpu.h"
#include "ops/elementwise/transposed.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// ---- where ----

// where of elements of 16 bytes.
void where_loop_16(const void* const* in, void* const* out, int64_t n) noexcept {
  const auto* m = static_cast<const bool*>(in[0]);
  for (int64_t i = 0; i < n; ++i) {
    const auto* from = static_cast<const unsigned char*>(m[i] ? in[1] : in[2]);
    std::memcpy(static_cast<unsigned char*>(out[0]) + 16 * i, from + 16 * i, 16);
  }
}

template <int64_t Size>
void run_where(const KernelArgs& args, int64_t task) noexcept {
  if constexpr (Size == 16) {
    run_shared<3, 1, true, true>(args, task, where_loop_16);
  } else {
    run_shared<3, 1, true, true>(args, task, where_loop<typename IntOfBytes<Size>::Unsigned>);
  }
}

// ---- copy ----

void run_move(const KernelArgs& args, int64_t task) noexcept {
  const KOperand& in = args.in[0];
  const KOperand& out = args.out[0];
  const int64_t size = dtype_size(out.dtype);
  const int64_t begin = task * kTaskElements;
  const int64_t end = out.numel - begin < kTaskElements ? out.numel : begin + kTaskElements;
  if (begin >= end) return;
  auto* to = static_cast<unsigned char*>(out.data) + begin * size;
  if (out.contiguous && in.contiguous && in.numel == out.numel) {
    std::memmove(to, static_cast<const unsigned char*>(in.data) + begin * size,
                 static_cast<size_t>((end - begin) * size));
    return;
  }
  Walker from;
  from.start(in, out, size, begin);
  if (out.contiguous) {
    from.gather(to, end - begin);
    return;
  }
  Walker into;
  into.start(out, out, size, begin);
  Buffer buffer;
  for (int64_t i = begin; i < end; i += kChunk) {
    const int64_t n = end - i < kChunk ? end - i : kChunk;
    from.gather(buffer.bytes, n);
    into.scatter(buffer.bytes, n);
  }
}

// Shapes alone tell whether a copy is transposed, and so how many tasks it has.
void run_copy(const KernelArgs& args, int64_t task) noexcept {
  if (args.in[0].contiguous) return run_move(args, task);
  const TransposePlan plan(args.in[0], args.out[0]);
  if (!plan.applies) return run_move(args, task);
  run_transposed(plan, args, task);
}
int64_t copy_tasks(const KernelArgs& args) noexcept {
  if (args.in[0].contiguous) return tasks_of(args);
  const TransposePlan plan(args.in[0], args.out[0]);
  return plan.applies ? plan.tasks() : tasks_of(args);
}

// ---- astype ----

template <class To, class From>
void convert_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  const auto* from = static_cast<const From*>(in[0]);
  auto* to = static_cast<To*>(out[0]);
  if constexpr (kIsComplexElement<From> || kIsComplexElement<To>) {
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (kIsComplexElement<From> && kIsComplexElement<To>) {
        to[i] = {static_cast<typename To::Part>(from[i].re), static_cast<typename To::Part>(from[i].im)};
      } else if constexpr (kIsComplexElement<To>) {
        to[i] = {static_cast<typename To::Part>(from[i]), 0};
      } else {
        using Part = typename From::Part;
        to[i] = convert<To>(broadcast<Vec<Part>>(from[i].re)).raw[0];
      }
    }
  } else {
    constexpr int kLanes = lanes_for<From, To>();
    for (int64_t i = 0; i < n; i += kLanes) {
      const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
      put<kLanes>(to + i, convert<To>(get<From, kLanes, 1>(from + i, count)), count);
    }
  }
}
// float64 to float32, rounded so that a second rounding to a half type is right: what is lost makes the last bit odd.
void odd_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  const auto* from = static_cast<const double*>(in[0]);
  auto* to = static_cast<float*>(out[0]);
  for (int64_t i = 0; i < n; ++i) {
    const double x = from[i];
    float nearest = static_cast<float>(x);
    if (static_cast<double>(nearest) != x && x == x) {
      uint32_t bits = 0;
      std::memcpy(&bits, &nearest, sizeof bits);
      const bool above = (static_cast<double>(nearest) > x) == (x > 0);
      if (above) --bits;  // back towards zero; from infinity to the largest number
      bits |= 1;
      std::memcpy(&nearest, &bits, sizeof bits);
    }
    to[i] = nearest;
  }
}

template <class From>
Loop loop_to(Class to) noexcept {
  switch (to) {
    case Class::Int32:
      return convert_loop<int32_t, From>;
    case Class::Int64:
      return convert_loop<int64_t, From>;
    case Class::UInt64:
      return convert_loop<uint64_t, From>;
    case Class::Float32:
      return convert_loop<float, From>;
    case Class::Float64:
      return convert_loop<double, From>;
    case Class::Complex64:
      return convert_loop<Complex<float>, From>;
    default:
      return convert_loop<Complex<double>, From>;
  }
}
template <class F>
auto with_class(Class c, F f) noexcept {
  switch (c) {
    case Class::Int32:
      return f(TypeTag<int32_t>{});
    case Class::Int64:
      return f(TypeTag<int64_t>{});
    case Class::UInt64:
      return f(TypeTag<uint64_t>{});
    case Class::Float32:
      return f(TypeTag<float>{});
    case Class::Float64:
      return f(TypeTag<double>{});
    case Class::Complex64:
      return f(TypeTag<Complex<float>>{});
    default:
      return f(TypeTag<Complex<double>>{});
  }
}

// Between the small integers and float32, which is how pictures and recordings come and go, at once.
#ifdef GORGO_WITH_NARROW_LANES
template <class S>
void small_to_float_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  constexpr int kLanes = lanes_for<float>();
  const auto* from = static_cast<const S*>(in[0]);
  auto* to = static_cast<float*>(out[0]);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    put<kLanes>(to + i, convert<float>(convert<int32_t>(get<S, kLanes, 1>(from + i, count))), count);
  }
}
template <class S>
void float_to_small_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  constexpr int kLanes = lanes_for<float>();
  const auto* from = static_cast<const float*>(in[0]);
  auto* to = static_cast<S*>(out[0]);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    put<kLanes>(to + i, convert<S>(convert<int32_t>(get<float, kLanes, 1>(from + i, count))), count);
  }
}
Loop loop_at_once(DType from, DType to) noexcept {
  const auto one_way = [](DType small, bool to_float) -> Loop {
    switch (small) {
      case DType::Bool:
        return to_float ? small_to_float_loop<uint8_t> : nullptr;
      case DType::UInt8:
        return to_float ? small_to_float_loop<uint8_t> : float_to_small_loop<uint8_t>;
      case DType::Int8:
        return to_float ? small_to_float_loop<int8_t> : float_to_small_loop<int8_t>;
      case DType::UInt16:
        return to_float ? small_to_float_loop<uint16_t> : float_to_small_loop<uint16_t>;
      case DType::Int16:
        return to_float ? small_to_float_loop<int16_t> : float_to_small_loop<int16_t>;
      default:
        return nullptr;
    }
  };
  if (to == DType::Float32) return one_way(from, true);
  return from == DType::Float32 ? one_way(to, false) : nullptr;
}
#else
Loop loop_at_once(DType, DType) noexcept { return nullptr; }
#endif

// Whether elements are cast by copying their bits, as integers of one width are.
bool is_copy(DType from, DType to) noexcept {
  if (from == to) return true;
  return is_integer(to) && (is_integer(from) || from == DType::Bool) && dtype_size(from) == dtype_size(to);
}
int64_t cast_tasks(const KernelArgs& args) noexcept {
  return is_copy(args.in[0].dtype, args.out[0].dtype) ? copy_tasks(args) : tasks_of(args);
}

// Storage to compute type, compute type to compute type, compute type to storage: each step only where it is needed. The first
// reads the operand and the last writes the result, where these are dense.
class Cast {
 public:
  Cast(DType in, DType out) noexcept {
    const Class from = class_of(in);
    const Class to = class_of(out);
    const bool to_half = out == DType::Float16 || out == DType::BFloat16;
    largest_ = class_bytes(from) > class_bytes(to) ? class_bytes(from) : class_bytes(to);
    const auto loop_between = [](Class a, Class b) {
      return with_class(a, [b]<class T>(TypeTag<T>) { return loop_to<T>(b); });
    };
    if (const Loop loop = loop_at_once(in, out); loop != nullptr) {
      add(loop);
      return;
    }
    add(widening(in));
    if (out == DType::Bool) {
      add(with_class(from, []<class T>(TypeTag<T>) -> Loop { return truth_loop<T>; }));
      return;
    }
    if (to_half && from != Class::Float32 && from != Class::Complex64) {
      if (from != Class::Float64) add(loop_between(from, Class::Float64));
      add(odd_loop);
      largest_ = largest_ > 8 ? largest_ : 8;
    } else if (from != to) {
      add(loop_between(from, to));
    }
    add(narrowing(out));
  }
  [[nodiscard]] int64_t chunk() const noexcept { return chunk_of(largest_); }
  void run(const void* from, void* to, int64_t n) noexcept {
    for (int i = 0; i < count_; ++i) {
      void* const target = i + 1 == count_ ? to : between_[i % 2].bytes;
      const Step& step = steps_[i];
      if (step.conversion != nullptr) {
        step.conversion(from, target, n);
      } else {
        step.loop(&from, &target, n);
      }
      from = target;
    }
  }

 private:
  struct Step {
    Conversion conversion;
    Loop loop;  // where it is no conversion
  };
  void add(Conversion conversion) noexcept {
    if (conversion != nullptr) steps_[count_++] = {conversion, nullptr};
  }
  void add(Loop loop) noexcept { steps_[count_++] = {nullptr, loop}; }

  int count_ = 0;
  int64_t largest_;
  Step steps_[4];
  Buffer between_[2];
};
void run_cast(const KernelArgs& args, int64_t task) noexcept {
  const KOperand& in = args.in[0];
  const KOperand& out = args.out[0];
  if (is_copy(in.dtype, out.dtype)) return run_copy(args, task);
  Cast cast(in.dtype, out.dtype);
  const KOperand* const inputs[] = {&in};
  Reader reader;
  Writer writer;
  const auto visit = [](void* self, const void* const* from, void* const* to, int64_t n) noexcept {
    static_cast<Cast*>(self)->run(from[0], to[0], n);
  };
  run_chunks({inputs, &reader, 1, &out, &writer, 1, true, cast.chunk()}, task, {.visit = visit, .self = &cast});
}

// ---- complex to real ----

// Squares of floats are summed in float64, and the root of what fits float32 is taken there.
void magnitude_floats(const void* const* in, void* const* out, int64_t n) noexcept {
  using V = Vec<float>;
  constexpr int kLanes = V::kLanes;
  const auto* from = static_cast<const float*>(in[0]);
  auto* to = static_cast<float*>(out[0]);
  const auto magnitude_of = [](V low, V high) __attribute__((always_inline)) {
    using Z = Zip<float, kLanes>;
    const V re{Z::even(low.raw, high.raw)};
    const V im{Z::odd(low.raw, high.raw)};
    const V squares =
        through_float64([](auto u, auto v) __attribute__((always_inline)) { return u * u + v * v; }, re, im);
    const auto usual = (squares > broadcast<V>(0x1p-100f)) & (squares < broadcast<V>(FloatBits<float>::kInfinity));
    return __builtin_expect(all(usual), 1) ? sqrt(squares) : select(usual, sqrt(squares), hypot(re, im));
  };
  for (int64_t i = 0; i < n; i += kLanes, from += 2 * kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    V low = broadcast<V>(0.0F);
    V high = low;
    if (__builtin_expect(count == kLanes, 1)) {
      low = load_raw<V>(from);
      high = load_raw<V>(from + kLanes);
    } else {
      const int parts = 2 * count;
      low = load_raw_partial<V>(from, parts < kLanes ? parts : kLanes);
      if (parts > kLanes) high = load_raw_partial<V>(from + kLanes, parts - kLanes);
    }
    put<kLanes>(to + i, magnitude_of(low, high), count);
  }
}
template <class T>
void magnitude_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto x) __attribute__((always_inline)) { return magnitude(x); }, n, static_cast<T*>(out[0]),
       static_cast<const Complex<T>*>(in[0]));
}
template <class T>
void real_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto x) __attribute__((always_inline)) { return x.re; }, n, static_cast<T*>(out[0]),
       static_cast<const Complex<T>*>(in[0]));
}
template <class T>
void imag_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto x) __attribute__((always_inline)) { return x.im; }, n, static_cast<T*>(out[0]),
       static_cast<const Complex<T>*>(in[0]));
}
template <class T>
void sign_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto x) __attribute__((always_inline)) { return sign(x); }, n, static_cast<Complex<T>*>(out[0]),
       static_cast<const Complex<T>*>(in[0]));
}
template <class T>
void round_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto x) __attribute__((always_inline)) { return Complex<T>{round(x.re), round(x.im)}; }, n,
       static_cast<Complex<T>*>(out[0]), static_cast<const Complex<T>*>(in[0]));
}
template <Loop L>
void run_complex(const KernelArgs& args, int64_t task) noexcept {
  run_shared<1, 1, false, true>(args, task, L);
}

// ---- clip ----

// The smallest and the largest number of a dtype, which stand for a bound that is not given.
template <class S>
S end_of(bool high) noexcept {
  if constexpr (std::is_integral_v<S>) {
    constexpr int kBits = sizeof(S) * 8 - (std::is_signed_v<S> ? 1 : 0);
    constexpr S kMax = static_cast<S>(~std::uint64_t{0} >> (64 - kBits));
    return high ? kMax : static_cast<S>(std::is_signed_v<S> ? -kMax - 1 : 0);
  } else {
    constexpr float kInfinity = __builtin_inff();
    return S(high ? kInfinity : -kInfinity);
  }
}
// The operands from `first` on are bounds; T is what the loop computes in.
template <class S, class T, int In, int Out>
void run_bounded(const KernelArgs& args, int64_t task, int first, Loop loop) noexcept {
  const S ends[2] = {end_of<S>(false), end_of<S>(true)};
  KOperand in[In];
  for (int i = 0; i < In; ++i) {
    in[i] = args.in[i];
    if (in[i].given) continue;
    in[i] = KOperand{};
    in[i].data = const_cast<S*>(&ends[i - first]);  // inputs are only read
    in[i].numel = 1;
    in[i].dtype = kDTypeOf<S>;
  }
  KernelArgs bounded = args;
  bounded.in = in;
  run_shared<In, Out, !std::is_same_v<T, ComputeOf<S>>, sizeof(T) == sizeof(S)>(bounded, task, loop);
}

template <class S>
void run_clip(const KernelArgs& args, int64_t task) noexcept {
#ifdef GORGO_WITH_NARROW_LANES
  using T = std::conditional_t<std::is_integral_v<S> && sizeof(S) < 4, S, ComputeOf<S>>;
#else
  using T = ComputeOf<S>;
#endif
  run_bounded<S, T, 3, 1>(args, task, 1, clip_loop<T>);
}
// What is within its bounds passes the gradient on.
template <class T>
void clip_backward_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto g, auto x, auto low, auto high)
           __attribute__((always_inline)) { return select((x >= low) & (x <= high), g, like(g, 0.0)); },
       n, static_cast<T*>(out[0]), static_cast<const T*>(in[0]), static_cast<const T*>(in[1]),
       static_cast<const T*>(in[2]), static_cast<const T*>(in[3]));
}
template <class S>
void run_clip_backward(const KernelArgs& args, int64_t task) noexcept {
  run_bounded<S, ComputeOf<S>, 4, 1>(args, task, 2, clip_backward_loop<ComputeOf<S>>);
}

// ---- polygamma ----

template <class S>
void run_polygamma(const KernelArgs& args, int64_t task) noexcept {
  using T = ComputeOf<S>;
  Polygamma polygamma(args.attrs_as<PolygammaAttrs>().n);
  const KOperand* const inputs[] = {&args.in[0]};
  Reader reader;
  Writer writer;
  const auto visit = [](void* self, const void* const* in, void* const* out, int64_t n) noexcept {
    const auto& of = *static_cast<const Polygamma*>(self);
    const auto* from = static_cast<const T*>(in[0]);
    auto* to = static_cast<T*>(out[0]);
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(of(static_cast<double>(from[i])));
  };
  run_chunks({inputs, &reader, 1, args.out, &writer, 1, false, kChunk}, task, {.visit = visit, .self = &polygamma});
}

// ---- the table ----

template <class S>
void fill_moves(KernelSink& sink) {
  add(sink, "where", kDTypeOf<S>, run_where<static_cast<int64_t>(sizeof(S))>);
  sink.add("copy", kDTypeOf<S>, Kernel::of({run_copy, copy_tasks}));
  sink.add("astype", kDTypeOf<S>, Kernel::of({run_cast, cast_tasks}));
  if constexpr (!kIsComplexElement<typename ElementOf<S>::Type> && !std::is_same_v<S, bool>) {
    sink.add("real", kDTypeOf<S>, Kernel::of({run_copy, copy_tasks}));
  }
}
template <class S>
void fill_clip(KernelSink& sink) {
  add(sink, "clip", kDTypeOf<S>, run_clip<S>);
  if constexpr (!std::is_integral_v<S>) {
    add(sink, "clip_backward", kDTypeOf<S>, run_clip_backward<S>);
    add(sink, "polygamma", kDTypeOf<S>, run_polygamma<S>);
  }
}
template <class T>
void fill_complex(KernelSink& sink, DType dtype) {
  if constexpr (sizeof(T) == 8) add(sink, "abs", dtype, run_complex<magnitude_loop<T>>);
  add(sink, "real", dtype, run_complex<real_loop<T>>);
  add(sink, "imag", dtype, run_complex<imag_loop<T>>);
  add(sink, "sign", dtype, run_complex<sign_loop<T>>);
  add(sink, "round", dtype, run_complex<round_loop<T>>);
}

}  // namespace

void fill_elementwise_moves(KernelSink& sink) {
  add(sink, "abs", DType::Complex64, run_complex<magnitude_floats>);
#define GORGO_X(name, type, text) fill_moves<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
  fill_clip<int32_t>(sink);
  fill_clip<int64_t>(sink);
  fill_clip<Float16>(sink);
  fill_clip<BFloat16>(sink);
  fill_clip<float>(sink);
  fill_clip<double>(sink);
#ifdef GORGO_WITH_RARE_DTYPES
  fill_clip<uint8_t>(sink);
  fill_clip<uint16_t>(sink);
  fill_clip<uint32_t>(sink);
  fill_clip<uint64_t>(sink);
  fill_clip<int8_t>(sink);
  fill_clip<int16_t>(sink);
  fill_complex<float>(sink, DType::Complex64);
  fill_complex<double>(sink, DType::Complex128);
#endif
}

}  // namespace gorgo::GORGO_ISA_NS

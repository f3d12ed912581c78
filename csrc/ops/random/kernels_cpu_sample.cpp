// CPU kernels of the random family whose parameters are tensors: most are methods of rejection.
//
// Compiled once per ISA.
// Read next: methods.h, substream.h (where an element's numbers come from), random_sample.cpp (what each op means).
#include "kernels/math.h"
#include "kernels/move.h"
#include "kernels/radix.h"
#include "ops/random/attrs.h"
#include "ops/random/gamma_slope.h"
#include "ops/random/methods.h"
#include "ops/random/substream.h"
#include "ops/random/truncated_slope.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

// Elements per task: a multiple of the blocks that are made side by side.
constexpr int64_t kSampleGrain = 4096;
constexpr int64_t kSideBySide = kPhiloxWords / 4;

int64_t sample_tasks(const KernelArgs& args) noexcept { return (args.out[0].numel + kSampleGrain - 1) / kSampleGrain; }

// Steps through the output's shape in row-major order and says where each parameter's element lies.
template <int kCount>
class ParameterWalk {
 public:
  ParameterWalk(const KOperand& out, const KOperand* parameters, int64_t begin) noexcept : out_(out) {
    for (int32_t axis = out.rank - 1; axis >= 0; --axis) {
      index_[axis] = begin % out.shape[axis];
      begin /= out.shape[axis];
      for (int p = 0; p < kCount; ++p) {
        strides_[p][axis] = stride_along(parameters[p], out.rank, axis, out.shape[axis]);
        offset_[p] += index_[axis] * strides_[p][axis];
      }
    }
  }
  [[nodiscard]] GORGO_INLINE int64_t offset(int p) const noexcept { return offset_[p]; }
  GORGO_INLINE void next() noexcept {
    for (int32_t axis = out_.rank - 1; axis >= 0; --axis) {
      const bool wraps = ++index_[axis] == out_.shape[axis];
      const int64_t steps = wraps ? 1 - out_.shape[axis] : 1;
      for (int p = 0; p < kCount; ++p) offset_[p] += steps * strides_[p][axis];
      if (!wraps) return;
      index_[axis] = 0;
    }
  }

 private:
  const KOperand& out_;
  int64_t offset_[kCount] = {};
  int64_t index_[MovePlan::kMaxAxes];
  int64_t strides_[kCount][MovePlan::kMaxAxes];
};

// An element as float64, and float64 as an element. What is computed in between takes long enough for the dtype to be looked
// at each time, and long to compile: there is one kernel for all floating dtypes.
[[gnu::noinline]] double element_of(const KOperand& x, int64_t at) noexcept {
  switch (x.dtype) {
    case DType::Float16:
      return static_cast<double>(static_cast<float>(x.as<const Float16>()[at]));
    case DType::BFloat16:
      return static_cast<double>(static_cast<float>(x.as<const BFloat16>()[at]));
    case DType::Float32:
      return static_cast<double>(x.as<const float>()[at]);
    default:
      return x.as<const double>()[at];
  }
}
[[gnu::noinline]] void put_element(const KOperand& out, int64_t at, double value) noexcept {
  switch (out.dtype) {
    case DType::Float16:
      out.as<Float16>()[at] = Float16(static_cast<float>(value));
      return;
    case DType::BFloat16:
      out.as<BFloat16>()[at] = BFloat16(static_cast<float>(value));
      return;
    case DType::Float32:
      out.as<float>()[at] = static_cast<float>(value);
      return;
    default:
      out.as<double>()[at] = value;
      return;
  }
}

// Draws a task's elements from parameters as float64. Methods that draw bool or int64 have parameters of that dtype. A
// parameter that the method refuses is reported, and its element left zero.
template <class Method>
void sample(const KernelArgs& args, int64_t task) noexcept {
  using R = decltype(Method::draw(std::declval<Substream&>(), nullptr, false));
  constexpr bool kAnyFloat = std::is_same_v<R, double>;
  constexpr int kCount = Method::kParameters;
  const KOperand& out = args.out[0];
  const KOperand* parameters = args.in + 1;
  const PhiloxStream stream = stream_of(args.in[0]);
  bool in_log = false;
  if constexpr (std::is_same_v<Method, Gamma>) in_log = args.attrs_as<GammaAttrs>().log;
  const int64_t end = (task + 1) * kSampleGrain < out.numel ? (task + 1) * kSampleGrain : out.numel;
  ParameterWalk<kCount> walk(out, parameters, task * kSampleGrain);
  const auto put = [&](int64_t i, R value) __attribute__((always_inline)) {
    if constexpr (kAnyFloat) {
      put_element(out, i, value);
    } else {
      out.as<R>()[i] = value;
    }
  };
  for (int64_t first = task * kSampleGrain; first < end; first += kSideBySide) {
    uint32_t words[kPhiloxWords];
    philox_words(stream, static_cast<uint64_t>(first / kSideBySide), words);
    const int64_t stop = first + kSideBySide < end ? first + kSideBySide : end;
    for (int64_t i = first; i < stop; ++i, walk.next()) {
      double given[kMaxParameters] = {};
      for (int p = 0; p < kCount; ++p) {
        const int64_t at = walk.offset(p);
        given[p] = kAnyFloat ? element_of(parameters[p], at) : parameters[p].as<const double>()[at];
      }
      if (const int refused = Method::refused(given); refused != 0) [[unlikely]] {
        args.fault->report(i, refused, __builtin_bit_cast(int64_t, given[0]), __builtin_bit_cast(int64_t, given[1]));
        put(i, R{});
        continue;
      }
      Substream numbers(stream, i, words + 4 * (i - first));
      put(i, Method::draw(numbers, given, in_log));
    }
  }
}

// ---- the gradients of draws by their parameters ----

// A function of kCount operands, in float64.
template <int kCount, class F>
GORGO_INLINE void slopes(const KernelArgs& args, int64_t task, const F& f) noexcept {
  const KOperand& out = args.out[0];
  const int64_t end = (task + 1) * kSampleGrain < out.numel ? (task + 1) * kSampleGrain : out.numel;
  ParameterWalk<kCount> walk(out, args.in, task * kSampleGrain);
  for (int64_t i = task * kSampleGrain; i < end; ++i, walk.next()) {
    double given[kCount];
    for (int p = 0; p < kCount; ++p) given[p] = element_of(args.in[p], walk.offset(p));
    put_element(out, i, f(given));
  }
}
void gamma_slopes(const KernelArgs& args, int64_t task) noexcept {
  const bool in_log = args.attrs_as<GammaSlopeAttrs>().log;
  slopes<2>(args, task,
            [&](const double* x) __attribute__((always_inline)) { return gamma_slope(x[0], x[1], in_log); });
}
void truncated_slopes(const KernelArgs& args, int64_t task) noexcept {
  const bool by_high = args.attrs_as<TruncatedSlopeAttrs>().by_high;
  slopes<3>(args, task, [&](const double* x) __attribute__((always_inline)) {
    // Of the mirrored distribution, where it is by the upper bound.
    return truncated_slope(by_high ? -x[2] : x[0], by_high ? -x[1] : x[1], by_high ? -x[0] : x[2]);
  });
}

// ---- draws of positions by weight ----
using Ticket = KeyedIndex<uint64_t>;

struct Rows {
  int64_t rows;
  int64_t length;
  int64_t count;
};
Rows rows_of(const KernelArgs& args) noexcept {
  const KOperand& weights = args.in[1];
  const int64_t length = weights.shape[weights.rank - 1];
  return {length == 0 ? 0 : weights.numel / length, length, args.attrs_as<MultinomialAttrs>().count};
}
const double* weights_of(const KernelArgs& args, int64_t row) noexcept {
  const KOperand& weights = args.in[1];
  return weights.as<const double>() + (weights.rank == 2 ? row * weights.strides[0] : 0);
}

int64_t row_tasks(const KernelArgs& args) noexcept { return args.out[0].numel == 0 ? 0 : rows_of(args).rows; }

// With replacement: running sums, in which the draws look up their uniforms. Without: the entries in the order of exponential
// times at their weights as rates, of which the first are the draw.
// Source: Efraimidis, Spirakis, "Weighted random sampling with a reservoir", Inf. Process. Lett. 97 (2006).
void prepare(const KernelArgs& args, int64_t row) noexcept {
  const Rows r = rows_of(args);
  const double* weights = weights_of(args, row);
  const int64_t step = args.in[1].strides[args.in[1].rank - 1];
  double total = 0.0;
  int64_t positive = 0;
  for (int64_t i = 0; i < r.length; ++i) {
    const double w = weights[i * step];
    if (!(w >= 0.0 && isfinite(w))) {
      args.fault->report(row * r.length + i, 1, __builtin_bit_cast(int64_t, w));
      return;
    }
    total += w;
    positive += w > 0.0 ? 1 : 0;
  }
  if (!(total > 0.0 && isfinite(total))) {
    args.fault->report(row * r.length, 2, __builtin_bit_cast(int64_t, total));
    return;
  }
  if (args.attrs_as<MultinomialAttrs>().replacement) {
    auto* sums = static_cast<double*>(args.scratch) + row * r.length;
    double sum = 0.0;
    for (int64_t i = 0; i < r.length; ++i) sums[i] = sum += weights[i * step];
    return;
  }
  if (positive < r.count) {
    args.fault->report(row * r.length, 3, positive, r.count);
    return;
  }
  auto* tickets = static_cast<Ticket*>(args.scratch) + row * 2 * r.length;
  const PhiloxStream stream = stream_of(args.in[0]);
  for (int64_t i = 0; i < r.length; ++i) {
    const int64_t element = row * r.length + i;
    uint32_t words[4];
    philox_blocks<1>(stream, static_cast<uint64_t>(element), words);
    const double time = -log(Substream(stream, element, words).open_unit()) / weights[i * step];
    tickets[i] = {__builtin_bit_cast(uint64_t, time), static_cast<uint32_t>(i)};  // positive: ordered as their bits
  }
  const Ticket* sorted = radix_sort(tickets, tickets + r.length, r.length);
  for (int64_t i = 0; i < r.count; ++i) args.out[0].as<int64_t>()[row * r.count + i] = sorted[i].index;
}

int64_t look_up_tasks(const KernelArgs& args) noexcept {
  return args.attrs_as<MultinomialAttrs>().replacement ? sample_tasks(args) : 0;
}
void look_up(const KernelArgs& args, int64_t task) noexcept {
  if (args.fault->code() != 0) return;
  const Rows r = rows_of(args);
  const PhiloxStream stream = stream_of(args.in[0]);
  const int64_t total = args.out[0].numel;
  const int64_t end = (task + 1) * kSampleGrain < total ? (task + 1) * kSampleGrain : total;
  for (int64_t first = task * kSampleGrain; first < end; first += kSideBySide) {
    uint32_t words[kPhiloxWords];
    philox_words(stream, static_cast<uint64_t>(first / kSideBySide), words);
    const int64_t stop = first + kSideBySide < end ? first + kSideBySide : end;
    for (int64_t i = first; i < stop; ++i) {
      const double* sums = static_cast<const double*>(args.scratch) + i / r.count * r.length;
      const double u = Substream(stream, i, words + 4 * (i - first)).unit();
      args.out[0].as<int64_t>()[i] = position_of(u, sums, r.length);
    }
  }
}

// Copies a parameter and reports the first element that breaks its rule.
template <class T>
void check_parameter(const KernelArgs& args, int64_t task) noexcept {
  const auto rule = static_cast<ParameterRule>(args.attrs_as<ParameterAttrs>().rule.index);
  const KOperand& out = args.out[0];
  const int64_t end = (task + 1) * kSampleGrain < out.numel ? (task + 1) * kSampleGrain : out.numel;
  ParameterWalk<1> walk(out, args.in, task * kSampleGrain);
  for (int64_t i = task * kSampleGrain; i < end; ++i, walk.next()) {
    const T element = args.in[0].as<const T>()[walk.offset(0)];
    const auto value = static_cast<double>(static_cast<ComputeType<T>>(element));
    if (!keeps_rule(value, rule)) [[unlikely]]
      args.fault->report(i, 1, __builtin_bit_cast(int64_t, value));
    out.as<T>()[i] = element;
  }
}

size_t multinomial_scratch(const KernelArgs& args) noexcept {
  const Rows r = rows_of(args);
  const auto entries = static_cast<size_t>(r.rows * r.length);
  return args.attrs_as<MultinomialAttrs>().replacement ? entries * sizeof(double) : 2 * entries * sizeof(Ticket);
}

template <class T>
void fill_of(KernelSink& sink) {
  sink.add("random_gamma", kDTypeOf<T>, Kernel::of({sample<Gamma>, sample_tasks}));
  sink.add("random_gamma_slope", kDTypeOf<T>, Kernel::of({gamma_slopes, sample_tasks}));
  sink.add("random_truncated_normal_slope", kDTypeOf<T>, Kernel::of({truncated_slopes, sample_tasks}));
  sink.add("random_parameter", kDTypeOf<T>, Kernel::of({check_parameter<T>, sample_tasks}));
  sink.add("random_truncated_normal", kDTypeOf<T>, Kernel::of({sample<TruncatedNormal>, sample_tasks}));
}

}  // namespace

void fill_random_sample(KernelSink& sink);
void fill_random_sample(KernelSink& sink) {
  sink.add("random_bernoulli_each", DType::Float64, Kernel::of({sample<Bernoulli>, sample_tasks}));
  sink.add("random_geometric", DType::Float64, Kernel::of({sample<Geometric>, sample_tasks}));
  sink.add("random_poisson", DType::Float64, Kernel::of({sample<Poisson>, sample_tasks}));
  sink.add("random_binomial", DType::Float64, Kernel::of({sample<Binomial>, sample_tasks}));
  sink.add("random_multinomial", DType::Float64,
           Kernel::of({prepare, row_tasks}, {look_up, look_up_tasks}, multinomial_scratch));
  fill_of<Float16>(sink);
  fill_of<BFloat16>(sink);
  fill_of<float>(sink);
  fill_of<double>(sink);
}

#else  // inherited
void fill_random_sample(KernelSink& sink);
void fill_random_sample(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

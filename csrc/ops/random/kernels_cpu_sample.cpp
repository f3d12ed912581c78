// CPU kernels of the random family whose parameters are tensors: most are methods of rejection.
//
// Compiled once per ISA. Everything is computed in float64 with functions of kernels/math.h that do not call the C library.
// Read next: substream.h (where an element's numbers come from), random_sample.cpp (what each op means).
#include "kernels/math.h"
#include "kernels/move.h"
#include "kernels/radix.h"
#include "ops/random/attrs.h"
#include "ops/random/gamma_slope.h"
#include "ops/random/substream.h"
#include "ops/random/truncated_slope.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

// Elements per task: a multiple of the blocks that are made side by side.
constexpr int64_t kSampleGrain = 4096;
constexpr int64_t kSideBySide = kPhiloxWords / 4;
constexpr int kMaxParameters = 2;

PhiloxStream stream_of(const KOperand& key) noexcept {
  const auto* words = key.as<const uint64_t>();
  return {words[0], words[key.strides[0]]};
}

int64_t sample_tasks(const KernelArgs& args) noexcept { return (args.out[0].numel + kSampleGrain - 1) / kSampleGrain; }

// Steps through the output's shape in row-major order and says where each parameter's element lies.
template <int kCount>
class Walk {
 public:
  Walk(const KOperand& out, const KOperand* parameters, int64_t begin) noexcept : out_(out) {
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

// Draws a task's elements: parameters as float64, a method's answer as R. A parameter that the method refuses is reported, and
// its element left zero.
template <class T, class R, class Method>
void sample(const KernelArgs& args, int64_t task) noexcept {
  constexpr int kCount = Method::kParameters;
  const KOperand& out = args.out[0];
  const KOperand* parameters = args.in + 1;
  const PhiloxStream stream = stream_of(args.in[0]);
  const int64_t end = (task + 1) * kSampleGrain < out.numel ? (task + 1) * kSampleGrain : out.numel;
  Walk<kCount> walk(out, parameters, task * kSampleGrain);
  for (int64_t first = task * kSampleGrain; first < end; first += kSideBySide) {
    uint32_t words[kPhiloxWords];
    philox_words(stream, static_cast<uint64_t>(first / kSideBySide), words);
    const int64_t stop = first + kSideBySide < end ? first + kSideBySide : end;
    for (int64_t i = first; i < stop; ++i, walk.next()) {
      double given[kMaxParameters] = {};
      for (int p = 0; p < kCount; ++p) {
        given[p] = static_cast<double>(static_cast<ComputeType<T>>(parameters[p].as<const T>()[walk.offset(p)]));
      }
      R* to = out.as<R>() + i;
      if (const int refused = Method::refused(given); refused != 0) [[unlikely]] {
        args.fault->report(i, refused, __builtin_bit_cast(int64_t, given[0]), __builtin_bit_cast(int64_t, given[1]));
        *to = R{};
        continue;
      }
      Substream numbers(stream, i, words + 4 * (i - first));
      *to = static_cast<R>(static_cast<ComputeType<R>>(Method::draw(numbers, given, args)));
    }
  }
}

// log(1 + x) by way of log: the quotient makes up for what 1 + x lost.
GORGO_INLINE double log_of_one_plus(double x) noexcept {
  const double sum = 1.0 + x;
  return sum == 1.0 ? x : sum <= 0.0 || sum > 2.0 ? log(sum) : log(sum) * (x / (sum - 1.0));
}

// log k! for a whole k of any size: by Stirling's series, from ten on its error is below 1e-15.
GORGO_INLINE double stirling_rest(double k) noexcept {
  const double z = 1.0 / (k * k);
  return (1.0 / 12 + z * (-1.0 / 360 + z * (1.0 / 1260 + z * (-1.0 / 1680 + z * (1.0 / 1188))))) / k;
}
GORGO_INLINE double log_factorial(double k) noexcept {
  if (k < 10.0) {
    double product = 1.0;
    for (double i = 2.0; i <= k; i += 1.0) product *= i;
    return log(product);
  }
  return (k + 0.5) * log(k) - k + 0.918938533204672741780329736406 + stirling_rest(k);
}

// (1 + t) log(1 + t) - t, without cancellation near zero.
GORGO_INLINE double deviance(double t) noexcept {
  if (abs(t) > 0.1) return (1.0 + t) * log_of_one_plus(t) - t;
  double sum = 0.0;
  for (int n = 16; n >= 2; --n) sum = 1.0 / (n * (n - 1)) - t * sum;
  return t * t * sum;
}

struct Bernoulli {
  static constexpr int kParameters = 1;
  GORGO_INLINE static int refused(const double* p) noexcept { return p[0] >= 0.0 && p[0] <= 1.0 ? 0 : 1; }
  GORGO_INLINE static bool draw(Substream& numbers, const double* p, const KernelArgs&) noexcept {
    return numbers.unit() < p[0];
  }
};

// Trials up to the first success.
struct Geometric {
  static constexpr int kParameters = 1;
  GORGO_INLINE static int refused(const double* p) noexcept { return p[0] > 0.0 && p[0] <= 1.0 ? 0 : 1; }
  GORGO_INLINE static int64_t draw(Substream& numbers, const double* p, const KernelArgs&) noexcept {
    const double failures = p[0] == 1.0 ? 0.0 : floor(log(numbers.open_unit()) / log_of_one_plus(-p[0]));
    return failures < 0x1p62 ? static_cast<int64_t>(failures) + 1 : int64_t{1} << 62;
  }
};

// Source: Hoermann, "The transformed rejection method for generating Poisson random variables", Insurance: Mathematics and
// Economics 12 (1993), algorithm PTRS; below ten, factors until their product falls below exp(-rate).
struct Poisson {
  static constexpr int kParameters = 1;
  GORGO_INLINE static int refused(const double* p) noexcept { return p[0] >= 0.0 && p[0] <= 0x1p60 ? 0 : 1; }
  GORGO_INLINE static int64_t draw(Substream& numbers, const double* p, const KernelArgs&) noexcept {
    const double rate = p[0];
    if (rate < 10.0) {
      const double least = exp(-rate);
      double product = numbers.open_unit();
      int64_t count = 0;
      while (product > least) {
        product *= numbers.open_unit();
        ++count;
      }
      return count;
    }
    const double log_rate = log(rate);
    const double b = 0.931 + 2.53 * sqrt(rate);
    const double a = -0.059 + 0.02483 * b;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    const double squeeze = 0.9277 - 3.6224 / (b - 2.0);
    for (;;) {
      const double u = numbers.open_unit() - 0.5;
      const double v = numbers.open_unit();
      const double side = 0.5 - abs(u);
      const double k = floor((2.0 * a / side + b) * u + rate + 0.43);
      if (side >= 0.07 && v <= squeeze) return static_cast<int64_t>(k);
      if (k < 0.0 || (side < 0.013 && v > side)) continue;
      const double log_probability = k < 10.0 ? k * log_rate - rate - log_factorial(k)
                                              : -rate * deviance((k - rate) / rate) -
                                                    0.5 * log(6.283185307179586476925286766559 * k) - stirling_rest(k);
      if (log(v * inverse_alpha / (a / (side * side) + b)) <= log_probability) return static_cast<int64_t>(k);
    }
  }
};

// Source: Hoermann, "The generation of binomial random variates", J. Statist. Comput. Simul. 46 (1993), algorithm BTRS; for
// few expected successes, gaps between them (Devroye, "Non-uniform random variate generation", 1986, chapter X.4).
struct Binomial {
  static constexpr int kParameters = 2;
  GORGO_INLINE static int refused(const double* p) noexcept {
    if (!(p[0] >= 0.0 && p[0] < 0x1p40 && floor(p[0]) == p[0])) return 1;
    return p[1] >= 0.0 && p[1] <= 1.0 ? 0 : 2;
  }
  GORGO_INLINE static int64_t draw(Substream& numbers, const double* p, const KernelArgs&) noexcept {
    const double n = p[0];
    const bool mirrored = p[1] > 0.5;
    const double q = mirrored ? 1.0 - p[1] : p[1];
    const double successes = n * q < 10.0 ? by_gaps(numbers, n, q) : by_rejection(numbers, n, q);
    return static_cast<int64_t>(mirrored ? n - successes : successes);
  }
  GORGO_INLINE static double by_gaps(Substream& numbers, double n, double p) noexcept {
    if (p == 0.0) return 0.0;
    const double scale = 1.0 / log_of_one_plus(-p);
    double successes = 0.0;
    for (double trials = 0.0;; successes += 1.0) {
      trials += floor(log(numbers.open_unit()) * scale) + 1.0;
      if (trials > n) return successes;
    }
  }
  GORGO_INLINE static double by_rejection(Substream& numbers, double n, double p) noexcept {
    const double spread = sqrt(n * p * (1.0 - p));
    const double b = 1.15 + 2.53 * spread;
    const double a = -0.0873 + 0.0248 * b + 0.01 * p;
    const double alpha = (2.83 + 5.1 / b) * spread;
    const double squeeze = 0.92 - 4.2 / b;
    const double mode = floor((n + 1.0) * p);
    const double log_odds = log(p) - log_of_one_plus(-p);
    const double at_mode = log_factorial(mode) + log_factorial(n - mode);
    for (;;) {
      const double u = numbers.open_unit() - 0.5;
      const double v = numbers.open_unit();
      const double side = 0.5 - abs(u);
      const double k = floor((2.0 * a / side + b) * u + n * p + 0.5);
      if (side >= 0.07 && v <= squeeze) return k;
      if (k < 0.0 || k > n) continue;
      const double ratio = at_mode - log_factorial(k) - log_factorial(n - k) + (k - mode) * log_odds;
      if (log(v * alpha / (a / (side * side) + b)) <= ratio) return k;
    }
  }
};

// Source: Marsaglia, Tsang, "A simple method for generating gamma variables", ACM Trans. Math. Softw. 26 (2000). Below a
// concentration of one: that of one more, times a power of a uniform.
struct Gamma {
  static constexpr int kParameters = 1;
  GORGO_INLINE static int refused(const double* p) noexcept { return p[0] > 0.0 && isfinite(p[0]) ? 0 : 1; }
  GORGO_INLINE static double draw(Substream& numbers, const double* p, const KernelArgs& args) noexcept {
    const bool in_log = args.attrs_as<GammaAttrs>().log;
    const double concentration = p[0];
    const bool small = concentration < 1.0;
    const double factor_log = small ? log(numbers.open_unit()) / concentration : 0.0;
    const double d = (small ? concentration + 1.0 : concentration) - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);
    double v;
    for (;;) {
      const double x = numbers.normal();
      const double root = 1.0 + c * x;
      if (root <= 0.0) continue;
      v = root * root * root;
      const double u = numbers.open_unit();
      const double square = x * x;
      if (u < 1.0 - 0.0331 * square * square || log(u) < 0.5 * square + d * (1.0 - v + log(v))) break;
    }
    if (in_log) return log(d * v) + factor_log;
    return small ? d * v * exp(factor_log) : d * v;
  }
};

// The standard normal between two ends, either of which may be infinite.
// Source: Robert, "Simulation of truncated normal variables", Statistics and Computing 5 (1995).
struct TruncatedNormal {
  static constexpr int kParameters = 2;
  GORGO_INLINE static int refused(const double* p) noexcept { return p[0] < p[1] ? 0 : 1; }
  GORGO_INLINE static double draw(Substream& numbers, const double* p, const KernelArgs&) noexcept {
    return p[1] <= 0.0 ? -drawn(numbers, -p[1], -p[0]) : drawn(numbers, p[0], p[1]);
  }
  // With high > 0.
  GORGO_INLINE static double drawn(Substream& numbers, double low, double high) noexcept {
    if (low <= 0.0) {
      if (high - low > 2.5066282746310005) {
        for (;;) {
          const double x = numbers.normal();
          if (x >= low && x <= high) return x;
        }
      }
      return evenly(numbers, low, high, 0.0);
    }
    // Far out the square overflows, and the root is low itself.
    const double root = low < 1e100 ? sqrt(low * low + 4.0) : low;
    const double rate = 0.5 * low + 0.5 * root;
    // exp(1/2 + low (low - root) / 4) / rate: up to this length of the interval an even proposal is accepted more often. The
    // difference is -4 / (low + root).
    if (high - low <= exp(0.5 - low / (low + root)) / rate) return evenly(numbers, low, high, low);
    const double ahead = 2.0 / (low + root);  // rate - low
    for (;;) {
      const double excess = -log(numbers.open_unit()) / rate;
      const double off = excess - ahead;
      const double x = low + excess;
      if (x <= high && log(numbers.open_unit()) <= -0.5 * off * off) return x;
    }
  }
  // `densest` is where the density on [low, high] is highest.
  GORGO_INLINE static double evenly(Substream& numbers, double low, double high, double densest) noexcept {
    for (;;) {
      const double x = low + (high - low) * numbers.unit();
      if (log(numbers.open_unit()) <= 0.5 * (densest - x) * (densest + x)) return x < high ? x : high;
    }
  }
};

// ---- the gradients of draws by their parameters ----

// A function of kCount operands, in float64.
template <class T, int kCount, class F>
GORGO_INLINE void slopes(const KernelArgs& args, int64_t task, const F& f) noexcept {
  const KOperand& out = args.out[0];
  const int64_t end = (task + 1) * kSampleGrain < out.numel ? (task + 1) * kSampleGrain : out.numel;
  Walk<kCount> walk(out, args.in, task * kSampleGrain);
  for (int64_t i = task * kSampleGrain; i < end; ++i, walk.next()) {
    double given[kCount];
    for (int p = 0; p < kCount; ++p) {
      given[p] = static_cast<double>(static_cast<ComputeType<T>>(args.in[p].as<const T>()[walk.offset(p)]));
    }
    out.as<T>()[i] = static_cast<T>(static_cast<ComputeType<T>>(f(given)));
  }
}
template <class T>
void gamma_slopes(const KernelArgs& args, int64_t task) noexcept {
  const bool in_log = args.attrs_as<GammaSlopeAttrs>().log;
  slopes<T, 2>(args, task,
               [&](const double* x) __attribute__((always_inline)) { return gamma_slope(x[0], x[1], in_log); });
}
template <class T>
void truncated_slopes(const KernelArgs& args, int64_t task) noexcept {
  const bool by_high = args.attrs_as<TruncatedSlopeAttrs>().by_high;
  slopes<T, 3>(args, task, [&](const double* x) __attribute__((always_inline)) {
    return by_high ? truncated_slope(-x[2], -x[1], -x[0]) : truncated_slope(x[0], x[1], x[2]);
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
      // The first entry whose running sum is above `goal`, which rounding must not bring up to the last sum.
      const double total_weight = sums[r.length - 1];
      const double at = Substream(stream, i, words + 4 * (i - first)).unit() * total_weight;
      const double goal = at < total_weight ? at : total_weight * (1.0 - 0x1p-52);
      int64_t low = 0;
      int64_t high = r.length - 1;
      while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (sums[middle] > goal) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      args.out[0].as<int64_t>()[i] = low;
    }
  }
}

// Copies a parameter and reports the first element that breaks its rule.
template <class T>
void check_parameter(const KernelArgs& args, int64_t task) noexcept {
  const auto rule = static_cast<ParameterRule>(args.attrs_as<ParameterAttrs>().rule.index);
  const KOperand& out = args.out[0];
  const int64_t end = (task + 1) * kSampleGrain < out.numel ? (task + 1) * kSampleGrain : out.numel;
  Walk<1> walk(out, args.in, task * kSampleGrain);
  for (int64_t i = task * kSampleGrain; i < end; ++i, walk.next()) {
    const T element = args.in[0].as<const T>()[walk.offset(0)];
    const auto value = static_cast<double>(static_cast<ComputeType<T>>(element));
    const bool holds = rule == ParameterRule::NotNegative
                           ? value >= 0.0
                           : value - value == 0.0 && (rule == ParameterRule::Finite || value > 0.0);
    if (!holds) [[unlikely]]
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
  sink.add("random_gamma", kDTypeOf<T>, Kernel::of({sample<T, T, Gamma>, sample_tasks}));
  sink.add("random_gamma_slope", kDTypeOf<T>, Kernel::of({gamma_slopes<T>, sample_tasks}));
  sink.add("random_truncated_normal_slope", kDTypeOf<T>, Kernel::of({truncated_slopes<T>, sample_tasks}));
  sink.add("random_parameter", kDTypeOf<T>, Kernel::of({check_parameter<T>, sample_tasks}));
  sink.add("random_truncated_normal", kDTypeOf<T>, Kernel::of({sample<T, T, TruncatedNormal>, sample_tasks}));
}

}  // namespace

void fill_random_sample(KernelSink& sink);
void fill_random_sample(KernelSink& sink) {
  sink.add("random_bernoulli_each", DType::Float64, Kernel::of({sample<double, bool, Bernoulli>, sample_tasks}));
  sink.add("random_geometric", DType::Float64, Kernel::of({sample<double, int64_t, Geometric>, sample_tasks}));
  sink.add("random_poisson", DType::Float64, Kernel::of({sample<double, int64_t, Poisson>, sample_tasks}));
  sink.add("random_binomial", DType::Float64, Kernel::of({sample<double, int64_t, Binomial>, sample_tasks}));
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

// Methods that draw one element from parameters that are numbers, most of them by rejection.
//
// For kernel files (compiled per ISA). Everything is computed in float64 with functions of kernels/math.h that do not call the C
// library. A method tells which parameter it refuses (0: none) and draws from an element's own numbers; in_log, which Gamma alone
// heeds, asks for the draw's logarithm.
// Read next: substream.h (where the numbers come from), kernels_cpu_sample.cpp, kernels_cuda_sample.cu.
#pragma once

#include "kernels/math.h"
#include "ops/random/attrs.h"
#include "ops/random/substream.h"

namespace gorgo::GORGO_ISA_NS {

constexpr int kMaxParameters = 2;

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
  GORGO_INLINE static bool draw(Substream& numbers, const double* p, bool) noexcept { return numbers.unit() < p[0]; }
};

// Trials up to the first success.
struct Geometric {
  static constexpr int kParameters = 1;
  GORGO_INLINE static int refused(const double* p) noexcept { return p[0] > 0.0 && p[0] <= 1.0 ? 0 : 1; }
  GORGO_INLINE static int64_t draw(Substream& numbers, const double* p, bool) noexcept {
    const double failures = p[0] == 1.0 ? 0.0 : floor(log(numbers.open_unit()) / log_of_one_plus(-p[0]));
    return failures < 0x1p62 ? static_cast<int64_t>(failures) + 1 : int64_t{1} << 62;
  }
};

// Source: Hoermann, "The transformed rejection method for generating Poisson random variables", Insurance: Mathematics and
// Economics 12 (1993), algorithm PTRS; below ten, factors until their product falls below exp(-rate).
struct Poisson {
  static constexpr int kParameters = 1;
  GORGO_INLINE static int refused(const double* p) noexcept { return p[0] >= 0.0 && p[0] <= 0x1p60 ? 0 : 1; }
  GORGO_INLINE static int64_t draw(Substream& numbers, const double* p, bool) noexcept {
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
  GORGO_INLINE static int64_t draw(Substream& numbers, const double* p, bool) noexcept {
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
  GORGO_INLINE static double draw(Substream& numbers, const double* p, bool in_log) noexcept {
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
  GORGO_INLINE static double draw(Substream& numbers, const double* p, bool) noexcept {
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

// The position that a uniform u picks by running sums of weights.
GORGO_INLINE int64_t position_of(double u, const double* sums, int64_t length) noexcept {
  // The first entry whose running sum is above `goal`, which rounding must not bring up to the last sum.
  const double total_weight = sums[length - 1];
  const double at = u * total_weight;
  const double goal = at < total_weight ? at : total_weight * (1.0 - 0x1p-52);
  int64_t low = 0;
  int64_t high = length - 1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (sums[middle] > goal) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Does a parameter's value keep its rule?
GORGO_INLINE bool keeps_rule(double value, ParameterRule rule) noexcept {
  return rule == ParameterRule::NotNegative
             ? value >= 0.0
             : __builtin_isfinite(value) && (rule == ParameterRule::Finite || value > 0.0);
}

}  // namespace gorgo::GORGO_ISA_NS

// Means and variances: sums of differences from the first element of what is summed, and of their squares.
//
// Invariant: the sums are in double. The first element counts among the others, so its distance from the mean is at most the
// deviation times the root of their number, which double bears.
// Read next: fold.cuh, ops/norm/kernels_cuda_batch.cu.
#pragma once

#include "kernels/cuda/fold.cuh"

namespace gorgo::cuda {

struct MomentSums {
  double sum;
  double squares;
};

#if defined(__CUDACC__)

// The sum of squared distances from the mean of `count` numbers.
GORGO_DEVICE double squares_about_mean(double sum, double squares, double count) {
  const double v = squares - sum * (sum / count);
  return v < 0.0 ? 0.0 : v;
}

// A fold policy; see fold.cuh.
template <class S, class OutT>
struct Moments {
  using Storage = S;
  using Partial = MomentSums;
  using Out = OutT;
  static constexpr int kInputs = 1;
  static constexpr bool kCentred = true;

  template <int kLanes>
  struct Run {
    using C = ComputeType<S>;
    C from = C{0};
    double sum = 0.0;
    double squares = 0.0;

    GORGO_DEVICE void begin(const S (&first)[1]) { from = lift(first[0]); }
    GORGO_DEVICE void add(const S (&v)[1], int, uint32_t) {
      const auto d = static_cast<double>(lift(v[0]) - from);
      sum += d;
      squares = fma(d, d, squares);
    }
    GORGO_DEVICE void flush() {}
    GORGO_DEVICE Partial finish(int64_t) { return {sum, squares}; }
  };
  GORGO_DEVICE static Partial none() { return {0.0, 0.0}; }
  GORGO_DEVICE static Partial merge(const Partial& a, const Partial& b) {
    return {a.sum + b.sum, a.squares + b.squares};
  }
};

#endif

}  // namespace gorgo::cuda

// Where the largest and the smallest elements are, on CUDA.
//
// Invariant: the first of equal elements wins, and the first NaN wins over all, whatever the tree: of two candidates that are
// equal the earlier one stays.
// Read next: kernels/cuda/fold.cuh.
#include <limits>

#include "ops/reduce/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class Lane>
struct Candidate {
  Lane value;
  int64_t index;  // -1: none yet
};

template <class S, bool kLargest>
struct Arg {
  using Storage = S;
  using Lane = std::conditional_t<std::is_integral_v<S> && sizeof(S) < 4, int32_t, ComputeType<S>>;
  using Partial = Candidate<Lane>;
  using Out = Stored<Arg, Partial>;
  static constexpr int kInputs = 1;
  static constexpr bool kCentred =
      true;  // every run begins with the first element of all, which no other before it can be
  static constexpr uint32_t kNowhere = ~0u;
  static constexpr uint32_t kFirst = ~0u - 1;

  GORGO_DEVICE static bool beats(Lane a, Lane b) {
    if constexpr (std::is_floating_point_v<Lane>) {
      return b == b && !(kLargest ? a <= b : a >= b);  // NaN beats numbers, and stays
    } else {
      return kLargest ? a > b : a < b;
    }
  }

  // Positions only grow within a lane, so equal elements do not replace.
  template <int kLanes>
  struct Run {
    Lane best[kLanes];
    uint32_t where[kLanes];

    GORGO_DEVICE Run() {
#pragma unroll
      for (int j = 0; j < kLanes; ++j) {
        best[j] = Lane{0};
        where[j] = kNowhere;
      }
    }
    GORGO_DEVICE void begin(const S (&first)[1]) {
#pragma unroll
      for (int j = 0; j < kLanes; ++j) {
        best[j] = static_cast<Lane>(lift(first[0]));
        where[j] = kFirst;
      }
    }
    GORGO_DEVICE void add(const S (&v)[1], int j, uint32_t position) {
      const Lane value = static_cast<Lane>(lift(v[0]));
      Lane& b = best[j % kLanes];
      uint32_t& at = where[j % kLanes];
      const bool better = beats(value, b);
      b = better ? value : b;
      at = better ? position : at;
    }
    GORGO_DEVICE void flush() {}
    GORGO_DEVICE Partial finish(int64_t begin) {
      Partial all = none();
#pragma unroll
      for (int j = 0; j < kLanes; ++j) {
        const int64_t index = where[j] == kFirst ? 0 : begin + static_cast<int64_t>(where[j]);
        if (where[j] != kNowhere) all = merge(all, {best[j], index});
      }
      return all;
    }
  };
  GORGO_DEVICE static Partial none() { return {Lane{0}, -1}; }
  GORGO_DEVICE static Partial merge(const Partial& a, const Partial& b) {
    if (a.index < 0) return b;
    if (b.index < 0) return a;
    if (beats(a.value, b.value)) return a;
    if (beats(b.value, a.value)) return b;
    return a.index < b.index ? a : b;
  }
  GORGO_DEVICE static void store(const Finish& f, int64_t at, const Partial& p) {
    static_cast<int64_t*>(f.out)[at] = p.index;
  }
};

template <class S>
void fill_arg(KernelSink& sink) {
  add_reduction<Arg<S, true>, ArgAttrs, Keep::Index>(sink, "argmax", kDTypeOf<S>);
  add_reduction<Arg<S, false>, ArgAttrs, Keep::Index>(sink, "argmin", kDTypeOf<S>);
}

}  // namespace

void fill_reduce_arg(KernelSink& sink) {
  fill_arg<float>(sink);
  fill_arg<double>(sink);
  fill_arg<BFloat16>(sink);
  fill_arg<Float16>(sink);
  fill_arg<bool>(sink);
  fill_arg<int8_t>(sink);
  fill_arg<int16_t>(sink);
  fill_arg<int32_t>(sink);
  fill_arg<int64_t>(sink);
  fill_arg<uint8_t>(sink);
  fill_arg<uint16_t>(sink);
  fill_arg<uint32_t>(sink);
  fill_arg<uint64_t>(sink);
}

}  // namespace gorgo::cuda

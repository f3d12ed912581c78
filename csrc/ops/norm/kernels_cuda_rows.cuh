// Rows of packs on CUDA: what the kernels share that read each element once and fold a row's figures in one go.
//
// A thread finds the mean of its own elements and sums about that; two such parts merge without loss of digits (Chan, Golub,
// LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979). So a row needs one fold, where
// a mean first and squares after it need two.
// Invariant: merging is symmetric to the last bit, so all threads of a row have the same figures.
// Read next: kernels_cuda.cu, kernels_cuda_backward_rows.cuh.
#pragma once

#include "ops/norm/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

// Whether elements are moved to near zero before they are summed: 16-bit numbers have too few digits for that to matter.
template <class S>
inline constexpr bool kShifts = sizeof(S) > 2;

#if defined(__CUDACC__)

// Of some elements of a row: their mean and the sum of squared distances from it; of a gradient also the sum of g w, and of
// g w times the distance. Rows that are not centred have sums about zero.
template <bool kCentered, bool kGradient>
struct Figure {
  float mean, squares, grads, products;
};
template <bool kCentered>
struct Figure<kCentered, false> {
  float mean, squares;
};
template <>
struct Figure<false, true> {
  float squares, products;
};
template <>
struct Figure<false, false> {
  float squares;
};

// Merges the figures of `na` and of `nb` elements; `weight` is na nb / (na + nb), `share` the reciprocal of na + nb.
template <bool kCentered, bool kGradient>
GORGO_DEVICE Figure<kCentered, kGradient> merge_figures(const Figure<kCentered, kGradient>& a, float na,
                                                        const Figure<kCentered, kGradient>& b, float nb, float share,
                                                        float weight) {
  Figure<kCentered, kGradient> r;
  r.squares = a.squares + b.squares;
  if constexpr (kGradient) r.products = a.products + b.products;
  if constexpr (kCentered) {
    const float gap = b.mean - a.mean;
    r.mean = (na * a.mean + nb * b.mean) * share;
    r.squares = fmaf(gap * gap, weight, r.squares);
    if constexpr (kGradient) {
      r.grads = a.grads + b.grads;
      r.products += a.grads * (a.mean - r.mean) + b.grads * (b.mean - r.mean);
    }
  }
  return r;
}

// The figures of a whole row of `lanes` threads; kFull: each has the same number of elements, `count`.
// `parts` has room for two turns of a figure and a count for each warp; turns alternate, so one barrier does.
template <bool kFull, bool kCentered, bool kGradient>
struct RowFold {
  using F = Figure<kCentered, kGradient>;
  struct Counted {
    F figure;
    float count;
  };

  GORGO_DEVICE static void step(F& f, float& count, const F& other, float other_count) {
    if constexpr (!kCentered) {
      f = merge_figures<kCentered, kGradient>(f, 0.0f, other, 0.0f, 0.0f, 0.0f);
    } else if constexpr (kFull) {
      const float gap = other.mean - f.mean;
      F r;
      r.mean = 0.5f * (f.mean + other.mean);
      r.squares = fmaf(gap * gap, 0.5f * count, f.squares + other.squares);
      if constexpr (kGradient) {
        r.grads = f.grads + other.grads;
        r.products = fmaf(0.5f * gap, other.grads - f.grads, f.products + other.products);
      }
      f = r;
      count *= 2.0f;
    } else {
      const float total = count + other_count;
      const float share = total > 0.0f ? 1.0f / total : 0.0f;
      f = merge_figures<kCentered, kGradient>(f, count, other, other_count, share, count * other_count * share);
      count = total;
    }
  }
  GORGO_DEVICE static void within(F& f, float& count, int lanes) {
    for (int mask = 1; mask < lanes; mask <<= 1) {
      const F other = shuffle_xor(f, mask);
      const float other_count = kCentered && !kFull ? shuffle_xor(count, mask) : 0.0f;
      step(f, count, other, other_count);
    }
  }
  // All threads of the block must come here.
  GORGO_DEVICE static F of(F f, float count, int lanes, Counted* parts, int turn) {
    within(f, count, lanes < 32 ? lanes : 32);
    if (lanes > 32) {
      const int warps = lanes >> 5;
      parts += (turn & 1) * 32;
      if ((threadIdx.x & 31u) == 0) parts[threadIdx.x >> 5] = {f, count};
      __syncthreads();
      const Counted mine = parts[threadIdx.x & static_cast<unsigned>(warps - 1)];
      f = mine.figure;
      count = mine.count;
      within(f, count, warps);
    }
    return f;
  }
};

#endif

}  // namespace
}  // namespace gorgo::cuda

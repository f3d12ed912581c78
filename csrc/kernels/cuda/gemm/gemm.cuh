// The choice of kernel for a product, by element type, sizes, strides and card.
//
// Invariant: the scratch that a product asks for depends on its type and sizes and on the card's generation, never on strides or
// addresses. Read next: product.cuh, then simt.cuh, skinny.cuh, mma.cuh, hopper.cuh, split.cuh.
#pragma once

#include "kernels/cuda/gemm/double.cuh"
#include "kernels/cuda/gemm/hopper.cuh"
#include "kernels/cuda/gemm/mma.cuh"
#include "kernels/cuda/gemm/pack.cuh"
#include "kernels/cuda/gemm/simt.cuh"
#include "kernels/cuda/gemm/skinny.cuh"
#include "kernels/cuda/gemm/small.cuh"
#include "kernels/cuda/gemm/split.cuh"

namespace gorgo::cuda {

// ---- 16-bit floats on Hopper ----

template <class T, class Out, int kM, int kN, int kCluster>
bool launch_hopper_shape(const Product& p, const HopperView& v, void* out, int splits, cudaStream_t stream) noexcept {
  if (v.a.along_k && v.b.along_k) {
    return launch_hopper<HopperTile<T, Out, kM, kN, false, false, kCluster>>(p, v, out, splits, stream);
  }
  if (v.a.along_k) return launch_hopper<HopperTile<T, Out, kM, kN, false, true, kCluster>>(p, v, out, splits, stream);
  if (v.b.along_k) return launch_hopper<HopperTile<T, Out, kM, kN, true, false, kCluster>>(p, v, out, splits, stream);
  return launch_hopper<HopperTile<T, Out, kM, kN, true, true, kCluster>>(p, v, out, splits, stream);
}

enum class HopperShape : uint8_t { wide, square, small };  // 128 x 256, 128 x 128, 64 x 128

struct HopperPlan {
  HopperShape shape = HopperShape::wide;
  int splits = 1;  // parts of k, added up by sum_parts
};

// The cheapest by an estimate in cycles: the tiles of one multiprocessor, each with its stages and its two ends, and the adding up
// of parts. By sizes alone: it reckons with the multiprocessors of one particular card.
inline HopperPlan hopper_plan(const Product& p) noexcept {
  constexpr int64_t kProcessors = 132;
  constexpr int64_t kEnds = 2200;
  HopperPlan best;
  double least = 0.0;
  const int64_t depths = ceil_div(p.k, kDepth);
  const auto consider = [&](HopperShape shape, int64_t rows, int64_t columns, int64_t splits) {
    const int64_t each = ceil_div(depths, splits);
    if (splits > 1 && (each < 6 || ceil_div(depths, each) != splits)) return;
    const int64_t tiles = ceil_div(p.m, rows) * ceil_div(p.n, columns) * p.count * splits;
    int64_t rounds = ceil_div(tiles, kProcessors);
    int64_t stage = shape == HopperShape::wide ? 1060 : shape == HopperShape::square ? 570 : 330;
    if (shape == HopperShape::small && rounds > 1) {  // two blocks share a multiprocessor
      rounds = ceil_div(tiles, 2 * kProcessors);
      stage = 640;
    }
    double cycles = static_cast<double>(rounds) * static_cast<double>(each * stage + kEnds);
    if (splits > 1)
      cycles += 3500.0 + static_cast<double>(p.count * p.m * p.n) * static_cast<double>(4 * splits) / 1000.0;
    if (least == 0.0 || cycles < least) {
      least = cycles;
      best = {shape, static_cast<int>(splits)};
    }
  };
  for (const int64_t splits : {1, 2, 3, 4, 6, 8, 12, 16}) {
    consider(HopperShape::wide, 128, 256, splits);
    if (splits == 1) consider(HopperShape::square, 128, 128, splits);
    consider(HopperShape::small, 64, 128, splits);
  }
  return best;
}

inline size_t hopper_scratch(const Product& p) noexcept {
  const int64_t splits = hopper_plan(p).splits;
  return splits > 1 ? static_cast<size_t>(splits * p.count * p.m * p.n) * sizeof(float) : 0;
}

// `scratch` has hopper_scratch(p) bytes.
template <class T>
bool run_hopper(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  HopperView v;
  if (!hopper_view(p, sizeof(T), v)) return false;
  const HopperPlan plan = hopper_plan(p);
  if (plan.splits > 1) {
    const bool done = plan.shape == HopperShape::wide
                          ? launch_hopper_shape<T, float, 128, 256, 1>(p, v, scratch, plan.splits, stream)
                          : launch_hopper_shape<T, float, 64, 128, 1>(p, v, scratch, plan.splits, stream);
    if (done) launch_sum_parts<T>(p, scratch, plan.splits, stream);
    return done;
  }
  switch (plan.shape) {
    case HopperShape::wide:
      return launch_hopper_shape<T, T, 128, 256, 1>(p, v, p.c, 1, stream);
    case HopperShape::square:
      return launch_hopper_shape<T, T, 128, 128, 1>(p, v, p.c, 1, stream);
    default:
      return launch_hopper_shape<T, T, 64, 128, 1>(p, v, p.c, 1, stream);
  }
}

// Rows whose length is odd for the copy engine are worth copying first where the product is large; by sizes alone.
inline bool packing_pays(const Product& p) noexcept {
  return (p.k % 8 != 0 || p.n % 8 != 0 || p.m % 8 != 0) && p.m >= 128 && p.n >= 128 && p.k >= 128 && p.count < 65536;
}

// As run_hopper, on copies of the factors. `scratch` has hopper_scratch(p) bytes behind those of the plan.
template <class T>
bool run_hopper_packed(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  const PackPlan s = pack_plan<T>(p);
  const Packed packed = launch_pack<T>(p, s, scratch, stream);
  Product q = p;
  q.a = packed.planes[0];
  q.b = packed.planes[1];
  q.a_row = q.b_col = s.pitch;
  q.a_col = q.b_row = 1;
  if (p.count > 1) {
    const int64_t steps[2] = {s.matrices[0] > 1 ? p.m * s.pitch : 0, s.matrices[1] > 1 ? p.n * s.pitch : 0};
    const int64_t* const strides[2] = {&steps[0], &steps[1]};
    q.stack = Walk<2>::of(&p.count, 1, strides);
  }
  return run_hopper<T>(q, static_cast<unsigned char*>(scratch) + s.bytes, stream);
}

// ---- float32 ----

// The plain kernels. After a split, with its verdict, `scratch` belongs to the split's planes.
template <class T>
void run_plain_float(const Product& p, void* scratch, const SplitVerdict* verdict, cudaStream_t stream) noexcept {
  const int64_t tiles = ceil_div(p.m, kFloatTile) * ceil_div(p.n, kFloatTile) * p.count;
  if (float_dense(p) && p.m > kSimtTile && p.n > kSimtTile && tiles * 2 >= card().multiprocessors) {
    launch_dense<T>(p, stream, verdict);
  } else {
    launch_simt<T>(p, verdict == nullptr ? scratch : nullptr, stream, verdict);
  }
}

template <class T>
void run_float(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  SplitVerdict* verdict = nullptr;
  if (split_pays(p) && hopper_here() && !launch_split<T>(p, scratch, verdict, stream)) verdict = nullptr;
  run_plain_float<T>(p, scratch, verdict, stream);
}

// ---- the entry points ----

template <class T>
constexpr bool kIs16Bit = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

// Which types have the kernels for few rows.
template <class T>
constexpr bool kHasSkinny = std::is_same_v<T, float> || std::is_same_v<T, double> || kIs16Bit<T>;

template <class T>
size_t product_scratch(const Product& p) noexcept {
  if (p.empty()) return 0;
  if constexpr (kHasSkinny<T>) {
    if (skinny_suits(p)) return skinny_scratch<T>(p);
  }
  size_t bytes = simt_scratch<T>(p);
  const auto at_least = [&](size_t wanted) {
    if (wanted > bytes) bytes = wanted;
  };
  if constexpr (std::is_same_v<T, float>) {
    if (split_pays(p) && hopper_here()) at_least(pack_plan<T>(p).bytes);
  }
  if constexpr (kIs16Bit<T>) {
    if (hopper_here()) at_least(hopper_scratch(p) + (packing_pays(p) ? pack_plan<T>(p).bytes : 0));
  }
  return bytes;
}

// Enqueues the product; `scratch` has product_scratch<T>(p) bytes.
template <class T>
void run_product(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  if (p.empty()) return;
  if constexpr (kHasSkinny<T>) {
    if (skinny_suits(p)) return launch_skinny<T>(p, scratch, stream);
  }
  if constexpr (std::is_same_v<T, float>) {
    if (small_suits(p)) return launch_small(p, stream);
    run_float<T>(p, scratch, stream);
  } else if constexpr (kIs16Bit<T>) {
    if (p.k > 0 && hopper_here()) {
      if (run_hopper<T>(p, scratch, stream)) return;
      if (packing_pays(p) && run_hopper_packed<T>(p, scratch, stream)) return;
    }
    if (p.k > 0 && card().major >= 8 && built_for() >= Built::mma) return launch_mma<T>(p, scratch, stream);
    launch_simt<T>(p, scratch, stream);
  } else {
    if constexpr (std::is_same_v<T, double>) {
      if (p.k > 0 && card().major >= 8 && built_for() >= Built::mma) return launch_double<T>(p, scratch, stream);
    }
    launch_simt<T>(p, scratch, stream);
  }
}

}  // namespace gorgo::cuda

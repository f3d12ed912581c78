// The choice of kernel for a product, by element type, sizes, strides and card.
//
// Invariant: the scratch that a product asks for depends on its type and sizes and on the card's generation, never on strides or
// addresses. Read next: product.cuh, then simt.cuh, small.cuh, long.cuh, skinny.cuh, few.cuh, mma.cuh, hopper.cuh, split.cuh.
#pragma once

#include "core/float32_mode.h"
#include "kernels/cuda/gemm/double.cuh"
#include "kernels/cuda/gemm/few.cuh"
#include "kernels/cuda/gemm/hopper.cuh"
#include "kernels/cuda/gemm/long.cuh"
#include "kernels/cuda/gemm/mma.cuh"
#include "kernels/cuda/gemm/pack.cuh"
#include "kernels/cuda/gemm/simt.cuh"
#include "kernels/cuda/gemm/skinny.cuh"
#include "kernels/cuda/gemm/small.cuh"
#include "kernels/cuda/gemm/split.cuh"

namespace gorgo::cuda {

// ---- 16-bit floats, and float32 as tf32, on Hopper ----

// kTurned: whether factors may lie along m and n; of tf32 B alone, in tiles that are then as wide as they else are high.
template <class T, class Out, bool kTurned, int kM, int kN>
bool launch_hopper_shape(const Product& p, const HopperView& v, void* out, int splits, cudaStream_t stream) noexcept {
  if (v.a.along_k && v.b.along_k) {
    return launch_hopper<HopperTile<T, Out, kM, kN, false, false>>(p, v, out, splits, stream);
  }
  if constexpr (kTurned && std::is_same_v<T, Tf32>) {
    if (v.a.along_k) return launch_hopper<HopperTile<T, Out, kN, kM, false, true>>(p, v, out, splits, stream);
  } else if constexpr (kTurned) {
    if (v.a.along_k) return launch_hopper<HopperTile<T, Out, kM, kN, false, true>>(p, v, out, splits, stream);
    if (v.b.along_k) return launch_hopper<HopperTile<T, Out, kM, kN, true, false>>(p, v, out, splits, stream);
    return launch_hopper<HopperTile<T, Out, kM, kN, true, true>>(p, v, out, splits, stream);
  }
  return false;
}

enum class HopperShape : uint8_t { small, tall, flat, square, wide, wider };

struct HopperFacts {
  int64_t rows, columns;
  int64_t blocks;  // on one multiprocessor
  double alone;    // nanoseconds of a stage
  double busy;     // the same with as many blocks as there is room for, for each of them
  double ends;     // nanoseconds of launching, filling and draining
};
// Measured on an H200.
constexpr HopperFacts kHopperFacts[] = {
    {64, 64, 2, 290, 150, 2200},   {128, 64, 1, 235, 235, 2950},  {64, 128, 2, 400, 250, 2100},
    {128, 128, 1, 335, 335, 3100}, {128, 192, 1, 460, 460, 4200}, {128, 256, 1, 610, 610, 4200},
};

struct HopperPlan {
  HopperShape shape = HopperShape::wider;
  int splits = 1;  // parts of k with results of their own, added up by sum_parts
};

// The fastest by an estimate of its nanoseconds, which is either what one multiprocessor has to do or what memory has to give, and
// the adding up of parts. By sizes alone: it reckons with one particular card. `depth` is what a stage takes of k.
inline HopperPlan hopper_plan(const Product& p, int64_t depth) noexcept {
  constexpr int64_t kProcessors = 132;
  constexpr double kBytesEach = 4000.0;  // that memory gives in a nanosecond
  HopperPlan best;
  double least = 0.0;
  const int64_t depths = ceil_div(p.k, depth);
  const auto bytes = static_cast<double>(kRowBytes) * static_cast<double>(depths) * static_cast<double>(p.count) *
                     static_cast<double>((p.shares_a ? 0 : p.m) + (p.shares_b ? 0 : p.n));
  const auto consider = [&](HopperShape shape, int64_t splits) {
    const HopperFacts& facts = kHopperFacts[static_cast<int>(shape)];
    const int64_t each = ceil_div(depths, splits);
    if (splits > 1 && (each < 4 || ceil_div(depths, each) != splits)) return;
    const int64_t tiles = ceil_div(p.m, facts.rows) * ceil_div(p.n, facts.columns) * p.count * splits;
    const int64_t rounds = ceil_div(tiles, kProcessors);
    const int64_t turns = ceil_div(rounds, facts.blocks);
    const double stages = static_cast<double>(rounds * each) * facts.busy;
    const double waits = static_cast<double>(turns * each) * facts.alone;
    double time = stages > waits ? stages : waits;
    if (time < bytes / kBytesEach) time = bytes / kBytesEach;
    time += facts.ends + static_cast<double>(turns - 1) * 500.0;
    if (splits > 1) {
      time += 1500.0 + static_cast<double>(p.count * p.m * p.n) * static_cast<double>(8 * splits) / kBytesEach;
    }
    if (least == 0.0 || time < least) {
      least = time;
      best = {shape, static_cast<int>(splits)};
    }
  };
  for (const HopperShape shape : {HopperShape::wider, HopperShape::wide, HopperShape::square, HopperShape::tall,
                                  HopperShape::flat, HopperShape::small}) {
    consider(shape, 1);
  }
  // k is cut where even the smaller tiles leave multiprocessors without work.
  if (ceil_div(p.m, 64) * ceil_div(p.n, 128) * p.count < kProcessors) {
    for (const int64_t splits : {2, 3, 4, 6, 8, 12, 16, 24, 32}) {
      consider(HopperShape::square, splits);
      consider(HopperShape::flat, splits);
    }
  }
  return best;
}

// As though rows were columns: what suits tiles that are formed transposed.
inline Product transposed(const Product& p) noexcept {
  Product q = p;
  q.m = p.n;
  q.n = p.m;
  q.shares_a = p.shares_b;
  q.shares_b = p.shares_a;
  return q;
}

inline size_t hopper_scratch(const Product& p, int64_t depth) noexcept {
  const int64_t splits = hopper_plan(p, depth).splits;
  return splits > 1 ? static_cast<size_t>(splits * p.count * p.m * p.n) * sizeof(float) : 0;
}

// T is what the units multiply, Out what is stored. `scratch` has hopper_scratch(p, kDepthOf<T>) bytes.
template <class T, class Out, bool kTurned>
bool run_hopper(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  HopperView v;
  if (!hopper_view(p, sizeof(T), v)) return false;
  const bool across = std::is_same_v<T, Tf32> && !v.b.along_k;
  const HopperPlan plan = hopper_plan(across ? transposed(p) : p, kDepthOf<T>);
  if (plan.splits > 1) {
    const bool done = plan.shape == HopperShape::flat
                          ? launch_hopper_shape<T, float, kTurned, 64, 128>(p, v, scratch, plan.splits, stream)
                          : launch_hopper_shape<T, float, kTurned, 128, 128>(p, v, scratch, plan.splits, stream);
    if (done) launch_sum_parts<Out>(p, scratch, plan.splits, stream);
    return done;
  }
  switch (plan.shape) {
    case HopperShape::small:
      return launch_hopper_shape<T, Out, kTurned, 64, 64>(p, v, p.c, 1, stream);
    case HopperShape::tall:
      return launch_hopper_shape<T, Out, kTurned, 128, 64>(p, v, p.c, 1, stream);
    case HopperShape::flat:
      return launch_hopper_shape<T, Out, kTurned, 64, 128>(p, v, p.c, 1, stream);
    case HopperShape::square:
      return launch_hopper_shape<T, Out, kTurned, 128, 128>(p, v, p.c, 1, stream);
    case HopperShape::wide:
      return launch_hopper_shape<T, Out, kTurned, 128, 192>(p, v, p.c, 1, stream);
    default:
      return launch_hopper_shape<T, Out, kTurned, 128, 256>(p, v, p.c, 1, stream);
  }
}

// Rows whose length is odd for the copy engine are worth copying first where the product is large; by sizes alone.
inline bool packing_pays(const Product& p) noexcept {
  return (p.k % 8 != 0 || p.n % 8 != 0 || p.m % 8 != 0) && p.m >= 128 && p.n >= 128 && p.k >= 128 && p.count < 65536;
}

// As run_hopper, on copies of the factors. `scratch` has hopper_scratch(p) bytes behind those of the plan.
template <class T>
bool run_hopper_packed(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  const PackPlan s = pack_plan<Copied<T>>(p);
  const Product q = of_packed(p, s, launch_pack<Copied<T>>(p, s, scratch, stream));
  return run_hopper<T, T, false>(q, static_cast<unsigned char*>(scratch) + s.bytes, stream);
}

// ---- float32 with fewer digits, on Hopper ----

// What the modes that give up digits do to a product of these sizes; by sizes alone.
inline bool faster_suits(const Product& p) noexcept {
  constexpr double kLeastWork = 128.0 * 128.0 * 128.0;
  constexpr int64_t kMost = int64_t{1} << 30;
  return !skinny_suits(p) && p.k >= 32 && p.work() >= kLeastWork && p.count < 65536 && p.m < kMost && p.n < kMost &&
         p.k < kMost;
}
inline bool faster_packs(const Product& p) noexcept {
  constexpr double kLeastWork = 384.0 * 384.0 * 384.0;
  return faster_suits(p) && p.work() >= kLeastWork;
}

inline size_t faster_scratch(const Product& p) noexcept {
  const size_t copied = faster_packs(p) ? pack_plan<Copied<float>>(p).bytes : 0;  // more than pack_plan<Rounded>
  size_t most = hopper_scratch(p, kDepthOf<BFloat16>);
  for (const size_t as_tf32 : {hopper_scratch(p, kDepthOf<Tf32>), hopper_scratch(transposed(p), kDepthOf<Tf32>)}) {
    if (as_tf32 > most) most = as_tf32;
  }
  return copied + most;
}

// As tf32: the units take A along k, so others are turned first. `scratch` has faster_scratch(p) bytes.
template <class T>
  requires std::is_same_v<T, float>
bool run_tf32(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  HopperView v;
  const bool readable = hopper_view(p, sizeof(float), v);
  const bool pack_a = !readable || !v.a.along_k;
  const bool pack_b = !readable;
  if (!pack_a && !pack_b) return run_hopper<Tf32, float, true>(p, scratch, stream);
  if (!faster_packs(p)) return false;
  const PackPlan s = pack_plan<Copied<float>>(p, pack_a, pack_b);
  const Product q = of_packed(p, s, launch_pack<Copied<float>>(p, s, scratch, stream));
  return run_hopper<Tf32, float, true>(q, static_cast<unsigned char*>(scratch) + s.bytes, stream);
}

// Rounded to bfloat16. `scratch` has faster_scratch(p) bytes.
template <class T>
  requires std::is_same_v<T, float>
bool run_rounded(const Product& p, void* scratch, cudaStream_t stream) noexcept {
  if (!faster_packs(p)) return false;
  const PackPlan s = pack_plan<Rounded>(p);
  const Product q = of_packed(p, s, launch_pack<Rounded>(p, s, scratch, stream));
  return run_hopper<BFloat16, float, false>(q, static_cast<unsigned char*>(scratch) + s.bytes, stream);
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

// For kernels that store results as they are: `launch` gets the product without its epilogue, which follows if it says true.
template <class T, class F>
bool then_finish(const Product& p, cudaStream_t stream, const F& launch) noexcept {
  Product bare = p;
  bare.finish = {};
  if (!launch(bare)) return false;
  launch_finish<T>(p.c, p.count * p.m * p.n, p.finish, stream);
  return true;
}

template <class T>
void run_float(const Product& p, void* scratch, Float32Mode mode, cudaStream_t stream) noexcept {
  if (mode != Float32Mode::highest && p.k > 0 && hopper_here() && faster_suits(p)) {
    const bool done = then_finish<T>(p, stream, [&](const Product& bare) {
      return (mode == Float32Mode::medium && run_rounded<T>(bare, scratch, stream)) ||
             run_tf32<T>(bare, scratch, stream);
    });
    if (done) return;
  }
  if (small_suits(p)) return long_pays(p) ? launch_long<T>(p, stream) : launch_small<T>(p, stream);
  const bool split = split_pays(p) && hopper_here() && then_finish<T>(p, stream, [&](const Product& bare) {
                       SplitVerdict* verdict = nullptr;
                       if (!launch_split<T>(bare, scratch, verdict, stream)) return false;
                       run_plain_float<T>(bare, scratch, verdict, stream);
                       return true;
                     });
  if (!split) run_plain_float<T>(p, scratch, nullptr, stream);
}

// ---- the entry points ----

template <class T>
constexpr bool kIs16Bit = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

// Which types have the kernels for few rows.
template <class T>
constexpr bool kHasSkinny = std::is_same_v<T, float> || std::is_same_v<T, double> || kIs16Bit<T>;

// Whether few rows or columns are worth a kernel of their own: where the other factor is small, there is nothing to read at length.
template <class T>
bool skinny_pays(const Product& p) noexcept {
  constexpr int64_t kLeast = 65536;  // elements of the other factors
  if (!skinny_suits(p)) return false;
  const int64_t few = p.m < p.n ? p.m : p.n;
  const int64_t many = p.m < p.n ? p.n : p.m;
  return !std::is_same_v<T, float> || few < 4 || many * p.k > kLeast / p.count;
}

template <class T>
size_t product_scratch(const Product& p) noexcept {
  if (p.empty()) return 0;
  size_t bytes = simt_scratch<T>(p);
  const auto at_least = [&](size_t wanted) {
    if (wanted > bytes) bytes = wanted;
  };
  if constexpr (kHasSkinny<T>) {
    if (skinny_pays<T>(p)) at_least(skinny_scratch<T>(p));
  }
  if constexpr (std::is_same_v<T, float>) {
    if (split_pays(p) && hopper_here()) at_least(pack_plan<InParts>(p).bytes);
    if (faster_suits(p) && hopper_here()) at_least(faster_scratch(p));
  }
  if constexpr (kIs16Bit<T>) {
    const size_t copies = packing_pays(p) ? pack_plan<Copied<T>>(p).bytes : 0;
    if (hopper_here()) at_least(hopper_scratch(p, kDepthOf<T>) + copies);
  }
  return bytes;
}

// Enqueues the product; `scratch` has product_scratch<T>(p) bytes.
template <class T>
void run_product(const Product& p, void* scratch, Float32Mode mode, cudaStream_t stream) noexcept {
  if (p.empty()) return;
  if constexpr (kIs16Bit<T>) {
    // One row along k is read as fast by ordinary arithmetic.
    const bool dots = (p.m == 1 && p.b_row == 1) || (p.n == 1 && p.a_col == 1);
    if (!dots && few_suits<T>(p)) return launch_few<T>(p, scratch, stream);
    constexpr int64_t kFewForUnits = 2;
    if (p.k > 0 && hopper_here() && p.m > kFewForUnits && p.n > kFewForUnits) {
      const bool done = then_finish<T>(p, stream, [&](const Product& bare) {
        return run_hopper<T, T, true>(bare, scratch, stream) ||
               (packing_pays(bare) && run_hopper_packed<T>(bare, scratch, stream));
      });
      if (done) return;
    }
    if (skinny_suits(p)) return launch_skinny<T>(p, scratch, stream);
    if (p.k > 0 && card().major >= 8 && built_for() >= Built::mma) return launch_mma<T>(p, scratch, stream);
    launch_simt<T>(p, scratch, stream);
  } else {
    if constexpr (kHasSkinny<T>) {
      if (skinny_pays<T>(p)) return launch_skinny<T>(p, scratch, stream);
    }
    if constexpr (std::is_same_v<T, float>) {
      return run_float<T>(p, scratch, mode, stream);
    }
    if constexpr (std::is_same_v<T, double>) {
      if (p.k > 0 && card().major >= 8 && built_for() >= Built::mma) return launch_double<T>(p, scratch, stream);
    }
    launch_simt<T>(p, scratch, stream);
  }
}

}  // namespace gorgo::cuda

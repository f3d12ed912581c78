// What the CUDA files of the reductions share: which axes go, what becomes of a folded value, and the launcher.
//
// Invariant: a kernel is made per policy; ops that differ in how they store (sum and mean, any and all) share one.
// Read next: kernels_cuda.cu, kernels/cuda/fold.cuh.
#pragma once

#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS cuda
#endif

#include "kernels/cuda/fold.cuh"
#include "ops/reduce/axes.h"

namespace gorgo::cuda {
namespace {

// What is stored of a partial result.
enum class Keep : uint8_t { Value, Mean, Count, Any, All, Variance, Deviation, Index };

struct Finish {
  void* out = nullptr;
  int64_t count = 0;     // elements behind one output
  double divisor = 1.0;  // of means and variances
  DType dtype = DType::Float32;
  int bytes = 4;  // of an output
  Keep keep = Keep::Value;
};

// How a policy's Out calls its store(finish, offset, partial).
template <class Policy, class Partial>
struct Stored : Finish {
#if defined(__CUDACC__)
  GORGO_DEVICE void put(int64_t at, const Partial& p) const { Policy::store(*this, at, p); }
#endif
};

inline double divisor_of(const ReduceAttrs&, int64_t count) noexcept { return static_cast<double>(count); }
inline double divisor_of(const SumAttrs&, int64_t) noexcept { return 1.0; }
inline double divisor_of(const SumToAttrs&, int64_t) noexcept { return 1.0; }
inline double divisor_of(const ArgAttrs&, int64_t) noexcept { return 1.0; }
inline double divisor_of(const VarAttrs& a, int64_t count) noexcept {
  const double freedom = static_cast<double>(count) - a.correction;
  return freedom > 0.0 ? freedom : 0.0;
}

// Once for each kind of attributes: partial results of 16 bytes at most.
template <class Attrs, size_t kPartialBytes>
size_t reduction_scratch(const KernelArgs& args) noexcept {
  const KOperand* const in[] = {&args.in[0]};
  // The order of reduced axes has no say in the number of chunks unless it forbids columns.
  const FoldPlan<1> plan(in, reduced_axes(args.attrs_as<Attrs>(), args), std::is_same_v<Attrs, ArgAttrs>);
  return plan.scratch_bytes(kPartialBytes);
}

#if defined(__CUDACC__)
template <class Policy, class Attrs, Keep kKeep>
void run_reduction(const KernelArgs& args, int64_t) noexcept {
  const auto& attrs = args.attrs_as<Attrs>();
  const KOperand* const in[] = {&args.in[0]};
  const FoldPlan<1> plan(in, reduced_axes(attrs, args), std::is_same_v<Attrs, ArgAttrs>);
  typename Policy::Out out;
  out.out = args.out[0].data;
  out.count = plan.count;
  out.divisor = kKeep == Keep::Value ? 1.0 : divisor_of(attrs, plan.count);
  out.dtype = args.out[0].dtype;
  out.bytes = static_cast<int>(dtype_size(out.dtype));
  out.keep = kKeep;
  run_fold<Policy>(in, plan, out, args.scratch, stream_of(args));
}

template <class Policy, class Attrs, Keep kKeep>
void add_reduction(KernelSink& sink, const char* op, DType dtype) {
  add(sink, op, dtype, run_reduction<Policy, Attrs, kKeep>, reduction_scratch<Attrs, sizeof(typename Policy::Partial)>);
}

// ---- policies that fold values by one operation ----

// Fold: Storage, Lane, Partial, kFlushes; map(element), identity(), fold(Lane, Lane), widen(Lane), none(), merge(Partial, Partial).
// A lane folds a few elements, flush() moves them on to the partial result where that is more precise.
template <class Fold>
struct Folding {
  using Storage = typename Fold::Storage;
  using Lane = typename Fold::Lane;
  using Partial = typename Fold::Partial;
  using Out = Stored<Fold, Partial>;
  static constexpr int kInputs = 1;
  static constexpr bool kCentred = false;

  template <int kLanes>
  struct Run {
    Lane lane[kLanes];
    Partial partial;

    GORGO_DEVICE Run() : partial(Fold::none()) { reset(); }
    GORGO_DEVICE void add(const Storage (&v)[1], int j, uint32_t) {
      lane[j % kLanes] = Fold::fold(lane[j % kLanes], Fold::map(v[0]));
    }
    GORGO_DEVICE void flush() {
      if constexpr (Fold::kFlushes) {
        partial = Fold::merge(partial, Fold::widen(folded()));
        reset();
      }
    }
    GORGO_DEVICE Partial finish(int64_t) {
      if constexpr (!Fold::kFlushes) partial = Fold::merge(partial, Fold::widen(folded()));
      return partial;
    }

   private:
    GORGO_DEVICE void reset() {
#pragma unroll
      for (Lane& l : lane) l = Fold::identity();
    }
    GORGO_DEVICE Lane folded() const {
      if constexpr (kLanes == 4) {
        return Fold::fold(Fold::fold(lane[0], lane[1]), Fold::fold(lane[2], lane[3]));
      } else {
        static_assert(kLanes == 1);
        return lane[0];
      }
    }
  };
  GORGO_DEVICE static Partial none() { return Fold::none(); }
  GORGO_DEVICE static Partial merge(const Partial& a, const Partial& b) { return Fold::merge(a, b); }
};

// A real number as one of the floating dtypes.
GORGO_DEVICE void put_real(const Finish& f, int64_t at, double v) {
  switch (f.dtype) {
    case DType::Float64:
      static_cast<double*>(f.out)[at] = v;
      break;
    case DType::Float32:
      static_cast<float*>(f.out)[at] = static_cast<float>(v);
      break;
    case DType::Float16:
      static_cast<Float16*>(f.out)[at] = lower<Float16>(static_cast<float>(v));
      break;
    default:
      static_cast<BFloat16*>(f.out)[at] = lower<BFloat16>(static_cast<float>(v));
      break;
  }
}
// The lowest bits of an integer, as many as the output has.
GORGO_DEVICE void put_integer(const Finish& f, int64_t at, uint64_t v) {
  switch (f.bytes) {
    case 8:
      static_cast<uint64_t*>(f.out)[at] = v;
      break;
    case 4:
      static_cast<uint32_t*>(f.out)[at] = static_cast<uint32_t>(v);
      break;
    case 2:
      static_cast<uint16_t*>(f.out)[at] = static_cast<uint16_t>(v);
      break;
    default:
      static_cast<uint8_t*>(f.out)[at] = static_cast<uint8_t>(v);
      break;
  }
}
#endif

}  // namespace

void fill_reduce_order(KernelSink& sink);
void fill_reduce_arg(KernelSink& sink);

}  // namespace gorgo::cuda

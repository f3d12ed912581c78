// cummax and cummin on CUDA: the running extreme, and where it was last met.
//
// Invariant: of equal elements the last wins, and so does the last NaN.
// Read next: kernels_cuda.cuh.
#include "ops/scan/kernels_cuda.cuh"

namespace gorgo::cuda {
namespace {

template <class Lane>
struct Best {
  Lane value;
  int64_t index;  // -1: none yet
};
template <class Policy, class S>
struct Both {
  S* values;
  int64_t* indices;
  GORGO_DEVICE void put(int64_t at, const typename Policy::State& s) const {
    values[at] = lower<S>(s.value);
    indices[at] = s.index;
  }
};

template <class S, bool kGreatest>
struct ExtremeScan {
  using Storage = S;
  // What is shuffled between lanes has 32 bits or more.
  using Lane = std::conditional_t<std::is_integral_v<S> && sizeof(S) < 4, int32_t, ComputeType<S>>;
  using State = Best<Lane>;
  using Out = Both<ExtremeScan, S>;
  static constexpr int kInputs = 1;
  static constexpr bool kPacks = false;
  GORGO_DEVICE static bool replaces(Lane v, Lane best) {
    if constexpr (std::is_floating_point_v<Lane>) {
      if (v != v) return true;
      if (best != best) return false;
    }
    return kGreatest ? v >= best : v <= best;
  }
  GORGO_DEVICE static State neutral() { return {Lane{0}, -1}; }
  GORGO_DEVICE static State of(const S (&v)[1], int64_t position) { return {static_cast<Lane>(lift(v[0])), position}; }
  GORGO_DEVICE static State combine(const State& a, const State& b) {
    return a.index < 0 || (b.index >= 0 && replaces(b.value, a.value)) ? b : a;
  }
};

template <class Policy>
void run(const KernelArgs& args, int64_t) noexcept {
  run_scan<Policy>(args, args.attrs_as<ScanAttrs>().axis, 0,
                   {args.out[0].as<typename Policy::Storage>(), args.out[1].as<int64_t>()});
}
template <class Policy>
size_t scratch(const KernelArgs& args) noexcept {
  if (args.out[0].numel == 0) return 0;
  return ScanPlan<1>(args, args.attrs_as<ScanAttrs>().axis).scratch_bytes(sizeof(typename Policy::State));
}

template <class S>
void add_extremes(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add(sink, "cummax", d, run<ExtremeScan<S, true>>, scratch<ExtremeScan<S, true>>);
  add(sink, "cummin", d, run<ExtremeScan<S, false>>, scratch<ExtremeScan<S, false>>);
}

}  // namespace

void fill_scan_extremes(KernelSink& sink) {
  add_extremes<bool>(sink);
  add_extremes<uint8_t>(sink);
  add_extremes<uint16_t>(sink);
  add_extremes<uint32_t>(sink);
  add_extremes<uint64_t>(sink);
  add_extremes<int8_t>(sink);
  add_extremes<int16_t>(sink);
  add_extremes<int32_t>(sink);
  add_extremes<int64_t>(sink);
  add_extremes<float>(sink);
  add_extremes<double>(sink);
  add_extremes<BFloat16>(sink);
  add_extremes<Float16>(sink);
}

}  // namespace gorgo::cuda

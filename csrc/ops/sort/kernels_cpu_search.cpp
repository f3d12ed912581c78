// CPU kernel of bucketize: a binary search for each element.
//
// Compiled once per ISA. Read next: sort.cpp.
#include "kernels/move.h"
#include "ops/sort/attrs.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

template <class T>
struct Bucketize {
  using C = ComputeType<T>;
  static constexpr int64_t kGrain = 2048;

  // NaN lies behind all numbers.
  GORGO_INLINE static bool lies_before(C a, C b) noexcept {
    if constexpr (is_floating(kDTypeOf<T>)) {
      return a < b || (__builtin_isnan(b) && !__builtin_isnan(a));
    } else {
      return a < b;
    }
  }
  // How many of the n edges lie before v.
  GORGO_INLINE static int64_t place(C v, const T* edges, int64_t step, int64_t n, bool right) noexcept {
    int64_t first = 0;
    while (n > 0) {
      const int64_t half = n / 2;
      const C edge = static_cast<C>(edges[(first + half) * step]);
      const bool behind = right ? !lies_before(v, edge) : lies_before(edge, v);
      first += behind ? half + 1 : 0;
      n = behind ? n - half - 1 : half;
    }
    return first;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& edges = args.in[1];
    const KOperand& out = args.out[0];
    const bool right = args.attrs_as<BucketizeAttrs>().right;
    const int64_t n = edges.shape[edges.rank - 1];
    const int64_t step = edges.strides[edges.rank - 1];
    const int64_t end = smaller_of((task + 1) * kGrain, out.numel);
    for (int64_t i = task * kGrain; i < end; ++i) {
      int64_t rest = i;
      int64_t at = 0;
      int64_t line = 0;
      if (!x.scalar) {
        for (int32_t k = out.rank - 1; k >= 0; --k) {
          const int64_t c = rest % out.shape[k];
          rest /= out.shape[k];
          at += c * x.strides[k];
          if (edges.rank > 1 && k + 1 < out.rank) line += c * edges.strides[k];
        }
      }
      out.as<int64_t>()[i] = place(static_cast<C>(x.as<const T>()[at]), edges.as<const T>() + line, step, n, right);
    }
  }
  GORGO_INLINE static int64_t smaller_of(int64_t a, int64_t b) noexcept { return a < b ? a : b; }
  static int64_t tasks(const KernelArgs& args) noexcept { return (args.out[0].numel + kGrain - 1) / kGrain; }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}); }
};

template <class T>
void fill_search_of(KernelSink& sink) {
  if constexpr (!is_complex(kDTypeOf<T>)) sink.add("bucketize", kDTypeOf<T>, Bucketize<T>::kernel());
}

}  // namespace

void fill_search(KernelSink& sink) {
#define GORGO_X(name, type, text) fill_search_of<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
}
#else  // inherited
void fill_search(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

// CPU kernel of bucketize: binary searches, several at a time, so that each waits for memory while others go on.
//
// Compiled once per ISA. Read next: sort.cpp.
#include "kernels/move.h"
#include "ops/sort/attrs.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

#ifdef GORGO_WITH_MINIMAL_FILTERS
constexpr int kSideBySide = 8;
#else
constexpr int kSideBySide = 1;
#endif

template <class T>
struct Bucketize {
  using C = ComputeType<T>;
  static constexpr int64_t kGrain = 2048;
  static constexpr int64_t kNear = 15;

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
  // The same for `kSideBySide` elements, none NaN. Edges that are NaN lie before none.
  template <bool kRight>
  [[gnu::noinline]] static void places(const C* v, const T* edges, int64_t step, int64_t n, int64_t* found) noexcept {
    int64_t first[kSideBySide] = {};
    while (n > 0) {
      const int64_t half = n > 1 ? n / 2 : 1;
      const T* const probed = edges + (half - 1) * step;
#pragma GCC unroll 8
      for (int k = 0; k < kSideBySide; ++k) {
        const C edge = static_cast<C>(probed[first[k]]);
        first[k] += (half * step) & -static_cast<int64_t>(kRight ? edge <= v[k] : edge < v[k]);
      }
      n -= half;
    }
    for (int k = 0; k < kSideBySide; ++k) found[k] = step == 1 ? first[k] : first[k] / step;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& edges = args.in[1];
    const KOperand& out = args.out[0];
    const bool right = args.attrs_as<BucketizeAttrs>().right;
    const int64_t n = edges.shape[edges.rank - 1];
    const int64_t step = n > 1 ? edges.strides[edges.rank - 1] : 1;
    const T* const shared = edges.as<const T>();
    const int64_t end = smaller_of((task + 1) * kGrain, out.numel);
    int64_t last = 0;  // where the last ones were found
    const bool side_by_side = x.contiguous && !x.scalar && edges.rank == 1 && step != 0;
    for (int64_t i = task * kGrain; i < end; ++i) {
      if (side_by_side && end - i >= kSideBySide) {
        C v[kSideBySide];
        bool odd = false;
        bool rises = true;
        for (int k = 0; k < kSideBySide; ++k) {
          v[k] = static_cast<C>(x.as<const T>()[i + k]);
          odd = odd | (v[k] != v[k]);
          rises = rises & (k == 0 || v[k - 1] <= v[k]);
        }
        if (!odd) [[likely]] {
          // Elements that rise are first looked for among the few edges behind those of the last ones.
          int64_t from = 0;
          int64_t count = n;
          if (rises && n > kNear) {
            const auto behind = [&](int64_t edge, C value) {
              const C e = static_cast<C>(shared[edge * step]);
              return right ? e <= value : e < value;
            };
            const int64_t near = smaller_of(kNear, n - last);
            if ((last == 0 || behind(last - 1, v[0])) &&
                (last + near == n || !behind(last + near, v[kSideBySide - 1]))) {
              from = last;
              count = near;
            }
          }
          int64_t* const found = out.as<int64_t>() + i;
          if (right) {
            places<true>(v, shared + from * step, step, count, found);
          } else {
            places<false>(v, shared + from * step, step, count, found);
          }
          for (int k = 0; k < kSideBySide; ++k) found[k] += from;
          last = found[kSideBySide - 1];
          i += kSideBySide - 1;
          continue;
        }
      }
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
      out.as<int64_t>()[i] = place(static_cast<C>(x.as<const T>()[at]), shared + line, step, n, right);
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

// CPU kernel of nonzero: chunks are counted, then placed, then written.
//
// Elements are seen as bits: one is zero if all its bits are, but for the signs of floats. 64 at a time become one number with a bit
// for each, and the places of its ones are written.
// Compiled once per ISA. Read next: kernels/places.h, kernels_cpu.cpp, index.cpp.
#include "kernels/move.h"
#include "kernels/places.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Bits that tell an element of a dtype from zero.
uint64_t telling_bits(DType d) noexcept {
  switch (d) {
    case DType::Float16:
    case DType::BFloat16:
      return 0x7fff;
    case DType::Float32:
      return 0x7fffffff;
    case DType::Complex64:
      return 0x7fffffff7fffffff;
    case DType::Float64:
    case DType::Complex128:
      return ~uint64_t{0} >> 1;
    default:
      return ~uint64_t{0};
  }
}

template <class U, int kParts = 1>
struct Nonzero {
  using Memory [[gnu::may_alias]] = U;

  // Calls f(position, ones) for the blocks of the task's chunk, in order.
  template <class F>
  GORGO_INLINE static void scan(const KOperand& x, int64_t task, const F& f) noexcept {
    const MovePlan plan = plan_in_order(x);
    const int64_t stride = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
    const int64_t begin = task * kMoveGrain;
    const int64_t end = begin + kMoveGrain < x.numel ? begin + kMoveGrain : x.numel;
    const auto telling = static_cast<U>(telling_bits(x.dtype));
    const Memory* data = x.as<const Memory>();
    int64_t at = begin;
    int64_t filled = 0;
    U tile[kPlacesBlock * kParts];
    walk_lines(plan, begin, end, [&](int64_t, int64_t from, int64_t n) GORGO_INLINE_LAMBDA {
      int64_t i = 0;
      while (i < n) {
        if (filled == 0 && stride == 1 && n - i >= kPlacesBlock) {
          f(at, ones_of<U, kParts>(reinterpret_cast<const U*>(data) + (from + i) * kParts, telling));
          at += kPlacesBlock;
          i += kPlacesBlock;
          continue;
        }
        for (; i < n && filled < kPlacesBlock; ++i, ++filled) {
          for (int k = 0; k < kParts; ++k) tile[filled * kParts + k] = data[(from + i * stride) * kParts + k];
        }
        if (filled < kPlacesBlock) return;
        f(at, ones_of<U, kParts>(tile, telling));
        at += kPlacesBlock;
        filled = 0;
      }
    });
    if (filled == 0) return;
    for (int64_t i = filled * kParts; i < kPlacesBlock * kParts; ++i) tile[i] = 0;
    f(at, ones_of<U, kParts>(tile, telling));
  }
  static void count(const KernelArgs& args, int64_t task) noexcept {
    int64_t n = 0;
    scan(args.in[0], task, [&](int64_t, uint64_t ones) GORGO_INLINE_LAMBDA { n += __builtin_popcountll(ones); });
    static_cast<int64_t*>(args.scratch)[task] = n;
  }
  static int64_t chunks(const KernelArgs& args) noexcept { return move_tasks(args.in[0].numel); }
  static size_t scratch(const KernelArgs& args) noexcept {
    return static_cast<size_t>(chunks(args) + 1) * sizeof(int64_t);
  }
  static void sum(const KernelArgs& args, int64_t) noexcept {
    int64_t n = 0;
    for (int64_t k = 0; k < chunks(args); ++k) n += static_cast<const int64_t*>(args.scratch)[k];
    args.out[0].as<int64_t>()[0] = n;
  }
  static void place(const KernelArgs& args, int64_t) noexcept {
    auto* starts = static_cast<int64_t*>(args.scratch);
    int64_t n = 0;
    const int64_t count = chunks(args);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t here = starts[k];
      starts[k] = n;
      n += here;
    }
    starts[count] = n;
  }
  static void write(const KernelArgs& args, int64_t task) noexcept {
    const KOperand& x = args.in[0];
    const int64_t* starts = static_cast<const int64_t*>(args.scratch) + task;
    if (starts[0] == starts[1]) return;
    auto* to = args.out[0].as<int64_t>() + starts[0] * x.rank;
    if (x.rank == 1) {
      const int64_t* end = args.out[0].as<int64_t>() + starts[1];
      scan(x, task,
           [&](int64_t position, uint64_t ones) GORGO_INLINE_LAMBDA { to = write_places(ones, position, to, end); });
      return;
    }
    const int32_t last = x.rank - 1;
    int64_t line = 0;  // where the current line begins, and where it ends
    int64_t line_end = 0;
    int64_t outer[64];
    scan(x, task, [&](int64_t position, uint64_t ones) GORGO_INLINE_LAMBDA {
      int64_t places[2 * kPlacesBlock];
      const int64_t* stop = write_places(ones, position, places, places + 2 * kPlacesBlock);
      for (const int64_t* p = places; p < stop; ++p) {
        if (*p >= line_end) {
          int64_t rest = *p / x.shape[last];
          line = rest * x.shape[last];
          line_end = line + x.shape[last];
          for (int32_t i = last - 1; i >= 0; --i) {
            outer[i] = rest % x.shape[i];
            rest /= x.shape[i];
          }
        }
        for (int32_t i = 0; i < last; ++i) to[i] = outer[i];
        to[last] = *p - line;
        to += x.rank;
      }
    });
  }
  static void add(KernelSink& sink, DType d) {
    sink.add("nonzero#count", d, Kernel::of({count, chunks}, {sum, nullptr}, scratch));
    Kernel k;
    k.phases[0] = {count, chunks};
    k.phases[1] = {place, nullptr};
    k.phases[2] = {write, chunks};
    k.phase_count = 3;
    k.scratch_bytes = scratch;
    sink.add("nonzero", d, k);
  }
};

}  // namespace

void fill_nonzero(KernelSink& sink);
void fill_nonzero(KernelSink& sink) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    switch (dtype_size(d)) {
      case 1:
        Nonzero<uint8_t>::add(sink, d);
        break;
      case 2:
        Nonzero<uint16_t>::add(sink, d);
        break;
      case 4:
        Nonzero<uint32_t>::add(sink, d);
        break;
      case 8:
        Nonzero<uint64_t>::add(sink, d);
        break;
      default:
        Nonzero<uint64_t, 2>::add(sink, d);
        break;
    }
  }
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

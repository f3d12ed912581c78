// CPU kernel of nonzero: chunks are counted, then placed, then written.
//
// Elements are seen as bits: one is zero if all its bits are, but for the signs of floats. 64 at a time become one number with a bit
// for each, and the places of its ones are written.
// Compiled once per ISA. Read next: kernels_cpu.cpp, index.cpp.
#include "kernels/move.h"
#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int kBlock = 64;

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

// Which of 64 elements, of `kParts` numbers each, are not zero.
template <class U, int kParts>
GORGO_INLINE uint64_t ones_of(const U* p, U telling) noexcept {
  uint64_t ones = 0;
  if constexpr (kParts == 1) {
#if defined(GORGO_ISA_AVX512)
    constexpr int kLanes = 64 / static_cast<int>(sizeof(U));
    const auto tell = (__m512i)broadcast<Vec<U>>(telling).raw;
    for (int i = 0; i < kBlock; i += kLanes) {
      const auto v = (__m512i)load_raw<Vec<U>>(p + i).raw;
      if constexpr (sizeof(U) == 1) ones |= _mm512_test_epi8_mask(v, tell);
      if constexpr (sizeof(U) == 2) ones |= static_cast<uint64_t>(_mm512_test_epi16_mask(v, tell)) << i;
      if constexpr (sizeof(U) == 4) ones |= static_cast<uint64_t>(_mm512_test_epi32_mask(v, tell)) << i;
      if constexpr (sizeof(U) == 8) ones |= static_cast<uint64_t>(_mm512_test_epi64_mask(v, tell)) << i;
    }
    return ones;
#elif defined(GORGO_ISA_AVX2)
    constexpr int kLanes = 32 / static_cast<int>(sizeof(U));
    using V = Vec<U>;
    const auto zeros = [&](int i) GORGO_INLINE_LAMBDA {
      return (__m256i)((load_raw<V>(p + i) & broadcast<V>(telling)) == broadcast<V>(U{0})).raw;
    };
    for (int i = 0; i < kBlock; i += 32) {
      uint32_t some = 0;
      if constexpr (sizeof(U) == 1) {
        some = static_cast<uint32_t>(_mm256_movemask_epi8(zeros(i)));
      } else if constexpr (sizeof(U) == 2) {
        const auto packed = _mm256_packs_epi16(zeros(i), zeros(i + kLanes));
        some = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(packed, 0xd8)));
      } else {
        for (int j = 0; j < 32; j += kLanes) {
          const auto z = zeros(i + j);
          const int mask = sizeof(U) == 4 ? _mm256_movemask_ps((__m256)z) : _mm256_movemask_pd((__m256d)z);
          some |= static_cast<uint32_t>(mask) << j;
        }
      }
      ones |= static_cast<uint64_t>(~some) << i;
    }
    return ones;
#endif
  }
  for (int i = 0; i < kBlock; ++i) {
    U part = 0;
    for (int k = 0; k < kParts; ++k)
      part = static_cast<U>(part | (load_raw<Vec<U, 1>>(p + i * kParts + k).raw[0] & telling));
    ones |= static_cast<uint64_t>(part != 0) << i;
  }
  return ones;
}

// Writes first + the places of the ones, and returns where the next belongs. Up to `end` more may be overwritten.
GORGO_INLINE int64_t* write_places(uint64_t ones, int64_t first, int64_t* to, const int64_t* end) noexcept {
#if defined(GORGO_ISA_AVX512)
  if (end - to >= kBlock) {
    auto places = _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    for (; ones != 0; ones >>= 8) {
      const auto eight = static_cast<__mmask8>(ones);
      _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(eight, places));
      to += __builtin_popcount(eight);
      places = _mm512_add_epi64(places, _mm512_set1_epi64(8));
    }
    return to;
  }
#elif defined(GORGO_ISA_AVX2)
  // For each set of four lanes, which to take, as pairs of 32-bit lanes.
  alignas(32) static constexpr auto kTaken = [] {
    struct Table {
      int32_t lanes[16][8];
    } table{};
    for (int set = 0; set < 16; ++set) {
      int at = 0;
      for (int i = 0; i < 4; ++i) {
        if ((set >> i & 1) == 0) continue;
        table.lanes[set][at++] = 2 * i;
        table.lanes[set][at++] = 2 * i + 1;
      }
    }
    return table;
  }();
  if (end - to >= kBlock) {
    auto places = _mm256_add_epi64(_mm256_set1_epi64x(first), _mm256_setr_epi64x(0, 1, 2, 3));
    for (; ones != 0; ones >>= 4) {
      const auto four = static_cast<int>(ones & 15);
      const auto lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(kTaken.lanes[four]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(places, lanes));
      to += __builtin_popcount(static_cast<unsigned>(four));
      places = _mm256_add_epi64(places, _mm256_set1_epi64x(4));
    }
    return to;
  }
#endif
  static_cast<void>(end);
  for (; ones != 0; ones &= ones - 1) *to++ = first + __builtin_ctzll(ones);
  return to;
}

template <class U, int kParts = 1>
struct Nonzero {
  using Memory [[gnu::may_alias]] = U;

  // Calls f(position, ones) for the blocks of the task's chunk, in order.
  template <class F>
  GORGO_INLINE static void scan(const KOperand& x, int64_t task, const F& f) noexcept {
    MovePlan plan;
    int64_t step = x.numel;
    for (int32_t i = 0; i < x.rank; ++i) {
      step /= x.shape[i];
      plan.add(x.shape[i], step, x.strides[i]);
    }
    const int64_t stride = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
    const int64_t begin = task * kMoveGrain;
    const int64_t end = begin + kMoveGrain < x.numel ? begin + kMoveGrain : x.numel;
    const auto telling = static_cast<U>(telling_bits(x.dtype));
    const Memory* data = x.as<const Memory>();
    int64_t at = begin;
    int64_t filled = 0;
    U tile[kBlock * kParts];
    walk_lines(plan, begin, end, [&](int64_t, int64_t from, int64_t n) GORGO_INLINE_LAMBDA {
      int64_t i = 0;
      while (i < n) {
        if (filled == 0 && stride == 1 && n - i >= kBlock) {
          f(at, ones_of<U, kParts>(reinterpret_cast<const U*>(data) + (from + i) * kParts, telling));
          at += kBlock;
          i += kBlock;
          continue;
        }
        for (; i < n && filled < kBlock; ++i, ++filled) {
          for (int k = 0; k < kParts; ++k) tile[filled * kParts + k] = data[(from + i * stride) * kParts + k];
        }
        if (filled < kBlock) return;
        f(at, ones_of<U, kParts>(tile, telling));
        at += kBlock;
        filled = 0;
      }
    });
    if (filled == 0) return;
    for (int64_t i = filled * kParts; i < kBlock * kParts; ++i) tile[i] = 0;
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
      int64_t places[2 * kBlock];
      const int64_t* stop = write_places(ones, position, places, places + 2 * kBlock);
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

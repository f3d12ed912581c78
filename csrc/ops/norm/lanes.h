// How the norms see a tensor and what their vectors are: rows of channels of positions, and sums in double.
//
// Where a channel has one position (layer_norm, and batch_norm of features) the lanes of a vector are channels, otherwise positions
// of one channel. For kernel files (compiled per ISA). Read next: kernels_cpu.cpp, kernels_cpu_batch.cpp.
#pragma once

#include "core/counts.h"
#include "core/kernel_args.h"
#include "kernels/fold.h"
#include "ops/norm/attrs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kNormTaskElements = 16384;

constexpr KOperand kAbsent{nullptr, nullptr, nullptr, 0, 0, DType::Float32, true, false, false};
// Operand i, which may have been left out.
GORGO_INLINE const KOperand& optional(const KernelArgs& args, int i) {
  return i < args.in_count ? args.in[i] : kAbsent;
}

// Axes [first, last) of an operand as one.
struct Joined {
  const KOperand* x;
  int first, last;
  int64_t size = 1;
  int64_t stride = 1;
  bool regular = true;  // one stride leads through all of them

  [[gnu::noinline]] Joined(const KOperand& operand, int first_axis, int last_axis) noexcept
      : x(&operand), first(first_axis), last(last_axis) {
    int64_t next = 0;
    for (int i = last - 1; i >= first; --i) {
      size *= x->shape[i];
      if (x->shape[i] == 1) continue;
      if (next == 0) {
        stride = x->strides[i];
        next = stride;
      } else if (x->strides[i] != next) {
        regular = false;
      }
      next *= x->shape[i];
    }
  }
  [[nodiscard]] GORGO_INLINE int64_t at(int64_t index) const {
    if (regular) return index * stride;
    int64_t at = 0;
    for (int i = last - 1; i >= first; --i) {
      at += index % x->shape[i] * x->strides[i];
      index /= x->shape[i];
    }
    return at;
  }
};

// (rows, channels, positions) over an operand of any rank and layout: rows are its first `lead` axes, channels the next one.
struct Grid {
  const KOperand* x;
  Joined by_row, by_position;
  int64_t rows, channels, positions;
  int64_t channel_stride, position_stride;
  bool regular;  // of positions

  [[gnu::noinline]] Grid(const KOperand& operand, int lead) noexcept
      : x(&operand),
        by_row(operand, 0, lead),
        by_position(operand, lead + 1, operand.rank),
        rows(by_row.size),
        channels(operand.shape[lead]),
        positions(by_position.size),
        channel_stride(operand.strides[lead]),
        position_stride(by_position.stride),
        regular(by_position.regular) {}
  [[nodiscard]] GORGO_INLINE int64_t row_begin(int64_t row) const { return by_row.at(row); }
  [[nodiscard]] GORGO_INLINE int64_t position_at(int64_t p) const { return by_position.at(p); }
};

// Elements that do not lie side by side are copied, so many at a time: a vector loop reads dense memory, and there is
// one for all layouts. By the bits in memory, which types share.
constexpr int64_t kPieceElements = 256;

template <class M>
[[gnu::noinline]] void copy_apart(const M* from, int64_t stride, int64_t n, M* to) noexcept {
  gather(from, stride, n, to);
}
template <class M>
[[gnu::noinline]] void copy_positions(const M* from, const Grid& g, int64_t position, int64_t n, M* to) noexcept {
  for (int64_t i = 0; i < n; ++i) to[i] = from[g.position_at(position + i)];
}
// `lanes` channels of each of some rows, filled up with zeros to whole vectors.
template <class M, int kLanes>
[[gnu::noinline]] void copy_rows(const M* from, int64_t row_stride, int64_t channel_stride, int lanes, int64_t rows,
                                 M* to) noexcept {
  for (int64_t r = 0; r < rows; ++r, from += row_stride, to += kLanes) {
    if (channel_stride == 1) {
      store_raw(to, load_raw_partial<Vec<M, kLanes>>(from, lanes));
    } else {
      for (int k = 0; k < kLanes; ++k) to[k] = k < lanes ? from[k * channel_stride] : M{0};
    }
  }
}

template <class S>
GORGO_INLINE const MemoryLane<S>* bits_at(const S* p) {
  return reinterpret_cast<const MemoryLane<S>*>(p);
}
template <class S>
GORGO_INLINE MemoryLane<S>* bits_at(S* p) {
  return reinterpret_cast<MemoryLane<S>*>(p);
}

// Sums in double of vectors of C, by halves for float: vectors wider than a register are slow.
template <class C, int kLanes>
struct Sums {
  static constexpr int kParts = sizeof(C) == 4 ? 2 : 1;
  using P = Vec<double, kLanes / kParts>;
  P part[kParts];

  GORGO_INLINE Sums() {
    for (P& p : part) p = broadcast<P>(0.0);
  }
  GORGO_INLINE void add(Vec<C, kLanes> v) {
    if constexpr (kParts == 1) {
      part[0] = part[0] + v;
    } else {
      part[0] = part[0] + convert<double>(low_half(v));
      part[1] = part[1] + convert<double>(high_half(v));
    }
  }
  GORGO_INLINE void add_product(Vec<C, kLanes> a, Vec<C, kLanes> b) {
    if constexpr (kParts == 1) {
      part[0] = part[0] + a * b;
    } else {
      // Products of floats are exact in double: one rounding or two, the bits are the same.
      part[0] = mul_add(convert<double>(low_half(a)), convert<double>(low_half(b)), part[0]);
      part[1] = mul_add(convert<double>(high_half(a)), convert<double>(high_half(b)), part[1]);
    }
  }
  // The first n lanes from numbers in memory on, and back.
  template <bool kWhole>
  GORGO_INLINE static Sums read(const double* sums, int n, std::bool_constant<kWhole>) {
    Sums s;
    for (int k = 0; k < kParts; ++k) {
      const double* at = sums + k * P::kLanes;
      s.part[k] = kWhole ? load_raw<P>(at) : load_partial<double, P::kLanes>(at, lanes_of_part(k, n));
    }
    return s;
  }
  template <bool kWhole>
  GORGO_INLINE void write(double* sums, int n, std::bool_constant<kWhole>) const {
    for (int k = 0; k < kParts; ++k) {
      double* at = sums + k * P::kLanes;
      if constexpr (kWhole) {
        store_raw(at, part[k]);
      } else {
        store_partial(at, part[k], lanes_of_part(k, n));
      }
    }
  }
  GORGO_INLINE static int lanes_of_part(int k, int n) {
    const int left = n - k * P::kLanes;
    return left < 0 ? 0 : left < P::kLanes ? left : P::kLanes;
  }
  [[nodiscard]] GORGO_INLINE double folded() const {
    if constexpr (kParts == 1) {
      return fold_lanes<FoldSum>(part[0]);
    } else {
      return fold_lanes<FoldSum>(part[0] + part[1]);
    }
  }
};

// Calls f(i, n, whole) for the vectors of `count` elements: n lanes from i on, all of them where `whole` is true.
template <int kLanes, class F>
GORGO_INLINE void each_vector(int64_t count, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, kLanes, std::true_type{});
  if (i < count) f(i, static_cast<int>(count - i), std::false_type{});
}

// kChannels: lanes are channels, else positions.
template <class S, bool kChannels>
struct NormLanes {
  using C = ComputeType<S>;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));
  using V = Vec<C, kLanes>;
  using W = Vec<double, kLanes>;
  using Acc = Sums<C, kLanes>;

  GORGO_INLINE static bool is_side_by_side(const Grid& g) {
    return kChannels ? g.channel_stride == 1 : g.regular && g.position_stride == 1;
  }
  // n elements from (channel, position) of the row at `row` on, brought to the tile unless they lie side by side.
  GORGO_INLINE static const S* run(const Grid& g, const S* row, int64_t channel, int64_t position, int64_t n, S* tile) {
    const S* from = row + channel * g.channel_stride;
    if (!kChannels && !g.regular) {
      copy_positions(bits_at(from), g, position, n, bits_at(tile));
      return tile;
    }
    return kChannels ? run(from, g.channel_stride, n, tile)
                     : run(from + position * g.position_stride, g.position_stride, n, tile);
  }
  GORGO_INLINE static const S* run(const S* from, int64_t stride, int64_t n, S* tile) {
    if (stride == 1) return from;
    copy_apart(bits_at(from), stride, n, bits_at(tile));
    return tile;
  }
  template <bool kWhole>
  GORGO_INLINE static V read(const S* p, int n, std::bool_constant<kWhole>) {
    return kWhole ? load<S, kLanes>(p) : load_partial<S, kLanes>(p, n);
  }
  template <bool kWhole>
  GORGO_INLINE static void write(S* p, V v, int n, std::bool_constant<kWhole>) {
    if constexpr (kWhole) {
      store(p, v);
    } else {
      store_partial(p, v, n);
    }
  }
  template <bool kWhole>
  GORGO_INLINE static V first_lanes(V v, int n, std::bool_constant<kWhole>) {
    return kWhole ? v : keep_first(v, n, C{0});
  }
  // What was summed, in every lane that stands for its channel.
  GORGO_INLINE static W whole(const Acc& acc) {
    if constexpr (kChannels) {
      W w;
      __builtin_memcpy(&w, &acc.part, sizeof w);
      return w;
    } else {
      return broadcast<W>(acc.folded());
    }
  }
};

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

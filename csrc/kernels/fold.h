// Folding many elements into one: the lanes of a vector, and long runs of memory.
//
// For kernel files (compiled per ISA). Invariant: the tree of operations depends on the number of elements and their stride
// alone, so equal runs give equal bits wherever they lie in a tensor and whoever walks them.
// Read next: ops/reduce/kernels_cpu.cpp, kernels/softmax_rows.h.
#pragma once

#include <limits>

#include "kernels/coverage.h"
#include "kernels/math.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

struct FoldSum {
  template <class V>
  GORGO_INLINE static V of(V a, V b) {
    return a + b;
  }
  template <class T>
  static constexpr T kIdentity = T{0};
};
struct FoldProduct {
  template <class V>
  GORGO_INLINE static V of(V a, V b) {
    return a * b;
  }
  template <class T>
  static constexpr T kIdentity = T{1};
};
// The larger and the smaller; NaN wins over both.
struct FoldLargest {
  template <class V>
  GORGO_INLINE static V of(V a, V b) {
    return maximum(a, b);
  }
  template <class T>
  static constexpr T kIdentity =
      std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
};
struct FoldSmallest {
  template <class V>
  GORGO_INLINE static V of(V a, V b) {
    return minimum(a, b);
  }
  template <class T>
  static constexpr T kIdentity =
      std::is_floating_point_v<T> ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
};
// The larger, and either if one is NaN: one instruction, for those whom NaN reaches by another way.
struct FoldTop : FoldLargest {
  template <class V>
  GORGO_INLINE static V of(V a, V b) {
    return at_least(b, a);
  }
};

// All lanes folded into one: upper half onto lower half until one is left.
template <class Combine, class T, int N>
GORGO_INLINE T fold_lanes(Vec<T, N> v) {
  if constexpr (N == 1) {
    return v.raw[0];
  } else if constexpr (N == 2) {
    const Vec<T, 2> swapped{typename Vec<T, 2>::Raw{v.raw[1], v.raw[0]}};
    return Combine::of(v, swapped).raw[0];
  } else if constexpr (N == 4 && sizeof(T) == 4) {
    // Within one register compilers make shuffles of these, which beat narrower vectors; the pairs are those of below.
    using Raw = typename Vec<T, 4>::Raw;
    const Vec<T, 4> upper{Raw{v.raw[2], v.raw[3], v.raw[2], v.raw[3]}};
    const auto pairs = Combine::of(v, upper);
    const Vec<T, 4> odd{Raw{pairs.raw[1], pairs.raw[1], pairs.raw[3], pairs.raw[3]}};
    return Combine::of(pairs, odd).raw[0];
  } else {
    return fold_lanes<Combine>(Combine::of(low_half(v), high_half(v)));
  }
}

template <class Combine, class T>
  requires std::is_arithmetic_v<T>
GORGO_INLINE T fold_two(T a, T b) {
  // One lane of a vector is what the scalar functions are made of; going there keeps NaN and wrapping alike.
  return Combine::of(Vec<T, 1>{typename Vec<T, 1>::Raw{a}}, Vec<T, 1>{typename Vec<T, 1>::Raw{b}}).raw[0];
}

// v with the lanes from n on replaced by `filler`.
template <class T, int N>
GORGO_INLINE Vec<T, N> keep_first(Vec<T, N> v, int n, T filler) {
  using I = Vec<SignedLike<T>, N>;
  return select(iota<I>() < broadcast<I>(static_cast<SignedLike<T>>(n)), v, broadcast<Vec<T, N>>(filler));
}

// Brings elements that lie `stride` apart side by side.
template <class S>
GORGO_INLINE void gather(const S* from, int64_t stride, int64_t n, S* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
}

// Folds runs of elements that `Source` turns into vectors:
//     using Storage, V (vector of lanes), W (vector of the wider type of equal lane count), Combine;
//     Vec<Lane, N> load<N>(const Storage*, int64_t column); V load_partial(..., int n), which fills up with the identity.
// Thirty-two vectors make a group, folded in lanes of V; groups are folded in lanes of W, whose precision is higher where
// it matters (double for float). So float sums lose about three roundings whatever the length.
template <class Source>
class RunFolder {
 public:
  using S = typename Source::Storage;
  using V = typename Source::V;
  using W = typename Source::W;
  using Lane = typename V::Lane;
  using Wide = typename W::Lane;
  using Combine = typename Source::Combine;
  static constexpr int kLanes = V::kLanes;
  static constexpr int kChain = 8;
  static constexpr int64_t kTile = int64_t{4} * kChain * kLanes;
  // Vectors of 64 bytes are taken as two halves: at most places in memory a whole one would lie on two lines of the cache,
  // which costs a fifth of the rate where runs come from the outer ones. The tree of a lane is the same.
  static constexpr int kParts = sizeof(S) == sizeof(Lane) && V::kBytes == 64 ? 2 : 1;
  using Part = Vec<Lane, kLanes / kParts>;
  using WidePart = Vec<Wide, kLanes / kParts>;

  GORGO_INLINE explicit RunFolder(const Source& source) : source_(source) {}

  // Adds a dense run to a RunFolder<Source>; without types, for those who do not know them. Pieces of kTile elements hold whole
  // groups, so their tree is that of one run.
  [[gnu::noinline]] static void add_dense(void* folder, const void* run, int64_t n) noexcept {
    RunFolder& self = *static_cast<RunFolder*>(folder);
    const Source source = self.source_;
    // A local lives in registers: stores to a member would have to be redone at each step.
    State state = self.state_;
    state.add(source, static_cast<const S*>(run), n);
    self.state_ = state;
  }
  [[nodiscard]] GORGO_INLINE Wide finish() { return state_.finish(); }

  // The same for a single dense run.
  GORGO_INLINE static Wide of(const Source& source, const S* p, int64_t n) {
    State state;
    state.add(source, p, n);
    return state.finish();
  }

 private:
  struct State {
    Part a[kParts], b[kParts], c[kParts], d[kParts];
    WidePart wide[kParts];
    int depth = 0;  // vectors in each chain

    GORGO_INLINE State() {
      clear();
#pragma GCC unroll 2
      for (auto& part : wide) part = broadcast<WidePart>(Combine::template kIdentity<Wide>);
    }
    GORGO_INLINE void add(const Source& source, const S* p, int64_t n) {
      int64_t i = 0;
      for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
        take(a, source, p + i);
        take(b, source, p + i + kLanes);
        take(c, source, p + i + 2 * kLanes);
        take(d, source, p + i + 3 * kLanes);
        if (++depth == kChain) flush();
      }
      if (i == n) return;
      const int64_t left = n - i;
      if (left >= kLanes) take(a, source, p + i);
      if (left >= 2 * kLanes) take(b, source, p + i + kLanes);
      if (left >= 3 * kLanes) take(c, source, p + i + 2 * kLanes);
      const auto tail = static_cast<int>(left % kLanes);
      if (tail != 0) {
        const V last = source.load_partial(p + n - tail, 0, tail);
        if constexpr (kParts == 1) {
          d[0] = Combine::of(d[0], last);
        } else {
          d[0] = Combine::of(d[0], low_half(last));
          d[1] = Combine::of(d[1], high_half(last));
        }
      }
      if (++depth == kChain) flush();
    }
    [[nodiscard]] GORGO_INLINE Wide finish() {
      if (depth != 0) flush();
      if constexpr (kParts == 2) wide[0] = Combine::of(wide[0], wide[1]);
      return fold_lanes<Combine>(wide[0]);
    }

   private:
    GORGO_INLINE static void take(Part* chain, const Source& source, const S* p) {
#pragma GCC unroll 2
      for (int k = 0; k < kParts; ++k) {
        chain[k] = Combine::of(chain[k], source.template load<Part::kLanes>(p + k * Part::kLanes, 0));
      }
    }
    GORGO_INLINE void clear() {
#pragma GCC unroll 2
      for (int k = 0; k < kParts; ++k) a[k] = b[k] = c[k] = d[k] = broadcast<Part>(Combine::template kIdentity<Lane>);
      depth = 0;
    }
    GORGO_INLINE void flush() {
#pragma GCC unroll 2
      for (int k = 0; k < kParts; ++k) {
        const Part sum = Combine::of(Combine::of(a[k], b[k]), Combine::of(c[k], d[k]));
        wide[k] = Combine::of(wide[k], convert<Wide>(sum));
      }
      clear();
    }
  };

  const Source& source_;
  State state_;
};

// A dense run of at most kFewVectors vectors, which needs no accumulators: folded into one vector, and into one lane.
inline constexpr int kFewVectors = 4;
template <class Source>
GORGO_INLINE typename Source::V fold_few_vectors(const Source& source, const typename Source::Storage* p, int64_t n) {
  using V = typename Source::V;
  using Combine = typename Source::Combine;
  constexpr int kLanes = V::kLanes;
  V v;
  if (n < kLanes) {
    v = source.load_partial(p, 0, static_cast<int>(n));
  } else {
    // Whichever vector is the last may be partial: it is loaded in one place, which keeps this small.
    const auto tail = static_cast<int>(n % kLanes);
    V last = broadcast<V>(Combine::template kIdentity<typename V::Lane>);
    if (tail != 0) last = source.load_partial(p + n - tail, 0, tail);
    const auto at = [&](int64_t i) GORGO_INLINE_LAMBDA { return i + kLanes <= n ? source.load(p + i, 0) : last; };
    v = source.load(p, 0);
    if (n > kLanes) v = Combine::of(v, at(kLanes));
    if (n > 2 * kLanes) {
      V w = at(2 * kLanes);
      if (n > 3 * kLanes) w = Combine::of(w, at(3 * kLanes));
      v = Combine::of(v, w);
    }
  }
  return v;
}
template <class Source>
GORGO_INLINE typename Source::W::Lane fold_few(const Source& source, const typename Source::Storage* p, int64_t n) {
  return static_cast<typename Source::W::Lane>(fold_lanes<typename Source::Combine>(fold_few_vectors(source, p, n)));
}

// Folds a sequence pairwise without storing it: partial results of equal weight meet as in a binary counter.
template <class P, class Merge>
class PairwiseFolder {
 public:
  GORGO_INLINE void add(P p) {
    int level = 0;
    for (uint64_t n = count_++; (n & 1u) != 0; n >>= 1) p = Merge::of(levels_[level++], p);
    levels_[level] = p;
  }
  [[nodiscard]] GORGO_INLINE P finish() const {
    P result{};
    bool found = false;
    for (int level = 0; level < 48; ++level) {
      if (((count_ >> level) & 1u) == 0) continue;
      result = found ? Merge::of(levels_[level], result) : levels_[level];
      found = true;
    }
    return result;
  }

 private:
  P levels_[48];
  uint64_t count_ = 0;
};

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

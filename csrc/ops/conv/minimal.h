// Minimal filtering along one axis: fewer products than multiply-adds for two outputs side by side.
//
// What a tile of the image has gives some linear combinations (planes), so do the weights (terms). Products of the two, summed by place, give the
// outputs. Gradients by the weights are the transpose of it: what a tile of the gradient has gives places, products of those and the planes are summed
// over tiles, and the sums give the weights'. In two dimensions the one axis is combined with the other: a plane is one of each of theirs, and so are terms and places (Lavin and Gray,
// Fast Algorithms for Convolutional Neural Networks, 2016). Points are 0, 1, -1 and infinity throughout, so that nothing is multiplied by more
// than a half, and what cancels is of the size of what is summed. For kernel files (compiled per ISA).
// Invariant: each struct's kTerms are in the order of places; kSums has the sum that a term belongs to in the transpose.
// Read next: winograd.h.
#pragma once

#include <cstdint>

#include "kernels/gemm/lanes.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// A plane of the tile `shift` further on, times the weights of this term, belongs to the place.
struct Term {
  int place, plane, shift;
};

// One tap: an axis along which nothing is filtered.
struct OneTap {
  static constexpr int kTaps = 1;
  static constexpr int kStep = 1;     // elements from one tile to the next
  static constexpr int kReach = 1;    // elements of a tile
  static constexpr int kOutputs = 1;  // of a tile
  static constexpr int kPlanes = 1;
  static constexpr int kPlaces = 1;
  static constexpr int kShift = 0;  // the farthest of a term's
  static constexpr Term kTerms[] = {{0, 0, 0}};
  static constexpr int kSums[] = {0};

  template <class V>
  GORGO_GEMM_INLINE void image(const V (&d)[1], V (&to)[1]) {
    to[0] = d[0];
  }
  template <class V>
  GORGO_GEMM_INLINE void weights(const V (&g)[1], V, V (&to)[1]) {
    to[0] = g[0];
  }
  template <class V>
  GORGO_GEMM_INLINE void outputs(const V (&m)[1], V (&y)[1]) {
    y[0] = m[0];
  }
};

// Three taps, F(2, 3): 4 products for 6.
struct ThreeTaps {
  static constexpr int kTaps = 3;
  static constexpr int kStep = 2;
  static constexpr int kReach = 4;
  static constexpr int kOutputs = 2;
  static constexpr int kPlanes = 4;
  static constexpr int kPlaces = 4;
  static constexpr int kShift = 0;
  static constexpr Term kTerms[] = {{0, 0, 0}, {1, 1, 0}, {2, 2, 0}, {3, 3, 0}};
  static constexpr int kSums[] = {0, 1, 2, 3};

  template <class V>
  GORGO_GEMM_INLINE void image(const V (&d)[kReach], V (&to)[kPlanes]) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[1] - d[3];
  }
  template <class V>
  GORGO_GEMM_INLINE void weights(const V (&g)[kTaps], V half, V (&to)[4]) {
    const V ends = g[0] + g[2];
    to[0] = g[0];
    to[1] = (ends + g[1]) * half;
    to[2] = (ends - g[1]) * half;
    to[3] = g[2];
  }
  template <class V>
  GORGO_GEMM_INLINE void outputs(const V (&m)[kPlaces], V (&y)[kOutputs]) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = (m[1] - m[2]) - m[3];
  }
  template <class V>
  GORGO_GEMM_INLINE void gradients(const V (&y)[kOutputs], V (&to)[kPlaces]) {
    to[0] = y[0];
    to[1] = y[0] + y[1];
    to[2] = y[0] - y[1];
    to[3] = V{} - y[1];
  }
  template <class V>
  GORGO_GEMM_INLINE void taps(const V (&sums)[4], V half, V (&g)[kTaps]) {
    const V ends = (sums[1] + sums[2]) * half;
    g[0] = sums[0] + ends;
    g[1] = (sums[1] - sums[2]) * half;
    g[2] = ends + sums[3];
  }
};

// Five taps, two and three of the next tile: 7 products for 10. The planes are those of three taps, the next tile's too.
struct FiveTapsDown : ThreeTaps {
  static constexpr int kTaps = 5;
  static constexpr int kShift = 1;
  static constexpr Term kTerms[] = {{0, 0, 0}, {0, 0, 1}, {1, 1, 0}, {1, 1, 1}, {2, 2, 0}, {2, 2, 1}, {3, 3, 1}};
  static constexpr int kSums[] = {0, 1, 2, 3, 4, 5, 6};

  template <class V>
  GORGO_GEMM_INLINE void weights(const V (&g)[kTaps], V half, V (&to)[7]) {
    const V ends = g[2] + g[4];
    to[0] = g[0];
    to[1] = g[2];
    to[2] = (g[0] + g[1]) * half;
    to[3] = (ends + g[3]) * half;
    to[4] = (g[0] - g[1]) * half;
    to[5] = (ends - g[3]) * half;
    to[6] = g[4];
  }
  template <class V>
  GORGO_GEMM_INLINE void taps(const V (&sums)[7], V half, V (&g)[kTaps]) {
    const V ends = (sums[3] + sums[5]) * half;
    g[0] = sums[0] + (sums[2] + sums[4]) * half;
    g[1] = (sums[2] - sums[4]) * half;
    g[2] = sums[1] + ends;
    g[3] = (sums[3] - sums[5]) * half;
    g[4] = ends + sums[6];
  }
};
// The same with the next tile's planes beside one's own: along the lanes, where the last tile of a row has no next one.
struct FiveTapsAcross : FiveTapsDown {
  static constexpr int kReach = 6;
  static constexpr int kPlanes = 7;
  static constexpr int kShift = 0;
  static constexpr Term kTerms[] = {{0, 0, 0}, {0, 3, 0}, {1, 1, 0}, {1, 4, 0}, {2, 2, 0}, {2, 5, 0}, {3, 6, 0}};

  template <class V>
  GORGO_GEMM_INLINE void image(const V (&d)[kReach], V (&to)[kPlanes]) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[2] - d[4];
    to[4] = d[3] + d[4];
    to[5] = d[4] - d[3];
    to[6] = d[3] - d[5];
  }
};

// Three taps by strides of two: F(2, 2) of the outer ones, and the middle one as it is. 5 products for 6; no sum is multiplied by a difference of
// more than two elements.
struct ThreeTapsByTwo {
  static constexpr int kTaps = 3;
  static constexpr int kStep = 4;
  static constexpr int kReach = 5;
  static constexpr int kOutputs = 2;
  static constexpr int kPlanes = 5;
  static constexpr int kPlaces = 3;
  static constexpr int kShift = 0;
  static constexpr Term kTerms[] = {{0, 0, 0}, {0, 1, 0}, {1, 2, 0}, {2, 3, 0}, {2, 4, 0}};
  static constexpr int kSums[] = {0, 1, 2, 3, 1};

  template <class V>
  GORGO_GEMM_INLINE void image(const V (&d)[kReach], V (&to)[kPlanes]) {
    to[0] = d[0] - d[2];
    to[1] = d[1];
    to[2] = d[2];
    to[3] = d[4] - d[2];
    to[4] = d[3];
  }
  template <class V>
  GORGO_GEMM_INLINE void weights(const V (&g)[kTaps], V, V (&to)[5]) {
    to[0] = g[0];
    to[1] = g[1];
    to[2] = g[0] + g[2];
    to[3] = g[2];
    to[4] = g[1];
  }
  template <class V>
  GORGO_GEMM_INLINE void outputs(const V (&m)[kPlaces], V (&y)[kOutputs]) {
    y[0] = m[0] + m[1];
    y[1] = m[1] + m[2];
  }
  template <class V>
  GORGO_GEMM_INLINE void gradients(const V (&y)[kOutputs], V (&to)[kPlaces]) {
    to[0] = y[0];
    to[1] = y[0] + y[1];
    to[2] = y[1];
  }
  template <class V>
  GORGO_GEMM_INLINE void taps(const V (&sums)[4], V, V (&g)[kTaps]) {
    g[0] = sums[0] + sums[2];
    g[1] = sums[1];
    g[2] = sums[2] + sums[3];
  }
};

// Back by strides of two, four taps and an odd padding: outputs at even places meet two taps, those at odd ones the others, F(2, 2) for both. 6
// products for 8. The first element of a tile is the one before its middle.
struct FourTapsBack {
  static constexpr int kTaps = 4;
  static constexpr int kStep = 2;
  static constexpr int kReach = 4;
  static constexpr int kOutputs = 4;
  static constexpr int kPlanes = 5;
  static constexpr int kPlaces = 6;
  static constexpr int kShift = 0;
  static constexpr Term kTerms[] = {{0, 0, 0}, {1, 1, 0}, {2, 2, 0}, {3, 2, 0}, {4, 3, 0}, {5, 4, 0}};
  static constexpr int kSums[] = {0, 1, 2, 3, 4, 5};

  template <class V>
  GORGO_GEMM_INLINE void image(const V (&d)[kReach], V (&to)[kPlanes]) {
    to[0] = d[0] - d[1];
    to[1] = d[1];
    to[2] = d[2] - d[1];
    to[3] = d[2];
    to[4] = d[3] - d[2];
  }
  template <class V>
  GORGO_GEMM_INLINE void weights(const V (&g)[kTaps], V, V (&to)[6]) {
    to[0] = g[3];
    to[1] = g[3] + g[1];
    to[2] = g[1];
    to[3] = -g[2];
    to[4] = g[2] + g[0];
    to[5] = g[0];
  }
  template <class V>
  GORGO_GEMM_INLINE void outputs(const V (&m)[kPlaces], V (&y)[kOutputs]) {
    y[0] = m[0] + m[1];
    y[1] = m[3] + m[4];
    y[2] = m[1] + m[2];
    y[3] = m[4] + m[5];
  }
};

// The same of three taps and a padding of one: outputs at even places meet the middle tap, those at odd ones the others. 5 products for 6.
struct ThreeTapsBack {
  static constexpr int kTaps = 3;
  static constexpr int kStep = 2;
  static constexpr int kReach = 3;
  static constexpr int kOutputs = 4;
  static constexpr int kPlanes = 4;
  static constexpr int kPlaces = 5;
  static constexpr int kShift = 0;
  static constexpr Term kTerms[] = {{0, 0, 0}, {1, 1, 0}, {2, 2, 0}, {3, 1, 0}, {4, 3, 0}};
  static constexpr int kSums[] = {0, 1, 2, 3, 4};

  template <class V>
  GORGO_GEMM_INLINE void image(const V (&d)[kReach], V (&to)[kPlanes]) {
    to[0] = d[0];
    to[1] = d[1];
    to[2] = d[0] - d[1];
    to[3] = d[2] - d[1];
  }
  template <class V>
  GORGO_GEMM_INLINE void weights(const V (&g)[kTaps], V, V (&to)[5]) {
    to[0] = g[1];
    to[1] = g[1];
    to[2] = g[2];
    to[3] = g[2] + g[0];
    to[4] = g[0];
  }
  template <class V>
  GORGO_GEMM_INLINE void outputs(const V (&m)[kPlaces], V (&y)[kOutputs]) {
    y[0] = m[0];
    y[1] = m[2] + m[3];
    y[2] = m[1];
    y[3] = m[3] + m[4];
  }
};

// What winograd.h must know of two axes.
struct Figures {
  int taps_h, taps_w;
  int step_h, step_w;
  int reach_h, reach_w;
  int outputs_h, outputs_w;
  int planes, places, terms, sums;
  int shift;  // rows of tiles below
  int most_terms_of_place;
};

template <class Axis>
constexpr int sum_count() {
  int count = 0;
  for (const int sum : Axis::kSums) count = sum >= count ? sum + 1 : count;
  return count;
}

template <class DownAxis, class AcrossAxis>
struct Minimal {
  using Down = DownAxis;
  using Across = AcrossAxis;
  static constexpr int kTermsDown = static_cast<int>(sizeof(Down::kTerms) / sizeof(Term));
  static constexpr int kTermsAcross = static_cast<int>(sizeof(Across::kTerms) / sizeof(Term));
  static constexpr int kPlanes = Down::kPlanes * Across::kPlanes;
  static constexpr int kPlaces = Down::kPlaces * Across::kPlaces;
  static constexpr int kTermCount = kTermsDown * kTermsAcross;
  static constexpr int kSums = sum_count<Down>() * sum_count<Across>();

  // Terms in the order of places: a place's are [begin[place], begin[place + 1]).
  struct Table {
    int begin[kPlaces + 1];
    Term at[kTermCount];
    int sum[kTermCount];
    int of[kTermsDown][kTermsAcross];  // where the one of both axes' stands
  };
  static constexpr Table table() {
    Table t{};
    int count = 0;
    for (int down = 0; down < Down::kPlaces; ++down) {
      for (int across = 0; across < Across::kPlaces; ++across) {
        const int place = down * Across::kPlaces + across;
        t.begin[place] = count;
        for (int i = 0; i < kTermsDown; ++i) {
          for (int j = 0; j < kTermsAcross; ++j) {
            const Term& a = Down::kTerms[i];
            const Term& b = Across::kTerms[j];
            if (a.place != down || b.place != across) continue;
            t.of[i][j] = count;
            t.sum[count] = Down::kSums[i] * sum_count<Across>() + Across::kSums[j];
            t.at[count++] = {place, a.plane * Across::kPlanes + b.plane, a.shift};
          }
        }
      }
    }
    t.begin[kPlaces] = count;
    return t;
  }
  static constexpr Table kTable = table();

  static constexpr Figures figures() {
    Figures f{Down::kTaps,      Across::kTaps, Down::kStep, Across::kStep, Down::kReach, Across::kReach, Down::kOutputs,
              Across::kOutputs, kPlanes,       kPlaces,     kTermCount,    kSums,        Down::kShift,   0};
    for (int p = 0; p < kPlaces; ++p) {
      const int terms = kTable.begin[p + 1] - kTable.begin[p];
      if (terms > f.most_terms_of_place) f.most_terms_of_place = terms;
    }
    return f;
  }
};

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

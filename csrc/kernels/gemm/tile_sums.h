// The micro-kernel of tiles: the sums of at most two by two tiles of C, kept in tiles over a run of k.
//
// A step is sixteen words of k. Each element of C is one chain over the steps in rising order, over products of its pieces
// (pieces.h) in the order below; neither the other rows nor the other columns are seen in it. Read next: gemm_tiles_cpu.cpp.
#pragma once

#include <cstdint>
#include <iterator>
#include <utility>

#include "kernels/gemm/tiles.h"

namespace gorgo::GORGO_ISA_NS {

constexpr int kStripRows = 2 * kTileHeight;            // of A
constexpr int kTilePanel = 2 * kTileWords;             // columns of B
constexpr int kPanelStride = kTilePanel * 4;           // bytes from one word of k of packed B to the next
constexpr int kStepBytes = kTileWords * kPanelStride;  // a step of packed B, one piece of it; of packed A too
static_assert(kStepBytes == 2 * kTileBytes);

// Where the tiles of a strip of A lie: bytes between rows, between its two tiles, and between steps. Pieces of a step are
// kStepBytes apart. A strip in place has its last step elsewhere, with zeros behind the end of k.
struct TileStrip {
  const unsigned char* at = nullptr;
  std::int64_t row_stride = kTileRowBytes;
  std::int64_t tile_stride = kTileBytes;
  std::int64_t step_stride = kStepBytes;
  const unsigned char* tail = nullptr;  // packed, or null

  // Goes from step to step. Tiles are loaded by their number, place among the step's two, and piece.
  class Walk {
   public:
    GORGO_INLINE explicit Walk(const TileStrip& strip)
        : first_(strip.at),
          second_(strip.at + strip.tile_stride),
          tail_(strip.tail),
          row_stride_(strip.row_stride),
          step_stride_(strip.step_stride) {}
    GORGO_INLINE void begin(std::int64_t step, std::int64_t steps) {
      if (step + 1 == steps && tail_ != nullptr) {
        first_ = tail_;
        second_ = first_ + kTileBytes;
        row_stride_ = kTileRowBytes;
      }
    }
    GORGO_INLINE void end() {
      first_ += step_stride_;
      second_ += step_stride_;
    }
    template <int kTile, int kPlace, int kPiece>
    GORGO_INLINE void load(Tiles& tiles) const {
      tiles.load<kTile, kPiece * kStepBytes>(kPlace == 0 ? first_ : second_, row_stride_);
    }

   private:
    const unsigned char* first_;
    const unsigned char* second_;
    const unsigned char* tail_;
    std::int64_t row_stride_, step_stride_;
  };
};
struct TilePanel {
  const unsigned char* at = nullptr;
  std::int64_t step_stride = kStepBytes;

  class Walk {
   public:
    GORGO_INLINE explicit Walk(const TilePanel& panel) : at_(panel.at), step_stride_(panel.step_stride) {}
    GORGO_INLINE void begin(std::int64_t, std::int64_t) const {}
    GORGO_INLINE void end() { at_ += step_stride_; }
    template <int kTile, int kPlace, int kPiece>
    GORGO_INLINE void load(Tiles& tiles) const {
      tiles.load<kTile, kPiece * kStepBytes + kPlace * kTileRowBytes>(at_, kPanelStride);
    }

   private:
    const unsigned char* at_;
    std::int64_t step_stride_;
  };
};

// Either in memory that is no more than read: rows of planes (ops/conv/planes.h), whose pieces lie piece_stride apart. The steps of
// a strip adjoin each other in its rows; those of a panel begin where `steps` says.
struct PlaneStrip {
  const unsigned char* at = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t piece_stride = 0;

  class Walk {
   public:
    GORGO_INLINE explicit Walk(const PlaneStrip& strip)
        : at_(strip.at), row_stride_(strip.row_stride), piece_stride_(strip.piece_stride) {}
    GORGO_INLINE void begin(std::int64_t, std::int64_t) const {}
    GORGO_INLINE void end() { at_ += kTileRowBytes; }
    template <int kTile, int kPlace, int kPiece>
    GORGO_INLINE void load(Tiles& tiles) const {
      tiles.load<kTile>(at_ + kPlace * kTileHeight * row_stride_ + kPiece * piece_stride_, row_stride_);
    }

   private:
    const unsigned char* at_;
    std::int64_t row_stride_, piece_stride_;
  };
};
struct PlanePanel {
  const unsigned char* at = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t piece_stride = 0;
  const std::int32_t* steps = nullptr;  // bytes from `at`

  class Walk {
   public:
    GORGO_INLINE explicit Walk(const PlanePanel& panel)
        : from_(panel.at), row_stride_(panel.row_stride), piece_stride_(panel.piece_stride), step_(panel.steps) {}
    GORGO_INLINE void begin(std::int64_t, std::int64_t) { at_ = from_ + *step_; }
    GORGO_INLINE void end() { ++step_; }
    template <int kTile, int kPlace, int kPiece>
    GORGO_INLINE void load(Tiles& tiles) const {
      tiles.load<kTile, kPlace * kTileRowBytes>(at_ + kPiece * piece_stride_, row_stride_);
    }

   private:
    const unsigned char* from_;
    const unsigned char* at_ = nullptr;
    std::int64_t row_stride_, piece_stride_;
    const std::int32_t* step_;
  };
};

// Where the sums go, whole tiles of them: a buffer whose rows are kTilePanel words long, or C.
struct TileSums {
  void* at = nullptr;
  std::int64_t row_stride = kPanelStride;  // bytes
};

// Which piece of A meets which of B, so that from one product to the next only one of them changes. Of three pieces the product of the
// high ones, which outweighs the others by far, goes over all steps after them: a sum is then rounded once in a step, not six
// times.
struct PiecePair {
  int a, b;
};
template <int kPieces>
struct PieceProducts;
template <>
struct PieceProducts<1> {
  static constexpr PiecePair at[] = {{0, 0}};
  static constexpr int kInFirstPass = 1;
};
template <>
struct PieceProducts<2> {
  static constexpr PiecePair at[] = {{0, 1}, {0, 0}, {1, 0}};
  static constexpr int kInFirstPass = 3;
};
template <>
struct PieceProducts<3> {
  static constexpr PiecePair at[] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}, {0, 0}};
  static constexpr int kInFirstPass = 5;
};

// Tiles 0 to 3 are the sums by rows, 4 and 5 are A's, 6 and 7 are B's.
template <TileProduct kProduct, int kPieces, int kRowTiles, int kColumnTiles, int kIndex, bool kFirst, class A, class B>
GORGO_GEMM_INLINE void multiply_pieces(Tiles& tiles, const A& a, const B& b) {
  constexpr auto& kPairs = PieceProducts<kPieces>::at;
  constexpr PiecePair kPair = kPairs[kIndex];
  constexpr bool kNewA = kFirst || kPairs[kFirst ? 0 : kIndex - 1].a != kPair.a;
  constexpr bool kNewB = kFirst || kPairs[kFirst ? 0 : kIndex - 1].b != kPair.b;
  if constexpr (kNewA) a.template load<4, 0, kPair.a>(tiles);
  if constexpr (kNewB) b.template load<6, 0, kPair.b>(tiles);
  tiles.multiply<kProduct, 0, 4, 6>();
  if constexpr (kColumnTiles == 2) {
    if constexpr (kNewB) b.template load<7, 1, kPair.b>(tiles);
    tiles.multiply<kProduct, 1, 4, 7>();
  }
  if constexpr (kRowTiles == 2) {
    if constexpr (kNewA) a.template load<5, 1, kPair.a>(tiles);
    tiles.multiply<kProduct, 2, 5, 6>();
    if constexpr (kColumnTiles == 2) tiles.multiply<kProduct, 3, 5, 7>();
  }
}

// Products [kFrom, kEnd) of the pieces over all steps.
template <TileProduct kProduct, int kPieces, int kRowTiles, int kColumnTiles, int kFrom, int kEnd, class Strip,
          class Panel, class Between>
GORGO_GEMM_INLINE void pass_over_steps(Tiles& tiles, const Strip& strip, const Panel& panel, std::int64_t steps,
                                       const Between& between) {
  typename Strip::Walk a(strip);
  typename Panel::Walk b(panel);
  for (std::int64_t step = 0; step < steps; ++step) {
    a.begin(step, steps);
    b.begin(step, steps);
    [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) __attribute__((always_inline)) {
      (multiply_pieces<kProduct, kPieces, kRowTiles, kColumnTiles, kFrom + kIndex, kIndex == 0>(tiles, a, b), ...);
    }(std::make_integer_sequence<int, kEnd - kFrom>{});
    a.end();
    b.end();
    between(step);
  }
}

// Stores the sums to `to`. between(step) runs once for each step, among products, which
// leave the vector unit idle.
template <TileProduct kProduct, int kPieces, int kRowTiles, int kColumnTiles, class Strip, class Panel, class Between>
GORGO_GEMM_INLINE void sum_tiles(Tiles& tiles, const Strip& strip, const Panel& panel, std::int64_t steps,
                                 const TileSums& to, const Between& between) {
  tiles.zero<0>();
  if constexpr (kColumnTiles == 2) tiles.zero<1>();
  if constexpr (kRowTiles == 2) tiles.zero<2>();
  if constexpr (kRowTiles == 2 && kColumnTiles == 2) tiles.zero<3>();
  using Products = PieceProducts<kPieces>;
  constexpr auto kAll = static_cast<int>(std::size(Products::at));
  constexpr int kFirst = Products::kInFirstPass;
  pass_over_steps<kProduct, kPieces, kRowTiles, kColumnTiles, 0, kFirst>(tiles, strip, panel, steps, between);
  if constexpr (kFirst < kAll) {
    pass_over_steps<kProduct, kPieces, kRowTiles, kColumnTiles, kFirst, kAll>(tiles, strip, panel, steps,
                                                                              [](std::int64_t) {});
  }
  auto* sums = static_cast<unsigned char*>(to.at);
  tiles.store<0>(sums, to.row_stride);
  if constexpr (kColumnTiles == 2) tiles.store<1>(sums + kTileRowBytes, to.row_stride);
  if constexpr (kRowTiles == 2) {
    sums += kTileHeight * to.row_stride;
    tiles.store<2>(sums, to.row_stride);
    if constexpr (kColumnTiles == 2) tiles.store<3>(sums + kTileRowBytes, to.row_stride);
  }
}

// The same for as many tiles as `rows` and `columns` need.
template <TileProduct kProduct, int kPieces, class Strip, class Panel, class Between>
GORGO_GEMM_INLINE void sum_tiles_of(Tiles& tiles, int rows, int columns, const Strip& strip, const Panel& panel,
                                    std::int64_t steps, const TileSums& to, const Between& between) {
  if (rows > kTileHeight) {
    if (columns > kTileWords) {
      sum_tiles<kProduct, kPieces, 2, 2>(tiles, strip, panel, steps, to, between);
    } else {
      sum_tiles<kProduct, kPieces, 2, 1>(tiles, strip, panel, steps, to, between);
    }
  } else if (columns > kTileWords) {
    sum_tiles<kProduct, kPieces, 1, 2>(tiles, strip, panel, steps, to, between);
  } else {
    sum_tiles<kProduct, kPieces, 1, 1>(tiles, strip, panel, steps, to, between);
  }
}

}  // namespace gorgo::GORGO_ISA_NS

// The attributes of the shape family: plain structs that kernels may see.
// Read next: shape.h.
#pragma once

#include <array>

#include "core/region.h"

namespace gorgo {

// What basic indexing cuts: for each input axis a start, a step and a length; a length of kDropAxis takes the axis away
// at `start`. `insert` lists the positions in the result of new axes of length one, rising.
struct IndexViewAttrs {
  static constexpr int64_t kDropAxis = -1;
  Dims start;
  Dims step;
  Dims length;
  Dims insert;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(IndexViewAttrs, start).must(), GORGO_FIELD(IndexViewAttrs, step).must(),
                      GORGO_FIELD(IndexViewAttrs, length).must(), GORGO_FIELD(IndexViewAttrs, insert)};
  }
};

struct PermuteAttrs {
  Dims axes;
  static constexpr auto fields() { return std::array{GORGO_FIELD(PermuteAttrs, axes).must()}; }
};

struct ShapeAttrs {
  Dims shape;
  static constexpr auto fields() { return std::array{GORGO_FIELD(ShapeAttrs, shape).must().repeated(1)}; }
};

struct ExpandDimsAttrs {
  Dims axis{0};
  static constexpr auto fields() { return std::array{GORGO_FIELD(ExpandDimsAttrs, axis).repeated(1)}; }
};

struct OptAxesAttrs {
  OptInts axis;
  static constexpr auto fields() { return std::array{GORGO_FIELD(OptAxesAttrs, axis).repeated(1)}; }
};

struct DiagonalAttrs {
  int64_t offset = 0;
  int64_t axis1 = -2;
  int64_t axis2 = -1;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(DiagonalAttrs, offset), GORGO_FIELD(DiagonalAttrs, axis1),
                      GORGO_FIELD(DiagonalAttrs, axis2)};
  }
};

// A region (core/region.h) and the shape of the tensor it was cut from. `accumulate` when positions may share elements.
struct ViewAdjointAttrs {
  Dims base_shape;
  Dims shape;
  Dims strides;
  int64_t offset = 0;
  bool accumulate = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ViewAdjointAttrs, base_shape).must(), GORGO_FIELD(ViewAdjointAttrs, shape).must(),
                      GORGO_FIELD(ViewAdjointAttrs, strides).must(), GORGO_FIELD(ViewAdjointAttrs, offset),
                      GORGO_FIELD(ViewAdjointAttrs, accumulate)};
  }
};

// Sections of `size` (the last may be smaller), or of the lengths in `sizes`.
struct SplitAttrs {
  int64_t size = 1;
  OptInts sizes;
  int64_t axis = 0;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(SplitAttrs, size), GORGO_FIELD(SplitAttrs, sizes), GORGO_FIELD(SplitAttrs, axis)};
  }
};

struct AxisAttrs {
  int64_t axis = 0;
  static constexpr auto fields() { return std::array{GORGO_FIELD(AxisAttrs, axis)}; }
};

struct TileAttrs {
  Dims repetitions;
  static constexpr auto fields() { return std::array{GORGO_FIELD(TileAttrs, repetitions).must().repeated(1)}; }
};

struct RollAttrs {
  Dims shift;
  OptInts axis;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(RollAttrs, shift).must().repeated(1), GORGO_FIELD(RollAttrs, axis).repeated(1)};
  }
};

struct RepeatAttrs {
  int64_t repeats = 1;
  OptInt axis;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(RepeatAttrs, repeats).must(), GORGO_FIELD(RepeatAttrs, axis)};
  }
};

struct TriangleAttrs {
  int64_t k = 0;
  static constexpr auto fields() { return std::array{GORGO_FIELD(TriangleAttrs, k)}; }
};

}  // namespace gorgo

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

// No axis: the tensors are flattened first.
struct ConcatAttrs {
  OptInt axis = 0;
  static constexpr auto fields() { return std::array{GORGO_FIELD(ConcatAttrs, axis)}; }
};

struct RepeatAttrs {
  int64_t repeats = 1;
  OptInt axis;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(RepeatAttrs, repeats).must(), GORGO_FIELD(RepeatAttrs, axis)};
  }
};

inline constexpr const char* kPadModes[] = {"constant",  "reflect", "symmetric", "edge",
                                            "replicate", "wrap",    "circular",  nullptr};
// The modes by meaning: some have two names.
enum class PadMode : uint8_t { Constant, Reflect, Symmetric, Edge, Wrap };
[[nodiscard]] GORGO_INLINE PadMode pad_mode(Choice word) noexcept {
  constexpr PadMode kMeanings[] = {PadMode::Constant, PadMode::Reflect, PadMode::Symmetric, PadMode::Edge,
                                   PadMode::Edge,     PadMode::Wrap,    PadMode::Wrap};
  return kMeanings[word.index];
}

// `pad_width` is one number for all sides, a pair (before, after) for all axes, or the pairs of all axes one after the other.
struct PadAttrs {
  Dims pad_width;
  Choice mode;
  Scalar value;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(PadAttrs, pad_width).must().repeated(1),
                      GORGO_FIELD(PadAttrs, mode).of_words(kPadModes), GORGO_FIELD(PadAttrs, value)};
  }
};

// `shape` is that of the tensor that was padded.
struct PadAdjointAttrs {
  Dims pad_width;
  Choice mode;
  Dims shape;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(PadAdjointAttrs, pad_width).must().repeated(1),
                      GORGO_FIELD(PadAdjointAttrs, mode).must().of_words(kPadModes),
                      GORGO_FIELD(PadAdjointAttrs, shape).must()};
  }
};

// How many elements are laid before (or after) an axis.
[[nodiscard]] GORGO_INLINE int64_t pad_before(const Dims& width, int axis) noexcept {
  return width.data()[width.size() <= 2 ? 0 : 2 * axis];
}
[[nodiscard]] GORGO_INLINE int64_t pad_after(const Dims& width, int axis) noexcept {
  return width.data()[width.size() <= 2 ? width.size() - 1 : 2 * axis + 1];
}

struct TriangleAttrs {
  int64_t k = 0;
  static constexpr auto fields() { return std::array{GORGO_FIELD(TriangleAttrs, k)}; }
};

}  // namespace gorgo

// The attributes of the pooling ops: plain structs that kernels may see. Sizes go from the slowest axis to the fastest.
//
// One base struct for a kind of pooling is what kernels and gradients read; what stands on it only says which of its
// fields a public op of so many axes lists. With output_size given the windows are adaptive: they part each axis into
// as many.
// Read next: pool.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// stride None means kernel_size.
struct MaxPoolAttrs {
  Dims kernel_size;
  OptInts stride;
  Dims padding;
  Dims dilation;
  bool ceil_mode = false;
  Dims output_size;
  bool return_indices = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(MaxPoolAttrs, kernel_size), GORGO_FIELD(MaxPoolAttrs, stride),
                      GORGO_FIELD(MaxPoolAttrs, padding),     GORGO_FIELD(MaxPoolAttrs, dilation),
                      GORGO_FIELD(MaxPoolAttrs, ceil_mode),   GORGO_FIELD(MaxPoolAttrs, output_size)};
  }
};

template <int kAxes>
struct MaxPoolOver : MaxPoolAttrs {
  MaxPoolOver() {
    padding.resize(kAxes);
    dilation.resize(kAxes);
    for (int64_t& d : dilation) d = 1;
  }
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(MaxPoolOver, kernel_size).must().repeated(kAxes),
                      GORGO_FIELD(MaxPoolOver, stride).repeated(kAxes),
                      GORGO_FIELD(MaxPoolOver, padding).repeated(kAxes),
                      GORGO_FIELD(MaxPoolOver, dilation).repeated(kAxes),
                      GORGO_FIELD(MaxPoolOver, ceil_mode),
                      GORGO_FIELD(MaxPoolOver, return_indices)};
  }
};

template <int kAxes>
struct AdaptiveMaxPoolOver : MaxPoolAttrs {
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AdaptiveMaxPoolOver, output_size).must().repeated(kAxes),
                      GORGO_FIELD(AdaptiveMaxPoolOver, return_indices)};
  }
};

// The adjoint's own: the size of the input cannot be told from the gradient's.
struct AvgPoolAttrs {
  Dims input_size;
  Dims kernel_size;
  OptInts stride;
  Dims padding;
  bool ceil_mode = false;
  bool count_include_pad = true;
  OptInt divisor_override;
  Dims output_size;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AvgPoolAttrs, input_size).must(),
                      GORGO_FIELD(AvgPoolAttrs, kernel_size),
                      GORGO_FIELD(AvgPoolAttrs, stride),
                      GORGO_FIELD(AvgPoolAttrs, padding),
                      GORGO_FIELD(AvgPoolAttrs, ceil_mode),
                      GORGO_FIELD(AvgPoolAttrs, count_include_pad),
                      GORGO_FIELD(AvgPoolAttrs, divisor_override),
                      GORGO_FIELD(AvgPoolAttrs, output_size)};
  }
};

template <int kAxes>
struct AvgPoolOver : AvgPoolAttrs {
  AvgPoolOver() { padding = Dims(kAxes, 0); }
  explicit AvgPoolOver(const AvgPoolAttrs& shared) : AvgPoolAttrs(shared) {}
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AvgPoolOver, kernel_size).must().repeated(kAxes),
                      GORGO_FIELD(AvgPoolOver, stride).repeated(kAxes),
                      GORGO_FIELD(AvgPoolOver, padding).repeated(kAxes),
                      GORGO_FIELD(AvgPoolOver, ceil_mode),
                      GORGO_FIELD(AvgPoolOver, count_include_pad),
                      GORGO_FIELD(AvgPoolOver, divisor_override)};
  }
};

template <int kAxes>
struct AdaptiveAvgPoolOver : AvgPoolAttrs {
  AdaptiveAvgPoolOver() = default;
  explicit AdaptiveAvgPoolOver(const AvgPoolAttrs& shared) : AvgPoolAttrs(shared) {}
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AdaptiveAvgPoolOver, output_size).must().repeated(kAxes)};
  }
};

// Columns are the windows of an image, one beside the other, as a matrix; sizes are (height, width).
struct ColumnsAttrs {
  Dims output_size;
  Dims kernel_size;
  Dims dilation{1, 1};
  Dims padding{0, 0};
  Dims stride{1, 1};
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ColumnsAttrs, output_size).must().repeated(2),
                      GORGO_FIELD(ColumnsAttrs, kernel_size).must().repeated(2),
                      GORGO_FIELD(ColumnsAttrs, dilation).repeated(2), GORGO_FIELD(ColumnsAttrs, padding).repeated(2),
                      GORGO_FIELD(ColumnsAttrs, stride).repeated(2)};
  }
};

struct ImageToColumnsAttrs : ColumnsAttrs {
  ImageToColumnsAttrs() = default;
  explicit ImageToColumnsAttrs(const ColumnsAttrs& shared) : ColumnsAttrs(shared) {}
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ImageToColumnsAttrs, kernel_size).must().repeated(2),
                      GORGO_FIELD(ImageToColumnsAttrs, dilation).repeated(2),
                      GORGO_FIELD(ImageToColumnsAttrs, padding).repeated(2),
                      GORGO_FIELD(ImageToColumnsAttrs, stride).repeated(2)};
  }
};

}  // namespace gorgo

// The attributes of the pooling ops: plain structs that kernels may see. Sizes are (height, width).
// Read next: pool.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// stride None means kernel_size.
struct MaxPoolAttrs {
  Dims kernel_size;
  OptInts stride;
  Dims padding{0, 0};
  Dims dilation{1, 1};
  bool ceil_mode = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(MaxPoolAttrs, kernel_size).must().repeated(2),
                      GORGO_FIELD(MaxPoolAttrs, stride).repeated(2), GORGO_FIELD(MaxPoolAttrs, padding).repeated(2),
                      GORGO_FIELD(MaxPoolAttrs, dilation).repeated(2), GORGO_FIELD(MaxPoolAttrs, ceil_mode)};
  }
};

struct AvgPoolAttrs {
  Dims kernel_size;
  OptInts stride;
  Dims padding{0, 0};
  bool ceil_mode = false;
  bool count_include_pad = true;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AvgPoolAttrs, kernel_size).must().repeated(2),
                      GORGO_FIELD(AvgPoolAttrs, stride).repeated(2), GORGO_FIELD(AvgPoolAttrs, padding).repeated(2),
                      GORGO_FIELD(AvgPoolAttrs, ceil_mode), GORGO_FIELD(AvgPoolAttrs, count_include_pad)};
  }
};

// The size of the input cannot be told from the gradient's.
struct AvgPoolGradAttrs {
  Dims input_size;
  Dims kernel_size;
  OptInts stride;
  Dims padding{0, 0};
  bool ceil_mode = false;
  bool count_include_pad = true;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AvgPoolGradAttrs, input_size).must().repeated(2),
                      GORGO_FIELD(AvgPoolGradAttrs, kernel_size).must().repeated(2),
                      GORGO_FIELD(AvgPoolGradAttrs, stride).repeated(2),
                      GORGO_FIELD(AvgPoolGradAttrs, padding).repeated(2),
                      GORGO_FIELD(AvgPoolGradAttrs, ceil_mode),
                      GORGO_FIELD(AvgPoolGradAttrs, count_include_pad)};
  }
};

}  // namespace gorgo

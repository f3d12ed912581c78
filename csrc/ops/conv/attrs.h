// The attributes of the convolutions: plain structs that kernels may see.
//
// Sizes are (height, width). The gradient ops carry the size that cannot be told from their operands.
// Read next: conv.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct ConvAttrs {
  Dims stride{1, 1};
  Dims padding{0, 0};
  Dims dilation{1, 1};
  int64_t groups = 1;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ConvAttrs, stride).repeated(2), GORGO_FIELD(ConvAttrs, padding).repeated(2),
                      GORGO_FIELD(ConvAttrs, dilation).repeated(2), GORGO_FIELD(ConvAttrs, groups)};
  }
};

struct ConvGradInputAttrs {
  Dims input_size;
  Dims stride{1, 1};
  Dims padding{0, 0};
  Dims dilation{1, 1};
  int64_t groups = 1;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ConvGradInputAttrs, input_size).must().repeated(2),
                      GORGO_FIELD(ConvGradInputAttrs, stride).repeated(2),
                      GORGO_FIELD(ConvGradInputAttrs, padding).repeated(2),
                      GORGO_FIELD(ConvGradInputAttrs, dilation).repeated(2), GORGO_FIELD(ConvGradInputAttrs, groups)};
  }
};

struct ConvGradWeightAttrs {
  Dims kernel_size;
  Dims stride{1, 1};
  Dims padding{0, 0};
  Dims dilation{1, 1};
  int64_t groups = 1;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ConvGradWeightAttrs, kernel_size).must().repeated(2),
                      GORGO_FIELD(ConvGradWeightAttrs, stride).repeated(2),
                      GORGO_FIELD(ConvGradWeightAttrs, padding).repeated(2),
                      GORGO_FIELD(ConvGradWeightAttrs, dilation).repeated(2), GORGO_FIELD(ConvGradWeightAttrs, groups)};
  }
};

}  // namespace gorgo

// The attributes of the creation family: plain structs that kernels may see.
// Read next: creation.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct FullAttrs {
  Dims shape;
  Scalar fill_value;
  DType dtype = DType::Float32;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(FullAttrs, shape).must().repeated(1), GORGO_FIELD(FullAttrs, fill_value).must(),
                      GORGO_FIELD(FullAttrs, dtype)};
  }
};

// start + i * step for i in [0, count). With `stop`, the last element is exactly that.
struct RampAttrs {
  Scalar start;
  Scalar step;
  int64_t count = 0;
  OptFloat stop;
  DType dtype = DType::Float32;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(RampAttrs, start).must(), GORGO_FIELD(RampAttrs, step).must(),
                      GORGO_FIELD(RampAttrs, count).must(), GORGO_FIELD(RampAttrs, stop),
                      GORGO_FIELD(RampAttrs, dtype)};
  }
};

struct EyeAttrs {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t k = 0;
  DType dtype = DType::Float32;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(EyeAttrs, rows).must(), GORGO_FIELD(EyeAttrs, columns).must(),
                      GORGO_FIELD(EyeAttrs, k), GORGO_FIELD(EyeAttrs, dtype)};
  }
};

}  // namespace gorgo

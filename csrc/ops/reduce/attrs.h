// The attributes of the reductions, as kernels see them.
// Read next: reduce.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct ReduceAttrs {
  OptInts axis;
  bool keepdims = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ReduceAttrs, axis).repeated(1), GORGO_FIELD(ReduceAttrs, keepdims).by_keyword()};
  }
};

struct SumAttrs {
  OptInts axis;
  OptDType dtype;
  bool keepdims = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(SumAttrs, axis).repeated(1), GORGO_FIELD(SumAttrs, dtype).by_keyword(),
                      GORGO_FIELD(SumAttrs, keepdims).by_keyword()};
  }
};

struct VarAttrs {
  OptInts axis;
  double correction = 0.0;
  bool keepdims = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(VarAttrs, axis).repeated(1), GORGO_FIELD(VarAttrs, correction).by_keyword(),
                      GORGO_FIELD(VarAttrs, keepdims).by_keyword()};
  }
};

struct ArgAttrs {
  OptInt axis;
  bool keepdims = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ArgAttrs, axis), GORGO_FIELD(ArgAttrs, keepdims).by_keyword()};
  }
};

// sum_to: the shape that the input was broadcast from.
struct SumToAttrs {
  Dims shape;
  static constexpr auto fields() { return std::array{GORGO_FIELD(SumToAttrs, shape).must()}; }
};

}  // namespace gorgo

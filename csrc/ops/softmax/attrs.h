// The attributes of softmax and its kin, as kernels see them.
// Read next: softmax.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct SoftmaxAttrs {
  int64_t axis = -1;
  static constexpr auto fields() { return std::array{GORGO_FIELD(SoftmaxAttrs, axis)}; }
};

struct LogSumExpAttrs {
  int64_t axis = -1;
  bool keepdims = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(LogSumExpAttrs, axis), GORGO_FIELD(LogSumExpAttrs, keepdims).by_keyword()};
  }
};

}  // namespace gorgo

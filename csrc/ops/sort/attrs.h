// The attributes of the sort family: plain structs that kernels may see.
// Read next: sort.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct SortAttrs {
  int64_t axis = -1;
  bool descending = false;
  bool stable = true;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(SortAttrs, axis).by_keyword(), GORGO_FIELD(SortAttrs, descending).by_keyword(),
                      GORGO_FIELD(SortAttrs, stable).by_keyword()};
  }
};

struct BucketizeAttrs {
  bool right = false;
  static constexpr auto fields() { return std::array{GORGO_FIELD(BucketizeAttrs, right).by_keyword()}; }
};

struct TopkAttrs {
  int64_t k = 1;
  int64_t axis = -1;
  bool largest = true;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(TopkAttrs, k).must(), GORGO_FIELD(TopkAttrs, axis), GORGO_FIELD(TopkAttrs, largest)};
  }
};

}  // namespace gorgo

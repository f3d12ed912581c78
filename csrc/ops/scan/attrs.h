// The attributes of the scan family: plain structs that kernels may see.
// Read next: scan.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct CumulativeAttrs {
  OptInt axis;
  OptDType dtype;
  bool include_initial = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(CumulativeAttrs, axis), GORGO_FIELD(CumulativeAttrs, dtype).by_keyword(),
                      GORGO_FIELD(CumulativeAttrs, include_initial).by_keyword()};
  }
};

struct ScanAttrs {
  int64_t axis = -1;
  static constexpr auto fields() { return std::array{GORGO_FIELD(ScanAttrs, axis)}; }
};

}  // namespace gorgo

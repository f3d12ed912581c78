// The attributes of elementwise ops, as kernels see them. Read next: functors.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// The backward companion of a binary op: which gradients are wanted, 1 by the first operand, 2 by the second, 3 both.
struct BackwardAttrs {
  int64_t which = 3;
  static constexpr auto fields() { return std::array{GORGO_FIELD(BackwardAttrs, which)}; }
};

struct PolygammaAttrs {
  int64_t n = 1;
  static constexpr int64_t kMost = 20;
  static constexpr auto fields() { return std::array{GORGO_FIELD(PolygammaAttrs, n).must()}; }
};

}  // namespace gorgo

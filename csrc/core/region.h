// A region of a contiguous tensor: how a view lies in its base. The attributes of as_strided and view_scatter.
//
// Here rather than in the shape family because the tape and capture, below it, make such calls, and kernels read them.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// In elements, from the first one of the base.
struct RegionAttrs {
  Dims shape;
  Dims strides;
  int64_t offset = 0;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(RegionAttrs, shape).must(), GORGO_FIELD(RegionAttrs, strides).must(),
                      GORGO_FIELD(RegionAttrs, offset).must()};
  }
};

}  // namespace gorgo

// The attributes of the optimizers' fused updates, as kernels see them.
// Read next: update.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct SgdAttrs {
  int64_t count = 0;  // number of parameters
  HostValue lr;
  HostValue momentum;
  HostValue dampening;
  HostValue weight_decay;
  bool nesterov = false;
  bool maximize = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(SgdAttrs, count).must().by_keyword(), GORGO_FIELD(SgdAttrs, lr).must().by_keyword(),
                      GORGO_FIELD(SgdAttrs, momentum).by_keyword(),     GORGO_FIELD(SgdAttrs, dampening).by_keyword(),
                      GORGO_FIELD(SgdAttrs, weight_decay).by_keyword(), GORGO_FIELD(SgdAttrs, nesterov).by_keyword(),
                      GORGO_FIELD(SgdAttrs, maximize).by_keyword()};
  }
};

}  // namespace gorgo

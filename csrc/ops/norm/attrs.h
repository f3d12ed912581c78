// The attributes of the norms, as kernels see them.
// Read next: norm.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// layer_norm, rms_norm, batch_norm and the gradients.
struct NormAttrs {
  double eps = 1e-5;
  static constexpr auto fields() { return std::array{GORGO_FIELD(NormAttrs, eps).by_keyword()}; }
};

struct GroupNormAttrs {
  int64_t groups = 1;
  double eps = 1e-5;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(GroupNormAttrs, groups).must().by_keyword(),
                      GORGO_FIELD(GroupNormAttrs, eps).by_keyword()};
  }
};

// A momentum of None takes the plain mean of all batches so far.
struct BatchNormTrainAttrs {
  OptFloat momentum = 0.1;
  double eps = 1e-5;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(BatchNormTrainAttrs, momentum).by_keyword(),
                      GORGO_FIELD(BatchNormTrainAttrs, eps).by_keyword()};
  }
};

}  // namespace gorgo

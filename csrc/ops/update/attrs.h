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

struct AdamAttrs {
  int64_t count = 0;
  HostValue lr;
  HostValue beta1 = 0.9;
  HostValue beta2 = 0.999;
  HostValue eps = 1e-8;
  HostValue weight_decay;
  bool decoupled = false;  // weight decay shrinks the parameter itself: AdamW
  bool amsgrad = false;
  bool maximize = false;
  static constexpr auto fields() {
    return std::array{
        GORGO_FIELD(AdamAttrs, count).must().by_keyword(), GORGO_FIELD(AdamAttrs, lr).must().by_keyword(),
        GORGO_FIELD(AdamAttrs, beta1).by_keyword(),        GORGO_FIELD(AdamAttrs, beta2).by_keyword(),
        GORGO_FIELD(AdamAttrs, eps).by_keyword(),          GORGO_FIELD(AdamAttrs, weight_decay).by_keyword(),
        GORGO_FIELD(AdamAttrs, decoupled).by_keyword(),    GORGO_FIELD(AdamAttrs, amsgrad).by_keyword(),
        GORGO_FIELD(AdamAttrs, maximize).by_keyword()};
  }
};

struct RmspropAttrs {
  int64_t count = 0;
  HostValue lr;
  HostValue alpha = 0.99;
  HostValue eps = 1e-8;
  HostValue weight_decay;
  HostValue momentum;
  bool centered = false;
  bool maximize = false;
  static constexpr auto fields() {
    return std::array{
        GORGO_FIELD(RmspropAttrs, count).must().by_keyword(), GORGO_FIELD(RmspropAttrs, lr).must().by_keyword(),
        GORGO_FIELD(RmspropAttrs, alpha).by_keyword(),        GORGO_FIELD(RmspropAttrs, eps).by_keyword(),
        GORGO_FIELD(RmspropAttrs, weight_decay).by_keyword(), GORGO_FIELD(RmspropAttrs, momentum).by_keyword(),
        GORGO_FIELD(RmspropAttrs, centered).by_keyword(),     GORGO_FIELD(RmspropAttrs, maximize).by_keyword()};
  }
};

struct AdagradAttrs {
  int64_t count = 0;
  HostValue lr;
  HostValue lr_decay;
  HostValue weight_decay;
  HostValue eps = 1e-10;
  bool maximize = false;
  static constexpr auto fields() {
    return std::array{
        GORGO_FIELD(AdagradAttrs, count).must().by_keyword(), GORGO_FIELD(AdagradAttrs, lr).must().by_keyword(),
        GORGO_FIELD(AdagradAttrs, lr_decay).by_keyword(),     GORGO_FIELD(AdagradAttrs, weight_decay).by_keyword(),
        GORGO_FIELD(AdagradAttrs, eps).by_keyword(),          GORGO_FIELD(AdagradAttrs, maximize).by_keyword()};
  }
};

// How many arrays of state, shaped as the parameters, each op keeps. Step counters come after them.
[[nodiscard]] GORGO_INLINE int state_arrays(const AdamAttrs& a) noexcept { return a.amsgrad ? 3 : 2; }
[[nodiscard]] GORGO_INLINE int state_arrays(const AdagradAttrs&) noexcept { return 1; }
// Without the momentum buffers, which are optional.
[[nodiscard]] GORGO_INLINE int state_arrays(const RmspropAttrs& a) noexcept { return a.centered ? 2 : 1; }

}  // namespace gorgo

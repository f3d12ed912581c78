// The attributes of the losses, as kernels see them.
// Read next: loss.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// How the losses of a batch become the result.
enum class LossReduction : uint8_t { Mean, Sum, None };
inline constexpr const char* kLossReductionWords[] = {"mean", "sum", "none", nullptr};

struct CrossEntropyAttrs {
  Choice reduction;
  int64_t ignore_index = -100;
  double label_smoothing = 0.0;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(CrossEntropyAttrs, reduction).of_words(kLossReductionWords).by_keyword(),
                      GORGO_FIELD(CrossEntropyAttrs, ignore_index).by_keyword(),
                      GORGO_FIELD(CrossEntropyAttrs, label_smoothing).by_keyword()};
  }
  [[nodiscard]] GORGO_INLINE LossReduction how() const noexcept { return static_cast<LossReduction>(reduction.index); }
};

}  // namespace gorgo

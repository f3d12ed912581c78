// The attributes of the losses, as kernels see them.
// Read next: loss.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

// How the losses of a batch become the result.
enum class LossReduction : uint8_t { Mean, Sum, None };
inline constexpr const char* kLossReductionWords[] = {"mean", "sum", "none", nullptr};

struct LossAttrs {
  Choice reduction;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(LossAttrs, reduction).of_words(kLossReductionWords).by_keyword()};
  }
  [[nodiscard]] GORGO_INLINE LossReduction how() const noexcept { return static_cast<LossReduction>(reduction.index); }
};

struct SmoothL1Attrs {
  Choice reduction;
  double beta = 1.0;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(SmoothL1Attrs, reduction).of_words(kLossReductionWords).by_keyword(),
                      GORGO_FIELD(SmoothL1Attrs, beta).by_keyword()};
  }
  [[nodiscard]] GORGO_INLINE LossReduction how() const noexcept { return static_cast<LossReduction>(reduction.index); }
};

struct HuberAttrs {
  Choice reduction;
  double delta = 1.0;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(HuberAttrs, reduction).of_words(kLossReductionWords).by_keyword(),
                      GORGO_FIELD(HuberAttrs, delta).by_keyword()};
  }
  [[nodiscard]] GORGO_INLINE LossReduction how() const noexcept { return static_cast<LossReduction>(reduction.index); }
};

struct NllAttrs {
  Choice reduction;
  int64_t ignore_index = -100;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(NllAttrs, reduction).of_words(kLossReductionWords).by_keyword(),
                      GORGO_FIELD(NllAttrs, ignore_index).by_keyword()};
  }
  [[nodiscard]] GORGO_INLINE LossReduction how() const noexcept { return static_cast<LossReduction>(reduction.index); }
};

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

struct CtcAttrs {
  int64_t blank = 0;
  Choice reduction;
  bool zero_infinity = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(CtcAttrs, blank).by_keyword(),
                      GORGO_FIELD(CtcAttrs, reduction).of_words(kLossReductionWords).by_keyword(),
                      GORGO_FIELD(CtcAttrs, zero_infinity).by_keyword()};
  }
  [[nodiscard]] GORGO_INLINE LossReduction how() const noexcept { return static_cast<LossReduction>(reduction.index); }
};
// What a kernel found wrong.
enum class CtcFault : int32_t { Target = 1, InputLength, TargetLength };

}  // namespace gorgo

// The attributes of resampling: a plain struct that kernels may see.
// Read next: resample.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

inline constexpr const char* kResampleModes[] = {"nearest", "nearest-exact", "linear", "cubic", nullptr};
enum class ResampleMode : uint8_t { Nearest, NearestExact, Linear, Cubic };

// The adjoint's own: size is the gradient's, input_size the result's.
struct ResampleAttrs {
  int64_t input_size = 0;
  int64_t size = 0;
  int64_t axis = -1;
  Choice mode{};
  bool align_corners = false;
  OptFloat scale;  // what maps positions; None means the quotient of the sizes
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ResampleAttrs, input_size).must(),
                      GORGO_FIELD(ResampleAttrs, size).must(),
                      GORGO_FIELD(ResampleAttrs, axis),
                      GORGO_FIELD(ResampleAttrs, mode).of_words(kResampleModes),
                      GORGO_FIELD(ResampleAttrs, align_corners).by_keyword(),
                      GORGO_FIELD(ResampleAttrs, scale).by_keyword()};
  }
};

struct ResampleForwardAttrs : ResampleAttrs {
  ResampleForwardAttrs() = default;
  explicit ResampleForwardAttrs(const ResampleAttrs& shared) : ResampleAttrs(shared) {}
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ResampleForwardAttrs, size).must(), GORGO_FIELD(ResampleForwardAttrs, axis),
                      GORGO_FIELD(ResampleForwardAttrs, mode).of_words(kResampleModes),
                      GORGO_FIELD(ResampleForwardAttrs, align_corners).by_keyword(),
                      GORGO_FIELD(ResampleForwardAttrs, scale).by_keyword()};
  }
};

}  // namespace gorgo

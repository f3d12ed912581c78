// The attributes of attention, as kernels see them.
// Read next: attention.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct AttentionAttrs {
  bool is_causal = false;
  OptFloat scale;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AttentionAttrs, is_causal).by_keyword(),
                      GORGO_FIELD(AttentionAttrs, scale).by_keyword()};
  }
};

// The longest vectors of queries and values that the kernels take: blocks of them lie on the stack.
inline constexpr int64_t kMaxHeadSize = 512;

}  // namespace gorgo

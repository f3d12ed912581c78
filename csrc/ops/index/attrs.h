// The attributes of the index family: plain structs that kernels may see.
// Read next: index.h.
#pragma once

#include <array>

#include "core/attrs.h"

namespace gorgo {

struct TakeAttrs {
  OptInt axis;
  static constexpr auto fields() { return std::array{GORGO_FIELD(TakeAttrs, axis)}; }
};

// The axes of x that the index tensors stand on, one each.
struct IndexAttrs {
  Dims axes;
  static constexpr auto fields() { return std::array{GORGO_FIELD(IndexAttrs, axes).must()}; }
};

struct IndexPutAttrs {
  Dims axes;
  bool accumulate = false;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(IndexPutAttrs, axes).must(), GORGO_FIELD(IndexPutAttrs, accumulate)};
  }
};

// `shape` is that of the tensor that was indexed.
struct IndexAdjointAttrs {
  Dims axes;
  Dims shape;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(IndexAdjointAttrs, axes).must(), GORGO_FIELD(IndexAdjointAttrs, shape).must()};
  }
};

struct AlongAxisAttrs {
  int64_t axis = -1;
  static constexpr auto fields() { return std::array{GORGO_FIELD(AlongAxisAttrs, axis)}; }
};

inline constexpr const char* kScatterReductions[] = {"prod", "amax", "amin", nullptr};
enum class ScatterReduction : uint8_t { Prod, Max, Min };

struct ScatterReduceAttrs {
  int64_t axis = -1;
  Choice reduce;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(ScatterReduceAttrs, axis).must(),
                      GORGO_FIELD(ScatterReduceAttrs, reduce).must().of_words(kScatterReductions)};
  }
};

struct AlongAxisAdjointAttrs {
  int64_t axis = -1;
  Dims shape;
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(AlongAxisAdjointAttrs, axis).must(),
                      GORGO_FIELD(AlongAxisAdjointAttrs, shape).must()};
  }
};

// Where the broadcast index axes stand among the axes of the result: at the first indexed axis when these are neighbours in
// order, else in front.
[[nodiscard]] GORGO_INLINE int index_place(const int64_t* axes, int count, int rank) noexcept {
  const int64_t first = axes[0] < 0 ? axes[0] + rank : axes[0];
  for (int k = 1; k < count; ++k) {
    if ((axes[k] < 0 ? axes[k] + rank : axes[k]) != first + k) return 0;
  }
  return static_cast<int>(first);
}

}  // namespace gorgo

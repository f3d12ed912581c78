// Shapes, strides and broadcasting: the arithmetic that everything above trusts.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "core/shape.h"

using namespace gorgo;

namespace {

// Walks a strided layout in row-major order, by definition.
std::vector<int64_t> walk(const Shape& shape, const Strides& strides) {
  std::vector<int64_t> out{0};
  for (int axis = 0; axis < shape.size(); ++axis) {
    std::vector<int64_t> next;
    for (const int64_t at : out) {
      for (int64_t i = 0; i < shape[axis]; ++i) next.push_back(at + i * strides[axis]);
    }
    out = next;
  }
  return out;
}

}  // namespace

TEST_CASE("Dims keep their elements through every size") {
  Dims dims;
  for (int i = 0; i < kMaxRank; ++i) {
    dims.push_back(i * 10);
    const Dims copy = dims;
    Dims moved = std::move(dims);
    CHECK(moved == copy);
    CHECK(moved.size() == i + 1);
    CHECK(moved[i] == i * 10);
    dims = std::move(moved);
  }
  CHECK_THROWS_WITH(dims.push_back(0), "shape: rank must be at most 32, got 33");
  while (!dims.empty()) {
    const Dims before = dims;
    dims.erase(0);
    CHECK(dims.size() == before.size() - 1);
    for (int i = 0; i < dims.size(); ++i) CHECK(dims[i] == before[i + 1]);
  }
  dims.insert(0, 3);
  dims.insert(0, 2);
  dims.insert(2, 4);
  CHECK(dims == Dims{2, 3, 4});
}

TEST_CASE("Dims assign between inline and heap") {
  const Dims longer(10, 7);
  const Dims shorter{1, 2};
  Dims d = longer;
  d = shorter;
  CHECK(d == shorter);
  d = longer;
  CHECK(d == longer);
  d = Dims{5};
  CHECK(d == Dims{5});
}

TEST_CASE("element counts") {
  CHECK(numel_of(Shape{}) == 1);
  CHECK(numel_of(Shape{2, 0, INT64_MAX}) == 0);
  CHECK_THROWS_AS(static_cast<void>(numel_of(Shape{INT64_MAX, 2})), OverflowError);
  CHECK_THROWS_AS(static_cast<void>(numel_of(Shape{-1})), ValueError);
}

TEST_CASE("broadcasting follows the standard") {
  CHECK(broadcast_shapes(Shape{3, 1}, Shape{4}, "op") == Shape{3, 4});
  CHECK(broadcast_shapes(Shape{}, Shape{2, 0}, "op") == Shape{2, 0});
  CHECK(broadcast_shapes(Shape{1}, Shape{0}, "op") == Shape{0});
  CHECK_THROWS_WITH(static_cast<void>(broadcast_shapes(Shape{2, 3}, Shape{4, 3}, "add")),
                    "add: shapes must broadcast, got (2, 3) and (4, 3)");
  CHECK(broadcast_strides(Shape{3, 1}, Strides{1, 1}, Shape{2, 3, 4}) == Strides{0, 1, 0});
}

TEST_CASE("axes") {
  CHECK(normalize_axis(-1, 3, "op") == 2);
  CHECK_THROWS_WITH(static_cast<void>(normalize_axis(3, 2, "softmax")), "softmax: axis must be in [-2, 2), got 3");
  const std::vector<int64_t> twice{0, -2};
  CHECK_THROWS_AS(static_cast<void>(normalize_axes(twice, 2, "sum")), ValueError);
}

TEST_CASE("elements reach from the lowest to the highest that a walk meets") {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    Shape shape;
    Strides strides;
    for (auto rank = random() % 5; rank > 0; --rank) {
      shape.push_back(1 + static_cast<int64_t>(random() % 4));
      strides.push_back(static_cast<int64_t>(random() % 21) - 10);
    }
    const std::vector<int64_t> met = walk(shape, strides);
    const Reach reach = reach_of(shape, strides);
    CHECK(reach.lowest == *std::min_element(met.begin(), met.end()));
    CHECK(reach.highest == *std::max_element(met.begin(), met.end()));
  }
}

TEST_CASE("reshape_strides walks the same elements, or says that it cannot") {
  std::mt19937 random(1);
  int views = 0;
  int copies = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    // A layout cut from a contiguous block by permuting and stepping.
    Shape shape;
    for (int i = 0; i < 1 + static_cast<int>(random() % 4); ++i)
      shape.push_back(1 + static_cast<int64_t>(random() % 4));
    Strides strides = contiguous_strides(shape);
    if (random() % 2 == 0 && shape.size() > 1) {
      std::swap(shape[0], shape[1]);
      std::swap(strides[0], strides[1]);
    }
    if (random() % 3 == 0) strides[shape.size() - 1] *= 2;
    if (random() % 5 == 0) strides[0] = -strides[0];
    // A random factorization of the count.
    int64_t rest = numel_of(shape);
    Shape to;
    while (rest > 1) {
      int64_t factor = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(rest));
      while (rest % factor != 0) --factor;
      to.push_back(factor);
      rest /= factor;
    }
    if (random() % 2 == 0) to.insert(0, 1);
    Strides out;
    if (reshape_strides(shape, strides, to, out)) {
      ++views;
      CHECK(walk(shape, strides) == walk(to, out));
    } else {
      ++copies;
      CHECK_FALSE(is_contiguous(shape, strides));
    }
  }
  CHECK(views > 500);
  CHECK(copies > 200);
}

// csrc/ops/index: gathers and scatters against loops written out here; faults name the first offender.
// Gradients and the broad matrix are tested from Python, in tests/ops/test_index.py.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "ops/index/index.h"
#include "ops/shape/shape.h"
#include "start_library.h"

using namespace gorgo;

namespace {

using List = std::vector<int64_t>;

Tensor integers(const Shape& shape, const List& values) {
  start_library();
  Tensor t = make_tensor(shape, DType::Int64, kCpu);
  for (size_t i = 0; i < values.size(); ++i) static_cast<int64_t*>(t->data())[i] = values[i];
  return t;
}

Tensor counting(const Shape& shape) {
  List values;
  for (int64_t i = 0; i < numel_of(std::as_const(shape)); ++i) values.push_back(i);
  return integers(shape, values);
}

List elements(const Tensor& t) {
  REQUIRE(t->contiguous);
  const auto* data = static_cast<const int64_t*>(t->data());
  return {data, data + t->numel};
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const IndexError& error) {
    return error.what();
  }
  return "no IndexError was thrown";
}

}  // namespace

TEST_CASE("take reads entries of an axis, negative indices from the end") {
  const Tensor x = counting({2, 3, 2});
  const Tensor i = integers({2, 2}, {2, 0, -1, 1});
  const Tensor out = take(x, i, OptInt(1));
  CHECK(out->shape == Shape{2, 2, 2, 2});
  CHECK(elements(out) == List{4, 5, 0, 1, 4, 5, 2, 3, 10, 11, 6, 7, 10, 11, 8, 9});
  CHECK(elements(take(transpose(counting({2, 3})), integers({2}, {0, -2}), OptInt(-1))) == List{0, 0, 1, 1, 2, 2});
  CHECK(message_of([&] { static_cast<void>(take(counting({5}), integers({4}, {1, 2, 3, 7}))); }) ==
        "take: index must be in [-5, 5), got 7 (position 3 of indices)");
}

TEST_CASE("index places the index axes as NumPy does") {
  const Tensor x = counting({2, 3, 4});
  const Tensor i = integers({2}, {1, 0});
  const Tensor j = integers({2, 1}, {2, -1});
  const Tensor neighbours[2] = {i, j};
  const Tensor middle = index(x, neighbours, {0, 1});
  CHECK(middle->shape == Shape{2, 2, 4});
  CHECK(elements(middle)[0] == 12 + 8);
  CHECK(elements(middle)[4] == 8);
  const Tensor front = index(x, neighbours, {0, 2});
  CHECK(front->shape == Shape{2, 2, 3});
  CHECK(elements(front) == List{14, 18, 22, 2, 6, 10, 15, 19, 23, 3, 7, 11});
  const Tensor bad[2] = {i, integers({1}, {-5})};
  CHECK(message_of([&] { static_cast<void>(index(x, bad, {0, 2})); }) ==
        "index: index must be in [-4, 4), got -5 (position 0 of index tensor 1, broadcast)");
}

TEST_CASE("index_put replaces and accumulates in the order of the indices") {
  const Tensor x = counting({3, 2});
  const Tensor rows[1] = {integers({3}, {2, 0, 2})};
  const Tensor values = integers({3, 2}, {10, 11, 12, 13, 14, 15});
  CHECK(elements(index_put(x, values, rows, {0})) == List{12, 13, 2, 3, 14, 15});
  CHECK(elements(index_put(x, values, rows, {0}, true)) == List{12, 14, 2, 3, 28, 31});
  const Tensor wrong[1] = {integers({1}, {3})};
  CHECK(message_of([&] { index_put_into(x, Scalar::of_int(1), wrong, {0}); }) ==
        "index_put: index must be in [-3, 3), got 3 (position 0 of indices)");
  CHECK(elements(x) == List{0, 1, 2, 3, 4, 5});
  index_put_into(x, Scalar::of_int(9), rows, {0});
  CHECK(elements(x) == List{9, 9, 2, 3, 9, 9});
}

TEST_CASE("take_along_axis, scatter and scatter_add agree with loops") {
  const Tensor x = counting({2, 3});
  const Tensor i = integers({2, 2}, {2, 0, -1, 1});
  CHECK(elements(take_along_axis(x, i)) == List{2, 0, 5, 4});
  CHECK(elements(take_along_axis(x, integers({1, 3}, {1, 0, -1}), 0)) == List{3, 1, 5});
  const Tensor v = integers({2, 2}, {10, 20, 30, 40});
  CHECK(elements(scatter(x, i, v)) == List{20, 1, 10, 3, 40, 30});
  CHECK(elements(scatter_add(x, integers({2, 2}, {1, 1, 0, 0}), v)) == List{0, 31, 2, 73, 4, 5});
}

TEST_CASE("nonzero finds positions in row-major order") {
  const Tensor x = integers({2, 3}, {0, 1, 0, 2, 0, 3});
  const Tensor where = nonzero(x);
  CHECK(where->shape == Shape{3, 2});
  CHECK(elements(where) == List{0, 1, 1, 0, 1, 2});
  CHECK(elements(nonzero(transpose(x))) == List{0, 1, 1, 0, 2, 1});
  CHECK(nonzero(integers({0, 3}, {}))->shape == Shape{0, 2});
}

// csrc/ops/shape: views share the storage and lie where basic indexing says; moves copy the right elements.
// Gradients and the broad matrix are tested from Python, in tests/ops/test_shape.py.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "ops/shape/shape.h"
#include "start_library.h"

using namespace gorgo;

namespace {

Tensor counting(const Shape& shape) {
  start_library();
  Tensor t = make_tensor(shape, DType::Int64, kCpu);
  for (int64_t i = 0; i < t->numel; ++i) static_cast<int64_t*>(t->data())[i] = i;
  return t;
}

std::vector<int64_t> elements(const Tensor& t) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < t->numel; ++i) {
    int64_t rest = i;
    int64_t at = t->offset;
    for (int a = t->rank() - 1; a >= 0; --a) {
      at += rest % t->shape[a] * t->strides[a];
      rest /= t->shape[a];
    }
    out.push_back(static_cast<const int64_t*>(t->storage->data)[at]);
  }
  return out;
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

using List = std::vector<int64_t>;

}  // namespace

TEST_CASE("index_view drops, steps and inserts") {
  const Tensor x = counting({3, 4});
  const Tensor v = index_view(x, {{2, 3}, {1, -2}, {IndexViewAttrs::kDropAxis, 2}, {0, 2}});
  CHECK(v->shape == Shape{1, 2, 1});
  CHECK(elements(v) == List{11, 9});
  CHECK(v->storage == x->storage);
  CHECK(v->base == x);
  CHECK(elements(slice(v, 1, 1, 1)) == List{9});
  CHECK(slice(x, 0, 3, 0)->shape == Shape{0, 4});
  CHECK(message_of([&] { static_cast<void>(slice(x, 0, 2, 2)); }) ==
        "index_view: start, step and length of axis 0 must stay in [0, 3), got 2, 1 and 2 (x has shape (3, 4))");
}

TEST_CASE("permute, transpose, flip, diagonal, squeeze, expand") {
  const Tensor x = counting({2, 3});
  CHECK(elements(transpose(x)) == List{0, 3, 1, 4, 2, 5});
  CHECK(elements(permute_dims(x, {-1, 0})) == List{0, 3, 1, 4, 2, 5});
  CHECK(elements(flip(x)) == List{5, 4, 3, 2, 1, 0});
  CHECK(elements(flip(x, Dims{1})) == List{2, 1, 0, 5, 4, 3});
  CHECK(elements(diagonal(x, 1)) == List{1, 5});
  CHECK(elements(diagonal(x, -1)) == List{3});
  CHECK(diagonal(x, 5)->shape == Shape{0});
  CHECK(expand_dims(x, {0, -1})->shape == Shape{1, 2, 3, 1});
  CHECK(squeeze(expand_dims(x, {0, -1}))->shape == Shape{2, 3});
  CHECK(elements(broadcast_to(counting({2, 1}), {2, 2})) == List{0, 0, 1, 1});
  CHECK(message_of([&] { static_cast<void>(permute_dims(x, {0, 0})); }) ==
        "permute_dims: axes must be a permutation of the 2 axes of x, got (0, 0) (x has shape (2, 3))");
  CHECK(message_of([&] { static_cast<void>(squeeze(x, Dims{0})); }) ==
        "squeeze: axis must name an axis of length 1, got 0 of length 2 (x has shape (2, 3))");
}

TEST_CASE("reshape infers one size and refuses the wrong ones") {
  const Tensor x = counting({2, 6});
  CHECK(reshape(x, {3, -1})->shape == Shape{3, 4});
  CHECK(reshape(x, {-1})->storage == x->storage);
  CHECK(reshape(counting({0, 3}), {0, 7})->shape == Shape{0, 7});
  CHECK(message_of([&] { static_cast<void>(reshape(x, {5, -1})); }) ==
        "reshape: shape must have 12 elements, with at most one size of -1, got (5, -1) (x has shape (2, 6))");
}

TEST_CASE("concat, stack, tile, repeat, roll and triangles move the right elements") {
  const Tensor x = counting({2, 3});
  const Tensor parts[2] = {transpose(x), counting({3, 1})};
  CHECK(elements(concat(parts, 1)) == List{0, 3, 0, 1, 4, 1, 2, 5, 2});
  const Tensor pair[2] = {x, flip(x)};
  CHECK(elements(stack(pair, -1)) == List{0, 5, 1, 4, 2, 3, 3, 2, 4, 1, 5, 0});
  CHECK(elements(tile(transpose(x), {2})) == List{0, 3, 0, 3, 1, 4, 1, 4, 2, 5, 2, 5});
  CHECK(elements(repeat(transpose(x), 2, 0)) == List{0, 3, 0, 3, 1, 4, 1, 4, 2, 5, 2, 5});
  CHECK(elements(repeat(transpose(x), 2)) == List{0, 0, 3, 3, 1, 1, 4, 4, 2, 2, 5, 5});
  CHECK(elements(roll(x, {1, -1}, Dims{0, 1})) == List{4, 5, 3, 1, 2, 0});
  CHECK(elements(roll(transpose(x), {-2})) == List{1, 4, 2, 5, 0, 3});
  CHECK(elements(tril(x)) == List{0, 0, 0, 3, 4, 0});
  CHECK(elements(triu(transpose(x), 1)) == List{0, 3, 0, 0, 0, 0});
  const Outputs cut = split(x, 2, 1);
  CHECK(cut.size() == 2);
  CHECK(elements(cut[1]) == List{2, 5});
  CHECK(elements(unstack(x, 1)[2]) == List{2, 5});
}

TEST_CASE("view_scatter replaces a region") {
  const Tensor x = counting({2, 3});
  const Tensor row = counting({3});
  CHECK(elements(view_scatter(x, row, {{2, 3}, {3, -1}, 2})) == List{2, 1, 0, 2, 1, 0});
  CHECK(elements(view_scatter(x, Scalar::of_int(9), {{2}, {4}, 0})) == List{9, 1, 2, 3, 9, 5});
  CHECK(message_of([&] { static_cast<void>(as_strided(x, {{4}, {2}, 0})); }) ==
        "as_strided: shape, strides and offset must stay within 6 elements, got shape (4,), strides (2,) and offset 0");
}

TEST_CASE("may_overlap is certain where elements are distinct") {
  CHECK_FALSE(may_overlap({3, 4}, {4, 1}));
  CHECK_FALSE(may_overlap({3, 4}, {-1, 3}));
  CHECK_FALSE(may_overlap({0, 4}, {0, 0}));
  CHECK_FALSE(may_overlap({1, 4}, {0, 2}));
  CHECK(may_overlap({3}, {0}));
  CHECK(may_overlap({3, 3}, {1, 1}));
}

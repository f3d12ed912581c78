// csrc/autograd/tape: the order of the reverse loop, the life of records, what is saved and when it is refused.
// Values of gradients are tested from Python, in tests/test_autograd.py and tests/test_registry.py.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/check.h"
#include "ops/elementwise/elementwise.h"
#include "start_library.h"

using namespace gorgo;

namespace {

Tensor leaf(std::vector<double> values) {
  start_library();
  Tensor t = make_tensor(Shape{static_cast<int64_t>(values.size())}, DType::Float64, kCpu);
  std::copy(values.begin(), values.end(), static_cast<double*>(t->data()));
  t->requires_grad = true;
  return t;
}

Tensor ones_like(const Tensor& t) {
  Tensor g = make_tensor(t->shape, DType::Float64, kCpu);
  std::fill_n(static_cast<double*>(g->data()), g->numel, 1.0);
  return g;
}

std::vector<double> elements(const Tensor& t) {
  const auto* p = static_cast<const double*>(t->data());
  return {p, p + t->numel};
}

void run_backward(const Tensor& y, const BackwardOptions& options = {}) {
  const Tensor grad = ones_like(y);
  backward({&y, 1}, {&grad, 1}, options);
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

using List = std::vector<double>;

}  // namespace

TEST_CASE("tape: records are numbered in the order of the calls and hold their inputs' records") {
  const Tensor x = leaf({2.0});
  const Tensor y = ops::square(x);
  const Tensor z = ops::multiply(y, x);
  const auto* first = static_cast<const Node*>(y->grad_fn.get());
  const auto* second = static_cast<const Node*>(z->grad_fn.get());
  CHECK(first->number < second->number);
  CHECK(std::string(second->op->name) == "multiply");
  CHECK(second->edges[0].node == y->grad_fn);
  CHECK(second->edges[1].leaf == x);
  CHECK_FALSE(static_cast<bool>(x->grad_fn));
}

TEST_CASE("tape: a value used along two ways is visited once, after both") {
  // d/dx of x^2 * x^2 + x^2 = 4 x^3 + 2 x; a visit before both parts had come would lose one.
  const Tensor x = leaf({3.0, -1.0});
  const Tensor y = ops::square(x);
  run_backward(ops::add(ops::multiply(y, y), y));
  CHECK(elements(x->grad) == List{4 * 27.0 + 6.0, -4.0 - 2.0});
}

TEST_CASE("tape: gradients of several calls add up in the leaf") {
  const Tensor x = leaf({1.5});
  run_backward(ops::square(x));
  run_backward(ops::square(x));
  CHECK(elements(x->grad) == List{6.0});
}

TEST_CASE("tape: a chain of 100,000 records is walked and freed without recursion") {
  const int64_t before = live_records();
  {
    const Tensor x = leaf({0.5});
    Tensor y = x;
    for (int i = 0; i < 100'000; ++i) y = ops::add(y, x);
    CHECK(live_records() == before + 100'000);
    run_backward(y);
    CHECK(elements(x->grad) == List{100'001.0});
    y = nullptr;
    CHECK(live_records() == before);
  }
  {
    const Tensor x = leaf({0.5});
    Tensor y = x;
    for (int i = 0; i < 100'000; ++i) y = ops::negative(y);
    y = nullptr;  // never differentiated
    CHECK(live_records() == before);
  }
}

TEST_CASE("tape: a record lives as long as the last tensor behind it") {
  const int64_t before = live_records();
  const Tensor x = leaf({1.0});
  Tensor z;
  {
    const Tensor y = ops::exp(x);
    z = ops::multiply(y, y);
  }
  CHECK(live_records() == before + 2);
  z = nullptr;
  CHECK(live_records() == before);
}

TEST_CASE("tape: backward releases what was saved, unless told to keep it") {
  const Tensor x = leaf({3.0});
  const Tensor y = ops::square(x);
  run_backward(y, {.retain_graph = true});
  run_backward(y);
  CHECK(elements(x->grad) == List{12.0});
  CHECK(message_of([&] { run_backward(y); }).find("square") != std::string::npos);
  CHECK(elements(x->grad) == List{12.0});
}

TEST_CASE("tape: a saved value that was written since is refused by name") {
  const Tensor x = leaf({3.0});
  const Tensor y = ops::negative(x);
  const Tensor z = ops::square(y);
  {
    const GradMode off(false);
    assign(y, Scalar::of_float(7.0));
  }
  const std::string message = message_of([&] { run_backward(z); });
  CHECK(message.find("square") != std::string::npos);
  CHECK(message.find("must not be modified in place before backward") != std::string::npos);
  CHECK_FALSE(static_cast<bool>(x->grad));
}

TEST_CASE("tape: nothing is recorded while the mode is off, nor for operands that want no gradient") {
  const int64_t before = live_records();
  const Tensor x = leaf({3.0});
  {
    const GradMode off(false);
    CHECK_FALSE(ops::square(x)->requires_grad);
  }
  CHECK_FALSE(ops::square(ones_like(x))->requires_grad);
  CHECK(live_records() == before);
}

TEST_CASE("tape: gradient() gives the asked ones alone, and second derivatives with create_graph") {
  const Tensor x = leaf({2.0, 3.0});
  const Tensor unused = leaf({1.0, 1.0});
  const Tensor y = ops::multiply(ops::square(x), x);
  const Tensor one = ones_like(y);
  const Tensor wanted[] = {x, unused};
  const auto first = gradient({&y, 1}, {&one, 1}, wanted, {.retain_graph = true, .create_graph = true});
  CHECK(elements(first[0]) == List{12.0, 27.0});
  CHECK_FALSE(static_cast<bool>(first[1]));
  CHECK_FALSE(static_cast<bool>(x->grad));
  const auto second = gradient({&first[0], 1}, {&one, 1}, {wanted, 1}, {});
  CHECK(elements(second[0]) == List{12.0, 18.0});
}

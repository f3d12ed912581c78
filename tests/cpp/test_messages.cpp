// Messages of the ops that only gradients and views call, and of the guards between the layers: no Python call reaches
// them with bad arguments, so they are provoked here. What a user can provoke is in tests/test_errors.py.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/env.h"
#include "core/parallel.h"
#include "graph/executor.h"
#include "graph/ir.h"
#include "graph/verify.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/index/index.h"
#include "ops/loss/loss.h"
#include "ops/pool/pool.h"
#include "ops/random/random.h"
#include "ops/shape/shape.h"
#include "ops/softmax/softmax.h"
#include "start_library.h"

using namespace gorgo;

namespace {

Tensor filled(const Shape& shape, DType dtype = DType::Float32) {
  start_library();
  Tensor t = make_tensor(shape, dtype, kCpu);
  if (t->numel != 0) std::memset(t->data(), 0, static_cast<size_t>(t->numel * dtype_size(dtype)));
  return t;
}

// The message of the exception that call throws, which must be an E.
template <class E, class F>
std::string message_of(F&& call) {
  try {
    static_cast<void>(call());
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "no exception";
}

}  // namespace

TEST_CASE("messages: the gradient of a convolution by its kernels") {
  const Tensor x = filled({2, 3, 5, 5});
  ConvAttrs attrs{.stride = {1, 1}, .padding = {0, 0}, .dilation = {1, 1}, .extra = {3, 3}};
  CHECK(message_of<ValueError>([&] { return conv_grad_weight(x, filled({1, 4, 3, 3}), attrs); }) ==
        "conv2d_grad_weight: g must have 2 images of at most (3, 3) windows, got shape (1, 4, 3, 3) (x has shape "
        "(2, 3, 5, 5))");
  attrs.groups = 2;
  CHECK(message_of<ValueError>([&] { return conv_grad_weight(x, filled({2, 4, 3, 3}), attrs); }) ==
        "conv2d_grad_weight: groups must divide the 3 input channels, got 2");
}

TEST_CASE("messages: gradients of pooling, softmax, cross entropy and dropout") {
  const Tensor x = filled({1, 1, 4, 4});
  MaxPoolAttrs window;
  window.kernel_size = {2, 2};
  window.padding = {0, 0};
  window.dilation = {1, 1};
  CHECK(message_of<ValueError>([&] { return max_pool_grad(filled({1, 1, 3, 3}), x, window); }) ==
        "max_pool_grad: g must have shape (1, 1, 2, 2), got (1, 1, 3, 3) (x has shape (1, 1, 4, 4))");
  AvgPoolAttrs mean;
  mean.input_size = {4, 4};
  mean.kernel_size = {2, 2};
  mean.padding = {0, 0};
  CHECK(message_of<ValueError>([&] { return avg_pool_grad(filled({1, 1, 3, 3}), mean); }) ==
        "avg_pool_grad: g must have size (2, 2) for input_size (4, 4), got shape (1, 1, 3, 3)");
  CHECK(message_of<ValueError>([&] { return softmax_backward(filled({2, 3}), filled({2, 4}), -1); }) ==
        "softmax_backward: g must be like y, float32 (2, 4), got float32 (2, 3)");
  CHECK(message_of<ValueError>([&] {
          return cross_entropy_backward(filled({2, 3}), filled({2}, DType::Int64), filled({2}), {});
        }) == "cross_entropy_backward: g must be float32 (), got float32 (2,)");
  CHECK(message_of<ValueError>([&] { return dropout_adjoint(filled({2}), filled({3}, DType::Bool), 0.5); }) ==
        "dropout_adjoint: mask must be bool of shape (2,), got bool of shape (3,)");
}

TEST_CASE("messages: cutting views, and writing through them") {
  const Tensor x = filled({3, 4});
  CHECK(message_of<ValueError>([&] { return index_view(x, {{0}, {1}, {2}, {}}); }) ==
        "index_view: start, step and length must have 2 entries, got (0,), (1,) and (2,)");
  CHECK(message_of<IndexError>([&] { return index_view(x, {{0, 2}, {1, 1}, {3, 3}, {}}); }) ==
        "index_view: start, step and length of axis 1 must stay in [0, 4), got 2, 1 and 3 (x has shape (3, 4))");
  CHECK(message_of<ValueError>([&] { return index_view(x, {{0, 0}, {1, 1}, {3, 4}, {2, 1}}); }) ==
        "index_view: insert must list rising positions in the result, got (2, 1)");
  CHECK(message_of<ValueError>([&] { return view_scatter(transpose(x), x, {{3, 4}, {4, 1}, 0}); }) ==
        "view_scatter: base must be contiguous, got strides (1, 4) for shape (4, 3)");
  CHECK(message_of<ValueError>([&] { return view_scatter(x, Scalar::of_float(1.0), {{2, 2}, {1, 1}, 0}); }) ==
        "view_scatter: the view must not hold an element twice, got strides (1, 1) for shape (2, 2)");
  CHECK(message_of<TypeError>([&] { return view_scatter(x, filled({2}, DType::Int64), {{2}, {1}, 0}); }) ==
        "view_scatter: src must have dtype float32, got int64");
  CHECK(message_of<ValueError>([&] { return view_scatter(x, filled({3, 2}), {{2}, {1}, 0}); }) ==
        "view_scatter: src must broadcast to (2,), got (3, 2)");
  CHECK(message_of<ValueError>([&] { return as_strided(x, {{2, 2}, {1}, 0}); }) ==
        "as_strided: strides must have one entry per axis of shape (2, 2), got (1,)");
  CHECK(message_of<ValueError>([&] { return as_strided(x, {{2, 2}, {11, 1}, 0}); }) ==
        "as_strided: shape, strides and offset must stay within 12 elements, got shape (2, 2), strides (11, 1) and "
        "offset "
        "0");
}

TEST_CASE("messages: indexing by tensors") {
  const Tensor x = filled({3, 4});
  const std::vector<Tensor> one{filled({2}, DType::Int64)};
  CHECK(message_of<ValueError>([&] { return index(x, one, {0, 1}); }) ==
        "index: axes must name one axis for each index tensor, got (0, 1) for 1");
  CHECK(message_of<ValueError>([&] { return index_put(x, filled({5, 2, 4}), one, {0}); }) ==
        "index_put: values must broadcast to (2, 4), got (5, 2, 4)");
  CHECK(message_of<ValueError>([&] { return scatter(x, filled({2, 4}, DType::Int64), filled({5, 2, 4}), 0); }) ==
        "scatter: values must broadcast to the indices' shape (2, 4), got (5, 2, 4)");
  CHECK(message_of<TypeError>([&] { return index_mask(x, filled({3}), 0); }) ==
        "index: mask must have dtype bool, got float32");
  CHECK(message_of<IndexError>([&] { return index_mask(x, filled({4}, DType::Bool), 0); }) ==
        "index: mask must have the shape of the axes it stands on, from axis 0, got (4,) (x has shape (3, 4))");
}

TEST_CASE("messages: the funnel") {
  const Tensor x = filled({3});
  const SoftmaxAttrs along_last{-1};
  CHECK(message_of<TypeError>([&] { return invoke(*softmax_ops.softmax, {Scalar::of_float(2.0)}, &along_last); }) ==
        "softmax: x must be a tensor, got a Python scalar");
  CHECK(message_of<TypeError>([&] { return ops::add(Arg(), x); }) == "add: x1 must be a tensor or a number, got None");
  CHECK(message_of<StateError>([&] { return unstack(x); }) == "no exception");
  const AxisAttrs attrs{0};
  CHECK(message_of<StateError>([&] { return invoke(*shape_ops.unstack, {x}, &attrs); }) ==
        "unstack: call must be one for several outputs, got one for a single output");
  CHECK(message_of<DeviceError>([&] { return make_tensor({2}, DType::Float32, Device{DeviceType::Cuda, 1}); }) ==
        "device: must be available in this build, got cuda:1");
  CHECK(message_of<StateError>([&] {
          parallel_for(1, [](int64_t) {});
          std::string caught;
          parallel_for(4, [&](int64_t task) {
            if (task != 0) return;
            try {
              set_num_threads(1);
            } catch (const StateError& error) {
              caught = error.what();
            }
          });
          if (caught.empty()) return;
          throw StateError(caught);
        }) == "set_num_threads: must be called outside a parallel region, got 1 inside one");
}

TEST_CASE("messages: the registry, and a dtype that no branch takes") {
  start_library();
  CHECK(message_of<StateError>([] { return Registry::instance().get("nothing").name; }) ==
        "registry: op must be registered, got nothing");
  const auto size = [](auto tag) { return static_cast<int>(sizeof(typename decltype(tag)::Type)); };
  CHECK(message_of<TypeError>([&] { return visit_dtype<DType::Int8>(DType::Int16, "size", size); }) ==
        "size: dtype is not supported, got int16");
  CHECK(message_of<TypeError>([&] { visit_dtype<DType::Int8>(DType::Int16, "size", [](auto) {}); }) ==
        "size: dtype is not supported, got int16");
}

TEST_CASE("messages: verify names what is wrong with a graph") {
  start_library();
  const auto graph = [] {
    Graph g;
    const int32_t x = g.add_value(IrValue::Kind::Input, DType::Float32, {2, 3});
    g.inputs.push_back(x);
    g.nodes.push_back({.op = softmax_ops.softmax,
                       .attrs = {},
                       .inputs = {{.value = x, .is_scalar = false, .scalar = {}}},
                       .outputs = {},
                       .origin = ""});
    g.nodes[0].attrs = Attrs(softmax_ops.softmax->attrs);
    g.define(0, g.add_value(IrValue::Kind::Node, DType::Float32, {2, 3}));
    g.outputs.push_back(g.nodes[0].outputs[0]);
    return g;
  };
  const auto message = [](const Graph& g) { return message_of<StateError>([&] { verify(g); }); };
  CHECK(message(graph()) == "no exception");
  Graph g = graph();
  g.nodes[0].inputs[0].value = 7;
  CHECK(message(g) == "verify: operand of softmax must be a value of the graph, got %7");
  g = graph();
  g.values[1].shape = {3, 2};
  CHECK(message(g) == "verify: %1: float32 (3, 2) must be what softmax gives, float32 (2, 3)");
  g = graph();
  g.values[1].node = 4;
  CHECK(message(g) == "verify: %1 must name its node 0, got 4");
  g = graph();
  g.outputs[0] = 9;
  CHECK(message(g) == "verify: output must be a value of the graph, got %9");
  g = graph();
  g.nodes[0].inputs[0].value = g.nodes[0].outputs[0];
  CHECK(message(g) == "verify: value %1 must be defined before softmax uses it");
  g = graph();
  g.values[0].shape = {3};
  g.values[1].shape = {3};
  g.assignments.push_back({0, 9});
  CHECK(message(g) == "verify: assignment must keep shape and dtype, got %0 <- %9");
}

TEST_CASE("messages: what cannot be planned") {
  start_library();
  Graph g;
  const int32_t x = g.add_value(IrValue::Kind::Input, DType::Float32, {3});
  g.inputs.push_back(x);
  g.nodes.push_back({.op = index_ops.nonzero,
                     .attrs = {},
                     .inputs = {{.value = x, .is_scalar = false, .scalar = {}}},
                     .outputs = {},
                     .origin = ""});
  g.define(0, g.add_value(IrValue::Kind::Node, DType::Int64, {2, 1}));
  CHECK(message_of<NotSupported>([&] { return Program(g); }) ==
        "nonzero: op must have shapes that do not depend on values to be planned");
}

namespace {

void infer_same(InferContext& c) {
  c.compute_dtype = c.dtype(0);
  c.add_output(c.dtype(0), c.shape(0));
}
void vjp_of_another_shape(VjpContext& c) { c.set(0, filled({7})); }

}  // namespace

TEST_CASE("messages: a gradient of the wrong shape names the op and both shapes") {
  start_library();
  OpDef op = *softmax_ops.softmax;
  op.name = "misshapen";
  op.vjp = vjp_of_another_shape;
  op.infer = infer_same;
  Tensor x = filled({2, 3});
  x->requires_grad = true;
  const Tensor y = invoke(op, {x}, Attrs(op.attrs).get());
  CHECK(message_of<StateError>([&] { backward(std::vector<Tensor>{y}, std::vector<Tensor>{filled({2, 3})}, {}); }) ==
        "misshapen: gradient of operand 0 must have shape (2, 3), got (7,)");
}

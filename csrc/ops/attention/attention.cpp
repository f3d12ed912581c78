// Scaled dot-product attention: what it yields, its gradients, and its facts.
//
// Invariant: the fused gradient is for first derivatives; where derivatives will be taken again, or the mask wants one, the
// gradient is composed of ops, and then the scores are stored.
// Read next: attention.h, kernels_cpu.cpp.
#include "ops/attention/attention.h"

#include <cmath>
#include <limits>
#include <utility>

#include "ops/creation/creation.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/shape/shape.h"
#include "ops/softmax/softmax.h"

namespace gorgo {

AttentionOps attention_ops;

namespace {

using ops::number;

DType log_dtype(DType d) { return d == DType::Float64 ? d : DType::Float32; }

void check_attention(InferContext& c) {
  const Shape& q = c.shape(0);
  const Shape& k = c.shape(1);
  const Shape& v = c.shape(2);
  const int r = q.size();
  if (!is_floating(c.dtype(0))) fail<TypeError>(c.name(), ": query must have a real floating dtype, got ", c.dtype(0));
  if (c.dtype(1) != c.dtype(0) || c.dtype(2) != c.dtype(0)) {
    fail<TypeError>(c.name(), ": key and value must have query's dtype ", c.dtype(0), ", got ", c.dtype(1), " and ",
                    c.dtype(2));
  }
  if (r < 2) fail<ValueError>(c.name(), ": query must have shape (..., l, e), got ", q);
  Shape of_keys = q;
  of_keys[r - 2] = k.size() == r ? k[r - 2] : 0;
  if (r > 2 && k.size() == r && k[r - 3] > 0 && q[r - 3] % k[r - 3] == 0) of_keys[r - 3] = k[r - 3];
  if (k != of_keys) {
    fail<ValueError>(c.name(), ": key must have shape (..., s, e) like query ", q,
                     ", or heads that divide query's on axis -3, got ", k);
  }
  Shape of_values = k;
  of_values[r - 1] = v.size() == r ? v[r - 1] : 0;
  if (v != of_values) fail<ValueError>(c.name(), ": value must have shape (..., s, ev) like key ", k, ", got ", v);
  if (q[r - 1] > kMaxHeadSize || v[r - 1] > kMaxHeadSize) {
    fail<ValueError>(c.name(), ": e and ev must be at most ", kMaxHeadSize, ", got ", q[r - 1], " and ", v[r - 1]);
  }
  if (c.in.size() > 3 && c.in[3].given()) {
    Shape scores = q;
    scores[r - 1] = k[r - 2];
    const Shape& mask = c.shape(3);
    if (c.dtype(3) != DType::Bool && c.dtype(3) != c.dtype(0)) {
      fail<TypeError>(c.name(), ": mask must be bool or ", c.dtype(0), ", got ", c.dtype(3));
    }
    bool fits = mask.size() <= r;
    for (int i = 1; fits && i <= mask.size(); ++i) {
      fits = mask[mask.size() - i] == 1 || mask[mask.size() - i] == scores[r - i];
    }
    if (!fits) fail<ValueError>(c.name(), ": mask must broadcast to the scores' shape ", scores, ", got ", mask);
  }
  const auto& a = c.attrs_as<AttentionAttrs>();
  if (a.scale.has && !std::isfinite(a.scale.value)) {
    fail<ValueError>(c.name(), ": scale must be finite, got ", a.scale.value);
  }
  c.compute_dtype = c.dtype(0);
}

void infer_attention(InferContext& c) {
  check_attention(c);
  Shape out = c.shape(0);
  Shape logs = out;
  out[out.size() - 1] = c.shape(2)[out.size() - 1];
  logs.erase(logs.size() - 1);
  c.add_output(c.dtype(0), out);
  c.add_output(log_dtype(c.dtype(0)), logs);
}

void infer_attention_backward(InferContext& c) {
  check_attention(c);
  Shape out = c.shape(0);
  out[out.size() - 1] = c.shape(2)[out.size() - 1];
  Shape logs = out;
  logs.erase(logs.size() - 1);
  const auto like = [&](int i, const char* what, DType dtype, const Shape& shape) {
    if (c.dtype(i) != dtype || c.shape(i) != shape) {
      fail<ValueError>(c.name(), ": ", what, " must be ", dtype, " ", shape, ", got ", c.dtype(i), " ", c.shape(i));
    }
  };
  like(4, "out", c.dtype(0), out);
  like(5, "log_sum", log_dtype(c.dtype(0)), logs);
  like(6, "g", c.dtype(0), out);
  if (c.in.size() > 7 && c.in[7].given()) like(7, "g_log_sum", log_dtype(c.dtype(0)), logs);
  for (int i = 0; i < 3; ++i) c.add_output(c.dtype(i), c.shape(i));
}

bool given(const VjpContext& c, size_t i) { return i < c.inputs.size() && c.inputs[i]; }

// The most negative number of a dtype: a score that no sum notices.
double lowest(DType d) {
  switch (d) {
    case DType::Float16:
      return -65504.0;
    case DType::BFloat16:
      return -0x1.fep127;
    case DType::Float32:
      return -double{std::numeric_limits<float>::max()};
    default:
      return -std::numeric_limits<double>::max();
  }
}

// Heads of keys, each repeated for the heads of queries that share it; and the sum over those.
Tensor repeat_heads(const Tensor& x, int64_t heads) {
  const int r = x->shape.size();
  if (r < 3 || x->shape[r - 3] == heads) return x;
  Shape wide = x->shape;
  wide[r - 3] = heads;
  Shape apart = expand_dims(x, Dims{r - 2})->shape;
  apart[r - 2] = heads / x->shape[r - 3];
  return reshape(broadcast_to(expand_dims(x, Dims{r - 2}), apart), wide);
}
Tensor sum_heads(const Tensor& g, const Shape& shape) {
  const int r = shape.size();
  if (g->shape == shape) return g;
  Shape apart;
  for (int i = 0; i < r - 2; ++i) apart.push_back(shape[i]);
  apart.push_back(g->shape[r - 3] / shape[r - 3]);
  apart.push_back(shape[r - 2]);
  apart.push_back(shape[r - 1]);
  return sum(reshape(g, apart), Dims{r - 2});
}

// The gradients by ops alone: with p the weights, and h = g v' - (g . out - what arrives at the logarithm), ds = p h.
void compose(VjpContext& c) {
  const auto& a = c.attrs_as<AttentionAttrs>();
  const Tensor& q = c.input(0);
  const DType d = q->dtype;
  const int r = q->shape.size();
  const int64_t l = q->shape[r - 2];
  const int64_t s = c.input_shape(1)[r - 2];
  const int64_t e = q->shape[r - 1];
  const double scale = a.scale.has ? a.scale.value : 1.0 / std::sqrt(static_cast<double>(e < 1 ? 1 : e));
  const int64_t heads = r > 2 ? q->shape[r - 3] : 1;
  const Tensor k = repeat_heads(c.input(1), heads);
  const Tensor v = repeat_heads(c.input(2), heads);
  Tensor scores = ops::multiply(matmul(q, transpose(k)), number(scale));
  Tensor visible;
  if (given(c, 3)) {
    const Tensor& mask = c.input(3);
    if (mask->dtype == DType::Bool) {
      visible = mask;
    } else {
      visible = ops::greater(mask, number(-std::numeric_limits<double>::infinity()));
      scores = ops::add(scores, ops::where(visible, mask, number(0.0)));
    }
  }
  if (a.is_causal) {
    const Tensor before = tril(full(Shape{l, s}, Scalar::of_bool(true), DType::Bool));
    visible = visible ? ops::logical_and(visible, before) : before;
  }
  if (visible) scores = ops::where(visible, scores, number(lowest(d)));
  Tensor p = softmax(scores, -1);
  if (visible) p = ops::where(visible, p, number(0.0));

  const Tensor& g = c.grad(0);
  if (g && c.wants(2)) c.set(2, sum_heads(matmul(transpose(p), g), c.input_shape(2)));
  Tensor common;
  Tensor slope;
  if (g) {
    slope = matmul(g, transpose(v));
    common = sum(ops::multiply(p, slope), Dims{-1}, true);
  }
  if (c.grad(1)) {
    const Tensor by_log = cast_to(expand_dims(c.grad(1), Dims{-1}), d);
    common = common ? ops::subtract(common, by_log) : ops::negative(by_log);
  }
  const Tensor ds = ops::multiply(p, slope ? ops::subtract(slope, common) : ops::negative(common));
  if (c.wants(0)) c.set(0, ops::multiply(matmul(ds, k), number(scale)));
  if (c.wants(1)) c.set(1, sum_heads(ops::multiply(matmul(transpose(ds), q), number(scale)), c.input_shape(1)));
  if (given(c, 3) && c.wants(3)) c.set(3, sum_to(ds, c.input_shape(3)));
}

void vjp_attention(VjpContext& c) {
  if (!c.grad(0) && !c.grad(1)) return;
  if (c.create_graph || (given(c, 3) && c.wants(3))) {
    compose(c);
    return;
  }
  const Tensor g = c.grad(0) ? c.grad(0) : full(c.output(0)->shape, Scalar::of_float(0.0), c.input_dtype(0));
  const Arg args[] = {c.input(0),  c.input(1),  c.input(2), given(c, 3) ? Arg(c.input(3)) : Arg(),
                      c.output(0), c.output(1), g,          c.grad(1) ? Arg(c.grad(1)) : Arg()};
  Outputs grads = invoke_all(*attention_ops.attention_backward, args, &c.attrs_as<AttentionAttrs>());
  for (int i = 0; i < 3; ++i) {
    if (c.wants(i)) c.set(i, std::move(grads[i]));
  }
}

Cost cost_of_attention(const KernelArgs& args) {
  const KOperand& q = args.in[0];
  const KOperand& k = args.in[1];
  const KOperand& v = args.in[2];
  const auto s = static_cast<double>(k.shape[k.rank - 2]);
  const auto e = static_cast<double>(q.shape[q.rank - 1]);
  const auto ev = static_cast<double>(v.shape[v.rank - 1]);
  const double rows = static_cast<double>(q.numel) / (e < 1.0 ? 1.0 : e);
  return {2.0 * rows * s * (e + ev),
          static_cast<double>(q.numel + k.numel + v.numel) * static_cast<double>(dtype_size(q.dtype))};
}

}  // namespace

void register_attention(Registry& registry) {
  OpDef op;
  op.name = "attention";
  op.doc = "Mix values by the softmax of scaled products of queries and keys, without storing the scores.";
  op.details = R"(Args:
    query (..., h, l, e) float: the queries; e is at most 512. There may be no leading axes.
    key (..., hk, s, e) float: the keys; each of their heads serves h / hk of the queries'.
    value (..., hk, s, ev) float: the values; ev is at most 512.
    mask (..., l, s) bool or float: broadcast to the scores; False takes a key away from a query, numbers are added.
    is_causal (bool): whether query i sees the keys up to i only.
    scale (float): factor of the scores; 1 / sqrt(e) by default.

Returns:
    (..., h, l, ev) float and (..., h, l) float: softmax(scale query key^T + mask) value, and the logarithm of the sum of
    exponentials of each query's scores. A query that sees no key yields zero, and minus infinity.

Raises:
    ValueError: shapes do not fit, sizes are too large, or scale is not finite.
    TypeError: dtypes differ or are not floating.

Source:
    Vaswani et al., "Attention is all you need", NeurIPS 2017; Dao et al., "FlashAttention", NeurIPS 2022.

Example:
    >>> import gorgo as gg
    >>> out, _ = gg.attention(gg.zeros((2, 4)), gg.ones((3, 4)), gg.asarray([[0.0], [3.0], [6.0]]))
    >>> out.tolist()
    [[3.0], [3.0]]
)";
  op.inputs = {{.name = "query", .shape_doc = "(..., h, l, e) float"},
               {.name = "key", .shape_doc = "(..., hk, s, e) float"},
               {.name = "value", .shape_doc = "(..., hk, s, ev) float"},
               {.name = "mask", .kind = SlotKind::Optional, .shape_doc = "(..., l, s) bool or float"}};
  op.outputs = {"out", "log_sum"};
  op.attrs = &schema_of<AttentionAttrs>();
  op.infer = infer_attention;
  op.vjp = vjp_attention;
  op.saves_inputs = 15;
  op.saves_outputs = 3;
  op.onnx = {nullptr, 0, "exported as MatMul, Mul, Softmax and MatMul"};
  op.cost = cost_of_attention;

  OpDef backward = op;
  backward.name = "attention_backward";
  backward.doc = "Compute the gradients of attention by its queries, keys and values.";
  backward.details = "";
  backward.inputs.push_back({.name = "out", .shape_doc = "(..., h, l, ev) float"});
  backward.inputs.push_back({.name = "log_sum", .shape_doc = "(..., h, l) float"});
  backward.inputs.push_back({.name = "g", .shape_doc = "(..., h, l, ev) float"});
  backward.inputs.push_back({.name = "g_log_sum", .kind = SlotKind::Optional, .shape_doc = "(..., h, l) float"});
  backward.outputs = {"by_query", "by_key", "by_value"};
  backward.infer = infer_attention_backward;
  backward.vjp = nullptr;
  backward.saves_inputs = 0;
  backward.saves_outputs = 0;
  backward.not_differentiable = "attention composes its gradient where it is differentiated again";
  backward.onnx = {nullptr, 0, "ONNX has no operator for it outside of training"};
  backward.flags.internal = true;

  attention_ops.attention = &registry.add(std::move(op));
  attention_ops.attention_backward = &registry.add(std::move(backward));
}

}  // namespace gorgo

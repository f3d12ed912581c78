// The matmul family's shapes, gradients and facts.
//
// Gradients are products of transposed views, so that they are differentiable in turn and copy nothing.
// Read next: kernels_cpu.cpp.
#include "ops/matmul/matmul.h"

#include <algorithm>

#include "opdef/epilogue.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/shape/shape.h"

namespace gorgo {

MatmulOps matmul_ops;

namespace {

// ---- shared by the gradients ----

Tensor as_matrix(const Tensor& x) {
  if (x->rank() == 2) return x;
  int64_t rows = 1;
  for (int i = 0; i + 1 < x->rank(); ++i) rows *= x->shape[i];
  return reshape(x, {rows, x->shape.back()});
}

// x (..., k), g (..., n): the sum over all rows of their outer products, (k, n). Without a batch in the other factor the rows of all
// matrices are one sum, which spares a stack of products and its reduction.
Tensor outer_sum(const Tensor& x, const Tensor& g) {
  return matmul(transpose(ops::conjugate(as_matrix(x))), as_matrix(g));
}

double multiply_add_flops(const KernelArgs& args, int64_t k) {
  const double per_product = is_complex(args.out[0].dtype) ? 8.0 : 2.0;
  return per_product * static_cast<double>(args.out[0].numel) * static_cast<double>(k);
}

double bytes_of(const KernelArgs& args) {
  int64_t bytes = args.out[0].numel * dtype_size(args.out[0].dtype);
  for (int i = 0; i < args.in_count; ++i) bytes += args.in[i].numel * dtype_size(args.in[i].dtype);
  return static_cast<double>(bytes);
}

void check_numeric(const InferContext& c) {
  if (c.compute_dtype == DType::Bool) {
    fail<TypeError>(c.name(), ": operands must have a numeric dtype, got ", c.compute_dtype);
  }
}

// ---- matmul ----

void add_product(InferContext& c, DType dtype) {
  const Shape& a = c.shape(0);
  const Shape& b = c.shape(1);
  if (a.empty() || b.empty()) {
    fail<ValueError>(c.name(), ": ", a.empty() ? "x1" : "x2",
                     " must have at least one axis, got shape () (x1 has shape ", a, ", x2 ", b, ")");
  }
  const int64_t k = a.back();
  const int64_t other = b.size() == 1 ? b[0] : b[b.size() - 2];
  if (k != other) {
    fail<ValueError>(c.name(), ": x2 must have length ", k, " along axis ", b.size() == 1 ? -1 : -2,
                     ", the length of x1's last axis, got ", other, " (x1 has shape ", a, ", x2 ", b, ")");
  }
  Shape out;
  if (a.size() > 2 || b.size() > 2) {
    const auto stack_of = [](const Shape& s) {
      return Shape(std::span<const int64_t>(s.data(), static_cast<size_t>(std::max(s.size() - 2, 0))));
    };
    out = broadcast_shapes(stack_of(a), stack_of(b), c.name());
  }
  if (a.size() > 1) out.push_back(a[a.size() - 2]);
  if (b.size() > 1) out.push_back(b.back());
  static_cast<void>(numel_of(out, c.name()));
  c.add_output(dtype, out);
}

void infer_matmul(InferContext& c) {
  c.compute_dtype = c.dtype(0) == c.dtype(1) ? c.dtype(0) : promote(c.dtype(0), c.dtype(1));
  c.cast_mask = 3;
  check_numeric(c);
  add_product(c, c.compute_dtype);
}

void vjp_matmul(VjpContext& c) {
  const Tensor& x1 = c.input(0);
  const Tensor& x2 = c.input(1);
  const int rank1 = c.input_shape(0).size();
  const int rank2 = c.input_shape(1).size();
  Tensor g = c.grad();
  if (rank2 == 1) g = expand_dims(g, {-1});
  if (rank1 == 1) g = expand_dims(g, {-2});
  if (c.wants(0)) {
    const Tensor m2 = rank2 == 1 ? expand_dims(x2, {-1}) : x2;
    const Tensor g1 = matmul(g, transpose(ops::conjugate(m2)));
    if (rank1 == 1) {
      const Shape& shape = c.input_shape(0);
      c.set(0, reshape(sum_to(g1, {1, shape[0]}), shape));
    } else {
      c.set(0, sum_to(g1, c.input_shape(0)));
    }
  }
  if (c.wants(1)) {
    const Tensor m1 = rank1 == 1 ? expand_dims(x1, {0}) : x1;
    if (rank2 == 1) {
      const Shape& shape = c.input_shape(1);
      c.set(1, reshape(outer_sum(m1, g), shape));
    } else if (rank2 == 2) {
      c.set(1, outer_sum(m1, g));
    } else {
      c.set(1, sum_to(matmul(transpose(ops::conjugate(m1)), g), c.input_shape(1)));
    }
  }
}

Cost cost_matmul(const KernelArgs& args) {
  const KOperand& a = args.in[0];
  return {multiply_add_flops(args, a.shape[a.rank - 1]), bytes_of(args)};
}

// ---- matmul_integer ----

void infer_matmul_integer(InferContext& c) {
  for (int i = 0; i < 2; ++i) {
    if (c.dtype(i) != DType::Int8 && c.dtype(i) != DType::UInt8) {
      fail<TypeError>(c.name(), ": ", c.op.inputs[static_cast<size_t>(i)].name, " must have dtype int8 or uint8, got ",
                      c.dtype(i));
    }
  }
  // One kernel on the CPU takes either dtype on either side; on CUDA it is that of int32.
  const bool on_cuda = c.tensor(0).device().type == DeviceType::Cuda;
  c.compute_dtype = on_cuda ? DType::Int32 : DType::Int8;
  c.cast_mask = on_cuda ? 3 : 0;
  add_product(c, DType::Int32);
}

// ---- linear ----

void infer_linear(InferContext& c) {
  const Shape& x = c.shape(0);
  const Shape& weight = c.shape(1);
  c.compute_dtype = c.dtype(0) == c.dtype(1) ? c.dtype(0) : promote(c.dtype(0), c.dtype(1));
  const bool has_bias = c.in.size() > 2 && c.in[2].given();
  if (has_bias && c.dtype(2) != c.compute_dtype) c.compute_dtype = promote(c.compute_dtype, c.dtype(2));
  c.cast_mask = 7;
  check_numeric(c);
  if (weight.size() != 2) {
    fail<ValueError>(c.name(), ": weight must have two axes (out, in), got shape ", weight);
  }
  if (x.empty() || x.back() != weight[1]) {
    fail<ValueError>(c.name(), ": x must have length ", weight[1], " along its last axis, got shape ", x,
                     " (weight has shape ", weight, ")");
  }
  if (has_bias && (c.shape(2).size() != 1 || c.shape(2)[0] != weight[0])) {
    fail<ValueError>(c.name(), ": bias must have shape (", weight[0], ",), got ", c.shape(2), " (weight has shape ",
                     weight, ")");
  }
  Shape out = x;
  out[out.size() - 1] = weight[0];
  static_cast<void>(numel_of(out, c.name()));
  c.add_output(c.compute_dtype, out);
}

void vjp_linear(VjpContext& c) {
  const Tensor& g = c.grad();
  if (c.wants(0)) c.set(0, matmul(g, ops::conjugate(c.input(1))));
  if (c.wants(1)) {
    const auto rows = [](const Tensor& t) { return t->rank() == 1 ? expand_dims(t, {0}) : as_matrix(t); };
    c.set(1, matmul(transpose(rows(g)), ops::conjugate(rows(c.input(0)))));
  }
  if (c.needs.size() > 2 && c.wants(2)) c.set(2, sum_to(g, c.input_shape(2)));
}

Cost cost_linear(const KernelArgs& args) {
  const KOperand& x = args.in[0];
  return {multiply_add_flops(args, x.shape[x.rank - 1]), bytes_of(args)};
}

}  // namespace

void register_matmul(Registry& registry) {
  {
    OpDef op;
    op.name = "matmul";
    op.doc = "Multiply matrices, or stacks of matrices.";
    op.details = R"(Args:
    x1 (..., m, k) numeric: the left factor; a vector (k) counts as one row, which the result drops.
    x2 (..., k, n) numeric: the right factor; a vector (k) counts as one column, which the result drops.

Returns:
    (..., m, n) numeric: the products, of the promoted dtype; leading axes broadcast. Integers wrap.

Raises:
    ValueError: an operand has no axis, the lengths of k differ, or the leading axes do not broadcast.
    TypeError: both operands are bool.

Example:
    >>> import gorgo as gg
    >>> gg.matmul(gg.ones((2, 3)), gg.ones((3, 4))).shape
    (2, 4))";
    op.inputs = {{.name = "x1", .shape_doc = "(..., m, k) numeric"},
                 {.name = "x2", .shape_doc = "(..., k, n) numeric"}};
    op.infer = infer_matmul;
    op.vjp = vjp_matmul;
    op.saves_inputs = 3;
    op.onnx = {"MatMul", 13, nullptr};
    op.cost = cost_matmul;
    matmul_ops.matmul = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "matmul_integer";
    op.doc = "Multiply matrices of 8-bit integers, or stacks of them, with sums in int32.";
    op.details =
        R"(Exact as long as the sums fit: k may be 33025 in any case, 131071 where both factors are int8. Beyond, they wrap.

Args:
    x1 (..., m, k) int8 or uint8: the left factor; a vector (k) counts as one row, which the result drops.
    x2 (..., k, n) int8 or uint8: the right factor; a vector (k) counts as one column, which the result drops.

Returns:
    (..., m, n) int32: the products; leading axes broadcast.

Raises:
    ValueError: an operand has no axis, the lengths of k differ, or the leading axes do not broadcast.
    TypeError: an operand has another dtype.

Example:
    >>> import gorgo as gg
    >>> x = gg.full((2, 3), 100, dtype=gg.uint8)
    >>> gg.matmul_integer(x, gg.full((3, 1), -100, dtype=gg.int8)).tolist()
    [[-30000], [-30000]])";
    op.inputs = {{.name = "x1", .shape_doc = "(..., m, k) int8 or uint8"},
                 {.name = "x2", .shape_doc = "(..., k, n) int8 or uint8"}};
    op.infer = infer_matmul_integer;
    op.not_differentiable = "its operands are integers";
    op.onnx = {"MatMulInteger", 10, nullptr};
    op.cost = cost_matmul;
    matmul_ops.matmul_integer = &registry.add(std::move(op));
  }
  {
    OpDef op;
    op.name = "linear";
    op.doc = "Multiply rows by a weight matrix and add a bias.";
    op.details = R"(Args:
    x (..., in) numeric: the rows.
    weight (out, in) numeric: one row for each output.
    bias (out) numeric: added to each result, or None.

Returns:
    (..., out) numeric: `x @ weight.T + bias`, of the promoted dtype.

Raises:
    ValueError: weight is no matrix, or x or bias does not fit it.

Example:
    >>> import gorgo as gg
    >>> gg.linear(gg.ones((2, 3)), gg.ones((4, 3)), gg.ones(4)).tolist()[0]
    [4.0, 4.0, 4.0, 4.0])";
    op.inputs = {{.name = "x", .shape_doc = "(..., in) numeric"},
                 {.name = "weight", .shape_doc = "(out, in) numeric"},
                 {.name = "bias", .kind = SlotKind::Optional, .shape_doc = "(out) numeric"}};
    op.infer = infer_linear;
    op.vjp = vjp_linear;
    op.saves_inputs = 3;
    op.onnx = {"Gemm", 13, nullptr};
    op.cost = cost_linear;
    matmul_ops.linear = &registry.add(std::move(op));
  }
  register_with_epilogues(registry, *matmul_ops.matmul, {Epilogue::Relu, Epilogue::ReluBackward});
  register_with_epilogues(registry, *matmul_ops.linear, {Epilogue::Relu});
}

}  // namespace gorgo

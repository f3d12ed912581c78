#include "ops/creation/creation.h"

#include <algorithm>

namespace gorgo {

CreationOps creation_ops;

namespace {

// A kernel cannot refuse a number, so infer does: it converts it once for the check alone.
void check_fits(const Scalar& s, DType dtype, const char* op) {
  Element element;
  store_scalar(s, dtype, op, element.bytes);
}

void infer_full(InferContext& c) {
  const auto& a = c.attrs_as<FullAttrs>();
  check_fits(a.fill_value, a.dtype, c.name());
  static_cast<void>(numel_of(a.shape, c.name()));
  c.compute_dtype = a.dtype;
  c.add_output(a.dtype, a.shape);
}

void infer_ramp(InferContext& c) {
  const auto& a = c.attrs_as<RampAttrs>();
  if (a.count < 0) fail<ValueError>(c.name(), ": count must not be negative, got ", a.count);
  if (a.dtype == DType::Bool || is_complex(a.dtype)) {
    fail<TypeError>(c.name(), ": dtype must be an integer or a floating-point type, got ", a.dtype);
  }
  if (a.count > 0 && is_integer(a.dtype)) {  // both ends fit, hence all between
    check_fits(a.start, a.dtype, c.name());
    int64_t reach = 0;
    int64_t last = 0;
    if (__builtin_mul_overflow(a.step.i, a.count - 1, &reach) || __builtin_add_overflow(a.start.i, reach, &last)) {
      fail<OverflowError>(c.name(), ": elements must fit int64, got start ", a.start, ", step ", a.step, ", count ",
                          a.count);
    }
    check_fits(Scalar::of_int(last), a.dtype, c.name());
  }
  c.compute_dtype = a.dtype;
  c.add_output(a.dtype, {a.count});
}

void infer_eye(InferContext& c) {
  const auto& a = c.attrs_as<EyeAttrs>();
  const Shape shape{a.rows, a.columns};
  static_cast<void>(numel_of(shape, c.name()));
  c.compute_dtype = a.dtype;
  c.add_output(a.dtype, shape);
}

OpDef internal_op(const char* name, const char* doc) {
  OpDef op;
  op.name = name;
  op.doc = doc;
  op.not_differentiable = "it has no tensor operand";
  op.flags.internal = true;
  return op;
}

}  // namespace

void register_creation(Registry& registry) {
  {
    OpDef op = internal_op("full", "Make a tensor with one number everywhere.");
    op.attrs = &schema_of<FullAttrs>();
    op.infer = infer_full;
    op.onnx = {"ConstantOfShape", 9, nullptr};
    creation_ops.full = &registry.add(std::move(op));
  }
  {
    OpDef op = internal_op("ramp", "Make evenly spaced numbers.");
    op.attrs = &schema_of<RampAttrs>();
    op.infer = infer_ramp;
    op.onnx = {"Range", 11, nullptr};
    creation_ops.ramp = &registry.add(std::move(op));
  }
  {
    OpDef op = internal_op("eye", "Make a matrix with ones on a diagonal.");
    op.attrs = &schema_of<EyeAttrs>();
    op.infer = infer_eye;
    op.onnx = {"EyeLike", 9, nullptr};
    creation_ops.eye = &registry.add(std::move(op));
  }
  register_transfer(registry);
}

}  // namespace gorgo

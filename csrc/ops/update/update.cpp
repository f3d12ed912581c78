// The optimizers' updates: one op over all parameters of a group, so that a step is one call and one pass over memory.
//
// Operands lie in one list: count parameters, count gradients and, with momentum, count buffers and count step counters.
// Invariant: all of it is one dtype; parameters, buffers and counters are written, gradients are not.
// Read next: kernels_cpu.cpp.
#include "opdef/registry.h"
#include "ops/update/attrs.h"

namespace gorgo {
namespace {

bool has_buffers(const SgdAttrs& attrs, int operand_count) { return operand_count == 4 * attrs.count; }

bool sgd_mutates(const void* attrs, int operand, int) {
  const int64_t count = static_cast<const SgdAttrs*>(attrs)->count;
  return operand < count || operand >= 2 * count;
}

void check_like(const InferContext& context, int i, int like, const char* what) {
  const TensorImpl& parameter = context.tensor(like);
  const TensorImpl& other = context.tensor(i);
  if (other.shape != parameter.shape || other.dtype != parameter.dtype) {
    fail<ValueError>(context.name(), ": ", what, ' ', like, " must be ", parameter.dtype, ' ', parameter.shape,
                     " like its parameter, got ", other.dtype, ' ', other.shape);
  }
}

void sgd_infer(InferContext& context) {
  const auto& attrs = context.attrs_as<SgdAttrs>();
  const auto given = static_cast<int>(context.in.size());
  if (attrs.count < 1 || (given != 2 * attrs.count && !has_buffers(attrs, given))) {
    fail<ValueError>(context.name(),
                     ": operands must be parameters and gradients, or those with buffers and step counters"
                     " (2 or 4 times count ",
                     attrs.count, "), got ", given);
  }
  if (!has_buffers(attrs, given) && attrs.momentum.get() != 0.0) {
    fail<ValueError>(context.name(), ": buffers must be given with momentum, got momentum ", attrs.momentum.get());
  }
  context.compute_dtype = context.dtype(0);
  const auto count = static_cast<int>(attrs.count);
  for (int i = 0; i < count; ++i) {
    if (context.dtype(i) != context.compute_dtype) {
      fail<TypeError>(context.name(), ": parameters must have one dtype, got ", context.compute_dtype, " and ",
                      context.dtype(i));
    }
    check_like(context, count + i, i, "gradient");
    if (!has_buffers(attrs, given)) continue;
    check_like(context, 2 * count + i, i, "buffer");
    const TensorImpl& steps = context.tensor(3 * count + i);
    if (steps.dtype != DType::Int64 || steps.numel != 1) {
      fail<ValueError>(context.name(), ": step counter ", i, " must be one int64, got ", steps.dtype, ' ', steps.shape);
    }
  }
}

Cost sgd_cost(const KernelArgs& args) {
  Cost cost;
  for (int i = 0; i < args.in_count; ++i) {
    const auto elements = static_cast<double>(args.in[i].numel);
    cost.flops += 2.0 * elements;
    cost.bytes += 1.5 * elements * static_cast<double>(dtype_size(args.in[i].dtype));
  }
  return cost;
}

}  // namespace

void register_update(Registry& registry) {
  OpDef sgd;
  sgd.name = "sgd_update";
  sgd.doc = "Update parameters in place by stochastic gradient descent with momentum.";
  sgd.details =
      "Args:\n"
      "    *operands: count parameters, count gradients and, with momentum, count buffers and count int64 step "
      "counters.\n"
      "    count: number of parameters.\n"
      "    lr: learning rate; a number or a HostCell, as all the following.\n"
      "    momentum: factor of the buffer.\n"
      "    dampening: how much of the gradient is kept out of the buffer.\n"
      "    weight_decay: L2 penalty.\n"
      "    nesterov: whether to look ahead.\n"
      "    maximize: whether to climb.\n\n"
      "Raises:\n"
      "    ValueError: when shapes, dtypes or counts do not fit.\n\n"
      "Source: PyTorch's SGD, whose first step sets the buffer to the gradient.\n\n"
      "Example:\n"
      "    >>> import gorgo as gg\n"
      "    >>> p, g = gg.ones((2,)), gg.ones((2,))\n"
      "    >>> gg.sgd_update(p, g, count=1, lr=0.25)\n"
      "    >>> p.tolist()\n"
      "    [0.75, 0.75]\n";
  sgd.inputs = {Slot{"operands", SlotKind::List, true}};
  sgd.outputs = {};
  sgd.attrs = &schema_of<SgdAttrs>();
  sgd.infer = &sgd_infer;
  sgd.not_differentiable = "it writes its parameters in place";
  sgd.onnx.reason = "ONNX has training operators in a domain of their own";
  sgd.cost = &sgd_cost;
  sgd.mutates = &sgd_mutates;
  registry.add(std::move(sgd));
}

}  // namespace gorgo

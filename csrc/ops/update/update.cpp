// The optimizers' updates: one op over all parameters of a group, so that a step is one call and one pass over memory.
//
// Operands lie in one list: count parameters, count gradients, then count tensors for each array of state that the rule
// keeps, then count step counters where it has them.
// Invariant: all of it but the counters is one dtype; everything but the gradients is written.
// Read next: kernels_cpu.cpp (SGD), kernels_cpu_adaptive.cpp.
#include <string>
#include <utility>

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

// Parameters, gradients, `arrays` of state and, with `steps`, step counters: `what` names those of state.
void check_lists(InferContext& context, int64_t given_count, int arrays, bool steps, const char* const* what) {
  const auto given = static_cast<int64_t>(context.in.size());
  const int lists = 2 + arrays + (steps ? 1 : 0);
  if (given_count < 1 || given != lists * given_count) {
    std::string names = "parameters, gradients";
    for (int k = 0; k < arrays; ++k) names += std::string(", ") + what[k] + 's';
    if (steps) names += ", step counters";
    fail<ValueError>(context.name(), ": operands must be ", names, " (", lists, " times count ", given_count, "), got ",
                     given);
  }
  const auto count = static_cast<int>(given_count);
  context.compute_dtype = context.dtype(0);
  for (int i = 0; i < count; ++i) {
    if (context.dtype(i) != context.compute_dtype) {
      fail<TypeError>(context.name(), ": parameters must have one dtype, got ", context.compute_dtype, " and ",
                      context.dtype(i));
    }
    check_like(context, count + i, i, "gradient");
    for (int k = 0; k < arrays; ++k) check_like(context, (2 + k) * count + i, i, what[k]);
    if (!steps) continue;
    const TensorImpl& counter = context.tensor((2 + arrays) * count + i);
    if (counter.dtype != DType::Int64 || counter.numel != 1) {
      fail<ValueError>(context.name(), ": step counter ", i, " must be one int64, got ", counter.dtype, ' ',
                       counter.shape);
    }
  }
}

template <class A>
bool all_but_gradients(const void* attrs, int operand, int) {
  const int64_t count = static_cast<const A*>(attrs)->count;
  return operand < count || operand >= 2 * count;
}

void adam_infer(InferContext& context) {
  const auto& attrs = context.attrs_as<AdamAttrs>();
  static constexpr const char* kWhat[] = {"first moment", "second moment", "largest second moment"};
  check_lists(context, attrs.count, state_arrays(attrs), true, kWhat);
}

void adagrad_infer(InferContext& context) {
  static constexpr const char* kWhat[] = {"sum"};
  check_lists(context, context.attrs_as<AdagradAttrs>().count, 1, true, kWhat);
}

void rmsprop_infer(InferContext& context) {
  const auto& attrs = context.attrs_as<RmspropAttrs>();
  static constexpr const char* kPlain[] = {"square average", "buffer"};
  static constexpr const char* kCentered[] = {"square average", "gradient average", "buffer"};
  const int arrays = state_arrays(attrs);
  const auto given = static_cast<int64_t>(context.in.size());
  const bool buffered = given == (3 + arrays) * attrs.count || attrs.momentum.get() != 0.0;
  check_lists(context, attrs.count, arrays + (buffered ? 1 : 0), false, attrs.centered ? kCentered : kPlain);
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

  const auto add = [&](const char* name, const char* doc, const char* details, const AttrSchema& schema,
                       void (*infer)(InferContext&), bool (*mutates)(const void*, int, int)) {
    OpDef op;
    op.name = name;
    op.doc = doc;
    op.details = details;
    op.inputs = {Slot{"operands", SlotKind::List, true}};
    op.outputs = {};
    op.attrs = &schema;
    op.infer = infer;
    op.not_differentiable = "it writes its parameters in place";
    op.onnx.reason = "ONNX has training operators in a domain of their own";
    op.cost = &sgd_cost;
    op.mutates = mutates;
    registry.add(std::move(op));
  };
  add("adam_update", "Update parameters in place by Adam or AdamW.", R"(Args:
    *operands: count parameters, gradients, first moments, second moments, with amsgrad largest second moments, and
        count int64 step counters.
    count: number of parameters.
    lr: learning rate; a number or a HostCell, as all numbers that follow.
    beta1: how much of the first moment stays.
    beta2: how much of the second moment stays.
    eps: added to the root of the second moment.
    weight_decay: L2 penalty, or with decoupled how much of the parameter goes for each unit of lr.
    decoupled: whether weight decay shrinks the parameter itself, as in AdamW.
    amsgrad: whether the largest second moment so far is divided by.
    maximize: whether to climb.

Raises:
    ValueError: when shapes, dtypes or counts do not fit.

Source: Kingma, Ba, "Adam", ICLR 2015, algorithm 1; Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019;
Reddi, Kale, Kumar, "On the convergence of Adam and beyond", ICLR 2018.

Example:
    >>> import gorgo as gg
    >>> p, g, m, v = gg.ones((2,)), gg.ones((2,)), gg.zeros((2,)), gg.zeros((2,))
    >>> gg.adam_update(p, g, m, v, gg.zeros((), dtype=gg.int64), count=1, lr=0.25, eps=0.0)
    >>> [round(x, 5) for x in p.tolist()]
    [0.75, 0.75]
)",
      schema_of<AdamAttrs>(), &adam_infer, &all_but_gradients<AdamAttrs>);
  add("rmsprop_update", "Update parameters in place by RMSprop.", R"(Args:
    *operands: count parameters, gradients, square averages, with centered gradient averages, and with momentum buffers.
    count: number of parameters.
    lr: learning rate; a number or a HostCell, as all numbers that follow.
    alpha: how much of the averages stays.
    eps: added to the root of the square average.
    weight_decay: L2 penalty.
    momentum: factor of the buffer.
    centered: whether the square of the average gradient is taken off.
    maximize: whether to climb.

Raises:
    ValueError: when shapes, dtypes or counts do not fit.

Source: Hinton, "Neural networks for machine learning", lecture 6e; centered after Graves, arXiv 1308.0850.

Example:
    >>> import gorgo as gg
    >>> p, g, s = gg.ones((2,)), gg.ones((2,)), gg.zeros((2,))
    >>> gg.rmsprop_update(p, g, s, count=1, lr=0.25, alpha=0.75, eps=0.0)
    >>> p.tolist()
    [0.5, 0.5]
)",
      schema_of<RmspropAttrs>(), &rmsprop_infer, &all_but_gradients<RmspropAttrs>);
  add("adagrad_update", "Update parameters in place by Adagrad.", R"(Args:
    *operands: count parameters, gradients, sums of squared gradients, and count int64 step counters.
    count: number of parameters.
    lr: learning rate; a number or a HostCell, as all numbers that follow.
    lr_decay: how fast the rate falls: lr / (1 + steps before this one * lr_decay).
    weight_decay: L2 penalty.
    eps: added to the root of the sum.
    maximize: whether to climb.

Raises:
    ValueError: when shapes, dtypes or counts do not fit.

Source: Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 12 (2011).

Example:
    >>> import gorgo as gg
    >>> p, g, s = gg.ones((2,)), gg.ones((2,)), gg.zeros((2,))
    >>> gg.adagrad_update(p, g, s, gg.zeros((), dtype=gg.int64), count=1, lr=0.25, eps=0.0)
    >>> p.tolist()
    [0.75, 0.75]
)",
      schema_of<AdagradAttrs>(), &adagrad_infer, &all_but_gradients<AdagradAttrs>);
}

}  // namespace gorgo

// OpDef of `fused`: what a little program of elementwise instructions answers to infer.
#include "ops/elementwise/elementwise.h"

#include "core/fused.h"

namespace gorgo {
namespace {

[[noreturn]] void refuse(const InferContext& c, const char* what, int64_t got) {
  fail<ValueError>(c.name(), ": program must ", what, ", got ", got);
}

void infer_fused(InferContext& c) {
  const auto& attrs = c.attrs_as<FusedAttrs>();
  const auto operands = static_cast<int>(c.in.size());
  const int count = attrs.count();
  int numbers = 0;
  bool any = false;
  Shape shape;
  c.compute_dtype = DType::Float32;
  for (int i = 0; i < operands; ++i) {
    if (!c.in[static_cast<size_t>(i)].is_tensor()) {
      if (!c.in[static_cast<size_t>(i)].is_scalar()) refuse(c, "have operands that are tensors or numbers", i);
      ++numbers;
      continue;
    }
    shape = any ? broadcast_shapes(shape, c.shape(i), c.name()) : Shape(c.shape(i));
    any = true;
    if (c.dtype(i) == DType::Float64) c.compute_dtype = DType::Float64;
  }
  if (!any || operands - numbers > kFusedInputs || numbers > kFusedNumbers) refuse(c, "have few operands", operands);
  if (count < 1 || count > kFusedInstructions) refuse(c, "have few instructions", count);
  if (shape.size() > kFusedRank) refuse(c, "be over few axes", shape.size());
  for (int i = 0; i < count; ++i) {
    const FusedInstruction instruction = attrs.at(i);
    if (instruction.op >= FusedOp::Count) refuse(c, "have instructions that there are", attrs.code[i]);
    const DType d = instruction.dtype;
    if (d != DType::Bool && (is_complex(d) || !is_floating(d))) refuse(c, "make floats or bool", static_cast<int>(d));
    if (d == DType::Float64) c.compute_dtype = DType::Float64;
    for (int k = 0; k < fused_arity(instruction.op); ++k) {
      if (instruction.reads[k] < 0 || instruction.reads[k] >= operands + i) {
        refuse(c, "read what is there", instruction.reads[k]);
      }
    }
  }
  if (attrs.results.empty() || attrs.results.size() > kFusedOutputs)
    refuse(c, "have few results", attrs.results.size());
  for (const int64_t r : attrs.results) {
    if (r < operands || r >= operands + count) refuse(c, "give what its instructions make", r);
    c.add_output(attrs.at(static_cast<int>(r) - operands).dtype, shape);
  }
}

Cost cost_of(const KernelArgs& args) {
  Cost cost;
  for (int i = 0; i < args.in_count; ++i) {
    if (!args.in[i].host) cost.bytes += static_cast<double>(args.in[i].numel * dtype_size(args.in[i].dtype));
  }
  for (int i = 0; i < args.out_count; ++i) {
    cost.bytes += static_cast<double>(args.out[i].numel * dtype_size(args.out[i].dtype));
  }
  cost.flops = static_cast<double>(args.out[0].numel) * args.attrs_as<FusedAttrs>().count();
  return cost;
}

}  // namespace

void register_fused(Registry& registry) {
  OpDef op;
  op.name = "fused";
  op.doc = "Run a chain of elementwise ops as one loop: what capture makes of them.";
  op.inputs = {{.name = "operands", .kind = SlotKind::List, .takes_scalar = true}};
  op.attrs = &schema_of<FusedAttrs>();
  op.infer = infer_fused;
  op.not_differentiable = "graphs are fused after they are recorded, gradients included";
  op.onnx.reason = "exported as the ops that it was made of";
  op.cost = cost_of;
  op.flags.elementwise = true;
  op.flags.internal = true;
  registry.add(std::move(op));
}

}  // namespace gorgo

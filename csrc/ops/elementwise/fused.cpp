// OpDef of `fused`: what a little program of elementwise instructions answers to infer.
#include "ops/elementwise/elementwise.h"

#include "core/fused.h"

namespace gorgo {
namespace {

[[noreturn]] void refuse(const InferContext& c, const char* what, int64_t got) {
  fail<ValueError>(c.name(), ": program must ", what, ", got ", got);
}

// Do the dtypes that an instruction reads fit it? kNumber stands for a number, which fits any.
constexpr int kNumber = -1;
bool reads_fit(const FusedInstruction& code, const int (&read)[3]) {
  const auto is = [](int dtype, DType d) { return dtype == kNumber || dtype == static_cast<int>(d); };
  const bool gives_bool = code.dtype == DType::Bool;
  switch (code.op) {
#define GORGO_X(Struct, name) case FusedOp::Struct:
    GORGO_FOR_EACH_FUSED_LOGICAL(GORGO_X)
    case FusedOp::LogicalNot:
      return gives_bool && is(read[0], DType::Bool) && is(read[1], DType::Bool);
      GORGO_FOR_EACH_FUSED_TEST(GORGO_X)
      GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_X)
#undef GORGO_X
    case FusedOp::Truth: {
      const bool one = read[0] == kNumber || read[1] == kNumber || read[0] == read[1];
      return gives_bool && one && read[0] != static_cast<int>(DType::Bool) && read[1] != static_cast<int>(DType::Bool);
    }
    case FusedOp::Where:
      return is(read[0], DType::Bool) && is(read[1], code.dtype) && is(read[2], code.dtype);
    case FusedOp::Copy:
      return is(read[0], code.dtype);
    case FusedOp::Move:
      return !gives_bool && read[0] != kNumber;
    default:
      return !gives_bool && is(read[0], code.dtype) && is(read[1], code.dtype) && is(read[2], code.dtype);
  }
}

void infer_fused(InferContext& c) {
  const auto& attrs = c.attrs_as<FusedAttrs>();
  const auto operands = static_cast<int>(c.in.size());
  const int count = attrs.count();
  int numbers = 0;
  bool any = false;
  bool doubles = false;
  bool floats = false;
  const auto note = [&](DType d) {
    if (d != DType::Bool && !is_floating(d)) refuse(c, "be over floats and bool", static_cast<int>(d));
    doubles = doubles || d == DType::Float64;
    floats = floats || (d != DType::Float64 && d != DType::Bool);
  };
  Shape shape;
  for (int i = 0; i < operands; ++i) {
    if (!c.in[static_cast<size_t>(i)].is_tensor()) {
      ++numbers;
      continue;
    }
    shape = any ? broadcast_shapes(shape, c.shape(i), c.name()) : Shape(c.shape(i));
    any = true;
    note(c.dtype(i));
  }
  if (!any || operands - numbers > kFusedInputs || numbers > kFusedNumbers) refuse(c, "have few operands", operands);
  if (count < 1 || count > kFusedInstructions) refuse(c, "have few instructions", count);
  if (shape.size() > kFusedRank) refuse(c, "be over few axes", shape.size());
  for (int i = 0; i < count; ++i) {
    const FusedInstruction instruction = attrs.at(i);
    if (instruction.op >= FusedOp::Count) refuse(c, "have instructions that there are", attrs.code[i]);
    note(instruction.dtype);
    int read[3] = {kNumber, kNumber, kNumber};
    for (int k = 0; k < fused_arity(instruction.op); ++k) {
      const int from = instruction.reads[k];
      if (from < 0 || from >= operands + i) refuse(c, "read what is there", from);
      if (from >= operands) {
        read[k] = static_cast<int>(attrs.at(from - operands).dtype);
      } else if (c.in[static_cast<size_t>(from)].is_tensor()) {
        read[k] = static_cast<int>(c.dtype(from));
      }
    }
    if (!reads_fit(instruction, read)) refuse(c, "read dtypes that fit its instructions", i);
  }
  if (doubles && floats) refuse(c, "compute in one type", 2);
  c.compute_dtype = doubles ? DType::Float64 : DType::Float32;
  if (attrs.results.empty() || attrs.results.size() > kFusedOutputs)
    refuse(c, "have few results", attrs.results.size());
  for (const int64_t r : attrs.results) {
    if (r < operands || r >= operands + count) refuse(c, "give what its instructions make", r);
    c.add_output(attrs.at(static_cast<int>(r) - operands).dtype, shape);
  }
}

Cost cost_of_program(const KernelArgs& args) {
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
  op.cost = cost_of_program;
  op.flags.elementwise = true;
  op.flags.internal = true;
  registry.add(std::move(op));
}

}  // namespace gorgo

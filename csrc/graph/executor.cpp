// Program: what every run does, and on the CPU all of it. Below it the interpreter.
//
// Read next: plan.h and planner.cpp (what is run), device_replay.cpp (Program::enqueue).
#include "graph/executor.h"

#include <optional>
#include <utility>

#include "autograd/interrupt.h"
#include "autograd/mode.h"
#include "core/float32_mode.h"
#include "device/backend.h"
#include "graph/passes/passes.h"
#include "graph/plan.h"
#include "opdef/core_ops.h"
#include "opdef/invoke.h"
#include "opdef/profile.h"

namespace gorgo {

Program::Program(Graph graph)
    : graph_(std::move(graph)),
      fused_(fused_for_its_device(graph_)),
      plan_(std::make_unique<const Plan>(fused_ ? *fused_ : graph_)) {}

Program::~Program() = default;

size_t Program::arena_bytes() const noexcept { return plan_->arena_bytes; }
size_t Program::step_count() const noexcept { return plan_->steps.size(); }
bool Program::is_long() const noexcept { return plan_->is_long; }

std::unique_ptr<Program::Context> Program::lease() {
  {
    const std::lock_guard<std::mutex> guard(lock_);
    if (!idle_.empty()) {
      std::unique_ptr<Context> context = std::move(idle_.back());
      idle_.pop_back();
      return context;
    }
  }
  auto context = std::make_unique<Context>();
  const Plan& plan = *plan_;
  unsigned char* arena = nullptr;
  if (plan.arena_bytes != 0) {
    context->arena = allocate_storage(plan.device, plan.arena_bytes);
    arena = static_cast<unsigned char*>(context->arena->data);
  }
  for (size_t i = 0; i < plan.operands.size(); ++i) {
    const Plan::OperandTemplate& from = plan.operands[i];
    KOperand operand = from.operand;
    if (from.element >= 0) {
      operand.data = const_cast<unsigned char*>(plan.elements[static_cast<size_t>(from.element)].bytes);
    } else if (from.buffer >= 0 && operand.numel != 0) {
      const Plan::Buffer& buffer = plan.buffers[static_cast<size_t>(from.buffer)];
      const auto at = static_cast<int32_t>(i);
      switch (buffer.kind) {
        case Plan::BufferKind::Arena:
          operand.data = arena + buffer.offset + from.byte_offset;
          break;
        case Plan::BufferKind::Outer:
          operand.data = static_cast<unsigned char*>(buffer.data) + from.byte_offset;
          break;
        case Plan::BufferKind::Input:
          context->input_patches.push_back({at, buffer.index, from.byte_offset});
          break;
        case Plan::BufferKind::Result:
          context->result_patches.push_back({at, buffer.index, from.byte_offset});
          break;
      }
    }
    context->operands.push_back(operand);
  }
  for (const Plan::Step& step : plan.steps) {
    KernelArgs& args = context->args.emplace_back();
    args.in = context->operands.data() + step.first_operand;
    args.out = args.in + step.in_count;
    args.in_count = step.in_count;
    args.out_count = step.out_count;
    args.attrs = step.attrs;
    args.fault = &context->fault;
    if (step.scratch_buffer >= 0) args.scratch = arena + plan.buffers[static_cast<size_t>(step.scratch_buffer)].offset;
    if (step.fault >= 0) {
      if (!context->faults) context->faults = std::make_shared<FaultSlots>(plan.device, plan.fault_count);
      args.device_fault = context->faults->at(step.fault);
      context->calls.push_back(std::make_shared<const SavedCall>(*step.op, args));
    }
  }
  for (const Plan::Kept& kept : plan.kept) context->args[static_cast<size_t>(kept.step)].keeps = true;
  context->kept.assign(plan.kept.size(), Context::kNothing);
  context->making = context->kept;
  context->fresh.resize(plan.fresh_shapes.size());
  return context;
}

void Program::give_back(std::unique_ptr<Context> context) {
  const std::lock_guard<std::mutex> guard(lock_);
  idle_.push_back(std::move(context));
}

namespace {

// Has the caller dropped the result, and is it as we made it?
bool reusable(const Tensor& t) {
  return t && t->unique() && t->storage->unique() && !t->requires_grad && !t->grad && !t->is_parameter &&
         !t->storage->exported_writable.load(std::memory_order_relaxed);
}

}  // namespace

void Program::run(std::span<const Tensor> inputs, std::vector<Tensor>& results) {
  const Plan& plan = *plan_;
  std::unique_ptr<Context> context = lease();
  struct Return {
    Program& program;
    std::unique_ptr<Context>& context;
    ~Return() { program.give_back(std::move(context)); }
  } give{*this, context};

  for (size_t i = 0; i < context->fresh.size(); ++i) {
    Tensor& t = context->fresh[i];
    if (!reusable(t)) {
      t = make_tensor(plan.fresh_shapes[i], plan.fresh_dtypes[i], plan.device);
      t->from_compiled = true;
    }
  }
  for (const Context::Patch& patch : context->input_patches) {
    context->operands[static_cast<size_t>(patch.operand)].data =
        static_cast<unsigned char*>(inputs[static_cast<size_t>(patch.index)]->data()) + patch.byte_offset;
  }
  for (const Context::Patch& patch : context->result_patches) {
    context->operands[static_cast<size_t>(patch.operand)].data =
        static_cast<unsigned char*>(context->fresh[static_cast<size_t>(patch.index)]->data()) + patch.byte_offset;
  }

  {
    // Versions rise also when a step breaks off: at a fault, or at Ctrl-C.
    struct Written {
      const Plan& plan;
      std::span<const Tensor> inputs;
      ~Written() {
        for (const Tensor& t : plan.written_outer) t->storage->bump_version();
        for (const int32_t i : plan.written_inputs) inputs[static_cast<size_t>(i)]->storage->bump_version();
      }
    } written{plan, inputs};
    if (plan.device.type == DeviceType::Cuda) {
      enqueue(*context, inputs);
    } else {
      run_steps(*context);
    }
  }

  results.clear();
  for (const Plan::Result& result : plan.results) {
    switch (result.kind) {
      case Plan::Result::Kind::Fresh:
        results.push_back(context->fresh[static_cast<size_t>(result.index)]);
        break;
      case Plan::Result::Kind::Input:
        results.push_back(inputs[static_cast<size_t>(result.index)]);
        break;
      case Plan::Result::Kind::Captured:
        results.push_back(graph_.values[static_cast<size_t>(result.index)].tensor);
        break;
    }
  }
}

void Program::run_steps(Context& context) const {
  const Plan& plan = *plan_;
  // What is made of a float32 operand may depend on how many digits products look at, so that a version is one of both. What a run that
  // breaks off has made is not used.
  constexpr uint64_t kModes = 4;
  const auto mode = static_cast<uint64_t>(float32_mode.load(std::memory_order_relaxed));
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const Storage& of = *plan.kept[i].of;
    const bool known = !of.exported_writable.load(std::memory_order_relaxed);
    const uint64_t version = known ? of.version.load(std::memory_order_relaxed) * kModes + mode : Context::kNothing;
    context.args[static_cast<size_t>(plan.kept[i].step)].prepared = known && context.kept[i] == version;
    context.making[i] = version;
    context.kept[i] = Context::kNothing;
  }
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const Plan::Step& step = plan.steps[s];
    const KernelArgs& args = context.args[s];
    const ProfiledKernel profiled(*step.op, args, true);
    for (int i = args.prepared && step.kernel.keeps_alone ? 1 : 0; i < step.kernel.phase_count; ++i) {
      run_phase(step.kernel.phases[i], args, step.tasks[i], plan.is_long);
    }
    if (context.fault.code() != 0) [[unlikely]] {
      struct Clear {
        Fault& fault;
        ~Clear() { fault.clear(); }
      } clear{context.fault};
      step.op->raise_fault(context.fault, args);
    }
    if (plan.is_long && interrupt_hook != nullptr) interrupt_hook();
  }
  context.kept = context.making;
}

std::vector<Tensor> interpret(const Graph& graph, std::span<const Tensor> inputs) {
  const DeviceScope scope(graph.device);
  std::vector<Tensor> values(graph.values.size());
  for (size_t i = 0; i < graph.inputs.size(); ++i) values[static_cast<size_t>(graph.inputs[i])] = inputs[i];
  for (const int32_t id : graph.captured)
    values[static_cast<size_t>(id)] = graph.values[static_cast<size_t>(id)].tensor;
  for (const IrNode& node : graph.nodes) {
    SmallVector<Arg, 4> args;
    SmallVector<Tensor, 4> written;
    const auto count = static_cast<int>(node.inputs.size());
    for (int i = 0; i < count; ++i) {
      const IrOperand& operand = node.inputs[static_cast<size_t>(i)];
      if (operand.is_scalar) {
        args.emplace_back(operand.scalar);
      } else if (operand.value < 0) {
        args.emplace_back();
      } else if (node.op->mutates_operand(node.attrs.get(), i, count)) {
        written.push_back(copy_of(values[static_cast<size_t>(operand.value)]));
        args.emplace_back(written.back());
      } else {
        args.emplace_back(values[static_cast<size_t>(operand.value)]);
      }
    }
    if (node.op == core_ops().copy && node.inputs[0].is_scalar) {  // it takes dtype and shape of what it is written to
      const auto id = static_cast<size_t>(node.outputs[0]);
      const GradMode off(false);
      values[id] = make_tensor(Shape(graph.values[id].shape), graph.values[id].dtype, graph.device);
      gorgo::assign(values[id], args[0]);
      continue;
    }
    const Outputs outs = invoke_all(*node.op, {args.data(), static_cast<size_t>(args.size())}, node.attrs.get());
    size_t next = 0;
    for (const Tensor& out : outs) values[static_cast<size_t>(node.outputs[next++])] = out;
    for (const Tensor& out : written) values[static_cast<size_t>(node.outputs[next++])] = out;
  }
  for (const IrAssignment& a : graph.assignments) {
    const GradMode off(false);
    gorgo::assign(values[static_cast<size_t>(a.target)], Arg(values[static_cast<size_t>(a.value)]));
  }
  std::vector<Tensor> results;
  results.reserve(graph.outputs.size());
  for (const int32_t id : graph.outputs) results.push_back(values[static_cast<size_t>(id)]);
  return results;
}

}  // namespace gorgo

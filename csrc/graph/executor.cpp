// Planner: where every value lives and which kernel makes it. Program::run: the replay.
#include "graph/executor.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <utility>

#include "autograd/interrupt.h"
#include "core/float32_mode.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "graph/order.h"
#include "graph/passes/fuse.h"
#include "graph/verify.h"
#include "memory/block_pool.h"
#include "memory/plan.h"
#include "opdef/core_ops.h"
#include "opdef/enqueue.h"
#include "opdef/profile.h"

namespace gorgo {
namespace {

// From this many floating-point operations or elements on, a replay lets other threads run.
constexpr double kLongFlops = 1e6;
constexpr int64_t kLongElements = 1 << 17;
// In place of a step's number: a part of a key that concerns all of them.
constexpr int32_t kEveryStep = -1;

enum class BufferKind : uint8_t { Arena, Outer, Input, Result };

struct Buffer {
  BufferKind kind = BufferKind::Arena;
  size_t bytes = 0;
  int32_t first = INT32_MAX;  // steps at which it is alive
  int32_t last = -1;
  int32_t index = -1;    // which input or result
  void* data = nullptr;  // Outer
  size_t offset = 0;     // Arena, after planning
};

// Where a value's elements are: a buffer and how they lie in it.
struct Place {
  int32_t buffer = -1;
  int64_t offset = 0;
  Strides strides;
};

struct Step {
  const OpDef* op = nullptr;
  Kernel kernel;
  const void* attrs = nullptr;
  int32_t first_operand = 0;
  int32_t in_count = 0;
  int32_t out_count = 0;
  int32_t scratch_buffer = -1;
  int32_t fault = -1;  // which place for faults, on a device
  int64_t tasks[Kernel::kMaxPhases] = {};
};

struct OperandTemplate {
  KOperand operand;     // shape and strides point into Plan
  int32_t buffer = -1;  // -1: a scalar, or not given
  int64_t byte_offset = 0;
  int32_t element = -1;  // which scalar
};

// What a result is: a fresh buffer, or a tensor that the caller or the outside has already.
struct Result {
  enum class Kind : uint8_t { Fresh, Input, Captured };
  Kind kind = Kind::Fresh;
  int32_t index = 0;
  DType dtype = DType::Float32;
  Shape shape;
};

}  // namespace

struct Program::Plan {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<OperandTemplate> operands;
  std::vector<Element> elements;
  std::vector<std::unique_ptr<Dims>> dims;  // what operands' shape and strides point to
  std::vector<Result> results;
  std::vector<DType> fresh_dtypes;
  std::vector<Shape> fresh_shapes;
  std::vector<Tensor> written_outer;  // whose versions a run raises
  std::vector<int32_t> written_inputs;
  size_t arena_bytes = 0;
  bool is_long = false;
  Device device = kCpu;
  std::vector<const HostCell*> cells;  // host numbers that kernels read when they are launched
  std::vector<int32_t> cell_steps;     // and which step's kernel does
  std::vector<int32_t> outer_writes;   // operands through which steps write to memory other than the arena
  int fault_count = 0;                 // steps whose kernels may report faults on a device
};

// A run with certain addresses, kept as a device graph from the second time on.
struct Program::Replay {
  std::vector<uint64_t> key;                 // every address and number that the graph holds and that may change
  uint64_t executable = 0;                   // 0: seen once, not yet captured
  uint64_t graph = 0;                        // what it was made of: its nodes are the executable's names for them
  std::vector<std::vector<uint64_t>> nodes;  // of each step

  Replay() = default;
  Replay(Replay&& other) noexcept { *this = std::move(other); }
  Replay& operator=(Replay&& other) noexcept {
    std::swap(key, other.key);
    std::swap(executable, other.executable);
    std::swap(graph, other.graph);
    std::swap(nodes, other.nodes);
    return *this;
  }
  ~Replay() { forget(); }
  void forget() noexcept {
    if (executable != 0) static_cast<void>(cuda_driver->destroy_executable(executable));
    if (graph != 0) static_cast<void>(cuda_driver->destroy_graph(graph));
    executable = graph = 0;
    nodes.clear();
  }
};

struct Program::Context {
  struct Patch {
    int32_t operand;
    int32_t index;  // of the input or result
    int64_t byte_offset;
  };
  Storage* arena = nullptr;
  std::vector<KOperand> operands;
  std::vector<KernelArgs> args;  // per step
  std::vector<Patch> input_patches;
  std::vector<Patch> result_patches;
  std::vector<Tensor> fresh;  // the last results; used again when the caller has dropped them
  Fault fault;

  // On a device with streams: where the arena was last used, places for faults, and the replays that are kept as graphs.
  uint64_t stream = 0;
  bool used = false;
  std::shared_ptr<FaultSlots> faults;
  std::vector<std::shared_ptr<const SavedCall>> calls;  // one for each place for faults
  std::vector<Replay> replays;                          // the most recently used first
  std::vector<uint64_t> key;

  std::vector<int32_t> key_steps;  // which step each part of a key concerns

  ~Context() {
    replays.clear();
    if (arena != nullptr) arena->release();
  }
};

// Builds a Plan from a graph. Reading order: run(), then node().
class Planner {
 public:
  Planner(const Graph& graph, Program::Plan& plan)
      : graph_(graph), plan_(plan), stand_(graph), places_(graph.values.size()), last_use_(graph.values.size(), -1) {}

  void run() {
    plan_.device = graph_.device;
    find_last_uses();
    place_outer();
    for (size_t n = 0; n < graph_.nodes.size(); ++n) node(static_cast<int32_t>(n));
    for (const IrAssignment& a : graph_.assignments) assign(a);
    for (const int32_t id : graph_.outputs) result(id);
    size_arena();
    find_outer_writes();
  }

 private:
  using Place = gorgo::Place;

  const IrValue& value(int32_t id) const { return graph_.values[static_cast<size_t>(id)]; }
  Place& place(int32_t id) { return places_[static_cast<size_t>(id)]; }
  [[nodiscard]] int32_t next_step() const { return static_cast<int32_t>(plan_.steps.size()); }

  // The last node that reads a value (a view's reads count for what it views; results and assignments read at the end).
  void find_last_uses() {
    const auto end = static_cast<int32_t>(graph_.nodes.size());
    for (const int32_t id : graph_.outputs) last_use_[static_cast<size_t>(id)] = end;
    for (const IrAssignment& a : graph_.assignments) {
      last_use_[static_cast<size_t>(a.value)] = end;
      target_of_[a.value] = a.target;
    }
    for (auto n = static_cast<int32_t>(graph_.nodes.size()); n-- > 0;) {
      const IrNode& node = graph_.nodes[static_cast<size_t>(n)];
      int32_t through = n;
      if (node.op->flags.view) {
        for (const int32_t out : node.outputs) through = std::max(through, last_use_[static_cast<size_t>(out)]);
      }
      for (const IrOperand& operand : node.inputs) {
        if (operand.value < 0) continue;
        int32_t& last = last_use_[static_cast<size_t>(operand.value)];
        last = std::max(last, through);
      }
    }
  }

  int32_t add_buffer(BufferKind kind, int64_t bytes) {
    Buffer& buffer = plan_.buffers.emplace_back();
    buffer.kind = kind;
    buffer.bytes = static_cast<size_t>(bytes);
    return static_cast<int32_t>(plan_.buffers.size()) - 1;
  }

  void place_outer() {
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const int32_t id = graph_.inputs[i];
      if (place(id).buffer >= 0) continue;  // the same tensor given twice
      const int32_t buffer = add_buffer(BufferKind::Input, graph_.bytes_of(id));
      plan_.buffers.back().index = static_cast<int32_t>(i);
      place(id) = Place{buffer, 0, value(id).strides};
    }
    for (const int32_t id : graph_.captured) {
      const int32_t buffer = add_buffer(BufferKind::Outer, graph_.bytes_of(id));
      plan_.buffers.back().data = value(id).tensor->data();
      place(id) = Place{buffer, 0, value(id).strides};
    }
  }

  // Puts a node's output where its elements will be computed: the outer tensor it is assigned to when nobody reads that
  // tensor's old elements any more, else a buffer of its own.
  void place_fresh(int32_t id, int32_t n, const IrNode& node) {
    const auto target = target_of_.find(id);
    if (target != target_of_.end() && may_overwrite(target->second, n, node)) {
      place(id) = place(target->second);
      note_write(target->second);
      return;
    }
    const int32_t buffer = add_buffer(BufferKind::Arena, graph_.bytes_of(id));
    place(id) = Place{buffer, 0, contiguous_strides(value(id).shape)};
  }

  // May node n write over `outer` while it runs? Reads by later nodes forbid it, and so do its own unless element by element.
  bool may_overwrite(int32_t outer, int32_t n, const IrNode& node) {
    if (overwritten_.count(place(outer).buffer) != 0) return false;
    if (!is_contiguous(value(outer).shape, value(outer).strides) && !node.op->flags.elementwise) return false;
    for (size_t id = 0; id < places_.size(); ++id) {
      if (places_[id].buffer != place(outer).buffer) continue;
      if (last_use_[id] > n) return false;
      if (last_use_[id] == n) {
        const bool exact = places_[id].offset == place(outer).offset && places_[id].strides == place(outer).strides &&
                           graph_.values[id].shape == value(outer).shape;
        if (!exact || !node.op->flags.elementwise) return false;
      }
    }
    return true;
  }

  void note_write(int32_t outer) {
    overwritten_.insert({place(outer).buffer, true});
    if (value(outer).kind == IrValue::Kind::Captured) {
      plan_.written_outer.push_back(value(outer).tensor);
    } else {
      plan_.written_inputs.push_back(value(outer).position);
    }
  }

  // The place of an operand that will be written where it lies, after a copy when its old elements are still wanted.
  Place writable(int32_t id, int32_t n) {
    const int32_t buffer = place(id).buffer;
    const Buffer& home = plan_.buffers[static_cast<size_t>(buffer)];
    bool old_wanted = false;
    for (size_t other = 0; other < places_.size(); ++other) {
      old_wanted = old_wanted || (places_[other].buffer == buffer && last_use_[other] > n);
    }
    const bool outer = home.kind == BufferKind::Outer || home.kind == BufferKind::Input;
    const bool ends_there = !outer || assigned_outer(buffer);
    if (!old_wanted && ends_there) {
      if (outer) note_write(outer_value(buffer));
      return place(id);
    }
    const int32_t copy = add_buffer(BufferKind::Arena, graph_.bytes_of(id));
    const Place fresh{copy, 0, contiguous_strides(value(id).shape)};
    add_copy(place(id), fresh, id);
    return fresh;
  }

  bool assigned_outer(int32_t buffer) {
    for (const IrAssignment& a : graph_.assignments) {
      if (place(a.target).buffer == buffer) return true;
    }
    return false;
  }
  int32_t outer_value(int32_t buffer) {
    for (const IrAssignment& a : graph_.assignments) {
      if (place(a.target).buffer == buffer) return a.target;
    }
    return -1;
  }

  void node(int32_t n) {
    const IrNode& node = graph_.nodes[static_cast<size_t>(n)];
    const OpDef& op = *node.op;
    if (op.flags.transfer) {
      fail<NotSupported>(op.name, ": tensor must stay on its device in a captured function, got a copy to another one");
    }
    if (op.flags.data_dependent || op.flags.host) {
      fail<NotSupported>(op.name, ": op must have shapes that do not depend on values to be planned");
    }
    InferContext& context = stand_.infer(node);
    stand_.place(node, context);
    if (op.flags.view) {
      const Place from = place(node.inputs[0].value);
      const TensorImpl& source = stand_.of(node.inputs[0].value);
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        const OutSpec& spec = context.out[static_cast<int>(i)];
        // The value may lie elsewhere in its buffer than its stand-in does; a view is relative to its source.
        place(node.outputs[i]) = Place{from.buffer, from.offset + (spec.offset - source.offset), spec.strides};
      }
      return;
    }
    if (node.op == core_ops().view_scatter) {
      const Place base = writable(node.inputs[0].value, n);
      const auto& region = node.attrs.as<RegionAttrs>();
      const int32_t out = node.outputs[0];
      place(out) = base;
      begin_step(*core_ops().copy, nullptr);
      if (node.inputs[1].is_scalar) {
        add_scalar(node.inputs[1].scalar, value(out).dtype, op.name);
      } else {
        add_operand(place(node.inputs[1].value), node.inputs[1].value);
      }
      add_operand(Place{base.buffer, base.offset + region.offset, region.strides}, value(out).dtype, region.shape);
      end_step(1, 1, value(out).dtype);
      return;
    }
    const auto operand_count = static_cast<int>(node.inputs.size());
    std::vector<int32_t> inplace(node.inputs.size(), -1);
    size_t made = static_cast<size_t>(context.out.size());
    for (int i = 0; i < operand_count; ++i) {
      const IrOperand& operand = node.inputs[static_cast<size_t>(i)];
      if (operand.value < 0 || !op.mutates_operand(node.attrs.get(), i, operand_count)) continue;
      const int32_t out = node.outputs[made++];
      place(out) = writable(operand.value, n);
      inplace[static_cast<size_t>(i)] = out;
    }
    for (int i = 0; i < context.out.size(); ++i) place_fresh(node.outputs[static_cast<size_t>(i)], n, node);
    begin_step(op, node.attrs.get());
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const IrOperand& operand = node.inputs[i];
      if (operand.is_scalar) {
        add_scalar(op.operand_of(operand.scalar), context.compute_dtype, op.name);
      } else if (operand.value < 0) {
        plan_.operands.emplace_back().operand.given = false;
      } else {
        add_operand(inplace[i] >= 0 ? place(inplace[i]) : place(operand.value), operand.value);
      }
    }
    for (int i = 0; i < context.out.size(); ++i) {
      const int32_t out = node.outputs[static_cast<size_t>(i)];
      add_operand(place(out), out);
    }
    end_step(operand_count, context.out.size(), context.compute_dtype);
  }

  void assign(const IrAssignment& a) {
    if (place(a.value).buffer == place(a.target).buffer && place(a.value).offset == place(a.target).offset) return;
    note_write(a.target);
    add_copy(place(a.value), place(a.target), a.target);
  }

  void result(int32_t id) {
    Result& result = plan_.results.emplace_back();
    result.dtype = value(id).dtype;
    result.shape = value(id).shape;
    int32_t home = id;
    const auto target = target_of_.find(id);
    if (target != target_of_.end()) home = target->second;
    if (value(home).kind == IrValue::Kind::Captured) {
      result.kind = Result::Kind::Captured;
      result.index = home;
      return;
    }
    if (value(home).kind == IrValue::Kind::Input) {
      result.kind = Result::Kind::Input;
      result.index = value(home).position;
      return;
    }
    result.index = static_cast<int32_t>(plan_.fresh_shapes.size());
    plan_.fresh_dtypes.push_back(result.dtype);
    plan_.fresh_shapes.push_back(result.shape);
    const Place& from = place(id);
    Buffer& buffer = plan_.buffers[static_cast<size_t>(from.buffer)];
    const bool whole = from.offset == 0 && buffer.bytes == static_cast<size_t>(graph_.bytes_of(id)) &&
                       is_contiguous(value(id).shape, from.strides);
    if (buffer.kind == BufferKind::Arena && whole) {
      buffer.kind = BufferKind::Result;
      buffer.index = result.index;
      return;
    }
    const int32_t fresh = add_buffer(BufferKind::Result, graph_.bytes_of(id));
    plan_.buffers.back().index = result.index;
    add_copy(from, Place{fresh, 0, contiguous_strides(value(id).shape)}, id);
  }

  // ---- steps ----

  void begin_step(const OpDef& op, const void* attrs) {
    step_ = Step{};
    step_.op = &op;
    step_.attrs = attrs;
    step_.first_operand = static_cast<int32_t>(plan_.operands.size());
  }

  const int64_t* keep(const Dims& dims) {
    plan_.dims.push_back(std::make_unique<Dims>(dims));
    return plan_.dims.back()->data();
  }

  void add_operand(const Place& at, int32_t id) { add_operand(at, value(id).dtype, value(id).shape); }

  void add_operand(const Place& at, DType dtype, const Shape& shape) {
    OperandTemplate& made = plan_.operands.emplace_back();
    made.buffer = at.buffer;
    made.byte_offset = at.offset * dtype_size(dtype);
    KOperand& operand = made.operand;
    operand.shape = keep(shape);
    operand.strides = keep(at.strides);
    operand.numel = numel_of(shape);
    operand.rank = shape.size();
    operand.dtype = dtype;
    operand.contiguous = is_contiguous(shape, at.strides);
    operand.scalar = shape.empty();
    Buffer& buffer = plan_.buffers[static_cast<size_t>(at.buffer)];
    buffer.first = std::min(buffer.first, next_step());
    buffer.last = std::max(buffer.last, next_step());
  }

  void add_scalar(const Scalar& scalar, DType dtype, const char* op) {
    Element& element = plan_.elements.emplace_back();
    store_scalar(scalar, dtype, op, element.bytes);
    OperandTemplate& made = plan_.operands.emplace_back();
    made.element = static_cast<int32_t>(plan_.elements.size()) - 1;
    made.operand.numel = 1;
    made.operand.dtype = dtype;
    made.operand.scalar = true;
    made.operand.host = true;
  }

  void end_step(int in_count, int out_count, DType compute_dtype) {
    step_.in_count = in_count;
    step_.out_count = out_count;
    if (plan_.device.type == DeviceType::Null) {  // shapes and dtypes are all there is
      plan_.steps.push_back(step_);
      return;
    }
    const Kernel* kernel = step_.op->kernels[static_cast<int>(plan_.device.type)][static_cast<int>(compute_dtype)];
    if (kernel == nullptr) {
      fail<TypeError>(step_.op->name, ": dtype must have a kernel on ", device_name(plan_.device), ", got ",
                      compute_dtype);
    }
    step_.kernel = *kernel;
    if (step_.attrs != nullptr) {
      const AttrSchema& schema = *step_.op->attrs;
      for (int i = 0; i < schema.count; ++i) {
        if (schema.fields[i].kind != FieldKind::Host) continue;
        const auto* at = static_cast<const unsigned char*>(step_.attrs) + schema.fields[i].offset;
        const HostCell* cell = reinterpret_cast<const HostValue*>(at)->cell();
        if (cell == nullptr) continue;
        plan_.cells.push_back(cell);
        plan_.cell_steps.push_back(next_step());
      }
    }
    if (plan_.device.type == DeviceType::Cuda && step_.op->raise_fault != nullptr) step_.fault = plan_.fault_count++;
    // Task counts and scratch depend on shapes alone, so they are asked for once, with operands that point nowhere.
    std::vector<KOperand> operands;
    operands.reserve(static_cast<size_t>(in_count) + static_cast<size_t>(out_count));
    const OperandTemplate* planned = plan_.operands.data() + step_.first_operand;
    for (int i = 0; i < in_count + out_count; ++i) {
      operands.push_back(planned[i].operand);
      plan_.is_long = plan_.is_long || operands.back().numel >= kLongElements;
    }
    KernelArgs args;
    args.in = operands.data();
    args.out = operands.data() + in_count;
    args.in_count = in_count;
    args.out_count = out_count;
    args.attrs = step_.attrs;
    for (int i = 0; i < kernel->phase_count; ++i) {
      step_.tasks[i] = kernel->phases[i].tasks != nullptr ? kernel->phases[i].tasks(args) : 1;
    }
    if (step_.op->cost != nullptr) plan_.is_long = plan_.is_long || step_.op->cost(args).flops >= kLongFlops;
    const size_t scratch = kernel->scratch_bytes != nullptr ? kernel->scratch_bytes(args) : 0;
    if (scratch != 0) {
      step_.scratch_buffer = add_buffer(BufferKind::Arena, static_cast<int64_t>(scratch));
      plan_.buffers.back().first = plan_.buffers.back().last = next_step();
    }
    plan_.steps.push_back(step_);
  }

  // Which operands are written outside the arena. At the end, since an arena buffer may have become a result's.
  void find_outer_writes() {
    for (const Step& step : plan_.steps) {
      for (int i = 0; i < step.in_count + step.out_count; ++i) {
        const int32_t operand = step.first_operand + i;
        const int32_t buffer = plan_.operands[static_cast<size_t>(operand)].buffer;
        if (buffer < 0 || plan_.buffers[static_cast<size_t>(buffer)].kind == BufferKind::Arena) continue;
        if (i >= step.in_count || step.op->mutates_operand(step.attrs, i, step.in_count)) {
          plan_.outer_writes.push_back(operand);
        }
      }
    }
  }

  void add_copy(const Place& from, const Place& to, int32_t like) {
    begin_step(*core_ops().copy, nullptr);
    add_operand(from, like);
    add_operand(to, like);
    end_step(1, 1, value(like).dtype);
  }

  void size_arena() {
    std::vector<BufferLife> lives;
    std::vector<Buffer*> owners;
    for (Buffer& buffer : plan_.buffers) {
      if (buffer.kind != BufferKind::Arena || buffer.last < 0 || buffer.bytes == 0) continue;
      lives.push_back({buffer.bytes, buffer.first, buffer.last});
      owners.push_back(&buffer);
    }
    const ArenaPlan arena = plan_arena(lives);
    for (size_t i = 0; i < owners.size(); ++i) owners[i]->offset = arena.offsets[i];
    plan_.arena_bytes = arena.total_bytes;
  }

  const Graph& graph_;
  Program::Plan& plan_;
  Stand stand_;
  std::vector<Place> places_;
  std::vector<int32_t> last_use_;
  std::unordered_map<int32_t, int32_t> target_of_;  // value -> the outer value it is assigned to
  std::unordered_map<int32_t, bool> overwritten_;   // outer buffers that hold new elements already
  Step step_;
};

namespace {

Graph fused_for_its_device(const Graph& graph) {
  const std::optional<FusionLimits> limits = fusion_limits(graph.device);
  return limits ? fuse_elementwise(graph, *limits) : graph;
}

}  // namespace

Program::Program(Graph graph)
    : graph_(std::move(graph)), planned_(fused_for_its_device(graph_)), plan_(std::make_unique<Plan>()) {
  Planner(planned_, *plan_).run();
}

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
    const OperandTemplate& from = plan.operands[i];
    KOperand operand = from.operand;
    if (from.element >= 0) {
      operand.data = const_cast<unsigned char*>(plan.elements[static_cast<size_t>(from.element)].bytes);
    } else if (from.buffer >= 0 && operand.numel != 0) {
      const Buffer& buffer = plan.buffers[static_cast<size_t>(from.buffer)];
      const auto at = static_cast<int32_t>(i);
      switch (buffer.kind) {
        case BufferKind::Arena:
          operand.data = arena + buffer.offset + from.byte_offset;
          break;
        case BufferKind::Outer:
          operand.data = static_cast<unsigned char*>(buffer.data) + from.byte_offset;
          break;
        case BufferKind::Input:
          context->input_patches.push_back({at, buffer.index, from.byte_offset});
          break;
        case BufferKind::Result:
          context->result_patches.push_back({at, buffer.index, from.byte_offset});
          break;
      }
    }
    context->operands.push_back(operand);
  }
  for (const Step& step : plan.steps) {
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
  for (const Result& result : plan.results) {
    switch (result.kind) {
      case Result::Kind::Fresh:
        results.push_back(context->fresh[static_cast<size_t>(result.index)]);
        break;
      case Result::Kind::Input:
        results.push_back(inputs[static_cast<size_t>(result.index)]);
        break;
      case Result::Kind::Captured:
        results.push_back(graph_.values[static_cast<size_t>(result.index)].tensor);
        break;
    }
  }
}

void Program::run_steps(Context& context) const {
  const Plan& plan = *plan_;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const Step& step = plan.steps[s];
    const KernelArgs& args = context.args[s];
    const ProfiledKernel profiled(*step.op, args, true);
    for (int i = 0; i < step.kernel.phase_count; ++i) {
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
}

void Program::enqueue_step(Context& context, size_t s, uint64_t stream) const {
  const Step& step = plan_->steps[s];
  KernelArgs& args = context.args[s];
  args.stream = reinterpret_cast<void*>(stream);  // NOLINT(performance-no-int-to-ptr): a handle, as the driver gave it
  const ProfiledKernel profiled(*step.op, args, true);
  enqueue_phases(*step.op, step.kernel, args, plan_->device);
}

// What a graph of these steps would hold: addresses of inputs and results, the numbers in host cells, and how products are formed.
void Program::find_key(Context& context) const {
  std::vector<uint64_t>& key = context.key;
  key.clear();
  for (const auto* patches : {&context.input_patches, &context.result_patches}) {
    for (const Context::Patch& patch : *patches) {
      key.push_back(reinterpret_cast<uint64_t>(context.operands[static_cast<size_t>(patch.operand)].data));
    }
  }
  for (const HostCell* cell : plan_->cells) key.push_back(std::bit_cast<uint64_t>(cell->value.load()));
  key.push_back(static_cast<uint64_t>(float32_mode.load(std::memory_order_relaxed)));
}

// The first run with these addresses enqueues kernel by kernel; the second is captured on the way, and later ones launch the
// graph. Callers who drop their results get the same addresses again, so few graphs serve a training loop. Who comes with ever
// new addresses, or numbers, gets the graph that was used least recently, with the kernels that these concern updated.
void Program::enqueue(Context& context, std::span<const Tensor> inputs) const {
  constexpr size_t kKeptReplays = 4;
  const Device device = plan_->device;
  use_cuda_device(device);
  const uint64_t stream = current_stream(device);
  if (context.used && context.stream != stream) cuda_wait(device, stream, context.stream);
  context.used = true;
  context.stream = stream;
  for (const Tensor& t : inputs) note_stream(*t->storage, stream);
  for (const Tensor& t : context.fresh) note_stream(*t->storage, stream);
  if (context.arena != nullptr) note_stream(*context.arena, stream);
  find_key(context);
  std::vector<Replay>& replays = context.replays;
  auto known =
      std::find_if(replays.begin(), replays.end(), [&](const Replay& replay) { return replay.key == context.key; });
  if (known == replays.end() && replays.size() < kKeptReplays) {
    replays.insert(replays.begin(), Replay{})->key = context.key;
    for (size_t s = 0; s < plan_->steps.size(); ++s) enqueue_step(context, s, stream);
  } else {
    if (known == replays.end()) {
      --known;
      if (known->executable != 0 && !update(context, *known)) known->forget();
      known->key = context.key;
    }
    std::rotate(replays.begin(), known, known + 1);
    Replay& replay = replays.front();
    if (replay.executable == 0) capture(context, replay);
    check_cuda(cuda_driver->launch_graph(replay.executable, stream), "replay");
  }
  for (size_t i = 0; i < context.calls.size(); ++i) {
    expect_fault(device, context.faults, static_cast<int>(i), context.calls[i]);
  }
}

// A capture on a stream of its own, since the default stream cannot be captured. What was captured and not taken is destroyed.
class Program::GraphRecorder {
 public:
  explicit GraphRecorder(Device device) : device_(device), stream_(take_stream(device)) {
    const int code = cuda_driver->begin_capture(stream_);
    if (code != 0) give_stream(device_, stream_);
    check_cuda(code, "capture");
  }
  ~GraphRecorder() {
    if (!ended_) {
      static_cast<void>(cuda_driver->end_capture(stream_, &graph_));
      static_cast<void>(cuda_driver->last_error());
    }
    if (graph_ != 0) static_cast<void>(cuda_driver->destroy_graph(graph_));
    give_stream(device_, stream_);
  }
  GraphRecorder(const GraphRecorder&) = delete;
  GraphRecorder& operator=(const GraphRecorder&) = delete;
  [[nodiscard]] uint64_t stream() const { return stream_; }
  void after(const std::vector<uint64_t>& nodes) const {
    check_cuda(cuda_driver->capture_after(stream_, nodes.data(), nodes.size()), "capture");
  }
  // The nodes captured since after(nodes).
  [[nodiscard]] std::vector<uint64_t> since(const std::vector<uint64_t>& nodes) const {
    std::vector<uint64_t> found(4);
    for (;;) {
      size_t count = found.size();
      check_cuda(cuda_driver->captured_since(stream_, nodes.data(), nodes.size(), found.data(), &count), "capture");
      const bool fits = count <= found.size();
      found.resize(count);
      if (fits) return found;
    }
  }
  void end() {
    ended_ = true;
    check_cuda(cuda_driver->end_capture(stream_, &graph_), "capture");
  }
  uint64_t take() { return std::exchange(graph_, 0); }
  [[nodiscard]] uint64_t graph() const { return graph_; }

 private:
  Device device_;
  uint64_t stream_;
  uint64_t graph_ = 0;
  bool ended_ = false;
};

// Each step depends on those alone whose bytes it touches, so that the device may run the others beside it. In very long programs
// each depends on the one before.
void Program::capture(Context& context, Replay& replay) const {
  constexpr size_t kMostOrdered = 4096;
  const size_t count = plan_->steps.size();
  std::vector<std::vector<int32_t>> waits;
  if (count <= kMostOrdered) {
    std::vector<std::vector<Access>> touched(count);
    for (size_t s = 0; s < count; ++s) touched[s] = accesses(context, s);
    waits = predecessors(touched);
  } else {
    waits.resize(count);
    for (size_t s = 1; s < count; ++s) waits[s] = {static_cast<int32_t>(s) - 1};
  }
  GraphRecorder recorder(plan_->device);
  std::vector<std::vector<uint64_t>> nodes(count);
  // The node after which a step is over, or several that it waited for itself.
  std::vector<std::vector<uint64_t>> ends(count);
  for (size_t s = 0; s < count; ++s) {
    std::vector<uint64_t> after;
    for (const int32_t p : waits[s]) {
      const std::vector<uint64_t>& end = ends[static_cast<size_t>(p)];
      after.insert(after.end(), end.begin(), end.end());
    }
    std::sort(after.begin(), after.end());
    after.erase(std::unique(after.begin(), after.end()), after.end());
    recorder.after(after);
    enqueue_step(context, s, recorder.stream());
    nodes[s] = recorder.since(after);
    ends[s] = nodes[s].empty() ? after : std::vector<uint64_t>{nodes[s].back()};
  }
  recorder.end();
  check_cuda(cuda_driver->instantiate(recorder.graph(), &replay.executable), "capture");
  replay.graph = recorder.take();
  replay.nodes = std::move(nodes);
}

// Records the steps whose addresses or numbers are others than the replay's, and gives its executable their kernels. False when
// the graph cannot serve: another kernel is chosen, or steps share memory now that did not.
bool Program::update(Context& context, Replay& replay) const {
  if (context.key_steps.empty()) {
    for (const auto* patches : {&context.input_patches, &context.result_patches}) {
      for (const Context::Patch& patch : *patches) context.key_steps.push_back(step_of_operand(patch.operand));
    }
    context.key_steps.insert(context.key_steps.end(), plan_->cell_steps.begin(), plan_->cell_steps.end());
    context.key_steps.push_back(kEveryStep);
  }
  std::vector<int32_t> changed;
  for (size_t i = 0; i < context.key.size(); ++i) {
    if (context.key[i] == replay.key[i]) continue;
    if (context.key_steps[i] == kEveryStep) return false;
    changed.push_back(context.key_steps[i]);
    if (i < context.input_patches.size() && meets_writes(context, context.input_patches[i].operand)) return false;
  }
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  GraphRecorder recorder(plan_->device);
  const std::vector<uint64_t> none;
  std::vector<std::vector<uint64_t>> fresh;
  for (const int32_t s : changed) {
    recorder.after(none);
    enqueue_step(context, static_cast<size_t>(s), recorder.stream());
    fresh.push_back(recorder.since(none));
    if (fresh.back().size() != replay.nodes[static_cast<size_t>(s)].size()) return false;
  }
  recorder.end();
  for (size_t k = 0; k < changed.size(); ++k) {
    const std::vector<uint64_t>& nodes = replay.nodes[static_cast<size_t>(changed[k])];
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (cuda_driver->update_node(replay.executable, nodes[i], fresh[k][i]) != 0) {
        static_cast<void>(cuda_driver->last_error());
        return false;
      }
    }
  }
  return true;
}

int32_t Program::step_of_operand(int32_t operand) const {
  const auto after = std::upper_bound(plan_->steps.begin(), plan_->steps.end(), operand,
                                      [](int32_t at, const Step& step) { return at < step.first_operand; });
  return static_cast<int32_t>(after - plan_->steps.begin()) - 1;
}

// Does the operand lie where a step writes to memory that is neither the arena's nor the operand's own buffer?
bool Program::meets_writes(const Context& context, int32_t operand) const {
  const Access here = access_of(context.operands[static_cast<size_t>(operand)], false);
  const int32_t buffer = plan_->operands[static_cast<size_t>(operand)].buffer;
  return std::any_of(plan_->outer_writes.begin(), plan_->outer_writes.end(), [&](int32_t write) {
    if (plan_->operands[static_cast<size_t>(write)].buffer == buffer) return false;
    return meet(here, access_of(context.operands[static_cast<size_t>(write)], true));
  });
}

// What step s touches, with the addresses of this run.
std::vector<Access> Program::accesses(const Context& context, size_t s) const {
  const Step& step = plan_->steps[s];
  const KernelArgs& args = context.args[s];
  std::vector<Access> touched;
  for (int i = 0; i < args.in_count; ++i) {
    touched.push_back(access_of(args.in[i], step.op->mutates_operand(step.attrs, i, args.in_count)));
  }
  for (int i = 0; i < args.out_count; ++i) touched.push_back(access_of(args.out[i], true));
  if (step.scratch_buffer >= 0) {
    const auto first = reinterpret_cast<uintptr_t>(args.scratch);
    touched.push_back({first, first + plan_->buffers[static_cast<size_t>(step.scratch_buffer)].bytes, true});
  }
  return touched;
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

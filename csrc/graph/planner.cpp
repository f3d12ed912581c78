// The planner: where every value of a graph lives and which kernel makes it.
//
// Invariants: steps stand in the order of the graph's nodes. Elements are written over only when no later node reads
// them. What outlives a run lies in buffers of results and in the outer tensors that are assigned to, never in the arena.
// Read next: plan.h (what comes out), memory/plan.h (how the arena is packed), executor.cpp (who runs it).
#include <algorithm>
#include <memory>
#include <unordered_map>

#include "device/backend.h"
#include "graph/plan.h"
#include "graph/verify.h"
#include "memory/plan.h"
#include "opdef/core_ops.h"

namespace gorgo {
namespace {

// From this many floating-point operations or elements on, a replay lets other threads run.
constexpr double kLongFlops = 1e6;
constexpr int64_t kLongElements = 1 << 17;
// What a program may keep of its captured tensors, packed for its kernels.
constexpr size_t kMostKeptBytes = size_t{64} << 20;

}  // namespace

size_t apart_bytes = size_t{32} << 20;

// Builds a Plan from a graph. Reading order: run(), then node().
class Program::Plan::Planner {
 public:
  Planner(const Graph& graph, Plan& plan)
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
  const IrValue& value(int32_t id) const { return graph_.values[static_cast<size_t>(id)]; }
  Place& place(int32_t id) { return places_[static_cast<size_t>(id)]; }
  Buffer& buffer_of(const Place& at) { return plan_.buffers[static_cast<size_t>(at.buffer)]; }
  void put(int32_t id, const Place& at) {
    place(id) = at;
    residents_[static_cast<size_t>(at.buffer)].push_back(id);
  }
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
    residents_.emplace_back();
    return static_cast<int32_t>(plan_.buffers.size()) - 1;
  }

  void place_outer() {
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const int32_t id = graph_.inputs[i];
      if (place(id).buffer >= 0) continue;  // the same tensor given twice
      const int32_t buffer = add_buffer(BufferKind::Input, graph_.bytes_of(id));
      plan_.buffers.back().index = static_cast<int32_t>(i);
      put(id, Place{buffer, 0, value(id).strides});
    }
    for (const int32_t id : graph_.captured) {
      const int32_t buffer = add_buffer(BufferKind::Outer, graph_.bytes_of(id));
      plan_.buffers.back().data = value(id).tensor->data();
      put(id, Place{buffer, 0, value(id).strides});
    }
  }

  // Puts a node's output where its elements will be computed: the outer tensor it is assigned to when nobody reads that
  // tensor's old elements any more, else a buffer of its own.
  void place_fresh(int32_t id, int32_t n, const IrNode& node) {
    const auto target = target_of_.find(id);
    if (target != target_of_.end() && may_overwrite(target->second, n, node)) {
      put(id, place(target->second));
      note_write(target->second);
      return;
    }
    if (take_over(id, n, node)) return;
    const int32_t buffer = add_buffer(BufferKind::Arena, graph_.bytes_of(id));
    put(id, Place{buffer, 0, contiguous_strides(value(id).shape)});
  }

  // Results of elementwise nodes lie where an operand does that nobody needs any more: fewer bytes pass through the caches. Where a device
  // orders steps by what they touch, values stay apart.
  bool take_over(int32_t id, int32_t n, const IrNode& node) {
    if (!node.op->flags.elementwise || plan_.device.type != DeviceType::Cpu) return false;
    for (const IrOperand& operand : node.inputs) {
      if (operand.value < 0) continue;
      const IrValue& from = value(operand.value);
      const Place& at = place(operand.value);
      if (buffer_of(at).kind != BufferKind::Arena || from.dtype != value(id).dtype || from.shape != value(id).shape ||
          at.offset != 0 || !is_contiguous(from.shape, at.strides)) {
        continue;
      }
      const std::vector<int32_t>& residents = residents_[static_cast<size_t>(at.buffer)];
      const bool free = std::all_of(residents.begin(), residents.end(), [&](int32_t other) {
        const int32_t last = last_use_[static_cast<size_t>(other)];
        return value(other).node != n && (last < n || (last == n && is_at(other, operand.value)));
      });
      if (!free) continue;
      put(id, at);
      return true;
    }
    return false;
  }
  // Do two values of one buffer have each element in the same place?
  [[nodiscard]] bool is_at(int32_t id, int32_t other) {
    return place(id).offset == place(other).offset && place(id).strides == place(other).strides &&
           value(id).shape == value(other).shape;
  }

  // May node n write over `outer` while it runs? Reads by later nodes forbid it, and so do its own unless element by element.
  bool may_overwrite(int32_t outer, int32_t n, const IrNode& node) {
    if (overwritten_.count(place(outer).buffer) != 0) return false;
    if (!is_contiguous(value(outer).shape, value(outer).strides) && !node.op->flags.elementwise) return false;
    for (const int32_t id : residents_[static_cast<size_t>(place(outer).buffer)]) {
      const int32_t last = last_use_[static_cast<size_t>(id)];
      if (last > n || (last == n && (!is_at(id, outer) || !node.op->flags.elementwise))) return false;
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
    for (const int32_t other : residents_[static_cast<size_t>(buffer)]) {
      old_wanted = old_wanted || last_use_[static_cast<size_t>(other)] > n;
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
        put(node.outputs[i], Place{from.buffer, from.offset + (spec.offset - source.offset), spec.strides});
      }
      return;
    }
    if (node.op == core_ops().view_scatter) {
      const Place base = writable(node.inputs[0].value, n);
      const auto& region = node.attrs.as<RegionAttrs>();
      const int32_t out = node.outputs[0];
      put(out, base);
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
      put(out, writable(operand.value, n));
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

  const int64_t* keep(const Dims& figures) {
    plan_.dims.push_back(std::make_unique<Dims>(figures));
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
    std::vector<KOperand> probes;
    probes.reserve(static_cast<size_t>(in_count) + static_cast<size_t>(out_count));
    const OperandTemplate* planned = plan_.operands.data() + step_.first_operand;
    for (int i = 0; i < in_count + out_count; ++i) {
      probes.push_back(planned[i].operand);
      plan_.is_long = plan_.is_long || probes.back().numel >= kLongElements;
    }
    KernelArgs args;
    args.in = probes.data();
    args.out = probes.data() + in_count;
    args.in_count = in_count;
    args.out_count = out_count;
    args.attrs = step_.attrs;
    if (step_.op->cost != nullptr) plan_.is_long = plan_.is_long || step_.op->cost(args).flops >= kLongFlops;
    const auto size_step = [&] {
      for (int i = 0; i < kernel->phase_count; ++i) {
        step_.tasks[i] = kernel->phases[i].tasks != nullptr ? kernel->phases[i].tasks(args) : 1;
      }
      return kernel->scratch_bytes != nullptr ? kernel->scratch_bytes(args) : 0;
    };
    const Storage* const of = kept_by(*kernel, args, planned);
    args.keeps = of != nullptr;
    size_t scratch = size_step();
    if (args.keeps && (scratch == 0 || step_.tasks[0] == 0 || kept_bytes_ + scratch > kMostKeptBytes)) {
      args.keeps = false;
      scratch = size_step();
    }
    if (scratch != 0) {
      step_.scratch_buffer = add_buffer(BufferKind::Arena, static_cast<int64_t>(scratch));
      plan_.buffers.back().first = plan_.buffers.back().last = next_step();
      plan_.buffers.back().stays = args.keeps;
    }
    if (args.keeps) {
      kept_bytes_ += scratch;
      plan_.kept.push_back({next_step(), of});
    }
    plan_.steps.push_back(step_);
  }

  // The bytes of the operand of which a kernel may keep something between runs: memory of ours outside the graph that the graph does not
  // write, whatever it calls it. Null for none.
  const Storage* kept_by(const Kernel& kernel, const KernelArgs& args, const OperandTemplate* planned) const {
    if (kernel.keeps == nullptr || plan_.device.type != DeviceType::Cpu) return nullptr;
    const int32_t index = kernel.keeps(args);
    if (index < 0 || planned[index].buffer < 0) return nullptr;
    const int32_t id = outer_at(planned[index].buffer);
    if (id < 0) return nullptr;
    const Storage* const of = value(id).tensor->storage;
    if (of->deleter != nullptr) return nullptr;
    for (const IrAssignment& a : graph_.assignments) {
      if (value(a.target).kind != IrValue::Kind::Captured || value(a.target).tensor->storage == of) return nullptr;
    }
    return of;
  }
  // The captured tensor whose buffer this is; -1 for none.
  [[nodiscard]] int32_t outer_at(int32_t buffer) const {
    if (plan_.buffers[static_cast<size_t>(buffer)].kind != BufferKind::Outer) return -1;
    return residents_[static_cast<size_t>(buffer)].front();
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
    size_t all_bytes = 0;
    for (Buffer& buffer : plan_.buffers) {
      if (buffer.kind != BufferKind::Arena || buffer.last < 0 || buffer.bytes == 0) continue;
      lives.push_back({buffer.bytes, buffer.stays ? 0 : buffer.first, buffer.stays ? next_step() : buffer.last});
      owners.push_back(&buffer);
      all_bytes += buffer.bytes;
    }
    if (plan_.device.type == DeviceType::Cuda && all_bytes <= apart_bytes) {
      for (BufferLife& life : lives) life = {life.bytes, 0, next_step()};
    }
    const ArenaPlan arena = plan_arena(lives);
    for (size_t i = 0; i < owners.size(); ++i) owners[i]->offset = arena.offsets[i];
    plan_.arena_bytes = arena.total_bytes;
  }

  const Graph& graph_;
  Plan& plan_;
  Stand stand_;
  std::vector<Place> places_;
  std::vector<int32_t> last_use_;
  std::unordered_map<int32_t, int32_t> target_of_;  // value -> the outer value it is assigned to
  std::unordered_map<int32_t, bool> overwritten_;   // outer buffers that hold new elements already
  std::vector<std::vector<int32_t>> residents_;     // by buffer: the values that lie in it, now or before
  size_t kept_bytes_ = 0;
  Step step_;
};

Program::Plan::Plan(const Graph& graph) { Planner(graph, *this).run(); }

}  // namespace gorgo

#include "graph/capture.h"

#include "device/backend.h"

namespace gorgo {
namespace {

std::atomic<uint32_t> next_serial{1};

}  // namespace

std::atomic<uint64_t> configuration_epoch{1};
constinit thread_local Recorder* Recorder::active_ = nullptr;

Recorder::Recorder() : serial_(next_serial.fetch_add(1, std::memory_order_relaxed)) { capture_death_hook = &on_death; }

Recorder::~Recorder() = default;

Recorder::Scope::Scope(Recorder& recorder) {
  if (active_ != nullptr) fail<StateError>("capture: recordings must not nest, got a second one on this thread");
  active_ = &recorder;
}

Recorder::Scope::~Scope() { active_ = nullptr; }

void Recorder::on_death(uint32_t serial, int32_t value) noexcept {
  if (active_ != nullptr && active_->serial_ == serial) --active_->alive_[static_cast<size_t>(value)];
}

int32_t Recorder::new_value(DType dtype, const Shape& shape) {
  alive_.push_back(0);
  return graph_.add_value(IrValue::Kind::Node, dtype, shape);
}

// A recording stays on one device. The null device stands for any; a recording of nothing else is on it, and computes nothing.
void Recorder::note_device(Device device) {
  if (device.type == DeviceType::Null) {
    if (!has_device_) graph_.device = device;
    return;
  }
  if (has_device_ && device != graph_.device) {
    fail<NotSupported>("capture: tensors of a captured function must be on one device, got ",
                       device_name(graph_.device), " and ", device_name(device));
  }
  graph_.device = device;
  has_device_ = true;
}

void Recorder::bind(TensorImpl& t, int32_t value) {
  // A tensor from outside outlives the recording by right, so it carries no value: its storage's root tells.
  if (t.capture_serial != serial_ && !made_ && outer_.count(t.storage) != 0) return;
  if (t.capture_serial == serial_) --alive_[static_cast<size_t>(t.capture_value)];
  t.capture_serial = serial_;
  t.capture_value = value;
  t.capture_version = t.storage->version.load(std::memory_order_relaxed);
  ++alive_[static_cast<size_t>(value)];
}

void Recorder::set_root(Storage& storage, int32_t value) {
  storage.capture_serial = serial_;
  storage.capture_value = value;
}

void Recorder::add_input(const Tensor& t, std::string name) {
  note_device(t->device());
  const auto known = outer_.find(t->storage);
  if (known != outer_.end()) {
    const TensorImpl& first = *known->second.root;
    if (first.offset != t->offset || first.shape != t->shape || first.strides != t->strides) {
      fail<NotSupported>("capture: arguments must not overlap in memory, got '",
                         graph_.values[static_cast<size_t>(known->second.value)].name, "' and '", name, "'");
    }
    graph_.inputs.push_back(known->second.value);
    return;
  }
  const int32_t value = new_value(t->dtype, t->shape);
  IrValue& made = graph_.values[static_cast<size_t>(value)];
  made.kind = IrValue::Kind::Input;
  made.position = static_cast<int32_t>(graph_.inputs.size());
  made.strides = t->strides;
  made.name = std::move(name);
  graph_.inputs.push_back(value);
  outer_[t->storage] = Outer{value, t};
  set_root(*t->storage, value);
}

// An argument's memory, by a tensor that is neither the argument nor made of it here?
void Recorder::note_reached(const TensorImpl& t) {
  if (t.capture_serial == serial_) return;
  const auto outer = outer_.find(t.storage);
  if (outer == outer_.end() || outer->second.root.get() == &t) return;
  const IrValue& value = graph_.values[static_cast<size_t>(outer->second.value)];
  if (value.kind == IrValue::Kind::Input) reached_.push_back(value.position);
}

int32_t Recorder::root_value(TensorImpl& t) {
  note_reached(t);
  Storage& storage = *t.storage;
  if (storage.capture_serial == serial_) return storage.capture_value;
  TensorImpl& root = *t.root();
  note_device(root.device());
  const int32_t value = new_value(root.dtype, root.shape);
  IrValue& made = graph_.values[static_cast<size_t>(value)];
  made.kind = IrValue::Kind::Captured;
  made.position = static_cast<int32_t>(graph_.captured.size());
  made.strides = root.strides;
  made.tensor = Tensor::share(&root);
  graph_.captured.push_back(value);
  outer_[&storage] = Outer{value, made.tensor};
  set_root(storage, value);
  return value;
}

bool Recorder::is_root(const TensorImpl& t, int32_t root) const {
  const IrValue& value = graph_.values[static_cast<size_t>(root)];
  if (t.dtype != value.dtype || t.shape != value.shape) return false;
  const auto outer = outer_.find(t.storage);
  if (outer == outer_.end()) return t.offset == 0 && t.contiguous;
  return t.offset == outer->second.root->offset && t.strides == outer->second.root->strides;
}

RegionAttrs Recorder::region_of(const TensorImpl& t, int32_t root) const {
  const auto outer = outer_.find(t.storage);
  const int64_t first = outer == outer_.end() ? 0 : outer->second.root->offset;
  if (outer != outer_.end() && !outer->second.root->contiguous) {
    fail<NotSupported>("capture: tensor that is written through a view must be contiguous, got strides ",
                       outer->second.root->strides, " for shape ", outer->second.root->shape, " (",
                       graph_.values[static_cast<size_t>(root)].name, ")");
  }
  // An argument stands for its own elements; of the memory around it the recording knows nothing.
  const Reach reach = reach_of(t.shape, t.strides);
  const int64_t lowest = t.offset - first + reach.lowest;
  const int64_t highest = t.offset - first + reach.highest;
  if (outer != outer_.end() && t.numel != 0 && (lowest < 0 || highest >= outer->second.root->numel)) {
    fail<NotSupported>(
        "capture: tensor that shares memory with '", graph_.values[static_cast<size_t>(outer->second.value)].name,
        "' must lie within it, got elements ", lowest, " to ", highest, " of ", outer->second.root->numel);
  }
  return {t.shape, t.strides, t.offset - first};
}

int32_t Recorder::value_of(TensorImpl& t) {
  if (t.capture_serial == serial_ && t.capture_version == t.storage->version.load(std::memory_order_relaxed)) {
    return t.capture_value;
  }
  const int32_t root = root_value(t);
  if (is_root(t, root)) {
    bind(t, root);
    return root;
  }
  const RegionAttrs region = region_of(t, root);
  IrNode& node = graph_.nodes.emplace_back();
  node.op = core_ops().as_strided;
  node.attrs = Attrs(node.op->attrs, &region);
  node.inputs.push_back(IrOperand{root, false, {}});
  const int32_t value = new_value(t.dtype, t.shape);
  graph_.define(static_cast<int32_t>(graph_.nodes.size()) - 1, value);
  bind(t, value);
  return value;
}

Recorder::Operands Recorder::operands(std::span<const Arg> args) {
  Operands out;
  out.reserve(args.size());
  for (const Arg& arg : args) {
    IrOperand& operand = out.emplace_back();
    if (arg.is_tensor()) {
      operand.value = value_of(*arg.tensor);
    } else if (arg.is_scalar()) {
      operand.is_scalar = true;
      operand.scalar = arg.scalar;
    }
  }
  return out;
}

void Recorder::write(TensorImpl& t, int32_t value) {
  const int32_t root = root_value(t);
  if (is_root(t, root)) {
    set_root(*t.storage, value);
    bind(t, value);
    return;
  }
  const RegionAttrs region = region_of(t, root);
  IrNode& node = graph_.nodes.emplace_back();
  node.op = core_ops().view_scatter;
  node.attrs = Attrs(node.op->attrs, &region);
  node.inputs = {IrOperand{root, false, {}}, IrOperand{value, false, {}}};
  const IrValue& before = graph_.values[static_cast<size_t>(root)];
  const int32_t after = new_value(before.dtype, Shape(before.shape));
  graph_.define(static_cast<int32_t>(graph_.nodes.size()) - 1, after);
  set_root(*t.storage, after);
  bind(t, value);
}

void Recorder::call(const OpDef& op, Operands operands, std::span<const Arg> args, const void* attrs,
                    std::span<const Tensor> outs) {
  const auto index = static_cast<int32_t>(graph_.nodes.size());
  IrNode& node = graph_.nodes.emplace_back();
  node.op = &op;
  node.attrs = Attrs(op.attrs, attrs);
  node.inputs = std::move(operands);
  if (origin_hooks.here != nullptr && origin_hooks.describe != nullptr) {
    const Origin origin = origin_hooks.here();
    if (origin.code != nullptr) {
      node.origin = origin_hooks.describe(origin);
      origin_hooks.release(origin.code);
    }
  }
  for (const Tensor& out : outs) {
    note_device(out->device());
    const int32_t value = new_value(out->dtype, out->shape);
    graph_.define(index, value);
    if (!op.flags.view) set_root(*out->storage, value);
    made_ = true;
    bind(*out, value);
    made_ = false;
  }
  const auto count = static_cast<int>(args.size());
  for (int i = 0; i < count; ++i) {
    const Arg& arg = args[static_cast<size_t>(i)];
    if (!arg.is_tensor() || !op.mutates_operand(attrs, i, count)) continue;
    const int32_t value = new_value(arg.tensor->dtype, arg.tensor->shape);
    graph_.define(index, value);
    write(*arg.tensor, value);
  }
}

void Recorder::call_into(const OpDef& op, Operands operands, const void* attrs, const Tensor& target) {
  const auto index = static_cast<int32_t>(graph_.nodes.size());
  IrNode& node = graph_.nodes.emplace_back();
  node.op = &op;
  node.attrs = Attrs(op.attrs, attrs);
  node.inputs = std::move(operands);
  const int32_t value = new_value(target->dtype, target->shape);
  graph_.define(index, value);
  write(*target, value);
}

void Recorder::note_grad(TensorImpl& leaf) {
  for (const Tensor& known : leaves_with_grad_) {
    if (known.get() == &leaf) return;
  }
  leaves_with_grad_.push_back(Tensor::share(&leaf));
}

void Recorder::keep(const Tensor& t) {
  const int32_t now = value_of(*t);
  if (outer_.count(t->storage) != 0) return;  // from outside already
  kept_values_.push_back(now);
  const int32_t home = new_value(t->dtype, t->shape);
  IrValue& made = graph_.values[static_cast<size_t>(home)];
  made.kind = IrValue::Kind::Captured;
  made.position = static_cast<int32_t>(graph_.captured.size());
  made.strides = t->strides;
  made.tensor = t;
  graph_.captured.push_back(home);
  graph_.assignments.push_back({home, now});
}

void Recorder::add_output(const Tensor& t) { graph_.outputs.push_back(value_of(*t)); }

std::vector<int32_t> Recorder::alive_values() const {
  std::vector<int32_t> out;
  for (size_t i = 0; i < alive_.size(); ++i) {
    if (alive_[i] > 0 && graph_.values[i].kind == IrValue::Kind::Node) out.push_back(static_cast<int32_t>(i));
  }
  return out;
}

Graph Recorder::finish() {
  for (const auto& [storage, outer] : outer_) {
    if (storage->capture_value != outer.value) graph_.assignments.push_back({outer.value, storage->capture_value});
  }
  std::sort(graph_.assignments.begin(), graph_.assignments.end(),
            [](const IrAssignment& a, const IrAssignment& b) { return a.target < b.target; });
  return std::move(graph_);
}

}  // namespace gorgo

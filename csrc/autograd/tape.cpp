// Records and the reverse loop. Reading order: Node, make_node and the record functions, then Run (the loop is Run::visit).
#include "autograd/tape.h"

#include <algorithm>
#include <atomic>

#include "autograd/accumulate.h"
#include "core/freelist.h"
#include "device/backend.h"
#include "opdef/core_ops.h"

namespace gorgo {

constinit thread_local ThreadModes thread_modes{};
OriginHooks origin_hooks{};
void (*interrupt_hook)() = nullptr;

namespace {

std::atomic<uint64_t> next_number{1};
std::atomic<int64_t> live_count{0};

// Records whose last holder has gone, waiting to be freed by the frame that freed the first one: depth costs no stack.
struct Graveyard {
  SmallVector<Node*, 16> waiting;
  bool draining = false;
};
thread_local Graveyard graveyard;

Edge edge_of(TensorImpl& t) {
  Edge edge;
  if (!t.requires_grad) return edge;
  if (t.grad_fn) {
    edge.node = t.grad_fn;
    edge.output = t.output_index;
  } else {
    edge.leaf = Tensor::share(&t);
  }
  return edge;
}

uint32_t needs_of(std::span<const Arg> args) noexcept {
  uint32_t needs = 0;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i].is_tensor() && args[i].tensor->requires_grad) needs |= 1u << std::min<size_t>(i, 31);
  }
  return needs;
}

bool mask_has(uint32_t mask, size_t i) noexcept { return ((mask >> std::min<size_t>(i, 31)) & 1u) != 0; }

uint32_t saved_mask(const OpDef& op, std::span<const Arg> args) noexcept {
  if (op.saves_inputs == 0 || op.saves_when == nullptr) return op.saves_inputs;
  return op.saves_inputs & op.saves_when(needs_of(args));
}

Ref<TapeNode> make_node(const OpDef& op, std::span<const Arg> args, std::span<const Arg> saved, const void* attrs,
                        int output_count) {
  Node* node = Node::create();
  Ref<TapeNode> owner = Ref<TapeNode>::adopt(node);
  const auto count = static_cast<int>(args.size());
  node->op = &op;
  node->number = next_number.fetch_add(1, std::memory_order_relaxed);
  node->attrs = Attrs(op.attrs, attrs);
  node->output_count = output_count;
  node->edges.reserve(count);
  node->input_metas.reserve(count);
  bool any_scalar = false;
  for (const Arg& arg : args) {
    Edge& edge = node->edges.emplace_back();
    Meta& meta = node->input_metas.emplace_back();
    any_scalar = any_scalar || arg.is_scalar();
    if (!arg.is_tensor()) continue;
    edge = edge_of(*arg.tensor);
    meta.dtype = arg.tensor->dtype;
    meta.shape = arg.tensor->shape;
  }
  if (any_scalar) {
    for (const Arg& arg : args) node->scalars.push_back(arg.is_scalar() ? arg : Arg());
  }
  const uint32_t mask = saved_mask(op, args);
  if (mask != 0) {
    node->inputs.reserve(count);
    for (size_t i = 0; i < saved.size(); ++i) {
      SavedTensor& keep = node->inputs.emplace_back();
      if (!mask_has(mask, i) || !saved[i].is_tensor()) continue;
      keep.tensor = Tensor::share(saved[i].tensor);
      keep.version = keep.tensor->storage->version.load(std::memory_order_relaxed);
    }
  }
  if (origin_hooks.here != nullptr) node->origin = origin_hooks.here();
  return owner;
}

void save_outputs(Node& node, std::span<const Tensor> outs) {
  if (node.op->saves_outputs == 0) return;
  for (size_t i = 0; i < outs.size(); ++i) {
    SavedTensor& keep = node.outputs.emplace_back();
    if (!mask_has(node.op->saves_outputs, i)) continue;
    keep.tensor = make_alias(outs[i]);
    keep.version = outs[i]->storage->version.load(std::memory_order_relaxed);
  }
}

void forget_retained(Node& node, const TensorImpl* t) {
  for (int i = 0; i < node.retained.size(); ++i) {
    if (node.retained[i] == t) {
      node.retained[i] = node.retained.back();
      node.retained.resize(node.retained.size() - 1);
      return;
    }
  }
}

void hang(TensorImpl& t, const Ref<TapeNode>& node, int32_t output) {
  if (t.retains_grad && t.grad_fn) forget_retained(*static_cast<Node*>(t.grad_fn.get()), &t);
  t.grad_fn = node;
  t.output_index = output;
  t.requires_grad = true;
  t.tape_version = t.storage->version.load(std::memory_order_relaxed);
  if (t.retains_grad) static_cast<Node*>(node.get())->retained.push_back(&t);
}

RegionAttrs region_of(const TensorImpl& view) { return {view.shape, view.strides, view.offset - view.base->offset}; }

void derive_from_base(TensorImpl& view) {
  const OpDef& op = *core_ops().as_strided;
  const RegionAttrs region = region_of(view);
  const Arg base[1] = {Arg(view.base)};
  hang(view, make_node(op, base, base, &region, 1), 0);
}

void retained_death(TensorImpl& t) noexcept {
  if (t.grad_fn) forget_retained(*static_cast<Node*>(t.grad_fn.get()), &t);
}

}  // namespace

Node* Node::create() {
  Node* node = new (FreeList<Node>::take()) Node;
  live_count.fetch_add(1, std::memory_order_relaxed);
  return node;
}

void Node::destroy(Node* node) noexcept {
  if (node->origin.code != nullptr && origin_hooks.release != nullptr) origin_hooks.release(node->origin.code);
  node->~Node();
  FreeList<Node>::give(node);
  live_count.fetch_sub(1, std::memory_order_relaxed);
}

void Node::dispose() noexcept {
  Graveyard& yard = graveyard;
  if (yard.draining) {
    yard.waiting.push_back(this);
    return;
  }
  yard.draining = true;
  destroy(this);
  while (!yard.waiting.empty()) {
    Node* next = yard.waiting.back();
    yard.waiting.resize(yard.waiting.size() - 1);
    destroy(next);
  }
  yard.draining = false;
}

int64_t live_records() noexcept { return live_count.load(std::memory_order_relaxed); }

bool saves_input(const OpDef& op, std::span<const Arg> args, int i) noexcept {
  return mask_has(saved_mask(op, args), static_cast<size_t>(i));
}

void record(const OpDef& op, std::span<const Arg> args, const void* attrs, std::span<const Tensor> outs) {
  if (std::none_of(outs.begin(), outs.end(), [](const Tensor& t) { return is_inexact(t->dtype); })) return;
  const Ref<TapeNode> node = make_node(op, args, args, attrs, static_cast<int>(outs.size()));
  save_outputs(*static_cast<Node*>(node.get()), outs);
  for (size_t i = 0; i < outs.size(); ++i) {
    if (is_inexact(outs[i]->dtype)) hang(*outs[i], node, static_cast<int32_t>(i));
  }
}

void record_inplace(const OpDef& op, std::span<const Arg> args, std::span<const Arg> saved, const void* attrs,
                    const Tensor& target) {
  if (!is_inexact(target->dtype)) return;
  const Ref<TapeNode> node = make_node(op, args, saved, attrs, 1);
  save_outputs(*static_cast<Node*>(node.get()), {&target, 1});
  if (!target->base || target->detached) {
    hang(*target, node, 0);
    return;
  }
  // The base's new value is its old one with this region replaced; the view is cut from that.
  TensorImpl& base = *target->base;
  const RegionAttrs region = region_of(*target);
  const Arg operands[2] = {Arg(&base), Arg(target)};
  const Ref<TapeNode> scatter = make_node(*core_ops().view_scatter, operands, {}, &region, 1);
  Edge& source = static_cast<Node*>(scatter.get())->edges[1];
  source = Edge{};
  source.node = node;
  hang(base, scatter, 0);
  derive_from_base(*target);
}

void refresh_view(TensorImpl& view) {
  if (!view.base || view.detached) return;
  const uint32_t version = view.storage->version.load(std::memory_order_relaxed);
  if (view.tape_version == version) return;
  view.tape_version = version;
  if (view.base->requires_grad) derive_from_base(view);
}

void retain_grad(TensorImpl& t) {
  refresh_view(t);
  if (!t.requires_grad) fail<StateError>("retain_grad: tensor must require grad, got shape ", t.shape, " without");
  if (t.is_leaf() || t.retains_grad) return;
  retained_death_hook = &retained_death;
  t.retains_grad = true;
  static_cast<Node*>(t.grad_fn.get())->retained.push_back(&t);
}

namespace {

// Finds a record's place among the entries of one backward run. A small graph is looked through, which costs less than
// clearing a table; a larger one has an index by open addressing.
constexpr int kFewEntries = 16;
template <class Entry>
class Places {
 public:
  explicit Places(const SmallVector<Entry, kFewEntries>& entries) noexcept : entries_(entries) {}

  // The record's place, or -1.
  [[nodiscard]] int32_t find(const Node* node) const {
    if (slots_.empty()) {
      for (int i = 0; i < entries_.size(); ++i) {
        if (entries_[i].record() == node) return i;
      }
      return -1;
    }
    const Slot& slot = slots_[probe(node)];
    return slot.node != nullptr ? slot.place : -1;
  }
  // After an entry was appended.
  void note_last() {
    const int count = entries_.size();
    if (count <= kFewEntries) return;
    if (count * 2 > slots_.size()) {
      rebuild();
    } else {
      const Node* node = entries_[count - 1].record();
      slots_[probe(node)] = {node, count - 1};
    }
  }
  // After the entries have changed places.
  void rebuild() {
    const int count = entries_.size();
    if (count <= kFewEntries) return;
    int size = 8 * kFewEntries;
    while (size < count * 4) size *= 2;  // a quarter full at most, half when it is next made anew
    slots_.clear();
    slots_.resize(size);
    for (int i = 0; i < count; ++i) slots_[probe(entries_[i].record())] = {entries_[i].record(), i};
  }

 private:
  struct Slot {
    const Node* node = nullptr;
    int32_t place = 0;
  };
  [[nodiscard]] int probe(const Node* node) const {
    const int mask = slots_.size() - 1;
    int i = static_cast<int>((reinterpret_cast<uintptr_t>(node) >> 6) * 0x9e3779b97f4a7c15ull >> 20) & mask;
    while (slots_[i].node != nullptr && slots_[i].node != node) i = (i + 1) & mask;
    return i;
  }

  const SmallVector<Entry, kFewEntries>& entries_;
  SmallVector<Slot, 1> slots_;
};

// One backward run: the reachable records in falling number order, each with the gradients gathered for its outputs.
class Run {
 public:
  Run(std::span<const Tensor> roots, const BackwardOptions& options) : options_(options) {
    SmallVector<Node*, 32> stack;
    const auto reach = [&](TapeNode* tape_node) {
      auto* node = static_cast<Node*>(tape_node);
      if (places_.find(node) >= 0) return;
      Entry& entry = entries_.emplace_back();
      entry.node = Ref<TapeNode>::share(node);
      entry.sums.resize(node->output_count);
      places_.note_last();
      stack.push_back(node);
    };
    for (const Tensor& root : roots) {
      if (root->grad_fn) reach(root->grad_fn.get());
    }
    while (!stack.empty()) {
      const Node* node = stack.back();
      stack.resize(stack.size() - 1);
      for (const Edge& edge : node->edges) {
        if (edge.node) reach(edge.node.get());
      }
    }
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.number() > b.number(); });
    places_.rebuild();
  }

  // Restricts the run to what leads to `inputs`, whose gradients it collects instead of summing into leaves.
  void want(std::span<const Tensor> inputs) {
    collecting_ = true;
    for (const Tensor& t : inputs) wanted_.push_back(Wanted{t, {}});
    for (int i = entries_.size(); i-- > 0;) {
      Entry& entry = entries_[i];
      entry.useful = false;
      for (const Wanted& w : wanted_) entry.useful = entry.useful || w.tensor->grad_fn == entry.node;
      for (const Edge& edge : entry.record()->edges) {
        if (edge.node) entry.useful = entry.useful || entry_of(edge.node).useful;
        if (edge.leaf) entry.useful = entry.useful || wanted_leaf(edge.leaf.get()) != nullptr;
      }
    }
  }

  // Hands a gradient to whatever made tensor value (node, output), or to the leaf.
  void deliver(const Ref<TapeNode>& node, int32_t output, const Tensor& leaf, Tensor g) {
    if (node) {
      entry_of(node).sums[output].add(std::move(g), options_.create_graph);
    } else if (!collecting_) {
      accumulate_grad(*leaf, std::move(g), options_.create_graph);
    } else if (Wanted* w = wanted_leaf(leaf.get())) {
      w->sum.add(std::move(g), options_.create_graph);
    }
  }

  void run() {
    const GradMode mode(options_.create_graph);
    for (Entry& entry : entries_) {
      if (interrupt_hook != nullptr) interrupt_hook();
      if (entry.useful) visit(entry);
      entry.sums.clear();
    }
  }

  SmallVector<Tensor, 2> collected() {
    SmallVector<Tensor, 2> out;
    for (Wanted& w : wanted_) out.push_back(std::move(w.sum.value));
    return out;
  }

 private:
  struct Entry {
    Ref<TapeNode> node;
    SmallVector<GradSum, 1> sums;
    bool useful = true;
    [[nodiscard]] Node* record() const { return static_cast<Node*>(node.get()); }
    [[nodiscard]] uint64_t number() const { return record()->number; }
  };
  struct Wanted {
    Tensor tensor;
    GradSum sum;
  };

  Entry& entry_of(const Ref<TapeNode>& node) { return entries_[places_.find(static_cast<Node*>(node.get()))]; }

  Wanted* wanted_leaf(const TensorImpl* leaf) {
    for (Wanted& w : wanted_) {
      if (!w.tensor->grad_fn && w.tensor.get() == leaf) return &w;
    }
    return nullptr;
  }

  // One record: its outputs' gradients in, its inputs' gradients out.
  void visit(Entry& entry) {
    Node& node = *entry.record();
    SmallVector<Tensor, 2> grads;
    bool any = false;
    for (GradSum& sum : entry.sums) {
      any = any || static_cast<bool>(sum.value);
      grads.push_back(std::move(sum.value));
    }
    if (!any) return;
    for (TensorImpl* t : node.retained) {
      if (grads[t->output_index]) accumulate_grad(*t, grads[t->output_index], options_.create_graph);
    }
    for (Wanted& w : wanted_) {
      if (w.tensor->grad_fn == entry.node && grads[w.tensor->output_index]) w.sum.value = grads[w.tensor->output_index];
    }
    if (node.released) {
      fail<StateError>("backward: graph must not have been freed by an earlier backward, got ", node.op->name,
                       place(node), " (pass retain_graph=True to the first)");
    }
    if (node.op->vjp == nullptr) {
      fail<NotSupported>(
          node.op->name, ": op must be differentiable to be in a backward pass", place(node), ", got none: ",
          node.op->not_differentiable != nullptr ? node.op->not_differentiable : "it has no gradient rule");
    }
    const auto count = static_cast<size_t>(node.edges.size());
    SmallVector<Tensor, 4> inputs;
    SmallVector<Tensor, 2> outputs;
    SmallVector<bool, 4> needs;
    SmallVector<Tensor, 4> result;
    result.resize(node.edges.size());
    for (const Edge& edge : node.edges) needs.push_back(edge.wanted());
    for (SavedTensor& saved : node.inputs) inputs.push_back(unpack(node, saved, "input"));
    for (SavedTensor& saved : node.outputs) outputs.push_back(unpack(node, saved, "output"));
    if (options_.create_graph) {  // a saved output stands in the graph where this record put it
      for (int i = 0; i < outputs.size(); ++i) {
        if (!outputs[i] || !is_inexact(outputs[i]->dtype)) continue;
        outputs[i] = make_alias(outputs[i]);
        hang(*outputs[i], entry.node, i);
      }
    }
    VjpContext context{*node.op};
    context.attrs = node.attrs.get();
    context.grads = {grads.data(), static_cast<size_t>(grads.size())};
    context.inputs = {inputs.data(), static_cast<size_t>(inputs.size())};
    context.args = {node.scalars.data(), static_cast<size_t>(node.scalars.size())};
    context.outputs = {outputs.data(), static_cast<size_t>(outputs.size())};
    context.input_metas = {node.input_metas.data(), count};
    context.needs = {needs.data(), count};
    context.result = {result.data(), count};
    context.create_graph = options_.create_graph;
    node.op->vjp(context);
    for (int i = 0; i < node.edges.size(); ++i) {
      const Edge& edge = node.edges[i];
      if (!edge.wanted() || !result[i]) continue;
      const Meta& meta = node.input_metas[i];
      if (result[i]->shape != meta.shape) {
        fail<StateError>(node.op->name, ": gradient of operand ", i, " must have shape ", meta.shape, ", got ",
                         result[i]->shape, place(node));
      }
      deliver(edge.node, edge.output, edge.leaf, cast_to(std::exchange(result[i], Tensor()), meta.dtype));
    }
    if (!options_.retain_graph) release(node);
  }

  static std::string place(const Node& node) {
    if (node.origin.code == nullptr || origin_hooks.describe == nullptr) return "";
    return " at " + origin_hooks.describe(node.origin);
  }

  static Tensor unpack(const Node& node, const SavedTensor& saved, const char* role) {
    if (!saved.tensor) return {};
    const uint32_t now = saved.tensor->storage->version.load(std::memory_order_relaxed);
    if (now != saved.version) {
      fail<StateError>("backward: ", role, " saved by ", node.op->name, place(node),
                       " must not be modified in place before backward, got ", now - saved.version,
                       " write(s) since (shape ", saved.tensor->shape, ", dtype ", saved.tensor->dtype, ")");
    }
    return saved.tensor;
  }

  static void release(Node& node) {
    node.released = true;
    node.inputs.clear();
    node.outputs.clear();
  }

  BackwardOptions options_;
  SmallVector<Entry, kFewEntries> entries_;
  Places<Entry> places_{entries_};
  SmallVector<Wanted, 2> wanted_;
  bool collecting_ = false;
};

Tensor first_gradient(const Tensor& root, const Tensor& given, const char* op) {
  refresh_view(*root);
  if (!root->requires_grad) {
    if (root->from_compiled) {
      fail<StateError>(op, ": tensor must have a record, got the result of a compiled function (shape ", root->shape,
                       "; call backward inside the compiled function)");
    }
    fail<StateError>(op, ": tensor must require grad, got one that does not (shape ", root->shape, ")");
  }
  if (given) {
    if (given->shape != root->shape) {
      fail<ValueError>(op, ": gradient must have the tensor's shape ", root->shape, ", got ", given->shape);
    }
    return cast_to(given, root->dtype);
  }
  if (root->numel != 1) {
    fail<StateError>(op, ": gradient must be given for a tensor of other than one element, got shape ", root->shape);
  }
  Tensor one = make_tensor(root->shape, root->dtype, root->device());
  const GradMode off(false);
  assign(one, Arg(is_complex(root->dtype) ? Scalar::of_complex({1.0, 0.0}) : Scalar::of_float(1.0)));
  return one;
}

}  // namespace

void backward(std::span<const Tensor> roots, std::span<const Tensor> grads, const BackwardOptions& options) {
  const DeviceScope scope(roots.empty() ? kCpu : roots[0]->device());
  SmallVector<Tensor, 2> first;
  for (size_t i = 0; i < roots.size(); ++i) {
    first.push_back(first_gradient(roots[i], i < grads.size() ? grads[i] : Tensor(), "backward"));
  }
  Run run(roots, options);
  for (size_t i = 0; i < roots.size(); ++i) {
    run.deliver(roots[i]->grad_fn, roots[i]->output_index, roots[i],
                std::exchange(first[static_cast<int>(i)], Tensor()));
  }
  run.run();
}

SmallVector<Tensor, 2> gradient(std::span<const Tensor> roots, std::span<const Tensor> grads,
                                std::span<const Tensor> inputs, const BackwardOptions& options) {
  const DeviceScope scope(roots.empty() ? kCpu : roots[0]->device());
  SmallVector<Tensor, 2> first;
  for (size_t i = 0; i < roots.size(); ++i) {
    first.push_back(first_gradient(roots[i], i < grads.size() ? grads[i] : Tensor(), "grad"));
  }
  for (const Tensor& t : inputs) {
    refresh_view(*t);
    if (!t->requires_grad)
      fail<StateError>("grad: inputs must require grad, got one that does not (shape ", t->shape, ")");
  }
  Run run(roots, options);
  run.want(inputs);
  for (size_t i = 0; i < roots.size(); ++i) {
    run.deliver(roots[i]->grad_fn, roots[i]->output_index, roots[i],
                std::exchange(first[static_cast<int>(i)], Tensor()));
  }
  run.run();
  return run.collected();
}

}  // namespace gorgo

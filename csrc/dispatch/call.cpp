// The funnel. See call.h for the order of things in one call.
#include "dispatch/call.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "autograd/accumulate.h"
#include "autograd/interrupt.h"
#include "autograd/tape.h"
#include "core/promotion.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "graph/capture.h"
#include "memory/block_pool.h"
#include "opdef/core_ops.h"
#include "opdef/enqueue.h"
#include "opdef/profile.h"

namespace gorgo {

HostLock host_lock{};

namespace {

// From this many elements on, a kernel takes long enough that letting other threads run pays for itself.
constexpr int64_t kUnlockElements = 1 << 16;
constexpr double kUnlockFlops = 1e6;

[[gnu::cold, gnu::noinline]] void refuse_devices(const OpDef& op, Device a, Device b) {
  fail<ValueError>(op.name, ": operands must be on one device, got ", device_name(a), " and ", device_name(b));
}

Device device_of(const OpDef& op, std::span<const Arg> args) {
  const TensorImpl* first = nullptr;
  for (const Arg& arg : args) {
    if (!arg.is_tensor()) continue;
    if (first == nullptr) {
      first = arg.tensor;
    } else if (first->device() != arg.tensor->device()) {
      refuse_devices(op, first->device(), arg.tensor->device());
    }
  }
  return first != nullptr ? first->device() : thread_device;
}

// Brings views behind a write up to date and tells whether any operand wants a gradient.
bool wants_record(std::span<const Arg> args) {
  if (!thread_modes.grad_enabled) return false;
  bool any = false;
  for (const Arg& arg : args) {
    if (!arg.is_tensor()) continue;
    TensorImpl& t = *arg.tensor;
    if (t.base && !t.detached && t.tape_version != t.storage->version.load(std::memory_order_relaxed)) refresh_view(t);
    any = any || t.requires_grad;
  }
  return any;
}

GORGO_INLINE void describe(KOperand& operand, const TensorImpl& t) {
  operand.data = t.numel != 0 ? t.data() : nullptr;
  operand.shape = t.shape.data();
  operand.strides = t.strides.data();
  operand.numel = t.numel;
  operand.rank = t.shape.size();
  operand.dtype = t.dtype;
  operand.contiguous = t.contiguous;
  operand.scalar = t.shape.empty();
  operand.given = true;
}

// What a kernel is called with; holds the scalar operands' bytes.
struct Frame {
  SmallVector<KOperand, 8> operands;
  SmallVector<Element, 4> elements;
  KernelArgs args;
  Fault fault;

  Frame(const OpDef& op, std::span<const Arg> in, DType compute_dtype, std::span<const Tensor> outs,
        const void* attrs) {
    const auto count = static_cast<int>(in.size());
    operands.reserve(count + static_cast<int>(outs.size()));
    elements.reserve(count);
    for (const Arg& arg : in) {
      KOperand& operand = operands.emplace_back();
      if (arg.is_tensor()) {
        describe(operand, *arg.tensor);
      } else if (arg.is_scalar()) {
        Element& element = elements.emplace_back();
        store_scalar(op.operand_of(arg.scalar), compute_dtype, op.name, element.bytes);
        operand.data = element.bytes;
        operand.numel = 1;
        operand.dtype = compute_dtype;
        operand.scalar = true;
        operand.host = true;
      } else {
        operand.given = false;
      }
    }
    for (const Tensor& out : outs) describe(operands.emplace_back(), *out);
    args.in = operands.data();
    args.out = operands.data() + count;
    args.in_count = count;
    args.out_count = static_cast<int32_t>(outs.size());
    args.attrs = attrs;
    args.fault = &fault;
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  Frame(Frame&&) = delete;
  Frame& operator=(Frame&&) = delete;
  ~Frame() = default;
};

[[gnu::cold, gnu::noinline]] void refuse_dtype(const OpDef& op, Device device, DType dtype) {
  fail<TypeError>(op.name, ": dtype must have a kernel on ", device_name(device), ", got ", dtype);
}

bool is_long(const OpDef& op, const KernelArgs& args) {
  int64_t most = 0;
  for (int i = 0; i < args.in_count + args.out_count; ++i) most = std::max(most, args.in[i].numel);
  if (most >= kUnlockElements) return true;
  return !op.flags.elementwise && op.cost != nullptr && op.cost(args).flops > kUnlockFlops;
}

// Lets other threads of the host run while it lives, where it is worth that and the lock was held.
class HostUnlocked {
 public:
  explicit HostUnlocked(bool worth) noexcept
      : state_(worth && host_lock.release != nullptr ? host_lock.release() : nullptr) {}
  HostUnlocked(const HostUnlocked&) = delete;
  HostUnlocked& operator=(const HostUnlocked&) = delete;
  HostUnlocked(HostUnlocked&&) = delete;
  HostUnlocked& operator=(HostUnlocked&&) = delete;
  ~HostUnlocked() {
    if (state_ != nullptr) host_lock.reacquire(state_);
  }
  [[nodiscard]] bool released() const noexcept { return state_ != nullptr; }

 private:
  void* state_;
};

void launch(const OpDef& op, const Kernel& kernel, Frame& frame) {
  {
    const HostUnlocked unlocked(host_lock.release != nullptr && is_long(op, frame.args));
    const ProfiledKernel profiled(op, frame.args, false);
    run_kernel(kernel, frame.args, unlocked.released());
  }
  if (frame.fault.code() != 0) op.raise_fault(frame.fault, frame.args);
}

void enqueue(const OpDef& op, const Kernel& kernel, Frame& frame, std::span<const Arg> in, std::span<const Tensor> outs,
             Device device) {
  const uint64_t stream = current_stream(device);
  for (const Arg& arg : in) {
    if (arg.is_tensor()) note_stream(*arg.tensor->storage, stream);
  }
  for (const Tensor& out : outs) note_stream(*out->storage, stream);
  const ProfiledKernel profiled(op, frame.args, false);
  enqueue_kernel(op, kernel, frame.args, device);
}

void execute(const OpDef& op, std::span<const Arg> in, DType compute_dtype, std::span<const Tensor> outs,
             const void* attrs, Device device) {
  if (device.type == DeviceType::Null) {
    ++null_counters().launches;
    return;
  }
  const Kernel* kernel = op.kernels[static_cast<int>(device.type)][static_cast<int>(compute_dtype)];
  if (kernel == nullptr) [[unlikely]]
    refuse_dtype(op, device, compute_dtype);
  Frame frame(op, in, compute_dtype, outs, attrs);
  if (device.type == DeviceType::Cuda) {
    enqueue(op, *kernel, frame, in, outs, device);
    return;
  }
  launch(op, *kernel, frame);
}

// The elements of a tensor as they come, on another device.
void transfer(const Tensor& from, const Tensor& to, bool non_blocking) {
  if (from->numel == 0 || from->device().type == DeviceType::Null || to->device().type == DeviceType::Null) return;
  const Tensor source = contiguous_of(from);
  if (from->device() == to->device()) return assign(to, Arg(source));
  const auto bytes = static_cast<size_t>(source->numel * dtype_size(source->dtype));
  if (from->device().type == DeviceType::Cuda) raise_device_faults(from->device());
  const HostUnlocked unlocked(true);
  // Of little pageable memory, such as the pool's, the driver has taken a copy when it returns.
  constexpr size_t kTaken_bytes = size_t{64} << 10;
  const bool early = non_blocking || (source->storage->block != nullptr && bytes <= kTaken_bytes);
  cuda_copy(to->data(), to->device(), source->data(), source->device(), bytes,
            early ? CopyReturns::Early : CopyReturns::Done);
}

// Converts the operands that infer wants in compute_dtype. Most calls need none.
struct CastArgs {
  SmallVector<Arg, 4> args;
  SmallVector<Tensor, 2> owned;
  std::span<const Arg> view;

  explicit CastArgs(const InferContext& context) : view(context.in) {
    bool any = false;
    for (size_t i = 0; i < view.size(); ++i) any = any || must_cast(context, i);
    if (!any) return;
    for (size_t i = 0; i < view.size(); ++i) {
      if (must_cast(context, i)) {
        owned.push_back(cast_to(Tensor::share(view[i].tensor), context.compute_dtype));
        args.push_back(Arg(owned.back()));
      } else {
        args.push_back(view[i]);
      }
    }
    view = {args.data(), static_cast<size_t>(args.size())};
  }

 private:
  static bool must_cast(const InferContext& context, size_t i) {
    return context.in[i].is_tensor() && context.in[i].tensor->dtype != context.compute_dtype &&
           ((context.cast_mask >> std::min<size_t>(i, 31)) & 1u) != 0;
  }
};

// ---- writes ----

void check_writable(const OpDef& op, const TensorImpl& t) {
  if (t.storage->read_only) {
    fail<ValueError>(op.name, ": target must be writable, got a tensor over read-only memory (copy it first)");
  }
  for (int i = 0; i < t.rank(); ++i) {
    if (t.strides[i] == 0 && t.shape[i] > 1) {
      fail<ValueError>(op.name, ": target must have distinct elements, got an expanded tensor of shape ", t.shape,
                       " with stride 0 on axis ", i, " (copy it first)");
    }
  }
  if (!thread_modes.grad_enabled) return;
  const bool itself = t.requires_grad && t.is_leaf();
  if (itself || (t.base && !t.detached && t.base->requires_grad && t.base->is_leaf())) {
    fail<StateError>(op.name, ": target must not be a leaf that requires grad", itself ? "" : " nor a view of one",
                     ", got shape ", t.shape, " (write under gorgo.no_grad())");
  }
}

struct Extent {
  int64_t first = 0;
  int64_t last = 0;
};

Extent extent_of(const TensorImpl& t) {
  const Reach reach = reach_of(t.shape, t.strides);
  const int64_t size = dtype_size(t.dtype);
  return {(t.offset + reach.lowest) * size, (t.offset + reach.highest + 1) * size};
}

bool same_elements(const TensorImpl& a, const TensorImpl& b) {
  return a.offset == b.offset && a.dtype == b.dtype && a.shape == b.shape && (a.contiguous || a.strides == b.strides);
}

// May the kernel write the target while it reads its operands?
bool direct_write_is_safe(const OpDef& op, std::span<const Arg> args, const TensorImpl& target) {
  if (!op.flags.elementwise && !target.contiguous) return false;
  for (size_t i = 0; i < args.size(); ++i) {
    if (!args[i].is_tensor() || args[i].tensor->storage != target.storage || args[i].tensor->numel == 0) continue;
    const TensorImpl& t = *args[i].tensor;
    if (same_elements(t, target) && (op.flags.elementwise || (op.flags.inplace_ok && i == 0))) continue;
    const Extent a = extent_of(t);
    const Extent b = extent_of(target);
    if (a.first < b.last && b.first < a.last) return false;
  }
  return true;
}

// ---- the calls ----

void infer_counts(const OpDef& op, InferContext& context, Device device, int64_t (&counts)[4]) {
  if (Recorder::active() != nullptr) {
    fail<StateError>(op.name, ": shape must not depend on values in a captured function, got operand 0 of shape ",
                     context.shape(0));
  }
  if (device.type == DeviceType::Null)
    fail<StateError>(op.name, ": values must exist, got a tensor on the null device");
  const DType dtype = context.dtype(0);
  const Kernel* kernel = op.count_kernels[static_cast<int>(device.type)][static_cast<int>(dtype)];
  if (kernel == nullptr) refuse_dtype(op, device, dtype);
  Frame frame(op, context.in, dtype, {}, context.attrs);
  const int64_t shape[1] = {4};
  const int64_t strides[1] = {1};
  KOperand& out = frame.operands.emplace_back();
  out.data = counts;
  out.shape = shape;
  out.strides = strides;
  out.numel = 4;
  out.rank = 1;
  out.dtype = DType::Int64;
  frame.args.in = frame.operands.data();
  frame.args.out = frame.operands.data() + frame.args.in_count;
  frame.args.out_count = 1;
  if (device.type == DeviceType::Cuda) {
    const Tensor found = make_tensor({4}, DType::Int64, device);
    out.data = found->data();
    use_cuda_device(device);
    check_cuda(cuda_driver->fill(out.data, 0, sizeof counts, current_stream(device)), op.name);
    enqueue(op, *kernel, frame, context.in, {}, device);
    cuda_copy(counts, kCpu, found->data(), device, sizeof counts);
  } else {
    launch(op, *kernel, frame);
  }
  context.counts = counts;
}

void mark_written(const OpDef& op, std::span<const Arg> args, const void* attrs) {
  const auto count = static_cast<int>(args.size());
  for (int i = 0; i < count; ++i) {
    if (args[static_cast<size_t>(i)].is_tensor() && op.mutates_operand(attrs, i, count)) {
      args[static_cast<size_t>(i)].tensor->storage->bump_version();
    }
  }
}

void check_written(const OpDef& op, std::span<const Arg> args, const void* attrs) {
  const auto count = static_cast<int>(args.size());
  for (int i = 0; i < count; ++i) {
    if (args[static_cast<size_t>(i)].is_tensor() && op.mutates_operand(attrs, i, count)) {
      check_writable(op, *args[static_cast<size_t>(i)].tensor);
    }
  }
}

void infer(const OpDef& op, InferContext& context) {
  try {
    op.infer(context);
  } catch (const NoCommonDType& error) {
    fail<TypeError>(op.name, ": ", error.what());
  }
}

// The body of call and call1: appends the outputs to `outs`, anything with push_back and a span of tensors.
template <class Outs>
GORGO_INLINE void run(const OpDef& op, std::span<const Arg> args, const void* attrs, Outs& outs) {
  const Device device = device_of(op, args);
  const bool recording = wants_record(args);
  int64_t counts[4] = {0, 0, 0, 0};
  InferContext context{op, args, attrs};
  context.device = device;
  if (op.flags.data_dependent) [[unlikely]]
    infer_counts(op, context, device, counts);
  infer(op, context);

  if (op.flags.view) {
    Recorder* recorder = Recorder::active();
    Recorder::Operands operands;
    if (recorder != nullptr) operands = recorder->operands(args);
    TensorImpl& of = *args[0].tensor;
    for (const OutSpec& spec : context.out) {
      Tensor view = make_view(of, spec.shape, spec.strides, spec.offset);
      if (!thread_modes.grad_enabled && of.root()->requires_grad) view->detached = true;
      outs.push_back(std::move(view));
    }
    if (recording) record(op, args, attrs, outs.span());
    if (recorder != nullptr) recorder->call(op, std::move(operands), args, attrs, outs.span());
    return;
  }

  const CastArgs cast(context);
  Recorder* recorder = Recorder::active();
  Recorder::Operands operands;
  if (recorder != nullptr) [[unlikely]]
    operands = recorder->operands(cast.view);
  const bool writes = op.mutates_any();
  if (writes) check_written(op, cast.view, attrs);
  for (const OutSpec& spec : context.out) outs.push_back(make_tensor(spec.shape, spec.dtype, context.device));
  if (op.flags.transfer) [[unlikely]] {
    transfer(Tensor::share(cast.view[0].tensor), outs.span()[0], context.non_blocking);
  } else {
    execute(op, cast.view, context.compute_dtype, outs.span(), attrs, device);
  }
  if (writes) mark_written(op, cast.view, attrs);
  if (recording) record(op, cast.view, attrs, outs.span());
  if (recorder != nullptr) [[unlikely]]
    recorder->call(op, std::move(operands), cast.view, attrs, outs.span());
}

struct OneOutput {
  const OpDef& op;
  Tensor out;
  void push_back(Tensor t) {
    if (out) [[unlikely]]
      fail<StateError>(op.name, ": call must be one for several outputs, got one for a single output");
    out = std::move(t);
  }
  [[nodiscard]] std::span<const Tensor> span() const { return {&out, static_cast<size_t>(out ? 1 : 0)}; }
};

struct ManyOutputs {
  Outputs outs;
  void push_back(Tensor t) { outs.push_back(std::move(t)); }
  [[nodiscard]] std::span<const Tensor> span() const { return {outs.data(), static_cast<size_t>(outs.size())}; }
};

Tensor call1(const OpDef& op, std::span<const Arg> args, const void* attrs) {
  OneOutput one{op, {}};
  run(op, args, attrs, one);
  return std::move(one.out);
}

Outputs call(const OpDef& op, std::span<const Arg> args, const void* attrs) {
  ManyOutputs many;
  run(op, args, attrs, many);
  return std::move(many.outs);
}

// Raises the version also when the write breaks off: at a fault, or at Ctrl-C.
struct Written {
  const Tensor& target;
  ~Written() { target->storage->bump_version(); }
};

void call_into(const OpDef& op, std::span<const Arg> args, const void* attrs, const Tensor& target) {
  check_writable(op, *target);
  const bool any_tensor = std::any_of(args.begin(), args.end(), [](const Arg& a) { return a.is_tensor(); });
  const Device device = any_tensor ? device_of(op, args) : target->device();
  if (device != target->device()) refuse_devices(op, device, target->device());
  bool recording = wants_record(args);
  if (thread_modes.grad_enabled) {
    const Arg itself[1] = {Arg(target)};
    recording = wants_record(itself) || recording;
  }
  InferContext context{op, args, attrs};
  infer(op, context);
  OutSpec& spec = context.out[0];
  if (&op == core_ops().copy && args[0].is_scalar()) {  // an assigned number takes the target's dtype and shape
    spec.dtype = context.compute_dtype = target->dtype;
    spec.shape = target->shape;
  }
  if (spec.dtype != target->dtype) {
    fail<TypeError>(op.name, ": result must have the target's dtype ", target->dtype, " to be written in place, got ",
                    spec.dtype);
  }
  if (spec.shape != target->shape) {
    fail<ValueError>(op.name, ": result must have the target's shape ", target->shape, " to be written in place, got ",
                     spec.shape);
  }
  const CastArgs cast(context);
  Recorder* recorder = Recorder::active();
  Recorder::Operands operands;
  if (recorder != nullptr) operands = recorder->operands(cast.view);
  // What the record needs of the target's old elements must be kept before they go.
  SmallVector<Arg, 4> saved{cast.view};
  SmallVector<Tensor, 2> kept;
  for (int i = 0; recording && i < saved.size(); ++i) {
    if (!saved[i].is_tensor() || saved[i].tensor->storage != target->storage || !saves_input(op, cast.view, i))
      continue;
    const TensorImpl& old = *saved[i].tensor;
    // The copy of a leaf is an op on that leaf, for gradients of gradients.
    const GradMode mode(old.requires_grad && old.is_leaf());
    Tensor copy = copy_of(Tensor::share(saved[i].tensor));
    if (old.grad_fn) {  // the copy stands in the graph where the old value stood, for gradients of gradients
      copy->grad_fn = old.grad_fn;
      copy->output_index = old.output_index;
      copy->requires_grad = true;
    }
    kept.push_back(std::move(copy));
    saved[i] = Arg(kept.back());
  }
  if (direct_write_is_safe(op, cast.view, *target)) {
    const Written written{target};
    execute(op, cast.view, context.compute_dtype, {&target, 1}, attrs, device);
  } else {
    const Tensor fresh = make_tensor(spec.shape, spec.dtype, device);
    execute(op, cast.view, context.compute_dtype, {&fresh, 1}, attrs, device);
    const Arg from[1] = {Arg(fresh)};
    const Written written{target};
    execute(*core_ops().copy, from, spec.dtype, {&target, 1}, nullptr, device);
  }
  if (recorder != nullptr) recorder->call_into(op, std::move(operands), attrs, target);
  if (recording) {
    record_inplace(op, cast.view, {saved.data(), static_cast<size_t>(saved.size())}, attrs, target);
  } else if (target->base) {
    target->tape_version = target->storage->version.load(std::memory_order_relaxed);
  }
}

}  // namespace

void run_kernel(const Kernel& kernel, const KernelArgs& given, bool is_long) {
  KernelArgs args = given;
  struct Scratch {
    Block* block = nullptr;
    ~Scratch() {
      if (block != nullptr) cpu_pool().release(block);
    }
  } scratch;
  if (kernel.scratch_bytes != nullptr) {
    const size_t bytes = kernel.scratch_bytes(args);
    if (bytes != 0) {
      scratch.block = cpu_pool().allocate(bytes);
      args.scratch = scratch.block->data;
    }
  }
  for (int i = 0; i < kernel.phase_count; ++i) {
    const Phase& phase = kernel.phases[i];
    const int64_t tasks = phase.tasks != nullptr ? phase.tasks(args) : 1;
    run_phase(phase, args, tasks, is_long);
  }
}

void install_funnel() {
  funnel = {&call, &call1, &call_into};
  leaf_grad_hook = [](TensorImpl& leaf) {
    if (Recorder* recorder = Recorder::active()) recorder->note_grad(leaf);
  };
}

}  // namespace gorgo

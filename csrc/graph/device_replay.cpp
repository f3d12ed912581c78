// Replays on a device with streams: a program's steps as launches, or as a device graph captured from them.
//
// Invariants: a device graph is launched only for the key it was captured or updated with: every address and number in
// it that may change. Steps that touch the same bytes, one of them writing, are never side by side in a graph.
// Read next: plan.h (Context, Replay), order.h (who waits for whom), opdef/enqueue.h (one kernel's launch).
#include <algorithm>
#include <bit>
#include <utility>

#include "core/float32_mode.h"
#include "device/cuda/device.h"
#include "graph/plan.h"
#include "opdef/profile.h"

namespace gorgo {
namespace {

// In place of a step's number: a part of a key that concerns all of them.
constexpr int32_t kEveryStep = -1;

}  // namespace

void Program::Replay::forget() noexcept {
  if (executable != 0) static_cast<void>(cuda_driver->destroy_executable(executable));
  if (graph != 0) static_cast<void>(cuda_driver->destroy_graph(graph));
  executable = graph = 0;
  nodes.clear();
}

void Program::enqueue_step(Context& context, size_t s, uint64_t stream) const {
  const Plan::Step& step = plan_->steps[s];
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
                                      [](int32_t at, const Plan::Step& step) { return at < step.first_operand; });
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
  const Plan::Step& step = plan_->steps[s];
  const KernelArgs& args = context.args[s];
  std::vector<Access> touched;
  touched.reserve(static_cast<size_t>(args.in_count + args.out_count) + 1);
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

}  // namespace gorgo

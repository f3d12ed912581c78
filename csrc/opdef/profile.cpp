#include "opdef/profile.h"

#include <mutex>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/clock.h"

namespace gorgo {

std::atomic<bool> profiling{false};

namespace {

struct Recording {
  std::mutex mutex;
  Profile profile;
  int64_t most = 0;
  std::atomic<bool> shapes{false};
  std::atomic<int32_t> threads{0};
};

// Never destroyed: a thread may end a kernel while the process ends.
Recording& recording() {
  static Recording& it = *new Recording;
  return it;
}

int32_t thread_number() noexcept {
  static thread_local const int32_t number = recording().threads.fetch_add(1);
  return number;
}

void append_shapes(std::string& text, const KOperand* operands, int count) {
  for (int i = 0; i < count; ++i) {
    if (i > 0) text += ", ";
    text += '(';
    for (int axis = 0; axis < operands[i].rank; ++axis) {
      if (axis > 0) text += ", ";
      text += std::to_string(operands[i].shape[axis]);
    }
    text += operands[i].rank == 1 ? ",)" : ")";
  }
}

std::string shapes_of(const KernelArgs& args) {
  std::string text;
  append_shapes(text, args.in, args.in_count);
  text += text.empty() ? "-> " : " -> ";
  append_shapes(text, args.out, args.out_count);
  return text;
}

}  // namespace

void start_profile(int64_t most, bool shapes) {
  if (most < 0) fail<ValueError>("profile: max_events must be at least 0, got ", most);
  Recording& r = recording();
  const std::lock_guard lock(r.mutex);
  if (profiling.load()) fail<StateError>("profile: no other profile must be under way, got one that has not ended");
  r.profile = {};
  r.most = most;
  r.shapes = shapes;
  r.profile.start_ns = now_ns();
  profiling.store(true);
}

Profile stop_profile() {
  Recording& r = recording();
  const std::lock_guard lock(r.mutex);
  if (!profiling.exchange(false)) fail<StateError>("profile: one must be under way to be ended, got none");
  r.profile.duration_ns = now_ns() - r.profile.start_ns;
  return std::exchange(r.profile, {});
}

void ProfiledKernel::begin(const OpDef& op, const KernelArgs& args, bool replayed) noexcept {
  op_ = &op;
  args_ = &args;
  replayed_ = replayed;
  start_ns_ = now_ns();
}

void ProfiledKernel::end() noexcept {
  const int64_t end_ns = now_ns();
  int64_t bytes = 0;
  for (int i = 0; i < args_->in_count; ++i) bytes += args_->in[i].numel * dtype_size(args_->in[i].dtype);
  for (int i = 0; i < args_->out_count; ++i) bytes += args_->out[i].numel * dtype_size(args_->out[i].dtype);
  const double flops = op_->cost != nullptr ? op_->cost(*args_).flops : 0.0;
  const int32_t thread = thread_number();
  Recording& r = recording();
  const std::lock_guard lock(r.mutex);
  // A kernel that began before this profile, or ends after it, belongs to none.
  if (!profiling.load() || start_ns_ < r.profile.start_ns) return;
  if (static_cast<int64_t>(r.profile.events.size()) >= r.most) {
    ++r.profile.dropped;
    return;
  }
  try {
    r.profile.events.push_back({op_, start_ns_, end_ns - start_ns_, bytes, flops, thread, replayed_,
                                r.shapes.load() ? shapes_of(*args_) : std::string()});
  } catch (...) {
    ++r.profile.dropped;
  }
}

}  // namespace gorgo

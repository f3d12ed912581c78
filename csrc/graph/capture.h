// The recorder: what passes the funnel while it is active becomes IR.
//
// A tensor carries the IR value it stands for (capture_serial, capture_value, capture_version); a storage carries the value of
// its root. A view whose storage was written since derives itself anew from the root's value. Tensors from outside become
// captured values, one per storage. Invariant: the recorder never changes what is computed; it only watches.
// Read next: ir.h, executor.h, dispatch/call.cpp (who calls it), bindings/compiled_function.cpp (who starts it).
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <unordered_map>

#include "graph/ir.h"
#include "opdef/core_ops.h"

namespace gorgo {

// Raised by whatever may change what a recording would have looked like: train/eval, requires_grad_, hooks, parameter groups,
// precision. A replay compares one integer and looks closer only when it moved.
extern std::atomic<uint64_t> configuration_epoch;
inline void bump_configuration_epoch() noexcept { configuration_epoch.fetch_add(1, std::memory_order_relaxed); }

class Recorder {
 public:
  Recorder();
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // The recorder of this thread, or null.
  [[nodiscard]] static Recorder* active() noexcept { return active_; }
  // Watches this thread while it lives. StateError when one is active already.
  class Scope {
   public:
    explicit Scope(Recorder& recorder);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

  // Looks away while it lives: what runs then is no part of the recording.
  class Pause {
   public:
    Pause() noexcept : paused_(active_) { active_ = nullptr; }
    ~Pause() { active_ = paused_; }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    Recorder* paused_;
  };

  // Declares an argument of the captured function.
  void add_input(const Tensor& t, std::string name);
  // Declares a result.
  void add_output(const Tensor& t);

  // For the funnel. Operands are resolved before the op runs, outputs noted after.
  using Operands = std::vector<IrOperand>;
  [[nodiscard]] Operands operands(std::span<const Arg> args);
  // A call with new outputs; `args` are the same as for operands(), for ops that write some of them.
  void call(const OpDef& op, Operands operands, std::span<const Arg> args, const void* attrs,
            std::span<const Tensor> outs);
  // A call whose result was assigned to `target`.
  void call_into(const OpDef& op, Operands operands, const void* attrs, const Tensor& target);

  // For the tape: a leaf received a gradient.
  void note_grad(TensorImpl& leaf);
  [[nodiscard]] const std::vector<Tensor>& leaves_with_grad() const noexcept { return leaves_with_grad_; }
  // Makes a tensor that was made here outlive the recording: runs will write its elements.
  void keep(const Tensor& t);
  [[nodiscard]] const std::vector<int32_t>& values_of_kept() const noexcept { return kept_values_; }
  // Was the value of this tensor computed in this recording (or given as its argument)? Reading it would bake it in.
  [[nodiscard]] bool made_here(const TensorImpl& t) const noexcept {
    return t.capture_serial == serial_ || t.storage->capture_serial == serial_;
  }

  // Positions of the arguments whose memory the code reached by other tensors from outside as well: the recording holds for these
  // arguments alone.
  [[nodiscard]] const std::vector<int32_t>& reached_arguments() const noexcept { return reached_; }

  // Is t a view of a tensor that an op made in this recording?
  [[nodiscard]] bool view_of_made(const TensorImpl& t) const noexcept {
    return t.base && t.base->capture_serial == serial_;
  }

  // The IR value that this tensor holds now.
  [[nodiscard]] int32_t value_of(TensorImpl& t);
  // Values made while recording whose tensors are alive still (escapes, unless they are results).
  [[nodiscard]] std::vector<int32_t> alive_values() const;
  [[nodiscard]] uint32_t serial() const noexcept { return serial_; }

  // Ends the recording: writes to captured storages become assignments.
  [[nodiscard]] Graph finish();

 private:
  static void on_death(uint32_t serial, int32_t value) noexcept;
  int32_t new_value(DType dtype, const Shape& shape);
  void bind(TensorImpl& t, int32_t value);
  void note_device(Device device);
  void note_reached(const TensorImpl& t);
  // The value of the whole storage behind t, captured now if it comes from outside.
  int32_t root_value(TensorImpl& t);
  // Is t all of its storage's root?
  [[nodiscard]] bool is_root(const TensorImpl& t, int32_t root) const;
  [[nodiscard]] RegionAttrs region_of(const TensorImpl& t, int32_t root) const;
  // t's elements now stand in `value`: the root's value follows.
  void write(TensorImpl& t, int32_t value);
  void set_root(Storage& storage, int32_t value);

  // What is known of a storage that did not come out of an op here.
  struct Outer {
    int32_t value = -1;  // its Captured or Input value
    Tensor root;         // keeps it alive
  };

#if defined(__linux__)
  [[gnu::tls_model("initial-exec")]]
#endif
  static constinit thread_local Recorder* active_;
  uint32_t serial_;
  bool has_device_ = false;
  Graph graph_;
  std::vector<int32_t> alive_;  // per value: live tensors that hold it
  std::unordered_map<Storage*, Outer> outer_;
  std::vector<Tensor> leaves_with_grad_;
  std::vector<int32_t> kept_values_;
  std::vector<int32_t> reached_;
  bool made_ = false;  // bind() is called for a tensor that an op here made
};

}  // namespace gorgo

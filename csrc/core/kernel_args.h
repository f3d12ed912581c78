// What a kernel is and what it sees: a list of phases over tasks, and one plain struct of operands.
//
// On CUDA a phase is one task that enqueues work on args.stream and returns; the same rules hold for it.
// Invariants (DESIGN "kernels are dumb"): a kernel never allocates, waits, throws, logs or reads the environment. Its task
// counts depend on shapes alone. Only the funnel and the executor call parallel_for. Bad data goes to `fault`.
// Inputs come with their own shape and strides: broadcasting against the output is the kernel's affair (kernels/move.h).
// Outputs are contiguous unless the op is called in place, when output i may be strided or share memory exactly with an input.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace gorgo {

struct KOperand {
  void* data = nullptr;  // first element (offset applied); null for an optional input not given, or when numel is 0
  const int64_t* shape = nullptr;
  const int64_t* strides = nullptr;  // in elements
  int64_t numel = 0;
  int32_t rank = 0;
  DType dtype = DType::Float32;
  bool contiguous = true;
  bool scalar = false;  // one element that stands for every position (a Python scalar or a rank-0 tensor)
  bool given = true;    // false for an optional input that is absent
  bool host = false;  // data lies in host memory whatever the device: a Python scalar, read when the kernel is launched

  template <class T>
  [[nodiscard]] GORGO_INLINE T* as() const noexcept {
    return static_cast<T*>(data);
  }
};

// Where the element at a position, counted in row-major order, lies.
[[nodiscard]] GORGO_INLINE int64_t offset_of(const KOperand& x, int64_t position) noexcept {
  if (x.contiguous) return position;
  int64_t offset = 0;
  for (int32_t i = x.rank - 1; i >= 0; --i) {
    offset += position % x.shape[i] * x.strides[i];
    position /= x.shape[i];
  }
  return offset;
}

// Bad data found inside a kernel. The offender with the lowest position wins, whatever the threads do.
class Fault {
 public:
  // `position` orders offenders (usually the element's flat index); code 0 means none. Figures are for the message.
  GORGO_INLINE void report(int64_t position, int32_t code, int64_t a = 0, int64_t b = 0) noexcept {
    while (lock_.test_and_set(std::memory_order_acquire)) {
    }
    if (code_ == 0 || position < position_) {
      position_ = position;
      code_ = code;
      figures_[0] = a;
      figures_[1] = b;
    }
    lock_.clear(std::memory_order_release);
  }
  [[nodiscard]] GORGO_INLINE int32_t code() const noexcept { return code_; }
  [[nodiscard]] GORGO_INLINE int64_t position() const noexcept { return position_; }
  [[nodiscard]] GORGO_INLINE int64_t figure(int i) const noexcept { return figures_[i]; }
  GORGO_INLINE void clear() noexcept { code_ = 0; }

 private:
  int64_t position_ = 0;
  int64_t figures_[2] = {0, 0};
  int32_t code_ = 0;
  std::atomic_flag lock_ = ATOMIC_FLAG_INIT;
};

// What a kernel on a device reports, in its memory; the host reads it at the next synchronization. All zeros: nothing.
struct DeviceFault {
  int64_t position;
  int64_t figures[2];
  int32_t code;
  int32_t lock;
};

struct KernelArgs {
  const KOperand* in = nullptr;
  const KOperand* out = nullptr;
  int32_t in_count = 0;
  int32_t out_count = 0;
  const void* attrs = nullptr;
  void* scratch = nullptr;  // 64-byte aligned, of the size that Kernel::scratch_bytes asked for
  // Scratch stays as it is between runs, for what the kernel makes there of the operand that Kernel::keeps names; and it has that
  // from an earlier run.
  bool keeps = false;
  bool prepared = false;
  Fault* fault = nullptr;
  // On a device with streams: the one in whose order the kernel runs, and where the kernel reports (device memory).
  void* stream = nullptr;
  void* device_fault = nullptr;

  template <class A>
  [[nodiscard]] GORGO_INLINE const A& attrs_as() const noexcept {
    return *static_cast<const A*>(attrs);
  }
};

struct Phase {
  void (*run)(const KernelArgs& args, int64_t task) noexcept = nullptr;
  int64_t (*tasks)(const KernelArgs& args) noexcept = nullptr;  // null means one task
};

struct Kernel {
  static constexpr int kMaxPhases = 4;
  Phase phases[kMaxPhases];
  int32_t phase_count = 0;
  size_t (*scratch_bytes)(const KernelArgs& args) noexcept = nullptr;  // null means none
  // The operand of which the first phase makes something in scratch that later phases only read, so that it need not be made again while
  // operand and scratch stay; -1 where these shapes have none. Null means never.
  int32_t (*keeps)(const KernelArgs& args) noexcept = nullptr;
  bool keeps_alone = false;       // the first phase does nothing else
  bool epilogue_is_free = false;  // of an op with an epilogue: it is applied in registers, as results are stored

  [[nodiscard]] GORGO_INLINE static constexpr Kernel of(Phase a) { return {{a}, 1, nullptr}; }
  [[nodiscard]] GORGO_INLINE static constexpr Kernel of(Phase a, Phase b,
                                                        size_t (*scratch)(const KernelArgs&) noexcept = nullptr) {
    return {{a, b}, 2, scratch};
  }
};

// Where a family's kernel file puts what it has: called once per ISA at import, for CUDA at its first use.
class KernelSink {
 public:
  virtual void add(const char* op, DType dtype, const Kernel& kernel) = 0;
  // What stands there, from the set below: for kernels that leave some shapes to it.
  [[nodiscard]] virtual const Kernel& below(const char* op, DType dtype) const = 0;

 protected:
  ~KernelSink() = default;
};

}  // namespace gorgo

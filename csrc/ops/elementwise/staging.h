// Running a loop over the operands of a kernel, whatever their layout and their storage types.
//
// Each (op, compute type) is one loop over contiguous memory. Everything else is done around it, once for all ops:
// operands that are broadcast, strided or of a storage type (halves, small integers, bool) are staged through a buffer
// of one chunk that stays in the first-level cache. So an op costs one small function per compute type, and its bits
// depend neither on layout nor on alignment nor on how the work is cut into tasks, which is by element count alone.
// For kernel files (compiled per ISA). Read next: lanes.h and walking.h (what this stands on), kernels_cpu.cpp.
#pragma once

#include "ops/elementwise/walking.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

// What is done with a run of n elements, each operand's side by side: a loop, or what knows more than elements.
struct Work {
  using Visit = void (*)(void* self, const void* const* in, void* const* out, int64_t n) noexcept;
  Loop loop = nullptr;
  Visit visit = nullptr;
  void* self = nullptr;

  GORGO_INLINE void operator()(const void* const* in, void* const* out, int64_t n) const noexcept {
    if (loop != nullptr) return loop(in, out, n);
    visit(self, in, out, n);
  }
};

// Operands on their way through chunks, each with who hands it out or takes it in.
struct Staged {
  const KOperand* const* in;
  Reader* readers;
  int in_count;
  const KOperand* out;
  Writer* writers;
  int out_count;
  bool raw;       // nothing is widened or narrowed
  int64_t chunk;  // the most elements to a run
};
// Does the work of one task, every element once. An output's run is written when the operands' have been read, so it may
// lie where an operand of its layout does.
void run_chunks(const Staged& staged, int64_t task, const Work& work) noexcept;

namespace {

inline int64_t tasks_of(const KernelArgs& args) noexcept {
  return (args.out[0].numel + kTaskElements - 1) / kTaskElements;
}

// Of all operands, how many bytes the largest elements take up; those that are not raw, in their compute type.
template <int In, int Out>
GORGO_INLINE int64_t largest_element(const KernelArgs& args, bool raw) noexcept {
  int64_t largest = 1;
  const auto count = [&](DType d) {
    const int64_t size = raw ? dtype_size(d) : class_bytes(class_of(d));
    if (size > largest) largest = size;
  };
  for (int i = 0; i < In; ++i) count(args.in[i].dtype);
  for (int i = 0; i < Out; ++i) count(args.out[i].dtype);
  return largest;
}

template <int In, int Out>
[[gnu::noinline]] void run_staged(const KernelArgs& args, int64_t task, Loop loop, bool raw) noexcept {
  Reader readers[In];
  Writer writers[Out];
  const KOperand* in[In];
  for (int i = 0; i < In; ++i) in[i] = &args.in[i];
  const Staged staged{in, readers, In, args.out, writers, Out, raw, chunk_of(largest_element<In, Out>(args, raw))};
  run_chunks(staged, task, {.loop = loop});
}

// Operands in order beside single elements, all of compute types: `2 * x`, which must cost no more than `x * x`.
template <int In, int Out>
[[gnu::noinline]] void run_beside_scalars(const KernelArgs& args, Loop loop, int64_t begin, int64_t end) noexcept {
  Buffer repeated[In];
  const void* in[In];
  void* out[Out];
  int64_t in_step[In];
  const int64_t chunk = chunk_of(largest_element<In, Out>(args, true));
  const int64_t first = end - begin < chunk ? end - begin : chunk;
  const int64_t total = args.out[0].numel;
  for (int i = 0; i < In; ++i) {
    const KOperand& operand = args.in[i];
    const int64_t size = dtype_size(operand.dtype);
    if (operand.contiguous && operand.numel == total) {
      in[i] = static_cast<const unsigned char*>(operand.data) + begin * size;
      in_step[i] = chunk * size;
    } else {
      repeat_element(operand.data, repeated[i].bytes, size, first);
      in[i] = repeated[i].bytes;
      in_step[i] = 0;
    }
  }
  for (int i = 0; i < Out; ++i) {
    out[i] = static_cast<unsigned char*>(args.out[i].data) + begin * dtype_size(args.out[i].dtype);
  }
  for (int64_t at = begin;;) {
    const int64_t n = end - at < chunk ? end - at : chunk;
    loop(in, out, n);
    at += n;
    if (at >= end) return;
    for (int i = 0; i < In; ++i) in[i] = static_cast<const unsigned char*>(in[i]) + in_step[i];
    for (int i = 0; i < Out; ++i) {
      out[i] = static_cast<unsigned char*>(out[i]) + chunk * dtype_size(args.out[i].dtype);
    }
  }
}

template <int In, int Out>
GORGO_INLINE void run_loop(const KernelArgs& args, int64_t task, Loop loop, bool raw, bool direct) noexcept {
  const int64_t total = args.out[0].numel;
  const int64_t begin = task * kTaskElements;
  const int64_t end = total - begin < kTaskElements ? total : begin + kTaskElements;
  if (begin >= end) return;
  bool in_order = direct;
  bool any_scalar = false;
  for (int i = 0; i < In; ++i) {
    const bool whole = args.in[i].contiguous && args.in[i].numel == total;
    any_scalar = any_scalar || !whole;
    in_order = in_order && (whole || is_single(args.in[i]));
  }
  for (int i = 0; i < Out; ++i) in_order = in_order && args.out[i].contiguous;
  if (__builtin_expect(!in_order, 0)) return run_staged<In, Out>(args, task, loop, raw);
  if (any_scalar) return run_beside_scalars<In, Out>(args, loop, begin, end);
  const void* in[In];
  void* out[Out];
  for (int i = 0; i < In; ++i) {
    in[i] = static_cast<const unsigned char*>(args.in[i].data) + begin * dtype_size(args.in[i].dtype);
  }
  for (int i = 0; i < Out; ++i) {
    out[i] = static_cast<unsigned char*>(args.out[i].data) + begin * dtype_size(args.out[i].dtype);
  }
  loop(in, out, end - begin);
}

// Shared per shape of signature, so that a kernel of an op is only a jump with its loop as argument.
template <int In, int Out, bool Raw, bool Direct>
[[gnu::noinline]] void run_shared(const KernelArgs& args, int64_t task, Loop loop) noexcept {
  run_loop<In, Out>(args, task, loop, Raw, Direct);
}

template <class S>
constexpr bool kIsDirect = std::is_same_v<typename ElementOf<S>::Type, ComputeOf<S>>;

// ---- the table ----

// Not inlined: there are some thousand calls.
[[gnu::noinline]] inline void add(KernelSink& sink, const char* name, DType dtype,
                                  void (*run)(const KernelArgs&, int64_t) noexcept) {
  sink.add(name, dtype, Kernel::of({run, tasks_of}));
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

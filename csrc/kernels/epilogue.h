// Epilogues on the CPU: one more phase over what the op has stored.
//
// For kernel files (compiled per ISA). Invariant: bit for bit what the elementwise op makes of the stored result; a saved value is the
// last operand, of any strides and of any shape that has as many elements. Read next: core/epilogue.h.
#pragma once

#include <type_traits>

#include "core/counts.h"
#include "core/epilogue.h"
#include "core/kernel_args.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kEpilogueTask = 16384;  // elements

inline int64_t epilogue_tasks(const KernelArgs& args) noexcept { return ceil_div(args.out[0].numel, kEpilogueTask); }

// 16-bit floats are compared as float, which is exact; what passes keeps its bits.
template <class S, Epilogue kEpilogue>
void run_epilogue(const KernelArgs& args, int64_t task) noexcept {
  using C = std::conditional_t<sizeof(S) == 2, float, S>;
  const int64_t begin = task * kEpilogueTask;
  const int64_t end = least(args.out[0].numel, begin + kEpilogueTask);
  S* const out = args.out[0].as<S>();
  if constexpr (kEpilogue == Epilogue::Relu) {
    for (int64_t i = begin; i < end; ++i) out[i] = static_cast<C>(out[i]) < C{0} ? S{} : out[i];
  } else {
    const KOperand& saved = args.in[args.in_count - 1];
    const S* const from = saved.as<const S>();
    for (int64_t i = begin; i < end; ++i) {
      out[i] = static_cast<C>(from[offset_of(saved, i)]) <= C{0} ? S{} : out[i];
    }
  }
}

template <class S, Epilogue kEpilogue>
Kernel with_epilogue(Kernel kernel) noexcept {
  kernel.phases[kernel.phase_count++] = {run_epilogue<S, kEpilogue>, epilogue_tasks};
  return kernel;
}

// Both epilogues of an op; a null name leaves one out.
template <class S>
void add_with_epilogues(KernelSink& sink, const Kernel& kernel, const char* relu, const char* relu_backward) {
  if (relu != nullptr) sink.add(relu, kDTypeOf<S>, with_epilogue<S, Epilogue::Relu>(kernel));
  if (relu_backward != nullptr) sink.add(relu_backward, kDTypeOf<S>, with_epilogue<S, Epilogue::ReluBackward>(kernel));
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

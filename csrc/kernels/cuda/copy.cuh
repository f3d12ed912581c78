// A copy between operands, for launchers of any family.
// Read next: copy.cu.
#pragma once

#include "core/kernel_args.h"

namespace gorgo::cuda {

// From one operand to another of the same dtype and shape, in the order of args.stream. Any strides, zero and negative too;
// `from` may be broadcast, or a number on the host. The two are one memory with one layout, or do not overlap.
void copy_operand(const KernelArgs& args, const KOperand& to, const KOperand& from) noexcept;

}  // namespace gorgo::cuda

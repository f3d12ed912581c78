// Which steps of a program must wait for which: what a device graph needs to run the others side by side.
//
// Invariant: addresses alone decide, so that tensors which share memory are seen whatever they are called.
// Read next: device_replay.cpp (Program::capture).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernel_args.h"

namespace gorgo {

// Bytes that a step may touch: [first, end).
struct Access {
  uintptr_t first = 0;
  uintptr_t end = 0;
  bool writes = false;
};

// Is there a byte that both may touch?
[[nodiscard]] bool meet(const Access& a, const Access& b) noexcept;

// The bytes from the operand's lowest element to its highest; empty for one that is not given, is empty, or lies on the host
// beside the step.
[[nodiscard]] Access access_of(const KOperand& operand, bool writes) noexcept;

// For each step, in rising order, the earlier ones that it must wait for: those that touch the same bytes, one of the two
// writing, less those that another of them waits for anyway. Quadratic in the steps.
[[nodiscard]] std::vector<std::vector<int32_t>> predecessors(std::span<const std::vector<Access>> steps);

}  // namespace gorgo

// Offline arena planning: given when each buffer lives, where it lies in one shared arena.
//
// Invariant: two buffers whose lives share a step never share a byte, every offset is a multiple of the alignment, and
// the same input always gives the same plan. Pure: no device, no allocator.
// Read next: plan.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gorgo {

// Steps are indexes into a program; both ends belong to the life.
struct BufferLife {
  size_t bytes;
  int32_t first;
  int32_t last;
};

struct ArenaPlan {
  std::vector<size_t> offsets;   // one per buffer; 0 for an empty one
  size_t total_bytes = 0;        // size of the arena
  size_t lower_bound_bytes = 0;  // most bytes alive at one step: no plan can be smaller
};

// ValueError for first > last or an alignment that is no power of two, OverflowError when the sizes do not add up in
// size_t.
ArenaPlan plan_arena(std::span<const BufferLife> lives, size_t alignment = 64);

// StateError naming the two buffers when live ones overlap, or one is misaligned or outside the arena. Written apart
// from plan_arena, so that one checks the other.
void verify_plan(std::span<const BufferLife> lives, const ArenaPlan& plan, size_t alignment = 64);

}  // namespace gorgo

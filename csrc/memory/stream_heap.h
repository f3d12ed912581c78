// All that one stream's blocks come from: a LargeHeap, and slabs carved from its blocks for the small sizes.
//
// Invariants: a slab is a large block in use; it is in the open list of its class exactly when it has a free block and
// is not the spare. A slab without blocks in use becomes the spare of its class, and goes back to the large heap when
// there is one already. No lock, no raw allocator: the pool brings both.
// Read next: stream_heap.cpp, large_heap.h.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "memory/large_heap.h"
#include "memory/size_class.h"

namespace gorgo {

struct Slab {
  LargeBlock* backing;
  Block* blocks;  // room for `total`, made as they are first needed
  Block* free_head;
  uint32_t total;
  uint32_t carved;
  uint32_t given;  // not here: in use or in a front
  uint8_t klass;
  bool open;
  Slab* before;  // in the open list
  Slab* after;
};

class StreamHeap {
 public:
  // `clock` counts releases over all heaps of the pool; it orders free segments by age.
  StreamHeap(uint64_t stream, uint64_t& clock) noexcept : stream_(stream), clock_(clock) {}

  // A block of the class, or of the capacity for kLargeClass; null if neither slabs nor free blocks have one.
  Block* take(uint8_t klass, size_t capacity, bool cut_any) noexcept;
  // A small block from the slabs there are, or null.
  Block* take_small(uint8_t klass) noexcept;
  // The same out of a large block just obtained, which becomes the block or its slab; null if there is no room for the
  // bookkeeping.
  Block* take_from(LargeBlock* fresh, uint8_t klass) noexcept;
  void give(Block* block) noexcept;
  // Slabs kept although nothing uses them become free large blocks.
  void drop_spare_slabs() noexcept;

  uint64_t stream() const noexcept { return stream_; }
  LargeHeap& large() noexcept { return large_; }
  size_t free_bytes() const noexcept { return slab_free_bytes_ + large_.free_bytes(); }
  size_t largest_free_bytes() const noexcept;
  template <class F>
  void for_each_in_use(F&& visit) const;

 private:
  void open(Slab* slab) noexcept;
  void close(Slab* slab) noexcept;
  void drop(Slab* slab) noexcept;

  const uint64_t stream_;
  uint64_t& clock_;
  LargeHeap large_;
  size_t slab_free_bytes_ = 0;  // in slabs, and neither in use nor in a front
  std::array<Slab*, kSmallClasses> open_{};
  std::array<Slab*, kSmallClasses> spare_{};
};

template <class F>
void StreamHeap::for_each_in_use(F&& visit) const {
  for (const Segment* segment = large_.segments(); segment != nullptr; segment = segment->all_after) {
    for (const LargeBlock* block = segment->first; block != nullptr; block = block->after) {
      if (!block->is_slab) {
        if (block->in_use) visit(*block);
        continue;
      }
      const auto* slab = static_cast<const Slab*>(block->home);
      std::for_each_n(slab->blocks, slab->carved, [&](const Block& small) {
        if (small.in_use) visit(small);
      });
    }
  }
}

}  // namespace gorgo

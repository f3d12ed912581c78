// Segments from the raw allocator, cut into blocks and joined again: best fit, for one stream.
//
// Invariants: the blocks of a segment tile it in address order, and no two free ones touch; every capacity is a
// multiple of 4 KiB; every free block is in the bin of its size, and a segment is in the list of free ones exactly when
// a single free block spans it. No lock, no raw allocator: the pool brings both.
// Read next: large_heap.cpp, block_pool.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "memory/block_pool.h"

namespace gorgo {

struct Segment;

struct LargeBlock : Block {
  size_t capacity;
  Segment* segment;
  LargeBlock* before;  // neighbours by address
  LargeBlock* after;
  LargeBlock* bin_before;  // neighbours in the bin
  LargeBlock* bin_after;
  bool is_free;
};

struct Segment {
  char* base;
  size_t bytes;
  LargeBlock* first;
  uint64_t free_since;  // tick of the heap when it last became free
  Segment* older;       // in the list of free segments
  Segment* newer;
  Segment* all_before;  // in the list of all
  Segment* all_after;
  bool is_free;
};

class LargeHeap {
 public:
  LargeHeap() = default;
  ~LargeHeap();
  LargeHeap(const LargeHeap&) = delete;
  LargeHeap& operator=(const LargeHeap&) = delete;

  // The smallest free block that holds the capacity, cut to it; null if there is none. A very large block is not cut
  // for a request many times smaller (which would pin it) unless cut_any.
  LargeBlock* take(size_t capacity, bool cut_any) noexcept;
  // Joins with free neighbours. `tick` orders segments by when they became free.
  void give(LargeBlock* block, uint64_t tick) noexcept;
  // Takes up memory from the raw allocator and returns it as one block in use, cut to the capacity; null (and the
  // memory stays the caller's) if there is no room for the bookkeeping.
  LargeBlock* add_segment(void* base, size_t bytes, size_t capacity, uint64_t stream) noexcept;

  // The segment that has been free for longest, or null.
  Segment* oldest_free() const noexcept { return oldest_; }
  // Forgets a free segment, whose memory is the caller's again; the object is freed by destroy_segment.
  void detach(Segment* segment) noexcept;
  static void destroy_segment(Segment* segment) noexcept;

  size_t free_bytes() const noexcept { return free_bytes_; }
  size_t largest_free_bytes() const noexcept;
  Segment* segments() const noexcept { return segments_; }

 private:
  static constexpr size_t kBins = 416;

  static size_t bin_of(size_t capacity) noexcept;
  void bin_insert(LargeBlock* block) noexcept;
  void bin_remove(LargeBlock* block) noexcept;
  size_t next_bin(size_t from) const noexcept;
  void cut(LargeBlock* block, size_t capacity) noexcept;
  void free_list_insert(Segment* segment, uint64_t tick) noexcept;
  void free_list_remove(Segment* segment) noexcept;
  LargeBlock* new_block() noexcept;
  void retire_block(LargeBlock* block) noexcept;

  std::array<LargeBlock*, kBins> bins_{};
  std::array<uint64_t, kBins / 64 + 1> occupied_{};
  size_t free_bytes_ = 0;
  Segment* oldest_ = nullptr;
  Segment* newest_ = nullptr;
  Segment* segments_ = nullptr;
  LargeBlock* spare_ = nullptr;  // bookkeeping objects to use again, through `after`
};

}  // namespace gorgo

#include "memory/large_heap.h"

#include <algorithm>
#include <bit>
#include <new>

#include "memory/size_class.h"

namespace gorgo {
namespace {

// A free block of 64 MiB or more is kept whole for requests of at least a sixteenth of it: cutting 1 MiB off would
// leave the next request for the whole without a block, and the segment pinned by a crumb.
constexpr size_t kKeepWholeFrom_bytes = size_t{64} << 20;
constexpr size_t kKeepWholeRatio = 16;

}  // namespace

LargeHeap::~LargeHeap() {
  while (segments_ != nullptr) {
    Segment* segment = segments_;
    segments_ = segment->all_after;
    for (LargeBlock* block = segment->first; block != nullptr;) {
      LargeBlock* after = block->after;
      delete block;
      block = after;
    }
    delete segment;
  }
  while (spare_ != nullptr) {
    LargeBlock* block = spare_;
    spare_ = block->after;
    delete block;
  }
}

// Eight bins to each doubling of the number of 4 KiB steps; the first fifteen sizes have one each.
size_t LargeHeap::bin_of(size_t capacity) noexcept {
  const size_t steps = capacity / kLargeStep_bytes;
  if (steps < 16) return steps;
  const int shift = static_cast<int>(std::bit_width(steps)) - 4;
  return static_cast<size_t>(shift) * 8 + (steps >> shift);
}

void LargeHeap::bin_insert(LargeBlock* block) noexcept {
  const size_t bin = bin_of(block->capacity);
  block->is_free = true;
  block->bin_before = nullptr;
  block->bin_after = bins_[bin];
  if (bins_[bin] != nullptr) bins_[bin]->bin_before = block;
  bins_[bin] = block;
  occupied_[bin / 64] |= uint64_t{1} << (bin % 64);
  free_bytes_ += block->capacity;
}

void LargeHeap::bin_remove(LargeBlock* block) noexcept {
  const size_t bin = bin_of(block->capacity);
  if (block->bin_before != nullptr) {
    block->bin_before->bin_after = block->bin_after;
  } else {
    bins_[bin] = block->bin_after;
    if (bins_[bin] == nullptr) occupied_[bin / 64] &= ~(uint64_t{1} << (bin % 64));
  }
  if (block->bin_after != nullptr) block->bin_after->bin_before = block->bin_before;
  block->is_free = false;
  free_bytes_ -= block->capacity;
}

// First bin at or above `from` that holds a block; kBins if there is none.
size_t LargeHeap::next_bin(size_t from) const noexcept {
  for (size_t word = from / 64; word < occupied_.size(); ++word) {
    uint64_t bits = occupied_[word];
    if (word == from / 64) bits &= ~uint64_t{0} << (from % 64);
    if (bits != 0) return word * 64 + static_cast<size_t>(std::countr_zero(bits));
  }
  return kBins;
}

LargeBlock* LargeHeap::take(size_t capacity, bool cut_any) noexcept {
  LargeBlock* best = nullptr;
  // Only the request's own bin can hold blocks that are too small; any block of a later bin fits, and the first such
  // bin has the best.
  const size_t own = bin_of(capacity);
  for (size_t bin = next_bin(own); bin < kBins && best == nullptr; bin = next_bin(bin + 1)) {
    for (LargeBlock* block = bins_[bin]; block != nullptr; block = block->bin_after) {
      if (block->capacity < capacity) continue;
      if (best == nullptr || block->capacity < best->capacity) best = block;
      if (best->capacity == capacity) break;
    }
  }
  if (best == nullptr) return nullptr;
  if (!cut_any && best->capacity >= kKeepWholeFrom_bytes && best->capacity / kKeepWholeRatio > capacity) return nullptr;
  bin_remove(best);
  if (best->segment->is_free) free_list_remove(best->segment);
  cut(best, capacity);
  return best;
}

void LargeHeap::cut(LargeBlock* block, size_t capacity) noexcept {
  if (block->capacity == capacity) return;
  LargeBlock* rest = new_block();
  if (rest == nullptr) return;  // no room for bookkeeping: hand out the whole
  rest->segment = block->segment;
  rest->stream = block->stream;
  rest->data = static_cast<char*>(block->data) + capacity;
  rest->capacity = block->capacity - capacity;
  rest->before = block;
  rest->after = block->after;
  if (rest->after != nullptr) rest->after->before = rest;
  block->after = rest;
  block->capacity = capacity;
  bin_insert(rest);
}

void LargeHeap::give(LargeBlock* block, uint64_t tick) noexcept {
  if (LargeBlock* after = block->after; after != nullptr && after->is_free) {
    bin_remove(after);
    block->capacity += after->capacity;
    block->after = after->after;
    if (block->after != nullptr) block->after->before = block;
    retire_block(after);
  }
  if (LargeBlock* before = block->before; before != nullptr && before->is_free) {
    bin_remove(before);
    before->capacity += block->capacity;
    before->after = block->after;
    if (before->after != nullptr) before->after->before = before;
    retire_block(block);
    block = before;
  }
  bin_insert(block);
  if (block->before == nullptr && block->after == nullptr) free_list_insert(block->segment, tick);
}

LargeBlock* LargeHeap::add_segment(void* base, size_t bytes, size_t capacity, uint64_t stream) noexcept {
  Segment* segment = new (std::nothrow) Segment{};
  LargeBlock* block = segment == nullptr ? nullptr : new_block();
  if (block == nullptr) {
    delete segment;
    return nullptr;
  }
  segment->base = static_cast<char*>(base);
  segment->bytes = bytes;
  segment->first = block;
  segment->all_after = segments_;
  if (segments_ != nullptr) segments_->all_before = segment;
  segments_ = segment;
  block->segment = segment;
  block->stream = stream;
  block->data = base;
  block->capacity = bytes;
  cut(block, capacity);
  return block;
}

void LargeHeap::free_list_insert(Segment* segment, uint64_t tick) noexcept {
  segment->is_free = true;
  segment->free_since = tick;
  segment->newer = nullptr;
  segment->older = newest_;
  (newest_ != nullptr ? newest_->newer : oldest_) = segment;
  newest_ = segment;
}

void LargeHeap::free_list_remove(Segment* segment) noexcept {
  (segment->older != nullptr ? segment->older->newer : oldest_) = segment->newer;
  (segment->newer != nullptr ? segment->newer->older : newest_) = segment->older;
  segment->is_free = false;
}

void LargeHeap::detach(Segment* segment) noexcept {
  free_list_remove(segment);
  bin_remove(segment->first);
  retire_block(segment->first);
  segment->first = nullptr;
  (segment->all_before != nullptr ? segment->all_before->all_after : segments_) = segment->all_after;
  if (segment->all_after != nullptr) segment->all_after->all_before = segment->all_before;
}

void LargeHeap::destroy_segment(Segment* segment) noexcept { delete segment; }

size_t LargeHeap::largest_free_bytes() const noexcept {
  size_t largest = 0;
  for (size_t bin = next_bin(0); bin < kBins; bin = next_bin(bin + 1)) {
    largest = 0;  // a later bin's blocks are all larger
    for (const LargeBlock* block = bins_[bin]; block != nullptr; block = block->bin_after) {
      largest = std::max(largest, block->capacity);
    }
  }
  return largest;
}

LargeBlock* LargeHeap::new_block() noexcept {
  LargeBlock* block = spare_;
  if (block != nullptr) {
    spare_ = block->after;
    block->tag.store(0, std::memory_order_relaxed);
    block->bytes = block->requested = 0;
    block->next = nullptr;
    block->home = nullptr;
  } else {
    block = new (std::nothrow) LargeBlock{};
    if (block == nullptr) return nullptr;
  }
  block->klass = kLargeClass;
  block->in_use = block->is_slab = block->crossed = block->is_free = false;
  block->before = block->after = block->bin_before = block->bin_after = nullptr;
  return block;
}

void LargeHeap::retire_block(LargeBlock* block) noexcept {
  block->is_free = false;
  block->in_use = false;
  block->after = spare_;
  spare_ = block;
}

}  // namespace gorgo

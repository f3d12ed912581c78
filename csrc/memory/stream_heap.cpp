#include "memory/stream_heap.h"

#include <new>

namespace gorgo {

Block* StreamHeap::take(uint8_t klass, size_t capacity, bool cut_any) noexcept {
  if (klass == kLargeClass) return large_.take(capacity, cut_any);
  if (Block* block = take_small(klass)) return block;
  LargeBlock* backing = large_.take(slab_bytes(klass), cut_any);
  return backing == nullptr ? nullptr : take_from(backing, klass);
}

Block* StreamHeap::take_small(uint8_t klass) noexcept {
  Slab* slab = open_[klass];
  if (slab == nullptr) {
    slab = spare_[klass];
    if (slab == nullptr) return nullptr;
    spare_[klass] = nullptr;
    open(slab);
  }
  Block* block = slab->free_head;
  if (block != nullptr) {
    slab->free_head = block->next;
  } else {
    block = new (slab->blocks + slab->carved) Block{};
    block->data = static_cast<char*>(slab->backing->data) + size_t{slab->carved} * class_bytes(klass);
    block->bytes = class_bytes(klass);
    block->stream = stream_;
    block->home = slab;
    block->klass = klass;
    ++slab->carved;
  }
  ++slab->given;
  slab_free_bytes_ -= class_bytes(klass);
  if (slab->free_head == nullptr && slab->carved == slab->total) close(slab);
  return block;
}

Block* StreamHeap::take_from(LargeBlock* fresh, uint8_t klass) noexcept {
  if (klass == kLargeClass) return fresh;
  const auto total = static_cast<uint32_t>(fresh->capacity / class_bytes(klass));
  void* blocks = ::operator new(total * sizeof(Block), std::align_val_t{alignof(Block)}, std::nothrow);
  Slab* slab = blocks == nullptr ? nullptr : new (std::nothrow) Slab{};
  if (slab == nullptr) {
    ::operator delete(blocks, std::align_val_t{alignof(Block)});
    large_.give(fresh, ++clock_);
    return nullptr;
  }
  slab->backing = fresh;
  slab->blocks = static_cast<Block*>(blocks);
  slab->total = total;
  slab->klass = klass;
  fresh->is_slab = true;
  fresh->home = slab;
  slab_free_bytes_ += fresh->capacity;
  open(slab);
  return take_small(klass);
}

void StreamHeap::give(Block* block) noexcept {
  if (block->klass == kLargeClass) {
    large_.give(static_cast<LargeBlock*>(block), ++clock_);
    return;
  }
  auto* slab = static_cast<Slab*>(block->home);
  block->next = slab->free_head;
  slab->free_head = block;
  --slab->given;
  slab_free_bytes_ += class_bytes(slab->klass);
  if (!slab->open) open(slab);
  if (slab->given > 0) return;
  close(slab);
  Slab*& spare = spare_[slab->klass];
  if (spare != nullptr) drop(spare);
  spare = slab;
}

void StreamHeap::drop_spare_slabs() noexcept {
  for (Slab*& spare : spare_) {
    if (spare != nullptr) drop(spare);
    spare = nullptr;
  }
}

size_t StreamHeap::largest_free_bytes() const noexcept {
  size_t largest = large_.largest_free_bytes();
  for (uint8_t k = 0; k < kSmallClasses; ++k) {
    if (open_[k] != nullptr || spare_[k] != nullptr) largest = std::max(largest, class_bytes(k));
  }
  return largest;
}

void StreamHeap::open(Slab* slab) noexcept {
  Slab*& head = open_[slab->klass];
  slab->before = nullptr;
  slab->after = head;
  if (head != nullptr) head->before = slab;
  head = slab;
  slab->open = true;
}

void StreamHeap::close(Slab* slab) noexcept {
  (slab->before != nullptr ? slab->before->after : open_[slab->klass]) = slab->after;
  if (slab->after != nullptr) slab->after->before = slab->before;
  slab->open = false;
}

void StreamHeap::drop(Slab* slab) noexcept {
  LargeBlock* backing = slab->backing;
  backing->is_slab = false;
  backing->home = nullptr;
  slab_free_bytes_ -= backing->capacity;
  large_.give(backing, ++clock_);
  ::operator delete(slab->blocks, std::align_val_t{alignof(Block)});
  delete slab;
}

}  // namespace gorgo

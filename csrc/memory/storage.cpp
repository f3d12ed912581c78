#include "memory/storage.h"

#include <new>

#include "core/freelist.h"
#include "memory/block_pool.h"

namespace gorgo {

AllocateStorageFn allocate_storage = nullptr;

Storage* Storage::allocate(BlockPool& pool, Device device, size_t bytes, uint64_t stream) {
  void* const place = FreeList<Storage>::take();
  Block* block = nullptr;
  try {
    block = pool.allocate(bytes, stream);
  } catch (...) {
    FreeList<Storage>::give(place);
    throw;
  }
  auto* storage = new (place) Storage;
  storage->data = block->data;
  storage->bytes = bytes;
  storage->device = device;
  storage->block = block;
  storage->pool = &pool;
  return storage;
}

Storage* Storage::borrow(void* data, size_t bytes, Device device, void (*deleter)(void*) noexcept, void* context) {
  auto* storage = new (FreeList<Storage>::take()) Storage;
  storage->data = data;
  storage->bytes = bytes;
  storage->device = device;
  storage->deleter = deleter;
  storage->deleter_context = context;
  return storage;
}

Storage* Storage::imaginary(Device device, size_t bytes) { return borrow(nullptr, bytes, device, nullptr, nullptr); }

void Storage::destroy() noexcept {
  if (block != nullptr) {
    pool->release(block);
  } else if (deleter != nullptr) {
    deleter(deleter_context);
  }
  this->~Storage();
  FreeList<Storage>::give(this);
}

}  // namespace gorgo

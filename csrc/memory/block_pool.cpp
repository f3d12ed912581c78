// The face of the pool, and its fast path: allocate and release between a thread and its own front.
#include "memory/block_pool.h"

#include <limits>

#include "core/check.h"
#include "core/env.h"
#include "memory/poison.h"
#include "memory/pool_core.h"
#include "memory/thread_front.h"

namespace gorgo {

BlockPool::BlockPool(RawAllocator& raw, const PoolOptions& options)
    : slot_(kNoSlot), core_(std::make_unique<PoolCore>(raw, options)) {
  slot_ = core_->slot;
}

BlockPool::~BlockPool() = default;

inline Block* BlockPool::allocate_untagged(size_t bytes, uint64_t stream) {
  ThreadFront* front = t_fronts[slot_];
  if (front == nullptr || front->pool != core_.get()) [[unlikely]]
    return core_->allocate_slow(slot_, bytes, stream);
  if (!front->gate.enter()) [[unlikely]]
    return core_->allocate_slow(slot_, bytes, stream);
  Block* block = nullptr;
  if (front->stream == stream) {
    if (bytes <= kMaxSmall_bytes) {
      ThreadFront::SmallList& list = front->small[small_class(bytes)];
      block = list.head;
      if (block != nullptr) {
        list.head = block->next;
        --list.count;
      }
    } else if (bytes <= std::numeric_limits<size_t>::max() / 4) {
      const size_t capacity = round_large(bytes);
      ThreadFront::LargeSlot& place = front->large[ThreadFront::large_slot(capacity)];
      if (place.bytes == capacity && place.head != nullptr) {
        block = place.head;
        place.head = block->next;
        place.touched = true;
        front->large_cached_bytes -= capacity;
      }
    }
  }
  if (block == nullptr) [[unlikely]] {
    front->gate.leave();
    return core_->allocate_slow(slot_, bytes, stream);
  }
  block->requested = bytes;
  block->in_use = true;
  block->tag.store(0, std::memory_order_relaxed);
  unpoison(block->data, bytes);
  ++front->allocations;
  front->unpublished_bytes += static_cast<int64_t>(block->bytes);
  if (front->unpublished_bytes > front->publish_above) [[unlikely]]
    core_->publish(front);
  front->gate.leave();
  return block;
}

Block* BlockPool::allocate(size_t bytes, uint64_t stream) {
  Block* block = allocate_untagged(bytes, stream);
  if (const Tagger tagger = tagger_.load(std::memory_order_acquire); tagger != nullptr) [[unlikely]] {
    block->tag.store(tagger(), std::memory_order_relaxed);
  }
  return block;
}

void BlockPool::release(Block* block) noexcept {
  ThreadFront* front = t_fronts[slot_];
  if (front == nullptr || front->pool != core_.get()) [[unlikely]] {
    core_->release_slow(nullptr, block);
    return;
  }
  if (!front->gate.enter()) [[unlikely]] {
    core_->release_slow(front, block);
    return;
  }
  bool kept = false;
  if (block->in_use && !block->crossed && block->stream == front->stream) [[likely]] {
    if (block->klass != kLargeClass) {
      ThreadFront::SmallList& list = front->small[block->klass];
      if (list.count < list.most) {
        poison(block->data, block->bytes);
        block->next = list.head;
        list.head = block;
        ++list.count;
        kept = true;
      }
    } else {
      ThreadFront::LargeSlot& place = front->large[ThreadFront::large_slot(block->bytes)];
      if (place.bytes == block->bytes && block->home == front &&
          front->large_cached_bytes + block->bytes <= front->large_credit_bytes) {
        poison(block->data, block->bytes);
        block->next = place.head;
        place.head = block;
        front->large_cached_bytes += block->bytes;
        kept = true;
      }
    }
  }
  if (!kept) [[unlikely]] {
    front->gate.leave();
    core_->release_slow(front, block);
    return;
  }
  block->in_use = false;
  ++front->releases;
  front->unpublished_bytes -= static_cast<int64_t>(block->bytes);
  if (front->unpublished_bytes < front->publish_below) [[unlikely]]
    core_->publish(front);
  front->gate.leave();
}

void BlockPool::record_stream(Block* block, uint64_t stream) { core_->record_stream(block, stream); }
PoolStats BlockPool::stats() const { return core_->stats(); }
void BlockPool::reset_peak() { core_->reset_peak(); }
void BlockPool::empty_cache() { core_->empty_cache(); }
void BlockPool::set_limit(std::optional<size_t> bytes) { core_->set_limit(bytes); }
void BlockPool::set_cache_limit(size_t bytes) { core_->set_cache_limit(bytes); }
std::vector<BlockInfo> BlockPool::snapshot() const { return core_->snapshot(); }
bool BlockPool::debug() const { return core_->debug(); }
int64_t BlockPool::fail_allocation(int64_t count) { return core_->fail_allocation(count); }
std::vector<GuardDamage> BlockPool::check_guards() { return core_->check_guards(); }

BlockPool& cpu_pool() {
  static BlockPool& pool = []() -> BlockPool& {
    const auto bytes_from = [](const char* variable) -> std::optional<size_t> {
      const std::optional<int64_t> bytes = env_int(variable);
      if (!bytes) return std::nullopt;
      if (*bytes < 0) fail<ValueError>(variable, ": must be at least 0 bytes, got ", *bytes);
      return static_cast<size_t>(*bytes);
    };
    PoolOptions options;
    options.name = "cpu memory";
    options.cache_limit = bytes_from("GORGO_CACHE_LIMIT");
    options.limit = bytes_from("GORGO_MEMORY_LIMIT");
    options.debug = env_flag("GORGO_MEMORY_DEBUG", false);
    return *new BlockPool(system_allocator(), options);
  }();
  return pool;
}

}  // namespace gorgo

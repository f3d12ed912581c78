#include "memory/pool_core.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "core/cgroup.h"
#include "core/check.h"
#include "memory/poison.h"

namespace gorgo {
namespace {

// Small requests share segments of this size; larger ones get a segment of their own.
constexpr size_t kSharedSegment_bytes = size_t{2} << 20;
constexpr size_t kSharedBelow_bytes = size_t{1} << 20;
// Most that one thread keeps of small blocks, and per refill.
constexpr size_t kFrontSmall_bytes = size_t{8} << 20;
constexpr uint32_t kMostRefill = 64;
// With several threads, bytes that a front hands out before it tells the pool.
constexpr int64_t kPublishStep_bytes = int64_t{1} << 20;
constexpr int64_t kNever_bytes = std::numeric_limits<int64_t>::max() / 4;

size_t default_cache_limit() {
  const size_t memory_bytes = cgroup_memory_limit_bytes().value_or(physical_memory_bytes());
  constexpr size_t kMost_bytes = size_t{1} << 30;
  const size_t tenth = memory_bytes / 10;
  return tenth == 0 ? kMost_bytes : std::min(kMost_bytes, tenth);
}

}  // namespace

PoolCore::PoolCore(RawAllocator& raw, const PoolOptions& options)
    : raw_(raw),
      fence_(options.fence),
      name_(options.name),
      debug_(options.debug && raw.host_accessible()),
      cache_limit_(options.cache_limit ? *options.cache_limit : default_cache_limit()),
      limit_(options.limit) {
  // In debug mode without a front: every call goes through the lock, where the checks are.
  slot = FrontRegistry::get().add(this, !debug_);
}

PoolCore::~PoolCore() {
  std::lock_guard registry_lock(FrontRegistry::get().mutex);
  FrontRegistry::get().remove(this, slot);
  Lock lock(mutex_);
  drain_all();
  for (ThreadFront* front : fronts_) front->pool = nullptr;  // the object dies with its thread
  lock.unlock();
  try {
    while (waiting_ != nullptr) {
      lock.lock();
      collect_passed(lock, true);
      lock.unlock();
    }
  } catch (...) {  // no memory for bookkeeping: what waits is lost with the pool
  }
  lock.lock();
  Segment* chain = trim_to(0);
  lock.unlock();
  release_segments(chain);
}

void PoolCore::claim_fronts() noexcept {
  if (fronts_.empty()) return;
  for (ThreadFront* front : fronts_) front->gate.claim();
  FrontGate::heavy_fence();
  for (ThreadFront* front : fronts_) front->gate.wait_outside();
}

void PoolCore::unclaim_fronts() noexcept {
  for (ThreadFront* front : fronts_) front->gate.unclaim();
}

// Makes this thread's front; null when there is none to be had (no slot, no memory, thread ending).
ThreadFront* PoolCore::attach() {
  if (slot == kNoSlot || !FrontRegistry::watch_thread()) return nullptr;
  try {
    auto front = std::make_unique<ThreadFront>();
    std::lock_guard registry_lock(FrontRegistry::get().mutex);
    Lock lock(mutex_);
    fronts_.reserve(fronts_.size() + 1);
    delete t_fronts[slot];  // of a pool that is gone
    t_fronts[slot] = front.get();
    front->pool = this;
    fronts_.push_back(front.get());
    Claim claim(*this);
    size_fronts(fronts_.size());
    return front.release();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void PoolCore::detach(ThreadFront* front) noexcept {
  Lock lock(mutex_);
  publish(front);
  drain(front);
  allocations_ += front->allocations;
  misses_ += front->misses;
  releases_ += front->releases;
  std::erase(fronts_, front);
  Claim claim(*this);
  size_fronts(fronts_.size());
}

// Shares the cache limit among the fronts: half of it at most goes to their large blocks, an eighth to their small
// ones. The number of threads is rounded up to a power of two, so that threads that come and go change little. Needs
// the fronts claimed.
void PoolCore::size_fronts(size_t threads) noexcept {
  const size_t shares = std::bit_ceil(std::max<size_t>(threads, 1));
  fronts_sized_for_ = shares;
  front_small_bytes_ = std::min(kFrontSmall_bytes, cache_limit_ / 8 / shares);
  front_large_bytes_ = cache_limit_ / 2 / shares;
  granted_bytes_ = 0;
  for (ThreadFront* front : fronts_) {
    for (uint8_t k = 0; k < kSmallClasses; ++k) {
      ThreadFront::SmallList& list = front->small[k];
      list.most = static_cast<uint32_t>(front_small_bytes_ / kSmallClasses / class_bytes(k));
      while (list.count > list.most) {
        Block* block = list.head;
        list.head = block->next;
        --list.count;
        home_of(block).give(block);
      }
    }
    if (front->large_cached_bytes > front_large_bytes_) drain_large(front);
    front->large_credit_bytes = std::min(front->large_credit_bytes, front_large_bytes_);
    granted_bytes_ += front->large_credit_bytes + front_small_bytes_;
    // Alone, a front can tell the peak without the others; beside others it tells them often.
    publish(front);
  }
}

// Adds what a front has handed out to the pool's total, and finds how far it may go before the peak could move.
void PoolCore::publish(ThreadFront* front) noexcept {
  const int64_t step = fronts_sized_for_ <= 1 ? kNever_bytes : kPublishStep_bytes;
  const int64_t active = active_bytes_.fetch_add(front->unpublished_bytes) + front->unpublished_bytes;
  front->unpublished_bytes = 0;
  raise_peak(active);
  front->publish_above = std::min(step, peak_active_bytes_.load() - active);
  front->publish_below = -step;
}

void PoolCore::raise_peak(int64_t active) noexcept {
  int64_t peak = peak_active_bytes_.load();
  while (active > peak && !peak_active_bytes_.compare_exchange_weak(peak, active)) {
  }
}

void PoolCore::account(ThreadFront* front, int64_t bytes) noexcept {
  if (front == nullptr) {
    raise_peak(active_bytes_.fetch_add(bytes) + bytes);
    return;
  }
  front->unpublished_bytes += bytes;
  if (front->unpublished_bytes > front->publish_above || front->unpublished_bytes < front->publish_below)
    publish(front);
}

// The three drains give what fronts keep back to slabs and heaps. They need the lock, and the front claimed or the
// caller's own.
void PoolCore::drain_large(ThreadFront* front) noexcept {
  for (ThreadFront::LargeSlot& place : front->large) {
    while (place.head != nullptr) {
      Block* block = place.head;
      place.head = block->next;
      home_of(block).give(block);
    }
    place = {};
  }
  front->large_cached_bytes = 0;
  granted_bytes_ -= front->large_credit_bytes;
  front->large_credit_bytes = 0;
}

void PoolCore::drain(ThreadFront* front) noexcept {
  drain_large(front);
  for (ThreadFront::SmallList& list : front->small) {
    while (list.head != nullptr) {
      Block* block = list.head;
      list.head = block->next;
      home_of(block).give(block);
    }
    list.count = 0;
  }
}

void PoolCore::drain_all() noexcept {
  Claim claim(*this);
  for (ThreadFront* front : fronts_) drain(front);
}

StreamHeap& PoolCore::heap_of(uint64_t stream) {
  for (const auto& heap : heaps_) {
    if (heap->stream() == stream) return *heap;
  }
  return *heaps_.emplace_back(std::make_unique<StreamHeap>(stream, clock_));
}

// The heap that a block came from.
StreamHeap& PoolCore::home_of(const Block* block) noexcept {
  return **std::find_if(heaps_.begin(), heaps_.end(),
                        [&](const auto& heap) { return heap->stream() == block->stream; });
}

// Puts more blocks of a class into a front, as far as slabs have them.
void PoolCore::refill(StreamHeap& heap, uint8_t klass, ThreadFront* front) noexcept {
  ThreadFront::SmallList& list = front->small[klass];
  const uint32_t wanted = std::min(kMostRefill, list.most / 2);
  while (list.count < wanted) {
    Block* block = heap.take_small(klass);
    if (block == nullptr) break;
    block->next = list.head;
    list.head = block;
    ++list.count;
  }
}

// Asks the raw allocator for a segment, giving back the longest unused ones first where the limit demands it; null if
// it has none. Drops the lock meanwhile.
LargeBlock* PoolCore::grow(Lock& lock, StreamHeap& heap, size_t segment_bytes, size_t capacity) {
  Segment* chain = nullptr;
  if (limit_) {
    const size_t held = reserved_bytes_ + in_flight_bytes_;
    if (segment_bytes > *limit_) return nullptr;
    if (held > *limit_ - segment_bytes) {
      const size_t excess = held - (*limit_ - segment_bytes);
      const size_t have = free_bytes();
      chain = trim_to(have > excess ? have - excess : 0);
    }
    if (reserved_bytes_ + in_flight_bytes_ > *limit_ - segment_bytes) {
      lock.unlock();
      release_segments(chain);
      lock.lock();
      return nullptr;
    }
  }
  in_flight_bytes_ += segment_bytes;
  lock.unlock();
  release_segments(chain);
  void* base = raw_.allocate(segment_bytes);
  if (base != nullptr) {
    if (debug_) {
      std::memset(base, kDeadByte, segment_bytes);
    } else {
      poison(base, segment_bytes);
    }
  }
  lock.lock();
  in_flight_bytes_ -= segment_bytes;
  if (base == nullptr) return nullptr;
  LargeBlock* block = heap.large().add_segment(base, segment_bytes, capacity, heap.stream());
  if (block == nullptr) {
    lock.unlock();
    unpoison(base, segment_bytes);
    raw_.release(base, segment_bytes);
    lock.lock();
    return nullptr;
  }
  reserved_bytes_ += segment_bytes;
  peak_reserved_bytes_ = std::max(peak_reserved_bytes_, reserved_bytes_);
  ++raw_allocations_;
  return block;
}

size_t PoolCore::free_bytes() const noexcept {
  size_t bytes = 0;
  for (const auto& heap : heaps_) bytes += heap->free_bytes();
  return bytes;
}

// Detaches free segments, the longest unused first, until at most so many bytes are free or no segment is; they leave
// as a chain for release_segments, before those that it is given.
Segment* PoolCore::trim_to(size_t kept_bytes, Segment* chain) noexcept {
  size_t free_now = free_bytes();
  if (free_now <= kept_bytes) return chain;
  for (const auto& heap : heaps_) heap->drop_spare_slabs();
  while (free_now > kept_bytes) {
    LargeHeap* from = nullptr;
    for (const auto& heap : heaps_) {
      Segment* oldest = heap->large().oldest_free();
      if (oldest == nullptr) continue;
      if (from == nullptr || oldest->free_since < from->oldest_free()->free_since) from = &heap->large();
    }
    if (from == nullptr) break;
    Segment* segment = from->oldest_free();
    from->detach(segment);
    segment->all_after = chain;
    chain = segment;
    reserved_bytes_ -= segment->bytes;
    free_now -= segment->bytes;
  }
  return chain;
}

Segment* PoolCore::trim_to_cache_limit(Segment* chain) noexcept {
  return trim_to(cache_limit_ > granted_bytes_ ? cache_limit_ - granted_bytes_ : 0, chain);
}

void PoolCore::release_segments(Segment* chain) noexcept {
  while (chain != nullptr) {
    Segment* next = chain->all_after;
    if (!debug_) unpoison(chain->base, chain->bytes);
    raw_.release(chain->base, chain->bytes);
    LargeHeap::destroy_segment(chain);
    chain = next;
  }
}

void PoolCore::record_stream(Block* block, uint64_t stream) {
  if (fence_ == nullptr || stream == block->stream) return;
  Lock lock(mutex_);
  auto& crossing = crossings_[block];
  if (crossing == nullptr) crossing = std::make_unique<Crossing>();
  crossing->block = block;
  if (std::find(crossing->streams.begin(), crossing->streams.end(), stream) != crossing->streams.end()) return;
  crossing->marks.reserve(crossing->streams.size() + 1);
  crossing->streams.push_back(stream);
  block->crossed = true;
}

// A released block that other streams used: marks the end of their work so far and lets the block wait for it. Takes
// the lock.
void PoolCore::start_crossing(Block* block) noexcept {
  Lock lock(mutex_);
  const auto at = crossings_.find(block);
  std::unique_ptr<Crossing> crossing = std::move(at->second);
  crossings_.erase(at);
  lock.unlock();
  for (const uint64_t stream : crossing->streams) crossing->marks.push_back(fence_->mark(stream));
  lock.lock();
  block->crossed = false;
  crossing->next = std::move(waiting_);
  waiting_ = std::move(crossing);
}

// Gives home the blocks whose work is done; with `wait`, all of them. Drops the lock while the fence is asked.
void PoolCore::collect_passed(Lock& lock, bool wait) {
  if (waiting_ == nullptr) return;
  std::unique_ptr<Crossing> asked = std::move(waiting_);
  std::unique_ptr<Crossing> done;
  std::unique_ptr<Crossing> pending;
  lock.unlock();
  while (asked != nullptr) {
    std::unique_ptr<Crossing> one = std::move(asked);
    asked = std::move(one->next);
    std::erase_if(one->marks, [&](uint64_t mark) {
      if (wait) fence_->wait(mark);
      if (!wait && !fence_->passed(mark)) return false;
      fence_->drop(mark);
      return true;
    });
    auto& list = one->marks.empty() ? done : pending;
    one->next = std::move(list);
    list = std::move(one);
  }
  lock.lock();
  while (done != nullptr) {
    home_of(done->block).give(done->block);
    done = std::move(done->next);
  }
  while (pending != nullptr) {
    std::unique_ptr<Crossing> one = std::move(pending);
    pending = std::move(one->next);
    one->next = std::move(waiting_);
    waiting_ = std::move(one);
  }
}

// The last step of every slow allocation; needs the lock.
void PoolCore::hand_out(ThreadFront* front, Block* block, size_t bytes, bool missed) noexcept {
  const size_t whole_bytes = footprint(block);
  block->requested = bytes;
  block->bytes = whole_bytes;
  block->next = nullptr;
  block->in_use = true;
  block->tag.store(0, std::memory_order_relaxed);
  if (block->klass == kLargeClass) block->home = front;
  ++(front != nullptr ? front->allocations : allocations_);
  if (missed) ++(front != nullptr ? front->misses : misses_);
  account(front, static_cast<int64_t>(whole_bytes));
  if (debug_) {
    wrap(block);
  } else {
    unpoison(block->data, bytes);
  }
}

Block* PoolCore::allocate_slow(uint32_t own_slot, size_t bytes, uint64_t stream) {
  ThreadFront* front = t_fronts[own_slot];
  if (front == nullptr || front->pool != this) front = attach();
  if (bytes > std::numeric_limits<size_t>::max() / 4) throw_out_of_memory(bytes);

  const size_t wanted = bytes + (debug_ ? 2 * kGuard_bytes : 0);
  const uint8_t klass = wanted <= kMaxSmall_bytes ? small_class(wanted) : kLargeClass;
  const size_t capacity = round_large(wanted);

  Lock lock(mutex_);
  if (until_failure_ >= 0) [[unlikely]] {
    const bool fails = until_failure_ == 0;
    --until_failure_;
    if (fails) {
      lock.unlock();
      throw_out_of_memory(bytes);
    }
  }
  if (front != nullptr && front->allocations == 0) front->stream = stream;
  StreamHeap& heap = heap_of(stream);
  if (waiting_ != nullptr) collect_passed(lock, false);
  bool missed = false;
  Block* block = heap.take(klass, capacity, false);
  if (block == nullptr && klass == kLargeClass && front != nullptr && front->large_cached_bytes > 0) {
    // Our own recent blocks may join to one that fits; that is still cheaper than fresh pages.
    drain_large(front);
    block = heap.take(klass, capacity, false);
  }
  if (block == nullptr) {
    missed = true;
    const size_t needed = klass == kLargeClass ? capacity : slab_bytes(klass);
    const size_t preferred = needed < kSharedBelow_bytes ? kSharedSegment_bytes : needed;
    LargeBlock* fresh = grow(lock, heap, preferred, needed);
    if (fresh == nullptr) {
      // Drain: every thread's front, and what other streams still use.
      drain_all();
      collect_passed(lock, true);
      block = heap.take(klass, capacity, true);
      if (block == nullptr) {
        // Trim, and try once more; with less where the first try asked for more than this request needs.
        Segment* chain = trim_to(0);
        lock.unlock();
        release_segments(chain);
        lock.lock();
        fresh = grow(lock, heap, preferred, needed);
        if (fresh == nullptr && needed < preferred) fresh = grow(lock, heap, needed, needed);
        if (fresh == nullptr && capacity < needed) {
          block = grow(lock, heap, capacity, capacity);  // a small request without room for its slab
        }
      }
    }
    if (fresh != nullptr) block = heap.take_from(fresh, klass);
    if (block == nullptr) {
      lock.unlock();
      throw_out_of_memory(bytes);
    }
  }
  hand_out(front, block, bytes, missed);
  if (block->klass != kLargeClass && front != nullptr && front->stream == stream) refill(heap, klass, front);
  return block;
}

void PoolCore::throw_out_of_memory(size_t bytes) {
  const PoolStats now = stats();
  fail<OutOfMemoryError>(name_, ": allocation of ", bytes, " bytes must fit, got no room (active ", now.active_bytes,
                         " bytes, cached ", now.cached_bytes, ", limit ",
                         now.limit ? std::to_string(*now.limit) : "none", ", largest free block ",
                         now.largest_free_block, ")");
}

void PoolCore::release_slow(ThreadFront* front, Block* block) noexcept {
  Lock lock(mutex_);
  if (!block->in_use) {
    note_damage(GuardDamage::Kind::kReleasedTwice, block);
    return;
  }
  const size_t whole_bytes = footprint(block);
  if (debug_) {
    unwrap(block);
  } else {
    poison(block->data, whole_bytes);
  }
  block->in_use = false;
  ++(front != nullptr ? front->releases : releases_);
  account(front, -static_cast<int64_t>(whole_bytes));
  if (block->crossed) {
    lock.unlock();
    start_crossing(block);
    return;
  }
  const bool ours = front != nullptr && block->stream == front->stream;
  Segment* chain = nullptr;
  if (block->klass == kLargeClass) {
    if (!ours || !keep_large(front, block, chain)) home_of(block).give(block);
  } else {
    home_of(block).give(block);
    if (ours) {
      // The list was full: half of it goes home with this block, so that the next ones find room.
      ThreadFront::SmallList& list = front->small[block->klass];
      for (uint32_t n = list.count / 2; n > 0; --n) {
        Block* other = list.head;
        list.head = other->next;
        --list.count;
        home_of(other).give(other);
      }
    }
  }
  chain = trim_to_cache_limit(chain);
  lock.unlock();
  release_segments(chain);
}

// Puts a large block into the front that allocated it, asking for more of the cache limit where needed; false if it has
// to go home. Adds the segments that make way for it to the chain.
bool PoolCore::keep_large(ThreadFront* front, Block* block, Segment*& chain) noexcept {
  const size_t needed = front->large_cached_bytes + block->bytes;
  if (block->home != front || needed > front_large_bytes_) return false;
  ThreadFront::LargeSlot& place = front->large[ThreadFront::large_slot(block->bytes)];
  if (place.bytes != block->bytes) {
    if (place.touched) {
      place.touched = false;
      return false;
    }
    // Another size had the place and did not use it since we last asked.
    while (place.head != nullptr) {
      Block* other = place.head;
      place.head = other->next;
      front->large_cached_bytes -= place.bytes;
      home_of(other).give(other);
    }
    place.bytes = block->bytes;
  }
  if (needed > front->large_credit_bytes) {
    const size_t step = front_large_bytes_ / 8;
    const size_t credit = std::min(front_large_bytes_, std::max(needed, front->large_credit_bytes + step));
    granted_bytes_ += credit - front->large_credit_bytes;
    chain = trim_to_cache_limit(chain);
    if (free_bytes() + granted_bytes_ > cache_limit_) {  // live blocks keep the rest of their segments from going
      granted_bytes_ -= credit - front->large_credit_bytes;
      return false;
    }
    front->large_credit_bytes = credit;
  }
  block->next = place.head;
  place.head = block;
  front->large_cached_bytes += block->bytes;
  return true;
}

void PoolCore::reset_peak() {
  Lock lock(mutex_);
  Claim claim(*this);
  int64_t active = active_bytes_.load();
  for (const ThreadFront* front : fronts_) active += front->unpublished_bytes;
  peak_reserved_bytes_ = reserved_bytes_;
  // First the lowest value that publishing can leave standing, then everything published, then the truth.
  peak_active_bytes_.store(0);
  for (ThreadFront* front : fronts_) publish(front);
  peak_active_bytes_.store(active);
  for (ThreadFront* front : fronts_) publish(front);
}

void PoolCore::empty_cache() {
  Lock lock(mutex_);
  collect_passed(lock, true);
  drain_all();
  Segment* chain = trim_to(0);
  lock.unlock();
  release_segments(chain);
}

int64_t PoolCore::fail_allocation(int64_t count) {
  if (!debug_) fail<StateError>(name_, ": debug mode must be on for an allocation to fail on purpose, got it off");
  Lock lock(mutex_);
  return std::exchange(until_failure_, count);
}

void PoolCore::set_limit(std::optional<size_t> bytes) {
  Lock lock(mutex_);
  limit_ = bytes;
  Segment* chain = nullptr;
  if (limit_ && reserved_bytes_ > *limit_) {
    drain_all();
    const size_t excess = reserved_bytes_ - *limit_;
    const size_t have = free_bytes();
    chain = trim_to(have > excess ? have - excess : 0);
  }
  lock.unlock();
  release_segments(chain);
}

void PoolCore::set_cache_limit(size_t bytes) {
  Lock lock(mutex_);
  cache_limit_ = bytes;
  {
    Claim claim(*this);
    size_fronts(fronts_.size());
  }
  Segment* chain = trim_to_cache_limit();
  lock.unlock();
  release_segments(chain);
}

void PoolCore::before_fork() {
  mutex_.lock();
  claim_fronts();
}

// In the child, the fronts of threads that are not there are emptied and forgotten; what their threads had in flight is
// too.
void PoolCore::after_fork(bool in_child, const ThreadFront* own) {
  if (in_child) {
    in_flight_bytes_ = 0;
    for (ThreadFront* front : fronts_) {
      if (front == own) continue;
      publish(front);
      drain(front);
      allocations_ += front->allocations;
      misses_ += front->misses;
      releases_ += front->releases;
      delete front;
    }
    std::erase_if(fronts_, [&](const ThreadFront* front) { return front != own; });
    size_fronts(fronts_.size());
  }
  unclaim_fronts();
  mutex_.unlock();
}

}  // namespace gorgo

// Order of reading: allocate and release at the end of the file are the fast path; PoolCore holds everything that takes
// the lock. Lock order: the registry's lock, then a pool's. Neither is held while the raw allocator or the fence is
// called.
#include "memory/block_pool.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <unordered_map>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GORGO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GORGO_ASAN 1
#endif
#endif
#if defined(GORGO_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define GORGO_ASAN 0
#endif

#include "core/cgroup.h"
#include "core/check.h"
#include "core/env.h"
#include "memory/large_heap.h"
#include "memory/size_class.h"
#include "memory/thread_front.h"

namespace gorgo {
namespace {

constexpr size_t kGuard_bytes = 64;
constexpr int kGuardByte = 0xFD;
constexpr int kFreshByte = 0xA5;
constexpr int kDeadByte = 0xCB;

// Small requests share segments of this size; larger ones get a segment of their own.
constexpr size_t kSharedSegment_bytes = size_t{2} << 20;
constexpr size_t kSharedBelow_bytes = size_t{1} << 20;
// Most that one thread keeps of small blocks, and per refill.
constexpr size_t kFrontSmall_bytes = size_t{8} << 20;
constexpr uint32_t kMostRefill = 64;
// With several threads, bytes that a front hands out before it tells the pool.
constexpr int64_t kPublishStep_bytes = int64_t{1} << 20;
constexpr int64_t kNever_bytes = std::numeric_limits<int64_t>::max() / 4;

// Places for fronts in each thread; a pool beyond them works without fronts.
constexpr uint32_t kFrontSlots = 8;
constexpr uint32_t kNoSlot = kFrontSlots;

#if defined(__GLIBC__)
#define GORGO_TLS_MODEL [[gnu::tls_model("initial-exec")]]
#else
#define GORGO_TLS_MODEL
#endif

GORGO_TLS_MODEL thread_local constinit ThreadFront* t_fronts[kFrontSlots + 1] = {};
thread_local constinit bool t_ended = false;  // the thread's fronts are gone for good

void poison([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) {
#if GORGO_ASAN
  ASAN_POISON_MEMORY_REGION(data, bytes);
#endif
}

void unpoison([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) {
#if GORGO_ASAN
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
}

bool all_bytes(const void* data, size_t bytes, int value) {
  const auto* p = static_cast<const unsigned char*>(data);
  return bytes == 0 || (p[0] == value && std::memcmp(p, p + 1, bytes - 1) == 0);
}

size_t default_cache_limit() {
  const size_t memory_bytes = cgroup_memory_limit_bytes().value_or(physical_memory_bytes());
  constexpr size_t kMost_bytes = size_t{1} << 30;
  const size_t tenth = memory_bytes / 10;
  return tenth == 0 ? kMost_bytes : std::min(kMost_bytes, tenth);
}

}  // namespace

// A large block carved into blocks of one class.
struct Slab {
  LargeBlock* backing;
  Block* blocks;  // room for `total`, made as they are first needed
  Block* free_head;
  uint32_t total;
  uint32_t carved;
  uint32_t given;  // not here: in use or in a front
  uint8_t klass;
  bool listed;
  Slab* before;  // among the slabs of the class that have a free block
  Slab* after;
};

namespace {

struct StreamHeap {
  uint64_t stream = 0;
  LargeHeap large;
  std::array<Slab*, kSmallClasses> open{};   // slabs with a free block
  std::array<Slab*, kSmallClasses> spare{};  // one empty slab of each class is kept, out of the open list
};

// What a cross-stream block waits for.
struct Crossing {
  Block* block;
  std::vector<uint64_t> streams;
  std::vector<uint64_t> marks;
  std::unique_ptr<Crossing> next;
};

}  // namespace

class PoolCore {
 public:
  PoolCore(RawAllocator& raw, const PoolOptions& options);
  ~PoolCore();

  Block* allocate_slow(uint32_t slot, size_t bytes, uint64_t stream);
  void release_slow(ThreadFront* front, Block* block) noexcept;
  void record_stream(Block* block, uint64_t stream);

  PoolStats stats();
  void reset_peak();
  void empty_cache();
  void set_limit(std::optional<size_t> bytes);
  void set_cache_limit(size_t bytes);
  std::vector<BlockInfo> snapshot();
  std::vector<GuardDamage> check_guards();

  bool debug() const { return debug_; }
  const char* name() const { return name_; }
  void publish(ThreadFront* front) noexcept;
  void detach(ThreadFront* front) noexcept;  // at the end of its thread, with the registry's lock

  void before_fork();
  void after_fork(bool in_child, const ThreadFront* own);

  uint32_t slot = kNoSlot;

 private:
  using Lock = std::unique_lock<std::mutex>;

  // Holds every front still. Needs the lock.
  class Claim {
   public:
    explicit Claim(PoolCore& core) noexcept : core_(core) { core_.claim_fronts(); }
    ~Claim() { core_.unclaim_fronts(); }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;

   private:
    PoolCore& core_;
  };

  void claim_fronts() noexcept;
  void unclaim_fronts() noexcept;
  ThreadFront* attach();
  void size_fronts(size_t threads) noexcept;
  void drain_large(ThreadFront* front) noexcept;
  void drain(ThreadFront* front) noexcept;
  void drain_all() noexcept;

  size_t footprint(const Block* block) const noexcept {
    return block->klass == kLargeClass ? static_cast<const LargeBlock*>(block)->capacity : class_bytes(block->klass);
  }
  StreamHeap& heap_of(uint64_t stream);
  void give_home(Block* block) noexcept;
  void give_small(Block* block) noexcept;
  Block* take_small(StreamHeap& heap, uint8_t klass) noexcept;
  void refill(StreamHeap& heap, uint8_t klass, ThreadFront* front) noexcept;
  bool make_slab(StreamHeap& heap, uint8_t klass, LargeBlock* backing) noexcept;
  void drop_slab(StreamHeap& heap, Slab* slab) noexcept;
  void list_slab(StreamHeap& heap, Slab* slab) noexcept;
  void unlist_slab(StreamHeap& heap, Slab* slab) noexcept;
  Block* take(StreamHeap& heap, uint8_t klass, size_t capacity, bool cut_any) noexcept;
  Block* take_from_segment(StreamHeap& heap, uint8_t klass, LargeBlock* fresh) noexcept;
  LargeBlock* grow(Lock& lock, StreamHeap& heap, size_t segment_bytes, size_t capacity);

  size_t free_bytes() const noexcept;
  Segment* trim_to(size_t kept_bytes) noexcept;
  Segment* trim_to_cache_limit() noexcept;
  void drop_spare_slabs() noexcept;
  void release_segments(Segment* chain) noexcept;
  void collect_passed(Lock& lock, bool wait);
  void start_crossing(Block* block) noexcept;

  void hand_out(ThreadFront* front, Block* block, size_t bytes, bool missed) noexcept;
  void account(ThreadFront* front, int64_t bytes) noexcept;
  void raise_peak(int64_t active) noexcept;
  void note_damage(GuardDamage::Kind kind, const Block* block) noexcept;
  void inspect_guards(const Block* block, std::vector<GuardDamage>& found) const;
  template <class F>
  void for_each_block(F&& visit);
  [[noreturn]] void throw_out_of_memory(size_t bytes);

  RawAllocator& raw_;
  StreamFence* const fence_;
  const char* const name_;
  const bool debug_;

  std::mutex mutex_;
  std::vector<ThreadFront*> fronts_;
  std::vector<std::unique_ptr<StreamHeap>> heaps_;
  size_t cache_limit_;
  std::optional<size_t> limit_;
  size_t fronts_sized_for_ = 0;
  size_t front_small_bytes_ = 0;  // most that one front keeps, small
  size_t front_large_bytes_ = 0;  // and large
  size_t granted_bytes_ = 0;      // sum over the fronts of what they may keep
  size_t slab_free_bytes_ = 0;    // in slabs and neither in use nor in a front
  size_t reserved_bytes_ = 0;
  size_t in_flight_bytes_ = 0;  // being asked for just now
  size_t peak_reserved_bytes_ = 0;
  uint64_t tick_ = 0;
  int64_t raw_allocations_ = 0;
  // What threads without a front did, and what ended threads' fronts had counted.
  int64_t allocations_ = 0;
  int64_t misses_ = 0;
  int64_t releases_ = 0;
  std::unordered_map<Block*, std::unique_ptr<Crossing>> crossings_;  // of blocks in use
  std::unique_ptr<Crossing> waiting_;                                // of released ones
  std::vector<GuardDamage> damage_;

  alignas(64) std::atomic<int64_t> active_bytes_{0};
  std::atomic<int64_t> peak_active_bytes_{0};
};

namespace {

// All pools, for processes that fork, and which of them has which place in every thread's table of fronts. Never
// destroyed.
struct Registry {
  std::mutex mutex;
  std::vector<PoolCore*> pools;
  std::array<PoolCore*, kFrontSlots> slots{};
};

#if defined(__unix__) || defined(__APPLE__)
void lock_all_before_fork();
void unlock_all_in_parent();
void unlock_all_in_child();
#endif

Registry& registry() {
  static Registry& it = [&]() -> Registry& {
    FrontGate::set_up();
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(lock_all_before_fork, unlock_all_in_parent, unlock_all_in_child);
#endif
    return *new Registry;
  }();
  return it;
}

#if defined(__unix__) || defined(__APPLE__)
void lock_all_before_fork() {
  registry().mutex.lock();
  for (PoolCore* pool : registry().pools) pool->before_fork();
}

void unlock_all_in_parent() {
  for (PoolCore* pool : registry().pools) pool->after_fork(false, nullptr);
  registry().mutex.unlock();
}

void unlock_all_in_child() {
  FrontGate::set_up();
  for (PoolCore* pool : registry().pools) pool->after_fork(true, t_fronts[pool->slot]);
  registry().mutex.unlock();
}
#endif

// Gives a thread's fronts back when it ends.
struct FrontReaper {
  bool armed = false;
  ~FrontReaper() {
    if (!armed) return;
    std::lock_guard lock(registry().mutex);
    t_ended = true;
    for (ThreadFront*& front : t_fronts) {
      if (front != nullptr && front->pool != nullptr) front->pool->detach(front);
      delete front;
      front = nullptr;
    }
  }
};
thread_local FrontReaper t_reaper;

}  // namespace

PoolCore::PoolCore(RawAllocator& raw, const PoolOptions& options)
    : raw_(raw),
      fence_(options.fence),
      name_(options.name),
      debug_(options.debug && raw.host_accessible()),
      cache_limit_(options.cache_limit ? *options.cache_limit : default_cache_limit()),
      limit_(options.limit) {
  Registry& all = registry();
  std::lock_guard lock(all.mutex);
  all.pools.push_back(this);
  if (debug_) return;  // no front: every call goes through the lock, where the checks are
  for (uint32_t i = 0; i < kFrontSlots && slot == kNoSlot; ++i) {
    if (all.slots[i] == nullptr) {
      all.slots[i] = this;
      slot = i;
    }
  }
}

PoolCore::~PoolCore() {
  Registry& all = registry();
  std::lock_guard registry_lock(all.mutex);
  std::erase(all.pools, this);
  if (slot != kNoSlot) all.slots[slot] = nullptr;
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
  if (slot == kNoSlot || t_ended) return nullptr;
  try {
    auto front = std::make_unique<ThreadFront>();
    std::lock_guard registry_lock(registry().mutex);
    Lock lock(mutex_);
    fronts_.reserve(fronts_.size() + 1);
    t_reaper.armed = true;
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
        give_small(block);
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
      give_home(block);
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
      give_small(block);
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
    if (heap->stream == stream) return *heap;
  }
  heaps_.push_back(std::make_unique<StreamHeap>());
  heaps_.back()->stream = stream;
  return *heaps_.back();
}

// A released block back to its slab or heap.
void PoolCore::give_home(Block* block) noexcept {
  if (block->klass != kLargeClass) {
    give_small(block);
    return;
  }
  for (const auto& heap : heaps_) {
    if (heap->stream == block->stream) heap->large.give(static_cast<LargeBlock*>(block), ++tick_);
  }
}

void PoolCore::list_slab(StreamHeap& heap, Slab* slab) noexcept {
  Slab*& head = heap.open[slab->klass];
  slab->before = nullptr;
  slab->after = head;
  if (head != nullptr) head->before = slab;
  head = slab;
  slab->listed = true;
}

void PoolCore::unlist_slab(StreamHeap& heap, Slab* slab) noexcept {
  (slab->before != nullptr ? slab->before->after : heap.open[slab->klass]) = slab->after;
  if (slab->after != nullptr) slab->after->before = slab->before;
  slab->listed = false;
}

void PoolCore::give_small(Block* block) noexcept {
  auto* slab = static_cast<Slab*>(block->home);
  block->next = slab->free_head;
  slab->free_head = block;
  --slab->given;
  slab_free_bytes_ += class_bytes(slab->klass);
  if (slab->given > 0 && slab->listed) return;
  StreamHeap* heap = nullptr;
  for (const auto& candidate : heaps_) {
    if (candidate->stream == block->stream) heap = candidate.get();
  }
  if (!slab->listed) list_slab(*heap, slab);
  if (slab->given > 0) return;
  unlist_slab(*heap, slab);
  Slab*& spare = heap->spare[slab->klass];
  if (spare != nullptr) drop_slab(*heap, spare);
  spare = slab;
}

Block* PoolCore::take_small(StreamHeap& heap, uint8_t klass) noexcept {
  Slab* slab = heap.open[klass];
  if (slab == nullptr) {
    slab = heap.spare[klass];
    if (slab == nullptr) return nullptr;
    heap.spare[klass] = nullptr;
    list_slab(heap, slab);
  }
  Block* block = slab->free_head;
  if (block != nullptr) {
    slab->free_head = block->next;
  } else {
    block = new (slab->blocks + slab->carved) Block{};
    block->data = static_cast<char*>(slab->backing->data) + size_t{slab->carved} * class_bytes(klass);
    block->bytes = class_bytes(klass);
    block->stream = heap.stream;
    block->home = slab;
    block->klass = klass;
    ++slab->carved;
  }
  ++slab->given;
  slab_free_bytes_ -= class_bytes(klass);
  if (slab->free_head == nullptr && slab->carved == slab->total) unlist_slab(heap, slab);
  return block;
}

// Puts more blocks of a class into a front, as far as slabs have them.
void PoolCore::refill(StreamHeap& heap, uint8_t klass, ThreadFront* front) noexcept {
  ThreadFront::SmallList& list = front->small[klass];
  const uint32_t wanted = std::min(kMostRefill, list.most / 2);
  while (list.count < wanted) {
    Block* block = take_small(heap, klass);
    if (block == nullptr) break;
    block->next = list.head;
    list.head = block;
    ++list.count;
  }
}

bool PoolCore::make_slab(StreamHeap& heap, uint8_t klass, LargeBlock* backing) noexcept {
  const auto total = static_cast<uint32_t>(backing->capacity / class_bytes(klass));
  void* blocks = ::operator new(total * sizeof(Block), std::align_val_t{alignof(Block)}, std::nothrow);
  Slab* slab = blocks == nullptr ? nullptr : new (std::nothrow) Slab{};
  if (slab == nullptr) {
    ::operator delete(blocks, std::align_val_t{alignof(Block)});
    heap.large.give(backing, ++tick_);
    return false;
  }
  slab->backing = backing;
  slab->blocks = static_cast<Block*>(blocks);
  slab->total = total;
  slab->klass = klass;
  backing->is_slab = true;
  backing->home = slab;
  slab_free_bytes_ += backing->capacity;
  list_slab(heap, slab);
  return true;
}

void PoolCore::drop_slab(StreamHeap& heap, Slab* slab) noexcept {
  LargeBlock* backing = slab->backing;
  backing->is_slab = false;
  backing->home = nullptr;
  slab_free_bytes_ -= backing->capacity;
  heap.large.give(backing, ++tick_);
  ::operator delete(slab->blocks, std::align_val_t{alignof(Block)});
  delete slab;
}

// A block from slabs and heaps, without the raw allocator; null if they have none.
Block* PoolCore::take(StreamHeap& heap, uint8_t klass, size_t capacity, bool cut_any) noexcept {
  if (klass == kLargeClass) return heap.large.take(capacity, cut_any);
  if (Block* block = take_small(heap, klass)) return block;
  LargeBlock* backing = heap.large.take(slab_bytes(klass), cut_any);
  return backing == nullptr ? nullptr : take_from_segment(heap, klass, backing);
}

Block* PoolCore::take_from_segment(StreamHeap& heap, uint8_t klass, LargeBlock* fresh) noexcept {
  if (klass == kLargeClass) return fresh;
  return make_slab(heap, klass, fresh) ? take_small(heap, klass) : nullptr;
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
  LargeBlock* block = heap.large.add_segment(base, segment_bytes, capacity, heap.stream);
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
  size_t bytes = slab_free_bytes_;
  for (const auto& heap : heaps_) bytes += heap->large.free_bytes();
  return bytes;
}

void PoolCore::drop_spare_slabs() noexcept {
  for (const auto& heap : heaps_) {
    for (Slab*& spare : heap->spare) {
      if (spare != nullptr) drop_slab(*heap, spare);
      spare = nullptr;
    }
  }
}

// Detaches free segments, the longest unused first, until at most so many bytes are free or no segment is; they leave
// as a chain for release_segments.
Segment* PoolCore::trim_to(size_t kept_bytes) noexcept {
  Segment* chain = nullptr;
  size_t free_now = free_bytes();
  if (free_now <= kept_bytes) return nullptr;
  drop_spare_slabs();
  while (free_now > kept_bytes) {
    LargeHeap* from = nullptr;
    for (const auto& heap : heaps_) {
      Segment* oldest = heap->large.oldest_free();
      if (oldest == nullptr) continue;
      if (from == nullptr || oldest->free_since < from->oldest_free()->free_since) from = &heap->large;
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

Segment* PoolCore::trim_to_cache_limit() noexcept {
  return trim_to(cache_limit_ > granted_bytes_ ? cache_limit_ - granted_bytes_ : 0);
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
    give_home(done->block);
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
  if (!debug_) {
    unpoison(block->data, bytes);
    return;
  }
  auto* base = static_cast<unsigned char*>(block->data);
  block->data = base + kGuard_bytes;
  block->bytes = whole_bytes - 2 * kGuard_bytes;
  if (!all_bytes(base, whole_bytes, kDeadByte)) note_damage(GuardDamage::Kind::kWrittenAfterRelease, block);
  std::memset(base, kGuardByte, kGuard_bytes);
  std::memset(base + kGuard_bytes, kFreshByte, bytes);
  std::memset(base + kGuard_bytes + bytes, kGuardByte, whole_bytes - kGuard_bytes - bytes);
}

Block* PoolCore::allocate_slow(uint32_t own_slot, size_t bytes, uint64_t stream) {
  ThreadFront* front = t_fronts[own_slot];
  if (front == nullptr || front->pool != this) front = attach();
  if (bytes > std::numeric_limits<size_t>::max() / 4) throw_out_of_memory(bytes);

  const size_t wanted = bytes + (debug_ ? 2 * kGuard_bytes : 0);
  const uint8_t klass = wanted <= kMaxSmall_bytes ? small_class(wanted) : kLargeClass;
  const size_t capacity = round_large(wanted);

  Lock lock(mutex_);
  if (front != nullptr && front->allocations == 0) front->stream = stream;
  StreamHeap& heap = heap_of(stream);
  if (waiting_ != nullptr) collect_passed(lock, false);
  bool missed = false;
  Block* block = take(heap, klass, capacity, false);
  if (block == nullptr && klass == kLargeClass && front != nullptr && front->large_cached_bytes > 0) {
    // Our own recent blocks may join to one that fits; that is still cheaper than fresh pages.
    drain_large(front);
    block = take(heap, klass, capacity, false);
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
      block = take(heap, klass, capacity, true);
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
    if (fresh != nullptr) block = take_from_segment(heap, klass, fresh);
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
  if (!block->in_use) {
    note_damage(GuardDamage::Kind::kReleasedTwice, block);
    std::fprintf(stderr, "%s: a block of %zu bytes at %p was released twice; the second release is ignored\n", name_,
                 block->requested, block->data);
    return;
  }
  const size_t whole_bytes = footprint(block);
  if (debug_) {
    std::vector<GuardDamage> found;
    try {
      inspect_guards(block, found);
    } catch (const std::bad_alloc&) {  // damage beyond what can be noted
    }
    for (const GuardDamage& one : found) {
      note_damage(one.kind, block);
      std::fprintf(stderr, "%s: a write %s a block of %zu bytes at %p\n", name_,
                   one.kind == GuardDamage::Kind::kBefore ? "before" : "after", block->requested, block->data);
    }
  }
  Segment* chain = nullptr;
  {
    Lock lock(mutex_);
    block->in_use = false;
    if (debug_) {
      block->data = static_cast<char*>(block->data) - kGuard_bytes;
      std::memset(block->data, kDeadByte, whole_bytes);
    } else {
      poison(block->data, whole_bytes);
    }
    ++(front != nullptr ? front->releases : releases_);
    account(front, -static_cast<int64_t>(whole_bytes));
    if (block->crossed) {
      lock.unlock();
      start_crossing(block);
      return;
    }
    const bool ours = front != nullptr && block->stream == front->stream;
    if (block->klass != kLargeClass) {
      give_small(block);
      if (ours) {
        // The list was full: half of it goes home with this block, so that the next ones find room.
        ThreadFront::SmallList& list = front->small[block->klass];
        for (uint32_t n = list.count / 2; n > 0; --n) {
          Block* other = list.head;
          list.head = other->next;
          --list.count;
          give_small(other);
        }
      }
    } else {
      bool kept = false;
      if (ours && block->home == front && front->large_cached_bytes + whole_bytes <= front_large_bytes_) {
        const size_t needed = front->large_cached_bytes + whole_bytes;
        if (needed > front->large_credit_bytes) {
          const size_t credit =
              std::min(front_large_bytes_, std::max(needed, front->large_credit_bytes + front_large_bytes_ / 8));
          granted_bytes_ += credit - front->large_credit_bytes;
          front->large_credit_bytes = credit;
        }
        ThreadFront::LargeSlot& place = front->large[ThreadFront::large_slot(whole_bytes)];
        if (place.bytes != whole_bytes && !place.touched) {
          // Another size had the place and did not use it since we last asked.
          while (place.head != nullptr) {
            Block* other = place.head;
            place.head = other->next;
            front->large_cached_bytes -= place.bytes;
            give_home(other);
          }
          place.bytes = whole_bytes;
        }
        if (place.bytes == whole_bytes) {
          block->next = place.head;
          place.head = block;
          front->large_cached_bytes += whole_bytes;
          kept = true;
        } else {
          place.touched = false;
        }
      }
      if (!kept) give_home(block);
    }
    chain = trim_to_cache_limit();
  }
  release_segments(chain);
}

template <class F>
void PoolCore::for_each_block(F&& visit) {
  for (const auto& heap : heaps_) {
    for (Segment* segment = heap->large.segments(); segment != nullptr; segment = segment->all_after) {
      for (LargeBlock* block = segment->first; block != nullptr; block = block->after) {
        if (!block->is_slab) {
          if (block->in_use) visit(*block);
          continue;
        }
        auto* slab = static_cast<Slab*>(block->home);
        for (uint32_t i = 0; i < slab->carved; ++i) {
          if (slab->blocks[i].in_use) visit(slab->blocks[i]);
        }
      }
    }
  }
}

PoolStats PoolCore::stats() {
  Lock lock(mutex_);
  Claim claim(*this);
  PoolStats out;
  int64_t active = active_bytes_.load();
  int64_t peak = peak_active_bytes_.load();
  out.allocations = allocations_;
  out.misses = misses_;
  out.releases = releases_;
  for (const auto& heap : heaps_) {
    out.largest_free_block = std::max(out.largest_free_block, heap->large.largest_free_bytes());
    for (uint8_t k = 0; k < kSmallClasses; ++k) {
      if (heap->open[k] != nullptr || heap->spare[k] != nullptr) {
        out.largest_free_block = std::max(out.largest_free_block, class_bytes(k));
      }
    }
  }
  for (const ThreadFront* front : fronts_) {
    active += front->unpublished_bytes;
    out.allocations += front->allocations;
    out.misses += front->misses;
    out.releases += front->releases;
    for (const ThreadFront::LargeSlot& place : front->large) {
      if (place.head != nullptr) out.largest_free_block = std::max(out.largest_free_block, place.bytes);
    }
    for (uint8_t k = 0; k < kSmallClasses; ++k) {
      if (front->small[k].head != nullptr) out.largest_free_block = std::max(out.largest_free_block, class_bytes(k));
    }
  }
  peak = std::max(peak, active);
  out.active_bytes = static_cast<size_t>(active);
  out.peak_active_bytes = static_cast<size_t>(peak);
  out.reserved_bytes = reserved_bytes_;
  out.peak_reserved_bytes = peak_reserved_bytes_;
  out.cached_bytes = out.reserved_bytes - out.active_bytes;
  out.hits = out.allocations - out.misses;
  out.raw_allocations = raw_allocations_;
  if (out.cached_bytes > 0) {
    out.fragmentation = 1.0 - static_cast<double>(out.largest_free_block) / static_cast<double>(out.cached_bytes);
  }
  out.cache_limit = cache_limit_;
  out.limit = limit_;
  return out;
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

std::vector<BlockInfo> PoolCore::snapshot() {
  Lock lock(mutex_);
  Claim claim(*this);
  std::vector<BlockInfo> live;
  for_each_block([&](const Block& block) {
    live.push_back({block.bytes, block.requested, block.data, block.stream, block.tag.load(std::memory_order_relaxed)});
  });
  return live;
}

void PoolCore::note_damage(GuardDamage::Kind kind, const Block* block) noexcept {
  constexpr size_t kMostNoted = 10000;
  try {
    if (damage_.size() < kMostNoted) {
      damage_.push_back({kind, block->data, block->requested, block->tag.load(std::memory_order_relaxed)});
    }
  } catch (const std::bad_alloc&) {  // the report is a courtesy
  }
}

void PoolCore::inspect_guards(const Block* block, std::vector<GuardDamage>& found) const {
  const auto* data = static_cast<const unsigned char*>(block->data);
  const uint64_t tag = block->tag.load(std::memory_order_relaxed);
  const size_t behind = footprint(block) - kGuard_bytes - block->requested;
  if (!all_bytes(data - kGuard_bytes, kGuard_bytes, kGuardByte)) {
    found.push_back({GuardDamage::Kind::kBefore, data, block->requested, tag});
  }
  if (!all_bytes(data + block->requested, behind, kGuardByte)) {
    found.push_back({GuardDamage::Kind::kAfter, data, block->requested, tag});
  }
}

std::vector<GuardDamage> PoolCore::check_guards() {
  Lock lock(mutex_);
  std::vector<GuardDamage> found = damage_;
  if (debug_) for_each_block([&](const Block& block) { inspect_guards(&block, found); });
  return found;
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
std::vector<GuardDamage> BlockPool::check_guards() { return core_->check_guards(); }

std::string BlockPool::leak_report(size_t most, std::string (*describe_tag)(uint64_t)) const {
  std::vector<BlockInfo> live = core_->snapshot();
  if (live.empty()) return {};
  size_t total_bytes = 0;
  for (const BlockInfo& block : live) total_bytes += block.requested;
  std::sort(live.begin(), live.end(), [](const BlockInfo& a, const BlockInfo& b) {
    return a.requested != b.requested ? a.requested > b.requested : a.data < b.data;
  });
  std::string out = cat(core_->name(), ": ", live.size(), " blocks in use, ", total_bytes, " bytes\n");
  for (size_t i = 0; i < std::min(most, live.size()); ++i) {
    out += cat("  ", live[i].requested, " bytes at ", live[i].data);
    if (live[i].tag != 0)
      out += describe_tag != nullptr ? " from " + describe_tag(live[i].tag) : cat(" tag ", live[i].tag);
    out += "\n";
  }
  if (live.size() > most) out += cat("  and ", live.size() - most, " more\n");
  return out;
}

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

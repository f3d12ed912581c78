// The part of a pool behind its lock: fronts, heaps, limits, streams, reports. BlockPool is its face and its fast path.
//
// Invariants: lock order is the registry's lock (thread_front.h), then a pool's; neither is held while the raw
// allocator or the fence is called. Segments that are to go back leave the lock as a chain. A front is touched by its
// owner, or by who holds the lock and a Claim.
// Read next: pool_core.cpp (allocation and release), pool_report.cpp (statistics, snapshots, debug mode).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "memory/block_pool.h"
#include "memory/size_class.h"
#include "memory/stream_heap.h"
#include "memory/thread_front.h"

namespace gorgo {

// In debug mode so many bytes before each block and at least as many after it are checked.
inline constexpr size_t kGuard_bytes = 64;
inline constexpr int kGuardByte = 0xFD;
inline constexpr int kFreshByte = 0xA5;
inline constexpr int kDeadByte = 0xCB;

// What a cross-stream block waits for.
struct Crossing {
  Block* block;
  std::vector<uint64_t> streams;
  std::vector<uint64_t> marks;
  std::unique_ptr<Crossing> next;
};

class PoolCore {
 public:
  PoolCore(RawAllocator& raw, const PoolOptions& options);
  ~PoolCore();
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;

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
  int64_t fail_allocation(int64_t count);
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
  StreamHeap& home_of(const Block* block) noexcept;
  void refill(StreamHeap& heap, uint8_t klass, ThreadFront* front) noexcept;
  LargeBlock* grow(Lock& lock, StreamHeap& heap, size_t segment_bytes, size_t capacity);

  size_t free_bytes() const noexcept;
  Segment* trim_to(size_t kept_bytes, Segment* chain = nullptr) noexcept;
  Segment* trim_to_cache_limit(Segment* chain = nullptr) noexcept;
  void release_segments(Segment* chain) noexcept;
  void collect_passed(Lock& lock, bool wait);
  void start_crossing(Block* block) noexcept;

  void hand_out(ThreadFront* front, Block* block, size_t bytes, bool missed) noexcept;
  void account(ThreadFront* front, int64_t bytes) noexcept;
  void raise_peak(int64_t active) noexcept;
  bool keep_large(ThreadFront* front, Block* block, Segment*& chain) noexcept;
  void wrap(Block* block) noexcept;
  void unwrap(Block* block) noexcept;
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
  int64_t until_failure_ = -1;  // debug mode: allocations before the one that fails; negative for none
  size_t fronts_sized_for_ = 0;
  size_t front_small_bytes_ = 0;  // most that one front keeps, small
  size_t front_large_bytes_ = 0;  // and large
  size_t granted_bytes_ = 0;      // sum over the fronts of what they may keep
  size_t reserved_bytes_ = 0;
  size_t in_flight_bytes_ = 0;  // being asked for just now
  size_t peak_reserved_bytes_ = 0;
  uint64_t clock_ = 0;
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

}  // namespace gorgo

// One thread's front of a pool: its recently released blocks, its counters, and the gate that lets others stop it.
//
// Invariants: only the owner touches a front, inside the gate, except that who holds the pool's lock may claim every
// front and then touch them all. The owner pays two plain stores and a load for the gate: the claimer makes up for the
// missing fence with membarrier(2), which forces one on every running thread. Nothing in the gate waits or throws.
// Everything in a front is counted as cached; the pool grants it how much.
//
// Read next: block_pool.cpp, pool_core.h.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "memory/block_pool.h"
#include "memory/size_class.h"

#if defined(__SANITIZE_THREAD__)
#define GORGO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GORGO_TSAN 1
#endif
#endif
#if !defined(GORGO_TSAN)
#define GORGO_TSAN 0
#endif

namespace gorgo {

class FrontGate {
 public:
  // Owner: false while somebody claims the front; then the pool's lock is the way in.
  bool enter() noexcept {
#if GORGO_TSAN
    busy_.exchange(true);  // the sanitizer knows no asymmetric fence
#else
    busy_.store(true, std::memory_order_relaxed);
    if (asymmetric) [[likely]] {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
#endif
    if (!claimed_.load(GORGO_TSAN ? std::memory_order_seq_cst : std::memory_order_acquire)) [[likely]]
      return true;
    leave();
    return false;
  }
  void leave() noexcept { busy_.store(false, std::memory_order_release); }

  // Claimer, with the pool's lock: claim() each gate, then one heavy_fence(), then wait_outside() for each, later
  // unclaim().
  void claim() noexcept { claimed_.store(true); }
  void wait_outside() const noexcept;
  void unclaim() noexcept { claimed_.store(false, std::memory_order_release); }
  // In the child of a fork, for a front whose thread is not there.
  void reset() noexcept { busy_.store(false); }

  static void heavy_fence() noexcept;
  // Registers for membarrier; called before the first front exists, and again in the child of a fork.
  static void set_up() noexcept;

 private:
  static bool asymmetric;

  std::atomic<bool> busy_{false};
  std::atomic<bool> claimed_{false};
};

struct ThreadFront {
  struct SmallList {
    Block* head = nullptr;
    uint32_t count = 0;
    uint32_t most = 0;
  };
  // Blocks of one exact size. The place is found by a hash of the size; `touched` is a second chance against another
  // size that wants the same place.
  struct LargeSlot {
    size_t bytes = 0;
    Block* head = nullptr;
    bool touched = false;
  };
  static constexpr int kLargeSlots = 64;

  static size_t large_slot(size_t bytes) noexcept {
    return static_cast<size_t>((bytes / kLargeStep_bytes * 0x9E3779B97F4A7C15u) >> 58);
  }

  FrontGate gate;
  class PoolCore* pool = nullptr;  // null once the pool is gone
  uint64_t stream = 0;             // the only stream whose blocks are kept here

  // Bytes handed out here less bytes taken back here, since they were last added to the pool's total; outside
  // [publish_below, publish_above] the pool's total and peak must be brought up to date.
  int64_t unpublished_bytes = 0;
  int64_t publish_above = 0;
  int64_t publish_below = 0;

  int64_t allocations = 0;
  int64_t misses = 0;
  int64_t releases = 0;

  size_t large_cached_bytes = 0;
  size_t large_credit_bytes = 0;  // granted so far out of the pool's cache limit

  std::array<SmallList, kSmallClasses> small;
  std::array<LargeSlot, kLargeSlots> large;
};

// Places for fronts in each thread; a pool beyond them works without fronts, at the place that is always empty.
inline constexpr uint32_t kFrontSlots = 8;
inline constexpr uint32_t kNoSlot = kFrontSlots;

// This thread's fronts. The initial-exec model saves a call per access; it needs room that glibc keeps for libraries
// loaded late.
#if defined(__GLIBC__)
[[gnu::tls_model("initial-exec")]]
#endif
extern thread_local constinit ThreadFront* t_fronts[kFrontSlots + 1];

// All pools, for threads that end and processes that fork. Never destroyed.
class FrontRegistry {
 public:
  static FrontRegistry& get();

  // Gives the pool a place in t_fronts if it wants one and one is free, else kNoSlot.
  uint32_t add(PoolCore* pool, bool with_front);
  void remove(PoolCore* pool, uint32_t slot) noexcept;
  // Makes sure that this thread's fronts go home when it ends; false if it is ending already.
  static bool watch_thread() noexcept;

  std::mutex mutex;  // guards the links between fronts and pools; taken before a pool's lock

 private:
  FrontRegistry() = default;
  static void before_fork();
  static void after_fork_in_parent();
  static void after_fork_in_child();

  std::vector<PoolCore*> pools_;
  std::array<PoolCore*, kFrontSlots> slots_{};
};

}  // namespace gorgo

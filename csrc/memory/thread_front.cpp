#include "memory/thread_front.h"

#include <thread>

#include "memory/pool_core.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gorgo {

bool FrontGate::asymmetric = false;

void FrontGate::wait_outside() const noexcept {
  while (busy_.load(GORGO_TSAN ? std::memory_order_seq_cst : std::memory_order_acquire)) std::this_thread::yield();
}

void FrontGate::heavy_fence() noexcept {
#if !GORGO_TSAN
#if defined(__linux__)
  if (asymmetric) {
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    return;
  }
#endif
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

void FrontGate::set_up() noexcept {
#if defined(__linux__)
  asymmetric = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
}

thread_local constinit ThreadFront* t_fronts[kFrontSlots + 1] = {};

namespace {

thread_local constinit bool t_ended = false;

// Gives a thread's fronts back when it ends.
struct FrontReaper {
  bool armed = false;
  ~FrontReaper() {
    if (!armed) return;
    std::lock_guard lock(FrontRegistry::get().mutex);
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

bool FrontRegistry::watch_thread() noexcept {
  if (t_ended) return false;
  t_reaper.armed = true;
  return true;
}

FrontRegistry& FrontRegistry::get() {
  static FrontRegistry& registry = []() -> FrontRegistry& {
    FrontGate::set_up();
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
#endif
    return *new FrontRegistry;
  }();
  return registry;
}

uint32_t FrontRegistry::add(PoolCore* pool, bool with_front) {
  std::lock_guard lock(mutex);
  pools_.push_back(pool);
  for (uint32_t slot = 0; with_front && slot < kFrontSlots; ++slot) {
    if (slots_[slot] != nullptr) continue;
    slots_[slot] = pool;
    return slot;
  }
  return kNoSlot;
}

void FrontRegistry::remove(PoolCore* pool, uint32_t slot) noexcept {
  std::erase(pools_, pool);
  if (slot != kNoSlot) slots_[slot] = nullptr;
}

void FrontRegistry::before_fork() {
  get().mutex.lock();
  for (PoolCore* pool : get().pools_) pool->before_fork();
}

void FrontRegistry::after_fork_in_parent() {
  for (PoolCore* pool : get().pools_) pool->after_fork(false, nullptr);
  get().mutex.unlock();
}

void FrontRegistry::after_fork_in_child() {
  FrontGate::set_up();
  for (PoolCore* pool : get().pools_) pool->after_fork(true, t_fronts[pool->slot]);
  get().mutex.unlock();
}

}  // namespace gorgo

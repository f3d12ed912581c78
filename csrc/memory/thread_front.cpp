#include "memory/thread_front.h"

#include <thread>

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

}  // namespace gorgo

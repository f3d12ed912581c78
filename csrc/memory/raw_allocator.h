// Where a pool's memory comes from: the system, a device driver, or a test's bounded budget.
//
// Invariant: allocate returns 64-byte aligned memory or null, never throws, and may be called from several threads at
// once; release gets exactly the size that was asked for. A pool never calls either with its lock held.
// Read next: block_pool.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace gorgo {

inline constexpr size_t kAlignment_bytes = 64;

class RawAllocator {
 public:
  virtual ~RawAllocator() = default;
  virtual void* allocate(size_t bytes) noexcept = 0;
  virtual void release(void* data, size_t bytes) noexcept = 0;
  // Whether the CPU may touch the memory: guards and poison need that.
  virtual bool host_accessible() const noexcept { return true; }
  // Returns when no work that was enqueued before still touches the memory; debug mode asks before it looks or writes.
  virtual void settle() noexcept {}
};

// Host memory: small requests from the C heap, large ones mapped (zeroed by the kernel, huge pages advised). Never
// destroyed.
RawAllocator& system_allocator();

// The system's memory within a budget, failing on demand: for tests of the policy above it.
class BudgetAllocator final : public RawAllocator {
 public:
  explicit BudgetAllocator(size_t budget_bytes = SIZE_MAX) : budget_bytes_(budget_bytes) {}
  void* allocate(size_t bytes) noexcept override;
  void release(void* data, size_t bytes) noexcept override;

  // The n-th allocation from now (1 is the next) fails, once.
  void fail_nth(int64_t n) { fail_at_.store(calls_.load() + n); }
  void set_budget(size_t bytes) { budget_bytes_.store(bytes); }
  size_t live_bytes() const { return live_bytes_.load(); }
  int64_t calls() const { return calls_.load(); }
  int64_t live() const { return live_.load(); }

 private:
  std::atomic<size_t> budget_bytes_;
  std::atomic<size_t> live_bytes_{0};
  std::atomic<int64_t> live_{0};
  std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> fail_at_{-1};
};

}  // namespace gorgo

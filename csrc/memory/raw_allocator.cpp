#include "memory/raw_allocator.h"

#include <cstdlib>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#define GORGO_HAS_MMAP 1
#else
#define GORGO_HAS_MMAP 0
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

namespace gorgo {
namespace {

// From here on memory is mapped, and released memory goes back to the system at once.
constexpr size_t kMapFrom_bytes = size_t{1} << 20;
// First touch of fresh memory is page faults above all: measured on a virtual machine, 4 KiB pages cost 400 us per MiB
// and 2 MiB pages 30 to 100, giving it back 60 against 3. So everything of at least one huge page starts on a huge
// page's boundary and asks for them.
constexpr size_t kHugePage_bytes = size_t{2} << 20;

constexpr size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

class SystemAllocator final : public RawAllocator {
 public:
  void* allocate(size_t bytes) noexcept override {
    if (bytes > SIZE_MAX / 2) return nullptr;
#if GORGO_HAS_MMAP
    if (bytes >= kMapFrom_bytes) return map(round_up(bytes, kPage_bytes));
#endif
#if defined(_WIN32)
    return _aligned_malloc(bytes == 0 ? 1 : bytes, kAlignment_bytes);
#else
    return std::aligned_alloc(kAlignment_bytes, round_up(bytes == 0 ? 1 : bytes, kAlignment_bytes));
#endif
  }

  void release(void* data, [[maybe_unused]] size_t bytes) noexcept override {
#if GORGO_HAS_MMAP
    if (bytes >= kMapFrom_bytes) {
      munmap(data, round_up(bytes, kPage_bytes));
      return;
    }
#endif
#if defined(_WIN32)
    _aligned_free(data);
#else
    std::free(data);
#endif
  }

 private:
#if GORGO_HAS_MMAP
  // Mappings are whole pages; this is a multiple of every page size in use.
  static constexpr size_t kPage_bytes = size_t{64} << 10;

  static void* map(size_t bytes) noexcept {
    const size_t slack_bytes = bytes >= kHugePage_bytes ? kHugePage_bytes : 0;
    void* got = mmap(nullptr, bytes + slack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) return nullptr;
    if (slack_bytes == 0) return got;
    const uintptr_t start = reinterpret_cast<uintptr_t>(got);
    const uintptr_t aligned = round_up(start, kHugePage_bytes);
    if (aligned > start) munmap(got, aligned - start);
    const size_t behind_bytes = start + slack_bytes - aligned;
    if (behind_bytes > 0) munmap(reinterpret_cast<void*>(aligned + bytes), behind_bytes);
#if defined(MADV_HUGEPAGE)
    madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);
#endif
    return reinterpret_cast<void*>(aligned);
  }
#endif
};

}  // namespace

RawAllocator& system_allocator() {
  static SystemAllocator& allocator = *new SystemAllocator;
  return allocator;
}

void* BudgetAllocator::allocate(size_t bytes) noexcept {
  if (calls_.fetch_add(1) + 1 == fail_at_.load()) return nullptr;
  if (live_bytes_.fetch_add(bytes) + bytes > budget_bytes_.load()) {
    live_bytes_.fetch_sub(bytes);
    return nullptr;
  }
  void* data = system_allocator().allocate(bytes);
  if (data == nullptr) {
    live_bytes_.fetch_sub(bytes);
  } else {
    live_.fetch_add(1);
  }
  return data;
}

void BudgetAllocator::release(void* data, size_t bytes) noexcept {
  system_allocator().release(data, bytes);
  live_bytes_.fetch_sub(bytes);
  live_.fetch_sub(1);
}

}  // namespace gorgo

// Tells the address sanitizer, in builds that have it, which bytes of the pool nobody may touch.
//
// Invariant: without the sanitizer both are nothing.
// Read next: block_pool.cpp.
#pragma once

#include <cstddef>

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

namespace gorgo {

inline void poison([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) noexcept {
#if GORGO_ASAN
  ASAN_POISON_MEMORY_REGION(data, bytes);
#endif
}

inline void unpoison([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) noexcept {
#if GORGO_ASAN
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
}

}  // namespace gorgo

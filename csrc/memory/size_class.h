// How a pool rounds requests: the small size classes and the steps of large blocks.
//
// Invariant: every rounded size is a multiple of 64; a small request wastes at most a fifth of its block (beyond
// 64-byte rounding), a large one at most 4 KiB below 1 MiB and 64 KiB above.
// Read next: thread_front.h.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace gorgo {

inline constexpr size_t kMaxSmall_bytes = 32768;
inline constexpr int kSmallClasses = 32;
inline constexpr uint8_t kLargeClass = 255;
inline constexpr size_t kLargeStep_bytes = 4096;

namespace size_class_detail {

// 64 to 512 by 64, then four to each doubling.
constexpr std::array<uint32_t, kSmallClasses> make_sizes() {
  std::array<uint32_t, kSmallClasses> sizes{};
  int k = 0;
  for (uint32_t bytes = 64; bytes <= 512; bytes += 64) sizes[static_cast<size_t>(k++)] = bytes;
  for (uint32_t base = 512; base < kMaxSmall_bytes; base *= 2) {
    for (uint32_t quarter = 1; quarter <= 4; ++quarter) sizes[static_cast<size_t>(k++)] = base + base / 4 * quarter;
  }
  return sizes;
}

inline constexpr std::array<uint32_t, kSmallClasses> kSizes = make_sizes();

// Class of ceil(bytes / 64).
constexpr std::array<uint8_t, kMaxSmall_bytes / 64 + 1> make_classes() {
  std::array<uint8_t, kMaxSmall_bytes / 64 + 1> classes{};
  uint8_t k = 0;
  for (size_t i = 0; i < classes.size(); ++i) {
    while (kSizes[k] < i * 64) ++k;
    classes[i] = k;
  }
  return classes;
}

inline constexpr std::array<uint8_t, kMaxSmall_bytes / 64 + 1> kClasses = make_classes();

}  // namespace size_class_detail

// Class of a request of at most kMaxSmall_bytes.
constexpr uint8_t small_class(size_t bytes) { return size_class_detail::kClasses[(bytes + 63) / 64]; }

constexpr size_t class_bytes(uint8_t klass) { return size_class_detail::kSizes[klass]; }

// Large requests come in steps, so that sizes that nearly agree share blocks and what a split leaves is worth keeping.
constexpr size_t round_large(size_t bytes) {
  constexpr size_t kCoarseFrom_bytes = size_t{1} << 20;
  constexpr size_t kCoarseStep_bytes = size_t{64} << 10;
  const size_t step = bytes <= kCoarseFrom_bytes ? kLargeStep_bytes : kCoarseStep_bytes;
  return bytes == 0 ? kLargeStep_bytes : (bytes + step - 1) & ~(step - 1);
}

// Size of the slab that a class is carved from: at least 16 blocks.
constexpr size_t slab_bytes(uint8_t klass) {
  const size_t sixteen = std::bit_ceil(class_bytes(klass)) * 16;
  return sixteen < (size_t{64} << 10) ? size_t{64} << 10 : sixteen;
}

}  // namespace gorgo

// A stable device-wide sort of unsigned keys with 32-bit values beside them, for whoever needs an order.
//
// Invariant: never allocates; the caller brings two buffers of keys, two of values, and temporary memory.
// Read next: ops/sort/kernels_cuda_pairs.cu, segments.cuh.
#pragma once

#include "device/cuda/launch.cuh"

namespace gorgo::cuda {

struct PairSort {
  int64_t count = 0;
  bool wide = false;  // keys of 64 bits, else of 32
  int bits = 0;       // that keys use; the higher ones are not looked at
  void* keys[2] = {nullptr, nullptr};
  uint32_t* values[2] = {nullptr, nullptr};
  int which = 0;  // the buffers that hold the pairs
};

// Temporary memory that sort_pairs needs for `count`, `wide` and `bits`.
[[nodiscard]] size_t sort_pairs_bytes(const PairSort& sort) noexcept;
// Sorts the pairs and sets `which`.
void sort_pairs(cudaStream_t stream, PairSort& sort, void* temporary, size_t bytes) noexcept;

// The number of bits that hold numbers up to `most`.
constexpr int bits_for(uint64_t most) noexcept {
  int bits = 1;
  while (bits < 64 && most >> bits != 0) ++bits;
  return bits;
}

// Parts of scratch memory are laid one after the other at this alignment.
constexpr size_t align_scratch(size_t bytes) noexcept { return (bytes + 255) / 256 * 256; }

}  // namespace gorgo::cuda

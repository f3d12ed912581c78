// What the CUDA kernels of the random family share: the key in device memory, packs of results, and room for sorting tickets.
// Read next: kernels_cuda.cu.
#pragma once

#include "kernels/cuda/scalar_math.cuh"

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/operand.cuh"
#include "kernels/cuda/sort_pairs.cuh"
#include "ops/random/philox.h"

namespace gorgo::cuda {

// A key is a tensor: seed and counter are read by the kernel, in the order of the stream.
struct DeviceKey {
  const uint64_t* words;
  int64_t step;

  GORGO_DEVICE PhiloxStream stream() const { return {words[0], words[step]}; }
};
inline DeviceKey key_of(const KOperand& key) noexcept { return {key.as<const uint64_t>(), key.strides[0]}; }

constexpr int kDrawThreads = 256;

template <class T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Elements {
  T x[kCount];
};

// Tickets: 64-bit keys with the numbers of those that hold them, to be sorted stably.
class Tickets {
 public:
  Tickets(int64_t count, void* scratch) noexcept {
    sort_.count = count;
    sort_.wide = true;
    sort_.bits = 64;
    auto* at = static_cast<char*>(scratch);
    for (void*& keys : sort_.keys) {
      keys = at;
      at += align_scratch(static_cast<size_t>(count) * sizeof(uint64_t));
    }
    for (uint32_t*& values : sort_.values) {
      values = reinterpret_cast<uint32_t*>(at);
      at += align_scratch(static_cast<size_t>(count) * sizeof(uint32_t));
    }
    temporary_ = at;
  }
  [[nodiscard]] static size_t bytes(int64_t count) noexcept {
    const auto n = static_cast<size_t>(count);
    return 2 * align_scratch(n * sizeof(uint64_t)) + 2 * align_scratch(n * sizeof(uint32_t)) +
           sort_pairs_bytes(Tickets(count, nullptr).sort_);
  }
  [[nodiscard]] uint64_t* keys() const noexcept { return static_cast<uint64_t*>(sort_.keys[sort_.which]); }
  [[nodiscard]] uint32_t* holders() const noexcept { return sort_.values[sort_.which]; }
  void sort(cudaStream_t stream) noexcept { sort_pairs(stream, sort_, temporary_, sort_pairs_bytes(sort_)); }
  // Looks at the lowest `bits` of the keys only.
  void sort(cudaStream_t stream, int bits) noexcept {
    sort_.bits = bits;
    sort(stream);
  }

 private:
  PairSort sort_;
  void* temporary_;
};

}  // namespace gorgo::cuda

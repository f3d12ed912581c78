// The device-wide sort of kernels/cuda/sort_pairs.cuh: CUB's radix sort over the bits in use.
#include <cub/device/device_radix_sort.cuh>

#include "kernels/cuda/sort_pairs.cuh"

namespace gorgo::cuda {
namespace {

// Without temporary memory: asks how much is needed.
template <class K>
void run(cudaStream_t stream, PairSort& sort, void* temporary, size_t& bytes) noexcept {
  cub::DoubleBuffer<K> keys(static_cast<K*>(sort.keys[0]), static_cast<K*>(sort.keys[1]));
  cub::DoubleBuffer<uint32_t> values(sort.values[0], sort.values[1]);
  keys.selector = sort.which;
  values.selector = sort.which;
  static_cast<void>(cub::DeviceRadixSort::SortPairs(temporary, bytes, keys, values, static_cast<uint32_t>(sort.count),
                                                    0, sort.bits, stream));
  if (temporary == nullptr) return;
  // Both go back and forth together.
  sort.which = keys.selector;
}

}  // namespace

size_t sort_pairs_bytes(const PairSort& sort) noexcept {
  PairSort asked = sort;
  size_t bytes = 0;
  if (sort.wide) {
    run<uint64_t>(nullptr, asked, nullptr, bytes);
  } else {
    run<uint32_t>(nullptr, asked, nullptr, bytes);
  }
  return align_scratch(bytes);
}

void sort_pairs(cudaStream_t stream, PairSort& sort, void* temporary, size_t bytes) noexcept {
  if (sort.count <= 1) return;
  if (sort.wide) {
    run<uint64_t>(stream, sort, temporary, bytes);
  } else {
    run<uint32_t>(stream, sort, temporary, bytes);
  }
}

}  // namespace gorgo::cuda

// Many sources that meet in few destinations, combined in the order of the sources, so that the bits never depend on the grid.
//
// Each source position has a key, which names its destination. A stable sort by key lays the sources of a destination side by
// side; they are then folded one after the other, long segments in pieces whose results are folded again.
// Invariant: a key of `space` or more stands for no destination. Positions are below 2**32: more would not find room.
// Read next: ops/index/kernels_cuda_segments.cu (the kernels), ops/index/kernels_cuda.cu.
#pragma once

#include "kernels/cuda/move.cuh"
#include "kernels/cuda/sort_pairs.cuh"

namespace gorgo::cuda {

constexpr bool needs_wide_keys(int64_t space) noexcept { return space >= int64_t{0xffffffff}; }

// Where the keys of positions are written, before they are sorted. `order` is null where nobody sorts.
struct SegmentKeys {
  void* keys;
  uint32_t* order;
  bool wide;

#if defined(__CUDACC__)
  GORGO_DEVICE void put(int64_t position, int64_t key) const {
    if (wide) {
      static_cast<uint64_t*>(keys)[position] = static_cast<uint64_t>(key);
    } else {
      static_cast<uint32_t*>(keys)[position] = static_cast<uint32_t>(key);
    }
    if (order != nullptr) order[position] = static_cast<uint32_t>(position);
  }
  GORGO_DEVICE int64_t get(int64_t position) const {
    return wide ? static_cast<int64_t>(static_cast<const uint64_t*>(keys)[position])
                : static_cast<int64_t>(static_cast<const uint32_t*>(keys)[position]);
  }
#endif
};

// Keys and positions in the order of the keys.
struct SortedKeys {
  const void* keys;
  const uint32_t* order;
  int64_t count;
  int64_t space;
  bool wide;

#if defined(__CUDACC__)
  GORGO_DEVICE int64_t key(int64_t i) const {
    return wide ? static_cast<int64_t>(static_cast<const uint64_t*>(keys)[i])
                : static_cast<int64_t>(static_cast<const uint32_t*>(keys)[i]);
  }
#endif
};

// `count` positions with keys in [0, space] and their place in scratch memory.
class Segments {
 public:
  Segments(int64_t count, int64_t space, void* scratch) noexcept : space_(space) {
    sort_.count = count;
    sort_.wide = needs_wide_keys(space);
    sort_.bits = bits_for(static_cast<uint64_t>(space));
    auto* at = static_cast<char*>(scratch);
    const size_t key_bytes = align_scratch(static_cast<size_t>(count) * (sort_.wide ? 8 : 4));
    const size_t order_bytes = align_scratch(static_cast<size_t>(count) * 4);
    for (void*& buffer : sort_.keys) {
      buffer = at;
      at += key_bytes;
    }
    for (uint32_t*& buffer : sort_.values) {
      buffer = reinterpret_cast<uint32_t*>(at);
      at += order_bytes;
    }
    temporary_ = at;
    temporary_bytes_ = sort_pairs_bytes(sort_);
  }
  [[nodiscard]] static size_t bytes(int64_t count, int64_t space) noexcept {
    if (count > int64_t{0xffffffff}) return SIZE_MAX / 2;  // no memory holds these
    const Segments s(count, space, nullptr);
    return static_cast<size_t>(static_cast<char*>(s.temporary_) - static_cast<char*>(nullptr)) + s.temporary_bytes_;
  }
  [[nodiscard]] SegmentKeys keys() const noexcept { return {sort_.keys[0], sort_.values[0], sort_.wide}; }
  void sort(cudaStream_t stream) noexcept { sort_pairs(stream, sort_, temporary_, temporary_bytes_); }
  [[nodiscard]] SortedKeys sorted() const noexcept {
    return {sort_.keys[sort_.which], sort_.values[sort_.which], sort_.count, space_, sort_.wide};
  }
  // The first byte of scratch memory behind.
  [[nodiscard]] void* end() const noexcept { return static_cast<char*>(temporary_) + temporary_bytes_; }

 private:
  PairSort sort_;
  int64_t space_;
  void* temporary_ = nullptr;
  size_t temporary_bytes_ = 0;
};

// Where destinations and sources lie, in elements: each key and position has `outer` times `inner` elements. Walks of two
// operands name the destination first.
struct SegmentPlan {
  Walk<2> outer;
  Walk<2> inner;
  Walk<1> position;  // of sources
  Walk<1> key;       // of destinations
};

// A walk along one line.
inline Walk<1> line_walk(int64_t length, int64_t stride) noexcept {
  const int64_t* strides[] = {&stride};
  return Walk<1>::of(&length, 1, strides);
}
// A walk of two operands over nothing but one position.
inline Walk<2> point_walk() noexcept {
  const int64_t* none[] = {nullptr, nullptr};
  return Walk<2>::of(nullptr, 0, none);
}

enum class SegmentFold : uint8_t { Add, Multiply, Greatest, Least };

// Folds the sources into what `out` holds. `values` may be a Python number. Nothing is done where *skip is not zero.
void fold_segments(cudaStream_t stream, SegmentFold fold, const SortedKeys& keys, const SegmentPlan& plan,
                   const KOperand& out, const KOperand& values, void* scratch, const int32_t* skip) noexcept;
// Scratch memory for `count` positions and `lines` = outer times inner elements of dtype `d`.
[[nodiscard]] size_t fold_bytes(int64_t count, int64_t lines, DType d) noexcept;

}  // namespace gorgo::cuda

// CUDA kernels of the sort family. The elements of a line become unsigned keys in the wanted order; one stable sort of those,
// with their indices, serves every op and dtype. A dtype matters by its size and by how its bits become keys alone.
//
// Short lines are ranked: each element counts those before it. Middle ones are sorted by a block each. Long ones are sorted by
// the whole device, many at once, with the line's number above the key.
// Read next: kernels_cuda_search.cu, kernels_cuda_pairs.cu, sort.cpp (what each op means).
#include <cub/block/block_radix_sort.cuh>

#include "kernels/cuda/move.cuh"
#include "kernels/cuda/sort_pairs.cuh"
#include "ops/sort/attrs.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;

// ---- keys ----
// How bits become keys. NaN is the greatest, unless it must come last in a falling order too. Zeros of both signs tie.
template <class K>
struct KeyRule {
  static constexpr K kSign = static_cast<K>(K{1} << (sizeof(K) * 8 - 1));
  K infinity = 0;
  bool floating = false;
  bool has_sign = false;  // of integers
  bool falling = false;
  bool nan_last = true;

  KeyRule(DType d, bool falls, bool nan_is_last) noexcept
      : floating(is_floating(d)), has_sign(is_signed_integer(d)), falling(falls), nan_last(nan_is_last) {
    infinity = static_cast<K>(d == DType::Float64    ? 0x7ff0000000000000u
                              : d == DType::Float32  ? 0x7f800000u
                              : d == DType::Float16  ? 0x7c00u
                              : d == DType::BFloat16 ? 0x7f80u
                                                     : 0u);
  }
  GORGO_DEVICE K key(K bits) const {
    if (floating) {
      const K magnitude = static_cast<K>(bits & static_cast<K>(~kSign));
      if (magnitude > infinity) return falling && !nan_last ? K{0} : static_cast<K>(~K{0});
      if (magnitude == 0) bits = 0;
      bits = (bits & kSign) != 0 ? static_cast<K>(~bits) : static_cast<K>(bits | kSign);
    } else if (has_sign) {
      bits = static_cast<K>(bits ^ kSign);
    }
    return falling ? static_cast<K>(~bits) : bits;
  }
};

// ---- lines ----
// The lines of a call and what is wanted of them: the first `kept` values or indices in order, or both.
template <class K>
struct Lines {
  int64_t length = 1;
  int64_t count = 1;
  int64_t step = 0;
  int64_t kept = 1;
  int64_t inner = 1;  // lines that lie side by side in the result
  Walk<1> starts;
  const K* x = nullptr;
  K* values = nullptr;
  int64_t* indices = nullptr;

  Lines(const KernelArgs& args, int64_t given_axis) noexcept {
    const KOperand& in = args.in[0];
    const KOperand& out = args.out[0];
    const int axis = static_cast<int>(given_axis < 0 ? given_axis + in.rank : given_axis);
    int64_t shape[kMaxAxes];
    int64_t strides[kMaxAxes];
    int rank = 0;
    if (in.rank > 0) {
      length = in.shape[axis];
      step = in.strides[axis];
      kept = out.shape[axis];
      for (int i = 0; i < in.rank; ++i) {
        if (i == axis) continue;
        shape[rank] = in.shape[i];
        strides[rank++] = in.strides[i];
        count *= in.shape[i];
        if (i > axis) inner *= in.shape[i];
      }
    }
    const int64_t* all[] = {strides};
    starts = Walk<1>::of(shape, rank, all);
    x = in.as<const K>();
  }
  GORGO_DEVICE const K* line(int64_t number) const {
    int64_t at[1];
    starts.at(number, at);
    return x + at[0];
  }
  // Writes the entry of a line that has `rank` others before it.
  GORGO_DEVICE void give(int64_t number, int64_t rank, const K* from, int64_t index) const {
    int64_t to = number * kept + rank;
    if (inner != 1) {
      const int64_t outer = number / inner;
      to = (outer * kept + rank) * inner + (number - outer * inner);
    }
    if (values != nullptr) values[to] = from[index * step];
    if (indices != nullptr) indices[to] = index;
  }
};

// ---- short lines: an element's place is the number of elements before it ----
constexpr int64_t kShort = 64;

template <class K>
__global__ void __launch_bounds__(kThreads)
    rank_kernel(const __grid_constant__ Lines<K> lines, const Splitter length, const KeyRule<K> rule) {
  const int64_t total = lines.count * lines.length;
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  const int n = static_cast<int>(lines.length);
  for (int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x; item < total; item += stride) {
    int64_t number = item;
    const int i = static_cast<int>(length.split(number));
    const K* from = lines.line(number);
    const K own = rule.key(from[i * lines.step]);
    int rank = 0;
    for (int j = 0; j < n; ++j) {
      const K other = rule.key(from[j * lines.step]);
      rank += other < own || (other == own && j < i) ? 1 : 0;
    }
    if (rank < lines.kept) lines.give(number, rank, from, i);
  }
}

// ---- a block for each line ----
template <class K, int kWidth, int kItems>
__global__ void __launch_bounds__(kWidth) block_kernel(const __grid_constant__ Lines<K> lines, const KeyRule<K> rule) {
  using Sort = cub::BlockRadixSort<K, kWidth, kItems, uint16_t>;
  __shared__ typename Sort::TempStorage memory;
  const int n = static_cast<int>(lines.length);
  for (int64_t number = blockIdx.x; number < lines.count; number += gridDim.x) {
    const K* from = lines.line(number);
    K keys[kItems];
    uint16_t index[kItems];
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int i = static_cast<int>(threadIdx.x) * kItems + k;
      // What fills the block up is not before the greatest key, and stands behind all elements.
      keys[k] = i < n ? rule.key(from[i * lines.step]) : static_cast<K>(~K{0});
      index[k] = static_cast<uint16_t>(i);
    }
    Sort(memory).SortBlockedToStriped(keys, index);
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int rank = k * kWidth + static_cast<int>(threadIdx.x);
      if (rank < n && rank < lines.kept) lines.give(number, rank, from, index[k]);
    }
    __syncthreads();
  }
}

// ---- long lines: the whole device, a group of lines at a time ----
constexpr int64_t kLong = 4096;  // lines up to this length have a block each

struct LongPlan {
  int64_t lines = 1;  // in a group
  int64_t total = 0;  // elements of a group
  bool two_sorts = false;
  PairSort by_key;
  PairSort by_line;
  size_t key_bytes = 0;
  size_t value_bytes = 0;
  size_t temporary = 0;

  LongPlan(int64_t length, int64_t count, int64_t element_bytes) noexcept {
    constexpr int64_t kGroup = int64_t{1} << 26;
    lines = kGroup / length;
    if (lines < 1) lines = 1;
    if (lines > count) lines = count;
    total = lines * length;
    const int line_bits = lines > 1 ? bits_for(static_cast<uint64_t>(lines - 1)) : 0;
    two_sorts = element_bytes == 8 && lines > 1;
    by_key.count = by_line.count = total;
    by_key.bits = static_cast<int>(8 * element_bytes) + (two_sorts ? 0 : line_bits);
    by_key.wide = by_key.bits > 32;
    by_line.bits = line_bits;
    key_bytes = align_scratch(static_cast<size_t>(total) * (by_key.wide ? 8 : 4));
    value_bytes = align_scratch(static_cast<size_t>(total) * 4);
    temporary = sort_pairs_bytes(by_key);
    if (two_sorts) {
      const size_t other = sort_pairs_bytes(by_line);
      if (other > temporary) temporary = other;
    }
  }
  [[nodiscard]] size_t bytes() const noexcept { return 2 * key_bytes + 2 * value_bytes + temporary; }
};

template <class K, class Wide>
__global__ void __launch_bounds__(kThreads)
    key_kernel(const __grid_constant__ Lines<K> lines, const KeyRule<K> rule, const Splitter length, int64_t first,
               int64_t total, bool numbered, Wide* __restrict__ keys, uint32_t* __restrict__ values) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x; item < total; item += stride) {
    int64_t number = item;
    const int64_t i = length.split(number);
    auto key = static_cast<Wide>(rule.key(lines.line(first + number)[i * lines.step]));
    if constexpr (sizeof(Wide) > sizeof(K)) {
      if (numbered) key |= static_cast<Wide>(number) << (8 * sizeof(K));
    }
    keys[item] = key;
    values[item] = static_cast<uint32_t>(item);
  }
}

__global__ void __launch_bounds__(kThreads) number_kernel(const uint32_t* __restrict__ values, const Splitter length,
                                                          int64_t total, uint32_t* __restrict__ numbers) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x; item < total; item += stride) {
    int64_t number = values[item];
    length.split(number);
    numbers[item] = static_cast<uint32_t>(number);
  }
}

template <class K>
__global__ void __launch_bounds__(kThreads)
    give_kernel(const __grid_constant__ Lines<K> lines, const Splitter kept, int64_t first, int64_t total,
                const uint32_t* __restrict__ values) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x; item < total; item += stride) {
    int64_t number = item;
    const int64_t rank = kept.split(number);
    const int64_t begin = number * lines.length;
    lines.give(first + number, rank, lines.line(first + number), int64_t{values[begin + rank]} - begin);
  }
}

template <class K>
void sort_long(const KernelArgs& args, const Lines<K>& lines, const KeyRule<K>& rule) noexcept {
  const cudaStream_t stream = stream_of(args);
  const LongPlan plan(lines.length, lines.count, sizeof(K));
  char* at = static_cast<char*>(args.scratch);
  void* keys[2] = {at, at + plan.key_bytes};
  at += 2 * plan.key_bytes;
  uint32_t* values[2] = {reinterpret_cast<uint32_t*>(at), reinterpret_cast<uint32_t*>(at + plan.value_bytes)};
  at += 2 * plan.value_bytes;
  for (int64_t first = 0; first < lines.count; first += plan.lines) {
    const int64_t left = lines.count - first;
    const int64_t group = left < plan.lines ? left : plan.lines;
    const int64_t total = group * lines.length;
    PairSort sort = plan.by_key;
    sort.count = total;
    for (int i = 0; i < 2; ++i) {
      sort.keys[i] = keys[i];
      sort.values[i] = values[i];
    }
    const Splitter length(lines.length, total);
    const unsigned grid = grid_for(total, kThreads, 16);
    const bool numbered = !plan.two_sorts && plan.lines > 1;
    if (sort.wide) {
      key_kernel<K, uint64_t><<<grid, kThreads, 0, stream>>>(lines, rule, length, first, total, numbered,
                                                             static_cast<uint64_t*>(keys[0]), values[0]);
    } else if constexpr (sizeof(K) <= 4) {
      key_kernel<K, uint32_t><<<grid, kThreads, 0, stream>>>(lines, rule, length, first, total, numbered,
                                                             static_cast<uint32_t*>(keys[0]), values[0]);
    }
    sort_pairs(stream, sort, at, plan.temporary);
    if (plan.two_sorts && group > 1) {
      PairSort by_line = plan.by_line;
      by_line.count = total;
      by_line.which = sort.which;
      for (int i = 0; i < 2; ++i) {
        by_line.keys[i] = keys[i];
        by_line.values[i] = values[i];
      }
      number_kernel<<<grid, kThreads, 0, stream>>>(values[sort.which], length, total,
                                                   static_cast<uint32_t*>(keys[sort.which]));
      sort_pairs(stream, by_line, at, plan.temporary);
      sort.which = by_line.which;
    }
    const int64_t given = group * lines.kept;
    give_kernel<K><<<grid_for(given, kThreads, 16), kThreads, 0, stream>>>(lines, Splitter(lines.kept, given), first,
                                                                           given, values[sort.which]);
  }
}

// ---- the ops ----
template <class K>
void sort_lines(const KernelArgs& args, const Lines<K>& lines, const KeyRule<K>& rule) noexcept {
  const cudaStream_t stream = stream_of(args);
  if (lines.length <= kShort) {
    const int64_t total = lines.count * lines.length;
    rank_kernel<K><<<grid_for(total, kThreads, 16), kThreads, 0, stream>>>(lines, Splitter(lines.length, total), rule);
  } else if (lines.length <= 512) {
    block_kernel<K, 128, 4><<<grid_for(lines.count, 1, 64), 128, 0, stream>>>(lines, rule);
  } else if (lines.length <= kLong) {
    block_kernel<K, 512, 8><<<grid_for(lines.count, 1, 16), 512, 0, stream>>>(lines, rule);
  } else {
    sort_long(args, lines, rule);
  }
}

template <class F>
void with_key(int64_t bytes, const F& f) noexcept {
  switch (bytes) {
    case 1:
      f(TypeTag<uint8_t>());
      break;
    case 2:
      f(TypeTag<uint16_t>());
      break;
    case 4:
      f(TypeTag<uint32_t>());
      break;
    default:
      f(TypeTag<uint64_t>());
      break;
  }
}

size_t bytes_for(const KernelArgs& args, int64_t given_axis) noexcept {
  const KOperand& x = args.in[0];
  if (args.out[0].numel == 0 || x.rank == 0) return 0;
  const int64_t length = x.shape[given_axis < 0 ? given_axis + x.rank : given_axis];
  if (length <= kLong) return 0;
  return LongPlan(length, x.numel / length, dtype_size(x.dtype)).bytes();
}

template <bool kIndices>
void sort(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const auto& a = args.attrs_as<SortAttrs>();
  with_key(dtype_size(args.in[0].dtype), [&]<class K>(TypeTag<K>) {
    Lines<K> lines(args, a.axis);
    if constexpr (kIndices) {
      lines.indices = args.out[0].as<int64_t>();
    } else {
      lines.values = args.out[0].as<K>();
    }
    sort_lines(args, lines, KeyRule<K>(args.in[0].dtype, a.descending, true));
  });
}
size_t sort_bytes(const KernelArgs& args) noexcept { return bytes_for(args, args.attrs_as<SortAttrs>().axis); }

void topk(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const auto& a = args.attrs_as<TopkAttrs>();
  with_key(dtype_size(args.in[0].dtype), [&]<class K>(TypeTag<K>) {
    Lines<K> lines(args, a.axis);
    lines.values = args.out[0].as<K>();
    lines.indices = args.out[1].as<int64_t>();
    sort_lines(args, lines, KeyRule<K>(args.in[0].dtype, a.largest, false));
  });
}
size_t topk_bytes(const KernelArgs& args) noexcept { return bytes_for(args, args.attrs_as<TopkAttrs>().axis); }

}  // namespace

void fill_search(KernelSink& sink);  // kernels_cuda_search.cu

void fill_sort(KernelSink& sink) {
  fill_search(sink);
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    if (is_complex(d)) continue;
    add(sink, "sort", d, sort<false>, sort_bytes);
    add(sink, "argsort", d, sort<true>, sort_bytes);
    add(sink, "topk", d, topk, topk_bytes);
  }
}

}  // namespace gorgo::cuda

// Kernels of the creation family. Each element depends on its own position alone.
// Read next: attrs.h.
#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS cuda
#endif

#include <cstring>

#include "device/cuda/launch.cuh"
#include "kernels/from_scalar.h"
#include "ops/creation/attrs.h"

namespace gorgo::cuda {

namespace {

constexpr int kThreads = 256;

// A number's bytes, over and over.
struct Pattern {
  uint32_t word[4];
};
template <class T>
Pattern pattern_of(T value) noexcept {
  unsigned char bytes[16];
  for (size_t i = 0; i < sizeof bytes; i += sizeof(T)) std::memcpy(bytes + i, &value, sizeof(T));
  Pattern pattern;
  std::memcpy(&pattern, bytes, sizeof pattern);
  return pattern;
}

// Sixteen bytes to a thread at a time from the first aligned address on; `head` bytes before it and the tail singly.
__global__ void __launch_bounds__(kThreads)
    fill_kernel(unsigned char* to, int64_t bytes, int head, Pattern pattern, Pattern turned) {
  const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t vectors = (bytes - head) / 16;
  const uint4 v = make_uint4(turned.word[0], turned.word[1], turned.word[2], turned.word[3]);
  auto* aligned = reinterpret_cast<uint4*>(to + head);
  for (int64_t i = first; i < vectors; i += int64_t{gridDim.x} * kThreads) aligned[i] = v;
  const int64_t rest = bytes - head - vectors * 16;
  if (first < head + rest) {
    const int64_t at = first < head ? first : vectors * 16 + first;
    const int in_pattern = static_cast<int>(at % 16);
    const uint32_t word = in_pattern < 8 ? (in_pattern < 4 ? pattern.word[0] : pattern.word[1])
                                         : (in_pattern < 12 ? pattern.word[2] : pattern.word[3]);
    to[at] = static_cast<unsigned char>(word >> (8 * (in_pattern % 4)));
  }
}

template <class T>
void fill(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const auto bytes = static_cast<int64_t>(out.numel * sizeof(T));
  const auto beyond = static_cast<int>(reinterpret_cast<uintptr_t>(out.data) % 16);
  int head = beyond == 0 ? 0 : 16 - beyond;
  if (head > bytes) head = static_cast<int>(bytes);
  const Pattern pattern = pattern_of(from_scalar<T>(args.attrs_as<FullAttrs>().fill_value));
  // What the aligned vectors hold: the pattern from `head` bytes on.
  unsigned char twice[32];
  std::memcpy(twice, &pattern, 16);
  std::memcpy(twice + 16, &pattern, 16);
  Pattern turned;
  std::memcpy(&turned, twice + head % 16, 16);
  const unsigned blocks = grid_for(ceil_div(bytes, 16), int64_t{4} * kThreads, 16);
  fill_kernel<<<blocks, kThreads, 0, stream_of(args)>>>(static_cast<unsigned char*>(out.data), bytes, head, pattern,
                                                        turned);
}

template <class T>
__global__ void __launch_bounds__(kThreads) ramp_integers(T* to, int64_t count, uint64_t start, uint64_t step) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += stride) {
    to[i] = static_cast<T>(start + static_cast<uint64_t>(i) * step);
  }
}
template <class T>
__global__ void __launch_bounds__(kThreads)
    ramp_numbers(T* to, int64_t count, double start, double step, bool has_stop, double stop) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += stride) {
    const bool is_stop = has_stop && i == count - 1;
    to[i] = from_double<T>(is_stop ? stop : start + static_cast<double>(i) * step);
  }
}
template <class T>
void ramp(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const auto& a = args.attrs_as<RampAttrs>();
  const unsigned blocks = grid_for(out.numel, kThreads, 16);
  if constexpr (std::is_integral_v<T>) {
    ramp_integers<T><<<blocks, kThreads, 0, stream_of(args)>>>(out.as<T>(), out.numel, static_cast<uint64_t>(a.start.i),
                                                               static_cast<uint64_t>(a.step.i));
  } else {
    ramp_numbers<T><<<blocks, kThreads, 0, stream_of(args)>>>(out.as<T>(), out.numel, a.start.to_double(),
                                                              a.step.to_double(), a.stop.has, a.stop.value);
  }
}

template <int Bytes>
struct Ones {
  unsigned char bytes[Bytes];
};
// A one on the diagonal of a matrix of zeros: `step` elements apart from `to` on.
template <int Bytes>
__global__ void __launch_bounds__(kThreads)
    diagonal_kernel(unsigned char* to, int64_t count, int64_t step, Ones<Bytes> one) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += stride) {
#pragma unroll
    for (int k = 0; k < Bytes; ++k) to[i * step * Bytes + k] = one.bytes[k];
  }
}
template <class T>
void eye(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  constexpr int kBytes = static_cast<int>(sizeof(T));
  static_cast<void>(cudaMemsetAsync(out.data, 0, static_cast<size_t>(out.numel) * sizeof(T), stream_of(args)));
  const int64_t k = args.attrs_as<EyeAttrs>().k;
  const int64_t rows = out.shape[0];
  const int64_t columns = out.shape[1];
  if (k <= -rows || k >= columns) return;
  const int64_t row = k < 0 ? -k : 0;
  const int64_t column = k < 0 ? 0 : k;
  const int64_t count = rows - row < columns - column ? rows - row : columns - column;
  const T value = from_scalar<T>(Scalar::of_int(1));
  Ones<kBytes> one;
  std::memcpy(one.bytes, &value, sizeof value);
  auto* to = static_cast<unsigned char*>(out.data) + (row * columns + column) * kBytes;
  diagonal_kernel<kBytes><<<grid_for(count, kThreads), kThreads, 0, stream_of(args)>>>(to, count, columns + 1, one);
}

template <class T>
void add_all(KernelSink& sink) {
  constexpr DType kDType = kDTypeOf<T>;
  add(sink, "full", kDType, fill<T>);
  add(sink, "eye", kDType, eye<T>);
  if constexpr (kDType != DType::Bool && !is_complex(kDType)) add(sink, "ramp", kDType, ramp<T>);
}

}  // namespace

void fill_creation(KernelSink& sink) {
#define GORGO_X(name, type, text) add_all<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
}

}  // namespace gorgo::cuda

// CUDA kernels of the random family: numbers from Philox words, by element index, the same as the CPU's.
//
// A thread makes the blocks of words for 16 bytes of results, so that each store is one access. Bits, uniforms, integers, masks
// and orders are the CPU's to the bit; so are normals, where the CPU rounds products and sums once (AVX2 and above).
// Invariant: an element depends on seed, counter and its flat index alone; which thread makes it never matters.
// Read next: philox.h (the stream), words.h (what words become), kernels_cuda_sample.cu.
#include "ops/random/draws_cuda.cuh"

#include "ops/random/attrs.h"
#include "ops/random/substream.h"
#include "ops/random/words.h"

namespace gorgo::cuda {
namespace {

// ---- draws whose elements take a fixed number of words ----

// Out: the element type; kWords: words of an element; draw(words, i): element i of a thread's words.

template <class T>
struct Uniform {
  using Out = T;
  using C = ComputeType<T>;
  static constexpr int kWords = sizeof(C) / 4;
  C low, span;

  template <int kCount>
  GORGO_DEVICE void draw(const uint32_t* words, T (&out)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = Element<T>::round(low + span * unit_of<T>(words, i));
  }
};

// Box and Muller: two uniforms, the first in (0, 1], give two normals.
// Source: Box, Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29 (1958).
template <class T>
struct Normal {
  using Out = T;
  using C = ComputeType<T>;
  static constexpr int kWords = sizeof(C) / 4;
  C mean, std_dev;

  template <int kCount>
  GORGO_DEVICE void draw(const uint32_t* words, T (&out)[kCount]) const {
    static_assert(kCount % 2 == 0);
#pragma unroll
    for (int i = 0; i < kCount; i += 2) {
      C first, second;
      if constexpr (sizeof(C) == 4) {
        const float u = static_cast<float>((words[i] >> 8) + 1) * 0x1p-24f;
        const float t = static_cast<float>(words[i + 1] >> 8) * 0x1p-24f;
        const float radius = sqrt(log_of_normal(u) * -2.0f);
        const FloatSinCos at = sin_cos(t * static_cast<float>(6.283185307179586476925286766559));
        first = radius * at.cos;
        second = radius * at.sin;
      } else {
        const double u = static_cast<double>((wide_word(words, i) >> 11) + 1) * 0x1p-53;
        const double t = static_cast<double>(wide_word(words, i + 1) >> 11) * 0x1p-53;
        const double radius = sqrt(log(u) * -2.0);
        const Turn at = turn(t);
        first = radius * at.cos;
        second = radius * at.sin;
      }
      out[i] = Element<T>::round(mean + std_dev * first);
      out[i + 1] = Element<T>::round(mean + std_dev * second);
    }
  }
};

template <class T>
struct Randint {
  using Out = T;
  static constexpr int kWords = 2;
  uint64_t low, range;

  template <int kCount>
  GORGO_DEVICE void draw(const uint32_t* words, T (&out)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = static_cast<T>(low + scaled_word(words, i, range));
  }
};

struct BernoulliDraw {
  using Out = bool;
  static constexpr int kWords = 1;
  uint64_t threshold;

  template <int kCount>
  GORGO_DEVICE void draw(const uint32_t* words, bool (&out)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = words[i] < threshold;
  }
};

template <class Draw>
__global__ void __launch_bounds__(kDrawThreads)
    draw_kernel(DeviceKey key, typename Draw::Out* out, int64_t count, bool aligned, Draw draw) {
  using T = typename Draw::Out;
  constexpr int kElements = 16 / static_cast<int>(sizeof(T));
  constexpr int kBlocks = kElements * Draw::kWords / 4;
  const PhiloxStream stream = key.stream();
  const int64_t chunks = (count + kElements - 1) / kElements;
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t chunk = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; chunk < chunks; chunk += stride) {
    uint32_t words[4 * kBlocks];
    philox_blocks<kBlocks>(stream, static_cast<uint64_t>(chunk) * kBlocks, words);
    Elements<T, kElements> drawn;
    draw.draw(words, drawn.x);
    T* to = out + chunk * kElements;
    const int64_t left = count - chunk * kElements;
    if (aligned && left >= kElements) {
      *reinterpret_cast<Elements<T, kElements>*>(to) = drawn;
    } else {
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        if (i < left) to[i] = drawn.x[i];
      }
    }
  }
}

template <class Draw>
void launch_draw(const KernelArgs& args, const Draw& draw) noexcept {
  using T = typename Draw::Out;
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const unsigned grid = grid_for(ceil_div(out.numel, 16 / static_cast<int64_t>(sizeof(T))), kDrawThreads);
  draw_kernel<<<grid, kDrawThreads, 0, stream_of(args)>>>(key_of(args.in[0]), out.as<T>(), out.numel,
                                                          is_aligned(out.data, 16), draw);
}

template <class T>
void uniform(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<T>;
  const auto& a = args.attrs_as<UniformAttrs>();
  launch_draw(args, Uniform<T>{static_cast<C>(a.low), static_cast<C>(a.high - a.low)});
}

template <class T>
void normal(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<T>;
  const auto& a = args.attrs_as<NormalAttrs>();
  launch_draw(args, Normal<T>{static_cast<C>(a.mean), static_cast<C>(a.std)});
}

template <class T>
void randint(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<RandintAttrs>();
  const auto low = static_cast<uint64_t>(a.low);
  launch_draw(args, Randint<T>{low, static_cast<uint64_t>(a.high) - low});
}

void bernoulli(const KernelArgs& args, int64_t) noexcept {
  launch_draw(args, BernoulliDraw{threshold_of(args.attrs_as<BernoulliAttrs>().p)});
}

// ---- dropout ----

// Elements of a thread: those of whole blocks of words, and of 16 bytes at least.
template <class T>
constexpr int kDropoutElements = sizeof(T) == 2 ? 8 : 4;

// kInOrder: x is contiguous and all are aligned.
template <class T, bool kInOrder>
__global__ void __launch_bounds__(kDrawThreads)
    dropout_kernel(DeviceKey key, const T* x, const __grid_constant__ Walk<1> walk, T* out, bool* mask, int64_t count,
                   uint64_t threshold, ComputeType<T> scale) {
  constexpr int kElements = kDropoutElements<T>;
  const PhiloxStream stream = key.stream();
  const int64_t chunks = (count + kElements - 1) / kElements;
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t chunk = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; chunk < chunks; chunk += stride) {
    const int64_t first = chunk * kElements;
    const int64_t left = count - first;
    const bool whole = kInOrder && left >= kElements;
    Elements<T, kElements> values;
    if (whole) {
      values = *reinterpret_cast<const Elements<T, kElements>*>(x + first);
    } else {
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        if (i >= left) break;
        int64_t offset[1] = {first + i};
        if constexpr (!kInOrder) walk.at(first + i, offset);
        values.x[i] = x[offset[0]];
      }
    }
    uint32_t words[kElements];
    philox_blocks<kElements / 4>(stream, static_cast<uint64_t>(chunk) * (kElements / 4), words);
    Elements<bool, kElements> kept;
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      kept.x[i] = words[i] >= threshold;
      values.x[i] = kept.x[i] ? Element<T>::round(Element<T>::value(values.x[i]) * scale) : T{};
    }
    if (whole) {
      *reinterpret_cast<Elements<T, kElements>*>(out + first) = values;
      *reinterpret_cast<Elements<bool, kElements>*>(mask + first) = kept;
    } else {
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        if (i >= left) break;
        out[first + i] = values.x[i];
        mask[first + i] = kept.x[i];
      }
    }
  }
}

template <class T>
void dropout(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<T>;
  constexpr int kElements = kDropoutElements<T>;
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const double p = args.attrs_as<DropoutAttrs>().p;
  auto* mask = args.out[1].as<bool>();
  const Walk<1> walk = Walk<1>::of(x.shape, x.rank, &x.strides);
  const bool in_order =
      x.contiguous && is_aligned(x.data, 16) && is_aligned(out.data, 16) && is_aligned(mask, kElements);
  const auto kernel = in_order ? &dropout_kernel<T, true> : &dropout_kernel<T, false>;
  kernel<<<grid_for(ceil_div(out.numel, kElements), kDrawThreads), kDrawThreads, 0, stream_of(args)>>>(
      key_of(args.in[1]), x.as<const T>(), walk, out.as<T>(), mask, out.numel, threshold_of(p), dropout_scale<C>(p));
}

template <class T, bool kInOrder>
__global__ void __launch_bounds__(kDrawThreads)
    adjoint_kernel(const T* g, const bool* mask, const __grid_constant__ Walk<2> walk, T* out, int64_t count,
                   ComputeType<T> scale) {
  constexpr int kElements = kInOrder ? kDropoutElements<T> : 1;
  const int64_t chunks = (count + kElements - 1) / kElements;
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t chunk = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; chunk < chunks; chunk += stride) {
    const int64_t first = chunk * kElements;
    if (kInOrder && count - first >= kElements) {
      auto values = *reinterpret_cast<const Elements<T, kElements>*>(g + first);
      const auto kept = *reinterpret_cast<const Elements<bool, kElements>*>(mask + first);
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        values.x[i] = kept.x[i] ? Element<T>::round(Element<T>::value(values.x[i]) * scale) : T{};
      }
      *reinterpret_cast<Elements<T, kElements>*>(out + first) = values;
      continue;
    }
    for (int64_t i = first; i < count && i < first + kElements; ++i) {
      int64_t offsets[2] = {i, i};
      if constexpr (!kInOrder) walk.at(i, offsets);
      out[i] = mask[offsets[1]] ? Element<T>::round(Element<T>::value(g[offsets[0]]) * scale) : T{};
    }
  }
}

template <class T>
void dropout_adjoint(const KernelArgs& args, int64_t) noexcept {
  using C = ComputeType<T>;
  const KOperand& g = args.in[0];
  const KOperand& mask = args.in[1];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const int64_t* strides[] = {g.strides, mask.strides};
  const Walk<2> walk = Walk<2>::of(g.shape, g.rank, strides);
  const bool in_order = g.contiguous && mask.contiguous && is_aligned(g.data, 16) && is_aligned(out.data, 16) &&
                        is_aligned(mask.data, kDropoutElements<T>);
  const auto kernel = in_order ? &adjoint_kernel<T, true> : &adjoint_kernel<T, false>;
  const int64_t chunks = in_order ? ceil_div(out.numel, kDropoutElements<T>) : out.numel;
  kernel<<<grid_for(chunks, kDrawThreads), kDrawThreads, 0, stream_of(args)>>>(
      g.as<const T>(), mask.as<const bool>(), walk, out.as<T>(), out.numel,
      dropout_scale<C>(args.attrs_as<DropoutAttrs>().p));
}

// ---- permutation: indices in the order of random 64-bit words ----

__global__ void __launch_bounds__(kDrawThreads)
    number(DeviceKey key, uint64_t* keys, uint32_t* holders, int64_t count) {
  const PhiloxStream stream = key.stream();
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t pair = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; 2 * pair < count; pair += stride) {
    uint32_t words[4];
    philox_blocks<1>(stream, static_cast<uint64_t>(pair), words);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (2 * pair + i >= count) break;
      keys[2 * pair + i] = wide_word(words, i);
      holders[2 * pair + i] = static_cast<uint32_t>(2 * pair + i);
    }
  }
}

__global__ void __launch_bounds__(kDrawThreads) give_order(const uint32_t* holders, int64_t* out, int64_t count) {
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t i = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; i < count; i += stride) out[i] = holders[i];
}

void permutation(const KernelArgs& args, int64_t) noexcept {
  const int64_t count = args.out[0].numel;
  if (count == 0) return;
  const cudaStream_t stream = stream_of(args);
  Tickets tickets(count, args.scratch);
  number<<<grid_for(ceil_div(count, 2), kDrawThreads), kDrawThreads, 0, stream>>>(key_of(args.in[0]), tickets.keys(),
                                                                                  tickets.holders(), count);
  tickets.sort(stream);
  give_order<<<grid_for(count, kDrawThreads), kDrawThreads, 0, stream>>>(tickets.holders(), args.out[0].as<int64_t>(),
                                                                         count);
}
size_t permutation_scratch(const KernelArgs& args) noexcept {
  return args.out[0].numel == 0 ? 0 : Tickets::bytes(args.out[0].numel);
}

// ---- the generator ----

__global__ void take_key_kernel(uint64_t* state, int64_t step, uint64_t* out) {
  out[0] = state[0];
  out[1] = state[step];
  ++state[step];
}
void take_key(const KernelArgs& args, int64_t) noexcept {
  take_key_kernel<<<1, 1, 0, stream_of(args)>>>(args.in[0].as<uint64_t>(), args.in[0].strides[0],
                                                args.out[0].as<uint64_t>());
}

template <class T>
void fill_floats(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  add(sink, "random_uniform", d, &uniform<T>);
  add(sink, "random_normal", d, &normal<T>);
  add(sink, "dropout", d, &dropout<T>);
  add(sink, "dropout_adjoint", d, &dropout_adjoint<T>);
}

template <class T>
void fill_integers(KernelSink& sink) {
  add(sink, "random_randint", kDTypeOf<T>, &randint<T>);
}

}  // namespace

void fill_random_sample(KernelSink& sink);  // kernels_cuda_sample.cu
void fill_random(KernelSink& sink);
void fill_random(KernelSink& sink) {
  fill_random_sample(sink);
  add(sink, "random_key", DType::UInt64, &take_key);
  add(sink, "random_bernoulli", DType::Bool, &bernoulli);
  add(sink, "random_permutation", DType::Int64, &permutation, &permutation_scratch);
  fill_floats<Float16>(sink);
  fill_floats<BFloat16>(sink);
  fill_floats<float>(sink);
  fill_floats<double>(sink);
  fill_integers<int8_t>(sink);
  fill_integers<int16_t>(sink);
  fill_integers<int32_t>(sink);
  fill_integers<int64_t>(sink);
  fill_integers<uint8_t>(sink);
  fill_integers<uint16_t>(sink);
  fill_integers<uint32_t>(sink);
  fill_integers<uint64_t>(sink);
}

}  // namespace gorgo::cuda

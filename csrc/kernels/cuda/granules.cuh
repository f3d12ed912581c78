// The loop of everything that treats elements one by one: any strides, any storage types, one kernel for each functor.
//
// A granule is as many neighbours along the innermost axis as fill 16 bytes of the widest type that the functor computes in; a
// thread treats one or a few granules. Each operand says how its granules are read: 16 bytes (or the fewer that a narrow storage
// type needs) at once where they lie side by side and aligned, element by element at some step, or a constant from the host. So
// contiguous, broadcast and strided operands run the same code, and the last granule of a row may be short. Storage types that
// are not computed in (halves, small integers, bool) are widened and narrowed on the way.
// Invariant: a thread reads all its operands before it writes, and no two threads treat one position, so an output may be
// an input. What an element comes to depends on that element alone.
// Read next: ops/elementwise/loops.cuh.
#pragma once

#include "kernels/cuda/packed.cuh"

namespace gorgo::cuda {

#if defined(__CUDACC__)

// ---- the kernels ----

constexpr int kGranuleThreads = 256;

template <class F>
constexpr int kGranuleOf =
    16 / static_cast<int>(sizeof(typename F::In) > sizeof(typename F::Out) ? sizeof(typename F::In)
                                                                           : sizeof(typename F::Out));

// The identity on elements of a size, which moves granules as they are.
template <int Bytes>
struct CopyLoop {
  using In = Bits<Bytes>;
  using Out = Bits<Bytes>;
  static constexpr int kIn = 1;
  static constexpr int kOut = 1;
  static constexpr int kGranules = 4;
  GORGO_DEVICE void operator()(LaneOf<Out> (&y)[1], const LaneOf<In> (&x)[1]) const { y[0] = x[0]; }
};
template <class F>
struct IsCopy : std::false_type {};
template <int Bytes>
struct IsCopy<CopyLoop<Bytes>> : std::true_type {};

// Unpacks a granule of each operand, applies f lane by lane, packs the results.
template <class F>
GORGO_DEVICE void treat(const Place* places, const Packed* in, Packed* out, const F& f) {
  using In = typename F::In;
  using Out = typename F::Out;
  constexpr int kGranule = kGranuleOf<F>;
  if constexpr (IsCopy<F>::value) {
    if (places[1].access != Access::Constant) {
      out[0] = in[0];
      return;
    }
  }
  LaneOf<In> x[F::kIn][kGranule];
  LaneOf<Out> y[F::kOut][kGranule];
#pragma unroll
  for (int i = 0; i < F::kIn; ++i) unpack<In, kGranule>(places[F::kOut + i], in[i], x[i]);
#pragma unroll
  for (int k = 0; k < kGranule; ++k) {
    LaneOf<In> from[F::kIn];
    LaneOf<Out> to[F::kOut];
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) from[i] = x[i][k];
    f(to, from);
#pragma unroll
    for (int o = 0; o < F::kOut; ++o) y[o][k] = to[o];
  }
#pragma unroll
  for (int o = 0; o < F::kOut; ++o) out[o] = pack<Out, kGranule>(places[o], y[o]);
}

// Any layout, one granule to a thread.
template <class F>
__global__ void __launch_bounds__(kGranuleThreads)
    granules_kernel(const __grid_constant__ Span<F::kOut + F::kIn> span, const __grid_constant__ F f) {
  constexpr int kOperands = F::kOut + F::kIn;
  constexpr int kGranule = kGranuleOf<F>;
  const uint32_t position = blockIdx.x * kGranuleThreads + threadIdx.x;
  if (position >= span.count) return;
  uint32_t in_row = position;
  uint32_t row = 0;
  if (span.outer_axes > 0) {
    row = span.row.quotient(position);
    in_row = position - row * span.row.divisor;
  }
  int64_t offsets[kOperands];
#pragma unroll
  for (int o = 0; o < kOperands; ++o) offsets[o] = in_row * span.place[o].granule_step;
#pragma unroll 1
  for (int i = span.outer_axes - 1; i >= 0; --i) {
    const uint32_t next = i > 0 ? span.by[i].quotient(row) : 0;
    const uint32_t here = row - next * span.by[i].divisor;
    row = next;
#pragma unroll
    for (int o = 0; o < kOperands; ++o) offsets[o] += here * span.strides[o][i];
  }
  int count = kGranule;
  if (!span.whole) {
    const int64_t left = span.row_elements - int64_t{in_row} * kGranule;
    if (left < kGranule) count = static_cast<int>(left);
  }
  Packed in[F::kIn];
  Packed out[F::kOut];
#pragma unroll
  for (int i = 0; i < F::kIn; ++i) {
    fetch<typename F::In, kGranule>(in[i], span.place[F::kOut + i], offsets[F::kOut + i], count);
  }
  treat<F>(span.place, in, out, f);
#pragma unroll
  for (int o = 0; o < F::kOut; ++o) deliver<typename F::Out, kGranule>(span.place[o], offsets[o], count, out[o]);
}

// Operands that are one row of whole granules or a constant, F::kGranules to a thread.
template <int Operands>
struct Row {
  uint32_t count = 0;
  Place place[Operands];
};
template <class F>
__global__ void __launch_bounds__(kGranuleThreads)
    row_kernel(const __grid_constant__ Row<F::kOut + F::kIn> row, const __grid_constant__ F f) {
  constexpr int kGranule = kGranuleOf<F>;
  const uint32_t first = blockIdx.x * (kGranuleThreads * F::kGranules) + threadIdx.x;
  Packed in[F::kGranules][F::kIn];
#pragma unroll
  for (int u = 0; u < F::kGranules; ++u) {
    const uint32_t position = first + u * kGranuleThreads;
    if (position >= row.count) break;
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) fetch_whole<typename F::In, kGranule>(in[u][i], row.place[F::kOut + i], position);
  }
#pragma unroll
  for (int u = 0; u < F::kGranules; ++u) {
    const uint32_t position = first + u * kGranuleThreads;
    if (position >= row.count) break;
    Packed out[F::kOut];
    treat<F>(row.place, in[u], out, f);
#pragma unroll
    for (int o = 0; o < F::kOut; ++o) deliver_whole<typename F::Out, kGranule>(row.place[o], position, out[o]);
  }
}

// The same where all operands are computed in as they are stored: nothing to ask, so a thread's loads come at once, and one
// granule to a thread is the fastest.
template <class F>
struct PlainRow {
  uint32_t count = 0;
  unsigned char* out[F::kOut];
  const unsigned char* in[F::kIn];
};
template <class F>
__global__ void __launch_bounds__(kGranuleThreads)
    plain_row_kernel(const __grid_constant__ PlainRow<F> row, const __grid_constant__ F f) {
  using In = typename F::In;
  using Out = typename F::Out;
  constexpr int kGranule = kGranuleOf<F>;
  constexpr int kInBytes = static_cast<int>(sizeof(In));
  constexpr int kOutBytes = static_cast<int>(sizeof(Out));
  const uint32_t position = blockIdx.x * kGranuleThreads + threadIdx.x;
  if (position >= row.count) return;
  Packed in[F::kIn];
#pragma unroll
  for (int i = 0; i < F::kIn; ++i) {
    load_packed<kInBytes * kGranule>(in[i], row.in[i] + uint64_t{position} * (kInBytes * kGranule));
  }
  LaneOf<Out> y[F::kOut][kGranule];
#pragma unroll
  for (int k = 0; k < kGranule; ++k) {
    LaneOf<In> from[F::kIn];
    LaneOf<Out> to[F::kOut];
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) from[i] = lane_of_bits<In>(piece<kInBytes>(in[i], k));
    f(to, from);
#pragma unroll
    for (int o = 0; o < F::kOut; ++o) y[o][k] = to[o];
  }
#pragma unroll
  for (int o = 0; o < F::kOut; ++o) {
    Packed packed(0, 0, 0, 0);
#pragma unroll
    for (int k = 0; k < kGranule; ++k) put_piece<kOutBytes>(packed, k, bits_of_lane<Out>(y[o][k]));
    store_packed<kOutBytes * kGranule>(row.out[o] + uint64_t{position} * (kOutBytes * kGranule), packed);
  }
}

// The same for operands that are all float16 or all bfloat16, which are computed as float: 16 bytes, eight elements, to a thread.
GORGO_DEVICE void widen_halves(const Packed& p, bool bfloat, float (&x)[8]) {
  if (bfloat) {
#pragma unroll
    for (int k = 0; k < 8; ++k) x[k] = float_of_bfloat_bits(piece<2>(p, k));
  } else {
#pragma unroll
    for (int k = 0; k < 8; ++k) x[k] = float_of_half_bits(piece<2>(p, k));
  }
}
GORGO_DEVICE Packed narrow_halves(const float (&x)[8], bool bfloat) {
  Packed p;
  if (bfloat) {
#pragma unroll
    for (int k = 0; k < 4; ++k) p.word[k] = bfloat_pair(x[2 * k], x[2 * k + 1]);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) p.word[k] = half_pair(x[2 * k], x[2 * k + 1]);
  }
  return p;
}
template <class F>
inline constexpr bool kTakesHalves = std::is_same_v<typename F::In, float> && std::is_same_v<typename F::Out, float>;
template <class F>
__global__ void __launch_bounds__(kGranuleThreads)
    half_row_kernel(const __grid_constant__ PlainRow<F> row, bool bfloat, const __grid_constant__ F f) {
  const uint32_t position = blockIdx.x * kGranuleThreads + threadIdx.x;
  if (position >= row.count) return;
  Packed in[F::kIn];
#pragma unroll
  for (int i = 0; i < F::kIn; ++i) load_packed<16>(in[i], row.in[i] + uint64_t{position} * 16);
  float x[F::kIn][8];
#pragma unroll
  for (int i = 0; i < F::kIn; ++i) widen_halves(in[i], bfloat, x[i]);
  float y[F::kOut][8];
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    Lane<float> from[F::kIn];
    Lane<float> to[F::kOut];
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) from[i] = {x[i][k]};
    f(to, from);
#pragma unroll
    for (int o = 0; o < F::kOut; ++o) y[o][k] = to[o].v;
  }
#pragma unroll
  for (int o = 0; o < F::kOut; ++o) store_packed<16>(row.out[o] + uint64_t{position} * 16, narrow_halves(y[o], bfloat));
}

// Runs f over the operands, outputs first. F has types In and Out, counts kIn and kOut, kGranules (how many a thread treats
// where that is easy; 1 for long code) and
//     void operator()(LaneOf<Out> (&y)[kOut], const LaneOf<In> (&x)[kIn]) const.
template <class F>
void run_granules(const KernelArgs& args, const KOperand* const (&operands)[F::kOut + F::kIn], const F& f) noexcept {
  using In = typename F::In;
  using Out = typename F::Out;
  constexpr int kOperands = F::kOut + F::kIn;
  if (operands[0]->numel == 0) return;
  Span<kOperands> span;
  for (int o = 0; o < kOperands; ++o) {
    const KOperand& x = *operands[o];
    Place& place = span.place[o];
    place.storage = o < F::kOut ? storage_of<Out>(x.dtype) : storage_of<In>(x.dtype);
    if (x.host) {
      const In value = host_element<In>(x);
      std::memcpy(place.constant, &value, sizeof value);
    }
  }
  const Walk<kOperands> walk = fold_operands(operands, span.place, kGranuleOf<F>);
  cut_span(span, walk, kGranuleOf<F>, [&](const Span<kOperands>& part) {
    if constexpr (F::kGranules > 1) {
      bool easy = part.outer_axes == 0 && part.whole;
      for (int o = 0; o < kOperands; ++o) easy = easy && part.place[o].access != Access::Single;
      bool plain = easy;
      for (int o = 0; o < kOperands; ++o) {
        plain = plain && part.place[o].access == Access::Whole && part.place[o].storage == Storage::Own;
      }
      if (plain) {
        PlainRow<F> row;
        row.count = part.count;
        for (int o = 0; o < F::kOut; ++o) row.out[o] = part.place[o].data;
        for (int i = 0; i < F::kIn; ++i) row.in[i] = part.place[F::kOut + i].data;
        const auto blocks = static_cast<unsigned>(ceil_div(part.count, kGranuleThreads));
        plain_row_kernel<F><<<blocks, kGranuleThreads, 0, stream_of(args)>>>(row, f);
        return;
      }
      if constexpr (kTakesHalves<F>) {
        const Storage stored = part.place[0].storage;
        bool halves = easy && part.count % 2 == 0 && (stored == Storage::Float16 || stored == Storage::BFloat16);
        for (int o = 0; o < kOperands; ++o) {
          const Place& place = part.place[o];
          halves = halves && place.access == Access::Whole && place.storage == stored &&
                   reinterpret_cast<uintptr_t>(place.data) % 16 == 0;
        }
        if (halves) {
          PlainRow<F> row;
          row.count = part.count / 2;
          for (int o = 0; o < F::kOut; ++o) row.out[o] = part.place[o].data;
          for (int i = 0; i < F::kIn; ++i) row.in[i] = part.place[F::kOut + i].data;
          const auto blocks = static_cast<unsigned>(ceil_div(row.count, kGranuleThreads));
          half_row_kernel<F><<<blocks, kGranuleThreads, 0, stream_of(args)>>>(row, stored == Storage::BFloat16, f);
          return;
        }
      }
      if (easy) {
        Row<kOperands> row;
        row.count = part.count;
        for (int o = 0; o < kOperands; ++o) row.place[o] = part.place[o];
        const auto blocks = static_cast<unsigned>(ceil_div(part.count, kGranuleThreads * F::kGranules));
        row_kernel<F><<<blocks, kGranuleThreads, 0, stream_of(args)>>>(row, f);
        return;
      }
    }
    const auto blocks = static_cast<unsigned>(ceil_div(part.count, kGranuleThreads));
    granules_kernel<F><<<blocks, kGranuleThreads, 0, stream_of(args)>>>(part, f);
  });
}

#endif

}  // namespace gorgo::cuda

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

#include <complex>
#include <cstring>

#include "core/dtype.h"
#include "kernels/cuda/complex.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/operand.cuh"

namespace gorgo::cuda {

// ---- what is computed in, and how it is stored ----

// Bits that are moved and not looked at.
template <int Bytes>
struct WordOf;
template <>
struct WordOf<1> {
  using Type = uint8_t;
};
template <>
struct WordOf<2> {
  using Type = uint16_t;
};
template <>
struct WordOf<4> {
  using Type = uint32_t;
};
template <>
struct WordOf<8> {
  using Type = uint64_t;
};
struct TwoWords {
  uint64_t low;
  uint64_t high;
};
template <>
struct WordOf<16> {
  using Type = TwoWords;
};
template <int Bytes>
struct Bits {
  typename WordOf<Bytes>::Type v;
};

template <class C>
struct IsBits : std::false_type {};
template <int Bytes>
struct IsBits<Bits<Bytes>> : std::true_type {};
template <class C>
struct IsComplexNumber : std::false_type {};
template <class T>
struct IsComplexNumber<Complex<T>> : std::true_type {};

// The value that functors see for an element computed in C.
template <class C>
struct LaneOfType {
  using Type = std::conditional_t<std::is_same_v<C, bool>, Truth,
                                  std::conditional_t<IsBits<C>::value || IsComplexNumber<C>::value, C, Lane<C>>>;
};
// Lane<C> of a type that is no number would not be instantiated, only named.
template <class C>
using LaneOf = typename LaneOfType<C>::Type;

enum class Storage : uint32_t { Own, UInt8, Int8, UInt16, Int16, UInt32, Float16, BFloat16 };

template <class C>
inline Storage storage_of(DType d) noexcept {
  if constexpr (IsBits<C>::value) {
    return sizeof(C) > 1 && d == DType::Bool ? Storage::UInt8 : Storage::Own;
  } else if constexpr (std::is_same_v<C, bool>) {
    return Storage::Own;
  } else {
    switch (d) {
      case DType::Bool:
      case DType::UInt8:
        return Storage::UInt8;
      case DType::Int8:
        return Storage::Int8;
      case DType::UInt16:
        return Storage::UInt16;
      case DType::Int16:
        return Storage::Int16;
      case DType::UInt32:
        return Storage::UInt32;
      case DType::Float16:
        return Storage::Float16;
      case DType::BFloat16:
        return Storage::BFloat16;
      default:
        return Storage::Own;
    }
  }
}
// Whether elements computed in C may take that many bytes in memory.
template <class C>
constexpr bool kMayTake(int bytes) {
  if (bytes == static_cast<int>(sizeof(C))) return true;
  if (std::is_same_v<C, float>) return bytes == 2;
  if (std::is_same_v<C, int32_t>) return bytes == 1 || bytes == 2;
  if (std::is_same_v<C, int64_t>) return bytes == 4;
  return IsBits<C>::value && bytes == 1;
}

// ---- operands ----

enum class Access : uint32_t {
  Whole,     // a granule's elements lie side by side, aligned to what they take together
  Single,    // element by element, `step` bytes apart
  Constant,  // a number from the host
};

struct Place {
  unsigned char* data = nullptr;
  int64_t step = 0;  // bytes between neighbours along the innermost axis, and between granules
  int64_t granule_step = 0;
  Access access = Access::Single;
  Storage storage = Storage::Own;
  uint32_t bytes = 0;                           // of an element in memory
  alignas(16) unsigned char constant[16] = {};  // as it is computed in
};

// Positions of granules: along a row, then over the outer axes. Counts stay below 2**31; larger tensors are cut.
template <int Operands>
struct Span {
  uint32_t count = 0;
  int outer_axes = 0;
  bool whole = true;  // rows are made of whole granules
  int64_t row_elements = 1;
  Divider row;  // by the granules of a row
  Divider by[kMaxAxes];
  int64_t strides[Operands][kMaxAxes];  // of the outer axes, in bytes
  Place place[Operands];
};

// An element that lies on the host, as C.
template <class C>
inline C host_element(const KOperand& x) noexcept {
  C out{};
  if constexpr (std::is_same_v<C, float>) {
    if (x.dtype == DType::Float16) return static_cast<float>(*x.as<Float16>());
    if (x.dtype == DType::BFloat16) return static_cast<float>(*x.as<BFloat16>());
  } else if constexpr (std::is_same_v<C, int32_t>) {
    if (x.dtype == DType::Bool || x.dtype == DType::UInt8) return *x.as<uint8_t>();
    if (x.dtype == DType::Int8) return *x.as<int8_t>();
    if (x.dtype == DType::UInt16) return *x.as<uint16_t>();
    if (x.dtype == DType::Int16) return *x.as<int16_t>();
  } else if constexpr (std::is_same_v<C, int64_t>) {
    if (x.dtype == DType::UInt32) return *x.as<uint32_t>();
  }
  std::memcpy(static_cast<void*>(&out), x.data, static_cast<size_t>(dtype_size(x.dtype)));
  return out;
}

// Folds operands, of which the first are outputs, into as few axes as their strides (in bytes) allow; the first output's shape
// counts. Says of each place how granules of `granule` elements are read.
template <int Operands>
Walk<Operands> fold_operands(const KOperand* const (&operands)[Operands], Place (&places)[Operands],
                             int granule) noexcept {
  const KOperand& out = *operands[0];
  const int rank = out.rank;
  int64_t shape[kMaxAxes];
  int64_t strides[Operands][kMaxAxes];
  const int64_t* rows[Operands];
  for (int i = 0; i < rank; ++i) shape[i] = out.shape[i];
  for (int o = 0; o < Operands; ++o) {
    const KOperand& x = *operands[o];
    Place& place = places[o];
    rows[o] = strides[o];
    place.bytes = static_cast<uint32_t>(dtype_size(x.dtype));
    if (x.host) {
      place.access = Access::Constant;
      for (int i = 0; i < rank; ++i) strides[o][i] = 0;
      continue;
    }
    place.data = static_cast<unsigned char*>(x.data);
    if (x.contiguous && x.numel == out.numel) {
      int64_t stride = place.bytes;
      for (int i = rank - 1; i >= 0; --i) {
        strides[o][i] = stride;
        stride *= shape[i];
      }
    } else {
      broadcast_strides(x, out.shape, rank, strides[o]);
      for (int i = 0; i < rank; ++i) strides[o][i] *= place.bytes;
    }
  }
  if (!out.contiguous) {  // the axis along which the output is densest comes last
    const auto reach = [&](int i) { return strides[0][i] < 0 ? -strides[0][i] : strides[0][i]; };
    const auto swap = [](int64_t& a, int64_t& b) {
      const int64_t was = a;
      a = b;
      b = was;
    };
    for (int i = 1; i < rank; ++i) {
      for (int j = i; j > 0 && reach(j - 1) < reach(j); --j) {
        swap(shape[j], shape[j - 1]);
        for (int o = 0; o < Operands; ++o) swap(strides[o][j], strides[o][j - 1]);
      }
    }
  }
  Walk<Operands> walk = Walk<Operands>::of(shape, rank, rows);
  if (walk.rank == 0) {
    walk.rank = 1;
    walk.shape[0] = 1;
    for (int o = 0; o < Operands; ++o) walk.strides[o][0] = 0;
  }
  const int last = walk.rank - 1;
  for (int o = 0; o < Operands; ++o) {
    Place& place = places[o];
    if (place.access == Access::Constant) continue;
    place.step = walk.strides[o][last];
    place.granule_step = place.step * granule;
    const int64_t together = int64_t{place.bytes} * granule;
    bool aligned = place.step == place.bytes && reinterpret_cast<uintptr_t>(place.data) % together == 0;
    for (int i = 0; i < last && aligned; ++i) aligned = walk.strides[o][i] % together == 0;
    place.access = aligned ? Access::Whole : Access::Single;
  }
  return walk;
}

// Calls launch() for spans of fewer than 2**31 granules that together are the walk, whose outermost axis is cut where it must.
template <int Operands, class Launch>
void cut_span(Span<Operands>& span, const Walk<Operands>& walk, int granule, const Launch& launch) noexcept {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  const int last = walk.rank - 1;
  span.row_elements = walk.shape[last];
  int64_t count = ceil_div(span.row_elements, granule);
  for (int i = 0; i < last; ++i) count *= walk.shape[i];
  if (count > kMost) {
    const int64_t unit = last == 0 ? granule : 1;  // rows are cut between granules
    const int64_t most = last == 0 ? kMost * granule : kMost / (count / walk.shape[0]);
    const int64_t length = most < unit ? unit : most;
    Walk<Operands> part = walk;
    for (int64_t from = 0; from < walk.shape[0]; from += length) {
      part.shape[0] = walk.shape[0] - from < length ? walk.shape[0] - from : length;
      Span<Operands> moved = span;
      for (int o = 0; o < Operands; ++o) {
        if (moved.place[o].access != Access::Constant) moved.place[o].data += from * walk.strides[o][0];
      }
      if (last > 0 && part.shape[0] == 1) {  // still too long: cut the next axis
        Walk<Operands> rest = walk;
        --rest.rank;
        for (int i = 0; i < rest.rank; ++i) {
          rest.shape[i] = walk.shape[i + 1];
          for (int o = 0; o < Operands; ++o) rest.strides[o][i] = walk.strides[o][i + 1];
        }
        cut_span(moved, rest, granule, launch);
      } else {
        cut_span(moved, part, granule, launch);
      }
    }
    return;
  }
  span.count = static_cast<uint32_t>(count);
  span.outer_axes = last;
  span.whole = span.row_elements % granule == 0;
  span.row = Divider(static_cast<uint32_t>(ceil_div(span.row_elements, granule)));
  for (int i = 0; i < last; ++i) {
    span.by[i] = Divider(static_cast<uint32_t>(walk.shape[i]));
    for (int o = 0; o < Operands; ++o) span.strides[o][i] = walk.strides[o][i];
  }
  launch(span);
}

#if defined(__CUDACC__)

// ---- granules in registers: 16 bytes as four words, elements packed as in memory ----

struct Packed {
  uint32_t word[4];
  Packed() = default;  // nothing in it
  GORGO_DEVICE Packed(uint32_t a, uint32_t b, uint32_t c, uint32_t d) : word{a, b, c, d} {}
};

template <int Bytes>
GORGO_DEVICE auto piece(const Packed& p, int k) {
  if constexpr (Bytes == 16) {
    return TwoWords{p.word[0] | uint64_t{p.word[1]} << 32, p.word[2] | uint64_t{p.word[3]} << 32};
  } else if constexpr (Bytes == 8) {
    return p.word[2 * k] | uint64_t{p.word[2 * k + 1]} << 32;
  } else if constexpr (Bytes == 4) {
    return p.word[k];
  } else if constexpr (Bytes == 2) {
    return static_cast<uint16_t>(p.word[k / 2] >> (16 * (k % 2)));
  } else {
    return static_cast<uint8_t>(p.word[k / 4] >> (8 * (k % 4)));
  }
}
// Into words that are zero there.
template <int Bytes>
GORGO_DEVICE void put_piece(Packed& p, int k, typename WordOf<Bytes>::Type bits) {
  if constexpr (Bytes == 16) {
    p = Packed(static_cast<uint32_t>(bits.low), static_cast<uint32_t>(bits.low >> 32), static_cast<uint32_t>(bits.high),
               static_cast<uint32_t>(bits.high >> 32));
  } else if constexpr (Bytes == 8) {
    p.word[2 * k] = static_cast<uint32_t>(bits);
    p.word[2 * k + 1] = static_cast<uint32_t>(bits >> 32);
  } else if constexpr (Bytes == 4) {
    p.word[k] = bits;
  } else if constexpr (Bytes == 2) {
    p.word[k / 2] |= uint32_t{bits} << (16 * (k % 2));
  } else {
    p.word[k / 4] |= uint32_t{bits} << (8 * (k % 4));
  }
}

// Words that are not loaded are left as they are: a write to them would wait for the load.
template <int Bytes>
GORGO_DEVICE void load_packed(Packed& out, const unsigned char* p) {
  if constexpr (Bytes == 16) {
    const uint4 v = *reinterpret_cast<const uint4*>(p);
    out = Packed(v.x, v.y, v.z, v.w);
  } else if constexpr (Bytes == 8) {
    const uint2 v = *reinterpret_cast<const uint2*>(p);
    out.word[0] = v.x;
    out.word[1] = v.y;
  } else {
    out.word[0] = *reinterpret_cast<const typename WordOf<Bytes>::Type*>(p);
  }
}
template <int Bytes>
GORGO_DEVICE void store_packed(unsigned char* p, const Packed& v) {
  if constexpr (Bytes == 16) {
    *reinterpret_cast<uint4*>(p) = make_uint4(v.word[0], v.word[1], v.word[2], v.word[3]);
  } else if constexpr (Bytes == 8) {
    *reinterpret_cast<uint2*>(p) = make_uint2(v.word[0], v.word[1]);
  } else {
    using Word = typename WordOf<Bytes>::Type;
    *reinterpret_cast<Word*>(p) = static_cast<Word>(v.word[0]);
  }
}
// One element. Those of 16 bytes may be aligned to 8 only.
template <int Bytes>
GORGO_DEVICE typename WordOf<Bytes>::Type load_word(const unsigned char* p) {
  if constexpr (Bytes == 16) {
    const auto* words = reinterpret_cast<const uint64_t*>(p);
    return {words[0], words[1]};
  } else {
    return *reinterpret_cast<const typename WordOf<Bytes>::Type*>(p);
  }
}
template <int Bytes>
GORGO_DEVICE void store_word(unsigned char* p, typename WordOf<Bytes>::Type bits) {
  if constexpr (Bytes == 16) {
    auto* words = reinterpret_cast<uint64_t*>(p);
    words[0] = bits.low;
    words[1] = bits.high;
  } else {
    *reinterpret_cast<typename WordOf<Bytes>::Type*>(p) = bits;
  }
}

template <int Bytes, int Granule>
GORGO_DEVICE void fetch_sized(Packed& out, const Place& place, const unsigned char* p, int count) {
  if (place.access == Access::Whole && count == Granule) return load_packed<Bytes * Granule>(out, p);
  out = Packed(0, 0, 0, 0);
#pragma unroll
  for (int k = 0; k < Granule; ++k) {
    if (k < count) put_piece<Bytes>(out, k, load_word<Bytes>(p + k * place.step));
  }
}
template <class C, int Granule>
GORGO_DEVICE void fetch(Packed& out, const Place& place, int64_t offset, int count) {
  if (place.access == Access::Constant) return;
  const unsigned char* p = place.data + offset;
  if constexpr (kMayTake<C>(1) && sizeof(C) > 1) {
    if (place.bytes == 1) return fetch_sized<1, Granule>(out, place, p, count);
  }
  if constexpr (kMayTake<C>(2) && sizeof(C) > 2) {
    if (place.bytes == 2) return fetch_sized<2, Granule>(out, place, p, count);
  }
  if constexpr (kMayTake<C>(4) && sizeof(C) > 4) {
    if (place.bytes == 4) return fetch_sized<4, Granule>(out, place, p, count);
  }
  fetch_sized<static_cast<int>(sizeof(C)), Granule>(out, place, p, count);
}
// The granule of that number of an operand that is all Whole; steps fit 32 bits.
template <class C, int Granule>
GORGO_DEVICE void fetch_whole(Packed& out, const Place& place, uint32_t position) {
  if (place.access == Access::Constant) return;
  const unsigned char* p = place.data + uint64_t{position} * static_cast<uint32_t>(place.granule_step);
  if constexpr (kMayTake<C>(1) && sizeof(C) > 1) {
    if (place.bytes == 1) return load_packed<Granule>(out, p);
  }
  if constexpr (kMayTake<C>(2) && sizeof(C) > 2) {
    if (place.bytes == 2) return load_packed<2 * Granule>(out, p);
  }
  if constexpr (kMayTake<C>(4) && sizeof(C) > 4) {
    if (place.bytes == 4) return load_packed<4 * Granule>(out, p);
  }
  load_packed<static_cast<int>(sizeof(C)) * Granule>(out, p);
}
template <class C, int Granule>
GORGO_DEVICE void deliver_whole(const Place& place, uint32_t position, const Packed& v) {
  unsigned char* p = place.data + uint64_t{position} * static_cast<uint32_t>(place.granule_step);
  if constexpr (kMayTake<C>(1) && sizeof(C) > 1) {
    if (place.bytes == 1) return store_packed<Granule>(p, v);
  }
  if constexpr (kMayTake<C>(2) && sizeof(C) > 2) {
    if (place.bytes == 2) return store_packed<2 * Granule>(p, v);
  }
  if constexpr (kMayTake<C>(4) && sizeof(C) > 4) {
    if (place.bytes == 4) return store_packed<4 * Granule>(p, v);
  }
  store_packed<static_cast<int>(sizeof(C)) * Granule>(p, v);
}

template <int Bytes, int Granule>
GORGO_DEVICE void deliver_sized(const Place& place, unsigned char* p, int count, const Packed& v) {
  if (place.access == Access::Whole && count == Granule) return store_packed<Bytes * Granule>(p, v);
#pragma unroll
  for (int k = 0; k < Granule; ++k) {
    if (k < count) store_word<Bytes>(p + k * place.step, piece<Bytes>(v, k));
  }
}
template <class C, int Granule>
GORGO_DEVICE void deliver(const Place& place, int64_t offset, int count, const Packed& v) {
  unsigned char* p = place.data + offset;
  if constexpr (kMayTake<C>(1) && sizeof(C) > 1) {
    if (place.bytes == 1) return deliver_sized<1, Granule>(place, p, count, v);
  }
  if constexpr (kMayTake<C>(2) && sizeof(C) > 2) {
    if (place.bytes == 2) return deliver_sized<2, Granule>(place, p, count, v);
  }
  if constexpr (kMayTake<C>(4) && sizeof(C) > 4) {
    if (place.bytes == 4) return deliver_sized<4, Granule>(place, p, count, v);
  }
  deliver_sized<static_cast<int>(sizeof(C)), Granule>(place, p, count, v);
}

// ---- elements to lanes and back ----

GORGO_DEVICE float float_of_half_bits(uint16_t bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
GORGO_DEVICE float float_of_bfloat_bits(uint16_t bits) { return __uint_as_float(uint32_t{bits} << 16); }
// Two at a time, to nearest even; NaN stays NaN.
GORGO_DEVICE uint32_t half_pair(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#else
  return Float16(low).bits | uint32_t{Float16(high).bits} << 16;
#endif
}
GORGO_DEVICE uint32_t bfloat_pair(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#else
  return BFloat16(low).bits | uint32_t{BFloat16(high).bits} << 16;
#endif
}

template <class C>
GORGO_DEVICE LaneOf<C> lane_of_bits(typename WordOf<static_cast<int>(sizeof(C))>::Type bits) {
  if constexpr (std::is_same_v<C, float>) {
    return {__uint_as_float(bits)};
  } else if constexpr (std::is_same_v<C, double>) {
    return {__longlong_as_double(static_cast<long long>(bits))};
  } else if constexpr (std::is_same_v<C, bool>) {
    return {bits != 0};
  } else if constexpr (std::is_same_v<C, Complex<float>>) {
    return {__uint_as_float(static_cast<uint32_t>(bits)), __uint_as_float(static_cast<uint32_t>(bits >> 32))};
  } else if constexpr (std::is_same_v<C, Complex<double>>) {
    return {__longlong_as_double(static_cast<long long>(bits.low)),
            __longlong_as_double(static_cast<long long>(bits.high))};
  } else if constexpr (IsBits<C>::value) {
    return {bits};
  } else {
    return {static_cast<C>(bits)};
  }
}
template <class C>
GORGO_DEVICE typename WordOf<static_cast<int>(sizeof(C))>::Type bits_of_lane(LaneOf<C> x) {
  if constexpr (std::is_same_v<C, float>) {
    return __float_as_uint(x.v);
  } else if constexpr (std::is_same_v<C, double>) {
    return static_cast<uint64_t>(__double_as_longlong(x.v));
  } else if constexpr (std::is_same_v<C, Complex<float>>) {
    return __float_as_uint(x.re) | uint64_t{__float_as_uint(x.im)} << 32;
  } else if constexpr (std::is_same_v<C, Complex<double>>) {
    return {static_cast<uint64_t>(__double_as_longlong(x.re)), static_cast<uint64_t>(__double_as_longlong(x.im))};
  } else if constexpr (IsBits<C>::value) {
    return x.v;
  } else {
    return static_cast<typename WordOf<static_cast<int>(sizeof(C))>::Type>(x.v);
  }
}

template <class S, class C, int Granule>
GORGO_DEVICE void unpack_narrow(const Packed& p, Lane<C> (&x)[Granule]) {
#pragma unroll
  for (int k = 0; k < Granule; ++k) x[k] = {static_cast<S>(piece<static_cast<int>(sizeof(S))>(p, k))};
}
template <class C, int Granule>
GORGO_DEVICE void unpack(const Place& place, const Packed& p, LaneOf<C> (&x)[Granule]) {
  constexpr int kBytes = static_cast<int>(sizeof(C));
  using Word = typename WordOf<kBytes>::Type;
  if (place.access == Access::Constant) {
    const auto own = lane_of_bits<C>(*reinterpret_cast<const Word*>(place.constant));
#pragma unroll
    for (int k = 0; k < Granule; ++k) x[k] = own;
    return;
  }
  if constexpr (std::is_same_v<C, float>) {
    if (place.storage == Storage::Float16) {
#pragma unroll
      for (int k = 0; k < Granule; ++k) x[k] = {float_of_half_bits(piece<2>(p, k))};
      return;
    }
    if (place.storage == Storage::BFloat16) {
#pragma unroll
      for (int k = 0; k < Granule; ++k) x[k] = {float_of_bfloat_bits(piece<2>(p, k))};
      return;
    }
  } else if constexpr (std::is_same_v<C, int32_t>) {
    switch (place.storage) {
      case Storage::UInt8:
        return unpack_narrow<uint8_t>(p, x);
      case Storage::Int8:
        return unpack_narrow<int8_t>(p, x);
      case Storage::UInt16:
        return unpack_narrow<uint16_t>(p, x);
      case Storage::Int16:
        return unpack_narrow<int16_t>(p, x);
      default:
        break;
    }
  } else if constexpr (std::is_same_v<C, int64_t>) {
    if (place.storage == Storage::UInt32) return unpack_narrow<uint32_t>(p, x);
  } else if constexpr (IsBits<C>::value && sizeof(C) > 1) {
    if (place.storage == Storage::UInt8) {
#pragma unroll
      for (int k = 0; k < Granule; ++k) {
        if constexpr (sizeof(C) == 16) {
          x[k] = {{piece<1>(p, k), 0}};
        } else {
          x[k] = {piece<1>(p, k)};
        }
      }
      return;
    }
  }
#pragma unroll
  for (int k = 0; k < Granule; ++k) x[k] = lane_of_bits<C>(piece<kBytes>(p, k));
}
template <class C, int Granule>
GORGO_DEVICE Packed pack(const Place& place, const LaneOf<C> (&x)[Granule]) {
  Packed out(0, 0, 0, 0);
  if constexpr (std::is_same_v<C, float>) {
    if (place.storage == Storage::Float16) {
#pragma unroll
      for (int k = 0; k < Granule; k += 2) {
        out.word[k / 2] = half_pair(x[k].v, k + 1 < Granule ? x[k + 1 < Granule ? k + 1 : k].v : 0.0f);
      }
      return out;
    }
    if (place.storage == Storage::BFloat16) {
#pragma unroll
      for (int k = 0; k < Granule; k += 2) {
        out.word[k / 2] = bfloat_pair(x[k].v, k + 1 < Granule ? x[k + 1 < Granule ? k + 1 : k].v : 0.0f);
      }
      return out;
    }
  } else if constexpr (std::is_same_v<C, int32_t>) {
    if (place.bytes == 1) {
#pragma unroll
      for (int k = 0; k < Granule; ++k) put_piece<1>(out, k, static_cast<uint8_t>(x[k].v));
      return out;
    }
    if (place.bytes == 2) {
#pragma unroll
      for (int k = 0; k < Granule; ++k) put_piece<2>(out, k, static_cast<uint16_t>(x[k].v));
      return out;
    }
  } else if constexpr (std::is_same_v<C, int64_t>) {
    if (place.bytes == 4) {
#pragma unroll
      for (int k = 0; k < Granule; ++k) put_piece<4>(out, k, static_cast<uint32_t>(x[k].v));
      return out;
    }
  }
#pragma unroll
  for (int k = 0; k < Granule; ++k) put_piece<static_cast<int>(sizeof(C))>(out, k, bits_of_lane<C>(x[k]));
  return out;
}

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

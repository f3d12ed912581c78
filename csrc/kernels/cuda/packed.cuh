// Granules in registers: 16 bytes as four words, how they are read and written at a Place, and their elements as lanes.
//
// Invariant: widening is exact; narrowing rounds once, to nearest even.
// Read next: granules.cuh.
#pragma once

#include "kernels/cuda/span.cuh"

#if defined(__CUDACC__)

namespace gorgo::cuda {

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

}  // namespace gorgo::cuda

#endif

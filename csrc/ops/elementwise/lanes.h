// Lanes of elements, conversions between storage and compute types, and the buffers that chunks of elements lie in.
//
// Storage types that are not computed in (halves, small integers, bool) are widened before a loop and narrowed after it.
// For kernel files (compiled per ISA). Invariant: what an element is converted to depends on that element alone.
// Read next: walking.h.
#pragma once

#include <cstring>

#include "core/kernel_args.h"
#include "kernels/complex.h"
#include "kernels/coverage.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {

constexpr int64_t kTaskElements = 32768;
constexpr int64_t kChunk = 512;  // of elements of any size
constexpr int64_t kMaxElementBytes = 16;
constexpr int64_t kBufferBytes = kChunk * kMaxElementBytes;
// Elements to a chunk of which the largest take up `size` bytes: small ones come by so many that what is done once to a chunk
// does not show.
constexpr int64_t chunk_of(int64_t size) { return kBufferBytes / size; }

// What short runs may be written beyond.
constexpr int64_t kSlackBytes = 64;

struct alignas(64) Buffer {
  unsigned char bytes[kBufferBytes + kSlackBytes];
};
// For a block of rows and columns (blocks.h), and for a chunk.
constexpr int64_t kBlockBytes = 2 * kBufferBytes;
struct alignas(64) BlockBuffer {
  unsigned char bytes[kBlockBytes + kSlackBytes];
};
// For elements that are widened, at least to twice their size.
struct alignas(64) NarrowBuffer {
  unsigned char bytes[kBufferBytes / 2 + kSlackBytes];
};

using Loop = void (*)(const void* const* in, void* const* out, int64_t n) noexcept;
// Between a storage type and what it computes in.
using Conversion = void (*)(const void* from, void* to, int64_t n) noexcept;

namespace {

// ---- lanes ----

template <class T>
struct ElementOf {
  using Type = T;
};
template <>
struct ElementOf<std::complex<float>> {
  using Type = Complex<float>;
};
template <>
struct ElementOf<std::complex<double>> {
  using Type = Complex<double>;
};

template <class T>
constexpr bool kIsComplexElement = IsComplex<T>::value;

// Access to `Lanes` elements of T; a mask gets lanes of W bytes.
template <class T, int Lanes, int W>
GORGO_INLINE auto get(const T* p, int count) {
  if constexpr (kIsComplexElement<T>) {
    return *p;
  } else if (__builtin_expect(count == Lanes, 1)) {
    return load<T, Lanes, W>(p);
  } else {
    return load_partial<T, Lanes, W>(p, count);
  }
}
template <int Lanes, class T, class V>
GORGO_INLINE void put(T* p, V v, int count) {
  if constexpr (!IsVec<V>::value && !IsMask<V>::value) {
    *p = v;
  } else if (__builtin_expect(count == Lanes, 1)) {
    store(p, v);
  } else {
    store_partial(p, v, count);
  }
}

// Of what the lanes hold: the half types become floats when they are loaded.
template <class T>
constexpr int kLaneBytes = static_cast<int>(sizeof(T));
template <>
inline constexpr int kLaneBytes<Float16> = 4;
template <>
inline constexpr int kLaneBytes<BFloat16> = 4;
template <class... Ts>
constexpr int widest() {
  int bytes = 1;
  ((bytes = kLaneBytes<Ts> > bytes ? kLaneBytes<Ts> : bytes), ...);
  return bytes;
}
template <class... Ts>
constexpr int lanes_for() {
  return (kIsComplexElement<Ts> || ...) ? 1 : kVectorBytes / widest<Ts...>();
}

// out[i] = f(in[i]...), with one body for whole vectors and the tail.
template <class F, class Out, class... In>
GORGO_INLINE void map1(F f, int64_t n, Out* out, const In*... in) {
  constexpr int kLanes = lanes_for<In...>();
  constexpr int kWidth = widest<In...>();
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    put<kLanes>(out + i, f(get<In, kLanes, kWidth>(in + i, count)...), count);
  }
}

// ---- conversions ----

// What an element type is computed in: four integer and float widths, and complex; the rest is widened.
enum class Class : uint8_t { Int32, Int64, UInt64, Float32, Float64, Complex64, Complex128 };

constexpr Class class_of(DType d) {
  switch (d) {
    case DType::Bool:
    case DType::UInt8:
    case DType::UInt16:
    case DType::Int8:
    case DType::Int16:
    case DType::Int32:
      return Class::Int32;
    case DType::UInt32:
    case DType::Int64:
      return Class::Int64;
    case DType::UInt64:
      return Class::UInt64;
    case DType::Float16:
    case DType::BFloat16:
    case DType::Float32:
      return Class::Float32;
    case DType::Float64:
      return Class::Float64;
    case DType::Complex64:
      return Class::Complex64;
    default:
      return Class::Complex128;
  }
}
template <class S>
using ComputeOf = std::conditional_t<
    kIsHalf<S>, float,
    std::conditional_t<std::is_integral_v<S> && (sizeof(S) < 4), int32_t,
                       std::conditional_t<std::is_same_v<S, uint32_t>, int64_t, typename ElementOf<S>::Type>>>;

template <class S>
void widen(const void* from, void* to, int64_t n) noexcept {
  using T = ComputeOf<S>;
  using M = std::conditional_t<std::is_same_v<S, bool>, uint8_t, S>;
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  const auto* in = static_cast<const M*>(from);
  auto* out = static_cast<T*>(to);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    put<kLanes>(out + i, convert<T>(get<M, kLanes, 1>(in + i, count)), count);
  }
}
template <class S>
void narrow(const void* from, void* to, int64_t n) noexcept {
  using T = ComputeOf<S>;
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  const auto* in = static_cast<const T*>(from);
  auto* out = static_cast<S*>(to);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    const auto v = get<T, kLanes, 1>(in + i, count);
    if constexpr (kIsHalf<S>) {
      put<kLanes>(out + i, v, count);
    } else {
      put<kLanes>(out + i, convert<S>(v), count);
    }
  }
}

// Null where the storage type is computed in as it stands.
inline Conversion widening(DType d) noexcept {
  switch (d) {
    case DType::Bool:
      return widen<bool>;
    case DType::UInt8:
      return widen<uint8_t>;
    case DType::UInt16:
      return widen<uint16_t>;
    case DType::UInt32:
      return widen<uint32_t>;
    case DType::Int8:
      return widen<int8_t>;
    case DType::Int16:
      return widen<int16_t>;
    case DType::Float16:
      return widen<Float16>;
    case DType::BFloat16:
      return widen<BFloat16>;
    default:
      return nullptr;
  }
}
inline Conversion narrowing(DType d) noexcept {
  switch (d) {
    case DType::UInt8:
      return narrow<uint8_t>;
    case DType::UInt16:
      return narrow<uint16_t>;
    case DType::UInt32:
      return narrow<uint32_t>;
    case DType::Int8:
      return narrow<int8_t>;
    case DType::Int16:
      return narrow<int16_t>;
    case DType::Float16:
      return narrow<Float16>;
    case DType::BFloat16:
      return narrow<BFloat16>;
    default:
      return nullptr;
  }
}
inline int64_t class_bytes(Class c) noexcept {
  switch (c) {
    case Class::Int32:
    case Class::Float32:
      return 4;
    case Class::Complex128:
      return 16;
    default:
      return 8;
  }
}

// ---- repetition ----

// Puts n copies of one element side by side.
template <class Unit>
GORGO_INLINE void repeat_unit(const void* from, void* to, int64_t n) noexcept {
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Unit));
  Unit x;
  std::memcpy(&x, from, sizeof x);
  const auto v = broadcast<Vec<Unit>>(x);
  auto* out = static_cast<Unit*>(to);
  for (int64_t i = 0; i < n; i += kLanes) put<kLanes>(out + i, v, n - i < kLanes ? static_cast<int>(n - i) : kLanes);
}
GORGO_INLINE void repeat_element(const void* from, void* to, int64_t size, int64_t n) noexcept {
  switch (size) {
    case 1:
      return repeat_unit<uint8_t>(from, to, n);
    case 2:
      return repeat_unit<uint16_t>(from, to, n);
    case 4:
      return repeat_unit<uint32_t>(from, to, n);
    case 8:
      return repeat_unit<uint64_t>(from, to, n);
    default:
      for (int64_t i = 0; i < n; ++i) std::memcpy(static_cast<unsigned char*>(to) + 16 * i, from, 16);
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

// Element types: the enum, its storage types, its facts, and the library's only switch over them.
//
// Invariant: every list of dtypes in the project is derived from GORGO_FOR_EACH_DTYPE. Functions here that kernel files
// use are always inlined, so that no ISA object exports a copy of them.
// Read next: scalar.h (Python scalars beside tensors), kernel_args.h.
#pragma once

#include <bit>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string_view>
#include <type_traits>

#include "core/check.h"

#if defined(__CUDACC__)
#define GORGO_INLINE __host__ __device__ __forceinline__
#else
#define GORGO_INLINE [[gnu::always_inline]] inline
#endif

namespace gorgo {

// IEEE binary16, storage only; arithmetic happens in float. Kernels of instruction sets that convert in one step do so here
// too: inlined everywhere, the steps below made up a tenth of the library.
struct Float16 {
  uint16_t bits = 0;

  Float16() = default;
  GORGO_INLINE explicit Float16(float value) noexcept {
#if defined(__F16C__)
    using Floats [[gnu::vector_size(16)]] = float;
    bits = static_cast<uint16_t>(__builtin_ia32_vcvtps2ph(Floats{value, 0, 0, 0}, 0)[0]);  // 0: to nearest even
#else
    const uint32_t x = __builtin_bit_cast(uint32_t, value);
    const auto sign = static_cast<uint16_t>((x >> 16) & 0x8000u);
    const uint32_t magnitude = x & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) {  // infinity, or NaN made quiet
      bits = static_cast<uint16_t>(sign | 0x7c00u |
                                   (magnitude > 0x7f800000u ? 0x0200u | ((magnitude >> 13) & 0x3ffu) : 0u));
    } else if (magnitude >= 0x477ff000u) {  // rounds to infinity
      bits = static_cast<uint16_t>(sign | 0x7c00u);
    } else if (magnitude < 0x38800000u) {  // subnormal or zero: let the float adder round at the right place
      const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
      bits = static_cast<uint16_t>(sign | (__builtin_bit_cast(uint32_t, shifted) - 0x3f000000u));
    } else {
      const uint32_t odd = (magnitude >> 13) & 1u;
      bits = static_cast<uint16_t>(sign | ((magnitude + 0xc8000fffu + odd) >> 13));
    }
#endif
  }
  GORGO_INLINE explicit operator float() const noexcept {
#if defined(__F16C__)
    using Shorts [[gnu::vector_size(16)]] = short;
    return __builtin_ia32_vcvtph2ps(Shorts{static_cast<short>(bits), 0, 0, 0, 0, 0, 0, 0})[0];
#else
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu;
    const uint32_t mantissa = bits & 0x3ffu;
    if (exponent == 0x1fu) {  // infinity, or NaN made quiet
      return __builtin_bit_cast(float, sign | 0x7f800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0u));
    }
    if (exponent != 0) return __builtin_bit_cast(float, sign | ((exponent + 112u) << 23) | (mantissa << 13));
    const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;
    return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, subnormal));
#endif
  }
};

// The upper half of a float32, storage only; arithmetic happens in float.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  GORGO_INLINE explicit BFloat16(float value) noexcept {
    const uint32_t x = __builtin_bit_cast(uint32_t, value);
    if ((x & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((x >> 16) | 0x0040u);
    } else {
      bits = static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
    }
  }
  GORGO_INLINE explicit operator float() const noexcept {
    return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
  }
};

// X(enumerator, storage type, Python name), in promotion order within each kind.
#define GORGO_FOR_EACH_DTYPE(X)                  \
  X(Bool, bool, "bool")                          \
  X(UInt8, uint8_t, "uint8")                     \
  X(UInt16, uint16_t, "uint16")                  \
  X(UInt32, uint32_t, "uint32")                  \
  X(UInt64, uint64_t, "uint64")                  \
  X(Int8, int8_t, "int8")                        \
  X(Int16, int16_t, "int16")                     \
  X(Int32, int32_t, "int32")                     \
  X(Int64, int64_t, "int64")                     \
  X(Float16, ::gorgo::Float16, "float16")        \
  X(BFloat16, ::gorgo::BFloat16, "bfloat16")     \
  X(Float32, float, "float32")                   \
  X(Float64, double, "float64")                  \
  X(Complex64, std::complex<float>, "complex64") \
  X(Complex128, std::complex<double>, "complex128")

enum class DType : uint8_t {
#define GORGO_X(name, type, text) name,
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
};

inline constexpr int kDTypeCount = 15;

template <DType D>
struct StorageTypeOf;
template <class T>
struct DTypeOf;
#define GORGO_X(name, type, text)               \
  template <>                                   \
  struct StorageTypeOf<DType::name> {           \
    using Type = type;                          \
  };                                            \
  template <>                                   \
  struct DTypeOf<type> {                        \
    static constexpr DType value = DType::name; \
  };
GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X

template <DType D>
using StorageType = typename StorageTypeOf<D>::Type;
template <class T>
inline constexpr DType kDTypeOf = DTypeOf<T>::value;

// The type in which a stored element is computed: float for the 16-bit floats, itself otherwise.
template <class T>
struct ComputeTypeOf {
  using Type = T;
};
template <>
struct ComputeTypeOf<Float16> {
  using Type = float;
};
template <>
struct ComputeTypeOf<BFloat16> {
  using Type = float;
};
template <class T>
using ComputeType = typename ComputeTypeOf<T>::Type;

// Bits per element; storage-only sub-byte types will have fewer than eight.
[[nodiscard]] GORGO_INLINE constexpr int dtype_bits(DType d) noexcept {
  constexpr uint8_t kBits[] = {8, 8, 16, 32, 64, 8, 16, 32, 64, 16, 16, 32, 64, 64, 128};
  return kBits[static_cast<int>(d)];
}
[[nodiscard]] GORGO_INLINE constexpr int64_t dtype_size(DType d) noexcept { return dtype_bits(d) / 8; }
[[nodiscard]] GORGO_INLINE constexpr bool is_complex(DType d) noexcept { return d >= DType::Complex64; }
[[nodiscard]] GORGO_INLINE constexpr bool is_floating(DType d) noexcept {  // real floating-point only
  return d >= DType::Float16 && d <= DType::Float64;
}
[[nodiscard]] GORGO_INLINE constexpr bool is_inexact(DType d) noexcept { return d >= DType::Float16; }
[[nodiscard]] GORGO_INLINE constexpr bool is_unsigned(DType d) noexcept {
  return d >= DType::UInt8 && d <= DType::UInt64;
}
[[nodiscard]] GORGO_INLINE constexpr bool is_signed_integer(DType d) noexcept {
  return d >= DType::Int8 && d <= DType::Int64;
}
[[nodiscard]] GORGO_INLINE constexpr bool is_integer(DType d) noexcept {
  return d >= DType::UInt8 && d <= DType::Int64;
}

[[nodiscard]] const char* dtype_name(DType d) noexcept;
[[nodiscard]] std::optional<DType> parse_dtype(std::string_view name) noexcept;
std::ostream& operator<<(std::ostream& out, DType d);

// The dtype in which two tensors meet. Throws TypeError for uint64 beside a signed integer, which has no common integer.
[[nodiscard]] DType promote(DType a, DType b);
// Like promote, but false instead of an exception.
[[nodiscard]] bool can_promote(DType a, DType b) noexcept;
// The real dtype of a complex one (complex64 -> float32); others unchanged.
[[nodiscard]] DType real_dtype(DType d) noexcept;
// The complex dtype that holds a real floating one.
[[nodiscard]] DType complex_dtype(DType d) noexcept;

// A set of dtypes, for acceptance checks.
class DTypeSet {
 public:
  constexpr DTypeSet() = default;
  template <class... Ds>
  constexpr explicit DTypeSet(DType first, Ds... rest) : bits_((bit(first) | ... | bit(rest))) {}
  [[nodiscard]] constexpr bool has(DType d) const noexcept { return (bits_ & bit(d)) != 0; }
  constexpr DTypeSet operator|(DTypeSet o) const noexcept {
    DTypeSet r;
    r.bits_ = bits_ | o.bits_;
    return r;
  }

 private:
  static constexpr uint32_t bit(DType d) noexcept { return 1u << static_cast<int>(d); }
  uint32_t bits_ = 0;
};

inline constexpr DTypeSet kBoolSet{DType::Bool};
inline constexpr DTypeSet kIntegerSet{DType::UInt8, DType::UInt16, DType::UInt32, DType::UInt64,
                                      DType::Int8,  DType::Int16,  DType::Int32,  DType::Int64};
inline constexpr DTypeSet kFloatSet{DType::Float16, DType::BFloat16, DType::Float32, DType::Float64};
inline constexpr DTypeSet kComplexSet{DType::Complex64, DType::Complex128};
inline constexpr DTypeSet kRealSet = kIntegerSet | kFloatSet;
inline constexpr DTypeSet kNumericSet = kRealSet | kComplexSet;
inline constexpr DTypeSet kAllSet = kBoolSet | kNumericSet;

template <class T>
struct TypeTag {
  using Type = T;
};

// Calls f(TypeTag<T>{}) with the storage type of `d`; the dtypes accepted are the template arguments. The library's only
// dispatch on dtype. `what` names the op in the TypeError for any other dtype.
template <DType... Accepted, class F>
decltype(auto) visit_dtype(DType d, const char* what, F&& f) {
  using Result = std::common_type_t<decltype(f(TypeTag<StorageType<Accepted>>{}))...>;
  if constexpr (std::is_void_v<Result>) {
    const bool found = ((d == Accepted ? (f(TypeTag<StorageType<Accepted>>{}), true) : false) || ...);
    if (!found) fail<TypeError>(what, ": dtype is not supported, got ", dtype_name(d));
  } else {
    Result result{};
    const bool found = ((d == Accepted ? (result = f(TypeTag<StorageType<Accepted>>{}), true) : false) || ...);
    if (!found) fail<TypeError>(what, ": dtype is not supported, got ", dtype_name(d));
    return result;
  }
}

}  // namespace gorgo

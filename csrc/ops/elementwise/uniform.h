// Loops of integers whose second operand is one number for all elements: quotients, remainders and shifts.
//
// Division is a multiplication by the divisor's reciprocal then, and a shift by one count is one instruction. Whoever calls them
// repeats the number as for any other loop; these read the first copy.
// For kernel files (compiled per ISA). Invariant: as in loops_cpu.h; the results are those of the loops there.
// Read next: kernels_cpu.cpp.
#pragma once

#include "kernels/high_product.h"
#include "ops/elementwise/loops_cpu.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

// One or two bytes by a positive divisor: for the reciprocal of 17 bits, of which `multiplier` are the lower 16, see Granlund and
// Montgomery (1994). Negative numbers become such of 15 bits by flipping their bits, and so do their quotients, rounded down.
template <class Op, class T>
GORGO_INLINE void divide_small(const T* in, T divisor, T* out, int64_t n) {
  const auto d = static_cast<uint32_t>(divisor);
  const int bits = d == 1 ? 0 : 32 - __builtin_clz(d - 1);
  const auto multiplier = static_cast<uint16_t>((((uint32_t{1} << bits) - d) << 16) / d + 1);
  const int first = bits == 0 ? 0 : 1;
  const int then = bits - first;
  map1(
      [=](auto a) __attribute__((always_inline)) {
        return by_lanes_of<2>(
            [=](auto narrow) __attribute__((always_inline)) {
              using Wide = std::conditional_t<std::is_signed_v<T>, int16_t, uint16_t>;
              const auto wide = convert<Wide>(narrow);
              constexpr int kLanes = decltype(wide)::kLanes;
              using U = Vec<uint16_t, kLanes>;
              U sign = broadcast<U>(0);
              if constexpr (std::is_signed_v<T>) sign = bits_as<uint16_t>(shift_right_by<15>(wide));
              const U number = bits_as<uint16_t>(wide);
              const U magnitude = number ^ sign;
              const U high = high_product(magnitude, broadcast<U>(multiplier));
              const U halved = U{(magnitude - high).raw >> first} + high;
              const U quotient = U{halved.raw >> then} ^ sign;
              if constexpr (std::is_same_v<Op, FloorDivide>) {
                return convert<T>(quotient);
              } else {
                return convert<T>(number - quotient * broadcast<U>(static_cast<uint16_t>(d)));
              }
            },
            a);
      },
      n, out, in);
}

// Four bytes. In float64, (a + 1/2) / d for positive d, and (a - 1/2) / d for negative, lies at least 1/(2 |d|) above the last whole
// number and below the next, which is far more than what rounding moves it.
template <class Op>
GORGO_INLINE void divide_int32(const int32_t* in, int32_t divisor, int32_t* out, int64_t n) {
  const double inverse = 1.0 / divisor;
  const double half = 0.5 * __builtin_fabs(inverse);
  map1(
      [=](auto a) __attribute__((always_inline)) {
        return by_wide_lanes(
            [=](auto number) __attribute__((always_inline)) {
              const auto value = convert<double>(number);
              using V = decltype(value + value);
              const auto quotient = truncated(floor(mul_add(value, broadcast<V>(inverse), broadcast<V>(half))));
              if constexpr (std::is_same_v<Op, FloorDivide>) {
                return quotient;
              } else {
                return number - quotient * broadcast<decltype(number + number)>(divisor);
              }
            },
            a);
      },
      n, out, in);
}

// 64 bits by a divisor above 1: the reciprocal scaled to 64 bits, rounded up, is near enough for numbers of 63 bits (Granlund and
// Montgomery, 1994), which negative numbers become by flipping their bits; so do their quotients, rounded down.
template <class Op>
GORGO_INLINE void divide_wide(const int64_t* in, int64_t divisor, int64_t* out, int64_t n) {
  const auto d = static_cast<uint64_t>(divisor);
  const int bits = 64 - __builtin_clzll(d - 1);
  const auto multiplier = static_cast<uint64_t>((UInt128{1} << (63 + bits)) / d + 1);
  map1(
      [=](auto number) __attribute__((always_inline)) {
        using V = decltype(number + number);
        using U = Vec<uint64_t, V::kLanes>;
        const U sign = bits_as<uint64_t>(V{number.raw >> 63});
        const U magnitude = bits_as<uint64_t>(number) ^ sign;
        const U quotient = U{high_product(magnitude, broadcast<U>(multiplier)).raw >> (bits - 1)} ^ sign;
        if constexpr (std::is_same_v<Op, FloorDivide>) {
          return bits_as<int64_t>(quotient);
        } else {
          return number - bits_as<int64_t>(quotient) * broadcast<V>(divisor);
        }
      },
      n, out, in);
}

template <class Op, class T>
void divide_uniform(const void* const* in, void* const* out, int64_t n) noexcept {
  const T divisor = *static_cast<const T*>(in[1]);
  const auto* from = static_cast<const T*>(in[0]);
  auto* to = static_cast<T*>(out[0]);
  if constexpr (sizeof(T) == 8) {
    if (divisor > 1) return divide_wide<Op>(from, divisor, to, n);
  } else if constexpr (sizeof(T) == 4) {
    if (divisor > 0 || divisor < -1) return divide_int32<Op>(from, divisor, to, n);
  } else {
    if (divisor > 0) return divide_small<Op, T>(from, divisor, to, n);
  }
  binary_loop<Op, T>(in, out, n);
}

// Bytes are shifted by twos, and the bits that came from the neighbour removed.
template <class Op, class T>
void shift_uniform(const void* const* in, void* const* out, int64_t n) noexcept {
  constexpr bool kLeft = std::is_same_v<Op, BitwiseLeftShift>;
  constexpr int kBits = static_cast<int>(sizeof(T)) * 8;
  const T given = *static_cast<const T*>(in[1]);
  const bool within = given >= 0 && given < kBits;
  const auto* from = static_cast<const T*>(in[0]);
  auto* to = static_cast<T*>(out[0]);
  if (!within && (kLeft || !std::is_signed_v<T>)) {
    std::memset(to, 0, static_cast<size_t>(n) * sizeof(T));
    return;
  }
  const int count = within ? given : kBits - 1;
  map1(
      [=](auto a) __attribute__((always_inline)) {
        using V = decltype(a + a);
        if constexpr (sizeof(T) == 1) {
          using U = Vec<uint8_t, V::kLanes>;
          using Raw16 = RawVector<uint16_t, V::kLanes / 2>;
          const auto pairs = (Raw16)a.raw;
          const auto mask = static_cast<uint8_t>(kLeft ? 0xff << count : 0xff >> count);
          const U moved = U{(typename U::Raw)(kLeft ? pairs << count : pairs >> count)} & broadcast<U>(mask);
          if constexpr (kLeft || !std::is_signed_v<T>) {
            return bits_as<T>(moved);
          } else {
            const U sign = broadcast<U>(static_cast<uint8_t>(0x80 >> count));
            return bits_as<T>((moved ^ sign) - sign);
          }
        } else if constexpr (kLeft) {
          using U = UnsignedLike<T>;
          return bits_as<T>(Vec<U, V::kLanes>{bits_as<U>(a).raw << count});
        } else {
          return V{a.raw >> count};
        }
      },
      n, to, from);
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

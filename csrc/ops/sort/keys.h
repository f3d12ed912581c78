// Elements as sort keys: unsigned integers in the wanted order, and back. Elements of 1, 2 and 4 bytes have keys of 32 bits.
//
// For kernel files (compiled per ISA). Invariant: equal elements have equal keys: zeros of both signs, and all NaN.
// Read next: kernels_cpu.cpp.
#pragma once

#include "core/kernel_args.h"
#include "kernels/radix.h"
#include "kernels/vec.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

template <class E>
using KeyOf = std::conditional_t<sizeof(E) == 8, uint64_t, uint32_t>;

// A key of 32 bits before the index in one number, or a longer key beside it.
GORGO_INLINE int64_t index_in(uint64_t item) noexcept { return static_cast<int64_t>(item & UINT32_MAX); }
GORGO_INLINE int64_t index_in(KeyedIndex<uint64_t> item) noexcept { return item.index; }

// How keys order elements. NaN is the greatest, unless it must come last in a falling order too.
struct KeyRule {
  DType dtype = DType::Float32;
  uint64_t flip = 0;  // of bits that are in order otherwise
  uint64_t infinity = 0;
  uint64_t zero = 0;  // the keys of zeros and NaN, of floating dtypes
  uint64_t nan = 0;

  KeyRule(DType d, bool falling, bool nan_last) noexcept : dtype(d) {
    const int bits = static_cast<int>(dtype_size(d)) * 8;
    const uint64_t all = ~uint64_t{0} >> (64 - bits);
    const uint64_t sign = uint64_t{1} << (bits - 1);
    flip = falling ? all : 0;
    if (is_floating(d)) {
      infinity = d == DType::Float64   ? 0x7ff0000000000000u
                 : d == DType::Float32 ? 0x7f800000u
                 : d == DType::Float16 ? 0x7c00u
                                       : 0x7f80u;
      zero = sign ^ flip;
      nan = falling && !nan_last ? 0 : all;
    } else if (is_signed_integer(d)) {
      flip ^= sign;
    }
  }
};

template <class E, bool kFloat>
struct Keys {
  using K = KeyOf<E>;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(K));
  using V = Vec<E, kLanes>;
  using Memory [[gnu::may_alias]] = E;
  static constexpr E kSign = static_cast<E>(E{1} << (sizeof(E) * 8 - 1));

  GORGO_INLINE static auto below_zero(V bits) noexcept {
    using S = Vec<SignedLike<E>, kLanes>;
    return bits_as<SignedLike<E>>(bits) < broadcast<S>(0);
  }
  // The keys of `n` elements. Whether a key does not tell its element: one is NaN or a negative zero.
  [[gnu::noinline]] static bool make(const void* elements, int64_t step, int64_t n, void* to,
                                     const KeyRule& rule) noexcept {
    const auto* from = static_cast<const Memory*>(elements);
    K* keys = static_cast<K*>(to);
    const V flip = broadcast<V>(static_cast<E>(rule.flip));
    const V infinity = broadcast<V>(static_cast<E>(rule.infinity));
    const V nan = broadcast<V>(static_cast<E>(rule.nan));
    const V sign = broadcast<V>(kSign);
    const V nothing = broadcast<V>(E{0});
    V odd = nothing;
    const auto key = [&](V bits) GORGO_INLINE_LAMBDA {
      if constexpr (kFloat) {
        const V magnitude = bits & ~sign;
        const auto is_zero = magnitude == nothing;
        const auto is_nan = magnitude > infinity;
        odd = odd | select(is_zero, bits, nothing) | select(is_nan, sign, nothing);
        const V some = select(is_zero, nothing, bits);
        return select(is_nan, nan, select(below_zero(some), ~some, some | sign) ^ flip);
      } else {
        return bits ^ flip;
      }
    };
    int64_t i = 0;
    if (step == 1) {
      for (; i + kLanes <= n; i += kLanes) store_raw(keys + i, convert<K>(key(load_raw<V>(from + i))));
      if (i < n) {
        const int left = static_cast<int>(n - i);
        store_raw_partial(keys + i, convert<K>(key(load_raw_partial<V>(from + i, left))), left);
      }
    }
    for (; i < n; i += kLanes) {
      const int left = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
      E tile[kLanes] = {};
      for (int j = 0; j < left; ++j) tile[j] = from[(i + j) * step];
      store_raw_partial(keys + i, convert<K>(key(load_raw<V>(tile))), left);
    }
    if constexpr (!kFloat) return false;
    E seen = 0;
    for (int j = 0; j < kLanes; ++j) seen = static_cast<E>(seen | odd.raw[j]);
    return seen != 0;
  }
  // The elements that have these keys; zeros are positive.
  [[gnu::noinline]] static void undo(const void* given, int64_t n, void* elements, int64_t step,
                                     const KeyRule& rule) noexcept {
    const K* keys = static_cast<const K*>(given);
    auto* to = static_cast<Memory*>(elements);
    const V flip = broadcast<V>(static_cast<E>(rule.flip));
    const V sign = broadcast<V>(kSign);
    const auto element = [&](Vec<K, kLanes> key) GORGO_INLINE_LAMBDA {
      const V bits = convert<E>(key) ^ flip;
      if constexpr (kFloat) {
        return select(below_zero(bits), bits ^ sign, ~bits);
      } else {
        return bits;
      }
    };
    int64_t i = 0;
    if (step == 1) {
      for (; i + kLanes <= n; i += kLanes) store_raw(to + i, element(load_raw<Vec<K, kLanes>>(keys + i)));
      if (i < n) {
        const int left = static_cast<int>(n - i);
        store_raw_partial(to + i, element(load_raw_partial<Vec<K, kLanes>>(keys + i, left)), left);
      }
      return;
    }
    for (; i < n; i += kLanes) {
      const int left = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
      E tile[kLanes];
      store_raw(tile, element(load_raw_partial<Vec<K, kLanes>>(keys + i, left)));
      for (int j = 0; j < left; ++j) to[(i + j) * step] = tile[j];
    }
  }
  // Zeros and NaN as the line has them, in its order, where the sorted ones begin.
  [[gnu::noinline]] static void restore(const void* line, int64_t step, int64_t n, void* sorted, int64_t to_step,
                                        int64_t first_zero, int64_t first_nan, const KeyRule& rule) noexcept {
    if constexpr (kFloat) {
      const auto* from = static_cast<const Memory*>(line);
      auto* zeros = static_cast<Memory*>(sorted) + first_zero * to_step;
      auto* nans = static_cast<Memory*>(sorted) + first_nan * to_step;
      for (int64_t i = 0; i < n; ++i) {
        const E bits = from[i * step];
        const E magnitude = static_cast<E>(bits & static_cast<E>(~kSign));
        if (magnitude == 0) {
          *zeros = bits;
          zeros += to_step;
        } else if (magnitude > rule.infinity) {
          *nans = bits;
          nans += to_step;
        }
      }
    }
  }
  // to[i] = from[sorted[i]] for the items' indices.
  template <class Item>
  [[gnu::noinline]] static void pick(const void* line, int64_t step, const Item* sorted, int64_t n, void* elements,
                                     int64_t to_step) noexcept {
    const auto* from = static_cast<const Memory*>(line);
    auto* to = static_cast<Memory*>(elements);
    for (int64_t i = 0; i < n; ++i) to[i * to_step] = from[index_in(sorted[i]) * step];
  }
};

// Calls f(Keys) for the elements of a dtype.
template <class F>
GORGO_INLINE auto with_keys(DType d, const F& f) noexcept {
  switch (d) {
    case DType::Float64:
      return f(Keys<uint64_t, true>{});
    case DType::Float32:
      return f(Keys<uint32_t, true>{});
    case DType::Float16:
    case DType::BFloat16:
      return f(Keys<uint16_t, true>{});
    default:
      break;
  }
  switch (dtype_size(d)) {
    case 1:
      return f(Keys<uint8_t, false>{});
    case 2:
      return f(Keys<uint16_t, false>{});
    case 4:
      return f(Keys<uint32_t, false>{});
    default:
      return f(Keys<uint64_t, false>{});
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

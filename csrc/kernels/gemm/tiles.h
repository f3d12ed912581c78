// The eight tiles of AMX: sixteen rows of sixteen 32-bit words each, and the few instructions that products need.
//
// Two implementations, told apart when compiled: the instructions, and with GORGO_TILES_MODEL a model of them in plain C++ for
// processors without AMX, which gives the same bits. A Tiles configures the unit for all of its life and releases it at its end, so
// it stands on the stack of one task. Numbers of tiles are template arguments because the instructions hold them. Read next:
// tile_sums.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/gemm/lanes.h"

namespace gorgo::GORGO_ISA_NS {

constexpr int kTileHeight = 16;                          // rows
constexpr int kTileWords = 16;                           // 32-bit words in a row
constexpr int kTileRowBytes = 4 * kTileWords;            // pairs of bfloat16 or fours of bytes; sums
constexpr int kTileBytes = kTileHeight * kTileRowBytes;  // of a tile whose rows lie densely

// What a word of the first factor and a word of the second hold; sums of bytes are int32 and wrap.
enum class TileProduct : std::uint8_t {
  bfloat16,       // numbers that are denormal count as zero, in factors and sums
  signed_signed,  // the first factor's bytes, the second's
  signed_unsigned,
  unsigned_signed,
  unsigned_unsigned,
};

#if defined(GORGO_TILES_MODEL)

class Tiles {
 public:
  Tiles() = default;
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int kTile>
  void zero() {
    std::memset(words_[kTile], 0, kTileBytes);
  }
  // Rows are `stride` bytes apart.
  template <int kTile, int kOffset = 0>
  void load(const void* from, std::int64_t stride) {
    const auto* bytes = static_cast<const unsigned char*>(from) + kOffset;
    for (int row = 0; row < kTileHeight; ++row) std::memcpy(words_[kTile][row], bytes + row * stride, kTileRowBytes);
  }
  template <int kTile>
  void store(void* to, std::int64_t stride) const {
    auto* bytes = static_cast<unsigned char*>(to);
    for (int row = 0; row < kTileHeight; ++row) std::memcpy(bytes + row * stride, words_[kTile][row], kTileRowBytes);
  }
  // sum += first second
  template <TileProduct kProduct, int kSum, int kFirst, int kSecond>
  void multiply() {
    if constexpr (kProduct == TileProduct::bfloat16) {
      multiply_bfloat16(words_[kSum], words_[kFirst], words_[kSecond]);
    } else {
      multiply_bytes<kProduct>(words_[kSum], words_[kFirst], words_[kSecond]);
    }
  }

 private:
  using Rows = std::uint32_t[kTileWords];

  static float as_float(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
  }
  // The control word of the vector unit: what is denormal counts as zero and becomes zero. Its users read and write
  // memory only between two calls, which the barriers hold there.
  static std::uint32_t set_control(std::uint32_t control) {
    std::uint32_t before = 0;
    __asm__ volatile("stmxcsr %0" : "=m"(before) : : "memory");
    __asm__ volatile("ldmxcsr %0" : : "m"(control) : "memory");
    return before;
  }
  // The even elements of the pairs of a row are one chain of multiply-adds, the odd ones another, both from zero; their sum is
  // added to what was there.
  __attribute__((noinline)) static void multiply_bfloat16(Rows* sum, const Rows* first, const Rows* second) {
    constexpr std::uint32_t kHigh = 0xffff0000U;
    const std::uint32_t before = set_control(0x9fc0);  // nothing traps, round to nearest even, FTZ, DAZ
    for (int row = 0; row < kTileHeight; ++row) {
      alignas(64) float even[kTileWords] = {};
      alignas(64) float odd[kTileWords] = {};
      for (int k = 0; k < kTileWords; ++k) {
        const float low = as_float(first[row][k] << 16);
        const float high = as_float(first[row][k] & kHigh);
        for (int column = 0; column < kTileWords; ++column) {
          const std::uint32_t pair = second[k][column];
          even[column] = __builtin_fmaf(low, as_float(pair << 16), even[column]);
          odd[column] = __builtin_fmaf(high, as_float(pair & kHigh), odd[column]);
        }
      }
      for (int column = 0; column < kTileWords; ++column) {
        const float total = as_float(sum[row][column]) + (even[column] + odd[column]);
        std::memcpy(&sum[row][column], &total, sizeof(total));
      }
    }
    static_cast<void>(set_control(before));
  }

  template <TileProduct kProduct>
  static void multiply_bytes(Rows* sum, const Rows* first, const Rows* second) {
    constexpr bool kFirstIsSigned = kProduct == TileProduct::signed_signed || kProduct == TileProduct::signed_unsigned;
    constexpr bool kSecondIsSigned = kProduct == TileProduct::signed_signed || kProduct == TileProduct::unsigned_signed;
    const auto byte = [](std::uint32_t word, int i, bool is_signed) {
      const auto bits = static_cast<std::uint8_t>(word >> (8 * i));
      return is_signed ? std::int32_t{static_cast<std::int8_t>(bits)} : std::int32_t{bits};
    };
    for (int row = 0; row < kTileHeight; ++row) {
      for (int k = 0; k < kTileWords; ++k) {
        for (int i = 0; i < 4; ++i) {
          const std::int32_t x = byte(first[row][k], i, kFirstIsSigned);
          for (int column = 0; column < kTileWords; ++column) {
            sum[row][column] += static_cast<std::uint32_t>(x * byte(second[k][column], i, kSecondIsSigned));
          }
        }
      }
    }
  }

  alignas(64) std::uint32_t words_[8][kTileHeight][kTileWords] = {};
};

#else

class Tiles {
 public:
  GORGO_INLINE Tiles() {
    alignas(64) static constexpr struct {
      std::uint8_t palette = 1;
      std::uint8_t start_row = 0;
      std::uint8_t reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } kConfiguration;
    static_assert(sizeof(kConfiguration) == 64);
    __asm__ volatile("ldtilecfg %0" : : "m"(kConfiguration));
  }
  GORGO_INLINE ~Tiles() { __asm__ volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  // Not the compiler's intrinsics: GCC's take only numbers as written for tiles, and do not say that memory is read.
  template <int kTile>
  GORGO_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // Rows are `stride` bytes apart.
  template <int kTile, int kOffset = 0>
  GORGO_INLINE void load(const void* from, std::int64_t stride) {
    __asm__ volatile("tileloadd %c3(%0,%1,1), %%tmm%c2"
                     :
                     : "r"(from), "r"(stride), "i"(kTile), "i"(kOffset)
                     : "memory");
  }
  template <int kTile>
  GORGO_INLINE void store(void* to, std::int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // sum += first second
  template <TileProduct kProduct, int kSum, int kFirst, int kSecond>
  GORGO_INLINE void multiply() {
#define GORGO_TILE_PRODUCT(name, instruction)                                                               \
  if constexpr (kProduct == TileProduct::name) {                                                            \
    __asm__ volatile(instruction " %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kFirst), "i"(kSecond)); \
  }
    GORGO_TILE_PRODUCT(bfloat16, "tdpbf16ps")
    GORGO_TILE_PRODUCT(signed_signed, "tdpbssd")
    GORGO_TILE_PRODUCT(signed_unsigned, "tdpbsud")
    GORGO_TILE_PRODUCT(unsigned_signed, "tdpbusd")
    GORGO_TILE_PRODUCT(unsigned_unsigned, "tdpbuud")
#undef GORGO_TILE_PRODUCT
  }
};

#endif

}  // namespace gorgo::GORGO_ISA_NS

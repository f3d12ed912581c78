// The eight tiles of AMX: sixteen rows of sixteen 32-bit words each, and the few instructions that products need.
//
// A Tiles configures the unit for all of its life and releases it at its end, so it stands on the stack of one task. Numbers of
// tiles are template arguments because the instructions hold them. For processors without AMX tests/cpp/tile_unit.cpp emulates the
// instructions. Read next: tile_sums.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"

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

}  // namespace gorgo::GORGO_ISA_NS

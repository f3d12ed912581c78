// AMX's tiles, or the emulation of them, against plain scalar arithmetic: what the instructions are documented to give, bit for bit.
#if defined(GORGO_HAVE_AMX)
#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS isa_test
#endif

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "device/cpu/isa.h"
#include "kernels/gemm/tiles.h"

namespace kernels = gorgo::GORGO_ISA_NS;

namespace {

using kernels::TileProduct;
using kernels::Tiles;
using Words = std::vector<std::uint32_t>;  // a tile's, row by row

constexpr int kSide = 16;

float as_float(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}
std::uint32_t as_bits(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}
// Denormal numbers are zeros of their sign.
float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0F, x) : x; }
float flushed_fma(float a, float b, float c) { return flushed(std::fma(flushed(a), flushed(b), flushed(c))); }
float flushed_sum(float a, float b) { return flushed(flushed(a) + flushed(b)); }

template <TileProduct kProduct>
Words by_tiles(const Words& sum, const Words& first, const Words& second) {
  Tiles tiles;
  tiles.load<1>(sum.data(), 64);
  tiles.load<3>(first.data(), 64);
  tiles.load<6>(second.data(), 64);
  tiles.multiply<kProduct, 1, 3, 6>();
  Words out(sum.size());
  tiles.store<1>(out.data(), 64);
  return out;
}

Words bfloat16_by_scalars(const Words& sum, const Words& first, const Words& second) {
  Words out(sum.size());
  for (std::size_t i = 0; i < kSide; ++i) {
    for (std::size_t j = 0; j < kSide; ++j) {
      float even = 0;
      float odd = 0;
      for (std::size_t k = 0; k < kSide; ++k) {
        const std::uint32_t a = first[i * kSide + k];
        const std::uint32_t b = second[k * kSide + j];
        even = flushed_fma(as_float(a << 16), as_float(b << 16), even);
        odd = flushed_fma(as_float(a & 0xffff0000U), as_float(b & 0xffff0000U), odd);
      }
      out[i * kSide + j] = as_bits(flushed_sum(as_float(sum[i * kSide + j]), flushed_sum(even, odd)));
    }
  }
  return out;
}

std::int64_t differing(const Words& a, const Words& b) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    count += a[i] != b[i] && !(std::isnan(as_float(a[i])) && std::isnan(as_float(b[i])));
  }
  return count;
}

template <TileProduct kProduct>
void check_bytes(bool first_is_signed, bool second_is_signed) {
  std::mt19937 engine(3);
  Words sum(kSide * kSide);
  Words first(sum.size());
  Words second(sum.size());
  for (Words* words : {&sum, &first, &second}) {
    for (std::uint32_t& x : *words) x = static_cast<std::uint32_t>(engine());
  }
  const auto byte = [](std::uint32_t word, std::uint32_t i, bool is_signed) {
    const std::uint32_t bits = word >> (8 * i) & 0xffU;
    return static_cast<std::int64_t>(bits) - (is_signed && bits >= 128 ? 256 : 0);
  };
  const Words found = by_tiles<kProduct>(sum, first, second);
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < kSide; ++i) {
    for (std::size_t j = 0; j < kSide; ++j) {
      std::int64_t total = sum[i * kSide + j];
      for (std::size_t k = 0; k < kSide; ++k) {
        for (std::uint32_t at = 0; at < 4; ++at) {
          total += byte(first[i * kSide + k], at, first_is_signed) * byte(second[k * kSide + j], at, second_is_signed);
        }
      }
      wrong += found[i * kSide + j] != static_cast<std::uint32_t>(total);
    }
  }
  CHECK(wrong == 0);
}

bool is_absent() {
  const bool absent = !gorgo::is_available(gorgo::Isa::Amx);
  if (absent) MESSAGE("no AMX here, not run");
  return absent;
}

}  // namespace

TEST_CASE("tiles: products of bfloat16") {
  if (is_absent()) return;
  std::mt19937 engine(1);
  // Narrow data; data whose products and sums fall among the denormal numbers; every pattern of bits, NaN and infinities among
  // them.
  for (const int kind : {0, 1, 2}) {
    for (int round = 0; round < 20; ++round) {
      const auto number = [&](int exponent) {
        const double x = std::normal_distribution<double>()(engine);
        return as_bits(static_cast<float>(std::ldexp(x, exponent))) >> 16;
      };
      const auto word = [&]() -> std::uint32_t {
        if (kind == 2) return static_cast<std::uint32_t>(engine());
        const int exponent = kind == 0 ? 0 : -60 - static_cast<int>(engine() % 10);
        return number(exponent) << 16 | number(exponent);
      };
      Words sum(kSide * kSide);
      Words first(sum.size());
      Words second(sum.size());
      for (std::uint32_t& x : sum) {
        x = kind == 2 ? static_cast<std::uint32_t>(engine())
                      : as_bits(static_cast<float>(std::ldexp(1.5, kind * -128)));
      }
      for (std::uint32_t& x : first) x = word();
      for (std::uint32_t& x : second) x = word();
      INFO("kind ", kind, " round ", round);
      CHECK(differing(by_tiles<TileProduct::bfloat16>(sum, first, second), bfloat16_by_scalars(sum, first, second)) ==
            0);
    }
  }
}

TEST_CASE("tiles: what is denormal counts as zero, and nothing else does") {
  if (is_absent()) return;
  const auto product = [](float a, float b, float c) {
    Words sum(kSide * kSide);
    Words first(sum.size());
    Words second(sum.size());
    sum[0] = as_bits(c);
    first[0] = as_bits(a) >> 16;
    second[0] = as_bits(b) >> 16;
    return as_float(by_tiles<TileProduct::bfloat16>(sum, first, second)[0]);
  };
  CHECK(product(0x1p-126F, 1, 0) == 0x1p-126F);
  CHECK(product(0x1p-127F, 1, 0) == 0);
  CHECK(product(1, 0x1p-127F, 0) == 0);
  CHECK(product(0x1p-70F, 0x1p-70F, 0) == 0);
  CHECK(product(0, 0, 0x1p-130F) == 0);
  CHECK(product(0, 0, 0x1p-126F) == 0x1p-126F);
  CHECK(product(std::numeric_limits<float>::infinity(), 0x1p-127F, 0) != 0);  // infinity times zero
  // The arithmetic around it keeps denormal numbers.
  volatile float least = std::numeric_limits<float>::denorm_min();
  CHECK(least * 2 > 0);
}

TEST_CASE("tiles: a pair's elements are summed apart, sixteen pairs before they meet the sum") {
  if (is_absent()) return;
  Words sum(kSide * kSide);
  Words first(sum.size());
  Words second(sum.size());
  const auto half = [](float x) { return as_bits(x) >> 16; };
  // Even elements give 2^24 and then ones, each of which is lost in one chain; odd ones the same ones, which are not.
  for (std::size_t k = 0; k < kSide; ++k) {
    first[k] = half(1) << 16 | half(k == 0 ? 0x1p24F : 1);
    second[k * kSide] = half(1) << 16 | half(1);
  }
  sum[0] = as_bits(1);
  const float found = as_float(by_tiles<TileProduct::bfloat16>(sum, first, second)[0]);
  CHECK(found == 0x1p24F + 16);  // and the one that was there is lost beside it
}

TEST_CASE("tiles: products of bytes wrap") {
  if (is_absent()) return;
  check_bytes<TileProduct::signed_signed>(true, true);
  check_bytes<TileProduct::signed_unsigned>(true, false);
  check_bytes<TileProduct::unsigned_signed>(false, true);
  check_bytes<TileProduct::unsigned_unsigned>(false, false);
}

TEST_CASE("tiles: rows are loaded and stored by their stride, and tiles are zero at first") {
  if (is_absent()) return;
  std::vector<std::uint32_t> from(std::size_t{kSide} * 20);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::uint32_t>(i);
  Tiles tiles;
  tiles.load<2, 4>(from.data(), 80);
  std::vector<std::uint32_t> to(std::size_t{kSide} * 17, 7);
  tiles.store<2>(to.data(), 68);
  std::int64_t wrong = 0;
  for (std::size_t row = 0; row < kSide; ++row) {
    for (std::size_t i = 0; i < kSide; ++i) wrong += to[row * 17 + i] != row * 20 + i + 1;
    wrong += to[row * 17 + 16] != 7;
  }
  CHECK(wrong == 0);
  tiles.zero<2>();
  tiles.store<2>(to.data(), 68);
  CHECK(to[0] == 0);
  tiles.store<5>(to.data(), 68);
  CHECK(to[kSide - 1] == 0);
}
#endif

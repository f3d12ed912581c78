// Philox 4x32-10: random bits as a pure function of (seed, counter, position).
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// The stream of one call: 32-bit word w is word w % 4 of the block whose 128-bit input is (w / 4, counter) under the key
// `seed`, low halves first. An element of up to 32 bits of randomness takes one word, by its flat index; one of 64 takes two.
// What draws an unknown number of words for an element (rejection) has a stream of blocks for each: substream.h.
// Invariant: word w depends on nothing but seed, counter and w.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace gorgo::GORGO_ISA_NS {

// Words made at a time: enough blocks side by side to fill the widest vectors.
inline constexpr int kPhiloxWords = 64;

struct PhiloxStream {
  uint64_t seed = 0;
  uint64_t counter = 0;
};

// The words of kBlocks neighbouring blocks, the first of which is `first`.
template <int kBlocks>
GORGO_INLINE void philox_blocks(const PhiloxStream& stream, uint64_t first, uint32_t* out) noexcept {
  constexpr uint64_t kMultiplier0 = 0xD2511F53u;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u;
  constexpr uint32_t kWeyl1 = 0xBB67AE85u;
  uint32_t x0[kBlocks];
  uint32_t x1[kBlocks];
  uint32_t x2[kBlocks];
  uint32_t x3[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    const uint64_t block = first + static_cast<uint64_t>(i);
    x0[i] = static_cast<uint32_t>(block);
    x1[i] = static_cast<uint32_t>(block >> 32);
    x2[i] = static_cast<uint32_t>(stream.counter);
    x3[i] = static_cast<uint32_t>(stream.counter >> 32);
  }
  auto key0 = static_cast<uint32_t>(stream.seed);
  auto key1 = static_cast<uint32_t>(stream.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kBlocks; ++i) {
      const uint64_t p0 = kMultiplier0 * x0[i];
      const uint64_t p1 = kMultiplier1 * x2[i];
      x0[i] = static_cast<uint32_t>(p1 >> 32) ^ x1[i] ^ key0;
      x1[i] = static_cast<uint32_t>(p1);
      x2[i] = static_cast<uint32_t>(p0 >> 32) ^ x3[i] ^ key1;
      x3[i] = static_cast<uint32_t>(p0);
    }
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  for (int i = 0; i < kBlocks; ++i) {
    out[4 * i] = x0[i];
    out[4 * i + 1] = x1[i];
    out[4 * i + 2] = x2[i];
    out[4 * i + 3] = x3[i];
  }
}

// Words [chunk * kPhiloxWords, (chunk + 1) * kPhiloxWords).
GORGO_INLINE void philox_words(const PhiloxStream& stream, uint64_t chunk, uint32_t* out) noexcept {
  constexpr int kBlocks = kPhiloxWords / 4;
  philox_blocks<kBlocks>(stream, chunk * kBlocks, out);
}

}  // namespace gorgo::GORGO_ISA_NS

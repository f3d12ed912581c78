// csrc/ops/random: the published test vectors of Philox 4x32-10, and elements that depend on nothing but their index.
// Distributions and gradients are tested from Python, in tests/ops/test_random.py.
#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS isa_test
#endif
#include "ops/random/philox.h"

#include <doctest/doctest.h>

#include <array>

#include "ops/random/random.h"
#include "start_library.h"

using namespace gorgo;

namespace {

// The stream's block `block` under (seed, counter).
std::array<uint32_t, 4> block_of(uint64_t seed, uint64_t counter, uint64_t block) {
  std::array<uint32_t, 64> words;
  GORGO_ISA_NS::philox_words({seed, counter}, block / 16, words.data());
  const auto at = static_cast<size_t>(block % 16 * 4);
  return {words[at], words[at + 1], words[at + 2], words[at + 3]};
}

Tensor make_key(uint64_t seed, uint64_t counter) {
  start_library();
  Tensor key = make_tensor({2}, DType::UInt64, kCpu);
  static_cast<uint64_t*>(key->data())[0] = seed;
  static_cast<uint64_t*>(key->data())[1] = counter;
  return key;
}

}  // namespace

// Source: the known-answer file of Random123 1.14, rows "philox4x32 10".
TEST_CASE("Philox yields the published vectors") {
  using Block = std::array<uint32_t, 4>;
  CHECK(block_of(0, 0, 0) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(block_of(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(block_of(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random_key counts, whatever is drawn") {
  const Tensor state = make_key(11, 5);
  const Tensor key = random_key(state);
  CHECK(static_cast<uint64_t*>(key->data())[0] == 11);
  CHECK(static_cast<uint64_t*>(key->data())[1] == 5);
  CHECK(static_cast<uint64_t*>(state->data())[1] == 6);
  CHECK(state->storage->version.load() == 1);
}

TEST_CASE("uniform elements are the words of their index") {
  const Tensor key = make_key(0, 0);
  const UniformAttrs attrs{{40000}};
  const Tensor u = invoke(*random_ops.uniform, {key}, &attrs);
  for (const int64_t i : {0, 1, 2, 3, 63, 64, 16383, 16384, 39999}) {
    const uint32_t word = block_of(0, 0, static_cast<uint64_t>(i) / 4)[static_cast<size_t>(i % 4)];
    CHECK(static_cast<float*>(u->data())[i] == static_cast<float>(word >> 8) * 0x1p-24f);
  }
  const RandintAttrs range{{5}, -3, INT64_MAX};
  const Tensor r = invoke(*random_ops.randint, {key}, &range);
  const auto block = block_of(0, 0, 0);
  const unsigned __int128 word = block[0] | uint64_t{block[1]} << 32;
  const auto expected = static_cast<int64_t>((word * (uint64_t{1} << 63 | 2)) >> 64) - 3;
  CHECK(static_cast<int64_t*>(r->data())[0] == expected);
}

// Arena planning: known cases, random programs, and a verifier that is itself tested.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "core/check.h"
#include "memory/plan.h"

namespace {

using namespace gorgo;

// Most bytes alive at one step, counted step by step.
size_t counted_bound(const std::vector<BufferLife>& lives, size_t alignment) {
  int32_t steps = 0;
  for (const BufferLife& life : lives) steps = std::max(steps, life.last + 1);
  size_t most = 0;
  for (int32_t step = 0; step < steps; ++step) {
    size_t alive = 0;
    for (const BufferLife& life : lives) {
      if (life.first <= step && step <= life.last) alive += (life.bytes + alignment - 1) / alignment * alignment;
    }
    most = std::max(most, alive);
  }
  return most;
}

// Overlaps found by comparing every pair.
int counted_overlaps(const std::vector<BufferLife>& lives, const ArenaPlan& plan) {
  int overlaps = 0;
  for (size_t i = 0; i < lives.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const bool together = lives[i].first <= lives[j].last && lives[j].first <= lives[i].last;
      const bool apart = plan.offsets[i] + lives[i].bytes <= plan.offsets[j] ||
                         plan.offsets[j] + lives[j].bytes <= plan.offsets[i] || lives[i].bytes == 0 ||
                         lives[j].bytes == 0;
      overlaps += together && !apart;
    }
  }
  return overlaps;
}

TEST_CASE("nothing, and empty buffers, need no arena") {
  CHECK(plan_arena({}).total_bytes == 0);
  const std::vector<BufferLife> lives = {{0, 0, 3}, {0, 1, 1}};
  const ArenaPlan plan = plan_arena(lives);
  CHECK(plan.total_bytes == 0);
  CHECK(plan.offsets == std::vector<size_t>{0, 0});
  verify_plan(lives, plan);
}

TEST_CASE("a chain needs two buffers however long it is") {
  std::vector<BufferLife> lives;
  for (int32_t step = 0; step < 50; ++step) lives.push_back({1000, step, step + 1});
  const ArenaPlan plan = plan_arena(lives);
  CHECK(plan.total_bytes == 2 * 1024);
  CHECK(plan.lower_bound_bytes == 2 * 1024);
  verify_plan(lives, plan);
}

TEST_CASE("the ends of a life belong to it") {
  const std::vector<BufferLife> lives = {{64, 0, 3}, {64, 3, 5}, {64, 6, 6}};
  const ArenaPlan plan = plan_arena(lives);
  CHECK(plan.offsets[0] != plan.offsets[1]);
  CHECK(plan.total_bytes == 128);
}

TEST_CASE("random programs: no overlap, aligned, near the bound, repeatable") {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const size_t alignment = size_t{1} << (random() % 3 * 3 + 3);
    std::vector<BufferLife> lives;
    const int count = 1 + static_cast<int>(random() % 150);
    for (int i = 0; i < count; ++i) {
      const auto first = static_cast<int32_t>(random() % 100);
      const auto length = static_cast<int32_t>(random() % (round % 2 == 0 ? 6 : 60));
      const size_t bytes = random() % 10 == 0 ? 0 : size_t{random()} % (size_t{1} << (4 + random() % 16));
      lives.push_back({bytes, first, first + length});
    }
    const ArenaPlan plan = plan_arena(lives, alignment);
    verify_plan(lives, plan, alignment);
    CHECK(counted_overlaps(lives, plan) == 0);
    CHECK(plan.lower_bound_bytes == counted_bound(lives, alignment));
    CHECK(plan.total_bytes >= plan.lower_bound_bytes);
    CHECK(static_cast<double>(plan.total_bytes) <= 1.35 * static_cast<double>(plan.lower_bound_bytes));
    for (const size_t offset : plan.offsets) CHECK(offset % alignment == 0);
    CHECK(plan_arena(lives, alignment).offsets == plan.offsets);
  }
}

TEST_CASE("a training program of ten thousand buffers") {
  // Activations live from forward to backward, gradients for a few steps.
  std::vector<BufferLife> lives;
  std::mt19937 random(3);
  constexpr int32_t kLayers = 5000;
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    const size_t bytes = size_t{64} << (random() % 8);
    lives.push_back({bytes, layer, 2 * kLayers - layer});
    lives.push_back({bytes, 2 * kLayers - layer - 1, 2 * kLayers - layer + 1});
  }
  const ArenaPlan plan = plan_arena(lives);
  verify_plan(lives, plan);
  CHECK(static_cast<double>(plan.total_bytes) <= 1.05 * static_cast<double>(plan.lower_bound_bytes));
}

TEST_CASE("bad lives and sizes are refused with figures") {
  const std::vector<BufferLife> backwards = {{8, 0, 1}, {8, 5, 4}};
  CHECK_THROWS_WITH_AS(plan_arena(backwards), "plan_arena: buffer 1 must have first <= last, got [5, 4]", ValueError);
  const std::vector<BufferLife> fine = {{8, 0, 1}};
  CHECK_THROWS_AS(plan_arena(fine, 48), ValueError);
  CHECK_THROWS_AS(plan_arena(fine, 0), ValueError);
  const std::vector<BufferLife> huge = {{SIZE_MAX - 8, 0, 1}};
  CHECK_THROWS_AS(plan_arena(huge), OverflowError);
  const std::vector<BufferLife> sum = {{SIZE_MAX / 3, 0, 1}, {SIZE_MAX / 3, 0, 1}};
  CHECK_THROWS_AS(plan_arena(sum), OverflowError);
}

TEST_CASE("verify_plan finds each kind of fault") {
  const std::vector<BufferLife> lives = {{100, 0, 4}, {100, 2, 6}, {100, 7, 9}};
  const ArenaPlan good = plan_arena(lives);
  verify_plan(lives, good);
  ArenaPlan bad = good;
  bad.offsets = {0, 64, 0};
  CHECK_THROWS_WITH_AS(verify_plan(lives, bad), doctest::Contains("live buffers must not overlap"), StateError);
  bad.offsets = {0, 0, 0};
  CHECK_THROWS_AS(verify_plan(lives, bad), StateError);
  bad.offsets = {0, 130, 0};
  bad.total_bytes = 1000;
  CHECK_THROWS_WITH_AS(verify_plan(lives, bad), doctest::Contains("multiple of 64"), StateError);
  bad.offsets = {0, 192, 0};
  bad.total_bytes = 256;
  CHECK_THROWS_WITH_AS(verify_plan(lives, bad), doctest::Contains("within 256 bytes"), StateError);
  bad.offsets = {0, 128};
  CHECK_THROWS_WITH_AS(verify_plan(lives, bad), doctest::Contains("3 offsets, got 2"), StateError);
}

TEST_CASE("verify_plan agrees with a comparison of all pairs") {
  std::mt19937 random(11);
  int faulty = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<BufferLife> lives;
    ArenaPlan plan;
    plan.total_bytes = 64 * 64;
    for (int i = 0; i < 6; ++i) {
      const auto first = static_cast<int32_t>(random() % 12);
      lives.push_back({1 + random() % 200, first, first + static_cast<int32_t>(random() % 4)});
      plan.offsets.push_back(64 * (random() % 30));
    }
    bool refused = false;
    try {
      verify_plan(lives, plan);
    } catch (const StateError&) {
      refused = true;
    }
    CHECK(refused == (counted_overlaps(lives, plan) > 0));
    faulty += refused;
  }
  CHECK(faulty > 50);
  CHECK(faulty < 250);
}

}  // namespace

// Which steps of a program wait for which: known cases, and random programs against the definition.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "graph/order.h"

namespace {

using namespace gorgo;
using Steps = std::vector<std::vector<Access>>;

Access read(uintptr_t first, uintptr_t end) { return {first, end, false}; }
Access write(uintptr_t first, uintptr_t end) { return {first, end, true}; }

bool share_a_written_byte(const std::vector<Access>& a, const std::vector<Access>& b) {
  for (const Access& x : a) {
    for (const Access& y : b) {
      for (uintptr_t byte = x.first; byte < x.end; ++byte) {
        if (byte >= y.first && byte < y.end && (x.writes || y.writes)) return true;
      }
    }
  }
  return false;
}

// over[s][p]: step p is over when step s begins, by following the lists.
std::vector<std::vector<bool>> closure(const std::vector<std::vector<int32_t>>& direct) {
  std::vector<std::vector<bool>> over(direct.size(), std::vector<bool>(direct.size(), false));
  for (size_t s = 0; s < direct.size(); ++s) {
    for (const int32_t p : direct[s]) {
      over[s][static_cast<size_t>(p)] = true;
      for (size_t q = 0; q < s; ++q) over[s][q] = over[s][q] || over[static_cast<size_t>(p)][q];
    }
  }
  return over;
}

}  // namespace

TEST_CASE("a step waits for whoever writes what it reads, reads what it writes, or writes the same") {
  using Lists = std::vector<std::vector<int32_t>>;
  CHECK(predecessors(Steps{}) == Lists{});
  CHECK(predecessors(Steps{{write(0, 4)}, {read(0, 4)}}) == Lists{{}, {0}});
  CHECK(predecessors(Steps{{read(0, 4)}, {write(3, 9)}}) == Lists{{}, {0}});
  CHECK(predecessors(Steps{{write(0, 4)}, {write(2, 3)}}) == Lists{{}, {0}});
  CHECK(predecessors(Steps{{read(0, 4)}, {read(0, 4)}}) == Lists{{}, {}});
  CHECK(predecessors(Steps{{write(0, 4)}, {write(4, 8)}}) == Lists{{}, {}});
  // What another one waits for already is not told twice.
  CHECK(predecessors(Steps{{write(0, 4)}, {read(0, 4), write(4, 8)}, {read(0, 8), write(8, 12)}}) ==
        Lists{{}, {0}, {1}});
  // Two branches and where they meet.
  CHECK(predecessors(
            Steps{{write(0, 4)}, {read(0, 4), write(4, 8)}, {read(0, 4), write(8, 12)}, {read(4, 12), write(0, 4)}}) ==
        Lists{{}, {0}, {0}, {1, 2}});
}

TEST_CASE("random programs: every conflict is ordered, and no order is told twice") {
  std::mt19937 random(7);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (int round = 0; round < 200; ++round) {
    Steps steps(1 + below(80));
    for (std::vector<Access>& step : steps) {
      for (uint32_t i = 0, count = below(5); i < count; ++i) {
        const uintptr_t first = below(60);
        step.push_back({first, first + below(6), below(3) == 0});
      }
    }
    const auto direct = predecessors(steps);
    const auto over = closure(direct);
    for (size_t s = 0; s < steps.size(); ++s) {
      for (size_t p = 0; p < s; ++p) {
        if (share_a_written_byte(steps[p], steps[s])) CHECK(over[s][p]);
      }
      for (const int32_t p : direct[s]) {
        CHECK(share_a_written_byte(steps[static_cast<size_t>(p)], steps[s]));
        for (const int32_t q : direct[s]) CHECK(!over[static_cast<size_t>(q)][static_cast<size_t>(p)]);
      }
    }
  }
}

TEST_CASE("an operand reaches from its lowest to its highest element") {
  std::vector<float> elements(64);
  float* const at = elements.data() + 32;
  const auto address = reinterpret_cast<uintptr_t>(at);
  const int64_t shape[] = {3, 4};
  const int64_t strides[] = {-5, 2};
  KOperand operand;
  operand.data = at;
  operand.shape = shape;
  operand.strides = strides;
  operand.rank = 2;
  operand.numel = 12;
  const Access access = access_of(operand, true);
  CHECK(access.first == address - 10 * sizeof(float));
  CHECK(access.end == address + 7 * sizeof(float));
  CHECK(access.writes);
  const int64_t broadcast[] = {0, 0};
  operand.strides = broadcast;
  CHECK(access_of(operand, false).end == address + sizeof(float));
  operand.given = false;
  CHECK(access_of(operand, false).end == 0);
  operand.given = true;
  operand.numel = 0;
  CHECK(access_of(operand, false).end == 0);
  operand.numel = 1;
  operand.rank = 0;
  operand.scalar = true;
  CHECK(access_of(operand, false).end == address + sizeof(float));
  operand.host = true;
  CHECK(access_of(operand, false).end == 0);
}

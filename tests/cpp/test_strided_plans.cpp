// The plans by which kernels walk strided memory (kernels/move.h, kernels/lines.h, ops/reduce/plan.h) against walks by
// definition: for random shapes, strides of any sign and any order of axes, every element is met where and as often as it
// should be. The plans are the same for every instruction set; the base one stands for all.
#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS isa_test
#define GORGO_ISA_BASE 1
#endif

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "kernels/lines.h"
#include "kernels/move.h"
#include "ops/reduce/plan.h"

namespace kernels = gorgo::GORGO_ISA_NS;
using gorgo::KernelArgs;
using gorgo::KOperand;
using gorgo::Shape;
using gorgo::Strides;

namespace {

using Offsets = std::vector<int64_t>;

struct Layout {
  Shape shape;
  Strides strides;
  [[nodiscard]] int64_t count() const {
    return std::accumulate(shape.begin(), shape.end(), int64_t{1}, [](int64_t a, int64_t b) { return a * b; });
  }
  // Offsets of all positions in row-major order.
  [[nodiscard]] Offsets offsets() const {
    Offsets out{0};
    for (int axis = 0; axis < shape.size(); ++axis) {
      Offsets next;
      for (const int64_t at : out) {
        for (int64_t i = 0; i < shape[axis]; ++i) next.push_back(at + i * strides[axis]);
      }
      out = std::move(next);
    }
    return out;
  }
  [[nodiscard]] bool contiguous() const {
    int64_t run = 1;
    for (int i = shape.size() - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != run) return false;
      run *= shape[i];
    }
    return true;
  }
  [[nodiscard]] KOperand operand() const {
    KOperand x;
    x.shape = shape.data();
    x.strides = strides.data();
    x.numel = count();
    x.rank = shape.size();
    x.contiguous = contiguous();
    return x;
  }
};

class Layouts {
 public:
  explicit Layouts(unsigned seed) : random_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  Shape shape(int most_axes, int64_t longest) {
    Shape out;
    const auto rank = static_cast<int>(below(most_axes + 1));
    for (int i = 0; i < rank; ++i) out.push_back(below(8) == 0 ? 1 : 1 + below(longest));
    return out;
  }
  // Of that shape: a dense block with its axes in any order, then stretched, turned round or repeated here and there.
  Layout layout(const Shape& shape) {
    Layout out;
    out.shape = shape;
    std::vector<int> order(static_cast<size_t>(shape.size()));
    std::iota(order.begin(), order.end(), 0);
    if (below(2) == 0) std::shuffle(order.begin(), order.end(), random_);
    for (int i = 0; i < shape.size(); ++i) out.strides.push_back(0);
    int64_t run = below(3) == 0 ? 2 : 1;
    for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
      out.strides[*axis] = run;
      run *= shape[*axis] + (below(4) == 0 ? 1 : 0);
    }
    for (int64_t& s : out.strides) {
      if (below(6) == 0) s = -s;
      if (below(8) == 0) s = 0;
    }
    return out;
  }

 private:
  std::mt19937_64 random_;
};

kernels::MovePlan move_plan(const Layout& to, const Layout& from) {
  kernels::MovePlan plan;
  for (int i = 0; i < to.shape.size(); ++i) plan.add(to.shape[i], to.strides[i], from.strides[i]);
  return plan;
}

Offsets sorted(Offsets offsets) {
  std::sort(offsets.begin(), offsets.end());
  return offsets;
}

}  // namespace

TEST_CASE("a move meets every pair of elements, in row-major order, however it is cut") {
  Layouts random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    const Shape shape = random.shape(5, 5);
    const Layout to = random.layout(shape);
    const Layout from = random.layout(shape);
    const kernels::MovePlan plan = move_plan(to, from);
    const Offsets want_to = to.offsets();
    const Offsets want_from = from.offsets();
    Offsets got_to;
    Offsets got_from;
    const int64_t to_step = plan.rank > 0 ? plan.to[plan.rank - 1] : 0;
    const int64_t from_step = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
    for (int64_t begin = 0; begin < to.count();) {
      const int64_t end = std::min(to.count(), begin + 1 + random.below(to.count()));
      kernels::walk_lines(plan, begin, end, [&](int64_t t, int64_t f, int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
          got_to.push_back(t + i * to_step);
          got_from.push_back(f + i * from_step);
        }
      });
      begin = end;
    }
    REQUIRE(got_to == want_to);
    REQUIRE(got_from == want_from);
  }
}

TEST_CASE("a move joins the axes that one step walks") {
  const auto rank_of = [](const Shape& shape, const Strides& to, const Strides& from) {
    return move_plan({shape, to}, {shape, from}).rank;
  };
  CHECK(rank_of({}, {}, {}) == 0);
  CHECK(rank_of({1, 1}, {5, 7}, {3, 2}) == 0);
  CHECK(rank_of({2, 3, 4}, {12, 4, 1}, {12, 4, 1}) == 1);
  CHECK(rank_of({2, 3, 4}, {12, 4, 1}, {0, 0, 0}) == 1);
  CHECK(rank_of({2, 3, 4}, {12, 4, 1}, {24, 4, 1}) == 2);
  CHECK(rank_of({2, 1, 4}, {4, 9, 1}, {4, -3, 1}) == 1);
  CHECK(rank_of({3, 4}, {4, 1}, {1, 3}) == 2);
  CHECK(rank_of({3, 4}, {-4, -1}, {-4, -1}) == 1);
}

TEST_CASE("a range that is empty moves nothing") {
  const kernels::MovePlan plan = move_plan({{2, 3}, {3, 1}}, {{2, 3}, {3, 1}});
  kernels::walk_lines(plan, 4, 4, [](int64_t, int64_t, int64_t) { FAIL("a line of an empty range"); });
}

TEST_CASE("a reduction walks each output's elements once, and only those") {
  Layouts random(2);
  for (int trial = 0; trial < 3000; ++trial) {
    const Layout in = random.layout(random.shape(5, 4));
    const auto rank = in.shape.size();
    const auto mask = static_cast<uint32_t>(random.below(int64_t{1} << rank));
    const bool ordered = random.below(2) == 0;
    // By definition: positions in row-major order of the input, sorted into outputs in row-major order of what is kept.
    Layout kept_number{in.shape, {}};
    int64_t outputs = 1;
    for (int i = 0; i < rank; ++i) kept_number.strides.push_back(0);
    for (int i = rank - 1; i >= 0; --i) {
      if (((mask >> i) & 1u) != 0) continue;
      kept_number.strides[i] = outputs;
      outputs *= in.shape[i];
    }
    std::vector<Offsets> want(static_cast<size_t>(outputs));
    const Offsets elements = in.offsets();
    const Offsets numbers = kept_number.offsets();
    for (size_t i = 0; i < elements.size(); ++i) want[static_cast<size_t>(numbers[i])].push_back(elements[i]);

    const KOperand operand = in.operand();
    const kernels::ReducePlan plan(operand, mask, ordered);
    REQUIRE(plan.outputs == outputs);
    REQUIRE(plan.count == static_cast<int64_t>(want[0].size()));
    std::vector<Offsets> got(static_cast<size_t>(outputs));
    kernels::Cursor output(plan.kept, plan.kept.rank, 0);
    for (int64_t o = 0; o < outputs; ++o) {
      kernels::Cursor element(plan.reduced, plan.reduced.rank, 0);
      for (int64_t i = 0; i < plan.count; ++i) {
        got[static_cast<size_t>(output.out())].push_back(plan.base + output.in() + element.in());
        element.next();
      }
      output.next();
    }
    for (size_t o = 0; o < want.size(); ++o) {
      if (ordered) {
        REQUIRE(got[o] == want[o]);
      } else {
        REQUIRE(sorted(got[o]) == sorted(want[o]));
      }
    }
  }
}

TEST_CASE("how a reduction's chunks are cut depends on one output's elements alone") {
  for (const int64_t length : {7, 1000, 32767, 32768, 32769, 200000}) {
    int64_t chunks = 0;
    for (const int64_t batch : {2, 3, 64, 1000}) {
      const Layout rows{{batch, length}, {length, 1}};
      const kernels::ReducePlan plan(rows.operand(), 0b10u, false);
      CHECK_FALSE(plan.by_columns);
      CHECK(plan.units == batch * plan.chunks);
      CHECK((chunks == 0 || plan.chunks == chunks));
      chunks = plan.chunks;
    }
    chunks = 0;
    for (const int64_t batch : {2, 3, 64, 1000}) {
      const Layout columns{{length, batch}, {batch, 1}};
      const kernels::ReducePlan plan(columns.operand(), 0b01u, false);
      CHECK(plan.by_columns);
      CHECK((chunks == 0 || plan.chunks == chunks));
      chunks = plan.chunks;
    }
  }
}

TEST_CASE("lines begin where their axis begins, for any layout and axis") {
  Layouts random(3);
  for (int trial = 0; trial < 2000; ++trial) {
    Layout in = random.layout(random.shape(5, 5));
    if (in.shape.empty()) continue;
    const auto axis = static_cast<int>(random.below(in.shape.size()));
    const KOperand operand = in.operand();
    KernelArgs args;
    args.in = &operand;
    args.in_count = 1;
    constexpr int kLanes = 8;
    const kernels::LinePlan plan(args, random.below(2) == 0 ? axis : axis - in.shape.size(), 1, kLanes);
    Layout begins = in;
    begins.shape[axis] = 1;
    const Offsets want = begins.offsets();
    REQUIRE(plan.length == in.shape[axis]);
    REQUIRE(plan.outer * plan.inner == static_cast<int64_t>(want.size()));
    REQUIRE(plan.axis_stride(operand) == in.strides[axis]);
    Offsets got;
    for (int64_t line = 0; line < plan.outer * plan.inner; ++line) got.push_back(plan.begin_of(operand, line));
    REQUIRE(got == want);
    REQUIRE(plan.units ==
            (plan.by_columns ? plan.outer * ((plan.inner + kLanes - 1) / kLanes) : plan.outer * plan.inner));
    REQUIRE(plan.tasks() * plan.units_per_task >= plan.units);
    // Lines go side by side only where their elements do.
    for (int64_t line = 0; plan.by_columns && line + 1 < plan.inner; ++line) {
      REQUIRE(want[static_cast<size_t>(line + 1)] == want[static_cast<size_t>(line)] + 1);
    }
  }
}

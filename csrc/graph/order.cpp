#include "graph/order.h"

#include <algorithm>

#include "core/dtype.h"
#include "core/shape.h"

namespace gorgo {
namespace {

bool conflict(const std::vector<Access>& a, const std::vector<Access>& b) noexcept {
  for (const Access& x : a) {
    for (const Access& y : b) {
      if ((x.writes || y.writes) && meet(x, y)) return true;
    }
  }
  return false;
}

}  // namespace

bool meet(const Access& a, const Access& b) noexcept { return std::max(a.first, b.first) < std::min(a.end, b.end); }

Access access_of(const KOperand& operand, bool writes) noexcept {
  if (!operand.given || operand.numel == 0 || operand.data == nullptr || (operand.scalar && operand.host)) return {};
  const auto rank = static_cast<size_t>(operand.rank);
  const Reach reach = reach_of({operand.shape, rank}, {operand.strides, rank});
  const int64_t size = dtype_size(operand.dtype);
  const auto origin = reinterpret_cast<uintptr_t>(operand.data);
  return {origin + static_cast<uintptr_t>(reach.lowest * size),
          origin + static_cast<uintptr_t>((reach.highest + 1) * size), writes};
}

std::vector<std::vector<int32_t>> predecessors(std::span<const std::vector<Access>> steps) {
  const size_t words = (steps.size() + 63) / 64;
  std::vector<uint64_t> waits(steps.size() * words, 0);  // row s: all steps that are over when s begins
  std::vector<std::vector<int32_t>> direct(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    uint64_t* row = waits.data() + s * words;
    for (size_t p = s; p-- > 0;) {
      if ((row[p / 64] >> (p % 64) & 1) != 0 || !conflict(steps[p], steps[s])) continue;
      direct[s].push_back(static_cast<int32_t>(p));
      const uint64_t* before = waits.data() + p * words;
      for (size_t w = 0; w < words; ++w) row[w] |= before[w];
      row[p / 64] |= uint64_t{1} << (p % 64);
    }
    std::reverse(direct[s].begin(), direct[s].end());
  }
  return direct;
}

}  // namespace gorgo

// Greedy placement: the largest buffer first, each into the tightest gap between those already placed whose lives it shares, or at
// the end. Two orders are tried (by size, and by size times life), and the better plan is kept; each is usually within a few percent
// of the lower bound. Placed buffers are kept sorted by offset, so one pass over them finds every gap; the pass is linear, with a
// constant of about a nanosecond.
#include "memory/plan.h"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>

#include "core/check.h"

namespace gorgo {
namespace {

struct Placed {
  size_t offset;
  size_t end;
  int32_t first;
  int32_t last;
};

std::vector<size_t> aligned_sizes(std::span<const BufferLife> lives, size_t alignment) {
  if (!std::has_single_bit(alignment)) fail<ValueError>("plan_arena: alignment must be a power of two, got ", alignment);
  std::vector<size_t> sizes(lives.size());
  size_t sum = 0;
  for (size_t i = 0; i < lives.size(); ++i) {
    const BufferLife& life = lives[i];
    if (life.first > life.last) {
      fail<ValueError>("plan_arena: buffer ", i, " must have first <= last, got [", life.first, ", ", life.last, "]");
    }
    if (life.bytes > SIZE_MAX / 2 - alignment) {
      fail<OverflowError>("plan_arena: buffer ", i, " must fit in memory, got ", life.bytes, " bytes");
    }
    sizes[i] = (life.bytes + alignment - 1) & ~(alignment - 1);
    sum += sizes[i];
    if (sum > SIZE_MAX / 2) fail<OverflowError>("plan_arena: buffers must fit in memory together, got over ", sum, " bytes");
  }
  return sizes;
}

size_t most_alive_bytes(std::span<const BufferLife> lives, std::span<const size_t> sizes) {
  struct Event {
    int64_t step;
    size_t bytes;
    bool starts;
  };
  std::vector<Event> events;
  events.reserve(2 * lives.size());
  for (size_t i = 0; i < lives.size(); ++i) {
    events.push_back({lives[i].first, sizes[i], true});
    events.push_back({int64_t{lives[i].last} + 1, sizes[i], false});
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return a.step != b.step ? a.step < b.step : a.starts < b.starts;  // ends before starts
  });
  size_t alive = 0;
  size_t most = 0;
  for (const Event& event : events) {
    alive = event.starts ? alive + event.bytes : alive - event.bytes;
    most = std::max(most, alive);
  }
  return most;
}

// Places the buffers in the given order and returns the size of the arena.
size_t place(std::span<const BufferLife> lives, std::span<const size_t> sizes, std::span<const uint32_t> order,
             std::vector<size_t>& offsets) {
  std::vector<Placed> placed;
  placed.reserve(lives.size());
  size_t total = 0;
  for (const uint32_t i : order) {
    const size_t bytes = sizes[i];
    if (bytes == 0) continue;
    const int32_t first = lives[i].first;
    const int32_t last = lives[i].last;
    size_t reached = 0;  // end of the highest neighbour in time so far
    size_t best_offset = SIZE_MAX;
    size_t best_waste = SIZE_MAX;
    for (const Placed& other : placed) {
      if (other.first > last || other.last < first) continue;
      if (other.offset >= reached + bytes) {
        const size_t waste = other.offset - reached - bytes;
        if (waste < best_waste) {
          best_waste = waste;
          best_offset = reached;
          if (waste == 0) break;
        }
      }
      reached = std::max(reached, other.end);
    }
    const size_t offset = best_offset == SIZE_MAX ? reached : best_offset;
    offsets[i] = offset;
    total = std::max(total, offset + bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), offset,
                                     [](size_t value, const Placed& other) { return value < other.offset; });
    placed.insert(at, {offset, offset + bytes, first, last});
  }
  return total;
}

}  // namespace

ArenaPlan plan_arena(std::span<const BufferLife> lives, size_t alignment) {
  const std::vector<size_t> sizes = aligned_sizes(lives, alignment);
  ArenaPlan best;
  best.offsets.assign(lives.size(), 0);
  best.lower_bound_bytes = most_alive_bytes(lives, sizes);
  if (best.lower_bound_bytes == 0) return best;

  const auto length = [&](uint32_t i) { return static_cast<double>(lives[i].last) - lives[i].first + 1; };
  std::vector<uint32_t> order(lives.size());
  std::vector<size_t> offsets(lives.size(), 0);
  for (const bool by_area : {false, true}) {
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      if (by_area) return static_cast<double>(sizes[a]) * length(a) > static_cast<double>(sizes[b]) * length(b);
      return sizes[a] != sizes[b] ? sizes[a] > sizes[b] : length(a) > length(b);
    });
    const size_t total = place(lives, sizes, order, offsets);
    if (!by_area || total < best.total_bytes) {
      best.total_bytes = total;
      best.offsets = offsets;
    }
    if (best.total_bytes == best.lower_bound_bytes) break;
  }
  return best;
}

void verify_plan(std::span<const BufferLife> lives, const ArenaPlan& plan, size_t alignment) {
  if (plan.offsets.size() != lives.size()) {
    fail<StateError>("verify_plan: plan must have ", lives.size(), " offsets, got ", plan.offsets.size());
  }
  // A sweep over the steps, with what is alive sorted by offset: at each start the two neighbours must keep clear.
  std::vector<uint32_t> by_start;
  std::vector<uint32_t> by_end;
  for (uint32_t i = 0; i < lives.size(); ++i) {
    if (lives[i].bytes == 0) continue;
    if (plan.offsets[i] % alignment != 0) {
      fail<StateError>("verify_plan: buffer ", i, " must lie at a multiple of ", alignment, ", got ", plan.offsets[i]);
    }
    if (lives[i].bytes > plan.total_bytes || plan.offsets[i] > plan.total_bytes - lives[i].bytes) {
      fail<StateError>("verify_plan: buffer ", i, " must end within ", plan.total_bytes, " bytes, got offset ", plan.offsets[i],
                       " with ", lives[i].bytes, " bytes");
    }
    by_start.push_back(i);
    by_end.push_back(i);
  }
  std::sort(by_start.begin(), by_start.end(), [&](uint32_t a, uint32_t b) { return lives[a].first < lives[b].first; });
  std::sort(by_end.begin(), by_end.end(), [&](uint32_t a, uint32_t b) { return lives[a].last < lives[b].last; });
  std::map<size_t, uint32_t> alive;
  size_t ended = 0;
  const auto clash = [&](uint32_t a, uint32_t b) {
    const auto show = [&](uint32_t i) {
      return cat(i, " (bytes [", plan.offsets[i], ", ", plan.offsets[i] + lives[i].bytes, "), steps [", lives[i].first, ", ",
                 lives[i].last, "])");
    };
    fail<StateError>("verify_plan: live buffers must not overlap, got ", show(a), " and ", show(b));
  };
  for (const uint32_t i : by_start) {
    while (lives[by_end[ended]].last < lives[i].first) alive.erase(plan.offsets[by_end[ended++]]);
    const auto [above, inserted] = alive.emplace(plan.offsets[i], i);
    if (!inserted) clash(above->second, i);
    if (above != alive.begin()) {
      const uint32_t below = std::prev(above)->second;
      if (plan.offsets[below] + lives[below].bytes > plan.offsets[i]) clash(below, i);
    }
    if (const auto next = std::next(above); next != alive.end()) {
      if (plan.offsets[i] + lives[i].bytes > plan.offsets[next->second]) clash(i, next->second);
    }
  }
}

}  // namespace gorgo

// Greedy placement: the largest buffer first, each into the tightest gap between those already placed whose lives it
// shares, or at the end. Short programs try two orders (by size, and by size times life) and keep the better plan; each
// is usually within a few percent of the lower bound. Placed buffers are kept sorted by offset, in short runs, so that
// one pass finds every gap and an insertion moves little; the pass is quadratic in the worst case, at less than a
// nanosecond a pair.
#include "memory/plan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <list>
#include <map>
#include <numeric>

#include "core/check.h"

namespace gorgo {
namespace {

// Above this many buffers one order has to do.
constexpr size_t kTwoOrdersUpTo = 4096;

// Placed buffers, sorted by offset.
class Placed {
 public:
  // Calls visit(offset, end) for those that live in [first, last], by rising offset, until it returns false.
  template <class F>
  void each_alive(int32_t first, int32_t last, F&& visit) const {
    uint32_t alive[kRun];
    for (const Run& run : runs_) {
      // Without a branch in it: which lives overlap is as good as random.
      uint32_t count = 0;
      for (uint32_t i = 0; i < run.count; ++i) {
        alive[count] = i;
        count += static_cast<uint32_t>(run.first[i] <= last) & static_cast<uint32_t>(run.last[i] >= first);
      }
      for (uint32_t k = 0; k < count; ++k) {
        if (!visit(run.offset[alive[k]], run.end[alive[k]])) return;
      }
    }
  }

  void insert(size_t offset, size_t end, int32_t first, int32_t last) {
    auto run = std::upper_bound(runs_.begin(), runs_.end(), offset,
                                [](size_t value, const Run& other) { return value < other.offset[0]; });
    if (run != runs_.begin()) --run;
    if (run == runs_.end()) run = runs_.emplace(run);
    if (run->count == kRun) {
      const auto upper = runs_.insert(std::next(run), Run{});
      run = std::prev(upper);
      constexpr uint32_t kHalf = kRun / 2;
      for (uint32_t i = kHalf; i < kRun; ++i) upper->copy(i - kHalf, *run, i);
      upper->count = kRun - kHalf;
      run->count = kHalf;
      if (offset >= upper->offset[0]) run = upper;
    }
    uint32_t at = run->count++;
    for (; at > 0 && run->offset[at - 1] > offset; --at) run->copy(at, *run, at - 1);
    run->offset[at] = offset;
    run->end[at] = end;
    run->first[at] = first;
    run->last[at] = last;
  }

 private:
  static constexpr uint32_t kRun = 256;
  struct Run {
    uint32_t count = 0;
    std::array<size_t, kRun> offset;
    std::array<size_t, kRun> end;
    std::array<int32_t, kRun> first;
    std::array<int32_t, kRun> last;
    void copy(uint32_t to, const Run& other, uint32_t from) {
      offset[to] = other.offset[from];
      end[to] = other.end[from];
      first[to] = other.first[from];
      last[to] = other.last[from];
    }
  };
  std::list<Run> runs_;
};

std::vector<size_t> aligned_sizes(std::span<const BufferLife> lives, size_t alignment) {
  if (!std::has_single_bit(alignment))
    fail<ValueError>("plan_arena: alignment must be a power of two, got ", alignment);
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
    if (sum > SIZE_MAX / 2)
      fail<OverflowError>("plan_arena: buffers must fit in memory together, got over ", sum, " bytes");
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
  Placed placed;
  size_t total = 0;
  for (const uint32_t i : order) {
    const size_t bytes = sizes[i];
    if (bytes == 0) continue;
    size_t reached = 0;  // end of the highest neighbour in time so far
    size_t best_offset = SIZE_MAX;
    size_t best_waste = SIZE_MAX;
    placed.each_alive(lives[i].first, lives[i].last, [&](size_t offset, size_t end) {
      if (offset >= reached + bytes && offset - reached - bytes < best_waste) {
        best_waste = offset - reached - bytes;
        best_offset = reached;
      }
      reached = std::max(reached, end);
      return best_waste != 0;
    });
    const size_t offset = best_offset == SIZE_MAX ? reached : best_offset;
    offsets[i] = offset;
    total = std::max(total, offset + bytes);
    placed.insert(offset, offset + bytes, lives[i].first, lives[i].last);
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
    if (best.total_bytes == best.lower_bound_bytes || lives.size() > kTwoOrdersUpTo) break;
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
      fail<StateError>("verify_plan: buffer ", i, " must end within ", plan.total_bytes, " bytes, got offset ",
                       plan.offsets[i], " with ", lives[i].bytes, " bytes");
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
      return cat(i, " (bytes [", plan.offsets[i], ", ", plan.offsets[i] + lives[i].bytes, "), steps [", lives[i].first,
                 ", ", lives[i].last, "])");
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

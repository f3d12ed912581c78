// The moves of kernels/cuda/move.cuh: how a plan becomes units, and the kernels that carry them.
//
// Invariant: a launch writes each planned position once; an empty plan launches nothing.
// Read next: kernels_cuda.cu.
#include <cstring>

#include "core/scalar.h"
#include "kernels/cuda/move.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;  // positions under way in a thread
constexpr int64_t kTile = kThreads * kEach;

// ---- one move ----
template <class U>
__global__ void __launch_bounds__(kThreads)
    move_kernel(const __grid_constant__ Walk<2> walk, U* __restrict__ to, const U* __restrict__ from, const U value) {
  const int64_t step = int64_t{gridDim.x} * kTile;
  for (int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x; first < walk.count; first += step) {
    int64_t at[kEach];
    U held[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const int64_t position = first + k * kThreads;
      if (position >= walk.count) break;
      int64_t offsets[2];
      walk.at(position, offsets);
      at[k] = offsets[0];
      held[k] = from != nullptr ? from[offsets[1]] : value;
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (first + k * kThreads < walk.count) to[at[k]] = held[k];
    }
  }
}

// ---- several moves, of few axes each ----
constexpr int kPartAxes = 4;
constexpr int kMostParts = 16;
struct Part {
  void* to;
  const void* from;
  int64_t count;
  int64_t first_tile;
  int64_t shape[kPartAxes];
  int64_t to_stride[kPartAxes];
  int64_t from_stride[kPartAxes];
  Divider by[kPartAxes];
  int32_t rank;
  bool wide;
};
struct Parts {
  int32_t count = 0;
  int64_t tiles = 0;
  Part part[kMostParts];
};

GORGO_DEVICE void locate(const Part& p, int64_t position, int64_t& to, int64_t& from) {
  to = 0;
  from = 0;
  for (int i = p.rank - 1; i >= 0; --i) {
    int64_t here;
    if (!p.wide) {
      const auto n = static_cast<uint32_t>(position);
      const uint32_t q = p.by[i].quotient(n);
      here = n - q * p.by[i].divisor;
      position = q;
    } else {
      const int64_t q = position / p.shape[i];
      here = position - q * p.shape[i];
      position = q;
    }
    to += here * p.to_stride[i];
    from += here * p.from_stride[i];
  }
}

template <class U>
__global__ void __launch_bounds__(kThreads) parts_kernel(const __grid_constant__ Parts parts) {
  for (int64_t tile = blockIdx.x; tile < parts.tiles; tile += gridDim.x) {
    int which = 0;
    while (which + 1 < parts.count && parts.part[which + 1].first_tile <= tile) ++which;
    const Part& p = parts.part[which];
    const U* from = static_cast<const U*>(p.from);
    U* to = static_cast<U*>(p.to);
    const int64_t first = (tile - p.first_tile) * kTile + threadIdx.x;
    int64_t at[kEach];
    U held[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const int64_t position = first + k * kThreads;
      if (position >= p.count) break;
      int64_t source;
      locate(p, position, at[k], source);
      held[k] = from[source];
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (first + k * kThreads < p.count) to[at[k]] = held[k];
    }
  }
}

// ---- from elements to units ----
// Makes the plan's steps bytes and gives its innermost axis the bytes of an element.
void to_bytes(MovePlan& plan, int64_t element_bytes, bool constant) noexcept {
  for (int i = 0; i < plan.rank; ++i) {
    plan.to[i] *= element_bytes;
    plan.from[i] = constant ? 0 : plan.from[i] * element_bytes;
  }
  plan.add(element_bytes, 1, constant ? 0 : 1);
}

// The widest unit for a plan of bytes.
int64_t unit_of(const MovePlan& plan, const void* to, const void* from, bool constant) noexcept {
  const int last = plan.rank - 1;
  if (last < 0 || plan.to[last] != 1 || (!constant && plan.from[last] != 1)) return 1;
  for (int64_t unit = 16; unit > 1; unit /= 2) {
    bool fits = plan.shape[last] % unit == 0 && aligned_to(to, unit) && (constant || aligned_to(from, unit));
    for (int i = 0; i < last && fits; ++i) {
      fits = plan.to[i] % unit == 0 && plan.from[i] % unit == 0;
    }
    if (fits) return unit;
  }
  return 1;
}

void to_units(MovePlan& plan, int64_t unit) noexcept {
  if (unit == 1) return;
  const int last = plan.rank - 1;
  for (int i = 0; i < last; ++i) {
    plan.to[i] /= unit;
    plan.from[i] /= unit;
  }
  plan.shape[last] /= unit;
  plan.count /= unit;
  if (plan.shape[last] == 1) --plan.rank;
}

void launch(cudaStream_t stream, const MovePlan& plan, int64_t unit, void* to, const void* from,
            const Element& value) noexcept {
  if (plan.rank > kMaxAxes) {  // tile alone can get there: the outermost axis by separate launches
    MovePlan inner = plan;
    --inner.rank;
    inner.count /= plan.shape[0];
    for (int i = 0; i < inner.rank; ++i) {
      inner.shape[i] = plan.shape[i + 1];
      inner.to[i] = plan.to[i + 1];
      inner.from[i] = plan.from[i + 1];
    }
    for (int64_t i = 0; i < plan.shape[0]; ++i) {
      launch(stream, inner, unit, static_cast<char*>(to) + i * plan.to[0] * unit,
             from == nullptr ? nullptr : static_cast<const char*>(from) + i * plan.from[0] * unit, value);
    }
    return;
  }
  const int64_t* strides[] = {plan.to, plan.from};
  const auto walk = Walk<2>::of(plan.shape, plan.rank, strides);
  with_unit(unit, [&]<class U>(TypeTag<U>) {
    U filled;
    std::memcpy(&filled, value.bytes, sizeof filled);
    move_kernel<U><<<grid_for(walk.count, kTile), kThreads, 0, stream>>>(walk, static_cast<U*>(to),
                                                                         static_cast<const U*>(from), filled);
  });
}

}  // namespace

void move_elements(cudaStream_t stream, const MovePlan& given, int64_t element_bytes, void* to,
                   const void* from) noexcept {
  if (given.count == 0) return;
  MovePlan plan = given;
  to_bytes(plan, element_bytes, false);
  const int64_t unit = unit_of(plan, to, from, false);
  to_units(plan, unit);
  launch(stream, plan, unit, to, from, Element());
}

void fill_elements(cudaStream_t stream, const MovePlan& given, int64_t element_bytes, void* to,
                   const void* value) noexcept {
  if (given.count == 0) return;
  Element pattern;
  for (int64_t i = 0; i < 16; i += element_bytes) {
    std::memcpy(pattern.bytes + i, value, static_cast<size_t>(element_bytes));
  }
  MovePlan plan;
  for (int i = 0; i < given.rank; ++i) plan.add(given.shape[i], given.to[i], 0);
  to_bytes(plan, element_bytes, true);
  const int64_t unit = unit_of(plan, to, nullptr, true);
  to_units(plan, unit);
  launch(stream, plan, unit, to, nullptr, pattern);
}

void move_all(cudaStream_t stream, Move* moves, int count, int64_t element_bytes) noexcept {
  for (int first = 0; first < count; first += kMostParts) {
    const int end = first + kMostParts < count ? first + kMostParts : count;
    int64_t unit = 16;
    for (int k = first; k < end; ++k) {
      Move& m = moves[k];
      if (m.plan.count == 0) continue;
      to_bytes(m.plan, element_bytes, false);
      const int64_t own = unit_of(m.plan, m.to, m.from, false);
      if (own < unit) unit = own;
    }
    Parts parts;
    for (int k = first; k < end; ++k) {
      Move& m = moves[k];
      if (m.plan.count == 0) continue;
      to_units(m.plan, unit);
      if (m.plan.rank > kPartAxes) {
        launch(stream, m.plan, unit, m.to, m.from, Element());
        continue;
      }
      Part& p = parts.part[parts.count++];
      p.to = m.to;
      p.from = m.from;
      p.count = m.plan.count;
      p.first_tile = parts.tiles;
      p.rank = m.plan.rank;
      p.wide = p.count >= (int64_t{1} << 31);
      for (int i = 0; i < p.rank; ++i) {
        p.shape[i] = m.plan.shape[i];
        p.to_stride[i] = m.plan.to[i];
        p.from_stride[i] = m.plan.from[i];
        if (!p.wide) p.by[i] = Divider(static_cast<uint32_t>(p.shape[i]));
      }
      parts.tiles += ceil_div(p.count, kTile);
    }
    if (parts.count == 0) continue;
    with_unit(unit,
              [&]<class U>(TypeTag<U>) { parts_kernel<U><<<grid_for(parts.tiles, 1), kThreads, 0, stream>>>(parts); });
  }
}

}  // namespace gorgo::cuda

// CUDA kernels of the index family: gathers, scatters and nonzero.
//
// Indices are checked where they are read; the ops that write into a tensor check all of them first and then write nothing
// when one is out of range. Sources that share a destination are told apart by their position: the last one wins, or they are
// folded in order (kernels/cuda/segments.cuh), so the bits never depend on the grid.
// Read next: kernels_cuda_nonzero.cu, kernels_cuda_segments.cu, index.cpp (what each op means).
#include <cstring>

#include "core/scalar.h"
#include "kernels/cuda/move.cuh"
#include "kernels/cuda/segments.cuh"
#include "ops/index/attrs.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;
constexpr int64_t kTile = kThreads * kEach;

int64_t element_bytes(const KOperand& x) noexcept { return dtype_size(x.dtype); }

// ---- what all ops with index tensors on axes share ----
// Operand layout: `first` leading operands, then the index tensors.
struct IndexGeometry {
  const KOperand* indices = nullptr;
  int count = 0;          // index tensors
  int place = 0;          // of the index axes in the result
  int index_rank = 0;     // broadcast rank of the index tensors
  int64_t positions = 1;  // their broadcast number of elements
  int64_t space = 1;      // how many different targets they can name
  int64_t index_shape[kMaxAxes];
  int64_t axes[kMaxAxes];
  int rest = 0;  // axes of the indexed tensor that no index stands on
  int rest_axes[kMaxAxes];

  IndexGeometry(const int64_t* given_axes, int axis_count, const KOperand& target, const KOperand* tensors) noexcept
      : indices(tensors), count(axis_count) {
    place = index_place(given_axes, count, target.rank);
    uint64_t indexed = 0;
    for (int k = 0; k < count; ++k) {
      axes[k] = given_axes[k] < 0 ? given_axes[k] + target.rank : given_axes[k];
      indexed |= uint64_t{1} << axes[k];
      index_rank = indices[k].rank > index_rank ? indices[k].rank : index_rank;
      space *= target.shape[axes[k]];
    }
    for (int i = 0; i < index_rank; ++i) {
      index_shape[i] = 1;
      for (int k = 0; k < count; ++k) {
        const int own = i - (index_rank - indices[k].rank);
        if (own >= 0 && indices[k].shape[own] != 1) index_shape[i] = indices[k].shape[own];
      }
      positions *= index_shape[i];
    }
    for (int i = 0; i < target.rank; ++i) {
      if ((indexed >> i & 1u) == 0) rest_axes[rest++] = i;
    }
  }
  // Where a target lies, by its key: the row-major number of its indices.
  [[nodiscard]] Walk<1> key_walk(const KOperand& target) const noexcept {
    int64_t shape[kMaxAxes];
    int64_t strides[kMaxAxes];
    for (int k = 0; k < count; ++k) {
      shape[k] = target.shape[axes[k]];
      strides[k] = target.strides[axes[k]];
    }
    const int64_t* all[] = {strides};
    return Walk<1>::of(shape, count, all);
  }
  // How many elements of the target lie at one position, behind the index axes and in front of them.
  [[nodiscard]] int64_t inner(const KOperand& target) const noexcept { return extent(target, place, rest); }
  [[nodiscard]] int64_t outer(const KOperand& target) const noexcept { return extent(target, 0, place); }

 private:
  [[nodiscard]] int64_t extent(const KOperand& target, int begin, int end) const noexcept {
    int64_t n = 1;
    for (int i = begin; i < end; ++i) n *= target.shape[rest_axes[i]];
    return n;
  }
};

IndexGeometry geometry_of_take(const KernelArgs& args) noexcept {
  const auto& a = args.attrs_as<TakeAttrs>();
  const int64_t axis = a.axis.has ? a.axis.value : 0;
  return {&axis, 1, args.in[0], args.in + 1};
}
IndexGeometry geometry_of_index(const KernelArgs& args) noexcept {
  const Dims& axes = args.attrs_as<IndexAttrs>().axes;
  return {axes.data(), axes.size(), args.in[0], args.in + 1};
}
IndexGeometry geometry_of_put(const KernelArgs& args) noexcept {
  const Dims& axes = args.attrs_as<IndexPutAttrs>().axes;
  return {axes.data(), axes.size(), args.out[0], args.in + 2};
}
IndexGeometry geometry_of_adjoint(const KernelArgs& args) noexcept {
  const Dims& axes = args.attrs_as<IndexAdjointAttrs>().axes;
  return {axes.data(), axes.size(), args.out[0], args.in + 1};
}

// An index as given, or -1 after it was reported.
GORGO_DEVICE int64_t checked(int64_t given, int64_t length, int64_t position, int32_t code, DeviceFault* fault) {
  const int64_t value = given < 0 ? given + length : given;
  if (value >= 0 && value < length) return value;
  report_fault(fault, position, code, given, length);
  return -1;
}

// ---- keys of positions, from several index tensors ----
constexpr int kListed = 4;  // index tensors that one launch reads
struct ListedIndices {
  Walk<kListed> walk;
  const void* data[kListed];
  DType dtype[kListed];
  int64_t length[kListed];
  int64_t weight[kListed];  // of an index in the key
  int count = 0;
  int first = 0;
  int total = 0;
};

// Writes each position's key, or `space` where an index is out of range; with `first` above zero it adds to the key. Sets *bad.
// Without memory for keys it checks only.
__global__ void __launch_bounds__(kThreads) list_keys(const __grid_constant__ ListedIndices list, int64_t space,
                                                      SegmentKeys keys, int32_t* bad, DeviceFault* fault) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t p = int64_t{blockIdx.x} * kThreads + threadIdx.x; p < list.walk.count; p += step) {
    int64_t at[kListed];
    list.walk.at(p, at);
    int64_t key = list.first > 0 && keys.keys != nullptr ? keys.get(p) : 0;
    bool valid = list.first == 0 || keys.keys == nullptr || key < space;
#pragma unroll
    for (int k = 0; k < kListed; ++k) {
      if (k >= list.count) break;
      const int which = list.first + k;
      const int64_t value = checked(read_integer(list.data[k], list.dtype[k], at[k]), list.length[k],
                                    p * list.total + which, 1 + which, fault);
      valid = valid && value >= 0;
      key += value * list.weight[k];
    }
    if (keys.keys != nullptr) keys.put(p, valid ? key : space);
    if (!valid && bad != nullptr) *bad = 1;
  }
}

void make_list_keys(const KernelArgs& args, const IndexGeometry& g, const KOperand& target, const SegmentKeys& keys,
                    int32_t* bad) noexcept {
  if (g.positions == 0) return;
  for (int first = 0; first < g.count; first += kListed) {
    ListedIndices list;
    int64_t strides[kListed][kMaxAxes] = {};
    list.first = first;
    list.total = g.count;
    for (int k = first; k < g.count && k < first + kListed; ++k) {
      const KOperand& index = g.indices[k];
      const int slot = k - first;
      list.data[slot] = index.data;
      list.dtype[slot] = index.dtype;
      list.length[slot] = target.shape[g.axes[k]];
      list.weight[slot] = 1;
      for (int j = k + 1; j < g.count; ++j) list.weight[slot] *= target.shape[g.axes[j]];
      for (int i = 0; i < g.index_rank; ++i) {
        strides[slot][i] = stride_along(index, g.index_rank, i, g.index_shape[i]);
      }
      ++list.count;
    }
    const int64_t* all[kListed] = {strides[0], strides[1], strides[2], strides[3]};
    list.walk = Walk<kListed>::of(g.index_shape, g.index_rank, all);
    list_keys<<<grid_for(g.positions, kThreads), kThreads, 0, stream_of(args)>>>(list, g.space, keys, bad,
                                                                                 fault_of(args));
  }
}

// ---- index and take: out[pre..., position, post...] = x[pre..., target of position, post...] ----
// One index tensor is read in place; of several the keys are made before.
struct Gathered {
  int64_t count;  // elements (units) of the result
  Splitter inner;
  Splitter positions;
  Walk<1> outer_walk;
  Walk<1> inner_walk;
  Walk<1> index_walk;  // of a single index tensor
  Walk<1> key_walk;
  const void* index;
  DType index_dtype;
  SegmentKeys keys;
  int64_t space;
};

template <class U>
__global__ void __launch_bounds__(kThreads, 2) gather_kernel(const __grid_constant__ Gathered g, U* __restrict__ to,
                                                             const U* __restrict__ from, DeviceFault* fault) {
  const int64_t step = int64_t{gridDim.x} * kTile;
  for (int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x; first < g.count; first += step) {
    int64_t at[kEach];  // -1 for nothing
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      at[k] = -1;
      const int64_t position = first + k * kThreads;
      if (position >= g.count) continue;
      int64_t outer = position;
      const int64_t inner = g.inner.split(outer);
      const int64_t p = g.positions.split(outer);
      int64_t key;
      if (g.index != nullptr) {
        int64_t where[1];
        g.index_walk.at(p, where);
        key = read_integer(g.index, g.index_dtype, where[0]);
        if (key < -g.space || key >= g.space) {
          if (inner == 0 && outer == 0) report_fault(fault, p, 1, key, g.space);
          continue;
        }
        if (key < 0) key += g.space;
      } else {
        key = g.keys.get(p);
        if (key >= g.space) continue;
      }
      at[k] = key;
    }
    U held[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (at[k] < 0) continue;
      int64_t outer = first + k * kThreads;
      const int64_t inner = g.inner.split(outer);
      g.positions.split(outer);
      int64_t outside[1];
      int64_t inside[1];
      int64_t target[1];
      g.outer_walk.at(outer, outside);
      g.inner_walk.at(inner, inside);
      g.key_walk.at(at[k], target);
      held[k] = from[outside[0] + inside[0] + target[0]];
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (at[k] >= 0) to[first + k * kThreads] = held[k];
    }
  }
}

size_t key_bytes(int64_t positions, int64_t space) noexcept {
  return align_scratch(static_cast<size_t>(positions) * (needs_wide_keys(space) ? 8 : 4));
}

// The walk over some of the target's axes that no index stands on.
Walk<1> rest_walk(const IndexGeometry& g, const KOperand& target, int begin, int end) noexcept {
  int64_t shape[kMaxAxes];
  int64_t strides[kMaxAxes];
  for (int i = begin; i < end; ++i) {
    shape[i - begin] = target.shape[g.rest_axes[i]];
    strides[i - begin] = target.strides[g.rest_axes[i]];
  }
  const int64_t* all[] = {strides};
  return Walk<1>::of(shape, end - begin, all);
}

template <int kOperands>
bool all_divide(const Walk<kOperands>& walk, int operand, int64_t n) noexcept {
  for (int i = 0; i < walk.rank; ++i) {
    if (walk.strides[operand][i] % n != 0) return false;
  }
  return true;
}
template <int kOperands>
void divide(Walk<kOperands>& walk, int operand, int64_t n) noexcept {
  for (int i = 0; i < walk.rank; ++i) walk.strides[operand][i] /= n;
}

template <IndexGeometry (*kGeometry)(const KernelArgs&) noexcept>
void gather(const KernelArgs& args, int64_t) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  const IndexGeometry geometry = kGeometry(args);
  if (geometry.positions == 0) return;
  Gathered g;
  g.space = geometry.space;
  g.keys = {nullptr, nullptr, needs_wide_keys(g.space)};
  g.index = nullptr;
  g.index_dtype = DType::Int64;
  if (out.numel == 0) {  // indices are checked all the same
    make_list_keys(args, geometry, x, g.keys, nullptr);
    return;
  }
  if (geometry.count == 1) {
    const KOperand& index = geometry.indices[0];
    g.index = index.data;
    g.index_dtype = index.dtype;
    g.index_walk = walk_of(index);
  } else {
    g.keys.keys = args.scratch;
    make_list_keys(args, geometry, x, g.keys, nullptr);
    g.index_walk = line_walk(1, 1);
  }
  g.outer_walk = rest_walk(geometry, x, 0, geometry.place);
  g.inner_walk = rest_walk(geometry, x, geometry.place, geometry.rest);
  g.key_walk = geometry.key_walk(x);
  int64_t inner = geometry.inner(x);
  int64_t unit = element_bytes(x);
  if (g.inner_walk.rank == 1 && g.inner_walk.strides[0][0] == 1) {
    for (int64_t wide = 16; wide > unit; wide /= 2) {
      const int64_t n = wide / unit;
      if (inner % n != 0 || !aligned_to(x.data, wide) || !aligned_to(out.data, wide) ||
          !all_divide(g.outer_walk, 0, n) || !all_divide(g.key_walk, 0, n)) {
        continue;
      }
      inner /= n;
      divide(g.outer_walk, 0, n);
      divide(g.key_walk, 0, n);
      g.inner_walk = line_walk(inner, 1);
      unit = wide;
      break;
    }
  }
  g.count = geometry.outer(x) * geometry.positions * inner;
  g.inner = Splitter(inner, g.count);
  g.positions = Splitter(geometry.positions, g.count);
  with_unit(unit, [&]<class U>(TypeTag<U>) {
    gather_kernel<U>
        <<<grid_for(g.count, kTile), kThreads, 0, stream_of(args)>>>(g, out.as<U>(), x.as<const U>(), fault_of(args));
  });
}
template <IndexGeometry (*kGeometry)(const KernelArgs&) noexcept>
size_t gather_bytes(const KernelArgs& args) noexcept {
  const IndexGeometry geometry = kGeometry(args);
  return geometry.count == 1 ? 0 : key_bytes(geometry.positions, geometry.space);
}

// ---- take_along_axis ----
template <class U>
__global__ void __launch_bounds__(kThreads, 2)
    take_along_kernel(const __grid_constant__ Walk<2> walk, const void* index, DType index_dtype, int64_t length,
                      int64_t stride, U* __restrict__ to, const U* __restrict__ from, DeviceFault* fault) {
  const int64_t step = int64_t{gridDim.x} * kTile;
  for (int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x; first < walk.count; first += step) {
    int64_t at[kEach];
    bool valid[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      valid[k] = false;
      const int64_t position = first + k * kThreads;
      if (position >= walk.count) continue;
      int64_t offsets[2];
      walk.at(position, offsets);
      const int64_t value = checked(read_integer(index, index_dtype, offsets[1]), length, position, 1, fault);
      at[k] = offsets[0] + value * stride;
      valid[k] = value >= 0;
    }
    U held[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (valid[k]) held[k] = from[at[k]];
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (valid[k]) to[first + k * kThreads] = held[k];
    }
  }
}

template <class A>
int along_axis(const KernelArgs& args) noexcept {
  const int64_t axis = args.attrs_as<A>().axis;
  return static_cast<int>(axis < 0 ? axis + args.out[0].rank : axis);
}

void take_along(const KernelArgs& args, int64_t) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& index = args.in[1];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const int axis = along_axis<AlongAxisAttrs>(args);
  int64_t x_strides[kMaxAxes];
  int64_t index_strides[kMaxAxes];
  for (int i = 0; i < out.rank; ++i) {
    x_strides[i] = i == axis ? 0 : stride_along(x, out.rank, i, out.shape[i]);
    index_strides[i] = stride_along(index, out.rank, i, out.shape[i]);
  }
  const int64_t* strides[] = {x_strides, index_strides};
  const auto walk = Walk<2>::of(out.shape, out.rank, strides);
  with_unit(element_bytes(x), [&]<class U>(TypeTag<U>) {
    take_along_kernel<U><<<grid_for(out.numel, kTile), kThreads, 0, stream_of(args)>>>(
        walk, index.data, index.dtype, x.shape[axis], x.strides[axis], out.as<U>(), x.as<const U>(), fault_of(args));
  });
}

// ---- sources that are put into destinations ----
// How the sources of a destination are told apart when the last one wins: each destination holds the greatest position that
// names it, unless there are too many destinations; then positions are sorted by destination.
struct Meetings {
  int64_t positions = 0;
  int64_t space = 0;
  int64_t lines = 1;  // elements for each position
  DType dtype = DType::Float32;
  bool unique = false;
  bool folds = false;

  [[nodiscard]] bool sorts() const noexcept { return !unique && (folds || space > 4 * positions + (int64_t{1} << 20)); }
  // Scratch memory: a flag, the keys (and what sorting them needs), then the greatest position of each destination, or partial
  // folds.
  [[nodiscard]] size_t keys_end() const noexcept {
    return 256 + (sorts() || folds ? Segments::bytes(positions, space) : key_bytes(positions, space));
  }
  [[nodiscard]] size_t bytes() const noexcept {
    if (positions == 0) return 0;
    size_t more = 0;
    if (folds) {
      more = fold_bytes(positions, lines, dtype);
    } else if (!unique && !sorts()) {
      more = static_cast<size_t>(space) * sizeof(uint32_t);
    }
    const size_t total = keys_end() + more;
    return positions > int64_t{0xffffffff} - 1 ? SIZE_MAX / 2 : total;
  }
};

__global__ void __launch_bounds__(kThreads)
    find_greatest(const SegmentKeys keys, int64_t count, int64_t space, uint32_t* __restrict__ greatest) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t p = int64_t{blockIdx.x} * kThreads + threadIdx.x; p < count; p += step) {
    const int64_t key = keys.get(p);
    if (key < space) atomicMax(greatest + key, static_cast<uint32_t>(p) + 1);
  }
}

// Keys as the positions come, or sorted; then the last of equal ones wins.
struct Puts {
  int64_t count;
  Splitter inner;
  Splitter positions;
  SortedKeys keys;           // without `order` they are not sorted
  const uint32_t* greatest;  // position + 1 for each key; or null
  const int32_t* bad;
};

template <class U>
__global__ void __launch_bounds__(kThreads, 2)
    put_kernel(const Puts puts, const __grid_constant__ SegmentPlan plan, U* __restrict__ to,
               const U* __restrict__ from, const U constant) {
  if (*puts.bad != 0) return;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x; item < puts.count; item += step) {
    int64_t outer = item;
    const int64_t inner = puts.inner.split(outer);
    const int64_t i = puts.positions.split(outer);
    const int64_t key = puts.keys.key(i);
    if (key >= puts.keys.space) continue;
    int64_t p = i;
    if (puts.keys.order != nullptr) {
      if (i + 1 < puts.keys.count && puts.keys.key(i + 1) == key) continue;
      p = puts.keys.order[i];
    } else if (puts.greatest != nullptr && puts.greatest[key] != static_cast<uint32_t>(p) + 1) {
      continue;
    }
    int64_t at_outer[2];
    int64_t at_inner[2];
    int64_t at_key[1];
    int64_t at_position[1];
    plan.outer.at(outer, at_outer);
    plan.inner.at(inner, at_inner);
    plan.key.at(key, at_key);
    plan.position.at(p, at_position);
    to[at_outer[0] + at_inner[0] + at_key[0]] =
        from != nullptr ? from[at_outer[1] + at_inner[1] + at_position[0]] : constant;
  }
}

int32_t* flag_of(const KernelArgs& args) noexcept { return static_cast<int32_t*>(args.scratch); }
void clear_flag(const KernelArgs& args) noexcept {
  static_cast<void>(cudaMemsetAsync(args.scratch, 0, sizeof(int32_t), stream_of(args)));
}
// Where keys are to be written.
SegmentKeys keys_of(const KernelArgs& args, const Meetings& m) noexcept {
  char* at = static_cast<char*>(args.scratch) + 256;
  if (m.sorts() || m.folds) return Segments(m.positions, m.space, at).keys();
  return {at, nullptr, needs_wide_keys(m.space)};
}

// Puts `values` where the keys say; a later position wins over an earlier one. The plan is in elements.
void put_values(const KernelArgs& args, const Meetings& m, SegmentPlan plan, const KOperand& out,
                const KOperand& values) noexcept {
  const cudaStream_t stream = stream_of(args);
  Puts puts;
  puts.greatest = nullptr;
  puts.bad = flag_of(args);
  if (m.sorts()) {
    Segments segments(m.positions, m.space, static_cast<char*>(args.scratch) + 256);
    segments.sort(stream);
    puts.keys = segments.sorted();
  } else {
    const SegmentKeys keys = keys_of(args, m);
    puts.keys = {keys.keys, nullptr, m.positions, m.space, keys.wide};
    if (!m.unique) {
      auto* greatest = reinterpret_cast<uint32_t*>(static_cast<char*>(args.scratch) + m.keys_end());
      static_cast<void>(cudaMemsetAsync(greatest, 0, static_cast<size_t>(m.space) * sizeof(uint32_t), stream));
      find_greatest<<<grid_for(m.positions, kThreads), kThreads, 0, stream>>>(keys, m.positions, m.space, greatest);
      puts.greatest = greatest;
    }
  }
  const int64_t bytes = element_bytes(out);
  int64_t inner = plan.inner.count;
  int64_t unit = bytes;
  if (plan.inner.rank == 1 && plan.inner.strides[0][0] == 1 && (values.host || plan.inner.strides[1][0] == 1)) {
    for (int64_t wide = 16; wide > unit; wide /= 2) {
      const int64_t n = wide / unit;
      bool fits =
          inner % n == 0 && aligned_to(out.data, wide) && all_divide(plan.outer, 0, n) && all_divide(plan.key, 0, n);
      if (!values.host) {
        fits = fits && aligned_to(values.data, wide) && all_divide(plan.outer, 1, n) && all_divide(plan.position, 0, n);
      }
      if (!fits) continue;
      inner /= n;
      divide(plan.outer, 0, n);
      divide(plan.outer, 1, n);
      divide(plan.key, 0, n);
      divide(plan.position, 0, n);
      const int64_t one = 1;
      const int64_t* ones[] = {&one, &one};
      plan.inner = Walk<2>::of(&inner, 1, ones);
      unit = wide;
      break;
    }
  }
  puts.count = plan.outer.count * m.positions * inner;
  if (puts.count == 0) return;
  puts.inner = Splitter(inner, puts.count);
  puts.positions = Splitter(m.positions, puts.count);
  Element pattern;
  if (values.host) {
    for (int64_t i = 0; i < 16; i += bytes) std::memcpy(pattern.bytes + i, values.data, static_cast<size_t>(bytes));
  }
  with_unit(unit, [&]<class U>(TypeTag<U>) {
    U constant;
    std::memcpy(&constant, pattern.bytes, sizeof constant);
    put_kernel<U><<<grid_for(puts.count, kThreads, 16), kThreads, 0, stream>>>(
        puts, plan, out.as<U>(), values.host ? nullptr : values.as<const U>(), constant);
  });
}

void fold_values(const KernelArgs& args, const Meetings& m, const SegmentPlan& plan, const KOperand& out,
                 const KOperand& values, SegmentFold fold) noexcept {
  Segments segments(m.positions, m.space, static_cast<char*>(args.scratch) + 256);
  if (!m.unique) segments.sort(stream_of(args));
  fold_segments(stream_of(args), fold, segments.sorted(), plan, out, values, segments.end(), flag_of(args));
}

// The result begins as the base, or as zeros.
void copy_base(const KernelArgs& args) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (x.data == out.data || out.numel == 0) return;
  MovePlan plan;
  for (int i = 0; i < x.rank; ++i) plan.add(x.shape[i], out.strides[i], x.strides[i]);
  move_elements(stream_of(args), plan, element_bytes(out), out.data, x.data);
}
void clear_output(const KernelArgs& args) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  static_cast<void>(cudaMemsetAsync(out.data, 0, static_cast<size_t>(out.numel * element_bytes(out)), stream_of(args)));
}

// ---- index_put and index_adjoint: out[pre..., target of position, post...] gets values[pre..., position, post...] ----
SegmentPlan plan_of_list(const IndexGeometry& g, const KOperand& out, const KOperand& values) noexcept {
  const int value_rank = g.rest + g.index_rank;  // of the values' broadcast shape
  const auto rest = [&](int begin, int end, int shift) {
    int64_t shape[kMaxAxes];
    int64_t to[kMaxAxes];
    int64_t from[kMaxAxes];
    for (int i = begin; i < end; ++i) {
      const int axis = g.rest_axes[i];
      shape[i - begin] = out.shape[axis];
      to[i - begin] = out.strides[axis];
      from[i - begin] = stride_along(values, value_rank, i + shift, out.shape[axis]);
    }
    const int64_t* strides[] = {to, from};
    return Walk<2>::of(shape, end - begin, strides);
  };
  SegmentPlan plan;
  plan.outer = rest(0, g.place, 0);
  plan.inner = rest(g.place, g.rest, g.index_rank);
  int64_t steps[kMaxAxes];
  for (int i = 0; i < g.index_rank; ++i) steps[i] = stride_along(values, value_rank, g.place + i, g.index_shape[i]);
  const int64_t* strides[] = {steps};
  plan.position = Walk<1>::of(g.index_shape, g.index_rank, strides);
  plan.key = g.key_walk(out);
  return plan;
}

Meetings meetings_of_list(const IndexGeometry& g, const KOperand& out, bool folds) noexcept {
  Meetings m;
  m.positions = g.positions;
  m.space = g.space;
  m.dtype = out.dtype;
  m.lines = g.inner(out) * g.outer(out);
  m.unique = g.positions == 1;
  m.folds = folds;
  return m;
}

void index_put(const KernelArgs& args, int64_t) noexcept {
  const bool folds = args.attrs_as<IndexPutAttrs>().accumulate;
  const KOperand& out = args.out[0];
  copy_base(args);
  const IndexGeometry g = geometry_of_put(args);
  const Meetings m = meetings_of_list(g, out, folds);
  if (m.positions == 0) return;
  clear_flag(args);
  make_list_keys(args, g, out, keys_of(args, m), flag_of(args));
  if (out.numel == 0) return;
  const SegmentPlan plan = plan_of_list(g, out, args.in[1]);
  if (folds) {
    fold_values(args, m, plan, out, args.in[1], SegmentFold::Add);
  } else {
    put_values(args, m, plan, out, args.in[1]);
  }
}
size_t index_put_bytes(const KernelArgs& args) noexcept {
  return meetings_of_list(geometry_of_put(args), args.out[0], args.attrs_as<IndexPutAttrs>().accumulate).bytes();
}

void index_adjoint(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  clear_output(args);
  const IndexGeometry g = geometry_of_adjoint(args);
  const Meetings m = meetings_of_list(g, out, true);
  if (m.positions == 0) return;
  clear_flag(args);
  make_list_keys(args, g, out, keys_of(args, m), flag_of(args));
  if (out.numel == 0) return;
  fold_values(args, m, plan_of_list(g, out, args.in[0]), out, args.in[0], SegmentFold::Add);
}
size_t index_adjoint_bytes(const KernelArgs& args) noexcept {
  return meetings_of_list(geometry_of_adjoint(args), args.out[0], true).bytes();
}

// ---- scatter, scatter_add, scatter_combine, take_along_axis_adjoint ----
// Positions are those of `where` (the index tensor, or the gradient that it broadcasts to); the key is the destination's
// row-major number. Walked are the index, the key without the axis, and the index tensor's own numbering.
__global__ void __launch_bounds__(kThreads)
    along_keys(const __grid_constant__ Walk<3> walk, const void* index, DType index_dtype, int64_t length,
               int64_t weight, int64_t space, SegmentKeys keys, int32_t* bad, DeviceFault* fault) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t p = int64_t{blockIdx.x} * kThreads + threadIdx.x; p < walk.count; p += step) {
    int64_t at[3];
    walk.at(p, at);
    const int64_t value = checked(read_integer(index, index_dtype, at[0]), length, at[2], 1, fault);
    keys.put(p, value < 0 ? space : at[1] + value * weight);
    if (value < 0) *bad = 1;
  }
}

template <class A>
Meetings meetings_along(const KernelArgs& args, const KOperand& where, bool folds) noexcept {
  Meetings m;
  m.positions = where.numel;
  m.space = args.out[0].numel;
  m.dtype = args.out[0].dtype;
  m.unique = m.positions == 0 || where.shape[along_axis<A>(args)] == 1;
  m.folds = folds;
  return m;
}

template <class A>
void make_along_keys(const KernelArgs& args, const Meetings& m, const KOperand& where) noexcept {
  const KOperand& index = args.in[1];
  const KOperand& out = args.out[0];
  const int axis = along_axis<A>(args);
  int64_t index_strides[kMaxAxes];
  int64_t key_strides[kMaxAxes];
  int64_t own[kMaxAxes];
  int64_t step = 1;
  int64_t own_step = 1;
  int64_t weight = 1;
  for (int i = out.rank - 1; i >= 0; --i) {
    index_strides[i] = stride_along(index, out.rank, i, where.shape[i]);
    key_strides[i] = i == axis ? 0 : step;
    own[i] = index.shape[i] == 1 ? 0 : own_step;
    if (i == axis) weight = step;
    step *= out.shape[i];
    own_step *= index.shape[i];
  }
  const int64_t* strides[] = {index_strides, key_strides, own};
  const auto walk = Walk<3>::of(where.shape, where.rank, strides);
  clear_flag(args);
  along_keys<<<grid_for(m.positions, kThreads), kThreads, 0, stream_of(args)>>>(
      walk, index.data, index.dtype, out.shape[axis], weight, m.space, keys_of(args, m), flag_of(args), fault_of(args));
}

SegmentPlan plan_along(const KOperand& where, const KOperand& out, const KOperand& values) noexcept {
  SegmentPlan plan;
  plan.outer = point_walk();
  plan.inner = point_walk();
  int64_t steps[kMaxAxes];
  for (int i = 0; i < where.rank; ++i) steps[i] = stride_along(values, where.rank, i, where.shape[i]);
  const int64_t* strides[] = {steps};
  plan.position = Walk<1>::of(where.shape, where.rank, strides);
  plan.key = walk_of(out);
  return plan;
}

enum class AlongKind : uint8_t { Set, Add, Combine, Adjoint };

template <AlongKind kKind>
struct Along {
  using Attrs =
      std::conditional_t<kKind == AlongKind::Combine, ScatterReduceAttrs,
                         std::conditional_t<kKind == AlongKind::Adjoint, AlongAxisAdjointAttrs, AlongAxisAttrs>>;
  static constexpr bool kFolds = kKind != AlongKind::Set;
  static constexpr int kWhere = kKind == AlongKind::Adjoint ? 0 : 1;
  static constexpr int kValues = kKind == AlongKind::Adjoint ? 0 : 2;

  static SegmentFold fold_of(const KernelArgs& args) noexcept {
    if constexpr (kKind == AlongKind::Combine) {
      switch (static_cast<ScatterReduction>(args.attrs_as<ScatterReduceAttrs>().reduce.index)) {
        case ScatterReduction::Prod:
          return SegmentFold::Multiply;
        case ScatterReduction::Max:
          return SegmentFold::Greatest;
        case ScatterReduction::Min:
          return SegmentFold::Least;
      }
    }
    return SegmentFold::Add;
  }
  static void run(const KernelArgs& args, int64_t) noexcept {
    const KOperand& where = args.in[kWhere];
    const KOperand& out = args.out[0];
    if constexpr (kKind == AlongKind::Adjoint) {
      clear_output(args);
    } else {
      copy_base(args);
    }
    const Meetings m = meetings_along<Attrs>(args, where, kFolds);
    if (m.positions == 0) return;
    make_along_keys<Attrs>(args, m, where);
    if (out.numel == 0) return;
    const SegmentPlan plan = plan_along(where, out, args.in[kValues]);
    if constexpr (kFolds) {
      fold_values(args, m, plan, out, args.in[kValues], fold_of(args));
    } else {
      put_values(args, m, plan, out, args.in[kValues]);
    }
  }
  static size_t scratch(const KernelArgs& args) noexcept {
    return meetings_along<Attrs>(args, args.in[kWhere], kFolds).bytes();
  }
  static void add_to(KernelSink& sink, const char* op, DType d) { add(sink, op, d, run, scratch); }
};

}  // namespace

void fill_nonzero(KernelSink& sink);  // kernels_cuda_nonzero.cu

void fill_index(KernelSink& sink) {
  fill_nonzero(sink);
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    add(sink, "take", d, gather<geometry_of_take>, gather_bytes<geometry_of_take>);
    add(sink, "index", d, gather<geometry_of_index>, gather_bytes<geometry_of_index>);
    add(sink, "take_along_axis", d, take_along);
    Along<AlongKind::Set>::add_to(sink, "scatter", d);
    Along<AlongKind::Add>::add_to(sink, "scatter_add", d);
    add(sink, "index_put", d, index_put, index_put_bytes);
    if (d != DType::Bool) Along<AlongKind::Combine>::add_to(sink, "scatter_combine", d);
    if (is_inexact(d)) {
      add(sink, "index_adjoint", d, index_adjoint, index_adjoint_bytes);
      Along<AlongKind::Adjoint>::add_to(sink, "take_along_axis_adjoint", d);
    }
  }
}

}  // namespace gorgo::cuda

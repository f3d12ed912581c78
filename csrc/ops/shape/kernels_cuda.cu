// CUDA kernels of the shape family: those that move elements. Views have none.
//
// What is a strided move goes through kernels/cuda/move.cuh; here are the ops whose sources depend on where they lie.
// Read next: kernels_cuda_padding.cu, kernels/cuda/segments.cuh, shape.cpp (what each op means).
#include "kernels/cuda/move.cuh"
#include "kernels/cuda/segments.cuh"
#include "ops/shape/attrs.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;
constexpr int64_t kTile = kThreads * kEach;

int64_t element_bytes(const KOperand& x) noexcept { return dtype_size(x.dtype); }

MovePlan plan_of_region(const Dims& shape, const Dims& strides, const KOperand& src) noexcept {
  MovePlan plan;
  for (int i = 0; i < shape.size(); ++i) plan.add(shape[i], strides[i], stride_along(src, shape.size(), i, shape[i]));
  return plan;
}
char* at_offset(const KOperand& x, int64_t elements) noexcept {
  return static_cast<char*>(x.data) + elements * element_bytes(x);
}

// ---- view_scatter: the base with the elements of a view replaced ----
void view_scatter(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<RegionAttrs>();
  const KOperand& base = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  if (base.data != out.data)
    move_elements(stream_of(args), packing_plan(base), element_bytes(out), out.data, base.data);
  const MovePlan plan = plan_of_region(a.shape, a.strides, args.in[1]);
  move_operand(stream_of(args), plan, element_bytes(out), at_offset(out, a.offset), args.in[1]);
}

// ---- view_adjoint: zeros with a view's elements added in ----
int64_t count_of(const Dims& shape) noexcept {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

// Where each position of the view lies in the base.
__global__ void __launch_bounds__(kThreads)
    region_keys(const __grid_constant__ Walk<1> walk, int64_t offset, SegmentKeys keys) {
  for (int64_t p = int64_t{blockIdx.x} * kThreads + threadIdx.x; p < walk.count; p += int64_t{gridDim.x} * kThreads) {
    int64_t at[1];
    walk.at(p, at);
    keys.put(p, at[0] + offset);
  }
}

void view_adjoint(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<ViewAdjointAttrs>();
  const KOperand& g = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  static_cast<void>(cudaMemsetAsync(out.data, 0, static_cast<size_t>(out.numel * element_bytes(out)), stream_of(args)));
  const int64_t count = count_of(a.shape);
  if (count == 0) return;
  if (!a.accumulate) {
    move_elements(stream_of(args), plan_of_region(a.shape, a.strides, g), element_bytes(out), at_offset(out, a.offset),
                  g.data);
    return;
  }
  Segments segments(count, out.numel, args.scratch);
  const int64_t* base_strides[] = {a.strides.data()};
  const auto walk = Walk<1>::of(a.shape.data(), a.shape.size(), base_strides);
  region_keys<<<grid_for(count, kThreads), kThreads, 0, stream_of(args)>>>(walk, a.offset, segments.keys());
  segments.sort(stream_of(args));
  int64_t source_strides[kMaxAxes];
  for (int i = 0; i < a.shape.size(); ++i) source_strides[i] = stride_along(g, a.shape.size(), i, a.shape[i]);
  SegmentPlan plan;
  plan.outer = point_walk();
  plan.inner = point_walk();
  const int64_t* source[] = {source_strides};
  plan.position = Walk<1>::of(a.shape.data(), a.shape.size(), source);
  plan.key = line_walk(out.numel, 1);
  fold_segments(stream_of(args), SegmentFold::Add, segments.sorted(), plan, out, g, segments.end(), nullptr);
}
size_t view_adjoint_bytes(const KernelArgs& args) noexcept {
  const auto& a = args.attrs_as<ViewAdjointAttrs>();
  const int64_t count = count_of(a.shape);
  if (!a.accumulate || count == 0 || args.out[0].numel == 0) return 0;
  return Segments::bytes(count, args.out[0].numel) + fold_bytes(count, 1, args.out[0].dtype);
}

// ---- concat and stack: each input is moved to its place in the output ----
template <bool kStacks>
void join(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  bool flat = false;
  int64_t axis = 0;
  if constexpr (kStacks) {
    axis = args.attrs_as<AxisAttrs>().axis;
  } else {
    const OptInt given = args.attrs_as<ConcatAttrs>().axis;
    flat = !given.has;
    axis = given.has ? given.value : 0;
  }
  if (axis < 0) axis += out.rank;
  constexpr int kChunk = 16;
  Move moves[kChunk];
  int held = 0;
  int64_t at = 0;  // where input k starts along the axis
  for (int32_t k = 0; k < args.in_count; ++k) {
    const KOperand& x = args.in[k];
    if (x.numel > 0) {
      Move& move = moves[held++];
      move.plan.rank = 0;
      move.plan.count = 1;
      move.to = at_offset(out, at * out.strides[axis]);
      move.from = x.data;
      int64_t step = x.numel;
      for (int i = 0; i < x.rank; ++i) {
        step /= x.shape[i];
        move.plan.add(x.shape[i], flat ? step : out.strides[kStacks && i >= axis ? i + 1 : i], x.strides[i]);
      }
      if (held == kChunk) {
        move_all(stream_of(args), moves, held, element_bytes(out));
        held = 0;
      }
    }
    at += kStacks ? 1 : flat ? x.numel : x.shape[axis];
  }
  if (held > 0) move_all(stream_of(args), moves, held, element_bytes(out));
}

// ---- tile and repeat: moves from a source with steps of zero ----
void tile(const KernelArgs& args, int64_t) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  MovePlan plan;
  for (int i = 0; i < out.rank; ++i) {
    const int own = i - (out.rank - x.rank);
    const int64_t length = own >= 0 ? x.shape[own] : 1;
    plan.add(out.shape[i] / length, out.strides[i] * length, 0);
    plan.add(length, out.strides[i], own >= 0 ? x.strides[own] : 0);
  }
  move_elements(stream_of(args), plan, element_bytes(out), out.data, x.data);
}

void repeat(const KernelArgs& args, int64_t) noexcept {
  const auto& a = args.attrs_as<RepeatAttrs>();
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  int64_t axis = a.axis.has ? a.axis.value : x.rank - 1;  // without an axis the last one repeats, then all is flat
  if (axis < 0) axis += x.rank;
  MovePlan plan;
  int64_t step = out.numel;
  for (int i = 0; i < x.rank; ++i) {
    step /= x.shape[i] * (i == axis ? a.repeats : 1);
    plan.add(x.shape[i], step * (i == axis ? a.repeats : 1), x.strides[i]);
    if (i == axis) plan.add(a.repeats, step, 0);
  }
  if (x.rank == 0) plan.add(a.repeats, 1, 0);
  move_elements(stream_of(args), plan, element_bytes(out), out.data, x.data);
}

// ---- tril and triu ----
template <class U, bool kLower>
__global__ void __launch_bounds__(kThreads)
    triangle_kernel(const __grid_constant__ Walk<1> walk, const Splitter width, const Splitter height, int64_t diagonal,
                    U* __restrict__ to, const U* __restrict__ from) {
  const int64_t step = int64_t{gridDim.x} * kTile;
  for (int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x; first < walk.count; first += step) {
    U held[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const int64_t position = first + k * kThreads;
      if (position >= walk.count) break;
      int64_t rest = position;
      const int64_t column = width.split(rest);
      const int64_t row = height.split(rest);
      held[k] = U{};
      if (kLower ? column <= row + diagonal : column >= row + diagonal) {
        int64_t at[1];
        walk.at(position, at);
        held[k] = from[at[0]];
      }
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (first + k * kThreads < walk.count) to[first + k * kThreads] = held[k];
    }
  }
}

template <bool kLower>
void triangle(const KernelArgs& args, int64_t) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const int64_t height = out.shape[out.rank - 2];
  const int64_t width = out.shape[out.rank - 1];
  // Beyond the corners all diagonals are alike.
  int64_t k = args.attrs_as<TriangleAttrs>().k;
  k = k < -height - 1 ? -height - 1 : k > width + 1 ? width + 1 : k;
  with_unit(element_bytes(out), [&]<class U>(TypeTag<U>) {
    triangle_kernel<U, kLower><<<grid_for(out.numel, kTile), kThreads, 0, stream_of(args)>>>(
        walk_of(x), Splitter(width, out.numel), Splitter(height, out.numel), k, out.as<U>(), x.as<const U>());
  });
}

}  // namespace

void fill_padding(KernelSink& sink);  // kernels_cuda_padding.cu

void fill_shape(KernelSink& sink) {
  fill_padding(sink);
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    add(sink, "view_scatter", d, view_scatter);
    add(sink, "concat", d, join<false>);
    add(sink, "stack", d, join<true>);
    add(sink, "tile", d, tile);
    add(sink, "repeat", d, repeat);
    add(sink, "tril", d, triangle<true>);
    add(sink, "triu", d, triangle<false>);
    if (is_inexact(d)) add(sink, "view_adjoint", d, view_adjoint, view_adjoint_bytes);
  }
}

}  // namespace gorgo::cuda

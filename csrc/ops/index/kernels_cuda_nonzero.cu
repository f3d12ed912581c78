// CUDA kernels of nonzero: tiles are counted, then placed, then written.
//
// A dtype matters by its size and by the bits that make an element nonzero alone. Invariant: positions are in row-major order.
// Read next: kernels_cuda.cu.
#include "kernels/cuda/move.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 16;
constexpr int64_t kTile = kThreads * kEach;

// The bits of a unit that count: a float's sign does not.
template <class U>
struct Mask {
  U bits;
  GORGO_DEVICE bool hits(U value) const { return (value & bits) != 0; }
};
template <>
struct Mask<Unit16> {
  Unit16 bits;
  GORGO_DEVICE bool hits(Unit16 v) const {
    return ((v.x & bits.x) | (v.y & bits.y) | (v.z & bits.z) | (v.w & bits.w)) != 0;
  }
};

template <class U>
Mask<U> mask_of(DType d) noexcept {
  if constexpr (std::is_same_v<U, Unit16>) {
    return {{0xffffffffu, 0x7fffffffu, 0xffffffffu, 0x7fffffffu}};  // complex128, the low halves first
  } else {
    const uint64_t bits = d == DType::Complex64                         ? 0x7fffffff7fffffffu
                          : d == DType::Float16 || d == DType::BFloat16 ? 0x7fffu
                          : d == DType::Float32                         ? 0x7fffffffu
                          : d == DType::Float64                         ? 0x7fffffffffffffffu
                                                                        : ~uint64_t{0};
    return {static_cast<U>(bits)};
  }
}

// The sum over a block, which all threads get.
GORGO_DEVICE int block_sum(int value, int* shared) {
  const int total = __reduce_add_sync(0xffffffffu, value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = total;
  __syncthreads();
  int sum = 0;
  for (int i = 0; i < kThreads / 32; ++i) sum += shared[i];
  return sum;
}

template <class U>
__global__ void __launch_bounds__(kThreads)
    count_kernel(const __grid_constant__ Walk<1> walk, const U* __restrict__ x, const Mask<U> mask, int64_t tiles,
                 int64_t* __restrict__ counts) {
  __shared__ int shared[kThreads / 32];
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    int found = 0;
#pragma unroll 4
    for (int k = 0; k < kEach; ++k) {
      const int64_t position = tile * kTile + k * kThreads + threadIdx.x;
      if (position >= walk.count) continue;
      int64_t at[1];
      walk.at(position, at);
      found += mask.hits(x[at[0]]) ? 1 : 0;
    }
    const int sum = block_sum(found, shared);
    if (threadIdx.x == 0) counts[tile] = sum;
  }
}

// Turns counts into where each tile begins; the total goes to `total` when that is given. One block.
constexpr int kPlacers = 1024;
__global__ void __launch_bounds__(kPlacers) place_kernel(int64_t* counts, int64_t tiles, int64_t* total) {
  __shared__ int64_t warps[kPlacers / 32];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int64_t before = 0;
  for (int64_t first = 0; first < tiles; first += kPlacers) {
    const int64_t tile = first + threadIdx.x;
    const int64_t own = tile < tiles ? counts[tile] : 0;
    int64_t upto = own;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int64_t other = __shfl_up_sync(0xffffffffu, upto, d);
      if (lane >= d) upto += other;
    }
    if (lane == 31) warps[warp] = upto;
    __syncthreads();
    int64_t ahead = 0;
    int64_t all = 0;
    for (int i = 0; i < kPlacers / 32; ++i) {
      if (i < warp) ahead += warps[i];
      all += warps[i];
    }
    if (tile < tiles) counts[tile] = before + ahead + upto - own;
    before += all;
    __syncthreads();
  }
  if (total != nullptr && threadIdx.x == 0) *total = before;
}

struct Coordinates {
  int rank;
  Splitter axis[kMaxAxes];
};

template <class U>
__global__ void __launch_bounds__(kThreads)
    write_kernel(const __grid_constant__ Walk<1> walk, const U* __restrict__ x, const Mask<U> mask, int64_t tiles,
                 const int64_t* __restrict__ starts, const __grid_constant__ Coordinates shape,
                 int64_t* __restrict__ out) {
  __shared__ int warps[2][kThreads / 32];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int round = 0;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    int64_t row = starts[tile];
    for (int k = 0; k < kEach; ++k) {
      const int64_t position = tile * kTile + k * kThreads + threadIdx.x;
      bool hit = false;
      if (position < walk.count) {
        int64_t at[1];
        walk.at(position, at);
        hit = mask.hits(x[at[0]]);
      }
      const unsigned hits = __ballot_sync(0xffffffffu, hit);
      // Two sets of counts in turn, so that one barrier a round is enough.
      int* counts = warps[round];
      round ^= 1;
      if (lane == 0) counts[warp] = __popc(hits);
      __syncthreads();
      int ahead = 0;
      int all = 0;
#pragma unroll
      for (int i = 0; i < kThreads / 32; ++i) {
        ahead += i < warp ? counts[i] : 0;
        all += counts[i];
      }
      if (hit) {
        int64_t* to = out + (row + ahead + __popc(hits & ((1u << lane) - 1u))) * shape.rank;
        int64_t rest = position;
        for (int i = shape.rank - 1; i >= 0; --i) to[i] = shape.axis[i].split(rest);
      }
      row += all;
    }
  }
}

int64_t tiles_of(const KernelArgs& args) noexcept { return ceil_div(args.in[0].numel, kTile); }

void count_tiles(const KernelArgs& args, int64_t* total) noexcept {
  const KOperand& x = args.in[0];
  const int64_t tiles = tiles_of(args);
  auto* counts = static_cast<int64_t*>(args.scratch);
  if (tiles > 0) {
    with_unit(dtype_size(x.dtype), [&]<class U>(TypeTag<U>) {
      count_kernel<U><<<grid_for(tiles, 1), kThreads, 0, stream_of(args)>>>(walk_of(x), x.as<const U>(),
                                                                            mask_of<U>(x.dtype), tiles, counts);
    });
  }
  place_kernel<<<1, kPlacers, 0, stream_of(args)>>>(counts, tiles, total);
}

void count(const KernelArgs& args, int64_t) noexcept { count_tiles(args, args.out[0].as<int64_t>()); }

void nonzero(const KernelArgs& args, int64_t) noexcept {
  const KOperand& x = args.in[0];
  const int64_t tiles = tiles_of(args);
  if (tiles == 0 || args.out[0].numel == 0) return;
  count_tiles(args, nullptr);
  Coordinates shape;
  shape.rank = x.rank;
  for (int i = 0; i < x.rank; ++i) shape.axis[i] = Splitter(x.shape[i], x.numel);
  with_unit(dtype_size(x.dtype), [&]<class U>(TypeTag<U>) {
    write_kernel<U><<<grid_for(tiles, 1), kThreads, 0, stream_of(args)>>>(
        walk_of(x), x.as<const U>(), mask_of<U>(x.dtype), tiles, static_cast<const int64_t*>(args.scratch), shape,
        args.out[0].as<int64_t>());
  });
}

size_t scratch_bytes(const KernelArgs& args) noexcept { return static_cast<size_t>(tiles_of(args)) * sizeof(int64_t); }

}  // namespace

void fill_nonzero(KernelSink& sink);
void fill_nonzero(KernelSink& sink) {
  for (int i = 0; i < kDTypeCount; ++i) {
    add(sink, "nonzero", static_cast<DType>(i), nonzero, scratch_bytes);
    add(sink, "nonzero#count", static_cast<DType>(i), count, scratch_bytes);
  }
}

}  // namespace gorgo::cuda

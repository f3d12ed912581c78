// Copies of elements of one size between any two layouts: transposes by tiles, everything else by granules.
//
// Invariant: the element's bits are moved and not looked at. Where source and target are one memory, they have one layout.
// Read next: granules.cuh.
#include "kernels/cuda/copy.cuh"

#include "kernels/cuda/granules.cuh"

namespace gorgo::cuda {
namespace {

// A tile is square; its rows fill whole lines of memory.
template <int Bytes>
constexpr int kTileSide = Bytes < 4 ? 64 : 32;
constexpr int kTileThreads = 256;
// Shorter axes leave too much of a tile empty.
constexpr int64_t kTileLeast = 8;

// Along the axis `columns` the target is dense, along `rows` the source; strides of the other axes in bytes.
struct TilePlan {
  unsigned char* to = nullptr;
  const unsigned char* from = nullptr;
  int64_t columns = 1;
  int64_t rows = 1;
  int64_t to_row = 0;
  int64_t from_column = 0;
  Divider tile_columns;
  Divider tile_rows;
  int outer_axes = 0;
  Divider by[kMaxAxes];
  int64_t to_stride[kMaxAxes];
  int64_t from_stride[kMaxAxes];
};

template <int Bytes>
__global__ void __launch_bounds__(kTileThreads) transpose_kernel(const __grid_constant__ TilePlan plan) {
  using Word = typename WordOf<Bytes>::Type;
  constexpr int kSide = kTileSide<Bytes>;
  constexpr int kPad = Bytes < 4 ? 4 / Bytes : 1;
  constexpr int kStep = kTileThreads / kSide;
  __shared__ Word tile[kSide][kSide + kPad];
  uint32_t left = blockIdx.x;
  uint32_t next = plan.tile_columns.quotient(left);
  const int64_t column0 = int64_t{left - next * plan.tile_columns.divisor} * kSide;
  left = next;
  next = plan.tile_rows.quotient(left);
  const int64_t row0 = int64_t{left - next * plan.tile_rows.divisor} * kSide;
  left = next;
  unsigned char* to = plan.to;
  const unsigned char* from = plan.from;
#pragma unroll 1
  for (int i = plan.outer_axes - 1; i >= 0; --i) {
    next = i > 0 ? plan.by[i].quotient(left) : 0;
    const uint32_t here = left - next * plan.by[i].divisor;
    left = next;
    to += here * plan.to_stride[i];
    from += here * plan.from_stride[i];
  }
  const int x = static_cast<int>(threadIdx.x) % kSide;
  const int y = static_cast<int>(threadIdx.x) / kSide;
  if (row0 + x < plan.rows) {
    const unsigned char* p = from + (row0 + x) * Bytes + (column0 + y) * plan.from_column;
    Word words[kSide / kStep];
#pragma unroll
    for (int k = 0; k < kSide / kStep; ++k) {
      if (column0 + y + k * kStep < plan.columns) words[k] = load_word<Bytes>(p + k * kStep * plan.from_column);
    }
#pragma unroll
    for (int k = 0; k < kSide / kStep; ++k) {
      if (column0 + y + k * kStep < plan.columns) tile[y + k * kStep][x] = words[k];
    }
  }
  __syncthreads();
  if (column0 + x < plan.columns) {
    unsigned char* p = to + (column0 + x) * Bytes + (row0 + y) * plan.to_row;
#pragma unroll
    for (int k = 0; k < kSide / kStep; ++k) {
      if (row0 + y + k * kStep < plan.rows) store_word<Bytes>(p + k * kStep * plan.to_row, tile[x][y + k * kStep]);
    }
  }
}

// Where the walk is a transpose that pays for tiles, copies it so and says true.
template <int Bytes>
bool run_transpose(const KernelArgs& args, const Walk<2>& walk, const Place (&places)[2]) noexcept {
  const int last = walk.rank - 1;
  if (last < 1 || walk.strides[0][last] != Bytes || walk.strides[1][last] == Bytes || walk.strides[1][last] == 0) {
    return false;
  }
  int rows = -1;
  for (int i = 0; i < last; ++i) {
    if (walk.strides[1][i] == Bytes) rows = i;
  }
  if (rows < 0 || walk.shape[rows] < kTileLeast || walk.shape[last] < kTileLeast) return false;
  constexpr int kSide = kTileSide<Bytes>;
  TilePlan plan;
  plan.to = places[0].data;
  plan.from = places[1].data;
  plan.columns = walk.shape[last];
  plan.rows = walk.shape[rows];
  plan.to_row = walk.strides[0][rows];
  plan.from_column = walk.strides[1][last];
  const int64_t tile_columns = ceil_div(plan.columns, kSide);
  const int64_t tile_rows = ceil_div(plan.rows, kSide);
  int64_t outer = 1;
  for (int i = 0; i < last; ++i) {
    if (i != rows) outer *= walk.shape[i];
  }
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  if (tile_columns * tile_rows > kMost || outer > kMost / (tile_columns * tile_rows)) return false;
  plan.tile_columns = Divider(static_cast<uint32_t>(tile_columns));
  plan.tile_rows = Divider(static_cast<uint32_t>(tile_rows));
  for (int i = 0; i < last; ++i) {
    if (i == rows) continue;
    plan.by[plan.outer_axes] = Divider(static_cast<uint32_t>(walk.shape[i]));
    plan.to_stride[plan.outer_axes] = walk.strides[0][i];
    plan.from_stride[plan.outer_axes] = walk.strides[1][i];
    ++plan.outer_axes;
  }
  const auto blocks = static_cast<unsigned>(tile_columns * tile_rows * outer);
  transpose_kernel<Bytes><<<blocks, kTileThreads, 0, stream_of(args)>>>(plan);
  return true;
}

template <int Bytes>
void copy_sized(const KernelArgs& args, const KOperand& to, const KOperand& from) noexcept {
  if (to.numel == 0) return;
  const KOperand* const operands[2] = {&to, &from};
  if (!from.host && !(to.contiguous && from.contiguous && from.numel == to.numel)) {
    Place places[2];
    const Walk<2> walk = fold_operands(operands, places, 1);
    if (run_transpose<Bytes>(args, walk, places)) return;
  }
  run_granules(args, operands, CopyLoop<Bytes>{});
}
}  // namespace

void copy_operand(const KernelArgs& args, const KOperand& to, const KOperand& from) noexcept {
  switch (dtype_size(to.dtype)) {
    case 1:
      return copy_sized<1>(args, to, from);
    case 2:
      return copy_sized<2>(args, to, from);
    case 4:
      return copy_sized<4>(args, to, from);
    case 8:
      return copy_sized<8>(args, to, from);
    default:
      return copy_sized<16>(args, to, from);
  }
}

}  // namespace gorgo::cuda

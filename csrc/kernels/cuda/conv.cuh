// Convolutions as matrix products whose factors are gathered: the tile loop that all three directions share.
//
// The result C (rows, columns) is the sum over k of factor(row, k) * image(k, column). Neither matrix exists: a plan says where
// an element of each lies, as a part that depends on k plus a part that depends on the column (or the row), so that places come
// from two tables in shared memory. An element of the image may lie outside it and is zero then: one side knows which taps of
// a window are inside (a mask), the other which tap it is; windows of many taps compare coordinates instead.
// A long sum may be split: each part writes a partial result to scratch, and a second kernel adds these in order.
// Invariant: the order of every sum depends on shapes alone; whatever lies outside the matrices is read as zero.
// Read next: ops/conv/kernels_cuda.cu (results gather from windows), ops/conv/kernels_cuda_weight.cu.
#pragma once

#include "core/kernel_args.h"
#include "kernels/cuda/epilogue.cuh"

namespace gorgo::cuda {

// ---- sizes, in which every convolution has three axes (depth, height, width) ----

struct ConvAxis {
  int64_t image = 1, kernel = 1, pixels = 1;
  int64_t stride = 1, pad = 0, step = 1;  // pad: before the image
};

struct ConvSizes {
  int64_t n, c, o, groups;
  int64_t group_c, group_o;  // channels of one group
  int64_t taps;              // elements of a window in one channel
  int64_t image, pixels;     // elements of a channel of the image and of the result
  ConvAxis axis[3];
};

// Strides of an operand (outer, channel, depth, height, width): 0 along axes that it has not.
struct ConvStrides {
  int64_t outer, channel, axis[3];
  explicit ConvStrides(const KOperand& x) noexcept : outer(x.strides[0]), channel(x.strides[1]), axis{0, 0, 0} {
    for (int i = 2; i < x.rank; ++i) axis[3 - x.rank + i] = x.strides[i];
  }
};

// x has the images, weight the windows and out the results of the convolution, whichever of them is computed.
template <class A>
ConvSizes conv_sizes(const KOperand& x, const KOperand& weight, const KOperand& out, const A& a) noexcept {
  const int axes = x.rank - 2;
  ConvSizes s{};
  s.n = x.shape[0], s.c = x.shape[1], s.o = weight.shape[0], s.groups = a.groups;
  s.group_c = s.c / s.groups, s.group_o = s.o / s.groups;
  s.taps = s.image = s.pixels = 1;
  for (int i = 0; i < axes; ++i) {
    ConvAxis& axis = s.axis[3 - axes + i];
    axis = {x.shape[i + 2],     weight.shape[i + 2], out.shape[i + 2],
            a.stride.data()[i], a.padding.data()[i], a.dilation.data()[i]};
    s.taps *= axis.kernel, s.image *= axis.image, s.pixels *= axis.pixels;
  }
  return s;
}

constexpr int64_t kMaskTaps = 63;  // windows of so many taps have masks; bit 63 stands for a tap that is never inside

// ---- tiles ----

template <int M, int N, int K, int RowsEach, int ColumnsEach, int Parts = 1>
struct Tile {
  static constexpr int kM = M, kN = N, kK = K;
  static constexpr int kRows = RowsEach, kColumns = ColumnsEach;  // results of a thread
  static constexpr int kThreadsM = M / RowsEach, kThreadsN = N / ColumnsEach;
  static constexpr int kParts = Parts;  // teams of threads that share the results, each with its part of every K
  static constexpr int kTeam = kThreadsM * kThreadsN;
  static constexpr int kThreads = kTeam * Parts;
  static_assert(kThreadsN % 8 == 0 && kThreadsM % 4 == 0 && kThreads % K == 0 && kThreads % N == 0 && K % Parts == 0);
};
using LargeTile = Tile<128, 128, 8, 8, 8>;
template <class S>  // 64-bit elements need twice the registers and shared memory
using SquareTile = Tile<64, 64, sizeof(S) == 8 ? 8 : 16, 4, 4>;
template <class S>
using FlatTile = Tile<32, 128, sizeof(S) == 8 ? 8 : 16, 4, 4>;
// For products of few results, whose time is the latency of their loads: deep steps, little work for each block.
template <class S>
using SmallTile = Tile<32, 32, sizeof(S) == 8 ? 32 : 64, 4, 4, sizeof(S) == 8 ? 2 : 4>;
enum class TileSize : uint8_t { Large, Square, Flat, Small };
constexpr int tile_rows(TileSize size) noexcept {
  return size == TileSize::Large ? 128 : size == TileSize::Square ? 64 : 32;
}
constexpr int tile_columns(TileSize size) noexcept {
  return size == TileSize::Square ? 64 : size == TileSize::Small ? 32 : 128;
}

// How a product is cut into blocks; blocks that share columns follow each other.
struct Cut {
  int64_t tiles_m, tiles_n, problems;  // problems: products of the same size, one beside the other
  int64_t splits, depth_each;          // parts of the sums
  [[nodiscard]] int64_t blocks() const noexcept { return tiles_m * tiles_n * problems * splits; }
};

// Splits where blocks are few and sums long, and where a sum would be so long that its rounding errors show.
inline Cut cut_of(int64_t m, int64_t n, int64_t k, int64_t problems, int64_t numel, int tile_m, int tile_n) noexcept {
  constexpr int64_t kBlocks = 256, kLeast = 256, kMost = 16384, kUnit = 32;
  constexpr int64_t kPartials = int64_t{1} << 26;  // elements of scratch
  Cut c{ceil_div(m, tile_m), ceil_div(n, tile_n), problems, 1, k};
  const int64_t blocks = c.tiles_m * c.tiles_n * problems;
  if (blocks == 0 || k == 0 || numel == 0) return c;
  int64_t splits = blocks < kBlocks / 2 ? kBlocks / blocks : 1;
  if (splits > k / kLeast) splits = k / kLeast;
  if (splits < ceil_div(k, kMost)) splits = ceil_div(k, kMost);
  if (splits > 1 && splits > kPartials / numel) splits = kPartials / numel;
  if (splits <= 1) return c;
  c.depth_each = ceil_div(ceil_div(k, splits), kUnit) * kUnit;
  c.splits = ceil_div(k, c.depth_each);
  return c;
}

// The cut for the preferred tile, or for small ones where the preferred would leave most of a card idle (`size` says which).
inline Cut cut_for(TileSize& size, bool masked, int64_t m, int64_t n, int64_t k, int64_t problems,
                   int64_t numel) noexcept {
  constexpr int64_t kFewBlocks = 80;
  const Cut cut = cut_of(m, n, k, problems, numel, tile_rows(size), tile_columns(size));
  if (!masked || cut.blocks() >= kFewBlocks) return cut;
  size = TileSize::Small;
  return cut_of(m, n, k, problems, numel, tile_rows(size), tile_columns(size));
}

#if defined(__CUDACC__)

// Which of `taps` elements from `first` on, `every` apart, lie in [0, size).
GORGO_DEVICE uint64_t inside_mask(int64_t first, int64_t every, int64_t taps, int64_t size) {
  uint64_t mask = 0;
  for (int64_t i = 0; i < taps; ++i, first += every) {
    mask |= static_cast<uint64_t>(first >= 0 && first < size) << i;
  }
  return mask;
}

// A window as it lies over an image: `taps` of them along each axis, `every` apart.
struct Window {
  int64_t taps[3], every[3], size[3];
  // Bit t is for tap t in row order; at most kMaskTaps.
  [[nodiscard]] GORGO_DEVICE uint64_t mask(const int64_t (&first)[3]) const {
    const uint64_t line = inside_mask(first[2], every[2], taps[2], size[2]);
    uint64_t mask = 0;
    int64_t z = first[0];
    for (int64_t l = 0; l < taps[0]; ++l, z += every[0]) {
      int64_t y = first[1];
      for (int64_t i = 0; i < taps[1]; ++i, y += every[1]) {
        const bool inside = z >= 0 && z < size[0] && y >= 0 && y < size[1];
        if (inside) mask |= line << ((l * taps[1] + i) * taps[2]);
      }
    }
    return mask;
  }
};

constexpr int64_t kFar = -(int64_t{1} << 60);  // a coordinate outside whatever is added

// What decides whether an element of the image exists: a mask against a tap, or two parts of its coordinates.
template <bool kMasked, int kCount>
struct Sites {
  int64_t at[kCount];
  uint64_t info[kCount];  // a mask on one side, a tap on the other
};
template <int kCount>
struct Sites<false, kCount> {
  int64_t at[kCount];
  int64_t coordinates[3][kCount];
};

template <bool kMasked>
struct Site {
  int64_t at;
  uint64_t info;
};
template <>
struct Site<false> {
  int64_t at;
  int64_t coordinates[3];
};

template <int kCount>
GORGO_DEVICE Site<true> site_in(const Sites<true, kCount>& all, int i) {
  return {all.at[i], all.info[i]};
}
template <int kCount>
GORGO_DEVICE Site<false> site_in(const Sites<false, kCount>& all, int i) {
  return {all.at[i], {all.coordinates[0][i], all.coordinates[1][i], all.coordinates[2][i]}};
}
template <int kCount>
GORGO_DEVICE void put_site(Sites<true, kCount>& all, int i, const Site<true>& site) {
  all.at[i] = site.at;
  all.info[i] = site.info;
}
template <int kCount>
GORGO_DEVICE void put_site(Sites<false, kCount>& all, int i, const Site<false>& site) {
  all.at[i] = site.at;
  for (int a = 0; a < 3; ++a) all.coordinates[a][i] = site.coordinates[a];
}
GORGO_DEVICE bool is_inside(const Site<true>& with_mask, const Site<true>& with_tap, const Window&) {
  return (with_mask.info >> with_tap.info & 1) != 0;
}
GORGO_DEVICE bool is_inside(const Site<false>& a, const Site<false>& b, const Window& window) {
  bool inside = true;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const int64_t at = a.coordinates[i] + b.coordinates[i];
    inside = inside && at >= 0 && at < window.size[i];
  }
  return inside;
}

GORGO_DEVICE void read_four(const float* from, float* to) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
GORGO_DEVICE void read_four(const double* from, double* to) {
  const double2 a = reinterpret_cast<const double2*>(from)[0], b = reinterpret_cast<const double2*>(from)[1];
  to[0] = a.x, to[1] = a.y, to[2] = b.x, to[3] = b.y;
}

// The plan of a product has
//   Element types:  using Stored = S, kAlongK (lanes of a warp read the image along k, not along columns), kMasked
//   Setup:          what a block needs beside the plan, in shared memory; setup(Setup&, problem, lane) is called by three threads
//   rows(), columns(setup), depth(setup): the sizes of the product
//   entry(setup, k, Site&, factor_at), column(setup, column, Site&, out_at)
//   factor(setup), factor_row: where row 0 lies, and the distance of rows; image(setup)
//   out(setup), out_row: the offset of row 0 in the result, and the distance of rows; bias(setup): of row 0, or null
//   result, partials, numel, cut, vectors: four columns from a multiple of 4 lie side by side, aligned together
//   finish: the epilogue
template <class Plan, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kRows == 4 ? 2 : 1)
    product_kernel(const __grid_constant__ Plan plan) {
  using S = typename Plan::Stored;
  using E = Element<S>;
  using T = typename E::Compute;
  constexpr int kM = Tile::kM, kN = Tile::kN, kK = Tile::kK, kThreads = Tile::kThreads;
  constexpr int kTable = Plan::kMasked ? 256 : 128;
  constexpr int kPitchM = kM + 4, kPitchN = kN + 4;
  constexpr int kFactors = kM * kK / kThreads, kImages = kN * kK / kThreads;
  static_assert(kTable % kK == 0);

  __shared__ __align__(16) T factors[2][kK][kPitchM];
  __shared__ __align__(16) T images[2][kK][kPitchN];
  __shared__ Sites<Plan::kMasked, kTable> entries;
  __shared__ Sites<Plan::kMasked, kN> columns;
  __shared__ int64_t factor_at[kTable];
  __shared__ int64_t out_at[kN];
  __shared__ typename Plan::Setup setup;

  const int thread = static_cast<int>(threadIdx.x);
  const Cut& cut = plan.cut;
  const Quotient by_m(blockIdx.x, cut.tiles_m);
  const Quotient by_n(by_m.quotient, cut.tiles_n);
  const Quotient by_split(by_n.quotient, cut.splits);
  const int64_t m0 = by_m.rest * kM, n0 = by_n.rest * kN, split = by_split.rest;
  if (thread < 3) plan.setup(setup, by_split.quotient, thread);
  __syncthreads();

  const int64_t all_columns = plan.columns(setup), depth = plan.depth(setup);
  const int64_t k_begin = split * cut.depth_each;
  const int64_t k_end = k_begin + cut.depth_each < depth ? k_begin + cut.depth_each : depth;
  if (thread < kN) {
    Site<Plan::kMasked> site;
    int64_t at;
    plan.column(setup, n0 + thread, n0 + thread < all_columns, site, at);
    put_site(columns, thread, site);
    out_at[thread] = at;
  }
  const auto fill_table = [&](int64_t from) {
    for (int i = thread; i < kTable; i += kThreads) {
      Site<Plan::kMasked> site;
      int64_t at;
      plan.entry(setup, from + i, from + i < k_end, site, at);
      put_site(entries, i, site);
      factor_at[i] = at;
    }
  };
  if (k_begin < k_end) fill_table(k_begin);
  __syncthreads();

  // Which elements of the tiles this thread brings.
  const int factor_k = thread % kK, factor_m = thread / kK;
  constexpr int kFactorStep = kThreads / kK;
  const int image_k = Plan::kAlongK ? thread % kK : thread / kN;
  const int image_n = Plan::kAlongK ? thread / kK : thread % kN;
  constexpr int kImageStepK = Plan::kAlongK ? 0 : kThreads / kN;
  constexpr int kImageStepN = Plan::kAlongK ? kThreads / kK : 0;
  const S* const factor_rows = plan.factor(setup) + (m0 + factor_m) * plan.factor_row;
  const S* const image = plan.image(setup);
  const Window& window = setup.window;
  Site<Plan::kMasked> own_column;
  if constexpr (!Plan::kAlongK) own_column = site_in(columns, image_n);

  T next_factors[kFactors], next_images[kImages];
  const auto read = [&](int64_t k0, int table) {
    const bool has_k = k0 + factor_k < k_end;
    const S* const factor = factor_rows + factor_at[table + factor_k];
#pragma unroll
    for (int i = 0; i < kFactors; ++i) {
      const bool exists = has_k && m0 + factor_m + i * kFactorStep < plan.rows();
      next_factors[i] = exists ? E::load(factor + i * kFactorStep * plan.factor_row) : T{0};
    }
    if constexpr (Plan::kAlongK) {
      const auto entry = site_in(entries, table + image_k);
#pragma unroll
      for (int i = 0; i < kImages; ++i) {
        const auto column = site_in(columns, image_n + i * kImageStepN);
        next_images[i] = is_inside(entry, column, window) ? E::load(image + (entry.at + column.at)) : T{0};
      }
    } else {
#pragma unroll
      for (int i = 0; i < kImages; ++i) {
        const auto entry = site_in(entries, table + image_k + i * kImageStepK);
        next_images[i] = is_inside(own_column, entry, window) ? E::load(image + (entry.at + own_column.at)) : T{0};
      }
    }
  };

  const int part = Tile::kParts == 1 ? 0 : thread / Tile::kTeam;
  const int warp = thread % Tile::kTeam / 32, lane = thread % 32;
  constexpr int kDepth = kK / Tile::kParts;  // of each team
  constexpr int kWarpsN = Tile::kThreadsN / 8;
  const int row0 = (warp / kWarpsN * 4 + lane / 8) * 4;
  const int column0 = (warp % kWarpsN * 8 + lane % 8) * 4;
  constexpr int kRowStep = kM / (Tile::kRows / 4), kColumnStep = kN / (Tile::kColumns / 4);

  T sums[Tile::kRows][Tile::kColumns];
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) sums[i][j] = T{0};
  }

  if (k_begin < k_end) read(k_begin, 0);
  int buffer = 0, table = 0;
  for (int64_t k0 = k_begin; k0 < k_end; k0 += kK, buffer ^= 1) {
#pragma unroll
    for (int i = 0; i < kFactors; ++i) factors[buffer][factor_k][factor_m + i * kFactorStep] = next_factors[i];
#pragma unroll
    for (int i = 0; i < kImages; ++i) {
      images[buffer][image_k + i * kImageStepK][image_n + i * kImageStepN] = next_images[i];
    }
    __syncthreads();  // also: everybody is done with this buffer's last use but one, and with the table
    if (k0 + kK < k_end) {
      table += kK;
      if (table == kTable) {
        table = 0;
        fill_table(k0 + kK);
        __syncthreads();
      }
      read(k0 + kK, table);
    }
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const int k = part * kDepth + d;
      T a[Tile::kRows], b[Tile::kColumns];
#pragma unroll
      for (int i = 0; i < Tile::kRows / 4; ++i) read_four(&factors[buffer][k][row0 + i * kRowStep], a + 4 * i);
#pragma unroll
      for (int j = 0; j < Tile::kColumns / 4; ++j) read_four(&images[buffer][k][column0 + j * kColumnStep], b + 4 * j);
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kColumns; ++j) sums[i][j] = multiply_add(a[i], b[j], sums[i][j]);
      }
    }
  }

  if constexpr (Tile::kParts > 1) {  // the first team adds up, in order
    constexpr int kSums = Tile::kRows * Tile::kColumns;
    static_assert((Tile::kParts - 1) * kSums * Tile::kTeam <= 2 * kK * kPitchM);
    T* const others = &factors[0][0][0] + thread % Tile::kTeam;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      if (part > 0) {
        others[((part - 1) * kSums + i) * Tile::kTeam] = sums[i / Tile::kColumns][i % Tile::kColumns];
      }
    }
    __syncthreads();
    if (part > 0) return;
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
#pragma unroll
      for (int q = 0; q < Tile::kParts - 1; ++q) {
        sums[i / Tile::kColumns][i % Tile::kColumns] += others[(q * kSums + i) * Tile::kTeam];
      }
    }
  }

  const int64_t out0 = plan.out(setup);
  const S* const bias = plan.bias(setup);
  const bool whole = cut.splits == 1;
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
    const int64_t row = m0 + row0 + i / 4 * kRowStep + i % 4;
    if (row >= plan.rows()) continue;
    const T added = whole && bias != nullptr ? E::load(bias + row * plan.bias_stride) : T{0};
    const int64_t line = out0 + row * plan.out_row;
#pragma unroll
    for (int j = 0; j < Tile::kColumns; j += 4) {
      const int column = column0 + j / 4 * kColumnStep;
      T four[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        four[q] = sums[i][j + q] + added;
        const int64_t at = out_at[column + q];
        if (whole && plan.finish.then != Epilogue::None && at >= 0) {
          four[q] = E::value(finished_at(plan.finish, E::round(four[q]), line + at));
        }
      }
      if (plan.vectors) {
        const int64_t at = out_at[column];
        if (at < 0) continue;
        if (whole) {
          store_four(plan.result + line + at, four);
        } else {
          store_four(plan.partials + split * plan.numel + line + at, four);
        }
        continue;
      }
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int64_t at = out_at[column + q];
        if (at < 0) continue;
        if (whole) {
          plan.result[line + at] = E::round(four[q]);
        } else {
          plan.partials[split * plan.numel + line + at] = four[q];
        }
      }
    }
  }
}

// result[i] = the sum of partials[s][i] in order, plus the bias of its channel, of which there are `channels`, `plane` elements each.
template <class S>
__global__ void __launch_bounds__(256)
    add_partials_kernel(const typename Element<S>::Compute* partials, int64_t splits, int64_t numel, const S* bias,
                        int64_t bias_stride, int64_t plane, int64_t channels, S* result, Finish finish) {
  using T = typename Element<S>::Compute;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < numel; i += step) {
    T sum = Element<T>::load(partials + i);
    for (int64_t s = 1; s < splits; ++s) sum = sum + Element<T>::load(partials + s * numel + i);
    if (bias != nullptr) sum = sum + Element<S>::load(bias + i / plane % channels * bias_stride);
    result[i] = finished_at(finish, Element<S>::round(sum), i);
  }
}

template <class S>
void add_partials(const typename Element<S>::Compute* partials, int64_t splits, int64_t numel, const S* bias,
                  int64_t bias_stride, int64_t plane, int64_t channels, S* result, const Finish& finish,
                  cudaStream_t stream) noexcept {
  add_partials_kernel<S><<<grid_for(numel, 256), 256, 0, stream>>>(partials, splits, numel, bias, bias_stride, plane,
                                                                   channels, result, finish);
}

template <class Tile, class Plan>
void run_tiles(const Plan& plan, cudaStream_t stream) noexcept {
  product_kernel<Plan, Tile><<<static_cast<unsigned>(plan.cut.blocks()), Tile::kThreads, 0, stream>>>(plan);
}

template <class Plan>
void run_product(const Plan& plan, TileSize size, cudaStream_t stream) noexcept {
  using S = typename Plan::Stored;
  if constexpr (!Plan::kMasked) {
    run_tiles<SquareTile<S>>(plan, stream);
  } else {
    switch (size) {
      case TileSize::Large:
        if constexpr (std::is_same_v<S, float>) run_tiles<LargeTile>(plan, stream);
        break;
      case TileSize::Flat:
        run_tiles<FlatTile<S>>(plan, stream);
        break;
      case TileSize::Small:
        run_tiles<SmallTile<S>>(plan, stream);
        break;
      case TileSize::Square:
        run_tiles<SquareTile<S>>(plan, stream);
    }
  }
}

#endif

}  // namespace gorgo::cuda

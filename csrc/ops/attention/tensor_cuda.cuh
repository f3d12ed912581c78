// Attention and its gradients on tensor cores, for 16-bit floats whose vectors have up to 128 elements.
//
// A warp holds the scores of its own rows in registers, where they become weights and then the left factor of the next product;
// the tiles that all warps of a block share lie in shared memory, the 16-byte pieces of a row permuted by the row's number so
// that eight rows of one column lie in different banks. While one tile is used, the next is on its way.
// Forward: a warp has two tiles of 16 queries, so that what it reads of keys and values is used twice. Backward: rows are
// queries in one kernel and keys in the other, 16 for a warp; weights are made again from the logarithms of the rows' sums.
// Invariants: vectors are filled up with zeros to kHead elements; sums are float32, weights and slopes are rounded once before
// they are multiplied; the order of every sum is set by the shapes.
// Source: Dao, "FlashAttention-2: faster attention with better parallelism and work partitioning", ICLR 2024.
// Read next: kernels/cuda/fragments.cuh, tiles_cuda.cuh (the same for everything else).
#pragma once

#include "kernels/cuda/fragments.cuh"
#include "ops/attention/problem_cuda.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kTensorThreads = 128;
constexpr int kWarps = 4;
constexpr int kSlab = 64;        // keys of a tile; queries in the gradients
constexpr int kQueryTile = 128;  // queries of a block, forward
// Columns of a slab whose scores a warp holds at once: beside results of 128 columns there is no room for more.
template <int kHead>
constexpr int kPart = kHead <= 64 ? kSlab : kSlab / 2;
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.69314718055994531f;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

// A distance as far as tiles can tell.
GORGO_DEVICE int slab_distance(int64_t x) { return static_cast<int>(x < -512 ? -512 : x > 512 ? 512 : x); }

// The matrices of one head in memory.
struct HalfRows {
  const uint16_t* data;
  int64_t row;
  int64_t rows;
  int columns;

  GORGO_DEVICE HalfRows(const HeadMatrices& m, int64_t head, int64_t row_count, int column_count)
      : data(static_cast<const uint16_t*>(m.data) + head), row(m.row), rows(row_count), columns(column_count) {}
};

template <class S, int kHead>
struct Tensor {
  static constexpr int kPieces = kHead / 8;  // of a row, 16 bytes each
  static constexpr int kTiles = kHead / 8;   // of sums along a row

  static constexpr uint32_t kRowBytes = kHead * 2;

  // Tiles are named by their place in shared memory, a multiple of kRowBytes. Piece i of row r lies at piece i ^ (r % 8) of the
  // row, so that moving on by an even number of pieces is one exclusive or.

  // Starts to copy kRows rows from `first` on.
  template <int kRows>
  static GORGO_DEVICE void fetch(uint32_t tile, const HalfRows& m, int64_t first) {
    constexpr int kRowStep = kTensorThreads / kPieces;
    static_assert(kRowStep % 8 == 0);  // so that the pieces of a thread are permuted alike
    const auto thread = static_cast<int>(not_ahead(threadIdx.x));
    const int row = thread / kPieces;
    const int piece = thread % kPieces;
    const bool inside = piece * 8 < m.columns;
    const int left = inside ? slab_distance(m.rows - first) - row : 0;
    const uint16_t* from = m.data + (first + row) * m.row + piece * 8;
    const uint32_t to = tile + row * kRowBytes + (piece ^ (row & 7)) * 16;
#pragma unroll
    for (int r = 0; r < kRows; r += kRowStep) {
      const bool valid = r < left;
      copy_async_16(to + r * kRowBytes, valid ? from : m.data, valid);
      from += kRowStep * m.row;
    }
  }

  // sums = rows [row0, row0 + 16 kLeft) of `left` times the first 8 kRight rows of `right`.
  template <int kLeft, int kRight>
  static GORGO_DEVICE void scores(float (&sums)[kLeft][kRight][4], uint32_t left, int row0, uint32_t right) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    left = not_ahead(left + (row0 + lane % 16) * kRowBytes + ((lane / 16) ^ (lane & 7)) * 16);
    right = not_ahead(right + (lane % 8 + lane / 16 * 8) * kRowBytes + ((lane / 8 % 2) ^ (lane & 7)) * 16);
#pragma unroll
    for (int i = 0; i < kLeft; ++i) {
#pragma unroll
      for (int j = 0; j < kRight; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[i][j][c] = 0.0f;
      }
    }
#pragma unroll
    for (int k = 0; k < kHead / 16; ++k) {
      uint32_t a[kLeft][4];
#pragma unroll
      for (int i = 0; i < kLeft; ++i) load_matrices(a[i], (left ^ (k * 32)) + 16 * i * kRowBytes);
#pragma unroll
      for (int j = 0; j < kRight; j += 2) {
        uint32_t b[4];
        load_matrices(b, (right ^ (k * 32)) + 8 * j * kRowBytes);
#pragma unroll
        for (int i = 0; i < kLeft; ++i) {
          multiply_fragments<S>(sums[i][j], a[i], b[0], b[1]);
          multiply_fragments<S>(sums[i][j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

  // sums += weights times the first 8 kRight rows of `right`.
  template <int kLeft, int kRight>
  static GORGO_DEVICE void mix(float (&sums)[kLeft][kTiles][4], const float (&weights)[kLeft][kRight][4],
                               uint32_t right) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    right = not_ahead(right + lane % 16 * kRowBytes + ((lane / 16) ^ (lane & 7)) * 16);
#pragma unroll
    for (int k = 0; k < kRight / 2; ++k) {
      uint32_t a[kLeft][4];
#pragma unroll
      for (int i = 0; i < kLeft; ++i) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const float (&w)[4] = weights[i][2 * k + c / 2];
          a[i][c] = pack_two<S>(w[c % 2 * 2], w[c % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int j = 0; j < kTiles; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, (right ^ (j * 16)) + 16 * k * kRowBytes);
#pragma unroll
        for (int i = 0; i < kLeft; ++i) {
          multiply_fragments<S>(sums[i][j], a[i], b[0], b[1]);
          multiply_fragments<S>(sums[i][j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

  // Writes 16 rows from `first` on, times `by_low` (rows g) and `by_high` (rows g + 8), to a dense matrix.
  static GORGO_DEVICE void store(S* to, int64_t first, int64_t rows, int columns, const float (&sums)[kTiles][4],
                                 float by_low, float by_high) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first + lane / 4 + 8 * half;
      if (row >= rows) continue;
      const float by = half == 0 ? by_low : by_high;
      S* const at = to + row * columns;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        const int column = 8 * j + lane % 4 * 2;
        if (column < columns) {
          *reinterpret_cast<uint32_t*>(at + column) = pack_two<S>(sums[j][2 * half] * by, sums[j][2 * half + 1] * by);
        }
      }
    }
  }
};

// Adds a mask, in units of log2 e, to the sums of 16 rows: `corner` is the mask's element for the warp's first row and the
// slab's first column, of which `rows` and `others` lie inside.
template <class S, class M, int kRight>
GORGO_DEVICE void add_half_mask(const M* corner, int64_t row_step, int64_t other_step, int rows, int others,
                                float (&sums)[kRight][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    const M* at = corner + row * row_step + lane % 4 * 2 * other_step;
#pragma unroll
    for (int j = 0; j < kRight; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        if (row < rows && 8 * j + lane % 4 * 2 + c < others) {
          if constexpr (std::is_same_v<M, bool>) {
            if (!at[c * other_step]) sums[j][2 * half + c] = kLowest;
          } else {
            sums[j][2 * half + c] += Element<M>::value(at[c * other_step]) * kLog2E;
          }
        }
      }
      at += 8 * other_step;
    }
  }
}
template <class S, int kRight>
GORGO_DEVICE void add_half_mask(const HeadMask& mask, int64_t corner, int64_t row_step, int64_t other_step, int rows,
                                int others, float (&sums)[kRight][4]) {
  if (mask.is_bool) {
    add_half_mask<S>(static_cast<const bool*>(mask.data) + corner, row_step, other_step, rows, others, sums);
  } else {
    add_half_mask<S>(static_cast<const S*>(mask.data) + corner, row_step, other_step, rows, others, sums);
  }
}

// Over the four lanes that share rows.
GORGO_DEVICE float quad_top(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
GORGO_DEVICE float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

template <int kHead>
constexpr int kForwardBytes = (kQueryTile + 3 * kSlab) * kHead * 2;
// Powers of two by which weights may exceed one before what was summed so far is scaled down, which is rarely needed.
constexpr float kHeadroom = 6.0f;

template <class S, int kHead>
__global__ void __launch_bounds__(kTensorThreads, 2)
    tensor_forward_kernel(const __grid_constant__ ForwardProblem p, int64_t work) {
  using F = Tensor<S, kHead>;
  constexpr int kLeft = kQueryTile / kWarps / 16;
  constexpr int kRight = kPart<kHead> / 8;
  constexpr uint32_t kTile = kSlab * F::kRowBytes;
  extern __shared__ __align__(256) unsigned char tiles[];
  const uint32_t queries = shared_place(tiles);
  const uint32_t values = queries + kQueryTile * F::kRowBytes;
  const uint32_t streams = values + kTile;  // keys in use, keys on their way
  const AttentionSizes& z = p.z;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * (16 * kLeft);
  const float scale = static_cast<float>(z.scale) * kLog2E;
  const int64_t blocks = (z.l + kQueryTile - 1) / kQueryTile;
  for (int64_t at = blockIdx.x; at < work; at += gridDim.x) {
    const int64_t head = at / blocks;
    // The later a block of queries, the more keys it may see: those first.
    const int64_t q0 = (blocks - 1 - (at - head * blocks)) * kQueryTile;
    int64_t query_at[2];
    int64_t key_at[2];
    p.query_heads.at(head, query_at);
    p.key_heads.at(head / z.group, key_at);
    const HalfRows k(p.k, key_at[0], z.s, z.e);
    const HalfRows v(p.v, key_at[1], z.s, z.ev);
    const int64_t seen = z.keys_seen(q0, kQueryTile);

    __syncthreads();  // all have left the tiles of the work before
    F::template fetch<kQueryTile>(queries, HalfRows(p.q, query_at[0], z.l, z.e), q0);
    F::template fetch<kSlab>(streams, k, 0);
    commit_copies();

    float out[kLeft][F::kTiles][4];
    float top[kLeft][2];
    float sum[kLeft][2];  // of this lane's weights alone
#pragma unroll
    for (int i = 0; i < kLeft; ++i) {
#pragma unroll
      for (int j = 0; j < F::kTiles; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) out[i][j][c] = 0.0f;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        top[i][half] = kLowest;
        sum[i][half] = 0.0f;
      }
    }
    int stage = 0;
    for (int64_t k0 = 0; k0 < seen; k0 += kSlab, stage ^= 1) {
      wait_copies<0>();
      __syncthreads();  // keys have come, and all have left the keys and values before
      F::template fetch<kSlab>(values, v, k0);
      commit_copies();
      if (k0 + kSlab < seen) F::template fetch<kSlab>(streams + (stage ^ 1) * kTile, k, k0 + kSlab);
      commit_copies();
#pragma unroll 1
      for (int part = 0; part < kSlab; part += kPart<kHead>) {
        float w[kLeft][kRight][4];
        F::scores(w, queries, warp_row, streams + stage * kTile + part * F::kRowBytes);
#pragma unroll
        for (int i = 0; i < kLeft; ++i) {
#pragma unroll
          for (int j = 0; j < kRight; ++j) {
#pragma unroll
            for (int c = 0; c < 4; ++c) w[i][j][c] *= scale;
          }
        }
        const int inside = slab_distance(z.s - k0 - part);
        if (p.mask.data != nullptr) {
#pragma unroll
          for (int i = 0; i < kLeft; ++i) {
            const int64_t row = q0 + warp_row + 16 * i;
            add_half_mask<S>(p.mask, query_at[1] + row * p.mask.row + (k0 + part) * p.mask.column, p.mask.row,
                             p.mask.column, slab_distance(z.l - row), inside, w[i]);
          }
        }
        const int ahead = z.causal ? slab_distance(q0 + warp_row - k0 - part) : 512;
        if (inside < kPart<kHead> || ahead < kPart<kHead>) {
#pragma unroll
          for (int i = 0; i < kLeft; ++i) {
#pragma unroll
            for (int j = 0; j < kRight; ++j) {
#pragma unroll
              for (int c = 0; c < 4; ++c) {
                const int row = 16 * i + lane / 4 + c / 2 * 8;
                const int key = 8 * j + lane % 4 * 2 + c % 2;
                if (key >= inside || key > row + ahead) w[i][j][c] = kLowest;
              }
            }
          }
        }
#pragma unroll
        for (int i = 0; i < kLeft; ++i) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float most = kLowest;
#pragma unroll
            for (int j = 0; j < kRight; ++j) most = fmaxf(most, fmaxf(w[i][j][2 * half], w[i][j][2 * half + 1]));
            most = quad_top(most);
            const bool moves = most > top[i][half] + kHeadroom;
            if (__any_sync(0xffffffffu, moves)) {
              const float less = moves ? power_of_two_near(top[i][half] - most) : 1.0f;
              if (moves) top[i][half] = most;
              sum[i][half] *= less;
#pragma unroll
              for (int j = 0; j < F::kTiles; ++j) {
                out[i][j][2 * half] *= less;
                out[i][j][2 * half + 1] *= less;
              }
            }
            const float from = top[i][half] == kLowest ? 0.0f : top[i][half];
#pragma unroll
            for (int j = 0; j < kRight; ++j) {
#pragma unroll
              for (int c = 2 * half; c < 2 * half + 2; ++c) {
                w[i][j][c] = power_of_two_near(w[i][j][c] - from);
                sum[i][half] += w[i][j][c];
              }
            }
          }
        }
        if (part == 0) {
          wait_copies<1>();
          __syncthreads();  // values have come
        }
        F::mix(out, w, values + part * F::kRowBytes);
      }
    }
    wait_copies<0>();

#pragma unroll
    for (int i = 0; i < kLeft; ++i) {
      const int64_t row = q0 + warp_row + 16 * i;
      float by[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float total = quad_sum(sum[i][half]);
        const bool blind = total == 0.0f;  // sees no key
        by[half] = blind ? 0.0f : 1.0f / total;
        const int64_t query = row + lane / 4 + 8 * half;
        if (lane % 4 == 0 && query < z.l) {
          static_cast<float*>(p.log_sum)[head * z.l + query] = blind ? kLowest : top[i][half] * kLn2 + logf(total);
        }
      }
      F::store(static_cast<S*>(p.out) + head * z.l * z.ev, row, z.l, z.ev, out[i], by[0], by[1]);
    }
  }
}

// ---- gradients ----

template <int kHead>
constexpr int kBackwardBytes = 6 * kSlab * kHead * 2 + 4 * kSlab * 4;

// Rows are queries. Of keys and values there are two tiles each, one in use and one on its way.
template <class S, int kHead>
__global__ void __launch_bounds__(kTensorThreads, 2)
    tensor_query_kernel(const __grid_constant__ BackwardProblem p, int64_t work) {
  using F = Tensor<S, kHead>;
  constexpr int kRight = kSlab / 8;
  constexpr uint32_t kTile = kSlab * F::kRowBytes;
  extern __shared__ __align__(256) unsigned char tiles[];
  const uint32_t queries = shared_place(tiles);
  const uint32_t gradients = queries + kTile;
  const uint32_t streams = queries + 2 * kTile;  // keys, values, keys, values
  const AttentionSizes& z = p.z;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16;
  const float scale = static_cast<float>(z.scale) * kLog2E;
  const int64_t blocks = (z.l + kSlab - 1) / kSlab;
  for (int64_t at = blockIdx.x; at < work; at += gridDim.x) {
    const int64_t head = at / blocks;
    const int64_t q0 = (blocks - 1 - (at - head * blocks)) * kSlab;
    int64_t query_at[3];
    int64_t key_at[2];
    p.query_heads.at(head, query_at);
    p.key_heads.at(head / z.group, key_at);
    const HalfRows k(p.k, key_at[0], z.s, z.e);
    const HalfRows v(p.v, key_at[1], z.s, z.ev);
    const int64_t seen = z.keys_seen(q0, kSlab);

    __syncthreads();  // all have left the tiles of the work before
    F::template fetch<kSlab>(queries, HalfRows(p.q, query_at[0], z.l, z.e), q0);
    F::template fetch<kSlab>(gradients, HalfRows(p.g, query_at[1], z.l, z.ev), q0);
    F::template fetch<kSlab>(streams, k, 0);
    F::template fetch<kSlab>(streams + kTile, v, 0);
    commit_copies();

    float log_sum[2];
    float common[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t query = q0 + warp_row + lane / 4 + 8 * half;
      const bool inside = query < z.l;
      log_sum[half] = inside ? static_cast<const float*>(p.logs)[head * z.l + query] * kLog2E : 0.0f;
      common[half] = inside ? static_cast<const float*>(p.common)[head * z.l + query] : 0.0f;
    }
    float by_query[1][F::kTiles][4];
#pragma unroll
    for (int j = 0; j < F::kTiles; ++j) {
#pragma unroll
      for (int c = 0; c < 4; ++c) by_query[0][j][c] = 0.0f;
    }
    int stage = 0;
    for (int64_t k0 = 0; k0 < seen; k0 += kSlab, stage ^= 1) {
      wait_copies<0>();
      __syncthreads();  // this tile has come, and all have left the one before
      const uint32_t keys = streams + stage * 2 * kTile;
      if (k0 + kSlab < seen) {
        const uint32_t next = streams + (stage ^ 1) * 2 * kTile;
        F::template fetch<kSlab>(next, k, k0 + kSlab);
        F::template fetch<kSlab>(next + kTile, v, k0 + kSlab);
        commit_copies();
      }
      float w[1][kRight][4];
      F::scores(w, queries, warp_row, keys);
#pragma unroll
      for (int j = 0; j < kRight; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) w[0][j][c] *= scale;
      }
      const int inside = slab_distance(z.s - k0);
      if (p.mask.data != nullptr) {
        const int64_t row = q0 + warp_row;
        add_half_mask<S>(p.mask, query_at[2] + row * p.mask.row + k0 * p.mask.column, p.mask.row, p.mask.column,
                         slab_distance(z.l - row), inside, w[0]);
      }
      const int ahead = z.causal ? slab_distance(q0 + warp_row - k0) : 512;
      const bool edges = inside < kSlab || ahead < kSlab;
      float slope[1][kRight][4];
      F::scores(slope, gradients, warp_row, keys + kTile);
#pragma unroll
      for (int j = 0; j < kRight; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const float weight = power_of_two_near(w[0][j][c] - log_sum[c / 2]);
          slope[0][j][c] = weight * (slope[0][j][c] - common[c / 2]);
          if (edges) {
            const int row = lane / 4 + c / 2 * 8;
            const int key = 8 * j + lane % 4 * 2 + c % 2;
            if (key >= inside || key > row + ahead) slope[0][j][c] = 0.0f;
          }
        }
      }
      F::mix(by_query, slope, keys);
    }
    wait_copies<0>();
    const auto by = static_cast<float>(z.scale);
    F::store(static_cast<S*>(p.by_query) + head * z.l * z.e, q0 + warp_row, z.l, z.e, by_query[0], by, by);
  }
}

// Rows are keys. Of queries and what arrives at them there are two tiles each. Weights of queries outside are multiplied by rows
// of zeros; those of keys outside are not written.
template <class S, int kHead>
__global__ void __launch_bounds__(kTensorThreads, 2)
    tensor_key_kernel(const __grid_constant__ BackwardProblem p, int64_t work) {
  using F = Tensor<S, kHead>;
  constexpr int kRight = kPart<kHead> / 8;
  constexpr uint32_t kTile = kSlab * F::kRowBytes;
  extern __shared__ __align__(256) unsigned char tiles[];
  const uint32_t keys = shared_place(tiles);
  const uint32_t values = keys + kTile;
  const uint32_t streams = keys + 2 * kTile;                              // queries, gradients, queries, gradients
  const auto* const facts = reinterpret_cast<float*>(tiles + 6 * kTile);  // logarithms, common parts, and again
  const AttentionSizes& z = p.z;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16;
  const float scale = static_cast<float>(z.scale) * kLog2E;
  const int64_t blocks = (z.s + kSlab - 1) / kSlab;
  for (int64_t at = blockIdx.x; at < work; at += gridDim.x) {
    const int64_t key_head = at / blocks;
    const int64_t k0 = (at - key_head * blocks) * kSlab;
    int64_t key_at[2];
    p.key_heads.at(key_head, key_at);
    // The blocks of queries of one head after the other's.
    const int64_t first = z.causal ? k0 : 0;
    const int64_t per_head = first < z.l ? (z.l - first + kSlab - 1) / kSlab : 0;
    const int64_t steps = per_head * z.group;
    const auto fetch = [&](int64_t step, int stage) {
      const int64_t head = key_head * z.group + step / per_head;
      const int64_t q0 = first + step % per_head * kSlab;
      int64_t query_at[3];
      p.query_heads.at(head, query_at);
      const uint32_t to = streams + stage * 2 * kTile;
      F::template fetch<kSlab>(to, HalfRows(p.q, query_at[0], z.l, z.e), q0);
      F::template fetch<kSlab>(to + kTile, HalfRows(p.g, query_at[1], z.l, z.ev), q0);
      const int i = static_cast<int>(threadIdx.x) % kSlab;
      const auto* rows = static_cast<const float*>(threadIdx.x < kSlab ? p.logs : p.common);
      const bool valid = q0 + i < z.l;
      copy_async_4(shared_place(facts + stage * 2 * kSlab + threadIdx.x), rows + (valid ? head * z.l + q0 + i : 0),
                   valid);
    };

    __syncthreads();  // all have left the tiles of the work before
    F::template fetch<kSlab>(keys, HalfRows(p.k, key_at[0], z.s, z.e), k0);
    F::template fetch<kSlab>(values, HalfRows(p.v, key_at[1], z.s, z.ev), k0);
    if (steps > 0) fetch(0, 0);
    commit_copies();

    float by_key[1][F::kTiles][4];
    float by_value[1][F::kTiles][4];
#pragma unroll
    for (int j = 0; j < F::kTiles; ++j) {
#pragma unroll
      for (int c = 0; c < 4; ++c) by_key[0][j][c] = by_value[0][j][c] = 0.0f;
    }
    for (int64_t step = 0; step < steps; ++step) {
      const int stage = static_cast<int>(step % 2);
      wait_copies<0>();
      __syncthreads();  // this tile has come, and all have left the one before
      if (step + 1 < steps) {
        fetch(step + 1, stage ^ 1);
        commit_copies();
      }
#pragma unroll 1
      for (int part = 0; part < kSlab; part += kPart<kHead>) {
        const uint32_t queries = streams + stage * 2 * kTile + part * F::kRowBytes;
        const float* const logs = facts + stage * 2 * kSlab + part;
        const float* const commons = logs + kSlab;
        const int64_t q0 = first + step % per_head * kSlab + part;

        float w[1][kRight][4];
        F::scores(w, keys, warp_row, queries);
#pragma unroll
        for (int j = 0; j < kRight; ++j) {
#pragma unroll
          for (int c = 0; c < 4; ++c) w[0][j][c] *= scale;
        }
        if (p.mask.data != nullptr) {
          int64_t query_at[3];
          p.query_heads.at(key_head * z.group + step / per_head, query_at);
          const int64_t row = k0 + warp_row;
          add_half_mask<S>(p.mask, query_at[2] + q0 * p.mask.row + row * p.mask.column, p.mask.column, p.mask.row,
                           slab_distance(z.s - row), slab_distance(z.l - q0), w[0]);
        }
        // A key is hidden from the queries before it.
        const int behind = z.causal ? slab_distance(k0 + warp_row - q0) : -512;
#pragma unroll
        for (int j = 0; j < kRight; ++j) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const int query = 8 * j + lane % 4 * 2 + c % 2;
            w[0][j][c] = power_of_two_near(w[0][j][c] - logs[query] * kLog2E);
            if (behind > -16 && lane / 4 + c / 2 * 8 + behind > query) w[0][j][c] = 0.0f;
          }
        }
        F::mix(by_value, w, queries + kTile);
        float slope[1][kRight][4];
        F::scores(slope, values, warp_row, queries + kTile);
#pragma unroll
        for (int j = 0; j < kRight; ++j) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            slope[0][j][c] = w[0][j][c] * (slope[0][j][c] - commons[8 * j + lane % 4 * 2 + c % 2]);
          }
        }
        F::mix(by_key, slope, queries);
      }
    }
    wait_copies<0>();
    const auto by = static_cast<float>(z.scale);
    F::store(static_cast<S*>(p.by_key) + key_head * z.s * z.e, k0 + warp_row, z.s, z.e, by_key[0], by, by);
    F::store(static_cast<S*>(p.by_value) + key_head * z.s * z.ev, k0 + warp_row, z.s, z.ev, by_value[0], 1.0f, 1.0f);
  }
}

inline bool suits_tensor_cores(const AttentionSizes& z) noexcept {
  const int most = z.e > z.ev ? z.e : z.ev;
  return card().major >= 8 && z.e > 0 && z.ev > 0 && most <= 128;
}
// Calls f with the number of elements that vectors are filled up to.
template <class F>
void with_head(const AttentionSizes& z, F&& f) noexcept {
  if (z.e <= 64 && z.ev <= 64) {
    f.template operator()<64>();
  } else {
    f.template operator()<128>();
  }
}

}  // namespace

template <class S>
bool attention_by_tensor_cores(const KernelArgs& args, const ForwardProblem& p) noexcept {
  if (!suits_tensor_cores(p.z) || !p.q.packs || !p.k.packs || !p.v.packs) return false;
  with_head(p.z, [&]<int kHead>() {
    const int64_t work = p.z.heads * ceil_div(p.z.l, kQueryTile);
    if (work == 0) return;
    const auto kernel = &tensor_forward_kernel<S, kHead>;
    allow_shared(kernel, kForwardBytes<kHead>);
    kernel<<<blocks_for(work), kTensorThreads, kForwardBytes<kHead>, stream_of(args)>>>(p, work);
  });
  return true;
}

template <class S>
bool attention_backward_by_tensor_cores(const KernelArgs& args, const BackwardProblem& p) noexcept {
  if (!suits_tensor_cores(p.z) || !p.q.packs || !p.k.packs || !p.v.packs || !p.g.packs) return false;
  with_head(p.z, [&]<int kHead>() {
    const cudaStream_t stream = stream_of(args);
    const int64_t query_work = p.z.heads * ceil_div(p.z.l, kSlab);
    if (query_work > 0) {
      const auto kernel = &tensor_query_kernel<S, kHead>;
      allow_shared(kernel, kBackwardBytes<kHead>);
      kernel<<<blocks_for(query_work), kTensorThreads, kBackwardBytes<kHead>, stream>>>(p, query_work);
    }
    const int64_t key_work = p.z.key_heads * ceil_div(p.z.s, kSlab);
    if (key_work > 0) {
      const auto kernel = &tensor_key_kernel<S, kHead>;
      allow_shared(kernel, kBackwardBytes<kHead>);
      kernel<<<blocks_for(key_work), kTensorThreads, kBackwardBytes<kHead>, stream>>>(p, key_work);
    }
  });
  return true;
}

}  // namespace gorgo::cuda

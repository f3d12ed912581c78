// Attention and its gradients by tiles of plain threads: every real dtype, head size and layout.
//
// 256 threads stand in a square of 16 by 16 and share two products. scores(): the products of kRows rows with 64 others, a few
// columns of both at a time through shared memory; a thread holds rows ty + 16 i against rows tx + 16 j. mix(): a tile of weights
// from shared memory times rows of another matrix; a thread holds rows ty + 16 i and four neighbouring columns of each 64. The
// columns of a result beyond what registers hold are left to other blocks, which make the same scores again.
// While a piece is computed, the next one is on its way to registers.
// Invariants: a product is summed from its first column to its last by one thread; rows and columns outside are read as zero.
// Compiled once for each dtype, by kernels_cuda_tiles_*.cu.
// Read next: kernels_cuda.cu.
#pragma once

#include "ops/attention/problem_cuda.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSquare = 16;
constexpr int kSide = 64;  // the other side of a tile of scores

template <class T>
struct Form;
template <>
struct Form<float> {
  static constexpr int kHeight = 4;  // rows of a thread
  static constexpr int kDepth = 32;  // columns, of rows that are multiplied, that lie in shared memory at a time
};
template <>
struct Form<double> {
  static constexpr int kHeight = 2;
  static constexpr int kDepth = 16;
};

GORGO_DEVICE float exp_of(float x) { return ::expf(x); }
GORGO_DEVICE double exp_of(double x) { return ::exp(x); }
GORGO_DEVICE float log_of(float x) { return ::logf(x); }
GORGO_DEVICE double log_of(double x) { return ::log(x); }
GORGO_DEVICE float larger(float a, float b) { return ::fmaxf(a, b); }
GORGO_DEVICE double larger(double a, double b) { return ::fmax(a, b); }

// One head's matrix.
template <class S>
struct Matrix {
  const S* data;
  int64_t row, column;
  int64_t rows;
  int columns;

  GORGO_DEVICE Matrix(const HeadMatrices& m, int64_t head, int64_t row_count, int column_count)
      : data(static_cast<const S*>(m.data) + head),
        row(m.row),
        column(m.column),
        rows(row_count),
        columns(column_count) {}
};

// As many elements as fit 16 bytes of the compute type.
template <class T>
constexpr int kLanes = 16 / static_cast<int>(sizeof(T));
template <class X, int kCount>
struct alignas(sizeof(X) * kCount) Pack {
  X x[kCount];
};

// A piece of a matrix on its way to shared memory: kRows by kColumns, laid kPitch apart. kPacks: HeadMatrices::packs.
template <class S, bool kPacks, int kRows, int kColumns, int kPitch>
class Piece {
  using T = ComputeType<S>;
  static constexpr int kWide = kLanes<T>;
  static constexpr int kPerRow = kColumns / kWide;
  static constexpr int kRowStep = kThreads / kPerRow;
  static constexpr int kCount = kRows / kRowStep;
  static_assert(kThreads % kPerRow == 0 && kRows % kRowStep == 0);
  Pack<T, kWide> held_[kCount];

 public:
  GORGO_DEVICE void fetch(const Matrix<S>& m, int64_t first_row, int first_column) {
    const int64_t row = first_row + static_cast<int>(threadIdx.x) / kPerRow;
    const int column = first_column + static_cast<int>(threadIdx.x) % kPerRow * kWide;
    const int64_t left = m.rows - row;
    if constexpr (kPacks) {
      const S* from = m.data + row * m.row + column;
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        Pack<S, kWide> stored{};
        if (k * kRowStep < left && column < m.columns) stored = *reinterpret_cast<const Pack<S, kWide>*>(from);
#pragma unroll
        for (int j = 0; j < kWide; ++j) held_[k].x[j] = Element<S>::value(stored.x[j]);
        from += kRowStep * m.row;
      }
    } else {
      const S* from = m.data + row * m.row + column * m.column;
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        const S* at = from;
#pragma unroll
        for (int j = 0; j < kWide; ++j) {
          held_[k].x[j] = k * kRowStep < left && column + j < m.columns ? Element<S>::value(*at) : T{0};
          at += m.column;
        }
        from += kRowStep * m.row;
      }
    }
  }
  GORGO_DEVICE void put(T* tile) const {
    T* to = tile + static_cast<int>(threadIdx.x) / kPerRow * kPitch + static_cast<int>(threadIdx.x) % kPerRow * kWide;
#pragma unroll
    for (int k = 0; k < kCount; ++k) *reinterpret_cast<Pack<T, kWide>*>(to + k * kRowStep * kPitch) = held_[k];
  }
};

// kWidth: results of a thread along a row, four in each 64 columns.
template <class S, int kWidth, bool kPacks>
class Tiles {
 public:
  using T = ComputeType<S>;
  static constexpr int kHeight = Form<T>::kHeight;
  static constexpr int kRows = kSquare * kHeight;
  static constexpr int kColumns = kWidth * kSquare;  // of a result
  using Scores = T[kHeight][4];
  using Results = T[kHeight][kWidth];

 private:
  static constexpr int kDepth = Form<T>::kDepth;
  static constexpr int kWide = kLanes<T>;
  static constexpr int kDepthPitch = kDepth + kWide;  // 16 bytes more, so that rows lie in different banks
  static constexpr int kWeightPitch = kSide + kWide;
  static constexpr int kProducts = (kRows + kSide) * kDepthPitch;
  static constexpr int kFactors = kDepth * kColumns;

 public:
  struct Shared {
    alignas(16) T pieces[kProducts > kFactors ? kProducts : kFactors];
    alignas(16) T weights[kRows * kWeightPitch];
  };

  GORGO_DEVICE explicit Tiles(Shared& shared)
      : shared_(shared), tx_(static_cast<int>(threadIdx.x) % kSquare), ty_(static_cast<int>(threadIdx.x) / kSquare) {}

  // Of the tile: the row of a thread's i-th row, the column of its j-th score.
  [[nodiscard]] GORGO_DEVICE int row(int i) const { return ty_ + kSquare * i; }
  [[nodiscard]] GORGO_DEVICE int other(int j) const { return tx_ + kSquare * j; }
  [[nodiscard]] GORGO_DEVICE int result_column(int j) const { return j / 4 * kSide + tx_ * 4 + j % 4; }

  // Rows [a0, a0 + kRows) of a times rows [b0, b0 + 64) of b.
  GORGO_DEVICE void scores(const Matrix<S>& a, int64_t a0, const Matrix<S>& b, int64_t b0, Scores& sum) {
    T* const left = shared_.pieces;
    T* const right = shared_.pieces + kRows * kDepthPitch;
    Piece<S, kPacks, kRows, kDepth, kDepthPitch> from_a;
    Piece<S, kPacks, kSide, kDepth, kDepthPitch> from_b;
    from_a.fetch(a, a0, 0);
    from_b.fetch(b, b0, 0);
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[i][j] = T{0};
    }
#pragma unroll 1
    for (int d = 0; d < a.columns; d += kDepth) {
      __syncthreads();
      from_a.put(left);
      from_b.put(right);
      __syncthreads();
      if (d + kDepth < a.columns) {
        from_a.fetch(a, a0, d + kDepth);
        from_b.fetch(b, b0, d + kDepth);
      }
#pragma unroll 1
      for (int c = 0; c < kDepth; c += kWide) {
        Pack<T, kWide> x[kHeight];
#pragma unroll
        for (int i = 0; i < kHeight; ++i) x[i] = pack_at(left + row(i) * kDepthPitch + c);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const auto y = pack_at(right + other(j) * kDepthPitch + c);
#pragma unroll
          for (int k = 0; k < kWide; ++k) {
#pragma unroll
            for (int i = 0; i < kHeight; ++i) sum[i][j] = multiply_add(x[i].x[k], y.x[k], sum[i][j]);
          }
        }
      }
    }
  }

  // Lays weights out for mix(). All threads have left the mix() before.
  GORGO_DEVICE void put_weights(const Scores& weights) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) shared_.weights[row(i) * kWeightPitch + other(j)] = weights[i][j];
    }
  }

  // Adds the weights times rows [b0, b0 + 64) of b, columns from `first_column` on.
  GORGO_DEVICE void mix(const Matrix<S>& b, int64_t b0, int first_column, Results& sum) {
    T* const factors = shared_.pieces;
    Piece<S, kPacks, kDepth, kColumns, kColumns> piece;
    piece.fetch(b, b0, first_column);
#pragma unroll 1
    for (int d = 0; d < kSide; d += kDepth) {
      __syncthreads();
      piece.put(factors);
      __syncthreads();
      if (d + kDepth < kSide) piece.fetch(b, b0 + d + kDepth, first_column);
#pragma unroll 1
      for (int c = 0; c < kDepth; c += kWide) {
        Pack<T, kWide> w[kHeight];
#pragma unroll
        for (int i = 0; i < kHeight; ++i) w[i] = pack_at(shared_.weights + row(i) * kWeightPitch + d + c);
#pragma unroll
        for (int k = 0; k < kWide; ++k) {
          T y[kWidth];
#pragma unroll
          for (int j = 0; j < kWidth; j += kWide) {
            const auto four = pack_at(factors + (c + k) * kColumns + result_column(j));
#pragma unroll
            for (int m = 0; m < kWide; ++m) y[j + m] = four.x[m];
          }
#pragma unroll
          for (int i = 0; i < kHeight; ++i) {
#pragma unroll
            for (int j = 0; j < kWidth; ++j) sum[i][j] = multiply_add(w[i].x[k], y[j], sum[i][j]);
          }
        }
      }
    }
  }

  // Adds a mask whose element for the tile's corner is `corner`, for the first `rows` rows and `others` columns of the tile.
  GORGO_DEVICE void add_mask(const HeadMask& mask, int64_t corner, int64_t row_step, int64_t other_step, int rows,
                             int others, Scores& x) const {
    if (mask.is_bool) {
      add_mask_of(static_cast<const bool*>(mask.data) + corner, row_step, other_step, rows, others, x);
    } else {
      add_mask_of(static_cast<const S*>(mask.data) + corner, row_step, other_step, rows, others, x);
    }
  }

  // Over the threads that share rows.
  GORGO_DEVICE static T row_sum(T x) {
#pragma unroll
    for (int step = kSquare / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
  }
  GORGO_DEVICE static T row_top(T x) {
#pragma unroll
    for (int step = kSquare / 2; step > 0; step /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
  }
  GORGO_DEVICE static void clear(Results& x) {
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) x[i][j] = T{0};
    }
  }
  // Writes rows [first_row, ...) and columns [first_column, ...) of a dense matrix.
  GORGO_DEVICE void store(S* to, int64_t first_row, int64_t rows, int first_column, int columns,
                          const Results& x) const {
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
      const int64_t at = first_row + row(i);
      if (at >= rows) continue;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const int column = first_column + result_column(j);
        if (column < columns) to[at * columns + column] = Element<S>::round(x[i][j]);
      }
    }
  }

 private:
  template <class M>
  GORGO_DEVICE void add_mask_of(const M* corner, int64_t row_step, int64_t other_step, int rows, int others,
                                Scores& x) const {
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
      const M* at = corner + row(i) * row_step + other(0) * other_step;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (row(i) < rows && other(j) < others) {
          if constexpr (std::is_same_v<M, bool>) {
            if (!*at) x[i][j] = -std::numeric_limits<T>::infinity();
          } else {
            x[i][j] += Element<M>::value(*at);
          }
        }
        at += kSquare * other_step;
      }
    }
  }
  GORGO_DEVICE static Pack<T, kWide> pack_at(const T* p) { return *reinterpret_cast<const Pack<T, kWide>*>(p); }

  Shared& shared_;
  int tx_;
  int ty_;
};

template <class T>
GORGO_DEVICE T never() {
  return -std::numeric_limits<T>::infinity();
}

// A distance as far as a tile can tell.
GORGO_DEVICE int within(int64_t distance) {
  return static_cast<int>(distance < -kSide ? -kSide : distance > kSide ? kSide : distance);
}

template <class S, int kWidth, bool kPacks>
__global__ void __launch_bounds__(kThreads, kPacks ? 2 : 1)
    forward_kernel(const __grid_constant__ ForwardProblem p, int64_t work) {
  using Tile = Tiles<S, kWidth, kPacks>;
  using T = typename Tile::T;
  constexpr int kHeight = Tile::kHeight;
  __shared__ typename Tile::Shared shared;
  Tile tile(shared);
  const AttentionSizes& z = p.z;
  const int64_t blocks = (z.l + Tile::kRows - 1) / Tile::kRows;
  const int64_t parts = z.ev <= Tile::kColumns ? 1 : (z.ev + Tile::kColumns - 1) / Tile::kColumns;
  const T scale = static_cast<T>(z.scale);
  for (int64_t at = blockIdx.x; at < work; at += gridDim.x) {
    const int64_t head = at / (blocks * parts);
    const int64_t rest = at - head * (blocks * parts);
    // The later a block of queries, the more keys it may see: those first.
    const int64_t q0 = (blocks - 1 - rest / parts) * Tile::kRows;
    const auto c0 = static_cast<int>(rest % parts) * Tile::kColumns;
    int64_t query_at[2];
    int64_t key_at[2];
    p.query_heads.at(head, query_at);
    p.key_heads.at(head / z.group, key_at);
    const Matrix<S> q(p.q, query_at[0], z.l, z.e);
    const Matrix<S> k(p.k, key_at[0], z.s, z.e);
    const Matrix<S> v(p.v, key_at[1], z.s, z.ev);

    typename Tile::Results out;
    Tile::clear(out);
    T top[kHeight];
    T sum[kHeight];
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
      top[i] = never<T>();
      sum[i] = T{0};
    }
    const int64_t seen = z.keys_seen(q0, Tile::kRows);
    for (int64_t k0 = 0; k0 < seen; k0 += kSide) {
      typename Tile::Scores w;
      tile.scores(q, q0, k, k0, w);
      const int keys = within(z.s - k0);
      const int ahead = z.causal ? within(q0 - k0) : kSide;
#pragma unroll
      for (int i = 0; i < kHeight; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) w[i][j] *= scale;
      }
      if (p.mask.data != nullptr) {
        tile.add_mask(p.mask, query_at[1] + q0 * p.mask.row + k0 * p.mask.column, p.mask.row, p.mask.column,
                      within(z.l - q0), keys, w);
      }
#pragma unroll
      for (int i = 0; i < kHeight; ++i) {
        T most = never<T>();
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const bool visible = tile.other(j) < keys && tile.other(j) <= tile.row(i) + ahead;
          w[i][j] = visible ? w[i][j] : never<T>();
          most = larger(most, w[i][j]);
        }
        const T now = larger(top[i], Tile::row_top(most));
        const T from = now == never<T>() ? T{0} : now;
        T added = T{0};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          w[i][j] = exp_of(w[i][j] - from);
          added += w[i][j];
        }
        const T less = exp_of(top[i] - from);
        sum[i] = sum[i] * less + Tile::row_sum(added);
        top[i] = now;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) out[i][j] *= less;
      }
      tile.put_weights(w);
      tile.mix(v, k0, c0, out);
    }
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
      const int64_t query = q0 + tile.row(i);
      const bool blind = sum[i] == T{0};  // sees no key
      const T by = T{1} / sum[i];
#pragma unroll
      for (int j = 0; j < kWidth; ++j) out[i][j] = blind ? T{0} : out[i][j] * by;
      if (c0 == 0 && tile.other(0) == 0 && query < z.l) {
        static_cast<T*>(p.log_sum)[head * z.l + query] = blind ? never<T>() : top[i] + log_of(sum[i]);
      }
    }
    tile.store(static_cast<S*>(p.out) + head * z.l * z.ev, q0, z.l, c0, z.ev, out);
  }
}

// What the gradient kernels know of one row of scores.
template <class T>
struct RowFacts {
  T log_sum;
  T common;
};

// A weight and the gradient of its scaled score, from the masked score and the product of g and value.
template <class T>
GORGO_DEVICE void weigh(bool visible, const RowFacts<T>& row, T scale, T& score, T& slope) {
  visible = visible && row.log_sum != -never<T>();
  score = visible ? exp_of(score - row.log_sum) : T{0};
  slope = visible ? score * (slope - row.common) * scale : T{0};
}

template <class T>
GORGO_DEVICE RowFacts<T> facts_of(const BackwardProblem& p, int64_t head, int64_t query) {
  if (query >= p.z.l) return {-never<T>(), T{0}};
  const int64_t row = head * p.z.l + query;
  return {static_cast<const T*>(p.logs)[row], static_cast<const T*>(p.common)[row]};
}

// Rows are queries, others are keys.
template <class S, int kWidth, bool kPacks>
__global__ void __launch_bounds__(kThreads) query_kernel(const __grid_constant__ BackwardProblem p, int64_t work) {
  using Tile = Tiles<S, kWidth, kPacks>;
  using T = typename Tile::T;
  constexpr int kHeight = Tile::kHeight;
  __shared__ typename Tile::Shared shared;
  Tile tile(shared);
  const AttentionSizes& z = p.z;
  const T scale = static_cast<T>(z.scale);
  const int64_t blocks = (z.l + Tile::kRows - 1) / Tile::kRows;
  const int64_t parts = (z.e + Tile::kColumns - 1) / Tile::kColumns;
  for (int64_t at = blockIdx.x; at < work; at += gridDim.x) {
    const int64_t head = at / (blocks * parts);
    const int64_t rest = at - head * (blocks * parts);
    const int64_t q0 = (blocks - 1 - rest / parts) * Tile::kRows;
    const auto c0 = static_cast<int>(rest % parts) * Tile::kColumns;
    int64_t query_at[3];
    int64_t key_at[2];
    p.query_heads.at(head, query_at);
    p.key_heads.at(head / z.group, key_at);
    const Matrix<S> q(p.q, query_at[0], z.l, z.e);
    const Matrix<S> g(p.g, query_at[1], z.l, z.ev);
    const Matrix<S> k(p.k, key_at[0], z.s, z.e);
    const Matrix<S> v(p.v, key_at[1], z.s, z.ev);
    RowFacts<T> facts[kHeight];
#pragma unroll
    for (int i = 0; i < kHeight; ++i) facts[i] = facts_of<T>(p, head, q0 + tile.row(i));

    typename Tile::Results by_query;
    Tile::clear(by_query);
    const int64_t seen = z.keys_seen(q0, Tile::kRows);
    for (int64_t k0 = 0; k0 < seen; k0 += kSide) {
      typename Tile::Scores w;
      typename Tile::Scores slope;
      tile.scores(q, q0, k, k0, w);
      tile.scores(g, q0, v, k0, slope);
      const int keys = within(z.s - k0);
      const int ahead = z.causal ? within(q0 - k0) : kSide;
#pragma unroll
      for (int i = 0; i < kHeight; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) w[i][j] *= scale;
      }
      if (p.mask.data != nullptr) {
        tile.add_mask(p.mask, query_at[2] + q0 * p.mask.row + k0 * p.mask.column, p.mask.row, p.mask.column,
                      within(z.l - q0), keys, w);
      }
#pragma unroll
      for (int i = 0; i < kHeight; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const bool visible = tile.other(j) < keys && tile.other(j) <= tile.row(i) + ahead;
          weigh(visible, facts[i], scale, w[i][j], slope[i][j]);
        }
      }
      tile.put_weights(slope);
      tile.mix(k, k0, c0, by_query);
    }
    tile.store(static_cast<S*>(p.by_query) + head * z.l * z.e, q0, z.l, c0, z.e, by_query);
  }
}

// Rows are keys, others are queries, of all heads that share the keys.
template <class S, int kWidth, bool kPacks>
__global__ void __launch_bounds__(kThreads) key_kernel(const __grid_constant__ BackwardProblem p, int64_t work) {
  using Tile = Tiles<S, kWidth, kPacks>;
  using T = typename Tile::T;
  constexpr int kHeight = Tile::kHeight;
  __shared__ typename Tile::Shared shared;
  Tile tile(shared);
  const AttentionSizes& z = p.z;
  const T scale = static_cast<T>(z.scale);
  const int64_t blocks = (z.s + Tile::kRows - 1) / Tile::kRows;
  const int64_t parts = ((z.e > z.ev ? z.e : z.ev) + Tile::kColumns - 1) / Tile::kColumns;
  for (int64_t at = blockIdx.x; at < work; at += gridDim.x) {
    const int64_t key_head = at / (blocks * parts);
    const int64_t rest = at - key_head * (blocks * parts);
    const int64_t k0 = rest / parts * Tile::kRows;
    const auto c0 = static_cast<int>(rest % parts) * Tile::kColumns;
    int64_t key_at[2];
    p.key_heads.at(key_head, key_at);
    const Matrix<S> k(p.k, key_at[0], z.s, z.e);
    const Matrix<S> v(p.v, key_at[1], z.s, z.ev);

    typename Tile::Results by_key;
    typename Tile::Results by_value;
    Tile::clear(by_key);
    Tile::clear(by_value);
    for (int64_t head = key_head * z.group; head < (key_head + 1) * z.group; ++head) {
      int64_t query_at[3];
      p.query_heads.at(head, query_at);
      const Matrix<S> q(p.q, query_at[0], z.l, z.e);
      const Matrix<S> g(p.g, query_at[1], z.l, z.ev);
      for (int64_t q0 = z.causal ? k0 / kSide * kSide : 0; q0 < z.l; q0 += kSide) {
        typename Tile::Scores w;
        typename Tile::Scores slope;
        tile.scores(k, k0, q, q0, w);
        tile.scores(v, k0, g, q0, slope);
        const int keys = within(z.s - k0);
        const int ahead = z.causal ? within(q0 - k0) : kSide;
#pragma unroll
        for (int i = 0; i < kHeight; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) w[i][j] *= scale;
        }
        if (p.mask.data != nullptr) {
          tile.add_mask(p.mask, query_at[2] + q0 * p.mask.row + k0 * p.mask.column, p.mask.column, p.mask.row, keys,
                        within(z.l - q0), w);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const RowFacts<T> facts = facts_of<T>(p, head, q0 + tile.other(j));
#pragma unroll
          for (int i = 0; i < kHeight; ++i) {
            const bool visible = tile.row(i) < keys && tile.row(i) <= tile.other(j) + ahead;
            weigh(visible, facts, scale, w[i][j], slope[i][j]);
          }
        }
        if (c0 < z.ev) {
          tile.put_weights(w);
          tile.mix(g, q0, c0, by_value);
        }
        if (c0 < z.e) {
          tile.put_weights(slope);
          tile.mix(q, q0, c0, by_key);
        }
      }
    }
    tile.store(static_cast<S*>(p.by_key) + key_head * z.s * z.e, k0, z.s, c0, z.e, by_key);
    tile.store(static_cast<S*>(p.by_value) + key_head * z.s * z.ev, k0, z.s, c0, z.ev, by_value);
  }
}

// Work items of a result of `rows` by `columns` for each of `heads`.
template <class Tile>
int64_t items(int64_t heads, int64_t rows, int64_t columns) noexcept {
  return heads * ceil_div(rows, Tile::kRows) * ceil_div(columns, Tile::kColumns);
}

// Calls f with tiles whose results are wide enough for `columns`, or as wide as registers allow.
template <class S, class F>
void with_tiles(int64_t columns, bool packs, F&& f) noexcept {
  if constexpr (sizeof(ComputeType<S>) == 4) {
    if (packs && columns > kSide) {
      f.template operator()<8, true>();
      return;
    }
  }
  if (packs) {
    f.template operator()<4, true>();
  } else {
    f.template operator()<4, false>();
  }
}

}  // namespace

template <class S>
void attention_by_tiles(const KernelArgs& args, const ForwardProblem& p) noexcept {
  with_tiles<S>(p.z.ev, p.q.packs && p.k.packs && p.v.packs, [&]<int kWidth, bool kPacks>() {
    // Without columns there are still logarithms.
    const int64_t work = items<Tiles<S, kWidth, kPacks>>(p.z.heads, p.z.l, p.z.ev < 1 ? 1 : p.z.ev);
    if (work > 0) forward_kernel<S, kWidth, kPacks><<<blocks_for(work), kThreads, 0, stream_of(args)>>>(p, work);
  });
}

template <class S>
void attention_backward_by_tiles(const KernelArgs& args, const BackwardProblem& p) noexcept {
  const int64_t most = p.z.e > p.z.ev ? p.z.e : p.z.ev;
  with_tiles<S>(most, p.q.packs && p.k.packs && p.v.packs && p.g.packs, [&]<int kWidth, bool kPacks>() {
    using Tile = Tiles<S, kWidth, kPacks>;
    const cudaStream_t stream = stream_of(args);
    const int64_t query_work = items<Tile>(p.z.heads, p.z.l, p.z.e);
    if (query_work > 0) query_kernel<S, kWidth, kPacks><<<blocks_for(query_work), kThreads, 0, stream>>>(p, query_work);
    const int64_t key_work = items<Tile>(p.z.key_heads, p.z.s, most);
    if (key_work > 0) key_kernel<S, kWidth, kPacks><<<blocks_for(key_work), kThreads, 0, stream>>>(p, key_work);
  });
}

}  // namespace gorgo::cuda

// Scaled dot-product attention and its gradients, block by block: the matrix of scores is never stored.
//
// Compiled once per ISA. Forward: a block of queries meets the blocks of keys in order; a running maximum and sum turn scores
// into weights, and what was summed so far is scaled when the maximum moves. Scores are held transposed, a query to a lane, so
// that maximum and sum need no work across lanes and nothing is packed between the two products. Backward: a block of keys
// meets the blocks of queries; scores are made again from the stored logarithm of each row's sum.
// Invariants: what a query yields depends on its own row and the keys alone; sums over keys and over queries run in an order set
// by the shapes, so threads change nothing. Half types are computed in float.
// Source: Dao et al., "FlashAttention", NeurIPS 2022; Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018.
// Read next: kernels/gemm/gemm.h, attention.cpp.
#include "core/counts.h"
#include "kernels/fold.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pack.h"
#include "kernels/move.h"
#include "ops/attention/attrs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kQueries = 64;  // of a block
template <class T>
constexpr int64_t kKeys = sizeof(T) == 4 ? 128 : 64;
constexpr int64_t kThreadWork = 256 * 1024;  // multiply-adds worth a thread
constexpr int64_t kManyHeads = 8;            // heads enough to be shared out among threads whole
constexpr int64_t kStageGrain = 16384;
constexpr int64_t kLine = 16;  // scratch is cut at multiples of so many elements

GORGO_INLINE int64_t in_lines(int64_t n) { return round_up(n, kLine); }

// Operands 0 to 3: queries (..., h, l, e), keys (..., hk, s, e), values (..., hk, s, ev), mask broadcast to (..., h, l, s).
struct AttentionSizes {
  int64_t heads, key_heads;  // over all leading axes
  int64_t group;             // heads that share one of keys and values
  int64_t l, s, e, ev;
  double scale;
  bool causal;

  GORGO_INLINE explicit AttentionSizes(const KernelArgs& args) noexcept {
    const KOperand& q = args.in[0];
    const KOperand& k = args.in[1];
    const KOperand& v = args.in[2];
    const int r = q.rank;
    heads = key_heads = 1;
    for (int i = 0; i < r - 2; ++i) {
      heads *= q.shape[i];
      key_heads *= k.shape[i];
    }
    group = r > 2 && k.shape[r - 3] > 0 ? q.shape[r - 3] / k.shape[r - 3] : 1;
    l = q.shape[r - 2];
    s = k.shape[r - 2];
    e = q.shape[r - 1];
    ev = v.shape[r - 1];
    const auto& a = args.attrs_as<AttentionAttrs>();
    causal = a.is_causal;
    scale = a.scale.has ? a.scale.value : 1.0 / __builtin_sqrt(static_cast<double>(e < 1 ? 1 : e));
  }
  // Keys that the block of queries from `q0` on may look at.
  [[nodiscard]] GORGO_INLINE int64_t keys_seen(int64_t q0) const noexcept {
    return causal ? least(s, q0 + least(kQueries, l - q0)) : s;
  }
  // The first block of queries that looks at keys from `k0` on.
  [[nodiscard]] GORGO_INLINE int64_t first_query_block(int64_t k0) const noexcept { return causal ? k0 / kQueries : 0; }
};

// Where the matrix of one head begins; heads are numbered in row-major order.
GORGO_INLINE int64_t head_offset(const KOperand& x, int64_t head) noexcept {
  int64_t at = 0;
  for (int i = x.rank - 3; i >= 0; --i) {
    at += head % x.shape[i] * x.strides[i];
    head /= x.shape[i];
  }
  return at;
}

// Is an operand read where it lies? Products want the compute type and neighbours side by side.
template <class S>
GORGO_INLINE bool is_staged(const KOperand& x) noexcept {
  return kIsHalf<S> || (x.strides[x.rank - 1] != 1 && x.shape[x.rank - 1] != 1);
}
template <class S>
GORGO_INLINE int64_t staged_elements(const KOperand& x) noexcept {
  return is_staged<S>(x) ? in_lines(x.numel) : 0;
}

template <class T>
struct Matrix {
  const T* data;
  int64_t stride;  // from row to row
};
// The matrix of a head, from the copy if there is one.
template <class S, class T = ComputeType<S>>
GORGO_INLINE Matrix<T> matrix_of(const KOperand& x, const T* copy, int64_t head) noexcept {
  const int64_t columns = x.shape[x.rank - 1];
  if (is_staged<S>(x)) return {copy + head * x.shape[x.rank - 2] * columns, columns};
  if constexpr (kIsHalf<S>) {
    return {nullptr, 0};
  } else {
    return {x.as<const T>() + head_offset(x, head), x.strides[x.rank - 2]};
  }
}

// Copies rows [task * rows per task, ...) of an operand, converted, into a dense array.
GORGO_INLINE int64_t rows_per_stage_task(const KOperand& x) noexcept {
  const int64_t columns = x.shape[x.rank - 1];
  return columns >= kStageGrain ? 1 : kStageGrain / (columns < 1 ? 1 : columns);
}
template <class S>
GORGO_INLINE int64_t stage_tasks(const KOperand& x) noexcept {
  if (!is_staged<S>(x) || x.numel == 0) return 0;
  return ceil_div(x.numel / x.shape[x.rank - 1], rows_per_stage_task(x));
}
template <class S, class T = ComputeType<S>>
void stage(const KOperand& x, T* copy, int64_t task) noexcept {
  const int64_t columns = x.shape[x.rank - 1];
  const int64_t rows = x.shape[x.rank - 2];
  const int64_t step = x.strides[x.rank - 1];
  const int64_t each = rows_per_stage_task(x);
  const int64_t end = least((task + 1) * each, x.numel / columns);
  for (int64_t row = task * each; row < end; ++row) {
    const S* from = x.as<const S>() + head_offset(x, row / rows) + row % rows * x.strides[x.rank - 2];
    T* to = copy + row * columns;
    for (int64_t i = 0; i < columns; ++i) to[i] = static_cast<T>(from[i * step]);
  }
}

// The mask's elements for one head, as numbers to be added to scores.
template <class S>
struct Mask2 {
  const KOperand* x = nullptr;
  int64_t base = 0;
  int64_t row = 0;
  int64_t column = 0;

  GORGO_INLINE Mask2(const KernelArgs& args, int64_t head) noexcept {
    if (args.in_count <= 3 || !args.in[3].given) return;
    x = &args.in[3];
    const KOperand& q = args.in[0];
    const int r = q.rank;
    for (int i = r - 3; i >= 0; --i) {
      base += head % q.shape[i] * stride_along(*x, r, i, q.shape[i]);
      head /= q.shape[i];
    }
    row = stride_along(*x, r, r - 2, q.shape[r - 2]);
    column = stride_along(*x, r, r - 1, args.in[1].shape[r - 2]);
  }
  template <class T>
  [[nodiscard]] GORGO_INLINE T at(int64_t i, int64_t j) const noexcept {
    const int64_t k = base + i * row + j * column;
    if (x->dtype == DType::Bool) return x->as<const bool>()[k] ? T{0} : -std::numeric_limits<T>::infinity();
    return static_cast<T>(static_cast<ComputeType<S>>(x->as<const S>()[k]));
  }
};

// c = a b, or c += a b, on this thread. Every product of this file reads b in place, which needs no scratch.
template <class T>
struct Product {
  int64_t m, n, k;
  const T* a;
  int64_t a_row, a_column;
  const T* b;
  int64_t b_row;
  T* c;
  int64_t c_row;
  bool accumulate;

  GORGO_INLINE void run() const noexcept {
    GemmProblem p;
    p.m = m;
    p.n = n;
    p.k = k;
    p.a = a;
    p.a_row_stride = a_row;
    p.a_col_stride = a_column;
    p.b = b;
    p.b_row_stride = b_row;
    p.b_col_stride = 1;
    p.c = c;
    p.c_row_stride = c_row;
    p.accumulate = accumulate;
    const int64_t tasks = gemm_tasks<T>(p);
    for (int64_t i = 0; i < tasks; ++i) gemm_run<T>(p, nullptr, i);
  }
};

// to[d][i] = rows of x transposed, `width` columns of `to`; those from `rows` up to the next whole vector are zero.
template <class T>
void transpose(T* to, int64_t width, const Matrix<T>& x, int64_t rows, int64_t columns) noexcept {
  constexpr int kWidth = Lanes<T>::kWidth;
  for (int64_t i = 0; i < rows; i += kWidth) {
    const auto count = static_cast<int>(least(kWidth, rows - i));
    for (int64_t d = 0; d < columns; d += kWidth) {
      const T* from = x.data + i * x.stride + d;
      if (d + kWidth <= columns) {
        transpose_block<T, false>(to + d * width + i, width, from, x.stride, count, kWidth);
      } else {
        transpose_block<T, true>(to + d * width + i, width, from, x.stride, count, static_cast<int>(columns - d));
      }
    }
  }
}

template <class T>
constexpr int kLanesOf = kVectorBytes / static_cast<int>(sizeof(T));

// Scores are counted in units of ln 2 where powers of 2 are cheaper than those of e.
template <class T>
constexpr bool kBinary = std::is_same_v<T, float>;
template <class T>
constexpr double kPerUnit = kBinary<T> ? 0.693147180559945309417 : 1.0;

// 2^r = 1 + r P(r) on |r| <= 1/2, relative error 3e-9.
constexpr float kPowerP[] = {0x1.62e430p-1f, 0x1.ebfbdcp-3f,  0x1.c6af7ap-5f,
                             0x1.3b2dd2p-7f, 0x1.5f0948p-10f, 0x1.417a9cp-13f};
// The weight of a score x <= 0. Powers of 2 are within 1 ulp, and what is below 2^-126 may be 0; NaN stays.
template <int N>
GORGO_INLINE Vec<float, N> weight_of(Vec<float, N> x) {
  using V = Vec<float, N>;
  using I = Vec<int32_t, N>;
  const auto one = broadcast<V>(1.0f);
  // So low that the power is 0: by its rounding, or by an exponent of 0.
  const auto z = at_least(x, broadcast<V>(kHasTimesPower<float, N> ? -160.0f : -127.0f));
  const auto magic = broadcast<V>(Ln2<float>::kMagic);
  const auto shifted = z + magic;
  const auto whole = shifted - magic;
  const auto r = z - whole;
  const auto p = mul_add(r, polynomial(r, kPowerP), one);
  if constexpr (kHasTimesPower<float, N>) {
    return times_power_of_two(p, whole);
  } else {
    return p * power_of_two(I{bits_as<int32_t>(shifted) - bits_as<int32_t>(magic)});
  }
}
template <int N>
GORGO_INLINE Vec<double, N> weight_of(Vec<double, N> x) {
  return exp(x);
}

// Operands: queries, keys, values, mask; results: (..., h, l, ev) and the logarithms of the rows' sums (..., h, l).
template <class S>
struct Forward {
  using T = ComputeType<S>;
  using V = Vec<T, kLanesOf<T>>;
  static constexpr int kWide = kLanesOf<T>;
  static constexpr T kNever = -std::numeric_limits<T>::infinity();

  static T* copy_of(const KernelArgs& args, int i) noexcept {
    T* p = static_cast<T*>(args.scratch);
    for (int j = 0; j < i; ++j) p += staged_elements<S>(args.in[j]);
    return p;
  }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    int64_t n = kIsHalf<S> ? args.out[0].numel : 0;
    for (int j = 0; j < 3; ++j) n += staged_elements<S>(args.in[j]);
    return static_cast<size_t>(n) * sizeof(T);
  }
  static int64_t staging_tasks(const KernelArgs& args) noexcept {
    int64_t n = 0;
    for (int j = 0; j < 3; ++j) n += stage_tasks<S>(args.in[j]);
    return n;
  }
  static void staging(const KernelArgs& args, int64_t task) noexcept {
    for (int j = 0; j < 3; ++j) {
      const int64_t n = stage_tasks<S>(args.in[j]);
      if (task < n) return stage<S>(args.in[j], copy_of(args, j), task);
      task -= n;
    }
  }
  static int64_t blocks_per_task(const AttentionSizes& z) noexcept {
    const int64_t work = least(kQueries, z.l) * z.s * (z.e + z.ev) + 1;
    return work >= kThreadWork ? 1 : kThreadWork / work;
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const AttentionSizes z(args);
    return ceil_div(z.heads * ceil_div(z.l, kQueries), blocks_per_task(z));
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const AttentionSizes z(args);
    const int64_t each = blocks_per_task(z);
    const int64_t per_head = ceil_div(z.l, kQueries);
    const int64_t end = least((task + 1) * each, z.heads * per_head);
    for (int64_t i = task * each; i < end; ++i) block(args, z, i / per_head, i % per_head * kQueries);
  }

  static void block(const KernelArgs& args, const AttentionSizes& z, int64_t head, int64_t q0) noexcept {
    alignas(64) T queries[kMaxHeadSize * kQueries];  // transposed
    alignas(64) T scores[kKeys<T> * kQueries];       // key by query, then the weights
    alignas(64) T top[kQueries];
    alignas(64) T sum[kQueries];
    alignas(64) T shrink[kQueries];
    const int64_t nq = least(kQueries, z.l - q0);
    const int64_t whole = (nq + kWide - 1) / kWide * kWide;
    const int64_t key_head = head / z.group;
    Matrix<T> q = matrix_of<S>(args.in[0], copy_of(args, 0), head);
    const Matrix<T> k = matrix_of<S>(args.in[1], copy_of(args, 1), key_head);
    const Matrix<T> v = matrix_of<S>(args.in[2], copy_of(args, 2), key_head);
    const Mask2<S> mask(args, head);
    q.data += q0 * q.stride;
    transpose<T>(queries, kQueries, q, nq, z.e);
    const auto scale = static_cast<T>(z.scale / kPerUnit<T>);
    for (int64_t j = 0; j < z.e; ++j) {
      for (int64_t i = 0; i < nq; ++i) queries[j * kQueries + i] *= scale;
    }
    const int64_t first_row = head * z.l + q0;
    T* out;
    if constexpr (kIsHalf<S>) {
      out = copy_of(args, 3) + first_row * z.ev;
    } else {
      out = args.out[0].as<T>() + first_row * z.ev;
    }
    for (int64_t i = 0; i < whole; ++i) {
      top[i] = kNever;
      sum[i] = T{0};
    }
    const V never = broadcast<V>(kNever);
    const V zero = broadcast<V>(T{0});
    const int64_t seen = z.keys_seen(q0);
    for (int64_t k0 = 0; k0 < seen; k0 += kKeys<T>) {
      const int64_t nk = least(kKeys<T>, seen - k0);
      Product<T>{nk, whole, z.e, k.data + k0 * k.stride, k.stride, 1, queries, kQueries, scores, kQueries, false}.run();
      hide(mask, z, scores, q0, nq, k0, nk);
      bool moves = false;
      // What the next products read is fetched while scores become weights.
      const Matrix<T> values{v.data + k0 * v.stride, v.stride};
      const int64_t keys_left = least(kKeys<T>, seen - k0 - nk);
      const int64_t ahead = keys_left > 0 ? keys_left : least(kQueries, z.l - q0 - nq);
      const Matrix<T>& next = keys_left > 0 ? k : q;
      const T* next_rows = next.data + (keys_left > 0 ? k0 + nk : ahead > 0 ? nq : 0) * next.stride;
      for (int64_t i = 0; i < whole; i += kWide) {
        const T* column = scores + i;
        V most = load<T, kWide>(column);
        // A NaN may get lost here; its weight is one all the same, and so the sum.
        for (int64_t j = 1; j < nk; ++j) most = at_least(load<T, kWide>(column + j * kQueries), most);
        const V before = load<T, kWide>(top + i);
        const V now = at_least(most, before);
        const V from = select(now == never, zero, now);
        V added = zero;
        for (int64_t j = 0; j < nk; ++j) {
          __builtin_prefetch(values.data + j * values.stride + least(i, z.ev - 1), 0, 2);
          if (j < ahead) __builtin_prefetch(next_rows + j * next.stride + least(i, z.e - 1), 0, 2);
          const V w = weight_of(load<T, kWide>(column + j * kQueries) - from);
          store(scores + j * kQueries + i, w);
          added = added + w;
        }
        const V less = weight_of(before - from);
        store(top + i, now);
        store(shrink + i, less);
        store(sum + i, load<T, kWide>(sum + i) * less + added);
        moves = moves || any(less != broadcast<V>(T{1}));
      }
      if (k0 > 0 && moves) scale_rows(out, z.ev, shrink, nq);
      Product<T>{nq, z.ev, nk, scores, 1, kQueries, v.data + k0 * v.stride, v.stride, out, z.ev, k0 > 0}.run();
    }
    T* logs = args.out[1].as<T>() + first_row;
    for (int64_t i = 0; i < whole; i += kWide) {
      const V total = load<T, kWide>(sum + i);
      const V now = load<T, kWide>(top + i);
      const V in_units = now * broadcast<V>(static_cast<T>(kPerUnit<T>));
      const V log_sum = select(total == zero, never, in_units + log(total));
      store_partial(logs + i, log_sum, static_cast<int>(least(kWide, nq - i)));
      // A query that sees no key yields zero.
      store(shrink + i, select(total == zero, zero, broadcast<V>(T{1}) / total));
    }
    if (seen <= 0) {
      for (int64_t i = 0; i < nq * z.ev; ++i) out[i] = T{0};
    } else {
      scale_rows(out, z.ev, shrink, nq);
    }
    if constexpr (kIsHalf<S>) {
      S* to = args.out[0].as<S>() + first_row * z.ev;
      for (int64_t i = 0; i < nq * z.ev; ++i) to[i] = static_cast<S>(out[i]);
    }
  }
  static void scale_rows(T* x, int64_t columns, const T* by, int64_t rows) noexcept {
    for (int64_t i = 0; i < rows; ++i, x += columns) {
      const V f = broadcast<V>(by[i]);
      int64_t j = 0;
      for (; j + kWide <= columns; j += kWide) store(x + j, load<T, kWide>(x + j) * f);
      for (; j < columns; ++j) x[j] *= by[i];
    }
  }
  // Adds the mask, and takes away keys behind the query.
  static void hide(const Mask2<S>& mask, const AttentionSizes& z, T* scores, int64_t q0, int64_t nq, int64_t k0,
                   int64_t nk) noexcept {
    constexpr auto per_unit = static_cast<T>(1.0 / kPerUnit<T>);
    if (mask.x != nullptr && mask.row == 0) {
      for (int64_t j = 0; j < nk; ++j) {
        const T add = mask.template at<T>(0, k0 + j) * per_unit;
        for (int64_t i = 0; i < nq; ++i) scores[j * kQueries + i] += add;
      }
    } else if (mask.x != nullptr) {
      for (int64_t i = 0; i < nq; ++i) {
        for (int64_t j = 0; j < nk; ++j) scores[j * kQueries + i] += mask.template at<T>(q0 + i, k0 + j) * per_unit;
      }
    }
    if (!z.causal) return;
    for (int64_t j = 0; j < nk; ++j) {
      const int64_t hidden = least(nq, k0 + j - q0);  // queries before the key
      for (int64_t i = 0; i < hidden; ++i) scores[j * kQueries + i] = kNever;
    }
  }
  static Kernel kernel() noexcept { return Kernel::of({staging, staging_tasks}, {run, tasks}, scratch_bytes); }
};

// Operands: those of Forward, its two results (4, 5), and what arrives at them (6, 7; 7 may be absent). Results: gradients by
// queries, keys, values.
template <class S>
struct Backward {
  using T = ComputeType<S>;
  using V = Vec<T, kLanesOf<T>>;
  static constexpr int kWide = kLanesOf<T>;
  static constexpr int64_t kBlock = kKeys<T>;
  static constexpr int kStagedInputs[4] = {0, 1, 2, 6};
  static constexpr int64_t kDeltaRows = 64;

  // Scratch: copies of queries, keys, values and g; a number for each row; for half types, the results in float; what groups
  // of keys hand to the queries.
  static T* copy_of(const KernelArgs& args, int i) noexcept {
    T* p = static_cast<T*>(args.scratch);
    for (int j = 0; j < i; ++j) p += staged_elements<S>(args.in[kStagedInputs[j]]);
    return p;
  }
  static T* delta_of(const KernelArgs& args) noexcept { return copy_of(args, 4); }
  // Result i; 3 is what follows them in scratch.
  static T* result_of(const KernelArgs& args, int i) noexcept {
    if (!kIsHalf<S> && i < 3) return args.out[i].as<T>();
    T* p = delta_of(args) + in_lines(args.in[5].numel);
    for (int j = 0; kIsHalf<S> && j < i; ++j) p += in_lines(args.out[j].numel);
    return p;
  }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    int64_t n = in_lines(args.in[5].numel);
    for (const int i : kStagedInputs) n += staged_elements<S>(args.in[i]);
    if (kIsHalf<S>) {
      for (int j = 0; j < 3; ++j) n += in_lines(args.out[j].numel);
    }
    const int64_t groups = groups_of(AttentionSizes(args));
    if (groups > 1) n += groups * in_lines(args.out[0].numel);
    return static_cast<size_t>(n) * sizeof(T);
  }

  static int64_t staging_tasks(const KernelArgs& args) noexcept {
    int64_t n = 0;
    for (const int i : kStagedInputs) n += stage_tasks<S>(args.in[i]);
    return n + ceil_div(args.in[5].numel, kDeltaRows);
  }
  static void staging(const KernelArgs& args, int64_t task) noexcept {
    for (int j = 0; j < 4; ++j) {
      const KOperand& x = args.in[kStagedInputs[j]];
      const int64_t n = stage_tasks<S>(x);
      if (task < n) return stage<S>(x, copy_of(args, j), task);
      task -= n;
    }
    delta(args, task);
  }
  // For each row, what its weights' gradients have in common: the product of result and g, less what arrives at the logarithm.
  static void delta(const KernelArgs& args, int64_t task) noexcept {
    const AttentionSizes z(args);
    const KOperand& out = args.in[4];
    const KOperand& g = args.in[6];
    const bool has_log = args.in_count > 7 && args.in[7].given;
    const int64_t end = least((task + 1) * kDeltaRows, args.in[5].numel);
    for (int64_t row = task * kDeltaRows; row < end; ++row) {
      const int64_t head = row / z.l;
      const int64_t i = row % z.l;
      const S* y = out.as<const S>() + head_offset(out, head) + i * out.strides[out.rank - 2];
      const S* gy = g.as<const S>() + head_offset(g, head) + i * g.strides[g.rank - 2];
      const int64_t y_step = out.strides[out.rank - 1];
      const int64_t g_step = g.strides[g.rank - 1];
      double sum = 0.0;
      for (int64_t c = 0; c < z.ev; ++c) {
        sum += static_cast<double>(static_cast<T>(y[c * y_step])) * static_cast<double>(static_cast<T>(gy[c * g_step]));
      }
      if (has_log) sum -= static_cast<double>(args.in[7].as<const T>()[offset_of(args.in[7], row)]);
      delta_of(args)[row] = static_cast<T>(sum);
    }
  }
  // A task takes whole heads of keys where there are many. Where there are few, the keys of a head are cut into groups, each with
  // gradients by queries of its own, which are summed in the order of the groups.
  static int64_t heads_per_task(const AttentionSizes& z) noexcept {
    const int64_t work = 2 * z.group * z.l * z.s * (z.e + z.ev) + 1;
    return work >= kThreadWork ? 1 : kThreadWork / work;
  }
  static int64_t blocks_per_group(const AttentionSizes& z) noexcept {
    const int64_t blocks = ceil_div(z.s, kBlock);
    if (z.key_heads >= kManyHeads || heads_per_task(z) > 1) return blocks < 1 ? 1 : blocks;
    return ceil_div(blocks, ceil_div(kManyHeads, z.key_heads));
  }
  static int64_t groups_of(const AttentionSizes& z) noexcept {
    const int64_t groups = ceil_div(ceil_div(z.s, kBlock), blocks_per_group(z));
    return groups < 1 ? 1 : groups;
  }
  static int64_t key_tasks(const KernelArgs& args) noexcept {
    const AttentionSizes z(args);
    const int64_t groups = groups_of(z);
    return groups > 1 ? z.key_heads * groups : ceil_div(z.key_heads, heads_per_task(z));
  }
  static int64_t query_tasks(const KernelArgs& args) noexcept {
    return groups_of(AttentionSizes(args)) > 1 ? ceil_div(args.out[0].numel, kStageGrain) : 0;
  }
  // Where a group sums up its gradients by queries.
  static T* queries_of(const KernelArgs& args, const AttentionSizes& z, int64_t g) noexcept {
    return groups_of(z) > 1 ? result_of(args, 3) + g * in_lines(args.out[0].numel) : result_of(args, 0);
  }

  // What one task works with: a block of keys and values, transposed, and the scores of a block of queries.
  struct Room {
    alignas(64) T keys[kMaxHeadSize * kBlock];
    alignas(64) T values[kMaxHeadSize * kBlock];
    alignas(64) T weights[kQueries * kBlock];
    alignas(64) T slopes[kQueries * kBlock];
  };
  static void load_keys(const KernelArgs& args, const AttentionSizes& z, int64_t key_head, int64_t k0,
                        Room& room) noexcept {
    const int64_t nk = least(kBlock, z.s - k0);
    Matrix<T> k = matrix_of<S>(args.in[1], copy_of(args, 1), key_head);
    Matrix<T> v = matrix_of<S>(args.in[2], copy_of(args, 2), key_head);
    k.data += k0 * k.stride;
    v.data += k0 * v.stride;
    transpose<T>(room.keys, kBlock, k, nk, z.e);
    transpose<T>(room.values, kBlock, v, nk, z.ev);
  }
  // Weights and the gradients of scaled scores where a block of queries meets the block of keys in the room.
  static void meet(const KernelArgs& args, const AttentionSizes& z, int64_t head, int64_t q0, int64_t k0,
                   Room& room) noexcept {
    const int64_t nq = least(kQueries, z.l - q0);
    const int64_t nk = least(kBlock, z.s - k0);
    const int64_t whole = (nk + kWide - 1) / kWide * kWide;
    const Matrix<T> q = matrix_of<S>(args.in[0], copy_of(args, 0), head);
    const Matrix<T> g = matrix_of<S>(args.in[6], copy_of(args, 3), head);
    const Mask2<S> mask(args, head);
    Product<T>{nq, whole, z.e, q.data + q0 * q.stride, q.stride, 1, room.keys, kBlock, room.weights, kBlock, false}
        .run();
    Product<T>{nq, whole, z.ev, g.data + q0 * g.stride, g.stride, 1, room.values, kBlock, room.slopes, kBlock, false}
        .run();
    constexpr auto per_unit = static_cast<T>(1.0 / kPerUnit<T>);
    const V scale = broadcast<V>(static_cast<T>(z.scale));
    const auto units = static_cast<T>(z.scale / kPerUnit<T>);
    const int64_t first_row = head * z.l + q0;
    const T* logs = args.in[5].as<const T>();
    for (int64_t i = 0; i < nq; ++i) {
      T* w = room.weights + i * kBlock;
      T* d = room.slopes + i * kBlock;
      const T log_sum = logs[offset_of(args.in[5], first_row + i)];
      if (log_sum == -std::numeric_limits<T>::infinity()) {
        for (int64_t j = 0; j < whole; ++j) w[j] = d[j] = T{0};
        continue;
      }
      if (mask.x != nullptr) {
        for (int64_t j = 0; j < nk; ++j) w[j] = w[j] * units + mask.template at<T>(q0 + i, k0 + j) * per_unit;
      }
      const V from = broadcast<V>(log_sum * per_unit);
      const V common = broadcast<V>(delta_of(args)[first_row + i]);
      for (int64_t j = 0; j < whole; j += kWide) {
        const V score = load<T, kWide>(w + j);
        const V weight = weight_of((mask.x != nullptr ? score : score * broadcast<V>(units)) - from);
        store(w + j, weight);
        store(d + j, weight * (load<T, kWide>(d + j) - common) * scale);
      }
      if (z.causal) {
        for (int64_t j = q0 + i + 1 < k0 ? 0 : q0 + i + 1 - k0; j < nk; ++j) w[j] = d[j] = T{0};
      }
    }
  }
  static void add_to_keys(const KernelArgs& args, const AttentionSizes& z, int64_t head, int64_t q0, int64_t k0,
                          const Room& room) noexcept {
    const int64_t nq = least(kQueries, z.l - q0);
    const int64_t nk = least(kBlock, z.s - k0);
    const Matrix<T> q = matrix_of<S>(args.in[0], copy_of(args, 0), head);
    const Matrix<T> g = matrix_of<S>(args.in[6], copy_of(args, 3), head);
    const int64_t row = head / z.group * z.s + k0;
    T* by_k = result_of(args, 1) + row * z.e;
    T* by_v = result_of(args, 2) + row * z.ev;
    Product<T>{nk, z.e, nq, room.slopes, 1, kBlock, q.data + q0 * q.stride, q.stride, by_k, z.e, true}.run();
    Product<T>{nk, z.ev, nq, room.weights, 1, kBlock, g.data + q0 * g.stride, g.stride, by_v, z.ev, true}.run();
  }
  static void add_to_queries(const KernelArgs& args, const AttentionSizes& z, int64_t head, int64_t q0, int64_t k0,
                             const Room& room, T* by_queries) noexcept {
    const int64_t nq = least(kQueries, z.l - q0);
    const int64_t nk = least(kBlock, z.s - k0);
    const Matrix<T> k = matrix_of<S>(args.in[1], copy_of(args, 1), head / z.group);
    T* by_q = by_queries + (head * z.l + q0) * z.e;
    Product<T>{nq, z.e, nk, room.slopes, kBlock, 1, k.data + k0 * k.stride, k.stride, by_q, z.e, true}.run();
  }
  static void clear(T* x, int64_t n) noexcept {
    if (n > 0) __builtin_memset(x, 0, static_cast<size_t>(n) * sizeof(T));
  }

  static void keys(const KernelArgs& args, int64_t task) noexcept {
    const AttentionSizes z(args);
    const int64_t groups = groups_of(z);
    const int64_t each = groups > 1 ? 1 : heads_per_task(z);
    const int64_t end = least((task / groups + 1) * each, z.key_heads);
    for (int64_t key_head = task / groups * each; key_head < end; ++key_head) {
      key_group(args, z, key_head, task % groups);
    }
  }
  static void key_group(const KernelArgs& args, const AttentionSizes& z, int64_t key_head, int64_t g) noexcept {
    Room room;
    T* by_queries = queries_of(args, z, g);
    clear(by_queries + key_head * z.group * z.l * z.e, z.group * z.l * z.e);
    const int64_t size = blocks_per_group(z) * kBlock;
    const int64_t last = least((g + 1) * size, z.s);
    for (int64_t k0 = g * size; k0 < last; k0 += kBlock) {
      const int64_t nk = least(kBlock, z.s - k0);
      const int64_t row = key_head * z.s + k0;
      clear(result_of(args, 1) + row * z.e, nk * z.e);
      clear(result_of(args, 2) + row * z.ev, nk * z.ev);
      load_keys(args, z, key_head, k0, room);
      for (int64_t head = key_head * z.group; head < (key_head + 1) * z.group; ++head) {
        for (int64_t q0 = z.first_query_block(k0) * kQueries; q0 < z.l; q0 += kQueries) {
          meet(args, z, head, q0, k0, room);
          add_to_keys(args, z, head, q0, k0, room);
          add_to_queries(args, z, head, q0, k0, room, by_queries);
        }
      }
    }
  }
  static void queries(const KernelArgs& args, int64_t task) noexcept {
    const AttentionSizes z(args);
    const int64_t groups = groups_of(z);
    const int64_t end = least((task + 1) * kStageGrain, args.out[0].numel);
    const T* parts = queries_of(args, z, 0);
    const int64_t apart = in_lines(args.out[0].numel);
    T* to = result_of(args, 0);
    for (int64_t i = task * kStageGrain; i < end; ++i) {
      T sum = parts[i];
      for (int64_t g = 1; g < groups; ++g) sum += parts[g * apart + i];
      to[i] = sum;
    }
  }

  static int64_t rounding_tasks(const KernelArgs& args) noexcept {
    if (!kIsHalf<S>) return 0;
    int64_t n = 0;
    for (int j = 0; j < 3; ++j) n += ceil_div(args.out[j].numel, kStageGrain);
    return n;
  }
  static void rounding(const KernelArgs& args, int64_t task) noexcept {
    for (int j = 0; j < 3; ++j) {
      const int64_t count = args.out[j].numel;
      const int64_t n = ceil_div(count, kStageGrain);
      if (task >= n) {
        task -= n;
        continue;
      }
      const T* from = result_of(args, j);
      const int64_t end = least((task + 1) * kStageGrain, count);
      for (int64_t i = task * kStageGrain; i < end; ++i) args.out[j].as<S>()[i] = static_cast<S>(from[i]);
      return;
    }
  }
  static Kernel kernel() noexcept {
    return {{{staging, staging_tasks}, {keys, key_tasks}, {queries, query_tasks}, {rounding, rounding_tasks}},
            4,
            scratch_bytes};
  }
};

template <class S>
void fill_attention_of(KernelSink& sink) {
  sink.add("attention", kDTypeOf<S>, Forward<S>::kernel());
  sink.add("attention_backward", kDTypeOf<S>, Backward<S>::kernel());
}

}  // namespace

void fill_attention(KernelSink& sink);
void fill_attention(KernelSink& sink) {
  fill_attention_of<float>(sink);
  fill_attention_of<double>(sink);
  fill_attention_of<BFloat16>(sink);
  fill_attention_of<Float16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

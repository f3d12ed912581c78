// The norms and their gradients: layer_norm, rms_norm, group_norm, batch_norm in both modes.
//
// Compiled once per ISA. A tensor is seen as rows of channels of positions. Where a channel has one position (layer_norm, and
// batch_norm of features) the lanes of a vector are channels, otherwise positions of one channel.
// Invariants: sums run in double over differences from one element of what is summed, so a large mean costs no digits; what
// a row (group, channel) yields depends on its own elements alone, and partial sums over rows meet in the order of the rows.
// Read next: norm.cpp.
#include "core/counts.h"
#include "core/kernel_args.h"
#include "kernels/fold.h"
#include "ops/norm/attrs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kNormTaskElements = 16384;
constexpr int64_t kMaxRowTasks = 64;  // each holds sums for every channel

constexpr KOperand kAbsent{nullptr, nullptr, nullptr, 0, 0, DType::Float32, true, false, false};
// Operand i, which may have been left out.
GORGO_INLINE const KOperand& optional(const KernelArgs& args, int i) {
  return i < args.in_count ? args.in[i] : kAbsent;
}

// (rows, channels, positions) over an operand of any rank and layout.
struct Grid {
  const KOperand* x;
  int lead;  // axes that are rows; the next one is of channels
  int64_t rows = 1;
  int64_t channels = 1;
  int64_t positions = 1;
  int64_t channel_stride = 0;
  int64_t position_stride = 1;
  bool regular = true;  // one stride leads through all positions

  [[gnu::noinline]] Grid(const KOperand& operand, int lead_axes) noexcept : x(&operand), lead(lead_axes) {
    for (int i = 0; i < lead; ++i) rows *= x->shape[i];
    channels = x->shape[lead];
    channel_stride = x->strides[lead];
    int64_t next = 0;
    for (int i = x->rank - 1; i > lead; --i) {
      positions *= x->shape[i];
      if (x->shape[i] == 1) continue;
      if (next == 0) {
        position_stride = x->strides[i];
        next = position_stride;
      } else if (x->strides[i] != next) {
        regular = false;
      }
      next *= x->shape[i];
    }
  }
  [[nodiscard]] GORGO_INLINE int64_t row_begin(int64_t row) const {
    int64_t at = 0;
    for (int i = lead - 1; i >= 0; --i) {
      at += row % x->shape[i] * x->strides[i];
      row /= x->shape[i];
    }
    return at;
  }
  [[nodiscard]] GORGO_INLINE int64_t position_at(int64_t p) const {
    if (regular) return p * position_stride;
    int64_t at = 0;
    for (int i = x->rank - 1; i > lead; --i) {
      at += p % x->shape[i] * x->strides[i];
      p /= x->shape[i];
    }
    return at;
  }
};

// Elements that do not lie side by side are copied, so many at a time: a vector loop reads dense memory, and there is
// one for all layouts. By the bits in memory, which types share.
constexpr int64_t kPieceElements = 256;

template <class M>
[[gnu::noinline]] void copy_apart(const M* from, int64_t stride, int64_t n, M* to) noexcept {
  gather(from, stride, n, to);
}
template <class M>
[[gnu::noinline]] void copy_positions(const M* from, const Grid& g, int64_t position, int64_t n, M* to) noexcept {
  for (int64_t i = 0; i < n; ++i) to[i] = from[g.position_at(position + i)];
}
// `lanes` channels of each of some rows, filled up with zeros to whole vectors.
template <class M, int kLanes>
[[gnu::noinline]] void copy_rows(const M* from, int64_t row_stride, int64_t channel_stride, int lanes, int64_t rows,
                                 M* to) noexcept {
  for (int64_t r = 0; r < rows; ++r, from += row_stride, to += kLanes) {
    if (channel_stride == 1) {
      store_raw(to, load_raw_partial<Vec<M, kLanes>>(from, lanes));
    } else {
      for (int k = 0; k < kLanes; ++k) to[k] = k < lanes ? from[k * channel_stride] : M{0};
    }
  }
}

template <class S>
GORGO_INLINE const MemoryLane<S>* bits_at(const S* p) {
  return reinterpret_cast<const MemoryLane<S>*>(p);
}
template <class S>
GORGO_INLINE MemoryLane<S>* bits_at(S* p) {
  return reinterpret_cast<MemoryLane<S>*>(p);
}

// Sums in double of vectors of C, by halves for float: vectors wider than a register are slow.
template <class C, int kLanes>
struct Sums {
  static constexpr int kParts = sizeof(C) == 4 ? 2 : 1;
  using P = Vec<double, kLanes / kParts>;
  P part[kParts];

  GORGO_INLINE Sums() {
    for (P& p : part) p = broadcast<P>(0.0);
  }
  GORGO_INLINE static Sums sum_of(Vec<C, kLanes> v) {
    Sums s;
    s.add(v);
    return s;
  }
  GORGO_INLINE void add(Vec<C, kLanes> v) {
    if constexpr (kParts == 1) {
      part[0] = part[0] + v;
    } else {
      part[0] = part[0] + convert<double>(low_half(v));
      part[1] = part[1] + convert<double>(high_half(v));
    }
  }
  GORGO_INLINE void add_product(Vec<C, kLanes> a, Vec<C, kLanes> b) {
    if constexpr (kParts == 1) {
      part[0] = part[0] + a * b;
    } else {
      part[0] = part[0] + convert<double>(low_half(a)) * convert<double>(low_half(b));
      part[1] = part[1] + convert<double>(high_half(a)) * convert<double>(high_half(b));
    }
  }
  [[nodiscard]] GORGO_INLINE double folded() const {
    if constexpr (kParts == 1) {
      return fold_lanes<FoldSum>(part[0]);
    } else {
      return fold_lanes<FoldSum>(part[0] + part[1]);
    }
  }
  // Adds the first n lanes to numbers in memory.
  template <bool kWhole>
  GORGO_INLINE void add_to(double* sums, int n, std::bool_constant<kWhole>) const {
    if constexpr (kWhole) {
      for (int k = 0; k < kParts; ++k) {
        double* at = sums + k * P::kLanes;
        store_raw(at, load_raw<P>(at) + part[k]);
      }
    } else {
      for (int i = 0; i < n; ++i) sums[i] += part[i / P::kLanes].raw[i % P::kLanes];
    }
  }
};

// Calls f(i, n, whole) for the vectors of `count` elements: n lanes from i on, all of them where `whole` is true.
template <int kLanes, class F>
GORGO_INLINE void each_vector(int64_t count, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, kLanes, std::true_type{});
  if (i < count) f(i, static_cast<int>(count - i), std::false_type{});
}

// kChannels: lanes are channels, else positions.
template <class S, bool kChannels>
struct NormLanes {
  using C = ComputeType<S>;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));
  using V = Vec<C, kLanes>;
  using W = Vec<double, kLanes>;
  using Acc = Sums<C, kLanes>;

  GORGO_INLINE static bool is_side_by_side(const Grid& g) {
    return kChannels ? g.channel_stride == 1 : g.regular && g.position_stride == 1;
  }
  // n elements from (channel, position) of the row at `row` on, brought to the tile unless they lie side by side.
  GORGO_INLINE static const S* run(const Grid& g, const S* row, int64_t channel, int64_t position, int64_t n, S* tile) {
    const S* from = row + channel * g.channel_stride;
    if (!kChannels && !g.regular) {
      copy_positions(bits_at(from), g, position, n, bits_at(tile));
      return tile;
    }
    return kChannels ? run(from, g.channel_stride, n, tile)
                     : run(from + position * g.position_stride, g.position_stride, n, tile);
  }
  GORGO_INLINE static const S* run(const S* from, int64_t stride, int64_t n, S* tile) {
    if (stride == 1) return from;
    copy_apart(bits_at(from), stride, n, bits_at(tile));
    return tile;
  }
  template <bool kWhole>
  GORGO_INLINE static V read(const S* p, int n, std::bool_constant<kWhole>) {
    return kWhole ? load<S, kLanes>(p) : load_partial<S, kLanes>(p, n);
  }
  template <bool kWhole>
  GORGO_INLINE static void write(S* p, V v, int n, std::bool_constant<kWhole>) {
    if constexpr (kWhole) {
      store(p, v);
    } else {
      store_partial(p, v, n);
    }
  }
  template <bool kWhole>
  GORGO_INLINE static V first_lanes(V v, int n, std::bool_constant<kWhole>) {
    return kWhole ? v : keep_first(v, n, C{0});
  }
  // What was summed, in every lane that stands for its channel.
  GORGO_INLINE static W whole(const Acc& acc) {
    if constexpr (kChannels) {
      W w;
      __builtin_memcpy(&w, &acc.part, sizeof w);
      return w;
    } else {
      return broadcast<W>(acc.folded());
    }
  }
};

GORGO_INLINE double not_negative(double v) { return v < 0.0 ? 0.0 : v; }

// ---- norms of rows: layer_norm, rms_norm (the whole row is one group), group_norm ----

enum class RowNorm { Layer, Rms, Group };

// What the kernels of all three are told.
struct RowPlan {
  int lead;  // axes that are rows
  int64_t groups;
  double eps;
};
template <RowNorm kWhich>
GORGO_INLINE RowPlan row_plan(const KernelArgs& args, const KOperand& x) {
  if constexpr (kWhich == RowNorm::Group) {
    const auto& attrs = args.attrs_as<GroupNormAttrs>();
    return {1, attrs.groups, attrs.eps};
  } else {
    return {x.rank - 1, 1, args.attrs_as<NormAttrs>().eps};
  }
}

GORGO_INLINE int64_t rows_per_task(const Grid& g) {
  const int64_t row = g.channels * g.positions;
  const int64_t by_size = kNormTaskElements / (row < 1 ? 1 : row);
  const int64_t by_count = (g.rows + kMaxRowTasks - 1) / kMaxRowTasks;
  const int64_t most_rows = by_size > by_count ? by_size : by_count;
  return most_rows < 1 ? 1 : most_rows;
}
GORGO_INLINE int64_t row_tasks(const Grid& g) {
  if (g.x->numel == 0) return 0;
  const int64_t rows = rows_per_task(g);
  return (g.rows + rows - 1) / rows;
}

// Statistics of one group of one row: x - mean = (x - first) - offset.
struct RowStats {
  double offset, rstd;
};

// kCentered: the mean is taken off. layer_norm, and group_norm where channels have one position, are one and the same.
template <class S, bool kCentered, bool kChannels>
struct RowKernels {
  using L = NormLanes<S, kChannels>;
  using C = typename L::C;
  using V = typename L::V;
  using Acc = typename L::Acc;
  static constexpr int kLanes = L::kLanes;

  // A number of each channel of a piece: as many as it has elements, or one.
  struct PerChannel {
    const S* at = nullptr;  // null where it is not given
    V same;
    template <bool kWhole>
    GORGO_INLINE V read(int64_t i, int n, std::bool_constant<kWhole> whole) const {
      return kChannels ? L::read(at + i, n, whole) : same;
    }
  };
  GORGO_INLINE static PerChannel per_channel(const KOperand& w, int64_t channel, int64_t n, S* tile) {
    PerChannel p;
    if (!w.given) return p;
    const S* from = w.as<const S>() + channel * w.strides[0];
    if constexpr (kChannels) {
      p.at = L::run(from, w.strides[0], n, tile);
    } else {
      p.at = from;
      p.same = load_splat<S, kLanes>(from);
    }
    return p;
  }
  GORGO_INLINE static bool is_side_by_side(const KOperand& w) { return !kChannels || !w.given || w.strides[0] == 1; }

  // Calls f(channel, position, n) for pieces of at most so many elements of channels [first, last).
  template <class F>
  GORGO_INLINE static void each_piece(const Grid& g, int64_t first, int64_t last, int64_t at_once, const F& f) {
    if constexpr (kChannels) {
      for (int64_t c = first; c < last; c += at_once) f(c, int64_t{0}, least(at_once, last - c));
    } else {
      for (int64_t c = first; c < last; ++c) {
        for (int64_t p = 0; p < g.positions; p += at_once) f(c, p, least(at_once, g.positions - p));
      }
    }
  }
  GORGO_INLINE static V first_of(const S* row, const Grid& g, int64_t channel) {
    return kCentered ? load_splat<S, kLanes>(row + channel * g.channel_stride) : broadcast<V>(C{0});
  }
  GORGO_INLINE static RowStats stats_of(double sum, double squares, double count, double eps) {
    const double offset = kCentered ? sum / count : 0.0;
    return {offset, 1.0 / __builtin_sqrt(not_negative(squares / count - offset * offset) + eps)};
  }

  [[gnu::noinline]] static void forward(const KernelArgs& args, const RowPlan& plan, int64_t task) noexcept {
    const Grid x{args.in[0], plan.lead};
    const KOperand& weight = optional(args, 1);
    const KOperand& bias = kCentered ? optional(args, 2) : kAbsent;
    const int64_t groups = plan.groups;
    const int64_t size = x.channels / groups;
    const auto count = static_cast<double>(size * x.positions);
    const double eps = plan.eps;
    alignas(64) S tiles[3][kPieceElements];
    const bool in_place = L::is_side_by_side(x) && is_side_by_side(weight) && is_side_by_side(bias);
    const int64_t at_once = in_place ? (kChannels ? size : x.positions) : kPieceElements;
    const int64_t rows = rows_per_task(x);
    const int64_t first_row = task * rows;
    const int64_t last_row = least(first_row + rows, x.rows);
    for (int64_t r = first_row; r < last_row; ++r) {
      const S* row = x.x->as<const S>() + x.row_begin(r);
      S* out = args.out[0].as<S>() + r * x.channels * x.positions;
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = group * size;
        const V from = first_of(row, x, first);
        Acc sum;
        Acc squares;
        each_piece(x, first, first + size, at_once, [&](int64_t c, int64_t p, int64_t piece) GORGO_INLINE_LAMBDA {
          const S* const here = L::run(x, row, c, p, piece, tiles[0]);
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole) GORGO_INLINE_LAMBDA {
            const V d = L::first_lanes(L::read(here + i, n, whole) - from, n, whole);
            if constexpr (kCentered) sum.add(d);
            squares.add_product(d, d);
          });
        });
        const RowStats s = stats_of(sum.folded(), squares.folded(), count, eps);
        const V offset = constant<V>(s.offset);
        const V rstd = constant<V>(s.rstd);
        each_piece(x, first, first + size, at_once, [&](int64_t c, int64_t p, int64_t piece) GORGO_INLINE_LAMBDA {
          const S* const here = L::run(x, row, c, p, piece, tiles[0]);
          const PerChannel w = per_channel(weight, c, piece, tiles[1]);
          const PerChannel b = per_channel(bias, c, piece, tiles[2]);
          S* const to = out + c * x.positions + p;
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole) GORGO_INLINE_LAMBDA {
            V y = (L::read(here + i, n, whole) - from - offset) * rstd;
            if (w.at != nullptr) y = y * w.read(i, n, whole);
            if (b.at != nullptr) y = y + b.read(i, n, whole);
            L::write(to + i, y, n, whole);
          });
        });
      }
    }
  }

  // Leaves sums of g * normalized x, then those of g, for each channel of the task.
  [[gnu::noinline]] static void backward(const KernelArgs& args, const RowPlan& plan, int64_t task) noexcept {
    const Grid dy{args.in[0], plan.lead};
    const Grid x{args.in[1], plan.lead};
    const KOperand& weight = optional(args, 2);
    const int64_t groups = plan.groups;
    const int64_t size = x.channels / groups;
    const auto count = static_cast<double>(size * x.positions);
    const double eps = plan.eps;
    alignas(64) S tiles[3][kPieceElements];
    const bool in_place = L::is_side_by_side(x) && L::is_side_by_side(dy) && is_side_by_side(weight);
    const int64_t at_once = in_place ? (kChannels ? size : x.positions) : kPieceElements;
    double* by_weight = static_cast<double*>(args.scratch) + task * 2 * x.channels;
    double* by_bias = by_weight + x.channels;
    for (int64_t c = 0; c < 2 * x.channels; ++c) by_weight[c] = 0.0;
    const int64_t rows = rows_per_task(x);
    const int64_t first_row = task * rows;
    const int64_t last_row = least(first_row + rows, x.rows);
    for (int64_t r = first_row; r < last_row; ++r) {
      const S* row = x.x->as<const S>() + x.row_begin(r);
      const S* dy_row = dy.x->as<const S>() + dy.row_begin(r);
      S* out = args.out[0].as<S>() + r * x.channels * x.positions;
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = group * size;
        const V from = first_of(row, x, first);
        Acc sum;
        Acc squares;
        Acc grads;
        Acc products;
        each_piece(x, first, first + size, at_once, [&](int64_t c, int64_t p, int64_t piece) GORGO_INLINE_LAMBDA {
          const S* const here = L::run(x, row, c, p, piece, tiles[0]);
          const S* const dy_here = L::run(dy, dy_row, c, p, piece, tiles[1]);
          const PerChannel w = per_channel(weight, c, piece, tiles[2]);
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole) GORGO_INLINE_LAMBDA {
            const V d = L::first_lanes(L::read(here + i, n, whole) - from, n, whole);
            V g = L::read(dy_here + i, n, whole);
            if (w.at != nullptr) g = L::first_lanes(g * w.read(i, n, whole), n, whole);
            if constexpr (kCentered) {
              sum.add(d);
              grads.add(g);
            }
            squares.add_product(d, d);
            products.add_product(g, d);
          });
        });
        const RowStats s = stats_of(sum.folded(), squares.folded(), count, eps);
        const double total = grads.folded();
        const double along = products.folded() - s.offset * total;
        const V offset = constant<V>(s.offset);
        const V rstd = constant<V>(s.rstd);
        const V mean_grad = constant<V>(total / count);
        const V mean_along = constant<V>(along * s.rstd / count);
        Acc along_channel;
        Acc total_channel;
        each_piece(x, first, first + size, at_once, [&](int64_t c, int64_t p, int64_t piece) GORGO_INLINE_LAMBDA {
          const S* const here = L::run(x, row, c, p, piece, tiles[0]);
          const S* const dy_here = L::run(dy, dy_row, c, p, piece, tiles[1]);
          const PerChannel w = per_channel(weight, c, piece, tiles[2]);
          S* const to = out + c * x.positions + p;
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole) GORGO_INLINE_LAMBDA {
            const V hat = (L::read(here + i, n, whole) - from - offset) * rstd;
            const V g = L::read(dy_here + i, n, whole);
            const V gw = w.at != nullptr ? g * w.read(i, n, whole) : g;
            V dx = gw - hat * mean_along;
            if constexpr (kCentered) dx = dx - mean_grad;
            L::write(to + i, dx * rstd, n, whole);
            const V along_here = L::first_lanes(g * hat, n, whole);
            if constexpr (kChannels) {
              Acc::sum_of(along_here).add_to(by_weight + c + i, n, whole);
              if constexpr (kCentered) Acc::sum_of(g).add_to(by_bias + c + i, n, whole);
            } else {
              along_channel.add(along_here);
              if constexpr (kCentered) total_channel.add(g);
            }
          });
          if (kChannels || p + piece < x.positions) return;  // else the channel goes on
          by_weight[c] += along_channel.folded();
          by_bias[c] += total_channel.folded();
          along_channel = Acc();
          total_channel = Acc();
        });
      }
    }
  }
};

// Adds up what the tasks left: `sets` of sums over channels.
template <class S>
[[gnu::noinline]] void add_up_rows(const KernelArgs& args, int64_t channels, int64_t parts, int sets) noexcept {
  const auto* sums = static_cast<const double*>(args.scratch);
  for (int which = 0; which < sets; ++which) {
    S* out = args.out[1 + which].as<S>();
    for (int64_t c = 0; c < channels; ++c) {
      double total = 0.0;
      for (int64_t t = 0; t < parts; ++t) total += sums[t * 2 * channels + which * channels + c];
      out[c] = static_cast<S>(static_cast<ComputeType<S>>(total));
    }
  }
}

// What depends on shapes alone.
template <RowNorm kWhich>
struct RowShape {
  static Grid grid(const KernelArgs& args, int i) noexcept {
    return {args.in[i], row_plan<kWhich>(args, args.in[i]).lead};
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return row_tasks(grid(args, 0)); }
  // The gradient has the shape of x.
  static size_t scratch(const KernelArgs& args) noexcept {
    const Grid g = grid(args, 0);
    return static_cast<size_t>(row_tasks(g) * 2 * g.channels) * sizeof(double);
  }
};

// A group's channels have several positions or one; the walk is chosen at the call.
template <class S, RowNorm kWhich>
struct RowEntry {
  using Shape = RowShape<kWhich>;
  using ByChannels = RowKernels<S, kWhich != RowNorm::Rms, true>;
  using ByPositions = RowKernels<S, true, false>;
  static void forward(const KernelArgs& args, int64_t task) noexcept {
    const RowPlan plan = row_plan<kWhich>(args, args.in[0]);
    if constexpr (kWhich == RowNorm::Group) {
      if (Shape::grid(args, 0).positions != 1) return ByPositions::forward(args, plan, task);
    }
    ByChannels::forward(args, plan, task);
  }
  static void backward(const KernelArgs& args, int64_t task) noexcept {
    const RowPlan plan = row_plan<kWhich>(args, args.in[0]);
    if constexpr (kWhich == RowNorm::Group) {
      if (Shape::grid(args, 0).positions != 1) return ByPositions::backward(args, plan, task);
    }
    ByChannels::backward(args, plan, task);
  }
  static void add_up(const KernelArgs& args, int64_t) noexcept {
    const Grid g = Shape::grid(args, 0);
    add_up_rows<S>(args, g.channels, row_tasks(g), kWhich == RowNorm::Rms ? 1 : 2);
  }
};

// ---- batch norms: statistics of each channel over all rows and positions ----

template <class S, bool kChannels>
struct ChannelKernels {
  using L = NormLanes<S, kChannels>;
  using C = typename L::C;
  using V = typename L::V;
  using W = typename L::W;
  using Acc = typename L::Acc;
  static constexpr int kLanes = L::kLanes;

  // An operand as the walk over one block of channels meets it.
  struct Block {
    const Grid& g;
    int64_t channel;
    int lanes;  // channels of the block
    bool in_place;
    int64_t row_stride;
    S* tile;

    GORGO_INLINE Block(const Grid& grid, int64_t first, S* room)
        : g(grid),
          channel(first),
          lanes(kChannels ? static_cast<int>(least(kLanes, g.channels - first)) : 1),
          in_place(L::is_side_by_side(g) && (!kChannels || lanes == kLanes)),
          row_stride(g.x->strides[0]),
          tile(room) {}
    // Of the channels of a row.
    [[nodiscard]] GORGO_INLINE const S* row(int64_t r) const { return g.x->as<const S>() + r * row_stride; }
    // Whole vectors of `count` rows, step() apart.
    [[nodiscard]] GORGO_INLINE const S* rows(int64_t r, int64_t count) const {
      const S* from = row(r) + channel * g.channel_stride;
      if (in_place) return from;
      copy_rows<MemoryLane<S>, kLanes>(bits_at(from), row_stride, g.channel_stride, lanes, count, bits_at(tile));
      return tile;
    }
    [[nodiscard]] GORGO_INLINE int64_t step() const { return in_place ? row_stride : kLanes; }
    [[nodiscard]] GORGO_INLINE V first() const {
      return kChannels ? load<S, kLanes>(rows(0, 1)) : load_splat<S, kLanes>(row(0) + channel * g.channel_stride);
    }
  };

  // Calls f(x, dy, at, n, whole) for all vectors of one block: where they are read, and where n lanes of the output lie.
  // dy may be null. Lanes beyond the block's channels are zero.
  template <class F>
  GORGO_INLINE static void each(const Block& x, const Block* dy, const F& f) {
    const Grid& g = x.g;
    const bool in_place = x.in_place && (dy == nullptr || dy->in_place);
    const int64_t row_size = g.channels * g.positions;
    if constexpr (kChannels) {
      const int64_t at_once = in_place ? g.rows : kPieceElements / kLanes;
      const int64_t step = x.step();
      const int64_t dy_step = dy != nullptr ? dy->step() : 0;
      for (int64_t r = 0; r < g.rows; r += at_once) {
        const int64_t rows = least(at_once, g.rows - r);
        const S* const x_here = x.rows(r, rows);
        const S* const dy_here = dy != nullptr ? dy->rows(r, rows) : nullptr;
        for (int64_t i = 0; i < rows; ++i) {
          f(x_here + i * step, dy_here + i * dy_step, (r + i) * row_size + x.channel, x.lanes, std::true_type{});
        }
      }
    } else {
      const int64_t at_once = in_place ? g.positions : kPieceElements;
      for (int64_t r = 0; r < g.rows; ++r) {
        for (int64_t p = 0; p < g.positions; p += at_once) {
          const int64_t piece = least(at_once, g.positions - p);
          const S* const x_here = L::run(g, x.row(r), x.channel, p, piece, x.tile);
          const S* const dy_here = dy != nullptr ? L::run(dy->g, dy->row(r), x.channel, p, piece, dy->tile) : nullptr;
          const int64_t at = r * row_size + x.channel * g.positions + p;
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole)
                                         GORGO_INLINE_LAMBDA { f(x_here + i, dy_here + i, at + i, n, whole); });
        }
      }
    }
  }
  template <bool kWhole>
  GORGO_INLINE static void write(S* p, V v, int n, std::bool_constant<kWhole> whole) {
    if (!kChannels || n == kLanes) {
      L::write(p, v, n, whole);
    } else {
      store_partial(p, v, n);
    }
  }
  // A number of each channel of the block; `otherwise` when it is not given.
  GORGO_INLINE static V per_channel(const KOperand& w, int64_t channel, int lanes, double otherwise) {
    if (!w.given) return constant<V>(otherwise);
    const S* from = w.as<const S>() + channel * w.strides[0];
    if constexpr (kChannels) {
      alignas(64) S tile[kLanes];
      copy_rows<MemoryLane<S>, kLanes>(bits_at(from), 0, w.strides[0], lanes, 1, bits_at(tile));
      return load<S, kLanes>(tile);
    } else {
      return load_splat<S, kLanes>(from);
    }
  }
  GORGO_INLINE static W root(W variance) {
    W out;
    for (int k = 0; k < kLanes; ++k) out.raw[k] = 1.0 / __builtin_sqrt(variance.raw[k]);
    return out;
  }
  struct Stats {
    W offset, variance, rstd;  // x - mean = (x - first) - offset
  };
  GORGO_INLINE static Stats stats_of(W sum, W squares, double count, double eps) {
    const W scale = broadcast<W>(1.0 / count);
    const W offset = sum * scale;
    W variance = squares * scale - offset * offset;
    variance = select(variance < broadcast<W>(0.0), broadcast<W>(0.0), variance);
    return {offset, variance, root(variance + broadcast<W>(eps))};
  }

  [[gnu::noinline]] static void train(const KernelArgs& args, int64_t channel) noexcept {
    const Grid grid{args.in[0], 1};
    alignas(64) S tile[kPieceElements];
    const Block x(grid, channel, tile);
    const auto& attrs = args.attrs_as<BatchNormTrainAttrs>();
    const KOperand& running_mean = optional(args, 3);
    const KOperand& running_var = optional(args, 4);
    const KOperand& batches = optional(args, 5);
    const int lanes = x.lanes;
    const auto count = static_cast<double>(grid.rows * grid.positions);
    const V from = x.first();
    Acc sum;
    Acc squares;
    each(x, nullptr, [&](const S* here, const S*, int64_t, int n, auto whole) GORGO_INLINE_LAMBDA {
      const V d = L::first_lanes(L::read(here, n, whole) - from, n, whole);
      sum.add(d);
      squares.add_product(d, d);
    });
    const Stats s = stats_of(L::whole(sum), L::whole(squares), count, attrs.eps);
    // The counter still holds the batches before this one.
    const double share = attrs.momentum.has ? attrs.momentum.value
                                            : 1.0 / static_cast<double>(batches.given ? *batches.as<int64_t>() + 1 : 1);
    for (int k = 0; k < lanes; ++k) {
      const int64_t c = channel + k;
      if (running_mean.given) {
        S& mean = running_mean.as<S>()[c * running_mean.strides[0]];
        const double now = static_cast<double>(from.raw[k]) + s.offset.raw[k];
        mean = static_cast<S>(static_cast<C>((1.0 - share) * static_cast<double>(static_cast<C>(mean)) + share * now));
      }
      if (running_var.given) {
        S& variance = running_var.as<S>()[c * running_var.strides[0]];
        const double now = s.variance.raw[k] * (count / (count - 1.0));
        variance =
            static_cast<S>(static_cast<C>((1.0 - share) * static_cast<double>(static_cast<C>(variance)) + share * now));
      }
    }
    const V offset = convert<C>(s.offset);
    const V scale = convert<C>(s.rstd * convert<double>(per_channel(optional(args, 1), channel, lanes, 1.0)));
    const V bias = per_channel(optional(args, 2), channel, lanes, 0.0);
    S* out = args.out[0].as<S>();
    each(x, nullptr, [&](const S* here, const S*, int64_t at, int n, auto whole) GORGO_INLINE_LAMBDA {
      write(out + at, (L::read(here, n, whole) - from - offset) * scale + bias, n, whole);
    });
  }

  [[gnu::noinline]] static void eval(const KernelArgs& args, int64_t channel) noexcept {
    const Grid grid{args.in[0], 1};
    alignas(64) S tile[kPieceElements];
    const Block x(grid, channel, tile);
    const V mean = per_channel(args.in[1], channel, x.lanes, 0.0);
    const W variance = convert<double>(per_channel(args.in[2], channel, x.lanes, 1.0));
    const W rstd = root(variance + broadcast<W>(args.attrs_as<NormAttrs>().eps));
    const V scale = convert<C>(rstd * convert<double>(per_channel(optional(args, 3), channel, x.lanes, 1.0)));
    const V bias = per_channel(optional(args, 4), channel, x.lanes, 0.0);
    S* out = args.out[0].as<S>();
    each(x, nullptr, [&](const S* here, const S*, int64_t at, int n, auto whole) GORGO_INLINE_LAMBDA {
      write(out + at, (L::read(here, n, whole) - mean) * scale + bias, n, whole);
    });
  }

  [[gnu::noinline]] static void backward(const KernelArgs& args, int64_t channel) noexcept {
    const Grid dy_grid{args.in[0], 1};
    const Grid grid{args.in[1], 1};
    alignas(64) S tiles[2][kPieceElements];
    const Block dy(dy_grid, channel, tiles[1]);
    const Block x(grid, channel, tiles[0]);
    const auto count = static_cast<double>(grid.rows * grid.positions);
    const V from = x.first();
    Acc sum;
    Acc squares;
    Acc grads;
    Acc products;
    each(x, &dy, [&](const S* here, const S* dy_here, int64_t, int n, auto whole) GORGO_INLINE_LAMBDA {
      const V d = L::first_lanes(L::read(here, n, whole) - from, n, whole);
      const V g = L::read(dy_here, n, whole);
      sum.add(d);
      squares.add_product(d, d);
      grads.add(g);
      products.add_product(g, d);
    });
    const Stats s = stats_of(L::whole(sum), L::whole(squares), count, args.attrs_as<NormAttrs>().eps);
    const W total = L::whole(grads);
    const W along = (L::whole(products) - s.offset * total) * s.rstd;  // sum of g * normalized x
    const W part = broadcast<W>(1.0 / count);
    const V offset = convert<C>(s.offset);
    const V mean_grad = convert<C>(total * part);
    const V slope = convert<C>(along * s.rstd * part);
    const V scale = convert<C>(s.rstd * convert<double>(per_channel(optional(args, 2), channel, x.lanes, 1.0)));
    S* out = args.out[0].as<S>();
    each(x, &dy, [&](const S* here, const S* dy_here, int64_t at, int n, auto whole) GORGO_INLINE_LAMBDA {
      const V d = L::read(here, n, whole) - from - offset;
      const V g = L::read(dy_here, n, whole);
      write(out + at, (g - mean_grad - d * slope) * scale, n, whole);
    });
    store_partial(args.out[1].as<S>() + channel, convert<C>(along), x.lanes);
    store_partial(args.out[2].as<S>() + channel, convert<C>(total), x.lanes);
  }
};

enum class ChannelOp { Train, Eval, Backward };

// Blocks of channels that are one task.
struct ChannelPlan {
  bool by_channels;
  int64_t blocks, per_task;
  [[gnu::noinline]] ChannelPlan(const KernelArgs& args, int lanes) noexcept {
    const Grid x{args.in[0], 1};
    by_channels = x.positions == 1;
    const int64_t width = by_channels ? lanes : 1;
    blocks = args.in[0].numel == 0 ? 0 : (x.channels + width - 1) / width;
    const int64_t size = x.rows * x.positions * width;
    per_task = size >= kNormTaskElements ? 1 : kNormTaskElements / (size < 1 ? 1 : size);
  }
  [[nodiscard]] GORGO_INLINE int64_t tasks() const { return (blocks + per_task - 1) / per_task; }
};

void count_batch(const KernelArgs& args, int64_t) noexcept {
  if (optional(args, 5).given) ++*args.in[5].as<int64_t>();
}

template <class S, ChannelOp kOp>
struct ChannelEntry {
  static constexpr int kLanes = NormLanes<S, true>::kLanes;
  static int64_t tasks(const KernelArgs& args) noexcept { return ChannelPlan(args, kLanes).tasks(); }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const ChannelPlan plan(args, kLanes);
    const int64_t begin = task * plan.per_task;
    const int64_t end = least(begin + plan.per_task, plan.blocks);
    for (int64_t block = begin; block < end; ++block) {
      if (plan.by_channels) {
        one<ChannelKernels<S, true>>(args, block * kLanes);
      } else {
        one<ChannelKernels<S, false>>(args, block);
      }
    }
  }

 private:
  template <class K>
  GORGO_INLINE static void one(const KernelArgs& args, int64_t channel) {
    if constexpr (kOp == ChannelOp::Train) K::train(args, channel);
    if constexpr (kOp == ChannelOp::Eval) K::eval(args, channel);
    if constexpr (kOp == ChannelOp::Backward) K::backward(args, channel);
  }
};

template <class S, RowNorm kWhich>
void add_rows(KernelSink& sink, const char* forward, const char* backward) {
  using K = RowEntry<S, kWhich>;
  using Shape = RowShape<kWhich>;
  sink.add(forward, kDTypeOf<S>, Kernel::of(Phase{K::forward, Shape::tasks}));
  sink.add(backward, kDTypeOf<S>,
           Kernel::of(Phase{K::backward, Shape::tasks}, Phase{K::add_up, nullptr}, Shape::scratch));
}

template <class S>
void fill_norm_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  add_rows<S, RowNorm::Layer>(sink, "layer_norm", "layer_norm_backward");
  add_rows<S, RowNorm::Rms>(sink, "rms_norm", "rms_norm_backward");
  add_rows<S, RowNorm::Group>(sink, "group_norm", "group_norm_backward");
  using Train = ChannelEntry<S, ChannelOp::Train>;
  using Eval = ChannelEntry<S, ChannelOp::Eval>;
  using Backward = ChannelEntry<S, ChannelOp::Backward>;
  sink.add("batch_norm_train", d, Kernel::of(Phase{Train::run, Train::tasks}, Phase{count_batch, nullptr}));
  sink.add("batch_norm", d, Kernel::of(Phase{Eval::run, Eval::tasks}));
  sink.add("batch_norm_backward", d, Kernel::of(Phase{Backward::run, Backward::tasks}));
}

}  // namespace

void fill_norm(KernelSink& sink);
void fill_norm(KernelSink& sink) {
  fill_norm_of<float>(sink);
  fill_norm_of<double>(sink);
  fill_norm_of<BFloat16>(sink);
  fill_norm_of<Float16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

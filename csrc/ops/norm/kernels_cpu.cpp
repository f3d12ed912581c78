// The norms of rows and their gradients: layer_norm, rms_norm, group_norm.
//
// Invariants: sums run in double over differences from one element of what is summed, so a large mean costs no digits; what
// a row (group) yields depends on its own elements alone, and partial sums over rows meet in the order of the rows.
// Read next: lanes.h, kernels_cpu_batch.cpp, norm.cpp.
#include "ops/norm/lanes.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kMaxRowTasks = 64;  // each holds sums for every channel

GORGO_INLINE double not_negative(double v) { return v < 0.0 ? 0.0 : v; }

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

  // What the gradient of a group needs of it beside its elements.
  struct Slopes {
    C from, offset, rstd, mean_grad, mean_along;
  };
  // total, products: the sums of g and of g (x - first) over the group, where g is dy times the weights.
  GORGO_INLINE static Slopes slopes_of(V from, const RowStats& s, double total, double products, double count) {
    const double along = products - s.offset * total;
    return {from.raw[0], static_cast<C>(s.offset), static_cast<C>(s.rstd), static_cast<C>(total / count),
            static_cast<C>(along * s.rstd / count)};
  }
  // gw: dy times the weights.
  GORGO_INLINE static V slope(V hat, V gw, V rstd, V mean_grad, V mean_along) {
    V dx = gw - hat * mean_along;
    if constexpr (kCentered) dx = dx - mean_grad;
    return dx * rstd;
  }

  // The rows of a task, and where its sums are.
  struct Backward {
    Grid dy, x;
    const KOperand& weight;
    int64_t groups, size;  // channels of a group
    double count;          // elements of a group
    double eps;
    int64_t first_row, last_row;
    bool in_place;
    double* by_weight;
    double* by_bias;
    S* out;
    GORGO_INLINE Backward(const KernelArgs& args, const RowPlan& plan, int64_t task)
        : dy(args.in[0], plan.lead),
          x(args.in[1], plan.lead),
          weight(optional(args, 2)),
          groups(plan.groups),
          size(x.channels / groups),
          count(static_cast<double>(size * x.positions)),
          eps(plan.eps),
          first_row(task * rows_per_task(x)),
          last_row(least(first_row + rows_per_task(x), x.rows)),
          in_place(L::is_side_by_side(x) && L::is_side_by_side(dy) && is_side_by_side(weight)),
          by_weight(static_cast<double*>(args.scratch) + task * 2 * x.channels),
          by_bias(by_weight + x.channels),
          out(args.out[0].as<S>()) {
      for (int64_t c = 0; c < 2 * x.channels; ++c) by_weight[c] = 0.0;
    }
    [[nodiscard]] GORGO_INLINE const S* x_row(int64_t r) const { return x.x->as<const S>() + x.row_begin(r); }
    [[nodiscard]] GORGO_INLINE const S* dy_row(int64_t r) const { return dy.x->as<const S>() + dy.row_begin(r); }
    [[nodiscard]] GORGO_INLINE S* out_row(int64_t r) const { return out + r * x.channels * x.positions; }
  };

  // Leaves sums of g * normalized x, then those of g, for each channel of the task.
  [[gnu::noinline]] static void backward(const KernelArgs& args, const RowPlan& plan, int64_t task) noexcept {
    const Backward b(args, plan, task);
    if constexpr (kChannels) {
      backward_by_channels(b);
    } else {
      const int64_t tasks = row_tasks(b.x);
      backward_by_positions(b, static_cast<double*>(args.scratch) + (tasks + task) * 2 * b.x.channels);
    }
  }

  // Sums of channels pass through registers once for each block of rows.
  GORGO_INLINE static void backward_by_channels(const Backward& b) {
    constexpr int kRowsAtOnce = 4;
    alignas(64) S tiles[3][kPieceElements];
    const int64_t at_once = b.in_place ? b.size : kPieceElements;
    const int64_t rows_at_once = b.in_place ? kRowsAtOnce : 1;  // a row has the tiles for itself
    for (int64_t r = b.first_row; r < b.last_row; r += rows_at_once) {
      const auto rows = static_cast<int>(least(rows_at_once, b.last_row - r));
      for (int64_t group = 0; group < b.groups; ++group) {
        const int64_t first = group * b.size;
        Slopes slopes[kRowsAtOnce];
        for (int row = 0; row < rows; ++row) slopes[row] = slopes_by_channels(b, r + row, first, tiles, at_once);
        each_piece(b.x, first, first + b.size, at_once, [&](int64_t c, int64_t, int64_t piece) GORGO_INLINE_LAMBDA {
          const S* here[kRowsAtOnce];
          const S* dy_here[kRowsAtOnce];
          S* to[kRowsAtOnce];
          for (int row = 0; row < rows; ++row) {
            here[row] = L::run(b.x, b.x_row(r + row), c, 0, piece, tiles[0]);
            dy_here[row] = L::run(b.dy, b.dy_row(r + row), c, 0, piece, tiles[1]);
            to[row] = b.out_row(r + row) + c;
          }
          const PerChannel w = per_channel(b.weight, c, piece, tiles[2]);
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole) GORGO_INLINE_LAMBDA {
            Acc along = Acc::read(b.by_weight + c + i, n, whole);
            Acc total = Acc::read(b.by_bias + c + i, n, whole);
            const V wv = w.at != nullptr ? w.read(i, n, whole) : broadcast<V>(C{1});
            for (int row = 0; row < rows; ++row) {
              const Slopes& s = slopes[row];
              const V rstd = broadcast<V>(s.rstd);
              const V hat = (L::read(here[row] + i, n, whole) - broadcast<V>(s.from) - broadcast<V>(s.offset)) * rstd;
              const V g = L::read(dy_here[row] + i, n, whole);
              const V dx = slope(hat, g * wv, rstd, broadcast<V>(s.mean_grad), broadcast<V>(s.mean_along));
              L::write(to[row] + i, dx, n, whole);
              along.add(g * hat);
              if constexpr (kCentered) total.add(g);
            }
            along.write(b.by_weight + c + i, n, whole);
            if constexpr (kCentered) total.write(b.by_bias + c + i, n, whole);
          });
        });
      }
    }
  }
  [[gnu::noinline]] static Slopes slopes_by_channels(const Backward& b, int64_t r, int64_t first,
                                                     S (&tiles)[3][kPieceElements], int64_t at_once) {
    const S* const row = b.x_row(r);
    const S* const dy_row = b.dy_row(r);
    const V from = first_of(row, b.x, first);
    Acc sum;
    Acc squares;
    Acc grads;
    Acc products;
    each_piece(b.x, first, first + b.size, at_once, [&](int64_t c, int64_t, int64_t piece) GORGO_INLINE_LAMBDA {
      const S* const here = L::run(b.x, row, c, 0, piece, tiles[0]);
      const S* const dy_here = L::run(b.dy, dy_row, c, 0, piece, tiles[1]);
      const PerChannel w = per_channel(b.weight, c, piece, tiles[2]);
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
    const RowStats s = stats_of(sum.folded(), squares.folded(), b.count, b.eps);
    return slopes_of(from, s, grads.folded(), products.folded(), b.count);
  }

  // One weight serves all positions of a channel, so that the sums of its channels make those of a group. kept: room for them.
  GORGO_INLINE static void backward_by_positions(const Backward& b, double* kept) {
    alignas(64) S tiles[2][kPieceElements];
    const Grid& x = b.x;
    const int64_t at_once = b.in_place ? x.positions : kPieceElements;
    for (int64_t r = b.first_row; r < b.last_row; ++r) {
      const S* const row = b.x_row(r);
      const S* const dy_row = b.dy_row(r);
      S* const out = b.out_row(r);
      for (int64_t first = 0; first < x.channels; first += b.size) {
        const V from = first_of(row, x, first);
        Acc sum;
        Acc squares;
        Acc grads;
        Acc products;
        double total = 0.0;
        double along = 0.0;
        each_piece(x, first, first + b.size, at_once, [&](int64_t c, int64_t p, int64_t piece) GORGO_INLINE_LAMBDA {
          const S* const here = L::run(x, row, c, p, piece, tiles[0]);
          const S* const dy_here = L::run(b.dy, dy_row, c, p, piece, tiles[1]);
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole) GORGO_INLINE_LAMBDA {
            const V d = L::first_lanes(L::read(here + i, n, whole) - from, n, whole);
            const V g = L::read(dy_here + i, n, whole);
            sum.add(d);
            squares.add_product(d, d);
            grads.add(g);
            products.add_product(g, d);
          });
          if (p + piece < x.positions) return;  // the channel goes on
          double* const of_channel = kept + (c - first) * 2;
          of_channel[0] = grads.folded();
          of_channel[1] = products.folded();
          const double w = b.weight.given ? weight_of(b.weight, c) : 1.0;
          total += of_channel[0] * w;
          along += of_channel[1] * w;
          grads = Acc();
          products = Acc();
        });
        const RowStats stats = stats_of(sum.folded(), squares.folded(), b.count, b.eps);
        const Slopes s = slopes_of(from, stats, total, along, b.count);
        const V offset = broadcast<V>(s.offset);
        const V rstd = broadcast<V>(s.rstd);
        const V mean_grad = broadcast<V>(s.mean_grad);
        const V mean_along = broadcast<V>(s.mean_along);
        for (int64_t c = first; c < first + b.size; ++c) {
          const double* const of_channel = kept + (c - first) * 2;
          b.by_weight[c] += (of_channel[1] - stats.offset * of_channel[0]) * stats.rstd;
          b.by_bias[c] += of_channel[0];
        }
        each_piece(x, first, first + b.size, at_once, [&](int64_t c, int64_t p, int64_t piece) GORGO_INLINE_LAMBDA {
          const S* const here = L::run(x, row, c, p, piece, tiles[0]);
          const S* const dy_here = L::run(b.dy, dy_row, c, p, piece, tiles[1]);
          const V w = b.weight.given ? load_splat<S, kLanes>(b.weight.template as<const S>() + c * b.weight.strides[0])
                                     : broadcast<V>(C{1});
          S* const to = out + c * x.positions + p;
          each_vector<kLanes>(piece, [&](int64_t i, int n, auto whole) GORGO_INLINE_LAMBDA {
            const V hat = (L::read(here + i, n, whole) - from - offset) * rstd;
            L::write(to + i, slope(hat, L::read(dy_here + i, n, whole) * w, rstd, mean_grad, mean_along), n, whole);
          });
        });
      }
    }
  }
  GORGO_INLINE static double weight_of(const KOperand& weight, int64_t channel) {
    return static_cast<double>(static_cast<C>(weight.template as<const S>()[channel * weight.strides[0]]));
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
  // The gradient has the shape of x. A task's two sums of each channel, and of a group's channels those of one row.
  static size_t scratch(const KernelArgs& args) noexcept {
    const Grid g = grid(args, 0);
    return static_cast<size_t>(row_tasks(g) * (kWhich == RowNorm::Group ? 4 : 2) * g.channels) * sizeof(double);
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

template <class S, RowNorm kWhich>
void add_rows(KernelSink& sink, const char* forward, const char* backward) {
  using K = RowEntry<S, kWhich>;
  using Shape = RowShape<kWhich>;
  sink.add(forward, kDTypeOf<S>, Kernel::of(Phase{K::forward, Shape::tasks}));
  sink.add(backward, kDTypeOf<S>,
           Kernel::of(Phase{K::backward, Shape::tasks}, Phase{K::add_up, nullptr}, Shape::scratch));
}

template <class S>
void fill_rows_of(KernelSink& sink) {
  add_rows<S, RowNorm::Layer>(sink, "layer_norm", "layer_norm_backward");
  add_rows<S, RowNorm::Rms>(sink, "rms_norm", "rms_norm_backward");
  add_rows<S, RowNorm::Group>(sink, "group_norm", "group_norm_backward");
}

}  // namespace

void fill_batch_norm(KernelSink& sink);  // kernels_cpu_batch.cpp

void fill_norm(KernelSink& sink);
void fill_norm(KernelSink& sink) {
  fill_rows_of<float>(sink);
  fill_rows_of<double>(sink);
  fill_rows_of<BFloat16>(sink);
  fill_rows_of<Float16>(sink);
  fill_batch_norm(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

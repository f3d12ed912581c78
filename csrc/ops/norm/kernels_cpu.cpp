// The norms and their gradients: layer_norm, rms_norm, group_norm, batch_norm in both modes.
//
// Compiled once per ISA. A tensor is seen as rows of channels of positions. Where a channel has one position (layer_norm, and
// batch_norm of features) the lanes of a vector are channels, otherwise positions of one channel.
// Invariants: sums run in double over differences from one element of what is summed, so a large mean costs no digits; what
// a row (group, channel) yields depends on its own elements alone, and partial sums over rows meet in the order of the rows.
// Read next: norm.cpp.
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

  GORGO_INLINE Grid(const KOperand& operand, int lead_axes) : x(&operand), lead(lead_axes) {
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

// Sums in double of vectors of C, by halves for float: vectors wider than a register are slow.
template <class C, int kLanes>
struct Sums {
  static constexpr int kParts = sizeof(C) == 4 ? 2 : 1;
  using P = Vec<double, kLanes / kParts>;
  P part[kParts];

  GORGO_INLINE Sums() {
    for (P& p : part) p = broadcast<P>(0.0);
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
  GORGO_INLINE void add_to(double* sums, int n) const {
    if (n == kLanes) {
      for (int k = 0; k < kParts; ++k) {
        double* at = sums + k * P::kLanes;
        store_raw(at, load_raw<P>(at) + part[k]);
      }
    } else {
      for (int i = 0; i < n; ++i) sums[i] += part[i / P::kLanes].raw[i % P::kLanes];
    }
  }
};

// kChannels: lanes are channels, else positions.
template <class S, bool kChannels>
struct NormLanes {
  using C = ComputeType<S>;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));
  using V = Vec<C, kLanes>;
  using W = Vec<double, kLanes>;
  using Acc = Sums<C, kLanes>;

  // n lanes from (row, channel, position) on; `row` is row_begin's offset.
  GORGO_INLINE static V read(const Grid& g, int64_t row, int64_t channel, int64_t position, int n) {
    const S* p = g.x->as<const S>() + row + channel * g.channel_stride;
    if constexpr (!kChannels) {
      if (!g.regular) {
        S tile[kLanes] = {};
        for (int k = 0; k < n; ++k) tile[k] = p[g.position_at(position + k)];
        return load<S, kLanes>(tile);
      }
      p += position * g.position_stride;
    }
    return read_run(p, kChannels ? g.channel_stride : g.position_stride, n);
  }
  GORGO_INLINE static V read_run(const S* p, int64_t stride, int n) {
    if (stride == 1) return n == kLanes ? load<S, kLanes>(p) : load_partial<S, kLanes>(p, n);
    return load_strided<S, kLanes>(p, stride, n);
  }
  GORGO_INLINE static void write(S* p, V v, int n) {
    if (n == kLanes) {
      store(p, v);
    } else {
      store_partial(p, v, n);
    }
  }
  // A number of each channel; `otherwise` when it is not given.
  GORGO_INLINE static V per_channel(const KOperand& w, int64_t channel, int n, double otherwise) {
    if (!w.given) return constant<V>(otherwise);
    const S* p = w.as<const S>() + channel * w.strides[0];
    if constexpr (kChannels) {
      return read_run(p, w.strides[0], n);
    } else {
      return load_splat<S, kLanes>(p);
    }
  }
  GORGO_INLINE static V first_lanes(V v, int n) { return n == kLanes ? v : keep_first(v, n, C{0}); }
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

template <RowNorm kWhich>
GORGO_INLINE double row_eps(const KernelArgs& args) {
  if constexpr (kWhich == RowNorm::Group) {
    return args.attrs_as<GroupNormAttrs>().eps;
  } else {
    return args.attrs_as<NormAttrs>().eps;
  }
}
template <RowNorm kWhich>
GORGO_INLINE int64_t row_groups(const KernelArgs& args) {
  if constexpr (kWhich == RowNorm::Group) {
    return args.attrs_as<GroupNormAttrs>().groups;
  } else {
    return 1;
  }
}
template <RowNorm kWhich>
GORGO_INLINE Grid row_grid(const KOperand& x) {
  return {x, kWhich == RowNorm::Group ? 1 : x.rank - 1};
}

GORGO_INLINE int64_t rows_per_task(const Grid& g) {
  const int64_t row = g.channels * g.positions;
  const int64_t by_size = kNormTaskElements / (row < 1 ? 1 : row);
  const int64_t by_count = (g.rows + kMaxRowTasks - 1) / kMaxRowTasks;
  const int64_t most = by_size > by_count ? by_size : by_count;
  return most < 1 ? 1 : most;
}

// Statistics of one group of one row.
struct RowStats {
  double shift, offset, rstd;  // x - mean = (x - shift) - offset
};

template <class S, RowNorm kWhich, bool kChannels>
struct RowKernels {
  using L = NormLanes<S, kChannels>;
  using C = typename L::C;
  using V = typename L::V;
  using Acc = typename L::Acc;
  static constexpr int kLanes = L::kLanes;
  static constexpr bool kCentered = kWhich != RowNorm::Rms;

  // Calls f(channel, position, n) for all vectors of channels [first, last).
  template <class F>
  GORGO_INLINE static void each(const Grid& g, int64_t first, int64_t last, const F& f) {
    if constexpr (kChannels) {
      int64_t c = first;
      for (; c + kLanes <= last; c += kLanes) f(c, int64_t{0}, kLanes);
      if (c < last) f(c, int64_t{0}, static_cast<int>(last - c));
    } else {
      for (int64_t c = first; c < last; ++c) {
        int64_t p = 0;
        for (; p + kLanes <= g.positions; p += kLanes) f(c, p, kLanes);
        if (p < g.positions) f(c, p, static_cast<int>(g.positions - p));
      }
    }
  }
  GORGO_INLINE static double shift_of(const Grid& g, int64_t row, int64_t first) {
    return kCentered ? static_cast<double>(L::read(g, row, first, 0, 1).raw[0]) : 0.0;
  }
  GORGO_INLINE static RowStats stats_of(double shift, double sum, double squares, double count, double eps) {
    const double offset = kCentered ? sum / count : 0.0;
    return {shift, offset, 1.0 / __builtin_sqrt(not_negative(squares / count - offset * offset) + eps)};
  }

  static int64_t tasks(const KernelArgs& args) noexcept {
    const Grid g = row_grid<kWhich>(args.in[0]);
    if (args.in[0].numel == 0) return 0;
    const int64_t rows = rows_per_task(g);
    return (g.rows + rows - 1) / rows;
  }
  static void forward(const KernelArgs& args, int64_t task) noexcept {
    const Grid x = row_grid<kWhich>(args.in[0]);
    const KOperand& weight = optional(args, 1);
    const KOperand& bias = kCentered ? optional(args, 2) : kAbsent;
    const int64_t groups = row_groups<kWhich>(args);
    const int64_t size = x.channels / groups;
    const auto count = static_cast<double>(size * x.positions);
    const double eps = row_eps<kWhich>(args);
    const int64_t first_row = task * rows_per_task(x);
    const int64_t last_row = first_row + rows_per_task(x) < x.rows ? first_row + rows_per_task(x) : x.rows;
    for (int64_t r = first_row; r < last_row; ++r) {
      const int64_t row = x.row_begin(r);
      S* out = args.out[0].as<S>() + r * x.channels * x.positions;
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = group * size;
        const double shift = shift_of(x, row, first);
        const V from = constant<V>(shift);
        Acc sum;
        Acc squares;
        each(x, first, first + size, [&](int64_t c, int64_t p, int n) GORGO_INLINE_LAMBDA {
          const V d = L::first_lanes(L::read(x, row, c, p, n) - from, n);
          if constexpr (kCentered) sum.add(d);
          squares.add_product(d, d);
        });
        const RowStats s = stats_of(shift, sum.folded(), squares.folded(), count, eps);
        const V offset = constant<V>(s.offset);
        const V rstd = constant<V>(s.rstd);
        each(x, first, first + size, [&](int64_t c, int64_t p, int n) GORGO_INLINE_LAMBDA {
          V y = (L::read(x, row, c, p, n) - from - offset) * rstd;
          if (weight.given) y = y * L::per_channel(weight, c, n, 1.0);
          if (bias.given) y = y + L::per_channel(bias, c, n, 0.0);
          L::write(out + c * x.positions + p, y, n);
        });
      }
    }
  }

  // Sums of g * normalized x, then those of g, for each channel of each task.
  static size_t scratch(const KernelArgs& args) noexcept {
    const Grid x = row_grid<kWhich>(args.in[1]);
    return static_cast<size_t>(tasks(args) * 2 * x.channels) * sizeof(double);
  }
  static void backward(const KernelArgs& args, int64_t task) noexcept {
    const Grid dy = row_grid<kWhich>(args.in[0]);
    const Grid x = row_grid<kWhich>(args.in[1]);
    const KOperand& weight = optional(args, 2);
    const int64_t groups = row_groups<kWhich>(args);
    const int64_t size = x.channels / groups;
    const auto count = static_cast<double>(size * x.positions);
    const double eps = row_eps<kWhich>(args);
    double* by_weight = static_cast<double*>(args.scratch) + task * 2 * x.channels;
    double* by_bias = by_weight + x.channels;
    for (int64_t c = 0; c < 2 * x.channels; ++c) by_weight[c] = 0.0;
    const int64_t first_row = task * rows_per_task(x);
    const int64_t last_row = first_row + rows_per_task(x) < x.rows ? first_row + rows_per_task(x) : x.rows;
    for (int64_t r = first_row; r < last_row; ++r) {
      const int64_t row = x.row_begin(r);
      const int64_t dy_row = dy.row_begin(r);
      S* out = args.out[0].as<S>() + r * x.channels * x.positions;
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = group * size;
        const double shift = shift_of(x, row, first);
        const V from = constant<V>(shift);
        Acc sum;
        Acc squares;
        Acc grads;
        Acc products;
        each(x, first, first + size, [&](int64_t c, int64_t p, int n) GORGO_INLINE_LAMBDA {
          const V d = L::first_lanes(L::read(x, row, c, p, n) - from, n);
          const V dy_here = L::read(dy, dy_row, c, p, n);
          const V g = weight.given ? L::first_lanes(dy_here * L::per_channel(weight, c, n, 1.0), n) : dy_here;
          if constexpr (kCentered) {
            sum.add(d);
            grads.add(g);
          }
          squares.add_product(d, d);
          products.add_product(g, d);
        });
        const RowStats s = stats_of(shift, sum.folded(), squares.folded(), count, eps);
        const double total = grads.folded();
        const double along = products.folded() - s.offset * total;
        const V offset = constant<V>(s.offset);
        const V rstd = constant<V>(s.rstd);
        const V mean_grad = constant<V>(total / count);
        const V mean_along = constant<V>(along * s.rstd / count);
        Acc along_channel;
        Acc total_channel;
        each(x, first, first + size, [&](int64_t c, int64_t p, int n) GORGO_INLINE_LAMBDA {
          const V hat = (L::read(x, row, c, p, n) - from - offset) * rstd;
          const V g = L::read(dy, dy_row, c, p, n);
          const V gw = weight.given ? g * L::per_channel(weight, c, n, 1.0) : g;
          V dx = gw - hat * mean_along;
          if constexpr (kCentered) dx = dx - mean_grad;
          L::write(out + c * x.positions + p, dx * rstd, n);
          along_channel.add(L::first_lanes(g * hat, n));
          if constexpr (kCentered) total_channel.add(g);
          if constexpr (kChannels) {
            along_channel.add_to(by_weight + c, n);
            if constexpr (kCentered) total_channel.add_to(by_bias + c, n);
          } else {
            if (p + n < x.positions) return;  // the channel goes on
            by_weight[c] += along_channel.folded();
            by_bias[c] += total_channel.folded();
          }
          along_channel = Acc();
          total_channel = Acc();
        });
      }
    }
  }
  static void add_up(const KernelArgs& args, int64_t) noexcept {
    const int64_t channels = row_grid<kWhich>(args.in[1]).channels;
    const int64_t parts = tasks(args);
    const auto* sums = static_cast<const double*>(args.scratch);
    for (int which = 0; which < (kCentered ? 2 : 1); ++which) {
      S* out = args.out[1 + which].as<S>();
      for (int64_t c = 0; c < channels; ++c) {
        double total = 0.0;
        for (int64_t t = 0; t < parts; ++t) total += sums[t * 2 * channels + which * channels + c];
        out[c] = static_cast<S>(static_cast<C>(total));
      }
    }
  }
};

// A group's channels have several positions or one; the walk is chosen at the call.
template <class S, RowNorm kWhich>
struct RowEntry {
  using ByChannels = RowKernels<S, kWhich, true>;
  using ByPositions = RowKernels<S, kWhich, false>;
  GORGO_INLINE static bool by_channels(const KOperand& x) {
    return kWhich != RowNorm::Group || row_grid<kWhich>(x).positions == 1;
  }
  static int64_t tasks(const KernelArgs& args) noexcept { return ByChannels::tasks(args); }
  static size_t scratch(const KernelArgs& args) noexcept { return ByChannels::scratch(args); }
  static void forward(const KernelArgs& args, int64_t task) noexcept {
    if constexpr (kWhich == RowNorm::Group) {
      if (!by_channels(args.in[0])) {
        ByPositions::forward(args, task);
        return;
      }
    }
    ByChannels::forward(args, task);
  }
  static void backward(const KernelArgs& args, int64_t task) noexcept {
    if constexpr (kWhich == RowNorm::Group) {
      if (!by_channels(args.in[0])) {
        ByPositions::backward(args, task);
        return;
      }
    }
    ByChannels::backward(args, task);
  }
  static void add_up(const KernelArgs& args, int64_t task) noexcept { ByChannels::add_up(args, task); }
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

  // Calls f(row, channel, position, n, live) for all vectors of one block: one channel, or a vector of channels.
  template <class F>
  GORGO_INLINE static void each(const Grid& g, int64_t channel, const F& f) {
    for (int64_t r = 0; r < g.rows; ++r) {
      if constexpr (kChannels) {
        const int64_t left = g.channels - channel;
        f(r, int64_t{0}, left < kLanes ? static_cast<int>(left) : kLanes);
      } else {
        int64_t p = 0;
        for (; p + kLanes <= g.positions; p += kLanes) f(r, p, kLanes);
        if (p < g.positions) f(r, p, static_cast<int>(g.positions - p));
      }
    }
  }
  GORGO_INLINE static int live(const Grid& g, int64_t channel) {
    if (!kChannels) return 1;
    return g.channels - channel < kLanes ? static_cast<int>(g.channels - channel) : kLanes;
  }
  GORGO_INLINE static V first_of(const Grid& g, int64_t channel) {
    const V v = L::read(g, 0, channel, 0, live(g, channel));
    if constexpr (kChannels) {
      return v;
    } else {
      return broadcast<V>(v.raw[0]);
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

  static void train(const KernelArgs& args, int64_t channel) noexcept {
    const Grid x{args.in[0], 1};
    const auto& attrs = args.attrs_as<BatchNormTrainAttrs>();
    const KOperand& running_mean = optional(args, 3);
    const KOperand& running_var = optional(args, 4);
    const KOperand& batches = optional(args, 5);
    const int lanes = live(x, channel);
    const auto count = static_cast<double>(x.rows * x.positions);
    const V from = first_of(x, channel);
    Acc sum;
    Acc squares;
    each(x, channel, [&](int64_t r, int64_t p, int n) GORGO_INLINE_LAMBDA {
      const V d = L::first_lanes(L::read(x, x.row_begin(r), channel, p, n) - from, n);
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
    const V scale = convert<C>(s.rstd * convert<double>(L::per_channel(optional(args, 1), channel, lanes, 1.0)));
    const V bias = L::per_channel(optional(args, 2), channel, lanes, 0.0);
    S* out = args.out[0].as<S>() + channel * x.positions;
    each(x, channel, [&](int64_t r, int64_t p, int n) GORGO_INLINE_LAMBDA {
      const V v = L::read(x, x.row_begin(r), channel, p, n);
      L::write(out + r * x.channels * x.positions + p, (v - from - offset) * scale + bias, n);
    });
  }

  static void eval(const KernelArgs& args, int64_t channel) noexcept {
    const Grid x{args.in[0], 1};
    const int lanes = live(x, channel);
    const V mean = L::per_channel(args.in[1], channel, lanes, 0.0);
    const W variance = convert<double>(L::per_channel(args.in[2], channel, lanes, 1.0));
    const W rstd = root(variance + broadcast<W>(args.attrs_as<NormAttrs>().eps));
    const V scale = convert<C>(rstd * convert<double>(L::per_channel(optional(args, 3), channel, lanes, 1.0)));
    const V bias = L::per_channel(optional(args, 4), channel, lanes, 0.0);
    S* out = args.out[0].as<S>() + channel * x.positions;
    each(x, channel, [&](int64_t r, int64_t p, int n) GORGO_INLINE_LAMBDA {
      const V v = L::read(x, x.row_begin(r), channel, p, n);
      L::write(out + r * x.channels * x.positions + p, (v - mean) * scale + bias, n);
    });
  }

  static void backward(const KernelArgs& args, int64_t channel) noexcept {
    const Grid dy{args.in[0], 1};
    const Grid x{args.in[1], 1};
    const int lanes = live(x, channel);
    const auto count = static_cast<double>(x.rows * x.positions);
    const V from = first_of(x, channel);
    Acc sum;
    Acc squares;
    Acc grads;
    Acc products;
    each(x, channel, [&](int64_t r, int64_t p, int n) GORGO_INLINE_LAMBDA {
      const V d = L::first_lanes(L::read(x, x.row_begin(r), channel, p, n) - from, n);
      const V g = L::read(dy, dy.row_begin(r), channel, p, n);
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
    const V scale = convert<C>(s.rstd * convert<double>(L::per_channel(optional(args, 2), channel, lanes, 1.0)));
    S* out = args.out[0].as<S>() + channel * x.positions;
    each(x, channel, [&](int64_t r, int64_t p, int n) GORGO_INLINE_LAMBDA {
      const V d = L::read(x, x.row_begin(r), channel, p, n) - from - offset;
      const V g = L::read(dy, dy.row_begin(r), channel, p, n);
      L::write(out + r * x.channels * x.positions + p, (g - mean_grad - d * slope) * scale, n);
    });
    L::write(args.out[1].as<S>() + channel, convert<C>(along), lanes);
    L::write(args.out[2].as<S>() + channel, convert<C>(total), lanes);
  }
};

enum class ChannelOp { Train, Eval, Backward };

template <class S, ChannelOp kOp>
struct ChannelEntry {
  static constexpr int kLanes = NormLanes<S, true>::kLanes;
  // Blocks of channels that are one task.
  struct Plan {
    bool by_channels;
    int64_t blocks, per_task;
    GORGO_INLINE explicit Plan(const KernelArgs& args) {
      const Grid x{args.in[0], 1};
      by_channels = x.positions == 1;
      const int64_t width = by_channels ? kLanes : 1;
      blocks = args.in[0].numel == 0 ? 0 : (x.channels + width - 1) / width;
      const int64_t size = x.rows * x.positions * width;
      per_task = size >= kNormTaskElements ? 1 : kNormTaskElements / (size < 1 ? 1 : size);
    }
  };
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Plan plan(args);
    return (plan.blocks + plan.per_task - 1) / plan.per_task;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Plan plan(args);
    const int64_t begin = task * plan.per_task;
    const int64_t end = begin + plan.per_task < plan.blocks ? begin + plan.per_task : plan.blocks;
    for (int64_t block = begin; block < end; ++block) {
      if (plan.by_channels) {
        one<ChannelKernels<S, true>>(args, block * kLanes);
      } else {
        one<ChannelKernels<S, false>>(args, block);
      }
    }
  }
  static void count_batch(const KernelArgs& args, int64_t) noexcept {
    if (optional(args, 5).given) ++*args.in[5].as<int64_t>();
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
  sink.add(forward, kDTypeOf<S>, Kernel::of(Phase{K::forward, K::tasks}));
  sink.add(backward, kDTypeOf<S>, Kernel::of(Phase{K::backward, K::tasks}, Phase{K::add_up, nullptr}, K::scratch));
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
  sink.add("batch_norm_train", d, Kernel::of(Phase{Train::run, Train::tasks}, Phase{Train::count_batch, nullptr}));
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

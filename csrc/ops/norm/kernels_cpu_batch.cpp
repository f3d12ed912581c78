// The batch norms, in training and in evaluation, and their gradient: statistics of each channel over all rows and positions.
//
// Invariants: sums run in double over differences from one element of what is summed, so a large mean costs no digits; what
// a channel yields depends on its own elements alone.
// Read next: lanes.h, norm.cpp.
#include "ops/norm/lanes.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

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

template <class S>
void fill_batch_norm_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<S>;
  using Train = ChannelEntry<S, ChannelOp::Train>;
  using Eval = ChannelEntry<S, ChannelOp::Eval>;
  using Backward = ChannelEntry<S, ChannelOp::Backward>;
  sink.add("batch_norm_train", d, Kernel::of(Phase{Train::run, Train::tasks}, Phase{count_batch, nullptr}));
  sink.add("batch_norm", d, Kernel::of(Phase{Eval::run, Eval::tasks}));
  sink.add("batch_norm_backward", d, Kernel::of(Phase{Backward::run, Backward::tasks}));
}

}  // namespace

void fill_batch_norm(KernelSink& sink);
void fill_batch_norm(KernelSink& sink) {
  fill_batch_norm_of<float>(sink);
  fill_batch_norm_of<double>(sink);
  fill_batch_norm_of<BFloat16>(sink);
  fill_batch_norm_of<Float16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

// The convolutions and the transposed ones on the CPU: implicit matrix products on the micro-kernel of kernels/gemm.
//
// A convolution is, for each image, the product of the weights (o, c kd kh kw) and the matrix of windows (c kd kh kw, od oh ow). That matrix
// never exists: what exists is one panel of it at a time, in L1 or L2.
//  - groups of one input and few output channels: sums over windows, made directly (direct.h, spread.h).
//  - 3x3 kernels with unit strides, float32: products of filtered tiles (winograd.h).
//  - forward: bands or panels of windows are B, weights are A (bands.h); or, where that wastes lanes, windows are A and weights B (outputs.h).
//  - transposed, which is the gradient by the images: convolutions of x with a part of the flipped weights each, one for each phase of the strides
//    (phases.h); where images are small, what each pixel gives to the elements it stands over, taps side by side (shares.h); where channels are
//    few, weights transposed (A, in place) times the operand (B, in place), each tile added to where its windows came from.
// 16-bit types are converted to float in scratch and back. Images whose channels are not dense are copied there too.
// Invariant: tasks and the order of every sum depend on shapes alone.
// Read next: windows.h, tiles.h, bands.h, outputs.h, winograd.h, shares.h, direct.h, spread.h, kernels_cpu_weight.cpp, kernels_cpu_tiles.cpp.
#include "kernels/gemm/gemm.h"
#include "ops/conv/bands.h"
#include "ops/conv/direct.h"
#include "ops/conv/outputs.h"
#include "ops/conv/phases.h"
#include "ops/conv/shares.h"
#include "ops/conv/spread.h"
#include "ops/conv/winograd.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kWindowElements = 48 * 1024;  // rows of windows' gradients that fit L2

// ---- forward ----

template <class T>
struct Forward {
  enum class Way { direct, filtered, outputs, product };
  struct Setup {
    Sizes s;
    Filtered filtered;
    Way way;
    Frame<T> f;
    FilterRoom<T> filtering{};
    OutputsPlan plan{};
    T* packed = nullptr;  // weights by outputs
    T* copies = nullptr;
    [[gnu::noinline]] explicit Setup(const KernelArgs& args)
        : s(sizes_of(args.in[0], args.in[1], args.out[0], args.attrs_as<ConvAttrs>())),
          filtered(filtered_of<T>(s)),
          way(runs_directly<T>(s)               ? Way::direct
              : filtered.filter != Filter::none ? Way::filtered
                                                : Way::product),
          f(args, Dense::channels, way == Way::filtered ? Dense::any : Dense::whole) {
      // Weights that have to be copied first cannot be packed in the same phase.
      if (way == Way::product && !f.second.needed && runs_by_outputs<T>(s)) way = Way::outputs;
      if (way == Way::filtered) filtering = filter_room<T>(f.scratch, filtered);
      if (way != Way::outputs) return;
      plan = outputs_plan<T>(s);
      packed = f.scratch.template take<T>(plan.packed_elements(s));
      copies = f.scratch.template take<T>(plan.tasks * plan.room_elements(s));
    }
  };
  static size_t scratch(const KernelArgs& args) noexcept { return Setup(args).f.scratch.bytes(); }
  // Weights as they are packed or transformed.
  static int32_t keeps(const KernelArgs& args) noexcept {
    const Way way = Setup(args).way;
    return way == Way::filtered || way == Way::outputs ? 1 : -1;
  }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    const int64_t copies = setup.f.copy_tasks();
    return setup.way == Way::filtered  ? copies + filter_tasks(setup.s, setup.filtering.plan)
           : setup.way == Way::outputs ? copies + setup.s.groups * setup.plan.panels
                                       : copies;
  }
  static void prepare(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const int64_t copies = setup.f.copy_tasks();
    if (task < copies) return setup.f.copy(task);
    if (args.prepared) return;
    if (setup.way == Way::outputs) {
      return pack_outputs<T>(setup.s, setup.plan, setup.f.second.data(), setup.packed, task - copies);
    }
    if constexpr (kFilters<T>) lay_filters_task<T>(setup.s, setup.filtering, args.in[1], false, task - copies);
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    return setup.way == Way::direct     ? direct_tasks<T>(setup.s)
           : setup.way == Way::filtered ? setup.filtering.plan.tasks
           : setup.way == Way::outputs  ? setup.plan.tasks
                                        : forward_tasks<T>(setup.s);
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const Sizes& s = setup.s;
    const Frame<T>& f = setup.f;
    const bool has_bias = args.in_count > 2 && args.in[2].given;
    const T* bias = has_bias ? f.bias.data() : nullptr;
    if constexpr (kFilters<T>) {
      if (setup.way == Way::filtered) {
        return run_filtered<T>(s, setup.filtering, f.first.images(), args.in[1], false, bias, f.out, task);
      }
    }
    if (setup.way == Way::outputs) {
      return run_by_outputs<T>(s, setup.plan, f.first.images(), setup.packed, bias, f.out, setup.copies, task);
    }
    const auto run = setup.way == Way::direct ? run_direct<T> : run_forward<T>;
    run(s, f.first.images(), f.second.data(), bias, f.out, task);
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept { return round_tasks<T>(args.out[0]); }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    round_out<T>(args.out[0], Setup(args).f.out, task);
  }
};

// ---- transposed: the gradient by the images ----

// Here x is what the convolution's output would be, and out what its images would be: sizes are those of that convolution (phases.h).

// A convolution of x computes all elements of the image where the other way computes `pixels` windows, and lays out what they stand over, which few
// channels do not repay; but it need not add tiles to memory. Every phase must have a tap.
[[gnu::noinline]] bool transposes_by_phases(const Sizes& s) {
  const auto has_all = [](int64_t kernel, int64_t stride, int64_t step) {
    return stride == 1 || (stride <= kMaxJoinedPhases && kernel >= stride && are_coprime(stride, step));
  };
  if (s.group_c < 8 || !has_all(s.kd, s.stride_d, s.step_d) || !has_all(s.kh, s.stride_h, s.step_h) ||
      !has_all(s.kw, s.stride_w, s.step_w)) {
    return false;
  }
  const int64_t phases = s.stride_d * s.stride_h * s.stride_w;
  return phases <= kMaxJoinedPhases && 4 * s.image <= 5 * s.pixels * phases;
}

// Otherwise the rows of windows' gradients are made for a few channels at a time: with stride 1 and images of moderate size all pixels of
// them, from which each pixel of the image gathers; else by tiles, which are added to memory one after the other.
struct Scatter {
  int64_t channel_blocks;  // channels are split among tasks where images are too few
  int64_t plane_tasks;     // images by groups, split
  bool gathers;
  int64_t channels;  // of rows made at a time when gathering
  int64_t stride;    // elements of such a row
  int64_t room;      // elements for them, of each task
};

template <class T>
[[gnu::noinline]] Scatter scatter_of(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  Scatter c;
  const int64_t planes = s.n * s.groups;
  const int64_t work = s.group_o * s.k * s.pixels;
  c.channel_blocks = most(1, least(least(s.group_c, work / kTaskWork), ceil_div(kMaxTasks, most(1, planes))));
  c.plane_tasks = least(planes, most(1, planes * work / kTaskWork));
  c.stride = round_up(s.pixels, kWidth);
  c.gathers = s.has_unit_strides() && s.taps * c.stride <= 2 * kWindowElements;
  const int64_t most_channels = ceil_div(s.group_c, c.channel_blocks);
  c.channels = most(1, least(most_channels, kWindowElements / (s.taps * c.stride)));
  // A vector before and two behind, which ranges of lanes reach into without reading.
  c.room = c.gathers ? round_up(c.channels * s.taps * c.stride + 3 * kWidth, 64) : 0;
  return c;
}

// Adds a row of a tile, which is one tap's, to the elements of a channel where its windows came from.
template <bool kDeep, class T>
void add_row(T* channel, const T* tile, const Sizes& s, int64_t tap, const Piece* pieces, int count) {
  using L = Lanes<T>;
  const int64_t dz = kDeep ? tap / (s.kh * s.kw) * s.step_d - s.pad_d : 0;
  const int64_t dy = tap % (s.kh * s.kw) / s.kw * s.step_h - s.pad_h;
  const int64_t dx = tap % s.kw * s.step_w - s.pad_w;
  for (const Piece* p = pieces; p < pieces + count; ++p) {
    const int64_t y = p->row * s.stride_h + dy;
    const int64_t z = kDeep ? p->slice * s.stride_d + dz : 0;
    if (y < 0 || y >= s.h || (kDeep && (z < 0 || z >= s.d))) continue;
    const int64_t left = p->col * s.stride_w + dx;
    T* line = channel + (kDeep ? z * s.h + y : y) * s.w;
    const T* from = tile + p->at;
    if (s.stride_w == 1) {
      const int64_t first = most(0, -left);
      const int64_t last = least(p->count, s.w - left);
      if (first >= last) continue;
      const auto edge = L::edge(static_cast<int>(last - first));
      T* to = line + left + first;
      L::store_edge(to, edge, L::load_edge(to, edge) + L::load_edge(from + first, edge));
    } else {
      for (int32_t q = 0; q < p->count; ++q) {
        const int64_t at = left + q * s.stride_w;
        if (at >= 0 && at < s.w) line[at] = line[at] + from[q];
      }
    }
  }
}

// Rows [row_begin, row_end) of weights transposed times the gradient, for `columns` pixels: calls done(row, rows) after each strip, which lies
// at to(row), `to_stride` apart.
template <class T, class To, class Done>
GORGO_GEMM_INLINE void multiply_rows(const Sizes& s, const T* weight, const T* gradient, int64_t gradient_stride,
                                     int64_t row_begin, int64_t row_end, int columns, bool accumulate,
                                     int64_t to_stride, To&& to, Done&& done) {
  constexpr int kRows = Lanes<T>::kRows;
  const BlocksOfK blocks = blocks_of_k(s.group_o);
  const int64_t total = row_end - row_begin;
  const int64_t strips = ceil_div(total, kRows);
  MicroArgs<T> g;
  g.c_row_stride = to_stride;
  g.b_row_stride = gradient_stride;
  g.a_col_stride = s.k;
  for (int64_t kb = 0; kb < blocks.count; ++kb) {
    const int64_t o = kb * blocks.size;
    g.k = least(blocks.size, s.group_o - o);
    g.b = gradient + o * gradient_stride;
    g.add = accumulate && kb > 0;
    for (int64_t strip = 0; strip < strips; ++strip) {
      const int64_t row = row_begin + total * strip / strips;
      const auto rows = static_cast<int>(row_begin + total * (strip + 1) / strips - row);
      g.a = weight + o * s.k + row;
      g.c = to(row);
      run_micro(g, rows, columns, true);
      done(row, rows);
    }
  }
}

template <class T>
void scatter_plane(const Sizes& s, const T* x, int64_t x_stride, const T* weight, const T* bias, T* to, int64_t c_begin,
                   int64_t c_end) {
  using L = Lanes<T>;
  constexpr int64_t kColumns = kPanelColumns<T>;
  alignas(64) T tile[L::kRows * kColumns];
  Piece pieces[kColumns];
  for (int64_t c = c_begin; c < c_end; ++c) {
    T* const channel = to + c * s.image;
    const T value = bias != nullptr ? bias[c] : T{0};
    for (int64_t i = 0; i < s.image; ++i) channel[i] = value;
  }
  const auto add = s.deep ? add_row<true, T> : add_row<false, T>;
  for (int64_t pixel = 0; pixel < s.pixels; pixel += kColumns) {
    const auto columns = static_cast<int>(least(kColumns, s.pixels - pixel));
    const int count = split_row<L::kWidth>(pieces, 0, s, 0, pixel, pixel + columns, 0);
    multiply_rows<T>(
        s, weight, x + pixel, x_stride, c_begin * s.taps, c_end * s.taps, columns, false, kColumns,
        [&](int64_t) { return tile; },
        [&](int64_t row, int rows) {
          for (int r = 0; r < rows; ++r) {
            add(to + (row + r) / s.taps * s.image, tile + r * kColumns, s, (row + r) % s.taps, pieces, count);
          }
        });
  }
}

// A channel, a vector at a time: the sum over taps of what each window gives to these elements.
template <class T>
void gather_channel(const Sizes& s, const T* rows, int64_t row_stride, T bias, T* to) {
  using L = Lanes<T>;
  for (int64_t line = 0; line < s.d * s.h; ++line, to += s.w) {
    const int64_t z = s.deep ? line / s.h : 0;
    const int64_t y = s.deep ? line % s.h : line;
    for (int64_t x = 0; x < s.w; x += L::kWidth) {
      const int64_t count = least(L::kWidth, s.w - x);
      auto sum = L::broadcast(bias);
      for (int64_t l = 0; l < s.kd; ++l) {
        const int64_t slice = z + s.pad_d - l * s.step_d;
        if (slice < 0 || slice >= s.od) continue;
        for (int64_t i = 0; i < s.kh; ++i) {
          const int64_t row = y + s.pad_h - i * s.step_h;
          if (row < 0 || row >= s.oh) continue;
          for (int64_t j = 0; j < s.kw; ++j) {
            const int64_t col = x + s.pad_w - j * s.step_w;
            const Range met = Range::of(col, s.ow, count);
            if (met.first >= met.last) continue;
            const T* from = rows + ((l * s.kh + i) * s.kw + j) * row_stride + (slice * s.oh + row) * s.ow + col;
            sum = sum + L::load_range(from, met.first, met.last);
          }
        }
      }
      L::store_edge(to + x, L::edge(static_cast<int>(count)), sum);
    }
  }
}

template <class T>
void gather_plane(const Sizes& s, const Scatter& c, const T* x, int64_t x_stride, const T* weight, const T* bias, T* to,
                  int64_t c_begin, int64_t c_end, T* room) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  T* const rows = room + Lanes<T>::kWidth;
  for (int64_t channel = c_begin; channel < c_end; channel += c.channels) {
    const int64_t end = least(c_end, channel + c.channels);
    const int64_t row_begin = channel * s.taps;
    for (int64_t pixel = 0; pixel < s.pixels; pixel += kColumns) {
      multiply_rows<T>(
          s, weight, x + pixel, x_stride, row_begin, end * s.taps, static_cast<int>(least(kColumns, s.pixels - pixel)),
          true, c.stride, [&](int64_t row) { return rows + (row - row_begin) * c.stride + pixel; },
          [](int64_t, int) {});
    }
    for (int64_t each = channel; each < end; ++each) {
      gather_channel<T>(s, rows + (each - channel) * s.taps * c.stride, c.stride, bias != nullptr ? bias[each] : T{0},
                        to + each * s.image);
    }
  }
}

template <class T>
void run_scatter(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, T* room, int64_t task) {
  const Scatter c = scatter_of<T>(s);
  const int64_t block = task % c.channel_blocks;
  const int64_t part = task / c.channel_blocks;
  const int64_t c_begin = s.group_c * block / c.channel_blocks;
  const int64_t c_end = s.group_c * (block + 1) / c.channel_blocks;
  const int64_t planes = s.n * s.groups;
  const int64_t plane_end = planes * (part + 1) / c.plane_tasks;
  for (int64_t plane = planes * part / c.plane_tasks; plane < plane_end; ++plane) {
    const int64_t image = plane / s.groups;
    const int64_t group = plane % s.groups;
    const T* from = x.data + image * x.n_stride + group * s.group_o * x.c_stride;
    const T* factors = weight + group * s.group_o * s.k;
    const T* added = bias != nullptr ? bias + group * s.group_c : nullptr;
    T* to = out + (image * s.c + group * s.group_c) * s.image;
    if (c.gathers) {
      gather_plane<T>(s, c, from, x.c_stride, factors, added, to, c_begin, c_end, room + task * c.room);
    } else {
      scatter_plane<T>(s, from, x.c_stride, factors, added, to, c_begin, c_end);
    }
  }
}

template <class T>
struct Transpose {
  static Sizes sizes(const KernelArgs& args) {
    return sizes_of(args.out[0], args.in[1], args.in[0], args.attrs_as<ConvAttrs>());
  }
  enum class Way { spread, direct, filtered, phases, shares, scatter };
  static Way way_of(const Sizes& s) {
    if (spreads(s)) return Way::spread;
    if (transposes_directly<T>(s)) return Way::direct;
    if (gives_shares<T>(s)) return Way::shares;
    if (!transposes_by_phases(s)) return Way::scatter;
    return filtered_back<T>(s).filter != Filter::none ? Way::filtered : Way::phases;
  }
  struct Setup {
    Sizes s;
    Way way;
    Frame<T> f;
    Filtered filtered{};
    FilterRoom<T> filtering{};
    T* room = nullptr;  // for rows to gather from
    PhaseRoom<T> phases{};
    T* phased = nullptr;  // for phases that are to be put together
    [[gnu::noinline]] explicit Setup(const KernelArgs& args)
        : s(sizes(args)), way(way_of(s)), f(args, Dense::channels, way == Way::filtered ? Dense::any : Dense::whole) {
      if (way == Way::filtered) {
        filtered = filtered_back<T>(s);
        filtering = filter_room<T>(f.scratch, filtered);
      } else if (way == Way::phases) {
        phases = phase_room<T>(f.scratch, s, args.in[1].numel);
        if (phased_apart()) phased = f.converts_out ? f.out : f.scratch.template take<T>(args.out[0].numel);
      } else if (way == Way::scatter) {
        const Scatter c = scatter_of<T>(s);
        room = f.scratch.template take<T>(c.plane_tasks * c.channel_blocks * c.room);
      }
    }
    bool phased_apart() const { return way == Way::phases && !s.has_unit_strides(); }
  };
  static size_t scratch(const KernelArgs& args) noexcept { return Setup(args).f.scratch.bytes(); }
  static int32_t keeps(const KernelArgs& args) noexcept {
    const Way way = Setup(args).way;
    return way == Way::filtered || way == Way::phases ? 1 : -1;
  }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    const int64_t copies = setup.f.copy_tasks();
    return setup.way == Way::filtered ? copies + filter_tasks(setup.filtered.s, setup.filtering.plan)
           : setup.way == Way::phases ? copies + PhaseList(setup.s).count
                                      : copies;
  }
  static void prepare(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const int64_t copies = setup.f.copy_tasks();
    if (task < copies) return setup.f.copy(task);
    if (args.prepared) return;
    if constexpr (kFilters<T>) {
      if (setup.way == Way::filtered) {
        return lay_filters_task<T>(setup.filtered.s, setup.filtering, args.in[1], true, task - copies);
      }
    }
    prepare_phase<T>(setup.s, args.in[1], setup.phases, task - copies);
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    const Sizes& s = setup.s;
    if (setup.way == Way::spread) return spread_tasks(s);
    if (setup.way == Way::direct) return direct_transposed_tasks<T>(s);
    if (setup.way == Way::filtered) return setup.filtering.plan.tasks;
    if (setup.way == Way::phases) return phase_tasks<T>(s, setup.phases);
    if (setup.way == Way::shares) return shares_plan<T>(s).tasks(s);
    const Scatter c = scatter_of<T>(s);
    return c.plane_tasks * c.channel_blocks;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const Images<T> x = setup.f.first.images();
    const T* bias = args.in_count > 2 && args.in[2].given ? setup.f.bias.data() : nullptr;
    T* const out = setup.f.out;
    if constexpr (kFilters<T>) {
      if (setup.way == Way::filtered) {
        return run_filtered<T>(setup.filtered.s, setup.filtering, x, args.in[1], true, bias, out, task);
      }
    }
    if (setup.way == Way::spread) {
      run_spread<T>(setup.s, x, setup.f.second.data(), bias, out, task);
    } else if (setup.way == Way::direct) {
      run_direct_transposed<T>(setup.s, x, setup.f.second.data(), bias, out, task);
    } else if (setup.way == Way::phases) {
      run_phases<T>(setup.s, x, setup.phases, bias, setup.phased_apart() ? setup.phased : out, task);
    } else if (setup.way == Way::shares) {
      run_shares<T>(setup.s, x, setup.f.second.data(), bias, out, task);
    } else {
      run_scatter<T>(setup.s, x, setup.f.second.data(), bias, out, setup.room, task);
    }
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept {
    return Setup(args).phased_apart() ? join_tasks(args.out[0]) : round_tasks<T>(args.out[0]);
  }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    if (!setup.phased_apart()) return round_out<T>(args.out[0], setup.f.out, task);
    as_stored<T>(args.out[0].dtype,
                 [&](auto element) { join_phases<decltype(element)>(setup.s, setup.phased, args.out[0], task); });
  }
};

// T: what is computed in, S: the elements.
template <class T, class S>
void add_conv(KernelSink& sink) {
  add_forward<S>(sink, kernel_of<Forward<T>>());
  add_transpose<S>(sink, kernel_of<Transpose<T>>());
}

}  // namespace

void fill_conv_weight(KernelSink& sink);  // kernels_cpu_weight.cpp

void fill_conv(KernelSink& sink) {
  add_conv<float, float>(sink);
  add_conv<float, BFloat16>(sink);
  add_conv<float, Float16>(sink);
  add_conv<double, double>(sink);
  fill_conv_weight(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

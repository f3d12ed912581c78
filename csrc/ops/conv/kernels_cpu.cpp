// The convolutions on the CPU: implicit matrix products on the micro-kernel of kernels/gemm.
//
// A convolution is, for each image, the product of the weights (o, c kh kw) and the matrix of windows (c kh kw, oh ow). That matrix never
// exists: what exists is one panel of it at a time, in L1 or L2.
//  - forward: panels of windows are laid out as packed B; weights are read in place as A.
//  - gradient by the images: with stride 1 and little padding beyond the image, a forward convolution of the gradient with the flipped weights;
//    otherwise weights transposed (A, in place) times the gradient (B, in place), each tile added to where its windows came from.
//  - gradient by the weights: dot products along pixels, of rows of windows and rows of the gradient; partial sums per task, added in order.
// 16-bit types are converted to float in scratch and back. Images whose planes are not dense are copied there too.
// Invariant: tasks and the order of every sum depend on shapes alone.
// Read next: kernels/gemm/micro.h.
#include <cstdint>
#include <cstring>

#include "core/kernel_args.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/stored.h"
#include "ops/conv/attrs.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kTaskWork = 512 * 1024;  // multiply-adds worth a task
constexpr int64_t kMaxTasks = 64;
constexpr int64_t kCopyElements = 32 * 1024;  // elements that one task copies or converts
constexpr int64_t kMaxWindowColumns =
    640;  // pixels side by side in the gradient by the weights: rows of both factors fit L1
constexpr int64_t kWindowElements = 48 * 1024;  // and a block of rows of windows fits L2
constexpr int64_t kMaxPartials = 16;

GORGO_GEMM_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
GORGO_GEMM_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
GORGO_GEMM_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
GORGO_GEMM_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Sizes of a convolution, of whichever of the three operands are inputs.
struct Sizes {
  int64_t n, c, h, w;
  int64_t o, kh, kw, oh, ow;
  int64_t stride_h, stride_w, pad_h, pad_w, step_h, step_w;
  int64_t groups;
  int64_t group_c, group_o;  // channels of one group
  int64_t taps;              // elements of a window in one channel
  int64_t k;                 // elements of a window in all channels of a group
  int64_t pixels;            // windows of one image
};

template <class A>
Sizes sizes_of(const int64_t* x, const int64_t* weight, const int64_t* out, const A& a) {
  Sizes s;
  s.n = x[0], s.c = x[1], s.h = x[2], s.w = x[3];
  s.o = weight[0], s.kh = weight[2], s.kw = weight[3];
  s.oh = out[2], s.ow = out[3];
  s.stride_h = a.stride.data()[0], s.stride_w = a.stride.data()[1];
  s.pad_h = a.padding.data()[0], s.pad_w = a.padding.data()[1];
  s.step_h = a.dilation.data()[0], s.step_w = a.dilation.data()[1];
  s.groups = a.groups;
  s.group_c = s.c / s.groups;
  s.group_o = s.o / s.groups;
  s.taps = s.kh * s.kw;
  s.k = s.group_c * s.taps;
  s.pixels = s.oh * s.ow;
  return s;
}

// The convolution of the output's gradient that yields the images' gradient, when stride is 1.
Sizes transposed(const Sizes& s) {
  Sizes t = s;
  t.c = s.o, t.h = s.oh, t.w = s.ow;
  t.o = s.c, t.oh = s.h, t.ow = s.w;
  t.pad_h = (s.kh - 1) * s.step_h - s.pad_h;
  t.pad_w = (s.kw - 1) * s.step_w - s.pad_w;
  t.group_c = s.group_o;
  t.group_o = s.group_c;
  t.k = t.group_c * t.taps;
  t.pixels = t.oh * t.ow;
  return t;
}

// Images whose planes are dense.
template <class T>
struct Images {
  const T* data;
  int64_t n_stride, c_stride;
};

bool has_dense_planes(const KOperand& x) {
  return (x.shape[3] == 1 || x.strides[3] == 1) && (x.shape[2] == 1 || x.strides[2] == x.shape[3]);
}

// ---- scratch: where copies and partial sums lie ----

class Scratch {
 public:
  explicit Scratch(void* base) : base_(static_cast<unsigned char*>(base)) {}
  template <class T>
  T* take(int64_t elements) {
    T* at = reinterpret_cast<T*>(base_ + bytes_);  // base_ is null while only the size is asked for
    bytes_ += (static_cast<size_t>(elements) * sizeof(T) + 63) / 64 * 64;
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  unsigned char* base_;
  size_t bytes_ = 0;
};

// An operand to be copied (and converted) to a dense one before the work begins.
template <class S>
struct Copy {
  using T = typename Stored<S>::Compute;
  const KOperand* from = nullptr;
  T* to = nullptr;  // null: the operand is read in place

  int64_t planes() const { return to == nullptr ? 0 : from->rank == 4 ? from->shape[0] * from->shape[1] : 1; }
  void plane(int64_t index) const {
    const bool image = from->rank == 4;
    const int64_t h = image ? from->shape[2] : 1;
    const int64_t w = from->shape[from->rank - 1];
    const int64_t row = image ? from->strides[2] : 0;
    const int64_t step = from->strides[from->rank - 1];
    const S* x = from->as<S>();
    if (image) x += index / from->shape[1] * from->strides[0] + index % from->shape[1] * from->strides[1];
    T* y = to + index * h * w;
    for (int64_t i = 0; i < h; ++i, x += row, y += w) {
      for (int64_t j = 0; j < w; ++j) y[j] = Stored<S>::value(x[j * step]);
    }
  }
  const T* data() const { return to != nullptr ? to : reinterpret_cast<const T*>(from->data); }
  Images<T> images() const {
    if (to == nullptr) return {data(), from->strides[0], from->strides[1]};
    const int64_t plane = from->shape[2] * from->shape[3];
    return {to, from->shape[1] * plane, plane};
  }
};

enum class Dense { planes, whole };

template <class S>
Copy<S> copy_if_needed(Scratch& scratch, const KOperand& x, Dense dense) {
  Copy<S> copy{&x, nullptr};
  if (!x.given || x.numel == 0) return copy;
  const bool ready = !Stored<S>::kConverts && (x.contiguous || (dense == Dense::planes && has_dense_planes(x)));
  if (!ready) copy.to = scratch.take<typename Stored<S>::Compute>(x.numel);
  return copy;
}

// What a kernel works on: operands brought to T, the output in T, and room for its own use.
template <class S>
struct Frame {
  using T = typename Stored<S>::Compute;
  Scratch scratch;
  Copy<S> first, second, bias;
  T* out;
  bool converts_out = Stored<S>::kConverts;

  Frame(const KernelArgs& args, Dense first_dense, Dense second_dense) : scratch(args.scratch) {
    first = copy_if_needed<S>(scratch, args.in[0], first_dense);
    second = copy_if_needed<S>(scratch, args.in[1], second_dense);
    if (args.in_count > 2) bias = copy_if_needed<S>(scratch, args.in[2], Dense::whole);
    out = converts_out ? scratch.take<T>(args.out[0].numel) : reinterpret_cast<T*>(args.out[0].data);
  }
  int64_t planes() const { return first.planes() + second.planes() + (bias.from != nullptr ? bias.planes() : 0); }
  int64_t copied_elements() const {
    int64_t total = 0;
    for (const Copy<S>* c : {&first, &second, &bias}) total += c->to != nullptr ? c->from->numel : 0;
    return total;
  }
  int64_t copy_tasks() const { return planes() == 0 ? 0 : most(1, least(planes(), copied_elements() / kCopyElements)); }
  void copy(int64_t task) const {
    const int64_t tasks = copy_tasks();
    const int64_t end = planes() * (task + 1) / tasks;
    for (int64_t plane = planes() * task / tasks; plane < end; ++plane) {
      const int64_t after_first = plane - first.planes();
      if (after_first < 0) {
        first.plane(plane);
      } else if (after_first < second.planes()) {
        second.plane(after_first);
      } else {
        bias.plane(after_first - second.planes());
      }
    }
  }
};

// Rounds the float results of 16-bit types to where they belong.
template <class S>
void round_out(const KOperand& out, const typename Stored<S>::Compute* from, int64_t task) {
  const int64_t end = least(out.numel, (task + 1) * kCopyElements);
  S* to = out.as<S>();
  for (int64_t i = task * kCopyElements; i < end; ++i) to[i] = Stored<S>::round(from[i]);
}
template <class S>
int64_t round_tasks(const KOperand& out) {
  return Stored<S>::kConverts ? ceil_div(out.numel, kCopyElements) : 0;
}

// ---- windows ----

// At most a vector of windows side by side in one row of one image.
struct Piece {
  int64_t image;  // offset of the image
  int64_t row;    // of the output; kOutside for zeros
  int64_t col;
  int32_t count;
  int32_t at;  // column of the panel
};
constexpr int64_t kOutside = int64_t{-1} << 50;

template <int kWidth>
int split_row(Piece* to, int count, const Sizes& s, int64_t image, int64_t pixel, int64_t end, int64_t at) {
  int64_t row = pixel / s.ow;
  int64_t col = pixel % s.ow;
  while (pixel < end) {
    const int64_t length = least(least(kWidth, s.ow - col), end - pixel);
    to[count++] = {image, row, col, static_cast<int32_t>(length), static_cast<int32_t>(at)};
    pixel += length;
    at += length;
    col += length;
    if (col == s.ow) col = 0, ++row;
  }
  return count;
}

// Rows [k_begin, k_end) of the matrix of windows, for the pixels in `pieces`, `to_stride` apart. Whole vectors are stored, so a row's end runs
// into the next row's begin, which is written after it; behind the last row lie two vectors to spare.
template <class T>
void lay_windows(T* to, int64_t to_stride, const T* x, int64_t c_stride, const Sizes& s, int64_t k_begin, int64_t k_end,
                 const Piece* pieces, int count) {
  using L = Lanes<T>;
  int64_t c = k_begin / s.taps;
  int64_t i = k_begin % s.taps / s.kw;
  int64_t j = k_begin % s.kw;
  const bool padded = s.pad_h != 0 || s.pad_w != 0 || pieces[count - 1].row == kOutside;
  for (int64_t k = k_begin; k < k_end; ++k, to += to_stride) {
    const T* plane = x + c * c_stride;
    const int64_t dy = i * s.step_h - s.pad_h;
    const int64_t dx = j * s.step_w - s.pad_w;
    if (!padded && s.stride_w == 1) {
      const T* from = plane + dy * s.w + dx;
      for (const Piece* p = pieces; p < pieces + count; ++p) {
        L::store(to + p->at, L::load_edge(from + p->image + p->row * s.stride_h * s.w + p->col, L::edge(p->count)));
      }
    } else {
      for (const Piece* p = pieces; p < pieces + count; ++p) {
        T* dst = to + p->at;
        const int64_t y = p->row == kOutside ? -1 : p->row * s.stride_h + dy;
        if (y < 0 || y >= s.h) {
          L::store(dst, L::zero());
          continue;
        }
        const int64_t left = p->col * s.stride_w + dx;
        const T* line = plane + p->image + y * s.w;
        if (s.stride_w == 1) {
          if (left >= 0 && left + p->count <= s.w) {
            L::store(dst, L::load_edge(line + left, L::edge(p->count)));
            continue;
          }
          const int64_t first = most(0, -left);
          const int64_t last = least(p->count, s.w - left);
          L::store(dst, L::zero());
          if (first < last) {
            L::store(dst + first, L::load_edge(line + left + first, L::edge(static_cast<int>(last - first))));
          }
        } else {
          T lanes[L::kWidth] = {};
          for (int32_t q = 0; q < p->count; ++q) {
            const int64_t at = left + q * s.stride_w;
            if (at >= 0 && at < s.w) lanes[q] = line[at];
          }
          L::store(dst, L::load(lanes));
        }
      }
    }
    if (++j == s.kw) {
      j = 0;
      if (++i == s.kh) i = 0, ++c;
    }
  }
}

// ---- forward ----

int64_t panels_of(const Sizes& s, int64_t columns) { return s.n * s.groups * ceil_div(s.pixels, columns); }

template <class T>
int64_t forward_tasks(const Sizes& s) {
  const int64_t panels = panels_of(s, kPanelColumns<T>);
  const int64_t work = s.n * s.o * s.pixels * s.k;
  return panels == 0 || s.o == 0 ? 0 : most(1, least(least(kMaxTasks, panels), work / kTaskWork));
}

template <class T>
void run_forward(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task) {
  using L = Lanes<T>;
  constexpr int64_t kColumns = kPanelColumns<T>;
  alignas(64) T windows[kMaxBlockK * kColumns + 2 * L::kWidth];
  Piece pieces[kColumns];
  const int64_t tasks = forward_tasks<T>(s);
  const int64_t panels_per_plane = ceil_div(s.pixels, kColumns);
  const int64_t panels = panels_of(s, kColumns);
  const BlocksOfK blocks = blocks_of_k(s.k);
  const int64_t strips = ceil_div(s.group_o, L::kRows);
  const int64_t base = s.group_o / strips;
  const int64_t extra = s.group_o % strips;
  // A 1 x 1 kernel's windows are the image itself.
  const bool in_place = s.taps == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_h == 0 && s.pad_w == 0;
  MicroArgs<T> g;
  g.c_row_stride = s.pixels;
  g.a_row_stride = s.k;
  g.a_col_stride = 1;
  const int64_t panel_end = panels * (task + 1) / tasks;
  for (int64_t panel = panels * task / tasks; panel < panel_end; ++panel) {
    const int64_t pixel = panel % panels_per_plane * kColumns;
    const int64_t plane = panel / panels_per_plane;
    const int64_t group = plane % s.groups;
    const int64_t image = plane / s.groups;
    const auto columns = static_cast<int>(least(kColumns, s.pixels - pixel));
    const T* from = x.data + image * x.n_stride + group * s.group_c * x.c_stride;
    T* to = out + (image * s.o + group * s.group_o) * s.pixels + pixel;
    int count = 0;
    if (!in_place) count = split_row<L::kWidth>(pieces, 0, s, 0, pixel, pixel + columns, 0);
    for (int64_t kb = 0; kb < blocks.count; ++kb) {
      const int64_t k0 = kb * blocks.size;
      const int64_t k1 = least(s.k, k0 + blocks.size);
      if (in_place) {
        g.b = from + k0 * x.c_stride + pixel;
        g.b_row_stride = x.c_stride;
      } else {
        lay_windows<T>(windows, kColumns, from, x.c_stride, s, k0, k1, pieces, count);
        g.b = windows;
        g.b_row_stride = kColumns;
      }
      g.k = k1 - k0;
      g.add = kb > 0;
      int64_t row = 0;
      for (int64_t strip = 0; strip < strips; ++strip) {
        const auto rows = static_cast<int>(base + (strip < extra ? 1 : 0));
        g.a = weight + (group * s.group_o + row) * s.k + k0;
        g.c = to + row * s.pixels;
        g.row_bias = bias != nullptr && kb + 1 == blocks.count ? bias + group * s.group_o + row : nullptr;
        run_micro(g, rows, columns, s.k == 1);
        row += rows;
      }
    }
  }
}

template <class S>
struct Forward {
  using T = typename Stored<S>::Compute;
  static Sizes sizes(const KernelArgs& args) {
    return sizes_of(args.in[0].shape, args.in[1].shape, args.out[0].shape, args.attrs_as<ConvAttrs>());
  }
  static Frame<S> frame(const KernelArgs& args) { return Frame<S>(args, Dense::planes, Dense::whole); }
  static size_t scratch(const KernelArgs& args) noexcept { return frame(args).scratch.bytes(); }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept { return frame(args).copy_tasks(); }
  static void prepare(const KernelArgs& args, int64_t task) noexcept { frame(args).copy(task); }
  static int64_t tasks(const KernelArgs& args) noexcept { return forward_tasks<T>(sizes(args)); }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Frame<S> f = frame(args);
    const bool has_bias = args.in_count > 2 && args.in[2].given;
    run_forward<T>(sizes(args), f.first.images(), f.second.data(), has_bias ? f.bias.data() : nullptr, f.out, task);
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept { return round_tasks<S>(args.out[0]); }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    round_out<S>(args.out[0], frame(args).out, task);
  }
};

// ---- gradient by the images ----

// A forward convolution computes h w windows where the other way computes oh ow, and lays out o kh kw elements for each of them, which
// few channels do not repay; but it need not add tiles to memory.
bool runs_as_forward(const Sizes& s) {
  return s.stride_h == 1 && s.stride_w == 1 && s.group_c >= 8 && 4 * s.h * s.w <= 5 * s.pixels;
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
Scatter scatter_of(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  Scatter c;
  const int64_t planes = s.n * s.groups;
  const int64_t work = s.group_o * s.k * s.pixels;
  c.channel_blocks = most(1, least(least(s.group_c, work / kTaskWork), ceil_div(kMaxTasks, most(1, planes))));
  c.plane_tasks = least(planes, most(1, planes * work / kTaskWork));
  c.stride = round_up(s.pixels, kWidth);
  c.gathers = s.stride_h == 1 && s.stride_w == 1 && s.taps * c.stride <= 2 * kWindowElements;
  const int64_t most_channels = ceil_div(s.group_c, c.channel_blocks);
  c.channels = most(1, least(most_channels, kWindowElements / (s.taps * c.stride)));
  // A vector before and two behind, which ranges of lanes reach into without reading.
  c.room = c.gathers ? round_up(c.channels * s.taps * c.stride + 3 * kWidth, 64) : 0;
  return c;
}

// Adds a row of a tile to the pixels where its windows came from.
template <class T>
void add_row(T* plane, const T* tile, const Sizes& s, int64_t dy, int64_t dx, const Piece* pieces, int count) {
  using L = Lanes<T>;
  for (const Piece* p = pieces; p < pieces + count; ++p) {
    const int64_t y = p->row * s.stride_h + dy;
    if (y < 0 || y >= s.h) continue;
    const int64_t left = p->col * s.stride_w + dx;
    T* line = plane + y * s.w;
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
void scatter_plane(const Sizes& s, const T* gradient, int64_t gradient_stride, const T* weight, T* to, int64_t c_begin,
                   int64_t c_end) {
  using L = Lanes<T>;
  constexpr int64_t kColumns = kPanelColumns<T>;
  alignas(64) T tile[L::kRows * kColumns];
  Piece pieces[kColumns];
  std::memset(static_cast<void*>(to + c_begin * s.h * s.w), 0,
              static_cast<size_t>((c_end - c_begin) * s.h * s.w) * sizeof(T));
  for (int64_t pixel = 0; pixel < s.pixels; pixel += kColumns) {
    const auto columns = static_cast<int>(least(kColumns, s.pixels - pixel));
    const int count = split_row<L::kWidth>(pieces, 0, s, 0, pixel, pixel + columns, 0);
    multiply_rows<T>(
        s, weight, gradient + pixel, gradient_stride, c_begin * s.taps, c_end * s.taps, columns, false, kColumns,
        [&](int64_t) { return tile; },
        [&](int64_t row, int rows) {
          for (int r = 0; r < rows; ++r) {
            const int64_t tap = (row + r) % s.taps;
            add_row<T>(to + (row + r) / s.taps * s.h * s.w, tile + r * kColumns, s, tap / s.kw * s.step_h - s.pad_h,
                       tap % s.kw * s.step_w - s.pad_w, pieces, count);
          }
        });
  }
}

// The image's row of a channel, a vector at a time: the sum over taps of what each window gives to these pixels.
template <class T>
void gather_channel(const Sizes& s, const T* rows, int64_t row_stride, T* to) {
  using L = Lanes<T>;
  for (int64_t y = 0; y < s.h; ++y, to += s.w) {
    for (int64_t x = 0; x < s.w; x += L::kWidth) {
      const int64_t count = least(L::kWidth, s.w - x);
      auto sum = L::zero();
      for (int64_t i = 0; i < s.kh; ++i) {
        const int64_t row = y + s.pad_h - i * s.step_h;
        if (row < 0 || row >= s.oh) continue;
        for (int64_t j = 0; j < s.kw; ++j) {
          const int64_t col = x + s.pad_w - j * s.step_w;
          const int64_t first = most(0, -col);
          const int64_t last = least(count, s.ow - col);
          if (first >= last) continue;
          const T* from = rows + (i * s.kw + j) * row_stride + row * s.ow + col;
          sum = sum + L::load_range(from, static_cast<int>(first), static_cast<int>(last));
        }
      }
      L::store_edge(to + x, L::edge(static_cast<int>(count)), sum);
    }
  }
}

template <class T>
void gather_plane(const Sizes& s, const Scatter& c, const T* gradient, int64_t gradient_stride, const T* weight, T* to,
                  int64_t c_begin, int64_t c_end, T* room) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  T* const rows = room + Lanes<T>::kWidth;
  for (int64_t channel = c_begin; channel < c_end; channel += c.channels) {
    const int64_t end = least(c_end, channel + c.channels);
    const int64_t row_begin = channel * s.taps;
    for (int64_t pixel = 0; pixel < s.pixels; pixel += kColumns) {
      multiply_rows<T>(
          s, weight, gradient + pixel, gradient_stride, row_begin, end * s.taps,
          static_cast<int>(least(kColumns, s.pixels - pixel)), true, c.stride,
          [&](int64_t row) { return rows + (row - row_begin) * c.stride + pixel; }, [](int64_t, int) {});
    }
    for (int64_t each = channel; each < end; ++each) {
      gather_channel<T>(s, rows + (each - channel) * s.taps * c.stride, c.stride, to + each * s.h * s.w);
    }
  }
}

template <class T>
void run_scatter(const Sizes& s, const Images<T>& gradient, const T* weight, T* out, T* room, int64_t task) {
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
    const T* from = gradient.data + image * gradient.n_stride + group * s.group_o * gradient.c_stride;
    const T* factors = weight + group * s.group_o * s.k;
    T* to = out + (image * s.c + group * s.group_c) * s.h * s.w;
    if (c.gathers) {
      gather_plane<T>(s, c, from, gradient.c_stride, factors, to, c_begin, c_end, room + task * c.room);
    } else {
      scatter_plane<T>(s, from, gradient.c_stride, factors, to, c_begin, c_end);
    }
  }
}

template <class S>
struct GradInput {
  using T = typename Stored<S>::Compute;
  static Sizes sizes(const KernelArgs& args) {
    return sizes_of(args.out[0].shape, args.in[1].shape, args.in[0].shape, args.attrs_as<ConvGradInputAttrs>());
  }
  // `room` is for the flipped weights or for rows to gather from.
  static Frame<S> frame(const KernelArgs& args, const Sizes& s, T*& room) {
    Frame<S> f(args, Dense::planes, Dense::whole);
    if (runs_as_forward(s)) {
      room = f.scratch.template take<T>(args.in[1].numel);
    } else {
      const Scatter c = scatter_of<T>(s);
      room = f.scratch.template take<T>(c.plane_tasks * c.channel_blocks * c.room);
    }
    return f;
  }
  static size_t scratch(const KernelArgs& args) noexcept {
    T* room = nullptr;
    return frame(args, sizes(args), room).scratch.bytes();
  }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept {
    T* room = nullptr;
    const Sizes s = sizes(args);
    return frame(args, s, room).copy_tasks() + (runs_as_forward(s) ? 1 : 0);
  }
  static void prepare(const KernelArgs& args, int64_t task) noexcept {
    T* room = nullptr;
    const Sizes s = sizes(args);
    const Frame<S> f = frame(args, s, room);
    if (task < f.copy_tasks()) return f.copy(task);
    const KOperand& weight = args.in[1];
    const S* from = weight.as<S>();
    for (int64_t group = 0; group < s.groups; ++group) {
      for (int64_t c = 0; c < s.group_c; ++c) {
        for (int64_t o = 0; o < s.group_o; ++o) {
          const S* at = from + (group * s.group_o + o) * weight.strides[0] + c * weight.strides[1];
          for (int64_t i = s.kh - 1; i >= 0; --i) {
            for (int64_t j = s.kw - 1; j >= 0; --j) {
              *room++ = Stored<S>::value(at[i * weight.strides[2] + j * weight.strides[3]]);
            }
          }
        }
      }
    }
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Sizes s = sizes(args);
    if (runs_as_forward(s)) return forward_tasks<T>(transposed(s));
    const Scatter c = scatter_of<T>(s);
    return c.plane_tasks * c.channel_blocks;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    T* room = nullptr;
    const Sizes s = sizes(args);
    const Frame<S> f = frame(args, s, room);
    if (runs_as_forward(s)) {
      run_forward<T>(transposed(s), f.first.images(), room, nullptr, f.out, task);
    } else {
      run_scatter<T>(s, f.first.images(), f.second.data(), f.out, room, task);
    }
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept { return round_tasks<S>(args.out[0]); }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    T* room = nullptr;
    round_out<S>(args.out[0], frame(args, sizes(args), room).out, task);
  }
};

// ---- gradient by the weights ----

// Tiles of dot products: as many rows of each factor as registers hold.
template <class T>
constexpr int kDotO = Lanes<T>::kRows == 14 ? 4 : 3;
template <class T>
constexpr int kDotK = Lanes<T>::kRows == 14 ? 6 : 4;

// sums[i * sums_stride + j] += dot(a row i, b row j) over `length`, a multiple of the vector.
template <class T, int kI, int kJ>
void dot_tile(const T* a, const T* b, int64_t row_stride, int64_t length, T* sums, int64_t sums_stride) {
  using L = Lanes<T>;
  typename L::Vec acc[kI][kJ];
#pragma GCC unroll 8
  for (int i = 0; i < kI; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kJ; ++j) acc[i][j] = L::zero();
  }
  for (int64_t at = 0; at < length; at += L::kWidth) {
    typename L::Vec av[kI];
#pragma GCC unroll 8
    for (int i = 0; i < kI; ++i) av[i] = L::load(a + i * row_stride + at);
#pragma GCC unroll 8
    for (int j = 0; j < kJ; ++j) {
      const auto bv = L::load(b + j * row_stride + at);
#pragma GCC unroll 8
      for (int i = 0; i < kI; ++i) acc[i][j] = L::fma(av[i], bv, acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kI; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kJ; ++j) sums[i * sums_stride + j] = sums[i * sums_stride + j] + L::sum(acc[i][j]);
  }
}

template <class T>
using DotFunction = void (*)(const T*, const T*, int64_t, int64_t, T*, int64_t);

template <class T, int kI, int kMaxJ>
constexpr DotFunction<T> dot_function(int j) {
  if constexpr (kMaxJ == 1) {
    return dot_tile<T, kI, 1>;
  } else {
    return j == kMaxJ ? dot_tile<T, kI, kMaxJ> : dot_function<T, kI, kMaxJ - 1>(j);
  }
}
template <class T, int kMaxI>
constexpr DotFunction<T> dot_function_of(int i, int j) {
  if constexpr (kMaxI == 1) {
    return dot_function<T, 1, kDotK<T>>(j);
  } else {
    return i == kMaxI ? dot_function<T, kMaxI, kDotK<T>>(j) : dot_function_of<T, kMaxI - 1>(i, j);
  }
}

// How pixels are gathered into rows of windows: several small images side by side, or a part of a large one.
struct Units {
  int64_t images;     // per unit
  int64_t blocks;     // parts of an image
  int64_t block;      // pixels of a part
  int64_t columns;    // of one image in a unit, padded to whole vectors
  int64_t stride;     // elements of a row of windows
  int64_t rows;       // of windows laid at a time
  int64_t per_group;  // units of a group
  int64_t partials;   // tasks of a group, each with its own sums
};

template <class T>
Units units_of(const Sizes& s) {
  constexpr int64_t kWidth = Lanes<T>::kWidth;
  Units u;
  constexpr int64_t columns = kMaxWindowColumns / kWidth * kWidth;
  const int64_t padded = round_up(s.pixels, kWidth);
  u.blocks = ceil_div(s.pixels, columns);
  u.block = round_up(ceil_div(s.pixels, most(1, u.blocks)), kWidth);
  u.columns = least(padded, u.block);
  u.images = u.blocks > 1 ? 1 : most(1, least(s.n, columns / most(1, padded)));
  u.stride = u.images * u.columns;
  u.rows = least(round_up(s.k, kDotK<T>), most(1, kWindowElements / most(1, u.stride) / kDotK<T>) * kDotK<T>);
  u.per_group = ceil_div(s.n, u.images) * u.blocks;
  const int64_t work = s.n * s.group_o * s.k * s.pixels;
  u.partials = most(1, least(least(kMaxPartials, u.per_group), work / (2 * kTaskWork)));
  return u;
}

template <class T>
struct WeightRoom {
  T* partials;  // one set of weights for each task of a group
  T* windows;   // for each task
  T* gradient;
  int64_t windows_elements, gradient_elements;
};

template <class T>
WeightRoom<T> weight_room(Scratch& scratch, const Sizes& s, const Units& u) {
  constexpr int64_t kSlack = 2 * Lanes<T>::kWidth;
  WeightRoom<T> r;
  r.windows_elements = round_up(u.rows * u.stride + kSlack, 16);
  r.gradient_elements = round_up(s.group_o * u.stride + kSlack, 16);
  r.partials = scratch.take<T>(u.partials * s.o * s.k);
  r.windows = scratch.take<T>(u.partials * s.groups * r.windows_elements);
  r.gradient = scratch.take<T>(u.partials * s.groups * r.gradient_elements);
  return r;
}

template <class T>
void run_grad_weight(const Sizes& s, const Units& u, const WeightRoom<T>& room, const Images<T>& x,
                     const Images<T>& gradient, int64_t task) {
  using L = Lanes<T>;
  Piece pieces[kMaxWindowColumns + kMaxWindowColumns / L::kWidth];
  T* const windows = room.windows + task * room.windows_elements;
  T* const rows = room.gradient + task * room.gradient_elements;
  const int64_t group = task / u.partials;
  const int64_t part = task % u.partials;
  T* const sums = room.partials + (part * s.o + group * s.group_o) * s.k;
  for (int64_t i = 0; i < s.group_o * s.k; ++i) sums[i] = T{0};
  const int64_t unit_end = u.per_group * (part + 1) / u.partials;
  for (int64_t unit = u.per_group * part / u.partials; unit < unit_end; ++unit) {
    const int64_t first = unit / u.blocks * u.images;
    const int64_t images = least(u.images, s.n - first);
    const int64_t pixel = unit % u.blocks * u.block;
    const int64_t pixels = least(u.block, s.pixels - pixel);
    const int64_t length = round_up(pixels, L::kWidth);
    int count = 0;
    for (int64_t i = 0; i < images; ++i) {
      const int64_t at = i * length;
      count = split_row<L::kWidth>(pieces, count, s, i * x.n_stride, pixel, pixel + pixels, at);
      if (pixels != length) pieces[count++] = {0, kOutside, 0, 0, static_cast<int32_t>(at + pixels)};
    }
    const int64_t stride = images * length;
    for (int64_t o = 0; o < s.group_o; ++o) {
      for (int64_t i = 0; i < images; ++i) {
        const T* from =
            gradient.data + (first + i) * gradient.n_stride + (group * s.group_o + o) * gradient.c_stride + pixel;
        T* to = rows + o * stride + i * length;
        for (int64_t j = 0; j < length; j += L::kWidth) {
          L::store(to + j, L::load_edge(from + j, L::edge(static_cast<int>(least(L::kWidth, pixels - j)))));
        }
      }
    }
    const T* const from = x.data + first * x.n_stride + group * s.group_c * x.c_stride;
    for (int64_t k_begin = 0; k_begin < s.k; k_begin += u.rows) {
      const int64_t k_end = least(s.k, k_begin + u.rows);
      lay_windows<T>(windows, stride, from, x.c_stride, s, k_begin, k_end, pieces, count);
      for (int64_t k = k_begin; k < k_end; k += kDotK<T>) {
        const auto across = static_cast<int>(least(kDotK<T>, k_end - k));
        for (int64_t o = 0; o < s.group_o; o += kDotO<T>) {
          const auto down = static_cast<int>(least(kDotO<T>, s.group_o - o));
          dot_function_of<T, kDotO<T>>(down, across)(rows + o * stride, windows + (k - k_begin) * stride, stride,
                                                     stride, sums + o * s.k + k, s.k);
        }
      }
    }
  }
}

template <class S>
struct GradWeight {
  using T = typename Stored<S>::Compute;
  struct Setup {
    Sizes s;
    Units u;
    Frame<S> f;
    WeightRoom<T> room;
    explicit Setup(const KernelArgs& args)
        : s(sizes_of(args.in[0].shape, args.out[0].shape, args.in[1].shape, args.attrs_as<ConvGradWeightAttrs>())),
          u(units_of<T>(s)),
          f(args, Dense::planes, Dense::planes),
          room(weight_room<T>(f.scratch, s, u)) {}
  };
  static size_t scratch(const KernelArgs& args) noexcept { return Setup(args).f.scratch.bytes(); }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept { return Setup(args).f.copy_tasks(); }
  static void prepare(const KernelArgs& args, int64_t task) noexcept { Setup(args).f.copy(task); }
  static int64_t tasks(const KernelArgs& args) noexcept {
    const Setup setup(args);
    return setup.u.partials * setup.s.groups;
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    run_grad_weight<T>(setup.s, setup.u, setup.room, setup.f.first.images(), setup.f.second.images(), task);
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept { return ceil_div(args.out[0].numel, kCopyElements); }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    const Setup setup(args);
    const int64_t numel = args.out[0].numel;
    S* to = args.out[0].as<S>();
    const int64_t end = least(numel, (task + 1) * kCopyElements);
    for (int64_t i = task * kCopyElements; i < end; ++i) {
      T sum = setup.room.partials[i];
      for (int64_t part = 1; part < setup.u.partials; ++part) sum = sum + setup.room.partials[part * numel + i];
      to[i] = Stored<S>::round(sum);
    }
  }
};

template <class Family>
Kernel kernel_of() {
  Kernel kernel;
  kernel.phases[0] = {Family::prepare, Family::prepare_tasks};
  kernel.phases[1] = {Family::run, Family::tasks};
  kernel.phases[2] = {Family::finish, Family::finish_tasks};
  kernel.phase_count = 3;
  kernel.scratch_bytes = Family::scratch;
  return kernel;
}

template <class S>
void add(KernelSink& sink) {
  sink.add("conv2d", kDTypeOf<S>, kernel_of<Forward<S>>());
  sink.add("conv2d_grad_input", kDTypeOf<S>, kernel_of<GradInput<S>>());
  sink.add("conv2d_grad_weight", kDTypeOf<S>, kernel_of<GradWeight<S>>());
}

}  // namespace

void fill_conv(KernelSink& sink) {
  add<float>(sink);
  add<double>(sink);
  add<Float16>(sink);
  add<BFloat16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

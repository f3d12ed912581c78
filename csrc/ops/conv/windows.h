// What the kernels of the convolutions share: sizes, copies to dense memory, and rows of the matrix of windows.
//
// Everybody has three axes here: (depth, height, width), of which a convolution over fewer has the last. Where the depth is one throughout
// (`Sizes::deep` is false) no work is spent on it. For kernel files (compiled per ISA).
// Invariant: windows may reach anywhere beyond the image, on either side; what lies there is zero.
// Read next: kernels_cpu.cpp.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/counts.h"
#include "core/kernel_args.h"
#include "kernels/epilogue.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/stored.h"
#include "kernels/pairs.h"
#include "ops/conv/attrs.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kTaskWork = 512 * 1024;  // multiply-adds worth a task
constexpr int64_t kMaxTasks = 64;
constexpr int64_t kCopyElements = 32 * 1024;  // elements that one task copies or converts

// Sizes of a convolution, of whichever of the three operands are inputs.
struct Sizes {
  int64_t n, c, d, h, w;
  int64_t o, kd, kh, kw, od, oh, ow;
  int64_t stride_d, stride_h, stride_w, pad_d, pad_h, pad_w, step_d, step_h, step_w;  // pads before the image
  int64_t groups;
  int64_t group_c, group_o;  // channels of one group
  int64_t taps;              // elements of a window in one channel
  int64_t k;                 // elements of a window in all channels of a group
  int64_t image;             // elements of a channel
  int64_t pixels;            // windows of one image
  bool deep;                 // there is more than one slice, of whatever
  bool inside;               // no window begins before the image or ends behind it

  bool has_unit_strides() const { return stride_d == 1 && stride_h == 1 && stride_w == 1; }
  [[gnu::noinline]] void derive() {
    const auto fits = [](int64_t pad, int64_t out, int64_t stride, int64_t kernel, int64_t step, int64_t size) {
      return pad == 0 && (out - 1) * stride + (kernel - 1) * step < size;
    };
    group_c = c / groups;
    group_o = o / groups;
    taps = kd * kh * kw;
    k = group_c * taps;
    image = d * h * w;
    pixels = od * oh * ow;
    deep = d != 1 || kd != 1 || od != 1;
    inside = fits(pad_d, od, stride_d, kd, step_d, d) && fits(pad_h, oh, stride_h, kh, step_h, h) &&
             fits(pad_w, ow, stride_w, kw, step_w, w);
  }
};

// Entry of an axis counted from the last one; a convolution over fewer axes has `otherwise` there.
GORGO_GEMM_INLINE int64_t from_last(const int64_t* entries, int axes, int back, int64_t otherwise) {
  return back < axes ? entries[axes - 1 - back] : otherwise;
}

[[gnu::noinline]] Sizes sizes_of(const KOperand& x, const KOperand& weight, const KOperand& out, const ConvAttrs& a) {
  const int axes = x.rank - 2;
  const auto size = [&](const KOperand& t, int back) { return from_last(t.shape + 2, axes, back, 1); };
  const auto entry = [&](const Dims& entries, int back, int64_t otherwise) {
    return from_last(entries.data(), axes, back, otherwise);
  };
  Sizes s;
  s.n = x.shape[0], s.c = x.shape[1], s.d = size(x, 2), s.h = size(x, 1), s.w = size(x, 0);
  s.o = weight.shape[0], s.kd = size(weight, 2), s.kh = size(weight, 1), s.kw = size(weight, 0);
  s.od = size(out, 2), s.oh = size(out, 1), s.ow = size(out, 0);
  s.stride_d = entry(a.stride, 2, 1), s.stride_h = entry(a.stride, 1, 1), s.stride_w = entry(a.stride, 0, 1);
  s.pad_d = entry(a.padding, 2, 0), s.pad_h = entry(a.padding, 1, 0), s.pad_w = entry(a.padding, 0, 0);
  s.step_d = entry(a.dilation, 2, 1), s.step_h = entry(a.dilation, 1, 1), s.step_w = entry(a.dilation, 0, 1);
  s.groups = a.groups;
  s.derive();
  return s;
}

// Images whose channels are dense.
template <class T>
struct Images {
  const T* data;
  int64_t n_stride, c_stride;
};

bool has_dense_channels(const KOperand& x) {
  int64_t size = 1;
  for (int i = x.rank - 1; i > 1; --i) {
    if (x.shape[i] != 1 && x.strides[i] != size) return false;
    size *= x.shape[i];
  }
  return true;
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

// ---- 16-bit types ----

// Convolutions are compiled for the types they compute in. What lies in memory may be of another one, which the few know
// that copy from there or round to it: f is called with an element of it.
template <class T, class F>
GORGO_GEMM_INLINE void as_stored(DType dtype, F&& f) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (dtype == DType::Float16) return f(Float16());
    if (dtype == DType::BFloat16) return f(BFloat16());
  }
  f(T());
}
template <class T>
GORGO_GEMM_INLINE bool is_converted(const KOperand& x) {
  return x.dtype != kDTypeOf<T>;
}

// Channel `index` of images, or of a bias all.
template <class S>
[[gnu::noinline]] void copy_channel(const KOperand& from, bool is_image, int64_t index,
                                    typename Stored<S>::Compute* to) noexcept {
  const int axes = is_image ? from.rank - 2 : 1;
  const int64_t* const shape = from.shape + from.rank - axes;
  const int64_t* const strides = from.strides + from.rank - axes;
  const int64_t d = from_last(shape, axes, 2, 1);
  const int64_t h = from_last(shape, axes, 1, 1);
  const int64_t w = shape[axes - 1];
  const int64_t slice = from_last(strides, axes, 2, 0);
  const int64_t row = from_last(strides, axes, 1, 0);
  const int64_t step = strides[axes - 1];
  const S* x = from.as<S>();
  if (is_image) x += index / from.shape[1] * from.strides[0] + index % from.shape[1] * from.strides[1];
  auto* y = to + index * d * h * w;
  for (int64_t l = 0; l < d; ++l) {
    const S* line = x + l * slice;
    for (int64_t i = 0; i < h; ++i, line += row, y += w) {
      for (int64_t j = 0; j < w; ++j) y[j] = Stored<S>::value(line[j * step]);
    }
  }
}

// An operand to be copied (and converted) to a dense one before the work begins.
template <class T>
struct Copy {
  const KOperand* from = nullptr;
  bool needed = false;  // else the operand is read in place; known before there is scratch
  T* to = nullptr;

  // Images go by channels, a bias all at once.
  bool is_image() const { return from->rank > 1; }
  int64_t channels() const { return !needed ? 0 : is_image() ? from->shape[0] * from->shape[1] : 1; }
  void channel(int64_t index) const {
    as_stored<T>(from->dtype, [&](auto element) { copy_channel<decltype(element)>(*from, is_image(), index, to); });
  }
  const T* data() const { return needed ? to : reinterpret_cast<const T*>(from->data); }
  Images<T> images() const {
    if (!needed) return {data(), from->strides[0], from->strides[1]};
    int64_t size = 1;
    for (int i = 2; i < from->rank; ++i) size *= from->shape[i];
    return {to, from->shape[1] * size, size};
  }
};

// What has to lie side by side; with `any` the reader takes every layout and type.
enum class Dense { any, channels, whole };

template <class T>
[[gnu::noinline]] Copy<T> copy_if_needed(Scratch& scratch, const KOperand& x, Dense dense) {
  Copy<T> copy{&x};
  if (!x.given || x.numel == 0) return copy;
  copy.needed = dense != Dense::any &&
                (is_converted<T>(x) || !(x.contiguous || (dense == Dense::channels && has_dense_channels(x))));
  if (copy.needed) copy.to = scratch.take<T>(x.numel);
  return copy;
}

// What a kernel works on: operands brought to T, the output in T, and room for its own use.
template <class T>
struct Frame {
  Scratch scratch;
  Copy<T> first, second, bias;
  T* out;
  bool converts_out;

  [[gnu::noinline]] Frame(const KernelArgs& args, Dense first_dense, Dense second_dense)
      : scratch(args.scratch), converts_out(is_converted<T>(args.out[0])) {
    first = copy_if_needed<T>(scratch, args.in[0], first_dense);
    second = copy_if_needed<T>(scratch, args.in[1], second_dense);
    if (args.in_count > 2) bias = copy_if_needed<T>(scratch, args.in[2], Dense::whole);
    out = converts_out ? scratch.take<T>(args.out[0].numel) : reinterpret_cast<T*>(args.out[0].data);
  }
  int64_t channels() const {
    return first.channels() + second.channels() + (bias.from != nullptr ? bias.channels() : 0);
  }
  int64_t copied_elements() const {
    int64_t total = 0;
    for (const Copy<T>* c : {&first, &second, &bias}) total += c->needed ? c->from->numel : 0;
    return total;
  }
  [[gnu::noinline]] int64_t copy_tasks() const {
    return channels() == 0 ? 0 : most(1, least(channels(), copied_elements() / kCopyElements));
  }
  [[gnu::noinline]] void copy(int64_t task) const {
    const int64_t tasks = copy_tasks();
    const int64_t end = channels() * (task + 1) / tasks;
    for (int64_t channel = channels() * task / tasks; channel < end; ++channel) {
      const int64_t after_first = channel - first.channels();
      const int64_t after_second = after_first - second.channels();
      const Copy<T>& here = after_first < 0 ? first : after_second < 0 ? second : bias;
      here.channel(after_first < 0 ? channel : after_second < 0 ? after_first : after_second);
    }
  }
};

// Rounds the float results of 16-bit types to where they belong.
template <class S>
[[gnu::noinline]] void round_run(const typename Stored<S>::Compute* from, int64_t count, S* to) noexcept {
  for (int64_t i = 0; i < count; ++i) to[i] = Stored<S>::round(from[i]);
}
template <class T>
void round_out(const KOperand& out, const T* from, int64_t task) {
  const int64_t begin = task * kCopyElements;
  const int64_t count = least(out.numel - begin, kCopyElements);
  as_stored<T>(out.dtype, [&](auto element) { round_run(from + begin, count, out.as<decltype(element)>() + begin); });
}
template <class T>
int64_t round_tasks(const KOperand& out) {
  return is_converted<T>(out) ? ceil_div(out.numel, kCopyElements) : 0;
}

// ---- pieces of the work ----

// Planes of so many by so many pieces, of `rows` by `cols` elements each.
struct Grid {
  int64_t rows, cols;
  int64_t down, across;
};

// Where a piece lies: they are counted across, then down, then by slices, groups and images.
struct Place {
  int64_t image, group, slice, row, col, rows, cols;
  Place(const Grid& g, int64_t piece, int64_t slices, int64_t groups, int64_t height, int64_t width)
      : image(piece / g.across / g.down / slices / groups),
        group(piece / g.across / g.down / slices % groups),
        slice(piece / g.across / g.down % slices),
        row(piece / g.across % g.down * g.rows),
        col(piece % g.across * g.cols),
        rows(least(g.rows, height - row)),
        cols(least(g.cols, width - col)) {}
};

// The lanes [first, last) of so many, the first one at column x, that lie in a line of w elements.
struct Range {
  int first, last;
  static Range of(int64_t x, int64_t w, int64_t lanes) {
    const int64_t first = least(lanes, most(0, -x));
    return {static_cast<int>(first), static_cast<int>(most(first, least(lanes, w - x)))};
  }
  template <class T>
  typename Lanes<T>::Part part() const {
    return Lanes<T>::part(first, last);
  }
};

// f of the count as a constant, 1 <= count <= kMost: kernels compiled for each number are found so.
template <int kMost, class F>
constexpr auto for_count(int64_t count, F f) {
  if constexpr (kMost == 1) {
    return f(std::integral_constant<int, 1>{});
  } else {
    return count == kMost ? f(std::integral_constant<int, kMost>{}) : for_count<kMost - 1>(count, f);
  }
}

// ---- windows ----

// Rows of A in strips as even as possible: visit(row, rows).
template <class T, class Visit>
GORGO_GEMM_INLINE void each_strip(const Sizes& s, Visit&& visit) {
  const int64_t strips = ceil_div(s.group_o, Lanes<T>::kRows);
  const int64_t base = s.group_o / strips;
  const int64_t extra = s.group_o % strips;
  int64_t row = 0;
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t rows = base + (strip < extra ? 1 : 0);
    visit(row, static_cast<int>(rows));
    row += rows;
  }
}

// At most a vector of windows side by side in one row of one image.
struct Piece {
  int64_t image;  // offset of the image
  int64_t row;    // of the output; kOutside for zeros
  int64_t col;
  int32_t count;
  int32_t at;     // column of the panel
  int64_t slice;  // of the output; set where there is more than one
};
constexpr int64_t kOutside = int64_t{-1} << 50;

template <int kWidth>
int split_row(Piece* to, int count, const Sizes& s, int64_t image, int64_t pixel, int64_t end, int64_t at) {
  int64_t row = pixel / s.ow;
  int64_t col = pixel % s.ow;
  int64_t slice = 0;
  if (s.deep) {
    slice = row / s.oh;
    row %= s.oh;
  }
  while (pixel < end) {
    const int64_t length = least(least(kWidth, s.ow - col), end - pixel);
    to[count++] = {image, row, col, static_cast<int32_t>(length), static_cast<int32_t>(at), slice};
    pixel += length;
    at += length;
    col += length;
    if (col == s.ow) {
      col = 0;
      if (++row == s.oh && s.deep) row = 0, ++slice;
    }
  }
  return count;
}

// Rows [k_begin, k_end) of the matrix of windows, for the pixels in `pieces`, `to_stride` apart. Whole vectors are stored, so a row's end runs
// into the next row's begin, which is written after it; behind the last row lie two vectors to spare.
template <bool kDeep, class T>
void lay_windows_of(T* to, int64_t to_stride, const T* x, int64_t c_stride, const Sizes& s, int64_t k_begin,
                    int64_t k_end, const Piece* pieces, int count) {
  using L = Lanes<T>;
  int64_t c = k_begin / s.taps;
  int64_t l = kDeep ? k_begin % s.taps / (s.kh * s.kw) : 0;
  int64_t i = k_begin % (s.kh * s.kw) / s.kw;
  int64_t j = k_begin % s.kw;
  const bool inside = s.inside && pieces[count - 1].row != kOutside;
  for (int64_t k = k_begin; k < k_end; ++k, to += to_stride) {
    const T* plane = x + c * c_stride;
    const int64_t dz = l * s.step_d - s.pad_d;
    const int64_t dy = i * s.step_h - s.pad_h;
    const int64_t dx = j * s.step_w - s.pad_w;
    if (inside && s.stride_w == 1) {
      const T* from = plane + (kDeep ? dz * s.h + dy : dy) * s.w + dx;
      for (const Piece* p = pieces; p < pieces + count; ++p) {
        const int64_t row = p->row * s.stride_h + (kDeep ? p->slice * s.stride_d * s.h : 0);
        L::store(to + p->at, L::load_edge(from + p->image + row * s.w + p->col, L::edge(p->count)));
      }
    } else {
      for (const Piece* p = pieces; p < pieces + count; ++p) {
        T* dst = to + p->at;
        const int64_t y = p->row == kOutside ? -1 : p->row * s.stride_h + dy;
        const int64_t z = kDeep ? p->slice * s.stride_d + dz : 0;
        if (y < 0 || y >= s.h || (kDeep && (z < 0 || z >= s.d))) {
          L::store(dst, L::zero());
          continue;
        }
        const int64_t left = p->col * s.stride_w + dx;
        const T* line = plane + p->image + (kDeep ? z * s.h + y : y) * s.w;
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
        } else if (s.stride_w == 2) {
          // Lanes [first, last) of two vectors lie in the image, and before the last window.
          const Range met = Range::of(left, s.w, 2 * p->count - 1);
          const auto part = [&](int64_t at) __attribute__((always_inline)) {
            const auto begin = static_cast<int>(least(L::kWidth, most(0, met.first - at)));
            const auto end = static_cast<int>(least(L::kWidth, most(0, met.last - at)));
            return begin < end ? L::load_range(line + left + at, begin, end) : L::zero();
          };
          store_raw(dst, Pairs<T, L::kWidth>::split({part(0)}, {part(L::kWidth)}).even);
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
    if (++j < s.kw) continue;
    j = 0;
    if (++i < s.kh) continue;
    i = 0;
    if (!kDeep || ++l == s.kd) l = 0, ++c;
  }
}

template <class T>
void lay_windows(T* to, int64_t to_stride, const T* x, int64_t c_stride, const Sizes& s, int64_t k_begin, int64_t k_end,
                 const Piece* pieces, int count) {
  (s.deep ? lay_windows_of<true, T> : lay_windows_of<false, T>)(to, to_stride, x, c_stride, s, k_begin, k_end, pieces,
                                                                count);
}

// ---- a kernel of three phases: copies, work, rounding or adding up ----

template <class Family>
Kernel kernel_of() {
  Kernel kernel;
  kernel.phases[0] = {Family::prepare, Family::prepare_tasks};
  kernel.phases[1] = {Family::run, Family::tasks};
  kernel.phases[2] = {Family::finish, Family::finish_tasks};
  kernel.phase_count = 3;
  kernel.scratch_bytes = Family::scratch;
  if constexpr (requires { Family::keeps; }) kernel.keeps = Family::keeps;
  return kernel;
}

// The ops that a kernel serves, for elements of type S: it takes any number of axes.
template <class S>
void add_forward(KernelSink& sink, const Kernel& kernel) {
  for (const char* op : {"conv1d", "conv2d", "conv3d"}) sink.add(op, kDTypeOf<S>, kernel);
  add_with_epilogues<S>(sink, kernel, "conv1d_relu", "conv1d_relu_backward");
  add_with_epilogues<S>(sink, kernel, "conv2d_relu", "conv2d_relu_backward");
  add_with_epilogues<S>(sink, kernel, "conv3d_relu", "conv3d_relu_backward");
}

template <class S>
void add_transpose(KernelSink& sink, const Kernel& kernel) {
  for (const char* op : {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}) {
    sink.add(op, kDTypeOf<S>, kernel);
  }
  add_with_epilogues<S>(sink, kernel, "conv_transpose1d_relu", "conv_transpose1d_relu_backward");
  add_with_epilogues<S>(sink, kernel, "conv_transpose2d_relu", "conv_transpose2d_relu_backward");
  add_with_epilogues<S>(sink, kernel, "conv_transpose3d_relu", "conv_transpose3d_relu_backward");
}

template <class S>
void add_grad_weight(KernelSink& sink, const Kernel& kernel) {
  for (const char* op : {"conv1d_grad_weight", "conv2d_grad_weight", "conv3d_grad_weight"}) {
    sink.add(op, kDTypeOf<S>, kernel);
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

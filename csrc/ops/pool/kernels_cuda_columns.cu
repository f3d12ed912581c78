// The windows of images as the columns of a matrix, and the sum of columns back into images, on CUDA.
//
// Rows of the matrix are the taps of the window, channel by channel; columns are the windows, row by row. An element of an image
// adds up the columns of the windows over it, last window first, which is in the order of taps.
// Read next: windows_cuda.cuh.
#include "ops/pool/windows_cuda.cuh"

namespace gorgo::cuda {
namespace {

Windows windows_of_columns(const KOperand& image, const ColumnsAttrs& a) noexcept {
  Windows s;
  Axis* const all[2] = {&s.h, &s.w};
  for (int i = 0; i < 2; ++i) {
    const int64_t size = image.shape[image.rank - 2 + i];
    const int64_t kernel = a.kernel_size.data()[i], step = a.dilation.data()[i], padding = a.padding.data()[i];
    const int64_t stride = a.stride.data()[i];
    *all[i] = {size, (size + 2 * padding - step * (kernel - 1) - 1) / stride + 1, kernel, stride, padding, step};
  }
  s.planes = (image.rank == 4 ? image.shape[0] : 1) * image.shape[image.rank - 3];
  return s;
}

// Positions count (plane, tap, window); the taps and the windows of a plane each have two axes.
template <class S>
__global__ void __launch_bounds__(kThreads)
    image_to_columns_kernel(const __grid_constant__ Windows s, const __grid_constant__ Positions all,
                            const __grid_constant__ Divide by_kernel_w, const __grid_constant__ Divide by_channels,
                            const __grid_constant__ Planes<S> x, S* out) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position at(
        all, i);  // (plane / channels, plane % channels) are kept apart below: taps stand in the place of slices
    const int64_t p = by_kernel_w(at.z), q = at.z - p * s.w.kernel;
    const int64_t outer = by_channels(at.plane), channel = at.plane - outer * by_channels.divisor;
    const int64_t row = s.h.first(at.y) + p * s.h.step, col = s.w.first(at.x) + q * s.w.step;
    const bool inside = row >= 0 && row < s.h.input && col >= 0 && col < s.w.input;
    out[i] = inside ? x.data[outer * x.outer + channel * x.channel + x.at(0, row, col)] : S{};
  }
}

template <class S>
void image_to_columns_run(const KernelArgs& args, int64_t) noexcept {
  if (args.out[0].numel == 0) return;
  const KOperand& x = args.in[0];
  const Windows s = windows_of_columns(x, args.attrs_as<ColumnsAttrs>());
  const int64_t taps = s.h.kernel * s.w.kernel, channels = x.shape[x.rank - 3];
  const Positions all(s.planes, 1, taps, s.h.output, s.w.output);
  image_to_columns_kernel<S><<<grid_for(all.count, kThreads, 16), kThreads, 0, stream_of(args)>>>(
      s, all, Divide(s.w.kernel, taps), Divide(channels, s.planes), Planes<S>(x, 2), args.out[0].as<S>());
}

struct Columns {
  int64_t outer, row, col;  // strides of the matrix
};

template <class S>
__global__ void __launch_bounds__(kThreads)
    columns_to_image_kernel(const __grid_constant__ WindowsOver s, const __grid_constant__ Positions all,
                            const __grid_constant__ Divide by_step_h, const __grid_constant__ Divide by_step_w,
                            const __grid_constant__ Columns columns, const S* from, S* out) {
  using T = typename Element<S>::Compute;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all.count; i += step) {
    const Position at(all, i);
    const S* const rows = from + at.outer * columns.outer + at.channel * (s.h.kernel * s.w.kernel) * columns.row;
    const int64_t h_begin = s.h.over_begin(at.y), w_begin = s.w.over_begin(at.x), w_end = s.w.over_end(at.x);
    T sum{0};
    for (int64_t h = s.h.over_end(at.y) - 1; h >= h_begin; --h) {
      const int64_t y = at.y + s.h.padding - h * s.h.stride;  // from the window's first row
      const int64_t p = by_step_h(y);
      if (p * s.h.step != y) continue;
      for (int64_t w = w_end - 1; w >= w_begin; --w) {
        const int64_t x = at.x + s.w.padding - w * s.w.stride;
        const int64_t q = by_step_w(x);
        if (q * s.w.step != x) continue;
        const int64_t tap = p * s.w.kernel + q, window = h * s.w.output + w;
        sum = sum + Element<S>::load(rows + tap * columns.row + window * columns.col);
      }
    }
    out[i] = Element<S>::round(sum);
  }
}

template <class S>
void columns_to_image_run(const KernelArgs& args, int64_t) noexcept {
  const KOperand &x = args.in[0], &out = args.out[0];
  if (out.numel == 0) return;
  const Windows s = windows_of_columns(out, args.attrs_as<ColumnsAttrs>());
  const Positions all(s.planes, out.shape[out.rank - 3], 1, s.h.input, s.w.input);
  const Columns columns{x.rank == 3 ? x.strides[0] : 0, x.strides[x.rank - 2], x.strides[x.rank - 1]};
  columns_to_image_kernel<S><<<grid_for(all.count, kThreads, 16), kThreads, 0, stream_of(args)>>>(
      WindowsOver(s), all, Divide(s.h.step, s.h.input + s.h.padding), Divide(s.w.step, s.w.input + s.w.padding),
      columns, x.as<S>(), out.as<S>());
}

template <class S>
void add_all(KernelSink& sink) {
  add(sink, "im2col", kDTypeOf<S>, image_to_columns_run<S>);
  add(sink, "col2im", kDTypeOf<S>, columns_to_image_run<S>);
}

}  // namespace

void fill_pool_columns(KernelSink& sink) {
  add_all<float>(sink);
  add_all<double>(sink);
  add_all<Float16>(sink);
  add_all<BFloat16>(sink);
}

}  // namespace gorgo::cuda

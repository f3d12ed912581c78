// The windows of images as the columns of a matrix, and the sum of columns back into images, on the CPU: a task is a
// run of planes.
//
// Rows of the matrix are the taps of the window, channel by channel; columns are the windows, row by row.
// Invariant: a plane is summed tap by tap, whatever the threads do.
#include "kernels/coverage.h"
#include "ops/pool/windows.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

Windows windows_of_columns(const ColumnsAttrs& a, const int64_t* size, int64_t planes) {
  Windows s;
  Axis* const all[2] = {&s.h, &s.w};
  for (int i = 0; i < 2; ++i) {
    const int64_t kernel = a.kernel_size.data()[i], step = a.dilation.data()[i], padding = a.padding.data()[i];
    const int64_t stride = a.stride.data()[i];
    *all[i] = {size[i], (size[i] + 2 * padding - step * (kernel - 1) - 1) / stride + 1, kernel, stride, padding, step};
  }
  s.planes = planes;
  return s;
}
Windows windows_of_image(const KernelArgs& args) {
  const KOperand& x = args.in[0];
  const int64_t planes = (x.rank == 4 ? x.shape[0] : 1) * x.shape[x.rank - 3];
  return windows_of_columns(args.attrs_as<ColumnsAttrs>(), x.shape + x.rank - 2, planes);
}
Windows windows_of_sum(const KernelArgs& args) {
  const KOperand& out = args.out[0];
  const int64_t planes = (out.rank == 4 ? out.shape[0] : 1) * out.shape[out.rank - 3];
  return windows_of_columns(args.attrs_as<ColumnsAttrs>(), out.shape + out.rank - 2, planes);
}

template <class S>
void image_to_columns_run(const KernelArgs& args, int64_t task) noexcept {
  const Windows s = windows_of_image(args);
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> x(args.in[0], 2, index);
    S* out = args.out[0].as<S>() + index * s.h.kernel * s.w.kernel * s.outputs();
    for (int64_t p = 0; p < s.h.kernel; ++p) {
      for (int64_t q = 0; q < s.w.kernel; ++q) {
        const int64_t begin = s.w.window_begin(q);
        const int64_t end = most(begin, s.w.window_end(q));
        for (int64_t i = 0; i < s.h.output; ++i, out += s.w.output) {
          const int64_t row = s.h.first(i) + p * s.h.step;
          if (row < 0 || row >= s.h.input || begin >= s.w.output) {
            for (int64_t j = 0; j < s.w.output; ++j) out[j] = S{};
            continue;
          }
          const S* at = x.at(0, row, s.w.first(begin) + q * s.w.step);
          const int64_t step = s.w.stride * x.col;
          for (int64_t j = 0; j < begin; ++j) out[j] = S{};
          if (step == 1) {
            for (int64_t j = begin; j < end; ++j) out[j] = at[j - begin];
          } else {
            for (int64_t j = begin; j < end; ++j) out[j] = at[(j - begin) * step];
          }
          for (int64_t j = end; j < s.w.output; ++j) out[j] = S{};
        }
      }
    }
  });
}
int64_t image_to_columns_tasks(const KernelArgs& args) noexcept { return tasks_of(windows_of_image(args)); }

template <class S>
void columns_to_image_run(const KernelArgs& args, int64_t task) noexcept {
  const Windows s = windows_of_sum(args);
  const KOperand& columns = args.in[0];
  const int64_t channels = args.out[0].shape[args.out[0].rank - 3];
  const int64_t row_step = columns.strides[columns.rank - 2];
  const int64_t col_step = columns.strides[columns.rank - 1];
  const int64_t taps = s.h.kernel * s.w.kernel;
  each_plane(s, task, [&](int64_t index) {
    const S* from = columns.as<S>() + index % channels * taps * row_step;
    if (columns.rank == 3) from += index / channels * columns.strides[0];
    PlaneSums<S> plane(args.out[0].as<S>() + index * s.inputs(), args.scratch, task, s.inputs());
    auto* const sums = plane.sums();
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t p = tap / s.w.kernel, q = tap % s.w.kernel;
      const int64_t begin = s.w.window_begin(q), end = s.w.window_end(q);
      for (int64_t i = s.h.window_begin(p); i < s.h.window_end(p) && begin < end; ++i) {
        auto* at = sums + (s.h.first(i) + p * s.h.step) * s.w.input + s.w.first(begin) + q * s.w.step;
        const S* line = from + tap * row_step + (i * s.w.output + begin) * col_step;
        for (int64_t j = 0; j < end - begin; ++j) {
          at[j * s.w.stride] = at[j * s.w.stride] + Stored<S>::value(line[j * col_step]);
        }
      }
    }
    plane.store();
  });
}
int64_t columns_to_image_tasks(const KernelArgs& args) noexcept { return tasks_of(windows_of_sum(args)); }
template <class S>
size_t columns_to_image_scratch(const KernelArgs& args) noexcept {
  return sums_bytes<S>(windows_of_sum(args));
}

template <class S>
void add_columns(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  sink.add("im2col", dtype, Kernel::of({image_to_columns_run<S>, image_to_columns_tasks}));
  sink.add("col2im", dtype,
           with_scratch({columns_to_image_run<S>, columns_to_image_tasks}, columns_to_image_scratch<S>));
}

}  // namespace

void fill_pool_columns(KernelSink& sink) {
  add_columns<float>(sink);
  add_columns<double>(sink);
  add_columns<Float16>(sink);
  add_columns<BFloat16>(sink);
}

#else  // inherited
void fill_pool_columns(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

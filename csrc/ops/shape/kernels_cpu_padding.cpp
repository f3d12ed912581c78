// CPU kernels of pad and its adjoint.
//
// Both work row by row (the last axis), and a row of the result belongs to one task. The adjoint gathers: each row of its
// result adds up the rows that were taken from it, in rising order, so the bits do not depend on threads.
// Compiled once per ISA. Read next: padding.cpp.
#include "kernels/from_scalar.h"
#include "kernels/move.h"
#include "ops/shape/attrs.h"
#include "ops/shape/rows.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_MOVES
namespace {

// One axis and what is laid around it.
struct PaddedAxis {
  PadMode mode = PadMode::Constant;
  int64_t length = 1;
  int64_t before = 0;
  int64_t after = 0;
  int64_t stride = 0;

  // Where in the axis the element at a position of the padded axis comes from; -1 for the value.
  [[nodiscard]] GORGO_INLINE int64_t source(int64_t position) const noexcept {
    const int64_t i = position - before;
    if (i >= 0 && i < length) [[likely]] {
      return i;
    }
    switch (mode) {
      case PadMode::Constant:
        return -1;
      case PadMode::Edge:
        return i < 0 ? 0 : length - 1;
      case PadMode::Wrap:
        return modulo(i, length);
      case PadMode::Reflect: {
        if (length == 1) return 0;
        const int64_t k = modulo(i, 2 * (length - 1));
        return k < length ? k : 2 * (length - 1) - k;
      }
      case PadMode::Symmetric:
        break;
    }
    const int64_t k = modulo(i, 2 * length);
    return k < length ? k : 2 * length - 1 - k;
  }
  // The positions of the padded axis that may come from element i, numbered: all that lie before the axis, i itself, all after.
  [[nodiscard]] GORGO_INLINE int64_t candidates() const noexcept { return before + 1 + after; }
  [[nodiscard]] GORGO_INLINE int64_t candidate(int64_t k, int64_t i) const noexcept {
    return k < before ? k : k == before ? before + i : k - 1 + length;
  }

 private:
  GORGO_INLINE static int64_t modulo(int64_t i, int64_t n) noexcept {
    const int64_t rest = i % n;
    return rest < 0 ? rest + n : rest;
  }
};

struct PaddedAxes {
  int32_t outer = 0;  // axes but for the last
  PaddedAxis axis[32];
  PaddedAxis row;  // the last

  // `inside` is the shape that was padded; strides are the input's.
  GORGO_INLINE PaddedAxes(const int64_t* inside, const KOperand& input, const Dims& width, Choice mode) noexcept
      : outer(input.rank > 0 ? input.rank - 1 : 0) {
    for (int32_t i = 0; i < input.rank; ++i) {
      PaddedAxis& a = i == outer ? row : axis[i];
      a = {pad_mode(mode), inside[i], pad_before(width, i), pad_after(width, i), input.strides[i]};
    }
  }
};

// Calls visit(row, coordinates of its outer axes) for the task's rows.
template <class Visit>
GORGO_INLINE void walk_rows(const KOperand& out, int64_t task, const Visit& visit) noexcept {
  const auto [begin, end] = rows_of_task(out, task);
  int64_t at[32];
  int64_t rest = begin;
  for (int32_t i = out.rank - 2; i >= 0; --i) {
    at[i] = rest % out.shape[i];
    rest /= out.shape[i];
  }
  for (int64_t row = begin; row < end; ++row) {
    visit(row, at);
    for (int32_t i = out.rank - 2; i >= 0; --i) {
      if (++at[i] < out.shape[i]) break;
      at[i] = 0;
    }
  }
}

template <class U>
struct Pad {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& a = args.attrs_as<PadAttrs>();
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    const PaddedAxes axes(x.shape, x, a.pad_width, a.mode);
    const PaddedAxis& row = axes.row;
    const int64_t width = row_length(out);
    const U value = unit_from_scalar<U>(a.value, x.dtype);
    walk_rows(out, task, [&](int64_t number, const int64_t* at) __attribute__((always_inline)) {
      U* to = out.as<U>() + number * width;
      bool inside = x.numel > 0;  // false for a row that is nothing but the value
      int64_t from = 0;
      for (int32_t i = 0; i < axes.outer && inside; ++i) {
        const int64_t source = axes.axis[i].source(at[i]);
        inside = source >= 0;
        from += source * axes.axis[i].stride;
      }
      if (!inside) {
        move_line(to, 1, &value, 0, width);
        return;
      }
      const U* line = x.as<U>() + from;
      const auto edge = [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
        if (row.mode == PadMode::Constant) {
          for (int64_t p = begin; p < end; ++p) to[p] = value;
        } else {
          for (int64_t p = begin; p < end; ++p) to[p] = line[row.source(p) * row.stride];
        }
      };
      edge(0, row.before);
      move_line(to + row.before, 1, line, row.stride, row.length);
      edge(row.before + row.length, width);
    });
  }
  static Kernel kernel() noexcept { return Kernel::of({run, row_tasks}); }
};

template <class T>
struct PadAdjoint {
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const auto& a = args.attrs_as<PadAdjointAttrs>();
    const KOperand& g = args.in[0];
    const KOperand& out = args.out[0];
    const PaddedAxes axes(a.shape.data(), g, a.pad_width, a.mode);
    const int64_t width = row_length(out);
    walk_rows(out, task, [&](int64_t number, const int64_t* at) __attribute__((always_inline)) {
      T* to = out.as<T>() + number * width;
      std::memset(static_cast<void*>(to), 0, static_cast<size_t>(width) * sizeof(T));
      // Over the rows of g that were taken from this one, by odometer.
      int64_t pick[32] = {};
      for (;;) {
        bool taken = true;
        int64_t from = 0;
        for (int32_t i = 0; i < axes.outer && taken; ++i) {
          const int64_t position = axes.axis[i].candidate(pick[i], at[i]);
          taken = axes.axis[i].source(position) == at[i];
          from += position * axes.axis[i].stride;
        }
        if (taken) add_row(axes.row, to, g.as<T>() + from);
        int32_t i = axes.outer - 1;
        for (; i >= 0; --i) {
          if (++pick[i] < axes.axis[i].candidates()) break;
          pick[i] = 0;
        }
        if (i < 0) return;
      }
    });
  }
  static void add_row(const PaddedAxis& row, T* to, const T* line) noexcept {
    using C = ComputeType<T>;
    const int64_t middle = row.before + row.length;
    for (int64_t i = 0; i < row.length; ++i) {
      to[i] = static_cast<T>(static_cast<C>(to[i]) + static_cast<C>(line[(row.before + i) * row.stride]));
    }
    const auto edge = [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
      for (int64_t p = begin; p < end; ++p) {
        T& sum = to[row.source(p)];
        sum = static_cast<T>(static_cast<C>(sum) + static_cast<C>(line[p * row.stride]));
      }
    };
    edge(0, row.before);
    edge(middle, middle + row.after);
  }
  static Kernel kernel() noexcept { return Kernel::of({run, row_tasks}); }
};

template <class T>
void fill_adjoint(KernelSink& sink) {
  sink.add("pad_adjoint", kDTypeOf<T>, PadAdjoint<T>::kernel());
}

}  // namespace

void fill_padding(KernelSink& sink) {
  add_by_size<Pad>(sink, "pad");
  fill_adjoint<Float16>(sink);
  fill_adjoint<BFloat16>(sink);
  fill_adjoint<float>(sink);
  fill_adjoint<double>(sink);
  fill_adjoint<std::complex<float>>(sink);
  fill_adjoint<std::complex<double>>(sink);
}
#else  // inherited
void fill_padding(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

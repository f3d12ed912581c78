// Kernels of the creation family. Each element depends on its own position alone, so tasks are plain ranges.
#include <cstring>

#include "kernels/from_scalar.h"
#include "kernels/move.h"
#include "ops/creation/attrs.h"

namespace gorgo::GORGO_ISA_NS {

namespace {

int64_t tasks(const KernelArgs& args) noexcept { return move_tasks(args.out[0].numel); }

template <class T>
void fill(const KernelArgs& args, int64_t task) noexcept {
  const KOperand& out = args.out[0];
  const T value = from_scalar<T>(args.attrs_as<FullAttrs>().fill_value);
  const int64_t end = task * kMoveGrain + kMoveGrain < out.numel ? task * kMoveGrain + kMoveGrain : out.numel;
  T* to = out.as<T>();
  for (int64_t i = task * kMoveGrain; i < end; ++i) to[i] = value;
}

template <class T>
void ramp(const KernelArgs& args, int64_t task) noexcept {
  const KOperand& out = args.out[0];
  const auto& a = args.attrs_as<RampAttrs>();
  const int64_t end = task * kMoveGrain + kMoveGrain < out.numel ? task * kMoveGrain + kMoveGrain : out.numel;
  T* to = out.as<T>();
  if constexpr (std::is_integral_v<T>) {
    for (int64_t i = task * kMoveGrain; i < end; ++i) to[i] = static_cast<T>(a.start.i + i * a.step.i);
  } else {
    const double start = a.start.to_double();
    const double step = a.step.to_double();
    for (int64_t i = task * kMoveGrain; i < end; ++i) to[i] = from_double<T>(start + static_cast<double>(i) * step);
    if (a.stop.has && end == out.numel && end > task * kMoveGrain) to[end - 1] = from_double<T>(a.stop.value);
  }
}

template <class T>
void eye(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const int64_t k = args.attrs_as<EyeAttrs>().k;
  std::memset(out.data, 0, static_cast<size_t>(out.numel) * sizeof(T));
  const int64_t rows = out.shape[0];
  const int64_t columns = out.shape[1];
  for (int64_t i = k < 0 ? -k : 0; i < rows && i + k < columns; ++i) {
    out.as<T>()[i * columns + i + k] = from_scalar<T>(Scalar::of_int(1));
  }
}

template <class T>
void add_all(KernelSink& sink) {
  constexpr DType kDType = kDTypeOf<T>;
  sink.add("full", kDType, Kernel::of({fill<T>, tasks}));
  sink.add("eye", kDType, Kernel::of({eye<T>, nullptr}));
  if constexpr (kDType != DType::Bool && !is_complex(kDType)) sink.add("ramp", kDType, Kernel::of({ramp<T>, tasks}));
}

}  // namespace

void fill_creation(KernelSink& sink) {
#define GORGO_X(name, type, text) add_all<type>(sink);
  GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
}

}  // namespace gorgo::GORGO_ISA_NS

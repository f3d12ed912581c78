// The convolutions and their gradients on the tiles of AMX, where channels are many; all other shapes run the kernels of the set below.
//
//  - forward, transposed: weights are A, rows of planes are B (by_tiles.h).
//  - by weight: products along positions of planes (weight_by_tiles.h).
// Invariant: which way a convolution goes depends on shapes and the precision of products alone.
// Read next: planes.h, by_tiles.h, weight_by_tiles.h.
#include "kernels/gemm/gemm.h"
#include "ops/conv/by_tiles.h"
#include "ops/conv/weight_by_tiles.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

template <class Tiled>
struct TiledOr {
  static inline Kernel below;  // written as tables are filled, before anything runs

  static size_t scratch(const KernelArgs& args) noexcept {
    return Tiled::runs(args) ? Tiled::scratch(args) : below.scratch_bytes(args);
  }
  static int64_t prepare_tasks(const KernelArgs& args) noexcept {
    return Tiled::runs(args) ? Tiled::prepare_tasks(args) : below.phases[0].tasks(args);
  }
  static void prepare(const KernelArgs& args, int64_t task) noexcept {
    Tiled::runs(args) ? Tiled::prepare(args, task) : below.phases[0].run(args, task);
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    return Tiled::runs(args) ? Tiled::tasks(args) : below.phases[1].tasks(args);
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    Tiled::runs(args) ? Tiled::run(args, task) : below.phases[1].run(args, task);
  }
  static int64_t finish_tasks(const KernelArgs& args) noexcept {
    return Tiled::runs(args) ? Tiled::finish_tasks(args) : below.phases[2].tasks(args);
  }
  static void finish(const KernelArgs& args, int64_t task) noexcept {
    Tiled::runs(args) ? Tiled::finish(args, task) : below.phases[2].run(args, task);
  }
};

// Where both keep something between runs.
template <class Tiled>
struct KeepingTiledOr : TiledOr<Tiled> {
  static int32_t keeps(const KernelArgs& args) noexcept {
    return Tiled::runs(args) ? Tiled::keeps(args) : TiledOr<Tiled>::below.keeps(args);
  }
};

template <class Family, class S>
Kernel over(const KernelSink& sink, const char* op) {
  Family::below = sink.below(op, kDTypeOf<S>);
  return kernel_of<Family>();
}

template <class S>
void add_conv(KernelSink& sink) {
  add_forward<S>(sink, over<KeepingTiledOr<ByTiles<S, false>>, S>(sink, "conv2d"));
  add_transpose<S>(sink, over<KeepingTiledOr<ByTiles<S, true>>, S>(sink, "conv_transpose2d"));
  add_grad_weight<S>(sink, over<TiledOr<GradWeightByTiles<S>>, S>(sink, "conv2d_grad_weight"));
}

}  // namespace

void fill_conv(KernelSink& sink) {
  add_conv<float>(sink);
  add_conv<BFloat16>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

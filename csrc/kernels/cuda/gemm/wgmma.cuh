// Hopper's matrix and copy instructions (sm_90a): wgmma, the tensor memory accelerator, transaction barriers, clusters.
//
// Invariant: thin wrappers, one instruction each; who may call them and when is the caller's affair (hopper.cuh). In builds for
// other targets than sm_90a the file is empty but for GORGO_WGMMA.
// Read next: hopper.cuh.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "device/cuda/launch.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GORGO_WGMMA 1
#else
#define GORGO_WGMMA 0
#endif

namespace gorgo::cuda {

// float32 elements that the matrix units read with eleven significant bits.
struct Tf32 {
  uint32_t bits;
};

}  // namespace gorgo::cuda

#if defined(__CUDACC__)
namespace gorgo::cuda {

#if GORGO_WGMMA

// ---- barriers ----

GORGO_DEVICE uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

GORGO_DEVICE void barrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes barriers just initialized visible to the copy engine and to the other blocks of the cluster.
GORGO_DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

GORGO_DEVICE void barrier_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

GORGO_DEVICE void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

GORGO_DEVICE bool barrier_passed(uint32_t barrier, uint32_t parity) {
  uint32_t passed;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(passed)
      : "r"(barrier), "r"(parity)
      : "memory");
  return passed != 0;
}

// Waits for the phase of that parity to end. With GORGO_BOUNDED_WAITS a wait of some seconds stops the kernel.
GORGO_DEVICE void barrier_wait(uint32_t barrier, uint32_t parity) {
#if defined(GORGO_BOUNDED_WAITS)
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      ".reg .u32 tries;\n"
      "mov.u32 tries, 0;\n"
      "again%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@p bra done%=;\n"
      "add.u32 tries, tries, 1;\n"
      "setp.gt.u32 p, tries, 1000000;\n"
      "@p trap;\n"
      "bra again%=;\n"
      "done%=:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
#else
  while (!barrier_passed(barrier, parity)) {
  }
#endif
}

// Among `threads` threads of the block that name the same barrier (1 to 15).
GORGO_DEVICE void sync_threads(int name, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

// ---- clusters ----

GORGO_DEVICE uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %cluster_ctarank;" : "=r"(rank));
  return rank;
}

// A barrier of all threads of all blocks of the cluster, in two halves; what they wrote before the first, to each other's shared
// memory too, is visible behind the second.
GORGO_DEVICE void cluster_arrive() {
  __syncwarp();
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
GORGO_DEVICE void cluster_wait() {
  __syncwarp();
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
GORGO_DEVICE void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

// The same place in the shared memory of block `rank` of the cluster.
GORGO_DEVICE uint32_t address_in(uint32_t address, uint32_t rank) {
  uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}
GORGO_DEVICE void store_there(uint32_t to, const float* v) {
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3])
               : "memory");
}

// ---- copies between global and shared memory by tensor map ----

GORGO_DEVICE void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

GORGO_DEVICE void load_box(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}
GORGO_DEVICE void load_box(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y, int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}
GORGO_DEVICE void store_box(const CUtensorMap* map, uint32_t from, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map), "r"(from),
               "r"(x), "r"(y), "r"(z)
               : "memory");
}
GORGO_DEVICE void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until at most `kPending` of this thread's groups still read shared memory.
template <int kPending>
GORGO_DEVICE void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// Between this thread's ordinary writes to shared memory and the copy engine's or the matrix units' reads of it.
GORGO_DEVICE void fence_for_engines() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Four 8x8 matrices of 16-bit elements from the warp's registers.
GORGO_DEVICE void store_matrices(uint32_t to, uint32_t r0, uint32_t r1, uint32_t r2, uint32_t r3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(r0), "r"(r1), "r"(r2),
               "r"(r3)
               : "memory");
}

// ---- registers ----

template <int kCount>
GORGO_DEVICE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
GORGO_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

// ---- products ----

// Orders the warpgroup's registers and shared memory before the products that follow.
GORGO_DEVICE void products_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
GORGO_DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
GORGO_DEVICE void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Keeps uses of the sums behind the wait before it.
template <int kCount>
GORGO_DEVICE void products_pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// A matrix in shared memory, swizzled by 128 bytes. Rows hold 128 bytes along the contiguous axis; `leading` bytes are between
// blocks of 64 elements along it (transposed operands only), `stride` bytes between groups of eight rows.
GORGO_DEVICE uint64_t matrix_descriptor(uint32_t address, uint32_t leading, uint32_t stride) {
  return (uint64_t{address & 0x3ffffu} >> 4) | (uint64_t{leading >> 4} << 16) | (uint64_t{stride >> 4} << 32) |
         (uint64_t{1} << 62);
}

// ---- widths of tiles ----

// An instruction's first operands are its sums, half as many for a thread as the tile has columns: their names, and themselves.
#define GORGO_SUM_NAMES_64                                               \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define GORGO_SUM_NAMES_128                                                          \
  GORGO_SUM_NAMES_64                                                                 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define GORGO_SUM_NAMES_192                                                          \
  GORGO_SUM_NAMES_128                                                                \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define GORGO_SUM_NAMES_256                                                                      \
  GORGO_SUM_NAMES_192                                                                            \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define GORGO_SUMS_8(i)                                                                                       \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define GORGO_SUMS_32(i) GORGO_SUMS_8(i), GORGO_SUMS_8(i + 8), GORGO_SUMS_8(i + 16), GORGO_SUMS_8(i + 24)
#define GORGO_SUMS_64 GORGO_SUMS_32(0)
#define GORGO_SUMS_128 GORGO_SUMS_64, GORGO_SUMS_32(32)
#define GORGO_SUMS_192 GORGO_SUMS_128, GORGO_SUMS_32(64)
#define GORGO_SUMS_256 GORGO_SUMS_192, GORGO_SUMS_32(96)

// Calls X(columns, names of the six operands behind the sums, what else is given) for each width.
#define GORGO_FOR_EACH_WIDTH(X, ...)                                            \
  X(64, "%32", "%33", "%34", "%35", "%36", "%37" __VA_OPT__(, ) __VA_ARGS__)    \
  X(128, "%64", "%65", "%66", "%67", "%68", "%69" __VA_OPT__(, ) __VA_ARGS__)   \
  X(192, "%96", "%97", "%98", "%99", "%100", "%101" __VA_OPT__(, ) __VA_ARGS__) \
  X(256, "%128", "%129", "%130", "%131", "%132", "%133" __VA_OPT__(, ) __VA_ARGS__)

// d += A B for 64 x 16 by 16 x N elements; d is what A B gives where `accumulate` is 0. kTransA: A is stored along m rather
// than along k; kTransB: B along n. T is Float16 or BFloat16; or Tf32, for k = 8, and both along k.
template <class T, int N, int kTransA, int kTransB>
struct Wgmma;

#define GORGO_TURNS(a, b) ", " a ", " b
#define GORGO_NO_TURNS(a, b) ""
#define GORGO_X(N, P0, P1, P2, P3, P4, P5, TYPE, NAME, DEPTH, TURNS)                          \
  template <int kTransA, int kTransB>                                                         \
  struct Wgmma<TYPE, N, kTransA, kTransB> {                                                   \
    GORGO_DEVICE static void run(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) { \
      asm volatile( \
          "{\n" \
          ".reg .pred p;\n" \
          "setp.ne.b32 p, " P2 ", 0;\n" \
          "wgmma.mma_async.sync.aligned.m64n" #N DEPTH ".f32." NAME "." NAME "\n" \
          "{" GORGO_SUM_NAMES_##N "},\n" \
          " " P0 ", " P1 ", p, 1, 1" TURNS(P3, P4) ";\n" \
          "}\n" \
          : GORGO_SUMS_##N \
          : "l"(a), "l"(b), "r"(accumulate), "n"(kTransA), "n"(kTransB));                                                                         \
    }                                                                                         \
  };
GORGO_FOR_EACH_WIDTH(GORGO_X, Float16, "f16", "k16", GORGO_TURNS)
GORGO_FOR_EACH_WIDTH(GORGO_X, BFloat16, "bf16", "k16", GORGO_TURNS)
GORGO_FOR_EACH_WIDTH(GORGO_X, Tf32, "tf32", "k8", GORGO_NO_TURNS)
#undef GORGO_X
#undef GORGO_TURNS
#undef GORGO_NO_TURNS

// d += A B for 64 x 8 by 8 x N numbers read as tf32, with A in registers; d is what A B gives where `accumulate` is 0. A warp has 16
// rows of A: a thread whose lane is 4 g + t has rows g and g + 8 of column t, then of column t + 4. B lies along k in shared memory.
template <int N>
struct WgmmaFromRegisters;

#define GORGO_X(N, P0, P1, P2, P3, P4, P5)                                                                \
  template <>                                                                                             \
  struct WgmmaFromRegisters<N> {                                                                          \
    GORGO_DEVICE static void run(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) { \
      asm volatile(                                                                                       \
          "{\n"                                                                                           \
          ".reg .pred p;\n"                                                                               \
          "setp.ne.b32 p, " P5                                                                            \
          ", 0;\n"                                                                                        \
          "wgmma.mma_async.sync.aligned.m64n" #N                                                          \
          "k8.f32.tf32.tf32\n"                                                                            \
          "{" GORGO_SUM_NAMES_##N                                                                         \
          "},\n"                                                                                          \
          " {" P0 ", " P1 ", " P2 ", " P3 "}, " P4                                                        \
          ", p, 1, 1;\n"                                                                                  \
          "}\n"                                                                                           \
          : GORGO_SUMS_##N                                                                                \
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));                         \
    }                                                                                                     \
  };
GORGO_FOR_EACH_WIDTH(GORGO_X)
#undef GORGO_X

#endif  // GORGO_WGMMA

}  // namespace gorgo::cuda
#endif

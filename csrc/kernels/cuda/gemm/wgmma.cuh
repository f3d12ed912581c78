// Hopper's matrix and copy instructions (sm_90a): wgmma, the tensor memory accelerator, transaction barriers, clusters.
//
// Invariant: thin wrappers, one instruction each; who may call them and when is the caller's affair (hopper.cuh). In builds for
// other targets than sm_90a the file is empty but for GORGO_WGMMA. One operand list for each width of tile.
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

// d += A B for 64 x 16 by 16 x N elements; d is what A B gives where `accumulate` is 0. kTransA: A is stored along m rather
// than along k; kTransB: B along n. T is Float16 or BFloat16; or Tf32, for k = 8, and both along k.
template <class T, int N, int kTransA, int kTransB>
struct Wgmma;

#define GORGO_WGMMA_64(TYPE, NAME, DEPTH, TURNS)                                                                    \
  template <int kTransA, int kTransB>                                                                               \
  struct Wgmma<TYPE, 64, kTransA, kTransB> {                                                                        \
    GORGO_DEVICE static void run(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {                          \
      asm volatile(                                                                                                 \
          "{\n"                                                                                                     \
          ".reg .pred p;\n"                                                                                         \
          "setp.ne.b32 p, %34, 0;\n"                                                                                \
          "wgmma.mma_async.sync.aligned.m64n64" DEPTH ".f32." NAME "." NAME                                         \
          "\n"                                                                                                      \
          "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21,"    \
          " %22, %23, %24, %25, %26, %27, %28, %29, %30, %31},\n"                                                   \
          " %32, %33, p, 1, 1" TURNS                                                                                \
          ";\n"                                                                                                     \
          "}\n"                                                                                                     \
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),         \
            "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),   \
            "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
            "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])  \
          : "l"(a), "l"(b), "r"(accumulate), "n"(kTransA), "n"(kTransB));                                           \
    }                                                                                                               \
  };
GORGO_WGMMA_64(Float16, "f16", "k16", ", %35, %36")
GORGO_WGMMA_64(BFloat16, "bf16", "k16", ", %35, %36")
GORGO_WGMMA_64(Tf32, "tf32", "k8", "")
#undef GORGO_WGMMA_64

#define GORGO_WGMMA_128(TYPE, NAME, DEPTH, TURNS)                                                                   \
  template <int kTransA, int kTransB>                                                                               \
  struct Wgmma<TYPE, 128, kTransA, kTransB> {                                                                       \
    GORGO_DEVICE static void run(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {                          \
      asm volatile(                                                                                                 \
          "{\n"                                                                                                     \
          ".reg .pred p;\n"                                                                                         \
          "setp.ne.b32 p, %66, 0;\n"                                                                                \
          "wgmma.mma_async.sync.aligned.m64n128" DEPTH ".f32." NAME "." NAME                                        \
          "\n"                                                                                                      \
          "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21,"    \
          " %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41,"    \
          " %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61,"    \
          " %62, %63},\n"                                                                                           \
          " %64, %65, p, 1, 1" TURNS                                                                                \
          ";\n"                                                                                                     \
          "}\n"                                                                                                     \
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),         \
            "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),   \
            "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
            "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
            "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
            "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
            "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
            "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])  \
          : "l"(a), "l"(b), "r"(accumulate), "n"(kTransA), "n"(kTransB));                                           \
    }                                                                                                               \
  };
GORGO_WGMMA_128(Float16, "f16", "k16", ", %67, %68")
GORGO_WGMMA_128(BFloat16, "bf16", "k16", ", %67, %68")
GORGO_WGMMA_128(Tf32, "tf32", "k8", "")
#undef GORGO_WGMMA_128

#define GORGO_WGMMA_192(TYPE, NAME, DEPTH, TURNS)                                                                   \
  template <int kTransA, int kTransB>                                                                               \
  struct Wgmma<TYPE, 192, kTransA, kTransB> {                                                                       \
    GORGO_DEVICE static void run(float (&d)[96], uint64_t a, uint64_t b, int accumulate) {                          \
      asm volatile(                                                                                                 \
          "{\n"                                                                                                     \
          ".reg .pred p;\n"                                                                                         \
          "setp.ne.b32 p, %98, 0;\n"                                                                                \
          "wgmma.mma_async.sync.aligned.m64n192" DEPTH ".f32." NAME "." NAME                                        \
          "\n"                                                                                                      \
          "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21,"    \
          " %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41,"    \
          " %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61,"    \
          " %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81,"    \
          " %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95},\n"                               \
          " %96, %97, p, 1, 1" TURNS                                                                                \
          ";\n"                                                                                                     \
          "}\n"                                                                                                     \
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),         \
            "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),   \
            "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
            "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
            "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
            "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
            "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
            "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), \
            "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), \
            "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), \
            "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), \
            "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])  \
          : "l"(a), "l"(b), "r"(accumulate), "n"(kTransA), "n"(kTransB));                                           \
    }                                                                                                               \
  };
GORGO_WGMMA_192(Float16, "f16", "k16", ", %99, %100")
GORGO_WGMMA_192(BFloat16, "bf16", "k16", ", %99, %100")
GORGO_WGMMA_192(Tf32, "tf32", "k8", "")
#undef GORGO_WGMMA_192

#define GORGO_WGMMA_256(TYPE, NAME, DEPTH, TURNS)                                                                   \
  template <int kTransA, int kTransB>                                                                               \
  struct Wgmma<TYPE, 256, kTransA, kTransB> {                                                                       \
    GORGO_DEVICE static void run(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {                         \
      asm volatile(                                                                                                 \
          "{\n"                                                                                                     \
          ".reg .pred p;\n"                                                                                         \
          "setp.ne.b32 p, %130, 0;\n"                                                                               \
          "wgmma.mma_async.sync.aligned.m64n256" DEPTH ".f32." NAME "." NAME                                        \
          "\n"                                                                                                      \
          "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21,"    \
          " %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41,"    \
          " %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61,"    \
          " %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81,"    \
          " %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100,"        \
          " %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116,"        \
          " %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127},\n"                                   \
          " %128, %129, p, 1, 1" TURNS                                                                              \
          ";\n"                                                                                                     \
          "}\n"                                                                                                     \
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),         \
            "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),   \
            "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
            "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
            "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
            "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
            "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
            "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), \
            "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), \
            "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), \
            "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), \
            "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), \
            "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]),           \
            "+f"(d[103]), "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]),       \
            "+f"(d[110]), "+f"(d[111]), "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]),       \
            "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]),       \
            "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])                                                  \
          : "l"(a), "l"(b), "r"(accumulate), "n"(kTransA), "n"(kTransB));                                           \
    }                                                                                                               \
  };
GORGO_WGMMA_256(Float16, "f16", "k16", ", %131, %132")
GORGO_WGMMA_256(BFloat16, "bf16", "k16", ", %131, %132")
GORGO_WGMMA_256(Tf32, "tf32", "k8", "")
#undef GORGO_WGMMA_256

#endif  // GORGO_WGMMA

}  // namespace gorgo::cuda
#endif

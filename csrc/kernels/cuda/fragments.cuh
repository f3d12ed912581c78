// Matrix products of one warp on tensor cores, for 16-bit floats: m16n8k16 with float32 sums, and what feeds it.
//
// A lane of a warp holds, with g = lane / 4 and t = lane % 4: of a left factor (16 by 16) rows g and g + 8, columns 2 t, 2 t + 1
// and those 8 further on; of a right factor (16 by 8) column g, rows 2 t, 2 t + 1 and those 8 further on; of the sums (16 by 8)
// rows g and g + 8, columns 2 t and 2 t + 1. So two neighbouring tiles of sums are, rounded, a left factor.
// Invariant: for cards of compute capability 8.0 and above; older ones must not be sent here.
// Read next: ops/attention/tensor_cuda.cuh.
#pragma once

#include "kernels/cuda/element.cuh"

namespace gorgo::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr bool kHasFragments = false;
#else
inline constexpr bool kHasFragments = true;
#endif

// Where something in shared memory lies, as the instructions below want it.
GORGO_DEVICE uint32_t shared_place(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Four 8 by 8 matrices of 16-bit elements: lane i names row i % 8 of matrix i / 8, 16 bytes in shared memory; a lane gets the
// elements 2 t and 2 t + 1 of row g of each.
GORGO_DEVICE void load_matrices(uint32_t (&to)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
// The same of the matrices transposed: elements 2 t and 2 t + 1 of column g.
GORGO_DEVICE void load_matrices_transposed(uint32_t (&to)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

GORGO_DEVICE void load_matrices(uint32_t (&to)[4], const void* row) { load_matrices(to, shared_place(row)); }
GORGO_DEVICE void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
  load_matrices_transposed(to, shared_place(row));
}

// sums += left right.
template <class S>
GORGO_DEVICE void multiply_fragments(float (&sums)[4], const uint32_t (&left)[4], uint32_t right_low,
                                     uint32_t right_high) {
  if constexpr (!kHasFragments) {
    __trap();
  } else if constexpr (std::is_same_v<S, Float16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_low), "r"(right_high));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_low), "r"(right_high));
  }
}

// Two numbers rounded, the first in the low half.
template <class S>
GORGO_DEVICE uint32_t pack_two(float low, float high) {
  if constexpr (std::is_same_v<S, Float16>) {
    const __half2 two = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&two);
  } else {
    const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&two);
  }
}

// Starts to copy 16 (4) bytes to shared memory; zeros where !valid, when nothing is read.
GORGO_DEVICE void copy_async_16(uint32_t to, const void* from, bool valid) {
  if constexpr (kHasFragments) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
  }
}
GORGO_DEVICE void copy_async_16(void* to, const void* from, bool valid) {
  copy_async_16(shared_place(to), from, valid);
}
GORGO_DEVICE void copy_async_4(uint32_t to, const void* from, bool valid) {
  if constexpr (kHasFragments) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(valid ? 4 : 0) : "memory");
  }
}
GORGO_DEVICE void commit_copies() {
  if constexpr (kHasFragments) asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until at most kPending groups of this thread's copies are under way. Others' copies need a barrier too.
template <int kPending>
GORGO_DEVICE void wait_copies() {
  if constexpr (kHasFragments) asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Keeps the compiler from computing what follows from x ahead of time, which would fill registers.
GORGO_DEVICE uint32_t not_ahead(uint32_t x) {
  asm volatile("" : "+r"(x));
  return x;
}

// 2^x to 2 ulp; results below the normal numbers are zero.
GORGO_DEVICE float power_of_two_near(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace gorgo::cuda

// Matrix product C = epilogue(A B [+ C]) for one problem, split into tasks by shape alone.
//
// A caller runs gemm_pack over gemm_pack_tasks tasks (none when B is read in place), then gemm_run over gemm_tasks
// tasks; the tasks of one phase are independent and may run in any order on any number of threads. Nothing here
// allocates: the caller hands in gemm_scratch_bytes of 64-byte aligned scratch, shared by both phases.
//
// Invariant: the order in which the products of one output element are summed depends on (K, N, dtype, ISA) alone,
// never on M, the strides, the task split or whether B was packed. So one thread equals two, and a row of a batch
// equals the batch of one. Read next: micro.h (the arithmetic), pack.h (how operands are laid out for it), gemm_cpu.cpp
// (the choice of path).
#pragma once

#include <cstddef>
#include <cstdint>

namespace gorgo {

// What happens to an element between its sum and its store, in this order. Pointers have the problem's dtype; null
// means absent.
struct GemmEpilogue {
  enum class Activation : std::uint8_t { none, relu };

  const void* bias = nullptr;      // (n) added to each row
  const void* row_bias = nullptr;  // (m) added to each column; a convolution's bias when the output is NCHW
  std::int64_t bias_stride = 1;
  std::int64_t row_bias_stride = 1;
  Activation activation = Activation::none;
  const void* gate = nullptr;  // (m, n) with contiguous columns: the result is kept where gate > 0 or NaN, otherwise 0
  std::int64_t gate_row_stride = 0;
};

// Strides are in elements and arbitrary (also 0 or negative), except that columns of C are contiguous. C overlaps
// neither operand.
struct GemmProblem {
  std::int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;  // (m, k)
  const void* b = nullptr;  // (k, n)
  void* c = nullptr;        // (m, n)
  std::int64_t a_row_stride = 0, a_col_stride = 1;
  std::int64_t b_row_stride = 0, b_col_stride = 1;
  std::int64_t c_row_stride = 0;
  bool accumulate = false;  // C += A B, before the rest of the epilogue
  GemmEpilogue epilogue;
};

}  // namespace gorgo

#ifdef GORGO_ISA_NS
#include "kernels/coverage.h"

namespace gorgo::GORGO_ISA_NS {

// Whether this build holds the rare element types (below); a build that does not leaves their kernels to the
// instruction set before it.
#ifdef GORGO_WITH_RARE_DTYPES
inline constexpr bool kGemmHasRareTypes = true;
#else
inline constexpr bool kGemmHasRareTypes = false;
#endif

// T is float, double, BFloat16 or Float16 (both summed in float), int32_t or int64_t; the remaining integers and the
// complex types exist for the base and AVX2 builds only. Integers wrap.
template <class T>
std::size_t gemm_scratch_bytes(const GemmProblem& problem);
template <class T>
std::int64_t gemm_pack_tasks(const GemmProblem& problem);
template <class T>
void gemm_pack(const GemmProblem& problem, void* scratch, std::int64_t task);
template <class T>
std::int64_t gemm_tasks(const GemmProblem& problem);
template <class T>
void gemm_run(const GemmProblem& problem, void* scratch, std::int64_t task);

}  // namespace gorgo::GORGO_ISA_NS
#endif

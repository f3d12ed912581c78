// Matrix product C = epilogue(A B [+ C]) for one problem, split into tasks by shape alone.
//
// A caller runs gemm_pack over gemm_pack_tasks tasks (none when B is read in place), then gemm_run over gemm_tasks
// tasks; the tasks of one phase are independent and may run in any order on any number of threads. Nothing here
// allocates: the caller hands in gemm_scratch_bytes of 64-byte aligned scratch, shared by both phases.
//
// Invariant: the order in which the products of one output element are summed depends on (K, N, dtype, ISA) alone,
// never on M, the strides, the task split or whether B was packed. So one thread equals two, and a row of a batch
// equals the batch of one. With AMX, and at "medium" with AVX512_BF16, a float32 product of few rows keeps to that under
// set_batch_invariant(True) only.
// Read next: micro.h (the arithmetic), pack.h (how operands are laid out for it), gemm_cpu.cpp (the choice of path),
// rounded.h (float32 at "medium" by AVX512_BF16),
// gemm_groups_cpu.cpp (bytes, and bfloat16 where an instruction multiplies its pairs), gemm_tiles_cpu.cpp (what AMX
// multiplies).
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

// Element type of products of bytes whose sums are stored as int32; whether a factor is int8 or uint8, the problem says.
struct BytesToInt32 {};

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
  bool accumulate = false;                        // C += A B, before the rest of the epilogue
  bool keeps_b = false;                           // what is packed of B serves many products
  bool shares_scratch = false;                    // with other problems that have the same B
  bool a_is_signed = false, b_is_signed = false;  // BytesToInt32 only, which takes no epilogue
  GemmEpilogue epilogue;
};

}  // namespace gorgo

#ifdef GORGO_ISA_NS
#include <type_traits>

#include "core/dtype.h"
#include "kernels/coverage.h"

namespace gorgo::GORGO_ISA_NS {

// Whether this build holds the products of T (below); a build that does not leaves their kernels to the instruction set
// before it.
template <class T>
inline constexpr bool kGemmIsOfBytes =
    std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t> || std::is_same_v<T, BytesToInt32>;
#if defined(GORGO_ISA_AMX)
template <class T>
inline constexpr bool kGemmHas = kGemmIsOfBytes<T> || std::is_same_v<T, BFloat16> || std::is_same_v<T, float>;
#elif defined(GORGO_ISA_AVX512_BF16)
template <class T>
inline constexpr bool kGemmHas = std::is_same_v<T, BFloat16> || std::is_same_v<T, float>;
#elif defined(GORGO_ISA_AVX512_VNNI)
template <class T>
inline constexpr bool kGemmHas = kGemmIsOfBytes<T>;
#elif defined(GORGO_WITH_RARE_DTYPES)
template <class T>
inline constexpr bool kGemmHas = true;
#else
template <class T>
inline constexpr bool kGemmHas =
    std::is_floating_point_v<T> || (sizeof(T) == 2 && !std::is_integral_v<T>) || std::is_same_v<T, std::int32_t> ||
    std::is_same_v<T, std::int64_t> || kGemmIsOfBytes<T>;
#endif

// Whether gemm_pack looks at B alone, if that is kept and C has more than one column.
template <class T>
inline constexpr bool kGemmPacksOnlyB =
#if defined(GORGO_ISA_AMX)
    true;
#else
    !kGemmIsOfBytes<T>;
#endif

// Whether scratch holds more than the packed B: sums of a problem's own, or strips of its A.
template <class T>
inline constexpr bool kGemmKeepsSums = sizeof(T) <= 2;
#if defined(GORGO_ISA_AMX)
template <>
inline constexpr bool kGemmKeepsSums<float> = true;
#endif

// T is float, double, BFloat16 or Float16 (both summed in float), int32_t, int64_t, int8_t, uint8_t or BytesToInt32; the
// remaining integers and the complex types exist for the base and AVX2 builds only. The builds for AVX512_VNNI,
// AVX512_BF16 and AMX hold what these are for: bytes; BFloat16 and float; all three. Integers wrap.
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

// For the files that define them.
#define GORGO_GEMM_INSTANTIATE(T)                                      \
  template std::size_t gemm_scratch_bytes<T>(const GemmProblem&);      \
  template std::int64_t gemm_pack_tasks<T>(const GemmProblem&);        \
  template void gemm_pack<T>(const GemmProblem&, void*, std::int64_t); \
  template std::int64_t gemm_tasks<T>(const GemmProblem&);             \
  template void gemm_run<T>(const GemmProblem&, void*, std::int64_t);

#if defined(GORGO_ISA_AMX)
// Below this many of k, n or m, products of float32 are faster by multiply-adds than by pieces on tiles. Rows do not count under
// set_batch_invariant(True), and scratch and tasks never depend on whether they do.
constexpr std::int64_t kPiecesFrom = 64;
GORGO_INLINE bool may_go_by_pieces(const GemmProblem& p) { return p.k >= kPiecesFrom && p.n >= kPiecesFrom; }
// What is kept of B is then what multiply-adds read; tiles, if they are asked for, pack theirs anew.
GORGO_INLINE bool is_by_few_rows(const GemmProblem& p) { return p.m < kPiecesFrom; }

// The same for float32 by pieces of bfloat16: gemm_*<float> call them where may_go_by_pieces.
std::size_t pieces_scratch_bytes(const GemmProblem& problem);
std::int64_t pieces_pack_tasks(const GemmProblem& problem);
void pieces_pack(const GemmProblem& problem, void* scratch, std::int64_t task);
std::int64_t pieces_tasks(const GemmProblem& problem);
void pieces_run(const GemmProblem& problem, void* scratch, std::int64_t task);
#endif

}  // namespace gorgo::GORGO_ISA_NS
#endif

// What the instruction sets compile. A kernel that a set leaves out is inherited from the set below it (ops/all_ops.cpp),
// which keeps the library small and its build short.
//
// For kernel files (compiled per ISA). Invariant: base compiles every kernel.
#pragma once

#if !defined(GORGO_ISA_AVX512)
// Complex numbers and all integers but int32 and int64.
#define GORGO_WITH_RARE_DTYPES 1
// Kernels that gain little from vectors wider than AVX2's, or that few programs spend their time in.
#define GORGO_WITH_RARE_KERNELS 1
#endif
#if defined(GORGO_ISA_BASE)
// Kernels whose pace memory sets: padding, and writes by indices but for the dtypes that most programs write.
#define GORGO_WITH_MOVES 1
#endif
#if !(defined(GORGO_ISA_BASE) && defined(__x86_64__))
// Ways of a kernel that only save time. Base on x86-64 serves processors older than AVX2, where a small library counts for more.
#define GORGO_WITH_MINIMAL_FILTERS 1
#endif
#if !defined(GORGO_ISA_BASE)
// Loops over integers of one and two bytes as they are; without them they are computed as int32.
#define GORGO_WITH_NARROW_LANES 1
#endif

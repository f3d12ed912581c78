// What the instruction sets compile. A kernel that a set leaves out is inherited from the set below it (ops/all_ops.cpp),
// which keeps the library small and its build short.
//
// For kernel files (compiled per ISA). Invariant: base compiles everything.
#pragma once

#if !defined(GORGO_ISA_AVX512) && !defined(GORGO_ISA_AMX)
// Complex numbers and all integers but int32 and int64.
#define GORGO_WITH_RARE_DTYPES 1
// Kernels that move elements or follow indices: memory sets their pace, wider vectors gain nothing.
#define GORGO_WITH_MOVES 1
#endif

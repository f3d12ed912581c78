// The instruction sets that this build has kernels for, in ascending order: X(namespace, Isa enumerator).
//
// Read next: isa.h (which one is used), ops/all_ops.cpp (who fills the tables).
#pragma once

#include "device/cpu/isa.h"

#if defined(GORGO_HAVE_AVX2)
#define GORGO_WITH_AVX2(X, ...) X(isa_avx2, Avx2, __VA_ARGS__)
#else
#define GORGO_WITH_AVX2(X, ...)
#endif
#if defined(GORGO_HAVE_AVX512)
#define GORGO_WITH_AVX512(X, ...) X(isa_avx512, Avx512, __VA_ARGS__)
#else
#define GORGO_WITH_AVX512(X, ...)
#endif

#if defined(GORGO_HAVE_AVX512_VNNI)
#define GORGO_WITH_AVX512_VNNI(X, ...) X(isa_avx512_vnni, Avx512Vnni, __VA_ARGS__)
#else
#define GORGO_WITH_AVX512_VNNI(X, ...)
#endif
#if defined(GORGO_HAVE_AVX512_BF16)
#define GORGO_WITH_AVX512_BF16(X, ...) X(isa_avx512_bf16, Avx512Bf16, __VA_ARGS__)
#else
#define GORGO_WITH_AVX512_BF16(X, ...)
#endif

#if defined(GORGO_HAVE_AMX)
#define GORGO_WITH_AMX(X, ...) X(isa_amx, Amx, __VA_ARGS__)
#else
#define GORGO_WITH_AMX(X, ...)
#endif

// Calls X(namespace, enumerator, arguments...) once per set.
#define GORGO_FOR_EACH_ISA(X, ...) \
  X(isa_base, Base, __VA_ARGS__)   \
  GORGO_WITH_AVX2(X, __VA_ARGS__)  \
  GORGO_WITH_AVX512(X, __VA_ARGS__)

// The same for the sets that add products alone: they hold kernels of the matmul family, AMX those of convolutions too, and no other.
#define GORGO_FOR_EACH_PRODUCT_ISA(X, ...) \
  GORGO_WITH_AVX512_VNNI(X, __VA_ARGS__)   \
  GORGO_WITH_AVX512_BF16(X, __VA_ARGS__)   \
  GORGO_WITH_AMX(X, __VA_ARGS__)

// A product that is rounded before it meets a sum.
//
// GCC 12 turns products whose sums and differences alternate from lane to lane, as complex arithmetic has them, into one
// instruction that rounds once, whatever -ffp-contract says. Then the bits would depend on the compiler, and columns differ from
// rows. Kernels that hold complex numbers write rounded(a * b) + c; `.ci/check_isa_symbols.py` looks for what was missed.
#pragma once

#include "core/dtype.h"

namespace gorgo {

template <class T>
[[nodiscard]] GORGO_INLINE T rounded(T product) noexcept {
#if defined(__has_builtin)
#if __has_builtin(__builtin_assoc_barrier)
  return __builtin_assoc_barrier(product);
#endif
#endif
  return product;
}

}  // namespace gorgo

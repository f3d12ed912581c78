// Whether row i of a batch must equal the batch of one, bit for bit: what set_batch_invariant says.
//
// For code that chooses among kernels: while this is on, the choice and the order of accumulation follow from everything but the
// batch. A kernel that keeps to that anyway need not ask. Invariant: a change bumps the configuration epoch, and a captured
// program runs only under the setting that it was recorded under.
#pragma once

#include <atomic>

namespace gorgo {

inline std::atomic<bool> batch_invariant{false};

// For kernel files: an inline variable would be one of their own.
[[nodiscard]] bool asks_for_batch_invariance() noexcept;

}  // namespace gorgo

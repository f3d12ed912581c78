#include "core/invariance.h"

namespace gorgo {

bool asks_for_batch_invariance() noexcept { return batch_invariant.load(std::memory_order_relaxed); }

}  // namespace gorgo

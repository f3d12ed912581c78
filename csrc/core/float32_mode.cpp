#include "core/float32_mode.h"

namespace gorgo {

Float32Mode float32_mode_now() noexcept { return float32_mode.load(std::memory_order_relaxed); }

}  // namespace gorgo

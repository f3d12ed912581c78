// Ops that are another op and the elementwise op after it in one: `linear_relu`. Capture makes them; nobody calls them.
//
// Invariant: such an op has its base's attributes, its base's operands (absent ones included) and then, where the epilogue reads a
// saved value, that one, of the result's dtype and with as many elements, in whatever shape; it gives what its base gives.
// Read next: core/epilogue.h, graph/passes/epilogue.h.
#pragma once

#include <initializer_list>

#include "core/epilogue.h"
#include "opdef/registry.h"

namespace gorgo {

void register_with_epilogues(Registry& registry, const OpDef& base, std::initializer_list<Epilogue> epilogues);

// The op that is `base` and then `then`; null where there is none.
[[nodiscard]] const OpDef* with_epilogue(const OpDef& base, const OpDef& then) noexcept;

}  // namespace gorgo

// Registers every op of the library. Called once at import.
#pragma once

namespace gorgo {

void register_all_ops();

}  // namespace gorgo

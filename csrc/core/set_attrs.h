// Giving an empty Attrs its value where the memory for it may be refused.
// Read next: attrs.h.
#pragma once

#include "core/attrs.h"

namespace gorgo {

// `to` must be empty; it stays so when this throws. One allocation where assignment would take two.
inline void set_attrs(Attrs& to, const AttrSchema* schema, const void* from) {
  if (schema == nullptr || from == nullptr) return;
  try {
    new (&to) Attrs(schema, from);
  } catch (...) {
    new (&to) Attrs();
    throw;
  }
}

}  // namespace gorgo

// gorgo._core.HostCell: a number that a captured program reads when it runs, such as a learning rate.
// Read next: core/attrs.h (HostValue).
#pragma once

#include "bindings/python.h"
#include "core/attrs.h"

namespace gorgo {

struct PyHostCell {
  PyObject_HEAD HostValue value;
};

extern PyTypeObject host_cell_type;

[[nodiscard]] inline bool is_host_cell(PyObject* o) noexcept { return Py_TYPE(o) == &host_cell_type; }
[[nodiscard]] inline HostCell* host_cell_of(PyObject* o) noexcept {
  return const_cast<HostCell*>(reinterpret_cast<PyHostCell*>(o)->value.cell());
}

}  // namespace gorgo

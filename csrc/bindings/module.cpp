// The Python module gorgo._core: calls the bind functions of the other files of this folder, in order, and does nothing else.
//
// Read next: tensor_type.cpp.
#include <pybind11/pybind11.h>

#include "core/build_info.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled part of gorgo. Import gorgo instead.";
  m.attr("__version__") = gorgo::build_info().version;
}

// Functions and methods that are added to the module and to Tensor when both exist already.
#pragma once

#include <pybind11/pybind11.h>

namespace gorgo {

void bind_elementwise(pybind11::module_& m);
void bind_indexing(pybind11::module_& m);
void bind_python_methods(pybind11::module_& m);

}  // namespace gorgo

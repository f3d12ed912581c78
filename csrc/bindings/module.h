// The parts of the module, one function for each file of this folder, called in order by module.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace gorgo {

void bind_errors(pybind11::module_& m);
void bind_dtypes(pybind11::module_& m);
void bind_host_cell(pybind11::module_& m);
void bind_tensor(pybind11::module_& m);  // and every op
void bind_interop(pybind11::module_& m);
void bind_creation(pybind11::module_& m);
void bind_autograd(pybind11::module_& m);
void bind_config(pybind11::module_& m);
void bind_memory(pybind11::module_& m);
void bind_printing(pybind11::module_& m);
void bind_profile(pybind11::module_& m);
void bind_graph(pybind11::module_& m);

}  // namespace gorgo

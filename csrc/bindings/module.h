// The parts of the module, one function for each file of this folder, called in order by module.cpp.
#pragma once

#include "bindings/python.h"

namespace gorgo {

void bind_errors(PyObject* module);
void bind_dtypes(PyObject* module);
void bind_host_cell(PyObject* module);
void bind_tensor(PyObject* module);  // and every op
void bind_interop(PyObject* module);
void bind_creation(PyObject* module);
void bind_autograd(PyObject* module);
void bind_config(PyObject* module);
void bind_device(PyObject* module);
void bind_memory(PyObject* module);
void bind_printing(PyObject* module);
void bind_profile(PyObject* module);
void bind_graph(PyObject* module);

}  // namespace gorgo

// Functions and methods that are added to the module and to Tensor when both exist already.
#pragma once

#include "bindings/python.h"

namespace gorgo {

void bind_elementwise(PyObject* module);
void bind_indexing(PyObject* module);
void bind_python_methods(PyObject* module);

}  // namespace gorgo

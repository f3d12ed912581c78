// Functions and methods that are added to the module and to Tensor when both exist already.
#pragma once

#include "bindings/errors.h"
#include "bindings/python.h"

namespace gorgo {

// Adds functions that stand for ops to the module; they are at home where ops are, in gorgo.
inline void add_functions_for_ops(PyObject* module, PyMethodDef* functions) {
  const PyRef home = PyRef::checked(PyUnicode_FromString("gorgo"));
  for (PyMethodDef* def = functions; def->ml_name != nullptr; ++def) {
    const PyRef function = PyRef::checked(PyCFunction_NewEx(def, module, home.get()));
    check_status(PyObject_SetAttrString(module, def->ml_name, function.get()));
  }
}

void bind_elementwise(PyObject* module);
void bind_indexing(PyObject* module);
void bind_python_methods(PyObject* module);

}  // namespace gorgo

// Methods of Tensor that are written in Python: x.f(...) is gorgo.<module>.f(x, ...), whose module is imported when a method of
// it is first asked for.
//
// Invariant: importing gorgo imports none of them. Read next: python/gorgo/__init__.py (the table).
#include <cstddef>

#include "bindings/errors.h"
#include "bindings/methods.h"
#include "bindings/static_type.h"
#include "bindings/tensor_type.h"

namespace gorgo {
namespace {

struct PythonMethod {
  PyObject_HEAD PyObject* module;  // its name
  PyObject* name;
  PyObject* function;  // null until the first use
};

PyTypeObject python_method_type{};

PythonMethod& as_method(PyObject* o) noexcept { return *reinterpret_cast<PythonMethod*>(o); }

PyObject* function_of(PythonMethod& method) {
  if (method.function == nullptr) {
    const PyRef module = PyRef::checked(PyImport_Import(method.module));
    method.function = PyRef::checked(PyObject_GetAttr(module.get(), method.name)).detach();
  }
  return method.function;
}

PyObject* bind(PyObject* self, PyObject* object, PyObject*) noexcept {
  return guarded([&] {
    PyObject* function = function_of(as_method(self));
    return object == nullptr || object == Py_None ? Py_NewRef(function) : PyMethod_New(function, object);
  });
}

// _add_python_methods({"flatten": "manipulation", ...})
PyObject* add_python_methods(PyObject*, PyObject* table) noexcept {
  return guarded([&] {
    if (!PyDict_Check(table)) fail<TypeError>("_add_python_methods: table must be a dict of names");
    PyObject* name = nullptr;
    PyObject* module = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(table, &at, &name, &module) != 0) {
      const PyRef method = PyRef::checked(PyType_GenericAlloc(&python_method_type, 0));
      as_method(method.get()).module = PyRef::checked(PyUnicode_FromFormat("gorgo.%U", module)).detach();
      as_method(method.get()).name = Py_NewRef(name);
      check_status(PyDict_SetItem(tensor_type.tp_dict, name, method.get()));
    }
    PyType_Modified(&tensor_type);
    return Py_NewRef(Py_None);
  });
}

}  // namespace

void bind_python_methods(PyObject* module) {
  PyTypeObject& t = begin_static_type(python_method_type, "gorgo.python_method", sizeof(PythonMethod), nullptr);
  t.tp_descr_get = bind;
  finish_static_type(t, module, nullptr);
  static PyMethodDef functions[] = {
      {"_add_python_methods", add_python_methods, METH_O, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  check_status(PyModule_AddFunctions(module, functions));
}

}  // namespace gorgo

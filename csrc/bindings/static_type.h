// The two ends of defining a CPython type by hand: zeroed memory in, a ready type in the module out.
#pragma once

#include "bindings/errors.h"
#include "bindings/python.h"

namespace gorgo {

inline PyTypeObject& begin_static_type(PyTypeObject& type, const char* qualified_name, size_t size, const char* doc) {
  static const PyVarObject kHead[] = {PyVarObject_HEAD_INIT(nullptr, 0)};
  type.ob_base = kHead[0];
  type.tp_name = qualified_name;
  type.tp_basicsize = static_cast<Py_ssize_t>(size);
  type.tp_flags = Py_TPFLAGS_DEFAULT;
  type.tp_doc = doc;
  return type;
}

// Readies the type and, when `name` is given, puts it into the module.
inline void finish_static_type(PyTypeObject& type, PyObject* module, const char* name) {
  check_status(PyType_Ready(&type));
  if (name != nullptr) check_status(PyObject_SetAttrString(module, name, reinterpret_cast<PyObject*>(&type)));
}

}  // namespace gorgo

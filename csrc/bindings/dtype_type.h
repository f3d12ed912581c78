// gorgo.dtype: fifteen singletons, one for each element type.
//
// A dtype equals its name, NumPy's dtype of that name and NumPy's scalar type. Read next: core/dtype.h.
#pragma once

#include "bindings/python.h"
#include "core/dtype.h"

namespace gorgo {

struct PyDType {
  PyObject_HEAD DType value;
};

extern PyTypeObject dtype_type;

[[nodiscard]] inline bool is_dtype(PyObject* o) noexcept { return Py_TYPE(o) == &dtype_type; }
// Borrowed; lives as long as the interpreter.
[[nodiscard]] PyObject* dtype_object(DType d) noexcept;
// NumPy's dtype object for `d`, through ml_dtypes for bfloat16; imports NumPy. Throws NotSupported without ml_dtypes.
[[nodiscard]] PyObject* numpy_dtype(DType d, const char* op);

}  // namespace gorgo

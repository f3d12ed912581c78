// From Python objects to the library's values and back; every refusal names op, argument and what was given.
//
// Numbers have two paths: exact int, float and bool are read inline, everything else (subclasses, NumPy scalars) out of
// line. NumPy is never imported here: an object can be NumPy's only when NumPy has been imported already.
// Read next: op_function.h.
#pragma once

#include <string>

#include "bindings/errors.h"
#include "bindings/python.h"
#include "bindings/tensor_type.h"
#include "core/attrs.h"
#include "opdef/op.h"

namespace gorgo {

// "float 2.5", "str 'abc'", "numpy.ndarray of shape (3,)", "None": what a person gave, in an error.
[[nodiscard]] std::string describe(PyObject* o);

[[nodiscard]] bool is_numpy_array(PyObject* o) noexcept;
[[nodiscard]] bool is_numpy_scalar(PyObject* o) noexcept;
// numpy.ndarray, numpy.generic, ... when NumPy has been imported, else null; borrowed for ever.
[[nodiscard]] PyObject* numpy_type(const char* name) noexcept;

// Reads any Python or NumPy number; false when `o` is none. Throws OverflowError beyond 64 bits.
[[nodiscard]] bool scalar_from(PyObject* o, Scalar& out, const char* op);
// The operand of an op: a tensor or a number; false when `o` is neither.
[[nodiscard]] bool operand_slow(PyObject* o, Arg& out, const char* op);
[[nodiscard]] GORGO_INLINE bool operand_from(PyObject* o, Arg& out, const char* op) {
  if (is_tensor(o)) {
    out = Arg(tensor_of(o));
    return true;
  }
  if (PyFloat_CheckExact(o)) {
    out = Arg(Scalar::of_float(PyFloat_AS_DOUBLE(o)));
    return true;
  }
  return operand_slow(o, out, op);
}

[[nodiscard]] int64_t int_from(PyObject* o, const char* op, const char* argument);
[[nodiscard]] double float_from(PyObject* o, const char* op, const char* argument);
[[nodiscard]] bool bool_from(PyObject* o, const char* op, const char* argument);
// A sequence of integers, or one integer, which then stands for `repeat` of them.
[[nodiscard]] Dims dims_from(PyObject* o, const char* op, const char* argument, int repeat = 1);
[[nodiscard]] DType dtype_from(PyObject* o, const char* op, const char* argument = "dtype");
[[nodiscard]] OptDType optional_dtype_from(PyObject* o, const char* op, const char* argument = "dtype");
[[nodiscard]] Device device_from(PyObject* o, const char* op);  // None means the cpu
[[nodiscard]] Opt<Device> optional_device_from(PyObject* o, const char* op);
[[nodiscard]] const Tensor& tensor_from(PyObject* o, const char* op, const char* argument);
// Tensors of a list or tuple; None becomes a null tensor where `nullable`.
[[nodiscard]] SmallVector<Tensor, 2> tensors_from(PyObject* o, const char* op, const char* argument, bool nullable);

[[nodiscard]] PyObject* to_python(const Scalar& s);
[[nodiscard]] PyObject* to_python(const Dims& dims);  // a tuple
[[nodiscard]] PyObject* to_python(const std::string& text);
[[nodiscard]] PyObject* to_python(DType d);  // the singleton gorgo.float32, ...

// An attribute field of an op, read from Python into `attrs`, and back.
void set_field(const Field& field, void* attrs, PyObject* value, const char* op);
[[nodiscard]] PyObject* get_field(const Field& field, const void* attrs);

// The arguments of a cold function, matched to names; positional order is the order of the names.
class Arguments {
 public:
  // `signature` as in "x, /, dtype, device, copy": names before "/" by position only, after "*" by keyword only.
  Arguments(const char* function, const char* signature, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
  // The argument of that position, or null when it was not given.
  [[nodiscard]] PyObject* operator[](int i) const noexcept { return values_[i]; }
  // The same, null for None too.
  [[nodiscard]] PyObject* given(int i) const noexcept { return values_[i] == Py_None ? nullptr : values_[i]; }
  [[nodiscard]] PyObject* required(int i) const;
  [[nodiscard]] const char* function() const noexcept { return function_; }

 private:
  static constexpr int kMax = 12;
  const char* function_;
  const char* signature_;
  PyObject* values_[kMax] = {};
};

// An advice for a keyword that people know by another name elsewhere ("dim" -> "axis"), or null.
[[nodiscard]] const char* our_word_for(std::string_view keyword) noexcept;

// A method or function with METH_FASTCALL | METH_KEYWORDS, in the shape that PyMethodDef wants.
using FastFunction = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
[[nodiscard]] inline PyCFunction fast(FastFunction f) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}
inline constexpr int kFastCall = METH_FASTCALL | METH_KEYWORDS;

}  // namespace gorgo

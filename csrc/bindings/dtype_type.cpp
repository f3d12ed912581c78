#include "bindings/dtype_type.h"

#include <cstring>
#include <limits>
#include <vector>

#include "bindings/convert.h"
#include "bindings/function_docs.h"
#include "bindings/module.h"
#include "bindings/static_type.h"
#include "core/promotion.h"

namespace gorgo {

PyTypeObject dtype_type{};

namespace {

PyDType singletons[kDTypeCount] = {};

DType value_of(PyObject* self) noexcept { return reinterpret_cast<PyDType*>(self)->value; }

// The dtype that `o` means, if any: one of ours, a name, Python's or NumPy's types and dtypes.
std::optional<DType> meaning_of(PyObject* o) {
  if (is_dtype(o)) return value_of(o);
  if (PyUnicode_Check(o)) {
    const char* name = PyUnicode_AsUTF8(o);
    if (name == nullptr) throw PythonError();
    return parse_dtype(name);
  }
  if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) return DType::Float32;
  if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) return DType::Bool;
  if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) return DType::Int64;
  if (o == reinterpret_cast<PyObject*>(&PyComplex_Type)) return DType::Complex64;
  PyObject* numpy_dtype_class = numpy_type("dtype");
  if (numpy_dtype_class == nullptr) return std::nullopt;
  PyRef instance = PyRef::borrowed(o);
  if (PyType_Check(o)) {
    PyObject* generic = numpy_type("generic");
    const bool scalar_type =
        PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(o), reinterpret_cast<PyTypeObject*>(generic)) != 0;
    const bool extension = std::strcmp(reinterpret_cast<PyTypeObject*>(o)->tp_name, "ml_dtypes.bfloat16") == 0;
    if (!scalar_type && !extension) return std::nullopt;
    instance = PyRef(PyObject_CallOneArg(numpy_dtype_class, o));
    if (!instance) {
      PyErr_Clear();
      return std::nullopt;
    }
  }
  if (PyObject_TypeCheck(instance.get(), reinterpret_cast<PyTypeObject*>(numpy_dtype_class)) == 0) return std::nullopt;
  const PyRef native = PyRef::checked(PyObject_GetAttrString(instance.get(), "isnative"));
  if (native.get() != Py_True) return std::nullopt;
  const PyRef name = PyRef::checked(PyObject_GetAttrString(instance.get(), "name"));
  const char* text = PyUnicode_AsUTF8(name.get());
  if (text == nullptr) throw PythonError();
  return parse_dtype(text);
}

PyObject* dtype_new(PyTypeObject*, PyObject* args, PyObject* kwargs) noexcept {
  return guarded([&] {
    if ((kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0) || PyTuple_GET_SIZE(args) != 1) {
      fail<TypeError>("dtype: arguments are (name,), got ", PyTuple_GET_SIZE(args));
    }
    return to_python(dtype_from(PyTuple_GET_ITEM(args, 0), "dtype", "name"));
  });
}

PyObject* dtype_repr(PyObject* self) noexcept { return PyUnicode_FromFormat("gorgo.%s", dtype_name(value_of(self))); }
PyObject* dtype_str(PyObject* self) noexcept { return PyUnicode_FromString(dtype_name(value_of(self))); }

PyObject* dtype_compare(PyObject* self, PyObject* other, int op) noexcept {
  if (op != Py_EQ && op != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  return guarded([&]() -> PyObject* {
    bool equal = self == other;
    if (!equal && !is_dtype(other)) {
      const bool comparable = PyUnicode_Check(other) || PyType_Check(other) ||
                              (numpy_type("dtype") != nullptr && PyObject_IsInstance(other, numpy_type("dtype")) == 1);
      if (!comparable) Py_RETURN_NOTIMPLEMENTED;
      const std::optional<DType> d = meaning_of(other);
      equal = d.has_value() && *d == value_of(self);
    }
    return PyBool_FromLong(equal == (op == Py_EQ) ? 1 : 0);
  });
}

// Equal to the hash of the name, since a dtype equals its name.
Py_hash_t dtype_hash(PyObject* self) noexcept {
  const PyRef name(dtype_str(self));
  return name ? PyObject_Hash(name.get()) : -1;
}

PyObject* get_name(PyObject* self, void*) noexcept { return dtype_str(self); }
PyObject* get_itemsize(PyObject* self, void*) noexcept { return PyLong_FromLongLong(dtype_size(value_of(self))); }
PyObject* get_kind(PyObject* self, void*) noexcept {
  const DType d = value_of(self);
  const char* kind = is_complex(d)          ? "complex"
                     : is_floating(d)       ? "float"
                     : is_unsigned(d)       ? "unsigned"
                     : is_signed_integer(d) ? "integer"
                                            : "bool";
  return PyUnicode_FromString(kind);
}
PyObject* is_kind(PyObject* self, void* which) noexcept {
  const DType d = value_of(self);
  const bool answer = which == nullptr ? is_floating(d) : is_complex(d);
  return PyBool_FromLong(answer ? 1 : 0);
}
PyObject* get_numpy(PyObject* self, void*) noexcept {
  return guarded([&] { return numpy_dtype(value_of(self), "dtype.numpy"); });
}

PyObject* dtype_reduce(PyObject* self, PyObject*) noexcept { return dtype_str(self); }

PyObject* can_cast(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("can_cast", "from_, to, /", args, nargs, kwnames);
    const auto dtype_of = [&](int i) {
      PyObject* o = given.required(i);
      return is_tensor(o) ? tensor_of(o)->dtype : dtype_from(o, "can_cast", i == 0 ? "from_" : "to");
    };
    const DType from = dtype_of(0);
    const DType to = dtype_of(1);
    return PyBool_FromLong(can_promote(from, to) && promote(from, to) == to ? 1 : 0);
  });
}

PyObject* result_type(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    if (kwnames != nullptr || nargs < 1) {
      fail<TypeError>("result_type: arguments are tensors, dtypes and numbers by position, got ", nargs);
    }
    std::optional<DType> met;
    std::vector<Scalar> numbers;  // they are weak: they come last, whatever their position
    for (Py_ssize_t i = 0; i < nargs; ++i) {
      Scalar s;
      if (!is_tensor(args[i]) && scalar_from(args[i], s, "result_type")) {
        numbers.push_back(s);
        continue;
      }
      const DType d = is_tensor(args[i]) ? tensor_of(args[i])->dtype : dtype_from(args[i], "result_type", "argument");
      if (met.has_value() && !can_promote(*met, d)) fail<TypeError>("result_type: ", NoCommonDType(*met, d).what());
      met = met.has_value() ? promote(*met, d) : d;
    }
    for (const Scalar& s : numbers) met = met.has_value() ? promote(*met, s) : default_dtype_of(s);
    return to_python(met.value());  // NOLINT(clang-analyzer-core.CallAndMessage): one argument at least set it
  });
}

PyObject* facts_of_float(DType d, const char* op) {
  const auto build = [d](double eps, double max, double tiny, double resolution) {
    return Py_BuildValue("{s:i,s:d,s:d,s:d,s:d,s:d,s:O}", "bits", dtype_bits(d), "eps", eps, "max", max, "min", -max,
                         "smallest_normal", tiny, "resolution", resolution, "dtype", dtype_object(d));
  };
  switch (d) {
    case DType::Float16:
      return build(0x1p-10, 65504.0, 0x1p-14, 1e-3);
    case DType::BFloat16:
      return build(0x1p-7, 0x1.fep127, 0x1p-126, 1e-2);
    case DType::Float32:
      return build(0x1p-23, double{std::numeric_limits<float>::max()}, 0x1p-126, 1e-6);
    case DType::Float64:
      return build(0x1p-52, std::numeric_limits<double>::max(), 0x1p-1022, 1e-15);
    default:
      break;
  }
  fail<ValueError>(op, ": dtype must be a floating-point type, got ", d);
}

PyObject* namespace_of(PyObject* facts) {
  const PyRef dict = PyRef::checked(facts);
  const PyRef types = PyRef::checked(PyImport_ImportModule("types"));
  const PyRef make = PyRef::checked(PyObject_GetAttrString(types.get(), "SimpleNamespace"));
  const PyRef none = PyRef::checked(PyTuple_New(0));
  return PyRef::checked(PyObject_Call(make.get(), none.get(), dict.get())).detach();
}

PyObject* finfo(PyObject*, PyObject* of) noexcept {
  return guarded([&] {
    const DType d = is_tensor(of) ? tensor_of(of)->dtype : dtype_from(of, "finfo", "dtype");
    return namespace_of(facts_of_float(real_dtype(d), "finfo"));
  });
}

PyObject* iinfo(PyObject*, PyObject* of) noexcept {
  return guarded([&] {
    const DType d = is_tensor(of) ? tensor_of(of)->dtype : dtype_from(of, "iinfo", "dtype");
    if (!is_integer(d)) fail<ValueError>("iinfo: dtype must be an integer type, got ", d);
    const int bits = dtype_bits(d);
    const uint64_t top = is_unsigned(d) ? ~uint64_t{0} >> (64 - bits) : ~uint64_t{0} >> (65 - bits);
    const int64_t bottom = is_unsigned(d) ? 0 : -static_cast<int64_t>(top) - 1;
    return namespace_of(Py_BuildValue("{s:i,s:K,s:L,s:O}", "bits", bits, "max", static_cast<unsigned long long>(top),
                                      "min", static_cast<long long>(bottom), "dtype", dtype_object(d)));
  });
}

}  // namespace

PyObject* dtype_object(DType d) noexcept { return reinterpret_cast<PyObject*>(&singletons[static_cast<int>(d)]); }
PyObject* to_python(DType d) { return Py_NewRef(dtype_object(d)); }

DType dtype_from(PyObject* o, const char* op, const char* argument) {
  const std::optional<DType> d = meaning_of(o);
  if (d.has_value()) return *d;
  std::string names;
  for (int i = 0; i < kDTypeCount; ++i) names += cat(i > 0 ? ", " : "", dtype_name(static_cast<DType>(i)));
  fail<TypeError>(op, ": ", argument, " must be one of ", names, ", got ", describe(o));
}

OptDType optional_dtype_from(PyObject* o, const char* op, const char* argument) {
  if (o == nullptr || o == Py_None) return {};
  return dtype_from(o, op, argument);
}

PyObject* numpy_dtype(DType d, const char* op) {
  const PyRef numpy = PyRef::checked(PyImport_ImportModule("numpy"));
  if (d == DType::BFloat16) {
    const PyRef extension(PyImport_ImportModule("ml_dtypes"));
    if (!extension) {
      if (PyErr_ExceptionMatches(PyExc_ImportError) == 0) throw PythonError();
      PyErr_Clear();
      fail<NotSupported>(op,
                         ": bfloat16 goes to NumPy through the package ml_dtypes, which is not installed; use "
                         "astype(gorgo.float32)");
    }
    const PyRef type = PyRef::checked(PyObject_GetAttrString(extension.get(), "bfloat16"));
    return PyRef::checked(PyObject_CallMethod(numpy.get(), "dtype", "O", type.get())).detach();
  }
  return PyRef::checked(PyObject_CallMethod(numpy.get(), "dtype", "s", dtype_name(d))).detach();
}

void bind_dtypes(PyObject* module) {
  static int complex_mark = 0;
  static PyGetSetDef properties[] = {
      {"name", get_name, nullptr, "The name, such as 'float32'.", nullptr},
      {"itemsize", get_itemsize, nullptr, "Bytes of one element.", nullptr},
      {"kind", get_kind, nullptr, "One of 'bool', 'unsigned', 'integer', 'float', 'complex'.", nullptr},
      {"is_floating_point", is_kind, nullptr, "True for real floating-point types.", nullptr},
      {"is_complex", is_kind, nullptr, "True for complex types.", &complex_mark},
      {"numpy", get_numpy, nullptr, "NumPy's dtype of the same name.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  static PyMethodDef methods[] = {
      {"__reduce__", dtype_reduce, METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  static PyMethodDef functions[] = {
      {"can_cast", fast(can_cast), kFastCall, docs::kCanCast},
      {"result_type", fast(result_type), kFastCall, docs::kResultType},
      {"promote_types", fast(result_type), kFastCall, docs::kPromoteTypes},
      {"finfo", finfo, METH_O, docs::kFinfo},
      {"iinfo", iinfo, METH_O, docs::kIinfo},
      {nullptr, nullptr, 0, nullptr},
  };
  PyTypeObject& t = begin_static_type(dtype_type, "gorgo.dtype", sizeof(PyDType), docs::kDTypeType);
  t.tp_new = dtype_new;
  t.tp_repr = dtype_repr;
  t.tp_str = dtype_str;
  t.tp_richcompare = dtype_compare;
  t.tp_hash = dtype_hash;
  t.tp_getset = properties;
  t.tp_methods = methods;
  finish_static_type(t, module, "dtype");
  for (int i = 0; i < kDTypeCount; ++i) {
    PyObject* o = PyObject_Init(reinterpret_cast<PyObject*>(&singletons[i]), &dtype_type);
    singletons[i].value = static_cast<DType>(i);
    Py_INCREF(o);  // one reference that is never given back
    check_status(PyObject_SetAttrString(module, dtype_name(static_cast<DType>(i)), o));
  }
  check_status(PyModule_AddFunctions(module, functions));
}

}  // namespace gorgo

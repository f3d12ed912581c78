#include "bindings/convert.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "bindings/dtype_type.h"
#include "bindings/host_cell.h"
#include "device/backend.h"

namespace gorgo {
namespace {

struct NumpyTypes {
  PyObject* ndarray = nullptr;
  PyObject* generic = nullptr;
  PyObject* dtype = nullptr;
};

const NumpyTypes* numpy_types() noexcept {
  static NumpyTypes types;
  static bool found = false;
  if (found) return &types;
  PyObject* modules = PyImport_GetModuleDict();
  PyObject* numpy = modules != nullptr ? PyDict_GetItemString(modules, "numpy") : nullptr;
  if (numpy == nullptr) return nullptr;
  NumpyTypes loading;
  loading.ndarray = PyObject_GetAttrString(numpy, "ndarray");
  loading.generic = PyObject_GetAttrString(numpy, "generic");
  loading.dtype = PyObject_GetAttrString(numpy, "dtype");
  if (loading.ndarray == nullptr || loading.generic == nullptr || loading.dtype == nullptr) {
    PyErr_Clear();  // NumPy is being imported at this moment
    return nullptr;
  }
  types = loading;
  found = true;
  return &types;
}

bool is_instance_of(PyObject* o, PyObject* type) noexcept {
  return type != nullptr && PyObject_TypeCheck(o, reinterpret_cast<PyTypeObject*>(type)) != 0;
}

Scalar scalar_from_long(PyObject* o, const char* op) {
  int overflow = 0;
  const long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
  if (v == -1 && PyErr_Occurred() != nullptr) throw PythonError();
  if (overflow == 0) return Scalar::of_int(v);
  if (overflow > 0) {
    const unsigned long long u = PyLong_AsUnsignedLongLong(o);
    if (PyErr_Occurred() == nullptr) return Scalar::of_uint(u);
    PyErr_Clear();
  }
  fail<OverflowError>(op, ": an integer must fit 64 bits, got ", describe(o));
}

std::string text_of(PyObject* text) {
  Py_ssize_t size = 0;
  const char* data = text != nullptr ? PyUnicode_AsUTF8AndSize(text, &size) : nullptr;
  if (data == nullptr) {
    PyErr_Clear();
    return "?";
  }
  return {data, static_cast<size_t>(size)};
}

std::string short_repr(PyObject* o) {
  const PyRef repr(PyObject_Repr(o));
  std::string text = text_of(repr.get());
  constexpr size_t kLongest = 60;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

std::string type_name(PyObject* o) {
  const std::string name = Py_TYPE(o)->tp_name;
  return name;
}

}  // namespace

std::string describe(PyObject* o) {
  if (o == nullptr || o == Py_None) return "None";
  if (is_tensor(o)) {
    const Tensor& t = tensor_of(o);
    return cat("a tensor of shape ", t->shape, " and dtype ", t->dtype);
  }
  if (is_numpy_array(o)) {
    const PyRef shape(PyObject_GetAttrString(o, "shape"));
    PyErr_Clear();
    return cat("numpy.ndarray of shape ", shape ? short_repr(shape.get()) : std::string("?"));
  }
  if (PyBool_Check(o) || PyLong_Check(o) || PyFloat_Check(o) || PyUnicode_Check(o) || PyComplex_Check(o)) {
    return cat(type_name(o), ' ', short_repr(o));
  }
  if (PyList_Check(o) || PyTuple_Check(o)) return cat(type_name(o), ' ', short_repr(o));
  if (PyType_Check(o)) return cat("the type ", reinterpret_cast<PyTypeObject*>(o)->tp_name);
  return type_name(o);
}

bool is_numpy_array(PyObject* o) noexcept { return is_instance_of(o, numpy_type("ndarray")); }
bool is_numpy_scalar(PyObject* o) noexcept { return is_instance_of(o, numpy_type("generic")); }

PyObject* numpy_type(const char* name) noexcept {
  const NumpyTypes* types = numpy_types();
  if (types == nullptr) return nullptr;
  if (std::strcmp(name, "ndarray") == 0) return types->ndarray;
  return std::strcmp(name, "generic") == 0 ? types->generic : types->dtype;
}

bool scalar_from(PyObject* o, Scalar& out, const char* op) {
  if (PyBool_Check(o)) {
    out = Scalar::of_bool(o == Py_True);
  } else if (PyFloat_Check(o)) {  // numpy.float64 is one
    out = Scalar::of_float(PyFloat_AS_DOUBLE(o));
  } else if (PyLong_Check(o)) {
    out = scalar_from_long(o, op);
  } else if (PyComplex_Check(o)) {
    const Py_complex c = PyComplex_AsCComplex(o);
    out = Scalar::of_complex({c.real, c.imag});
  } else if (is_numpy_scalar(o)) {
    const PyRef value = PyRef::checked(PyObject_CallMethod(o, "item", nullptr));
    if (is_numpy_scalar(value.get())) {  // longdouble and friends give themselves back
      const PyRef number(PyNumber_Float(o));
      if (!number) {
        PyErr_Clear();
        return false;
      }
      out = Scalar::of_float(PyFloat_AS_DOUBLE(number.get()));
      return true;
    }
    return scalar_from(value.get(), out, op);
  } else {
    return false;
  }
  return true;
}

bool operand_slow(PyObject* o, Arg& out, const char* op) {
  if (PyLong_CheckExact(o)) {
    out = Arg(scalar_from_long(o, op));
    return true;
  }
  Scalar s;
  if (scalar_from(o, s, op)) {
    out = Arg(s);
    return true;
  }
  if (is_numpy_array(o)) {
    fail<TypeError>(op, ": operand must be a tensor or a number, got ", describe(o),
                    "; convert it with gorgo.asarray, which shares its memory");
  }
  return false;
}

int64_t int_from(PyObject* o, const char* op, const char* argument) {
  if (PyBool_Check(o) || PyFloat_Check(o)) {
    fail<TypeError>(op, ": ", argument, " must be an integer, got ", describe(o));
  }
  const PyRef index(PyNumber_Index(o));
  if (!index) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw PythonError();
    PyErr_Clear();
    fail<TypeError>(op, ": ", argument, " must be an integer, got ", describe(o));
  }
  const Scalar s = scalar_from_long(index.get(), op);
  if (s.kind == Scalar::Kind::UInt) fail<OverflowError>(op, ": ", argument, " must fit int64, got ", s);
  return s.i;
}

double float_from(PyObject* o, const char* op, const char* argument) {
  Scalar s;
  if (!scalar_from(o, s, op) || s.kind == Scalar::Kind::Complex || s.kind == Scalar::Kind::Bool) {
    fail<TypeError>(op, ": ", argument, " must be a real number, got ", describe(o));
  }
  return s.to_double();
}

bool bool_from(PyObject* o, const char* op, const char* argument) {
  if (PyBool_Check(o)) return o == Py_True;
  Scalar s;
  if (!is_numpy_scalar(o) || !scalar_from(o, s, op) || s.kind != Scalar::Kind::Bool) {
    fail<TypeError>(op, ": ", argument, " must be True or False, got ", describe(o));
  }
  return s.to_bool();
}

Dims dims_from(PyObject* o, const char* op, const char* argument, int repeat) {
  if (PyTuple_Check(o) || PyList_Check(o)) {
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    if (n > kMaxRank) fail<ValueError>(op, ": ", argument, " must have at most ", kMaxRank, " integers, got ", n);
    Dims dims(static_cast<int>(n), 0);
    for (Py_ssize_t i = 0; i < n; ++i) {
      dims[static_cast<int>(i)] = int_from(PySequence_Fast_GET_ITEM(o, i), op, argument);
    }
    return dims;
  }
  if (!PyUnicode_Check(o) && PySequence_Check(o) != 0 && PyIndex_Check(o) == 0) {
    const PyRef list = PyRef::checked(PySequence_List(o));
    return dims_from(list.get(), op, argument, repeat);
  }
  if (PyIndex_Check(o) == 0 || PyBool_Check(o)) {
    fail<TypeError>(op, ": ", argument, " must be an integer or a tuple of integers, got ", describe(o));
  }
  return Dims(std::max(repeat, 1), int_from(o, op, argument));
}

const Tensor& tensor_from(PyObject* o, const char* op, const char* argument) {
  if (is_tensor(o)) return tensor_of(o);
  const char* advice = is_numpy_array(o) ? "; convert it with gorgo.asarray, which shares its memory" : "";
  fail<TypeError>(op, ": ", argument, " must be a tensor, got ", describe(o), advice);
}

SmallVector<Tensor, 2> tensors_from(PyObject* o, const char* op, const char* argument, bool nullable) {
  SmallVector<Tensor, 2> out;
  const auto take = [&](PyObject* item) {
    out.push_back(nullable && item == Py_None ? Tensor() : tensor_from(item, op, argument));
  };
  if (is_tensor(o) || (nullable && o == Py_None)) {
    take(o);
    return out;
  }
  const bool listed = PyTuple_Check(o) || PyList_Check(o);
  if (!listed && (Py_TYPE(o)->tp_iter == nullptr || PyUnicode_Check(o) || is_numpy_array(o))) {
    fail<TypeError>(op, ": ", argument, " must be a tensor or a list of tensors, got ", describe(o));
  }
  const PyRef items = PyRef::checked(PySequence_Fast(o, "a sequence"));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    take(PySequence_Fast_GET_ITEM(items.get(), i));
  }
  return out;
}

Opt<Device> optional_device_from(PyObject* o, const char* op) {
  if (o == nullptr || o == Py_None) return {};
  return device_from(o, op);
}

Device device_from(PyObject* o, const char* op) {
  if (o == nullptr || o == Py_None) return kCpu;
  if (!PyUnicode_Check(o)) fail<TypeError>(op, ": device must be a name such as 'cpu', got ", describe(o));
  return parse_device(text_of(o));
}

PyObject* to_python(const Scalar& s) {
  switch (s.kind) {
    case Scalar::Kind::Bool:
      return PyBool_FromLong(s.i != 0 ? 1 : 0);
    case Scalar::Kind::Int:
      return PyLong_FromLongLong(s.i);
    case Scalar::Kind::UInt:
      return PyLong_FromUnsignedLongLong(s.u);
    case Scalar::Kind::Float:
      return PyFloat_FromDouble(s.d);
    case Scalar::Kind::Complex:
      break;
  }
  return PyComplex_FromDoubles(s.d, s.imag);
}

PyObject* to_python(const Dims& dims) {
  PyObject* tuple = PyTuple_New(dims.size());
  if (tuple == nullptr) throw PythonError();
  for (int i = 0; i < dims.size(); ++i) {
    PyObject* item = PyLong_FromLongLong(dims[i]);
    if (item == nullptr) {
      Py_DECREF(tuple);
      throw PythonError();
    }
    PyTuple_SET_ITEM(tuple, i, item);
  }
  return tuple;
}

PyObject* to_python(const std::string& text) {
  return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
}

namespace {

template <class T>
T& member(const Field& field, void* attrs) {
  return *reinterpret_cast<T*>(static_cast<unsigned char*>(attrs) + field.offset);
}
template <class T>
const T& member(const Field& field, const void* attrs) {
  return *reinterpret_cast<const T*>(static_cast<const unsigned char*>(attrs) + field.offset);
}

Choice choice_from(const Field& field, PyObject* value, const char* op) {
  std::string words;
  for (int i = 0; field.words[i] != nullptr; ++i) {
    if (PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, field.words[i]) == 0) {
      return Choice{static_cast<uint8_t>(i)};
    }
    words += cat(i > 0 ? ", '" : "'", field.words[i], "'");
  }
  fail<ValueError>(op, ": ", field.name, " must be one of ", words, ", got ", describe(value));
}

}  // namespace

void set_field(const Field& field, void* attrs, PyObject* value, const char* op) {
  const char* name = field.name;
  const bool none = value == Py_None;
  switch (field.kind) {
    case FieldKind::Bool:
      member<bool>(field, attrs) = bool_from(value, op, name);
      return;
    case FieldKind::Int:
      member<int64_t>(field, attrs) = int_from(value, op, name);
      return;
    case FieldKind::Float:
      member<double>(field, attrs) = float_from(value, op, name);
      return;
    case FieldKind::Ints:
      member<Dims>(field, attrs) = dims_from(value, op, name, field.repeat);
      return;
    case FieldKind::MaybeInt: {
      auto& m = member<OptInt>(field, attrs);
      m = none ? OptInt() : OptInt(int_from(value, op, name));
      return;
    }
    case FieldKind::MaybeFloat: {
      auto& m = member<OptFloat>(field, attrs);
      m = none ? OptFloat() : OptFloat(float_from(value, op, name));
      return;
    }
    case FieldKind::MaybeInts: {
      auto& m = member<OptInts>(field, attrs);
      m = none ? OptInts() : OptInts(dims_from(value, op, name, field.repeat));
      return;
    }
    case FieldKind::DType:
      member<DType>(field, attrs) = dtype_from(value, op, name);
      return;
    case FieldKind::MaybeDType:
      member<OptDType>(field, attrs) = optional_dtype_from(value, op, name);
      return;
    case FieldKind::Scalar: {
      if (!scalar_from(value, member<Scalar>(field, attrs), op)) {
        fail<TypeError>(op, ": ", name, " must be a number, got ", describe(value));
      }
      return;
    }
    case FieldKind::Host: {
      auto& m = member<HostValue>(field, attrs);
      m = is_host_cell(value) ? HostValue(host_cell_of(value)) : HostValue(float_from(value, op, name));
      return;
    }
    case FieldKind::Choice:
      member<Choice>(field, attrs) = choice_from(field, value, op);
      return;
  }
}

PyObject* get_field(const Field& field, const void* attrs) {
  const auto none_or = [](const auto& opt, auto&& convert) {
    return opt.has ? convert(opt.value) : Py_NewRef(Py_None);
  };
  switch (field.kind) {
    case FieldKind::Bool:
      return PyBool_FromLong(member<bool>(field, attrs) ? 1 : 0);
    case FieldKind::Int:
      return PyLong_FromLongLong(member<int64_t>(field, attrs));
    case FieldKind::Float:
      return PyFloat_FromDouble(member<double>(field, attrs));
    case FieldKind::Ints:
      return to_python(member<Dims>(field, attrs));
    case FieldKind::MaybeInt:
      return none_or(member<OptInt>(field, attrs), [](int64_t v) { return PyLong_FromLongLong(v); });
    case FieldKind::MaybeFloat:
      return none_or(member<OptFloat>(field, attrs), PyFloat_FromDouble);
    case FieldKind::MaybeInts:
      return none_or(member<OptInts>(field, attrs), [](const Dims& v) { return to_python(v); });
    case FieldKind::DType:
      return to_python(member<DType>(field, attrs));
    case FieldKind::MaybeDType:
      return none_or(member<OptDType>(field, attrs), [](DType v) { return to_python(v); });
    case FieldKind::Scalar:
      return to_python(member<Scalar>(field, attrs));
    case FieldKind::Host:
      return PyFloat_FromDouble(member<HostValue>(field, attrs).get());
    case FieldKind::Choice:
      break;
  }
  const Choice choice = member<Choice>(field, attrs);
  return PyUnicode_FromString(field.words[choice.index]);
}

const char* our_word_for(std::string_view keyword) noexcept {
  struct Word {
    const char* theirs;
    const char* ours;
  };
  static constexpr Word kWords[] = {
      {"dim", "axis"},   {"dims", "axis"},       {"keepdim", "keepdims"},    {"input", "x"},  {"other", "x2"},
      {"size", "shape"}, {"ddof", "correction"}, {"unbiased", "correction"}, {"axes", "axis"}};
  for (const Word& w : kWords) {
    if (keyword == w.theirs) return w.ours;
  }
  return nullptr;
}

Arguments::Arguments(const char* function, const char* signature, PyObject* const* args, Py_ssize_t nargs,
                     PyObject* kwnames)
    : function_(function), signature_(signature) {
  std::string_view names[kMax];
  int count = 0;
  int positional_only = 0;
  int positional = -1;
  for (std::string_view rest = signature; !rest.empty();) {
    const size_t comma = rest.find(", ");
    const std::string_view word = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 2);
    if (word == "/") {
      positional_only = count;
    } else if (word == "*") {
      positional = count;
    } else {
      names[count++] = word;
    }
  }
  if (positional < 0) positional = count;
  if (nargs > positional) {
    fail<TypeError>(function, ": at most ", positional, " arguments go by position (", signature, "), got ", nargs);
  }
  std::copy(args, args + nargs, values_);
  const Py_ssize_t keywords = kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    const std::string keyword = text_of(PyTuple_GET_ITEM(kwnames, k));
    int at = positional_only;
    while (at < count && names[at] != keyword) ++at;
    if (at == count) {
      const char* ours = our_word_for(keyword);
      fail<TypeError>(function, ": arguments are (", signature, "), got the keyword ", keyword,
                      ours != nullptr ? cat("; here it is called ", ours) : std::string());
    }
    if (values_[at] != nullptr) fail<TypeError>(function, ": argument ", keyword, " must be given once, got it twice");
    values_[at] = args[nargs + k];
  }
}

PyObject* Arguments::required(int i) const {
  if (values_[i] != nullptr) return values_[i];
  fail<TypeError>(function_, ": arguments are (", signature_, "), got none for number ", i + 1);
}

}  // namespace gorgo

// In order: life and death of the object, number slots, comparisons, conversions to numbers, properties, methods, the type.
#include "bindings/tensor_type.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <new>

#include "autograd/accumulate.h"
#include "autograd/tape.h"
#include "bindings/convert.h"
#include "bindings/dtype_type.h"
#include "bindings/function_docs.h"
#include "bindings/interop.h"
#include "bindings/module.h"
#include "bindings/op_function.h"
#include "bindings/origin.h"
#include "bindings/static_type.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "opdef/core_ops.h"
#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/creation/creation.h"
#include "ops/shape/shape.h"

namespace gorgo {

PyTypeObject tensor_type{};

namespace {

// ---- life and death ----

#if defined(Py_GIL_DISABLED)
constexpr int kMostFree = 0;
#else
constexpr int kMostFree = 256;
#endif
struct FreeObjects {
  PyTensor* objects[kMostFree > 0 ? kMostFree : 1];
  int count = 0;
};
FreeObjects free_objects;

PyObject* make_object() noexcept {
  void* memory = nullptr;
  if (free_objects.count > 0) {
    memory = free_objects.objects[--free_objects.count];
  } else {
    memory = PyObject_Malloc(sizeof(PyTensor));
    if (memory == nullptr) return PyErr_NoMemory();
  }
  return PyObject_Init(static_cast<PyObject*>(memory), &tensor_type);
}

void dealloc(PyObject* o) noexcept {
  auto* self = reinterpret_cast<PyTensor*>(o);
  TensorImpl* impl = self->tensor.detach();
  impl->python.store(nullptr, std::memory_order_relaxed);  // before callbacks run, which could reach the impl
  if (self->weak_references != nullptr) PyObject_ClearWeakRefs(o);
  if (free_objects.count < kMostFree) {
    free_objects.objects[free_objects.count++] = self;
  } else {
    PyObject_Free(o);
  }
  impl->release();
}

PyObject* refuse_new(PyTypeObject*, PyObject*, PyObject*) noexcept {
  PyErr_SetString(PyExc_TypeError,
                  "Tensor: tensors are made by functions such as gorgo.asarray, gorgo.zeros or gorgo.empty");
  return nullptr;
}

// ---- numbers ----

// X(enumerator, op)
#define GORGO_FOR_EACH_OPERATOR(X)     \
  X(Add, "add")                        \
  X(Subtract, "subtract")              \
  X(Multiply, "multiply")              \
  X(Divide, "divide")                  \
  X(FloorDivide, "floor_divide")       \
  X(Remainder, "remainder")            \
  X(Power, "pow")                      \
  X(Matmul, "matmul")                  \
  X(And, "bitwise_and")                \
  X(Or, "bitwise_or")                  \
  X(Xor, "bitwise_xor")                \
  X(LeftShift, "bitwise_left_shift")   \
  X(RightShift, "bitwise_right_shift") \
  X(Negative, "negative")              \
  X(Abs, "abs")                        \
  X(Invert, "bitwise_invert")          \
  X(Equal, "equal")                    \
  X(NotEqual, "not_equal")             \
  X(Less, "less")                      \
  X(LessEqual, "less_equal")           \
  X(Greater, "greater")                \
  X(GreaterEqual, "greater_equal")     \
  X(Real, "real")                      \
  X(Imag, "imag")

enum class Operator {
#define GORGO_X(name, op) name,
  GORGO_FOR_EACH_OPERATOR(GORGO_X)
#undef GORGO_X
};
constexpr const char* kOperatorNames[] = {
#define GORGO_X(name, op) op,
    GORGO_FOR_EACH_OPERATOR(GORGO_X)
#undef GORGO_X
};
constexpr int kOperatorCount = sizeof(kOperatorNames) / sizeof(kOperatorNames[0]);
const OpDef* operators[kOperatorCount] = {};

const OpDef& op_of(Operator o) {
  const auto i = static_cast<size_t>(o);
  if (operators[i] == nullptr) [[unlikely]]
    operators[i] = &Registry::instance().get(kOperatorNames[i]);
  return *operators[i];
}

template <Operator O>
PyObject* binary(PyObject* a, PyObject* b) noexcept {
  try {
    const OpDef& op = op_of(O);
    Arg args[2];
    if (!operand_from(a, args[0], op.name) || !operand_from(b, args[1], op.name)) Py_RETURN_NOTIMPLEMENTED;
    return wrap(funnel.call1(op, {args, 2}, nullptr));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

template <Operator O>
PyObject* in_place(PyObject* a, PyObject* b) noexcept {
  try {
    const OpDef& op = op_of(O);
    Arg args[2];
    if (!is_tensor(a)) Py_RETURN_NOTIMPLEMENTED;
    if (!operand_from(a, args[0], op.name) || !operand_from(b, args[1], op.name)) Py_RETURN_NOTIMPLEMENTED;
    funnel.call_into(op, {args, 2}, nullptr, tensor_of(a));
    return Py_NewRef(a);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

template <Operator O>
PyObject* unary(PyObject* a) noexcept {
  return guarded([&] {
    const Arg args[1] = {Arg(tensor_of(a))};
    return wrap(funnel.call1(op_of(O), {args, 1}, nullptr));
  });
}

PyObject* positive(PyObject* a) noexcept {
  return guarded([&] { return wrap(copy_of(tensor_of(a))); });
}

PyObject* power(PyObject* a, PyObject* b, PyObject* modulus) noexcept {
  if (modulus != Py_None) {
    PyErr_SetString(PyExc_TypeError, "pow: a third argument is not supported for tensors");
    return nullptr;
  }
  return binary<Operator::Power>(a, b);
}
PyObject* power_in_place(PyObject* a, PyObject* b, PyObject*) noexcept { return in_place<Operator::Power>(a, b); }

PyObject* divmod_slot(PyObject* a, PyObject* b) noexcept {
  return guarded([&]() -> PyObject* {
    const PyRef quotient = PyRef::checked(binary<Operator::FloorDivide>(a, b));
    if (quotient.get() == Py_NotImplemented) Py_RETURN_NOTIMPLEMENTED;
    const PyRef remainder = PyRef::checked(binary<Operator::Remainder>(a, b));
    return PyTuple_Pack(2, quotient.get(), remainder.get());
  });
}

PyObject* compare(PyObject* a, PyObject* b, int how) noexcept {
  switch (how) {
    case Py_EQ:
      return binary<Operator::Equal>(a, b);
    case Py_NE:
      return binary<Operator::NotEqual>(a, b);
    case Py_LT:
      return binary<Operator::Less>(a, b);
    case Py_LE:
      return binary<Operator::LessEqual>(a, b);
    case Py_GT:
      return binary<Operator::Greater>(a, b);
    default:
      return binary<Operator::GreaterEqual>(a, b);
  }
}

Py_hash_t hash(PyObject* self) noexcept {
  const auto bits = reinterpret_cast<uintptr_t>(self) >> 4;
  const auto h = static_cast<Py_hash_t>(bits);
  return h == -1 ? -2 : h;
}

// ---- conversions to Python's numbers ----

Scalar single_element(const Tensor& t, const char* what) {
  if (t->numel != 1) {
    fail<ValueError>(what, ": tensor must have exactly one element, got shape ", t->shape);
  }
  check_readable(t, what);
  return load_scalar(on_host(t)->data(), t->dtype);
}

int truth(PyObject* self) noexcept {
  return guarded_int([&] {
    const Tensor& t = tensor_of(self);
    if (t->numel != 1) {
      fail<ValueError>("bool: tensor must have exactly one element to be true or false, got shape ", t->shape,
                       " (use any or all)");
    }
    return single_element(t, "bool").to_bool() ? 1 : 0;
  });
}

PyObject* to_float(PyObject* self) noexcept {
  return guarded([&] {
    const Scalar s = single_element(tensor_of(self), "float");
    if (s.kind == Scalar::Kind::Complex)
      fail<TypeError>("float: tensor must be real, got dtype ", tensor_of(self)->dtype);
    return PyFloat_FromDouble(s.to_double());
  });
}

PyObject* to_int(PyObject* self) noexcept {
  return guarded([&]() -> PyObject* {
    const Scalar s = single_element(tensor_of(self), "int");
    if (s.kind == Scalar::Kind::Complex)
      fail<TypeError>("int: tensor must be real, got dtype ", tensor_of(self)->dtype);
    if (s.kind == Scalar::Kind::Float) return PyLong_FromDouble(s.d);
    if (s.kind == Scalar::Kind::UInt) return PyLong_FromUnsignedLongLong(s.u);
    return PyLong_FromLongLong(s.i);
  });
}

PyObject* to_index(PyObject* self) noexcept {
  return guarded([&]() -> PyObject* {
    const Tensor& t = tensor_of(self);
    if (!is_integer(t->dtype) || t->rank() != 0) {
      fail<TypeError>("index: tensor must be an integer of rank 0, got shape ", t->shape, " and dtype ", t->dtype);
    }
    return to_python(single_element(t, "index"));
  });
}

PyObject* to_complex(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    const Scalar s = single_element(tensor_of(self), "complex");
    return PyComplex_FromDoubles(s.to_double(), s.imag);
  });
}

PyObject* item(PyObject* self, PyObject*) noexcept {
  return guarded([&] { return to_python(single_element(tensor_of(self), "item")); });
}

PyObject* format(PyObject* self, PyObject* spec) noexcept {
  return guarded([&]() -> PyObject* {
    const Tensor& t = tensor_of(self);
    if (PyUnicode_Check(spec) && PyUnicode_GET_LENGTH(spec) == 0) return PyObject_Str(self);
    const PyRef number = PyRef::checked(to_python(single_element(t, "format")));
    return PyObject_Format(number.get(), spec);
  });
}

// ---- sequence ----

Py_ssize_t length(PyObject* self) noexcept {
  return guarded_int<Py_ssize_t>([&] {
    const Tensor& t = tensor_of(self);
    if (t->rank() == 0) fail<TypeError>("len: tensor must have rank 1 or more, got shape ()");
    return static_cast<Py_ssize_t>(t->shape[0]);
  });
}

PyObject* iterate(PyObject* self) noexcept {
  return guarded([&] {
    if (tensor_of(self)->rank() == 0) fail<TypeError>("iter: tensor must have rank 1 or more, got shape ()");
    return PySeqIter_New(self);
  });
}

int contains(PyObject* self, PyObject* value) noexcept {
  return guarded_int([&] {
    Arg args[2] = {Arg(tensor_of(self)), Arg()};
    if (!operand_from(value, args[1], "in")) {
      fail<TypeError>("in: value must be a tensor or a number, got ", describe(value));
    }
    const Tensor found = funnel.call1(op_of(Operator::Equal), {args, 2}, nullptr);
    check_readable(found, "in");
    const Tensor same = on_host(found);
    const auto* at = static_cast<const bool*>(same->data());
    return std::find(at, at + same->numel, true) != at + same->numel ? 1 : 0;
  });
}

// ---- properties ----

PyObject* get_shape(PyObject* self, void*) noexcept {
  return guarded([&] { return to_python(tensor_of(self)->shape); });
}
PyObject* get_strides(PyObject* self, void*) noexcept {
  return guarded([&] { return to_python(tensor_of(self)->strides); });
}
PyObject* get_dtype(PyObject* self, void*) noexcept { return to_python(tensor_of(self)->dtype); }
PyObject* get_device(PyObject* self, void*) noexcept {
  if (tensor_of(self)->device() == kCpu) {
    static PyObject* cpu = PyUnicode_InternFromString("cpu");
    return Py_XNewRef(cpu);
  }
  return guarded([&] { return to_python(device_name(tensor_of(self)->device())); });
}
PyObject* get_ndim(PyObject* self, void*) noexcept { return PyLong_FromLong(tensor_of(self)->rank()); }
PyObject* get_size(PyObject* self, void*) noexcept { return PyLong_FromLongLong(tensor_of(self)->numel); }
PyObject* get_element_size(PyObject* self, void*) noexcept {
  return PyLong_FromLongLong(dtype_size(tensor_of(self)->dtype));
}
PyObject* get_nbytes(PyObject* self, void*) noexcept {
  return PyLong_FromLongLong(dtype_size(tensor_of(self)->dtype) * tensor_of(self)->numel);
}

PyObject* get_real(PyObject* self, void*) noexcept {
  if (!is_complex(tensor_of(self)->dtype)) return Py_NewRef(self);
  return unary<Operator::Real>(self);
}
PyObject* get_imag(PyObject* self, void*) noexcept {
  return guarded([&] {
    if (!is_complex(tensor_of(self)->dtype)) {
      fail<TypeError>("imag: tensor must be complex, got dtype ", tensor_of(self)->dtype);
    }
    return PyRef::checked(unary<Operator::Imag>(self)).detach();
  });
}

// ---- methods ----

PyObject* data_ptr(PyObject* self, PyObject*) noexcept { return PyLong_FromVoidPtr(tensor_of(self)->data()); }
PyObject* is_contiguous_method(PyObject* self, PyObject*) noexcept {
  return PyBool_FromLong(tensor_of(self)->contiguous ? 1 : 0);
}
PyObject* contiguous(PyObject* self, PyObject*) noexcept {
  return guarded([&] { return wrap(contiguous_of(tensor_of(self))); });
}
PyObject* numel(PyObject* self, PyObject*) noexcept { return get_size(self, nullptr); }
PyObject* to_list(PyObject* self, PyObject*) noexcept {
  return guarded([&] { return tensor_to_list(tensor_of(self)); });
}

PyObject* copy_into(PyObject* self, PyObject* source) noexcept {
  return guarded([&] {
    Arg arg;
    if (!operand_from(source, arg, "copy_")) {
      fail<TypeError>("copy_: source must be a tensor or a number, got ", describe(source));
    }
    assign_value(tensor_of(self), arg, "copy_");
    return Py_NewRef(self);
  });
}

PyObject* fill(PyObject* self, PyObject* value) noexcept {
  return guarded([&] {
    Scalar s;
    if (is_tensor(value) && tensor_of(value)->rank() == 0) {
      assign_value(tensor_of(self), Arg(tensor_of(value)), "fill_");
      return Py_NewRef(self);
    }
    if (!scalar_from(value, s, "fill_")) {
      fail<TypeError>("fill_: value must be a number, got ", describe(value));
    }
    assign_value(tensor_of(self), Arg(s), "fill_");
    return Py_NewRef(self);
  });
}

PyObject* zero(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    assign_value(tensor_of(self), Arg(Scalar::of_bool(false)), "zero_");
    return Py_NewRef(self);
  });
}

PyObject* clone(PyObject* self, PyObject*) noexcept {
  return guarded([&] { return wrap(copy_of(tensor_of(self))); });
}

PyObject* deep_copy(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    if (!t->is_leaf()) {
      fail<StateError>(
          "deepcopy: tensor must be a leaf (made by hand, not computed), got one with a gradient record of shape ",
          t->shape, " (detach it first)");
    }
    const GradMode off(false);
    Tensor copy = copy_of(t);
    copy->requires_grad = t->requires_grad;
    copy->is_parameter = t->is_parameter;
    if (const Tensor g = read_grad(*t)) write_grad(*copy, copy_of(g));
    return wrap(std::move(copy));
  });
}

// The tensor on that device in that dtype. The null device has shapes alone: nothing comes back from it.
Tensor moved_to(const Tensor& t, Device device, DType dtype, const char* op, bool non_blocking = false) {
  if (device == t->device()) return t;
  if (device.type == DeviceType::Null) return make_tensor(t->shape, dtype, device);
  if (t->device().type == DeviceType::Null) {
    fail<NotSupported>(op, ": device must be ", device_name(t->device()), " for this tensor, got ",
                       device_name(device));
  }
  // Converted where it takes fewer bytes to travel.
  if (dtype_size(dtype) < dtype_size(t->dtype)) return to_device(cast_to(t, dtype), device, non_blocking);
  return cast_to(to_device(t, device, non_blocking), dtype);
}

PyObject* astype_call(const Tensor& t, const Arguments& given, int first) {
  const DType dtype = dtype_from(given.required(first), "astype");
  const bool copy = given[first + 1] == nullptr || bool_from(given[first + 1], "astype", "copy");
  if (given.given(first + 2) != nullptr) {
    const Device device = device_from(given[first + 2], "astype");
    if (device != t->device()) return wrap(moved_to(t, device, dtype, "astype"));
  }
  if (t->dtype != dtype) return wrap(cast_to(t, dtype));
  return wrap(copy ? copy_of(t) : t);
}
PyObject* astype(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    return astype_call(tensor_of(self), Arguments("astype", "dtype, /, *, copy, device", args, nargs, kwnames), 0);
  });
}
PyObject* astype_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("astype", "x, dtype, /, *, copy, device", args, nargs, kwnames);
    return astype_call(tensor_from(given.required(0), "astype", "x"), given, 1);
  });
}

PyObject* to_device(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("to_device", "device, /, *, stream", args, nargs, kwnames);
    if (given.given(1) != nullptr) {
      fail<ValueError>("to_device: stream must be None (choose one with gorgo.cuda.stream), got ", describe(given[1]));
    }
    const Tensor& t = tensor_of(self);
    return wrap(moved_to(t, device_from(given.required(0), "to_device"), t->dtype, "to_device"));
  });
}

PyObject* to_cpu(PyObject* self, PyObject*) noexcept {
  return guarded([&] { return wrap(moved_to(tensor_of(self), kCpu, tensor_of(self)->dtype, "cpu")); });
}
PyObject* to_cuda(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("cuda", "device", args, nargs, kwnames);
    const PyRef first = PyRef(PyUnicode_FromString("cuda"));
    const Device device = device_from(given.given(0) != nullptr ? given[0] : first.get(), "cuda");
    if (device.type != DeviceType::Cuda)
      fail<ValueError>("cuda: device must be a cuda device, got ", device_name(device));
    return wrap(moved_to(tensor_of(self), device, tensor_of(self)->dtype, "cuda"));
  });
}

PyObject* array_namespace(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("__array_namespace__", "*, api_version", args, nargs, kwnames);
    if (PyObject* version = given.given(0)) {
      static constexpr const char* kVersions[] = {"2021.12", "2022.12", "2023.12", "2024.12"};
      const auto is_version = [version](const char* known) {
        return PyUnicode_Check(version) && PyUnicode_CompareWithASCIIString(version, known) == 0;
      };
      if (std::none_of(std::begin(kVersions), std::end(kVersions), is_version)) {
        fail<ValueError>("__array_namespace__: api_version must be one of 2021.12, 2022.12, 2023.12, 2024.12, got ",
                         describe(version));
      }
    }
    return PyRef::checked(PyImport_ImportModule("gorgo")).detach();
  });
}

PyObject* to(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    // One positional argument may be a dtype, a device, or a tensor to be like.
    const Arguments given("to", "target, dtype, device, copy, non_blocking", args, nargs, kwnames);
    const Tensor& t = tensor_of(self);
    OptDType dtype = optional_dtype_from(given[1], "to");
    Device device = given.given(2) != nullptr ? device_from(given[2], "to") : t->device();
    if (PyObject* target = given.given(0)) {
      if (is_tensor(target)) {
        dtype = tensor_of(target)->dtype;
        device = tensor_of(target)->device();
      } else if (PyUnicode_Check(target) && !parse_dtype(PyUnicode_AsUTF8(target)).has_value()) {
        device = device_from(target, "to");
      } else {
        dtype = dtype_from(target, "to", "target");
      }
    }
    const bool non_blocking = given.given(4) != nullptr && bool_from(given[4], "to", "non_blocking");
    if (device != t->device()) return wrap(moved_to(t, device, dtype.has ? dtype.value : t->dtype, "to", non_blocking));
    if (dtype.has && dtype.value != t->dtype) return wrap(cast_to(t, dtype.value));
    const bool copy = given.given(3) != nullptr && bool_from(given[3], "to", "copy");
    return copy ? wrap(copy_of(t)) : Py_NewRef(self);
  });
}

// A copy in pinned memory: what .to(device, non_blocking=True) wants.
PyObject* pin_memory(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    if (t->device() != kCpu) fail<ValueError>("pin_memory: tensor must be on the cpu, got ", device_name(t->device()));
    const GradMode off(false);
    const auto bytes = static_cast<size_t>(t->numel * dtype_size(t->dtype));
    const Ref<Storage> storage = Ref<Storage>::adopt(allocate_pinned(bytes));
    Tensor pinned = make_tensor_over(storage.get(), t->shape, t->dtype);
    assign(pinned, Arg(t));
    return wrap(std::move(pinned));
  });
}

// Pickled as raw bytes in row-major order, which holds for every dtype and needs no NumPy.
PyObject* tensor_reduce(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    if (!t->is_leaf()) {
      fail<StateError>(
          "pickle: tensor must be a leaf (made by hand, not computed), got one with a gradient record of shape ",
          t->shape, " (detach it first)");
    }
    check_readable(t, "pickle");
    const GradMode off(false);
    const Tensor flat = contiguous_of(on_host(t));
    const PyRef bytes = PyRef::checked(PyBytes_FromStringAndSize(
        static_cast<const char*>(flat->data()), static_cast<Py_ssize_t>(flat->numel * dtype_size(flat->dtype))));
    const PyRef module = PyRef::checked(PyImport_ImportModule("gorgo._core"));
    const PyRef rebuild = PyRef::checked(PyObject_GetAttrString(module.get(), "_rebuild_tensor"));
    const PyRef shape = PyRef::checked(to_python(t->shape));
    return Py_BuildValue("O(OsOii)", rebuild.get(), bytes.get(), dtype_name(t->dtype), shape.get(),
                         t->requires_grad ? 1 : 0, t->is_parameter ? 1 : 0);
  });
}

PyObject* rebuild_tensor(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("_rebuild_tensor", "bytes, dtype, shape, requires_grad, parameter, /", args, nargs, kwnames);
    char* data = nullptr;
    Py_ssize_t size = 0;
    check_status(PyBytes_AsStringAndSize(given.required(0), &data, &size));
    Tensor t =
        make_tensor(dims_from(given.required(2), "pickle", "shape"), dtype_from(given.required(1), "pickle"), kCpu);
    const int64_t bytes = t->numel * dtype_size(t->dtype);
    if (size != bytes)
      fail<ValueError>("pickle: bytes must fill shape ", t->shape, " of dtype ", t->dtype, ", got ", size);
    if (bytes != 0) std::memcpy(t->data(), data, static_cast<size_t>(bytes));
    t->requires_grad = int_from(given.required(3), "pickle", "requires_grad") != 0;
    t->is_parameter = int_from(given.required(4), "pickle", "parameter") != 0;
    return wrap(std::move(t));
  });
}

PyMethodDef own_methods[] = {
    {"item", item, METH_NOARGS, "item($self, /)\n--\n\nReturn the only element as a Python number."},
    {"tolist", to_list, METH_NOARGS, "tolist($self, /)\n--\n\nReturn the elements as nested lists of Python numbers."},
    {"data_ptr", data_ptr, METH_NOARGS, "data_ptr($self, /)\n--\n\nReturn the address of the first element."},
    {"numel", numel, METH_NOARGS, "numel($self, /)\n--\n\nReturn the number of elements."},
    {"is_contiguous", is_contiguous_method, METH_NOARGS,
     "is_contiguous($self, /)\n--\n\nTell whether row-major order is memory order."},
    {"contiguous", contiguous, METH_NOARGS,
     "contiguous($self, /)\n--\n\nReturn the tensor itself when contiguous, else a copy that is."},
    {"clone", clone, METH_NOARGS, "clone($self, /)\n--\n\nReturn a copy that gradients flow through."},
    {"copy", clone, METH_NOARGS, "copy($self, /)\n--\n\nReturn a copy that gradients flow through."},
    {"copy_", copy_into, METH_O,
     "copy_($self, source, /)\n--\n\nOverwrite the elements with those of source, broadcast."},
    {"fill_", fill, METH_O, "fill_($self, value, /)\n--\n\nOverwrite every element with a number."},
    {"zero_", zero, METH_NOARGS, "zero_($self, /)\n--\n\nOverwrite every element with zero."},
    {"astype", fast(astype), kFastCall,
     "astype($self, dtype, /, *, copy=True, device=None)\n--\n\nReturn the elements converted to dtype."},
    {"to", fast(to), kFastCall,
     "to($self, target=None, dtype=None, device=None, copy=False, non_blocking=False)\n--\n\nReturn the tensor with "
     "that dtype on that "
     "device."},
    {"pin_memory", pin_memory, METH_NOARGS,
     "pin_memory($self, /)\n--\n\nReturn a copy in host memory that copies to a CUDA device can read while the caller "
     "goes "
     "on."},
    {"to_device", fast(to_device), kFastCall,
     "to_device($self, device, /, *, stream=None)\n--\n\nReturn the tensor on that device; itself if it is there."},
    {"cpu", to_cpu, METH_NOARGS, "cpu($self, /)\n--\n\nReturn the tensor on the cpu; itself if it is there."},
    {"cuda", fast(to_cuda), kFastCall,
     "cuda($self, device=None)\n--\n\nReturn the tensor on a CUDA device, the first one unless another is named."},
    {"__array_namespace__", fast(array_namespace), kFastCall,
     "__array_namespace__($self, /, *, api_version=None)\n--\n\nReturn the module with the array API's functions."},
    {"__complex__", to_complex, METH_NOARGS, nullptr},
    {"__format__", format, METH_O, nullptr},
    {"__reduce__", tensor_reduce, METH_NOARGS, nullptr},
    {"__copy__", clone, METH_NOARGS, nullptr},
    {"__deepcopy__", deep_copy, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef own_properties[] = {
    {"shape", get_shape, nullptr, "The length of each axis.", nullptr},
    {"dtype", get_dtype, nullptr, "The element type.", nullptr},
    {"device", get_device, nullptr, "Where the bytes are, such as 'cpu'.", nullptr},
    {"ndim", get_ndim, nullptr, "The number of axes.", nullptr},
    {"size", get_size, nullptr, "The number of elements.", nullptr},
    {"strides", get_strides, nullptr, "The step along each axis, in elements.", nullptr},
    {"itemsize", get_element_size, nullptr, "Bytes of one element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"T", get_transposed, nullptr, "The transposed matrix, a view.", nullptr},
    {"mT", get_matrix_transposed, nullptr, "The last two axes exchanged, a view.", nullptr},
    {"real", get_real, nullptr, "The real parts; the tensor itself when it is real.", nullptr},
    {"imag", get_imag, nullptr, "The imaginary parts of a complex tensor.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "Whether gradients are recorded; may be set on leaves.",
     nullptr},
    {"grad", get_grad, set_grad, "The gradient that backward has summed here, or None.", nullptr},
    {"grad_fn", get_grad_fn, nullptr, "The record of the op that computed this, or None for a leaf.", nullptr},
    {"is_parameter", get_is_parameter, set_is_parameter, "A mark that nn.Parameter sets.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "Whether no recorded op computed this.", nullptr},
    {"__cuda_array_interface__", get_cuda_array_interface, nullptr,
     "What others need to share the memory of a tensor on a cuda device; no other tensor has it.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyNumberMethods* number_methods() {
  static PyNumberMethods n{};
  n.nb_add = binary<Operator::Add>;
  n.nb_subtract = binary<Operator::Subtract>;
  n.nb_multiply = binary<Operator::Multiply>;
  n.nb_true_divide = binary<Operator::Divide>;
  n.nb_floor_divide = binary<Operator::FloorDivide>;
  n.nb_remainder = binary<Operator::Remainder>;
  n.nb_divmod = divmod_slot;
  n.nb_power = power;
  n.nb_matrix_multiply = binary<Operator::Matmul>;
  n.nb_and = binary<Operator::And>;
  n.nb_or = binary<Operator::Or>;
  n.nb_xor = binary<Operator::Xor>;
  n.nb_lshift = binary<Operator::LeftShift>;
  n.nb_rshift = binary<Operator::RightShift>;
  n.nb_inplace_add = in_place<Operator::Add>;
  n.nb_inplace_subtract = in_place<Operator::Subtract>;
  n.nb_inplace_multiply = in_place<Operator::Multiply>;
  n.nb_inplace_true_divide = in_place<Operator::Divide>;
  n.nb_inplace_floor_divide = in_place<Operator::FloorDivide>;
  n.nb_inplace_remainder = in_place<Operator::Remainder>;
  n.nb_inplace_power = power_in_place;
  n.nb_inplace_and = in_place<Operator::And>;
  n.nb_inplace_or = in_place<Operator::Or>;
  n.nb_inplace_xor = in_place<Operator::Xor>;
  n.nb_inplace_lshift = in_place<Operator::LeftShift>;
  n.nb_inplace_rshift = in_place<Operator::RightShift>;
  n.nb_negative = unary<Operator::Negative>;
  n.nb_positive = positive;
  n.nb_absolute = unary<Operator::Abs>;
  n.nb_invert = unary<Operator::Invert>;
  n.nb_bool = truth;
  n.nb_int = to_int;
  n.nb_float = to_float;
  n.nb_index = to_index;
  return &n;
}

}  // namespace

PyObject* wrap(Tensor t) {
  TensorImpl* impl = t.get();
  if (impl == nullptr) return Py_NewRef(Py_None);
  if (void* known = impl->python.load(std::memory_order_relaxed)) return Py_NewRef(static_cast<PyObject*>(known));
  PyObject* o = make_object();
  if (o == nullptr) return nullptr;
  auto* self = reinterpret_cast<PyTensor*>(o);
  new (&self->tensor) Tensor(std::move(t));
  self->weak_references = nullptr;
  impl->python.store(o, std::memory_order_relaxed);
  return o;
}

void check_readable(const Tensor& t, const char* op) {
  if (t->device().type == DeviceType::Null)
    fail<StateError>(op, ": values must exist, got a tensor on the null device");
  refuse_while_recording(*t, op);
}

Tensor on_host(const Tensor& t) {
  if (t->device().type != DeviceType::Cuda) return t;
  const GradMode off(false);
  return to_device(t, kCpu);
}

void check_kind(const TensorImpl& value, DType target, const char* op) {
  const auto kind = [](DType d) { return is_complex(d) ? 3 : is_inexact(d) ? 2 : is_integer(d) ? 1 : 0; };
  if (kind(value.dtype) <= kind(target)) return;
  fail<TypeError>(op, ": value must be of a kind that ", target, " can hold, got ", value.dtype,
                  " (convert it with astype)");
}

void assign_value(const Tensor& target, const Arg& value, const char* op) {
  Arg source = value;
  if (source.is_scalar()) {
    // A bool counts as the number it stands for; a higher kind than the target's is refused by the funnel's store.
    if (source.scalar.kind == Scalar::Kind::Bool && target->dtype != DType::Bool) {
      source.scalar = Scalar::of_int(source.scalar.i);
    }
    Tensor one;
    if (target->device().type == DeviceType::Cuda) {
      const DeviceScope scope(target->device());
      one = full({}, source.scalar, target->dtype);
    } else {
      one = make_tensor({}, target->dtype, target->device());
      if (target->device().type == DeviceType::Cpu) store_scalar(source.scalar, target->dtype, op, one->data());
    }
    assign_value(target, Arg(one), op);
    return;
  }
  check_kind(*source.tensor, target->dtype, op);
  if (source.tensor->shape == target->shape) {
    assign(target, source);
    return;
  }
  const Shape& shape = source.tensor->shape;
  const int lead = target->rank() - shape.size();
  int extra = 0;
  while (extra < -lead && shape[extra] == 1) ++extra;  // leading ones beyond the target's rank are dropped
  bool fits = lead >= 0 || extra == -lead;
  for (int i = std::max(0, -lead); fits && i < shape.size(); ++i)
    fits = shape[i] == 1 || shape[i] == target->shape[lead + i];
  if (!fits) {
    fail<ValueError>(op, ": value must broadcast to the target's shape ", target->shape, ", got ", shape);
  }
  Tensor wide = Tensor::share(source.tensor);
  if (extra > 0) {
    Shape shorter;
    for (int i = extra; i < shape.size(); ++i) shorter.push_back(shape[i]);
    wide = reshape(wide, shorter);
  }
  assign(target, Arg(broadcast_to(wide, target->shape)));
}

void bind_tensor(PyObject* module) {
  static PySequenceMethods sequence{};
  sequence.sq_length = length;
  sequence.sq_item = tensor_sequence_item;
  sequence.sq_contains = contains;
  static PyMappingMethods mapping{};
  mapping.mp_length = length;
  mapping.mp_subscript = tensor_subscript;
  mapping.mp_ass_subscript = tensor_assign_subscript;
  static PyMethodDef functions[] = {
      {"_rebuild_tensor", fast(rebuild_tensor), kFastCall, nullptr},
      {"astype", fast(astype_function), kFastCall,
       "astype(x, dtype, /, *, copy=True, device=None)\n--\n\nConvert the elements to a dtype.\n\n"
       "Args:\n    x (...) any: the tensor.\n    dtype (dtype): the dtype of the result. A float beyond an integer's "
       "range "
       "takes\n        the nearest end of int32, int64 or uint64 and then wraps; NaN becomes 0.\n"
       "    copy (bool): whether to copy a tensor that has that dtype already.\n"
       "    device (str, optional): where the result is to be.\n\n"
       "Returns:\n    (...) dtype: a new tensor; x itself when nothing changes and copy is False.\n\n"
       "Raises:\n    NotImplementedError: tensors cannot be moved to that device.\n\n"
       "Example:\n    >>> import gorgo as gg\n    >>> gg.astype(gg.asarray([1.5, -2.5]), gg.int32).tolist()\n"
       "    [1, -2]\n"},
      {nullptr, nullptr, 0, nullptr},
  };

  PyTypeObject& t = begin_static_type(tensor_type, "gorgo.Tensor", sizeof(PyTensor), docs::kTensorType);
  t.tp_new = refuse_new;
  t.tp_dealloc = dealloc;
  t.tp_as_number = number_methods();
  t.tp_as_sequence = &sequence;
  t.tp_as_mapping = &mapping;
  t.tp_as_buffer = &tensor_buffer_procs;
  t.tp_richcompare = compare;
  t.tp_hash = hash;
  t.tp_iter = iterate;
  t.tp_repr = tensor_repr;
  t.tp_str = tensor_str;
  t.tp_methods = own_methods;
  t.tp_getset = own_properties;
  t.tp_weaklistoffset = offsetof(PyTensor, weak_references);
  finish_static_type(t, module, "Tensor");
  for (PyMethodDef* table :
       {tensor_shape_methods, tensor_interop_methods, tensor_autograd_methods, tensor_random_methods}) {
    for (PyMethodDef* def = table; def->ml_name != nullptr; ++def) {
      const PyRef method = PyRef::checked(PyDescr_NewMethod(&t, def));
      check_status(PyDict_SetItemString(t.tp_dict, def->ml_name, method.get()));
    }
  }
  // NumPy then leaves operators to us, which refuse its arrays with advice instead of losing the gradient silently.
  check_status(PyDict_SetItemString(t.tp_dict, "__array_ufunc__", Py_None));
  check_status(PyModule_AddFunctions(module, functions));
  add_op_functions(module, t);
}

}  // namespace gorgo

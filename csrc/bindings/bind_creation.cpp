// Functions that make tensors from sizes and numbers, and those shape functions whose Python signature is wider than their
// op's: reshape with separate sizes, split by size or sizes, unstack, nonzero.
//
// Read next: ops/creation/creation.h, ops/shape/shape.h.
#include <algorithm>
#include <cmath>
#include <complex>
#include <string>

#include "bindings/convert.h"
#include "bindings/function_docs.h"
#include "bindings/interop.h"
#include "bindings/module.h"
#include "bindings/tensor_type.h"
#include "device/backend.h"
#include "opdef/core_ops.h"
#include "ops/creation/creation.h"
#include "ops/elementwise/elementwise.h"
#include "ops/index/index.h"
#include "ops/shape/shape.h"

namespace gorgo {
namespace {

// dtype, device and requires_grad of a creation call.
struct Options {
  DType dtype = DType::Float32;
  Device device;
  PyObject* requires_grad = nullptr;
};

Options options_of(const Arguments& given, int first, DType default_dtype) {
  Options o;
  o.dtype = given.given(first) != nullptr ? dtype_from(given[first], given.function()) : default_dtype;
  o.device = device_from(given.given(first + 1), given.function());
  o.requires_grad = given.given(first + 2);
  return o;
}

// Sizes as one tuple or as separate integers: ones((2, 3)) and ones(2, 3). Returns how many arguments they took.
Py_ssize_t sizes_from(PyObject* const* args, Py_ssize_t nargs, const char* op, Dims& shape) {
  if (nargs > 1 && PyIndex_Check(args[0]) != 0) {
    if (nargs > kMaxRank) fail<ValueError>(op, ": shape must have at most ", kMaxRank, " sizes, got ", nargs);
    shape = Dims(static_cast<int>(nargs), 0);
    for (Py_ssize_t i = 0; i < nargs; ++i) shape[static_cast<int>(i)] = int_from(args[i], op, "shape");
    return nargs;
  }
  if (nargs > 0) shape = dims_from(args[0], op, "shape");
  return nargs > 0 ? 1 : 0;
}

enum class Content { Empty, Zeros, Ones };

Tensor make(const Shape& shape, const Options& o, Content content, const char* op) {
  static_cast<void>(
      numel_of(shape, op));  // a wrong shape is told in the caller's name, not in that of the op that fills
  const DeviceScope scope(o.device);
  Tensor t = content == Content::Empty || o.device.type == DeviceType::Null
                 ? make_tensor(shape, o.dtype, o.device)
                 : full(shape,
                        o.dtype == DType::Bool ? Scalar::of_bool(content == Content::Ones)
                                               : Scalar::of_int(content == Content::Ones ? 1 : 0),
                        o.dtype);
  return with_requires_grad(std::move(t), o.requires_grad, op);
}

template <Content kContent>
constexpr const char* kContentName = kContent == Content::Empty   ? "empty"
                                     : kContent == Content::Zeros ? "zeros"
                                                                  : "ones";
template <Content kContent>
constexpr const char* kLikeName = kContent == Content::Empty   ? "empty_like"
                                  : kContent == Content::Zeros ? "zeros_like"
                                                               : "ones_like";

template <Content kContent>
PyObject* create(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  constexpr const char* kName = kContentName<kContent>;
  return guarded([&] {
    Dims shape;
    const Py_ssize_t taken = sizes_from(args, nargs, kName, shape);
    if (nargs == taken && nargs > 0 && kwnames == nullptr) return wrap(make(shape, {}, kContent, kName));
    const Py_ssize_t rest = taken > 1 ? taken : 0;  // separate sizes are no argument of the signature below
    const Arguments given(kName, "shape, *, dtype, device, requires_grad", args + rest, nargs - rest, kwnames);
    if (taken <= 1) shape = dims_from(given.required(0), kName, "shape");
    return wrap(make(shape, options_of(given, 1, DType::Float32), kContent, kName));
  });
}

template <Content kContent>
PyObject* create_like(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  constexpr const char* kName = kLikeName<kContent>;
  return guarded([&] {
    const Arguments given(kName, "x, /, *, dtype, device, requires_grad", args, nargs, kwnames);
    const Tensor& x = tensor_from(given.required(0), kName, "x");
    Options o = options_of(given, 1, x->dtype);
    if (given.given(2) == nullptr) o.device = x->device();
    return wrap(make(x->shape, o, kContent, kName));
  });
}

// `like` gives dtype and device where the arguments do not.
Tensor make_full(const Shape& shape, PyObject* value, const Arguments& given, int first, const Tensor& like) {
  Scalar s;
  if (is_tensor(value) && tensor_of(value)->numel == 1 && !tensor_of(value)->requires_grad) {
    check_readable(tensor_of(value), given.function());
    s = load_scalar(on_host(tensor_of(value))->data(), tensor_of(value)->dtype);
  } else if (!scalar_from(value, s, given.function())) {
    fail<TypeError>(given.function(), ": fill_value must be a number, got ", describe(value));
  }
  Options o = options_of(given, first, like ? like->dtype : default_dtype_of(s));
  if (like && given.given(first + 1) == nullptr) o.device = like->device();
  const DeviceScope scope(o.device);
  Tensor t = o.device.type == DeviceType::Null ? make_tensor(shape, o.dtype, o.device) : full(shape, s, o.dtype);
  return with_requires_grad(std::move(t), o.requires_grad, given.function());
}

PyObject* create_full(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("full", "shape, fill_value, *, dtype, device, requires_grad", args, nargs, kwnames);
    const Dims shape = dims_from(given.required(0), "full", "shape");
    return wrap(make_full(shape, given.required(1), given, 2, {}));
  });
}

PyObject* create_full_like(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("full_like", "x, /, fill_value, *, dtype, device, requires_grad", args, nargs, kwnames);
    const Tensor& x = tensor_from(given.required(0), "full_like", "x");
    return wrap(make_full(x->shape, given.required(1), given, 2, x));
  });
}

Scalar real_number(PyObject* o, const char* op, const char* argument) {
  Scalar s;
  if (!scalar_from(o, s, op) || s.kind == Scalar::Kind::Complex) {
    fail<TypeError>(op, ": ", argument, " must be a real number, got ", describe(o));
  }
  return s.kind == Scalar::Kind::Bool ? Scalar::of_int(s.i) : s;
}

Tensor ramp(const RampAttrs& attrs, const Options& o, const char* op) {
  const DeviceScope scope(o.device);
  Tensor t = o.device.type == DeviceType::Null ? make_tensor({attrs.count}, attrs.dtype, o.device)
                                               : invoke(*creation_ops.ramp, {}, &attrs);
  return with_requires_grad(std::move(t), o.requires_grad, op);
}

PyObject* create_arange(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("arange", "start, /, stop, step, *, dtype, device, requires_grad", args, nargs, kwnames);
    Scalar start = real_number(given.required(0), "arange", "start");
    Scalar stop = start;
    if (given.given(1) != nullptr) {
      stop = real_number(given[1], "arange", "stop");
    } else {
      start = Scalar::of_int(0);
    }
    const Scalar step = given.given(2) != nullptr ? real_number(given[2], "arange", "step") : Scalar::of_int(1);
    const bool stays = step.kind == Scalar::Kind::Int ? step.i == 0 : step.to_double() == 0.0;
    if (stays) fail<ValueError>("arange: step must not be zero, got ", step);
    const auto whole = [](const Scalar& s) { return s.kind == Scalar::Kind::Int; };
    const bool integers = whole(start) && whole(stop) && whole(step);
    const Options o = options_of(given, 3, integers ? DType::Int64 : DType::Float32);
    if (o.dtype == DType::Bool || is_complex(o.dtype)) {
      fail<TypeError>("arange: dtype must be an integer or a floating-point type, got ", o.dtype);
    }
    RampAttrs attrs{start, step, 0, {}, o.dtype};
    if (integers) {
      int64_t distance = 0;
      if (__builtin_sub_overflow(stop.i, start.i, &distance)) {
        fail<OverflowError>("arange: stop - start must fit int64, got ", start, " and ", stop);
      }
      // As unsigned numbers, whose negation exists for the lowest integer too.
      const auto magnitude = [](int64_t v) { return v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v); };
      const bool forward = (distance > 0) == (step.i > 0) && distance != 0;
      attrs.count = forward ? static_cast<int64_t>((magnitude(distance) - 1) / magnitude(step.i) + 1) : 0;
    } else {
      const double count = std::ceil((stop.to_double() - start.to_double()) / step.to_double());
      if (!(count < 0x1p62)) fail<ValueError>("arange: count must be finite, got ", count);
      attrs.count = count > 0 ? static_cast<int64_t>(count) : 0;
      if (is_integer(o.dtype)) {
        fail<TypeError>("arange: start, stop and step must be integers for dtype ", o.dtype, ", got ", start, ", ",
                        stop, ", ", step);
      }
    }
    return wrap(ramp(attrs, o, "arange"));
  });
}

// num real numbers from start to stop.
Tensor even_steps(double start, double stop, int64_t count, bool endpoint, const Options& o) {
  const int64_t steps = endpoint ? count - 1 : count;
  RampAttrs attrs{Scalar::of_float(start),
                  Scalar::of_float(steps > 0 ? (stop - start) / static_cast<double>(steps) : 0.0),
                  count,
                  {},
                  o.dtype};
  if (endpoint && count > 1) attrs.stop = stop;
  return ramp(attrs, o, "linspace");
}
Scalar any_number(PyObject* o, const char* op, const char* argument) {
  Scalar s;
  if (!scalar_from(o, s, op)) fail<TypeError>(op, ": ", argument, " must be a number, got ", describe(o));
  return s;
}

PyObject* create_linspace(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("linspace", "start, stop, /, num, *, endpoint, dtype, device, requires_grad", args, nargs,
                          kwnames);
    const Scalar first = any_number(given.required(0), "linspace", "start");
    const Scalar last = any_number(given.required(1), "linspace", "stop");
    const std::complex<double> start = first.to_complex();
    const std::complex<double> stop = last.to_complex();
    const int64_t count = int_from(given.required(2), "linspace", "num");
    if (count < 0) fail<ValueError>("linspace: num must not be negative, got ", count);
    const bool endpoint = given.given(3) == nullptr || bool_from(given[3], "linspace", "endpoint");
    const bool is_real = first.kind != Scalar::Kind::Complex && last.kind != Scalar::Kind::Complex;
    const Options o = options_of(given, 4, is_real ? DType::Float32 : DType::Complex64);
    if (!is_inexact(o.dtype)) fail<TypeError>("linspace: dtype must be a floating-point type, got ", o.dtype);
    if (!is_complex(o.dtype)) {
      if (!is_real) fail<TypeError>("linspace: dtype must be complex for complex start and stop, got ", o.dtype);
      return wrap(even_steps(start.real(), stop.real(), count, endpoint, o));
    }
    Options part = o;
    part.dtype = real_dtype(o.dtype);
    part.requires_grad = nullptr;
    const Tensor re = even_steps(start.real(), stop.real(), count, endpoint, part);
    const Tensor im = even_steps(start.imag(), stop.imag(), count, endpoint, part);
    Tensor t = ops::add(re, ops::multiply(cast_to(im, o.dtype), Arg(Scalar::of_complex({0.0, 1.0}))));
    return wrap(with_requires_grad(std::move(t), o.requires_grad, "linspace"));
  });
}

// Which diagonal; one beyond the matrix, however far, holds nothing.
int64_t diagonal_from(PyObject* o, const EyeAttrs& size) {
  int beyond = 0;
  if (PyLong_CheckExact(o)) static_cast<void>(PyLong_AsLongLongAndOverflow(o, &beyond));
  const int64_t k = beyond > 0 ? size.columns : beyond < 0 ? -size.rows : int_from(o, "eye", "k");
  return std::clamp(k, -size.rows, std::max(size.columns, -size.rows));
}

PyObject* create_eye(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("eye", "n_rows, n_cols, /, *, k, dtype, device, requires_grad", args, nargs, kwnames);
    EyeAttrs attrs;
    attrs.rows = int_from(given.required(0), "eye", "n_rows");
    attrs.columns = given.given(1) != nullptr ? int_from(given[1], "eye", "n_cols") : attrs.rows;
    attrs.k = given.given(2) != nullptr ? diagonal_from(given[2], attrs) : 0;
    const Options o = options_of(given, 3, DType::Float32);
    attrs.dtype = o.dtype;
    const DeviceScope scope(o.device);
    Tensor t = o.device.type == DeviceType::Null ? make_tensor({attrs.rows, attrs.columns}, o.dtype, o.device)
                                                 : invoke(*creation_ops.eye, {}, &attrs);
    return wrap(with_requires_grad(std::move(t), o.requires_grad, "eye"));
  });
}

// ---- shape functions ----

Tensor reshape_call(const Tensor& x, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  Dims shape;
  if (kwnames == nullptr && nargs > 0) {
    if (nargs == 1 || PyIndex_Check(args[0]) != 0) {
      sizes_from(args, nargs, "reshape", shape);
      return reshape(x, shape);
    }
  }
  const Py_ssize_t separate = nargs > 1 && PyIndex_Check(args[0]) != 0 ? nargs : 0;
  const Arguments given("reshape", "shape, *, copy", args + separate, nargs - separate, kwnames);
  if (separate > 0) {
    sizes_from(args, nargs, "reshape", shape);
  } else {
    shape = dims_from(given.required(0), "reshape", "shape");
  }
  CopyRule rule = CopyRule::IfNeeded;
  if (given.given(1) != nullptr) rule = bool_from(given[1], "reshape", "copy") ? CopyRule::Always : CopyRule::Never;
  return reshape(x, shape, rule);
}

PyObject* reshape_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] { return wrap(reshape_call(tensor_of(self), args, nargs, kwnames)); });
}

PyObject* reshape_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    if (nargs == 0) fail<TypeError>("reshape: arguments are (x, /, shape, *, copy), got none for x");
    return wrap(reshape_call(tensor_from(args[0], "reshape", "x"), args + 1, nargs - 1, kwnames));
  });
}

PyObject* view_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    Dims shape;
    if (nargs == 0 || kwnames != nullptr) fail<TypeError>("view: arguments are sizes by position, got none");
    sizes_from(args, nargs, "view", shape);
    return wrap(reshape(tensor_of(self), shape, CopyRule::Never));
  });
}

PyObject* tuple_of(Outputs parts) {
  PyRef tuple = PyRef::checked(PyTuple_New(parts.size()));
  for (int i = 0; i < parts.size(); ++i)
    PyTuple_SET_ITEM(tuple.get(), i, PyRef::checked(wrap(std::move(parts[i]))).detach());
  return tuple.detach();
}

PyObject* split_call(const Tensor& x, const Arguments& given, int first) {
  PyObject* sections = given.required(first);
  const int64_t axis = given.given(first + 1) != nullptr ? int_from(given[first + 1], "split", "axis") : 0;
  if (PyIndex_Check(sections) != 0) return tuple_of(split(x, int_from(sections, "split", "sections"), axis));
  return tuple_of(split(x, dims_from(sections, "split", "sections"), axis));
}
PyObject* split_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("split", "x, /, sections, axis", args, nargs, kwnames);
    return split_call(tensor_from(given.required(0), "split", "x"), given, 1);
  });
}
PyObject* split_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded(
      [&] { return split_call(tensor_of(self), Arguments("split", "sections, axis", args, nargs, kwnames), 0); });
}

// Integers, where a list or tuple of pairs counts as the integers in them, one pair after the other.
Dims pairs_from(PyObject* o, const char* op, const char* argument) {
  const bool listed = PyTuple_Check(o) || PyList_Check(o);
  const Py_ssize_t n = listed ? PySequence_Fast_GET_SIZE(o) : 0;
  const auto is_pair = [](PyObject* item) {
    return (PyTuple_Check(item) || PyList_Check(item)) && PySequence_Fast_GET_SIZE(item) == 2;
  };
  if (n == 0 || PyIndex_Check(PySequence_Fast_GET_ITEM(o, 0)) != 0) return dims_from(o, op, argument);
  Dims dims;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(o, i);
    if (!is_pair(item)) fail<TypeError>(op, ": ", argument, " must hold pairs (before, after), got ", describe(item));
    for (Py_ssize_t k = 0; k < 2; ++k) dims.push_back(int_from(PySequence_Fast_GET_ITEM(item, k), op, argument));
  }
  return dims;
}
PyObject* pad_call(const Tensor& x, const Arguments& given, int first) {
  PadAttrs attrs;
  attrs.pad_width = pairs_from(given.required(first), "pad", "pad_width");
  for (const int i : {1, 2}) {
    if (given.given(first + i) != nullptr)
      set_field(PadAttrs::fields()[static_cast<size_t>(i)], &attrs, given[first + i], "pad");
  }
  return wrap(pad(x, attrs));
}
PyObject* pad_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("pad", "x, /, pad_width, mode, value", args, nargs, kwnames);
    return pad_call(tensor_from(given.required(0), "pad", "x"), given, 1);
  });
}
PyObject* pad_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded(
      [&] { return pad_call(tensor_of(self), Arguments("pad", "pad_width, mode, value", args, nargs, kwnames), 0); });
}
// The op yields a row for each position; people expect a tensor for each axis.
PyObject* nonzero_of(const Tensor& x) { return tuple_of(unstack(nonzero(x), 1)); }
PyObject* nonzero_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("nonzero", "x", args, nargs, kwnames);
    return nonzero_of(tensor_from(given.required(0), "nonzero", "x"));
  });
}
PyObject* nonzero_method(PyObject* self, PyObject*) noexcept {
  return guarded([&] { return nonzero_of(tensor_of(self)); });
}
PyObject* unstack_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("unstack", "x, /, *, axis", args, nargs, kwnames);
    const int64_t axis = given.given(1) != nullptr ? int_from(given[1], "unstack", "axis") : 0;
    return tuple_of(unstack(tensor_from(given.required(0), "unstack", "x"), axis));
  });
}

// repeats as a tensor: which element comes how often. The positions are counted out here, since they set the shape.
Tensor repeat_each(const Tensor& x, const Tensor& repeats, OptInt given) {
  if (!is_integer(repeats->dtype) || repeats->rank() > 1) {
    fail<TypeError>("repeat: repeats must be an integer or a tensor (n,) of integers, got shape ", repeats->shape,
                    " and dtype ", repeats->dtype);
  }
  check_readable(repeats, "repeat");
  const Tensor source = given.has ? x : reshape(x, Dims{-1});
  const int axis = given.has ? normalize_axis(given.value, x->rank(), "repeat") : 0;
  const int64_t length = source->shape[axis];
  const Tensor counts = contiguous_of(cast_to(on_host(repeats), DType::Int64));  // integers: nothing is recorded
  const auto* count = static_cast<const int64_t*>(counts->data());
  if (counts->numel != 1 && counts->numel != length) {
    fail<ValueError>("repeat: repeats must have 1 or ", length, " elements, one for each of axis ", axis, ", got ",
                     counts->numel);
  }
  const int64_t step = counts->numel == 1 ? 0 : 1;
  int64_t total = 0;
  for (int64_t i = 0; i < length; ++i) {
    if (count[i * step] < 0) fail<ValueError>("repeat: repeats must not be negative, got ", count[i * step]);
    if (__builtin_add_overflow(total, count[i * step], &total)) {
      fail<OverflowError>("repeat: the result must have fewer than 2**63 elements");
    }
  }
  Tensor positions = make_tensor({total}, DType::Int64, kCpu);
  auto* at = static_cast<int64_t*>(positions->data());
  for (int64_t i = 0; i < length; ++i) at = std::fill_n(at, count[i * step], i);
  return take(source, to_device(positions, source->device()), axis);
}
PyObject* repeat_call(const Tensor& x, const Arguments& given, int first) {
  PyObject* repeats = given.required(first);
  OptInt axis;
  if (given.given(first + 1) != nullptr) axis = int_from(given[first + 1], "repeat", "axis");
  if (is_tensor(repeats)) return wrap(repeat_each(x, tensor_of(repeats), axis));
  return wrap(repeat(x, int_from(repeats, "repeat", "repeats"), axis));
}
PyObject* repeat_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("repeat", "x, /, repeats, axis", args, nargs, kwnames);
    return repeat_call(tensor_from(given.required(0), "repeat", "x"), given, 1);
  });
}
PyObject* repeat_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded(
      [&] { return repeat_call(tensor_of(self), Arguments("repeat", "repeats, axis", args, nargs, kwnames), 0); });
}

Tensor transpose_call(const Tensor& t, const Arguments& given, int first) {
  Dims axes(t->rank(), 0);
  for (int i = 0; i < t->rank(); ++i) axes[i] = t->rank() - 1 - i;
  if (given.given(first) != nullptr) axes = dims_from(given[first], "transpose", "axes");
  return permute_dims(t, axes);
}
PyObject* transpose_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    if (nargs > 1) {
      fail<TypeError>(
          "transpose: axes must be one tuple, got ", nargs,
          " integers, which elsewhere mean a swap or a permutation (use swapaxes, or permute_dims with all axes)");
    }
    return wrap(transpose_call(tensor_of(self), Arguments("transpose", "axes", args, nargs, kwnames), 0));
  });
}
PyObject* swapaxes_call(const Tensor& t, const Arguments& given, int first) {
  const auto axis = [&](int i, const char* name) {
    return normalize_axis(int_from(given.required(i), "swapaxes", name), t->rank(), "swapaxes", name);
  };
  const int a = axis(first, "axis1");
  const int b = axis(first + 1, "axis2");
  return wrap(transpose(t, a, b));
}
PyObject* swapaxes_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded(
      [&] { return swapaxes_call(tensor_of(self), Arguments("swapaxes", "axis1, axis2", args, nargs, kwnames), 0); });
}
PyObject* swapaxes_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("swapaxes", "x, axis1, axis2", args, nargs, kwnames);
    return swapaxes_call(tensor_from(given.required(0), "swapaxes", "x"), given, 1);
  });
}

Tensor matrix_transposed(const Tensor& t, const char* op) {
  if (t->rank() < 2) fail<ValueError>(op, ": tensor must have rank 2 or more, got shape ", t->shape);
  return transpose(t);
}
PyObject* matrix_transpose_function(PyObject*, PyObject* x) noexcept {
  return guarded([&] { return wrap(matrix_transposed(tensor_from(x, "matrix_transpose", "x"), "matrix_transpose")); });
}

}  // namespace

PyObject* get_transposed(PyObject* self, void*) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    if (t->rank() != 2) {
      fail<ValueError>("T: tensor must have rank 2, got shape ", t->shape,
                       " (use mT for stacks of matrices, or permute_dims)");
    }
    return wrap(transpose(t));
  });
}
PyObject* get_matrix_transposed(PyObject* self, void*) noexcept {
  return guarded([&] { return wrap(matrix_transposed(tensor_of(self), "mT")); });
}

Tensor with_requires_grad(Tensor t, PyObject* flag, const char* op) {
  if (flag == nullptr || !bool_from(flag, op, "requires_grad")) return t;
  if (!is_inexact(t->dtype)) {
    fail<TypeError>(op, ": requires_grad must be for a floating-point or complex tensor, got dtype ", t->dtype);
  }
  t->requires_grad = true;
  return t;
}

PyMethodDef tensor_shape_methods[] = {
    {"reshape", fast(reshape_method), kFastCall,
     "reshape($self, /, *shape, copy=None)\n--\n\nReturn the elements under another shape; a view where strides "
     "allow."},
    {"view", fast(view_method), kFastCall,
     "view($self, /, *shape)\n--\n\nReturn a view of another shape; never copies."},
    {"nonzero", nonzero_method, METH_NOARGS,
     "nonzero($self)\n--\n\nReturn the positions of nonzero elements: one (n,) int64 tensor per axis."},
    {"pad", fast(pad_method), kFastCall,
     "pad($self, pad_width, mode='constant', value=0)\n--\n\nReturn the tensor with elements laid around it."},
    {"repeat", fast(repeat_method), kFastCall,
     "repeat($self, repeats, axis=None)\n--\n\nReturn each element repeated, as often as repeats says."},
    {"split", fast(split_method), kFastCall,
     "split($self, sections, axis=0)\n--\n\nReturn views of one size, or of the given sizes, along an axis."},
    {"transpose", fast(transpose_method), kFastCall,
     "transpose($self, axes=None)\n--\n\nReturn a view with the axes reversed, or in the order of a tuple."},
    {"swapaxes", fast(swapaxes_method), kFastCall,
     "swapaxes($self, axis1, axis2)\n--\n\nReturn a view with two axes exchanged."},
    {nullptr, nullptr, 0, nullptr},
};

void bind_creation(PyObject* module) {
  static const std::string pad_doc =
      cat("pad(x, /, pad_width, mode='constant', value=0)\n--\n\n", shape_ops.pad->doc, "\n\n", shape_ops.pad->details);
  static PyMethodDef functions[] = {
      {"empty", fast(create<Content::Empty>), kFastCall, docs::kEmpty},
      {"zeros", fast(create<Content::Zeros>), kFastCall, docs::kZeros},
      {"ones", fast(create<Content::Ones>), kFastCall, docs::kOnes},
      {"empty_like", fast(create_like<Content::Empty>), kFastCall, docs::kEmptyLike},
      {"zeros_like", fast(create_like<Content::Zeros>), kFastCall, docs::kZerosLike},
      {"ones_like", fast(create_like<Content::Ones>), kFastCall, docs::kOnesLike},
      {"full", fast(create_full), kFastCall, docs::kFull},
      {"full_like", fast(create_full_like), kFastCall, docs::kFullLike},
      {"arange", fast(create_arange), kFastCall, docs::kArange},
      {"linspace", fast(create_linspace), kFastCall, docs::kLinspace},
      {"eye", fast(create_eye), kFastCall, docs::kEye},
      {"reshape", fast(reshape_function), kFastCall,
       "reshape(x, /, shape, *, copy=None)\n--\n\nReturn the elements under another shape; a view where strides "
       "allow.\n\n"
       "Args:\n    x (...) any: the tensor.\n    shape (tuple of int): one size may be -1 and is inferred.\n"
       "    copy (bool or None): always or never copy; None copies where no view can be had.\n\n"
       "Returns:\n    (*shape) any: the elements in row-major order.\n\n"
       "Raises:\n    ValueError: the numbers of elements differ, or a copy is needed and refused.\n\n"
       "Example:\n    >>> import gorgo as gg\n    >>> gg.reshape(gg.asarray([1, 2, 3, 4]), (2, -1)).tolist()\n"
       "    [[1, 2], [3, 4]]\n"},
      {"repeat", fast(repeat_function), kFastCall,
       "repeat(x, /, repeats, axis=None)\n--\n\nRepeat each element along an axis.\n\n"
       "Args:\n    x (...) any: the tensor.\n    repeats (int or Tensor): how often each element stands in the result; "
       "a "
       "tensor\n        (n,) of integers says it for each position of the axis.\n"
       "    axis (int, optional): the axis; None repeats in the flattened tensor.\n\n"
       "Returns:\n    (...) any: a new tensor.\n\n"
       "Raises:\n    ValueError: a number of repeats is negative, their count is not the axis's, or the axis is out of "
       "range.\n"
       "    TypeError: repeats holds no integers.\n    RuntimeError: repeats is a tensor inside a captured "
       "function.\n\n"
       "Example:\n    >>> import gorgo as gg\n    >>> gg.repeat(gg.asarray([1, 2]), gg.asarray([2, 3])).tolist()\n"
       "    [1, 1, 2, 2, 2]\n"},
      {"split", fast(split_function), kFastCall,
       "split(x, /, sections, axis=0)\n--\n\nReturn views of one size, or of the given sizes, along an axis.\n\n"
       "Args:\n    x (...) any: the tensor.\n    sections (int or tuple of int): the size of each section, the last "
       "one "
       "being\n        what is left, or their sizes.\n    axis (int): the axis to cut.\n\n"
       "Returns:\n    tuple of (...) any: views of x.\n\n"
       "Raises:\n    ValueError: the axis is out of range, or the sizes do not sum to the axis's.\n\n"
       "Example:\n    >>> import gorgo as gg\n"
       "    >>> [part.tolist() for part in gg.split(gg.asarray([1, 2, 3]), 2)]\n    [[1, 2], [3]]\n"},
      {"pad", fast(pad_function), kFastCall, pad_doc.c_str()},
      {"nonzero", fast(nonzero_function), kFastCall,
       "nonzero(x, /)\n--\n\nReturn the positions of nonzero elements in row-major order: one (n,) int64 tensor per "
       "axis.\n\n"
       "Args:\n    x (...) any: the tensor; it has at least one axis.\n\n"
       "Returns:\n    tuple of (n,) int64: for each axis, where on it the n elements are.\n\n"
       "Raises:\n    ValueError: x has rank 0.\n    RuntimeError: inside a captured function, whose shapes may not "
       "depend "
       "on values.\n\n"
       "Example:\n    >>> import gorgo as gg\n    >>> [i.tolist() for i in gg.nonzero(gg.asarray([[0, 3], [4, 0]]))]\n"
       "    [[0, 1], [1, 0]]\n"},
      {"unstack", fast(unstack_function), kFastCall,
       "unstack(x, /, *, axis=0)\n--\n\nReturn a view for each index of an axis, which goes away.\n\n"
       "Args:\n    x (...) any: the tensor.\n    axis (int): the axis to cut.\n\n"
       "Returns:\n    tuple of (...) any: views of x.\n\n"
       "Raises:\n    ValueError: the axis is out of range.\n\n"
       "Example:\n    >>> import gorgo as gg\n"
       "    >>> [row.tolist() for row in gg.unstack(gg.asarray([[1, 2], [3, 4]]))]\n    [[1, 2], [3, 4]]\n"},
      {"swapaxes", fast(swapaxes_function), kFastCall, docs::kSwapaxes},
      {"matrix_transpose", matrix_transpose_function, METH_O, docs::kMatrixTranspose},
      {nullptr, nullptr, 0, nullptr},
  };
  check_status(PyModule_AddFunctions(module, functions));
}

}  // namespace gorgo

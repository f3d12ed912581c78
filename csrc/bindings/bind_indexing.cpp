// gather and scatter, which are called as op(x, axis, indices, ...); the scatters take their op's own order (x, indices, values,
// axis) as well.
//
// Read next: ops/index/index.h, python/gorgo/indexing.py (what is composed of these).
#include "bindings/convert.h"
#include "bindings/methods.h"
#include "bindings/tensor_type.h"
#include "ops/index/index.h"
#include "ops/shape/shape.h"

namespace gorgo {
namespace {

PyObject* gather_call(const Tensor& x, const Arguments& given, int first) {
  const int64_t axis = int_from(given.required(first), "gather", "axis");
  return wrap(gather(x, tensor_from(given.required(first + 1), "gather", "indices"), axis));
}
PyObject* gather_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("gather", "x, /, axis, indices", args, nargs, kwnames);
    return gather_call(tensor_from(given.required(0), "gather", "x"), given, 1);
  });
}
PyObject* gather_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded(
      [&] { return gather_call(tensor_of(self), Arguments("gather", "axis, indices", args, nargs, kwnames), 0); });
}

// The arguments behind x of a scatter.
struct ScatterCall {
  AlongAxisAttrs attrs;
  Tensor indices;
  Arg values;

  ScatterCall(const char* name, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
    const bool indices_first = nargs == 0 || is_tensor(args[0]);
    const Arguments given(name, indices_first ? "indices, values, axis" : "axis, indices, values", args, nargs,
                          kwnames);
    PyObject* axis = given[indices_first ? 2 : 0];
    if (axis != nullptr) attrs.axis = int_from(axis, name, "axis");
    indices = tensor_from(given.required(indices_first ? 0 : 1), name, "indices");
    PyObject* value = given.required(indices_first ? 1 : 2);
    if (!operand_from(value, values, name)) {
      fail<TypeError>(name, ": values must be a tensor or a number, got ", describe(value));
    }
    if (values.is_tensor()) cut_values();
  }

 private:
  // Of values that are longer than the indices the first ones count, as in PyTorch.
  void cut_values() {
    const Shape& shape = indices->shape;
    if (values.tensor->rank() != shape.size()) return;
    cut = Tensor::share(values.tensor);
    for (int i = 0; i < shape.size(); ++i) {
      if (cut->shape[i] > shape[i]) cut = slice(cut, i, 0, shape[i]);
    }
    values = Arg(cut);
  }
  Tensor cut;
};

template <const OpDef* IndexOps::* kOp>
PyObject* scatter_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const OpDef& op = *(index_ops.*kOp);
    if (nargs == 0) fail<TypeError>(op.name, ": arguments are (x, /, axis, indices, values), got none for x");
    const Tensor& x = tensor_from(args[0], op.name, "x");
    const ScatterCall call(op.name, args + 1, nargs - 1, kwnames);
    return wrap(invoke(op, {x, call.indices, call.values}, &call.attrs));
  });
}
template <const OpDef* IndexOps::* kOp>
PyObject* scatter_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const OpDef& op = *(index_ops.*kOp);
    const ScatterCall call(op.name, args, nargs, kwnames);
    return wrap(invoke(op, {tensor_of(self), call.indices, call.values}, &call.attrs));
  });
}
template <const OpDef* IndexOps::* kOp>
PyObject* scatter_in_place(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const OpDef& op = *(index_ops.*kOp);
    const ScatterCall call(op.name, args, nargs, kwnames);
    const Tensor& x = tensor_of(self);
    invoke_into(op, {x, call.indices, call.values}, x, &call.attrs);
    return Py_NewRef(self);
  });
}

// scatter_combine is internal: indexing.py checks words and shapes first.
PyObject* combine_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("scatter_reduce", "x, axis, indices, values, reduce, /", args, nargs, kwnames);
    ScatterReduceAttrs attrs;
    attrs.axis = int_from(given.required(1), "scatter_reduce", "axis");
    set_field(ScatterReduceAttrs::fields()[1], &attrs, given.required(4), "scatter_reduce");
    return wrap(invoke(*index_ops.scatter_combine,
                       {tensor_from(given.required(0), "scatter_reduce", "x"),
                        tensor_from(given.required(2), "scatter_reduce", "indices"),
                        tensor_from(given.required(3), "scatter_reduce", "values")},
                       &attrs));
  });
}

PyMethodDef methods[] = {
    {"gather", fast(gather_method), kFastCall,
     "gather($self, axis, indices)\n--\n\nReturn the entries along an axis that each position names for itself."},
    {"scatter", fast(scatter_method<&IndexOps::scatter>), kFastCall,
     "scatter($self, axis, indices, values)\n--\n\nReturn the tensor with entries along an axis replaced."},
    {"scatter_", fast(scatter_in_place<&IndexOps::scatter>), kFastCall,
     "scatter_($self, axis, indices, values)\n--\n\nReplace entries along an axis, in place."},
    {"scatter_add", fast(scatter_method<&IndexOps::scatter_add>), kFastCall,
     "scatter_add($self, axis, indices, values)\n--\n\nReturn the tensor with values added to entries along an axis."},
    {"scatter_add_", fast(scatter_in_place<&IndexOps::scatter_add>), kFastCall,
     "scatter_add_($self, axis, indices, values)\n--\n\nAdd values to entries along an axis, in place."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void bind_indexing(PyObject* module) {
  static PyMethodDef functions[] = {
      {"gather", fast(gather_function), kFastCall,
       "gather(x, /, axis, indices)\n--\n\nReturn the entries along an axis that each position names for itself.\n\n"
       "Args:\n    x (..., n, ...) any: the tensor.\n    axis (int): the axis of length n.\n"
       "    indices (..., k, ...) integer: of x's rank, and nowhere but on the axis longer than x.\n\n"
       "Returns:\n    (..., k, ...) any: out[i, j] = x[indices[i, j], j] for axis 0 of two.\n\n"
       "Raises:\n    IndexError: an index is outside [-n, n).\n    ValueError: shapes do not fit, or the axis is out "
       "of "
       "range.\n\n"
       "Example:\n    >>> import gorgo as gg\n"
       "    >>> gg.gather(gg.asarray([[1, 2], [3, 4]]), 1, gg.asarray([[1], [0]])).tolist()\n    [[2], [3]]\n"},
      {"scatter", fast(scatter_function<&IndexOps::scatter>), kFastCall,
       "scatter(x, /, axis, indices, values)\n--\n\nReplace along an axis the entries that each position names for "
       "itself; the last of several wins.\n\n"
       "scatter(x, indices, values, axis=-1) is understood as well.\n\n"
       "Args:\n    x (..., n, ...) any: the tensor.\n    axis (int): the axis of length n.\n"
       "    indices (..., k, ...) integer: of x's rank, and nowhere but on the axis longer than x.\n"
       "    values (..., k, ...) any: what to put, of x's dtype, or a number.\n\n"
       "Returns:\n    (..., n, ...) any: x with out[indices[i, j], j] = values[i, j] for axis 0 of two.\n\n"
       "Raises:\n    IndexError: an index is outside [-n, n).\n    ValueError: shapes do not fit, or the axis is out "
       "of "
       "range.\n    TypeError: values have another dtype.\n\n"
       "Example:\n    >>> import gorgo as gg\n"
       "    >>> gg.scatter(gg.zeros((2, 3)), 1, gg.asarray([[2], [0]]), 1.0).tolist()\n"
       "    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]\n"},
      {"scatter_add", fast(scatter_function<&IndexOps::scatter_add>), kFastCall,
       "scatter_add(x, /, axis, indices, values)\n--\n\nAdd values along an axis to the entries that each position "
       "names for itself.\n\n"
       "scatter_add(x, indices, values, axis=-1) is understood as well. Values that meet are added in the order in "
       "which "
       "they stand, whatever the number of threads.\n\n"
       "Args:\n    x (..., n, ...) any: the tensor.\n    axis (int): the axis of length n.\n"
       "    indices (..., k, ...) integer: of x's rank, and nowhere but on the axis longer than x.\n"
       "    values (..., k, ...) any: what to add, of x's dtype, or a number.\n\n"
       "Returns:\n    (..., n, ...) any: the sums.\n\n"
       "Raises:\n    IndexError: an index is outside [-n, n).\n    ValueError: shapes do not fit, or the axis is out "
       "of "
       "range.\n    TypeError: values have another dtype.\n\n"
       "Example:\n    >>> import gorgo as gg\n"
       "    >>> gg.scatter_add(gg.zeros((2,)), 0, gg.asarray([1, 1]), gg.asarray([2.0, 3.0])).tolist()\n"
       "    [0.0, 5.0]\n"},
      {"_scatter_combine", fast(combine_function), kFastCall, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  add_functions_for_ops(module, functions);
  for (PyMethodDef* def = methods; def->ml_name != nullptr; ++def) {
    const PyRef method = PyRef::checked(PyDescr_NewMethod(&tensor_type, def));
    check_status(PyDict_SetItemString(tensor_type.tp_dict, def->ml_name, method.get()));
  }
  PyType_Modified(&tensor_type);
}

}  // namespace gorgo

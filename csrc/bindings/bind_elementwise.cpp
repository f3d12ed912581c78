// Elementwise functions that are called otherwise than their op: polygamma(n, x), as PyTorch and SciPy have it.
//
// Read next: ops/elementwise/elementwise.h, op_function.cpp (all others).
#include "bindings/convert.h"
#include "bindings/function_docs.h"
#include "bindings/methods.h"
#include "bindings/tensor_type.h"
#include "ops/elementwise/elementwise.h"

namespace gorgo {
namespace {

PyObject* polygamma(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("polygamma", "n, x", args, nargs, kwnames);
    const int64_t n = int_from(given.required(0), "polygamma", "n");
    return wrap(ops::polygamma(tensor_from(given.required(1), "polygamma", "x"), n));
  });
}

}  // namespace

void bind_elementwise(PyObject* module) {
  static PyMethodDef functions[] = {
      {"polygamma", fast(polygamma), kFastCall, docs::kPolygamma},
      {nullptr, nullptr, 0, nullptr},
  };
  add_functions_for_ops(module, functions);
}

}  // namespace gorgo

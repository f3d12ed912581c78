// gorgo.Tensor: a hand-written CPython type, because a call through it must cost tens of nanoseconds.
//
// Invariants: a Python tensor holds one reference to its TensorImpl; TensorImpl::python points back without one, so an impl
// has at most one Python object at a time and `p.grad is p.grad`. The type is final, has no dict and is not tracked by the
// cycle collector: a tensor refers to no Python object. All of this runs under the GIL.
// Read next: op_function.h (how ops are called), convert.h, indexing.cpp.
#pragma once

#include "bindings/errors.h"
#include "bindings/python.h"
#include "opdef/op.h"

namespace gorgo {

struct PyTensor {
  PyObject_HEAD Tensor tensor;
  PyObject* weak_references;
};

extern PyTypeObject tensor_type;

[[nodiscard]] inline bool is_tensor(PyObject* o) noexcept { return Py_TYPE(o) == &tensor_type; }
// The tensor of an object that is one.
[[nodiscard]] inline const Tensor& tensor_of(PyObject* o) noexcept { return reinterpret_cast<PyTensor*>(o)->tensor; }

// A new reference to the Python object of `t`, made when there is none yet; None for a null tensor.
[[nodiscard]] PyObject* wrap(Tensor t);

// Throws unless the elements may be read on the host now: not on the null device, and not in a recording that computed them,
// which would bake the value in.
void check_readable(const Tensor& t, const char* op);
// The same elements where the host can read them: the tensor itself on the cpu, else a copy. No gradient is recorded.
[[nodiscard]] Tensor on_host(const Tensor& t);

// Writes a tensor or a number into `target`, broadcast and converted within its kind (a float into an integer is refused).
void check_kind(const TensorImpl& value, DType target, const char* op);
void assign_value(const Tensor& target, const Arg& value, const char* op);

// Properties of the tape, defined in bind_autograd.cpp.
[[nodiscard]] PyObject* get_requires_grad(PyObject* self, void*) noexcept;
[[nodiscard]] int set_requires_grad(PyObject* self, PyObject* value, void*) noexcept;
[[nodiscard]] PyObject* get_grad(PyObject* self, void*) noexcept;
[[nodiscard]] int set_grad(PyObject* self, PyObject* value, void*) noexcept;
[[nodiscard]] PyObject* get_grad_fn(PyObject* self, void*) noexcept;
[[nodiscard]] PyObject* get_is_parameter(PyObject* self, void*) noexcept;
[[nodiscard]] int set_is_parameter(PyObject* self, PyObject* value, void*) noexcept;
[[nodiscard]] PyObject* get_is_leaf(PyObject* self, void*) noexcept;

// Defined in bind_creation.cpp, with the other functions of shapes.
[[nodiscard]] PyObject* get_transposed(PyObject* self, void*) noexcept;
[[nodiscard]] PyObject* get_matrix_transposed(PyObject* self, void*) noexcept;

// The parts of the type that have their own files.
[[nodiscard]] PyObject* tensor_subscript(PyObject* self, PyObject* key) noexcept;
[[nodiscard]] int tensor_assign_subscript(PyObject* self, PyObject* key, PyObject* value) noexcept;
[[nodiscard]] PyObject* tensor_sequence_item(PyObject* self, Py_ssize_t index) noexcept;
[[nodiscard]] PyObject* tensor_repr(PyObject* self) noexcept;
[[nodiscard]] PyObject* tensor_str(PyObject* self) noexcept;
[[nodiscard]] PyObject* tensor_to_list(const Tensor& t);
// StateError when the value belongs to a recording under way: read, it would be baked in.
void refuse_while_recording(const TensorImpl& t, const char* op);
extern PyBufferProcs tensor_buffer_procs;
// Rows of methods that other files add to the type, each ended by a null name.
extern PyMethodDef tensor_shape_methods[];
extern PyMethodDef tensor_random_methods[];
extern PyMethodDef tensor_interop_methods[];
extern PyMethodDef tensor_autograd_methods[];

}  // namespace gorgo

// Memory of others as tensors and tensors as memory of others; shared by the buffer protocol, DLPack and asarray.
//
// Invariants: imported memory is never copied unless asked or unaligned; it counts as writable by others (so nothing derived
// from it is cached), and its owner is let go exactly once, on whatever thread the last tensor dies.
// Read next: interop.cpp, dlpack.cpp.
#pragma once

#include "bindings/python.h"
#include "bindings/tensor_type.h"
#include "core/attrs.h"
#include "tensor/tensor.h"

namespace gorgo {

struct ForeignMemory {
  void* data = nullptr;  // first element
  DType dtype = DType::Float32;
  Shape shape;
  Dims byte_strides;
  bool read_only = false;
  void (*deleter)(void*) noexcept = nullptr;
  void* context = nullptr;
};

// A tensor over the memory; takes over the deleter, which has run already if this throws. A copy is made (and the owner let
// go) when the elements are not aligned, unless `may_copy` is false.
[[nodiscard]] Tensor adopt_memory(ForeignMemory memory, const char* op, bool may_copy);

// What asarray, tensor and from_dlpack do after the import: dtype, device and copy as asked.
struct Wishes {
  OptDType dtype;
  OptInt copy;  // none: when needed
  Device device;
};
[[nodiscard]] Tensor granted(const Tensor& t, const Wishes& wishes, const char* op);

// A tensor of anything that asarray takes.
[[nodiscard]] Tensor tensor_from_any(PyObject* o, const Wishes& wishes, const char* op);
// Turns recording on for a new leaf when `flag` is given and true.
[[nodiscard]] Tensor with_requires_grad(Tensor t, PyObject* flag, const char* op);

[[nodiscard]] Tensor import_dlpack(PyObject* producer, const char* op, OptInt copy, bool onto_cpu = false);
[[nodiscard]] PyObject* export_dlpack(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                                      PyObject* kwnames) noexcept;
[[nodiscard]] PyObject* dlpack_device(PyObject* self, PyObject*) noexcept;

}  // namespace gorgo

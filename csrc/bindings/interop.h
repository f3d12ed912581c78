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
  Device device;
  void (*deleter)(void*) noexcept = nullptr;
  void* context = nullptr;
};

// A tensor over the memory; takes over the deleter, which has run already if this throws. A copy is made (and the owner let
// go) when the elements are not aligned, unless `may_copy` is false; on a device that is a ValueError.
[[nodiscard]] Tensor adopt_memory(ForeignMemory memory, const char* op, bool may_copy);

// What asarray, tensor and from_dlpack do after the import: dtype, device and copy as asked.
struct Wishes {
  OptDType dtype;
  OptInt copy;         // none: when needed
  Opt<Device> device;  // none: where the object is
};
[[nodiscard]] Tensor granted(const Tensor& t, const Wishes& wishes, const char* op);

// A fresh contiguous tensor of the cpu on that device, past tape and capture: what stands for objects of Python's is a constant.
[[nodiscard]] Tensor placed(const Tensor& t, Device device);

// A tensor of anything that asarray takes.
[[nodiscard]] Tensor tensor_from_any(PyObject* o, const Wishes& wishes, const char* op);
// Turns recording on for a new leaf when `flag` is given and true.
[[nodiscard]] Tensor with_requires_grad(Tensor t, PyObject* flag, const char* op);

[[nodiscard]] Tensor import_dlpack(PyObject* producer, const char* op, OptInt copy, bool onto_cpu = false);
[[nodiscard]] PyObject* export_dlpack(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                                      PyObject* kwnames) noexcept;
[[nodiscard]] PyObject* dlpack_device(PyObject* self, PyObject*) noexcept;

// The legacy default stream as others name it; ours is 0, which they may not say.
inline constexpr uint64_t kLegacyStream = 1;
// This thread's current stream on a cuda device, as others name it.
[[nodiscard]] uint64_t outer_stream(Device device) noexcept;
// The property __cuda_array_interface__ of tensors on a cuda device, and a tensor over the memory of an object that has one.
[[nodiscard]] PyObject* get_cuda_array_interface(PyObject* self, void*) noexcept;
[[nodiscard]] Tensor import_cuda_array(PyObject* producer, const char* op, bool may_copy);

}  // namespace gorgo

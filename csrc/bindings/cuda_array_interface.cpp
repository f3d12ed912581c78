// __cuda_array_interface__, version 3, in both directions: the protocol of arrays on a card that know no DLPack.
//
// Invariants: what is handed out names the stream whose order its values have; the reader waits for it. What comes in is waited
// for by our current stream, and its owner is held until the last tensor over it dies.
// Read next: dlpack.cpp.
#include <cstdint>
#include <string>
#include <string_view>

#include "autograd/tape.h"
#include "bindings/convert.h"
#include "bindings/interop.h"
#include "bindings/origin.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "memory/block_pool.h"
#include "opdef/core_ops.h"

namespace gorgo {
namespace {

constexpr const char* kName = "__cuda_array_interface__";

[[noreturn]] void no_attribute(const std::string& why) {
  PyErr_SetString(PyExc_AttributeError, cat(kName, ": ", why).c_str());
  throw PythonError();
}

// Such as "<f4"; empty for a dtype that the protocol cannot name.
std::string typestr_of(DType d) {
  if (d == DType::BFloat16) return {};
  char kind = 'f';
  if (d == DType::Bool) kind = 'b';
  if (is_unsigned(d)) kind = 'u';
  if (is_signed_integer(d)) kind = 'i';
  if (is_complex(d)) kind = 'c';
  return cat(dtype_size(d) == 1 ? '|' : '<', kind, dtype_size(d));
}

DType dtype_from_typestr(std::string_view typestr, const char* op) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const std::string ours = typestr_of(static_cast<DType>(i));
    if (ours.empty() || typestr.size() != ours.size() || typestr.substr(1) != std::string_view(ours).substr(1))
      continue;
    if (typestr[0] == ours[0] || typestr[0] == '=') return static_cast<DType>(i);
    if (ours[0] == '|' && typestr[0] != '>') return static_cast<DType>(i);
  }
  fail<TypeError>(op, ": typestr of ", kName, " must name a native bool, integer, float or complex type, got '",
                  typestr, "'");
}

// A new reference to an entry, or null where there is none or None.
PyRef entry(PyObject* facts, const char* name) {
  const PyRef key = PyRef::checked(PyUnicode_FromString(name));
  PyObject* const value = PyDict_GetItemWithError(facts, key.get());
  if (value == nullptr && PyErr_Occurred() != nullptr) throw PythonError();
  return value == nullptr || value == Py_None ? PyRef() : PyRef::borrowed(value);
}

PyRef required(PyObject* facts, const char* name, const char* op) {
  PyRef value = entry(facts, name);
  if (!value) fail<ValueError>(op, ": ", kName, " must have an entry '", name, "', got none");
  return value;
}

// The protocol says an address and not whose it is; with one card there is nothing to ask.
Device only_device(const char* op) {
  const int count = cuda_device_count();
  if (count != 1) {
    fail<NotSupported>(op, ": object with ", kName, " must have __dlpack__ too, which says where it is, got ", count,
                       " cuda devices here");
  }
  return {DeviceType::Cuda, 0};
}

PyRef tuple_of(const Dims& figures, int64_t scale) {
  PyRef tuple = PyRef::checked(PyTuple_New(figures.size()));
  for (int i = 0; i < figures.size(); ++i) {
    PyTuple_SET_ITEM(tuple.get(), i, PyRef::checked(PyLong_FromLongLong(figures[i] * scale)).detach());
  }
  return tuple;
}

}  // namespace

PyObject* get_cuda_array_interface(PyObject* self, void*) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    // Whoever asks whether there is such an attribute is told that there is none.
    if (t->device().type != DeviceType::Cuda) {
      no_attribute(cat("tensor must be on a cuda device, got one on ", device_name(t->device())));
    }
    if (t->base && !t->detached) refresh_view(*t);
    if (t->requires_grad) no_attribute("tensor must not require grad, got one that does (use detach)");
    check_readable(t, kName);
    const std::string typestr = typestr_of(t->dtype);
    if (typestr.empty()) no_attribute(cat("dtype must be one that it can name, got ", t->dtype, " (use DLPack)"));
    const bool read_only = t->storage->read_only;
    if (!read_only) t->storage->exported_writable = true;
    Block* block = t->storage->block;
    if (block != nullptr && block->stream != 0) t->storage->pool->record_stream(block, 0);
    const auto address = static_cast<unsigned long long>(t->numel != 0 ? reinterpret_cast<uintptr_t>(t->data()) : 0);
    const PyRef shape = tuple_of(t->shape, 1);
    const PyRef strides = t->contiguous ? PyRef::borrowed(Py_None) : tuple_of(t->strides, dtype_size(t->dtype));
    return PyRef::checked(Py_BuildValue("{s:i,s:O,s:s,s:(KO),s:O,s:K}", "version", 3, "shape", shape.get(), "typestr",
                                        typestr.c_str(), "data", address, read_only ? Py_True : Py_False, "strides",
                                        strides.get(), "stream",
                                        static_cast<unsigned long long>(outer_stream(t->device()))))
        .detach();
  });
}

Tensor import_cuda_array(PyObject* producer, const char* op, bool may_copy) {
  const PyRef facts = PyRef::checked(PyObject_GetAttrString(producer, kName));
  if (PyDict_Check(facts.get()) == 0) fail<TypeError>(op, ": ", kName, " must be a dict, got ", describe(facts.get()));
  if (entry(facts.get(), "mask")) fail<NotSupported>(op, ": ", kName, " must have no mask, got one");
  ForeignMemory m;
  const PyRef typestr = required(facts.get(), "typestr", op);
  if (PyUnicode_Check(typestr.get()) == 0) {
    fail<TypeError>(op, ": typestr of ", kName, " must be a str, got ", describe(typestr.get()));
  }
  const char* const text = PyUnicode_AsUTF8(typestr.get());
  if (text == nullptr) throw PythonError();
  m.dtype = dtype_from_typestr(text, op);
  m.shape = dims_from(required(facts.get(), "shape", op).get(), op, "shape");
  m.byte_strides = Dims(m.shape.size(), 0);
  if (const PyRef strides = entry(facts.get(), "strides")) {
    m.byte_strides = dims_from(strides.get(), op, "strides");
    if (m.byte_strides.size() != m.shape.size()) {
      fail<ValueError>(op, ": strides of ", kName, " must be as many as the ", m.shape.size(), " axes, got ",
                       m.byte_strides.size());
    }
  } else {
    int64_t step = dtype_size(m.dtype);
    for (int i = m.shape.size(); i-- > 0;) {
      m.byte_strides[i] = step;
      step *= m.shape[i];
    }
  }
  unsigned long long address = 0;
  int read_only = 0;
  const PyRef data = required(facts.get(), "data", op);
  if (PyTuple_Check(data.get()) == 0) {
    fail<TypeError>(op, ": data of ", kName, " must be a tuple of address and read-only flag, got ",
                    describe(data.get()));
  }
  if (PyArg_ParseTuple(data.get(), "Kp", &address, &read_only) == 0) throw PythonError();
  m.data =
      reinterpret_cast<void*>(static_cast<uintptr_t>(address));  // NOLINT(performance-no-int-to-ptr): as it was given
  m.read_only = read_only != 0;
  int64_t handle = 0;
  if (const PyRef stream = entry(facts.get(), "stream")) {
    handle = int_from(stream.get(), op, "stream");
    if (handle <= 0) {
      fail<ValueError>(op, ": stream of ", kName, " must be None, 1, 2 or a handle, got ", handle);
    }
  }
  m.device = only_device(op);
  if (handle > 0) {
    const auto theirs = static_cast<uint64_t>(handle);
    cuda_wait(m.device, current_stream(m.device), theirs == kLegacyStream ? 0 : theirs);
  }
  m.context = Py_NewRef(producer);
  m.deleter = [](void* held) noexcept { release_reference(static_cast<PyObject*>(held)); };
  return adopt_memory(m, op, may_copy);
}

}  // namespace gorgo

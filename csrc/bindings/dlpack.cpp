// DLPack in both directions: the structs of its ABI (versions 0 and 1), export, import.
//
// Invariant: a capsule's tensor is deleted exactly once: by the consumer who renamed the capsule, else by the capsule itself.
// Our deleter needs no GIL.
#include <cstdint>
#include <memory>
#include <string_view>

#include "autograd/mode.h"
#include "autograd/tape.h"
#include "bindings/convert.h"
#include "bindings/interop.h"
#include "device/backend.h"
#include "opdef/core_ops.h"

namespace gorgo {
namespace {

namespace abi {

struct Device {
  int32_t type;
  int32_t index;
};
struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null means row-major
  uint64_t byte_offset;
};
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};
struct Version {
  uint32_t major;
  uint32_t minor;
};
struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};

constexpr int32_t kCpu = 1;
constexpr int32_t kCudaHost = 3;
constexpr uint64_t kReadOnly = 1;
constexpr uint64_t kIsCopied = 2;
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

}  // namespace abi

constexpr const char* kName = "dltensor";
constexpr const char* kVersionedName = "dltensor_versioned";

[[noreturn]] void refuse(const std::string& why) {
  PyErr_SetString(PyExc_BufferError, why.c_str());
  throw PythonError();
}

abi::DataType to_abi(DType d) {
  uint8_t code = abi::kFloat;
  if (d == DType::Bool) code = abi::kBool;
  if (d == DType::BFloat16) code = abi::kBfloat;
  if (is_unsigned(d)) code = abi::kUInt;
  if (is_signed_integer(d)) code = abi::kInt;
  if (is_complex(d)) code = abi::kComplex;
  return {code, static_cast<uint8_t>(dtype_bits(d)), 1};
}

DType from_abi(abi::DataType t, const char* op) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto d = static_cast<DType>(i);
    const abi::DataType ours = to_abi(d);
    if (t.lanes == 1 && t.code == ours.code && t.bits == ours.bits) return d;
  }
  refuse(cat(op, ": element type must be one of ours, got DLPack code ", int{t.code}, " with ", int{t.bits},
             " bits and ", t.lanes, " lanes"));
}

// ---- export ----

// What a handed-out capsule owns: the storage and the figures that its pointers lead to.
template <class M>
struct Export {
  M managed{};
  Ref<Storage> storage;
  Shape shape;
  Strides strides;

  static void destroy(M* managed) { delete static_cast<Export*>(managed->context); }
};

template <class M>
M* make_managed(const Tensor& t) {
  auto* e = new Export<M>;
  e->storage = Ref<Storage>::share(t->storage);
  e->shape = t->shape;
  e->strides = t->strides;
  e->managed.context = e;
  e->managed.deleter = &Export<M>::destroy;
  e->managed.tensor = {t->numel != 0 ? t->data() : nullptr,
                       {abi::kCpu, 0},
                       t->rank(),
                       to_abi(t->dtype),
                       e->shape.data(),
                       e->strides.data(),
                       0};
  return &e->managed;
}

template <class M>
void destroy_capsule(PyObject* capsule, const char* name) noexcept {
  if (PyCapsule_IsValid(capsule, name) == 0) return;  // a consumer has taken the tensor and renamed the capsule
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, name));
  if (managed->deleter != nullptr) managed->deleter(managed);
}

// ---- import ----

template <class M>
void delete_managed(void* context) noexcept {
  auto* managed = static_cast<M*>(context);
  if (managed->deleter != nullptr) managed->deleter(managed);
}

template <class M>
Tensor adopt(M* managed, const char* op, bool read_only, bool may_copy) {
  struct Owner {
    M* managed;
    ~Owner() {
      if (managed != nullptr) delete_managed<M>(managed);
    }
  } owner{managed};
  const abi::Tensor& t = managed->tensor;
  if (t.device.type != abi::kCpu && t.device.type != abi::kCudaHost) {
    refuse(cat(op, ": tensor must be on the cpu (DLPack device type 1), got type ", t.device.type));
  }
  if (t.ndim > kMaxRank) refuse(cat(op, ": rank must be at most ", kMaxRank, ", got ", t.ndim));
  ForeignMemory m;
  m.data = static_cast<unsigned char*>(t.data) + t.byte_offset;
  m.dtype = from_abi(t.dtype, op);
  m.shape = Dims(t.ndim, 0);
  m.byte_strides = Dims(t.ndim, 0);
  int64_t step = dtype_size(m.dtype);
  for (int i = t.ndim; i-- > 0;) {
    m.shape[i] = t.shape[i];
    m.byte_strides[i] = t.strides != nullptr ? t.strides[i] * dtype_size(m.dtype) : step;
    step *= t.shape[i];
  }
  m.read_only = read_only;
  m.deleter = &delete_managed<M>;
  m.context = managed;
  owner.managed = nullptr;
  return adopt_memory(m, op, may_copy);
}

PyRef ask_for_capsule(PyObject* producer, const OptInt& copy, bool onto_cpu) {
  const PyRef method = PyRef::checked(PyObject_GetAttrString(producer, "__dlpack__"));
  const PyRef none = PyRef::checked(PyTuple_New(0));
  const PyRef keywords = PyRef::checked(Py_BuildValue("{s:(ii)}", "max_version", 1, 0));
  if (copy.has) check_status(PyDict_SetItemString(keywords.get(), "copy", copy.value != 0 ? Py_True : Py_False));
  if (onto_cpu) {
    const PyRef cpu = PyRef::checked(Py_BuildValue("(ii)", abi::kCpu, 0));
    check_status(PyDict_SetItemString(keywords.get(), "dl_device", cpu.get()));
  }
  PyRef capsule(PyObject_Call(method.get(), none.get(), keywords.get()));
  if (capsule || onto_cpu) return PyRef::checked(capsule.detach());
  if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw PythonError();
  PyErr_Clear();  // a producer from before version 1 knows no keywords; a copy is then ours to make
  return PyRef::checked(PyObject_CallNoArgs(method.get()));
}

}  // namespace

Tensor import_dlpack(PyObject* producer, const char* op, OptInt copy, bool onto_cpu) {
  const bool may_copy = !copy.has || copy.value != 0;
  PyRef capsule;
  if (PyCapsule_CheckExact(producer)) {
    capsule = PyRef::borrowed(producer);
  } else {
    const PyRef method(PyObject_GetAttrString(producer, "__dlpack_device__"));
    if (!method) {
      PyErr_Clear();
      fail<TypeError>(op, ": x must have __dlpack__ and __dlpack_device__, got ", describe(producer));
    }
    const PyRef device = PyRef::checked(PyObject_CallNoArgs(method.get()));
    long type = 0;
    long index = 0;
    if (PyArg_ParseTuple(device.get(), "ll", &type, &index) == 0) throw PythonError();
    const bool elsewhere = type != abi::kCpu && type != abi::kCudaHost;
    if (elsewhere && !onto_cpu) {
      refuse(cat(op, ": x must be on the cpu (DLPack device type 1), got type ", type, " index ", index,
                 " (device='cpu' asks its producer for a copy there)"));
    }
    capsule = ask_for_capsule(producer, copy, elsewhere);
  }
  if (PyCapsule_IsValid(capsule.get(), kVersionedName) != 0) {
    auto* managed = static_cast<abi::ManagedVersioned*>(PyCapsule_GetPointer(capsule.get(), kVersionedName));
    if (managed->version.major != 1) {  // the capsule keeps it and deletes it
      refuse(cat(op, ": DLPack version must be 1, got ", managed->version.major, '.', managed->version.minor));
    }
    check_status(PyCapsule_SetName(capsule.get(), "used_dltensor_versioned"));
    return adopt(managed, op, (managed->flags & abi::kReadOnly) != 0, may_copy);
  }
  if (PyCapsule_IsValid(capsule.get(), kName) != 0) {
    auto* managed = static_cast<abi::Managed*>(PyCapsule_GetPointer(capsule.get(), kName));
    check_status(PyCapsule_SetName(capsule.get(), "used_dltensor"));
    return adopt(managed, op, false, may_copy);
  }
  fail<ValueError>(op, ": x must give a DLPack capsule that nobody has used yet, got ", describe(capsule.get()));
}

PyObject* export_dlpack(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("__dlpack__", "*, stream, max_version, dl_device, copy", args, nargs, kwnames);
    Tensor t = tensor_of(self);
    if (t->base && !t->detached) refresh_view(*t);
    if (t->requires_grad) refuse("__dlpack__: tensor must not require grad, got one that does (use detach)");
    if (t->device().type != DeviceType::Cpu) refuse("__dlpack__: tensor must be on the cpu, got one that is not");
    check_readable(t, "__dlpack__");
    if (given.given(0) != nullptr) refuse(cat("__dlpack__: stream must be None on the cpu, got ", describe(given[0])));
    if (given.given(2) != nullptr) {
      const Dims device = dims_from(given[2], "__dlpack__", "dl_device");
      if (device != Dims{abi::kCpu, 0}) refuse(cat("__dlpack__: dl_device must be (1, 0), the cpu, got ", device));
    }
    const bool copy = given.given(3) != nullptr && bool_from(given[3], "__dlpack__", "copy");
    const bool versioned = given.given(1) != nullptr && dims_from(given[1], "__dlpack__", "max_version")[0] >= 1;
    if (copy) {
      const GradMode off(false);
      t = copy_of(t);
    }
    const bool read_only = t->storage->read_only;
    if (read_only && !versioned) {
      refuse("__dlpack__: read-only memory needs DLPack version 1 (max_version), got an older request (use copy=True)");
    }
    if (!read_only) t->storage->exported_writable = true;
    PyObject* capsule = nullptr;
    if (versioned) {
      auto* managed = make_managed<abi::ManagedVersioned>(t);
      managed->version = {1, 0};
      managed->flags = (read_only ? abi::kReadOnly : 0) | (copy ? abi::kIsCopied : 0);
      capsule = PyCapsule_New(managed, kVersionedName,
                              [](PyObject* c) { destroy_capsule<abi::ManagedVersioned>(c, kVersionedName); });
      if (capsule == nullptr) managed->deleter(managed);
    } else {
      auto* managed = make_managed<abi::Managed>(t);
      capsule = PyCapsule_New(managed, kName, [](PyObject* c) { destroy_capsule<abi::Managed>(c, kName); });
      if (capsule == nullptr) managed->deleter(managed);
    }
    if (capsule == nullptr) throw PythonError();
    return capsule;
  });
}

PyObject* dlpack_device(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    if (tensor_of(self)->device().type != DeviceType::Cpu) refuse("__dlpack_device__: tensor must be on the cpu");
    return Py_BuildValue("(ii)", abi::kCpu, 0);
  });
}

}  // namespace gorgo

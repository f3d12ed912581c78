// DLPack in both directions: the structs of its ABI (versions 0 and 1), export, import.
//
// Invariants: a capsule's tensor is deleted exactly once: by the consumer who renamed the capsule, else by the capsule itself;
// our deleter needs no GIL. On a device with streams a consumer sees what was enqueued before the export, and its memory is not
// used again before what the consumer enqueued on the stream that it named.
// Read next: cuda_array_interface.cpp (the older protocol of arrays on a card).
#include <cstdint>
#include <memory>
#include <string_view>

#include "autograd/mode.h"
#include "autograd/tape.h"
#include "bindings/convert.h"
#include "bindings/interop.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "memory/block_pool.h"
#include "opdef/core_ops.h"
#include "ops/creation/creation.h"

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
constexpr int32_t kCuda = 2;
constexpr int32_t kCudaHost = 3;
constexpr int32_t kCudaManaged = 13;
constexpr uint64_t kReadOnly = 1;
constexpr uint64_t kIsCopied = 2;
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

}  // namespace abi

constexpr const char* kCapsuleName = "dltensor";
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

// ---- devices and streams ----

bool is_host(int64_t type) { return type == abi::kCpu || type == abi::kCudaHost; }

abi::Device to_abi(Device d) { return {d.type == DeviceType::Cuda ? abi::kCuda : abi::kCpu, int32_t{d.index}}; }

// Our device of that type and index, if this process can use it.
Opt<Device> device_from_abi(int64_t type, int64_t index) {
  if (is_host(type)) return kCpu;
  const bool cuda = type == abi::kCuda || type == abi::kCudaManaged;
  if (!cuda || index < 0 || index >= cuda_device_count()) return {};
  return Device{DeviceType::Cuda, static_cast<uint8_t>(index)};
}

// What the standard's `stream` says on CUDA: None and 1 are the legacy default stream, 2 the calling thread's default one, -1
// wants no order; other numbers are handles. 0 could be either of two and is forbidden.
struct ConsumerStream {
  bool ordered = false;
  uint64_t stream = 0;   // as we name it
  bool foreign = false;  // may be gone by the time that the consumer lets go, so that no event can be put there then
};

ConsumerStream consumer_stream_from(PyObject* o, Device device) {
  if (device.type != DeviceType::Cuda) return {};
  const int64_t number = o != nullptr ? int_from(o, "__dlpack__", "stream") : int64_t{kLegacyStream};
  if (number == 0 || number < -1) {
    fail<ValueError>("__dlpack__: stream must be None, -1, 1, 2 or a handle on a cuda device, got ", number);
  }
  if (number == -1) return {};
  const auto handle = static_cast<uint64_t>(number);
  const uint64_t stream = handle == kLegacyStream ? 0 : handle;
  return {true, stream, stream != 0 && stream != current_stream(device)};
}

// The consumer's stream waits for what we have enqueued, and reuse of the memory for what the consumer does there.
void order_after(const Tensor& t, const ConsumerStream& consumer) {
  if (!consumer.ordered) return;
  cuda_wait(t->device(), consumer.stream, current_stream(t->device()));
  Block* const block = t->storage->block;
  if (block != nullptr && !consumer.foreign && block->stream != consumer.stream) {
    t->storage->pool->record_stream(block, consumer.stream);
  }
}

// ---- export ----

// What a handed-out capsule owns: the storage and the figures that its pointers lead to.
template <class M>
struct Export {
  M managed{};
  Ref<Storage> storage;
  Shape shape;
  Strides strides;
  bool wait = false;  // for the whole device, before the memory may be used again

  static void destroy(M* managed) {
    auto* e = static_cast<Export*>(managed->context);
    if (e->wait) {
      try {
        cuda_synchronize(e->storage->device);
      } catch (...) {  // a device that has failed holds nobody up
      }
    }
    delete e;
  }
};

template <class M>
M* make_managed(const Tensor& t, bool wait) {
  auto* e = new Export<M>;
  e->storage = Ref<Storage>::share(t->storage);
  e->shape = t->shape;
  e->strides = t->strides;
  e->wait = wait;
  e->managed.context = e;
  e->managed.deleter = &Export<M>::destroy;
  e->managed.tensor = {t->numel != 0 ? t->data() : nullptr,
                       to_abi(t->device()),
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
  const Opt<Device> device = device_from_abi(t.device.type, t.device.index);
  if (!device.has) {
    refuse(cat(op,
               ": tensor must be on the cpu (DLPack device type 1) or a cuda device that is here (type 2), got type ",
               t.device.type, " index ", t.device.index));
  }
  if (t.ndim > kMaxRank) refuse(cat(op, ": rank must be at most ", kMaxRank, ", got ", t.ndim));
  ForeignMemory m;
  m.data = static_cast<unsigned char*>(t.data) + t.byte_offset;
  m.device = device.value;
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

// The producer lets our current stream on `device` wait for what it has enqueued.
PyRef ask_for_capsule(PyObject* producer, const OptInt& copy, bool onto_cpu, Device device) {
  const PyRef method = PyRef::checked(PyObject_GetAttrString(producer, "__dlpack__"));
  const PyRef none = PyRef::checked(PyTuple_New(0));
  const PyRef keywords = PyRef::checked(Py_BuildValue("{s:(ii)}", "max_version", 1, 0));
  PyRef oldest = PyRef::checked(PyDict_New());  // what a producer from before version 1 understands
  if (device.type == DeviceType::Cuda) {
    const PyRef stream = PyRef::checked(PyLong_FromUnsignedLongLong(outer_stream(device)));
    check_status(PyDict_SetItemString(keywords.get(), "stream", stream.get()));
    check_status(PyDict_SetItemString(oldest.get(), "stream", stream.get()));
  }
  if (copy.has) check_status(PyDict_SetItemString(keywords.get(), "copy", copy.value != 0 ? Py_True : Py_False));
  if (onto_cpu) {
    const PyRef cpu = PyRef::checked(Py_BuildValue("(ii)", abi::kCpu, 0));
    check_status(PyDict_SetItemString(keywords.get(), "dl_device", cpu.get()));
  }
  PyRef capsule(PyObject_Call(method.get(), none.get(), keywords.get()));
  if (capsule || onto_cpu) return PyRef::checked(capsule.detach());
  if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw PythonError();
  PyErr_Clear();  // a producer from before version 1 knows no other keyword; a copy is then ours to make
  return PyRef::checked(PyObject_Call(method.get(), none.get(), oldest.get()));
}

}  // namespace

uint64_t outer_stream(Device device) noexcept {
  const uint64_t stream = current_stream(device);
  return stream == 0 ? kLegacyStream : stream;
}

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
    const Opt<Device> home = device_from_abi(type, index);
    if (!home.has && !onto_cpu) {
      refuse(cat(op, ": x must be on the cpu (DLPack device type 1) or a cuda device that is here (type 2), got type ",
                 type, " index ", index, " (device='cpu' asks its producer for a copy there)"));
    }
    // A copy from one device of ours to another is made by us, after the import.
    capsule = ask_for_capsule(producer, copy, !home.has, home.has ? home.value : kCpu);
  }
  if (PyCapsule_IsValid(capsule.get(), kVersionedName) != 0) {
    auto* managed = static_cast<abi::ManagedVersioned*>(PyCapsule_GetPointer(capsule.get(), kVersionedName));
    if (managed->version.major != 1) {  // the capsule keeps it and deletes it
      refuse(cat(op, ": DLPack version must be 1, got ", managed->version.major, '.', managed->version.minor));
    }
    check_status(PyCapsule_SetName(capsule.get(), "used_dltensor_versioned"));
    return adopt(managed, op, (managed->flags & abi::kReadOnly) != 0, may_copy);
  }
  if (PyCapsule_IsValid(capsule.get(), kCapsuleName) != 0) {
    auto* managed = static_cast<abi::Managed*>(PyCapsule_GetPointer(capsule.get(), kCapsuleName));
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
    if (t->device().type == DeviceType::Null) refuse("__dlpack__: tensor must have memory, got one on the null device");
    check_readable(t, "__dlpack__");
    const bool on_cuda = t->device().type == DeviceType::Cuda;
    if (!on_cuda && given.given(0) != nullptr) {
      refuse(cat("__dlpack__: stream must be None on the cpu, got ", describe(given[0])));
    }
    Device target = t->device();
    if (given.given(2) != nullptr) {
      const Dims wanted = dims_from(given[2], "__dlpack__", "dl_device");
      const bool named = wanted.size() == 2 && (wanted[0] == abi::kCpu || wanted[0] == abi::kCuda);
      const Opt<Device> found = named ? device_from_abi(wanted[0], wanted[1]) : Opt<Device>{};
      if (!found.has) {
        refuse(cat("__dlpack__: dl_device must be (1, 0), the cpu, or (2, index of a cuda device), got ", wanted));
      }
      target = found.value;
    }
    bool copy = given.given(3) != nullptr && bool_from(given[3], "__dlpack__", "copy");
    if (target != t->device()) {
      if (given.given(3) != nullptr && !copy) {
        refuse(cat("__dlpack__: copy=False needs a tensor on ", device_name(target), ", got one on ",
                   device_name(t->device())));
      }
      copy = true;
    }
    // What is asked for on the cpu is there when this returns, whatever the stream.
    const ConsumerStream consumer = consumer_stream_from(given.given(0), target);
    const bool versioned = given.given(1) != nullptr && dims_from(given[1], "__dlpack__", "max_version")[0] >= 1;
    if (copy) {
      const GradMode off(false);
      t = target != t->device() ? to_device(t, target) : copy_of(t);
    }
    order_after(t, consumer);
    const bool read_only = t->storage->read_only;
    if (read_only && !versioned) {
      refuse("__dlpack__: read-only memory needs DLPack version 1 (max_version), got an older request (use copy=True)");
    }
    if (!read_only) t->storage->exported_writable = true;
    PyObject* capsule = nullptr;
    if (versioned) {
      auto* managed = make_managed<abi::ManagedVersioned>(t, consumer.foreign);
      managed->version = {1, 0};
      managed->flags = (read_only ? abi::kReadOnly : 0) | (copy ? abi::kIsCopied : 0);
      capsule = PyCapsule_New(managed, kVersionedName,
                              [](PyObject* c) { destroy_capsule<abi::ManagedVersioned>(c, kVersionedName); });
      if (capsule == nullptr) managed->deleter(managed);
    } else {
      auto* managed = make_managed<abi::Managed>(t, consumer.foreign);
      capsule =
          PyCapsule_New(managed, kCapsuleName, [](PyObject* c) { destroy_capsule<abi::Managed>(c, kCapsuleName); });
      if (capsule == nullptr) managed->deleter(managed);
    }
    if (capsule == nullptr) throw PythonError();
    return capsule;
  });
}

PyObject* dlpack_device(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    const Device device = tensor_of(self)->device();
    if (device.type == DeviceType::Null) {
      refuse("__dlpack_device__: tensor must have memory, got one on the null device");
    }
    const abi::Device theirs = to_abi(device);
    return Py_BuildValue("(ii)", theirs.type, theirs.index);
  });
}

}  // namespace gorgo

// NumPy and everything else that speaks the buffer protocol, and asarray.
//
// In order: memory adopted, buffers exported, buffers imported, nested lists, asarray, methods.
#include "bindings/interop.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "autograd/mode.h"
#include "autograd/tape.h"
#include "bindings/convert.h"
#include "bindings/dtype_type.h"
#include "bindings/function_docs.h"
#include "bindings/module.h"
#include "bindings/origin.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "graph/capture.h"
#include "opdef/core_ops.h"
#include "ops/creation/creation.h"

namespace gorgo {
namespace {

// ---- memory adopted ----

// Row-major copy of elements anywhere in memory, whatever their alignment.
void copy_elements(const unsigned char* from, const ForeignMemory& m, int axis, int64_t size, unsigned char*& to) {
  if (axis == m.shape.size()) {
    std::memcpy(to, from, static_cast<size_t>(size));
    to += size;
    return;
  }
  for (int64_t i = 0; i < m.shape[axis]; ++i) copy_elements(from + i * m.byte_strides[axis], m, axis + 1, size, to);
}

bool is_aligned(const ForeignMemory& m, int64_t size) {
  const int64_t alignment = is_complex(m.dtype) ? size / 2 : size;
  if (reinterpret_cast<uintptr_t>(m.data) % static_cast<uintptr_t>(alignment) != 0) return false;
  for (int i = 0; i < m.shape.size(); ++i) {
    if (m.shape[i] > 1 && m.byte_strides[i] % size != 0) return false;
  }
  return true;
}

// Memory of others on a cuda device. Whoever gets it back most likely goes on in the order of the default stream, which waits
// for what this thread's current stream still does with it; what other streams do must be over.
struct Loan {
  void (*deleter)(void*) noexcept;
  void* context;
  Device device;

  static void end(void* loan) noexcept {
    auto* const self = static_cast<Loan*>(loan);
    try {
      cuda_wait(self->device, 0, current_stream(self->device));
    } catch (...) {  // a device that has failed holds nobody up
    }
    if (self->deleter != nullptr) self->deleter(self->context);
    delete self;
  }
};

}  // namespace

Tensor adopt_memory(ForeignMemory m, const char* op, bool may_copy) {
  struct Owner {
    ForeignMemory* memory;
    ~Owner() {
      if (memory != nullptr && memory->deleter != nullptr) memory->deleter(memory->context);
    }
  } owner{&m};
  const int64_t size = dtype_size(m.dtype);
  const int64_t numel = numel_of(m.shape, op);
  if (numel == 0) return make_tensor(m.shape, m.dtype, m.device);
  if (!is_aligned(m, size)) {
    if (m.device.type == DeviceType::Cuda) {
      fail<ValueError>(op, ": memory on ", device_name(m.device),
                       " must be aligned to its elements, got an address or strides that are not");
    }
    if (!may_copy) {
      fail<ValueError>(op, ": copy=False needs memory aligned to its elements, got an address or strides that are not");
    }
    Tensor copy = make_tensor(m.shape, m.dtype, kCpu);
    auto* to = static_cast<unsigned char*>(copy->data());
    copy_elements(static_cast<const unsigned char*>(m.data), m, 0, size, to);
    return copy;
  }
  int64_t first = 0;
  int64_t last = 0;
  Strides strides(m.shape.size(), 0);
  for (int i = 0; i < m.shape.size(); ++i) {
    if (m.shape[i] > 1) strides[i] = m.byte_strides[i] / size;
    const int64_t reach = (m.shape[i] - 1) * strides[i];
    (reach < 0 ? first : last) += reach;
  }
  if (m.device.type == DeviceType::Cuda) {
    m.context = new Loan{m.deleter, m.context, m.device};
    m.deleter = &Loan::end;
  }
  Storage* storage = Storage::borrow(static_cast<unsigned char*>(m.data) + first * size,
                                     static_cast<size_t>((last - first + 1) * size), m.device, m.deleter, m.context);
  owner.memory = nullptr;
  storage->read_only = m.read_only;
  storage->exported_writable = true;
  const Ref<Storage> hold = Ref<Storage>::adopt(storage);
  if (is_contiguous(m.shape, strides)) return make_tensor_over(storage, m.shape, m.dtype);
  // A base is always contiguous: here it is the flat extent of the memory, which nobody sees.
  const Tensor base = make_tensor_over(storage, {last - first + 1}, m.dtype);
  return make_view(*base, m.shape, strides, -first);
}

Tensor placed(const Tensor& t, Device device) {
  if (t->device() == device) return t;
  if (t->device() != kCpu) return to_device(t, device);
  Tensor there = make_tensor(t->shape, t->dtype, device);
  if (device.type == DeviceType::Cuda && t->numel != 0) {
    const GilReleased released;
    cuda_copy(there->data(), device, t->data(), kCpu, static_cast<size_t>(t->numel * dtype_size(t->dtype)));
  }
  return there;
}

Tensor granted(const Tensor& t, const Wishes& w, const char* op) {
  if (w.device.has && w.device.value.type == DeviceType::Null) {
    return make_tensor(t->shape, w.dtype.has ? w.dtype.value : t->dtype, w.device.value);
  }
  if (w.dtype.has && w.dtype.value != t->dtype) {
    if (w.copy.has && w.copy.value == 0) {
      fail<ValueError>(op, ": copy=False needs an object of dtype ", w.dtype.value, ", got ", t->dtype);
    }
    const Tensor there = w.device.has ? to_device(t, w.device.value) : t;
    return cast_to(there, w.dtype.value);
  }
  if (w.device.has && w.device.value != t->device()) {
    if (w.copy.has && w.copy.value == 0) {
      fail<ValueError>(op, ": copy=False needs an object on ", device_name(w.device.value), ", got one on ",
                       device_name(t->device()));
    }
    return to_device(t, w.device.value);
  }
  return w.copy.has && w.copy.value != 0 ? copy_of(t) : t;
}

namespace {

// ---- buffers exported ----

const char* buffer_format(DType d) noexcept {
  switch (d) {
    case DType::Bool:
      return "?";
    case DType::UInt8:
      return "B";
    case DType::UInt16:
      return "H";
    case DType::UInt32:
      return "I";
    case DType::UInt64:
      return "Q";
    case DType::Int8:
      return "b";
    case DType::Int16:
      return "h";
    case DType::Int32:
      return "i";
    case DType::Int64:
      return sizeof(long) == 8 ? "l" : "q";
    case DType::Float16:
      return "e";
    case DType::BFloat16:
      return nullptr;
    case DType::Float32:
      return "f";
    case DType::Float64:
      return "d";
    case DType::Complex64:
      return "Zf";
    case DType::Complex128:
      return "Zd";
  }
  return nullptr;
}

// Why the memory of `t` cannot be handed out, or null.
const char* reason_to_keep(TensorImpl& t) {
  if (t.device().type != DeviceType::Cpu) return "it is not on the cpu";
  const Recorder* recorder = Recorder::active();
  if (recorder != nullptr && recorder->made_here(t)) return "it belongs to the function being recorded";
  if (t.base && !t.detached) refresh_view(t);
  if (t.requires_grad) return "it requires grad; use detach() first";
  return nullptr;
}

int refuse_buffer(const std::string& why) {
  PyErr_SetString(PyExc_BufferError, why.c_str());
  return -1;
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) noexcept {
  view->obj = nullptr;
  return guarded_int([&] {
    TensorImpl& t = *tensor_of(self);
    if (const char* reason = reason_to_keep(t))
      return refuse_buffer(cat("buffer: tensor cannot share its memory, since ", reason));
    const char* format = buffer_format(t.dtype);
    if (format == nullptr) return refuse_buffer(cat("buffer: dtype must have a buffer format, got ", t.dtype));
    const bool read_only = t.storage->read_only;
    if (read_only && (flags & PyBUF_WRITABLE) == PyBUF_WRITABLE) {
      return refuse_buffer("buffer: tensor must be writable for this use, got one over read-only memory");
    }
    Dims reversed_shape = t.shape;
    Dims reversed_strides = t.strides;
    std::reverse(reversed_shape.begin(), reversed_shape.end());
    std::reverse(reversed_strides.begin(), reversed_strides.end());
    const bool fortran = is_contiguous(reversed_shape, reversed_strides);
    const auto wants = [flags](int bits) { return (flags & bits) == bits; };
    const bool refused = (wants(PyBUF_C_CONTIGUOUS) && !t.contiguous) || (wants(PyBUF_F_CONTIGUOUS) && !fortran) ||
                         (wants(PyBUF_ANY_CONTIGUOUS) && !t.contiguous && !fortran) ||
                         (!wants(PyBUF_STRIDES) && !t.contiguous);
    if (refused) return refuse_buffer(cat("buffer: tensor must be contiguous for this use, got strides ", t.strides));

    const int rank = t.rank();
    const int64_t size = dtype_size(t.dtype);
    auto figures = std::make_unique<Py_ssize_t[]>(2 * static_cast<size_t>(rank) + 1);
    std::copy_n(t.shape.begin(), rank, figures.get());
    std::transform(t.strides.begin(), t.strides.end(), figures.get() + rank,
                   [size](int64_t stride) { return static_cast<Py_ssize_t>(stride * size); });
    static double nothing = 0.0;  // an address for tensors without elements
    view->buf = t.numel != 0 ? t.data() : &nothing;
    view->len = static_cast<Py_ssize_t>(t.numel * size);
    view->itemsize = static_cast<Py_ssize_t>(size);
    view->readonly = read_only ? 1 : 0;
    view->ndim = rank;
    view->format = wants(PyBUF_FORMAT) ? const_cast<char*>(format) : nullptr;
    view->shape = wants(PyBUF_ND) ? figures.get() : nullptr;
    view->strides = wants(PyBUF_STRIDES) ? figures.get() + rank : nullptr;
    view->suboffsets = nullptr;
    view->internal = figures.release();
    view->obj = Py_NewRef(self);
    if (!read_only) t.storage->exported_writable = true;
    return 0;
  });
}

void free_buffer(PyObject*, Py_buffer* view) noexcept { delete[] static_cast<Py_ssize_t*>(view->internal); }

// ---- buffers imported ----

// The dtype of a buffer's format, or nothing for what we do not hold.
std::optional<DType> dtype_of_format(const char* format, Py_ssize_t itemsize) {
  std::string_view code = format != nullptr ? format : "B";
  if (!code.empty() && (code[0] == '@' || code[0] == '=' || code[0] == '<')) code.remove_prefix(1);
  if (code == "?") return DType::Bool;
  if (code == "e") return DType::Float16;
  if (code == "f") return DType::Float32;
  if (code == "d") return DType::Float64;
  if (code == "Zf") return DType::Complex64;
  if (code == "Zd") return DType::Complex128;
  if (code.size() != 1) return std::nullopt;
  const bool is_signed = std::strchr("bhilqn", code[0]) != nullptr;
  if (!is_signed && std::strchr("BHILQN", code[0]) == nullptr) return std::nullopt;
  switch (itemsize) {
    case 1:
      return is_signed ? DType::Int8 : DType::UInt8;
    case 2:
      return is_signed ? DType::Int16 : DType::UInt16;
    case 4:
      return is_signed ? DType::Int32 : DType::UInt32;
    case 8:
      return is_signed ? DType::Int64 : DType::UInt64;
    default:
      return std::nullopt;
  }
}

std::string numpy_dtype_text(PyObject* array) {
  const PyRef dtype(PyObject_GetAttrString(array, "dtype"));
  const PyRef text(dtype ? PyObject_Str(dtype.get()) : nullptr);
  const char* chars = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  PyErr_Clear();
  return chars != nullptr ? chars : "?";
}

[[noreturn]] void refuse_array(PyObject* array, const char* op) {
  fail<TypeError>(op, ": NumPy array must be of a native bool, integer, float or complex dtype, got dtype ",
                  numpy_dtype_text(array));
}

Tensor import_buffer(PyObject* o, const char* op, bool may_copy) {
  if (is_numpy_array(o) &&
      numpy_dtype_text(o) == "bfloat16") {  // an extension dtype has no buffer: go through its bits
    const PyRef bits = PyRef::checked(PyObject_CallMethod(o, "view", "s", "uint16"));
    Tensor t = import_buffer(bits.get(), op, may_copy);
    for (TensorImpl* impl : {t.get(), t->base.get()}) {
      if (impl != nullptr) impl->dtype = DType::BFloat16;
    }
    return t;
  }
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(o, view.get(), PyBUF_FULL_RO) != 0) {
    if (!is_numpy_array(o)) throw PythonError();
    PyErr_Clear();
    refuse_array(o, op);
  }
  struct Release {
    Py_buffer* view;
    ~Release() {
      if (view != nullptr) PyBuffer_Release(view);
    }
  } release{view.get()};
  const std::optional<DType> dtype = dtype_of_format(view->format, view->itemsize);
  if (!dtype.has_value() || view->itemsize != dtype_size(*dtype) || view->suboffsets != nullptr) {
    if (is_numpy_array(o)) refuse_array(o, op);
    fail<TypeError>(op, ": buffer must hold native numbers, got format '", view->format, "' of ", view->itemsize,
                    " bytes");
  }
  if (view->ndim > kMaxRank) fail<ValueError>(op, ": rank must be at most ", kMaxRank, ", got ", view->ndim);
  ForeignMemory m;
  m.data = view->buf;
  m.dtype = *dtype;
  m.read_only = view->readonly != 0;
  m.shape = Dims(view->ndim, 0);
  m.byte_strides = Dims(view->ndim, 0);
  int64_t step = view->itemsize;
  for (int i = view->ndim; i-- > 0;) {
    m.shape[i] = view->shape[i];
    m.byte_strides[i] = view->strides != nullptr ? view->strides[i] : step;
    step *= view->shape[i];
  }
  m.context = view.release();
  m.deleter = [](void* held) noexcept { release_buffer(static_cast<Py_buffer*>(held)); };
  release.view = nullptr;
  return adopt_memory(m, op, may_copy);
}

// ---- nested lists ----

bool is_listed(PyObject* o) noexcept { return PyList_Check(o) || PyTuple_Check(o); }

// Reads nested lists twice: for shape and kind, then for the elements.
class ListReader {
 public:
  ListReader(PyObject* list, const char* op) : list_(list), op_(op) {}

  Tensor read(const OptDType& wanted) {
    for (PyObject* level = list_; is_listed(level);) {
      const Py_ssize_t n = PySequence_Fast_GET_SIZE(level);
      shape_.push_back(n);
      if (n == 0) break;
      level = PySequence_Fast_GET_ITEM(level, 0);
    }
    path_.assign(static_cast<size_t>(shape_.size()), 0);
    scan(list_, 0);
    const DType dtype = wanted.has ? wanted.value : default_dtype();
    Tensor t = make_tensor(shape_, dtype, kCpu);
    at_ = static_cast<unsigned char*>(t->data());
    fill(list_, 0, dtype);
    return t;
  }

 private:
  [[nodiscard]] std::string place(int depth) const {
    std::string text;
    for (int i = 0; i < depth; ++i) text += cat('[', path_[static_cast<size_t>(i)], ']');
    return text.empty() ? "the top" : text;
  }

  Scalar number(PyObject* o, int depth) const {
    Scalar s;
    if (is_tensor(o)) {
      if (tensor_of(o)->rank() == 0) {
        if (tensor_of(o)->requires_grad) {
          fail<TypeError>(op_, ": elements must not require grad, got a tensor that does at ", place(depth),
                          " (use gorgo.stack, which keeps the gradient)");
        }
        check_readable(tensor_of(o), op_);
        return load_scalar(on_host(tensor_of(o))->data(), tensor_of(o)->dtype);
      }
      fail<TypeError>(op_, ": elements must be numbers, got ", describe(o), " at ", place(depth), " (use gorgo.stack)");
    }
    if (scalar_from(o, s, op_)) return s;
    if (is_listed(o)) {
      fail<ValueError>(op_, ": nested lists must all have one depth and length, got a list at ", place(depth),
                       " where numbers stood before (the shape so far is ", shape_, ")");
    }
    fail<TypeError>(op_, ": elements must be numbers, got ", describe(o), " at ", place(depth));
  }

  void check_list(PyObject* o, int depth) const {
    if (!is_listed(o)) {
      Scalar s;
      if (!is_tensor(o) && !scalar_from(o, s, op_)) {
        fail<TypeError>(op_, ": elements must be numbers or lists of numbers, got ", describe(o), " at ", place(depth));
      }
      fail<ValueError>(op_, ": nested lists must all have one depth and length, got ", describe(o), " at ",
                       place(depth), " instead of a list of ", shape_[depth]);
    }
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    if (n != shape_[depth]) {
      fail<ValueError>(op_, ": nested lists must all have one depth and length, got a list of ", n, " at ",
                       place(depth), " instead of ", shape_[depth]);
    }
  }

  void scan(PyObject* o, int depth) {
    check_list(o, depth);
    const bool innermost = depth + 1 == shape_.size();
    for (int64_t i = 0; i < shape_[depth]; ++i) {
      PyObject* item = PySequence_Fast_GET_ITEM(o, static_cast<Py_ssize_t>(i));
      path_[static_cast<size_t>(depth)] = i;
      if (!innermost) {
        scan(item, depth + 1);
        continue;
      }
      const Scalar::Kind kind = PyFloat_CheckExact(item) ? Scalar::Kind::Float : number(item, depth + 1).kind;
      kind_ = seen_ ? std::max(kind_, kind) : kind;
      seen_ = true;
    }
  }

  [[nodiscard]] DType default_dtype() const {
    if (!seen_) return DType::Float32;
    Scalar s;
    s.kind = kind_;
    return default_dtype_of(s);
  }

  void fill(PyObject* o, int depth, DType dtype) {
    check_list(o, depth);  // Python code may have run since the scan and changed the list
    const bool innermost = depth + 1 == shape_.size();
    const int64_t size = dtype_size(dtype);
    for (int64_t i = 0; i < shape_[depth]; ++i) {
      PyObject* item = PySequence_Fast_GET_ITEM(o, static_cast<Py_ssize_t>(i));
      path_[static_cast<size_t>(depth)] = i;
      if (!innermost) {
        fill(item, depth + 1, dtype);
        continue;
      }
      if (dtype == DType::Float32 && PyFloat_CheckExact(item)) {
        const auto v = static_cast<float>(PyFloat_AS_DOUBLE(item));
        std::memcpy(at_, &v, sizeof v);
      } else {
        Scalar s = number(item, depth + 1);
        if (dtype == DType::Bool && s.kind == Scalar::Kind::Int) s = Scalar::of_bool(s.i != 0);
        store_scalar(s, dtype, op_, at_);
      }
      at_ += size;
    }
  }

  PyObject* list_;
  const char* op_;
  Shape shape_;
  std::vector<int64_t> path_;
  Scalar::Kind kind_ = Scalar::Kind::Bool;
  bool seen_ = false;
  unsigned char* at_ = nullptr;
};

// ---- asarray ----

Tensor from_number(const Scalar& given, const OptDType& wanted, const char* op) {
  Scalar s = given;
  const DType dtype = wanted.has ? wanted.value : default_dtype_of(s);
  if (dtype == DType::Bool && s.kind == Scalar::Kind::Int) s = Scalar::of_bool(s.i != 0);
  Tensor t = make_tensor({}, dtype, kCpu);
  store_scalar(s, dtype, op, t->data());
  return t;
}

void refuse_sharing(const Wishes& w, const char* op, const char* what) {
  if (w.copy.has && w.copy.value == 0) {
    fail<ValueError>(op, ": copy=False needs an object that can share its memory, got ", what);
  }
}

bool has_attribute(PyObject* o, const char* name) noexcept {
  const PyRef attribute(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(o)), name));
  if (!attribute) PyErr_Clear();
  return static_cast<bool>(attribute);
}

}  // namespace

Tensor tensor_from_any(PyObject* o, const Wishes& w, const char* op) {
  if (is_tensor(o)) return granted(tensor_of(o), w, op);
  Scalar s;
  const bool plain_number = PyFloat_CheckExact(o) || PyLong_Check(o) || PyComplex_CheckExact(o);
  if (plain_number && scalar_from(o, s, op)) {
    refuse_sharing(w, op, "a number");
    return placed(from_number(s, w.dtype, op), w.device.has ? w.device.value : kCpu);
  }
  if (is_listed(o)) {
    refuse_sharing(w, op, "a list");
    return placed(ListReader(o, op).read(w.dtype), w.device.has ? w.device.value : kCpu);
  }
  const bool may_copy = !w.copy.has || w.copy.value != 0;
  // What lends its memory by DLPack as well may have it on another device, and a buffer in name only.
  const bool lends =
      PyObject_CheckBuffer(o) != 0 && !PyBytes_Check(o) && (is_numpy_array(o) || !has_attribute(o, "__dlpack__"));
  if (lends && !is_numpy_array(o) && has_attribute(o, "__array__")) {  // a NumPy scalar
    refuse_sharing(w, op, "a NumPy scalar");
    const PyRef array = PyRef::checked(PyObject_CallMethod(o, "__array__", nullptr));
    return granted(import_buffer(array.get(), op, may_copy), w, op);
  }
  if (lends) return granted(import_buffer(o, op, may_copy), w, op);
  if (has_attribute(o, "__dlpack__")) return granted(import_dlpack(o, op, w.copy), w, op);
  const bool copies = has_attribute(o, "__array__");
  // Where there is no card, what can be copied to the host is.
  if ((cuda_device_count() != 0 || !copies) && PyObject_HasAttrString(o, "__cuda_array_interface__") != 0) {
    return granted(import_cuda_array(o, op, may_copy), w, op);
  }
  if (copies) {
    const PyRef array = PyRef::checked(PyObject_CallMethod(o, "__array__", nullptr));
    return granted(import_buffer(array.get(), op, may_copy), w, op);
  }
  if (PyRange_Check(o)) {
    const PyRef list = PyRef::checked(PySequence_List(o));
    return placed(ListReader(list.get(), op).read(w.dtype), w.device.has ? w.device.value : kCpu);
  }
  fail<TypeError>(op, ": object must be a tensor, an array, a number or nested lists of numbers, got ", describe(o));
}

namespace {

OptInt copy_from(const Arguments& given, int i) {
  if (given.given(i) == nullptr) return {};
  return int64_t{bool_from(given[i], given.function(), "copy") ? 1 : 0};
}

PyObject* asarray(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    if (nargs == 1 && kwnames == nullptr) return wrap(tensor_from_any(args[0], {}, "asarray"));
    const Arguments given("asarray", "obj, /, dtype, device, copy", args, nargs, kwnames);
    const Wishes wishes{optional_dtype_from(given[1], "asarray"), copy_from(given, 3),
                        optional_device_from(given[2], "asarray")};
    return wrap(tensor_from_any(given.required(0), wishes, "asarray"));
  });
}

PyObject* tensor(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("tensor", "obj, /, dtype, device, requires_grad", args, nargs, kwnames);
    PyObject* o = given.required(0);
    const bool shares = !is_listed(o) && !PyLong_Check(o) && !PyFloat_CheckExact(o);
    const OptInt copy = shares ? OptInt(1) : OptInt();
    const Wishes wishes{optional_dtype_from(given[1], "tensor"), copy, optional_device_from(given[2], "tensor")};
    const GradMode off(false);  // the result is a leaf, whatever it is made from
    Tensor t = tensor_from_any(o, wishes, "tensor");
    return wrap(with_requires_grad(std::move(t), given.given(3), "tensor"));
  });
}

PyObject* from_dlpack(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("from_dlpack", "x, /, *, device, copy", args, nargs, kwnames);
    const OptInt copy = copy_from(given, 2);
    const Opt<Device> device = optional_device_from(given[1], "from_dlpack");
    const bool onto_cpu = device.has && device.value.type == DeviceType::Cpu;
    return wrap(
        granted(import_dlpack(given.required(0), "from_dlpack", copy, onto_cpu), {{}, copy, device}, "from_dlpack"));
  });
}

// ---- methods ----

PyObject* numpy_array(PyObject* self, const char* op) {
  TensorImpl& t = *tensor_of(self);
  if (t.device().type == DeviceType::Cuda) {
    fail<TypeError>(op, ": tensor must be on the cpu, got one on ", device_name(t.device()), " (copy it with .cpu())");
  }
  if (const char* reason = reason_to_keep(t))
    fail<StateError>(op, ": tensor cannot become a NumPy array, since ", reason);
  const PyRef numpy = PyRef::checked(PyImport_ImportModule("numpy"));
  PyRef source = PyRef::borrowed(self);
  PyRef dtype;
  if (t.dtype == DType::BFloat16) {
    dtype = PyRef(numpy_dtype(t.dtype, op));
    Tensor bits = make_alias(tensor_of(self));
    bits->dtype = DType::UInt16;
    source = PyRef::checked(wrap(std::move(bits)));
  }
  PyRef array = PyRef::checked(PyObject_CallMethod(numpy.get(), "asarray", "O", source.get()));
  if (dtype) array = PyRef::checked(PyObject_CallMethod(array.get(), "view", "O", dtype.get()));
  return array.detach();
}

PyObject* to_numpy(PyObject* self, PyObject*) noexcept {
  return guarded([&] { return numpy_array(self, "numpy"); });
}

PyObject* array_protocol(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("__array__", "dtype, copy", args, nargs, kwnames);
    PyRef array = PyRef::checked(numpy_array(self, "__array__"));
    const bool copy = given.given(1) != nullptr && bool_from(given[1], "__array__", "copy");
    if (given.given(0) != nullptr) {
      const PyRef now = PyRef::checked(PyObject_GetAttrString(array.get(), "dtype"));
      const int same = PyObject_RichCompareBool(now.get(), given[0], Py_EQ);
      check_status(same);
      if (same == 0) {
        if (given.given(1) != nullptr && !copy) {
          fail<ValueError>("__array__: copy=False needs the tensor's own dtype, got another one");
        }
        return PyRef::checked(PyObject_CallMethod(array.get(), "astype", "O", given[0])).detach();
      }
    }
    if (copy) return PyRef::checked(PyObject_CallMethod(array.get(), "copy", nullptr)).detach();
    return array.detach();
  });
}

}  // namespace

PyBufferProcs tensor_buffer_procs = {get_buffer, free_buffer};

PyMethodDef tensor_interop_methods[] = {
    {"numpy", to_numpy, METH_NOARGS, "numpy($self, /)\n--\n\nReturn a NumPy array over the same memory."},
    {"__array__", fast(array_protocol), kFastCall, nullptr},
    {"__dlpack__", fast(export_dlpack), kFastCall,
     "__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\nReturn a DLPack capsule."},
    {"__dlpack_device__", dlpack_device, METH_NOARGS,
     "__dlpack_device__($self, /)\n--\n\nReturn DLPack's device type and index."},
    {nullptr, nullptr, 0, nullptr},
};

void bind_interop(PyObject* module) {
  static PyMethodDef functions[] = {
      {"asarray", fast(asarray), kFastCall, docs::kAsarray},
      {"tensor", fast(tensor), kFastCall, docs::kTensor},
      {"from_dlpack", fast(from_dlpack), kFastCall, docs::kFromDlpack},
      {nullptr, nullptr, 0, nullptr},
  };
  check_status(PyModule_AddFunctions(module, functions));
}

}  // namespace gorgo

// x[key] and x[key] = value.
//
// Integers, slices, None and Ellipsis become one index_view op. Masks and integer tensors follow NumPy's rules for advanced
// indexing: the view is cut first, the indexed axes are brought to the front, one op reads or writes, and the axes that
// result go where NumPy puts them.
// In order: the key read, advanced indices, reading, writing.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "autograd/mode.h"
#include "bindings/convert.h"
#include "bindings/interop.h"
#include "bindings/tensor_type.h"
#include "device/backend.h"
#include "opdef/core_ops.h"
#include "opdef/registry.h"
#include "ops/shape/shape.h"

namespace gorgo {
namespace {

// ---- the key read ----

// One advanced index: which axes of the cut view it takes (one, or several for a mask), and with what.
struct Advanced {
  Tensor index;  // integer, or bool for a mask
  int axis = 0;  // of the view, counted before new axes of length one are lost
  int64_t key_position = 0;
};

struct Key {
  IndexViewAttrs cut;
  SmallVector<Advanced, 2> advanced;
  std::vector<int64_t>
      integer_positions;  // of plain integers among the key's items: they count as advanced for placement
  bool basic = true;      // nothing but whole axes so far: the view is the tensor itself
  int result_axes = 0;
};

[[gnu::cold]] void refuse_index(const Tensor& t, int axis, int64_t i) {
  fail<IndexError>("index: must be in [", -t->shape[axis], ", ", t->shape[axis], ") on axis ", axis, ", got ", i,
                   " (the tensor has shape ", t->shape, ")");
}

void take_integer(const Tensor& t, Key& key, int axis, int64_t i) {
  const int64_t n = t->shape[axis];
  if (i < -n || i >= n) refuse_index(t, axis, i);
  key.cut.start[axis] = i < 0 ? i + n : i;
  key.cut.step[axis] = 1;
  key.cut.length[axis] = IndexViewAttrs::kDropAxis;
}

// One integer of a key. What no integer of 64 bits holds is out of any axis.
int64_t read_integer(const Tensor& t, int axis, PyObject* item) {
  const PyRef index = PyRef::checked(PyNumber_Index(item));
  int overflow = 0;
  const int64_t i = PyLong_AsLongLongAndOverflow(index.get(), &overflow);
  if (overflow != 0) {
    fail<IndexError>("index: must be in [", -t->shape[axis], ", ", t->shape[axis], ") on axis ", axis, ", got ",
                     describe(index.get()), " (the tensor has shape ", t->shape, ")");
  }
  return i;
}

// A bound of a slice that is a plain integer or None, which stands for `absent`; false where it is another, or none that fits.
bool plain_bound(PyObject* o, Py_ssize_t absent, Py_ssize_t& bound) noexcept {
  if (o == Py_None) {
    bound = absent;
    return true;
  }
  if (!PyLong_CheckExact(o)) return false;
  bound = PyLong_AsSsize_t(o);
  if (bound != -1 || PyErr_Occurred() == nullptr) return true;
  PyErr_Clear();
  return false;
}

// How many places of n a slice takes, and its first place and step. The common slices are read without CPython's help, which
// asks every bound for its __index__.
int64_t read_slice(PyObject* o, int64_t n, int64_t& first, int64_t& step) {
  const auto& slice = *reinterpret_cast<const PySliceObject*>(o);
  Py_ssize_t start = 0;
  Py_ssize_t stop = 0;
  if (slice.step == Py_None && plain_bound(slice.start, 0, start) && plain_bound(slice.stop, PY_SSIZE_T_MAX, stop)) {
    const auto place = [n](int64_t i) { return i < 0 ? std::max<int64_t>(i + n, 0) : std::min<int64_t>(i, n); };
    first = place(start);
    step = 1;
    return std::max<int64_t>(place(stop) - first, 0);
  }
  Py_ssize_t stride = 0;
  check_status(PySlice_Unpack(o, &start, &stop, &stride));
  const Py_ssize_t length = PySlice_AdjustIndices(static_cast<Py_ssize_t>(n), &start, &stop, stride);
  first = start;
  step = stride;
  return length;
}

void take_slice(const Tensor& t, Key& key, int axis, PyObject* slice) {
  int64_t first = 0;
  int64_t step = 1;
  const int64_t length = read_slice(slice, t->shape[axis], first, step);
  key.cut.length[axis] = length;
  key.cut.start[axis] = length == 0 ? 0 : first;
  key.cut.step[axis] = step;
}

void prepare(const Tensor& t, Key& key, int from) {
  const int rank = t->rank();
  key.cut.start.open(rank);
  key.cut.step.open(rank);
  key.cut.length.open(rank);
  for (int i = from; i < rank; ++i) {
    key.cut.start[i] = 0;
    key.cut.step[i] = 1;
    key.cut.length[i] = t->shape[i];
  }
}

bool is_array_like(PyObject* o) noexcept {
  return is_tensor(o) || PyList_Check(o) || is_numpy_array(o) || PyObject_CheckBuffer(o) != 0;
}

Tensor index_tensor(PyObject* o, int64_t position, Device device) {
  Tensor index;
  if (is_tensor(o)) {
    index = tensor_of(o);
  } else if (PyList_Check(o) && PyList_GET_SIZE(o) == 0) {
    index = make_tensor({0}, DType::Int64, device);
  } else {
    const GradMode off(false);
    index = placed(contiguous_of(tensor_from_any(o, {}, "index")), device);
  }
  if (index->dtype != DType::Bool && !is_integer(index->dtype)) {
    fail<IndexError>("index: must be integers, booleans, slices, None or Ellipsis, got ", describe(o), " at position ",
                     position);
  }
  return index;
}

[[noreturn]] void refuse_item(PyObject* item) {
  fail<IndexError>("index: must be integers, booleans, slices, None or Ellipsis, got ", describe(item));
}

bool is_integer_index(PyObject* item) noexcept {
  if (PyLong_CheckExact(item)) return true;
  return !PyBool_Check(item) && !is_tensor(item) && !is_numpy_array(item) && PyIndex_Check(item) != 0;
}

// Axes of the tensor that one item of the key takes.
int axes_taken(PyObject* item, const Tensor& array) {
  if (item == Py_None || item == Py_Ellipsis || PyBool_Check(item)) return 0;
  if (array && array->dtype == DType::Bool) return array->rank();
  return 1;
}

void read_items(const Tensor& t, PyObject* const* items, Py_ssize_t count, Key& key) {
  const int rank = t->rank();
  prepare(t, key, 0);
  std::vector<Tensor> arrays(static_cast<size_t>(count));
  int taken = 0;
  Py_ssize_t ellipsis = -1;
  for (Py_ssize_t k = 0; k < count; ++k) {
    PyObject* item = items[k];
    if (item == Py_Ellipsis) {
      if (ellipsis >= 0) fail<IndexError>("index: at most one Ellipsis must be in a key, got two");
      ellipsis = k;
    } else if (item != Py_None && !PySlice_Check(item) && !PyBool_Check(item) && !is_integer_index(item)) {
      if (!is_array_like(item)) refuse_item(item);
      arrays[static_cast<size_t>(k)] = index_tensor(item, k, t->device());
    }
    taken += axes_taken(item, arrays[static_cast<size_t>(k)]);
  }
  if (taken > rank) {
    fail<IndexError>("index: at most ", rank, " axes must be indexed, got ", taken, " (the tensor has shape ", t->shape,
                     ")");
  }
  int axis = 0;
  int result_axis = 0;
  for (Py_ssize_t k = 0; k < count; ++k) {
    PyObject* item = items[k];
    const Tensor& array = arrays[static_cast<size_t>(k)];
    if (item == Py_None) {
      key.cut.insert.push_back(result_axis++);
    } else if (PyBool_Check(item)) {  // a mask of rank 0: an axis of length one or zero
      key.cut.insert.push_back(result_axis);
      Advanced& a = key.advanced.emplace_back();
      const Tensor truth = make_tensor({1}, DType::Bool, kCpu);
      *static_cast<bool*>(truth->data()) = item == Py_True;
      a.index = placed(truth, t->device());
      a.axis = result_axis++;
      a.key_position = k;
    } else if (item == Py_Ellipsis) {
      axis += rank - taken;
      result_axis += rank - taken;
    } else if (PySlice_Check(item)) {
      take_slice(t, key, axis++, item);
      ++result_axis;
    } else if (array) {
      Advanced& a = key.advanced.emplace_back();
      a.index = array;
      a.axis = result_axis;
      a.key_position = k;
      const int n = axes_taken(item, array);
      if (array->dtype == DType::Bool) {
        for (int i = 0; i < n; ++i) {
          // The array API lets an axis of the mask be empty: nothing is chosen then.
          if (array->shape[i] != t->shape[axis + i] && array->shape[i] != 0) {
            fail<IndexError>("index: mask must have the length ", t->shape[axis + i], " of axis ", axis + i,
                             " or 0, got a mask of shape ", array->shape, " for shape ", t->shape);
          }
        }
        if (n == 0) key.cut.insert.push_back(result_axis);
      }
      axis += n;
      result_axis += array->dtype == DType::Bool && n == 0 ? 1 : n;
    } else {
      take_integer(t, key, axis, read_integer(t, axis, item));
      ++axis;
      key.integer_positions.push_back(k);
    }
  }
  key.result_axes = result_axis + rank - axis;
}

void read_key(const Tensor& t, PyObject* o, Key& key) {
  if (PyTuple_Check(o)) {
    read_items(t, PySequence_Fast_ITEMS(o), PyTuple_GET_SIZE(o), key);
  } else {
    read_items(t, &o, 1, key);
  }
}

// The common keys, a[3:7] and a[5], without looking at anything else.
bool read_simple(const Tensor& t, PyObject* o, Key& key) {
  if (t->rank() == 0) return false;
  if (PySlice_Check(o)) {
    prepare(t, key, 1);
    take_slice(t, key, 0, o);
    return true;
  }
  if (PyLong_CheckExact(o)) {
    prepare(t, key, 1);
    take_integer(t, key, 0, read_integer(t, 0, o));
    return true;
  }
  return false;
}

// ---- advanced indices ----

// The op's default attributes with `axes` set.
Attrs attrs_with_axes(const OpDef& op, const Dims& axes) {
  Attrs attrs(op.attrs);
  for (int i = 0; i < op.attrs->count; ++i) {
    const Field& field = op.attrs->fields[i];
    if (field.kind != FieldKind::Ints || std::string_view(field.name) != "axes") continue;
    *reinterpret_cast<Dims*>(static_cast<unsigned char*>(attrs.mutable_get()) + field.offset) = axes;
  }
  return attrs;
}

struct Gather {
  Tensor view;  // permuted so that the op's rule of placement is NumPy's
  SmallVector<Arg, 4> indices;
  SmallVector<Tensor, 4> owned;
  Dims axes;
};

// NumPy puts the axes that result where the indexed ones stood when all advanced items (integers count) are neighbours in
// the key, else in front.
bool goes_in_front(const Key& key) {
  std::vector<int64_t> positions = key.integer_positions;
  for (const Advanced& a : key.advanced) positions.push_back(a.key_position);
  std::sort(positions.begin(), positions.end());
  return positions.back() - positions.front() != static_cast<int64_t>(positions.size()) - 1;
}

void add_mask(Gather& g, const Tensor& mask, int axis) {
  static const OpDef& op = Registry::instance().get("nonzero");
  const GradMode off(false);
  // A mask of rank 0 stands on an axis of length one.
  const Tensor shaped = mask->rank() == 0 ? reshape(mask, {1}) : mask;
  const Tensor where = invoke(op, {shaped});  // (count, rank)
  for (int i = 0; i < shaped->rank(); ++i) {
    g.owned.push_back(select(where, 1, i));
    g.axes.push_back(axis + i);
  }
}

// Refuses index tensors that no common shape has, in words of the key; the op would name its operands.
void check_together(const SmallVector<Tensor, 4>& indices) {
  Shape longest;
  for (const Tensor& t : indices) {
    try {
      longest = broadcast_shapes(longest, t->shape, "index");
    } catch (const ValueError&) {
      std::string shapes;
      for (const Tensor& each : indices) shapes += cat(shapes.empty() ? "" : " and ", each->shape);
      fail<IndexError>("index: tensors, lists and masks of a key must broadcast, got shapes ", shapes);
    }
  }
}

// A mask on several axes of dense memory, as one on a single axis: that takes one number for an element, and no division.
bool add_flat_mask(Gather& g, const Key& key) {
  const Advanced& only = key.advanced[0];
  const Tensor& mask = only.index;
  if (key.advanced.size() != 1 || mask->dtype != DType::Bool || mask->rank() < 2 || !g.view->contiguous) return false;
  Shape shape;
  for (int i = 0; i < g.view->rank(); ++i) {
    const int place = i - only.axis;
    if (place >= 0 && place < mask->rank()) {
      if (mask->shape[place] != g.view->shape[i]) return false;
      if (place > 0) continue;
    }
    shape.push_back(place == 0 ? mask->numel : g.view->shape[i]);
  }
  g.view = reshape(g.view, shape);
  add_mask(g, reshape(mask, {mask->numel}), only.axis);
  return true;
}

Gather gather_of(const Tensor& view, const Key& key) {
  Gather g;
  g.view = view;
  const bool is_flat = add_flat_mask(g, key);
  for (const Advanced& a : key.advanced) {
    if (is_flat) break;
    if (a.index->dtype == DType::Bool) {
      add_mask(g, a.index, a.axis);
    } else {
      g.owned.push_back(a.index->dtype == DType::Int64 ? a.index : cast_to(a.index, DType::Int64));
      g.axes.push_back(a.axis);
    }
  }
  if (goes_in_front(key)) {
    Dims order = g.axes;
    for (int i = 0; i < view->rank(); ++i) {
      if (std::find(g.axes.begin(), g.axes.end(), i) == g.axes.end()) order.push_back(i);
    }
    g.view = permute_dims(view, order);
    for (int i = 0; i < g.axes.size(); ++i) g.axes[i] = i;
  }
  if (g.owned.size() > 1) check_together(g.owned);
  for (const Tensor& t : g.owned) g.indices.push_back(Arg(t));
  return g;
}

// ---- reading ----

Tensor read_advanced(const Tensor& view, const Key& key) {
  static const OpDef& op = Registry::instance().get("index");
  Gather g = gather_of(view, key);
  SmallVector<Arg, 4> args;
  args.push_back(Arg(g.view));
  for (const Arg& a : g.indices) args.push_back(a);
  const Attrs attrs = attrs_with_axes(op, g.axes);
  return funnel.call1(op, {args.data(), static_cast<size_t>(args.size())}, attrs.get());
}

// ---- writing ----

// The value as a tensor of the target's dtype; refuses one of a higher kind.
Tensor value_for(const Tensor& target, const Arg& value) {
  if (value.is_tensor() && value.tensor->dtype == target->dtype) return Tensor::share(value.tensor);
  const bool is_tensor_value = value.is_tensor();
  Tensor out = make_tensor(is_tensor_value ? value.tensor->shape : Shape{}, target->dtype, target->device());
  if (!is_tensor_value) {
    assign_value(out, value, "setitem");
    return out;
  }
  check_kind(*value.tensor, target->dtype, "setitem");
  return cast_to(Tensor::share(value.tensor), target->dtype);
}

void write_advanced(const Tensor& view, const Key& key, const Arg& value) {
  const Tensor source = value_for(view, value);
  const Advanced& only = key.advanced[0];
  if (key.advanced.size() == 1 && only.index->dtype == DType::Bool && source->numel == 1) {
    // One number under a mask needs no positions: this can be captured, and touches no memory but the target's.
    static const OpDef& where = Registry::instance().get("where");
    const Tensor& mask = only.index;
    if (mask->numel == 0) return;  // its shape need not be that of the axes
    Shape shape = mask->rank() == 0 ? Shape{1} : mask->shape;
    for (int i = only.axis + shape.size(); i < view->rank(); ++i) shape.push_back(1);
    const Tensor wide = reshape(mask, shape);
    invoke_into(where, {wide, reshape(source, {}), view}, view);
    return;
  }
  static const OpDef& put = Registry::instance().get("index_put");
  Gather g = gather_of(view, key);
  SmallVector<Arg, 4> args;
  args.push_back(Arg(g.view));
  args.push_back(Arg(source));
  for (const Arg& a : g.indices) args.push_back(a);
  const Attrs attrs = attrs_with_axes(put, g.axes);
  funnel.call_into(put, {args.data(), static_cast<size_t>(args.size())}, attrs.get(), g.view);
}

}  // namespace

PyObject* tensor_subscript(PyObject* self, PyObject* o) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    Key key;
    if (!read_simple(t, o, key)) read_key(t, o, key);
    Tensor view = index_view(t, key.cut);
    if (key.advanced.empty()) return wrap(std::move(view));
    return wrap(read_advanced(view, key));
  });
}

int tensor_assign_subscript(PyObject* self, PyObject* o, PyObject* value) noexcept {
  return guarded_int([&] {
    if (value == nullptr) fail<TypeError>("del: elements of a tensor cannot be deleted");
    const Tensor& t = tensor_of(self);
    Key key;
    if (!read_simple(t, o, key)) read_key(t, o, key);
    Arg source;
    Tensor converted;
    if (!is_numpy_array(value) && operand_from(value, source, "setitem")) {
    } else {
      const GradMode off(false);
      converted = placed(contiguous_of(tensor_from_any(value, {}, "setitem")), t->device());
      source = Arg(converted);
    }
    const Tensor view = index_view(t, key.cut);
    if (key.advanced.empty()) {
      assign_value(view, source, "setitem");
    } else {
      write_advanced(view, key, source);
    }
    return 0;
  });
}

PyObject* tensor_sequence_item(PyObject* self, Py_ssize_t i) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    if (t->rank() == 0) fail<IndexError>("index: tensor must have rank 1 or more, got shape ()");
    Key key;
    prepare(t, key, 1);
    take_integer(t, key, 0, i);
    return wrap(index_view(t, key.cut));
  });
}

}  // namespace gorgo

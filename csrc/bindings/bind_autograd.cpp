// The tape in Python: properties and methods of tensors, gorgo.grad, and the switches no_grad and enable_grad.
//
// Read next: autograd/tape.h.
#include <string>

#include "autograd/accumulate.h"
#include "autograd/tape.h"
#include "bindings/convert.h"
#include "bindings/function_docs.h"
#include "bindings/module.h"
#include "bindings/origin.h"
#include "bindings/static_type.h"
#include "bindings/tensor_type.h"
#include "graph/capture.h"

namespace gorgo {
namespace {

// A view behind a write takes its place on the tape only when somebody asks.
void bring_up_to_date(TensorImpl& t) {
  if (t.base && !t.detached) refresh_view(t);
}

// ---- the record as an object ----

struct PyRecord {
  PyObject_HEAD Ref<TapeNode> node;
};
PyTypeObject record_type{};

Node& node_of(PyObject* self) noexcept { return static_cast<Node&>(*reinterpret_cast<PyRecord*>(self)->node); }

PyObject* wrap_record(const Ref<TapeNode>& node) {
  PyObject* o = PyRef::checked(PyType_GenericAlloc(&record_type, 0)).detach();
  new (&reinterpret_cast<PyRecord*>(o)->node) Ref<TapeNode>(node);
  return o;
}

void record_dealloc(PyObject* self) noexcept {
  reinterpret_cast<PyRecord*>(self)->node.~Ref<TapeNode>();
  PyObject_Free(self);
}

PyObject* record_name(PyObject* self, void*) noexcept { return PyUnicode_FromString(node_of(self).op->name); }
PyObject* record_place(PyObject* self, void*) noexcept {
  return guarded([&]() -> PyObject* {
    if (node_of(self).origin.code == nullptr) return Py_NewRef(Py_None);
    return to_python(describe_origin(node_of(self).origin));
  });
}
PyObject* record_inputs(PyObject* self, void*) noexcept {
  return guarded([&] {
    const Node& node = node_of(self);
    PyRef tuple = PyRef::checked(PyTuple_New(node.edges.size()));
    for (int i = 0; i < node.edges.size(); ++i) {
      const Edge& edge = node.edges[i];
      PyObject* input = edge.node ? wrap_record(edge.node) : wrap(edge.leaf);
      if (input == nullptr) throw PythonError();
      PyTuple_SET_ITEM(tuple.get(), i, input);
    }
    return tuple.detach();
  });
}
PyObject* record_repr(PyObject* self) noexcept {
  return guarded([&] {
    const Node& node = node_of(self);
    const std::string place = node.origin.code != nullptr ? " at " + describe_origin(node.origin) : "";
    return to_python(cat("<record of ", node.op->name, place, ">"));
  });
}
PyObject* record_compare(PyObject* a, PyObject* b, int how) noexcept {
  if ((how != Py_EQ && how != Py_NE) || Py_TYPE(b) != &record_type) Py_RETURN_NOTIMPLEMENTED;
  return PyBool_FromLong((&node_of(a) == &node_of(b)) == (how == Py_EQ) ? 1 : 0);
}
Py_hash_t record_hash(PyObject* self) noexcept {
  return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(&node_of(self)) >> 4);
}

// ---- options ----

BackwardOptions options_from(const Arguments& given, int retain_graph, int create_graph) {
  BackwardOptions options;
  options.create_graph =
      given.given(create_graph) != nullptr && bool_from(given[create_graph], given.function(), "create_graph");
  options.retain_graph = given.given(retain_graph) != nullptr
                             ? bool_from(given[retain_graph], given.function(), "retain_graph")
                             : options.create_graph;
  return options;
}

PyObject* tensor_backward(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&]() -> PyObject* {
    if (nargs == 0 && kwnames == nullptr) {
      backward({&tensor_of(self), 1}, {}, {});
      Py_RETURN_NONE;
    }
    const Arguments given("backward", "gradient, retain_graph, create_graph", args, nargs, kwnames);
    Tensor gradient;
    if (given.given(0) != nullptr) gradient = tensor_from(given[0], "backward", "gradient");
    backward({&tensor_of(self), 1}, {&gradient, 1}, options_from(given, 1, 2));
    Py_RETURN_NONE;
  });
}

PyObject* grad(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&]() -> PyObject* {
    const Arguments given("grad", "outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused", args,
                          nargs, kwnames);
    const auto outputs = tensors_from(given.required(0), "grad", "outputs", false);
    const auto inputs = tensors_from(given.required(1), "grad", "inputs", false);
    SmallVector<Tensor, 2> grads;
    if (given.given(2) != nullptr) {
      grads = tensors_from(given[2], "grad", "grad_outputs", true);
      if (grads.size() != outputs.size()) {
        fail<ValueError>("grad: grad_outputs must be as many as outputs (", outputs.size(), "), got ", grads.size());
      }
    }
    const bool allow_unused = given.given(5) != nullptr && bool_from(given[5], "grad", "allow_unused");
    SmallVector<Tensor, 2> result = gradient(
        {outputs.data(), static_cast<size_t>(outputs.size())}, {grads.data(), static_cast<size_t>(grads.size())},
        {inputs.data(), static_cast<size_t>(inputs.size())}, options_from(given, 3, 4));
    PyRef tuple = PyRef::checked(PyTuple_New(result.size()));
    for (int i = 0; i < result.size(); ++i) {
      if (!result[i] && !allow_unused) {
        fail<StateError>("grad: every input must lead to the outputs, got inputs[", i, "] of shape ", inputs[i]->shape,
                         " that does not (allow_unused=True gives None for it)");
      }
      PyObject* item = wrap(std::move(result[i]));
      if (item == nullptr) throw PythonError();
      PyTuple_SET_ITEM(tuple.get(), i, item);
    }
    return tuple.detach();
  });
}

void require_grad(const Tensor& t, bool wanted, const char* op) {
  bring_up_to_date(*t);
  if (!t->is_leaf()) {
    if (wanted) return;
    fail<StateError>(op, ": requires_grad of a computed tensor cannot be turned off, got one made by ",
                     static_cast<const Node*>(t->grad_fn.get())->op->name, " (use detach)");
  }
  if (wanted && !is_inexact(t->dtype)) {
    fail<TypeError>(op, ": requires_grad must be for a floating-point or complex tensor, got dtype ", t->dtype);
  }
  if (t->requires_grad != wanted) bump_configuration_epoch();
  t->requires_grad = wanted;
}

PyObject* requires_grad_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const Arguments given("requires_grad_", "requires_grad", args, nargs, kwnames);
    require_grad(tensor_of(self), given[0] == nullptr || bool_from(given[0], "requires_grad_", "requires_grad"),
                 "requires_grad_");
    return Py_NewRef(self);
  });
}

PyObject* detach(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    const Tensor& t = tensor_of(self);
    if (!t->base) {  // another root over the same bytes: it may become a leaf of its own
      Tensor alias = make_alias(t);
      alias->detached = false;
      return wrap(std::move(alias));
    }
    Tensor view = make_view(*t, t->shape, t->strides, t->offset);
    view->detached = true;
    return wrap(std::move(view));
  });
}

PyObject* retain_grad_method(PyObject* self, PyObject*) noexcept {
  return guarded([&]() -> PyObject* {
    retain_grad(*tensor_of(self));
    Py_RETURN_NONE;
  });
}

// ---- switches ----

// A context manager for the thread's gradient mode; one object may be entered again and again.
struct PyGradMode {
  PyObject_HEAD bool enabled;
  bool applied;  // set_grad_enabled: the mode changed when this was made
  uint32_t depth;
  uint64_t previous;  // one bit for each entry
};
PyTypeObject grad_mode_type{};

PyObject* make_mode(bool enabled) {
  PyObject* o = PyRef::checked(PyType_GenericAlloc(&grad_mode_type, 0)).detach();
  auto& mode = *reinterpret_cast<PyGradMode*>(o);
  mode.enabled = enabled;
  mode.applied = false;
  mode.depth = 0;
  mode.previous = 0;
  return o;
}

void push_mode(PyGradMode& mode) {
  if (mode.depth == 64) fail<StateError>("grad mode: one object must be entered at most 64 times, got one more");
  mode.previous = mode.previous << 1 | (thread_modes.grad_enabled ? 1u : 0u);
  ++mode.depth;
  thread_modes.grad_enabled = mode.enabled;
}

PyObject* mode_enter(PyObject* self, PyObject*) noexcept {
  return guarded([&] {
    auto& mode = *reinterpret_cast<PyGradMode*>(self);
    if (mode.applied) {
      mode.applied = false;  // entered already, when it was made
    } else {
      push_mode(mode);
    }
    return Py_NewRef(self);
  });
}

PyObject* mode_exit(PyObject* self, PyObject* const*, Py_ssize_t) noexcept {
  auto& mode = *reinterpret_cast<PyGradMode*>(self);
  if (mode.depth > 0) {
    thread_modes.grad_enabled = (mode.previous & 1u) != 0;
    mode.previous >>= 1;
    --mode.depth;
  }
  Py_RETURN_NONE;
}

PyObject* decorate(bool enabled, PyObject* function) {
  const PyRef module = PyRef::checked(PyImport_ImportModule("gorgo.autograd"));
  return PyRef::checked(
             PyObject_CallMethod(module.get(), "_with_grad_mode", "OO", function, enabled ? Py_True : Py_False))
      .detach();
}

PyObject* mode_call(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return guarded([&] {
    auto& mode = *reinterpret_cast<PyGradMode*>(self);
    if (PyTuple_GET_SIZE(args) != 1 || (kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0) ||
        PyCallable_Check(PyTuple_GET_ITEM(args, 0)) == 0) {
      fail<TypeError>("grad mode: a decorator takes one function, got ", PyTuple_GET_SIZE(args), " arguments");
    }
    if (mode.applied) {  // a decorator changes the mode inside the function only
      thread_modes.grad_enabled = (mode.previous & 1u) != 0;
      mode.applied = false;
      mode.depth = 0;
    }
    return decorate(mode.enabled, PyTuple_GET_ITEM(args, 0));
  });
}

template <bool kEnabled>
PyObject* switch_mode(PyObject*, PyObject* const* args, Py_ssize_t nargs) noexcept {
  return guarded([&] {
    if (nargs == 0) return make_mode(kEnabled);
    const char* name = kEnabled ? "enable_grad" : "no_grad";
    if (nargs > 1 || PyCallable_Check(args[0]) == 0) {
      fail<TypeError>(name, ": argument must be a function to decorate or none, got ", describe(args[0]));
    }
    return decorate(kEnabled, args[0]);
  });
}

PyObject* set_grad_enabled(PyObject*, PyObject* enabled) noexcept {
  return guarded([&] {
    PyObject* o = make_mode(bool_from(enabled, "set_grad_enabled", "mode"));
    auto& mode = *reinterpret_cast<PyGradMode*>(o);
    push_mode(mode);
    mode.applied = true;
    return o;
  });
}

PyObject* is_grad_enabled(PyObject*, PyObject*) noexcept { return PyBool_FromLong(thread_modes.grad_enabled ? 1 : 0); }
PyObject* live_record_count(PyObject*, PyObject*) noexcept { return PyLong_FromLongLong(live_records()); }

}  // namespace

PyObject* get_requires_grad(PyObject* self, void*) noexcept {
  return guarded([&] {
    bring_up_to_date(*tensor_of(self));
    return PyBool_FromLong(tensor_of(self)->requires_grad ? 1 : 0);
  });
}

int set_requires_grad(PyObject* self, PyObject* value, void*) noexcept {
  return guarded_int([&] {
    if (value == nullptr) fail<TypeError>("requires_grad: must be True or False, it cannot be deleted");
    require_grad(tensor_of(self), bool_from(value, "requires_grad", "value"), "requires_grad");
    return 0;
  });
}

PyObject* get_grad(PyObject* self, void*) noexcept {
  return guarded([&] {
    TensorImpl& t = *tensor_of(self);
    if (t.grad_in_capture) {
      fail<StateError>("grad: gradients of a compiled step are local to it, got a read from outside (shape ", t.shape,
                       "; compile with keep_grads=True)");
    }
    return wrap(read_grad(t));
  });
}

int set_grad(PyObject* self, PyObject* value, void*) noexcept {
  return guarded_int([&] {
    TensorImpl& t = *tensor_of(self);
    t.grad_in_capture = false;
    if (value == nullptr || value == Py_None) {
      write_grad(t, {});
      return 0;
    }
    const Tensor& g = tensor_from(value, "grad", "value");
    if (g->shape != t.shape || g->dtype != t.dtype || g->device() != t.device()) {
      fail<ValueError>("grad: value must have the tensor's shape ", t.shape, " and dtype ", t.dtype, ", got ", g->shape,
                       " and ", g->dtype);
    }
    if (g.get() == &t) fail<ValueError>("grad: value must be another tensor, got the tensor itself");
    write_grad(t, g);
    return 0;
  });
}

PyObject* get_grad_fn(PyObject* self, void*) noexcept {
  return guarded([&] {
    TensorImpl& t = *tensor_of(self);
    bring_up_to_date(t);
    return t.grad_fn ? wrap_record(t.grad_fn) : Py_NewRef(Py_None);
  });
}

PyObject* get_is_parameter(PyObject* self, void*) noexcept {
  return PyBool_FromLong(tensor_of(self)->is_parameter ? 1 : 0);
}

int set_is_parameter(PyObject* self, PyObject* value, void*) noexcept {
  return guarded_int([&] {
    if (value == nullptr) fail<TypeError>("is_parameter: must be True or False, it cannot be deleted");
    tensor_of(self)->is_parameter = bool_from(value, "is_parameter", "value");
    return 0;
  });
}

PyObject* get_is_leaf(PyObject* self, void*) noexcept {
  return guarded([&] {
    bring_up_to_date(*tensor_of(self));
    return PyBool_FromLong(tensor_of(self)->is_leaf() ? 1 : 0);
  });
}

PyMethodDef tensor_autograd_methods[] = {
    {"backward", fast(tensor_backward), kFastCall,
     "backward($self, gradient=None, retain_graph=None, create_graph=False)\n--\n\n"
     "Sum the derivatives of this tensor into .grad of every leaf it was computed from."},
    {"requires_grad_", fast(requires_grad_method), kFastCall,
     "requires_grad_($self, requires_grad=True)\n--\n\nTurn the recording of gradients on or off, and return the "
     "tensor."},
    {"detach", detach, METH_NOARGS, "detach($self, /)\n--\n\nReturn the same elements without the gradient record."},
    {"retain_grad", retain_grad_method, METH_NOARGS,
     "retain_grad($self, /)\n--\n\nMake backward fill .grad of this tensor though it is no leaf."},
    {nullptr, nullptr, 0, nullptr},
};

void bind_autograd(PyObject* module) {
  static PyGetSetDef record_properties[] = {
      {"name", record_name, nullptr, "The op's name.", nullptr},
      {"place", record_place, nullptr, "The line of the program that called the op, or None.", nullptr},
      {"inputs", record_inputs, nullptr, "For each operand the record or leaf it came from, or None.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  static PyMethodDef mode_methods[] = {
      {"__enter__", mode_enter, METH_NOARGS, nullptr},
      {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(mode_exit)), METH_FASTCALL, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  const auto fast_only = [](auto f) { return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f)); };
  static PyMethodDef functions[] = {
      {"grad", fast(grad), kFastCall, docs::kGrad},
      {"no_grad", fast_only(switch_mode<false>), METH_FASTCALL, docs::kNoGrad},
      {"enable_grad", fast_only(switch_mode<true>), METH_FASTCALL, docs::kEnableGrad},
      {"set_grad_enabled", set_grad_enabled, METH_O, docs::kSetGradEnabled},
      {"is_grad_enabled", is_grad_enabled, METH_NOARGS, docs::kIsGradEnabled},
      {"_live_records", live_record_count, METH_NOARGS,
       "_live_records()\n--\n\nReturn how many tape records are alive."},
      {nullptr, nullptr, 0, nullptr},
  };

  PyTypeObject& r =
      begin_static_type(record_type, "gorgo.Record", sizeof(PyRecord), "What the tape keeps of one op call.");
  r.tp_dealloc = record_dealloc;
  r.tp_repr = record_repr;
  r.tp_getset = record_properties;
  r.tp_richcompare = record_compare;
  r.tp_hash = record_hash;
  r.tp_free = PyObject_Free;
  finish_static_type(r, module, nullptr);

  PyTypeObject& g = begin_static_type(grad_mode_type, "gorgo.grad_mode", sizeof(PyGradMode),
                                      "The thread's gradient mode for a with statement or a decorated function.");
  g.tp_methods = mode_methods;
  g.tp_call = mode_call;
  finish_static_type(g, module, nullptr);
  check_status(PyModule_AddFunctions(module, functions));
  install_python_hooks();
}

}  // namespace gorgo

// In order: the call (fast path, then the matching of arguments), the facts (doc, signature), the types, the module.
#include "bindings/op_function.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <string>
#include <utility>

#include "bindings/convert.h"
#include "bindings/dtype_type.h"
#include "bindings/module.h"
#include "bindings/static_type.h"
#include "bindings/tensor_type.h"
#include "device/cuda/device.h"
#include "opdef/registry.h"

namespace gorgo {
namespace {

PyTypeObject function_type{};
PyTypeObject method_type{};

PyOp& as_op(PyObject* o) noexcept { return *reinterpret_cast<PyOp*>(o); }

// Attributes of one call, in raw bytes on the stack when they fit.
class CallAttrs {
 public:
  explicit CallAttrs(const AttrSchema* schema) : schema_(schema) {
    if (schema_ == nullptr) return;
    if (schema_->size > sizeof(inline_)) heap_ = ::operator new(schema_->size);
    schema_->construct(get());
  }
  CallAttrs(const CallAttrs&) = delete;
  CallAttrs& operator=(const CallAttrs&) = delete;
  ~CallAttrs() {
    if (schema_ == nullptr) return;
    schema_->destroy(get());
    ::operator delete(heap_);
  }
  [[nodiscard]] void* get() noexcept {
    if (schema_ == nullptr) return nullptr;
    return heap_ != nullptr ? heap_ : static_cast<void*>(inline_);
  }

 private:
  const AttrSchema* schema_;
  void* heap_ = nullptr;
  alignas(16) unsigned char inline_[512];
};

// ---- results ----

// Types and methods point at their names, which therefore live as long as the process.
const char* kept(std::string name) {
  static auto& names = *new std::deque<std::string>();
  return names.emplace_back(std::move(name)).c_str();
}

// A named tuple type with the outputs' names.
PyTypeObject* result_type_of(PyOp& f) {
  if (f.result_type != nullptr) return f.result_type;
  std::vector<PyStructSequence_Field> fields;
  fields.reserve(f.op->outputs.size() + 1);
  for (const char* output : f.op->outputs) fields.push_back({output, nullptr});
  fields.push_back({nullptr, nullptr});
  PyStructSequence_Desc desc{kept(cat("gorgo.", f.op->name, "_result")), "The results by name.", fields.data(),
                             static_cast<int>(f.op->outputs.size())};
  f.result_type = PyStructSequence_NewType(&desc);
  if (f.result_type == nullptr) throw PythonError();
  return f.result_type;
}

PyObject* wrap_all(PyOp& f, Outputs outs) {
  if (outs.empty()) return Py_NewRef(Py_None);
  const bool named = static_cast<size_t>(outs.size()) == f.op->outputs.size();
  PyRef tuple = PyRef::checked(named ? PyStructSequence_New(result_type_of(f)) : PyTuple_New(outs.size()));
  for (int i = 0; i < outs.size(); ++i) {
    PyObject* item = wrap(std::move(outs[i]));
    if (item == nullptr) throw PythonError();
    if (named) {
      PyStructSequence_SetItem(tuple.get(), i, item);
    } else {
      PyTuple_SET_ITEM(tuple.get(), i, item);
    }
  }
  return tuple.detach();
}

PyObject* call_funnel(PyOp& f, std::span<const Arg> args, const void* attrs, PyObject* first) {
  const OpDef& op = *f.op;
  if (f.in_place) {
    funnel.call_into(op, args, attrs, tensor_of(first));
    return Py_NewRef(first);
  }
  if (op.outputs.size() == 1) return wrap(funnel.call1(op, args, attrs));
  Outputs outs = funnel.call(op, args, attrs);
  if (outs.size() == 1) return wrap(std::move(outs[0]));  // the attributes left the others out
  return wrap_all(f, std::move(outs));
}

// ---- arguments ----

// What a signature says: slots, then fields that go by position, then those that need their keyword.
struct Parameter {
  const char* name = nullptr;
  const Slot* slot = nullptr;
  const Field* field = nullptr;
  [[nodiscard]] bool keyword_only() const { return field != nullptr && field->keyword_only; }
  [[nodiscard]] bool required() const { return slot != nullptr ? slot->kind != SlotKind::Optional : field->required; }
};

SmallVector<Parameter, 12> parameters_of(const OpDef& op) {
  SmallVector<Parameter, 12> out;
  for (const Slot& slot : op.inputs) out.push_back({slot.name, &slot, nullptr});
  for (const bool keyword_only : {false, true}) {
    for (int i = 0; op.attrs != nullptr && i < op.attrs->count; ++i) {
      const Field& field = op.attrs->fields[i];
      if (field.keyword_only == keyword_only) out.push_back({field.name, nullptr, &field});
    }
  }
  return out;
}

std::string default_text(const OpDef& op, const Field& field) {
  const Attrs defaults(op.attrs);
  const PyRef value = PyRef::checked(get_field(field, defaults.get()));
  const PyRef repr = PyRef::checked(is_dtype(value.get()) ? PyObject_Str(value.get()) : PyObject_Repr(value.get()));
  const char* text = PyUnicode_AsUTF8(repr.get());
  if (text == nullptr) throw PythonError();
  return cat(field.name, '=', text);
}

std::string signature_text(const OpDef& op) {
  std::string text = "(";
  bool starred = false;
  for (const Parameter& p : parameters_of(op)) {
    if (text.size() > 1) text += ", ";
    if (p.keyword_only() && !starred) {
      text += "*, ";
      starred = true;
    }
    if (p.required()) {
      text += p.name;
    } else {
      text += p.slot != nullptr ? cat(p.name, "=None") : default_text(op, *p.field);
    }
  }
  return text + ")";
}

[[noreturn]] void refuse_keyword(const PyOp& f, std::string_view keyword) {
  const auto parameters = parameters_of(*f.op);
  const char* ours = our_word_for(keyword);
  for (const Parameter& p : parameters) {
    if (ours != nullptr && std::strcmp(p.name, ours) == 0) {
      fail<TypeError>(f.name, ": keyword must be one of ours, got ", keyword, "; here it is called ", ours);
    }
  }
  fail<TypeError>(f.name, ": arguments are ", signature_text(*f.op), ", got the keyword ", keyword);
}

void take_operand(const PyOp& f, const Slot& slot, PyObject* value, SmallVector<Arg, 8>& operands) {
  if (slot.kind == SlotKind::List) {
    if (is_tensor(value) || !(PyTuple_Check(value) || PyList_Check(value))) {
      fail<TypeError>(f.name, ": ", slot.name, " must be a list or tuple of tensors, got ", describe(value));
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); ++i) {
      operands.push_back(Arg(tensor_from(PySequence_Fast_GET_ITEM(value, i), f.name, slot.name)));
    }
    return;
  }
  Arg& arg = operands.emplace_back();
  if (is_tensor(value)) {
    arg = Arg(tensor_of(value));
  } else if (slot.kind == SlotKind::Optional && value == Py_None) {
    arg = Arg();
  } else if (!slot.takes_scalar) {
    arg = Arg(tensor_from(value, f.name, slot.name));
  } else if (!operand_from(value, arg, f.name)) {
    fail<TypeError>(f.name, ": ", slot.name, " must be a tensor or a number, got ", describe(value));
  }
}

// Several integers where one field of integers is expected: x.reshape(2, 3).
bool gathers_integers(const SmallVector<Parameter, 12>& parameters, int positional, PyObject* const* args,
                      Py_ssize_t nargs, int& at) {
  at = -1;
  for (int i = 0; i < positional; ++i) {
    if (parameters[i].field == nullptr) continue;
    if (at >= 0) return false;  // a second field by position: the integers could be meant for it
    at = i;
  }
  if (at < 0 || !parameters[at].required() || parameters[at].field->kind != FieldKind::Ints) return false;
  if (nargs <= at) return false;
  for (Py_ssize_t i = at; i < nargs; ++i) {
    if (PyIndex_Check(args[i]) == 0 || is_tensor(args[i])) return false;
  }
  return true;
}

[[gnu::noinline]] PyObject* call_matching(PyOp& f, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const OpDef& op = *f.op;
  const auto parameters = parameters_of(op);
  const int count = parameters.size();
  int positional = 0;
  while (positional < count && !parameters[positional].keyword_only()) ++positional;

  SmallVector<PyObject*, 12> values;
  values.resize(count);
  PyRef gathered;
  int at = 0;
  const bool listed = count > 0 && parameters[0].slot != nullptr && parameters[0].slot->kind == SlotKind::List;
  if (listed && nargs > 0 && is_tensor(args[0])) {  // op(a, b, c, key=...) for op([a, b, c], key=...)
    gathered = PyRef::checked(PyTuple_New(nargs));
    for (Py_ssize_t i = 0; i < nargs; ++i) PyTuple_SET_ITEM(gathered.get(), i, Py_NewRef(args[i]));
    values[0] = gathered.get();
  } else if (nargs > positional && gathers_integers(parameters, positional, args, nargs, at)) {
    gathered = PyRef::checked(PyTuple_New(nargs - at));
    for (Py_ssize_t i = at; i < nargs; ++i) PyTuple_SET_ITEM(gathered.get(), i - at, Py_NewRef(args[i]));
    std::copy(args, args + at, values.begin());
    values[at] = gathered.get();
  } else if (nargs > positional) {
    fail<TypeError>(f.name, ": arguments are ", signature_text(op), ", got ", nargs, " by position");
  } else {
    std::copy(args, args + nargs, values.begin());
  }
  const Py_ssize_t keywords = kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject* keyword = PyTuple_GET_ITEM(kwnames, k);
    int i = 0;
    while (i < count && PyUnicode_CompareWithASCIIString(keyword, parameters[i].name) != 0) ++i;
    if (i == count) {
      const char* text = PyUnicode_AsUTF8(keyword);
      refuse_keyword(f, text != nullptr ? text : "?");
    }
    if (values[i] != nullptr) fail<TypeError>(f.name, ": ", parameters[i].name, " must be given once, got it twice");
    values[i] = args[nargs + k];
  }

  CallAttrs attrs(op.attrs);
  SmallVector<Arg, 8> operands;
  for (int i = 0; i < count; ++i) {
    const Parameter& p = parameters[i];
    if (values[i] == nullptr) {
      if (p.required()) {
        fail<TypeError>(f.name, ": arguments are ", signature_text(op), ", got none for ", p.name);
      }
      if (p.slot != nullptr) operands.emplace_back();
    } else if (p.slot != nullptr) {
      take_operand(f, *p.slot, values[i], operands);
    } else {
      set_field(*p.field, attrs.get(), values[i], f.name);
    }
  }
  // With numbers alone the first one becomes a tensor, so that there is a dtype and a device to compute in.
  Tensor promoted;
  const bool any_tensor = std::any_of(operands.begin(), operands.end(), [](const Arg& a) { return a.is_tensor(); });
  if (!any_tensor && !operands.empty() && operands[0].is_scalar()) {
    const Scalar s = operands[0].scalar;
    promoted = make_tensor({}, default_dtype_of(s), Device{});
    store_scalar(s, promoted->dtype, f.name, promoted->data());
    operands[0] = Arg(promoted);
  }
  if (f.in_place && (values[0] == nullptr || !is_tensor(values[0]))) {
    fail<TypeError>(f.name, ": target must be a tensor, got ", describe(values[0]));
  }
  return call_funnel(f, {operands.data(), static_cast<size_t>(operands.size())}, attrs.get(), values[0]);
}

PyObject* call(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) noexcept {
  return guarded([&] {
    PyOp& f = as_op(self);
    const Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    constexpr Py_ssize_t kFew = 3;
    if (nargs == f.required_slots && nargs <= kFew && kwnames == nullptr &&
        (f.default_attrs != nullptr || f.op->attrs == nullptr)) {
      Arg operands[kFew];
      Py_ssize_t i = 0;
      while (i < nargs && is_tensor(args[i])) {
        operands[i] = Arg(tensor_of(args[i]));
        ++i;
      }
      if (i == nargs && static_cast<size_t>(nargs) == f.op->inputs.size()) {
        return call_funnel(f, {operands, static_cast<size_t>(nargs)}, f.default_attrs, args[0]);
      }
    }
    return call_matching(f, args, nargs, kwnames);
  });
}

// ---- facts ----

// A call that runs, for the many elementwise ops whose facts give none of their own.
std::string example_text(const PyOp& f) {
  const OpDef& op = *f.op;
  static constexpr std::pair<DType, const char*> kKinds[] = {
      {DType::Float32, "gg.ones((2,))"},
      {DType::Int64, "gg.ones((2,), dtype=gg.int64)"},
      {DType::Bool, "gg.ones((2,), dtype=gg.bool)"},
  };
  const auto& kernels = op.kernels[static_cast<int>(DeviceType::Cpu)];
  const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                  [&](const auto& k) { return kernels[static_cast<int>(k.first)] != nullptr; });
  if (kind == std::end(kKinds)) return "";
  const bool method = f.in_place;
  std::string text =
      cat("\n\nExample:\n    >>> import gorgo as gg\n    >>> ", method ? kind->second : "gg", '.', f.name, '(');
  const char* separator = "";
  for (size_t i = method ? 1 : 0; i < op.inputs.size(); ++i) {
    text += cat(separator, kind->second);
    separator = ", ";
  }
  return text + ").shape\n    (2,)";
}

std::string doc_text(const PyOp& f) {
  const OpDef& op = *f.op;
  std::string text = op.doc != nullptr ? op.doc : "";
  if (f.in_place) text += "\n\nThe result is written into the first operand, which is returned.";
  if (op.details != nullptr && op.details[0] != '\0') {
    text += cat("\n\n", op.details);
    if (op.flags.elementwise && (!f.in_place || op.flags.inplace_ok) && text.find("\nExample") == std::string::npos)
      text += example_text(f);
    return text;
  }
  text += "\n\nArgs:";
  for (const Parameter& p : parameters_of(op)) {
    text += cat("\n    ", p.name);
    if (p.slot != nullptr) {
      text += cat(" ", p.slot->shape_doc[0] != '\0' ? p.slot->shape_doc : "(...)");
      if (p.slot->kind == SlotKind::List) text += ", a list";
      if (p.slot->kind == SlotKind::Optional) text += ", or None";
      if (p.slot->takes_scalar) text += ", or a number";
    } else if (p.field->words != nullptr) {
      text += ": one of";
      for (int i = 0; p.field->words[i] != nullptr; ++i) text += cat(i > 0 ? ", '" : " '", p.field->words[i], "'");
    } else {
      static constexpr const char* kKinds[] = {
          "bool",  "int",           "float",  "int or tuple of ints", "int or None", "float or None", "ints or None",
          "dtype", "dtype or None", "number", "float or HostCell",    "str"};
      text += cat(": ", kKinds[static_cast<int>(p.field->kind)]);
    }
  }
  text += "\n\nReturns:\n    ";
  for (size_t i = 0; i < op.outputs.size(); ++i) text += cat(i > 0 ? ", " : "", op.outputs[i]);
  return text;
}

PyObject* op_name(PyObject* self, void*) noexcept { return PyUnicode_FromString(as_op(self).name); }
PyObject* get_doc(PyObject* self, void*) noexcept {
  return guarded([&] { return to_python(doc_text(as_op(self))); });
}
PyObject* get_text_signature(PyObject* self, void*) noexcept {
  return guarded([&] { return to_python(signature_text(*as_op(self).op)); });
}
PyObject* get_module(PyObject*, void*) noexcept { return PyUnicode_FromString("gorgo"); }
PyObject* get_qualname(PyObject* self, void*) noexcept {
  const bool method = Py_TYPE(self) == &method_type;
  return PyUnicode_FromFormat(method ? "Tensor.%s" : "%s", as_op(self).name);
}

// For inspect.signature, which does not read the text of unknown callables.
PyObject* get_signature(PyObject* self, void*) noexcept {
  return guarded([&] {
    const OpDef& op = *as_op(self).op;
    namespace py = pybind11;
    const py::module_ inspect = py::module_::import("inspect");
    const py::object parameter = inspect.attr("Parameter");
    const Attrs defaults(op.attrs);
    py::list parameters;
    for (const Parameter& p : parameters_of(op)) {
      py::dict extra;
      if (!p.required()) {
        extra["default"] =
            p.slot != nullptr
                ? py::none()
                : py::reinterpret_steal<py::object>(PyRef::checked(get_field(*p.field, defaults.get())).detach());
      }
      const char* kind = p.keyword_only() ? "KEYWORD_ONLY" : "POSITIONAL_OR_KEYWORD";
      parameters.append(parameter(p.name, parameter.attr(kind), **extra));
    }
    return inspect.attr("Signature")(parameters).release().ptr();
  });
}

// What generators of stubs and tests read: (slots, fields, outputs, flags).
PyObject* get_facts(PyObject* self, void*) noexcept {
  return guarded([&] {
    namespace py = pybind11;
    const PyOp& f = as_op(self);
    const OpDef& op = *f.op;
    static constexpr const char* kSlotKinds[] = {"single", "optional", "list"};
    static constexpr const char* kFieldKinds[] = {"bool",  "int",   "float",  "ints",   "int?", "float?",
                                                  "ints?", "dtype", "dtype?", "scalar", "host", "choice"};
    const Attrs defaults(op.attrs);
    py::list slots;
    for (const Slot& s : op.inputs) {
      py::dict d;
      d["name"] = s.name;
      d["kind"] = kSlotKinds[static_cast<int>(s.kind)];
      d["takes_scalar"] = s.takes_scalar;
      d["mutates"] = s.mutates;
      slots.append(d);
    }
    py::list fields;
    for (const Parameter& p : parameters_of(op)) {
      if (p.field == nullptr) continue;
      py::dict d;
      d["name"] = p.name;
      d["kind"] = kFieldKinds[static_cast<int>(p.field->kind)];
      d["required"] = p.field->required;
      d["keyword_only"] = p.field->keyword_only;
      d["repeat"] = p.field->repeat;
      d["default"] = py::reinterpret_steal<py::object>(PyRef::checked(get_field(*p.field, defaults.get())).detach());
      py::list words;
      for (int i = 0; p.field->words != nullptr && p.field->words[i] != nullptr; ++i) words.append(p.field->words[i]);
      d["words"] = words;
      fields.append(d);
    }
    py::list outputs;
    for (const char* o : op.outputs) outputs.append(o);
    py::dict facts;
    facts["op"] = op.name;
    facts["doc"] = op.doc != nullptr ? op.doc : "";
    facts["slots"] = slots;
    facts["fields"] = fields;
    facts["outputs"] = outputs;
    facts["in_place"] = f.in_place;
    facts["internal"] = op.flags.internal;
    facts["view"] = op.flags.view;
    facts["elementwise"] = op.flags.elementwise;
    facts["inplace_ok"] = op.flags.inplace_ok;
    facts["random"] = op.flags.random;
    facts["data_dependent"] = op.flags.data_dependent;
    facts["transfer"] = op.flags.transfer;
    facts["differentiable"] = op.vjp != nullptr;
    facts["not_differentiable"] =
        op.not_differentiable != nullptr ? py::object(py::str(op.not_differentiable)) : py::none();
    facts["onnx"] = op.onnx.type != nullptr ? py::object(py::str(op.onnx.type)) : py::none();
    facts["onnx_since"] = op.onnx.since_opset;
    facts["onnx_reason"] = op.onnx.reason != nullptr ? py::object(py::str(op.onnx.reason)) : py::none();
    py::list dtypes;
    for (int i = 0; i < kDTypeCount; ++i) {
      if (op.kernels[static_cast<int>(DeviceType::Cpu)][i] != nullptr) dtypes.append(dtype_name(static_cast<DType>(i)));
    }
    facts["dtypes"] = dtypes;
    static_cast<void>(cuda_device_count());  // so that its kernels are in the tables, if there are any
    py::list cuda_dtypes;
    for (int i = 0; i < kDTypeCount; ++i) {
      if (op.kernels[static_cast<int>(DeviceType::Cuda)][i] != nullptr) {
        cuda_dtypes.append(dtype_name(static_cast<DType>(i)));
      }
    }
    facts["cuda_dtypes"] = cuda_dtypes;
    facts["saves_inputs"] = op.saves_inputs;
    facts["saves_outputs"] = op.saves_outputs;
    return facts.release().ptr();
  });
}

PyObject* repr(PyObject* self) noexcept {
  return PyUnicode_FromFormat(Py_TYPE(self) == &method_type ? "<op gorgo.Tensor.%s>" : "<op gorgo.%s>",
                              as_op(self).name);
}

// Pickled by name, as functions are.
PyObject* op_reduce(PyObject* self, PyObject*) noexcept {
  if (Py_TYPE(self) == &function_type) return PyUnicode_FromString(as_op(self).name);
  return guarded([&] {
    const PyRef getattr = PyRef::checked(
        PyObject_GetAttrString(PyEval_GetBuiltins() != nullptr ? PyImport_AddModule("builtins") : Py_None, "getattr"));
    return Py_BuildValue("O(Os)", getattr.get(), reinterpret_cast<PyObject*>(&tensor_type), as_op(self).name);
  });
}

// A function stored in a class stays a function; a method binds.
PyObject* bind_method(PyObject* self, PyObject* object, PyObject*) noexcept {
  if (object == nullptr || object == Py_None) return Py_NewRef(self);
  return PyMethod_New(self, object);
}

void ready(PyTypeObject& type, const char* name, PyObject* module) {
  static PyGetSetDef properties[] = {
      {"__name__", op_name, nullptr, nullptr, nullptr},
      {"__qualname__", get_qualname, nullptr, nullptr, nullptr},
      {"__doc__", get_doc, nullptr, nullptr, nullptr},
      {"__module__", get_module, nullptr, nullptr, nullptr},
      {"__text_signature__", get_text_signature, nullptr, nullptr, nullptr},
      {"__signature__", get_signature, nullptr, nullptr, nullptr},
      {"__op_facts__", get_facts, nullptr, nullptr, nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  static PyMethodDef own[] = {
      {"__reduce__", op_reduce, METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  PyTypeObject& t = begin_static_type(type, name, sizeof(PyOp), nullptr);
  t.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
  t.tp_vectorcall_offset = offsetof(PyOp, vectorcall);
  t.tp_call = PyVectorcall_Call;
  t.tp_getset = properties;
  t.tp_methods = own;
  t.tp_repr = repr;
  if (&type == &method_type) {
    t.tp_flags |= Py_TPFLAGS_METHOD_DESCRIPTOR;
    t.tp_descr_get = bind_method;
  }
  finish_static_type(t, module, nullptr);
}

bool any_required(const AttrSchema* schema) {
  return schema != nullptr &&
         std::any_of(schema->fields, schema->fields + schema->count, [](const Field& f) { return f.required; });
}

PyObject* make(PyTypeObject& type, const OpDef& op, const char* name, bool in_place) {
  PyObject* o = PyRef::checked(PyType_GenericAlloc(&type, 0)).detach();
  PyOp& f = as_op(o);
  f.vectorcall = call;
  f.op = &op;
  f.name = name;
  f.in_place = in_place;
  f.result_type = nullptr;
  f.required_slots = 0;
  bool listed = false;
  for (const Slot& s : op.inputs) {
    if (s.kind == SlotKind::Single) ++f.required_slots;
    listed = listed || s.kind == SlotKind::List;
  }
  if (listed) f.required_slots = -1;  // never the fast path
  f.default_attrs = nullptr;
  if (op.attrs != nullptr && any_required(op.attrs)) f.required_slots = -1;
  if (op.attrs != nullptr && !any_required(op.attrs)) {
    static auto& defaults = *new std::deque<Attrs>();  // for as long as the process, like the functions
    f.default_attrs = defaults.emplace_back(op.attrs).get();
  }
  return o;
}

// Short forms that people type; each is the op of the second name.
struct Alias {
  const char* name;
  const char* op;
};
constexpr Alias kAliases[] = {
    {"cat", "concat"},
    {"permute", "permute_dims"},
    {"unsqueeze", "expand_dims"},
    {"expand", "broadcast_to"},
    {"absolute", "abs"},
    {"mul", "multiply"},
    {"sub", "subtract"},
    {"div", "divide"},
    {"neg", "negative"},
    {"cumsum", "cumulative_sum"},
    {"cumprod", "cumulative_prod"},
    {"arccos", "acos"},
    {"arccosh", "acosh"},
    {"arcsin", "asin"},
    {"arcsinh", "asinh"},
    {"arctan", "atan"},
    {"arctan2", "atan2"},
    {"arctanh", "atanh"},
    {"bitwise_not", "bitwise_invert"},
    {"clamp", "clip"},
    {"eq", "equal"},
    {"expit", "sigmoid"},
    {"fix", "trunc"},
    {"ge", "greater_equal"},
    {"gt", "greater"},
    {"le", "less_equal"},
    {"lt", "less"},
    {"ne", "not_equal"},
    {"positive", "copy"},
    {"sgn", "sign"},
    {"true_divide", "divide"},
};

}  // namespace

void add_op_functions(PyObject* module, PyTypeObject& type) {
  const auto m = pybind11::reinterpret_borrow<pybind11::module_>(module);
  ready(function_type, "gorgo.op", module);
  ready(method_type, "gorgo.op_method", module);
  PyObject* dict = type.tp_dict;
  const auto add_method = [&](const OpDef& op, const char* name, bool in_place) {
    if (PyDict_GetItemString(dict, name) != nullptr) return;  // written by hand, with a wider signature
    const PyRef method(make(method_type, op, name, in_place));
    check_status(PyDict_SetItemString(dict, name, method.get()));
  };
  pybind11::list names;
  pybind11::dict every;  // the whole registry by name, backward companions too, for tests and tools
  const auto add = [&](const OpDef& op, const char* name) {
    if (!pybind11::hasattr(m, name)) {
      const PyRef function(make(function_type, op, name, false));
      m.attr(name) = pybind11::handle(function.get());
      names.append(name);
    }
    if (op.inputs.empty() || op.inputs[0].kind == SlotKind::List) return;
    add_method(op, name, false);
    if (op.flags.elementwise && op.outputs.size() == 1) {
      add_method(op, kept(cat(name, "_")), true);
    }
  };
  const Registry& registry = Registry::instance();
  for (const OpDef& op : registry.ops()) {
    if (!op.flags.internal) add(op, op.name);
    const PyRef function(make(function_type, op, op.name, false));
    every[op.name] = pybind11::handle(function.get());
  }
  for (const Alias& alias : kAliases) {
    const OpDef* op = registry.find(alias.op);
    if (op != nullptr && registry.find(alias.name) == nullptr) add(*op, alias.name);
  }
  m.attr("_op_names") = names;
  m.attr("_registry") = every;
  PyType_Modified(&type);
}

}  // namespace gorgo

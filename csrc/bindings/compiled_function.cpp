#include "bindings/compiled_function.h"

#include <structmember.h>

#include <memory>
#include <string>
#include <vector>

#include "autograd/accumulate.h"
#include "autograd/mode.h"
#include "bindings/convert.h"
#include "bindings/function_docs.h"
#include "bindings/origin.h"
#include "bindings/static_type.h"
#include "bindings/tensor_type.h"
#include "core/invariance.h"
#include "device/backend.h"
#include "dispatch/call.h"
#include "graph/capture.h"
#include "graph/executor.h"
#include "opdef/core_ops.h"

namespace gorgo {
namespace {

// Most programs that one function may have; more of them means that a constant changes with every call.
constexpr size_t kMostPrograms = 64;

// ---- arguments and results as leaves ----

enum class Tag : uint8_t { Tensor, Constant, Tuple, List, Dict };

// A nest of tuples, lists and dicts, taken apart: what it is built like, and its leaves in order (borrowed).
struct Flat {
  SmallVector<uint32_t, 16> structure;  // tag, with the length of containers in the upper bits
  SmallVector<PyObject*, 16> leaves;

  void add(PyObject* o) {
    if (is_tensor(o)) {
      put(Tag::Tensor, 0);
      leaves.push_back(o);
    } else if (PyTuple_CheckExact(o)) {
      put(Tag::Tuple, PyTuple_GET_SIZE(o));
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(o); ++i) add(PyTuple_GET_ITEM(o, i));
    } else if (PyList_CheckExact(o)) {
      put(Tag::List, PyList_GET_SIZE(o));
      for (Py_ssize_t i = 0; i < PyList_GET_SIZE(o); ++i) add(PyList_GET_ITEM(o, i));
    } else if (PyDict_CheckExact(o)) {
      put(Tag::Dict, PyDict_GET_SIZE(o));
      PyObject* key = nullptr;
      PyObject* value = nullptr;
      Py_ssize_t at = 0;
      while (PyDict_Next(o, &at, &key, &value) != 0) {
        leaves.push_back(key);
        put(Tag::Constant, 0);
        add(value);
      }
    } else {
      put(Tag::Constant, 0);
      leaves.push_back(o);
    }
  }

 private:
  void put(Tag tag, Py_ssize_t length) {
    structure.push_back(static_cast<uint32_t>(tag) | (static_cast<uint32_t>(length) << 3));
  }
};

// Builds the nest again from its structure and new leaves (borrowed).
class Rebuild {
 public:
  Rebuild(const SmallVector<uint32_t, 16>& structure, const std::vector<PyObject*>& leaves)
      : structure_(structure), leaves_(leaves) {}

  PyRef next() {
    const uint32_t word = structure_[at_++];
    const auto length = static_cast<Py_ssize_t>(word >> 3);
    switch (static_cast<Tag>(word & 7u)) {
      case Tag::Tensor:
      case Tag::Constant:
        return PyRef::borrowed(leaves_[leaf_++]);
      case Tag::Tuple: {
        PyRef out = PyRef::checked(PyTuple_New(length));
        for (Py_ssize_t i = 0; i < length; ++i) PyTuple_SET_ITEM(out.get(), i, next().detach());
        return out;
      }
      case Tag::List: {
        PyRef out = PyRef::checked(PyList_New(length));
        for (Py_ssize_t i = 0; i < length; ++i) PyList_SET_ITEM(out.get(), i, next().detach());
        return out;
      }
      case Tag::Dict:
        break;
    }
    PyRef out = PyRef::checked(PyDict_New());
    for (Py_ssize_t i = 0; i < length; ++i) {
      const PyRef key = next();
      const PyRef value = next();
      check_status(PyDict_SetItem(out.get(), key.get(), value.get()));
    }
    return out;
  }

 private:
  const SmallVector<uint32_t, 16>& structure_;
  const std::vector<PyObject*>& leaves_;
  int at_ = 0;
  size_t leaf_ = 0;
};

// ---- guards ----

struct LeafGuard {
  PyRef constant;  // null for a tensor
  DType dtype = DType::Float32;
  Device device;
  bool requires_grad = false;
  int32_t same_as = -1;  // the earlier leaf that is this very tensor
  Shape shape;
  Strides strides;
};

bool same_constant(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyFloat_CheckExact(a)) {
    return std::bit_cast<uint64_t>(PyFloat_AS_DOUBLE(a)) == std::bit_cast<uint64_t>(PyFloat_AS_DOUBLE(b));
  }
  if (!PyLong_Check(a) && !PyUnicode_CheckExact(a) && !PyBytes_CheckExact(a) && !PyComplex_CheckExact(a)) return false;
  const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  check_status(equal);
  return equal == 1;
}

// An attribute of a Python object that a recording depended on.
struct AttributeGuard {
  PyRef reference;  // weak reference to the object
  PyRef name;
  PyRef value;

  [[nodiscard]] bool holds() const {
    const PyRef object = PyRef::checked(PyObject_CallNoArgs(reference.get()));
    if (object.get() == Py_None) return true;  // gone: nothing can reach it through the function any more
    const PyRef now = PyRef::checked(PyObject_GetAttr(object.get(), name.get()));
    const int equal = PyObject_RichCompareBool(now.get(), value.get(), Py_EQ);
    check_status(equal);
    return equal == 1;
  }
};

// What the recorded Python code says of itself while it runs.
struct Recording {
  Recorder recorder;
  std::vector<AttributeGuard> attribute_guards;
  std::vector<PyRef> host_effects;
};
thread_local Recording* current_recording = nullptr;

struct CompiledProgram {
  SmallVector<uint32_t, 16> structure;
  std::vector<LeafGuard> leaves;
  bool grad_enabled = true;
  bool batch_invariant = false;
  uint64_t epoch = 0;
  std::vector<AttributeGuard> attribute_guards;
  std::vector<std::pair<Tensor, bool>> captured_requires_grad;
  std::vector<std::pair<Tensor, Tensor>> kept_grads;  // leaf, its gradient
  std::vector<Tensor> local_grads;                    // leaves whose gradient is local
  std::vector<PyRef> host_effects;
  std::vector<int32_t> inputs;  // which leaves are the program's inputs
  // Leaves that must lie where they lay, since the code reached them otherwise too; where no argument may lie (in order).
  std::vector<std::pair<int32_t, Tensor>> same_memory;
  std::vector<const Storage*> captured_memory;
  SmallVector<uint32_t, 16> result_structure;
  std::vector<PyRef> result_constants;  // per result leaf; null for a tensor
  std::unique_ptr<Program> program;
};

std::string describe_leaf(const LeafGuard& leaf) {
  if (leaf.constant) return describe(leaf.constant.get());
  return cat("tensor ", leaf.dtype, ' ', leaf.shape, leaf.requires_grad ? " requiring grad" : "");
}

LeafGuard guard_for(PyObject* o, const SmallVector<PyObject*, 16>& leaves, int index) {
  LeafGuard guard;
  if (!is_tensor(o)) {
    guard.constant = PyRef::borrowed(o);
    return guard;
  }
  const TensorImpl& t = *tensor_of(o);
  guard.dtype = t.dtype;
  guard.device = t.device();
  guard.requires_grad = t.requires_grad;
  guard.shape = t.shape;
  guard.strides = t.strides;
  for (int i = 0; i < index && guard.same_as < 0; ++i) {
    if (leaves[i] == o) guard.same_as = i;
  }
  return guard;
}

// Do two leaves share memory without being one tensor? Only then can a write to one be seen through the other.
bool overlaps_another(const SmallVector<PyObject*, 16>& leaves, int index) {
  const Storage* storage = tensor_of(leaves[index])->storage;
  for (int i = 0; i < index; ++i) {
    if (leaves[i] != leaves[index] && is_tensor(leaves[i]) && tensor_of(leaves[i])->storage == storage) return true;
  }
  return false;
}

// Empty when the leaf fits, else why not.
bool leaf_fits(const LeafGuard& guard, const SmallVector<PyObject*, 16>& leaves, int index) {
  PyObject* o = leaves[index];
  if (!is_tensor(o)) return guard.constant && same_constant(guard.constant.get(), o);
  if (guard.constant) return false;
  const TensorImpl& t = *tensor_of(o);
  if (t.dtype != guard.dtype || t.shape != guard.shape || t.strides != guard.strides || t.device() != guard.device ||
      t.requires_grad != guard.requires_grad) {
    return false;
  }
  if (guard.same_as >= 0) return leaves[guard.same_as] == o;
  for (int i = 0; i < index; ++i) {
    if (leaves[i] == o) return false;
  }
  return !overlaps_another(leaves, index);
}

// Arguments share memory with tensors that the code captured exactly where they did when it was recorded: only then can a write
// to one be seen through the other in the same way.
bool memory_fits(const CompiledProgram& p, const Flat& flat) {
  for (const auto& [leaf, tensor] : p.same_memory) {
    if (tensor_of(flat.leaves[leaf])->storage != tensor->storage) return false;
  }
  if (p.captured_memory.empty()) return true;
  return std::none_of(p.inputs.begin(), p.inputs.end(), [&](int32_t leaf) {
    const Storage* storage = tensor_of(flat.leaves[leaf])->storage;
    return std::binary_search(p.captured_memory.begin(), p.captured_memory.end(), storage, std::less<>());
  });
}

bool structure_fits(const CompiledProgram& p, const Flat& flat) {
  return p.structure.size() == flat.structure.size() &&
         std::equal(p.structure.begin(), p.structure.end(), flat.structure.begin());
}

bool fits(CompiledProgram& p, const Flat& flat) {
  if (p.grad_enabled != thread_modes.grad_enabled || !structure_fits(p, flat)) return false;
  for (int i = 0; i < flat.leaves.size(); ++i) {
    if (!leaf_fits(p.leaves[static_cast<size_t>(i)], flat.leaves, i)) return false;
  }
  if (!memory_fits(p, flat)) return false;
  const uint64_t epoch = configuration_epoch.load(std::memory_order_relaxed);
  if (p.epoch == epoch) [[likely]]
    return true;
  if (p.batch_invariant != batch_invariant.load(std::memory_order_relaxed)) return false;
  for (const AttributeGuard& guard : p.attribute_guards) {
    if (!guard.holds()) return false;
  }
  for (const auto& [tensor, wanted] : p.captured_requires_grad) {
    if (tensor->requires_grad != wanted) return false;
  }
  p.epoch = epoch;
  return true;
}

std::string why_not(const CompiledProgram& p, const Flat& flat) {
  if (p.grad_enabled != thread_modes.grad_enabled) return "gradient recording was switched";
  if (!structure_fits(p, flat)) return "the arguments are built differently";
  for (int i = 0; i < flat.leaves.size(); ++i) {
    if (leaf_fits(p.leaves[static_cast<size_t>(i)], flat.leaves, i)) continue;
    const LeafGuard now = guard_for(flat.leaves[i], flat.leaves, i);
    return cat("argument ", i, " was ", describe_leaf(p.leaves[static_cast<size_t>(i)]), ", is ", describe_leaf(now),
               p.leaves[static_cast<size_t>(i)].same_as != now.same_as ? " (other arguments are the same tensor)" : "");
  }
  if (!memory_fits(p, flat)) return "an argument shares memory with a captured tensor, or does no longer";
  if (p.batch_invariant != batch_invariant.load(std::memory_order_relaxed)) return "set_batch_invariant was called";
  for (const AttributeGuard& guard : p.attribute_guards) {
    if (!guard.holds()) return cat("attribute '", PyUnicode_AsUTF8(guard.name.get()), "' of an object it used changed");
  }
  return "requires_grad of a tensor it captured changed";
}

// Where arguments may not lie in later calls: in captured memory that the program writes, or in any where it writes to arguments.
void note_captured_memory(CompiledProgram& made, const Graph& graph) {
  const auto value = [&](int32_t id) -> const IrValue& { return graph.values[static_cast<size_t>(id)]; };
  const bool writes_inputs =
      std::any_of(graph.assignments.begin(), graph.assignments.end(),
                  [&](const IrAssignment& a) { return value(a.target).kind == IrValue::Kind::Input; });
  for (const IrAssignment& a : graph.assignments) {
    if (value(a.target).kind == IrValue::Kind::Captured) {
      made.captured_memory.push_back(value(a.target).tensor->storage);
    }
  }
  if (writes_inputs) {
    for (const int32_t id : graph.captured) made.captured_memory.push_back(value(id).tensor->storage);
  }
  std::sort(made.captured_memory.begin(), made.captured_memory.end(), std::less<>());
}

// ---- the callable ----

struct PyCompiledFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* function;
  PyObject* dict;
  PyObject* weak_references;
  std::vector<std::unique_ptr<CompiledProgram>>* programs;  // most recently used first
  std::string* last_miss;
  int64_t escapes;
  bool keep_grads;
  bool recording;
};

PyTypeObject compiled_type{};

PyCompiledFunction* self_of(PyObject* o) { return reinterpret_cast<PyCompiledFunction*>(o); }

void flatten_arguments(Flat& flat, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  for (Py_ssize_t i = 0; i < nargs; ++i) flat.add(args[i]);
  if (kwnames == nullptr) return;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i) {
    flat.add(PyTuple_GET_ITEM(kwnames, i));
    flat.add(args[nargs + i]);
  }
}

void check_arguments(const Flat& flat) {
  for (int i = 0; i < flat.leaves.size(); ++i) {
    if (is_numpy_array(flat.leaves[i])) {
      fail<TypeError>("compile: argument ", i, " must be a tensor or a constant, got ", describe(flat.leaves[i]),
                      " (wrap it with gorgo.asarray)");
    }
  }
}

PyObject* results_of(const CompiledProgram& p, std::vector<Tensor>& results) {
  if (p.result_structure.size() == 1 && !p.result_constants.empty() && !p.result_constants[0]) {
    return wrap(std::move(results[0]));
  }
  std::vector<PyRef> owned;
  std::vector<PyObject*> leaves;
  size_t next = 0;
  for (const PyRef& constant : p.result_constants) {
    owned.push_back(constant ? PyRef::borrowed(constant.get()) : PyRef::checked(wrap(std::move(results[next++]))));
    leaves.push_back(owned.back().get());
  }
  return Rebuild(p.result_structure, leaves).next().detach();
}

void run_host_effects(const std::vector<PyRef>& effects) {
  for (const PyRef& effect : effects) PyRef::checked(PyObject_CallNoArgs(effect.get()));
}

PyObject* replay(CompiledProgram& p, const Flat& flat) {
  SmallVector<Tensor, 8> inputs;
  for (const int32_t leaf : p.inputs) inputs.push_back(tensor_of(flat.leaves[leaf]));
  static thread_local std::vector<Tensor> results;
  void* state = p.program->is_long() && host_lock.release != nullptr ? host_lock.release() : nullptr;
  {
    struct Relock {
      void* state;
      ~Relock() {
        if (state != nullptr) host_lock.reacquire(state);
      }
    } relock{state};
    p.program->run({inputs.data(), static_cast<size_t>(inputs.size())}, results);
  }
  for (const auto& [leaf, grad] : p.kept_grads) {
    if (leaf->grad.get() != grad.get()) write_grad(*leaf, grad);
  }
  std::vector<Tensor> mine = std::move(results);
  results.clear();
  PyObject* out = results_of(p, mine);
  mine.clear();
  results = std::move(mine);  // keeps its capacity
  if (out != nullptr && !p.host_effects.empty()) run_host_effects(p.host_effects);
  return out;
}

// A result without a tape: what a replay returns too. A view of a tensor that was made here becomes one of its own, as in a
// replay, or it would keep that tensor, which has its place in the arena.
Tensor bare_result(const Recorder& recorder, const Tensor& t) {
  if (recorder.view_of_made(*t)) {
    const Recorder::Pause pause;
    Tensor own = copy_of(make_alias(t));
    own->from_compiled = t->requires_grad || t->grad_fn;
    return own;
  }
  if (!t->requires_grad && !t->grad_fn) return t;
  if (t->is_leaf() && !t->base) return t;  // a parameter handed back is the parameter
  Tensor bare = make_alias(t);
  bare->from_compiled = true;
  return bare;
}

[[noreturn]] void refuse_escapes(const Graph& graph, const std::vector<int32_t>& escapes) {
  std::string list;
  for (size_t i = 0; i < escapes.size() && i < 4; ++i) {
    const IrValue& v = graph.values[static_cast<size_t>(escapes[i])];
    const IrNode& node = graph.nodes[static_cast<size_t>(v.node)];
    list += cat(i > 0 ? "; " : "", node.op->name, ' ', v.dtype, ' ', v.shape, node.origin.empty() ? "" : " made at ",
                node.origin);
  }
  fail<StateError>("compile: tensors made inside must be results or be gone when the function returns, got ",
                   escapes.size(), " kept elsewhere: ", list);
}

// What the function is given while it is recorded: for each argument that is a tensor without gradient, another tensor over the
// same memory. Where the code reaches the caller's own by a global, a closure or an attribute, the recorder can tell it from the
// argument.
class StandIns {
 public:
  StandIns(PyObject* const* args, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyObject* o = args[i];
      const Py_ssize_t first = std::find(args, args + i, o) - args;
      PyObject* given = o;
      if (first < i) {
        given = given_[static_cast<int>(first)];
      } else if (is_tensor(o) && !tensor_of(o)->requires_grad && !tensor_of(o)->is_parameter) {
        made_.push_back(PyRef::checked(wrap(make_alias(tensor_of(o)))));
        given = made_.back().get();
      }
      originals_.push_back(o);
      given_.push_back(given);
    }
  }
  [[nodiscard]] PyObject* const* given() const { return given_.data(); }
  [[nodiscard]] PyObject* stand_in(PyObject* original) const { return other(originals_, given_, original); }
  [[nodiscard]] PyObject* original(PyObject* stand_in) const { return other(given_, originals_, stand_in); }

 private:
  using Objects = SmallVector<PyObject*, 8>;
  static PyObject* other(const Objects& from, const Objects& to, PyObject* o) {
    for (int i = 0; i < from.size(); ++i) {
      if (from[i] == o) return to[i];
    }
    return o;
  }
  std::vector<PyRef> made_;
  Objects originals_;
  Objects given_;
};

PyObject* record_call(PyCompiledFunction* self, const Flat& flat, PyObject* const* args, Py_ssize_t nargs,
                      PyObject* kwnames) {
  check_arguments(flat);
  if (self->programs->size() >= kMostPrograms) {
    fail<StateError>("compile: function must not need more than ", kMostPrograms, " recordings, got one more because ",
                     *self->last_miss, " (constants in the arguments are baked in; make them tensors)");
  }
  auto made = std::make_unique<CompiledProgram>();
  made->structure = flat.structure;
  made->grad_enabled = thread_modes.grad_enabled;
  Recording recording;
  const StandIns stand_ins(args, nargs + (kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0));
  for (int i = 0; i < flat.leaves.size(); ++i) {
    made->leaves.push_back(guard_for(flat.leaves[i], flat.leaves, i));
    if (!is_tensor(flat.leaves[i]) || made->leaves.back().same_as >= 0) continue;
    recording.recorder.add_input(tensor_of(stand_ins.stand_in(flat.leaves[i])), cat("argument ", i));
    made->inputs.push_back(i);
  }
  PyRef result;
  std::vector<int32_t> escapes;
  std::vector<PyRef> bare;
  std::vector<PyObject*> result_leaves;
  {
    const Recorder::Scope scope(recording.recorder);
    struct Current {
      Recording* previous;
      explicit Current(Recording* now) : previous(std::exchange(current_recording, now)) {}
      ~Current() { current_recording = previous; }
    } current(&recording);
    result =
        PyRef::checked(PyObject_Vectorcall(self->function, stand_ins.given(), static_cast<size_t>(nargs), kwnames));
    Flat out;
    out.add(result.get());
    made->result_structure = out.structure;
    for (PyObject* leaf : out.leaves) {
      if (is_tensor(leaf)) {
        recording.recorder.add_output(tensor_of(leaf));
        made->result_constants.emplace_back();
        PyObject* const given = stand_ins.original(leaf);
        bare.push_back(given != leaf ? PyRef::borrowed(given)
                                     : PyRef::checked(wrap(bare_result(recording.recorder, tensor_of(leaf)))));
      } else {
        made->result_constants.push_back(PyRef::borrowed(leaf));
        bare.push_back(PyRef::borrowed(leaf));
      }
    }
    for (const PyRef& leaf : bare) result_leaves.push_back(leaf.get());
    for (const Tensor& leaf : recording.recorder.leaves_with_grad()) {
      const Tensor grad = read_grad(*leaf);
      if (!grad || !recording.recorder.made_here(*grad)) continue;
      if (self->keep_grads) {
        recording.recorder.keep(grad);
        made->kept_grads.emplace_back(leaf, grad);
      } else {
        write_grad(*leaf, {});
        leaf->grad_in_capture = true;
        made->local_grads.push_back(leaf);
      }
    }
    result = Rebuild(made->result_structure, result_leaves).next();
    escapes = recording.recorder.alive_values();
  }
  const std::vector<int32_t> captured_before = recording.recorder.values_of_kept();
  Graph graph = recording.recorder.finish();
  std::erase_if(escapes, [&](int32_t id) {
    return std::find(graph.outputs.begin(), graph.outputs.end(), id) != graph.outputs.end() ||
           std::find(captured_before.begin(), captured_before.end(), id) != captured_before.end();
  });
  if (!escapes.empty()) {
    if (++self->escapes > 1) refuse_escapes(graph, escapes);
    *self->last_miss = "a tensor made inside was kept elsewhere";
    run_host_effects(recording.host_effects);
    return result.detach();
  }
  for (const int32_t id : graph.captured) {
    const Tensor& t = graph.values[static_cast<size_t>(id)].tensor;
    made->captured_requires_grad.emplace_back(t, t->requires_grad);
  }
  for (const int32_t position : recording.recorder.reached_arguments()) {
    const int32_t leaf = made->inputs[static_cast<size_t>(position)];
    made->same_memory.emplace_back(leaf, tensor_of(flat.leaves[leaf]));
  }
  note_captured_memory(*made, graph);
  made->attribute_guards = std::move(recording.attribute_guards);
  made->host_effects = std::move(recording.host_effects);
  made->program = std::make_unique<Program>(std::move(graph));
  made->epoch = configuration_epoch.load(std::memory_order_relaxed);
  made->batch_invariant = batch_invariant.load(std::memory_order_relaxed);
  run_host_effects(made->host_effects);
  self->programs->insert(self->programs->begin(), std::move(made));
  return result.detach();
}

PyObject* compiled_call(PyObject* object, PyObject* const* args, size_t nargsf, PyObject* kwnames) noexcept {
  return guarded([&]() -> PyObject* {
    PyCompiledFunction* self = self_of(object);
    const Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (Recorder::active() != nullptr) {  // inside another recording: part of it
      return PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    }
    Flat flat;
    flatten_arguments(flat, args, nargs, kwnames);
    std::vector<std::unique_ptr<CompiledProgram>>& programs = *self->programs;
    for (size_t i = 0; i < programs.size(); ++i) {
      if (!fits(*programs[i], flat)) continue;
      if (i > 0)
        std::rotate(programs.begin(), programs.begin() + static_cast<std::ptrdiff_t>(i),
                    programs.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      return replay(*programs.front(), flat);
    }
    *self->last_miss = programs.empty() ? std::string("it is the first call") : why_not(*programs.front(), flat);
    return record_call(self, flat, args, nargs, kwnames);
  });
}

PyObject* compiled_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) noexcept {
  return guarded([&]() -> PyObject* {
    PyObject* function = nullptr;
    int keep_grads = 0;
    static const char* kNames[] = {"function", "keep_grads", nullptr};
    if (PyArg_ParseTupleAndKeywords(args, kwargs, "O|$p:CompiledFunction", const_cast<char**>(kNames), &function,
                                    &keep_grads) == 0) {
      throw PythonError();
    }
    if (PyCallable_Check(function) == 0)
      fail<TypeError>("compile: function must be callable, got ", describe(function));
    PyRef made = PyRef::checked(type->tp_alloc(type, 0));
    PyCompiledFunction* self = self_of(made.get());
    self->vectorcall = compiled_call;
    self->function = Py_NewRef(function);
    self->programs = std::make_unique<std::vector<std::unique_ptr<CompiledProgram>>>().release();
    self->last_miss = std::make_unique<std::string>("it has not been called").release();
    self->keep_grads = keep_grads != 0;
    return made.detach();
  });
}

int compiled_traverse(PyObject* object, visitproc visit, void* arg) {
  PyCompiledFunction* self = self_of(object);
  Py_VISIT(self->function);
  Py_VISIT(self->dict);
  if (self->programs == nullptr) return 0;
  for (const auto& program : *self->programs) {
    for (const LeafGuard& leaf : program->leaves) Py_VISIT(leaf.constant.get());
    for (const AttributeGuard& guard : program->attribute_guards) {
      Py_VISIT(guard.reference.get());
      Py_VISIT(guard.value.get());
    }
    for (const PyRef& effect : program->host_effects) Py_VISIT(effect.get());
    for (const PyRef& constant : program->result_constants) Py_VISIT(constant.get());
  }
  return 0;
}

int compiled_clear(PyObject* object) {
  PyCompiledFunction* self = self_of(object);
  if (self->programs != nullptr) {
    const auto programs = std::move(*self->programs);  // dies after the list is empty: guards may run Python code
    self->programs->clear();
  }
  Py_CLEAR(self->function);
  Py_CLEAR(self->dict);
  return 0;
}

void compiled_dealloc(PyObject* object) noexcept {
  PyObject_GC_UnTrack(object);
  PyCompiledFunction* self = self_of(object);
  if (self->weak_references != nullptr) PyObject_ClearWeakRefs(object);
  compiled_clear(object);
  delete std::exchange(self->programs, nullptr);
  delete std::exchange(self->last_miss, nullptr);
  Py_TYPE(object)->tp_free(object);
}

PyObject* compiled_bind(PyObject* self, PyObject* instance, PyObject*) noexcept {
  if (instance == nullptr || instance == Py_None) return Py_NewRef(self);
  return PyMethod_New(self, instance);
}

PyObject* compiled_graphs(PyObject* object, PyObject*) noexcept {
  return guarded([&]() -> PyObject* {
    PyRef out = PyRef::checked(PyList_New(0));
    for (const auto& program : *self_of(object)->programs) {
      const PyRef graph(wrap_graph(program->program->graph()));
      check_status(PyList_Append(out.get(), graph.get()));
    }
    return out.detach();
  });
}

PyObject* compiled_clear_cache(PyObject* object, PyObject*) noexcept {
  const auto programs = std::move(*self_of(object)->programs);
  self_of(object)->programs->clear();
  Py_RETURN_NONE;
}

PyObject* compiled_explain(PyObject* object, PyObject*) noexcept {
  return guarded([&]() -> PyObject* {
    const PyCompiledFunction* self = self_of(object);
    std::string text = cat(self->programs->size(), " recording(s); the last was made because ", *self->last_miss, '\n');
    for (const auto& p : *self->programs) {
      text += cat("- ", p->program->step_count(), " steps, arena of ", p->program->arena_bytes(), " bytes\n");
      for (size_t i = 0; i < p->leaves.size(); ++i) {
        text +=
            cat("    argument ", i, p->leaves[i].constant ? " baked in: " : ": ", describe_leaf(p->leaves[i]), '\n');
      }
    }
    return to_python(text);
  });
}

PyObject* get_recordings(PyObject* object, void*) noexcept {
  return PyLong_FromSize_t(self_of(object)->programs->size());
}

PyObject* get_last_miss(PyObject* object, void*) noexcept {
  return guarded([&] { return to_python(*self_of(object)->last_miss); });
}

// ---- functions for code that may be recorded ----

PyObject* guard_attribute(PyObject*, PyObject* const* args, Py_ssize_t nargs) noexcept {
  return guarded([&]() -> PyObject* {
    if (nargs != 2) fail<TypeError>("guard_attribute: arguments are (object, name), got ", nargs);
    if (current_recording == nullptr) Py_RETURN_NONE;
    AttributeGuard guard;
    guard.reference = PyRef::checked(PyWeakref_NewRef(args[0], nullptr));
    guard.name = PyRef::borrowed(args[1]);
    guard.value = PyRef::checked(PyObject_GetAttr(args[0], args[1]));
    current_recording->attribute_guards.push_back(std::move(guard));
    Py_RETURN_NONE;
  });
}

PyObject* host_effect(PyObject*, PyObject* effect) noexcept {
  return guarded([&]() -> PyObject* {
    if (PyCallable_Check(effect) == 0) fail<TypeError>("host_effect: effect must be callable, got ", describe(effect));
    if (current_recording != nullptr) {
      current_recording->host_effects.push_back(PyRef::borrowed(effect));
      Py_RETURN_NONE;
    }
    return PyRef::checked(PyObject_CallNoArgs(effect)).detach();
  });
}

PyObject* is_capturing(PyObject*, PyObject*) noexcept { return PyBool_FromLong(Recorder::active() != nullptr ? 1 : 0); }

PyObject* bump_epoch(PyObject*, PyObject*) noexcept {
  bump_configuration_epoch();
  Py_RETURN_NONE;
}

PyMethodDef compiled_methods[] = {
    {"graphs", compiled_graphs, METH_NOARGS, "graphs($self, /)\n--\n\nReturn the recorded graphs, last used first."},
    {"explain", compiled_explain, METH_NOARGS,
     "explain($self, /)\n--\n\nTell how many recordings there are, why the last was made, and what is baked in."},
    {"clear", compiled_clear_cache, METH_NOARGS, "clear($self, /)\n--\n\nForget all recordings."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef compiled_properties[] = {
    {"recordings", get_recordings, nullptr, "Number of recordings kept.", nullptr},
    {"last_miss", get_last_miss, nullptr, "Why the last recording was made.", nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef compiled_members[] = {
    {"__wrapped__", T_OBJECT_EX, offsetof(PyCompiledFunction, function), READONLY, "The function as written."},
    {nullptr, 0, 0, 0, nullptr},
};

PyMethodDef module_functions[] = {
    {"guard_attribute", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guard_attribute)), METH_FASTCALL,
     docs::kGuardAttribute},
    {"host_effect", host_effect, METH_O, docs::kHostEffect},
    {"is_capturing", is_capturing, METH_NOARGS, docs::kIsCapturing},
    {"bump_epoch", bump_epoch, METH_NOARGS,
     "bump_epoch()\n--\n\nMake compiled functions look again at everything they depend on."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

std::shared_ptr<Graph> trace_call(PyObject* function, PyObject* args, PyObject* kwargs) {
  Recording recording;
  Flat flat;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) flat.add(PyTuple_GET_ITEM(args, i));
  if (kwargs != nullptr && kwargs != Py_None) flat.add(kwargs);
  check_arguments(flat);
  int index = 0;
  for (int i = 0; i < flat.leaves.size(); ++i) {
    bool seen = false;
    for (int j = 0; j < i; ++j) seen = seen || flat.leaves[j] == flat.leaves[i];
    if (is_tensor(flat.leaves[i]) && !seen) {
      recording.recorder.add_input(tensor_of(flat.leaves[i]), cat("argument ", index));
    }
    ++index;
  }
  {
    const Recorder::Scope scope(recording.recorder);
    const PyRef result = PyRef::checked(PyObject_Call(function, args, kwargs == Py_None ? nullptr : kwargs));
    Flat out;
    out.add(result.get());
    for (PyObject* leaf : out.leaves) {
      if (is_tensor(leaf)) recording.recorder.add_output(tensor_of(leaf));
    }
    // Gradients of leaves that the call left behind are part of what it did.
    for (const Tensor& leaf : recording.recorder.leaves_with_grad()) {
      const Tensor grad = read_grad(*leaf);
      if (grad && recording.recorder.made_here(*grad)) recording.recorder.keep(grad);
    }
  }
  return std::make_shared<Graph>(recording.recorder.finish());
}

void refuse_while_recording(const TensorImpl& t, const char* op) {
  const Recorder* recorder = Recorder::active();
  if (recorder == nullptr || !recorder->made_here(t)) return;
  fail<StateError>(op, ": value must not be read while a function is recorded, got ", t.dtype, ' ', t.shape,
                   " (return it, and read it outside)");
}

void bind_compiled_function(PyObject* module) {
  PyTypeObject& t = begin_static_type(
      compiled_type, "gorgo.CompiledFunction", sizeof(PyCompiledFunction),
      "A function whose calls are recorded once per kind of arguments and replayed; made by gorgo.compile.");
  t.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR;
  t.tp_new = compiled_new;
  t.tp_dealloc = compiled_dealloc;
  t.tp_traverse = compiled_traverse;
  t.tp_clear = compiled_clear;
  t.tp_call = PyVectorcall_Call;
  t.tp_vectorcall_offset = offsetof(PyCompiledFunction, vectorcall);
  t.tp_dictoffset = offsetof(PyCompiledFunction, dict);
  t.tp_weaklistoffset = offsetof(PyCompiledFunction, weak_references);
  t.tp_descr_get = compiled_bind;
  t.tp_methods = compiled_methods;
  t.tp_getset = compiled_properties;
  t.tp_members = compiled_members;
  finish_static_type(t, module, "CompiledFunction");
  check_status(PyModule_AddFunctions(module, module_functions));
}

}  // namespace gorgo

#include "bindings/origin.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bindings/errors.h"
#include "dispatch/call.h"

#if PY_VERSION_HEX < 0x030b0000
#include <frameobject.h>
#endif

namespace gorgo {
namespace {

// ---- the innermost frame, version by version ----

#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030c0000
// CPython 3.11 has no public access to a frame without making a frame object. These are the leading members of its
// interpreter frame, which cannot change any more.
struct InterpreterFrame311 {
  PyObject* function;
  PyObject* globals;
  PyObject* builtins;
  PyObject* locals;
  PyCodeObject* code;
  PyFrameObject* frame_object;
  InterpreterFrame311* previous;
  const uint16_t* previous_instruction;
};
#endif

}  // namespace

Origin origin_here() noexcept {
#if PY_VERSION_HEX >= 0x030d0000
  PyThreadState* state = PyThreadState_GetUnchecked();
#else
  PyThreadState* state = _PyThreadState_UncheckedGet();
#endif
  Origin origin;
  if (state == nullptr) return origin;
#if PY_VERSION_HEX < 0x030b0000
  PyFrameObject* frame = state->frame;
  if (frame == nullptr) return origin;
  origin.code = Py_NewRef(reinterpret_cast<PyObject*>(frame->f_code));
  origin.offset = frame->f_lasti * 2;
#elif PY_VERSION_HEX < 0x030c0000
  const auto* frame =
      state->cframe != nullptr ? reinterpret_cast<const InterpreterFrame311*>(state->cframe->current_frame) : nullptr;
  if (frame == nullptr || frame->code == nullptr) return origin;
  const auto* first = reinterpret_cast<const uint16_t*>(frame->code->co_code_adaptive);
  origin.code = Py_NewRef(reinterpret_cast<PyObject*>(frame->code));
  origin.offset = static_cast<int32_t>((frame->previous_instruction - first) * 2);
#else
#if PY_VERSION_HEX < 0x030d0000
  struct _PyInterpreterFrame* frame = state->cframe != nullptr ? state->cframe->current_frame : nullptr;
#else
  struct _PyInterpreterFrame* frame = state->current_frame;
#endif
  if (frame == nullptr) return origin;
  PyObject* code = PyUnstable_InterpreterFrame_GetCode(frame);
  if (code == nullptr || !PyCode_Check(code)) {
    Py_XDECREF(code);
    return origin;
  }
  origin.code = code;
  origin.offset = PyUnstable_InterpreterFrame_GetLasti(frame);
#endif
  return origin;
}

namespace {

// ---- giving up Python objects from any thread ----

int drain(void*) noexcept;

struct Pending {
  std::mutex mutex;
  std::vector<PyObject*> references;
  std::vector<Py_buffer*> buffers;
  bool scheduled = false;
  void schedule() {
    if (!scheduled) scheduled = Py_AddPendingCall(drain, nullptr) == 0;
  }
};
Pending& pending() {
  static auto* queue = new Pending;  // outlives the interpreter
  return *queue;
}

int drain(void*) noexcept {
  std::vector<PyObject*> references;
  std::vector<Py_buffer*> buffers;
  {
    const std::lock_guard lock(pending().mutex);
    references.swap(pending().references);
    buffers.swap(pending().buffers);
    pending().scheduled = false;
  }
  for (PyObject* o : references) Py_DECREF(o);
  for (Py_buffer* b : buffers) {
    PyBuffer_Release(b);
    delete b;
  }
  return 0;
}

// ---- lines ----

const std::string& package_folder() {
  static const std::string folder = [] {
    const PyRef module(PyImport_ImportModule("gorgo._core"));
    const PyRef file(module ? PyObject_GetAttrString(module.get(), "__file__") : nullptr);
    const char* path = file ? PyUnicode_AsUTF8(file.get()) : nullptr;
    PyErr_Clear();
    const std::string text = path != nullptr ? path : "";
    return text.substr(0, text.rfind('/') + 1);
  }();
  return folder;
}

std::string file_of(PyCodeObject* code) {
  const char* text = PyUnicode_AsUTF8(code->co_filename);
  if (text == nullptr) {
    PyErr_Clear();
    return "?";
  }
  return text;
}

bool is_ours(PyCodeObject* code) { return !package_folder().empty() && file_of(code).starts_with(package_folder()); }

std::string place_of(PyCodeObject* code, int line) {
  const std::string file = file_of(code);
  const char* name = PyUnicode_AsUTF8(code->co_name);
  if (name == nullptr) PyErr_Clear();
  const std::string function =
      name == nullptr || std::string_view(name) == "<module>" ? "" : std::string(" in ") + name;
  return cat(file.substr(file.rfind('/') + 1), ':', line, function);
}

// If `code` is ours and running on this thread: the first place outside the package that led to it.
std::string outside(PyCodeObject* code) {
  PyFrameObject* frame = PyThreadState_GetFrame(PyThreadState_Get());
  bool found = false;
  std::string place;
  while (frame != nullptr && place.empty()) {
    PyCodeObject* running = PyFrame_GetCode(frame);
    found = found || running == code;
    if (found && !is_ours(running)) place = place_of(running, PyFrame_GetLineNumber(frame));
    Py_DECREF(running);
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  Py_XDECREF(frame);
  return place;
}

// ---- Ctrl-C and the GIL ----

void* release_gil() noexcept { return holds_gil() ? static_cast<void*>(PyEval_SaveThread()) : nullptr; }
void reacquire_gil(void* state) noexcept {
  try {
    PyEval_RestoreThread(static_cast<PyThreadState*>(state));
  } catch (...) {
    sleep_for_good();
  }
}

// Called between kernels, with the GIL (backward) or without it (a long replay).
void check_signals() {
  using Clock = std::chrono::steady_clock;
  constexpr auto kEvery = std::chrono::milliseconds(5);
  static thread_local Clock::time_point last{};
  const Clock::time_point now = Clock::now();
  if (now - last < kEvery) return;
  last = now;
  // A thread without a state is not the main one, which alone runs handlers; or the interpreter has ended.
  PyThreadState* state = PyGILState_GetThisThreadState();
  if (state == nullptr) return;
  const bool had_gil = holds_gil();
  if (!had_gil) reacquire_gil(state);
  const int status = PyErr_CheckSignals();
  if (!had_gil) PyEval_SaveThread();
  if (status != 0) throw PythonError();
}

void release_code(void* code) noexcept { release_reference(static_cast<PyObject*>(code)); }

}  // namespace

GilReleased::GilReleased() noexcept : state_(PyEval_SaveThread()) {}
GilReleased::~GilReleased() { reacquire_gil(state_); }

std::string describe_origin(const Origin& origin) {
  auto* code = static_cast<PyCodeObject*>(origin.code);
  if (code == nullptr) return "an unknown line";
  if (is_ours(code)) {
    const std::string caller = outside(code);
    if (!caller.empty()) return caller;
  }
  return place_of(code, PyCode_Addr2Line(code, origin.offset));
}

void release_reference(PyObject* o) noexcept {
  if (holds_gil()) {
    Py_DECREF(o);
    return;
  }
  if (interpreter_is_gone()) return;
  const std::lock_guard lock(pending().mutex);
  pending().references.push_back(o);
  pending().schedule();
}

void release_buffer(Py_buffer* buffer) noexcept {
  if (holds_gil()) {
    PyBuffer_Release(buffer);
    delete buffer;
    return;
  }
  if (interpreter_is_gone()) return;
  const std::lock_guard lock(pending().mutex);
  pending().buffers.push_back(buffer);
  pending().schedule();
}

void install_python_hooks() {
  origin_hooks = {origin_here, release_code, describe_origin};
  interrupt_hook = check_signals;
  host_lock = {release_gil, reacquire_gil};
}

}  // namespace gorgo

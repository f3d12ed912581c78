// From C++ exceptions to Python's, and the one way out of every entry point.
//
// Invariant: no C++ exception leaves a function that Python calls. Hand-written entry points run inside `guarded`; what
// pybind11 binds goes through the translator that `bind_errors` registers.
// Read next: core/check.h (the exceptions).
#pragma once

#include <exception>
#include <utility>

#include "bindings/python.h"
#include "core/check.h"

namespace gorgo {

// The Python error indicator is set already; only the way up is left.
struct PythonError final : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return "a Python exception is set"; }
};

// To be called in a catch block with the GIL held: sets the Python exception for the C++ one being handled.
void set_python_error() noexcept;

// Has the interpreter begun to end? From then on only the thread that ends it may touch objects.
[[nodiscard]] inline bool interpreter_is_gone() noexcept { return Py_IsInitialized() == 0; }

// May this thread touch objects? True also for the thread that ends the interpreter, until no object is left; there
// PyGILState_Check is no help, since it says yes to everybody once its own bookkeeping is gone.
[[nodiscard]] inline bool holds_gil() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  const PyThreadState* current = PyThreadState_GetUnchecked();
#else
  const PyThreadState* current = _PyThreadState_UncheckedGet();
#endif
  return current != nullptr && current == PyGILState_GetThisThreadState();
}

// Once the interpreter has ended, CPython before 3.14 answers a thread that asks for the GIL by unwinding its stack, which
// would run destructors without the GIL, and ends the process at the first function that lets no exception through. Such a
// thread sleeps until the process is gone instead, as with later CPython.
[[noreturn]] void sleep_for_good() noexcept;

// Runs f, which returns a new reference or throws; null with the Python exception set.
template <class F>
[[nodiscard]] PyObject* guarded(F&& f) noexcept {
  try {
    return f();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

// The same for slots that return an integer, with -1 for an error.
template <class R = int, class F>
[[nodiscard]] R guarded_int(F&& f) noexcept {
  try {
    return f();
  } catch (...) {
    set_python_error();
    return -1;
  }
}

// Owns one reference; for cold code that may throw half way.
class PyRef {
 public:
  PyRef() noexcept = default;
  explicit PyRef(PyObject* owned) noexcept : p_(owned) {}
  // Takes what a Python API call returned; throws PythonError when that is null.
  static PyRef checked(PyObject* owned) {
    if (owned == nullptr) throw PythonError();
    return PyRef(owned);
  }
  static PyRef borrowed(PyObject* p) noexcept {
    Py_XINCREF(p);
    return PyRef(p);
  }
  PyRef(PyRef&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  PyRef& operator=(PyRef&& o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  PyRef(const PyRef&) = delete;
  PyRef& operator=(const PyRef&) = delete;
  ~PyRef() { Py_XDECREF(p_); }
  [[nodiscard]] PyObject* get() const noexcept { return p_; }
  [[nodiscard]] PyObject* detach() noexcept { return std::exchange(p_, nullptr); }
  explicit operator bool() const noexcept { return p_ != nullptr; }

 private:
  PyObject* p_ = nullptr;
};

// Throws PythonError when a Python API call returned a negative status.
inline void check_status(int status) {
  if (status < 0) throw PythonError();
}

}  // namespace gorgo

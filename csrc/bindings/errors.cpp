#include "bindings/errors.h"

#include <pybind11/pybind11.h>

#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "bindings/module.h"

namespace gorgo {
namespace {

PyObject* out_of_memory_error = nullptr;
PyObject* device_error = nullptr;

}  // namespace

void sleep_for_good() noexcept {
  while (true) std::this_thread::sleep_for(std::chrono::hours(24));
}

void set_python_error() noexcept {
  try {
    throw;
  } catch (const PythonError&) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_SystemError, "gorgo: an error was announced but not set");
  } catch (pybind11::error_already_set& e) {
    e.restore();
  } catch (const pybind11::builtin_exception& e) {
    e.set_error();
  } catch (const TypeError& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const ValueError& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const IndexError& e) {
    PyErr_SetString(PyExc_IndexError, e.what());
  } catch (const StateError& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  } catch (const NotSupported& e) {
    PyErr_SetString(PyExc_NotImplementedError, e.what());
  } catch (const OverflowError& e) {
    PyErr_SetString(PyExc_OverflowError, e.what());
  } catch (const OutOfMemoryError& e) {
    PyErr_SetString(out_of_memory_error, e.what());
  } catch (const DeviceError& e) {
    PyErr_SetString(device_error, e.what());
  } catch (const std::bad_alloc&) {
    PyErr_SetString(out_of_memory_error, "gorgo: memory for bookkeeping must fit, got no room from the system");
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  } catch (...) {
    if (interpreter_is_gone()) sleep_for_good();
    PyErr_SetString(PyExc_SystemError, "gorgo: an unknown C++ exception");
  }
}

void bind_errors(PyObject* module) {
  auto m = pybind11::reinterpret_borrow<pybind11::module_>(module);
  const auto add = [&m](const char* name, const char* qualified, const char* doc, PyObject* base) {
    PyObject* type = PyRef::checked(PyErr_NewExceptionWithDoc(qualified, doc, base, nullptr)).detach();
    m.attr(name) = pybind11::handle(type);
    return type;
  };
  out_of_memory_error =
      add("OutOfMemoryError", "gorgo.OutOfMemoryError",
          "Memory is exhausted or a limit is reached; the message tells the figures. Everything stays usable.",
          PyExc_MemoryError);
  device_error = add("DeviceError", "gorgo.DeviceError", "A driver or a device failed.", PyExc_RuntimeError);
  pybind11::register_exception_translator([](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(std::move(thrown));
    } catch (const Error&) {
      set_python_error();
    } catch (const PythonError&) {
      set_python_error();
    }
  });
}

}  // namespace gorgo

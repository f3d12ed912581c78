// The Python module gorgo._core: calls the bind functions of the other files of this folder, in order, and does nothing else.
//
// Read next: module.h, tensor_type.cpp.
#include "bindings/module.h"

#include <pybind11/pybind11.h>

#include <string>

#include "bindings/methods.h"
#include "core/build_info.h"
#include "device/backend.h"
#include "dispatch/call.h"
#include "ops/all_ops.h"

namespace {

// What `import gorgo` shows: every public name that is bound so far, but not parts with a Python module of their own.
pybind11::list public_names(const pybind11::module_& m) {
  pybind11::list names;
  for (const auto& [name, value] : pybind11::dict(m.attr("__dict__"))) {
    const bool hidden = pybind11::str(name).cast<std::string>().starts_with('_') || PyModule_Check(value.ptr()) != 0;
    if (!hidden) names.append(name);
  }
  names.attr("sort")();
  return names;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled part of gorgo. Import gorgo instead.";
  m.attr("__version__") = gorgo::build_info().version;
  gorgo::install_devices();
  gorgo::install_funnel();
  gorgo::register_all_ops();
  gorgo::bind_errors(m.ptr());
  gorgo::bind_dtypes(m.ptr());
  gorgo::bind_interop(m.ptr());
  gorgo::bind_creation(m.ptr());
  gorgo::bind_tensor(m.ptr());
  gorgo::bind_elementwise(m.ptr());
  gorgo::bind_indexing(m.ptr());
  gorgo::bind_autograd(m.ptr());
  gorgo::bind_config(m.ptr());
  gorgo::bind_device(m.ptr());
  gorgo::bind_memory(m.ptr());
  gorgo::bind_printing(m.ptr());
  gorgo::bind_profile(m.ptr());
  m.attr("__all__") = public_names(m);
  gorgo::bind_host_cell(m.ptr());
  gorgo::bind_graph(m.ptr());
  gorgo::bind_python_methods(m.ptr());
}

// The switch of the profiler, for gorgo.profile.
#include <pybind11/pybind11.h>

#include "bindings/module.h"
#include "opdef/profile.h"

namespace gorgo {
namespace {

namespace py = pybind11;

// (events, dropped, start_ns, duration_ns), an event being (op, start_ns, duration_ns, bytes, flops, thread, replayed,
// shapes).
py::tuple stop() {
  const Profile found = stop_profile();
  py::list events;
  for (const KernelEvent& e : found.events) {
    events.append(py::make_tuple(e.op->name, e.start_ns - found.start_ns, e.duration_ns, e.bytes, e.flops, e.thread,
                                 e.replayed, e.shapes));
  }
  return py::make_tuple(events, found.dropped, found.start_ns, found.duration_ns);
}

}  // namespace

void bind_profile(PyObject* module) {
  auto m = pybind11::reinterpret_borrow<pybind11::module_>(module);
  py::module_ profile = m.def_submodule("_profile", "The profiler's switch. Use gorgo.profile instead.");
  profile.def("start", &start_profile, py::arg("max_events"), py::arg("shapes"));
  profile.def("stop", &stop);
}

}  // namespace gorgo

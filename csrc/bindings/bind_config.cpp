// Facts about this process and this build: show_config, threads, devices.
#include <pybind11/stl.h>

#include <string>

#include "bindings/module.h"
#include "core/build_info.h"
#include "core/env.h"
#include "core/parallel.h"
#include "device/backend.h"
#include "device/cpu/isa.h"

namespace gorgo {
namespace {

namespace py = pybind11;

py::dict config() {
  const BuildInfo& build = build_info();
  py::dict out;
  out["version"] = build.version;
  out["isa"] = isa_name(chosen_isa());
  out["isa_available"] = isa_name(best_isa());
  out["isas_built"] = build.isas;
  out["cpu"] = cpu_model();
  out["threads"] = num_threads();
  out["threads_default"] = hardware_threads();
  py::list devices;
  for (const Device d : available_devices()) devices.append(device_name(d));
  out["devices"] = devices;
  out["compiler"] = build.compiler;
  out["build_type"] = build.build_type;
  out["sanitizers"] = build.sanitizers;
  out["cuda"] = build.cuda;
  py::dict environment;
  for (const EnvVar& v : env_vars()) environment[v.name] = v.current;
  out["environment"] = environment;
  py::dict described;
  for (const EnvVar& v : env_vars()) described[v.name] = v.doc;
  out["environment_variables"] = described;
  return out;
}

}  // namespace

void bind_config(py::module_& m) { m.def("_config", &config, "Return the facts that show_config prints."); }

}  // namespace gorgo

// Facts about this process and this build, and settings of the whole process.
#include <pybind11/stl.h>

#include <string>

#include "bindings/module.h"
#include "core/build_info.h"
#include "core/env.h"
#include "core/float32_mode.h"
#include "core/invariance.h"
#include "core/parallel.h"
#include "device/backend.h"
#include "device/cpu/isa.h"
#include "device/cuda/driver.h"
#include "graph/capture.h"

namespace gorgo {
namespace {

namespace py = pybind11;

constexpr const char* kPrecisions[] = {"highest", "high", "medium"};  // in the order of Float32Mode

void set_float32_matmul_precision(const std::string& precision) {
  for (size_t i = 0; i < std::size(kPrecisions); ++i) {
    if (precision == kPrecisions[i]) {
      float32_mode.store(static_cast<Float32Mode>(i), std::memory_order_relaxed);
      return;
    }
  }
  fail<ValueError>("set_float32_matmul_precision: precision must be 'highest', 'high' or 'medium', got '", precision,
                   "'");
}

const char* get_float32_matmul_precision() {
  return kPrecisions[static_cast<size_t>(float32_mode.load(std::memory_order_relaxed))];
}

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
  out["batch_invariant"] = batch_invariant.load(std::memory_order_relaxed);
  out["float32_matmul"] = get_float32_matmul_precision();
  py::list devices;
  for (const Device d : available_devices()) devices.append(device_name(d));
  out["devices"] = devices;
  out["compiler"] = build.compiler;
  out["build_type"] = build.build_type;
  out["sanitizers"] = build.sanitizers;
  out["cuda"] = cuda_driver != nullptr;  // the devices above have looked for it
  py::dict environment;
  for (const EnvVar& v : env_vars()) environment[v.name] = v.current;
  out["environment"] = environment;
  py::dict described;
  for (const EnvVar& v : env_vars()) described[v.name] = v.doc;
  out["environment_variables"] = described;
  return out;
}

void set_batch_invariant(bool on) {
  if (batch_invariant.exchange(on, std::memory_order_relaxed) != on) bump_configuration_epoch();
}

bool is_batch_invariant() { return batch_invariant.load(std::memory_order_relaxed); }

}  // namespace

void bind_config(PyObject* module) {
  auto m = pybind11::reinterpret_borrow<pybind11::module_>(module);
  m.def("_config", &config, "Return the facts that show_config prints.");
  m.def("_shared_calls", &shared_calls, "Return how many kernel phases so far had work for several threads.");
  m.def("set_batch_invariant", &set_batch_invariant, py::arg("on"),
        "Say whether row i of a batch must equal the batch of one, bit for bit.\n\n"
        "Of forward results in evaluation mode. For the whole process; captured functions record again under another "
        "setting. The\n"
        "CPU kernels of this version keep to it at any time, so that there it costs nothing, but for float32 products "
        "of few rows with\nAMX, and at 'medium' precision with AVX512_BF16.\n\n"
        "Args:\n    on (bool): whether it must.\n\n"
        "Example:\n    >>> import gorgo as gg\n    >>> gg.set_batch_invariant(True)\n"
        "    >>> x, w = gg.random.randn(5, 7), gg.random.randn(7, 3)\n"
        "    >>> ((x @ w)[2:3] == x[2:3] @ w).tolist()\n    [[True, True, True]]\n    >>> "
        "gg.set_batch_invariant(False)\n");
  m.def("is_batch_invariant", &is_batch_invariant,
        "Tell whether row i of a batch must equal the batch of one.\n\n"
        "Returns:\n    bool: what set_batch_invariant was last called with; False at first.\n\n"
        "Example:\n    >>> import gorgo as gg\n    >>> gg.is_batch_invariant()\n    False\n");
  m.def(
      "set_float32_matmul_precision", &set_float32_matmul_precision, py::arg("precision"),
      "Say how many digits products of float32 may give up where a device has faster units for it.\n\n"
      "For the whole process: `matmul`, `linear` and what is made of them on cards with tensor cores for it, on "
      "processors with\nAMX, convolutions too, where its kernels are built in, and at 'medium' on processors with "
      "AVX512_BF16; other\nprocessors' results do not depend on it. Inputs, sums and results are float32 at any "
      "setting, and a processor's infinities,\nNaN, denormal and huge numbers are what they are at 'highest'. "
      "Captured functions follow the setting of each call.\n\n"
      "Args:\n    precision (str): 'highest' (at first): as accurate as float32 multiply-adds; 'high': factors may be "
      "rounded to eleven\n        significant bits (tf32; sixteen by AMX); 'medium': or to eight (bfloat16).\n\n"
      "Raises:\n    ValueError: precision is none of these.\n\n"
      "Example:\n    >>> import gorgo as gg\n    >>> gg.set_float32_matmul_precision('high')\n"
      "    >>> gg.get_float32_matmul_precision()\n    'high'\n"
      "    >>> gg.set_float32_matmul_precision('highest')\n");
  m.def("get_float32_matmul_precision", &get_float32_matmul_precision,
        "Tell how many digits products of float32 may give up.\n\n"
        "Returns:\n    str: what set_float32_matmul_precision was last called with; 'highest' at first.\n\n"
        "Example:\n    >>> import gorgo as gg\n    >>> gg.get_float32_matmul_precision()\n    'highest'\n");
}

}  // namespace gorgo

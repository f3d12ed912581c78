// CUDA devices for Python: what gorgo.cuda stands on. Streams and events travel as integers; the Python classes own them.
#include <pybind11/pybind11.h>

#include "bindings/errors.h"
#include "bindings/module.h"
#include "bindings/origin.h"
#include "core/check.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "device/cuda/plugin.h"
#include "opdef/enqueue.h"

namespace py = pybind11;

namespace gorgo {
namespace {

Device cuda_from(const std::string& name) {
  const Device device = parse_device(name);
  if (device.type != DeviceType::Cuda) fail<ValueError>("cuda: device must be a cuda device, got '", name, "'");
  return device;
}

py::dict properties(const std::string& name) {
  const Device device = cuda_from(name);
  const CudaProperties p = cuda_properties(device);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cuda_memory_info(device, free_bytes, total_bytes);
  py::dict out;
  out["name"] = p.name;
  out["compute_capability"] = py::make_tuple(p.major, p.minor);
  out["multiprocessors"] = p.multiprocessors;
  out["total_bytes"] = total_bytes;
  out["free_bytes"] = free_bytes;
  out["l2_bytes"] = p.l2_bytes;
  out["shared_bytes"] = p.shared_bytes;
  return out;
}

py::dict chains() {
  const CompiledChains counted = compiled_chains();
  py::dict out;
  out["kernels"] = counted.kernels;
  out["refused"] = counted.refused;
  out["seconds"] = counted.seconds;
  return out;
}

void synchronize(const std::string& name) {
  const Device device = cuda_from(name);
  cuda_synchronize(device);
  raise_device_faults(device);
}

void synchronize_stream(const std::string& name, uint64_t stream) {
  const Device device = cuda_from(name);
  cuda_synchronize_stream(device, stream);
  raise_device_faults(device);
}

}  // namespace

void bind_device(PyObject* module) {
  auto m = pybind11::reinterpret_borrow<pybind11::module_>(module);
  using Unlocked = py::call_guard<GilReleased>;
  py::module_ cuda = m.def_submodule("cuda", "CUDA devices. Use gorgo.cuda instead.");
  cuda.def("device_count", &cuda_device_count);
  cuda.def("properties", &properties, py::arg("device"));
  cuda.def("compiled_chains", &chains);
  cuda.def("synchronize", &synchronize, py::arg("device"), Unlocked());
  cuda.def("synchronize_stream", &synchronize_stream, py::arg("device"), py::arg("stream"), Unlocked());
  cuda.def(
      "current_stream", [](const std::string& name) { return current_stream(cuda_from(name)); }, py::arg("device"));
  cuda.def(
      "set_stream",
      [](const std::string& name, uint64_t stream) { return set_current_stream(cuda_from(name), stream); },
      py::arg("device"), py::arg("stream"));
  cuda.def("take_stream", [](const std::string& name) { return take_stream(cuda_from(name)); }, py::arg("device"));
  cuda.def(
      "give_stream", [](const std::string& name, uint64_t stream) { give_stream(cuda_from(name), stream); },
      py::arg("device"), py::arg("stream"));
  cuda.def(
      "wait", [](const std::string& name, uint64_t waiting, uint64_t on) { cuda_wait(cuda_from(name), waiting, on); },
      py::arg("device"), py::arg("waiting"), py::arg("on"));
  cuda.def(
      "create_event",
      [](const std::string& name, bool timing) {
        use_cuda_device(cuda_from(name));
        uint64_t event = 0;
        check_cuda(cuda_driver->create_event(&event, timing), "Event");
        return event;
      },
      py::arg("device"), py::arg("timing"));
  cuda.def(
      "destroy_event", [](uint64_t event) { static_cast<void>(cuda_driver->destroy_event(event)); }, py::arg("event"));
  cuda.def(
      "record_event",
      [](const std::string& name, uint64_t event, uint64_t stream) {
        use_cuda_device(cuda_from(name));
        check_cuda(cuda_driver->record_event(event, stream), "record");
      },
      py::arg("device"), py::arg("event"), py::arg("stream"));
  cuda.def(
      "wait_event",
      [](const std::string& name, uint64_t event, uint64_t stream) {
        use_cuda_device(cuda_from(name));
        check_cuda(cuda_driver->wait_event(stream, event), "wait");
      },
      py::arg("device"), py::arg("event"), py::arg("stream"));
  cuda.def(
      "query_event",
      [](uint64_t event) {
        bool passed = false;
        check_cuda(cuda_driver->query_event(event, &passed), "query");
        return passed;
      },
      py::arg("event"));
  cuda.def(
      "synchronize_event", [](uint64_t event) { check_cuda(cuda_driver->synchronize_event(event), "synchronize"); },
      py::arg("event"), Unlocked());
  cuda.def(
      "elapsed_ms",
      [](uint64_t from, uint64_t to) {
        float ms = 0;
        check_cuda(cuda_driver->elapsed_ms(from, to, &ms), "elapsed_ms");
        return ms;
      },
      py::arg("start"), py::arg("end"));
}

}  // namespace gorgo

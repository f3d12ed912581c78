// The CPU pool and the thread pool in Python: gorgo._core.memory, which python/gorgo/memory.py dresses, and the number
// of threads.
//
// Invariant: a call that may wait (for other threads, for a device) does so without the GIL; the tagger, which asks
// Python where it is, runs only where the GIL is held.
// Read next: memory/block_pool.h, python/gorgo/memory.py.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "autograd/tape.h"
#include "bindings/errors.h"
#include "bindings/module.h"
#include "bindings/origin.h"
#include "core/check.h"
#include "core/parallel.h"
#include "device/backend.h"
#include "device/cuda/device.h"
#include "memory/block_pool.h"

namespace py = pybind11;

namespace gorgo {
namespace {

// Source lines by tag. Lines stay for good: there are no more of them than the program has.
struct SourceLines {
  std::mutex mutex;
  std::unordered_map<std::string, uint64_t> tags;
  std::vector<std::string> lines;
};

SourceLines& source_lines() {
  static SourceLines& it = *new SourceLines;
  return it;
}

uint64_t tag_of_line_here() noexcept {
  static thread_local bool asking = false;  // looking at frames may collect garbage, and that may run Python
  if (asking || interpreter_is_gone() || !holds_gil()) return 0;
  asking = true;
  uint64_t tag = 0;
  try {
    const Origin origin = origin_here();
    std::string line = describe_origin(origin);
    Py_XDECREF(static_cast<PyObject*>(origin.code));
    SourceLines& known = source_lines();
    const std::lock_guard lock(known.mutex);
    const auto [at, inserted] = known.tags.try_emplace(std::move(line), known.lines.size() + 1);
    if (inserted) known.lines.push_back(at->first);
    tag = at->second;
  } catch (...) {  // a block without a name is better than none
  }
  asking = false;
  return tag;
}

std::string line_of_tag(uint64_t tag) {
  SourceLines& known = source_lines();
  const std::lock_guard lock(known.mutex);
  return tag == 0 || tag > known.lines.size() ? std::string("an unknown line") : known.lines[tag - 1];
}

py::object source_of(uint64_t tag) {
  if (tag == 0) return py::none();
  return py::str(line_of_tag(tag));
}

size_t checked_bytes(const char* op, int64_t bytes) {
  if (bytes < 0) fail<ValueError>(op, ": bytes must be at least 0, got ", bytes);
  return static_cast<size_t>(bytes);
}

// The pool of the device of that name.
BlockPool& pool_of(const std::string& name) {
  const Device device = parse_device(name);
  if (device.type == DeviceType::Null) fail<ValueError>("memory: device must have memory, got '", name, "'");
  return device.type == DeviceType::Cpu ? cpu_pool() : cuda_pool(device.index);
}

py::dict stats(const std::string& device) {
  PoolStats now;
  {
    const GilReleased released;
    now = pool_of(device).stats();
  }
  py::dict out;
  out["active_bytes"] = now.active_bytes;
  out["reserved_bytes"] = now.reserved_bytes;
  out["cached_bytes"] = now.cached_bytes;
  out["peak_active_bytes"] = now.peak_active_bytes;
  out["peak_reserved_bytes"] = now.peak_reserved_bytes;
  out["allocations"] = now.allocations;
  out["releases"] = now.releases;
  out["hits"] = now.hits;
  out["misses"] = now.misses;
  out["raw_allocations"] = now.raw_allocations;
  out["largest_free_block"] = now.largest_free_block;
  out["fragmentation"] = now.fragmentation;
  out["cache_limit"] = now.cache_limit;
  out["limit"] = now.limit;
  return out;
}

py::list snapshot(const std::string& device) {
  std::vector<BlockInfo> live;
  {
    const GilReleased released;
    live = pool_of(device).snapshot();
  }
  py::list out;
  for (const BlockInfo& block : live) {
    py::dict one;
    one["bytes"] = block.bytes;
    one["requested_bytes"] = block.requested;
    one["address"] = reinterpret_cast<uintptr_t>(block.data);
    one["stream"] = block.stream;
    one["source"] = source_of(block.tag);
    out.append(std::move(one));
  }
  return out;
}

py::list check_guards(const std::string& device) {
  std::vector<GuardDamage> found;
  {
    const GilReleased released;
    found = pool_of(device).check_guards();
  }
  py::list out;
  for (const GuardDamage& damage : found) {
    py::dict one;
    one["kind"] = damage_name(damage.kind);
    one["address"] = reinterpret_cast<uintptr_t>(damage.data);
    one["requested_bytes"] = damage.requested;
    one["source"] = source_of(damage.tag);
    out.append(std::move(one));
  }
  return out;
}

}  // namespace

void bind_memory(PyObject* module) {
  auto m = pybind11::reinterpret_borrow<pybind11::module_>(module);
  using Unlocked = py::call_guard<GilReleased>;
  py::module_ memory = m.def_submodule("memory", "The pools, one for each device. Use gorgo.memory instead.");
  const py::arg_v on_device = py::arg("device") = "cpu";
  memory.def("stats", &stats, on_device);
  memory.def("reset_peak", [](const std::string& device) { pool_of(device).reset_peak(); }, on_device, Unlocked());
  memory.def("empty_cache", [](const std::string& device) { pool_of(device).empty_cache(); }, on_device, Unlocked());
  memory.def(
      "set_limit",
      [](std::optional<int64_t> bytes, const std::string& device) {
        pool_of(device).set_limit(bytes ? std::optional(checked_bytes("set_limit", *bytes)) : std::nullopt);
      },
      py::arg("bytes").none(true), on_device, Unlocked());
  memory.def(
      "set_cache_limit",
      [](int64_t bytes, const std::string& device) {
        pool_of(device).set_cache_limit(checked_bytes("set_cache_limit", bytes));
      },
      py::arg("bytes"), on_device, Unlocked());
  memory.def("snapshot", &snapshot, on_device);
  memory.def(
      "set_tracing",
      [](bool on) {
        for (const Device device : available_devices()) {
          (device.type == DeviceType::Cpu ? cpu_pool() : cuda_pool(device.index))
              .set_tagger(on ? &tag_of_line_here : nullptr);
        }
      },
      py::arg("on"));
  memory.def("debug_mode", [](const std::string& device) { return pool_of(device).debug(); }, on_device);
  memory.def("fail_allocation", [](int64_t count) { return cpu_pool().fail_allocation(count); }, py::arg("count"));
  memory.def("check_guards", &check_guards, on_device);
  memory.def(
      "leak_report",
      [](int64_t most, const std::string& device) {
        if (most < 0) fail<ValueError>("leak_report: most must be at least 0, got ", most);
        return pool_of(device).leak_report(static_cast<size_t>(most), &line_of_tag);
      },
      py::arg("most"), on_device, Unlocked());

  m.def("get_num_threads", &num_threads,
        "Threads that one call may use, the calling one among them.\n\n"
        "Returns:\n    int: the number set, or the default from the environment, affinity and control group.\n\n"
        "Example:\n    >>> import gorgo as gg\n    >>> gg.get_num_threads() >= 1\n    True\n");
  m.def("set_num_threads", &set_num_threads, py::arg("n"), Unlocked(),
        "Set how many threads one call may use.\n\n"
        "Results do not depend on it: work is split by shape alone.\n\n"
        "Args:\n    n (int): at least 1 and at most 4096; 1 keeps everything on the calling thread.\n\n"
        "Raises:\n    ValueError: n is out of range.\n\n"
        "Example:\n    >>> import gorgo as gg\n    >>> before = gg.get_num_threads()\n    >>> gg.set_num_threads(2)\n"
        "    >>> gg.get_num_threads()\n    2\n    >>> gg.set_num_threads(before)\n");
}

}  // namespace gorgo

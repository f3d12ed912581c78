// What the control group (v1 or v2) grants this process: processor time and memory. Containers are sized by these, not
// by the machine, and both the thread pool and the memory pool must stay inside them.
//
// Invariant: nothing here throws on an odd or unreadable system; no limit found means none. Both versions are looked up
// from the process's own group up to the root, the tightest wins. `root` lets tests give a tree of their own.
// Read next: parallel.h, memory/block_pool.h.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace gorgo {

// CPUs' worth of time per period, such as 1.5; none when unlimited.
std::optional<double> cgroup_cpu_quota(const std::string& root = "");

// The tightest memory limit in bytes; none when unlimited.
std::optional<size_t> cgroup_memory_limit_bytes(const std::string& root = "");

// Physical memory of the machine in bytes; 0 when unknown.
size_t physical_memory_bytes();

}  // namespace gorgo

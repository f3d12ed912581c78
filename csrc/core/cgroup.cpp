#include "core/cgroup.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "core/check.h"

namespace gorgo {
namespace {

struct Membership {
  std::string controllers;  // "" for v2, else a comma list
  std::string path;
};

struct Mount {
  std::string root;   // which group of the hierarchy is mounted
  std::string point;  // where
  std::string type;   // cgroup or cgroup2
  std::string options;
};

bool has_word(const std::string& list, const std::string& word) {
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');) {
    if (item == word) return true;
  }
  return false;
}

std::vector<Membership> memberships(const std::string& root) {
  std::vector<Membership> found;
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const size_t a = line.find(':');
    const size_t b = a == std::string::npos ? a : line.find(':', a + 1);
    if (b != std::string::npos) found.push_back({line.substr(a + 1, b - a - 1), line.substr(b + 1)});
  }
  return found;
}

// Fields of mountinfo: id parent dev root point options tags... - type source superoptions
std::vector<Mount> cgroup_mounts(const std::string& root) {
  std::vector<Mount> found;
  std::ifstream in(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t dash = line.find(" - cgroup");
    if (dash == std::string::npos) continue;
    std::istringstream left(line.substr(0, dash));
    std::istringstream right(line.substr(dash + 3));
    std::string skip;
    std::string source;
    Mount mount;
    left >> skip >> skip >> skip >> mount.root >> mount.point;
    right >> mount.type >> source >> mount.options;
    found.push_back(std::move(mount));
  }
  return found;
}

// Calls visit with the folder of this process's group and of each group above it, for one controller.
void visit_groups(const std::string& root, const std::string& controller,
                  const std::function<void(const std::string& folder, bool v2)>& visit) {
  const std::vector<Membership> groups = memberships(root);
  for (const Mount& mount : cgroup_mounts(root)) {
    const bool v2 = mount.type == "cgroup2";
    if (!v2 && !has_word(mount.options, controller)) continue;
    std::string path;
    for (const Membership& group : groups) {
      if (v2 ? group.controllers.empty() : has_word(group.controllers, controller)) path = group.path;
    }
    // Inside a container the mount shows a subtree, whose own name the path may or may not repeat.
    if (mount.root.size() > 1 && path.rfind(mount.root, 0) == 0) path = path.substr(mount.root.size());
    while (!path.empty() && path.back() == '/') path.pop_back();
    while (true) {
      visit(cat(root, mount.point, path), v2);
      if (path.empty()) break;
      const size_t slash = path.rfind('/');
      path.resize(slash == std::string::npos ? 0 : slash);
    }
  }
}

std::string first_line(const std::string& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

}  // namespace

std::optional<double> cgroup_cpu_quota(const std::string& root) {
  std::optional<double> tightest;
  const auto take = [&](double quota, double period) {
    if (quota <= 0 || period <= 0) return;
    const double cpus = quota / period;
    if (!tightest || cpus < *tightest) tightest = cpus;
  };
  visit_groups(root, "cpu", [&](const std::string& folder, bool v2) {
    if (v2) {
      std::istringstream in(first_line(folder + "/cpu.max"));  // "max 100000" or "150000 100000"
      std::string quota;
      double period = 100000;
      in >> quota >> period;
      if (!quota.empty() && quota != "max") take(std::strtod(quota.c_str(), nullptr), period);
    } else {
      take(std::strtod(first_line(folder + "/cpu.cfs_quota_us").c_str(), nullptr),
           std::strtod(first_line(folder + "/cpu.cfs_period_us").c_str(), nullptr));
    }
  });
  return tightest;
}

std::optional<size_t> cgroup_memory_limit_bytes(const std::string& root) {
  // Without a limit, v1 shows the largest multiple of a page that fits in 63 bits.
  constexpr unsigned long long kUnlimited_bytes = 1ull << 60;
  std::optional<size_t> tightest;
  visit_groups(root, "memory", [&](const std::string& folder, bool v2) {
    const std::string text = first_line(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (text.empty() || text == "max") return;
    const unsigned long long bytes = std::strtoull(text.c_str(), nullptr, 10);
    if (bytes == 0 || bytes >= kUnlimited_bytes) return;
    if (!tightest || bytes < *tightest) tightest = static_cast<size_t>(bytes);
  });
  return tightest;
}

size_t physical_memory_bytes() {
#if defined(_SC_PHYS_PAGES) && defined(_SC_PAGESIZE)
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page_bytes > 0) return static_cast<size_t>(pages) * static_cast<size_t>(page_bytes);
#endif
  return 0;
}

}  // namespace gorgo

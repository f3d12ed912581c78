// The readers of environment variables, and the control group's limits on trees of files made here.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/cgroup.h"
#include "core/check.h"
#include "core/env.h"

namespace {

using namespace gorgo;
namespace fs = std::filesystem;

// Sets a variable for the life of the object.
class Setting {
 public:
  Setting(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~Setting() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const ValueError& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("env_int reads whole numbers and names what it refuses") {
  {
    Setting set("GORGO_CACHE_LIMIT", "-12");
    CHECK(env_int("GORGO_CACHE_LIMIT") == -12);
  }
  {
    Setting set("GORGO_CACHE_LIMIT", "");
    CHECK_FALSE(env_int("GORGO_CACHE_LIMIT").has_value());
  }
  for (const char* bad : {"8x", "x", "1.5", " 3", "99999999999999999999", "0x10"}) {
    Setting set("GORGO_CACHE_LIMIT", bad);
    CHECK(message_of([] { env_int("GORGO_CACHE_LIMIT"); }) ==
          "GORGO_CACHE_LIMIT: must be a whole number, got '" + std::string(bad) + "'");
  }
}

TEST_CASE("env_flag knows its words in any case") {
  for (const char* yes : {"1", "true", "ON", "Yes"}) {
    Setting set("GORGO_MEMORY_DEBUG", yes);
    CHECK(env_flag("GORGO_MEMORY_DEBUG", false));
  }
  for (const char* no : {"0", "False", "off", "NO"}) {
    Setting set("GORGO_MEMORY_DEBUG", no);
    CHECK_FALSE(env_flag("GORGO_MEMORY_DEBUG", true));
  }
  Setting set("GORGO_MEMORY_DEBUG", "maybe");
  const std::string message = message_of([] { env_flag("GORGO_MEMORY_DEBUG", false); });
  CHECK(message.find("GORGO_MEMORY_DEBUG: ") == 0);
  CHECK(message.find("got 'maybe'") != std::string::npos);
}

TEST_CASE("an unset flag keeps the default") {
  Setting set("GORGO_MEMORY_DEBUG", "");
  CHECK(env_flag("GORGO_MEMORY_DEBUG", true));
  CHECK_FALSE(env_flag("GORGO_MEMORY_DEBUG", false));
}

TEST_CASE("a variable that the table does not list cannot be read") {
  CHECK_THROWS_AS(env_int("GORGO_UNHEARD_OF"), StateError);
  CHECK_THROWS_AS(env_string("HOME"), StateError);
}

TEST_CASE("env_vars lists every variable once with its value now") {
  Setting set("GORGO_ISA", "avx2");
  bool found = false;
  const auto vars = env_vars();
  for (size_t i = 0; i < vars.size(); ++i) {
    CHECK(std::string(vars[i].doc).size() > 10);
    for (size_t j = 0; j < i; ++j) CHECK(std::string(vars[i].name) != vars[j].name);
    if (std::string(vars[i].name) == "GORGO_ISA") {
      found = true;
      CHECK(vars[i].current == "avx2");
    }
  }
  CHECK(found);
}

// A file tree that looks like a machine's /proc and /sys.
class Tree {
 public:
  Tree() {
    std::string name = (fs::temp_directory_path() / "gorgo_cgroup_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    root_ = name;
  }
  ~Tree() { fs::remove_all(root_); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  void write(const std::string& path, const std::string& text) const {
    const fs::path file = root_ + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  const std::string& root() const { return root_; }

 private:
  std::string root_;
};

TEST_CASE("control groups, version 2: the tightest limit on the way up counts") {
  Tree tree;
  tree.write("/proc/self/cgroup", "0::/a/b");
  tree.write("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate");
  tree.write("/sys/fs/cgroup/a/b/cpu.max", "max 100000");
  tree.write("/sys/fs/cgroup/a/cpu.max", "150000 100000");
  tree.write("/sys/fs/cgroup/a/b/memory.max", "2147483648");
  tree.write("/sys/fs/cgroup/a/memory.max", "1073741824");
  CHECK(cgroup_cpu_quota(tree.root()) == 1.5);
  CHECK(cgroup_memory_limit_bytes(tree.root()) == size_t{1} << 30);
}

TEST_CASE("control groups, version 1: controllers have hierarchies of their own") {
  Tree tree;
  tree.write("/proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n0::/");
  tree.write("/proc/self/mountinfo",
             "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
             "32 30 0:28 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory");
  tree.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "300000");
  tree.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000");
  tree.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
  tree.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000");
  tree.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912");
  CHECK(cgroup_cpu_quota(tree.root()) == 3.0);
  CHECK(cgroup_memory_limit_bytes(tree.root()) == size_t{512} << 20);
}

TEST_CASE("no limit, and no control groups at all, mean none") {
  Tree tree;
  CHECK_FALSE(cgroup_cpu_quota(tree.root()).has_value());
  CHECK_FALSE(cgroup_memory_limit_bytes(tree.root()).has_value());
  tree.write("/proc/self/cgroup", "4:memory:/\n0::/");
  tree.write("/proc/self/mountinfo",
             "31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
             "32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw");
  tree.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  tree.write("/sys/fs/cgroup/unified/cpu.max", "nonsense");
  CHECK_FALSE(cgroup_cpu_quota(tree.root()).has_value());
  CHECK_FALSE(cgroup_memory_limit_bytes(tree.root()).has_value());
  CHECK(physical_memory_bytes() > size_t{1} << 26);
}

}  // namespace

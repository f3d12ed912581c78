// Environment variables: the only getenv of the library, and the one table of every variable that it reads.
//
// Invariant: a reader accepts only a name that the table in env.cpp lists, so `show_config()` can never miss one; a
// value that does not parse raises ValueError with variable, expectation and value. An empty value counts as unset.
// Readers look at the environment at each call; callers keep what they need.
//
// Read next: parallel.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gorgo {

struct EnvVar {
  const char* name;
  const char* doc;                     // one line: what it does and which values it takes
  std::optional<std::string> current;  // as the process sees it now; none when unset or empty
};

// A whole number such as "8"; none when unset.
std::optional<int64_t> env_int(const char* name);

// 1, true, on, yes against 0, false, off, no, in any case; `otherwise` when unset.
bool env_flag(const char* name, bool otherwise);

std::optional<std::string> env_string(const char* name);

// Every variable that the library reads, in the order of the table.
std::vector<EnvVar> env_vars();

}  // namespace gorgo

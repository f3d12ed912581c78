// What this copy of the library was built from and for; gorgo.show_config() and bug reports print it.
//
// The facts come from CMake as defines of build_info.cpp alone, so that a new version recompiles one file.
#pragma once

namespace gorgo {

struct BuildInfo {
  const char* version;     // as in pyproject.toml
  const char* compiler;    // name and version
  const char* build_type;  // Release, Debug, RelWithDebInfo
  const char* sanitizers;  // "address+undefined", or "" for none
  const char* isas;        // what kernels were compiled for, best last: "base avx2 avx512"
};

[[nodiscard]] const BuildInfo& build_info() noexcept;

}  // namespace gorgo

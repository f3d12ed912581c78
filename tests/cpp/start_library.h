// Makes ops callable from C++ tests: devices, funnel and registry, once per process.
#pragma once

#include "device/backend.h"
#include "dispatch/call.h"
#include "ops/all_ops.h"

namespace gorgo {

inline void start_library() {
  static const bool started = [] {
    install_devices();
    install_funnel();
    register_all_ops();
    return true;
  }();
  static_cast<void>(started);
}

}  // namespace gorgo

// The list of ops: filled once at import, read ever after.
//
// A family exports `void register_<family>(Registry&)` from its host file and, from kernels_cpu.cpp,
// `void GORGO_ISA_NS::fill_<family>(KernelSink&)`; ops/all_ops.cpp has one line per family.
#pragma once

#include <deque>
#include <string_view>
#include <vector>

#include "opdef/op.h"

namespace gorgo {

class Registry {
 public:
  static Registry& instance();

  // Adds an op and returns its home, which never moves. Throws StateError on a repeated name.
  const OpDef& add(OpDef op);
  // Null when there is none.
  [[nodiscard]] const OpDef* find(std::string_view name) const noexcept;
  [[nodiscard]] const OpDef& get(std::string_view name) const;  // throws StateError
  [[nodiscard]] const std::deque<OpDef>& ops() const noexcept { return ops_; }
  // Puts a kernel into an op's table, replacing what a lower ISA put there. The name "<op>#count" is the count kernel.
  void set_kernel(std::string_view op, DeviceType device, DType dtype, const Kernel& kernel);

 private:
  std::deque<OpDef> ops_;
  std::deque<Kernel> kernels_;
  std::vector<std::pair<std::string_view, OpDef*>> by_name_;  // sorted
};

}  // namespace gorgo

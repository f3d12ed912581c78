#include "opdef/registry.h"

#include <algorithm>

namespace gorgo {
namespace {

auto position(const std::vector<std::pair<std::string_view, OpDef*>>& sorted, std::string_view name) {
  return std::lower_bound(sorted.begin(), sorted.end(), name,
                          [](const auto& entry, std::string_view key) { return entry.first < key; });
}

constexpr std::string_view kCountSuffix = "#count";

}  // namespace

Registry& Registry::instance() {
  static auto* registry = new Registry;  // never destroyed: tensors may outlive static destructors
  return *registry;
}

const OpDef& Registry::add(OpDef op) {
  if (find(op.name) != nullptr) fail<StateError>("registry: op names must differ, got ", op.name, " twice");
  op.id = static_cast<int>(ops_.size());
  OpDef& home = ops_.emplace_back(std::move(op));
  by_name_.insert(position(by_name_, home.name), {home.name, &home});
  return home;
}

const OpDef* Registry::find(std::string_view name) const noexcept {
  const auto at = position(by_name_, name);
  return at != by_name_.end() && at->first == name ? at->second : nullptr;
}

const OpDef& Registry::get(std::string_view name) const {
  const OpDef* op = find(name);
  if (op == nullptr) fail<StateError>("registry: op must be registered, got ", name);
  return *op;
}

void Registry::set_kernel(std::string_view op, DeviceType device, DType dtype, const Kernel& kernel) {
  const bool counts = op.ends_with(kCountSuffix);
  const std::string_view name = counts ? op.substr(0, op.size() - kCountSuffix.size()) : op;
  auto* home = const_cast<OpDef*>(&get(name));
  auto& table = counts ? home->count_kernels : home->kernels;
  table[static_cast<int>(device)][static_cast<int>(dtype)] = &kernels_.emplace_back(kernel);
}

}  // namespace gorgo

#include "opdef/epilogue.h"

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace gorgo {
namespace {

struct Joined {
  const OpDef* op;
  const OpDef* base;
  Epilogue epilogue;
};
std::vector<Joined>& all_joined() {
  static auto* const list = new std::vector<Joined>;  // as long as the registry
  return *list;
}

void infer_joined(InferContext& c) {
  const auto joined =
      std::find_if(all_joined().begin(), all_joined().end(), [&](const Joined& j) { return j.op == &c.op; });
  const auto all = c.in;
  const size_t own = joined->base->inputs.size();
  c.in = all.first(all.size() < own ? all.size() : own);
  joined->base->infer(c);
  c.in = all;
  if (!is_floating(c.compute_dtype)) {
    fail<TypeError>(c.name(), ": operands must have a real floating dtype, got ", c.compute_dtype);
  }
  if (!reads_saved(joined->epilogue)) return;
  const auto last = static_cast<int>(own);
  if (c.dtype(last) != c.out[0].dtype || c.tensor(last).numel != numel_of(c.out[0].shape)) {
    fail<ValueError>(c.name(), ": saved must be ", c.out[0].dtype, " with as many elements as the result ",
                     c.out[0].shape, ", got ", c.dtype(last), ' ', c.shape(last));
  }
}

}  // namespace

void register_with_epilogues(Registry& registry, const OpDef& base, std::initializer_list<Epilogue> epilogues) {
  static auto* const texts = new std::deque<std::string>;
  for (const Epilogue epilogue : epilogues) {
    OpDef op;
    op.name = texts->emplace_back(std::string(base.name) + '_' + name_of(epilogue)).c_str();
    op.doc = texts
                 ->emplace_back(std::string("Run ") + base.name + " and then " + name_of(epilogue) +
                                " as one step: what capture makes of them.")
                 .c_str();
    op.inputs = base.inputs;
    if (reads_saved(epilogue))
      op.inputs.push_back({.name = "saved", .shape_doc = "(...) float, as many elements as the result"});
    op.attrs = base.attrs;
    op.infer = infer_joined;
    op.not_differentiable = "graphs are given epilogues after they are recorded, gradients included";
    op.onnx.reason = "exported as the two ops that it was made of";
    op.cost = base.cost;
    op.flags.internal = true;
    all_joined().push_back({&registry.add(std::move(op)), &base, epilogue});
  }
}

const OpDef* with_epilogue(const OpDef& base, const OpDef& then) noexcept {
  for (const Joined& j : all_joined()) {
    if (j.base == &base && name_of(j.epilogue) == std::string_view(then.name)) return j.op;
  }
  return nullptr;
}

}  // namespace gorgo

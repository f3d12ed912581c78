#include "opdef/invoke.h"

namespace gorgo {

Funnel funnel{};

TensorImpl& InferContext::tensor(int i) const {
  const Arg& arg = in[static_cast<size_t>(i)];
  if (!arg.is_tensor()) {
    fail<TypeError>(op.name, ": ", op.slot_of(i).name, " must be a tensor, got ",
                    arg.given() ? "a Python scalar" : "None");
  }
  return *arg.tensor;
}

}  // namespace gorgo

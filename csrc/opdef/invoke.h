// How code below and beside the funnel calls an op: through a pointer that dispatch fills in.
//
// Family headers build typed calls on these; gradient rules compose ops with them.
#pragma once

#include <initializer_list>
#include <span>

#include "opdef/op.h"

namespace gorgo {

using Outputs = SmallVector<Tensor, 2>;

struct Funnel {
  // Runs an op on new outputs.
  Outputs (*call)(const OpDef& op, std::span<const Arg> args, const void* attrs);
  // The same for ops with one output, which is most of them.
  Tensor (*call1)(const OpDef& op, std::span<const Arg> args, const void* attrs);
  // Runs an elementwise (or inplace_ok) op and assigns its result to `target`, whose shape and dtype stay.
  void (*call_into)(const OpDef& op, std::span<const Arg> args, const void* attrs, const Tensor& target);
};
extern Funnel funnel;

[[nodiscard]] inline Tensor invoke(const OpDef& op, std::initializer_list<Arg> args, const void* attrs = nullptr) {
  return funnel.call1(op, {args.begin(), args.size()}, attrs);
}
[[nodiscard]] inline Outputs invoke_all(const OpDef& op, std::span<const Arg> args, const void* attrs = nullptr) {
  return funnel.call(op, args, attrs);
}
inline void invoke_into(const OpDef& op, std::initializer_list<Arg> args, const Tensor& target,
                        const void* attrs = nullptr) {
  funnel.call_into(op, {args.begin(), args.size()}, attrs, target);
}

}  // namespace gorgo

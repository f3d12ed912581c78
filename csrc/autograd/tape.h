// The tape: refcounted records of ops, and the one reverse loop.
//
// Invariants: a record is numbered from one atomic counter, so falling numbers are a reverse topological order. It holds its
// inputs' records, not its outputs, and dies with the last tensor or record that needs it, by an explicit stack: no recursion
// anywhere, whatever the depth. Values are saved with the storage's version, and a write since then is an error that names
// the op and the line.
// Read next: tape.cpp (the loop), accumulate.h (sums of gradients), dispatch/call.cpp (who records).
#pragma once

#include <span>
#include <string>

#include "autograd/interrupt.h"
#include "autograd/mode.h"
#include "opdef/op.h"

namespace gorgo {

// Where in the user's program a record was made: opaque here, supplied by the bindings.
struct Origin {
  void* code = nullptr;  // owned
  int32_t offset = 0;
};
struct OriginHooks {
  Origin (*here)() noexcept = nullptr;               // the innermost Python code object; a few nanoseconds
  void (*release)(void* code) noexcept = nullptr;    // any thread
  std::string (*describe)(const Origin&) = nullptr;  // "train.py:12 in step"
};
extern OriginHooks origin_hooks;

struct Node;  // NOLINT(cppcoreguidelines-virtual-class-destructor): final, and ended by its own dispose() alone

// One input of a record: the record that made it, or the leaf whose .grad receives the sum; null when no gradient is wanted.
struct Edge {
  Ref<TapeNode> node;  // a Node
  Tensor leaf;
  int32_t output = 0;
  [[nodiscard]] bool wanted() const noexcept { return static_cast<bool>(node) || static_cast<bool>(leaf); }
};

struct SavedTensor {
  Tensor tensor;
  uint32_t version = 0;
};

struct Node final : TapeNode {
  const OpDef* op = nullptr;
  uint64_t number = 0;
  Attrs attrs;
  SmallVector<Edge, 2> edges;            // by input position
  SmallVector<SavedTensor, 2> inputs;    // by input position, or empty
  SmallVector<SavedTensor, 1> outputs;   // by output position, or empty
  SmallVector<Meta, 2> input_metas;      // by input position
  SmallVector<Arg, 1> scalars;           // by input position, when the call had any; tensors are left out
  SmallVector<TensorImpl*, 1> retained;  // outputs with retains_grad; weak, they unregister when they die
  Origin origin;
  int32_t output_count = 0;
  bool released = false;  // saved values are gone: a second backward is an error

  static Node* create();

 private:
  ~Node() = default;
  static void destroy(Node* node) noexcept;
  void dispose() noexcept override;
};

// Does any tensor among `args` want a gradient? (Views behind a write are renewed by `tape_of`.)
[[nodiscard]] inline bool any_requires_grad(std::span<const Arg> args) noexcept {
  for (const Arg& a : args) {
    if (a.is_tensor() && a.tensor->requires_grad) return true;
  }
  return false;
}

// Makes the record of a call whose outputs are `outs`, and hangs it on them. Caller has checked the mode.
void record(const OpDef& op, std::span<const Arg> args, const void* attrs, std::span<const Tensor> outs);
// The same for a call whose output 0 was assigned to `target`: the record is hung on the target, and through a view on its
// base. `saved` are the operands as they were before the write.
void record_inplace(const OpDef& op, std::span<const Arg> args, std::span<const Arg> saved, const void* attrs,
                    const Tensor& target);
// Does a record of this call keep operand i?
[[nodiscard]] bool saves_input(const OpDef& op, std::span<const Arg> args, int i) noexcept;
// Keeps .grad of a tensor that is no leaf. StateError when it has no record.
void retain_grad(TensorImpl& t);
// Brings a view's tape slot up to date with a write to its base.
void refresh_view(TensorImpl& view);

struct BackwardOptions {
  bool retain_graph = false;
  bool create_graph = false;
};
// Sums d(sum(roots * grads))/d(leaf) into .grad of every leaf. Null gradients mean one, for single-element roots.
void backward(std::span<const Tensor> roots, std::span<const Tensor> grads, const BackwardOptions& options);
// The gradients with respect to `inputs` instead; nothing is accumulated. A null result means "does not depend".
[[nodiscard]] SmallVector<Tensor, 2> gradient(std::span<const Tensor> roots, std::span<const Tensor> grads,
                                              std::span<const Tensor> inputs, const BackwardOptions& options);

// Number of records alive, for leak tests.
[[nodiscard]] int64_t live_records() noexcept;

}  // namespace gorgo

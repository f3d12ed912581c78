// What an op is: one OpDef, read by everybody (funnel, tape, capture, bindings, stubs, tests, ONNX).
//
// Invariant: an OpDef is complete after registration and never changes. Its functions are pure but for what they return or
// set in their context; they never look at modes, devices' state or Python.
// Read next: registry.h (how ops are found), invoke.h (how ops are called), dispatch/call.cpp (the funnel).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/attrs.h"
#include "core/kernel_args.h"
#include "core/small_vector.h"
#include "tensor/tensor.h"

namespace gorgo {

struct OpDef;

// An operand of a call: a tensor, a weak Python scalar, or nothing (an optional input not given). Borrows the tensor.
struct Arg {
  enum class Kind : uint8_t { None, Value, Number };
  Kind kind = Kind::None;
  TensorImpl* tensor = nullptr;
  Scalar scalar;

  Arg() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): calls read as op(x, y, 2.0)
  Arg(TensorImpl* t) : kind(t != nullptr ? Kind::Value : Kind::None), tensor(t) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Arg(const gorgo::Tensor& t) : Arg(t.get()) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Arg(const gorgo::Scalar& s) : kind(Kind::Number), scalar(s) {}
  [[nodiscard]] bool is_tensor() const noexcept { return kind == Kind::Value; }
  [[nodiscard]] bool is_scalar() const noexcept { return kind == Kind::Number; }
  [[nodiscard]] bool given() const noexcept { return kind != Kind::None; }
};

// What infer says of one output. `strides` and `offset` are for view ops only; the offset is absolute in the storage.
struct OutSpec {
  DType dtype = DType::Float32;
  Shape shape;
  Strides strides;
  int64_t offset = 0;
};

// Shape and dtype of a tensor that need not exist any more.
struct Meta {
  DType dtype = DType::Float32;
  Shape shape;
};

// The question put to infer, and its answer.
struct InferContext {
  const OpDef& op;
  std::span<const Arg> in;
  const void* attrs = nullptr;
  std::span<const int64_t> counts{};  // data-dependent ops: what the count kernel found

  // The answer. compute_dtype picks the kernel's row; inputs in cast_mask (bit i, capped at bit 31 for all later ones) are
  // converted to it first, scalars always are.
  DType compute_dtype = DType::Float32;
  uint32_t cast_mask = 0;
  SmallVector<OutSpec, 2> out;
  // Where the outputs are made: the operands' device, unless a transfer says otherwise.
  Device device;
  bool non_blocking = false;  // a transfer need not wait until the host's memory has been read

  // A constructor, since aggregate initialization would clear the room for outputs first.
  InferContext(const OpDef& called, std::span<const Arg> operands, const void* call_attrs) noexcept
      : op(called), in(operands), attrs(call_attrs) {}

  template <class A>
  [[nodiscard]] const A& attrs_as() const noexcept {
    return *static_cast<const A*>(attrs);
  }
  [[nodiscard]] const char* name() const noexcept;
  [[nodiscard]] TensorImpl& tensor(int i) const;  // throws TypeError when operand i is no tensor
  [[nodiscard]] const Shape& shape(int i) const { return tensor(i).shape; }
  [[nodiscard]] DType dtype(int i) const { return tensor(i).dtype; }
  OutSpec& add_output(DType dtype, const Shape& shape) {
    OutSpec& spec = out.emplace_back();
    spec.dtype = dtype;
    spec.shape = shape;
    return spec;
  }
};

// The question put to vjp: given gradients of outputs, set gradients of inputs. Filled in by the tape.
struct VjpContext {
  const OpDef& op;
  const void* attrs = nullptr;
  std::span<Tensor> grads{};            // of outputs; null where no gradient arrived
  std::span<const Tensor> inputs{};     // saved inputs, by position; null where not saved
  std::span<const Arg> args{};          // scalars by position, for ops that take them
  std::span<const Tensor> outputs{};    // saved outputs, by position
  std::span<const Meta> input_metas{};  // shape and dtype of every tensor input
  std::span<const bool> needs{};        // does input i want a gradient?
  std::span<Tensor> result{};           // to be set; leave null for zero
  bool create_graph = false;  // gradients will be differentiated: compose ops instead of fused backward kernels

  template <class A>
  [[nodiscard]] const A& attrs_as() const noexcept {
    return *static_cast<const A*>(attrs);
  }
  [[nodiscard]] const Shape& input_shape(int i) const { return input_metas[static_cast<size_t>(i)].shape; }
  [[nodiscard]] DType input_dtype(int i) const { return input_metas[static_cast<size_t>(i)].dtype; }
  [[nodiscard]] const Tensor& grad(int i = 0) const { return grads[static_cast<size_t>(i)]; }
  [[nodiscard]] const Tensor& input(int i) const { return inputs[static_cast<size_t>(i)]; }
  [[nodiscard]] const Tensor& output(int i = 0) const { return outputs[static_cast<size_t>(i)]; }
  [[nodiscard]] bool wants(int i) const { return needs[static_cast<size_t>(i)]; }
  void set(int i, Tensor g) { result[static_cast<size_t>(i)] = std::move(g); }
};

enum class SlotKind : uint8_t { Single, Optional, List };  // a List is last and takes all remaining operands

struct Slot {
  const char* name;
  SlotKind kind = SlotKind::Single;
  bool mutates = false;  // the kernel writes this input
  bool takes_scalar = false;
  // Part of the name and dtype grammar of the docs, e.g. "(..., n) float".
  const char* shape_doc = "";
};

struct OpFlags {
  bool view = false;         // output shares the input's storage; no kernel
  bool inplace_ok = false;   // output 0 may be input 0's own memory
  bool elementwise = false;  // may be fused
  bool random = false;
  bool data_dependent = false;  // output shape comes from values
  bool host = false;
  bool linear = false;    // needs no jvp of its own
  bool internal = false;  // no public Python name (backward companions)
  bool truth = false;     // operands are asked whether they are zero, numbers too
  bool transfer = false;  // output 0 is input 0 on another device; no kernel
};

struct OnnxName {
  const char* type = nullptr;  // ONNX operator, or null with a reason
  int since_opset = 0;
  const char* reason = nullptr;
};

struct Cost {
  double flops = 0.0;
  double bytes = 0.0;
};

using VjpFn = void (*)(VjpContext& context);

inline constexpr uint32_t kSaveAll = 0xffffffffu;

struct OpDef {
  const char* name = nullptr;
  const char* doc = nullptr;  // one imperative line
  const char* details = "";   // further docstring text: Args, Returns, Raises, Source, Example
  std::vector<Slot> inputs;
  std::vector<const char*> outputs = {"out"};
  const AttrSchema* attrs = nullptr;  // null when the op has none
  void (*infer)(InferContext& context) = nullptr;
  // Which operands a call writes, for ops whose one List slot holds several lists (parameters, gradients, state). Null: the
  // slot says it. Read through mutates_operand() only.
  bool (*mutates)(const void* attrs, int operand, int operand_count) = nullptr;
  VjpFn vjp = nullptr;
  const char* not_differentiable = nullptr;  // the reason, when vjp is null
  uint32_t saves_inputs = 0;                 // bit i: input i is kept for vjp (kSaveAll for lists)
  uint32_t saves_outputs = 0;
  // Which of saves_inputs are kept when only the inputs in `needs` want a gradient; null means all of them.
  uint32_t (*saves_when)(uint32_t needs) = nullptr;
  void (*jvp)() = nullptr;  // forward mode and vmap get their signatures with their first user
  void (*batch)() = nullptr;
  OnnxName onnx;
  Cost (*cost)(const KernelArgs& args) = nullptr;
  // The exception for a fault that a kernel reported; must throw. Null when the op's kernels report none.
  void (*raise_fault)(const Fault& fault, const KernelArgs& args) = nullptr;
  OpFlags flags;

  // Filled in by the registry.
  int id = -1;
  const Kernel* kernels[kDeviceTypeCount][kDTypeCount] = {};
  const Kernel* count_kernels[kDeviceTypeCount][kDTypeCount] = {};  // data-dependent ops: writes int64 counts to out 0
  [[nodiscard]] bool mutates_any() const noexcept {
    if (mutates != nullptr) return true;
    for (const Slot& s : inputs) {
      if (s.mutates) return true;
    }
    return false;
  }
  [[nodiscard]] const Slot& slot_of(int i) const noexcept {
    const auto n = static_cast<int>(inputs.size());
    return inputs[static_cast<size_t>(i < n ? i : n - 1)];
  }
  // A number among the operands, as the kernel is to see it.
  [[nodiscard]] Scalar operand_of(const Scalar& s) const noexcept {
    return flags.truth ? Scalar::of_bool(s.to_bool()) : s;
  }
  [[nodiscard]] bool mutates_operand(const void* call_attrs, int i, int count) const {
    return mutates != nullptr ? mutates(call_attrs, i, count) : slot_of(i).mutates;
  }
};

inline const char* InferContext::name() const noexcept { return op.name; }

}  // namespace gorgo

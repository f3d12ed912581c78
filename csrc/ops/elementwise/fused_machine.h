// What the kernel that runs fused steps executes: instructions over an accumulator and slots, made from a step's program.
//
// The accumulator holds what the last instruction made. A value that a later one reads, other than the next alone, has a slot from
// its instruction to its last reader; operands in memory have slots from the start. Numbers lie in a table.
// Invariant: an instruction reads its slots before it writes one, so the slot of an operand that dies may take the result.
// Read next: fused_interpreter.cuh.
#pragma once

#include "core/fused.h"
#include "core/kernel_args.h"

namespace gorgo {

// How a value lies in memory and in its slot.
enum class FusedType : uint8_t { Own, Float16, BFloat16, Bool };

inline FusedType fused_type(DType d) noexcept {
  return d == DType::Bool       ? FusedType::Bool
         : d == DType::Float16  ? FusedType::Float16
         : d == DType::BFloat16 ? FusedType::BFloat16
                                : FusedType::Own;
}

// An instruction as the kernel reads it. `how` has one bit for each question that the kernel asks, so that an answer is one test.
struct alignas(8) FusedCode {
  uint32_t how = 0;
  FusedOp op = FusedOp::Move;
  // Where operands are, and where the result goes to as well: the first line of a slot, or which number.
  uint32_t a = 0;
  uint32_t b = 0;
  uint32_t c = 0;
  uint32_t to = 0;

  // How an operand is read; none of these: a slot of bool. Those of a at bit 0, of b at kB, of c at kC.
  static constexpr uint32_t kOwn = 1;  // a slot of the type that is computed in
  static constexpr uint32_t kNumber = 2;
  static constexpr uint32_t kAccumulator = 4;
  static constexpr uint32_t kBFloat16 = 8;
  static constexpr uint32_t kFloat16 = 16;
  static constexpr int kB = 5;
  static constexpr int kC = 10;
  static constexpr uint32_t kReadsB = 1u << 15;
  static constexpr uint32_t kReadsC = 1u << 16;
  // What is left to do when the result is there.
  static constexpr uint32_t kRoundsBFloat16 = 1u << 17;
  static constexpr uint32_t kRoundsFloat16 = 1u << 18;
  static constexpr uint32_t kToOwn = 1u << 19;
  static constexpr uint32_t kToBFloat16 = 1u << 20;
  static constexpr uint32_t kToFloat16 = 1u << 21;
  static constexpr uint32_t kToBool = 1u << 22;
  static constexpr uint32_t kStores = kToOwn | kToBFloat16 | kToFloat16 | kToBool;
  static constexpr uint32_t kLong = 1u << 23;  // the code of the instruction is long: see the interpreter
  static constexpr int kWrites = 24;           // outputs that are the result, a bit each
  static constexpr uint32_t kAfter = ~((1u << 17) - 1) & ~kLong;
};
static_assert(sizeof(FusedCode) == 24);

// More than some ten machine instructions for an element.
constexpr bool fused_is_long(FusedOp op) noexcept {
  switch (op) {
    case FusedOp::Sqrt:
    case FusedOp::Rsqrt:
    case FusedOp::Reciprocal:
    case FusedOp::Exp:
    case FusedOp::Exp2:
    case FusedOp::Expm1:
    case FusedOp::Log:
    case FusedOp::Log1p:
    case FusedOp::Log2:
    case FusedOp::Tanh:
    case FusedOp::Erf:
    case FusedOp::Sigmoid:
    case FusedOp::Softplus:
    case FusedOp::Silu:
    case FusedOp::Gelu:
    case FusedOp::GeluTanh:
    case FusedOp::Hardsigmoid:
    case FusedOp::Hardswish:
    case FusedOp::Divide:
    case FusedOp::SqrtBackward:
    case FusedOp::Log1pBackward:
    case FusedOp::ErfBackward:
    case FusedOp::SoftplusBackward:
    case FusedOp::SiluBackward:
    case FusedOp::GeluBackward:
    case FusedOp::GeluTanhBackward:
    case FusedOp::HardswishBackward:
    case FusedOp::DivideBackwardA:
    case FusedOp::DivideBackwardB:
      return true;
    default:
      return false;
  }
}

constexpr int kFusedValues = kFusedInputs + kFusedNumbers + kFusedInstructions;

struct FusedMachine {
  int count = 0;
  int slots = 0;
  int scratch = 0;      // slots for instructions whose code is long
  bool halves = false;  // there are values of two bytes
  FusedCode code[kFusedInstructions];
  int inputs = 0;
  int8_t input_operand[kFusedInputs];  // which operand lies in slot i at the start
  int numbers = 0;
  int8_t number_operand[kFusedNumbers];

  // From the program and its operands, of which those on the host are numbers. Slots are named by their numbers.
  static FusedMachine of(const KernelArgs& args) noexcept {
    struct Home {
      uint32_t how = 0;
      uint32_t index = 0;
      bool slot = false;
    };
    const auto& attrs = args.attrs_as<FusedAttrs>();
    FusedMachine m;
    const int operands = args.in_count;
    const int count = attrs.count();
    int last_read[kFusedValues];  // by which instruction
    Home home[kFusedValues];      // outside the accumulator
    bool busy[kFusedValues] = {};
    for (int v = 0; v < operands + count; ++v) last_read[v] = -1;
    for (int i = 0; i < count; ++i) {
      for (const int v : attrs.at(i).reads) {
        if (v >= 0) last_read[v] = i;
      }
    }
    const auto take_slot = [&](FusedType type) {
      uint32_t s = 0;
      while (busy[s]) ++s;
      busy[s] = true;
      if (static_cast<int>(s) >= m.slots) m.slots = static_cast<int>(s) + 1;
      m.halves = m.halves || type == FusedType::Float16 || type == FusedType::BFloat16;
      const uint32_t how = type == FusedType::Own        ? FusedCode::kOwn
                           : type == FusedType::BFloat16 ? FusedCode::kBFloat16
                           : type == FusedType::Float16  ? FusedCode::kFloat16
                                                         : 0;
      return Home{how, s, true};
    };
    for (int v = 0; v < operands; ++v) {
      if (args.in[v].host) {
        home[v] = {FusedCode::kNumber, static_cast<uint32_t>(m.numbers), false};
        m.number_operand[m.numbers++] = static_cast<int8_t>(v);
      } else {
        home[v] = take_slot(fused_type(args.in[v].dtype));
        m.input_operand[m.inputs++] = static_cast<int8_t>(v);
      }
    }
    for (int i = 0; i < count; ++i) {
      const FusedInstruction from = attrs.at(i);
      const FusedType type = fused_type(from.dtype);
      FusedCode& made = m.code[m.count++];
      made.op = from.op;
      if (fused_is_long(from.op)) {
        made.how |= FusedCode::kLong;
        m.scratch = m.scratch < fused_arity(from.op) ? fused_arity(from.op) : m.scratch;
      }
      uint32_t* const index[3] = {&made.a, &made.b, &made.c};
      constexpr int kShift[3] = {0, FusedCode::kB, FusedCode::kC};
      constexpr uint32_t kReads[3] = {0, FusedCode::kReadsB, FusedCode::kReadsC};
      for (int k = 0; k < 3; ++k) {
        const int v = from.reads[k];
        if (v < 0) continue;
        const bool last = i > 0 && v == operands + i - 1;
        made.how |= kReads[k] | (last ? FusedCode::kAccumulator : home[v].how) << kShift[k];
        *index[k] = last ? 0 : home[v].index;
      }
      for (const int v : from.reads) {
        if (v >= 0 && last_read[v] == i && home[v].slot) busy[home[v].index] = false;
      }
      // A chosen value is one of its operands, bit for bit.
      if (from.op != FusedOp::Where && from.op != FusedOp::Copy) {
        if (type == FusedType::BFloat16) made.how |= FusedCode::kRoundsBFloat16;
        if (type == FusedType::Float16) made.how |= FusedCode::kRoundsFloat16;
      }
      m.halves = m.halves || type == FusedType::BFloat16 || type == FusedType::Float16;
      const int self = operands + i;
      if (last_read[self] > i + 1) {
        home[self] = take_slot(type);
        made.to = home[self].index;
        made.how |= type == FusedType::Own        ? FusedCode::kToOwn
                    : type == FusedType::BFloat16 ? FusedCode::kToBFloat16
                    : type == FusedType::Float16  ? FusedCode::kToFloat16
                                                  : FusedCode::kToBool;
      }
      for (int r = 0; r < attrs.results.size(); ++r) {
        if (attrs.results[r] == self) made.how |= 1u << (FusedCode::kWrites + r);
      }
    }
    return m;
  }
};

}  // namespace gorgo

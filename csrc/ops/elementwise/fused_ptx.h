// Writes the kernel of one fused program as PTX, which the driver compiles: values in registers, 16 bytes to a load, and of the
// formulas those that the program names.
//
// The formulas are functions in PTX that nvcc has made of the structs of functors.h (fused_formulas.cu). Their bodies are copied in
// as text, each in a scope of its own, so that nothing is left to call. A chunk is as many neighbours along the innermost axis as
// fill 16 bytes of the narrowest float in the program; a thread treats one, its elements side by side. Where that would take many
// registers they are treated a few at a time, and where the text would become long in a loop, through which the chunk's words wander
// from register to register.
// Invariants: a thread reads all operands before it writes, and no two threads treat one position, so an output may be an input.
// Numbers and addresses are parameters: the text depends on the program and the layout alone. Plain C++, so that it can be
// tested without a card. Read next: fused_compiled.cu (who loads and launches what this writes), core/fused.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/fused.h"
#include "ops/elementwise/fused_machine.h"

namespace gorgo {

// ---- what a kernel is made for ----

enum class FusedAccess : uint8_t {
  Whole,   // a chunk's elements lie side by side, aligned to what they take together
  Single,  // element by element, at some step
  Splat,   // one element for a whole row
};

struct FusedLayout {
  FusedType type = FusedType::Own;
  FusedAccess access = FusedAccess::Whole;
  bool flat = true;  // chunks follow one another through all axes
};

// Everything that the text of a kernel depends on.
struct FusedPattern {
  bool wide = false;    // computes in float64
  bool halves = false;  // there are values of two bytes
  bool whole = true;    // rows are made of whole chunks
  uint8_t outer_axes = 0;
  uint8_t inputs = 0;
  uint8_t numbers = 0;
  uint8_t outputs = 0;
  uint8_t count = 0;
  FusedLayout in[kFusedInputs];
  FusedLayout out[kFusedOutputs];
  uint8_t result[kFusedOutputs] = {};              // which instruction's value an output is
  FusedInstruction code[kFusedInstructions] = {};  // values: inputs, then numbers, then instructions

  [[nodiscard]] int elements() const noexcept { return halves ? 8 : wide ? 2 : 4; }
};

// ---- what a launch of it gets ----

struct FusedDivision {
  uint32_t divisor;
  uint32_t multiplier;
  uint32_t shift;
};
struct FusedOperand {
  void* data;
  int32_t step;                 // bytes between neighbours along the innermost axis
  int32_t chunk_step;           // between chunks
  int32_t strides[kFusedRank];  // of the outer axes
};
struct FusedParameters {
  uint32_t chunks;
  uint32_t tail;      // elements of a row's last chunk
  FusedDivision row;  // by the chunks of a row
  FusedDivision by[kFusedRank];
  uint32_t unused;
  FusedOperand in[kFusedInputs];
  FusedOperand out[kFusedOutputs];
  uint64_t numbers[kFusedNumbers];
};

// ---- the formulas' text ----

inline const char* fused_name(FusedOp op) noexcept {
  switch (op) {
#define GORGO_X(Struct, name) \
  case FusedOp::Struct:       \
    return #Struct;
    GORGO_FOR_EACH_FUSED_UNARY(GORGO_X)
    GORGO_FOR_EACH_FUSED_TEST(GORGO_X)
    GORGO_FOR_EACH_FUSED_BINARY(GORGO_X)
    GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_X)
    GORGO_FOR_EACH_FUSED_LOGICAL(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name)     \
  case FusedOp::Struct##Backward: \
    return #Struct "Backward";
    GORGO_FOR_EACH_FUSED_UNARY_BACKWARD(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name)      \
  case FusedOp::Struct##BackwardA: \
    return #Struct "BackwardA";    \
  case FusedOp::Struct##BackwardB: \
    return #Struct "BackwardB";
    GORGO_FOR_EACH_FUSED_BINARY_BACKWARD(GORGO_X)
#undef GORGO_X
    case FusedOp::LogicalNot:
      return "LogicalNot";
    case FusedOp::Truth:
      return "Truth";
    case FusedOp::Where:
      return "Where";
    case FusedOp::Clip:
      return "Clip";
    case FusedOp::Copy:
    case FusedOp::Move:
    case FusedOp::Count:
      break;
  }
  return "";
}

// Bodies by the names of their functions.
class FusedFormulas {
 public:
  // Of the text of fused_formulas.cu, which must outlive this.
  explicit FusedFormulas(std::string_view text) {
    constexpr std::string_view kPrefix = "gorgo_fused_";
    for (size_t at = text.find(".func"); at != std::string_view::npos; at = text.find(".func", at)) {
      const size_t name = text.find(kPrefix, at);
      const size_t open = text.find('{', at);
      if (name == std::string_view::npos || open == std::string_view::npos) return;
      const size_t close = text.find("\n}", open);
      if (close == std::string_view::npos) return;
      const size_t end = text.find_first_of("( \n", name);
      Body body;
      size_t line = open + 1;
      while (line < close) {
        size_t stop = text.find('\n', line);
        if (stop > close) stop = close;
        std::string_view s = text.substr(line, stop - line);
        while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
        if (!s.empty() && s.substr(0, 2) != "//") body.push_back(s);
        line = stop + 1;
      }
      bodies_.emplace(std::string(text.substr(name + kPrefix.size(), end - name - kPrefix.size())), std::move(body));
      at = close;
    }
  }
  using Body = std::vector<std::string_view>;  // its lines
  [[nodiscard]] const Body* find(bool wide, FusedOp op) const {
    const auto found = bodies_.find(std::string(wide ? "double_" : "float_") + fused_name(op));
    return found == bodies_.end() ? nullptr : &found->second;
  }

 private:
  std::unordered_map<std::string, Body> bodies_;
};

// ---- the text of a kernel ----

// How a thread goes through its chunk.
struct FusedTuning {
  int at_once = 0;    // elements treated side by side; 0: all
  bool loop = false;  // over the elements, `at_once` at a time

  // What suits a program. Lines of formulas are instructions of the card, roughly; long texts miss the instruction cache and take
  // long to compile. Side by side as many elements as leave room in registers.
  static FusedTuning of(const FusedPattern& p, const FusedFormulas& formulas) {
    constexpr size_t kLong = 1000;
    constexpr int kRegisters = 48;
    FusedTuning t;
    size_t lines = 0;
    for (int i = 0; i < p.count; ++i) {
      const FusedFormulas::Body* body = formulas.find(p.wide, p.code[i].op);
      lines += body != nullptr ? body->size() : 1;
    }
    t.loop = lines * static_cast<size_t>(p.elements()) > kLong;
    const int registers = alive_at_once(p) * p.elements() * (p.wide ? 2 : 1);
    if (t.loop || registers > kRegisters) t.at_once = p.halves ? 2 : 1;
    return t;
  }

 private:
  // Values in registers, at the instruction where they are most; numbers are not.
  static int alive_at_once(const FusedPattern& p) {
    const int operands = p.inputs + p.numbers;
    int first[kFusedValues];
    int last[kFusedValues];
    for (int v = 0; v < operands + p.count; ++v) first[v] = last[v] = v < operands ? -1 : v - operands;
    for (int i = 0; i < p.count; ++i) {
      for (const int v : p.code[i].reads) {
        if (v < 0) continue;
        if (first[v] < 0) first[v] = i;
        last[v] = i;
      }
    }
    int most = 0;
    for (int i = 0; i < p.count; ++i) {
      int alive = 0;
      for (int v = 0; v < operands + i + 1; ++v) {
        if (v < p.inputs || v >= operands) alive += first[v] >= 0 && first[v] <= i && i <= last[v] ? 1 : 0;
      }
      most = alive > most ? alive : most;
    }
    return most;
  }
};

class FusedWriter {
 public:
  FusedWriter(const FusedPattern& pattern, const FusedFormulas& formulas, const FusedTuning& tuning)
      : p_(pattern), formulas_(formulas), t_(tuning), elements_(pattern.elements()) {
    group_ = t_.at_once > 0 ? t_.at_once : elements_;
  }

  static constexpr const char* kEntry = "gorgo_chain";
  static constexpr int kThreads = 128;  // of a block, at most; each treats one chunk

  // Empty where a formula is missing.
  std::string write() {
    if (!write_body()) return {};
    std::string out = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry ";
    out += kEntry + std::string("(.param .align 8 .b8 call[") + std::to_string(sizeof(FusedParameters)) +
           "])\n.maxntid " + std::to_string(kThreads) + ", 1, 1\n{\n";
    const auto declare = [&](const char* type, const char* name, int count) {
      if (count > 0) out += std::string(".reg .") + type + " " + name + "<" + std::to_string(count) + ">;\n";
    };
    declare(p_.wide ? "f64" : "f32", "%v", values_);
    declare("b32", "%w", words_);
    declare("b64", "%q", longs_);
    declare("b16", "%h", shorts_);
    declare("pred", "%t", truths_);
    return out + text_ + "}\n";
  }

 private:
  using Name = std::string;
  using Names = std::vector<Name>;

  Name value() { return "%v" + std::to_string(values_++); }
  Name word() { return "%w" + std::to_string(words_++); }
  Name quad() { return "%q" + std::to_string(longs_++); }
  Name half() { return "%h" + std::to_string(shorts_++); }
  Name truth() { return "%t" + std::to_string(truths_++); }
  Name label() { return "$C" + std::to_string(labels_++); }
  template <class... Parts>
  void line(const Parts&... parts) {
    ((text_ += parts), ...);
    text_ += '\n';
  }
  static std::string number(int64_t n) { return std::to_string(n); }
  static std::string parameter(size_t offset) { return "[call+" + std::to_string(offset) + "]"; }

  [[nodiscard]] int bytes_of(FusedType type) const {
    switch (type) {
      case FusedType::Own:
        return p_.wide ? 8 : 4;
      case FusedType::Bool:
        return 1;
      default:
        return 2;
    }
  }
  // The registers that a chunk of a type takes: words of four bytes, or of eight for float64.
  [[nodiscard]] bool in_quads(FusedType type) const { return p_.wide && type == FusedType::Own; }
  Names registers_of(FusedType type) {
    const int bytes = elements_ * bytes_of(type);
    Names made;
    for (int at = 0; at < bytes; at += in_quads(type) ? 8 : 4) made.push_back(in_quads(type) ? quad() : word());
    return made;
  }
  // Where the parameters of an operand begin.
  static size_t in_at(int i) { return offsetof(FusedParameters, in) + static_cast<size_t>(i) * sizeof(FusedOperand); }
  static size_t out_at(int o) { return offsetof(FusedParameters, out) + static_cast<size_t>(o) * sizeof(FusedOperand); }

  bool write_body() {
    index_ = word();
    const Name block = word();
    const Name threads = word();
    const Name chunks = word();
    const Name beyond = truth();
    line("mov.u32 ", index_, ", %tid.x;");
    line("mov.u32 ", block, ", %ctaid.x;");
    line("mov.u32 ", threads, ", %ntid.x;");
    line("mad.lo.u32 ", index_, ", ", block, ", ", threads, ", ", index_, ";");
    line("ld.param.u32 ", chunks, ", ", parameter(offsetof(FusedParameters, chunks)), ";");
    line("setp.ge.u32 ", beyond, ", ", index_, ", ", chunks, ";");
    line("@", beyond, " ret;");
    place();
    for (int i = 0; i < p_.numbers; ++i) {
      numbers_.push_back(value());
      line(p_.wide ? "ld.param.f64 " : "ld.param.f32 ", numbers_.back(), ", ",
           parameter(offsetof(FusedParameters, numbers) + static_cast<size_t>(i) * 8), ";");
    }
    for (int i = 0; i < p_.inputs; ++i) address_in_.push_back(address_of(p_.in[i], in_at(i)));
    load_all();
    for (int o = 0; o < p_.outputs; ++o) out_[o] = registers_of(p_.out[o].type);
    if (!compute()) return false;
    for (int o = 0; o < p_.outputs; ++o) address_out_.push_back(address_of(p_.out[o], out_at(o)));
    store_all();
    line("ret;");
    return true;
  }

  // ---- where chunks lie ----

  Name quotient(const Name& n, size_t division) {
    const Name multiplier = word();
    const Name shift = word();
    const Name q = word();
    line("ld.param.u32 ", multiplier, ", ", parameter(division + offsetof(FusedDivision, multiplier)), ";");
    line("ld.param.u32 ", shift, ", ", parameter(division + offsetof(FusedDivision, shift)), ";");
    line("mul.hi.u32 ", q, ", ", n, ", ", multiplier, ";");
    line("add.u32 ", q, ", ", q, ", ", n, ";");
    line("shr.u32 ", q, ", ", q, ", ", shift, ";");
    return q;
  }
  // n - q * divisor
  Name rest(const Name& n, const Name& q, size_t division) {
    const Name divisor = word();
    const Name r = word();
    line("ld.param.u32 ", divisor, ", ", parameter(division + offsetof(FusedDivision, divisor)), ";");
    line("mul.lo.u32 ", r, ", ", q, ", ", divisor, ";");
    line("sub.u32 ", r, ", ", n, ", ", r, ";");
    return r;
  }

  void place() {
    in_row_ = index_;
    if (p_.outer_axes > 0) {
      Name row = quotient(index_, offsetof(FusedParameters, row));
      in_row_ = rest(index_, row, offsetof(FusedParameters, row));
      axis_.resize(p_.outer_axes);
      for (size_t i = p_.outer_axes; --i > 0;) {
        const size_t division = offsetof(FusedParameters, by) + i * sizeof(FusedDivision);
        const Name next = quotient(row, division);
        axis_[i] = rest(row, next, division);
        row = next;
      }
      axis_[0] = row;
    }
    if (!p_.whole) {
      left_ = word();
      short_ = truth();
      const Name next = word();
      const Name length = word();
      line("ld.param.u32 ", length, ", ", parameter(offsetof(FusedParameters, row) + offsetof(FusedDivision, divisor)),
           ";");
      line("ld.param.u32 ", left_, ", ", parameter(offsetof(FusedParameters, tail)), ";");
      line("add.u32 ", next, ", ", in_row_, ", 1;");
      line("setp.eq.u32 ", short_, ", ", next, ", ", length, ";");
      line("selp.u32 ", left_, ", ", left_, ", ", number(elements_), ", ", short_, ";");
    }
  }

  // Of this thread's chunk of an operand whose parameters begin at `operand`.
  Name address_of(const FusedLayout& layout, size_t operand) {
    const Name address = quad();
    line("ld.param.u64 ", address, ", ", parameter(operand + offsetof(FusedOperand, data)), ";");
    line("cvta.to.global.u64 ", address, ", ", address, ";");
    const Name& along = layout.flat ? index_ : in_row_;
    if (layout.access == FusedAccess::Whole) {
      line("mad.wide.u32 ", address, ", ", along, ", ", number(elements_ * bytes_of(layout.type)), ", ", address, ";");
    } else if (layout.access == FusedAccess::Single) {
      const Name step = word();
      line("ld.param.s32 ", step, ", ", parameter(operand + offsetof(FusedOperand, chunk_step)), ";");
      line("mad.wide.s32 ", address, ", ", along, ", ", step, ", ", address, ";");
    }
    if (!layout.flat) {
      for (size_t a = 0; a < axis_.size(); ++a) {
        const Name stride = word();
        line("ld.param.s32 ", stride, ", ", parameter(operand + offsetof(FusedOperand, strides) + a * 4), ";");
        line("mad.wide.s32 ", address, ", ", axis_[a], ", ", stride, ", ", address, ";");
      }
    }
    return address;
  }
  // Of element k of a chunk that is read or written one by one.
  Name element_address(const Name& address, const FusedLayout& layout, size_t operand, int k) {
    if (k == 0) return "[" + address + "]";
    if (layout.access == FusedAccess::Whole) return "[" + address + "+" + number(k * bytes_of(layout.type)) + "]";
    const Name step = word();
    const Name at = quad();
    line("ld.param.s32 ", step, ", ", parameter(operand + offsetof(FusedOperand, step)), ";");
    line("mad.wide.s32 ", at, ", ", step, ", ", number(k), ", ", address, ";");
    return "[" + at + "]";
  }
  // The condition that there is an element k, in front of an instruction.
  Name if_has(int k) {
    if (p_.whole || k == 0) return {};
    const Name t = truth();
    line("setp.gt.u32 ", t, ", ", left_, ", ", number(k), ";");
    return "@" + t + " ";
  }
  // Treats the operands that are Single, and those that are Whole, one by one where the chunk is short.
  template <class One, class All>
  void by_access(const FusedLayout* layouts, int count, const One& one_by_one, const All& at_once) {
    for (int i = 0; i < count; ++i) {
      if (layouts[i].access == FusedAccess::Single) one_by_one(i);
    }
    Name done;
    if (!p_.whole) {
      const Name whole = label();
      done = label();
      line("@!", short_, " bra ", whole, ";");
      for (int i = 0; i < count; ++i) {
        if (layouts[i].access == FusedAccess::Whole) one_by_one(i);
      }
      line("bra ", done, ";");
      line(whole, ":");
    }
    for (int i = 0; i < count; ++i) {
      if (layouts[i].access == FusedAccess::Whole) at_once(i);
    }
    if (!p_.whole) line(done, ":");
  }

  // ---- loads ----

  void load_all() {
    for (int i = 0; i < p_.inputs; ++i) {
      if (p_.in[i].access == FusedAccess::Splat) {
        load_splat(i);
      } else {
        in_[i] = registers_of(p_.in[i].type);
      }
    }
    by_access(p_.in, p_.inputs, [&](int i) { load_elements(i); }, [&](int i) { load_whole(i); });
  }
  static Name list_of(const Names& names, size_t from, size_t count) {
    if (count == 1) return names[from];
    Name list = "{";
    for (size_t i = 0; i < count; ++i) list += (i > 0 ? ", " : "") + names[from + i];
    return list + "}";
  }
  // ".v4.b32" and the like for so many bytes at once.
  static Name kind_of(int bytes, bool quads) {
    switch (bytes) {
      case 16:
        return quads ? ".v2.b64 " : ".v4.b32 ";
      case 8:
        return quads ? ".b64 " : ".v2.b32 ";
      case 4:
        return ".b32 ";
      case 2:
        return ".u16 ";
      default:
        return ".u8 ";
    }
  }
  // Calls access(kind, registers, offset) for each 16 bytes of a chunk, or the fewer that it has.
  template <class Access>
  void for_each_line(FusedType type, const Names& registers, const Access& access) {
    const int bytes = elements_ * bytes_of(type);
    const size_t each = bytes < 16 ? registers.size() : in_quads(type) ? 2 : 4;
    for (int at = 0; at < bytes; at += 16) {
      const size_t from = static_cast<size_t>(at / 16) * each;
      access(kind_of(bytes < 16 ? bytes : 16, in_quads(type)), list_of(registers, from, each), number(at));
    }
  }
  void load_whole(int i) {
    for_each_line(p_.in[i].type, in_[i], [&](const Name& kind, const Name& registers, const Name& at) {
      line("ld.global", kind, registers, ", [", address_in_[static_cast<size_t>(i)], "+", at, "];");
    });
  }
  void load_elements(int i) {
    const FusedLayout& layout = p_.in[i];
    const int bytes = bytes_of(layout.type);
    if (bytes < 4) {
      for (const Name& r : in_[i]) line("mov.b32 ", r, ", 0;");
    }
    for (int k = 0; k < elements_; ++k) {
      const Name at = element_address(address_in_[static_cast<size_t>(i)], layout, in_at(i), k);
      const Name condition = if_has(k);
      const Name kind = kind_of(bytes, in_quads(layout.type));
      if (bytes >= 4) {
        line(condition, "ld.global", kind, in_[i][static_cast<size_t>(k)], ", ", at, ";");
        continue;
      }
      const Name bits = word();
      const Name& into = in_[i][static_cast<size_t>(k * bytes / 4)];
      if (!condition.empty()) line("mov.b32 ", bits, ", 0;");
      line(condition, "ld.global", kind, bits, ", ", at, ";");
      line("bfi.b32 ", into, ", ", bits, ", ", into, ", ", number(k * bytes % 4 * 8), ", ", number(bytes * 8), ";");
    }
  }
  void load_splat(int i) {
    const FusedType type = p_.in[i].type;
    const Name bits = in_quads(type) ? quad() : word();
    line("ld.global", kind_of(bytes_of(type), in_quads(type)), bits, ", [", address_in_[static_cast<size_t>(i)], "];");
    splat_[i] = value();
    widen(splat_[i], type, {bits}, 0);
  }

  // Element k of a chunk's registers as a value.
  void widen(const Name& v, FusedType type, const Names& from, int k) {
    switch (type) {
      case FusedType::Own:
        line(p_.wide ? "mov.b64 " : "mov.b32 ", v, ", ", from[static_cast<size_t>(k)], ";");
        return;
      case FusedType::BFloat16: {
        const Name bits = word();
        const Name& w = from[static_cast<size_t>(k / 2)];
        if (k % 2 == 0) {
          line("shl.b32 ", bits, ", ", w, ", 16;");
        } else {
          line("and.b32 ", bits, ", ", w, ", 0xffff0000;");
        }
        line("mov.b32 ", v, ", ", bits, ";");
        return;
      }
      case FusedType::Float16: {
        const Name low = half();
        const Name high = half();
        line("mov.b32 {", low, ", ", high, "}, ", from[static_cast<size_t>(k / 2)], ";");
        line("cvt.f32.f16 ", v, ", ", k % 2 == 0 ? low : high, ";");
        return;
      }
      case FusedType::Bool: {
        const Name bits = word();
        const Name t = truth();
        line("and.b32 ", bits, ", ", from[static_cast<size_t>(k / 4)], ", ", number(int64_t{0xff} << (8 * (k % 4))),
             ";");
        line("setp.ne.u32 ", t, ", ", bits, ", 0;");
        line(p_.wide ? "selp.f64 " : "selp.f32 ", v, ", ", one(), ", ", zero(), ", ", t, ";");
        return;
      }
    }
  }
  [[nodiscard]] const char* one() const { return p_.wide ? "0d3FF0000000000000" : "0f3F800000"; }
  [[nodiscard]] const char* zero() const { return p_.wide ? "0d0000000000000000" : "0f00000000"; }

  // ---- the program ----

  bool compute() {
    if (!t_.loop) {
      for (int k = 0; k < elements_; k += group_) {
        if (!run(k, k)) return false;
      }
      return true;
    }
    // Registers that the loop changes, so that what was loaded stays what it is.
    const Name left = word();
    const Name again = label();
    for (int o = 0; o < p_.outputs; ++o) {
      for (const Name& r : out_[o]) line(in_quads(p_.out[o].type) ? "mov.b64 " : "mov.b32 ", r, ", 0;");
    }
    line("mov.u32 ", left, ", ", number(elements_ / group_), ";");
    line(again, ":");
    const int last = elements_ - group_;
    for (int o = 0; o < p_.outputs; ++o) wander(p_.out[o].type, out_[o]);
    if (!run(0, last)) return false;
    for (int i = 0; i < p_.inputs; ++i) {
      if (p_.in[i].access != FusedAccess::Splat) wander(p_.in[i].type, in_[i]);
    }
    const Name more = truth();
    line("sub.u32 ", left, ", ", left, ", 1;");
    line("setp.ne.u32 ", more, ", ", left, ", 0;");
    line("@", more, " bra ", again, ";");
    return true;
  }
  // Moves the elements of a chunk's registers `group_` places towards the first.
  void wander(FusedType type, const Names& r) {
    const int bytes = group_ * bytes_of(type);
    const int width = in_quads(type) ? 8 : 4;
    const size_t count = r.size();
    if (bytes >= width) {
      const size_t by = static_cast<size_t>(bytes / width);
      for (size_t i = 0; i + by < count; ++i) line(width == 8 ? "mov.b64 " : "mov.b32 ", r[i], ", ", r[i + by], ";");
      return;
    }
    for (size_t i = 0; i < count; ++i) {
      if (i + 1 < count) {
        line("shf.r.wrap.b32 ", r[i], ", ", r[i], ", ", r[i + 1], ", ", number(8 * bytes), ";");
      } else {
        line("shr.u32 ", r[i], ", ", r[i], ", ", number(8 * bytes), ";");
      }
    }
  }

  // All instructions for the elements from `from` on, whose results go to the places from `to` on.
  bool run(int from, int to) {
    const int inputs = p_.inputs;
    const int operands = inputs + p_.numbers;
    std::vector<Names> values(static_cast<size_t>(operands + p_.count));
    std::vector<Names> packed(values.size());  // pairs of rounded values, where there are any
    for (int i = 0; i < p_.count; ++i) {
      const FusedInstruction& code = p_.code[i];
      const int arity = fused_arity(code.op);
      const size_t self = static_cast<size_t>(operands + i);
      for (int k = 0; k < arity; ++k) need(values, code.reads[k], from);
      const bool copies = code.op == FusedOp::Copy || code.op == FusedOp::Move;
      const FusedFormulas::Body* body = copies ? nullptr : formulas_.find(p_.wide, code.op);
      if (!copies && body == nullptr) return false;
      // The root of a number of 8 bits lies at least 2^-19 of itself away from the middle between two such, m, since (s - m)(s + m)
      // is a whole number other than 0 where s and m are scaled to 9 bits. So one that is right to 2^-22 rounds the same way.
      const bool is_number = code.reads[0] >= inputs && code.reads[0] < operands;
      const bool rough = code.op == FusedOp::Sqrt && code.dtype == DType::BFloat16 && !is_number;
      for (int k = 0; k < group_; ++k) {
        Names operand;
        for (int r = 0; r < arity; ++r)
          operand.push_back(values[static_cast<size_t>(code.reads[r])][static_cast<size_t>(k)]);
        const Name made = value();
        if (copies) {
          line(p_.wide ? "mov.f64 " : "mov.f32 ", made, ", ", operand[0], ";");
        } else if (rough) {
          line("sqrt.approx.f32 ", made, ", ", operand[0], ";");
        } else {
          paste(*body, operand, made);
        }
        values[self].push_back(made);
      }
      // A chosen value is one of its operands, bit for bit.
      if (code.op != FusedOp::Where && code.op != FusedOp::Copy)
        round(fused_type(code.dtype), values[self], packed[self]);
      for (int o = 0; o < p_.outputs; ++o) {
        if (p_.result[o] == i) narrow(p_.out[o].type, values[self], packed[self], out_[o], to);
      }
    }
    return true;
  }

  // Makes the values of an operand, when it is first read.
  void need(std::vector<Names>& values, int v, int from) {
    const size_t at = static_cast<size_t>(v);
    if (v >= p_.inputs + p_.numbers || !values[at].empty()) return;
    for (int k = 0; k < group_; ++k) {
      if (v >= p_.inputs) {
        values[at].push_back(numbers_[at - p_.inputs]);
      } else if (p_.in[v].access == FusedAccess::Splat) {
        values[at].push_back(splat_[v]);
      } else {
        values[at].push_back(value());
        widen(values[at].back(), p_.in[v].type, in_[v], from + k);
      }
    }
  }

  // The body of a formula in a scope of its own.
  void paste(const FusedFormulas::Body& body, const Names& operands, const Name& made) {
    line("{");
    bool returns = false;
    for (size_t i = 0; i < body.size(); ++i) {
      const std::string_view s = body[i];
      if (s.substr(0, 9) == "ld.param.") {  // ld.param.f32 %f1, [name_param_0];
        const size_t type = s.find_first_of(" \t", 9);
        const size_t reg = s.find('%');
        const size_t comma = s.find(',');
        const size_t which = s.rfind("_param_") + 7;
        line("mov.", s.substr(9, type - 9), " ", s.substr(reg, comma - reg), ", ",
             operands[static_cast<size_t>(s[which] - '0')], ";");
      } else if (s.substr(0, 9) == "st.param.") {  // st.param.f32 [func_retval0+0], %f2;
        const size_t type = s.find_first_of(" \t", 9);
        line("mov.", s.substr(9, type - 9), " ", made, ", ", s.substr(s.find(',') + 1));
      } else if (s == "ret;") {
        if (i + 1 == body.size()) continue;
        returns = true;
        line("bra $Cend;");
      } else {
        line(s);
      }
    }
    if (returns) line("$Cend:");
    line("}");
  }

  // Values as their dtype holds them, and the bits of two at a time.
  void round(FusedType type, Names& values, Names& packed) {
    if (type != FusedType::BFloat16 && type != FusedType::Float16) return;
    for (size_t k = 0; k < values.size(); k += 2) {
      packed.push_back(word());
      line(type == FusedType::BFloat16 ? "cvt.rn.bf16x2.f32 " : "cvt.rn.f16x2.f32 ", packed.back(), ", ", values[k + 1],
           ", ", values[k], ";");
      for (size_t h = 0; h < 2; ++h) {
        values[k + h] = value();
        widen(values[k + h], type, {packed.back()}, static_cast<int>(h));
      }
    }
  }

  // Values into a chunk's registers, from element `to` on.
  void narrow(FusedType type, const Names& values, const Names& packed, const Names& into, int to) {
    for (int k = 0; k < group_; ++k) {
      const Name& v = values[static_cast<size_t>(k)];
      const int at = to + k;
      if (type == FusedType::Own) {
        line(p_.wide ? "mov.b64 " : "mov.b32 ", into[static_cast<size_t>(at)], ", ", v, ";");
      } else if (type == FusedType::Bool) {
        const Name t = truth();
        const Name bit = word();
        const Name& w = into[static_cast<size_t>(at / 4)];
        line(p_.wide ? "setp.neu.f64 " : "setp.neu.f32 ", t, ", ", v, ", ", zero(), ";");
        line("selp.b32 ", bit, ", ", number(int64_t{1} << (8 * (at % 4))), ", 0, ", t, ";");
        if (at % 4 == 0 && !t_.loop) {
          line("mov.b32 ", w, ", ", bit, ";");
        } else {
          line("or.b32 ", w, ", ", w, ", ", bit, ";");
        }
      } else if (k % 2 == 1) {
        const Name& w = into[static_cast<size_t>(at / 2)];
        const Name& low = values[static_cast<size_t>(k - 1)];
        if (!packed.empty()) {
          line("mov.b32 ", w, ", ", packed[static_cast<size_t>(k / 2)], ";");
        } else if (type == FusedType::BFloat16) {
          const Name a = word();
          const Name b = word();
          line("mov.b32 ", a, ", ", low, ";");
          line("mov.b32 ", b, ", ", v, ";");
          line("prmt.b32 ", w, ", ", a, ", ", b, ", 0x7632;");
        } else {
          line("cvt.rn.f16x2.f32 ", w, ", ", v, ", ", low, ";");
        }
      }
    }
  }

  // ---- stores ----

  void store_all() {
    by_access(p_.out, p_.outputs, [&](int o) { store_elements(o); }, [&](int o) { store_whole(o); });
  }
  void store_whole(int o) {
    for_each_line(p_.out[o].type, out_[o], [&](const Name& kind, const Name& registers, const Name& at) {
      line("st.global", kind, "[", address_out_[static_cast<size_t>(o)], "+", at, "], ", registers, ";");
    });
  }
  void store_elements(int o) {
    const FusedLayout& layout = p_.out[o];
    const int bytes = bytes_of(layout.type);
    for (int k = 0; k < elements_; ++k) {
      const Name at = element_address(address_out_[static_cast<size_t>(o)], layout, out_at(o), k);
      const Name condition = if_has(k);
      Name bits = out_[o][static_cast<size_t>(bytes >= 4 ? k : k * bytes / 4)];
      if (bytes < 4 && k * bytes % 4 != 0) {
        const Name shifted = word();
        line("shr.u32 ", shifted, ", ", bits, ", ", number(k * bytes % 4 * 8), ";");
        bits = shifted;
      }
      line(condition, "st.global", kind_of(bytes, in_quads(layout.type)), at, ", ", bits, ";");
    }
  }

  const FusedPattern& p_;
  const FusedFormulas& formulas_;
  const FusedTuning t_;
  const int elements_;
  int group_ = 1;
  std::string text_;
  // The chunk that a thread treats.
  Name index_;
  Name in_row_;
  Names axis_;  // its place along the outer axes
  Name left_;   // how many elements it has, and whether they are fewer than others'; where rows are not whole
  Name short_;
  Names address_in_;
  Names address_out_;
  Names in_[kFusedInputs];  // registers as loaded
  Names out_[kFusedOutputs];
  Name splat_[kFusedInputs];
  Names numbers_;
  int values_ = 0;
  int words_ = 0;
  int longs_ = 0;
  int shorts_ = 0;
  int truths_ = 0;
  int labels_ = 0;
};

}  // namespace gorgo

// The texts of kernels for fused programs: what they name is there, a machine on the host runs them element by element against their
// meaning, and where CUDA's tools are, the assembler takes them.
#include <doctest/doctest.h>

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "ops/elementwise/fused_ptx.h"
#include "ptx_machine.h"

namespace gorgo {

#ifdef GORGO_PTXAS
extern const char fused_formulas_text[];
#endif

namespace {

constexpr int kOps = static_cast<int>(FusedOp::Count);

bool gives_bool(FusedOp op) {
  switch (op) {
#define GORGO_X(Struct, name) case FusedOp::Struct:
    GORGO_FOR_EACH_FUSED_TEST(GORGO_X)
    GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_X)
    GORGO_FOR_EACH_FUSED_LOGICAL(GORGO_X)
#undef GORGO_X
    case FusedOp::LogicalNot:
    case FusedOp::Truth:
      return true;
    default:
      return false;
  }
}

// Formulas of two branches and a sum, in the form that nvcc gives to functions.
std::string made_up_formulas() {
  std::string text = ".version 8.0\n.target sm_80\n.address_size 64\n";
  for (const bool wide : {false, true}) {
    const std::string type = wide ? "f64" : "f32";
    const std::string bits = wide ? ".b64" : ".b32";
    for (int op = 0; op < kOps; ++op) {
      const std::string short_name = fused_name(static_cast<FusedOp>(op));
      if (short_name.empty()) continue;
      const std::string name = std::string("gorgo_fused_") + (wide ? "double_" : "float_") + short_name;
      text += "\t// .globl\t" + name + "\n.visible .func  (.param " + bits + " func_retval0) " + name + "(\n\t.param " +
              bits + " " + name + "_param_0,\n\t.param " + bits + " " + name + "_param_1,\n\t.param " + bits + " " +
              name + "_param_2\n)\n{\n\t.reg .pred \t%p<2>;\n\t.reg ." + type + " \t%f<4>;\n\n";
      text += "\tld.param." + type + " \t%f1, [" + name + "_param_0];\n";
      text +=
          "\tsetp.lt." + type + " \t%p1, %f1, %f1;\n\t@%p1 bra \t$L__BB0_2;\n\n\tadd." + type + " \t%f1, %f1, %f1;\n\n";
      text += "$L__BB0_2:\n\tst.param." + type + " \t[func_retval0+0], %f1;\n\tret;\n\n}\n";
    }
  }
  return text;
}

class Draw {
 public:
  explicit Draw(unsigned seed) : generator_(seed) {}
  int below(int n) { return static_cast<int>(generator_() % static_cast<unsigned>(n)); }
  bool one_in(int n) { return below(n) == 0; }

  FusedPattern pattern() {
    constexpr DType kNarrow[] = {DType::Float32, DType::BFloat16, DType::Float16};
    FusedPattern p;
    p.wide = one_in(3);
    const bool narrow = !p.wide && one_in(2);
    const auto draw_type = [&] { return p.wide ? DType::Float64 : narrow ? kNarrow[below(3)] : DType::Float32; };
    p.whole = one_in(2);
    p.outer_axes = static_cast<uint8_t>(below(kFusedRank));
    p.inputs = static_cast<uint8_t>(1 + below(kFusedInputs));
    p.numbers = static_cast<uint8_t>(below(4));
    p.count = static_cast<uint8_t>(1 + below(one_in(4) ? kFusedInstructions : 6));
    const auto layout = [&](DType d, bool input) {
      p.halves = p.halves || d == DType::Float16 || d == DType::BFloat16;
      return FusedLayout{fused_type(d), static_cast<FusedAccess>(below(input ? 3 : 2)), p.outer_axes == 0 || one_in(2)};
    };
    for (int i = 0; i < p.inputs; ++i) p.in[i] = layout(one_in(5) ? DType::Bool : draw_type(), true);
    int known = p.inputs + p.numbers;
    for (int i = 0; i < p.count; ++i) {
      FusedInstruction& code = p.code[i];
      code.op = static_cast<FusedOp>(below(kOps));
      code.dtype = gives_bool(code.op) ? DType::Bool : draw_type();
      p.halves = p.halves || code.dtype == DType::Float16 || code.dtype == DType::BFloat16;
      for (int k = 0; k < fused_arity(code.op); ++k) code.reads[k] = static_cast<int8_t>(below(known));
      ++known;
    }
    p.outputs = static_cast<uint8_t>(1 + below(kFusedOutputs));
    for (int o = 0; o < p.outputs; ++o) {
      p.result[o] = static_cast<uint8_t>(below(p.count));
      p.out[o] = layout(p.code[p.result[o]].dtype, false);
    }
    return p;
  }

 private:
  std::mt19937 generator_;
};

// The words of a text: what letters, digits and underscores make, after one of the marks % and $.
std::vector<std::string> words_of(const std::string& text, char mark) {
  std::vector<std::string> words;
  for (size_t from = text.find(mark); from != std::string::npos; from = text.find(mark, from + 1)) {
    size_t to = from + 1;
    while (to < text.size() && (std::isalnum(static_cast<unsigned char>(text[to])) != 0 || text[to] == '_')) ++to;
    words.push_back(text.substr(from, to - from));
  }
  return words;
}

// The numbers that stand behind a prefix, in the order of the text.
std::vector<size_t> numbers_behind(const std::string& text, const std::string& prefix) {
  std::vector<size_t> numbers;
  for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at + 1)) {
    const char* const digits = text.c_str() + at + prefix.size();
    if (std::isdigit(static_cast<unsigned char>(*digits)) != 0) numbers.push_back(std::strtoull(digits, nullptr, 10));
  }
  return numbers;
}

// Complains about registers, labels and parameters that are named and not there. Formulas name theirs by other letters.
std::string complaint_about(const std::string& text) {
  for (const char letter : std::string("vwqht")) {
    const std::string name = std::string("%") + letter;
    const std::vector<size_t> declared = numbers_behind(text, name + "<");
    if (declared.size() > 1) return "registers " + name + " are declared twice";
    for (const size_t used : numbers_behind(text, name)) {
      if (declared.empty() || used >= declared[0]) return "no register " + name + std::to_string(used);
    }
  }
  for (const std::string& label : words_of(text, '$')) {
    if (label[1] == 'C' && text.find("\n" + label + ":") == std::string::npos) return "no label " + label;
  }
  for (const size_t offset : numbers_behind(text, "[call+")) {
    if (offset >= sizeof(FusedParameters)) return "no parameter at " + std::to_string(offset);
  }
  int depth = 0;
  for (const char c : text) depth += c == '{' ? 1 : c == '}' ? -1 : 0;
  if (depth != 0) return "scopes are left open";
  if (text.find("param_") != std::string::npos || text.find("retval") != std::string::npos)
    return "a formula has kept its parameters";
  return {};
}

// An operand in memory of its own: rows of some shape, at strides of its own.
struct Laid {
  std::vector<unsigned char> memory;
  unsigned char* data = nullptr;
  std::vector<int64_t> strides;  // in bytes
  DType dtype = DType::Float32;

  [[nodiscard]] unsigned char* at(const std::vector<int64_t>& index) const {
    int64_t offset = 0;
    for (size_t i = 0; i < index.size(); ++i) offset += index[i] * strides[i];
    return data + offset;
  }
  [[nodiscard]] double get(const std::vector<int64_t>& index) const {
    const unsigned char* p = at(index);
    const auto as = [&](auto v) {
      std::memcpy(&v, p, sizeof v);
      return v;
    };
    switch (dtype) {
      case DType::Bool:
        return *p != 0 ? 1.0 : 0.0;
      case DType::Float16:
        return static_cast<float>(as(Float16()));
      case DType::BFloat16:
        return static_cast<float>(as(BFloat16()));
      case DType::Float64:
        return as(0.0);
      default:
        return as(0.0f);
    }
  }
};

// Lays elements out: as they follow one another, some axes broadcast, with gaps, or off their alignment.
Laid lay_out(Draw& draw, DType dtype, const std::vector<int64_t>& shape, bool input) {
  Laid laid;
  laid.dtype = dtype;
  const int64_t bytes = dtype_size(dtype);
  const bool gaps = draw.one_in(4);
  int64_t reach = bytes * (gaps && draw.one_in(2) ? 2 : 1);
  laid.strides.assign(shape.size(), 0);
  for (size_t i = shape.size(); i-- > 0;) {
    if (input && draw.one_in(4)) continue;  // broadcast
    laid.strides[i] = reach;
    reach = reach * shape[i] + (gaps ? bytes * draw.below(3) : 0);
  }
  const int64_t shift = draw.one_in(4) ? bytes : 0;
  laid.memory.resize(static_cast<size_t>(reach + shift) + 64);
  laid.data = laid.memory.data();
  while (reinterpret_cast<uintptr_t>(laid.data) % 32 != 0) ++laid.data;
  laid.data += shift;
  for (unsigned char* p = laid.data; p + bytes <= laid.data + reach; p += bytes) {
    const double v = draw.below(65) / 4.0 - 8.0;
    const auto put = [&](const auto& x) { std::memcpy(p, &x, sizeof x); };
    if (dtype == DType::Bool) *p = draw.one_in(2) ? 1 : 0;
    if (dtype == DType::Float16) put(Float16(static_cast<float>(v)));
    if (dtype == DType::BFloat16) put(BFloat16(static_cast<float>(v)));
    if (dtype == DType::Float32) put(static_cast<float>(v));
    if (dtype == DType::Float64) put(v);
  }
  return laid;
}
FusedDivision division_by(uint32_t d) {
  uint32_t shift = 0;
  while ((uint64_t{1} << shift) < d) ++shift;
  const uint64_t multiplier = ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1;
  return {d, static_cast<uint32_t>(multiplier), shift};
}

// Programs over the made-up formulas, which double what they read first; a copy and a move leave it as it is.
void run_and_compare(Draw& draw, const FusedFormulas& formulas) {
  constexpr DType kNarrow[] = {DType::Float32, DType::BFloat16, DType::Float16};
  FusedPattern p;
  p.wide = draw.one_in(3);
  const bool narrow = !p.wide && draw.one_in(2);
  const auto draw_type = [&] { return p.wide ? DType::Float64 : narrow ? kNarrow[draw.below(3)] : DType::Float32; };
  const auto note = [&](DType d) { p.halves = p.halves || d == DType::Float16 || d == DType::BFloat16; };
  std::vector<int64_t> shape(static_cast<size_t>(1 + draw.below(3)));
  for (int64_t& n : shape) n = 1 + draw.below(5);
  shape.back() = draw.one_in(2) ? 8 * (1 + draw.below(40)) : 1 + draw.below(150);
  p.inputs = static_cast<uint8_t>(1 + draw.below(3));
  p.numbers = 1;
  p.count = static_cast<uint8_t>(1 + draw.below(4));
  p.outputs = static_cast<uint8_t>(1 + draw.below(2));
  std::vector<Laid> in;
  std::vector<Laid> out;
  for (int i = 0; i < p.inputs; ++i) {
    in.push_back(lay_out(draw, draw.one_in(5) ? DType::Bool : draw_type(), shape, true));
    note(in.back().dtype);
  }
  for (int i = 0; i < p.count; ++i) {
    FusedInstruction& code = p.code[i];
    code.op = draw.one_in(2) ? FusedOp::Exp : FusedOp::Move;
    code.dtype = draw.one_in(6) ? DType::Bool : draw_type();
    code.reads[0] = static_cast<int8_t>(draw.below(p.inputs + 1 + i));
    note(code.dtype);
  }
  for (int o = 0; o < p.outputs; ++o) {
    p.result[o] = static_cast<uint8_t>(o == 0 ? p.count - 1 : draw.below(p.count));
    out.push_back(lay_out(draw, p.code[p.result[o]].dtype, shape, false));
  }
  // The launch, as the host describes it.
  const int elements = p.elements();
  const int64_t row = shape.back();
  const int64_t row_chunks = (row + elements - 1) / elements;
  FusedParameters parameters{};
  int64_t chunks = row_chunks;
  p.outer_axes = static_cast<uint8_t>(shape.size() - 1);
  for (size_t i = 0; i + 1 < shape.size(); ++i) {
    chunks *= shape[i];
    parameters.by[i] = division_by(static_cast<uint32_t>(shape[i]));
  }
  parameters.row = division_by(static_cast<uint32_t>(row_chunks));
  parameters.chunks = static_cast<uint32_t>(chunks);
  parameters.tail = static_cast<uint32_t>(row - (row_chunks - 1) * elements);
  p.whole = row % elements == 0;
  const double number = 1.25;
  const auto narrow_number = static_cast<float>(number);
  std::memcpy(&parameters.numbers[0], p.wide ? static_cast<const void*>(&number) : &narrow_number, p.wide ? 8 : 4);
  std::vector<PtxMachine::Range> ranges;
  const auto describe = [&](const Laid& laid, bool input, FusedLayout& layout, FusedOperand& operand) {
    const int64_t bytes = dtype_size(laid.dtype);
    const int64_t step = laid.strides.back();
    bool aligned = step == bytes && reinterpret_cast<uintptr_t>(laid.data) % static_cast<size_t>(bytes * elements) == 0;
    int64_t flat = row_chunks * elements * step;
    for (size_t i = shape.size() - 1; i-- > 0;) {
      aligned = aligned && laid.strides[i] % (bytes * elements) == 0;
      operand.strides[i] = static_cast<int32_t>(laid.strides[i]);
      layout.flat = layout.flat && laid.strides[i] == flat;
      flat *= shape[i];
    }
    layout.type = fused_type(laid.dtype);
    layout.access = aligned ? FusedAccess::Whole : input && step == 0 ? FusedAccess::Splat : FusedAccess::Single;
    operand.data = laid.data;
    operand.step = static_cast<int32_t>(step);
    operand.chunk_step = static_cast<int32_t>(step * elements);
    unsigned char* const end = const_cast<unsigned char*>(laid.memory.data()) + laid.memory.size();
    ranges.push_back({laid.data, static_cast<size_t>(end - laid.data), !input});
  };
  for (int i = 0; i < p.inputs; ++i) describe(in[static_cast<size_t>(i)], true, p.in[i], parameters.in[i]);
  for (int o = 0; o < p.outputs; ++o) describe(out[static_cast<size_t>(o)], false, p.out[o], parameters.out[o]);
  FusedTuning tuning = FusedTuning::of(p, formulas);
  if (draw.one_in(2)) tuning = {p.halves ? 2 : 1, draw.one_in(2)};
  const std::string text = FusedWriter(p, formulas, tuning).write();
  CAPTURE(text);
  const std::vector<Laid> before = out;
  PtxMachine(text).run(parameters, ranges, static_cast<uint32_t>((chunks + 31) / 32), 32);

  const auto rounded = [](DType d, double v) {
    if (d == DType::Float16) return static_cast<double>(static_cast<float>(Float16(static_cast<float>(v))));
    if (d == DType::BFloat16) return static_cast<double>(static_cast<float>(BFloat16(static_cast<float>(v))));
    return v;
  };
  std::vector<std::set<size_t>> written(out.size());
  std::vector<int64_t> index(shape.size(), 0);
  for (;;) {
    std::vector<double> values;
    for (const Laid& laid : in) values.push_back(laid.get(index));
    values.push_back(number);
    for (int i = 0; i < p.count; ++i) {
      const double read = values[static_cast<size_t>(p.code[i].reads[0])];
      values.push_back(rounded(p.code[i].dtype, p.code[i].op == FusedOp::Exp ? read + read : read));
    }
    for (size_t o = 0; o < out.size(); ++o) {
      const double want = values[static_cast<size_t>(p.inputs) + 1 + p.result[o]];
      REQUIRE(out[o].get(index) == (out[o].dtype == DType::Bool ? (want != 0 ? 1.0 : 0.0) : want));
      const auto first = static_cast<size_t>(out[o].at(index) - out[o].memory.data());
      for (size_t b = 0; b < static_cast<size_t>(dtype_size(out[o].dtype)); ++b) written[o].insert(first + b);
    }
    size_t axis = shape.size();
    while (axis > 0 && ++index[axis - 1] == shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) break;
  }
  for (size_t o = 0; o < out.size(); ++o) {
    for (size_t b = 0; b < out[o].memory.size(); ++b) {
      if (written[o].count(b) == 0) REQUIRE(out[o].memory[b] == before[o].memory[b]);
    }
  }
}

TEST_CASE("the kernels of fused programs read and write the elements that they should, and no others") {
  const std::string formulas_text = made_up_formulas();
  const FusedFormulas formulas(formulas_text);
  Draw draw(3);
  for (int i = 0; i < 400; ++i) {
    CAPTURE(i);
    run_and_compare(draw, formulas);
  }
}

TEST_CASE("what a text names and does not have is found") {
  CHECK(complaint_about("{ .reg .f32 %v<2>; mov %v1, %v0; bra $C_end;\n$C_end: ld [call+8]; }").empty());
  CHECK(complaint_about(".reg .f32 %v<2>; mov %v2, %v0;") == "no register %v2");
  CHECK(complaint_about("mov %q0, 1;") == "no register %q0");
  CHECK(complaint_about(".reg .f32 %v<2>; .reg .f32 %v<3>;") == "registers %v are declared twice");
  CHECK(complaint_about("bra $C_end;\n$C_ends:") == "no label $C_end");
  CHECK(complaint_about("ld [call+1000000];") == "no parameter at 1000000");
  CHECK(complaint_about("{ {}") == "scopes are left open");
}

TEST_CASE("the kernels of fused programs name only what they declare") {
  const std::string formulas_text = made_up_formulas();
  const FusedFormulas formulas(formulas_text);
  Draw draw(1);
  for (int i = 0; i < 150; ++i) {
    const FusedPattern pattern = draw.pattern();
    FusedTuning tuning = FusedTuning::of(pattern, formulas);
    if (i % 3 == 1) tuning = {2, true};
    const std::string text = FusedWriter(pattern, formulas, tuning).write();
    CAPTURE(text);
    REQUIRE(!text.empty());
    REQUIRE(complaint_about(text) == "");
  }
}

TEST_CASE("a program whose formula is missing has no kernel") {
  const FusedFormulas formulas("");
  FusedPattern pattern;
  pattern.inputs = pattern.outputs = pattern.count = 1;
  pattern.code[0].op = FusedOp::Exp;
  pattern.code[0].reads[0] = 0;
  CHECK(FusedWriter(pattern, formulas, FusedTuning::of(pattern, formulas)).write().empty());
  pattern.code[0].op = FusedOp::Copy;
  CHECK_FALSE(FusedWriter(pattern, formulas, FusedTuning::of(pattern, formulas)).write().empty());
}

#ifdef GORGO_PTXAS
TEST_CASE("the assembler takes the kernels of fused programs") {
  const FusedFormulas formulas(fused_formulas_text);
  for (const bool wide : {false, true}) {
    for (int op = 0; op < kOps; ++op) {
      const auto code = static_cast<FusedOp>(op);
      if (code == FusedOp::Copy || code == FusedOp::Move) continue;
      CAPTURE(fused_name(code));
      REQUIRE(formulas.find(wide, code) != nullptr);
      for (const std::string_view line : *formulas.find(wide, code))
        REQUIRE(line.find("call") == std::string_view::npos);
    }
  }
  const auto folder =
      std::filesystem::temp_directory_path() / ("gorgo_fused_ptx_" + std::to_string(std::random_device{}()));
  std::filesystem::create_directory(folder);
  const std::string file = (folder / "chain.ptx").string();
  Draw draw(2);
  for (int i = 0; i < 24; ++i) {
    const FusedPattern pattern = draw.pattern();
    const std::string text = FusedWriter(pattern, formulas, FusedTuning::of(pattern, formulas)).write();
    std::ofstream(file) << text;
    const std::string command = std::string(GORGO_PTXAS) + (i % 2 == 0 ? " -arch=sm_80 " : " -arch=sm_90a ") + file +
                                " -o " + (folder / "chain.cubin").string();
    CAPTURE(text);
    REQUIRE(std::system(command.c_str()) == 0);  // NOLINT(concurrency-mt-unsafe)
  }
  std::filesystem::remove_all(folder);
}
#endif

}  // namespace
}  // namespace gorgo

// The texts of kernels for fused programs: whole for every pattern, and where CUDA's tools are there, accepted by the assembler.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <string>

#include "ops/elementwise/fused_ptx.h"

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

// Complains about registers, labels and parameters that are named and not there. Formulas name theirs by other letters.
std::string complaint_about(const std::string& text) {
  std::map<std::string, int> declared;
  const std::regex declaration(R"(\.reg \.\w+ (%[vwqht])<(\d+)>)");
  for (std::sregex_iterator i(text.begin(), text.end(), declaration); i != std::sregex_iterator(); ++i) {
    declared[(*i)[1]] = std::stoi((*i)[2]);
  }
  const std::regex use(R"((%[vwqht])(\d+))");
  for (std::sregex_iterator i(text.begin(), text.end(), use); i != std::sregex_iterator(); ++i) {
    if (std::stoi((*i)[2]) >= declared[(*i)[1]]) return "no register " + i->str();
  }
  std::set<std::string> labels;
  const std::regex label(R"((\$C\w+):)");
  for (std::sregex_iterator i(text.begin(), text.end(), label); i != std::sregex_iterator(); ++i)
    labels.insert((*i)[1]);
  const std::regex branch(R"(bra (\$C\w+);)");
  for (std::sregex_iterator i(text.begin(), text.end(), branch); i != std::sregex_iterator(); ++i) {
    if (labels.count((*i)[1]) == 0) return "no label " + (*i)[1].str();
  }
  const std::regex parameter(R"(\[call\+(\d+)\])");
  for (std::sregex_iterator i(text.begin(), text.end(), parameter); i != std::sregex_iterator(); ++i) {
    if (std::stoul((*i)[1]) >= sizeof(FusedParameters)) return "no parameter at " + (*i)[1].str();
  }
  int depth = 0;
  for (const char c : text) depth += c == '{' ? 1 : c == '}' ? -1 : 0;
  if (depth != 0) return "scopes are left open";
  if (text.find("param_") != std::string::npos || text.find("retval") != std::string::npos)
    return "a formula has kept its parameters";
  return {};
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

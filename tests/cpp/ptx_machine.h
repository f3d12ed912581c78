// A machine for the texts of fused_ptx.h: it shows without a card what the kernels read, compute and write.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops/elementwise/fused_ptx.h"

namespace gorgo {

// Runs a kernel's text on the host, thread by thread: as much of PTX as the writer and the made-up formulas use. Memory may be touched
// where a buffer is, nowhere else.
class PtxMachine {
 public:
  explicit PtxMachine(const std::string& text) {
    size_t at = text.find("{\n") + 2;
    while (at < text.size()) {
      const size_t end = text.find('\n', at);
      read_line(text.substr(at, end - at));
      at = end + 1;
    }
  }
  struct Range {
    unsigned char* data;
    size_t bytes;
    bool written;
  };
  void run(const FusedParameters& parameters, const std::vector<Range>& ranges, uint32_t blocks, uint32_t threads) {
    std::memcpy(parameters_, &parameters, sizeof parameters);
    ranges_ = ranges;
    for (uint32_t b = 0; b < blocks; ++b) {
      for (uint32_t t = 0; t < threads; ++t) run_thread(b, threads, t);
    }
  }

 private:
  struct Line {
    std::string condition;  // a register, or nothing
    bool unless = false;
    std::string op;
    std::vector<std::string> args;
    std::string label;
  };

  void read_line(std::string s) {
    for (char& c : s) c = c == '\t' ? ' ' : c;
    while (!s.empty() && (s.back() == ' ' || s.back() == ';')) s.pop_back();
    if (s.empty() || s[0] == '.' || s == "{" || s == "}") return;
    Line line;
    if (s.back() == ':') {
      line.label = s.substr(0, s.size() - 1);
      lines_.push_back(line);
      return;
    }
    const auto word = [&] {
      const size_t end = std::min(s.find(' '), s.size());
      const std::string w = s.substr(0, end);
      s.erase(0, end);
      s.erase(0, std::min(s.find_first_not_of(' '), s.size()));
      return w;
    };
    if (s[0] == '@') {
      line.condition = word().substr(1);
      line.unless = line.condition[0] == '!';
      if (line.unless) line.condition.erase(0, 1);
    }
    line.op = word();
    int depth = 0;
    std::string arg;
    for (const char c : s + ",") {
      depth += c == '{' ? 1 : c == '}' ? -1 : 0;
      if (c == ',' && depth == 0) {
        if (!arg.empty()) line.args.push_back(arg);
        arg.clear();
      } else if (c != ' ') {
        arg += c;
      }
    }
    lines_.push_back(line);
  }

  // ---- values ----

  [[nodiscard]] uint64_t value(const std::string& arg) const {
    if (arg == "%tid.x") return thread_;
    if (arg == "%ctaid.x") return block_;
    if (arg == "%ntid.x") return threads_;
    if (arg[0] == '%') {
      const auto found = registers_.find(arg);
      return found != registers_.end() ? found->second : kPoison;  // elements that a short chunk has not
    }
    if (arg.substr(0, 2) == "0f" || arg.substr(0, 2) == "0d") return std::stoull(arg.substr(2), nullptr, 16);
    return static_cast<uint64_t>(std::stoll(arg, nullptr, 0));
  }
  [[nodiscard]] uint32_t word(const std::string& arg) const { return static_cast<uint32_t>(value(arg)); }
  template <class To, class From>
  static To bits_as(From from) {
    static_assert(sizeof(To) <= sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
  }
  [[nodiscard]] double number(const std::string& arg, bool wide) const {
    return wide ? bits_as<double>(value(arg)) : static_cast<double>(bits_as<float>(value(arg)));
  }
  static uint64_t bits_of(double v, bool wide) {
    const auto narrow = static_cast<float>(v);
    uint64_t bits = 0;
    std::memcpy(&bits, wide ? static_cast<const void*>(&v) : &narrow, wide ? 8 : 4);
    return bits;
  }
  static std::vector<std::string> listed(const std::string& arg) {
    std::vector<std::string> names;
    std::string name;
    for (const char c : arg + ",") {
      if (c == ',' || c == '}') {
        if (!name.empty()) names.push_back(name);
        name.clear();
      } else if (c != '{') {
        name += c;
      }
    }
    return names;
  }

  // ---- memory ----

  static size_t bytes_of(const std::string& kind) { return static_cast<size_t>(std::stoi(kind.substr(1))) / 8; }
  void touch(const Line& line, bool writes) {
    const std::string kind = line.op.substr(line.op.rfind('.') + 1);
    const std::string& where = line.args[writes ? 0 : 1];
    const size_t plus = where.find('+');
    uint64_t at = value(where.substr(1, std::min(plus, where.size() - 1) - 1));
    if (plus != std::string::npos) at += std::stoull(where.substr(plus + 1));
    const std::vector<std::string> names = listed(line.args[writes ? 1 : 0]);
    if (at % (bytes_of(kind) * names.size()) != 0) throw std::runtime_error("not aligned: " + line.op);
    for (const std::string& name : names) {
      auto* const p = reinterpret_cast<unsigned char*>(at);  // NOLINT(performance-no-int-to-ptr)
      bool inside = false;
      for (const Range& r : ranges_) {
        inside = inside || (r.written == writes && p >= r.data && p + bytes_of(kind) <= r.data + r.bytes);
      }
      if (!inside) throw std::runtime_error("outside of the buffers: " + line.op + " " + where);
      uint64_t bits = writes ? value(name) : 0;
      std::memcpy(writes ? static_cast<void*>(p) : &bits, writes ? static_cast<const void*>(&bits) : p, bytes_of(kind));
      if (!writes) registers_[name] = bits;
      at += bytes_of(kind);
    }
  }

  // ---- instructions ----

  void run_thread(uint32_t block, uint32_t threads, uint32_t thread) {
    block_ = block;
    threads_ = threads;
    thread_ = thread;
    registers_.clear();
    for (size_t at = 0; at < lines_.size(); ++at) {
      const Line& line = lines_[at];
      if (!line.label.empty()) continue;
      if (!line.condition.empty() && (value(line.condition) != 0) == line.unless) continue;
      if (line.op == "ret") return;
      if (line.op.substr(0, 3) == "bra") {
        at = target_of(line.args[0], at);
      } else {
        step(line);
      }
    }
  }
  // The next label of that name, or if there is none behind, the one before.
  [[nodiscard]] size_t target_of(const std::string& label, size_t from) const {
    for (size_t i = 0; i < lines_.size(); ++i) {
      const size_t at = (from + i) % lines_.size();
      if (lines_[at].label == label) return at;
    }
    throw std::runtime_error("no label " + label);
  }
  void step(const Line& line) {
    const auto& a = line.args;
    const std::string& op = line.op;
    const auto is = [&](const char* name) { return op.substr(0, std::strlen(name)) == name; };
    const bool wide = op.size() > 4 && op.substr(op.size() - 4) == ".f64";
    const auto wide_product = [&] {
      return op.back() == '2' && is("mad.wide.s32")
                 ? static_cast<uint64_t>(int64_t{static_cast<int32_t>(word(a[1]))} * static_cast<int32_t>(word(a[2])))
                 : uint64_t{word(a[1])} * word(a[2]);
    };
    if (is("ld.param")) {
      uint64_t bits = 0;
      std::memcpy(&bits, parameters_ + std::stoul(a[1].substr(6)), bytes_of(op.substr(9)));
      registers_[a[0]] = bits;
    } else if (is("ld.global")) {
      touch(line, false);
    } else if (is("st.global")) {
      touch(line, true);
    } else if (is("mov") && a[0][0] == '{') {
      const std::vector<std::string> halves = listed(a[0]);
      registers_[halves[0]] = word(a[1]) & 0xffff;
      registers_[halves[1]] = word(a[1]) >> 16;
    } else if (is("mov") || is("cvta")) {
      registers_[a[0]] = value(a[1]);
    } else if (is("mad.wide")) {
      registers_[a[0]] = wide_product() + value(a[3]);
    } else if (is("mad.lo")) {
      registers_[a[0]] = word(a[1]) * word(a[2]) + word(a[3]);
    } else if (is("mul.lo")) {
      registers_[a[0]] = word(a[1]) * word(a[2]);
    } else if (is("mul.hi")) {
      registers_[a[0]] = uint64_t{word(a[1])} * word(a[2]) >> 32;
    } else if (is("add.u32") || is("sub.u32")) {
      registers_[a[0]] = is("add") ? word(a[1]) + word(a[2]) : word(a[1]) - word(a[2]);
    } else if (is("add.f")) {
      registers_[a[0]] = bits_of(number(a[1], wide) + number(a[2], wide), wide);
    } else if (is("shr")) {
      registers_[a[0]] = word(a[1]) >> word(a[2]);
    } else if (is("shl")) {
      registers_[a[0]] = word(a[1]) << word(a[2]);
    } else if (is("shf.r.wrap")) {
      registers_[a[0]] = static_cast<uint32_t>((uint64_t{word(a[2])} << 32 | word(a[1])) >> word(a[3]));
    } else if (is("and")) {
      registers_[a[0]] = word(a[1]) & word(a[2]);
    } else if (is("or")) {
      registers_[a[0]] = word(a[1]) | word(a[2]);
    } else if (is("bfi")) {
      const uint32_t mask = ((1u << word(a[4])) - 1) << word(a[3]);
      registers_[a[0]] = (word(a[2]) & ~mask) | (word(a[1]) << word(a[3]) & mask);
    } else if (is("prmt")) {
      registers_[a[0]] = word(a[1]) >> 16 | (word(a[2]) & 0xffff0000u);
    } else if (is("selp")) {
      registers_[a[0]] = value(a[3]) != 0 ? value(a[1]) : value(a[2]);
    } else if (is("setp")) {
      const bool floats = op.find(".f") != std::string::npos;
      const double x = floats ? number(a[1], wide) : word(a[1]);
      const double y = floats ? number(a[2], wide) : word(a[2]);
      registers_[a[0]] = is("setp.lt")   ? x < y
                         : is("setp.ge") ? x >= y
                         : is("setp.gt") ? x > y
                         : is("setp.eq") ? x == y
                                         : x != y;
    } else if (is("cvt.f32.f16")) {
      Float16 half;
      half.bits = static_cast<uint16_t>(value(a[1]));
      registers_[a[0]] = bits_of(static_cast<float>(half), false);
    } else if (is("cvt.rn.f16x2") || is("cvt.rn.bf16x2")) {
      const auto high = static_cast<float>(number(a[1], false));
      const auto low = static_cast<float>(number(a[2], false));
      registers_[a[0]] = is("cvt.rn.f16x2") ? Float16(low).bits | uint32_t{Float16(high).bits} << 16
                                            : BFloat16(low).bits | uint32_t{BFloat16(high).bits} << 16;
    } else {
      throw std::runtime_error("no instruction " + op);
    }
  }

  static constexpr uint64_t kPoison = 0x7b7b7b7b7b7b7b7b;
  std::vector<Line> lines_;
  std::unordered_map<std::string, uint64_t> registers_;
  unsigned char parameters_[sizeof(FusedParameters)] = {};
  std::vector<Range> ranges_;
  uint32_t block_ = 0;
  uint32_t threads_ = 0;
  uint32_t thread_ = 0;
};

}  // namespace gorgo

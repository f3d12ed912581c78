#include "core/env.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "core/check.h"

namespace gorgo {
namespace {

struct Row {
  const char* name;
  const char* doc;
};

// Every variable that any part of the library reads. A new one gets its row here first.
constexpr Row kTable[] = {
    {"GORGO_FUSE",
     "0 keeps chains of elementwise ops apart in captured functions; always makes them one kernel where it hardly "
     "pays, too"},
    {"GORGO_FUSE_COMPILE",
     "0 has fused chains interpreted on CUDA, where otherwise the driver compiles a kernel for each"},
    {"GORGO_ISA", "highest instruction set that kernels may use: base, avx2, avx512, avx512_vnni, avx512_bf16 or amx"},
    {"GORGO_NUM_THREADS", "threads of the pool, a whole number of at least 1; wins over OMP_NUM_THREADS"},
    {"OMP_NUM_THREADS", "threads of the pool when GORGO_NUM_THREADS is unset; of a list such as 4,2 the first counts"},
    {"GORGO_MEMORY_DEBUG", "1 surrounds every block with guard bytes and poisons it when released"},
    {"GORGO_CACHE_LIMIT", "most bytes of released memory that the CPU pool keeps for reuse"},
    {"GORGO_MEMORY_LIMIT", "most bytes that the CPU pool holds altogether; more raises OutOfMemoryError"},
};

const char* read(const char* name) {
  const bool listed = std::any_of(std::begin(kTable), std::end(kTable),
                                  [&](const Row& row) { return std::strcmp(row.name, name) == 0; });
  if (!listed) fail<StateError>("env: name must be in the table of core/env.cpp, got ", name);
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here writes the environment
  return value == nullptr || *value == '\0' ? nullptr : value;
}

}  // namespace

std::optional<int64_t> env_int(const char* name) {
  const char* text = read(name);
  if (text == nullptr) return std::nullopt;
  const char* end = text + std::strlen(text);
  int64_t value = 0;
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end) fail<ValueError>(name, ": must be a whole number, got '", text, "'");
  return value;
}

bool env_flag(const char* name, bool otherwise) {
  const char* text = read(name);
  if (text == nullptr) return otherwise;
  std::string word(text);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* yes : {"1", "true", "on", "yes"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"0", "false", "off", "no"}) {
    if (word == no) return false;
  }
  fail<ValueError>(name, ": must be 1, true, on, yes or 0, false, off, no, got '", text, "'");
}

std::optional<std::string> env_string(const char* name) {
  const char* text = read(name);
  if (text == nullptr) return std::nullopt;
  return std::string(text);
}

std::vector<EnvVar> env_vars() {
  std::vector<EnvVar> vars;
  for (const Row& row : kTable) vars.push_back({row.name, row.doc, env_string(row.name)});
  return vars;
}

}  // namespace gorgo

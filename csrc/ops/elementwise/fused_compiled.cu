// Fused programs as kernels of their own: compiled by the driver when they are first met, kept, launched.
//
// A program and the layout of its operands make a pattern; each pattern is compiled once for each device, on the thread that meets
// it, which takes some tens of milliseconds. Whatever stands in the way (a driver without the functions, a card before compute
// capability 8.0, strides beyond 32 bits, a refused text, more patterns than are kept) leaves the program to the interpreter.
// Invariant: kernels are never unloaded, since captured graphs launch them: there are at most kMostChains.
// Read next: fused_ptx.h (what is compiled), fused_interpreter.cuh.
#include <cuda.h>
#include <cudaTypedefs.h>

#include <chrono>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <type_traits>
#include <unordered_map>

#include "device/cuda/driver_entry.cuh"
#include "device/cuda/plugin.h"
#include "ops/elementwise/fused_launch.cuh"
#include "ops/elementwise/fused_ptx.h"

namespace gorgo {

extern const char fused_formulas_text[];  // what fused_formulas.cu was compiled to; made by CMake

}  // namespace gorgo

namespace gorgo::cuda {

bool launch_compiled(const KernelArgs& args, bool wide) noexcept;
CompiledChains count_compiled_chains();

namespace {

constexpr size_t kMostChains = 1024;

struct Driver {
  PFN_cuModuleLoadDataEx_v2010 load = driver_entry<PFN_cuModuleLoadDataEx_v2010>("cuModuleLoadDataEx");
  PFN_cuModuleGetFunction_v2000 function = driver_entry<PFN_cuModuleGetFunction_v2000>("cuModuleGetFunction");
  PFN_cuLaunchKernel_v4000 launch = driver_entry<PFN_cuLaunchKernel_v4000>("cuLaunchKernel");
  [[nodiscard]] bool complete() const noexcept { return load != nullptr && function != nullptr && launch != nullptr; }
};
const Driver& driver() noexcept {
  static const Driver table;
  return table;
}

// What a chain is known by: compared as bytes, of which none is padding.
struct Key {
  FusedPattern pattern;
  uint8_t device = 0;
  friend bool operator==(const Key& a, const Key& b) noexcept { return std::memcmp(&a, &b, sizeof a) == 0; }
};
static_assert(std::has_unique_object_representations_v<Key>);
struct KeyHash {
  size_t operator()(const Key& key) const noexcept {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&key), sizeof key});
  }
};

// Loading may allocate on the device, which a capture on this thread forbids unless it is told that nothing captured depends on it.
class OutsideCapture {
 public:
  OutsideCapture() noexcept { exchange(); }
  ~OutsideCapture() { exchange(); }
  OutsideCapture(const OutsideCapture&) = delete;
  OutsideCapture& operator=(const OutsideCapture&) = delete;

 private:
  void exchange() noexcept { static_cast<void>(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

class Chains {
 public:
  static Chains& instance() {
    static auto* const chains = new Chains;  // launched from other threads until the very end
    return *chains;
  }
  // Null where the pattern cannot be compiled.
  CUfunction find(const Key& key) {
    {
      const std::shared_lock lock(known_);
      const auto found = chains_.find(key);
      if (found != chains_.end()) return found->second;
    }
    const std::lock_guard one(compiling_);
    {
      const std::shared_lock lock(known_);
      const auto found = chains_.find(key);  // another thread was faster
      if (found != chains_.end()) return found->second;
      if (chains_.size() >= kMostChains) return nullptr;
    }
    const auto before = std::chrono::steady_clock::now();
    CUfunction made = compile(key.pattern);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
    const std::unique_lock lock(known_);
    counted_.seconds += took.count();
    ++(made != nullptr ? counted_.kernels : counted_.refused);
    return chains_.emplace(key, made).first->second;
  }
  CompiledChains counted() {
    const std::shared_lock lock(known_);
    return counted_;
  }

 private:
  CUfunction compile(const FusedPattern& pattern) const {
    const std::string text = FusedWriter(pattern, formulas_, FusedTuning::of(pattern, formulas_)).write();
    if (text.empty()) return nullptr;
    const OutsideCapture outside;
    CUmodule module = nullptr;
    CUfunction kernel = nullptr;
    if (driver().load(&module, text.c_str(), 0, nullptr, nullptr) != CUDA_SUCCESS) return nullptr;
    return driver().function(&kernel, module, FusedWriter::kEntry) == CUDA_SUCCESS ? kernel : nullptr;
  }

  const FusedFormulas formulas_{fused_formulas_text};
  std::shared_mutex known_;
  std::mutex compiling_;
  std::unordered_map<Key, CUfunction, KeyHash> chains_;
  CompiledChains counted_;
};

bool fits(int64_t n) noexcept { return n == static_cast<int32_t>(n); }

// The pattern's and the launch's part of an operand. False where its steps are too long.
bool lay_operand(const Walk<kFusedOperands>& walk, int o, const Place& place, const KOperand& operand,
                 int64_t row_chunks, bool input, FusedLayout& layout, FusedOperand& at) noexcept {
  const int last = walk.rank - 1;
  layout.type = fused_type(operand.dtype);
  layout.access = place.access == Access::Whole ? FusedAccess::Whole
                  : input && place.step == 0    ? FusedAccess::Splat
                                                : FusedAccess::Single;
  at.data = place.data;
  if (!fits(place.step) || !fits(place.granule_step)) return false;
  at.step = static_cast<int32_t>(place.step);
  at.chunk_step = static_cast<int32_t>(place.granule_step);
  int64_t flat = row_chunks * place.granule_step;
  layout.flat = true;
  for (int i = last - 1; i >= 0; --i) {
    if (!fits(walk.strides[o][i])) return false;
    at.strides[i] = static_cast<int32_t>(walk.strides[o][i]);
    layout.flat = layout.flat && walk.strides[o][i] == flat;
    flat *= walk.shape[i];
  }
  return true;
}

FusedDivision division(int64_t n) noexcept {
  const Divider d(static_cast<uint32_t>(n));
  return {d.divisor, d.multiplier, d.shift};
}

template <class C>
bool launch(const KernelArgs& args) {
  Key key;
  FusedPattern& p = key.pattern;
  FusedParameters parameters{};
  const auto& attrs = args.attrs_as<FusedAttrs>();
  // Inputs first, then numbers, then what instructions make.
  int8_t named[kFusedInputs + kFusedNumbers];
  int8_t inputs[kFusedInputs];
  p.wide = sizeof(C) == 8;
  p.outputs = static_cast<uint8_t>(args.out_count);
  p.count = static_cast<uint8_t>(attrs.count());
  const auto note_type = [&](DType d) {
    const FusedType type = fused_type(d);
    p.halves = p.halves || type == FusedType::Float16 || type == FusedType::BFloat16;
  };
  for (int v = 0; v < args.in_count; ++v) {
    if (args.in[v].host) continue;
    note_type(args.in[v].dtype);
    inputs[p.inputs] = static_cast<int8_t>(v);
    named[v] = static_cast<int8_t>(p.inputs++);
  }
  for (int v = 0; v < args.in_count; ++v) {
    if (!args.in[v].host) continue;
    const C number = host_element<C>(args.in[v]);
    std::memcpy(&parameters.numbers[p.numbers], &number, sizeof number);
    named[v] = static_cast<int8_t>(p.inputs + p.numbers++);
  }
  for (int i = 0; i < p.count; ++i) {
    FusedInstruction& code = p.code[i];
    code = attrs.at(i);
    note_type(code.dtype);
    for (int k = 0; k < 3; ++k) {
      int8_t& v = code.reads[k];
      if (k >= fused_arity(code.op)) v = -1;
      if (v >= 0 && v < args.in_count) v = named[v];
    }
  }
  for (int o = 0; o < p.outputs; ++o) p.result[o] = static_cast<uint8_t>(attrs.results[o] - args.in_count);

  Place places[kFusedOperands];
  const KOperand* operands[kFusedOperands];
  const Walk<kFusedOperands> walk = fold_fused(args, inputs, p.inputs, p.elements(), operands, places);
  const int last = walk.rank - 1;
  const int64_t row_chunks = ceil_div(walk.shape[last], p.elements());
  int64_t chunks = row_chunks;
  for (int i = 0; i < last; ++i) chunks *= walk.shape[i];
  if (last > kFusedRank || chunks >= int64_t{1} << 31) return false;
  for (int i = 0; i < last; ++i) parameters.by[i] = division(walk.shape[i]);
  p.whole = walk.shape[last] % p.elements() == 0;
  p.outer_axes = static_cast<uint8_t>(last);
  parameters.chunks = static_cast<uint32_t>(chunks);
  parameters.tail = static_cast<uint32_t>(walk.shape[last] - (row_chunks - 1) * p.elements());
  parameters.row = division(row_chunks);
  for (int o = 0; o < p.outputs; ++o) {
    if (!lay_operand(walk, o, places[o], *operands[o], row_chunks, false, p.out[o], parameters.out[o])) return false;
  }
  for (int i = 0; i < p.inputs; ++i) {
    const int o = kFusedOutputs + i;
    if (!lay_operand(walk, o, places[o], *operands[o], row_chunks, true, p.in[i], parameters.in[i])) return false;
  }

  int device = 0;
  static_cast<void>(cudaGetDevice(&device));
  key.device = static_cast<uint8_t>(device);
  CUfunction kernel = Chains::instance().find(key);
  if (kernel == nullptr) return false;
  // Few chunks are spread over many blocks.
  int threads = FusedWriter::kThreads;
  while (threads > 32 && ceil_div(chunks, threads) < card().multiprocessors) threads /= 2;
  const auto blocks = static_cast<unsigned>(ceil_div(chunks, threads));
  void* list[] = {&parameters};
  return driver().launch(kernel, blocks, 1, 1, static_cast<unsigned>(threads), 1, 1, 0, stream_of(args), list,
                         nullptr) == CUDA_SUCCESS;
}

}  // namespace

CompiledChains count_compiled_chains() { return Chains::instance().counted(); }

// False where the interpreter has to run the program.
bool launch_compiled(const KernelArgs& args, bool wide) noexcept {
  if (args.attrs_as<FusedAttrs>().interpreted || args.out[0].numel == 0) return false;
  if (card().major < 8 || !driver().complete()) return false;
  try {
    return wide ? launch<double>(args) : launch<float>(args);
  } catch (...) {  // no memory on the host
    return false;
  }
}

}  // namespace gorgo::cuda

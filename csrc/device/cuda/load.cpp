// Opens libgorgo_cuda.so. See plugin.h.
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>

#include "core/build_info.h"
#include "device/cuda/plugin.h"

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#define GORGO_HAS_DLOPEN 1
#else
#define GORGO_HAS_DLOPEN 0
#endif

namespace gorgo {

void (*take_cuda_kernels)(void (*fill)(KernelSink& sink)) = nullptr;

namespace {

std::atomic<CompiledChains (*)()> count_chains{nullptr};

void open_beside_us() {
#if GORGO_HAS_DLOPEN
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&load_cuda_plugin), &here) == 0 || here.dli_fname == nullptr) return;
  const std::string module = here.dli_fname;
  const size_t slash = module.rfind('/');
  const std::string path = (slash == std::string::npos ? "./" : module.substr(0, slash + 1)) + "libgorgo_cuda.so";
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return;
  const auto open = reinterpret_cast<CudaPluginFn>(dlsym(library, kCudaPluginSymbol));
  const CudaPlugin* const plugin = open != nullptr ? open() : nullptr;
  // Of another version, its kernels would read other structures.
  if (plugin == nullptr || take_cuda_kernels == nullptr || std::strcmp(plugin->version, build_info().version) != 0) {
    dlclose(library);
    return;
  }
  take_cuda_kernels(plugin->fill);
  plugin->watch_float32_mode(&float32_mode);
  count_chains = plugin->compiled_chains;
  cuda_driver = plugin->driver;
#endif
}

}  // namespace

CompiledChains compiled_chains() {
  const auto count = count_chains.load();
  return count != nullptr ? count() : CompiledChains{};
}

void load_cuda_plugin() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    if (cuda_driver != nullptr) return;
    try {
      open_beside_us();
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a path: there is no device then
    }
  });
}

}  // namespace gorgo

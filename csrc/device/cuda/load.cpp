// Opens libgorgo_cuda.so. See plugin.h.
#include <atomic>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <system_error>

#include "core/build_info.h"
#include "core/check.h"
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

// Written once, while the library is looked for.
std::string& absence() {
  static auto* text = new std::string("this build has no CUDA");
  return *text;
}

void open_beside_us() {
#if GORGO_HAS_DLOPEN
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&load_cuda_plugin), &here) == 0 || here.dli_fname == nullptr) return;
  const std::string module = here.dli_fname;
  const size_t slash = module.rfind('/');
  const std::string path = (slash == std::string::npos ? "./" : module.substr(0, slash + 1)) + "libgorgo_cuda.so";
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();  // NOLINT(concurrency-mt-unsafe): a thread has its own
    std::error_code unknown;
    if (std::filesystem::exists(path, unknown)) {
      absence() = cat("the CUDA library does not open: ", reason != nullptr ? reason : "no reason given");
    }
    return;
  }
  const auto open = reinterpret_cast<CudaPluginFn>(dlsym(library, kCudaPluginSymbol));
  const CudaPlugin* const plugin = open != nullptr ? open() : nullptr;
  // Of another version, its kernels would read other structures.
  if (plugin == nullptr || take_cuda_kernels == nullptr || std::strcmp(plugin->version, build_info().version) != 0) {
    absence() = cat("the CUDA library is of another version than ", build_info().version);
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

std::string cuda_library_absence() {
  load_cuda_plugin();
  return absence();
}

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

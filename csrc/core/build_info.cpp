// The facts of build_info.h, from CMake's and the compiler's defines.
#include "core/build_info.h"

#define GORGO_QUOTE(x) #x
#define GORGO_TO_STRING(x) GORGO_QUOTE(x)

namespace gorgo {

const BuildInfo& build_info() noexcept {
  static constexpr BuildInfo kInfo{
      GORGO_VERSION,
#if defined(__clang__)
      "Clang " __clang_version__,
#elif defined(__GNUC__)
      "GCC " __VERSION__,
#elif defined(_MSC_VER)
      "MSVC " GORGO_TO_STRING(_MSC_VER),
#else
      "unknown",
#endif
      GORGO_BUILD_TYPE,
      GORGO_SANITIZERS,
      "base"
#if GORGO_HAVE_AVX2
      " avx2"
#endif
#if GORGO_HAVE_AVX512
      " avx512"
#endif
#if GORGO_HAVE_AVX512_VNNI
      " avx512_vnni"
#endif
#if GORGO_HAVE_AVX512_BF16
      " avx512_bf16"
#endif
#if GORGO_TILES_EMULATED
      " amx_emulated"
#elif GORGO_HAVE_AMX
      " amx"
#endif
      ,
  };
  return kInfo;
}

}  // namespace gorgo

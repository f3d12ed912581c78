#include "device/cpu/isa.h"

#include <cstring>
#include <iterator>
#include <optional>

#include "core/check.h"
#include "core/env.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#define GORGO_X86 1
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gorgo {
namespace {

constexpr const char* kNames[] = {"base", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"};

#if defined(GORGO_X86)
struct Leaf {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(uint32_t leaf, uint32_t sub = 0) noexcept {
  Leaf r;
  if (__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}

bool bit(uint32_t word, int i) noexcept { return ((word >> i) & 1u) != 0; }

// The register state that the operating system saves: without it the instructions fault.
uint64_t saved_state(const Leaf& one) noexcept {
  if (!bit(one.c, 27)) return 0;  // OSXSAVE
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

#if defined(GORGO_HAVE_AMX) && !defined(GORGO_TILES_EMULATED)
// Linux gives the tile registers only to processes that ask.
bool may_use_tiles() noexcept {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
// Eight tiles of 16 rows of 64 bytes, which is palette 1.
bool has_palette() noexcept {
  if (cpuid(0x1d).a < 1) return false;
  const Leaf palette = cpuid(0x1d, 1);
  return (palette.b & 0xffff) >= 64 && palette.b >> 16 >= 8 && (palette.c & 0xffff) >= 16;
}
#endif

Isa probe() noexcept {
  const Leaf one = cpuid(1);
  const Leaf seven = cpuid(7);
  const uint64_t state = saved_state(one);
  const bool ymm = (state & 0x6) == 0x6;
  const bool zmm = (state & 0xe6) == 0xe6;
  Isa isa = Isa::Base;
  const bool avx2 =
      ymm && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 5) && bit(seven.b, 8);  // fma f16c avx2 bmi2
  if (!avx2) return isa;
#if defined(GORGO_HAVE_AVX2)
  isa = Isa::Avx2;
#endif
#if defined(GORGO_HAVE_AVX512)
  const bool avx512 =
      zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);  // f dq bw vl
  if (!avx512) return isa;
  isa = Isa::Avx512;
#if defined(GORGO_HAVE_AVX512_VNNI)
  if (!bit(seven.c, 11)) return isa;
  isa = Isa::Avx512Vnni;
#if defined(GORGO_HAVE_AVX512_BF16)
  if (!bit(cpuid(7, 1).a, 5)) return isa;
  isa = Isa::Avx512Bf16;
#endif
#endif
#if defined(GORGO_HAVE_AMX) && !defined(GORGO_TILES_EMULATED)
  const bool tiles = (state & 0x60000) == 0x60000 && bit(seven.d, 22) && bit(seven.d, 24) && bit(seven.d, 25);
  if (tiles && has_palette() && may_use_tiles()) isa = Isa::Amx;
#endif
#endif
  static_cast<void>(zmm);
  return isa;
}
#endif

}  // namespace

const char* isa_name(Isa isa) noexcept { return kNames[static_cast<int>(isa)]; }

Isa best_isa() noexcept {
#if defined(GORGO_X86)
  static const Isa best = probe();
  return best;
#else
  return Isa::Base;
#endif
}

bool is_available(Isa isa) noexcept {
#if defined(GORGO_TILES_EMULATED)
  if (isa == Isa::Amx) return best_isa() >= Isa::Avx512;
#endif
  return isa <= best_isa();
}

Isa chosen_isa() {
  static const Isa chosen = [] {
    const std::optional<std::string> wanted = env_string("GORGO_ISA");
    if (!wanted) return best_isa();
    std::string available;
    for (size_t i = 0; i < std::size(kNames); ++i) {
      const auto isa = static_cast<Isa>(i);
      if (!is_available(isa)) continue;
      if (*wanted == kNames[i]) return isa;
      available += std::string(i > 0 ? ", " : "") + kNames[i];
    }
    fail<ValueError>("GORGO_ISA: must be one of ", available, " on this processor, got ", *wanted);
  }();
  return chosen;
}

std::string cpu_model() {
#if defined(GORGO_X86)
  char text[49] = {};
  if (cpuid(0x80000000u).a >= 0x80000004u) {
    for (uint32_t i = 0; i < 3; ++i) {
      const Leaf part = cpuid(0x80000002u + i);
      std::memcpy(text + 16 * i, &part, 16);
    }
  }
  std::string model(text);
  const auto first = model.find_first_not_of(' ');
  return first == std::string::npos ? "unknown x86-64" : model.substr(first);
#else
  return "unknown";
#endif
}

}  // namespace gorgo

// Measures what this processor can do at most, for the roofline: arithmetic over registers alone, and bytes moved by a
// loop that does nothing else, each with one instruction set.
//
// One question per line of standard input, one answer per line of standard output:
//   rate SET KIND                  GF/s (operations of bytes: Gop/s) of float32, float64, bfloat16 or bytes
//   stream SET READ WRITTEN RING   GB/s of a loop that reads READ bytes, of RING buffers in turn, and writes WRITTEN
// What can't be answered gets a line that begins with "error: ".
//
// The sets are Gorgo's own, up to the one that this build of Gorgo would choose. Read next: bench/ceilings.py, which asks,
// and csrc/device/cpu/isa.h.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>

#include "device/cpu/isa.h"
#include "memory/raw_allocator.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define GORGO_X86 1
#endif

namespace {

using gorgo::Isa;
using Clock = std::chrono::steady_clock;

// What a loop takes at least, all its passes together and each of them.
constexpr double kWhole_ns = 1e6;
constexpr double kPass_ns = 5e4;
constexpr size_t kStep_bytes = 512;  // of a turn of the streaming loops: eight of the widest registers
constexpr size_t kMost_bytes = size_t{1} << 31;

double nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

// Ordinary numbers whether they are read as float32, float64, bfloat16 or bytes.
alignas(64) constexpr auto kOperands = [] {
  std::array<uint32_t, 16> words{};
  words.fill(0x3f803f80u);
  return words;
}();

// Twelve sums, each of which waits for itself alone: latencies of four or five at two a cycle are hidden, and sixteen
// registers hold them with both operands. The compiler must take `a` for another one each time.
#define GORGO_TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
constexpr double kSums = 12;
constexpr int64_t kTurns = 1000;
#define GORGO_SUM(I) Sum s##I{};
#define GORGO_ADD(I)      \
  s##I = add(a, b, s##I); \
  asm volatile("" : GORGO_REGISTER(a));
#define GORGO_KEEP(I) asm volatile("" : GORGO_REGISTER(s##I));
#define GORGO_RATE_LOOP(NAME, TARGET, OPERAND, SUM, EXPRESSION)                    \
  TARGET inline SUM NAME##_add(OPERAND a, OPERAND b, SUM s) { return EXPRESSION; } \
  TARGET __attribute__((noinline)) void NAME(int64_t turns) {                      \
    using Sum = SUM;                                                               \
    constexpr auto add = NAME##_add;                                               \
    OPERAND a;                                                                     \
    std::memcpy(&a, kOperands.data(), sizeof(a));                                  \
    const OPERAND b = a;                                                           \
    GORGO_TWELVE(GORGO_SUM)                                                        \
    for (; turns > 0; --turns) {                                                   \
      GORGO_TWELVE(GORGO_ADD)                                                      \
    }                                                                              \
    GORGO_TWELVE(GORGO_KEEP)                                                       \
  }

// Reads and writes as many bytes as are asked for, and nothing else; eight registers to a turn, since a turn of a loop costs
// more than a load.
#define GORGO_EIGHT(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define GORGO_COPY(I) target[I] = source[I];
#define GORGO_READ(I) asm volatile("" : : GORGO_OPERAND(source[I]));
#define GORGO_WRITE(I) target[I] = zero;
#define GORGO_STREAM_LOOP(NAME, TARGET, VECTOR)                                                         \
  TARGET __attribute__((noinline)) void NAME(const char* from, size_t read, char* to, size_t written) { \
    constexpr size_t step = 8 * sizeof(VECTOR);                                                         \
    const auto* source = reinterpret_cast<const VECTOR*>(from);                                         \
    auto* target = reinterpret_cast<VECTOR*>(to);                                                       \
    const VECTOR zero{};                                                                                \
    const size_t both = std::min(read, written);                                                        \
    for (size_t at = 0; at < both; at += step, source += 8, target += 8) {                              \
      GORGO_EIGHT(GORGO_COPY)                                                                           \
      asm volatile("" : : : "memory");                                                                  \
    }                                                                                                   \
    for (size_t at = both; at < read; at += step, source += 8) {                                        \
      GORGO_EIGHT(GORGO_READ)                                                                           \
    }                                                                                                   \
    for (size_t at = both; at < written; at += step, target += 8) {                                     \
      GORGO_EIGHT(GORGO_WRITE)                                                                          \
      asm volatile("" : : : "memory");                                                                  \
    }                                                                                                   \
  }

#if defined(GORGO_X86)
#define GORGO_REGISTER(X) "+x"(X)
#define GORGO_OPERAND(X) "x"(X)
#define GORGO_NO_TARGET
// Of bytes that are widened to 16 bits the products alone are counted: there are more ports for additions.
GORGO_RATE_LOOP(base_float32, GORGO_NO_TARGET, __m128, __m128, _mm_add_ps(s, _mm_mul_ps(a, b)))
GORGO_RATE_LOOP(base_float64, GORGO_NO_TARGET, __m128d, __m128d, _mm_add_pd(s, _mm_mul_pd(a, b)))
GORGO_RATE_LOOP(base_bytes, GORGO_NO_TARGET, __m128i, __m128i, (static_cast<void>(b), _mm_madd_epi16(a, s)))
GORGO_STREAM_LOOP(base_stream, GORGO_NO_TARGET, __m128i)

#define GORGO_AVX2 __attribute__((target("avx2,fma")))
GORGO_RATE_LOOP(avx2_float32, GORGO_AVX2, __m256, __m256, _mm256_fmadd_ps(a, b, s))
GORGO_RATE_LOOP(avx2_float64, GORGO_AVX2, __m256d, __m256d, _mm256_fmadd_pd(a, b, s))
GORGO_RATE_LOOP(avx2_bytes, GORGO_AVX2, __m256i, __m256i, (static_cast<void>(b), _mm256_madd_epi16(a, s)))
GORGO_STREAM_LOOP(avx2_stream, GORGO_AVX2, __m256i)

#undef GORGO_REGISTER
#undef GORGO_OPERAND
#define GORGO_REGISTER(X) "+v"(X)
#define GORGO_OPERAND(X) "v"(X)
#define GORGO_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
GORGO_RATE_LOOP(avx512_float32, GORGO_AVX512, __m512, __m512, _mm512_fmadd_ps(a, b, s))
GORGO_RATE_LOOP(avx512_float64, GORGO_AVX512, __m512d, __m512d, _mm512_fmadd_pd(a, b, s))
GORGO_RATE_LOOP(avx512_bytes, GORGO_AVX512, __m512i, __m512i, (static_cast<void>(b), _mm512_madd_epi16(a, s)))
GORGO_STREAM_LOOP(avx512_stream, GORGO_AVX512, __m512i)

#define GORGO_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
GORGO_RATE_LOOP(vnni_bytes, GORGO_VNNI, __m512i, __m512i, _mm512_dpbusd_epi32(s, a, b))
#define GORGO_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
GORGO_RATE_LOOP(bf16_bfloat16, GORGO_BF16, __m512bh, __m512, _mm512_dpbf16_ps(s, a, b))

// Four tiles of sums, 16 rows of 64 bytes each, and two by two of operands: what a product of 32 by 32 would hold.
#define GORGO_TILES __attribute__((target("amx-tile,amx-bf16,amx-int8")))
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  std::array<uint8_t, 14> reserved{};
  std::array<uint16_t, 16> row_bytes{};
  std::array<uint8_t, 16> rows{};
};
static_assert(sizeof(TileConfig) == 64);
#define GORGO_TILE_LOOP(NAME, PRODUCT)                             \
  GORGO_TILES __attribute__((noinline)) void NAME(int64_t turns) { \
    TileConfig config;                                             \
    for (size_t i = 0; i < 8; ++i) config.row_bytes[i] = 64;       \
    for (size_t i = 0; i < 8; ++i) config.rows[i] = 16;            \
    alignas(64) std::array<uint32_t, 256> operands;                \
    operands.fill(kOperands[0]);                                   \
    _tile_loadconfig(&config);                                     \
    _tile_zero(0);                                                 \
    _tile_zero(1);                                                 \
    _tile_zero(2);                                                 \
    _tile_zero(3);                                                 \
    _tile_loadd(4, operands.data(), 64);                           \
    _tile_loadd(5, operands.data(), 64);                           \
    _tile_loadd(6, operands.data(), 64);                           \
    _tile_loadd(7, operands.data(), 64);                           \
    for (; turns > 0; --turns) {                                   \
      PRODUCT(0, 4, 6);                                            \
      PRODUCT(1, 4, 7);                                            \
      PRODUCT(2, 5, 6);                                            \
      PRODUCT(3, 5, 7);                                            \
    }                                                              \
    _tile_release();                                               \
  }
GORGO_TILE_LOOP(amx_bfloat16, _tile_dpbf16ps)
GORGO_TILE_LOOP(amx_bytes, _tile_dpbusd)
constexpr double kTiles_flop = 4.0 * 2 * 16 * 16 * 32;
#endif

// A loop, what it counts as, the least set that has it, and the operations of a turn.
struct Rate {
  std::string_view kind;
  Isa least;
  double flop;
  void (*run)(int64_t turns);
};

#if defined(GORGO_X86)
// Where a set lacks products of a kind, what Gorgo widens them to counts: bfloat16 becomes float32, bytes 16 bits. With
// tiles float32 may go by six products of bfloat16.
constexpr Rate kRates[] = {
    {"float32", Isa::Base, kSums * 2 * 4, base_float32},
    {"float64", Isa::Base, kSums * 2 * 2, base_float64},
    {"bfloat16", Isa::Base, kSums * 2 * 4, base_float32},
    {"bytes", Isa::Base, kSums * 2 * 8, base_bytes},
    {"float32", Isa::Avx2, kSums * 2 * 8, avx2_float32},
    {"float64", Isa::Avx2, kSums * 2 * 4, avx2_float64},
    {"bfloat16", Isa::Avx2, kSums * 2 * 8, avx2_float32},
    {"bytes", Isa::Avx2, kSums * 2 * 16, avx2_bytes},
    {"float32", Isa::Avx512, kSums * 2 * 16, avx512_float32},
    {"float64", Isa::Avx512, kSums * 2 * 8, avx512_float64},
    {"bfloat16", Isa::Avx512, kSums * 2 * 16, avx512_float32},
    {"bytes", Isa::Avx512, kSums * 2 * 32, avx512_bytes},
    {"bytes", Isa::Avx512Vnni, kSums * 2 * 64, vnni_bytes},
    {"bfloat16", Isa::Avx512Bf16, kSums * 2 * 32, bf16_bfloat16},
    {"bfloat16", Isa::Amx, kTiles_flop, amx_bfloat16},
    {"bytes", Isa::Amx, 2 * kTiles_flop, amx_bytes},
    {"float32", Isa::Amx, kTiles_flop / 6, amx_bfloat16},
};

using Stream = void (*)(const char* from, size_t read, char* to, size_t written);
Stream stream_of(Isa isa) {
  if (isa >= Isa::Avx512) return avx512_stream;
  return isa == Isa::Avx2 ? avx2_stream : base_stream;
}

// The pace of the best of a few dozen passes, `each` of whatever is counted in a pass: others may take the core for a
// while, and none of that is a ceiling.
template <class Pass>
double best_of(double each, Pass pass) {
  const auto begin = Clock::now();
  double best = 0;
  for (int64_t turns = 1, passes = 0; passes < 2 || nanoseconds_since(begin) < kWhole_ns;) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < turns; ++i) pass();
    const double ns = nanoseconds_since(start);
    if (ns < kPass_ns) {
      turns *= 2;
    } else {
      best = std::max(best, each * static_cast<double>(turns) / ns);
      ++passes;
    }
  }
  return best;
}

// The best loop that the set has for a kind; 0 for an unknown one.
double best_rate(Isa isa, std::string_view kind) {
  double best = 0;
  for (const Rate& rate : kRates) {
    if (rate.kind != kind || rate.least > isa) continue;
    best = std::max(best, best_of(rate.flop * kTurns, [&] { rate.run(kTurns); }));
  }
  return best;
}

// Buffers that stay from one question to the next, since pages that are touched first cost more than anything here.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { clear(); }

  char* of(size_t bytes) {
    if (bytes > bytes_) {
      clear();
      data_ = static_cast<char*>(gorgo::system_allocator().allocate(bytes));
      if (data_ == nullptr) return nullptr;
      bytes_ = bytes;
      std::memset(data_, 1, bytes);
    }
    return data_;
  }

 private:
  void clear() {
    if (data_ != nullptr) gorgo::system_allocator().release(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

double stream_rate(Isa isa, size_t read, size_t written, size_t ring) {
  static Buffer sources;
  static Buffer target_buffer;
  const auto whole = [](size_t bytes) { return (bytes + kStep_bytes - 1) / kStep_bytes * kStep_bytes; };
  const char* from = sources.of(std::max(whole(read) * ring, kStep_bytes));
  char* to = target_buffer.of(std::max(whole(written), kStep_bytes));
  if (from == nullptr || to == nullptr) return 0;
  const Stream stream = stream_of(isa);
  const auto around = [&] {
    for (size_t i = 0; i < ring; ++i) stream(from + i * whole(read), whole(read), to, whole(written));
  };
  around();
  return best_of(static_cast<double>(ring * (whole(read) + whole(written))), around);
}

std::string answer(const std::string& question) {
  std::istringstream words(question);
  std::string what;
  std::string set;
  words >> what >> set;
  int at = 0;
  while (at <= static_cast<int>(gorgo::best_isa()) && set != gorgo::isa_name(static_cast<Isa>(at))) ++at;
  if (at > static_cast<int>(gorgo::best_isa())) return "error: no such instruction set here: " + set;
  const auto isa = static_cast<Isa>(at);
  double found = 0;
  if (what == "rate") {
    std::string kind;
    words >> kind;
    found = best_rate(isa, kind);
  } else if (what == "stream") {
    size_t read = 0;
    size_t written = 0;
    size_t ring = 0;
    words >> read >> written >> ring;
    const bool fits = read <= kMost_bytes && written <= kMost_bytes && ring <= 1024 && read * ring <= kMost_bytes;
    if (words && fits && ring > 0 && read + written > 0) found = stream_rate(isa, read, written, ring);
  }
  if (found <= 0) return "error: can't answer: " + question;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", found);
  return text.data();
}
#else
std::string answer(const std::string&) { return "error: ceilings are measured on x86-64 alone"; }
#endif

}  // namespace

int main() {
  std::string question;
  while (std::getline(std::cin, question)) {
    std::printf("%s\n", answer(question).c_str());
    std::fflush(stdout);
  }
  return 0;
}

// The tile unit of AMX for processors that have none: each of its instructions traps, and the handler does what it is documented
// to do. So the very code that runs on a processor with AMX runs here, down to its encodings and its configuration of tiles.
//
// Linked into the library and the C++ tests with GORGO_AMX=EMULATED. Written from the instructions' pages in Intel's Software
// Developer's Manual, volume 2. What they say must fault ends the process with a line that says why.
#if defined(__x86_64__) && defined(__linux__)

#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kTiles = 8;
constexpr int kMostRows = 16;
constexpr int kMostRowBytes = 64;

struct alignas(64) Tile {
  std::uint32_t words[kMostRows][kMostRowBytes / 4];
};

// What LDTILECFG reads.
struct Configuration {
  std::uint8_t palette;
  std::uint8_t start_row;
  std::uint8_t reserved[14];
  std::uint16_t row_bytes[16];
  std::uint8_t rows[16];
};
static_assert(sizeof(Configuration) == 64);

struct Unit {
  std::atomic<void*> thread{nullptr};  // whose it is
  Configuration configuration{};       // palette 0: not configured
  Tile tiles[kTiles]{};
};

// A thread has one from its LDTILECFG to its TILERELEASE. In static memory, since a handler may not allocate.
constexpr int kMostThreads = 64;
std::array<Unit, kMostThreads> units;

[[noreturn]] void die(const char* why) {
  constexpr char kWho[] = "tile unit: ";
  static_cast<void>(!write(STDERR_FILENO, kWho, sizeof(kWho) - 1));
  static_cast<void>(!write(STDERR_FILENO, why, std::strlen(why)));
  static_cast<void>(!write(STDERR_FILENO, "\n", 1));
  std::abort();
}

Unit* unit_of(void* thread) {
  for (Unit& unit : units) {
    if (unit.thread.load(std::memory_order_relaxed) == thread) return &unit;
  }
  return nullptr;
}
Unit& new_unit(void* thread) {
  for (Unit& unit : units) {
    void* nobody = nullptr;
    if (unit.thread.compare_exchange_strong(nobody, thread, std::memory_order_acquire)) return unit;
  }
  die("more threads with tiles than it has room for");
}

// ---- what instructions do ----

void configure(void* thread, const std::uint8_t* from) {
  Configuration wanted;
  std::memcpy(&wanted, from, sizeof(wanted));
  Unit* unit = unit_of(thread);
  if (wanted.palette == 0) {
    if (unit != nullptr) unit->thread.store(nullptr, std::memory_order_release);
    return;
  }
  if (wanted.palette != 1) die("LDTILECFG: a palette that there is not");
  for (const std::uint8_t byte : wanted.reserved) {
    if (byte != 0) die("LDTILECFG: reserved bytes that are not zero");
  }
  for (int i = 0; i < 16; ++i) {
    const bool is_tile = i < kTiles;
    if (wanted.row_bytes[i] > (is_tile ? kMostRowBytes : 0)) die("LDTILECFG: rows too long");
    if (wanted.rows[i] > (is_tile ? kMostRows : 0)) die("LDTILECFG: too many rows");
    if ((wanted.row_bytes[i] == 0) != (wanted.rows[i] == 0))
      die("LDTILECFG: rows without bytes, or bytes without rows");
  }
  if (unit == nullptr) unit = &new_unit(thread);
  unit->configuration = wanted;
  std::memset(unit->tiles, 0, sizeof(unit->tiles));
}

struct Shape {
  int rows;
  int row_bytes;
};
Shape shape(const Unit& unit, int tile) {
  if (tile >= kTiles) die("no such tile");
  const Shape found{unit.configuration.rows[tile], unit.configuration.row_bytes[tile]};
  if (found.rows == 0) die("a tile that is not configured");
  return found;
}

void load(Unit& unit, int tile, const std::uint8_t* from, std::int64_t stride) {
  const Shape size = shape(unit, tile);
  if (unit.configuration.start_row != 0) die("a load that starts within a tile");
  Tile& to = unit.tiles[tile];
  std::memset(&to, 0, sizeof(to));
  for (int row = 0; row < size.rows; ++row) {
    std::memcpy(to.words[row], from + row * stride, static_cast<std::size_t>(size.row_bytes));
  }
}
void store(const Unit& unit, int tile, std::uint8_t* to, std::int64_t stride) {
  const Shape size = shape(unit, tile);
  for (int row = 0; row < size.rows; ++row) {
    std::memcpy(to + row * stride, unit.tiles[tile].words[row], static_cast<std::size_t>(size.row_bytes));
  }
}

// The extents of sum += first second: rows, words of a row of sums, words of a row of first.
struct Extents {
  int rows;
  int words;
  int depth;
};
Extents extents(const Unit& unit, int sum, int first, int second) {
  const Shape s = shape(unit, sum);
  const Shape a = shape(unit, first);
  const Shape b = shape(unit, second);
  if (sum == first || sum == second || first == second) die("a product with one tile in two places");
  if (s.rows != a.rows || s.row_bytes != b.row_bytes || a.row_bytes != 4 * b.rows)
    die("a product of tiles that do not fit");
  if ((s.row_bytes | a.row_bytes | b.row_bytes) % 4 != 0) die("a product of tiles with parts of words");
  return {s.rows, s.row_bytes / 4, a.row_bytes / 4};
}

float as_float(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// The even elements of the pairs of a row are one chain of multiply-adds, the odd ones another, both from zero; their sum is added
// to what was there. Rounded to nearest even, denormal numbers are zero in factors and sums, whatever the control word says.
__attribute__((target("avx2,fma"), noinline)) void multiply_bfloat16(Unit& unit, int sum, int first, int second) {
  constexpr std::uint32_t kHigh = 0xffff0000U;
  const Extents e = extents(unit, sum, first, second);
  const std::uint32_t control = 0x9fc0;
  std::uint32_t before = 0;
  __asm__ volatile("stmxcsr %0" : "=m"(before) : : "memory");
  __asm__ volatile("ldmxcsr %0" : : "m"(control) : "memory");
  for (int row = 0; row < e.rows; ++row) {
    float even[kMostRowBytes / 4] = {};
    float odd[kMostRowBytes / 4] = {};
    for (int k = 0; k < e.depth; ++k) {
      const std::uint32_t pair = unit.tiles[first].words[row][k];
      const float low = as_float(pair << 16);
      const float high = as_float(pair & kHigh);
      for (int column = 0; column < kMostRowBytes / 4; ++column) {  // words beyond a tile's width are zero
        const std::uint32_t other = unit.tiles[second].words[k][column];
        even[column] = __builtin_fmaf(low, as_float(other << 16), even[column]);
        odd[column] = __builtin_fmaf(high, as_float(other & kHigh), odd[column]);
      }
    }
    for (int column = 0; column < e.words; ++column) {
      const float total = as_float(unit.tiles[sum].words[row][column]) + (even[column] + odd[column]);
      std::memcpy(&unit.tiles[sum].words[row][column], &total, sizeof(total));
    }
  }
  __asm__ volatile("ldmxcsr %0" : : "m"(before) : "memory");
}

// Sums of bytes' products, which wrap.
void multiply_bytes(Unit& unit, int sum, int first, int second, bool first_is_signed, bool second_is_signed) {
  const Extents e = extents(unit, sum, first, second);
  const auto byte = [](std::uint32_t word, int i, bool is_signed) {
    const auto bits = static_cast<std::uint8_t>(word >> (8 * i));
    return is_signed ? std::int32_t{static_cast<std::int8_t>(bits)} : std::int32_t{bits};
  };
  for (int row = 0; row < e.rows; ++row) {
    for (int k = 0; k < e.depth; ++k) {
      for (int i = 0; i < 4; ++i) {
        const std::int32_t x = byte(unit.tiles[first].words[row][k], i, first_is_signed);
        for (int column = 0; column < e.words; ++column) {
          const std::int32_t y = byte(unit.tiles[second].words[k][column], i, second_is_signed);
          unit.tiles[sum].words[row][column] += static_cast<std::uint32_t>(x * y);
        }
      }
    }
  }
}

// ---- how they are encoded ----

// A three-byte VEX prefix of the map 0F38, an opcode and its operands.
struct Instruction {
  int length;
  int opcode;
  int prefix;          // pp: none, 66, F3, F2
  int second_source;   // vvvv
  int register_field;  // ModRM.reg
  int other_register;  // ModRM.rm where it names a register, else -1
  std::int64_t address;
  std::int64_t index;  // scaled; 0 without one
  bool has_index_byte;
};

std::int64_t general_register(const ucontext_t& context, int i) {
  constexpr int kPlaces[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context.uc_mcontext.gregs[kPlaces[i]];
}

// False if the bytes are none of AMX's instructions.
bool decode(const ucontext_t& context, const std::uint8_t* at, Instruction& out) {
  if (at[0] != 0xc4 || (at[1] & 0x1f) != 2) return false;
  const int opcode = at[3];
  if (opcode != 0x49 && opcode != 0x4b && opcode != 0x5c && opcode != 0x5e) return false;
  if ((at[2] & 0x84) != 0) return false;  // W and L are zero
  const int r = (at[1] & 0x80) != 0 ? 0 : 8;
  const int x = (at[1] & 0x40) != 0 ? 0 : 8;
  const int b = (at[1] & 0x20) != 0 ? 0 : 8;
  const int mode = at[4] >> 6;
  const int low = at[4] & 7;
  out = {.length = 5,
         .opcode = opcode,
         .prefix = at[2] & 3,
         .second_source = (~at[2] >> 3) & 15,
         .register_field = ((at[4] >> 3) & 7) + r,
         .other_register = -1,
         .address = 0,
         .index = 0,
         .has_index_byte = false};
  if (mode == 3) {
    out.other_register = low + b;
    return true;
  }
  int displacement_bytes = mode == 1 ? 1 : (mode == 2 ? 4 : 0);
  bool from_next = false;
  if (low == 4) {
    const std::uint8_t sib = at[out.length++];
    out.has_index_byte = true;
    const int index = ((sib >> 3) & 7) + x;
    if (index != 4) out.index = general_register(context, index) * (std::int64_t{1} << (sib >> 6));
    if ((sib & 7) == 5 && mode == 0) {
      displacement_bytes = 4;
    } else {
      out.address = general_register(context, (sib & 7) + b);
    }
  } else if (low == 5 && mode == 0) {
    displacement_bytes = 4;
    from_next = true;
  } else {
    out.address = general_register(context, low + b);
  }
  if (displacement_bytes == 1) {
    out.address += static_cast<std::int8_t>(at[out.length]);
  } else if (displacement_bytes == 4) {
    std::int32_t displacement = 0;
    std::memcpy(&displacement, at + out.length, sizeof(displacement));
    out.address += displacement;
  }
  out.length += displacement_bytes;
  if (from_next) out.address += reinterpret_cast<std::int64_t>(at) + out.length;
  return true;
}

enum Prefix : int { kNone, k66, kF3, kF2 };

// False if it is no instruction of AMX after all.
bool perform(void* thread, const Instruction& in) {
  auto* const memory = reinterpret_cast<std::uint8_t*>(in.address);
  const bool is_in_memory = in.other_register < 0;
  if (in.opcode == 0x49 && in.prefix == kNone) {
    if (is_in_memory) {
      if (in.register_field != 0) return false;
      configure(thread, memory + in.index);
      return true;
    }
    if (in.register_field != 0 || in.other_register != 0) return false;
    Unit* unit = unit_of(thread);  // TILERELEASE
    if (unit != nullptr) unit->thread.store(nullptr, std::memory_order_release);
    return true;
  }
  Unit* unit = unit_of(thread);
  if (unit == nullptr) die("an instruction before LDTILECFG");
  if (in.opcode == 0x49) {
    if (in.prefix != kF2 || is_in_memory || in.other_register != 0) return false;  // TILEZERO
    static_cast<void>(shape(*unit, in.register_field));
    std::memset(&unit->tiles[in.register_field], 0, sizeof(Tile));
    return true;
  }
  if (in.opcode == 0x4b) {
    if (!is_in_memory || !in.has_index_byte || in.prefix == kNone) return false;
    if (in.prefix == kF3) {
      store(*unit, in.register_field, memory, in.index);
    } else {
      load(*unit, in.register_field, memory, in.index);
    }
    return true;
  }
  if (is_in_memory) return false;
  if (in.opcode == 0x5c) {
    if (in.prefix != kF3) return false;
    multiply_bfloat16(*unit, in.register_field, in.other_register, in.second_source);
    return true;
  }
  const bool first_is_signed = in.prefix == kF2 || in.prefix == kF3;
  const bool second_is_signed = in.prefix == kF2 || in.prefix == k66;
  multiply_bytes(*unit, in.register_field, in.other_register, in.second_source, first_is_signed, second_is_signed);
  return true;
}

void on_unknown_instruction(int signal, siginfo_t*, void* context_of_trap) {
  auto& context = *static_cast<ucontext_t*>(context_of_trap);
  greg_t& next = context.uc_mcontext.gregs[REG_RIP];
  void* const thread = __builtin_thread_pointer();
  Instruction in;
  bool any = false;
  // Those that follow at once need no trap of their own.
  while (decode(context, reinterpret_cast<const std::uint8_t*>(next), in) && perform(thread, in)) {
    next += in.length;
    any = true;
  }
  if (!any) ::signal(signal, SIG_DFL);  // somebody else's: it traps again
}

__attribute__((constructor)) void install() {
  struct sigaction action = {};
  action.sa_sigaction = on_unknown_instruction;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGILL, &action, nullptr);
}

}  // namespace

#endif

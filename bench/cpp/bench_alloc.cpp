// Times allocation without Python: the pool, the raw allocator below it, and malloc.
//
// Usage: bench_alloc pool|raw|malloc pair|allocate|release|write BYTES CALLS
// Prints the nanoseconds of all calls together.
//   pair      allocate and release, one block at a time
//   allocate  allocation alone, eight blocks held at a time; release: their release alone
//   write     allocate, write every byte, release
// Read next: bench/bench_alloc.py, which starts this beside the Python libraries, and csrc/memory/block_pool.h.
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "memory/block_pool.h"
#include "memory/raw_allocator.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kHeld = 8;

// The compiler must neither drop an allocation nor the writes to it.
void keep(void* data) { asm volatile("" : : "r"(data) : "memory"); }

double nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

struct Pool {
  using Handle = gorgo::Block*;
  gorgo::BlockPool& pool = gorgo::cpu_pool();
  Handle allocate(size_t bytes) { return pool.allocate(bytes); }
  void* data(Handle block) { return block->data; }
  void release(Handle block, size_t) { pool.release(block); }
};

struct Raw {
  using Handle = void*;
  gorgo::RawAllocator& raw = gorgo::system_allocator();
  Handle allocate(size_t bytes) { return raw.allocate(bytes); }
  void* data(Handle data) { return data; }
  void release(Handle data, size_t bytes) { raw.release(data, bytes); }
};

struct Malloc {
  using Handle = void*;
  Handle allocate(size_t bytes) { return std::malloc(bytes); }
  void* data(Handle data) { return data; }
  void release(Handle data, size_t) { std::free(data); }
};

// A pool that was never asked has to be made first, a heap grows once, and the first write to a page has the kernel
// clear it (or two megabytes around it). None of this belongs to a call.
template <class Source>
void warm_up(Source source, size_t bytes) {
  for (int turn = 0; turn < 8; ++turn) {
    std::array<typename Source::Handle, kHeld> held;
    for (auto& handle : held) {
      handle = source.allocate(bytes);
      std::memset(source.data(handle), turn, bytes);
      keep(source.data(handle));
    }
    for (auto& handle : held) source.release(handle, bytes);
  }
}

template <class Source>
double run(Source source, std::string_view what, size_t bytes, int64_t calls) {
  warm_up(source, bytes);
  if (what == "pair" || what == "write") {
    const bool write = what == "write";
    const auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) {
      auto handle = source.allocate(bytes);
      if (write) std::memset(source.data(handle), static_cast<int>(i & 1), bytes);
      keep(source.data(handle));
      source.release(handle, bytes);
    }
    return nanoseconds_since(start);
  }
  // Two clock reads belong to every eight calls; what they cost is measured and taken off.
  const int64_t turns = (calls + static_cast<int64_t>(kHeld) - 1) / static_cast<int64_t>(kHeld);
  double clock_ns = 0;
  double allocate_ns = 0;
  double release_ns = 0;
  for (int64_t turn = 0; turn < turns; ++turn) {
    std::array<typename Source::Handle, kHeld> held;
    auto start = Clock::now();
    clock_ns += nanoseconds_since(start);
    start = Clock::now();
    for (auto& handle : held) {
      handle = source.allocate(bytes);
      keep(source.data(handle));
    }
    allocate_ns += nanoseconds_since(start);
    start = Clock::now();
    for (auto& handle : held) source.release(handle, bytes);
    release_ns += nanoseconds_since(start);
  }
  const double total = (what == "allocate" ? allocate_ns : release_ns) - clock_ns;
  const double each = total / static_cast<double>(turns * static_cast<int64_t>(kHeld));
  return (each < 0 ? 0 : each) * static_cast<double>(calls);
}

bool parse(std::string_view text, int64_t& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size() && value > 0;
}

}  // namespace

int main(int argc, char** argv) {
  int64_t bytes = 0;
  int64_t calls = 0;
  const std::string_view source = argc == 5 ? argv[1] : "";
  const std::string_view what = argc == 5 ? argv[2] : "";
  const bool known_what = what == "pair" || what == "allocate" || what == "release" || what == "write";
  const bool known_source = source == "pool" || source == "raw" || source == "malloc";
  if (!known_what || !known_source || !parse(argv[3], bytes) || !parse(argv[4], calls)) {
    std::fprintf(stderr, "usage: bench_alloc pool|raw|malloc pair|allocate|release|write BYTES CALLS\n");
    return 2;
  }
  const auto size = static_cast<size_t>(bytes);
  const double total = source == "pool"  ? run(Pool{}, what, size, calls)
                       : source == "raw" ? run(Raw{}, what, size, calls)
                                         : run(Malloc{}, what, size, calls);
  std::printf("%.3f\n", total);
  return 0;
}

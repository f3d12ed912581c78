// The caching pool over a bounded allocator: against a simple model, with injected failures, across threads, streams
// and forks.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "core/check.h"
#include "memory/block_pool.h"
#include "memory/large_heap.h"
#include "memory/size_class.h"

namespace {

using namespace gorgo;

constexpr size_t kKiB = 1024;
constexpr size_t kMiB = size_t{1} << 20;

// What must hold whenever no thread is inside.
void check_sums(const BlockPool& pool, const BudgetAllocator& raw) {
  const PoolStats stats = pool.stats();
  CHECK(stats.reserved_bytes == raw.live_bytes());
  CHECK(stats.active_bytes + stats.cached_bytes == stats.reserved_bytes);
  CHECK(stats.hits + stats.misses == stats.allocations);
  CHECK(stats.peak_active_bytes >= stats.active_bytes);
  CHECK(stats.peak_reserved_bytes >= stats.reserved_bytes);
  CHECK(stats.largest_free_block <= stats.cached_bytes);
  CHECK(stats.fragmentation >= 0.0);
  CHECK(stats.fragmentation <= 1.0);
  CHECK(static_cast<size_t>(stats.allocations - stats.releases) == pool.snapshot().size());
}

PoolOptions with_cache_limit(size_t bytes) {
  PoolOptions options;
  options.cache_limit = bytes;
  return options;
}

// Exit status of a child that runs the function; -1 if it was killed.
int status_in_child(const auto& run) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(run() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("size classes: every request fits, none wastes much") {
  for (size_t bytes = 0; bytes <= kMaxSmall_bytes; ++bytes) {
    const size_t got = class_bytes(small_class(bytes));
    REQUIRE(got >= bytes);
    REQUIRE(got % 64 == 0);
    REQUIRE(got <= std::max<size_t>(64, bytes + std::max<size_t>(63, bytes / 4)));
  }
  for (size_t bytes = 1; bytes < 4 * kMiB; bytes += 997) {
    const size_t got = round_large(bytes);
    REQUIRE(got >= bytes);
    REQUIRE(got - bytes < (bytes <= kMiB ? 4 * kKiB : 64 * kKiB));
    REQUIRE(got % kLargeStep_bytes == 0);
  }
}

TEST_CASE("a block has what was asked for, aligned; zero bytes give one too") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{64}, size_t{65}, 32 * kKiB, 32 * kKiB + 1, kMiB, 5 * kMiB + 3}) {
    Block* block = pool.allocate(bytes);
    REQUIRE(block != nullptr);
    REQUIRE(block->data != nullptr);
    CHECK(reinterpret_cast<uintptr_t>(block->data) % 64 == 0);
    CHECK(block->bytes >= bytes);
    CHECK(block->bytes <= std::max<size_t>(64, bytes + bytes / 4 + 64));
    CHECK(block->requested == bytes);
    CHECK(block->tag.load() == 0);
    std::memset(block->data, 1, bytes);
    block->tag.store(17);
    pool.release(block);
  }
  check_sums(pool, raw);
  CHECK(pool.stats().active_bytes == 0);
}

TEST_CASE("a released block is used again, small and large") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  for (const size_t bytes : {size_t{100}, size_t{20000}, 3 * kMiB}) {
    Block* first = pool.allocate(bytes);
    const void* data = first->data;
    pool.release(first);
    const int64_t calls = raw.calls();
    Block* second = pool.allocate(bytes);
    CHECK(second->data == data);
    CHECK(raw.calls() == calls);
    pool.release(second);
  }
}

TEST_CASE("large blocks are split and joined") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* whole = pool.allocate(8 * kMiB);
  const auto* base = static_cast<char*>(whole->data);
  pool.release(whole);
  Block* parts[4];
  for (Block*& part : parts) part = pool.allocate(2 * kMiB);
  CHECK(raw.calls() == 1);
  for (Block* part : parts) {
    const auto* data = static_cast<char*>(part->data);
    CHECK(data >= base);
    CHECK(data + part->bytes <= base + 8 * kMiB);
  }
  for (Block* part : parts) pool.release(part);
  whole = pool.allocate(8 * kMiB);  // needs all four, out of this thread's front too
  CHECK(whole->data == base);
  CHECK(raw.calls() == 1);
  pool.release(whole);
  pool.empty_cache();
  CHECK(raw.live() == 0);
}

TEST_CASE("best fit: of several free blocks the tightest is cut") {
  LargeHeap heap;
  alignas(64) static char memory[64 * kKiB * 3];
  LargeBlock* blocks[3];
  const size_t sizes[3] = {64 * kKiB, 24 * kKiB, 40 * kKiB};
  for (size_t i = 0; i < 3; ++i) blocks[i] = heap.add_segment(memory + i * 64 * kKiB, sizes[i], sizes[i], 0);
  CHECK(heap.free_bytes() == 0);
  for (size_t i = 0; i < 3; ++i) heap.give(blocks[i], i + 1);
  CHECK(heap.free_bytes() == 128 * kKiB);
  CHECK(heap.largest_free_bytes() == 64 * kKiB);
  LargeBlock* got = heap.take(28 * kKiB, true);
  CHECK(got->data == memory + 2 * 64 * kKiB);
  CHECK(got->capacity == 28 * kKiB);
  CHECK(heap.free_bytes() == 100 * kKiB);
  CHECK(heap.take(80 * kKiB, true) == nullptr);
  CHECK(heap.oldest_free()->base == memory);
  heap.give(got, 4);
  CHECK(heap.free_bytes() == 128 * kKiB);
}

TEST_CASE("a very large block is not cut for a crumb while there is another way") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* big = pool.allocate(128 * kMiB);
  pool.release(big);
  Block* crumb = pool.allocate(kMiB);
  CHECK(raw.live() == 2);
  big = pool.allocate(128 * kMiB);
  CHECK(raw.live() == 2);
  pool.release(big);
  pool.release(crumb);
}

TEST_CASE("random requests against a map: no overlap, contents kept, sums right") {
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    BudgetAllocator raw;
    BlockPool pool(raw, with_cache_limit(seed % 2 == 0 ? 4 * kMiB : 64 * kMiB));
    std::mt19937 random(seed);
    struct Held {
      Block* block;
      unsigned char value;
    };
    std::map<char*, Held> live;  // by address
    size_t footprint = 0;
    size_t peak = 0;
    int64_t allocations = 0;
    int64_t releases = 0;
    for (int step = 0; step < 12000; ++step) {
      if (live.size() < 150 ? random() % 5 < 3 : random() % 5 < 2) {
        const auto kind = random() % 10;
        const size_t bytes = kind < 6 ? random() % 2000 : kind < 9 ? random() % (200 * kKiB) : random() % (3 * kMiB);
        Block* block = pool.allocate(bytes);
        ++allocations;
        REQUIRE(block->bytes >= bytes);
        auto* data = static_cast<char*>(block->data);
        REQUIRE(reinterpret_cast<uintptr_t>(data) % 64 == 0);
        const auto above = live.lower_bound(data);
        if (above != live.end()) REQUIRE(data + block->bytes <= above->first);
        if (above != live.begin()) {
          const auto below = std::prev(above);
          REQUIRE(below->first + below->second.block->bytes <= data);
        }
        const auto value = static_cast<unsigned char>(random());
        std::memset(data, value, bytes);
        live.emplace(data, Held{block, value});
        footprint += block->bytes;
        peak = std::max(peak, footprint);
      } else if (!live.empty()) {
        auto at = live.begin();
        std::advance(at, random() % live.size());
        const Held held = at->second;
        const auto* data = static_cast<unsigned char*>(held.block->data);
        for (size_t i = 0; i < held.block->requested; i += 251) REQUIRE(data[i] == held.value);
        footprint -= held.block->bytes;
        live.erase(at);
        pool.release(held.block);
        ++releases;
      }
      if (random() % 1500 == 0) pool.empty_cache();
      if (random() % 100 == 0) {
        const PoolStats stats = pool.stats();
        REQUIRE(stats.active_bytes == footprint);
        REQUIRE(stats.peak_active_bytes == peak);
        REQUIRE(stats.allocations == allocations);
        REQUIRE(stats.releases == releases);
        REQUIRE(stats.reserved_bytes == raw.live_bytes());
      }
    }
    check_sums(pool, raw);
    CHECK(pool.snapshot().size() == live.size());
    for (const BlockInfo& info : pool.snapshot()) {
      const auto at = live.find(static_cast<char*>(const_cast<void*>(info.data)));
      REQUIRE(at != live.end());
      CHECK(at->second.block->requested == info.requested);
    }
    for (const auto& [data, held] : live) pool.release(held.block);
    CHECK(pool.stats().active_bytes == 0);
    pool.empty_cache();
    CHECK(raw.live() == 0);
    CHECK(pool.stats().reserved_bytes == 0);
  }
}

TEST_CASE("hits, misses and the peak") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* a = pool.allocate(3 * kMiB);
  Block* b = pool.allocate(3 * kMiB);
  PoolStats stats = pool.stats();
  CHECK(stats.misses == 2);
  CHECK(stats.hits == 0);
  CHECK(stats.raw_allocations == 2);
  pool.release(a);
  a = pool.allocate(3 * kMiB);
  stats = pool.stats();
  CHECK(stats.hits == 1);
  CHECK(stats.active_bytes == 6 * kMiB);
  pool.release(a);
  pool.release(b);
  CHECK(pool.stats().peak_active_bytes == 6 * kMiB);
  CHECK(pool.stats().active_bytes == 0);
  CHECK(pool.stats().cached_bytes == 6 * kMiB);
  CHECK(pool.stats().largest_free_block == 3 * kMiB);
  CHECK(pool.stats().fragmentation == doctest::Approx(0.5));
  pool.reset_peak();
  CHECK(pool.stats().peak_active_bytes == 0);
  CHECK(pool.stats().peak_reserved_bytes == 6 * kMiB);
  a = pool.allocate(2 * kMiB);
  pool.release(a);
  a = pool.allocate(100);
  CHECK(pool.stats().peak_active_bytes == 2 * kMiB);
  pool.reset_peak();
  CHECK(pool.stats().peak_active_bytes == 128);
  pool.release(a);
}

TEST_CASE("the cache limit holds after every release, the oldest goes first") {
  BudgetAllocator raw;
  BlockPool pool(raw, with_cache_limit(10 * kMiB));
  std::vector<Block*> blocks;
  for (int i = 0; i < 20; ++i) blocks.push_back(pool.allocate(2 * kMiB));
  CHECK(pool.stats().reserved_bytes == 40 * kMiB);
  for (Block* block : blocks) {
    pool.release(block);
    CHECK(pool.stats().cached_bytes <= 10 * kMiB);
  }
  CHECK(pool.stats().cached_bytes >= 4 * kMiB);
  CHECK(pool.stats().active_bytes == 0);

  Block* one = pool.allocate(40 * kMiB);
  pool.release(one);  // larger than the limit: gone at once
  CHECK(pool.stats().reserved_bytes <= 10 * kMiB);
  pool.set_cache_limit(0);
  CHECK(pool.stats().reserved_bytes == 0);
  CHECK(raw.live() == 0);
  one = pool.allocate(100);
  pool.release(one);
  CHECK(pool.stats().cached_bytes == 0);
  CHECK(pool.stats().cache_limit == 0);
}

TEST_CASE("what live blocks hold in their segments counts towards the cache limit") {
  BudgetAllocator raw;
  BlockPool pool(raw, with_cache_limit(10 * kMiB));
  std::vector<Block*> kept, gone;
  for (int i = 0; i < 48; ++i) (i % 4 == 0 ? kept : gone).push_back(pool.allocate(512 * kKiB));
  for (Block* block : gone) pool.release(block);
  const size_t stuck = pool.stats().cached_bytes;
  REQUIRE(stuck >= 10 * kMiB);
  std::vector<Block*> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back(pool.allocate(2 * kMiB));
  for (Block* block : blocks) {
    pool.release(block);
    CHECK(pool.stats().cached_bytes <= stuck);
  }
  for (Block* block : kept) pool.release(block);
  CHECK(pool.stats().cached_bytes <= 10 * kMiB);
  check_sums(pool, raw);
}

TEST_CASE("many sizes in turn keep to the limit and stay correct") {
  BudgetAllocator raw;
  BlockPool pool(raw, with_cache_limit(32 * kMiB));
  for (int round = 0; round < 20; ++round) {
    for (size_t bytes = 40 * kKiB; bytes < 3 * kMiB; bytes += 37 * kKiB) {
      Block* block = pool.allocate(bytes);
      std::memset(block->data, round, bytes);
      pool.release(block);
      REQUIRE(pool.stats().cached_bytes <= 32 * kMiB);
    }
  }
  check_sums(pool, raw);
  CHECK(pool.stats().raw_allocations < 200);
}

TEST_CASE("out of memory names the figures and leaves the pool usable") {
  BudgetAllocator raw(16 * kMiB);
  PoolOptions options;
  options.name = "test memory";
  BlockPool pool(raw, options);
  Block* block = pool.allocate(10 * kMiB);
  std::string message;
  try {
    pool.allocate(7 * kMiB);
  } catch (const OutOfMemoryError& error) {
    message = error.what();
  }
  CHECK(message == cat("test memory: allocation of ", 7 * kMiB, " bytes must fit, got no room (active ", 10 * kMiB,
                       " bytes, cached 0, limit none, largest free block 0)"));
  CHECK_THROWS_AS(pool.allocate(SIZE_MAX), OutOfMemoryError);
  CHECK_THROWS_AS(pool.allocate(SIZE_MAX / 2), OutOfMemoryError);
  Block* small = pool.allocate(1000);  // 2 MiB for small ones still fit
  check_sums(pool, raw);
  pool.release(small);
  pool.release(block);
  block = pool.allocate(15 * kMiB);  // what is cached gives way
  pool.release(block);
  check_sums(pool, raw);
}

TEST_CASE("a small request takes a little when a lot is not to be had") {
  BudgetAllocator raw(8 * kKiB);
  BlockPool pool(raw);
  Block* block = pool.allocate(100);
  std::memset(block->data, 1, 100);
  Block* second = pool.allocate(100);
  CHECK_THROWS_AS(pool.allocate(100), OutOfMemoryError);
  pool.release(block);
  pool.release(second);
  check_sums(pool, raw);
}

TEST_CASE("a failure of the raw allocator is answered by draining, trimming and one retry") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* a = pool.allocate(4 * kMiB);
  pool.release(a);
  raw.fail_nth(1);
  Block* b = pool.allocate(6 * kMiB);
  CHECK(raw.live() == 1);  // the cached one was given back before the retry
  pool.release(b);
  for (int nth = 1; nth < 40; ++nth) {
    raw.fail_nth(nth);
    std::vector<Block*> blocks;
    for (int i = 0; i < 60; ++i) blocks.push_back(pool.allocate((static_cast<size_t>(i) * 7919 + 1) % (3 * kMiB)));
    for (Block* block : blocks) pool.release(block);
    if (nth % 3 == 0) pool.empty_cache();
    check_sums(pool, raw);
  }
}

TEST_CASE("the limit bounds what is held, and can be moved") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  pool.set_limit(10 * kMiB);
  CHECK(pool.stats().limit == 10 * kMiB);
  Block* a = pool.allocate(6 * kMiB);
  CHECK_THROWS_WITH_AS(pool.allocate(6 * kMiB), doctest::Contains("limit 10485760"), OutOfMemoryError);
  CHECK(raw.calls() == 1);
  pool.release(a);
  Block* b = pool.allocate(8 * kMiB);  // the cached 6 MiB make room
  CHECK(pool.stats().reserved_bytes <= 10 * kMiB);
  CHECK(pool.stats().peak_reserved_bytes <= 10 * kMiB);
  pool.release(b);
  pool.set_limit(kMiB);
  CHECK(pool.stats().reserved_bytes <= kMiB);
  Block* small = pool.allocate(100);
  CHECK(pool.stats().reserved_bytes <= kMiB);
  pool.release(small);
  pool.set_limit(std::nullopt);
  b = pool.allocate(20 * kMiB);
  pool.release(b);
  check_sums(pool, raw);
}

TEST_CASE("a block released on another thread is found again") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  for (const size_t bytes : {size_t{200}, 2 * kMiB}) {
    Block* block = pool.allocate(bytes);
    const void* data = block->data;
    std::thread([&] { pool.release(block); }).join();
    check_sums(pool, raw);
    CHECK(pool.stats().active_bytes == 0);
    const int64_t calls = raw.calls();
    std::vector<Block*> again;
    bool found = false;
    for (int i = 0; i < 400 && !found; ++i) {
      again.push_back(pool.allocate(bytes));
      found = again.back()->data == data;
      if (bytes > kMiB) break;
    }
    CHECK(found);
    CHECK(raw.calls() == calls);
    for (Block* one : again) pool.release(one);
  }
}

TEST_CASE("a thread that ends leaves nothing behind") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  for (int round = 0; round < 10; ++round) {
    std::thread([&] {
      std::vector<Block*> blocks;
      for (size_t i = 1; i < 40; ++i) blocks.push_back(pool.allocate(i * i * 100));
      for (Block* block : blocks) pool.release(block);
    }).join();
  }
  check_sums(pool, raw);
  CHECK(pool.stats().active_bytes == 0);
  CHECK(pool.stats().allocations == 390);
  CHECK(pool.stats().misses <= 4);  // later threads live off what the first left
  pool.empty_cache();
  CHECK(raw.live() == 0);
}

TEST_CASE("empty_cache and an allocation that finds no room drain every thread's front") {
  BudgetAllocator raw(12 * kMiB);
  BlockPool pool(raw, with_cache_limit(64 * kMiB));
  std::mutex mutex;
  std::condition_variable changed;
  int stage = 0;
  const auto wait_for = [&](int wanted) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return stage >= wanted; });
  };
  const auto enter = [&](int next) {
    std::lock_guard lock(mutex);
    stage = next;
    changed.notify_all();
  };
  std::thread other([&] {
    pool.release(pool.allocate(8 * kMiB));
    enter(1);
    wait_for(2);
    pool.release(pool.allocate(8 * kMiB));
    enter(3);
    wait_for(4);
  });
  wait_for(1);
  CHECK(raw.live_bytes() >= 8 * kMiB);
  pool.empty_cache();
  CHECK(raw.live_bytes() == 0);
  enter(2);
  wait_for(3);
  Block* block = pool.allocate(9 * kMiB);  // 8 + 9 is beyond the budget: the idle thread's block must go
  CHECK(raw.live() == 1);
  pool.release(block);
  enter(4);
  other.join();
  check_sums(pool, raw);
}

TEST_CASE("threads hand blocks to each other while others look and drain") {
  BudgetAllocator raw;
  BlockPool pool(raw, with_cache_limit(16 * kMiB));
  constexpr int kThreads = 4;
  constexpr int kSteps = 4000;
  struct Mailbox {
    std::mutex mutex;
    std::deque<Block*> blocks;
  };
  std::vector<Mailbox> mail(kThreads);
  std::atomic<int> damaged{0};
  std::atomic<bool> done{false};
  const auto stamp = [](Block* block) {
    auto* bytes = static_cast<unsigned char*>(block->data);
    const auto value = static_cast<unsigned char>(block->requested * 31 + 7);
    if (block->requested > 0) bytes[0] = bytes[block->requested - 1] = value;
  };
  const auto intact = [](const Block* block) {
    const auto* bytes = static_cast<unsigned char*>(block->data);
    const auto value = static_cast<unsigned char>(block->requested * 31 + 7);
    return block->requested == 0 || (bytes[0] == value && bytes[block->requested - 1] == value);
  };
  std::vector<std::thread> threads;
  for (int self = 0; self < kThreads; ++self) {
    threads.emplace_back([&, self] {
      std::mt19937 random(static_cast<uint32_t>(self) + 100);
      std::vector<Block*> own;
      for (int step = 0; step < kSteps; ++step) {
        Block* block = pool.allocate(random() % 8 == 0 ? random() % kMiB : random() % 3000);
        stamp(block);
        if (random() % 3 == 0) {
          Mailbox& box = mail[random() % kThreads];
          std::lock_guard lock(box.mutex);
          box.blocks.push_back(block);
        } else {
          own.push_back(block);
        }
        Block* got = nullptr;
        {
          Mailbox& box = mail[static_cast<size_t>(self)];
          std::lock_guard lock(box.mutex);
          if (!box.blocks.empty()) {
            got = box.blocks.front();
            box.blocks.pop_front();
          }
        }
        if (got != nullptr) own.push_back(got);
        while (own.size() > 30) {
          const size_t at = random() % own.size();
          if (!intact(own[at])) damaged.fetch_add(1);
          pool.release(own[at]);
          own[at] = own.back();
          own.pop_back();
        }
      }
      for (Block* block : own) {
        if (!intact(block)) damaged.fetch_add(1);
        pool.release(block);
      }
    });
  }
  std::thread watcher([&] {
    int round = 0;
    while (!done.load()) {
      const PoolStats stats = pool.stats();
      if (stats.active_bytes > stats.reserved_bytes) damaged.fetch_add(1);
      pool.snapshot();
      if (++round % 4 == 0) pool.empty_cache();
      if (round % 7 == 0) pool.reset_peak();
      if (round % 9 == 0) pool.set_cache_limit(round % 2 == 0 ? 4 * kMiB : 16 * kMiB);
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  done.store(true);
  watcher.join();
  for (Mailbox& box : mail) {
    for (Block* block : box.blocks) {
      if (!intact(block)) damaged.fetch_add(1);
      pool.release(block);
    }
  }
  CHECK(damaged.load() == 0);
  check_sums(pool, raw);
  const PoolStats stats = pool.stats();
  CHECK(stats.active_bytes == 0);
  CHECK(stats.allocations == kThreads * kSteps);
  CHECK(stats.releases == kThreads * kSteps);
  pool.empty_cache();
  CHECK(raw.live() == 0);
}

TEST_CASE("the peak with several threads is low by at most a step for each") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* held = pool.allocate(64);
  std::thread([&] {
    Block* one = pool.allocate(5 * kMiB);
    pool.release(one);
  }).join();
  const size_t peak = pool.stats().peak_active_bytes;
  CHECK(peak <= 5 * kMiB + 64);
  CHECK(peak >= 5 * kMiB + 64 - 2 * kMiB);
  pool.release(held);
}

TEST_CASE("more pools than places for fronts, and places used again") {
  BudgetAllocator raw;
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<BlockPool>> pools;
    for (int i = 0; i < 12; ++i) pools.push_back(std::make_unique<BlockPool>(raw));
    for (const auto& pool : pools) {
      Block* small = pool->allocate(500);
      Block* large = pool->allocate(2 * kMiB);
      pool->release(small);
      pool->release(large);
      small = pool->allocate(500);
      CHECK(pool->stats().active_bytes == 512);
      CHECK(pool->stats().peak_active_bytes == 2 * kMiB + 512);
      pool->release(small);
      CHECK(pool->stats().allocations == 3);
    }
    pools.clear();
    CHECK(raw.live() == 0);
  }
}

TEST_CASE("blocks of one stream do not serve another") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  for (const size_t bytes : {size_t{300}, 2 * kMiB}) {
    Block* first = pool.allocate(bytes, 1);
    const void* data = first->data;
    CHECK(first->stream == 1);
    pool.release(first);
    Block* other = pool.allocate(bytes, 2);
    CHECK(other->data != data);
    CHECK(other->stream == 2);
    pool.release(other);
    first = pool.allocate(bytes, 1);
    CHECK(first->stream == 1);
    pool.release(first);
  }
  check_sums(pool, raw);
  pool.empty_cache();
  CHECK(raw.live() == 0);
}

// Marks are numbers; the test says up to which one the work is done.
class CountingFence final : public StreamFence {
 public:
  uint64_t mark(uint64_t) noexcept override { return ++made; }
  bool passed(uint64_t mark) noexcept override { return mark <= done_up_to; }
  void wait(uint64_t mark) noexcept override {
    ++waits;
    done_up_to = std::max(done_up_to, mark);
  }
  void drop(uint64_t) noexcept override { ++dropped; }
  uint64_t made = 0;
  uint64_t done_up_to = 0;
  uint64_t dropped = 0;
  int waits = 0;
};

TEST_CASE("a block that another stream used waits for that stream's work") {
  BudgetAllocator raw(4 * kMiB);
  CountingFence fence;
  PoolOptions options;
  options.fence = &fence;
  BlockPool pool(raw, options);
  for (const size_t bytes : {size_t{100}, 2 * kMiB}) {
    Block* block = pool.allocate(bytes);
    const void* data = block->data;
    pool.record_stream(block, 5);
    pool.record_stream(block, 5);
    pool.record_stream(block, 6);
    pool.record_stream(block, 0);  // its own stream needs no mark
    const uint64_t before = fence.made;
    pool.release(block);
    CHECK(fence.made == before + 2);
    CHECK(pool.stats().active_bytes == 0);
    Block* next = pool.allocate(bytes);
    CHECK(next->data != data);
    pool.release(next);
    fence.done_up_to = fence.made;
    // Slow calls look at what waits; an unused size class makes one.
    pool.release(pool.allocate(bytes * 3 / 2));
    CHECK(fence.dropped == fence.made);
    pool.empty_cache();
    CHECK(raw.live() == 0);
  }
  Block* block = pool.allocate(3 * kMiB);
  pool.record_stream(block, 9);
  pool.release(block);
  CHECK(fence.waits == 0);
  block = pool.allocate(3 * kMiB);  // there is no other room: waits
  CHECK(fence.waits == 1);
  pool.release(block);
  check_sums(pool, raw);
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("the address sanitizer sees through the pool") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  for (const size_t bytes : {size_t{100}, 3 * kMiB}) {
    for (int round = 0; round < 3; ++round) {  // fresh from the raw allocator, then from the front
      Block* block = pool.allocate(bytes);
      const auto* data = static_cast<const char*>(block->data);
      CHECK(__asan_region_is_poisoned(block->data, bytes) == nullptr);
      if (bytes < block->bytes) CHECK(__asan_address_is_poisoned(data + bytes));
      pool.release(block);
      CHECK(__asan_address_is_poisoned(data));
      CHECK(__asan_address_is_poisoned(data + bytes - 1));
    }
  }
}
#endif

TEST_CASE("without a fence record_stream changes nothing") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* block = pool.allocate(100);
  const void* data = block->data;
  pool.record_stream(block, 5);
  pool.release(block);
  block = pool.allocate(100);
  CHECK(block->data == data);
  pool.release(block);
}

TEST_CASE("tags and the leak report") {
  BudgetAllocator raw;
  PoolOptions options;
  options.name = "test memory";
  BlockPool pool(raw, options);
  CHECK(pool.leak_report().empty());
  Block* a = pool.allocate(1000);
  Block* b = pool.allocate(5 * kMiB);
  b->tag.store(42);
  const std::vector<BlockInfo> live = pool.snapshot();
  REQUIRE(live.size() == 2);
  const BlockInfo& big = live[0].requested > live[1].requested ? live[0] : live[1];
  CHECK(big.tag == 42);
  CHECK(big.data == b->data);
  const std::string report = pool.leak_report(1, [](uint64_t tag) { return "line " + std::to_string(tag); });
  CHECK(report.find("test memory: 2 blocks in use, 5243880 bytes\n") == 0);
  CHECK(report.find("5242880 bytes at ") != std::string::npos);
  CHECK(report.find("from line 42\n") != std::string::npos);
  CHECK(report.find("and 1 more\n") != std::string::npos);
  pool.release(a);
  pool.release(b);
}

TEST_CASE("the tagger names every block, may allocate itself, and can be turned off") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  static BlockPool* traced;
  static uint64_t calls;
  static bool inside;
  traced = &pool;
  calls = 0;
  pool.set_tagger([]() noexcept -> uint64_t {
    if (inside) return 1000;
    inside = true;
    traced->release(traced->allocate(64));
    inside = false;
    return ++calls;
  });
  Block* first = pool.allocate(64);
  Block* second = pool.allocate(3 * kMiB);
  CHECK(first->tag.load() == 1);
  CHECK(second->tag.load() == 2);
  pool.release(first);
  first = pool.allocate(64);
  CHECK(first->tag.load() == 3);
  pool.set_tagger(nullptr);
  pool.release(first);
  first = pool.allocate(64);
  CHECK(first->tag.load() == 0);
  pool.release(first);
  pool.release(second);
  check_sums(pool, raw);
}

PoolOptions debugging() {
  PoolOptions options;
  options.debug = true;
  options.name = "debug memory";
  return options;
}

TEST_CASE("debug mode: fresh and dead bytes, alignment, sums") {
  BudgetAllocator raw;
  BlockPool pool(raw, debugging());
  CHECK(pool.debug());
  for (const size_t bytes : {size_t{0}, size_t{10}, 20 * kKiB, 2 * kMiB}) {
    Block* block = pool.allocate(bytes);
    const auto* data = static_cast<unsigned char*>(block->data);
    CHECK(reinterpret_cast<uintptr_t>(data) % 64 == 0);
    CHECK(block->bytes >= bytes);
    for (size_t i = 0; i < bytes; i += 97) REQUIRE(data[i] == 0xA5);
    CHECK(pool.check_guards().empty());
    pool.release(block);
    for (size_t i = 0; i < bytes; i += 97) REQUIRE(data[i] == 0xCB);
  }
  CHECK(pool.check_guards().empty());
  check_sums(pool, raw);
}

TEST_CASE("debug mode finds writes outside, writes after release, and double releases") {
  BudgetAllocator raw;
  BlockPool pool(raw, debugging());
  Block* block = pool.allocate(100);
  block->tag.store(7);
  auto* data = static_cast<unsigned char*>(block->data);
  data[100] = 1;
  std::vector<GuardDamage> damage = pool.check_guards();
  REQUIRE(damage.size() == 1);
  CHECK(damage[0].kind == GuardDamage::Kind::kAfter);
  CHECK(damage[0].data == data);
  CHECK(damage[0].requested == 100);
  CHECK(damage[0].tag == 7);
  data[-1] = 1;
  CHECK(pool.check_guards().size() == 2);
  pool.release(block);
  CHECK(pool.check_guards().size() == 2);  // noted at release
  pool.release(block);
  damage = pool.check_guards();
  REQUIRE(damage.size() == 3);
  CHECK(damage[2].kind == GuardDamage::Kind::kReleasedTwice);
  CHECK(pool.stats().releases == 1);
  data[50] = 1;
  Block* next = pool.allocate(100);
  damage = pool.check_guards();
  REQUIRE(damage.size() == 4);
  CHECK(damage[3].kind == GuardDamage::Kind::kWrittenAfterRelease);
  pool.release(next);
  check_sums(pool, raw);
}

TEST_CASE("debug mode holds the model too") {
  BudgetAllocator raw;
  PoolOptions options = debugging();
  options.cache_limit = 8 * kMiB;
  BlockPool pool(raw, options);
  std::mt19937 random(5);
  std::vector<Block*> live;
  for (int step = 0; step < 3000; ++step) {
    if (live.empty() || random() % 2 == 0) {
      const size_t bytes = random() % 6 == 0 ? random() % (300 * kKiB) : random() % 1000;
      live.push_back(pool.allocate(bytes));
      std::memset(live.back()->data, 3, bytes);
    } else {
      const size_t at = random() % live.size();
      pool.release(live[at]);
      live[at] = live.back();
      live.pop_back();
    }
  }
  CHECK(pool.check_guards().empty());
  check_sums(pool, raw);
  for (Block* block : live) pool.release(block);
}

TEST_CASE("a double release is ignored outside debug mode as well") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* block = pool.allocate(100);
  pool.release(block);
  pool.release(block);
  CHECK(pool.stats().releases == 1);
  Block* a = pool.allocate(100);
  Block* b = pool.allocate(100);
  CHECK(a != b);
  pool.release(a);
  pool.release(b);
  CHECK(pool.check_guards().size() == 1);
}

TEST_CASE("fork: parent and child go on, also while other threads allocate") {
  BudgetAllocator raw;
  BlockPool pool(raw);
  Block* held = pool.allocate(1000);
  std::memset(held->data, 9, 1000);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        Block* small = pool.allocate(500);
        Block* large = pool.allocate(200 * kKiB);
        pool.release(small);
        pool.release(large);
      }
    });
  }
  for (int round = 0; round < 8; ++round) {
    CHECK(status_in_child([&] {
            if (static_cast<unsigned char*>(held->data)[999] != 9) return false;
            Block* a = pool.allocate(500);
            Block* b = pool.allocate(3 * kMiB);
            std::memset(b->data, 1, 3 * kMiB);
            pool.release(a);
            pool.release(b);
            pool.release(held);
            pool.empty_cache();
            const PoolStats stats = pool.stats();
            return stats.active_bytes + stats.cached_bytes == stats.reserved_bytes;
          }) == 0);
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  check_sums(pool, raw);
  CHECK(pool.stats().active_bytes == 1024);
  pool.release(held);
}

TEST_CASE("the pool of the process") {
  BlockPool& pool = cpu_pool();
  CHECK(&pool == &cpu_pool());
  const size_t before = pool.stats().active_bytes;
  Block* block = pool.allocate(12345);
  CHECK(pool.stats().active_bytes == before + block->bytes);
  pool.release(block);
  CHECK(pool.stats().active_bytes == before);
  CHECK(pool.stats().cache_limit > 0);
  CHECK(pool.stats().cache_limit <= size_t{1} << 30);
}

TEST_CASE("fresh memory of the system is aligned and zero where it is mapped") {
  RawAllocator& system = system_allocator();
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, kMiB, 2 * kMiB + 5, 9 * kMiB}) {
    auto* data = static_cast<unsigned char*>(system.allocate(bytes));
    REQUIRE(data != nullptr);
    CHECK(reinterpret_cast<uintptr_t>(data) % 64 == 0);
    if (bytes >= kMiB) {
      CHECK(data[0] == 0);
      CHECK(data[bytes - 1] == 0);
      data[0] = data[bytes - 1] = 1;
    }
    system.release(data, bytes);
  }
  CHECK(system.allocate(SIZE_MAX - 100) == nullptr);
  CHECK(system.allocate(size_t{1} << 60) == nullptr);
}

}  // namespace

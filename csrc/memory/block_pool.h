// The caching pool: every byte of a tensor comes from here. One pool per device; policy only, the bytes come from a
// RawAllocator.
//
// A request goes through three rooms, each slower and more general than the one before:
//   thread_front   this thread's recently released blocks: no lock, no atomic read-modify-write
//   stream_heap    small sizes carved from slabs; a slab is a large block       (under the pool's lock)
//   large_heap     segments from the raw allocator, split, merged, best fit     (under the pool's lock)
// and only then the raw allocator is asked, with no lock held.
//
// Invariants: data is 64-byte aligned and never null; a block stays put while in use; active + cached = reserved,
// counting a block with its rounding (and its guards in debug mode); what the pool could hand back is at most the cache
// limit after every release. Counters live in the fronts and are summed with the fronts held still, so they are exact;
// only the peak of active bytes may be low, by up to 1 MiB per thread, when several threads allocate.
// Read next: block_pool.cpp (the fast path), thread_front.h, stream_heap.h, pool_core.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/raw_allocator.h"

namespace gorgo {

// A piece of memory in use. The pool owns the object; holders read the first fields and may set the tag.
struct alignas(64) Block {
  void* data;                 // 64-byte aligned, never null
  size_t bytes;               // usable
  size_t requested;           // as asked for
  uint64_t stream;            // whose work orders its reuse
  std::atomic<uint64_t> tag;  // who allocated it, as the tagger or the holder says; 0 for nobody

  // The pool's own.
  Block* next;    // in a freelist
  void* home;     // small: its Slab. Large: the thread front that allocated it, or null
  uint8_t klass;  // size class; kLargeClass for a large block
  bool in_use;    // handed out
  bool is_slab;   // a large block that was carved
  bool crossed;   // record_stream was called on it
};

struct PoolStats {
  size_t active_bytes = 0;       // in blocks handed out
  size_t reserved_bytes = 0;     // held from the raw allocator
  size_t cached_bytes = 0;       // reserved and not active
  size_t peak_active_bytes = 0;  // since the last reset_peak
  size_t peak_reserved_bytes = 0;
  int64_t hits = 0;         // allocations served without asking the raw allocator
  int64_t misses = 0;       // the others
  int64_t allocations = 0;  // calls of allocate that succeeded
  int64_t releases = 0;
  int64_t raw_allocations = 0;    // times the raw allocator gave memory
  size_t largest_free_block = 0;  // largest piece that could be handed out without asking the raw allocator
  double fragmentation = 0;       // 1 - largest_free_block / cached_bytes; 0 when nothing is cached
  size_t cache_limit = 0;         // most cached bytes that are kept
  std::optional<size_t> limit;    // most reserved bytes, if bounded
};

// A block in use, as snapshot() saw it.
struct BlockInfo {
  size_t bytes;
  size_t requested;
  const void* data;
  uint64_t stream;
  uint64_t tag;
};

// Damage that debug mode found.
struct GuardDamage {
  enum class Kind { kBefore, kAfter, kWrittenAfterRelease, kReleasedTwice };
  Kind kind;
  const void* data;
  size_t requested;
  uint64_t tag;
};

// Such as "written after release".
[[nodiscard]] const char* damage_name(GuardDamage::Kind kind) noexcept;

// Decides when a block that several streams used may be given out again. On CUDA a mark is an event. Called without the
// pool's lock.
class StreamFence {
 public:
  virtual ~StreamFence() = default;
  virtual uint64_t mark(uint64_t stream) noexcept = 0;  // the work submitted to the stream so far
  virtual bool passed(uint64_t mark) noexcept = 0;      // whether that work is done
  virtual void wait(uint64_t mark) noexcept = 0;        // returns when it is
  virtual void drop(uint64_t mark) noexcept = 0;        // the mark is not needed any more
};

struct PoolOptions {
  std::optional<size_t>
      cache_limit;  // default: the smaller of 1 GiB and a tenth of the control group's (or the machine's) memory
  std::optional<size_t> limit;   // default: none
  bool debug = false;            // guards and poison; ignored where the CPU cannot reach the memory
  StreamFence* fence = nullptr;  // null: a cross-stream block is reusable at once
  const char* name = "memory";   // stands first in messages
};

class BlockPool {
 public:
  explicit BlockPool(RawAllocator& raw, const PoolOptions& options = {});
  ~BlockPool();  // every block must have been released and no thread may be inside; gives everything back
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Never null; zero bytes give a block too. OutOfMemoryError when, after draining and trimming, the second try failed
  // as well.
  Block* allocate(size_t bytes, uint64_t stream = 0);
  // From any thread.
  void release(Block* block) noexcept;
  // The block was used by work on this stream too: it is not reused before that work is done.
  void record_stream(Block* block, uint64_t stream);

  PoolStats stats() const;
  void reset_peak();
  // Drains every thread's front and returns all that is free to the raw allocator.
  void empty_cache();
  void set_limit(std::optional<size_t> bytes);
  void set_cache_limit(size_t bytes);
  std::vector<BlockInfo> snapshot() const;
  // Called by every allocate from now on, without locks, for the tag of the block; null turns it off. It may allocate
  // here itself.
  using Tagger = uint64_t (*)() noexcept;
  void set_tagger(Tagger tagger) noexcept { tagger_.store(tagger, std::memory_order_release); }

  bool debug() const;
  // Debug mode: the allocation after `count` more fails as if there were no room, once; a negative count calls it off.
  // Returns how many were still to come, or a negative number when none was to fail (any more).
  int64_t fail_allocation(int64_t count);
  // Damage found so far (debug mode): the guards of all live blocks as they are now, and what earlier releases found.
  std::vector<GuardDamage> check_guards();
  // One line per live block, largest first, at most `most` of them, under a line of totals; empty when nothing is live.
  std::string leak_report(size_t most = 20, std::string (*describe_tag)(uint64_t) = nullptr) const;

 private:
  Block* allocate_untagged(size_t bytes, uint64_t stream);

  std::atomic<Tagger> tagger_{nullptr};
  uint32_t slot_;  // place of this pool's front in each thread's table
  std::unique_ptr<class PoolCore> core_;
};

// Host memory, for the whole process; never destroyed. GORGO_CACHE_LIMIT (bytes) and GORGO_MEMORY_DEBUG are read when
// first used.
BlockPool& cpu_pool();

}  // namespace gorgo

// What a pool tells about itself: statistics, blocks in use, and the damage that debug mode finds.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "core/check.h"
#include "memory/pool_core.h"

namespace gorgo {
namespace {

bool all_bytes(const void* data, size_t bytes, int value) {
  const auto* p = static_cast<const unsigned char*>(data);
  return bytes == 0 || (p[0] == value && std::memcmp(p, p + 1, bytes - 1) == 0);
}

}  // namespace

const char* damage_name(GuardDamage::Kind kind) noexcept {
  switch (kind) {
    case GuardDamage::Kind::kBefore:
      return "written before the block";
    case GuardDamage::Kind::kAfter:
      return "written after the block";
    case GuardDamage::Kind::kWrittenAfterRelease:
      return "written after release";
    case GuardDamage::Kind::kReleasedTwice:
      return "released twice";
  }
  return "damaged";
}

template <class F>
void PoolCore::for_each_block(F&& visit) {
  for (const auto& heap : heaps_) heap->for_each_in_use(visit);
}

PoolStats PoolCore::stats() {
  Lock lock(mutex_);
  Claim claim(*this);
  PoolStats out;
  int64_t active = active_bytes_.load();
  int64_t peak = peak_active_bytes_.load();
  out.allocations = allocations_;
  out.misses = misses_;
  out.releases = releases_;
  for (const auto& heap : heaps_) {
    out.largest_free_block = std::max(out.largest_free_block, heap->largest_free_bytes());
  }
  for (const ThreadFront* front : fronts_) {
    active += front->unpublished_bytes;
    out.allocations += front->allocations;
    out.misses += front->misses;
    out.releases += front->releases;
    for (const ThreadFront::LargeSlot& place : front->large) {
      if (place.head != nullptr) out.largest_free_block = std::max(out.largest_free_block, place.bytes);
    }
    for (uint8_t k = 0; k < kSmallClasses; ++k) {
      if (front->small[k].head != nullptr) out.largest_free_block = std::max(out.largest_free_block, class_bytes(k));
    }
  }
  peak = std::max(peak, active);
  out.active_bytes = static_cast<size_t>(active);
  out.peak_active_bytes = static_cast<size_t>(peak);
  out.reserved_bytes = reserved_bytes_;
  out.peak_reserved_bytes = peak_reserved_bytes_;
  out.cached_bytes = out.reserved_bytes - out.active_bytes;
  out.hits = out.allocations - out.misses;
  out.raw_allocations = raw_allocations_;
  if (out.cached_bytes > 0) {
    out.fragmentation = 1.0 - static_cast<double>(out.largest_free_block) / static_cast<double>(out.cached_bytes);
  }
  out.cache_limit = cache_limit_;
  out.limit = limit_;
  return out;
}

std::vector<BlockInfo> PoolCore::snapshot() {
  Lock lock(mutex_);
  Claim claim(*this);
  std::vector<BlockInfo> live;
  for_each_block([&](const Block& block) {
    live.push_back({block.bytes, block.requested, block.data, block.stream, block.tag.load(std::memory_order_relaxed)});
  });
  return live;
}

void PoolCore::note_damage(GuardDamage::Kind kind, const Block* block) noexcept {
  std::fprintf(stderr, "%s: %s, a block of %zu bytes at %p\n", name_, damage_name(kind), block->requested, block->data);
  constexpr size_t kMostNoted = 10000;
  try {
    if (damage_.size() < kMostNoted) {
      damage_.push_back({kind, block->data, block->requested, block->tag.load(std::memory_order_relaxed)});
    }
  } catch (const std::bad_alloc&) {  // it stands on stderr
  }
}

// Debug mode: puts guards around a block that is handed out, and looks whether it is still as unwrap left it.
void PoolCore::wrap(Block* block) noexcept {
  raw_.settle();
  const size_t whole_bytes = footprint(block);
  auto* base = static_cast<unsigned char*>(block->data);
  auto* data = base + kGuard_bytes;
  block->data = data;
  block->bytes = whole_bytes - 2 * kGuard_bytes;
  if (!all_bytes(base, whole_bytes, kDeadByte)) note_damage(GuardDamage::Kind::kWrittenAfterRelease, block);
  std::memset(base, kGuardByte, kGuard_bytes);
  std::memset(data, kFreshByte, block->requested);
  std::memset(data + block->requested, kGuardByte, whole_bytes - kGuard_bytes - block->requested);
}

// Debug mode: checks the guards of a block that comes back and kills its contents.
void PoolCore::unwrap(Block* block) noexcept {
  raw_.settle();
  try {
    std::vector<GuardDamage> found;
    inspect_guards(block, found);
    for (const GuardDamage& one : found) note_damage(one.kind, block);
  } catch (const std::bad_alloc&) {  // damage beyond what can be told
  }
  const size_t whole_bytes = footprint(block);
  block->data = static_cast<char*>(block->data) - kGuard_bytes;
  block->bytes = whole_bytes;
  std::memset(block->data, kDeadByte, whole_bytes);
}

void PoolCore::inspect_guards(const Block* block, std::vector<GuardDamage>& found) const {
  const auto* data = static_cast<const unsigned char*>(block->data);
  const uint64_t tag = block->tag.load(std::memory_order_relaxed);
  const size_t behind = footprint(block) - kGuard_bytes - block->requested;
  if (!all_bytes(data - kGuard_bytes, kGuard_bytes, kGuardByte)) {
    found.push_back({GuardDamage::Kind::kBefore, data, block->requested, tag});
  }
  if (!all_bytes(data + block->requested, behind, kGuardByte)) {
    found.push_back({GuardDamage::Kind::kAfter, data, block->requested, tag});
  }
}

std::vector<GuardDamage> PoolCore::check_guards() {
  Lock lock(mutex_);
  std::vector<GuardDamage> found = damage_;
  if (debug_) {
    raw_.settle();
    for_each_block([&](const Block& block) { inspect_guards(&block, found); });
  }
  return found;
}

std::string BlockPool::leak_report(size_t most, std::string (*describe_tag)(uint64_t)) const {
  std::vector<BlockInfo> live = core_->snapshot();
  if (live.empty()) return {};
  size_t total_bytes = 0;
  for (const BlockInfo& block : live) total_bytes += block.requested;
  std::sort(live.begin(), live.end(), [](const BlockInfo& a, const BlockInfo& b) {
    return a.requested != b.requested ? a.requested > b.requested : a.data < b.data;
  });
  std::string out = cat(core_->name(), ": ", live.size(), " blocks in use, ", total_bytes, " bytes\n");
  for (size_t i = 0; i < std::min(most, live.size()); ++i) {
    out += cat("  ", live[i].requested, " bytes at ", live[i].data);
    if (live[i].tag != 0)
      out += describe_tag != nullptr ? " from " + describe_tag(live[i].tag) : cat(" tag ", live[i].tag);
    out += '\n';
  }
  if (live.size() > most) out += cat("  and ", live.size() - most, " more\n");
  return out;
}

}  // namespace gorgo

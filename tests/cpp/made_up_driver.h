// A driver that tests make up: devices whose memory is the host's, streams and events that are numbers in a journal.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "device/cuda/device.h"
#include "device/cuda/plugin.h"
#include "start_library.h"

namespace gorgo {

// What the made-up driver was asked to do, and what it shall answer.
struct Journal {
  std::vector<std::string> calls;
  int live = 0;
  int next = 1;
  int fails = 0;             // the code that `failing` answers
  const char* failing = "";  // which call fails
  bool passed = false;       // what query_event says

  void write(const std::string& call) { calls.push_back(call); }
  [[nodiscard]] int answer(const char* call) const { return std::strcmp(call, failing) == 0 ? fails : 0; }
  [[nodiscard]] int count(const std::string& start) const {
    int n = 0;
    for (const std::string& call : calls) n += call.starts_with(start) ? 1 : 0;
    return n;
  }
};
inline Journal journal;

inline CudaDriver made_up() {
  CudaDriver d;
  d.device_count = [](int* count) {
    *count = 8;
    return journal.answer("device_count");
  };
  d.set_device = [](int) { return journal.answer("set_device"); };
  d.error_text = [](int) { return "made up"; };
  d.last_error = [] { return journal.answer("last_error"); };
  d.allocate = [](void** data, size_t bytes) {
    if (journal.answer("allocate") != 0) return journal.fails;
    *data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    ++journal.live;
    return 0;
  };
  d.release = [](void* data) {
    std::free(data);
    --journal.live;
    return 0;
  };
  d.memory_info = [](size_t* free_bytes, size_t* total_bytes) {
    *free_bytes = *total_bytes = size_t{64} << 20;
    return 0;
  };
  d.allocate_pinned = d.allocate;
  d.release_pinned = d.release;
  d.copy = [](void* to, const void* from, size_t bytes, uint64_t stream) {
    journal.write("copy " + std::to_string(stream));
    std::memcpy(to, from, bytes);
    return journal.answer("copy");
  };
  d.fill = [](void* to, int byte, size_t bytes, uint64_t) {
    std::memset(to, byte, bytes);
    return 0;
  };
  d.create_stream = [](uint64_t* stream) {
    *stream = static_cast<uint64_t>(journal.next++);
    return journal.answer("create_stream");
  };
  d.synchronize_stream = [](uint64_t stream) {
    journal.write("synchronize " + std::to_string(stream));
    return journal.answer("synchronize_stream");
  };
  d.synchronize_device = [] {
    journal.write("synchronize all");
    return journal.answer("synchronize_device");
  };
  d.create_event = [](uint64_t* event, bool) {
    *event = static_cast<uint64_t>(journal.next++);
    return 0;
  };
  d.destroy_event = [](uint64_t) {
    journal.write("destroy event");
    return 0;
  };
  d.record_event = [](uint64_t, uint64_t stream) {
    journal.write("record " + std::to_string(stream));
    return journal.answer("record_event");
  };
  d.query_event = [](uint64_t, bool* passed) {
    *passed = journal.passed;
    return 0;
  };
  d.synchronize_event = [](uint64_t) {
    journal.write("synchronize event");
    return 0;
  };
  d.wait_event = [](uint64_t stream, uint64_t) {
    journal.write("wait " + std::to_string(stream));
    return 0;
  };
  d.properties = [](int, CudaProperties* out) {
    out->major = 9;
    return 0;
  };
  return d;
}

// Puts the made-up driver in place while it lives. Devices from 5 on, so that no pool is shared with a real card.
struct MadeUp {
  MadeUp() : before(cuda_driver) {
    start_library();
    static const CudaDriver driver = made_up();
    journal = Journal{};
    cuda_driver = &driver;
  }
  ~MadeUp() { cuda_driver = before; }
  MadeUp(const MadeUp&) = delete;
  MadeUp& operator=(const MadeUp&) = delete;
  const CudaDriver* before;
};

}  // namespace gorgo

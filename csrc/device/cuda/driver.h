// What the library asks of the CUDA runtime, as a table of functions, so that everything above it can be tested without a card
// on a table that a test brings.
//
// Invariants: streams, events, graphs, nodes and executables are opaque numbers (stream 0 is the legacy default stream). A function returns 0 or the
// runtime's error code; none throws. Calls concern the thread's current device (set_device).
// Read next: device.h (what is built on it), runtime.cu (the real table).
#pragma once

#include <cstddef>
#include <cstdint>

namespace gorgo {

// Devices beyond these are not used: tables of one entry each stay plain arrays.
inline constexpr int kMaxCudaDevices = 16;

struct CudaDriver {
  int (*device_count)(int* count) = nullptr;
  int (*set_device)(int index) = nullptr;
  const char* (*error_text)(int code) = nullptr;
  // The error of the last launch on this thread, which it forgets thereby.
  int (*last_error)() = nullptr;

  int (*allocate)(void** data, size_t bytes) = nullptr;
  int (*release)(void* data) = nullptr;
  int (*memory_info)(size_t* free_bytes, size_t* total_bytes) = nullptr;
  // Host memory that copies can reach directly.
  int (*allocate_pinned)(void** data, size_t bytes) = nullptr;
  int (*release_pinned)(void* data) = nullptr;
  // Between any two of host and devices, in the order of the stream.
  int (*copy)(void* to, const void* from, size_t bytes, uint64_t stream) = nullptr;
  int (*fill)(void* to, int byte, size_t bytes, uint64_t stream) = nullptr;

  int (*create_stream)(uint64_t* stream) = nullptr;
  int (*synchronize_stream)(uint64_t stream) = nullptr;
  int (*synchronize_device)() = nullptr;
  int (*create_event)(uint64_t* event, bool timing) = nullptr;
  int (*destroy_event)(uint64_t event) = nullptr;
  int (*record_event)(uint64_t event, uint64_t stream) = nullptr;
  int (*query_event)(uint64_t event, bool* passed) = nullptr;
  int (*synchronize_event)(uint64_t event) = nullptr;
  int (*wait_event)(uint64_t stream, uint64_t event) = nullptr;  // later work of the stream waits
  int (*elapsed_ms)(uint64_t from, uint64_t to, float* ms) = nullptr;

  int (*begin_capture)(uint64_t stream) = nullptr;
  // What is captured next depends on these nodes alone, in place of all that was captured before it.
  int (*capture_after)(uint64_t stream, const uint64_t* nodes, size_t count) = nullptr;
  // The nodes captured since then, in order; they must have been enqueued one after the other. `count` says how many there is
  // room for, then how many there are: they are written when there is room for all.
  int (*captured_since)(uint64_t stream, const uint64_t* after, size_t after_count, uint64_t* nodes,
                        size_t* count) = nullptr;
  int (*end_capture)(uint64_t stream, uint64_t* graph) = nullptr;  // 0 when the capture broke
  int (*instantiate)(uint64_t graph, uint64_t* executable) = nullptr;
  // Makes `node` of the executable do what `like`, a node of another graph, does; fails where that is another kernel.
  int (*update_node)(uint64_t executable, uint64_t node, uint64_t like) = nullptr;
  int (*launch_graph)(uint64_t executable, uint64_t stream) = nullptr;
  int (*destroy_graph)(uint64_t graph) = nullptr;
  int (*destroy_executable)(uint64_t executable) = nullptr;

  int (*properties)(int index, struct CudaProperties* out) = nullptr;
};

struct CudaProperties {
  char name[256] = {};
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  size_t total_bytes = 0;
  size_t l2_bytes = 0;
  size_t shared_bytes = 0;  // most for one block
};

// The table in use; null without CUDA. Set when the first device is asked for (plugin.h), or by a test before that.
extern const CudaDriver* cuda_driver;

// The runtime's own table; in libgorgo_cuda.so alone.
[[nodiscard]] const CudaDriver* cuda_runtime_table() noexcept;

}  // namespace gorgo

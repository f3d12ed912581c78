// The CUDA runtime as the table of driver.h, and the figures of the card that kernels ask for.
//
// Invariant: linked statically, and nothing here runs before the first call: an import on a machine without a driver works.
#include <cuda_runtime.h>

#include <atomic>
#include <cstdio>

#include "device/cuda/driver.h"
#include "device/cuda/launch.cuh"

namespace gorgo {
namespace {

cudaStream_t stream_from(uint64_t stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t event_from(uint64_t event) { return reinterpret_cast<cudaEvent_t>(event); }
cudaGraphExec_t graph_from(uint64_t graph) { return reinterpret_cast<cudaGraphExec_t>(graph); }
template <class T>
uint64_t number_of(T handle) {
  return reinterpret_cast<uint64_t>(handle);
}

int create_stream(uint64_t* stream) {
  cudaStream_t made = nullptr;
  const int code = cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  *stream = number_of(made);
  return code;
}

int create_event(uint64_t* event, bool timing) {
  cudaEvent_t made = nullptr;
  const int code = cudaEventCreateWithFlags(&made, timing ? cudaEventDefault : cudaEventDisableTiming);
  *event = number_of(made);
  return code;
}

int query_event(uint64_t event, bool* passed) {
  const cudaError_t code = cudaEventQuery(event_from(event));
  *passed = code == cudaSuccess;
  if (code != cudaErrorNotReady) return code;
  static_cast<void>(cudaGetLastError());
  return 0;
}

int end_capture(uint64_t stream, uint64_t* executable) {
  *executable = 0;
  cudaGraph_t graph = nullptr;
  cudaError_t code = cudaStreamEndCapture(stream_from(stream), &graph);
  if (code != cudaSuccess) return code;
  cudaGraphExec_t made = nullptr;
  code = cudaGraphInstantiate(&made, graph, 0);
  static_cast<void>(cudaGraphDestroy(graph));
  if (code == cudaSuccess) *executable = number_of(made);
  return code;
}

int properties(int index, CudaProperties* out) {
  cudaDeviceProp p{};
  const int code = cudaGetDeviceProperties(&p, index);
  if (code != 0) return code;
  std::snprintf(out->name, sizeof out->name, "%s", p.name);
  out->major = p.major;
  out->minor = p.minor;
  out->multiprocessors = p.multiProcessorCount;
  out->total_bytes = p.totalGlobalMem;
  out->l2_bytes = static_cast<size_t>(p.l2CacheSize);
  out->shared_bytes = p.sharedMemPerBlockOptin;
  return 0;
}

CudaDriver runtime_table() {
  CudaDriver d;
  d.device_count = [](int* count) -> int { return cudaGetDeviceCount(count); };
  d.set_device = [](int index) -> int { return cudaSetDevice(index); };
  d.error_text = [](int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); };
  d.last_error = []() -> int { return cudaGetLastError(); };
  d.allocate = [](void** data, size_t bytes) -> int { return cudaMalloc(data, bytes); };
  d.release = [](void* data) -> int { return cudaFree(data); };
  d.memory_info = [](size_t* free_bytes, size_t* total_bytes) -> int {
    return cudaMemGetInfo(free_bytes, total_bytes);
  };
  d.allocate_pinned = [](void** data, size_t bytes) -> int { return cudaMallocHost(data, bytes); };
  d.release_pinned = [](void* data) -> int { return cudaFreeHost(data); };
  d.copy = [](void* to, const void* from, size_t bytes, uint64_t stream) -> int {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_from(stream));
  };
  d.fill = [](void* to, int byte, size_t bytes, uint64_t stream) -> int {
    return cudaMemsetAsync(to, byte, bytes, stream_from(stream));
  };
  d.create_stream = create_stream;
  d.synchronize_stream = [](uint64_t stream) -> int { return cudaStreamSynchronize(stream_from(stream)); };
  d.synchronize_device = []() -> int { return cudaDeviceSynchronize(); };
  d.create_event = create_event;
  d.destroy_event = [](uint64_t event) -> int { return cudaEventDestroy(event_from(event)); };
  d.record_event = [](uint64_t event, uint64_t stream) -> int {
    return cudaEventRecord(event_from(event), stream_from(stream));
  };
  d.query_event = query_event;
  d.synchronize_event = [](uint64_t event) -> int { return cudaEventSynchronize(event_from(event)); };
  d.wait_event = [](uint64_t stream, uint64_t event) -> int {
    return cudaStreamWaitEvent(stream_from(stream), event_from(event), 0);
  };
  d.elapsed_ms = [](uint64_t from, uint64_t to, float* ms) -> int {
    return cudaEventElapsedTime(ms, event_from(from), event_from(to));
  };
  d.begin_capture = [](uint64_t stream) -> int {
    return cudaStreamBeginCapture(stream_from(stream), cudaStreamCaptureModeThreadLocal);
  };
  d.end_capture = end_capture;
  d.launch_graph = [](uint64_t executable, uint64_t stream) -> int {
    return cudaGraphLaunch(graph_from(executable), stream_from(stream));
  };
  d.destroy_graph = [](uint64_t executable) -> int { return cudaGraphExecDestroy(graph_from(executable)); };
  d.properties = properties;
  return d;
}

}  // namespace

const CudaDriver* cuda_runtime_table() noexcept {
  static const CudaDriver table = runtime_table();
  return &table;
}

namespace cuda {

const Card& card() noexcept {
  static Card cards[kMaxCudaDevices];
  static std::atomic<bool> known[kMaxCudaDevices];
  int index = 0;
  static_cast<void>(cudaGetDevice(&index));
  Card& c = cards[index];
  // Two threads may both read the figures: they are the same.
  if (!known[index].load(std::memory_order_acquire)) {
    const auto read = [&](cudaDeviceAttr attribute) {
      int value = 0;
      static_cast<void>(cudaDeviceGetAttribute(&value, attribute, index));
      return value;
    };
    Card fresh;
    fresh.multiprocessors = read(cudaDevAttrMultiProcessorCount);
    fresh.major = read(cudaDevAttrComputeCapabilityMajor);
    fresh.minor = read(cudaDevAttrComputeCapabilityMinor);
    fresh.shared_bytes = read(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    fresh.l2_bytes = read(cudaDevAttrL2CacheSize);
    c = fresh;
    known[index].store(true, std::memory_order_release);
  }
  return c;
}

}  // namespace cuda
}  // namespace gorgo

// The CUDA runtime as the table of driver.h, and the figures of the card that kernels ask for.
//
// Invariant: linked statically, and nothing here runs before the first call: an import on a machine without a driver works.
#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <vector>

#include "device/cuda/driver.h"
#include "device/cuda/driver_entry.cuh"
#include "device/cuda/launch.cuh"

namespace gorgo {
namespace {

cudaStream_t stream_from(uint64_t stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t event_from(uint64_t event) { return reinterpret_cast<cudaEvent_t>(event); }
cudaGraph_t graph_from(uint64_t graph) { return reinterpret_cast<cudaGraph_t>(graph); }
cudaGraphNode_t node_from(uint64_t node) { return reinterpret_cast<cudaGraphNode_t>(node); }
cudaGraphExec_t executable_from(uint64_t executable) { return reinterpret_cast<cudaGraphExec_t>(executable); }
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

// Three functions that CUDA 13 gave the edges' kinds.
#if CUDART_VERSION >= 13000
cudaError_t frontier_of(cudaStream_t stream, const cudaGraphNode_t** nodes, size_t* count) {
  cudaStreamCaptureStatus status{};
  const cudaGraphEdgeData* edges = nullptr;
  return cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, nodes, &edges, count);
}
cudaError_t depend_on(cudaStream_t stream, cudaGraphNode_t* nodes, size_t count) {
  return cudaStreamUpdateCaptureDependencies(stream, nodes, nullptr, count, cudaStreamSetCaptureDependencies);
}
cudaError_t dependencies_of(cudaGraphNode_t node, cudaGraphNode_t* nodes, cudaGraphEdgeData* edges, size_t* count) {
  return cudaGraphNodeGetDependencies(node, nodes, edges, count);
}
#else
cudaError_t frontier_of(cudaStream_t stream, const cudaGraphNode_t** nodes, size_t* count) {
  cudaStreamCaptureStatus status{};
  return cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, nodes, count);
}
cudaError_t depend_on(cudaStream_t stream, cudaGraphNode_t* nodes, size_t count) {
  return cudaStreamUpdateCaptureDependencies(stream, nodes, count, cudaStreamSetCaptureDependencies);
}
cudaError_t dependencies_of(cudaGraphNode_t node, cudaGraphNode_t* nodes, cudaGraphEdgeData*, size_t* count) {
  return cudaGraphNodeGetDependencies(node, nodes, count);
}
#endif

int capture_after(uint64_t stream, const uint64_t* nodes, size_t count) {
  std::vector<cudaGraphNode_t> handles(count);
  for (size_t i = 0; i < count; ++i) handles[i] = node_from(nodes[i]);
  return depend_on(stream_from(stream), handles.data(), count);
}

int captured_since(uint64_t stream, const uint64_t* after, size_t after_count, uint64_t* nodes, size_t* count) {
  const cudaGraphNode_t* last = nullptr;
  size_t found = 0;
  cudaError_t code = frontier_of(stream_from(stream), &last, &found);
  if (code != cudaSuccess) return code;
  const auto is_before = [&](cudaGraphNode_t node) {
    return std::find(after, after + after_count, number_of(node)) != after + after_count;
  };
  std::vector<uint64_t> chain;  // from the last one back
  // More than one: nothing was enqueued, and the frontier is still `after`.
  for (cudaGraphNode_t node = found == 1 ? last[0] : nullptr; node != nullptr && !is_before(node);) {
    chain.push_back(number_of(node));
    size_t degree = 0;
    code = dependencies_of(node, nullptr, nullptr, &degree);
    if (code != cudaSuccess) return code;
    if (degree != 1) break;
    cudaGraphEdgeData edge{};
    code = dependencies_of(node, &node, &edge, &degree);
    if (code != cudaSuccess) return code;
  }
  if (chain.size() <= *count) std::copy(chain.rbegin(), chain.rend(), nodes);
  *count = chain.size();
  return 0;
}

int end_capture(uint64_t stream, uint64_t* graph) {
  cudaGraph_t made = nullptr;
  const cudaError_t code = cudaStreamEndCapture(stream_from(stream), &made);
  *graph = number_of(made);
  return code;
}

int instantiate(uint64_t graph, uint64_t* executable) {
  cudaGraphExec_t made = nullptr;
  const int code = cudaGraphInstantiate(&made, graph_from(graph), 0);
  *executable = number_of(made);
  return code;
}

// The runtime knows nothing of kernels that the driver has compiled, the driver of all.
int update_kernel(uint64_t executable, uint64_t node, uint64_t like) {
  static const auto get = cuda::driver_entry<PFN_cuGraphKernelNodeGetParams_v12000>("cuGraphKernelNodeGetParams");
  static const auto set =
      cuda::driver_entry<PFN_cuGraphExecKernelNodeSetParams_v12000>("cuGraphExecKernelNodeSetParams");
  if (get == nullptr || set == nullptr) return cudaErrorNotSupported;
  CUDA_KERNEL_NODE_PARAMS old{};
  CUDA_KERNEL_NODE_PARAMS fresh{};
  CUresult code = get(node_from(node), &old);
  if (code == CUDA_SUCCESS) code = get(node_from(like), &fresh);
  if (code != CUDA_SUCCESS) return code;
  if (old.func != fresh.func || old.kern != fresh.kern) return cudaErrorInvalidValue;  // it may want other attributes
  return set(executable_from(executable), node_from(node), &fresh);
}

int update_node(uint64_t executable, uint64_t node, uint64_t like) {
  cudaGraphNodeType type{};
  cudaGraphNodeType wanted{};
  cudaError_t code = cudaGraphNodeGetType(node_from(node), &type);
  if (code == cudaSuccess) code = cudaGraphNodeGetType(node_from(like), &wanted);
  if (code != cudaSuccess) return code;
  if (type != wanted) return cudaErrorInvalidValue;
  switch (type) {
    case cudaGraphNodeTypeKernel:
      return update_kernel(executable, node, like);
    case cudaGraphNodeTypeMemcpy: {
      cudaMemcpy3DParms fresh{};
      code = cudaGraphMemcpyNodeGetParams(node_from(like), &fresh);
      if (code != cudaSuccess) return code;
      return cudaGraphExecMemcpyNodeSetParams(executable_from(executable), node_from(node), &fresh);
    }
    case cudaGraphNodeTypeMemset: {
      cudaMemsetParams fresh{};
      code = cudaGraphMemsetNodeGetParams(node_from(like), &fresh);
      if (code != cudaSuccess) return code;
      return cudaGraphExecMemsetNodeSetParams(executable_from(executable), node_from(node), &fresh);
    }
    default:
      return cudaErrorInvalidValue;
  }
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
  d.capture_after = capture_after;
  d.captured_since = captured_since;
  d.end_capture = end_capture;
  d.instantiate = instantiate;
  d.update_node = update_node;
  d.launch_graph = [](uint64_t executable, uint64_t stream) -> int {
    return cudaGraphLaunch(executable_from(executable), stream_from(stream));
  };
  d.destroy_graph = [](uint64_t graph) -> int { return cudaGraphDestroy(graph_from(graph)); };
  d.destroy_executable = [](uint64_t executable) -> int { return cudaGraphExecDestroy(executable_from(executable)); };
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

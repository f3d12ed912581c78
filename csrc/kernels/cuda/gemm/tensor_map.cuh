// Tensor maps for the copy engine of Hopper, encoded by the driver, which is asked for the function at run time.
//
// Invariant: no link against the driver's library; where the function is missing or refuses, encode_map says so and the caller
// takes another kernel. Read next: hopper.cuh.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>

#include "device/cuda/launch.cuh"

namespace gorgo::cuda {

inline PFN_cuTensorMapEncodeTiled_v12000 map_encoder() noexcept {
  static const auto encoder = driver_entry<PFN_cuTensorMapEncodeTiled_v12000>("cuTensorMapEncodeTiled");
  return encoder;
}

// The innermost axis has stride one; `pitches` are the strides, in bytes, of the others. Boxes are swizzled by 128 bytes; what lies
// outside reads as zero and is not written.
inline bool encode_map(CUtensorMap& map, CUtensorMapDataType type, int rank, const void* data, const uint64_t* lengths,
                       const uint64_t* pitches, const uint32_t* box) noexcept {
  const auto encoder = map_encoder();
  if (encoder == nullptr) return false;
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  cuuint64_t sizes[5];
  cuuint64_t strides[5];
  for (int i = 0; i < rank; ++i) sizes[i] = lengths[i];
  for (int i = 0; i + 1 < rank; ++i) strides[i] = pitches[i];
  return encoder(&map, type, static_cast<cuuint32_t>(rank), const_cast<void*>(data), sizes, strides, box, steps,
                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

constexpr int64_t kMapAlignment = 16;                              // of bases and pitches, in bytes
constexpr int64_t kMaxPitch = (int64_t{1} << 40) - kMapAlignment;  // bytes

// How a factor of a product lies, seen as rows (of A) or columns (of B) times k.
struct Lie {
  bool along_k = true;  // stride one along k; otherwise along the rows
  int64_t pitch = 0;    // bytes between neighbours on the other axis
};

// Whether the copy engine can read the factor, and how. A length of one makes the stride along it free.
inline bool lie_of(const void* data, int64_t bytes, int64_t rows, int64_t k, int64_t row_stride, int64_t k_stride,
                   Lie& lie) noexcept {
  if (reinterpret_cast<uintptr_t>(data) % kMapAlignment != 0) return false;
  if (rows >= (int64_t{1} << 31) - 512 || k >= (int64_t{1} << 31) - 512) return false;
  const auto fits = [&](int64_t inner, int64_t outer, int64_t stride, int64_t& pitch) {
    if (outer == 1) stride = ceil_div(inner * bytes, kMapAlignment) * kMapAlignment / bytes;
    if (stride < inner || stride > kMaxPitch / bytes) return false;
    pitch = stride * bytes;
    return pitch % kMapAlignment == 0;
  };
  lie.along_k = true;
  if ((k_stride == 1 || k == 1) && fits(k, rows, row_stride, lie.pitch)) return true;
  lie.along_k = false;
  return (row_stride == 1 || rows == 1) && fits(rows, k, k_stride, lie.pitch);
}

}  // namespace gorgo::cuda

// Operands of elementwise work as kernels see them: what is computed in, how it is stored, and where granules lie; made on the host.
//
// Invariant: a Span has fewer than 2**31 granules; larger tensors are cut along their outermost axes.
// Read next: packed.cuh, granules.cuh.
#pragma once

#include <complex>
#include <cstring>

#include "core/dtype.h"
#include "kernels/cuda/complex.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/operand.cuh"

namespace gorgo::cuda {

// ---- what is computed in, and how it is stored ----

// Bits that are moved and not looked at.
template <int Bytes>
struct WordOf;
template <>
struct WordOf<1> {
  using Type = uint8_t;
};
template <>
struct WordOf<2> {
  using Type = uint16_t;
};
template <>
struct WordOf<4> {
  using Type = uint32_t;
};
template <>
struct WordOf<8> {
  using Type = uint64_t;
};
struct TwoWords {
  uint64_t low;
  uint64_t high;
};
template <>
struct WordOf<16> {
  using Type = TwoWords;
};
template <int Bytes>
struct Bits {
  typename WordOf<Bytes>::Type v;
};

template <class C>
struct IsBits : std::false_type {};
template <int Bytes>
struct IsBits<Bits<Bytes>> : std::true_type {};
template <class C>
struct IsComplexNumber : std::false_type {};
template <class T>
struct IsComplexNumber<Complex<T>> : std::true_type {};

// The value that functors see for an element computed in C.
template <class C>
struct LaneOfType {
  using Type = std::conditional_t<std::is_same_v<C, bool>, Truth,
                                  std::conditional_t<IsBits<C>::value || IsComplexNumber<C>::value, C, Lane<C>>>;
};
// Lane<C> of a type that is no number would not be instantiated, only named.
template <class C>
using LaneOf = typename LaneOfType<C>::Type;

enum class Storage : uint32_t { Own, UInt8, Int8, UInt16, Int16, UInt32, Float16, BFloat16 };

template <class C>
inline Storage storage_of(DType d) noexcept {
  if constexpr (IsBits<C>::value) {
    return sizeof(C) > 1 && d == DType::Bool ? Storage::UInt8 : Storage::Own;
  } else if constexpr (std::is_same_v<C, bool>) {
    return Storage::Own;
  } else {
    switch (d) {
      case DType::Bool:
      case DType::UInt8:
        return Storage::UInt8;
      case DType::Int8:
        return Storage::Int8;
      case DType::UInt16:
        return Storage::UInt16;
      case DType::Int16:
        return Storage::Int16;
      case DType::UInt32:
        return Storage::UInt32;
      case DType::Float16:
        return Storage::Float16;
      case DType::BFloat16:
        return Storage::BFloat16;
      default:
        return Storage::Own;
    }
  }
}
// Whether elements computed in C may take that many bytes in memory.
template <class C>
constexpr bool kMayTake(int bytes) {
  if (bytes == static_cast<int>(sizeof(C))) return true;
  if (std::is_same_v<C, float>) return bytes == 2;
  if (std::is_same_v<C, int32_t>) return bytes == 1 || bytes == 2;
  if (std::is_same_v<C, int64_t>) return bytes == 4;
  return IsBits<C>::value && bytes == 1;
}

// ---- operands ----

enum class Access : uint32_t {
  Whole,     // a granule's elements lie side by side, aligned to what they take together
  Single,    // element by element, `step` bytes apart
  Constant,  // a number from the host
};

struct Place {
  unsigned char* data = nullptr;
  int64_t step = 0;  // bytes between neighbours along the innermost axis, and between granules
  int64_t granule_step = 0;
  Access access = Access::Single;
  Storage storage = Storage::Own;
  uint32_t bytes = 0;                           // of an element in memory
  alignas(16) unsigned char constant[16] = {};  // as it is computed in
};

// Positions of granules: along a row, then over the outer axes. Counts stay below 2**31; larger tensors are cut.
template <int Operands>
struct Span {
  uint32_t count = 0;
  int outer_axes = 0;
  bool whole = true;  // rows are made of whole granules
  int64_t row_elements = 1;
  Divider row;  // by the granules of a row
  Divider by[kMaxAxes];
  int64_t strides[Operands][kMaxAxes];  // of the outer axes, in bytes
  Place place[Operands];
};

// An element that lies on the host, as C.
template <class C>
inline C host_element(const KOperand& x) noexcept {
  C out{};
  if constexpr (std::is_same_v<C, float>) {
    if (x.dtype == DType::Float16) return static_cast<float>(*x.as<Float16>());
    if (x.dtype == DType::BFloat16) return static_cast<float>(*x.as<BFloat16>());
  } else if constexpr (std::is_same_v<C, int32_t>) {
    if (x.dtype == DType::Bool || x.dtype == DType::UInt8) return *x.as<uint8_t>();
    if (x.dtype == DType::Int8) return *x.as<int8_t>();
    if (x.dtype == DType::UInt16) return *x.as<uint16_t>();
    if (x.dtype == DType::Int16) return *x.as<int16_t>();
  } else if constexpr (std::is_same_v<C, int64_t>) {
    if (x.dtype == DType::UInt32) return *x.as<uint32_t>();
  }
  std::memcpy(static_cast<void*>(&out), x.data, static_cast<size_t>(dtype_size(x.dtype)));
  return out;
}

// Folds operands, of which the first are outputs, into as few axes as their strides (in bytes) allow; the first output's shape
// counts. Says of each place how granules of `granule` elements are read.
template <int Operands>
Walk<Operands> fold_operands(const KOperand* const (&operands)[Operands], Place (&places)[Operands],
                             int granule) noexcept {
  const KOperand& out = *operands[0];
  const int rank = out.rank;
  int64_t shape[kMaxAxes];
  int64_t strides[Operands][kMaxAxes];
  const int64_t* rows[Operands];
  for (int i = 0; i < rank; ++i) shape[i] = out.shape[i];
  for (int o = 0; o < Operands; ++o) {
    const KOperand& x = *operands[o];
    Place& place = places[o];
    rows[o] = strides[o];
    place.bytes = static_cast<uint32_t>(dtype_size(x.dtype));
    if (x.host) {
      place.access = Access::Constant;
      for (int i = 0; i < rank; ++i) strides[o][i] = 0;
      continue;
    }
    place.data = static_cast<unsigned char*>(x.data);
    if (x.contiguous && x.numel == out.numel) {
      int64_t stride = place.bytes;
      for (int i = rank - 1; i >= 0; --i) {
        strides[o][i] = stride;
        stride *= shape[i];
      }
    } else {
      broadcast_strides(x, out.shape, rank, strides[o]);
      for (int i = 0; i < rank; ++i) strides[o][i] *= place.bytes;
    }
  }
  if (!out.contiguous) {  // the axis along which the output is densest comes last
    const auto reach = [&](int i) { return strides[0][i] < 0 ? -strides[0][i] : strides[0][i]; };
    const auto swap = [](int64_t& a, int64_t& b) {
      const int64_t was = a;
      a = b;
      b = was;
    };
    for (int i = 1; i < rank; ++i) {
      for (int j = i; j > 0 && reach(j - 1) < reach(j); --j) {
        swap(shape[j], shape[j - 1]);
        for (int o = 0; o < Operands; ++o) swap(strides[o][j], strides[o][j - 1]);
      }
    }
  }
  Walk<Operands> walk = Walk<Operands>::of(shape, rank, rows);
  if (walk.rank == 0) {
    walk.rank = 1;
    walk.shape[0] = 1;
    for (int o = 0; o < Operands; ++o) walk.strides[o][0] = 0;
  }
  const int last = walk.rank - 1;
  for (int o = 0; o < Operands; ++o) {
    Place& place = places[o];
    if (place.access == Access::Constant) continue;
    place.step = walk.strides[o][last];
    place.granule_step = place.step * granule;
    const int64_t together = int64_t{place.bytes} * granule;
    bool aligned = place.step == place.bytes && reinterpret_cast<uintptr_t>(place.data) % together == 0;
    for (int i = 0; i < last && aligned; ++i) aligned = walk.strides[o][i] % together == 0;
    place.access = aligned ? Access::Whole : Access::Single;
  }
  return walk;
}

// Calls launch() for spans of fewer than 2**31 granules that together are the walk, whose outermost axis is cut where it must.
template <int Operands, class Launch>
void cut_span(Span<Operands>& span, const Walk<Operands>& walk, int granule, const Launch& launch) noexcept {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  const int last = walk.rank - 1;
  span.row_elements = walk.shape[last];
  int64_t count = ceil_div(span.row_elements, granule);
  for (int i = 0; i < last; ++i) count *= walk.shape[i];
  if (count > kMost) {
    const int64_t unit = last == 0 ? granule : 1;  // rows are cut between granules
    const int64_t most = last == 0 ? kMost * granule : kMost / (count / walk.shape[0]);
    const int64_t length = most < unit ? unit : most;
    Walk<Operands> part = walk;
    for (int64_t from = 0; from < walk.shape[0]; from += length) {
      part.shape[0] = walk.shape[0] - from < length ? walk.shape[0] - from : length;
      Span<Operands> moved = span;
      for (int o = 0; o < Operands; ++o) {
        if (moved.place[o].access != Access::Constant) moved.place[o].data += from * walk.strides[o][0];
      }
      if (last > 0 && part.shape[0] == 1) {  // still too long: cut the next axis
        Walk<Operands> rest = walk;
        --rest.rank;
        for (int i = 0; i < rest.rank; ++i) {
          rest.shape[i] = walk.shape[i + 1];
          for (int o = 0; o < Operands; ++o) rest.strides[o][i] = walk.strides[o][i + 1];
        }
        cut_span(moved, rest, granule, launch);
      } else {
        cut_span(moved, part, granule, launch);
      }
    }
    return;
  }
  span.count = static_cast<uint32_t>(count);
  span.outer_axes = last;
  span.whole = span.row_elements % granule == 0;
  span.row = Divider(static_cast<uint32_t>(ceil_div(span.row_elements, granule)));
  for (int i = 0; i < last; ++i) {
    span.by[i] = Divider(static_cast<uint32_t>(walk.shape[i]));
    for (int o = 0; o < Operands; ++o) span.strides[o][i] = walk.strides[o][i];
  }
  launch(span);
}

}  // namespace gorgo::cuda

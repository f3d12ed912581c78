// The folds of kernels/cuda/segments.cuh.
//
// The sorted keys are cut into pieces of kPiece. Within a piece, a thread folds the sources of one key one after the other. A
// segment that ends in the piece where it begins is done then; the others leave a result for each piece, which a second kernel
// folds in order.
// Read next: kernels_cuda.cu.
#include <cstring>

#include "kernels/cuda/complex.cuh"
#include "kernels/cuda/segments.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPiece = 128;

struct FoldAdd {
  template <class C>
  GORGO_DEVICE static C of(C a, C b) {
    if constexpr (std::is_same_v<C, bool>) {
      return a || b;
    } else {
      return static_cast<C>(a + b);
    }
  }
};
struct FoldMultiply {
  template <class C>
  GORGO_DEVICE static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) {
      return static_cast<C>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    } else {
      return a * b;
    }
  }
};
// NaN, once there, stays.
template <bool kGreatest>
struct FoldExtreme {
  template <class C>
  GORGO_DEVICE static C of(C old, C given) {
    const bool replaces = given != given || (old == old && (kGreatest ? given > old : given < old));
    return replaces ? given : old;
  }
};

// Results of pieces: at a key that began in the piece and goes on (tail), and at one that began before it (lead).
template <class C>
struct Pieces {
  C* tail;
  C* lead;
  int64_t count;
};

template <class T, int kWide>
struct alignas(sizeof(T) * kWide) Pack {
  T of[kWide];
};

// Work items: (outer, sorted position, pack of inner), the last running fastest.
struct Items {
  int64_t count;
  int64_t inner;  // elements
  Splitter packs;
  Splitter positions;
};

template <class T, class Fold, int kWide>
__global__ void __launch_bounds__(kThreads, 2)
    fold_kernel(const SortedKeys keys, const Items items, const __grid_constant__ SegmentPlan plan, T* __restrict__ out,
                const T* __restrict__ values, const T constant, Pieces<ComputeType<T>> pieces, const int32_t* skip) {
  using C = ComputeType<T>;
  using P = Pack<T, kWide>;
  if (skip != nullptr && *skip != 0) return;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x; item < items.count; item += step) {
    int64_t outer = item;
    const int64_t pack = items.packs.split(outer);
    const int64_t i = items.positions.split(outer);
    const int64_t key = keys.key(i);
    if (key >= keys.space) continue;
    const bool begins = i == 0 || keys.key(i - 1) != key;
    if (!begins && i % kPiece != 0) continue;
    int64_t limit = (i / kPiece + 1) * kPiece;
    if (limit > keys.count) limit = keys.count;
    int64_t at_outer[2];
    int64_t at_inner[2];
    int64_t at_key[1];
    plan.outer.at(outer, at_outer);
    plan.inner.at(pack * kWide, at_inner);
    plan.key.at(key, at_key);
    T* target = out + at_outer[0] + at_inner[0] + at_key[0];
    const int64_t from = at_outer[1] + at_inner[1];
    const auto source = [&](int64_t j) {
      P p;
      if (values == nullptr) {
#pragma unroll
        for (int w = 0; w < kWide; ++w) p.of[w] = constant;
      } else {
        int64_t at[1];
        plan.position.at(keys.order[j], at);
        p = *reinterpret_cast<const P*>(values + from + at[0]);
      }
      return p;
    };
    P first = begins ? *reinterpret_cast<const P*>(target) : source(i);
    C sum[kWide];
#pragma unroll
    for (int w = 0; w < kWide; ++w) sum[w] = static_cast<C>(first.of[w]);
    int64_t j = begins ? i : i + 1;
    constexpr int kAhead = 4;
    for (; j + kAhead <= limit && keys.key(j + kAhead - 1) == key; j += kAhead) {
      P held[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) held[a] = source(j + a);
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
#pragma unroll
        for (int w = 0; w < kWide; ++w) sum[w] = Fold::of(sum[w], static_cast<C>(held[a].of[w]));
      }
    }
    for (; j < limit && keys.key(j) == key; ++j) {
      const P held = source(j);
#pragma unroll
      for (int w = 0; w < kWide; ++w) sum[w] = Fold::of(sum[w], static_cast<C>(held.of[w]));
    }
    const bool goes_on = j == limit && j < keys.count && keys.key(j) == key;
    if (begins && !goes_on) {
      P done;
#pragma unroll
      for (int w = 0; w < kWide; ++w) done.of[w] = static_cast<T>(sum[w]);
      *reinterpret_cast<P*>(target) = done;
    } else {
      C* to = (begins ? pieces.tail : pieces.lead) + (outer * pieces.count + i / kPiece) * items.inner + pack * kWide;
#pragma unroll
      for (int w = 0; w < kWide; ++w) to[w] = sum[w];
    }
  }
}

// Work items: (outer, piece, inner).
template <class T, class Fold>
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const SortedKeys keys, const Items items, const __grid_constant__ SegmentPlan plan,
                  T* __restrict__ out, const Pieces<ComputeType<T>> pieces, const int32_t* skip) {
  using C = ComputeType<T>;
  if (skip != nullptr && *skip != 0) return;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x; item < items.count; item += step) {
    int64_t outer = item;
    const int64_t inner = items.packs.split(outer);
    int64_t piece = items.positions.split(outer);
    const int64_t next = (piece + 1) * kPiece;
    if (next >= keys.count) continue;
    const int64_t key = keys.key(next);
    if (key >= keys.space || keys.key(next - 1) != key) continue;
    const int64_t begin = piece * kPiece;
    if (begin > 0 && keys.key(begin) == key && keys.key(begin - 1) == key) continue;  // began before this piece
    const int64_t line = outer * pieces.count * items.inner + inner;
    C sum = pieces.tail[line + piece * items.inner];
    for (++piece; piece < pieces.count && keys.key(piece * kPiece) == key; ++piece) {
      sum = Fold::of(sum, pieces.lead[line + piece * items.inner]);
    }
    int64_t at_outer[2];
    int64_t at_inner[2];
    int64_t at_key[1];
    plan.outer.at(outer, at_outer);
    plan.inner.at(inner, at_inner);
    plan.key.at(key, at_key);
    out[at_outer[0] + at_inner[0] + at_key[0]] = static_cast<T>(sum);
  }
}

Items items_of(int64_t outer, int64_t positions, int64_t packs, int64_t inner) noexcept {
  Items items;
  items.count = outer * positions * packs;
  items.inner = inner;
  items.packs = Splitter(packs, items.count);
  items.positions = Splitter(positions, items.count);
  return items;
}

// Whether packs of `wide` elements can be read and written as one.
template <class T>
bool packs_fit(const SegmentPlan& plan, int wide, const void* out, const void* values) noexcept {
  const Walk<2>& inner = plan.inner;
  const auto bytes = static_cast<int64_t>(sizeof(T)) * wide;
  if (inner.rank != 1 || inner.count % wide != 0 || inner.strides[0][0] != 1) return false;
  if (values != nullptr && inner.strides[1][0] != 1) return false;
  if (!aligned_to(out, bytes) || !aligned_to(values, bytes)) return false;
  bool fits = true;
  for (int i = 0; i < plan.outer.rank; ++i) {
    fits = fits && plan.outer.strides[0][i] % wide == 0 && plan.outer.strides[1][i] % wide == 0;
  }
  for (int i = 0; i < plan.key.rank; ++i) fits = fits && plan.key.strides[0][i] % wide == 0;
  for (int i = 0; i < plan.position.rank; ++i) fits = fits && plan.position.strides[0][i] % wide == 0;
  return fits;
}

template <class T, class Fold>
void run(cudaStream_t stream, const SortedKeys& keys, const SegmentPlan& plan, const KOperand& to,
         const KOperand& values, void* scratch, const int32_t* skip) noexcept {
  using C = ComputeType<T>;
  const int64_t outer = plan.outer.count;
  const int64_t inner = plan.inner.count;
  if (keys.count == 0 || outer * inner == 0) return;
  auto* out = to.as<T>();
  const auto* from = values.host ? nullptr : values.as<const T>();
  T constant{};
  if (values.host) std::memcpy(&constant, values.data, sizeof constant);
  Pieces<C> pieces;
  pieces.count = ceil_div(keys.count, kPiece);
  pieces.tail = static_cast<C*>(scratch);
  pieces.lead = pieces.tail + pieces.count * outer * inner;
  constexpr int kWide = sizeof(T) < 16 ? static_cast<int>(16 / sizeof(T)) : 1;
  bool packed = false;
  if constexpr (std::is_same_v<Fold, FoldAdd> && kWide > 1) {
    if (packs_fit<T>(plan, kWide, out, from)) {
      const Items items = items_of(outer, keys.count, inner / kWide, inner);
      fold_kernel<T, Fold, kWide><<<grid_for(items.count, kThreads, 16), kThreads, 0, stream>>>(
          keys, items, plan, out, from, constant, pieces, skip);
      packed = true;
    }
  }
  if (!packed) {
    const Items items = items_of(outer, keys.count, inner, inner);
    fold_kernel<T, Fold, 1><<<grid_for(items.count, kThreads, 16), kThreads, 0, stream>>>(keys, items, plan, out, from,
                                                                                          constant, pieces, skip);
  }
  if (pieces.count > 1) {
    const Items items = items_of(outer, pieces.count, inner, inner);
    finish_kernel<T, Fold>
        <<<grid_for(items.count, kThreads), kThreads, 0, stream>>>(keys, items, plan, out, pieces, skip);
  }
}

}  // namespace

void fold_segments(cudaStream_t stream, SegmentFold fold, const SortedKeys& keys, const SegmentPlan& plan,
                   const KOperand& out, const KOperand& values, void* scratch, const int32_t* skip) noexcept {
  const auto go = [&]<class T, class Fold>(TypeTag<T>, TypeTag<Fold>) {
    run<T, Fold>(stream, keys, plan, out, values, scratch, skip);
  };
  const auto sums = [&]<class T>(TypeTag<T> type) {
    if (fold == SegmentFold::Add) {
      go(type, TypeTag<FoldAdd>());
    } else {
      go(type, TypeTag<FoldMultiply>());
    }
  };
  const auto extremes = [&]<class T>(TypeTag<T> type) {
    if (fold == SegmentFold::Greatest) {
      go(type, TypeTag<FoldExtreme<true>>());
    } else {
      go(type, TypeTag<FoldExtreme<false>>());
    }
  };
  const bool ordered = fold == SegmentFold::Greatest || fold == SegmentFold::Least;
  const auto real = [&]<class T>(TypeTag<T> type) {
    if (ordered) {
      extremes(type);
    } else {
      sums(type);
    }
  };
  // Sums and products of integers wrap: those of both signs have the same bits.
  const auto integer = [&]<class T>(TypeTag<T> type) {
    if (ordered) {
      extremes(type);
    } else {
      sums(TypeTag<std::make_unsigned_t<T>>());
    }
  };
  switch (out.dtype) {
    case DType::Bool:
      go(TypeTag<bool>(), TypeTag<FoldAdd>());
      break;
    case DType::UInt8:
      integer(TypeTag<uint8_t>());
      break;
    case DType::UInt16:
      integer(TypeTag<uint16_t>());
      break;
    case DType::UInt32:
      integer(TypeTag<uint32_t>());
      break;
    case DType::UInt64:
      integer(TypeTag<uint64_t>());
      break;
    case DType::Int8:
      integer(TypeTag<int8_t>());
      break;
    case DType::Int16:
      integer(TypeTag<int16_t>());
      break;
    case DType::Int32:
      integer(TypeTag<int32_t>());
      break;
    case DType::Int64:
      integer(TypeTag<int64_t>());
      break;
    case DType::Float16:
      real(TypeTag<Float16>());
      break;
    case DType::BFloat16:
      real(TypeTag<BFloat16>());
      break;
    case DType::Float32:
      real(TypeTag<float>());
      break;
    case DType::Float64:
      real(TypeTag<double>());
      break;
    case DType::Complex64:
      sums(TypeTag<Complex<float>>());
      break;
    case DType::Complex128:
      sums(TypeTag<Complex<double>>());
      break;
  }
}

size_t fold_bytes(int64_t count, int64_t lines, DType d) noexcept {
  if (count <= kPiece) return 0;  // nothing goes on
  const int64_t sum = dtype_size(d) < 4 && is_floating(d) ? 4 : dtype_size(d);
  return 2 * static_cast<size_t>(ceil_div(count, kPiece)) * static_cast<size_t>(lines) * static_cast<size_t>(sum);
}

}  // namespace gorgo::cuda

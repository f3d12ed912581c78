// What all elementwise kernels share: access to lanes, conversions between storage and compute types, and staging.
//
// Each (op, compute type) is one loop over contiguous memory. Everything else is done around it, once for all ops:
// operands that are broadcast, strided or of a storage type (halves, small integers, bool) are staged through a buffer
// of one chunk that stays in the first-level cache. So an op costs one small function per compute type, and its bits
// depend neither on layout nor on alignment nor on how the work is cut into tasks, which is by element count alone.
// For kernel files (compiled per ISA). Read next: kernels_cpu.cpp, kernels_cpu_moves.cpp.
#pragma once

#include <cstring>

#include "core/kernel_args.h"
#include "core/shape.h"
#include "kernels/complex.h"
#include "kernels/coverage.h"
#include "kernels/move.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kTaskElements = 32768;
constexpr int64_t kChunk = 512;  // of elements of any size
constexpr int64_t kMaxElementBytes = 16;
constexpr int64_t kBufferBytes = kChunk * kMaxElementBytes;
// Elements to a chunk of which the largest take up `size` bytes: small ones come by so many that what is done once to a chunk
// does not show.
constexpr int64_t chunk_of(int64_t size) { return kBufferBytes / size; }

// What short runs may be written beyond.
constexpr int64_t kSlackBytes = 64;

struct alignas(64) Buffer {
  unsigned char bytes[kBufferBytes + kSlackBytes];
};
// For elements that are widened, at least to twice their size.
struct alignas(64) NarrowBuffer {
  unsigned char bytes[kBufferBytes / 2 + kSlackBytes];
};

using Loop = void (*)(const void* const* in, void* const* out, int64_t n) noexcept;
// Between a storage type and what it computes in.
using Conversion = void (*)(const void* from, void* to, int64_t n) noexcept;

// ---- lanes ----

template <class T>
struct ElementOf {
  using Type = T;
};
template <>
struct ElementOf<std::complex<float>> {
  using Type = Complex<float>;
};
template <>
struct ElementOf<std::complex<double>> {
  using Type = Complex<double>;
};

template <class T>
constexpr bool kIsComplexElement = IsComplex<T>::value;

// Access to `Lanes` elements of T; a mask gets lanes of W bytes.
template <class T, int Lanes, int W>
GORGO_INLINE auto get(const T* p, int count) {
  if constexpr (kIsComplexElement<T>) {
    return *p;
  } else if (__builtin_expect(count == Lanes, 1)) {
    return load<T, Lanes, W>(p);
  } else {
    return load_partial<T, Lanes, W>(p, count);
  }
}
template <int Lanes, class T, class V>
GORGO_INLINE void put(T* p, V v, int count) {
  if constexpr (!IsVec<V>::value && !IsMask<V>::value) {
    *p = v;
  } else if (__builtin_expect(count == Lanes, 1)) {
    store(p, v);
  } else {
    store_partial(p, v, count);
  }
}

// Of what the lanes hold: the half types become floats when they are loaded.
template <class T>
constexpr int kLaneBytes = static_cast<int>(sizeof(T));
template <>
inline constexpr int kLaneBytes<Float16> = 4;
template <>
inline constexpr int kLaneBytes<BFloat16> = 4;
template <class... Ts>
constexpr int widest() {
  int bytes = 1;
  ((bytes = kLaneBytes<Ts> > bytes ? kLaneBytes<Ts> : bytes), ...);
  return bytes;
}
template <class... Ts>
constexpr int lanes_for() {
  return (kIsComplexElement<Ts> || ...) ? 1 : kVectorBytes / widest<Ts...>();
}

// out[i] = f(in[i]...), with one body for whole vectors and the tail.
template <class F, class Out, class... In>
GORGO_INLINE void map1(F f, int64_t n, Out* out, const In*... in) {
  constexpr int kLanes = lanes_for<In...>();
  constexpr int kWidth = widest<In...>();
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    put<kLanes>(out + i, f(get<In, kLanes, kWidth>(in + i, count)...), count);
  }
}

// ---- conversions ----

// What an element type is computed in: four integer and float widths, and complex; the rest is widened.
enum class Class : uint8_t { Int32, Int64, UInt64, Float32, Float64, Complex64, Complex128 };

constexpr Class class_of(DType d) {
  switch (d) {
    case DType::Bool:
    case DType::UInt8:
    case DType::UInt16:
    case DType::Int8:
    case DType::Int16:
    case DType::Int32:
      return Class::Int32;
    case DType::UInt32:
    case DType::Int64:
      return Class::Int64;
    case DType::UInt64:
      return Class::UInt64;
    case DType::Float16:
    case DType::BFloat16:
    case DType::Float32:
      return Class::Float32;
    case DType::Float64:
      return Class::Float64;
    case DType::Complex64:
      return Class::Complex64;
    default:
      return Class::Complex128;
  }
}
template <class S>
using ComputeOf = std::conditional_t<
    kIsHalf<S>, float,
    std::conditional_t<std::is_integral_v<S> && (sizeof(S) < 4), int32_t,
                       std::conditional_t<std::is_same_v<S, uint32_t>, int64_t, typename ElementOf<S>::Type>>>;

template <class S>
void widen(const void* from, void* to, int64_t n) noexcept {
  using T = ComputeOf<S>;
  using M = std::conditional_t<std::is_same_v<S, bool>, uint8_t, S>;
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  const auto* in = static_cast<const M*>(from);
  auto* out = static_cast<T*>(to);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    put<kLanes>(out + i, convert<T>(get<M, kLanes, 1>(in + i, count)), count);
  }
}
template <class S>
void narrow(const void* from, void* to, int64_t n) noexcept {
  using T = ComputeOf<S>;
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  const auto* in = static_cast<const T*>(from);
  auto* out = static_cast<S*>(to);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    const auto v = get<T, kLanes, 1>(in + i, count);
    if constexpr (kIsHalf<S>) {
      put<kLanes>(out + i, v, count);
    } else {
      put<kLanes>(out + i, convert<S>(v), count);
    }
  }
}

// Null where the storage type is computed in as it stands.
inline Conversion widening(DType d) noexcept {
  switch (d) {
    case DType::Bool:
      return widen<bool>;
    case DType::UInt8:
      return widen<uint8_t>;
    case DType::UInt16:
      return widen<uint16_t>;
    case DType::UInt32:
      return widen<uint32_t>;
    case DType::Int8:
      return widen<int8_t>;
    case DType::Int16:
      return widen<int16_t>;
    case DType::Float16:
      return widen<Float16>;
    case DType::BFloat16:
      return widen<BFloat16>;
    default:
      return nullptr;
  }
}
inline Conversion narrowing(DType d) noexcept {
  switch (d) {
    case DType::UInt8:
      return narrow<uint8_t>;
    case DType::UInt16:
      return narrow<uint16_t>;
    case DType::UInt32:
      return narrow<uint32_t>;
    case DType::Int8:
      return narrow<int8_t>;
    case DType::Int16:
      return narrow<int16_t>;
    case DType::Float16:
      return narrow<Float16>;
    case DType::BFloat16:
      return narrow<BFloat16>;
    default:
      return nullptr;
  }
}
inline int64_t class_bytes(Class c) noexcept {
  switch (c) {
    case Class::Int32:
    case Class::Float32:
      return 4;
    case Class::Complex128:
      return 16;
    default:
      return 8;
  }
}

// ---- staging ----

// Puts n copies of one element side by side.
template <class Unit>
GORGO_INLINE void repeat_unit(const void* from, void* to, int64_t n) noexcept {
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Unit));
  Unit x;
  std::memcpy(&x, from, sizeof x);
  const auto v = broadcast<Vec<Unit>>(x);
  auto* out = static_cast<Unit*>(to);
  for (int64_t i = 0; i < n; i += kLanes) put<kLanes>(out + i, v, n - i < kLanes ? static_cast<int>(n - i) : kLanes);
}
GORGO_INLINE void repeat_element(const void* from, void* to, int64_t size, int64_t n) noexcept {
  switch (size) {
    case 1:
      return repeat_unit<uint8_t>(from, to, n);
    case 2:
      return repeat_unit<uint16_t>(from, to, n);
    case 4:
      return repeat_unit<uint32_t>(from, to, n);
    case 8:
      return repeat_unit<uint64_t>(from, to, n);
    default:
      for (int64_t i = 0; i < n; ++i) std::memcpy(static_cast<unsigned char*>(to) + 16 * i, from, 16);
  }
}

// Walks the elements of an operand in the order of the output's, from a given position on.
class Walker {
 public:
  void start(const KOperand& of, const KOperand& over, int64_t size, int64_t position) noexcept {
    size_ = size;
    rank_ = 0;
    const int lead = over.rank - of.rank;
    for (int i = 0; i < over.rank; ++i) {
      const int64_t length = over.shape[i];
      if (length == 1) continue;
      const int j = i - lead;
      const int64_t stride = j < 0 || of.shape[j] == 1 ? 0 : of.strides[j] * size;
      if (rank_ > 0 && stride_[rank_ - 1] == stride * length) {
        shape_[rank_ - 1] *= length;
        stride_[rank_ - 1] = stride;
      } else {
        shape_[rank_] = length;
        stride_[rank_] = stride;
        ++rank_;
      }
    }
    if (rank_ == 0) {
      shape_[0] = 1;
      stride_[0] = 0;
      rank_ = 1;
    }
    at_ = static_cast<unsigned char*>(of.data);
    for (int i = rank_ - 1; i >= 0; --i) {
      index_[i] = position % shape_[i];
      position /= shape_[i];
      at_ += index_[i] * stride_[i];
    }
  }
  // How many elements one step walks, and whether they are the same again and again.
  [[nodiscard]] int64_t row() const noexcept { return shape_[rank_ - 1]; }
  [[nodiscard]] bool repeats() const noexcept { return rank_ == 2 && stride_[0] == 0; }
  [[nodiscard]] bool begins_row() const noexcept { return index_[rank_ - 1] == 0; }
  // The element that the next n all are, or null. Does not advance.
  [[nodiscard]] const unsigned char* held(int64_t n) const noexcept {
    const int last = rank_ - 1;
    return stride_[last] == 0 && shape_[last] - index_[last] >= n ? at_ : nullptr;
  }
  // The next n elements where they lie, or null when they do not lie side by side. Does not advance.
  [[nodiscard]] unsigned char* in_place(int64_t n) const noexcept {
    const int last = rank_ - 1;
    return stride_[last] == size_ && shape_[last] - index_[last] >= n ? at_ : nullptr;
  }
  void skip(int64_t n) noexcept {
    each_run(n, [](unsigned char*, int64_t, int64_t) {});
  }
  void gather(void* to, int64_t n) noexcept {
    auto* out = static_cast<unsigned char*>(to);
    const int last = rank_ - 1;
    if (shape_[last] * size_ <= kSlackBytes && stride_[last] == size_) {
      each_run(n, [&](const unsigned char* from, int64_t, int64_t count) {
        copy_few(out, from, count * size_);
        out += count * size_;
      });
      return;
    }
    each_run(n, [&](const unsigned char* from, int64_t stride, int64_t count) {
      copy_run(out, size_, from, stride, count);
      out += count * size_;
    });
  }
  // The same to where kSlackBytes more may be written.
  void gather_to_room(void* to, int64_t n) noexcept {
    const int last = rank_ - 1;
    if (shape_[last] * size_ <= kSlackBytes && stride_[last] == 0) {
      if (size_ == 4) return repeat_each<uint32_t>(to, n);
      if (size_ == 8) return repeat_each<uint64_t>(to, n);
    }
    gather(to, n);
  }
  void scatter(const void* from, int64_t n) noexcept {
    const auto* in = static_cast<const unsigned char*>(from);
    each_run(n, [&](unsigned char* to, int64_t stride, int64_t count) {
      copy_run(to, stride, in, size_, count);
      in += count * size_;
    });
  }

 private:
  template <class F>
  GORGO_INLINE void each_run(int64_t n, F f) noexcept {
    const int last = rank_ - 1;
    while (n > 0) {
      const int64_t left = shape_[last] - index_[last];
      const int64_t count = left < n ? left : n;
      f(at_, stride_[last], count);
      n -= count;
      at_ += count * stride_[last];
      index_[last] += count;
      for (int i = last; index_[i] == shape_[i] && i > 0; --i) {
        at_ += stride_[i - 1] - shape_[i] * stride_[i];
        index_[i] = 0;
        ++index_[i - 1];
      }
    }
  }
  // Short runs of one element each: whole vectors are stored, of which the next run overwrites what is too much.
  template <class Unit>
  GORGO_INLINE void repeat_each(void* to, int64_t n) noexcept {
    using V = Vec<Unit>;
    auto* out = static_cast<Unit*>(to);
    each_run(n, [&](const unsigned char* from, int64_t, int64_t count) {
      Unit x;
      std::memcpy(&x, from, sizeof x);
      for (int64_t i = 0; i < count; i += V::kLanes) store(out + i, broadcast<V>(x));
      out += count;
    });
  }
  template <class Unit>
  GORGO_INLINE static void copy_units(unsigned char* to, int64_t to_stride, const unsigned char* from,
                                      int64_t from_stride, int64_t count) noexcept {
    for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, sizeof(Unit));
  }
  // Elements that lie apart, side by side: sixteen bytes take one store.
  template <class Unit>
  GORGO_INLINE static void collect_units(unsigned char* to, const unsigned char* from, int64_t stride,
                                         int64_t count) noexcept {
    constexpr int kAtOnce = 16 / static_cast<int>(sizeof(Unit));
    int64_t i = 0;
    for (; i + kAtOnce <= count; i += kAtOnce) {
      RawVector<Unit, kAtOnce> some;
#pragma GCC unroll 4
      for (int k = 0; k < kAtOnce; ++k) {
        Unit x;
        std::memcpy(&x, from + (i + k) * stride, sizeof x);
        some[k] = x;
      }
      std::memcpy(to + i * static_cast<int64_t>(sizeof(Unit)), &some, sizeof some);
    }
    copy_units<Unit>(to + i * static_cast<int64_t>(sizeof(Unit)), sizeof(Unit), from + i * stride, stride, count - i);
  }
  void copy_run(unsigned char* to, int64_t to_stride, const unsigned char* from, int64_t from_stride,
                int64_t count) const noexcept {
    if (to_stride == size_ && from_stride == size_) {
      std::memcpy(to, from, static_cast<size_t>(count * size_));
      return;
    }
    if (to_stride == size_ && from_stride == 0) return repeat_element(from, to, size_, count);
    switch (size_) {
      case 1:
        return copy_units<uint8_t>(to, to_stride, from, from_stride, count);
      case 2:
        return copy_units<uint16_t>(to, to_stride, from, from_stride, count);
      case 4:
        if (to_stride == size_) return collect_units<uint32_t>(to, from, from_stride, count);
        return copy_units<uint32_t>(to, to_stride, from, from_stride, count);
      case 8:
        if (to_stride == size_) return collect_units<uint64_t>(to, from, from_stride, count);
        return copy_units<uint64_t>(to, to_stride, from, from_stride, count);
      default:
        return copy_units<Complex<double>>(to, to_stride, from, from_stride, count);
    }
  }

  int64_t size_ = 0;
  int rank_ = 0;
  unsigned char* at_ = nullptr;
  int64_t shape_[kMaxRank];
  int64_t stride_[kMaxRank];
  int64_t index_[kMaxRank];
};

// Whether one element stands for every position: a scalar, or one that was spread over a shape, as the gradient of a sum is.
GORGO_INLINE bool is_single(const KOperand& of) noexcept {
  if (of.contiguous || of.numel == 1) return of.numel == 1;
  for (int i = 0; i < of.rank; ++i) {
    if (of.shape[i] != 1 && of.strides[i] != 0) return false;
  }
  return true;
}

// Cuts elements into chunks that end where rows do, or that part rows evenly, so that what is laid out for one row serves the
// next. A row of zero stands for none.
class Chunks {
 public:
  Chunks(int64_t begin, int64_t end, int64_t row, int64_t most = kChunk) noexcept
      : left_(end - begin), most_(most), row_(row) {
    if (row == 0) return;
    most_ = row > most ? (row + (row + most - 1) / most - 1) / ((row + most - 1) / most) : most / row * row;
    in_row_ = row - begin % row;
  }
  [[nodiscard]] bool any() const noexcept { return left_ > 0; }
  [[nodiscard]] int64_t next() noexcept {
    int64_t n = left_ < most_ ? left_ : most_;
    if (row_ != 0) {
      if ((in_row_ < row_ || row_ > most_) && in_row_ < n) n = in_row_;
      in_row_ = in_row_ > n ? in_row_ - n : row_;
    }
    left_ -= n;
    return n;
  }

 private:
  int64_t left_;
  int64_t most_;
  int64_t row_;
  int64_t in_row_ = 0;  // of the row that is under way
};
// The shorter of two rows, where zero stands for none.
GORGO_INLINE int64_t shorter_row(int64_t a, int64_t b) noexcept { return a == 0 || (b != 0 && b < a) ? b : a; }

// Hands out an operand chunk by chunk as contiguous memory of its compute type.
class Reader {
 public:
  // `chunk` is how many elements are asked for at a time.
  void start(const KOperand& of, const KOperand& over, bool raw, int64_t begin, int64_t end, int64_t chunk) noexcept {
    size_ = dtype_size(of.dtype);
    repeats_ = false;
    held_ = nullptr;
    held_count_ = 0;
    widen_ = raw ? nullptr : widening(of.dtype);
    if (of.numel == over.numel && of.contiguous) {
      kind_ = Kind::InOrder;
      at_ = static_cast<const unsigned char*>(of.data) + begin * size_;
    } else if (is_single(of)) {
      kind_ = Kind::Splat;
      splat(static_cast<const unsigned char*>(of.data), end - begin < chunk ? end - begin : chunk);
    } else {
      kind_ = Kind::Walk;
      walker_.start(of, over, size_, begin);
    }
  }
  // How many elements one step walks; zero where that does not matter.
  [[nodiscard]] int64_t row() const noexcept { return kind_ == Kind::Walk ? walker_.row() : 0; }
  // Chunks will begin and end with rows of this length, as Chunks makes them.
  void walk_by(int64_t row) noexcept { repeats_ = kind_ == Kind::Walk && row == walker_.row() && walker_.repeats(); }
  const void* next(int64_t n) noexcept {
    if (kind_ == Kind::Splat) return ready_.bytes;
    const unsigned char* from = nullptr;
    if (kind_ == Kind::Walk && repeats_ && n >= walker_.row() && walker_.begins_row()) kind_ = Kind::Repeat;
    if (kind_ == Kind::Repeat) {
      // The first chunk is the longest.
      if (n > held_count_) return refill(n);
      return ready_.bytes;
    }
    if (kind_ == Kind::Walk) {
      const unsigned char* const one = walker_.held(n);
      if (one != nullptr) {
        if (one != held_ || n > held_count_) {
          splat(one, n);
          held_ = one;
          held_count_ = n;
        }
        walker_.skip(n);
        return ready_.bytes;
      }
      held_ = nullptr;
    }
    if (kind_ == Kind::InOrder) {
      from = at_;
      at_ += n * size_;
    } else {
      from = walker_.in_place(n);
      if (from != nullptr) {
        walker_.skip(n);
      } else {
        unsigned char* to = widen_ != nullptr ? raw_.bytes : ready_.bytes;
        walker_.gather_to_room(to, n);
        from = to;
      }
    }
    if (widen_ == nullptr) return from;
    widen_(from, ready_.bytes, n);
    return ready_.bytes;
  }

 private:
  enum class Kind : uint8_t { InOrder, Splat, Walk, Repeat };
  void splat(const unsigned char* from, int64_t n) noexcept {
    repeat_element(from, widen_ != nullptr ? raw_.bytes : ready_.bytes, size_, n);
    if (widen_ != nullptr) widen_(raw_.bytes, ready_.bytes, n);
  }
  const void* refill(int64_t n) noexcept {
    walker_.gather(widen_ != nullptr ? raw_.bytes : ready_.bytes, n);
    if (widen_ != nullptr) widen_(raw_.bytes, ready_.bytes, n);
    held_count_ = n;
    return ready_.bytes;
  }

  Kind kind_ = Kind::InOrder;
  bool repeats_ = false;
  const unsigned char* held_ = nullptr;  // what all of ready_ is
  int64_t held_count_ = 0;               // elements of ready_ that stay
  int64_t size_ = 0;
  const unsigned char* at_ = nullptr;
  Conversion widen_ = nullptr;
  Walker walker_;
  NarrowBuffer raw_;
  Buffer ready_;
};

// Takes an output chunk by chunk.
class Writer {
 public:
  void start(const KOperand& of, bool raw, int64_t begin) noexcept {
    size_ = dtype_size(of.dtype);
    narrow_ = raw ? nullptr : narrowing(of.dtype);
    in_order_ = of.contiguous;
    in_place_ = false;
    if (in_order_) {
      at_ = static_cast<unsigned char*>(of.data) + begin * size_;
    } else {
      walker_.start(of, of, size_, begin);
    }
  }
  [[nodiscard]] int64_t row() const noexcept { return in_order_ ? 0 : walker_.row(); }
  // Where the loop is to put the next chunk, of n elements.
  void* room(int64_t n) noexcept {
    if (narrow_ != nullptr) return ready_.bytes;
    if (in_order_) return at_;
    unsigned char* const place = walker_.in_place(n);
    in_place_ = place != nullptr;
    return in_place_ ? place : ready_.bytes;
  }
  void done(int64_t n) noexcept {
    if (in_place_) return walker_.skip(n);
    const unsigned char* from = ready_.bytes;
    if (narrow_ != nullptr) {
      unsigned char* to = in_order_ ? at_ : raw_.bytes;
      narrow_(ready_.bytes, to, n);
      from = raw_.bytes;
    }
    if (in_order_) {
      at_ += n * size_;
    } else {
      walker_.scatter(from, n);
    }
  }

 private:
  bool in_order_ = true;
  bool in_place_ = false;  // this chunk
  int64_t size_ = 0;
  unsigned char* at_ = nullptr;
  Conversion narrow_ = nullptr;
  Walker walker_;
  NarrowBuffer raw_;
  Buffer ready_;
};

inline int64_t tasks_of(const KernelArgs& args) noexcept {
  return (args.out[0].numel + kTaskElements - 1) / kTaskElements;
}

// Whether neighbouring elements lie apart, each on a line of the cache of its own maybe.
GORGO_INLINE bool lies_apart(const KOperand& of) noexcept {
  int last = of.rank - 1;
  while (last >= 0 && of.shape[last] == 1) --last;
  return last >= 0 && of.strides[last] != 0 && of.strides[last] != 1;
}
// Of all operands, how many bytes the largest elements take up; those that are not raw, in their compute type.
template <int In, int Out>
GORGO_INLINE int64_t largest_element(const KernelArgs& args, bool raw) noexcept {
  int64_t largest = 1;
  const auto count = [&](DType d) {
    const int64_t size = raw ? dtype_size(d) : class_bytes(class_of(d));
    if (size > largest) largest = size;
  };
  for (int i = 0; i < In; ++i) count(args.in[i].dtype);
  for (int i = 0; i < Out; ++i) count(args.out[i].dtype);
  return largest;
}

template <int In, int Out>
[[gnu::noinline]] void run_staged(const KernelArgs& args, Loop loop, bool raw, int64_t begin, int64_t end) noexcept {
  Reader readers[In];
  Writer writers[Out];
  int64_t chunk = chunk_of(largest_element<In, Out>(args, raw));
  // The lines that one chunk is collected from stay in the first-level cache for the next.
  for (int i = 0; i < In; ++i) chunk = lies_apart(args.in[i]) ? kChunk : chunk;
  for (int i = 0; i < In; ++i) readers[i].start(args.in[i], args.out[0], raw, begin, end, chunk);
  for (int i = 0; i < Out; ++i) writers[i].start(args.out[i], raw, begin);
  int64_t row = 0;
  for (int i = 0; i < In; ++i) row = shorter_row(row, readers[i].row());
  for (int i = 0; i < Out; ++i) row = shorter_row(row, writers[i].row());
  for (int i = 0; i < In; ++i) readers[i].walk_by(row);
  for (Chunks chunks(begin, end, row, chunk); chunks.any();) {
    const int64_t n = chunks.next();
    const void* in[In];
    void* out[Out];
    for (int k = 0; k < In; ++k) in[k] = readers[k].next(n);
    for (int k = 0; k < Out; ++k) out[k] = writers[k].room(n);
    loop(in, out, n);
    for (int k = 0; k < Out; ++k) writers[k].done(n);
  }
}

// Operands in order beside single elements, all of compute types: `2 * x`, which must cost no more than `x * x`.
template <int In, int Out>
[[gnu::noinline]] void run_beside_scalars(const KernelArgs& args, Loop loop, int64_t begin, int64_t end) noexcept {
  Buffer repeated[In];
  const void* in[In];
  void* out[Out];
  int64_t in_step[In];
  const int64_t chunk = chunk_of(largest_element<In, Out>(args, true));
  const int64_t first = end - begin < chunk ? end - begin : chunk;
  const int64_t total = args.out[0].numel;
  for (int i = 0; i < In; ++i) {
    const KOperand& operand = args.in[i];
    const int64_t size = dtype_size(operand.dtype);
    if (operand.contiguous && operand.numel == total) {
      in[i] = static_cast<const unsigned char*>(operand.data) + begin * size;
      in_step[i] = chunk * size;
    } else {
      repeat_element(operand.data, repeated[i].bytes, size, first);
      in[i] = repeated[i].bytes;
      in_step[i] = 0;
    }
  }
  for (int i = 0; i < Out; ++i) {
    out[i] = static_cast<unsigned char*>(args.out[i].data) + begin * dtype_size(args.out[i].dtype);
  }
  for (int64_t at = begin;;) {
    const int64_t n = end - at < chunk ? end - at : chunk;
    loop(in, out, n);
    at += n;
    if (at >= end) return;
    for (int i = 0; i < In; ++i) in[i] = static_cast<const unsigned char*>(in[i]) + in_step[i];
    for (int i = 0; i < Out; ++i) {
      out[i] = static_cast<unsigned char*>(out[i]) + chunk * dtype_size(args.out[i].dtype);
    }
  }
}

template <int In, int Out>
GORGO_INLINE void run_loop(const KernelArgs& args, int64_t task, Loop loop, bool raw, bool direct) noexcept {
  const int64_t total = args.out[0].numel;
  const int64_t begin = task * kTaskElements;
  const int64_t end = total - begin < kTaskElements ? total : begin + kTaskElements;
  if (begin >= end) return;
  bool in_order = direct;
  bool any_scalar = false;
  for (int i = 0; i < In; ++i) {
    const bool whole = args.in[i].contiguous && args.in[i].numel == total;
    any_scalar = any_scalar || !whole;
    in_order = in_order && (whole || is_single(args.in[i]));
  }
  for (int i = 0; i < Out; ++i) in_order = in_order && args.out[i].contiguous;
  if (__builtin_expect(!in_order, 0)) return run_staged<In, Out>(args, loop, raw, begin, end);
  if (any_scalar) return run_beside_scalars<In, Out>(args, loop, begin, end);
  const void* in[In];
  void* out[Out];
  for (int i = 0; i < In; ++i) {
    in[i] = static_cast<const unsigned char*>(args.in[i].data) + begin * dtype_size(args.in[i].dtype);
  }
  for (int i = 0; i < Out; ++i) {
    out[i] = static_cast<unsigned char*>(args.out[i].data) + begin * dtype_size(args.out[i].dtype);
  }
  loop(in, out, end - begin);
}

// Shared per shape of signature, so that a kernel of an op is only a jump with its loop as argument.
template <int In, int Out, bool Raw, bool Direct>
[[gnu::noinline]] void run_shared(const KernelArgs& args, int64_t task, Loop loop) noexcept {
  run_loop<In, Out>(args, task, loop, Raw, Direct);
}

template <class S>
constexpr bool kIsDirect = std::is_same_v<typename ElementOf<S>::Type, ComputeOf<S>>;

// ---- the table ----

// Not inlined: there are some thousand calls.
[[gnu::noinline]] inline void add(KernelSink& sink, const char* name, DType dtype,
                                  void (*run)(const KernelArgs&, int64_t) noexcept) {
  sink.add(name, dtype, Kernel::of({run, tasks_of}));
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

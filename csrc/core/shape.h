// Shapes and strides: a short vector of int64 kept inline for ranks up to six, and the arithmetic on it.
//
// Invariant: rank is at most kMaxRank; strides count elements, not bytes, and may be zero or negative.
// Read next: kernel_args.h (how kernels see them), tensor/view.h.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>
#include <utility>

#include "core/check.h"

namespace gorgo {

inline constexpr int kMaxRank = 32;

class Dims {
 public:
  static constexpr int kInline = 6;

  Dims() noexcept = default;
  explicit Dims(int size, int64_t fill) : Dims() {
    open(size);
    for (int i = 0; i < size; ++i) data()[i] = fill;
  }
  Dims(std::initializer_list<int64_t> values) : Dims(std::span<const int64_t>(values.begin(), values.size())) {}
  explicit Dims(std::span<const int64_t> values) : Dims() { assign(values.data(), static_cast<int>(values.size())); }
  Dims(const Dims& o) : Dims() { assign(o.data(), o.size_); }
  Dims(Dims&& o) noexcept { steal(o); }
  Dims& operator=(const Dims& o) {
    if (this != &o) assign(o.data(), o.size_);
    return *this;
  }
  Dims& operator=(Dims&& o) noexcept {
    if (this != &o) {
      drop();
      steal(o);
    }
    return *this;
  }
  ~Dims() { drop(); }

  [[nodiscard]] int size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] int64_t* data() noexcept { return size_ <= kInline ? inline_ : heap_; }
  [[nodiscard]] const int64_t* data() const noexcept { return size_ <= kInline ? inline_ : heap_; }
  int64_t& operator[](int i) noexcept { return data()[i]; }
  const int64_t& operator[](int i) const noexcept { return data()[i]; }
  [[nodiscard]] const int64_t* begin() const noexcept { return data(); }
  [[nodiscard]] const int64_t* end() const noexcept { return data() + size_; }
  int64_t* begin() noexcept { return data(); }
  int64_t* end() noexcept { return data() + size_; }
  [[nodiscard]] int64_t back() const noexcept { return data()[size_ - 1]; }

  // Keeps the leading elements; new ones are to be written, they hold anything. Throws ValueError above kMaxRank.
  void open(int size) {
    if (size > kInline || size_ > kInline) [[unlikely]]
      move_to(size);
    size_ = static_cast<uint8_t>(size);
  }
  // The same with zero for new ones.
  void resize(int size) {
    const int old = size_;
    open(size);
    for (int i = old; i < size; ++i) data()[i] = 0;
  }
  void push_back(int64_t v) {
    open(size_ + 1);
    data()[size_ - 1] = v;
  }
  void erase(int i) {
    for (int j = i; j + 1 < size_; ++j) data()[j] = data()[j + 1];
    open(size_ - 1);
  }
  void insert(int i, int64_t v) {
    open(size_ + 1);
    for (int j = size_ - 1; j > i; --j) data()[j] = data()[j - 1];
    data()[i] = v;
  }

  friend bool operator==(const Dims& a, const Dims& b) noexcept {
    if (a.size_ != b.size_) return false;
    const int64_t* x = a.data();
    const int64_t* y = b.data();
    for (int i = 0; i < a.size_; ++i) {
      if (x[i] != y[i]) return false;
    }
    return true;
  }

 private:
  void assign(const int64_t* values, int n) {
    open(n);
    int64_t* to = data();
    for (int i = 0; i < n; ++i) to[i] = values[i];
  }
  void steal(Dims& o) noexcept {
    size_ = o.size_;
    if (size_ > kInline) {
      heap_ = o.heap_;
      o.size_ = 0;
    } else {
      for (int i = 0; i < size_; ++i) inline_[i] = o.inline_[i];
    }
  }
  void drop() noexcept {
    if (size_ > kInline) delete[] heap_;
  }
  // Brings the elements to where `size` of them belong. Throws ValueError above kMaxRank.
  [[gnu::cold, gnu::noinline]] void move_to(int size);

  union {
    int64_t inline_[kInline];
    int64_t* heap_;
  };
  uint8_t size_ = 0;
};

using Shape = Dims;
using Strides = Dims;

// Prints as a Python tuple: (), (3,), (3, 4).
std::ostream& operator<<(std::ostream& out, const Dims& dims);

// Number of elements. Throws OverflowError when the product does not fit int64; `op` names the caller.
[[nodiscard]] int64_t numel_of(std::span<const int64_t> shape, const char* op = "shape");
// Row-major strides in elements.
[[nodiscard]] Strides contiguous_strides(const Shape& shape);
// True when walking the elements in row-major order walks memory in order (axes of length 1 do not matter).
[[nodiscard]] bool is_contiguous(std::span<const int64_t> shape, std::span<const int64_t> strides) noexcept;
// The lowest and the highest offset, from the first element, that elements lie at. No axis may be empty.
struct Reach {
  int64_t lowest = 0;
  int64_t highest = 0;
};
[[nodiscard]] Reach reach_of(std::span<const int64_t> shape, std::span<const int64_t> strides) noexcept;
// The standard's broadcasting rule. Throws ValueError naming both shapes.
[[nodiscard]] Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op);
// Maps an axis in [-rank, rank) to [0, rank). Throws IndexError-free ValueError of the house form.
[[nodiscard]] int normalize_axis(int64_t axis, int rank, const char* op, const char* argument = "axis");
// Maps axes to sorted distinct axes in [0, rank); throws ValueError on repeats.
[[nodiscard]] Dims normalize_axes(std::span<const int64_t> axes, int rank, const char* op);
// Strides under which a tensor of `shape` and `strides` reads as the broadcast `to` (stride 0 where it repeats).
[[nodiscard]] Strides broadcast_strides(const Shape& shape, const Strides& strides, const Shape& to);
// Strides for the same elements seen as `to`, or false when only a copy can give that shape.
[[nodiscard]] bool reshape_strides(const Shape& shape, const Strides& strides, const Shape& to, Strides& out);

}  // namespace gorgo

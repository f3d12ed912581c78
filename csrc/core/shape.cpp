#include "core/shape.h"

#include <algorithm>
#include <cstring>
#include <ostream>

namespace gorgo {

void Dims::move_to(int size) {
  if (size > kMaxRank) fail<ValueError>("shape: rank must be at most ", kMaxRank, ", got ", size);
  if (size > kInline && size_ <= kInline) {
    auto* heap = new int64_t[kMaxRank]();
    std::memcpy(heap, inline_, static_cast<size_t>(size_) * sizeof(int64_t));
    heap_ = heap;
  } else if (size <= kInline && size_ > kInline) {
    int64_t* heap = heap_;
    std::memcpy(inline_, heap, static_cast<size_t>(size) * sizeof(int64_t));
    delete[] heap;
  }
}

std::ostream& operator<<(std::ostream& out, const Dims& dims) {
  out << '(';
  for (int i = 0; i < dims.size(); ++i) out << (i > 0 ? ", " : "") << dims[i];
  return out << (dims.size() == 1 ? ",)" : ")");
}

namespace {

[[noreturn, gnu::cold, gnu::noinline]] void refuse_sizes(std::span<const int64_t> shape, const char* op,
                                                         bool negative) {
  if (negative) fail<ValueError>(op, ": shape must have no negative size, got ", Dims(shape));
  fail<OverflowError>(op, ": shape must have fewer than 2**63 elements, got ", Dims(shape));
}

}  // namespace

int64_t numel_of(std::span<const int64_t> shape, const char* op) {
  int64_t n = 1;
  bool overflow = false;
  bool empty = false;
  for (const int64_t d : shape) {
    if (d < 0) refuse_sizes(shape, op, true);
    empty = empty || d == 0;
    overflow = __builtin_mul_overflow(n, d, &n) || overflow;
  }
  if (empty) return 0;
  if (overflow) refuse_sizes(shape, op, false);
  return n;
}

namespace {

// Of a step and a length. Only the lengths of a tensor without elements can overflow, and nobody takes such a step.
int64_t product(int64_t step, int64_t length) noexcept {
  return static_cast<int64_t>(static_cast<uint64_t>(step) * static_cast<uint64_t>(length));
}

}  // namespace

Strides contiguous_strides(const Shape& shape) {
  Strides strides(shape.size(), 0);
  int64_t step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    strides[i] = step;
    step = product(step, std::max<int64_t>(shape[i], 1));
  }
  return strides;
}

Reach reach_of(std::span<const int64_t> shape, std::span<const int64_t> strides) noexcept {
  Reach reach;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t last = (shape[i] - 1) * strides[i];
    (last < 0 ? reach.lowest : reach.highest) += last;
  }
  return reach;
}

bool is_contiguous(std::span<const int64_t> shape, std::span<const int64_t> strides) noexcept {
  int64_t step = 1;
  bool in_order = true;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) return true;
    if (shape[i] == 1) continue;
    in_order = in_order && strides[i] == step;
    step = product(step, shape[i]);
  }
  return in_order;
}

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
  if (a == b) return a;
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape out = longer;
  const int lead = longer.size() - shorter.size();
  for (int i = 0; i < shorter.size(); ++i) {
    const int64_t x = longer[lead + i];
    const int64_t y = shorter[i];
    if (x != y && x != 1 && y != 1) {
      fail<ValueError>(op, ": shapes must broadcast, got ", a, " and ", b);
    }
    out[lead + i] = x == 1 ? y : x;
  }
  return out;
}

int normalize_axis(int64_t axis, int rank, const char* op, const char* argument) {
  if (axis < -rank || axis >= rank) {
    fail<ValueError>(op, ": ", argument, " must be in [", -rank, ", ", rank, "), got ", axis);
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Dims normalize_axes(std::span<const int64_t> axes, int rank, const char* op) {
  Dims out;
  for (const int64_t a : axes) out.push_back(normalize_axis(a, rank, op));
  std::sort(out.begin(), out.end());
  if (std::adjacent_find(out.begin(), out.end()) != out.end()) {
    fail<ValueError>(op, ": axis must not repeat, got ", Dims(axes));
  }
  return out;
}

Strides broadcast_strides(const Shape& shape, const Strides& strides, const Shape& to) {
  Strides out(to.size(), 0);
  const int lead = to.size() - shape.size();
  for (int i = 0; i < shape.size(); ++i) out[lead + i] = shape[i] == 1 && to[lead + i] != 1 ? 0 : strides[i];
  return out;
}

bool reshape_strides(const Shape& shape, const Strides& strides, const Shape& to, Strides& out) {
  // Merge old axes into runs that walk memory with one step, then cut the new axes out of those runs.
  if (is_contiguous(shape, strides)) {
    out = contiguous_strides(to);
    return true;
  }
  out = Strides(to.size(), 0);
  int next = to.size() - 1;
  int old = shape.size() - 1;
  while (old >= 0) {
    if (shape[old] == 1) {
      --old;
      continue;
    }
    const int64_t step = strides[old];
    int64_t run = shape[old];
    --old;
    while (old >= 0 && (shape[old] == 1 || strides[old] == step * run)) {
      run *= shape[old];
      --old;
    }
    int64_t covered = 1;
    while (next >= 0 && covered < run) {
      if (to[next] != 1 && run % (covered * to[next]) != 0) return false;
      out[next] = step * covered;
      covered *= to[next];
      --next;
    }
    if (covered != run) return false;
  }
  for (; next >= 0; --next) {
    if (to[next] != 1) return false;
    out[next] = 1;
  }
  return true;
}

}  // namespace gorgo

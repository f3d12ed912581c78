// The loops of elementwise ops over contiguous memory, one function for each op and compute type: what the kernels of the ops and
// of fused chains are made of.
//
// For kernel files (compiled per ISA). Invariant: what an element comes to depends on that element alone.
// Read next: functors.h (the ops), staging.h (everything around a loop).
#pragma once

#include "ops/elementwise/functors.h"
#include "ops/elementwise/staging.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

template <class Op, class T>
using OutOf = std::conditional_t<Op::kFacts.gives == Gives::Bool, bool, T>;

template <class Op, class T>
void unary_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto x) __attribute__((always_inline)) { return Op::forward(x); }, n, static_cast<OutOf<Op, T>*>(out[0]),
       static_cast<const T*>(in[0]));
}
template <class Op, class T>
void binary_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto a, auto b) __attribute__((always_inline)) { return Op::forward(a, b); }, n,
       static_cast<OutOf<Op, T>*>(out[0]), static_cast<const T*>(in[0]), static_cast<const T*>(in[1]));
}

// Backward loops read g and then what the facts save, in the order a, b, out.
template <class Op, class T>
void unary_backward_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  auto* dx = static_cast<T*>(out[0]);
  const auto* g = static_cast<const T*>(in[0]);
  constexpr uint8_t kSaves = Op::kFacts.saves_a;
  if constexpr (kSaves == kSavesNothing) {
    map1([](auto gv) __attribute__((always_inline)) { return Op::backward(gv, gv, gv); }, n, dx, g);
  } else if constexpr (kSaves == kSavesA) {
    map1([](auto gv, auto x) __attribute__((always_inline)) { return Op::backward(gv, x, x); }, n, dx, g,
         static_cast<const T*>(in[1]));
  } else {
    static_assert(kSaves == kSavesOut);
    map1([](auto gv, auto y) __attribute__((always_inline)) { return Op::backward(gv, y, y); }, n, dx, g,
         static_cast<const T*>(in[1]));
  }
}
// Reads g, a, b and, if anything saves it, out. `Which` names the gradients wanted: 1 by a, 2 by b, 3 both.
template <class Op, class T, int Which>
void binary_backward_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  constexpr int kLanes = lanes_for<T>();
  constexpr bool kReadsOut = ((Op::kFacts.saves_a | Op::kFacts.saves_b) & kSavesOut) != 0;
  const auto* g = static_cast<const T*>(in[0]);
  const auto* a = static_cast<const T*>(in[1]);
  const auto* b = static_cast<const T*>(in[2]);
  const auto* y = static_cast<const T*>(in[kReadsOut ? 3 : 0]);
  auto* da = static_cast<T*>(out[0]);
  auto* db = static_cast<T*>(out[Which == 3 ? 1 : 0]);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    const auto gv = get<T, kLanes, sizeof(T)>(g + i, count);
    const auto av = get<T, kLanes, sizeof(T)>(a + i, count);
    const auto bv = get<T, kLanes, sizeof(T)>(b + i, count);
    const auto yv = get<T, kLanes, sizeof(T)>(y + i, count);
    if constexpr ((Which & 1) != 0) put<kLanes>(da + i, Op::backward_a(gv, av, bv, yv), count);
    if constexpr ((Which & 2) != 0) put<kLanes>(db + i, Op::backward_b(gv, av, bv, yv), count);
  }
}

// where by element size: no value is looked at.
template <class Unit>
void where_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto m, auto a, auto b) __attribute__((always_inline)) { return select(m, a, b); }, n,
       static_cast<Unit*>(out[0]), static_cast<const bool*>(in[0]), static_cast<const Unit*>(in[1]),
       static_cast<const Unit*>(in[2]));
}
// Anything but zero is true; NaN is.
template <class From>
void truth_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  const auto* from = static_cast<const From*>(in[0]);
  auto* to = static_cast<bool*>(out[0]);
  if constexpr (kIsComplexElement<From>) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i].re != 0 || from[i].im != 0;
  } else {
    map1([](auto x) __attribute__((always_inline)) { return x != like(x, 0.0); }, n, to, from);
  }
}
template <class T>
void clip_loop(const void* const* in, void* const* out, int64_t n) noexcept {
  map1([](auto x, auto low, auto high) __attribute__((always_inline)) { return minimum(maximum(x, low), high); }, n,
       static_cast<T*>(out[0]), static_cast<const T*>(in[0]), static_cast<const T*>(in[1]),
       static_cast<const T*>(in[2]));
}
}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

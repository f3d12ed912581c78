// The phases of a transposed convolution (phases.h): what each is a convolution of. For kernel files (compiled per ISA).
// Read next: phases.h.
#pragma once

#include "ops/conv/winograd.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int64_t kMaxJoinedPhases = 16;

// A phase along one axis: its elements `at`, at + stride, ... meet the taps last, last - every, ... of the kernel, in the order of x.
struct AxisPhase {
  int64_t at, size;
  int64_t taps, last, every;
  int64_t pad, step;  // of the convolution of x
};

[[gnu::noinline]] AxisPhase axis_phase(int64_t at, int64_t size, int64_t kernel, int64_t stride, int64_t pad,
                                       int64_t step) {
  AxisPhase a{at, ceil_div(size - at, stride), 0, 0, 1, 0, 1};
  for (int64_t i = 0; i < kernel; ++i) {
    if ((at + pad - i * step) % stride != 0) continue;
    if (a.taps++ > 0) a.every = i - a.last;
    a.last = i;
  }
  a.pad = -((at + pad - a.last * step) / stride);
  if (a.taps > 1) a.step = a.every * step / stride;
  return a;
}

struct Phase {
  AxisPhase d, h, w;
  Sizes s;          // the convolution of x
  int64_t weights;  // elements of the weights, and of the results, of the phases before
  int64_t results;
};

// At most kMaxJoinedPhases, of the strides for which transposes_by_phases holds.
struct PhaseList {
  int count = 0;
  Phase at[kMaxJoinedPhases];
  explicit PhaseList(const Sizes& s);
  const Phase* begin() const { return at; }
  const Phase* end() const { return at + count; }
};

[[gnu::noinline]] PhaseList::PhaseList(const Sizes& s) {
  int64_t weights = 0;
  int64_t results = 0;
  for (int64_t l = 0; l < least(s.stride_d, s.d); ++l) {
    for (int64_t i = 0; i < least(s.stride_h, s.h); ++i) {
      for (int64_t j = 0; j < least(s.stride_w, s.w); ++j) {
        Phase& p = at[count++];
        p.d = axis_phase(l, s.d, s.kd, s.stride_d, s.pad_d, s.step_d);
        p.h = axis_phase(i, s.h, s.kh, s.stride_h, s.pad_h, s.step_h);
        p.w = axis_phase(j, s.w, s.kw, s.stride_w, s.pad_w, s.step_w);
        p.weights = weights;
        p.results = results;
        Sizes& t = p.s;
        t = s;
        t.c = s.o, t.d = s.od, t.h = s.oh, t.w = s.ow;
        t.o = s.c, t.od = p.d.size, t.oh = p.h.size, t.ow = p.w.size;
        t.kd = p.d.taps, t.kh = p.h.taps, t.kw = p.w.taps;
        t.stride_d = t.stride_h = t.stride_w = 1;
        t.pad_d = p.d.pad, t.pad_h = p.h.pad, t.pad_w = p.w.pad;
        t.step_d = p.d.step, t.step_h = p.h.step, t.step_w = p.w.step;
        t.derive();
        weights += s.c * s.group_o * t.taps;
        results += s.n * s.c * t.pixels;
      }
    }
  }
}

bool are_coprime(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t left = a % b;
    a = b;
    b = left;
  }
  return a == 1;
}

// The filter of a transposed convolution, if there is one and it pays: that of its only phase, or one for all phases of strides of two.
template <class T>
[[gnu::noinline]] Filtered filtered_back(const Sizes& s) {
  if (s.has_unit_strides()) return filtered_of<T>(PhaseList(s).at[0].s);
  Filtered f{Filter::none, s};
  Sizes& t = f.s;
  t.c = s.o, t.d = s.od, t.h = s.oh, t.w = s.ow;
  t.o = s.c, t.od = s.d, t.oh = s.h, t.ow = s.w;
  t.pad_d = (s.kd - 1) * s.step_d - s.pad_d;
  t.pad_h = s.kh - 3 - (s.pad_h - 1) / 2;
  t.pad_w = s.kw - 3 - (s.pad_w - 1) / 2;
  t.derive();
  const bool by_two = s.stride_d == 1 && s.stride_h == 2 && s.stride_w == 2 && s.step_h == 1 && s.step_w == 1 &&
                      s.pad_h % 2 == 1 && s.pad_w % 2 == 1 && s.kh == s.kw && (s.kh == 3 || s.kh == 4);
  if (!kFilters<T> || !by_two || !has_channels_to_filter(t)) return f;
  const Filter filter = s.kh == 4 ? Filter::four_back : Filter::three_back;
  if (pays_filtered<T>({filter, t})) f.filter = filter;
  return f;
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

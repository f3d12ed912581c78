// The transposed convolution as convolutions.
//
// Elements of the result that are `stride` apart along each axis meet the same taps: such a phase is a convolution of x, with stride 1, by those taps in
// reverse. With unit strides there is one phase, which is the result; otherwise phases are made one behind the other and put together in the end. For
// kernel files (compiled per ISA).
// Invariant: sizes are those of the convolution whose gradient this is: x has its windows, the result its images.
// Read next: phase_list.h, bands.h, outputs.h.
#pragma once

#include "ops/conv/outputs.h"
#include "ops/conv/phase_list.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// The weights of a phase, (c, group_o, taps) with the taps in the order of x: input and output channels change places in each group.
template <class S>
[[gnu::noinline]] void lay_weights(const Sizes& s, const Phase& p, const KOperand& weight,
                                   typename Stored<S>::Compute* room) noexcept {
  const int axes = weight.rank - 2;
  const int64_t slice = from_last(weight.strides + 2, axes, 2, 0);
  const int64_t row = from_last(weight.strides + 2, axes, 1, 0);
  const int64_t column = weight.strides[weight.rank - 1];
  constexpr int64_t kOutputs = 16;  // taken in turn: as many streams are read on and on
  const S* from = weight.as<S>() + p.d.last * slice + p.h.last * row + p.w.last * column;
  for (int64_t group = 0; group < s.groups; ++group) {
    for (int64_t begin = 0; begin < s.group_o; begin += kOutputs) {
      const int64_t end = least(s.group_o, begin + kOutputs);
      for (int64_t c = 0; c < s.group_c; ++c) {
        auto* to = room + p.weights + ((group * s.group_c + c) * s.group_o + begin) * p.s.taps;
        for (int64_t o = begin; o < end; ++o) {
          const S* at = from + (group * s.group_o + o) * weight.strides[0] + c * weight.strides[1];
          for (int64_t l = 0; l < p.d.taps; ++l) {
            for (int64_t i = 0; i < p.h.taps; ++i) {
              const S* line = at - l * p.d.every * slice - i * p.h.every * row;
              for (int64_t j = 0; j < p.w.taps; ++j, line -= p.w.every * column) *to++ = Stored<S>::value(*line);
            }
          }
        }
      }
    }
  }
}

// Where phases find their weights, as they were laid, and, those that run by outputs, packed ones and room for copies.
template <class T>
struct PhaseRoom {
  T* weights;
  T* packed;
  T* copies;

  // How a phase runs, and where: the rooms of the next one begin behind. Called with each in turn.
  struct Part {
    bool by_outputs;
    OutputsPlan plan;
    int64_t tasks;
    T* packed;
    T* copies;
  };
  [[gnu::noinline]] Part next(const Phase& p) {
    Part part{runs_by_outputs<T>(p.s), {}, 0, packed, copies};
    if (!part.by_outputs) {
      part.tasks = forward_tasks<T>(p.s);
      return part;
    }
    part.plan = outputs_plan<T>(p.s);
    part.tasks = part.plan.tasks;
    packed += part.plan.packed_elements(p.s);
    copies += part.tasks * part.plan.room_elements(p.s);
    return part;
  }
};

template <class T>
[[gnu::noinline]] PhaseRoom<T> phase_room(Scratch& scratch, const Sizes& s, int64_t weights) {
  int64_t packed = 0;
  int64_t copies = 0;
  for (const Phase& p : PhaseList(s)) {
    if (!runs_by_outputs<T>(p.s)) continue;
    const OutputsPlan plan = outputs_plan<T>(p.s);
    packed += plan.packed_elements(p.s);
    copies += plan.tasks * plan.room_elements(p.s);
  }
  T* const laid = scratch.take<T>(weights);
  T* const panels = scratch.take<T>(packed);
  return {laid, panels, scratch.take<T>(copies)};
}

template <class T>
int64_t phase_tasks(const Sizes& s, PhaseRoom<T> room) {
  int64_t tasks = 0;
  for (const Phase& p : PhaseList(s)) tasks += room.next(p).tasks;
  return tasks;
}

// The weights of one of the phases.
template <class T>
void prepare_phase(const Sizes& s, const KOperand& weight, PhaseRoom<T> room, int64_t task) {
  const PhaseList phases(s);
  for (const Phase& p : phases) {
    const auto part = room.next(p);
    if (&p != phases.begin() + task) continue;
    as_stored<T>(weight.dtype, [&](auto element) { lay_weights<decltype(element)>(s, p, weight, room.weights); });
    if (!part.by_outputs) return;
    for (int64_t i = 0; i < s.groups * part.plan.panels; ++i) {
      pack_outputs<T>(p.s, part.plan, room.weights + p.weights, part.packed, i);
    }
  }
}

template <class T>
void run_phases(const Sizes& s, const Images<T>& x, PhaseRoom<T> room, const T* bias, T* results, int64_t task) {
  for (const Phase& p : PhaseList(s)) {
    const auto part = room.next(p);
    if (task >= part.tasks) {
      task -= part.tasks;
    } else if (part.by_outputs) {
      return run_by_outputs<T>(p.s, part.plan, x, part.packed, bias, results + p.results, part.copies, task);
    } else {
      return run_forward<T>(p.s, x, room.weights + p.weights, bias, results + p.results, task);
    }
  }
}

int64_t join_tasks(const KOperand& out) {
  return out.numel == 0 ? 0 : most(1, least(out.shape[0] * out.shape[1], out.numel / kCopyElements));
}

// Rows of two phases side by side, the one at even places; of as many elements, or one more of the first.
template <class T>
void interleave(const T* even, const T* odd, int64_t size, int64_t odd_size, T* to) {
  using L = Lanes<T>;
  using V = Vec<T, L::kWidth>;
  int64_t i = 0;
  for (; i + L::kWidth <= odd_size; i += L::kWidth) {
    Pairs<T, L::kWidth>{load_raw<V>(even + i), load_raw<V>(odd + i)}.store(to + 2 * i);
  }
  if (i == size) return;
  const auto left = [&](const T* from, int64_t count) __attribute__((always_inline)) {
    return V{L::load_edge(from + i, L::edge(static_cast<int>(count - i)))};
  };
  const Pairs<T, L::kWidth> last{left(even, size), left(odd, odd_size)};
  last.store_first(to + 2 * i, static_cast<int>(size + odd_size - 2 * i));
}

// Puts phases together, and rounds them.
template <class S>
[[gnu::noinline]] void join_phases(const Sizes& s, const typename Stored<S>::Compute* results, const KOperand& out,
                                   int64_t task) noexcept {
  const PhaseList phases(s);
  const int64_t tasks = join_tasks(out);
  const int64_t channels = s.n * s.c;
  const int64_t end = channels * (task + 1) / tasks;
  // Two phases along the width go together where nothing is rounded; they follow one another.
  const bool by_twos = !Stored<S>::kConverts && s.stride_w == 2 && s.w > 1;
  for (int64_t channel = channels * task / tasks; channel < end; ++channel) {
    S* const to = out.as<S>() + channel * s.image;
    for (const Phase* p = phases.begin(); p < phases.end(); p += by_twos ? 2 : 1) {
      const auto* from = results + p->results + channel * p->s.pixels;
      for (int64_t l = 0; l < p->d.size; ++l) {
        for (int64_t i = 0; i < p->h.size; ++i, from += p->w.size) {
          S* line = to + ((p->d.at + l * s.stride_d) * s.h + p->h.at + i * s.stride_h) * s.w + p->w.at;
          if constexpr (!Stored<S>::kConverts) {
            if (by_twos) {
              const Phase& odd = p[1];
              interleave(from, results + odd.results + channel * odd.s.pixels + (l * p->h.size + i) * odd.w.size,
                         p->w.size, odd.w.size, line);
              continue;
            }
          }
          for (int64_t j = 0; j < p->w.size; ++j) line[j * s.stride_w] = Stored<S>::round(from[j]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS

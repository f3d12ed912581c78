// Averages over windows on the CPU: a task is a run of planes, a plane goes row of results by row of results.
//
// A sum over a window is one over its columns of sums down these columns. For a strip of a row, the sums down all columns
// that its windows stand over are made in vectors and laid into a line with zeros around it; windows then add up their
// part of the line, side by side in vectors where the stride is 1 or 2. The gradient goes the same way: an element's is one
// over windows, and rows of windows are summed before each column adds up what the windows over it have. Windows that are
// alone in their row or too wide for a line are summed by themselves, their elements dealt to so many lanes.
// Invariant: tasks and the order of sums depend on shapes alone, not on where operands lie.
#include "kernels/coverage.h"
#include "kernels/pairs.h"
#include "ops/pool/windows.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

constexpr int kLanes = 32;
constexpr int64_t kRoom = 1024;  // places of a line

// Adaptive windows that part their axis evenly are plain ones.
Windows evened(Windows s) {
  for (Axis* axis : {&s.d, &s.h, &s.w}) {
    if (!axis->adaptive || axis->output == 0 || axis->input == 0 || axis->input % axis->output != 0) continue;
    axis->adaptive = false;
    axis->kernel = axis->stride = axis->input / axis->output;
  }
  return s;
}

// The elements [begin, end) of the image under window o along an axis.
struct Span {
  int64_t begin, end;
  GORGO_INLINE Span(const Axis& a, int64_t o) {
    const int64_t first = a.first(o);
    begin = least(a.input, most(0, first));
    end = a.adaptive ? first + a.tap_end(o) : most(begin, least(a.input, first + a.kernel));
  }
  [[nodiscard]] GORGO_INLINE int64_t size() const { return end - begin; }
};

// What sums over windows are divided by.
struct Divisors {
  bool include_padding;
  OptInt given;
  // Each axis has a part in the divisor. A window without an element yields zero, whatever it is divided by.
  GORGO_INLINE int64_t along(const Axis& a, int64_t o) const {
    return given.has ? 1 : most(1, a.divisor(o, include_padding));
  }
  GORGO_INLINE int64_t of_line(const Windows& s, int64_t depth, int64_t i) const {
    return given.has ? given.value : along(s.d, depth) * along(s.h, i);
  }
};

// The most elements along the width under a window.
GORGO_INLINE int64_t widest(const Axis& w) { return w.adaptive ? w.input / w.output + 2 : w.kernel; }

bool goes_alone(const Windows& s) { return s.w.output == 1 || widest(s.w) > kRoom / 2; }

// Windows side by side [from, from + count), and the line with what they stand over: place p of it is column `first + p`.
template <class T>
struct Strip {
  static constexpr int kWidth = Vec<T>::kLanes;
  int64_t from, count;
  int64_t first;
  Span columns;  // of the image
  alignas(64) T divisors[kChunk + kWidth];

  // Windows of a strip: as many as have room in a line.
  static int64_t most_of(const Axis& w) {
    const int64_t fit = w.adaptive ? (kRoom - 2) * w.output / w.input : (kRoom - w.kernel) / w.stride + 1;
    return least(kChunk, most(1, fit));
  }
  Strip(const Axis& w, const Divisors& d, int64_t window)
      : from(window), count(least(most_of(w), w.output - window)), first(w.first(window)), columns(w, window) {
    columns.end = most(columns.begin, Span(w, from + count - 1).end);
    for (int64_t j = 0; j < count + kWidth; ++j) divisors[j] = static_cast<T>(w.kernel);
    // Inside the image, plain windows are alike.
    const bool alike = !w.adaptive && !d.given.has;
    const int64_t begin = alike ? most(0, least(count, w.window_begin(0) - from)) : count;
    const int64_t end = alike ? most(begin, least(count, w.window_end(w.kernel - 1) - from)) : count;
    for (int64_t j = 0; j < begin; ++j) divisors[j] = static_cast<T>(d.along(w, from + j));
    for (int64_t j = end; j < count; ++j) divisors[j] = static_cast<T>(d.along(w, from + j));
  }
};

// Calls body(first place) for vectors that cover n places; the last one then overlaps the one before. Fewer than a vector
// have one that sticks out.
template <class T, class F>
GORGO_GEMM_INLINE void each_vector_of(int64_t n, F&& body) {
  constexpr int kWidth = Vec<T>::kLanes;
  for (int64_t j = 0; j < n; j += kWidth) body(most(0, least(j, n - kWidth)));
}

// ---- forward ----

// The sums down columns of `slices` by `rows` rows, for vectors of columns.
template <class S, int kVectors, class F>
GORGO_GEMM_INLINE void sum_down(const Plane<S>& x, const S* from, int64_t slices, int64_t rows, const int64_t* at,
                                F&& put) {
  using T = typename Stored<S>::Compute;
  Vec<T> sums[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) sums[v] = broadcast<Vec<T>>(T{0});
  for (int64_t z = 0; z < slices; ++z) {
    const S* row = from + z * x.slice;
    for (int64_t p = 0; p < rows; ++p, row += x.row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] + Vec<T>{Stored<S>::load(row + at[v])};
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) put(at[v], sums[v]);
}

// The same for `cols` columns: put(c, sums) gets vectors of them from column c on, which may overlap. Lanes behind the
// last column are zero.
template <class S, class F>
GORGO_GEMM_INLINE void sum_columns(const Plane<S>& x, const S* from, int64_t slices, int64_t rows, int64_t cols,
                                   F&& put) {
  using P = Stored<S>;
  using T = typename P::Compute;
  constexpr int kWidth = Vec<T>::kLanes;
  if (x.col != 1 || cols < kWidth) {
    for (int64_t c = 0; c < cols; c += kWidth) {
      T sums[kWidth] = {};
      for (int64_t k = 0; k < least(kWidth, cols - c); ++k) {
        for (int64_t z = 0; z < slices; ++z) {
          const S* at = from + z * x.slice + (c + k) * x.col;
          for (int64_t p = 0; p < rows; ++p) sums[k] = sums[k] + P::value(at[p * x.row]);
        }
      }
      put(c, load_raw<Vec<T>>(sums));
    }
    return;
  }
  const int64_t last = cols - kWidth;
  for (int64_t c = 0; c < cols; c += 4 * kWidth) {
    const int64_t at[4] = {least(c, last), least(c + kWidth, last), least(c + 2 * kWidth, last),
                           least(c + 3 * kWidth, last)};
    if (cols - c <= kWidth) {
      sum_down<S, 1>(x, from, slices, rows, at, put);
    } else if (cols - c <= 2 * kWidth) {
      sum_down<S, 2>(x, from, slices, rows, at, put);
    } else {
      sum_down<S, 4>(x, from, slices, rows, at, put);
    }
  }
}

// Adds up each window's part of the line; put(j, sums) gets vectors of windows from the strip's window j on.
template <class T, class F>
GORGO_GEMM_INLINE void sum_along(const Axis& w, const Strip<T>& strip, const T* line, F&& put) {
  const int64_t n = strip.count;
  if (!w.adaptive && w.stride == 1) {
    each_vector_of<T>(n, [&](int64_t j) {
      auto sum = load_raw<Vec<T>>(line + j);
      for (int64_t q = 1; q < w.kernel; ++q) sum = sum + load_raw<Vec<T>>(line + j + q);
      put(j, sum);
    });
    return;
  }
  if (!w.adaptive && w.stride == 2) {
    each_vector_of<T>(n, [&](int64_t j) {
      const T* at = line + 2 * j;
      auto sum = broadcast<Vec<T>>(T{0});
      int64_t q = 0;
      for (; q + 2 <= w.kernel; q += 2) {
        const auto pair = Pairs<T>::load(at + q);
        sum = sum + pair.even + pair.odd;
      }
      if (q < w.kernel) sum = sum + Pairs<T>::load(at + q).even;
      put(j, sum);
    });
    return;
  }
  alignas(64) T sums[kChunk + Vec<T>::kLanes];
  const auto window = [&](const T* at, int64_t size) {
    T sum = at[0];
    for (int64_t q = 1; q < size; ++q) sum = sum + at[q];
    return sum;
  };
  if (w.adaptive) {
    for (int64_t j = 0; j < n; ++j) {
      sums[j] = window(line + w.first(strip.from + j) - strip.first, w.tap_end(strip.from + j));
    }
  } else {
    for (int64_t j = 0; j < n; ++j) sums[j] = window(line + j * w.stride, w.kernel);
  }
  for (int64_t j = n; j < Vec<T>::kLanes; ++j) sums[j] = T{0};
  each_vector_of<T>(n, [&](int64_t j) { put(j, load_raw<Vec<T>>(sums + j)); });
}

// Zeros where the line has places outside the image, and behind it.
template <class T>
void clear_around(const Strip<T>& strip, T* line) {
  const int64_t lead = strip.columns.begin - strip.first;
  for (int64_t p = 0; p < least(lead, kRoom); ++p) line[p] = T{0};
  for (int64_t p = lead + strip.columns.size(); p < kRoom + 2 * Vec<T>::kLanes; ++p) line[p] = T{0};
}

// The averages of a strip in all rows of results of a plane.
template <class S>
void avg_strip(const Windows& s, const Divisors& divisors, const Strip<typename Stored<S>::Compute>& strip,
               const Plane<S>& x, typename Stored<S>::Compute* line, S* out) {
  using P = Stored<S>;
  using T = typename P::Compute;
  constexpr int kWidth = Vec<T>::kLanes;
  const int64_t lead = strip.columns.begin - strip.first;
  const auto short_of = static_cast<int>(least(kWidth, strip.count));
  const auto edge = P::L::edge(short_of);
  for (int64_t depth = 0; depth < s.d.output; ++depth) {
    const Span slices(s.d, depth);
    for (int64_t i = 0; i < s.h.output; ++i) {
      const Span rows(s.h, i);
      sum_columns<S>(x, x.at(slices.begin, rows.begin, strip.columns.begin), slices.size(), rows.size(),
                     strip.columns.size(), [&](int64_t c, Vec<T> sums) { store_raw(line + lead + c, sums); });
      S* const to = out + (depth * s.h.output + i) * s.w.output + strip.from;
      const auto of_line = broadcast<Vec<T>>(static_cast<T>(divisors.of_line(s, depth, i)));
      sum_along<T>(s.w, strip, line, [&](int64_t j, Vec<T> sum) {
        const auto average = sum.raw / (of_line * load_raw<Vec<T>>(strip.divisors + j)).raw;
        if (short_of == kWidth) return P::store(to + j, average);
        P::store_edge(to + j, edge, short_of, average);
      });
    }
  }
}

// Parts of a box that lie side by side where the plane is dense: its rows, or more where it is as wide as the plane.
struct Runs {
  int64_t slices, rows, length;
  Runs(const Windows& s, const Span& d, const Span& h, const Span& w)
      : slices(d.size()), rows(h.size()), length(w.size()) {
    if (length != s.w.input) return;
    length *= rows;
    rows = 1;
    if (length != s.w.input * s.h.input) return;
    length *= slices;
    slices = 1;
  }
};

// The lanes of a sum. In each run of elements, element c goes to lane c % kLanes.
template <class S>
struct LaneSums {
  using P = Stored<S>;
  using T = typename P::Compute;
  static constexpr int kWidth = Vec<T>::kLanes;
  static constexpr int kVectors = kLanes / kWidth;
  Vec<T> sums[kVectors];

  GORGO_INLINE LaneSums() {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[v] = broadcast<Vec<T>>(T{0});
  }
  // Elements side by side; edge is that of length % kWidth.
  GORGO_INLINE void add(const S* at, int64_t length, typename P::L::Edge edge) {
    int64_t c = 0;
    for (; c + kLanes <= length; c += kLanes) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] + Vec<T>{P::load(at + c + v * kWidth)};
    }
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v, c += kWidth) {
      if (c + kWidth <= length) {
        sums[v] = sums[v] + Vec<T>{P::load(at + c)};
      } else if (c < length) {
        sums[v] = sums[v] + Vec<T>{P::load_edge(at + c, edge, static_cast<int>(length - c))};
      }
    }
  }
  // Folded into one vector, whose lanes are left to be added: halves by halves.
  [[nodiscard]] GORGO_INLINE Vec<T> fold_vectors() {
#pragma GCC unroll 8
    for (int half = kVectors / 2; half > 0; half /= 2) {
#pragma GCC unroll 16
      for (int v = 0; v < half; ++v) sums[v] = sums[v] + sums[v + half];
    }
    return sums[0];
  }
  [[nodiscard]] GORGO_INLINE T fold() { return P::L::sum(fold_vectors().raw); }
  GORGO_INLINE static typename P::L::Edge edge_of(int64_t length) {
    return P::L::edge(static_cast<int>(length % kWidth));
  }
};

// The averages of `count` dense planes, `step` apart: a function of its own, so that little is between a plane and the next.
// As many planes as a vector has lanes are summed across the lanes together.
template <class S>
[[gnu::noinline]] void average_planes(const S* at, int64_t step, int64_t length, int64_t count,
                                      typename Stored<S>::Compute divisor, S* out) noexcept {
  using T = typename Stored<S>::Compute;
  constexpr int kWidth = Vec<T>::kLanes;
  const auto edge = LaneSums<S>::edge_of(length);
  const auto sum_next = [&]() GORGO_INLINE_LAMBDA {
    LaneSums<S> sums;
    sums.add(at, length, edge);
    at += step;
    return sums;
  };
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    typename Vec<T>::Raw sums[kWidth];
#pragma GCC unroll 8
    for (auto& plane : sums) plane = sum_next().fold_vectors().raw;
    sum_square<T, kWidth>(sums);
    Stored<S>::store(out + i, sums[0] / broadcast<Vec<T>>(divisor).raw);
  }
  for (; i < count; ++i) out[i] = Stored<S>::round(sum_next().fold() / divisor);
}

// The sum over a box; `dense` says that runs lie side by side.
template <class S>
GORGO_INLINE typename Stored<S>::Compute box_sum(const Plane<S>& x, const Runs& runs, bool dense, const Span& d,
                                                 const Span& h, const Span& w) {
  using P = Stored<S>;
  using T = typename P::Compute;
  LaneSums<S> sums;
  const auto edge = LaneSums<S>::edge_of(runs.length);
  for (int64_t z = 0; z < runs.slices; ++z) {
    for (int64_t p = 0; p < runs.rows; ++p) {
      const S* at = x.at(d.begin + z, h.begin + p, w.begin);
      if (dense) {
        sums.add(at, runs.length, edge);
        continue;
      }
      for (int64_t c = 0; c < runs.length; c += kLanes) {
        T lanes[kLanes] = {};
        for (int64_t k = 0; k < least(kLanes, runs.length - c); ++k) {
          const int64_t row = (c + k) / w.size();
          lanes[k] = P::value(at[row / h.size() * x.slice + row % h.size() * x.row + (c + k) % w.size() * x.col]);
        }
#pragma GCC unroll 16
        for (int v = 0; v < LaneSums<S>::kVectors; ++v) {
          sums.sums[v] = sums.sums[v] + load_raw<Vec<T>>(lanes + v * LaneSums<S>::kWidth);
        }
      }
    }
  }
  return sums.fold();
}

// Calls body(d, h, w, divisor, depth, i, j) for the windows of a plane in order.
template <class F>
GORGO_GEMM_INLINE void each_window(const Windows& s, const Divisors& divisors, F&& body) {
  for (int64_t depth = 0; depth < s.d.output; ++depth) {
    const Span d(s.d, depth);
    for (int64_t i = 0; i < s.h.output; ++i) {
      const Span h(s.h, i);
      const int64_t of_line = divisors.of_line(s, depth, i);
      for (int64_t j = 0; j < s.w.output; ++j) {
        body(d, h, Span(s.w, j), of_line * divisors.along(s.w, j), depth, i, j);
      }
    }
  }
}

template <class S>
void avg_run(const KernelArgs& args, int64_t task) noexcept {
  using T = typename Stored<S>::Compute;
  const auto& attrs = args.attrs_as<AvgPoolAttrs>();
  const Windows s = evened(windows_of(args.in[0], args.out[0], attrs));
  const Divisors divisors{attrs.count_include_pad, attrs.divisor_override};
  if (s.outputs() == 0) return;
  if (goes_alone(s)) {
    // The planes of an operand lie alike; what a window covers is asked for once where there is but one.
    const Plane<S> any(args.in[0], axes_of(attrs), 0);
    const bool dense = lies_dense(s, any);
    S* const out = args.out[0].as<S>();
    if (s.outputs() == 1) {
      const Span d(s.d, 0), h(s.h, 0), w(s.w, 0);
      const Runs runs(s, d, h, w);
      const auto divisor = static_cast<T>(divisors.of_line(s, 0, 0) * divisors.along(s.w, 0));
      if (dense && runs.rows * runs.slices == 1 && planes_lie_evenly(args.in[0], axes_of(attrs))) {
        const int64_t begin = planes_of(s, task).begin;
        const Plane<S> first(args.in[0], axes_of(attrs), begin);
        const int64_t step = s.planes > 1 ? Plane<S>(args.in[0], axes_of(attrs), 1).data - any.data : 0;
        average_planes<S>(first.at(d.begin, h.begin, w.begin), step, runs.length, planes_of(s, task).end - begin,
                          divisor, out + begin);
        return;
      }
      each_plane(s, task, [&](int64_t index) {
        const Plane<S> x(args.in[0], axes_of(attrs), index);
        out[index] = Stored<S>::round(box_sum<S>(x, runs, dense, d, h, w) / divisor);
      });
      return;
    }
    each_plane(s, task, [&](int64_t index) {
      const Plane<S> x(args.in[0], axes_of(attrs), index);
      S* to = out + index * s.outputs();
      each_window(s, divisors, [&](const Span& d, const Span& h, const Span& w, int64_t divisor, auto...) {
        *to++ = Stored<S>::round(box_sum<S>(x, Runs(s, d, h, w), dense, d, h, w) / static_cast<T>(divisor));
      });
    });
    return;
  }
  alignas(64) T line[kRoom + 2 * Vec<T>::kLanes];
  for (int64_t from = 0; from < s.w.output; from += Strip<T>::most_of(s.w)) {
    const Strip<T> strip(s.w, divisors, from);
    clear_around(strip, line);
    each_plane(s, task, [&](int64_t index) {
      const Plane<S> x(args.in[0], axes_of(attrs), index);
      avg_strip<S>(s, divisors, strip, x, line, args.out[0].as<S>() + index * s.outputs());
    });
  }
}
int64_t avg_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[0], args.out[0], args.attrs_as<AvgPoolAttrs>()));
}

// ---- the gradient ----

// The windows [begin, end) over an element along an axis of plain windows.
struct Over {
  int64_t begin = 0, end = 0;
  // From what lies over an element before this one; without divisions, which would cost more than a row of sums.
  GORGO_INLINE void move_to(const Axis& a, int64_t element) {
    const int64_t place = element + a.padding;
    while (begin < a.output && begin * a.stride + a.kernel <= place) ++begin;
    while (end < a.output && end * a.stride <= place) ++end;
  }
  [[nodiscard]] GORGO_INLINE int64_t size() const { return end - begin; }
  friend bool operator==(const Over&, const Over&) = default;
};

// Do all these windows have the same part in their divisors?
GORGO_INLINE bool alike(const Divisors& divisors, const Axis& a, const Over& windows) {
  if (divisors.given.has || windows.size() < 2) return true;
  // Windows between two whole ones are whole.
  const int64_t first = divisors.along(a, windows.begin);
  if (first == a.kernel && divisors.along(a, windows.end - 1) == first) return true;
  for (int64_t o = windows.begin + 1; o < windows.end; ++o) {
    if (divisors.along(a, o) != first) return false;
  }
  return true;
}

// Columns side by side [from, from + count) and the windows over them.
template <class T>
struct Columns {
  static constexpr int kWidth = Vec<T>::kLanes;
  static constexpr int64_t kMost = 256;
  static constexpr int64_t kWindows = kMost + kRoom / 2;
  int64_t from, count;
  Over windows;
  alignas(64) T divisors[kWindows + kWidth];

  Columns(const Axis& w, const Divisors& d, int64_t column) : from(column), count(least(kMost, w.input - column)) {
    // From the first window that begins no later than the columns and may reach them.
    const int64_t place = column + w.padding;
    windows.begin = place < w.kernel ? 0 : least(w.output, least(place / w.stride, (place - w.kernel) / w.stride + 1));
    windows.end = most(windows.begin, least(w.output, (place + count - 1) / w.stride + 1));
    for (int64_t j = 0; j < windows.size(); ++j) divisors[j] = static_cast<T>(d.along(w, windows.begin + j));
    for (int64_t j = windows.size(); j < windows.size() + kWidth; ++j) divisors[j] = T{1};
  }
};

// Room for what windows give to each column under them, with zeros before and behind, and for the columns.
template <class T>
struct GradRoom {
  static constexpr int64_t kMargin = kRoom / 2;
  static constexpr int64_t kShares = 2 * kMargin + Columns<T>::kWindows + 2 * Vec<T>::kLanes;
  static constexpr int64_t kLine = Columns<T>::kMost + kRoom / 2 + 2 * Vec<T>::kLanes;
  alignas(64) T all_shares[kShares];
  alignas(64) T line[kLine];
  GORGO_INLINE T* shares() { return all_shares + kMargin; }
  void clear() {
    for (T& share : all_shares) share = T{0};
  }
};

// What rows of windows give to each column: their sums of g, divided.
template <class S>
void share_out(const Windows& s, const Divisors& divisors, const Columns<typename Stored<S>::Compute>& columns,
               const Plane<S>& g, const Over& slices, const Over& rows, typename Stored<S>::Compute* shares) {
  using T = typename Stored<S>::Compute;
  const int64_t n = columns.windows.size();
  const auto share = [&](const Over& d, const Over& h, auto&& put) __attribute__((always_inline)) {
    const auto of_line = broadcast<Vec<T>>(static_cast<T>(divisors.of_line(s, d.begin, h.begin)));
    sum_columns<S>(g, g.at(d.begin, h.begin, columns.windows.begin), d.size(), h.size(), n,
                   [&](int64_t j, Vec<T> sums) {
                     put(j, Vec<T>{sums.raw / (of_line * load_raw<Vec<T>>(columns.divisors + j)).raw});
                   });
  };
  if (alike(divisors, s.d, slices) && alike(divisors, s.h, rows)) {
    return share(slices, rows, [&](int64_t j, Vec<T> sums) { store_raw(shares + j, sums); });
  }
  T part[Columns<T>::kWindows + Vec<T>::kLanes];
  for (int64_t j = 0; j < n; ++j) shares[j] = T{0};
  for (int64_t depth = slices.begin; depth < slices.end; ++depth) {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      share({depth, depth + 1}, {i, i + 1}, [&](int64_t j, Vec<T> sums) { store_raw(part + j, sums); });
      for (int64_t j = 0; j < n; ++j) shares[j] = shares[j] + part[j];
    }
  }
}

// Each column adds up the shares of the windows over it.
template <class S>
void spread_along(const Axis& w, const Columns<typename Stored<S>::Compute>& columns,
                  const typename Stored<S>::Compute* shares, typename Stored<S>::Compute* line, S* out) {
  using P = Stored<S>;
  using T = typename P::Compute;
  constexpr int kWidth = Vec<T>::kLanes;
  const auto short_of = static_cast<int>(least(kWidth, columns.count));
  const auto edge = P::L::edge(short_of);
  const auto put = [&](int64_t c, Vec<T> sum) __attribute__((always_inline)) {
    if (short_of == kWidth) return P::store(out + c, sum.raw);
    P::store_edge(out + c, edge, short_of, sum.raw);
  };
  // Of the first column, from the first window's first element.
  const int64_t place = columns.from + w.padding - columns.windows.begin * w.stride;
  if (w.stride == 1) {
    each_vector_of<T>(columns.count, [&](int64_t c) {
      const T* at = shares + place + c;
      auto sum = load_raw<Vec<T>>(at);
      for (int64_t q = 1; q < w.kernel; ++q) sum = sum + load_raw<Vec<T>>(at - q);
      put(c, sum);
    });
    return;
  }
  const int64_t places = place + columns.count;
  if (w.stride == 2) {
    for (int64_t m = 0; 2 * m < places; m += kWidth) {
      auto even = load_raw<Vec<T>>(shares + m);
      auto odd = w.kernel > 1 ? even : broadcast<Vec<T>>(T{0});
      for (int64_t q = 2; q < w.kernel; q += 2) {
        const auto share = load_raw<Vec<T>>(shares + m - q / 2);
        even = even + share;
        if (q + 1 < w.kernel) odd = odd + share;
      }
      Pairs<T>{even, odd}.store(line + 2 * m);
    }
  } else {
    for (int64_t p = 0; p < places; ++p) line[p] = T{0};
    for (int64_t j = 0; j * w.stride < places; ++j) {
      const T share = shares[j];
      const int64_t end = least(places, j * w.stride + w.kernel);
      for (int64_t p = j * w.stride; p < end; ++p) line[p] = line[p] + share;
    }
  }
  each_vector_of<T>(columns.count, [&](int64_t c) { put(c, load_raw<Vec<T>>(line + place + c)); });
}

template <class S>
void avg_grad_columns(const Windows& s, const Divisors& divisors, const Columns<typename Stored<S>::Compute>& columns,
                      const Plane<S>& g, GradRoom<typename Stored<S>::Compute>& room, S* out) {
  Over slices, slices_before, rows_before;
  const S* before = nullptr;
  for (int64_t z = 0; z < s.d.input; ++z) {
    slices.move_to(s.d, z);
    Over rows;
    for (int64_t y = 0; y < s.h.input; ++y) {
      rows.move_to(s.h, y);
      S* const to = out + (z * s.h.input + y) * s.w.input + columns.from;
      if (before != nullptr && slices == slices_before && rows == rows_before) {
        __builtin_memcpy(to, before, static_cast<size_t>(columns.count) * sizeof(S));
        continue;
      }
      share_out<S>(s, divisors, columns, g, slices, rows, room.shares());
      spread_along<S>(s.w, columns, room.shares(), room.line, to);
      before = to;
      slices_before = slices;
      rows_before = rows;
    }
  }
}

// Windows one after the other: each gives its share to the elements of its box.
template <class S>
void avg_grad_alone(const Windows& s, const Divisors& divisors, const Plane<S>& g, typename Stored<S>::Compute* sums) {
  using T = typename Stored<S>::Compute;
  each_window(s, divisors,
              [&](const Span& d, const Span& h, const Span& w, int64_t divisor, int64_t depth, int64_t i, int64_t j) {
                const T share = Stored<S>::value(*g.at(depth, i, j)) / static_cast<T>(divisor);
                const Runs runs(s, d, h, w);
                for (int64_t z = 0; z < runs.slices; ++z) {
                  for (int64_t p = 0; p < runs.rows; ++p) {
                    T* at = sums + ((d.begin + z) * s.h.input + h.begin + p) * s.w.input + w.begin;
                    for (int64_t c = 0; c < runs.length; ++c) at[c] = at[c] + share;
                  }
                }
              });
}

bool gathers(const Windows& s) {
  const bool adaptive = s.d.adaptive || s.h.adaptive || s.w.adaptive;
  return s.outputs() > 0 && !adaptive && !goes_alone(s) && s.w.stride <= kRoom / 2;
}

template <class S>
void avg_grad_run(const KernelArgs& args, int64_t task) noexcept {
  using T = typename Stored<S>::Compute;
  const auto& attrs = args.attrs_as<AvgPoolAttrs>();
  const Windows s = evened(windows_of(args.out[0], args.in[0], attrs));
  const Divisors divisors{attrs.count_include_pad, attrs.divisor_override};
  if (!gathers(s)) {
    each_plane(s, task, [&](int64_t index) {
      PlaneSums<S> plane(args.out[0].as<S>() + index * s.inputs(), args.scratch, task, s.inputs());
      avg_grad_alone<S>(s, divisors, Plane<S>(args.in[0], axes_of(attrs), index), plane.sums());
      plane.store();
    });
    return;
  }
  GradRoom<T> room;
  for (int64_t from = 0; from < s.w.input; from += Columns<T>::kMost) {
    const Columns<T> columns(s.w, divisors, from);
    room.clear();
    each_plane(s, task, [&](int64_t index) {
      avg_grad_columns<S>(s, divisors, columns, Plane<S>(args.in[0], axes_of(attrs), index), room,
                          args.out[0].as<S>() + index * s.inputs());
    });
  }
}
int64_t avg_grad_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.out[0], args.in[0], args.attrs_as<AvgPoolAttrs>()));
}
template <class S>
size_t avg_grad_scratch(const KernelArgs& args) noexcept {
  const Windows s = windows_of(args.out[0], args.in[0], args.attrs_as<AvgPoolAttrs>());
  return gathers(evened(s)) ? 0 : sums_bytes<S>(s);
}

template <class S>
void add_avg_pool(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  for (const char* op : {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
                         "adaptive_avg_pool3d"}) {
    sink.add(op, dtype, Kernel::of({avg_run<S>, avg_tasks}));
  }
  sink.add("avg_pool_grad", dtype, with_scratch({avg_grad_run<S>, avg_grad_tasks}, avg_grad_scratch<S>));
}

}  // namespace

void fill_pool_avg(KernelSink& sink) {
  add_avg_pool<float>(sink);
  add_avg_pool<double>(sink);
  add_avg_pool<Float16>(sink);
  add_avg_pool<BFloat16>(sink);
}

#else  // inherited
void fill_pool_avg(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

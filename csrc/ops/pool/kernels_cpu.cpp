// Maxima over windows on the CPU: a task is a run of planes, a plane goes row by row.
//
// Inputs may lie anywhere; outputs are dense. Windows of 2 x 2 side by side, which most networks have, go a row at a
// time in vectors; other plain windows tap by tap along a row, in loops without branches that the compiler turns into
// vectors; adaptive ones window by window.
// Invariant: tasks and the order of sums depend on shapes alone.
#include "kernels/coverage.h"
#include "kernels/epilogue.h"
#include "kernels/pairs.h"
#include "ops/pool/windows.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// How an element is compared; integers, too, have maxima.
template <class S, bool kIsInteger = std::is_integral_v<S>>
struct Element : Stored<S> {
  GORGO_GEMM_INLINE typename Stored<S>::Compute lowest() {
    return -std::numeric_limits<typename Stored<S>::Compute>::infinity();
  }
};
template <class S>
struct Element<S, true> {
  using Compute = S;
  GORGO_GEMM_INLINE S value(S x) { return x; }
  GORGO_GEMM_INLINE S round(S x) { return x; }
  GORGO_GEMM_INLINE S lowest() { return std::numeric_limits<S>::lowest(); }
};

bool is_two_by_two(const Windows& s) {
  const auto plain = [](const Axis& a) {
    return a.kernel == 2 && a.stride == 2 && a.padding == 0 && a.step == 1 && 2 * a.output <= a.input;
  };
  return !s.adaptive && s.d.input == 1 && s.d.output == 1 && s.d.kernel == 1 && plain(s.h) && plain(s.w);
}

template <class T>
GORGO_GEMM_INLINE bool beats(T value, T best) {
  // Both are asked, since a branch on data costs more. NOLINTNEXTLINE(misc-redundant-expression): NaN wins
  return static_cast<bool>(static_cast<int>(value > best) | static_cast<int>(value != value));
}
template <class T>
GORGO_GEMM_INLINE T winner(T best, T value) {
  return beats(value, best) ? value : best;
}

template <class T, int N>
GORGO_INLINE auto lanes_beat(Vec<T, N> value, Vec<T, N> best) {
  return (value > best) | (value != value);  // NOLINT(misc-redundant-expression): NaN wins
}
template <class T, int N>
GORGO_INLINE Vec<T, N> winner(Vec<T, N> best, Vec<T, N> value) {
  return select(lanes_beat(value, best), value, best);
}
// Calls body(lanes, first result) for the vectors of a row of n results, the last of which overlaps the one before; short rows
// go by vectors of fewer lanes. False where none fits.
template <class S, int kLanes = Vec<S>::kLanes, class F>
GORGO_GEMM_INLINE bool by_vectors(int64_t n, F&& body) {
  if (n >= kLanes) {
    for (int64_t j = 0; j < n; j += kLanes) body(std::integral_constant<int, kLanes>{}, least(j, n - kLanes));
    return true;
  }
  if constexpr (kLanes * sizeof(S) > 16) return by_vectors<S, kLanes / 2>(n, body);
  return false;
}

template <class S>
void max_plane_two_by_two(const Windows& s, const Plane<S>& x, S* out) {
  using P = Element<S>;
  for (int64_t i = 0; i < s.h.output; ++i, out += s.w.output) {
    const S* upper = x.data + 2 * i * x.row;
    const S* lower = upper + x.row;
    if constexpr (std::is_same_v<S, float> || std::is_same_v<S, double>) {
      const bool done = by_vectors<S>(s.w.output, [&](auto lanes, int64_t j) {
        using Two = Pairs<S, lanes()>;
        const auto a = Two::load(upper + 2 * j), b = Two::load(lower + 2 * j);
        store_raw(out + j, winner(winner(a.even, a.odd), winner(b.even, b.odd)));
      });
      if (done) continue;
    }
    for (int64_t j = 0; j < s.w.output; ++j) {
      const auto a = winner(P::value(upper[2 * j]), P::value(upper[2 * j + 1]));
      const auto b = winner(P::value(lower[2 * j]), P::value(lower[2 * j + 1]));
      out[j] = P::round(winner(a, b));
    }
  }
}

// Calls body(j, element j) for n elements that lie `step` apart; the usual steps get loops of their own.
template <class S, class F>
GORGO_GEMM_INLINE void along(const S* at, int64_t step, int64_t n, F&& body) {
  if (step == 1) {
    for (int64_t j = 0; j < n; ++j) body(j, Element<S>::value(at[j]));
  } else if (step == 2) {
    for (int64_t j = 0; j < n; ++j) body(j, Element<S>::value(at[2 * j]));
  } else {
    for (int64_t j = 0; j < n; ++j) body(j, Element<S>::value(at[j * step]));
  }
}

// Maxima of dense rows in vectors: the rows of a window first, a column at a time, then along the row that this gives.
// False where a window is too wide for it.
constexpr int64_t kMostRows = 32;
constexpr int64_t kSpan = 1024;
template <class S>
bool max_plane_by_rows(const Windows& s, const Plane<S>& x, S* out) {
  using V = Vec<S>;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t reach = (s.w.kernel - 1) * s.w.step;  // from a window's first column to its last
  if (s.d.kernel > kMostRows || s.h.kernel > kMostRows || s.d.kernel * s.h.kernel > kMostRows || reach > kSpan / 2 ||
      s.w.stride > kSpan / 4 || s.w.kernel > 2 * s.w.input) {
    return false;
  }
  const S lowest = Element<S>::lowest();
  const int64_t at_once = (kSpan - reach - 1) / s.w.stride + 1;
  alignas(64) S columns[kSpan + 2 * kLanes];  // vectors may read beyond what is asked of them
  const int64_t used = least(kSpan, (s.w.output - 1) * s.w.stride + reach + 1) + 2 * kLanes;
  for (int64_t c = 0; c < used; ++c) columns[c] = lowest;
  for (int64_t line = 0; line < s.d.output * s.h.output; ++line, out += s.w.output) {
    const int64_t depth = line / s.h.output;
    const int64_t i = line % s.h.output;
    const S* rows[kMostRows];
    int count = 0;
    for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
      for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
        rows[count++] = x.at(s.d.first(depth) + z * s.d.step, s.h.first(i) + p * s.h.step, 0);
      }
    }
    for (int64_t from = 0; from < s.w.output; from += at_once) {
      const int64_t n = least(at_once, s.w.output - from);
      const int64_t first = s.w.first(from);
      const int64_t end = first + (n - 1) * s.w.stride + reach + 1;
      const int64_t begin = count > 0 ? most(first, 0) : end;
      const int64_t stop = most(begin, least(end, s.w.input));
      for (int64_t c = first; c < begin; ++c) columns[c - first] = lowest;
      for (int64_t c = stop; c < end; ++c) columns[c - first] = lowest;
      const auto maxima = [&](int64_t c, const auto& load) GORGO_INLINE_LAMBDA {
        V v = load(rows[0] + c);
        for (int r = 1; r < count; ++r) v = winner(v, load(rows[r] + c));
        return v;
      };
      int64_t c = begin;
      for (; c + kLanes <= stop; c += kLanes) {
        store_raw(columns + (c - first), maxima(c, [](const S* at) GORGO_INLINE_LAMBDA { return load_raw<V>(at); }));
      }
      if (c < stop) {
        const auto left = static_cast<int>(stop - c);
        const V v = maxima(c, [&](const S* at) GORGO_INLINE_LAMBDA {
          return gorgo::GORGO_ISA_NS::load_partial<S, V::kLanes>(at, left);
        });
        gorgo::GORGO_ISA_NS::store_partial(columns + (c - first), v, left);
      }
      const auto along_row = [&](const auto& tap) GORGO_INLINE_LAMBDA {
        for (int64_t j = 0; j < n; j += kLanes) {
          V v = tap(j, 0);
          for (int64_t q = 1; q < s.w.kernel; ++q) v = winner(v, tap(j, q));
          if (n - j >= kLanes) {
            store_raw(out + from + j, v);
          } else {
            gorgo::GORGO_ISA_NS::store_partial(out + from + j, v, static_cast<int>(n - j));
          }
        }
      };
      if (s.w.stride == 1) {
        along_row([&](int64_t j, int64_t q) GORGO_INLINE_LAMBDA { return load_raw<V>(columns + j + q * s.w.step); });
      } else if (s.w.stride == 2) {
        along_row([&](int64_t j, int64_t q)
                      GORGO_INLINE_LAMBDA { return Pairs<S>::load(columns + 2 * j + q * s.w.step).even; });
      } else {
        for (int64_t j = 0; j < n; ++j) {
          const S* window = columns + j * s.w.stride;
          S best = window[0];
          for (int64_t q = 1; q < s.w.kernel; ++q) best = winner(best, window[q * s.w.step]);
          out[from + j] = best;
        }
      }
    }
  }
  return true;
}

template <class S>
void max_plane(const Windows& s, const Plane<S>& x, S* out) {
  using P = Element<S>;
  using T = typename P::Compute;
  if constexpr (std::is_same_v<S, float> || std::is_same_v<S, double>) {
    // A part of a vector pays where stores have masks.
    constexpr int64_t kLeast = kVectorBytes == 64 ? Vec<S>::kLanes / 4 : Vec<S>::kLanes;
    if (x.col == 1 && s.w.output >= kLeast && max_plane_by_rows<S>(s, x, out)) return;
  }
  T best[kChunk];
  for (int64_t line = 0; line < s.d.output * s.h.output; ++line, out += s.w.output) {
    const int64_t depth = line / s.h.output;
    const int64_t i = line % s.h.output;
    for (int64_t from = 0; from < s.w.output; from += s.w.chunk()) {
      const int64_t to = least(s.w.output, from + s.w.chunk());
      for (int64_t j = 0; j < to - from; ++j) best[j] = P::lowest();
      for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
        for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
          const S* row = x.at(s.d.first(depth) + z * s.d.step, s.h.first(i) + p * s.h.step, 0);
          for (int64_t q = s.w.tap_begin(to - 1); q < s.w.tap_end(from); ++q) {
            const int64_t begin = most(from, s.w.window_begin(q));
            const int64_t end = least(to, s.w.window_end(q));
            if (begin >= end) continue;
            const S* at = row + (s.w.first(begin) + q * s.w.step) * x.col;
            const int64_t step = s.w.stride * x.col;
            T* chunk = best + (begin - from);
            along<S>(at, step, end - begin, [&](int64_t j, T value) { chunk[j] = winner(chunk[j], value); });
          }
        }
      }
      for (int64_t j = from; j < to; ++j) out[j] = P::round(best[j - from]);
    }
  }
}

// The winner of a window: where it lies in its plane if that were dense, or -1 when the window has no element of the
// image.
template <class S>
int64_t find_winner(const Windows& s, const Plane<S>& x, int64_t depth, int64_t i, int64_t j) {
  using T = typename Element<S>::Compute;
  int64_t at = -1;
  T best{};
  const int64_t col = s.w.first(j) + s.w.tap_begin(j) * s.w.step;
  const int64_t cols = s.w.tap_end(j) - s.w.tap_begin(j);
  for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
    const int64_t slice = s.d.first(depth) + z * s.d.step;
    for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
      const int64_t row = s.h.first(i) + p * s.h.step;
      const int64_t flat = (slice * s.h.input + row) * s.w.input + col;
      const S* from = x.at(slice, row, col);
      for (int64_t q = 0; q < cols; ++q) {
        const T value = Element<S>::value(from[q * s.w.step * x.col]);
        const bool better = at < 0 || beats(value, best);
        at = better ? flat + q * s.w.step : at;
        best = better ? value : best;
      }
    }
  }
  return at;
}

// The winners of a row of plain windows, found for a chunk of them together: which tap of its window each one is.
constexpr int64_t kMostTaps = 128;
template <class S>
using Tap = std::conditional_t<sizeof(S) == 8, int64_t, int32_t>;

// The first tap in the image stands until another one beats it: that of a window along the width, or -1 where there is none,
// and the first of the line of taps above it.
template <class S>
Tap<S> first_along(const Axis& w, int64_t j) {
  const int64_t tap = w.tap_begin(j);
  return tap >= w.tap_end(j) ? Tap<S>{-1} : static_cast<Tap<S>>(tap);
}
template <class S>
Tap<S> first_line(const Windows& s, int64_t depth, int64_t i) {
  const int64_t z = s.d.tap_begin(depth), p = s.h.tap_begin(i);
  if (z >= s.d.tap_end(depth) || p >= s.h.tap_end(i)) return -1;
  return static_cast<Tap<S>>((z * s.h.kernel + p) * s.w.kernel);
}

// Finds them in vectors where rows are dense and windows one or two columns apart. The rows under some rows of windows are
// laid into lines with the lowest values around them, which beat nothing, before any of them is read: to read what was
// just stored in other pieces takes long.
template <class S>
class TapFinder {
 public:
  using V = Vec<S>;
  using W = Vec<Tap<S>, V::kLanes>;
  static constexpr int64_t kLanes = V::kLanes;
  TapFinder(const Windows& s, const Plane<S>& any) : s_(s), first_(s.w.first(0)) {
    const int64_t reach = (s.w.kernel - 1) * s.w.step;
    const int64_t span = (s.w.output - 1) * s.w.stride + reach + 1;
    const bool plain = !s.adaptive && any.col == 1 && s.w.stride <= 2 && s.outputs() > 0;
    if (!plain || s.w.output > kChunk || reach > kSpan) return;
    pitch_ = (span + 4 * kLanes - 1) / kLanes * kLanes;  // vectors read beyond the last window
    const int64_t reach_down = (s.h.kernel - 1) * s.h.step + 1;
    const int64_t rows = kRoom / pitch_ / s.d.kernel;
    if (rows < reach_down) return;
    block_ = least(s.h.output, (rows - reach_down) / s.h.stride + 1);
    rows_ = (block_ - 1) * s.h.stride + reach_down;
    begin_ = most(first_, 0);
    end_ = most(begin_, least(s.w.input, first_ + span));
    for (int64_t c = 0; c < s.d.kernel * rows_ * pitch_; c += kLanes) {
      store_raw(lines_ + c, broadcast<V>(Element<S>::lowest()));
    }
    for (int64_t j = 0; j < s.w.output; ++j) firsts_[j] = first_along<S>(s.w, j);
  }
  // Rows of windows that are laid down together; 0 where this is not the way.
  [[nodiscard]] int64_t block() const { return block_; }
  void lay(const Plane<S>& x, int64_t depth, int64_t i, int64_t end) {
    top_ = s_.h.first(i);
    const int64_t bottom = least(s_.h.input, top_ + (end - i - 1) * s_.h.stride + (s_.h.kernel - 1) * s_.h.step + 1);
    for (int64_t z = s_.d.tap_begin(depth); z < s_.d.tap_end(depth); ++z) {
      for (int64_t row = most(0, top_); row < bottom; ++row) {
        lay_row(x.at(s_.d.first(depth) + z * s_.d.step, row, begin_), line(z, row) + (begin_ - first_));
      }
    }
  }
  void run(int64_t depth, int64_t i, Tap<S>* taps) {
    const Tap<S> above = first_line<S>(s_, depth, i);
    const auto none = broadcast<W>(Tap<S>{-1});
    for (int64_t j = 0; j < s_.w.output; j += kLanes) {
      const auto first = load_raw<W>(firsts_ + j);
      const auto start = above < 0 ? none : select(first == none, none, first + broadcast<W>(above));
      if (s_.w.stride == 1) {
        beat(depth, i, j, start, taps, [](const S* at) GORGO_INLINE_LAMBDA { return load_raw<V>(at); });
      } else {
        beat(depth, i, j, start, taps, [](const S* at) GORGO_INLINE_LAMBDA { return Pairs<S>::load(at).even; });
      }
    }
  }

 private:
  static constexpr int64_t kRoom = 32 * 1024 / sizeof(S);
  [[nodiscard]] S* line(int64_t z, int64_t row) { return lines_ + (z * rows_ + row - top_) * pitch_; }
  void lay_row(const S* from, S* to) {
    const int64_t n = end_ - begin_;
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes) store_raw(to + c, load_raw<V>(from + c));
    if (c == n) return;
    const auto left = static_cast<int>(n - c);
    gorgo::GORGO_ISA_NS::store_partial(to + c, gorgo::GORGO_ISA_NS::load_partial<S, V::kLanes>(from + c, left), left);
  }
  template <class F>
  GORGO_INLINE void beat(int64_t depth, int64_t i, int64_t j, W which, Tap<S>* taps, F&& load) {
    V best = broadcast<V>(Element<S>::lowest());
    for (int64_t z = s_.d.tap_begin(depth); z < s_.d.tap_end(depth); ++z) {
      for (int64_t p = s_.h.tap_begin(i); p < s_.h.tap_end(i); ++p) {
        const S* at = line(z, s_.h.first(i) + p * s_.h.step) + j * s_.w.stride;
        const auto tap = static_cast<Tap<S>>((z * s_.h.kernel + p) * s_.w.kernel);
        for (int64_t q = 0; q < s_.w.kernel; ++q) {
          const V value = load(at + q * s_.w.step);
          const auto better = lanes_beat(value, best);
          which = select(better, broadcast<W>(static_cast<Tap<S>>(tap + q)), which);
          best = select(better, value, best);
        }
      }
    }
    store_raw(taps + j, which);
  }

  const Windows& s_;
  int64_t first_, top_ = 0;      // column and row of the image that lines begin with
  int64_t begin_ = 0, end_ = 0;  // columns of the image under the windows
  int64_t pitch_ = 0, rows_ = 0, block_ = 0;
  alignas(64) S lines_[kRoom];
  alignas(64) Tap<S> firsts_[kChunk + kLanes] = {};
};

// Other types than float32 and float64 go without.
template <class S>
struct NoFinder {
  NoFinder(const Windows&, const Plane<S>&) {}
  [[nodiscard]] static int64_t block() { return 0; }
  void lay(const Plane<S>&, int64_t, int64_t, int64_t) {}
  void run(int64_t, int64_t, Tap<S>*) {}
};
template <class S>
constexpr bool kHasFinder = std::is_same_v<S, float> || std::is_same_v<S, double>;

template <class S>
void find_taps(const Windows& s, const Plane<S>& x, int64_t depth, int64_t i, int64_t from, int64_t to, Tap<S>* taps) {
  using P = Element<S>;
  using T = typename P::Compute;
  T best[kChunk];
  const Tap<S> line = first_line<S>(s, depth, i);
  for (int64_t j = from; j < to; ++j) {
    best[j - from] = P::lowest();
    const Tap<S> first = first_along<S>(s.w, j);
    taps[j - from] = line < 0 || first < 0 ? Tap<S>{-1} : static_cast<Tap<S>>(line + first);
  }
  for (int64_t z = s.d.tap_begin(depth); z < s.d.tap_end(depth); ++z) {
    for (int64_t p = s.h.tap_begin(i); p < s.h.tap_end(i); ++p) {
      const S* row = x.at(s.d.first(depth) + z * s.d.step, s.h.first(i) + p * s.h.step, 0);
      for (int64_t q = 0; q < s.w.kernel; ++q) {
        const int64_t begin = most(from, s.w.window_begin(q));
        const int64_t end = least(to, s.w.window_end(q));
        if (begin >= end) continue;
        const auto tap = static_cast<Tap<S>>((z * s.h.kernel + p) * s.w.kernel + q);
        T* const top = best + (begin - from);
        Tap<S>* const which = taps + (begin - from);
        const S* at = row + (s.w.first(begin) + q * s.w.step) * x.col;
        along<S>(at, s.w.stride * x.col, end - begin, [&](int64_t j, T value) {
          const bool better = beats(value, top[j]);
          which[j] = better ? tap : which[j];
          top[j] = better ? value : top[j];
        });
      }
    }
  }
}

// Runs body(depth, i, j, winner) over the windows of planes in order; the planes of an operand lie alike.
template <class S>
class Winners {
 public:
  Winners(const Windows& s, const Plane<S>& any) : s_(s), finder_(s, any) {
    const bool few = s.d.kernel <= kMostTaps && s.h.kernel <= kMostTaps && s.w.kernel <= kMostTaps;
    const int64_t taps = few ? s.d.kernel * s.h.kernel * s.w.kernel : kMostTaps + 1;
    by_taps_ = !s.adaptive && taps <= kMostTaps;
    if (!by_taps_) return;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t z = t / (s.h.kernel * s.w.kernel), p = t / s.w.kernel % s.h.kernel, q = t % s.w.kernel;
      places_[t] = (z * s.d.step * s.h.input + p * s.h.step) * s.w.input + q * s.w.step;
    }
  }
  template <class F>
  GORGO_INLINE void each(const Plane<S>& x, F&& body) {
    const Windows& s = s_;
    for (int64_t depth = 0; depth < s.d.output; ++depth) {
      if (!by_taps_) {
        for (int64_t i = 0; i < s.h.output; ++i) {
          for (int64_t j = 0; j < s.w.output; ++j) body(depth, i, j, find_winner<S>(s, x, depth, i, j));
        }
        continue;
      }
      const int64_t block = finder_.block();
      if (block > 0) {
        for (int64_t i = 0; i < s.h.output; ++i) {
          if (i % block == 0) finder_.lay(x, depth, i, least(s.h.output, i + block));
          finder_.run(depth, i, found_);
          pass_on(depth, i, 0, s.w.output, body);
        }
        continue;
      }
      for (int64_t i = 0; i < s.h.output; ++i) {
        for (int64_t from = 0; from < s.w.output; from += kChunk) {
          const int64_t to = least(s.w.output, from + kChunk);
          find_taps<S>(s, x, depth, i, from, to, found_);
          pass_on(depth, i, from, to, body);
        }
      }
    }
  }

 private:
  template <class F>
  GORGO_INLINE void pass_on(int64_t depth, int64_t i, int64_t from, int64_t to, F&& body) const {
    const int64_t line = (s_.d.first(depth) * s_.h.input + s_.h.first(i)) * s_.w.input;
    for (int64_t j = from; j < to; ++j) {
      const auto tap = found_[j - from];
      body(depth, i, j, tap < 0 ? -1 : line + s_.w.first(j) + places_[tap]);
    }
  }

  const Windows& s_;
  bool by_taps_ = false;
  int64_t places_[kMostTaps];  // of the taps, from the window's first element
  alignas(64) Tap<S> found_[kChunk + kVectorBytes / 4];
  std::conditional_t<kHasFinder<S>, TapFinder<S>, NoFinder<S>> finder_;
};

// The element of a plane at a place counted as if the plane were dense, as it often is.
template <class S>
class Places {
 public:
  Places(const Windows& s, const Plane<S>& x)
      : x_(x), slice_(s.h.input * s.w.input), row_(s.w.input), dense_(lies_dense(s, x)) {}
  [[nodiscard]] GORGO_INLINE S at(int64_t flat) const {
    if (dense_) return x_.data[flat];
    return *x_.at(flat / slice_, flat % slice_ / row_, flat % row_);
  }

 private:
  const Plane<S>& x_;
  int64_t slice_, row_;
  bool dense_;
};

template <class S>
void max_run(const KernelArgs& args, int64_t task) noexcept {
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const Windows s = windows_of(args.in[0], args.out[0], attrs);
  int64_t* const indices = args.out_count > 1 ? args.out[1].as<int64_t>() : nullptr;
  if (indices != nullptr || s.adaptive) {
    Winners<S> winners(s, Plane<S>(args.in[0], axes_of(attrs), 0));
    each_plane(s, task, [&](int64_t index) {
      const Plane<S> x(args.in[0], axes_of(attrs), index);
      S* out = args.out[0].as<S>() + index * s.outputs();
      int64_t* at = indices != nullptr ? indices + index * s.outputs() : nullptr;
      const Places<S> places(s, x);
      winners.each(x, [&](int64_t, int64_t, int64_t, int64_t winner) {
        *out++ = winner < 0 ? Element<S>::round(Element<S>::lowest()) : places.at(winner);
        if (at != nullptr) *at++ = winner;
      });
    });
    return;
  }
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> x(args.in[0], axes_of(attrs), index);
    S* out = args.out[0].as<S>() + index * s.outputs();
    if (x.col == 1 && is_two_by_two(s)) {
      max_plane_two_by_two<S>(s, x, out);
    } else {
      max_plane<S>(s, x, out);
    }
  });
}
int64_t max_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[0], args.out[0], args.attrs_as<MaxPoolAttrs>()));
}

template <class S>
void max_grad_two_by_two(const Windows& s, const Plane<S>& g, const Plane<S>& x, S* out) {
  using P = Element<S>;
  using T = typename P::Compute;
  const int64_t width = s.w.input;
  const bool repeats = g.col == 0;  // the gradient of a sum
  for (int64_t i = 0; i < s.h.output; ++i) {
    const S* upper = x.data + 2 * i * x.row;
    const S* lower = upper + x.row;
    const S* from = g.data + i * g.row;
    S* to_upper = out + 2 * i * width;
    S* to_lower = to_upper + width;
    for (int64_t j = 2 * s.w.output; j < width; ++j) to_upper[j] = to_lower[j] = S{};
    if constexpr (std::is_same_v<S, float> || std::is_same_v<S, double>) {
      const bool done = by_vectors<S>(s.w.output, [&](auto lanes, int64_t j) {
        using Two = Pairs<S, lanes()>;
        const auto one = Two::load(upper + 2 * j), two = Two::load(lower + 2 * j);
        const auto right = lanes_beat(one.odd, one.even);
        const auto first = select(right, one.odd, one.even);
        const auto third = lanes_beat(two.even, first);
        const auto fourth = lanes_beat(two.odd, select(third, two.even, first));
        const auto value = repeats ? broadcast<typename Two::V>(*from) : load_raw<typename Two::V>(from + j);
        const auto none = broadcast<typename Two::V>(S{});
        const auto up = ~(third | fourth);
        Two{select(up & ~right, value, none), select(up & right, value, none)}.store(to_upper + 2 * j);
        Two{select(third & ~fourth, value, none), select(fourth, value, none)}.store(to_lower + 2 * j);
      });
      if (done) continue;
    }
    for (int64_t j = 0; j < s.w.output; ++j) {
      const T a = P::value(upper[2 * j]);
      const T b = P::value(upper[2 * j + 1]);
      const T c = P::value(lower[2 * j]);
      const T d = P::value(lower[2 * j + 1]);
      const bool right = beats(b, a);
      const T first = right ? b : a;
      const bool third = beats(c, first);
      const T second = third ? c : first;
      const bool fourth = beats(d, second);
      const S value = from[j * g.col];
      const S none{};
      to_upper[2 * j] = !right && !third && !fourth ? value : none;
      to_upper[2 * j + 1] = right && !third && !fourth ? value : none;
      to_lower[2 * j] = third && !fourth ? value : none;
      to_lower[2 * j + 1] = fourth ? value : none;
    }
  }
  for (int64_t i = 2 * s.h.output * width; i < s.h.input * width; ++i) out[i] = S{};
}

template <class S>
void max_grad_run(const KernelArgs& args, int64_t task) noexcept {
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const Windows s = windows_of(args.in[1], args.in[0], attrs);
  const Plane<S> any(args.in[1], axes_of(attrs), 0);
  const int64_t step = args.in[0].strides[args.in[0].rank - 1];
  if (any.col == 1 && (step == 1 || step == 0) && is_two_by_two(s)) {
    each_plane(s, task, [&](int64_t index) {
      max_grad_two_by_two<S>(s, Plane<S>(args.in[0], axes_of(attrs), index),
                             Plane<S>(args.in[1], axes_of(attrs), index), args.out[0].as<S>() + index * s.inputs());
    });
    return;
  }
  Winners<S> winners(s, any);
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> g(args.in[0], axes_of(attrs), index);
    const Plane<S> x(args.in[1], axes_of(attrs), index);
    S* out = args.out[0].as<S>() + index * s.inputs();
    PlaneSums<S> plane(out, args.scratch, task, s.inputs());
    auto* sums = plane.sums();
    winners.each(x, [&](int64_t depth, int64_t i, int64_t j, int64_t winner) {
      if (winner >= 0) sums[winner] = sums[winner] + Stored<S>::value(*g.at(depth, i, j));
    });
    plane.store();
  });
}
int64_t max_grad_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[1], args.in[0], args.attrs_as<MaxPoolAttrs>()));
}
template <class S>
size_t max_grad_scratch(const KernelArgs& args) noexcept {
  return sums_bytes<S>(windows_of(args.in[1], args.in[0], args.attrs_as<MaxPoolAttrs>()));
}

template <class S>
void max_gather_run(const KernelArgs& args, int64_t task) noexcept {
  const auto& attrs = args.attrs_as<MaxPoolAttrs>();
  const Windows s = windows_of(args.in[1], args.out[0], attrs);
  Winners<S> winners(s, Plane<S>(args.in[1], axes_of(attrs), 0));
  each_plane(s, task, [&](int64_t index) {
    const Plane<S> v(args.in[0], axes_of(attrs), index);
    const Plane<S> x(args.in[1], axes_of(attrs), index);
    S* out = args.out[0].as<S>() + index * s.outputs();
    const Places<S> places(s, v);
    winners.each(x, [&](int64_t, int64_t, int64_t, int64_t winner) { *out++ = winner < 0 ? S{} : places.at(winner); });
  });
}
int64_t max_gather_tasks(const KernelArgs& args) noexcept {
  return tasks_of(windows_of(args.in[1], args.out[0], args.attrs_as<MaxPoolAttrs>()));
}

template <class S>
void add_forward(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  for (const char* op : {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
                         "adaptive_max_pool3d"}) {
    sink.add(op, dtype, Kernel::of({max_run<S>, max_tasks}));
  }
}

template <class S>
void add_max_pool(KernelSink& sink) {
  constexpr DType dtype = kDTypeOf<S>;
  add_forward<S>(sink);
  const Kernel grad = with_scratch({max_grad_run<S>, max_grad_tasks}, max_grad_scratch<S>);
  sink.add("max_pool_grad", dtype, grad);
  add_with_epilogues<S>(sink, grad, nullptr, "max_pool_grad_relu_backward");
  sink.add("max_pool_gather", dtype, Kernel::of({max_gather_run<S>, max_gather_tasks}));
}

}  // namespace

void fill_pool_avg(KernelSink& sink);
void fill_pool_columns(KernelSink& sink);

void fill_pool(KernelSink& sink) {
  add_max_pool<float>(sink);
  add_max_pool<double>(sink);
  add_max_pool<Float16>(sink);
  add_max_pool<BFloat16>(sink);
#ifdef GORGO_WITH_RARE_KERNELS
  add_forward<int8_t>(sink);
  add_forward<uint8_t>(sink);
  add_forward<int16_t>(sink);
  add_forward<int32_t>(sink);
  add_forward<int64_t>(sink);
#endif
  fill_pool_avg(sink);
  fill_pool_columns(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

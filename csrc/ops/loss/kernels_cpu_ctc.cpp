// Connectionist temporal classification: the loss, its gradient, and the gradient's product with a direction.
//
// Compiled once per ISA. A case's target l of length L becomes states s in [0, 2 L]: blanks at the even ones, labels between.
// alpha[t][s] is the logarithm of the weight of all beginnings that stand in s at time t, emission included; b[t][s] that of all
// ends from there, emission left out. Their sum over the total, exp(alpha + b + loss), is the chance of standing in s at t, and
// minus the chances of a class's states is the gradient by its log-probability. The second derivative along a direction runs
// the same recursions with a tangent beside each value.
// Invariant: everything is in double and in log space; a case is worked on by one task alone, so threads change nothing.
// Source: Graves et al., "Connectionist temporal classification", ICML 2006.
// Read next: ctc.cpp.
#include "kernels/coverage.h"
#include "ops/loss/targets.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

constexpr int kLanes = kVectorBytes / 8;
using V = Vec<double, kLanes>;
constexpr double kNever = -std::numeric_limits<double>::infinity();
// Two states in front of a row and what the last vector reads beyond its end can never be stood in.
constexpr int64_t kFront = 2;
constexpr int64_t kRowExtra = 16;
static_assert(kFront + 1 + (kLanes - 1) + 2 <= kRowExtra);
constexpr int64_t kMaxSlots = 16;  // tasks that own a table of alphas each, where the targets are padded

// Operands: log-probabilities (t, n, c), targets (n, s) or (sum of lengths), input lengths (n), target lengths (n).
struct Case {
  int64_t n = 0;
  int64_t times = 0;
  int64_t labels = 0;
  int64_t first_label = 0;  // position of its targets in row-major order
  int64_t labels_before = 0;
  bool valid = true;
};

GORGO_INLINE bool is_padded(const KernelArgs& args) { return args.in[1].rank == 2; }

GORGO_INLINE Case case_of(const KernelArgs& args, int64_t n) {
  Case c;
  c.n = n;
  c.times = target_at(args.in[2], n);
  c.labels = target_at(args.in[3], n);
  const int64_t room = is_padded(args) ? args.in[1].shape[1] : args.in[1].numel;
  if (is_padded(args)) {
    c.first_label = n * room;
  } else {
    for (int64_t i = 0; i < n; ++i) c.labels_before += target_at(args.in[3], i);
    c.first_label = c.labels_before;
  }
  if (c.times < 0 || c.times > args.in[0].shape[0]) {
    args.fault->report(n, static_cast<int32_t>(CtcFault::InputLength), c.times, args.in[0].shape[0]);
    c.valid = false;
  } else if (c.labels < 0 || c.labels_before < 0 || c.labels_before + c.labels > room) {
    args.fault->report(n, static_cast<int32_t>(CtcFault::TargetLength), c.labels, room - c.labels_before);
    c.valid = false;
  }
  return c;
}

// How many doubles a task has, and where they begin.
GORGO_INLINE int64_t row_length(int64_t labels) { return 2 * labels + kRowExtra; }
GORGO_INLINE int64_t cases(const KernelArgs& args) { return args.in[0].shape[1]; }
GORGO_INLINE int64_t slots(const KernelArgs& args) {
  const int64_t n = cases(args);
  return is_padded(args) && n > kMaxSlots ? kMaxSlots : n;
}
GORGO_INLINE size_t table_bytes(const KernelArgs& args, int64_t rows) {
  const int64_t columns =
      is_padded(args) ? slots(args) * row_length(args.in[1].shape[1]) : 2 * args.in[1].numel + kRowExtra * cases(args);
  return static_cast<size_t>(rows * columns) * sizeof(double);
}
GORGO_INLINE double* table_of(const KernelArgs& args, double* tables, const Case& c, int64_t slot, int64_t rows) {
  const int64_t before =
      is_padded(args) ? slot * row_length(args.in[1].shape[1]) : 2 * c.labels_before + kRowExtra * c.n;
  return tables + rows * before;
}

template <bool kTangent>
struct Number {
  V value;
  V tangent;
};
// A row of numbers; tangents lie `apart` further on.
template <bool kTangent>
struct Row {
  double* values;
  int64_t apart;
  [[nodiscard]] GORGO_INLINE Number<kTangent> at(int64_t s) const {
    Number<kTangent> x;
    x.value = load<double, kLanes>(values + s);
    if constexpr (kTangent) x.tangent = load<double, kLanes>(values + apart + s);
    return x;
  }
  GORGO_INLINE void put(int64_t s, const Number<kTangent>& x) const {
    store(values + s, x.value);
    if constexpr (kTangent) store(values + apart + s, x.tangent);
  }
  GORGO_INLINE void fill(int64_t length) const {
    for (int64_t i = -kFront; i < length - kFront; ++i) {
      values[i] = kNever;
      if constexpr (kTangent) values[apart + i] = 0.0;
    }
  }
};

// log(exp(x) + exp(y) + exp(z)) and its tangent.
template <bool kTangent>
GORGO_INLINE Number<kTangent> log_sum(const Number<kTangent>& x, const Number<kTangent>& y, const Number<kTangent>& z) {
  const V top = maximum(maximum(x.value, y.value), z.value);
  const V zero = broadcast<V>(0.0);
  const V from = select(top == broadcast<V>(kNever), zero, top);
  const V ex = exp(x.value - from);
  const V ey = exp(y.value - from);
  const V ez = exp(z.value - from);
  const V sum = ex + ey + ez;
  Number<kTangent> out;
  out.value = from + log(sum);
  if constexpr (kTangent) {
    const V slope = (ex * x.tangent + ey * y.tangent + ez * z.tangent) / sum;
    out.tangent = select(sum == zero, zero, slope);
  }
  return out;
}
template <bool kTangent>
GORGO_INLINE Number<kTangent> sum_of(const Number<kTangent>& x, const Number<kTangent>& y) {
  Number<kTangent> out;
  out.value = x.value + y.value;
  if constexpr (kTangent) out.tangent = x.tangent + y.tangent;
  return out;
}
template <bool kTangent>
GORGO_INLINE Number<kTangent> where_open(const Number<kTangent>& x, const double* open) {
  Number<kTangent> out = x;
  out.value = x.value + load<double, kLanes>(open);
  return out;
}

struct Total {
  double loss = 0.0;
  double tangent = 0.0;
};

// One case's states and recursions. Rows of the table: labels, open, emission, then alphas or what the caller keeps there.
template <class S, bool kTangent>
struct Machine {
  using R = Row<kTangent>;
  const KernelArgs& args;
  const Case& c;
  int64_t states;
  int64_t length;  // of a row
  int64_t apart;   // from values to tangents
  double* table;
  int64_t* label;  // class of each state
  double* open;    // 0 where a state may be entered past the blank before it, else -inf
  int64_t*
      link;  // at a label: the next state of its class, 0 for none; at the blank before it: was the class there before?
  R emission;
  const S* x;
  const S* direction;  // null without tangents

  static constexpr int64_t kFixedRows = 4;
  static int64_t rows(int64_t kept) { return kFixedRows + (kTangent ? 2 : 1) * kept + (kTangent ? 1 : 0); }

  // `kept` rows of numbers follow the fixed ones.
  GORGO_INLINE Machine(const KernelArgs& call, const Case& which, double* memory, int64_t kept)
      : args(call), c(which), states(2 * which.labels + 1), length(row_length(which.labels)), table(memory) {
    apart = (kept + 1) * length;
    label = reinterpret_cast<int64_t*>(table) + kFront;
    open = table + length + kFront;
    link = reinterpret_cast<int64_t*>(table + 2 * length) + kFront;
    emission = {table + 3 * length + kFront, apart};
    x = args.in[0].as<const S>();
    direction = kTangent ? args.in[5].as<const S>() : nullptr;
    const int64_t classes = args.in[0].shape[2];
    const int64_t blank = args.attrs_as<CtcAttrs>().blank;
    for (int64_t s = -kFront; s < length - kFront; ++s) {
      label[s] = blank;
      open[s] = kNever;
    }
    for (int64_t i = 0; i < c.labels; ++i) {
      int64_t k = target_at(args.in[1], c.first_label + i);
      if (k < 0 || k >= classes) {
        args.fault->report(c.first_label + i, static_cast<int32_t>(CtcFault::Target), k, classes);
        k = blank;
      }
      label[2 * i + 1] = k;
      if (i > 0 && k != label[2 * i - 1]) open[2 * i + 1] = 0.0;
    }
    emission.fill(length);
  }
  [[nodiscard]] GORGO_INLINE R row(int64_t i) const { return {table + (kFixedRows + i) * length + kFront, apart}; }

  // Chains the states of each class; states of the blank's class hang on no chain.
  void link_classes() const noexcept {
    for (int64_t s = 1; s < states; s += 2) {
      link[s] = 0;
      link[s - 1] = label[s] == label[0] ? 1 : 0;
    }
    for (int64_t s = 1; s < states; s += 2) {
      if (label[s] == label[0]) continue;
      for (int64_t r = s + 2; r < states && link[s] == 0; r += 2) {
        if (label[r] != label[s]) continue;
        link[s] = r;
        link[r - 1] = 1;
      }
    }
  }

  GORGO_INLINE void emit(int64_t t) const {
    const KOperand& p = args.in[0];
    const S* from = x + t * p.strides[0] + c.n * p.strides[1];
    for (int64_t s = 0; s < states; ++s) {
      emission.values[s] = static_cast<double>(static_cast<ComputeType<S>>(from[label[s] * p.strides[2]]));
    }
    if constexpr (kTangent) {
      const KOperand& h = args.in[5];
      const S* along = direction + t * h.strides[0] + c.n * h.strides[1];
      for (int64_t s = 0; s < states; ++s) {
        emission.values[apart + s] = static_cast<double>(static_cast<ComputeType<S>>(along[label[s] * h.strides[2]]));
      }
    }
  }
  GORGO_INLINE void first_alpha(const R& to) const {
    to.fill(length);
    for (int64_t s = 0; s < 2 && s < states; ++s) {
      to.values[s] = emission.values[s];
      if constexpr (kTangent) to.values[apart + s] = emission.values[apart + s];
    }
  }
  GORGO_INLINE void next_alpha(const R& from, const R& to) const {
    to.fill(kFront);
    for (int64_t s = 0; s < states; s += kLanes) {
      const auto ways = log_sum(from.at(s), from.at(s - 1), where_open(from.at(s - 2), open + s));
      to.put(s, sum_of(ways, emission.at(s)));
    }
  }
  // What stands at the end: minus the logarithm of the weight of all paths.
  [[nodiscard]] GORGO_INLINE Total total(const R& last) const {
    Number<kTangent> none;
    none.value = broadcast<V>(kNever);
    none.tangent = broadcast<V>(0.0);
    Number<kTangent> a = none;
    Number<kTangent> b = none;
    a.value = broadcast<V>(last.values[states - 1]);
    if (states > 1) b.value = broadcast<V>(last.values[states - 2]);
    if constexpr (kTangent) {
      a.tangent = broadcast<V>(last.values[apart + states - 1]);
      if (states > 1) b.tangent = broadcast<V>(last.values[apart + states - 2]);
    }
    const auto sum = log_sum(a, b, none);
    Total out;
    out.loss = -sum.value.raw[0];
    if constexpr (kTangent) out.tangent = -sum.tangent.raw[0];
    return out;
  }
};

// Without any time there is the empty path only.
GORGO_INLINE double loss_without_times(const Case& c) { return c.labels == 0 ? 0.0 : -kNever; }

GORGO_INLINE double length_of(const Case& c) { return static_cast<double>(c.labels < 1 ? 1 : c.labels); }

template <class S>
struct CtcForward {
  static constexpr int64_t kKept = 2;
  using M = Machine<S, false>;

  static LossReduction how(const KernelArgs& args) noexcept { return args.attrs_as<CtcAttrs>().how(); }
  static int64_t tasks(const KernelArgs& args) noexcept { return slots(args); }
  static int64_t merge_tasks(const KernelArgs&) noexcept { return 1; }
  static size_t scratch_bytes(const KernelArgs& args) noexcept {
    return table_bytes(args, M::rows(kKept)) + static_cast<size_t>(cases(args)) * sizeof(double);
  }
  static double* losses(const KernelArgs& args) noexcept {
    return reinterpret_cast<double*>(static_cast<unsigned char*>(args.scratch) + table_bytes(args, M::rows(kKept)));
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    for (int64_t n = task; n < cases(args); n += slots(args)) {
      const Case c = case_of(args, n);
      double loss = 0.0;
      if (c.valid && c.times == 0) {
        loss = loss_without_times(c);
      } else if (c.valid) {
        const M m(args, c, table_of(args, static_cast<double*>(args.scratch), c, task, M::rows(kKept)), kKept);
        m.row(1).fill(m.length);
        m.emit(0);
        m.first_alpha(m.row(0));
        for (int64_t t = 1; t < c.times; ++t) {
          m.emit(t);
          m.next_alpha(m.row((t + 1) % 2), m.row(t % 2));
        }
        loss = m.total(m.row((c.times + 1) % 2)).loss;
      }
      if (args.attrs_as<CtcAttrs>().zero_infinity && loss == -kNever) loss = 0.0;
      losses(args)[n] = loss;
    }
  }
  static void merge(const KernelArgs& args, int64_t) noexcept {
    const int64_t count = cases(args);
    S* out = args.out[0].as<S>();
    double sum = 0.0;
    for (int64_t n = 0; n < count; ++n) {
      const double loss = losses(args)[n];
      if (how(args) == LossReduction::None) {
        out[n] = static_cast<S>(static_cast<ComputeType<S>>(loss));
      } else if (how(args) == LossReduction::Sum) {
        sum += loss;
      } else {
        const int64_t labels = target_at(args.in[3], n);
        sum += loss / static_cast<double>(labels < 1 ? 1 : labels);
      }
    }
    if (how(args) == LossReduction::None) return;
    if (how(args) == LossReduction::Mean) sum /= static_cast<double>(count);
    *out = static_cast<S>(static_cast<ComputeType<S>>(sum));
  }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}, {merge, merge_tasks}, scratch_bytes); }
};

// Operand 4 is g; with tangents operand 5 is the direction, and the result the gradient's change along it.
template <class S, bool kTangent>
struct CtcGradient {
  using M = Machine<S, kTangent>;

  static int64_t kept(const KernelArgs& args) noexcept { return args.in[0].shape[0] + 2; }
  static int64_t rows(const KernelArgs& args) noexcept { return M::rows(kept(args)); }
  static int64_t tasks(const KernelArgs& args) noexcept { return args.out[0].numel == 0 ? 0 : slots(args); }
  static size_t scratch_bytes(const KernelArgs& args) noexcept { return table_bytes(args, rows(args)); }

  static double share(const KernelArgs& args, const Case& c) noexcept {
    const auto how = args.attrs_as<CtcAttrs>().how();
    const KOperand& g = args.in[4];
    const S* p = g.as<const S>();
    if (how == LossReduction::None) return static_cast<double>(static_cast<ComputeType<S>>(p[c.n * g.strides[0]]));
    const auto arrived = static_cast<double>(static_cast<ComputeType<S>>(*p));
    return how == LossReduction::Sum ? arrived : arrived / (static_cast<double>(cases(args)) * length_of(c));
  }
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const int64_t all_times = args.in[0].shape[0];
    const int64_t classes = args.in[0].shape[2];
    S* out = args.out[0].as<S>();
    for (int64_t n = task; n < cases(args); n += slots(args)) {
      for (int64_t t = 0; t < all_times; ++t) {
        __builtin_memset(static_cast<void*>(out + (t * cases(args) + n) * classes), 0,
                         static_cast<size_t>(classes) * sizeof(S));
      }
      const Case c = case_of(args, n);
      if (c.valid && c.times > 0) case_gradient(args, c, task);
    }
  }
  static void case_gradient(const KernelArgs& args, const Case& c, int64_t task) noexcept {
    const M m(args, c, table_of(args, static_cast<double*>(args.scratch), c, task, rows(args)), kept(args));
    m.emit(0);
    m.first_alpha(m.row(0));
    for (int64_t t = 1; t < c.times; ++t) {
      m.emit(t);
      m.next_alpha(m.row(t - 1), m.row(t));
    }
    const Total total = m.total(m.row(c.times - 1));
    if (args.attrs_as<CtcAttrs>().zero_infinity && total.loss == -kNever) return;
    m.link_classes();
    const double w = share(args, c);
    const int64_t classes = args.in[0].shape[2];
    // later[s]: b at the next time, emission included; ends[s]: b now.
    const auto later = m.row(args.in[0].shape[0]);
    const auto ends = m.row(args.in[0].shape[0] + 1);
    later.fill(m.length);
    ends.fill(m.length);
    for (int64_t t = c.times - 1; t >= 0; --t) {
      if (t == c.times - 1) {
        for (int64_t s = m.states < 2 ? 0 : m.states - 2; s < m.states; ++s) ends.values[s] = 0.0;
      } else {
        for (int64_t s = 0; s < m.states; s += kLanes) {
          ends.put(s, log_sum(later.at(s), later.at(s + 1), where_open(later.at(s + 2), m.open + s + 2)));
        }
      }
      m.emit(t);
      const auto alpha = m.row(t);
      for (int64_t s = 0; s < m.states; s += kLanes) {
        const auto b = ends.at(s);
        later.put(s, sum_of(b, m.emission.at(s)));
        // The chances of this vector's states; what lies beyond the last state is not read again.
        const auto a = alpha.at(s);
        V chance = exp(a.value + b.value + broadcast<V>(total.loss));
        if constexpr (kTangent) {
          chance = select(chance == broadcast<V>(0.0), broadcast<V>(0.0),
                          chance * (a.tangent + b.tangent + broadcast<V>(total.tangent)));
        }
        store(ends.values + s, chance);
      }
      // Classes gather their states in double, in the order of the states, before they are rounded.
      S* line = args.out[0].as<S>() + (t * cases(args) + c.n) * classes;
      gather_chances(m, ends.values, w, line);
    }
  }
  // Each class's sum is made at its first state.
  static void gather_chances(const M& m, const double* chance, double w, S* line) noexcept {
    double blank = 0.0;
    for (int64_t s = 0; s < m.states; s += 2) blank += chance[s];
    for (int64_t s = 1; s < m.states; s += 2) {
      if (m.label[s] == m.label[0]) blank += chance[s];
      if (m.link[s - 1] != 0) continue;
      double sum = chance[s];
      for (int64_t r = m.link[s]; r != 0; r = m.link[r]) sum += chance[r];
      line[m.label[s]] = static_cast<S>(static_cast<ComputeType<S>>(-w * sum));
    }
    line[m.label[0]] = static_cast<S>(static_cast<ComputeType<S>>(-w * blank));
  }
  static Kernel kernel() noexcept { return {{{run, tasks}}, 1, scratch_bytes}; }
};

template <class S>
void fill_ctc_of(KernelSink& sink) {
  sink.add("ctc_loss", kDTypeOf<S>, CtcForward<S>::kernel());
  sink.add("ctc_loss_backward", kDTypeOf<S>, CtcGradient<S, false>::kernel());
  sink.add("ctc_loss_curvature", kDTypeOf<S>, CtcGradient<S, true>::kernel());
}

}  // namespace

void fill_ctc(KernelSink& sink);
void fill_ctc(KernelSink& sink) {
  fill_ctc_of<float>(sink);
  fill_ctc_of<double>(sink);
  fill_ctc_of<BFloat16>(sink);
  fill_ctc_of<Float16>(sink);
}

#else  // inherited
void fill_ctc(KernelSink& sink);
void fill_ctc(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

#pragma GCC diagnostic pop

// CUDA kernels of connectionist temporal classification: the loss, its gradient, and the gradient's product with a direction.
//
// The recursions and their names are those of kernels_cpu_ctc.cpp: states s in [0, 2 L], blanks at the even ones; alpha[t][s]
// with the emission included, b[t][s] without it. A block works on one case, its threads on the states of one time; times
// follow each other.
// Invariant: everything is in double and in log space; sums are made in the order of the states or over a fixed tree.
// Source: Graves et al., "Connectionist temporal classification", ICML 2006.
// Read next: ctc.cpp.
#include "ops/loss/partials.cuh"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kRowExtra = 2;   // a row has 2 L + 1 states
constexpr int64_t kFixedRows = 2;  // classes and links of the states

GORGO_DEVICE double never() { return -__longlong_as_double(0x7ff0000000000000LL); }

struct Integers {
  const void* data;
  int64_t stride;
  int64_t second;  // of the last axis of two
  DType dtype;

  explicit Integers(const KOperand& x) noexcept
      : data(x.data), stride(x.rank > 0 ? x.strides[0] : 0), second(x.rank > 1 ? x.strides[1] : 0), dtype(x.dtype) {}
  GORGO_DEVICE int64_t at(int64_t i, int64_t j = 0) const {
    const int64_t v = read_integer(data, dtype, i * stride + j * second);
    return dtype == DType::UInt64 && v < 0 ? INT64_MAX : v;
  }
};

template <class S>
struct Scores {
  const S* data = nullptr;
  int64_t stride[3] = {};

  Scores() = default;
  explicit Scores(const KOperand& x) noexcept : data(x.as<const S>()) {
    for (int i = 0; i < 3; ++i) stride[i] = x.strides[i];
  }
  GORGO_DEVICE double at(int64_t t, int64_t n, int64_t c) const {
    return static_cast<double>(static_cast<ComputeType<S>>(data[t * stride[0] + n * stride[1] + c * stride[2]]));
  }
};

template <class S>
struct Problem {
  Scores<S> scores;
  Scores<S> direction;
  Integers targets;
  Integers input_lengths;
  Integers target_lengths;
  int64_t times;
  int64_t cases;
  int64_t classes;
  int64_t room;  // labels of a case, or of all together
  int64_t blank;
  int64_t rows;  // of a case's table
  bool padded;
  bool zero_infinity;
  double* tables;
  DeviceFault* fault;

  Problem(const KernelArgs& args, int64_t table_rows) noexcept
      : scores(args.in[0]),
        targets(args.in[1]),
        input_lengths(args.in[2]),
        target_lengths(args.in[3]),
        times(args.in[0].shape[0]),
        cases(args.in[0].shape[1]),
        classes(args.in[0].shape[2]),
        padded(args.in[1].rank == 2),
        tables(static_cast<double*>(args.scratch)),
        fault(fault_of(args)) {
    const auto& a = args.attrs_as<CtcAttrs>();
    room = padded ? args.in[1].shape[1] : args.in[1].numel;
    blank = a.blank;
    zero_infinity = a.zero_infinity;
    rows = table_rows;
  }
};

// Doubles of all tables.
int64_t table_size(const KernelArgs& args, int64_t rows) noexcept {
  return rows * (2 * args.in[1].numel + kRowExtra * args.in[0].shape[1]);
}

struct Case {
  int64_t n;
  int64_t times;
  int64_t labels;
  int64_t first_label;  // position of its targets in row-major order
  bool valid;
  double* table;
  int64_t length;  // of a row of the table
};

// All threads of a block take part.
template <class S>
GORGO_DEVICE Case case_of(const Problem<S>& p, int64_t n) {
  __shared__ int64_t before;
  if (threadIdx.x < 32) {
    int64_t own = 0;
    if (!p.padded) {
      for (int64_t i = threadIdx.x; i < n; i += 32) {
        own = static_cast<int64_t>(static_cast<uint64_t>(own) + static_cast<uint64_t>(p.target_lengths.at(i)));
      }
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
      own = static_cast<int64_t>(static_cast<uint64_t>(own) +
                                 static_cast<uint64_t>(__shfl_xor_sync(0xffffffffu, own, d)));
    }
    if (threadIdx.x == 0) before = own;
  }
  __syncthreads();
  const int64_t labels_before = before;
  __syncthreads();
  Case c;
  c.n = n;
  c.times = p.input_lengths.at(n);
  c.labels = p.target_lengths.at(n);
  c.valid = true;
  if (c.times < 0 || c.times > p.times) {
    if (threadIdx.x == 0) {
      report_fault(p.fault, n, static_cast<int32_t>(CtcFault::InputLength), c.times, p.times);
    }
    c.valid = false;
  } else if (c.labels < 0 || labels_before < 0 || labels_before > p.room || c.labels > p.room - labels_before) {
    if (threadIdx.x == 0) {
      report_fault(p.fault, n, static_cast<int32_t>(CtcFault::TargetLength), c.labels, p.room - labels_before);
    }
    c.valid = false;
  }
  c.first_label = p.padded ? n * p.room : labels_before;
  c.length = 2 * c.labels + kRowExtra;
  c.table = p.tables;
  if (c.valid) c.table += p.rows * (2 * c.first_label + kRowExtra * n);
  return c;
}

template <bool kTangent>
struct Number {
  double value;
  double tangent;
};

// log(exp(x) + exp(y) + exp(z)) and its tangent.
template <bool kTangent>
GORGO_DEVICE Number<kTangent> log_sum(const Number<kTangent>& x, const Number<kTangent>& y, const Number<kTangent>& z) {
  double top = x.value;
  top = y.value > top || y.value != y.value ? y.value : top;
  top = z.value > top || z.value != z.value ? z.value : top;
  const double from = top == never() ? 0.0 : top;
  const double ex = exp(x.value - from);
  const double ey = exp(y.value - from);
  const double ez = exp(z.value - from);
  const double sum = ex + ey + ez;
  Number<kTangent> out;
  out.value = from + log(sum);
  out.tangent = 0.0;
  if constexpr (kTangent) {
    if (sum != 0.0) out.tangent = (ex * x.tangent + ey * y.tangent + ez * z.tangent) / sum;
  }
  return out;
}

template <class S, bool kTangent>
struct Machine {
  using N = Number<kTangent>;
  const Problem<S>& p;
  const Case& c;
  int64_t states;
  int64_t* label;  // class of each state
  int64_t*
      link;  // at a label: the next state of its class, 0 for none; at the blank before it: was the class there before?

  GORGO_DEVICE Machine(const Problem<S>& problem, const Case& which)
      : p(problem),
        c(which),
        states(2 * which.labels + 1),
        label(reinterpret_cast<int64_t*>(which.table)),
        link(reinterpret_cast<int64_t*>(which.table) + which.length) {
    for (int64_t s = threadIdx.x; s < states; s += kThreads) {
      int64_t k = p.blank;
      if (s % 2 == 1) {
        const int64_t i = s / 2;
        k = p.padded ? p.targets.at(c.n, i) : p.targets.at(c.first_label + i);
        if (k < 0 || k >= p.classes) {
          report_fault(p.fault, c.first_label + i, static_cast<int32_t>(CtcFault::Target), k, p.classes);
          k = p.blank;
        }
      }
      label[s] = k;
    }
    __syncthreads();
  }
  // Numbers of row `i`; with tangents two rows of memory each.
  [[nodiscard]] GORGO_DEVICE double* row(int64_t i) const {
    return c.table + (kFixedRows + (kTangent ? 2 : 1) * i) * c.length;
  }
  GORGO_DEVICE N get(const double* row, int64_t s) const { return {row[s], kTangent ? row[c.length + s] : 0.0}; }
  GORGO_DEVICE void put(double* row, int64_t s, const N& x) const {
    row[s] = x.value;
    if constexpr (kTangent) row[c.length + s] = x.tangent;
  }
  GORGO_DEVICE static N none() { return {never(), 0.0}; }
  // Whether a state may be entered past the blank before it.
  [[nodiscard]] GORGO_DEVICE bool open(int64_t s) const {
    return s % 2 == 1 && s >= 3 && s < states && label[s] != label[s - 2];
  }
  [[nodiscard]] GORGO_DEVICE N emission(int64_t t, int64_t s) const {
    return {p.scores.at(t, c.n, label[s]), kTangent ? p.direction.at(t, c.n, label[s]) : 0.0};
  }
  GORGO_DEVICE static N sum_of(const N& x, const N& y) { return {x.value + y.value, x.tangent + y.tangent}; }

  GORGO_DEVICE void first_alpha(double* to) const {
    for (int64_t s = threadIdx.x; s < states; s += kThreads) put(to, s, s < 2 ? emission(0, s) : none());
    __syncthreads();
  }
  GORGO_DEVICE void next_alpha(int64_t t, const double* from, double* to) const {
    for (int64_t s = threadIdx.x; s < states; s += kThreads) {
      const N ways =
          log_sum<kTangent>(get(from, s), s >= 1 ? get(from, s - 1) : none(), open(s) ? get(from, s - 2) : none());
      put(to, s, sum_of(ways, emission(t, s)));
    }
    __syncthreads();
  }
  // What stands at the end: minus the logarithm of the weight of all paths.
  [[nodiscard]] GORGO_DEVICE N total(const double* last) const {
    const N sum = log_sum<kTangent>(get(last, states - 1), states > 1 ? get(last, states - 2) : none(), none());
    return {-sum.value, -sum.tangent};
  }
  // Chains the states of each class; states of the blank's class hang on no chain.
  GORGO_DEVICE void link_classes() const {
    for (int64_t s = 1 + 2 * int64_t{threadIdx.x}; s < states; s += 2 * kThreads) {
      link[s] = 0;
      link[s - 1] = label[s] == p.blank ? 1 : 0;
    }
    __syncthreads();
    for (int64_t s = 1 + 2 * int64_t{threadIdx.x}; s < states; s += 2 * kThreads) {
      if (label[s] == p.blank) continue;
      for (int64_t r = s + 2; r < states; r += 2) {
        if (label[r] != label[s]) continue;
        link[s] = r;
        link[r - 1] = 1;
        break;
      }
    }
    __syncthreads();
  }
};

GORGO_DEVICE double at_least_one(int64_t labels) { return static_cast<double>(labels < 1 ? 1 : labels); }

// ---- the loss ----
template <class S>
__global__ void __launch_bounds__(kThreads, 4)
    ctc_forward(const __grid_constant__ Problem<S> p, double* __restrict__ losses) {
  for (int64_t n = blockIdx.x; n < p.cases; n += gridDim.x) {
    const Case c = case_of(p, n);
    double loss = 0.0;
    if (c.valid && c.times == 0) {
      loss = c.labels == 0 ? 0.0 : -never();  // there is the empty path only
    } else if (c.valid) {
      const Machine<S, false> m(p, c);
      m.first_alpha(m.row(0));
      for (int64_t t = 1; t < c.times; ++t) m.next_alpha(t, m.row((t + 1) % 2), m.row(t % 2));
      loss = m.total(m.row((c.times + 1) % 2)).value;
    }
    if (p.zero_infinity && loss == -never()) loss = 0.0;
    __syncthreads();
    if (threadIdx.x == 0) losses[n] = loss;
  }
}

// One block.
template <class S>
__global__ void __launch_bounds__(kMergers) ctc_merge(const double* __restrict__ losses, const Integers target_lengths,
                                                      int64_t cases, LossReduction how, S* __restrict__ out) {
  using C = ComputeType<S>;
  __shared__ LossPartial shared[kMergers / 32];
  LossPartial own{0.0, 0.0};
  for (int64_t n = threadIdx.x; n < cases; n += kMergers) {
    const double loss = losses[n];
    if (how == LossReduction::None) {
      out[n] = static_cast<S>(static_cast<C>(loss));
    } else {
      own.sum += how == LossReduction::Sum ? loss : loss / at_least_one(target_lengths.at(n));
    }
  }
  if (how == LossReduction::None) return;
  double sum = block_total<kMergers>(own, shared).sum;
  if (how == LossReduction::Mean) sum /= static_cast<double>(cases);
  if (threadIdx.x == 0) *out = static_cast<S>(static_cast<C>(sum));
}

// ---- gradients ----
// With tangents the result is the gradient's change along the direction. The output holds zeros.
template <class S, bool kTangent>
__global__ void __launch_bounds__(kThreads, 4)
    ctc_gradient(const __grid_constant__ Problem<S> p, const S* __restrict__ g, int64_t g_stride, LossReduction how,
                 S* __restrict__ out) {
  using C = ComputeType<S>;
  using N = Number<kTangent>;
  __shared__ LossPartial shared[kThreads / 32];
  for (int64_t n = blockIdx.x; n < p.cases; n += gridDim.x) {
    const Case c = case_of(p, n);
    if (!c.valid || c.times == 0) continue;
    const Machine<S, kTangent> m(p, c);
    m.first_alpha(m.row(0));
    for (int64_t t = 1; t < c.times; ++t) m.next_alpha(t, m.row(t - 1), m.row(t));
    const N total = m.total(m.row(c.times - 1));
    if (p.zero_infinity && total.value == -never()) continue;
    m.link_classes();
    double w = static_cast<double>(static_cast<C>(g[how == LossReduction::None ? n * g_stride : 0]));
    if (how == LossReduction::Mean) w /= static_cast<double>(p.cases) * at_least_one(c.labels);
    // later[s]: b at the next time, emission included. Two rows in turn; the chances of the states have one of their own.
    double* chance = m.row(p.times + 2);
    for (int64_t t = c.times - 1; t >= 0; --t) {
      const double* later = m.row(p.times + (t + 1) % 2);
      double* now = m.row(p.times + t % 2);
      const double* alpha = m.row(t);
      for (int64_t s = threadIdx.x; s < m.states; s += kThreads) {
        N b{s + 2 >= m.states ? 0.0 : never(), 0.0};
        if (t + 1 < c.times) {
          b = log_sum<kTangent>(m.get(later, s), s + 1 < m.states ? m.get(later, s + 1) : m.none(),
                                m.open(s + 2) ? m.get(later, s + 2) : m.none());
        }
        const N a = m.get(alpha, s);
        double here = exp(a.value + b.value + total.value);
        if constexpr (kTangent) here = here == 0.0 ? 0.0 : here * (a.tangent + b.tangent + total.tangent);
        chance[s] = here;
        m.put(now, s, m.sum_of(b, m.emission(t, s)));
      }
      __syncthreads();
      // Each class's sum is made at its first state, in the order of the states, before it is rounded.
      S* line = out + (t * p.cases + n) * p.classes;
      LossPartial blank{0.0, 0.0};
      for (int64_t s = threadIdx.x; s < m.states; s += kThreads) {
        if (m.label[s] == p.blank) {
          blank.sum += chance[s];
        } else if (m.link[s - 1] == 0) {
          double sum = chance[s];
          for (int64_t r = m.link[s]; r != 0; r = m.link[r]) sum += chance[r];
          line[m.label[s]] = static_cast<S>(static_cast<C>(-w * sum));
        }
      }
      const double all = block_total<kThreads>(blank, shared).sum;
      if (threadIdx.x == 0) line[p.blank] = static_cast<S>(static_cast<C>(-w * all));
    }
  }
}

// ---- launchers ----
constexpr int64_t kForwardRows = kFixedRows + 2;

template <class S>
void ctc_loss(const KernelArgs& args, int64_t) noexcept {
  const Problem<S> p(args, kForwardRows);
  double* losses = p.tables + table_size(args, kForwardRows);
  const auto how = args.attrs_as<CtcAttrs>().how();
  if (p.cases > 0) {
    ctc_forward<S><<<grid_for(p.cases, 1, 16), kThreads, 0, stream_of(args)>>>(p, losses);
  } else if (how == LossReduction::None) {
    return;
  }
  ctc_merge<S><<<1, kMergers, 0, stream_of(args)>>>(losses, p.target_lengths, p.cases, how, args.out[0].as<S>());
}
size_t ctc_loss_bytes(const KernelArgs& args) noexcept {
  return static_cast<size_t>(table_size(args, kForwardRows) + args.in[0].shape[1]) * sizeof(double);
}

template <bool kTangent>
int64_t gradient_rows(const KernelArgs& args) noexcept {
  return kFixedRows + (kTangent ? 2 : 1) * (args.in[0].shape[0] + 2) + 1;
}
template <class S, bool kTangent>
void ctc_gradient_of(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  static_cast<void>(cudaMemsetAsync(out.data, 0, static_cast<size_t>(out.numel) * sizeof(S), stream_of(args)));
  Problem<S> p(args, gradient_rows<kTangent>(args));
  if constexpr (kTangent) p.direction = Scores<S>(args.in[5]);
  const KOperand& g = args.in[4];
  ctc_gradient<S, kTangent><<<grid_for(p.cases, 1, 16), kThreads, 0, stream_of(args)>>>(
      p, g.as<const S>(), g.rank > 0 ? g.strides[0] : 0, args.attrs_as<CtcAttrs>().how(), out.as<S>());
}
template <bool kTangent>
size_t ctc_gradient_bytes(const KernelArgs& args) noexcept {
  return args.out[0].numel == 0 ? 0
                                : static_cast<size_t>(table_size(args, gradient_rows<kTangent>(args))) * sizeof(double);
}

template <class S>
void fill(KernelSink& sink) {
  add(sink, "ctc_loss", kDTypeOf<S>, ctc_loss<S>, ctc_loss_bytes);
  add(sink, "ctc_loss_backward", kDTypeOf<S>, ctc_gradient_of<S, false>, ctc_gradient_bytes<false>);
  add(sink, "ctc_loss_curvature", kDTypeOf<S>, ctc_gradient_of<S, true>, ctc_gradient_bytes<true>);
}

}  // namespace

void fill_ctc(KernelSink& sink);
void fill_ctc(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<BFloat16>(sink);
  fill<Float16>(sink);
}

}  // namespace gorgo::cuda

// CUDA kernels of the random family whose parameters are tensors: a thread draws an element by its method.
//
// The methods are the CPU's, from the same headers, with the same numbers for each element; their functions have the bits of
// the CPU's AVX2 code, and so have the draws. Sums of weights are the exception: they are added in another order.
// Invariant: what is drawn for an element depends on seed, counter, its flat index and its own parameters alone.
// Read next: methods.h, substream.h, draws_cuda.cuh.
#include "ops/random/draws_cuda.cuh"

#include "ops/random/attrs.h"
#include "ops/random/gamma_slope.h"
#include "ops/random/methods.h"
#include "ops/random/truncated_slope.h"

namespace gorgo::cuda {
namespace {

constexpr int kSampleThreads = 128;

// A parameter of each element: a tensor in any layout, or one number that came from Python.
template <class T>
struct Parameter {
  const T* data;  // null for a number
  double number;

  GORGO_DEVICE double at(int64_t offset) const {
    return data == nullptr ? number : static_cast<double>(Element<T>::value(data[offset]));
  }
};
template <class T, int kCount>
struct Parameters {
  Parameter<T> of[kCount];
  Walk<kCount> walk;

  // Operands that broadcast to `out`, which has elements.
  static Parameters make(const KOperand& out, const KOperand* operands) noexcept {
    Parameters p;
    int64_t strides[kCount][kMaxAxes];
    const int64_t* rows[kCount];
    for (int i = 0; i < kCount; ++i) {
      const KOperand& x = operands[i];
      const bool is_number = x.scalar && x.host;
      p.of[i].data = is_number ? nullptr : x.as<const T>();
      p.of[i].number = is_number ? static_cast<double>(static_cast<ComputeType<T>>(*x.as<const T>())) : 0.0;
      if (x.scalar) {
        for (int axis = 0; axis < out.rank; ++axis) strides[i][axis] = 0;
      } else {
        broadcast_strides(x, out.shape, out.rank, strides[i]);
      }
      rows[i] = strides[i];
    }
    p.walk = Walk<kCount>::of(out.shape, out.rank, rows);
    return p;
  }
  GORGO_DEVICE void read(int64_t i, double* given) const {
    int64_t offsets[kCount];
    walk.at(i, offsets);
#pragma unroll
    for (int k = 0; k < kCount; ++k) given[k] = of[k].at(offsets[k]);
  }
};

template <class T, class R, class Method>
__global__ void __launch_bounds__(kSampleThreads)
    sample_kernel(DeviceKey key, const __grid_constant__ Parameters<T, Method::kParameters> parameters, R* out,
                  int64_t count, bool in_log, DeviceFault* fault) {
  const PhiloxStream stream = key.stream();
  const int64_t stride = int64_t{gridDim.x} * kSampleThreads;
  for (int64_t i = int64_t{blockIdx.x} * kSampleThreads + threadIdx.x; i < count; i += stride) {
    double given[kMaxParameters] = {};
    parameters.read(i, given);
    if (const int refused = Method::refused(given); refused != 0) {
      report_fault(fault, i, refused, __double_as_longlong(given[0]), __double_as_longlong(given[1]));
      out[i] = R{};
      continue;
    }
    uint32_t words[4];
    philox_blocks<1>(stream, static_cast<uint64_t>(i), words);
    Substream numbers(stream, i, words);
    const auto drawn = Method::draw(numbers, given, in_log);
    if constexpr (std::is_floating_point_v<ComputeType<R>>) {
      out[i] = Element<R>::round(static_cast<ComputeType<R>>(drawn));
    } else {
      out[i] = static_cast<R>(drawn);
    }
  }
}

template <class T, class R, class Method>
void sample(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  bool in_log = false;
  if constexpr (std::is_same_v<Method, Gamma>) in_log = args.attrs_as<GammaAttrs>().log;
  sample_kernel<T, R, Method><<<grid_for(out.numel, kSampleThreads, 16), kSampleThreads, 0, stream_of(args)>>>(
      key_of(args.in[0]), Parameters<T, Method::kParameters>::make(out, args.in + 1), out.as<R>(), out.numel, in_log,
      fault_of(args));
}

// ---- the gradients of draws by their parameters ----

struct GammaSlope {
  static constexpr int kParameters = 2;
  bool in_log;
  GORGO_DEVICE double operator()(const double* x) const { return gamma_slope(x[0], x[1], in_log); }
};
struct TruncatedSlope {
  static constexpr int kParameters = 3;
  bool by_high;
  GORGO_DEVICE double operator()(const double* x) const {
    return by_high ? truncated_slope(-x[2], -x[1], -x[0]) : truncated_slope(x[0], x[1], x[2]);
  }
};

template <class T, class Slope>
__global__ void __launch_bounds__(kSampleThreads)
    slope_kernel(const __grid_constant__ Parameters<T, Slope::kParameters> parameters, T* out, int64_t count,
                 Slope slope) {
  const int64_t stride = int64_t{gridDim.x} * kSampleThreads;
  for (int64_t i = int64_t{blockIdx.x} * kSampleThreads + threadIdx.x; i < count; i += stride) {
    double given[Slope::kParameters];
    parameters.read(i, given);
    out[i] = Element<T>::round(static_cast<ComputeType<T>>(slope(given)));
  }
}

template <class T, class Slope>
void launch_slope(const KernelArgs& args, const Slope& slope) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  slope_kernel<T><<<grid_for(out.numel, kSampleThreads, 16), kSampleThreads, 0, stream_of(args)>>>(
      Parameters<T, Slope::kParameters>::make(out, args.in), out.as<T>(), out.numel, slope);
}
template <class T>
void gamma_slopes(const KernelArgs& args, int64_t) noexcept {
  launch_slope<T>(args, GammaSlope{args.attrs_as<GammaSlopeAttrs>().log});
}
template <class T>
void truncated_slopes(const KernelArgs& args, int64_t) noexcept {
  launch_slope<T>(args, TruncatedSlope{args.attrs_as<TruncatedSlopeAttrs>().by_high});
}

// ---- parameters of distributions composed in Python ----

template <class T>
__global__ void __launch_bounds__(kDrawThreads)
    check_kernel(const T* x, const __grid_constant__ Walk<1> walk, T* out, ParameterRule rule, DeviceFault* fault) {
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t i = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; i < walk.count; i += stride) {
    int64_t offset[1];
    walk.at(i, offset);
    const T element = x[offset[0]];
    const auto value = static_cast<double>(Element<T>::value(element));
    if (!keeps_rule(value, rule)) report_fault(fault, i, 1, __double_as_longlong(value));
    out[i] = element;
  }
}

template <class T>
void check_parameter(const KernelArgs& args, int64_t) noexcept {
  const KOperand& x = args.in[0];
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const auto rule = static_cast<ParameterRule>(args.attrs_as<ParameterAttrs>().rule.index);
  check_kernel<T><<<grid_for(out.numel, kDrawThreads), kDrawThreads, 0, stream_of(args)>>>(
      x.as<const T>(), Walk<1>::of(x.shape, x.rank, &x.strides), out.as<T>(), rule, fault_of(args));
}

// ---- draws of positions by weight ----

struct Rows {
  const double* weights;
  int64_t rows;
  int64_t length;
  int64_t row_stride;
  int64_t step;
  int64_t count;  // draws of a row

  GORGO_DEVICE double weight(int64_t row, int64_t i) const { return weights[row * row_stride + i * step]; }
};
Rows rows_of(const KernelArgs& args) noexcept {
  const KOperand& weights = args.in[1];
  const int64_t length = weights.shape[weights.rank - 1];
  return {weights.as<const double>(),
          length == 0 ? 0 : weights.numel / length,
          length,
          weights.rank == 2 ? weights.strides[0] : 0,
          weights.strides[weights.rank - 1],
          args.attrs_as<MultinomialAttrs>().count};
}

constexpr int kRowThreads = 256;
constexpr int kRowItems = 16;  // entries that a thread adds up in order

// Checks a row and writes its running sums unless `sums` is null: a thread's entries in order, then the threads in order. So
// sums never fall, and an entry of weight zero adds nothing, whatever rounding does.
__global__ void __launch_bounds__(kRowThreads)
    prepare(const Rows r, bool replacement, double* sums, DeviceFault* fault) {
  __shared__ unsigned long long first_bad;
  __shared__ unsigned long long positive;
  __shared__ double starts[kRowThreads];
  __shared__ double carry;
  constexpr int64_t kTile = int64_t{kRowThreads} * kRowItems;
  for (int64_t row = blockIdx.x; row < r.rows; row += gridDim.x) {
    if (threadIdx.x == 0) {
      first_bad = ~0ULL;
      positive = 0;
      carry = 0.0;
    }
    __syncthreads();
    for (int64_t tile = 0; tile < r.length; tile += kTile) {
      const int64_t begin = tile + int64_t{threadIdx.x} * kRowItems;
      double partial[kRowItems];
      double sum = 0.0;
      int count = 0;
#pragma unroll
      for (int k = 0; k < kRowItems; ++k) {
        const double w = begin + k < r.length ? r.weight(row, begin + k) : 0.0;
        if (!(w >= 0.0 && isfinite(w))) atomicMin(&first_bad, static_cast<unsigned long long>(begin + k));
        count += w > 0.0 ? 1 : 0;
        partial[k] = sum += w;
      }
      if (count > 0) atomicAdd(&positive, static_cast<unsigned long long>(count));
      starts[threadIdx.x] = sum;
      __syncthreads();
      if (threadIdx.x == 0) {
        double running = carry;
        for (int i = 0; i < kRowThreads; ++i) {
          const double here = starts[i];
          starts[i] = running;
          running += here;
        }
        carry = running;
      }
      __syncthreads();
      if (sums != nullptr) {
        const double start = starts[threadIdx.x];
#pragma unroll
        for (int k = 0; k < kRowItems; ++k) {
          if (begin + k < r.length) sums[row * r.length + begin + k] = start + partial[k];
        }
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) {
      const int64_t at = row * r.length;
      if (first_bad != ~0ULL) {
        const auto bad = static_cast<int64_t>(first_bad);
        report_fault(fault, at + bad, 1, __double_as_longlong(r.weight(row, bad)));
      } else if (!(carry > 0.0 && isfinite(carry))) {
        report_fault(fault, at, 2, __double_as_longlong(carry));
      } else if (!replacement && static_cast<int64_t>(positive) < r.count) {
        report_fault(fault, at, 3, static_cast<int64_t>(positive), r.count);
      }
    }
    __syncthreads();
  }
}

// With replacement: draws look up their uniforms in the running sums.
__global__ void __launch_bounds__(kDrawThreads) look_up(DeviceKey key, const Rows r, const double* sums, int64_t* out) {
  const PhiloxStream stream = key.stream();
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t i = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; i < r.rows * r.count; i += stride) {
    uint32_t words[4];
    philox_blocks<1>(stream, static_cast<uint64_t>(i), words);
    const double u = Substream(stream, i, words).unit();
    out[i] = position_of(u, sums + i / r.count * r.length, r.length);
  }
}

// Without: the entries in the order of exponential times at their weights as rates, of which the first are the draw.
// Source: Efraimidis, Spirakis, "Weighted random sampling with a reservoir", Inf. Process. Lett. 97 (2006).
__global__ void __launch_bounds__(kDrawThreads)
    give_times(DeviceKey key, const Rows r, int64_t first, int64_t count, uint64_t* times, uint32_t* holders) {
  const PhiloxStream stream = key.stream();
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t i = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; i < count; i += stride) {
    const int64_t element = first + i;
    const int64_t row = element / r.length;
    uint32_t words[4];
    philox_blocks<1>(stream, static_cast<uint64_t>(element), words);
    const double time = -log(Substream(stream, element, words).open_unit()) / r.weight(row, element - row * r.length);
    times[i] = static_cast<uint64_t>(__double_as_longlong(time));  // positive: ordered as its bits
    holders[i] = static_cast<uint32_t>(i);
  }
}
// Replaces the keys, once holders lie in the order of their times, by the rows of the holders.
__global__ void __launch_bounds__(kDrawThreads)
    give_rows(uint64_t* keys, const uint32_t* holders, int64_t count, int64_t length) {
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t i = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; i < count; i += stride) {
    keys[i] = static_cast<uint64_t>(holders[i] / length);
  }
}
// The first entries of each of `rows` rows that lie one after the other.
__global__ void __launch_bounds__(kDrawThreads)
    take_first(const uint32_t* holders, int64_t rows, int64_t length, int64_t count, int64_t* out) {
  const int64_t stride = int64_t{gridDim.x} * kDrawThreads;
  for (int64_t i = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x; i < rows * count; i += stride) {
    const int64_t row = i / count;
    out[i] = holders[row * length + (i - row * count)] - row * length;
  }
}

// Rows that are sorted together: numbers of holders have 32 bits.
int64_t rows_at_once(const Rows& r) noexcept {
  const int64_t most = int64_t{UINT32_MAX} / r.length;
  return r.rows < most ? r.rows : most;
}

void multinomial(const KernelArgs& args, int64_t) noexcept {
  const KOperand& out = args.out[0];
  if (out.numel == 0) return;
  const Rows r = rows_of(args);
  const cudaStream_t stream = stream_of(args);
  const DeviceKey key = key_of(args.in[0]);
  const bool replacement = args.attrs_as<MultinomialAttrs>().replacement;
  auto* sums = replacement ? static_cast<double*>(args.scratch) : nullptr;
  prepare<<<grid_for(r.rows, 1), kRowThreads, 0, stream>>>(r, replacement, sums, fault_of(args));
  if (replacement) {
    look_up<<<grid_for(out.numel, kDrawThreads), kDrawThreads, 0, stream>>>(key, r, sums, out.as<int64_t>());
    return;
  }
  const int64_t group = rows_at_once(r);
  for (int64_t row = 0; row < r.rows; row += group) {
    const int64_t rows = r.rows - row < group ? r.rows - row : group;
    const int64_t entries = rows * r.length;
    const unsigned grid = grid_for(entries, kDrawThreads);
    Tickets tickets(entries, args.scratch);
    give_times<<<grid, kDrawThreads, 0, stream>>>(key, r, row * r.length, entries, tickets.keys(), tickets.holders());
    tickets.sort(stream);
    if (rows > 1) {
      // Sorted stably by row, the entries of each row keep the order of their times.
      give_rows<<<grid, kDrawThreads, 0, stream>>>(tickets.keys(), tickets.holders(), entries, r.length);
      tickets.sort(stream, bits_for(static_cast<uint64_t>(rows - 1)));
    }
    take_first<<<grid_for(rows * r.count, kDrawThreads), kDrawThreads, 0, stream>>>(
        tickets.holders(), rows, r.length, r.count, out.as<int64_t>() + row * r.count);
  }
}

size_t multinomial_scratch(const KernelArgs& args) noexcept {
  if (args.out[0].numel == 0) return 0;
  const Rows r = rows_of(args);
  if (args.attrs_as<MultinomialAttrs>().replacement) return static_cast<size_t>(r.rows * r.length) * sizeof(double);
  return Tickets::bytes(rows_at_once(r) * r.length);
}

template <class T>
void fill_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  add(sink, "random_gamma", d, &sample<T, T, Gamma>);
  add(sink, "random_gamma_slope", d, &gamma_slopes<T>);
  add(sink, "random_truncated_normal_slope", d, &truncated_slopes<T>);
  add(sink, "random_parameter", d, &check_parameter<T>);
  add(sink, "random_truncated_normal", d, &sample<T, T, TruncatedNormal>);
}

}  // namespace

void fill_random_sample(KernelSink& sink);
void fill_random_sample(KernelSink& sink) {
  add(sink, "random_bernoulli_each", DType::Float64, &sample<double, bool, Bernoulli>);
  add(sink, "random_geometric", DType::Float64, &sample<double, int64_t, Geometric>);
  add(sink, "random_poisson", DType::Float64, &sample<double, int64_t, Poisson>);
  add(sink, "random_binomial", DType::Float64, &sample<double, int64_t, Binomial>);
  add(sink, "random_multinomial", DType::Float64, &multinomial, &multinomial_scratch);
  fill_of<Float16>(sink);
  fill_of<BFloat16>(sink);
  fill_of<float>(sink);
  fill_of<double>(sink);
}

}  // namespace gorgo::cuda

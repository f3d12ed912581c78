// The optimizers' fused updates on CUDA: one call updates all parameters of a group in as few launches as their addresses allow.
//
// A launch gets a table of tensors by value, as many as fit kernel parameters; each block finds its tensor in it and updates one
// stretch of elements. A block makes the rule once, by one thread, since it holds powers in float64; the step counters are read
// there, on the device, and go up when all blocks of their tensor have read them, or where that is not known in a last launch.
// Tensors that are not in order take a launch each.
// Invariant: elements are independent, so the split into blocks changes no bit; the formulas are those of rules.h.
// Read next: rules.h.
#include "kernels/cuda/scalar_math.cuh"

#include <new>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/operand.cuh"
#include "ops/update/rules.h"

namespace gorgo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPackBytes = 16;
constexpr int kPacksPerThread = 4;
template <class T>
constexpr int kPacksInFlight = sizeof(T) == 2 ? 1 : 2;  // of each array
constexpr size_t kTableBytes = 3840;  // leaves room for a rule's numbers within the 4 KiB of kernel parameters

template <class T>
constexpr int kLanes = kPackBytes / static_cast<int>(sizeof(T));
template <class T>
constexpr int64_t kBlockElements = int64_t{kThreads} * kPacksPerThread * kLanes<T>;

// ---- rules as the kernels want them: for SGD the first step is known on the device only ----

struct SgdLaunchNumbers {
  SgdNumbers<double> numbers;
  bool maximize;
};

template <class C, bool kBuffered>
struct Sgd {
  SgdNumbers<C> numbers;
  C sign;
  bool first;

  GORGO_DEVICE Sgd(const SgdLaunchNumbers& n, int64_t step)
      : numbers(n.numbers.template as<C>()), sign(n.maximize ? C(-1) : C(1)), first(step == 1) {}
  GORGO_DEVICE void step(C* x) const {
    choose_way(numbers, kBuffered, first, [&](auto way) {
      using Way = decltype(way);
      Way::element(numbers, sign, x[0], x[1], Way::kUsesBuffer ? x + 2 : nullptr);
    });
  }
};
template <class C>
using PlainSgd = Sgd<C, false>;
template <class C>
using BufferedSgd = Sgd<C, true>;

// What a rule is made from, and between how many arrays it has.
template <class Rule>
struct Facts;
template <class C, bool kBuffered>
struct Facts<Sgd<C, kBuffered>> {
  using Numbers = SgdLaunchNumbers;
};
template <class C>
struct Facts<Adam<C>> {
  using Numbers = AdamNumbers;
  static constexpr int kLeast = 4;
  static constexpr int kMost = 5;
};
template <class C>
struct Facts<Rmsprop<C>> {
  using Numbers = RmspropNumbers;
  static constexpr int kLeast = 3;
  static constexpr int kMost = 5;
};
template <class C>
struct Facts<Adagrad<C>> {
  using Numbers = AdagradNumbers;
  static constexpr int kLeast = 3;
  static constexpr int kMost = 3;
};
template <class Rule>
using NumbersOf = typename Facts<Rule>::Numbers;

// ---- tensors in order ----

template <int kArrays>
struct Table {
  static constexpr int kTensors = static_cast<int>((kTableBytes - 24) / (8 * kArrays + 20));
  void* data[kArrays][kTensors];
  int64_t sizes[kTensors];
  int64_t* steps[kTensors];  // null where the rule counts none
  uint32_t first_block[kTensors];
  int32_t count;
  bool counts;  // blocks make the counters go up
};

template <class T>
struct alignas(kPackBytes) Pack {
  T lanes[kLanes<T>];
};

// While blocks count, the bits of a counter from here on say how many have read it; the step is what is below, with its sign.
constexpr int kArrivals = 40;
GORGO_DEVICE int64_t step_in(int64_t counter) {
  constexpr int kAbove = 64 - kArrivals;
  return static_cast<int64_t>(static_cast<uint64_t>(counter) << kAbove) >> kAbove;
}
// The step, for the one thread of a block that asks. Where `blocks` ask in all, the last one makes the counter go up.
GORGO_DEVICE int64_t read_counter(int64_t* counter, uint32_t blocks) {
  if (blocks == 0) return *counter;
  auto* const bits = reinterpret_cast<unsigned long long*>(counter);
  const auto before = static_cast<int64_t>(atomicAdd(bits, 1ULL << kArrivals));
  const int64_t step = step_in(before);
  if ((before - step) >> kArrivals == int64_t{blocks} - 1) {
    atomicAdd(bits, 1ULL - (static_cast<unsigned long long>(blocks) << kArrivals));
  }
  return step;
}

// Makes the block's rule in shared memory and gives every thread a copy.
template <class Rule>
GORGO_DEVICE Rule rule_of_block(const NumbersOf<Rule>& numbers, int64_t* steps, uint32_t blocks) {
  __shared__ __align__(16) unsigned char room[sizeof(Rule)];
  if (threadIdx.x == 0) new (room) Rule(numbers, steps != nullptr ? read_counter(steps, blocks) + 1 : 1);
  __syncthreads();
  return *reinterpret_cast<const Rule*>(room);
}

template <class T, class Rule, int kArrays>
GORGO_DEVICE void update_element(const Rule& rule, T* const (&at)[kArrays]) {
  ComputeType<T> x[kArrays];
#pragma unroll
  for (int k = 0; k < kArrays; ++k) x[k] = Element<T>::value(*at[k]);
  rule.step(x);
#pragma unroll
  for (int k = 0; k < kArrays; ++k) {
    if (k != 1) *at[k] = Element<T>::round(x[k]);
  }
}

template <class T, class Rule, int kArrays>
__global__ void __launch_bounds__(kThreads)
    update(const __grid_constant__ Table<kArrays> table, const __grid_constant__ NumbersOf<Rule> numbers) {
  // The last tensor whose first block is not after this one.
  int tensor = 0;
  for (int end = table.count; end - tensor > 1;) {
    const int middle = (tensor + end) / 2;
    if (table.first_block[middle] <= blockIdx.x) {
      tensor = middle;
    } else {
      end = middle;
    }
  }
  const int64_t size = table.sizes[tensor];
  const auto blocks = static_cast<uint32_t>((size + kBlockElements<T> - 1) / kBlockElements<T>);
  const Rule rule = rule_of_block<Rule>(numbers, table.steps[tensor], table.counts ? blocks : 0);

  T* start[kArrays];
  uintptr_t address_bits = 0;
#pragma unroll
  for (int k = 0; k < kArrays; ++k) {
    start[k] = static_cast<T*>(table.data[k][tensor]);
    address_bits |= reinterpret_cast<uintptr_t>(start[k]);
  }
  int64_t i = int64_t{blockIdx.x - table.first_block[tensor]} * kBlockElements<T>;
  const int64_t end = size - i < kBlockElements<T> ? size : i + kBlockElements<T>;
  if (address_bits % kPackBytes == 0) {
    const int64_t whole = end - (end - i) % kLanes<T>;
    constexpr int64_t kStride = int64_t{kThreads} * kLanes<T>;
    for (i += int64_t{threadIdx.x} * kLanes<T>; i < whole; i += kPacksInFlight<T> * kStride) {
      Pack<T> packs[kPacksInFlight<T>][kArrays];
#pragma unroll
      for (int v = 0; v < kPacksInFlight<T>; ++v) {
        if (i + v * kStride >= whole) break;
#pragma unroll
        for (int k = 0; k < kArrays; ++k) packs[v][k] = *reinterpret_cast<const Pack<T>*>(start[k] + i + v * kStride);
      }
#pragma unroll
      for (int v = 0; v < kPacksInFlight<T>; ++v) {
        if (i + v * kStride >= whole) break;
#pragma unroll
        for (int j = 0; j < kLanes<T>; ++j) {
          T* lane[kArrays];
#pragma unroll
          for (int k = 0; k < kArrays; ++k) lane[k] = &packs[v][k].lanes[j];
          update_element<T>(rule, lane);
        }
#pragma unroll
        for (int k = 0; k < kArrays; ++k) {
          if (k != 1) *reinterpret_cast<Pack<T>*>(start[k] + i + v * kStride) = packs[v][k];
        }
      }
    }
    i = whole;
  }
  for (i += threadIdx.x; i < end; i += kThreads) {
    T* at[kArrays];
#pragma unroll
    for (int k = 0; k < kArrays; ++k) at[k] = start[k] + i;
    update_element<T>(rule, at);
  }
}

// ---- one tensor in any layout ----

template <int kArrays>
struct Pointers {
  void* data[kArrays];
};

template <class T, class Rule, int kArrays>
__global__ void __launch_bounds__(kThreads)
    update_strided(const __grid_constant__ Walk<kArrays> walk, const Pointers<kArrays> pointers, int64_t* steps,
                   const __grid_constant__ NumbersOf<Rule> numbers) {
  const Rule rule = rule_of_block<Rule>(numbers, steps, 0);
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < walk.count; i += stride) {
    int64_t offsets[kArrays];
    walk.at(i, offsets);
    T* at[kArrays];
#pragma unroll
    for (int k = 0; k < kArrays; ++k) at[k] = static_cast<T*>(pointers.data[k]) + offsets[k];
    update_element<T>(rule, at);
  }
}

// ---- counters ----

struct CounterTable {
  static constexpr int kCounters = 480;
  unsigned long long* counters[kCounters];
  int32_t count;
};

// Atomic, since one counter may serve several parameters.
__global__ void count_up(const __grid_constant__ CounterTable table) {
  const auto i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < table.count) atomicAdd(table.counters[i], 1ULL);
}

void launch_count_up(const KernelArgs& args, int32_t count) noexcept {
  CounterTable table;
  for (int32_t i = args.in_count - count; i < args.in_count;) {
    table.count = 0;
    for (; i < args.in_count && table.count < CounterTable::kCounters; ++i) {
      table.counters[table.count++] = args.in[i].as<unsigned long long>();
    }
    const auto blocks = static_cast<unsigned>(ceil_div(table.count, kThreads));
    count_up<<<blocks, kThreads, 0, stream_of(args)>>>(table);
  }
}

// ---- launchers ----

// May the blocks that read the counters make them go up? Each must belong to one tensor, of some elements, all in order.
inline bool blocks_count(const KernelArgs& args, int32_t count, int arrays) noexcept {
  constexpr int32_t kMostCompared = 64;
  if (count > kMostCompared) return false;
  const KOperand* const counters = args.in + args.in_count - count;
  for (int32_t i = 0; i < count; ++i) {
    if (args.in[i].numel == 0 || args.in[i].numel > int64_t{1} << 31) return false;
    for (int k = 0; k < arrays; ++k) {
      if (!args.in[k * count + i].contiguous) return false;
    }
    for (int32_t j = 0; j < i; ++j) {
      if (counters[i].data == counters[j].data) return false;
    }
  }
  return true;
}

// `counts`: the rule reads step counters, which are the last operands, and makes them go up.
template <class T, template <class> class RuleOf, int kArrays>
void launch(const KernelArgs& args, int32_t count, bool counts,
            const NumbersOf<RuleOf<ComputeType<T>>>& numbers) noexcept {
  using Rule = RuleOf<ComputeType<T>>;
  static_assert(sizeof(Table<kArrays>) <= kTableBytes && sizeof numbers <= 4096 - kTableBytes);
  const cudaStream_t stream = stream_of(args);
  Table<kArrays> table;
  table.count = 0;
  table.counts = counts && blocks_count(args, count, kArrays);
  int64_t blocks = 0;
  const auto flush = [&] {
    if (table.count > 0)
      update<T, Rule, kArrays><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(table, numbers);
    table.count = 0;
    blocks = 0;
  };
  for (int32_t i = 0; i < count; ++i) {
    const KOperand& parameter = args.in[i];
    if (parameter.numel == 0) continue;
    int64_t* steps = counts ? args.in[args.in_count - count + i].template as<int64_t>() : nullptr;
    bool in_order = true;
    for (int k = 0; k < kArrays; ++k) in_order = in_order && args.in[k * count + i].contiguous;
    if (!in_order) {
      Pointers<kArrays> pointers;
      const int64_t* strides[kArrays];
      for (int k = 0; k < kArrays; ++k) {
        pointers.data[k] = args.in[k * count + i].data;
        strides[k] = args.in[k * count + i].strides;
      }
      const auto walk = Walk<kArrays>::of(parameter.shape, parameter.rank, strides);
      update_strided<T, Rule, kArrays>
          <<<grid_for(walk.count, kThreads), kThreads, 0, stream>>>(walk, pointers, steps, numbers);
      continue;
    }
    const int64_t wanted = ceil_div(parameter.numel, kBlockElements<T>);
    if (table.count == Table<kArrays>::kTensors || blocks + wanted > INT32_MAX) flush();
    for (int k = 0; k < kArrays; ++k) table.data[k][table.count] = args.in[k * count + i].data;
    table.sizes[table.count] = parameter.numel;
    table.steps[table.count] = steps;
    table.first_block[table.count] = static_cast<uint32_t>(blocks);
    ++table.count;
    blocks += wanted;
  }
  flush();
  if (counts && !table.counts) launch_count_up(args, count);
}

template <class T>
void sgd(const KernelArgs& args, int64_t) noexcept {
  const auto& attrs = args.attrs_as<SgdAttrs>();
  const auto count = static_cast<int32_t>(attrs.count);
  const SgdLaunchNumbers numbers{sgd_numbers(attrs), attrs.maximize};
  if (!uses_buffers(args)) {
    launch<T, PlainSgd, 2>(args, count, false, numbers);
    return;
  }
  launch<T, BufferedSgd, 3>(args, count, true, numbers);
}

template <class T, template <class> class RuleOf>
void adaptive(const KernelArgs& args, int64_t) noexcept {
  using Rule = RuleOf<ComputeType<T>>;
  const auto& attrs = args.attrs_as<typename Rule::Attrs>();
  const auto count = static_cast<int32_t>(attrs.count);
  const auto numbers = numbers_of(attrs);
  const int arrays = Rule::arrays(args);
  constexpr bool kCounts = Rule::kCountsSteps;
  const auto launch_with = [&]<int kArrays>(std::integral_constant<int, kArrays>) {
    if constexpr (kArrays >= Facts<Rule>::kLeast && kArrays <= Facts<Rule>::kMost) {
      if (arrays == kArrays) launch<T, RuleOf, kArrays>(args, count, kCounts, numbers);
    }
  };
  launch_with(std::integral_constant<int, 3>());
  launch_with(std::integral_constant<int, 4>());
  launch_with(std::integral_constant<int, 5>());
}

template <class T>
void fill(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  add(sink, "sgd_update", d, &sgd<T>);
  add(sink, "adam_update", d, &adaptive<T, Adam>);
  add(sink, "rmsprop_update", d, &adaptive<T, Rmsprop>);
  add(sink, "adagrad_update", d, &adaptive<T, Adagrad>);
}

}  // namespace

void fill_update(KernelSink& sink);
void fill_update(KernelSink& sink) {
  fill<float>(sink);
  fill<double>(sink);
  fill<Float16>(sink);
  fill<BFloat16>(sink);
}

}  // namespace gorgo::cuda

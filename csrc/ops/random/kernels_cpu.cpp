// CPU kernels of the random family: numbers from Philox words, by element index.
//
// Compiled once per ISA. Bits, uniforms, integers and masks are the same on every ISA; normals agree within the error of log,
// sin and cos.
// Read next: philox.h (the stream), words.h (what words become), random.cpp (what each op means).
#include "kernels/math.h"
#include "kernels/move.h"
#include "kernels/radix.h"
#include "ops/random/attrs.h"
#include "ops/random/substream.h"
#include "ops/random/words.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

int64_t output_tasks(const KernelArgs& args) noexcept { return move_tasks(args.out[0].numel); }

// Calls fill(words, first element, count) for the chunks of words that make up a task's elements.
template <int kWordsPerElement, class Fill>
GORGO_INLINE void draw(const PhiloxStream& stream, int64_t count, int64_t task, const Fill& fill) noexcept {
  constexpr int64_t kPerChunk = kPhiloxWords / kWordsPerElement;
  static_assert(kMoveGrain % kPerChunk == 0);
  const int64_t end = (task + 1) * kMoveGrain < count ? (task + 1) * kMoveGrain : count;
  for (int64_t i = task * kMoveGrain; i < end; i += kPerChunk) {
    uint32_t words[kPhiloxWords];
    philox_words(stream, static_cast<uint64_t>(i / kPerChunk), words);
    fill(words, i, i + kPerChunk < end ? kPerChunk : end - i);
  }
}

template <class T>
void uniform(const KernelArgs& args, int64_t task) noexcept {
  using C = ComputeType<T>;
  const auto& a = args.attrs_as<UniformAttrs>();
  const auto low = static_cast<C>(a.low);
  const auto span = static_cast<C>(a.high - a.low);
  draw<sizeof(C) / 4>(stream_of(args.in[0]), args.out[0].numel, task,
                      [&](const uint32_t* words, int64_t first, int64_t count) __attribute__((always_inline)) {
                        T* to = args.out[0].as<T>() + first;
                        for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(low + span * unit_of<T>(words, i));
                      });
}

// Box and Muller: two uniforms, the first in (0, 1], give two normals.
// Source: Box, Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29 (1958).
template <class C>
GORGO_INLINE void normals_of(const uint32_t* words, C* out) noexcept {
  constexpr int kCount = kPhiloxWords * 4 / static_cast<int>(sizeof(C));
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));
  using V = Vec<C, kLanes>;
  C radius[kCount / 2];
  C angle[kCount / 2];
  for (int i = 0; i < kCount / 2; ++i) {
    if constexpr (sizeof(C) == 4) {
      radius[i] = static_cast<float>((words[2 * i] >> 8) + 1) * 0x1p-24f;
      angle[i] = static_cast<float>(words[2 * i + 1] >> 8) * 0x1p-24f;
    } else {
      radius[i] = static_cast<double>((wide_word(words, 2 * i) >> 11) + 1) * 0x1p-53;
      angle[i] = static_cast<double>(wide_word(words, 2 * i + 1) >> 11) * 0x1p-53;
    }
  }
  if constexpr (sizeof(C) == 8) {
    // Not by way of sin and cos, which call the C library.
    for (int i = 0; i < kCount / 2; i += kLanes) {
      store_raw(radius + i, sqrt(log(load_raw<V>(radius + i)) * broadcast<V>(-2.0)));
    }
    for (int i = 0; i < kCount / 2; ++i) {
      const Turn at = turn(angle[i]);
      out[2 * i] = radius[i] * at.cos;
      out[2 * i + 1] = radius[i] * at.sin;
    }
  } else {
    C first[kCount / 2];
    C second[kCount / 2];
    for (int i = 0; i < kCount / 2; i += kLanes) {
      const V r = sqrt(log(load_raw<V>(radius + i)) * broadcast<V>(C(-2)));
      const V t = load_raw<V>(angle + i) * broadcast<V>(C(6.283185307179586476925286766559));
      store_raw(first + i, r * cos_of_pair(t));
      store_raw(second + i, r * sin_of_pair(t));
    }
    for (int i = 0; i < kCount / 2; ++i) {
      out[2 * i] = first[i];
      out[2 * i + 1] = second[i];
    }
  }
}

template <class T>
void normal(const KernelArgs& args, int64_t task) noexcept {
  using C = ComputeType<T>;
  const auto& a = args.attrs_as<NormalAttrs>();
  const auto mean = static_cast<C>(a.mean);
  const auto std_dev = static_cast<C>(a.std);
  draw<sizeof(C) / 4>(stream_of(args.in[0]), args.out[0].numel, task,
                      [&](const uint32_t* words, int64_t first, int64_t count) __attribute__((always_inline)) {
                        C z[kPhiloxWords * 4 / sizeof(C)];
                        normals_of(words, z);
                        T* to = args.out[0].as<T>() + first;
                        for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(mean + std_dev * z[i]);
                      });
}

template <class T>
void randint(const KernelArgs& args, int64_t task) noexcept {
  const auto& a = args.attrs_as<RandintAttrs>();
  const auto low = static_cast<uint64_t>(a.low);
  const uint64_t range = static_cast<uint64_t>(a.high) - low;
  draw<2>(stream_of(args.in[0]), args.out[0].numel, task,
          [&](const uint32_t* words, int64_t first, int64_t count) __attribute__((always_inline)) {
            T* to = args.out[0].as<T>() + first;
            for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(low + scaled_word(words, i, range));
          });
}

void bernoulli(const KernelArgs& args, int64_t task) noexcept {
  const uint64_t threshold = threshold_of(args.attrs_as<BernoulliAttrs>().p);
  draw<1>(stream_of(args.in[0]), args.out[0].numel, task,
          [&](const uint32_t* words, int64_t first, int64_t count) __attribute__((always_inline)) {
            bool* to = args.out[0].as<bool>() + first;
            for (int64_t i = 0; i < count; ++i) to[i] = words[i] < threshold;
          });
}

// ---- dropout ----
template <class T>
MovePlan plan_into_output(const KOperand& x, const KOperand& out) noexcept {
  MovePlan plan;
  for (int32_t i = 0; i < x.rank; ++i) plan.add(x.shape[i], out.strides[i], x.strides[i]);
  return plan;
}

// Puts a task's elements of x into the output, unless x can be read in place; returns where to read them.
template <class T>
GORGO_INLINE const T* stage(const KOperand& x, const KOperand& out, int64_t task) noexcept {
  if (x.contiguous) return x.as<T>();
  const int64_t begin = task * kMoveGrain;
  const int64_t end = begin + kMoveGrain < x.numel ? begin + kMoveGrain : x.numel;
  move_range(plan_into_output<T>(x, out), out.as<T>(), x.as<T>(), begin, end);
  return out.as<T>();
}

template <class T>
void dropout(const KernelArgs& args, int64_t task) noexcept {
  using C = ComputeType<T>;
  const double p = args.attrs_as<DropoutAttrs>().p;
  const uint64_t threshold = threshold_of(p);
  const C scale = dropout_scale<C>(p);
  const T* x = stage<T>(args.in[0], args.out[0], task);
  draw<1>(stream_of(args.in[1]), args.out[0].numel, task,
          [&](const uint32_t* words, int64_t first, int64_t count) __attribute__((always_inline)) {
            const T* from = x + first;
            T* to = args.out[0].as<T>() + first;
            bool* mask = args.out[1].as<bool>() + first;
            for (int64_t i = 0; i < count; ++i) {
              const bool keep = words[i] >= threshold;
              mask[i] = keep;
              to[i] = keep ? static_cast<T>(static_cast<C>(from[i]) * scale) : T{};
            }
          });
}

template <class T>
void dropout_adjoint(const KernelArgs& args, int64_t task) noexcept {
  using C = ComputeType<T>;
  const C scale = dropout_scale<C>(args.attrs_as<DropoutAttrs>().p);
  const KOperand& mask = args.in[1];
  const KOperand& out = args.out[0];
  const T* g = stage<T>(args.in[0], out, task);
  MovePlan plan;
  for (int32_t i = 0; i < mask.rank; ++i) plan.add(mask.shape[i], out.strides[i], mask.strides[i]);
  const int64_t step = plan.rank > 0 ? plan.from[plan.rank - 1] : 0;
  const int64_t begin = task * kMoveGrain;
  const int64_t end = begin + kMoveGrain < out.numel ? begin + kMoveGrain : out.numel;
  walk_lines(plan, begin, end, [&](int64_t to, int64_t from, int64_t n) __attribute__((always_inline)) {
    const bool* keep = mask.as<bool>() + from;
    T* line = out.as<T>() + to;
    for (int64_t i = 0; i < n; ++i) {
      line[i] = keep[i * step] ? static_cast<T>(static_cast<C>(g[to + i]) * scale) : T{};
    }
  });
}

// ---- permutation: indices in the order of random 64-bit words ----
using Ticket = KeyedIndex<uint64_t>;

void number(const KernelArgs& args, int64_t task) noexcept {
  auto* tickets = static_cast<Ticket*>(args.scratch);
  draw<2>(stream_of(args.in[0]), args.out[0].numel, task,
          [&](const uint32_t* words, int64_t first, int64_t count) __attribute__((always_inline)) {
            for (int64_t i = 0; i < count; ++i) {
              tickets[first + i] = {wide_word(words, i), static_cast<uint32_t>(first + i)};
            }
          });
}
void give_order(const KernelArgs& args, int64_t first, const Ticket* sorted, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) args.out[0].as<int64_t>()[first + i] = sorted[i].index;
}
// Words are spread evenly, so a few bits more than number the tickets tell nearly all of them apart.
const Ticket* in_order(Ticket* tickets, Ticket* spare, int64_t n) noexcept {
  return radix_sort(tickets, spare, n, ~uint64_t{0}, n < 1 << 17 ? 16 : 32);
}
// Many tickets are first parted by the upper bits of their words, block by block; then each part is gathered and put in order.
constexpr int kPartBits = 8;
constexpr int64_t kParts = 1 << kPartBits;
struct PartCounts {
  int64_t* of;
  GORGO_INLINE explicit PartCounts(const KernelArgs& args) noexcept
      : of(reinterpret_cast<int64_t*>(static_cast<Ticket*>(args.scratch) + 3 * args.out[0].numel)) {}
  [[nodiscard]] GORGO_INLINE int64_t& operator()(int64_t block, int64_t part) const noexcept {
    return of[block * kParts + part];
  }
};
int64_t ticket_blocks(const KernelArgs& args) noexcept { return SortBlocks(args.out[0].numel).count; }
void part_block(const KernelArgs& args, int64_t block) noexcept {
  const SortBlocks blocks(args.out[0].numel);
  auto* const tickets = static_cast<Ticket*>(args.scratch);
  if (blocks.count == 1) {
    give_order(args, 0, in_order(tickets, tickets + blocks.n, blocks.n), blocks.n);
    return;
  }
  const PartCounts counts(args);
  const auto part_of = [](Ticket t)
                           __attribute__((always_inline)) { return static_cast<int64_t>(t.key >> (64 - kPartBits)); };
  for (int64_t part = 0; part < kParts; ++part) counts(block, part) = 0;
  for (int64_t i = blocks.begin(block); i < blocks.end(block); ++i) ++counts(block, part_of(tickets[i]));
  Ticket* places[kParts];
  Ticket* place = tickets + blocks.n + blocks.begin(block);
  for (int64_t part = 0; part < kParts; ++part) {
    places[part] = place;
    place += counts(block, part);
  }
  for (int64_t i = blocks.begin(block); i < blocks.end(block); ++i) *places[part_of(tickets[i])]++ = tickets[i];
}
int64_t part_tasks(const KernelArgs& args) noexcept { return ticket_blocks(args) > 1 ? kParts : 0; }
void order_part(const KernelArgs& args, int64_t part) noexcept {
  const SortBlocks blocks(args.out[0].numel);
  const PartCounts counts(args);
  auto* const tickets = static_cast<Ticket*>(args.scratch);
  int64_t first = 0;  // how many tickets lie in parts before
  for (int64_t b = 0; b < blocks.count; ++b) {
    for (int64_t p = 0; p < part; ++p) first += counts(b, p);
  }
  int64_t n = 0;
  for (int64_t b = 0; b < blocks.count; ++b) {
    const Ticket* from = tickets + blocks.n + blocks.begin(b);
    for (int64_t p = 0; p < part; ++p) from += counts(b, p);
    const auto count = counts(b, part);
    __builtin_memcpy(tickets + first + n, from, static_cast<size_t>(count) * sizeof(Ticket));
    n += count;
  }
  if (n > 0) give_order(args, first, in_order(tickets + first, tickets + 2 * blocks.n + first, n), n);
}
size_t permutation_scratch(const KernelArgs& args) noexcept {
  const auto n = static_cast<size_t>(args.out[0].numel);
  if (part_tasks(args) == 0) return 2 * sizeof(Ticket) * n;
  return 3 * sizeof(Ticket) * n + static_cast<size_t>(ticket_blocks(args) * kParts) * sizeof(int64_t);
}

// ---- the generator ----
void take_key(const KernelArgs& args, int64_t) noexcept {
  const KOperand& state = args.in[0];
  auto* words = state.as<uint64_t>();
  uint64_t& counter = words[state.strides[0]];
  args.out[0].as<uint64_t>()[0] = words[0];
  args.out[0].as<uint64_t>()[1] = counter;
  ++counter;
}

template <class T>
void fill_floats(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  sink.add("random_uniform", d, Kernel::of({uniform<T>, output_tasks}));
  sink.add("random_normal", d, Kernel::of({normal<T>, output_tasks}));
  sink.add("dropout", d, Kernel::of({dropout<T>, output_tasks}));
  sink.add("dropout_adjoint", d, Kernel::of({dropout_adjoint<T>, output_tasks}));
}

template <class T>
void fill_integers(KernelSink& sink) {
  sink.add("random_randint", kDTypeOf<T>, Kernel::of({randint<T>, output_tasks}));
}

}  // namespace

void fill_random_sample(KernelSink& sink);  // kernels_cpu_sample.cpp
void fill_random(KernelSink& sink);
void fill_random(KernelSink& sink) {
  fill_random_sample(sink);
  sink.add("random_key", DType::UInt64, Kernel::of({take_key, nullptr}));
  sink.add("random_bernoulli", DType::Bool, Kernel::of({bernoulli, output_tasks}));
  sink.add(
      "random_permutation", DType::Int64,
      Kernel{{{number, output_tasks}, {part_block, ticket_blocks}, {order_part, part_tasks}}, 3, permutation_scratch});
  fill_floats<Float16>(sink);
  fill_floats<BFloat16>(sink);
  fill_floats<float>(sink);
  fill_floats<double>(sink);
  fill_integers<int32_t>(sink);
  fill_integers<int64_t>(sink);
#ifdef GORGO_WITH_RARE_DTYPES
  fill_integers<uint8_t>(sink);
  fill_integers<uint16_t>(sink);
  fill_integers<uint32_t>(sink);
  fill_integers<uint64_t>(sink);
  fill_integers<int8_t>(sink);
  fill_integers<int16_t>(sink);
#endif
}

}  // namespace gorgo::GORGO_ISA_NS

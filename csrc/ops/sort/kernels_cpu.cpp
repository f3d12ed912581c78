// CPU kernels of the sort family. A line along the axis becomes (key, index) pairs, where keys are unsigned integers in the
// wanted order; one stable sort of those serves every op and dtype.
//
// Compiled once per ISA. Lines are shared out over at most kMostTasks tasks, each with its own scratch. Where there are a few
// long lines only, blocks of them are the tasks (kernels/radix.h).
// Read next: kernels/radix.h, sort.cpp (what each op means).
#include "kernels/move.h"
#include "kernels/radix.h"
#include "ops/sort/attrs.h"

namespace gorgo::GORGO_ISA_NS {
#ifdef GORGO_WITH_RARE_KERNELS
namespace {

constexpr int64_t kMostTasks = 32;
// Lines up to this number are cut into blocks when they are long. All of them have their entries in scratch at once.
constexpr int64_t kFewLines = 8;

template <int kBytes>
struct KeyOfBytes;
template <>
struct KeyOfBytes<1> {
  using Type = uint8_t;
};
template <>
struct KeyOfBytes<2> {
  using Type = uint16_t;
};
template <>
struct KeyOfBytes<4> {
  using Type = uint32_t;
};
template <>
struct KeyOfBytes<8> {
  using Type = uint64_t;
};
template <class T>
using KeyType = typename KeyOfBytes<static_cast<int>(sizeof(T))>::Type;

// How keys order elements. NaN is the greatest, unless it must come last in a falling order too. Zeros of both signs tie.
struct Order {
  bool falling = false;
  bool nan_last = true;
};

template <class T>
GORGO_INLINE KeyType<T> key_of(T value, Order order) noexcept {
  using K = KeyType<T>;
  constexpr K kSign = static_cast<K>(K{1} << (sizeof(K) * 8 - 1));
  K bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  if constexpr (is_floating(kDTypeOf<T>)) {
    constexpr K kInfinity = static_cast<K>(std::is_same_v<T, double>    ? 0x7ff0000000000000u
                                           : std::is_same_v<T, float>   ? 0x7f800000u
                                           : std::is_same_v<T, Float16> ? 0x7c00u
                                                                        : 0x7f80u);
    const K magnitude = static_cast<K>(bits & static_cast<K>(~kSign));
    if (magnitude > kInfinity) return order.falling && !order.nan_last ? K{0} : static_cast<K>(~K{0});
    if (magnitude == 0) bits = 0;
    bits = (bits & kSign) != 0 ? static_cast<K>(~bits) : static_cast<K>(bits | kSign);
  } else if constexpr (is_signed_integer(kDTypeOf<T>)) {
    bits = static_cast<K>(bits ^ kSign);
  }
  return order.falling ? static_cast<K>(~bits) : bits;
}

struct Lines {
  int64_t axis = 0;
  int64_t length = 0;
  int64_t count = 0;

  GORGO_INLINE Lines(const KOperand& x, int64_t given_axis) noexcept {
    axis = given_axis < 0 ? given_axis + x.rank : given_axis;
    length = x.rank > 0 ? x.shape[axis] : 1;
    count = x.numel == 0 ? 0 : x.numel / length;
  }
  [[nodiscard]] GORGO_INLINE int64_t tasks() const noexcept {
    // Short lines are worth a task only together.
    const int64_t wanted = (count * length + kMoveGrain - 1) / kMoveGrain;
    const int64_t most = wanted < kMostTasks ? wanted : kMostTasks;
    return count < most ? count : most;
  }
  [[nodiscard]] GORGO_INLINE bool in_blocks() const noexcept {
    return count > 0 && count <= kFewLines && SortBlocks(length).count > 1;
  }
};

// The first element of line `line` in an operand.
GORGO_INLINE int64_t line_start(const KOperand& t, int64_t axis, int64_t line) noexcept {
  int64_t at = 0;
  for (int32_t i = t.rank - 1; i >= 0; --i) {
    if (i == axis) continue;
    at += line % t.shape[i] * t.strides[i];
    line /= t.shape[i];
  }
  return at;
}

// What an op does with the sorted indices of a line.
enum class Want : uint8_t { Values, Indices, First };

template <class T, Want kWant>
struct Sort {
  using Item = KeyedIndex<KeyType<T>>;

  static int64_t axis_of(const KernelArgs& args) noexcept {
    if constexpr (kWant == Want::First) {
      return args.attrs_as<TopkAttrs>().axis;
    } else {
      return args.attrs_as<SortAttrs>().axis;
    }
  }
  static Order order_of(const KernelArgs& args) noexcept {
    if constexpr (kWant == Want::First) {
      return {args.attrs_as<TopkAttrs>().largest, false};
    } else {
      return {args.attrs_as<SortAttrs>().descending, true};
    }
  }

  // Entries [begin, end) of line `line`, in the order of the line.
  static void fill(const KernelArgs& args, const Lines& lines, int64_t line, int64_t begin, int64_t end,
                   Item* items) noexcept {
    const KOperand& x = args.in[0];
    const Order order = order_of(args);
    const int64_t step = x.rank > 0 ? x.strides[lines.axis] : 0;
    const T* from = x.as<T>() + line_start(x, lines.axis, line);
    for (int64_t i = begin; i < end; ++i) *items++ = {key_of(from[i * step], order), static_cast<uint32_t>(i)};
  }
  // Writes places [begin, end) of the result's line `line`, those that are wanted.
  static void give(const KernelArgs& args, const Lines& lines, int64_t line, int64_t begin, int64_t end,
                   const Item* sorted) noexcept {
    const KOperand& x = args.in[0];
    const KOperand& out = args.out[0];
    const int64_t step = x.rank > 0 ? x.strides[lines.axis] : 0;
    const int64_t out_step = out.rank > 0 ? out.strides[lines.axis] : 0;
    const int64_t kept = out.rank > 0 ? out.shape[lines.axis] : 1;
    if (end > kept) end = kept;
    const int64_t to = line_start(out, lines.axis, line) + begin * out_step;
    const int64_t count = end - begin;
    if constexpr (kWant == Want::Indices) {
      auto* indices = out.as<int64_t>() + to;
      for (int64_t i = 0; i < count; ++i) indices[i * out_step] = sorted[i].index;
    } else {
      const T* from = x.as<T>() + line_start(x, lines.axis, line);
      T* values = out.as<T>() + to;
      for (int64_t i = 0; i < count; ++i) values[i * out_step] = from[sorted[i].index * step];
      if constexpr (kWant == Want::First) {
        auto* indices = args.out[1].as<int64_t>() + to;
        for (int64_t i = 0; i < count; ++i) indices[i * out_step] = sorted[i].index;
      }
    }
  }

  // First phase: whole lines, or the blocks of long ones each by itself.
  static void run(const KernelArgs& args, int64_t task) noexcept {
    const Lines lines(args.in[0], axis_of(args));
    const int64_t n = lines.length;
    if (lines.in_blocks()) {
      const SortBlocks blocks(n);
      const int64_t line = task / blocks.count;
      const int64_t begin = blocks.begin(task % blocks.count);
      const int64_t end = blocks.end(task % blocks.count);
      Item* items = static_cast<Item*>(args.scratch) + line * 3 * n + begin;
      fill(args, lines, line, begin, end, items);
      const Item* sorted = radix_sort(items, items + n, end - begin);
      if (sorted != items) __builtin_memcpy(items, sorted, static_cast<size_t>(end - begin) * sizeof(Item));
      return;
    }
    Item* items = static_cast<Item*>(args.scratch) + task * 2 * n;
    const int64_t tasks = lines.tasks();
    const int64_t end = lines.count * (task + 1) / tasks;
    for (int64_t line = lines.count * task / tasks; line < end; ++line) {
      fill(args, lines, line, 0, n, items);
      give(args, lines, line, 0, n, radix_sort(items, items + n, n));
    }
  }
  // Second phase: blocks of the result. It has no tasks where whole lines were sorted.
  static void run_blocks(const KernelArgs& args, int64_t task) noexcept {
    const Lines lines(args.in[0], axis_of(args));
    const int64_t n = lines.length;
    const SortBlocks blocks(n);
    const int64_t line = task / blocks.count;
    const int64_t block = task % blocks.count;
    const int64_t begin = blocks.begin(block);
    if (args.out[0].rank > 0 && begin >= args.out[0].shape[lines.axis]) return;
    Item* items = static_cast<Item*>(args.scratch) + line * 3 * n;
    const Item* sorted = gather_sorted(items, blocks, block, items + n + begin, items + 2 * n + begin);
    give(args, lines, line, begin, blocks.end(block), sorted);
  }
  static int64_t block_tasks(const KernelArgs& args) noexcept {
    const Lines lines(args.in[0], axis_of(args));
    return args.out[0].numel == 0 || !lines.in_blocks() ? 0 : lines.count * SortBlocks(lines.length).count;
  }
  static int64_t tasks(const KernelArgs& args) noexcept {
    if (args.out[0].numel == 0) return 0;
    const int64_t blocks = block_tasks(args);
    return blocks > 0 ? blocks : Lines(args.in[0], axis_of(args)).tasks();
  }
  static size_t scratch(const KernelArgs& args) noexcept {
    if (args.out[0].numel == 0) return 0;
    const Lines lines(args.in[0], axis_of(args));
    const int64_t entries = lines.in_blocks() ? 3 * lines.count * lines.length : 2 * lines.tasks() * lines.length;
    return static_cast<size_t>(entries) * sizeof(Item);
  }
  static Kernel kernel() noexcept { return Kernel::of({run, tasks}, {run_blocks, block_tasks}, scratch); }
};

template <class T>
void fill_sort_of(KernelSink& sink) {
  constexpr DType d = kDTypeOf<T>;
  sink.add("sort", d, Sort<T, Want::Values>::kernel());
  sink.add("argsort", d, Sort<T, Want::Indices>::kernel());
  sink.add("topk", d, Sort<T, Want::First>::kernel());
}

}  // namespace

void fill_search(KernelSink& sink);

void fill_sort(KernelSink& sink) {
  fill_search(sink);
  const auto fill = [&sink]<class... T>(TypeTag<T>...) { (fill_sort_of<T>(sink), ...); };
  fill(TypeTag<bool>{}, TypeTag<uint8_t>{}, TypeTag<uint16_t>{}, TypeTag<uint32_t>{}, TypeTag<uint64_t>{},
       TypeTag<int8_t>{}, TypeTag<int16_t>{}, TypeTag<int32_t>{}, TypeTag<int64_t>{}, TypeTag<Float16>{},
       TypeTag<BFloat16>{}, TypeTag<float>{}, TypeTag<double>{});
}
#else  // inherited
void fill_sort(KernelSink&) {}
#endif

}  // namespace gorgo::GORGO_ISA_NS

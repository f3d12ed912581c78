// How operands that do not lie as a loop wants them come by in runs that do: walkers, readers, writers and blocks.
//
// Read next: walking.h, blocks.h.
#include "ops/elementwise/blocks.h"
#include "ops/elementwise/staging.h"
#include "ops/elementwise/transposed.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

template <class Unit>
GORGO_INLINE void copy_units(unsigned char* to, int64_t to_stride, const unsigned char* from, int64_t from_stride,
                             int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, sizeof(Unit));
}
// Elements that lie apart, side by side: sixteen bytes take one store.
template <class Unit>
GORGO_INLINE void collect_units(unsigned char* to, const unsigned char* from, int64_t stride, int64_t count) noexcept {
  constexpr int kAtOnce = 16 / static_cast<int>(sizeof(Unit));
  int64_t i = 0;
  for (; i + kAtOnce <= count; i += kAtOnce) {
    RawVector<Unit, kAtOnce> some;
#pragma GCC unroll 4
    for (int k = 0; k < kAtOnce; ++k) {
      Unit x;
      std::memcpy(&x, from + (i + k) * stride, sizeof x);
      some[k] = x;
    }
    std::memcpy(to + i * static_cast<int64_t>(sizeof(Unit)), &some, sizeof some);
  }
  copy_units<Unit>(to + i * static_cast<int64_t>(sizeof(Unit)), sizeof(Unit), from + i * stride, stride, count - i);
}
[[gnu::noinline]] void copy_run(int64_t size, unsigned char* to, int64_t to_stride, const unsigned char* from,
                                int64_t from_stride, int64_t count) noexcept {
  if (to_stride == size && from_stride == size) {
    std::memcpy(to, from, static_cast<size_t>(count * size));
    return;
  }
  if (to_stride == size && from_stride == 0) return repeat_element(from, to, size, count);
  switch (size) {
    case 1:
      return copy_units<uint8_t>(to, to_stride, from, from_stride, count);
    case 2:
      return copy_units<uint16_t>(to, to_stride, from, from_stride, count);
    case 4:
      if (to_stride == size) return collect_units<uint32_t>(to, from, from_stride, count);
      return copy_units<uint32_t>(to, to_stride, from, from_stride, count);
    case 8:
      if (to_stride == size) return collect_units<uint64_t>(to, from, from_stride, count);
      return copy_units<uint64_t>(to, to_stride, from, from_stride, count);
    default:
      return copy_units<Complex<double>>(to, to_stride, from, from_stride, count);
  }
}

// Cuts elements into chunks that end where rows do, or that part rows evenly, so that what is laid out for one row serves the
// next. A row of zero stands for none.
class Chunks {
 public:
  Chunks(int64_t begin, int64_t end, int64_t row, int64_t most) noexcept : left_(end - begin), most_(most), row_(row) {
    if (row == 0) return;
    most_ = row > most ? (row + (row + most - 1) / most - 1) / ((row + most - 1) / most) : most / row * row;
    in_row_ = row - begin % row;
  }
  [[nodiscard]] bool any() const noexcept { return left_ > 0; }
  [[nodiscard]] int64_t next() noexcept {
    int64_t n = left_ < most_ ? left_ : most_;
    if (row_ != 0) {
      if ((in_row_ < row_ || row_ > most_) && in_row_ < n) n = in_row_;
      in_row_ = in_row_ > n ? in_row_ - n : row_;
    }
    left_ -= n;
    return n;
  }

 private:
  int64_t left_;
  int64_t most_;
  int64_t row_;
  int64_t in_row_ = 0;  // of the row that is under way
};
// The shorter of two rows, where zero stands for none.
GORGO_INLINE int64_t shorter_row(int64_t a, int64_t b) noexcept { return a == 0 || (b != 0 && b < a) ? b : a; }

// Whether neighbouring elements lie apart, each on a line of the cache of its own maybe.
GORGO_INLINE bool lies_apart(const KOperand& of) noexcept {
  int last = of.rank - 1;
  while (last >= 0 && of.shape[last] == 1) --last;
  return last >= 0 && of.strides[last] != 0 && of.strides[last] != 1;
}

// How far an operand's element moves, in bytes, with a step along an axis of the output.
int64_t stride_of(const KOperand& of, const KOperand& over, int axis) noexcept {
  const int own = axis - (over.rank - of.rank);
  return own < 0 || of.shape[own] == 1 ? 0 : of.strides[own] * dtype_size(of.dtype);
}

}  // namespace

// ---- walkers ----

void Walker::start(const KOperand& of, const KOperand& over, int64_t size, int64_t position) noexcept {
  size_ = size;
  rank_ = 0;
  for (int i = 0; i < over.rank; ++i) {
    const int64_t length = over.shape[i];
    if (length == 1) continue;
    const int64_t stride = stride_of(of, over, i);
    if (rank_ > 0 && stride_[rank_ - 1] == stride * length) {
      shape_[rank_ - 1] *= length;
      stride_[rank_ - 1] = stride;
    } else {
      shape_[rank_] = length;
      stride_[rank_] = stride;
      ++rank_;
    }
  }
  if (rank_ == 0) {
    shape_[0] = 1;
    stride_[0] = 0;
    rank_ = 1;
  }
  at_ = static_cast<unsigned char*>(of.data);
  for (int i = rank_ - 1; i >= 0; --i) {
    index_[i] = position % shape_[i];
    position /= shape_[i];
    at_ += index_[i] * stride_[i];
  }
}
template <class F>
GORGO_INLINE void Walker::each_run(int64_t n, F f) noexcept {
  const int last = rank_ - 1;
  while (n > 0) {
    const int64_t left = shape_[last] - index_[last];
    const int64_t count = left < n ? left : n;
    f(at_, stride_[last], count);
    n -= count;
    at_ += count * stride_[last];
    index_[last] += count;
    for (int i = last; index_[i] == shape_[i] && i > 0; --i) {
      at_ += stride_[i - 1] - shape_[i] * stride_[i];
      index_[i] = 0;
      ++index_[i - 1];
    }
  }
}
// Short runs of one element each: whole vectors are stored, of which the next run overwrites what is too much.
template <class Unit>
GORGO_INLINE void Walker::repeat_each(void* to, int64_t n) noexcept {
  using V = Vec<Unit>;
  auto* out = static_cast<Unit*>(to);
  each_run(n, [&](const unsigned char* from, int64_t, int64_t count) {
    Unit x;
    std::memcpy(&x, from, sizeof x);
    for (int64_t i = 0; i < count; i += V::kLanes) store(out + i, broadcast<V>(x));
    out += count;
  });
}
void Walker::skip(int64_t n) noexcept {
  each_run(n, [](unsigned char*, int64_t, int64_t) {});
}
void Walker::gather(void* to, int64_t n) noexcept {
  auto* out = static_cast<unsigned char*>(to);
  const int last = rank_ - 1;
  if (shape_[last] * size_ <= kSlackBytes && stride_[last] == size_) {
    each_run(n, [&](const unsigned char* from, int64_t, int64_t count) {
      copy_few(out, from, count * size_);
      out += count * size_;
    });
    return;
  }
  each_run(n, [&](const unsigned char* from, int64_t stride, int64_t count) {
    copy_run(size_, out, size_, from, stride, count);
    out += count * size_;
  });
}
void Walker::gather_to_room(void* to, int64_t n) noexcept {
  const int last = rank_ - 1;
  if (shape_[last] * size_ <= kSlackBytes && stride_[last] == 0) {
    if (size_ == 4) return repeat_each<uint32_t>(to, n);
    if (size_ == 8) return repeat_each<uint64_t>(to, n);
  }
  gather(to, n);
}
void Walker::scatter(const void* from, int64_t n) noexcept {
  const auto* in = static_cast<const unsigned char*>(from);
  each_run(n, [&](unsigned char* to, int64_t stride, int64_t count) {
    copy_run(size_, to, stride, in, size_, count);
    in += count * size_;
  });
}

// ---- readers and writers, in order ----

void Reader::start(const KOperand& of, const KOperand& over, bool raw, int64_t begin, int64_t end,
                   int64_t chunk) noexcept {
  size_ = dtype_size(of.dtype);
  repeats_ = false;
  held_ = nullptr;
  held_count_ = 0;
  widen_ = raw ? nullptr : widening(of.dtype);
  if (of.numel == over.numel && of.contiguous) {
    kind_ = Kind::InOrder;
    at_ = static_cast<const unsigned char*>(of.data) + begin * size_;
  } else if (is_single(of)) {
    kind_ = Kind::Splat;
    splat(static_cast<const unsigned char*>(of.data), end - begin < chunk ? end - begin : chunk);
  } else {
    kind_ = Kind::Walk;
    walker_.start(of, over, size_, begin);
  }
}
void Reader::splat(const unsigned char* from, int64_t n) noexcept {
  repeat_element(from, widen_ != nullptr ? raw_.bytes : ready_.bytes, size_, n);
  if (widen_ != nullptr) widen_(raw_.bytes, ready_.bytes, n);
}
const void* Reader::refill(int64_t n) noexcept {
  walker_.gather(widen_ != nullptr ? raw_.bytes : ready_.bytes, n);
  if (widen_ != nullptr) widen_(raw_.bytes, ready_.bytes, n);
  held_count_ = n;
  return ready_.bytes;
}
GORGO_INLINE const void* Reader::next(int64_t n) noexcept {
  if (kind_ == Kind::Splat) return ready_.bytes;
  const unsigned char* from = nullptr;
  if (kind_ == Kind::Walk && repeats_ && n >= walker_.row() && walker_.begins_row()) kind_ = Kind::Repeat;
  if (kind_ == Kind::Repeat) {
    // The first chunk is the longest.
    if (n > held_count_) return refill(n);
    return ready_.bytes;
  }
  if (kind_ == Kind::Walk) {
    const unsigned char* const one = walker_.held(n);
    if (one != nullptr) {
      if (one != held_ || n > held_count_) {
        splat(one, n);
        held_ = one;
        held_count_ = n;
      }
      walker_.skip(n);
      return ready_.bytes;
    }
    held_ = nullptr;
  }
  if (kind_ == Kind::InOrder) {
    from = at_;
    at_ += n * size_;
  } else {
    from = walker_.in_place(n);
    if (from != nullptr) {
      walker_.skip(n);
    } else {
      unsigned char* to = widen_ != nullptr ? raw_.bytes : ready_.bytes;
      walker_.gather_to_room(to, n);
      from = to;
    }
  }
  if (widen_ == nullptr) return from;
  widen_(from, ready_.bytes, n);
  return ready_.bytes;
}

void Writer::start(const KOperand& of, bool raw, int64_t begin) noexcept {
  size_ = dtype_size(of.dtype);
  narrow_ = raw ? nullptr : narrowing(of.dtype);
  in_order_ = of.contiguous;
  in_place_ = false;
  if (in_order_) {
    at_ = static_cast<unsigned char*>(of.data) + begin * size_;
  } else {
    walker_.start(of, of, size_, begin);
  }
}
GORGO_INLINE void* Writer::room(int64_t n) noexcept {
  if (narrow_ != nullptr) return ready_.bytes;
  if (in_order_) return at_;
  unsigned char* const place = walker_.in_place(n);
  in_place_ = place != nullptr;
  return in_place_ ? place : ready_.bytes;
}
GORGO_INLINE void Writer::done(int64_t n) noexcept {
  if (in_place_) return walker_.skip(n);
  const unsigned char* from = ready_.bytes;
  if (narrow_ != nullptr) {
    unsigned char* to = in_order_ ? at_ : raw_.bytes;
    narrow_(ready_.bytes, to, n);
    from = raw_.bytes;
  }
  if (in_order_) {
    at_ += n * size_;
  } else {
    walker_.scatter(from, n);
  }
}

// ---- readers and writers, by blocks: one buffer has a block of storage elements, the other a run to compute with ----

void Reader::start_blocks(const KOperand& of, bool raw, const BlockSteps& steps) noexcept {
  size_ = dtype_size(of.dtype);
  widen_ = raw ? nullptr : widening(of.dtype);
  steps_ = steps;
  across_ = steps.lies_across(size_);
  far_ = of.numel * size_ >= TransposePlan::kStreamBytes;
}
BlockRuns Reader::enter(const KOperand& of, int64_t offset, int64_t rows, int64_t columns, int64_t run_rows) noexcept {
  auto* const from = static_cast<unsigned char*>(of.data) + offset;
  at_ = from;
  step_ = steps_.row * run_rows;
  if (across_) {
    if (far_) {
      for (int64_t c = 0; c < columns; ++c) __builtin_prefetch(from + c * steps_.column + rows * size_);
    }
    transpose_block(size_, ready_.bytes, steps_.pitch, from, steps_.column, rows, columns, false);
    at_ = ready_.bytes;
    step_ = steps_.pitch * run_rows;
  } else if (steps_.row == 0) {
    return {next_run(columns * run_rows), 0, false};
  }
  if (widen_ != nullptr || (!across_ && steps_.column != size_)) return {nullptr, 0, true};
  return {across_ ? ready_.bytes : from, step_, false};
}
unsigned char* Reader::next_run(int64_t n) noexcept {
  auto* from = const_cast<unsigned char*>(at_);  // it is only read
  at_ += step_;
  if (!across_ && steps_.column != size_) {
    copy_run(size_, ready_.bytes, size_, from, steps_.column, n);
    from = ready_.bytes;
  }
  if (widen_ == nullptr) return from;
  widen_(from, raw_.bytes, n);
  return raw_.bytes;
}

void Writer::start_blocks(const KOperand& of, bool raw, const BlockSteps& steps) noexcept {
  size_ = dtype_size(of.dtype);
  narrow_ = raw ? nullptr : narrowing(of.dtype);
  steps_ = steps;
  across_ = steps.lies_across(size_);
  in_place_ = across_ || steps.column == size_;
  streams_ = across_ && of.numel * size_ >= TransposePlan::kStreamBytes;
  for (int i = 0; i < of.rank && streams_; ++i)
    streams_ = of.strides[i] == 1 || of.strides[i] * size_ % kLineBytes == 0;
}
BlockRuns Writer::enter(const KOperand& of, int64_t offset, int64_t run_rows) noexcept {
  block_ = static_cast<unsigned char*>(of.data) + offset;
  at_ = across_ ? ready_.bytes : block_;
  step_ = (across_ ? steps_.pitch : steps_.row) * run_rows;
  if (narrow_ != nullptr || !in_place_) return {nullptr, 0, true};
  return {at_, step_, false};
}
GORGO_INLINE unsigned char* Writer::run_room() noexcept { return narrow_ != nullptr ? raw_.bytes : ready_.bytes; }
void Writer::run_done(int64_t n) noexcept {
  if (narrow_ != nullptr) narrow_(raw_.bytes, in_place_ ? at_ : ready_.bytes, n);
  if (!in_place_) copy_run(size_, at_, steps_.column, ready_.bytes, size_, n);
  at_ += step_;
}
void Writer::leave(int64_t rows, int64_t columns) noexcept {
  if (!across_) return;
  const bool whole_lines = reinterpret_cast<uintptr_t>(block_) % kLineBytes == 0;
  transpose_block(size_, block_, steps_.column, ready_.bytes, steps_.pitch, columns, rows, streams_ && whole_lines);
}

// ---- blocks ----

BlockPlan::BlockPlan(const KOperand* const* in, int in_count, const KOperand* out, int out_count) noexcept {
  const KOperand& over = out[0];
  if (over.numel < kFewestElements) return;
  const int count = in_count + out_count;
  const auto operand = [&](int k) -> const KOperand& { return k < in_count ? *in[k] : out[k - in_count]; };
  bool any = false;
  for (int k = 0; k < count; ++k) any = any || (!operand(k).contiguous && lies_apart(operand(k)));
  if (!any) return;

  BlockAxis axes[kMaxAxes];
  int axis_count = 0;
  for (int i = 0; i < over.rank; ++i) {
    BlockAxis next;
    next.length = over.shape[i];
    if (next.length == 1) continue;
    bool merges = axis_count > 0;
    for (int k = 0; k < count; ++k) {
      next.stride[k] = stride_of(operand(k), over, i);
      merges = merges && axes[axis_count - 1].stride[k] == next.stride[k] * next.length;
    }
    if (merges) {
      next.length *= axes[axis_count - 1].length;
    } else if (axis_count++ == kMaxAxes) {
      return;
    }
    axes[axis_count - 1] = next;
  }
  // The axis along which elements of the first operand that lies across lie side by side.
  const int last = axis_count - 1;
  int other = -1;
  const auto is_dense = [&](int k, int axis) { return axes[axis].stride[k] == dtype_size(operand(k).dtype); };
  for (int k = 0; k < count && other < 0; ++k) {
    if (axes[last].stride[k] == 0 || is_dense(k, last)) continue;
    for (other = last - 1; other >= 0 && !is_dense(k, other);) --other;
  }
  if (other < 0) return;
  // Rows go along the axis by which less is to be transposed, unless they are short: what each run costs is spread over its
  // elements. Rows that follow each other in all operands that are not transposed make one run.
  const auto follow = [&](int row, int column) {
    for (int k = 0; k < count; ++k) {
      const BlockSteps steps{axes[row].stride[k], axes[column].stride[k], 0};
      const int64_t size = dtype_size(operand(k).dtype);
      if (steps.lies_across(size) || steps.is_single()) continue;
      if (steps.column != size || steps.row != size * axes[column].length) return false;
    }
    return axes[column].length <= kChunk / 2;
  };
  const auto cost = [&](int row, int column) {
    constexpr int64_t kLong = 128;
    const int64_t length = follow(row, column) ? kLong : axes[column].length;
    int64_t sum = 2 * kLong / (length < kLong ? length : kLong);
    for (int k = 0; k < count; ++k) sum += is_dense(k, row) && axes[column].stride[k] != 0 ? 10 : 0;
    return sum;
  };
  // At equal costs it is the output that is transposed: what is read goes on in few streams.
  const int64_t in_favour = follow(other, last) ? 0 : 1;
  const bool turned = cost(last, other) < cost(other, last) + in_favour;
  rightwards = turned;
  const int row_axis = turned ? last : other;
  const int column_axis = turned ? other : last;
  const bool joins = follow(row_axis, column_axis);
  down = axes[row_axis];
  along = axes[column_axis];
  constexpr int64_t kFewestRows = 4;
  constexpr int64_t kFewestColumns = 32;
  if (down.length < kFewestRows || (along.length < kFewestColumns && !joins)) return;
  constexpr int64_t kFewestInMatrix = 256;
  if (down.length * along.length < kFewestInMatrix) return;
  for (int i = 0; i < last; ++i) {
    if (i != other) around[rank++] = axes[i];
  }
  int64_t largest = 0;
  for (int k = 0; k < count; ++k) {
    const int64_t size = dtype_size(operand(k).dtype);
    if (size > largest && BlockSteps{down.stride[k], along.stride[k], 0}.lies_across(size)) largest = size;
  }
  const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
  // A line of the cache from each column, or more of them where there are few columns.
  const int64_t width = kLineBytes / (largest != 0 ? largest : 4);
  const auto whole = [width](int64_t n) { return n > width ? n / width * width : n; };
  rows = least(down.length, width);
  columns = least(along.length, kChunk);
  if (largest != 0) {
    columns = least(columns, whole(kBlockBytes / (largest * rows)));
    rows = least(down.length, whole(kBlockBytes / (largest * columns)));
  }
  if (joins && columns == along.length) run_rows = least(rows, kChunk / columns);
  row_blocks = (down.length + rows - 1) / rows;
  column_blocks = (along.length + columns - 1) / columns;
  units = over.numel / (down.length * along.length) * row_blocks * column_blocks;
  applies = true;
}

namespace {

void run_blocks(const Staged& s, const BlockPlan& plan, int64_t task, const Work& work) noexcept {
  const int count = s.in_count + s.out_count;
  for (int k = 0; k < s.in_count; ++k) {
    s.readers[k].start_blocks(*s.in[k], s.raw, plan.steps(k, dtype_size(s.in[k]->dtype)));
  }
  for (int k = 0; k < s.out_count; ++k) {
    s.writers[k].start_blocks(s.out[k], s.raw, plan.steps(s.in_count + k, dtype_size(s.out[k].dtype)));
  }
  const int64_t tasks = (s.out[0].numel + kTaskElements - 1) / kTaskElements;
  const int64_t end = (task + 1) * plan.units / tasks;
  for (int64_t unit = task * plan.units / tasks; unit < end; ++unit) {
    const int64_t first = plan.rightwards ? plan.column_blocks : plan.row_blocks;
    const int64_t fast = unit % first;
    const int64_t slow = unit / first % (plan.rightwards ? plan.row_blocks : plan.column_blocks);
    const int64_t row = (plan.rightwards ? slow : fast) * plan.rows;
    const int64_t column = (plan.rightwards ? fast : slow) * plan.columns;
    int64_t place = unit / plan.column_blocks / plan.row_blocks;
    int64_t offset[BlockAxis::kMostOperands];
    for (int k = 0; k < count; ++k) offset[k] = row * plan.down.stride[k] + column * plan.along.stride[k];
    for (int i = plan.rank - 1; i >= 0; --i) {
      const BlockAxis& axis = plan.around[i];
      const int64_t index = place % axis.length;
      place /= axis.length;
      for (int k = 0; k < count; ++k) offset[k] += index * axis.stride[k];
    }
    const int64_t rows = plan.down.length - row < plan.rows ? plan.down.length - row : plan.rows;
    const int64_t columns = plan.along.length - column < plan.columns ? plan.along.length - column : plan.columns;
    BlockRuns from[BlockAxis::kMostOperands];
    BlockRuns to[BlockAxis::kMostOperands];
    for (int k = 0; k < s.in_count; ++k) {
      from[k] = s.readers[k].enter(*s.in[k], offset[k], rows, columns, plan.run_rows);
    }
    for (int k = 0; k < s.out_count; ++k) {
      to[k] = s.writers[k].enter(s.out[k], offset[s.in_count + k], plan.run_rows);
    }
    for (int64_t left = rows; left > 0; left -= plan.run_rows) {
      const int64_t n = (left < plan.run_rows ? left : plan.run_rows) * columns;
      const void* in[BlockAxis::kMostOperands];
      void* out[BlockAxis::kMostOperands];
      for (int k = 0; k < s.in_count; ++k) {
        in[k] = from[k].waits ? s.readers[k].next_run(n) : from[k].at;
        from[k].at += from[k].step;
      }
      for (int k = 0; k < s.out_count; ++k) {
        out[k] = to[k].waits ? s.writers[k].run_room() : to[k].at;
        to[k].at += to[k].step;
      }
      work(in, out, n);
      for (int k = 0; k < s.out_count; ++k) {
        if (to[k].waits) s.writers[k].run_done(n);
      }
    }
    for (int k = 0; k < s.out_count; ++k) s.writers[k].leave(rows, columns);
  }
  end_streams();
}

}  // namespace

void run_chunks(const Staged& s, int64_t task, const Work& work) noexcept {
  const BlockPlan plan(s.in, s.in_count, s.out, s.out_count);
  if (plan.applies) return run_blocks(s, plan, task, work);
  const int64_t total = s.out[0].numel;
  const int64_t begin = task * kTaskElements;
  const int64_t end = total - begin < kTaskElements ? total : begin + kTaskElements;
  if (begin >= end) return;
  int64_t chunk = s.chunk;
  // The lines that one chunk is collected from stay in the first-level cache for the next.
  for (int k = 0; k < s.in_count; ++k) chunk = lies_apart(*s.in[k]) ? kChunk : chunk;
  int64_t row = 0;
  for (int k = 0; k < s.in_count; ++k) {
    s.readers[k].start(*s.in[k], s.out[0], s.raw, begin, end, chunk);
    row = shorter_row(row, s.readers[k].row());
  }
  for (int k = 0; k < s.out_count; ++k) {
    s.writers[k].start(s.out[k], s.raw, begin);
    row = shorter_row(row, s.writers[k].row());
  }
  for (int k = 0; k < s.in_count; ++k) s.readers[k].walk_by(row);
  for (Chunks chunks(begin, end, row, chunk); chunks.any();) {
    const int64_t n = chunks.next();
    const void* from[BlockAxis::kMostOperands];
    void* to[BlockAxis::kMostOperands];
    for (int k = 0; k < s.in_count; ++k) from[k] = s.readers[k].next(n);
    for (int k = 0; k < s.out_count; ++k) to[k] = s.writers[k].room(n);
    work(from, to, n);
    for (int k = 0; k < s.out_count; ++k) s.writers[k].done(n);
  }
}

}  // namespace gorgo::GORGO_ISA_NS

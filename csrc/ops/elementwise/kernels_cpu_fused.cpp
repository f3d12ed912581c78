// Fused steps on the CPU: a chunk that stays in the first-level cache goes through all instructions before the next is read.
//
// Each instruction is the loop of its op. Every value lies in its storage type between instructions, as it would in memory, so
// the bits are those of the ops one by one. An output is written when all of its chunk has been read: it may be an operand.
// Read next: core/fused.h, ops/elementwise/loops_cpu.h.
#include "core/fused.h"
#include "ops/elementwise/loops_cpu.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

constexpr int kValues = kFusedInputs + kFusedNumbers + kFusedInstructions;

// How an instruction reads and writes.
enum class Form : uint8_t { Arithmetic, Test, Logical, Where, Copy, Move, Truth };

GORGO_INLINE constexpr Form form_of(FusedOp op) noexcept {
  switch (op) {
#define GORGO_X(Struct, name) case FusedOp::Struct:
    GORGO_FOR_EACH_FUSED_TEST(GORGO_X)
    GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_X)
    return Form::Test;
    GORGO_FOR_EACH_FUSED_LOGICAL(GORGO_X)
#undef GORGO_X
    case FusedOp::LogicalNot:
      return Form::Logical;
    case FusedOp::Where:
      return Form::Where;
    case FusedOp::Copy:
      return Form::Copy;
    case FusedOp::Move:
      return Form::Move;
    case FusedOp::Truth:
      return Form::Truth;
    default:
      return Form::Arithmetic;
  }
}

template <class T>
Loop loop_of(FusedOp op) noexcept {
  switch (op) {
#define GORGO_X(Struct, name) \
  case FusedOp::Struct:       \
    return unary_loop<Struct, T>;
    GORGO_FOR_EACH_FUSED_UNARY(GORGO_X)
    GORGO_FOR_EACH_FUSED_TEST(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) \
  case FusedOp::Struct:       \
    return binary_loop<Struct, T>;
    GORGO_FOR_EACH_FUSED_BINARY(GORGO_X)
    GORGO_FOR_EACH_FUSED_COMPARISON(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name) \
  case FusedOp::Struct:       \
    return binary_loop<Struct, bool>;
    GORGO_FOR_EACH_FUSED_LOGICAL(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name)     \
  case FusedOp::Struct##Backward: \
    return unary_backward_loop<Struct, T>;
    GORGO_FOR_EACH_FUSED_UNARY_BACKWARD(GORGO_X)
#undef GORGO_X
#define GORGO_X(Struct, name)                  \
  case FusedOp::Struct##BackwardA:             \
    return binary_backward_loop<Struct, T, 1>; \
  case FusedOp::Struct##BackwardB:             \
    return binary_backward_loop<Struct, T, 2>;
    GORGO_FOR_EACH_FUSED_BINARY_BACKWARD(GORGO_X)
#undef GORGO_X
    case FusedOp::LogicalNot:
      return unary_loop<LogicalNot, bool>;
    case FusedOp::Clip:
      return clip_loop<T>;
    case FusedOp::Truth:
      return truth_loop<T>;
    default:
      return nullptr;
  }
}

// Runs the program over chunks. T is what it computes in.
template <class T>
class Machine {
 public:
  explicit Machine(const KernelArgs& args) noexcept
      : args_(args), attrs_(args.attrs_as<FusedAttrs>()), operands_(args.in_count), count_(attrs_.count()) {
    for (int v = 0; v < operands_ + count_; ++v) last_read_[v] = -1;
    for (int i = 0; i < count_; ++i) {
      code_[i] = attrs_.at(i);
      for (const int8_t v : code_[i].reads) {
        if (v >= 0) last_read_[v] = i;
      }
    }
    for (int r = 0; r < attrs_.results.size(); ++r) last_read_[attrs_.results[r]] = count_;
  }

  void run(int64_t begin, int64_t end) noexcept {
    for (int i = 0; i < operands_; ++i) {
      const KOperand& x = args_.in[i];
      dtype_[i] = x.dtype;
      is_number_[i] = x.host;
      if (is_number_[i]) {
        repeat_element(x.data, numbers_[number_count_], sizeof(T), kChunk);
        data_[i] = numbers_[number_count_++];
      } else {
        readers_[reader_count_].start(x, args_.out[0], true, begin, end);
        reader_of_[reader_count_++] = i;
      }
    }
    for (int i = 0; i < args_.out_count; ++i) writers_[i].start(args_.out[i], true, begin);
    for (int64_t at = begin; at < end; at += kChunk) chunk(end - at < kChunk ? end - at : kChunk);
  }

 private:
  struct alignas(64) Room {
    unsigned char bytes[kChunk * sizeof(T) + 64];  // neighbours must not share places of the cache
  };

  void chunk(int64_t n) noexcept {
    free_count_ = 0;
    for (int i = count_ + 1; i-- > 0;) free_[free_count_++] = rooms_[i].bytes;
    for (int r = 0; r < reader_count_; ++r) data_[reader_of_[r]] = readers_[r].next(n);
    for (int i = 0; i < count_; ++i) {
      const int self = operands_ + i;
      dtype_[self] = code_[i].dtype;
      is_number_[self] = false;
      unsigned char* const room = free_[--free_count_];
      data_[self] = room;
      instruction(code_[i], room, n);
      for (int k = 0; k < 3; ++k) {
        const auto v = static_cast<int>(code_[i].reads[k]);
        if (v < operands_ || last_read_[v] != i || (k > 0 && v == code_[i].reads[0]) ||
            (k > 1 && v == code_[i].reads[1])) {
          continue;
        }
        free_[free_count_++] = static_cast<unsigned char*>(const_cast<void*>(data_[v]));
      }
    }
    for (int r = 0; r < args_.out_count; ++r) {
      const auto v = static_cast<int>(attrs_.results[r]);
      std::memcpy(writers_[r].room(), data_[v], static_cast<size_t>(n * dtype_size(dtype_[v])));
      writers_[r].done(n);
    }
  }

  // Value v as T; `k` is which temporary may hold it.
  const void* as_compute(int v, int k, int64_t n) noexcept {
    if (is_number_[v]) return data_[v];
    const Conversion widens = dtype_[v] == DType::Bool ? nullptr : widening(dtype_[v]);
    if (widens != nullptr) {
      widens(data_[v], wide_[k].bytes, n);
      return wide_[k].bytes;
    }
    return data_[v];
  }
  // As it lies in memory as `dtype`.
  const void* as_stored(int v, DType dtype, int k, int64_t n) noexcept {
    if (!is_number_[v]) return data_[v];
    if (dtype == DType::Bool) {
      std::memset(wide_[k].bytes, numbers_of(v) != T{0} ? 1 : 0, static_cast<size_t>(n));
      return wide_[k].bytes;
    }
    const Conversion narrows = narrowing(dtype);
    if (narrows == nullptr) return data_[v];
    narrows(data_[v], wide_[k].bytes, n);
    return wide_[k].bytes;
  }
  T numbers_of(int v) const noexcept { return *static_cast<const T*>(data_[v]); }

  void instruction(const FusedInstruction& code, unsigned char* room, int64_t n) noexcept {
    const int arity = fused_arity(code.op);
    const void* in[3] = {};
    void* out = room;
    switch (form_of(code.op)) {
      case Form::Arithmetic: {
        for (int k = 0; k < arity; ++k) in[k] = as_compute(code.reads[k], k, n);
        const Conversion narrows = narrowing(code.dtype);
        if (narrows != nullptr) out = wide_[3].bytes;
        loop_of<T>(code.op)(in, &out, n);
        if (narrows != nullptr) narrows(out, room, n);
        return;
      }
      case Form::Test:
      case Form::Truth:
        for (int k = 0; k < arity; ++k) in[k] = as_compute(code.reads[k], k, n);
        loop_of<T>(code.op)(in, &out, n);
        return;
      case Form::Logical:
        for (int k = 0; k < arity; ++k) in[k] = as_stored(code.reads[k], DType::Bool, k, n);
        loop_of<T>(code.op)(in, &out, n);
        return;
      case Form::Where:
        in[0] = as_stored(code.reads[0], DType::Bool, 0, n);
        for (int k = 1; k < 3; ++k) in[k] = as_stored(code.reads[k], code.dtype, k, n);
        switch (dtype_size(code.dtype)) {
          case 1:
            return where_loop<uint8_t>(in, &out, n);
          case 2:
            return where_loop<uint16_t>(in, &out, n);
          case 4:
            return where_loop<uint32_t>(in, &out, n);
          default:
            return where_loop<uint64_t>(in, &out, n);
        }
      case Form::Copy:
        std::memcpy(room, as_stored(code.reads[0], code.dtype, 0, n), static_cast<size_t>(n * dtype_size(code.dtype)));
        return;
      case Form::Move: {
        const Conversion narrows = narrowing(code.dtype);
        const void* from = as_compute(code.reads[0], 0, n);
        if (dtype_[code.reads[0]] == DType::Bool) {
          auto* to = reinterpret_cast<T*>(wide_[1].bytes);
          for (int64_t i = 0; i < n; ++i) to[i] = static_cast<const uint8_t*>(from)[i] != 0 ? T{1} : T{0};
          from = to;
        }
        if (narrows != nullptr) {
          narrows(from, room, n);
        } else {
          std::memcpy(room, from, static_cast<size_t>(n) * sizeof(T));
        }
        return;
      }
    }
  }

  const KernelArgs& args_;
  const FusedAttrs& attrs_;
  int operands_;
  int count_;
  FusedInstruction code_[kFusedInstructions];
  int last_read_[kValues];
  DType dtype_[kValues];
  bool is_number_[kValues];
  const void* data_[kValues];  // of this chunk
  Reader readers_[kFusedInputs];
  int reader_of_[kFusedInputs];
  int reader_count_ = 0;
  Writer writers_[kFusedOutputs];
  alignas(64) T numbers_[kFusedNumbers][kChunk + 64 / sizeof(T)];
  int number_count_ = 0;
  Room rooms_[kFusedInstructions + 1];
  unsigned char* free_[kFusedInstructions + 1];
  int free_count_ = 0;
  Room wide_[4];
};

template <class T>
void run_fused(const KernelArgs& args, int64_t task) noexcept {
  const int64_t begin = task * kTaskElements;
  const int64_t end = args.out[0].numel - begin < kTaskElements ? args.out[0].numel : begin + kTaskElements;
  if (begin < end) Machine<T>(args).run(begin, end);
}

}  // namespace

void fill_elementwise_fused(KernelSink& sink) {
  add(sink, "fused", DType::Float32, run_fused<float>);
  add(sink, "fused", DType::Float64, run_fused<double>);
}

}  // namespace gorgo::GORGO_ISA_NS

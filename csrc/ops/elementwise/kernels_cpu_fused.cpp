// Fused steps on the CPU: a chunk that stays in the first-level cache goes through all instructions before the next is read.
//
// Each instruction is the loop of its op. Every value lies in its storage type between instructions, as it would in memory, so
// the bits are those of the ops one by one. An output is written when all of its chunk has been read: it may be an operand.
// Read next: core/fused.h, ops/elementwise/loops_cpu.h.
#include "core/fused.h"
#include "ops/elementwise/blocks.h"
#include "ops/elementwise/loops_cpu.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace gorgo::GORGO_ISA_NS {
namespace {

static_assert(kFusedInputs + kFusedOutputs <= BlockAxis::kMostOperands);
constexpr int kValues = kFusedInputs + kFusedNumbers + kFusedInstructions;

// How an instruction reads and writes.
enum class Form : uint8_t { Arithmetic, Test, Logical, Where, Copy, Move };

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
      return Form::Test;
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

// Runs the program over chunks. T is what it computes in. What does not depend on the chunk is worked out when the machine is made.
template <class T>
class Machine {
 public:
  explicit Machine(const KernelArgs& args) noexcept
      : args_(args), operands_(args.in_count), count_(args.attrs_as<FusedAttrs>().count()) {
    const auto& attrs = args.attrs_as<FusedAttrs>();
    int last_read[kValues];
    for (int v = 0; v < operands_ + count_; ++v) last_read[v] = -1;
    for (int i = 0; i < count_; ++i) {
      for (const int8_t v : attrs.at(i).reads) {
        if (v >= 0) last_read[v] = i;
      }
    }
    for (int r = 0; r < args.out_count; ++r) {
      results_[r] = static_cast<int>(attrs.results[r]);
      last_read[results_[r]] = count_;
    }
    last_is_result_ = args.out_count == 1 && results_[0] == operands_ + count_ - 1;
    int numbers = 0;
    for (int i = 0; i < operands_; ++i) {
      const KOperand& x = args_.in[i];
      dtype_[i] = x.dtype;
      is_number_[i] = x.host;
      if (is_number_[i]) {
        repeat_element(x.data, numbers_[numbers], sizeof(T), kChunk);
        data_[i] = numbers_[numbers++];
      } else {
        inputs_[reader_count_] = &x;
        reader_of_[reader_count_++] = i;
      }
    }
    int free[kFusedInstructions + 1];
    int free_count = 0;
    for (int i = count_ + 1; i-- > 0;) free[free_count++] = i;
    for (int i = 0; i < count_; ++i) {
      const FusedInstruction code = attrs.at(i);
      const int self = operands_ + i;
      dtype_[self] = code.dtype;
      is_number_[self] = false;
      decode(code, steps_[i]);
      // The last result goes where it belongs: all operands have been read by then, but those that lie there too, by this instruction.
      const int room = i + 1 == count_ && last_is_result_ ? -1 : free[--free_count];
      data_[self] = room < 0 ? nullptr : rooms_[room].bytes;
      room_[self] = room;
      for (int k = 0; k < 3; ++k) {
        const auto v = static_cast<int>(code.reads[k]);
        if (v < operands_ || last_read[v] != i || (k > 0 && v == code.reads[0]) || (k > 1 && v == code.reads[1])) {
          continue;
        }
        free[free_count++] = room_[v];
      }
    }
  }

  void run(int64_t task) noexcept {
    const auto visit = [](void* self, const void* const* in, void* const* out, int64_t n) noexcept {
      static_cast<Machine*>(self)->chunk(in, out, n);
    };
    run_chunks({inputs_, readers_, reader_count_, args_.out, writers_, args_.out_count, true, kChunk}, task,
               {.visit = visit, .self = this});
  }

 private:
  struct alignas(64) Room {
    unsigned char bytes[kChunk * sizeof(T) + 64];  // neighbours must not share places of the cache
  };
  // An instruction with all that its kernel has to be asked for.
  struct Step {
    Form form;
    DType dtype;
    int8_t arity;
    int8_t reads[3];
    bool converts;         // an operand is to be widened, or the result narrowed
    Loop loop;             // or null
    Conversion widens[3];  // what brings an operand to T, or null
    Conversion narrows;    // what rounds the result to its dtype, or null
  };

  void decode(const FusedInstruction& code, Step& step) const noexcept {
    step.form = form_of(code.op);
    step.dtype = code.dtype;
    step.arity = static_cast<int8_t>(fused_arity(code.op));
    step.loop = loop_of<T>(code.op);
    const bool rounds = step.form == Form::Arithmetic || step.form == Form::Move;
    step.narrows = rounds ? narrowing(code.dtype) : nullptr;
    step.converts = step.narrows != nullptr;
    for (int k = 0; k < step.arity; ++k) {
      const int v = step.reads[k] = code.reads[k];
      step.widens[k] = is_number_[v] || dtype_[v] == DType::Bool ? nullptr : widening(dtype_[v]);
      step.converts = step.converts || step.widens[k] != nullptr;
    }
  }

  void chunk(const void* const* in, void* const* out, int64_t n) noexcept {
    for (int r = 0; r < reader_count_; ++r) data_[reader_of_[r]] = in[r];
    if (last_is_result_) data_[operands_ + count_ - 1] = out[0];
    for (int i = 0; i < count_; ++i) {
      run_step(steps_[i], static_cast<unsigned char*>(const_cast<void*>(data_[operands_ + i])), n);
    }
    if (last_is_result_) return;
    for (int r = 0; r < args_.out_count; ++r) {
      const int v = results_[r];
      std::memcpy(out[r], data_[v], static_cast<size_t>(n * dtype_size(dtype_[v])));
    }
  }

  // Operand k as T.
  GORGO_INLINE const void* as_compute(const Step& step, int k, int64_t n) noexcept {
    const void* from = data_[step.reads[k]];
    if (step.widens[k] == nullptr) return from;
    step.widens[k](from, wide_[k].bytes, n);
    return wide_[k].bytes;
  }
  // As it lies in memory as `dtype`.
  const void* as_stored(int v, DType dtype, int k, int64_t n) noexcept {
    if (!is_number_[v]) return data_[v];
    if (dtype == DType::Bool) {
      std::memset(wide_[k].bytes, *static_cast<const T*>(data_[v]) != T{0} ? 1 : 0, static_cast<size_t>(n));
      return wide_[k].bytes;
    }
    const Conversion narrows = narrowing(dtype);
    if (narrows == nullptr) return data_[v];
    narrows(data_[v], wide_[k].bytes, n);
    return wide_[k].bytes;
  }

  GORGO_INLINE void run_step(const Step& step, unsigned char* room, int64_t n) noexcept {
    if (step.form > Form::Test) return run_other(step, room, n);
    void* out = room;
    if (!step.converts) {
      const void* const in[3] = {data_[step.reads[0]], step.arity > 1 ? data_[step.reads[1]] : nullptr,
                                 step.arity > 2 ? data_[step.reads[2]] : nullptr};
      return step.loop(in, &out, n);
    }
    const void* in[3] = {};
    for (int k = 0; k < step.arity; ++k) in[k] = as_compute(step, k, n);
    if (step.narrows == nullptr) return step.loop(in, &out, n);
    out = wide_[3].bytes;
    step.loop(in, &out, n);
    step.narrows(out, room, n);
  }

  void run_other(const Step& step, unsigned char* room, int64_t n) noexcept {
    const void* in[3] = {};
    void* out = room;
    switch (step.form) {
      case Form::Logical:
        for (int k = 0; k < step.arity; ++k) in[k] = as_stored(step.reads[k], DType::Bool, k, n);
        return step.loop(in, &out, n);
      case Form::Where:
        in[0] = as_stored(step.reads[0], DType::Bool, 0, n);
        for (int k = 1; k < 3; ++k) in[k] = as_stored(step.reads[k], step.dtype, k, n);
        switch (dtype_size(step.dtype)) {
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
        std::memmove(room, as_stored(step.reads[0], step.dtype, 0, n), static_cast<size_t>(n * dtype_size(step.dtype)));
        return;
      default: {  // Move
        const void* from = as_compute(step, 0, n);
        if (dtype_[step.reads[0]] == DType::Bool) {
          auto* to = reinterpret_cast<T*>(wide_[1].bytes);
          for (int64_t i = 0; i < n; ++i) to[i] = static_cast<const uint8_t*>(from)[i] != 0 ? T{1} : T{0};
          from = to;
        }
        if (step.narrows != nullptr) return step.narrows(from, room, n);
        std::memmove(room, from, static_cast<size_t>(n) * sizeof(T));
        return;
      }
    }
  }

  const KernelArgs& args_;
  int operands_;
  int count_;
  bool last_is_result_;  // and the only one
  int results_[kFusedOutputs];
  Step steps_[kFusedInstructions];
  int room_[kValues];
  DType dtype_[kValues];
  bool is_number_[kValues];
  const void* data_[kValues];  // of this chunk
  const KOperand* inputs_[kFusedInputs];
  Reader readers_[kFusedInputs];
  int reader_of_[kFusedInputs];
  int reader_count_ = 0;
  Writer writers_[kFusedOutputs];
  alignas(64) T numbers_[kFusedNumbers][kChunk + 64 / sizeof(T)];
  Room rooms_[kFusedInstructions + 1];
  Room wide_[4];
};

template <class T>
void run_fused(const KernelArgs& args, int64_t task) noexcept {
  Machine<T>(args).run(task);
}
}  // namespace

void fill_elementwise_fused(KernelSink& sink) {
  add(sink, "fused", DType::Float32, run_fused<float>);
  add(sink, "fused", DType::Float64, run_fused<double>);
}

}  // namespace gorgo::GORGO_ISA_NS

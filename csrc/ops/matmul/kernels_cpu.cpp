// The matmul family on the CPU: operands become one GemmProblem or a stack of them, and its tasks the kernel's.
//
// Invariant: rows that one factor shares (a stack against a plain matrix) are folded into one problem where strides allow; the sums do
// not depend on it (kernels/gemm/gemm.h).
#include <complex>
#include <cstdint>
#include <type_traits>

#include "core/counts.h"
#include "core/epilogue.h"
#include "core/kernel_args.h"
#include "kernels/epilogue.h"
#include "kernels/gemm/gemm.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Multiply-adds of small products that one task takes together.
constexpr int64_t kStackWork = 256 * 1024;
// Tasks of a stack whose elements need scratch of their own while they run: so often is there room for it.
constexpr int64_t kMostPlaces = 64;
constexpr size_t kAlignment = 64;

struct Stack {
  GemmProblem first;  // the problem of element 0
  int64_t count = 1;
  bool shares_b = true;  // all elements have the same right factor: it is packed once
  const KOperand* a = nullptr;
  const KOperand* b = nullptr;
  const KOperand* out = nullptr;
  int32_t rank = 0;  // leading axes of the result that index the stack
};

bool folds(const KOperand& x) {
  // Rows of all matrices a single stride apart; axes of length one may have any stride.
  int64_t stride = x.strides[x.rank - 2];
  int64_t length = x.shape[x.rank - 2];
  for (int32_t i = x.rank - 3; i >= 0; --i) {
    if (x.shape[i] == 1) continue;
    if (length == 1) {
      stride = x.strides[i];
    } else if (x.strides[i] != stride * length) {
      return false;
    }
    length *= x.shape[i];
  }
  return true;
}

// The stride of the innermost leading axis that is longer than one, when the row axis itself has length one.
int64_t folded_stride(const KOperand& x) {
  for (int32_t i = x.rank - 2; i >= 0; --i) {
    if (x.shape[i] != 1) return x.strides[i];
  }
  return x.strides[x.rank - 2];
}

// The operand that gates the results of an op with that epilogue, if products can read it as they are stored.
template <Epilogue kEpilogue>
const KOperand* gate_of(const KernelArgs& args) {
  if constexpr (!reads_saved(kEpilogue)) return nullptr;
  const KOperand& saved = args.in[args.in_count - 1];
  return saved.contiguous ? &saved : nullptr;
}

template <bool kLinear, Epilogue kEpilogue>
Stack stack_of(const KernelArgs& args) {
  Stack s;
  const KOperand& a = args.in[0];
  const KOperand& b = args.in[1];
  const KOperand& out = args.out[0];
  s.a = &a;
  s.b = &b;
  s.out = &out;
  GemmProblem& p = s.first;
  p.a = a.data;
  p.b = b.data;
  p.a_is_signed = a.dtype == DType::Int8;
  p.b_is_signed = b.dtype == DType::Int8;
  p.c = out.data;
  p.keeps_b = args.keeps;
  p.k = a.shape[a.rank - 1];
  p.a_col_stride = a.strides[a.rank - 1];
  p.m = a.rank > 1 ? a.shape[a.rank - 2] : 1;
  p.a_row_stride = a.rank > 1 ? a.strides[a.rank - 2] : 0;
  if (kLinear) {
    p.n = b.shape[0];
    p.b_row_stride = b.strides[1];
    p.b_col_stride = b.strides[0];
    const KOperand& bias = args.in[2];
    if (args.in_count > 2 && bias.given) {
      p.epilogue.bias = bias.data;
      p.epilogue.bias_stride = bias.strides[0];
    }
  } else {
    p.n = b.rank > 1 ? b.shape[b.rank - 1] : 1;
    p.b_row_stride = b.rank > 1 ? b.strides[b.rank - 2] : b.strides[0];
    p.b_col_stride = b.rank > 1 ? b.strides[b.rank - 1] : 1;
  }
  // An axis of length one is never stepped along: its stride is free, and dense layouts have the faster paths.
  if (p.n == 1) p.b_col_stride = 1;
  if (p.m == 1) p.a_row_stride = p.k;
  p.c_row_stride = p.n;
  if (kEpilogue == Epilogue::Relu) p.epilogue.activation = GemmEpilogue::Activation::relu;
  if (const KOperand* gate = gate_of<kEpilogue>(args)) p.epilogue.gate = gate->data, p.epilogue.gate_row_stride = p.n;
  if (p.k == 0) p.a_row_stride = p.a_col_stride = p.b_row_stride = p.b_col_stride = 0;  // no element, no address
  if (a.rank <= 2 && (kLinear || b.rank <= 2)) return s;
  if (kLinear || b.rank <= 2) {
    if (folds(a)) {
      if (p.k != 0) p.a_row_stride = folded_stride(a);
      p.m = out.numel == 0 ? 0 : out.numel / p.n;
      return s;
    }
  } else {
    s.shares_b = false;
  }
  const int32_t rank_a = a.rank > 2 ? a.rank - 2 : 0;
  const int32_t rank_b = !kLinear && b.rank > 2 ? b.rank - 2 : 0;
  s.rank = rank_a > rank_b ? rank_a : rank_b;
  const int64_t each = p.m * p.n;
  s.count = each == 0 ? 0 : out.numel / each;
  p.shares_scratch = s.shares_b && s.count > 1;
  return s;
}

// Where element `index` of the stack begins in an operand, which broadcasts against the result's leading axes.
int64_t stack_offset(const Stack& s, const KOperand& x, int64_t index) {
  int64_t offset = 0;
  for (int32_t i = s.rank - 1; i >= 0; --i) {
    const int64_t length = s.out->shape[i];
    const int64_t at = index % length;
    index /= length;
    const int32_t axis = x.rank - 2 - s.rank + i;
    if (axis >= 0 && x.shape[axis] != 1) offset += at * x.strides[axis];
  }
  return offset;
}

template <class T>
using Result = std::conditional_t<std::is_same_v<T, BytesToInt32>, int32_t, T>;

template <class T>
GemmProblem problem_at(const Stack& s, int64_t index) {
  GemmProblem p = s.first;
  if (s.rank == 0) return p;
  if (p.k != 0) p.a = static_cast<const T*>(p.a) + stack_offset(s, *s.a, index);
  if (p.k != 0 && !s.shares_b) p.b = static_cast<const T*>(p.b) + stack_offset(s, *s.b, index);
  p.c = static_cast<Result<T>*>(p.c) + index * p.m * p.n;
  if (p.epilogue.gate != nullptr) p.epilogue.gate = static_cast<const T*>(p.epilogue.gate) + index * p.m * p.n;
  return p;
}

template <class T>
size_t packed_bytes(const GemmProblem& p) {
  return (gemm_scratch_bytes<T>(p) + kAlignment - 1) / kAlignment * kAlignment;
}

// Whether an element is done with its scratch before the same task's next one.
template <class T>
bool reuses_scratch(const Stack& s) {
  return kGemmKeepsSums<T> && gemm_tasks<T>(s.first) == 1 && gemm_pack_tasks<T>(s.first) == 0;
}

template <class T>
int64_t elements_per_task(const Stack& s) {
  const int64_t work = s.first.m * s.first.n * (s.first.k > 0 ? s.first.k : 1);
  const int64_t worth_it = work >= kStackWork ? 1 : kStackWork / (work > 0 ? work : 1);
  return reuses_scratch<T>(s) ? most(worth_it, ceil_div(s.count, kMostPlaces)) : worth_it;
}

// How many packed factors the elements of the stack need.
template <class T>
int64_t packs_of(const Stack& s) {
  if (reuses_scratch<T>(s)) return ceil_div(s.count, elements_per_task<T>(s));
  return s.shares_b && !kGemmKeepsSums<T> && s.count > 0 ? 1 : s.count;
}

template <class T, bool kLinear, Epilogue kEpilogue>
size_t scratch_bytes(const KernelArgs& args) noexcept {
  const Stack s = stack_of<kLinear, kEpilogue>(args);
  const size_t each = packed_bytes<T>(s.first);
  return each == 0 ? 0 : static_cast<size_t>(packs_of<T>(s)) * each;
}

template <class T, bool kLinear, Epilogue kEpilogue>
int64_t pack_tasks(const KernelArgs& args) noexcept {
  const Stack s = stack_of<kLinear, kEpilogue>(args);
  return packs_of<T>(s) * gemm_pack_tasks<T>(s.first);
}

template <class T, bool kLinear, Epilogue kEpilogue>
void pack(const KernelArgs& args, int64_t task) noexcept {
  const Stack s = stack_of<kLinear, kEpilogue>(args);
  const int64_t each = gemm_pack_tasks<T>(s.first);
  const int64_t index = task / each;
  gemm_pack<T>(problem_at<T>(s, index),
               static_cast<unsigned char*>(args.scratch) + static_cast<size_t>(index) * packed_bytes<T>(s.first),
               task % each);
}

template <class T, bool kLinear, Epilogue kEpilogue>
int64_t run_tasks(const KernelArgs& args) noexcept {
  const Stack s = stack_of<kLinear, kEpilogue>(args);
  if (s.count == 0) return 0;
  const int64_t each = gemm_tasks<T>(s.first);
  if (s.count == 1 || each != 1) return s.count * each;
  return ceil_div(s.count, elements_per_task<T>(s));
}

template <class T, bool kLinear, Epilogue kEpilogue>
void run(const KernelArgs& args, int64_t task) noexcept {
  const Stack s = stack_of<kLinear, kEpilogue>(args);
  if (s.count == 1) return gemm_run<T>(s.first, args.scratch, task);
  const size_t bytes = packed_bytes<T>(s.first);
  const bool one_pack = packs_of<T>(s) == 1;
  const auto scratch_at = [&](int64_t index) -> void* {
    return bytes == 0 ? nullptr
                      : static_cast<unsigned char*>(args.scratch) + (one_pack ? 0 : static_cast<size_t>(index) * bytes);
  };
  const int64_t each = gemm_tasks<T>(s.first);
  if (each != 1) return gemm_run<T>(problem_at<T>(s, task / each), scratch_at(task / each), task % each);
  const int64_t group = elements_per_task<T>(s);
  const bool reuses = reuses_scratch<T>(s);
  for (int64_t index = task * group; index < least(s.count, (task + 1) * group); ++index) {
    gemm_run<T>(problem_at<T>(s, index), scratch_at(reuses ? task : index), 0);
  }
}

template <class T>
constexpr bool kEpilogues = std::is_floating_point_v<T> || std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

template <class T, bool kLinear, Epilogue kEpilogue = Epilogue::None>
Kernel kernel_of() {
  Kernel kernel =
      Kernel::of({pack<T, kLinear, kEpilogue>, pack_tasks<T, kLinear, kEpilogue>},
                 {run<T, kLinear, kEpilogue>, run_tasks<T, kLinear, kEpilogue>}, scratch_bytes<T, kLinear, kEpilogue>);
  kernel.epilogue_is_free = kEpilogue != Epilogue::None;
  if constexpr (kGemmPacksOnlyB<T>) {
    kernel.keeps = [](const KernelArgs& args) noexcept {
      return stack_of<kLinear, kEpilogue>(args).first.n == 1 ? int32_t{-1} : int32_t{1};
    };
    kernel.keeps_alone = true;
  }
  // Saved values that lie anyhow are read behind the product.
  if constexpr (reads_saved(kEpilogue)) {
    kernel.phases[kernel.phase_count++] = {run_epilogue<T, kEpilogue>, [](const KernelArgs& args) noexcept {
                                             return gate_of<kEpilogue>(args) != nullptr ? 0 : epilogue_tasks(args);
                                           }};
  }
  return kernel;
}

template <class T>
void add_matmul(KernelSink& sink) {
  const Kernel product = kernel_of<T, false>();
  if constexpr (std::is_same_v<T, BytesToInt32>) {
    sink.add("matmul_integer", DType::Int8, product);
  } else {
    sink.add("matmul", kDTypeOf<T>, product);
    sink.add("linear", kDTypeOf<T>, kernel_of<T, true>());
    if constexpr (kEpilogues<T>) {
      sink.add("matmul_relu", kDTypeOf<T>, kernel_of<T, false, Epilogue::Relu>());
      sink.add("matmul_relu_backward", kDTypeOf<T>, kernel_of<T, false, Epilogue::ReluBackward>());
      sink.add("linear_relu", kDTypeOf<T>, kernel_of<T, true, Epilogue::Relu>());
    }
  }
}

template <class... T>
void add_held(KernelSink& sink) {
  const auto add = [&]<class U>() {
    if constexpr (kGemmHas<U>) add_matmul<U>(sink);
  };
  (add.template operator()<T>(), ...);
}

}  // namespace

void fill_matmul(KernelSink& sink) {
  add_held<float, double, Float16, BFloat16, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
           std::complex<float>, std::complex<double>, BytesToInt32>(sink);
}

}  // namespace gorgo::GORGO_ISA_NS

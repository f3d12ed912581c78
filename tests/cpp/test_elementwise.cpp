// csrc/ops/elementwise: every kernel of every instruction set against the base set's and against itself on other layouts;
// fused and composed gradients against finite differences; the decisions about dtypes, division and saturation.
// Values against NumPy and PyTorch are tested from Python (tests/ops).
#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "autograd/mode.h"
#include "autograd/tape.h"
#include "device/cpu/isa.h"
#include "device/cpu/isa_list.h"
#include "ops/elementwise/elementwise.h"
#include "start_library.h"

namespace gorgo {
#define GORGO_X(space, isa, unused)        \
  namespace space {                        \
  void fill_elementwise(KernelSink& sink); \
  }
GORGO_FOR_EACH_ISA(GORGO_X, )
#undef GORGO_X
}  // namespace gorgo

using namespace gorgo;

namespace {

using Key = std::pair<std::string, DType>;

class Table final : public KernelSink {
 public:
  void add(const char* op, DType dtype, const Kernel& kernel) override { kernels[{op, dtype}] = kernel; }
  const Kernel& below(const char* op, DType dtype) const override { return kernels.at({op, dtype}); }
  std::map<Key, Kernel> kernels;
};

struct Operand {
  Tensor tensor;
  KOperand seen;
};

Operand describe(const Tensor& t) {
  Operand o{t, {}};
  o.seen.data = t->data();
  o.seen.shape = t->shape.data();
  o.seen.strides = t->strides.data();
  o.seen.numel = t->numel;
  o.seen.rank = t->rank();
  o.seen.dtype = t->dtype;
  o.seen.contiguous = t->contiguous;
  o.seen.scalar = t->shape.empty();
  return o;
}

void run_tasks(const Kernel& kernel, const std::vector<Tensor>& in, const std::vector<Tensor>& out, const void* attrs) {
  std::vector<KOperand> operands;
  for (const Tensor& t : in) operands.push_back(describe(t).seen);
  for (const Tensor& t : out) operands.push_back(describe(t).seen);
  KernelArgs args;
  args.in = operands.data();
  args.in_count = static_cast<int32_t>(in.size());
  args.out = operands.data() + in.size();
  args.out_count = static_cast<int32_t>(out.size());
  args.attrs = attrs;
  const Phase& phase = kernel.phases[0];
  for (int64_t task = phase.tasks(args); task-- > 0;) phase.run(args, task);
}

// Values that fit every dtype, small and large, with zeros of both signs; a quarter special ones.
void fill(const Tensor& t, uint32_t seed, bool special = true) {
  std::mt19937 random(seed);
  const auto put = [&](int64_t i, double v) {
    unsigned char* at = static_cast<unsigned char*>(t->data()) + i * dtype_size(t->dtype);
    visit_dtype<DType::Bool, DType::UInt8, DType::UInt16, DType::UInt32, DType::UInt64, DType::Int8, DType::Int16,
                DType::Int32, DType::Int64, DType::Float16, DType::BFloat16, DType::Float32, DType::Float64,
                DType::Complex64, DType::Complex128>(t->dtype, "fill", [&]<class T>(TypeTag<T>) {
      T x{};
      if constexpr (std::is_same_v<T, bool>) {
        x = random() % 2 != 0;
      } else if constexpr (std::is_integral_v<T>) {
        x = random() % 3 == 0 ? static_cast<T>((static_cast<uint64_t>(random()) << 32) | random())
                              : static_cast<T>(static_cast<int64_t>(random() % 23) - (std::is_signed_v<T> ? 11 : 0));
      } else if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
        x = T(static_cast<float>(v));
      } else if constexpr (std::is_floating_point_v<T>) {
        x = static_cast<T>(v);
      } else {
        x = T(static_cast<typename T::value_type>(v), static_cast<typename T::value_type>(random() % 100) / 37);
      }
      std::memcpy(at, &x, sizeof x);
    });
  };
  std::uniform_real_distribution<double> uniform(-3.0, 3.0);
  const double odd[] = {0.0, -0.0, 1.0, -1.0, 0.5, INFINITY, -INFINITY, NAN, 1e30, -1e30, 1e-30, 2.0, 100.0, -100.0};
  for (int64_t i = 0; i < t->numel; ++i) {
    put(i, special && random() % 4 == 0 ? odd[random() % 14] : uniform(random));
  }
}

Tensor random_tensor(const Shape& shape, DType dtype, uint32_t seed, bool special = true) {
  Tensor t = make_tensor(shape, dtype, kCpu);
  fill(t, seed, special);
  return t;
}

double element(const Tensor& t, int64_t i, int part = 0) {
  const auto* at = static_cast<const unsigned char*>(t->data()) + i * dtype_size(t->dtype);
  const Scalar s = load_scalar(at, t->dtype);
  return part == 0 ? s.to_double() : s.imag;
}

double tolerance_of(DType d) {
  switch (real_dtype(d)) {
    case DType::Float16:
      return 0x1p-9;
    case DType::BFloat16:
      return 0x1p-6;
    case DType::Float32:
      return 0x1p-20;
    case DType::Float64:
      return 0x1p-48;
    default:
      return 0.0;
  }
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return std::memcmp(a->data(), b->data(), static_cast<size_t>(a->numel * dtype_size(a->dtype))) == 0;
}

bool close(const Tensor& a, const Tensor& b, double scale) {
  const double tolerance = tolerance_of(a->dtype) * scale;
  if (tolerance == 0.0) return same_bytes(a, b);
  for (int64_t i = 0; i < a->numel; ++i) {
    for (int part = 0; part < (is_complex(a->dtype) ? 2 : 1); ++part) {
      const double x = element(a, i, part);
      const double y = element(b, i, part);
      if (std::isnan(x) && std::isnan(y)) continue;
      if (x == y) continue;
      // A complex part is judged by the whole number's size.
      const double size = is_complex(a->dtype) ? std::hypot(element(a, i, 0), element(a, i, 1)) : std::abs(x);
      if (!(std::abs(x - y) <= tolerance * (size + 1e-5))) {
        MESSAGE("element ", i, " is ", x, " and ", y);
        return false;
      }
    }
  }
  return true;
}

// The operands and outputs that a kernel of this name wants, or nothing for those tested on their own.
struct Call {
  std::vector<DType> in;
  std::vector<DType> out;
  BackwardAttrs attrs;
};
Call call_of(const std::string& name, DType d) {
  const OpDef* op = Registry::instance().find(name);
  REQUIRE(op != nullptr);
  Call call;
  for (size_t i = 0; i < op->inputs.size(); ++i) call.in.push_back(d);
  if (name == "where") call.in[0] = DType::Bool;
  for (size_t i = 0; i < op->outputs.size(); ++i) call.out.push_back(d);
  const bool asks =
      name.starts_with("is") || name.ends_with("equal") || name == "less" || name == "greater" || name == "signbit";
  if (asks) call.out[0] = DType::Bool;
  if (is_complex(d) && (name == "abs" || name == "real" || name == "imag")) call.out[0] = real_dtype(d);
  return call;
}

std::vector<Tensor> outputs_of(const Call& call, const Shape& shape) {
  std::vector<Tensor> out;
  for (const DType d : call.out) out.push_back(make_tensor(shape, d, kCpu));
  return out;
}

// A non-contiguous tensor with the elements of x: every second column of a wider one, walked backwards.
Tensor scattered(const Tensor& x) {
  const Shape wide{x->shape[0], x->shape[1] * 2};
  const Tensor base = make_tensor(wide, x->dtype, kCpu);
  const int64_t size = dtype_size(x->dtype);
  const Tensor view = make_view(*base, x->shape, Strides{wide[1], -2}, wide[1] - 1);
  for (int64_t r = 0; r < x->shape[0]; ++r) {
    for (int64_t c = 0; c < x->shape[1]; ++c) {
      std::memcpy(static_cast<unsigned char*>(view->data()) + (r * wide[1] - 2 * c) * size,
                  static_cast<unsigned char*>(x->data()) + (r * x->shape[1] + c) * size, static_cast<size_t>(size));
    }
  }
  return view;
}

struct Set {
  const char* name;
  Table table;
};
std::vector<Set> instruction_sets() {
  start_library();
  std::vector<Set> sets;
#define GORGO_X(space, isa, unused)             \
  if (best_isa() >= Isa::isa) {                 \
    sets.push_back({#isa, {}});                 \
    space::fill_elementwise(sets.back().table); \
  }
  GORGO_FOR_EACH_ISA(GORGO_X, )
#undef GORGO_X
  return sets;
}

Tensor of_values(DType d, const std::vector<double>& values) {
  Tensor t = make_tensor(Shape{static_cast<int64_t>(values.size())}, DType::Float64, kCpu);
  std::memcpy(t->data(), values.data(), values.size() * sizeof(double));
  return cast_to(t, d);
}
std::vector<double> values_of(const Tensor& t) {
  std::vector<double> out;
  for (int64_t i = 0; i < t->numel; ++i) out.push_back(element(t, i));
  return out;
}
using List = std::vector<double>;

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("elementwise: each instruction set agrees with base, and with itself on any layout") {
  std::vector<Set> sets = instruction_sets();
  const Shape shape{23, 45};
  for (const auto& [key, base_kernel] : sets[0].table.kernels) {
    const auto& [name, dtype] = key;
    if (name == "astype" || name == "fused") continue;  // they need attributes
    const Call call = call_of(name, dtype);
    std::vector<Tensor> in;
    for (size_t i = 0; i < call.in.size(); ++i)
      in.push_back(random_tensor(shape, call.in[i], static_cast<uint32_t>(i + 1)));
    const std::vector<Tensor> expected = outputs_of(call, shape);
    run_tasks(base_kernel, in, expected, &call.attrs);
    for (const Set& set : sets) {
      const std::string place = cat(name, " of ", dtype_name(dtype), " on ", set.name);
      INFO(place);
      const auto found = set.table.kernels.find(key);
      // What AVX-512 leaves out it has from AVX2 (kernels/coverage.h).
      if (found == set.table.kernels.end() && &set != sets.data()) {
        REQUIRE((&set - 1)->table.kernels.contains(key));
        REQUIRE(&set - sets.data() == 2);
        continue;
      }
      REQUIRE(found != set.table.kernels.end());
      const Kernel& kernel = found->second;
      const std::vector<Tensor> whole = outputs_of(call, shape);
      run_tasks(kernel, in, whole, &call.attrs);
      // Cancellation in a formula may magnify what the sets' exp and others differ by.
      const bool cancels = name.find("backward") != std::string::npos || name == "pow" || name == "logaddexp";
      const double scale = cancels ? 64 : 4;
      for (size_t i = 0; i < whole.size(); ++i) CHECK(close(whole[i], expected[i], scale));
      // Strided operands and outputs.
      std::vector<Tensor> strided_in;
      std::vector<Tensor> strided_out;
      for (const Tensor& t : in) strided_in.push_back(scattered(t));
      for (const Tensor& t : whole) strided_out.push_back(scattered(random_tensor(shape, t->dtype, 99)));
      run_tasks(kernel, strided_in, strided_out, &call.attrs);
      for (size_t i = 0; i < whole.size(); ++i) {
        const Tensor back = copy_of(strided_out[i]);
        CHECK(same_bytes(back, whole[i]));
      }
      // The first row alone, which begins and ends at other places in a vector.
      std::vector<Tensor> row_in;
      for (const Tensor& t : in) row_in.push_back(make_view(*t, Shape{44}, Strides{1}, t->offset + 1));
      const std::vector<Tensor> row = outputs_of(call, Shape{44});
      run_tasks(kernel, row_in, row, &call.attrs);
      for (size_t i = 0; i < row.size(); ++i) {
        const auto size = static_cast<size_t>(dtype_size(row[i]->dtype));
        CHECK(std::memcmp(row[i]->data(), static_cast<unsigned char*>(whole[i]->data()) + size, 44 * size) == 0);
      }
      // Broadcast operands: a row, a column, one element.
      if (in.size() >= 2 && name.find("backward") == std::string::npos) {
        const size_t a = in.size() - 2;
        const Tensor line = make_view(*in[a], Shape{45}, Strides{1}, in[a]->offset);
        const Tensor column = make_view(*in[a + 1], Shape{23, 1}, Strides{45, 1}, in[a + 1]->offset);
        std::vector<Tensor> spread_in = in;
        spread_in[a] = make_view(*in[a], shape, Strides{0, 1}, in[a]->offset);
        spread_in[a + 1] = make_view(*in[a + 1], shape, Strides{45, 0}, in[a + 1]->offset);
        std::vector<Tensor> full_in = in;
        full_in[a] = copy_of(spread_in[a]);
        full_in[a + 1] = copy_of(spread_in[a + 1]);
        const std::vector<Tensor> full = outputs_of(call, shape);
        const std::vector<Tensor> spread = outputs_of(call, shape);
        run_tasks(kernel, full_in, full, &call.attrs);
        run_tasks(kernel, spread_in, spread, &call.attrs);
        CHECK(same_bytes(full[0], spread[0]));
        spread_in[a] = line;
        spread_in[a + 1] = column;
        run_tasks(kernel, spread_in, spread, &call.attrs);
        CHECK(same_bytes(full[0], spread[0]));
      }
    }
  }
}

TEST_CASE("elementwise: a call longer than a task equals its parts") {
  start_library();
  const int64_t n = 100'003;
  const Tensor x = random_tensor(Shape{n}, DType::Float32, 5, false);
  const Tensor whole = ops::tanh(x);
  for (const int64_t at : {int64_t{0}, int64_t{32760}, int64_t{65536}, n - 3}) {
    const Tensor part = ops::tanh(make_view(*x, Shape{3}, Strides{1}, at));
    for (int64_t i = 0; i < 3; ++i) CHECK(element(part, i) == element(whole, at + i));
  }
}

namespace {

// Random points of [-2, 2) around which `call` is finite: so an op needs no word here about where it is defined.
template <class F>
std::vector<Tensor> points_inside(size_t inputs, int64_t count, const F& call) {
  constexpr int kCandidates = 600;
  constexpr double kMargin = 0.05;
  std::mt19937 random(17);
  std::uniform_real_distribution<double> uniform(-2.0, 2.0);
  std::vector<List> candidates(inputs, List(kCandidates));
  for (List& values : candidates) {
    for (double& value : values) value = uniform(random);
  }
  std::vector<bool> inside(kCandidates, true);
  for (size_t corner = 0; corner < size_t{1} << inputs; ++corner) {
    std::vector<Tensor> x;
    for (size_t k = 0; k < inputs; ++k) {
      List moved = candidates[k];
      for (double& value : moved) value += (corner >> k & 1) != 0 ? kMargin : -kMargin;
      x.push_back(of_values(DType::Float64, moved));
    }
    const List y = values_of(call(x));
    for (size_t i = 0; i < kCandidates; ++i) inside[i] = inside[i] && std::isfinite(y[i]);
  }
  std::vector<List> chosen(inputs);
  for (size_t i = 0; i < kCandidates && std::ssize(chosen[0]) < count; ++i) {
    if (!inside[i]) continue;
    for (size_t k = 0; k < inputs; ++k) chosen[k].push_back(candidates[k][i]);
  }
  REQUIRE(std::ssize(chosen[0]) == count);
  std::vector<Tensor> points;
  for (const List& values : chosen) points.push_back(of_values(DType::Float64, values));
  return points;
}

}  // namespace

TEST_CASE("elementwise: fused and composed gradients equal finite differences") {
  start_library();
  const Shape shape{17};
  int tested = 0;
  for (const OpDef& op : Registry::instance().ops()) {
    if (!op.flags.elementwise || op.vjp == nullptr || op.flags.internal || op.attrs != nullptr) continue;
    const std::string name = op.name;
    if (name == "real" || name == "imag" || name == "where") continue;
    INFO(name);
    const auto call = [&](const std::vector<Tensor>& x) {
      if (x.size() == 3) return invoke(op, {x[0], x[1], x[2]});
      return x.size() == 1 ? invoke(op, {x[0]}) : invoke(op, {x[0], x[1]});
    };
    const std::vector<Tensor> in = points_inside(op.inputs.size(), shape[0], call);
    const Tensor weights = random_tensor(shape, DType::Float64, 3, false);
    for (const Tensor& t : in) t->requires_grad = true;
    std::vector<SmallVector<Tensor, 2>> both;
    for (const bool create_graph : {false, true}) {
      const Tensor y = call(in);
      BackwardOptions options;
      options.create_graph = create_graph;
      both.push_back(gradient(std::span<const Tensor>(&y, 1), std::span<const Tensor>(&weights, 1), in, options));
    }
    const GradMode off(false);
    for (size_t k = 0; k < in.size(); ++k) {
      for (int i = 0; i < 17; ++i) {
        const double h = 1e-6;
        List up = values_of(in[k]);
        List down = up;
        up[static_cast<size_t>(i)] += h;
        down[static_cast<size_t>(i)] -= h;
        std::vector<Tensor> x = in;
        x[k] = of_values(DType::Float64, up);
        const double high_value = element(call(x), i);
        x[k] = of_values(DType::Float64, down);
        const double slope = element(weights, i) * (high_value - element(call(x), i)) / (2 * h);
        for (const auto& grads : both) {
          REQUIRE(static_cast<bool>(grads[static_cast<int>(k)]));
          const double got = element(grads[static_cast<int>(k)], i);
          CHECK(std::abs(got - slope) <= 2e-8 * (1 + std::abs(slope)) / h * 1e-6 + 1e-7 * std::abs(slope));
        }
      }
      CHECK(close(both[0][static_cast<int>(k)], both[1][static_cast<int>(k)], 64));
    }
    ++tested;
  }
  CHECK(tested >= 45);
}

TEST_CASE("elementwise: subgradients at ties and kinks are PyTorch's") {
  start_library();
  const auto grad_of = [](const OpDef& op, const List& a, const List& b, int which) {
    std::vector<Tensor> in{of_values(DType::Float32, a)};
    if (!b.empty()) in.push_back(of_values(DType::Float32, b));
    for (const Tensor& t : in) t->requires_grad = true;
    const Tensor y = b.empty() ? invoke(op, {in[0]}) : invoke(op, {in[0], in[1]});
    const Tensor g = of_values(DType::Float32, List(a.size(), 1.0));
    auto grads = gradient(std::span<const Tensor>(&y, 1), std::span<const Tensor>(&g, 1), in, {});
    return values_of(grads[which]);
  };
  CHECK(grad_of(*elementwise_ops.abs, {-2, 0, 3}, {}, 0) == List{-1, 0, 1});
  CHECK(grad_of(*elementwise_ops.relu, {-2, 0, 3}, {}, 0) == List{0, 0, 1});
  CHECK(grad_of(*elementwise_ops.maximum, {1, 2, 3}, {2, 2, 2}, 0) == List{0, 0.5, 1});
  CHECK(grad_of(*elementwise_ops.maximum, {1, 2, 3}, {2, 2, 2}, 1) == List{1, 0.5, 0});
  CHECK(grad_of(*elementwise_ops.minimum, {1, 2, 3}, {2, 2, 2}, 0) == List{1, 0.5, 0});
  CHECK(grad_of(*elementwise_ops.pow, {0, 0, 2}, {0, 2, 3}, 0) == List{0, 0, 12});
  CHECK(grad_of(*elementwise_ops.pow, {0, 0, 1}, {0, 2, 3}, 1) == List{0, 0, 0});
  CHECK(grad_of(*elementwise_ops.floor, {0.5, 1.5}, {}, 0) == List{0, 0});
}

TEST_CASE("elementwise: integers divide without a signal") {
  start_library();
  const List a{7, -7, 7, -7, 0, 5, -128};
  const List b{2, 2, -2, -2, 0, 0, -1};
  for (const DType d : {DType::Int8, DType::Int16, DType::Int32, DType::Int64}) {
    const Tensor x = of_values(d, a);
    const Tensor y = of_values(d, b);
    const double last = d == DType::Int8 ? -128 : 128;
    CHECK(values_of(ops::floor_divide(x, y)) == List{3, -4, -4, 3, 0, 0, last});
    CHECK(values_of(ops::remainder(x, y)) == List{1, 1, -1, -1, 0, 0, 0});
  }
  const List c{7, 255, 0, 9};
  const List e{2, 16, 0, 0};
  for (const DType d : {DType::UInt8, DType::UInt16, DType::UInt32, DType::UInt64}) {
    CHECK(values_of(ops::floor_divide(of_values(d, c), of_values(d, e))) == List{3, 15, 0, 0});
    CHECK(values_of(ops::remainder(of_values(d, c), of_values(d, e))) == List{1, 15, 0, 0});
  }
  const Tensor low = of_values(DType::Int64, {-9223372036854775808.0});
  CHECK(values_of(ops::floor_divide(low, of_values(DType::Int64, {-1}))) == List{-9223372036854775808.0});
}

TEST_CASE("elementwise: float remainder and floor division follow Python, beside infinities the array API") {
  start_library();
  const Tensor a = of_values(DType::Float64, {7, -7, 7, -7, -1, 1e17, 5});
  const Tensor b = of_values(DType::Float64, {2, 2, -2, -2, INFINITY, 3, 0});
  const List quotient = values_of(ops::floor_divide(a, b));
  const List rest = values_of(ops::remainder(a, b));
  CHECK(List(quotient.begin(), quotient.begin() + 4) == List{3, -4, -4, 3});
  CHECK(quotient[4] == 0.0);
  CHECK(std::signbit(quotient[4]));
  CHECK(quotient[5] == 33333333333333333.0);
  CHECK(quotient[6] == INFINITY);
  CHECK(List(rest.begin(), rest.begin() + 4) == List{1, 1, -1, -1});
  CHECK(rest[4] == INFINITY);
  CHECK(std::isnan(rest[6]));
}

TEST_CASE("elementwise: dtypes meet by the table, integers in floating ops become float32") {
  start_library();
  const Tensor i = of_values(DType::Int32, {1, 2});
  const Tensor f = of_values(DType::Float64, {0.5, 1.5});
  CHECK(ops::add(i, f)->dtype == DType::Float64);
  CHECK(ops::add(i, ops::number(0.5))->dtype == DType::Float32);
  CHECK(ops::add(i, Arg(Scalar::of_int(3)))->dtype == DType::Int32);
  CHECK(ops::divide(i, i)->dtype == DType::Float32);
  CHECK(ops::exp(i)->dtype == DType::Float32);
  CHECK(ops::less(i, f)->dtype == DType::Bool);
  CHECK(values_of(ops::logical_and(i, f)) == List{1, 1});
  const Tensor h = of_values(DType::BFloat16, {1, 2});
  CHECK(ops::add(h, Arg(Scalar::of_float(0.5)))->dtype == DType::BFloat16);
  const Tensor t = of_values(DType::Bool, {1, 0});
  CHECK(message_of([&] { static_cast<void>(ops::add(t, t)); }) ==
        "add: x1 and x2 must meet in a dtype that is numeric, got bool");
  CHECK(message_of([&] { static_cast<void>(ops::bitwise_and(f, f)); }) ==
        "bitwise_and: x1 and x2 must meet in a dtype that is integer or bool, got float64");
  CHECK(message_of([&] { static_cast<void>(ops::add(i, of_values(DType::Int32, {1, 2, 3}))); }).starts_with("add: "));
  CHECK(values_of(ops::bitwise_invert(t)) == List{0, 1});
}

TEST_CASE("elementwise: astype saturates, wraps, rounds once") {
  start_library();
  const Tensor x = of_values(DType::Float64, {1e300, -1e300, NAN, 2.9, -2.9, 3e9});
  CHECK(values_of(cast_to(x, DType::Int32)) == List{2147483647, -2147483648.0, 0, 2, -2, 2147483647});
  CHECK(values_of(cast_to(of_values(DType::Float32, {-1, 300, 2.5}), DType::UInt8)) == List{255, 44, 2});
  CHECK(values_of(cast_to(of_values(DType::Float64, {0, -0.0, NAN, 1e-300}), DType::Bool)) == List{0, 0, 1, 1});
  // 1 + 2^-11 lies between two float16; a hair above it must not round to even by way of float32.
  const double tie = 1 + 0x1p-11;
  CHECK(values_of(cast_to(of_values(DType::Float64, {tie, tie + 0x1p-40, tie - 0x1p-40}), DType::Float16)) ==
        List{1, 1 + 0x1p-10, 1});
  const Tensor wide = of_values(DType::Int64, {16777217, -5});
  CHECK(values_of(cast_to(wide, DType::Float64)) == List{16777217, -5});
  const Tensor z = cast_to(of_values(DType::Float32, {3}), DType::Complex64);
  CHECK(element(z, 0, 1) == 0);
  CHECK(values_of(cast_to(z, DType::Int16)) == List{3});
  for (int from = 0; from < kDTypeCount; ++from) {
    for (int to = 0; to < kDTypeCount; ++to) {
      const Tensor source = of_values(static_cast<DType>(from), {0, 1, 1, 0, 1});
      const Tensor there = cast_to(source, static_cast<DType>(to));
      CHECK(there->dtype == static_cast<DType>(to));
      CHECK(values_of(there) == List{0, 1, 1, 0, 1});
    }
  }
}

TEST_CASE("elementwise: complex gradients follow the conjugate convention") {
  start_library();
  const auto make = [](std::complex<double> v) {
    Tensor t = make_tensor(Shape{1}, DType::Complex128, kCpu);
    std::memcpy(t->data(), &v, sizeof v);
    return t;
  };
  const auto value = [](const Tensor& t) { return std::complex<double>(element(t, 0, 0), element(t, 0, 1)); };
  const std::complex<double> at(0.7, -1.3);
  const std::complex<double> seed(0.4, 0.9);
  const Tensor g = make(seed);
  const auto gradient_of = [&](const OpDef& op) {
    const Tensor x = make(at);
    x->requires_grad = true;
    const Tensor y = invoke(op, {x});
    return value(gradient(std::span<const Tensor>(&y, 1), std::span<const Tensor>(&g, 1),
                          std::span<const Tensor>(&x, 1), {})[0]);
  };
  const auto expect = [&](std::complex<double> got, std::complex<double> slope) {
    CHECK(std::abs(got - seed * std::conj(slope)) < 1e-12);
  };
  expect(gradient_of(*elementwise_ops.exp), std::exp(at));
  expect(gradient_of(*elementwise_ops.sin), std::cos(at));
  expect(gradient_of(*elementwise_ops.sqrt), 0.5 / std::sqrt(at));
  expect(gradient_of(*elementwise_ops.tanh), 1.0 - std::tanh(at) * std::tanh(at));
  expect(gradient_of(*elementwise_ops.log), 1.0 / at);
  const Tensor x = make(at);
  x->requires_grad = true;
  const Tensor y = ops::abs(x);
  CHECK(y->dtype == DType::Float64);
  const Tensor one = of_values(DType::Float64, {1});
  const auto dx =
      gradient(std::span<const Tensor>(&y, 1), std::span<const Tensor>(&one, 1), std::span<const Tensor>(&x, 1), {});
  CHECK(std::abs(value(dx[0]) - at / std::abs(at)) < 1e-14);
}

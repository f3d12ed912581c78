// The matrix product of every instruction set that this machine can run, against sums in double (integers: exact).
//
// Beside values: nothing outside C is touched, NaN and infinity go where they must, and the bits of a row depend
// neither on the rows around it, nor on the layout of the operands, nor on the order of the tasks.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <complex>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/dtype.h"
#include "core/float32_mode.h"
#include "core/invariance.h"
#include "device/cpu/isa.h"
#include "kernels/gemm/gemm.h"

#define DECLARE_GEMM(isa)                                                   \
  namespace gorgo::isa {                                                    \
  template <class T>                                                        \
  std::size_t gemm_scratch_bytes(const GemmProblem&);                       \
  template <class T>                                                        \
  std::int64_t gemm_pack_tasks(const GemmProblem&);                         \
  template <class T>                                                        \
  void gemm_pack(const GemmProblem&, void*, std::int64_t);                  \
  template <class T>                                                        \
  std::int64_t gemm_tasks(const GemmProblem&);                              \
  template <class T>                                                        \
  void gemm_run(const GemmProblem&, void*, std::int64_t);                   \
  struct Gemm {                                                             \
    static constexpr bool kHasAll = std::string_view(#isa) != "isa_avx512"; \
    template <class T>                                                      \
    static std::size_t scratch(const GemmProblem& p) {                      \
      return gemm_scratch_bytes<T>(p);                                      \
    }                                                                       \
    template <class T>                                                      \
    static std::int64_t pack_tasks(const GemmProblem& p) {                  \
      return gemm_pack_tasks<T>(p);                                         \
    }                                                                       \
    template <class T>                                                      \
    static void pack(const GemmProblem& p, void* s, std::int64_t t) {       \
      gemm_pack<T>(p, s, t);                                                \
    }                                                                       \
    template <class T>                                                      \
    static std::int64_t tasks(const GemmProblem& p) {                       \
      return gemm_tasks<T>(p);                                              \
    }                                                                       \
    template <class T>                                                      \
    static void run(const GemmProblem& p, void* s, std::int64_t t) {        \
      gemm_run<T>(p, s, t);                                                 \
    }                                                                       \
  };                                                                        \
  }

DECLARE_GEMM(isa_base)
#ifdef GORGO_HAVE_AVX2
DECLARE_GEMM(isa_avx2)
#endif
#ifdef GORGO_HAVE_AVX512
DECLARE_GEMM(isa_avx512)
#endif
#ifdef GORGO_HAVE_AVX512_VNNI
DECLARE_GEMM(isa_avx512_vnni)
#endif
#ifdef GORGO_HAVE_AVX512_BF16
DECLARE_GEMM(isa_avx512_bf16)
#endif
#ifdef GORGO_HAVE_AMX
DECLARE_GEMM(isa_amx)
#endif

namespace {

using gorgo::BFloat16;
using gorgo::Float16;
using gorgo::GemmEpilogue;
using gorgo::GemmProblem;

template <class T>
constexpr bool kIsFloat = std::is_floating_point_v<T> || std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>;

template <class T>
double to_double(T x) {
  if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>) {
    return static_cast<double>(static_cast<float>(x));
  } else {
    return static_cast<double>(x);
  }
}

template <class T>
T from_double(double x) {
  if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>) {
    return T(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

// Unit roundoff of the sums, and of the stored result.
template <class T>
double sum_roundoff() {
  return std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;
}
template <class T>
double store_roundoff() {
  if (std::is_same_v<T, BFloat16>) return 0x1p-8;
  if (std::is_same_v<T, Float16>) return 0x1p-11;
  return sum_roundoff<T>();
}

enum class Layout { rows, columns, spaced_rows, general, reversed };
constexpr Layout kLayouts[] = {Layout::rows, Layout::columns, Layout::spaced_rows, Layout::general, Layout::reversed};

template <class T>
struct Matrix {
  std::vector<T> data;
  const T* first = nullptr;
  std::int64_t rows, cols, row_stride = 0, col_stride = 0;

  Matrix(std::int64_t r, std::int64_t c, Layout layout) : rows(r), cols(c) {
    std::size_t offset = 0;
    switch (layout) {
      case Layout::rows:
        row_stride = c, col_stride = 1;
        break;
      case Layout::columns:
        row_stride = 1, col_stride = r;
        break;
      case Layout::spaced_rows:
        row_stride = c + 5, col_stride = 1;
        break;
      case Layout::general:
        row_stride = 2 * (c * 3), col_stride = 3;
        break;
      case Layout::reversed:
        row_stride = -c, col_stride = -1, offset = static_cast<std::size_t>(r * c);
        break;
    }
    data.resize(static_cast<std::size_t>(6 * (r + 1) * (c + 5) + 1));
    first = data.data() + (offset != 0 ? offset - 1 : 0);
  }
  T& at(std::int64_t i, std::int64_t j) { return const_cast<T&>(first[i * row_stride + j * col_stride]); }
  const T& at(std::int64_t i, std::int64_t j) const { return first[i * row_stride + j * col_stride]; }
  template <class Random>
  void fill(Random& random) {
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < cols; ++j) at(i, j) = random();
    }
  }
};

template <class T>
struct RandomValue {
  std::mt19937 engine{7};
  T operator()() {
    if constexpr (kIsFloat<T>) {
      return from_double<T>(std::normal_distribution<double>()(engine));
    } else {
      return static_cast<T>(std::uniform_int_distribution<int>(std::is_signed_v<T> ? -60 : 0, 60)(engine));
    }
  }
};

template <class T>
GemmProblem problem_of(const Matrix<T>& a, const Matrix<T>& b, std::vector<T>& c, std::int64_t c_row_stride) {
  GemmProblem p;
  p.m = a.rows, p.n = b.cols, p.k = a.cols;
  p.a = a.first, p.b = b.first, p.c = c.data();
  p.a_row_stride = a.row_stride, p.a_col_stride = a.col_stride;
  p.b_row_stride = b.row_stride, p.b_col_stride = b.col_stride;
  p.c_row_stride = c_row_stride;
  return p;
}

// For its life factors of float32 may be rounded to bfloat16.
struct Medium {
  Medium() { gorgo::float32_mode = gorgo::Float32Mode::medium; }
  ~Medium() { gorgo::float32_mode = gorgo::Float32Mode::highest; }
  Medium(const Medium&) = delete;
  Medium& operator=(const Medium&) = delete;
};
// How far a product is then off: two factors by half a unit of their last digit each.
[[maybe_unused]] constexpr double kLeftOut = 0x1p-7 + 0x1p-16;

enum class Order { rising, falling };

template <class G, class T>
void run(const GemmProblem& p, Order order = Order::rising) {
  const std::size_t bytes = (G::template scratch<T>(p) + 63) / 64 * 64;
  const std::unique_ptr<void, decltype(&std::free)> scratch(bytes == 0 ? nullptr : std::aligned_alloc(64, bytes),
                                                            &std::free);
  const auto each = [&](std::int64_t tasks, auto&& f) {
    for (std::int64_t t = 0; t < tasks; ++t) f(order == Order::rising ? t : tasks - 1 - t);
  };
  each(G::template pack_tasks<T>(p), [&](std::int64_t t) { G::template pack<T>(p, scratch.get(), t); });
  each(G::template tasks<T>(p), [&](std::int64_t t) { G::template run<T>(p, scratch.get(), t); });
}

// What is packed of a B that is kept serves product after product, whose bits are those of a B that is not.
template <class G, class T>
void check_keeps() {
  RandomValue<T> random;
  for (const std::int64_t m : {1, 16, 29, 64, 100}) {
    for (const Layout layout : {Layout::rows, Layout::columns, Layout::general}) {
      Matrix<T> a(m, 420, Layout::rows);
      Matrix<T> b(420, 300, layout);
      a.fill(random);
      b.fill(random);
      std::vector<T> expected(static_cast<std::size_t>(m * 300));
      run<G, T>(problem_of(a, b, expected, 300));
      std::vector<T> found(expected.size());
      GemmProblem p = problem_of(a, b, found, 300);
      p.keeps_b = true;
      const std::unique_ptr<void, decltype(&std::free)> scratch(
          std::aligned_alloc(64, (G::template scratch<T>(p) + 63) / 64 * 64), &std::free);
      const std::int64_t tasks = G::template pack_tasks<T>(p);
      CHECK(tasks > 0);
      for (std::int64_t t = 0; t < tasks; ++t) G::template pack<T>(p, scratch.get(), t);
      b.data.assign(b.data.size(), T(7));
      for (int time = 0; time < 2; ++time) {
        found.assign(found.size(), T(0));
        p.c = found.data();
        for (std::int64_t t = 0; t < G::template tasks<T>(p); ++t) G::template run<T>(p, scratch.get(), t);
        CHECK(std::memcmp(found.data(), expected.data(), found.size() * sizeof(T)) == 0);
      }
    }
  }
}

struct Case {
  std::int64_t m, n, k;
};
constexpr Case kCases[] = {{0, 3, 4},      {3, 0, 4},     {3, 4, 0},      {1, 1, 1},     {4, 4, 4},     {3, 5, 7},
                           {13, 31, 9},    {14, 32, 16},  {15, 33, 17},   {29, 10, 64},  {64, 64, 64},  {1, 100, 40},
                           {1, 7, 800},    {100, 1, 40},  {1, 1, 1000},   {7, 1, 19},    {31, 47, 390}, {40, 200, 390},
                           {70, 130, 130}, {2, 300, 500}, {100, 17, 769}, {64, 64, 130}, {97, 84, 1100}};

// A sum may be off by `left_out` of its terms' sizes beside what rounding makes.
template <class G, class T>
void check_values(double left_out = 0) {
  RandomValue<T> random;
  int variant = 0;
  for (const Case& size : kCases) {
    for (const Layout la : kLayouts) {
      for (const Layout lb : kLayouts) {
        // Every pair of layouts on the small shapes; on the large ones a diagonal, in time for a debug build.
        if (size.m * size.n * size.k > 20000 && (static_cast<int>(la) + static_cast<int>(lb)) % 5 != 1) continue;
        Matrix<T> a(size.m, size.k, la);
        Matrix<T> b(size.k, size.n, lb);
        a.fill(random);
        b.fill(random);
        const std::int64_t stride = size.n + 3;
        std::vector<T> c(static_cast<std::size_t>(size.m * stride + 8));
        for (T& x : c) x = random();
        const std::vector<T> before = c;
        const std::int64_t bias_stride = variant % 2 == 0 ? 1 : 3;
        std::vector<T> bias(static_cast<std::size_t>(size.n * bias_stride + 1));
        std::vector<T> row_bias(static_cast<std::size_t>(size.m * bias_stride + 1));
        std::vector<T> gate(c.size());
        for (T& x : bias) x = random();
        for (T& x : row_bias) x = random();
        for (T& x : gate) x = random();

        GemmProblem p = problem_of(a, b, c, stride);
        ++variant;
        p.epilogue.bias_stride = p.epilogue.row_bias_stride = bias_stride;
        p.accumulate = variant % 2 == 0;
        if (variant % 3 == 0) p.epilogue.bias = bias.data();
        if (variant % 5 == 0) p.epilogue.row_bias = row_bias.data();
        if (kIsFloat<T> && variant % 7 == 0) p.epilogue.activation = GemmEpilogue::Activation::relu;
        if (kIsFloat<T> && variant % 4 == 0) p.epilogue.gate = gate.data(), p.epilogue.gate_row_stride = stride;
        run<G, T>(p);

        INFO(gorgo::dtype_name(gorgo::kDTypeOf<T>), " m ", size.m, " n ", size.n, " k ", size.k, " layouts ",
             static_cast<int>(la), " ", static_cast<int>(lb), " variant ", variant);
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < size.m; ++i) {
          for (std::int64_t j = 0; j < size.n; ++j) {
            const auto at = static_cast<std::size_t>(i * stride + j);
            double sum = 0;
            double magnitude = 0;
            for (std::int64_t k = 0; k < size.k; ++k) {
              const double product = to_double(a.at(i, k)) * to_double(b.at(k, j));
              sum += product;
              magnitude += std::abs(product);
            }
            const auto add = [&](T x) {
              sum += to_double(x);
              magnitude += std::abs(to_double(x));
            };
            if (p.accumulate) add(before[at]);
            if (p.epilogue.bias != nullptr) add(bias[static_cast<std::size_t>(j * bias_stride)]);
            if (p.epilogue.row_bias != nullptr) add(row_bias[static_cast<std::size_t>(i * bias_stride)]);
            if constexpr (kIsFloat<T>) {
              if (p.epilogue.activation == GemmEpilogue::Activation::relu) sum = sum > 0 ? sum : 0;
              if (p.epilogue.gate != nullptr && !(to_double(gate[at]) > 0)) sum = 0;
              const double bound = static_cast<double>(size.k + 3) * sum_roundoff<T>() * magnitude +
                                   left_out * magnitude + store_roundoff<T>() * std::abs(sum) + 1e-7 * (sizeof(T) == 2);
              wrong += !(std::abs(to_double(c[at]) - sum) <= bound);
            } else {
              wrong += c[at] != static_cast<T>(static_cast<std::int64_t>(sum));
            }
          }
          for (std::int64_t j = size.n; j < stride; ++j) {
            const auto at = static_cast<std::size_t>(i * stride + j);
            wrong += std::memcmp(&c[at], &before[at], sizeof(T)) != 0;
          }
        }
        for (std::size_t at = static_cast<std::size_t>(size.m * stride); at < c.size(); ++at) {
          wrong += std::memcmp(&c[at], &before[at], sizeof(T)) != 0;
        }
        CHECK(wrong == 0);
      }
    }
  }
}

// The whole product in one layout and task order, then each row alone, in every layout: the same bits.
template <class G, class T>
void check_rows_are_batch_invariant() {
  struct Asked {
    Asked() { gorgo::batch_invariant = true; }
    ~Asked() { gorgo::batch_invariant = false; }
    Asked(const Asked&) = delete;
    Asked& operator=(const Asked&) = delete;
  } const asked;
  RandomValue<T> random;
  for (const Case& size : {Case{45, 1, 300}, Case{45, 10, 128}, Case{45, 40, 800}, Case{45, 520, 400}, Case{70, 64, 64},
                           Case{101, 75, 1050}}) {
    Matrix<T> a(size.m, size.k, Layout::rows);
    Matrix<T> b(size.k, size.n, Layout::rows);
    a.fill(random);
    b.fill(random);
    std::vector<T> whole(static_cast<std::size_t>(size.m * size.n));
    run<G, T>(problem_of(a, b, whole, size.n));
    for (const Layout layout : kLayouts) {
      Matrix<T> a2(size.m, size.k, layout);
      Matrix<T> b2(size.k, size.n, layout);
      for (std::int64_t i = 0; i < size.k; ++i) {
        for (std::int64_t j = 0; j < size.m; ++j) a2.at(j, i) = a.at(j, i);
        for (std::int64_t j = 0; j < size.n; ++j) b2.at(i, j) = b.at(i, j);
      }
      std::vector<T> again(whole.size());
      run<G, T>(problem_of(a2, b2, again, size.n), Order::falling);
      INFO("n ", size.n, " k ", size.k, " layout ", static_cast<int>(layout));
      CHECK(std::memcmp(again.data(), whole.data(), whole.size() * sizeof(T)) == 0);

      std::vector<T> row(static_cast<std::size_t>(size.n));
      std::int64_t different = 0;
      for (std::int64_t i = 0; i < size.m; ++i) {
        GemmProblem p = problem_of(a2, b2, row, size.n);
        p.m = 1;
        p.a = &a2.at(i, 0);
        run<G, T>(p);
        different += std::memcmp(row.data(), whole.data() + i * size.n, row.size() * sizeof(T)) != 0;
      }
      CHECK(different == 0);
    }
  }
}

template <class G, class T>
void check_special_values() {
  const T inf = from_double<T>(std::numeric_limits<double>::infinity());
  const T minus_inf = from_double<T>(-std::numeric_limits<double>::infinity());
  const T nan = from_double<T>(std::numeric_limits<double>::quiet_NaN());
  const T one = from_double<T>(1);
  for (const Layout layout : {Layout::rows, Layout::columns}) {
    for (const std::int64_t n : {1, 10, 40}) {
      Matrix<T> a(20, 30, layout);
      Matrix<T> b(30, n, layout);
      for (std::int64_t k = 0; k < 30; ++k) {
        for (std::int64_t i = 0; i < 20; ++i) a.at(i, k) = one;
        for (std::int64_t j = 0; j < n; ++j) b.at(k, j) = one;
      }
      a.at(3, 29) = nan;
      a.at(4, 0) = inf;
      a.at(5, 1) = inf;
      a.at(5, 2) = minus_inf;
      a.at(6, 7) = minus_inf;
      a.at(8, 4) = inf;  // a pair
      a.at(8, 5) = minus_inf;
      std::vector<T> c(static_cast<std::size_t>(20 * n), nan);  // not read unless accumulating
      GemmProblem p = problem_of(a, b, c, n);
      p.epilogue.activation = GemmEpilogue::Activation::relu;
      run<G, T>(p);
      for (std::int64_t j = 0; j < n; ++j) {
        const auto at = [&](std::int64_t i) { return to_double(c[static_cast<std::size_t>(i * n + j)]); };
        CHECK(std::isnan(at(3)));
        CHECK(at(4) == to_double(inf));
        CHECK(std::isnan(at(5)));
        CHECK(at(6) == 0);
        CHECK(at(7) == 30);
        CHECK(std::isnan(at(8)));
      }
      // A gate of NaN lets the value pass, as PyTorch's threshold does.
      std::vector<T> gate(c.size(), nan);
      gate[0] = from_double<T>(0);
      p.epilogue.gate = gate.data();
      p.epilogue.gate_row_stride = n;
      run<G, T>(p);
      CHECK(to_double(c[0]) == 0);
      CHECK(to_double(c[static_cast<std::size_t>(7 * n)]) == 30);
    }
  }
}

// Rows of every kind of numbers beside one another, in both factors, at sizes where products go by other ways than plain sums:
// what plain sums give, to the last denormal number.
template <class G>
void check_extreme_rows(double left_out = 0) {
  std::mt19937 engine(11);
  std::normal_distribution<double> normal;
  const float inf = std::numeric_limits<float>::infinity();
  const float scales[] = {1.0F, 1e38F, 1e-38F, 1e-42F, 1e19F, 1e-19F, 1e-30F, 1e25F};
  for (const Layout layout : {Layout::rows, Layout::columns, Layout::general}) {
    for (const bool second : {false, true}) {
      const Case size{75, 100, 580};
      Matrix<float> a(size.m, size.k, layout);
      Matrix<float> b(size.k, size.n, layout);
      for (std::int64_t i = 0; i < size.m; ++i) {
        const float scale = second ? 1.0F : scales[static_cast<std::size_t>(i % 13) % 8];
        for (std::int64_t k = 0; k < size.k; ++k)
          a.at(i, k) = static_cast<float>(normal(engine) * static_cast<double>(scale) / 8);
      }
      // Panels of one scale, whatever their width, so that some hold nothing special.
      for (std::int64_t j = 0; j < size.n; ++j) {
        const float scale = second && j >= 32 ? scales[static_cast<std::size_t>(j / 8) % 8] : 1.0F;
        for (std::int64_t k = 0; k < size.k; ++k)
          b.at(k, j) = static_cast<float>(normal(engine) * static_cast<double>(scale) / 8);
      }
      a.at(3, 579) = inf;
      a.at(4, 0) = -inf;
      a.at(4, 1) = inf;
      a.at(5, 300) = std::numeric_limits<float>::quiet_NaN();
      a.at(6, 17) = 1e-40F;  // one denormal number among others
      for (std::int64_t k = 0; k < size.k; ++k) a.at(7, k) = k == 40 ? 1e-40F : 0.0F;  // and alone
      a.at(8, 2) = std::numeric_limits<float>::max();
      if (second) b.at(300, 90) = inf, b.at(301, 91) = std::numeric_limits<float>::quiet_NaN();
      std::vector<float> c(static_cast<std::size_t>(size.m * size.n));
      run<G, float>(problem_of(a, b, c, size.n));
      std::int64_t wrong = 0;
      for (std::int64_t i = 0; i < size.m; ++i) {
        for (std::int64_t j = 0; j < size.n; ++j) {
          double sum = 0;
          double magnitude = 0;
          for (std::int64_t k = 0; k < size.k; ++k) {
            const double product = static_cast<double>(a.at(i, k)) * static_cast<double>(b.at(k, j));
            sum += product;
            if (std::isfinite(product)) magnitude += std::abs(product);
          }
          const auto found = static_cast<double>(c[static_cast<std::size_t>(i * size.n + j)]);
          if (std::isnan(sum)) {
            wrong += !std::isnan(found);
          } else if (magnitude < 0x1p127) {  // beyond, the order of a sum decides whether it overflows
            const double bound = static_cast<double>(size.k) * (0x1p-24 * magnitude + 0x1p-149) + left_out * magnitude;
            wrong += std::isinf(sum) ? found != sum : !(std::abs(found - sum) <= bound);
          }
        }
      }
      INFO("layout ", static_cast<int>(layout), " second ", second);
      CHECK(wrong == 0);
    }
  }
}

template <class G, class R>
void check_complex() {
  using T = std::complex<R>;
  std::mt19937 engine(3);
  std::normal_distribution<R> normal;
  for (const Layout la : kLayouts) {
    for (const Layout lb : kLayouts) {
      Matrix<T> a(7, 9, la);
      Matrix<T> b(9, 70, lb);
      const auto random = [&] { return T(normal(engine), normal(engine)); };
      a.fill(random);
      b.fill(random);
      std::vector<T> c(7 * 70);
      run<G, T>(problem_of(a, b, c, 70));
      double worst = 0;
      for (std::int64_t i = 0; i < 7; ++i) {
        for (std::int64_t j = 0; j < 70; ++j) {
          std::complex<double> sum = 0;
          for (std::int64_t k = 0; k < 9; ++k)
            sum += std::complex<double>(a.at(i, k)) * std::complex<double>(b.at(k, j));
          worst = std::max(worst, std::abs(std::complex<double>(c[static_cast<std::size_t>(i * 70 + j)]) - sum));
        }
      }
      CHECK(worst < 200 * static_cast<double>(std::numeric_limits<R>::epsilon()));
    }
  }
}

// Memory of exactly so many elements between two pages that nobody may touch: they end, or begin, right beside one.
template <class T>
class Fenced {
 public:
  Fenced(std::int64_t count, bool at_end) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    const std::size_t inside = (bytes + page - 1) / page * page;
    size_ = inside + 2 * page;
    pages_ =
        static_cast<unsigned char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(pages_ != MAP_FAILED);
    REQUIRE(mprotect(pages_, page, PROT_NONE) == 0);
    REQUIRE(mprotect(pages_ + page + inside, page, PROT_NONE) == 0);
    first_ = reinterpret_cast<T*>(pages_ + page + (at_end ? inside - bytes : 0));
  }
  ~Fenced() { munmap(pages_, size_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  [[nodiscard]] T* data() const { return first_; }

 private:
  unsigned char* pages_ = nullptr;
  std::size_t size_ = 0;
  T* first_ = nullptr;
};

// Nothing beside the operands is touched: it would end the process.
template <class G, class T>
void check_touches_operands_alone() {
  using Result = std::conditional_t<std::is_same_v<T, gorgo::BytesToInt32>, std::int32_t, T>;
  using Factor = std::conditional_t<std::is_same_v<T, gorgo::BytesToInt32>, std::uint8_t, T>;
  for (const Case& size : {Case{1, 70, 65}, Case{33, 17, 31}, Case{64, 64, 64}, Case{67, 81, 131}, Case{96, 97, 530}}) {
    for (const bool at_end : {false, true}) {
      for (const bool turned : {false, true}) {
        const Fenced<Factor> a(size.m * size.k, at_end);
        const Fenced<Factor> b(size.k * size.n, at_end);
        const Fenced<Result> c(size.m * size.n, at_end);
        for (std::int64_t i = 0; i < size.m * size.k; ++i) a.data()[i] = from_double<Factor>(1);
        for (std::int64_t i = 0; i < size.k * size.n; ++i) b.data()[i] = from_double<Factor>(1);
        GemmProblem p;
        p.m = size.m, p.n = size.n, p.k = size.k;
        p.a = a.data(), p.b = b.data(), p.c = c.data();
        p.a_row_stride = turned ? 1 : size.k, p.a_col_stride = turned ? size.m : 1;
        p.b_row_stride = turned ? 1 : size.n, p.b_col_stride = turned ? size.k : 1;
        p.c_row_stride = size.n;
        run<G, T>(p);
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < size.m * size.n; ++i) {
          wrong += to_double(c.data()[i]) != to_double(from_double<Result>(static_cast<double>(size.k)));
        }
        INFO("m ", size.m, " n ", size.n, " k ", size.k, " at end ", at_end, " turned ", turned);
        CHECK(wrong == 0);
      }
    }
  }
}

// Bytes of every value and both signs, whose sums in int32 are exact; nothing behind the operands is read.
template <class G>
void check_bytes() {
  std::mt19937 engine(5);
  std::uniform_int_distribution<int> byte(0, 255);
  for (const Case& size :
       {Case{1, 1, 1}, Case{3, 5, 7}, Case{14, 32, 16}, Case{29, 70, 66}, Case{1, 100, 131}, Case{100, 1, 132},
        Case{45, 33, 3100}, Case{1, 555, 3101}, Case{600, 70, 36}, Case{40, 40, 0}}) {
    for (const Layout layout : kLayouts) {
      for (const int signs : {0, 1, 2, 3}) {
        Matrix<std::uint8_t> a(size.m, size.k, layout);
        Matrix<std::uint8_t> b(size.k, size.n, layout);
        const auto random = [&] { return static_cast<std::uint8_t>(byte(engine)); };
        a.fill(random);
        b.fill(random);
        for (std::int64_t k = 0; k < size.k; ++k) a.at(0, k) = b.at(k, 0) = signs == 0 ? 255 : 128;  // the largest sums
        const std::int64_t stride = size.n + 3;
        std::vector<std::int32_t> c(static_cast<std::size_t>(size.m * stride), 77);
        GemmProblem p;
        p.m = size.m, p.n = size.n, p.k = size.k;
        p.a = a.first, p.b = b.first, p.c = c.data();
        p.a_row_stride = a.row_stride, p.a_col_stride = a.col_stride;
        p.b_row_stride = b.row_stride, p.b_col_stride = b.col_stride;
        p.c_row_stride = stride;
        p.a_is_signed = (signs & 1) != 0, p.b_is_signed = (signs & 2) != 0;
        p.accumulate = layout == Layout::columns;
        run<G, gorgo::BytesToInt32>(p);
        const auto value = [](std::uint8_t x, bool is_signed) {
          return is_signed ? static_cast<std::int64_t>(static_cast<std::int8_t>(x)) : static_cast<std::int64_t>(x);
        };
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < size.m; ++i) {
          for (std::int64_t j = 0; j < stride; ++j) {
            std::int64_t sum = j < size.n && !p.accumulate ? 0 : 77;
            for (std::int64_t k = 0; j < size.n && k < size.k; ++k) {
              sum += value(a.at(i, k), p.a_is_signed) * value(b.at(k, j), p.b_is_signed);
            }
            wrong += c[static_cast<std::size_t>(i * stride + j)] != sum;
          }
        }
        INFO("m ", size.m, " n ", size.n, " k ", size.k, " layout ", static_cast<int>(layout), " signs ", signs);
        CHECK(wrong == 0);
      }
    }
  }
  check_values<G, std::int8_t>();
  check_values<G, std::uint8_t>();
  check_touches_operands_alone<G, gorgo::BytesToInt32>();
}

// Factors packed at one setting and multiplied at another, as when a thread changes it meanwhile: what the later one gives.
template <class G>
void check_packs_of_another_setting() {
  using gorgo::Float32Mode;
  RandomValue<float> random;
  for (const Case& size : {Case{128, 128, 128}, Case{200, 512, 512}, Case{256, 256, 256}, Case{300, 310, 600}}) {
    Matrix<float> a(size.m, size.k, Layout::rows);
    Matrix<float> b(size.k, size.n, Layout::rows);
    a.fill(random);
    b.fill(random);
    for (const Float32Mode mode : {Float32Mode::highest, Float32Mode::medium}) {
      gorgo::float32_mode = mode;
      std::vector<float> expected(static_cast<std::size_t>(size.m * size.n));
      run<G, float>(problem_of(a, b, expected, size.n));
      std::vector<float> found(expected.size());
      const GemmProblem p = problem_of(a, b, found, size.n);
      const std::unique_ptr<void, decltype(&std::free)> scratch(
          std::aligned_alloc(64, (G::template scratch<float>(p) + 63) / 64 * 64), &std::free);
      gorgo::float32_mode = mode == Float32Mode::highest ? Float32Mode::medium : Float32Mode::highest;
      for (std::int64_t t = 0; t < G::template pack_tasks<float>(p); ++t) G::template pack<float>(p, scratch.get(), t);
      gorgo::float32_mode = mode;
      for (std::int64_t t = 0; t < G::template tasks<float>(p); ++t) G::template run<float>(p, scratch.get(), t);
      INFO("m ", size.m, " n ", size.n, " k ", size.k, " mode ", static_cast<int>(mode));
      CHECK(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0);
    }
  }
}

template <class G>
void check_float32() {
  check_values<G, float>();
  check_rows_are_batch_invariant<G, float>();
  check_special_values<G, float>();
  check_extreme_rows<G>();
  check_touches_operands_alone<G, float>();
}

template <class G>
void check_bfloat16() {
  check_values<G, BFloat16>();
  check_rows_are_batch_invariant<G, BFloat16>();
  check_special_values<G, BFloat16>();
  check_touches_operands_alone<G, BFloat16>();
}

template <class G>
void check_isa() {
  check_float32<G>();
  check_values<G, double>();
  check_bfloat16<G>();
  check_bytes<G>();
  check_values<G, Float16>();
  check_values<G, std::int32_t>();
  check_values<G, std::int64_t>();
  if constexpr (G::kHasAll) {
    check_values<G, std::uint16_t>();
    check_complex<G, float>();
    check_complex<G, double>();
  }
  check_rows_are_batch_invariant<G, double>();
  check_special_values<G, double>();
  check_touches_operands_alone<G, double>();
}

}  // namespace

TEST_CASE("gemm: base") { check_isa<gorgo::isa_base::Gemm>(); }

#ifdef GORGO_HAVE_AVX2
TEST_CASE("gemm: AVX2") {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    MESSAGE("this machine has no AVX2, nothing was tested");
    return;
  }
  check_isa<gorgo::isa_avx2::Gemm>();
}
#endif

#ifdef GORGO_HAVE_AVX512
TEST_CASE("gemm: AVX-512") {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl")) {
    MESSAGE("this machine has no AVX-512, nothing was tested");
    return;
  }
  check_isa<gorgo::isa_avx512::Gemm>();
}
#endif

#ifdef GORGO_HAVE_AVX512_VNNI
TEST_CASE("gemm: AVX512_VNNI") {
  if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512vnni")) {
    MESSAGE("this machine has no AVX512_VNNI, nothing was tested");
    return;
  }
  check_bytes<gorgo::isa_avx512_vnni::Gemm>();
}
#endif

#ifdef GORGO_HAVE_AVX512_BF16
TEST_CASE("gemm: AVX512_BF16") {
  if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512bf16")) {
    MESSAGE("this machine has no AVX512_BF16, nothing was tested");
    return;
  }
  using gorgo::isa_avx512_bf16::Gemm;
  check_bfloat16<Gemm>();
  check_float32<Gemm>();
  const Medium medium;
  check_values<Gemm, float>(kLeftOut);
  check_extreme_rows<Gemm>(kLeftOut);
  check_rows_are_batch_invariant<Gemm, float>();
  check_special_values<Gemm, float>();
  check_touches_operands_alone<Gemm, float>();
  check_keeps<Gemm, float>();
  check_packs_of_another_setting<Gemm>();
}
#endif

#ifdef GORGO_HAVE_AMX
TEST_CASE("gemm: AMX") {
  if (!gorgo::is_available(gorgo::Isa::Amx)) {
    MESSAGE("this machine has no AMX, nothing was tested");
    return;
  }
  using gorgo::isa_amx::Gemm;
  check_float32<Gemm>();
  check_keeps<Gemm, float>();
  check_keeps<Gemm, BFloat16>();
  check_keeps<Gemm, std::int8_t>();
  check_bfloat16<Gemm>();
  check_bytes<Gemm>();
}
#endif

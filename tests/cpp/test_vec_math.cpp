// csrc/kernels/{vec,math,arcs}.h against the C library in higher precision, for one instruction set: the base one, or the
// one that the command line names with GORGO_ISA_NS, GORGO_ISA_* and the compiler's flags. The sets are compared with
// each other through the kernels of the elementwise ops (test_elementwise.cpp).
#ifndef GORGO_ISA_NS
#define GORGO_ISA_NS isa_test
#define GORGO_ISA_BASE 1
#endif

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/arcs.h"

namespace kernels = gorgo::GORGO_ISA_NS;
using gorgo::BFloat16;
using gorgo::Float16;
using kernels::Vec;

namespace {

template <class T>
constexpr T kInf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T kNan = std::numeric_limits<T>::quiet_NaN();

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
template <class T>
using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;

// Values over the whole range of bit patterns, dense around the usual sizes, and the special ones.
template <class T>
std::vector<T> samples(size_t count) {
  std::vector<T> out = {T(0),
                        -T(0),
                        T(1),
                        T(-1),
                        kInf<T>,
                        -kInf<T>,
                        kNan<T>,
                        T(0.5),
                        T(-0.5),
                        T(2),
                        T(3),
                        T(-2),
                        T(-3),
                        std::numeric_limits<T>::min(),
                        std::numeric_limits<T>::denorm_min(),
                        -std::numeric_limits<T>::denorm_min(),
                        std::numeric_limits<T>::max(),
                        -std::numeric_limits<T>::max(),
                        std::numeric_limits<T>::lowest() / 2};
  std::mt19937_64 random(7);
  for (size_t i = 0; i < count; ++i) {
    const auto bits = static_cast<Bits<T>>(random());
    switch (i % 4) {
      case 0:
        out.push_back(std::bit_cast<T>(bits));
        break;
      case 1:
        out.push_back(
            static_cast<T>(static_cast<double>(static_cast<int64_t>(bits >> 1)) / 0x1p30 - (sizeof(T) == 4 ? 1 : 0)));
        break;
      case 2:
        out.push_back(
            std::ldexp(static_cast<T>(static_cast<double>(bits) / (sizeof(T) == 4 ? 0x1p31 : 0x1p63) - 1), 7));
        break;
      default:
        out.push_back(static_cast<T>(static_cast<double>(bits) / (sizeof(T) == 4 ? 0x1p31 : 0x1p63) - 1) * T(1.5));
    }
  }
  return out;
}

// Distance from the true value in units of the last place of T there.
template <class T>
double ulps(T got, Wide<T> expected) {
  const T rounded = static_cast<T>(expected);
  if (std::isnan(expected)) return std::isnan(got) ? 0 : 1e30;
  if (std::isnan(got)) return 1e30;
  if (std::isinf(rounded) || std::isinf(got)) {
    if (got == rounded) return 0;
    // Just past the largest number either answer is within one place.
    const T finite = std::isinf(got) ? rounded : got;
    return std::abs(finite) == std::numeric_limits<T>::max() && std::signbit(got) == std::signbit(rounded) ? 1 : 1e30;
  }
  if (expected == 0) return got == 0 && std::signbit(got) == std::signbit(expected) ? 0 : 1e30;
  int exponent = 0;
  std::frexp(expected, &exponent);
  const int digits = std::numeric_limits<T>::digits;
  const int place = std::max(exponent - digits, std::numeric_limits<T>::min_exponent - digits);
  return static_cast<double>(std::abs(std::ldexp(static_cast<Wide<T>>(got) - expected, -place)));
}

template <class T, class F>
std::vector<T> apply(const std::vector<T>& x, F f) {
  constexpr int kLanes = Vec<T>::kLanes;
  std::vector<T> out(x.size());
  for (size_t i = 0; i < x.size(); i += kLanes) {
    const int count = static_cast<int>(std::min<size_t>(kLanes, x.size() - i));
    if (count == kLanes) {
      kernels::store(&out[i], f(kernels::load<T, kLanes>(&x[i])));
    } else {
      kernels::store_partial(&out[i], f(kernels::load_partial<T, kLanes>(&x[i], count)), count);
    }
  }
  return out;
}

template <class T, class F, class Oracle>
void check_unary(const char* name, double limit, F f, Oracle oracle) {
  const auto x = samples<T>(sizeof(T) == 4 ? 400000 : 100000);
  const auto got = apply(x, f);
  double worst = 0;
  T at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulps(got[i], static_cast<Wide<T>>(oracle(static_cast<Wide<T>>(x[i]))));
    if (error > worst) {
      worst = error;
      at = x[i];
    }
  }
  INFO(std::string(name), " of ", sizeof(T) * 8, " bits: ", worst, " ulp at ", static_cast<double>(at));
  CHECK(worst <= limit);
}

#define CHECK_ULPS(name, limit32, limit64)                                                                          \
  check_unary<float>(#name, limit32, [](auto v) { return kernels::name(v); }, [](auto x) { return std::name(x); }); \
  check_unary<double>(#name, limit64, [](auto v) { return kernels::name(v); }, [](auto x) { return std::name(x); })

// Memory whose end is the end of the last readable page, so that touching one byte more is a fault.
class GuardedPage {
 public:
  GuardedPage() : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    void* at = mmap(nullptr, 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at != MAP_FAILED);
    base_ = static_cast<char*>(at);
    REQUIRE(mprotect(base_ + page_, page_, PROT_NONE) == 0);
  }
  GuardedPage(const GuardedPage&) = delete;
  GuardedPage& operator=(const GuardedPage&) = delete;
  ~GuardedPage() { munmap(base_, 2 * page_); }
  template <class T>
  T* last(int count) {
    return reinterpret_cast<T*>(base_ + page_) - count;
  }

 private:
  size_t page_;
  char* base_ = nullptr;
};

template <class S, int N>
void check_partial() {
  GuardedPage from;
  GuardedPage to;
  for (int n = 0; n <= N; ++n) {
    S* x = from.last<S>(n);
    S* y = to.last<S>(n);
    std::memset(static_cast<void*>(y - 4), 0x5a, static_cast<size_t>(n + 4) * sizeof(S));
    for (int i = 0; i < n; ++i) {
      const auto bits = static_cast<unsigned char>(std::is_same_v<S, bool> ? i % 2 : i + 1);
      std::memset(static_cast<void*>(x + i), 0, sizeof(S));
      std::memcpy(static_cast<void*>(x + i), &bits, 1);
    }
    const auto v = kernels::load_partial<S, N>(x, n);
    kernels::store_partial(y, v, n);
    CHECK(std::memcmp(x, y, static_cast<size_t>(n) * sizeof(S)) == 0);
    for (size_t i = 0; i < 4 * sizeof(S); ++i) CHECK(reinterpret_cast<unsigned char*>(y - 4)[i] == 0x5a);
    for (int i = n; i < N; ++i) CHECK(v.raw[i] == 0);
  }
}

template <class S>
void check_partial_all() {
  check_partial<S, kernels::kVectorBytes / static_cast<int>(sizeof(S))>();
  check_partial<S, kernels::kVectorBytes / 8>();
}

}  // namespace

TEST_CASE("vec: partial loads and stores touch exactly their lanes") {
  check_partial_all<float>();
  check_partial_all<double>();
  check_partial_all<int8_t>();
  check_partial_all<uint16_t>();
  check_partial_all<int32_t>();
  check_partial_all<uint64_t>();
  check_partial_all<bool>();
  check_partial_all<Float16>();
  check_partial_all<BFloat16>();
}

TEST_CASE("math: vector functions are within their bounds of the true value") {
  CHECK_ULPS(sqrt, 0.5, 0.5);
  CHECK_ULPS(exp, 1, 1);
  CHECK_ULPS(exp2, 1, 1);
  CHECK_ULPS(expm1, 1, 1);
  CHECK_ULPS(log, 1, 1);
  CHECK_ULPS(log2, 1, 1);
  CHECK_ULPS(log10, 1, 1.1);
  CHECK_ULPS(log1p, 1, 1);
  CHECK_ULPS(sin, 1, 1);
  CHECK_ULPS(cos, 1, 1);
  CHECK_ULPS(tan, 1, 1.1);
  CHECK_ULPS(tanh, 1, 1.1);
  CHECK_ULPS(erf, 1, 1.5);
  CHECK_ULPS(erfc, 1, 6);
  CHECK_ULPS(asin, 0.7, 1);
  CHECK_ULPS(acos, 0.7, 1);
  CHECK_ULPS(atan, 0.51, 1);
  CHECK_ULPS(sinh, 1, 1.1);
  CHECK_ULPS(cosh, 1, 1.1);
  CHECK_ULPS(asinh, 0.51, 1.4);
  CHECK_ULPS(acosh, 0.51, 1.1);
  CHECK_ULPS(atanh, 0.51, 1.1);
  const auto sigmoid = [](auto x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); };
  check_unary<float>("sigmoid", 1, [](auto v) { return kernels::sigmoid(v); }, sigmoid);
  check_unary<double>("sigmoid", 0.8, [](auto v) { return kernels::sigmoid(v); }, sigmoid);
  const auto gelu = [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); };
  check_unary<float>("gelu", 6, [](auto v) { return kernels::gelu(v); }, gelu);
  const auto softplus = [](auto x) { return std::max(x, decltype(x)(0)) + std::log1p(std::exp(-std::abs(x))); };
  check_unary<float>("softplus", 1, [](auto v) { return kernels::softplus(v); }, softplus);
}

TEST_CASE("math: rounding is exact, half to even, and keeps the sign of zero") {
  CHECK_ULPS(floor, 0, 0);
  CHECK_ULPS(ceil, 0, 0);
  CHECK_ULPS(trunc, 0, 0);
  const auto rint = [](auto x) { return std::nearbyint(x); };
  check_unary<float>("round", 0, [](auto v) { return kernels::round(v); }, rint);
  check_unary<double>("round", 0, [](auto v) { return kernels::round(v); }, rint);
}

TEST_CASE("math: pow within two places over pairs, with the special cases of C") {
  const std::vector<float> special = {0.0f,        -0.0f,        1.0f,        -1.0f,       2.0f,   -2.0f,
                                      3.0f,        -3.0f,        0.5f,        -0.5f,       2.5f,   -2.5f,
                                      kInf<float>, -kInf<float>, kNan<float>, 1e30f,       -1e30f, 1e-40f,
                                      -1e-40f,     16777216.0f,  16777215.0f, -16777215.0f};
  for (const float x : special) {
    for (const float y : special) {
      const float got = kernels::pow(x, y);
      const double expected = std::pow(static_cast<double>(x), static_cast<double>(y));
      INFO("pow(", x, ", ", y, ") = ", got, ", expected ", expected);
      CHECK(ulps(got, expected) <= 0.51);
      if (!std::isnan(expected)) CHECK(std::signbit(got) == std::signbit(expected));
    }
  }
  std::mt19937 random(3);
  std::uniform_real_distribution<float> exponents(-40, 40);
  double worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(random()) & 0x7fffffffu);
    const float y = exponents(random) * (i % 2 != 0 ? 1.0f : 0.02f);
    const double error = ulps(kernels::pow(x, y), std::pow(static_cast<double>(x), static_cast<double>(y)));
    if (error > worst) worst = error;
  }
  INFO("worst ", worst);
  CHECK(worst <= 2);
}

TEST_CASE("vec: half types round to nearest even and come back") {
  for (uint32_t bits = 0; bits < 65536; bits += 1) {
    Float16 half;
    half.bits = static_cast<uint16_t>(bits);
    const auto wide = kernels::load_splat<Float16, 4>(&half);
    const float reference = static_cast<float>(half);
    REQUIRE((std::isnan(reference) ? std::isnan(wide.raw[0]) : wide.raw[0] == reference));
    Float16 back;
    kernels::store_partial(&back, wide, 1);
    if (!std::isnan(reference)) REQUIRE(back.bits == half.bits);
    if (std::isnan(reference)) REQUIRE(std::isnan(static_cast<float>(back)));
  }
  std::mt19937 random(5);
  constexpr int kLanes = Vec<float>::kLanes;
  for (int i = 0; i < 100000; ++i) {
    float x[kLanes];
    Float16 half[kLanes];
    BFloat16 brain[kLanes];
    for (float& v : x) {
      v = i % 2 == 0 ? std::bit_cast<float>(static_cast<uint32_t>(random()))
                     : std::ldexp(static_cast<float>(random() % 8192), static_cast<int>(random() % 36) - 30);
    }
    const auto v = kernels::load<float, kLanes>(x);
    kernels::store(half, v);
    kernels::store(brain, v);
    for (int j = 0; j < kLanes; ++j) {
      if (std::isnan(x[j])) {
        REQUIRE(std::isnan(static_cast<float>(half[j])));
        REQUIRE(std::isnan(static_cast<float>(brain[j])));
      } else {
        REQUIRE(half[j].bits == Float16(x[j]).bits);
        REQUIRE(brain[j].bits == BFloat16(x[j]).bits);
      }
    }
  }
}

TEST_CASE("vec: integers wrap, divide without a signal, and shift by any count") {
  constexpr int32_t kLow = std::numeric_limits<int32_t>::min();
  const auto vec = [](int32_t x) { return kernels::broadcast<Vec<int32_t>>(x); };
  CHECK((vec(kLow) / vec(-1)).raw[0] == kLow);
  CHECK((vec(7) / vec(0)).raw[0] == 0);
  CHECK((vec(-7) / vec(2)).raw[0] == -3);
  CHECK((vec(2147483647) / vec(3)).raw[0] == 715827882);
  CHECK((vec(kLow) - vec(1)).raw[0] == 2147483647);
  const auto wide = [](int64_t x) { return kernels::broadcast<Vec<int64_t>>(x); };
  constexpr int64_t kLow64 = std::numeric_limits<int64_t>::min();
  CHECK((wide(kLow64) / wide(-1)).raw[0] == kLow64);
  CHECK((wide(5) / wide(0)).raw[0] == 0);
  CHECK(kernels::shift_left(vec(1), vec(31)).raw[0] == kLow);
  CHECK(kernels::shift_left(vec(1), vec(32)).raw[0] == 0);
  CHECK(kernels::shift_right(vec(-8), vec(40)).raw[0] == -1);
  CHECK(kernels::shift_right(vec(-8), vec(1)).raw[0] == -4);
  CHECK(kernels::pow(int32_t{3}, int32_t{5}) == 243);
  CHECK(kernels::pow(int32_t{2}, int32_t{-1}) == 0);
  CHECK(kernels::pow(int8_t{-1}, int8_t{-3}) == -1);
  std::mt19937 random(11);
  for (int i = 0; i < 20000; ++i) {
    const auto a = static_cast<int32_t>(random());
    const auto b = static_cast<int32_t>(random() >> (random() % 32));
    if (b == 0 || (a == kLow && b == -1)) continue;
    REQUIRE((vec(a) / vec(b)).raw[0] == a / b);
    const auto ua = static_cast<uint32_t>(a);
    const auto ub = static_cast<uint32_t>(b);
    REQUIRE((kernels::broadcast<Vec<uint32_t>>(ua) / kernels::broadcast<Vec<uint32_t>>(ub)).raw[0] == ua / ub);
  }
}

template <class U, class T>
void check_saturation() {
  constexpr int kLanes = Vec<T>::kLanes;
  const std::vector<T> values = {T(0),
                                 T(-0.5),
                                 T(0.9),
                                 T(-1),
                                 T(-1.5),
                                 T(100.7),
                                 T(127),
                                 T(128),
                                 T(255),
                                 T(256),
                                 T(-128),
                                 T(-129),
                                 T(40000),
                                 T(2147483520),
                                 T(2147483648.0),
                                 T(-2147483648.0),
                                 T(4294967040.0),
                                 T(4294967296.0),
                                 T(9.2e18),
                                 T(1.8e19),
                                 T(1.9e19),
                                 T(-9.3e18),
                                 T(1e30),
                                 T(-1e30),
                                 kInf<T>,
                                 -kInf<T>,
                                 kNan<T>};
  for (const T x : values) {
    const auto got = kernels::convert<U>(kernels::broadcast<Vec<T, kLanes>>(x)).raw[0];
    U expected = 0;
    const auto wide = static_cast<long double>(x);
    if (std::isnan(x)) {
      expected = 0;
    } else if (wide >= static_cast<long double>(std::numeric_limits<U>::max())) {
      expected = std::numeric_limits<U>::max();
    } else if (wide <= static_cast<long double>(std::numeric_limits<U>::min())) {
      expected = std::numeric_limits<U>::min();
    } else {
      expected = static_cast<U>(wide);
    }
    INFO(static_cast<double>(x));
    CHECK(got == expected);
  }
}

TEST_CASE_TEMPLATE("vec: a float out of an integer's range takes the nearest end, NaN takes 0", U, int8_t, uint8_t,
                   int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t) {
  check_saturation<U, float>();
  check_saturation<U, double>();
}

TEST_CASE("math: minimum and maximum propagate NaN, fma rounds once") {
  const auto vec = [](float x) { return kernels::broadcast<Vec<float>>(x); };
  for (const float other : {0.0f, 1.0f, kInf<float>, -kInf<float>}) {
    CHECK(std::isnan(kernels::minimum(vec(other), vec(kNan<float>)).raw[0]));
    CHECK(std::isnan(kernels::maximum(vec(kNan<float>), vec(other)).raw[0]));
  }
  CHECK(kernels::minimum(vec(-1), vec(2)).raw[0] == -1);
  CHECK(kernels::maximum(vec(-1), vec(2)).raw[0] == 2);
  const float a = 1.0f + 0x1p-23f;
  CHECK(kernels::fma(vec(a), vec(a), vec(-1.0f)).raw[0] == 0x1p-22f + 0x1p-46f);
  CHECK(std::signbit(kernels::sign(vec(-0.0f)).raw[0]));
  CHECK(std::isnan(kernels::sign(vec(kNan<float>)).raw[0]));
}

TEST_CASE("math: a lane's bits do not depend on its place") {
  const auto x = samples<float>(4096);
  const auto whole = apply(x, [](auto v) { return kernels::tanh(kernels::exp(v)); });
  for (size_t i = 0; i < x.size(); ++i) {
    const auto one = kernels::load_partial<float, Vec<float>::kLanes>(&x[i], 1);
    const float alone = kernels::tanh(kernels::exp(one)).raw[0];
    CHECK(std::bit_cast<uint32_t>(alone) == std::bit_cast<uint32_t>(whole[i]));
  }
}

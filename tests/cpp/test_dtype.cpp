// Dtypes: promotion laws, and the 16-bit floats against the compiler's own.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "core/dtype.h"
#include "core/scalar.h"

using namespace gorgo;

TEST_CASE("promotion is commutative, idempotent and, where defined, never below its operands") {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto a = static_cast<DType>(i);
    CHECK(promote(a, a) == a);
    CHECK(promote(a, DType::Bool) == a);
    for (int j = 0; j < kDTypeCount; ++j) {
      const auto b = static_cast<DType>(j);
      CHECK(can_promote(a, b) == can_promote(b, a));
      if (!can_promote(a, b)) continue;
      CHECK(promote(a, b) == promote(b, a));
      CHECK(promote(promote(a, b), a) == promote(a, b));
    }
  }
  CHECK(promote(DType::UInt8, DType::Int8) == DType::Int16);
  CHECK(promote(DType::UInt32, DType::Int8) == DType::Int64);
  CHECK(promote(DType::Int64, DType::Float16) == DType::Float16);
  CHECK(promote(DType::Float16, DType::BFloat16) == DType::Float32);
  CHECK(promote(DType::Float64, DType::Complex64) == DType::Complex128);
  CHECK_THROWS_AS(static_cast<void>(promote(DType::UInt64, DType::Int8)), TypeError);
}

TEST_CASE("scalars are weak") {
  CHECK(promote(DType::Int8, Scalar::of_int(1)) == DType::Int8);
  CHECK(promote(DType::Bool, Scalar::of_int(1)) == DType::Int64);
  CHECK(promote(DType::Int32, Scalar::of_float(1.0)) == DType::Float32);
  CHECK(promote(DType::Float16, Scalar::of_float(1.0)) == DType::Float16);
  CHECK(promote(DType::Float64, Scalar::of_complex({0.0, 1.0})) == DType::Complex128);
  Element element;
  CHECK_THROWS_AS(store_scalar(Scalar::of_int(300), DType::UInt8, "op", element.bytes), OverflowError);
  CHECK_THROWS_AS(store_scalar(Scalar::of_float(0.5), DType::Int64, "op", element.bytes), TypeError);
  store_scalar(Scalar::of_uint(UINT64_MAX), DType::UInt64, "op", element.bytes);
  CHECK(load_scalar(element.bytes, DType::UInt64).u == UINT64_MAX);
}

TEST_CASE("every float16 survives the way to float and back") {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    Float16 h;
    h.bits = static_cast<uint16_t>(bits);
    const float f = static_cast<float>(h);
    if (std::isnan(f)) {
      CHECK(std::isnan(static_cast<float>(Float16(f))));
    } else {
      CHECK(Float16(f).bits == bits);
    }
  }
}

TEST_CASE("float32 rounds to the nearest 16-bit float, ties to even") {
  std::mt19937 random(5);
  for (int trial = 0; trial < 2000000; ++trial) {
    const uint32_t bits = static_cast<uint32_t>(random());
    float f;
    std::memcpy(&f, &bits, sizeof f);
    if (std::isnan(f)) continue;
#if defined(__FLT16_MAX__)
    const auto reference = static_cast<_Float16>(f);
    uint16_t expected;
    std::memcpy(&expected, &reference, sizeof expected);
    CHECK_MESSAGE(Float16(f).bits == expected, f);
#endif
    // bfloat16: the neighbours of f, and which of them is nearer.
    const uint32_t below = bits & 0xffff0000u;
    const uint32_t distance = bits - below;
    const bool up = distance > 0x8000u || (distance == 0x8000u && ((below >> 16) & 1u) != 0);
    CHECK(BFloat16(f).bits == static_cast<uint16_t>((below >> 16) + (up ? 1 : 0)));
  }
}

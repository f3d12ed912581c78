#include "core/dtype.h"

#include <algorithm>
#include <ostream>

#include "core/promotion.h"

namespace gorgo {
namespace {

constexpr const char* kNames[] = {
#define GORGO_X(name, type, text) text,
    GORGO_FOR_EACH_DTYPE(GORGO_X)
#undef GORGO_X
};
static_assert(sizeof(kNames) / sizeof(kNames[0]) == kDTypeCount);

DType wider(DType a, DType b) noexcept { return dtype_bits(a) >= dtype_bits(b) ? a : b; }

// The signed integer that holds every value of unsigned `u` and of signed `s`; nothing when u is uint64.
std::optional<DType> signed_above(DType u, DType s) noexcept {
  switch (u) {
    case DType::UInt8:
      return wider(DType::Int16, s);
    case DType::UInt16:
      return wider(DType::Int32, s);
    case DType::UInt32:
      return DType::Int64;
    default:
      return std::nullopt;
  }
}

DType promote_floats(DType a, DType b) noexcept {
  if (a == b) return a;
  if (dtype_bits(a) == 16 && dtype_bits(b) == 16) return DType::Float32;  // float16 with bfloat16
  return wider(a, b);
}

std::optional<DType> try_promote(DType a, DType b) noexcept {
  if (a == b) return a;
  if (a > b) std::swap(a, b);  // kinds ascend: bool, unsigned, signed, floating, complex
  if (a == DType::Bool) return b;
  if (is_complex(b)) {
    const bool wide = b == DType::Complex128 || a == DType::Complex128 || a == DType::Float64;
    return wide ? DType::Complex128 : DType::Complex64;
  }
  if (is_floating(b)) return is_floating(a) ? promote_floats(a, b) : b;  // an integer takes the float's dtype
  if (is_unsigned(a) && is_signed_integer(b)) return signed_above(a, b);
  return wider(a, b);
}

}  // namespace

const char* dtype_name(DType d) noexcept { return kNames[static_cast<int>(d)]; }

std::optional<DType> parse_dtype(std::string_view name) noexcept {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (name == kNames[i]) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::ostream& operator<<(std::ostream& out, DType d) { return out << dtype_name(d); }

bool can_promote(DType a, DType b) noexcept { return try_promote(a, b).has_value(); }

DType promote(DType a, DType b) {
  const std::optional<DType> result = try_promote(a, b);
  if (!result) throw NoCommonDType(a, b);
  return *result;
}

DType real_dtype(DType d) noexcept {
  if (d == DType::Complex64) return DType::Float32;
  if (d == DType::Complex128) return DType::Float64;
  return d;
}

DType complex_dtype(DType d) noexcept { return d == DType::Float64 ? DType::Complex128 : DType::Complex64; }

}  // namespace gorgo

// Python scalars beside tensors: they are weak, that is, they take the tensor's dtype unless their kind is higher.
// Read next: dtype.h for the promotion of tensors.
#pragma once

#include <complex>
#include <cstdint>
#include <iosfwd>

#include "core/dtype.h"

namespace gorgo {

struct Scalar {
  enum class Kind : uint8_t { Bool, Int, UInt, Float, Complex };  // UInt only for values above the largest int64

  Kind kind = Kind::Int;
  union {
    int64_t i = 0;
    uint64_t u;
    double d;
  };
  double imag = 0.0;

  Scalar() = default;
  static Scalar of_bool(bool v) noexcept { return of_int_kind(Kind::Bool, v ? 1 : 0); }
  static Scalar of_int(int64_t v) noexcept { return of_int_kind(Kind::Int, v); }
  static Scalar of_uint(uint64_t v) noexcept {
    if (v <= static_cast<uint64_t>(INT64_MAX)) return of_int(static_cast<int64_t>(v));
    Scalar s;
    s.kind = Kind::UInt;
    s.u = v;
    return s;
  }
  static Scalar of_float(double v) noexcept {
    Scalar s;
    s.kind = Kind::Float;
    s.d = v;
    return s;
  }
  static Scalar of_complex(std::complex<double> v) noexcept {
    Scalar s = of_float(v.real());
    s.kind = Kind::Complex;
    s.imag = v.imag();
    return s;
  }

  [[nodiscard]] double to_double() const noexcept {
    switch (kind) {
      case Kind::Float:
      case Kind::Complex:
        return d;
      case Kind::UInt:
        return static_cast<double>(u);
      default:
        return static_cast<double>(i);
    }
  }
  [[nodiscard]] std::complex<double> to_complex() const noexcept { return {to_double(), imag}; }
  [[nodiscard]] bool to_bool() const noexcept {
    return kind == Kind::Complex ? d != 0.0 || imag != 0.0 : to_double() != 0.0;
  }
  // Equal kind and equal bits (so NaN equals NaN and 0.0 differs from -0.0): the identity that graphs need.
  [[nodiscard]] bool same(const Scalar& o) const noexcept {
    return kind == o.kind && u == o.u && std::bit_cast<uint64_t>(imag) == std::bit_cast<uint64_t>(o.imag);
  }

 private:
  static Scalar of_int_kind(Kind k, int64_t v) noexcept {
    Scalar s;
    s.kind = k;
    s.i = v;
    return s;
  }
};

std::ostream& operator<<(std::ostream& out, const Scalar& s);

// The dtype a scalar has when no tensor is beside it: bool, int64 (uint64), float32, complex64.
[[nodiscard]] DType default_dtype_of(const Scalar& s) noexcept;
// The dtype in which a tensor of dtype `d` meets the weak scalar.
[[nodiscard]] DType promote(DType d, const Scalar& s) noexcept;

// One element of any dtype, as raw bytes; what a kernel reads for a scalar operand.
struct alignas(16) Element {
  unsigned char bytes[16] = {};
};
// Converts a scalar to an element of dtype `d`. Throws OverflowError when an integer does not fit, TypeError when the
// kind is higher than the dtype's (a float into an integer, a complex into a real). `op` names the caller.
void store_scalar(const Scalar& s, DType d, const char* op, void* out);
// Reads one element back as a scalar.
[[nodiscard]] Scalar load_scalar(const void* data, DType d) noexcept;

}  // namespace gorgo

#include "core/scalar.h"

#include <cstring>
#include <limits>
#include <ostream>
#include <utility>

namespace gorgo {
namespace {

template <class T>
void put(void* out, T value) noexcept {
  std::memcpy(out, &value, sizeof value);
}

template <class T>
void put_integer(const Scalar& s, DType d, const char* op, void* out) {
  if (s.kind == Scalar::Kind::Float || s.kind == Scalar::Kind::Complex) {
    fail<TypeError>(op, ": scalar must be an integer for a tensor of dtype ", d, ", got ", s);
  }
  const bool fits = s.kind == Scalar::Kind::UInt ? std::in_range<T>(s.u) : std::in_range<T>(s.i);
  if (!fits) {
    fail<OverflowError>(op, ": scalar must fit ", d, " [", +std::numeric_limits<T>::min(), ", ",
                        +std::numeric_limits<T>::max(), "], got ", s);
  }
  put(out, s.kind == Scalar::Kind::UInt ? static_cast<T>(s.u) : static_cast<T>(s.i));
}

void refuse_complex(const Scalar& s, DType d, const char* op) {
  if (s.kind == Scalar::Kind::Complex) {
    fail<TypeError>(op, ": scalar must be real for a tensor of dtype ", d, ", got ", s);
  }
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Scalar& s) {
  switch (s.kind) {
    case Scalar::Kind::Bool:
      return out << (s.i != 0 ? "True" : "False");
    case Scalar::Kind::Int:
      return out << s.i;
    case Scalar::Kind::UInt:
      return out << s.u;
    case Scalar::Kind::Float:
      return out << s.d;
    case Scalar::Kind::Complex:
      return out << '(' << s.d << (s.imag < 0 ? "" : "+") << s.imag << "j)";
  }
  return out;
}

DType default_dtype_of(const Scalar& s) noexcept {
  switch (s.kind) {
    case Scalar::Kind::Bool:
      return DType::Bool;
    case Scalar::Kind::Int:
      return DType::Int64;
    case Scalar::Kind::UInt:
      return DType::UInt64;
    case Scalar::Kind::Float:
      return DType::Float32;
    case Scalar::Kind::Complex:
      return DType::Complex64;
  }
  return DType::Float32;
}

DType promote(DType d, const Scalar& s) noexcept {
  switch (s.kind) {
    case Scalar::Kind::Bool:
      return d;
    case Scalar::Kind::Int:
    case Scalar::Kind::UInt:
      return d == DType::Bool ? default_dtype_of(s) : d;
    case Scalar::Kind::Float:
      return is_inexact(d) ? d : DType::Float32;
    case Scalar::Kind::Complex:
      return is_complex(d) ? d : complex_dtype(d);
  }
  return d;
}

void store_scalar(const Scalar& s, DType d, const char* op, void* out) {
  switch (d) {
    case DType::Bool:
      if (s.kind != Scalar::Kind::Bool) {
        fail<TypeError>(op, ": scalar must be a bool for a tensor of dtype bool, got ", s);
      }
      return put(out, s.i != 0);
    case DType::UInt8:
      return put_integer<uint8_t>(s, d, op, out);
    case DType::UInt16:
      return put_integer<uint16_t>(s, d, op, out);
    case DType::UInt32:
      return put_integer<uint32_t>(s, d, op, out);
    case DType::UInt64:
      return put_integer<uint64_t>(s, d, op, out);
    case DType::Int8:
      return put_integer<int8_t>(s, d, op, out);
    case DType::Int16:
      return put_integer<int16_t>(s, d, op, out);
    case DType::Int32:
      return put_integer<int32_t>(s, d, op, out);
    case DType::Int64:
      return put_integer<int64_t>(s, d, op, out);
    case DType::Float16:
      refuse_complex(s, d, op);
      return put(out, Float16(static_cast<float>(s.to_double())));
    case DType::BFloat16:
      refuse_complex(s, d, op);
      return put(out, BFloat16(static_cast<float>(s.to_double())));
    case DType::Float32:
      refuse_complex(s, d, op);
      return put(out, static_cast<float>(s.to_double()));
    case DType::Float64:
      refuse_complex(s, d, op);
      return put(out, s.to_double());
    case DType::Complex64:
      return put(out, std::complex<float>(static_cast<float>(s.to_double()), static_cast<float>(s.imag)));
    case DType::Complex128:
      return put(out, s.to_complex());
  }
}

Scalar load_scalar(const void* data, DType d) noexcept {
  const auto read = [data]<class T>(TypeTag<T>) {
    T value;
    std::memcpy(&value, data, sizeof value);
    return value;
  };
  switch (d) {
    case DType::Bool:
      return Scalar::of_bool(read(TypeTag<uint8_t>{}) != 0);
    case DType::UInt8:
      return Scalar::of_int(read(TypeTag<uint8_t>{}));
    case DType::UInt16:
      return Scalar::of_int(read(TypeTag<uint16_t>{}));
    case DType::UInt32:
      return Scalar::of_int(read(TypeTag<uint32_t>{}));
    case DType::UInt64:
      return Scalar::of_uint(read(TypeTag<uint64_t>{}));
    case DType::Int8:
      return Scalar::of_int(read(TypeTag<int8_t>{}));
    case DType::Int16:
      return Scalar::of_int(read(TypeTag<int16_t>{}));
    case DType::Int32:
      return Scalar::of_int(read(TypeTag<int32_t>{}));
    case DType::Int64:
      return Scalar::of_int(read(TypeTag<int64_t>{}));
    case DType::Float16:
      return Scalar::of_float(static_cast<float>(read(TypeTag<Float16>{})));
    case DType::BFloat16:
      return Scalar::of_float(static_cast<float>(read(TypeTag<BFloat16>{})));
    case DType::Float32:
      return Scalar::of_float(read(TypeTag<float>{}));
    case DType::Float64:
      return Scalar::of_float(read(TypeTag<double>{}));
    case DType::Complex64:
      return Scalar::of_complex(std::complex<double>(read(TypeTag<std::complex<float>>{})));
    case DType::Complex128:
      return Scalar::of_complex(read(TypeTag<std::complex<double>>{}));
  }
  return {};
}

}  // namespace gorgo

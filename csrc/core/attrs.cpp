#include "core/attrs.h"

#include <functional>
#include <ostream>

namespace gorgo {
namespace {

// Calls f(const T&) with the field's value seen as its member type.
template <class F>
decltype(auto) visit_field(const Field& field, const void* attrs, F&& f) {
  const void* at = static_cast<const unsigned char*>(attrs) + field.offset;
  switch (field.kind) {
    case FieldKind::Bool:
      return f(*static_cast<const bool*>(at));
    case FieldKind::Int:
      return f(*static_cast<const int64_t*>(at));
    case FieldKind::Float:
      return f(*static_cast<const double*>(at));
    case FieldKind::Ints:
      return f(*static_cast<const Dims*>(at));
    case FieldKind::MaybeInt:
      return f(*static_cast<const OptInt*>(at));
    case FieldKind::MaybeFloat:
      return f(*static_cast<const OptFloat*>(at));
    case FieldKind::MaybeInts:
      return f(*static_cast<const OptInts*>(at));
    case FieldKind::DType:
      return f(*static_cast<const DType*>(at));
    case FieldKind::MaybeDType:
      return f(*static_cast<const OptDType*>(at));
    case FieldKind::Scalar:
      return f(*static_cast<const Scalar*>(at));
    case FieldKind::Host:
      return f(*static_cast<const HostValue*>(at));
    case FieldKind::Choice:
      break;
  }
  return f(*static_cast<const Choice*>(at));
}

struct Same {
  const void* other;
  bool operator()(const Scalar& a) const noexcept { return a.same(*static_cast<const Scalar*>(other)); }
  bool operator()(double a) const noexcept {
    return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(*static_cast<const double*>(other));
  }
  template <class T>
  bool operator()(const T& a) const noexcept {
    return a == *static_cast<const T*>(other);
  }
};

struct Hash {
  static size_t of(int64_t v) noexcept { return std::hash<int64_t>{}(v); }
  size_t operator()(bool v) const noexcept { return v ? 1 : 2; }
  size_t operator()(int64_t v) const noexcept { return of(v); }
  size_t operator()(double v) const noexcept { return of(std::bit_cast<int64_t>(v)); }
  size_t operator()(const Dims& v) const noexcept {
    size_t h = static_cast<size_t>(v.size());
    for (const int64_t d : v) h = h * 1000003u ^ of(d);
    return h;
  }
  size_t operator()(DType v) const noexcept { return static_cast<size_t>(v); }
  size_t operator()(Choice v) const noexcept { return v.index; }
  size_t operator()(const Scalar& v) const noexcept { return of(v.i) * 31u + static_cast<size_t>(v.kind); }
  size_t operator()(const HostValue& v) const noexcept {
    return v.cell() != nullptr ? std::hash<const void*>{}(v.cell()) : (*this)(v.get());
  }
  template <class T>
  size_t operator()(const Opt<T>& v) const noexcept {
    return v.has ? (*this)(v.value) + 7u : 0u;
  }
};

struct Print {
  std::ostream& out;
  const Field& field;
  void operator()(bool v) const { out << (v ? "True" : "False"); }
  void operator()(Choice v) const {
    if (field.words != nullptr) {
      out << '\'' << field.words[v.index] << '\'';
    } else {
      out << int{v.index};
    }
  }
  void operator()(const HostValue& v) const { out << (v.cell() != nullptr ? "cell " : "") << v.get(); }
  template <class T>
  void operator()(const Opt<T>& v) const {
    if (v.has) {
      (*this)(v.value);
    } else {
      out << "None";
    }
  }
  template <class T>
  void operator()(const T& v) const {
    out << v;
  }
};

}  // namespace

bool attrs_equal(const AttrSchema& schema, const void* a, const void* b) noexcept {
  for (int i = 0; i < schema.count; ++i) {
    const Field& field = schema.fields[i];
    const Same same{static_cast<const unsigned char*>(b) + field.offset};
    if (!visit_field(field, a, [&](const auto& v) { return same(v); })) return false;
  }
  return true;
}

size_t attrs_hash(const AttrSchema& schema, const void* attrs) noexcept {
  size_t h = 1469598103u;
  for (int i = 0; i < schema.count; ++i) {
    h = h * 1099511627u ^ visit_field(schema.fields[i], attrs, [](const auto& v) { return Hash{}(v); });
  }
  return h;
}

void attrs_print(std::ostream& out, const AttrSchema& schema, const void* attrs) {
  for (int i = 0; i < schema.count; ++i) {
    const Field& field = schema.fields[i];
    out << (i > 0 ? ", " : "") << field.name << '=';
    visit_field(field, attrs, [&](const auto& v) { Print{out, field}(v); });
  }
}

}  // namespace gorgo

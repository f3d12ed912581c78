// Attributes of an op: a plain struct whose one field list gives equality, hash, printing, copying and the Python signature.
//
// A family writes
//     struct ReduceAttrs {
//       OptInts axis;
//       bool keepdims = false;
//       static constexpr auto fields() {
//         return std::array{GORGO_FIELD(ReduceAttrs, axis), GORGO_FIELD(ReduceAttrs, keepdims)};
//       }
//     };
// and `schema_of<ReduceAttrs>()` is everything the generic code needs. Members are of the field kinds below, nothing else.
// Invariant: generic code sees an attribute struct only as bytes plus its schema.
// Read next: opdef/op.h.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "core/dtype.h"
#include "core/scalar.h"
#include "core/shape.h"

namespace gorgo {

// A value that may be absent (None in Python); printed as None.
template <class T>
struct Opt {
  bool has = false;
  T value{};

  Opt() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): reads as the value itself
  Opt(T v) : has(true), value(std::move(v)) {}
  friend bool operator==(const Opt&, const Opt&) = default;
};
using OptInt = Opt<int64_t>;
using OptFloat = Opt<double>;
using OptInts = Opt<Dims>;
using OptDType = Opt<DType>;

// A double that one thread may set while others read it. Always inlined, unlike std::atomic's members in debug builds: kernels
// of every instruction set read it. GORGO_INLINE would compile it for CUDA devices too, which have no part in it.
class SharedNumber {
 public:
  [[gnu::always_inline]] inline double load() const noexcept {
    double v;
    __atomic_load(&value_, &v, __ATOMIC_RELAXED);
    return v;
  }
  [[gnu::always_inline]] inline void store(double v) noexcept { __atomic_store(&value_, &v, __ATOMIC_RELAXED); }

 private:
  double value_ = 0.0;
};

// A number that is read when the kernel runs, not when the op is recorded: an optimizer's learning rate.
struct HostCell {
  std::atomic<int64_t> refs{1};
  SharedNumber value;
};

// A hyper-parameter: a shared cell, or a plain number when there is none.
class HostValue {
 public:
  HostValue() = default;
  // NOLINTNEXTLINE(google-explicit-constructor)
  HostValue(double v) : literal_(v) {}
  explicit HostValue(HostCell* cell) : cell_(cell) { retain(); }
  HostValue(const HostValue& o) : cell_(o.cell_), literal_(o.literal_) { retain(); }
  HostValue(HostValue&& o) noexcept : cell_(std::exchange(o.cell_, nullptr)), literal_(o.literal_) {}
  HostValue& operator=(HostValue o) noexcept {
    std::swap(cell_, o.cell_);
    std::swap(literal_, o.literal_);
    return *this;
  }
  ~HostValue() {
    if (cell_ != nullptr && cell_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete cell_;
  }
  [[nodiscard]] [[gnu::always_inline]] inline double get() const noexcept {
    return cell_ != nullptr ? cell_->value.load() : literal_;
  }
  [[nodiscard]] const HostCell* cell() const noexcept { return cell_; }
  friend bool operator==(const HostValue& a, const HostValue& b) noexcept {
    return a.cell_ == b.cell_ && (a.cell_ != nullptr || a.literal_ == b.literal_);
  }

 private:
  void retain() noexcept {
    if (cell_ != nullptr) cell_->refs.fetch_add(1, std::memory_order_relaxed);
  }
  HostCell* cell_ = nullptr;
  double literal_ = 0.0;
};

// One of a few words ("mean", "sum", "none"): the index into the field's word list.
struct Choice {
  uint8_t index = 0;
  friend bool operator==(Choice, Choice) = default;
};

enum class FieldKind : uint8_t {
  Bool,
  Int,
  Float,
  Ints,
  MaybeInt,
  MaybeFloat,
  MaybeInts,
  DType,
  MaybeDType,
  Scalar,
  Host,
  Choice
};

template <class T>
struct FieldKindOf;
#define GORGO_X(type, kind)                             \
  template <>                                           \
  struct FieldKindOf<type> {                            \
    static constexpr FieldKind value = FieldKind::kind; \
  };
GORGO_X(bool, Bool)
GORGO_X(int64_t, Int)
GORGO_X(double, Float)
GORGO_X(Dims, Ints)
GORGO_X(OptInt, MaybeInt)
GORGO_X(OptFloat, MaybeFloat)
GORGO_X(OptInts, MaybeInts)
GORGO_X(DType, DType)
GORGO_X(OptDType, MaybeDType)
GORGO_X(Scalar, Scalar)
GORGO_X(HostValue, Host)
GORGO_X(Choice, Choice)
#undef GORGO_X

struct Field {
  const char* name;
  FieldKind kind;
  uint16_t offset;
  // True when the caller must give it; otherwise the struct's own initializer is the default.
  bool required = false;
  // True when Python callers must use the keyword.
  bool keyword_only = false;
  // For Choice: the words, ended by nullptr.
  const char* const* words = nullptr;
  // For Ints of a spatial size: a single integer means that integer for each of `repeat` axes.
  uint8_t repeat = 0;

  [[nodiscard]] constexpr Field must() const {
    Field f = *this;
    f.required = true;
    return f;
  }
  [[nodiscard]] constexpr Field by_keyword() const {
    Field f = *this;
    f.keyword_only = true;
    return f;
  }
  [[nodiscard]] constexpr Field of_words(const char* const* list) const {
    Field f = *this;
    f.words = list;
    return f;
  }
  [[nodiscard]] constexpr Field repeated(int n) const {
    Field f = *this;
    f.repeat = static_cast<uint8_t>(n);
    return f;
  }
};

#define GORGO_FIELD(Struct, member)                                                                                 \
  ::gorgo::Field {                                                                                                  \
    #member, ::gorgo::FieldKindOf<decltype(Struct::member)>::value, static_cast<uint16_t>(offsetof(Struct, member)) \
  }

struct AttrSchema {
  const Field* fields = nullptr;
  int count = 0;
  size_t size = 0;
  void (*construct)(void* at) = nullptr;               // default values
  void (*copy)(void* at, const void* from) = nullptr;  // into raw memory
  void (*move)(void* at, void* from) noexcept = nullptr;
  void (*destroy)(void* at) noexcept = nullptr;
};

template <class A>
[[nodiscard]] const AttrSchema& schema_of() {
  static_assert(std::is_nothrow_move_constructible_v<A>);
  static constexpr auto kFields = A::fields();
  static const AttrSchema kSchema{
      kFields.data(),
      static_cast<int>(kFields.size()),
      sizeof(A),
      [](void* at) { new (at) A(); },
      [](void* at, const void* from) { new (at) A(*static_cast<const A*>(from)); },
      [](void* at, void* from) noexcept { new (at) A(std::move(*static_cast<A*>(from))); },
      [](void* at) noexcept { static_cast<A*>(at)->~A(); },
  };
  return kSchema;
}

[[nodiscard]] bool attrs_equal(const AttrSchema& schema, const void* a, const void* b) noexcept;
[[nodiscard]] size_t attrs_hash(const AttrSchema& schema, const void* attrs) noexcept;
// Prints `axis=(0,), keepdims=False`.
void attrs_print(std::ostream& out, const AttrSchema& schema, const void* attrs);

// An owned copy of an attribute struct of any type; empty when the op has none.
class Attrs {
 public:
  Attrs() = default;
  Attrs(const AttrSchema* schema, const void* from) {
    if (schema != nullptr && from != nullptr) make(schema, [&](void* at) { schema->copy(at, from); });
  }
  explicit Attrs(const AttrSchema* schema) {  // default values
    if (schema != nullptr) make(schema, [&](void* at) { schema->construct(at); });
  }
  Attrs(const Attrs& o) : Attrs(o.schema_, o.get()) {}
  Attrs(Attrs&& o) noexcept { steal(o); }
  // The copy is made before anything is given up: where it fails, the old value stands.
  Attrs& operator=(Attrs o) noexcept {
    drop();
    steal(o);
    return *this;
  }
  ~Attrs() { drop(); }

  [[nodiscard]] const void* get() const noexcept {
    return schema_ == nullptr ? nullptr : const_cast<Attrs*>(this)->data();
  }
  [[nodiscard]] void* mutable_get() noexcept { return schema_ == nullptr ? nullptr : data(); }
  [[nodiscard]] const AttrSchema* schema() const noexcept { return schema_; }
  template <class A>
  [[nodiscard]] const A& as() const noexcept {
    return *static_cast<const A*>(get());
  }

 private:
  static constexpr size_t kInlineBytes = 32;
  [[nodiscard]] bool is_inline() const noexcept { return schema_->size <= kInlineBytes; }
  void* data() noexcept { return is_inline() ? static_cast<void*>(inline_) : heap_; }
  // Into an empty one, which stays so when `construct` or the memory for it fails.
  template <class F>
  void make(const AttrSchema* schema, F construct) {
    if (schema->size <= kInlineBytes) {
      construct(inline_);
    } else {
      std::unique_ptr<void, HeapDelete> heap(::operator new(schema->size));
      construct(heap.get());
      heap_ = heap.release();
    }
    schema_ = schema;
  }
  void drop() noexcept {
    if (schema_ == nullptr) return;
    schema_->destroy(data());
    if (!is_inline()) ::operator delete(heap_);
    schema_ = nullptr;
  }
  // Into an empty one, and leaves the other empty.
  void steal(Attrs& o) noexcept {
    if (o.schema_ == nullptr) return;
    if (o.is_inline()) {
      o.schema_->move(inline_, o.inline_);
      o.schema_->destroy(o.inline_);
    } else {
      heap_ = o.heap_;
    }
    schema_ = std::exchange(o.schema_, nullptr);
  }
  struct HeapDelete {
    void operator()(void* at) const noexcept { ::operator delete(at); }
  };
  const AttrSchema* schema_ = nullptr;
  union {
    alignas(16) unsigned char inline_[kInlineBytes];
    void* heap_;
  };
};

}  // namespace gorgo

// Owned attributes: copies and moves of structs that fit inside and of those that do not, and copies that fail.
#include "core/attrs.h"

#include <doctest/doctest.h>

#include <array>
#include <stdexcept>

using namespace gorgo;

namespace {

struct Copied {
  int64_t count = 0;
  static inline bool refuses = false;
  Copied() = default;
  Copied(const Copied& o) : count(o.count) {
    if (refuses) throw std::runtime_error("no room");
  }
  Copied(Copied&&) noexcept = default;
};

struct Small : Copied {
  static constexpr auto fields() { return std::array<Field, 0>{}; }
};

struct Large : Copied {
  Dims axes;
  Dims shape;
  static constexpr auto fields() { return std::array<Field, 0>{}; }
};

template <class A>
Attrs attrs_with(int64_t count) {
  A a;
  a.count = count;
  if constexpr (sizeof(A) > 32) a.axes = Dims(9, count);  // beyond what a Dims holds without memory of its own
  return Attrs(&schema_of<A>(), &a);
}

template <class A>
void check_value(const Attrs& attrs, int64_t count) {
  REQUIRE(attrs.get() != nullptr);
  CHECK(attrs.as<A>().count == count);
  if constexpr (sizeof(A) > 32) CHECK(attrs.as<A>().axes == Dims(9, count));
}

}  // namespace

TEST_CASE_TEMPLATE("attrs: assignment copies, and keeps the old value when the copy fails", A, Small, Large) {
  Attrs to = attrs_with<A>(1);
  const Attrs from = attrs_with<A>(2);
  Copied::refuses = true;
  CHECK_THROWS_WITH(to = from, "no room");
  Copied::refuses = false;
  check_value<A>(to, 1);
  to = from;
  check_value<A>(to, 2);
  check_value<A>(from, 2);
  const Attrs& same = to;
  to = same;
  check_value<A>(to, 2);
  to = Attrs();
  CHECK(to.get() == nullptr);
  CHECK(from.get() != nullptr);
}

TEST_CASE_TEMPLATE("attrs: a move leaves the other empty, whatever was there before", A, Small, Large) {
  Attrs from = attrs_with<A>(3);
  Attrs to = attrs_with<Small>(4);
  to = std::move(from);
  check_value<A>(to, 3);
  CHECK(from.get() == nullptr);  // NOLINT(bugprone-use-after-move)
  const Attrs made(std::move(to));
  check_value<A>(made, 3);
  to = attrs_with<Large>(5);
  check_value<Large>(to, 5);
}

TEST_CASE_TEMPLATE("attrs: a copy that fails makes nothing", A, Small, Large) {
  const Attrs from = attrs_with<A>(6);
  Copied::refuses = true;
  CHECK_THROWS_WITH(Attrs{from}, "no room");
  Copied::refuses = false;
  check_value<A>(Attrs(from), 6);
}

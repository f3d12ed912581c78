// csrc/core/check.h: the message is the joined parts, the type is the one asked for, and each type is an Error.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "core/check.h"

namespace {

template <class E>
void expect_message() {
  bool caught = false;
  try {
    gorgo::fail<E>("softmax: axis must be in [-", 2, ", ", std::int64_t{2}, "), got ", 3);
  } catch (const E& error) {
    caught = true;
    CHECK(std::string(error.what()) == "softmax: axis must be in [-2, 2), got 3");
  }
  CHECK(caught);
  CHECK_THROWS_AS(gorgo::fail<E>("x"), gorgo::Error);
}

}  // namespace

TEST_CASE("fail throws the asked type with the joined message") {
  expect_message<gorgo::TypeError>();
  expect_message<gorgo::ValueError>();
  expect_message<gorgo::IndexError>();
  expect_message<gorgo::StateError>();
  expect_message<gorgo::NotSupported>();
  expect_message<gorgo::OverflowError>();
  expect_message<gorgo::OutOfMemoryError>();
  expect_message<gorgo::DeviceError>();
}

TEST_CASE("cat keeps every digit of a double") { CHECK(gorgo::cat(0.1) == "0.10000000000000001"); }

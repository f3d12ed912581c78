// The library's exceptions and the one way to build their messages.
//
// Every message has the form `op: argument expectation, got value`. User input never reaches an assert: code that finds a
// bad value throws one of these, and the bindings turn each into the Python exception of the same name.
// Read next: dtype.h, shape.h.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace gorgo {

// Base of all exceptions that the library throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A value of the wrong type or dtype (Python TypeError).
class TypeError : public Error {
 public:
  using Error::Error;
};

// A wrong value or shape (Python ValueError).
class ValueError : public Error {
 public:
  using Error::Error;
};

// An index out of range (Python IndexError).
class IndexError : public Error {
 public:
  using Error::Error;
};

// A call that the state does not allow, such as a second backward (Python RuntimeError).
class StateError : public Error {
 public:
  using Error::Error;
};

// Something that the library does not offer (Python NotImplementedError).
class NotSupported : public Error {
 public:
  using Error::Error;
};

// A size that does not fit (Python OverflowError).
class OverflowError : public Error {
 public:
  using Error::Error;
};

// Memory exhausted or a limit reached (gorgo.OutOfMemoryError, a MemoryError).
class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};

// A driver or device failure (gorgo.DeviceError).
class DeviceError : public Error {
 public:
  using Error::Error;
};

// Joins its arguments through operator<<; the only formatter of messages.
template <class... Ts>
[[nodiscard]] std::string cat(const Ts&... parts) {
  std::ostringstream out;
  out.precision(17);
  (out << ... << parts);
  return std::move(out).str();
}

// Throws E with the joined message. Kept out of line of the callers' hot paths. Kernel files are compiled without exceptions:
// whatever they are given has been checked.
#if defined(__cpp_exceptions)
template <class E, class... Ts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Ts&... parts) {
  throw E(cat(parts...));
}
#else
template <class E, class... Ts>
[[noreturn]] void fail(const Ts&... parts);
#endif

}  // namespace gorgo

// The library's exceptions and the one way to build their messages.
//
// Every message has the form `op: argument expectation, got value`. User input never reaches an assert: code that finds a
// bad value throws one of these, and the bindings turn each into the Python exception of the same name.
// Read next: dtype.h, shape.h.
#pragma once

#include <initializer_list>
#include <ostream>
#include <stdexcept>
#include <string>
#include <type_traits>

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

// One part of a message: a value and how it is written. Messages have hundreds of forms; joining by parts has one.
struct MessagePart {
  const void* value;
  void (*write)(std::ostream& out, const void* value);
};
[[nodiscard]] std::string join_message(std::initializer_list<MessagePart> parts);

// How a part is handed on: literals of all lengths are one type, numbers are copied.
template <class T>
using PartOf =
    std::conditional_t<std::is_array_v<T>, const char*, std::conditional_t<std::is_scalar_v<T>, T, const T&>>;
template <class T>
[[nodiscard]] MessagePart part_of(const T& value) noexcept {
  return {&value, [](std::ostream& out, const void* from) { out << *static_cast<const T*>(from); }};
}
template <class... Parts>
[[nodiscard, gnu::noinline]] std::string cat_parts(Parts... parts) {
  return join_message({part_of(parts)...});
}

// Joins its arguments through operator<<; the only formatter of messages.
template <class... Ts>
[[nodiscard]] std::string cat(const Ts&... parts) {
  return cat_parts<PartOf<Ts>...>(parts...);
}

// Throws E with the joined message. Kept out of line of the callers' hot paths. Kernel files are compiled without exceptions:
// whatever they are given has been checked.
#if defined(__cpp_exceptions)
template <class E>
[[noreturn]] void fail_message(std::initializer_list<MessagePart> parts) {
  throw E(join_message(parts));
}
template <class E, class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail_parts(Parts... parts) {
  fail_message<E>({part_of(parts)...});
}
template <class E, class... Ts>
[[noreturn]] void fail(const Ts&... parts) {
  fail_parts<E, PartOf<Ts>...>(parts...);
}
#else
template <class E, class... Ts>
[[noreturn]] void fail(const Ts&... parts);
#endif

}  // namespace gorgo

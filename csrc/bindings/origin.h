// Where in the user's Python program we are: what the tape keeps with each record, and how it reads in a message.
//
// Taking it costs a few nanoseconds: the innermost code object and the offset of its instruction. Lines and file names are
// worked out only when a message needs them. Read next: autograd/tape.h (OriginHooks).
#pragma once

#include "autograd/tape.h"
#include "bindings/python.h"

namespace gorgo {

// The innermost code object of this thread, as an owned reference, and the byte offset of its instruction.
[[nodiscard]] Origin origin_here() noexcept;
// "train.py:12 in step". While the code still runs on this thread and belongs to the package, the line is that of the caller
// outside of it.
[[nodiscard]] std::string describe_origin(const Origin& origin);

// Gives up a reference from any thread: at once where the GIL is held, else when the main thread next runs Python.
void release_reference(PyObject* o) noexcept;
void release_buffer(Py_buffer* buffer) noexcept;  // allocated with new

// Lets other threads run Python during a scope whose work is C++ alone; for a thread that holds the GIL.
class GilReleased {
 public:
  GilReleased() noexcept;
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;
  GilReleased(GilReleased&&) = delete;
  GilReleased& operator=(GilReleased&&) = delete;
  ~GilReleased();

 private:
  PyThreadState* state_;
};

// Fills in the hooks through which the library reaches Python: origins, Ctrl-C, the GIL.
void install_python_hooks();

}  // namespace gorgo

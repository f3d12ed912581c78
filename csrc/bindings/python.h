// The interpreter's C API, for everything that is written by hand.
//
// pybind11's headers take longer to compile than most files of this folder; only those that bind with it include them.
#pragma once

#define PY_SSIZE_T_CLEAN
#if defined(_MSC_VER) && defined(_DEBUG)
// Else the header asks for the interpreter's debug library, which nobody has.
#undef _DEBUG
#include <Python.h>
#define _DEBUG
#else
#include <Python.h>
#endif

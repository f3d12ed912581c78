// Every op of the registry as a Python callable: a function of the module and, where it takes a tensor first, a method.
//
// One object type serves each role: it carries its OpDef, matches positional and keyword arguments to slots and attribute
// fields, and calls the funnel. Docstrings and signatures are composed when somebody reads them.
// Read next: opdef/op.h (what an op says of itself), convert.h (how a field is read).
#pragma once

#include "bindings/errors.h"
#include "bindings/python.h"
#include "opdef/invoke.h"

namespace gorgo {

struct PyOp {
  PyObject_HEAD vectorcallfunc vectorcall;
  const OpDef* op;
  const char* name;           // the public name; an alias differs from op->name
  const void* default_attrs;  // what a call without attributes uses; null when the op has none or one is required
  PyTypeObject* result_type;  // a structseq for several outputs, made at the first call
  int required_slots;
  bool in_place;  // writes its result into the first operand
};

// Makes the callables: functions into `module`, methods into the type's dict where the name is free.
void add_op_functions(PyObject* module, PyTypeObject& tensor_type);

}  // namespace gorgo

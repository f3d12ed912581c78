// The elementwise ops, one struct each: facts, forward, backward. The one place where such an op is written.
//
// `forward` and `backward` are templates over the value type V. With Vec, Mask or Complex they are the fused kernels
// (kernels_cpu.cpp, once per instruction set), with Expr, whose operators call ops, the composed gradient that can
// itself be differentiated (elementwise.cpp). They use the vocabulary of kernels/math.h, found through V, and `like(x,
// c)` for a constant of x's kind; `conj` makes a gradient right for complex values and does nothing to real ones.
// backward(g, x, y) of a unary op and backward_a, backward_b(g, a, b, y) of a binary one may use only what the facts
// save. To add an op: write its struct, name it in op_list.h, add a row to tests/samples/elementwise.py.
// Read next: functors_arithmetic.h, functors_functions.h, functors_activations.h, functors_logic.h, functors_special.h (the rarer
// ones), elementwise.cpp.
#pragma once

#include "ops/elementwise/functors_activations.h"
#include "ops/elementwise/functors_arithmetic.h"
#include "ops/elementwise/functors_functions.h"
#include "ops/elementwise/functors_logic.h"
#include "ops/elementwise/functors_special.h"
#include "ops/elementwise/op_list.h"

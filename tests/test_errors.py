"""One test for each message of the tensor type, its functions and its conversions: type, op, expectation, figures."""

import ctypes
import operator
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import gorgo as gg


def ones(*shape, **kwargs):
    return gg.ones(shape, **kwargs)


def read_only():
    a = np.ones(2, np.float32)
    a.flags.writeable = False
    return gg.asarray(a)


def set_item(t, key, value):
    t[key] = value


def del_item(t, key):
    del t[key]


def set_attribute(t, name, value):
    setattr(t, name, value)


def add_in_place(t, value):
    t += value


PYBUF_WRITABLE = 1  # of the C API


class BadIndex:
    def __index__(self):
        raise TypeError("not an index after all")


def traced():
    return gg.graph.trace(lambda x: x + 1, ones(3))


def mixed_integers():
    return gg.ones((1,), dtype=gg.int64), gg.ones((1,), dtype=gg.uint64)


def overlapping(compiled):
    x = ones(4)
    return compiled(x[:3], x[1:])


def around_an_argument():
    x = ones(8)
    return gg.compile(lambda part: part + x[2:6])(x[3:7])


leaf = {"requires_grad": True}

# Each row: exception, message (literal), call.
CASES = [
    (
        ValueError,
        "unstack: results must be at most 1048576 tensors, got 2147483648 (x has shape (2147483648,))",
        lambda: gg.unstack(gg.broadcast_to(ones(), (2**31,))),
    ),
    (
        ValueError,
        "split: results must be at most 1048576 tensors, got 2147483648",
        lambda: gg._core._registry["split"](gg.broadcast_to(ones(), (2**31,)), 1),
    ),
    (
        ValueError,
        "split: sizes must sum to the length 2 of the axis",
        lambda: gg._core._registry["split"](ones(2), sizes=(2**62,) * 4),
    ),
    # arguments of functions and methods made from the registry
    (TypeError, "exp: arguments are (x), got none for x", lambda: gg.exp()),
    (TypeError, "exp: arguments are (x), got 2 by position", lambda: gg.exp(ones(1), ones(1))),
    (TypeError, "exp: arguments are (x), got the keyword y", lambda: gg.exp(y=ones(1))),
    (TypeError, "exp: x must be given once, got it twice", lambda: gg.exp(ones(1), x=ones(1))),
    (TypeError, "exp: x must be a tensor or a number, got str 'a'", lambda: gg.exp("a")),
    (TypeError, "exp: x must be a tensor or a number, got None", lambda: gg.exp(None)),
    (TypeError, "got list [1.0]", lambda: gg.exp([1.0])),
    (TypeError, "convert it with gorgo.asarray, which shares its memory", lambda: gg.exp(np.ones(2))),
    (TypeError, "matmul: x2 must be a tensor, got int 2", lambda: gg.matmul(ones(2, 2), 2)),
    (TypeError, "concat: arrays must be a list or tuple of tensors, got int 3", lambda: gg.concat(3)),
    (TypeError, "concat: arrays must be a tensor, got int 1", lambda: gg.concat([ones(1), 1])),
    (
        TypeError,
        "concat: keyword must be one of ours, got dim; here it is called axis",
        lambda: gg.concat([ones(1)], dim=0),
    ),
    (TypeError, "concat: axis must be an integer, got float 1.0", lambda: gg.concat([ones(1)], axis=1.0)),
    (TypeError, "concat: axis must be an integer, got bool True", lambda: gg.concat([ones(1)], axis=True)),
    (OverflowError, "an integer must fit 64 bits", lambda: gg.concat([ones(1)], axis=2**70)),
    (
        TypeError,
        "permute_dims: axes must be an integer or a tuple of integers, got str 'ab'",
        lambda: gg.permute_dims(ones(1, 1), "ab"),
    ),
    (
        ValueError,
        "permute_dims: axes must have at most 32 integers, got 40",
        lambda: gg.permute_dims(ones(1), [0] * 40),
    ),
    (TypeError, "astype: dtype must be one of bool, uint8", lambda: gg.astype(ones(1), "float31")),
    # operators
    (
        TypeError,
        "add: operand must be a tensor or a number, got numpy.ndarray of shape (2,); convert it with gorgo.asarray",
        lambda: ones(2) + np.ones(2),
    ),
    (
        TypeError,
        "add: operand must be a tensor or a number, got numpy.ndarray of shape (2,)",
        lambda: np.ones(2) + ones(2),
    ),
    (TypeError, "unsupported operand type(s) for +: 'gorgo.Tensor' and 'list'", lambda: operator.add(ones(2), [1.0])),
    (TypeError, "unsupported operand type(s) for -: 'NoneType' and 'gorgo.Tensor'", lambda: None - ones(2)),
    (ValueError, "add: shapes must broadcast, got (2,) and (3,)", lambda: ones(2) + ones(3)),
    (TypeError, "pow: a third argument is not supported for tensors", lambda: pow(ones(2), 2, 3)),
    (OverflowError, "add: an integer must fit 64 bits", lambda: ones(2) + 2**80),
    (OverflowError, "add: scalar must fit int8 [-128, 127], got 300", lambda: gg.asarray(np.int8([1])) + 300),
    (
        TypeError,
        "add: result must have the target's dtype float32 to be written in place, got float64",
        lambda: add_in_place(ones(2), ones(2, dtype=gg.float64)),
    ),
    (ValueError, "to be written in place, got (3, 2)", lambda: add_in_place(ones(2), ones(3, 2))),
    (ValueError, "target must be writable, got a tensor over read-only memory", lambda: add_in_place(read_only(), 1)),
    (
        ValueError,
        "an expanded tensor of shape (3, 2) with stride 0 on axis 0",
        lambda: add_in_place(ones(2).expand(3, 2), 1),
    ),
    (RuntimeError, "add: target must not be a leaf that requires grad", lambda: add_in_place(ones(2, **leaf), 1)),
    # numbers
    (
        ValueError,
        "bool: tensor must have exactly one element to be true or false, got shape (2,) (use any or all)",
        lambda: bool(ones(2)),
    ),
    (
        ValueError,
        "bool: tensor must have exactly one element to be true or false, got shape (0,)",
        lambda: bool(ones(0)),
    ),
    (ValueError, "float: tensor must have exactly one element, got shape (2,)", lambda: float(ones(2))),
    (ValueError, "int: tensor must have exactly one element, got shape (0,)", lambda: int(ones(0))),
    (ValueError, "item: tensor must have exactly one element, got shape (2, 3)", lambda: ones(2, 3).item()),
    (ValueError, "complex: tensor must have exactly one element, got shape (2,)", lambda: complex(ones(2))),
    (ValueError, "format: tensor must have exactly one element, got shape (2,)", lambda: f"{ones(2):.3f}"),
    (
        TypeError,
        "index: tensor must be an integer of rank 0, got shape () and dtype float32",
        lambda: [1][gg.asarray(0.0)],
    ),
    (TypeError, "float: tensor must be real, got dtype complex64", lambda: float(gg.asarray(1j))),
    (
        RuntimeError,
        "item: values must exist, got a tensor on the null device",
        lambda: gg.zeros((), device="null").item(),
    ),
    # sequences and indexing
    (TypeError, "len: tensor must have rank 1 or more, got shape ()", lambda: len(gg.asarray(1))),
    (TypeError, "iter: tensor must have rank 1 or more, got shape ()", lambda: iter(gg.asarray(1))),
    (TypeError, "in: value must be a tensor or a number, got str 'a'", lambda: "a" in ones(2)),
    (IndexError, "index: must be in [-2, 2) on axis 0, got 5 (the tensor has shape (2, 3))", lambda: ones(2, 3)[5]),
    (IndexError, "index: must be in [-3, 3) on axis 1, got -4", lambda: ones(2, 3)[:, -4]),
    (
        IndexError,
        "index: at most 2 axes must be indexed, got 3 (the tensor has shape (2, 3))",
        lambda: ones(2, 3)[0, 0, 0],
    ),
    (IndexError, "index: at most 0 axes must be indexed, got 1", lambda: gg.asarray(1)[0]),
    (IndexError, "index: at most one Ellipsis must be in a key, got two", lambda: ones(2)[..., ...]),
    (IndexError, "Ellipsis, got float 1.5", lambda: ones(2)[1.5]),
    (IndexError, "Ellipsis, got str 'a'", lambda: ones(2)["a"]),
    (
        IndexError,
        "None or Ellipsis, got a tensor of shape (1,) and dtype float32 at position 0",
        lambda: ones(2)[ones(1)],
    ),
    (
        IndexError,
        "index: mask must have the length 2 of axis 0 or 0, got a mask of shape (3,)",
        lambda: ones(2)[[True, False, True]],
    ),
    (ValueError, "slice step cannot be zero", lambda: ones(2)[::0]),
    (TypeError, "del: elements of a tensor cannot be deleted", lambda: del_item(ones(2), 0)),
    (
        ValueError,
        "setitem: value must broadcast to the target's shape (2,), got (3,)",
        lambda: set_item(ones(4), slice(0, 2), ones(3)),
    ),
    (
        TypeError,
        "setitem: value must be of a kind that int64 can hold, got float32 (convert it with astype)",
        lambda: set_item(gg.arange(3), 0, gg.asarray(1.5)),
    ),
    (
        TypeError,
        "setitem: scalar must be an integer for a tensor of dtype int64, got 1.5",
        lambda: set_item(gg.arange(3), 0, 1.5),
    ),
    (
        TypeError,
        "setitem: object must be a tensor, an array, a number or nested lists of numbers, got str 'a'",
        lambda: set_item(ones(2), 0, "a"),
    ),
    (TypeError, "copy_: source must be a tensor or a number, got list [1]", lambda: ones(1).copy_([1])),
    (TypeError, "fill_: value must be a number, got str 'a'", lambda: ones(1).fill_("a")),
    # shapes
    (ValueError, "T: tensor must have rank 2, got shape (2, 2, 2)", lambda: ones(2, 2, 2).T),
    (ValueError, "mT: tensor must have rank 2 or more, got shape (2,)", lambda: ones(2).mT),
    (TypeError, "transpose: axes must be one tuple, got 2 integers", lambda: ones(2, 2).transpose(0, 1)),
    (ValueError, "swapaxes: axis2 must be in [-2, 2), got 2", lambda: ones(2, 2).swapaxes(0, 2)),
    (ValueError, "reshape", lambda: ones(4).reshape(3)),
    (
        TypeError,
        "reshape: shape must be an integer or a tuple of integers, got float 2.5",
        lambda: ones(4).reshape(2.5),
    ),
    # creation
    (TypeError, "zeros: shape must be an integer or a tuple of integers, got float 2.5", lambda: gg.zeros(2.5)),
    (ValueError, "zeros: shape must have no negative size, got (-1,)", lambda: gg.zeros(-1)),
    (ValueError, "zeros: shape must have no negative size, got (0, -1)", lambda: gg.zeros((0, -1))),
    (OverflowError, "ones: shape must have fewer than 2**63 elements", lambda: gg.ones((2**40, 2**40))),
    (TypeError, "add: operands must have a common dtype, got int64 and uint64", lambda: gg.add(*mixed_integers())),
    (TypeError, "result_type: operands must have a common dtype", lambda: gg.result_type(*mixed_integers())),
    (
        RuntimeError,
        "nonzero: shape must not depend on values in a captured function, got operand 0 of shape (2,)",
        lambda: gg.compile(gg.nonzero)(ones(2)),
    ),
    (
        TypeError,
        "zeros: arguments are (shape, *, dtype, device, requires_grad), got the keyword size; here it is called shape",
        lambda: gg.zeros(size=3),
    ),
    (TypeError, "zeros: at most 1 arguments go by position", lambda: gg.zeros((2,), gg.float32)),
    (TypeError, "zeros: dtype must be one of", lambda: gg.zeros(2, dtype="f4")),
    (ValueError, "device: must be one of cpu, got 'gpu'", lambda: gg.zeros(2, device="gpu")),
    (TypeError, "zeros: device must be a name such as 'cpu', got int 0", lambda: gg.zeros(2, device=0)),
    (
        TypeError,
        "zeros: requires_grad must be for a floating-point or complex tensor, got dtype int64",
        lambda: gg.zeros(2, dtype=gg.int64, requires_grad=True),
    ),
    (TypeError, "zeros: requires_grad must be True or False, got int 1", lambda: gg.zeros((2,), requires_grad=1)),
    (TypeError, "full: fill_value must be a number, got str 'a'", lambda: gg.full((2,), "a")),
    (OverflowError, "full: scalar must fit uint8 [0, 255], got 256", lambda: gg.full((2,), 256, dtype=gg.uint8)),
    (TypeError, "full: arguments are (shape, fill_value", lambda: gg.full((2,))),
    (ValueError, "arange: step must not be zero, got 0", lambda: gg.arange(0, 3, 0)),
    (
        TypeError,
        "arange: start, stop and step must be integers for dtype int32, got 0, 1.5, 1",
        lambda: gg.arange(1.5, dtype=gg.int32),
    ),
    (ValueError, "arange: count must be finite", lambda: gg.arange(float("inf"))),
    (TypeError, "arange: start must be a real number, got str 'a'", lambda: gg.arange("a")),
    (OverflowError, "arange: stop - start must fit int64", lambda: gg.arange(-(2**62), 2**63 - 1)),
    (OverflowError, "ramp: scalar must fit int8", lambda: gg.arange(300, dtype=gg.int8)),
    (ValueError, "linspace: num must not be negative, got -1", lambda: gg.linspace(0, 1, -1)),
    (
        TypeError,
        "linspace: dtype must be a floating-point type, got int32",
        lambda: gg.linspace(0, 1, 3, dtype=gg.int32),
    ),
    (OverflowError, "empty: shape must have fewer than 2**63 elements", lambda: gg.empty((2**40, 2**40))),
    (OverflowError, "shape must take fewer than 2**63 bytes", lambda: gg.empty((2**61,))),
    # asarray
    (
        ValueError,
        "asarray: nested lists must all have one depth and length, got a list of 1 at [1] instead of 2",
        lambda: gg.asarray([[1, 2], [3]]),
    ),
    (ValueError, "got int 3 at [1] instead of a list of 2", lambda: gg.asarray([[1, 2], 3])),
    (
        ValueError,
        "got a list at [1] where numbers stood before (the shape so far is (2,))",
        lambda: gg.asarray([1, [2]]),
    ),
    (TypeError, "asarray: elements must be numbers, got str 'x' at [0][1]", lambda: gg.asarray([[1, "x"]])),
    (TypeError, "asarray: elements must be numbers, got None at [1]", lambda: gg.asarray([1, None])),
    (
        TypeError,
        "elements must be numbers, got a tensor of shape (2,) and dtype float32 at [0] (use gorgo.stack)",
        lambda: gg.asarray([ones(2), ones(2)]),
    ),
    (
        TypeError,
        "elements must not require grad, got a tensor that does at [0]",
        lambda: gg.asarray([gg.ones((), **leaf)]),
    ),
    (
        TypeError,
        "asarray: scalar must be an integer for a tensor of dtype int32, got 1.5",
        lambda: gg.asarray([1.5], dtype=gg.int32),
    ),
    (OverflowError, "asarray: an integer must fit 64 bits", lambda: gg.asarray(2**64)),
    (
        TypeError,
        "asarray: object must be a tensor, an array, a number or nested lists of numbers, got str 'abc'",
        lambda: gg.asarray("abc"),
    ),
    (TypeError, "got dict", lambda: gg.asarray({})),
    (TypeError, "asarray: copy must be True or False, got str 'no'", lambda: gg.asarray([1], copy="no")),
    (TypeError, "asarray: arguments are (obj, /, dtype, device, copy), got none for number 1", lambda: gg.asarray()),
    (
        TypeError,
        "asarray: argument dtype must be given once, got it twice",
        lambda: gg.asarray(1, gg.int32, dtype=gg.int32),
    ),
    # gradients
    (
        TypeError,
        "requires_grad_: requires_grad must be for a floating-point or complex tensor, got dtype int64",
        lambda: gg.arange(3).requires_grad_(),
    ),
    (
        RuntimeError,
        "requires_grad: requires_grad of a computed tensor cannot be turned off, got one made by multiply (use detach)",
        lambda: set_attribute(ones(2, **leaf) * 2, "requires_grad", False),
    ),
    (RuntimeError, "backward: tensor must require grad", lambda: gg.ones(()).backward()),
    (
        RuntimeError,
        "backward: gradient must be given for a tensor of other than one element, got shape (2,)",
        lambda: (ones(2, **leaf) * 2).backward(),
    ),
    (
        ValueError,
        "backward: gradient must have the tensor's shape (2,), got (3,)",
        lambda: (ones(2, **leaf) * 2).backward(ones(3)),
    ),
    (TypeError, "backward: gradient must be a tensor, got float 1.0", lambda: (ones(2, **leaf) * 2).backward(1.0)),
    (
        TypeError,
        "backward: arguments are (gradient, retain_graph, create_graph), got the keyword inputs",
        lambda: ones(1).backward(inputs=1),
    ),
    (
        RuntimeError,
        "grad: every input must lead to the outputs, got inputs[0] of shape (1,)",
        lambda: gg.grad(ones(1, **leaf) * 2, ones(1, **leaf)),
    ),
    (RuntimeError, "grad: inputs must require grad", lambda: gg.grad(ones(1, **leaf) * 2, ones(1))),
    (
        ValueError,
        "grad: grad_outputs must be as many as outputs (1), got 2",
        lambda: gg.grad(ones(1, **leaf) * 2, ones(1, **leaf), [ones(1), ones(1)]),
    ),
    (TypeError, "grad: outputs must be a tensor or a list of tensors, got int 3", lambda: gg.grad(3, ones(1))),
    (
        ValueError,
        "grad: value must have the tensor's shape (2,) and dtype float32, got (3,) and float32",
        lambda: set_attribute(ones(2, **leaf), "grad", ones(3)),
    ),
    (TypeError, "grad: value must be a tensor, got int 1", lambda: set_attribute(ones(2, **leaf), "grad", 1)),
    (RuntimeError, "retain_grad: tensor must require grad", lambda: ones(2).retain_grad()),
    (
        RuntimeError,
        "numpy: tensor cannot become a NumPy array, since it requires grad; use detach() first",
        lambda: ones(2, **leaf).numpy(),
    ),
    (
        RuntimeError,
        "__array__: tensor cannot become a NumPy array, since it requires grad",
        lambda: np.asarray(ones(2, **leaf)),
    ),
    (
        BufferError,
        "buffer: tensor cannot share its memory, since it requires grad",
        lambda: memoryview(ones(2, **leaf)),
    ),
    (
        BufferError,
        "buffer: dtype must have a buffer format, got bfloat16",
        lambda: memoryview(ones(2, dtype=gg.bfloat16)),
    ),
    (BufferError, "__dlpack__: tensor must not require grad", lambda: ones(2, **leaf).__dlpack__()),
    (TypeError, "no_grad: argument must be a function to decorate or none, got int 3", lambda: gg.no_grad(3)),
    (TypeError, "no_grad: function must not be a generator or coroutine", lambda: gg.no_grad(lambda: (yield))),
    (TypeError, "set_grad_enabled: mode must be True or False, got int 1", lambda: gg.set_grad_enabled(1)),
    # pickles and copies
    (RuntimeError, "deepcopy: tensor must be a leaf", lambda: __import__("copy").deepcopy(ones(2, **leaf) * 2)),
    (RuntimeError, "pickle: tensor must be a leaf", lambda: __import__("pickle").dumps(ones(2, **leaf) * 2)),
    # dtypes
    (TypeError, "result_type: argument must be one of bool, uint8", lambda: gg.result_type("x")),
    (ValueError, "finfo: dtype must be a floating-point type, got int32", lambda: gg.finfo(gg.int32)),
    (ValueError, "iinfo: dtype must be an integer type, got float32", lambda: gg.iinfo(gg.float32)),
    (TypeError, "dtype: name must be one of bool", lambda: gg.dtype(">f4")),
    (TypeError, "uint64", lambda: gg.promote_types("uint64", "int8")),
    (AttributeError, "module 'gorgo' has no attribute 'nonsense'", lambda: gg.nonsense),
    (TypeError, "HostCell: value must be a real number, got str 'a'", lambda: gg._core.HostCell("a")),
    (TypeError, "HostCell: arguments are (value,), got 0", lambda: gg._core.HostCell()),
    # found by going through every message that no test had provoked
    (TypeError, "grad mode: a decorator takes one function, got 0 arguments", lambda: gg.no_grad()()),
    (TypeError, "Graph.run: inputs must be 1 tensors, got 0", lambda: traced().run()),
    (ValueError, "Graph.run: input 0 must be float32 (3,), got float32 (4,)", lambda: traced().run(ones(4))),
    (TypeError, "compile: function must be callable, got int 3", lambda: gg.compile(3)),
    (TypeError, "concat: axis must be an integer, got BadIndex", lambda: gg.concat([ones(1)], axis=BadIndex())),
    (TypeError, "full: fill_value must be a number, got str 'a'", lambda: gg.full((2,), "a")),
    (TypeError, "dtype: arguments are (name,), got 2", lambda: gg.dtype("a", "b")),
    (TypeError, "result_type: arguments are tensors, dtypes and numbers by position, got 0", lambda: gg.result_type()),
    (
        TypeError,
        "asarray: buffer must hold native numbers, got format 'c' of 1 bytes",
        lambda: gg.asarray(memoryview(b"abcd").cast("c")),
    ),
    (TypeError, "add_: target must be a tensor, got int 3", lambda: gg.Tensor.add_(3, ones(1))),
    (TypeError, "int: tensor must be real, got dtype complex64", lambda: int(gg.asarray(1j))),
    (TypeError, "imag: tensor must be complex, got dtype float32", lambda: ones(1).imag),
    (
        TypeError,
        "full: scalar must be real for a tensor of dtype float32, got (0+1j)",
        lambda: gg.full((2,), 1j, dtype="float32"),
    ),
    (
        TypeError,
        "setitem: scalar must be a bool for a tensor of dtype bool, got 2",
        lambda: set_item(ones(2, dtype="bool"), 0, 2),
    ),
    (ValueError, "add: operands must be on one device, got cpu and null", lambda: ones(2) + ones(2, device="null")),
    (
        ValueError,
        "add: operands must be on one device, got null and cpu",
        lambda: add_in_place(ones(2, device="null"), ones(2)),
    ),
    (
        RuntimeError,
        "nonzero: values must exist, got a tensor on the null device",
        lambda: gg.nonzero(ones(2, device="null")),
    ),
    (
        NotImplementedError,
        "capture: arguments must not overlap in memory, got 'argument 0' and 'argument 1'",
        lambda: overlapping(gg.compile(lambda p, q: p + q)),
    ),
    (
        NotImplementedError,
        "capture: tensor that shares memory with 'argument 0' must lie within it, got elements -3 to 4 of 4",
        around_an_argument,
    ),
    (
        NotImplementedError,
        "capture: tensor that is written through a view must be contiguous, got strides (1, 4) for shape (4, 4)",
        lambda: gg.compile(lambda p: p[0].add_(1))(ones(4, 4).T),
    ),
    (
        ValueError,
        "conv2d: groups must divide the 3 output channels, got 2",
        lambda: gg.conv2d(ones(1, 4, 3, 3), ones(3, 2, 3, 3), groups=2),
    ),
    (
        OverflowError,
        "conv2d: dilation times kernel size must fit the image, got 1099511627776 times 3",
        lambda: gg.conv2d(ones(1, 1, 3, 3), ones(1, 1, 3, 3), dilation=2**40),
    ),
    (
        OverflowError,
        "max_pool2d: dilation times kernel size must fit the image, got 1099511627776 times 3",
        lambda: gg.max_pool2d(ones(1, 1, 3, 3), 3, dilation=2**40),
    ),
    (
        TypeError,
        "max_pool2d: operands must have a real floating or integer (uint8 or signed) dtype, got complex64",
        lambda: gg.max_pool2d(ones(1, 1, 3, 3, dtype="complex64"), 3),
    ),
    (
        TypeError,
        "arange: dtype must be an integer or a floating-point type, got bool",
        lambda: gg.arange(3, dtype="bool"),
    ),
    (TypeError, "add: x2 must be a tensor or a number, got None", lambda: gg.add(ones(1), None)),
    (
        ValueError,
        "scatter: indices must have rank 2 and no length above that of x but on axis 0, got shape (4,)",
        lambda: gg.scatter(ones(3, 3), gg.zeros((4,), dtype="int64"), ones(4), axis=0),
    ),
    (
        OverflowError,
        "concat: axis 0 must have fewer than 2**63 elements",
        lambda: gg.concat([gg.broadcast_to(ones(), (2**62,))] * 3),
    ),
    (
        OverflowError,
        "tile: result must have fewer than 2**63 elements, got a length of 1099511627776 times 1099511627776",
        lambda: gg.tile(gg.broadcast_to(ones(), (2**40,)), (2**40,)),
    ),
    (ValueError, "roll: shift must be one integer when axis is None, got (1, 2)", lambda: gg.roll(ones(3), (1, 2))),
    (
        TypeError,
        "sgd_update: parameters must have one dtype, got float32 and float64",
        lambda: gg.sgd_update(ones(2), ones(2, dtype="float64"), ones(2), ones(2), count=2, lr=0.1),
    ),
    (
        ValueError,
        "sgd_update: step counter 0 must be one int64, got float32 (1,)",
        lambda: gg.sgd_update(ones(2), ones(2), ones(2), ones(1), count=1, lr=0.1, momentum=0.9),
    ),
    (
        ValueError,
        "pickle: bytes must fill shape (3,) of dtype float32, got 2",
        lambda: ones(3).__reduce__()[0](b"ab", "float32", (3,), 0, 0),
    ),
]


@pytest.mark.parametrize(
    ("kind", "message", "call"), CASES, ids=[f"{i}-{case[1][:50]}" for i, case in enumerate(CASES)]
)
def test_message(kind, message, call):
    with pytest.raises(kind, match=re.escape(message)) as caught:
        call()
    assert type(caught.value) is kind


def test_own_exception_types():
    assert issubclass(gg.OutOfMemoryError, MemoryError)
    assert issubclass(gg.DeviceError, RuntimeError)
    assert gg.OutOfMemoryError.__module__ == "gorgo"


def test_running_out_of_memory_leaves_everything_usable():
    with pytest.raises(gg.OutOfMemoryError) as caught:
        gg.empty((2**50,), dtype=gg.uint8)
    assert "1125899906842624" in str(caught.value)
    assert (gg.ones((3,)) + 1).tolist() == [2.0] * 3


def test_errors_of_the_tape_name_the_line():
    x = gg.ones((2,), requires_grad=True)
    y = x.exp()
    y += 1
    with pytest.raises(
        RuntimeError, match=r"saved by exp at test_errors\.py:\d+ in test_errors_of_the_tape_name_the_line"
    ):
        y.backward(gg.ones((2,)))


def test_errors_leave_no_state_behind():
    x = gg.ones((2,), requires_grad=True)
    with pytest.raises(ValueError, match="broadcast"):
        x + gg.ones((3,))
    y = x * 2
    y.backward(gg.ones((2,)))
    assert x.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("GORGO_ISA", "sse9", "GORGO_ISA: must be one of base"),
        (
            "GORGO_MEMORY_DEBUG",
            "perhaps",
            "GORGO_MEMORY_DEBUG: must be 1, true, on, yes or 0, false, off, no, got 'perhaps'",
        ),
        ("OMP_NUM_THREADS", "many", "OMP_NUM_THREADS: must be a whole number or a list of them, got 'many'"),
        ("GORGO_NUM_THREADS", "x", "GORGO_NUM_THREADS: must be a whole number, got 'x'"),
        ("GORGO_MEMORY_LIMIT", "-1", "GORGO_MEMORY_LIMIT: must be at least 0 bytes, got -1"),
    ],
)
def test_environment_variables_are_checked_on_first_use(variable, value, message):
    done = subprocess.run(
        [sys.executable, "-c", "import gorgo as gg; gg.show_config(); (gg.ones((2,)) + 1).tolist()"],
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"Error: {message}" in done.stderr  # an ImportError where the import needs it


def test_a_read_only_buffer_stays_read_only():
    a = np.zeros(2, np.float32)
    a.flags.writeable = False
    t = gg.asarray(a)
    with pytest.raises(BufferError, match="tensor must be writable for this use, got one over read-only"):
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(t), ctypes.create_string_buffer(256), PYBUF_WRITABLE)

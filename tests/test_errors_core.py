"""One test for each message of ops and the tensor type that neither test_errors.py nor a test of a family provokes."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import pytest

import gorgo as gg


def ones(*shape: int, **kwargs: Any) -> gg.Tensor:
    return gg.ones(shape, **kwargs)


def deleted(x: Any, name: str) -> None:
    delattr(x, name)


def own_gradient() -> None:
    x = ones(1, requires_grad=True)
    x.grad = x


def count(value: int = 1) -> gg.Tensor:
    return gg.full((), value, dtype=gg.int64)


def adam(*operands: gg.Tensor, number: int = 1) -> None:
    gg.adam_update(*operands, count=number, lr=0.1)


def twice() -> None:
    y = (ones(1, requires_grad=True) * ones(1, requires_grad=True)).exp()
    y.backward()
    y.backward()


def entered_often() -> None:
    mode = gg.no_grad()
    entered = 0
    try:
        for _ in range(65):
            mode.__enter__()
            entered += 1
    finally:
        for _ in range(entered):
            mode.__exit__(None, None, None)


class Producer:
    def __init__(self) -> None:
        self.capsule = ones(1).__dlpack__()

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def used_capsule() -> None:
    producer = Producer()
    gg.from_dlpack(producer)
    gg.from_dlpack(producer)


def indices(*values: int) -> gg.Tensor:
    return gg.asarray(list(values), dtype=gg.int64)


def unaligned() -> np.ndarray:
    return np.ndarray((4,), dtype=np.float32, buffer=np.zeros(17, dtype=np.uint8)[1:])


def replayed() -> None:
    gg.compile(lambda x: (x * x).sum())(ones(2, requires_grad=True)).backward()


def nested() -> None:
    gg.compile(lambda x: gg.graph.trace(gg.exp, x))(ones(1))


def too_long() -> None:
    half = gg.broadcast_to(ones(1), (2**62,))
    gg.concat([half, half])


def first_of_the_sequence(x: gg.Tensor) -> Any:
    item = ctypes.pythonapi.PySequence_GetItem
    item.argtypes, item.restype = [ctypes.py_object, ctypes.c_ssize_t], ctypes.py_object
    return item(x, 0)


OPS = gg._core._registry
# Each row: exception, message (a regular expression), call.
CASES: list[tuple[type[Exception], str, Any]] = [
    (
        TypeError,
        r"^requires_grad: must be True or False, it cannot be deleted",
        lambda: deleted(ones(1), "requires_grad"),
    ),
    (
        TypeError,
        r"^is_parameter: must be True or False, it cannot be deleted",
        lambda: deleted(ones(1), "is_parameter"),
    ),
    (ValueError, r"^grad: value must be another tensor, got the tensor itself", own_gradient),
    (TypeError, r"^HostCell: value cannot be deleted", lambda: deleted(gg._core.HostCell(1.0), "value")),
    (TypeError, r"^Tensor: tensors are made by functions such as gorgo\.asarray", lambda: gg.Tensor()),
    (ValueError, r"must have at most 32 sizes, got 40", lambda: ones(1).view(*[1] * 40)),
    (TypeError, r"^reshape: arguments are .*, got none for x", lambda: gg.reshape()),
    (TypeError, r"^view: arguments are sizes by position, got none", lambda: ones(1).view()),
    (TypeError, r"^iter: tensor must have rank 1 or more, got shape \(\)", lambda: list(ones())),
    (
        ValueError,
        r"^__array_namespace__: api_version must be one of",
        lambda: ones(1).__array_namespace__(api_version="1"),
    ),
    (
        ValueError,
        r"^__array__: copy=False needs the tensor's own dtype",
        lambda: ones(1).__array__(np.int8, copy=False),
    ),
    (
        ValueError,
        r"^asarray: copy=False needs an object of dtype float64",
        lambda: gg.asarray(ones(1), gg.float64, copy=False),
    ),
    (
        ValueError,
        r"^asarray: copy=False needs an object that can share its memory",
        lambda: gg.asarray([1], copy=False),
    ),
    (
        TypeError,
        r"^linspace: dtype must be complex for complex start and stop, got float32",
        lambda: gg.linspace(1j, 2, 3, dtype=gg.float32),
    ),
    (TypeError, r"^guard_attribute: arguments are \(object, name\), got 1", lambda: gg._core.guard_attribute(1)),
    (TypeError, r"^host_effect: effect must be callable, got int 3", lambda: gg._core.host_effect(3)),
    (ValueError, r"^polygamma: n must be in \[0, \d+\], got -1", lambda: gg.polygamma(-1, ones(1))),
    (TypeError, r"^where: condition dtype must be bool, got float32", lambda: gg.where(ones(1), 1.0, 2.0)),
    (TypeError, r"^\w+: x dtype must be complex, got float32", lambda: OPS["imag"](ones(1))),
    (ValueError, r"^matmul: x1 must have at least one axis, got shape \(\)", lambda: gg.matmul(ones(), ones(1))),
    (ValueError, r"^matmul: x2 must have length 2 along axis -1", lambda: gg.matmul(ones(2), ones(3))),
    (
        ValueError,
        r"^take: axis must be given unless x has rank 1, got None \(x has shape \(\)\)",
        lambda: gg.take(ones(), gg.asarray([0])),
    ),
    (
        ValueError,
        r"^cross_entropy: \w+ must have a class, got shape",
        lambda: gg.cross_entropy(ones(1, 0), gg.asarray([0])),
    ),
    (ValueError, r"^cross_entropy: \w+ must have shape \(n, c", lambda: gg.cross_entropy(ones(), gg.asarray(0))),
    (
        ValueError,
        r"^argmax: x must have an element to choose along axis \(0,\), got shape \(0,\)",
        lambda: gg.argmax(ones(0), axis=0),
    ),
    (
        ValueError,
        r"^conv2d: groups must be at least 1, got 0",
        lambda: gg.conv2d(ones(1, 1, 1, 1), ones(1, 1, 1, 1), groups=0),
    ),
    (
        ValueError,
        r"^conv2d: stride must have 2 entries",
        lambda: gg.conv2d(ones(1, 1, 1, 1), ones(1, 1, 1, 1), stride=(1,) * 3),
    ),
    (
        ValueError,
        r"^conv2d: padding must have 2 entries",
        lambda: gg.conv2d(ones(1, 1, 1, 1), ones(1, 1, 1, 1), padding=(1,) * 3),
    ),
    (
        TypeError,
        r"^bucketize: .*must have an order, got complex64",
        lambda: gg.searchsorted(gg.asarray([1j]), gg.asarray([1j])),
    ),
    (
        TypeError,
        r"^random_uniform: dtype must be a real floating one, got int32",
        lambda: gg.random.uniform(dtype=gg.int32),
    ),
    (
        TypeError,
        r"^random_randint: dtype must be an integer one, got float32",
        lambda: gg.random.randint(0, 3, (), dtype=gg.float32),
    ),
    (ValueError, r"^random_permutation: n must be in \[0, 2\*\*32\), got -1", lambda: gg.random.permutation(-1)),
    (
        RuntimeError,
        r"^add: target must not be .*nor a view of one",
        lambda: ones(2, requires_grad=True)[:1].add_(1),
    ),
    (ValueError, r"^\w+: axis must not repeat, got \(0, 0\)", lambda: gg.flip(ones(1), axis=(0, 0))),
    (
        IndexError,
        r"^index: mask must have the length 2 of axis 0 or 0, got a mask of shape \(3,\) for shape \(2,\)",
        lambda: ones(2)[gg.asarray([True] * 3)],
    ),
    (ValueError, r"^bucketize: boundaries must have an axis, got shape \(\)", lambda: gg.searchsorted(ones(), ones(1))),
    (ValueError, r"^split: sizes must not be negative, got \(-1, 3\)", lambda: OPS["split"](ones(2), sizes=(-1, 3))),
    (ValueError, r"^profile: max_events must be at least 0, got -1", lambda: gg.profile(max_events=-1).__enter__()),
    (TypeError, r"^from_dlpack: x must have __dlpack__ and __dlpack_device__, got int 3", lambda: gg.from_dlpack(3)),
    (ValueError, r"^to_device: stream must be None", lambda: ones(1).to_device("cpu", stream=1)),
    (TypeError, r"^sum: dtype must be one that holds sums", lambda: gg.sum(ones(1), dtype=gg.int8)),
    (
        OverflowError,
        r"^repeat: .*must have fewer than 2\*\*63 elements",
        lambda: gg.repeat(ones(2), gg.asarray([2**62] * 2)),
    ),
    (ValueError, r"^random_multinomial: weights must have 1 to .* entries", lambda: gg.random.multinomial(ones(0), 0)),
    (ValueError, r"^adam_update: operands must be parameters, gradients, .*, got 1$", lambda: adam(ones(1))),
    (
        TypeError,
        r"^adam_update: parameters must have one dtype, got float32 and float64",
        lambda: adam(ones(1), ones(1, dtype=gg.float64), *[ones(1)] * 6, count(), count(), number=2),
    ),
    (
        ValueError,
        r"^adam_update: step counter 0 must be one int64, got float32 \(1,\)",
        lambda: adam(*[ones(1) for _ in range(5)]),
    ),
    # what only the registry's own functions can be given
    (TypeError, r"^polygamma: x dtype must be real, got complex64", lambda: gg.polygamma(1, gg.asarray([1j]))),
    (ValueError, r"^ramp: count must not be negative, got -1", lambda: OPS["ramp"](0, 1, -1)),
    (
        TypeError,
        r"^ramp: dtype must be an integer or a floating-point type, got bool",
        lambda: OPS["ramp"](0, 1, 1, dtype="bool"),
    ),
    (
        OverflowError,
        r"^ramp: elements must fit int64",
        lambda: OPS["ramp"](start=2**62, step=2**62, count=9, dtype="int64"),
    ),
    (
        ValueError,
        r"^softmax_backward: g must be like y, float32 \(3,\)",
        lambda: OPS["softmax_backward"](ones(2), ones(3)),
    ),
    (
        ValueError,
        r"^as_strided: strides must have one entry per axis",
        lambda: OPS["as_strided"](ones(4), shape=(2,), strides=(1, 1), offset=0),
    ),
    (
        ValueError,
        r"^as_strided: .* must stay within 4 elements",
        lambda: OPS["as_strided"](ones(4), shape=(9,), strides=(1,), offset=0),
    ),
    (
        TypeError,
        r"^view_scatter: src must have dtype float32",
        lambda: OPS["view_scatter"](ones(4), gg.arange(2), shape=(2,), strides=(1,), offset=0),
    ),
    (
        ValueError,
        r"^view_scatter: src must broadcast to \(2,\)",
        lambda: OPS["view_scatter"](ones(4), ones(3, 2), shape=(2,), strides=(1,), offset=0),
    ),
    (
        ValueError,
        r"^view_scatter: the view must not hold an element twice",
        lambda: OPS["view_scatter"](ones(4), ones(2), shape=(2,), strides=(0,), offset=0),
    ),
    (
        ValueError,
        r"^sum_to: shape must be one that broadcasts to \(2,\), got \(3,\)",
        lambda: OPS["sum_to"](ones(2), shape=(3,)),
    ),
    (
        ValueError,
        r"^dropout_adjoint: mask must be bool of shape \(2,\)",
        lambda: OPS["dropout_adjoint"](ones(2), ones(2), p=0.5),
    ),
    (
        TypeError,
        r"^sort: x must have an order, got complex64",
        lambda: gg.sort(gg.asarray([1j])),
    ),
    (RuntimeError, r"^backward: graph must not have been freed by an earlier backward, got", twice),
    (RuntimeError, r"^grad mode: one object must be entered at most 64 times", entered_often),
    (
        ValueError,
        r"^Graph.run: input 0 must be float32 \(2,\), got float64 \(2,\)",
        lambda: gg.graph.trace(gg.exp, ones(2)).run(ones(2, dtype=gg.float64)),
    ),
    (TypeError, r"^exp: arguments are \(x\), got the keyword y", lambda: gg.exp(ones(1), y=1)),
    (ValueError, r"^from_dlpack: x must give a DLPack capsule that nobody has used yet", used_capsule),
    (
        TypeError,
        r"^random_uniform: dtype must be a real floating one, got int32",
        lambda: gg._core.random_uniform(gg.random.Generator(1).key(), (1,), dtype="int32"),
    ),
    (
        ValueError,
        r"^random_geometric: shape must be one that the parameters broadcast to",
        lambda: gg._core.random_geometric(gg.random.Generator(1).key(), gg.full((2, 3), 0.5), shape=(3,)),
    ),
    (
        TypeError,
        r"^random_poisson: rate must be real, got complex64",
        lambda: gg._core.random_poisson(gg.random.Generator(1).key(), gg.asarray([1j])),
    ),
    (
        RuntimeError,
        r"^backward: tensor must have a record, got the result of a compiled function \(shape \(\);",
        replayed,
    ),
    (TypeError, r"^arange: start must be a real number, got str 'a'", lambda: gg.arange("a")),
    (ValueError, r"^leak_report: most must be at least 0, got -1", lambda: gg.memory.leak_report(-1)),
    (OverflowError, r"^full: an integer must fit 64 bits, got int 11805", lambda: gg.full((2,), 2**70, dtype=gg.int64)),
    (OverflowError, r"^sum: an integer must fit 64 bits, got int 11805", lambda: gg.sum(ones(2), axis=2**70)),
    (TypeError, r"^iter: tensor must have rank 1 or more, got shape \(\)", lambda: iter(ones())),
    (
        ValueError,
        r"^asarray: copy=False needs memory aligned to its elements",
        lambda: gg.asarray(unaligned(), copy=False),
    ),
    (ValueError, r"^asarray: rank must be at most 32, got 33", lambda: gg.asarray(np.ones((1,) * 33))),
    (TypeError, r"^asarray: elements must be numbers, got str 'a' at \[1\]", lambda: gg.asarray([1, "a"])),
    (TypeError, r"^sum: keyword must be one of ours, got dim; here it is called axis", lambda: gg.sum(ones(1), dim=0)),
    (TypeError, r"^exp: x must be given once, got it twice", lambda: gg.exp(ones(1), x=ones(1))),
    (TypeError, r"^add: x2 must be a tensor or a number, got str 'a'", lambda: gg.add(ones(1), "a")),
    (ValueError, r"^device: must be one of cpu, got 'cuda:0'", lambda: ones(1).to_device("cuda:0")),
    (ValueError, r"^ones: shape must have at most 32 integers, got 33", lambda: ones(*(1,) * 33)),
    (RuntimeError, r"^capture: recordings must not nest, got a second one on this thread", nested),
    (TypeError, r"^where: condition must be a tensor, got float 1.0", lambda: gg.where(1.0, ones(1), ones(1))),
    (TypeError, r"^negative: x dtype must be numeric, got bool", lambda: gg.negative(ones(1, dtype=gg.bool))),
    (ValueError, r"^take: x must have an axis, got shape \(\)", lambda: gg.take(ones(), indices(0), axis=0)),
    (ValueError, r"^roll: x must have an axis, got shape \(\)", lambda: gg.roll(ones(), 1, axis=0)),
    (ValueError, r"^flip: axis must not repeat, got \(0, 0\)", lambda: gg.flip(ones(2, 2), axis=(0, 0))),
    (
        ValueError,
        r"^reshape: x must have strides that allow a view of shape \(6,\) \(or copy it first\), got \(1, 3\)",
        lambda: ones(2, 3).T.view(6),
    ),
    (OverflowError, r"^concat: axis 0 must have fewer than 2\*\*63 elements", too_long),
    (
        TypeError,
        r"^ctc_loss: log_probs must have a real floating dtype, got int64",
        lambda: gg.nn.functional.ctc_loss(ones(3, 1, 2, dtype=gg.int64), indices(1).reshape(1, 1), [3], [1]),
    ),
    (
        ValueError,
        r"^col2im: x must have 2 or 3 axes \(\(n,\) c kh kw, windows\), got shape \(4,\)",
        lambda: gg.nn.functional.fold(ones(4), (2, 2), (2, 2)),
    ),
    (
        ValueError,
        r"^im2col: kernel_size must be in \[1, 2\*\*30\], got \(0, 2\)",
        lambda: gg.nn.functional.unfold(ones(1, 1, 4, 4), (0, 2)),
    ),
    (
        ValueError,
        r"^im2col: kernel_size must have 2 entries \(height, width\), got \(2, 2, 2\)",
        lambda: gg.nn.functional.unfold(ones(1, 1, 4, 4), (2, 2, 2)),
    ),
    (
        ValueError,
        r"^isclose: rtol and atol must not be negative, got -1 and 1e-08",
        lambda: gg.isclose(ones(1), ones(1), rtol=-1),
    ),
    # Companions, which gradients call with operands that fit.
    (
        ValueError,
        r"^attention_backward: g must be float32 \(1, 2, 4\), got float32 \(1, 3, 4\)",
        lambda: OPS["attention_backward"](
            *[ones(1, 2, 4)] * 3, None, ones(1, 2, 4), ones(1, 2), ones(1, 3, 4), ones(1, 2)
        ),
    ),
    (
        ValueError,
        r"^divide_backward: which must be in \[1, 3\], got 4",
        lambda: OPS["divide_backward"](ones(2), ones(2), ones(2), which=4),
    ),
    (
        ValueError,
        r"^sqrt_backward: saved must fit the gradient's float32 \(2,\), got float64 \(2,\)",
        lambda: OPS["sqrt_backward"](ones(2), ones(2, dtype=gg.float64)),
    ),
    (
        ValueError,
        r"^index_adjoint: g must have shape \(1,\), got \(3,\)",
        lambda: OPS["index_adjoint"](ones(3), [indices(0)], axes=(0,), shape=(4,)),
    ),
    (
        ValueError,
        r"^index_adjoint: axes must name one axis for each index tensor, got \(0, 1\) for 1",
        lambda: OPS["index_adjoint"](ones(1), [indices(0)], axes=(0, 1), shape=(4,)),
    ),
    (
        ValueError,
        r"^take_along_axis_adjoint: g must have shape \(1,\), got \(3,\)",
        lambda: OPS["take_along_axis_adjoint"](ones(3), indices(0), axis=0, shape=(4,)),
    ),
    (
        ValueError,
        r"^ctc_loss_backward: g must be float32 \(1,\), got float32 \(2,\)",
        lambda: OPS["ctc_loss_backward"](
            ones(3, 1, 2), indices(1).reshape(1, 1), indices(3), indices(1), ones(2), reduction="none"
        ),
    ),
    (
        ValueError,
        r"^cross_entropy_backward: g must be float32 \(2,\), got float32 \(3,\)",
        lambda: OPS["cross_entropy_backward"](ones(2, 3), indices(0, 1), ones(3), reduction="none"),
    ),
    (
        ValueError,
        r"^mse_loss_backward: g must be float32 \(2,\), got float32 \(3,\)",
        lambda: OPS["mse_loss_backward"](ones(2), ones(2), ones(3), reduction="none"),
    ),
    (
        ValueError,
        r"^layer_norm_backward: g must be like x, float32 \(2, 3\), got float32 \(2, 4\)",
        lambda: OPS["layer_norm_backward"](ones(2, 4), ones(2, 3), None),
    ),
    (
        ValueError,
        r"^view_adjoint: g must have shape \(2,\), got \(3,\)",
        lambda: OPS["view_adjoint"](ones(3), base_shape=(4,), shape=(2,), strides=(1,), offset=0),
    ),
    (
        ValueError,
        r"^pad_adjoint: mode must take elements from x, got 'constant'",
        lambda: OPS["pad_adjoint"](ones(3), pad_width=(1, 1), mode="constant", shape=(3,)),
    ),
    (
        ValueError,
        r"^pad_adjoint: g must have shape \(5,\), got \(3,\)",
        lambda: OPS["pad_adjoint"](ones(3), pad_width=(1, 1), mode="reflect", shape=(3,)),
    ),
    (
        IndexError,
        r"^index_view: start, step and length of axis 0 must stay in \[0, 3\), got 0, 1 and 4",
        lambda: OPS["index_view"](ones(3), start=(0,), step=(1,), length=(4,)),
    ),
    (
        ValueError,
        r"^index_view: start, step and length must have 1 entries, got \(0, 0\), \(1,\) and \(4,\)",
        lambda: OPS["index_view"](ones(3), start=(0, 0), step=(1,), length=(4,)),
    ),
    (
        ValueError,
        r"^index_view: insert must list rising positions in the result, got \(1, 0\)",
        lambda: OPS["index_view"](ones(3), start=(0,), step=(1,), length=(3,), insert=(1, 0)),
    ),
    (
        ValueError,
        r"^as_strided: x must be contiguous, got strides \(1, 2\) for shape \(2, 3\)",
        lambda: OPS["as_strided"](ones(3, 2).T, shape=(2,), strides=(1,), offset=0),
    ),
    (
        TypeError,
        r"^index_put: values must have dtype float32, got float64",
        lambda: OPS["index_put"](ones(3), ones(1, dtype=gg.float64), [indices(0)], axes=(0,)),
    ),
    (
        ValueError,
        r"^index_put: values must broadcast to \(1,\), got \(2,\)",
        lambda: OPS["index_put"](ones(3), ones(2), [indices(0)], axes=(0,)),
    ),
    (
        ValueError,
        r"^scatter: values must broadcast to the indices' shape \(1,\), got \(2,\)",
        lambda: OPS["scatter"](ones(3), indices(0), ones(2), axis=0),
    ),
    (
        TypeError,
        r"^scatter_combine: x must have an order, got complex64",
        lambda: OPS["scatter_combine"](gg.asarray([1j]), indices(0), gg.asarray([1j]), axis=0, reduce="amax"),
    ),
    (
        ValueError,
        r"^max_pool_grad: g must have shape \(1, 1, 2, 2\), got \(1, 1, 3, 3\)",
        lambda: OPS["max_pool_grad"](
            ones(1, 1, 3, 3), ones(1, 1, 4, 4), kernel_size=(2, 2), padding=(0, 0), dilation=(1, 1)
        ),
    ),
    (
        ValueError,
        r"^max_pool_gather: v must have x's shape \(1, 1, 4, 4\), got \(1, 1, 3, 3\)",
        lambda: OPS["max_pool_gather"](ones(1, 1, 3, 3), ones(1, 1, 4, 4), kernel_size=(2, 2)),
    ),
    (
        ValueError,
        r"^avg_pool_grad: g must have size \(2, 2\) for input_size \(4, 4\), got shape \(1, 1, 3, 3\)",
        lambda: OPS["avg_pool_grad"](ones(1, 1, 3, 3), input_size=(4, 4), kernel_size=(2, 2), padding=(0, 0)),
    ),
    (
        ValueError,
        r"^max_pool_grad: kernel_size must have 1 to 3 entries, got \(1, 1, 1, 1\)",
        lambda: OPS["max_pool_grad"](ones(1, 1, 3, 3), ones(1, 1, 4, 4), kernel_size=(1, 1, 1, 1)),
    ),
    (
        ValueError,
        r"^resample_grad: g must have size 6 along axis 0, got shape \(5,\) for input_size 3",
        lambda: OPS["resample_grad"](ones(5), input_size=3, size=6, axis=0, mode="nearest"),
    ),
    (
        ValueError,
        r"^conv2d_grad_weight: g must have 1 images of at most \(2, 2\) windows, got shape \(1, 1, 9, 9\)",
        lambda: OPS["conv2d_grad_weight"](ones(1, 1, 2, 2), ones(1, 1, 9, 9), kernel_size=(1, 1)),
    ),
    (TypeError, r"^linspace: start must be a number, got str 'a'", lambda: gg.linspace("a", 1, 3)),  # type: ignore[arg-type]
    (
        TypeError,
        r"^scatter: arguments are \(x, /, axis, indices, values\), got none for x",
        lambda: gg.scatter(),  # type: ignore[call-arg]
    ),
    (
        TypeError,
        r"^scatter_add: arguments are \(x, /, axis, indices, values\), got none for x",
        lambda: gg.scatter_add(),  # type: ignore[call-arg]
    ),
    (OverflowError, r"^eye: n_rows must fit int64, got 9223372036854775808", lambda: gg.eye(2**63)),
    (TypeError, r"^pad: value must be a number, got str 'a'", lambda: gg.pad(ones(2), (1, 1), value="a")),  # type: ignore[arg-type]
    (
        IndexError,
        r"^index: tensor must have rank 1 or more, got shape \(\)",
        lambda: first_of_the_sequence(ones()),
    ),
    (
        TypeError,
        r"^asarray: elements must be numbers or lists of numbers, got str 'a' at \[1\]",
        lambda: gg.asarray([[1, 2], "a"]),
    ),
    (
        NotImplementedError,
        r"^to: device must be null for this tensor, got cpu",
        lambda: ones(2, device="null").to("cpu"),
    ),
    (TypeError, r"^add: x1 must be a tensor or a number, got None", lambda: gg.add(None, ones(2))),  # type: ignore[arg-type]
    (ValueError, r"^expand_dims: axis must not repeat, got \(0, 0\)", lambda: gg.expand_dims(ones(2), (0, 0))),
    (
        OverflowError,
        r"^concat: the result must have fewer than 2\*\*63 elements",
        lambda: gg.concat([gg.broadcast_to(ones(), (2**62,))] * 2, axis=None),
    ),
    (
        OverflowError,
        r"^conv_transpose1d: stride times size must fit an axis, got 1099511627776 times 4194304",
        lambda: gg.conv_transpose1d(gg.broadcast_to(ones(1, 1, 1), (1, 1, 2**22)), ones(1, 1, 1), stride=2**40),
    ),
    (
        OverflowError,
        r"^conv_transpose1d: groups must fit the output channels, got 4611686018427387904 times 4",
        lambda: gg.conv_transpose1d(ones(1, 0, 4), ones(0, 4, 1), groups=2**62),
    ),
    (
        ValueError,
        r"^ctc_loss_curvature: h must be like log_probs, float32 \(2, 1, 3\), got float32 \(2, 1, 4\)",
        lambda: OPS["ctc_loss_curvature"](
            ones(2, 1, 3), count().reshape(1, 1), count(2).reshape(1), count().reshape(1), ones(), ones(2, 1, 4)
        ),
    ),
]


@pytest.mark.parametrize(
    ("kind", "message", "call"),
    CASES,
    ids=[f"{i}-{re.sub('[^a-z_ ]', '', case[1])[:50]}" for i, case in enumerate(CASES)],
)
def test_message(kind: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert type(caught.value) is kind

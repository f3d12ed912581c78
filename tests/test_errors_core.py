"""One test for each message of ops and the tensor type that neither test_errors.py nor a test of a family provokes."""

from __future__ import annotations

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

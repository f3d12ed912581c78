"""Gradients of single ops from a gradient as large as the result: what backward costs, without the forward pass.

The recording is made once for each set of operands and kept. A gradient is checked along a random direction, against
the difference of two float64 results. JAX has no such recording to keep and is left out. Read first: harness.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special

from bench.harness import Case, Prepared, ring_of, toy
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable

    Forward = Callable[..., np.ndarray]


def normalized(x: np.ndarray, axis: int | tuple[int, ...], centered: bool = True) -> np.ndarray:
    """Return x less its mean, over its standard deviation."""
    if centered:
        x = x - x.mean(axis, keepdims=True)
    return np.asarray(x / np.sqrt((x * x).mean(axis, keepdims=True) + 1e-5))


def by_groups(x: np.ndarray, groups: int) -> np.ndarray:
    """Return x normalized over groups of channels."""
    return normalized(x.reshape(x.shape[0], groups, -1), 2).reshape(x.shape)


def windows(x: np.ndarray) -> np.ndarray:
    """Return the 2x2 windows of planes, four elements each."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).swapaxes(3, 4).reshape(n, c, h // 2, w // 2, 4)


def binary_cross_entropy(x: np.ndarray) -> np.ndarray:
    """Return the mean loss of logits whose targets are whether they exceed one half."""
    return np.asarray((np.logaddexp(0, x) - x * (x > 0.5)).mean())


Shape = tuple[int, ...]


def on_rows(shape: Shape) -> list[tuple[str, list[Shape], str, Forward]]:
    """Return what works along rows: a name, shapes of operands, the call, the oracle's forward pass."""
    n, width = math.prod(shape[:-1]), shape[-1]
    text = "x".join(map(str, shape))
    return [
        (
            f"layer_norm, {text}",
            [shape, (width,), (width,)],
            f"F.layer_norm(x, ({width},), w, b)",
            lambda x, w, b: normalized(x, -1) * w + b,
        ),
        (
            f"rms_norm, {text}",
            [shape, (width,)],
            f"F.rms_norm(x, ({width},), w, 1e-5)",
            lambda x, w: normalized(x, -1, centered=False) * w,
        ),
        (f"softmax, {text}", [shape], "F.softmax(x, -1)", lambda x: scipy.special.softmax(x, -1)),
        (
            f"cross_entropy, {text}",
            [(n, width)],
            f"F.cross_entropy(x, m.arange({n}) % {width})",
            lambda x: (scipy.special.logsumexp(x, 1) - x[np.arange(n), np.arange(n) % width]).mean(),
        ),
        (
            f"binary_cross_entropy_with_logits, {text}",
            [shape],
            "F.binary_cross_entropy_with_logits(x, (x.detach() > 0.5) * m.ones(()))",
            binary_cross_entropy,
        ),
        (f"gelu, {text}", [shape], "F.gelu(x)", lambda x: x * scipy.special.ndtr(x)),
        (f"silu, {text}", [shape], "F.silu(x)", lambda x: x * scipy.special.expit(x)),
        (f"cumsum along rows, {text}", [shape], "m.cumsum(x, -1)", lambda x: x.cumsum(-1)),
        (f"maxima of rows, {text}", [shape], "m.amax(x, -1)", lambda x: x.max(-1)),
        (f"times a row, {text}", [shape, (width,)], "x * w", lambda x, w: x * w),
    ]


def on_planes(shape: Shape) -> list[tuple[str, list[Shape], str, Forward]]:
    """Return what works on planes."""
    channels = shape[1]
    text = "x".join(map(str, shape))

    def by_channels(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        return normalized(x, (0, 2, 3)) * w[:, None, None] + b[:, None, None]

    return [
        (
            f"group_norm, {text}",
            [shape, (channels,), (channels,)],
            "F.group_norm(x, 2, w, b)",
            lambda x, w, b: by_groups(x, 2) * w[:, None, None] + b[:, None, None],
        ),
        (
            f"batch_norm, {text}",
            [shape, (channels,), (channels,)],
            "F.batch_norm(x, None, None, w, b, training=True)",
            by_channels,
        ),
        (f"max_pool2d by 2, {text}", [shape], "F.max_pool2d(x, 2)", lambda x: windows(x).max(-1)),
        (f"avg_pool2d by 2, {text}", [shape], "F.avg_pool2d(x, 2)", lambda x: windows(x).mean(-1)),
        (
            f"nearest neighbours by 2, {text}",
            [shape],
            "F.interpolate(x, scale_factor=2)",
            lambda x: x.repeat(2, 2).repeat(2, 3),
        ),
    ]


# Where Gorgo's names are others.
OURS = {"m.cumsum(x, -1)": "m.cumulative_sum(x, axis=-1)", "m.amax(x, -1)": "m.max(x, axis=-1)"}


def case(name: str, shapes: list[Shape], text: str, forward: Forward) -> Case:
    """Build one row: the gradients by all operands, of which the first one's is checked."""
    names = ("x", "w", "b")[: len(shapes)]
    size = 4 * math.prod(shapes[0])

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def numbers(rng: np.random.Generator) -> tuple[Any, ...]:
                operands = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
                # No two alike, and none at a kink: the check goes a little to either side.
                places = rng.permutation(operands[0].size).reshape(shapes[0])
                operands[0] = ((places + 0.3) * (8.0 / places.size) - 4.0).astype(np.float32)
                result = np.asarray(forward(*operands))
                return (*operands, rng.standard_normal(result.shape).astype(np.float32))

            raw = ring_of(numbers, bytes_each=4 * size)
            call = OURS.get(text, text) if library.ours else text
            ring = []
            for *operands, g in raw:
                leaves = [library.asarray(loaded, x).requires_grad_() for x in operands]
                scope = {"F": loaded.nn.functional, "m": loaded, **dict(zip(names, leaves, strict=True))}
                ring.append((eval(call, scope), leaves, library.asarray(loaded, g)))

            def gradient(y: Any, leaves: list[Any], g: Any) -> Any:
                return loaded.autograd.grad(y, leaves, g, retain_graph=True)[0]

            def verify(result: Any) -> float:
                x, *others, g = (operand.astype(np.float64) for operand in raw[-1])
                found = library.to_numpy(result).astype(np.float64)
                if found.shape != x.shape:
                    return float("inf")
                direction = np.random.default_rng(21).standard_normal(x.shape)
                step = 1e-8
                rise = forward(x + step * direction, *others) - forward(x - step * direction, *others)
                expected = float((g * rise).sum()) / (2 * step)
                return abs(float((found * direction).sum()) - expected) / float(np.sqrt((found * found).sum()))

            return Prepared("gradient(y, leaves, g)", ("y", "leaves", "g"), ring, {"gradient": gradient}, verify)

        return make

    return Case(
        f"{name}, gradient",
        {library: maker(library) for library in ("torch", "gorgo")},
        tolerance=1e-5,
        read=2.0 * size,
        written=float(size),
    )


CASES = [
    case(*row)
    for row in (
        [*on_rows((8, 16)), *on_planes((2, 4, 4, 4))]
        if toy()
        else [
            *on_rows((256, 10)),
            *on_rows((32, 64, 128)),
            *on_rows((256, 1000)),
            *on_planes((32, 16, 8, 8)),
            *on_planes((32, 64, 28, 28)),
        ]
    )
]

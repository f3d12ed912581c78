"""3x3 convolution with padding 1, float32: an image's first layer, a small network's, and two of a larger one.

Everybody gets the layout it prefers: torch is measured in both. The oracle multiplies shifted float64 images by the
weights, one tap at a time. Read first: harness.py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable


def convolve_float64(x: np.ndarray, w: np.ndarray, padding: int) -> np.ndarray:
    """Return the cross-correlation of x (n, c, h, w) with w (o, c, kh, kw) in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    w = w.astype(np.float64)
    height, width = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
    out = np.zeros((x.shape[0], w.shape[0], height, width))
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            patch = x[:, :, i : i + height, j : j + width]
            out += np.tensordot(patch, w[:, :, i, j], axes=([1], [1])).transpose(0, 3, 1, 2)
    return out


def conv_case(batch: int, channels: int, side: int, filters: int) -> Case:
    """Build one shape (N, Cin, HW, Cout)."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def operands(rng: np.random.Generator) -> tuple[Any, ...]:
                x = rng.standard_normal((batch, channels, side, side)).astype(np.float32)
                return x, rng.standard_normal((filters, channels, 3, 3)).astype(np.float32)

            raw = ring_of(operands, bytes_each=4 * batch * side * side * max(channels, filters))
            ring = [(library.asarray(loaded, x), library.asarray(loaded, w)) for x, w in raw]
            scope: dict[str, Any] = {}
            statement = "conv2d(x, w, padding=1)"
            if library_name.startswith("torch"):
                scope["conv2d"] = loaded.nn.functional.conv2d
                if library_name == "torch NHWC":
                    layout = {"memory_format": loaded.channels_last}
                    ring = [(x.contiguous(**layout), w.contiguous(**layout)) for x, w in ring]
            elif library_name == "jax":
                lax = importlib.import_module("jax.lax")
                scope["conv2d"] = loaded.jit(lambda x, w: lax.conv(x, w, (1, 1), "SAME"))
                statement = "conv2d(x, w)"
            else:
                scope["conv2d"] = loaded.conv2d

            def verify(result: Any) -> float:
                return relative_error(library.to_numpy(result), convolve_float64(raw[-1][0], raw[-1][1], 1))

            return Prepared(statement, ("x", "w"), ring, scope, verify)

        return make

    return Case(
        f"conv 3x3, {batch}x{channels}x{side}x{side} to {filters}",
        {library: maker(library) for library in ("torch", "torch NHWC", "jax", "gorgo")},
        tolerance=1e-6 * max(1.0, (9 * channels / 64) ** 0.5),
        flop=2.0 * batch * side * side * filters * channels * 9,
    )


SHAPES = (
    [(2, 1, 8, 4), (2, 3, 10, 5)]
    if toy()
    else [(1, 3, 32, 16), (32, 1, 28, 16), (32, 16, 28, 32), (8, 64, 56, 64), (1, 64, 56, 64)]
)
CASES = [conv_case(*shape) for shape in SHAPES]

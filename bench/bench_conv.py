"""Convolutions, most in float32: 3x3 with padding 1, depthwise, 1x1, over one and three axes, and both gradients.

Everybody gets the layout it prefers: torch is measured in both. The oracle goes over float64 operands, one tap of the
kernel at a time. The gradient by the images is what a transposed convolution computes. Read first: harness.py.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES, as_bfloat16, narrowed, widened

if TYPE_CHECKING:
    from collections.abc import Callable

FORWARD, BY_IMAGE, BY_WEIGHT = "forward", "by image", "by weight"


@dataclass(frozen=True)
class Conv:
    """A convolution of batch images of `size` elements, and what of it is measured: itself or one of its gradients."""

    batch: int
    channels: int
    size: tuple[int, ...]
    filters: int
    kernel: tuple[int, ...] = (3, 3)
    stride: int = 1
    padding: int = 1
    groups: int = 1
    what: str = FORWARD
    dtype: str = "float32"

    @property
    def axes(self) -> int:
        return len(self.size)

    @property
    def out(self) -> tuple[int, ...]:
        return tuple((n + 2 * self.padding - k) // self.stride + 1 for n, k in zip(self.size, self.kernel, strict=True))

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.size)

    @property
    def w_shape(self) -> tuple[int, ...]:
        return (self.filters, self.channels // self.groups, *self.kernel)

    @property
    def g_shape(self) -> tuple[int, ...]:
        return (self.batch, self.filters, *self.out)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shapes of the two operands of what is measured."""
        by = {FORWARD: (self.x_shape, self.w_shape), BY_IMAGE: (self.g_shape, self.w_shape)}
        return by.get(self.what, (self.x_shape, self.g_shape))

    @property
    def result_shape(self) -> tuple[int, ...]:
        return {FORWARD: self.g_shape, BY_IMAGE: self.x_shape}.get(self.what, self.w_shape)

    @property
    def flop(self) -> float:
        return 2.0 * self.batch * prod(self.out) * prod(self.w_shape)

    def oracle(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the result in float64."""
        a, b = a.astype(np.float64), b.astype(np.float64)
        groups = self.groups

        def split(t: np.ndarray, axis: int) -> np.ndarray:
            return t.reshape(*t.shape[:axis], groups, -1, *t.shape[axis + 1 :])

        around = [(0, 0), (0, 0), *[(self.padding, self.padding)] * self.axes]
        if self.what == BY_IMAGE:
            x = np.zeros((self.batch, groups, self.channels // groups, *[n + 2 * self.padding for n in self.size]))
        else:
            x = split(np.pad(a, around), 1)
        w = np.zeros(self.w_shape) if self.what == BY_WEIGHT else b
        w = split(w, 0)
        g = np.zeros(self.g_shape) if self.what == FORWARD else a if self.what == BY_IMAGE else b
        g = split(g, 1).copy()
        flat = (self.batch, groups, -1, prod(self.out))
        for tap in np.ndindex(*self.kernel):
            met = (
                ...,
                *(slice(t, t + self.stride * (n - 1) + 1, self.stride) for t, n in zip(tap, self.out, strict=True)),
            )
            part, at = x[met], (..., *tap)
            if self.what == FORWARD:
                g += np.matmul(w[at], part.reshape(flat)).reshape(g.shape)
            elif self.what == BY_IMAGE:
                part += np.matmul(w[at].swapaxes(1, 2), g.reshape(flat)).reshape(part.shape)
            else:
                w[at] = np.matmul(g.reshape(flat), part.reshape(flat).swapaxes(2, 3)).sum(axis=0)
        if self.what == FORWARD:
            return g.reshape(self.g_shape)
        if self.what == BY_WEIGHT:
            return w.reshape(self.w_shape)
        kept = (..., *(slice(self.padding, self.padding + n) for n in self.size))
        return x.reshape(self.batch, self.channels, *x.shape[3:])[kept]

    def call(self, library: str, loaded: Any) -> Callable[[Any, Any], Any]:
        """Return what computes the result from the two operands."""
        axes, stride, padding, groups = self.axes, self.stride, self.padding, self.groups
        left_over = [
            n - ((m - 1) * stride - 2 * padding + k) for n, m, k in zip(self.size, self.out, self.kernel, strict=True)
        ]
        if library == "jax":
            lax = importlib.import_module("jax.lax")

            def conv(x: Any, w: Any) -> Any:
                return lax.conv_general_dilated(
                    x, w, (stride,) * axes, [(padding, padding)] * axes, feature_group_count=groups
                )

            zeros = loaded.numpy.zeros
            if self.what == FORWARD:
                return loaded.jit(conv)
            if self.what == BY_IMAGE:
                x = zeros(self.x_shape, self.dtype)
                return loaded.jit(lambda g, w: loaded.vjp(lambda x: conv(x, w), x)[1](g)[0])
            w = zeros(self.w_shape, self.dtype)
            return loaded.jit(lambda x, g: loaded.vjp(lambda w: conv(x, w), w)[1](g)[0])
        if library.startswith("torch"):
            functional = loaded.nn.functional
            if self.what == BY_WEIGHT:
                backward, nothing = loaded.ops.aten.convolution_backward, [0] * axes
                w = loaded.zeros(self.w_shape, dtype=getattr(loaded, self.dtype))
                return lambda x, g: backward(
                    g,
                    x,
                    w,
                    None,
                    [stride] * axes,
                    [padding] * axes,
                    [1] * axes,
                    False,
                    nothing,
                    groups,
                    [False, True, False],
                )[1]
        else:
            functional = loaded
            if self.what == BY_WEIGHT:
                by_weight = loaded._core._registry[f"conv{axes}d_grad_weight"]
                return lambda x, g: by_weight(
                    x, g, kernel_size=self.kernel, stride=stride, padding=padding, groups=groups
                )
        if self.what == FORWARD:
            forward = getattr(functional, f"conv{axes}d")
            return lambda x, w: forward(x, w, stride=stride, padding=padding, groups=groups)
        transpose = getattr(functional, f"conv_transpose{axes}d")
        return lambda g, w: transpose(g, w, stride=stride, padding=padding, output_padding=left_over, groups=groups)


def conv_case(name: str, conv: Conv) -> Case:
    """Build one row."""
    is_narrow = conv.dtype == "bfloat16"
    item = 2.0 if is_narrow else 4.0

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def operands(rng: np.random.Generator) -> tuple[Any, ...]:
                drawn = (rng.standard_normal(shape).astype(np.float32) for shape in conv.shapes)
                return tuple(as_bfloat16(x) if is_narrow else x for x in drawn)

            def tensor(x: np.ndarray) -> Any:
                return narrowed(library_name, loaded, x) if is_narrow else library.asarray(loaded, x)

            raw = ring_of(operands, bytes_each=4 * max(prod(conv.x_shape), prod(conv.g_shape)))
            ring = [tuple(tensor(array) for array in arrays) for arrays in raw]
            if library_name == "torch NHWC":
                ring = [tuple(t.contiguous(memory_format=loaded.channels_last) for t in tensors) for tensors in ring]
            scope = {"conv": conv.call(library_name, loaded)}

            def verify(result: Any) -> float:
                found = widened(library_name, result) if is_narrow else library.to_numpy(result)
                return relative_error(found, conv.oracle(*raw[-1]))

            return Prepared("conv(a, b)", ("a", "b"), ring, scope, verify)

        return make

    terms = {FORWARD: prod(conv.w_shape[1:]), BY_IMAGE: conv.filters // conv.groups * prod(conv.kernel)}
    terms_of_sum = terms.get(conv.what, conv.batch * prod(conv.out))
    libraries = ("torch", "torch NHWC", "jax", "gorgo") if conv.axes == 2 else ("torch", "jax", "gorgo")
    return Case(
        name,
        {library: maker(library) for library in libraries},
        # A narrow result's own rounding.
        tolerance=2.0**-8 if is_narrow else 1e-6 * max(1.0, (terms_of_sum / 64) ** 0.5),
        flop=conv.flop,
        kind=conv.dtype,
        read=item * sum(prod(shape) for shape in conv.shapes),
        written=item * prod(conv.result_shape),
    )


def described(conv: Conv) -> str:
    """Return a row's name: the shapes, and what is not 3x3 with padding 1."""
    across = "x".join(map(str, conv.kernel))
    kind = f"conv {across}" if conv.groups == 1 else f"depthwise {across}"
    step = f" by {conv.stride}" if conv.stride != 1 else ""
    what = "" if conv.what == FORWARD else f" {conv.what},"
    images = "x".join(map(str, conv.x_shape))
    narrow = f"{conv.dtype} " if conv.dtype != "float32" else ""
    return f"{narrow}{kind}{step},{what} {images} to {conv.filters}"


if toy():
    SHAPES = [
        Conv(2, 1, (8, 8), 4),
        Conv(1, 8, (9, 9), 8),
        Conv(2, 4, (7, 7), 4, groups=4),
        Conv(2, 4, (7, 7), 6, stride=2, what=BY_IMAGE),
        Conv(2, 4, (7, 7), 6, what=BY_WEIGHT),
        Conv(2, 3, (9,), 4, (5,), padding=2),
        Conv(1, 2, (4, 5, 6), 3, (3, 3, 3)),
        *(Conv(2, 4, (7, 7), 6, what=what, dtype="bfloat16") for what in (FORWARD, BY_IMAGE, BY_WEIGHT)),
    ]
else:
    SHAPES = [
        Conv(1, 3, (32, 32), 16),
        Conv(32, 1, (28, 28), 16),
        Conv(32, 16, (28, 28), 32),
        Conv(8, 64, (56, 56), 64),
        Conv(1, 64, (56, 56), 64),
        Conv(8, 37, (28, 28), 53),
        Conv(8, 32, (28, 28), 64, (5, 5), padding=2),
        Conv(8, 64, (56, 56), 128, stride=2),
        Conv(8, 96, (28, 28), 96, groups=96),
        Conv(1, 192, (14, 14), 192, groups=192),
        Conv(1, 192, (14, 14), 192, stride=2, groups=192),
        Conv(8, 96, (28, 28), 96, stride=2, groups=96),
        Conv(8, 96, (28, 28), 64, (1, 1), padding=0),
        Conv(1, 192, (14, 14), 64, (1, 1), padding=0),
        Conv(16, 32, (256,), 64, (5,), padding=2),
        Conv(2, 16, (8, 16, 16), 32, (3, 3, 3)),
        Conv(32, 16, (28, 28), 32, what=BY_IMAGE),
        Conv(32, 16, (28, 28), 32, what=BY_WEIGHT),
        Conv(8, 37, (28, 28), 53, what=BY_IMAGE),
        Conv(8, 37, (28, 28), 53, what=BY_WEIGHT),
        Conv(8, 32, (32, 32), 64, (4, 4), stride=2, what=BY_IMAGE),
        *(Conv(n, 128, (8, 8), 256, (4, 4), stride=2, what=BY_IMAGE) for n in (1, 8, 32)),
        Conv(8, 128, (8, 8), 256, stride=2, what=BY_IMAGE),
        Conv(8, 32, (32, 32), 64, stride=2, what=BY_WEIGHT),
        Conv(8, 96, (28, 28), 96, groups=96, what=BY_IMAGE),
        Conv(8, 96, (28, 28), 96, groups=96, what=BY_WEIGHT),
        Conv(8, 96, (28, 28), 96, stride=2, groups=96, what=BY_IMAGE),
        Conv(8, 96, (28, 28), 96, stride=2, groups=96, what=BY_WEIGHT),
        Conv(8, 96, (28, 28), 64, (1, 1), padding=0, what=BY_WEIGHT),
        Conv(16, 32, (256,), 64, (5,), padding=2, what=BY_IMAGE),
        Conv(16, 32, (256,), 64, (5,), padding=2, what=BY_WEIGHT),
        *(Conv(8, 64, (56, 56), 64, what=what, dtype="bfloat16") for what in (FORWARD, BY_IMAGE, BY_WEIGHT)),
        Conv(8, 96, (28, 28), 64, (1, 1), padding=0, dtype="bfloat16"),
    ]
CASES = [conv_case(described(shape), shape) for shape in SHAPES]

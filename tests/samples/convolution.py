"""Convolutions, against sums over shifted images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from samples.rows import Array, add, call


def each_axis(value: Any, axes: int, default: int) -> list[int]:
    """Return an entry for each axis, from an attribute that may be one number or absent."""
    value = default if value is None else value
    return [value] * axes if isinstance(value, int) else list(value)


def conv_pads(axes: int, attrs: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the zeros before and after each axis of the image."""
    pads = each_axis(attrs.get("padding"), axes, 0)
    return list(zip(pads[:axes], pads[-axes:], strict=True))


def conv_taps(x_size: Sequence[int], kernel: Sequence[int], attrs: dict[str, Any]) -> tuple[list[int], list[Any]]:
    """Return the output's sizes and, for each tap of the kernel, the part of the padded input that it meets."""
    axes = len(kernel)
    strides, steps = (each_axis(attrs.get(name), axes, 1) for name in ("stride", "dilation"))
    pads = conv_pads(axes, attrs)
    out = [(x_size[i] + sum(pads[i]) - steps[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in range(axes)]
    taps = []
    for tap in np.ndindex(*kernel):
        first = [t * d for t, d in zip(tap, steps, strict=True)]
        met = tuple(slice(f, f + s * (n - 1) + 1, s) for f, s, n in zip(first, strides, out, strict=True))
        taps.append((tap, (..., *met)))
    return out, taps


def grouped(x: Array, groups: int, axis: int) -> Array:
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


def convolve(x: Array, weight: Array, bias: Array | None = None, **attrs: Any) -> Array:
    """Convolve images of any number of axes, one tap of the kernel at a time."""
    axes, groups = x.ndim - 2, attrs.get("groups", 1)
    out, taps = conv_taps(x.shape[2:], weight.shape[2:], attrs)
    xp = grouped(np.pad(x, [(0, 0), (0, 0), *conv_pads(axes, attrs)]), groups, 1)
    w = grouped(weight, groups, 0)
    y = np.zeros((x.shape[0], groups, w.shape[1], *out))
    for tap, met in taps:
        y += np.einsum("ngc...,goc->ngo...", xp[met], w[(..., *tap)])
    y = y.reshape(x.shape[0], weight.shape[0], *out)
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


def convolve_transposed(x: Array, weight: Array, bias: Array | None = None, **attrs: Any) -> Array:
    """Spread each element over its window, one tap of the kernel at a time."""
    axes, groups = x.ndim - 2, attrs.get("groups", 1)
    strides, steps = (each_axis(attrs.get(name), axes, 1) for name in ("stride", "dilation"))
    pads, further = conv_pads(axes, attrs), each_axis(attrs.get("output_padding"), axes, 0)
    full = [(x.shape[i + 2] - 1) * strides[i] + steps[i] * (weight.shape[i + 2] - 1) + 1 for i in range(axes)]
    xg, w = grouped(x, groups, 1), grouped(weight, groups, 0)
    y = np.zeros((x.shape[0], groups, w.shape[2], *[n + f for n, f in zip(full, further, strict=True)]))
    for tap in np.ndindex(*weight.shape[2:]):
        first = [t * d for t, d in zip(tap, steps, strict=True)]
        met = tuple(slice(f, f + s * (n - 1) + 1, s) for f, s, n in zip(first, strides, x.shape[2:], strict=True))
        y[(..., *met)] += np.einsum("ngo...,goc->ngc...", xg, w[(..., *tap)])
    kept = tuple(slice(b, n + f - a) for n, f, (b, a) in zip(full, further, pads, strict=True))
    y = y.reshape(x.shape[0], groups * w.shape[2], *y.shape[3:])[(..., *kept)]
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


def conv_grad_weight(x: Array, g: Array, kernel_size: Sequence[int], **attrs: Any) -> Array:
    axes, groups = x.ndim - 2, attrs.get("groups", 1)
    _, taps = conv_taps(x.shape[2:], kernel_size, attrs)
    xp = grouped(np.pad(x, [(0, 0), (0, 0), *conv_pads(axes, attrs)]), groups, 1)
    windows_of_one = math.prod(g.shape[2:])
    gg_ = grouped(g, groups, 1).reshape(g.shape[0], groups, g.shape[1] // groups, windows_of_one)
    w = np.zeros((groups, gg_.shape[2], xp.shape[2], *kernel_size))
    for tap, met in taps:
        part = xp[met]
        w[(..., *tap)] = np.einsum("ngop,ngcp->goc", gg_, part.reshape(*part.shape[:3], windows_of_one))
    return w.reshape(-1, *w.shape[2:])


# Sizes of an image and of a kernel by number of axes, the hard attributes, and how many windows those leave.
CONV_SIZES: dict[int, Any] = {
    1: ((7,), (3,), {"stride": (2,), "padding": (2,), "dilation": (2,), "groups": 2}),
    2: ((6, 5), (3, 3), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}),
    3: ((4, 5, 3), (2, 3, 2), {"stride": (1, 2, 1), "padding": (1, 1, 0, 0, 2, 1), "dilation": (2, 1, 1), "groups": 2}),
}
NO_IMAGE_RANK0 = "an image has three axes or more"
NO_PADDED_SPECIALS = "padding may be multiplied or left out, which zero times infinity tells apart"


def add_convolutions(axes: int) -> None:
    size, kernel, hard = CONV_SIZES[axes]
    plain_out, hard_out = conv_taps(size, kernel, {})[0], conv_taps(size, kernel, hard)[0]
    big = {1: (4000,), 2: (24, 24), 3: (8, 8, 9)}[axes]
    same = {"padding": [k // 2 for k in kernel] + [k - 1 - k // 2 for k in kernel]}
    facts: dict[str, Any] = {"no_rank0": NO_IMAGE_RANK0, "no_specials": NO_PADDED_SPECIALS}
    add(
        f"conv{axes}d",
        lambda make: [
            call(make(2, 3, *size), make(4, 3, *kernel), make(4)),
            call(make(2, 4, *size), make(6, 2, *kernel), **hard),
            call(make(0, 3, *size), make(4, 3, *kernel)),
        ],
        convolve,
        large=lambda make: call(make(4, 8, *big), make(16, 8, *kernel), make(16), **same),
        **facts,
    )
    add(
        f"conv_transpose{axes}d",
        lambda make: [
            call(make(2, 4, *plain_out), make(4, 3, *kernel), make(3)),
            call(make(2, 6, *hard_out), make(6, 2, *kernel), **hard, output_padding=[d - 1 for d in hard["dilation"]]),
            call(make(2, 16, *plain_out), make(16, 8, *kernel), make(8), **same),
            call(make(0, 4, *plain_out), make(4, 3, *kernel)),
        ],
        convolve_transposed,
        large=lambda make: call(make(4, 16, *big), make(16, 8, *kernel), **same),
        **facts,
    )
    add(
        f"conv{axes}d_grad_weight",
        lambda make: [
            call(make(2, 3, *size), make(2, 4, *plain_out), kernel_size=kernel),
            call(make(2, 4, *size), make(2, 6, *hard_out), kernel_size=kernel, **hard),
            call(make(0, 3, *size), make(0, 4, *plain_out), kernel_size=kernel),
        ],
        conv_grad_weight,
        large=lambda make: call(make(4, 8, *big), make(4, 16, *big), kernel_size=kernel, **same),
        **facts,
    )


for conv_axes in CONV_SIZES:
    add_convolutions(conv_axes)

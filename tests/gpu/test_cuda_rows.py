"""Kernels that depend on length and layout: norms of rows with gradients, sums, cross-entropy of few cases and of many.

Expected values are NumPy's in float64. Read first: test_cuda_kernels.py, whose tolerances these are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import round_to_bfloat16

import gorgo as gg
from gorgo.nn import functional as F

Array = Any
DEVICE = "cuda:0"


def draw(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    """Return numbers that the dtype can hold, as float64."""
    x = rng.uniform(-1.0, 1.0, shape)
    return (round_to_bfloat16(x) if dtype == "bfloat16" else x.astype(dtype)).astype(np.float64)


def put(x: Array, dtype: str) -> gg.Tensor:
    return gg.asarray(np.ascontiguousarray(x, np.float32)).to(DEVICE).astype(dtype)


def take(t: gg.Tensor) -> Array:
    return t.detach().astype("float64").cpu().numpy()


def near(got: gg.Tensor, expected: Array, dtype: str, what: str) -> None:
    tolerance = {"float32": 1e-5, "float16": 2.0**-9, "bfloat16": 2.0**-6}[dtype]
    top = float(np.abs(expected).max()) + 1e-30
    np.testing.assert_allclose(take(got), expected, rtol=0, atol=tolerance * top, err_msg=what)


def norm_gradients(x: Array, g: Array, w: Array, b: Array | None, eps: float) -> tuple[Array, ...]:
    """Return the result and the gradients of x, weight and bias; no bias, no mean."""
    mean = x.mean(1, keepdims=True) if b is not None else 0.0
    rstd = 1.0 / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + eps)
    hat = (x - mean) * rstd
    gw = g * w
    dx = gw - hat * (gw * hat).mean(1, keepdims=True)
    if b is not None:
        dx = dx - gw.mean(1, keepdims=True)
    return hat * w + (b if b is not None else 0.0), dx * rstd, (g * hat).sum(0), g.sum(0)


# Rows of whole packs that fit one warp, several packs of a thread, a block, and none; single rows; odd lengths.
ROWS = [
    (3, 8),
    (201, 16),
    (65, 48),
    (70, 256),
    (9, 512),
    (300, 768),
    (33, 1000),
    (1, 1024),
    (130, 2056),
    (70, 4096),
    (20, 5120),
    (9, 8192),
    (5, 12_288),
    (3, 20_000),
    (12, 333),
]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", ROWS, ids=str)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms_and_their_gradients(name: str, shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    x, g = 2 * draw(rng, dtype, *shape) + 0.5, draw(rng, dtype, *shape)
    x = take(put(x, dtype))
    w, b = 1 + draw(rng, dtype, shape[1]), draw(rng, dtype, shape[1])
    w = take(put(w, dtype))
    biased = name == "layer_norm"
    y, *gradients = norm_gradients(x, g, w, b if biased else None, 1e-5)
    points = [put(v, dtype).requires_grad_() for v in ((x, w, b) if biased else (x, w))]
    got = getattr(gg, name)(*points)
    near(got, y, dtype, "y")
    found = gg.grad([got], points, [put(g, dtype)])
    for mine, expected, what in zip(found, gradients, ("x", "weight", "bias"), strict=False):
        near(mine, expected, dtype, what)
    again = gg.grad([getattr(gg, name)(*points)], points, [put(g, dtype)])
    for mine, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(take(mine), take(other))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_norm_sees_layouts(dtype: str, rng: np.random.Generator) -> None:
    wide = draw(rng, dtype, 40, 2, 520)
    t = put(wide, dtype)
    views = {
        "every other row": (t[:, 1], wide[:, 1]),
        "three axes": (t[::2, :, 8:264], wide[::2, :, 8:264]),
        "between packs": (t[:, 0, 3:259], wide[:, 0, 3:259]),
        "one row again and again": (gg.broadcast_to(t[0, 0], (5, 520)), np.broadcast_to(wide[0, 0], (5, 520))),
        "columns": (t[:, 0].T, wide[:, 0].T),
    }
    for what, (view, x) in views.items():
        n = x.shape[-1]
        mean = x.mean(-1, keepdims=True)
        expected = (x - mean) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        near(gg.layer_norm(view), expected, dtype, what)
        g = draw(rng, dtype, *x.shape)
        w = 1 + draw(rng, dtype, 2 * n)
        w = take(put(w, dtype))
        for weight, factors in ((put(w, dtype)[:n], w[:n]), (put(w, dtype)[::2], w[::2])):
            point, scale = view.detach().requires_grad_(), weight.detach().requires_grad_()
            found = gg.grad([gg.layer_norm(point, scale)], [point, scale], [put(g, dtype)])
            _, dx, dw, _ = norm_gradients(x.reshape(-1, n), g.reshape(-1, n), factors, np.zeros(n), 1e-5)
            near(found[0], dx.reshape(x.shape), dtype, what)
            near(found[1], dw, dtype, what)


def test_a_large_mean_costs_a_row_norm_no_digits(rng: np.random.Generator) -> None:
    for n in (256, 768, 4096):
        x = (1000 + rng.uniform(-1, 1, (30, n))).astype(np.float32).astype(np.float64)
        mean = x.mean(1, keepdims=True)
        expected = (x - mean) / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(take(gg.layer_norm(put(x, "float32"))), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "shape",
    [(64, 10), (64, 128), (8, 256), (9, 12), (255, 64), (256, 8), (257, 8), (4096, 264), (5000, 36), (40_000, 16)],
    ids=str,
)
def test_sums_of_columns_and_rows(shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    x = draw(rng, dtype, *shape)
    t = put(x, dtype)
    for axis in (0, 1, None):
        expected = x.sum(axis)
        rounding = 2.0**-8 * np.abs(expected) if dtype == "bfloat16" else 0.0
        allowed = 1e-7 * np.abs(x).sum(axis) + 1e-6 + rounding
        assert (np.abs(take(t.sum(axis=axis)) - expected) <= allowed).all(), axis
        deviation = take(t.std(axis=axis))
        np.testing.assert_allclose(deviation, x.std(axis), rtol=1e-2 if dtype == "bfloat16" else 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cases", [1, 64, 256, 257, 1024, 1025, 5000])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_of_few_and_of_many(cases: int, reduction: str, dtype: str, rng: np.random.Generator) -> None:
    classes = 10
    x, targets = 3 * draw(rng, dtype, cases, classes), rng.integers(0, classes, cases)
    x = take(put(x, dtype))
    targets[::5] = -100
    if cases == 1:
        targets[:] = 3
    kept = targets >= 0
    shifted = np.exp(x - x.max(1, keepdims=True))
    p = shifted / shifted.sum(1, keepdims=True)
    each = -np.log(p[np.arange(cases), np.where(kept, targets, 0)]) * kept
    by = kept.sum() if reduction == "mean" else 1
    slope = (p - np.eye(classes)[np.where(kept, targets, 0)]) * kept[:, None] / by
    point = put(x, dtype).requires_grad_()
    loss = F.cross_entropy(point, gg.asarray(targets).to(DEVICE), reduction=reduction)
    np.testing.assert_allclose(take(loss), each.sum() / by, rtol=1e-2 if dtype == "bfloat16" else 1e-5)
    near(gg.grad([loss], [point])[0], slope, dtype, "slope")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_rows_without_elements(dtype: str) -> None:
    x = gg.zeros((3, 0), dtype=dtype, device=DEVICE)
    for reduce in (gg.var, gg.std, gg.mean):
        assert np.isnan(reduce(x, axis=1).astype("float64").cpu().numpy()).all()
    assert gg.sum(x, axis=1).astype("float64").cpu().numpy().tolist() == [0.0] * 3

"""Epilogues on a card: captured equals eager bit for bit, whichever kernel makes the sums.

Read first: tests/test_epilogues.py (what becomes part of what), csrc/kernels/cuda/epilogue.cuh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fuse_chains import DTYPES, same_bits

import gorgo as gg

DEVICE = "cuda:0"
F = gg.nn.functional


def noise(dtype: str, *shape: int, seed: int = 0) -> gg.Tensor:
    values = np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)
    return gg.asarray(values).to(DEVICE).astype(getattr(gg, dtype))


def check(f: Callable[..., Any], *args: gg.Tensor, expect: set[str]) -> None:
    """Compare captured calls, the last ones replays of a graph, with eager ones; ops in `expect` must result."""
    compiled = gg.compile(f)
    for k in range(5):
        operands = [a.detach() if k < 4 else a.detach().copy() for a in args]  # in the end at other addresses
        for got, want in zip(compiled(*operands), f(*[a.detach() for a in args]), strict=True):
            same_bits(got, want)
    names = {node[0] for node in compiled.graphs()[0].fused().nodes}
    assert expect <= names, names


# m, n, k: small, one block, long sums, few rows, few columns, one row, large tiles, split products, odd sizes, nothing.
PRODUCTS = [
    *((64, 128, 64), (64, 10, 128), (3, 5, 7), (64, 64, 512), (33, 65, 1000), (4, 3000, 700), (1000, 3, 900)),
    *((1, 257, 333), (600, 500, 700), (1024, 1024, 1024), (1023, 771, 1029), (5, 4, 0)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", PRODUCTS, ids=str)
def test_products(size: tuple[int, int, int], dtype: str) -> None:
    m, n, k = size
    x, w, b = noise(dtype, m, k), noise(dtype, n, k, seed=1), noise(dtype, n, seed=2)
    after = noise(dtype, n, 6, seed=3)

    def f(x: gg.Tensor, w: gg.Tensor, b: gg.Tensor) -> list[gg.Tensor]:
        x.requires_grad_()
        y = gg.relu(gg.linear(x, w, b))
        z = gg.relu(x @ w.T)
        # The gradient arrives as a product of its own, which the gate follows.
        gradients = gg.grad(gg.square((y @ after) + (z @ after)).sum(), [x])
        return [y.detach(), z.detach(), *gradients]

    check(f, x, w, b, expect={"linear_relu", "matmul_relu", "matmul_relu_backward"})


def test_stacks() -> None:
    x, w = noise("float32", 5, 40, 30), noise("float32", 5, 30, 50, seed=1)
    check(lambda x, w: [gg.relu(x @ w)], x, w, expect={"matmul_relu"})
    check(lambda x, w: [gg.relu(x @ w[0])], x, w, expect={"matmul_relu"})
    y, narrow = noise("bfloat16", 3, 130, 64), noise("bfloat16", 64, 200, seed=1)
    check(lambda y, w: [gg.relu(y @ w)], y, narrow, expect={"matmul_relu"})


# images, weight, attributes: few channels, all sizes of tiles, strides, groups, windows of many taps, tensor cores.
CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((64, 1, 8, 8), (16, 1, 3, 3), {"padding": 1}),
    ((64, 16, 8, 8), (32, 16, 3, 3), {"padding": 1}),
    ((2, 3, 33, 17), (5, 3, 3, 3), {"stride": (2, 1)}),
    ((8, 64, 28, 28), (64, 64, 3, 3), {"padding": 1}),
    ((8, 64, 14, 14), (128, 64, 3, 3), {"padding": 1, "stride": 2}),
    ((4, 16, 20, 20), (16, 1, 3, 3), {"padding": 1, "groups": 16}),
    ((4, 12, 9, 9), (12, 3, 2, 2), {"groups": 4}),
    ((2, 8, 24, 24), (8, 4, 9, 9), {"padding": 4, "groups": 2}),
    ((2, 130, 12, 12), (70, 130, 1, 1), {}),
    ((3, 6, 50), (8, 6, 5), {"padding": 2}),
    ((2, 4, 6, 7, 8), (6, 4, 3, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions(case: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], dtype: str) -> None:
    image, kernel, attrs = case
    axes = len(image) - 2
    conv, back = getattr(gg, f"conv{axes}d"), getattr(gg, f"conv_transpose{axes}d")
    x, w, b = noise(dtype, *image), noise(dtype, *kernel, seed=1), noise(dtype, kernel[0], seed=2)
    point = noise(dtype, image[1], image[1] // attrs.get("groups", 1), *[1] * axes, seed=3)
    spread = noise(dtype, kernel[0], 4, *kernel[2:], seed=4)

    def f(x: gg.Tensor, w: gg.Tensor, b: gg.Tensor) -> list[gg.Tensor]:
        x.requires_grad_()
        first = gg.relu(conv(x, point, groups=attrs.get("groups", 1)))
        y = gg.relu(conv(first, w, b, **attrs))
        z = gg.relu(back(y, spread))
        return [y.detach(), z.detach(), *gg.grad(gg.square(z.sum(axis=1)).sum(), [x])]

    gates = {f"conv_transpose{axes}d_relu_backward", f"conv{axes}d_relu_backward"}
    check(f, x, w, b, expect={f"conv{axes}d_relu", f"conv_transpose{axes}d_relu", *gates})


POOLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3},
    {"kernel_size": 2, "padding": 1},
    {"kernel_size": (2, 1), "stride": 3},
    {"kernel_size": 5, "stride": 7, "padding": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "dilation": 2, "stride": 3},
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("image", [(3, 4, 20, 21), (64, 32, 8, 8), (40, 48, 56, 56)], ids=str)
def test_pools(image: tuple[int, ...], pool: dict[str, Any], dtype: str) -> None:
    x = noise(dtype, *image)

    def f(x: gg.Tensor) -> list[gg.Tensor]:
        x.requires_grad_()
        y = F.max_pool2d(gg.relu(x), **pool)
        return [y.detach(), *gg.grad(gg.square(y).sum(), [x])]

    check(f, x, expect={"max_pool_grad_relu_backward"})
    # Against the CPU, whose kernels go another way.
    if dtype in ("float32", "float64"):
        for got, want in zip(f(x.copy()), f(x.detach().cpu()), strict=True):
            np.testing.assert_allclose(np.asarray(got.cpu()), np.asarray(want), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype: str) -> None:
    edges = np.array([[np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 6e4, -3.0]])
    x = gg.asarray(edges.T).to(DEVICE).astype(getattr(gg, dtype))
    one = gg.ones((1, 1), dtype=getattr(gg, dtype), device=DEVICE)
    check(lambda x: [gg.relu(gg.linear(x, one))], x, expect={"linear_relu"})
    check(lambda x: [gg.relu(x @ one.T)], x, expect={"matmul_relu"})


def test_saved_values_in_any_layout() -> None:
    registry = gg._core._registry
    x, w = noise("float32", 30, 20), noise("float32", 20, 40, seed=1)
    for saved in (
        noise("float32", 40, 30).T,
        gg.broadcast_to(noise("float32", 40), (30, 40)),
        noise("float32", 60, 80)[::2, ::-2],
        noise("float32", 1203)[3:].reshape((30, 40)),
        noise("float32", 5, 6, 40),
    ):
        got = registry["matmul_relu_backward"](x, w, saved)
        same_bits(got, registry["relu_backward"](x @ w, saved.copy().reshape((30, 40))))


def test_modes_of_float32_products() -> None:
    x, w = noise("float32", 512, 512), noise("float32", 512, 512, seed=1)
    before = gg.get_float32_matmul_precision()
    try:
        for mode in ("highest", "high", "medium"):
            gg.set_float32_matmul_precision(mode)
            check(lambda x, w: [gg.relu(x @ w)], x, w, expect={"matmul_relu"})
    finally:
        gg.set_float32_matmul_precision(before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_equals_eager(dtype: str) -> None:
    nn = gg.nn

    def run(captured: bool) -> list[gg.Tensor]:
        gg.random.seed(3)
        net = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
        )
        net.to(dtype=getattr(gg, dtype)).to(DEVICE)
        optimizer = gg.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)

        def step(x: gg.Tensor, labels: gg.Tensor) -> gg.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        call = gg.compile(step) if captured else step
        draws = np.random.default_rng(0)
        losses = []
        for _ in range(12):
            x = gg.asarray(draws.normal(size=(64, 1, 8, 8)).astype(np.float32)).to(DEVICE)
            labels = gg.asarray(draws.integers(0, 10, 64)).to(DEVICE)
            losses.append(call(x.astype(getattr(gg, dtype)), labels).detach().cpu())
        return losses + [p.detach().cpu() for p in net.parameters()]

    for got, want in zip(run(True), run(False), strict=True):
        same_bits(got, want)

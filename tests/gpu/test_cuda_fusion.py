"""Fused chains on a card: equal to the eager kernels bit for bit, over layouts, dtypes and sizes.

Read first: tests/test_fusion.py (what is fused), csrc/ops/elementwise/fused_interpreter.cuh.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from fuse_chains import DTYPES, Chain, same_bits

import gorgo as gg

DEVICE = "cuda:0"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(20))
def test_random_chains(dtype: str, seed: int) -> None:
    rng = random.Random(seed * 11 + DTYPES.index(dtype))
    chain = Chain(rng, dtype, rng.choice([(37, 29), (64, 64), (5, 1), (1, 7), (129, 257)]))
    args = chain.operands(DEVICE)
    expected = chain(*args)
    compiled = gg.compile(chain)
    for _ in range(3):
        for got, want in zip(compiled(*args), expected, strict=True):
            same_bits(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 3, 16, 127, 1000, 4096, 100_003, 1 << 20])
def test_sizes_and_alignment(dtype: str, size: int) -> None:
    values = np.random.default_rng(size).normal(size=(2, size + 3))
    a, b = (gg.asarray(v).astype(getattr(gg, dtype)).to(DEVICE) for v in values)

    def f(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        return gg.sqrt(x * x + y * y) * 0.5 + x

    compiled = gg.compile(f)
    for start in (0, 1, 3):
        x, y = a[start : start + size], b[3 - start : 3 - start + size]
        for _ in range(2):
            same_bits(compiled(x, y), f(x, y))


def broadcast_of(y: gg.Tensor) -> gg.Tensor:
    """Return y's values in memory of their own, with its axes the other way round in memory."""
    axes = tuple(range(y.ndim))[::-1]
    return y.permute_dims(axes).copy().permute_dims(axes)


def test_strides() -> None:
    noise = gg.asarray(np.random.default_rng(1).normal(size=(24, 40, 6)).astype(np.float32)).to(DEVICE)

    def f(x: gg.Tensor, y: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        z = gg.gelu(x) * y + 1
        return z, z > 0.5

    for x, y in (
        (noise, noise[:, :1]),
        (noise.permute_dims((2, 0, 1)), noise[0].T[:, None]),
        (noise[::2, ::-1], noise[1::2, :, 3:4]),
        (noise[:, :, 0], noise[0, 0, 0]),
        (noise[:, 1:, 2:], noise[3, 4, 2:]),
    ):
        compiled = gg.compile(f)
        y = broadcast_of(y)
        for _ in range(3):
            for got, want in zip(compiled(x, y), f(x, y), strict=True):
                same_bits(got, want)


def test_writes_in_place() -> None:
    def f(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        before = x * 3 + 1
        x *= y
        x += 1
        return before + x

    compiled = gg.compile(f)
    a, y = gg.ones((33, 65), device=DEVICE), gg.full((33, 65), 1.5, device=DEVICE)
    b = a.copy()
    for _ in range(4):
        same_bits(compiled(a, y), f(b, y))
        same_bits(a, b)


def test_training_equals_eager() -> None:
    def make() -> tuple[gg.nn.Module, gg.optim.AdamW]:
        gg.random.seed(3)
        net = gg.nn.Sequential(
            gg.nn.Linear(20, 64), gg.nn.GELU(), gg.nn.Linear(64, 64), gg.nn.Tanh(), gg.nn.Linear(64, 5)
        ).to(DEVICE)
        return net, gg.optim.AdamW(net.parameters(), lr=1e-2)

    def run(captured: bool) -> list[gg.Tensor]:
        net, optimizer = make()

        def step(x: gg.Tensor, t: gg.Tensor) -> gg.Tensor:
            optimizer.zero_grad()
            loss = gg.nn.functional.cross_entropy(gg.nn.functional.silu(net(x)) * 2.0 + 1.0, t)
            loss.backward()
            optimizer.step()
            return loss

        call = gg.compile(step) if captured else step
        noise = np.random.default_rng(0)
        losses = []
        for _ in range(8):
            x = gg.asarray(noise.normal(size=(32, 20)).astype(np.float32)).to(DEVICE)
            losses.append(call(x, gg.asarray(noise.integers(0, 5, 32)).to(DEVICE)).detach().cpu())
        return losses + [p.detach().cpu() for p in net.parameters()]

    for got, want in zip(run(True), run(False), strict=True):
        same_bits(got, want)

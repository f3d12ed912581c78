"""Fused chains on a card: equal to the eager kernels bit for bit, over layouts, dtypes and sizes.

Read first: tests/test_fusion.py (what is fused), csrc/ops/elementwise/fused_compiled.cu, fused_interpreter.cuh.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fuse_chains import BINARY, COMPARE, DTYPES, UNARY, Chain, same_bits

import gorgo as gg

DEVICE = "cuda:0"


@pytest.fixture(autouse=True, params=["compiled", "interpreted"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run each test with kernels of the chains' own, and with the interpreter."""
    monkeypatch.setenv("GORGO_FUSE", "always")
    monkeypatch.setenv("GORGO_FUSE_COMPILE", "1" if request.param == "compiled" else "0")
    before = gg.cuda.compiled_chains()
    yield str(request.param)
    after = gg.cuda.compiled_chains()
    assert after["refused"] == before["refused"]
    if request.param == "interpreted":
        assert after["kernels"] == before["kernels"]


def operands(rng: np.random.Generator, dtype: str, *shapes: tuple[int, ...]) -> list[gg.Tensor]:
    """Draw values of all sizes and signs, special ones among them, on the card."""
    made = []
    for shape in shapes:
        v = rng.normal(size=shape) * rng.choice([1e-3, 1.0, 30.0], size=shape)
        special = rng.choice([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, 1e-30, 88.7], size=shape)
        v = np.where(rng.random(size=shape) < 0.2, special, v)
        made.append(gg.asarray(v).astype(getattr(gg, dtype)).to(DEVICE))
    return made


def equal_to_eager(f: Callable[..., Any], *args: gg.Tensor, runs: int = 3) -> None:
    """Fail unless a function comes to the same bits captured, on each of a few runs.

    NaN may be any: a card's negation may leave its sign or not, and of two in a float64 sum either may win, as the
    assembler of the kernel sees fit.
    """
    compiled = gg.compile(f)
    expected = f(*args)
    for _ in range(runs):
        got = compiled(*args)
        for one, other in zip(*((x if isinstance(x, tuple) else (x,)) for x in (got, expected)), strict=True):
            same_bits(one, other, any_nan=True)


# Ops and how many operands they have.
FORWARD: dict[str, tuple[int, Callable[..., gg.Tensor]]] = {
    **{name: (1, getattr(gg, name)) for name in [*UNARY, "isnan", "isinf", "isfinite"]},
    **{name: (2, getattr(gg, name)) for name in [*BINARY, *COMPARE]},
    "logical_and": (2, lambda x, y: gg.logical_and(x > 0, y > 0)),
    "logical_or": (2, lambda x, y: gg.logical_or(x > 0, y > 0)),
    "logical_xor": (2, lambda x, y: gg.logical_xor(x > 0, y > 0)),
    "logical_not": (1, lambda x: gg.logical_not(x > 0)),
    "truth": (1, lambda x: x.astype(gg.bool)),
    "move": (1, lambda x: x.astype(gg.float32 if x.dtype != gg.float32 else gg.bfloat16)),
    "where": (3, lambda x, y, z: gg.where(x > 0, y, z)),
    "clip": (1, lambda x: gg.clip(x, -0.75, 1.5)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", sorted(FORWARD))
def test_every_op(op: str, dtype: str) -> None:
    count, call = FORWARD[op]

    # An op alone is not fused: another follows it.
    def f(*args: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        v = call(*args)
        w = gg.logical_not(v) if v.dtype == gg.bool else -v
        return v, w

    equal_to_eager(f, *operands(np.random.default_rng(3), dtype, *[(1003,)] * count))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("op", UNARY)
def test_every_value_of_halves(op: str, dtype: str) -> None:
    bits = np.arange(1 << 16, dtype=np.uint32)
    if dtype == "bfloat16":
        values = gg.asarray((bits << 16).view(np.float32)).astype(gg.bfloat16)
    else:
        values = gg.asarray(bits.astype(np.uint16).view(np.float16))
    equal_to_eager(lambda x: gg.abs(getattr(gg, op)(x)), values.to(DEVICE), runs=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [*UNARY, *BINARY])
def test_every_gradient(op: str, dtype: str) -> None:
    def f(x: gg.Tensor, y: gg.Tensor) -> tuple[gg.Tensor, ...]:
        a, b = x.detach().requires_grad_(), y.detach().requires_grad_()
        out = getattr(gg, op)(*((a, b) if op in BINARY else (a,)))
        return gg.grad(out * 1.5, [a, b] if op in BINARY else [a], y * 0.5)

    try:
        f(*operands(np.random.default_rng(4), dtype, (5,), (5,)))
    except (RuntimeError, ValueError, TypeError) as error:
        pytest.skip(f"no gradient: {error}")
    equal_to_eager(f, *operands(np.random.default_rng(4), dtype, (70, 43), (70, 43)))


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_broadcasts(dtype: str) -> None:
    """Rows, columns and single elements, beside rows that are and are not made of whole vectors."""

    def f(x: gg.Tensor, y: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        z = gg.tanh(x * y + x)
        return z, gg.where(z > y, x, z) - 0.25

    rng = np.random.default_rng(6)
    for shape in ((64, 256), (33, 129), (3, 5, 7, 16), (2, 3, 4, 5, 6)):
        last, outer = shape[-1:], shape[:-1]
        for other in (shape, last, (1,), (*outer, 1), (shape[0],) + (1,) * (len(shape) - 1), (1, *shape[1:])):
            equal_to_eager(f, *operands(rng, dtype, shape, other), runs=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_values_at_once(dtype: str) -> None:
    """Eight operands, four results, bool among both."""

    def f(*v: gg.Tensor) -> tuple[gg.Tensor, ...]:
        m = v[0] > v[1]
        a = gg.where(m, v[2] * v[3], v[4] / v[5])
        b = gg.logical_xor(m, v[7])
        return a, b, gg.sigmoid(a) + v[6], gg.where(b, v[6], v[0])

    rng = np.random.default_rng(7)
    for shape in ((4096,), (1001,), (17, 24)):
        *floats, last = operands(rng, dtype, *[shape] * 8)
        equal_to_eager(f, *floats, last > 0)


def test_numbers_that_change() -> None:
    """Recordings that differ in their numbers alone share a kernel, which reads them at each launch."""

    def run(captured: bool) -> gg.Tensor:
        gg.random.seed(5)
        w = gg.random.normal(shape=(77, 13)).to(DEVICE)

        def step(x: gg.Tensor, rate: float) -> gg.Tensor:
            return gg.tanh(w * x) * rate + x

        call = gg.compile(step) if captured else step
        x = w * 0.5
        for k in range(6):
            x = call(x, 0.1 * (k + 1)).detach()
        return x

    same_bits(run(True), run(False))


def test_a_chain_is_compiled_once(route: str) -> None:
    """Sizes, addresses and numbers are parameters; another dtype or layout is another kernel."""

    def kernels_for(*shapes: tuple[int, ...], dtype: str = "float32", number: float = 0.5) -> int:
        before = gg.cuda.compiled_chains()["kernels"]
        equal_to_eager(lambda x, y: gg.abs(gg.floor(x * 3.0) - y) * number, *operands(rng, dtype, *shapes), runs=2)
        return int(gg.cuda.compiled_chains()["kernels"]) - before

    rng = np.random.default_rng(9)
    new = 1 if route == "compiled" else 0
    assert kernels_for((4096,), (4096,)) == new
    assert kernels_for((64, 128), (64, 128)) == 0
    assert kernels_for((8192,), (8192,), number=0.75) == 0
    assert kernels_for((8192,), (8192,), dtype="bfloat16") == new
    assert kernels_for((64, 128), (128,)) == new
    assert kernels_for((32, 256), (256,)) == 0


def test_new_addresses_at_each_replay() -> None:
    """Graphs are updated when operands lie elsewhere, where another kernel may be needed for their alignment."""

    def f(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        return gg.sqrt(x * x + y * y) * 0.5 + x

    compiled = gg.compile(f)
    left, right = operands(np.random.default_rng(8), "float32", (64, 1024), (64, 1024))
    kept = []
    for k in range(24):
        start = k if k % 3 == 0 else 4 * k
        x, y = left[k, start : start + 512], right[k, 4 * k : 4 * k + 512]
        kept.append(x.copy() if k % 2 == 0 else x)
        same_bits(compiled(kept[-1], y), f(kept[-1], y), any_nan=True)


def test_threads_compile_and_launch_at_once() -> None:
    """Many threads meet the same new chains."""

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for k in range(6):

            def f(x: gg.Tensor, y: gg.Tensor, k: int = k) -> gg.Tensor:
                z = x * y
                for _ in range(k + 1):
                    z = gg.abs(z) + y
                return z

            equal_to_eager(f, *operands(rng, "float32", (501,), (501,)), runs=2)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, seed) for seed in range(8)]:
            done.result()


def test_more_elements_than_31_bits_count() -> None:
    count = (1 << 31) + 5
    if gg.memory.debug_mode(device=DEVICE) or gg.cuda.properties(DEVICE)["free_bytes"] < 4 * 2 * count:
        pytest.skip("not enough memory")
    x = gg.ones((count,), dtype=gg.bfloat16, device=DEVICE)
    x[-7:] = 3.0
    compiled = gg.compile(lambda x: x * 2.0 + 1.0)
    for _ in range(2):
        y = compiled(x)
        assert y[:3].tolist() == [3.0] * 3
        assert y[-8:].tolist() == [3.0, *[7.0] * 7]
        assert bool((y[: 1 << 30] == 3.0).all())
        assert bool((y[1 << 30 : -7] == 3.0).all())


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

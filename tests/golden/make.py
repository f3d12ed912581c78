"""Checksums of results, one file for each instruction set: what a build must give on every machine that has it.

    PYTHONPATH=build/default/python python tests/golden/make.py          # every set that is built and this machine has
    PYTHONPATH=build/default/python python tests/golden/make.py avx2     # this one

A file is made anew when a change of bits is meant, and the change log then says so. Results do not depend on the
machine's C library, so ops that call it are left out: see NOT_HERE. Operands are exact functions of the case's name
(PCG64's bits, scaled).
Read next: tests/test_golden.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gorgo as gg

HERE = Path(__file__).parent
SETS = ["base", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"]
HOW = "PYTHONPATH=<build>/python python tests/golden/make.py"

# What calls the machine's C library, whose last bit is its own affair; see csrc/kernels/math.h.
NOT_HERE = {
    "at all": ["erfinv", "digamma", "polygamma"],
    "beyond 2**20": ["sin", "cos", "tan"],
}

DTYPES = {"f2": "float16", "b2": "bfloat16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128"}
SHORT = ["f2", "b2", "f4", "f8"]
COMPLEX = ["c8", "c16"]


class Draw:
    """Draws operands: multiples of 2**-20 in [-1, 1), both parts of complex ones, rounded to the dtype."""

    def __init__(self, name: str, dtype: str) -> None:
        self.rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
        self.dtype = dtype

    def __call__(self, *shape: int) -> gg.Tensor:
        x = self.rng.integers(-(2**20), 2**20, shape) * 2.0**-20
        if self.dtype.startswith("complex"):
            x = x + 1j * (self.rng.integers(-(2**20), 2**20, shape) * 2.0**-20)
        return gg.asarray(x).astype(self.dtype)

    def places(self, count: int, *shape: int) -> gg.Tensor:
        """Draw whole numbers below `count`."""
        return gg.asarray(self.rng.integers(0, count, shape))

    def positive(self, *shape: int) -> gg.Tensor:
        return gg.abs(self(*shape)) + 0.125


Case = Callable[[Draw], Any]


def unary(name: str, *, positive: bool = False) -> Case:
    op = getattr(gg, name)
    return lambda d: op(4.0 * (d.positive(7, 61) if positive else d(7, 61)))


def reduction(name: str) -> Case:
    op = getattr(gg, name)
    return lambda d: [op(d(5, 37, 19), axis=1), op(d(3, 4001), axis=-1), op(d(401, 5), axis=0)]


def gradient(f: Callable[..., gg.Tensor], *shapes: tuple[int, ...]) -> Case:
    """Return the gradients of a function's absolute squares, summed."""

    def case(d: Draw) -> list[gg.Tensor]:
        xs = [d(*shape).requires_grad_() for shape in shapes]
        y = f(*xs)
        return list(gg.grad(gg.sum(gg.real(y * gg.conj(y)) if y.dtype.is_complex else gg.square(y)), xs))

    return case


def trained(d: Draw) -> list[gg.Tensor]:
    """Return the weights of a small network after three steps of Adam."""
    net = gg.nn.Sequential(gg.nn.Linear(13, 17), gg.nn.ReLU(), gg.nn.Linear(17, 5))
    with gg.no_grad():
        for p in net.parameters():
            p.copy_(d(*p.shape) * 0.25)
    optimizer = gg.optim.Adam(net.parameters(), lr=0.01)
    x, target = d(32, 13), gg.asarray(d.rng.integers(0, 5, 32))
    for _ in range(3):
        optimizer.zero_grad()
        gg.nn.functional.cross_entropy(net(x), target).backward()
        optimizer.step()
    return list(net.parameters())


def drawn(f: Callable[[gg.Tensor], gg.Tensor]) -> Case:
    return lambda d: f(gg.asarray(np.array([2**60 + 7, d.rng.integers(0, 2**40)], np.uint64)))


Cases = Iterator[tuple[str, list[str], Case]]


def cases() -> Cases:
    """Yield a name, the short names of dtypes, and what is called for each."""
    yield from ops()
    yield from complex_numbers()
    yield from layers()
    yield from losses()
    yield from draws()


def complex_numbers() -> Cases:
    """Yield products above all: how a compiler rounds them must not show."""
    for name in ("add", "multiply", "divide"):
        op = getattr(gg, name)
        yield f"complex {name}", COMPLEX, lambda d, op=op: [op(d(9, 31), d(31)), op(d(70), 0.7 - 0.3j)]
        yield f"complex {name} backward", COMPLEX, gradient(op, (9, 31), (31,))
    yield "complex square", COMPLEX, lambda d: [gg.square(d(301)), gg.reciprocal(d(301)), gg.pow(d(301), 3.0)]
    yield "complex sum", COMPLEX, lambda d: [f(d(5, 37, 19), axis=1) for f in (gg.sum, gg.mean, gg.prod)]
    yield "complex matmul", COMPLEX, lambda d: [d(m, k) @ d(k, n) for m, k, n in ((1, 33, 17), (30, 57, 31))]
    yield (
        "complex scans",
        COMPLEX,
        lambda d: [gg.cumulative_sum(d(5, 131), axis=1), gg.cumulative_prod(d(131, 5), axis=0)],
    )


def layers() -> Cases:
    """Yield what networks are built of, beside the products and norms of ops()."""
    nn = gg.nn.functional
    f4, reals = ["f4"], SHORT
    yield (
        "attention",
        reals,
        lambda d: [
            nn.scaled_dot_product_attention(d(2, 3, 33, 16), d(2, 3, 70, 16), d(2, 3, 70, 24)),
            nn.scaled_dot_product_attention(d(2, 40, 8), d(2, 40, 8), d(2, 40, 8), is_causal=True),
            nn.scaled_dot_product_attention(d(5, 8), d(7, 8), d(7, 8), attn_mask=d(5, 7)),
        ],
    )
    yield (
        "attention backward",
        f4,
        gradient(lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, is_causal=True), *[(2, 3, 33, 16)] * 3),
    )
    yield (
        "conv1d",
        reals,
        lambda d: [
            gg.conv1d(d(2, 6, 61), d(5, 6, 3), d(5), padding=1),
            gg.conv1d(d(2, 6, 61), d(6, 2, 5), stride=2, dilation=2, groups=3),
        ],
    )
    yield "conv3d", reals, lambda d: gg.conv3d(d(2, 3, 5, 7, 6), d(4, 3, 3, 2, 3), d(4), padding=1)
    yield (
        "transposed convolutions",
        reals,
        lambda d: [
            gg.conv_transpose1d(d(2, 6, 31), d(6, 4, 3), d(4), stride=2),
            gg.conv_transpose2d(d(2, 6, 7, 5), d(6, 2, 3, 3), stride=2, padding=1, groups=2),
            gg.conv_transpose3d(d(1, 3, 4, 3, 5), d(3, 2, 2, 3, 2)),
        ],
    )
    yield "conv1d backward", f4, gradient(lambda x, w: gg.conv1d(x, w, stride=2), (2, 6, 61), (5, 6, 3))
    yield "conv3d backward", f4, gradient(gg.conv3d, (2, 3, 5, 7, 6), (4, 3, 3, 2, 3))
    yield "conv_transpose2d backward", f4, gradient(gg.conv_transpose2d, (2, 6, 7, 5), (6, 4, 3, 3))
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        yield (
            f"interpolate {mode}",
            reals,
            lambda d, mode=mode: [nn.interpolate(d(2, 3, 9, 7), size=size, mode=mode) for size in ((20, 5), (4, 14))],
        )
    yield (
        "interpolate backward",
        f4,
        gradient(lambda x: nn.interpolate(x, scale_factor=2.5, mode="bilinear"), (2, 3, 9, 7)),
    )


def losses() -> Cases:
    """Yield losses."""
    nn = gg.nn.functional
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        f = getattr(nn, name)
        yield name, SHORT, lambda d, f=f: [f(d(31, 17), d(31, 17), reduction=r) for r in ("none", "mean")]
    yield (
        "binary_cross_entropy",
        ["b2", "f4"],
        lambda d: [
            nn.binary_cross_entropy_with_logits(4.0 * d(31, 17), gg.abs(d(31, 17))),
            nn.soft_margin_loss(4.0 * d(31, 17), gg.sign(d(31, 17))),
        ],
    )
    yield "nll_loss", SHORT, lambda d: nn.nll_loss(d(31, 17), d.places(17, 31))
    yield "kl_div", ["f4", "f8"], lambda d: nn.kl_div(d(31, 17), d.positive(31, 17), reduction="sum")
    yield (
        "cross_entropy backward",
        ["f4"],
        gradient(lambda x: nn.cross_entropy(x, gg.asarray(np.arange(31) % 17), reduction="none"), (31, 17)),
    )
    yield (
        "margins",
        ["f4", "f8"],
        lambda d: [
            nn.multi_margin_loss(d(31, 17), d.places(17, 31)),
            nn.hinge_embedding_loss(d(31, 17), gg.sign(d(31, 17))),
            nn.triplet_margin_loss(d(31, 17), d(31, 17), d(31, 17)),
            nn.cosine_embedding_loss(d(31, 17), d(31, 17), gg.sign(d(31))),
        ],
    )


def draws() -> Cases:
    """Yield random numbers."""
    core = gg._core
    for short in SHORT:
        dtype = getattr(gg, DTYPES[short])
        yield f"uniform {short}", [short], drawn(lambda key, t=dtype: core.random_uniform(key, (1000,), -1.0, 2.0, t))
        yield f"normal {short}", [short], drawn(lambda key, t=dtype: core.random_normal(key, (1000,), 1.0, 2.0, t))
    for name, f in {
        "randint": lambda key: core.random_randint(key, (1000,), -5, 1000),
        "bernoulli": lambda key: core.random_bernoulli(key, (1000,), 0.3),
        "permutation": lambda key: core.random_permutation(key, 1000),
        "gamma": lambda key: core.random_gamma(key, gg.asarray([0.3, 1.0, 20.0], dtype=gg.float64), (300, 3)),
        "poisson": lambda key: core.random_poisson(key, gg.asarray([0.3, 11.0, 2000.0]), (300, 3)),
        "binomial": lambda key: core.random_binomial(key, 100, gg.asarray([0.03, 0.3, 0.9]), (300, 3)),
        "geometric": lambda key: core.random_geometric(key, 0.1, (1000,)),
        "truncated normal": lambda key: core.random_truncated_normal(key, gg.asarray([-1.0, 3.0]), 4.0, (500, 2)),
        "multinomial": lambda key: core.random_multinomial(key, gg.asarray([1.0, 2.0, 3.0]), 1000, True),
    }.items():
        yield name, ["f4"], drawn(f)
    for name in ("exponential", "laplace", "logistic", "gumbel", "rayleigh"):
        f = getattr(gg.random, name)
        yield (
            f"{name} of a generator",
            ["f4", "f8"],
            lambda d, f=f: f(scale=d.positive(31, 17), generator=gg.random.Generator(7)),
        )
    yield (
        "beta and dirichlet",
        ["f4", "f8"],
        lambda d: [
            gg.random.beta(d.positive(31, 3), d.positive(3), generator=gg.random.Generator(7)),
            gg.random.dirichlet(d.positive(31, 3), generator=gg.random.Generator(7)),
        ],
    )


def ops() -> Cases:
    """Yield elementwise ops, reductions, products, norms, sorting, indexing, and a small network's training."""
    f4, reals, wide = ["f4"], SHORT, ["b2", "f4", "f8"]
    for name in ("add", "subtract", "multiply", "divide", "maximum"):
        op = getattr(gg, name)
        yield name, reals, lambda d, op=op: [op(d(9, 31), d.positive(31)), op(d(70), 0.7)]
    for name in ("exp", "sigmoid", "silu", "gelu", "gelu_tanh", "erfc", "sinc", "square", "reciprocal"):
        yield name, reals, unary(name)
    for name in ("log", "sqrt", "rsqrt"):
        yield name, reals, unary(name, positive=True)
    yield "erf", wide, unary("erf")
    for name in (
        "tanh",
        "expm1",
        "exp2",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "softplus",
        "atan",
        "asinh",
    ):
        yield name, wide, unary(name)
    for name in ("log1p", "log2", "log10"):
        yield name, wide, unary(name, positive=True)
    for name in ("asin", "acos", "atanh"):
        op = getattr(gg, name)
        yield name, wide, lambda d, op=op: op(d(7, 61))
    yield "acosh", wide, lambda d: gg.acosh(1.0 + d.positive(7, 61))
    yield "logit", wide, lambda d: gg.logit(0.5 + 0.5 * d(7, 61))
    yield "atan2", wide, lambda d: gg.atan2(d(7, 61), d(7, 61))
    yield "pow", ["f4", "f8"], lambda d: gg.pow(d.positive(7, 31), d(31))
    for name in ("sum", "mean", "prod", "max", "var", "std", "logsumexp"):
        yield name, reals, reduction(name)
    yield "softmax", reals, lambda d: [gg.softmax(d(9, 37), axis=-1), gg.softmax(d(3, 5, 17), axis=1)]
    yield "log_softmax", reals, lambda d: gg.log_softmax(d(9, 1037), axis=-1)
    yield (
        "matmul",
        reals,
        lambda d: [d(m, k) @ d(k, n) for m, k, n in ((1, 33, 17), (5, 300, 1), (70, 257, 31), (64, 64, 64))],
    )
    yield "matmul of stacks", reals, lambda d: d(3, 5, 33) @ d(3, 33, 7)
    yield "linear", reals, lambda d: gg.linear(d(33, 129), d(65, 129), d(65))
    yield "linear backward", f4, gradient(gg.linear, (9, 33), (17, 33), (17,))
    yield (
        "conv2d",
        reals,
        lambda d: [
            gg.conv2d(d(2, 6, 9, 7), d(5, 6, 3, 3), d(5), padding=1),
            gg.conv2d(d(2, 6, 9, 7), d(6, 1, 3, 3), stride=2, groups=6),
            gg.conv2d(d(1, 33, 8, 8), d(31, 33, 1, 1)),
        ],
    )
    yield "conv2d backward", f4, gradient(lambda x, w: gg.conv2d(x, w, padding=1), (2, 6, 9, 7), (5, 6, 3, 3))
    # Of sizes that tiles take, where there are any.
    yield (
        "convolutions of many channels",
        ["b2", "f4"],
        lambda d: [
            gg.conv2d(d(2, 64, 12, 11), d(48, 64, 3, 3), d(48), padding=1),
            gg.conv2d(d(1, 32, 19, 18), d(64, 32, 5, 4), stride=2, dilation=(1, 2)),
            gg.conv2d(d(1, 80, 13, 12), d(64, 80, 1, 1)),
        ],
    )
    yield (
        "convolutions of many channels backward",
        f4,
        gradient(lambda x, w: gg.conv2d(x, w, stride=2, padding=1), (2, 64, 22, 25), (96, 64, 3, 3)),
    )
    yield "avg_pool2d", reals, lambda d: gg.avg_pool2d(d(2, 3, 9, 7), 3, stride=2, padding=1)
    yield "max_pool2d", reals, lambda d: gg.nn.functional.max_pool2d(d(2, 3, 9, 7), 3, stride=2)
    yield "layer_norm", reals, lambda d: gg.layer_norm(d(9, 1037), d(1037), d(1037))
    yield "layer_norm backward", f4, gradient(gg.layer_norm, (9, 137), (137,), (137,))
    yield "rms_norm", reals, lambda d: gg.rms_norm(d(9, 137), d(137))
    yield "group_norm", reals, lambda d: gg.group_norm(d(2, 6, 5, 7), d(6), d(6), groups=3)
    yield "batch_norm", reals, lambda d: gg.batch_norm(d(2, 6, 5, 7), d(6), d.positive(6), d(6), d(6))
    yield (
        "cross_entropy",
        f4,
        lambda d: gg.nn.functional.cross_entropy(d(31, 17), gg.asarray(d.rng.integers(0, 17, 31))),
    )
    yield "training", ["f4"], trained
    yield "sort", reals, lambda d: [gg.sort(d(5, 131), axis=-1), gg.argsort(d(131, 5), axis=0), *gg.topk(d(5, 131), 7)]
    yield "index", f4, lambda d: [gg.take(d(9, 5), gg.asarray(d.rng.integers(0, 9, 20)), axis=0), gg.tril(d(9, 7))]
    yield (
        "sort of other lengths",
        reals,
        lambda d: [
            gg.sort(d(3, 4001), axis=-1, descending=True),
            gg.argsort(gg.round(8.0 * d(3, 1001)), axis=-1),
            *gg.topk(d(131, 5), 9, axis=0, largest=False),
            gg.searchsorted(gg.sort(d(131)), d(31)),
        ],
    )
    yield (
        "cumulative_sum",
        reals,
        lambda d: [gg.cumulative_sum(d(5, 1031), axis=1), gg.cumulative_sum(d(131, 5), axis=0)],
    )
    yield "cumulative_prod", reals, lambda d: gg.cumulative_prod(1.0 + 0.125 * d(5, 131), axis=1)
    yield "cummax", reals, lambda d: [*gg.cummax(d(5, 131)), *gg.cummin(d(131, 5), axis=0)]
    yield "logcumsumexp", reals, lambda d: gg.logcumsumexp(4.0 * d(5, 131))
    yield "linear_scan", reals, lambda d: gg.linear_scan(d(5, 131), d(5, 131))
    yield (
        "scans backward",
        f4,
        gradient(lambda a, b: gg.linear_scan(a, gg.cumulative_prod(b, axis=1)), (5, 131), (5, 131)),
    )
    yield (
        "scatter_reduce",
        reals,
        lambda d: [
            gg.scatter_reduce(d(9, 7), 0, d.places(9, 31, 7), d(31, 7), reduce) for reduce in ("sum", "prod", "amax")
        ],
    )


def checksum(results: Any) -> str:
    digest = hashlib.sha256()
    for t in results if isinstance(results, list | tuple) else [results]:
        x = t.detach()
        a = np.asarray(x.astype("float32") if x.dtype == gg.bfloat16 else x)
        digest.update(f"{x.dtype}{a.shape}".encode() + np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()[:12]


def checksums() -> dict[str, str]:
    """Return one line for each case: its dtypes' checksums."""
    return {
        name: " ".join(f"{short}:{checksum(case(Draw(name + short, DTYPES[short])))}" for short in dtypes)
        for name, dtypes, case in cases()
    }


def available() -> list[str]:
    """Return the sets that are built and that this machine has."""
    config = gg._core._config()
    built = [isa for isa in SETS if isa == "base" or isa in config["isas_built"].split()]
    best = config["isa_available"]
    # AMX emulated runs wherever AVX-512 does, and gives the same bits.
    is_emulated = "amx_emulated" in config["isas_built"].split() and best.startswith("avx512")
    return (built[: built.index(best) + 1] if best in built else built) + ["amx"] * is_emulated


def run(isa: str) -> dict[str, str]:
    """Return the checksums under an instruction set, from a process of its own."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), "--print", isa],
        env={**os.environ, "GORGO_ISA": isa},
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--print"]:
        assert gg._core._config()["isa"] == arguments[1]
        print(json.dumps(checksums()))
        return
    for isa in arguments or available():
        if isa not in available():
            raise SystemExit(f"{isa} must be one of what is built and what this machine has: {' '.join(available())}")
        path = HERE / f"{isa}.json"
        path.write_text(json.dumps(run(isa), indent=0) + "\n")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])

"""What bench.cuda measures by the card's clock: bandwidth, elementwise, rows, products, convolution, attention.

Sizes are chosen so that operands do not fit in the second-level cache where bandwidth is meant, and results are looked
at in places spread over them (all of a small one). Read first: cuda.py.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import relative_error

if TYPE_CHECKING:
    from bench.cuda import Bench
    from bench.cuda_libraries import Library

Array = np.ndarray
Make = Callable[["Library"], Callable[..., Any]]
MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """One row: the same work in every column that has it."""

    table: str
    name: str
    # One set of operands as NumPy arrays; floating ones become tensors of `dtype`.
    operands: Callable[[np.random.Generator], Sequence[np.ndarray]]
    # By column: given the library, returns the function of one set of operands. Columns are library names, with a mode.
    calls: dict[str, Callable[[Library], Callable[..., Any]]]
    # Given the results as float64 arrays and the operands as the dtype holds them: the relative error.
    error: Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], float]
    tolerance: float
    dtype: str = "float32"
    moved_bytes: float = 0.0
    flop: float = 0.0
    # What of the results and of the operands is looked at; everything when there is no function.
    sample: Callable[[Sequence[Any], Sequence[Any]], tuple[Sequence[Any], Sequence[Any]]] | None = None


@functools.lru_cache(maxsize=8)
def base(shape: tuple[int, ...], seed: int) -> Array:
    """Return random numbers in [-1, 1), the same ones whenever they are asked for."""
    x = np.random.default_rng(seed).random(shape, np.float32)
    x *= 2.0
    x -= 1.0
    return x


def drawn(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], Sequence[Array]]:
    """Return what makes one set of operands of these shapes."""
    return lambda _: [base(shape, seed) for seed, shape in enumerate(shapes)]


def worst(results: Sequence[Array], expected: Sequence[Array]) -> float:
    """Return the largest relative error of several results."""
    return max(relative_error(r, np.asarray(e)) for r, e in zip(results, expected, strict=True))


def everywhere(*functions: tuple[str, Callable[[Any], Callable[..., Any]]]) -> dict[str, Make]:
    """Return columns from functions of the imported module."""
    return {name: lambda library, f=f: f(library.module) for name, f in functions}


# ---- bandwidth ----


def copies(bench: Bench) -> None:
    """Measure what the card's memory gives when it is read and written once."""
    count = (32 if bench.quick else 64) * MIB

    def copier(assign: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        def run(x: Any, y: Any) -> Any:
            assign(y, x)
            return y

        return run

    bench.measure(
        Case(
            "copy",
            f"y[...] = x, {count * 4 // MIB} MiB",
            drawn((count,), (count,)),
            everywhere(
                ("gorgo", lambda _: copier(lambda y, x: y.copy_(x))),
                ("cupy", lambda cupy: copier(cupy.copyto)),
                ("torch", lambda _: copier(lambda y, x: y.copy_(x))),
            ),
            lambda results, operands: relative_error(results[0], operands[0]),
            0.0,
            moved_bytes=8.0 * count,
            sample=lambda results, operands: ([results[0][::1009]], [operands[0][::1009]]),
        )
    )


def elementwise(bench: Bench) -> None:
    """Measure single calls, chains and reductions against the copy bandwidth."""
    rows = 2048 if bench.quick else 4096
    shape = (rows, 8192)
    count = rows * 8192
    table = "elementwise and reductions"

    def case(
        name: str, calls: dict[str, Make], expected: Callable[..., Array], reads: int, dtype: str = "float32"
    ) -> None:
        size = 4.0 if dtype == "float32" else 2.0
        bench.measure(
            Case(
                table,
                f"{name} {dtype}" if dtype != "float32" else name,
                drawn(*[shape] * reads),
                calls,
                lambda results, operands: relative_error(results[0], expected(*operands)),
                2e-6 if dtype == "float32" else 2.0**-7,
                dtype=dtype,
                moved_bytes=size * count * (reads + 1),
                sample=lambda results, operands: ([results[0][::61, ::7]], [x[::61, ::7] for x in operands]),
            )
        )

    def adds(_: Any) -> Callable[..., Any]:
        return lambda x, y: x + y

    def chain(m: Any) -> Callable[..., Any]:
        return lambda x, y: m.sqrt(x * x + y * y) * 0.5 + x

    def norm(x: Array, y: Array) -> Array:
        return np.sqrt(x * x + y * y) * 0.5 + x

    def compiled(make: Callable[[Any], Callable[..., Any]]) -> Callable[[Any], Callable[..., Any]]:
        return lambda gg: gg.compile(make(gg))

    def fused(cupy: Any) -> Callable[..., Any]:
        return cupy.fuse()(lambda x, y: cupy.sqrt(x * x + y * y) * np.float32(0.5) + x)

    case("x + y", everywhere(("gorgo", adds), ("cupy", adds), ("torch", adds)), lambda x, y: x + y, 2)
    case("x + y", everywhere(("gorgo", adds), ("torch", adds)), lambda x, y: x + y, 2, "bfloat16")
    case(
        "tanh(x)",
        everywhere(*((name, lambda m: m.tanh) for name in ("gorgo", "cupy", "torch"))),
        np.tanh,
        1,
    )
    case(
        "sqrt(x*x + y*y) * 0.5 + x",
        everywhere(
            ("gorgo", chain),
            ("gorgo.compile", compiled(chain)),
            ("cupy", chain),
            ("cupy fuse", fused),
            ("torch", chain),
        ),
        norm,
        2,
    )
    case(
        "sqrt(x*x + y*y) * 0.5 + x",
        everywhere(("gorgo.compile", compiled(chain)), ("torch", chain)),
        norm,
        2,
        "bfloat16",
    )

    def longer(m: Any) -> Callable[..., Any]:
        def twelve(x: Any, y: Any) -> Any:
            v = m.sqrt(x * x + y * y) * 0.5 + x
            return m.tanh(m.maximum(v * m.sigmoid(v) - y, x)) + y

        return twelve

    def longer_on_host(x: Array, y: Array) -> Array:
        v = norm(x, y)
        return np.tanh(np.maximum(v / (1 + np.exp(-v)) - y, x)) + y

    for dtype in ("float32", "bfloat16"):
        calls = everywhere(("gorgo.compile", compiled(longer)), ("torch", longer))
        case("chain of twelve", calls, longer_on_host, 2, dtype)

    def reduction(
        name: str, calls: dict[str, Make], expected: Callable[..., Array], reads: int = 1, terms: int = 1
    ) -> None:
        host = functools.lru_cache(maxsize=1)(lambda: np.asarray(expected(*[base(shape, s) for s in range(reads)])))
        bench.measure(
            Case(
                table,
                name,
                drawn(*[shape] * reads),
                calls,
                # Sums are judged as means, which are small beside 1: so the error is that of the terms.
                lambda results, _: relative_error(results[0] / terms + 1.0, host() + 1.0),
                1e-5,
                moved_bytes=4.0 * count * reads,
                sample=lambda results, _: (results, []),
            )
        )

    def along(axis: Any) -> dict[str, Make]:
        keyword = {} if axis is None else {"axis": axis}
        dim = {} if axis is None else {"dim": axis}
        return everywhere(
            ("gorgo", lambda _: lambda x: x.sum(**keyword)),
            ("cupy", lambda _: lambda x: x.sum(**keyword)),
            ("torch", lambda _: lambda x: x.sum(**dim)),
        )

    for axis, terms in ((None, count), (0, rows), (1, 8192)):
        reduction(
            "sum" if axis is None else f"sum, axis {axis}",
            along(axis),
            lambda x, axis=axis, terms=terms: x.sum(axis=axis, dtype=np.float64) / terms,
            terms=terms,
        )
    reduction(
        "max, axis 1",
        everywhere(
            ("gorgo", lambda _: lambda x: x.max(axis=1)),
            ("cupy", lambda _: lambda x: x.max(axis=1)),
            ("torch", lambda _: lambda x: x.amax(dim=1)),
        ),
        lambda x: x.max(axis=1).astype(np.float64),
    )
    reduction(
        "argmax, axis 1",
        everywhere(
            ("gorgo", lambda _: lambda x: x.argmax(axis=1)),
            ("cupy", lambda _: lambda x: x.argmax(axis=1)),
            ("torch", lambda _: lambda x: x.argmax(dim=1)),
        ),
        lambda x: x.argmax(axis=1).astype(np.float64),
    )

    def product_sum(_: Any) -> Callable[..., Any]:
        return lambda x, y: (x * y).sum()

    reduction(
        "(x * y).sum()",
        everywhere(
            ("gorgo", product_sum),
            ("gorgo.compile", compiled(product_sum)),
            ("cupy", product_sum),
            ("torch", product_sum),
        ),
        lambda x, y: np.einsum("ij,ij->", x, y, dtype=np.float64) / count,
        reads=2,
        terms=count,
    )


def rows_of(bench: Bench) -> None:
    """Measure softmax and layer norm of many rows, forward and with the gradient."""

    def softmax(x: Array) -> Array:
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def layer_norm(x: Array) -> Array:
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    for dtype in ("float32", "bfloat16"):
        size = 4.0 if dtype == "float32" else 2.0
        for shape in ((8192, 4096), (65536, 256)) if not bench.quick else ((8192, 2048),):
            width = shape[1]
            functions = {
                "softmax": (
                    lambda gg: lambda x: gg.nn.functional.softmax(x, axis=1),
                    lambda torch: lambda x: torch.softmax(x, 1),
                    softmax,
                ),
                "layer_norm": (
                    lambda gg, width=width: lambda x: gg.nn.functional.layer_norm(x, (width,)),
                    lambda torch, width=width: lambda x: torch.nn.functional.layer_norm(x, (width,)),
                    layer_norm,
                ),
            }
            for name, (ours, theirs, expected) in functions.items():
                bench.measure(
                    Case(
                        "rows",
                        f"{name} {shape[0]}x{shape[1]} {dtype}",
                        drawn(shape),
                        everywhere(("gorgo", ours), ("torch", theirs)),
                        lambda results, operands, expected=expected: relative_error(results[0], expected(operands[0])),
                        5e-6 if dtype == "float32" else 1e-2,
                        dtype=dtype,
                        moved_bytes=2.0 * size * shape[0] * shape[1],
                        sample=lambda results, operands: ([results[0][::127]], [operands[0][::127]]),
                    )
                )
                bench.measure(
                    Case(
                        "rows",
                        f"{name} and its gradient {shape[0]}x{shape[1]} {dtype}",
                        drawn(shape, shape),
                        {
                            "gorgo": lambda library, ours=ours: with_gradient_gorgo(library.module, ours, 1),
                            "torch": lambda library, theirs=theirs: with_gradient_torch(library.module, theirs, 1),
                        },
                        lambda results, operands, expected=expected: relative_error(results[0], expected(operands[0])),
                        5e-6 if dtype == "float32" else 1e-2,
                        dtype=dtype,
                        sample=lambda results, operands: ([results[0][::127]], [operands[0][::127]]),
                    )
                )


def with_gradient_gorgo(
    gg: Any, make: Callable[[Any], Callable[..., Any]], count: int, tail: tuple[Any, ...] = ()
) -> Callable[..., Any]:
    """Return (result, gradients) of a function by its first `count` operands; the last operand weighs the result."""
    forward = make(gg)

    def run(*operands: Any) -> tuple[Any, ...]:
        points = [x.detach().requires_grad_() for x in operands[:count]]
        y = forward(*points, *tail)
        return (y, *gg.grad([y], points, [operands[-1]]))

    return run


def with_gradient_torch(
    torch: Any, make: Callable[[Any], Callable[..., Any]], count: int, tail: tuple[Any, ...] = ()
) -> Callable[..., Any]:
    """Return the same of torch."""
    forward = make(torch)

    def run(*operands: Any) -> tuple[Any, ...]:
        points = [x.detach().requires_grad_() for x in operands[:count]]
        y = forward(*points, *tail)
        return (y, *torch.autograd.grad([y], points, [operands[-1]]))

    return run


# ---- products ----


@contextlib.contextmanager
def tf32_of(library: Library) -> Iterator[None]:
    """Let float32 products use tf32 inside."""
    module = library.module
    if library.name == "torch":
        module.backends.cuda.matmul.allow_tf32 = True
        try:
            yield
        finally:
            module.backends.cuda.matmul.allow_tf32 = False
        return
    module.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        module.set_float32_matmul_precision("highest")


def products(bench: Bench, dtype: str) -> None:
    """Measure square products, in one of the orders of operands for each size."""
    held = "float32" if dtype == "tf32" else dtype

    def plain(library: Library) -> Callable[..., Any]:
        product: Callable[..., Any] = library.module.matmul
        return product

    def turned(library: Library) -> Callable[..., Any]:
        return lambda a, b: library.module.matmul(a, b.T)

    def in_tf32(make: Make) -> Make:
        def made(library: Library) -> Callable[..., Any]:
            with tf32_of(library):  # raises where there is no such setting
                call = make(library)

            def run(a: Any, b: Any) -> Any:
                with tf32_of(library):
                    return call(a, b)

            return run

        return made

    sizes = (512, 1024, 2048, 4096) if bench.quick else (512, 1024, 2048, 4096, 8192)
    peers = {"bfloat16": ("torch",), "tf32": ("torch",)}.get(dtype, ("torch", "cupy"))
    for n in sizes:
        for layout, call in {"a @ b": plain, "a @ b.T": turned}.items():
            if layout == "a @ b.T" and n not in (1024, 4096):
                continue
            step = max(1, n // 64)
            offset = step // 2  # not always the first element of a tile

            def sample(
                results: Any, operands: Any, step: int = step, first: int = offset, turn: bool = call is turned
            ) -> Any:
                a, b = operands
                return [results[0][first::step, first::step]], [
                    a[first::step],
                    b[first::step] if turn else b[:, first::step],
                ]

            def error(results: Any, operands: Any, turn: bool = call is turned) -> float:
                a, b = operands
                return relative_error(results[0], a @ (b.T if turn else b))

            make = in_tf32(call) if dtype == "tf32" else call
            bench.measure(
                Case(
                    f"products {dtype}",
                    f"{layout}, {n}",
                    drawn((n, n), (n, n)),
                    dict.fromkeys(("gorgo", *peers), make),
                    error,
                    {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2, "tf32": 4e-3}[dtype],
                    dtype=held,
                    flop=2.0 * n**3,
                    sample=sample,
                )
            )


# ---- convolution and attention ----


def convolve(x: Array, w: Array) -> Array:
    """Convolve with a 3x3 kernel, a border of one zero around the image."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((x.shape[0], w.shape[0], height, width))
    for i in range(3):
        for j in range(3):
            y += np.einsum("nchw,oc->nohw", padded[:, :, i : i + height, j : j + width], w[:, :, i, j], optimize=True)
    return y


def conv_gorgo(gg: Any) -> Callable[..., Any]:
    """Return Gorgo's."""
    return lambda x, w: gg.nn.functional.conv2d(x, w, padding=1)


def conv_torch(torch: Any) -> Callable[..., Any]:
    """Return torch's."""
    return lambda x, w: torch.nn.functional.conv2d(x, w, padding=1)


def channels_last(torch: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of torch have images and kernels with channels last, turned over when it first meets them."""
    last = torch.channels_last

    def run(*operands: Any) -> Any:
        for t in operands:
            if not t.is_contiguous(memory_format=last):
                t.data = t.data.contiguous(memory_format=last)
        return call(*operands)

    return run


def convolutions(bench: Bench) -> None:
    """Measure 3x3 convolutions forward, and with both gradients."""
    shapes = (
        [(64, 64, 56, 64), (32, 256, 14, 256)]
        if bench.quick
        else [(64, 64, 56, 64), (64, 128, 28, 128), (64, 256, 14, 256)]
    )
    for dtype in ("bfloat16", "float32"):
        for batch, inside, side, outside in shapes:
            x, w, g = (batch, inside, side, side), (outside, inside, 3, 3), (batch, outside, side, side)
            flop = 2.0 * batch * outside * inside * 9 * side * side

            def error(results: Any, operands: Any) -> float:
                return relative_error(results[0], convolve(operands[0], operands[1]))

            def sample(results: Any, operands: Any) -> Any:
                return [results[0][-1:]], [operands[0][-1:], operands[1]]

            name = f"{batch}x{inside}x{side}x{side} to {outside}"
            bench.measure(
                Case(
                    "convolution",
                    f"{name} {dtype}",
                    drawn(x, w),
                    everywhere(
                        ("gorgo", conv_gorgo),
                        ("torch", conv_torch),
                        ("torch NHWC", lambda torch: channels_last(torch, conv_torch(torch))),
                    ),
                    error,
                    2e-5 if dtype == "float32" else 1e-2,
                    dtype=dtype,
                    flop=flop,
                    sample=sample,
                )
            )

            def gradient_error(results: Any, operands: Any) -> float:
                y, by_x = results
                last, w, g_last = operands
                flipped = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
                return worst([y, by_x], [convolve(last, w), convolve(g_last, flipped)])

            def gradient_sample(results: Any, operands: Any) -> Any:
                return [results[0][-1:], results[1][-1:]], [operands[0][-1:], operands[1], operands[2][-1:]]

            bench.measure(
                Case(
                    "convolution",
                    f"{name}, both gradients {dtype}",
                    drawn(x, w, g),
                    {
                        "gorgo": lambda library: with_gradient_gorgo(library.module, conv_gorgo, 2),
                        "torch": lambda library: with_gradient_torch(library.module, conv_torch, 2),
                        "torch NHWC": lambda library: channels_last(
                            library.module, with_gradient_torch(library.module, conv_torch, 2)
                        ),
                    },
                    gradient_error,
                    2e-5 if dtype == "float32" else 1e-2,
                    dtype=dtype,
                    flop=3.0 * flop,
                    sample=gradient_sample,
                )
            )


def attentions(bench: Bench) -> None:
    """Measure attention forward, and with its gradients."""
    shapes = [(8, 16, 1024, 64)] if bench.quick else [(8, 16, 1024, 64), (2, 16, 4096, 128)]
    for dtype in ("bfloat16", "float32"):
        for batch, heads, length, width in shapes if dtype == "bfloat16" else shapes[:1]:
            for causal in (False, True):
                shape = (batch, heads, length, width)

                def ours(gg: Any, causal: bool = causal) -> Callable[..., Any]:
                    return lambda q, k, v: gg.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

                def theirs(torch: Any, causal: bool = causal) -> Callable[..., Any]:
                    return lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

                def error(results: Any, operands: Any, causal: bool = causal, width: int = width) -> float:
                    q, k, v = (x[0, 0] for x in operands[:3])
                    scores = q @ k.T / math.sqrt(width)
                    if causal:
                        scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
                    p = np.exp(scores - scores.max(1, keepdims=True))
                    return relative_error(results[0][0, 0], p / p.sum(1, keepdims=True) @ v)

                def sample(results: Any, operands: Any) -> Any:
                    return [results[0][-1:, -1:]], [x[-1:, -1:] for x in operands]

                flop = 4.0 * batch * heads * length * length * width * (0.5 if causal else 1.0)
                name = f"{batch}x{heads}x{length}x{width}{' causal' if causal else ''}"
                tolerance = 2e-5 if dtype == "float32" else 3e-2
                forward = Case(
                    "attention",
                    f"{name} {dtype}",
                    drawn(shape, shape, shape),
                    everywhere(("gorgo", ours), ("torch", theirs)),
                    error,
                    tolerance,
                    dtype=dtype,
                    flop=flop,
                    sample=sample,
                )
                bench.measure(forward)
                bench.measure(
                    Case(
                        "attention",
                        f"{name}, gradients {dtype}",
                        drawn(shape, shape, shape, shape),
                        {
                            "gorgo": lambda library, ours=ours: with_gradient_gorgo(library.module, ours, 3),
                            "torch": lambda library, theirs=theirs: with_gradient_torch(library.module, theirs, 3),
                        },
                        error,
                        tolerance,
                        dtype=dtype,
                        flop=3.5 * flop,
                        sample=sample,
                    )
                )


def tables(bench: Bench) -> list[tuple[str, Callable[[], None]]]:
    """Return the tables in the order of their weight, since a run that takes too long stops before the last."""
    return [
        ("copy", lambda: copies(bench)),
        ("elementwise and reductions", lambda: elementwise(bench)),
        *((f"products {d}", lambda d=d: products(bench, d)) for d in ("bfloat16", "float32", "tf32", "float16")),
        ("rows", lambda: rows_of(bench)),
        ("convolution", lambda: convolutions(bench)),
        ("attention", lambda: attentions(bench)),
    ]

"""Kernels whose pace memory sets, float32: pools, a transposed copy, sums, softmax, norms, elementary functions.

16,384 elements lie in the second-level cache, a million outside of it. Cases with a gradient time a forward and a
gradient of its operand, for a given gradient of the result: one of ones would be a constant to a compiler. Everybody
does what its documentation would have it do; NumPy has no pools. Read first: harness.py.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Functions = dict[str, "Callable[[Any], Callable[..., Any]]"]


def case(
    name: str,
    shape: tuple[int, ...],
    functions: Functions,
    oracle: Callable[..., np.ndarray],
    *,
    beside: tuple[int, ...] | None = None,
    elements: int | None = None,
    tolerance: float = 1e-6,
) -> Case:
    """Build a case over one random operand: for each library the function to time, and the float64 result.

    `beside` is the shape of a second operand. `elements` counts those of the result where they are not as many as the
    operand's.
    """
    shapes = {"x": shape} if beside is None else {"x": shape, "g": beside}

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]
            size = 4 * math.prod(shape)
            raw = ring_of(
                lambda rng: tuple(rng.standard_normal(each).astype(np.float32) for each in shapes.values()),
                bytes_each=2 * size,
            )
            ring = [tuple(library.asarray(loaded, x) for x in operands) for operands in raw]

            def verify(result: Any) -> float:
                return relative_error(library.to_numpy(result), oracle(*(x.astype(np.float64) for x in raw[-1])))

            scope = {"function": functions[library_name](loaded)}
            return Prepared(f"function({', '.join(shapes)})", tuple(shapes), ring, scope, verify)

        return make

    return Case(
        name,
        {library: maker(library) for library in functions},
        tolerance=tolerance,
        read=4.0 * sum(map(math.prod, shapes.values())),
        written=4.0 * (math.prod(shape) if elements is None else elements),
    )


# ---- pools ----


def windows(x: np.ndarray, kernel: int, stride: int, padding: int, fill: float) -> np.ndarray:
    """Return the windows of x (n, c, h, w) as (n, c, oh, ow, kernel, kernel)."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]


def spread(kind: str, x: np.ndarray, g: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Return the gradient of x where g is that of its pool."""
    n, c, h, w = x.shape
    cut = windows(x, kernel, stride, padding, -np.inf)
    out = np.zeros((n, c, h + 2 * padding, w + 2 * padding))
    shares = np.full(cut.shape, 1.0 / kernel**2)
    if kind == "max":
        best = cut.reshape(*cut.shape[:4], kernel**2).argmax(-1)
        shares = (np.arange(kernel**2) == best[..., None]).reshape(cut.shape).astype(np.float64)
    shares = shares * g[..., None, None]
    for p in range(kernel):
        for q in range(kernel):
            rows, columns = cut.shape[2] * stride, cut.shape[3] * stride
            out[:, :, p : p + rows : stride, q : q + columns : stride] += shares[..., p, q]
    return out[:, :, padding : padding + h, padding : padding + w]


def pool_case(kind: str, shape: tuple[int, ...], kernel: int, stride: int, padding: int, backward: bool) -> Case:
    """Build a pool's forward, or its forward and gradient."""

    def torch_function(torch: Any) -> Callable[..., Any]:
        pool = getattr(torch.nn.functional, f"{kind}_pool2d")

        def gradient(x: Any, g: Any) -> Any:
            leaf = x.detach().requires_grad_()
            out = pool(leaf, kernel, stride, padding)
            return torch.autograd.grad(out, [leaf], g)[0]

        return gradient if backward else lambda x: pool(x, kernel, stride, padding)

    def gorgo_function(gg: Any) -> Callable[..., Any]:
        pool = getattr(gg, f"{kind}_pool2d")

        def gradient(x: Any, g: Any) -> Any:
            leaf = x.detach().requires_grad_()
            out = pool(leaf, kernel, stride, padding)
            return gg.grad(out, [leaf], g)[0]

        return gradient if backward else lambda x: pool(x, kernel, stride, padding)

    def jax_function(jax: Any) -> Callable[..., Any]:
        lax, jnp = importlib.import_module("jax.lax"), importlib.import_module("jax.numpy")
        window = ((1, 1, kernel, kernel), (1, 1, stride, stride), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))

        def pool(x: Any) -> Any:
            if kind == "max":
                return lax.reduce_window(x, -jnp.inf, lax.max, *window)
            return lax.reduce_window(x, 0.0, lax.add, *window) / kernel**2

        def both(x: Any, g: Any) -> tuple[Any, Any]:
            out, back = jax.vjp(pool, x)
            return out, back(g)[0]

        compiled: Callable[..., Any] = jax.jit(both if backward else pool)
        return (lambda *operands: compiled(*operands)[1]) if backward else compiled

    def oracle(x: np.ndarray, *gradient: np.ndarray) -> np.ndarray:
        for g in gradient:
            return spread(kind, x, g, kernel, stride, padding)
        if kind == "max":
            return windows(x, kernel, stride, padding, -np.inf).max((-2, -1))
        return windows(x, kernel, stride, padding, 0.0).mean((-2, -1))

    way = " and gradient" if backward else ""
    text = f"{kind} pool {kernel}x{kernel}/{stride}{way}, {'x'.join(map(str, shape))}"
    pooled = (*shape[:2], *((length + 2 * padding - kernel) // stride + 1 for length in shape[2:]))
    functions: Functions = {"torch": torch_function, "jax": jax_function, "gorgo": gorgo_function}
    if backward:
        return case(text, shape, functions, oracle, beside=pooled)
    return case(text, shape, functions, oracle, elements=math.prod(pooled))


def global_average(shape: tuple[int, ...]) -> Case:
    """Build the average of each whole image."""
    return case(
        f"global average, {'x'.join(map(str, shape))}",
        shape,
        {
            "torch": lambda torch: lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 1),
            "jax": lambda jax: jax.jit(lambda x: x.mean((2, 3), keepdims=True)),
            "gorgo": lambda gg: lambda x: gg.adaptive_avg_pool2d(x, 1),
        },
        lambda x: x.mean((2, 3), keepdims=True),
        elements=math.prod(shape[:2]),
    )


def average_of_boxes(shape: tuple[int, ...], kernel: int) -> Case:
    """Build the averages of the boxes that part images of three axes."""
    n, c, *size = shape
    split = (n, c, *(part for length in size for part in (length // kernel, kernel)))

    def jax_function(jax: Any) -> Callable[[Any], Any]:
        lax, window = importlib.import_module("jax.lax"), (1, 1, kernel, kernel, kernel)
        return jax.jit(lambda x: lax.reduce_window(x, 0.0, lax.add, window, window, "VALID") / kernel**3)

    return case(
        f"avg pool {kernel}x{kernel}x{kernel}/{kernel}, {'x'.join(map(str, shape))}",
        shape,
        {
            "torch": lambda torch: lambda x: torch.nn.functional.avg_pool3d(x, kernel),
            "jax": jax_function,
            "gorgo": lambda gg: lambda x: gg.avg_pool3d(x, kernel),
        },
        lambda x: x.reshape(split).mean((3, 5, 7)),
        elements=math.prod(shape) // kernel**3,
    )


def adaptive_average(shape: tuple[int, ...], out: int) -> Case:
    """Build averages of windows that part images unevenly; JAX has none."""

    def oracle(x: np.ndarray) -> np.ndarray:
        for axis in (2, 3):
            length = shape[axis]
            cuts = [(o * length // out, -(-(o + 1) * length // out)) for o in range(out)]
            x = np.stack([x.take(range(*cut), axis).mean(axis) for cut in cuts], axis)
        return x

    return case(
        f"adaptive average to {out}x{out}, {'x'.join(map(str, shape))}",
        shape,
        {
            "torch": lambda torch: lambda x: torch.nn.functional.adaptive_avg_pool2d(x, out),
            "gorgo": lambda gg: lambda x: gg.adaptive_avg_pool2d(x, out),
        },
        oracle,
        elements=math.prod(shape[:2]) * out**2,
    )


# ---- everything else ----


def statement_case(name: str, shape: tuple[int, ...], bodies: Mapping[str, str], oracle: Any, **facts: Any) -> Case:
    """Build a case from expressions of x: `m` is the library, `f` its functional or scientific part."""

    def function(library: str) -> Callable[[Any], Callable[[Any], Any]]:
        def build(loaded: Any) -> Callable[[Any], Any]:
            module, part = loaded, scipy.special
            if library == "torch":
                part = loaded.nn.functional
            elif library == "jax":
                module, part = importlib.import_module("jax.numpy"), importlib.import_module("jax.nn")
            elif library == "gorgo":
                part = loaded.nn.functional
            made: Callable[[Any], Any] = eval(f"lambda x: {bodies[library]}", {"m": module, "f": part})
            return loaded.jit(made) if library == "jax" else made

        return build

    return case(name, shape, {library: function(library) for library in bodies}, oracle, **facts)


def normalized(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * scipy.special.ndtr(x))


def sum_along(matrix: tuple[int, int], axis: int) -> Case:
    """Build the sums of a matrix along one axis."""
    return statement_case(
        f"sum along axis {axis}, {matrix[0]}x{matrix[1]}",
        matrix,
        dict.fromkeys(("numpy", "jax", "gorgo"), f"m.sum(x, axis={axis})") | {"torch": f"m.sum(x, dim={axis})"},
        lambda x: x.sum(axis),
        elements=matrix[1 - axis],
        tolerance=1e-5,
    )


def everything_of(n: int) -> list[Case]:
    """Build the cases over n elements, as a matrix or as images."""
    rows = 64 if n < 10**6 else 1000
    columns = n // rows
    matrix, text = (rows, columns), f"{rows}x{columns}"
    images = (8, 8, n // 1024 if n < 10**6 else 125, 16 if n < 10**6 else 125)
    spots = "x".join(map(str, images))
    norm = "(x - x.mean({a}, keepdims=True)) / m.sqrt(x.var({a}, keepdims=True) + 1e-5)"
    return [
        statement_case(
            f"transposed copy, {text}",
            matrix,
            {
                "numpy": "m.ascontiguousarray(x.T)",
                "torch": "x.T.contiguous()",
                "jax": "x.T.copy()",
                "gorgo": "m.copy(x.T)",
            },
            lambda x: x.T,
        ),
        *[sum_along(matrix, axis) for axis in (0, 1)],
        statement_case(
            f"softmax, {text}",
            matrix,
            {
                "numpy": "f.softmax(x, axis=-1)",
                "torch": "m.softmax(x, -1)",
                "jax": "f.softmax(x, axis=-1)",
                "gorgo": "m.softmax(x, axis=-1)",
            },
            lambda x: scipy.special.softmax(x, axis=-1),
        ),
        statement_case(
            f"layer norm, {text}",
            matrix,
            {
                "numpy": norm.format(a="-1"),
                "torch": f"f.layer_norm(x, ({columns},))",
                "jax": norm.format(a="-1"),
                "gorgo": f"f.layer_norm(x, ({columns},))",
            },
            lambda x: normalized(x, (-1,)),
            tolerance=1e-5,
        ),
        statement_case(
            f"batch norm (training), {spots}",
            images,
            {
                "numpy": norm.format(a="(0, 2, 3)"),
                "torch": "f.batch_norm(x, None, None, training=True)",
                "jax": norm.format(a="(0, 2, 3)"),
                "gorgo": "f.batch_norm(x, None, None, training=True)",
            },
            lambda x: normalized(x, (0, 2, 3)),
            tolerance=1e-5,
        ),
        *[
            statement_case(
                f"{name}, {n} elements",
                (n,),
                dict.fromkeys(("numpy", "torch", "jax", "gorgo"), f"m.{name}(x)"),
                function,
            )
            for name, function in (("exp", np.exp), ("tanh", np.tanh))
        ],
        statement_case(
            f"gelu, {n} elements",
            (n,),
            {
                "numpy": "x * f.ndtr(x)",
                "torch": "f.gelu(x)",
                "jax": "f.gelu(x, approximate=False)",
                "gorgo": "f.gelu(x)",
            },
            gelu,
        ),
    ]


NARROW = [(100, 8)] if toy() else [(10_000, 8), (100_000, 8), (100_000, 32), (5_000, 192)]
POOLED = [(2, 3, 10, 12)] if toy() else [(32, 16, 28, 28), (8, 64, 56, 56)]
CASES = [
    *[
        pool_case(kind, shape, kernel, stride, padding, backward)
        for shape in POOLED
        for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 1, 1))
        for kind in ("max", "avg")
        for backward in (False, True)
    ],
    *[global_average(shape) for shape in ([(2, 3, 5, 5)] if toy() else [(32, 512, 7, 7), (32, 64, 56, 56)])],
    average_of_boxes((2, 3, 4, 6, 6) if toy() else (4, 16, 16, 28, 28), 2),
    adaptive_average((2, 3, 7, 7) if toy() else (8, 64, 30, 30), 3 if toy() else 7),
    *(case for n in ((16_384,) if toy() else (16_384, 1_000_000)) for case in everything_of(n)),
    *[sum_along(matrix, 0) for matrix in NARROW],
]

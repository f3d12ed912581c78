"""Convolutions of sizes that tiles take where a processor has them (AMX); they hold for every instruction set.

The truth is PyTorch's in float64, and bounds are those of sums of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from accuracy_products import precision_of

import gorgo as gg

torch = pytest.importorskip("torch")

Array = np.ndarray
WITH_TILES = gg._core._config()["isa"] == "amx"

# n, c, o, size, kernel, stride, padding, dilation, groups
CASES: list[tuple[Any, ...]] = [
    (2, 64, 64, (14, 14), (3, 3), 1, 1, 1, 1),
    (3, 33, 70, (9, 11), (3, 3), 1, 1, 1, 1),
    # Few channels, whose kernel's lines are one run of k; strides of two and three; more remainders than taps.
    (2, 3, 64, (37, 33), (7, 7), 2, 3, 1, 1),
    (1, 17, 40, (30, 31), (5, 5), 3, 2, 1, 1),
    (2, 66, 47, (20, 19), (3, 2), (2, 5), (1, 0), 1, 1),
    # Kernels of one element: over all of an image, and over a part of it.
    (2, 96, 80, (13, 12), (1, 1), 1, 0, 1, 1),
    (2, 128, 64, (14, 15), (1, 1), 2, 0, 1, 1),
    # Dilation, with and without a stride, padding on one side, and groups.
    (1, 64, 64, (19, 40), (3, 3), 1, (2, 3), (2, 3), 1),
    (1, 128, 128, (24, 23), (3, 3), 2, (2, 3), (3, 1), 2),
    (2, 96, 96, (12, 13), (3, 3), 1, (0, 2, 1, 0), 1, 3),
    # Lines and images of several bands, small images that share one, blocks of k.
    (1, 160, 33, (20, 70), (3, 3), 1, 1, 1, 1),
    (1, 40, 48, (4, 900), (3, 5), 1, (1, 2), 1, 1),
    (9, 200, 96, (4, 5), (3, 3), 1, 1, 1, 1),
    # One axis and three.
    (2, 48, 64, (300,), (5,), 2, 2, 1, 1),
    (1, 64, 40, (700,), (3,), 1, (0, 2), 4, 1),
    (1, 24, 32, (6, 9, 10), (3, 3, 3), 1, 1, 1, 1),
    (2, 32, 40, (7, 9, 8), (2, 3, 2), (2, 1, 2), (0, 1, 1), (1, 2, 1), 1),
]
OPERANDS = {"forward": ("x", "weight"), "transposed": ("g", "weight"), "weight": ("x", "g")}
OPS = list(OPERANDS)


def drawn(case: tuple[Any, ...], seed: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return images, weights, a bias, a gradient of the output, and the options of a case."""
    n, c, o, size, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng([seed, n, c, o])
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    arrays = {"x": rng.standard_normal((n, c, *size)), "weight": rng.standard_normal((o, c // groups, *kernel))}
    arrays["bias"] = rng.standard_normal(o)
    out = their_conv(torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["weight"]), None, options)
    arrays["g"] = rng.standard_normal(tuple(out.shape))
    return {name: a.astype(np.float32) for name, a in arrays.items()}, options


def their_conv(x: Any, weight: Any, bias: Any, options: dict[str, Any]) -> Any:
    axes = weight.ndim - 2
    padding = options["padding"]
    if isinstance(padding, tuple) and len(padding) == 2 * axes:
        around = [p for i in reversed(range(axes)) for p in (padding[i], padding[axes + i])]
        x, padding = torch.nn.functional.pad(x, around), 0
    elif isinstance(padding, tuple) and axes == 1:
        x, padding = torch.nn.functional.pad(x, padding), 0
    conv = [torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d][axes - 1]
    return conv(x, weight, bias, **{**options, "padding": padding})


def our_conv(x: gg.Tensor, weight: gg.Tensor, bias: gg.Tensor | None, options: dict[str, Any]) -> gg.Tensor:
    conv: Callable[..., gg.Tensor] = [gg.conv1d, gg.conv2d, gg.conv3d][len(weight.shape) - 3]
    return conv(x, weight, bias, **options)


def ours(op: str, arrays: dict[str, Any], options: dict[str, Any]) -> gg.Tensor:
    if op == "forward":
        return our_conv(arrays["x"], arrays["weight"], arrays["bias"], options)
    wanted = "x" if op == "transposed" else "weight"
    leaves = {name: a.detach() for name, a in arrays.items()}
    leaves[wanted] = leaves[wanted].requires_grad_()
    return gg.grad(our_conv(leaves["x"], leaves["weight"], None, options), [leaves[wanted]], arrays["g"])[0]


def theirs(op: str, arrays: dict[str, Array], options: dict[str, Any]) -> Array:
    x, weight, bias, g = (torch.from_numpy(arrays[name].astype(np.float64)) for name in ("x", "weight", "bias", "g"))
    if op == "forward":
        return their_conv(x, weight, bias, options).numpy()
    leaf = (x if op == "transposed" else weight).requires_grad_()
    return torch.autograd.grad(their_conv(x, weight, None, options), leaf, g)[0].numpy()


def terms(op: str, arrays: dict[str, Array], options: dict[str, Any]) -> int:
    """Return how many products an element of the result sums."""
    weight = arrays["weight"]
    if op == "weight":
        return arrays["g"].size // arrays["g"].shape[1]
    return weight[0].size if op == "forward" else weight.size // weight.shape[1] // options["groups"]


def read(t: gg.Tensor) -> Array:
    return np.asarray(t.detach().astype("float32"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_agree_with_float64(case: tuple[Any, ...], op: str, dtype: str) -> None:
    arrays, options = drawn(case, 0)
    mine = {name: gg.asarray(a).astype(dtype) for name, a in arrays.items()}
    seen = {name: read(a) for name, a in mine.items()}
    exact = theirs(op, seen, options)
    size = theirs(op, {name: np.abs(a) for name, a in seen.items()}, options)
    roundoff = {"float32": 2.0**-24, "bfloat16": 2.0**-8}[dtype]
    bound = (terms(op, arrays, options) + 3) * 2.0**-24 * size + roundoff * np.abs(exact) + 1e-7
    assert (np.abs(read(ours(op, mine, options)) - exact) <= bound).all()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", [CASES[i] for i in (0, 2, 8, 9, 15)], ids=str)
def test_operands_of_any_layout_give_the_bits_of_dense_ones(case: tuple[Any, ...], op: str) -> None:
    for dtype in ("float32", "bfloat16"):
        arrays, options = drawn(case, 1)
        dense = {name: gg.asarray(a).astype(dtype) for name, a in arrays.items()}
        expected = read(ours(op, dense, options))

        def turned(t: gg.Tensor) -> gg.Tensor:
            axes = tuple(reversed(range(len(t.shape))))
            return gg.permute_dims(gg.permute_dims(t, axes).copy(), axes)

        def shifted(t: gg.Tensor) -> gg.Tensor:
            room = gg.zeros((t.size + 3,), dtype=t.dtype)
            room[3:] = t.reshape((-1,))
            return room[3:].reshape(t.shape)

        for change in (turned, shifted):
            changed = {name: change(t) for name, t in dense.items()}
            np.testing.assert_array_equal(read(ours(op, changed, options)), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", [CASES[i] for i in (0, 2, 4, 8, 11, 12, 15)], ids=str)
def test_bits_depend_neither_on_threads_nor_on_the_batch(case: tuple[Any, ...], dtype: str) -> None:
    arrays, options = drawn((max(case[0], 3), *case[1:]), 2)
    arrays["x"][1, 0] = np.float32(1e-41)  # beside images that pieces carry
    arrays["g"][1] *= np.float32(1e30)
    mine = {name: gg.asarray(a).astype(dtype) for name, a in arrays.items()}
    before = gg.get_num_threads()
    gg.set_batch_invariant(True)
    try:
        found = []
        for threads in (1, 2):
            gg.set_num_threads(threads)
            found.append([read(ours(op, mine, options)) for op in OPS])
        for one, two in zip(*found, strict=True):
            np.testing.assert_array_equal(one, two)
        for i in range(arrays["x"].shape[0]):
            alone = {**mine, "x": mine["x"][i : i + 1], "g": mine["g"][i : i + 1]}
            for op in ("forward", "transposed"):
                np.testing.assert_array_equal(read(ours(op, alone, options))[0], found[0][OPS.index(op)][i])
    finally:
        gg.set_batch_invariant(False)
        gg.set_num_threads(before)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize(("op", "operand"), [(op, operand) for op, used in OPERANDS.items() for operand in used])
def test_what_is_not_finite_or_large_stays_where_it_belongs(op: str, operand: str, value: float) -> None:
    for dtype in ("float32", "bfloat16"):
        for case in ((2, 64, 48, (15, 14), (3, 3), 2, 1, 1, 1), (2, 64, 64, (12, 13), (1, 1), 1, 0, 1, 1)):
            arrays, options = drawn(case, 3)
            options["padding"] = 0
            arrays = {name: np.minimum(np.abs(a), 0.9) + 0.05 for name, a in arrays.items()}
            shape = their_conv(*(torch.from_numpy(arrays[name]) for name in ("x", "weight")), None, options).shape
            arrays["g"] = arrays["g"][tuple(slice(0, n) for n in shape)]
            arrays[operand][1, 5, -1, 0] = value
            mine = {name: gg.asarray(a.astype(np.float32)).astype(dtype) for name, a in arrays.items()}
            with np.errstate(all="ignore"):
                exact = theirs(op, {name: read(a) for name, a in mine.items()}, options)
                found = read(ours(op, mine, options))
            if (op, operand) == ("transposed", "weight"):  # zeros around the gradient meet that weight, too
                found, exact = (np.delete(a, 5, axis=1) for a in (found, exact))
            assert np.isfinite(exact).any()
            tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[dtype]
            np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
            largest = np.abs(exact) < 3.4e38
            np.testing.assert_allclose(found[largest], exact[largest], rtol=tolerance)
            np.testing.assert_array_equal(np.isinf(found[~largest]), ~np.isnan(exact[~largest]))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    ("of_x", "of_others"), [(1e-20, 1e-20), (1e-30, 1.0), (1e-41, 1.0), (1e-41, 1e25), (1e30, 1e5)]
)
def test_tiny_and_huge_numbers_keep_their_digits(op: str, of_x: float, of_others: float) -> None:
    case = (1, 64, 48, (15, 14), (3, 3), 2, 1, 1, 1)
    arrays, options = drawn(case, 4)
    which = "g" if op == "transposed" else "x"
    for name in arrays:
        scaled = arrays[name] * np.float64(of_x if name == which else of_others)
        arrays[name] = scaled.astype(np.float32)
    arrays["bias"][:] = 0
    exact = theirs(op, arrays, options)
    size = theirs(op, {name: np.abs(a) for name, a in arrays.items()}, options)
    found = read(ours(op, {name: gg.asarray(a) for name, a in arrays.items()}, options))
    count = terms(op, arrays, options) + 3
    assert (np.abs(found - exact) <= count * (2.0**-24 * size + 2.0**-149)).all()


@pytest.mark.skipif(not WITH_TILES, reason="needs AMX: only its tiles multiply pieces")
@pytest.mark.parametrize("op", OPS)
def test_less_precise_sums_lose_what_pieces_leave_out(op: str) -> None:
    """Which also says that tiles are what makes these sums."""
    arrays, options = drawn(CASES[0], 5)
    mine = {name: gg.asarray(a) for name, a in arrays.items()}
    exact = theirs(op, arrays, options)
    lost = []
    for precision in ("highest", "high", "medium"):
        with precision_of(precision):
            lost.append(np.linalg.norm(read(ours(op, mine, options)) - exact) / np.linalg.norm(exact))
    assert lost[0] < 2e-7 < 1e-6 < lost[1] < 1e-5 < 1e-3 < lost[2] < 1e-2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", [CASES[i] for i in (0, 2, 5, 9)], ids=str)
def test_captured_functions_keep_weights(case: tuple[Any, ...], dtype: str) -> None:
    arrays, options = drawn(case, 6)
    mine = {name: gg.asarray(a).astype(dtype).copy() for name, a in arrays.items()}
    weight, bias = mine["weight"], mine["bias"]
    compiled = gg.compile(lambda x: our_conv(x, weight, bias, options))
    for precision in ("highest", "highest", "medium", "medium", "highest"):
        with precision_of(precision):
            np.testing.assert_array_equal(
                read(compiled(mine["x"])), read(our_conv(mine["x"], weight, bias, options)), err_msg=precision
            )
    weight *= 2.0
    np.testing.assert_array_equal(read(compiled(mine["x"])), read(our_conv(mine["x"], weight, bias, options)))


@pytest.mark.parametrize("op", OPS)
def test_windows_that_reach_far_beyond_the_image(op: str) -> None:
    for far in (40, 1 << 12, 1 << 16):
        case = (1, 64, 32, (5, 6), (3, 3), 1, (far, 1), (far, 1), 1)
        arrays, options = drawn(case, 7)
        mine = {name: gg.asarray(a) for name, a in arrays.items()}
        np.testing.assert_allclose(read(ours(op, mine, options)), theirs(op, arrays, options), rtol=1e-4, atol=1e-4)

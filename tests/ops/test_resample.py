"""Interpolation against PyTorch in float64, to the second order; adjoints, layouts, threads, messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(19)
interpolate = gg.nn.functional.interpolate

# by mode: the numbers of axes it takes, whether it knows corners
MODES: dict[str, tuple[tuple[int, ...], bool]] = {
    "nearest": ((1, 2, 3), False),
    "nearest-exact": ((1, 2, 3), False),
    "linear": ((1,), True),
    "bilinear": ((2,), True),
    "trilinear": ((3,), True),
    "bicubic": ((2,), True),
    "area": ((1, 2, 3), False),
}
SIZES = {1: (7,), 2: (6, 5), 3: (3, 5, 4)}
TARGETS: dict[int, list[dict[str, Any]]] = {
    1: [{"size": 12}, {"size": 3}, {"size": 1}, {"size": 7}, {"scale_factor": 2.3}, {"scale_factor": 0.55}],
    2: [{"size": (9, 4)}, {"size": 1}, {"scale_factor": (2, 1.7)}, {"scale_factor": 0.61}],
    3: [{"size": (5, 3, 9)}, {"size": 2}, {"scale_factor": 2}, {"scale_factor": (0.7, 1.3, 2.6)}],
}


def agree(mine: gg.Tensor, theirs: torch.Tensor) -> None:
    np.testing.assert_allclose(np.asarray(mine.detach()), theirs.detach().numpy(), rtol=1e-12, atol=1e-13)


def check(x: np.ndarray, **options: Any) -> None:
    mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    out, expected = interpolate(mine, **options), torch.nn.functional.interpolate(their, **options)
    agree(out, expected)
    seed = RNG.standard_normal(expected.shape)
    my_seed, their_seed = gg.asarray(seed).requires_grad_(), torch.from_numpy(seed).requires_grad_()
    (first,) = gg.grad(out, [mine], my_seed, create_graph=True)
    (first_expected,) = torch.autograd.grad(expected, [their], their_seed, create_graph=True)
    agree(first, first_expected)
    probe = RNG.standard_normal(x.shape)
    (second,) = gg.grad((first * gg.asarray(probe)).sum(), [my_seed])
    (second_expected,) = torch.autograd.grad((first_expected * torch.from_numpy(probe)).sum(), [their_seed])
    agree(second, second_expected)


@pytest.mark.parametrize(
    ("mode", "axes", "corners"),
    [
        (mode, axes, corners)
        for mode, (numbers, knows) in MODES.items()
        for axes in numbers
        for corners in ([None, False, True] if knows else [None])
    ],
)
def test_every_mode_and_two_orders_of_gradients_agree_with_torch(mode: str, axes: int, corners: bool | None) -> None:
    for target in TARGETS[axes]:
        check(RNG.standard_normal((2, 3, *SIZES[axes])), mode=mode, align_corners=corners, **target)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_a_scale_factor_may_be_computed_anew(mode: str) -> None:
    for factor in (1.7, (0.45, 2.2)):
        check(RNG.standard_normal((2, 3, 7, 9)), mode=mode, scale_factor=factor, recompute_scale_factor=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nearest_elements_are_torchs_for_all_small_sizes(dtype: str) -> None:
    for n in range(1, 24):
        line = np.arange(n, dtype=dtype)
        for size in range(1, 50):
            expected = torch.nn.functional.interpolate(torch.from_numpy(line[None, None, :, None]), size=(size, 1))
            got = interpolate(gg.asarray(line[None, None, :, None]), size=(size, 1))
            np.testing.assert_array_equal(np.asarray(got), expected.numpy(), f"{n} to {size}")
        for factor in (0.3, 0.7, 1.1, 1.5, 2.3, 3.7):
            if int(n * factor) == 0:
                continue
            options = {"scale_factor": (factor, 1.0), "mode": "nearest"}
            expected = torch.nn.functional.interpolate(torch.from_numpy(line[None, None, :, None]), **options)
            got = interpolate(gg.asarray(line[None, None, :, None]), **options)
            np.testing.assert_array_equal(np.asarray(got), expected.numpy(), f"{n} times {factor}")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_narrow_types(dtype: str, mode: str) -> None:
    x = gg.asarray(RNG.standard_normal((2, 3, 6, 5)).astype("float32")).astype(dtype).requires_grad_()
    wide = torch.from_numpy(np.asarray(x.detach().astype("float64"))).requires_grad_()
    out = interpolate(x, size=(9, 7), mode=mode)
    expected = torch.nn.functional.interpolate(wide, size=(9, 7), mode=mode)
    # Two axes, each a sum of at most four products rounded in float32; then one rounding. Elements are below 4.
    roundoff = {"float32": 2.0**-19, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    np.testing.assert_allclose(
        np.asarray(out.detach().astype("float64")), expected.detach().numpy(), rtol=roundoff, atol=roundoff
    )
    (grad,) = gg.grad(out, [x], gg.ones(out.shape, dtype=dtype))
    (grad_expected,) = torch.autograd.grad(expected.sum(), [wide])
    np.testing.assert_allclose(
        np.asarray(grad.astype("float64")), grad_expected.numpy(), rtol=2 * roundoff, atol=2 * roundoff
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "cubic"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_gradient_is_the_adjoint_in_every_layout(mode: str, axis: int) -> None:
    x = RNG.standard_normal((5, 6, 7))
    sizes = list(x.shape)
    sizes[axis] = 11
    weights = RNG.standard_normal(sizes)
    results = []
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        back = tuple(int(i) for i in np.argsort(order))
        leaf = gg.permute_dims(gg.asarray(np.ascontiguousarray(x.transpose(order))), back).requires_grad_()
        seed = gg.permute_dims(gg.asarray(np.ascontiguousarray(weights.transpose(order))), back)
        out = gg.resample(leaf, 11, axis, mode)
        (grad,) = gg.grad(out, [leaf], seed)
        np.testing.assert_allclose((np.asarray(out.detach()) * weights).sum(), (np.asarray(grad) * x).sum(), rtol=1e-13)
        results.append((np.asarray(out.detach()), np.asarray(grad)))
    for out, grad in results[1:]:
        np.testing.assert_array_equal(out, results[0][0])
        np.testing.assert_array_equal(grad, results[0][1])


def test_threads_do_not_show() -> None:
    x = RNG.standard_normal((4, 8, 40, 50)).astype(np.float32)
    before = gg.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            leaf = gg.asarray(x).requires_grad_()
            out = interpolate(leaf, scale_factor=1.6, mode="bicubic")
            out.sum().backward()
            found.append((np.asarray(out.detach()), np.asarray(leaf.grad)))
    finally:
        gg.set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_the_same_size_gives_a_tensor_of_its_own() -> None:
    x = gg.ones((1, 1, 3))
    out = interpolate(x, size=3)
    out += 1.0
    assert x.tolist() == [[[1.0, 1.0, 1.0]]]


def test_no_images_give_none() -> None:
    x = gg.zeros((0, 3, 4, 4)).requires_grad_()
    out = interpolate(x, scale_factor=2, mode="bilinear")
    assert out.shape == (0, 3, 8, 8)
    out.sum().backward()
    assert x.grad.shape == (0, 3, 4, 4)


def test_a_captured_step_interpolates_as_an_eager_one() -> None:
    def step(x: gg.Tensor) -> gg.Tensor:
        leaf = x.detach().requires_grad_()
        (grad,) = gg.grad((interpolate(leaf, size=(7, 9), mode="bicubic") ** 2).sum(), [leaf])
        return grad

    compiled = gg.compile(step)
    for _ in range(3):
        x = gg.asarray(RNG.standard_normal((2, 3, 5, 6)))
        np.testing.assert_array_equal(np.asarray(compiled(x)), np.asarray(step(x)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: interpolate(x, 4, mode="cubic"), ValueError, "interpolate: mode must be one of 'nearest', "),
        (
            lambda x: interpolate(x, 4, mode="linear"),
            ValueError,
            "interpolate: x must have 1 axes after (n, c) for mode 'linear', got shape (1, 2, 3, 4)",
        ),
        (
            lambda x: interpolate(x, 4, align_corners=True),
            ValueError,
            "interpolate: align_corners must be None for mode 'nearest', got True",
        ),
        (
            lambda x: interpolate(x),
            ValueError,
            "interpolate: size or scale_factor must be given, not both, got size None, scale_factor None",
        ),
        (
            lambda x: interpolate(x, scale_factor=(2, 2, 2)),
            ValueError,
            "interpolate: scale_factor must have one number for each of 2 axes, got (2, 2, 2)",
        ),
        (
            lambda x: interpolate(x, scale_factor=-1),
            ValueError,
            "interpolate: scale_factor must be positive and finite",
        ),
        (
            lambda x: interpolate(x, 4, recompute_scale_factor=True),
            ValueError,
            "interpolate: recompute_scale_factor must go with scale_factor, got size",
        ),
        (lambda x: interpolate(x, 0), ValueError, "interpolate: x and the result must have elements along each axis"),
        (
            lambda x: interpolate(x, 4, mode="bilinear", antialias=True),
            NotImplementedError,
            "interpolate: antialias must be False, got True",
        ),
        (lambda x: gg.resample(x, 0), ValueError, "resample: size must be positive, got 0"),
        (
            lambda x: gg.resample(x, 3, 4),
            ValueError,
            "resample: axis must be in [-4, 4), got 4 (x has shape (1, 2, 3, 4))",
        ),
        (
            lambda x: gg.resample(x, 3, scale=0.0),
            ValueError,
            "resample: scale must be positive and finite, got 0",
        ),
        (
            lambda x: gg.resample(x, 3, align_corners=True),
            ValueError,
            "resample: align_corners must be False in mode nearest, got True",
        ),
        (
            lambda x: gg.resample(x[:, :, :0], 3, 2),
            ValueError,
            "resample: axis 2 must have elements, got shape (1, 2, 0, 4)",
        ),
        (
            lambda x: gg.resample(x.astype(gg.int32), 3),
            TypeError,
            "resample: operands must have a real floating dtype, got int32",
        ),
        (lambda x: gg.resample(x[0, 0, 0, 0], 3), ValueError, "resample: x must have an axis, got shape ()"),
    ],
)
def test_messages(call: Callable[[gg.Tensor], gg.Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call(gg.ones((1, 2, 3, 4)))

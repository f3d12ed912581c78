"""max_pool2d and avg_pool2d against PyTorch in float64, to the second order; ties, NaN, layouts, threads, messages."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(13)

# (h, w), kernel, stride, padding, dilation, ceil_mode
CASES = [
    ((24, 24), 2, None, 0, 1, False),
    ((9, 11), 2, None, 0, 1, False),
    ((9, 11), 2, None, 0, 1, True),
    ((8, 8), 3, 2, 1, 1, False),
    ((8, 7), 3, 2, 1, 1, True),
    ((8, 8), (3, 2), (1, 2), (1, 0), 1, False),
    ((10, 10), 3, 1, 1, 2, False),
    ((5, 300), 2, 1, 0, 1, False),
    ((4, 4), 4, 4, 2, 1, True),
]


def check(
    ours: Callable[..., gg.Tensor], theirs: Callable[..., torch.Tensor], x: np.ndarray, options: dict[str, object]
) -> None:
    mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    out, expected = ours(mine, **options), theirs(their, **options)
    np.testing.assert_allclose(np.asarray(out.detach()), expected.detach().numpy(), rtol=1e-13, atol=1e-13)
    seed = RNG.standard_normal(expected.shape)
    my_seed, their_seed = gg.asarray(seed).requires_grad_(), torch.from_numpy(seed).requires_grad_()
    (first,) = gg.grad(out, [mine], my_seed, create_graph=True)
    (first_expected,) = torch.autograd.grad(expected, [their], their_seed, create_graph=True)
    np.testing.assert_allclose(np.asarray(first.detach()), first_expected.detach().numpy(), rtol=1e-13, atol=1e-13)
    probe = RNG.standard_normal(x.shape)
    (second,) = gg.grad((first * gg.asarray(probe)).sum(), [my_seed], create_graph=True)
    (second_expected,) = torch.autograd.grad((first_expected * torch.from_numpy(probe)).sum(), [their_seed])
    np.testing.assert_allclose(np.asarray(second.detach()), second_expected.numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_max_pool2d_and_two_orders_of_gradients_agree_with_torch(case: tuple) -> None:
    size, kernel, stride, padding, dilation, ceil_mode = case
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": ceil_mode,
    }
    check(gg.max_pool2d, torch.nn.functional.max_pool2d, RNG.standard_normal((2, 3, *size)), options)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("case", [case for case in CASES if case[4] == 1])
def test_avg_pool2d_and_two_orders_of_gradients_agree_with_torch(case: tuple, count_include_pad: bool) -> None:
    size, kernel, stride, padding, _, ceil_mode = case
    options = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
    }
    check(gg.avg_pool2d, torch.nn.functional.avg_pool2d, RNG.standard_normal((2, 3, *size)), options)


@pytest.mark.parametrize("kernel", [2, 3])
def test_ties_and_nans_go_as_in_torch(kernel: int) -> None:
    x = RNG.integers(0, 3, (2, 2, 12, 12)).astype(np.float64)
    x[0, 0, ::5, ::4] = np.nan
    x[1, 1, 3:6, 3:6] = -np.inf
    mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    out, expected = gg.max_pool2d(mine, kernel), torch.nn.functional.max_pool2d(their, kernel)
    np.testing.assert_array_equal(np.asarray(out.detach()), expected.detach().numpy())
    out.sum().backward()
    expected.sum().backward()
    np.testing.assert_array_equal(np.asarray(mine.grad), their.grad.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kernel", [2, 3])
def test_narrow_types(dtype: str, kernel: int) -> None:
    x = gg.asarray(RNG.standard_normal((2, 3, 12, 12)).astype("float32")).astype(dtype).requires_grad_()
    wide = torch.from_numpy(np.asarray(x.detach().astype("float64"))).requires_grad_()
    for ours, theirs in (
        (gg.max_pool2d, torch.nn.functional.max_pool2d),
        (gg.avg_pool2d, torch.nn.functional.avg_pool2d),
    ):
        out, expected = ours(x, kernel, 2), theirs(wide, kernel, 2)
        roundoff = {"float32": 2.0**-22, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
        np.testing.assert_allclose(
            np.asarray(out.detach().astype("float64")), expected.detach().numpy(), rtol=roundoff, atol=roundoff
        )
        (grad,) = gg.grad(out, [x], gg.ones(out.shape, dtype=dtype))
        (grad_expected,) = torch.autograd.grad(expected.sum(), [wide])
        np.testing.assert_allclose(
            np.asarray(grad.astype("float64")), grad_expected.numpy(), rtol=2 * roundoff, atol=2 * roundoff
        )


def test_layouts_and_threads_do_not_show() -> None:
    x = RNG.standard_normal((8, 16, 20, 20))
    turned = gg.permute_dims(gg.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1))), (0, 3, 1, 2))
    before = gg.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            gg.set_num_threads(threads)
            for source in (gg.asarray(x), turned):
                leaf = source.detach().requires_grad_()
                out = gg.max_pool2d(leaf, 2) * 3.0
                more = gg.avg_pool2d(leaf, 3, 2, 1)
                (out.sum() + more.sum()).backward()
                results.append([np.asarray(out.detach()), np.asarray(more.detach()), np.asarray(leaf.grad)])
    finally:
        gg.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gg.max_pool2d(gg.zeros((3, 8, 8)), 2),
            "max_pool2d: x must have 4 axes (n, c, h, w), got shape (3, 8, 8)",
        ),
        (
            lambda: gg.max_pool2d(gg.zeros((1, 3, 8, 8)), 9),
            "max_pool2d: padded height must be at least the window's 9, got 8 (8 with padding 0)",
        ),
        (
            lambda: gg.max_pool2d(gg.zeros((1, 3, 8, 8)), 2, padding=2),
            "max_pool2d: padding must be at most half of the window's height 2, got 2",
        ),
        (lambda: gg.avg_pool2d(gg.zeros((1, 3, 8, 8)), 0), "avg_pool2d: kernel_size must be at least 1, got (0, 0)"),
    ],
)
def test_messages(call: Callable[[], gg.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()

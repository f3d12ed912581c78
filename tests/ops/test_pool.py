"""Pools of one to three axes against PyTorch in float64, to the second order; ties, NaN, layouts, threads, messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(13)
F = torch.nn.functional

# size, kernel, stride, padding, dilation, ceil_mode
CASES: list[tuple[Any, ...]] = [
    ((24, 24), 2, None, 0, 1, False),
    ((9, 11), 2, None, 0, 1, False),
    ((9, 11), 2, None, 0, 1, True),
    ((8, 8), 3, 2, 1, 1, False),
    ((8, 7), 3, 2, 1, 1, True),
    ((8, 8), (3, 2), (1, 2), (1, 0), 1, False),
    ((10, 10), 3, 1, 1, 2, False),
    ((5, 300), 2, 1, 0, 1, False),
    ((4, 4), 4, 4, 2, 1, True),
    ((24,), 2, None, 0, 1, False),
    ((11,), 3, 2, 1, 1, True),
    ((11,), 3, 1, 1, 3, False),
    ((600,), 4, 1, 2, 1, False),
    ((6, 6, 6), 2, None, 0, 1, False),
    ((5, 6, 7), 3, 2, 1, 1, True),
    ((5, 6, 7), (2, 3, 1), (1, 2, 3), (1, 1, 0), 1, False),
    ((7, 6, 8), 2, 1, 1, 2, False),
    # Widths of one, around a vector, of several pieces; windows apart from each other, and wider than a piece.
    ((9, 1), (3, 1), (1, 1), (1, 0), 1, False),
    ((6, 8), 3, 2, 1, 1, True),
    ((5, 17), 5, 3, 2, 1, True),
    ((3, 700), (2, 3), (1, 10), (0, 1), 1, False),
    ((2, 1300), (1, 4), (2, 600), 0, 1, True),
    ((700,), 7, 2, 3, 1, True),
    ((1100,), 5, 3, 1, 1, False),
    ((1200,), 520, 9, 100, 1, True),
    ((2, 3, 530), (2, 1, 515), (1, 1, 1), (1, 0, 7), 1, False),
]
ADAPTIVE: list[tuple[Any, ...]] = [
    ((12,), 4),
    ((11,), 4),
    ((3,), 7),
    ((100,), 1),
    ((12, 8), (3, 4)),
    ((11, 13), (4, 5)),
    ((2, 3), (5, 3)),
    ((7, 40), 1),
    ((6, 4, 8), 2),
    ((7, 5, 9), (3, 4, 2)),
    ((4, 5, 33), 1),
    ((2, 30), (1, 7)),
    ((5, 1300), (2, 2)),
    ((3, 1301), (3, 2)),
    ((700,), 301),
]


def pool(library: Any, name: str, size: tuple[int, ...]) -> Any:
    return getattr(library, f"{name}{len(size)}d")


def agree(mine: gg.Tensor, theirs: torch.Tensor) -> None:
    np.testing.assert_allclose(np.asarray(mine.detach()), theirs.detach().numpy(), rtol=1e-13, atol=1e-13)


def check(
    ours: Callable[..., gg.Tensor], theirs: Callable[..., torch.Tensor], x: np.ndarray, options: dict[str, Any]
) -> None:
    mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    out, expected = ours(mine, **options), theirs(their, **options)
    agree(out, expected)
    seed = RNG.standard_normal(expected.shape)
    my_seed, their_seed = gg.asarray(seed).requires_grad_(), torch.from_numpy(seed).requires_grad_()
    (first,) = gg.grad(out, [mine], my_seed, create_graph=True)
    (first_expected,) = torch.autograd.grad(expected, [their], their_seed, create_graph=True)
    agree(first, first_expected)
    probe = RNG.standard_normal(x.shape)
    (second,) = gg.grad((first * gg.asarray(probe)).sum(), [my_seed], create_graph=True)
    (second_expected,) = torch.autograd.grad((first_expected * torch.from_numpy(probe)).sum(), [their_seed])
    agree(second, second_expected)


def options_of(case: tuple[Any, ...], *, dilated: bool) -> dict[str, Any]:
    _, kernel, stride, padding, dilation, ceil_mode = case
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    return options | ({"dilation": dilation} if dilated else {})


@pytest.mark.parametrize("case", CASES)
def test_max_pools_and_two_orders_of_gradients_agree_with_torch(case: tuple[Any, ...]) -> None:
    size = case[0]
    check(
        pool(gg, "max_pool", size),
        pool(F, "max_pool", size),
        RNG.standard_normal((2, 3, *size)),
        options_of(case, dilated=True),
    )


@pytest.mark.parametrize("case", CASES)
def test_positions_of_maxima_agree_with_torch(case: tuple[Any, ...]) -> None:
    size, options = case[0], options_of(case, dilated=True)
    x = RNG.integers(0, 4, (2, 3, *size)).astype(np.float64)  # ties: the first in row order wins
    mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    values, indices = pool(gg, "max_pool", size)(mine, return_indices=True, **options)
    expected, places = pool(F, "max_pool", size)(their, return_indices=True, **options)
    agree(values, expected)
    assert indices.dtype == gg.int64
    assert not indices.requires_grad
    np.testing.assert_array_equal(np.asarray(indices), places.numpy())
    values.sum().backward()
    expected.sum().backward()
    agree(mine.grad, their.grad)


@pytest.mark.parametrize("extra", [{}, {"count_include_pad": False}, {"divisor_override": 3}])
@pytest.mark.parametrize("case", [case for case in CASES if case[4] == 1])
def test_avg_pools_and_two_orders_of_gradients_agree_with_torch(case: tuple[Any, ...], extra: dict[str, Any]) -> None:
    size = case[0]
    if len(size) == 1 and "divisor_override" in extra:  # which PyTorch has not for one axis
        x = RNG.standard_normal((2, 3, *size))
        plain = pool(gg, "avg_pool", size)(gg.asarray(x), case[1], divisor_override=1)
        np.testing.assert_allclose(
            np.asarray(pool(gg, "avg_pool", size)(gg.asarray(x), case[1], **extra)),
            np.asarray(plain) / 3,
            rtol=1e-15,
        )
        return
    check(
        pool(gg, "avg_pool", size),
        pool(F, "avg_pool", size),
        RNG.standard_normal((2, 3, *size)),
        options_of(case, dilated=False) | extra,
    )


@pytest.mark.parametrize(("size", "output_size"), ADAPTIVE)
@pytest.mark.parametrize("name", ["adaptive_avg_pool", "adaptive_max_pool"])
def test_adaptive_pools_and_two_orders_of_gradients_agree_with_torch(
    name: str, size: tuple[int, ...], output_size: Any
) -> None:
    x = RNG.standard_normal((2, 3, *size))
    check(pool(gg, name, size), pool(F, name, size), x, {"output_size": output_size})


@pytest.mark.parametrize(("size", "output_size"), ADAPTIVE)
def test_positions_of_adaptive_maxima_agree_with_torch(size: tuple[int, ...], output_size: Any) -> None:
    x = RNG.integers(0, 3, (2, 3, *size)).astype(np.float64)
    values, indices = pool(gg, "adaptive_max_pool", size)(gg.asarray(x), output_size, return_indices=True)
    expected, places = pool(F, "adaptive_max_pool", size)(torch.from_numpy(x), output_size, return_indices=True)
    agree(values, expected)
    np.testing.assert_array_equal(np.asarray(indices), places.numpy())


@pytest.mark.parametrize("size", [(9,), (6, 7), (4, 5, 6)])
def test_one_image_alone_and_none_at_all(size: tuple[int, ...]) -> None:
    one, none = RNG.standard_normal((3, *size)), RNG.standard_normal((0, 3, *size))
    for name, options in (
        ("max_pool", {"kernel_size": 2}),
        ("avg_pool", {"kernel_size": 2}),
        ("adaptive_max_pool", {"output_size": 3}),
        ("adaptive_avg_pool", {"output_size": 3}),
    ):
        check(pool(gg, name, size), pool(F, name, size), one, options)
        leaf = gg.asarray(none).requires_grad_()
        out = pool(gg, name, size)(leaf, **options)
        assert out.shape == (0, *pool(gg, name, size)(gg.asarray(one), **options).shape)
        out.sum().backward()
        assert leaf.grad.shape == none.shape


@pytest.mark.parametrize("size", [(12,), (12, 12), (6, 8, 8)])
@pytest.mark.parametrize("kernel", [2, 3])
def test_ties_and_nans_go_as_in_torch(kernel: int, size: tuple[int, ...]) -> None:
    x = RNG.integers(0, 3, (2, 2, *size)).astype(np.float64)
    x[0, 0, ..., ::4] = np.nan
    x[1, 1, 3:6] = -np.inf
    for name, options in (
        ("max_pool", {"kernel_size": kernel}),
        ("max_pool", {"kernel_size": kernel, "stride": 1, "padding": 1}),
        ("adaptive_max_pool", {"output_size": 5}),
    ):
        mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
        out, expected = pool(gg, name, size)(mine, **options), pool(F, name, size)(their, **options)
        np.testing.assert_array_equal(np.asarray(out.detach()), expected.detach().numpy())
        out.sum().backward()
        expected.sum().backward()
        np.testing.assert_array_equal(np.asarray(mine.grad), their.grad.numpy())
        _, places = pool(gg, name, size)(gg.asarray(x), return_indices=True, **options)
        _, expected_places = pool(F, name, size)(torch.from_numpy(x), return_indices=True, **options)
        np.testing.assert_array_equal(np.asarray(places), expected_places.numpy())


@pytest.mark.parametrize("name", ["avg_pool", "adaptive_avg_pool"])
def test_averages_with_a_nan_or_an_infinity_go_as_in_torch(name: str) -> None:
    x = RNG.standard_normal((1, 2, 6, 6))
    x[0, 0, 1, 1], x[0, 1, 4, 4], x[0, 1, 0, 0] = np.nan, np.inf, -np.inf
    np.testing.assert_allclose(
        np.asarray(pool(gg, name, (6, 6))(gg.asarray(x), 3)),
        pool(F, name, (6, 6))(torch.from_numpy(x), 3).numpy(),
        rtol=1e-14,
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}])
def test_maxima_of_integers(dtype: str, options: dict[str, int]) -> None:
    limits = np.iinfo(dtype)
    for size in ((12,), (9, 8), (5, 6, 7)):
        x = RNG.integers(limits.min, limits.max, (2, 3, *size), dtype=dtype, endpoint=True)
        values, places = pool(gg, "max_pool", size)(gg.asarray(x), return_indices=True, **options)
        wide = torch.from_numpy(x.astype(np.int64))
        expected, expected_places = pool(F, "max_pool", size)(wide, return_indices=True, **options)
        assert str(values.dtype) == f"gorgo.{dtype}" or str(values.dtype) == dtype
        np.testing.assert_array_equal(np.asarray(values), expected.numpy())
        np.testing.assert_array_equal(np.asarray(places), expected_places.numpy())
        np.testing.assert_array_equal(
            np.asarray(pool(gg, "max_pool", size)(gg.asarray(x), **options)), expected.numpy()
        )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kernel", [2, 3])
def test_narrow_types(dtype: str, kernel: int) -> None:
    x = gg.asarray(RNG.standard_normal((2, 3, 12, 12)).astype("float32")).astype(dtype).requires_grad_()
    wide = torch.from_numpy(np.asarray(x.detach().astype("float64"))).requires_grad_()
    for ours, theirs, options in (
        (gg.max_pool2d, F.max_pool2d, {"kernel_size": kernel, "stride": 2}),
        (gg.avg_pool2d, F.avg_pool2d, {"kernel_size": kernel, "stride": 2}),
        (gg.adaptive_avg_pool2d, F.adaptive_avg_pool2d, {"output_size": kernel}),
    ):
        out, expected = ours(x, **options), theirs(wide, **options)
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
                outs = [
                    gg.max_pool2d(leaf, 2) * 3.0,
                    gg.avg_pool2d(leaf, 3, 2, 1),
                    gg.adaptive_avg_pool2d(leaf, (1, 3)),
                    gg.adaptive_max_pool2d(leaf, 7),
                    gg.im2col(leaf, 3, 1, 1),
                ]
                sum((out.sum() for out in outs), gg.zeros(())).backward()
                results.append([*(np.asarray(out.detach()) for out in outs), np.asarray(leaf.grad)])
    finally:
        gg.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7), (8, 8), (5, 19)])
def test_a_global_average_does_not_see_the_planes_beside_it(size: tuple[int, int], dtype: str) -> None:
    drawn = np.random.default_rng(5).standard_normal((3, 7, *size))
    drawn[0, 5, 0, 0], drawn[1, 2, -1, -1] = np.nan, np.inf
    x = gg.asarray(drawn).astype(dtype)
    whole = np.asarray(gg.adaptive_avg_pool2d(x, 1).astype("float64"))
    for n, c in np.ndindex(3, 7):
        alone = np.asarray(gg.adaptive_avg_pool2d(x[n : n + 1, c : c + 1], 1).astype("float64"))
        np.testing.assert_array_equal(whole[n, c], alone[0, 0])
    expected = np.asarray(x.astype("float64")).mean((2, 3), keepdims=True)
    tolerance = {"float64": 1e-14, "float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    np.testing.assert_allclose(whole, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((7, 6), {"kernel_size": 3}),
        ((7, 6), {"kernel_size": (2, 3), "dilation": (2, 1), "padding": (1, 2), "stride": (2, 1)}),
        ((5, 5), {"kernel_size": 2, "padding": 3, "stride": 2}),
        ((4, 300), {"kernel_size": 1, "stride": 3}),
    ],
)
def test_columns_and_their_sums_agree_with_torch(size: tuple[int, int], options: dict[str, Any]) -> None:
    x = RNG.standard_normal((2, 3, *size))
    for images in (x, x[0]):
        check(gg.im2col, F.unfold, images, options)
        columns = F.unfold(torch.from_numpy(images), **options).numpy()
        check(gg.col2im, F.fold, RNG.standard_normal(columns.shape), {"output_size": size, **options})


def test_a_window_far_larger_than_its_image_costs_what_it_meets() -> None:
    x = gg.asarray(np.arange(12.0).reshape(1, 2, 6)).requires_grad_()
    options = {"stride": 2**39, "padding": 2**39 - 1}
    largest = gg.max_pool1d(x, 2**40, **options)
    np.testing.assert_array_equal(largest.detach(), x.detach().max(axis=2, keepdims=True))
    mean = gg.avg_pool1d(x, 2**40, count_include_pad=False, **options)
    np.testing.assert_array_equal(mean.detach(), x.detach().mean(axis=2, keepdims=True))
    (largest.sum() + mean.sum()).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, np.tile([1 / 6] * 5 + [7 / 6], (1, 2, 1)))


def test_one_pair_by_name_or_place() -> None:
    found = gg.max_pool2d(gg.asarray([[[1.0, 3.0], [2.0, 0.0]]]), 2, return_indices=True)
    assert found.out.tolist() == [[[3.0]]]
    assert found.indices.tolist() == [[[1]]]
    values, indices = gg.asarray([[[1.0, 3.0], [2.0, 0.0]]]).max_pool2d(2, return_indices=True)
    assert (values.tolist(), indices.tolist()) == ([[[3.0]]], [[[1]]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gg.max_pool2d(gg.zeros((8, 8)), 2),
            "max_pool2d: x must have 3 or 4 axes ((n,) c, h, w), got shape (8, 8)",
        ),
        (
            lambda: gg.avg_pool1d(gg.zeros((1, 3, 8, 8)), 2),
            "avg_pool1d: x must have 2 or 3 axes ((n,) c, l), got shape (1, 3, 8, 8)",
        ),
        (
            lambda: gg.max_pool2d(gg.zeros((1, 3, 8, 8)), 9),
            "max_pool2d: padded height must be at least the window's 9, got 8 (8 with padding 0)",
        ),
        (
            lambda: gg.max_pool3d(gg.zeros((3, 8, 8, 8)), (9, 1, 1)),
            "max_pool3d: padded depth must be at least the window's 9, got 8 (8 with padding 0)",
        ),
        (
            lambda: gg.max_pool2d(gg.zeros((1, 3, 8, 8)), 2, padding=2),
            "max_pool2d: padding must be at most half of the window's height 2, got 2",
        ),
        (lambda: gg.avg_pool2d(gg.zeros((1, 3, 8, 8)), 0), "avg_pool2d: kernel_size must be at least 1, got (0, 0)"),
        (
            lambda: gg.max_pool2d(gg.zeros((1, 3, 8, 8)), 2, dilation=(1, 2**62)),
            "max_pool2d: dilation must be at most 1099511627776, got (1, 4611686018427387904)",
        ),
        (
            lambda: gg.avg_pool3d(gg.zeros((1, 8, 8, 8)), (2, 2)),
            "avg_pool3d: kernel_size must have 3 entries (depth, height, width), got (2, 2)",
        ),
        (
            lambda: gg.avg_pool1d(gg.zeros((1, 8)), 2, divisor_override=0),
            "avg_pool1d: divisor_override must not be 0, got 0",
        ),
        (
            lambda: gg.adaptive_avg_pool2d(gg.zeros((1, 8, 8)), ()),
            "adaptive_avg_pool2d: output_size must have 2 entries (height, width), got ()",
        ),
        (
            lambda: gg.adaptive_max_pool2d(gg.zeros((1, 0, 8)), 1),
            "adaptive_max_pool2d: height must be at least 1, got 0",
        ),
        (
            lambda: gg.im2col(gg.zeros((3, 8)), 2),
            "im2col: x must have 3 or 4 axes ((n,) c, h, w), got shape (3, 8)",
        ),
        (
            lambda: gg.im2col(gg.zeros((1, 3, 8)), 4),
            "im2col: padded height must be at least the window's 4, got 3",
        ),
        (
            lambda: gg.col2im(gg.zeros((5, 4)), 3, 2),
            "col2im: x must have a multiple of the window's 4 elements as rows, got 5 (x has shape (5, 4))",
        ),
        (
            lambda: gg.col2im(gg.zeros((4, 5)), 3, 2),
            "col2im: x must have 4 columns, 2 by 2 windows, got 5 (x has shape (4, 5))",
        ),
    ],
)
def test_messages(call: Callable[[], gg.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_unordered_and_unsupported_types_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"max_pool1d: operands must have a real floating or integer \(uint8 or signed\)"
    ):
        gg.max_pool1d(gg.zeros((1, 4), dtype=gg.complex64), 2)
    with pytest.raises(TypeError, match="avg_pool1d: operands must have a real floating dtype, got int32"):
        gg.avg_pool1d(gg.zeros((1, 4), dtype=gg.int32), 2)
    with pytest.raises(TypeError, match="im2col: operands must have a real floating dtype, got int64"):
        gg.im2col(gg.zeros((1, 4, 4), dtype=gg.int64), 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_max_pools_of_every_short_width(window: tuple[int, int, int], dtype: str) -> None:
    rng = np.random.default_rng(7)
    for width in range(3, 40):
        x = rng.integers(-9, 9, (2, 2, 7, width)).astype(dtype)  # with equals
        x[0, 1, 3, width // 2] = np.nan
        mine, their = gg.asarray(x.copy()).requires_grad_(), torch.from_numpy(x).requires_grad_()
        out = gg.nn.functional.max_pool2d(mine, *window)
        expected = F.max_pool2d(their, *window)
        np.testing.assert_array_equal(out.detach().numpy(), expected.detach().numpy())
        dense = rng.standard_normal(out.shape).astype(dtype)
        one = dense[:1, :1, :1, :1].copy()  # as a sum's gradient comes: one number, repeated
        seeds = [(gg.asarray(dense), torch.from_numpy(dense))]
        seeds.append((gg.broadcast_to(gg.asarray(one), out.shape), torch.from_numpy(one).expand(expected.shape)))
        for my_seed, their_seed in seeds:
            (got,) = gg.grad(out, [mine], my_seed, retain_graph=True)
            (wanted,) = torch.autograd.grad(expected, [their], their_seed, retain_graph=True)
            np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 2, 90, 200), {"kernel_size": 3, "stride": 2, "padding": 1}),
        ((1, 1, 300, 70), {"kernel_size": (5, 4), "stride": (1, 2), "padding": (2, 1)}),
        ((1, 1, 70, 61), {"kernel_size": (3, 5), "stride": (3, 1), "dilation": (7, 3), "padding": 1}),
        ((1, 1, 40, 600), {"kernel_size": (20, 2), "stride": (1, 2)}),
        ((1, 1, 9, 2100), {"kernel_size": 3, "stride": 1}),
        ((2, 1, 9, 41, 37), {"kernel_size": 3, "stride": 2, "padding": 1}),
        ((1, 1, 6, 30, 90), {"kernel_size": (4, 3, 2), "stride": (1, 2, 2), "padding": (2, 1, 1)}),
    ],
)
def test_winners_in_planes_larger_than_are_looked_at_together(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    rng = np.random.default_rng(8)
    x = rng.integers(-9, 9, shape).astype(np.float32)  # with equals
    x[(0, 0, *(n // 2 for n in shape[2:]))] = np.nan
    name = f"max_pool{len(shape) - 2}d"
    mine, their = gg.asarray(x.copy()).requires_grad_(), torch.from_numpy(x).requires_grad_()
    out, places = getattr(gg.nn.functional, name)(mine, return_indices=True, **options)
    expected, their_places = getattr(F, name)(their, return_indices=True, **options)
    np.testing.assert_array_equal(out.detach().numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(places.numpy(), their_places.numpy())
    seed = rng.standard_normal(out.shape).astype(np.float32)
    (got,) = gg.grad(out, [mine], gg.asarray(seed))
    (wanted,) = torch.autograd.grad(expected, [their], torch.from_numpy(seed))
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-5)

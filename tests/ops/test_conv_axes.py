"""Convolutions over one and three axes and the transposed ones against PyTorch in float64, to the second order.

The two-dimensional convolution itself is in test_conv.py.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(12)
ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

# n, c, o, size, kernel, attributes
FORWARD: list[tuple[Any, ...]] = [
    (2, 3, 5, (17,), (3,), {}),
    (3, 4, 6, (40,), (5,), {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}),
    (1, 1, 1, (1,), (1,), {}),
    (2, 6, 6, (33,), (4,), {"padding": 2, "groups": 6}),
    (2, 2, 3, (9,), (2,), {"stride": 4}),
    (1, 24, 20, (30,), (7,), {"padding": 3}),
    (0, 2, 4, (8,), (3,), {"padding": 1}),
    (2, 3, 5, (6, 5, 7), (3, 3, 3), {"padding": 1}),
    (1, 4, 6, (7, 6, 9), (2, 3, 2), {"stride": (2, 1, 3), "padding": (1, 2, 0), "dilation": (2, 1, 2), "groups": 2}),
    (2, 6, 6, (4, 5, 6), (3, 1, 2), {"groups": 6}),
    (1, 2, 3, (1, 1, 1), (1, 1, 1), {}),
    (2, 3, 4, (5, 4, 3), (1, 1, 1), {}),
    (1, 2, 2, (3, 4, 5), (1, 3, 3), {"padding": (2, 1, 1)}),
    (1, 3, 2, (5, 3, 4), (5, 3, 4), {}),
    (1, 12, 10, (6, 6, 5), (3, 2, 3), {"padding": (1, 1, 1)}),
    (1, 2, 3, (1, 5, 6), (1, 3, 3), {"stride": (1, 2, 2)}),
    (1, 1, 2, (9, 2, 17), (3, 2, 3), {"stride": (3, 1, 2), "padding": (0, 1, 1)}),
    (0, 2, 4, (3, 4, 4), (3, 3, 3), {"padding": 1}),
    (1, 40, 5, (1040,), (11,), {"padding": 5}),
    (1, 5, 4, (4, 5, 16), (3, 3, 3), {"padding": 1}),
    (1, 4, 4, (5, 6, 9), (3, 2, 3), {"stride": (2, 1, 2), "padding": 1, "groups": 4}),
    (1, 16, 6, (5, 6, 19), (3, 3, 3), {"stride": (2, 1, 1), "padding": 1}),
    (2, 4, 4, (5, 9, 8), (3, 3, 3), {"padding": 1, "groups": 4}),
    (2, 32, 20, (3, 5, 7), (1, 1, 1), {}),
]
# Transposed, of images of a few pixels: more channels than are taken at once, one pixel, groups.
SMALL: list[tuple[Any, ...]] = [
    (9, 20, 31, (4, 4), (4, 4), {"stride": 2, "padding": 1}),
    (3, 400, 7, (3, 3), (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (17, 20, 9, (1, 1), (4, 4), {}),
    (2, 24, 32, (2, 3), (5, 2), {"stride": (3, 1), "padding": (2, 0), "dilation": (1, 2), "groups": 4}),
    (2, 12, 11, (2, 3, 2), (3, 2, 4), {"stride": (1, 2, 2), "padding": (1, 0, 1)}),
    (3, 16, 10, (5,), (7,), {"stride": 3, "padding": 5, "output_padding": 2}),
]
TRANSPOSED: list[tuple[Any, ...]] = [
    (2, 4, 3, (9,), (3,), {}),
    (2, 4, 6, (9,), (4,), {"stride": 3, "padding": 2, "output_padding": 2, "dilation": 2, "groups": 2}),
    (2, 20, 16, (25,), (5,), {"padding": 2}),
    (1, 1, 1, (1,), (1,), {}),
    (2, 4, 4, (6,), (3,), {"stride": 2, "padding": 1, "groups": 4}),
    (0, 4, 3, (9,), (3,), {"stride": 2}),
    (2, 3, 5, (6, 7), (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (2, 4, 6, (5, 8), (3, 2), {"stride": (3, 1), "padding": (1, 0), "output_padding": (2, 0), "groups": 2}),
    (1, 3, 2, (5, 4), (3, 3), {"dilation": 3, "output_padding": 2}),
    (1, 3, 2, (5, 6), (3, 3), {"stride": (2, 1), "dilation": (3, 4), "padding": (3, 4), "output_padding": (2, 3)}),
    (2, 12, 16, (8, 9), (3, 3), {"padding": 1}),
    (1, 2, 3, (4, 3), (2, 2), {"stride": 2}),
    (1, 9, 2, (7, 7), (1, 1), {"stride": 3, "output_padding": 1}),
    (2, 6, 12, (5, 5), (3, 3), {"padding": 1, "groups": 6}),
    (1, 16, 40, (6, 6), (5, 5), {"stride": 2, "padding": 2, "output_padding": 1}),
    (2, 3, 2, (3, 4, 5), (3, 2, 3), {"stride": (2, 1, 2), "padding": (1, 0, 1), "output_padding": (1, 0, 1)}),
    (1, 4, 4, (3, 4, 3), (2, 3, 2), {"dilation": (2, 1, 3), "groups": 2, "output_padding": (1, 0, 2)}),
    (1, 10, 12, (5, 5, 5), (3, 3, 3), {"padding": 1}),
    (2, 2, 1, (2, 2, 2), (2, 2, 2), {"stride": 2}),
    (1, 1, 1, (1, 1, 1), (1, 1, 1), {}),
    # Strides and channels enough to go by phases.
    (2, 5, 9, (7, 8), (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (1, 6, 16, (5, 9), (5, 4), {"stride": (3, 2), "padding": (2, 1), "dilation": (2, 3), "groups": 2}),
    (1, 4, 8, (3, 4, 5), (2, 3, 4), {"stride": (2, 1, 2)}),
    (2, 3, 24, (19,), (7,), {"stride": 4, "padding": 3, "output_padding": 3}),
    (1, 4, 4, (4, 5, 6), (3, 3, 3), {"stride": (2, 1, 3), "padding": 1, "groups": 4}),
    *SMALL,
]
CASES = [("conv", case) for case in FORWARD] + [("conv_transpose", case) for case in TRANSPOSED]


def name_of(family: str, case: tuple[Any, ...]) -> str:
    return f"{family}{len(case[3])}d"


def arrays_of(family: str, case: tuple[Any, ...]) -> list[Any]:
    """Return x, weight and bias."""
    n, c, o, size, kernel, attrs = case
    groups = attrs.get("groups", 1)
    shape = (o, c // groups, *kernel) if family == "conv" else (c, o // groups, *kernel)
    return [RNG.standard_normal(s) for s in ((n, c, *size), shape, (o,))]


def assert_near(mine: gg.Tensor, their: Any) -> None:
    np.testing.assert_allclose(np.asarray(mine.detach()), their.detach().numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("family", "case"), CASES)
def test_values_and_two_orders_of_gradients_agree_with_torch(family: str, case: tuple[Any, ...]) -> None:
    name, options = name_of(family, case), case[-1]
    arrays = arrays_of(family, case)
    mine = [gg.asarray(a).requires_grad_() for a in arrays]
    their = [torch.from_numpy(a).requires_grad_() for a in arrays]
    out = getattr(gg, name)(*mine, **options)
    expected = getattr(torch.nn.functional, name)(*their, **options)
    assert out.shape == tuple(expected.shape)
    assert_near(out, expected)

    seed = RNG.standard_normal(expected.shape)
    my_seed, their_seed = gg.asarray(seed).requires_grad_(), torch.from_numpy(seed).requires_grad_()
    first = gg.grad(out, mine, my_seed, create_graph=True)
    first_expected = torch.autograd.grad(expected, their, their_seed, create_graph=True)
    for a, b in zip(first, first_expected, strict=True):
        assert_near(a, b)

    if arrays[0].size == 0:
        return  # PyTorch's gradient of nothing is no longer connected to its inputs
    probes = [RNG.standard_normal(a.shape) for a in arrays]
    projection = sum((a * gg.asarray(p)).sum() for a, p in zip(first, probes, strict=True))
    projection_expected = sum((a * torch.from_numpy(p)).sum() for a, p in zip(first_expected, probes, strict=True))
    second = gg.grad(projection, [*mine[:2], my_seed])
    second_expected = torch.autograd.grad(projection_expected, [*their[:2], their_seed])
    for a, b in zip(second, second_expected, strict=True):
        assert_near(a, b)


@pytest.mark.parametrize("dtype", list(ROUNDOFF))
@pytest.mark.parametrize(("family", "case"), CASES)
def test_narrow_types(family: str, case: tuple[Any, ...], dtype: str) -> None:
    name, options = name_of(family, case), case[-1]
    narrow = [gg.asarray(a).astype(dtype) for a in arrays_of(family, case)]
    out = np.asarray(getattr(gg, name)(*narrow, **options).astype("float64"))
    wide = [torch.from_numpy(np.asarray(a.astype("float64"))) for a in narrow]
    function = getattr(torch.nn.functional, name)
    expected = function(*wide, **options).numpy()
    magnitude = function(*(a.abs() for a in wide), **options).numpy()
    # Each sum has at most a product for every weight that one output sees, and is rounded once more to the type.
    terms = wide[1].numel() / max(case[2], 1) + 3
    bound = terms * 2.0**-24 * magnitude + ROUNDOFF[dtype] * np.abs(expected) + 1e-7
    assert (np.abs(out - expected) <= bound).all()


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d"])
@pytest.mark.parametrize("kernel", [(3, 2, 3), (1, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("wanted", [(0, 1), (2, 0), (1, 3)])
def test_paddings_may_differ_on_the_two_sides(
    name: str, kernel: tuple[int, ...], stride: int, wanted: tuple[int, int]
) -> None:
    axes = int(name[4])
    x, weight = RNG.standard_normal((2, 9, *[5, 6, 4][:axes])), RNG.standard_normal((4, 9, *kernel[:axes]))
    pads = [wanted[0]] * axes + [wanted[1]] * axes
    mine = [gg.asarray(a).requires_grad_() for a in (x, weight)]
    their = [torch.from_numpy(a).requires_grad_() for a in (x, weight)]
    out = getattr(gg, name)(*mine, padding=pads, stride=stride)
    around = torch.nn.functional.pad(their[0], list(wanted) * axes)
    expected = getattr(torch.nn.functional, name)(around, their[1], stride=stride)
    assert_near(out, expected)
    seed = RNG.standard_normal(expected.shape)
    for a, b in zip(
        gg.grad(out, mine, gg.asarray(seed)), torch.autograd.grad(expected, their, torch.from_numpy(seed)), strict=True
    ):
        assert_near(a, b)
    # A transposed convolution leaves out as much on each side as the convolution adds.
    y = getattr(gg, f"conv_transpose{axes}d")(gg.asarray(seed), gg.asarray(weight), padding=pads, stride=stride)
    full = getattr(torch.nn.functional, f"conv_transpose{axes}d")(
        torch.from_numpy(seed), torch.from_numpy(weight), stride=stride
    )
    kept = tuple(slice(wanted[0], n - wanted[1]) for n in full.shape[2:])
    assert_near(y, full[(..., *kept)])


@pytest.mark.parametrize(("family", "case"), [("conv", FORWARD[1]), ("conv", FORWARD[8]), *CASES[-5:]])
def test_any_layout_is_read(family: str, case: tuple[Any, ...]) -> None:
    name, options = name_of(family, case), case[-1]
    x, weight, bias = arrays_of(family, case)
    expected = getattr(torch.nn.functional, name)(*map(torch.from_numpy, (x, weight, bias)), **options).numpy()
    backwards = tuple(reversed(range(x.ndim)))

    def turned(a: Any) -> gg.Tensor:
        return gg.permute_dims(gg.asarray(np.ascontiguousarray(a.transpose(backwards))), backwards)

    wide = np.zeros([2 * n for n in x.shape])
    wide[(slice(None, None, 2),) * x.ndim] = x
    spaced = gg.asarray(wide)[(slice(None, None, 2),) * x.ndim]
    for x_, weight_ in itertools.product([turned(x), spaced], [turned(weight), gg.asarray(weight)]):
        found = getattr(gg, name)(x_, weight_, gg.asarray(bias), **options)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("family", "case"),
    [
        ("conv", FORWARD[5]),
        ("conv", FORWARD[14]),
        ("conv_transpose", TRANSPOSED[14]),
        *(("conv_transpose", case) for case in SMALL),
    ],
)
def test_bits_do_not_depend_on_threads_nor_values_on_the_batch(family: str, case: tuple[Any, ...]) -> None:
    name, options = name_of(family, case), case[-1]
    arrays = [a.astype("float32") for a in arrays_of(family, (8, *case[1:]))]
    before = gg.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            leaves = [gg.asarray(a).requires_grad_() for a in arrays]
            out = getattr(gg, name)(*leaves, **options)
            (out * out).sum().backward()
            results.append([np.asarray(out.detach()), *(np.asarray(leaf.grad) for leaf in leaves)])
    finally:
        gg.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    for i in range(8):
        alone = getattr(gg, name)(gg.asarray(arrays[0][i : i + 1]), *map(gg.asarray, arrays[1:]), **options)
        np.testing.assert_array_equal(np.asarray(alone)[0], results[0][0][i])


@pytest.mark.parametrize(
    ("family", "case"), [("conv", FORWARD[3]), ("conv", FORWARD[8]), ("conv_transpose", TRANSPOSED[23])]
)
def test_a_captured_gradient_gives_the_same_bits(family: str, case: tuple[Any, ...]) -> None:
    op, options = getattr(gg, name_of(family, case)), case[-1]
    x, weight, bias = (gg.asarray(a.astype("float32")) for a in arrays_of(family, case))
    weight.requires_grad_()

    def step(x: gg.Tensor) -> list[gg.Tensor]:
        x = x.detach().requires_grad_()
        out = op(x, weight, bias, **options)
        return [out.detach(), *gg.grad((out * out).sum(), [x, weight])]

    expected = step(x)
    captured = gg.compile(step)
    for _ in range(3):
        for a, b in zip(captured(x), expected, strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


MESSAGES = [
    ("conv1d", (2, 8), (4, 2, 3), {}, "conv1d: x must have 3 axes (n, c, l), got shape (2, 8)"),
    (
        "conv1d",
        (1, 2, 2),
        (4, 2, 3),
        {},
        "conv1d: padded length must be at least the kernel's 3, got 2 (2 with padding 0)",
    ),
    ("conv1d", (1, 2, 8), (4, 2, 3), {"stride": (1, 1)}, "conv1d: stride must have 1 entry (length), got (1, 1)"),
    (
        "conv2d",
        (1, 2, 8, 8),
        (4, 2, 3, 3),
        {"padding": (1, 1, 1)},
        "conv2d: padding must have 2 entries (height, width) or 4 (before the image, then after it), got (1, 1, 1)",
    ),
    (
        "conv2d",
        (1, 2, 1, 8),
        (4, 2, 3, 3),
        {"padding": (0, 0, 1, 0)},
        "conv2d: padded height must be at least the kernel's 3, got 2 (1 with padding 0 before and 1 after)",
    ),
    (
        "conv3d",
        (2, 3, 8, 8),
        (4, 3, 3, 3, 3),
        {},
        "conv3d: x must have 5 axes (n, c, d, h, w), got shape (2, 3, 8, 8)",
    ),
    (
        "conv3d",
        (1, 3, 8, 8, 8),
        (4, 3, 3, 3),
        {},
        "conv3d: weight must have 5 axes (o, c / groups, kd, kh, kw), got shape (4, 3, 3, 3)",
    ),
    (
        "conv3d",
        (1, 1, 4, 4, 4),
        (1, 1, 2, 2, 2),
        {"dilation": 0},
        "conv3d: dilation must be at least 1 along the depth",
    ),
    (
        "conv_transpose2d",
        (1, 3, 4, 4),
        (2, 3, 3, 3),
        {},
        "conv_transpose2d: weight must have x's 3 input channels, got 2 (weight has shape (2, 3, 3, 3))",
    ),
    (
        "conv_transpose2d",
        (1, 3, 4, 4),
        (3, 2, 3, 3),
        {"groups": 2},
        "conv_transpose2d: groups must divide the 3 input channels, got 2",
    ),
    (
        "conv_transpose2d",
        (1, 3, 4, 4),
        (3, 2, 3, 3),
        {"stride": 2, "output_padding": (0, 2)},
        "output_padding must be at least 0 and below the stride or the dilation along the width, got 2 (stride 2, dil",
    ),
    (
        "conv_transpose1d",
        (1, 1, 2),
        (1, 1, 2),
        {"padding": 2},
        "conv_transpose1d: padding must leave something of the output along the length, got 4 in all for 3",
    ),
    (
        "conv_transpose3d",
        (1, 1, 2, 0, 2),
        (1, 1, 2, 2, 2),
        {},
        "conv_transpose3d: x must have a height of at least 1, got shape (1, 1, 2, 0, 2)",
    ),
]


@pytest.mark.parametrize(("name", "x", "weight", "options", "message"), MESSAGES)
def test_messages_name_what_does_not_fit(
    name: str, x: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(gg, name)(gg.zeros(x), gg.zeros(weight), **options)


def test_a_wrong_bias_integers_and_sizes_beyond_memory_are_refused() -> None:
    x, weight = gg.zeros((1, 2, 4)), gg.zeros((2, 3, 3))
    with pytest.raises(ValueError, match=re.escape("conv_transpose1d: bias must have shape (3,), got (2,)")):
        gg.conv_transpose1d(x, weight, gg.zeros(2))
    with pytest.raises(TypeError, match="conv_transpose1d: operands must have a real floating dtype, got int64"):
        gg.conv_transpose1d(x.astype("int64"), weight.astype("int64"))
    with pytest.raises((OverflowError, MemoryError)):
        gg.conv_transpose1d(x, weight, stride=2**40)
    with pytest.raises(
        ValueError, match="conv_transpose1d: stride must be at most 1099511627776 along the length, got"
    ):
        gg.conv_transpose1d(x, weight, stride=2**62)


# Deep kernels of 3x3 with unit strides: float32 goes by minimal filtering.
DEEP = [
    ("conv", (2, 8, 9, (5, 12, 13), (3, 3, 3), {"padding": 1})),
    ("conv", (1, 16, 16, (4, 6, 20), (2, 3, 3), {"padding": (2, 0, 1), "dilation": (2, 1, 1), "groups": 2})),
    ("conv_transpose", (2, 9, 8, (4, 12, 13), (3, 3, 3), {"padding": 1})),
    ("conv_transpose", (1, 16, 16, (3, 14, 9), (2, 3, 3), {"padding": (0, 2, 1), "groups": 2})),
]


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
@pytest.mark.parametrize(("family", "case"), DEEP)
def test_deep_kernels_are_as_accurate_as_sums_of_float32(family: str, case: tuple[Any, ...], value: float) -> None:
    name, options = name_of(family, case), case[-1]
    x, weight, bias = (a.astype(np.float32) for a in arrays_of(family, case))
    if value != 0:
        weight = np.abs(weight)
        x[0, 3, 2, 4, 5] = value
    mine = np.asarray(getattr(gg, name)(*map(gg.asarray, (x, weight, bias)), **options))
    exact = getattr(torch.nn.functional, name)(
        *(torch.from_numpy(a.astype(np.float64)) for a in (x, weight, bias)), **options
    ).numpy()
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(exact))
    np.testing.assert_array_equal(np.isinf(mine), np.isinf(exact))
    there = np.isfinite(exact)
    assert there.any()
    assert there.all() == (value == 0)
    assert np.linalg.norm(mine[there] - exact[there]) < 6e-7 * np.linalg.norm(exact[there])

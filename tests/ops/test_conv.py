"""conv2d and its gradients against PyTorch in float64, to the second order; layouts, threads, messages."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(11)

# n, c, o, (h, w), (kh, kw), stride, padding, dilation, groups
CASES = [
    (2, 1, 8, (28, 28), (5, 5), 1, 0, 1, 1),
    (3, 8, 16, (12, 12), (5, 5), 1, 0, 1, 1),
    (1, 3, 16, (32, 32), (3, 3), 1, 1, 1, 1),
    (2, 4, 6, (9, 7), (3, 2), (2, 1), (1, 0), (1, 2), 2),
    (2, 6, 6, (10, 11), (3, 3), 1, 1, 1, 6),
    (2, 3, 5, (8, 8), (1, 1), 1, 0, 1, 1),
    (2, 7, 9, (21, 19), (1, 1), 1, 0, 1, 1),
    (3, 22, 14, (45, 30), (1, 1), 1, 0, 1, 2),
    (1, 2, 3, (5, 5), (5, 5), 1, 0, 1, 1),
    (1, 2, 3, (4, 17), (3, 3), 2, 1, 1, 1),
    (2, 2, 2, (6, 6), (2, 2), 3, 2, 2, 1),
    (1, 50, 20, (6, 6), (3, 3), 1, 1, 1, 1),
    (1, 2, 2, (3, 1), (1, 1), 1, 2, 1, 1),
    (4, 2, 17, (5, 3), (2, 3), 1, 1, 1, 1),
    (0, 2, 4, (5, 5), (3, 3), 1, 0, 1, 1),
    # Rows that fill vectors, with blocks of channels, strides, dilations, and rows longer than a band is wide.
    (2, 50, 7, (9, 16), (3, 3), 1, 1, 1, 1),
    (1, 6, 4, (11, 49), (3, 4), 2, (1, 2), (2, 3), 2),
    (1, 45, 13, (6, 30), (3, 3), (1, 2), 1, 1, 1),
    (1, 3, 5, (3, 1100), (2, 3), 1, 1, 1, 1),
    # Groups of one input channel.
    (2, 5, 10, (13, 22), (3, 5), (2, 3), (1, 4), (2, 1), 5),
    (1, 3, 3, (5, 700), (3, 3), 1, 1, 1, 3),
    (2, 4, 4, (9, 9), (5, 5), 2, 2, 1, 4),
    # Images of one column or row, and around a vector; rows and columns that blocks do not part evenly; windows beyond
    # the image.
    (2, 3, 3, (7, 1), (3, 3), 1, 1, 1, 3),
    (1, 3, 6, (1, 9), (3, 3), 2, 1, 1, 3),
    (2, 2, 2, (3, 3), (3, 3), 1, 2, 1, 2),
    (2, 3, 3, (13, 11), (3, 3), 2, 1, 1, 3),
    (1, 2, 2, (12, 26), (3, 3), 2, (0, 1), 1, 2),
    (1, 2, 2, (6, 5), (3, 3), 2, 4, 1, 2),
    (2, 2, 2, (19, 23), (3, 3), 3, 2, 1, 2),
    (1, 2, 4, (11, 21), (3, 3), (1, 2), 2, 2, 2),
    (1, 3, 3, (10, 17), (3, 3), (2, 1), 1, (1, 2), 3),
    (1, 2, 2, (40, 131), (3, 3), 2, 1, 1, 2),
    (1, 2, 2, (8, 7), (2, 2), 2, 0, 1, 2),
    (2, 3, 3, (45, 100), (3, 3), 1, 1, 1, 3),
    (1, 2, 2, (70, 67), (7, 7), 2, 3, 1, 2),
    (2, 3, 6, (12, 20), (5, 5), 1, 2, 1, 3),
    (2, 2, 2, (9, 40), (6, 3), 2, 2, 1, 2),
    (2, 3, 3, (21, 35), (3, 3), 2, 2, 1, 3),
    # Channels that fill vectors: bands of rows and of columns, dilations, groups, kernels of one element.
    (2, 16, 8, (13, 11), (3, 3), 2, 1, 1, 1),
    (1, 48, 20, (9, 70), (2, 4), (2, 3), (1, 2), (1, 2), 1),
    (2, 32, 17, (7, 90), (1, 1), 1, 0, 1, 1),
    (2, 33, 6, (9, 8), (1, 1), 2, 0, 1, 1),
    (1, 16, 4, (3, 1100), (3, 3), 1, 1, 1, 1),
    (1, 64, 8, (40, 40), (3, 3), 2, 1, 1, 2),
]


def arrays_of(case: tuple, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, object]]:
    n, c, o, size, kernel, stride, padding, dilation, groups = case
    x = RNG.standard_normal((n, c, *size)).astype(dtype)
    weight = RNG.standard_normal((o, c // groups, *kernel)).astype(dtype)
    bias = RNG.standard_normal(o).astype(dtype)
    return x, weight, bias, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@pytest.mark.parametrize("case", CASES)
def test_conv2d_and_two_orders_of_gradients_agree_with_torch(case: tuple) -> None:
    x, weight, bias, options = arrays_of(case)
    mine = [gg.asarray(a).requires_grad_() for a in (x, weight, bias)]
    their = [torch.from_numpy(a).requires_grad_() for a in (x, weight, bias)]
    out = gg.conv2d(*mine, **options)
    expected = torch.nn.functional.conv2d(*their, **options)
    assert out.shape == tuple(expected.shape)
    np.testing.assert_allclose(np.asarray(out.detach()), expected.detach().numpy(), rtol=1e-10, atol=1e-11)

    seed = RNG.standard_normal(expected.shape)
    my_seed, their_seed = gg.asarray(seed).requires_grad_(), torch.from_numpy(seed).requires_grad_()
    first = gg.grad(out, mine, my_seed, create_graph=True)
    first_expected = torch.autograd.grad(expected, their, their_seed, create_graph=True)
    for a, b in zip(first, first_expected, strict=True):
        np.testing.assert_allclose(np.asarray(a.detach()), b.detach().numpy(), rtol=1e-10, atol=1e-11)

    if x.size == 0:
        return  # PyTorch's gradient of nothing is no longer connected to its inputs
    # The gradients of both gradient ops: by x, by the weight, and by the seed.
    probes = [RNG.standard_normal(a.shape) for a in (x, weight, bias)]
    projection = sum((a * gg.asarray(p)).sum() for a, p in zip(first, probes, strict=True))
    projection_expected = sum((a * torch.from_numpy(p)).sum() for a, p in zip(first_expected, probes, strict=True))
    second = gg.grad(projection, [*mine[:2], my_seed])
    second_expected = torch.autograd.grad(projection_expected, [*their[:2], their_seed])
    for a, b in zip(second, second_expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_conv2d_in_narrow_types(case: tuple, dtype: str) -> None:
    x, weight, bias, options = arrays_of(case, "float32")
    narrow = [gg.asarray(a).astype(dtype) for a in (x, weight, bias)]
    out = np.asarray(gg.conv2d(*narrow, **options).astype("float64"))
    wide = [torch.from_numpy(np.asarray(a.astype("float64"))) for a in narrow]
    expected = torch.nn.functional.conv2d(*wide, **options).numpy()
    magnitude = torch.nn.functional.conv2d(*(a.abs() for a in wide), **options).numpy()
    roundoff = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    bound = (weight[0].size + 3) * 2.0**-24 * magnitude + roundoff * np.abs(expected) + 1e-7
    assert (np.abs(out - expected) <= bound).all()


def test_conv2d_reads_any_layout() -> None:
    x, weight, bias, options = arrays_of(CASES[3])
    expected = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, weight, bias)), **options).numpy()
    last = gg.permute_dims(gg.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1))), (0, 3, 1, 2))
    wide = np.zeros((2 * x.shape[0], x.shape[1], x.shape[2], 2 * x.shape[3]))
    wide[::2, :, :, ::2] = x
    spaced = gg.asarray(wide)[::2, :, :, ::2]
    turned = gg.permute_dims(gg.asarray(np.ascontiguousarray(weight.transpose(3, 2, 1, 0))), (3, 2, 1, 0))
    for x_, weight_ in itertools.product([last, spaced], [turned, gg.asarray(weight)]):
        found = gg.conv2d(x_, weight_, gg.asarray(bias), **options)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


def test_gradients_that_are_expanded_are_read_right() -> None:
    x, weight, _, options = arrays_of(CASES[1])
    mine = [gg.asarray(a).requires_grad_() for a in (x, weight)]
    their = [torch.from_numpy(a).requires_grad_() for a in (x, weight)]
    gg.conv2d(*mine, **options).sum().backward()
    torch.nn.functional.conv2d(*their, **options).sum().backward()
    for a, b in zip(mine, their, strict=True):
        np.testing.assert_allclose(np.asarray(a.grad), b.grad.numpy(), rtol=1e-11, atol=1e-11)


# Kernels with enough channels for minimal filtering: odd sizes, no vector or strip filled evenly, rows longer than a
# unit, groups; 3x3, 5x5, 1x3 and 1x5 with unit strides, 3x3 and 4x4 by strides of two.
FILTERED = [
    (3, 16, 16, (28, 28), (3, 3), 1, 1, 1, 1),
    (2, 37, 53, (13, 15), (3, 3), 1, 0, 1, 1),
    (1, 9, 15, (5, 7), (3, 3), 1, 2, 1, 1),
    (2, 40, 24, (14, 14), (3, 3), 1, (0, 1), 1, 2),
    (1, 8, 8, (4, 1100), (3, 3), 1, 1, 1, 1),
    (1, 16, 8, (600, 4), (3, 3), 1, (3, 0), 1, 1),
    (1, 130, 70, (12, 9), (3, 3), 1, 1, 1, 1),
    (2, 16, 24, (28, 27), (5, 5), 1, 2, 1, 1),
    (1, 37, 53, (17, 31), (5, 5), 1, (0, 3), 1, 1),
    (1, 8, 9, (6, 1100), (5, 5), 1, 2, 1, 1),
    (2, 40, 24, (33, 18), (5, 5), 1, 1, 1, 2),
    (1, 150, 70, (16, 15), (5, 5), 1, 2, 1, 1),
    (2, 16, 24, (56, 57), (3, 3), 2, 1, 1, 1),
    (1, 37, 53, (39, 42), (3, 3), 2, (0, 1), 1, 1),
    (1, 12, 9, (35, 2300), (3, 3), 2, 1, 1, 1),
    (2, 40, 48, (40, 31), (3, 3), 2, 1, 1, 2),
    (1, 130, 140, (32, 28), (3, 3), 2, 1, 1, 1),
    (1, 16, 24, (42, 33), (3, 3), 2, 3, 1, 1),
    (2, 16, 24, (32, 32), (4, 4), 2, 1, 1, 1),
    (1, 37, 53, (33, 42), (4, 4), 2, (1, 3), 1, 1),
    (2, 40, 48, (30, 27), (4, 4), 2, 1, 1, 2),
    (1, 8, 130, (16, 700), (4, 4), 2, 1, 1, 1),
    (2, 64, 48, (5, 300), (1, 5), 1, (0, 2), 1, 1),
    (1, 130, 75, (3, 257), (1, 3), 1, 1, 1, 1),
]


def conv_and_gradients(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, options: dict) -> list[np.ndarray]:
    """The convolution and, of half its sum of squares, the gradients."""
    leaves = [gg.asarray(a).requires_grad_() for a in (x, weight, bias)]
    out = gg.conv2d(*leaves, **options)
    (0.5 * out * out).sum().backward()
    return [np.asarray(out.detach()), *(np.asarray(leaf.grad) for leaf in leaves)]


def torch_conv_and_gradients(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, options: dict) -> list[np.ndarray]:
    leaves = [torch.from_numpy(a.astype(np.float64)).requires_grad_() for a in (x, weight, bias)]
    out = torch.nn.functional.conv2d(*leaves, **options)
    (0.5 * out * out).sum().backward()
    return [out.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]


@pytest.mark.parametrize("case", FILTERED)
def test_small_kernels_are_as_accurate_as_sums_of_float32(case: tuple) -> None:
    arrays = arrays_of(case, "float32")
    for mine, exact in zip(conv_and_gradients(*arrays), torch_conv_and_gradients(*arrays), strict=True):
        assert np.linalg.norm(mine - exact) < 6e-7 * np.linalg.norm(exact)


@pytest.mark.parametrize("channels", [8, 64, 300])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2)])
def test_one_element_of_a_convolution_is_off_by_its_window_times_the_largest_weights(
    channels: int, kernel: int, stride: int
) -> None:
    """What docs/determinism.md says of elements of very different sizes beside weights that are zero."""
    size = (20 * stride, 20 * stride)
    x, weight, _, options = arrays_of((1, channels, 16, size, (kernel, kernel), stride, kernel // 2, 1, 1), "float32")
    x = np.where(RNG.random(x.shape) < 0.01, 1000 * x, x)
    weight = np.where(RNG.random(weight.shape) < 0.5, 0, weight).astype(np.float32)
    mine = np.asarray(gg.conv2d(gg.asarray(x), gg.asarray(weight), **options))
    largest = np.broadcast_to(np.abs(weight).max(axis=(2, 3), keepdims=True), weight.shape)
    exact, measure = (
        torch.nn.functional.conv2d(*(torch.from_numpy(a.astype(np.float64)) for a in pair), **options).numpy()
        for pair in ((x, weight), (np.abs(x), largest))
    )
    assert (np.abs(mine - exact) <= 2.0**-20 * measure).all()


@pytest.mark.parametrize("case", [*FILTERED[:4], FILTERED[7], FILTERED[12]])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_kernels_in_narrow_types_are_those_of_float32_rounded(case: tuple, dtype: str) -> None:
    if dtype == "bfloat16" and gg._core._config()["isa"] == "amx":
        pytest.skip("AMX sums bfloat16 as it is: test_conv_tiles.py")
    x, weight, bias, options = arrays_of(case, "float32")
    narrow = [gg.asarray(a).astype(dtype) for a in (x, weight, bias)]
    wide = gg.conv2d(*(a.astype("float32") for a in narrow), **options)
    np.testing.assert_array_equal(
        np.asarray(gg.conv2d(*narrow, **options).astype("float32")), np.asarray(wide.astype(dtype).astype("float32"))
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38, -3e38])
@pytest.mark.parametrize("operand", ["x", "weight"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2)])
def test_small_kernels_keep_what_is_not_finite_or_large_where_it_belongs(
    operand: str, value: float, kernel: int, stride: int
) -> None:
    size = (12 * stride, 20 * stride)
    x, weight, bias, options = arrays_of((2, 16, 16, size, (kernel, kernel), stride, kernel // 2, 1, 1), "float32")
    x, weight = np.abs(x), np.abs(weight)  # so that an infinity meets no other of the opposite sign
    if operand == "x":
        x[1, 3, 4, 7] = value
        weight[:] = np.minimum(weight, 0.9)
    else:
        weight[5, 2, 1, 1] = value
        x[:] = np.minimum(x, 0.9)
    bias[2] = np.nan
    finite = abs(value) < np.inf
    with np.errstate(all="ignore"):
        out = np.asarray(gg.conv2d(gg.asarray(x), gg.asarray(weight), gg.asarray(bias), **options))
        exact = torch_conv_and_gradients(x, weight, bias, options)[0]
        g = np.ones_like(out)
        g[:, 5] = 0.5
        leaf = gg.asarray(weight).requires_grad_()
        gg.conv2d(gg.asarray(x), leaf, **options).backward(gg.asarray(g))
        theirs = torch.from_numpy(weight.astype(np.float64)).requires_grad_()
        torch.nn.functional.conv2d(torch.from_numpy(x.astype(np.float64)), theirs, **options).backward(
            torch.from_numpy(g.astype(np.float64))
        )
    expected = exact.astype(np.float32) if finite else exact
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    gradient = theirs.grad.numpy()
    if finite and operand == "x":  # sums of two numbers near the largest are too large, in whatever order
        gradient = gradient.astype(np.float32)
    np.testing.assert_allclose(np.asarray(leaf.grad), gradient, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("operand", ["x", "weight"])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (4, 1), (4, 3)])
def test_transposed_kernels_by_two_keep_what_is_not_finite_where_it_belongs(
    operand: str, value: float, kernel: int, padding: int
) -> None:
    x = np.abs(RNG.standard_normal((2, 16, 12, 21))).astype(np.float32)
    weight = np.abs(RNG.standard_normal((16, 12, kernel, kernel))).astype(np.float32)
    bias = RNG.standard_normal(12).astype(np.float32)
    (x if operand == "x" else weight)[1, 3, 1, 2] = value
    other = weight if operand == "x" else x
    other[:] = np.minimum(other, 0.9)
    options = {"stride": 2, "padding": padding}
    with np.errstate(all="ignore"):
        found = np.asarray(gg.conv_transpose2d(gg.asarray(x), gg.asarray(weight), gg.asarray(bias), **options))
        exact = torch.nn.functional.conv_transpose2d(
            *(torch.from_numpy(a.astype(np.float64)) for a in (x, weight, bias)), **options
        ).numpy()
    expected = exact.astype(np.float32) if abs(value) < np.inf else exact
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        *(CASES[i] for i in (0, 1, 7, 9, 22, 24, 31, 36, 41)),
        *FILTERED[:4],
        FILTERED[8],
        FILTERED[15],
        FILTERED[20],
        FILTERED[22],
    ],
)
def test_bits_do_not_depend_on_threads_nor_values_on_the_batch(case: tuple) -> None:
    x, weight, bias, options = arrays_of((8, *case[1:]), "float32")
    before = gg.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            gg.set_num_threads(threads)
            leaves = [gg.asarray(a).requires_grad_() for a in (x, weight, bias)]
            out = gg.conv2d(*leaves, **options)
            (out * out).sum().backward()
            results.append([np.asarray(out.detach()), *(np.asarray(leaf.grad) for leaf in leaves)])
    finally:
        gg.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    for i in range(8):
        alone = gg.conv2d(gg.asarray(x[i : i + 1]), gg.asarray(weight), gg.asarray(bias), **options)
        np.testing.assert_array_equal(np.asarray(alone)[0], results[0][0][i])


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"),
    [
        ((2, 3, 8), (4, 3, 3, 3), {}, "conv2d: x must have 4 axes (n, c, h, w), got shape (2, 3, 8)"),
        (
            (2, 3, 8, 8),
            (4, 2, 3, 3),
            {},
            "conv2d: weight must have 3 input channels (3 in 1 groups), got 2 (weight has shape (4, 2, 3, 3))",
        ),
        ((2, 3, 8, 8), (4, 3, 3, 3), {"groups": 2}, "conv2d: groups must divide the 3 input channels, got 2"),
        (
            (2, 3, 2, 8),
            (4, 3, 3, 3),
            {},
            "conv2d: padded height must be at least the kernel's 3, got 2 (2 with padding 0)",
        ),
        ((2, 3, 8, 8), (4, 3, 3, 3), {"stride": 0}, "conv2d: stride must be at least 1 along the height, got 0"),
        ((2, 3, 8, 8), (4, 3, 3, 3), {"padding": -1}, "conv2d: padding must be at least 0 along the height, got -1"),
        (
            (2, 3, 8, 8),
            (4, 3, 3, 3),
            {"dilation": 4},
            "conv2d: padded height must be at least the kernel's 9, got 8 (8 with padding 0)",
        ),
    ],
)
def test_conv2d_names_what_does_not_fit(
    x: tuple[int, ...], weight: tuple[int, ...], options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        gg.conv2d(gg.zeros(x), gg.zeros(weight), **options)


def test_conv2d_refuses_a_wrong_bias_and_integers() -> None:
    x, weight = gg.zeros((1, 2, 4, 4)), gg.zeros((3, 2, 3, 3))
    with pytest.raises(ValueError, match=r"conv2d: bias must have shape \(3,\), got \(2,\)"):
        gg.conv2d(x, weight, gg.zeros(2))
    with pytest.raises(TypeError, match="conv2d: operands must have a real floating dtype, got int64"):
        gg.conv2d(x.astype("int64"), weight.astype("int64"))

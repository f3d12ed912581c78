"""Pooling, padding and resampling layers against PyTorch's of the same names, in float64."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(17)
SIZES = {1: (9,), 2: (8, 7), 3: (6, 5, 7)}


def check(ours: nn.Module, theirs: torch.nn.Module, x: np.ndarray) -> None:
    mine, their = gg.asarray(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    out, expected = ours(mine), theirs(their)
    np.testing.assert_allclose(np.asarray(out.detach()), expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    seed = RNG.standard_normal(expected.shape)
    (out * gg.asarray(seed)).sum().backward()
    (expected * torch.from_numpy(seed)).sum().backward()
    np.testing.assert_allclose(np.asarray(mine.grad), their.grad.numpy(), rtol=1e-12, atol=1e-13)
    assert len(ours.state_dict()) == len(theirs.state_dict()) == 0


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "args", "options"),
    [
        ("MaxPool", (2,), {}),
        ("MaxPool", (3, 2, 1), {"dilation": 1, "ceil_mode": True}),
        ("AvgPool", (2,), {}),
        ("AvgPool", (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}),
        ("AdaptiveAvgPool", (1,), {}),
        ("AdaptiveAvgPool", (3,), {}),
        ("AdaptiveMaxPool", (3,), {}),
        ("LPPool", (2, 3), {}),
        ("LPPool", (3.0, 2, 1), {"ceil_mode": True}),
        ("LPPool", (float("inf"), 2), {}),
    ],
)
def test_pools(name: str, args: tuple[Any, ...], options: dict[str, Any], axes: int) -> None:
    layer, module = getattr(nn, f"{name}{axes}d"), getattr(torch.nn, f"{name}{axes}d")
    x = RNG.standard_normal((2, 3, *SIZES[axes]))
    if name == "LPPool" and args[0] == 3.0:
        x = np.abs(x)  # a negative sum has no cube root here or there
    check(layer(*args, **options), module(*args, **options), x)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_lp_pools_of_zeros_have_no_slope(axes: int) -> None:
    x = RNG.standard_normal((1, 2, *SIZES[axes]))
    x[0, 0] = 0.0
    check(getattr(nn, f"LPPool{axes}d")(2, 2), getattr(torch.nn, f"LPPool{axes}d")(2, 2), x)


def test_max_pools_give_positions() -> None:
    x = RNG.standard_normal((2, 3, 8, 7))
    for ours, theirs in (
        (nn.MaxPool2d(2, return_indices=True), torch.nn.MaxPool2d(2, return_indices=True)),
        (
            nn.AdaptiveMaxPool2d((3, None), return_indices=True),
            torch.nn.AdaptiveMaxPool2d((3, None), return_indices=True),
        ),
    ):
        values, places = ours(gg.asarray(x))
        expected, expected_places = theirs(torch.from_numpy(x))
        np.testing.assert_array_equal(np.asarray(values), expected.numpy())
        np.testing.assert_array_equal(np.asarray(places), expected_places.numpy())


def test_none_keeps_a_size() -> None:
    x = RNG.standard_normal((2, 3, 8, 7))
    check(nn.AdaptiveAvgPool2d((None, 3)), torch.nn.AdaptiveAvgPool2d((None, 3)), x)
    x = RNG.standard_normal((2, 3, 4, 8, 7))
    check(nn.AdaptiveAvgPool3d((2, None, 3)), torch.nn.AdaptiveAvgPool3d((2, None, 3)), x)
    check(nn.AdaptiveMaxPool3d((None, 2, 3)), torch.nn.AdaptiveMaxPool3d((None, 2, 3)), x)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", ["ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"])
def test_pads(name: str, axes: int) -> None:
    widths = (2, 1, 0, 3, 1, 2)[: 2 * axes]
    more = (1.5,) if name == "ConstantPad" else ()
    layer, module = getattr(nn, f"{name}{axes}d"), getattr(torch.nn, f"{name}{axes}d")
    x = RNG.standard_normal((2, 3, *SIZES[axes]))
    for padding in (2, widths):
        check(layer(padding, *more), module(padding, *more), x)
        check(layer(padding, *more), module(padding, *more), x[0])
    with pytest.raises(ValueError, match=f"{name}{axes}d: padding must be {2 * axes} integers, or one for all, got"):
        layer((1,) * (2 * axes + 1), *more)


def test_pads_refuse_other_numbers_of_axes() -> None:
    with pytest.raises(ValueError, match=re.escape("ReflectionPad1d: x must have 2 or 3 axes, got shape (1, 2, 3, 4)")):
        nn.ReflectionPad1d(1)(gg.zeros((1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.Upsample(scale_factor=2), torch.nn.Upsample(scale_factor=2)),
        (nn.Upsample((5, 9), mode="bicubic"), torch.nn.Upsample((5, 9), mode="bicubic")),
        (nn.UpsamplingNearest2d(scale_factor=3), torch.nn.UpsamplingNearest2d(scale_factor=3)),
        (nn.UpsamplingBilinear2d((11, 5)), torch.nn.UpsamplingBilinear2d((11, 5))),
        (nn.PixelShuffle(2), torch.nn.PixelShuffle(2)),
        (nn.PixelUnshuffle(2), torch.nn.PixelUnshuffle(2)),
        (nn.Unfold((2, 3), padding=1, stride=2), torch.nn.Unfold((2, 3), padding=1, stride=2)),
    ],
)
def test_resampling(ours: nn.Module, theirs: torch.nn.Module) -> None:
    check(ours, theirs, RNG.standard_normal((2, 8, 6, 8)))


def test_fold() -> None:
    check(nn.Fold((6, 7), 2, stride=2), torch.nn.Fold((6, 7), 2, stride=2), RNG.standard_normal((2, 12, 9)))


def test_layers_say_what_they_are() -> None:
    for layer, text in (
        (nn.MaxPool3d(2), "kernel_size=(2, 2, 2), stride=(2, 2, 2)"),
        (nn.AdaptiveAvgPool2d((1, None)), "output_size=(1, None)"),
        (nn.LPPool1d(2.0, 3), "norm_type=2.0, kernel_size=(3,)"),
        (nn.ConstantPad1d((1, 2), 7.0), "padding=(1, 2), value=7.0"),
        (nn.ZeroPad2d(1), "padding=(1, 1, 1, 1)"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "scale_factor=2, mode='bilinear'"),
        (nn.PixelShuffle(3), "upscale_factor=3"),
        (nn.Fold(4, 2), "output_size=4, kernel_size=2"),
    ):
        assert text in repr(layer)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.MaxPool2d((2, 2, 2)),
            "MaxPool2d: kernel_size must be 2 integers of at least 1, or one for all, got",
        ),
        (lambda: nn.AvgPool1d(0), "AvgPool1d: kernel_size must be 1 integers of at least 1, or one for all, got 0"),
        (lambda: nn.LPPool1d(0, 2)(gg.ones((1, 4))), "lp_pool1d: norm_type must not be 0, got 0"),
        (
            lambda: nn.functional.pixel_shuffle(gg.ones((3, 2, 2)), 2),
            "pixel_shuffle: upscale_factor must be positive, and its square divide the channels (..., c, h, w), got 2",
        ),
        (
            lambda: nn.functional.pixel_unshuffle(gg.ones((1, 3, 2)), 2),
            "pixel_unshuffle: downscale_factor must be positive and divide height and width (..., c, h, w), got 2",
        ),
    ],
)
def test_messages(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()

"""Interpolation, against its weights as matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from samples.rows import Array, add, call


def cubic_weight(distance: float) -> float:
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def sampling(
    n: int, size: int, mode: str = "nearest", align_corners: bool = False, scale: float | None = None
) -> Array:
    """Return the matrix (size, n) of resample."""
    matrix = np.zeros((size, n))
    step = 1 / scale if scale else n / size
    for o in range(size):
        if mode.startswith("nearest"):
            matrix[o, min(int((o + (0.5 if mode == "nearest-exact" else 0.0)) * step), n - 1)] = 1.0
            continue
        place = step * (o + 0.5) - 0.5
        if align_corners:
            place = o * (n - 1) / (size - 1) if size > 1 else 0.0
        if mode == "linear":
            place = min(max(place, 0.0), n - 1)
        for at in range(math.floor(place) - 1, math.floor(place) + 3):
            weight = max(0.0, 1 - abs(place - at)) if mode == "linear" else cubic_weight(place - at)
            matrix[o, min(max(at, 0), n - 1)] += weight
    return matrix


def resample(x: Array, size: int, axis: int = -1, **attrs: Any) -> Array:
    return np.moveaxis(np.tensordot(x, sampling(x.shape[axis], size, **attrs), ((axis,), (1,))), -1, axis)


def resample_grad(g: Array, input_size: int, size: int, axis: int = -1, **attrs: Any) -> Array:
    return np.moveaxis(np.tensordot(g, sampling(input_size, size, **attrs), ((axis,), (0,))), -1, axis)


# Along axis 1 of five elements, and along the last of seven.
RESAMPLINGS: list[dict[str, Any]] = [
    {"size": 8, "axis": 1},
    {"size": 3, "axis": 1, "mode": "nearest-exact"},
    {"size": 12, "mode": "linear"},
    {"size": 3, "axis": 1, "mode": "linear", "align_corners": True},
    {"size": 9, "axis": 1, "mode": "cubic"},
    {"size": 4, "mode": "cubic", "align_corners": True},
    {"size": 9, "mode": "linear", "scale": 1.3},
    {"size": 9, "mode": "nearest", "scale": 1.375},
]
NO_RESAMPLING_SPECIALS = "a weight of zero may be multiplied or left out, which zero times infinity tells apart"
NO_AXIS = "there must be an axis"


def sampled(shape: tuple[int, ...], attrs: dict[str, Any]) -> list[int]:
    out = list(shape)
    out[attrs.get("axis", -1)] = attrs["size"]
    return out


add(
    "resample",
    lambda make: [
        *(call(make(3, 5, 7), **attrs) for attrs in RESAMPLINGS),
        call(make(0, 5, 7), size=4, mode="linear"),
    ],
    resample,
    large=lambda make: call(make(64, 16, 64), size=32, axis=1, mode="linear"),
    no_rank0=NO_AXIS,
    no_specials=NO_RESAMPLING_SPECIALS,
)
add(
    "resample_grad",
    lambda make: [
        *(
            call(make(*sampled((3, 5, 7), attrs)), input_size=5 if attrs.get("axis") == 1 else 7, **attrs)
            for attrs in RESAMPLINGS
        ),
        call(make(0, 5, 4), input_size=7, size=4, mode="linear"),
    ],
    resample_grad,
    large=lambda make: call(make(64, 32, 64), input_size=16, size=32, axis=1, mode="linear"),
    no_rank0=NO_AXIS,
    no_specials=NO_RESAMPLING_SPECIALS,
)

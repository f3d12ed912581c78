"""The array API names composed in Python, against NumPy in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gorgo as gg

RNG = np.random.default_rng(7)


def test_moveaxis_as_numpy() -> None:
    x = RNG.standard_normal((2, 3, 4, 5))
    for source in itertools.permutations(range(4), 2):
        for destination in itertools.permutations((-1, 0, 2), 2):
            got = gg.moveaxis(gg.asarray(x), source, destination)
            np.testing.assert_array_equal(np.asarray(got), np.moveaxis(x, source, destination))


@pytest.mark.parametrize("axes", [0, 1, 2, ((1, 2), (1, 0)), ((-1,), (0,)), ((), ())])
def test_tensordot_as_numpy(axes: object) -> None:
    x, y = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((4, 3, 5))
    if axes == 2:
        y = RNG.standard_normal((3, 4, 5))
    got = gg.tensordot(gg.asarray(x), gg.asarray(y), axes=axes)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(got), np.tensordot(x, y, axes=axes), rtol=1e-12)  # type: ignore[arg-type]


def test_vecdot_conjugates_broadcasts_and_keeps_dtypes() -> None:
    x = RNG.standard_normal((2, 1, 3)) + 1j * RNG.standard_normal((2, 1, 3))
    y = RNG.standard_normal((4, 3)) + 1j * RNG.standard_normal((4, 3))
    got = gg.vecdot(gg.asarray(x), gg.asarray(y))
    np.testing.assert_allclose(np.asarray(got), np.sum(np.conj(x) * y, axis=-1), rtol=1e-12)
    narrow = gg.vecdot(gg.ones((3,), dtype=gg.int8), gg.ones((3,), dtype=gg.int8))
    assert narrow.dtype == gg.int8
    assert narrow.item() == 3


def test_broadcasting_as_numpy() -> None:
    for shapes in ([], [()], [(5, 1), (3,)], [(0,), (1,)], [(2, 1, 4), (3, 1), ()]):
        assert gg.broadcast_shapes(*shapes) == np.broadcast_shapes(*shapes)
    a, b = gg.broadcast_arrays(gg.asarray([[1], [2]]), gg.asarray([3, 4]))
    assert a.tolist() == [[1, 1], [2, 2]]
    assert b.tolist() == [[3, 4], [3, 4]]


def test_isdtype_as_numpy() -> None:
    kinds = ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric")
    for name in ("bool", "int8", "uint16", "int64", "float16", "float32", "complex64", "complex128"):
        for kind in kinds:
            assert gg.isdtype(getattr(gg, name), kind) == np.isdtype(np.dtype(name), kind)
    assert gg.isdtype(gg.bfloat16, "real floating")
    assert not gg.isdtype(gg.bfloat16, ("integral", gg.float16))


def test_errors_have_figures() -> None:
    x = gg.ones((2, 3))
    with pytest.raises(ValueError, match=r"source must be in \[-2, 2\), got 2"):
        gg.moveaxis(x, 2, 0)
    with pytest.raises(ValueError, match=r"destination must not repeat"):
        gg.moveaxis(x, (0, 1), (1, -1))
    with pytest.raises(ValueError, match=r"got 1 and 2"):
        gg.moveaxis(x, 0, (0, 1))
    with pytest.raises(ValueError, match=r"equal lengths, got \[3\] and \[2\]"):
        gg.tensordot(x, x, axes=1)
    with pytest.raises(ValueError, match=r"axes must be in \[0, 2\], got 3"):
        gg.tensordot(x, x, axes=3)
    with pytest.raises(ValueError, match=r"axis must be in \[-2, -1\], got 0"):
        gg.vecdot(x, x, axis=0)
    with pytest.raises(ValueError, match=r"equal length, got 3 and 2"):
        gg.vecdot(x, gg.ones((2,)))
    with pytest.raises(ValueError, match=r"4 and 3 along axis -1"):
        gg.broadcast_shapes((4,), (3,))
    with pytest.raises(ValueError, match=r"kind must be one of .*got 'float'"):
        gg.isdtype(gg.int8, "float")

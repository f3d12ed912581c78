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


@pytest.mark.parametrize("indexing", ["xy", "ij"])
@pytest.mark.parametrize("lengths", [(), (3,), (3, 2), (2, 3, 4), (0, 2)])
def test_meshgrid_as_numpy(indexing: str, lengths: tuple[int, ...]) -> None:
    vectors = [np.arange(float(n)) + i for i, n in enumerate(lengths)]
    got = gg.meshgrid(*(gg.asarray(v) for v in vectors), indexing=indexing)
    for a, b in zip(got, np.meshgrid(*vectors, indexing=indexing), strict=True):  # type: ignore[call-overload]
        np.testing.assert_array_equal(np.asarray(a), b)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_diff_as_numpy(axis: int, n: int) -> None:
    x = RNG.standard_normal((3, 4))
    np.testing.assert_array_equal(np.asarray(gg.diff(gg.asarray(x), axis=axis, n=n)), np.diff(x, axis=axis, n=n))
    ends = np.take(x, [0], axis=axis)
    got = gg.diff(gg.asarray(x), axis=axis, n=n, prepend=gg.asarray(ends), append=gg.asarray(ends))
    np.testing.assert_array_equal(np.asarray(got), np.diff(x, axis=axis, n=n, prepend=ends, append=ends))


def test_the_gradients_of_compositions_are_those_of_the_ops() -> None:
    x = gg.asarray(RNG.standard_normal((3, 4))).requires_grad_()
    y = gg.asarray(RNG.standard_normal((4, 5)))
    gg.tensordot(x, y, axes=1).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), np.broadcast_to(np.asarray(y).sum(axis=1), (3, 4)), rtol=1e-12)
    x.grad = None
    gg.diff(x, axis=0).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), [[-1.0] * 4, [0.0] * 4, [1.0] * 4])


def test_the_namespace_tells_of_itself() -> None:
    info = gg.__array_namespace_info__()
    assert gg.__array_api_version__ == "2024.12"
    assert info.default_device() in info.devices()
    assert info.capabilities()["max dimensions"] == gg.ones((1,) * 32).ndim
    assert info.default_dtypes() == {
        "real floating": gg.float32,
        "complex floating": gg.complex64,
        "integral": gg.int64,
        "indexing": gg.int64,
    }
    assert info.dtypes(kind="complex floating") == {"complex64": gg.complex64, "complex128": gg.complex128}
    assert set(info.dtypes(kind=("bool", "signed integer"))) == {"bool", "int8", "int16", "int32", "int64"}
    assert len(info.dtypes()) == 15
    with pytest.raises(ValueError, match="dtypes: device must be one of cpu, got 'cuda:7'"):
        info.dtypes(device="cuda:7")


def test_more_errors_have_figures() -> None:
    x = gg.ones((2, 3))
    with pytest.raises(ValueError, match=r"meshgrid: arrays must have at most one axis, got shape \(2, 3\)"):
        gg.meshgrid(x)
    with pytest.raises(ValueError, match="meshgrid: indexing must be 'xy' or 'ij', got 'yx'"):
        gg.meshgrid(indexing="yx")
    with pytest.raises(TypeError, match="meshgrid: arrays must have one dtype, got float32 and int64"):
        gg.meshgrid(gg.ones((2,)), gg.arange(2))
    with pytest.raises(ValueError, match="diff: n must be 0 or more, got -1"):
        gg.diff(x, n=-1)
    with pytest.raises(ValueError, match=r"diff: axis must be in \[-2, 2\), got 2"):
        gg.diff(x, axis=2)

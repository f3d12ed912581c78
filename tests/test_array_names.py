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


@pytest.mark.parametrize("axes", [0, 1, 2, ((1, 2), (1, 0)), ((-1,), (0,)), ((), ()), np.int64(1), (2, 0)])
def test_tensordot_as_numpy(axes: object) -> None:
    x, y = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((4, 3, 5))
    if isinstance(axes, int) and axes == 2:
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
    assert isinstance(gg.broadcast_arrays(a), list)
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
    assert len(info.dtypes()) == 13
    assert not {"float16", "bfloat16"} & set(info.dtypes(kind="real floating"))  # the standard has none
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


# ---- functions composed of elementwise ops ----

X, Y, Z = RNG.standard_normal((3, 4, 5))
COMPOSED = {
    "frac": (lambda m, x, *_: m.frac(x)),
    "deg2rad": (lambda m, x, *_: m.deg2rad(x)),
    "rad2deg": (lambda m, x, *_: m.rad2deg(x)),
    "lerp near": (lambda m, x, y, _: m.lerp(x, y, 0.25)),
    "lerp far": (lambda m, x, y, _: m.lerp(x, y, 0.75)),
    "lerp by tensors": (lambda m, x, y, z: m.lerp(x, y, z)),
    "addcmul": (lambda m, x, y, z: m.addcmul(x, y, z)),
    "addcmul by a value": (lambda m, x, y, z: m.addcmul(x, y, z, value=-0.5)),
    "addcdiv": (lambda m, x, y, z: m.addcdiv(x, y, z)),
    "addcdiv by a value": (lambda m, x, y, z: m.addcdiv(x, y, z, value=3)),
    "float_power": (lambda m, x, _, z: m.float_power(x * x, z)),
    "nan_to_num": (lambda m, x, *_: m.nan_to_num(x)),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_elementwise_functions_and_their_gradients_as_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(v, requires_grad=True) for v in (X, Y, Z)]
    expected = COMPOSED[name](torch, *theirs)
    slopes = torch.autograd.grad(expected.sum(), theirs, allow_unused=True)
    ours = [gg.asarray(v).requires_grad_() for v in (X, Y, Z)]
    got = COMPOSED[name](gg, *ours)
    np.testing.assert_allclose(np.asarray(got.detach()), expected.detach().numpy(), rtol=1e-13)
    for mine, slope in zip(gg.grad(got.sum(), ours, allow_unused=True), slopes, strict=True):
        assert (mine is None) == (slope is None)
        if mine is not None:
            np.testing.assert_allclose(np.asarray(mine), slope.numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_nan_to_num_as_numpy(dtype: str) -> None:
    x = np.array([1.0, np.nan, np.inf, -np.inf, -0.0], dtype)
    if dtype.startswith("complex"):
        parts = np.array([1.0, np.nan, np.inf, -np.inf, -0.0], x.real.dtype)
        x = np.empty((5, 5), dtype)
        x.real, x.imag = parts[:, None], parts
    for options in ({}, {"nan": 2.0}, {"posinf": 3.0, "neginf": -4.0}):
        got = gg.nan_to_num(gg.asarray(x), **options)
        assert np.asarray(got).dtype == dtype
        np.testing.assert_array_equal(np.asarray(got), np.nan_to_num(x, **options))
    assert gg.nan_to_num(gg.asarray([1, 2])).tolist() == [1, 2]


def test_nan_to_num_of_complex_numbers_passes_gradients_by_parts() -> None:
    x = np.array([complex(1.0, 2.0), complex(np.nan, 2.0), complex(1.0, np.inf), complex(-np.inf, np.nan)])
    ours = gg.asarray(x).requires_grad_()
    weights = np.array([1.0 + 2.0j, 3.0 - 1.0j, 0.5 + 0.25j, 2.0 + 1.0j])
    (slope,) = gg.grad(gg.nan_to_num(ours, posinf=3.0), [ours], gg.asarray(weights))
    np.testing.assert_array_equal(np.asarray(slope), [1.0 + 2.0j, -1.0j, 0.5, 0.0])


def test_float_power_of_other_dtypes() -> None:
    assert gg.float_power(gg.asarray([2, 3]), -2).dtype == gg.float64
    np.testing.assert_allclose(np.asarray(gg.float_power(gg.asarray([2, 3]), -2)), [1 / 4, 1 / 9], rtol=1e-15)
    assert gg.float_power(2.0, gg.asarray([0.5])).dtype == gg.float64
    got = gg.float_power(gg.asarray([-1.0]), 0.5 + 0j)
    assert got.dtype == gg.complex128
    np.testing.assert_allclose(np.asarray(got), [1j], atol=1e-15)


def test_lerp_reaches_both_ends_exactly() -> None:
    a, b = gg.asarray([0.1, 1e8]), gg.asarray([0.3, -1.0])
    assert gg.lerp(a, b, 0.0).tolist() == a.tolist()
    assert gg.lerp(a, b, 1.0).tolist() == b.tolist()


@pytest.mark.parametrize("equal_nan", [False, True])
def test_closeness_as_numpy(equal_nan: bool) -> None:
    inf, nan = np.inf, np.nan
    values = np.array([1.0, 1.0 + 1e-6, 1.1, inf, -inf, nan, 0.0, 1e-9, 1e300])
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = np.isclose(a, b, equal_nan=equal_nan)
    np.testing.assert_array_equal(np.asarray(gg.isclose(gg.asarray(a), gg.asarray(b), equal_nan=equal_nan)), expected)
    for x, y in ((values, values), (values[:3], values[:3]), (values[:2], values[1::-1])):
        mine = gg.allclose(gg.asarray(x), gg.asarray(y), equal_nan=equal_nan)
        assert mine is np.allclose(x, y, equal_nan=equal_nan)
        mine = gg.array_equal(gg.asarray(x), gg.asarray(y), equal_nan=equal_nan)
        assert mine is np.array_equal(x, y, equal_nan=equal_nan)


def test_closeness_of_numbers_integers_and_shapes() -> None:
    small = gg.asarray([1, 200], dtype=gg.uint8)
    assert gg.isclose(small, gg.asarray([2, 201], dtype=gg.uint8)).tolist() == [False, False]  # no wrapping
    assert gg.isclose(small, gg.asarray([2, 201], dtype=gg.uint8), atol=1).tolist() == [True, True]
    assert gg.isclose(gg.asarray([1e300], dtype=gg.float64), 1e300).tolist() == [True]
    assert gg.isclose(gg.asarray([0.1]), 0.1).tolist() == [True]
    assert gg.isclose(gg.asarray([True]), True).tolist() == [True]
    assert gg.isclose(gg.asarray([1j]), 1j + 1e-9).tolist() == [True]
    assert not gg.isclose(gg.ones((1,)).requires_grad_(), 1.0).requires_grad
    assert not gg.array_equal(gg.ones((2,)), gg.ones((2, 1)))
    assert not gg.array_equal(gg.ones((2,)), gg.ones((1,)))
    with pytest.raises(ValueError, match="isclose: rtol and atol must not be negative, got -1 and 0"):
        gg.isclose(small, small, rtol=-1, atol=0)


# ---- methods and conversions of the standard ----


def test_array_namespace_is_the_module() -> None:
    x = gg.ones((2,))
    assert x.__array_namespace__() is gg
    assert x.__array_namespace__(api_version=None) is gg
    assert x.__array_namespace__(api_version=gg.__array_api_version__) is gg
    with pytest.raises(ValueError, match=r"api_version must be one of 2021.12, .*got str '2019.01'"):
        x.__array_namespace__(api_version="2019.01")


def test_to_device_and_astype_know_where_tensors_can_be() -> None:
    x = gg.asarray([1.5, -2.5])
    assert x.to_device("cpu") is x
    assert x.to_device(x.device) is x
    assert str(x.to_device("null").device) == "null"
    with pytest.raises(ValueError, match="to_device: stream must be None"):
        x.to_device("cpu", stream=1)
    assert gg.astype(x, gg.float32, copy=False) is x
    assert gg.astype(x, gg.float32) is not x
    assert gg.astype(x, gg.int8, device="cpu").tolist() == [1, -2]
    assert str(gg.astype(x, gg.int8, device="null").device) == "null"
    assert gg.astype(x.requires_grad_(), gg.float64).requires_grad
    with pytest.raises(TypeError, match="astype"):
        gg.astype(x, gg.int8, True)  # type: ignore[call-arg]


def test_real_of_real_numbers_is_a_copy() -> None:
    for dtype in ("int8", "uint64", "float16", "bfloat16", "float64"):
        x = gg.ones((3,), dtype=dtype)
        assert gg.real(x).dtype == x.dtype
        assert gg.real(x).tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="real: x dtype must be numeric, got bool"):
        gg.real(gg.asarray([True]))


@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace_of_complex_numbers_as_numpy(endpoint: bool) -> None:
    got = gg.linspace(1 + 2j, -3 + 0.5j, 7, endpoint=endpoint, dtype=gg.complex128)
    np.testing.assert_allclose(np.asarray(got), np.linspace(1 + 2j, -3 + 0.5j, 7, endpoint=endpoint), rtol=1e-15)
    assert gg.linspace(0j, 1, 3).dtype == gg.complex64
    assert gg.linspace(0, 1, 3, dtype=gg.complex64).tolist() == [0, 0.5, 1]
    with pytest.raises(TypeError, match="linspace: dtype must be complex for complex start and stop, got float32"):
        gg.linspace(0, 1j, 3, dtype=gg.float32)

"""Print options: what they do to every kind of number, whose they are, and what they refuse. The oracle is NumPy."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gorgo as gg

DEFAULTS = {"precision": 8, "threshold": 1000, "edgeitems": 3, "linewidth": 75, "sci_mode": None}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    with gg.printoptions():
        yield


def numpys(a: np.ndarray, **options: Any) -> str:
    """NumPy's layout of the same elements under our name, without the dtype."""
    with np.printoptions(**({"linewidth": 75} | options)):
        return "tensor(" + np.array2string(a, separator=", ", prefix="tensor(", suffix=")")


def body(a: np.ndarray) -> str:
    text = repr(gg.asarray(a))
    return text.split(", dtype")[0].split(",\n       dtype")[0].removesuffix(")")


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    special = rng.standard_normal(9)
    special[[1, 4, 7]] = [np.nan, np.inf, -np.inf]
    return {
        "float64": rng.standard_normal((3, 5)),
        "float32": rng.standard_normal((3, 5)).astype(np.float32),
        "large and small": np.array([1.25, 1e-6, 12345.678, 3.0]),
        "nan and inf": special.reshape(3, 3),
        "negative tens": -10.0 * rng.random(6),
        "complex": (rng.standard_normal(6) + 1j * rng.standard_normal(6)).reshape(2, 3),
        "complex nan": np.array([1 + 2j, complex(np.nan, -np.inf)]),
        "int": rng.integers(-1000, 1000, (4, 6)),
        "bool": rng.random((4, 6)) > 0.5,
        "long": rng.standard_normal((60, 7)),
        "deep": rng.standard_normal((4, 9, 8)),
        "rank 0": np.array(math.pi),
    }


@pytest.mark.parametrize("name", arrays())
@pytest.mark.parametrize(
    "options",
    [
        {"precision": 0},
        {"precision": 3},
        {"precision": 17},
        {"threshold": 10},
        {"threshold": 0, "edgeitems": 1},
        {"threshold": 20, "edgeitems": 2, "precision": 4},
        {"linewidth": 40},
        {"linewidth": 130, "precision": 2},
    ],
    ids=str,
)
def test_options_mean_what_they_mean_in_numpy(name: str, options: dict[str, int]) -> None:
    a = arrays()[name]
    with gg.printoptions(**options):
        assert body(a) == numpys(a, **options)


@pytest.mark.parametrize("name", arrays())
def test_sci_mode_off_is_numpys_suppress(name: str) -> None:
    a = arrays()[name]
    with gg.printoptions(sci_mode=False, precision=5):
        assert body(a) == numpys(a, suppress=True, precision=5)


def test_sci_mode_on() -> None:
    gg.set_printoptions(sci_mode=True)
    assert repr(gg.asarray([1.0, -20.5, 0.0])) == "tensor([ 1.00e+00, -2.05e+01,  0.00e+00])"
    assert repr(gg.asarray([math.nan, 0.5, -math.inf])) == "tensor([   nan, 5.e-01,   -inf])"
    assert repr(gg.asarray([1, 2])) == "tensor([1, 2])"
    assert repr(gg.asarray([True])) == "tensor([ True])"
    gg.set_printoptions(precision=1)
    assert str(gg.asarray([1.26, 100.0])) == "[1.3e+00 1.0e+02]"
    assert repr(gg.asarray([1.5]).astype(gg.bfloat16)) == "tensor([1.5e+00], dtype=bfloat16)"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_floats(dtype: str) -> None:
    third = gg.asarray([1 / 3, 2.0]).astype(getattr(gg, dtype))
    with gg.printoptions(precision=2):
        assert repr(third) == f"tensor([0.33, 2.  ], dtype={dtype})"


def test_the_suffix_takes_part_in_the_line() -> None:
    x = gg.asarray([1.0, 2.0, 3.0]).requires_grad_()
    with gg.printoptions(linewidth=30):
        assert repr(x) == "tensor([1., 2., 3.],\n       requires_grad=True)"
        assert repr(x * 2) == "tensor([2., 4., 6.],\n       grad_fn=<multiply>)"
        assert repr(gg.zeros((0, 3))) == "tensor([], shape=(0, 3))"
        assert repr(gg.empty((2,), device="null")) == (
            "tensor(..., shape=(2,),\n       dtype=float32,\n       device='null')"
        )


def test_infinite_threshold_shows_everything() -> None:
    with gg.printoptions(threshold=math.inf):
        assert "..." not in repr(gg.arange(3000))
    assert "..." in repr(gg.arange(3000))


def test_options_are_kept_and_given_back() -> None:
    assert gg.get_printoptions() == DEFAULTS
    gg.set_printoptions(precision=4, sci_mode=True)
    assert gg.get_printoptions() == DEFAULTS | {"precision": 4, "sci_mode": True}
    with gg.printoptions(edgeitems=1) as inside:
        assert inside == gg.get_printoptions() == DEFAULTS | {"precision": 4, "sci_mode": True, "edgeitems": 1}
        gg.set_printoptions(precision=2, sci_mode=None)
    assert gg.get_printoptions() == DEFAULTS | {"precision": 4, "sci_mode": True}
    with pytest.raises(KeyError), gg.printoptions(**inside):
        raise KeyError
    assert gg.get_printoptions()["edgeitems"] == 3


def test_options_are_the_threads_own() -> None:
    gg.set_printoptions(precision=2)
    seen = {}

    def look() -> None:
        seen.update(gg.get_printoptions())
        gg.set_printoptions(precision=5)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == DEFAULTS
    assert gg.get_printoptions()["precision"] == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": -1}, ValueError, r"set_printoptions: precision must be in \[0, 100\], got -1"),
        ({"precision": 101}, ValueError, r"precision must be in \[0, 100\], got 101"),
        ({"precision": 2.5}, TypeError, "set_printoptions: precision must be an integer, got float"),
        ({"threshold": -1}, ValueError, "threshold must be in"),
        ({"threshold": math.nan}, TypeError, "threshold must be an integer, got float"),
        ({"edgeitems": 0}, ValueError, r"edgeitems must be in \[1, 2147483647\], got 0"),
        ({"linewidth": "wide"}, TypeError, "linewidth must be an integer, got str"),
        ({"sci_mode": 1}, TypeError, "set_printoptions: sci_mode must be a bool or None, got int"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_and_change_nothing(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gg.set_printoptions(**({"linewidth": 50} | options))
    assert gg.get_printoptions() == DEFAULTS


def test_long_numbers_fit() -> None:
    with gg.printoptions(sci_mode=False, precision=100):
        assert float(str(gg.asarray(-1.7976931348623157e308, dtype=gg.float64))) == -1.7976931348623157e308
        assert repr(gg.asarray([1e300, 5e-324], dtype=gg.float64)).startswith("tensor([1000000000")
    with gg.printoptions(sci_mode=True, precision=100):
        assert str(gg.asarray([5e-324], dtype=gg.float64)) == "[5.e-324]"

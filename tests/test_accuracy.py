"""Elementwise functions are within their limits of the truth: a sample of what accuracy.py takes all of."""

from __future__ import annotations

import accuracy
import mpmath
import numpy as np
import pytest
from accuracy import FORMATS, LIMITS

import gorgo as gg

DTYPES = [("float32", 99_991), ("float16", 1), ("bfloat16", 1), ("float64", 1)]


@pytest.mark.parametrize("op", LIMITS)
@pytest.mark.parametrize(("dtype", "every"), DTYPES, ids=[dtype for dtype, _ in DTYPES])
def test_results_are_within_their_limits(op: str, dtype: str, every: int) -> None:
    samples = 400 if dtype == "float64" else 20_000
    report = accuracy.measure(op, dtype, every=every, samples=samples)
    assert report.count >= 400
    assert report.beyond == 0, f"{report.worst} units at {report.at}: {report.got}"


def test_sigmoid_of_float64_rounds_once_in_its_left_tail() -> None:
    # At these a quotient by the rounded 1 + e^x is off by 2.2 to 2.4 units: each of its steps rounds the same way.
    hex_points = """-0x1.b9682b5e524fep+1 -0x1.babeaa4c4ee3ep+1 -0x1.3685f093cac90p+2 -0x1.b7ae3d4a7b8ecp+1
        -0x1.b876266e1e9afp+1 -0x1.ba7d20a195f30p+1 -0x1.0964a58008676p+2 -0x1.3643ef0d098b8p+2 -0x1.f2f4f49979de7p+0"""
    points = [float.fromhex(point) for point in hex_points.split()]
    got = np.asarray(gg.sigmoid(gg.asarray(np.array(points))))
    with mpmath.workdps(60):
        true = [1 / (1 + mpmath.exp(-mpmath.mpf(x))) for x in points]
        units = [float(abs(mpmath.mpf(y) - t) / np.spacing(float(t))) for y, t in zip(got.tolist(), true, strict=True)]
    assert max(units) < 0.8


def test_units_of_the_last_place() -> None:
    f = FORMATS["float32"]
    top = f.largest
    got = np.array([1.0, 1 + 2**-23, 2**-149, np.inf, np.inf, np.nan, 1.0, -0.0, 0.5])
    true = np.array([1.0, 1.0, 0.0, top * 2, top, np.nan, np.nan, 0.0, 0.5 + 2**-25])
    assert f.units(got, true).tolist() == [0, 1, 1, 0, 1, 0, np.inf, np.inf, 0.5]


def test_rounding_to_bfloat16_is_done_once() -> None:
    # Half a place and a little that float32 does not hold: rounding twice would go to even, that is down.
    value = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -(1 + 2.0**-8 + 2.0**-40)])
    assert FORMATS["bfloat16"].round(value).tolist() == [1 + 2**-7, 1.0, 1 + 2**-6, -(1 + 2**-7)]


def test_the_program_says_what_it_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert accuracy.main(["exp", "--every", "1000003"]) == 0
    line = capsys.readouterr().out.splitlines()[-1].split()
    assert line[0] == "exp"
    assert int(line[1].replace(",", "")) == 2**32 // 1000003 + 1
    monkeypatch.setitem(LIMITS, "exp", 0.5)
    assert accuracy.main(["exp", "--every", "1000003"]) == 1
    assert "beyond" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        accuracy.main(["no_such_op"])
    assert "op must be one of" in capsys.readouterr().err

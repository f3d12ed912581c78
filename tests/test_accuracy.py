"""Elementwise functions are within their limits of the truth: a sample of what accuracy.py takes all of."""

from __future__ import annotations

import accuracy
import numpy as np
import pytest
from accuracy import FORMATS, LIMITS

DTYPES = [("float32", 99_991), ("float16", 1), ("bfloat16", 1), ("float64", 1)]


@pytest.mark.parametrize("op", LIMITS)
@pytest.mark.parametrize(("dtype", "every"), DTYPES, ids=[dtype for dtype, _ in DTYPES])
def test_results_are_within_their_limits(op: str, dtype: str, every: int) -> None:
    samples = 400 if dtype == "float64" else 20_000
    report = accuracy.measure(op, dtype, every=every, samples=samples)
    assert report.count >= 400
    assert report.beyond == 0, f"{report.worst} units at {report.at}: {report.got}"


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

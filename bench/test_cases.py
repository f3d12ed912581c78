"""The bench under pytest: every case in every library, correct or failed; GORGO_TOY=1 makes it seconds.

All libraries of a case are measured once, interleaved, in their own processes; each test then hands its library's
rounds to pytest-benchmark, whose clock is set to read them, so that its table, --benchmark-json and
--benchmark-compare work as usual. Timing never decides a test: a wrong result does. Read first: harness.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench import cuda, determinism, harness, hotpath, roofline
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from pathlib import Path


class ReplayClock:
    """A clock that advances by what was measured elsewhere."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds so far."""
        return self.now


CLOCK = ReplayClock()
MEASURED: dict[tuple[str, str], harness.Measurement] = {}


# A library that is not here has no test, rather than one that is skipped; the header of the run names it (conftest.py).
PARAMETERS = [
    pytest.param(module, case, library, id=f"{module}-{case.name}-{library}".replace(" ", "_"))
    for module, case in harness.rows()
    for library in case.make
    if LIBRARIES[library].missing() is None
]


@pytest.mark.parametrize(("module", "case", "library"), PARAMETERS)
@pytest.mark.benchmark(timer=CLOCK, disable_gc=False, warmup=False)
def test_case(module: str, case: harness.Case, library: str, workers: harness.Workers, benchmark: Any) -> None:
    """Measure a case in one library beside the others and check its result."""
    key = (module, case.name)
    if key not in MEASURED:
        MEASURED[key] = workers.measure(module, case)
    measured = MEASURED[key]
    assert library not in measured.failures, measured.failures[library]
    rounds = iter(measured.samples_ns[library])

    def replay() -> None:
        CLOCK.now += next(rounds) * 1e-9

    benchmark.group = f"{module}: {case.name}"
    benchmark.extra_info["ratio to the best peer"] = measured.ratio(library)
    benchmark.extra_info["relative error"] = measured.errors.get(library)
    benchmark.pedantic(replay, rounds=len(measured.samples_ns[library]), iterations=1)


def test_import_times_are_those_of_fresh_interpreters() -> None:
    """Start each interpreter twice; one that fails to import raises."""
    samples = harness.import_samples_ms(2, ("numpy", "gorgo"))
    assert "bare" in samples
    for name, milliseconds in samples.items():
        assert len(milliseconds) == 2, name
        assert min(milliseconds) > 0, name


def test_every_bar_of_the_hot_path_names_a_case() -> None:
    """A renamed case must not lose its bar."""
    assert set(hotpath.BARS) <= set(harness.cases_of("bench_ops"))


def test_determinism_holds_where_its_cost_is_measured() -> None:
    """Rows of batches and threads must not change bits; what they cost is printed."""
    assert determinism.main() == 0


def test_the_roofline_is_drawn_for_every_set_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few cases with and without the program that measures ceilings; the second run adds to the first."""
    here = roofline.sets_here()
    few = ["--libraries", "numpy", "gorgo", "--rounds", "2", "--out", str(tmp_path)]
    assert roofline.main([*few, "--isa", here[0], *here[-1:], "--cases", "^matmul 16x|^exp"]) == 0
    assert (roofline.HOW_TO_BUILD in capsys.readouterr().out) == (harness.cpp_program("ceiling") is None)
    monkeypatch.setenv("GORGO_BENCH_CPP", str(tmp_path))
    assert roofline.main([*few, "--isa", here[-1], "amx", "--cases", "float64", "--keep"]) == 0
    report = (tmp_path / "roofline.md").read_text()
    for case in ("matmul 16x16x16", "matmul 64x64x64, float64", "exp, 16384 elements"):
        assert f"| {case} |" in report, case
    assert ("| amx | not run: " in report) == ("amx" not in here)
    assert (tmp_path / "roofline.png").stat().st_size > 10_000


def test_every_case_of_the_roofline_tells_what_it_moves() -> None:
    """Without bytes a case has no place under a roof."""
    for module, case in harness.rows():
        if module in roofline.MODULES:
            assert case.read > 0, case.name
            assert case.written > 0, case.name


def test_the_bench_of_a_card_has_a_word_for_everything_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a card it says so; with one and no time, each case says that."""
    assert cuda.main(["--quick", "--seconds", "0"]) == 0
    told = capsys.readouterr().out
    assert ("bench.cuda: " in told) != ("card: " in told)

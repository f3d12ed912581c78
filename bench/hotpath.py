"""Prints what one call costs in Gorgo over what it costs in NumPy, beside the bars that we set ourselves.

One run, float32, one thread, one core, rounds interleaved: `python -m bench.hotpath` or `python bench/hotpath.py`.
The bars decide nothing here (a noisy machine would decide instead); only a wrong result gives exit status 1. Read
first: harness.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import harness
from bench.bench_ops import CASES, REPLAY
from bench.libraries import LIBRARIES
from bench.progress import Progress


@dataclass(frozen=True)
class Bar:
    """The most that a case may cost: a share of NumPy's time, or nanoseconds where NumPy has nothing like it."""

    share: float | None = None
    nanoseconds: float | None = None

    def text(self) -> str:
        """Write the bar."""
        return f"{self.share:.2f}" if self.share is not None else harness.time_text(self.nanoseconds or 0.0)


BARS = {
    "a + a, 16 elements": Bar(0.6),
    "2 * a, 16 elements": Bar(0.6),
    "a @ a, 4x4": Bar(0.5),
    "a.sum(), 16 elements": Bar(0.5),
    "a.reshape(4, 4)": Bar(1.2),
    "a[3:7]": Bar(1.2),
    "empty 1024x1024": Bar(1 / 3),
    "a + a, gradient recorded": Bar(1.0),
    "(x * x).sum().backward(), 4 elements": Bar(nanoseconds=3000.0),
    # With the kernels of its four additions.
    REPLAY: Bar(nanoseconds=2000.0),
}
IMPORT_BAR_MS = 25.0


def main() -> int:
    """Measure and print; 1 when a result is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3 if harness.toy() else 31, help="interleaved rounds per case")
    arguments = parser.parse_args()
    if LIBRARIES["gorgo"].missing() is not None:
        print("hotpath: gorgo must be installed", file=sys.stderr)
        return 1
    wrong = False
    met = 0
    print(f"{'float32, one thread, one core':40} {'numpy':>9} {'gorgo':>9} {'ratio':>7} {'bar':>9}")
    with harness.Workers({"numpy", "gorgo", "gorgo.compile"}, arguments.rounds) as workers:
        for case in CASES:
            with Progress(case.name) as progress:
                measured = workers.measure("bench_ops", case, progress)
            for library, failure in measured.failures.items():
                print(f"{case.name:40} WRONG in {library}: {failure}")
                wrong = True
            column = "gorgo.compile" if "gorgo.compile" in measured.samples_ns else "gorgo"
            if column not in measured.samples_ns:
                continue
            ours = measured.median_ns(column)
            peer = measured.median_ns("numpy") if "numpy" in measured.samples_ns else None
            ratio = None if peer is None else ours / peer
            bar = BARS.get(case.name)
            verdict = ""
            if bar is not None:
                holds = (
                    ratio <= bar.share
                    if ratio is not None and bar.share is not None
                    else ours <= (bar.nanoseconds or 0)
                )
                verdict = f"{bar.text():>9}  {'met' if holds else 'NOT met'}"
                met += holds
            peer_text = "" if peer is None else harness.time_text(peer)
            ratio_text = "" if ratio is None else f"{ratio:.2f}"
            print(f"{case.name:40} {peer_text:>9} {harness.time_text(ours):>9} {ratio_text:>7} {verdict}")
    samples = harness.import_samples_ms(3 if harness.toy() else 15, ("gorgo",))
    added = statistics.median(samples["gorgo"]) - statistics.median(samples["bare"])
    met += added <= IMPORT_BAR_MS
    verdict = "met" if added <= IMPORT_BAR_MS else "NOT met"
    added_text, bar_text = f"{added:.1f} ms", f"{IMPORT_BAR_MS:.0f} ms"
    print(f"{'import, over a bare interpreter':40} {'':>9} {added_text:>9} {'':>7} {bar_text:>9}  {verdict}")
    print(f"{met} of {len(BARS) + 1} bars met")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())

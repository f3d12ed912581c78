"""What a card gives: Gorgo beside CuPy and PyTorch, in one process, on one stream, timed by the card's own clock.

Training steps are measured beside JAX too, and beside torch.compile with GORGO_BENCH_TORCH_COMPILE=1.

`python -m bench.cuda` (about a minute and a half), `--quick` (half a minute), `--only matmul`, `--out FILE` for JSON.
Libraries take turns, round by round; a figure is the median of the rounds. Each has operands of its own, random, in
sets that together are larger than the second-level cache, so nobody reads what is still there. Before a timed span
the card is kept busy until all calls of the span are enqueued: what is timed is the card, not the host (the tables of
launches, steps and memory time the host, and say so). Results are compared with float64 NumPy.
Invariant: time decides nothing; a wrong result gives exit status 1. A peer or a kernel that is missing is a line that
says so. Read first: cuda_cases.py (what is measured).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import cuda_cases, cuda_host_cases
from bench.cuda_libraries import Library, libraries_here
from bench.harness import time_text
from bench.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.cuda_cases import Case

BARS = {
    "elementwise and reductions": "90 % of the copy bandwidth, 2x CuPy's expressions",
    "rows": "1.0x PyTorch",
    "products bfloat16": "0.9x cuBLAS at 4096 and 8192, 1.0x from 512 to 2048",
    "products float32": "1.5x cuBLAS SGEMM at no worse error",
    "products tf32": "0.85x cuBLAS",
    "convolution": "0.8x cuDNN in bfloat16",
    "launches (host time)": "half of CuPy's",
    "training steps (host time)": "2x PyTorch with CUDA graphs",
    "memory (host time)": "under 1 us for a cached pair",
}
MOST_SETS = 48
SET_BYTES = 3 << 30  # of the operands of one library


@dataclass
class Row:
    """What a case gave in one column."""

    table: str
    case: str
    column: str
    nanoseconds: float = 0.0
    samples: list[float] = field(default_factory=list)
    rate: str = ""
    share: float | None = None  # of the measured copy bandwidth
    error: float | None = None
    failure: str = ""
    left_out: str = ""


@dataclass
class Column:
    """A case made ready in one column."""

    row: Row
    call: Callable[..., Any]
    sets: list[tuple[Any, ...]]
    calls_per_span: int = 1
    hold_ms: float = 0.0


def column_library(column: str) -> str:
    """Return the library of a column such as "gorgo.compile" or "torch tf32"."""
    return column.replace(".", " ").split(" ")[0]


class Bench:
    """Measures cases, and remembers what the card's memory can do."""

    def __init__(self, quick: bool, seconds: float) -> None:
        self.libraries, self.missing = libraries_here()
        self.gorgo = self.libraries["gorgo"]
        gg = self.gorgo.module
        figures = gg.cuda.properties()
        self.quick = quick
        self.rounds = 5 if quick else 9
        self.span_ms = 1.0 if quick else 2.0
        self.l2_bytes = int(figures["l2_bytes"])
        self.card = f"{figures['name']}, {figures['multiprocessors']} multiprocessors, {self.l2_bytes >> 20} MiB L2"
        self.until = time.monotonic() + seconds
        self.copy_bytes_per_ns = 0.0
        self.rows: list[Row] = []
        self._events = gg.cuda.Event(timing=True), gg.cuda.Event(timing=True)
        self._busy = [gg.ones((32 << 20,), device="cuda:0") for _ in range(2)]
        self._busy_ms = 0.0
        self._busy_ms = self._elapsed_ms(lambda: self._hold(16.0))[0] / 16.0

    def _hold(self, ms: float) -> None:
        """Give the card something to do for about that long."""
        target, source = self._busy
        for _ in range(int(ms / self._busy_ms) + 1 if self._busy_ms else int(ms)):
            target.copy_(source)

    def _elapsed_ms(self, work: Callable[[], Any]) -> tuple[float, float]:
        """Return how long the card took, and how long the host was busy enqueueing."""
        start, end = self._events
        begun = time.perf_counter()
        start.record()
        work()
        end.record()
        host_ms = (time.perf_counter() - begun) * 1e3
        end.synchronize()
        return float(start.elapsed_ms(end)), host_ms

    def late(self) -> bool:
        """Say whether the time for the run is up."""
        return time.monotonic() > self.until

    def note(self, table: str, case: str, column: str, reason: str) -> None:
        """Add a line that says why there is no figure."""
        self.rows.append(Row(table, case, column, left_out=reason))

    # ---- cases timed by the card's clock ----

    def measure(self, case: Case) -> None:
        """Time a case in all its columns, turn by turn."""
        late = "the time for this run is up" if self.late() else ""
        wanted = {}
        for name, make in case.calls.items():
            reason = self.missing.get(column_library(name)) or late
            if reason:
                self.note(case.table, case.name, name, reason)
            else:
                wanted[name] = make
        if not wanted:
            return
        rng = np.random.default_rng(20)
        first = [np.asarray(x) for x in case.operands(rng)]
        columns = []
        for name, make in wanted.items():
            row = Row(case.table, case.name, name)
            self.rows.append(row)
            try:
                columns.append(self._prepare(case, row, self.libraries[column_library(name)], make, first))
            except Exception as error:
                row.left_out = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
        for _ in range(self.rounds):
            for column in columns:
                if not column.row.left_out:
                    self._span(column)
        for column in columns:
            self._finish(case, column)

    def _prepare(
        self,
        case: Case,
        row: Row,
        library: Library,
        make: Callable[[Library], Callable[..., Any]],
        first: list[np.ndarray],
    ) -> Column:
        set_bytes = sum(x.size * library.itemsize(x, case.dtype) for x in first)
        count = int(max(2, min(MOST_SETS, 2.5 * self.l2_bytes / set_bytes + 1, SET_BYTES / set_bytes)))
        sets = [tuple(library.put(x, case.dtype) for x in first) for _ in range(count)]
        call = make(library)
        made = None
        for _ in range(4):  # a captured function is recorded, then enqueued, then becomes a graph
            made = call(*sets[0])
        results: Sequence[Any] = made if isinstance(made, tuple | list) else [made]
        operands: Sequence[Any] = sets[0]
        if case.sample is not None:
            results, operands = case.sample(results, operands)
        row.error = float(case.error([library.take(t) for t in results], [library.take(t) for t in operands]))
        if not row.error <= case.tolerance:
            row.failure = f"relative error {row.error:.3g}, tolerance {case.tolerance:.3g}"
        del made, results, operands
        column = Column(row, call, sets)
        for _ in range(2):  # the first time memory is found for the results
            ms, host_ms = self._elapsed_ms(lambda: self._repeat(call, sets, count))
        ms, host_ms = ms / count, host_ms / count
        column.calls_per_span = int(max(1, min(self.span_ms / max(ms, 1e-3), 200)))
        # A span of long calls keeps itself ahead of the host.
        if host_ms > 0.05 * ms:
            column.hold_ms = min(1.3 * host_ms * column.calls_per_span + 0.1, 20.0)
        return column

    def _span(self, column: Column) -> None:
        sets, call, count = column.sets, column.call, column.calls_per_span
        try:
            if column.hold_ms:
                self._hold(column.hold_ms)
            column.row.samples.append(self._elapsed_ms(lambda: self._repeat(call, sets, count))[0] / count * 1e6)
        except Exception as error:
            column.row.failure = f"{type(error).__name__}: {error}"[:160]
            column.row.left_out = "it raised while it was timed"

    @staticmethod
    def _repeat(call: Callable[..., Any], sets: list[tuple[Any, ...]], count: int) -> None:
        for k in range(count):
            call(*sets[k % len(sets)])

    def _finish(self, case: Case, column: Column) -> None:
        row = column.row
        column.sets.clear()
        if not row.samples:
            return
        row.nanoseconds = statistics.median(row.samples)
        if case.flop:
            row.rate = f"{case.flop / row.nanoseconds / 1e3:.1f} TF/s"
            if case.table.startswith("products"):
                row.rate += f" {row.error:.0e}"
        if case.moved_bytes:
            bytes_per_ns = case.moved_bytes / row.nanoseconds
            row.rate = f"{bytes_per_ns:.0f} GB/s"
            if case.table == "copy":
                self.copy_bytes_per_ns = max(self.copy_bytes_per_ns, bytes_per_ns)
            elif self.copy_bytes_per_ns:
                row.share = bytes_per_ns / self.copy_bytes_per_ns

    # ---- cases timed by the host's clock ----

    def measure_host(
        self,
        table: str,
        case: str,
        ways: dict[str, Callable[[Library], Callable[[int], float]]],
        calls: int,
        check: dict[str, Callable[[], str]] | None = None,
    ) -> None:
        """Time functions that do something `calls` times and return the nanoseconds of all of them."""
        timers: dict[str, tuple[Row, Callable[[int], float]]] = {}
        late = "the time for this run is up" if self.late() else ""
        for name, make in ways.items():
            library = column_library(name)
            reason = self.missing.get(library) or late
            row = Row(table, case, name, left_out=reason)
            self.rows.append(row)
            if reason:
                continue
            try:
                timer = make(self.libraries[library])
                timer(max(1, calls // 10))
                timers[name] = row, timer
            except Exception as error:
                row.left_out = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
        for _ in range(self.rounds):
            for row, timer in timers.values():
                row.samples.append(timer(calls) / calls)
        for name, (row, _) in timers.items():
            row.nanoseconds = statistics.median(row.samples)
            row.failure = check[name]() if check and name in check else ""


# ---- what is printed ----


def report(bench: Bench, bars: dict[str, str]) -> str:
    """Return the tables: a line for each case, a column for each way, and the ratio to the best peer."""
    lines = [f"card: {bench.card}", *(f"without {name}: {reason}" for name, reason in bench.missing.items())]
    tables = list(dict.fromkeys(row.table for row in bench.rows))
    for table in tables:
        rows = [row for row in bench.rows if row.table == table]
        columns = list(dict.fromkeys(row.column for row in rows))
        lines += ["", f"== {table}" + (f"   (bar: {bars[table]})" if table in bars else "")]
        lines.append(f"{'':44}" + "".join(f"{c:>26}" for c in columns) + f"{'best peer / ours':>18}")
        for case in dict.fromkeys(row.case for row in rows):
            here = {row.column: row for row in rows if row.case == case}
            cells = [cell(here.get(c)) for c in columns]
            lines.append(f"{case:44}" + "".join(f"{c:>26}" for c in cells) + f"{ratio(here):>18}")
        told = [r for r in rows if r.failure or (r.left_out and r.left_out not in bench.missing.values())]
        notes: dict[str, list[str]] = {}
        for r in told:
            wrong = "WRONG: " if r.failure else ""
            notes.setdefault(f"{wrong}{r.failure or r.left_out}", []).append(f"{r.column}: {r.case}")
        for text, where in notes.items():
            more = f" and {len(where) - 3} more" if len(where) > 3 else ""
            lines.append(f"   {text}   ({'; '.join(where[:3])}{more})")
    return "\n".join(lines)


def cell(row: Row | None) -> str:
    """Write one figure, its rate (of a product: and its error), and its share of the copy bandwidth."""
    if row is None:
        return ""
    if row.left_out or not row.samples:
        return "-"
    share = f" {row.share:4.0%}" if row.share is not None else ""
    mark = " !" if row.failure else ""
    return f"{time_text(row.nanoseconds)} {row.rate}{share}{mark}"


def ratio(here: dict[str, Row]) -> str:
    """Return how many times our best way is faster than the best of the others."""
    timed = {name: row.nanoseconds for name, row in here.items() if row.samples and not row.left_out}
    ours = [ns for name, ns in timed.items() if column_library(name) == "gorgo"]
    peers = [ns for name, ns in timed.items() if column_library(name) != "gorgo"]
    return f"{min(peers) / min(ours):.2f}" if ours and peers else ""


def as_json(bench: Bench) -> dict[str, Any]:
    """Return everything that was measured."""
    versions = {name: library.version() for name, library in bench.libraries.items()}
    return {
        "card": bench.card,
        "versions": versions,
        "copy_GB_per_s": bench.copy_bytes_per_ns,
        "missing": bench.missing,
        "rows": [{key: value for key, value in vars(row).items() if value not in ("", [])} for row in bench.rows],
    }


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a result is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller operands and fewer rounds: half a minute")
    parser.add_argument("--only", action="append", help="tables whose name holds this text; may be given again")
    parser.add_argument("--out", type=Path, help="JSON with every sample")
    parser.add_argument("--seconds", type=float, help="when to stop measuring further cases (90; 30 with --quick)")
    arguments = parser.parse_args(given)
    why_not = Library.why_no_card()
    if why_not:
        print(f"bench.cuda: {why_not}; nothing is measured")
        return 0
    usual = 30.0 if arguments.quick else 90.0
    bench = Bench(arguments.quick, usual if arguments.seconds is None else arguments.seconds)
    device = cuda_cases.tables(bench)
    work = [
        (name, run)
        for name, run in (*device[:2], *cuda_host_cases.tables(bench), *device[2:])
        if not arguments.only or any(text in name for text in arguments.only)
    ]
    with Progress("bench.cuda", len(work)) as progress:
        for name, run in work:
            progress(name, 1)
            try:
                run()
            except Exception as error:
                bench.note(name, "all", "gorgo", f"{type(error).__name__}: {error}"[:300])
    print(report(bench, BARS))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(as_json(bench), indent=1))
    wrong = [row for row in bench.rows if row.failure]
    print(f"\n{len(bench.rows)} figures, {len(wrong)} of them of wrong results")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

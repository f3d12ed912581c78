"""How near the kernels are to what the processor can do: bench/out/roofline.md, roofline.json and roofline.png.

`python -m bench.roofline` runs the kernels' cases once for each set of instructions, Gorgo told by GORGO_ISA and the
peers held to the same set (libraries.py tells how). A ceiling is measured in every round beside the libraries: what
the processor adds and multiplies in registers, and how fast a plain loop moves as many bytes as the case must, from as
many buffers. A call takes at least the longer of the two; the fraction is that time over the fastest round's. Where a
set doesn't exist here the report says that it was not run. Exit status 1 for a wrong result, unless that of a peer held
to a lesser set, and never for a slow one. Read first: harness.py, ceilings.py.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import harness
from bench.ceilings import HOW_TO_BUILD, KINDS, Ceilings
from bench.libraries import LIBRARIES
from bench.progress import Progress
from bench.report import TITLES, machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODULES = ("bench_matmul", "bench_matmul_narrow", "bench_conv", "bench_attention", "bench_memory", "bench_elements")
SETS = ("base", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx")
Named = dict[str, "float | None"]


def sets_here() -> list[str]:
    """Return the sets that this build of Gorgo has on this processor, ascending."""
    program = "import gorgo; c = gorgo._core._config(); print(c['isas_built'], c['isa_available'])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    *built, best = done.stdout.split()
    return [name for name in SETS if name in built and SETS.index(name) <= SETS.index(best)]


def usual_sets(here: Sequence[str]) -> list[str]:
    """Return AVX2, the fullest AVX-512 that there is, and AMX, whether or not they can run."""
    wide = [name for name in here if name.startswith("avx512")]
    return ["avx2", wide[-1] if wide else "avx512", "amx"]


@dataclass
class Row:
    """A case with one set of instructions; all that the report needs, so that rows outlive their run in JSON."""

    isa: str
    module: str
    case: str
    kind: str
    flop: float
    read: float
    written: float
    ring: int
    rounds_ns: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)

    @property
    def moved(self) -> float:
        return self.read + self.written

    @property
    def held(self) -> float:
        """The bytes that the case goes through before it comes back to the first."""
        return self.read * self.ring + self.written

    def ns(self, library: str) -> float | None:
        """Return the time of the fastest round: a ceiling, too, is what is reached while nobody else has the core."""
        return min(self.rounds_ns[library]) if library in self.rounds_ns else None

    def least_ns(self) -> tuple[float, str, float] | None:
        """Return the least time of a call, whether it is that of "flop" or "bytes", and that ceiling."""
        bounds = []
        if self.flop and self.rates:
            rate = max(self.rates)
            bounds.append((self.flop / rate, "flop", rate))
        if self.streams:
            rate = max(self.streams)
            bounds.append((self.moved / rate, "bytes", rate))
        return max(bounds) if bounds else None

    def fraction(self, library: str) -> float | None:
        """Return the fraction of the ceiling that a library reaches."""
        least, taken = self.least_ns(), self.ns(library)
        return None if least is None or taken is None else least[0] / taken

    def peers(self) -> dict[str, float]:
        """Return each peer's time over Gorgo's, medians of the rounds."""
        middle = {name: statistics.median(rounds) for name, rounds in self.rounds_ns.items()}
        ours = middle.get("gorgo")
        return {name: ns / ours for name, ns in middle.items() if ours and not LIBRARIES[name].ours}


def measure(workers: harness.Workers, ceilings: Ceilings, isa: str, module: str, case: harness.Case, step: Any) -> Row:
    """Run one case in all libraries, its ceilings in every round beside them."""
    ring = harness.ring_length(int(case.read))
    row = Row(isa, module, case.name, case.kind, case.flop, case.read, case.written, ring)

    def beside() -> None:
        step("ceilings")
        if case.flop and (rate := ceilings.rate(isa, case.kind)) is not None:
            row.rates.append(rate)
        if (stream := ceilings.stream(isa, case.read, case.written, ring)) is not None:
            row.streams.append(stream)

    measured = workers.measure(module, case, step, beside)
    row.rounds_ns, row.failures, row.left_out = measured.samples_ns, measured.failures, measured.left_out
    return row


# ---- what is written ----


def number(value: float | None) -> str:
    """Write three digits."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def percent(part: float | None) -> str:
    """Write a fraction."""
    return "-" if part is None else f"{100 * part:.{0 if part >= 0.1 else 1}f} %"


def ceilings_table(named: Mapping[str, Named], not_run: Mapping[str, str]) -> str:
    """Write each set's ceilings, or why it was not run."""
    columns = list(next(iter(named.values()), {}))
    lines = [f"| set | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {isa} | {' | '.join(number(values.get(name)) for name in columns)} |" for isa, values in named.items()
    ]
    lines += [f"| {isa} | not run: {why} |{' |' * (len(columns) - 1)}" for isa, why in not_run.items()]
    return "\n".join(lines)


def rows_table(rows: Sequence[Row]) -> str:
    """Write the rows of one module and one set."""
    present = [name for name in LIBRARIES if any(name in row.peers() for row in rows)]
    head = ["", "GF/s", "GB/s", "ceiling", "of it", *present, "the best peer's"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        ours, least, peers = row.ns("gorgo"), row.least_ns(), row.peers()
        cells = [row.case]
        cells.append(number(row.flop / ours) if ours and row.flop else "-")
        cells.append(number(row.moved / ours) if ours else "-")
        cells.append("-" if least is None else f"{number(least[2])} {'GB/s' if least[1] == 'bytes' else 'GF/s'}")
        fractions = {name: row.fraction(name) for name in peers}
        cells.append(percent(row.fraction("gorgo")))
        cells += ["WRONG" if name in row.failures else number(peers.get(name)) for name in present]
        best = max((fractions[name] or 0.0 for name in peers), default=0.0)
        cells.append(percent(best or None))
        if "gorgo" in row.failures:
            cells[1] = "WRONG"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def failures_of(rows: Sequence[Row]) -> list[str]:
    """List every wrong result."""
    return [f"{row.case}, {row.isa}, {name}: {why}" for row in rows for name, why in row.failures.items()]


def write_markdown(
    path: Path, facts: Mapping[str, str], named: Mapping[str, Named], not_run: Mapping[str, str], rows: Sequence[Row]
) -> None:
    """Write the report."""
    parts = ["# Roofline", "", *[f"- {name}: {value}" for name, value in facts.items()], ""]
    parts += [
        "One thread, one core, interleaved rounds. GF/s counts a multiplication and an addition as two (of bytes,",
        "Gop/s); GB/s counts each operand read once and the result written once; both are those of the fastest round.",
        "The ceiling is what bounds a case: multiply-adds in registers, or a loop that only moves these bytes; it is",
        "measured in every round, and the best counts. Under a library's name stands its time over Gorgo's, both",
        "medians: above 1 Gorgo is faster. Last, the fraction that the best of the others reaches.",
    ]
    if all(value is None for values in named.values() for value in values.values()):
        parts += ["", f"No ceilings: `{HOW_TO_BUILD}` builds what measures them."]
    parts += ["", "## Ceilings: GF/s of multiply-adds, GB/s of reads and copies", "", ceilings_table(named, not_run)]
    for module in MODULES:
        for isa in named:
            chosen = [row for row in rows if (row.module, row.isa) == (module, isa)]
            if chosen:
                parts += ["", f"## {TITLES[module]}: {isa}", "", rows_table(chosen)]
    left_out = {f"{name}, {row.isa}: {why}" for row in rows for name, why in row.left_out.items()}
    for title, lines in (("Left out", sorted(left_out)), ("Wrong results", failures_of(rows))):
        if lines:
            parts += ["", f"## {title}", "", *[f"- {line}" for line in lines]]
    path.write_text("\n".join(parts) + "\n")


def write_plot(path: Path, facts: Mapping[str, str], named: Mapping[str, Named], rows: Sequence[Row]) -> None:
    """Draw, for each set, the cases under their roofs, and those that only move bytes by where the bytes lie."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sets = [isa for isa in named if any(row.isa == isa for row in rows)]
    if not sets:
        return
    figure, axes = plt.subplots(len(sets), 2, figsize=(14, 5.5 * len(sets)), squeeze=False)
    colors = {module: f"C{index}" for index, module in enumerate(MODULES)}

    def points(axis: Any, row: Row, x: float, work: float) -> None:
        for name in row.rounds_ns:
            ours = LIBRARIES[name].ours
            marker, size, color, order = ("D", 28, colors[row.module], 3) if ours else (".", 14, "silver", 2)
            axis.scatter(x, work / (row.ns(name) or 1.0), marker=marker, s=size, color=color, zorder=order)

    for (roof, pace), isa in zip(axes, sets, strict=True):
        ceilings = named[isa]
        mine = [row for row in rows if row.isa == isa and row.ns("gorgo")]
        counted = [row for row in mine if row.flop]
        span = [row.flop / row.moved for row in counted] or [0.1, 100.0]
        left, right = min(span) / 3, max(span) * 3
        top = max((ceilings[kind] or 0.0 for kind in KINDS), default=0.0)
        heights: dict[str, list[str]] = {}
        for kind in KINDS:
            if (height := ceilings[kind]) and any(row.kind == kind for row in counted):
                heights.setdefault(number(height), []).append(kind)
        for kinds in heights.values():
            height = ceilings[kinds[0]] or 0.0
            roof.axhline(height, color="black", linewidth=1)
            roof.annotate(", ".join(kinds), (right, height), ha="right", va="bottom", fontsize="small")
        for name, rate in ceilings.items():
            if name.startswith("read ") and rate and top:
                roof.plot([left, top / rate], [left * rate, top], color="gray", linewidth=1, linestyle="--")
                roof.annotate(name.removeprefix("read "), (left, left * rate), fontsize="small", va="bottom")
        for row in counted:
            points(roof, row, row.flop / row.moved, row.flop)
        for row in mine:
            if row.flop:
                continue
            points(pace, row, row.held, row.moved)
            if least := row.least_ns():
                pace.scatter(row.held, least[2], marker="_", s=160, color="black")
        roof.set(xlim=(left, right), title=f"{isa}: products", xlabel="flop per byte moved at least", ylabel="GF/s")
        title = f"{isa}: what moves bytes (bars: the ceiling of the case)"
        pace.set(title=title, xlabel="bytes that rotate", ylabel="GB/s")
        for axis in (roof, pace):
            axis.set(xscale="log", yscale="log")
            axis.grid(alpha=0.3)
        handles = [plt.Line2D([], [], color=colors[m], marker="D", linestyle="") for m in MODULES]
        names = [TITLES[m] for m in MODULES]
        handles.append(plt.Line2D([], [], color="silver", marker=".", linestyle=""))
        roof.legend(handles, [*names, "peers"], fontsize="x-small", loc="lower right")
    figure.suptitle(f"{facts['processor']}, one thread", y=1.0)
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def read_kept(path: Path) -> tuple[dict[str, Named], list[Row]]:
    """Return the ceilings and rows of an earlier run."""
    if not path.exists():
        return {}, []
    stored = json.loads(path.read_text())
    return stored["ceilings"], [Row(**row) for row in stored["rows"]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the report; 1 when a result is wrong."""
    parser = argparse.ArgumentParser(prog="bench.roofline", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=MODULES, nargs="+", default=MODULES, help="the tables to make")
    parser.add_argument("--cases", type=re.compile, metavar="REGEX", help="of those, the cases whose names match")
    parser.add_argument("--isa", choices=SETS, nargs="+", help="the sets (AVX2, the fullest AVX-512, AMX)")
    parser.add_argument("--libraries", choices=LIBRARIES, nargs="+", help="the libraries to run (all)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds per case (15; 3 with GORGO_TOY=1)")
    parser.add_argument("--out", type=Path, default=harness.OUTPUT, help="folder to write to (bench/out)")
    parser.add_argument("--keep", action="store_true", help="rows of the folder's roofline.json that aren't run again")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stored = arguments.out / "roofline.json"
    named, rows = read_kept(stored) if arguments.keep else ({}, [])
    here = sets_here()
    chosen = [(module, case) for module, case in harness.rows() if module in arguments.only]
    if arguments.cases is not None:
        chosen = [(module, case) for module, case in chosen if arguments.cases.search(case.name)]
    sets = arguments.isa or usual_sets(here)
    not_run = {isa: "neither this processor nor this build of Gorgo has it" for isa in sets if isa not in here}
    sets = [isa for isa in sets if isa in here]
    with Progress("roofline", len(chosen) * len(sets)) as progress:
        for isa in sets:
            workers = harness.Workers(arguments.libraries, arguments.rounds, isa=isa, limit=isa != here[-1])
            with workers, Ceilings(workers.core) as ceilings:
                named[isa] = ceilings.named(isa)
                for module, case in chosen:
                    row = measure(workers, ceilings, isa, module, case, progress)
                    rows = [r for r in rows if (r.isa, r.module, r.case) != (isa, module, case.name)]
                    rows.append(row)
                    progress(case.name, 1)
    facts = machine()
    order = {key: at for at, key in enumerate((module, case.name) for module, case in harness.rows())}
    rows.sort(key=lambda row: order.get((row.module, row.case), len(order)))
    stored.write_text(
        json.dumps({"machine": facts, "ceilings": named, "not run": not_run, "rows": [asdict(row) for row in rows]})
        + "\n"
    )
    write_markdown(arguments.out / "roofline.md", facts, named, not_run, rows)
    write_plot(arguments.out / "roofline.png", facts, named, rows)
    print((arguments.out / "roofline.md").read_text())
    for failure in failures_of(rows):
        print(f"wrong: {failure}", file=sys.stderr)
    wrong = [row for row in rows if any(LIBRARIES[name].ours or row.isa == here[-1] for name in row.failures)]
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

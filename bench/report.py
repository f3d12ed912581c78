"""Runs every benchmark and writes bench/out/report.md, report.json and report.png.

`python -m bench.report` or `python bench/report.py`; `--only bench_ops` for one table. All figures of a row come
from one run with interleaved rounds, so their ratios mean more than the times. Exit status 1 when a result is
wrong, never for a slow one. Read first: harness.py.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import harness
from bench.libraries import LIBRARIES
from bench.progress import Progress

TITLES = {
    "bench_ops": "One call",
    "bench_alloc": "Memory",
    "bench_matmul": "Matrix product, float32 and float64",
    "bench_matmul_narrow": "Matrix product, bfloat16 and 8-bit integers",
    "bench_conv": "Convolution, float32",
    "bench_attention": "Attention, float32",
    "bench_memory": "Pools, sums, norms, elementary functions, float32",
    "bench_elements": "Small integers, casts, quotients",
    "bench_search": "Sorting, searching, running sums, float32",
    "bench_functions": "Elementary functions, float32 and float64",
    "bench_gradients": "Gradients of single ops, given that of the result",
    "bench_train": "One training step",
    "bench_infer": "Forward only",
}
ISA_FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16")
Results = Mapping[str, Sequence[tuple[harness.Case, harness.Measurement]]]


def machine() -> dict[str, str]:
    """Describe the processor, the instruction sets and the versions."""
    facts = {"processor": platform.processor() or platform.machine(), "instruction sets": "unknown"}
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    if model := re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE):
        facts["processor"] = model.group(1)
    if flags := re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE):
        have = set(flags.group(1).split())
        facts["instruction sets"] = " ".join(flag for flag in ISA_FLAGS if flag in have) or "none of those asked for"
        facts["AMX"] = "yes" if "amx_tile" in have else "no"
    facts["cores for this process"] = str(len(os.sched_getaffinity(0)))
    facts["Python"] = platform.python_version()
    for name in ("numpy", "torch", "jax", "cupy", "gorgo"):
        if LIBRARIES[name].missing() is None:
            try:
                facts[name] = metadata.version(name)
            except metadata.PackageNotFoundError:  # a build folder on the path, or a package of another name
                facts[name] = "not installed as a package of this name"
    facts["taken"] = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return facts


def table(rows: Sequence[tuple[harness.Case, harness.Measurement]]) -> str:
    """Write one module's measurements as a markdown table: time, and in brackets its ratio to the best peer's."""
    present = [name for name in LIBRARIES if any(name in measured.samples_ns for _, measured in rows)]
    has_flop = any(case.flop for case, _ in rows)
    head = ["", *present, *(["Gorgo GF/s"] if has_flop else [])]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for case, measured in rows:
        best = min(measured.samples_ns, key=measured.median_ns, default=None)
        cells = [case.name]
        for name in present:
            if name in measured.failures:
                cells.append("WRONG")
            elif name not in measured.samples_ns:
                cells.append("-")
            else:
                ratio = measured.ratio(name)
                text = harness.time_text(measured.median_ns(name)) + (
                    f" ({harness.ratio_text(ratio)})" if ratio is not None else ""
                )
                cells.append(f"**{text}**" if name == best else text)
        if has_flop:
            ours = "gorgo" in measured.samples_ns
            cells.append(f"{case.flop / measured.median_ns('gorgo'):.0f}" if ours else "-")
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {case.name}: {case.note}" for case, _ in rows if case.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def import_table(samples: Mapping[str, Sequence[float]]) -> str:
    """Write what an import adds to a bare interpreter."""
    bare = statistics.median(samples["bare"])
    names = [name for name in samples if name != "bare"]
    cells = [f"{statistics.median(samples[name]) - bare:.0f} ms" for name in names]
    return "\n".join(
        [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|", f"| import | {' | '.join(cells)} |"]
    )


def write_markdown(
    path: Path, facts: Mapping[str, str], results: Results, imports: Mapping[str, Sequence[float]]
) -> None:
    """Write the report."""
    parts = ["# Benchmarks", ""]
    parts += [f"- {name}: {value}" for name, value in facts.items()]
    parts += [
        "",
        "One thread, one core, each library in a process of its own, rounds interleaved, medians. In brackets: the",
        "time over that of the best peer in the same run; below 1 is faster. Bold: the fastest of the row.",
        "Allocators in C++ are compared with malloc. Machines are noisy: read ratios, not times.",
    ]
    for module, rows in results.items():
        parts += ["", f"## {TITLES[module]}", "", table(rows)]
    if imports:
        parts += ["", "## Import, over a bare interpreter", "", import_table(imports)]
    left_out = {n: why for rows in results.values() for _, measured in rows for n, why in measured.left_out.items()}
    if left_out:
        parts += ["", "## Left out", "", *(f"- {name}: {why}" for name, why in left_out.items())]
    failures = failures_of(results)
    if failures:
        parts += ["", "## Wrong results", "", *(f"- {failure}" for failure in failures)]
    path.write_text("\n".join(parts) + "\n")


def failures_of(results: Results) -> list[str]:
    """List every wrong result."""
    return [
        f"{case.name}, {library}: {failure}"
        for rows in results.values()
        for case, measured in rows
        for library, failure in measured.failures.items()
    ]


def write_json(path: Path, facts: Mapping[str, str], results: Results, imports: Mapping[str, Sequence[float]]) -> None:
    """Write all rounds, for comparisons later."""
    rounds: dict[str, Any] = {
        module: {case.name: {"rounds_ns": measured.samples_ns, "errors": measured.errors} for case, measured in rows}
        for module, rows in results.items()
    }
    path.write_text(
        json.dumps({"machine": dict(facts), "results": rounds, "import_ms": dict(imports)}, indent=1) + "\n"
    )


def write_plot(path: Path, facts: Mapping[str, str], results: Results) -> None:
    """Draw each library's time over the best peer's, one panel per table."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [(module, rows) for module, rows in results.items() if any(m.samples_ns for _, m in rows)]
    if not panels:
        return
    heights = [max(2.0, 0.45 * len(rows)) for _, rows in panels]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(10, sum(heights) + 1.2 * len(panels)), squeeze=False, height_ratios=heights
    )
    colors = {name: f"C{index % 10}" for index, name in enumerate(LIBRARIES)}
    for axis, (module, rows) in zip(axes[:, 0], panels, strict=True):
        for name in LIBRARIES:
            measured = [(m, y) for y, (_, m) in enumerate(rows) if name in m.samples_ns and m.best_peer(name)]
            points = [(m.ratio(name), y) for m, y in measured]
            if points:
                ours = LIBRARIES[name].ours
                axis.scatter(*zip(*points, strict=True), label=name, color=colors[name], s=70 if ours else 40,
                             marker="D" if ours else "o", zorder=3 if ours else 2)  # fmt: skip
        axis.axvline(1.0, color="gray", linewidth=1)
        axis.set_xscale("log")
        axis.set_yticks(range(len(rows)), [case.name for case, _ in rows])
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
        axis.set_title(TITLES[module])
        axis.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel("time over the best peer's (left of 1 is faster)")
    figure.suptitle(f"{facts['processor']}, one thread", y=1.0)
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def main() -> int:
    """Measure everything and write the report; 1 when a result is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only", choices=harness.MODULES, nargs="+", default=harness.MODULES, help="the tables to make"
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds per case (15; 3 with GORGO_TOY=1)")
    parser.add_argument("--out", type=Path, default=harness.OUTPUT, help="folder to write to (bench/out)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[tuple[harness.Case, harness.Measurement]]] = {}
    chosen = [(module, case) for module, case in harness.rows() if module in arguments.only]
    with harness.Workers(rounds=arguments.rounds) as workers, Progress("bench", len(chosen)) as progress:
        for module, case in chosen:
            measured = workers.measure(module, case, progress)
            progress(case.name, 1)
            results.setdefault(module, []).append((case, measured))
    imports = {}
    if "bench_ops" in arguments.only:
        imports = harness.import_samples_ms(*((2, ("numpy", "gorgo")) if harness.toy() else (7,)))
    facts = machine()
    write_markdown(arguments.out / "report.md", facts, results, imports)
    write_json(arguments.out / "report.json", facts, results, imports)
    write_plot(arguments.out / "report.png", facts, results)
    print((arguments.out / "report.md").read_text())
    failures = failures_of(results)
    for failure in failures:
        print(f"wrong: {failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())

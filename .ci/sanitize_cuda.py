#!/usr/bin/env python3
"""Run the registry's matrix on a card under compute-sanitizer, in many processes, and judge what it says.

    python .ci/sanitize_cuda.py [memcheck|racecheck|initcheck|synccheck ...] [--checks values,large] [--dtypes float32]
                                [--seconds N] [--jobs N] [--logs FOLDER]

The tests are those of tests/gpu/test_matrix.py whose check and dtype are asked for ("all" for every one), in an order
that mixes the ops, so that what a time limit leaves undone is a sample and not the end of the alphabet. gorgo must be
importable (PYTHONPATH=build/cuda/python). The exit status is 0 only if no tool found anything, no test failed and every
process came to its end; a limit of seconds for each tool ends a process between two tests, which is an end.

Memory comes from a pool, so neighbours of a tensor are no error to memcheck; GORGO_MEMORY_DEBUG=1 puts guard bytes
between them. racecheck looks at shared memory alone.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pytest

HERE = pathlib.Path(__file__).resolve()
TESTS = HERE.parents[1] / "tests"
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
CHECKS = ("values", "large", "specials", "layouts", "capture", "gradients", "captured_gradients")
SUMMARY = re.compile(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+)", re.MULTILINE)
# Of what the sanitizer writes, the lines that accuse nobody.
HARMLESS = re.compile(r"^=+( COMPUTE-SANITIZER| (ERROR|RACECHECK) SUMMARY: 0 .*| Target application returned .*)?$")
MOST_LINES = 60  # of one process's findings


def findings(log: str) -> list[str]:
    """Return the lines of a log that accuse somebody."""
    return [line for line in log.splitlines() if line.startswith("=====") and not HARMLESS.match(line.rstrip())]


def self_test() -> None:
    """Show that findings are seen, and that there are none in a clean log."""
    head = "========= COMPUTE-SANITIZER\n"
    clean = (
        head + "========= ERROR SUMMARY: 0 errors\n",
        head + "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n",
    )
    wrong = (
        head + "========= Invalid __global__ read of size 4 bytes\n=========     at f+0x10\n",
        head + "========= Warning: Race reported between Write access and Read access\n",
        head + "========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)\n",
    )
    if any(findings(log) for log in clean) or not all(findings(log) for log in wrong):
        sys.exit("sanitize_cuda: self-test failed")
    if [m[1] for m in map(SUMMARY.search, clean) if m] != ["0", "0"]:
        sys.exit("sanitize_cuda: self-test of summaries failed")


# ---- in a process under the sanitizer ----


class Chosen:
    """A plugin: the cases that are asked for, in a mixed order, until the time is up; a line in a file for each."""

    def __init__(self, checks: list[str], dtypes: list[str], until: float, told: pathlib.Path) -> None:
        """Note what to run, and where to tell of it."""
        self._checks, self._dtypes, self._until = checks, dtypes, until
        self._told = told.open("w")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep the cases that are asked for."""

        def wanted(item: Any) -> bool:
            case = getattr(item, "callspec", None) and item.callspec.params.get("case")
            return (
                case is not None
                and ("all" in self._checks or case.check in self._checks)
                and ("all" in self._dtypes or case.dtype in self._dtypes)
            )

        chosen = [item for item in items if wanted(item)]
        items[:] = [chosen[i] for i in np.random.default_rng(5).permutation(len(chosen))]
        self._told.write(f"chosen {len(items)}\n")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Tell how a test went."""
        if report.when == "call" or report.failed or report.skipped:
            why = " ".join(str(report.longrepr).split())[-300:] if report.failed else ""
            self._told.write(f"{report.outcome} {report.nodeid.rpartition('::')[2]} {why}\n")
            self._told.flush()

    def pytest_runtest_teardown(self, item: Any) -> None:
        """Stop when the time is up."""
        if time.time() > self._until:
            item.session.shouldstop = "the time is up"


def work(arguments: argparse.Namespace) -> int:
    """Run one part of the tests."""
    plugin = Chosen(arguments.checks, arguments.dtypes, arguments.until, arguments.told)
    options = ["-q", "-p", "no:cacheprovider", "--part", arguments.part, "-m", "gpu"]
    return int(pytest.main([*options, str(TESTS / "gpu" / "test_matrix.py")], plugins=[plugin]))


# ---- who starts them ----


def ends(process: subprocess.Popen[bytes], until: float) -> bool:
    """Say whether a process ends in time."""
    try:
        process.wait(timeout=max(1.0, until - time.time()))
    except subprocess.TimeoutExpired:
        return False
    return True


def run_tool(tool: str, arguments: argparse.Namespace, logs: pathlib.Path) -> bool:
    """Run all parts under one tool; say what came of it, and whether all was well."""
    environment = {**os.environ, "GORGO_GPU_WORKERS": "0"}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GORGO_NUM_THREADS"):
        environment.setdefault(name, "1")
    begun = time.time()
    until = begun + arguments.seconds
    processes = []
    for k in range(1, arguments.jobs + 1):
        told, log = logs / f"{tool}.{k}.tests", logs / f"{tool}.{k}.log"
        # A backtrace of the host keeps Python's frames alive, and a captured function is told that its tensors escaped.
        command = [arguments.sanitizer, "--tool", tool, "--show-backtrace", "device", "--log-file", str(log)]
        command += [sys.executable, str(HERE), "--work"]
        command += ["--part", f"{k}/{arguments.jobs}", "--until", str(until), "--told", str(told)]
        command += ["--checks", ",".join(arguments.checks), "--dtypes", ",".join(arguments.dtypes)]
        with (logs / f"{tool}.{k}.out").open("wb") as out:
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=HERE.parents[1],
                start_new_session=True,  # the sanitizer has a child of its own
            )
        processes.append(process)
    complaints = []
    try:
        for k, process in enumerate(processes, 1):
            if not ends(process, until + arguments.grace):
                complaints.append(f"{tool}, process {k}: did not end {arguments.grace:g} s after its time")
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    counts: collections.Counter[str] = collections.Counter()
    for k, process in enumerate(processes, 1):
        name = f"{tool}, process {k}"
        told, log = logs / f"{tool}.{k}.tests", logs / f"{tool}.{k}.log"
        for line in told.read_text().splitlines() if told.exists() else []:
            kind, _, rest = line.partition(" ")
            counts[kind] += int(rest) if kind == "chosen" else 1
            if kind == "failed":
                complaints.append(f"{name}: failed {rest}")
        text = log.read_text(errors="replace") if log.exists() else ""
        accused = findings(text)
        if accused:
            complaints.append("\n".join([f"{name}:", *accused[:MOST_LINES]]))
        if not SUMMARY.search(text):
            last = (logs / f"{tool}.{k}.out").read_text(errors="replace")[-600:]
            complaints.append(f"{name}: no summary, exit status {process.returncode}; it ended with\n{last}")
    done = counts["passed"] + counts["failed"] + counts["skipped"]
    print(
        f"{tool}: {counts['passed']} tests passed, {counts['failed']} failed, {counts['skipped']} skipped,"
        f" {counts['chosen'] - done} of {counts['chosen']} not reached, {len(complaints)} complaints,"
        f" {time.time() - begun:.0f} s"
    )
    if counts["passed"] == 0:
        complaints.append(f"{tool}: no test passed")
    print("\n".join(complaints), end="\n" if complaints else "", flush=True)
    return not complaints


def listed(text: str) -> list[str]:
    """Return the parts of "a,b"."""
    return text.split(",")


def main() -> int:
    """Run the tools that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tools", nargs="*", help=f"of {', '.join(TOOLS)} (all)")
    parser.add_argument("--checks", type=listed, default=["values", "large"], help=f"of {', '.join(CHECKS)}, or all")
    parser.add_argument("--dtypes", type=listed, default=["float32"], help="such as float32,bfloat16, or all")
    parser.add_argument("--seconds", type=float, default=1e6, help="for each tool")
    parser.add_argument("--grace", type=float, default=60.0, help="seconds for a test under way when the time is up")
    parser.add_argument("--jobs", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1), help="processes")
    parser.add_argument("--logs", type=pathlib.Path, help="where the logs stay")
    parser.add_argument("--sanitizer", default=shutil.which("compute-sanitizer"))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--told", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments)
    self_test()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending what was begun
    for given, known in ((arguments.tools, TOOLS), (arguments.checks, (*CHECKS, "all"))):
        if unknown := set(given) - set(known):
            parser.error(f"must be of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    if arguments.sanitizer is None:
        parser.error("compute-sanitizer must be on the path; it comes with the CUDA toolkit")
    with tempfile.TemporaryDirectory() as folder:
        logs = arguments.logs or pathlib.Path(folder)
        logs.mkdir(parents=True, exist_ok=True)
        fine = [run_tool(tool, arguments, logs) for tool in arguments.tools or TOOLS]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())

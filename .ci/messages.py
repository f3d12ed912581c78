#!/usr/bin/env python3
"""List the places that raise an error which no test reaches: every message has a test that provokes it.

    cmake --preset coverage && cmake --build --preset coverage
    python .ci/messages.py                      # every test but the fuzz, which reaches messages by luck; half an hour
    python .ci/messages.py --more tests/ops     # adds what these tests reach to what was reached before

A place is a `fail<...>`, `throw` or `PyErr_...` in csrc, a `raise` in python/gorgo. What ran is counted by gcov for C++
and by a trace function for Python. What no caller can reach stands below with the reason.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "coverage"
TRACED = BUILD / "raised.json"

# (file, part of the statement): why no test can reach it.
UNREACHABLE: dict[tuple[str, str], str] = {
    ("csrc/bindings/errors.cpp", "an unknown C++ exception"): "a defect: what is thrown on purpose is known",
    ("csrc/bindings/errors.cpp", "memory for bookkeeping must fit"): "the host itself is out of memory",
    ("csrc/bindings/python_methods.cpp", "table must be a dict of names"): "gorgo/__init__.py alone calls it, once",
    ("csrc/dispatch/call.cpp", "dtype must have a kernel on"): "a defect of a family; the matrix of tests sees it",
    ("csrc/core/dtype.h", "dtype is not supported"): "a defect of a family: kernels are asked for the dtypes they have",
    ("csrc/graph/planner.cpp", "dtype must have a kernel on"): "a defect of a family; the matrix of tests sees it",
    ("csrc/opdef/enqueue.cpp", "raise_fault must throw"): "a defect of a family",
    ("csrc/ops/index/index.cpp", "shape of the result must not be asked for"): "a defect of the caller in C++",
    ("csrc/ops/random/random_sample.cpp", 'fail<ValueError>(name ": " message'): "a macro, whose uses count",
    ("csrc/opdef/registry.cpp", "op names must differ"): "a defect of a family, seen at the first import",
    ("csrc/ops/sort/sort.cpp", "axis must be at most 2**32 - 1 long"): "wants an axis of 4 GiB elements or more",
}

# What wants a card: (file, part of the statement) and the test that provokes it there.
ON_A_CARD: dict[tuple[str, str], tuple[str, str]] = {
    ("csrc/bindings/dlpack.cpp", "or a handle on a cuda device"): (
        "tests/gpu/test_cuda_interop.py",
        "test_the_device_and_the_capsule",
    ),
    ("csrc/bindings/interop.cpp", "must be aligned to its elements"): (
        "tests/gpu/test_cuda_interop.py",
        "test_interfaces_that_cannot_be_used_say_why",
    ),
    ("csrc/bindings/interop.cpp", "copy=False needs an object on"): (
        "tests/gpu/test_cuda_interop.py",
        "test_a_consumer_may_ask_for_a_copy_on_the_cpu",
    ),
    ("csrc/bindings/interop.cpp", "tensor must be on the cpu"): (
        "tests/gpu/test_cuda_device.py",
        "test_numpy_is_told_to_ask_for_a_copy",
    ),
    ("csrc/graph/capture.cpp", "tensors of a captured function must be on one device"): (
        "tests/gpu/test_cuda_replay.py",
        "test_a_captured_function_stays_on_one_device",
    ),
    ("python/gorgo/cuda.py", "elapsed_ms: events must be made with timing"): (
        "tests/gpu/test_cuda_device.py",
        "test_events_tell_the_time_between",
    ),
}


@dataclass(frozen=True)
class Site:
    """A statement that raises."""

    path: str
    first: int
    last: int
    text: str
    shares_line: bool = False  # with the condition that it hangs on


# ---- places ----

RAISES = re.compile(r"\bfail<|\bthrow [A-Z]\w*\(|\bPyErr_(SetString|Format)\(")
# Passes on what stands elsewhere: an error that Python has set already, or the text of a C++ exception.
PASSES_ON = re.compile(r"throw PythonError\(\)|, e\.what\(\)\)|^\s*throw E\(cat\(")


def cpp_sites() -> Iterator[Site]:
    """Yield what raises in csrc."""
    for path in sorted((ROOT / "csrc").rglob("*")):
        if path.suffix not in (".cpp", ".h") or "cuda" in path.parts:
            continue
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            found = RAISES.search(line.split("//")[0])
            if not found or PASSES_ON.search(line):
                continue
            text, last = line[found.start() :], number
            while not text.rstrip().endswith((";", "}")) and last < len(lines):
                text += " " + lines[last].strip()
                last += 1
            yield Site(str(path.relative_to(ROOT)), number, number, text, "(" in line[: found.start()])


def python_sites() -> Iterator[Site]:
    """Yield what raises in python/gorgo, re-raises aside."""
    for path in sorted((ROOT / "python").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                last = node.end_lineno or node.lineno
                yield Site(str(path.relative_to(ROOT)), node.lineno, last, ast.unparse(node))


# ---- what ran ----


def run_traced(pytest_arguments: list[str]) -> int:
    """Run pytest here and add the lines of its raise statements to those of earlier runs."""
    import pytest

    lines = {str(ROOT / s.path): set[int]() for s in python_sites()}
    for site in python_sites():
        lines[str(ROOT / site.path)].update(range(site.first, site.last + 1))
    known: dict[str, set[int]] = {}  # by the name that a code object has, which may be a link
    reached: set[tuple[str, int]] = set()

    def inside(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line" and frame.f_lineno in known[frame.f_code.co_filename]:
            reached.add((os.path.realpath(frame.f_code.co_filename), frame.f_lineno))
        return inside

    def called(frame: FrameType, _event: str, _argument: object) -> Any:
        name = frame.f_code.co_filename
        if name not in known:
            known[name] = lines.get(os.path.realpath(name), set())
        return inside if known[name] else None

    threading.settrace(called)
    sys.settrace(called)
    status = pytest.main(pytest_arguments)
    sys.settrace(None)
    before = json.loads(TRACED.read_text()) if TRACED.exists() else []
    now = {(str(Path(name).relative_to(ROOT)), line) for name, line in reached}
    TRACED.write_text(json.dumps(sorted({tuple(pair) for pair in before} | now)))
    return int(status)


def counted_lines() -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Return for each file of csrc the lines that ran, and those all of whose blocks did, in some instance."""
    ran: dict[str, set[int]] = {}
    whole: dict[str, set[int]] = {}
    files = [str(path) for path in BUILD.rglob("*.gcda")]
    if not files:
        sys.exit(f"messages: {BUILD} must hold a coverage build whose tests have run, got no counts")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["gcov", "--json-format", "--hash-filenames", *files], cwd=folder, check=True, capture_output=True
        )
        for report in Path(folder).glob("*.gcov.json.gz"):
            document = json.loads(gzip.decompress(report.read_bytes()))
            for file in document["files"]:
                path = os.path.normpath(Path(document["current_working_directory"]) / file["file"])
                if not path.startswith(str(ROOT / "csrc")):
                    continue
                relative = str(Path(path).relative_to(ROOT))
                for line in file["lines"]:
                    if line["count"]:
                        ran.setdefault(relative, set()).add(line["line_number"])
                        if not line["unexecuted_block"]:
                            whole.setdefault(relative, set()).add(line["line_number"])
    return ran, whole


# ---- the judgement ----


def main() -> None:
    """Run the tests under the counters; exit with 1 and a list if a place that raises is reached by none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more", action="store_true", help="add to the counts of earlier runs")
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    options, pytest_arguments = parser.parse_known_args()
    if options.traced:
        sys.exit(run_traced(pytest_arguments))
    if not options.more:
        for path in [*BUILD.rglob("*.gcda"), TRACED]:
            path.unlink(missing_ok=True)
        subprocess.run([BUILD / "gorgo_cpp_tests"], check=True, stdout=subprocess.DEVNULL)
    all_but_fuzz = [f"--ignore-glob={ROOT}/tests/test_fuzz*"]
    arguments = ["-q", "-p", "no:cacheprovider", *(pytest_arguments or all_but_fuzz)]
    environment = {**os.environ, "PYTHONPATH": str(BUILD / "python")}
    subprocess.run([sys.executable, __file__, "--traced", *arguments], env=environment, cwd=ROOT, check=False)

    ran, whole = counted_lines()
    for path, line in json.loads(TRACED.read_text()):
        ran.setdefault(path, set()).add(line)
    sites = [*cpp_sites(), *python_sites()]
    # `if (bad) fail<...>(...)` is one line: it has reached its end when none of its blocks was left out.
    reached = {
        s for s in sites if (whole if s.shares_line else ran).get(s.path, set()) & set(range(s.first, s.last + 1))
    }
    excused = {s for s in sites if any(s.path == path and part in s.text for path, part in (*UNREACHABLE, *ON_A_CARD))}
    wrong = [
        f"{path}: {part!r}: {file} has no {test}"
        for (path, part), (file, test) in ON_A_CARD.items()
        if f"def {test}(" not in (ROOT / file).read_text()
    ]
    wrong += [
        f"the lists of what is not reached have {path}: {part!r}, which {what}"
        for path, part in (*UNREACHABLE, *ON_A_CARD)
        for named in [{s for s in excused if s.path == path and part in s.text}]
        for what in (["is nowhere"] if not named else ["a test has reached"] if named & reached else [])
    ]
    missing = sorted(set(sites) - reached - excused, key=lambda s: (s.path, s.first))
    for line in [*wrong, *(f"{s.path}:{s.first}: {s.text[:160]}" for s in missing)]:
        print(line)
    print(f"{len(sites)} places raise: {len(reached)} reached, {len(excused)} cannot be, {len(missing)} without a test")
    sys.exit(1 if wrong or missing else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Run the Python tests of a sanitized build in many short processes, and judge what the sanitizer says.

    sanitized_tests.py asan REPORTS PRELOAD tests [pytest arguments]

For sanitize.sh, which sets the environment. One process for each core runs at a time, for some hundred tests: a part
of a large file, or some small ones. So a leak is found near the test that leaks, and what one leaves behind (threads,
other libraries) is not in the way of the rest.

Of AddressSanitizer every memory error fails, and so does memory that our module allocated and nobody can reach.
CPython and NumPy leave memory behind at exit, with frames of the interpreter in every stack; a suppression that names
them would hide our leaks too. So the sanitizer writes its reports to files, and of the leaks this keeps those with a
frame of our own module. Where the leak check itself breaks down, nothing was looked at: the process runs once more, and
then fails.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import math
import os
import pathlib
import re
import subprocess
import sys
import time

ERROR = re.compile(r"ERROR: (AddressSanitizer|UndefinedBehaviorSanitizer)|: runtime error: |CHECK failed: ")
BROKE_DOWN = re.compile(r"has encountered a fatal error|Tracer caught signal|Failed (spawning|suspending)")
OURS = re.compile(r"/gorgo/_core\.|\bgorgo::")
# Made once when the module is imported and kept until the process ends, by design of CPython and pybind11.
ONCE_PER_PROCESS = re.compile(
    r"PyInit__core|pybind11::(detail::)?(get_internals|get_local_internals|class_|module_)|pybind11_exec"
)
NO_TESTS = 5  # pytest's exit status where the arguments select none
TESTS_PER_PROCESS = 1000


def leaks(text: str) -> list[str]:
    """Return the blocks of a report that describe a direct leak from our module."""
    blocks = re.split(r"\n\s*\n", text)
    return [
        block.strip()
        for block in blocks
        if block.lstrip().startswith("Direct leak") and OURS.search(block) and not ONCE_PER_PROCESS.search(block)
    ]


def self_test() -> None:
    """Show that an error, a breakdown and a leak of ours are seen, and leaks of others and of the import are not."""
    block = "Direct leak of 64 byte(s) in 1 object(s) allocated from:\n    #0 malloc\n    #1 {}\n    #2 _PyEval\n\n"
    ours = block.format("0x1 in gorgo::Storage::make /x/gorgo/_core.so")
    others = block.format("0x1 in PyList_New /usr/bin/python") + block.format("0x1 in PyInit__core /x/gorgo/_core.so")
    if len(leaks("==1==ERROR: LeakSanitizer\n\n" + ours + others)) != 1:
        sys.exit("sanitized_tests: self-test of leaks failed")
    if ERROR.search("==1==ERROR: LeakSanitizer: detected") or not ERROR.search("==7==ERROR: AddressSanitizer: heap-"):
        sys.exit("sanitized_tests: self-test of errors failed")
    if BROKE_DOWN.search(ours) or not BROKE_DOWN.search("==9==LeakSanitizer has encountered a fatal error.\n"):
        sys.exit("sanitized_tests: self-test of breakdowns failed")


@dataclasses.dataclass
class Outcome:
    """What one process gave."""

    status: int
    seconds: float
    output: str
    errors: list[str]
    broke_down: list[str]
    leaks: list[str]


@dataclasses.dataclass
class Share:
    """The tests of some files, or a part of them."""

    paths: list[str]
    tests: int
    part: int = 1
    parts: int = 1

    @property
    def name(self) -> str:
        """What the share is called in the output and on the disk."""
        files = self.paths[0] + (f" to {self.paths[-1]}" if len(self.paths) > 1 else "")
        return files + (f" {self.part}/{self.parts}" if self.parts > 1 else "")

    def run(self, folder: pathlib.Path, environment: dict[str, str], arguments: list[str]) -> Outcome:
        """Run the tests, with the sanitizer's reports in a folder of their own."""
        folder = folder / re.sub(r"\W+", "-", self.name)
        folder.mkdir(parents=True)
        options = f"{environment.get('ASAN_OPTIONS', '')}:log_path={folder / 'report'}"
        command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["--part", f"{self.part}/{self.parts}", *self.paths, *arguments]
        start = time.monotonic()
        ended = subprocess.run(
            command,
            check=False,
            env={**environment, "ASAN_OPTIONS": options},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        texts = [path.read_text(errors="replace") for path in sorted(folder.glob("report*"))]
        return Outcome(
            ended.returncode,
            time.monotonic() - start,
            ended.stdout,
            [text for text in texts if ERROR.search(text)],
            [text for text in texts if BROKE_DOWN.search(text)],
            [block for text in texts for block in leaks(text)],
        )


def shares(tests: str, environment: dict[str, str], arguments: list[str]) -> list[Share]:
    """Collect the tests and share them out, the largest shares first."""
    # Nothing is left behind by a collection that the tests would not leave too.
    environment = {**environment, "ASAN_OPTIONS": environment.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", tests, *arguments]
    listed = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, text=True)
    if listed.returncode not in (0, NO_TESTS):
        sys.exit(f"sanitized_tests: the collection failed with {listed.returncode}\n{listed.stdout[-5000:]}")
    counts = collections.Counter(line.partition("::")[0] for line in listed.stdout.splitlines() if "::" in line)
    if not counts:
        sys.exit("sanitized_tests: the arguments select no tests")
    found: list[Share] = []
    small = Share([], 0)
    for path, count in sorted(counts.items()):
        parts = math.ceil(count / TESTS_PER_PROCESS)
        if parts > 1:
            found += [Share([path], count // parts, part, parts) for part in range(1, parts + 1)]
            continue
        if small.tests + count > TESTS_PER_PROCESS:
            found.append(small)
            small = Share([], 0)
        small = Share([*small.paths, path], small.tests + count)
    if small.paths:
        found.append(small)
    return sorted(found, key=lambda share: -share.tests)


def main() -> None:
    """Run everything; exit with 1 if a test fails or the sanitizer finds something."""
    self_test()
    kind, reports, preload, tests, *arguments = sys.argv[1:]
    folder = pathlib.Path(reports)
    environment = {**os.environ, "LD_PRELOAD": preload}
    failed, errors, found, broke_down = [], 0, 0, 0
    todo = shares(tests, environment, arguments)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(share.run, folder, environment, arguments): share for share in todo}
        for done in concurrent.futures.as_completed(running):
            share, outcome = running[done], done.result()
            for text in outcome.broke_down:
                print(f"== {share.name}: the leak check broke down\n{text[-6000:]}", flush=True)
            if outcome.broke_down and not outcome.errors:
                broke_down += 1
                told = {**environment, "LSAN_OPTIONS": environment["LSAN_OPTIONS"] + ":verbosity=1:log_threads=1"}
                outcome = share.run(folder / "again", told, arguments)
            bad = outcome.status not in (0, NO_TESTS) or outcome.errors or outcome.leaks or outcome.broke_down
            last = outcome.output.strip().rpartition("\n")[2]
            print(f"{share.name}: {last}, exit status {outcome.status}, {outcome.seconds:.0f} s", flush=True)
            if bad:
                print(outcome.output[-20000:])
                print(
                    "\n\n".join(text[:6000] for text in [*outcome.errors[:5], *outcome.broke_down, *outcome.leaks[:20]])
                )
                failed.append(share.name)
            errors += len(outcome.errors)
            found += len(outcome.leaks)
    if kind == "asan":
        print(f"{errors} memory errors, {found} leaks of ours, {broke_down} leak checks repeated")
    print(f"{len(todo)} processes, failed: {', '.join(failed) or 'none'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

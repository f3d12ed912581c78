"""Runs the tests of this folder in a few processes of their own: a kernel that crashes or hangs takes one test with it.

After an illegal access a process can use the card no more, and a kernel that never ends blocks whoever waits for it.
So `Parent`, a plugin of the pytest that people start, only hands names of tests to child processes, each a pytest with
the plugin `Child`, and shows their reports as if they were its own; a child that dies, hangs or has lost its card is
replaced. The children work ahead, beside one another; reports come in the usual order.
GORGO_GPU_WORKERS says how many there are. With 0 all tests run in the one process, for compute-sanitizer and debuggers.
Invariant: each test that was chosen gets exactly one verdict, whatever becomes of the process.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from _pytest.runner import runtestprotocol

PIPES = "GORGO_GPU_CHILD"  # the file descriptors that a child reads and writes
START_SECONDS = 90.0
TEST_SECONDS = 30.0
# What has ended this many processes is not tried further, and nothing is after this many altogether.
MOST_DEATHS = 2
MOST_DEATHS_IN_ALL = 60
TESTS = Path(__file__).resolve().parents[1]
# The work is on the card; many threads on the host would only be in each other's way.
FEW_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "GORGO_NUM_THREADS": "2"}

Answer = dict[str, Any]


def is_child() -> bool:
    return PIPES in os.environ


def default_count() -> int:
    """Return how many children there are: they take turns on the card, so a few are enough."""
    told = os.environ.get("GORGO_GPU_WORKERS")
    return int(told) if told is not None else max(1, min(4, len(os.sched_getaffinity(0)) - 1))


class Child:
    """The plugin of a child: instead of running all tests in order, run those that are asked for."""

    def __init__(self, card_answers: Callable[[], bool]) -> None:
        self._card_answers = card_answers

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Answer until nobody asks any more, or until the card answers no more."""
        reader, writer = (int(n) for n in os.environ[PIPES].split(","))
        items = {item.nodeid: item for item in session.items}
        with os.fdopen(reader) as asked, os.fdopen(writer, "w") as answers:
            answers.write("ready\n")
            answers.flush()
            for line in asked:
                answer = self._answer(items[json.loads(line)])
                answers.write(json.dumps(answer) + "\n")
                answers.flush()
                if not answer["alive"]:
                    os._exit(1)  # without its card the process may not manage an orderly end
        return True

    def _answer(self, item: pytest.Item) -> Answer:
        reports = runtestprotocol(item, log=False, nextitem=None)
        seconds = {report.when: report.duration for report in reports}
        if all(report.passed for report in reports):
            return {"alive": True, "seconds": seconds}
        told = [item.config.hook.pytest_report_to_serializable(config=item.config, report=r) for r in reports]
        return {"alive": self._card_answers() if any(r.failed for r in reports) else True, "reports": told}


class Process:
    """A child, seen from the parent."""

    def __init__(self, config: pytest.Config, files: list[str]) -> None:
        asked, self._ask = os.pipe()
        self._answers, answers = os.pipe()
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **FEW_THREADS, "PYTHONPATH": path, PIPES: f"{asked},{answers}"},
            pass_fds=(asked, answers),
            cwd=config.rootpath,
        )
        os.close(asked)
        os.close(answers)
        self._begun = b""
        self.why_not = (
            "" if self._line(START_SECONDS) is not None else f"a process must start, got {self._last_words()}"
        )

    def _line(self, seconds: float) -> bytes | None:
        """Return the next line, or None at the end of the answers and when nothing comes in time."""
        until = time.monotonic() + seconds
        while b"\n" not in self._begun:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                return None
            more = os.read(self._answers, 1 << 16)
            if not more:
                return None
            self._begun += more
        line, _, self._begun = self._begun.partition(b"\n")
        return line

    def _last_words(self) -> str:
        try:
            status = f"exit status {self._process.wait(timeout=1)}"
        except subprocess.TimeoutExpired:
            return "no answer in time"
        self._output.seek(0)
        return f"{status}\n{self._output.read()[-3000:].decode(errors='replace')}"

    def run(self, nodeid: str) -> Answer:
        """Return what the child says of one test."""
        try:
            os.write(self._ask, json.dumps(nodeid).encode() + b"\n")
        except BrokenPipeError:
            return {"alive": False, "text": f"the process ended before the test: {self._last_words()}"}
        line = self._line(TEST_SECONDS)
        if line is None:
            return {
                "alive": False,
                "text": f"the test ended its process or took over {TEST_SECONDS:g} s: {self._last_words()}",
            }
        answer: Answer = json.loads(line)
        return answer

    def close(self, patience: float = 5.0) -> None:
        """End the process."""
        os.close(self._ask)
        try:
            self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)
        self._output.close()


class Parent:
    """The plugin of the pytest that people start."""

    def __init__(self, config: pytest.Config, items: list[pytest.Item], suspect: Callable[[pytest.Item], str]) -> None:
        """Begin to run the items; `suspect` names what is to blame when an item ends its process."""
        self._config = config
        self._files = list(dict.fromkeys(str(item.path) for item in items))
        self._todo: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._answers: dict[str, queue.SimpleQueue[Answer]] = {}
        for item in items:
            self._answers[item.nodeid] = queue.SimpleQueue()
            self._todo.put((item.nodeid, suspect(item)))
        self._deaths: Counter[str] = Counter()
        self._stopped = False
        count = min(default_count(), len(items))
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _refusal(self, suspect: str, process: Process) -> str:
        if self._deaths[suspect] >= MOST_DEATHS:
            return f"{suspect} has ended {self._deaths[suspect]} processes before"
        if self._deaths.total() >= MOST_DEATHS_IN_ALL:
            return f"{self._deaths.total()} processes have ended before"
        return process.why_not

    def _serve(self) -> None:
        process: Process | None = None
        while not self._stopped:
            try:
                nodeid, suspect = self._todo.get_nowait()
            except queue.Empty:
                break
            process = process or Process(self._config, self._files)
            refusal = self._refusal(suspect, process)
            answer = {"alive": True, "text": f"not run: {refusal}"} if refusal else process.run(nodeid)
            if not answer["alive"]:
                self._deaths[suspect] += 1
                process.close(patience=0.5)
                process = None
            self._answers[nodeid].put(answer)
        if process is not None:
            process.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Wait for the child that has the test, and report what it says."""
        if item.nodeid not in self._answers:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item, self._answers[item.nodeid].get()):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _reports(self, item: pytest.Item, answer: Answer) -> list[Any]:
        if "reports" in answer:
            made = [
                self._config.hook.pytest_report_from_serializable(config=self._config, data=d)
                for d in answer["reports"]
            ]
            for report in made:
                if isinstance(report.longrepr, list):  # why a test was skipped: a tuple, but not in JSON
                    report.longrepr = tuple(report.longrepr)
            return made
        keywords = dict.fromkeys(item.keywords, 1)
        if "text" in answer:
            return [pytest.TestReport(item.nodeid, item.location, keywords, "failed", answer["text"], "call")]
        return [
            pytest.TestReport(item.nodeid, item.location, keywords, "passed", None, when, duration=seconds)
            for when, seconds in answer["seconds"].items()
        ]

    def pytest_sessionfinish(self) -> None:
        """Let the children go."""
        self._stopped = True
        for thread in self._threads:
            thread.join()

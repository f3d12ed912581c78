"""How everything is measured: one process per library, all pinned to one core, in interleaved rounds.

The parent (`Workers`) imports no library but NumPy. Each library lives in a worker process (worker.py) with one
thread, pinned to the same core as the others, of which only the one being asked does any work. A round asks library
A, then B, then C, so that a noisy second hurts all of them; the figure is the median of the rounds. Operands come
from a ring, so that nobody times a value that is already in a register or a cache line; the cost of an empty loop
is subtracted from everybody alike.

Invariant: timing never decides pass or fail. What decides is `Measurement.failures`: the last result against
float64 NumPy, and for training the first losses against a float64 trainer. Read next: worker.py, then any
bench_*.py.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from bench.libraries import LIBRARIES, ONE_THREAD_ENVIRONMENT, held_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = Path(__file__).resolve().parent / "out"
MODULES = (
    "bench_ops",
    "bench_alloc",
    "bench_matmul",
    "bench_matmul_narrow",
    "bench_conv",
    "bench_attention",
    "bench_memory",
    "bench_elements",
    "bench_search",
    "bench_functions",
    "bench_gradients",
    "bench_train",
    "bench_infer",
)


def toy() -> bool:
    """Say whether sizes and rounds are cut so that everything runs in seconds (GORGO_TOY=1)."""
    return os.environ.get("GORGO_TOY", "0") not in ("", "0")


@dataclass
class Prepared:
    """A case made ready in one library: a statement over operands that rotate, or a timer of its own."""

    statement: str = ""
    names: tuple[str, ...] = ()
    ring: Sequence[tuple[Any, ...]] = ()
    scope: Mapping[str, Any] = field(default_factory=dict)
    # Compares the last result, made from the last operands of the ring, with float64 NumPy; returns the relative error.
    verify: Callable[[Any], float] | None = None
    finish: Callable[[Any], None] | None = None
    # Instead of a statement: does the thing `calls` times and returns the nanoseconds of all of them.
    timer: Callable[[int], float] | None = None
    # What a deterministic run yields before any timing (the losses of the first steps), compared in the parent.
    trace: Sequence[float] = ()


@dataclass(frozen=True)
class Case:
    """One row of a table: the same work in every library that has it; `make[library]` gets the imported library."""

    name: str
    make: Mapping[str, Callable[[Any], Prepared]]
    tolerance: float = 1e-6
    reference: Callable[[], Sequence[float]] | None = None
    flop: float = 0.0
    note: str = ""
    # What the roofline needs: the numbers that are multiplied, and the bytes that a call reads and writes at least,
    # as if whatever lies between its operands and its result stayed in registers.
    kind: str = "float32"
    read: float = 0.0
    written: float = 0.0


def cases_of(module: str) -> dict[str, Case]:
    """Return the cases of one bench module by name."""
    return {case.name: case for case in importlib.import_module(f"bench.{module}").CASES}


def ring_of(make: Callable[[np.random.Generator], tuple[Any, ...]], bytes_each: int = 0) -> list[tuple[Any, ...]]:
    """Return eight sets of operands, or fewer where eight would not fit in 64 MiB, but two at least."""
    rng = np.random.default_rng(20)
    return [make(rng) for _ in range(ring_length(bytes_each))]


def ring_length(bytes_each: int) -> int:
    """Return how many sets of operands rotate."""
    return 8 if bytes_each == 0 else max(2, min(8, (64 << 20) // bytes_each))


def cpp_program(name: str) -> Path | None:
    """Find a program of bench/cpp: in GORGO_BENCH_CPP, or the newest one in a build folder."""
    named = os.environ.get("GORGO_BENCH_CPP")
    patterns = ("build", "build-*", "build/*", "build/*/*")
    places = [Path(named)] if named else [place for pattern in patterns for place in ROOT.glob(pattern)]
    found = [place / name for place in places if os.access(place / name, os.X_OK)]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest expected value; infinity for a wrong shape or NaN."""
    got = np.asarray(got)
    if got.shape != expected.shape:
        return float("inf")
    if got.size == 0:
        return 0.0
    difference = np.abs(got.astype(np.float64) - expected).max()
    scale = max(float(np.abs(expected).max()), 1e-30)
    return float(difference / scale) if np.isfinite(difference) else float("inf")


@dataclass
class Measurement:
    """What one case gave: nanoseconds per call and round for each library, and what was wrong."""

    case: str
    samples_ns: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def median_ns(self, library: str) -> float:
        """Return the median over the rounds."""
        return statistics.median(self.samples_ns[library])

    def best_peer(self, library: str) -> str | None:
        """Return the fastest that is not Gorgo among the Python libraries, or among the C++ allocators."""
        outside = LIBRARIES[library].outside
        peers = [name for name in self.samples_ns if not LIBRARIES[name].ours and LIBRARIES[name].outside == outside]
        return min(peers, key=self.median_ns) if peers else None

    def ratio(self, library: str) -> float | None:
        """Return the time of `library` over that of the best peer in this run."""
        peer = self.best_peer(library)
        return None if peer is None else self.median_ns(library) / self.median_ns(peer)


class WorkerError(RuntimeError):
    """A worker could not do what it was asked; the text is its traceback's last line."""


class Worker:
    """One library in a process of its own."""

    def __init__(self, library: str, core: int, held: Mapping[str, str]) -> None:
        environment = {**os.environ, **held}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        # The worker pins itself before its first import, because thread pools count the cores they see when they start.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", library, str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the worker ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Workers:
    """The libraries' processes, started when first needed, all on one core.

    `isa` is the set of instructions that Gorgo is told to use; `limit` says that it is not this processor's best, so
    that the others are held to it too.
    """

    def __init__(
        self,
        only: Iterable[str] | None = None,
        rounds: int | None = None,
        *,
        isa: str | None = None,
        limit: bool = False,
    ) -> None:
        self.rounds = rounds or (3 if toy() else 15)
        self.round_ns = 0.5e6 if toy() else 10e6
        self.core = max(os.sched_getaffinity(0))
        self._limit = limit
        self._environment = dict(ONE_THREAD_ENVIRONMENT)
        if isa is not None:
            self._environment["GORGO_ISA"] = isa
            if limit:
                self._environment |= held_to(isa)
        self._only = None if only is None else set(only)
        self._workers: dict[str, Worker] = {}
        self._missing: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def missing(self, library: str) -> str | None:
        """Say why `library` is left out, or None."""
        if library not in self._missing:
            reason = LIBRARIES[library].missing()
            if reason is None and self._limit and not LIBRARIES[library].can_be_held:
                reason = f"{library} can't be told to use fewer instructions"
            self._missing[library] = reason
        return self._missing[library]

    def _worker(self, library: str) -> Worker:
        if library not in self._workers:
            self._workers[library] = Worker(library, self.core, self._environment)
        return self._workers[library]

    def _discard(self, library: str) -> None:
        worker = self._workers.pop(library, None)
        if worker is not None:
            worker.close()

    def measure(
        self,
        module: str,
        case: Case,
        step: Callable[[str], None] = lambda _: None,
        beside: Callable[[], None] = lambda: None,
    ) -> Measurement:
        """Time `case` in every library that has it, and `beside` in each round measure what they are compared with.

        `step` is told what is being done, for a progress bar.
        """
        result = Measurement(case.name)
        calls: dict[str, int] = {}
        for library in case.make:
            if self._only is not None and library not in self._only:
                continue
            reason = self.missing(library)
            if reason is not None:
                result.left_out[library] = reason
                continue
            step(library)
            try:
                answer = self._worker(library).ask("prepare", module=module, case=case.name)
            except WorkerError as error:
                result.failures[library] = str(error)
                self._discard(library)
                continue
            calls[library] = max(1, int(self.round_ns / max(answer["estimate_ns"], 1.0)))
            result.samples_ns[library] = []
            self._check_trace(case, library, answer["trace"], result)
        for _ in range(self.rounds):
            beside()
            for library in list(calls):
                step(library)
                try:
                    answer = self._worker(library).ask("measure", calls=calls[library])
                    result.samples_ns[library].append(answer["ns"])
                except WorkerError as error:
                    result.failures[library] = str(error)
                    del result.samples_ns[library], calls[library]
                    self._discard(library)
        for library in calls:
            try:
                answer = self._worker(library).ask("verify")
            except WorkerError as error:
                result.failures[library] = str(error)
                self._discard(library)
                continue
            error_seen = answer["relative_error"]
            if error_seen is not None:
                result.errors[library] = max(error_seen, result.errors.get(library, 0.0))
                if not error_seen <= case.tolerance:
                    result.failures[library] = f"relative error {error_seen:.3g}, tolerance {case.tolerance:.3g}"
        return result

    @staticmethod
    def _check_trace(case: Case, library: str, trace: Sequence[float], result: Measurement) -> None:
        if case.reference is None or not trace:
            return
        expected = np.asarray(_reference(case))
        got = np.asarray(trace)
        if got.shape != expected.shape:
            result.failures[library] = f"yields {got.size} losses, expected {expected.size}"
            return
        error = float(np.max(np.abs(got - expected) / np.abs(expected)))
        result.errors[library] = error
        if not error <= case.tolerance:
            result.failures[library] = f"losses differ from float64 by {error:.3g}, tolerance {case.tolerance:.3g}"


_references: dict[str, Sequence[float]] = {}


def _reference(case: Case) -> Sequence[float]:
    assert case.reference is not None
    if case.name not in _references:
        _references[case.name] = case.reference()
    return _references[case.name]


IMPORTED = ("numpy", "torch", "jax", "gorgo")


def import_samples_ms(rounds: int, libraries: Iterable[str] = IMPORTED) -> dict[str, list[float]]:
    """Time fresh interpreters, interleaved, on one core: a "bare" one, and one for each import.

    Returns the milliseconds of each start. Gorgo imports NumPy only when it is first needed, so its figure is without.
    """
    statements = {"bare": "pass"}
    statements |= {name: f"import {name}" for name in libraries if LIBRARIES[name].missing() is None}
    core = {max(os.sched_getaffinity(0))}
    samples: dict[str, list[float]] = {name: [] for name in statements}
    environment = {**os.environ, **ONE_THREAD_ENVIRONMENT}
    program = (
        "import sys,time,subprocess,os;os.sched_setaffinity(0,{core});t=time.perf_counter_ns();"
        "subprocess.run([sys.executable,'-c',{statement!r}],check=True);print(time.perf_counter_ns()-t)"
    )
    # One start that is not counted brings the files into the page cache.
    for counted in range(-1, rounds):
        for name, statement in statements.items():
            done = subprocess.run(
                [sys.executable, "-c", program.format(core=core, statement=statement)],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
            )
            if counted >= 0:
                samples[name].append(float(done.stdout) / 1e6)
    return samples


def time_text(nanoseconds: float) -> str:
    """Write a time with a unit that keeps three digits readable."""
    for unit, size in (("ns", 1.0), ("us", 1e3), ("ms", 1e6)):
        if nanoseconds < 1000 * size or unit == "ms":
            value = nanoseconds / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    raise AssertionError("unreachable")


def ratio_text(ratio: float) -> str:
    """Write a ratio with two digits that mean something."""
    return f"{ratio:.2f}" if ratio >= 0.095 else f"{ratio:.1g}"


def rows() -> Iterator[tuple[str, Case]]:
    """Yield every case of every module."""
    for module in MODULES:
        for case in cases_of(module).values():
            yield module, case

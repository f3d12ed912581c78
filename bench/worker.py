"""One library, one process, one core: reads requests as JSON lines, times, answers. harness.Worker starts it.

Invariant: between two clock reads nothing runs but the statement, written out once per set of operands (so that
picking the operands costs nothing), with everything it names a local variable and the garbage collector off. Read
first: harness.py.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

# Before any import that may start threads or count cores.
if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})

from bench.harness import Prepared, cases_of
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A statement slower than this is not written out once per operand set: the loop around it no longer matters.
UNROLL_BELOW_NS = 20_000.0

# What is left of a call after the empty loop is taken off may come out negative on a noisy machine, and a ratio needs
# more than zero.
LEAST_NS = 0.1


def build_loop(prepared: Prepared, unroll: bool) -> Callable[[Any], tuple[int, Any]]:
    """Compile the timed loop: `loop(repeat)` returns nanoseconds and the last result."""
    scope = {**prepared.scope, "_clock": time.perf_counter_ns, "_ring": prepared.ring, "_finish": prepared.finish}
    bindings = ", ".join(f"{name}={name}" for name in scope)
    names = prepared.names
    lines = [f"def loop(_repeat, {bindings}):", "    _result = None"]
    if unroll:
        renamed = [[f"{name}_{index}" for name in names] for index in range(len(prepared.ring))]
        lines += [f"    {', '.join(row)}, = _ring[{index}]" for index, row in enumerate(renamed) if row]
        body = [
            "        _result = " + _rename(prepared.statement, dict(zip(names, row, strict=True))) for row in renamed
        ]
        lines += ["    _start = _clock()", "    for _ in _repeat:", *body]
    else:
        head = f"    for {', '.join(names)}, in _repeat:" if names else "    for _ in _repeat:"
        lines += ["    _start = _clock()", head, "        _result = " + prepared.statement]
    if prepared.finish is not None:
        lines.append("    _finish(_result)")
    lines.append("    return _clock() - _start, _result")
    namespace: dict[str, Any] = dict(scope)
    exec("\n".join(lines), namespace)
    loop: Callable[[Any], tuple[int, Any]] = namespace["loop"]
    return loop


def _rename(statement: str, names: Mapping[str, str]) -> str:
    if not names:
        return statement
    return re.sub(r"(?<!\.)\b(" + "|".join(map(re.escape, names)) + r")\b", lambda m: names[m.group(1)], statement)


def empty_loop_ns(turns: int) -> float:
    """Return the cost of one turn of a loop that does nothing."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(turns):
            pass
        best = min(best, (time.perf_counter_ns() - start) / turns)
    return best


class Session:
    """The case that this worker has ready."""

    def __init__(self, library: str) -> None:
        self.library = LIBRARIES[library]
        self.loaded: Any = None
        self.prepared: Prepared | None = None
        self.loop: Callable[[Any], tuple[int, Any]] | None = None
        self.unroll = False
        self.last: Any = None

    def prepare(self, module: str, case: str) -> dict[str, Any]:
        """Make a case ready and say roughly what one call costs."""
        self.prepared = self.loop = self.last = None
        gc.collect()
        if self.loaded is None:
            self.loaded = self.library.load()
            # What the import left behind is looked at once, not in every collection before a timed span.
            gc.collect()
            gc.freeze()
        prepared = cases_of(module)[case].make[self.library.name](self.loaded)
        if prepared.timer is None:
            if prepared.finish is None:
                prepared.finish = self.library.finish
            if not prepared.ring:
                prepared.ring = [()] * 8
        self.prepared = prepared
        estimate = self._estimate()
        return {"estimate_ns": estimate, "trace": [float(value) for value in prepared.trace]}

    def _estimate(self) -> float:
        assert self.prepared is not None
        if self.prepared.timer is not None:
            calls, elapsed = 1, 0.0
            while elapsed < 2e5 and calls < 1 << 20:
                calls *= 4
                elapsed = self.prepared.timer(calls)
            return elapsed / calls
        self.unroll = False
        self.loop = build_loop(self.prepared, unroll=False)
        # The first calls compile, fill caches and start pools; then two passes are timed.
        self._run(2)
        estimate = self._run(len(self.prepared.ring))
        if estimate < UNROLL_BELOW_NS:
            self.unroll = True
            self.loop = build_loop(self.prepared, unroll=True)
            self._run(64)
            estimate = self._run(256)
        return estimate

    def _run(self, calls: int) -> float:
        """Run about `calls` calls and return the nanoseconds of one."""
        assert self.prepared is not None
        if self.prepared.timer is not None:
            return max(self.prepared.timer(calls) / calls, LEAST_NS)
        assert self.loop is not None
        ring = len(self.prepared.ring)
        gc.collect()
        gc.disable()
        try:
            if self.unroll:
                turns = max(1, calls // ring)
                elapsed, self.last = self.loop(range(turns))
                # The empty loop is subtracted from everybody alike; it is shared by the calls written out in one turn.
                return max(elapsed / (turns * ring) - empty_loop_ns(1000) / ring, LEAST_NS)
            operands = [self.prepared.ring[(index - calls) % ring] for index in range(calls)]
            elapsed, self.last = self.loop(operands)
            return elapsed / calls
        finally:
            gc.enable()

    def measure(self, calls: int) -> dict[str, Any]:
        """Warm up with a tenth of the calls, for the other libraries have had the core since, and time the rest."""
        if calls >= 10:
            self._run(calls // 10)
        return {"ns": self._run(calls)}

    def verify(self) -> dict[str, Any]:
        """Compare the last result with float64 NumPy."""
        assert self.prepared is not None
        if self.prepared.verify is None:
            return {"relative_error": None}
        return {"relative_error": float(self.prepared.verify(self.last))}


def main() -> None:
    """Answer requests until standard input ends."""
    # What a library prints must not land among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    session = Session(sys.argv[1])
    answer_to: dict[str, Callable[..., dict[str, Any]]] = {
        "prepare": session.prepare,
        "measure": session.measure,
        "verify": session.verify,
    }
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            answer = answer_to[do](**request)
        except Exception as error:
            if os.environ.get("GORGO_BENCH_TRACEBACK"):
                traceback.print_exc()
            answer = {"error": f"{do}: {type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""The processor's ceilings, asked of the program bench/cpp/ceiling.cpp, which keeps to the core of the libraries.

`cmake --preset default && cmake --build --preset default --target ceiling` builds it; without it no ceiling is known.
Read next: roofline.py.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from typing_extensions import Self

from bench.harness import cpp_program

KINDS = ("float32", "float64", "bfloat16", "bytes")
HOW_TO_BUILD = "cmake --preset default && cmake --build --preset default --target ceiling"
# Where the system does not tell.
USUAL_CACHES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}


def caches() -> dict[str, int]:
    """Return the bytes of the caches of data."""
    found: dict[str, int] = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        units = {"K": 1 << 10, "M": 1 << 20}
        if kind != "Instruction" and size[:-1].isdigit() and size[-1] in units:
            found[f"L{level}"] = int(size[:-1]) * units[size[-1]]
    return {level: found.get(level, usual) for level, usual in USUAL_CACHES.items()}


class Ceilings:
    """The program, running; every answer is None where there is no program or no such set."""

    def __init__(self, core: int) -> None:
        self.program = cpp_program("ceiling")
        self._process: subprocess.Popen[str] | None = None
        if self.program is None:
            return
        own = os.sched_getaffinity(0)
        try:
            # What is started inherits the core.
            os.sched_setaffinity(0, {core})
            self._process = subprocess.Popen(
                [str(self.program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        finally:
            os.sched_setaffinity(0, own)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()

    def rate(self, isa: str, kind: str) -> float | None:
        """Return the GF/s of multiply-adds in registers."""
        return self._ask(f"rate {isa} {kind}")

    def stream(self, isa: str, read: float, written: float, ring: int) -> float | None:
        """Return the GB/s of a loop that reads so many bytes, of a ring of buffers, and writes so many."""
        return self._ask(f"stream {isa} {read:.0f} {written:.0f} {ring}")

    def named(self, isa: str) -> dict[str, float | None]:
        """Return the ceilings of a set: of each kind of number, and of reads and copies from each level."""
        size = {level: bytes_of // 2 for level, bytes_of in caches().items()}
        size["memory"] = min(8 * size["L3"], 1 << 29)
        named = {kind: self.rate(isa, kind) for kind in KINDS}
        named |= {f"read {level}": self.stream(isa, total, 0, 1) for level, total in size.items()}
        return named | {f"copy {level}": self.stream(isa, total / 2, total / 2, 1) for level, total in size.items()}

    def _ask(self, question: str) -> float | None:
        if self._process is None:
            return None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.program} ended with status {self._process.wait()}")
        return None if answer.startswith("error: ") else float(answer)

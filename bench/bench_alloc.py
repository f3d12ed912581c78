"""What memory costs: a tensor of 1024x1024 float32 (4 MiB) allocated, released, written to; and one of 16 elements.

"malloc" is the C library, "gorgo raw" the allocator below Gorgo's pool, "gorgo C++" the pool without Python; those
three come from the program bench/cpp/bench_alloc.cpp, which `cmake --preset default && cmake --build --preset
default` builds (a large malloc is called through ctypes where it is missing, and what an empty call costs there is
taken off). Read first: harness.py.
"""

from __future__ import annotations

import ctypes
import subprocess
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Prepared, cpp_program, relative_error, toy
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable

PATTERNS = {
    "allocate": "allocate",
    "release": "release",
    "pair": "allocate, release",
    "write": "allocate, write, release",
}
HELD = 8
# The columns that the C++ program measures.
SOURCES = {"malloc": "malloc", "gorgo raw": "raw", "gorgo C++": "pool"}
# Below this, and where a block is released at once, malloc costs less than the call through ctypes that would time it.
SMALLEST_THROUGH_CTYPES = 1 << 20


PROGRAM = cpp_program("bench_alloc")


def from_program(source: str, pattern: str, size_bytes: int) -> Prepared:
    """Time by the C++ program."""

    def timer(calls: int) -> float:
        command = [str(PROGRAM), source, pattern, str(size_bytes), str(calls)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return Prepared(timer=timer)


def from_ctypes(pattern: str, size_bytes: int) -> Prepared:
    """Time malloc and free through ctypes."""
    libc = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
    libc.memset.argtypes, libc.memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    libc.labs.argtypes, libc.labs.restype = [ctypes.c_long], ctypes.c_long
    clock = time.perf_counter_ns
    start = clock()
    for _ in range(2000):
        libc.labs(1)
    empty_ns = (clock() - start) / 2000

    def allocate() -> Any:
        return libc.malloc(size_bytes)

    def timer(calls: int) -> float:
        if pattern in ("pair", "write"):
            start = clock()
            for _ in range(calls):
                data = libc.malloc(size_bytes)
                if pattern == "write":
                    libc.memset(data, 1, size_bytes)
                libc.free(data)
            return max(clock() - start - calls * (3 if pattern == "write" else 2) * empty_ns, 0.0)
        spent, turns = 0, -(-calls // HELD)
        for _ in range(turns):
            start = clock()
            held = [allocate() for _ in range(HELD)]
            middle = clock()
            for data in held:
                libc.free(data)
            spent += middle - start if pattern == "allocate" else clock() - middle
        return max(spent / (turns * HELD) - empty_ns, 0.0) * calls

    return Prepared(timer=timer)


def from_python(library_name: str, loaded: Any, pattern: str, shape: tuple[int, ...]) -> Prepared:
    """Time `empty` and `full` of a Python library."""
    library = LIBRARIES[library_name]
    empty, full, clock = loaded.empty, loaded.full, time.perf_counter_ns
    # float32 is the default of torch and Gorgo.
    more = (np.float32,) if library_name == "numpy" else ()

    if pattern == "write":

        def write(calls: int) -> float:
            start = clock()
            for _ in range(calls):
                full(shape, 1.0, *more)
            return clock() - start

        def verify(_: Any) -> float:
            return relative_error(library.to_numpy(full(shape, 1.0, *more)), np.ones(shape))

        return Prepared(timer=write, verify=verify)
    if pattern == "pair":

        def pair(calls: int) -> float:
            start = clock()
            for _ in range(calls):
                empty(shape, *more)
            return clock() - start

        return Prepared(timer=pair)

    def timer(calls: int) -> float:
        allocating, releasing, reading, turns = 0, 0, 0, -(-calls // HELD)
        for _ in range(turns):
            start = clock()
            reading += clock() - start
            start = clock()
            a = empty(shape, *more)
            b = empty(shape, *more)
            c = empty(shape, *more)
            d = empty(shape, *more)
            e = empty(shape, *more)
            f = empty(shape, *more)
            g = empty(shape, *more)
            h = empty(shape, *more)
            allocating += clock() - start
            start = clock()
            del a, b, c, d, e, f, g, h
            releasing += clock() - start
        spent = (allocating if pattern == "allocate" else releasing) - reading
        return max(spent / (turns * HELD), 0.0) * calls

    return Prepared(timer=timer)


def alloc_case(pattern: str, shape: tuple[int, ...]) -> Case:
    """Build one row."""
    size_bytes = 4 * int(np.prod(shape))

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            if library_name in SOURCES:
                if PROGRAM is None:
                    return from_ctypes(pattern, size_bytes)
                return from_program(SOURCES[library_name], pattern, size_bytes)
            return from_python(library_name, loaded, pattern, shape)

        return make

    libraries = ["numpy", "torch", "gorgo"]
    if PROGRAM is not None:
        libraries += SOURCES
    elif size_bytes >= SMALLEST_THROUGH_CTYPES and pattern != "pair":
        libraries += ["malloc"]
    name = "x".join(map(str, shape)) if len(shape) > 1 else f"{shape[0]} elements"
    note = "" if PROGRAM is not None else "bench/cpp is not built, so nothing from C++"
    return Case(f"{PATTERNS[pattern]}: {name}", {library: maker(library) for library in libraries}, note=note)


SHAPES: list[tuple[int, ...]] = [(512, 512), (16,)] if toy() else [(1024, 1024), (16,)]
CASES = [alloc_case(pattern, shape) for shape in SHAPES for pattern in PATTERNS]

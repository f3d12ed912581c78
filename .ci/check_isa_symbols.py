#!/usr/bin/env python3
"""Fail if code compiled for one instruction set could be linked into another.

An inline function or template that several object files define becomes a weak symbol, and the linker keeps one copy of
it. If the copy it keeps was compiled for AVX-512, a processor without AVX-512 dies on it. So no weak symbol may be
defined both by an object compiled with instruction set flags and by any object compiled with other flags.

Run as `check_isa_symbols.py BUILD_FOLDER...` after a build; each folder is judged alone. `--self-test` shows that the
check can fail.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import shutil
import subprocess
import sys
import tempfile

# Data without code, equal in every copy: the exception personality's address, type descriptions and their names.
HARMLESS_PREFIXES = ("DW.ref.", "_ZTI", "_ZTS")
GROUP_PREFIX = "gorgo_isa_"


def weak_symbols(objects: list[pathlib.Path]) -> dict[str, str]:
    """Return the weak symbols that the objects define, each with the object that defines it."""
    found: dict[str, str] = {}
    if not objects:
        return found
    command = ["nm", "--defined-only", "--print-file-name", *map(str, objects)]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        place, _, rest = line.rpartition(":")
        kind, name = rest.split()[-2:]
        if kind in "WVu" and not name.startswith(HARMLESS_PREFIXES):
            found[name] = pathlib.PurePath(place).name
    return found


def groups_of(build: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Return the object files below a CMake build folder by the target that they belong to."""
    groups: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    for path in sorted(build.rglob("*.o")):
        target = next((part[: -len(".dir")] for part in path.parts if part.endswith(".dir")), None)
        if target is not None:
            groups[target].append(path)
    # Where the build joins a set's objects (cmake/isolate_kernels.cmake), the joined one is what is linked.
    return {target: [path for path in paths if "isolated" in path.parts] or paths for target, paths in groups.items()}


def violations(groups: dict[str, list[pathlib.Path]]) -> list[str]:
    """Return one line for each weak symbol shared with an object compiled for an instruction set beyond base."""
    symbols = {target: weak_symbols(objects) for target, objects in groups.items()}
    lines = []
    for target, mine in symbols.items():
        if not target.startswith(GROUP_PREFIX) or target == GROUP_PREFIX + "base":
            continue
        for other, theirs in symbols.items():
            is_beyond_base = other.startswith(GROUP_PREFIX) and other != GROUP_PREFIX + "base"
            if other == target or (is_beyond_base and other < target):  # a pair is reported once
                continue
            lines += [
                f"{name}: weak in {target} ({mine[name]}) and in {other} ({theirs[name]})"
                for name in sorted(mine.keys() & theirs.keys())
            ]
    return lines


def demangle(lines: list[str]) -> list[str]:
    """Return the lines with C++ names readable, where c++filt is installed."""
    if not lines or shutil.which("c++filt") is None:
        return lines
    output = subprocess.run(["c++filt"], input="\n".join(lines), check=True, capture_output=True, text=True).stdout
    return output.split("\n")


def self_test() -> None:
    """Compile a shared template at -O0 for two instruction sets: one complaint is due with it, none without."""
    source = "template <class T> T twice(T x) { return x + x; }\n"
    source += "namespace NS { float f(float x) { return CALL(x); } }\n"
    with tempfile.TemporaryDirectory() as folder:
        for call, expected in (("twice", 1), ("float", 0)):
            build = pathlib.Path(folder) / call
            for isa in ("base", "avx2"):
                target = build / "CMakeFiles" / f"{GROUP_PREFIX}{isa}.dir"
                target.mkdir(parents=True)
                (target / "kernel.cpp").write_text(source)
                flags = ["-std=c++20", "-O0", f"-DNS=isa_{isa}", f"-DCALL={call}"]
                subprocess.run(["c++", *flags, "-c", "-o", "kernel.cpp.o", "kernel.cpp"], check=True, cwd=target)
            found = violations(groups_of(build))
            if len(found) != expected:
                sys.exit(f"self-test: expected {expected} shared symbols with {call}, got {found}")


def main() -> None:
    """Check each build folder; exit with 1 and a list when a symbol is shared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("builds", nargs="*", type=pathlib.Path)
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        self_test()
    failed = False
    for build in options.builds:
        groups = groups_of(build)
        isas = [target for target in groups if target.startswith(GROUP_PREFIX)]
        if GROUP_PREFIX + "base" not in isas:
            sys.exit(f"check_isa_symbols: {build} must hold objects of {GROUP_PREFIX}base, got {sorted(groups)}")
        lines = demangle(violations(groups))
        for line in lines:
            print(line)
        objects = sum(map(len, groups.values()))
        print(f"{build}: {len(lines)} shared weak symbols in {objects} objects of {sorted(groups)}")
        failed = failed or bool(lines)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Fail if code compiled for one instruction set could be linked into another, or if the compiler fused products.

An inline function or template that several object files define becomes a weak symbol, and the linker keeps one copy of
it. If the copy it keeps was compiled for AVX-512, a processor without AVX-512 dies on it. So no weak symbol may be
defined both by an object compiled with instruction set flags and by any object compiled with other flags.

A sum and a difference that alternate from lane to lane tempt GCC to fuse them with their products, whatever
-ffp-contract says: no kernel may hold such an instruction (csrc/core/rounded.h).

Run as `check_isa_symbols.py BUILD_FOLDER...` after a build; each folder is judged alone. `--self-test` shows that the
check can fail.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Data without code, equal in every copy: the exception personality's address, type descriptions and their names.
HARMLESS_PREFIXES = ("DW.ref.", "_ZTI", "_ZTS")
GROUP_PREFIX = "gorgo_isa_"
# The libraries that one instruction set is compiled in.
PART_OF_A_SET = re.compile(r"(?<=^gorgo_isa_)(\w+?)_(?:plain|products)$")
FUSED_PRODUCT = re.compile(r"\tvfm(addsub|subadd)")


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
    """Return the compiled and joined object files below a CMake build folder by the target that they belong to."""
    groups: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    for path in sorted(build.rglob("*.o")):
        target = next((part[: -len(".dir")] for part in path.parts if part.endswith(".dir")), None)
        if target is not None:
            groups[PART_OF_A_SET.sub(r"\1", target)].append(path)
    return groups


def is_joined(path: pathlib.Path) -> bool:
    """Say whether the build made this object of a set's others (cmake/isolate_kernels.cmake)."""
    return "isolated" in path.parts


def violations(groups: dict[str, list[pathlib.Path]]) -> list[str]:
    """Return one line for each weak symbol shared with an object compiled for an instruction set beyond base."""
    # Where a set's objects are joined, the joined one is what is linked.
    linked = {target: [path for path in paths if is_joined(path)] or paths for target, paths in groups.items()}
    symbols = {target: weak_symbols(objects) for target, objects in linked.items()}
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


def fused_products(groups: dict[str, list[pathlib.Path]]) -> list[str]:
    """Return one line for each kernel function that holds a fused product with alternating signs."""
    lines = []
    for target, objects in groups.items():
        if not target.startswith(GROUP_PREFIX):
            continue
        for path in objects:
            if is_joined(path):  # nothing new, and objdump takes eight times as long for it
                continue
            command = ["objdump", "--disassemble", "--no-show-raw-insn", str(path)]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            counts: dict[str, int] = collections.Counter()
            for found in FUSED_PRODUCT.finditer(text):
                head = text.rfind(">:\n", 0, found.start())
                counts[text[text.rfind("<", 0, head) + 1 : head]] += 1
            lines += [f"{name}: {count} fused products in {target}" for name, count in sorted(counts.items())]
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
        target = pathlib.Path(folder) / "fused" / "CMakeFiles" / f"{GROUP_PREFIX}avx2.dir"
        target.mkdir(parents=True)
        source = "#include <immintrin.h>\n"
        source += "__m256 f(__m256 a, __m256 b, __m256 c) { return _mm256_fmaddsub_ps(a, b, c); }\n"
        (target / "kernel.cpp").write_text(source)
        flags = ["-mavx2", "-mfma", "-c", "-o", "kernel.cpp.o", "kernel.cpp"]
        subprocess.run(["c++", *flags], check=True, cwd=target)
        if len(fused_products(groups_of(target.parents[1]))) != 1:
            sys.exit("self-test: expected one fused product")


def main() -> None:
    """Check each build folder; exit with 1 and a list when a symbol is shared or a product fused."""
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
        shared, fused = demangle(violations(groups)), demangle(fused_products(groups))
        for line in [*shared, *fused]:
            print(line)
        objects = sum(map(len, groups.values()))
        print(
            f"{build}: {len(shared)} shared weak symbols and {len(fused)} functions with fused products in "
            f"{objects} objects of {sorted(groups)}"
        )
        failed = failed or bool(shared) or bool(fused)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

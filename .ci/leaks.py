#!/usr/bin/env python3
"""Judge leak reports of a Python process: fail on memory that our module allocated and nobody can reach.

CPython and NumPy leave memory behind at exit, with frames of the interpreter in every stack; a suppression that names
them would hide our leaks too. So the sanitizer writes all reports to files, and this keeps those with a frame of our
own module.
"""

from __future__ import annotations

import pathlib
import re
import sys

OURS = re.compile(r"/gorgo/_core\.|\bgorgo::")
# Made once when the module is imported and kept until the process ends, by design of CPython and pybind11.
ONCE_PER_PROCESS = re.compile(
    r"PyInit__core|pybind11::(detail::)?(get_internals|get_local_internals|class_|module_)|pybind11_exec"
)


def leaks(text: str) -> list[str]:
    """Return the blocks of a report that describe a direct leak from our module."""
    blocks = re.split(r"\n\s*\n", text)
    return [
        block.strip()
        for block in blocks
        if block.lstrip().startswith("Direct leak") and OURS.search(block) and not ONCE_PER_PROCESS.search(block)
    ]


def self_test() -> None:
    """Show that a leak of ours is seen, and those of others and of the import are not."""
    block = "Direct leak of 64 byte(s) in 1 object(s) allocated from:\n    #0 malloc\n    #1 {}\n    #2 _PyEval\n\n"
    ours = block.format("0x1 in gorgo::Storage::make /x/gorgo/_core.so")
    others = block.format("0x1 in PyList_New /usr/bin/python") + block.format("0x1 in PyInit__core /x/gorgo/_core.so")
    if len(leaks("==1==ERROR: LeakSanitizer\n\n" + ours + others)) != 1:
        sys.exit("leaks: self-test failed")


def main() -> None:
    """Read every report below the folder given; exit with 1 if one of the leaks is ours."""
    self_test()
    reports = sorted(path for path in pathlib.Path(sys.argv[1]).glob("leaks*") if path.is_file())
    found = [block for path in reports for block in leaks(path.read_text(errors="replace"))]
    for block in found[:20]:
        print(block, end="\n\n")
    print(f"{len(found)} leaks of ours in {len(reports)} reports")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

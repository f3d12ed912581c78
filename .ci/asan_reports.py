#!/usr/bin/env python3
"""Judge the address sanitizer's reports of a Python process.

Every memory error fails, and so do a leak check that broke down and memory that our module allocated and nobody can
reach. CPython and NumPy leave memory behind at exit, with frames of the interpreter in every stack; a suppression that
names them would hide our leaks too. So the sanitizer writes all reports to files, and of the leaks this keeps those with
a frame of our own module.
"""

from __future__ import annotations

import pathlib
import re
import sys

ERROR = re.compile(r"ERROR: (AddressSanitizer|UndefinedBehaviorSanitizer)|: runtime error: |CHECK failed: ")
# The sanitizer's own failures: then nothing was looked at, which must not pass for "no leak".
UNJUDGED = re.compile(r"has encountered a fatal error|Tracer caught signal|failed to (allocate|deallocate|map|read)")
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
    """Show that an error and a leak of ours are seen, and leaks of others and of the import are not."""
    block = "Direct leak of 64 byte(s) in 1 object(s) allocated from:\n    #0 malloc\n    #1 {}\n    #2 _PyEval\n\n"
    ours = block.format("0x1 in gorgo::Storage::make /x/gorgo/_core.so")
    others = block.format("0x1 in PyList_New /usr/bin/python") + block.format("0x1 in PyInit__core /x/gorgo/_core.so")
    if len(leaks("==1==ERROR: LeakSanitizer\n\n" + ours + others)) != 1:
        sys.exit("asan_reports: self-test of leaks failed")
    if ERROR.search("==1==ERROR: LeakSanitizer: detected") or not ERROR.search("==7==ERROR: AddressSanitizer: heap-"):
        sys.exit("asan_reports: self-test of errors failed")
    if UNJUDGED.search(ours) or not UNJUDGED.search("==9==LeakSanitizer has encountered a fatal error.\n"):
        sys.exit("asan_reports: self-test of the sanitizer's own failures failed")


def main() -> None:
    """Read every report below the folder given; exit with 1 if one tells of an error or of a leak of ours."""
    self_test()
    reports = {path: path.read_text(errors="replace") for path in sorted(pathlib.Path(sys.argv[1]).glob("report*"))}
    errors = [text for text in reports.values() if ERROR.search(text) or UNJUDGED.search(text)]
    for text in errors[:5]:
        print(text[:6000], end="\n\n")
    found = [block for text in reports.values() for block in leaks(text)]
    for block in found[:20]:
        print(block, end="\n\n")
    print(f"{len(errors)} memory errors and {len(found)} leaks of ours in {len(reports)} reports")
    sys.exit(1 if errors or found else 0)


if __name__ == "__main__":
    main()

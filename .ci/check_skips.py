#!/usr/bin/env python3
"""Fail if a test was skipped for a reason that a complete environment would not have, such as a peer not installed.

Reads the JUnit report of a pytest run in which every extra was installed. What may be missing is hardware.
"""

from __future__ import annotations

import pathlib
import re
import sys
from xml.etree import ElementTree as ET

HARDWARE = re.compile(
    r"CUDA|\bcards?\b|\bGPU\b|AMX|AVX|instruction set|\bISA\b|\bcores?\b|sanitizer|platform", re.IGNORECASE
)


def unexpected(report: str) -> list[str]:
    """Return "test: reason" for each skip whose reason names no hardware."""
    lines = []
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314
        for skipped in case.iter("skipped"):
            reason = skipped.get("message", "")
            if skipped.get("type") != "pytest.xfail" and not HARDWARE.search(reason):
                lines.append(f"{case.get('classname')}::{case.get('name')}: {reason}")
    return lines


def self_test() -> None:
    """Show that a missing peer is seen and a missing card is not."""
    case = '<testcase classname="a" name="b"><skipped type="pytest.skip" message="{}"/></testcase>'
    report = f"<suite>{case.format('could not import torch')}{case.format('needs a CUDA card')}</suite>"
    if unexpected(report) != ["a::b: could not import torch"]:
        sys.exit("check_skips: self-test failed")


def main() -> None:
    """Judge the report given; exit with 1 and a list if something was skipped that should have run."""
    self_test()
    lines = unexpected(pathlib.Path(sys.argv[1]).read_text())
    for line in lines:
        print(f"skipped, though everything is installed: {line}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()

"""Fails where a CUDA kernel keeps values in slow memory for want of registers.

Reads the output of a build whose compiler was told to report (`-Xptxas -v`). The kernels that most time is spent in
must not do it at all; the others may keep a few words so, up to a limit.

Usage: python .ci/check_spills.py BUILD_LOG
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

# Parts of demangled names: products, elementwise loops of real numbers, copies, sums and rows of float32, convolutions,
# updates.
MAIN = re.compile(
    r"hopper_product|split_product|mma_product|gather_mma_kernel|weight_mma_kernel|double_product|float_product"
    r"|simt_product|small_product|long_product|few_product|row_kernel<|granules_kernel<(?!.*Complex)|transpose_kernel|SumFold<float>|fold_partials"
    r"|softmax_rows<.*, float, [1-9]|product_kernel<|update<|dropout_kernel|draw_kernel"
)
MOST_BYTES = 160  # stored and loaded, of any other kernel: the compiler gives a few words for room for one block more
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


def spilling(log: str) -> tuple[dict[str, int], int]:
    """Return bytes spilled by kernel and architecture, and how many kernels were compiled."""
    found: dict[str, int] = {}
    name, count = "", 0
    for line in log.splitlines():
        if entry := ENTRY.search(line):
            name, count = f"{entry[1]} {entry[2]}", count + 1
        elif (spills := SPILLS.search(line)) and name:
            if int(spills[1]) or int(spills[2]):
                found[name] = int(spills[1]) + int(spills[2])
            name = ""
    return found, count


def demangled(names: list[str]) -> list[str]:
    """Return names as people write them, where the tool for it is there."""
    if not names or shutil.which("c++filt") is None:
        return names
    told = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return told.stdout.splitlines()


def main() -> int:
    """Judge one log."""
    found, count = spilling(Path(sys.argv[1]).read_text())
    if count == 0:
        print("check_spills: the log must name compiled kernels, got none")
        return 1
    wrong = [
        f"{size} bytes{' in a main kernel' if MAIN.search(name) else ''}: {name}"
        for name, size in zip(demangled(list(found)), found.values(), strict=True)
        if MAIN.search(name) or size > MOST_BYTES
    ]
    print(f"check_spills: {count} kernels, {len(found)} spill, {len(wrong)} complaints")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

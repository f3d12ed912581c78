"""One row for each op of the registry: sample operands, an independent oracle, tolerances. test_registry.py runs them.

A row of an elementwise op is one call of `unary` or `binary`: the domain is given and the operands are drawn; its fused
gradient `<name>_backward` gets its row by itself. Other rows list their samples. Operands are NumPy arrays (those of
bfloat16 are float32 arrays that bfloat16 can hold), Python numbers, None, or a list of arrays for a list of operands.
An oracle takes the operands with floats as float64 or complex128 and the attributes, and returns an array or a tuple.
Where the matrix would ask for something that an op cannot have, the row says why in words.
Read next: rows.py (what a row says), then the family's own file.
"""

from __future__ import annotations

from samples import (  # noqa: F401 (each adds the rows of its families)
    attention,
    convolution,
    creation,
    elementwise,
    epilogues,
    indexing,
    losses,
    norms,
    pooling,
    products,
    reductions,
    resampling,
    shapes,
)
from samples.elementwise import BINARY, UNARY
from samples.rows import ALL, FLOATS, REGISTRY, ROWS, Make, Row, Sample, round_to_bfloat16, widen

__all__ = [
    "ALL",
    "BINARY",
    "FLOATS",
    "REGISTRY",
    "ROWS",
    "UNARY",
    "Make",
    "Row",
    "Sample",
    "round_to_bfloat16",
    "widen",
]

"""What the CPU computes and the card does not: every op and dtype without a CUDA kernel, and why.

test_matrix.py compares this with the registry, so an entry goes when its kernel comes. As a program (`python -m
gpu.without_kernels` in tests/) it prints what is missing here as entries to be given a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Lack(NamedTuple):
    reason: str
    dtypes: tuple[str, ...]
    ops: tuple[str, ...]


LACKING: tuple[Lack, ...] = ()  # all of them are there


def table(lacking: tuple[Lack, ...] = LACKING) -> Mapping[tuple[str, str], str]:
    """Return the reason by op and dtype."""
    return {(op, dtype): lack.reason for lack in lacking for op in lack.ops for dtype in lack.dtypes}


def reason_for(op: str, dtype: str) -> str | None:
    """Say why there is no kernel, or None where there should be one."""
    return table().get((op, dtype))


def lacking(facts: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the pairs of op and dtype that have a kernel on the CPU alone, from the facts of each op."""
    return {(op, d) for op, told in facts.items() for d in told["dtypes"] if d not in told["cuda_dtypes"]}


def as_lines(pairs: set[tuple[str, str]]) -> str:
    """Write pairs of op and dtype as entries of LACKING, grouped by dtypes, for whoever brings it up to date."""
    dtypes: dict[str, list[str]] = {}
    for op, dtype in sorted(pairs):
        dtypes.setdefault(op, []).append(dtype)
    groups: dict[tuple[str, ...], list[str]] = {}
    for op, names in dtypes.items():
        groups.setdefault(tuple(names), []).append(op)
    return "\n".join(f"    Lack({'...'!r}, {names!r}, {tuple(ops)!r})," for names, ops in groups.items())


if __name__ == "__main__":
    import gorgo as gg

    print(as_lines(lacking({name: op.__op_facts__ for name, op in gg._core._registry.items()}) - set(table())))

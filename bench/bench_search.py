"""Sorting, selecting, searching and running sums, float32: whole tensors and short rows.

16,384 elements lie in the second-level cache, a million outside of it. Read first: bench_memory.py, harness.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.bench_memory import case
from bench.harness import Case, toy

if TYPE_CHECKING:
    from collections.abc import Callable

ROW = 64


def search(
    name: str, shape: tuple[int, ...], bodies: dict[str, str], oracle: Callable[..., np.ndarray], results: int
) -> Case:
    """Build a case: for each library an expression of the module m and the operand x, and the float64 result."""

    def builder(body: str) -> Callable[[Any], Callable[[Any], Any]]:
        def build(loaded: Any) -> Callable[[Any], Any]:
            made: Callable[[Any], Any] = eval(f"lambda x: {body}", {"m": loaded})
            return made

        return build

    return case(name, shape, {k: builder(body) for k, body in bodies.items()}, oracle, elements=results)


def along_rows(n: int) -> list[Case]:
    """Build the cases that work along the last axis: of one line, and of rows of 64."""
    cases: list[Case] = []
    for shape in ((n,), (n // ROW, ROW)):
        size = " x ".join(map(str, shape))
        cases += [
            search(
                f"sort {size}",
                shape,
                {"gorgo": "m.sort(x)", "torch": "m.sort(x).values", "numpy": "m.sort(x)"},
                lambda x: np.sort(x, axis=-1),
                n,
            ),
            search(
                f"argsort {size}",
                shape,
                {
                    "gorgo": "m.argsort(x, stable=True)",
                    "torch": "m.argsort(x, stable=True)",
                    "numpy": "m.argsort(x, kind='stable')",
                },
                lambda x: np.argsort(x, axis=-1, kind="stable"),
                2 * n,
            ),
            search(
                f"the ten greatest {size}",
                shape,
                {"gorgo": "m.topk(x, 10).values", "torch": "m.topk(x, 10).values"},
                lambda x: np.flip(np.sort(x, axis=-1), -1)[..., :10],
                3 * n // shape[-1] * 10,
            ),
            search(
                f"running sum {size}",
                shape,
                {"gorgo": "m.cumulative_sum(x, axis=-1)", "torch": "m.cumsum(x, -1)", "numpy": "m.cumsum(x, -1)"},
                lambda x: np.cumsum(x, axis=-1),
                n,
            ),
        ]
    return cases


def of_positives(n: int) -> list[Case]:
    """Build the cases that find or keep the positive half of n elements."""
    return [
        search(
            f"places of positives {n}",
            (n,),
            {"gorgo": "m.nonzero(x > 0)[0]", "torch": "m.nonzero(x > 0)[:, 0]", "numpy": "m.nonzero(x > 0)[0]"},
            lambda x: np.nonzero(x > 0)[0],
            n,
        ),
        search(
            f"positives {n}",
            (n,),
            dict.fromkeys(("gorgo", "torch", "numpy"), "x[x > 0]"),
            lambda x: x[x > 0],
            n // 2,
        ),
    ]


def of_short_rows(n: int) -> list[Case]:
    """Build the cases of rows of ten, and of positions that are looked up."""
    rows = (n // 10, 10)
    size = " x ".join(map(str, rows))
    lines = (n // 256, 256)
    return [
        search(
            f"running sum {size}",
            rows,
            {"gorgo": "m.cumulative_sum(x, axis=-1)", "torch": "m.cumsum(x, -1)", "numpy": "m.cumsum(x, -1)"},
            lambda x: np.cumsum(x, axis=-1),
            n,
        ),
        search(
            f"log of running sums of exponentials {size}",
            rows,
            {"gorgo": "m.logcumsumexp(x, axis=-1)", "torch": "m.logcumsumexp(x, -1)"},
            lambda x: np.logaddexp.accumulate(x, axis=-1),
            n,
        ),
        search(
            f"the greatest {lines[0]} x {lines[1]}",
            lines,
            {"gorgo": "m.topk(x, 1).values", "torch": "m.topk(x, 1).values"},
            lambda x: np.max(x, axis=-1, keepdims=True),
            3 * lines[0],
        ),
        search(
            f"rows side by side {size}",
            rows,
            {
                "gorgo": "m.concat([x, x], axis=1)",
                "torch": "m.concat([x, x], 1)",
                "numpy": "m.concatenate([x, x], axis=1)",
            },
            lambda x: np.concatenate([x, x], axis=1),
            2 * n,
        ),
        search(
            f"nearly all {n}",
            (n,),
            dict.fromkeys(("gorgo", "torch", "numpy"), "x[x > -2]"),
            lambda x: x[x > -2],
            n,
        ),
        search(
            f"places among themselves {n}",
            (n,),
            {
                "gorgo": "m.searchsorted(m.sort(x), x)",
                "torch": "m.searchsorted(m.sort(x).values, x)",
                "numpy": "m.searchsorted(m.sort(x), x)",
            },
            lambda x: np.searchsorted(np.sort(x), x),
            n,
        ),
    ]


CASES = [
    case
    for n in ((1024,) if toy() else (16_384, 1_000_000))
    for case in (*along_rows(n), *of_positives(n), *of_short_rows(n))
]

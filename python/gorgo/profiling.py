"""Where the time goes: the kernels that ran, as a table per op and as a trace for a browser."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gorgo._core import _profile

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["KernelEvent", "OpTotals", "profile"]


class KernelEvent(NamedTuple):
    """One kernel: its op, when it ran (nanoseconds since the profile began), and what it touched.

    ``shapes`` is "(2, 3), (3,) -> (2, 3)", operands and results, or empty where they were not asked for.
    """

    op: str
    start_ns: int
    duration_ns: int
    bytes: int
    flops: float
    thread: int
    replayed: bool
    shapes: str = ""


class OpTotals(NamedTuple):
    """What all kernels of one op, or of one op and one set of shapes, came to; ``share`` is of the wall time."""

    op: str
    calls: int
    total_ns: int
    mean_ns: float
    bytes: int
    flops: float
    share: float
    shapes: str = ""


_ORDERS = ("time", "calls", "bytes", "flops", "mean", "op")


class profile:
    """Watch every kernel that runs inside a ``with`` block, eager and replayed, on all threads.

    Times are those of kernels alone; what lies between them (Python, the tape, allocation) is the rest of the wall
    time.
    Watching costs about 100 ns a kernel inside the block, and nothing outside.

    Args:
        max_events: kernels kept; later ones are counted in `dropped` only.
        shapes: keep the shapes of operands and results too, and sum by op and shapes; costs about 1 us a kernel.

    Attributes:
        events (list[KernelEvent]): in the order in which they ended; filled when the block ends.
        dropped (int): kernels that came after max_events.
        duration_ns (int): wall time of the block.

    Raises:
        RuntimeError: another profile is under way.
        ValueError: max_events is negative.

    Example:
        >>> import gorgo as gg
        >>> with gg.profile() as p:
        ...     y = gg.ones((64, 64)) @ gg.ones((64, 64))
        >>> [(row.op, row.calls) for row in p.totals(sort_by="op")]
        [('full', 2), ('matmul', 1)]
    """

    def __init__(self, max_events: int = 1_000_000, *, shapes: bool = False) -> None:
        self.max_events = max_events
        self.shapes = shapes
        self.events: list[KernelEvent] = []
        self.dropped = 0
        self.duration_ns = 0

    def __enter__(self) -> Self:
        _profile.start(self.max_events, self.shapes)
        return self

    def __exit__(self, *_: object) -> None:
        events, self.dropped, _start, self.duration_ns = _profile.stop()
        self.events = [KernelEvent(*e) for e in events]

    def totals(self, sort_by: str = "time") -> list[OpTotals]:
        """Sum the events by op, and by shapes where they were asked for.

        Args:
            sort_by: "time", "calls", "bytes", "flops", "mean" (largest first) or "op" (by name).

        Raises:
            ValueError: sort_by is none of these.
        """
        if sort_by not in _ORDERS:
            raise ValueError(f"profile.totals: sort_by must be one of {', '.join(_ORDERS)}, got {sort_by!r}")
        sums: dict[tuple[str, str], list[Any]] = {}
        for e in self.events:
            row = sums.setdefault((e.op, e.shapes), [0, 0, 0, 0.0])
            row[0] += 1
            row[1] += e.duration_ns
            row[2] += e.bytes
            row[3] += e.flops
        wall = max(self.duration_ns, 1)
        rows = [
            OpTotals(op, n, ns, ns / n, size, flops, ns / wall, shapes)
            for (op, shapes), (n, ns, size, flops) in sums.items()
        ]
        if sort_by == "op":
            return sorted(rows)
        column = {"time": "total_ns", "mean": "mean_ns"}.get(sort_by, sort_by)
        return sorted(rows, key=lambda row: (-getattr(row, column), row.op, row.shapes))

    def table(self, sort_by: str = "time", limit: int | None = None) -> str:
        """Return the totals as text: calls, time, share of the wall time, bytes and their rate, flops' rate.

        The shares of the ops and of what lies outside kernels add up to the whole, unless kernels ran on several
        threads at once: then they may come to more.

        Args:
            sort_by: as in `totals`.
            limit: rows at most; the others are summed in one.

        Raises:
            ValueError: sort_by is none of the orders.
        """
        rows = self.totals(sort_by)
        shown = rows if limit is None else rows[:limit]
        wall = max(self.duration_ns, 1)
        kernels = sum(row.total_ns for row in rows)
        outside = max(self.duration_ns - kernels, 0)
        head = ("op", "calls", "total", "mean", "share", "bytes", "GB/s", "GF/s")
        lines: list[tuple[str, ...]] = [(*head, "shapes") if self.shapes else head]
        lines += [_cells(row, self.shapes) for row in shown]
        if len(shown) < len(rows):
            rest = rows[len(shown) :]
            lines.append(_cells(_sum_of(f"{len(rest)} more", rest), self.shapes))
        lines.append(_cells(_sum_of("all kernels", rows), self.shapes))
        blank = [""] * (len(lines[0]) - 5)
        lines.append(("outside kernels", "", _time(outside), "", f"{outside / wall:.1%}", *blank))
        lines.append(("wall time", "", _time(self.duration_ns), "", "100.0%", *blank))
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = [
            "  ".join(
                cell.ljust(w) if i in (0, 8) else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        if self.dropped:
            text.append(f"{self.dropped} kernels after the first {self.max_events} are not in this table")
        return "\n".join(line.rstrip() for line in text)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<profile of {len(self.events)} kernels in {_time(self.duration_ns)}>"

    def chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events as JSON that chrome://tracing and Perfetto show, a row for each thread.

        Args:
            path: the file to write.

        Source: "Trace Event Format", complete events; times in microseconds.
        """
        events = [
            {
                "name": e.op,
                "cat": "replay" if e.replayed else "eager",
                "ph": "X",
                "ts": e.start_ns / 1000,
                "dur": e.duration_ns / 1000,
                "pid": 0,
                "tid": e.thread,
                "args": {"bytes": e.bytes, "flops": e.flops} | ({"shapes": e.shapes} if e.shapes else {}),
            }
            for e in self.events
        ]
        with Path(path).open("w", encoding="utf-8") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ns"}, file)


def _sum_of(name: str, rows: Sequence[OpTotals]) -> OpTotals:
    calls = sum(row.calls for row in rows)
    total = sum(row.total_ns for row in rows)
    return OpTotals(
        name,
        calls,
        total,
        total / max(calls, 1),
        sum(row.bytes for row in rows),
        sum(row.flops for row in rows),
        sum(row.share for row in rows),
    )


def _time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def bytes_text(count: float) -> str:
    """Return a count of bytes in the unit that suits it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _cells(row: OpTotals, shapes: bool) -> tuple[str, ...]:
    seconds_e9 = max(row.total_ns, 1)
    cells = (
        row.op,
        str(row.calls),
        _time(row.total_ns),
        _time(row.mean_ns),
        f"{row.share:.1%}",
        bytes_text(row.bytes),
        f"{row.bytes / seconds_e9:.3g}",
        f"{row.flops / seconds_e9:.3g}" if row.flops else "",
    )
    return (*cells, row.shapes) if shapes else cells

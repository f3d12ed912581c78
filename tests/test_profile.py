"""gorgo.profile: which kernels ran, how often, for how long, and the two forms in which one reads it."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import pytest

import gorgo as gg


def counts(p: gg.profile) -> dict[str, int]:
    return {row.op: row.calls for row in p.totals()}


def test_eager_kernels_are_counted_with_their_bytes() -> None:
    x = gg.ones((100, 50))
    w = gg.ones((50, 20))
    with gg.profile() as p:
        for _ in range(3):
            y = x @ w
        gg.exp(y)
    assert counts(p) == {"matmul": 3, "exp": 1}
    rows = {row.op: row for row in p.totals()}
    assert rows["matmul"].bytes == 3 * 4 * (100 * 50 + 50 * 20 + 100 * 20)
    assert rows["matmul"].flops == 3 * 2 * 100 * 50 * 20
    assert rows["exp"].bytes == 2 * 4 * 100 * 20
    assert all(not e.replayed for e in p.events)


def test_gradients_and_replays_are_seen() -> None:
    @gg.compile
    def f(x: gg.Tensor) -> gg.Tensor:
        return gg.tanh(x) * 2.0

    x = gg.ones((16,))
    for _ in range(3):
        f(x)
    with gg.profile() as p:
        f(x)
    assert counts(p) == {"tanh": 1, "multiply": 1}
    assert all(e.replayed for e in p.events)

    leaf = gg.ones((4,), requires_grad=True)
    with gg.profile() as p:
        leaf.exp().sum().backward()
    assert counts(p)["exp"] == 1
    assert "multiply" in counts(p)  # the gradient of exp


def test_events_lie_inside_the_wall_time_and_do_not_overlap_on_a_thread() -> None:
    x = gg.ones((200, 200))
    begin = time.perf_counter_ns()
    with gg.profile() as p:
        for _ in range(20):
            x @ x
    wall = time.perf_counter_ns() - begin
    assert 0 < p.duration_ns <= wall
    assert sum(e.duration_ns for e in p.events) <= p.duration_ns
    last = 0
    for e in p.events:
        assert e.start_ns >= last
        last = e.start_ns + e.duration_ns
    assert last <= p.duration_ns
    assert sum(row.share for row in p.totals()) <= 1.0


def test_threads_have_numbers_of_their_own() -> None:
    def work() -> None:
        gg.exp(gg.ones((8,)))

    with gg.profile() as p:
        work()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert counts(p) == {"exp": 2, "full": 2}
    assert len({e.thread for e in p.events}) == 2


def test_nothing_is_kept_outside_and_an_exception_ends_the_profile() -> None:
    with gg.profile() as p:
        pass
    gg.exp(gg.ones((2,)))
    assert p.events == []
    with pytest.raises(ValueError, match="broadcast"), gg.profile() as p:
        gg.ones((2,)) + gg.ones((3,))
    assert counts(p) == {"full": 2}
    with gg.profile():
        pass


def test_only_one_at_a_time() -> None:
    with (
        gg.profile() as outer,
        pytest.raises(RuntimeError, match="profile: no other profile must be under way"),
        gg.profile(),
    ):
        pass
    assert outer.duration_ns > 0
    with pytest.raises(RuntimeError, match="profile: one must be under way to be ended, got none"):
        gg.profile().__exit__(None, None, None)


def test_events_beyond_the_limit_are_counted() -> None:
    x = gg.ones((2,))
    with gg.profile(max_events=3) as p:
        for _ in range(5):
            gg.exp(x)
    assert (len(p.events), p.dropped) == (3, 2)
    assert "2 kernels after the first 3 are not in this table" in str(p)
    with pytest.raises(ValueError, match="profile: max_events must be at least 0, got -1"), gg.profile(max_events=-1):
        pass


def test_the_table() -> None:
    x = gg.ones((64, 64))
    with gg.profile() as p:
        for _ in range(4):
            gg.exp(x)
        x @ x
    head, *rows = str(p).splitlines()
    assert head.split() == ["op", "calls", "total", "mean", "share", "bytes", "GB/s", "GF/s"]
    assert {row.split()[0]: row.split()[1] for row in rows[:2]} == {"exp": "4", "matmul": "1"}
    assert rows[2].startswith("all kernels")
    assert rows[3].startswith("outside kernels")
    assert rows[4].startswith("wall time")
    assert p.table(sort_by="calls", limit=1).splitlines()[2].startswith("1 more")
    assert [row.op for row in p.totals("op")] == ["exp", "matmul"]
    assert repr(p).startswith("<profile of 5 kernels in ")
    with pytest.raises(ValueError, match=r"profile.totals: sort_by must be one of time, calls, .* got 'size'"):
        p.totals("size")


def test_shares_are_of_the_whole() -> None:
    x = gg.ones((32, 32))
    with gg.profile() as p:
        for _ in range(3):
            gg.exp(x @ x).sum()
    shares = {line.split("  ")[0]: float(re.findall(r"([\d.]+)%", line)[0]) for line in str(p).splitlines()[1:]}
    assert shares.pop("wall time") == 100.0
    rounding = 0.05 * (len(shares) + 1)
    ops = shares.pop("all kernels")
    outside = shares.pop("outside kernels")
    assert sum(shares.values()) == pytest.approx(ops, abs=rounding)
    assert ops + outside == pytest.approx(100.0, abs=rounding)


def test_shapes_are_kept_when_asked_for(tmp_path: Path) -> None:
    x, w = gg.ones((4, 3)), gg.ones((3, 2))

    @gg.compile
    def f(x: gg.Tensor) -> gg.Tensor:
        return x @ w

    for _ in range(3):
        f(x)
    with gg.profile(shapes=True) as p:
        f(x)
        gg.exp(gg.ones((5,)))
        gg.exp(x)
        x.sum()
    assert [(e.op, e.shapes) for e in p.events] == [
        ("matmul", "(4, 3), (3, 2) -> (4, 2)"),
        ("full", "-> (5,)"),
        ("exp", "(5,) -> (5,)"),
        ("exp", "(4, 3) -> (4, 3)"),
        ("sum", "(4, 3) -> ()"),
    ]
    assert [(row.op, row.calls, row.shapes) for row in p.totals("op")][:2] == [
        ("exp", 1, "(4, 3) -> (4, 3)"),
        ("exp", 1, "(5,) -> (5,)"),
    ]
    head, *rows = str(p).splitlines()
    assert head.split()[-1] == "shapes"
    assert any(row.endswith("(4, 3), (3, 2) -> (4, 2)") for row in rows)
    p.chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert events[0]["args"]["shapes"] == "(4, 3), (3, 2) -> (4, 2)"
    with gg.profile() as p:
        gg.exp(x)
    assert p.events[0].shapes == ""


def test_the_trace_is_the_events(tmp_path: Path) -> None:
    with gg.profile() as p:
        gg.exp(gg.ones((8,)))
    path = tmp_path / "trace.json"
    p.chrome_trace(path)
    events = json.loads(path.read_text())["traceEvents"]
    assert [(e["name"], e["ph"], e["cat"]) for e in events] == [("full", "X", "eager"), ("exp", "X", "eager")]
    assert [e["ts"] for e in events] == [e.start_ns / 1000 for e in p.events]
    assert [e["dur"] for e in events] == [e.duration_ns / 1000 for e in p.events]
    assert events[1]["args"]["bytes"] == 64

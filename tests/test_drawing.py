"""Drawings of graphs: everything is there, nothing covers anything, arrows meet their boxes."""

from __future__ import annotations

import re
import shutil
import sys
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy.optimize import lsq_linear

import gorgo as gg
from gorgo import drawing, nn
from gorgo.nn import functional as F

SVG = "{http://www.w3.org/2000/svg}"


class Box(NamedTuple):
    kind: str
    left: float
    top: float
    right: float
    bottom: float
    lines: list[str]
    title: str


def boxes_of(text: str) -> list[Box]:
    out = []
    for group in ET.fromstring(text).iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        lines = [line.text or "" for line in group.iter(f"{SVG}text")]
        out.append(Box(group.attrib["class"], x, y, x + w, y + h, lines, group.findtext(f"{SVG}title") or ""))
    return out


def paths_of(text: str) -> list[list[tuple[float, float]]]:
    """The arrows as points; of a curve its ends."""
    out = []
    for path in ET.fromstring(text).findall(f"{SVG}path"):
        points: list[tuple[float, float]] = []
        for command, numbers in re.findall(r"([MLCV])([-\d. ]+)", path.attrib["d"]):
            values = [float(n) for n in numbers.split()]
            points.append((points[-1][0], values[0]) if command == "V" else (values[-2], values[-1]))
        out.append(points)
    return out


def training_step() -> gg.graph.Graph:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = gg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return gg.graph.trace(step, gg.ones((4, 8)), gg.zeros((4,), dtype=gg.int64))


def diamond(x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
    y = gg.exp(x)
    return (gg.sin(y) * gg.cos(y) + x).reshape((6,)), y


GRAPHS = {
    "training step": training_step,
    "diamond": lambda: gg.graph.trace(diamond, gg.ones((2, 3))),
    "nothing happens": lambda: gg.graph.trace(lambda x: x, gg.ones((2,))),
    "two apart": lambda: gg.graph.trace(lambda x, y: (gg.exp(x), gg.exp(y)), gg.ones((2,)), gg.ones((3,))),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_layout(name: str) -> None:
    graph = GRAPHS[name]()
    text = graph.svg(layout="own")
    boxes, paths = boxes_of(text), paths_of(text)
    assert [box.lines[0] for box in boxes if box.kind not in ("input", "output")] == [op for op, *_ in graph.nodes]
    assert sum(box.kind == "input" for box in boxes) == len(graph.inputs)
    assert sum(box.kind == "output" for box in boxes) == len(graph.outputs)

    *_, width, height = map(float, ET.fromstring(text).attrib["viewBox"].split())
    for box in boxes:
        assert -10 <= box.left < box.right <= width - 10
        assert -10 <= box.top < box.bottom <= height - 10
    for a, b in combinations(boxes, 2):
        assert a.right < b.left or b.right < a.left or a.bottom < b.top or b.bottom < a.top

    near = 0.11  # figures have one digit after the point
    arrows = []
    for points in paths:
        (x0, y0), (x1, y1) = points[0], points[-1]
        (source,) = [i for i, b in enumerate(boxes) if abs(b.bottom - y0) < near and b.left < x0 < b.right]
        (target,) = [i for i, b in enumerate(boxes) if abs(b.top - y1) < near and b.left < x1 < b.right]
        arrows.append((source, target))
        for (xa, ya), (xb, yb) in pairwise(points):
            assert yb > ya - near
            if xa == xb:  # a straight piece passes beside every box
                assert not any(b.left < xa < b.right and b.top + near < yb and ya < b.bottom - near for b in boxes)
    assert len(set(arrows)) == len(arrows)
    assert sorted(arrows) == sorted(expected_arrows(graph))


def expected_arrows(graph: gg.graph.Graph) -> set[tuple[int, int]]:
    maker = {value[0]: i for i, value in enumerate(graph.inputs)}
    out = set()
    count = len(graph.inputs)
    for _, operands, results, _ in graph.nodes:
        out |= {(maker[int(o[1:])], count) for o in operands if isinstance(o, str) and int(o[1:]) in maker}
        maker |= {value[0]: count for value in results}
        count += 1
    return out | {(maker[value[0]], count + i) for i, value in enumerate(graph.outputs) if value[0] in maker}


def test_what_the_boxes_tell() -> None:
    graph = training_step()
    boxes = boxes_of(graph.svg(layout="own"))
    first = next(box for box in boxes if box.lines[0] == "linear")
    weight, bias = graph.captured[:2]
    assert first.lines == [
        "linear",
        f"%{weight[0]} float32 (16, 8)",
        f"%{bias[0]} float32 (16,)",
        f"→ %{graph.nodes[0][2][0][0]} float32 (4, 16)",
    ]
    assert "256 bytes" in first.title
    assert "test_drawing.py" in first.title
    (update,) = [box for box in boxes if box.lines[0] == "sgd_update"]
    assert update.kind == "update"
    assert update.lines[-1].startswith(f"writes %{weight[0]}, %{bias[0]}, ")
    assert [box.kind for box in boxes if box.lines[0] == "permute_dims"] == ["view"] * 3
    assert max(len(line) for box in boxes for line in box.lines) < 70
    assert boxes[0].lines == ["argument 0", "%0 float32 (4, 8)"]


def test_numbers_are_operands_too() -> None:
    boxes = boxes_of(gg.graph.trace(lambda x: x * 2.5, gg.ones((3,))).svg(layout="own"))
    assert boxes[1].lines[:2] == ["multiply", "2.5"]


def test_few_arrows_cross() -> None:
    """Two chains that are recorded in turns lie side by side."""

    def chains(x: gg.Tensor, y: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        for _ in range(3):
            y, x = gg.exp(y), gg.sin(x)
        return y, x

    boxes = boxes_of(gg.graph.trace(chains, gg.ones((2,)), gg.ones((2,))).svg(layout="own"))
    for name, start in (("sin", boxes[0]), ("exp", boxes[1])):
        middles = [(b.left + b.right) / 2 for b in boxes if b.lines[0] == name]
        np.testing.assert_allclose(middles, (start.left + start.right) / 2, atol=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_places_are_the_nearest_that_keep_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    wanted, weights, apart = rng.uniform(-5, 5, n), rng.uniform(0.1, 4, n), rng.uniform(0, 2, n)
    apart[0] = 0
    got = np.array(drawing._nearest(list(wanted), list(weights), list(apart)))
    assert (np.diff(got) >= apart[1:] - 1e-9).all()
    # Unknowns: the first place, and by how much each distance is exceeded.
    matrix = np.tril(np.ones((n, n))) * np.sqrt(weights)[:, None]
    goal = (wanted - np.cumsum(apart)) * np.sqrt(weights)
    low = np.where(np.arange(n) == 0, -np.inf, 0.0)
    best = lsq_linear(matrix, goal, (low, np.full(n, np.inf)), tol=1e-14)
    np.testing.assert_allclose(((got - wanted) ** 2 * weights).sum(), 2 * best.cost, rtol=1e-6, atol=1e-9)


def test_the_same_graph_gives_the_same_picture() -> None:
    graph = training_step()
    assert graph.svg(layout="own") == graph.svg(layout="own")
    assert graph._repr_svg_() == graph.svg()


def test_notebooks_draw_what_can_be_looked_at() -> None:
    def long(x: gg.Tensor) -> gg.Tensor:
        for _ in range(201):
            x = gg.exp(x)
        return x

    graph = gg.graph.trace(long, gg.ones((2,)))
    assert graph._repr_svg_() is None
    assert len(boxes_of(graph.svg(layout="own"))) == 203


def a_dot_program(folder: Path, body: str) -> None:
    program = folder / "dot"
    program.write_text(f"#!{sys.executable}\nimport re, sys\n{body}")
    program.chmod(0o755)


def test_graphviz_places_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_dot_program(
        tmp_path,
        "assert sys.argv[1:] == ['-Tplain']\n"
        "text = sys.stdin.read()\n"
        "sizes = re.findall(r'n(\\d+) .width=([\\d.]+), height=([\\d.]+)', text)\n"
        "print('graph 1', 4, len(sizes))\n"
        "place = lambda i: len(sizes) - float(i) - 0.5\n"
        "for i, w, h in sizes: print(f'node n{i} 2 {place(i)} {w} {h} \"\" solid box black lightgrey')\n"
        "for a, b in re.findall(r'n(\\d+) -> n(\\d+)', text):\n"
        "    print(f'edge n{a} n{b} 4 2 {place(a)} 2 {place(a)} 2 {place(b)} 2 {place(b)} solid black')\n"
        "print('stop')\n",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    graph = gg.graph.trace(diamond, gg.ones((2, 3)))
    for layout in ("auto", "dot"):
        boxes = boxes_of(graph.svg(layout=layout))
        assert [box.top + (box.bottom - box.top) / 2 for box in boxes] == pytest.approx(
            [72 * (i + 0.5) for i in range(len(boxes))], abs=0.11
        )
        assert all((box.left + box.right) / 2 == pytest.approx(144, abs=0.11) for box in boxes)
        assert len(paths_of(graph.svg(layout=layout))) == len(expected_arrows(graph))
    assert graph.svg(layout="own") != graph.svg()


def test_graphviz_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = gg.graph.trace(diamond, gg.ones((2, 3)))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("dot") is None
    assert graph.svg() == graph.svg(layout="own")
    with pytest.raises(RuntimeError, match="layout must be 'own' where Graphviz's program dot is not installed"):
        graph.svg(layout="dot")
    a_dot_program(tmp_path, "sys.exit('no memory')")
    with pytest.raises(RuntimeError, match=r"dot must succeed, got exit status 1 \(no memory\)"):
        graph.svg()
    with pytest.raises(ValueError, match="layout must be 'auto', 'dot' or 'own', got 'neat'"):
        graph.svg(layout="neat")


def test_files(tmp_path: Path) -> None:
    graph = gg.graph.trace(diamond, gg.ones((2, 3)))
    graph.save(tmp_path / "g.svg")
    graph.save(str(tmp_path / "g.dot"))
    graph.save(tmp_path / "g.txt")
    assert boxes_of((tmp_path / "g.svg").read_text(encoding="utf-8"))
    assert (tmp_path / "g.dot").read_text() == graph.dot()
    assert (tmp_path / "g.txt").read_text() == str(graph)
    with pytest.raises(ValueError, match=r"Graph.save: path must end in .svg, .dot, .gv or .txt, got 'g.png'"):
        graph.save("g.png")


def test_assignments() -> None:
    total = gg.zeros((2,))

    def add(x: gg.Tensor) -> gg.Tensor:
        total.add_(x)
        return x

    graph = gg.graph.trace(add, gg.ones((2,)))
    ((target, value),) = graph.assignments
    assert target == graph.captured[0][0]
    assert value == graph.nodes[-1][2][0][0]

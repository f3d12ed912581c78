"""Graphs as pictures: one SVG element without outside parts, which a browser, a notebook and a document show alike.

A box is an op, with what it takes beside the arrows (captured tensors, numbers), its attributes, its results and the
captured tensors that it updates. Captured tensors are named inside the boxes: a training step reads some of them in
five places, and drawn as boxes of their own they would cover everything with arrows. Hovering shows bytes and the
user's line.

In order: what is drawn, where it is put (by Graphviz's program or by the layout here), the SVG, files. The layout:
layers by the longest way from a source, each layer ordered to cross few arrows, then places as near as possible to the
neighbours in the layers above and below.
"""

from __future__ import annotations

import bisect
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from gorgo import _core

__all__ = ["save", "svg"]

_CHAR, _LINE, _PAD = 6.7, 15.0, 9.0  # of a monospaced font of 11 pixels
_GAP_X, _GAP_Y, _LANE = 22.0, 34.0, 10.0  # between boxes, between layers, for an arrow that passes a layer
_MOST_LINES, _MOST_CHARS = 4, 46
_MOST_IN_NOTEBOOK = 200  # nodes; more take seconds, and nobody finds anything in them
_MANY = 5000  # boxes and lanes; with more the layout is content with less

_STYLE = """
text{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1b1f24}
.name{font-weight:bold}.captured{fill:#116329}.attributes{fill:#57606a}.writes{fill:#953800}
rect{stroke:#8c959f;fill:#fff}.view rect{fill:#f6f8fa;stroke-dasharray:4 2}.update rect{fill:#fff4e5;stroke:#d4a72c}
.input rect{fill:#ddf4ff;stroke:#54aeff}.output rect{fill:#dafbe1;stroke:#4ac26b}
path{fill:none;stroke:#6e7781;stroke-width:1.1}marker path{fill:#6e7781;stroke:none}
"""
_TIP = (
    '<marker id="gorgo-tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z"/></marker>'
)


# ---- what is drawn ----


@dataclass
class _Box:
    kind: str  # "op", "view", "update", "input", "output"
    lines: list[tuple[str, str]]  # (class, text)
    title: str
    x: float = 0.0  # centre
    y: float = 0.0  # top

    @property
    def width(self) -> float:
        return max(len(text) for _, text in self.lines) * _CHAR + 2 * _PAD

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE + _PAD


@dataclass
class _Picture:
    boxes: list[_Box] = field(default_factory=list)
    arrows: list[tuple[int, int]] = field(default_factory=list)  # boxes; each pair once
    paths: list[str] = field(default_factory=list)  # of the arrows, as SVG has them
    width: float = 0.0
    height: float = 0.0


def _describe(value: tuple[int, Any, tuple[int, ...], int]) -> str:
    number, dtype, shape, _ = value
    return f"%{number} {dtype!s} {shape}"


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 3] + "..."


def _some(lines: list[str]) -> list[str]:
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[: _MOST_LINES - 1], f"... {len(lines) - _MOST_LINES + 1} more"]


def _picture_of(graph: Any) -> _Picture:
    picture = _Picture()
    names = graph._names
    maker: dict[int, int] = {}  # value -> box
    outside = {value[0]: value for value in graph.captured}
    made = {value[0] for _, _, results, _ in graph.nodes for value in results}
    writes: dict[int, list[int]] = {}  # value -> what it is written to
    for target, value in graph.assignments:
        writes.setdefault(value, []).append(target)

    for value in graph.inputs:
        maker[value[0]] = len(picture.boxes)
        lines = [("name", names.get(value[0], "input")), ("", _describe(value))]
        picture.boxes.append(_Box("input", lines, f"input, {value[3]} bytes"))
    for (op, operands, results, origin), attributes in zip(graph.nodes, graph._attributes, strict=True):
        index = len(picture.boxes)
        beside = []
        for operand in operands:
            if not isinstance(operand, str):
                if operand is not None:
                    beside.append(f"{operand!r}")
                continue
            number = int(operand[1:])
            if number in maker:
                if (maker[number], index) not in picture.arrows[-len(operands) :]:
                    picture.arrows.append((maker[number], index))
            elif number in outside:
                name = f"{names[number]} " if number in names else ""
                beside.append(name + _describe(outside[number]))
            elif number not in made:
                beside.append(f"%{number} constant")
        written = [target for value in results for target in writes.get(value[0], ())]
        lines = [("name", op)]
        lines += [("captured", line) for line in _some(beside)]
        if attributes:
            lines.append(("attributes", _shortened(attributes)))
        lines += [("", line) for line in _some([f"→ {_describe(value)}" for value in results])]
        if written:
            lines.append(("writes", _shortened("writes " + ", ".join(f"%{target}" for target in written))))
        facts = _core._registry[op].__op_facts__
        kind = "view" if facts["view"] else "update" if any(slot["mutates"] for slot in facts["slots"]) else "op"
        size = sum(value[3] for value in results)
        title = "\n".join(filter(None, [f"{op}({attributes})", f"{size} bytes", origin]))
        picture.boxes.append(_Box(kind, lines, title))
        for value in results:
            maker[value[0]] = index
    for i, value in enumerate(graph.outputs):
        index = len(picture.boxes)
        picture.boxes.append(_Box("output", [("name", f"output {i}"), ("", _describe(value))], f"{value[3]} bytes"))
        if value[0] in maker:
            picture.arrows.append((maker[value[0]], index))
    return picture


# ---- where it is put: the layout here ----


def _layers_of(count: int, arrows: Sequence[tuple[int, int]]) -> list[int]:
    """Return each box's layer; boxes are numbered so that arrows go upwards in number."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in arrows:
        before[b].append(a)
        after[a].append(b)
    layer = [0] * count
    for i in range(count):
        layer[i] = max((layer[p] + 1 for p in before[i]), default=0)
    # What hangs on fewer arrows from above than it sends down moves down to where it is needed.
    for i in reversed(range(count)):
        if after[i] and len(before[i]) < len(after[i]):
            layer[i] = min(layer[s] for s in after[i]) - 1
    first = min(layer, default=0)
    return [n - first for n in layer]


def _crossings(upper: list[int], edges: dict[int, list[int]], place: list[int]) -> int:
    seen: list[int] = []
    total = 0
    for node in upper:
        ends = sorted(place[other] for other in edges[node])
        for end in ends:
            total += len(seen) - bisect.bisect_right(seen, end)
        for end in ends:
            bisect.insort(seen, end)
    return total


def _ordered(layers: list[list[int]], down: dict[int, list[int]], up: dict[int, list[int]]) -> list[list[int]]:
    """Order each layer by the middle of its neighbours, from above and from below, and keep the best seen."""
    place = [0] * (max((node for layer in layers for node in layer), default=-1) + 1)
    for layer in layers:
        for i, node in enumerate(layer):
            place[node] = i

    def total() -> int:
        return sum(_crossings(layer, down, place) for layer in layers[:-1])

    best, best_count = [list(layer) for layer in layers], total()
    for sweep in range(10 if len(place) < _MANY else 2):
        if best_count == 0:
            break
        neighbours = up if sweep % 2 == 0 else down
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            keys = {}
            for node in layer:
                ends = sorted(place[other] for other in neighbours[node])
                keys[node] = (ends[len(ends) // 2] + ends[(len(ends) - 1) // 2]) / 2 if ends else float(place[node])
            layer.sort(key=lambda node: keys[node])
            for i, node in enumerate(layer):
                place[node] = i
        count = total()
        if count < best_count:
            best, best_count = [list(layer) for layer in layers], count
    return best


def _nearest(wanted: list[float], weights: list[float], apart: list[float]) -> list[float]:
    """Return places nearest to the wanted ones that keep their distances: least squares by pooling neighbours.

    Source: Ayer et al., "An empirical distribution function for sampling with incomplete information", 1955.
    """
    offset, total = [], 0.0
    for distance in apart:
        total += distance
        offset.append(total)
    pools: list[list[float]] = []  # mean, weight, members
    for x, weight, shift in zip(wanted, weights, offset, strict=True):
        pools.append([x - shift, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, more, members = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * more) / (last[1] + more)
            last[1] += more
            last[2] += members
    places = [mean for mean, _, members in pools for _ in range(int(members))]
    return [x + shift for x, shift in zip(places, offset, strict=True)]


def _own_layout(picture: _Picture) -> None:
    boxes = picture.boxes
    layer_of = _layers_of(len(boxes), picture.arrows)
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for i, n in enumerate(layer_of):
        layers[n].append(i)
    # An arrow over several layers gets a lane in each.
    down: dict[int, list[int]] = {i: [] for i in range(len(boxes))}
    up: dict[int, list[int]] = {i: [] for i in range(len(boxes))}
    chains: list[list[int]] = []
    lanes = len(boxes)
    for a, b in picture.arrows:
        chain = [a]
        for n in range(layer_of[a] + 1, layer_of[b]):
            down[lanes], up[lanes] = [], []
            layers[n].append(lanes)
            chain.append(lanes)
            lanes += 1
        chain.append(b)
        chains.append(chain)
        for above, below in itertools.pairwise(chain):
            down[above].append(below)
            up[below].append(above)
    layers = _ordered(layers, down, up)

    width = [box.width for box in boxes] + [_LANE] * (lanes - len(boxes))
    x = [0.0] * lanes
    distances = []
    for layer in layers:
        apart = [0.0]
        for one, other in itertools.pairwise(layer):
            gap = 0.0 if one >= len(boxes) and other >= len(boxes) else _GAP_X
            apart.append((width[one] + width[other]) / 2 + gap)
        distances.append(apart)
        place = 0.0
        for node, distance in zip(layer, apart, strict=True):
            place += distance
            x[node] = place
    sweeps = 24 if lanes < _MANY else 6
    for sweep in range(sweeps):
        neighbours = up if sweep % 2 == 0 else down
        order = range(len(layers)) if sweep % 2 == 0 else reversed(range(len(layers)))
        for n in order:
            layer = layers[n]
            wanted, weights = [], []
            for node in layer:
                near = neighbours[node] if sweep < sweeps - 2 else [*up[node], *down[node]]
                wanted.append(sum(x[other] for other in near) / len(near) if near else x[node])
                weights.append((4.0 if node >= len(boxes) else 1.0) if near else 0.1)  # straight lanes first
            for node, place in zip(layer, _nearest(wanted, weights, distances[n]), strict=True):
                x[node] = place

    left = min((x[i] - width[i] / 2 for i in range(lanes)), default=0.0)
    top = 0.0
    tops: list[float] = []
    heights: list[float] = []
    for layer in layers:
        height = max((boxes[i].height for i in layer if i < len(boxes)), default=0.0)
        tops.append(top)
        heights.append(height)
        for i in layer:
            x[i] -= left
            if i < len(boxes):
                boxes[i].x, boxes[i].y = x[i], top
        top += height + _GAP_Y
    picture.width = max((x[i] + width[i] / 2 for i in range(lanes)), default=0.0)
    picture.height = max(top - _GAP_Y, 0.0)

    leaving, arriving = _ports(chains, boxes, x)
    for k, chain in enumerate(chains):
        a, b = chain[0], chain[-1]
        here = (x[a] + leaving[k], boxes[a].y + boxes[a].height)
        path = f"M{here[0]:.1f} {here[1]:.1f}"
        if here[1] < tops[layer_of[a]] + heights[layer_of[a]]:
            here = (here[0], tops[layer_of[a]] + heights[layer_of[a]])
            path += f"V{here[1]:.1f}"
        for n, node in enumerate(chain[1:], layer_of[a] + 1):
            there = (x[node] + (arriving[k] if node == b else 0.0), tops[n])
            path += _curve(here, there)
            if node != b:
                there = (there[0], tops[n] + heights[n])
                path += f"V{there[1]:.1f}"
            here = there
        picture.paths.append(path)


def _curve(here: tuple[float, float], there: tuple[float, float]) -> str:
    if abs(here[0] - there[0]) < 0.05:
        return f"V{there[1]:.1f}"
    middle = (here[1] + there[1]) / 2
    return f"C{here[0]:.1f} {middle:.1f} {there[0]:.1f} {middle:.1f} {there[0]:.1f} {there[1]:.1f}"


def _ports(chains: list[list[int]], boxes: list[_Box], x: list[float]) -> tuple[list[float], list[float]]:
    """Return where each arrow leaves and meets its boxes, relative to their middles, in the order of the other ends."""
    leaving, arriving = [0.0] * len(chains), [0.0] * len(chains)
    sides: tuple[tuple[list[float], int, int], ...] = ((leaving, 0, 1), (arriving, -1, -2))
    for ports, end, next_to_end in sides:
        at: dict[int, list[int]] = {}
        for k, chain in enumerate(chains):
            at.setdefault(chain[end], []).append(k)
        for node, several in at.items():
            several.sort(key=lambda k: x[chains[k][next_to_end]])
            step = min(14.0, 0.7 * boxes[node].width / len(several))
            for i, k in enumerate(several):
                ports[k] = (i - (len(several) - 1) / 2) * step
    return leaving, arriving


# ---- where it is put: Graphviz ----


def _dot_layout(picture: _Picture, program: str) -> None:
    """Let Graphviz's dot place the boxes and bend the arrows; its inches become 72 pixels."""
    lines = [
        'digraph g { nodesep=0.25; ranksep=0.4; edge [arrowhead=none]; node [shape=box, fixedsize=true, label=""];'
    ]
    lines += [
        f"n{i} [width={box.width / 72:.4f}, height={box.height / 72:.4f}];" for i, box in enumerate(picture.boxes)
    ]
    lines += [f"n{a} -> n{b};" for a, b in picture.arrows]
    ran = subprocess.run(  # noqa: S603
        [program, "-Tplain"], input="\n".join([*lines, "}"]), capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        raise RuntimeError(f"Graph.svg: dot must succeed, got exit status {ran.returncode} ({ran.stderr.strip()})")
    curves: dict[tuple[int, int], str] = {}
    for line in ran.stdout.splitlines():
        word, *rest = line.split()
        if word == "graph":
            picture.width, picture.height = 72 * float(rest[1]), 72 * float(rest[2])
        elif word == "node":
            box = picture.boxes[int(rest[0][1:])]
            box.x, box.y = 72 * float(rest[1]), picture.height - 72 * float(rest[2]) - box.height / 2
        elif word == "edge":
            numbers = [float(number) for number in rest[3 : 3 + 2 * int(rest[2])]]
            points = [
                f"{72 * a:.1f} {picture.height - 72 * b:.1f}" for a, b in zip(numbers[::2], numbers[1::2], strict=True)
            ]
            curves[int(rest[0][1:]), int(rest[1][1:])] = f"M{points[0]}C{' '.join(points[1:])}"
    picture.paths = [curves[arrow] for arrow in picture.arrows]


# ---- the SVG ----


def _box_text(box: _Box) -> Iterable[str]:
    left = box.x - box.width / 2
    radius = 10 if box.kind in ("input", "output") else 3
    yield f'<g class="{box.kind}"><title>{escape(box.title)}</title>'
    yield (f'<rect x="{left:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius}"/>')
    for i, (kind, text) in enumerate(box.lines):
        kind_text = f' class="{kind}"' if kind else ""
        yield f'<text{kind_text} x="{left + _PAD:.1f}" y="{box.y + (i + 1) * _LINE:.1f}">{escape(text)}</text>'
    yield "</g>"


def svg(graph: Any, layout: str = "auto") -> str:
    """Return the drawing of a graph; what `Graph.svg` calls.

    Args:
        graph: a gorgo.graph.Graph.
        layout: 'dot', 'own' or 'auto'.

    Returns:
        str: one svg element.

    Raises:
        RuntimeError: when layout is 'dot' and Graphviz's program is missing or fails.
        ValueError: when layout is none of the three.

    Example:
        >>> import gorgo as gg
        >>> from gorgo import drawing
        >>> picture = drawing.svg(gg.graph.trace(lambda x: x + x, gg.ones((3,))))
        >>> picture.count("<title>")  # input, add, output
        3
    """
    if layout not in ("auto", "dot", "own"):
        raise ValueError(f"Graph.svg: layout must be 'auto', 'dot' or 'own', got {layout!r}")
    program = None if layout == "own" else shutil.which("dot")
    if layout == "dot" and program is None:
        raise RuntimeError("Graph.svg: layout must be 'own' where Graphviz's program dot is not installed, got 'dot'")
    picture = _picture_of(graph)
    if program is None:
        _own_layout(picture)
    else:
        _dot_layout(picture, program)
    width, height = picture.width + 20, picture.height + 20
    frame = f"{width:.1f} {height:.1f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="-10 -10 {frame}">',
        f"<style>{_STYLE}</style>",
        f"<defs>{_TIP}</defs>",
        f'<rect x="-10" y="-10" width="{width:.1f}" height="{height:.1f}" style="fill:#fff;stroke:none"/>',
    ]
    parts += [f'<path d="{path}" marker-end="url(#gorgo-tip)"/>' for path in picture.paths]
    for box in picture.boxes:
        parts += _box_text(box)
    return "\n".join([*parts, "</svg>", ""])


def notebook_svg(graph: Any) -> str | None:
    """Return the drawing for a notebook, or None for graphs too large to look at."""
    return svg(graph) if len(graph) <= _MOST_IN_NOTEBOOK else None


def save(graph: Any, path: str | os.PathLike[str]) -> None:
    """Write a graph to a file; what `Graph.save` calls.

    Args:
        graph: a gorgo.graph.Graph.
        path: a name that ends in .svg, .dot, .gv or .txt.

    Raises:
        ValueError: when it ends otherwise.

    Example:
        >>> import gorgo as gg
        >>> from gorgo import drawing
        >>> drawing.save(gg.graph.trace(lambda x: x + x, gg.ones((3,))), "graph.dot")
    """
    target = Path(path)
    if target.suffix == ".svg":
        text = svg(graph)
    elif target.suffix in (".dot", ".gv"):
        text = graph.dot()
    elif target.suffix == ".txt":
        text = str(graph)
    else:
        raise ValueError(f"Graph.save: path must end in .svg, .dot, .gv or .txt, got {str(path)!r}")
    target.write_text(text, encoding="utf-8")

"""Prints what bit-for-bit promises cost: `python -m bench.determinism`, one process, rounds interleaved.

For each row the time with `gorgo.set_batch_invariant(True)` over that without, for batches of 1 and 64 on one thread.
Every result is compared: a row of the batch of 64 with the batch of one, and one thread with all. A difference gives
exit status 1; a slow run never does. Read next: docs/determinism.md.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gorgo as gg
from bench.harness import toy

Function = Callable[[gg.Tensor], gg.Tensor]


def rows() -> dict[str, tuple[Function, tuple[int, ...]]]:
    """Return what is measured: a function of a batch, and the shape of one of its rows."""
    rng = np.random.default_rng(0)
    scale = 4 if toy() else 1

    def draw(*shape: int) -> gg.Tensor:
        return gg.asarray(rng.standard_normal(shape).astype(np.float32))

    n = 512 // scale
    w, b, norm = draw(n, n), draw(n), draw(n)
    k, c = draw(64 // scale, 64 // scale, 3, 3), 64 // scale
    net = gg.nn.Sequential(gg.nn.Linear(n, n), gg.nn.ReLU(), gg.nn.Linear(n, 10), gg.nn.Softmax(axis=-1))
    net.eval()
    return {
        f"linear {n} to {n}": (lambda x: gg.linear(x, w, b), (n,)),
        f"conv2d {c} to {c}, 3x3 on 14x14": (lambda x: gg.conv2d(x, k, padding=1), (c, 14, 14)),
        f"softmax of {n}": (lambda x: gg.softmax(x, axis=-1), (n,)),
        f"layer_norm of {n}": (lambda x: gg.layer_norm(x, norm, norm), (n,)),
        f"sum of 64x{n}": (lambda x: gg.sum(x, axis=(1, 2)), (64, n)),
        "network of two layers": (net, (n,)),
    }


def ratio(one: Callable[[], object], other: Callable[[], object]) -> float:
    """Return the time of one over that of the other: the median over rounds in which both run."""
    one()
    begin = time.perf_counter()
    other()
    repeats = max(1, int((1e-4 if toy() else 2e-3) / max(time.perf_counter() - begin, 1e-7)))

    def seconds(run: Callable[[], object]) -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            run()
        return time.perf_counter() - begin

    return statistics.median(seconds(one) / seconds(other) for _ in range(3 if toy() else 101))


def with_setting(on: bool, f: Function, x: gg.Tensor) -> Callable[[], object]:
    """Return a call of f under batch invariance or without."""

    def run() -> None:
        gg.set_batch_invariant(on)
        f(x)

    return run


def main() -> int:
    """Measure and print; 1 when bits differ."""
    rng = np.random.default_rng(1)
    threads = gg.get_num_threads()
    wrong = []
    print(f"{'':<34}{'batch 1, on/off':>17}{'batch 64, on/off':>18}")
    with gg.no_grad():
        for name, (f, shape) in rows().items():
            batch = gg.asarray(rng.standard_normal((64, *shape)).astype(np.float32))
            alone = batch[5:6].copy()
            gg.set_num_threads(1)
            ratios = [ratio(with_setting(True, f, x), with_setting(False, f, x)) for x in (alone, batch)]
            gg.set_batch_invariant(True)
            single, one = f(alone), f(batch)
            gg.set_num_threads(threads)
            every = f(batch)
            gg.set_batch_invariant(False)
            if np.asarray(one).tobytes() != np.asarray(every).tobytes():
                wrong.append(f"{name}: {threads} threads differ from one")
            if np.asarray(single).tobytes() != np.asarray(one[5:6].copy()).tobytes():
                wrong.append(f"{name}: a row of 64 differs from the batch of one")
            print(f"{name:<34}{ratios[0]:>17.2f}{ratios[1]:>18.2f}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Solves a differential equation with a network that sees no solution, only how well it obeys the equation.

To learn here: derivatives of a network by its input, of second order, inside a captured training step that goes
backward through them once more. The equation is that of a damped oscillator, u'' + 2 d u' + w^2 u = 0 with u(0) = 1 and
u'(0) = 0; the initial values are built into the form u(t) = 1 + tanh(2 t)^2 n(t), so that the loss is the equation's
residual alone (Lagaris, Likas and Fotiadis, 1998; Raissi, Perdikaris and Karniadakis, 2019). Layers bend by sines,
whose derivatives are as lively as they are (Sitzmann et al., 2020).

Expect less than a quarter of a minute on two cores and a relative error of some 0.01 % against the exact solution.
Leaves weights (pinn.safetensors) and a picture (pinn.png: solution, error, loss) in the output folder, and prints the
time of a step eager and captured. Everything random comes from --seed. Exit status 1 when the error misses its target.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import gorgo as gg
from gorgo import nn

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 0.002  # root of the mean square error over that of the solution
DAMPING, FREQUENCY = 1.0, 6.0  # d and w
END = 3.0
POINTS = 128


def exact(t: np.ndarray) -> np.ndarray:
    """Return the solution, known in closed form as the damping is below the frequency."""
    swing = np.sqrt(FREQUENCY**2 - DAMPING**2)
    return np.exp(-DAMPING * t) * (np.cos(swing * t) + DAMPING / swing * np.sin(swing * t))


class Sine(nn.Module):
    """A layer that takes the sine of each element."""

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the sine."""
        return gg.sin(x)


class Solution(nn.Module):
    """A function of time that starts from 1 at rest."""

    def __init__(self, hidden: int = 64) -> None:
        """Start from small random weights."""
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, hidden), Sine(), nn.Linear(hidden, hidden), Sine(), nn.Linear(hidden, 1))

    def forward(self, t: gg.Tensor) -> gg.Tensor:
        """Return u(t), (n, 1) for t (n, 1)."""
        start = gg.tanh(2 * t)
        return 1 + start * start * self.body(t * FREQUENCY - FREQUENCY * END / 2)


def residual(model: nn.Module, t: gg.Tensor) -> gg.Tensor:
    """Return how far the model is from obeying the equation at t (n, 1), which must require grad."""
    u = model(t)
    # A point's u depends on that point alone, so the gradient of the sum holds each point's derivative.
    (du,) = gg.autograd.grad(u.sum(), t, create_graph=True)
    (ddu,) = gg.autograd.grad(du.sum(), t, create_graph=True)
    return ddu + 2 * DAMPING * du + FREQUENCY**2 * u


def training_step(model: nn.Module, optimizer: gg.optim.Adam) -> Callable[[gg.Tensor], gg.Tensor]:
    """Return the function of points in time that improves the model once and returns the loss."""

    def step(points: gg.Tensor) -> gg.Tensor:
        optimizer.zero_grad()
        wrong = residual(model, points.detach().requires_grad_())
        loss = (wrong * wrong).mean() / FREQUENCY**4
        loss.backward()
        optimizer.step()
        return loss

    return step


def error(model: nn.Module) -> float:
    """Return the relative error on a fine grid."""
    t = np.linspace(0, END, 1001, dtype=np.float32)[:, None]
    with gg.no_grad():
        away = model(gg.asarray(t)).numpy() - exact(t)
    return float(np.sqrt(np.mean(away**2) / np.mean(exact(t) ** 2)))


def time_of_a_step(captured: bool, steps: int) -> float:
    """Return the median microseconds of a step of a fresh network."""
    model = Solution()
    step = training_step(model, gg.optim.Adam(model.parameters(), lr=1e-3))
    step = gg.compile(step) if captured else step
    points = gg.linspace(0.0, END, POINTS).reshape((-1, 1))
    times = []
    for _ in range(steps + 3):
        start = time.perf_counter_ns()
        step(points)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return statistics.median(times[3:])


def plot(losses: list[float], model: nn.Module, path: Path) -> None:
    """Draw the solution beside the exact one, their difference, and the loss."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    t = np.linspace(0, END, 500, dtype=np.float32)[:, None]
    with gg.no_grad():
        u = model(gg.asarray(t)).numpy()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4))
    left.plot(t, exact(t), label="exact", linewidth=3, alpha=0.4)
    left.plot(t, u, label="network", linestyle="--")
    left.set(xlabel="t", ylabel="u", title="damped oscillator")
    left.legend()
    middle.plot(t, u - exact(t))
    middle.set(xlabel="t", title="network less exact")
    right.semilogy(losses, linewidth=0.6)
    right.set(xlabel="step", title="mean square residual / w^4")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Train, measure, draw, save; 1 when the error misses its target."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        description="Solve the equation of a damped oscillator with a network.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=4000, help="training steps")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate at the start; it falls to 0 on a cosine")
    parser.add_argument("--seed", type=int, default=0, help="for initial weights and points")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="folder for weights and picture"
    )
    parser.add_argument(
        "--toy",
        action="store_true",
        default=os.environ.get("GORGO_TOY", "0") not in ("", "0"),
        help="50 steps: shows in seconds that everything runs, without the target",
    )
    options = parser.parse_args()
    if options.toy:
        options.steps = min(options.steps, 50)
    if options.steps < 1:
        parser.error(f"argument --steps: must be at least 1, got {options.steps}")
    options.out.mkdir(parents=True, exist_ok=True)

    gg.random.seed(options.seed)
    rng = np.random.default_rng(options.seed)
    model = Solution()
    optimizer = gg.optim.Adam(model.parameters(), lr=options.lr)
    schedule = gg.optim.CosineAnnealingLR(optimizer, T_max=options.steps)
    step = gg.compile(training_step(model, optimizer))

    losses: list[float] = []
    start = time.perf_counter()
    with tqdm(total=options.steps, unit="step", disable=None) as bar:
        for number in range(options.steps):
            # One point anywhere in each of equal pieces: fresh ones each time, and none of the pieces left out.
            points = (np.arange(POINTS) + rng.random(POINTS)) * (END / POINTS)
            losses.append(step(gg.asarray(points.astype(np.float32)[:, None])).item())
            schedule.step()
            bar.set_postfix(loss=f"{losses[-1]:.2e}", refresh=False)
            bar.update()
            if number % max(1, options.steps // 10) == 0:
                bar.write(f"step {number:5d}   loss {losses[-1]:.2e}   relative error {error(model):.2e}")
    print(f"{options.steps} captured steps in {time.perf_counter() - start:.2f} s")
    turns = 5 if options.toy else 200
    eager, captured = (time_of_a_step(way, turns) for way in (False, True))
    print(f"microseconds per step, {POINTS} points: {eager:.0f} eager, {captured:.0f} captured")

    weights, picture = options.out / "pinn.safetensors", options.out / "pinn.png"
    gg.save(model.state_dict(), weights)
    plot(losses, model, picture)
    print(f"weights: {weights}\npicture: {picture}")

    # What is reported is the error of the saved weights, read back.
    again = Solution()
    again.load_state_dict(gg.load(weights))
    reached = error(again)
    print(f"relative error: {reached:.2e} (target {TARGET})")
    if not options.toy and not reached < TARGET:
        print(f"pinn: the relative error must be below {TARGET}, got {reached:.2e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

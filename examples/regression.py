"""Fits a noisy curve with a small network: the lines that every training loop consists of.

Prints the error on fresh points beside the best that is possible, and leaves a picture of the fit (regression.png) and
the weights (regression.safetensors) in the output folder. Everything random comes from --seed. Exit status 1 when the
error stays above its target.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

import gorgo as gg
from gorgo import nn

NOISE = 0.1
TARGET = 0.05  # distance of the fit from the curve itself, root of the mean square


def curve(x: np.ndarray) -> np.ndarray:
    """Return what is to be found."""
    return np.sin(2 * x) + 0.3 * x


def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the curve with noise, (count, 1) each."""
    x = rng.uniform(-3, 3, (count, 1))
    return x.astype(np.float32), (curve(x) + NOISE * rng.standard_normal((count, 1))).astype(np.float32)


def plot(x: np.ndarray, y: np.ndarray, model: nn.Module, path: Path) -> None:
    """Draw the points, the curve and the fit."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    line = np.linspace(-3, 3, 300, dtype=np.float32)[:, None]
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.scatter(x, y, s=6, color="gray", label="points to learn from")
    axes.plot(line, curve(line), linestyle="--", label="curve")
    with gg.no_grad():
        axes.plot(line, model(gg.asarray(line)).numpy(), label="fit")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Train, measure, save; 1 when the error misses its target."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        description="Fit a noisy curve with a small network.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=300, help="how often every point is seen")
    parser.add_argument("--lr", type=float, default=1e-2, help="learning rate at the start; it falls to 0 on a cosine")
    parser.add_argument("--seed", type=int, default=0, help="for points, initial weights and order")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="folder for weights and picture"
    )
    parser.add_argument(
        "--toy",
        action="store_true",
        default=os.environ.get("GORGO_TOY", "0") not in ("", "0"),
        help="ten epochs: shows in seconds that everything runs, without the target",
    )
    options = parser.parse_args()
    if options.toy:
        options.epochs = min(options.epochs, 10)
    if options.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1, got {options.epochs}")
    options.out.mkdir(parents=True, exist_ok=True)

    gg.random.seed(options.seed)
    x, y = draw(np.random.default_rng(options.seed), 1024)
    loader = gg.data.DataLoader(gg.data.TensorDataset(x, y), batch_size=64, shuffle=True, seed=options.seed)
    model = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = gg.optim.Adam(model.parameters(), lr=options.lr)
    schedule = gg.optim.CosineAnnealingLR(optimizer, T_max=options.epochs)

    @gg.compile
    def step(points: gg.Tensor, values: gg.Tensor) -> gg.Tensor:
        optimizer.zero_grad()
        error = model(points) - values
        loss = (error * error).mean()
        loss.backward()
        optimizer.step()
        return loss

    start = time.perf_counter()
    mean = 0.0
    with tqdm(total=options.epochs, unit="epoch", disable=None) as bar:
        for epoch in range(options.epochs):
            mean = sum(step(points, values).item() for points, values in loader) / len(loader)
            schedule.step()
            bar.set_postfix(loss=f"{mean:.5f}", refresh=False)
            bar.update()
            if epoch % max(1, options.epochs // 10) == 0:
                bar.write(f"epoch {epoch:3d}   loss {mean:.5f}")
    print(f"{options.epochs * len(loader)} captured steps in {time.perf_counter() - start:.2f} s")
    print(f"training loss: {mean:.5f} (noise alone: {NOISE**2:.5f})")

    weights, picture = options.out / "regression.safetensors", options.out / "regression.png"
    gg.save(model.state_dict(), weights)
    plot(x, y, model, picture)
    print(f"weights: {weights}\npicture: {picture}")

    fresh = np.linspace(-3, 3, 1001, dtype=np.float32)[:, None]
    with gg.no_grad():
        away = float(np.sqrt(np.mean((model(gg.asarray(fresh)).numpy() - curve(fresh)) ** 2)))
    print(f"distance from the curve: {away:.4f} (target {TARGET}, noise of one point {NOISE})")
    if not options.toy and not away < TARGET:
        print(f"regression: the distance must be below {TARGET}, got {away:.4f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

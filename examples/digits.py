"""Trains a small convolutional network on handwritten digits: 1797 images of 8x8 pixels that scikit-learn ships (UCI).

Prints losses and the accuracy on images that training never saw, compares the time of a step eager, captured and
written by hand in NumPy, and leaves weights (digits.safetensors) and curves (digits.png) in the output folder.
Everything random comes from --seed; the split into training and test images is always the same one. Exit status 1 when
the test accuracy stays below 98 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import gorgo as gg
from gorgo import nn
from gorgo.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 0.98
MOMENTUM = 0.9


def load(toy: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images and labels, test images and labels: (n, 1, 8, 8) in [0, 1] and (n,)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    split = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    x_train, x_test, y_train, y_test = (np.ascontiguousarray(part) for part in split)
    return (x_train[:320], y_train[:320], x_test, y_test) if toy else (x_train, y_train, x_test, y_test)


def convolutional_network() -> nn.Module:
    """Build the network that this example is about."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def multilayer_perceptron() -> nn.Module:
    """Build what `NumpyPerceptron` is, for the comparison of times."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def training_step(model: nn.Module, optimizer: gg.optim.SGD) -> Callable[[gg.Tensor, gg.Tensor], gg.Tensor]:
    """Return the function of images and labels that improves the model once and returns the loss."""

    def step(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def accuracy(model: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of images whose largest output is the label's."""
    model.eval()
    with gg.no_grad():
        guesses = model(gg.asarray(x)).numpy().argmax(axis=1)
    model.train()
    return float((guesses == y).mean())


def train(
    options: argparse.Namespace, data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> tuple[nn.Module, list[float], list[float]]:
    """Return the trained model, the loss of each step and the test accuracy after each epoch."""
    from tqdm import tqdm

    x_train, y_train, x_test, y_test = data
    gg.random.seed(options.seed)
    loader = gg.data.DataLoader(
        gg.data.TensorDataset(x_train, y_train), options.batch_size, shuffle=True, seed=options.seed, drop_last=True
    )
    model = convolutional_network()
    optimizer = gg.optim.SGD(model.parameters(), lr=options.lr, momentum=MOMENTUM)
    # Half a cosine, from the full rate to none.
    schedule = gg.optim.CosineAnnealingLR(optimizer, T_max=options.epochs)
    step = training_step(model, optimizer)
    if options.compile:
        step = gg.compile(step)

    losses: list[float] = []
    accuracies: list[float] = []
    # disable=None: a bar on a terminal, nothing in a file.
    with tqdm(total=options.epochs * len(loader), unit="step", disable=None) as bar:
        for epoch in range(options.epochs):
            for images, labels in loader:
                losses.append(step(images, labels).item())
                bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
                bar.update()
            schedule.step()
            accuracies.append(accuracy(model, x_test, y_test))
            mean = statistics.fmean(losses[-len(loader) :])
            bar.write(f"epoch {epoch + 1:2d}   loss {mean:.4f}   test accuracy {accuracies[-1]:.4f}")
    return model, losses, accuracies


class NumpyPerceptron:
    """A network 64-128-10 in NumPy, the gradient worked out by hand, SGD with momentum."""

    def __init__(self, lr: float) -> None:
        """Start from small random weights."""
        rng = np.random.default_rng(0)
        shapes = [(64, 128), (128,), (128, 10), (10,)]
        self.parameters = [rng.uniform(-0.1, 0.1, shape).astype(np.float32) for shape in shapes]
        self.velocities = [np.zeros_like(p) for p in self.parameters]
        self.lr = np.float32(lr)

    def step(self, x: np.ndarray, y: np.ndarray) -> float:
        """Improve the parameters once and return the loss."""
        w1, b1, w2, b2 = self.parameters
        x = x.reshape(len(x), -1)
        rows = np.arange(len(x))
        hidden = np.maximum(x @ w1 + b1, 0)
        z = hidden @ w2 + b2
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - z[rows, y]).mean()
        p /= total
        p[rows, y] -= 1
        p /= np.float32(len(x))
        d_hidden = (p @ w2.T) * (hidden > 0)
        gradients = [x.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ p, p.sum(axis=0)]
        for parameter, velocity, gradient in zip(self.parameters, self.velocities, gradients, strict=True):
            np.multiply(velocity, np.float32(MOMENTUM), out=velocity)
            np.add(velocity, gradient, out=velocity)
            np.subtract(parameter, self.lr * velocity, out=parameter)
        return float(loss)


def compare_times(options: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> str:
    """Time one step of fresh networks, the ways taking turns, and return the table of medians."""
    batches = [
        (x[i : i + options.batch_size], y[i : i + options.batch_size])
        for i in range(0, len(x) - options.batch_size + 1, options.batch_size)
    ][:8]
    tensors = [(gg.asarray(images), gg.asarray(labels)) for images, labels in batches]

    def gorgo_step(build: Callable[[], nn.Module], captured: bool) -> Callable[[Any, Any], Any]:
        model = build()
        step = training_step(model, gg.optim.SGD(model.parameters(), lr=0.01, momentum=MOMENTUM))
        return gg.compile(step) if captured else step

    ways: dict[tuple[str, str], tuple[Callable[[Any, Any], Any], list[Any]]] = {}
    builders = {"convolutional": convolutional_network, "MLP 64-128-10": multilayer_perceptron}
    for name, build in builders.items():
        ways[name, "eager"] = (gorgo_step(build, captured=False), tensors)
        if options.compile:
            ways[name, "captured"] = (gorgo_step(build, captured=True), tensors)
    ways["MLP 64-128-10", "NumPy by hand"] = (NumpyPerceptron(0.01).step, batches)

    turns, repeats = (3, 1) if options.toy else (9, 2)
    times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for turn in range(-1, turns):
        for way, (step, ring) in ways.items():
            start = time.perf_counter_ns()
            for _ in range(repeats):
                for images, labels in ring:
                    step(images, labels)
            # The first turn warms up, and captures.
            if turn >= 0:
                times[way].append((time.perf_counter_ns() - start) / (repeats * len(ring)) / 1e3)

    columns = ["eager", "captured", "NumPy by hand"]
    lines = [f"microseconds per step, batch {options.batch_size}".ljust(36) + "".join(c.rjust(15) for c in columns)]
    for name in builders:
        cells = [f"{statistics.median(times[name, c]):.0f}" if (name, c) in times else "-" for c in columns]
        lines.append(f"  {name}".ljust(36) + "".join(cell.rjust(15) for cell in cells))
    return "\n".join(lines)


def plot(losses: list[float], accuracies: list[float], path: Path) -> None:
    """Draw the loss of each step and the test accuracy of each epoch."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.semilogy(losses, linewidth=0.8)
    left.set(xlabel="step", ylabel="loss", title="training loss")
    right.plot(range(1, len(accuracies) + 1), accuracies, marker="o")
    right.axhline(TARGET, color="gray", linestyle="--", linewidth=1, label=f"{TARGET:.0%}")
    right.set(xlabel="epoch", ylabel="accuracy", title="test accuracy", ylim=(min(0.9, *accuracies), 1.0))
    right.xaxis.get_major_locator().set_params(integer=True)
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def parse_arguments() -> argparse.Namespace:
    """Read the command line; GORGO_TOY=1 means --toy."""
    parser = argparse.ArgumentParser(
        description="Train a small convolutional network on scikit-learn's handwritten digits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=20, help="how often every training image is seen")
    parser.add_argument("--batch-size", type=int, default=32, help="images per step")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate at the start; it falls to 0 on a cosine")
    parser.add_argument("--seed", type=int, default=0, help="for initial weights, order of images and dropout")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for weights and curves")
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="train eagerly instead of by a captured step"
    )
    parser.add_argument(
        "--toy",
        action="store_true",
        default=os.environ.get("GORGO_TOY", "0") not in ("", "0"),
        help="two epochs of 320 images: shows in seconds that everything runs, without the accuracy",
    )
    options = parser.parse_args()
    if options.toy:
        options.epochs = min(options.epochs, 2)
    if options.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1, got {options.epochs}")
    if not 1 <= options.batch_size <= 320:
        parser.error(f"argument --batch-size: must be in [1, 320], got {options.batch_size}")
    return options


def main() -> int:
    """Train, compare times, save; 1 when the accuracy misses its target."""
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    data = load(options.toy)
    x_train, y_train, x_test, y_test = data
    print(f"{len(x_train)} images to train on, {len(x_test)} to test on, seed {options.seed}")

    start = time.perf_counter()
    model, losses, accuracies = train(options, data)
    way = "captured" if options.compile else "eager"
    print(f"{len(losses)} {way} steps and {len(accuracies)} tests in {time.perf_counter() - start:.2f} s")
    print(compare_times(options, x_train, y_train))

    weights, curves = options.out / "digits.safetensors", options.out / "digits.png"
    gg.save(model.state_dict(), weights)
    plot(losses, accuracies, curves)
    print(f"weights: {weights}\ncurves: {curves}")

    # What is reported is the accuracy of the saved weights, read back.
    again = convolutional_network()
    again.load_state_dict(gg.load(weights))
    reached = accuracy(again, x_test, y_test)
    print(f"test accuracy: {reached:.4f}")
    if options.toy:
        return 0
    if reached < TARGET:
        print(f"digits: test accuracy must be at least {TARGET}, got {reached:.4f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

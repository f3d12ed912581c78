"""Trains a variational autoencoder on handwritten digits: a map with two coordinates from which digits can be drawn.

To learn here: sampling inside a captured step (each replay draws fresh noise), two networks under one optimizer, a loss
of two parts. The encoder turns an image into a normal distribution over two coordinates, the decoder turns coordinates
into an image; what is improved is the evidence lower bound (Kingma and Welling, 2014): the log likelihood of the image
less the divergence from a standard normal.

Expect half a minute on two cores and about 24 nats per image on images that training never saw (64 pixels of one bit
each would cost 44.4). Leaves weights (vae.safetensors) and a picture (vae.png: curve, digits over the map, test images
on the map) in the output folder, and prints the time of a step eager and captured. Everything random comes from --seed.
Exit status 1 when the bound misses its target.
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
from gorgo.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 25.0  # nats per test image, at most


def load(toy: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training images, test images (n, 64) in [0, 1], and the labels of the test images."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    train, test, _, labels = train_test_split(
        pixels, digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return (train[:320] if toy else train), test, labels


class Autoencoder(nn.Module):
    """An encoder to normal distributions over the map and a decoder back to pixels."""

    def __init__(self, hidden: int = 256) -> None:
        """Start from small random weights."""
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 4)
        )
        self.decoder = nn.Sequential(
            nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 64)
        )

    def encode(self, x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        """Return mean and log variance, (n, 2) each."""
        both = self.encoder(x)
        return both[:, :2], both[:, 2:]

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return the negative evidence lower bound of x (n, 64), in nats per image, by one draw for each image."""
        mean, log_variance = self.encode(x)
        noise = gg.random.normal(shape=mean.shape)
        logits = self.decoder(mean + gg.exp(log_variance / 2) * noise)
        # Cross-entropy of a pixel between 0 and 1 with the sigmoid of its logit.
        reconstruction = (F.softplus(logits) - x * logits).sum(axis=1)
        divergence = (gg.exp(log_variance) + mean * mean - 1 - log_variance).sum(axis=1) / 2
        return (reconstruction + divergence).mean()


def training_step(model: Autoencoder, optimizer: gg.optim.Adam) -> Callable[[gg.Tensor], gg.Tensor]:
    """Return the function of images that improves the model once and returns the loss."""

    def step(x: gg.Tensor) -> gg.Tensor:
        optimizer.zero_grad()
        loss = model(x)
        loss.backward()
        optimizer.step()
        return loss

    return step


def bound(model: Autoencoder, images: np.ndarray, draws: int = 20) -> float:
    """Return the mean of several estimates of the loss on all images."""
    x = gg.asarray(images)
    with gg.no_grad():
        return statistics.fmean(model(x).item() for _ in range(draws))


def time_of_a_step(images: np.ndarray, captured: bool, steps: int) -> float:
    """Return the median microseconds of a step of a fresh network."""
    model = Autoencoder()
    step = training_step(model, gg.optim.Adam(model.parameters(), lr=1e-3))
    step = gg.compile(step) if captured else step
    x = gg.asarray(images)
    times = []
    for _ in range(steps + 3):
        start = time.perf_counter_ns()
        step(x)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return statistics.median(times[3:])


def plot(losses: list[float], model: Autoencoder, images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Draw the training curve, digits decoded over the map, and where test images lie on it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    side = 12
    # Places at equal steps of probability: the prior puts as many images between any two of them.
    steps = np.array([statistics.NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)], np.float32)
    places = np.stack(np.meshgrid(steps, steps[::-1]), axis=-1).reshape(-1, 2)
    with gg.no_grad():
        tiles = gg.sigmoid(model.decoder(gg.asarray(places))).numpy().reshape(side, side, 8, 8)
        means = model.encode(gg.asarray(images))[0].numpy()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.5))
    left.plot(losses)
    left.set(xlabel="epoch", ylabel="nats per image", title="training loss")
    tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)))
    middle.imshow(tiles.transpose(0, 2, 1, 3).reshape(10 * side, 10 * side), cmap="gray_r")
    middle.set(title="digits over the map", xticks=[], yticks=[])
    points = right.scatter(means[:, 0], means[:, 1], c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=10)
    right.set(title="test images on the map")
    figure.colorbar(points, ax=right, ticks=range(10))
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Train, measure, draw, save; 1 when the bound misses its target."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        description="Train a variational autoencoder on scikit-learn's handwritten digits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=300, help="how often every training image is seen")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate at the start; it falls to 0 on a cosine")
    parser.add_argument("--seed", type=int, default=0, help="for initial weights, order of images and draws")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="folder for weights and picture"
    )
    parser.add_argument(
        "--toy",
        action="store_true",
        default=os.environ.get("GORGO_TOY", "0") not in ("", "0"),
        help="three epochs of 320 images: shows in seconds that everything runs, without the target",
    )
    options = parser.parse_args()
    if options.toy:
        options.epochs = min(options.epochs, 3)
    if options.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1, got {options.epochs}")
    if not 1 <= options.batch_size <= 320:
        parser.error(f"argument --batch-size: must be in [1, 320], got {options.batch_size}")
    options.out.mkdir(parents=True, exist_ok=True)

    gg.random.seed(options.seed)
    train, test, labels = load(options.toy)
    print(f"{len(train)} images to train on, {len(test)} to test on, seed {options.seed}")
    loader = gg.data.DataLoader(
        gg.data.TensorDataset(train), options.batch_size, shuffle=True, seed=options.seed, drop_last=True
    )
    model = Autoencoder()
    optimizer = gg.optim.Adam(model.parameters(), lr=options.lr)
    schedule = gg.optim.CosineAnnealingLR(optimizer, T_max=options.epochs)
    step = gg.compile(training_step(model, optimizer))

    losses: list[float] = []
    start = time.perf_counter()
    # disable=None: a bar on a terminal, nothing in a file.
    with tqdm(total=options.epochs, unit="epoch", disable=None) as bar:
        for epoch in range(options.epochs):
            losses.append(statistics.fmean(step(images).item() for (images,) in loader))
            schedule.step()
            bar.set_postfix(nats=f"{losses[-1]:.2f}", refresh=False)
            bar.update()
            if epoch % max(1, options.epochs // 10) == 0:
                bar.write(f"epoch {epoch:3d}   {losses[-1]:.2f} nats per image")
    print(f"{options.epochs * len(loader)} captured steps in {time.perf_counter() - start:.2f} s")
    turns = 5 if options.toy else 200
    eager, captured = (time_of_a_step(train[: options.batch_size], way, turns) for way in (False, True))
    print(f"microseconds per step, batch {options.batch_size}: {eager:.0f} eager, {captured:.0f} captured")

    weights, picture = options.out / "vae.safetensors", options.out / "vae.png"
    gg.save(model.state_dict(), weights)
    plot(losses, model, test, labels, picture)
    print(f"weights: {weights}\npicture: {picture}")

    # What is reported is the bound of the saved weights, read back.
    again = Autoencoder()
    again.load_state_dict(gg.load(weights))
    reached = bound(again, test)
    print(f"test loss: {reached:.2f} nats per image (target {TARGET}, 64 bits {64 * np.log(2):.2f})")
    if not options.toy and not reached < TARGET:
        print(f"vae: the test loss must be below {TARGET}, got {reached:.2f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

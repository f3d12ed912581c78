"""Trains a character-level model on the sources of Python's standard library and lets it write a few lines.

The model sees the last characters, looks up a vector for each, and guesses the next one with a small perceptron. Prints
the loss in bits per character on files that training never saw, beside two yardsticks (every character equally likely,
and the frequency of single characters), writes a sample, and leaves weights (charlm.safetensors) and curves
(charlm.png) in the output folder. Everything random comes from --seed. Exit status 1 when the model does not reach its
target.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np

import gorgo as gg
from gorgo import nn
from gorgo.nn import functional as F

TARGET_BITS = 2.7
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
# Files that every Python 3.10 or newer has; the last ones are for the test.
TRAINING_FILES = ("argparse.py", "ast.py", "inspect.py", "pathlib.py", "socket.py", "tarfile.py", "threading.py")
TEST_FILES = ("shutil.py", "zipfile.py", "tempfile.py")


def load(toy: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the texts to train on and to test on as numbers of characters."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    number = {character: i for i, character in enumerate(CHARACTERS)}

    def read(names: tuple[str, ...]) -> np.ndarray:
        paths = [path for name in names for path in (folder / name, folder / name.replace(".py", "/__init__.py"))]
        text = "".join(path.read_text(encoding="utf-8") for path in paths if path.exists())
        return np.array([number[c] for c in text if c in number], np.int64)

    train, test = read(TRAINING_FILES), read(TEST_FILES)
    return (train[:40_000], test[:4_000]) if toy else (train, test[:40_000])


class CharacterModel(nn.Module):
    """Guesses a character from the ones before it."""

    def __init__(self, context: int, width: int, hidden: int) -> None:
        """Start from small random weights."""
        super().__init__()
        self.table = nn.Parameter(gg.random.normal(0.0, 0.1, (len(CHARACTERS), width)))
        self.body = nn.Sequential(nn.Linear(context * width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, len(CHARACTERS))

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        """Return logits (n, characters) for x (n, context) int64."""
        vectors = gg.take(self.table, x.reshape((-1,)), axis=0)
        return self.head(self.body(vectors.reshape((x.shape[0], -1))))


class Windows:
    """Every place in a text: the characters before it and the one there, gathered a batch at a time."""

    def __init__(self, text: np.ndarray, context: int) -> None:
        """Keep the text; windows are views of it."""
        windows = np.lib.stride_tricks.sliding_window_view(text, context + 1)
        self.before, self.here = windows[:, :context], windows[:, context]

    def __len__(self) -> int:
        return len(self.here)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.before[i], int(self.here[i])

    def gather(self, indices: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        """Return the contexts (n, context) and the characters (n,) at some places."""
        chosen = np.asarray(indices)
        return gg.asarray(self.before[chosen]), gg.asarray(self.here[chosen])


def bits(model: nn.Module, windows: Windows) -> float:
    """Return the mean loss in bits per character."""
    total = 0.0
    with gg.no_grad():
        for x, y in gg.data.DataLoader(windows, 1024):
            total += F.cross_entropy(model(x), y).item() * len(y)
    return total / len(windows) / math.log(2)


def frequency_bits(train: np.ndarray, test: np.ndarray) -> float:
    """Return what guessing by the frequency of single characters costs."""
    counts = np.bincount(train, minlength=len(CHARACTERS)) + 1
    return float(-np.log2(counts / counts.sum())[test].mean())


def sample(model: nn.Module, prompt: str, length: int, context: int, temperature: float = 0.7) -> str:
    """Return the prompt and what the model writes after it."""
    number = {character: i for i, character in enumerate(CHARACTERS)}
    text = [0] * context + [number[c] for c in prompt]
    with gg.no_grad():
        for _ in range(length):
            logits = model(gg.asarray([text[-context:]])) / temperature
            # The largest of logits with Gumbel noise is a draw from their softmax.
            noise = -gg.log(-gg.log(gg.random.uniform(shape=(1, len(CHARACTERS))) * 0.999998 + 1e-6))
            text.append(int(gg.argmax(logits + noise).item()))
    return "".join(CHARACTERS[i] for i in text[context:])


def plot(losses: list[float], path: Path) -> None:
    """Draw the loss of each step, and its running mean."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    values = np.array(losses) / math.log(2)
    axes.plot(values, linewidth=0.4, alpha=0.5)
    width = max(1, len(values) // 50)
    axes.plot(np.arange(width - 1, len(values)), np.convolve(values, np.ones(width) / width, "valid"))
    axes.set(xlabel="step", ylabel="bits per character", title="training loss")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Train, measure, write a sample, save; 1 when the loss misses its target."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        description="Train a character-level model on the standard library's own sources.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=6000, help="training steps")
    parser.add_argument("--batch-size", type=int, default=128, help="characters per step")
    parser.add_argument("--context", type=int, default=16, help="characters that the model sees")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="for initial weights, order and sample")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for weights and curves")
    parser.add_argument(
        "--toy",
        action="store_true",
        default=os.environ.get("GORGO_TOY", "0") not in ("", "0"),
        help="100 steps: shows in seconds that everything runs, without the target",
    )
    options = parser.parse_args()
    if options.toy:
        options.steps = min(options.steps, 100)
    if min(options.steps, options.batch_size, options.context) < 1:
        parser.error("arguments --steps, --batch-size and --context: must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)

    gg.random.seed(options.seed)
    train_text, test_text = load(options.toy)
    train, test = Windows(train_text, options.context), Windows(test_text, options.context)
    print(f"{len(train)} characters to train on, {len(test)} to test on, seed {options.seed}")
    model = CharacterModel(options.context, 16, 256)
    optimizer = gg.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01)
    schedule = gg.optim.OneCycleLR(optimizer, options.lr, total_steps=options.steps + 1, cycle_momentum=False)

    @gg.compile
    def step(x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        return loss

    loader = gg.data.DataLoader(
        train, options.batch_size, shuffle=True, seed=options.seed, drop_last=True, num_workers=1
    )
    losses: list[float] = []
    start = time.perf_counter()
    with tqdm(total=options.steps, unit="step", disable=None) as bar:
        while len(losses) < options.steps:
            for x, y in loader:
                losses.append(step(x, y).item())
                bar.set_postfix(bits=f"{losses[-1] / math.log(2):.3f}", refresh=False)
                bar.update()
                if len(losses) == options.steps:
                    break
    print(f"{len(losses)} captured steps in {time.perf_counter() - start:.2f} s")

    weights, curves = options.out / "charlm.safetensors", options.out / "charlm.png"
    gg.save(model.state_dict(), weights, metadata={"context": str(options.context), "characters": CHARACTERS})
    plot(losses, curves)
    print(f"weights: {weights}\ncurves: {curves}")
    print(sample(model, "def ", 200, options.context))

    # What is reported is the loss of the saved weights, read back.
    again = CharacterModel(options.context, 16, 256)
    again.load_state_dict(gg.load(weights))
    reached = bits(again, test)
    print(
        f"test loss: {reached:.3f} bits per character (equally likely: {math.log2(len(CHARACTERS)):.3f}, by frequency:"
        f" {frequency_bits(train_text, test_text):.3f})"
    )
    if not options.toy and not reached < TARGET_BITS:
        print(f"charlm: test loss must be below {TARGET_BITS} bits, got {reached:.3f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

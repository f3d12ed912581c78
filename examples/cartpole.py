"""Learns to balance a pole on a cart by trial and error: actor and critic, improved in clipped steps.

To learn here: a network that acts and is trained on its own experience, gradients through the log probabilities of
actions, two captured functions (one that chooses, one that improves) over the same parameters. The cart and the pole
are simulated below (Barto, Sutton and Anderson, 1983, without friction); the method is proximal policy optimization
(Schulman et al., 2017) with advantages by exponential averages (Schulman et al., 2016).

Expect less than a minute on two cores and a mean return of 490 to 500 of 500: the pole stays up for the ten simulated
seconds of an episode. Leaves weights (cartpole.safetensors) and a picture (cartpole.png: returns while learning, one
episode afterwards) in the output folder, and prints the time of a step eager and captured. Everything random comes from
--seed. Exit status 1 when the mean return of 100 episodes misses its target.
"""

from __future__ import annotations

import argparse
import math
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

TARGET = 450.0
EPISODE = 500  # steps at most
DISCOUNT, TRACE = 0.99, 0.95
CLIP, ENTROPY, VALUE = 0.2, 0.005, 0.5


class CartPoles:
    """Many carts on tracks, each with a pole; one that fails or has lasted starts again.

    The state of each is position, velocity, angle and angular velocity; the cart is pushed left (0) or right (1).
    """

    GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TICK = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02  # SI units
    TRACK, LEAN = 2.4, 12 * math.pi / 180  # where an episode has failed

    def __init__(self, count: int, seed: int) -> None:
        """Place the carts near the middle with almost upright poles."""
        self.rng = np.random.default_rng(seed)
        self.state = self.rng.uniform(-0.05, 0.05, (count, 4))
        self.age = np.zeros(count, np.int64)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Push each cart for one tick; return the states reached, who failed, and who lasted to the end."""
        _, velocity, angle, spin = self.state.T
        force = np.where(actions == 1, self.FORCE, -self.FORCE)
        total = self.CART + self.POLE
        sine, cosine = np.sin(angle), np.cos(angle)
        pushed = (force + self.POLE * self.HALF_LENGTH * spin**2 * sine) / total
        turning = (self.GRAVITY * sine - cosine * pushed) / (self.HALF_LENGTH * (4 / 3 - self.POLE * cosine**2 / total))
        moving = pushed - self.POLE * self.HALF_LENGTH * turning * cosine / total
        rates = np.stack([velocity, moving, spin, turning], axis=1)
        reached = self.state + self.TICK * rates
        self.age += 1
        failed = (abs(reached[:, 0]) > self.TRACK) | (abs(reached[:, 2]) > self.LEAN)
        lasted = ~failed & (self.age >= EPISODE)
        over = failed | lasted
        self.state = reached.copy()
        self.state[over] = self.rng.uniform(-0.05, 0.05, (int(over.sum()), 4))
        self.age[over] = 0
        return reached, failed, lasted


class ActorCritic(nn.Module):
    """What to do in a state, and what return to expect there."""

    def __init__(self, hidden: int = 64) -> None:
        """Start from small random weights."""
        super().__init__()
        self.actor = nn.Sequential(
            nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2)
        )
        self.critic = nn.Sequential(
            nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )

    def forward(self, states: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        """Return log probabilities (n, 2) of the actions and values (n,)."""
        return F.log_softmax(self.actor(states), axis=1), self.critic(states)[:, 0]


def improvement(
    model: ActorCritic, optimizer: gg.optim.Adam
) -> Callable[[gg.Tensor, gg.Tensor, gg.Tensor, gg.Tensor, gg.Tensor], gg.Tensor]:
    """Return the function of experience that improves the model once and returns the loss."""

    def step(
        states: gg.Tensor, actions: gg.Tensor, before: gg.Tensor, advantages: gg.Tensor, returns: gg.Tensor
    ) -> gg.Tensor:
        optimizer.zero_grad()
        logs, values = model(states)
        chosen = gg.take_along_axis(logs, gg.expand_dims(actions, 1), axis=1)[:, 0]
        ratio = gg.exp(chosen - before)
        near = gg.minimum(gg.maximum(ratio, 1 - CLIP), 1 + CLIP)
        gain = gg.minimum(ratio * advantages, near * advantages).mean()
        entropy = -(gg.exp(logs) * logs).sum(axis=1).mean()
        error = values - returns
        loss = VALUE * (error * error).mean() - gain - ENTROPY * entropy
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    return step


def advantages_of(
    values: np.ndarray, last: np.ndarray, failed: np.ndarray, lasted: np.ndarray, beyond: np.ndarray
) -> np.ndarray:
    """Return how much better each step went than expected, (time, carts).

    Args:
        values: what the critic expected at each step, (time, carts).
        last: what it expects after the last step, (carts,).
        failed: where an episode ended by failing; nothing follows.
        lasted: where one ended because its time was up; what would have followed is in beyond.
        beyond: the critic's value of the state that an episode ended in, (time, carts).
    """
    out = np.zeros_like(values)
    following, running = last, np.zeros_like(last)
    for t in reversed(range(len(values))):
        over = failed[t] | lasted[t]
        expected = np.where(failed[t], 0.0, np.where(lasted[t], beyond[t], following))
        surprise = 1.0 + DISCOUNT * expected - values[t]  # the reward is 1 for each step
        running = surprise + DISCOUNT * TRACE * np.where(over, 0.0, running)
        out[t] = running
        following = values[t]
    return out


def evaluate(model: ActorCritic, episodes: int, seed: int) -> tuple[list[int], np.ndarray]:
    """Return the lengths of episodes in which the likelier action is taken, and the states of the first one."""
    carts = CartPoles(episodes, seed)
    lengths = [0] * episodes
    running = np.ones(episodes, bool)
    track = []
    with gg.no_grad():
        for t in range(1, EPISODE + 1):
            if running[0]:
                track.append(carts.state[0].copy())
            logs, _ = model(gg.asarray(carts.state.astype(np.float32)))
            _, failed, lasted = carts.step(logs.numpy().argmax(axis=1))
            for i in np.flatnonzero(running & (failed | lasted)):
                lengths[i] = t
            running &= ~(failed | lasted)
    return lengths, np.array(track)


def time_of_a_step(captured: bool, batch: int, steps: int) -> float:
    """Return the median microseconds of an improvement of a fresh network."""
    model = ActorCritic()
    step = improvement(model, gg.optim.Adam(model.parameters(), lr=1e-3))
    step = gg.compile(step) if captured else step
    given = (gg.ones((batch, 4)), gg.zeros((batch,), dtype=gg.int64), *(gg.zeros((batch,)) for _ in range(3)))
    times = []
    for _ in range(steps + 3):
        start = time.perf_counter_ns()
        step(*given)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return statistics.median(times[3:])


def plot(history: list[tuple[int, float]], track: np.ndarray, path: Path) -> None:
    """Draw the mean return while learning, and angle and position of one episode of the trained network."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    left.plot([seen for seen, _ in history], [mean for _, mean in history])
    left.axhline(TARGET, color="gray", linestyle="--", linewidth=1, label=f"target {TARGET:.0f}")
    left.set(xlabel="steps of simulation", ylabel="mean return of the last 50 episodes", ylim=(0, 1.04 * EPISODE))
    left.legend()
    seconds = np.arange(len(track)) * CartPoles.TICK
    right.plot(seconds, track[:, 0], label="position (m)")
    right.plot(seconds, np.degrees(track[:, 2]), label="angle (degrees)")
    right.set(xlabel="seconds", title="an episode of the trained network")
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def train(options: argparse.Namespace) -> tuple[ActorCritic, list[tuple[int, float]]]:
    """Return the trained model and (steps of simulation, mean return of the last 50 episodes) after each round."""
    from tqdm import tqdm

    rng = np.random.default_rng(options.seed)
    carts = CartPoles(options.carts, options.seed)
    model = ActorCritic()
    optimizer = gg.optim.Adam(model.parameters(), lr=options.lr, eps=1e-5)
    schedule = gg.optim.LinearLR(optimizer, 1.0, 0.1, total_iters=options.rounds)
    improve = gg.compile(improvement(model, optimizer))

    @gg.compile
    def look(states: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        return model(states)

    def values_of(states: np.ndarray) -> np.ndarray:
        with gg.no_grad():
            return look(gg.asarray(states.astype(np.float32)))[1].numpy().copy()

    shape = (options.horizon, options.carts)
    states = np.zeros((*shape, 4), np.float32)
    actions = np.zeros(shape, np.int64)
    logs, values, beyond = (np.zeros(shape, np.float32) for _ in range(3))
    failed, lasted = np.zeros(shape, bool), np.zeros(shape, bool)
    finished: list[int] = []
    history: list[tuple[int, float]] = []
    with tqdm(total=options.rounds, unit="round", disable=None) as bar:
        for number in range(options.rounds):
            for t in range(options.horizon):
                states[t] = carts.state
                with gg.no_grad():
                    log, value = look(gg.asarray(states[t]))
                both = log.numpy()
                actions[t] = rng.random(options.carts) < np.exp(both[:, 1])
                logs[t] = both[np.arange(options.carts), actions[t]]
                values[t] = value.numpy()
                age = carts.age + 1
                reached, failed[t], lasted[t] = carts.step(actions[t])
                finished += age[failed[t] | lasted[t]].tolist()
                if lasted[t].any():
                    beyond[t] = values_of(reached)
            advantages = advantages_of(values, values_of(carts.state), failed, lasted, beyond)
            returns = (advantages + values).reshape(-1)
            flat = advantages.reshape(-1)
            flat = (flat - flat.mean()) / (flat.std() + 1e-8)
            experience = [a.reshape(-1, *a.shape[2:]) for a in (states, actions, logs)] + [flat, returns]
            for _ in range(options.passes):
                order = rng.permutation(len(flat))
                for first in range(0, len(order) - options.batch_size + 1, options.batch_size):
                    some = order[first : first + options.batch_size]
                    improve(*(gg.asarray(part[some]) for part in experience))
            schedule.step()
            mean = statistics.fmean(finished[-50:]) if finished else 0.0
            history.append(((number + 1) * states[..., 0].size, mean))
            bar.set_postfix(mean_return=f"{mean:.0f}", refresh=False)
            bar.update()
            if number % max(1, options.rounds // 10) == 0:
                bar.write(f"round {number:3d}   {history[-1][0]:6d} steps   mean return {mean:.1f}")
    return model, history


def main() -> int:
    """Learn, measure, draw, save; 1 when the mean return misses its target."""
    parser = argparse.ArgumentParser(
        description="Learn to balance a pole on a cart.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help="rounds of gathering experience and learning from it")
    parser.add_argument("--carts", type=int, default=16, help="simulations side by side")
    parser.add_argument("--horizon", type=int, default=128, help="steps of each simulation in a round")
    parser.add_argument("--passes", type=int, default=8, help="how often a round's experience is learnt from")
    parser.add_argument("--batch-size", type=int, default=256, help="steps of experience per improvement")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate at the start; it falls to a tenth")
    parser.add_argument("--seed", type=int, default=0, help="for initial weights, simulations and actions")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="folder for weights and picture"
    )
    parser.add_argument(
        "--toy",
        action="store_true",
        default=os.environ.get("GORGO_TOY", "0") not in ("", "0"),
        help="three rounds: shows in seconds that everything runs, without the target",
    )
    options = parser.parse_args()
    if options.toy:
        options.rounds = min(options.rounds, 3)
    if min(options.rounds, options.carts, options.horizon, options.passes) < 1:
        parser.error("arguments --rounds, --carts, --horizon and --passes: must be at least 1")
    if not 1 <= options.batch_size <= options.carts * options.horizon:
        parser.error(f"argument --batch-size: must be in [1, carts * horizon], got {options.batch_size}")
    options.out.mkdir(parents=True, exist_ok=True)

    gg.random.seed(options.seed)
    start = time.perf_counter()
    model, history = train(options)
    print(f"{history[-1][0]} steps of simulation and learning from them in {time.perf_counter() - start:.2f} s")
    turns = 5 if options.toy else 200
    eager, captured = (time_of_a_step(way, options.batch_size, turns) for way in (False, True))
    print(f"microseconds per improvement, batch {options.batch_size}: {eager:.0f} eager, {captured:.0f} captured")

    weights, picture = options.out / "cartpole.safetensors", options.out / "cartpole.png"
    gg.save(model.state_dict(), weights)
    # What is reported is the return of the saved weights, read back, in episodes that were not seen before.
    again = ActorCritic()
    again.load_state_dict(gg.load(weights))
    lengths, track = evaluate(again, 100, options.seed + 1)
    plot(history, track, picture)
    print(f"weights: {weights}\npicture: {picture}")
    reached = statistics.fmean(lengths)
    print(f"mean return of 100 episodes: {reached:.1f}, shortest {min(lengths)} (target {TARGET:.0f} of {EPISODE})")
    if not options.toy and not reached >= TARGET:
        print(f"cartpole: the mean return must be at least {TARGET:.0f}, got {reached:.1f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

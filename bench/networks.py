"""Five small networks, from one description, in every library and in float64 NumPy.

A network is a list of layers; weights, batches and labels come from NumPy with a fixed seed, so that all libraries
start from the same numbers. `losses_float64` is the oracle: forward and gradient written by hand, in float64, one
screen. `HandWrittenMlp` is what an expert would write in float32 NumPy for a fixed network: buffers made once,
gradients in one flat vector, one update for all. Invariant: each library gets its own best idiom (fused update,
donated buffers, preferred layout). Read next: bench_train.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.harness import toy

Layer = tuple[Any, ...]
Parameters = list[np.ndarray]

RATE = 0.01
MOMENTUM = 0.9
BATCHES = 8


@dataclass(frozen=True)
class Network:
    """A name, the layers, the shape of one sample and the batch size."""

    name: str
    layers: tuple[Layer, ...]
    sample: tuple[int, ...]
    batch: int
    classes: int = 10

    @property
    def is_mlp(self) -> bool:
        """Say whether there are only linear layers and relu, so that NumPy has a fast hand-written form."""
        return all(layer[0] in ("linear", "relu") for layer in self.layers)

    def parameters(self) -> Parameters:
        """Return weight and bias of each layer, uniform within 1/sqrt(fan in), float32."""
        rng = np.random.default_rng(7)
        made: Parameters = []
        for kind, *facts in self.layers:
            shape: tuple[int, ...]
            if kind == "linear":
                shape, fan_in = (facts[1], facts[0]), facts[0]
            elif kind == "conv":
                shape, fan_in = (facts[1], facts[0], facts[2], facts[2]), facts[0] * facts[2] ** 2
            else:
                continue
            bound = 1 / np.sqrt(fan_in)
            made.append(rng.uniform(-bound, bound, shape).astype(np.float32))
            made.append(rng.uniform(-bound, bound, shape[0]).astype(np.float32))
        return made

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the ring of eight batches: normal inputs and random labels."""
        rng = np.random.default_rng(11)
        return [
            (
                rng.standard_normal((self.batch, *self.sample)).astype(np.float32),
                rng.integers(0, self.classes, self.batch),
            )
            for _ in range(BATCHES)
        ]


def mlp(*widths: int, batch: int) -> Network:
    """Describe linear layers of these widths with relu between them."""
    layers: list[Layer] = []
    for index in range(len(widths) - 1):
        if index:
            layers.append(("relu",))
        layers.append(("linear", widths[index], widths[index + 1]))
    return Network(f"MLP {'-'.join(map(str, widths))}, batch {batch}", tuple(layers), (widths[0],), batch, widths[-1])


def lenet(batch: int) -> Network:
    """Describe the LeNet-like network on 28x28 images."""
    layers: tuple[Layer, ...] = (
        *(("conv", 1, 8, 5, 0), ("relu",), ("pool",)),
        *(("conv", 8, 16, 5, 0), ("relu",), ("pool",)),
        *(("flatten",), ("linear", 256, 120), ("relu",), ("linear", 120, 10)),
    )
    return Network(f"LeNet-like, 28x28, batch {batch}", layers, (1, 28, 28), batch)


def convnet(side: int, batch: int) -> Network:
    """Describe three 3x3 convolutions, the mean over pixels and a linear layer."""
    layers: tuple[Layer, ...] = (
        *(("conv", 3, 32, 3, 1), ("relu",), ("conv", 32, 64, 3, 1), ("relu",), ("pool",)),
        *(("conv", 64, 64, 3, 1), ("relu",), ("mean",), ("linear", 64, 10)),
    )
    return Network(f"conv 3-32-64-64, {side}x{side}, batch {batch}", layers, (3, side, side), batch)


if toy():
    NETWORKS = [
        mlp(16, 12, 10, batch=4),
        mlp(20, 16, 12, 10, batch=4),
        mlp(16, 16, 16, 16, 10, batch=8),
        lenet(batch=2),
        convnet(side=8, batch=2),
    ]
    SMALL_BATCHES = [mlp(20, 16, 12, 10, batch=1), mlp(16, 16, 16, 16, 10, batch=2), convnet(side=8, batch=1)]
else:
    NETWORKS = [
        mlp(64, 128, 10, batch=32),
        mlp(784, 256, 128, 10, batch=64),
        mlp(1024, 1024, 1024, 1024, 10, batch=256),
        lenet(batch=32),
        convnet(side=32, batch=32),
    ]
    # For inference alone: what a server sees.
    SMALL_BATCHES = [
        *(mlp(784, 256, 128, 10, batch=rows) for rows in (1, 8)),
        *(mlp(1024, 1024, 1024, 1024, 10, batch=rows) for rows in (1, 8, 32)),
        *(convnet(side=32, batch=images) for images in (1, 4)),
    ]


# The oracle: float64, by hand.


def _patches(x: np.ndarray, size: int) -> np.ndarray:
    """View x (n, c, h, w) as (n, h', w', c, size, size)."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)


def forward_float64(network: Network, parameters: Parameters, x: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """Return the logits, and what the gradient needs of each layer."""
    left = iter(parameters)
    saved: list[Any] = []
    for kind, *facts in network.layers:
        if kind == "linear":
            w, b = next(left), next(left)
            saved.append((x, w))
            x = x @ w.T + b
        elif kind == "conv":
            w, b = next(left), next(left)
            pad = facts[3]
            padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
            patches = _patches(padded, facts[2])
            saved.append((patches, w, x.shape))
            x = np.tensordot(patches, w, axes=([3, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) + b[:, None, None]
        elif kind == "relu":
            saved.append(x > 0)
            x = np.maximum(x, 0)
        elif kind == "pool":
            n, c, h, w_ = x.shape
            blocks = (
                x.reshape(n, c, h // 2, 2, w_ // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w_ // 2, 4)
            )
            winner = blocks.argmax(-1)
            saved.append((winner, x.shape))
            x = np.take_along_axis(blocks, winner[..., None], -1)[..., 0]
        else:
            saved.append(x.shape)
            x = x.reshape(len(x), -1) if kind == "flatten" else x.mean(axis=(2, 3))
    return x, saved


def gradients_float64(network: Network, saved: list[Any], gradient: np.ndarray) -> Parameters:
    """Return the gradient of each parameter from that of the logits."""
    made: Parameters = []
    for (kind, *facts), kept in zip(reversed(network.layers), reversed(saved), strict=True):
        if kind == "linear":
            x, w = kept
            made += [gradient.sum(0), gradient.T @ x]
            gradient = gradient @ w
        elif kind == "conv":
            patches, w, shape = kept
            made += [gradient.sum((0, 2, 3)), np.tensordot(gradient, patches, axes=([0, 2, 3], [0, 1, 2]))]
            size, pad = facts[2], facts[3]
            if made and kept is saved[0]:
                continue  # nobody needs the gradient of the input
            widened = np.zeros((shape[0], shape[1], shape[2] + 2 * pad, shape[3] + 2 * pad))
            high, wide = gradient.shape[2:]
            for i in range(size):
                for j in range(size):
                    tap = np.tensordot(gradient, w[:, :, i, j], axes=([1], [0])).transpose(0, 3, 1, 2)
                    widened[:, :, i : i + high, j : j + wide] += tap
            gradient = widened[:, :, pad : pad + shape[2], pad : pad + shape[3]]
        elif kind == "relu":
            gradient = gradient * kept
        elif kind == "pool":
            winner, shape = kept
            blocks = np.zeros((*winner.shape, 4))
            np.put_along_axis(blocks, winner[..., None], gradient[..., None], -1)
            n, c, h, w_ = shape
            blocks = blocks.reshape(n, c, h // 2, w_ // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
            gradient = blocks.reshape(shape)
        elif kind == "flatten":
            gradient = gradient.reshape(kept)
        else:
            gradient = np.broadcast_to(gradient[:, :, None, None] / (kept[2] * kept[3]), kept)
    return made[::-1]


def cross_entropy_float64(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean loss and its gradient by the logits."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, labels] -= 1
    return float(-log_p[rows, labels].mean()), gradient / len(labels)


def losses_float64(network: Network, steps: int) -> list[float]:
    """Return the losses of the first steps of SGD with momentum."""
    parameters = [p.astype(np.float64) for p in network.parameters()]
    velocity = [np.zeros_like(p) for p in parameters]
    batches = network.batches()
    losses = []
    for step in range(steps):
        x, labels = batches[step % BATCHES]
        logits, saved = forward_float64(network, parameters, x.astype(np.float64))
        loss, gradient = cross_entropy_float64(logits, labels)
        losses.append(loss)
        gradients = gradients_float64(network, saved, gradient)
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, gradients, strict=True)]
        parameters = [p - RATE * v for p, v in zip(parameters, velocity, strict=True)]
    return losses


# The libraries. A trainer takes a batch in the library's own arrays and returns the loss; a predictor returns logits.

Step = Callable[..., Any]


class HandWrittenMlp:
    """A network of linear layers and relu in float32 NumPy, with nothing made twice."""

    def __init__(self, network: Network) -> None:
        shapes = [(facts[0], facts[1]) for kind, *facts in network.layers if kind == "linear"]
        size = sum(i * o + o for i, o in shapes)
        self.flat, self.velocity, self.gradient, self.scratch = (np.zeros(size, np.float32) for _ in range(4))
        self.weights, self.weight_gradients = self._views(self.flat, shapes), self._views(self.gradient, shapes)
        for (w, b), (w0, b0) in zip(self.weights, _pairs(network.parameters()), strict=True):
            w[:] = w0.T
            b[:] = b0
        self.hidden = [np.empty((network.batch, o), np.float32) for _, o in shapes]
        self.delta = [np.empty((network.batch, o), np.float32) for _, o in shapes]
        self.rows = np.arange(network.batch)
        self.batch = np.float32(network.batch)

    @staticmethod
    def _views(flat: np.ndarray, shapes: list[tuple[int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
        made, at = [], 0
        for i, o in shapes:
            made.append((flat[at : at + i * o].reshape(i, o), flat[at + i * o : at + i * o + o]))
            at += i * o + o
        return made

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the logits."""
        last = len(self.weights) - 1
        for index, (w, b) in enumerate(self.weights):
            out = self.hidden[index]
            np.dot(x, w, out=out)
            out += b
            if index != last:
                np.maximum(out, 0, out=out)
            x = out
        return x

    def step(self, x: np.ndarray, labels: np.ndarray) -> Any:
        """Do one step of SGD with momentum and return the loss."""
        z = self.predict(x)
        z -= z.max(axis=1, keepdims=True)
        p = self.delta[-1]
        np.exp(z, out=p)
        total = p.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - z[self.rows, labels]).mean()
        p /= total
        p[self.rows, labels] -= 1
        p /= self.batch
        for index in range(len(self.weights) - 1, -1, -1):
            gw, gb = self.weight_gradients[index]
            d = self.delta[index]
            below = self.hidden[index - 1] if index else x
            np.dot(below.T, d, out=gw)
            np.add.reduce(d, axis=0, out=gb)
            if index:
                np.dot(d, self.weights[index][0].T, out=self.delta[index - 1])
                self.delta[index - 1] *= below > 0
        self.velocity *= MOMENTUM
        self.velocity += self.gradient
        np.multiply(self.velocity, RATE, out=self.scratch)
        self.flat -= self.scratch
        return loss


def _pairs(parameters: Parameters) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(parameters[::2], parameters[1::2], strict=True))


def torch_model(torch: Any, network: Network, channels_last: bool) -> Any:
    """Build the network from torch's own layers."""
    nn = torch.nn

    class Mean(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x.mean(dim=(2, 3))

    build = {
        "linear": nn.Linear,
        "conv": lambda i, o, size, pad: nn.Conv2d(i, o, size, padding=pad),
        "relu": nn.ReLU,
        "pool": lambda: nn.MaxPool2d(2),
        "flatten": nn.Flatten,
        "mean": Mean,
    }
    model = nn.Sequential(*(build[kind](*facts) for kind, *facts in network.layers))
    with torch.no_grad():
        for p, value in zip(model.parameters(), network.parameters(), strict=True):
            p.copy_(torch.from_numpy(value))
    return model.to(memory_format=torch.channels_last) if channels_last else model


def torch_batches(torch: Any, network: Network, channels_last: bool) -> list[tuple[Any, Any]]:
    """Return the ring as torch tensors."""
    made = [(torch.from_numpy(x), torch.from_numpy(labels)) for x, labels in network.batches()]
    return [(x.contiguous(memory_format=torch.channels_last), y) for x, y in made] if channels_last else made


def torch_trainer(torch: Any, network: Network, mode: str) -> Step:
    """Train with the fused SGD."""
    model = torch_model(torch, network, mode == "torch NHWC")
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    cross_entropy = torch.nn.functional.cross_entropy

    def step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    if mode != "torch.compile":
        return step
    compiled = torch.compile(lambda x, labels: cross_entropy(model(x), labels))

    def compiled_step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = compiled(x, labels)
        loss.backward()
        optimizer.step()
        return loss

    return compiled_step


def torch_predictor(torch: Any, network: Network, mode: str) -> Step:
    """Predict in inference mode."""
    model = torch_model(torch, network, mode == "torch NHWC").eval()
    predictor: Step = torch.inference_mode()(torch.compile(model) if mode == "torch.compile" else model)
    return predictor


def jax_forward(jax: Any, network: Network) -> Callable[[Any, Any], Any]:
    """Return the pure function (parameters, x) -> logits. XLA chooses its own layout inside."""
    numpy, lax = importlib.import_module("jax.numpy"), importlib.import_module("jax.lax")

    def forward(parameters: Any, x: Any) -> Any:
        left = iter(parameters)
        for kind, *facts in network.layers:
            if kind == "linear":
                w, b = next(left), next(left)
                x = x @ w.T + b
            elif kind == "conv":
                w, b = next(left), next(left)
                x = lax.conv(x, w, (1, 1), "SAME" if facts[3] else "VALID") + b[:, None, None]
            elif kind == "relu":
                x = jax.nn.relu(x)
            elif kind == "pool":
                x = lax.reduce_window(x, -numpy.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            elif kind == "flatten":
                x = x.reshape(x.shape[0], -1)
            else:
                x = x.mean(axis=(2, 3))
        return x

    return forward


def jax_trainer(jax: Any, network: Network) -> Step:
    """Train by one compiled function that gets parameters and velocities as buffers it may overwrite."""
    numpy = importlib.import_module("jax.numpy")
    forward = jax_forward(jax, network)

    def loss_of(parameters: Any, x: Any, labels: Any) -> Any:
        log_p = jax.nn.log_softmax(forward(parameters, x))
        return -numpy.take_along_axis(log_p, labels[:, None], 1).mean()

    def update(parameters: Any, velocity: Any, x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, labels)
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, gradients, strict=True)]
        return [p - RATE * v for p, v in zip(parameters, velocity, strict=True)], velocity, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    parameters = [numpy.array(p) for p in network.parameters()]
    velocity = [numpy.zeros_like(p) for p in parameters]

    def step(x: Any, labels: Any) -> Any:
        nonlocal parameters, velocity
        parameters, velocity, loss = compiled(parameters, velocity, x, labels)
        return loss

    return step


def jax_predictor(jax: Any, network: Network) -> Step:
    """Predict by a compiled function."""
    compiled = jax.jit(jax_forward(jax, network))
    parameters = [importlib.import_module("jax.numpy").array(p) for p in network.parameters()]
    return lambda x: compiled(parameters, x)


def gorgo_model(gg: Any, network: Network) -> Any:
    """Build the network from Gorgo's own layers."""
    nn = gg.nn

    class Mean(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x.mean(axis=(2, 3))

    build = {
        "linear": nn.Linear,
        "conv": lambda i, o, size, pad: nn.Conv2d(i, o, size, padding=pad),
        "relu": nn.ReLU,
        "pool": lambda: nn.MaxPool2d(2),
        "flatten": nn.Flatten,
        "mean": Mean,
    }
    model = nn.Sequential(*(build[kind](*facts) for kind, *facts in network.layers))
    names = list(model.state_dict())
    model.load_state_dict({name: gg.asarray(p) for name, p in zip(names, network.parameters(), strict=True)})
    return model


def gorgo_trainer(gg: Any, network: Network, compiled: bool) -> Step:
    """Train eagerly, or by one captured step."""
    model = gorgo_model(gg, network)
    optimizer = gg.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    cross_entropy = gg.nn.functional.cross_entropy

    def step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return gg.compile(step) if compiled else step


def gorgo_predictor(gg: Any, network: Network, compiled: bool) -> Step:
    """Predict without a tape, eagerly or captured."""
    model = gorgo_model(gg, network)
    model.eval()

    def predict(x: Any) -> Any:
        with gg.no_grad():
            return model(x)

    return gg.compile(predict) if compiled else predict

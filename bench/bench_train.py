"""One step of SGD with momentum on five small networks: zero_grad, forward, loss, gradient, update.

The losses of the first 20 steps must be those of a float64 trainer within 1e-5, for every library. Read first:
networks.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import networks
from bench.harness import Case, Prepared
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 20


def train_case(network: networks.Network) -> Case:
    """Build the row of one network."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]
            channels_last = library_name == "torch NHWC"
            if library_name == "numpy":
                step, ring = networks.HandWrittenMlp(network).step, network.batches()
            elif library_name.startswith("torch"):
                step = networks.torch_trainer(loaded, network, library_name)
                ring = networks.torch_batches(loaded, network, channels_last)
            elif library_name == "jax":
                step = networks.jax_trainer(loaded, network)
                ring = [(loaded.device_put(x), loaded.device_put(y)) for x, y in network.batches()]
            else:
                step = networks.gorgo_trainer(loaded, network, library_name == "gorgo.compile")
                ring = [(loaded.asarray(x), loaded.asarray(y)) for x, y in network.batches()]
            losses = [float(library.to_numpy(step(*ring[index % len(ring)]))) for index in range(STEPS)]

            def verify(result: Any) -> float:
                # The first losses are compared by value, in the parent; the last one shows that training went on.
                last = float(library.to_numpy(result))
                return 0.0 if np.isfinite(last) and last < losses[0] * 1.5 else float("inf")

            return Prepared("step(x, y)", ("x", "y"), ring, {"step": step}, verify, trace=losses)

        return make

    libraries = ["torch", "torch.compile", "jax", "gorgo", "gorgo.compile"]
    libraries.insert(0, "numpy") if network.is_mlp else libraries.insert(1, "torch NHWC")
    return Case(
        network.name,
        {library: maker(library) for library in libraries},
        tolerance=1e-5,
        reference=partial(networks.losses_float64, network, STEPS),
    )


CASES = [train_case(network) for network in networks.NETWORKS]

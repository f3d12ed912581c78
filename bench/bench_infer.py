"""Forward only, on the same five networks and on small batches of three: logits of one batch, no tape.

The logits of the last batch must be those of float64 NumPy. Read first: networks.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench import networks
from bench.harness import Case, Prepared, relative_error
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable


def infer_case(network: networks.Network) -> Case:
    """Build the row of one network."""

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]
            batches = network.batches()
            ring: list[tuple[Any, ...]]
            if library_name == "numpy":
                predict, ring = networks.HandWrittenMlp(network).predict, [(x,) for x, _ in batches]
            elif library_name.startswith("torch"):
                predict = networks.torch_predictor(loaded, network, library_name)
                ring = [(x,) for x, _ in networks.torch_batches(loaded, network, library_name == "torch NHWC")]
            elif library_name == "jax":
                predict = networks.jax_predictor(loaded, network)
                ring = [(loaded.device_put(x),) for x, _ in batches]
            else:
                predict = networks.gorgo_predictor(loaded, network, library_name == "gorgo.compile")
                ring = [(loaded.asarray(x),) for x, _ in batches]

            def verify(result: Any) -> float:
                parameters = [p.astype(np.float64) for p in network.parameters()]
                want, _ = networks.forward_float64(network, parameters, batches[-1][0].astype(np.float64))
                return relative_error(library.to_numpy(result), want)

            return Prepared("predict(x)", ("x",), ring, {"predict": predict}, verify)

        return make

    libraries = ["torch", "torch.compile", "jax", "gorgo", "gorgo.compile"]
    libraries.insert(0, "numpy") if network.is_mlp else libraries.insert(1, "torch NHWC")
    return Case(network.name, {library: maker(library) for library in libraries}, tolerance=1e-5)


CASES = [infer_case(network) for network in (*networks.NETWORKS, *networks.SMALL_BATCHES)]

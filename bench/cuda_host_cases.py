"""What bench.cuda measures by the host's clock: launches, training steps, memory.

Read first: cuda.py.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import networks
from bench.cuda_cases import MIB, Array, base
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from bench.cuda import Bench
    from bench.cuda_libraries import Library


def launches(bench: Bench) -> None:
    """Time the host alone: bursts that the queue of a stream holds, the card waited for between them."""
    burst = 500

    def timer(
        make: Callable[[Library], tuple[Callable[..., Any], tuple[Any, ...]]], library: Library
    ) -> Callable[[int], float]:
        call, operands = make(library)

        def run(calls: int) -> float:
            spent = 0
            for _ in range(max(1, calls // burst)):
                library.synchronize()
                start = time.perf_counter_ns()
                for _ in range(burst):
                    call(*operands)
                spent += time.perf_counter_ns() - start
            library.synchronize()
            return spent * calls / (max(1, calls // burst) * burst)

        return run

    x = base((16,), 0)
    square = base((16, 16), 1)
    ways: dict[str, Callable[[Library], tuple[Callable[..., Any], tuple[Any, ...]]]] = {
        "x + x, 16 elements": lambda library: (lambda x: x + x, (library.put(x, "float32"),)),
        "2 * x, 16 elements": lambda library: (lambda x: 2 * x, (library.put(x, "float32"),)),
        "x.sum(), 16 elements": lambda library: (lambda x: x.sum(), (library.put(x, "float32"),)),
        "x @ x, 16x16": lambda library: (lambda x: x @ x, (library.put(square, "float32"),)),
    }
    for name, make in ways.items():
        bench.measure_host(
            "launches (host time)",
            name,
            {column: functools.partial(timer, make) for column in ("gorgo", "cupy", "torch")},
            burst * (4 if bench.quick else 10),
        )

    def captured(library: Library) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        def four(x: Any) -> Any:
            return x + x + x + x + x

        return library.module.compile(four), (library.put(x, "float32"),)

    def graphed(library: Library) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        torch = library.module
        static = library.put(x, "float32")
        graph = torch.cuda.CUDAGraph()
        (static + static).sum()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            static + static + static + static + static
        return graph.replay, ()

    bench.measure_host(
        "launches (host time)",
        "captured x + x + x + x + x",
        {"gorgo.compile": functools.partial(timer, captured), "torch graph": functools.partial(timer, graphed)},
        burst * (4 if bench.quick else 10),
    )


DIGITS = networks.Network(
    "digits CNN, 8x8, batch 64",
    (
        *(("conv", 1, 16, 3, 1), ("relu",), ("conv", 16, 32, 3, 1), ("relu",), ("pool",)),
        *(("flatten",), ("linear", 512, 64), ("relu",), ("linear", 64, 10)),
    ),
    (1, 8, 8),
    64,
)
STEPS = 10  # compared with the float64 trainer


def training_steps(bench: Bench) -> None:
    """Time training steps: what a loop over batches that are on the card costs until the card is done."""
    few = 4  # batches that take turns

    def ring(library: Library, network: networks.Network) -> list[tuple[Any, Any]]:
        return [(library.put(x, "float32"), library.put(y, "float32")) for x, y in network.batches()]

    def timed(library: Library, step: Callable[..., Any], batches: list[tuple[Any, Any]]) -> Callable[[int], float]:
        def run(calls: int) -> float:
            library.synchronize()
            start = time.perf_counter_ns()
            for k in range(calls):
                loss = step(*batches[k % few])
            if library.name == "jax":  # what it made is waited for, not a stream
                loss.block_until_ready()
            library.synchronize()
            return float(time.perf_counter_ns() - start)

        return run

    compile_off = LIBRARIES["torch.compile"].missing()

    for network in (DIGITS, networks.mlp(64, 128, 10, batch=64), networks.mlp(784, 256, 128, 10, batch=64)):
        expected = np.asarray(networks.losses_float64(network, STEPS))
        losses: dict[str, list[float]] = {}

        def prepared(
            column: str,
            library: Library,
            step: Callable[..., Any],
            network: networks.Network = network,
            losses: Any = losses,
        ) -> Callable[[int], float]:
            batches = ring(library, network)
            losses[column] = [float(library.take(step(*batches[k % len(batches)]))) for k in range(STEPS)]
            for k in range(3 * few):  # whatever is captured is captured for these batches
                step(*batches[k % few])
            return timed(library, step, batches)

        def gorgo(column: str, library: Library, network: networks.Network = network, prepared: Any = prepared) -> Any:
            gg = library.module
            model = networks.gorgo_model(gg, network).to("cuda:0")
            optimizer = gg.optim.SGD(model.parameters(), lr=networks.RATE, momentum=networks.MOMENTUM)

            def step(x: Any, labels: Any) -> Any:
                optimizer.zero_grad()
                loss = gg.nn.functional.cross_entropy(model(x), labels)
                loss.backward()
                optimizer.step()
                return loss

            return prepared(column, library, gg.compile(step) if column == "gorgo.compile" else step)

        def torch_eager(library: Library, network: networks.Network = network, prepared: Any = prepared) -> Any:
            return prepared("torch", library, torch_step(library.module, network))

        def torch_graph(library: Library, network: networks.Network = network, prepared: Any = prepared) -> Any:
            return prepared("torch graph", library, torch_graph_step(library, network))

        def torch_compiled(library: Library, network: networks.Network = network, prepared: Any = prepared) -> Any:
            return prepared("torch.compile", library, torch_compiled_step(library.module, network))

        def jax_step(library: Library, network: networks.Network = network, prepared: Any = prepared) -> Any:
            return prepared("jax", library, networks.jax_trainer(library.module, network))

        def verdict(column: str, expected: Array = expected, losses: Any = losses) -> str:
            error = float(np.max(np.abs(np.asarray(losses[column]) - expected) / np.abs(expected)))
            return "" if error <= 1e-4 else f"losses differ from float64 by {error:.3g}, tolerance 1e-4"

        ways = {
            "gorgo": functools.partial(gorgo, "gorgo"),
            "gorgo.compile": functools.partial(gorgo, "gorgo.compile"),
            "torch": torch_eager,
            "torch graph": torch_graph,
            "torch.compile": torch_compiled,
            "jax": jax_step,
        }
        if compile_off:
            del ways["torch.compile"]
            bench.note("training steps (host time)", network.name, "torch.compile", compile_off)
        bench.measure_host(
            "training steps (host time)",
            network.name,
            ways,
            100 if bench.quick else 300,
            {column: functools.partial(verdict, column) for column in ways},
        )


def torch_step(torch: Any, network: networks.Network) -> Callable[..., Any]:
    """Return torch's eager step, with the fused update."""
    model = networks.torch_model(torch, network, channels_last=False).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=networks.RATE, momentum=networks.MOMENTUM, fused=True)

    def step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def torch_compiled_step(torch: Any, network: networks.Network) -> Callable[..., Any]:
    """Return torch's step with the loss and its gradient compiled into CUDA graphs, and the fused update."""
    model = networks.torch_model(torch, network, channels_last=False).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=networks.RATE, momentum=networks.MOMENTUM, fused=True)
    loss_of = torch.compile(
        lambda x, labels: torch.nn.functional.cross_entropy(model(x), labels), mode="reduce-overhead"
    )

    def step(x: Any, labels: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # earlier results may be overwritten
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def torch_graph_step(library: Library, network: networks.Network) -> Callable[..., Any]:
    """Return a step of torch captured as one CUDA graph, its batch copied into place before each replay."""
    torch = library.module
    x, labels = (library.put(a, "float32") for a in network.batches()[0])
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        model = networks.torch_model(torch, network, channels_last=False).cuda()
        optimizer = torch.optim.SGD(model.parameters(), lr=networks.RATE, momentum=networks.MOMENTUM, foreach=True)
        weights = [p.detach().clone() for p in model.parameters()]
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    # The steps of the warm-up leave no trace.
    with torch.no_grad():
        for p, w in zip(model.parameters(), weights, strict=True):
            p.copy_(w)
            optimizer.state[p]["momentum_buffer"].zero_()

    def replay(new_x: Any, new_labels: Any) -> Any:
        x.copy_(new_x)
        labels.copy_(new_labels)
        graph.replay()
        return loss

    return replay


# ---- memory ----


def memory(bench: Bench) -> None:
    """Time allocating and releasing, through Python in every column."""

    def pairs(allocate: Callable[[], Any], release: Callable[[Any], Any] | None = None) -> Callable[[int], float]:
        def run(calls: int) -> float:
            start = time.perf_counter_ns()
            if release is None:
                for _ in range(calls):
                    allocate()
            else:
                for _ in range(calls):
                    release(allocate())
            return float(time.perf_counter_ns() - start)

        return run

    def halves(
        allocate: Callable[[], Any], release: Callable[[Any], Any] | None, first: bool
    ) -> Callable[[int], float]:
        held_at_once = 8

        def run(calls: int) -> float:
            spent = 0
            for _ in range(max(1, calls // held_at_once)):
                start = time.perf_counter_ns()
                held = [allocate() for _ in range(held_at_once)]
                middle = time.perf_counter_ns()
                if release is None:
                    held.clear()
                else:
                    for x in held:
                        release(x)
                end = time.perf_counter_ns()
                spent += middle - start if first else end - middle
            return spent * calls / (max(1, calls // held_at_once) * held_at_once)

        return run

    def raw(library: Library) -> None:
        library.module.memory.set_cache_limit(0, device="cuda:0")
        library.module.memory.empty_cache(device="cuda:0")

    def functions(column: str, library: Library, count: int) -> tuple[Callable[[], Any], Callable[[Any], Any] | None]:
        module = library.module
        if column == "gorgo":
            return lambda: module.empty((count,), device="cuda:0"), None
        if column == "torch":
            return lambda: module.empty((count,), device="cuda"), None
        if column == "cupy":
            return lambda: module.cuda.alloc(4 * count), None
        runtime = module.cuda.runtime
        if column == "driver cudaMalloc":
            return lambda: runtime.malloc(4 * count), runtime.free
        return lambda: runtime.mallocAsync(4 * count, 0), lambda data: runtime.freeAsync(data, 0)

    columns = ("gorgo", "torch", "cupy", "driver cudaMallocAsync", "driver cudaMalloc")
    for name, count in {"64 bytes": 16, "1 MiB": MIB // 4, "1024x1024 (4 MiB)": MIB, "256 MiB": 64 * MIB}.items():
        bench.measure_host(
            "memory (host time)",
            f"allocate and release {name}",
            {c: lambda library, c=c, count=count: pairs(*functions(c, library, count)) for c in columns},
            100 if bench.quick else 200,
        )
    # The table of the pool: 1024x1024 float32, from the driver each time and from the cache.
    for name, first in (("allocate 1024x1024", True), ("release 1024x1024", False)):
        bench.measure_host(
            "memory (host time)",
            f"{name}, eight at once",
            {c: lambda library, c=c, first=first: halves(*functions(c, library, MIB), first) for c in columns},
            100 if bench.quick else 200,
        )
    gg = bench.gorgo.module
    before = gg.memory.stats(device="cuda:0")["cache_limit"]
    try:
        raw(bench.gorgo)
        for name, first in (("allocate 1024x1024", True), ("release 1024x1024", False)):
            bench.measure_host(
                "memory (host time)",
                f"{name}, raw (no cache)",
                {"gorgo": lambda library, first=first: halves(*functions("gorgo", library, MIB), first)},
                80,
            )
    finally:
        gg.memory.set_cache_limit(before, device="cuda:0")

    def write(make: Callable[[], Any], library: Library) -> Callable[[int], float]:
        def run(calls: int) -> float:
            library.synchronize()
            start = time.perf_counter_ns()
            for _ in range(calls):
                make()
            library.synchronize()
            return float(time.perf_counter_ns() - start)

        return run

    bench.measure_host(
        "memory (host time)",
        "allocate, write, release 1024x1024",
        {
            "gorgo": lambda library: write(lambda: library.module.full((1024, 1024), 1.0, device="cuda:0"), library),
            "torch": lambda library: write(lambda: library.module.full((1024, 1024), 1.0, device="cuda"), library),
            "cupy": lambda library: write(lambda: library.module.full((1024, 1024), 1.0, np.float32), library),
        },
        100 if bench.quick else 200,
    )


def tables(bench: Bench) -> list[tuple[str, Callable[[], None]]]:
    """Return the tables."""
    return [
        ("launches (host time)", lambda: launches(bench)),
        ("training steps (host time)", lambda: training_steps(bench)),
        ("memory (host time)", lambda: memory(bench)),
    ]

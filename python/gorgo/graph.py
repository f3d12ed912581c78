"""Record what a function does, and run the recording instead of the function.

`compile` is for speed: the first call with new shapes runs eagerly and is recorded, later calls replay a flat list of
kernels from one planned arena. `trace` is for looking: it returns the `Graph` of one call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

from gorgo._core import CompiledFunction, Graph, HostCell, guard_attribute, host_effect, is_capturing
from gorgo._core import bump_epoch as _bump_epoch
from gorgo._core import trace as _trace

__all__ = [
    "CompiledFunction",
    "Graph",
    "HostCell",
    "bump_epoch",
    "compile",
    "guard_attribute",
    "host_effect",
    "is_capturing",
    "trace",
]

F = TypeVar("F", bound=Callable[..., Any])


def bump_epoch() -> None:
    """Make compiled functions check everything they depend on at their next call.

    Example:
        >>> import gorgo as gg
        >>> gg.graph.bump_epoch()
    """
    _bump_epoch()


@overload
def compile(function: Callable[..., Any], *, keep_grads: bool = ...) -> CompiledFunction: ...
@overload
def compile(function: None = ..., *, keep_grads: bool = ...) -> Callable[[Callable[..., Any]], CompiledFunction]: ...
def compile(function: Callable[..., Any] | None = None, *, keep_grads: bool = False) -> Any:
    """Return a callable that records `function` once per kind of arguments and replays the recording.

    A whole training step may be recorded: zero_grad, forward, backward and the optimizer's step. Tensors that exist
    outside (parameters, optimizer state, generator state) are captured by reference; Python numbers and objects among
    the arguments are baked in and guarded. Results have no tape: call backward inside.

    Args:
        function: the function to record.
        keep_grads: leave gradients in `.grad` after each call; otherwise they are local to the call, and reading one
            afterwards raises RuntimeError.

    Returns:
        A CompiledFunction; `explain()` tells what was recorded and why, `graphs()` returns the recorded graphs.

    Raises:
        RuntimeError: when a value is read while recording, or a tensor made inside is kept elsewhere at the second
            recording.
        TypeError: when an argument is a NumPy array.

    Example:
        >>> import gorgo as gg
        >>> @gg.compile
        ... def double(x):
        ...     return x + x
        >>> double(gg.ones((2,))).tolist()
        [2.0, 2.0]
    """
    if function is None:
        return functools.partial(compile, keep_grads=keep_grads)
    compiled = CompiledFunction(function, keep_grads=keep_grads)
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(function, name):
            setattr(compiled, name, getattr(function, name))
    return compiled


def trace(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Graph:
    """Run `function` once on the arguments and return the graph of what it did.

    Args:
        function: the function to look at.
        *args: its arguments; tensors become the graph's inputs.
        **kwargs: its keyword arguments.

    Returns:
        A Graph: nodes in topological order; print it, draw it with `dot()`, check it with `verify()`, run it with
        `run()`.

    Raises:
        RuntimeError: when a value is read while recording.

    Example:
        >>> import gorgo as gg
        >>> graph = gg.graph.trace(lambda x: (x * x).sum(), gg.ones((3,)))
        >>> [name for name, *_ in graph.nodes]
        ['multiply', 'sum']
        >>> graph.run(gg.ones((3,)))[0].item()
        3.0
    """
    graph: Graph = _trace(function, args, kwargs or None)
    return graph

"""NVIDIA GPUs: which there are, streams, events, waiting.

Tensors go to a device with ``x.to("cuda")`` or ``device="cuda:0"`` where they are made. Calls on them return at once
and run in the order of the thread's current stream; reading a value (``item``, ``tolist``, ``print``, ``cpu``) waits. A
build without CUDA, or a machine without a driver or a card, has no device and everything here says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gorgo._core import cuda as _cuda

__all__ = [
    "Event",
    "Stream",
    "compiled_chains",
    "current_stream",
    "device_count",
    "is_available",
    "properties",
    "stream",
    "synchronize",
]


def device_count() -> int:
    """Return how many CUDA devices this process can use.

    Returns:
        int: 0 in builds without CUDA and on machines without a driver or a card.

    Example:
        >>> import gorgo as gg
        >>> gg.cuda.device_count() >= 0
        True
    """
    return int(_cuda.device_count())


def is_available() -> bool:
    """Tell whether there is a CUDA device.

    Returns:
        bool: whether `device_count` is above 0.

    Example:
        >>> import gorgo as gg
        >>> gg.cuda.is_available() == (gg.cuda.device_count() > 0)
        True
    """
    return device_count() > 0


def _name(device: str | int | None) -> str:
    if device is None:
        return "cuda:0"
    return f"cuda:{device}" if isinstance(device, int) else device


def properties(device: str | int | None = None) -> dict[str, Any]:
    """Return the figures of a device.

    Args:
        device (str, int or None): "cuda:N" or N; the first one when None.

    Returns:
        dict: ``name``, ``compute_capability`` (major, minor), ``multiprocessors``, ``total_bytes`` and ``free_bytes``
        of its memory, ``l2_bytes``, ``shared_bytes`` (most for one block).

    Raises:
        ValueError: there is no such device.
    """
    figures: dict[str, Any] = _cuda.properties(_name(device))
    return figures


def compiled_chains() -> dict[str, Any]:
    """Return how many kernels the driver was asked to compile for fused chains in this process.

    Returns:
        dict: ``kernels`` that there are, chains ``refused``, which are interpreted, and the ``seconds`` that it took.

    Example:
        >>> import gorgo as gg
        >>> sorted(gg.cuda.compiled_chains())
        ['kernels', 'refused', 'seconds']
    """
    counts: dict[str, Any] = _cuda.compiled_chains()
    return counts


def synchronize(device: str | int | None = None) -> None:
    """Wait until everything enqueued on a device is done; raise what its kernels found wrong with their data.

    Args:
        device (str, int or None): "cuda:N" or N; the first one when None.

    Raises:
        ValueError: there is no such device.
        IndexError: and others that ops name: a kernel met an index out of range, say. The message is the op's.
        DeviceError: the device failed.
    """
    _cuda.synchronize(_name(device))


class Stream:
    """A queue of work on a device, beside its others.

    Tensors made under `stream` belong to it. Whoever uses them on another stream lets that one wait first
    (`wait_stream`); their memory is not used again before both are done.

    Args:
        device (str, int or None): "cuda:N" or N; the first one when None.

    Raises:
        ValueError: there is no such device.
        DeviceError: the device gives no stream.
    """

    def __init__(self, device: str | int | None = None) -> None:
        self.device = _name(device)
        self.handle: int = _cuda.take_stream(self.device)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            _cuda.give_stream(self.device, self.handle)

    def synchronize(self) -> None:
        """Wait until its work is done; raise as `gorgo.cuda.synchronize` does."""
        _cuda.synchronize_stream(self.device, self.handle)

    def wait_stream(self, other: Stream | int) -> None:
        """Let work enqueued here from now on begin after what the other stream holds now (0: the default stream)."""
        _cuda.wait(self.device, self.handle, other if isinstance(other, int) else other.handle)

    def wait_event(self, event: Event) -> None:
        """Let work enqueued here from now on begin after the event."""
        _cuda.wait_event(self.device, event.handle, self.handle)

    def __repr__(self) -> str:
        """Return device and handle."""
        return f"Stream(device={self.device!r}, handle={self.handle:#x})"


def current_stream(device: str | int | None = None) -> int:
    """Return this thread's current stream on a device: a cudaStream_t as an integer, 0 for the default one.

    Args:
        device (str, int or None): "cuda:N" or N; the first one when None.

    Returns:
        int: the handle.

    Raises:
        ValueError: there is no such device.
    """
    return int(_cuda.current_stream(_name(device)))


@contextlib.contextmanager
def stream(s: Stream) -> Iterator[Stream]:
    """Enqueue this thread's work on a stream inside the with block.

    Args:
        s (Stream): the stream.
    """
    before = _cuda.set_stream(s.device, s.handle)
    try:
        yield s
    finally:
        _cuda.set_stream(s.device, before)


class Event:
    """A mark in a stream that others can wait for, and whose time can be read.

    Args:
        timing (bool): whether `elapsed_ms` is wanted.
        device (str, int or None): "cuda:N" or N; the first one when None.

    Raises:
        ValueError: there is no such device.
        DeviceError: the device gives no event.
    """

    def __init__(self, *, timing: bool = False, device: str | int | None = None) -> None:
        self.device = _name(device)
        self.timing = timing
        self.handle: int = _cuda.create_event(self.device, timing)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            _cuda.destroy_event(self.handle)

    def record(self, s: Stream | None = None) -> None:
        """Set the mark behind what the stream (by default the current one) holds now."""
        handle = s.handle if s is not None else _cuda.current_stream(self.device)
        _cuda.record_event(self.device, self.handle, handle)

    def wait(self, s: Stream | None = None) -> None:
        """Let the stream's (by default the current one's) work from now on begin after the mark."""
        handle = s.handle if s is not None else _cuda.current_stream(self.device)
        _cuda.wait_event(self.device, self.handle, handle)

    def query(self) -> bool:
        """Tell whether the mark has been passed."""
        return bool(_cuda.query_event(self.handle))

    def synchronize(self) -> None:
        """Wait until the mark has been passed."""
        _cuda.synchronize_event(self.handle)

    def elapsed_ms(self, end: Event) -> float:
        """Return the milliseconds from this mark to a later one, both made with timing=True and passed."""
        if not (self.timing and end.timing):
            raise ValueError("elapsed_ms: events must be made with timing=True, got one that was not")
        return float(_cuda.elapsed_ms(self.handle, end.handle))

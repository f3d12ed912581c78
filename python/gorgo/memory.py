"""Where memory goes: figures, limits and traces of the pools that tensors' bytes come from, one for each device.

Released bytes stay in the pool, ready for the next tensor, up to the cache limit. Environment variables read at the
first allocation: GORGO_CACHE_LIMIT and GORGO_MEMORY_LIMIT (bytes), GORGO_MEMORY_DEBUG=1 (guards around every block).
"""

from __future__ import annotations

from typing import Any

from gorgo._core import memory as _pool
from gorgo.arguments import as_integer

__all__ = [
    "check_guards",
    "debug_mode",
    "empty_cache",
    "leak_report",
    "reset_peak",
    "set_cache_limit",
    "set_limit",
    "set_tracing",
    "snapshot",
    "stats",
]


def stats(*, device: str = "cpu") -> dict[str, Any]:
    """Return the pool's figures as of now.

    Bytes are counted as the pool hands them out, with the rounding of each block, so ``active_bytes + cached_bytes ==
    reserved_bytes``.

    Args:
        device: whose pool is meant: "cpu" or "cuda:N".

    Returns:
        dict: ``active_bytes`` in tensors, ``reserved_bytes`` held from the system, ``cached_bytes`` held and not in
        tensors, ``peak_active_bytes`` and ``peak_reserved_bytes`` since `reset_peak`, ``allocations`` and
        ``releases`` so far, of which ``hits`` were served from the cache and ``misses`` asked the system,
        ``raw_allocations`` that the system granted, ``largest_free_block`` in bytes, ``fragmentation`` (1 -
        largest_free_block / cached_bytes), and the limits ``cache_limit`` and ``limit`` (None: no limit). With
        several threads allocating, ``peak_active_bytes`` may be low by up to 1 MiB for each; every other figure is
        exact.

    Example:
        >>> import gorgo as gg
        >>> figures = gg.memory.stats()
        >>> figures["active_bytes"] + figures["cached_bytes"] == figures["reserved_bytes"]
        True
    """
    figures: dict[str, Any] = _pool.stats(device)
    return figures


def reset_peak(*, device: str = "cpu") -> None:
    """Let the peaks start again from what is active and reserved now.

    Args:
        device: whose pool is meant: "cpu" or "cuda:N".

    Example:
        >>> import gorgo as gg
        >>> gg.memory.reset_peak()
        >>> gg.memory.stats()["peak_reserved_bytes"] == gg.memory.stats()["reserved_bytes"]
        True
    """
    _pool.reset_peak(device)


def empty_cache(*, device: str = "cpu") -> None:
    """Return all memory that no tensor uses to the system, whichever thread released it.

    What shares a slab or a segment with a live tensor has to stay.

    Args:
        device: whose pool is meant: "cpu" or "cuda:N".

    Example:
        >>> import gorgo as gg
        >>> gg.memory.empty_cache()
    """
    _pool.empty_cache(device)


def set_limit(bytes: int | None, *, device: str = "cpu") -> None:
    """Bound the memory that the pool holds from the system.

    An allocation beyond it first gives back what is cached and then raises. A limit below what is active now stops
    further growth and takes nothing away.

    Args:
        bytes (int or None): most bytes held at once; None for no limit.
        device: whose pool is meant: "cpu" or "cuda:N".

    Raises:
        ValueError: bytes is negative.

    Example:
        >>> import gorgo as gg
        >>> gg.memory.set_limit(8 << 30)
        >>> gg.memory.stats()["limit"] == 8 << 30
        True
        >>> gg.memory.set_limit(None)
    """
    _pool.set_limit(None if bytes is None else as_integer("set_limit", "bytes", bytes), device)


def set_cache_limit(bytes: int, *, device: str = "cpu") -> None:
    """Bound the memory that is kept for reuse after tensors have died.

    The default is the smaller of 1 GiB and a tenth of the memory that the container (or the machine) has.

    Args:
        bytes (int): most bytes kept; 0 returns memory as soon as it is released.
        device: whose pool is meant: "cpu" or "cuda:N".

    Raises:
        ValueError: bytes is negative.

    Example:
        >>> import gorgo as gg
        >>> before = gg.memory.stats()["cache_limit"]
        >>> gg.memory.set_cache_limit(64 << 20)
        >>> gg.memory.stats()["cached_bytes"] <= 64 << 20
        True
        >>> gg.memory.set_cache_limit(before)
    """
    _pool.set_cache_limit(bytes, device)


def set_tracing(on: bool) -> None:
    """Remember for every block allocated from now on the source line that asked for it.

    Costs some two microseconds per allocation while it is on and nothing while it is off. Read the lines with
    `snapshot` and `leak_report`.

    Args:
        on (bool): whether to trace.

    Example:
        >>> import gorgo as gg
        >>> gg.memory.set_tracing(True)
        >>> gg.memory.set_tracing(False)
    """
    _pool.set_tracing(on)


def snapshot(*, device: str = "cpu") -> list[dict[str, Any]]:
    """Return every block in use: who holds how much, where.

    Args:
        device: whose pool is meant: "cpu" or "cuda:N".

    Returns:
        list of dict: for each block ``bytes`` that it spans, ``requested_bytes``, ``address``, ``stream`` (0 on the
        CPU) and ``source``, such as ``"train.py:12 in step"``, or None where tracing was off.

    Example:
        >>> import gorgo as gg
        >>> all(block["bytes"] >= block["requested_bytes"] for block in gg.memory.snapshot())
        True
    """
    blocks: list[dict[str, Any]] = _pool.snapshot(device)
    return blocks


def debug_mode(*, device: str = "cpu") -> bool:
    """Tell whether the pool puts guard bytes around every block.

    It does when GORGO_MEMORY_DEBUG=1 was set at the first allocation. Fresh memory is then filled with 0xA5 and
    released memory with 0xCB. Tensors of a CUDA device then lie in memory of the host that the device reaches too,
    and each allocation and release waits for it: good for finding errors, many times slower.

    Args:
        device: whose pool is meant: "cpu" or "cuda:N".

    Returns:
        bool: whether debug mode is on.

    Example:
        >>> import gorgo as gg
        >>> isinstance(gg.memory.debug_mode(), bool)
        True
    """
    on: bool = _pool.debug_mode(device)
    return on


def check_guards(*, device: str = "cpu") -> list[dict[str, Any]]:
    """Look for writes outside of blocks or after their release; needs `debug_mode` to find them.

    Args:
        device: whose pool is meant: "cpu" or "cuda:N".

    Returns:
        list of dict: all damage found so far, empty when there is none; each with ``kind`` (``"written before the
        block"``, ``"written after the block"``, ``"written after release"``, ``"released twice"``), ``address``,
        ``requested_bytes`` and ``source`` as in `snapshot`.

    Example:
        >>> import gorgo as gg
        >>> gg.memory.check_guards()
        []
    """
    damage: list[dict[str, Any]] = _pool.check_guards(device)
    return damage


def leak_report(most: int = 20, *, device: str = "cpu") -> str:
    """Describe the blocks in use, largest first, for printing where none should be left.

    Args:
        most (int): how many blocks to list at most.
        device: whose pool is meant: "cpu" or "cuda:N".

    Returns:
        str: a line of totals and one line for each block, with its source line where `set_tracing` was on; empty when
        nothing is in use.

    Raises:
        ValueError: most is negative.

    Example:
        >>> import gorgo as gg
        >>> isinstance(gg.memory.leak_report(most=5), str)
        True
    """
    report: str = _pool.leak_report(most, device)
    return report

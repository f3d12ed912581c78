"""Integers, axes and devices of arguments, as the ops take them: an integer is whatever has __index__, and no bool.

What does not fit is refused with the message of an op, `op: argument must be an integer, got value`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import gorgo

__all__ = ["as_axes", "as_axis", "as_integer", "as_integers", "device_of", "is_listed", "named_integers"]


def as_integer(op: str, name: str, value: Any) -> int:
    """Return one integer."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{op}: {name} must be an integer, got {_described(value)}")


def is_listed(value: Any) -> bool:
    """Say whether a value holds others: no string does, and no array or tensor without axes."""
    if isinstance(value, str):
        return False
    try:
        iter(value)
    except TypeError:
        return False
    return True


def as_integers(op: str, name: str, value: Any, count: int | None = None) -> tuple[int, ...]:
    """Return a sequence of integers; one alone stands for `count` of them."""
    if not is_listed(value):
        return (as_integer(op, name, value),) * (1 if count is None else count)
    return tuple(as_integer(op, f"each of {name}", member) for member in value)


def named_integers(op: str, **values: Any) -> list[int]:
    """Return several arguments, each one integer, in order."""
    return [as_integer(op, name, value) for name, value in values.items()]


def as_axis(op: str, value: Any, of: Sequence[int] | int, name: str = "axis") -> int:
    """Return an axis of a shape, or of so many axes, counted from the front."""
    axis = as_integer(op, name, value)
    rank, told = (of, "") if isinstance(of, int) else (len(of), f" (x has shape {tuple(of)})")
    if not -rank <= axis < rank:
        raise ValueError(f"{op}: {name} must be in [{-rank}, {rank}), got {axis}{told}")
    return axis % rank


def as_axes(op: str, value: Any, shape: Sequence[int], name: str = "axes") -> list[int]:
    """Return one or several axes of a shape, none of them twice."""
    axes = [as_axis(op, axis, shape, name) for axis in as_integers(op, name, value)]
    if len(set(axes)) != len(axes):
        raise ValueError(f"{op}: {name} must not repeat, got {value}")
    return axes


def device_of(*values: Any) -> str | None:
    """Return the device of the first tensor among values, for what is to meet it; None where there is no tensor."""
    for value in values:
        if isinstance(value, gorgo.Tensor):
            return str(value.device)
    return None


def _described(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"

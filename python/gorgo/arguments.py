"""Integers among arguments, taken as the ops take them: whatever has __index__, NumPy's included, and no bool.

What does not fit is refused with the message of an op, `op: argument must be an integer, got value`.
"""

from __future__ import annotations

import operator
from typing import Any

__all__ = ["as_integer", "as_integers", "named_integers"]


def as_integer(op: str, name: str, value: Any) -> int:
    """Return one integer."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{op}: {name} must be an integer, got {_described(value)}")


def as_integers(op: str, name: str, value: Any, count: int | None = None) -> tuple[int, ...]:
    """Return a sequence of integers; one alone stands for `count` of them."""
    if isinstance(value, bool | str) or not hasattr(type(value), "__iter__"):
        return (as_integer(op, name, value),) * (1 if count is None else count)
    try:
        members = tuple(value)
    except TypeError:  # an array or tensor without axes
        members = (value,) * (1 if count is None else count)
    return tuple(as_integer(op, f"each of {name}", member) for member in members)


def named_integers(op: str, **values: Any) -> list[int]:
    """Return several arguments, each one integer, in order."""
    return [as_integer(op, name, value) for name, value in values.items()]


def _described(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"

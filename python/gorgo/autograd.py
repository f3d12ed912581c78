"""Gradients: what the compiled tape offers, gathered under one name, and the Python half of its decorators."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from gorgo._core import (
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = ["enable_grad", "grad", "is_grad_enabled", "no_grad", "set_grad_enabled"]

F = TypeVar("F", bound=Callable[..., Any])


def _with_grad_mode(function: F, enabled: bool) -> F:
    """Return the function running with the gradient mode on or off."""
    name = "enable_grad" if enabled else "no_grad"
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"{name}: function must not be a generator or coroutine, got {function.__qualname__}")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with enable_grad() if enabled else no_grad():
            return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]

"""How tensors are printed: digits, lines, and how much of a large one is shown.

The options are a thread's own, as grad mode is; a new thread starts from the defaults. The printing itself is compiled.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from typing import Any, Final

from gorgo._core import _print_options, _set_print_options

__all__ = ["get_printoptions", "printoptions", "set_printoptions"]


class _Unchanged:
    def __repr__(self) -> str:
        return "<unchanged>"


_UNCHANGED: Final = _Unchanged()
_LARGEST = {"precision": 100, "threshold": 2**63 - 1, "edgeitems": 2**31 - 1, "linewidth": 2**31 - 1}
_SMALLEST = {"precision": 0, "threshold": 0, "edgeitems": 1, "linewidth": 1}
_NAMES = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    sci_mode: bool | _Unchanged | None = _UNCHANGED,
) -> None:
    """Choose how this thread prints tensors; what is None or left out stays as it is.

    Args:
        precision: digits after the point at most, in [0, 100]; at first 8. Fewer are printed where they tell the number
            exactly.
        threshold: elements above which the middle of each axis is left out; at first 1000. `math.inf` shows everything.
        edgeitems: elements shown at each end of an axis then; at first 3.
        linewidth: characters of a line; at first 75.
        sci_mode: True for powers of ten always, False for never, None (at first) to decide by the range of the numbers.

    Raises:
        TypeError: when an argument is no integer, or sci_mode is neither a bool nor None.
        ValueError: when an argument is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.set_printoptions(precision=3)
        >>> gg.asarray([1 / 3, 2.0])
        tensor([0.333, 2.   ])
        >>> gg.set_printoptions(precision=8)
    """
    chosen = get_printoptions()
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    for name, value in given.items():
        if value is not None:
            chosen[name] = _checked(name, value)
    if not isinstance(sci_mode, _Unchanged):
        if sci_mode is not None and not isinstance(sci_mode, bool):
            raise TypeError(f"set_printoptions: sci_mode must be a bool or None, got {type(sci_mode).__name__}")
        chosen["sci_mode"] = sci_mode
    _set_print_options(*chosen.values())


def get_printoptions() -> dict[str, Any]:
    """Return this thread's print options by name.

    Returns:
        dict: what `set_printoptions` takes.

    Example:
        >>> import gorgo as gg
        >>> gg.get_printoptions()
        {'precision': 8, 'threshold': 1000, 'edgeitems': 3, 'linewidth': 75, 'sci_mode': None}
    """
    return dict(zip(_NAMES, _print_options(), strict=True))


@contextlib.contextmanager
def printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    sci_mode: bool | _Unchanged | None = _UNCHANGED,
) -> Iterator[dict[str, Any]]:
    """Print tensors otherwise inside a ``with`` block.

    Args:
        precision: as in `set_printoptions`, likewise the others.
        threshold: elements above which the middle is left out.
        edgeitems: elements shown at each end then.
        linewidth: characters of a line.
        sci_mode: whether powers of ten are written.

    Returns:
        A context manager; it gives the options of the block, and restores the earlier ones at its end.

    Raises:
        TypeError: as in `set_printoptions`.
        ValueError: as in `set_printoptions`.

    Example:
        >>> import gorgo as gg
        >>> with gg.printoptions(sci_mode=True, precision=2):
        ...     print(gg.asarray([1234.5, 0.5]))
        [1.23e+03 5.00e-01]
    """
    before = _print_options()
    set_printoptions(precision, threshold, edgeitems, linewidth, sci_mode)
    try:
        yield get_printoptions()
    finally:
        _set_print_options(*before)


def _checked(name: str, value: float) -> int:
    if name == "threshold" and value == float("inf"):
        return _LARGEST[name]
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"set_printoptions: {name} must be an integer, got {type(value).__name__}") from None
    if not _SMALLEST[name] <= number <= _LARGEST[name]:
        raise ValueError(f"set_printoptions: {name} must be in [{_SMALLEST[name]}, {_LARGEST[name]}], got {number}")
    return number

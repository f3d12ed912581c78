"""Searching, sets and order statistics as compositions of ops: found as ``gorgo.unique_all`` and so on.

Invariant: results do not depend on the number of threads; where values are picked from x, gradients go back to them.
Read next: gorgo/reductions.py (reductions that leave out NaN), gorgo/__init__.py (the tables of lazy names).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gorgo
from gorgo import Tensor
from gorgo._core import is_capturing
from gorgo.arguments import as_axis, as_integer, device_of

__all__ = [
    "KthValueResult",
    "MedianResult",
    "ModeResult",
    "UniqueAllResult",
    "UniqueCountsResult",
    "UniqueInverseResult",
    "argwhere",
    "bincount",
    "histogram",
    "isin",
    "kthvalue",
    "median",
    "mode",
    "nanmedian",
    "nanquantile",
    "percentile",
    "quantile",
    "searchsorted",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]


class UniqueAllResult(NamedTuple):
    """Distinct elements, where each is first, where each element of x is among them, and how often each occurs."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCountsResult(NamedTuple):
    """Distinct elements and how often each occurs."""

    values: Tensor
    counts: Tensor


class UniqueInverseResult(NamedTuple):
    """Distinct elements and where each element of x is among them."""

    values: Tensor
    inverse_indices: Tensor


class KthValueResult(NamedTuple):
    """Elements of a rank and where along the axis they are."""

    values: Tensor
    indices: Tensor


class MedianResult(NamedTuple):
    """Medians and where along the axis they are."""

    values: Tensor
    indices: Tensor


class ModeResult(NamedTuple):
    """Most frequent elements and where along the axis they are."""

    values: Tensor
    indices: Tensor


def _is_complex(x: Tensor) -> bool:
    return gorgo.isdtype(x.dtype, "complex floating")


# ---- searching ----


def searchsorted(x1: Tensor, x2: Tensor | float, /, *, side: str = "left", sorter: Tensor | None = None) -> Tensor:
    """Find where elements would have to be put into a sorted tensor.

    Args:
        x1 (Tensor): the sorted elements (n,) real, rising, NaN last; or (..., n), a line for each line of x2.
        x2 (Tensor): the elements to place (..., m) real, or a number.
        side (str): "left" for the first place that keeps the order, "right" for the last.
        sorter (Tensor): integers of x1's shape, the order that sorts it; then x1 need not be sorted.

    Returns:
        (..., m) int64: the places, in [0, n].

    Raises:
        ValueError: side is neither word, or shapes do not fit.
        TypeError: a tensor is complex, or the sorter has no integers.
        IndexError: the sorter names a place outside x1.

    Example:
        >>> import gorgo as gg
        >>> gg.searchsorted(gg.asarray([1, 2, 2, 3]), gg.asarray([2, 9]), side="right").tolist()
        [3, 4]
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    if sorter is not None:
        if tuple(sorter.shape) != tuple(x1.shape):
            raise ValueError(f"searchsorted: sorter must have x1's shape {tuple(x1.shape)}, got {tuple(sorter.shape)}")
        x1 = gorgo.take_along_axis(x1, sorter, axis=-1)
    return gorgo.bucketize(x2, x1, right=side == "right")


def argwhere(x: Tensor) -> Tensor:
    """Find the positions of nonzero elements, a row for each.

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        (n, rank) int64: the positions in row-major order.

    Example:
        >>> import gorgo as gg
        >>> gg.argwhere(gg.asarray([[0, 3], [4, 0]])).tolist()
        [[0, 1], [1, 0]]
    """
    if len(x.shape) == 0:
        return gorgo.zeros((int(bool(x)), 0), dtype=gorgo.int64, device=x.device)
    return gorgo.stack(gorgo.nonzero(x), axis=1)


# ---- sets ----


def _order(columns: Sequence[Tensor]) -> Tensor:
    """Return the order that sorts rows given by their columns, the first column counting most."""
    order: Tensor | None = None
    for column in reversed(columns):
        if order is None:
            order = gorgo.argsort(column)
        else:
            order = gorgo.take(order, gorgo.argsort(gorgo.take(column, order)))
    if order is None:
        raise ValueError("unique: x must have elements along the other axes")
    return order


def _runs(columns: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the order that sorts rows, and which of the sorted ones begin a run of equals; NaN equals nothing."""
    order = _order(columns)
    begins = gorgo.ones(order.shape, dtype=gorgo.bool, device=order.device)
    differ: Tensor | None = None
    for column in columns:
        s = gorgo.take(column, order)
        here = s[1:] != s[:-1]
        differ = here if differ is None else gorgo.logical_or(differ, here)
    if differ is not None:
        begins[1:] = differ
    return order, begins


def _columns(x: Tensor) -> list[Tensor]:
    """Return the parts by which elements are compared."""
    flat = gorgo.reshape(x.detach(), (-1,))
    return [gorgo.real(flat), gorgo.imag(flat)] if _is_complex(x) else [flat]


def _begins(values: Tensor) -> Tensor:
    """Return which of sorted elements differ from the one before; NaN equals nothing."""
    begins = gorgo.ones(values.shape, dtype=gorgo.bool, device=values.device)
    begins[1:] = values[1:] != values[:-1]
    return begins


def _unique(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the order, where runs begin in it, the values and their first indices."""
    order, begins = _runs(_columns(x))
    starts = gorgo.nonzero(begins)[0]
    first = gorgo.take(order, starts)
    return order, begins, gorgo.take(gorgo.reshape(x, (-1,)), first), first


def _inverse(order: Tensor, begins: Tensor) -> Tensor:
    inverse = gorgo.zeros(order.shape, dtype=gorgo.int64, device=order.device)
    inverse[order] = gorgo.cumulative_sum(begins) - 1
    return inverse


def _counts(begins: Tensor) -> Tensor:
    starts = gorgo.nonzero(begins)[0]
    return gorgo.diff(starts, append=gorgo.full((1,), begins.size, dtype=gorgo.int64, device=begins.device))


def unique_all(x: Tensor, /) -> UniqueAllResult:
    """Find the distinct elements, rising; every NaN is distinct.

    Args:
        x (Tensor): the tensor (...) any; complex numbers are ordered by their real, then by their imaginary part.

    Returns:
        values (n,) any: the distinct elements.
        indices (n,) int64: where in the flattened x each is first.
        inverse_indices (...) int64: for each element of x where it is among the values.
        counts (n,) int64: how often each occurs.

    Example:
        >>> import gorgo as gg
        >>> found = gg.unique_all(gg.asarray([3, 1, 3]))
        >>> found.values.tolist(), found.indices.tolist(), found.inverse_indices.tolist(), found.counts.tolist()
        ([1, 3], [1, 0], [1, 0, 1], [1, 2])
    """
    order, begins, values, first = _unique(x)
    return UniqueAllResult(values, first, gorgo.reshape(_inverse(order, begins), x.shape), _counts(begins))


def unique_counts(x: Tensor, /) -> UniqueCountsResult:
    """Find the distinct elements, rising, and how often each occurs; see unique_all.

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        values (n,) any: the distinct elements.
        counts (n,) int64: how often each occurs.

    Example:
        >>> import gorgo as gg
        >>> [t.tolist() for t in gg.unique_counts(gg.asarray([3, 1, 3]))]
        [[1, 3], [1, 2]]
    """
    _, begins, values, _ = _unique(x)
    return UniqueCountsResult(values, _counts(begins))


def unique_inverse(x: Tensor, /) -> UniqueInverseResult:
    """Find the distinct elements, rising, and where each element of x is among them; see unique_all.

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        values (n,) any: the distinct elements.
        inverse_indices (...) int64: for each element of x where it is among the values.

    Example:
        >>> import gorgo as gg
        >>> [t.tolist() for t in gg.unique_inverse(gg.asarray([3, 1, 3]))]
        [[1, 3], [1, 0, 1]]
    """
    order, begins, values, _ = _unique(x)
    return UniqueInverseResult(values, gorgo.reshape(_inverse(order, begins), x.shape))


def unique_values(x: Tensor, /) -> Tensor:
    """Find the distinct elements, rising; see unique_all.

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        (n,) any: the distinct elements; every NaN is one.

    Example:
        >>> import gorgo as gg
        >>> gg.unique_values(gg.asarray([3, 1, 3])).tolist()
        [1, 3]
    """
    if x.requires_grad or _is_complex(x):
        return _unique(x)[2]
    values = gorgo.sort(gorgo.reshape(x, (-1,)))
    return values[_begins(values)]


def unique(
    x: Tensor,
    sorted: bool = True,  # noqa: ARG001
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
) -> Any:
    """Find the distinct elements, or the distinct slices across an axis, rising; every NaN is distinct.

    Args:
        x (Tensor): the tensor (...) any.
        sorted (bool): has no effect: the result is sorted either way.
        return_inverse (bool): whether to return where each element or slice is among the distinct ones.
        return_counts (bool): whether to return how often each occurs.
        axis (int): the axis whose slices are compared; None compares elements.

    Returns:
        Tensor, or a tuple of it, the inverse and the counts as far as they are asked for.

    Raises:
        ValueError: the axis is out of range, or slices have no elements.

    Example:
        >>> import gorgo as gg
        >>> values, counts = gg.unique(gg.asarray([[1, 2], [0, 5], [1, 2]]), return_counts=True, axis=0)
        >>> values.tolist(), counts.tolist()
        ([[0, 5], [1, 2]], [1, 2])
    """
    if axis is None:
        order, begins, values, _ = _unique(x)
        shape: tuple[int, ...] = tuple(x.shape)
    else:
        axis = as_axis("unique", axis, x.shape)
        n = x.shape[axis]
        rows = gorgo.reshape(gorgo.moveaxis(x.detach(), axis, 0), (n, -1) if n else (0, 1))
        order, begins = _runs([part for i in range(rows.shape[1]) for part in _columns(rows[:, i])])
        values = gorgo.take(x, gorgo.take(order, gorgo.nonzero(begins)[0]), axis=axis)
        shape = (n,)
    out = [values]
    if return_inverse:
        out.append(gorgo.reshape(_inverse(order, begins), shape))
    if return_counts:
        out.append(_counts(begins))
    return out[0] if len(out) == 1 else tuple(out)


def _steps(x: Tensor, low: int) -> Tensor:
    """Return how far integers lie above the least of them, in a type that holds it."""
    return (x if x.dtype == gorgo.uint64 else x.astype(gorgo.int64)) - low


def _table_of(numbers: Tensor, most: int) -> tuple[Tensor, int] | None:
    """Return which integers from the least of some on are among them, and the least.

    None where they are no integers, lie too far apart or, in a captured function, are not known yet.
    """
    if not gorgo.isdtype(numbers.dtype, "integral") or is_capturing():
        return None
    low, high = int(gorgo.min(numbers).item()), int(gorgo.max(numbers).item())
    if high - low >= most:
        return None
    marks = gorgo.zeros((high - low + 1,), dtype=gorgo.bool, device=numbers.device)
    marks[_steps(numbers, low)] = True
    return marks, low


def isin(x1: Tensor | float, x2: Tensor | float, /, *, invert: bool = False) -> Tensor:
    """Tell for each element whether it is among others.

    Args:
        x1 (Tensor): the elements (...) any, or a number.
        x2 (Tensor): those to look among (...) any, or a number.
        invert (bool): whether to tell which are not.

    Returns:
        (...) bool: of x1's shape; NaN is never among others.

    Example:
        >>> import gorgo as gg
        >>> gg.isin(gg.asarray([1, 2, 3]), gg.asarray([3, 1])).tolist()
        [True, False, True]
    """
    if not isinstance(x1, Tensor):
        x1 = gorgo.asarray(x1, dtype=x2.dtype if isinstance(x2, Tensor) else None, device=device_of(x2))
    if not isinstance(x2, Tensor):
        x2 = gorgo.asarray(x2, dtype=gorgo.result_type(x1, x2), device=x1.device)
    dtype = gorgo.result_type(x1, x2)
    x1, others = x1.astype(dtype), gorgo.reshape(x2.astype(dtype), (-1,))
    if others.size == 0:
        found = gorgo.zeros(x1.shape, dtype=gorgo.bool, device=x1.device)
    elif _is_complex(x1):
        found = gorgo.any(gorgo.expand_dims(x1, axis=-1) == others, axis=-1)
    elif (table := _table_of(others, 8 * x1.size + 1024)) is not None:
        marks, low = table
        near = gorgo.clip(x1, low, low + marks.size - 1)
        found = gorgo.logical_and(gorgo.take(marks, _steps(near, low)), near == x1)
    else:
        others = gorgo.sort(others)
        places = gorgo.minimum(gorgo.bucketize(x1, others), others.size - 1)
        found = gorgo.take(others, places, axis=0) == x1
    return gorgo.logical_not(found) if invert else found


# ---- counting ----


def bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Count how often each number occurs, or add up the weights of its occurrences.

    Args:
        x (Tensor): the numbers (n,) int, none negative.
        weights (Tensor): what each occurrence counts (n,).
        minlength (int): the least length of the result.

    Returns:
        (max(x) + 1,) int64 without weights, else of the weights' dtype (int64 for integers and bool).

    Raises:
        TypeError: x has no integers.
        ValueError: x has not one axis, a number or minlength is negative, or the weights have another shape.

    Example:
        >>> import gorgo as gg
        >>> gg.bincount(gg.asarray([0, 2, 2])).tolist()
        [1, 0, 2]
    """
    if not gorgo.isdtype(x.dtype, "integral"):
        raise TypeError(f"bincount: x must be integers, got {x.dtype.name}")
    if len(x.shape) != 1:
        raise ValueError(f"bincount: x must have one axis, got shape {tuple(x.shape)}")
    if minlength < 0:
        raise ValueError(f"bincount: minlength must not be negative, got {minlength}")
    if weights is not None and tuple(weights.shape) != tuple(x.shape):
        raise ValueError(f"bincount: weights must have x's shape {tuple(x.shape)}, got {tuple(weights.shape)}")
    low, high = (int(gorgo.min(x).item()), int(gorgo.max(x).item())) if x.size else (0, -1)
    if low < 0:
        raise ValueError(f"bincount: x must not be negative, got {low}")
    return _add_up(x, weights, max(high + 1, minlength))


def _add_up(places: Tensor, weights: Tensor | None, length: int) -> Tensor:
    if weights is None:
        return gorgo.scatter_add(gorgo.zeros((length,), dtype=gorgo.int64, device=places.device), 0, places, 1)
    if gorgo.isdtype(weights.dtype, ("bool", "integral")):
        weights = weights.astype(gorgo.int64)
    empty = gorgo.zeros((length,), dtype=weights.dtype, device=weights.device)
    return gorgo.scatter_add(empty, 0, places, weights)


def histogram(
    x: Tensor,
    bins: int | Tensor = 10,
    range: tuple[float, float] | None = None,
    weights: Tensor | None = None,
    density: bool = False,
) -> tuple[Tensor, Tensor]:
    """Count the elements between edges.

    Args:
        x (Tensor): the tensor (...) real.
        bins (int or Tensor): how many bins of equal width; or the edges (n + 1,), rising.
        range (pair of float): the outermost edges; None for the least and the greatest element. Elements outside, and
            NaN, are not counted.
        weights (Tensor): what each element counts (...).
        density (bool): whether to divide by the total and the widths, so that the area is 1.

    Returns:
        The counts (n,), int64 or of the weights' dtype or float for a density (a bin contains its lower edge, the last
        one its upper edge too), and the edges (n + 1,) in x's dtype, or float64 for integers.

    Raises:
        ValueError: bins is not positive, edges fall, or the range is empty or not finite.

    Example:
        >>> import gorgo as gg
        >>> counts, edges = gg.histogram(gg.asarray([1.0, 2.0, 2.5, 3.0]), bins=2)
        >>> counts.tolist(), edges.tolist()
        ([1, 3], [1.0, 2.0, 3.0])
    """
    flat = gorgo.reshape(x.detach(), (-1,))
    if isinstance(bins, Tensor):
        edges = bins
        if len(edges.shape) != 1 or edges.size < 2 or bool(gorgo.any(edges[1:] < edges[:-1])):
            raise ValueError(f"histogram: bins must be two or more rising edges, got a tensor of shape {edges.shape}")
    else:
        if bins < 1:
            raise ValueError(f"histogram: bins must be positive, got {bins}")
        if range is not None:
            low, high = float(range[0]), float(range[1])
        elif flat.size:
            low, high = float(gorgo.min(flat).item()), float(gorgo.max(flat).item())
        else:
            low, high = 0.0, 1.0
        if not (high >= low and high - low < float("inf")):
            raise ValueError(f"histogram: range must be finite and rise, got {(low, high)}")
        if low == high:
            low, high = low - 0.5, high + 0.5
        dtype = flat.dtype if gorgo.isdtype(flat.dtype, "real floating") else gorgo.float64
        edges = gorgo.linspace(low, high, bins + 1, dtype=dtype, device=flat.device)
    n = edges.size - 1
    places = gorgo.bucketize(flat, edges, right=True) - 1
    places = gorgo.where(flat == edges[-1], n - 1, places)
    inside = gorgo.logical_and(flat >= edges[0], flat <= edges[-1])
    if weights is None:
        one = gorgo.ones(flat.shape, dtype=gorgo.int64, device=flat.device)
    else:
        one = gorgo.reshape(weights, (-1,))
    zero = gorgo.zeros((), dtype=one.dtype, device=one.device)
    counts = _add_up(gorgo.where(inside, places, 0), gorgo.where(inside, one, zero), n)
    if density:
        width = gorgo.diff(edges)
        counts = counts.astype(width.dtype) / (gorgo.sum(counts).astype(width.dtype) * width)
    return counts, edges


# ---- order statistics ----


def _pick(x: Tensor, place: int | Tensor, axis: int, keepdims: bool) -> tuple[Tensor, Tensor]:
    """Return what stands at a place of each sorted line, and where along the axis it is."""
    order = gorgo.argsort(x.detach(), axis=axis)
    if isinstance(place, int):
        at = gorgo.take(order, gorgo.full((1,), place, dtype=gorgo.int64, device=x.device), axis=axis)
    else:
        at = gorgo.take_along_axis(order, place, axis=axis)
    values = gorgo.take_along_axis(x, at, axis=axis)
    return (values, at) if keepdims else (gorgo.squeeze(values, axis=axis), gorgo.squeeze(at, axis=axis))


def kthvalue(x: Tensor, k: int, axis: int = -1, keepdims: bool = False) -> KthValueResult:
    """Find the k-th smallest element along an axis; NaN counts as the greatest.

    Args:
        x (Tensor): the tensor (..., n, ...) real.
        k (int): which, in [1, n].
        axis (int): the axis of length n.
        keepdims (bool): whether the axis stays, with length 1.

    Returns:
        values (...) any: the elements.
        indices (...) int64: where along the axis they are.

    Raises:
        ValueError: k or the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> values, indices = gg.kthvalue(gg.asarray([5, 1, 4]), 2)
        >>> values.item(), indices.item()
        (4, 2)
    """
    axis, k = as_axis("kthvalue", axis, x.shape), as_integer("kthvalue", "k", k)
    n = x.shape[axis]
    if not 1 <= k <= n:
        raise ValueError(f"kthvalue: k must be in [1, {n}], got {k} (x has shape {tuple(x.shape)})")
    return KthValueResult(*_pick(x, k - 1, axis, keepdims))


def _median_place(x: Tensor, axis: int, leave_out_nan: bool) -> int | Tensor:
    """Return where along an axis the median of each sorted line stands; NaN is sorted to the end."""
    n = x.shape[axis]
    if not gorgo.isdtype(x.dtype, "real floating"):
        return (n - 1) // 2
    numbers = n - gorgo.count_nonzero(gorgo.isnan(x.detach()), axis=axis, keepdims=True)
    if leave_out_nan:
        return gorgo.maximum((numbers - 1) // 2, 0)
    return gorgo.where(numbers == n, (n - 1) // 2, numbers)


def _median(name: str, x: Tensor, axis: int | None, keepdims: bool, leave_out_nan: bool) -> Any:
    if axis is None:
        flat = gorgo.reshape(x, (-1,))
        if x.requires_grad or x.size == 0:
            found = _median(name, flat, 0, False, leave_out_nan)[0]
        else:  # the value alone is wanted
            place = _median_place(flat, 0, leave_out_nan)
            ordered = gorgo.sort(flat)
            found = ordered[place] if isinstance(place, int) else gorgo.take(ordered, gorgo.squeeze(place, axis=0))
        return gorgo.reshape(found, (1,) * len(x.shape)) if keepdims else found
    axis = as_axis(name, axis, x.shape)
    if x.shape[axis] == 0:
        raise ValueError(f"{name}: x must have an element along axis {axis}, got shape {tuple(x.shape)}")
    return MedianResult(*_pick(x, _median_place(x, axis, leave_out_nan), axis, keepdims))


def median(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Any:
    """Find the median; of an even number of elements the lower of the two in the middle (quantile takes their mean).

    Args:
        x (Tensor): the tensor (..., n, ...) real.
        axis (int): the axis of length n; None takes all elements.
        keepdims (bool): whether the axis stays, with length 1.

    Returns:
        Tensor () without an axis; with one values (...) and indices (...) int64 of where along it they are. Where there
        is a NaN it is the result.

    Raises:
        ValueError: the axis is out of range or has no elements.

    Example:
        >>> import gorgo as gg
        >>> gg.median(gg.asarray([4, 1, 3, 2])).item()
        2
    """
    return _median("median", x, axis, keepdims, leave_out_nan=False)


def nanmedian(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Any:
    """Find the median of what is not NaN; see median.

    Args:
        x (Tensor): the tensor (..., n, ...) real.
        axis (int): the axis of length n; None takes all elements.
        keepdims (bool): whether the axis stays, with length 1.

    Returns:
        Tensor () without an axis; with one values (...) and indices (...) int64 of where along it they are. Where there
        is nothing but NaN it is the result.

    Raises:
        ValueError: the axis is out of range or has no elements.

    Example:
        >>> import gorgo as gg
        >>> gg.nanmedian(gg.asarray([4.0, float("nan"), 3.0])).item()
        3.0
    """
    return _median("nanmedian", x, axis, keepdims, leave_out_nan=True)


_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def _quantile(
    name: str,
    x: Tensor,
    q: float | Sequence[float] | Tensor,
    axis: int | None,
    keepdims: bool,
    interpolation: str,
    leave_out_nan: bool,
    scale: float = 1.0,
) -> Tensor:
    if interpolation not in _INTERPOLATIONS:
        words = ", ".join(map(repr, _INTERPOLATIONS))
        raise ValueError(f"{name}: interpolation must be one of {words}, got {interpolation!r}")
    if not gorgo.isdtype(x.dtype, "real floating"):
        raise TypeError(f"{name}: x must be floating, got {x.dtype.name}")
    shares: Any = q.tolist() if isinstance(q, Tensor) else list(q) if isinstance(q, Sequence) else q
    single = not isinstance(shares, list)
    listed = [float(v) / scale for v in ([shares] if single else shares)]
    if any(not 0.0 <= v <= 1.0 for v in listed):
        raise ValueError(f"{name}: q must be in [0, {scale:g}], got {shares}")
    rank = len(x.shape)
    if axis is None:
        lines = gorgo.reshape(x, (-1,))
    else:
        lines = gorgo.moveaxis(x, as_axis(name, axis, x.shape), -1)
    n = lines.shape[-1]
    if n == 0:
        raise ValueError(f"{name}: x must have elements to choose from, got shape {tuple(x.shape)}")
    lines = gorgo.sort(lines, axis=-1)
    missing = gorgo.isnan(lines)
    numbers = n - gorgo.count_nonzero(missing, axis=-1, keepdims=True) if leave_out_nan else n
    steps = numbers - 1
    if isinstance(steps, Tensor):
        steps = gorgo.maximum(steps, 0).astype(gorgo.float64)
    place = gorgo.asarray(listed, dtype=gorgo.float64, device=x.device) * steps
    if interpolation == "nearest":
        place = gorgo.round(place)
    place = gorgo.broadcast_to(place, (*lines.shape[:-1], len(listed)))
    below, above = gorgo.floor(place), gorgo.ceil(place)
    low = gorgo.take_along_axis(lines, below.astype(gorgo.int64), axis=-1)
    high = gorgo.take_along_axis(lines, above.astype(gorgo.int64), axis=-1)
    if interpolation == "lower":
        out = low
    elif interpolation == "higher":
        out = high
    else:
        share = (place - below).astype(x.dtype) if interpolation == "linear" else 0.5
        # From the nearer end, so that both ends are exact; equal ends are taken as they are, infinities too.
        ends_meet = gorgo.logical_or(below == above, low.detach() == high.detach())
        width = gorgo.where(ends_meet, 0.0, high - low)
        out = gorgo.where(place - below < 0.5, low + width * share, high - width * (1.0 - share))
    if not leave_out_nan:
        out = gorgo.where(missing[..., -1:], float("nan"), out)
    if axis is None:
        kept: tuple[int, ...] = (1,) * rank if keepdims else ()
        out = gorgo.reshape(out, (len(listed), *kept))
    else:
        out = gorgo.moveaxis(out, -1, 0)
        if keepdims:
            out = gorgo.expand_dims(out, axis=as_axis(name, axis, x.shape) + 1)
    return out[0] if single else out


def quantile(
    x: Tensor,
    q: float | Sequence[float] | Tensor,
    axis: int | None = None,
    keepdims: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Find the elements below which given shares of all elements lie.

    Args:
        x (Tensor): the tensor (..., n, ...) float.
        q (float, or several): the shares, in [0, 1].
        axis (int): the axis of length n; None takes all elements.
        keepdims (bool): whether the axis stays, with length 1.
        interpolation (str): what to take between two elements: "linear", "lower", "higher", "nearest" (the even one of
            two), or "midpoint".

    Returns:
        (...) float of x's dtype; with several shares they are the first axis. NaN where there is a NaN.

    Raises:
        TypeError: x is not float.
        ValueError: a share or the axis is out of range, interpolation is unknown, or there are no elements.

    Example:
        >>> import gorgo as gg
        >>> gg.quantile(gg.asarray([1.0, 2.0, 3.0, 4.0]), 0.5).item()
        2.5
    """
    return _quantile("quantile", x, q, axis, keepdims, interpolation, leave_out_nan=False)


def nanquantile(
    x: Tensor,
    q: float | Sequence[float] | Tensor,
    axis: int | None = None,
    keepdims: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Find quantiles of what is not NaN; see quantile.

    Args:
        x (Tensor): the tensor (..., n, ...) float.
        q (float, or several): the shares, in [0, 1].
        axis (int): the axis of length n; None takes all elements.
        keepdims (bool): whether the axis stays, with length 1.
        interpolation (str): what to take between two elements; see quantile.

    Returns:
        (...) float of x's dtype; with several shares they are the first axis. NaN where there is nothing else.

    Raises:
        TypeError: x is not float.
        ValueError: q or the axis is out of range, interpolation is unknown, or there are no elements.

    Example:
        >>> import gorgo as gg
        >>> gg.nanquantile(gg.asarray([1.0, float("nan"), 3.0]), 0.5).item()
        2.0
    """
    return _quantile("nanquantile", x, q, axis, keepdims, interpolation, leave_out_nan=True)


def percentile(
    x: Tensor,
    q: float | Sequence[float] | Tensor,
    axis: int | None = None,
    keepdims: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Find quantiles by percentages in [0, 100]; see quantile.

    Args:
        x (Tensor): the tensor (..., n, ...) float.
        q (float, or several): the percentages, in [0, 100].
        axis (int): the axis of length n; None takes all elements.
        keepdims (bool): whether the axis stays, with length 1.
        interpolation (str): what to take between two elements; see quantile.

    Returns:
        (...) float of x's dtype; with several percentages they are the first axis. NaN where there is a NaN.

    Raises:
        TypeError: x is not float.
        ValueError: q or the axis is out of range, interpolation is unknown, or there are no elements.

    Example:
        >>> import gorgo as gg
        >>> gg.percentile(gg.asarray([1.0, 2.0, 3.0]), 50).item()
        2.0
    """
    return _quantile("percentile", x, q, axis, keepdims, interpolation, leave_out_nan=False, scale=100.0)


def mode(x: Tensor, axis: int = -1, keepdims: bool = False) -> ModeResult:
    """Find the most frequent element along an axis; of several the smallest.

    Args:
        x (Tensor): the tensor (..., n, ...) real.
        axis (int): the axis of length n.
        keepdims (bool): whether the axis stays, with length 1.

    Returns:
        values (...) any: the elements.
        indices (...) int64: where along the axis they are last.

    Raises:
        ValueError: the axis is out of range or has no elements.

    Example:
        >>> import gorgo as gg
        >>> values, indices = gg.mode(gg.asarray([3, 1, 3, 2]))
        >>> values.item(), indices.item()
        (3, 2)
    """
    axis = as_axis("mode", axis, x.shape)
    n = x.shape[axis]
    if n == 0:
        raise ValueError(f"mode: x must have an element along axis {axis}, got shape {tuple(x.shape)}")
    lines = gorgo.moveaxis(x.detach(), axis, -1)
    order = gorgo.argsort(lines, axis=-1)
    ordered = gorgo.take_along_axis(lines, order, axis=-1)
    places = gorgo.broadcast_to(gorgo.arange(n, device=x.device), lines.shape)
    begins = gorgo.ones(lines.shape, dtype=gorgo.bool, device=x.device)
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    # How long the run of equals is up to each place; the first of the longest runs ends where that is greatest first.
    lengths = places - gorgo.cummax(gorgo.where(begins, places, 0), axis=-1)[0]
    at = gorgo.take_along_axis(order, gorgo.argmax(lengths, axis=-1, keepdims=True), axis=-1)
    at = gorgo.moveaxis(at, -1, axis)
    values = gorgo.take_along_axis(x, at, axis=axis)
    if keepdims:
        return ModeResult(values, at)
    return ModeResult(gorgo.squeeze(values, axis=axis), gorgo.squeeze(at, axis=axis))

"""Reading and writing at positions, with PyTorch's names: compositions of ops, found as ``gorgo.index_add`` and so on.

Names that end in an underscore write into their first argument and are methods of Tensor only.
Invariant: where positions coincide, the result does not depend on the number of threads: sums are taken in order, and
the last of several values wins. Read next: gorgo/__init__.py (the tables of lazy names).
"""

from __future__ import annotations

import gorgo
from gorgo import Tensor, _core
from gorgo.arguments import as_axis

__all__ = [
    "index_add",
    "index_copy",
    "index_fill",
    "index_select",
    "masked_fill",
    "masked_scatter",
    "masked_select",
    "narrow",
    "put_along_axis",
    "scatter_reduce",
]


def _line(name: str, indices: Tensor) -> Tensor:
    if len(indices.shape) > 1:
        raise ValueError(f"{name}: indices must have at most one axis, got shape {tuple(indices.shape)}")
    return gorgo.reshape(indices, (-1,))


def _mask(name: str, mask: Tensor) -> Tensor:
    if mask.dtype != gorgo.bool:
        raise TypeError(f"{name}: mask must be bool, got {mask.dtype.name}")
    return mask


def index_select(x: Tensor, axis: int, indices: Tensor) -> Tensor:
    """Take entries along an axis.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        axis (int): the axis of length n.
        indices (Tensor): which entries (k,) integer, negative ones from the end.

    Returns:
        (..., k, ...) any: the entries.

    Raises:
        IndexError: an index is out of range.
        ValueError: indices have several axes, or the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.index_select(gg.asarray([[1, 2], [3, 4]]), 1, gg.asarray([1, 1])).tolist()
        [[2, 2], [4, 4]]
    """
    return gorgo.take(x, _line("index_select", indices), axis=as_axis("index_select", axis, x.shape))


def _source(name: str, x: Tensor, axis: int, indices: Tensor, source: Tensor) -> tuple[int, Tensor]:
    axis = as_axis(name, axis, x.shape)
    indices = _line(name, indices)
    expected = (*x.shape[:axis], indices.size, *x.shape[axis + 1 :])
    if tuple(source.shape) != expected:
        raise ValueError(f"{name}: source must have shape {expected}, got {tuple(source.shape)}")
    if source.dtype != x.dtype:
        raise TypeError(f"{name}: source must have dtype {x.dtype.name}, got {source.dtype.name}")
    shape = [1] * len(x.shape)
    shape[axis] = indices.size
    return axis, gorgo.broadcast_to(gorgo.reshape(indices, tuple(shape)), expected)


def index_add(x: Tensor, axis: int, indices: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Add to entries along an axis; what meets in one entry is added in order.

    Args:
        x (Tensor): the tensor (..., n, ...) numeric.
        axis (int): the axis of length n.
        indices (Tensor): where (k,) integer.
        source (Tensor): what to add (..., k, ...), of x's dtype.
        alpha (number): what it is multiplied by.

    Returns:
        (..., n, ...) any: the sums.

    Raises:
        IndexError: an index is out of range.
        ValueError: shapes do not fit.
        TypeError: source has another dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.index_add(gg.zeros((3,)), 0, gg.asarray([0, 0, 2]), gg.asarray([1.0, 2.0, 3.0])).tolist()
        [3.0, 0.0, 3.0]
    """
    axis, places = _source("index_add", x, axis, indices, source)
    return gorgo.scatter_add(x, axis, places, source if alpha == 1 else source * alpha)


def index_copy(x: Tensor, axis: int, indices: Tensor, source: Tensor) -> Tensor:
    """Replace entries along an axis; the last of several wins.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        axis (int): the axis of length n.
        indices (Tensor): which entries (k,) integer, negative ones from the end.
        source (Tensor): what to put (..., k, ...), of x's dtype.

    Returns:
        (..., n, ...) any: x with those entries replaced; x itself is left as it was.

    Raises:
        IndexError: an index is out of range.
        ValueError: shapes do not fit, or the axis is out of range.
        TypeError: source has another dtype.

    Example:
        >>> import gorgo as gg
        >>> gg.index_copy(gg.zeros((3,)), 0, gg.asarray([2]), gg.asarray([5.0])).tolist()
        [0.0, 0.0, 5.0]
    """
    axis, places = _source("index_copy", x, axis, indices, source)
    return gorgo.scatter(x, axis, places, source)


def index_fill(x: Tensor, axis: int, indices: Tensor, value: float | Tensor) -> Tensor:
    """Fill entries along an axis with a number.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        axis (int): the axis of length n.
        indices (Tensor): which entries (k,) integer.
        value (number or Tensor): a number, or a tensor ().

    Returns:
        (..., n, ...) any: x with those entries filled.

    Raises:
        IndexError: an index is out of range.
        ValueError: indices or the value have axes too many, or the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.index_fill(gg.zeros((2, 3)), 1, gg.asarray([0, 2]), 1.0).tolist()
        [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    """
    axis = as_axis("index_fill", axis, x.shape)
    # By a mask, so that a value's gradient counts an entry once that is named twice.
    mask = gorgo.zeros((x.shape[axis],), dtype=gorgo.bool, device=x.device)
    mask[_line("index_fill", indices)] = True
    shape = [1] * len(x.shape)
    shape[axis] = x.shape[axis]
    return masked_fill(x, gorgo.reshape(mask, tuple(shape)), _one("index_fill", value))


def index_fill_(x: Tensor, axis: int, indices: Tensor, value: float | Tensor) -> Tensor:
    """Fill entries along an axis, in place; see index_fill."""
    if isinstance(value, Tensor) and value.requires_grad:
        return x.copy_(index_fill(x, axis, indices, value))
    axis = as_axis("index_fill", axis, x.shape)
    x[(slice(None),) * axis + (_line("index_fill", indices),)] = _one("index_fill", value)
    return x


def index_add_(x: Tensor, axis: int, indices: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Add to entries along an axis, in place; see index_add."""
    axis, places = _source("index_add", x, axis, indices, source)
    return x.scatter_add_(axis, places, source if alpha == 1 else source * alpha)


def index_copy_(x: Tensor, axis: int, indices: Tensor, source: Tensor) -> Tensor:
    """Replace entries along an axis, in place; see index_copy."""
    axis, places = _source("index_copy", x, axis, indices, source)
    return x.scatter_(axis, places, source)


def _one(name: str, value: float | Tensor) -> float | Tensor:
    if isinstance(value, Tensor) and len(value.shape) > 0:
        raise ValueError(f"{name}: value must be a number or a tensor without axes, got shape {tuple(value.shape)}")
    return value


def masked_fill(x: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """Replace elements where a mask is true.

    Args:
        x (Tensor): the tensor (...) any.
        mask (Tensor): the mask (...) bool; shapes are broadcast.
        value (number or Tensor): what to put, a number or a tensor (), which is converted to x's dtype.

    Returns:
        (...) any: of x's dtype.

    Raises:
        TypeError: the mask is not bool, or the value is of a higher kind than x.
        ValueError: shapes do not fit, or the value has an axis.

    Example:
        >>> import gorgo as gg
        >>> gg.masked_fill(gg.asarray([1.0, 2.0]), gg.asarray([True, False]), 9.0).tolist()
        [9.0, 2.0]
    """
    value = _one("masked_fill", value)
    if isinstance(value, Tensor):
        if gorgo.promote_types(x.dtype, value.dtype) != x.dtype:
            raise TypeError(f"masked_fill: value must fit dtype {x.dtype.name}, got {value.dtype.name}")
        filling = value.astype(x.dtype)
    else:
        if gorgo.result_type(x, value) != x.dtype:
            raise TypeError(f"masked_fill: value must fit dtype {x.dtype.name}, got {value}")
        filling = gorgo.full((), value, dtype=x.dtype, device=x.device)
    return gorgo.where(_mask("masked_fill", mask), filling, x)


def masked_fill_(x: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """Replace elements where a mask is true, in place; see masked_fill."""
    x[gorgo.broadcast_to(_mask("masked_fill", mask), x.shape)] = _one("masked_fill", value)
    return x


def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """Take the elements where a mask is true, in row-major order.

    Args:
        x (Tensor): the tensor (...) any.
        mask (Tensor): the mask (...) bool; shapes are broadcast.

    Returns:
        (n,) any: the elements.

    Raises:
        TypeError: the mask is not bool.
        ValueError: shapes do not fit.
        RuntimeError: inside a captured function, whose shapes may not depend on values.

    Example:
        >>> import gorgo as gg
        >>> gg.masked_select(gg.asarray([[1, 2], [3, 4]]), gg.asarray([True, False])).tolist()
        [1, 3]
    """
    x, mask = gorgo.broadcast_arrays(x, _mask("masked_select", mask))
    return x[mask]


def masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Replace elements where a mask is true by the elements of another tensor, one after the other.

    Args:
        x (Tensor): the tensor (...) any.
        mask (Tensor): the mask (...) bool; shapes are broadcast.
        source (Tensor): what to put (...), of x's dtype, with at least as many elements as are replaced.

    Returns:
        (...) any: of x's dtype.

    Raises:
        TypeError: the mask is not bool, or source has another dtype.
        IndexError: source has too few elements.

    Example:
        >>> import gorgo as gg
        >>> mask = gg.asarray([True, False, True])
        >>> gg.masked_scatter(gg.zeros((3,)), mask, gg.asarray([5.0, 6.0])).tolist()
        [5.0, 0.0, 6.0]
    """
    if source.dtype != x.dtype:
        raise TypeError(f"masked_scatter: source must have dtype {x.dtype.name}, got {source.dtype.name}")
    x, mask = gorgo.broadcast_arrays(x, _mask("masked_scatter", mask))
    flat = gorgo.reshape(mask, (-1,))
    # What is not replaced looks at an element of its own behind those of source; one too many is out of range.
    behind = source.size
    places = gorgo.cumulative_sum(flat, include_initial=True)[:-1]
    places = gorgo.where(flat, gorgo.where(places >= behind, places + 1, places), behind)
    one_more = gorgo.zeros((1,), dtype=source.dtype, device=source.device)
    found = gorgo.concat([gorgo.reshape(source, (-1,)), one_more])
    return gorgo.where(mask, gorgo.reshape(gorgo.take(found, places), x.shape), x)


def masked_scatter_(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Replace elements where a mask is true by those of another tensor, in place; see masked_scatter."""
    return x.copy_(masked_scatter(x, gorgo.broadcast_to(mask, x.shape), source))


def narrow(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    """Cut a range out of an axis, as a view.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        axis (int): the axis of length n.
        start (int): where the range begins, negative from the end.
        length (int): how long it is.

    Returns:
        (..., length, ...) any: a view.

    Raises:
        ValueError: the range or the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.narrow(gg.asarray([1, 2, 3, 4]), 0, 1, 2).tolist()
        [2, 3]
    """
    axis = as_axis("narrow", axis, x.shape)
    n = x.shape[axis]
    first = start + n if start < 0 else start
    if not (0 <= first <= n and 0 <= length <= n - first):
        raise ValueError(f"narrow: start and length must stay within axis {axis} of length {n}, got {start}, {length}")
    return x[(slice(None),) * axis + (slice(first, first + length),)]


def put_along_axis(x: Tensor, indices: Tensor, values: Tensor | float, axis: int) -> Tensor:
    """Replace along an axis the entries that each position names for itself; the last of several wins.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        indices (Tensor): which entries (..., k, ...) integer; broadcast to x but for the axis.
        values (Tensor or number): what to put, broadcast to the indices.
        axis (int): the axis of length n.

    Returns:
        (..., n, ...) any: x with those entries replaced; x itself is left as it was.

    Raises:
        IndexError: an index is out of range.
        ValueError: shapes do not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.put_along_axis(gg.zeros((2, 2)), gg.asarray([[1], [0]]), 5.0, axis=1).tolist()
        [[0.0, 5.0], [5.0, 0.0]]
    """
    axis = as_axis("put_along_axis", axis, x.shape)
    if len(indices.shape) != len(x.shape):
        raise ValueError(
            f"put_along_axis: indices must have the rank of x, {len(x.shape)}, got shape {tuple(indices.shape)}"
        )
    shape = (*x.shape[:axis], indices.shape[axis], *x.shape[axis + 1 :])
    return gorgo.scatter(x, axis, gorgo.broadcast_to(indices, shape), values)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(
    x: Tensor, axis: int, indices: Tensor, values: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Gather values along an axis in the entries that each position names for itself.

    Args:
        x (Tensor): the tensor (..., n, ...) numeric.
        axis (int): the axis of length n.
        indices (Tensor): (..., k, ...) integer, of x's rank, and nowhere but on the axis longer than x.
        values (Tensor): (..., k, ...), of x's dtype.
        reduce (str): "sum", "prod", "mean", "amax" or "amin".
        include_self (bool): whether x's own elements take part; otherwise they stay where nothing is gathered.

    Returns:
        (..., n, ...) any: of x's dtype; means of integers are rounded down.

    Raises:
        IndexError: an index is out of range.
        ValueError: shapes do not fit, or reduce is unknown.
        TypeError: values have another dtype, or extremes are asked of complex numbers.

    Example:
        >>> import gorgo as gg
        >>> values = gg.asarray([3.0, 4.0, 5.0])
        >>> gg.scatter_reduce(gg.ones((2,)), 0, gg.asarray([0, 0, 1]), values, "amax").tolist()
        [4.0, 5.0]
    """
    if reduce not in _REDUCTIONS:
        raise ValueError(f"scatter_reduce: reduce must be one of {', '.join(map(repr, _REDUCTIONS))}, got {reduce!r}")
    base = x if include_self else gorgo.scatter(x, axis, indices, _idle(x, reduce))
    if reduce in ("prod", "amax", "amin"):
        return _core._scatter_combine(base, axis, indices, values, reduce)
    total = gorgo.scatter_add(base, axis, indices, values)
    if reduce == "sum":
        return total
    counts = gorgo.full(x.shape, int(include_self), dtype=gorgo.int64, device=x.device)
    counts = gorgo.scatter_add(counts, axis, indices, 1)
    counts = gorgo.maximum(counts, 1).astype(x.dtype)
    return total // counts if gorgo.isdtype(x.dtype, "integral") else total / counts


def _idle(x: Tensor, reduce: str) -> float:
    """Return the number that changes nothing in a reduction."""
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    if gorgo.isdtype(x.dtype, "integral"):
        limits = gorgo.iinfo(x.dtype)
        return int(limits.min if reduce == "amax" else limits.max)
    return float("-inf") if reduce == "amax" else float("inf")


def scatter_reduce_(
    x: Tensor, axis: int, indices: Tensor, values: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Gather values in entries along an axis, in place; see scatter_reduce."""
    return x.copy_(scatter_reduce(x, axis, indices, values, reduce, include_self=include_self))

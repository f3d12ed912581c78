"""Array API names that are compositions of ops: found as ``gorgo.moveaxis`` and so on, imported when first used.

Invariant: nothing here looks at elements, so gradients, capture and views come from the ops composed.
Read next: gorgo/__init__.py (the table of lazy names).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gorgo
from gorgo import Tensor, dtype
from gorgo.arguments import as_axes, as_axis, as_integer, is_listed

__all__ = [
    "NamespaceInfo",
    "broadcast_arrays",
    "broadcast_shapes",
    "diff",
    "isdtype",
    "meshgrid",
    "moveaxis",
    "tensordot",
    "vecdot",
]

__array_api_version__ = "2024.12"

_KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float16", "bfloat16", "float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"] + _KINDS["complex floating"]


def isdtype(dtype: dtype, kind: dtype | str | tuple[dtype | str, ...]) -> bool:
    """Tell whether a dtype is of a kind.

    Args:
        dtype (dtype): the dtype.
        kind (dtype, str or tuple of them): a dtype; "bool", "signed integer", "unsigned integer", "integral", "real
            floating", "complex floating" or "numeric"; or several, of which one must hold.

    Returns:
        bool: whether it is.

    Raises:
        ValueError: a kind is unknown.

    Example:
        >>> import gorgo as gg
        >>> gg.isdtype(gg.int8, "integral"), gg.isdtype(gg.int8, (gg.int16, "bool"))
        (True, False)
    """
    found = False
    for one in kind if isinstance(kind, tuple) else (kind,):
        if isinstance(one, str):
            if one not in _KINDS:
                raise ValueError(f"isdtype: kind must be one of {', '.join(map(repr, _KINDS))}, got {one!r}")
            found |= any(dtype == getattr(gorgo, name) for name in _KINDS[one])
        else:
            found |= dtype == one
    return found


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Find the shape that several shapes broadcast to.

    Args:
        *shapes (tuple of int): the shapes.

    Returns:
        tuple of int: their common shape; () of none.

    Raises:
        ValueError: they do not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.broadcast_shapes((5, 1), (3,))
        (5, 3)
    """
    rank = max((len(shape) for shape in shapes), default=0)
    out = [1] * rank
    for shape in shapes:
        for axis, length in enumerate(shape, rank - len(shape)):
            if length == 1 or length == out[axis]:
                continue
            if out[axis] != 1:
                raise ValueError(
                    f"broadcast_shapes: shapes must be equal or 1 along each axis, got {', '.join(map(str, shapes))}"
                    f" ({out[axis]} and {length} along axis {axis - rank})"
                )
            out[axis] = length
    return tuple(out)


def broadcast_arrays(*tensors: Tensor) -> list[Tensor]:
    """Repeat tensors to the shape they all broadcast to, as views that cannot be written.

    Args:
        *tensors (Tensor): the tensors (...), of any dtype.

    Returns:
        list of (...) any: one view for each.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import gorgo as gg
        >>> [t.shape for t in gg.broadcast_arrays(gg.ones((2, 1)), gg.ones((3,)))]
        [(2, 3), (2, 3)]
    """
    shape = broadcast_shapes(*(t.shape for t in tensors))
    return [gorgo.broadcast_to(t, shape) for t in tensors]


def moveaxis(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Move axes to other places, as a view; the rest keep their order.

    Args:
        x (Tensor): the tensor (...), of any dtype.
        source (int or tuple of int): the axes to move.
        destination (int or tuple of int): where each goes.

    Returns:
        (...) any: a view.

    Raises:
        ValueError: an axis is out of range or repeats, or there are not as many of one as of the other.

    Example:
        >>> import gorgo as gg
        >>> gg.moveaxis(gg.ones((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    rank = len(x.shape)
    sources = as_axes("moveaxis", source, x.shape, "source")
    places = as_axes("moveaxis", destination, x.shape, "destination")
    if len(sources) != len(places):
        raise ValueError(f"moveaxis: as many source as destination axes expected, got {len(sources)} and {len(places)}")
    order = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return gorgo.permute_dims(x, tuple(order))


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """Sum products over several axes of two tensors.

    Args:
        x1 (Tensor): one (...), numeric.
        x2 (Tensor): the other (...), numeric.
        axes (int or pair of tuples of int): the axes that go, of x1 and of x2; a number n means the last n of x1 and
            the first n of x2.

    Returns:
        (...) any: the axes of x1 that stay, then those of x2.

    Raises:
        ValueError: an axis is out of range or repeats, or lengths differ.

    Example:
        >>> import gorgo as gg
        >>> gg.tensordot(gg.ones((2, 3, 4)), gg.ones((4, 3, 5)), axes=((1, 2), (1, 0))).shape
        (2, 5)
    """
    rank1, rank2 = len(x1.shape), len(x2.shape)
    given: Any = axes
    if is_listed(given):
        pair = tuple(given)
        if len(pair) != 2:
            raise ValueError(f"tensordot: axes must be an integer or a pair of tuples, got {given}")
        gone1 = as_axes("tensordot", pair[0], x1.shape, "axes[0]")
        gone2 = as_axes("tensordot", pair[1], x2.shape, "axes[1]")
    else:
        n = as_integer("tensordot", "axes", given)
        if not 0 <= n <= min(rank1, rank2):
            raise ValueError(f"tensordot: axes must be in [0, {min(rank1, rank2)}], got {n}")
        gone1, gone2 = list(range(rank1 - n, rank1)), list(range(n))
    lengths1, lengths2 = [x1.shape[i] for i in gone1], [x2.shape[i] for i in gone2]
    if lengths1 != lengths2:
        raise ValueError(f"tensordot: axes must be of equal lengths, got {lengths1} and {lengths2}")
    kept1 = [i for i in range(rank1) if i not in gone1]
    kept2 = [i for i in range(rank2) if i not in gone2]
    shape1, shape2 = [x1.shape[i] for i in kept1], [x2.shape[i] for i in kept2]
    rows = inner = columns = 1
    for length in shape1:
        rows *= length
    for length in lengths1:
        inner *= length
    for length in shape2:
        columns *= length
    left = gorgo.reshape(gorgo.permute_dims(x1, (*kept1, *gone1)), (rows, inner))
    right = gorgo.reshape(gorgo.permute_dims(x2, (*gone2, *kept2)), (inner, columns))
    return gorgo.reshape(gorgo.matmul(left, right), (*shape1, *shape2))


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Sum products over one axis; the first factor is conjugated.

    Args:
        x1 (Tensor): one (..., n, ...), numeric.
        x2 (Tensor): the other (..., n, ...), numeric; the remaining axes broadcast.
        axis (int): the axis of length n in both, counted from the end: in [-rank, -1].

    Returns:
        (...) any: the sums, in the promoted dtype.

    Raises:
        ValueError: the axis is out of range, or the lengths differ.

    Example:
        >>> import gorgo as gg
        >>> gg.vecdot(gg.asarray([1.0, 2.0]), gg.asarray([3.0, 4.0])).item()
        11.0
    """
    rank = min(len(x1.shape), len(x2.shape))
    if not -rank <= axis <= -1:
        raise ValueError(f"vecdot: axis must be in [{-rank}, -1], got {axis}")
    if x1.shape[axis] != x2.shape[axis]:
        raise ValueError(f"vecdot: axis {axis} must be of equal length, got {x1.shape[axis]} and {x2.shape[axis]}")
    left = gorgo.conj(x1) if isdtype(x1.dtype, "complex floating") else x1
    return gorgo.sum(left * x2, axis=axis, dtype=gorgo.result_type(x1, x2))


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Make coordinate matrices of coordinate vectors.

    Args:
        *arrays (Tensor): vectors (n_i,) or numbers (), all of one dtype.
        indexing (str): "xy", where the first two axes of the results belong to the second and first vector, as in a
            picture; "ij", where axis i belongs to vector i.

    Returns:
        list of (n_0, n_1, ...) any, the first two lengths exchanged for "xy": one read-only view for each vector.

    Raises:
        ValueError: indexing is neither, or a tensor has more than one axis.
        TypeError: the dtypes differ.

    Example:
        >>> import gorgo as gg
        >>> x, y = gg.meshgrid(gg.asarray([1, 2, 3]), gg.asarray([4, 5]))
        >>> x.tolist(), y.tolist()
        ([[1, 2, 3], [1, 2, 3]], [[4, 4, 4], [5, 5, 5]])
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    for t in arrays:
        if len(t.shape) > 1:
            raise ValueError(f"meshgrid: arrays must have at most one axis, got shape {t.shape}")
        if t.dtype != arrays[0].dtype:
            raise TypeError(f"meshgrid: arrays must have one dtype, got {arrays[0].dtype.name} and {t.dtype.name}")
    places = list(range(len(arrays)))
    if indexing == "xy" and len(arrays) > 1:
        places[:2] = [1, 0]
    grids = []
    for place, t in zip(places, arrays, strict=True):
        shape = [1] * len(arrays)
        shape[place] = t.size
        grids.append(gorgo.reshape(t, tuple(shape)))
    return broadcast_arrays(*grids)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Subtract from each element the one before it, n times.

    Args:
        x (Tensor): the tensor (..., m, ...), numeric.
        axis (int): along which.
        n (int): how many times; 0 gives x itself.
        prepend (Tensor): what to put before x along the axis (..., k, ...).
        append (Tensor): what to put after it.

    Returns:
        (..., m - n, ...) any: the differences, n shorter along the axis, and empty where nothing is left.

    Raises:
        ValueError: the axis is out of range, n is negative, or shapes do not fit.

    Example:
        >>> import gorgo as gg
        >>> gg.diff(gg.asarray([1, 4, 9, 16]), n=2).tolist()
        [2, 2]
    """
    axis, n = as_axis("diff", axis, x.shape), as_integer("diff", "n", n)
    if n < 0:
        raise ValueError(f"diff: n must be 0 or more, got {n}")
    parts = [t for t in (prepend, x, append) if t is not None]
    out = x if len(parts) == 1 or n == 0 else gorgo.concat(parts, axis=axis)
    for _ in range(n):
        before = (slice(None),) * axis
        out = out[(*before, slice(1, None))] - out[(*before, slice(0, -1))]
    return out


class NamespaceInfo:
    """What the array API standard lets a program ask of a library; ``gorgo.__array_namespace_info__()`` gives it.

    Example:
        >>> import gorgo as gg
        >>> gg.__array_namespace_info__().default_dtypes()["real floating"].name
        'float32'
    """

    def capabilities(self) -> dict[str, Any]:
        """Return what is supported: boolean masks, shapes that depend on values, and the highest rank."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 32}

    def default_device(self) -> str:
        """Return the device of tensors made without one."""
        return str(gorgo.empty(()).device)

    def default_dtypes(self, *, device: Any = None) -> dict[str, dtype]:
        """Return the dtypes of tensors made without one.

        Args:
            device: one of `devices`; the defaults are the same on all.
        """
        self._check(device, "default_dtypes")
        return {
            "real floating": gorgo.empty(()).dtype,
            "complex floating": gorgo.complex64,
            "integral": gorgo.int64,
            "indexing": gorgo.int64,
        }

    def devices(self) -> list[str]:
        """Return the devices that this process can use."""
        from gorgo import _core

        return list(_core._config()["devices"])

    def dtypes(
        self, *, device: Any = None, kind: dtype | str | tuple[dtype | str, ...] | None = None
    ) -> dict[str, dtype]:
        """Return the standard's dtypes by name; float16 and bfloat16, which it does not know, are not among them.

        Args:
            device: one of `devices`; the dtypes are the same on all.
            kind: as for `isdtype`; all when None.

        Raises:
            ValueError: the kind or the device is unknown.
        """
        self._check(device, "dtypes")
        names = [name for name in ("bool", *_KINDS["numeric"]) if name not in ("float16", "bfloat16")]
        found = {name: getattr(gorgo, name) for name in names}
        return {name: d for name, d in found.items() if kind is None or isdtype(d, kind)}

    def _check(self, device: Any, what: str) -> None:
        if device is not None and str(device) not in self.devices():
            raise ValueError(f"{what}: device must be one of {', '.join(self.devices())}, got {str(device)!r}")


def __array_namespace_info__() -> NamespaceInfo:
    """Return the inspection functions of the array API standard.

    Example:
        >>> import gorgo as gg
        >>> gg.__array_namespace_info__().devices()[0]
        'cpu'
    """
    return NamespaceInfo()

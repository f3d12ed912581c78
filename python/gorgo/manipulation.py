"""Cutting, joining and laying out tensors, as compositions of ops: found as ``gorgo.flatten`` and so on.

Invariant: what only looks at elements another way is a view; the rest is one or a few ops that move elements, so
gradients of any order come from those. Read next: gorgo/contraction.py (einsum), gorgo/__init__.py (the tables).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import gorgo
from gorgo import Tensor, dtype
from gorgo.arguments import as_axis, as_integer, as_integers, is_listed

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "cartesian_prod",
    "chunk",
    "column_stack",
    "cross",
    "diag",
    "diag_embed",
    "dsplit",
    "dstack",
    "flatten",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "inner",
    "kron",
    "movedim",
    "outer",
    "ravel",
    "repeat_interleave",
    "rot90",
    "tensor_split",
    "trace",
    "tril_indices",
    "triu_indices",
    "unbind",
    "unflatten",
    "vander",
    "vsplit",
    "vstack",
]


# ---- cutting ----


def chunk(x: Tensor, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """Cut an axis into at most so many parts of one length, of which the last may be shorter.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        chunks (int): how many.
        axis (int): the axis of length n.

    Returns:
        tuple of (...) any: views.

    Raises:
        ValueError: chunks is not positive, or the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> [part.tolist() for part in gg.chunk(gg.asarray([1, 2, 3, 4, 5]), 2)]
        [[1, 2, 3], [4, 5]]
    """
    axis = as_axis("chunk", axis, x.shape)
    chunks = as_integer("chunk", "chunks", chunks)
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be positive, got {chunks}")
    n = x.shape[axis]
    if n == 0:
        return (x,) * chunks
    return tuple(gorgo.split(x, -(-n // chunks), axis=axis))


def tensor_split(x: Tensor, sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Cut an axis into so many parts as equal as can be, or at the places given.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        sections (int or tuple of int): how many parts, of which the first are longer by one where they cannot be equal;
            or where to cut, as the places in slices.
        axis (int): the axis of length n.

    Returns:
        tuple of (...) any: views.

    Raises:
        ValueError: sections is not positive, or the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> [part.tolist() for part in gg.tensor_split(gg.asarray([1, 2, 3, 4, 5]), 3)]
        [[1, 2], [3, 4], [5]]
        >>> [part.tolist() for part in gg.tensor_split(gg.asarray([1, 2, 3, 4, 5]), (1, 3))]
        [[1], [2, 3], [4, 5]]
    """
    return _tensor_split("tensor_split", x, sections, axis)


def _tensor_split(name: str, x: Tensor, sections: int | Sequence[int], axis: int) -> tuple[Tensor, ...]:
    axis = as_axis(name, axis, x.shape)
    n = x.shape[axis]
    if is_listed(sections):
        cuts = list(as_integers(name, "sections", sections))
    else:
        parts = as_integer(name, "sections", sections)
        if parts < 1:
            raise ValueError(f"{name}: sections must be positive, got {parts}")
        short, longer = divmod(n, parts)
        cuts = [i * short + min(i, longer) for i in range(1, parts)]
    before = (slice(None),) * axis
    ends = [None, *cuts, None]
    return tuple(x[(*before, slice(first, last))] for first, last in itertools.pairwise(ends))


def _equal_split(name: str, x: Tensor, sections: int | Sequence[int], axis: int) -> tuple[Tensor, ...]:
    if not is_listed(sections):
        parts = as_integer(name, "sections", sections)
        if parts > 0 and x.shape[axis] % parts:
            raise ValueError(
                f"{name}: sections must divide the length {x.shape[axis]} of axis {axis}, got {parts} (x has shape"
                f" {tuple(x.shape)})"
            )
    return _tensor_split(name, x, sections, axis)


def hsplit(x: Tensor, sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Cut the second axis (the only one of rank 1) into equal parts, or at the places given; see tensor_split.

    Args:
        x (Tensor): the tensor (m, n, ...) or (n,) any.
        sections (int or tuple of int): how many parts, which must divide n; or where to cut, as the places in slices.

    Returns:
        tuple of (...) any: views.

    Raises:
        ValueError: x has no axis, or sections is not positive or does not divide n.

    Example:
        >>> import gorgo as gg
        >>> [part.tolist() for part in gg.hsplit(gg.asarray([[1, 2], [3, 4]]), 2)]
        [[[1], [3]], [[2], [4]]]
    """
    if len(x.shape) == 0:
        raise ValueError("hsplit: x must have an axis, got shape ()")
    return _equal_split("hsplit", x, sections, min(1, len(x.shape) - 1))


def vsplit(x: Tensor, sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Cut the first of two or more axes into equal parts, or at the places given; see tensor_split.

    Args:
        x (Tensor): the tensor (n, m, ...) any.
        sections (int or tuple of int): how many parts, which must divide n; or where to cut, as the places in slices.

    Returns:
        tuple of (...) any: views.

    Raises:
        ValueError: x has less than two axes, or sections is not positive or does not divide n.

    Example:
        >>> import gorgo as gg
        >>> [part.tolist() for part in gg.vsplit(gg.asarray([[1, 2], [3, 4]]), 2)]
        [[[1, 2]], [[3, 4]]]
    """
    if len(x.shape) < 2:
        raise ValueError(f"vsplit: x must have two axes or more, got shape {tuple(x.shape)}")
    return _equal_split("vsplit", x, sections, 0)


def dsplit(x: Tensor, sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Cut the third of three or more axes into equal parts, or at the places given; see tensor_split.

    Args:
        x (Tensor): the tensor (l, m, n, ...) any.
        sections (int or tuple of int): how many parts, which must divide n; or where to cut, as the places in slices.

    Returns:
        tuple of (...) any: views.

    Raises:
        ValueError: x has less than three axes, or sections is not positive or does not divide n.

    Example:
        >>> import gorgo as gg
        >>> [part.shape for part in gg.dsplit(gg.ones((2, 3, 4)), (1, 3))]
        [(2, 3, 1), (2, 3, 2), (2, 3, 1)]
    """
    if len(x.shape) < 3:
        raise ValueError(f"dsplit: x must have three axes or more, got shape {tuple(x.shape)}")
    return _equal_split("dsplit", x, sections, 2)


def unbind(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """Return a view for each index of an axis, which goes away; see unstack.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        axis (int): the axis of length n.

    Returns:
        tuple of (...) any: n views.

    Raises:
        ValueError: the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> [row.tolist() for row in gg.unbind(gg.asarray([[1, 2], [3, 4]]))]
        [[1, 2], [3, 4]]
    """
    return tuple(gorgo.unstack(x, axis=axis))


# ---- other shapes ----


def flatten(x: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """Merge neighbouring axes into one.

    Args:
        x (Tensor): the tensor (...) any.
        start_axis (int): the first axis to merge.
        end_axis (int): the last axis to merge.

    Returns:
        (...) any: a view where the strides allow, else a copy; a tensor of rank 0 gets one axis.

    Raises:
        ValueError: an axis is out of range, or the last lies before the first.

    Example:
        >>> import gorgo as gg
        >>> gg.flatten(gg.ones((2, 3, 4)), 1).shape
        (2, 12)
    """
    rank = max(len(x.shape), 1)
    first, last = as_axis("flatten", start_axis, rank, "start_axis"), as_axis("flatten", end_axis, rank, "end_axis")
    if last < first:
        raise ValueError(f"flatten: end_axis must not lie before start_axis, got {start_axis} and {end_axis}")
    merged = math.prod(x.shape[first : last + 1])
    return gorgo.reshape(x, (*x.shape[:first], merged, *x.shape[last + 1 :]))


def ravel(x: Tensor) -> Tensor:
    """Lay all elements in one axis; a view where the strides allow.

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        (n,) any: the elements in row-major order.

    Example:
        >>> import gorgo as gg
        >>> gg.ravel(gg.asarray([[1, 2], [3, 4]])).tolist()
        [1, 2, 3, 4]
    """
    return gorgo.reshape(x, (-1,))


def unflatten(x: Tensor, axis: int, sizes: Sequence[int]) -> Tensor:
    """Split an axis into several.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        axis (int): the axis of length n.
        sizes (tuple of int): the lengths of the new axes; one may be -1.

    Returns:
        (..., *sizes, ...) any: a view.

    Raises:
        ValueError: the lengths do not multiply to n, or the axis is out of range.

    Example:
        >>> import gorgo as gg
        >>> gg.unflatten(gg.ones((2, 12)), 1, (3, -1)).shape
        (2, 3, 4)
    """
    axis = as_axis("unflatten", axis, x.shape)
    lengths = list(sizes)
    n = x.shape[axis]
    if lengths.count(-1) == 1:
        known = math.prod(i for i in lengths if i != -1)
        lengths[lengths.index(-1)] = n // known if known > 0 else -1
    if any(i < 0 for i in lengths) or math.prod(lengths) != n:
        raise ValueError(f"unflatten: sizes must multiply to the length {n} of axis {axis}, got {tuple(sizes)}")
    return gorgo.reshape(x, (*x.shape[:axis], *lengths, *x.shape[axis + 1 :]))


def movedim(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Move axes to other places, as a view; see moveaxis.

    Args:
        x (Tensor): the tensor (...) any.
        source (int or tuple of int): the axes to move.
        destination (int or tuple of int): where each goes.

    Returns:
        (...) any: a view.

    Raises:
        ValueError: an axis is out of range or repeats, or there are not as many of one as of the other.

    Example:
        >>> import gorgo as gg
        >>> gg.movedim(gg.ones((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    return gorgo.moveaxis(x, source, destination)


def atleast_1d(x: Tensor) -> Tensor:
    """Return the tensor with at least one axis, as a view.

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        (...) any: a view (1,) of a tensor of rank 0, else x itself.

    Example:
        >>> import gorgo as gg
        >>> gg.atleast_1d(gg.asarray(5)).tolist()
        [5]
    """
    return gorgo.reshape(x, (1,)) if len(x.shape) == 0 else x


def atleast_2d(x: Tensor) -> Tensor:
    """Return the tensor with at least two axes, new ones in front, as a view.

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        (..., m, n) any: a view, or x itself where it has the axes.

    Example:
        >>> import gorgo as gg
        >>> gg.atleast_2d(gg.asarray([1, 2])).tolist()
        [[1, 2]]
    """
    return gorgo.reshape(x, (1,) * (2 - len(x.shape)) + tuple(x.shape)) if len(x.shape) < 2 else x


def atleast_3d(x: Tensor) -> Tensor:
    """Return the tensor with at least three axes, as a view: (n,) becomes (1, n, 1) and (m, n) becomes (m, n, 1).

    Args:
        x (Tensor): the tensor (...) any.

    Returns:
        (..., l, m, n) any: a view, or x itself where it has the axes.

    Example:
        >>> import gorgo as gg
        >>> gg.atleast_3d(gg.asarray([1, 2])).shape
        (1, 2, 1)
    """
    return x if len(x.shape) > 2 else gorgo.expand_dims(atleast_2d(x), axis=2)


def rot90(x: Tensor, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """Turn a plane by quarters, from the first of two axes towards the second, as a view.

    Args:
        x (Tensor): the tensor (...) any.
        k (int): how many quarters; negative ones turn back.
        axes (pair of int): the plane.

    Returns:
        (...) any: a view.

    Raises:
        ValueError: the axes are not two different ones of x.

    Example:
        >>> import gorgo as gg
        >>> gg.rot90(gg.asarray([[1, 2], [3, 4]])).tolist()
        [[2, 4], [1, 3]]
    """
    rank = len(x.shape)
    if len(axes) != 2:
        raise ValueError(f"rot90: axes must be a pair, got {tuple(axes)}")
    first, second = (as_axis("rot90", axis, rank, "axes") for axis in axes)
    if first == second:
        raise ValueError(f"rot90: axes must differ, got {tuple(axes)}")
    k %= 4
    if k == 0:
        return x
    if k == 2:
        return gorgo.flip(x, axis=(first, second))
    if k == 1:
        return gorgo.swapaxes(gorgo.flip(x, axis=second), first, second)
    return gorgo.flip(gorgo.swapaxes(x, first, second), axis=second)


def flipud(x: Tensor) -> Tensor:
    """Reverse the first axis, as a view.

    Args:
        x (Tensor): the tensor (n, ...) any.

    Returns:
        (n, ...) any: a view.

    Raises:
        ValueError: x has no axis.

    Example:
        >>> import gorgo as gg
        >>> gg.flipud(gg.asarray([[1], [2]])).tolist()
        [[2], [1]]
    """
    return gorgo.flip(x, axis=0)


def fliplr(x: Tensor) -> Tensor:
    """Reverse the second axis, as a view.

    Args:
        x (Tensor): the tensor (m, n, ...) any.

    Returns:
        (m, n, ...) any: a view.

    Raises:
        ValueError: x has less than two axes.

    Example:
        >>> import gorgo as gg
        >>> gg.fliplr(gg.asarray([[1, 2]])).tolist()
        [[2, 1]]
    """
    return gorgo.flip(x, axis=1)


# ---- joining and repeating ----


def hstack(arrays: Sequence[Tensor]) -> Tensor:
    """Lay tensors side by side: along the second axis, or the only one of rank 1.

    Args:
        arrays (list of Tensor): the tensors (m, n_i, ...) or (n_i,) any; dtypes are promoted.

    Returns:
        (m, sum n_i, ...) or (sum n_i,) any: a new tensor.

    Raises:
        ValueError: there are no tensors, or shapes disagree but for that axis.

    Example:
        >>> import gorgo as gg
        >>> gg.hstack([gg.asarray([[1], [2]]), gg.asarray([[3], [4]])]).tolist()
        [[1, 3], [2, 4]]
    """
    parts = [atleast_1d(x) for x in arrays]
    return gorgo.concat(parts, axis=1 if parts and len(parts[0].shape) > 1 else 0)


def vstack(arrays: Sequence[Tensor]) -> Tensor:
    """Lay tensors under each other: along the first axis, where those of rank 1 are rows.

    Args:
        arrays (list of Tensor): the tensors (m_i, n, ...) or (n,) any; dtypes are promoted.

    Returns:
        (sum m_i, n, ...) any: a new tensor.

    Raises:
        ValueError: there are no tensors, or shapes disagree but for that axis.

    Example:
        >>> import gorgo as gg
        >>> gg.vstack([gg.asarray([1, 2]), gg.asarray([3, 4])]).tolist()
        [[1, 2], [3, 4]]
    """
    return gorgo.concat([atleast_2d(x) for x in arrays], axis=0)


def dstack(arrays: Sequence[Tensor]) -> Tensor:
    """Lay tensors behind each other: along the third axis; see atleast_3d.

    Args:
        arrays (list of Tensor): the tensors (l, m, n_i, ...), (m, n) or (n,) any; dtypes are promoted.

    Returns:
        (l, m, sum n_i, ...) any: a new tensor.

    Raises:
        ValueError: there are no tensors, or shapes disagree but for that axis.

    Example:
        >>> import gorgo as gg
        >>> gg.dstack([gg.asarray([1, 2]), gg.asarray([3, 4])]).tolist()
        [[[1, 3], [2, 4]]]
    """
    return gorgo.concat([atleast_3d(x) for x in arrays], axis=2)


def column_stack(arrays: Sequence[Tensor]) -> Tensor:
    """Lay tensors side by side, where those of rank 1 are columns.

    Args:
        arrays (list of Tensor): the tensors (m, n_i, ...) or (m,) any; dtypes are promoted.

    Returns:
        (m, sum n_i, ...) any: a new tensor.

    Raises:
        ValueError: there are no tensors, or shapes disagree but for that axis.

    Example:
        >>> import gorgo as gg
        >>> gg.column_stack([gg.asarray([1, 2]), gg.asarray([3, 4])]).tolist()
        [[1, 3], [2, 4]]
    """
    return gorgo.concat([x if len(x.shape) > 1 else gorgo.reshape(x, (-1, 1)) for x in arrays], axis=1)


def repeat_interleave(x: Tensor, repeats: int | Tensor, axis: int | None = None) -> Tensor:
    """Repeat each entry along an axis, by one number or by a number of its own.

    Args:
        x (Tensor): the tensor (..., n, ...) any.
        repeats (int or Tensor): how often, or a tensor (n,) integer with a number for each entry.
        axis (int): the axis of length n; None repeats in the flattened tensor.

    Returns:
        (...) any: a new tensor.

    Raises:
        ValueError: a number is negative, there are not as many as entries, or the axis is out of range.
        TypeError: repeats are not integers.

    Example:
        >>> import gorgo as gg
        >>> gg.repeat_interleave(gg.asarray([5, 6, 7]), gg.asarray([2, 0, 1])).tolist()
        [5, 5, 7]
    """
    if not isinstance(repeats, Tensor):
        return gorgo.repeat(x, repeats, axis=axis)
    if axis is None:
        x, axis = gorgo.reshape(x, (-1,)), 0
    axis = as_axis("repeat_interleave", axis, x.shape)
    n = x.shape[axis]
    if not gorgo.isdtype(repeats.dtype, "integral"):
        raise TypeError(f"repeat_interleave: repeats must be integers, got {repeats.dtype.name}")
    if tuple(repeats.shape) not in ((), (1,), (n,)):
        raise ValueError(f"repeat_interleave: repeats must have shape ({n},), got {tuple(repeats.shape)}")
    counts = gorgo.broadcast_to(repeats.astype(gorgo.int64), (n,))
    if n and int(gorgo.min(counts).item()) < 0:
        raise ValueError(f"repeat_interleave: repeats must not be negative, got {int(gorgo.min(counts).item())}")
    ends = gorgo.cumulative_sum(counts)
    places = gorgo.arange(int(ends[-1].item()) if n else 0, device=ends.device)
    return gorgo.take(x, gorgo.bucketize(places, ends, right=True).to(device=x.device), axis=axis)


def block_diag(*arrays: Tensor) -> Tensor:
    """Lay matrices along a diagonal, with zeros around them.

    Args:
        *arrays (Tensor): matrices (m_i, n_i); vectors are rows and numbers are of shape (1, 1). Dtypes are promoted.

    Returns:
        (sum m_i, sum n_i) any: a new tensor.

    Raises:
        ValueError: there is none, or one has more than two axes.

    Example:
        >>> import gorgo as gg
        >>> gg.block_diag(gg.asarray([[1, 2]]), gg.asarray([[3], [4]])).tolist()
        [[1, 2, 0], [0, 0, 3], [0, 0, 4]]
    """
    if not arrays:
        raise ValueError("block_diag: arrays must hold at least one tensor, got none")
    for x in arrays:
        if len(x.shape) > 2:
            raise ValueError(f"block_diag: arrays must have at most two axes, got shape {tuple(x.shape)}")
    blocks = [atleast_2d(x) for x in arrays]
    width = sum(x.shape[1] for x in blocks)
    rows, before = [], 0
    for x in blocks:
        rows.append(gorgo.pad(x, ((0, 0), (before, width - before - x.shape[1]))))
        before += x.shape[1]
    return gorgo.concat(rows, axis=0)


def cartesian_prod(*vectors: Tensor) -> Tensor:
    """List all choices of one element from each vector.

    Args:
        *vectors (Tensor): vectors (n_i,), all of one dtype.

    Returns:
        (n_1 n_2 ..., k) any: a row for each choice, the last vector's turning fastest; of one vector, itself.

    Raises:
        ValueError: there is none, or one has not one axis.
        TypeError: the dtypes differ.

    Example:
        >>> import gorgo as gg
        >>> gg.cartesian_prod(gg.asarray([1, 2]), gg.asarray([3, 4])).tolist()
        [[1, 3], [1, 4], [2, 3], [2, 4]]
    """
    if not vectors:
        raise ValueError("cartesian_prod: vectors must be given, got none")
    for v in vectors:
        if len(v.shape) != 1:
            raise ValueError(f"cartesian_prod: vectors must have one axis, got shape {tuple(v.shape)}")
    if len(vectors) == 1:
        return vectors[0]
    grids = gorgo.meshgrid(*vectors, indexing="ij")
    return gorgo.reshape(gorgo.stack(grids, axis=-1), (-1, len(vectors)))


# ---- diagonals ----


def diag(x: Tensor, k: int = 0) -> Tensor:
    """Take the diagonal of a matrix, or make a matrix with a diagonal.

    Args:
        x (Tensor): a matrix (m, n) any, or a vector (n,).
        k (int): which diagonal: 0 is the main one, positive ones lie above it, negative ones below.

    Returns:
        (d,) any: a view of the diagonal; or a new matrix (n + |k|, n + |k|), zero elsewhere.

    Raises:
        ValueError: x has neither one nor two axes.

    Example:
        >>> import gorgo as gg
        >>> gg.diag(gg.asarray([1, 2])).tolist()
        [[1, 0], [0, 2]]
    """
    if len(x.shape) == 2:
        return gorgo.diagonal(x, k)
    if len(x.shape) != 1:
        raise ValueError(f"diag: x must have one or two axes, got shape {tuple(x.shape)}")
    return diag_embed(x, k)


def diag_embed(x: Tensor, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """Make matrices whose diagonals are the lines of the last axis.

    Args:
        x (Tensor): the diagonals (..., n) any.
        offset (int): which diagonal they become: positive ones lie above the main one.
        axis1 (int): the axis of the rows in the result.
        axis2 (int): the axis of the columns.

    Returns:
        (..., n + |offset|, n + |offset|) any: a new tensor, zero elsewhere.

    Raises:
        ValueError: x has rank 0, or the axes are out of range or equal.

    Example:
        >>> import gorgo as gg
        >>> gg.diag_embed(gg.asarray([[1], [2]]), 1).tolist()
        [[[0, 1], [0, 0]], [[0, 2], [0, 0]]]
    """
    rank = len(x.shape) + 1
    if rank < 2:
        raise ValueError("diag_embed: x must have an axis, got shape ()")
    rows, columns = as_axis("diag_embed", axis1, rank, "axis1"), as_axis("diag_embed", axis2, rank, "axis2")
    if rows == columns:
        raise ValueError(f"diag_embed: axis1 and axis2 must differ, got {axis1} and {axis2}")
    n = x.shape[-1] + abs(offset)
    out = gorgo.zeros((*x.shape[:-1], n, n), dtype=x.dtype, device=x.device)
    gorgo.diagonal(out, offset)[...] = x
    return gorgo.moveaxis(out, (-2, -1), (rows, columns))


def trace(x: Tensor, *, offset: int = 0, dtype: dtype | None = None) -> Tensor:
    """Add up the diagonals of matrices.

    Args:
        x (Tensor): the matrices (..., m, n) numeric.
        offset (int): which diagonal: positive ones lie above the main one.
        dtype (dtype): the dtype of the result; see sum.

    Returns:
        (...) any: the sums.

    Raises:
        ValueError: x has rank below 2.

    Example:
        >>> import gorgo as gg
        >>> gg.trace(gg.asarray([[1, 2], [3, 4]])).item()
        5
    """
    return gorgo.sum(gorgo.diagonal(x, offset), axis=-1, dtype=dtype)


def tril_indices(row: int, col: int | None = None, offset: int = 0, *, device: str | None = None) -> Tensor:
    """List the positions on and below a diagonal of a matrix.

    Args:
        row (int): how many rows it has.
        col (int): how many columns; None for as many.
        offset (int): which diagonal: positive ones lie above the main one.
        device (str): where the positions are made; the cpu when None.

    Returns:
        (2, n) int64: rows and columns, in row-major order.

    Example:
        >>> import gorgo as gg
        >>> gg.tril_indices(2).tolist()
        [[0, 1, 1], [0, 0, 1]]
    """
    mask = gorgo.tril(gorgo.ones((row, row if col is None else col), dtype=gorgo.bool, device=device), offset)
    return gorgo.stack(gorgo.nonzero(mask))


def triu_indices(row: int, col: int | None = None, offset: int = 0, *, device: str | None = None) -> Tensor:
    """List the positions on and above a diagonal of a matrix; see tril_indices.

    Args:
        row (int): how many rows it has.
        col (int): how many columns; None for as many.
        offset (int): which diagonal: positive ones lie above the main one.
        device (str): where the positions are made; the cpu when None.

    Returns:
        (2, n) int64: rows and columns, in row-major order.

    Example:
        >>> import gorgo as gg
        >>> gg.triu_indices(2).tolist()
        [[0, 0, 1], [0, 1, 1]]
    """
    mask = gorgo.triu(gorgo.ones((row, row if col is None else col), dtype=gorgo.bool, device=device), offset)
    return gorgo.stack(gorgo.nonzero(mask))


# ---- products ----


def outer(x1: Tensor, x2: Tensor) -> Tensor:
    """Multiply each element of one vector with each of another.

    Args:
        x1 (Tensor): one (m,), numeric; other shapes are flattened.
        x2 (Tensor): the other (n,).

    Returns:
        (m, n) any: the products.

    Example:
        >>> import gorgo as gg
        >>> gg.outer(gg.asarray([1, 2]), gg.asarray([3, 4])).tolist()
        [[3, 4], [6, 8]]
    """
    return gorgo.reshape(x1, (-1, 1)) * gorgo.reshape(x2, (1, -1))


def inner(x1: Tensor, x2: Tensor) -> Tensor:
    """Sum products over the last axes of two tensors.

    Args:
        x1 (Tensor): one (..., n), numeric.
        x2 (Tensor): the other (..., n); a number multiplies.

    Returns:
        (...) any: the axes of x1 but for the last, then those of x2.

    Raises:
        ValueError: the lengths differ.

    Example:
        >>> import gorgo as gg
        >>> gg.inner(gg.asarray([1, 2]), gg.asarray([3, 4])).item()
        11
    """
    if len(x1.shape) == 0 or len(x2.shape) == 0:
        return x1 * x2
    return gorgo.tensordot(x1, x2, axes=((-1,), (-1,)))


def kron(x1: Tensor, x2: Tensor) -> Tensor:
    """Replace each element of one tensor by its product with another.

    Args:
        x1 (Tensor): one (...), numeric.
        x2 (Tensor): the other (...); the one of lower rank gets axes of length 1 in front.

    Returns:
        (...) any: along each axis as long as the product of the lengths.

    Example:
        >>> import gorgo as gg
        >>> gg.kron(gg.asarray([1, 2]), gg.asarray([1, 10])).tolist()
        [1, 10, 2, 20]
    """
    rank = max(len(x1.shape), len(x2.shape))
    shape1 = (1,) * (rank - len(x1.shape)) + tuple(x1.shape)
    shape2 = (1,) * (rank - len(x2.shape)) + tuple(x2.shape)
    left = gorgo.reshape(x1, [n for pair in zip(shape1, (1,) * rank, strict=True) for n in pair])
    right = gorgo.reshape(x2, [n for pair in zip((1,) * rank, shape2, strict=True) for n in pair])
    return gorgo.reshape(left * right, tuple(m * n for m, n in zip(shape1, shape2, strict=True)))


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Take the cross product of vectors with three elements.

    Args:
        x1 (Tensor): one (..., 3, ...), numeric.
        x2 (Tensor): the other (..., 3, ...); the other axes are broadcast.
        axis (int): the axis of length 3, in the broadcast shape.

    Returns:
        (..., 3, ...) any: the products.

    Raises:
        ValueError: the axis is not of length 3 in both.

    Example:
        >>> import gorgo as gg
        >>> gg.cross(gg.asarray([1, 0, 0]), gg.asarray([0, 1, 0])).tolist()
        [0, 0, 1]
    """
    rank = max(len(x1.shape), len(x2.shape))
    axis = as_axis("cross", axis, rank)
    for x in (x1, x2):
        own = axis - (rank - len(x.shape))
        if own < 0 or x.shape[own] != 3:
            raise ValueError(f"cross: axis {axis} must be of length 3 in both, got {x1.shape} and {x2.shape}")
    one, two = gorgo.broadcast_arrays(x1, x2)
    return gorgo.roll(one, -1, axis=axis) * gorgo.roll(two, -2, axis=axis) - gorgo.roll(
        one, -2, axis=axis
    ) * gorgo.roll(two, -1, axis=axis)


def vander(x: Tensor, n: int | None = None, increasing: bool = False) -> Tensor:
    """Make the matrix of the powers of each element.

    Args:
        x (Tensor): the elements (m,), numeric.
        n (int): how many columns; None for m.
        increasing (bool): whether the powers rise from left to right, beginning with 0.

    Returns:
        (m, n) any: in x's dtype.

    Raises:
        ValueError: x has not one axis, or n is negative.

    Example:
        >>> import gorgo as gg
        >>> gg.vander(gg.asarray([2, 3]), 3).tolist()
        [[4, 2, 1], [9, 3, 1]]
    """
    if len(x.shape) != 1:
        raise ValueError(f"vander: x must have one axis, got shape {tuple(x.shape)}")
    count = x.size if n is None else n
    if count < 0:
        raise ValueError(f"vander: n must not be negative, got {n}")
    columns = gorgo.broadcast_to(gorgo.reshape(x, (-1, 1)), (x.size, max(count - 1, 0)))
    powers = gorgo.cumulative_prod(columns, axis=1, include_initial=True, dtype=x.dtype)[:, :count]
    return powers if increasing else gorgo.flip(powers, axis=1)

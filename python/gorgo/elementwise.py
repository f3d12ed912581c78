"""Elementwise functions that are compositions of ops: found as ``gorgo.isclose`` and so on, imported when first used.

Invariant: nothing here looks at elements, except for those functions that return a Python bool.
Read next: gorgo/__init__.py (the table of lazy names).
"""

from __future__ import annotations

import gorgo
from gorgo import Tensor
from gorgo.arguments import device_of

__all__ = [
    "addcdiv",
    "addcmul",
    "allclose",
    "array_equal",
    "deg2rad",
    "float_power",
    "frac",
    "isclose",
    "lerp",
    "nan_to_num",
    "rad2deg",
]


def frac(x: Tensor, /) -> Tensor:
    """Return what is behind the point, with the sign of x.

    Args:
        x (Tensor): the tensor (...), real.

    Returns:
        (...) as x: x - trunc(x).

    Raises:
        TypeError: x is complex or bool.

    Example:
        >>> import gorgo as gg
        >>> gg.frac(gg.asarray([1.5, -2.25])).tolist()
        [0.5, -0.25]
    """
    return x - gorgo.trunc(x)


def deg2rad(x: Tensor, /) -> Tensor:
    """Turn degrees into radians.

    Args:
        x (Tensor): the tensor (...), real.

    Returns:
        (...) float: x pi / 180.

    Raises:
        TypeError: x is bool.

    Example:
        >>> import gorgo as gg
        >>> round(gg.deg2rad(gg.asarray(180.0)).item(), 4)
        3.1416
    """
    return x * (gorgo.pi / 180.0)


def rad2deg(x: Tensor, /) -> Tensor:
    """Turn radians into degrees.

    Args:
        x (Tensor): the tensor (...), real.

    Returns:
        (...) float: 180 x / pi.

    Raises:
        TypeError: x is bool.

    Example:
        >>> import gorgo as gg
        >>> round(gg.rad2deg(gg.asarray(gg.pi)).item(), 3)
        180.0
    """
    return x * (180.0 / gorgo.pi)


def float_power(x1: Tensor | complex, x2: Tensor | complex, /) -> Tensor:
    """Raise the first to the power of the second in float64, or in complex128 where one is complex.

    Args:
        x1 (Tensor or number): the base (...), numeric.
        x2 (Tensor or number): the exponent (...), numeric; both are broadcast.

    Returns:
        (...) float64 or complex128: the powers.

    Raises:
        ValueError: the shapes cannot be broadcast.

    Example:
        >>> import gorgo as gg
        >>> gg.float_power(gg.asarray([2, 3]), -1).tolist()
        [0.5, 0.3333333333333333]
    """
    is_complex = gorgo.result_type(x1, x2).is_complex
    dtype = gorgo.complex128 if is_complex else gorgo.float64

    def wide(x: Tensor | complex) -> Tensor:
        if isinstance(x, Tensor):
            return gorgo.astype(x, dtype, copy=False)
        return gorgo.asarray(x, dtype=dtype, device=device_of(x1, x2))

    return gorgo.pow(wide(x1), wide(x2))


def lerp(start: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """Go from start to end by a part of the way.

    Args:
        start (Tensor): where the weight is 0 (...), numeric.
        end (Tensor): where the weight is 1 (...), numeric.
        weight (Tensor or float): the part (...), real; all are broadcast.

    Returns:
        (...) numeric: start + weight (end - start), from whichever end is nearer, so that both ends come out exactly.

    Raises:
        ValueError: the shapes cannot be broadcast.

    Example:
        >>> import gorgo as gg
        >>> gg.lerp(gg.asarray([0.0, 10.0]), gg.asarray([1.0, 20.0]), 0.25).tolist()
        [0.25, 12.5]
    """
    way = end - start
    if not isinstance(weight, Tensor):
        return start + weight * way if abs(weight) < 0.5 else end - (1 - weight) * way
    return gorgo.where(gorgo.abs(weight) < 0.5, start + weight * way, end - (1 - weight) * way)


def addcmul(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Add a multiple of a product.

    Args:
        x (Tensor): what is added to (...), numeric.
        tensor1 (Tensor): one factor (...), numeric.
        tensor2 (Tensor): the other (...), numeric; all are broadcast.
        value (float): how often the product counts.

    Returns:
        (...) numeric: x + value tensor1 tensor2.

    Raises:
        ValueError: the shapes cannot be broadcast.

    Example:
        >>> import gorgo as gg
        >>> gg.addcmul(gg.asarray(1.0), gg.asarray(2.0), gg.asarray(3.0), value=0.5).item()
        4.0
    """
    product = tensor1 * tensor2
    return x + (product if value == 1 else value * product)


def addcdiv(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Add a multiple of a quotient.

    Args:
        x (Tensor): what is added to (...), float.
        tensor1 (Tensor): the dividend (...), float.
        tensor2 (Tensor): the divisor (...), float; all are broadcast.
        value (float): how often the quotient counts.

    Returns:
        (...) float: x + value tensor1 / tensor2.

    Raises:
        ValueError: the shapes cannot be broadcast.

    Example:
        >>> import gorgo as gg
        >>> gg.addcdiv(gg.asarray(1.0), gg.asarray(3.0), gg.asarray(2.0), value=2).item()
        4.0
    """
    quotient = tensor1 / tensor2
    return x + (quotient if value == 1 else value * quotient)


def nan_to_num(x: Tensor, /, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Put numbers in the place of NaN and infinities.

    Args:
        x (Tensor): the tensor (...); of a complex one each part is looked at by itself.
        nan (float): what stands for NaN.
        posinf (float): what stands for infinity; None means the dtype's largest number.
        neginf (float): what stands for minus infinity; None means the dtype's lowest number.

    Returns:
        (...) as x: a new tensor; gradients pass where nothing was replaced.

    Example:
        >>> import gorgo as gg
        >>> gg.nan_to_num(gg.asarray([1.0, gg.nan, -gg.inf]), neginf=-9.0).tolist()
        [1.0, 0.0, -9.0]
    """
    if x.dtype.is_complex:
        real, imag = (nan_to_num(part, nan, posinf, neginf) for part in (gorgo.real(x), gorgo.imag(x)))
        return real + imag * 1j
    if not x.dtype.is_floating_point:
        return gorgo.positive(x)
    limits = gorgo.finfo(x.dtype)
    out = gorgo.where(gorgo.isnan(x), nan, x)
    out = gorgo.where(x == gorgo.inf, limits.max if posinf is None else posinf, out)
    return gorgo.where(x == -gorgo.inf, limits.min if neginf is None else neginf, out)


def isclose(
    x1: Tensor | complex, x2: Tensor | complex, /, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Tell which elements differ by at most atol + rtol abs(x2).

    Args:
        x1 (Tensor or number): one (...), of any dtype.
        x2 (Tensor or number): the other (...), of any dtype; both are broadcast.
        rtol (float): the part of x2's magnitude that they may differ by.
        atol (float): what they may differ by in addition.
        equal_nan (bool): whether NaN is close to NaN.

    Returns:
        (...) bool: what is equal, infinities too, is close.

    Raises:
        ValueError: the shapes cannot be broadcast, or a tolerance is negative.

    Example:
        >>> import gorgo as gg
        >>> gg.isclose(gg.asarray([1.0, 2.0]), gg.asarray([1.000001, 2.1])).tolist()
        [True, False]
    """
    if rtol < 0 or atol < 0:
        raise ValueError(f"isclose: rtol and atol must not be negative, got {rtol} and {atol}")
    with gorgo.no_grad():
        x1, x2 = _wide(x1, x2), _wide(x2, x1)
        same = x1 == x2
        close = same | ((abs(x1 - x2) <= atol + rtol * abs(x2)) & gorgo.isfinite(x2))
        if equal_nan:
            close = close | ((x1 != x1) & (x2 != x2))
        return close


def _wide(x: Tensor | complex, other: Tensor | complex) -> Tensor:
    # Numbers and integers in float64: the latter's differences would wrap.
    if not isinstance(x, Tensor):
        wide = gorgo.complex128 if type(x) is complex else gorgo.float64
        return gorgo.asarray(x, dtype=wide, device=device_of(other))
    return x if x.dtype.is_floating_point or x.dtype.is_complex else gorgo.astype(x, gorgo.float64)


def allclose(
    x1: Tensor | complex, x2: Tensor | complex, /, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Tell whether all elements are close, as `isclose` has it.

    Args:
        x1 (Tensor or number): one (...), of any dtype.
        x2 (Tensor or number): the other (...), of any dtype; both are broadcast.
        rtol (float): the part of x2's magnitude that they may differ by.
        atol (float): what they may differ by in addition.
        equal_nan (bool): whether NaN is close to NaN.

    Returns:
        bool: whether they are.

    Raises:
        ValueError: the shapes cannot be broadcast, or a tolerance is negative.
        RuntimeError: inside a captured function, which has no values yet.

    Example:
        >>> import gorgo as gg
        >>> gg.allclose(gg.asarray([1.0, 2.0]), gg.asarray([1.0, 2.1]))
        False
    """
    return bool(gorgo.all(isclose(x1, x2, rtol, atol, equal_nan)))


def array_equal(x1: Tensor, x2: Tensor, /, equal_nan: bool = False) -> bool:
    """Tell whether two tensors have one shape and equal elements.

    Args:
        x1 (Tensor): one (...), of any dtype.
        x2 (Tensor): the other (...), of any dtype.
        equal_nan (bool): whether NaN equals NaN.

    Returns:
        bool: whether they are equal; False where the shapes differ.

    Raises:
        RuntimeError: inside a captured function, which has no values yet.

    Example:
        >>> import gorgo as gg
        >>> gg.array_equal(gg.asarray([1, 2]), gg.asarray([1.0, 2.0]))
        True
    """
    if x1.shape != x2.shape:
        return False
    same = x1 == x2
    if equal_nan:
        same = same | ((x1 != x1) & (x2 != x2))
    return bool(gorgo.all(same))

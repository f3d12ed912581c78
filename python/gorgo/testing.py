"""What tests of programs that use Gorgo need: closeness with figures, gradients by differences, allocation watches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import device_of

__all__ = ["assert_close", "assert_no_alloc", "gradcheck"]


@contextlib.contextmanager
def assert_no_alloc(allowed: int = 0, *, device: str = "cpu") -> Iterator[None]:
    """Fail when the body allocates tensor memory.

    Args:
        allowed: how many allocations are forgiven.
        device: whose pool is watched.

    Returns:
        A context manager.

    Raises:
        AssertionError: when the pool served more allocations than `allowed`.

    Example:
        >>> import gorgo as gg
        >>> with gg.testing.assert_no_alloc():
        ...     pass
    """
    before = gg.memory.stats(device=device)["allocations"]
    yield
    made = gg.memory.stats(device=device)["allocations"] - before
    if made > allowed:
        raise AssertionError(f"assert_no_alloc: allocations must be at most {allowed}, got {made}")


def assert_close(actual: Any, expected: Any, *, rtol: float = 1e-5, atol: float = 1e-8) -> None:
    """Fail unless two arrays agree elementwise, NaN agreeing with NaN.

    Args:
        actual: tensor or array.
        expected: tensor or array of the same shape.
        rtol: relative tolerance, of `expected`.
        atol: absolute tolerance.

    Raises:
        AssertionError: with the number of differing elements and the largest differences.

    Example:
        >>> import gorgo as gg
        >>> gg.testing.assert_close(gg.ones((2,)) / 3, [1 / 3, 1 / 3], rtol=1e-6)
    """
    import numpy as np

    def as_numpy(x: Any) -> Any:
        return np.asarray(x.detach().to("cpu") if isinstance(x, gg.Tensor) else x)

    np.testing.assert_allclose(as_numpy(actual), as_numpy(expected), rtol=rtol, atol=atol)


def gradcheck(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    step: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    second: bool = False,
) -> None:
    """Compare gradients with central differences, along random directions.

    Args:
        function: takes the tensors, returns a floating tensor of any shape.
        inputs: float64 tensors; each is differentiated.
        step: half the distance of the two points of a difference.
        rtol: relative tolerance.
        atol: absolute tolerance.
        second: check the gradient's own gradient too.

    Raises:
        AssertionError: when they disagree.
        TypeError: when an input is not float64.

    Example:
        >>> import gorgo as gg
        >>> gg.testing.gradcheck(lambda x: gg.exp(x), [gg.zeros((3,), dtype=gg.float64)], second=True)
    """
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = []
    for i, x in enumerate(inputs):
        if x.dtype != gg.float64:
            raise TypeError(f"gradcheck: inputs must be float64, got {x.dtype} at position {i}")
        arrays.append(np.array(x.detach().to("cpu").numpy()))
    device = device_of(*inputs)
    weights: Any = None

    def leaves(values: Sequence[Any]) -> list[Any]:
        return [gg.asarray(v.copy(), device=device).requires_grad_() for v in values]

    def value(xs: Sequence[Any]) -> Any:
        nonlocal weights
        out = function(*xs)
        if weights is None:
            weights = rng.standard_normal(tuple(out.shape))
        return (out * gg.asarray(weights, device=device)).sum()

    def check(of: Callable[[Sequence[Any]], Any], what: str) -> None:
        xs = leaves(arrays)
        grads = gg.grad(of(xs), xs, allow_unused=True)
        directions = [rng.standard_normal(a.shape) for a in arrays]
        ours = 0.0
        for g, d in zip(grads, directions, strict=True):
            if g is not None:
                ours += float((np.asarray(g.detach().to("cpu")) * d).sum())
        above = of(leaves([a + step * d for a, d in zip(arrays, directions, strict=True)])).item()
        below = of(leaves([a - step * d for a, d in zip(arrays, directions, strict=True)])).item()
        theirs = (above - below) / (2 * step)
        if not abs(ours - theirs) <= atol + rtol * max(abs(ours), abs(theirs)):
            raise AssertionError(f"gradcheck: {what} must agree with differences, got {ours} against {theirs}")

    check(value, "gradient")
    if not second:
        return
    projections = [gg.asarray(rng.standard_normal(a.shape), device=device) for a in arrays]

    def projected(xs: Sequence[Any]) -> Any:
        grads = gg.grad(value(xs), list(xs), create_graph=True, allow_unused=True)
        total: Any = gg.zeros((), dtype=gg.float64, device=device)
        for g, p in zip(grads, projections, strict=True):
            if g is not None:
                total = total + (g * p).sum()
        return total

    if projected(leaves(arrays)).requires_grad:
        check(projected, "second gradient")

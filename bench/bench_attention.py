"""Scaled dot-product attention in float32, and its gradients.

The oracle makes the score matrix in float64. Read first: harness.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Prepared, relative_error, ring_of, toy
from bench.libraries import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable


def exact(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, gradients: bool) -> np.ndarray:
    """Return the result, or the gradients of its sum by q, k and v beneath each other."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    scale = 1 / math.sqrt(q.shape[-1])
    scores = scale * q @ k.swapaxes(-2, -1)
    if causal:
        scores = np.where(np.tri(scores.shape[-2], scores.shape[-1], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    if not gradients:
        return np.asarray(weights @ v)
    by_weights = np.broadcast_to(v.sum(-1)[..., None, :], weights.shape)
    by_scores = scale * weights * (by_weights - (weights * by_weights).sum(-1, keepdims=True))
    by_v = np.broadcast_to(weights.sum(-2)[..., None], v.shape)
    return np.concatenate([by_scores @ k, by_scores.swapaxes(-2, -1) @ q, by_v], axis=-2)


def call(library: str, loaded: Any, causal: bool, gradients: bool) -> Any:
    """Return what computes the result, or the gradients, from the operands."""
    if library == "jax":

        def attend(q: Any, k: Any, v: Any) -> Any:
            # JAX has the heads behind the positions.
            q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
            return loaded.nn.dot_product_attention(q, k, v, is_causal=causal).swapaxes(1, 2)

        if not gradients:
            return loaded.jit(attend)
        grad = loaded.grad(lambda q, k, v: attend(q, k, v).sum(), (0, 1, 2))
        return loaded.jit(lambda q, k, v: loaded.numpy.concatenate(grad(q, k, v), axis=-2))
    functional = loaded.nn.functional

    def plain(q: Any, k: Any, v: Any) -> Any:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def differentiated(q: Any, k: Any, v: Any) -> Any:
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        plain(*leaves).sum().backward()
        slopes = [x.grad for x in leaves]
        return loaded.cat(slopes, dim=-2) if library == "torch" else loaded.concat(slopes, axis=-2)

    return differentiated if gradients else plain


def attention_case(shape: tuple[int, int, int, int], causal: bool = False, gradients: bool = False) -> Case:
    """Build one row over q, k and v of a shape (batch, heads, length, width)."""
    batch, heads, length, width = shape

    def maker(library_name: str) -> Callable[[Any], Prepared]:
        def make(loaded: Any) -> Prepared:
            library = LIBRARIES[library_name]

            def operands(rng: np.random.Generator) -> tuple[Any, ...]:
                return tuple(rng.standard_normal(shape).astype(np.float32) for _ in range(3))

            raw = ring_of(operands, bytes_each=16 * math.prod(shape))
            ring = [tuple(library.asarray(loaded, array) for array in arrays) for arrays in raw]
            scope = {"attend": call(library_name, loaded, causal, gradients)}

            def verify(result: Any) -> float:
                q, k, v = raw[-1]
                return relative_error(library.to_numpy(result), exact(q, k, v, causal, gradients))

            return Prepared("attend(q, k, v)", ("q", "k", "v"), ring, scope, verify)

        return make

    flop = 4.0 * batch * heads * length * length * width * (3.5 if gradients else 1.0) / (2 if causal else 1)
    name = "attention" + (", causal" if causal else "") + (" and gradients" if gradients else "")
    return Case(
        f"{name}, {'x'.join(map(str, shape))}",
        {library: maker(library) for library in ("torch", "jax", "gorgo")},
        tolerance=1e-5,
        flop=flop,
        read=12.0 * math.prod(shape),
        written=(12.0 if gradients else 4.0) * math.prod(shape),
    )


SHAPES = [(2, 2, 16, 8)] if toy() else [(4, 4, 256, 64), (8, 2, 64, 32), (1, 4, 1024, 64)]
CASES = [
    attention_case(shape, causal, gradients)
    for shape in SHAPES
    for causal, gradients in ((False, False), (True, False), (False, True))
]

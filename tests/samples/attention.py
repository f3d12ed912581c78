"""Attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

import gorgo as gg
from samples.rows import EPS, REGISTRY, SPACINGS, Array, Make, Sample, add, call, mask, round_to_bfloat16, widen


def attention(
    q: Array, k: Array, v: Array, mask: Array | None = None, is_causal: bool = False, scale: float | None = None
) -> Any:
    if q.ndim > 2 and k.shape[-3] != q.shape[-3]:
        k, v = (np.repeat(x, q.shape[-3] // k.shape[-3], axis=-3) for x in (k, v))
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    logs = (
        scipy.special.logsumexp(scores, axis=-1, keepdims=True) if scores.shape[-1] else scores.sum(-1, keepdims=True)
    )
    weights = np.where(np.isneginf(logs), 0.0, np.exp(scores - np.where(np.isneginf(logs), 0.0, logs)))
    return weights @ v, logs[..., 0]


def attention_backward(
    q: Array, k: Array, v: Array, mask: Array | None, out: Array, logs: Array, g: Array, g_logs: Array, **attrs: Any
) -> Any:
    """By differences of the op's oracle; `out` and `logs` are what it gives."""

    def at(*moved: Array) -> float:
        o, s = attention(*moved, mask, **attrs)
        return float(np.sum(g * o) + np.sum(g_logs * s))

    grads = []
    for i, x in enumerate((q, k, v)):
        grad = np.zeros_like(x)
        for j in range(x.size):

            def along(step: float, i: int = i, j: int = j) -> float:
                moved = [q.copy(), k.copy(), v.copy()]
                moved[i].reshape(-1)[j] += step * 1e-4
                return at(*moved)

            grad.reshape(-1)[j] = (8 * (along(1) - along(-1)) - (along(2) - along(-2))) / 12e-4
        grads.append(grad)
    return tuple(grads)


def heads(make: Make, *lead: int, l: int, s: int, e: int, ev: int, key_heads: int = 0) -> list[Array]:  # noqa: E741
    of_keys = (*lead[:-1], key_heads) if key_heads else lead
    return [make(*lead, l, e), make(*of_keys, s, e), make(*of_keys, s, ev)]


def with_results(make: Make, qkv: list[Array], mask: Array | None = None, **attrs: Any) -> Sample:
    out, logs = attention(*[widen(x) for x in qkv], None if mask is None else widen(mask), **attrs)
    out = round_to_bfloat16(out) if make.dtype == "bfloat16" else out.astype(make.dtype)
    logs = logs.astype("float64" if make.dtype == "float64" else "float32")
    g_logs = make.rng.uniform(-1, 1, logs.shape).astype(logs.dtype)
    return call(*qkv, mask, np.asarray(out), np.asarray(logs), make(*out.shape), g_logs, **attrs)


def attention_backward_of(*args: Any, **attrs: Any) -> Any:
    """Call the op with its logarithms in float32, where the matrix makes bfloat16 of them."""
    at = [a.astype("float32") if i in (5, 7) and a.dtype != gg.float64 else a for i, a in enumerate(args)]
    return REGISTRY["attention_backward"](*at, **attrs)


ATTENTION_SPECIALS = "rows with infinities are looked at by the family's own tests"
add(
    "attention",
    lambda make: [
        call(*heads(make, 2, 3, l=4, s=5, e=6, ev=7)),
        call(*heads(make, 2, l=5, s=5, e=8, ev=8), is_causal=True),
        call(*heads(make, 2, 4, l=3, s=6, e=5, ev=4, key_heads=2), mask(make, 4, 1, 6), scale=0.5),
        call(*heads(make, 2, l=3, s=4, e=2, ev=3), make(3, 4)),
        call(*heads(make, l=1, s=3, e=4, ev=1)),
        call(*heads(make, 2, l=0, s=3, e=4, ev=2)),
    ],
    attention,
    large=lambda make: call(*heads(make, 3, l=300, s=290, e=24, ev=40)),
    no_rank0="queries and keys are matrices",
    no_specials=ATTENTION_SPECIALS,
    scale=16.0,
)
add(
    "attention_backward",
    lambda make: [
        with_results(make, heads(make, 2, l=4, s=5, e=3, ev=4)),
        with_results(make, heads(make, 4, l=3, s=3, e=2, ev=3, key_heads=2), is_causal=True),
        with_results(make, heads(make, 2, l=3, s=4, e=2, ev=3), make(3, 4), scale=0.5),
        with_results(make, heads(make, 2, l=0, s=3, e=4, ev=2)),
    ],
    attention_backward,
    function=attention_backward_of,
    large=lambda make: with_results(make, heads(make, 3, l=300, s=290, e=24, ev=40)),
    no_rank0="queries and keys are matrices",
    no_specials=ATTENTION_SPECIALS,
    scale=32.0,
).tolerance = lambda dtype: max(1e-9, 32.0 * SPACINGS[dtype] * EPS[dtype])  # type: ignore[method-assign]

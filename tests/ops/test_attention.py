"""attention and scaled_dot_product_attention: PyTorch in float64, blocks and their edges, masks, layouts, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gorgo as gg

F = gg.nn.functional
Array = Any


def qkv(*lead: int, l: int, s: int, e: int, ev: int, key_heads: int = 0) -> list[Array]:  # noqa: E741
    rng = np.random.default_rng([*lead, l, s, e, ev])
    of_keys = (*lead[:-1], key_heads) if key_heads else lead
    return [rng.normal(size=shape) for shape in ((*lead, l, e), (*of_keys, s, e), (*of_keys, s, ev))]


def compare(arrays: list[Array], mask: Array | None = None, *, second: bool = True, **options: Any) -> None:
    """Compare values and gradients of both orders, the mask's too, with PyTorch's composed form."""
    torch = pytest.importorskip("torch")
    floating_mask = mask is not None and mask.dtype != bool
    inputs = [*arrays, mask] if floating_mask else arrays

    def call(module: Any, make: Callable[..., Any], leaves: list[Any]) -> Any:
        given = leaves[3] if floating_mask else None if mask is None else make(mask)
        return module.scaled_dot_product_attention(*leaves[:3], given, **options)

    ours = [gg.asarray(a.copy()).requires_grad_() for a in inputs]
    peers = [torch.tensor(a, requires_grad=True) for a in inputs]
    got = call(F, gg.asarray, ours)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = call(torch.nn.functional, torch.tensor, peers)
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    g = np.random.default_rng(3).normal(size=tuple(expected.shape))
    fused = gg.grad([got], ours, [gg.asarray(g)], retain_graph=True)
    composed = gg.grad([got], ours, [gg.asarray(g)], create_graph=True)
    theirs = torch.autograd.grad([expected], peers, [torch.tensor(g)], create_graph=True)
    for a, b, c in zip(fused, composed, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), c.detach().numpy(), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(b.detach().numpy(), c.detach().numpy(), rtol=1e-9, atol=1e-11)
    if not second:
        return
    weights = [np.random.default_rng(i).normal(size=tuple(t.shape)) for i, t in enumerate(theirs)]
    mine = gg.grad(composed, ours, [gg.asarray(w) for w in weights])
    other = torch.autograd.grad(theirs, peers, [torch.tensor(w) for w in weights])
    for a, c in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=1e-8, atol=1e-9)


# Around the blocks' sizes: 64 queries, 64 keys in float64.
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("l", "s", "e", "ev"),
    [(1, 1, 1, 1), (3, 5, 4, 7), (64, 64, 8, 8), (65, 63, 5, 3), (130, 200, 16, 9), (1, 150, 33, 17), (70, 3, 1, 40)],
)
def test_values_and_gradients_equal_pytorchs(l: int, s: int, e: int, ev: int, causal: bool) -> None:  # noqa: E741
    compare(qkv(2, 3, l=l, s=s, e=e, ev=ev), is_causal=causal, second=l * s < 10000)


@pytest.mark.parametrize("lead", [(), (4,), (2, 1, 3), (20, 2)])
def test_any_leading_axes(lead: tuple[int, ...]) -> None:
    compare(qkv(*lead, l=9, s=12, e=6, ev=6), scale=0.3)


@pytest.mark.parametrize("causal", [False, True])
def test_heads_of_keys_may_be_shared(causal: bool) -> None:
    compare(qkv(2, 6, l=20, s=70, e=6, ev=5, key_heads=2), enable_gqa=True, is_causal=causal)
    compare(qkv(3, 4, l=66, s=7, e=6, ev=5, key_heads=1), enable_gqa=True, is_causal=causal)


@pytest.mark.parametrize("shape", [(70, 80), (1, 80), (70, 1), (3, 70, 80), (2, 1, 1, 80), (2, 3, 70, 80)])
def test_masks(shape: tuple[int, ...]) -> None:
    arrays = qkv(2, 3, l=70, s=80, e=4, ev=4)
    rng = np.random.default_rng(5)
    seen = rng.random(shape) < 0.7
    if shape[-1] > 1:
        seen[..., 0] = True
    else:
        seen[:] = True
    compare(arrays, seen)
    compare(arrays, rng.normal(size=shape))


def test_queries_that_see_nothing_yield_zero_and_get_no_gradient() -> None:
    arrays = qkv(2, l=3, s=4, e=2, ev=2)
    seen = np.ones((3, 4), bool)
    seen[1] = False
    for mask in (seen, np.where(seen, 0.0, -np.inf)):
        ours = [gg.asarray(a.copy()).requires_grad_() for a in arrays]
        out = F.scaled_dot_product_attention(*ours, gg.asarray(mask))
        assert (out.detach().numpy()[:, 1] == 0.0).all()
        for again in (False, True):
            grads = gg.grad([out.sum()], ours, retain_graph=True, create_graph=again)
            assert all(np.isfinite(g.detach().numpy()).all() for g in grads)
            assert (grads[0].detach().numpy()[:, 1] == 0.0).all()
    _, logs = gg.attention(*[gg.asarray(a) for a in arrays], gg.asarray(seen))
    assert np.isneginf(logs.numpy()[:, 1]).all()
    empty = gg.attention(gg.ones((2, 3)), gg.ones((0, 3)), gg.ones((0, 5)))
    assert empty[0].tolist() == [[0.0] * 5] * 2


def test_the_logarithm_of_the_sum_and_its_gradient() -> None:
    arrays = [gg.asarray(a) for a in qkv(2, l=5, s=7, e=3, ev=2)]
    out, logs = gg.attention(*arrays, scale=0.7)
    scores = 0.7 * arrays[0].numpy() @ np.swapaxes(arrays[1].numpy(), -1, -2)
    np.testing.assert_allclose(logs.numpy(), np.log(np.exp(scores).sum(-1)), rtol=1e-12)
    assert out.shape == (2, 5, 2)
    gg.testing.gradcheck(lambda *x: gg.attention(*x, scale=0.7)[1], arrays, second=True)
    gg.testing.gradcheck(
        lambda *x: gg.attention(*x)[0].sum() ** 2 + gg.attention(*x)[1].sum() ** 2, arrays, second=True
    )


def test_large_scores_do_not_overflow() -> None:
    arrays = [gg.asarray(1e4 * a).astype("float32") for a in qkv(1, l=70, s=140, e=8, ev=4)]
    out = F.scaled_dot_product_attention(*arrays).numpy()
    exact = F.scaled_dot_product_attention(*[a.astype("float64") for a in arrays]).numpy()
    np.testing.assert_allclose(out, exact, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float16", 1e-3), ("bfloat16", 8e-3)])
def test_lower_precision(dtype: str, tolerance: float) -> None:
    low = [gg.asarray(a).astype(dtype).requires_grad_() for a in qkv(2, 2, l=70, s=150, e=16, ev=8)]
    wide = [a.detach().astype("float64").requires_grad_() for a in low]
    mine, exact = F.scaled_dot_product_attention(*low), F.scaled_dot_product_attention(*wide)
    assert mine.dtype == low[0].dtype
    assert str(gg.attention(*low)[1].dtype).endswith("float32")
    np.testing.assert_allclose(
        mine.detach().astype("float64").numpy(), exact.detach().numpy(), rtol=tolerance, atol=tolerance
    )
    mine.sum().backward()
    exact.sum().backward()
    for a, b in zip(low, wide, strict=True):
        largest = np.abs(b.grad.numpy()).max()
        np.testing.assert_allclose(
            a.grad.astype("float64").numpy(), b.grad.numpy(), rtol=4 * tolerance, atol=4 * tolerance * largest
        )


def test_strided_operands_give_the_same_result() -> None:
    arrays = [gg.asarray(a) for a in qkv(2, 3, l=20, s=20, e=8, ev=8)]
    joined = gg.concat([gg.swapaxes(a, 1, 2).reshape((2, 20, 24)) for a in arrays], axis=-1)
    views = [gg.swapaxes(joined[..., i * 24 : (i + 1) * 24].reshape((2, 20, 3, 8)), 1, 2) for i in range(3)]
    plain = F.scaled_dot_product_attention(*arrays)
    assert F.scaled_dot_product_attention(*views).numpy().tobytes() == plain.numpy().tobytes()
    turned = [gg.swapaxes(gg.asarray(np.swapaxes(a.numpy(), -1, -2).copy()), -1, -2) for a in arrays]
    assert F.scaled_dot_product_attention(*turned).numpy().tobytes() == plain.numpy().tobytes()


def test_long_vectors_and_broadcast_heads_are_composed() -> None:
    compare(qkv(1, l=3, s=4, e=600, ev=2))
    q, k, v = qkv(2, 3, l=4, s=5, e=6, ev=2)
    compare([q, k[:1].copy(), v[:, :1].copy()])


def test_dropout_keeps_the_mean_and_hits_weights() -> None:
    gg.random.seed(4)
    q, k, v = (gg.zeros((400, 4)), gg.zeros((50, 4)), gg.ones((50, 1)))
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).numpy()
    # Each row is the mean of fifty draws of 0 or 2: standard deviation 1 / sqrt(50); 400 of them.
    assert abs(out.mean() - 1.0) < 5.0 / np.sqrt(50 * 400)
    assert out.std() == pytest.approx(50**-0.5, rel=0.2)
    assert (F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).numpy() == 0.0).all()


def test_a_query_does_not_depend_on_the_others() -> None:
    q, k, v = (gg.asarray(a).astype("float32") for a in qkv(2, l=150, s=300, e=24, ev=10))
    whole = F.scaled_dot_product_attention(q, k, v).numpy()
    for i in (0, 63, 64, 149):
        one = F.scaled_dot_product_attention(q[:, i : i + 1], k, v).numpy()
        assert one.tobytes() == whole[:, i : i + 1].tobytes()


@pytest.fixture
def _threads_are_restored() -> Iterator[None]:
    before = gg.get_num_threads()
    yield
    gg.set_num_threads(before)


@pytest.mark.usefixtures("_threads_are_restored")
@pytest.mark.parametrize("lead", [(1,), (32,)])
def test_one_thread_and_two_give_the_same_bits(lead: tuple[int, ...]) -> None:
    arrays = qkv(*lead, l=190, s=260, e=20, ev=24)
    results = []
    for threads in (1, 2):
        gg.set_num_threads(threads)
        leaves = [gg.asarray(a).astype("float32").requires_grad_() for a in arrays]
        out = F.scaled_dot_product_attention(*leaves, is_causal=True)
        out.sum().backward()
        results.append([out.detach().numpy().tobytes(), *[x.grad.numpy().tobytes() for x in leaves]])
    assert results[0] == results[1]


@pytest.mark.parametrize(("lead", "keys"), [((1,), 1100), ((3,), 700), ((2, 4), 200)])
def test_few_heads_with_many_keys(lead: tuple[int, ...], keys: int) -> None:
    """Backward cuts the keys of few heads into groups, whose gradients by queries are summed."""
    compare(qkv(*lead, l=70, s=keys, e=8, ev=8), second=False)
    compare(qkv(*lead, l=keys, s=keys, e=4, ev=4), second=False, is_causal=True)


def test_messages() -> None:
    q, k, v = (gg.zeros((2, 3, 4)) for _ in range(3))
    with pytest.raises(ValueError, match=r"attention: key must have shape \(..., s, e\) like query \(2, 3, 4\)"):
        gg.attention(q, gg.zeros((2, 3, 5)), v)
    with pytest.raises(ValueError, match=r"attention: value must have shape \(..., s, ev\) like key \(2, 3, 4\)"):
        gg.attention(q, k, gg.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match=r"attention: query must have shape \(..., l, e\), got \(3,\)"):
        gg.attention(gg.zeros((3,)), k, v)
    with pytest.raises(ValueError, match=r"mask must broadcast to the scores' shape \(2, 3, 3\), got \(2, 3\)"):
        gg.attention(q, k, v, gg.zeros((2, 3)))
    with pytest.raises(TypeError, match="mask must be bool or float32, got float64"):
        gg.attention(q, k, v, gg.zeros((3, 3), dtype=gg.float64))
    with pytest.raises(TypeError, match="key and value must have query's dtype float32, got float64 and float32"):
        gg.attention(q, k.astype("float64"), v)
    with pytest.raises(TypeError, match="query must have a real floating dtype, got int64"):
        gg.attention(q.astype("int64"), k, v)
    with pytest.raises(ValueError, match="e and ev must be at most 512, got 513 and 4"):
        gg.attention(gg.zeros((3, 513)), gg.zeros((3, 513)), gg.zeros((3, 4)))
    with pytest.raises(ValueError, match="scale must be finite, got inf"):
        gg.attention(q, k, v, scale=float("inf"))
    with pytest.raises(ValueError, match="attn_mask and is_causal must not both be given"):
        F.scaled_dot_product_attention(q, k, v, gg.zeros((3, 3)), is_causal=True)
    with pytest.raises(ValueError, match=r"dropout_p must be in \[0, 1\], got 2"):
        F.scaled_dot_product_attention(q, k, v, dropout_p=2.0)
    with pytest.raises(ValueError, match="leading axes of query, key and value must broadcast"):
        F.scaled_dot_product_attention(gg.zeros((4, 3, 4)), k, v)

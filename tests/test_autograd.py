"""The tape: what backward computes, what it refuses, what it leaves behind."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import gorgo as gg


def leaf(values: object) -> gg.Tensor:
    return gg.asarray(np.asarray(values, dtype=np.float64)).requires_grad_()


def test_backward_of_a_product_gives_the_other_factor() -> None:
    a, b = leaf([1.0, 2.0]), leaf([3.0, 5.0])
    (a * b).sum().backward()
    assert a.grad.tolist() == [3.0, 5.0]
    assert b.grad.tolist() == [1.0, 2.0]


def test_gradients_add_up_over_uses_and_over_backwards() -> None:
    x = leaf([2.0])
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [5.0]
    (x * 3.0).sum().backward()
    assert x.grad.tolist() == [8.0]


def test_the_gradient_object_stays_the_same() -> None:
    x = leaf([2.0])
    x.sum().backward()
    first = x.grad
    assert x.grad is first
    x.sum().backward()
    assert x.grad is first
    assert first.tolist() == [2.0]


def test_a_borrowed_gradient_is_not_shared_between_leaves() -> None:
    a, b = leaf([1.0]), leaf([1.0])
    (a + b).sum().backward()
    with gg.no_grad():
        a.grad.fill_(7.0)
    assert b.grad.tolist() == [1.0]


def test_a_gradient_that_nobody_else_holds_is_kept_without_a_copy() -> None:
    x = gg.ones((8, 4))
    w = gg.ones((4, 3)).requires_grad_(True)
    product = x @ w
    with gg.profile() as p:
        product.backward(gg.ones((8, 3)))
    assert [event.op for event in p.events].count("copy") == 0
    np.testing.assert_array_equal(np.asarray(w.grad), np.full((4, 3), 8.0))


def test_broadcast_gradients_are_summed_to_the_operand() -> None:
    a, b = leaf(np.ones((3, 1))), leaf(np.ones((4,)))
    (a * b).sum().backward()
    assert a.grad.shape == (3, 1)
    assert a.grad.tolist() == [[4.0]] * 3
    assert b.grad.tolist() == [3.0] * 4


def test_a_second_backward_needs_retain_graph() -> None:
    x = leaf([2.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"retain_graph=True"):
        y.backward()
    x.grad = None
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]


def test_second_derivatives_through_create_graph() -> None:
    x = leaf([0.5, 2.0])
    (g,) = gg.grad((x * x * x).sum(), [x], create_graph=True)
    (gg_,) = gg.grad(g.sum(), [x])
    np.testing.assert_allclose(np.asarray(gg_), 6 * np.array([0.5, 2.0]))


def test_grad_of_an_intermediate() -> None:
    x = leaf([3.0])
    y = x * 2.0
    z = (y * y).sum()
    (gy,) = gg.grad(z, [y])
    assert gy.tolist() == [12.0]
    assert x.grad is None


def test_grad_refuses_or_allows_unused_inputs() -> None:
    x, other = leaf([3.0]), leaf([1.0])
    with pytest.raises(RuntimeError, match="allow_unused"):
        gg.grad((x * x).sum(), [other])
    assert gg.grad((x * x).sum(), [other], allow_unused=True)[0] is None


def test_retain_grad_keeps_an_intermediate_gradient() -> None:
    x = leaf([3.0])
    y = x * 2.0
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [12.0]


def test_no_grad_records_nothing() -> None:
    x = leaf([1.0])
    with gg.no_grad():
        assert not (x * 2.0).requires_grad
        with gg.enable_grad():
            assert (x * 2.0).requires_grad

    @gg.no_grad()
    def double(t: gg.Tensor) -> gg.Tensor:
        return t * 2.0

    assert not double(x).requires_grad
    assert gg.is_grad_enabled()


def test_detach_shares_memory_and_cuts_the_tape() -> None:
    x = leaf([1.0, 2.0])
    d = x.detach()
    assert not d.requires_grad
    with gg.no_grad():
        d[0] = 5.0
    assert x.tolist() == [5.0, 2.0]


def test_leaves_that_require_grad_are_written_under_no_grad_only() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"leaf that requires grad"):
        x += 1.0
    with pytest.raises(RuntimeError, match=r"view of one"):
        x[0] = 1.0
    with gg.no_grad():
        x += 1.0
    assert x.tolist() == [2.0, 3.0]


def test_integers_cannot_require_grad() -> None:
    with pytest.raises((TypeError, RuntimeError), match="float"):
        gg.asarray([1, 2]).requires_grad_()


def test_backward_needs_a_scalar_or_a_gradient() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"\(2,\)"):
        (x * 2.0).backward()
    (x * 2.0).backward(gg.asarray(np.array([1.0, 10.0])))
    assert x.grad.tolist() == [2.0, 20.0]
    with pytest.raises(ValueError, match=r"gradient must have the tensor's shape"):
        (x * 2.0).backward(gg.ones((3,), dtype=gg.float64))


def test_backward_without_a_tape_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="require grad"):
        gg.ones((1,)).backward()


def test_a_saved_tensor_that_was_modified_is_caught_with_op_and_line() -> None:
    x = leaf([1.0, 2.0])
    y = x * 1.0
    z = gg.exp(y * y)
    with gg.no_grad():
        y += 1.0
    with pytest.raises(RuntimeError, match=r"saved by multiply at .*test_autograd\.py:\d+"):
        z.sum().backward()


def test_an_inplace_op_keeps_what_its_own_gradient_needs() -> None:
    x, w = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    y = x * 1.0
    y *= w
    y.sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    assert w.grad.tolist() == [2.0, 3.0]


def test_a_write_through_a_view_reaches_the_base_and_its_other_views() -> None:
    x, w = leaf(np.ones((2, 3))), leaf([10.0, 20.0, 30.0])
    y = x * 2.0
    other = y[:, 0]
    y[0] *= w
    total = (y * y).sum() + other.sum()
    total.backward()
    # y = [[2w], [2, 2, 2]], other = y[:, 0] after the write
    expected = np.array([[2 * 2 * w_ * w_ * 2 for w_ in (10.0, 20.0, 30.0)], [8.0, 8.0, 8.0]])
    expected[:, 0] += np.array([2 * 10.0, 2.0])
    np.testing.assert_allclose(np.asarray(x.grad), expected)
    np.testing.assert_allclose(np.asarray(w.grad), [2 * 4 * 10.0 + 2.0, 8 * 20.0, 8 * 30.0])


def test_a_chain_of_a_hundred_thousand_ops() -> None:
    x = leaf([1.0])
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0]
    y = x
    for _ in range(100_000):
        y = y * 1.0
    del y  # frees the chain without recursion


def test_a_loss_never_differentiated_leaves_nothing() -> None:
    x = leaf(np.ones((8,)))
    gc.collect()
    before = gg.memory.stats()["active_bytes"]
    records = gg._core._live_records()
    for _ in range(50):
        loss = (gg.exp(x) * x).sum()
    del loss
    gc.collect()
    assert gg._core._live_records() == records
    assert gg.memory.stats()["active_bytes"] == before


def test_modes_are_per_thread() -> None:
    seen = []
    with gg.no_grad():
        worker = threading.Thread(target=lambda: seen.append(gg.is_grad_enabled()))
        worker.start()
        worker.join()
    assert seen == [True]


def test_two_threads_may_sum_into_one_leaf() -> None:
    x = leaf(np.ones((1000,)))

    def work() -> None:
        for _ in range(200):
            (x * 2.0).sum().backward()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    np.testing.assert_array_equal(np.asarray(x.grad), np.full(1000, 800.0))


# ---- writes through detached views, copies of leaves, products with zeros ----


def test_a_leaf_over_a_detached_view_is_not_written_while_recording():
    leaf = gg.ones((3,)).detach()
    leaf.requires_grad_()
    for write in (lambda: leaf.mul_(2.0), lambda: leaf.__setitem__(0, 5.0), lambda: leaf.add_(1.0)):
        with pytest.raises(RuntimeError, match="must not be a leaf that requires grad"):
            write()
    assert np.array_equal(np.asarray(leaf.detach()), [1.0, 1.0, 1.0])
    with gg.no_grad():
        leaf.mul_(2.0)
    assert np.array_equal(np.asarray(leaf.detach()), [2.0, 2.0, 2.0])


def test_writing_over_a_leaf_through_its_detached_alias_keeps_the_second_gradient():
    start = np.array([0.5, 1.5, 2.0])
    x = gg.asarray(start)
    x = x.copy().detach()
    x.requires_grad_()
    y = x.detach()
    y.pow_(x)  # start ** x over the very elements of x
    (first,) = gg.grad(y.sum(), [x], create_graph=True)
    assert np.allclose(np.asarray(first.detach()), start**start * np.log(start), rtol=1e-12)
    (second,) = gg.grad(first.sum(), [x])
    assert np.allclose(np.asarray(second), start**start * np.log(start) ** 2, rtol=1e-12)


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2), -1])
@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_has_second_gradients_at_zeros(rng, axis, zeros):
    torch = pytest.importorskip("torch")
    values = rng.standard_normal((2, 3, 5))
    values.reshape(-1)[[0, 5, 21][:zeros]] = 0.0
    x = gg.asarray(values)
    x.requires_grad_()
    weight = rng.standard_normal(values.shape)
    (first,) = gg.grad(gg.sin(gg.prod(x, axis=axis)).sum(), [x], create_graph=True)
    (second,) = gg.grad((first * gg.asarray(weight)).sum(), [x])

    t = torch.tensor(values, requires_grad=True)
    p = t
    for a in sorted(range(3) if axis is None else np.atleast_1d(np.arange(3)[list(np.atleast_1d(axis))]), reverse=True):
        p = torch.stack(p.unbind(int(a))).movedim(0, -1)
        whole = p[..., 0]
        for i in range(1, p.shape[-1]):
            whole = whole * p[..., i]
        p = whole
    (t_first,) = torch.autograd.grad(torch.sin(p).sum(), t, create_graph=True)
    (t_second,) = torch.autograd.grad((t_first * torch.tensor(weight)).sum(), t)
    assert np.allclose(np.asarray(first.detach()), t_first.detach().numpy(), rtol=1e-10, atol=1e-13)
    assert np.allclose(np.asarray(second), t_second.numpy(), rtol=1e-10, atol=1e-13)

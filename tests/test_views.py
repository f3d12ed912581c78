"""Views and in-place writes, against PyTorch: what a write through a view does to values and gradients of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg

torch = pytest.importorskip("torch")

START = np.random.default_rng(0).standard_normal((4, 6))
OTHER = np.random.default_rng(1).standard_normal((4, 6))


class Ours:
    """The few calls in which the two libraries' names differ."""

    @staticmethod
    def make(array: np.ndarray[Any, Any]) -> Any:
        return gg.asarray(array.copy())

    permute = staticmethod(lambda x, axes: gg.permute_dims(x, axes))
    diagonal = staticmethod(lambda x: gg.diagonal(x))
    split = staticmethod(lambda x: gg.split(x, 2, axis=0))


class Theirs:
    make = staticmethod(lambda array: torch.from_numpy(array.copy()))
    permute = staticmethod(lambda x, axes: x.permute(axes))
    diagonal = staticmethod(lambda x: torch.diagonal(x))
    split = staticmethod(lambda x: torch.split(x, 2, dim=0))


def slice_and_scale(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    y[1:3, ::2] *= 3.0
    return (y * w).sum()


def assign_a_tensor(lib: Any, x: Any, w: Any) -> Any:
    y = x * x
    y[0] = w[1] * x[2]
    return (y * y).sum()


def assign_a_number(lib: Any, x: Any, w: Any) -> Any:
    y = x * x
    y[:, 1] = 5.0
    return (y * w).sum()


def named_view(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    v = y[1:]
    v.mul_(w[1:])
    return (y * y).sum() + (v * w[1:]).sum()


def other_live_view(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    a, b = y[:3], y[1:]
    before = (b + w[1:]).sum()
    a.mul_(2.0)
    return before + (b * b).sum() + (y * w).sum()


def view_before_write_to_base(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    v = y[2]
    y.mul_(w)
    return (v * v * v).sum()


def chain_of_views(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    v = lib.permute(y, (1, 0))[2:5]
    u = v[:, 1:].reshape(3, 3)
    v[1].add_(lib.permute(w, (1, 0))[0])
    v[:, 1] *= w[0, :3]
    return (y * w).sum() + (v * v).sum() + u.sum()


def several_writes(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    v = y[:, :3]
    v.add_(w[:, 3:])
    y[0] *= 2.0
    v[0].mul_(w[0, :3])
    return (y * y).sum() + (v * w[:, :3]).sum()


def write_of_a_part_of_itself(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    y[1:] += y[:-1] * 1.0
    y[0] = y[3]
    return (y * y * w).sum()


def diagonal(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    d = lib.diagonal(y)
    d.mul_(lib.diagonal(w))
    return (y * y).sum()


def reshaped_view(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    flat = y.reshape(-1)
    flat[3:10] = w.reshape(-1)[3:10] * 2.0
    return (y * y * x).sum() + flat.sum()


def unrelated_part(lib: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    kept = y[0] + w[0]
    y[1:] = 0.0
    return (kept * kept).sum() + y.sum()


def view_of_a_constant(lib: Any, x: Any, w: Any) -> Any:
    y = lib.make(OTHER)
    y[1:3] = x[1:3] * 2.0
    return (y * w).sum() + (y[1] * y[1]).sum()


def sections(lib: Any, x: Any, w: Any) -> Any:
    first, second = lib.split(x * w)
    return (first * second).sum()


PROGRAMS = [
    slice_and_scale,
    assign_a_tensor,
    assign_a_number,
    named_view,
    other_live_view,
    view_before_write_to_base,
    chain_of_views,
    several_writes,
    write_of_a_part_of_itself,
    diagonal,
    reshaped_view,
    unrelated_part,
    view_of_a_constant,
    sections,
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_values_and_gradients_agree_with_pytorch(program: Callable[..., Any]) -> None:
    x, w = gg.asarray(START.copy()).requires_grad_(), gg.asarray(OTHER.copy()).requires_grad_()
    loss = program(Ours, x, w)
    loss.backward()
    tx, tw = (torch.from_numpy(a.copy()).requires_grad_() for a in (START, OTHER))
    expected = program(Theirs, tx, tw)
    expected.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(x.grad), tx.grad.numpy(), rtol=1e-12, atol=1e-12)
    if tw.grad is None:
        assert w.grad is None
    else:
        np.testing.assert_allclose(np.asarray(w.grad), tw.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS)
def test_second_gradients_agree_with_differences(program: Callable[..., Any]) -> None:
    operands = [gg.asarray(START.copy()), gg.asarray(OTHER.copy())]
    gg.testing.gradcheck(lambda x, w: program(Ours, x, w), operands, second=True)


def test_a_write_that_a_record_has_saved_is_an_error() -> None:
    x = gg.asarray(START.copy()).requires_grad_()
    y = x * 1.0
    loss = (y * y).sum()
    y[0, :2] = 7.0
    with pytest.raises(RuntimeError, match=r"saved by multiply.* must not be modified in place"):
        loss.backward()


def test_a_write_through_a_view_raises_the_version_of_the_storage_for_all_views() -> None:
    x = gg.asarray(START.copy()).requires_grad_()
    y = x * 1.0
    a, b = y[0], y[1]
    loss = (b * b).sum()
    a.mul_(2.0)
    with pytest.raises(RuntimeError, match="must not be modified in place"):
        loss.backward()


def test_leaves_are_written_only_without_gradients() -> None:
    x = gg.asarray(START.copy()).requires_grad_()
    with pytest.raises(RuntimeError, match="must not be a leaf that requires grad"):
        x[0] = 1.0
    with pytest.raises(RuntimeError, match="must not be a leaf that requires grad nor a view of one"):
        x[0].mul_(2.0)
    with gg.no_grad():
        x[0] = 1.0
        x[1:, 2].fill_(3.0)
    assert x[0].tolist() == [1.0] * 6
    assert np.asarray(x.detach())[1:, 2].tolist() == [3.0] * 3
    assert x.is_leaf


def test_expanded_targets_are_refused() -> None:
    x = gg.broadcast_to(gg.zeros((1, 3)), (4, 3))
    with pytest.raises(
        ValueError, match=r"target must have distinct elements, got an expanded tensor of shape \(4, 3\)"
    ):
        x.add_(1.0)
    with pytest.raises(ValueError, match="copy it first"):
        x[1:] = 1.0


def test_a_detached_view_shares_memory_and_no_gradient() -> None:
    x = gg.asarray(START.copy()).requires_grad_()
    y = x * 1.0
    d = y.detach()
    d[0, 0] = 100.0
    assert y[0, 0].item() == 100.0
    assert not d.requires_grad


@pytest.mark.parametrize("value", [np.float64(2.0), START.astype(np.float32)])
def test_a_write_takes_the_dtype_of_its_target(value: Any) -> None:
    y = gg.zeros((4, 6), dtype=gg.float32)
    y[:] = gg.asarray(value.astype(np.float32)) if value.ndim else float(value)
    assert y.dtype == gg.float32
    with pytest.raises(TypeError, match="float64"):
        y += gg.asarray(START)

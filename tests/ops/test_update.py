"""The fused SGD update against PyTorch's optimizer: options, dtypes, layouts, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gorgo as gg

SHAPES = [(3, 5), (1,), (), (70_000,), (33,), (0, 4)]
OPTIONS: list[dict[str, Any]] = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02, "nesterov": True},
    {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.02, "dampening": 0.5, "maximize": True},
]


def arrays(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in SHAPES]


def state(parameters: list[Any]) -> list[Any]:
    return [gg.zeros(p.shape, dtype=p.dtype) for p in parameters] + [gg.zeros((), dtype=gg.int64) for _ in parameters]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_hundred_steps_equal_pytorchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays(0)]
    optimizer = torch.optim.SGD(theirs, **options)
    ours = [gg.asarray(a) for a in arrays(0)]
    kept = state(ours) if "momentum" in options else []
    for step in range(100):
        gradients = arrays(step + 1)
        for t, g in zip(theirs, gradients, strict=True):
            t.grad = torch.tensor(g)
        optimizer.step()
        assert gg.sgd_update(*ours, *[gg.asarray(g) for g in gradients], *kept, count=len(ours), **options) is None
    for mine, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), t.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 8e-3)])
def test_lower_precision_rounds_once(dtype: str, tolerance: float) -> None:
    ours = [gg.asarray(a).astype(dtype) for a in arrays(0)]
    wide = [p.astype("float64") for p in ours]
    gradients = [gg.asarray(a).astype(dtype) for a in arrays(1)]
    options = {"count": len(ours), "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    gg.sgd_update(*ours, *gradients, *state(ours), **options)
    gg.sgd_update(*wide, *[g.astype("float64") for g in gradients], *state(wide), **options)
    for mine, w in zip(ours, wide, strict=True):
        np.testing.assert_allclose(mine.astype("float64").numpy(), w.numpy(), rtol=tolerance, atol=tolerance / 10)


def test_gradients_and_parameters_of_any_layout() -> None:
    rng = np.random.default_rng(4)
    p, g = rng.normal(size=(2, 6, 5))
    expected = p - 0.5 * g
    transposed = gg.asarray(g.T.copy()).T
    ours = gg.asarray(p.copy())  # asarray shares NumPy's memory
    gg.sgd_update(ours, transposed, count=1, lr=0.5)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-15)
    whole = gg.asarray(np.repeat(p, 2, axis=1))
    gg.sgd_update(whole[:, ::2], transposed, count=1, lr=0.5)
    np.testing.assert_allclose(whole.numpy()[:, ::2], expected, rtol=1e-15)
    np.testing.assert_array_equal(whole.numpy()[:, 1::2], p)


def test_without_momentum_buffers_stay_untouched() -> None:
    p, g = gg.ones((3,)), gg.ones((3,))
    buffer, steps = gg.zeros((3,)), gg.zeros((), dtype=gg.int64)
    gg.sgd_update(p, g, buffer, steps, count=1, lr=0.25, momentum=0.0, dampening=0.5)
    assert p.tolist() == [0.75] * 3
    assert buffer.tolist() == [0.0] * 3
    assert steps.item() == 0
    # Only now is the first step with momentum, which takes the gradient whole.
    gg.sgd_update(p, g, buffer, steps, count=1, lr=0.25, momentum=0.5, dampening=0.5)
    assert buffer.tolist() == [1.0] * 3
    assert steps.item() == 1


def test_wrong_operands() -> None:
    p = gg.ones((3,))
    with pytest.raises(ValueError, match=r"sgd_update: gradient 0 must be float32 \(3,\).*, got float32 \(4,\)"):
        gg.sgd_update(p, gg.ones((4,)), count=1, lr=0.1)
    with pytest.raises(ValueError, match=r"sgd_update: buffers must be given with momentum, got momentum 0\.9"):
        gg.sgd_update(p, gg.ones((3,)), count=1, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match="sgd_update: operands"):
        gg.sgd_update(p, gg.ones((3,)), gg.ones((3,)), count=1, lr=0.1)


def test_one_thread_and_two_give_the_same_bits() -> None:
    before = gg.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            gg.set_num_threads(threads)
            ours = [gg.asarray(a).astype("float32") for a in arrays(0)]
            kept = state(ours)
            for step in range(3):
                gradients = [gg.asarray(a).astype("float32") for a in arrays(step + 1)]
                gg.sgd_update(*ours, *gradients, *kept, count=len(ours), lr=0.1, momentum=0.9)
            results.append(b"".join(p.numpy().tobytes() for p in ours))
        assert results[0] == results[1]
    finally:
        gg.set_num_threads(before)

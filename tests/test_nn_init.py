"""Initial values: distributions by PyTorch's formulas, exact ones exactly; buffers outside of the state; messages."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import scipy.stats

import gorgo as gg
from gorgo.nn import init


@pytest.fixture(autouse=True)
def _seeded() -> None:
    gg.random.seed(7)


SHAPE = (60, 40, 5, 5)  # fan_in 1000, fan_out 1500
N = math.prod(SHAPE)


def filled(fill: Any, dtype: Any = gg.float64, shape: tuple[int, ...] = SHAPE) -> Any:
    tensor = gg.empty(shape, dtype=dtype)
    assert fill(tensor) is tensor
    return tensor.astype(gg.float64).numpy().ravel()


UNIFORM: dict[str, tuple[Any, float]] = {
    "xavier": (init.xavier_uniform_, math.sqrt(6 / 2500)),
    "xavier with gain": (lambda t: init.xavier_uniform_(t, gain=3.0), 3 * math.sqrt(6 / 2500)),
    "kaiming": (init.kaiming_uniform_, math.sqrt(6 / 1000)),
    "kaiming with slope": (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), math.sqrt(1 / 1000)),
    "kaiming backwards": (
        lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
        math.sqrt(6 / 1500),
    ),
    "kaiming for tanh": (lambda t: init.kaiming_uniform_(t, nonlinearity="tanh"), 5 / 3 * math.sqrt(3 / 1000)),
}
NORMAL: dict[str, tuple[Any, float, float]] = {
    "normal": (lambda t: init.normal_(t, 2.0, 3.0), 2.0, 3.0),
    "xavier": (init.xavier_normal_, 0.0, math.sqrt(2 / 2500)),
    "kaiming": (init.kaiming_normal_, 0.0, math.sqrt(2 / 1000)),
    "kaiming backwards": (lambda t: init.kaiming_normal_(t, mode="fan_out"), 0.0, math.sqrt(2 / 1500)),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_ones(name: str) -> None:
    fill, bound = UNIFORM[name]
    x = filled(fill)
    assert np.abs(x).max() <= bound
    assert scipy.stats.kstest(x, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", NORMAL)
def test_normal_ones(name: str) -> None:
    fill, mean, std = NORMAL[name]
    assert scipy.stats.kstest(filled(fill), scipy.stats.norm(mean, std).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (1.0, 0.5, -2.0, 1.2),
        (0.0, 1.0, 2.0, 3.0),
        (0.0, 1.0, -math.inf, -1.5),
        (3.0, 1.0, 1, 1.25),
    ],
)
def test_truncated_normal(mean: float, std: float, a: float, b: float) -> None:
    x = filled(lambda t: init.trunc_normal_(t, mean, std, a, b), shape=(30_000,))
    assert a <= x.min() <= x.max() <= b
    expected = scipy.stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert scipy.stats.kstest(x, expected.cdf).pvalue > 1e-4


@pytest.mark.parametrize("dtype", [gg.float16, gg.bfloat16, gg.float32])
def test_other_dtypes(dtype: Any) -> None:
    for fill in (init.trunc_normal_, init.orthogonal_, init.kaiming_normal_, init.ones_, init.eye_):
        x = filled(fill, dtype, (8, 8))
        assert np.isfinite(x).all()
        assert np.abs(x).max() > 0


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (4, 3, 2, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = init.orthogonal_(gg.empty(shape, dtype=gg.float64), gain=2.0).numpy().reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4.0 * np.eye(min(w.shape)), atol=1e-12)


@pytest.mark.parametrize(("shape", "groups"), [((4, 4, 3), 1), ((6, 2, 3, 3), 3), ((5, 7, 2, 3, 4), 1), ((4, 1, 3), 2)])
def test_dirac_equals_pytorchs(shape: tuple[int, ...], groups: int) -> None:
    torch = pytest.importorskip("torch")
    ours = init.dirac_(gg.ones(shape), groups)
    np.testing.assert_array_equal(ours.numpy(), torch.nn.init.dirac_(torch.ones(shape), groups).numpy())


def test_constants() -> None:
    assert init.constant_(gg.empty((2,)), 2.5).tolist() == [2.5, 2.5]
    assert init.ones_(gg.empty((2,))).tolist() == [1.0, 1.0]
    assert init.zeros_(gg.empty((2,))).tolist() == [0.0, 0.0]
    assert init.eye_(gg.ones((2, 3))).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    "name", ["linear", "conv2d", "conv_transpose1d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
)
def test_gains_equal_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)


def test_parameters_are_filled_outside_of_the_tape() -> None:
    w = gg.nn.Parameter(gg.empty((3, 4)))
    for fill in (init.xavier_normal_, init.trunc_normal_, init.orthogonal_, init.ones_):
        fill(w)
    assert w.is_leaf
    assert w.requires_grad


def test_buffers_may_stay_out_of_the_state() -> None:
    module = gg.nn.Module()
    module.register_buffer("kept", gg.ones((2,)))
    module.register_buffer("left", gg.zeros((2,)), persistent=False)
    assert list(module.state_dict()) == ["kept"]
    assert [name for name, _ in module.named_buffers()] == ["kept", "left"]
    module.load_state_dict({"kept": np.full(2, 3.0, np.float32)})
    assert module.kept.tolist() == [3.0, 3.0]
    module.register_buffer("left", gg.ones((2,)))
    assert list(module.state_dict()) == ["kept", "left"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: init.trunc_normal_(gg.ones((1,)), std=0.0),
            ValueError,
            "trunc_normal_: std must be positive, got 0.0",
        ),
        (lambda: init.trunc_normal_(gg.ones((1,)), a=1.0, b=1.0), ValueError, "a must be below b, got 1.0 and 1.0"),
        (lambda: init.eye_(gg.ones((1,))), ValueError, "eye_: tensor must have rank 2, got shape (1,)"),
        (lambda: init.dirac_(gg.ones((1, 1))), ValueError, "dirac_: tensor must have rank 3 to 5, got shape (1, 1)"),
        (
            lambda: init.dirac_(gg.ones((3, 1, 1)), 2),
            ValueError,
            "dirac_: groups must divide the first axis, got 2 and shape (3, 1, 1)",
        ),
        (
            lambda: init.orthogonal_(gg.ones((1,))),
            ValueError,
            "orthogonal_: tensor must have rank 2 or more, got shape",
        ),
        (lambda: init.xavier_uniform_(gg.ones((1,))), ValueError, "xavier_uniform_: tensor must have rank 2 or more"),
        (lambda: init.kaiming_normal_(gg.ones((1,))), ValueError, "kaiming_normal_: tensor must have rank 2 or more"),
        (
            lambda: init.kaiming_uniform_(gg.ones((1, 1)), mode="fan"),
            ValueError,
            "kaiming_uniform_: mode must be 'fan_in' or 'fan_out', got 'fan'",
        ),
        (lambda: init.calculate_gain("swish"), ValueError, "calculate_gain: nonlinearity must be linear,"),
        (
            lambda: gg.nn.Module().register_buffer("forward", gg.ones((1,))),
            ValueError,
            "register_buffer: name must be free and without dots, got 'forward'",
        ),
    ],
)
def test_messages(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()

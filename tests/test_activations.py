"""Activations against PyTorch in float64: values and gradients, kinks included, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import gorgo as gg
from gorgo import nn
from gorgo.nn import functional as F

RNG = np.random.default_rng(3)
# Smooth places, both far ends, and every kink of a piece below.
KINKS = [-1000.0, -30.0, -6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 30.0, 1000.0]
POINTS = np.concatenate([RNG.standard_normal(40) * 3.0, KINKS]).reshape(6, 9)

FUNCTIONS: list[tuple[str, tuple[Any, ...]]] = [
    ("elu", ()),
    ("elu", (0.7,)),
    ("selu", ()),
    ("celu", ()),
    ("celu", (0.5,)),
    ("celu", (2.5,)),
    ("leaky_relu", ()),
    ("leaky_relu", (0.3,)),
    ("leaky_relu", (-0.3,)),
    ("relu", ()),
    ("relu6", ()),
    ("hardtanh", ()),
    ("hardtanh", (-0.5, 2.0)),
    ("hardsigmoid", ()),
    ("hardswish", ()),
    ("mish", ()),
    ("softsign", ()),
    ("tanhshrink", ()),
    ("softshrink", ()),
    ("softshrink", (1.0,)),
    ("softshrink", (0.0,)),
    ("hardshrink", ()),
    ("hardshrink", (1.0,)),
    ("hardshrink", (-1.0,)),
    ("threshold", (0.5, -2.0)),
    ("logsigmoid", ()),
    ("softplus", ()),
    ("softplus", (2.0,)),
    ("softplus", (0.5, 3.0)),
    ("sigmoid", ()),
    ("tanh", ()),
    ("silu", ()),
    ("gelu", ()),
    ("softmax", (0,)),
    ("softmin", (-1,)),
    ("softmin", (0,)),
    ("log_softmax", (-1,)),
]


def both(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray, rtol: float = 1e-11) -> None:
    """Compare values, and gradients by every array, of two functions of float64 arrays."""
    torch = pytest.importorskip("torch")
    mine = [gg.asarray(a) for a in arrays]
    peers = [torch.tensor(a) for a in arrays]
    for t in mine + peers:
        t.requires_grad = True
    y, z = ours(*mine), theirs(*peers)
    assert y.dtype == gg.float64
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-13)
    w = RNG.standard_normal(y.shape)
    (y * gg.asarray(w)).sum().backward()
    (z * torch.tensor(w)).sum().backward()
    for i, (a, b) in enumerate(zip(mine, peers, strict=True)):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=rtol, atol=1e-13, err_msg=f"argument {i}")


@pytest.mark.parametrize(("name", "args"), FUNCTIONS, ids=lambda v: str(v))
def test_functions_equal_pytorchs(name: str, args: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    peer = getattr(torch.nn.functional, name)
    if name in ("softmax", "softmin", "log_softmax"):
        both(lambda x: getattr(F, name)(x, *args), lambda x: peer(x, dim=args[0]), POINTS)
    else:
        rtol = 4e-8 if name == "hardsigmoid" else 1e-11  # PyTorch's slope 1/6 is a float32 in float64 too
        both(lambda x: getattr(F, name)(x, *args), lambda x: peer(x, *args), POINTS, rtol=rtol)


def test_the_slope_of_hardsigmoid_is_a_sixth() -> None:
    x = gg.asarray([-4.0, -3.0, -2.9, 0.0, 2.9, 3.0, 4.0], dtype="float64")
    x.requires_grad = True
    F.hardsigmoid(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 1 / 6, 1 / 6, 1 / 6, 0.0, 0.0]


def test_gelu_by_tanh_equals_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    both(lambda x: F.gelu(x, "tanh"), lambda x: torch.nn.functional.gelu(x, approximate="tanh"), POINTS)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_glu_equals_pytorchs(axis: int) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((4, 6, 2))
    both(lambda t: F.glu(t, axis), lambda t: torch.nn.functional.glu(t, axis), x)


@pytest.mark.parametrize(
    ("shape", "slopes"), [((3, 4), 1), ((3, 4), 4), ((2, 3, 5), 3), ((2, 3, 2, 2), 3), ((5,), 1), ((), 1)]
)
def test_prelu_equals_pytorchs(shape: tuple[int, ...], slopes: int) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal(shape)
    if x.ndim > 1:
        x[0, 0] = 0.0
    both(F.prelu, torch.nn.functional.prelu, x, RNG.standard_normal(slopes))


# These multiply x by a limit of zero, or divide infinities, as in PyTorch.
UNDEFINED_AT_INFINITY = ("mish", "softsign", "silu", "gelu", "tanhshrink", "log_softmax", "softmax", "softmin")


@pytest.mark.parametrize(
    ("name", "args"), [(n, a) for n, a in FUNCTIONS if n not in UNDEFINED_AT_INFINITY], ids=lambda v: str(v)
)
def test_infinities_leave_no_nan_in_the_gradient(name: str, args: tuple[Any, ...]) -> None:
    x = gg.asarray([-np.inf, np.inf, 0.5], dtype="float64")
    x.requires_grad = True
    y = getattr(F, name)(x, *args)
    y.sum().backward()
    assert not np.isnan(y.detach().numpy()).any()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize(
    ("name", "args"), [(n, a) for n, a in FUNCTIONS if not n.endswith(("softmax", "softmin"))], ids=lambda v: str(v)
)
def test_nan_stays_nan(name: str, args: tuple[Any, ...]) -> None:
    assert np.isnan(getattr(F, name)(gg.asarray([np.nan]), *args).numpy()).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(("name", "args"), FUNCTIONS, ids=lambda v: str(v))
def test_the_dtype_stays(name: str, args: tuple[Any, ...], dtype: str) -> None:
    x = gg.asarray(POINTS[:, :4].clip(-8, 8)).astype(dtype)
    y = getattr(F, name)(x, *args)
    assert y.dtype == x.dtype
    eps = gg.finfo(x.dtype).eps
    exact = getattr(F, name)(x.astype("float64"), *args).numpy()
    np.testing.assert_allclose(y.astype("float64").numpy(), exact, rtol=8 * eps, atol=16 * eps)


@pytest.mark.parametrize(
    ("name", "args"),
    [("elu", (0.7,)), ("selu", ()), ("celu", (0.5,)), ("mish", ()), ("softsign", ()), ("hardswish", ()), ("glu", ())],
)
def test_second_gradients_equal_pytorchs(name: str, args: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    data = RNG.standard_normal((3, 4)) * 2.0
    x = gg.asarray(data)
    peer = torch.tensor(data, requires_grad=True)
    x.requires_grad = True
    y = getattr(F, name)(x, *args)
    (g,) = gg.grad((y * y).sum(), [x], create_graph=True)
    (h,) = gg.grad((g * g).sum(), [x])
    z = getattr(torch.nn.functional, name)(peer, *args)
    (gz,) = torch.autograd.grad((z * z).sum(), peer, create_graph=True)
    (hz,) = torch.autograd.grad((gz * gz).sum(), peer)
    np.testing.assert_allclose(h.numpy(), hz.numpy(), rtol=1e-9, atol=1e-11)


LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("ELU", {"alpha": 0.7}),
    ("SELU", {}),
    ("CELU", {"alpha": 0.5}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("ReLU", {}),
    ("ReLU6", {}),
    ("Hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("Hardsigmoid", {}),
    ("Hardswish", {}),
    ("Mish", {}),
    ("Softsign", {}),
    ("Tanhshrink", {}),
    ("Softshrink", {"lambd": 0.3}),
    ("Hardshrink", {"lambd": 0.3}),
    ("Threshold", {"threshold": 0.1, "value": 20.0}),
    ("LogSigmoid", {}),
    ("Softplus", {"beta": 2.0, "threshold": 5.0}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("GELU", {"approximate": "tanh"}),
    ("SiLU", {}),
    ("Identity", {}),
]


@pytest.mark.parametrize(("name", "args"), LAYERS, ids=lambda v: str(v))
def test_layers_equal_pytorchs(name: str, args: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    layer = getattr(nn, name)(**args)
    both(layer, getattr(torch.nn, name)(**args), POINTS, rtol=4e-8 if name == "Hardsigmoid" else 1e-11)
    for key, value in args.items():
        assert f"{key}={value!r}" in repr(layer) or f"{key}={value}" in repr(layer)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin", "GLU"])
@pytest.mark.parametrize("axis", [0, -1])
def test_layers_along_an_axis_equal_pytorchs(name: str, axis: int) -> None:
    torch = pytest.importorskip("torch")
    both(getattr(nn, name)(axis), getattr(torch.nn, name)(axis), RNG.standard_normal((4, 6)))


def test_prelu_has_a_parameter_that_learns() -> None:
    layer = nn.PReLU(3, init=0.1)
    assert [(n, tuple(p.shape)) for n, p in layer.named_parameters()] == [("weight", (3,))]
    layer(gg.asarray([[-1.0, -2.0, 3.0], [-1.0, 2.0, 3.0]])).sum().backward()
    assert layer.weight.grad.tolist() == [-2.0, -2.0, 0.0]
    assert repr(layer) == "PReLU(num_parameters=3)"


def test_activations_can_be_captured() -> None:
    @gg.compile
    def step(x: gg.Tensor) -> gg.Tensor:
        return F.elu(x) + F.hardswish(x) + F.mish(x) + F.softshrink(x) + F.prelu(x, gg.asarray([0.25]))

    for seed in range(3):
        x = gg.asarray(np.random.default_rng(seed).standard_normal((4, 5)))
        expected = F.elu(x) + F.hardswish(x) + F.mish(x) + F.softshrink(x) + F.prelu(x, gg.asarray([0.25]))
        assert step(x).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.elu(gg.asarray([1j])), TypeError, "elu: x must be real, got complex"),
        (lambda: F.mish([1.0]), TypeError, "mish: x must be a tensor, got list"),
        (lambda: F.celu(gg.ones((2,)), 0.0), ValueError, "celu: alpha must not be zero, got 0.0"),
        (lambda: nn.CELU(0.0), ValueError, "CELU: alpha must not be zero, got 0.0"),
        (lambda: F.softplus(gg.ones((2,)), 0.0), ValueError, "softplus: beta must not be zero, got 0.0"),
        (lambda: nn.Softplus(0.0), ValueError, "Softplus: beta must not be zero, got 0.0"),
        (
            lambda: F.prelu(gg.ones((2, 3)), gg.ones((4,))),
            ValueError,
            r"prelu: weight must have shape \(\), \(1,\) or \(3,\), that of x's channels, got \(4,\) \(x has shape",
        ),
        (lambda: F.prelu(gg.ones((2, 3)), gg.ones((1, 3))), ValueError, r"got \(1, 3\)"),
        (lambda: nn.PReLU(0), ValueError, "PReLU: num_parameters must be positive, got 0"),
        (
            lambda: F.hardtanh(gg.ones((2,)), 2.0, 1.0),
            ValueError,
            "hardtanh: min_val must not be above max_val, got 2.0 and 1.0",
        ),
        (lambda: nn.Hardtanh(2.0, 1.0), ValueError, "Hardtanh: min_val must not be above max_val, got 2.0 and 1.0"),
        (lambda: F.softshrink(gg.ones((2,)), -1.0), ValueError, "softshrink: lambd must be at least 0, got -1.0"),
        (lambda: nn.Softshrink(-1.0), ValueError, "Softshrink: lambd must be at least 0, got -1.0"),
        (lambda: F.gelu(gg.ones((2,)), "erf"), ValueError, "gelu: approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: nn.GELU("erf"), ValueError, "GELU: approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: F.glu(gg.ones(())), ValueError, r"glu: x must have an axis to halve, got shape \(\)"),
        (
            lambda: F.glu(gg.ones((2, 3))),
            ValueError,
            r"glu: axis -1 must have an even size, got 3 \(x has shape \(2, 3\)\)",
        ),
        (lambda: F.glu(gg.ones((2, 4)), 2), IndexError, r"glu: axis must be in \[-2, 2\), got 2"),
    ],
)
def test_what_activations_refuse(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_rrelu_takes_the_middle_outside_of_training() -> None:
    x = np.linspace(-3, 3, 13).astype(np.float32)
    expected = np.where(x >= 0, x, 0.25 * x)
    np.testing.assert_allclose(F.rrelu(gg.asarray(x), 0.1, 0.4).numpy(), expected, rtol=1e-6)
    layer = gg.nn.RReLU(0.1, 0.4).eval()
    np.testing.assert_allclose(layer(gg.asarray(x)).numpy(), expected, rtol=1e-6)
    assert repr(layer) == "RReLU(lower=0.1, upper=0.4)"


def test_slopes_of_rrelu_are_drawn_evenly_and_its_gradient_has_them() -> None:
    gg.random.manual_seed(3)
    x = gg.full((20_000,), -2.0).requires_grad_()
    y = gg.nn.RReLU(0.2, 0.6)(x)
    slopes = (y / -2.0).detach().numpy()
    assert 0.2 <= slopes.min() < 0.21
    assert 0.59 < slopes.max() <= 0.6
    assert abs(slopes.mean() - 0.4) < 0.005
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), slopes, rtol=1e-6)
    np.testing.assert_array_equal(F.rrelu(gg.ones((5,)), training=True).numpy(), np.ones(5))


@pytest.mark.parametrize(("lower", "upper"), [(0.5, 0.25), (float("nan"), 1.0), (0.0, float("inf"))])
def test_slopes_of_rrelu_must_be_a_range(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match=r"rrelu: lower must be at most upper and both finite, got"):
        F.rrelu(gg.ones((2,)), lower, upper)
    with pytest.raises(ValueError, match=r"RReLU: lower must be at most upper"):
        gg.nn.RReLU(lower, upper)


def test_arguments_of_rrelu_and_softmax2d_must_be_numbers_and_tensors() -> None:
    with pytest.raises(TypeError, match="RReLU: lower must be a real number, got str"):
        gg.nn.RReLU("a", 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="rrelu: upper must be a real number, got list"):
        F.rrelu(gg.ones((2,)), 0.0, [1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Softmax2d: x must be a tensor, got int"):
        gg.nn.Softmax2d()(3)
    for training in (False, True):
        assert F.rrelu(gg.asarray([-2, 3]), training=training).dtype == gg.float32


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_softmax2d_goes_over_channels(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = scipy.special.softmax(x.astype(np.float64), axis=-3)
    np.testing.assert_allclose(gg.nn.Softmax2d()(gg.asarray(x)).numpy(), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="Softmax2d: tensor must have 3 or 4 axes, got 2"):
        gg.nn.Softmax2d()(gg.ones((2, 2)))

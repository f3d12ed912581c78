"""The losses of nn against PyTorch in float64: values, gradients of both orders, kinks, messages, layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gorgo as gg

F = gg.nn.functional
Array = Any
rng = np.random.default_rng(11)


def normal(*shape: int) -> Array:
    return rng.normal(size=shape)


def signs(*shape: int) -> Array:
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0)


def chances(*shape: int) -> Array:
    return rng.uniform(0.02, 0.98, shape)


X, T = normal(4, 6), normal(4, 6)
WEIGHT = rng.uniform(0.5, 2.0, (4, 6))
BY_CLASS = rng.uniform(0.5, 2.0, 6)
LABELS = np.array([3, 0, 5, -100])
SHARES = chances(4, 6) / 3
IMAGE, IMAGE_LABELS = normal(2, 3, 4, 5), rng.integers(0, 3, (2, 4, 5))
# Inputs where a loss has a kink, or a branch ends: differences of 0, and exactly at thresholds.
KINKS = np.array([0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0])

# name, positional arguments, keywords; floating arguments get gradients, but for those that PyTorch has none for.
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("mse_loss", [X, T], {}),
    ("mse_loss", [X, T], {"weight": WEIGHT}),
    ("mse_loss", [KINKS, 0 * KINKS], {}),
    ("l1_loss", [X, T], {}),
    ("l1_loss", [X, T], {"weight": WEIGHT}),
    ("l1_loss", [KINKS, 0 * KINKS], {}),
    ("smooth_l1_loss", [X, T], {"beta": 0.7}),
    ("smooth_l1_loss", [KINKS, 0 * KINKS], {}),
    ("smooth_l1_loss", [KINKS, 0 * KINKS], {"beta": 0.0}),
    ("huber_loss", [X, T], {"delta": 0.6}),
    ("huber_loss", [X, T], {"weight": WEIGHT}),
    ("huber_loss", [KINKS, 0 * KINKS], {}),
    ("binary_cross_entropy_with_logits", [5 * X, chances(4, 6)], {}),
    ("binary_cross_entropy_with_logits", [X, chances(4, 6)], {"weight": WEIGHT}),
    ("binary_cross_entropy_with_logits", [X, chances(4, 6)], {"weight": BY_CLASS, "pos_weight": BY_CLASS[::-1].copy()}),
    ("binary_cross_entropy_with_logits", [np.array([0.0, 800.0, -800.0]), np.array([0.5, 0.0, 1.0])], {}),
    ("binary_cross_entropy", [chances(4, 6), chances(4, 6)], {}),
    ("binary_cross_entropy", [chances(4, 6), chances(4, 6)], {"weight": BY_CLASS}),
    ("nll_loss", [X, LABELS], {}),
    ("nll_loss", [X, LABELS], {"weight": BY_CLASS}),
    ("nll_loss", [X, LABELS % 6], {"ignore_index": 3}),
    ("nll_loss", [IMAGE, IMAGE_LABELS], {}),
    ("nll_loss", [IMAGE, IMAGE_LABELS], {"weight": BY_CLASS[:3].copy(), "ignore_index": 1}),
    ("nll_loss", [X[0], np.array(2)], {}),
    ("cross_entropy", [X, LABELS], {}),
    ("cross_entropy", [X, LABELS], {"weight": BY_CLASS}),
    ("cross_entropy", [X, LABELS], {"weight": BY_CLASS, "label_smoothing": 0.2}),
    ("cross_entropy", [X, LABELS], {"label_smoothing": 0.2}),
    (
        "cross_entropy",
        [IMAGE, IMAGE_LABELS],
        {"weight": BY_CLASS[:3].copy(), "label_smoothing": 0.1, "ignore_index": 2},
    ),
    ("cross_entropy", [X, SHARES], {}),
    ("cross_entropy", [X, SHARES], {"weight": BY_CLASS, "label_smoothing": 0.3}),
    ("cross_entropy", [IMAGE, chances(2, 3, 4, 5)], {"weight": BY_CLASS[:3].copy()}),
    ("cross_entropy", [X[0], SHARES[0]], {}),
    ("cross_entropy", [X[0], np.array(2)], {"weight": BY_CLASS}),
    ("kl_div", [np.log(SHARES), chances(4, 6)], {}),
    ("kl_div", [np.log(SHARES), np.log(chances(4, 6))], {"log_target": True}),
    ("hinge_embedding_loss", [X, signs(4, 6)], {"margin": 0.4}),
    ("hinge_embedding_loss", [KINKS, np.array([1.0, -1, 1, -1, 1, -1, 1])], {}),
    ("margin_ranking_loss", [X, T, signs(4, 6)], {"margin": 0.3}),
    ("margin_ranking_loss", [KINKS, 0 * KINKS, np.array([1.0, -1, 1, -1, 1, -1, 1])], {"margin": 0.5}),
    ("soft_margin_loss", [X, signs(4, 6)], {}),
    ("soft_margin_loss", [np.array([0.0, 30.0, -30.0]), np.array([1.0, -1.0, 1.0])], {}),
    ("multi_margin_loss", [X, LABELS % 6], {}),
    ("multi_margin_loss", [X, LABELS % 6], {"p": 2, "margin": 0.8, "weight": BY_CLASS}),
    ("multi_margin_loss", [X[1], np.array(4)], {}),
    ("multi_margin_loss", [KINKS[None].repeat(3, 0), np.array([0, 3, 6])], {}),
    (
        "multilabel_margin_loss",
        [X, np.array([[1, 3, -1, 2, 0, 0], [0, 1, 2, 3, 4, 5], [-1] * 6, [5, -1, 5, 5, 5, 5]])],
        {},
    ),
    ("multilabel_margin_loss", [X[0], np.array([2, 0, -1, 1, 1, 1])], {}),
    ("multilabel_margin_loss", [KINKS, np.array([0, 4, -1, 0, 0, 0, 0])], {}),
    ("multilabel_soft_margin_loss", [X, (T > 0).astype(float)], {}),
    ("multilabel_soft_margin_loss", [X, (T > 0).astype(float)], {"weight": BY_CLASS}),
    ("triplet_margin_loss", [X, T, normal(4, 6)], {}),
    ("triplet_margin_loss", [X, T, normal(4, 6)], {"margin": 2.0, "p": 1.0, "swap": True}),
    ("triplet_margin_loss", [X, T, normal(4, 6)], {"p": 3.0, "swap": True}),
    ("triplet_margin_with_distance_loss", [X, T, normal(4, 6)], {"margin": 2.0, "swap": True}),
    ("cosine_embedding_loss", [X, T, signs(4)], {}),
    ("cosine_embedding_loss", [X, T, signs(4)], {"margin": 0.2}),
    ("cosine_embedding_loss", [X[0], T[0], signs()], {"margin": -0.5}),
    ("gaussian_nll_loss", [X, T, WEIGHT], {}),
    ("gaussian_nll_loss", [X, T, WEIGHT[:, :1].copy()], {"full": True}),
    ("gaussian_nll_loss", [X, T, WEIGHT[:, 0].copy()], {"eps": 0.9}),
    ("gaussian_nll_loss", [X, T, 0.5], {}),
    ("poisson_nll_loss", [X, np.abs(3 * T)], {}),
    ("poisson_nll_loss", [np.abs(X), np.abs(3 * T)], {"log_input": False, "full": True}),
    ("pairwise_distance", [X, T], {}),
    ("pairwise_distance", [X, T[:1].copy()], {"p": 1.0}),
    ("pairwise_distance", [X, T], {"p": 3.5}),
    ("pairwise_distance", [X, T], {"p": float("inf")}),
    ("cosine_similarity", [X, T], {}),
    ("cosine_similarity", [IMAGE, normal(2, 3, 1, 5)], {}),
    ("normalize", [X], {}),
    ("normalize", [X], {"p": 3.0}),
    ("normalize", [IMAGE], {"p": 1.0}),
]
# What has a second derivative here and none in PyTorch: differences stand in.
NO_PEER_SECOND = {"multi_margin_loss", "multilabel_margin_loss"}
# PyTorch adds a float's 1e-12 to divisors here.
ROUGH = {"binary_cross_entropy": 1e-8}
MORE_REDUCTIONS = {"kl_div": ("batchmean",)}


def reductions(name: str) -> list[str | None]:
    if name in ("pairwise_distance", "cosine_similarity", "normalize"):
        return [None]
    return ["mean", "sum", "none", *MORE_REDUCTIONS.get(name, ())]


def derivatives(
    call: Callable[..., Any],
    leaves: list[Any],
    second_order: bool,
    grad: Callable[..., Any],
    weights: Callable[[Any, int], Any],
) -> list[Any]:
    """Return a value, the gradients of its product with weights, and those of their products with further weights."""
    value = call(*leaves)
    first = grad([value], leaves, [weights(value, 0)], True)
    chosen = [g for g in first if g is not None and g.requires_grad]
    second = [None] * len(leaves)
    if chosen and second_order:
        second = grad(chosen, leaves, [weights(g, 1 + i) for i, g in enumerate(chosen)], False)
    return [value, *first, *second]


def weights_like(shape: tuple[int, ...], i: int) -> Array:
    return np.random.default_rng([i, *shape]).normal(size=shape)


def ours(name: str, args: list[Any], options: dict[str, Any], at: list[int]) -> list[Any]:
    def call(*leaves: Any) -> Any:
        given = [gg.asarray(a) if isinstance(a, np.ndarray) else a for a in args]
        for i, leaf in zip(at, leaves, strict=True):
            given[i] = leaf
        return getattr(F, name)(
            *given, **{k: gg.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        )

    leaves = [gg.asarray(args[i].copy()).requires_grad_() for i in at]
    found = derivatives(
        call,
        leaves,
        name not in NO_PEER_SECOND,
        lambda outs, xs, ws, again: gg.grad(outs, xs, ws, create_graph=again, allow_unused=True),
        lambda t, i: gg.asarray(weights_like(tuple(t.shape), i)),
    )
    return [None if t is None else t.detach().numpy() for t in found]


def theirs(name: str, args: list[Any], options: dict[str, Any], at: list[int]) -> list[Any]:
    torch = pytest.importorskip("torch")

    def call(*leaves: Any) -> Any:
        given = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
        for i, leaf in zip(at, leaves, strict=True):
            given[i] = leaf
        return getattr(torch.nn.functional, name)(
            *given, **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        )

    leaves = [torch.tensor(args[i], requires_grad=True) for i in at]
    found = derivatives(
        call,
        leaves,
        name not in NO_PEER_SECOND,
        lambda outs, xs, ws, again: torch.autograd.grad(outs, xs, ws, create_graph=again, allow_unused=True),
        lambda t, i: torch.tensor(weights_like(tuple(t.shape), i)),
    )
    return [None if t is None else t.detach().numpy(force=True) for t in found]


def floating(name: str, args: list[Any]) -> list[int]:
    """Return which arguments get gradients: floats, but for signs, which choose branches."""
    signed = {"hinge_embedding_loss": 1, "margin_ranking_loss": 2, "cosine_embedding_loss": 2, "soft_margin_loss": 1}
    return [
        i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype.kind == "f" and i != signed.get(name)
    ]


@pytest.mark.filterwarnings("ignore:reduction. .mean. divides the total loss")
@pytest.mark.parametrize(("name", "args", "options"), CASES, ids=[f"{name}{i}" for i, (name, _, _) in enumerate(CASES)])
def test_values_and_gradients_of_both_orders_equal_pytorchs(
    name: str, args: list[Any], options: dict[str, Any]
) -> None:
    at = floating(name, args)
    for reduction in reductions(name):
        chosen = options if reduction is None else {**options, "reduction": reduction}
        got, expected = ours(name, args, chosen, at), theirs(name, args, chosen, at)
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            what = f"{reduction}: {'value' if i == 0 else f'derivative {i} of {len(got) - 1}'}"
            if g is None or e is None:  # nothing and zero are the same
                np.testing.assert_array_equal(np.zeros(1) if g is None else g, 0.0, what)
                np.testing.assert_array_equal(np.zeros(1) if e is None else e, 0.0, what)
                continue
            assert g.shape == e.shape, what
            np.testing.assert_allclose(g, e, rtol=ROUGH.get(name, 1e-10), atol=1e-12, err_msg=what)


def test_binary_cross_entropy_at_its_edges_has_pytorchs_values_and_slopes() -> None:
    torch = pytest.importorskip("torch")
    x = np.array([0.0, 1.0, 0.0, 1.0, 1e-60, 0.25])
    t = np.array([1.0, 0.0, 0.0, 1.0, 0.5, 0.5])
    mine = gg.asarray(x.copy()).requires_grad_()
    peer = torch.tensor(x, requires_grad=True)
    loss = F.binary_cross_entropy(mine, gg.asarray(t), reduction="none")
    other = torch.nn.functional.binary_cross_entropy(peer, torch.tensor(t), reduction="none")
    np.testing.assert_allclose(loss.detach().numpy(), other.detach().numpy(), rtol=1e-12)
    loss.sum().backward()
    other.sum().backward()
    # PyTorch's divisor is 1e-12 as a float.
    np.testing.assert_allclose(mine.grad.numpy(), peer.grad.numpy(), rtol=1e-8)


def test_second_gradients_of_margins_between_classes_agree_with_differences() -> None:
    x, labels = gg.asarray(X.copy()), gg.asarray(LABELS % 6)
    gg.testing.gradcheck(lambda x: F.multi_margin_loss(x, labels, p=2), [x], second=True)
    sets = gg.asarray([[1, 3, -1, 2, 0, 0]] * 4)
    gg.testing.gradcheck(lambda x: F.multilabel_margin_loss(x, sets) ** 2, [x], second=True)


def test_norms_at_zero_have_gradient_zero() -> None:
    for p in (1.0, 2.0, 3.0, 0.5):
        x = gg.zeros((2, 3)).requires_grad_()
        F.pairwise_distance(x, gg.zeros((2, 3)), p=p, eps=0.0).sum().backward()
        assert x.grad.tolist() == [[0.0] * 3] * 2, p
    x = gg.zeros((1, 3)).requires_grad_()
    F.normalize(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1e12, rtol=1e-6)


def test_cosine_of_a_zero_vector_has_pytorchs_gradient() -> None:
    torch = pytest.importorskip("torch")
    x, y = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [0.0, 0.0]])
    mine, peer = gg.asarray(x.copy()).requires_grad_(), torch.tensor(x, requires_grad=True)
    F.cosine_similarity(mine, gg.asarray(y)).sum().backward()
    torch.nn.functional.cosine_similarity(peer, torch.tensor(y)).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), peer.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_nan_and_infinity_stay_what_they_are(name: str) -> None:
    x = gg.asarray([float("nan"), float("inf"), -float("inf"), 1.0])
    loss = getattr(F, name)(x, gg.zeros((4,)), reduction="none").tolist()
    assert np.isnan(loss[0])
    assert loss[1] == loss[2] == float("inf")
    assert np.isnan(getattr(F, name)(x, gg.zeros((4,))).item())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_lower_precision_keeps_its_dtype_and_digits(dtype: str) -> None:
    spacing = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}[dtype]
    # Many elements, so that a sum in the dtype itself would stall.
    x = gg.asarray(np.random.default_rng(0).normal(size=5000)).astype(dtype).requires_grad_()
    t = gg.zeros((5000,), dtype=x.dtype)
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits"):
        loss = getattr(F, name)(x, t)
        assert loss.dtype == x.dtype
        wide = getattr(F, name)(x.detach().astype("float64"), t.astype("float64"))
        assert loss.item() == pytest.approx(wide.item(), rel=4 * spacing)
        (g,) = gg.grad(loss, [x])
        assert g.dtype == x.dtype


def test_means_over_nothing_are_nan_and_sums_zero() -> None:
    empty = gg.zeros((0, 3))
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits"):
        assert np.isnan(getattr(F, name)(empty, empty).item())
        assert getattr(F, name)(empty, empty, reduction="sum").item() == 0.0
        assert getattr(F, name)(empty, empty, reduction="none").shape == (0, 3)


def test_messages() -> None:
    x, y = gg.zeros((4, 3)), gg.zeros((4,))
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div"):
        with pytest.raises(ValueError, match=rf"{name}: target must have input's shape \(4, 3\), got \(4,\)"):
            getattr(F, name)(x, y)
        with pytest.raises(ValueError, match="reduction"):
            getattr(F, name)(x, x, reduction="average")
    with pytest.raises(TypeError, match="mse_loss: target must have input's dtype float32, got int64"):
        F.mse_loss(x, gg.zeros((4, 3), dtype=gg.int64))
    with pytest.raises(TypeError, match="l1_loss: input must have a real floating dtype, got int64"):
        F.l1_loss(gg.asarray([1]), gg.asarray([1]))
    with pytest.raises(ValueError, match="huber_loss: delta must be positive, got 0"):
        F.huber_loss(x, x, delta=0.0)
    with pytest.raises(ValueError, match="smooth_l1_loss: beta must not be negative, got -1"):
        F.smooth_l1_loss(x, x, beta=-1.0)
    labels = gg.zeros((4,), dtype=gg.int64)
    for name in ("cross_entropy", "nll_loss"):
        with pytest.raises(ValueError, match=rf"{name}: weight must have shape \(3,\), one for each class, got \(4,\)"):
            getattr(F, name)(x, labels, weight=y)
        with pytest.raises(IndexError, match=r"target must be in \[0, 3\) .*, got 3 at index \(1,\)"):
            getattr(F, name)(x, gg.asarray([0, 3, -1, 0]), weight=gg.ones((3,)))
        with pytest.raises(IndexError, match=r"got -1 at index \(2,\)"):
            getattr(F, name)(x, gg.asarray([0, 2, -1, 0]))
    with pytest.raises(
        TypeError, match=r"target must be of integers, or of input's shape \(4, 3\) .*got float64 of shape"
    ):
        F.cross_entropy(x, gg.zeros((4, 3), dtype=gg.float64))
    with pytest.raises(IndexError, match=r"multi_margin_loss: target must be in \[0, 3\), got -1"):
        F.multi_margin_loss(x, gg.asarray([0, 2, -1, 0]))
    with pytest.raises(IndexError, match=r"multilabel_margin_loss: target must be in \[-1, 3\), got 3"):
        F.multilabel_margin_loss(x, gg.full((4, 3), 3))
    with pytest.raises(ValueError, match="multi_margin_loss: p must be 1 or 2, got 3"):
        F.multi_margin_loss(x, labels, p=3)
    with pytest.raises(ValueError, match="triplet_margin_loss: margin must be positive, got 0"):
        F.triplet_margin_loss(x, x, x, margin=0.0)
    with pytest.raises(ValueError, match=r"cosine_embedding_loss: target must have shape \(n,\) for inputs"):
        F.cosine_embedding_loss(x, x, gg.ones((3,)))
    with pytest.raises(ValueError, match=r"gaussian_nll_loss: var must have input's shape \(4, 3\)"):
        F.gaussian_nll_loss(x, x, gg.ones((2,)))
    with pytest.raises(ValueError, match="gaussian_nll_loss: var must not be negative, got -1"):
        F.gaussian_nll_loss(x, x, gg.full((4, 3), -1.0))
    with pytest.raises(ValueError, match=r"MSELoss: reduction must be one of .*, got 'average'"):
        gg.nn.MSELoss("average")


LAYERS: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("MSELoss", {"reduction": "sum"}, [X, T]),
    ("L1Loss", {}, [X, T]),
    ("SmoothL1Loss", {"beta": 0.3}, [X, T]),
    ("HuberLoss", {"delta": 0.3}, [X, T]),
    ("BCELoss", {"weight": BY_CLASS}, [chances(4, 6), chances(4, 6)]),
    ("BCEWithLogitsLoss", {"weight": BY_CLASS, "pos_weight": BY_CLASS}, [X, chances(4, 6)]),
    ("NLLLoss", {"weight": BY_CLASS, "ignore_index": 3}, [X, LABELS % 6]),
    ("CrossEntropyLoss", {"weight": BY_CLASS, "label_smoothing": 0.1}, [X, LABELS]),
    ("KLDivLoss", {"reduction": "batchmean", "log_target": True}, [X, T]),
    ("HingeEmbeddingLoss", {"margin": 0.3}, [X, signs(4, 6)]),
    ("MarginRankingLoss", {"margin": 0.3}, [X, T, signs(4, 6)]),
    ("SoftMarginLoss", {}, [X, signs(4, 6)]),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": BY_CLASS}, [X, LABELS % 6]),
    ("MultiLabelMarginLoss", {}, [X, np.full((4, 6), 2)]),
    ("MultiLabelSoftMarginLoss", {"weight": BY_CLASS}, [X, chances(4, 6)]),
    ("TripletMarginLoss", {"margin": 2.0, "p": 1.0, "swap": True}, [X, T, WEIGHT]),
    ("TripletMarginWithDistanceLoss", {"margin": 2.0, "swap": True}, [X, T, WEIGHT]),
    ("CosineEmbeddingLoss", {"margin": 0.1}, [X, T, signs(4)]),
    ("GaussianNLLLoss", {"full": True, "eps": 0.8}, [X, T, WEIGHT]),
    ("PoissonNLLLoss", {"log_input": False, "full": True, "eps": 0.1}, [np.abs(X), np.abs(T)]),
    ("PairwiseDistance", {"p": 1.0, "eps": 0.1}, [X, T]),
    ("CosineSimilarity", {"eps": 2.0}, [X, T]),
]


@pytest.mark.parametrize(("name", "options", "args"), LAYERS, ids=[name for name, _, _ in LAYERS])
def test_layers_hand_their_options_on(name: str, options: dict[str, Any], args: list[Any]) -> None:
    torch = pytest.importorskip("torch")
    layer = getattr(gg.nn, name)(**{k: gg.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()})
    peer = getattr(torch.nn, name)(
        **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    )
    got = layer(*[gg.asarray(a) for a in args])
    np.testing.assert_allclose(got.numpy(), peer(*[torch.tensor(a) for a in args]).numpy(), rtol=1e-11)
    assert set(layer.state_dict()) == set(peer.state_dict())
    assert repr(layer).startswith(name)


def test_a_captured_step_with_each_hot_loss_equals_the_eager_one() -> None:
    x, t = gg.asarray(X.astype(np.float32)), gg.asarray(chances(4, 6).astype(np.float32))
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits"):

        def step(x: Any, t: Any, name: str = name) -> Any:
            leaf = x.detach().requires_grad_()
            loss = getattr(F, name)(leaf, t)
            return loss, gg.grad(loss, [leaf])[0]

        eager = [v.detach().numpy().tobytes() for v in step(x, t)]
        compiled = gg.compile(step)
        for _ in range(3):
            assert [v.detach().numpy().tobytes() for v in compiled(x, t)] == eager


@pytest.mark.parametrize(
    ("loss", "good", "wrong"),
    [
        (F.multi_margin_loss, [0, 2], [[0, -1], [0, -3], [3, 0], [-9, 0]]),
        (
            F.multilabel_margin_loss,
            [[0, -1, 1], [2, 1, 0]],
            [[[0, -2, -1], [0, 1, 2]], [[0, -1, -2], [0, 1, 2]], [[0, -1, 3], [0, 1, 2]], [[3, -1, 0], [0, 1, 2]]],
        ),
    ],
)
def test_margin_losses_refuse_targets_out_of_range_in_a_captured_step_too(loss, good, wrong) -> None:
    scores = gg.asarray([[0.5, 1.0, -1.0], [2.0, 0.0, 0.25]])
    compiled = gg.compile(loss)
    expected = loss(scores, gg.asarray(good)).item()
    assert [compiled(scores, gg.asarray(good)).item() for _ in range(2)] == [expected] * 2  # recorded, replayed
    for targets in wrong:
        with pytest.raises(IndexError, match=rf"^{loss.__name__}: target must be in \[(0|-1), 3\), got -?\d"):
            loss(scores, gg.asarray(targets))
        with pytest.raises(IndexError, match=r"^(take_along_axis|scatter_add): index must be in \[-3, 3\), got 3"):
            compiled(scores, gg.asarray(targets))
        assert compiled(scores, gg.asarray(good)).item() == expected

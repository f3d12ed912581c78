"""Adam, AdamW, RMSprop and Adagrad against PyTorch's, step by step; captured steps, state, groups, messages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gorgo as gg

SHAPES = [(3, 5), (1,), (), (40_000,), (33,), (0, 4)]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3}),
    ("Adam", {"lr": 0.02, "betas": (0.0, 0.5)}),
    ("Adam", {"lr": 0.02, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "amsgrad": True}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "betas": (0.3, 0.9)}),
    ("AdamW", {"lr": 0.02, "amsgrad": True, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.4, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.02, "centered": True, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.02, "centered": True, "alpha": 0.4, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
]
KINDS = {
    "Adam": {"exp_avg", "exp_avg_sq", "step"},
    "AdamW": {"exp_avg", "exp_avg_sq", "step"},
    "RMSprop": {"square_avg"},
    "Adagrad": {"sum", "step"},
}


def arrays(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in SHAPES]


def ours_of(seed: int, dtype: str = "float64") -> list[gg.Tensor]:
    return [gg.asarray(a).astype(dtype).requires_grad_() for a in arrays(seed)]


def give(params: list[gg.Tensor], seed: int) -> None:
    for p, g in zip(params, arrays(seed), strict=True):
        p.grad = gg.asarray(g).astype(p.dtype)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_hundred_steps_equal_pytorchs(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays(0)]
    peer = getattr(torch.optim, name)(theirs, **options)
    ours = ours_of(0)
    opt = getattr(gg.optim, name)(ours, **options)
    for step in range(100):
        give(ours, step + 1)
        for t, g in zip(theirs, arrays(step + 1), strict=True):
            t.grad = torch.tensor(g)
        if step == 50:
            opt.param_groups[0]["lr"] = peer.param_groups[0]["lr"] = peer.param_groups[0]["lr"] / 3
        opt.step()
        peer.step()
        if step < 3 or step == 99:
            for mine, t in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(mine.detach().numpy(), t.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_captured_step_equals_an_eager_one_bit_for_bit(name: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    inputs = [gg.asarray(rng.normal(size=(6, 5)).astype(np.float32)) for _ in range(8)]

    def run(captured: bool) -> list[bytes]:
        w = gg.asarray(np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)).requires_grad_()
        b = gg.zeros((3,)).requires_grad_()
        opt = getattr(gg.optim, name)([w, b], **options)

        def step(x: gg.Tensor) -> gg.Tensor:
            opt.zero_grad()
            loss = gg.tanh(x @ w + b).square().mean()
            loss.backward()
            opt.step()
            return loss

        function = gg.compile(step) if captured else step
        out = []
        for i, x in enumerate(inputs):
            if i == 5:
                opt.param_groups[0]["lr"] = 0.005
            out.append(function(x).detach().numpy().tobytes())
        if captured:
            assert function.recordings == 1
        return [*out, w.detach().numpy().tobytes(), b.detach().numpy().tobytes()]

    assert run(True) == run(False)


def test_betas_are_read_when_a_captured_step_runs() -> None:
    w, other = gg.ones((2,)).requires_grad_(), gg.ones((2,)).requires_grad_()
    opt, eager = gg.optim.Adam([w]), gg.optim.Adam([other])

    def step_of(p: gg.Tensor, optimizer: gg.optim.Adam) -> Any:
        def step() -> gg.Tensor:
            optimizer.zero_grad()
            loss = (p * p).sum()
            loss.backward()
            optimizer.step()
            return loss

        return step

    captured, plain = gg.compile(step_of(w, opt)), step_of(other, eager)
    for i in range(6):
        if i == 3:
            opt.param_groups[0]["betas"] = eager.param_groups[0]["betas"] = (0.5, 0.6)
        captured()
        plain()
    assert captured.recordings == 1
    assert w.tolist() == other.tolist()


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_gradient_changes_nothing(name: str) -> None:
    a, b = gg.ones((3,)).requires_grad_(), gg.ones((3,)).requires_grad_()
    opt = getattr(gg.optim, name)([a, b], weight_decay=0.5)
    opt.step()
    a.grad = gg.ones((3,))
    opt.step()
    assert a.tolist() != [1.0] * 3
    assert b.tolist() == [1.0] * 3
    assert all(v.numpy().max() == 0 for v in opt.state[id(b)].values())


@pytest.mark.parametrize("name", KINDS)
def test_state_is_made_at_once_and_named_as_pytorchs(name: str) -> None:
    w = gg.ones((3,)).requires_grad_()
    opt = getattr(gg.optim, name)([w])
    assert set(opt.state[id(w)]) == KINDS[name]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_state_dict_resumes_bit_for_bit(name: str, options: dict[str, Any]) -> None:
    def run(params: list[gg.Tensor], opt: Any, seeds: range) -> None:
        for seed in seeds:
            give(params, seed)
            opt.step()

    a = ours_of(0, "float32")
    opt_a = getattr(gg.optim, name)(a, **options)
    run(a, opt_a, range(1, 4))
    b = [gg.asarray(p.detach().numpy().copy()).requires_grad_() for p in a]
    opt_b = getattr(gg.optim, name)(b, lr=0.7)
    opt_b.load_state_dict(opt_a.state_dict())
    run(a, opt_a, range(4, 7))
    run(b, opt_b, range(4, 7))
    for p, q in zip(a, b, strict=True):
        assert p.detach().numpy().tobytes() == q.detach().numpy().tobytes()


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_pytorchs_state_dict_is_taken_over(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays(0)]
    peer = getattr(torch.optim, name)(theirs, **options)

    def step_peer(seed: int) -> None:
        for t, g in zip(theirs, arrays(seed), strict=True):
            t.grad = torch.tensor(g)
        peer.step()

    for seed in (1, 2, 3):
        step_peer(seed)
    ours = [gg.asarray(t.detach().numpy().copy()).requires_grad_() for t in theirs]
    opt = getattr(gg.optim, name)(ours)
    opt.load_state_dict(peer.state_dict())
    for seed in (4, 5):
        step_peer(seed)
        give(ours, seed)
        opt.step()
    for mine, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), t.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_groups_have_their_own_options(name: str) -> None:
    a, b, alone = (gg.ones((2,)).requires_grad_() for _ in range(3))
    opt = getattr(gg.optim, name)([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    other = getattr(gg.optim, name)([alone], lr=0.5)
    (a + b + alone).sum().backward()
    opt.step()
    other.step()
    assert b.tolist() == alone.tolist()
    assert b.tolist()[0] < a.tolist()[0] < 1.0


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 1.6e-2)])
@pytest.mark.parametrize(("name", "options"), CASES[:1] + CASES[12:15] + CASES[15:16], ids=str)
def test_lower_precision_rounds_once(name: str, options: dict[str, Any], dtype: str, tolerance: float) -> None:
    ours = ours_of(0, dtype)
    wide = [p.detach().astype("float64").requires_grad_() for p in ours]
    options = {**options, "eps": 1e-3}
    narrow_opt, wide_opt = getattr(gg.optim, name)(ours, **options), getattr(gg.optim, name)(wide, **options)
    give(ours, 1)
    for p, q in zip(ours, wide, strict=True):
        q.grad = p.grad.astype("float64")
    narrow_opt.step()
    wide_opt.step()
    for p, q in zip(ours, wide, strict=True):
        np.testing.assert_allclose(
            p.detach().astype("float64").numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_one_thread_and_two_give_the_same_bits(name: str, options: dict[str, Any]) -> None:
    before = gg.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            gg.set_num_threads(threads)
            ours = ours_of(0, "float32")
            opt = getattr(gg.optim, name)(ours, **options)
            for seed in (1, 2, 3):
                give(ours, seed)
                opt.step()
            results.append(b"".join(p.detach().numpy().tobytes() for p in ours))
        assert results[0] == results[1]
    finally:
        gg.set_num_threads(before)


def test_gradients_and_parameters_of_any_layout() -> None:
    rng = np.random.default_rng(4)
    p, g = rng.normal(size=(2, 6, 5))
    plain, whole = gg.asarray(p.copy()), gg.asarray(np.repeat(p, 2, axis=1))

    def state() -> list[gg.Tensor]:
        return [gg.zeros((6, 5), dtype=gg.float64), gg.zeros((6, 5), dtype=gg.float64), gg.zeros((), dtype=gg.int64)]

    gg.adam_update(plain, gg.asarray(g), *state(), count=1, lr=0.5)
    gg.adam_update(whole[:, ::2], gg.asarray(g.T.copy()).T, *state(), count=1, lr=0.5)
    assert whole.numpy()[:, ::2].tobytes() == plain.numpy().tobytes()
    np.testing.assert_array_equal(whole.numpy()[:, 1::2], p)


def test_momentum_switched_on_later_gets_its_buffers() -> None:
    w = gg.ones((2,)).requires_grad_()
    opt = gg.optim.RMSprop([w], lr=0.1)
    w.grad = gg.ones((2,))
    opt.step()
    opt.param_groups[0]["momentum"] = 0.5
    opt.step()
    assert set(opt.state[id(w)]) == {"square_avg", "momentum_buffer"}
    opt.param_groups[0]["momentum"] = 0.0
    before = opt.state[id(w)]["momentum_buffer"].tolist()
    opt.step()
    assert opt.state[id(w)]["momentum_buffer"].tolist() == before


@pytest.mark.parametrize("name", KINDS)
def test_a_nan_gradient_stays_with_its_element(name: str) -> None:
    w = gg.ones((4,)).requires_grad_()
    opt = getattr(gg.optim, name)([w])
    w.grad = gg.asarray(np.array([1.0, np.nan, np.inf, -1.0], np.float32))
    opt.step()
    assert np.isfinite(w.detach().numpy()).tolist() == [True, False, False, True]


W = (3,)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda w: gg.optim.Adam([w], lr=-1.0), ValueError, "Adam: lr must be 0 or more, got -1.0"),
        (lambda w: gg.optim.Adam([w], eps=-1.0), ValueError, "Adam: eps must be 0 or more, got -1.0"),
        (lambda w: gg.optim.Adam([w], betas=(0.9, 1.0)), ValueError, "Adam: betas must be in [0, 1), got (0.9, 1.0)"),
        (lambda w: gg.optim.Adam([w], betas=0.9), TypeError, "ParamGroup: betas must be two numbers, got 0.9"),
        (lambda w: gg.optim.Adam([w], betas=("a", 1)), TypeError, "betas must be two numbers, got ('a', 1)"),
        (lambda w: gg.optim.AdamW([w], weight_decay=-1.0), ValueError, "AdamW: weight_decay must be 0 or more, got"),
        (lambda w: gg.optim.RMSprop([w], alpha=-1.0), ValueError, "RMSprop: alpha must be 0 or more, got -1.0"),
        (lambda w: gg.optim.RMSprop([w], momentum=-1.0), ValueError, "RMSprop: momentum must be 0 or more, got -1.0"),
        (lambda w: gg.optim.Adagrad([w], lr_decay=-1.0), ValueError, "Adagrad: lr_decay must be 0 or more, got -1.0"),
        (
            lambda w: gg.optim.Adagrad([w], initial_accumulator_value=-1.0),
            ValueError,
            "Adagrad: initial_accumulator_value must be 0 or more, got -1.0",
        ),
        (
            lambda w: gg.adam_update(w, gg.ones(W), gg.ones(W), count=1, lr=0.1),
            ValueError,
            "parameters, gradients, first moments, second moments, step counters (5 times count 1), got 3",
        ),
        (
            lambda w: gg.adam_update(
                w, gg.ones(W), gg.ones(W), gg.ones((4,)), gg.zeros((), dtype=gg.int64), count=1, lr=1
            ),
            ValueError,
            "adam_update: second moment 0 must be float32 (3,) like its parameter, got float32 (4,)",
        ),
        (
            lambda w: gg.adam_update(w, gg.ones(W), gg.ones(W), gg.ones(W), gg.zeros(()), count=1, lr=0.1),
            ValueError,
            "adam_update: step counter 0 must be one int64, got float32 ()",
        ),
        (
            lambda w: gg.rmsprop_update(w, gg.ones(W), gg.ones(W), count=1, lr=0.1, momentum=0.5),
            ValueError,
            "rmsprop_update: operands must be parameters, gradients, square averages, buffers (4 times count 1), got 3",
        ),
        (
            lambda w: gg.adagrad_update(w, gg.ones(W), count=1, lr=0.1),
            ValueError,
            "adagrad_update: operands must be parameters, gradients, sums, step counters (4 times count 1), got 2",
        ),
        (
            lambda w: gg.rmsprop_update(
                w, w.detach().astype("float64"), gg.ones(W), gg.ones(W), gg.ones(W), gg.ones(W), count=2, lr=0.1
            ),
            TypeError,
            "rmsprop_update: parameters must have one dtype, got float32 and float64",
        ),
    ],
)
def test_messages(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make(gg.ones(W).requires_grad_())


def test_betas_must_stay_two_numbers() -> None:
    opt = gg.optim.Adam([gg.ones((1,)).requires_grad_()])
    with pytest.raises(TypeError, match=re.escape("betas must be two numbers, got (0.5,)")):
        opt.param_groups[0]["betas"] = (0.5,)

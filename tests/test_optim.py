"""SGD: the step it takes, against PyTorch's formulas and PyTorch itself."""

from __future__ import annotations

import numpy as np
import pytest

import gorgo as gg


def test_a_step_changes_parameters() -> None:
    w = gg.ones((3,)).requires_grad_()
    opt = gg.optim.SGD([w], lr=0.1)
    (w * w).sum().backward()
    opt.step()
    np.testing.assert_allclose(np.asarray(w.detach()), [0.8] * 3, rtol=1e-6)


def test_a_missing_gradient_changes_nothing() -> None:
    w = gg.ones((3,)).requires_grad_()
    opt = gg.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.5)
    opt.step()
    assert w.tolist() == [1.0] * 3


def test_a_larger_rate_moves_further() -> None:
    moved = []
    for lr in (0.01, 0.1):
        w = gg.ones((3,)).requires_grad_()
        opt = gg.optim.SGD([w], lr=lr)
        (w * w).sum().backward()
        opt.step()
        moved.append(1.0 - w.tolist()[0])
    assert 0.0 < moved[0] < moved[1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.01},
        {"momentum": 0.8, "weight_decay": 0.05, "nesterov": True},
        {"momentum": 0.8, "maximize": True},
    ],
)
def test_a_hundred_steps_equal_pytorchs(options: dict[str, object]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    starts = [rng.standard_normal((4, 3)), rng.standard_normal((5,))]
    targets = [rng.standard_normal(s.shape) for s in starts]
    ours = [gg.asarray(s.copy()).requires_grad_() for s in starts]
    theirs = [torch.tensor(s, requires_grad=True) for s in starts]
    lr = 0.01 if options.get("maximize") else 0.1
    opt, peer = gg.optim.SGD(ours, lr=lr, **options), torch.optim.SGD(theirs, lr=lr, **options)
    for i in range(100):
        opt.zero_grad()
        peer.zero_grad()
        loss = sum(
            (((w - gg.asarray(t)) ** 2).sum() for w, t in zip(ours, targets, strict=True)),
            start=gg.zeros((), dtype=gg.float64),
        )
        loss.backward()
        sum(((w - torch.tensor(t)) ** 2).sum() for w, t in zip(theirs, targets, strict=True)).backward()
        if i == 50:
            opt.param_groups[0]["lr"] = peer.param_groups[0]["lr"] = lr / 2
        opt.step()
        peer.step()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a.detach()), b.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_groups_have_their_own_options() -> None:
    a, b = gg.ones((1,)).requires_grad_(), gg.ones((1,)).requires_grad_()
    opt = gg.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    (a + b).sum().backward()
    opt.step()
    np.testing.assert_allclose([a.item(), b.item()], [0.9, 0.5], rtol=1e-6)


def test_state_dict_resumes_where_it_left_off() -> None:
    def run(steps: int, w: gg.Tensor, opt: gg.optim.SGD) -> None:
        for _ in range(steps):
            opt.zero_grad()
            (w * w).sum().backward()
            opt.step()

    a = gg.ones((2,)).requires_grad_()
    opt_a = gg.optim.SGD([a], lr=0.1, momentum=0.9)
    run(3, a, opt_a)
    b = gg.asarray(a.detach().numpy().copy()).requires_grad_()
    opt_b = gg.optim.SGD([b], lr=0.7, momentum=0.1)
    opt_b.load_state_dict(opt_a.state_dict())
    run(3, a, opt_a)
    run(3, b, opt_b)
    assert a.tolist() == b.tolist()


def test_step_with_a_closure_returns_its_result() -> None:
    w = gg.ones((1,)).requires_grad_()
    opt = gg.optim.SGD([w], lr=0.1)

    def closure() -> float:
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss.item()

    assert opt.step(closure) == 1.0
    assert w.item() < 1.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda _: gg.optim.SGD([], lr=0.1), ValueError, "params must not be empty"),
        (lambda w: gg.optim.SGD([w], lr=-1.0), ValueError, "lr must be 0 or more, got -1.0"),
        (lambda w: gg.optim.SGD([w], lr=0.1, nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda w: gg.optim.SGD([w, w], lr=0.1), ValueError, "one group once"),
        (lambda w: gg.optim.SGD([w * 2], lr=0.1), ValueError, "leaves"),
        (lambda _: gg.optim.SGD([1.0], lr=0.1), TypeError, "must be tensors, got float"),
        (lambda w: gg.optim.SGD([{"params": [w], "rate": 1}], lr=0.1), TypeError, "rate"),
    ],
)
def test_messages(make: object, error: type[Exception], message: str) -> None:
    w = gg.ones((1,)).requires_grad_()
    with pytest.raises(error, match=message):
        make(w)


def test_the_rate_must_be_a_number() -> None:
    opt = gg.optim.SGD([gg.ones((1,)).requires_grad_()], lr=0.1)
    with pytest.raises(TypeError, match="lr must be a number, got str"):
        opt.param_groups[0]["lr"] = "fast"


@pytest.mark.parametrize("nesterov", [False, True])
def test_pytorchs_state_dict_is_taken_over(nesterov: bool) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(4)
    start, gradients = random.normal(size=(5,)), random.normal(size=(6, 5))
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov}
    theirs = torch.tensor(start, requires_grad=True)
    peer = torch.optim.SGD([theirs], **options)

    def step_of_theirs(g: np.ndarray) -> None:
        theirs.grad = torch.tensor(g)
        peer.step()

    for g in gradients[:3]:
        step_of_theirs(g)
    ours = gg.asarray(theirs.detach().numpy().copy()).requires_grad_()
    opt = gg.optim.SGD([ours], **options)
    opt.load_state_dict(peer.state_dict())
    for g in gradients[3:]:
        step_of_theirs(g)
        ours.grad = gg.asarray(g)
        opt.step()
    np.testing.assert_allclose(np.asarray(ours.detach()), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)

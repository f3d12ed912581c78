"""Learning-rate schedules against PyTorch's over a hundred steps, their state, and inside captured steps; clipping."""

from __future__ import annotations

import itertools
import json
import math
import warnings

import numpy as np
import pytest

import gorgo as gg
from gorgo.optim import lr_scheduler as ours

torch = pytest.importorskip("torch")
theirs = torch.optim.lr_scheduler


def make_optimizers(groups: int = 2):
    a = [{"params": [gg.zeros((1,)).requires_grad_()], "lr": 0.1 * (i + 1)} for i in range(groups)]
    b = [{"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1 * (i + 1)} for i in range(groups)]
    return gg.optim.SGD(a, lr=0.5, momentum=0.9), torch.optim.SGD(b, lr=0.5, momentum=0.9)


def rates(optimizer, *names):
    return [float(group[name]) for group in optimizer.param_groups for name in ("lr", *names)]


SCHEDULES = {
    "step": lambda m, o: m.StepLR(o, 7, 0.6),
    "multistep": lambda m, o: m.MultiStepLR(o, [30, 4, 4, 60], 0.3),
    "constant": lambda m, o: m.ConstantLR(o, 0.25, 11),
    "linear": lambda m, o: m.LinearLR(o, 0.2, 0.9, 37),
    "linear default": lambda m, o: m.LinearLR(o),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.93),
    "polynomial": lambda m, o: m.PolynomialLR(o, 60, 1.7),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 23, 0.003),
    "cosine of one": lambda m, o: m.CosineAnnealingLR(o, 1, 0.003),
    "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 9, 1, 0.001),
    "restarts growing": lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 2, 0.001),
    "lambda": lambda m, o: m.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (1 + e)]),
    "multiplicative": lambda m, o: m.MultiplicativeLR(o, lambda _: 0.95),
    "one cycle": lambda m, o: m.OneCycleLR(o, [0.5, 1.0], total_steps=101),
    "one cycle linear": lambda m, o: m.OneCycleLR(o, 0.5, epochs=11, steps_per_epoch=10, anneal_strategy="linear"),
    "one cycle of three": lambda m, o: m.OneCycleLR(o, 0.5, total_steps=120, three_phase=True, pct_start=0.2),
    "sequential": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=10), m.CosineAnnealingLR(o, 40), m.ExponentialLR(o, 0.9)], [10, 50]
    ),
    "sequential of restarts": lambda m, o: m.SequentialLR(
        o, [m.ConstantLR(o, 0.1, 20), m.CosineAnnealingWarmRestarts(o, 8, 2)], [20]
    ),
    "chained": lambda m, o: m.ChainedScheduler([m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.9)]),
    "sequential of chained": lambda m, o: m.SequentialLR(
        o, [m.ChainedScheduler([m.LinearLR(o, 0.1, total_iters=6), m.StepLR(o, 3)]), m.StepLR(o, 5)], [9]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_hundred_steps_equal_pytorchs(name):
    a, b = make_optimizers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of steps before the optimizer's
        mine, peer = SCHEDULES[name](ours, a), SCHEDULES[name](theirs, b)
        names = ("momentum",) if "cycle" in name else ()
        assert rates(a, *names) == rates(b, *names)
        for step in range(100):
            mine.step()
            peer.step()
            assert rates(a, *names) == rates(b, *names), f"after step {step + 1}"
            assert mine.get_last_lr() == rates(a)
            assert [g.cells["lr"].value for g in a.param_groups] == rates(a)


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_goes_through_json_and_continues(name):
    a, _ = make_optimizers()
    b, _ = make_optimizers()
    one, other = SCHEDULES[name](ours, a), SCHEDULES[name](ours, b)
    for _ in range(33):
        one.step()
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    b.load_state_dict(a.state_dict())
    for _ in range(40):
        one.step()
        other.step()
        assert rates(a, "momentum") == rates(b, "momentum")
    assert one.state_dict() == other.state_dict()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "factor": 0.5, "patience": 2, "min_lr": [0.01, 0.02]},
        {"patience": 0, "cooldown": 3, "threshold": 0.1},
        {"threshold_mode": "abs", "threshold": 0.5, "patience": 1},
        {"mode": "max", "threshold_mode": "abs", "patience": 1, "factor": 0.9},
    ],
)
def test_plateau_equals_pytorchs(options, rng):
    a, b = make_optimizers()
    mine, peer = ours.ReduceLROnPlateau(a, **options), theirs.ReduceLROnPlateau(b, **options)
    for value in np.concatenate([np.exp(-np.arange(40) / 8) + 0.1 * rng.random(40), 0.5 + 0.01 * rng.random(60)]):
        mine.step(float(value))
        peer.step(float(value))
        assert rates(a) == rates(b)
    assert rates(a) != [0.1, 0.2]
    again = ours.ReduceLROnPlateau(a, **options)
    again.load_state_dict(json.loads(json.dumps(mine.state_dict())))
    assert again.state_dict() == mine.state_dict()


def test_plateau_takes_a_tensor_and_nothing_else():
    schedule = ours.ReduceLROnPlateau(make_optimizers()[0])
    schedule.step(gg.asarray(0.5))
    assert schedule.best == 0.5
    with pytest.raises(TypeError, match="metrics must be a number, got NoneType"):
        schedule.step()


def test_restarts_go_to_a_fraction_of_an_epoch():
    a, b = make_optimizers()
    mine, peer = ours.CosineAnnealingWarmRestarts(a, 4, 2), theirs.CosineAnnealingWarmRestarts(b, 4, 2)
    for i in range(100):
        mine.step(i / 3)
        peer.step(i / 3)
        np.testing.assert_allclose(rates(a), rates(b), rtol=1e-12)
    with pytest.raises(ValueError, match="epoch must be 0 or more, got -1"):
        mine.step(-1)


def train(schedule_at: str, steps: int = 8):
    w = gg.ones((3,), dtype=gg.float64).requires_grad_()
    opt = gg.optim.SGD([w], lr=0.1, momentum=0.9)
    schedule = ours.SequentialLR(opt, [ours.LinearLR(opt, 0.5, total_iters=3), ours.ExponentialLR(opt, 0.7)], [3])

    def step(x):
        opt.zero_grad()
        loss = ((w * x) ** 2).sum()
        loss.backward()
        opt.step()
        if schedule_at in ("inside", "eager"):
            schedule.step()
        return loss

    run = step if schedule_at == "eager" else gg.compile(step)
    losses, seen = [], []
    for _ in range(steps):
        losses.append(run(gg.ones((3,), dtype=gg.float64)).item())
        if schedule_at == "after":
            schedule.step()
        seen.append(opt.param_groups[0]["lr"])
    return losses, seen, w.tolist(), run


@pytest.mark.parametrize("place", ["inside", "after"])
def test_captured_steps_see_each_new_rate(place):
    losses, seen, w, run = train(place)
    assert (losses, seen, w) == train("eager")[:3]
    assert len(set(seen)) > 5
    assert run.recordings == 1


def test_plateau_inside_a_captured_step_is_refused():
    w = gg.ones((3,)).requires_grad_()
    opt = gg.optim.SGD([w], lr=0.1)
    schedule = ours.ReduceLROnPlateau(opt)

    @gg.compile
    def step(x):
        schedule.step((w * x).sum())

    with pytest.raises(RuntimeError, match="ReduceLROnPlateau: step needs a value"):
        step(gg.ones((3,)))


def test_a_late_start_needs_first_rates():
    opt, peer = make_optimizers()
    with pytest.raises(KeyError, match="group 0 must hold 'initial_lr' when last_epoch is 4"):
        ours.StepLR(opt, 2, last_epoch=4)
    for group in (*opt.param_groups, *peer.param_groups):
        group["initial_lr"] = 0.3
    pairs = [
        (m.CosineAnnealingLR(o, 20, last_epoch=4), m.LinearLR(o, 0.5, total_iters=9, last_epoch=4))
        for m, o in ((ours, opt), (theirs, peer))
    ]
    for _ in range(20):
        assert rates(opt) == rates(peer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for schedules in pairs:
                for schedule in schedules:
                    schedule.step()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda _: ours.StepLR("x", 3), TypeError, r"StepLR: optimizer must be a gorgo.optim.Optimizer, got str"),
        (lambda o: ours.StepLR(o, 0), ValueError, "StepLR: step_size must be 1 or more, got 0"),
        (lambda o: ours.StepLR(o, 1.5), TypeError, "StepLR: step_size must be an integer, got float"),
        (lambda o: ours.MultiStepLR(o, [-1]), ValueError, "milestones must be 0 or more, got -1"),
        (lambda o: ours.ConstantLR(o, 1.5), ValueError, r"factor must be in \[0, 1\], got 1.5"),
        (lambda o: ours.ConstantLR(o, 0.0), ValueError, "factor must not be 0"),
        (lambda o: ours.LinearLR(o, 0.0), ValueError, r"start_factor must be in \(0, 1\], got 0.0"),
        (lambda o: ours.LinearLR(o, 0.5, 2.0), ValueError, r"end_factor must be in \[0, 1\], got 2.0"),
        (lambda o: ours.LinearLR(o, total_iters=0), ValueError, "total_iters must be 1 or more, got 0"),
        (lambda o: ours.PolynomialLR(o, 0), ValueError, "total_iters must be 1 or more, got 0"),
        (lambda o: ours.CosineAnnealingLR(o, 0), ValueError, "T_max must be 1 or more, got 0"),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 0), ValueError, "T_0 must be 1 or more, got 0"),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 1, 0), ValueError, "T_mult must be 1 or more, got 0"),
        (lambda o: ours.LambdaLR(o, [abs]), ValueError, "one entry for each of 2 groups, got 1"),
        (lambda o: ours.LambdaLR(o, 3), TypeError, "lr_lambda must be a function of the epoch, got int"),
        (lambda o: ours.OneCycleLR(o, 1.0), ValueError, "total_steps, or epochs and steps_per_epoch, must be given"),
        (lambda o: ours.OneCycleLR(o, 1.0, 10, pct_start=2.0), ValueError, "pct_start must be in"),
        (lambda o: ours.OneCycleLR(o, 1.0, 10, anneal_strategy="x"), ValueError, "'cos' or 'linear', got 'x'"),
        (lambda o: ours.SequentialLR(o, [], []), ValueError, "schedulers must not be empty"),
        (lambda o: ours.SequentialLR(o, [ours.StepLR(o, 3)], [1]), ValueError, "one less than schedulers, got 1 and 1"),
        (
            lambda o: ours.SequentialLR(o, [ours.StepLR(o, 3)] * 3, [5, 5]),
            ValueError,
            r"milestones must rise, got \[5, 5\]",
        ),
        (
            lambda o: ours.SequentialLR(o, [ours.StepLR(make_optimizers()[0], 3)], []),
            ValueError,
            "got another one's at position 0",
        ),
        (lambda o: ours.ChainedScheduler([3], o), TypeError, "got int at position 0"),
        (lambda o: ours.ReduceLROnPlateau(o, mode="x"), ValueError, "mode must be 'min' or 'max', got 'x'"),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor must be below 1, got 1.0"),
        (lambda o: ours.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "'rel' or 'abs', got 'x'"),
        (lambda o: ours.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "one entry for each of 2 groups, got 1"),
        (lambda o: ours.StepLR(o, 3).load_state_dict({}), KeyError, "StepLR.load_state_dict: state must hold"),
        (
            lambda o: ours.StepLR(o, 3).load_state_dict(ours.StepLR(make_optimizers(1)[0], 3).state_dict()),
            ValueError,
            "state must be of 2 groups, got 1",
        ),
    ],
)
def test_messages(make, error, message):
    with pytest.raises(error, match=message):
        make(make_optimizers()[0])


def test_one_cycle_has_an_end_and_an_added_group_is_told():
    opt = make_optimizers()[0]
    schedule = ours.OneCycleLR(opt, 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="at most 3 steps, got step 4"):
        schedule.step()
    other = ours.LambdaLR(opt, lambda _: 1.0)
    opt.add_param_group({"params": [gg.zeros((1,)).requires_grad_()]})
    with pytest.raises(ValueError, match="must have the 2 groups that it had when the schedule was made, got 3"):
        other.step()


SHAPES = [(4, 3), (5,), (), (0,)]


def gradients(rng, scale, dtype=np.float64):
    arrays = [np.array(scale * rng.standard_normal(shape), dtype) for shape in SHAPES]
    a = [gg.zeros(shape, dtype=dtype.__name__).requires_grad_() for shape in SHAPES]
    b = [torch.zeros(shape, dtype=getattr(torch, dtype.__name__), requires_grad=True) for shape in SHAPES]
    for p, q, g in zip(a, b, arrays, strict=True):
        p.grad, q.grad = gg.asarray(g.copy()), torch.tensor(g)
    return [*a, gg.zeros((2,)).requires_grad_()], [*b, torch.zeros(2, requires_grad=True)]


@pytest.mark.parametrize(("norm_type", "scale"), list(itertools.product([2, 1, 3, 0.5, math.inf, 0], [10.0, 0.01])))
def test_clipping_norms_equals_pytorchs(norm_type, scale, rng):
    a, b = gradients(rng, scale)
    if math.isinf(norm_type):  # neither library has a largest element of none
        a, b = [*a[:3], a[4]], [*b[:3], b[4]]
    mine = gg.nn.utils.clip_grad_norm_(a, 0.7, norm_type)
    peer = torch.nn.utils.clip_grad_norm_(b, 0.7, norm_type)
    np.testing.assert_allclose(mine.item(), peer.item(), rtol=1e-13)
    for p, q in zip(a, b, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(np.asarray(p.grad), q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_clipping_norms_of_narrow_dtypes(dtype, rng):
    a, b = gradients(rng, 3.0, dtype)
    mine, peer = gg.nn.utils.clip_grad_norm_(a, 0.5), torch.nn.utils.clip_grad_norm_(b, 0.5)
    tolerance = 1e-6 if dtype is np.float32 else 2e-3
    np.testing.assert_allclose(mine.item(), peer.item(), rtol=tolerance)
    for p, q in zip(a[:4], b[:4], strict=True):
        assert p.grad.dtype == p.dtype
        np.testing.assert_allclose(np.asarray(p.grad), q.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clipping_tells_of_norms_that_are_not_finite(value):
    w = gg.zeros((2,)).requires_grad_()
    w.grad = gg.asarray([1.0, value])
    with pytest.raises(RuntimeError, match=r"norm of order 2.0 must be finite, got (nan|inf) over 1 gradients"):
        gg.nn.utils.clip_grad_norm_([w], 1.0, error_if_nonfinite=True)
    assert w.grad.tolist()[0] == 1.0
    peer = torch.zeros(2, requires_grad=True)
    peer.grad = torch.tensor([1.0, value])
    torch.nn.utils.clip_grad_norm_([peer], 1.0)
    gg.nn.utils.clip_grad_norm_([w], 1.0)
    np.testing.assert_array_equal(np.asarray(w.grad), peer.grad.numpy())


def test_clipping_values_equals_pytorchs(rng):
    a, b = gradients(rng, 2.0)
    for grads in (a[0].grad, b[0].grad):
        grads[0, 0] = math.nan
        grads[1, 1] = math.inf
    gg.nn.utils.clip_grad_value_(a, 0.5)
    torch.nn.utils.clip_grad_value_(b, 0.5)
    for p, q in zip(a[:4], b[:4], strict=True):
        np.testing.assert_array_equal(np.asarray(p.grad), q.grad.numpy())
    assert a[4].grad is None


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_clipping_inside_a_captured_step(clip):
    def run(captured):
        w = gg.ones((4,)).requires_grad_()
        b = gg.zeros((2, 1)).requires_grad_()
        opt = gg.optim.SGD([w, b], lr=0.3, momentum=0.9)

        def step(x):
            opt.zero_grad()
            loss = ((w * x + b) ** 2).sum()
            loss.backward()
            if clip == "norm":
                return loss, gg.nn.utils.clip_grad_norm_([w, b], 0.5)
            gg.nn.utils.clip_grad_value_([w, b], 0.25)
            return loss, loss

        def whole(x):
            result = step(x)
            opt.step()
            return result

        call = gg.compile(whole) if captured else whole
        seen = [tuple(r.item() for r in call(gg.asarray([1.0, 2.0, 3.0, 4.0]))) for _ in range(5)]
        return seen, w.tolist(), b.tolist()

    assert run(True) == run(False)


def test_clipping_nothing_and_strangers():
    assert gg.nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    with pytest.raises(TypeError, match="clip_grad_norm_: parameters must be tensors, got str at position 0"):
        gg.nn.utils.clip_grad_norm_("ab", 1.0)
    with pytest.raises(TypeError, match="clip_grad_value_: parameters must be tensors, got int at position 1"):
        gg.nn.utils.clip_grad_value_([gg.zeros(()), 1], 1.0)


def test_one_cycle_writes_adams_first_beta():
    a = gg.optim.Adam([gg.zeros((1,)).requires_grad_()], lr=0.1)
    b = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, peer = ours.OneCycleLR(a, 0.5, total_steps=50), theirs.OneCycleLR(b, 0.5, total_steps=50)
        for _ in range(49):
            assert rates(a) == rates(b)
            assert tuple(a.param_groups[0]["betas"]) == tuple(b.param_groups[0]["betas"])
            mine.step()
            peer.step()

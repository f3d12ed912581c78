"""Optimizers as objects: copies and pickles continue alike, wrong parameters and states are told."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import gorgo as gg


def trained(optimizer: Any, net: Any, steps: int) -> list[float]:
    losses = []
    for i in range(steps):
        optimizer.zero_grad()
        loss = (net(gg.asarray([[1.0, -2.0, float(i)]])) ** 2).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize(
    "make",
    [
        lambda params: gg.optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
        lambda params: gg.optim.Adam(params, lr=0.05, betas=(0.8, 0.9), amsgrad=True),
        lambda params: gg.optim.RMSprop(params, lr=0.05, centered=True, momentum=0.5),
        lambda params: gg.optim.Adagrad(params, lr=0.05),
    ],
    ids=["SGD", "Adam", "RMSprop", "Adagrad"],
)
def test_copies_of_an_optimizer_continue_with_their_own_parameters(make: Any, copied: Any) -> None:
    gg.random.seed(0)
    net = gg.nn.Linear(3, 2)
    optimizer = make([{"params": [net.weight], "weight_decay": 0.1}, {"params": [net.bias], "weight_decay": 0.0}])
    schedule = gg.optim.ExponentialLR(optimizer, 0.5)
    trained(optimizer, net, 3)
    schedule.step()
    other_net, other, other_schedule = copied((net, optimizer, schedule))
    assert other_schedule.optimizer is other
    assert other.param_groups[0]["params"][0] is other_net.weight is not net.weight
    assert repr(other) == repr(optimizer)
    before = net.weight.tolist()
    losses = trained(other, other_net, 3)
    assert net.weight.tolist() == before
    assert trained(optimizer, net, 3) == losses
    other.param_groups[0]["lr"] = 0.0
    assert optimizer.param_groups[0]["lr"] == 0.025


def test_wrong_parameters_are_told_in_the_optimizers_words() -> None:
    net = gg.nn.Linear(3, 2)
    with pytest.raises(TypeError, match=r"SGD: params must be tensors or groups in a list .* got one Linear \(pass"):
        gg.optim.SGD(net, lr=1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Adam: params must be tensors or groups in a list .* got one Tensor$"):
        gg.optim.Adam(net.weight)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"SGD: params must be tensors or groups in a list .* got one int$"):
        gg.optim.SGD([{"params": 3}])
    with pytest.raises(ValueError, match=r"SGD: group must have the key 'params', got \['lr', 'param'\]"):
        gg.optim.SGD([{"param": [net.weight], "lr": 1.0}])
    for name in ("SGD", "Adam", "RMSprop", "Adagrad"):
        with pytest.raises(TypeError, match=f"{name}: lr must be a number, got str"):
            getattr(gg.optim, name)(net.parameters(), lr="0.1")


def test_states_of_other_kinds_are_refused() -> None:
    net = gg.nn.Linear(3, 2)
    sgd = gg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    adam = gg.optim.Adam(net.parameters(), lr=0.2)
    with pytest.raises(
        ValueError, match=r"of parameter 0 must be SGD's \['momentum_buffer', 'steps'\], got \['exp_avg'"
    ):
        sgd.load_state_dict(adam.state_dict())
    with pytest.raises(ValueError, match="state of parameter 0 must be Adam's"):
        adam.load_state_dict(sgd.state_dict())
    assert [o.param_groups[0]["lr"] for o in (sgd, adam)] == [0.1, 0.2]
    for optimizer in (sgd, adam):
        with pytest.raises(ValueError, match=r"must have the keys 'state' and 'param_groups', got \["):
            optimizer.load_state_dict({"net": {}})
        with pytest.raises(TypeError, match="state must be a dict, got list"):
            optimizer.load_state_dict([])  # type: ignore[arg-type]

"""Stochastic gradient descent, PyTorch's formulas, as one fused update over all parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gorgo as gg
from gorgo.optim.optimizer import Optimizer, ParamGroup, check_state, named_numbers

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    With g the gradient plus weight_decay times the parameter: the buffer becomes g at the first step and
    momentum * buffer + (1 - dampening) * g afterwards; the parameter loses lr times the buffer, or lr times
    (g + momentum * buffer) with nesterov.

    Args:
        params: parameters, or dicts of groups.
        lr: learning rate.
        momentum: factor of the buffer.
        dampening: how much of the gradient is kept out of the buffer.
        weight_decay: L2 penalty.
        nesterov: whether to look ahead.
        maximize: whether to climb.

    Raises:
        ValueError: for values out of range, and for nesterov without momentum or with dampening.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, in
    PyTorch's variant.

    Example:
        >>> import gorgo as gg
        >>> w = gg.ones((2,)).requires_grad_()
        >>> opt = gg.optim.SGD([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> w.tolist()
        [0.0, 0.0]
    """

    def __init__(
        self,
        params: Iterable[gg.Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        name = type(self).__name__
        defaults = {
            **named_numbers(name, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay),
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, values: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters out of range."""
        for name in ("lr", "momentum", "weight_decay"):
            if not values[name] >= 0.0:
                raise ValueError(f"SGD: {name} must be 0 or more, got {values[name]}")
        if values["nesterov"] and (values["momentum"] <= 0.0 or values["dampening"] != 0.0):
            raise ValueError(
                f"SGD: nesterov needs momentum above 0 and no dampening, got momentum {values['momentum']},"
                f" dampening {values['dampening']}"
            )

    def make_state(self, parameter: gg.Tensor, group: ParamGroup) -> dict[str, gg.Tensor]:
        """Return the momentum buffer and the count of steps it has seen."""
        if group["momentum"] == 0.0:
            return {}
        return {
            "momentum_buffer": gg.zeros_like(parameter),
            "steps": gg.zeros((), dtype=gg.int64, device=parameter.device),
        }

    def update_group(self, group: ParamGroup, params: list[gg.Tensor]) -> None:
        """Apply one step to the parameters that have gradients."""
        for p in params:
            if group["momentum"] != 0.0 and not self.state[id(p)]:
                self.state[id(p)] = self.make_state(p, group)
        states = [self.state[id(p)] for p in params] if group["momentum"] != 0.0 else []
        gg.sgd_update(
            *params,
            *[p.grad for p in params],
            *[s["momentum_buffer"] for s in states],
            *[s["steps"] for s in states],
            count=len(params),
            **group.cells,
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict returned, PyTorch's included: a buffer without a count has seen a step.

        Raises:
            ValueError: when groups or their sizes differ.
        """
        check_state(state)
        filled = {
            number: {"steps": 1, **entry} if entry.get("momentum_buffer") is not None else entry
            for number, entry in state["state"].items()
        }
        super().load_state_dict({**state, "state": filled})

"""Optimizers with a rate for each element: Adam, AdamW, RMSprop, Adagrad, PyTorch's formulas as fused updates.

Names of options and of state are PyTorch's, so that its state_dict can be loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gorgo as gg
from gorgo.optim.optimizer import Optimizer, ParamGroup, named_numbers, numbers_of

__all__ = ["Adagrad", "Adam", "AdamW", "RMSprop"]

Params = Iterable[gg.Tensor] | Iterable[dict[str, Any]]


def _check_range(name: str, values: dict[str, Any], *options: str) -> None:
    for option in options:
        if not values[option] >= 0.0:
            raise ValueError(f"{name}: {option} must be 0 or more, got {values[option]}")


class _Adaptive(Optimizer):
    def _lists(self, group: ParamGroup, params: list[gg.Tensor]) -> list[gg.Tensor]:
        """Return parameters, gradients, then each kind of state for all of them, in make_state's order."""
        kinds = self._kinds(group)
        entries = []
        for p in params:
            entry = self.state[id(p)]
            if any(kind not in entry for kind in kinds):  # an option was switched on since
                entry = self.state[id(p)] = {**self.make_state(p, group), **entry}
            entries.append(entry)
        return [*params, *[p.grad for p in params], *[entry[kind] for kind in kinds for entry in entries]]  # type: ignore[list-item]

    def _kinds(self, group: dict[str, Any]) -> list[str]:
        """Return the names of the state in the order of the op's operands."""
        raise NotImplementedError(f"{type(self).__name__}: _kinds must be defined")

    def make_state(self, parameter: gg.Tensor, group: ParamGroup) -> dict[str, gg.Tensor]:
        """Return zeros for each kind of state; step counts are one integer."""
        return {
            kind: gg.zeros((), dtype=gg.int64, device=parameter.device) if kind == "step" else gg.zeros_like(parameter)
            for kind in self._kinds(group)
        }


class Adam(_Adaptive):
    """Adam: each element's step is its mean gradient over the root of its mean square.

    Args:
        params: parameters, or dicts of groups.
        lr: learning rate.
        betas: how much of the first and of the second moment stays at each step, in [0, 1).
        eps: added to the root of the second moment.
        weight_decay: L2 penalty, added to the gradient.
        amsgrad: whether the largest second moment so far is divided by.
        maximize: whether to climb.
        decoupled_weight_decay: whether weight decay shrinks the parameter itself, as AdamW does.

    Raises:
        ValueError: for values out of range.
        TypeError: when betas are not two numbers.

    Source: Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015; Reddi, Kale, Kumar, "On the
    convergence of Adam and beyond", ICLR 2018.

    Example:
        >>> import gorgo as gg
        >>> w = gg.ones((2,)).requires_grad_()
        >>> opt = gg.optim.Adam([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]
        [0.5, 0.5]
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        name = type(self).__name__
        defaults = {
            **named_numbers(name, lr=lr),
            "betas": numbers_of("betas", betas),
            **named_numbers(name, eps=eps, weight_decay=weight_decay),
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def check_options(self, values: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters out of range."""
        name = type(self).__name__
        _check_range(name, values, "lr", "eps", "weight_decay")
        if not all(0.0 <= beta < 1.0 for beta in values["betas"]):
            raise ValueError(f"{name}: betas must be in [0, 1), got {values['betas']}")

    def _kinds(self, group: dict[str, Any]) -> list[str]:
        return ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else []), "step"]

    def update_group(self, group: ParamGroup, params: list[gg.Tensor]) -> None:
        """Apply one step to the parameters that have gradients."""
        gg.adam_update(
            *self._lists(group, params),
            count=len(params),
            **group.cells,
            decoupled=group["decoupled_weight_decay"],
            amsgrad=group["amsgrad"],
            maximize=group["maximize"],
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, by lr * weight_decay at each step.

    Args:
        params: parameters, or dicts of groups.
        lr: learning rate.
        betas: how much of the first and of the second moment stays at each step, in [0, 1).
        eps: added to the root of the second moment.
        weight_decay: how much of the parameter goes for each unit of lr.
        amsgrad: whether the largest second moment so far is divided by.
        maximize: whether to climb.

    Raises:
        ValueError: for values out of range.

    Source: Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Example:
        >>> import gorgo as gg
        >>> w = gg.ones((2,)).requires_grad_()
        >>> opt = gg.optim.AdamW([w], lr=0.5, weight_decay=0.5)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]
        [0.25, 0.25]
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)


class RMSprop(_Adaptive):
    """Gradient descent with each element's gradient over the root of its mean square.

    Args:
        params: parameters, or dicts of groups.
        lr: learning rate.
        alpha: how much of the mean square stays at each step.
        eps: added to the root of the mean square.
        weight_decay: L2 penalty.
        momentum: factor of the buffer.
        centered: whether the square of the mean gradient is taken off the mean square.
        maximize: whether to climb.

    Raises:
        ValueError: for values out of range.

    Source: Hinton, "Neural networks for machine learning", lecture 6e; centered after Graves, arXiv 1308.0850.

    Example:
        >>> import gorgo as gg
        >>> w = gg.ones((2,)).requires_grad_()
        >>> opt = gg.optim.RMSprop([w], lr=0.25, alpha=0.75)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]
        [0.5, 0.5]
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        name = type(self).__name__
        defaults = {
            **named_numbers(name, lr=lr, momentum=momentum, alpha=alpha, eps=eps),
            "centered": centered,
            **named_numbers(name, weight_decay=weight_decay),
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, values: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters out of range."""
        _check_range("RMSprop", values, "lr", "momentum", "alpha", "eps", "weight_decay")

    def _kinds(self, group: dict[str, Any]) -> list[str]:
        return [
            "square_avg",
            *(["grad_avg"] if group["centered"] else []),
            *(["momentum_buffer"] if group["momentum"] != 0.0 else []),
        ]

    def update_group(self, group: ParamGroup, params: list[gg.Tensor]) -> None:
        """Apply one step to the parameters that have gradients."""
        gg.rmsprop_update(
            *self._lists(group, params),
            count=len(params),
            **group.cells,
            centered=group["centered"],
            maximize=group["maximize"],
        )


class Adagrad(_Adaptive):
    """Gradient descent with each element's gradient over the root of the sum of its squares so far.

    Args:
        params: parameters, or dicts of groups.
        lr: learning rate.
        lr_decay: how fast the rate falls: lr / (1 + steps before this one * lr_decay).
        weight_decay: L2 penalty.
        initial_accumulator_value: what the sums start from.
        eps: added to the root of the sum.
        maximize: whether to climb.

    Raises:
        ValueError: for values out of range.

    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 12 (2011).

    Example:
        >>> import gorgo as gg
        >>> w = gg.ones((2,)).requires_grad_()
        >>> opt = gg.optim.Adagrad([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]
        [0.5, 0.5]
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        name = type(self).__name__
        defaults = {
            **named_numbers(
                name,
                lr=lr,
                lr_decay=lr_decay,
                eps=eps,
                weight_decay=weight_decay,
                initial_accumulator_value=initial_accumulator_value,
            ),
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, values: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters out of range."""
        _check_range("Adagrad", values, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _kinds(self, group: dict[str, Any]) -> list[str]:
        return ["sum", "step"]

    def make_state(self, parameter: gg.Tensor, group: ParamGroup) -> dict[str, gg.Tensor]:
        """Return the sum of squares and the step count."""
        made = super().make_state(parameter, group)
        made["sum"].fill_(group["initial_accumulator_value"])
        return made

    def update_group(self, group: ParamGroup, params: list[gg.Tensor]) -> None:
        """Apply one step to the parameters that have gradients."""
        gg.adagrad_update(
            *self._lists(group, params),
            count=len(params),
            **{name: group.cells[name] for name in ("lr", "lr_decay", "weight_decay", "eps")},
            maximize=group["maximize"],
        )

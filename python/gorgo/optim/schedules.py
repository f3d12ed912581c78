"""Learning-rate schedules: they write an optimizer's learning rates once per `step()`, with PyTorch's values.

A rate lives in its group's host cell, which captured steps read at each replay; so a schedule may be stepped after a
captured step, or inside it, where it is a host effect that runs after the program. Most rules change the present rate
(so that schedules can be combined, and a rate set by hand persists); those said to be closed compute it from the first
rate alone. Read next: optimizer.py for groups and cells.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gorgo as gg
from gorgo.arguments import as_integer
from gorgo.optim.optimizer import Optimizer, ParamGroup

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


def _check_optimizer(optimizer: object, name: str) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{name}: optimizer must be a gorgo.optim.Optimizer, got {type(optimizer).__name__}")


def _check_positive_int(value: object, argument: str, name: str, least: int = 1) -> None:
    if as_integer(name, argument, value) < least:
        raise ValueError(f"{name}: {argument} must be {least} or more, got {value}")


def _per_group(value: Any, optimizer: Optimizer, argument: str, name: str) -> list[Any]:
    """Return one value per group, from one for all or a list of as many."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{name}: {argument} must have one entry for each of {groups} groups, got {len(value)}")
    return list(value)


class LRScheduler:
    """Base of the schedules: subclasses define `get_lr`, the rates of the groups at `last_epoch`.

    Args:
        optimizer: whose learning rates are written.
        last_epoch: the step that was reached already, -1 for a fresh start; otherwise every group must hold
            "initial_lr".

    Raises:
        TypeError: when optimizer is no optimizer.
        KeyError: when last_epoch is given and a group holds no "initial_lr".

    Example:
        >>> import gorgo as gg
        >>> class Halving(gg.optim.lr_scheduler.LRScheduler):
        ...     def get_lr(self):
        ...         return [first / 2**self.last_epoch for first in self.base_lrs]
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = Halving(opt)
        >>> schedule.step()
        >>> opt.param_groups[0]["lr"]
        0.5
    """

    optimizer: Optimizer
    last_epoch: int
    base_lrs: list[float]
    _step_count: int
    _last_lr: list[float]

    # Members that are no state: they are given anew when a schedule is made.
    _not_state: frozenset[str] = frozenset({"optimizer"})

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        _check_optimizer(optimizer, name)
        _check_positive_int(last_epoch, "last_epoch", name, least=-1)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{name}: group {i} must hold 'initial_lr' when last_epoch is {last_epoch}, got none")
        self.optimizer = optimizer
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._advance()

    @property
    def groups(self) -> list[ParamGroup]:
        """Return the optimizer's groups."""
        return self.optimizer.param_groups

    @property
    def rates(self) -> list[float]:
        """Return the groups' present learning rates."""
        return [float(group["lr"]) for group in self.groups]

    @property
    def starts(self) -> bool:
        """Tell whether this is the schedule's first epoch; one that starts late leaves the rates as it finds them."""
        return self.last_epoch == 0 or self._step_count == 1

    def get_lr(self) -> list[float]:
        """Return the rates of the groups at last_epoch; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__}: get_lr must be defined")

    def get_last_lr(self) -> list[float]:
        """Return the rates that the last step wrote."""
        return list(self._last_lr)

    def step(self) -> None:
        """Go to the next epoch and write its rates; inside a captured function, after each run of it."""
        gg.graph.host_effect(self._advance)

    def _advance(self) -> None:
        if len(self.groups) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: the optimizer must have the {len(self.base_lrs)} groups that it had when the"
                f" schedule was made, got {len(self.groups)}"
            )
        self._step_count += 1
        self.last_epoch += 1
        self._write(self.get_lr())

    def _first_rates(self) -> list[float]:
        """Return the rates of epoch 0, wherever another schedule has left the present ones."""
        return self.get_lr()

    def _restart(self) -> None:
        self.last_epoch = 0
        self._step_count = max(self._step_count, 1)
        self._write(self._first_rates())

    def _undo(self) -> None:
        self.last_epoch -= 1
        self._step_count -= 1

    def _write(self, rates: Sequence[float]) -> None:
        if len(rates) != len(self.groups):
            raise ValueError(
                f"{type(self).__name__}: get_lr must return one rate for each of {len(self.groups)} groups,"
                f" got {len(rates)}"
            )
        for group, rate in zip(self.groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self.rates

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule's state as numbers, strings and lists of them, without the optimizer's."""
        return {
            key: list(value) if isinstance(value, list) else value
            for key, value in self.__dict__.items()
            if key not in self._not_state
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict of such a schedule returned; load the optimizer's state apart, for the rates.

        Raises:
            KeyError: when names are missing.
            ValueError: when the state is of another number of groups.
        """
        name = type(self).__name__
        missing = [key for key in self.state_dict() if key not in state]
        if missing:
            raise KeyError(f"{name}.load_state_dict: state must hold {missing}, got {sorted(map(str, state))}")
        rates = state.get("base_lrs", self.base_lrs)
        if len(rates) != len(self.base_lrs):
            raise ValueError(f"{name}.load_state_dict: state must be of {len(self.base_lrs)} groups, got {len(rates)}")
        for key, value in state.items():
            if key not in self._not_state:
                self.__dict__[key] = list(value) if isinstance(value, list | tuple) else value


class LambdaLR(LRScheduler):
    """The first rate times a function of the epoch; closed.

    Args:
        optimizer: whose learning rates are written.
        lr_lambda: function of the epoch, or one for each group. Functions are no state: give them anew before
            load_state_dict.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.LambdaLR(opt, lambda epoch: 1 / (1 + epoch))
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    _not_state = frozenset({"optimizer", "lr_lambdas"})

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        name = type(self).__name__
        _check_optimizer(optimizer, name)
        self.lr_lambdas = _per_group(lr_lambda, optimizer, "lr_lambda", name)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"{name}: lr_lambda must be a function of the epoch, got {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return first rate times function."""
        return [
            first * function(self.last_epoch) for first, function in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class MultiplicativeLR(LambdaLR):
    """The present rate times a function of the epoch.

    Args:
        optimizer: whose learning rates are written.
        lr_lambda: function of the epoch, or one for each group.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.MultiplicativeLR(opt, lambda epoch: 0.5)
        >>> schedule.step(), schedule.step(), schedule.get_last_lr()
        (None, None, [0.25])
    """

    def get_lr(self) -> list[float]:
        """Return present rate times function."""
        if self.starts:
            return self.rates
        return [rate * function(self.last_epoch) for rate, function in zip(self.rates, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """The rate times gamma after every step_size epochs.

    Args:
        optimizer: whose learning rates are written.
        step_size: epochs between changes.
        gamma: the factor.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.StepLR(opt, step_size=2, gamma=0.5)
        >>> for _ in range(5):
        ...     schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        _check_positive_int(step_size, "step_size", "StepLR")
        self.step_size = step_size
        self.gamma = float(gamma)
        super().__init__(optimizer, last_epoch)

    def _first_rates(self) -> list[float]:
        return list(self.base_lrs)

    def get_lr(self) -> list[float]:
        """Return present rate, times gamma when an interval ends."""
        ends = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [rate * self.gamma for rate in self.rates] if ends else self.rates


class MultiStepLR(LRScheduler):
    """The rate times gamma at each milestone, twice at one that is named twice.

    Args:
        optimizer: whose learning rates are written.
        milestones: epochs.
        gamma: the factor.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.MultiStepLR(opt, [1, 3], gamma=0.5)
        >>> for _ in range(3):
        ...     schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(milestones)
        for milestone in self.milestones:
            _check_positive_int(milestone, "milestones", "MultiStepLR", least=0)
        self.gamma = float(gamma)
        super().__init__(optimizer, last_epoch)

    def _first_rates(self) -> list[float]:
        return [first * self.gamma ** self.milestones.count(0) for first in self.base_lrs]

    def get_lr(self) -> list[float]:
        """Return present rate, times gamma for each milestone that is here."""
        times = self.milestones.count(self.last_epoch)
        return [rate * self.gamma**times for rate in self.rates] if times else self.rates


class ConstantLR(LRScheduler):
    """The rate times factor until total_iters epochs have passed.

    Args:
        optimizer: whose learning rates are written.
        factor: in [0, 1].
        total_iters: when the full rate comes back.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> gg.optim.lr_scheduler.ConstantLR(opt, factor=0.5).get_last_lr()
        [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0.0 <= factor <= 1.0:
            raise ValueError(f"ConstantLR: factor must be in [0, 1], got {factor}")
        if factor == 0.0:
            raise ValueError("ConstantLR: factor must not be 0, from which no rate comes back, got 0")
        _check_positive_int(total_iters, "total_iters", "ConstantLR", least=0)
        self.factor = float(factor)
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _first_rates(self) -> list[float]:
        return [first * (self.factor if self.total_iters > 0 else 1.0) for first in self.base_lrs]

    def get_lr(self) -> list[float]:
        """Return present rate, scaled at the first epoch and back at the last."""
        if self.last_epoch == 0:
            return [rate * self.factor for rate in self.rates]
        if self.last_epoch == self.total_iters:
            return [rate * (1.0 / self.factor) for rate in self.rates]
        return self.rates


class LinearLR(LRScheduler):
    """The rate times a factor that goes from start_factor to end_factor in total_iters equal steps.

    Args:
        optimizer: whose learning rates are written.
        start_factor: in (0, 1].
        end_factor: in [0, 1].
        total_iters: epochs until end_factor is reached.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.LinearLR(opt, start_factor=0.5, total_iters=2)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.75]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0:
            raise ValueError(f"LinearLR: start_factor must be in (0, 1], got {start_factor}")
        if not 0.0 <= end_factor <= 1.0:
            raise ValueError(f"LinearLR: end_factor must be in [0, 1], got {end_factor}")
        _check_positive_int(total_iters, "total_iters", "LinearLR")
        self.start_factor = float(start_factor)
        self.end_factor = float(end_factor)
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _first_rates(self) -> list[float]:
        return [first * self.start_factor for first in self.base_lrs]

    def get_lr(self) -> list[float]:
        """Return present rate times the ratio of this epoch's factor to the last one's."""
        if self.last_epoch == 0:
            return [rate * self.start_factor for rate in self.rates]
        if self.starts or self.last_epoch > self.total_iters:
            return self.rates
        change = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * change
        return [rate * (1.0 + change / before) for rate in self.rates]


class ExponentialLR(LRScheduler):
    """The rate times gamma after every epoch.

    Args:
        optimizer: whose learning rates are written.
        gamma: the factor.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.ExponentialLR(opt, gamma=0.5)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = float(gamma)
        super().__init__(optimizer, last_epoch)

    def _first_rates(self) -> list[float]:
        return list(self.base_lrs)

    def get_lr(self) -> list[float]:
        """Return present rate times gamma."""
        return self.rates if self.starts else [rate * self.gamma for rate in self.rates]


class PolynomialLR(LRScheduler):
    """The rate falls to 0 in total_iters epochs as a power of what is left.

    Args:
        optimizer: whose learning rates are written.
        total_iters: epochs until the rate is 0.
        power: the exponent.
        last_epoch: as for LRScheduler.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.PolynomialLR(opt, total_iters=2, power=2.0)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        _check_positive_int(total_iters, "total_iters", "PolynomialLR")
        self.total_iters = total_iters
        self.power = float(power)
        super().__init__(optimizer, last_epoch)

    def _first_rates(self) -> list[float]:
        return list(self.base_lrs)

    def get_lr(self) -> list[float]:
        """Return present rate times the ratio of this epoch's power to the last one's."""
        if self.starts or self.last_epoch > self.total_iters:
            return self.rates
        left, before = 1.0 - self.last_epoch / self.total_iters, 1.0 - (self.last_epoch - 1) / self.total_iters
        return [rate * (left / before) ** self.power for rate in self.rates]


class CosineAnnealingLR(LRScheduler):
    """The rate goes from its first value to eta_min in T_max epochs on half a cosine, then back, and so on.

    Args:
        optimizer: whose learning rates are written.
        T_max: epochs of the way down.
        eta_min: the lowest rate.
        last_epoch: as for LRScheduler.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, without the
    restarts.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=2)
        >>> schedule.step()
        >>> round(schedule.get_last_lr()[0], 12)
        0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        _check_positive_int(T_max, "T_max", "CosineAnnealingLR")
        self.T_max = T_max
        self.eta_min = float(eta_min)
        super().__init__(optimizer, last_epoch)

    def _first_rates(self) -> list[float]:
        return [self.eta_min + (first - self.eta_min) for first in self.base_lrs]

    def get_lr(self) -> list[float]:
        """Return the lowest rate plus what the present one has above it, times the ratio of two cosines."""
        epoch, half, low = self.last_epoch, self.T_max, self.eta_min
        if self.starts:
            return self.rates
        if (epoch - 1 - half) % (2 * half) == 0:  # the epoch before was the lowest, where the ratio has no value
            return [
                rate + (first - low) * (1 - math.cos(math.pi / half)) / 2
                for first, rate in zip(self.base_lrs, self.rates, strict=True)
            ]
        ratio = (1 + math.cos(math.pi * epoch / half)) / (1 + math.cos(math.pi * (epoch - 1) / half))
        return [ratio * (rate - low) + low for rate in self.rates]


class CosineAnnealingWarmRestarts(LRScheduler):
    """The rate goes from its first value to eta_min on half a cosine and starts again; closed.

    Args:
        optimizer: whose learning rates are written.
        T_0: epochs until the first restart.
        T_mult: how many times longer each way is than the one before.
        eta_min: the lowest rate.
        last_epoch: as for LRScheduler.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=2)
        >>> schedule.step(), schedule.step(), schedule.get_last_lr()
        (None, None, [1.0])
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        _check_positive_int(T_0, "T_0", "CosineAnnealingWarmRestarts")
        _check_positive_int(T_mult, "T_mult", "CosineAnnealingWarmRestarts")
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = float(eta_min)
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the point of the cosine at T_cur of T_i epochs."""
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (first - self.eta_min) * share for first in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go to the next epoch, or to the one given, which may have a fraction, and write its rates."""
        if epoch is None:
            gg.graph.host_effect(self._advance)
            return
        if epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: epoch must be 0 or more, got {epoch}")
        gg.graph.host_effect(lambda: self._go_to(epoch))

    def _advance(self) -> None:
        self._step_count += 1
        self.last_epoch += 1
        if self._step_count == 1:  # at the start, which may be late
            self._find(self.last_epoch)
        else:
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        self._write(self.get_lr())

    def _restart(self) -> None:
        self._step_count = max(self._step_count, 1)
        self._go_to(0)

    def _go_to(self, epoch: float) -> None:
        self.last_epoch = math.floor(epoch)
        self._find(epoch)
        self._write(self.get_lr())

    def _find(self, epoch: float) -> None:
        self.T_cur, self.T_i = epoch, self.T_0
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
            return
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult


class OneCycleLR(LRScheduler):
    """The rate rises to max_lr and falls far below where it began, once; momentum goes the other way; closed.

    Args:
        optimizer: whose learning rates are written.
        max_lr: the highest rate, or one for each group.
        total_steps: steps of the cycle; or give epochs and steps_per_epoch.
        epochs: epochs of the cycle.
        steps_per_epoch: steps of one.
        pct_start: share of the steps in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether momentum (or the first of betas) is written too.
        base_momentum: the lowest momentum, or one for each group.
        max_momentum: the highest momentum, or one for each group.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last rate is the first one / final_div_factor.
        three_phase: whether the rate comes down as it rose before it falls further.
        last_epoch: as for LRScheduler.

    Raises:
        ValueError: for values out of range, and at a step beyond the last.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2017.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0, momentum=0.9)
        >>> schedule = gg.optim.lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=10)
        >>> schedule.step(), schedule.step(), schedule.get_last_lr()
        (None, None, [1.0])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        name = "OneCycleLR"
        _check_optimizer(optimizer, name)
        if total_steps is not None:
            _check_positive_int(total_steps, "total_steps", name)
            self.total_steps = total_steps
        elif epochs is not None and steps_per_epoch is not None:
            _check_positive_int(epochs, "epochs", name)
            _check_positive_int(steps_per_epoch, "steps_per_epoch", name)
            self.total_steps = epochs * steps_per_epoch
        else:
            raise ValueError(
                f"{name}: total_steps, or epochs and steps_per_epoch, must be given, got epochs {epochs} and"
                f" steps_per_epoch {steps_per_epoch}"
            )
        if not 0.0 <= pct_start <= 1.0:
            raise ValueError(f"{name}: pct_start must be in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"{name}: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.anneal_strategy = anneal_strategy
        top = self.total_steps * float(pct_start) - 1.0
        # Each phase: where it ends, and between which of a group's values it goes (for rates, for momentum).
        self.phase_ends = [top, 2 * top, self.total_steps - 1.0] if three_phase else [top, self.total_steps - 1.0]
        back, back_up = (["initial_lr"], ["max_momentum"]) if three_phase else ([], [])
        self.phase_marks = ["initial_lr", "max_lr", *back, "min_lr"]
        self.momentum_marks = ["max_momentum", "base_momentum", *back_up, "max_momentum"]
        groups = optimizer.param_groups
        self.cycle_momentum = cycle_momentum
        if cycle_momentum and not all("momentum" in g or "betas" in g or "beta1" in g for g in groups):
            raise ValueError(f"{name}: cycle_momentum needs groups with momentum or betas, got {sorted(groups[0])}")
        if last_epoch == -1:
            highest = _per_group(max_lr, optimizer, "max_lr", name)
            low, high = (
                _per_group(v, optimizer, argument, name)
                for v, argument in ((base_momentum, "base_momentum"), (max_momentum, "max_momentum"))
            )
            for group, rate, least, most in zip(groups, highest, low, high, strict=True):
                group["initial_lr"] = float(rate) / div_factor
                group["max_lr"] = float(rate)
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    self._set_momentum(group, float(most))
                    group["max_momentum"], group["base_momentum"] = float(most), float(least)
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _set_momentum(group: ParamGroup, value: float) -> None:
        if "betas" in group:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum" if "momentum" in group else "beta1"] = value

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
        return (end - start) * share + start

    def get_lr(self) -> list[float]:
        """Return the rates of this step, and write the momentum."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"OneCycleLR: there must be at most {self.total_steps} steps, got step {step}")
        rates = []
        for group in self.groups:
            start = 0.0
            for i, end in enumerate(self.phase_ends):
                if step <= end or i == len(self.phase_ends) - 1:
                    share = (step - start) / (end - start) if end != start else 1.0
                    marks = self.phase_marks
                    rates.append(self._between(group[marks[i]], group[marks[i + 1]], share))
                    if self.cycle_momentum:
                        marks = self.momentum_marks
                        self._set_momentum(group, self._between(group[marks[i]], group[marks[i + 1]], share))
                    break
                start = end
        return rates


class _Combined(LRScheduler):
    """What SequentialLR and ChainedScheduler share: their state holds that of their schedules."""

    _not_state = frozenset({"optimizer", "schedulers"})
    schedulers: list[LRScheduler]

    def _check(self, optimizer: Optimizer, schedulers: Sequence[Any], name: str) -> None:
        if not schedulers:
            raise ValueError(f"{name}: schedulers must not be empty, got none")
        for i, schedule in enumerate(schedulers):
            if not isinstance(schedule, LRScheduler) or isinstance(schedule, ReduceLROnPlateau):
                raise TypeError(
                    f"{name}: schedulers must be schedules that step without a value,"
                    f" got {type(schedule).__name__} at position {i}"
                )
            if schedule.optimizer is not optimizer:
                raise ValueError(f"{name}: schedulers must be of one optimizer, got another one's at position {i}")

    def _undo(self) -> None:
        super()._undo()
        for schedule in self.schedulers:
            schedule._undo()

    def state_dict(self) -> dict[str, Any]:
        """Return the state, that of the schedules under "_schedulers"."""
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict of such a schedule returned.

        Raises:
            KeyError: when names are missing.
            ValueError: when the state is of another number of schedules or groups.
        """
        inner = state.get("_schedulers", [])
        if len(inner) != len(self.schedulers):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: state must be of {len(self.schedulers)} schedules,"
                f" got {len(inner)}"
            )
        super().load_state_dict(state)
        self.__dict__.pop("_schedulers", None)
        for schedule, given in zip(self.schedulers, inner, strict=True):
            schedule.load_state_dict(given)


class SequentialLR(_Combined):
    """Schedules one after the other, each from its milestone on.

    Args:
        optimizer: whose learning rates are written.
        schedulers: schedules of that optimizer; each counts its epochs from its milestone.
        milestones: epochs at which the second and later ones take over.
        last_epoch: as for LRScheduler.

    Raises:
        ValueError: when there is not one milestone less than schedules, or one is of another optimizer.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> s = gg.optim.lr_scheduler
        >>> warmup = s.LinearLR(opt, start_factor=0.5, total_iters=2)
        >>> schedule = s.SequentialLR(opt, [warmup, s.ExponentialLR(opt, 0.5)], milestones=[2])
        >>> rates = [schedule.get_last_lr()[0]]
        >>> for _ in range(3):
        ...     schedule.step()
        ...     rates += schedule.get_last_lr()
        >>> rates
        [0.5, 0.75, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        name = "SequentialLR"
        _check_optimizer(optimizer, name)
        self._check(optimizer, schedulers, name)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"{name}: milestones must be one less than schedulers, got {len(milestones)} and {len(schedulers)}"
            )
        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"{name}: milestones must rise, got {list(milestones)}")
        self.optimizer = optimizer
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch + 1
        self._step_count = 1
        # Each schedule wrote its first rates when it was made: take all of that back, then let the first one begin.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for schedule in self.schedulers:
            schedule._undo()
        self.schedulers[0]._advance()
        self._last_lr = self.schedulers[0].get_last_lr()

    def _advance(self) -> None:
        self._step_count += 1
        self.last_epoch += 1
        i = bisect.bisect_right(self.milestones, self.last_epoch)
        schedule = self.schedulers[i]
        if i > 0 and self.milestones[i - 1] == self.last_epoch:
            schedule._restart()
        else:
            schedule._advance()
        self._last_lr = schedule.get_last_lr()

    def _restart(self) -> None:
        self.last_epoch = 0
        self.schedulers[0]._restart()
        self._last_lr = self.schedulers[0].get_last_lr()


class ChainedScheduler(_Combined):
    """Schedules that all step at once, each changing what the one before has left.

    Args:
        schedulers: schedules of one optimizer.
        optimizer: that optimizer; the first schedule's when None.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> s = gg.optim.lr_scheduler
        >>> schedule = s.ChainedScheduler([s.ExponentialLR(opt, 0.5), s.StepLR(opt, 1, 0.5)])
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if optimizer is None:
            optimizer = getattr(schedulers[0], "optimizer", None) if len(schedulers) else None
        self._check(optimizer, schedulers, "ChainedScheduler")  # type: ignore[arg-type]
        assert optimizer is not None  # noqa: S101  a schedule has one, as just checked
        self.optimizer = optimizer
        self.schedulers = list(schedulers)
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = 0
        self._step_count = 1
        self._last_lr = self.rates

    def _advance(self) -> None:
        self._step_count += 1
        self.last_epoch += 1
        for schedule in self.schedulers:
            schedule._advance()
        self._last_lr = self.rates

    def _restart(self) -> None:
        self.last_epoch = 0
        for schedule in self.schedulers:
            schedule._restart()
        self._last_lr = self.rates


class ReduceLROnPlateau(LRScheduler):
    """The rate times factor when a measured value has not improved for more than patience epochs.

    Args:
        optimizer: whose learning rates are written.
        mode: "min" when lower values are better, "max" when higher ones are.
        factor: in [0, 1).
        patience: epochs without improvement that are let pass.
        threshold: how much better a value must be to count.
        threshold_mode: "rel" for a share of the best value, "abs" for a difference.
        cooldown: epochs after a change that are not counted.
        min_lr: the lowest rate, or one for each group.
        eps: changes smaller than this are not made.

    Raises:
        ValueError: for values out of range.

    Example:
        >>> import gorgo as gg
        >>> opt = gg.optim.SGD([gg.zeros((1,)).requires_grad_()], lr=1.0)
        >>> schedule = gg.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=1)
        >>> for loss in (3.0, 3.0, 3.0):
        ...     schedule.step(loss)
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        _check_optimizer(optimizer, name)
        if not factor < 1.0:
            raise ValueError(f"{name}: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"{name}: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"{name}: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        _check_positive_int(patience, "patience", name, least=0)
        _check_positive_int(cooldown, "cooldown", name, least=0)
        self.optimizer = optimizer
        self.mode = mode
        self.factor = float(factor)
        self.patience = patience
        self.threshold = float(threshold)
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = [float(v) for v in _per_group(min_lr, optimizer, "min_lr", name)]
        self.eps = float(eps)
        self.base_lrs = self.rates
        self._last_lr = self.rates
        self.last_epoch = 0
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.best = math.inf if mode == "min" else -math.inf

    def is_better(self, value: float) -> bool:
        """Tell whether a value beats the best one by the threshold."""
        if self.threshold_mode == "abs":
            margin = self.threshold
            return value < self.best - margin if self.mode == "min" else value > self.best + margin
        if self.mode == "min":
            return value < self.best * (1.0 - self.threshold)
        return value > self.best * (1.0 + self.threshold)

    def step(self, metrics: Any = None) -> None:
        """Take note of an epoch's value and write lower rates when it is time.

        Args:
            metrics: a number, or a tensor of one element.

        Raises:
            TypeError: without a number.
            RuntimeError: inside a captured function, where there is no value yet.
        """
        if gg.graph.is_capturing():
            raise RuntimeError(
                "ReduceLROnPlateau: step needs a value, which a function being recorded has not; step after the call"
            )
        if metrics is None or isinstance(metrics, str):
            raise TypeError(f"ReduceLROnPlateau: metrics must be a number, got {type(metrics).__name__}")
        value = float(metrics)
        self.last_epoch += 1
        if self.is_better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            lowered = [max(rate * self.factor, low) for rate, low in zip(self.rates, self.min_lrs, strict=True)]
            self._write([new if old - new > self.eps else old for old, new in zip(self.rates, lowered, strict=True)])
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self.rates

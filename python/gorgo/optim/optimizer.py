"""What all optimizers share: parameter groups, their hyper-parameters in host cells, state by parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gorgo as gg

__all__ = ["Optimizer", "ParamGroup"]


def numbers_of(name: str, values: Any) -> tuple[float, float]:
    """Return a hyper-parameter that is two numbers as floats."""
    pair = tuple(values) if isinstance(values, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair):
        raise TypeError(f"ParamGroup: {name} must be two numbers, got {values!r}")
    return float(pair[0]), float(pair[1])


class ParamGroup(dict[str, Any]):
    """Parameters with their hyper-parameters.

    Numbers live in host cells, so that a captured step sees a change at its next run; anything else that changes makes
    compiled functions check again.

    Example:
        >>> import gorgo as gg
        >>> optimizer = gg.optim.SGD(gg.nn.Linear(2, 1).parameters(), lr=0.1)
        >>> optimizer.param_groups[0]["lr"] = 0.05
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.cells: dict[str, Any] = {}
        self._pairs: dict[str, list[Any]] = {}  # betas are the cells beta1 and beta2
        for name, value in values.items():
            if isinstance(value, float):
                self.cells[name] = gg.graph.HostCell(value)
            elif isinstance(value, tuple):
                self._pairs[name] = [gg.graph.HostCell(v) for v in numbers_of(name, value)]
                self.cells |= {f"{name[:-1]}{i + 1}": cell for i, cell in enumerate(self._pairs[name])}

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._pairs:
            value = numbers_of(name, value)
            for cell, v in zip(self._pairs[name], value, strict=True):
                cell.value = v
        elif name in self.cells:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"ParamGroup: {name} must be a number, got {type(value).__name__}")
            value = float(value)
            self.cells[name].value = value
        elif self.get(name) != value:
            gg.graph.bump_epoch()
        super().__setitem__(name, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values, each as by item assignment."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value


class Optimizer:
    """Base of the optimizers.

    Args:
        params: parameters, or dicts with "params" and hyper-parameters of their own.
        defaults: hyper-parameters of groups that do not set them; floats become host cells.

    Example:
        >>> import gorgo as gg
        >>> isinstance(gg.optim.SGD(gg.nn.Linear(2, 1).parameters(), lr=0.1), gg.optim.Optimizer)
        True
    """

    def __init__(self, params: Iterable[gg.Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[ParamGroup] = []
        self.state: dict[int, dict[str, gg.Tensor]] = {}
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: params must not be empty, got no parameter")
        if not isinstance(given[0], dict):
            given = [{"params": given}]
        for group in given:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters with hyper-parameters of their own.

        Raises:
            TypeError: when a parameter is no tensor or an option is unknown.
            ValueError: when a parameter is not a leaf that requires grad, or is in a group already.
        """
        name = type(self).__name__
        params = group["params"]
        params = [params] if isinstance(params, gg.Tensor) else list(params)
        unknown = [k for k in group if k != "params" and k not in self.defaults]
        if unknown:
            raise TypeError(f"{name}: group options must be among {sorted(self.defaults)}, got {unknown}")
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, gg.Tensor):
                raise TypeError(f"{name}: params must be tensors, got {type(p).__name__} at position {i}")
            if not p.is_leaf:
                raise ValueError(f"{name}: params must be leaves, got the result of an op at position {i}")
            if id(p) in known:
                raise ValueError(f"{name}: params must be in one group once, got one again at position {i}")
            known.add(id(p))
        values = {
            k: float(v)
            if isinstance(self.defaults[k], float)
            else numbers_of(k, v)
            if isinstance(self.defaults[k], tuple)
            else v
            for k, v in {**self.defaults, **group}.items()
            if k != "params"
        }
        self.check_options(values)
        made = ParamGroup(values)
        dict.__setitem__(made, "params", params)
        self.param_groups.append(made)
        for p in params:
            self.state[id(p)] = self.make_state(p, made)
        gg.graph.bump_epoch()

    def check_options(self, values: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters out of range; subclasses define it."""

    def make_state(self, parameter: gg.Tensor, group: ParamGroup) -> dict[str, gg.Tensor]:
        """Return the state of a parameter, made when it is added; subclasses define it."""
        return {}

    def update_group(self, group: ParamGroup, params: list[gg.Tensor]) -> None:
        """Apply one step to the parameters that have gradients; subclasses define it."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: called first, with gradients recorded; its result is returned.
        """
        result = None
        if closure is not None:
            with gg.enable_grad():
                result = closure()
        with gg.no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    self.update_group(group, params)
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    with gg.no_grad():
                        p.grad.fill_(0)

    def state_dict(self) -> dict[str, Any]:
        """Return state and hyper-parameters, parameters as numbers in order."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            ids = [numbers.setdefault(id(p), len(numbers)) for p in group["params"]]
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": ids})
        state = {numbers[key]: {k: v.detach() for k, v in entry.items()} for key, entry in self.state.items() if entry}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict returned, copying into this optimizer's own state.

        Raises:
            ValueError: when groups or their sizes differ.
        """
        groups = state["param_groups"]
        ours = [len(g["params"]) for g in self.param_groups]
        theirs = [len(g["params"]) for g in groups]
        if ours != theirs:
            raise ValueError(f"load_state_dict: groups must have sizes {ours}, got {theirs}")
        params = [p for g in self.param_groups for p in g["params"]]
        for group, given in zip(self.param_groups, groups, strict=True):
            group.update({k: v for k, v in given.items() if k != "params"})
            for p in group["params"]:  # an option that was switched on may want more state
                self.state[id(p)] = {**self.make_state(p, group), **self.state[id(p)]}
        with gg.no_grad():
            for number, entry in state["state"].items():
                own = self.state[id(params[int(number)])]
                for key, value in entry.items():
                    if key in own and value is not None:
                        given = value if isinstance(value, gg.Tensor) else gg.asarray(value)
                        own[key].copy_(given.astype(own[key].dtype))  # PyTorch counts steps in floats

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])

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


def number_of(optimizer: str, name: str, value: Any) -> float:
    """Return a hyper-parameter that is one number as a float."""
    if isinstance(value, bool) or not hasattr(type(value), "__float__"):
        raise TypeError(f"{optimizer}: {name} must be a number, got {type(value).__name__}")
    return float(value)


def named_numbers(optimizer: str, **values: Any) -> dict[str, float]:
    """Return hyper-parameters that are one number each as floats."""
    return {name: number_of(optimizer, name, value) for name, value in values.items()}


def _listed(optimizer: str, params: Any) -> list[Any]:
    """Return parameters, or groups of them, as a list; a lone tensor or module is none."""
    if isinstance(params, gg.Tensor) or not isinstance(params, Iterable):
        told = " (pass its parameters())" if isinstance(params, gg.nn.Module) else ""
        raise TypeError(
            f"{optimizer}: params must be tensors or groups in a list or another iterable,"
            f" got one {type(params).__name__}{told}"
        )
    return list(params)


def _number_below(count: int, number: Any) -> int:
    """Return the number of a parameter, which a file may have as text."""
    if not str(number).isdecimal() or int(number) >= count:
        raise ValueError(f"load_state_dict: parameters of the state must be numbers below {count}, got {number!r}")
    return int(number)


def check_state(state: Any) -> None:
    """Raise for what no state_dict of an optimizer returned."""
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: state must be a dict, got {type(state).__name__}")
    if "state" not in state or "param_groups" not in state:
        raise ValueError(
            f"load_state_dict: state must have the keys 'state' and 'param_groups', got {sorted(map(str, state))}"
        )


def _fitting(value: Any, own: gg.Tensor, what: str) -> gg.Tensor:
    """Return a value of the state as ours is: its dtype, device and shape; PyTorch counts steps in floats."""
    given = value if isinstance(value, gg.Tensor) else gg.asarray(value)
    if given.size != own.size or (given.ndim > 1 and tuple(given.shape) != tuple(own.shape)):
        raise ValueError(f"load_state_dict: {what} must have shape {tuple(own.shape)}, got {tuple(given.shape)}")
    return given.detach().to(dtype=own.dtype, device=own.device).reshape(own.shape)


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle: options make the copy's cells; what others have added since has none."""
        added = [k for k, v in self.items() if isinstance(v, float) and k not in self.cells]
        held = {k: v for k, v in self.items() if k not in added}
        return type(self), (held,), None, None, iter([(k, self[k]) for k in added])

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
        self._of_modules: set[int] = set()  # which parameters were a module's when they were added
        given = _listed(type(self).__name__, params)
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
        if "params" not in group:
            raise ValueError(f"{name}: group must have the key 'params', got {sorted(group)}")
        params = group["params"]
        params = [params] if isinstance(params, gg.Tensor) else _listed(name, params)
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
        made = ParamGroup(self._options({k: v for k, v in {**self.defaults, **group}.items() if k != "params"}))
        dict.__setitem__(made, "params", params)
        self.param_groups.append(made)
        for p in params:
            self.state[id(p)] = self.make_state(p, made)
            if p.is_parameter:
                self._of_modules.add(id(p))
        gg.graph.bump_epoch()

    def _options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return hyper-parameters as the defaults have them: numbers as floats, pairs of numbers as tuples."""
        made = dict(values)
        for k, default in self.defaults.items():
            if isinstance(default, tuple):
                made[k] = numbers_of(k, made[k])
            elif isinstance(default, float):
                made[k] = number_of(type(self).__name__, k, made[k])
        self.check_options(made)
        return made

    def check_options(self, values: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters out of range; subclasses define it."""

    def make_state(self, parameter: gg.Tensor, group: ParamGroup) -> dict[str, gg.Tensor]:
        """Return the state of a parameter, made when it is added; subclasses define it."""
        return {}

    def update_group(self, group: ParamGroup, params: list[gg.Tensor]) -> None:
        """Apply one step to the parameters that have gradients; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__}: update_group must be defined")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: called first, with gradients recorded; its result is returned.

        Raises:
            RuntimeError: Module.to has put another tensor into a parameter's place since the optimizer was made.
        """
        result = None
        if closure is not None:
            with gg.enable_grad():
                result = closure()
        with gg.no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if len(params) < len(group["params"]):
                    self._check_places(group["params"])
                if params:
                    self.update_group(group, params)
        return result

    def _check_places(self, params: list[gg.Tensor]) -> None:
        for i, p in enumerate(params):
            if not p.is_parameter and id(p) in self._of_modules:
                raise RuntimeError(
                    f"{type(self).__name__}: params must be in their modules, got one at position {i} that was moved to"
                    " another device or dtype (make the optimizer after Module.to)"
                )

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

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a copy, in which parameters have other identities: by number, not by id."""
        params = [p for g in self.param_groups for p in g["params"]]
        return {
            **self.__dict__,
            "state": [self.state[id(p)] for p in params],
            "_of_modules": [id(p) in self._of_modules for p in params],
        }

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Take the attributes of the optimizer that this one is a copy of."""
        self.__dict__.update(attributes)
        params = [p for g in self.param_groups for p in g["params"]]
        self.state = {id(p): entry for p, entry in zip(params, attributes["state"], strict=True)}
        self._of_modules = {id(p) for p, was in zip(params, attributes["_of_modules"], strict=True) if was}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what state_dict returned, copying into this optimizer's own state; either all of it or nothing.

        Raises:
            TypeError: when a hyper-parameter or a value of the state is no number or tensor.
            ValueError: when groups or their sizes, or shapes, differ, a hyper-parameter is out of range, or the state
                is of another kind of optimizer.
        """
        check_state(state)
        groups = state["param_groups"]
        ours = [len(g["params"]) for g in self.param_groups]
        theirs = [len(g["params"]) for g in groups]
        if ours != theirs:
            raise ValueError(f"load_state_dict: groups must have sizes {ours}, got {theirs}")
        # Whatever may fail comes before the first change.
        values = []
        wanted: dict[int, dict[str, gg.Tensor]] = {}
        for group, given in zip(self.param_groups, groups, strict=True):
            options = self._options({k: v for k, v in {**group, **given}.items() if k != "params"})
            values.append(options)
            for p in group["params"]:  # an option that was switched on may want more state
                wanted[id(p)] = {**self.make_state(p, ParamGroup(options)), **self.state[id(p)]}
        params = [p for g in self.param_groups for p in g["params"]]
        copies: list[tuple[gg.Tensor, gg.Tensor]] = []
        for number, entry in state["state"].items():
            own = wanted[id(params[_number_below(len(params), number)])]
            buffers = [k for k, v in entry.items() if v is not None and k != "step"]  # several kinds count their steps
            if buffers and not any(k in own for k in buffers):
                raise ValueError(
                    f"load_state_dict: state of parameter {number} must be {type(self).__name__}'s {sorted(own)},"
                    f" got {sorted(buffers)}"
                )
            copies += [
                (own[key], _fitting(value, own[key], f"{key} of parameter {number}"))
                for key, value in entry.items()
                if key in own and value is not None
            ]
        self.state |= wanted
        for group, options in zip(self.param_groups, values, strict=True):
            group.update(options)
        with gg.no_grad():
            for target, source in copies:
                target.copy_(source)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])

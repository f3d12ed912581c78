"""Module: a tree of parameters, buffers and modules, with a forward method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import gorgo as gg

__all__ = ["LoadResult", "Module", "Parameter"]


class _ParameterType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, gg.Tensor) and instance.is_parameter


class Parameter(metaclass=_ParameterType):
    """Mark a tensor as a module's parameter: a leaf that requires grad.

    Args:
        data: tensor; its memory is shared.
        requires_grad: whether gradients are wanted.

    Returns:
        A Tensor; `isinstance(p, gorgo.nn.Parameter)` holds for it.

    Raises:
        TypeError: when data is no tensor.

    Example:
        >>> import gorgo as gg
        >>> p = gg.nn.Parameter(gg.ones((2,)))
        >>> p.requires_grad, isinstance(p, gg.nn.Parameter)
        (True, True)
    """

    def __new__(cls, data: gg.Tensor, requires_grad: bool = True) -> gg.Tensor:  # type: ignore[misc]  # noqa: D102
        if not isinstance(data, gg.Tensor):
            raise TypeError(f"Parameter: data must be a tensor, got {type(data).__name__}")
        parameter = data.detach()
        if requires_grad:
            parameter.requires_grad_()
        parameter.is_parameter = True
        return parameter


class LoadResult(NamedTuple):
    """What load_state_dict could not match.

    Example:
        >>> import gorgo as gg
        >>> net = gg.nn.Linear(2, 1)
        >>> net.load_state_dict(net.state_dict()).missing_keys
        []
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of all layers: assign parameters, buffers and modules as attributes, define `forward`.

    Example:
        >>> import gorgo as gg
        >>> class Twice(gg.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.scale = gg.nn.Parameter(gg.full((1,), 2.0))
        ...
        ...     def forward(self, x):
        ...         return x * self.scale
        >>> Twice()(gg.ones((2,))).tolist()
        [2.0, 2.0]
    """

    training: bool
    _parameters: dict[str, gg.Tensor | None]
    _buffers: dict[str, gg.Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]  # buffers that are no part of the state

    def __init__(self) -> None:
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_buffers", {})
        object.__setattr__(self, "_modules", {})
        object.__setattr__(self, "_transient", set())
        object.__setattr__(self, "training", True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__}: forward must be defined")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what forward returns."""
        if gg.graph.is_capturing():
            gg.graph.guard_attribute(self, "training")
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}: super().__init__() must be called before attribute {name!r} is set"
            )
        homes: tuple[dict[str, Any], ...] = (self._parameters, self._modules, self._buffers)
        if isinstance(value, Parameter):
            home: dict[str, Any] = self._parameters
        elif isinstance(value, Module):
            home = self._modules
        elif name in self._parameters and value is not None:
            raise TypeError(
                f"{type(self).__name__}: parameter {name!r} must be set to a gorgo.nn.Parameter or None,"
                f" got {type(value).__name__}"
            )
        else:
            found = next((h for h in homes if name in h), None)
            if found is None:
                object.__setattr__(self, name, value)
                if name == "training":
                    gg.graph.bump_epoch()
                return
            home = found
        for other in homes:
            if other is not home:
                other.pop(name, None)
        self.__dict__.pop(name, None)
        home[name] = value
        gg.graph.bump_epoch()

    def __getattr__(self, name: str) -> Any:
        for home in ("_parameters", "_buffers", "_modules"):
            members = self.__dict__.get(home)
            if members is not None and name in members:
                return members[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for home in (self._parameters, self._buffers, self._modules):
            if name in home:
                del home[name]
                gg.graph.bump_epoch()
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def register_buffer(self, name: str, tensor: gg.Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained; it belongs to the state if persistent.

        Raises:
            TypeError: when it is no tensor.
            ValueError: when the name is taken by something else, or is empty or dotted.
        """
        if not name or "." in name or (name not in self._buffers and hasattr(self, name)):
            raise ValueError(f"register_buffer: name must be free and without dots, got {name!r}")
        if tensor is not None and not isinstance(tensor, gg.Tensor):
            raise TypeError(f"register_buffer: tensor must be a tensor or None, got {type(tensor).__name__}")
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)
        gg.graph.bump_epoch()

    def register_parameter(self, name: str, parameter: gg.Tensor | None) -> None:
        """Add a parameter by name; None reserves the name."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"register_parameter: parameter must be a gorgo.nn.Parameter or None, got {type(parameter).__name__}"
            )
        self._parameters[name] = parameter

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module by name."""
        self._modules[name] = module

    def children(self) -> Iterator[Module]:
        """Yield the direct child modules."""
        seen: set[int] = set()
        for module in self._modules.values():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield module

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield (name, module) for this module and all below it, each once."""
        yield from self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it."""
        for _, module in self.named_modules():
            yield module

    def _named(self, home: str) -> Iterator[tuple[str, gg.Tensor]]:
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, tensor in getattr(module, home).items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield (f"{prefix}.{name}" if prefix else name), tensor

    def named_parameters(self) -> Iterator[tuple[str, gg.Tensor]]:
        """Yield (dotted name, parameter), each parameter once."""
        yield from self._named("_parameters")

    def parameters(self) -> Iterator[gg.Tensor]:
        """Yield the parameters, each once."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, gg.Tensor]]:
        """Yield (dotted name, buffer), each buffer once."""
        yield from self._named("_buffers")

    def buffers(self) -> Iterator[gg.Tensor]:
        """Yield the buffers, each once."""
        for _, buffer in self.named_buffers():
            yield buffer

    def train(self, mode: bool = True) -> Module:
        """Set training mode here and below; dropout is active in it.

        Raises:
            TypeError: mode is no bool.
        """
        if not isinstance(mode, bool):
            raise TypeError(f"train: mode must be True or False, got {type(mode).__name__}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set evaluation mode here and below."""
        return self.train(False)

    def to(self, device: Any = None, dtype: gg.dtype | None = None, *, tensor: gg.Tensor | None = None) -> Module:
        """Move parameters, their gradients and buffers to a device, convert those of floating dtypes, or both.

        A tensor's device and dtype are fixed, so what changes is replaced: afterwards `parameters()` yields other
        tensors. Make optimizers, and whatever else holds parameters, after the move (a step of one that was made before
        is an error). What is there already stays the same object; tied parameters stay tied. The first argument may
        also be a dtype or a tensor.

        Args:
            device: a name such as "cuda:0"; None leaves every tensor where it is.
            dtype: a floating or complex one, for parameters and buffers of such dtypes; None leaves them as they are.
            tensor: whose device and dtype are taken, instead.

        Returns:
            The module.

        Raises:
            ValueError: there is no such device.
            TypeError: dtype is neither floating nor complex.

        Example:
            >>> import gorgo as gg
            >>> net = gg.nn.Linear(2, 1).to("cpu", gg.float64)
            >>> net.weight.device, net.weight.dtype.name
            ('cpu', 'float64')
        """
        if isinstance(device, gg.Tensor):
            device, tensor = None, device
        elif isinstance(device, gg.dtype):
            device, dtype = None, device
        if tensor is not None:
            device, dtype = tensor.device, tensor.dtype
        if dtype is not None:
            dtype = gg.empty((), dtype=dtype, device="null").dtype  # a name is a dtype, too
            if not _is_inexact(dtype):
                raise TypeError(f"to: dtype must be floating or complex, got {dtype}")
        if device is not None:
            device = gg.empty((0,), device=device).device  # an unknown one is refused before the first change
            gg.random.default_generator.state_on(device)  # so that a captured step finds it there
        homes = [home for module in self.modules() for home in (module._parameters, module._buffers)]
        with gg.no_grad():
            held = {id(t): t for home in homes for t in home.values() if t is not None}
            moved = {key: _moved(t, device, dtype) for key, t in held.items()}
        for home in homes:
            for name, t in home.items():
                if t is not None and moved[id(t)] is not t:
                    home[name] = moved[id(t)]
        for key, t in held.items():
            if moved[key] is not t:
                t.grad, t.is_parameter = None, False  # so that an optimizer which holds it still can tell
        gg.graph.bump_epoch()
        return self

    def cuda(self, device: str | int | None = None) -> Module:
        """Move parameters, their gradients and buffers to a CUDA device, the first one when None; see `to`."""
        return self.to("cuda:0" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def cpu(self) -> Module:
        """Move parameters, their gradients and buffers to the cpu; see `to`."""
        return self.to("cpu")

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze or thaw all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Set every parameter's gradient to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call function on every module below, then on this one."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    def _state(self) -> Iterator[tuple[str, gg.Tensor]]:
        for prefix, module in self.named_modules():
            for home in (module._parameters, module._buffers):
                for name, tensor in home.items():
                    if tensor is not None and name not in module._transient:
                        yield (f"{prefix}.{name}" if prefix else name), tensor

    def state_dict(self) -> dict[str, gg.Tensor]:
        """Return parameters and buffers by dotted name, detached and sharing memory, on the devices where they are."""
        return {name: tensor.detach() for name, tensor in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values into parameters and buffers by name; either all are copied or none.

        Args:
            state: tensors or arrays by dotted name; another library's tensors are taken through DLPack or NumPy. Values
                take the dtype of what they are copied into, and go to its device.
            strict: whether names must match exactly.

        Returns:
            The names that were missing and those that were unexpected, both empty when strict.

        Raises:
            KeyError: when names are missing or unexpected and strict is set.
            TypeError: when a value is no tensor or array.
            ValueError: when shapes differ.

        Example:
            >>> import gorgo as gg
            >>> net = gg.nn.Linear(2, 1)
            >>> net.load_state_dict({"weight": gg.ones((1, 2)), "scale": gg.ones(())}, strict=False)
            LoadResult(missing_keys=['bias'], unexpected_keys=['scale'])
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state must be tensors by name, got {type(state).__name__}")
        own = dict(self._state())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        if strict and (missing or unexpected):
            raise KeyError(
                f"load_state_dict: names must match the {len(own)} of {type(self).__name__}, got {len(missing)} missing"
                f" {_shortened(missing)} and {len(unexpected)} unexpected {_shortened(unexpected)}"
            )
        values: dict[str, gg.Tensor] = {}
        misfits = []
        for name, tensor in own.items():
            if name not in state:
                continue
            value = _tensor_of(state[name], name)
            if tuple(value.shape) != tuple(tensor.shape):
                misfits.append(f"{name} must have shape {tuple(tensor.shape)}, got {tuple(value.shape)}")
            values[name] = value
        if misfits:
            raise ValueError(f"load_state_dict: {'; '.join(misfits)}")
        with gg.no_grad():
            # What may fail comes before the first write.
            cast = {n: value.to(dtype=own[n].dtype, device=own[n].device) for n, value in values.items()}
            for name, value in cast.items():
                own[name].copy_(value)
        return LoadResult(missing, unexpected)

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of repr."""
        return ""

    def __repr__(self) -> str:
        children = [f"  ({name}): {module!r}".replace("\n", "\n  ") for name, module in self._modules.items()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n".join([f"{type(self).__name__}({self.extra_repr()}", *children, ")"])


def _is_inexact(dtype: gg.dtype) -> bool:
    return bool(dtype.is_floating_point or dtype.is_complex)


def _moved(t: gg.Tensor, device: str | None, dtype: gg.dtype | None) -> gg.Tensor:
    """Return a parameter or buffer, with its gradient, on a device and in a dtype; itself where nothing changes."""
    to: dict[str, Any] = {} if device is None else {"device": device}
    if dtype is not None and _is_inexact(t.dtype):
        to["dtype"] = dtype
    if not to or (t.device == to.get("device", t.device) and t.dtype == to.get("dtype", t.dtype)):
        return t
    moved = t.detach().to(**to)
    if isinstance(t, Parameter):
        moved = Parameter(moved, t.requires_grad)
        if t.grad is not None:
            moved.grad = t.grad.detach().to(**to)
    return moved


def _tensor_of(value: Any, name: str) -> gg.Tensor:
    """Return a tensor over a tensor's or array's elements, another library's included."""
    if isinstance(value, gg.Tensor):
        return value.detach()
    if hasattr(value, "detach"):
        value = value.detach()
    if not hasattr(value, "__array_interface__") and not hasattr(value, "__dlpack__"):
        raise TypeError(f"load_state_dict: {name} must be a tensor or array, got {type(value).__name__}")
    return gg.asarray(value)


def _shortened(names: list[str], most: int = 8) -> list[str]:
    return names if len(names) <= most else [*names[:most], "..."]

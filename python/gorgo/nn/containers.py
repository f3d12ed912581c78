"""Modules and parameters in sequences and mappings: each member is a child of its own with its place as name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast, overload

import gorgo as gg
from gorgo.nn.module import Module, Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


def _module(container: str, module: Any, place: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"{container}: modules must be gorgo.nn.Module, got {type(module).__name__} at {place!r}")
    return module


class _ModuleSequence(Module):
    """What ModuleList and Sequential share: members by position, names "0", "1", ... without gaps."""

    def _members(self) -> list[Module]:
        return [module for module in self._modules.values() if module is not None]

    def _put(self, members: list[Module]) -> None:
        for name in [*self._modules]:
            delattr(self, name)
        for i, module in enumerate(members):
            setattr(self, str(i), module)

    def _position(self, index: int) -> int:
        n = len(self._modules)
        if not -n <= index < n:
            raise IndexError(f"{type(self).__name__}: index must be in [{-n}, {n}), got {index}")
        return index % n

    def _like(self, members: list[Module]) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: _like must be defined")

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._members())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Any: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a member, or a container of the members of a slice."""
        if isinstance(index, slice):
            return self._like(self._members()[index])
        return self._members()[self._position(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        members = self._members()
        members[self._position(index)] = _module(type(self).__name__, module, index)
        self._put(members)

    def __delitem__(self, index: int | slice) -> None:
        members = self._members()
        del members[index if isinstance(index, slice) else self._position(index)]
        self._put(members)

    def append(self, module: Module) -> Any:
        """Add a module at the end."""
        setattr(self, str(len(self)), _module(type(self).__name__, module, len(self)))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before the one at index."""
        members = self._members()
        members.insert(index, _module(type(self).__name__, module, index))
        self._put(members)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take out a module and return it."""
        module = self[index]
        del self[index]
        return module


class ModuleList(_ModuleSequence):
    """A list whose modules are children, named by their positions.

    Args:
        modules: what it starts with.

    Example:
        >>> import gorgo as gg
        >>> layers = gg.nn.ModuleList([gg.nn.Linear(4, 4) for _ in range(3)])
        >>> len(layers), sorted(layers.state_dict())[:2]
        (3, ['0.bias', '0.weight'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _like(self, members: list[Module]) -> ModuleList:
        return ModuleList(members)

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:  # noqa: PYI034
        self.extend(modules)
        return self

    def __add__(self, modules: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *modules])


class Sequential(_ModuleSequence):
    """Modules called one after the other.

    Args:
        modules: the modules in order, or one mapping of names to modules.

    Example:
        >>> import gorgo as gg
        >>> net = gg.nn.Sequential(gg.nn.Linear(4, 8), gg.nn.ReLU(), gg.nn.Linear(8, 2))
        >>> len(net), net(gg.ones((1, 4))).shape
        (3, (1, 2))
        >>> len(net[:2])
        2
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, _module("Sequential", module, name))
            return
        for i, given in enumerate(modules):
            if not isinstance(given, Module):
                raise TypeError(
                    f"Sequential: modules must be gorgo.nn.Module, got {type(given).__name__} at position {i}"
                )
            self.add_module(str(i), given)

    def _like(self, members: list[Module]) -> Sequential:
        return Sequential(*members)

    def forward(self, x: Any) -> Any:
        """Return the last module's result."""
        for module in self._modules.values():
            if module is not None:
                x = module(x)
        return x


class ModuleDict(Module):
    """A mapping whose modules are children under their keys.

    Args:
        modules: what it starts with.

    Example:
        >>> import gorgo as gg
        >>> heads = gg.nn.ModuleDict({"policy": gg.nn.Linear(4, 2), "value": gg.nn.Linear(4, 1)})
        >>> heads["value"](gg.ones((1, 4))).shape
        (1, 1)
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        super().__init__()
        self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return cast("Module", self._modules[key])

    def __setitem__(self, key: str, module: Module) -> None:
        if not key or "." in key or (key not in self._modules and hasattr(self, key)):
            raise ValueError(f"ModuleDict: keys must be free names without dots, got {key!r}")
        setattr(self, key, _module("ModuleDict", module, key))

    def __delitem__(self, key: str) -> None:
        if key not in self._modules:
            raise KeyError(key)
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        """Return the keys."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """Return the modules."""
        return cast("Iterable[Module]", self._modules.values())

    def items(self) -> Iterable[tuple[str, Module]]:
        """Return the keys with their modules."""
        return cast("Iterable[tuple[str, Module]]", self._modules.items())

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules under their keys, in place of what stands there."""
        for key, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[key] = module

    def pop(self, key: str) -> Module:
        """Take out a module and return it."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take out all modules."""
        for key in [*self._modules]:
            del self[key]


def _parameter(container: str, value: Any, place: Any) -> gg.Tensor:
    """Return a parameter; a plain tensor becomes one."""
    if not isinstance(value, gg.Tensor):
        raise TypeError(f"{container}: values must be tensors, got {type(value).__name__} at {place!r}")
    return value if isinstance(value, Parameter) else Parameter(value)


class ParameterList(Module):
    """A list of parameters, named by their positions; a plain tensor becomes a parameter.

    Args:
        values: what it starts with.

    Example:
        >>> import gorgo as gg
        >>> scales = gg.nn.ParameterList([gg.ones((2,)), gg.zeros((3,))])
        >>> len(scales), scales[-1].requires_grad
        (2, True)
    """

    def __init__(self, values: Iterable[gg.Tensor] = ()) -> None:
        super().__init__()
        self.extend(values)

    def _position(self, index: int) -> str:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"ParameterList: index must be in [{-n}, {n}), got {index}")
        return str(index % n)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[gg.Tensor]:
        return iter(cast("list[gg.Tensor]", list(self._parameters.values())))

    @overload
    def __getitem__(self, index: int) -> gg.Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a parameter, or a list of those of a slice."""
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return self._parameters[self._position(index)]

    def __setitem__(self, index: int, value: gg.Tensor) -> None:
        setattr(self, self._position(index), _parameter("ParameterList", value, index))

    def append(self, value: gg.Tensor) -> ParameterList:
        """Add a parameter at the end."""
        setattr(self, str(len(self)), _parameter("ParameterList", value, len(self)))
        return self

    def extend(self, values: Iterable[gg.Tensor]) -> ParameterList:
        """Add parameters at the end."""
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[gg.Tensor]) -> ParameterList:  # noqa: PYI034
        return self.extend(values)

    def extra_repr(self) -> str:
        """Return the parameters' shapes."""
        return ", ".join(str(tuple(value.shape)) for value in self)


class ParameterDict(Module):
    """A mapping of names to parameters; a plain tensor becomes a parameter.

    Args:
        values: what it starts with.

    Example:
        >>> import gorgo as gg
        >>> p = gg.nn.ParameterDict({"mean": gg.zeros((2,)), "scale": gg.ones((2,))})
        >>> sorted(p.state_dict())
        ['mean', 'scale']
    """

    def __init__(self, values: Mapping[str, gg.Tensor] | Iterable[tuple[str, gg.Tensor]] = ()) -> None:
        super().__init__()
        self.update(values)

    def __getitem__(self, key: str) -> gg.Tensor:
        return cast("gg.Tensor", self._parameters[key])

    def __setitem__(self, key: str, value: gg.Tensor) -> None:
        if not key or "." in key or (key not in self._parameters and hasattr(self, key)):
            raise ValueError(f"ParameterDict: keys must be free names without dots, got {key!r}")
        setattr(self, key, _parameter("ParameterDict", value, key))

    def __delitem__(self, key: str) -> None:
        if key not in self._parameters:
            raise KeyError(key)
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __contains__(self, key: object) -> bool:
        return key in self._parameters

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._parameters.keys()

    def values(self) -> Iterable[gg.Tensor]:
        """Return the parameters."""
        return cast("Iterable[gg.Tensor]", self._parameters.values())

    def items(self) -> Iterable[tuple[str, gg.Tensor]]:
        """Return the names with their parameters."""
        return cast("Iterable[tuple[str, gg.Tensor]]", self._parameters.items())

    def update(self, values: Mapping[str, gg.Tensor] | Iterable[tuple[str, gg.Tensor]]) -> None:
        """Add parameters under their names, in place of what stands there."""
        for key, value in values.items() if isinstance(values, Mapping) else values:
            self[key] = value

    def pop(self, key: str) -> gg.Tensor:
        """Take out a parameter and return it."""
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Take out all parameters."""
        for key in [*self._parameters]:
            del self[key]

    def extra_repr(self) -> str:
        """Return the parameters' names and shapes."""
        return ", ".join(f"{name}={tuple(value.shape)}" for name, value in self.items())

"""Small, very fast tensors for Python.

What people call per op lives in the compiled module gorgo._core and is found here by name. The larger parts (nn, optim,
graph, ...) are imported when first used, so that ``import gorgo`` stays a matter of milliseconds.
"""

from __future__ import annotations

from gorgo import _core
from gorgo._core import *  # noqa: F403
from gorgo._core import __version__ as __version__

TYPE_CHECKING = False  # importing typing would cost more than all the rest
if TYPE_CHECKING:
    from typing import Any

    from gorgo import autograd as autograd
    from gorgo import data as data
    from gorgo import graph as graph
    from gorgo import io as io
    from gorgo import memory as memory
    from gorgo import nn as nn
    from gorgo import optim as optim
    from gorgo import random as random
    from gorgo import testing as testing
    from gorgo.array_names import __array_api_version__ as __array_api_version__
    from gorgo.array_names import __array_namespace_info__ as __array_namespace_info__
    from gorgo.array_names import broadcast_arrays as broadcast_arrays
    from gorgo.array_names import broadcast_shapes as broadcast_shapes
    from gorgo.array_names import diff as diff
    from gorgo.array_names import isdtype as isdtype
    from gorgo.array_names import meshgrid as meshgrid
    from gorgo.array_names import moveaxis as moveaxis
    from gorgo.array_names import tensordot as tensordot
    from gorgo.array_names import vecdot as vecdot
    from gorgo.graph import compile as compile
    from gorgo.io import load as load
    from gorgo.io import save as save
    from gorgo.printing import get_printoptions as get_printoptions
    from gorgo.printing import printoptions as printoptions
    from gorgo.printing import set_printoptions as set_printoptions
    from gorgo.profiling import profile as profile

pi = 3.141592653589793
e = 2.718281828459045
inf = float("inf")
nan = float("nan")
newaxis = None

# Parts of the package that are imported when somebody first names them.
_LAZY_MODULES = (
    "autograd",
    "data",
    "fft",
    "graph",
    "io",
    "linalg",
    "memory",
    "nn",
    "onnx",
    "optim",
    "random",
    "testing",
)
_LAZY_NAMES = {
    "__array_api_version__": "array_names",
    "__array_namespace_info__": "array_names",
    "broadcast_arrays": "array_names",
    "broadcast_shapes": "array_names",
    "compile": "graph",
    "diff": "array_names",
    "get_printoptions": "printing",
    "isdtype": "array_names",
    "load": "io",
    "meshgrid": "array_names",
    "moveaxis": "array_names",
    "printoptions": "printing",
    "profile": "profiling",
    "save": "io",
    "set_printoptions": "printing",
    "tensordot": "array_names",
    "vecdot": "array_names",
}


def show_config() -> None:
    """Print what this build and this process are: version, instruction set, threads, devices, environment variables.

    Example:
        >>> import gorgo as gg
        >>> gg.show_config()  # doctest: +ELLIPSIS
        gorgo ...
    """
    facts = _core._config()
    environment, meanings = facts.pop("environment"), facts.pop("environment_variables")
    print(f"gorgo {facts.pop('version')}")
    for name, value in facts.items():
        print(f"  {name:<18}{', '.join(value) if isinstance(value, list) else value}")
    print("  environment")
    for name, value in environment.items():
        print(f"    {name}={'' if value is None else value}  ({meanings[name]})")


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY_NAMES:
        value = getattr(importlib.import_module(f"gorgo.{_LAZY_NAMES[name]}"), name)
    elif name in _LAZY_MODULES:
        try:
            value = importlib.import_module(f"gorgo.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"gorgo.{name}":
                raise
            raise AttributeError(f"module 'gorgo' has no attribute {name!r}") from None
    else:
        raise AttributeError(f"module 'gorgo' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES, *_LAZY_NAMES})

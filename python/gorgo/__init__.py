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
    from gorgo import cuda as cuda
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
    from gorgo.contraction import einsum as einsum
    from gorgo.elementwise import addcdiv as addcdiv
    from gorgo.elementwise import addcmul as addcmul
    from gorgo.elementwise import allclose as allclose
    from gorgo.elementwise import array_equal as array_equal
    from gorgo.elementwise import deg2rad as deg2rad
    from gorgo.elementwise import float_power as float_power
    from gorgo.elementwise import frac as frac
    from gorgo.elementwise import isclose as isclose
    from gorgo.elementwise import lerp as lerp
    from gorgo.elementwise import nan_to_num as nan_to_num
    from gorgo.elementwise import rad2deg as rad2deg
    from gorgo.graph import compile as compile
    from gorgo.indexing import index_add as index_add
    from gorgo.indexing import index_copy as index_copy
    from gorgo.indexing import index_fill as index_fill
    from gorgo.indexing import index_select as index_select
    from gorgo.indexing import masked_fill as masked_fill
    from gorgo.indexing import masked_scatter as masked_scatter
    from gorgo.indexing import masked_select as masked_select
    from gorgo.indexing import narrow as narrow
    from gorgo.indexing import put_along_axis as put_along_axis
    from gorgo.indexing import scatter_reduce as scatter_reduce
    from gorgo.io import load as load
    from gorgo.io import save as save
    from gorgo.manipulation import atleast_1d as atleast_1d
    from gorgo.manipulation import atleast_2d as atleast_2d
    from gorgo.manipulation import atleast_3d as atleast_3d
    from gorgo.manipulation import block_diag as block_diag
    from gorgo.manipulation import cartesian_prod as cartesian_prod
    from gorgo.manipulation import chunk as chunk
    from gorgo.manipulation import column_stack as column_stack
    from gorgo.manipulation import cross as cross
    from gorgo.manipulation import diag as diag
    from gorgo.manipulation import diag_embed as diag_embed
    from gorgo.manipulation import dsplit as dsplit
    from gorgo.manipulation import dstack as dstack
    from gorgo.manipulation import flatten as flatten
    from gorgo.manipulation import fliplr as fliplr
    from gorgo.manipulation import flipud as flipud
    from gorgo.manipulation import hsplit as hsplit
    from gorgo.manipulation import hstack as hstack
    from gorgo.manipulation import inner as inner
    from gorgo.manipulation import kron as kron
    from gorgo.manipulation import movedim as movedim
    from gorgo.manipulation import outer as outer
    from gorgo.manipulation import ravel as ravel
    from gorgo.manipulation import repeat_interleave as repeat_interleave
    from gorgo.manipulation import rot90 as rot90
    from gorgo.manipulation import tensor_split as tensor_split
    from gorgo.manipulation import trace as trace  # type: ignore[assignment]  # the module has another, not exported
    from gorgo.manipulation import tril_indices as tril_indices
    from gorgo.manipulation import triu_indices as triu_indices
    from gorgo.manipulation import unbind as unbind
    from gorgo.manipulation import unflatten as unflatten
    from gorgo.manipulation import vander as vander
    from gorgo.manipulation import vsplit as vsplit
    from gorgo.manipulation import vstack as vstack
    from gorgo.printing import get_printoptions as get_printoptions
    from gorgo.printing import printoptions as printoptions
    from gorgo.printing import set_printoptions as set_printoptions
    from gorgo.profiling import profile as profile
    from gorgo.reductions import aminmax as aminmax
    from gorgo.reductions import nanmax as nanmax
    from gorgo.reductions import nanmean as nanmean
    from gorgo.reductions import nanmin as nanmin
    from gorgo.reductions import nanprod as nanprod
    from gorgo.reductions import nanstd as nanstd
    from gorgo.reductions import nansum as nansum
    from gorgo.reductions import nanvar as nanvar
    from gorgo.searching import argwhere as argwhere
    from gorgo.searching import bincount as bincount
    from gorgo.searching import histogram as histogram
    from gorgo.searching import isin as isin
    from gorgo.searching import kthvalue as kthvalue
    from gorgo.searching import median as median
    from gorgo.searching import mode as mode
    from gorgo.searching import nanmedian as nanmedian
    from gorgo.searching import nanquantile as nanquantile
    from gorgo.searching import percentile as percentile
    from gorgo.searching import quantile as quantile
    from gorgo.searching import searchsorted as searchsorted
    from gorgo.searching import unique as unique
    from gorgo.searching import unique_all as unique_all
    from gorgo.searching import unique_counts as unique_counts
    from gorgo.searching import unique_inverse as unique_inverse
    from gorgo.searching import unique_values as unique_values

pi = 3.141592653589793
e = 2.718281828459045
inf = float("inf")
nan = float("nan")
newaxis = None

# Parts of the package that are imported when somebody first names them.
_LAZY_MODULES = (
    "autograd",
    "cuda",
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
    "addcdiv": "elementwise",
    "addcmul": "elementwise",
    "allclose": "elementwise",
    "aminmax": "reductions",
    "argwhere": "searching",
    "array_equal": "elementwise",
    "atleast_1d": "manipulation",
    "atleast_2d": "manipulation",
    "atleast_3d": "manipulation",
    "bincount": "searching",
    "block_diag": "manipulation",
    "broadcast_arrays": "array_names",
    "broadcast_shapes": "array_names",
    "cartesian_prod": "manipulation",
    "chunk": "manipulation",
    "column_stack": "manipulation",
    "compile": "graph",
    "cross": "manipulation",
    "deg2rad": "elementwise",
    "diag": "manipulation",
    "diag_embed": "manipulation",
    "diff": "array_names",
    "dsplit": "manipulation",
    "dstack": "manipulation",
    "einsum": "contraction",
    "flatten": "manipulation",
    "fliplr": "manipulation",
    "flipud": "manipulation",
    "float_power": "elementwise",
    "frac": "elementwise",
    "get_printoptions": "printing",
    "histogram": "searching",
    "hsplit": "manipulation",
    "hstack": "manipulation",
    "index_add": "indexing",
    "index_copy": "indexing",
    "index_fill": "indexing",
    "index_select": "indexing",
    "inner": "manipulation",
    "isclose": "elementwise",
    "isdtype": "array_names",
    "isin": "searching",
    "kron": "manipulation",
    "kthvalue": "searching",
    "lerp": "elementwise",
    "load": "io",
    "masked_fill": "indexing",
    "masked_scatter": "indexing",
    "masked_select": "indexing",
    "median": "searching",
    "meshgrid": "array_names",
    "mode": "searching",
    "moveaxis": "array_names",
    "movedim": "manipulation",
    "nan_to_num": "elementwise",
    "nanmax": "reductions",
    "nanmean": "reductions",
    "nanmedian": "searching",
    "nanmin": "reductions",
    "nanprod": "reductions",
    "nanquantile": "searching",
    "nanstd": "reductions",
    "nansum": "reductions",
    "nanvar": "reductions",
    "narrow": "indexing",
    "outer": "manipulation",
    "percentile": "searching",
    "printoptions": "printing",
    "profile": "profiling",
    "put_along_axis": "indexing",
    "quantile": "searching",
    "rad2deg": "elementwise",
    "ravel": "manipulation",
    "repeat_interleave": "manipulation",
    "rot90": "manipulation",
    "save": "io",
    "scatter_reduce": "indexing",
    "searchsorted": "searching",
    "set_printoptions": "printing",
    "tensor_split": "manipulation",
    "tensordot": "array_names",
    "trace": "manipulation",
    "tril_indices": "manipulation",
    "triu_indices": "manipulation",
    "unbind": "manipulation",
    "unflatten": "manipulation",
    "unique": "searching",
    "unique_all": "searching",
    "unique_counts": "searching",
    "unique_inverse": "searching",
    "unique_values": "searching",
    "vander": "manipulation",
    "vecdot": "array_names",
    "vsplit": "manipulation",
    "vstack": "manipulation",
}
# What NumPy and PyTorch have under this name, and we under another.
_HABITS = {
    "amax": "max",
    "amin": "min",
    "array": "asarray",
    "as_tensor": "asarray",
    "bmm": "matmul",
    "concatenate": "concat",
    "degrees": "rad2deg",
    "double": "float64",
    "float": "float32",
    "from_numpy": "asarray, which shares an array's memory",
    "half": "float16",
    "inference_mode": "no_grad",
    "int": "int32",
    "is_tensor": "isinstance(x, gorgo.Tensor)",
    "long": "int64",
    "manual_seed": "random.seed",
    "mm": "matmul",
    "ndarray": "Tensor",
    "power": "pow",
    "radians": "deg2rad",
    "rand": "random.uniform",
    "randint": "random.randint",
    "randn": "random.normal",
    "randperm": "random.permutation",
    "short": "int16",
    "transpose": "permute_dims, or swapaxes for two of them",
}
# Methods of Tensor that are Python functions of these modules.
_PYTHON_METHODS = {
    "aminmax": "reductions",
    "argwhere": "searching",
    "bincount": "searching",
    "chunk": "manipulation",
    "cross": "manipulation",
    "diag": "manipulation",
    "diag_embed": "manipulation",
    "diff": "array_names",
    "dsplit": "manipulation",
    "flatten": "manipulation",
    "fliplr": "manipulation",
    "flipud": "manipulation",
    "hsplit": "manipulation",
    "index_add": "indexing",
    "index_add_": "indexing",
    "index_copy": "indexing",
    "index_copy_": "indexing",
    "index_fill": "indexing",
    "index_fill_": "indexing",
    "index_select": "indexing",
    "inner": "manipulation",
    "isin": "searching",
    "kron": "manipulation",
    "kthvalue": "searching",
    "masked_fill": "indexing",
    "masked_fill_": "indexing",
    "masked_scatter": "indexing",
    "masked_scatter_": "indexing",
    "masked_select": "indexing",
    "median": "searching",
    "mode": "searching",
    "moveaxis": "array_names",
    "movedim": "manipulation",
    "nanmax": "reductions",
    "nanmean": "reductions",
    "nanmedian": "searching",
    "nanmin": "reductions",
    "nanprod": "reductions",
    "nanquantile": "searching",
    "nanstd": "reductions",
    "nansum": "reductions",
    "nanvar": "reductions",
    "narrow": "indexing",
    "outer": "manipulation",
    "put_along_axis": "indexing",
    "quantile": "searching",
    "ravel": "manipulation",
    "repeat_interleave": "manipulation",
    "rot90": "manipulation",
    "scatter_reduce": "indexing",
    "scatter_reduce_": "indexing",
    "tensor_split": "manipulation",
    "trace": "manipulation",
    "unbind": "manipulation",
    "unflatten": "manipulation",
    "unique": "searching",
    "vsplit": "manipulation",
}
_core._add_python_methods(_PYTHON_METHODS)


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
        told = f"; here it is {_HABITS[name]}" if name in _HABITS else ""
        raise AttributeError(f"module 'gorgo' has no attribute {name!r}{told}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    import importlib.util

    modules = [m for m in _LAZY_MODULES if importlib.util.find_spec(f"gorgo.{m}") is not None]
    return sorted({*globals(), *modules, *_LAZY_NAMES})

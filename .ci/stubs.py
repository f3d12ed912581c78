#!/usr/bin/env python3
"""Write python/gorgo/_core.pyi from the compiled module, or check that it is what would be written.

The signatures are the module's own, so the stub cannot drift from it; what a signature does not tell (the types of
parameters and results) follows from the names, which mean the same thing in every op.

`stubs.py --write` after a change of the bindings or of an op; `stubs.py` fails if that was forgotten.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import pathlib
import re
import subprocess
import sys
import types
from typing import Any

from gorgo import _core

STUB = pathlib.Path(__file__).resolve().parent.parent / "python" / "gorgo" / "_core.pyi"

# Parameters that are operands: a tensor, or a number where the op is elementwise.
OPERANDS = {"x", "x1", "x2", "condition", "other", "value", "source", "values", "fill_value"}
PARAMETERS = {
    "dtype": "DTypeLike | None",
    "device": "str | None",
    "shape": "int | Sequence[int]",
    "keepdims": "_bool",
    "requires_grad": "_bool",
    "indices": "Tensor",
    "weight": "Tensor",
    "bias": "Tensor | None",
    "logits": "Tensor",
    "target": "Any",
    "key": "Any",
    "state": "Tensor",
    "arrays": "Sequence[Tensor]",
    "reduction": "str",
}
# Functions whose result is not one tensor.
RESULTS = {
    "adaptive_max_pool1d": "Any",  # a pair with return_indices
    "adaptive_max_pool2d": "Any",  # a pair with return_indices
    "adaptive_max_pool3d": "Any",  # a pair with return_indices
    "can_cast": "_bool",
    "_config": "dict[str, Any]",
    "cummax": "tuple[Tensor, Tensor]",
    "cummin": "tuple[Tensor, Tensor]",
    "_live_records": "int",
    "_print_options": "tuple[int, int, int, int, _bool | None]",
    "max_pool1d": "Any",  # a pair with return_indices
    "max_pool2d": "Any",  # a pair with return_indices
    "max_pool3d": "Any",  # a pair with return_indices
    "_rebuild_tensor": "Tensor",
    "_set_print_options": "None",
    "_shared_calls": "int",
    "bump_epoch": "None",
    "enable_grad": "Any",
    "finfo": "Any",
    "get_float32_matmul_precision": "str",
    "get_num_threads": "int",
    "grad": "tuple[Any, ...]",  # None among them with allow_unused
    "guard_attribute": "None",
    "host_effect": "Any",
    "iinfo": "Any",
    "is_batch_invariant": "_bool",
    "is_capturing": "_bool",
    "is_grad_enabled": "_bool",
    "no_grad": "Any",
    "nonzero": "tuple[Tensor, ...]",
    "promote_types": "dtype",
    "result_type": "dtype",
    "set_grad_enabled": "Any",
    "set_batch_invariant": "None",
    "set_float32_matmul_precision": "None",
    "set_num_threads": "None",
    "split": "tuple[Tensor, ...]",
    "topk": "tuple[Tensor, Tensor]",
    "trace": "Graph",
    "unstack": "tuple[Tensor, ...]",
}
TENSOR_RESULTS = {
    "__bool__": "_bool",
    "__complex__": "complex",
    "__contains__": "_bool",
    "__delitem__": "None",
    "__dlpack__": "Any",
    "__dlpack_device__": "tuple[int, int]",
    "__float__": "float",
    "__format__": "str",
    "__array__": "Any",
    "__array_namespace__": "Any",
    "__hash__": "int",
    "__index__": "int",
    "__int__": "int",
    "__iter__": "Iterator[Tensor]",
    "__len__": "int",
    "__new__": "Self",
    "__reduce__": "Any",
    "__repr__": "str",
    "__setitem__": "None",
    "__str__": "str",
    "__divmod__": "tuple[Tensor, Tensor]",
    "__rdivmod__": "tuple[Tensor, Tensor]",
    "backward": "None",
    "data_ptr": "int",
    "is_contiguous": "_bool",
    "item": "Any",
    "numel": "int",
    "numpy": "Any",
    "retain_grad": "None",
    "tolist": "Any",
}
TENSOR_ATTRIBUTES = {
    "__cuda_array_interface__": "Any",
    "device": "Any",
    "dtype": "_dtype",
    "grad": "Tensor | None",
    "grad_fn": "Any",
    "is_leaf": "_bool",
    "is_parameter": "_bool",
    "itemsize": "int",
    "name": "Any",
    "nbytes": "int",
    "ndim": "int",
    "requires_grad": "_bool",
    "shape": "tuple[int, ...]",
    "size": "int",
    "strides": "tuple[int, ...]",
    "version": "int",
}
WRITABLE = {"grad", "requires_grad", "is_parameter", "name"}
HEAD = """\
# Written by .ci/stubs.py from the compiled module; edit that, not this.
# ruff: noqa
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias
from typing_extensions import Self

__version__: str
"""


def signature_of(member: Any) -> str:
    """Return a member's signature without types, or one that takes anything."""
    text = getattr(member, "__text_signature__", None)
    if not text:
        # pybind11 writes it as the first line of the docstring.
        first = (getattr(member, "__doc__", None) or "").split("\n")[0]
        match = re.fullmatch(r"\w+\((.*)\) -> .*", first)
        if match is None:
            return "(*args, **kwargs)"
        text = "(" + re.sub(r":[^=,\[]*(\[[^\]]*\])?[^=,]*", "", match[1]) + ")"
    return text.replace("$", "")


def typed(name: str, signature: str, result: str, *, method: bool = False) -> str:
    """Return a definition with types by the parameters' names."""
    signature = re.sub(r"=(float32|int64|float64)\b", "=...", signature)
    definition = ast.parse(f"def {name}{signature}: ...").body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise TypeError(f"stubs: {name} must have a signature, got {signature}")
    arguments = definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if method and not positional and not arguments.vararg:
        positional = [ast.arg("self")]
        arguments.args = positional
    if method and positional:
        # The parameter that a method is called on, whatever the op calls it, is given by position.
        positional[0].arg = "cls" if name == "__new__" else "self"
    last = positional[len(positional) - len(arguments.defaults) :]
    optional = {a.arg for a, d in zip(last, arguments.defaults, strict=True) if ast.unparse(d) == "None"}
    for argument in [*positional[1 if method else 0 :], *arguments.kwonlyargs]:
        kind = PARAMETERS.get(argument.arg, "Any")
        if argument.arg in OPERANDS:
            kind = "Any"
        if kind in {"Tensor", PARAMETERS["shape"]} and argument.arg in optional:
            kind += " | None"
        argument.annotation = ast.Name(kind)
    for starred in (arguments.vararg, arguments.kwarg):
        if starred is not None:
            starred.annotation = ast.Name("Any")
    definition.returns = ast.Name(result)
    return ast.unparse(ast.fix_missing_locations(definition)).replace(":\n    ...", ": ...")


def python_method(cls: type, name: str) -> str:
    """Return the stub of a method that is a Python function elsewhere, found when it is looked up."""
    function = getattr(cls, name)
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    result = "Tensor" if signature.return_annotation == "Tensor" else "Any"
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return "    " + typed(name, text, result, method=True)


def class_lines(cls: type, known: dict[str, str], attributes: dict[str, str]) -> list[str]:
    """Return the stub of a class."""
    named = [base for base in cls.__bases__ if base is not object and not base.__name__.startswith("pybind11")]
    bases = [base.__name__ for base in named]
    lines = [f"class {cls.__name__}({', '.join(bases)}):" if bases else f"class {cls.__name__}:"]
    if issubclass(cls, BaseException):
        return [*lines, "    ..."]
    is_tensor = cls is _core.Tensor
    for name, member in sorted(vars(cls).items()):
        if name in {"__doc__", "__module__", "__dict__", "__weakref__", "__getattribute__", "__class__"}:
            continue
        if isinstance(member, (types.GetSetDescriptorType, types.MemberDescriptorType, property)):
            kind = attributes.get(name, "Tensor" if is_tensor else "Any")
            lines += ["    @property", f"    def {name}(self) -> {kind}: ..."]
            if name in WRITABLE or (isinstance(member, property) and member.fset is not None):
                lines += [f"    @{name}.setter", f"    def {name}(self, value: Any) -> None: ..."]
        elif type(member).__name__ == "python_method":
            lines.append(python_method(cls, name))
        elif callable(member) or isinstance(member, (staticmethod, classmethod)):
            if name in {"__eq__", "__ne__"}:
                ignore = "  # type: ignore[override]" if is_tensor else ""
                kind = "Tensor" if is_tensor else "_bool"
                lines.append(f"    def {name}(self, value: object, /) -> {kind}: ...{ignore}")
                continue
            result = known.get(name, "Tensor" if is_tensor else "Any")
            if name in {"__init__", "__init_subclass__"}:
                result = "None"
            if name in {"__repr__", "__str__"}:
                result = "str"
            if name in {"__hash__", "__len__"}:
                result = "int"
            # In place, a power takes no modulus; the slot's signature is shared with __pow__ all the same.
            signature = "($self, value, /)" if name == "__ipow__" else signature_of(member)
            ignore = "  # type: ignore[misc]" if name == "__ipow__" else ""
            lines.append("    " + typed(name, signature.replace("$", ""), result, method=True) + ignore)
        elif name == "__array_ufunc__":
            lines.append("    __array_ufunc__: None")
        elif name == "__hash__":
            lines.append("    __hash__: None  # type: ignore[assignment]")
    return lines if len(lines) > 1 else [*lines, "    ..."]


def stub() -> str:
    """Return the whole stub, formatted."""
    classes, functions, values = [], [], []
    for name, member in sorted(vars(_core).items()):
        if name.startswith("__"):
            continue
        if isinstance(member, type):
            classes.append(
                class_lines(member, TENSOR_RESULTS | RESULTS if member is _core.Tensor else {}, TENSOR_ATTRIBUTES)
            )
        elif isinstance(member, _core.dtype):
            values.append(f"{name}: _dtype")
        elif isinstance(member, types.ModuleType):
            values.append(f"{name}: Any")
        elif callable(member):
            functions.append(typed(name, signature_of(member), RESULTS.get(name, "Tensor")))
        else:
            values.append(f"{name}: Any")
    # `bool` and `dtype` are names of the module, too, so the builtin and the class go by others here.
    aliases = [
        "import builtins",
        "_bool: TypeAlias = builtins.bool",
        "_dtype: TypeAlias = dtype",
        "DTypeLike: TypeAlias = Any",
    ]
    text = "\n".join([HEAD, *aliases, *["\n".join(lines) for lines in classes], *values, *functions, ""])
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(STUB), "-"]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Write the stub, or fail with a difference if it is stale."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[__name__]))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = stub()
    if options.write:
        STUB.write_text(text)
        return
    before = STUB.read_text()
    if before != text:
        names = ("in the tree", "from the module")
        difference = difflib.unified_diff(before.splitlines(), text.splitlines(), *names, lineterm="")
        print("\n".join(difference))
        sys.exit("stubs: python/gorgo/_core.pyi is stale; run .ci/stubs.py --write")


if __name__ == "__main__":
    main()

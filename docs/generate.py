"""Write the pages that follow from the library: the reference of every public name, the tables of dtypes and variables.

The lists are read from the package, so a name cannot be missing from the reference, and a table cannot disagree.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import types
from pathlib import Path
from typing import Any

import gorgo

# Page -> module. A name is documented on the first page that has it.
MODULES = {
    "nn": "gorgo.nn",
    "nn-functional": "gorgo.nn.functional",
    "nn-init": "gorgo.nn.init",
    "nn-utils": "gorgo.nn.utils",
    "optim": "gorgo.optim",
    "data": "gorgo.data",
    "io": "gorgo.io",
    "random": "gorgo.random",
    "linalg": "gorgo.linalg",
    "fft": "gorgo.fft",
    "onnx": "gorgo.onnx",
    "memory": "gorgo.memory",
    "cuda": "gorgo.cuda",
    "autograd": "gorgo.autograd",
    "graph": "gorgo.graph",
    "testing": "gorgo.testing",
    "gorgo": "gorgo",
}
ABOUT_REFERENCE = "Everything public, from the docstrings; ``help(gorgo.exp)`` shows the same.\n"
ABOUT_IN_PLACE = (
    "These write the result of the method of the same name without the underscore into the tensor, which they return;"
    " dtype and shape stay, and a leaf that requires grad may be written under ``no_grad`` only.\n"
)
# What every object of Python's has, and what is of no use to a caller.
HIDDEN = {"__class__", "__new__", "__init__", "__getattribute__", "__reduce__", "__doc__", "__module__"}
SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_|"})


def public_names(module: types.ModuleType) -> list[str]:
    """Return the names that a module means for users, in order."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name in dir(module) if not name.startswith("_")]
    return sorted((name for name in names if is_documented(module, name)), key=lambda name: (name.lower(), name))


def is_documented(module: types.ModuleType, name: str) -> bool:
    """Tell whether a name is something of ours that can be described: no module, no constant, no typing aid."""
    if name.startswith("_"):
        return False
    try:
        member = getattr(module, name)
    except AttributeError:  # a part that is planned and not there yet
        return False
    home = getattr(member, "__module__", None) or "gorgo"
    return callable(member) and not isinstance(member, (types.ModuleType, gorgo.dtype)) and home.startswith("gorgo")


def first_line(member: Any) -> str:
    """Return what a docstring begins with, as reStructuredText."""
    lines = (inspect.getdoc(member) or "").split("\n\n")[0].split("\n")
    return " ".join(lines).translate(SPECIAL)


def directive(name: str, member: Any) -> str:
    """Return the lines that document one name."""
    if not isinstance(member, type):
        return f".. autofunction:: {name}\n"
    if issubclass(member, BaseException):
        return f".. autoexception:: {name}\n"
    return f".. autoclass:: {name}\n   :members:\n   :exclude-members: extra_repr\n"


def title(text: str) -> str:
    """Return a heading."""
    return f"{text}\n{'=' * len(text)}\n"


def module_page(name: str, seen: set[int]) -> str:
    """Return the page of a module: what it is for, its names at a glance, each in full."""
    module = importlib.import_module(name)
    members = {n: getattr(module, n) for n in public_names(module)}
    members = {n: m for n, m in members.items() if not isinstance(m, type) or id(m) not in seen}
    seen.update(id(m) for m in members.values())
    about = inspect.getdoc(module) or ""
    glance = [f"* :obj:`{n} <{name}.{n}>`: {first_line(m)}" for n, m in members.items()]
    full = [directive(f"{name}.{n}", m) for n, m in members.items()]
    return "\n".join([title(name), about.translate(SPECIAL) if name == "gorgo" else about, "", *glance, "", *full])


def tensor_page() -> str:
    """Return the page of Tensor: properties, methods, and the methods that write in place."""
    attributes, methods, in_place, operators = [], [], [], []
    for name, member in sorted(vars(gorgo.Tensor).items()):
        if name.startswith("__") and callable(member) and name not in HIDDEN:
            operators.append(name)
        elif name.startswith("_"):
            continue
        elif isinstance(member, (types.GetSetDescriptorType, types.MemberDescriptorType)):
            attributes.append(name)
        elif name.endswith("_") and name[:-1] in vars(gorgo.Tensor):
            in_place.append(name)
        else:
            methods.append(name)
    parts = [
        title("Tensor"),
        ".. autoclass:: gorgo.Tensor\n",
        "Properties\n----------\n",
        *[f".. autoattribute:: gorgo.Tensor.{name}\n" for name in attributes],
        "Methods\n-------\n",
        *[f".. automethod:: gorgo.Tensor.{name}\n" for name in methods],
        "In place\n--------\n",
        ABOUT_IN_PLACE,
        ", ".join(f"``{name}``" for name in in_place) + "\n",
        "Operators\n---------\n",
        ", ".join(f"``{name}``" for name in operators) + "\n",
    ]
    return "\n".join(parts)


def environment_table() -> str:
    """Return the table of environment variables, from the list that the library itself reads."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in gorgo._core._config()["environment_variables"].items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows, ""])


def dtype_table() -> str:
    """Return the table of dtypes."""
    rows = []
    for name in dir(gorgo):
        dtype = getattr(gorgo, name, None)
        if isinstance(dtype, gorgo.dtype) and str(dtype) == name:
            if gorgo.isdtype(dtype, "real floating"):
                info = gorgo.finfo(dtype)
                limits = f"{info.bits} bits, largest {info.max:.4g}, eps {info.eps:.3g}"
            elif gorgo.isdtype(dtype, "integral"):
                info = gorgo.iinfo(dtype)
                limits = f"{info.min} to {info.max}"
            else:
                limits = ""
            rows.append(f"| `gorgo.{name}` | {limits} |")
    return "\n".join(["| dtype | |", "|---|---|", *rows, ""])


def write(folder: Path) -> None:
    """Write all generated pages into a folder; those that are as they were stay untouched, for quick rebuilds."""
    folder.mkdir(exist_ok=True)
    seen = {id(gorgo.Tensor)}
    pages = {"tensor.rst": tensor_page()}
    for page, module in MODULES.items():
        if importlib.util.find_spec(module) is not None:
            pages[f"{page}.rst"] = module_page(module, seen)
    order = ["gorgo", "tensor", *(page for page in MODULES if page != "gorgo")]
    listed = [f"   {page}" for page in order if f"{page}.rst" in pages]
    pages["index.rst"] = "\n".join(
        [title("Reference"), ABOUT_REFERENCE, ".. toctree::", "   :maxdepth: 1", "", *listed, ""]
    )
    pages["environment.md"] = environment_table()
    pages["dtypes.md"] = dtype_table()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()

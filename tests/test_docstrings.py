"""Every public name has a docstring in the one form: what it does in a line, arguments, results, an example that runs.

What the examples print is checked by test_doctests.py; that the lines read as orders is left to reviewers.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import types

import pytest

import gorgo

MODULES = [
    "gorgo",
    "gorgo.nn",
    "gorgo.nn.functional",
    "gorgo.nn.init",
    "gorgo.nn.utils",
    "gorgo.optim",
    "gorgo.optim.lr_scheduler",
    "gorgo.data",
    "gorgo.io",
    "gorgo.random",
    "gorgo.memory",
    "gorgo.graph",
    "gorgo.autograd",
    "gorgo.testing",
]
# No example: these are not made by hand.
NOT_MADE_BY_HAND = {
    "CompiledFunction",  # gorgo.compile makes it, and shows it
    "DeviceError",
    "Graph",  # gorgo.graph.trace makes it, and shows it
    "HostCell",  # made by optimizers
    "OutOfMemoryError",
}


def public_members(module: str) -> list[tuple[str, object]]:
    """Return what a module means for users: its callables, each under its own name."""
    home = importlib.import_module(module)
    names = getattr(home, "__all__", None)
    if names is None:
        # A part that the package plans for and does not have yet is no member.
        planned = {n for n in getattr(home, "_LAZY_MODULES", ()) if importlib.util.find_spec(f"gorgo.{n}") is None}
        names = [name for name in dir(home) if not name.startswith("_") and name not in planned]
    members = [(name, getattr(home, name)) for name in names]
    return [
        (name, member)
        for name, member in members
        if callable(member)
        and not isinstance(member, types.ModuleType)
        and (getattr(member, "__module__", None) or "gorgo").split(".")[0] == "gorgo"
    ]


def signature_line(member: object) -> str:
    """Return the signature that pybind11 writes above a docstring, or nothing."""
    first = (getattr(member, "__doc__", None) or "").split("\n")[0]
    return first if " -> " in first and not isinstance(member, type) else ""


def takes_arguments(member: object) -> bool:
    """Tell whether a function has parameters."""
    line = signature_line(member)
    return "()" not in line if line else bool(inspect.signature(member).parameters)


def returns_nothing(member: object) -> bool:
    """Tell whether a signature promises None, as do ops without outputs."""
    if hasattr(member, "__op_facts__"):
        return not member.__op_facts__["outputs"]
    if line := signature_line(member):
        return line.endswith("-> None")
    return getattr(member, "__annotations__", {}).get("return", "") in (None, "None")


def faults_of(name: str, member: object) -> list[str]:
    """Return what a docstring lacks."""
    doc = (inspect.getdoc(member) or "").removeprefix(signature_line(member)).strip()
    if not doc:
        return ["a docstring"]
    faults = []
    first = doc.split("\n\n")[0]
    if "\n" in first or not first.endswith("."):
        faults.append(f"a first line that is a sentence of its own, got {first[:60]!r}")
    if not isinstance(member, type):
        if "Args:" not in doc and takes_arguments(member):
            faults.append("Args")
        if "Returns:" not in doc and not returns_nothing(member):
            faults.append("Returns")
    if ">>>" not in doc and not (isinstance(member, type) and name in NOT_MADE_BY_HAND):
        faults.append("an example")
    return faults


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module: str) -> None:
    lacking = {
        f"{module}.{name}": faults for name, member in public_members(module) if (faults := faults_of(name, member))
    }
    report = "\n".join(f"  {name} lacks {', '.join(faults)}" for name, faults in lacking.items())
    assert not lacking, f"docstrings must be complete (CONTRIBUTING, How to add):\n{report}"


def test_every_module_documents_something() -> None:
    for module in MODULES:
        assert public_members(module), module
    assert len(public_members("gorgo")) > 150


def test_a_fault_is_seen() -> None:
    def bare(x: int) -> int:
        return x

    def short(x: int) -> int:
        """Return x"""
        return x

    def nothing() -> None:
        """Do nothing.

        Example:
            >>> 1
            1
        """

    assert faults_of("bare", bare) == ["a docstring"]
    assert faults_of("short", short) == [
        "a first line that is a sentence of its own, got 'Return x'",
        "Args",
        "Returns",
        "an example",
    ]
    assert faults_of("nothing", nothing) == []
    assert faults_of("Graph", gorgo.graph.Graph) == []

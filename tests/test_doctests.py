"""Every example in a public docstring of the installed package runs and prints what it says.

Docstrings of compiled functions and types count too; those come from the ops' own facts.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import types

import numpy as np
import pytest

import gorgo

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def is_public(name: str) -> bool:
    """Tell whether a name is meant for users."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def public_modules() -> list[types.ModuleType]:
    """Import and return gorgo and its public submodules."""
    names = ["gorgo"] + [info.name for info in pkgutil.walk_packages(gorgo.__path__, "gorgo.")]
    return [importlib.import_module(name) for name in names if all(map(is_public, name.split(".")))]


def examples_of(modules: list[types.ModuleType]) -> list[doctest.DocTest]:
    """Return the examples of the modules, of their public members, and of the members of public classes, each once."""
    parser = doctest.DocTestParser()
    seen: set[int] = set()
    found: list[doctest.DocTest] = []

    def visit(owner: object, name: str) -> None:
        if id(owner) in seen:
            return
        seen.add(id(owner))
        doc = getattr(owner, "__doc__", None)
        if isinstance(doc, str):
            test = parser.get_doctest(doc, {"gorgo": gorgo, "gg": gorgo, "np": np}, name, None, 0)
            if test.examples:
                found.append(test)
        if isinstance(owner, type):
            for key, member in vars(owner).items():
                if is_public(key) and key not in ("__class__", "__doc__", "__module__"):
                    visit(getattr(member, "__func__", member), f"{name}.{key}")

    for module in modules:
        visit(module, module.__name__)
        for key in getattr(module, "__all__", [key for key in vars(module) if is_public(key)]):
            member = getattr(module, key)
            home = getattr(member, "__module__", None) or ""
            if not isinstance(member, types.ModuleType) and (home == "" or home.split(".")[0] == "gorgo"):
                visit(member, f"{module.__name__}.{key}")
    return found


def failures_of(test: doctest.DocTest) -> tuple[int, str]:
    """Run one docstring's examples; return how many failed and what was printed about them."""
    lines: list[str] = []
    result = doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=lines.append, clear_globs=False)
    return result.failed, "".join(lines)


@pytest.mark.parametrize("test", examples_of(public_modules()), ids=lambda test: test.name)
def test_example(test, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    gorgo.random.manual_seed(0)
    failed, printed = failures_of(test)
    assert failed == 0, printed


def test_a_wrong_example_is_seen():
    module = types.ModuleType("gorgo.wrong", "A module.\n\n>>> 1 + 1\n3\n")
    (test,) = examples_of([module])
    failed, printed = failures_of(test)
    assert failed == 1
    assert "Expected" in printed

"""Results against stored checksums, for each instruction set that this machine has."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import gorgo as gg


def load_script() -> Any:
    path = Path(__file__).parent / "golden" / "make.py"
    spec = importlib.util.spec_from_file_location("golden_make", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = load_script()


@pytest.mark.parametrize("isa", golden.available())
def test_results_are_those_stored_for_the_instruction_set(isa: str) -> None:
    path = golden.HERE / f"{isa}.json"
    found = golden.run(isa)
    if not path.exists():
        # A set that no machine has stored yet must at least agree with itself.
        assert golden.run(isa) == found
        pytest.skip(f"no checksums are stored for the instruction set {isa}: {golden.HOW} {isa}")
    stored = json.loads(path.read_text())
    assert sorted(found) == sorted(stored), f"cases came or went: {golden.HOW} {isa}"
    differing = [f"{name}: {found[name]}, stored {stored[name]}" for name in found if found[name] != stored[name]]
    assert not differing, "\n".join([f"bits changed under {isa}; if that is meant: {golden.HOW} {isa}", *differing])


def test_files_are_small_and_name_known_sets() -> None:
    for path in golden.HERE.glob("*.json"):
        assert path.stem in golden.SETS
        assert path.stat().st_size < 8192
        assert len(json.loads(path.read_text())) > 60


def test_complex_numbers_round_alike_under_every_instruction_set() -> None:
    base, *others = (json.loads((golden.HERE / f"{isa}.json").read_text()) for isa in ("base", "avx2"))
    names = [name for name in base if name.startswith("complex ")]
    assert len(names) > 5
    for other in others:
        assert {name: other[name] for name in names} == {name: base[name] for name in names}


def test_what_calls_the_c_library_is_left_out() -> None:
    stored = {name for name, _, _ in golden.cases()}
    for name in golden.NOT_HERE["at all"]:
        assert hasattr(gg, name)
        assert name not in stored

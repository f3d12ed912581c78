"""What users of NumPy and PyTorch try first, and what they are told."""

from __future__ import annotations

import importlib
import pathlib

import numpy as np
import pytest

import gorgo as gg


@pytest.mark.parametrize(
    ("name", "ours"),
    [("manual_seed", "random.seed"), ("from_numpy", "asarray"), ("mm", "matmul"), ("randn", "random.normal")],
)
def test_names_of_others_are_answered_with_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'gorgo' has no attribute '{name}'; here it is {ours}"):
        getattr(gg, name)


def test_names_told_instead_are_there_and_the_others_are_not() -> None:
    for name, told in gg._HABITS.items():
        assert name not in dir(gg)
        for ours in told.split(" for ")[0].split(", which")[0].split(", or "):
            if "(" not in ours:
                home, _, last = ours.rpartition(".")
                assert hasattr(importlib.import_module(f"gorgo.{home}" if home else "gorgo"), last), told


def test_every_listed_name_can_be_had() -> None:
    assert [name for name in dir(gg) if not hasattr(gg, name)] == []


def test_layer_norms_take_one_size() -> None:
    x = gg.asarray([[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]])
    functional = gg.nn.functional
    assert functional.layer_norm(x, 3).tolist() == functional.layer_norm(x, (3,)).tolist()
    assert functional.rms_norm(x, 3, gg.ones(3)).tolist() == functional.rms_norm(x, [3], gg.ones(3)).tolist()
    with pytest.raises(ValueError, match=r"layer_norm: x must end in the axes \(4,\), got shape \(2, 3\)"):
        functional.layer_norm(x, 4)


def test_a_file_that_cannot_be_made_is_told_by_its_own_name(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "absent" / "net.safetensors"
    with pytest.raises(FileNotFoundError) as caught:
        gg.save({"a": gg.ones(2)}, path)
    assert caught.value.filename == str(path)


def test_wrong_arguments_are_told_by_name() -> None:
    with pytest.raises(TypeError, match=r"seed: seed must be an integer, got float 1\.5"):
        gg.random.seed(1.5)  # type: ignore[arg-type]
    assert gg.random.Generator(np.int64(3)).get_state().tolist() == [3, 0]  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="train: mode must be True or False, got str"):
        gg.nn.Linear(2, 1).train("eval")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"set_limit: bytes must be an integer, got float 1\.5"):
        gg.memory.set_limit(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Conv2d: kernel_size must be positive, got \(3, 0\)"):
        gg.nn.Conv2d(3, 4, (3, 0))


def test_indices_that_fit_nothing_are_index_errors() -> None:
    x = gg.ones((3, 4))
    for key in (2**63, -(2**63) - 1, (0, 2**70)):
        axis, item = (1, 2**70) if isinstance(key, tuple) else (0, key)
        message = rf"index: must be in \[-{3 + axis}, {3 + axis}\) on axis {axis}, got int {item} \("
        with pytest.raises(IndexError, match=message):
            x[key]
        with pytest.raises(IndexError, match=message):
            x[key] = 0
    message = r"index: tensors, lists and masks of a key must broadcast, got shapes \(3,\) and \(2,\)"
    with pytest.raises(IndexError, match=message):
        x[[0, 1, 2], [0, 1]]
    with pytest.raises(IndexError, match=message):
        x[gg.asarray([True, True, True]), [0, 1]] = 1.0
    with pytest.raises(IndexError):  # NumPy's kind, too
        np.ones((3, 4))[[0, 1, 2], [0, 1]]

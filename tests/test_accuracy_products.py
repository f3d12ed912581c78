"""Products and convolutions of float32 are as accurate as SGEMM's: few seeds of what accuracy_products.py takes."""

from __future__ import annotations

import accuracy_products as accuracy
import pytest


@pytest.mark.parametrize("kind", accuracy.DATA)
@pytest.mark.parametrize("shape", accuracy.SHAPES, ids=str)
def test_products_are_as_accurate_as_sgemm(kind: str, shape: tuple[int, int, int]) -> None:
    ours, theirs = accuracy.measure(kind, shape, 6, "highest")
    assert not accuracy.beyond("highest", ours, theirs), f"{ours} beside {theirs}"


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("kind", accuracy.DATA)
def test_less_precise_products_lose_what_pieces_leave_out(kind: str, precision: str) -> None:
    ours, theirs = accuracy.measure(kind, (96, 600, 100), 3, precision)
    assert not accuracy.beyond(precision, ours, theirs), f"{ours} beside {theirs}"


@pytest.mark.parametrize(
    ("case", "by"),
    [(case, by) for case in accuracy.CONVOLUTIONS for by in accuracy.BY if accuracy.is_comparable(case, by)],
    ids=str,
)
@pytest.mark.parametrize("kind", accuracy.DATA)
def test_convolutions_are_as_accurate_as_sgemm(case: tuple[int, ...], kind: str, by: str) -> None:
    ours, theirs = accuracy.measure_convolution(kind, case, by, 3, "highest")
    assert not accuracy.beyond("highest", ours, theirs), f"{ours} beside {theirs}"


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("by", accuracy.BY)
def test_less_precise_convolutions_lose_what_pieces_leave_out(by: str, precision: str) -> None:
    ours, theirs = accuracy.measure_convolution("normal", accuracy.CONVOLUTIONS[2], by, 3, precision)
    assert not accuracy.beyond(precision, ours, theirs), f"{ours} beside {theirs}"

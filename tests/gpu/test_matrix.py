"""Every op of the registry on a card: values, special values, layouts, gradients, capture.

Each check is a test for each op and dtype (values: and each sample), so that one that fails hides no other.
Read first: matrix.py, isolation.py.
"""

from __future__ import annotations

import pytest
from gpu import without_kernels
from gpu.matrix import CARD, NO_CARD, Case, cases, judge
from test_registry import FACTS


def each_case(check: str) -> pytest.MarkDecorator:
    if not CARD:
        return pytest.mark.parametrize("case", [pytest.param(None, id=NO_CARD.replace(" ", "_"))])
    return pytest.mark.parametrize("case", list(cases(check)), ids=str)


@pytest.mark.skipif(not any(facts["cuda_dtypes"] for facts in FACTS.values()), reason="needs a build with CUDA")
def test_every_kernel_of_the_cpu_has_one_on_the_card_or_a_reason() -> None:
    lacking, known = without_kernels.lacking(FACTS), set(without_kernels.table())
    new = without_kernels.as_lines(lacking - known)
    assert not new, f"kernels of the CPU that the card lacks; write them, or give a reason:\n{new}"
    gone = without_kernels.as_lines(known - lacking)
    assert not gone, f"entries of without_kernels.py that have a kernel, or none on the CPU:\n{gone}"


@each_case("values")
def test_values_equal_the_oracles(case: Case) -> None:
    judge(case)


@each_case("large")
def test_values_of_more_than_one_block(case: Case) -> None:
    judge(case)


@each_case("specials")
def test_nan_and_infinities(case: Case) -> None:
    judge(case)


@each_case("layouts")
def test_layouts_and_alignment(case: Case) -> None:
    judge(case)


@each_case("capture")
def test_capture_equals_eager(case: Case) -> None:
    judge(case)


@each_case("gradients")
def test_gradients_equal_those_of_the_cpu(case: Case) -> None:
    judge(case)


@each_case("captured_gradients")
def test_captured_gradients_equal_eager_ones(case: Case) -> None:
    judge(case)

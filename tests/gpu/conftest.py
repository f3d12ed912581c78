"""Tests that need a card: marked here, skipped where there is none, and run in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gpu import isolation
from gpu.matrix import CARD, DEVICE, NO_CARD, Case, card_answers

import gorgo as gg

HERE = Path(__file__).resolve().parent
# What asks the registry alone, and a build with CUDA for that.
WITHOUT_CARD = ("test_every_kernel_of_the_cpu_has_one_on_the_card_or_a_reason",)


def suspect(item: pytest.Item) -> str:
    """Name what is to blame when a test ends its process: the op of a case of the matrix, or the test's function."""
    case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
    return case.op if isinstance(case, Case) else item.nodeid.partition("[")[0]


@pytest.fixture(autouse=True)
def guards() -> Iterator[None]:
    """With GORGO_MEMORY_DEBUG=1, fail a test after which a byte around a block of the card's memory is another."""
    debug = CARD and gg.memory.debug_mode(device=DEVICE)
    before = len(gg.memory.check_guards(device=DEVICE)) if debug else 0
    yield
    if debug:
        damage = gg.memory.check_guards(device=DEVICE)[before:]
        assert not damage, damage


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in Path(item.path).resolve().parents:
            item.add_marker(pytest.mark.gpu)
            if not CARD and getattr(item, "originalname", "") not in WITHOUT_CARD:
                item.add_marker(pytest.mark.skip(reason=NO_CARD))


def pytest_collection_finish(session: pytest.Session) -> None:
    mine = [item for item in session.items if HERE in Path(item.path).resolve().parents]
    if not CARD or not mine or session.config.option.collectonly:
        return
    if isolation.is_child():
        session.config.pluginmanager.register(isolation.Child(card_answers))
    elif isolation.default_count() > 0:
        session.config.pluginmanager.register(isolation.Parent(session.config, mine, suspect))

"""One test for each message of the functions and classes written in Python that no test of a family provokes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import drawing, nn, optim
from gorgo.data import DataLoader, Sampler

F = nn.functional


def ones(*shape: int, **kwargs: Any) -> gg.Tensor:
    return gg.ones(shape, **kwargs)


def sgd(count: int = 1, **kwargs: Any) -> optim.SGD:
    return optim.SGD([{"params": [ones(1, requires_grad=True)]} for _ in range(count)], lr=0.1, **kwargs)


def graph() -> Any:
    return gg.graph.trace(lambda x: x + x, ones(3))


def deleted(t: Any, key: Any) -> None:
    del t[key]


def allocate() -> None:
    with gg.testing.assert_no_alloc():
        ones(1000)


class TwoRates(optim.lr_scheduler.LRScheduler):
    def get_lr(self) -> list[float]:
        return [0.1, 0.2]


class NoRates(optim.lr_scheduler.LRScheduler):
    pass


class Still(optim.Optimizer):
    pass


def still_step() -> None:
    p = ones(1, requires_grad=True)
    p.grad = ones(1)
    Still([p], {}).step()


def chained(count: int) -> optim.lr_scheduler.ChainedScheduler:
    optimizer = sgd()
    schedules = [optim.lr_scheduler.ConstantLR(optimizer, 0.5) for _ in range(count)]
    return optim.lr_scheduler.ChainedScheduler(schedules, optimizer)


# Each row: exception, message (literal), call.
CASES: list[tuple[type[Exception], str, Any]] = [
    (AttributeError, "module 'gorgo' has no attribute 'linalg_'", lambda: gg.linalg_),
    # data
    (NotImplementedError, "Sampler: __iter__ must be defined", lambda: iter(Sampler())),
    (NotImplementedError, "Sampler: __len__ must be defined", lambda: len(Sampler())),
    (TypeError, "DataLoader: prefetch must be an integer, got float 1.5", lambda: DataLoader([1], prefetch=1.5)),
    # drawing
    (ValueError, "Graph.svg: layout must be 'auto', 'dot' or 'own', got 'up'", lambda: drawing.svg(graph(), "up")),
    (
        ValueError,
        "Graph.save: path must end in .svg, .dot, .gv or .txt, got 'a.x'",
        lambda: drawing.save(graph(), "a.x"),
    ),
    # indexing
    (
        ValueError,
        "index_select: axis must be in [-1, 1), got 1 (x has shape (2,))",
        lambda: gg.index_select(ones(2), 1, gg.asarray([0])),
    ),
    (
        TypeError,
        "masked_fill: value must fit dtype int64, got float32",
        lambda: gg.masked_fill(gg.arange(2), gg.asarray([True, False]), gg.asarray(1.5)),
    ),
    (
        TypeError,
        "masked_scatter: source must have dtype float32, got int64",
        lambda: gg.masked_scatter(ones(2), gg.asarray([True, False]), gg.arange(2)),
    ),
    (
        ValueError,
        "put_along_axis: indices must have the rank of x, 2, got shape (1,)",
        lambda: gg.put_along_axis(ones(2, 2), gg.asarray([0]), 1.0, 0),
    ),
    # manipulation
    (ValueError, "hsplit: x must have an axis, got shape ()", lambda: gg.hsplit(ones(), 1)),
    (TypeError, "hsplit: sections must be an integer, got bool True", lambda: gg.hsplit(ones(4), True)),
    (TypeError, "chunk: chunks must be an integer, got float 2.0", lambda: gg.chunk(ones(4), 2.0)),
    (
        ValueError,
        "tensordot: axes must be an integer or a pair of tuples, got (1,)",
        lambda: gg.tensordot(ones(2), ones(2), axes=(1,)),
    ),
    (ValueError, "rot90: axes must be a pair, got (0, 1, 2)", lambda: gg.rot90(ones(1, 1, 1), 1, (0, 1, 2))),
    (
        TypeError,
        "repeat_interleave: repeats must be integers, got float32",
        lambda: gg.repeat_interleave(ones(2), ones(2)),
    ),
    (
        ValueError,
        "block_diag: arrays must have at most two axes, got shape (1, 1, 1)",
        lambda: gg.block_diag(ones(1, 1, 1)),
    ),
    (ValueError, "cartesian_prod: vectors must be given, got none", lambda: gg.cartesian_prod()),
    (ValueError, "diag_embed: x must have an axis, got shape ()", lambda: gg.diag_embed(ones())),
    (ValueError, "vander: n must not be negative, got -1", lambda: gg.vander(ones(2), -1)),
    # nn
    (
        ValueError,
        "scaled_dot_product_attention: query, key and value must have two axes or more, got shapes (2,), (1, 2)",
        lambda: F.scaled_dot_product_attention(ones(2), ones(1, 2), ones(1, 2)),
    ),
    (NotImplementedError, "_ModuleSequence: _like must be defined", lambda: nn.containers._ModuleSequence()[:1]),
    (
        TypeError,
        "Sequential: modules must be gorgo.nn.Module, got int at position 1",
        lambda: nn.Sequential(nn.ReLU(), 3),
    ),
    (KeyError, "'b'", lambda: deleted(nn.ParameterDict({"a": ones(1)}), "b")),
    (ValueError, "dropout: p must be in [0, 1], got 2", lambda: F.dropout(ones(1), 2.0)),
    (ValueError, "fan_in_of: tensor must have rank 2 or more, got shape (1,)", lambda: nn.init.fan_in_of(ones(1))),
    (
        ValueError,
        "cross_entropy: label_smoothing must be in [0, 1], got 2.0",
        lambda: F.cross_entropy(ones(1, 2), ones(1, 2), label_smoothing=2.0),
    ),
    (
        ValueError,
        "kl_div: input must have an axis for 'batchmean', got shape ()",
        lambda: F.kl_div(ones(), ones(), reduction="batchmean"),
    ),
    (
        ValueError,
        "multi_margin_loss: input must have shape (n, c) or (c,), got ()",
        lambda: F.multi_margin_loss(ones(), gg.asarray(0)),
    ),
    (
        ValueError,
        "multi_margin_loss: target must have shape (1,), got (2,)",
        lambda: F.multi_margin_loss(ones(1, 2), gg.asarray([0, 0])),
    ),
    (
        ValueError,
        "multilabel_soft_margin_loss: input must have shape (..., c), got ()",
        lambda: F.multilabel_soft_margin_loss(ones(), ones()),
    ),
    (
        ValueError,
        "triplet_margin_loss: anchor, positive and negative must have the same rank, got shapes (1,), (1,) and (1, 1)",
        lambda: F.triplet_margin_loss(ones(1), ones(1), ones(1, 1)),
    ),
    (TypeError, "Parameter: data must be a tensor, got float", lambda: nn.Parameter(1.0)),
    (NotImplementedError, "Module: forward must be defined", lambda: nn.Module()(1)),
    (
        TypeError,
        "register_buffer: tensor must be a tensor or None, got int",
        lambda: nn.Module().register_buffer("a", 1),
    ),
    (
        TypeError,
        "register_parameter: parameter must be a gorgo.nn.Parameter or None, got Tensor",
        lambda: nn.Module().register_parameter("a", ones(1)),
    ),
    (ValueError, "LSTM: dropout must be in [0, 1], got 2", lambda: nn.LSTM(1, 1, dropout=2.0)),
    (
        ValueError,
        "bilinear: x1 and x2 must have the same leading axes and weight shape (out, i, j), got (1,), (1, 1)",
        lambda: F.bilinear(ones(1), ones(1, 1), ones(1, 1, 1)),
    ),
    (ValueError, "MultiheadAttention: dropout must be in [0, 1], got 2", lambda: nn.MultiheadAttention(2, 1, 2.0)),
    (
        ValueError,
        "MultiheadAttention: sizes must be positive, got kdim 0, vdim 2",
        lambda: nn.MultiheadAttention(2, 1, kdim=0),
    ),
    (
        ValueError,
        "TransformerEncoder: num_layers must be positive, got 0",
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(2, 1, 2), 0),
    ),
    (
        ValueError,
        "clip_grad_norm_: norm_type must be a number, got nan",
        lambda: nn.utils.clip_grad_norm_(ones(1), 1.0, float("nan")),
    ),
    # optim
    (NotImplementedError, "Still: update_group must be defined", still_step),
    (
        NotImplementedError,
        "_Adaptive: _kinds must be defined",
        lambda: optim.adaptive._Adaptive([ones(1, requires_grad=True)], {}),
    ),
    (NotImplementedError, "NoRates: get_lr must be defined", lambda: NoRates(sgd()).step()),
    (
        ValueError,
        "TwoRates: get_lr must return one rate for each of 1 groups, got 2",
        lambda: TwoRates(sgd()).step(),
    ),
    (
        ValueError,
        "OneCycleLR: cycle_momentum needs groups with momentum or betas, got ['eps', 'initial_accumulator_value', 'lr'",
        lambda: optim.lr_scheduler.OneCycleLR(optim.Adagrad([ones(1, requires_grad=True)]), 0.1, total_steps=9),
    ),
    (
        ValueError,
        "ChainedScheduler.load_state_dict: state must be of 2 schedules, got 1",
        lambda: chained(2).load_state_dict(chained(1).state_dict()),
    ),
    # random
    (
        TypeError,
        "set_state: state must be uint64 of shape (2,), got int64 of (3,)",
        lambda: gg.random.Generator(1).set_state(gg.arange(3)),
    ),
    (
        TypeError,
        "random: generator must be a gorgo.random.Generator or None, got int",
        lambda: gg.random.uniform(generator=7),
    ),
    # searching
    (ValueError, "unique: x must have elements along the other axes", lambda: gg.unique(ones(2, 0), axis=0)),
    (
        ValueError,
        "bincount: minlength must not be negative, got -1",
        lambda: gg.bincount(gg.asarray([1]), minlength=-1),
    ),
    (
        ValueError,
        "quantile: x must have elements to choose from, got shape (0,)",
        lambda: gg.quantile(ones(0), 0.5),
    ),
    (ValueError, "mode: x must have an element along axis 1, got shape (2, 0)", lambda: gg.mode(ones(2, 0))),
    # testing
    (AssertionError, "assert_no_alloc: allocations must be at most 0, got 1", allocate),
    (
        TypeError,
        "gradcheck: inputs must be float64, got float32 at position 0",
        lambda: gg.testing.gradcheck(gg.exp, [ones(1)]),
    ),
    (
        AssertionError,
        "gradcheck: gradient must agree with differences, got ",
        lambda: gg.testing.gradcheck(lambda x: x.detach() * x + 0 * x, [gg.full((1,), 2.0, dtype=gg.float64)]),
    ),
]


@pytest.mark.parametrize(
    ("kind", "message", "call"), CASES, ids=[f"{i}-{case[1][:50]}" for i, case in enumerate(CASES)]
)
def test_message(kind: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(kind, match=re.escape(message)) as caught:
        call()
    assert type(caught.value) is kind


def test_drawing_says_what_is_wrong_with_the_program(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeError, match="layout must be 'own' where Graphviz's program dot is not installed, got 'dot'"
    ):
        drawing.svg(graph(), "dot")
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"Graph\.svg: dot must succeed, got exit status 3 \(broken\)"):
        drawing.svg(graph(), "dot")


def test_a_part_that_is_not_there_is_no_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gg, "_LAZY_MODULES", (*gg._LAZY_MODULES, "absent"))
    with pytest.raises(AttributeError, match="module 'gorgo' has no attribute 'absent'"):
        _ = gg.absent


@pytest.mark.parametrize("value", [np.array("x"), [1, "a"], {1: 2}.keys, 2.0])
def test_sizes_must_be_integers(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^LayerNorm: (each of )?normalized_shape must be an integer, got \w+"):
        nn.LayerNorm(value)

"""gorgo.nn.summary: rows, sums, and that the module is as before."""

from __future__ import annotations

import pytest

import gorgo as gg
from gorgo import nn


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)
    )


def test_rows_and_sums() -> None:
    table = nn.summary(small(), (5, 1, 4, 4))
    assert [(r.name, r.kind, r.depth, r.calls, r.output_shapes, r.parameters) for r in table.rows] == [
        ("", "Sequential", 0, 1, ((5, 10),), 0),
        ("0", "Conv2d", 1, 1, ((5, 4, 4, 4),), 40),
        ("1", "BatchNorm2d", 1, 1, ((5, 4, 4, 4),), 8),
        ("2", "ReLU", 1, 1, ((5, 4, 4, 4),), 0),
        ("3", "Flatten", 1, 1, ((5, 64),), 0),
        ("4", "Dropout", 1, 1, ((5, 64),), 0),
        ("5", "Linear", 1, 1, ((5, 10),), 650),
    ]
    assert (table.parameters, table.trained, table.parameter_bytes) == (698, 698, 4 * 698)
    assert table.buffer_bytes == sum(b.nbytes for b in small().buffers())
    assert table.output_bytes == 4 * (3 * 5 * 64 + 2 * 5 * 64 + 50)  # innermost modules alone


def test_frozen_parameters_and_other_dtypes() -> None:
    net = nn.Sequential(nn.Linear(3, 2, dtype=gg.float64), nn.Linear(2, 1, dtype=gg.float64))
    net[0].requires_grad_(False)
    table = nn.summary(net, (4, 3), dtype=gg.float64)
    assert (table.parameters, table.trained, table.parameter_bytes) == (11, 3, 88)
    assert "3 of 11 parameters are trained" in str(table)


class Twice(nn.Module):
    """Calls one layer two times, another never, and shares a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.unused = nn.Linear(3, 3)
        self.unused.weight = self.layer.weight

    def forward(self, x: gg.Tensor, y: gg.Tensor) -> dict[str, object]:
        return {"a": self.layer(self.layer(x)), "rest": [y, None]}


def test_calls_ties_several_inputs_and_results() -> None:
    table = nn.summary(Twice(), [(2, 3), gg.ones((7,), dtype=gg.int64)])
    top, layer, unused = table.rows
    assert top.output_shapes == ((2, 3), (7,))
    assert (layer.calls, layer.output_bytes, layer.parameters) == (2, 2 * 24, 12)
    assert (unused.calls, unused.output_shapes, unused.parameters) == (0, (), 3)  # the weight is counted once
    assert table.parameters == sum(p.size for p in Twice().parameters()) == 15


def test_an_example_may_be_given() -> None:
    table = nn.summary(nn.Embedding(10, 4), gg.zeros((2, 3), dtype=gg.int64))
    assert table.rows[0].output_shapes == ((2, 3, 4),)


def test_the_module_is_as_before() -> None:
    net = small()
    net[4].eval()
    step = gg.compile(lambda x: net(x))
    x = gg.ones((2, 1, 4, 4))
    step(x)
    state = {name: (tensor.data_ptr(), tensor.tolist()) for name, tensor in net.state_dict().items()}
    parameters = list(net.parameters())
    drawn = gg.random.get_state().tolist()
    recordings = len(step.graphs())
    nn.summary(net, (3, 1, 4, 4))
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    assert {name: (tensor.data_ptr(), tensor.tolist()) for name, tensor in net.state_dict().items()} == state
    assert [m.training for m in net] == [True, True, True, True, False, True]
    assert all("forward" not in vars(m) for m in net.modules())
    step(x)
    assert len(step.graphs()) == recordings
    assert gg.random.get_state().tolist() == drawn


def test_it_is_put_back_after_an_error_too() -> None:
    net = small()
    with pytest.raises(ValueError, match="conv2d"):
        nn.summary(net, (5, 2, 4, 4))
    assert {str(p.device) for p in net.parameters()} == {"cpu"}
    assert net.training
    assert all("forward" not in vars(m) for m in net.modules())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (3, "summary: inputs must be a shape, a tensor or a list of them, got int"),
        ("12", "summary: inputs must be a shape, a tensor or a list of them, got str"),
        ([(2, 3), "x"], "summary: an input must be a shape or a tensor, got 'x'"),
        ([2.5], "summary: an input must be a shape or a tensor, got 2.5"),
    ],
    ids=str,
)
def test_wrong_inputs(inputs: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        nn.summary(nn.ReLU(), inputs)


def test_the_table() -> None:
    lines = str(nn.summary(Twice(), [(2, 3), (7,)])).splitlines()
    assert lines[0].split() == ["layer", "output", "calls", "parameters", "bytes"]
    assert set(lines[1]) == {"-"}
    assert lines[3].split() == ["layer:", "Linear", "(2,", "3)", "2", "12", "48", "B"]
    assert lines[4].split() == ["unused:", "Linear", "-", "0", "3", "12", "B"]
    assert lines[6].split() == ["total", "15", "60", "B"]

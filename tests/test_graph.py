"""Tracing and compiling: what is recorded, that a replay equals the eager call bit for bit, and what is refused."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn
from gorgo.nn import functional as F


def same_bits(a: gg.Tensor, b: gg.Tensor) -> None:
    x, y = np.asarray(a.detach()), np.asarray(b.detach())
    assert x.dtype == y.dtype
    assert x.shape == y.shape
    assert x.tobytes() == y.tobytes()


def batches(count: int, seed: int = 0) -> list[tuple[gg.Tensor, gg.Tensor]]:
    rng = np.random.default_rng(seed)
    return [
        (gg.asarray(rng.standard_normal((16, 8)).astype(np.float32)), gg.asarray(rng.integers(0, 4, 16)))
        for _ in range(count)
    ]


def make_step(momentum: float = 0.9) -> tuple[nn.Module, gg.optim.SGD, object]:
    gg.random.seed(7)
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    opt = gg.optim.SGD(net.parameters(), lr=0.1, momentum=momentum)

    def step(x: gg.Tensor, t: gg.Tensor) -> gg.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), t)
        loss.backward()
        opt.step()
        return loss

    return net, opt, step


def test_trace_gives_nodes_in_topological_order_that_verify() -> None:
    x = gg.ones((2, 3))
    graph = gg.graph.trace(lambda t: gg.exp(t * 2.0).sum(axis=1), x)
    graph.verify()
    assert [name for name, *_ in graph.nodes] == ["multiply", "exp", "sum"]
    assert graph.inputs[0][2] == (2, 3)
    assert graph.outputs[0][2] == (2,)
    text = str(graph)
    assert "(2, 3)" in text
    assert "24 B" in text
    assert graph.dot().startswith("digraph")


@pytest.mark.parametrize("how", ["run", "run_planned"])
def test_a_traced_graph_runs_on_other_inputs(how: str) -> None:
    graph = gg.graph.trace(lambda a, b: (a @ b + a[0].sum()).T, gg.ones((3, 3)), gg.ones((3, 3)) * 2)
    rng = np.random.default_rng(0)
    a, b = (gg.asarray(rng.standard_normal((3, 3)).astype(np.float32)) for _ in range(2))
    (out,) = getattr(graph, how)(a, b)
    same_bits(out, (a @ b + a[0].sum()).T)


def test_a_compiled_training_step_equals_eager_bit_for_bit() -> None:
    net_a, _, eager = make_step()
    net_b, _, plain = make_step()
    compiled = gg.compile(plain)
    for x, t in batches(12):
        same_bits(eager(x, t), compiled(x, t))
    for a, b in zip(net_a.parameters(), net_b.parameters(), strict=True):
        same_bits(a, b)
    assert compiled.recordings == 1


def test_a_replay_allocates_nothing() -> None:
    _, _, step = make_step()
    compiled = gg.compile(step)
    data = batches(3)
    for x, t in data * 2:
        compiled(x, t)
    with gg.testing.assert_no_alloc():
        for _ in range(10):
            for x, t in data:
                compiled(x, t)


def test_a_view_of_a_tensor_made_inside_is_a_result() -> None:
    compiled = gg.compile(lambda x: [(x * 2.0).T, gg.flip(x + 1.0)])
    for value in (1.0, 3.0, 5.0):
        x = gg.arange(6, dtype=gg.float32).reshape(2, 3) * value
        for got, expected in zip(compiled(x), [(x * 2.0).T, gg.flip(x + 1.0)], strict=True):
            same_bits(got, expected)
    assert compiled.recordings == 1


def test_a_new_shape_records_again_and_says_why() -> None:
    compiled = gg.compile(lambda x: x + x)
    compiled(gg.ones((2,)))
    compiled(gg.ones((3,)))
    compiled(gg.ones((2,)))
    assert compiled.recordings == 2
    assert "(3,)" in compiled.last_miss
    compiled(gg.ones((2,), dtype=gg.float64))
    assert compiled.recordings == 3


def test_constants_are_guarded() -> None:
    compiled = gg.compile(lambda x, k: x * k)
    assert compiled(gg.ones((2,)), 2.0).tolist() == [2.0, 2.0]
    assert compiled(gg.ones((2,)), 3.0).tolist() == [3.0, 3.0]
    assert compiled(gg.ones((2,)), k=2.0).tolist() == [2.0, 2.0]


def test_structures_go_in_and_come_out() -> None:
    compiled = gg.compile(lambda d: {"sum": d["a"] + d["b"][0], "kept": (d["a"] * 2, None, "x")})
    for value in (1.0, 5.0):
        out = compiled({"a": gg.full((2,), value), "b": [gg.ones((2,))]})
        assert out["sum"].tolist() == [value + 1] * 2
        assert out["kept"][0].tolist() == [2 * value] * 2
        assert out["kept"][1:] == (None, "x")


def test_aliasing_of_arguments_is_guarded() -> None:
    def f(a: gg.Tensor, b: gg.Tensor) -> gg.Tensor:
        a += 1.0
        return a + b

    compiled = gg.compile(f)
    for _ in range(2):
        x, y = gg.ones((2,)), gg.ones((2,))
        assert compiled(x, y).tolist() == [3.0, 3.0]
        assert x.tolist() == [2.0, 2.0]
    for _ in range(2):
        x = gg.ones((2,))
        assert compiled(x, x).tolist() == [4.0, 4.0]
    assert compiled.recordings == 2


def test_elementwise_results_take_over_memory_that_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GORGO_FUSE", "0")
    x = gg.random.normal(shape=(1 << 18,))
    gc.collect()
    before = gg.memory.stats()["active_bytes"]
    compiled = gg.compile(lambda x: gg.sum(gg.exp(gg.tanh(gg.sin(gg.cos(x * 2.0) + 1.0)))))
    for _ in range(3):
        compiled(x)
    assert x.nbytes <= gg.memory.stats()["active_bytes"] - before < 1.25 * x.nbytes  # else two


def test_memory_is_taken_over_only_where_every_element_has_been_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GORGO_FUSE", "0")

    def crossed(x: gg.Tensor) -> gg.Tensor:
        y = x * 2.0
        return y + y.T

    def shifted(x: gg.Tensor) -> gg.Tensor:
        y = x * 2.0
        return y[:-1] - y[1:]

    def by_row(x: gg.Tensor) -> gg.Tensor:
        y = gg.exp(x)
        return y * y[:1]

    def flipped(x: gg.Tensor) -> gg.Tensor:
        y = gg.exp(x)
        return y - gg.flip(y)

    def read_later(x: gg.Tensor) -> gg.Tensor:
        y = x * 2.0
        view = y.T
        z = y + 1.0
        return z @ view

    def wanted(x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        y = x * 2.0
        return y + 1.0, y

    def written(x: gg.Tensor) -> gg.Tensor:
        y = x * 2.0
        z = y + 1.0
        y += z
        return y * z

    def two_results(x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        a, b = gg.exp(x), gg.exp(-x)
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        ga, gb = gg.grad(gg.sum(gg.maximum(a, b) / (a * b)), [a, b])
        return ga, gb

    def one_of_two(x: gg.Tensor) -> gg.Tensor:
        return two_results(x)[1]

    def narrower(x: gg.Tensor) -> gg.Tensor:
        y = gg.exp(x)
        return (y > 1.0).astype(gg.float32) + y.astype(gg.float16).astype(gg.float32)

    x = gg.random.normal(shape=(70, 70))
    for f in (crossed, shifted, by_row, flipped, read_later, wanted, written, two_results, one_of_two, narrower):
        compiled = gg.compile(f)
        for _ in range(3):
            got, want = compiled(x), f(x)
            for one, other in zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, want)), strict=True):
                same_bits(one, other)


def test_results_do_not_alias_the_arena_or_each_other() -> None:
    compiled = gg.compile(lambda x: x * 2.0)
    a = compiled(gg.ones((4,)))
    b = compiled(gg.full((4,), 3.0))
    c = compiled(gg.full((4,), 4.0))
    assert a.tolist() == [2.0] * 4
    assert b.tolist() == [6.0] * 4
    assert c.tolist() == [8.0] * 4


def test_the_learning_rate_is_read_at_each_replay() -> None:
    net_a, opt_a, eager = make_step()
    net_b, opt_b, plain = make_step()
    compiled = gg.compile(plain)
    for i, (x, t) in enumerate(batches(6)):
        for opt in (opt_a, opt_b):
            opt.param_groups[0]["lr"] = 0.1 / (i + 1)
        same_bits(eager(x, t), compiled(x, t))
    assert compiled.recordings == 1
    for a, b in zip(net_a.parameters(), net_b.parameters(), strict=True):
        same_bits(a, b)


def test_train_and_eval_are_guarded_and_both_recordings_kept() -> None:
    gg.random.seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    compiled = gg.compile(lambda x: net(x))
    x = gg.ones((8, 4))
    compiled(x)
    net.eval()
    quiet = compiled(x)
    same_bits(quiet, net(x))
    same_bits(compiled(x), quiet)
    net.train()
    compiled(x)
    assert compiled.recordings == 2


def test_dropout_draws_anew_at_each_replay_as_eager_does() -> None:
    def draws(function: object) -> list[list[float]]:
        gg.random.seed(3)
        return [function(gg.ones((32,))).tolist() for _ in range(4)]

    eager = draws(lambda x: F.dropout(x, 0.5))
    assert eager[0] != eager[1]
    assert draws(gg.compile(lambda x: F.dropout(x, 0.5))) == eager


def test_freezing_a_parameter_records_again() -> None:
    net, _, step = make_step(momentum=0.0)
    compiled = gg.compile(step)
    (x, t), *_ = batches(1)
    compiled(x, t)
    frozen = next(net.parameters())
    frozen.requires_grad_(False)
    frozen.grad = None
    before = frozen.tolist()
    compiled(x, t)
    assert frozen.tolist() == before


def test_gradients_are_local_unless_kept() -> None:
    w = gg.ones((3,)).requires_grad_()

    def f(x: gg.Tensor) -> gg.Tensor:
        loss = (w * x).sum()
        loss.backward()
        return loss

    compiled = gg.compile(f)
    compiled(gg.ones((3,)))
    with pytest.raises(RuntimeError, match="keep_grads=True"):
        _ = w.grad
    w.grad = None
    kept = gg.compile(f, keep_grads=True)
    kept(gg.ones((3,)))
    assert w.grad.tolist() == [1.0] * 3
    w.grad = None
    kept(gg.full((3,), 2.0))
    assert w.grad.tolist() == [2.0] * 3


def test_reading_a_value_while_recording_is_refused() -> None:
    for read in (
        lambda x: (x * 2).sum().item(),
        lambda x: float((x * 2).sum()),
        lambda x: bool((x * 2).sum() > 1),
        lambda x: (x * 2).tolist(),
        lambda x: np.asarray(x * 2),
    ):
        with pytest.raises(RuntimeError, match=r"captured|recorded|recording"):
            gg.compile(read)(gg.ones((2,)))


def test_data_dependent_shapes_are_refused() -> None:
    with pytest.raises(RuntimeError, match="nonzero"):
        gg.compile(lambda x: gg.nonzero(x))(gg.ones((2,)))


def test_a_tensor_kept_elsewhere_is_an_escape() -> None:
    kept = []

    def f(x: gg.Tensor) -> gg.Tensor:
        y = x * 2.0
        kept.append(y)
        return y + 1.0

    compiled = gg.compile(f)
    assert compiled(gg.ones((2,))).tolist() == [3.0, 3.0]
    assert compiled.recordings == 0
    with pytest.raises(RuntimeError, match=r"multiply float32 \(2,\)"):
        compiled(gg.ones((2,)))


def test_an_exception_inside_leaves_the_function_usable() -> None:
    fail = [True]

    def f(x: gg.Tensor) -> gg.Tensor:
        if fail[0]:
            raise KeyError("no")
        return x + 1.0

    compiled = gg.compile(f)
    with pytest.raises(KeyError):
        compiled(gg.ones((1,)))
    fail[0] = False
    assert compiled(gg.ones((1,))).tolist() == [2.0]
    assert compiled(gg.ones((1,))).tolist() == [2.0]


def test_backward_outside_on_a_compiled_result_says_what_to_do() -> None:
    w = gg.ones((2,)).requires_grad_()
    compiled = gg.compile(lambda x: (w * x).sum())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="inside the compiled function"):
            compiled(gg.ones((2,))).backward()


def test_host_effects_run_after_each_call_in_order() -> None:
    seen: list[str] = []

    def f(x: gg.Tensor) -> gg.Tensor:
        gg.graph.host_effect(lambda: seen.append("a"))
        gg.graph.host_effect(lambda: seen.append("b"))
        return x + 1.0

    compiled = gg.compile(f)
    for _ in range(3):
        compiled(gg.ones((1,)))
    assert seen == ["a", "b"] * 3


def test_numpy_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"gorgo\.asarray"):
        gg.compile(lambda x: x)(np.ones(2))


def test_writes_through_views_of_outer_tensors_are_replayed() -> None:
    state = gg.zeros((4,))

    def f(x: gg.Tensor) -> gg.Tensor:
        state[1:3] += x
        return state.sum()

    compiled = gg.compile(f)
    for i in range(1, 5):
        assert compiled(gg.ones((2,))).item() == 2.0 * i
    assert state.tolist() == [0.0, 4.0, 4.0, 0.0]


def test_tensors_made_inside_start_anew_at_each_replay() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        total = gg.zeros((2,))
        total[0] += x.sum()
        return total

    compiled = gg.compile(f)
    for _ in range(3):
        assert compiled(gg.ones((3,))).tolist() == [3.0, 0.0]


def test_methods_can_be_compiled() -> None:
    class Model:
        def __init__(self, k: float) -> None:
            self.k = k

        @gg.compile
        def scale(self, x: gg.Tensor) -> gg.Tensor:
            return x * self.k

    a, b = Model(2.0), Model(3.0)
    for _ in range(2):
        assert a.scale(gg.ones((1,))).tolist() == [2.0]
        assert b.scale(gg.ones((1,))).tolist() == [3.0]


def test_a_compiled_function_is_collected_with_what_it_holds() -> None:
    w = gg.ones((2,))
    compiled = gg.compile(lambda x: x * w)
    compiled(gg.ones((2,)))
    gone = weakref.ref(compiled)
    del compiled
    gc.collect()
    assert gone() is None


def test_many_recordings_of_one_function_are_refused_with_the_reason() -> None:
    compiled = gg.compile(lambda x, k: x * k)
    for i in range(64):
        compiled(gg.ones((1,)), float(i))
    with pytest.raises(RuntimeError, match="constants"):
        compiled(gg.ones((1,)), 64.0)


def test_a_long_replay_runs_without_the_gil_and_survives() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        for _ in range(40):
            x = gg.exp(x * 0.5) - 1.0
        return x

    compiled = gg.compile(f)
    x = gg.zeros((512, 1024))
    for _ in range(3):
        assert float(compiled(x).sum()) == 0.0


@pytest.mark.parametrize("dtype", [gg.float64, gg.float16, gg.bfloat16])
def test_the_gradient_of_one_that_backward_starts_from_has_the_losses_dtype(dtype) -> None:
    w = gg.ones((3,), dtype=dtype).requires_grad_()

    def step(x: gg.Tensor) -> gg.Tensor:
        w.grad = None
        (w * x).sum().backward()
        return w.grad * 1.0

    compiled = gg.compile(step)
    x = gg.full((3,), 5.0, dtype=dtype)
    assert [compiled(x).tolist() for _ in range(3)] == [[5.0] * 3] * 3
    (graph,) = compiled.graphs()
    assert [t.tolist() for t in graph.run(x)] == [[5.0] * 3]


@pytest.mark.parametrize("dtype", [gg.float64, gg.float16, gg.int8])
def test_a_number_written_into_a_tensor_of_one_element_takes_its_dtype(dtype) -> None:
    cell = gg.zeros((), dtype=dtype)

    @gg.compile
    def add(x: gg.Tensor) -> gg.Tensor:
        cell.fill_(3)
        return x + cell

    x = gg.ones((2,), dtype=dtype)
    assert [add(x).tolist() for _ in range(3)] == [[4, 4]] * 3


def test_a_recording_on_the_null_device_computes_nothing() -> None:
    double = gg.compile(lambda x: (x * 2, x.sum(axis=0)))
    x = gg.ones((4, 3), device="null")
    for _ in range(3):
        y, total = double(x)
        assert (y.device, y.shape, total.device, total.shape) == ("null", (4, 3), "null", (3,))
    model = gg.nn.Linear(3, 2).to("null")
    update = gg.optim.SGD(model.parameters(), lr=0.1)

    @gg.compile
    def step(x: gg.Tensor) -> gg.Tensor:
        update.zero_grad()
        loss = model(x).sum()
        loss.backward()
        update.step()
        return loss

    for _ in range(3):
        assert (step(x).device, step(x).shape) == ("null", ())
    # The same function on the CPU is another recording.
    assert double(gg.ones((4, 3)))[1].tolist() == [4.0, 4.0, 4.0]


def test_an_argument_that_the_code_also_reaches_by_itself_holds_for_that_argument_alone() -> None:
    state = gg.asarray([1.0, 2.0])
    scaled = gg.compile(lambda x: state * 10 + x)
    other = gg.asarray([5.0, 5.0])
    for _ in range(3):
        assert scaled(state).tolist() == [11.0, 22.0]
        assert scaled(other).tolist() == [15.0, 25.0]
    assert scaled.recordings == 2


def test_an_argument_in_memory_that_the_code_writes() -> None:
    state = gg.asarray([1.0, 2.0, 3.0, 4.0])

    @gg.compile
    def advance(x: gg.Tensor) -> gg.Tensor:
        before = x * 2
        state.add_(1.0)
        return before + x

    assert advance(gg.asarray([5.0, 5.0, 5.0, 5.0])).tolist() == [15.0] * 4
    assert advance(state).tolist() == [2.0 * a + (a + 1) for a in (2.0, 3.0, 4.0, 5.0)]
    assert state.tolist() == [3.0, 4.0, 5.0, 6.0]
    assert advance(gg.asarray([1.0, 1.0, 1.0, 1.0])).tolist() == [3.0] * 4
    assert state.tolist() == [4.0, 5.0, 6.0, 7.0]
    assert advance.recordings == 2


def test_a_captured_tensor_in_memory_of_an_argument_that_is_written() -> None:
    state = gg.asarray([1.0, 2.0])

    @gg.compile
    def bump(x: gg.Tensor) -> gg.Tensor:
        before = state * 3
        x.add_(1.0)
        return before + state

    assert bump(gg.asarray([0.0, 0.0])).tolist() == [4.0, 8.0]
    assert bump(state).tolist() == [3.0 + 2.0, 6.0 + 3.0]
    assert bump(gg.asarray([0.0, 0.0])).tolist() == [8.0, 12.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_captured_convolutions_copy_their_operands_whole(dtype: str) -> None:
    # Large enough that copies into the type computed in are shared out among tasks, whose number a plan must know.
    shapes = ((64, 16, 8, 8), (32, 16, 3, 3), (64, 32, 8, 8))
    x, w, g = (gg.random.normal(shape=shape).astype(getattr(gg, dtype)) for shape in shapes)

    def f(x: gg.Tensor, w: gg.Tensor, g: gg.Tensor) -> list[gg.Tensor]:
        x.requires_grad_()
        w.requires_grad_()
        y = gg.conv2d(x, w, padding=1)
        return [y.detach(), *gg.grad(y, [x, w], g)]

    compiled = gg.compile(f)
    for _ in range(3):
        for got, want in zip(compiled(x.detach(), w.detach(), g), f(x.detach(), w.detach(), g), strict=True):
            assert gg.all(got == want).item()

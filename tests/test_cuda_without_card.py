"""What of devices holds on every machine, with and without a card: names, messages, the generator's streams, moves.

A card's own tests are in tests/gpu.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gorgo as gg
from gorgo import nn, optim

COUNT = gg.cuda.device_count()
ABSENT = f"cuda:{COUNT}"  # one more than there are
NAMES = ", ".join(["cpu", *(f"cuda:{i}" for i in range(COUNT))])
UNKNOWN = re.escape(f"device: must be one of {NAMES}, got ")


def test_devices_are_counted() -> None:
    assert COUNT >= 0
    assert gg.cuda.is_available() == (COUNT > 0)
    assert gg.__array_namespace_info__().devices() == NAMES.split(", ")
    assert gg.zeros((1,)).device == "cpu"


@pytest.mark.parametrize("name", [ABSENT, "cuda:", "cuda:-1", "cuda:01", "cuda:x", "cuda0", "gpu", ""])
def test_devices_that_are_not_there_are_refused_by_name(name: str) -> None:
    x = gg.ones((2,))
    calls: list[Callable[[], object]] = [
        lambda: gg.zeros((2,), device=name),
        lambda: gg.arange(3, device=name),
        lambda: gg.asarray([1, 2], device=name),
        lambda: gg.full_like(x, 1.0, device=name),
        lambda: x.to(device=name),
        lambda: x.to_device(name),
        lambda: x.cuda(name),
        lambda: gg.random.uniform(shape=(2,), device=name),
        lambda: gg.random.Generator(1).key(name),
        lambda: nn.Linear(2, 1, device=name),
        lambda: nn.Linear(2, 1).to(device=name),
        lambda: nn.Linear(2, 1).cuda(name),
        lambda: gg.cuda.properties(name),
        lambda: gg.cuda.synchronize(name),
        lambda: gg.cuda.current_stream(name),
        lambda: gg.cuda.Stream(name),
        lambda: gg.cuda.Event(device=name),
        lambda: gg.memory.stats(device=name),
        lambda: gg.memory.reset_peak(device=name),
        lambda: gg.memory.empty_cache(device=name),
        lambda: gg.memory.set_limit(None, device=name),
        lambda: gg.memory.set_cache_limit(1 << 20, device=name),
        lambda: gg.memory.snapshot(device=name),
        lambda: gg.memory.leak_report(device=name),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=UNKNOWN):
            call()


@pytest.mark.skipif(COUNT > 0, reason="there is a card")
def test_without_a_card_the_first_one_is_refused_too() -> None:
    for call in (gg.ones((1,)).cuda, nn.Linear(1, 1).cuda, gg.cuda.properties, gg.cuda.synchronize, gg.cuda.Stream):
        with pytest.raises(ValueError, match=rf"{UNKNOWN}'cuda(:0)?' \(.*(CUDA|card)"):
            call()


def test_numbers_stand_for_cuda_devices() -> None:
    with pytest.raises(ValueError, match=f"{UNKNOWN}'{ABSENT}'"):
        gg.cuda.properties(COUNT)
    with pytest.raises(ValueError, match=f"{UNKNOWN}'{ABSENT}'"):
        nn.Linear(1, 1).cuda(COUNT)


def test_what_only_a_cuda_device_has() -> None:
    with pytest.raises(ValueError, match=r"^cuda: device must be a cuda device, got 'cpu'$"):
        gg.cuda.properties("cpu")
    with pytest.raises(ValueError, match=r"^cuda: device must be a cuda device, got cpu$"):
        gg.ones((1,)).cuda("cpu")
    with pytest.raises(ValueError, match=r"^memory: device must have memory, got 'null'$"):
        gg.memory.stats(device="null")
    with pytest.raises(ValueError, match=r"^pin_memory: tensor must be on the cpu, got null$"):
        gg.empty((1,), device="null").pin_memory()


def test_transfers_are_between_devices_that_there_are() -> None:
    transfer = gg._core._registry["to_device"]
    here = {"to_type": 0, "to_index": 0, "from_type": 0, "from_index": 0}
    for end in ("to", "from"):
        with pytest.raises(ValueError, match=rf"^to_device: {end}_type must be in \[0, 3\), got 9$"):
            transfer(gg.ones((1,)), **{**here, f"{end}_type": 9})
        with pytest.raises(ValueError, match=rf"^to_device: {end}_index must be in \[0, 1\), got -1$"):
            transfer(gg.ones((1,)), **{**here, f"{end}_index": -1})


class Foreign:
    """Somebody's array on a card, which knows only the interface."""

    def __init__(self, facts: object) -> None:
        self.__cuda_array_interface__ = facts


ON_A_CARD = {"version": 3, "shape": (2, 3), "typestr": "<f4", "data": (4096, False), "strides": None, "stream": None}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mask": 1}, NotImplementedError, "must have no mask, got one"),
        ({"typestr": None}, ValueError, "must have an entry 'typestr', got none"),
        ({"shape": None}, ValueError, "must have an entry 'shape', got none"),
        ({"data": None}, ValueError, "must have an entry 'data', got none"),
        ({"typestr": 4}, TypeError, "must be a str, got int 4"),
        ({"typestr": ">f4"}, TypeError, "must name a native bool, integer, float or complex type, got '>f4'"),
        ({"strides": (4,)}, ValueError, "must be as many as the 2 axes, got 1"),
        ({"data": 4096}, TypeError, "must be a tuple of address and read-only flag, got int 4096"),
        ({"stream": 0}, ValueError, "must be None, 1, 2 or a handle, got 0"),
        ({"stream": -1}, ValueError, "must be None, 1, 2 or a handle, got -1"),
    ],
)
def test_array_interfaces_that_cannot_be_used_say_why(
    change: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=rf"^asarray: .*__cuda_array_interface__ {re.escape(message)}"):
        gg.asarray(Foreign({**ON_A_CARD, **change}))


def test_an_array_interface_is_a_dict() -> None:
    with pytest.raises(TypeError, match=r"^asarray: __cuda_array_interface__ must be a dict, got list"):
        gg.asarray(Foreign([1]))


@pytest.mark.skipif(COUNT == 1, reason="it is known where the array is")
def test_an_array_interface_says_of_one_card_alone_where_an_array_is() -> None:
    with pytest.raises(NotImplementedError, match=rf"must have __dlpack__ too, .*, got {COUNT} cuda devices here$"):
        gg.asarray(Foreign(ON_A_CARD))


@pytest.mark.skipif(COUNT > 0, reason="there is a card")
def test_without_a_card_the_copy_that_an_array_offers_is_taken() -> None:
    class Both(Foreign):
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return np.ones((2, 3), np.float32)

    assert gg.asarray(Both(ON_A_CARD)).tolist() == [[1.0] * 3] * 2


def test_tensors_of_the_cpu_have_no_array_interface() -> None:
    with pytest.raises(
        AttributeError, match=r"^__cuda_array_interface__: tensor must be on a cuda device, got one on cpu$"
    ):
        _ = gg.ones((1,)).__cuda_array_interface__


def test_devices_are_named_by_strings() -> None:
    with pytest.raises(TypeError, match=r"^zeros: device must be a name such as 'cpu', got int 0$"):
        gg.zeros((2,), device=0)


def test_the_cpu_by_name_is_the_pool_without_one() -> None:
    assert gg.memory.stats(device="cpu").keys() == gg.memory.stats().keys()
    with gg.testing.assert_no_alloc(device="cpu"):
        pass


def test_tensors_stay_where_they_are() -> None:
    x = gg.ones((2,))
    assert x.cpu() is x
    assert x.to("cpu") is x
    assert x.to(device="cpu") is x
    assert gg.asarray(x, device="cpu") is x or gg.asarray(x, device="cpu").data_ptr() == x.data_ptr()
    assert gg.zeros_like(gg.empty((2,), device="null")).device == "null"
    assert gg.full_like(gg.empty((2,), device="null"), 1.0).device == "null"


def test_operands_on_two_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^add: operands must be on one device, got cpu and null$"):
        gg.ones((2,)) + gg.empty((2,), device="null")


# ---- modules ----


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_modules_that_need_no_move_keep_their_tensors() -> None:
    net = network()
    before = [*net.parameters(), *net.buffers()]
    assert net.to("cpu") is net
    assert net.cpu() is net
    assert net.to(gg.float32) is net
    assert net.to(gg.zeros((1,))) is net
    after = [*net.parameters(), *net.buffers()]
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_modules_are_converted() -> None:
    net = network()
    net.register_parameter("tied", net[0].weight)
    net(gg.ones((5, 3))).sum().backward()
    net[2].bias.requires_grad_(False)
    values = {name: t.tolist() for name, t in net.state_dict().items()}
    gradient = net[0].weight.grad.tolist()
    assert net.to("cpu", gg.float64) is net
    assert {t.dtype for t in net.parameters()} == {gg.float64}
    assert net.tied is net[0].weight
    assert isinstance(net.tied, nn.Parameter)
    assert net.tied.is_leaf
    assert [p.requires_grad for p in (net[0].weight, net[2].bias)] == [True, False]
    assert net[0].weight.grad.dtype == gg.float64
    assert net[0].weight.grad.tolist() == gradient
    assert net[1].running_mean.dtype == gg.float64
    assert net[1].num_batches_tracked.dtype == gg.int64
    assert {name: t.tolist() for name, t in net.state_dict().items()} == values
    assert net.to(dtype="float16")[0].weight.dtype == gg.float16
    assert net.to(gg.zeros((1,)))[0].weight.dtype == gg.float32


def test_modules_move_to_the_null_device_as_a_whole_and_not_back() -> None:
    net = network().to("null")
    assert {t.device for t in [*net.parameters(), *net.buffers()]} == {"null"}
    assert net(gg.empty((5, 3), device="null")).shape == (5, 2)
    before = [*net.parameters()]
    with pytest.raises(NotImplementedError, match="to: device must be null for this tensor, got cpu"):
        net.cpu()
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))


def test_modules_are_not_converted_to_integers() -> None:
    with pytest.raises(TypeError, match=r"^to: dtype must be floating or complex, got int64$"):
        network().to(gg.int64)


def test_an_optimizer_made_before_the_move_says_so() -> None:
    net = network()
    early = optim.SGD(net.parameters(), lr=0.1)
    net(gg.ones((5, 3))).sum().backward()
    early.step()
    net.to(gg.float64)
    net(gg.ones((5, 3), dtype=gg.float64)).sum().backward()
    with pytest.raises(
        RuntimeError, match=r"^SGD: params must be in their modules, got one at position 0 that was moved"
    ):
        early.step()
    optim.SGD(net.parameters(), lr=0.1).step()
    # What was never a module's may be without a gradient for ever.
    lone = gg.ones((2,), requires_grad=True)
    optim.SGD([lone], lr=0.1).step()


def test_state_goes_where_the_module_is() -> None:
    net = nn.Linear(2, 1, device="null")
    assert net.load_state_dict(nn.Linear(2, 1, dtype=gg.float64).state_dict()) == ([], [])
    assert net.weight.device == "null"
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    assert {t.device for entry in optimizer.state.values() for t in entry.values()} == {"null"}


# ---- files ----


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_files_are_read_onto_a_device(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    value = gg.arange(3) if suffix == "npy" else {"a": gg.arange(3)}
    gg.save(value, path)
    for device in ("cpu", "null"):
        read = gg.load(path, device=device)
        assert (read if suffix == "npy" else read["a"]).device == device
    with pytest.raises(ValueError, match=UNKNOWN):
        gg.load(path, device=ABSENT)
    if suffix == "safetensors":
        assert gg.load(path, mmap=True, device="null")["a"].device == "null"


# ---- random numbers ----


def test_keys_of_the_cpu() -> None:
    a, b = gg.random.Generator(7), gg.random.Generator(7)
    assert a.key().tolist() == b.key("cpu").tolist() == [7, 0]
    assert a.key(device="cpu:0").tolist() == b.key(None).tolist() == [7, 1]
    assert a.get_state("cpu").tolist() == b.get_state().tolist() == [7, 2]


def test_states_are_set_for_all_devices_or_one() -> None:
    state = gg.asarray([3, 4], dtype=gg.uint64)
    assert gg.random.Generator(7).set_state(state).key().tolist() == [3, 4]
    assert gg.random.Generator(7).set_state(state, "cpu").key().tolist() == [3, 4]
    kept = gg.random.get_state(device="cpu")
    gg.random.set_state(kept, device="cpu")
    assert gg.random.get_state().tolist() == kept.tolist()
    assert kept.device == "cpu"


def test_another_device_begins_where_the_seed_was_set() -> None:
    generator = gg.random.Generator(7)
    generator.key()
    other = generator.state_on("null")  # has no numbers, and is not kept
    assert other.device == "null"
    assert generator.jump(5).get_state().tolist() == [7, 6]
    assert generator._start.tolist() == [7, 5]
    assert generator.seed(8)._start.tolist() == [8, 0]


def test_copies_of_a_generator_go_on_from_its_state() -> None:
    generator = gg.random.Generator(2**64 - 1).jump(3)
    for copied in (pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)):
        assert repr(copied) == repr(generator) == f"Generator(seed={2**64 - 1}, counter=3)"
        assert copied.key().tolist() == [2**64 - 1, 3]
        assert copied._start.tolist() == [2**64 - 1, 3]


def test_draws_are_made_where_they_are_asked_for() -> None:
    r, x = gg.random, gg.empty((3, 4), device="null")
    generator = gg.random.Generator(1)
    drawn = [
        r.uniform(shape=(2,), device="null", generator=generator),
        r.normal(shape=(2,), device="null"),
        r.randint(0, 5, (2,), device="null"),
        r.integers(5, shape=(2,), device="null"),
        r.bernoulli(0.5, (2,), device="null"),
        r.permutation(4, device="null"),
        r.choice(4, (2,), device="null"),
        r.choice(4, (2,), replace=False, device="null"),
        r.rand(2, device="null"),
        r.randn(2, device="null"),
        r.exponential(shape=(2,), device="null"),
        r.laplace(shape=(2,), device="null"),
        r.logistic(shape=(2,), device="null"),
        r.gumbel(shape=(2,), device="null"),
        r.cauchy(shape=(2,), device="null"),
        r.log_normal(shape=(2,), device="null"),
        r.weibull(1.5, shape=(2,), device="null"),
        r.pareto(1.5, shape=(2,), device="null"),
        r.rayleigh(shape=(2,), device="null"),
        r.gamma(1.5, shape=(2,), device="null"),
        r.chisquare(3.0, (2,), device="null"),
        r.beta(1.5, 2.0, (2,), device="null"),
        r.dirichlet([1.0, 2.0], device="null"),
        r.truncated_normal(shape=(2,), device="null"),
        r.geometric(0.5, (2,), device="null"),
        r.poisson(1.0, (2,), device="null"),
        r.binomial(5, 0.5, (2,), device="null"),
        # The tensors among the parameters say where.
        r.uniform(x, 1.0),
        r.normal(0.0, x),
        r.bernoulli(x),
        r.exponential(x),
        r.gamma(x),
        r.beta(x, 2.0),
        r.dirichlet(x),
        r.truncated_normal(0.0, 1.0, x, 9.0),
        r.geometric(x),
        r.poisson(x),
        r.binomial(5, x),
        r.permutation(x),
        r.permuted(x),
        r.choice(x, (2,)),
        r.choice(x, (2,), replace=False),
        r.multinomial(x, 2),
        r.dropout(x),
        r.rand_like(x),
        r.randn_like(x),
        r.randint_like(x, 0, 5),
        x.uniform_(),
        x.normal_(),
        x.log_normal_(),
        x.cauchy_(),
        x.exponential_(),
        x.geometric_(0.5),
        x.bernoulli_(),
        nn.functional.alpha_dropout(x, 0.5, True),
        nn.functional.dropout(x),
        nn.init.orthogonal_(gg.empty((2, 2), device="null")),
        nn.init.eye_(gg.empty((2, 2), device="null")),
        nn.init.uniform_(gg.empty((2, 2), device="null")),
    ]
    assert {t.device for t in drawn} == {"null"}
    # What another device draws takes nothing from the cpu's stream.
    assert generator.get_state().tolist() == [1, 0]


# ---- helpers that make tensors beside a user's ----


def test_tensors_that_functions_make_are_where_their_arguments_are() -> None:
    x, m = gg.empty((3, 4), device="null"), gg.empty((3, 4), device="null", dtype=gg.bool)
    line, numbers = gg.empty((4,), device="null"), gg.empty((4,), device="null", dtype=gg.int64)
    out = [
        *gg.kthvalue(x, 2),
        *gg.median(x, axis=1),
        *gg.mode(x),
        gg.quantile(x, [0.25, 0.5], axis=1),
        gg.nanquantile(x, 0.5),
        gg.nansum(x),
        gg.nanmean(x, axis=0),
        gg.isin(x, 3.0),
        gg.isin(3.0, x),
        gg.isclose(x, 1.0),
        gg.isclose(1.0, x),
        gg.float_power(x, 2),
        gg.float_power(2, x),
        gg.diag(line),
        gg.diag_embed(x),
        gg.index_fill(x, 1, numbers, 2.0),
        gg.masked_fill(x, m, 2.0),
        gg.masked_scatter(x, m, x),
        gg.scatter_reduce(line, 0, numbers, line, "mean"),
        gg.block_diag(x, x),
        *gg.meshgrid(line, line),
        nn.functional.one_hot(numbers, 5),
        nn.functional.pad(x, (1, 1)),
    ]
    assert {t.device for t in out} == {"null"}


def test_batches_are_where_their_tensors_are() -> None:
    dataset = gg.data.TensorDataset(gg.empty((5, 2), device="null"), gg.arange(5))
    images, labels = dataset.gather([3, 1])
    assert (images.device, labels.device) == ("null", "cpu")
    assert labels.tolist() == [3, 1]
    loader = gg.data.DataLoader(dataset, batch_size=2, shuffle=True, seed=1)
    assert [batch[0].device for batch in loader] == ["null"] * 3
    np.testing.assert_equal(sorted(np.concatenate([batch[1].numpy() for batch in loader])), [0, 1, 2, 3, 4])


def test_the_precision_of_float32_products_is_set_by_name() -> None:
    assert gg.get_float32_matmul_precision() == "highest"
    x = gg.asarray(np.random.default_rng(0).normal(size=(50, 70)).astype(np.float32))
    y = gg.asarray(np.random.default_rng(1).normal(size=(70, 30)).astype(np.float32))
    expected = (x @ y).tolist()
    try:
        for name in ("high", "medium", "highest"):
            gg.set_float32_matmul_precision(name)
            assert gg.get_float32_matmul_precision() == name
            assert gg._core._config()["float32_matmul"] == name
            assert (x @ y).tolist() == expected  # on the CPU nothing changes
        with pytest.raises(ValueError, match="precision must be 'highest', 'high' or 'medium', got 'low'"):
            gg.set_float32_matmul_precision("low")
        assert gg.get_float32_matmul_precision() == "highest"
    finally:
        gg.set_float32_matmul_precision("highest")

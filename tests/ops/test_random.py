"""Random numbers: bits by an independent Philox, distributions by SciPy's tests, independence of shape and threads."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import gorgo as gg
from gorgo import _core

ROUNDS = 10
MASK = 0xFFFFFFFF


def philox_block(seed: int, counter: int, block: int) -> list[int]:
    """Return four words of Philox 4x32-10, with Python's integers."""
    c = [block & MASK, block >> 32, counter & MASK, counter >> 32]
    k0, k1 = seed & MASK, seed >> 32
    for _ in range(ROUNDS):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & MASK, (p0 >> 32) ^ c[3] ^ k1, p0 & MASK]
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c


def words_of(seed: int, counter: int, count: int) -> list[int]:
    return [w for b in range(-(-count // 4)) for w in philox_block(seed, counter, b)][:count]


def key_of(seed: int, counter: int) -> gg.Tensor:
    return gg.asarray(np.array([seed, counter], dtype=np.uint64))


SEED, COUNTER = 0x123456789ABCDEF0, 2**40 + 3


def test_uniforms_are_the_leading_bits_of_the_words() -> None:
    n = 150
    key, words = key_of(SEED, COUNTER), words_of(SEED, COUNTER, 2 * n)
    expected32 = np.array([w >> 8 for w in words[:n]], dtype=np.float32) * np.float32(2.0**-24)
    np.testing.assert_array_equal(np.asarray(_core.random_uniform(key, (n,))), expected32)
    wide = [words[2 * i] | words[2 * i + 1] << 32 for i in range(n)]
    expected64 = np.array([w >> 11 for w in wide], dtype=np.float64) * 2.0**-53
    np.testing.assert_array_equal(np.asarray(_core.random_uniform(key, (n,), dtype=gg.float64)), expected64)
    expected16 = np.array([(w >> 21) * 2.0**-11 for w in words[:n]], dtype=np.float16)
    np.testing.assert_array_equal(np.asarray(_core.random_uniform(key, (n,), dtype=gg.float16)), expected16)


def test_words_are_those_of_the_published_vectors() -> None:
    # Source: the known-answer file of Random123 1.14, rows "philox4x32 10"; the row of ones is tested in C++, where a
    # block can be named.
    zero = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    drawn = np.asarray(_core.random_uniform(key_of(0, 0), (4,)))
    np.testing.assert_array_equal(drawn, np.array([w >> 8 for w in zero], np.float32) * np.float32(2.0**-24))
    assert philox_block(0, 0, 0) == list(zero)
    pi = philox_block(0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88)
    assert pi == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_normals_follow_box_and_muller() -> None:
    n = 1000
    words = words_of(SEED, COUNTER, n)
    u = (np.array(words[::2], dtype=np.float64) // 256 + 1) * 2.0**-24
    t = (np.array(words[1::2], dtype=np.float64) // 256) * 2.0**-24
    radius = np.sqrt(-2.0 * np.log(u))
    expected = np.stack([radius * np.cos(2 * np.pi * t), radius * np.sin(2 * np.pi * t)], axis=1).reshape(-1)
    actual = np.asarray(_core.random_normal(key_of(SEED, COUNTER), (n,)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6)


def test_integers_map_words_to_the_range() -> None:
    n = 100
    words = words_of(SEED, COUNTER, 2 * n)
    wide = [words[2 * i] | words[2 * i + 1] << 32 for i in range(n)]
    for low, high in ((0, 2), (-7, 1000), (-(2**63), 2**63 - 1)):
        expected = [low + (w * (high - low) >> 64) for w in wide]
        assert _core.random_randint(key_of(SEED, COUNTER), (n,), low, high).tolist() == expected
    assert _core.random_randint(key_of(SEED, COUNTER), (n,), 0, 256, dtype=gg.uint8).tolist() == [w >> 56 for w in wide]


@pytest.mark.parametrize("draw", ["random_uniform", "random_normal", "random_bernoulli"])
def test_an_element_depends_on_its_flat_index_alone(draw: str) -> None:
    key = key_of(5, 6)
    op = getattr(_core, draw)
    whole = np.asarray(op(key, (70_000,)))
    np.testing.assert_array_equal(np.asarray(op(key, (12_345,))), whole[:12_345])
    np.testing.assert_array_equal(np.asarray(op(key, (7, 100, 100))).reshape(-1), whole)


def test_threads_do_not_change_bits() -> None:
    key = key_of(5, 6)
    x = gg.ones((300, 300)).T
    before = gg.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            drawn = [
                _core.random_normal(key, (100_000,)),
                _core.random_randint(key, (100_000,), 0, 1000),
                _core.random_permutation(key, 50_000),
                *_core.dropout(x, key, 0.3),
            ]
            results.append([np.asarray(t).tobytes() for t in drawn])
    finally:
        gg.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("dtype", [gg.float16, gg.bfloat16, gg.float32, gg.float64])
def test_distributions_pass_kolmogorov_and_smirnov(dtype: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = gg.random.Generator(1)
    n = 20_000
    half = dtype in (gg.float16, gg.bfloat16)
    u = np.asarray(gg.random.uniform(-2.0, 3.0, n, dtype=dtype, generator=generator).astype(gg.float64))
    z = np.asarray(gg.random.normal(1.0, 2.0, n, dtype=dtype, generator=generator).astype(gg.float64))
    assert u.min() >= -2.0
    assert u.max() <= 3.0
    # The statistic at a significance of 0.001, and what rounding to eight bits can add to it.
    bound = 1.95 / np.sqrt(n) + (0.01 if half else 0.0)
    assert stats.kstest(u, stats.uniform(-2.0, 5.0).cdf).statistic < bound
    assert stats.kstest(z, stats.norm(1.0, 2.0).cdf).statistic < bound


def test_integers_and_permutations_are_even() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = gg.random.Generator(2)
    counts = np.bincount(np.asarray(gg.random.randint(0, 10, 50_000, generator=generator)), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-4
    firsts = [gg.random.permutation(5, generator=generator)[0].item() for _ in range(2000)]
    assert stats.chisquare(np.bincount(firsts, minlength=5)).pvalue > 1e-4
    for n in (0, 1, 2, 64, 65, 1000):
        assert sorted(gg.random.permutation(n, generator=generator).tolist()) == list(range(n))


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_bernoulli_and_dropout_keep_their_probability(p: float) -> None:
    generator = gg.random.Generator(3)
    n = 40_000
    deviation = 4.5 * np.sqrt(p * (1 - p) / n)
    assert abs(np.asarray(gg.random.bernoulli(p, n, generator=generator)).mean() - p) <= deviation
    x = gg.asarray(np.linspace(1.0, 2.0, n))
    y, mask = _core.dropout(x, generator.key(), p)
    keep = np.asarray(mask)
    assert abs((1.0 - keep.mean()) - p) <= deviation
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    np.testing.assert_array_equal(np.asarray(y), np.where(keep, np.asarray(x) * scale, 0.0))


def test_gradients_of_dropout_agree_with_differences() -> None:
    key = key_of(1, 2)
    x = gg.asarray(np.random.default_rng(0).standard_normal((4, 5)))
    gg.testing.gradcheck(lambda x: gg.square(_core.dropout(x, key, 0.4)[0]), [x], second=True)
    gg.testing.gradcheck(lambda x: gg.square(_core.dropout(x.T, key, 0.4)[0]), [x], second=True)
    gg.testing.gradcheck(lambda x: _core.dropout(x, key, 1.0)[0], [x])


def test_dropout_of_special_values_and_of_nothing() -> None:
    x = gg.asarray([float("nan"), float("inf")])
    assert gg.random.dropout(x, 1.0).tolist() == [0.0, 0.0]
    assert gg.random.dropout(gg.zeros((0, 3)), 0.5).shape == (0, 3)
    assert gg.random.dropout(gg.asarray(1.0), 0.0).item() == 1.0


def test_every_call_takes_the_next_counter_whatever_its_size() -> None:
    a, b = gg.random.Generator(9), gg.random.Generator(9)
    gg.random.uniform(shape=1, generator=a)
    gg.random.normal(shape=100_000, generator=b)
    assert a.get_state().tolist() == b.get_state().tolist() == [9, 1]
    assert gg.random.uniform(shape=3, generator=a).tolist() == gg.random.uniform(shape=3, generator=b).tolist()


def test_seed_and_state_repeat_the_stream() -> None:
    first = gg.random.seed(4)
    assert first is gg.random.default_generator
    a = gg.random.randn(5).tolist()
    state = gg.random.get_state()
    b = gg.random.rand(2, 2).tolist()
    gg.random.set_state(state)
    assert gg.random.rand(2, 2).tolist() == b
    gg.random.manual_seed(4)
    assert gg.random.randn(5).tolist() == a
    copied = pickle.loads(pickle.dumps(gg.random.default_generator))
    assert gg.random.uniform(generator=copied).item() == gg.random.rand().item()
    assert gg.random.Generator().get_state().tolist() != gg.random.Generator().get_state().tolist()


def test_choice_with_and_without_replacement() -> None:
    generator = gg.random.Generator(0)
    drawn = gg.random.choice(5, (2, 2), replace=False, generator=generator)
    assert drawn.shape == (2, 2)
    assert len(set(np.asarray(drawn).reshape(-1).tolist())) == 4
    rows = gg.asarray([[1, 2], [3, 4]])
    assert gg.random.choice(rows, 3, generator=generator).shape == (3, 2)
    assert sorted(gg.random.permutation(rows, generator=generator).tolist()) == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gg.random.seed(-1), ValueError, r"seed: seed must be in \[0, 2\*\*64\), got -1"),
        (lambda: gg.random.uniform(2.0, 1.0), ValueError, r"random_uniform: low and high must be finite.*got 2 and 1"),
        (lambda: gg.random.uniform(dtype=gg.int64), TypeError, r"random_uniform: dtype must be a real floating one"),
        (lambda: gg.random.normal(std=-1.0), ValueError, r"random_normal: std must not be negative, got -1"),
        (lambda: gg.random.randint(3, 3), ValueError, r"random_randint: low must be below high, got 3 and 3"),
        (lambda: gg.random.randint(0, 300, dtype=gg.uint8), OverflowError, r"random_randint: scalar must fit uint8"),
        (lambda: gg.random.bernoulli(1.5), ValueError, r"random_bernoulli: p must be in \[0, 1\], got 1.5"),
        (lambda: gg.random.dropout(gg.ones(3), -0.5), ValueError, r"dropout: p must be in \[0, 1\], got -0.5"),
        (
            lambda: gg.random.dropout(gg.ones(3, dtype=gg.int32)),
            TypeError,
            r"dropout: x must be real floating, got int32",
        ),
        (lambda: gg.random.permutation(-1), ValueError, r"random_permutation: n must be in \[0, 2\*\*32\), got -1"),
        (lambda: gg.random.choice(2, 3, replace=False), ValueError, r"choice: shape must have at most 2 elements"),
        (
            lambda: _core.random_key(gg.zeros(2)),
            TypeError,
            r"random_key: state must be uint64 of shape \(2,\), got float32",
        ),
    ],
)
def test_messages_name_op_argument_and_value(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_long_permutation_is_the_order_of_its_words() -> None:
    """Sorted in blocks or as a whole: the order of the random words that the key gives."""
    n = 300_000
    order = np.asarray(gg.random.permutation(n, generator=gg.random.Generator(4)))
    assert np.array_equal(np.sort(order), np.arange(n))
    # The words are those of uniform draws in 53 bits, in the same order but for the bits below.
    drawn = np.asarray(gg.random.uniform(0.0, 1.0, (n,), dtype=gg.float64, generator=gg.random.Generator(4)))
    assert np.all(np.diff(drawn[order]) >= 0)

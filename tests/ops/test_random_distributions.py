"""Distributions against SciPy's, with fixed seeds: Kolmogorov and Smirnov's statistic, and chi-square.

Then parameters that are tensors, gradients, edges, messages, and elements that depend on nothing but their index.

Bounds: a statistic at a significance of 0.001 (1.95 / sqrt(n) for Kolmogorov and Smirnov's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

import gorgo as gg
from gorgo import _core

N = 20_000
KS = 1.95 / np.sqrt(N)


def array(t: gg.Tensor) -> Any:
    return np.asarray(t.detach().astype(gg.float64))


def generator() -> gg.random.Generator:
    return gg.random.Generator(11)


CONTINUOUS: dict[str, tuple[Callable[..., gg.Tensor], Any]] = {
    "exponential": (lambda **o: gg.random.exponential(2.0, N, **o), scipy.stats.expon(0.0, 2.0)),
    "laplace": (lambda **o: gg.random.laplace(1.0, 2.0, N, **o), scipy.stats.laplace(1.0, 2.0)),
    "logistic": (lambda **o: gg.random.logistic(1.0, 2.0, N, **o), scipy.stats.logistic(1.0, 2.0)),
    "gumbel": (lambda **o: gg.random.gumbel(1.0, 2.0, N, **o), scipy.stats.gumbel_r(1.0, 2.0)),
    "cauchy": (lambda **o: gg.random.cauchy(1.0, 2.0, N, **o), scipy.stats.cauchy(1.0, 2.0)),
    "log_normal": (lambda **o: gg.random.log_normal(0.5, 0.7, N, **o), scipy.stats.lognorm(0.7, scale=np.exp(0.5))),
    "weibull": (lambda **o: gg.random.weibull(1.5, 2.0, N, **o), scipy.stats.weibull_min(1.5, scale=2.0)),
    "pareto": (lambda **o: gg.random.pareto(3.0, 2.0, N, **o), scipy.stats.pareto(3.0, scale=2.0)),
    "rayleigh": (lambda **o: gg.random.rayleigh(2.0, N, **o), scipy.stats.rayleigh(scale=2.0)),
    "chisquare": (lambda **o: gg.random.chisquare(3.0, N, **o), scipy.stats.chi2(3.0)),
    "gamma 0.3": (lambda **o: gg.random.gamma(0.3, 2.0, N, **o), scipy.stats.gamma(0.3, scale=2.0)),
    "gamma 1": (lambda **o: gg.random.gamma(1.0, 1.0, N, **o), scipy.stats.gamma(1.0)),
    "gamma 7.5": (lambda **o: gg.random.gamma(7.5, 0.5, N, **o), scipy.stats.gamma(7.5, scale=0.5)),
    "gamma 1000": (lambda **o: gg.random.gamma(1000.0, 1.0, N, **o), scipy.stats.gamma(1000.0)),
    "beta 0.4 0.7": (lambda **o: gg.random.beta(0.4, 0.7, N, **o), scipy.stats.beta(0.4, 0.7)),
    "beta 2 5": (lambda **o: gg.random.beta(2.0, 5.0, N, **o), scipy.stats.beta(2.0, 5.0)),
    "truncated": (
        lambda **o: gg.random.truncated_normal(1.0, 2.0, -1.0, 4.0, N, **o),
        scipy.stats.truncnorm(-1, 1.5, 1, 2),
    ),
    "truncated tail": (
        lambda **o: gg.random.truncated_normal(0.0, 1.0, 6.0, gg.inf, N, **o),
        scipy.stats.truncnorm(6.0, np.inf),
    ),
    "truncated left tail": (
        lambda **o: gg.random.truncated_normal(0.0, 1.0, -9.0, -4.0, N, **o),
        scipy.stats.truncnorm(-9.0, -4.0),
    ),
    "truncated narrow": (
        lambda **o: gg.random.truncated_normal(0.0, 1.0, 2.0, 2.1, N, **o),
        scipy.stats.truncnorm(2.0, 2.1),
    ),
    "truncated wide": (
        lambda **o: gg.random.truncated_normal(0.0, 1.0, -0.5, 9.0, N, **o),
        scipy.stats.truncnorm(-0.5, 9.0),
    ),
    "truncated middle": (
        lambda **o: gg.random.truncated_normal(0.0, 1.0, -0.5, 0.7, N, **o),
        scipy.stats.truncnorm(-0.5, 0.7),
    ),
    "truncated near": (
        lambda **o: gg.random.truncated_normal(0.0, 1.0, 0.2, 8.0, N, **o),
        scipy.stats.truncnorm(0.2, 8.0),
    ),
    "normal": (lambda **o: gg.random.normal(1.0, 2.0, N, **o), scipy.stats.norm(1.0, 2.0)),
}


@pytest.mark.parametrize("dtype", [gg.float32, gg.float64])
@pytest.mark.parametrize("name", list(CONTINUOUS))
def test_continuous_distributions_pass_kolmogorov_and_smirnov(name: str, dtype: Any) -> None:
    draw, law = CONTINUOUS[name]
    x = draw(dtype=dtype, generator=generator())
    assert (x.dtype, x.shape) == (dtype, (N,))
    values = array(x)
    assert np.isfinite(values).all()
    assert scipy.stats.kstest(values, law.cdf).statistic < KS


@pytest.mark.parametrize("dtype", [gg.float16, gg.bfloat16])
@pytest.mark.parametrize("name", ["exponential", "gamma 7.5", "beta 2 5", "truncated", "log_normal"])
def test_short_dtypes_are_rounded_draws(name: str, dtype: Any) -> None:
    draw, law = CONTINUOUS[name]
    x = draw(dtype=dtype, generator=generator())
    assert x.dtype == dtype
    assert scipy.stats.kstest(array(x), law.cdf).statistic < KS + 0.01


DISCRETE: dict[str, tuple[Callable[[], gg.Tensor], Any]] = {
    "geometric 0.3": (lambda: gg.random.geometric(0.3, N, generator=generator()), scipy.stats.geom(0.3)),
    "poisson 0.5": (lambda: gg.random.poisson(0.5, N, generator=generator()), scipy.stats.poisson(0.5)),
    "poisson 9.9": (lambda: gg.random.poisson(9.9, N, generator=generator()), scipy.stats.poisson(9.9)),
    "poisson 10": (lambda: gg.random.poisson(10.0, N, generator=generator()), scipy.stats.poisson(10.0)),
    "poisson 321": (lambda: gg.random.poisson(321.0, N, generator=generator()), scipy.stats.poisson(321.0)),
    "binomial 7 0.2": (lambda: gg.random.binomial(7, 0.2, N, generator=generator()), scipy.stats.binom(7, 0.2)),
    "binomial 40 0.9": (lambda: gg.random.binomial(40, 0.9, N, generator=generator()), scipy.stats.binom(40, 0.9)),
    "binomial 40 0.4": (lambda: gg.random.binomial(40, 0.4, N, generator=generator()), scipy.stats.binom(40, 0.4)),
    "binomial 900 0.7": (lambda: gg.random.binomial(900, 0.7, N, generator=generator()), scipy.stats.binom(900, 0.7)),
}


@pytest.mark.parametrize("name", list(DISCRETE))
def test_discrete_distributions_pass_chi_square(name: str) -> None:
    draw, law = DISCRETE[name]
    x = draw()
    assert (x.dtype, x.shape) == (gg.int64, (N,))
    values = np.asarray(x)
    # Cells of at least ten expected draws; the ends hold what is left.
    low, high = int(law.ppf(1e-3)), int(law.ppf(1.0 - 1e-3))
    cells = np.clip(values, low, high) - low
    expected = law.pmf(np.arange(low, high + 1)) * N
    expected[0], expected[-1] = law.cdf(low) * N, law.sf(high - 1) * N
    observed = np.bincount(cells, minlength=expected.size).astype(np.float64)
    keep = expected >= 10.0
    assert keep.sum() >= 2
    left = [observed[~keep].sum()], [expected[~keep].sum()]
    if left[1][0] >= 5.0:
        observed, expected = np.append(observed[keep], left[0]), np.append(expected[keep], left[1])
    else:
        observed, expected = observed[keep], expected[keep] * (observed[keep].sum() / expected[keep].sum())
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("rate", [1e6, 1e12, 2.0**60])
def test_large_poisson_rates_keep_mean_and_spread(rate: float) -> None:
    z = (np.asarray(gg.random.poisson(rate, N, generator=generator())).astype(np.float64) - rate) / np.sqrt(rate)
    assert scipy.stats.kstest(z, scipy.stats.norm.cdf).statistic < KS + 1.0 / np.sqrt(rate)


def test_dirichlet_has_beta_margins_and_sums_to_one() -> None:
    alpha = gg.asarray([0.4, 1.5, 3.0], dtype=gg.float64)
    x = array(gg.random.dirichlet(alpha, N, generator=generator()))
    assert x.shape == (N, 3)
    np.testing.assert_allclose(x.sum(axis=1), 1.0, rtol=1e-14)
    for i, a in enumerate((0.4, 1.5, 3.0)):
        assert scipy.stats.kstest(x[:, i], scipy.stats.beta(a, 4.9 - a).cdf).statistic < KS
    # Concentrations so small that the gamma variables themselves underflow.
    tiny = array(gg.random.dirichlet(gg.full((5,), 1e-4), 200, generator=generator()))
    np.testing.assert_allclose(tiny.sum(axis=1), 1.0, rtol=1e-6)
    assert np.isfinite(array(gg.random.beta(1e-5, 1e-5, 500, generator=generator()))).all()


def test_logarithms_of_gamma_draws_do_not_underflow() -> None:
    key = generator().key()
    log_x = array(_core.random_gamma(key, gg.full((N,), 1e-3, dtype=gg.float64), log=True))
    assert np.isfinite(log_x).all()
    assert scipy.stats.kstest(log_x, scipy.stats.loggamma(1e-3).cdf).statistic < KS
    x = array(_core.random_gamma(key, gg.full((N,), 0.8, dtype=gg.float64)))
    logs = array(_core.random_gamma(key, gg.full((N,), 0.8, dtype=gg.float64), log=True))
    np.testing.assert_allclose(np.exp(logs), x, rtol=1e-12)


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_by_weight(replacement: bool) -> None:
    weights = np.array([0.0, 1.0, 2.0, 3.0, 0.0, 4.0])
    g = generator()
    firsts = array(gg.random.multinomial(gg.asarray(np.tile(weights, (N, 1))), 3, replacement, generator=g)).astype(int)
    assert firsts.shape == (N, 3)
    if replacement:
        counts = np.bincount(firsts.reshape(-1), minlength=6)
        assert scipy.stats.chisquare(counts[weights > 0], weights[weights > 0] * 3 * N / 10).pvalue > 1e-3
    else:
        counts = np.bincount(firsts[:, 0], minlength=6)
        assert scipy.stats.chisquare(counts[weights > 0], weights[weights > 0] * N / 10).pvalue > 1e-3
        assert all(len(set(row)) == 3 for row in firsts[:500].tolist())
        second = np.zeros(6)  # the chance of each entry as second draw, by its first
        for i in (1, 2, 3, 5):
            rest = np.where(np.arange(6) == i, 0.0, weights)
            second += weights[i] / 10.0 * rest / rest.sum()
        counts = np.bincount(firsts[:, 1], minlength=6)
        assert scipy.stats.chisquare(counts[weights > 0], second[weights > 0] * N).pvalue > 1e-3
    assert counts[0] == counts[4] == 0


def test_choice_with_weights_and_axes() -> None:
    g = generator()
    p = gg.asarray([0.1, 0.0, 0.6, 0.3])
    counts = np.bincount(np.asarray(gg.random.choice(4, N, p=p, generator=g)), minlength=4)
    assert counts[1] == 0
    assert scipy.stats.chisquare(counts[[0, 2, 3]], np.array([0.1, 0.6, 0.3]) * N).pvalue > 1e-3
    x = gg.arange(12).reshape((3, 4))
    assert gg.random.choice(x, (2, 5), axis=1, generator=g).shape == (3, 2, 5)
    drawn = np.asarray(gg.random.choice(x, 3, replace=False, p=p, axis=-1, generator=g))
    assert sorted(drawn[0].tolist()) == [0, 2, 3]
    np.testing.assert_array_equal(drawn - drawn[0], [[0] * 3, [4] * 3, [8] * 3])


def test_orders_along_axes() -> None:
    g = generator()
    x = gg.arange(60).reshape((3, 20))
    columns = np.asarray(gg.random.permutation(x, 1, generator=g))
    np.testing.assert_array_equal(np.sort(columns[0]), np.arange(20))
    np.testing.assert_array_equal(columns[1] - columns[0], 20)
    each = np.asarray(gg.random.permuted(x, 1, generator=g))
    np.testing.assert_array_equal(np.sort(each, axis=1), np.asarray(x))
    assert len({tuple(row % 20) for row in each}) == 3
    y = x.copy()
    assert gg.random.shuffle(y, 0, generator=g) is None
    np.testing.assert_array_equal(np.sort(np.asarray(y), axis=0), np.asarray(x))
    view = gg.arange(10)[::2]
    gg.random.shuffle(view, generator=g)
    assert sorted(view.tolist()) == [0, 2, 4, 6, 8]


# ---- parameters that are tensors ----


def test_tensors_of_parameters_broadcast_and_pass_gradients() -> None:
    g = generator()
    mean = gg.asarray(np.array([[0.0], [5.0], [-3.0]]), dtype=gg.float64).requires_grad_()
    std = gg.asarray(np.array([1.0, 2.0]), dtype=gg.float64).requires_grad_()
    x = gg.random.normal(mean, std, generator=g)
    assert (x.shape, x.dtype) == ((3, 2), gg.float64)
    z = (array(x) - array(mean)) / array(std)
    x.sum().backward()
    np.testing.assert_allclose(array(mean.grad), 2.0 * np.ones((3, 1)))
    np.testing.assert_allclose(array(std.grad), z.sum(axis=0), rtol=1e-12)
    u = gg.random.uniform(gg.asarray([0.0, 10.0]), 20.0, (1000, 2), generator=g)
    assert u.dtype == gg.float32
    assert array(u)[:, 1].min() >= 10.0
    assert gg.random.uniform(gg.asarray([0.0, 10.0]), 20.0).shape == (2,)
    p = gg.asarray([0.0, 0.25, 1.0])
    means = array(gg.random.bernoulli(p, (N, 3), generator=g)).mean(axis=0)
    assert (means[0], means[2]) == (0.0, 1.0)
    assert abs(means[1] - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / N)
    rates = gg.asarray([0.0, 3.0, 300.0])
    counts = array(gg.random.poisson(rates, (N, 3), generator=g)).mean(axis=0)
    assert np.all(np.abs(counts - [0, 3, 300]) <= 4.5 * np.sqrt(np.array([0, 3, 300]) / N))


@pytest.mark.parametrize("concentration", [0.01, 0.3, 1.0, 2.5, 30.0, 500.0, 2e4])
def test_gamma_gradients_are_those_of_the_quantile(concentration: float) -> None:
    a = gg.full((400,), concentration, dtype=gg.float64).requires_grad_()
    x = gg.random.gamma(a, generator=generator())
    ours = array(gg.grad(x, [a], gg.ones((400,), dtype=gg.float64))[0])
    values = array(x)
    # The quantile's slope by differences of SciPy's distribution function and density, to fourth order.
    h = 1e-3 * min(concentration, np.sqrt(concentration))
    cdf = scipy.special.gammainc
    upper = scipy.special.gammaincc
    near = values < concentration
    points = [
        np.where(near, cdf(concentration + k * h, values), -upper(concentration + k * h, values))
        for k in (-2, -1, 1, 2)
    ]
    slope = (8.0 * (points[2] - points[1]) - (points[3] - points[0])) / (12.0 * h)
    density = scipy.stats.gamma(concentration).pdf(values)
    good = (values > 1e-250) & (density > 1e-290)
    assert good.sum() > 50
    np.testing.assert_allclose(ours[good], (-slope / density)[good], rtol=2e-6)


def test_gamma_gradients_agree_with_pytorch_and_far_from_it_with_the_expansion() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    a = np.exp(rng.uniform(-3.0, 6.0, 500))
    x = rng.gamma(a) + 1e-30
    ours = array(_core._registry["random_gamma_slope"](gg.asarray(a), gg.asarray(x)))
    theirs = torch._standard_gamma_grad(torch.tensor(a), torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=5e-3)  # PyTorch's middle range is a fit of that quality
    # At the seam between the sums and the expansion both say the same.
    for z in (-3.0, 0.0, 2.0):
        at = np.array([1e6 * (1 - 1e-9), 1e6])
        slopes = array(_core._registry["random_gamma_slope"](gg.asarray(at), gg.asarray(at + z * np.sqrt(at))))
        np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-7)
    in_log = array(_core._registry["random_gamma_slope"](gg.asarray(a), gg.asarray(np.log(x)), log=True))
    np.testing.assert_allclose(in_log * x, ours, rtol=1e-9)
    # Where the draw itself underflows: log x = log u / a, and so its slope is -log u / a^2.
    tiny = array(_core._registry["random_gamma_slope"](gg.asarray([1e-3]), gg.asarray([-5000.0]), log=True))
    np.testing.assert_allclose(tiny, 5000.0 / 1e-3, rtol=1e-2)


def test_gradients_of_compositions_of_gamma_draws() -> None:
    a = gg.asarray([0.5, 2.0, 7.0], dtype=gg.float64).requires_grad_()
    # E[log x_i] = digamma(a_i) - digamma(sum a): its gradient by the concentrations is made of trigammas.
    x = gg.random.dirichlet(a, 200_000, generator=generator())
    gg.log(x[:, 1]).mean().backward()
    expected = -scipy.special.polygamma(1, 9.5) + np.array([0.0, scipy.special.polygamma(1, 2.0), 0.0])
    np.testing.assert_allclose(array(a.grad), expected, atol=0.02)
    b = gg.asarray(2.0, dtype=gg.float64).requires_grad_()
    gg.random.beta(3.0, b, 200_000, generator=generator()).mean().backward()
    np.testing.assert_allclose(b.grad.item(), -3.0 / 25.0, atol=0.003)


def test_a_second_gradient_of_a_gamma_draw_is_refused_with_the_reason() -> None:
    one = gg.ones((1,), dtype=gg.float64)
    c = gg.asarray([2.0], dtype=gg.float64).requires_grad_()
    first = gg.grad(gg.random.gamma(c), [c], one, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match=r"random_gamma_slope: .*second derivative"):
        gg.grad(first, [c], one)


ENDS = [
    (-1.0, 2.0),
    (-0.1, 0.2),
    (0.0, 9.0),
    (-np.inf, 1.0),
    (-40.0, -0.5),
    (-50.0, 0.5),
    (3.0, np.inf),
    (6.0, 6.01),
    (12.0, 12.0 + 1e-9),
    (37.0, 60.0),
    (1e5, np.inf),
]


@pytest.mark.parametrize(("low", "high"), [*ENDS, *((-high, -low) for low, high in ENDS)])
def test_slopes_of_truncated_draws_are_those_of_the_quantile(low: float, high: float) -> None:
    mpmath = pytest.importorskip("mpmath")
    draws = _core.random_truncated_normal(generator().key(), gg.full((40,), low, dtype=gg.float64), high)
    by_low, by_high = (
        array(_core._registry["random_truncated_normal_slope"](low, draws, high, by_high=b)) for b in (False, True)
    )
    with mpmath.workdps(60):

        def between(a: Any, b: Any) -> Any:
            return (mpmath.erfc(a / mpmath.sqrt(2)) - mpmath.erfc(b / mpmath.sqrt(2))) / 2

        def density(x: Any) -> Any:
            return mpmath.exp(-x * x / 2)

        a, b = mpmath.mpf(low), mpmath.mpf(high)
        if a < 0:  # the smaller tail keeps its digits
            a, b, draws = -b, -a, -draws
            by_low, by_high = by_high, by_low
        for x, first, last in zip(array(draws).tolist(), by_low, by_high, strict=True):
            z = mpmath.mpf(x)
            whole = between(a, b)
            np.testing.assert_allclose(first, float(density(a) / density(z) * between(z, b) / whole), rtol=1e-12)
            np.testing.assert_allclose(last, float(density(b) / density(z) * between(a, z) / whole), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_truncated_draws_keep_the_quantile(dtype: str) -> None:
    # Columns: both ends, one of them, none; then two of which only numbers are given.
    low, high = np.array([-1.0, -np.inf, 0.3, -np.inf]), np.array([2.0, 1.0, np.inf, np.inf])
    mean, std = np.array([0.5, -0.5, 0.1, 1.0]), np.array([1.0, 0.7, 0.5, 2.0])
    given = [gg.asarray(p.astype(dtype)).requires_grad_() for p in (mean, std, low, high)]
    x = gg.random.truncated_normal(*given, shape=(50, 4), generator=generator())
    z = (array(x) - mean) / std
    a, b = (low - mean) / std, (high - mean) / std
    quantile = scipy.stats.truncnorm(a, b).cdf(z)
    weights = np.random.default_rng(0).standard_normal(z.shape).astype(dtype)
    ours = gg.grad(x, given, gg.asarray(weights))
    for i, slope in enumerate(ours):
        assert slope.dtype == x.dtype
        expected = 0.0
        for step, factor in ((1e-4, 1.0), (-1e-4, -1.0)):
            moved = [mean, std, low, high]
            moved[i] = moved[i] + step
            m, s, first, last = moved
            law = scipy.stats.truncnorm((first - m) / s, (last - m) / s, loc=m, scale=s)
            expected = expected + factor * law.ppf(quantile) / 2e-4
        tolerance = 2e-5 if dtype == "float64" else 2e-4
        np.testing.assert_allclose(array(slope), (expected * weights).sum(axis=0), rtol=tolerance, atol=tolerance)
    # The same with numbers for ends, one infinite.
    m = gg.asarray(mean[:1].astype(dtype)).requires_grad_()
    s = gg.asarray(std[:1].astype(dtype)).requires_grad_()
    for ends in ((-1.0, 2.0), (-np.inf, 1.0), (0.3, np.inf)):
        slopes = []
        for first, last in (ends, [gg.full((1,), end, dtype=dtype) for end in ends]):
            y = gg.random.truncated_normal(m, s, first, last, shape=(50,), generator=generator())
            slopes.append([g.item() for g in gg.grad(y.sum(), [m, s])])
        assert slopes[0] == slopes[1]
        assert np.isfinite(slopes[0]).all()


def test_a_second_gradient_of_a_truncated_draw_is_refused_with_the_reason() -> None:
    mean = gg.asarray([0.5]).requires_grad_()
    (first,) = gg.grad(gg.random.truncated_normal(mean).sum(), [mean], create_graph=True)
    with pytest.raises(NotImplementedError, match=r"random_truncated_normal_slope: .*second derivative"):
        gg.grad(first.sum(), [mean])


# ---- elements, threads, layouts, capture ----

SAMPLERS: dict[str, Callable[[gg.Tensor, tuple[int, ...]], gg.Tensor]] = {
    "gamma": lambda key, shape: _core.random_gamma(key, 0.7, shape=shape),
    "poisson": lambda key, shape: _core.random_poisson(key, 40.0, shape=shape),
    "binomial": lambda key, shape: _core.random_binomial(key, 90, 0.4, shape=shape),
    "geometric": lambda key, shape: _core.random_geometric(key, 0.1, shape=shape),
    "truncated_normal": lambda key, shape: _core.random_truncated_normal(key, 1.0, 3.0, shape=shape),
    "bernoulli_each": lambda key, shape: _core.random_bernoulli_each(key, 0.3, shape=shape),
    "normal64": lambda key, shape: _core.random_normal(key, shape, dtype=gg.float64),
}


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_an_element_depends_on_its_flat_index_alone(name: str) -> None:
    key = gg.asarray(np.array([5, 6], np.uint64))
    draw = SAMPLERS[name]
    whole = np.asarray(draw(key, (20_000,)))
    for n in (1, 15, 16, 17, 4095, 4097, 12_345):
        np.testing.assert_array_equal(np.asarray(draw(key, (n,))), whole[:n])
    np.testing.assert_array_equal(np.asarray(draw(key, (2, 100, 100))).reshape(-1), whole)
    before = gg.get_num_threads()
    try:
        for threads in (1, 2):
            gg.set_num_threads(threads)
            assert np.asarray(draw(key, (20_000,))).tobytes() == whole.tobytes()
    finally:
        gg.set_num_threads(before)


def test_an_element_does_not_depend_on_its_neighbours_parameters() -> None:
    key = gg.asarray(np.array([5, 6], np.uint64))
    a = np.full(5000, 0.7)
    plain = np.asarray(_core.random_gamma(key, gg.asarray(a)))
    a[::2] = 300.0
    mixed = np.asarray(_core.random_gamma(key, gg.asarray(a)))
    np.testing.assert_array_equal(mixed[1::2], plain[1::2])
    assert (mixed[::2] != plain[::2]).all()


def test_captured_draws_advance_at_each_replay() -> None:
    g = gg.random.Generator(3)

    def draw(rate: gg.Tensor) -> tuple[gg.Tensor, ...]:
        return (
            gg.random.poisson(rate, (5,), generator=g),
            gg.random.gamma(rate, generator=g),
            gg.random.dirichlet(rate, (2,), generator=g),
            gg.random.multinomial(rate, 2, generator=g),
            gg.random.gumbel(shape=(3,), generator=g),
            gg.random.truncated_normal(shape=3, generator=g),
            gg.random.permuted(rate, generator=g),
        )

    rate = gg.asarray([3.0, 1.0, 20.0, 5.0, 0.5])
    eager = [[x.tolist() for x in draw(rate)] for _ in range(3)]
    g.seed(3)
    compiled = gg.compile(draw)
    assert [[x.tolist() for x in compiled(rate)] for _ in range(3)] == eager
    assert compiled.recordings == 1
    assert g.get_state().tolist() == [3, 21]


# ---- generators ----


def test_spawned_generators_are_repeatable_and_apart() -> None:
    parent, twin = gg.random.Generator(5), gg.random.Generator(5)
    children = parent.spawn(50)
    assert [c.get_state().tolist() for c in children] == [c.get_state().tolist() for c in twin.spawn(50)]
    assert len({c.get_state().tolist()[0] for c in children}) == 50
    assert parent.get_state().tolist() == [5, 1]
    x, y = (array(gg.random.normal(shape=N, dtype=gg.float64, generator=c)) for c in children[:2])
    assert abs(np.corrcoef(x, y)[0, 1]) < 4.5 / np.sqrt(N)
    assert parent.spawn(0) == []


def test_jumping_is_drawing() -> None:
    a, b = gg.random.Generator(5), gg.random.Generator(5)
    for _ in range(7):
        gg.random.uniform(generator=a)
    assert b.jump(7).get_state().tolist() == a.get_state().tolist()
    assert b.jump(-8).get_state().tolist() == [5, 2**64 - 1]
    first = gg.random.uniform(shape=3, generator=b)
    assert b.get_state().tolist() == [5, 0]
    assert first.tolist() != gg.random.uniform(shape=3, generator=b).tolist()


# ---- like, in place, edges ----


def test_like_and_in_place() -> None:
    x = gg.zeros((3, 4), dtype=gg.float64)
    assert (gg.random.rand_like(x).dtype, gg.random.randn_like(x, dtype=gg.float32).dtype) == (gg.float64, gg.float32)
    assert gg.random.randint_like(x, 0, 9).dtype == gg.int64
    assert gg.random.randint_like(gg.zeros((2,), dtype=gg.int8), 0, 9).dtype == gg.int8
    for name, args in {
        "uniform_": (2.0, 3.0),
        "normal_": (0.0, 1.0),
        "log_normal_": (0.0, 1.0),
        "cauchy_": (),
        "exponential_": (4.0,),
        "geometric_": (0.5,),
        "bernoulli_": (0.5,),
    }.items():
        g = gg.random.Generator(2)
        y = gg.zeros((600,))
        assert getattr(y, name)(*args, generator=g) is y
        functional = gg.zeros((600,))
        getattr(gg.random, name)(functional, *args, generator=gg.random.Generator(2))
        assert y.tolist() == functional.tolist()
        assert len(set(y.tolist())) > 1
    view = gg.zeros((4, 4))
    view[:, 1].normal_()
    assert np.count_nonzero(np.asarray(view)) == 4
    g = gg.random.Generator(2)
    mean = array(gg.zeros((N,)).exponential_(4.0, generator=g)).mean()
    assert abs(mean - 0.25) < 4.5 * 0.25 / np.sqrt(N)
    ints = gg.zeros((9,), dtype=gg.int32).bernoulli_(1.0)
    assert ints.tolist() == [1] * 9


def test_edges() -> None:
    for draw in (gg.random.gamma, gg.random.poisson, gg.random.exponential, gg.random.chisquare):
        assert draw(1.0, shape=(0, 3)).shape == (0, 3)
        assert draw(1.0).shape == ()
    assert gg.random.binomial(0, 0.5, (3,)).tolist() == [0, 0, 0]
    assert gg.random.binomial(2**39, 1.0, ()).item() == 2**39
    assert gg.random.geometric(1.0, (3,)).tolist() == [1, 1, 1]
    assert gg.random.geometric(1e-300, ()).item() == 2**62
    assert gg.random.integers(5, shape=(4,), dtype=gg.uint8).dtype == gg.uint8
    assert gg.random.multinomial(gg.asarray([[0.0, 1.0]] * 3), 0).shape == (3, 0)
    assert gg.random.multinomial(gg.zeros((0, 4)), 2).shape == (0, 2)
    assert gg.random.dirichlet([1.0]).tolist() == [1.0]
    # Ends so far out that their squares overflow, and slopes where there is nothing to differentiate.
    ends = gg.asarray([1e300, 1e10, 40.0], dtype=gg.float64)
    far = array(_core.random_truncated_normal(gg.random.Generator(1).key(), ends, gg.inf))
    np.testing.assert_allclose(far, array(ends), rtol=0.01)
    assert (far >= array(ends)).all()
    bad = gg.asarray([float("nan"), -1e300, 0.0, 1.0, 1.0], dtype=gg.float64)
    at = gg.asarray([1.0, 1.0, 1.0, float("nan"), float("inf")], dtype=gg.float64)
    assert np.isnan(array(_core._registry["random_gamma_slope"](bad, at))).all()
    scalars = gg.random.gamma(gg.asarray(1e300, dtype=gg.float64), shape=(2,))
    np.testing.assert_allclose(array(scalars), 1e300)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gg.random.gamma(-1.0),
            ValueError,
            r"gamma: concentration must be positive and finite, got -1$",
        ),
        (
            lambda: gg.random.gamma(gg.asarray([1.0, 0.0, float("nan")])),
            ValueError,
            r"^gamma: concentration must be positive and finite, got 0 \(position 1\)",
        ),
        (lambda: gg.random.gamma(1.0, 0.0), ValueError, r"gamma: scale must be positive and finite, got 0"),
        (
            lambda: gg.random.poisson(-0.5),
            ValueError,
            r"random_poisson: rate must be in \[0, 2\*\*60\], got -0.5 \(position 0\)",
        ),
        (lambda: gg.random.geometric(0.0), ValueError, r"random_geometric: p must be in \(0, 1\], got 0"),
        (
            lambda: gg.random.binomial(1.5, 0.5),
            ValueError,
            r"random_binomial: count must be whole and in \[0, 2\*\*40\), got 1.5",
        ),
        (lambda: gg.random.binomial(3, 2.0), ValueError, r"random_binomial: p must be in \[0, 1\], got 2"),
        (
            lambda: gg.random.bernoulli(gg.asarray([0.5, 1.5])),
            ValueError,
            r"random_bernoulli_each: p must be in \[0, 1\], got 1.5 \(position 1\)",
        ),
        (
            lambda: gg.random.truncated_normal(low=1.0, high=1.0),
            ValueError,
            r"random_truncated_normal: low must be below high, got 1 and 1 \(position 0\)",
        ),
        (
            lambda: gg.random.multinomial(gg.asarray([1.0, -1.0])),
            ValueError,
            r"random_multinomial: weights must be finite and not negative, got -1 \(position 1\)",
        ),
        (
            lambda: gg.random.multinomial(gg.zeros((2, 3))),
            ValueError,
            r"random_multinomial: weights must have a positive finite sum, got 0 \(row 0\)",
        ),
        (
            lambda: gg.random.multinomial(gg.asarray([1.0, 0.0]), 2),
            ValueError,
            r"random_multinomial: weights must have a positive entry for each draw .*, got 1 for 2 \(row 0\)",
        ),
        (
            lambda: gg.random.multinomial(gg.ones((2,)), 3),
            ValueError,
            r"random_multinomial: count must be in \[0, 2\] without replacement, got 3 \(weights has shape \(2,\)\)",
        ),
        (
            lambda: gg.random.multinomial(gg.ones(())),
            ValueError,
            r"random_multinomial: weights must have one or two axes, got",
        ),
        (lambda: gg.random.choice(3, p=gg.ones((2,))), ValueError, r"choice: p must have shape \(3,\), got \(2,\)"),
        (lambda: gg.random.choice(gg.ones((2,)), axis=1), ValueError, r"choice: axis must be in \[-1, 1\), got 1"),
        (lambda: gg.random.exponential(-1.0), ValueError, r"exponential: scale must be positive and finite, got -1"),
        (lambda: gg.random.laplace(float("nan")), ValueError, r"laplace: loc must be finite, got nan"),
        (
            lambda: gg.random.exponential(dtype=gg.int32),
            TypeError,
            r"exponential: dtype must be a real floating one, got int32",
        ),
        (
            lambda: gg.random.normal(gg.ones((3,)), shape=(2,)),
            ValueError,
            r"broadcast",
        ),
        (
            lambda: gg.random.normal(gg.ones((2, 3)), shape=(3,)),
            ValueError,
            r"normal: shape must be one that the parameters broadcast to, got \(3,\) \(they are of shape \(2, 3\)\)",
        ),
        (
            lambda: gg.random.dirichlet(gg.ones(())),
            ValueError,
            r"dirichlet: concentration must have an axis, got shape \(\)",
        ),
        (lambda: gg.random.Generator(1).spawn(-1), ValueError, r"spawn: count must not be negative, got -1"),
        (lambda: gg.zeros((2,), dtype=gg.int32).normal_(), TypeError, r"normal_: x must be real floating, got int32"),
        (
            lambda: gg.zeros((2,)).exponential_(0.0),
            ValueError,
            r"exponential_: rate must be positive and finite, got 0",
        ),
        (lambda: gg.random.shuffle(gg.ones(())), ValueError, r"permutation: x must have an axis, got shape \(\)"),
    ],
)
def test_messages_name_op_argument_and_value(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# Function, arguments that are right, and the rule of each that has one.
PARAMETERS: list[tuple[str, dict[str, float], dict[str, str]]] = [
    ("beta", {"a": 2.0, "b": 3.0}, {"a": "positive and finite", "b": "positive and finite"}),
    ("cauchy", {"loc": 0.0, "scale": 1.0}, {"loc": "finite", "scale": "positive and finite"}),
    ("chisquare", {"df": 2.0}, {"df": "positive and finite"}),
    ("exponential", {"scale": 1.0}, {"scale": "positive and finite"}),
    ("gamma", {"concentration": 2.0, "scale": 1.0}, dict.fromkeys(("concentration", "scale"), "positive and finite")),
    ("gumbel", {"loc": 0.0, "scale": 1.0}, {"loc": "finite", "scale": "positive and finite"}),
    ("laplace", {"loc": 0.0, "scale": 1.0}, {"loc": "finite", "scale": "positive and finite"}),
    ("log_normal", {"mean": 0.0, "std": 1.0}, {"std": "not negative"}),
    ("logistic", {"loc": 0.0, "scale": 1.0}, {"loc": "finite", "scale": "positive and finite"}),
    ("normal", {"mean": 0.0, "std": 1.0}, {"std": "not negative"}),
    ("pareto", {"a": 2.0, "scale": 1.0}, {"a": "positive and finite", "scale": "positive and finite"}),
    ("rayleigh", {"scale": 1.0}, {"scale": "positive and finite"}),
    ("truncated_normal", {"mean": 0.0, "std": 1.0}, {"std": "positive and finite"}),
    ("weibull", {"a": 2.0, "scale": 1.0}, {"a": "positive and finite", "scale": "positive and finite"}),
]
WRONG = {"finite": [np.inf, np.nan], "not negative": [-1.0, np.nan], "positive and finite": [0.0, -1.0, np.inf, np.nan]}


@pytest.mark.parametrize(
    ("name", "right", "argument", "rule"),
    [(name, right, argument, rule) for name, right, rules in PARAMETERS for argument, rule in rules.items()],
)
def test_a_tensor_as_parameter_follows_the_rule_of_a_number_in_a_captured_function_too(
    name: str, right: dict[str, float], argument: str, rule: str
) -> None:
    draw = getattr(gg.random, name)

    def of(value: Any) -> gg.Tensor:
        return draw(**{**right, argument: value})

    good = gg.full((3,), right[argument])
    compiled = gg.compile(of)
    assert of(good).shape == compiled(good).shape == compiled(good).shape == (3,)
    for wrong in WRONG[rule]:
        where = gg.asarray([right[argument], wrong, right[argument]])
        message = rf"{name}: {argument} must be {rule}, got {wrong:g}".replace("+", r"\+")
        if name != "normal":  # numbers are the op's own there
            with pytest.raises(ValueError, match=f"^{message}$"):
                of(wrong)
        for call in (of, compiled):
            with pytest.raises(ValueError, match=rf"^{message} \(position 1\)"):
                call(where)
        assert compiled(good).shape == (3,)


def test_a_checked_parameter_passes_gradients_on_and_must_be_real() -> None:
    scale = gg.asarray([2.0, 3.0]).requires_grad_()
    draws = gg.random.exponential(scale, generator=gg.random.Generator(3))
    draws.sum().backward()
    np.testing.assert_allclose(array(scale.grad), array(draws.detach()) / [2.0, 3.0], rtol=1e-6)
    with pytest.raises(TypeError, match=r"^exponential: scale must be real, got dtype complex64"):
        gg.random.exponential(gg.asarray([1j]))
    with pytest.raises(TypeError, match=r"^weibull: a must be a real number or a tensor, got str"):
        gg.random.weibull("a")
    with pytest.raises(
        ValueError, match=r"^dirichlet: concentration must be positive and finite, got 0 \(position 1\)"
    ):
        gg.random.dirichlet([1.0, 0.0])
    with pytest.raises(ValueError, match=r"^exponential_: rate must be positive and finite, got -1 \(position 0\)"):
        gg.zeros((1,)).exponential_(gg.asarray([-1.0]))
    assert gg.random.exponential(gg.asarray([2, 3])).dtype == gg.float32

"""Pictures of shrinkage: what they draw is the tables' numbers."""

import matplotlib as mpl
import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import ModelError

mpl.use("Agg")
import matplotlib.pyplot as plt

SALES, VISITS = [3, 5, 1, 9, 0, 30], [70, 27, 114, 95, 41, 200]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def scattered(ax):
    return [np.asarray(c.get_offsets()) for c in ax.collections if len(c.get_offsets())]


@pytest.fixture(scope="module")
def stores():
    return mf.eb.beta_binomial(SALES, VISITS, labels=list("abcdef"))


@pytest.fixture(scope="module")
def subjects():
    return mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))


def test_lines_join_raw_and_shrunken(stores):
    ax = stores.plot.shrinkage()
    drawn = np.sort(np.concatenate([xy[:, 0] for xy in scattered(ax)]))
    table = stores.posterior
    expected = np.sort(np.concatenate([table["estimate"], table["mean"]]))
    np.testing.assert_allclose(drawn[-len(expected) :], expected)
    assert {t.get_text() for t in ax.get_yticklabels()} == set("abcdef")


def test_two_coefficients_are_arrows_and_one_term_is_lines(subjects):
    ax = subjects.shrinkage().plot.shrinkage()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Intercept", "Days")
    own = subjects.shrinkage(term="Days").plot.shrinkage()
    assert len(own.get_yticklabels()) == 18


def test_ranks_and_intervals_are_sorted(stores):
    ax = stores.plot.ranks()
    table = stores.rank()
    top = ax.get_yticklabels()[-1].get_text()
    assert top == table.loc[table["expected_rank"].idxmin(), "label"]
    assert ax.get_xlim() == (0.5, 6.5)
    ax = stores.plot.intervals()
    assert ax.get_yticklabels()[-1].get_text() in set("abcdef")


@pytest.mark.parametrize("family", ["beta", "gamma", "levels", "normal"])
def test_funnels_hold_nearly_all_of_what_the_prior_makes(family):
    rng = np.random.default_rng(3)
    n = rng.integers(5, 300, 400)
    if family == "beta":
        result = mf.eb.beta_binomial(rng.binomial(n, rng.beta(4, 40, 400)), n)
    elif family == "gamma":
        result = mf.eb.gamma_poisson(rng.poisson(n * rng.gamma(3.0, 0.01, 400)), n)
    elif family == "normal":
        se = n**-0.5
        result = mf.eb.normal_means(rng.normal(5.0, np.hypot(0.2, se)), se)
    else:
        g = np.repeat(np.arange(60), rng.integers(2, 30, 60))
        y = rng.normal(size=60)[g] + rng.normal(size=len(g))
        result = mf.lmer("y ~ 1 + (1 | g)", {"y": y, "g": g}).shrinkage()
    ax = result.plot.funnel()
    lines = {line.get_label(): line for line in ax.lines}
    lower = lines["95% limits"]
    upper = ax.lines[ax.lines.index(lower) + 1]
    points = np.concatenate(scattered(ax))
    low = np.interp(points[:, 0], lower.get_xdata(), lower.get_ydata())
    high = np.interp(points[:, 0], upper.get_xdata(), upper.get_ydata())
    inside = (points[:, 1] >= low) & (points[:, 1] <= high)
    assert len(points) == len(result.posterior)
    assert 0.9 < inside.mean() <= 1.0


def test_the_prior_is_drawn_as_it_is(stores):
    line = stores.plot.prior().lines[0]
    np.testing.assert_allclose(line.get_ydata(), stores.prior_density(line.get_xdata()))
    genes = mf.eb.variances([0.4, 1.1, 0.2, 2.9, 0.7, 0.1], 3).plot.prior()
    assert genes.get_xlabel() == "Variance"


def test_pictures_use_the_axes_given_and_say_what_they_cannot_draw(stores, subjects):
    _, ax = plt.subplots()
    for draw in (stores.plot.shrinkage, stores.plot.funnel, stores.plot.prior):
        assert draw(ax=ax) is ax
    with pytest.raises(ModelError, match="ask for one term"):
        subjects.shrinkage().plot.funnel()
    regression = mf.eb.beta_binomial(SALES, VISITS, X=[1.0, 2.0, 0.0, 1.0, 0.0, 2.0])
    with pytest.raises(ModelError, match="prior means of their own"):
        regression.plot.funnel()
    with pytest.raises(ModelError, match="prior of its own"):
        regression.plot.prior()

"""The problems: a model, the data it is fitted to, and the bar mixedfit is to meet on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

__all__ = ["FASTEST", "GROWTH", "PROBLEMS", "Bar", "Growth", "Problem"]

# The peer of a bar: whichever library, mixedfit apart, reaches the optimum first in a run.
FASTEST = "fastest"

# Who fits a model that lme4's formula says whole.
_OF_FORMULAS = ("mixedfit", "mixedlm", "lme-python", "statsmodels", "lme4")


@dataclass(frozen=True)
class Bar:
    """The most time a fit may take, relative to another library in the same run.

    Attributes
    ----------
    peer : str
        A library, or `FASTEST`.
    ratio : float
        Upper bound of mixedfit's median time divided by the peer's.
    """

    peer: str
    ratio: float


@dataclass(frozen=True)
class Problem:
    """A model and its data.

    Attributes
    ----------
    name : str
    formula : str
        In lme4's language; an adapter rewrites it where its library needs another.
    make : callable
        Builds the frame; the same one each time.
    factors : tuple of str
        Columns that hold labels.
    about : str
        What the problem tries, in a sentence.
    bar : Bar
    method : str
        "REML" or "ML".
    calls : dict
        Where the formula is not the whole model: the call each library that has the model makes, in
        its own language, with ``data`` for the data and ``mf`` for mixedfit.
    seconds : float or None
        The most seconds a fit of mixedfit may take.
    """

    name: str
    formula: str
    make: Callable[[], pd.DataFrame]
    factors: tuple[str, ...]
    about: str
    bar: Bar
    method: str = "REML"
    calls: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def topic(self) -> str:
        """ "lmer", or "lme" where residuals have a structure."""
        return "lme" if self.calls else "lmer"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Who has the model, or can say why not."""
        return tuple(self.calls) or _OF_FORMULAS

    @property
    def title(self) -> str:
        """What stands at the head of its table."""
        return self.formula


@dataclass(frozen=True)
class Growth:
    """One model at growing numbers of rows, timed step by step.

    Attributes
    ----------
    name, formula, about, method
        As in `Problem`.
    sizes : tuple of int
        Numbers of rows.
    make : callable
        From a number of rows to the frame.
    ratio : float
        The bar: time of the search from ready cross-products at the most rows, divided by that at
        the fewest.
    """

    name: str
    formula: str
    about: str
    sizes: tuple[int, ...]
    make: Callable[[int], pd.DataFrame]
    ratio: float
    method: str = "REML"
    topic: ClassVar[str] = "lmer"


def _bundled(name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a data set that comes with mixedfit."""
    from mixedfit import datasets  # noqa: PLC0415  # peers' interpreters may not have mixedfit

    return datasets.load(name)[list(columns)]


def _sleepstudy() -> pd.DataFrame:
    return _bundled("sleepstudy", ["Reaction", "Days", "Subject"])


def _mathachieve() -> pd.DataFrame:
    return _bundled("mathachieve", ["MathAch", "SES", "School"])


def _insteval() -> pd.DataFrame:
    return _bundled("insteval", ["y", "service", "s", "d", "dept"])


def _labels(codes: np.ndarray, prefix: str) -> pd.Categorical:
    """Codes 0, 1, ... as labels of one width."""
    width = len(str(codes.max()))
    names = [f"{prefix}{code:0{width}d}" for code in range(codes.max() + 1)]
    return pd.Categorical.from_codes(codes, names)


def _random_slope(n: int, n_groups: int, seed: int) -> pd.DataFrame:
    """Rows spread evenly over groups, each with its own intercept and slope in x."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), n // n_groups)
    x = rng.standard_normal(n)
    effects = rng.standard_normal((n_groups, 2)) @ np.array([[0.8, 0.2], [0.0, 0.5]])
    y = 2.0 + 0.5 * x + effects[g, 0] + effects[g, 1] * x + rng.standard_normal(n)
    return pd.DataFrame({"y": y.round(6), "x": x.round(6), "g": _labels(g, "g")})


def _many_groups() -> pd.DataFrame:
    return _random_slope(1_000_000, 125_000, seed=4)


def _growing(n: int) -> pd.DataFrame:
    return _random_slope(n, 1_000, seed=7)


def _nested() -> pd.DataFrame:
    """50,000 schools of four classes, five pupils a class."""
    rng = np.random.default_rng(5)
    n_schools, n_classes, n_pupils = 50_000, 4, 5
    school = np.repeat(np.arange(n_schools), n_classes * n_pupils)
    room = np.tile(np.repeat(np.arange(n_classes), n_pupils), n_schools)
    x = rng.standard_normal(len(school))
    y = 1.0 + 0.3 * x + 0.6 * rng.standard_normal(n_schools)[school]
    y += 0.4 * rng.standard_normal(n_schools * n_classes)[school * n_classes + room]
    y += rng.standard_normal(len(school))
    labels = {"school": _labels(school, "s"), "class": _labels(room, "c")}
    return pd.DataFrame({"y": y.round(6), "x": x.round(6), **labels})


_MAXIMAL = "a + b + c + a:b + a:c"


def _maximal() -> pd.DataFrame:
    """60 subjects who each see 40 items once, eight conditions rotated over both."""
    rng = np.random.default_rng(6)
    subject, item = (index.ravel() for index in np.indices((60, 40)))
    a, b, c = (((subject + item) % 8 >> bit) % 2 - 0.5 for bit in range(3))
    X = np.column_stack([np.ones(len(a)), a, b, c, a * b, a * c])
    by_subject = rng.standard_normal((60, 6)) @ (0.4 * rng.standard_normal((6, 6)))
    by_item = rng.standard_normal((40, 6)) @ (0.3 * rng.standard_normal((6, 6)))
    y = X @ np.array([3.0, 0.5, 0.3, -0.2, 0.2, 0.0]) + rng.standard_normal(len(a))
    y += np.einsum("ik,ik->i", X, by_subject[subject] + by_item[item])
    labels = {"subject": _labels(subject, "s"), "item": _labels(item, "i")}
    return pd.DataFrame({"y": y.round(6), "a": a, "b": b, "c": c, **labels})


def _ovary() -> pd.DataFrame:
    return _bundled("ovary", ["follicles", "Time", "Mare"])


def _bodyweight() -> pd.DataFrame:
    return _bundled("bodyweight", ["weight", "Time", "Rat", "Diet"])


def _autoregressive(n_groups: int, n_times: int, seed: int) -> pd.DataFrame:
    """Groups with an intercept and a slope of their own and AR(1) residuals over the times."""
    rng = np.random.default_rng(seed)
    g, t = (index.ravel() for index in np.indices((n_groups, n_times)))
    x = rng.standard_normal(len(g))
    effects = rng.standard_normal((n_groups, 2)) * [1.0, 0.1]
    y = 1.0 + 0.5 * x + 0.2 * t + effects[g, 0] + effects[g, 1] * t
    y += _ar1(rng, n_groups, n_times).ravel()
    return pd.DataFrame({"y": y.round(6), "x": x.round(6), "t": t, "g": _labels(g, "g")})


def _ar1(rng: np.random.Generator, n_groups: int, n_times: int) -> np.ndarray:
    """Series of unit variance with lag-one correlation 0.6, one a row."""
    e = rng.standard_normal((n_groups, n_times))
    for time in range(1, n_times):
        e[:, time] = 0.6 * e[:, time - 1] + 0.8 * e[:, time]
    return e


def _many_series() -> pd.DataFrame:
    return _autoregressive(2_000, 20, seed=8)


def _long_series() -> pd.DataFrame:
    return _autoregressive(10_000, 20, seed=9)


def _crossed_series() -> pd.DataFrame:
    """500 subjects who each rate 40 of 300 items one after the other, with AR(1) residuals."""
    rng = np.random.default_rng(10)
    s, t = (index.ravel() for index in np.indices((500, 40)))
    i = np.concatenate([rng.permutation(300)[:40] for _ in range(500)])
    x = rng.standard_normal(len(s))
    y = 1.0 + 0.5 * x + rng.standard_normal(500)[s] + 0.5 * rng.standard_normal(300)[i]
    y += _ar1(rng, 500, 40).ravel()
    labels = {"t": _labels(t, "t"), "s": _labels(s, "s"), "i": _labels(i, "i")}
    return pd.DataFrame({"y": y.round(6), "x": x.round(6), "time": t, **labels})


_OVARY = "follicles ~ sin(2*pi*Time) + cos(2*pi*Time)"

_STRUCTURED = (
    Problem(
        "ovary",
        f"{_OVARY}, pdDiag(~ sin(2*pi*Time)), corAR1()",
        _ovary,
        ("Mare",),
        "308 rows of 11 mares, AR(1) residuals: what a call with a correlation costs.",
        Bar("nlme", 1.0),
        calls={
            "mixedfit": f"mf.lme('{_OVARY}', {{'Mare': mf.PdDiag('~ sin(2*pi*Time)')}}, data, "
            "correlation=mf.CorAR1())",
            "nlme": f"lme({_OVARY}, data, list(Mare = pdDiag(~ sin(2*pi*Time))), "
            "correlation = corAR1())",
        },
    ),
    Problem(
        "bodyweight",
        "weight ~ Time * Diet, ~ Time | Rat, varPower(), corExp(form = ~ Time)",
        _bodyweight,
        ("Rat", "Diet"),
        "176 rows of 16 rats: variances that follow the fitted values, and their outer loop.",
        Bar("nlme", 1.0),
        calls={
            "mixedfit": "mf.lme('weight ~ Time * Diet', '~ Time | Rat', data, "
            "weights=mf.VarPower(), correlation=mf.CorExp(form='~ Time'))",
            "nlme": "lme(weight ~ Time * Diet, data, ~ Time | Rat, weights = varPower(), "
            "correlation = corExp(form = ~ Time))",
        },
    ),
    Problem(
        "series",
        "y ~ x + t, ~ t | g, corAR1(form = ~ t | g)",
        _many_series,
        ("g",),
        "40,000 rows, 2,000 subjects of 20 times: a random slope with AR(1) residuals.",
        Bar("nlme", 0.2),
        calls={
            "mixedfit": "mf.lme('y ~ x + t', '~ t | g', data, "
            "correlation=mf.CorAR1(form='~ t | g'))",
            "nlme": "lme(y ~ x + t, data, ~ t | g, correlation = corAR1(form = ~ t | g))",
        },
    ),
    Problem(
        "long_series",
        "y ~ x + t, ~ t | g, corAR1(form = ~ t | g)",
        _long_series,
        ("g",),
        "200,000 rows, 10,000 subjects of 20 times.",
        Bar("nlme", 0.2),
        seconds=5.0,
        calls={
            "mixedfit": "mf.lme('y ~ x + t', '~ t | g', data, "
            "correlation=mf.CorAR1(form='~ t | g'))",
            "nlme": "lme(y ~ x + t, data, ~ t | g, correlation = corAR1(form = ~ t | g))",
        },
    ),
    Problem(
        "crossed_series",
        "y ~ x + (1 | s) + (1 | i), corAR1(form = ~ time | s)",
        _crossed_series,
        ("t", "s", "i"),
        "20,000 rows, 500 subjects crossed with 300 items, AR(1) residuals.",
        Bar("glmmTMB", 0.2),
        seconds=5.0,
        method="ML",
        calls={
            "mixedfit": "mf.lmer('y ~ x + (1 | s) + (1 | i)', data, method='ML', "
            "correlation=mf.CorAR1(form='~ time | s'))",
            "glmmTMB": "glmmTMB(y ~ x + (1 | s) + (1 | i) + ar1(t + 0 | s), data, "
            "dispformula = ~ 0)",
        },
    ),
)

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "sleepstudy",
            "Reaction ~ Days + (Days | Subject)",
            _sleepstudy,
            ("Subject",),
            "180 rows, 18 subjects: what a call costs before the arithmetic matters.",
            Bar("mixedlm", 0.8),
        ),
        Problem(
            "mathachieve",
            "MathAch ~ SES + (SES | School)",
            _mathachieve,
            ("School",),
            "7,185 pupils of 160 schools: the ordinary multilevel model.",
            Bar(FASTEST, 0.8),
        ),
        Problem(
            "insteval",
            "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
            _insteval,
            ("service", "s", "d", "dept"),
            "73,421 ratings, 2,972 students crossed with 1,128 lecturers: fill-in.",
            Bar("mixedlm", 0.25),
        ),
        Problem(
            "many_groups",
            "y ~ x + (x | g)",
            _many_groups,
            ("g",),
            "1,000,000 rows in 125,000 groups: the cost of a group.",
            Bar("mixedlm", 0.6),
        ),
        Problem(
            "nested",
            "y ~ x + (1 | school/class)",
            _nested,
            ("school", "class"),
            "1,000,000 rows, 50,000 schools of four classes: nesting without fill-in.",
            Bar("mixedlm", 0.6),
        ),
        Problem(
            "maximal",
            f"y ~ {_MAXIMAL} + ({_MAXIMAL} | subject) + ({_MAXIMAL} | item)",
            _maximal,
            ("subject", "item"),
            "2,400 rows, six correlated effects by subject and by item: a search over 42 numbers.",
            Bar("lme4", 0.03),
        ),
        *_STRUCTURED,
    )
}

GROWTH = Growth(
    "growth",
    "y ~ x + (x | g)",
    "1,000 groups of more and more rows: what follows the cross-products is not to grow.",
    (10_000, 100_000, 1_000_000),
    _growing,
    1.5,
)

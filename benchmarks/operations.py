"""What is done besides fitting a formula: a call of mixedfit, and the same work of an R package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.problems import Bar

if TYPE_CHECKING:
    import mixedfit

__all__ = ["OPERATIONS", "Operation"]

Prepared = Callable[[pd.DataFrame], Callable[[], Any]]


@dataclass(frozen=True)
class Operation:
    """A call that is timed, and the numbers it is compared by.

    Attributes
    ----------
    name : str
    call : str
        What is called, as a user of mixedfit writes it.
    about : str
        What the operation tries, in a sentence.
    topic : {"kenward-roger", "intervals", "eb"}
    make : callable
        Builds the frame; the same one each time.
    factors : tuple of str
        Columns that hold labels.
    prepare : callable
        From the frame to a function without arguments; what is done before is not timed.
    numbers : callable
        From what that function returns to the numbers to agree on; none of random results.
    peer : str or None
        The R package that does the same; `bench_operation.R` holds its call.
    routine, option : str
        Which function there, and its argument.
    bar : Bar or None
        On the time relative to the peer's.
    seconds : float or None
        The most seconds a call may take.
    """

    name: str
    call: str
    about: str
    topic: str
    make: Callable[[], pd.DataFrame]
    factors: tuple[str, ...]
    prepare: Prepared
    numbers: Callable[[Any], Any] = lambda _: ()
    peer: str | None = None
    routine: str = ""
    option: str = ""
    bar: Bar | None = None
    seconds: float | None = None

    @property
    def libraries(self) -> tuple[str, ...]:
        """Who can do it."""
        return ("mixedfit",) if self.peer is None else ("mixedfit", self.peer)

    @property
    def title(self) -> str:
        """What stands at the head of its table."""
        return self.call


def _crossed(n: int, subjects: int, items: int) -> pd.DataFrame:
    """Responses of subjects to items, with a slope a subject."""
    rng = np.random.default_rng(20250612)
    s, i, x = rng.integers(0, subjects, n), rng.integers(0, items, n), rng.standard_normal(n)
    u, slope, v = (rng.standard_normal(k) for k in (subjects, subjects, items))
    f = rng.choice(list("abc"), n)
    y = 5 + 0.3 * x + (f == "b") + u[s] + 0.5 * slope[s] * x + v[i] + 1.5 * rng.standard_normal(n)
    return pd.DataFrame({"y": y, "x": x, "f": f, "s": s, "i": i}).astype(
        {"f": "category", "s": "category", "i": "category"}
    )


def _sleepstudy() -> pd.DataFrame:
    from mixedfit import datasets  # noqa: PLC0415  # peers' interpreters may not have mixedfit

    return datasets.load("sleepstudy")[["Reaction", "Days", "Subject"]]


def _units(n: int) -> pd.DataFrame:
    """Four in five true values are 0, the others normal."""
    rng = np.random.default_rng(3)
    truth = np.where(rng.random(n) < 0.8, 0.0, rng.normal(0.0, 2.0, n))
    se = rng.uniform(0.5, 1.5, n)
    return pd.DataFrame({"y": truth + se * rng.standard_normal(n), "se": se})


def _stores(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    visits = rng.integers(20, 200, n)
    return pd.DataFrame({"y": rng.binomial(visits, rng.beta(5, 95, n)), "n": visits})


def _genes(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    x = rng.normal(size=n)
    sigma2 = np.exp(0.3 * x) * 6.0 / rng.chisquare(6.0, n)
    return pd.DataFrame({"s2": sigma2 * rng.chisquare(4.0, n) / 4.0, "df": 4.0, "x": x})


def _kenward_roger(data: pd.DataFrame) -> Callable[[], Any]:
    """The adjusted covariance and the degrees of freedom of all coefficients, after the fit."""
    import mixedfit as mf  # noqa: PLC0415

    fit = mf.lmer("y ~ x + f + (x | s) + (1 | i)", data)

    def run() -> pd.DataFrame:
        fit.fit.computed.clear()  # what an earlier call found
        return fit.coef_table(ddf="kenward-roger")

    return run


def _of_sleepstudy(
    call: Callable[[mixedfit.MixedResults], Any], data: pd.DataFrame
) -> Callable[[], Any]:
    import mixedfit as mf  # noqa: PLC0415

    return partial(call, mf.lmer("Reaction ~ Days + (Days | Subject)", data))


def _means(data: pd.DataFrame, **options: str) -> Callable[[], Any]:
    import mixedfit as mf  # noqa: PLC0415

    return partial(mf.eb.normal_means, data["y"], data["se"], **options)


def _proportions(data: pd.DataFrame) -> Callable[[], Any]:
    import mixedfit as mf  # noqa: PLC0415

    return partial(mf.eb.beta_binomial, data["y"], data["n"])


def _variances(data: pd.DataFrame, option: str) -> Callable[[], Any]:
    import mixedfit as mf  # noqa: PLC0415

    covariate = data["x"] if option == "trend" else None
    return partial(
        mf.eb.variances, data["s2"], data["df"], covariate=covariate, robust=option == "robust"
    )


def _kenward_roger_at(rows: int, subjects: int, items: int, **others: Any) -> Operation:
    return Operation(
        f"kenward_roger_{rows}",
        "lmer('y ~ x + f + (x | s) + (1 | i)', data).coef_table(ddf='kenward-roger')",
        f"{rows:,} rows, {subjects} subjects crossed with {items} items; the fit is not timed.",
        "kenward-roger",
        partial(_crossed, rows, subjects, items),
        ("f", "s", "i"),
        _kenward_roger,
        lambda table: np.concatenate([table["se"], table["df"]]),
        routine="kenward_roger",
        **others,
    )


def _means_of(n: int, method: str, metafor: str) -> Operation:
    return Operation(
        f"means_{n}_{metafor.lower()}",
        f"eb.normal_means(y, se, method='{method}')",
        f"{n:,} normal means; metafor keeps matrices of units by units.",
        "eb",
        partial(_units, n),
        (),
        partial(_means, method=method),
        lambda result: [result.prior["tau2"]],
        peer="metafor",
        routine="means",
        option=metafor,
    )


def _many_means(prior: str, seconds: float) -> Operation:
    return Operation(
        f"means_million_{prior.replace('-', '_')}",
        f"eb.normal_means(y, se, prior='{prior}')",
        "1,000,000 normal means.",
        "eb",
        partial(_units, 1_000_000),
        (),
        partial(_means, prior=prior),
        seconds=seconds,
    )


def _proportions_of(n: int, **others: Any) -> Operation:
    return Operation(
        f"proportions_{n}",
        "eb.beta_binomial(y, n)",
        f"{n:,} stores, 20 to 200 visits each.",
        "eb",
        partial(_stores, n),
        (),
        _proportions,
        lambda result: [result.prior["rho"]],
        routine="proportions",
        **others,
    )


def _variances_with(option: str, arguments: str) -> Operation:
    return Operation(
        f"variances_{option}",
        f"eb.variances(s2, df{arguments})",
        "20,000 variances of 4 degrees of freedom.",
        "eb",
        partial(_genes, 20_000),
        (),
        partial(_variances, option=option),
        lambda result: result.posterior["mean"].to_numpy(),
        peer="limma",
        routine="variances",
        option=option,
    )


OPERATIONS = {
    operation.name: operation
    for operation in (
        _kenward_roger_at(600, 30, 12, peer="pbkrtest", bar=Bar("pbkrtest", 0.02)),
        _kenward_roger_at(1_500, 60, 20, peer="pbkrtest", bar=Bar("pbkrtest", 0.02)),
        _kenward_roger_at(45_000, 300, 60, seconds=5.0),
        Operation(
            "bootstrap",
            "lmer('Reaction ~ Days + (Days | Subject)', data).bootstrap(1000)",
            "1,000 parametric bootstrap refits of sleepstudy, all estimates kept.",
            "intervals",
            _sleepstudy,
            ("Subject",),
            partial(_of_sleepstudy, lambda fit: fit.bootstrap(1000, seed=1)),
            peer="lme4",
            routine="bootstrap",
            bar=Bar("lme4", 1 / 30),
            seconds=1.0,
        ),
        Operation(
            "profile",
            "lmer('Reaction ~ Days + (Days | Subject)', data).conf_int(method='profile')",
            "Profile intervals of all six parameters of sleepstudy.",
            "intervals",
            _sleepstudy,
            ("Subject",),
            partial(_of_sleepstudy, lambda fit: fit.conf_int(method="profile")),
            lambda limits: limits.to_numpy().ravel(),
            peer="lme4",
            routine="profile",
            bar=Bar("lme4", 0.1),
        ),
        _means_of(20, "reml", "REML"),
        _means_of(1_000, "reml", "REML"),
        _means_of(1_000, "dersimonian-laird", "DL"),
        _means_of(1_000, "paule-mandel", "PM"),
        _many_means("normal", 1.0),
        _many_means("point-normal", 5.0),
        _many_means("npmle", 60.0),
        _proportions_of(1_000, peer="VGAM"),
        _proportions_of(10_000, peer="VGAM"),
        _proportions_of(100_000, seconds=1.0),
        _variances_with("constant", ""),
        _variances_with("trend", ", covariate=x"),
        _variances_with("robust", ", robust=True"),
    )
}

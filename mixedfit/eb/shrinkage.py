"""What every empirical-Bayes verb returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.eb.pictures import ShrinkagePictures
from mixedfit.eb.ranking import check_ranking, ranks_from_draws
from mixedfit.errors import ModelError, check_count, check_level
from mixedfit.seeds import generator_of
from mixedfit.summary import Summary, Table, TableColumn, format_numbers, format_p_values

__all__ = ["Behaviour", "Shrinkage"]

_ROWS_SHOWN = 12


class Behaviour:
    """What a model of units can do beyond its tables; a family overrides what it can.

    A `Shrinkage` holds one and delegates to it, so that the result class knows no family.
    """

    @property
    def not_ranked(self) -> str:
        """Why the units cannot be ranked together and what to do; empty where they can."""
        return ""

    @property
    def sizes(self) -> tuple[str, Array] | None:
        """What measures a unit's data and how much it has (J,); None: its standard error does."""
        return None

    def raw_limits(self, size: Array, level: float) -> tuple[Array, Array]:
        """Where raw estimates of units of given sizes (m,) fall under the fitted prior."""
        raise ModelError("this result has no sizes")

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Joint draws of the units' values, shape (n, J)."""
        raise ModelError("this prior has no joint posterior to draw from")

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        """The prior mean for new units: estimate, se, lower, upper, and a new unit's interval."""
        raise ModelError("this result has no model of new units to predict from")

    def prior_density(self, values: Array) -> Array:
        """The fitted prior's density at values of shape (m,)."""
        raise ModelError("this prior has no density to show")

    def prior_points(self) -> tuple[Array, Array]:
        """Values the fitted prior takes with positive probability, and the probabilities."""
        return np.zeros(0), np.zeros(0)

    def prior_sensitivity(self, level: float) -> pd.DataFrame:
        """How the answer changes with the prior on the hyperparameters, one row a prior."""
        raise ModelError(
            "prior_sensitivity() needs hyperparameters that can be integrated over; this prior "
            "has none"
        )


@dataclass(frozen=True, repr=False)
class Shrinkage:
    """Units estimated together: the prior that was learned and each unit's posterior.

    Attributes
    ----------
    prior : Series
        The prior's parameters, such as ``tau2`` (squared units of the estimates).
    prior_se : Series
        Their standard errors; missing where there is none.
    coefficients : DataFrame
        The regression of the prior mean: ``term``, ``estimate``, ``se``, ``stat``, ``df``, ``p``,
        ``lower``, ``upper``.
    posterior : DataFrame
        One row a unit: ``label``, ``estimate``, ``se``, ``mean``, ``sd``, ``lower``, ``upper``,
        ``weight`` (of the unit's own data). Families add columns, such as ``lfsr``, the local
        false sign rate.
    heterogeneity : Series or None
        ``Q``, ``df``, ``p``, ``I2`` (percent), ``H2``, ``tau2_lower``, ``tau2_upper``.
    llf : float
        Log-likelihood of the prior's parameters, units integrated out.
    method : str
        How they were estimated.
    family : str
        "normal", "beta-binomial", ...
    prior_name : str
        The prior in words.
    uncertainty : str
        How the uncertainty of the prior's parameters enters the posterior; empty without a prior.
    level : float
        Of all intervals.
    notes : tuple of str
        Sentences a reader should see.
    mse : Series or None
        Estimated mean squared error of each posterior mean, where the family has one.
    components : DataFrame or None
        The components of a mixture prior and their weights.
    """

    prior: pd.Series
    prior_se: pd.Series
    coefficients: pd.DataFrame
    posterior: pd.DataFrame
    llf: float
    method: str
    family: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    heterogeneity: pd.Series | None = None
    prior_name: str = ""
    uncertainty: str = "plugin"
    level: float = 0.95
    notes: tuple[str, ...] = ()
    mse: pd.Series | None = None
    components: pd.DataFrame | None = None

    @property
    def plot(self) -> ShrinkagePictures:
        """Pictures, each of which returns matplotlib Axes: ``result.plot.shrinkage()``, ..."""
        return ShrinkagePictures(self)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.posterior)

    def sample(self, n: int = 1000, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
        """Draw all units' values from their joint posterior.

        Parameters
        ----------
        n : int
            How many draws.
        seed : int or numpy Generator, optional

        Returns
        -------
        DataFrame
            One row a draw, one column a unit, named by the units' labels.

        Raises
        ------
        DataError
            If n is not positive.
        ModelError
            If the prior is improper or only point estimates exist.

        Examples
        --------
        >>> import mixedfit as mf
        >>> result = mf.eb.normal_means([9.0, 11.0, 10.0], 0.9)
        >>> result.sample(500, seed=1).shape
        (500, 3)
        """
        draws = self.behaviour.sample(check_count(n, 1), generator_of(seed))
        return pd.DataFrame(draws, columns=pd.Index(self.posterior["label"]))

    def rank(
        self,
        k: int = 1,
        *,
        highest_first: bool = True,
        level: float | None = None,
        n: int = 4000,
        seed: int | np.random.Generator | None = 0,
    ) -> pd.DataFrame:
        """Rank the units, with the uncertainty of the ranks.

        Parameters
        ----------
        k : int
            How many places are "the top".
        highest_first : bool
            Whether rank 1 is the highest value.
        level : float, optional
            Of the rank intervals and the credible set; the result's own by default.
        n : int
            Joint posterior draws.
        seed : int or numpy Generator, optional

        Returns
        -------
        DataFrame
            One row a unit: ``label``, ``expected_rank``, ``rank_sd``, ``lower``, ``upper``,
            ``p_top`` (probability of being among the top k), ``in_top_set`` (whether in the
            smallest list, by ``p_top``, that holds all of the top k with probability `level`).
            Units that are equal in a draw are put in random order in it.

        Raises
        ------
        DataError
            If k exceeds the number of units, or n draws of them are too many to rank.
        ModelError
            If k or n is not a whole number of at least 1, or the units cannot be ranked.

        Examples
        --------
        >>> import mixedfit as mf
        >>> result = mf.eb.normal_means([1.0, 5.0, 3.0], 0.1, labels=["a", "b", "c"])
        >>> result.rank()["expected_rank"].round().tolist()
        [3.0, 1.0, 2.0]
        """
        if self.behaviour.not_ranked:
            raise ModelError(self.behaviour.not_ranked)
        level = self.level if level is None else check_level(level)
        check_ranking(n, self.n_units, k)
        rng = generator_of(seed)
        return ranks_from_draws(
            self.behaviour.sample(n, rng),
            pd.Index(self.posterior["label"]),
            k=k,
            highest_first=highest_first,
            level=level,
            seed=rng,
        )

    def predict(self, X: Any = None, *, level: float | None = None) -> pd.DataFrame:
        """The prior mean for new units, and where a new unit's true value will be.

        Parameters
        ----------
        X : frame or array of shape (m, p), optional
            Covariates of the new units; none for a model without covariates.
        level : float, optional
            Of the intervals; the result's own by default.

        Returns
        -------
        DataFrame
            ``estimate``, ``se``, ``lower``, ``upper`` of the mean, and ``prediction_lower``,
            ``prediction_upper`` of a new unit's true value.
        """
        return self.behaviour.predict(X, self.level if level is None else check_level(level))

    def prior_density(self, values: ArrayLike) -> Array:
        """The fitted prior's density.

        Parameters
        ----------
        values : array-like of shape (m,)
            In the units of the estimates.

        Returns
        -------
        array of shape (m,)
        """
        return self.behaviour.prior_density(np.atleast_1d(np.asarray(values, dtype=float)))

    def prior_sensitivity(self, *, level: float | None = None) -> pd.DataFrame:
        """Compare priors on the hyperparameters.

        Parameters
        ----------
        level : float, optional

        Returns
        -------
        DataFrame
            One row a prior, the plug-in answer first.
        """
        level = self.level if level is None else check_level(level)
        return self.behaviour.prior_sensitivity(level)

    def summary(self) -> Summary:
        """For reading: text when printed, HTML in notebooks, ``.as_latex()``."""
        facts = [
            ("Family", self.family),
            ("Prior", self.prior_name or self.family),
            ("Estimated by", self.method),
            ("Units", str(self.n_units)),
        ]
        if self.uncertainty:
            facts.insert(3, ("Uncertainty of the prior", self.uncertainty))
        if np.isfinite(self.llf):
            facts.append(("Log-likelihood", f"{self.llf:.4f}"))
        tables = [_parameters(self.prior, self.prior_se)]
        if len(self.coefficients):
            tables.append(_coefficients(self.coefficients))
        if self.heterogeneity is not None:
            tables.append(_series("Heterogeneity", self.heterogeneity))
        units = self.posterior.iloc[:_ROWS_SHOWN]
        if self.mse is not None:
            units = units.assign(mse=self.mse.to_numpy()[:_ROWS_SHOWN])
        tables.append(_units(units, self.n_units - len(units), self.level))
        return Summary("Empirical Bayes", facts, tables, self.notes)

    def __repr__(self) -> str:
        parameters = "".join(
            f", {name}={float(value):.4g}"
            for name, value in self.prior.items()
            if isinstance(value, (int, float))
        )
        prior = f", {self.prior_name} prior" if self.prior_name else ""
        return f"<Shrinkage {self.family}{prior}, {self.n_units} units, {self.method}{parameters}>"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def _parameters(prior: pd.Series, se: pd.Series) -> Table:
    columns = [
        TableColumn("parameter", [str(name) for name in prior.index], "left"),
        TableColumn("estimate", [format_numbers([v])[0] for v in prior]),
    ]
    aligned = se.reindex(prior.index)
    if aligned.notna().any():
        columns.append(TableColumn("std. error", [format_numbers([v])[0] for v in aligned]))
    return Table("Prior", columns)


def _coefficients(frame: pd.DataFrame) -> Table:
    columns = [TableColumn("term", [str(t) for t in frame["term"]], "left")]
    for name, heading in (("estimate", "estimate"), ("se", "std. error"), ("stat", "statistic")):
        columns.append(TableColumn(heading, format_numbers(frame[name])))
    if np.isfinite(frame["df"]).any():
        columns.append(TableColumn("df", format_numbers(frame["df"])))
    columns.append(TableColumn("p", format_p_values(frame["p"])))
    columns.extend(
        TableColumn(name, format_numbers(frame[name]))
        for name in ("lower", "upper")
        if name in frame
    )
    return Table("Mean of the prior", columns)


def _series(title: str, values: pd.Series) -> Table:
    names = [str(name) for name in values.index]
    cells = [_cell(name.split("_")[0], value) for name, value in zip(names, values, strict=True)]
    return Table(title, [TableColumn("", names, "left"), TableColumn("value", cells)])


def _cell(kind: str, value: float) -> str:
    """A p-value, whole degrees of freedom, or any other number."""
    if kind == "p":
        return format_p_values([value])[0]
    if kind == "df" and float(value).is_integer():
        return f"{value:.0f}"
    return format_numbers([value])[0]


# Columns of the units table that are in the units of the estimates.
_MEASURED = ("estimate", "se", "mean", "sd", "lower", "upper")


def _cells(numbers: pd.DataFrame, name: str, decimals: int | None) -> list[str]:
    """One column as text; measured columns share their decimals."""
    values = numbers[name]
    if pd.api.types.is_integer_dtype(values.dtype):
        return [str(value) for value in values]
    if name == "lfsr":
        return format_p_values(values)
    if name in _MEASURED and decimals is not None:
        return [f"{v:.{decimals}f}" if np.isfinite(v) else format_numbers([v])[0] for v in values]
    return format_numbers(values)


def _decimals(numbers: pd.DataFrame) -> int | None:
    """Decimals that give a typical standard error three digits; None where too many."""
    for name in ("se", "sd"):
        sizes = numbers[name][numbers[name] > 0.0] if name in numbers else ()
        if len(sizes):
            decimals = 2 - int(np.floor(np.log10(np.median(sizes))))
            return max(decimals, 0) if decimals <= 6 else None
    return None


def _units(shown: pd.DataFrame, left: int, level: float) -> Table:
    numbers = shown.select_dtypes("number").drop(columns="label", errors="ignore")
    decimals = _decimals(numbers)
    columns = [
        TableColumn("unit", [str(label) for label in shown["label"]], "left"),
        *(TableColumn(str(c), _cells(numbers, str(c), decimals)) for c in numbers.columns),
    ]
    notes = [f"  ... and {left} more units"] if left else []
    return Table(f"Units ({100 * level:g}% intervals)", columns, notes)

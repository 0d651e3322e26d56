"""What a result says of rows: fitted, residual, predicted, simulated."""

from __future__ import annotations

from typing import Any, Self, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit import grouping_levels
from mixedfit import predict as prediction
from mixedfit.arrays import Array
from mixedfit.errors import DataError
from mixedfit.fit import refit
from mixedfit.prediction_intervals import Interval, predict_interval
from mixedfit.results.fitted import FittedModel

__all__ = ["Rows"]


class Rows(FittedModel):
    """Fitted values, residuals, predictions, simulations."""

    @property
    def fittedvalues(self) -> pd.Series:
        """Fitted values with the random effects, one a row used."""
        return self._rows(prediction.fitted_values(self.fit), "fittedvalues")

    @property
    def resid(self) -> pd.Series:
        """Observed less fitted, one a row used."""
        return self.residuals()

    def fitted_at(self, level: int | None = None) -> pd.Series:
        """Fitted values at a level of nested grouping factors, as nlme counts them.

        Parameters
        ----------
        level : int, optional
            0 for the population, 1 with the random effects of the outermost groups, and so on; by
            default the innermost.

        Returns
        -------
        Series
            One value a row used.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lme("Yield ~ 1", "~ 1 | Batch", mf.datasets.load("dyestuff"))
        >>> fit.fitted_at(0).iloc[0].round(2), fit.fitted_at(1).iloc[0].round(2)
        (np.float64(1527.5), np.float64(1509.89))
        """
        return grouping_levels.fitted_at(self.fit, level).rename("fitted")

    def residuals(
        self, kind: prediction.ResidualKind = "response", level: int | None = None
    ) -> pd.Series:
        """Residuals, one a row used.

        Parameters
        ----------
        kind : {"response", "pearson", "normalized"}
            Observed less fitted; divided by each row's residual standard deviation; and made
            uncorrelated as well.
        level : int, optional
            Of nested grouping factors, as for `fitted_at`; by default with all random effects.
        """
        fitted = None if level is None else self.fitted_at(level).to_numpy()
        return self._rows(prediction.residuals(self.fit, kind, fitted), "resid")

    def _rows(self, values: Array, name: str) -> pd.Series:
        return pd.Series(values, index=self.fit.design.index, name=name)

    @overload
    def predict(
        self,
        newdata: Any = ...,
        *,
        groups: prediction.Groups = ...,
        new_levels: prediction.NewLevels = ...,
        residual: prediction.ResidualPart = ...,
        interval: None = ...,
        level: float = ...,
    ) -> pd.Series: ...

    @overload
    def predict(
        self,
        newdata: Any = ...,
        *,
        groups: prediction.Groups = ...,
        new_levels: prediction.NewLevels = ...,
        residual: prediction.ResidualPart = ...,
        interval: Interval,
        level: float = ...,
    ) -> pd.DataFrame: ...

    def predict(
        self,
        newdata: Any = None,
        *,
        groups: prediction.Groups = "all",
        new_levels: prediction.NewLevels = "raise",
        residual: prediction.ResidualPart = None,
        interval: Interval | None = None,
        level: float = 0.95,
    ) -> pd.Series | pd.DataFrame:
        """Predict the mean response, or an interval for it or for a new observation.

        Parameters
        ----------
        newdata : pandas, polars or pyarrow frame, or dict of columns, optional
            By default the rows of the fit.
        groups : "all", "none" or list of str
            Grouping factors whose random effects are included.
        new_levels : {"raise", "population"}
            Levels the fit did not have: an error that names them, or random effects of zero.
        residual : {None, "conditional"}
            Add the residual to expect given the observed residuals it is correlated with: for
            further rows of groups in the fit, in models with a correlation structure.
        interval : {None, "confidence", "prediction"}
            "confidence" is for the mean of a row given the levels that are included; levels left
            out or new are averaged over. "prediction" is for a new observation: it adds the
            residual variance and, for every level left out or new, that of its effects.
            Observations have the weights of the fit's rows, and weight 1 in ``newdata``; a variance
            function is taken at each row. Their residuals count as independent of those observed;
            with ``residual="conditional"`` as correlated with them, and the variance is what is
            left when those are known.
        level : float
            Of the intervals.

        Returns
        -------
        Series or DataFrame
            One value a row; with an interval the columns estimate, se, lower, upper. Missing where
            a value it needs is missing.

        Raises
        ------
        DataError
            If a column is missing or holds levels the fit did not have.

        Notes
        -----
        Intervals count that fixed and random effects are estimated together, and that their
        covariances are estimated: see `mixedfit.prediction_intervals`.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> new = {"Days": [0, 10], "Subject": [308, 999]}
        >>> fit.predict(new, new_levels="population").round(2).tolist()
        [253.66, 356.08]
        >>> fit.predict(new, new_levels="population", interval="prediction").round(1)
           estimate    se  lower  upper
        0     253.7  29.1  196.3  311.1
        1     356.1  72.3  205.1  507.1
        """
        if interval is not None:
            return predict_interval(
                self.fit, newdata, groups, new_levels, interval, level, residual
            )
        return prediction.predict(self.fit, newdata, groups, new_levels, residual)

    def simulate(self, n: int = 1, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
        """Draw responses from the fitted model, with new random effects.

        Parameters
        ----------
        n : int
            How many.
        seed : int or numpy Generator, optional

        Returns
        -------
        DataFrame
            One row a row used, columns ``sim_1`` to ``sim_n``.
        """
        return prediction.simulate(self.fit, n, seed)

    def refit(self, y: ArrayLike) -> Self:
        """Fit the same model to another response.

        Parameters
        ----------
        y : array-like of shape (nobs,)
            One finite number a row used.

        Returns
        -------
        MixedResults
        """
        try:
            values = np.array(y, dtype=float)
        except (TypeError, ValueError):
            raise DataError("the response must be numbers, one for each row used") from None
        if values.shape != (self.nobs,):
            raise DataError(f"the response must have one value for each of {self.nobs} rows used")
        if not np.isfinite(values).all():
            raise DataError("the response must be finite in every row")
        return type(self)(refit(self.fit, values))

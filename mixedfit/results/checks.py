"""How far a result can be trusted."""

from __future__ import annotations

from numpy.typing import ArrayLike

from mixedfit.diagnostics import Diagnostics
from mixedfit.explain import Explanation, explain
from mixedfit.influence import Influence, influence
from mixedfit.pictures import Pictures
from mixedfit.profile import profile
from mixedfit.results.fitted import FittedModel

__all__ = ["Checks"]


class Checks(FittedModel):
    """Explanations, diagnostics, influence, pictures."""

    def explain(self) -> Explanation:
        """What the verdict means, in plain words: text when printed, HTML in notebooks.

        For a boundary fit it names the combination of each term's columns that has no variance, and
        simpler models nested in this one as formulas that paste into `lmer`.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff2"))
        >>> list(fit.explain().simpler)
        [('Yield ~ 1', 'without (1 | Batch), an ordinary regression: fits as well')]
        """
        return explain(self.fit)

    @property
    def plot(self) -> Pictures:
        """Pictures, each of which returns matplotlib Axes: ``fit.plot.residuals()``, ..."""
        return Pictures(self.fit, lambda name: profile(self.fit, parameters=name).to_frame())

    @property
    def diagnostics(self) -> Diagnostics:
        """Checks of the model's assumptions, as tables: residuals, Q-Q, autocorrelation, ..."""
        return Diagnostics(self.fit)

    def influence(self, group: str | ArrayLike | None = None, refit: bool = False) -> Influence:
        """Leave out each row, or all rows of each level, and see what changes.

        Parameters
        ----------
        group : str or array-like, optional
            A grouping factor of the fit, or one label a row (any grouping, such as a column of the
            data); by default single rows.
        refit : bool
            Fit again without each, variance parameters included. By default those are held, and
            everything follows from this fit, exactly and at once.

        Returns
        -------
        Influence
            ``.cooks_distance``, ``.dfbetas``, ``.covratio``, ``.leverage``, ``.to_frame()``.

        Raises
        ------
        DataError
            If there is no such grouping factor, or the labels do not fit the rows.

        Notes
        -----
        With the variances held, the estimates without rows I are those of the model in which each
        row of I has a mean of its own, ``b - b_(I) = C X'V^-1 D (D'P D)^-1 D'P y`` for D the
        columns of the identity in I (Christensen, Pearson & Johnson 1992, Technometrics 34).

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.influence("Subject").cooks_distance.nlargest(2).round(3).to_dict()
        {'309': 0.149, '335': 0.129}
        """
        return influence(self.fit, group, refit)

"""Inference about the fixed effects: their covariance and denominator degrees of freedom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast, get_args

import numpy as np

from mixedfit.arrays import Array
from mixedfit.containment import Containment
from mixedfit.errors import MixedfitError, ModelError
from mixedfit.fit import Fit
from mixedfit.kenward_roger import kenward_roger
from mixedfit.linalg import symmetric_eigen
from mixedfit.residual_directions import ResidualDirections
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.satterthwaite import satterthwaite
from mixedfit.tails import f_tail
from mixedfit.threads import one_thread
from mixedfit.vcov import model_covariance

__all__ = ["Ddf", "FixedInference", "JointTest", "containment", "default_ddf", "inference"]

Ddf = Literal["satterthwaite", "kenward-roger", "containment", "residual", "normal"]

# Singular value, relative to the largest, below which rows of a hypothesis repeat others.
_REPEATED = 1e-8


_DESCRIBED: dict[str, str] = {
    "satterthwaite": "degrees of freedom by Satterthwaite's method",
    "kenward-roger": "standard errors and degrees of freedom by Kenward and Roger's method",
    "containment": "degrees of freedom by containment",
    "residual": "degrees of freedom: rows less fixed effects",
    "normal": "normal distribution, with the variances taken as known",
    "CR0": "cluster-robust (CR0) standard errors and degrees of freedom",
    "CR1": "cluster-robust (CR1) standard errors and degrees of freedom",
    "CR2": "cluster-robust (CR2) standard errors and degrees of freedom",
}


class Denominator(Protocol):
    """A rule for denominator degrees of freedom; columns of L are those of X."""

    def df(self, L: Array) -> Array:
        """Of each row of L on its own, shape (m, p) to (m,)."""

    def joint(self, L: Array) -> tuple[float, float]:
        """Of F for L of shape (q, p) and rank q, and the factor F is multiplied with."""


@dataclass(frozen=True)
class _Fixed:
    """The same degrees of freedom for every contrast: infinitely many, or those of the residual."""

    value: float

    def df(self, L: Array) -> Array:
        return np.full(len(L), self.value)

    def joint(self, L: Array) -> tuple[float, float]:
        return self.value, 1.0


@dataclass(frozen=True)
class _Contained:
    """The fewest degrees of freedom of the coefficients a contrast involves."""

    of_columns: Array
    of_means: Array

    def df(self, L: Array) -> Array:
        size = np.abs(L).max(axis=1, initial=0.0)
        involved = np.abs(L) > 1e-8 * size[:, None]
        fewest = np.where(involved, self.of_columns, np.inf).min(axis=1, initial=np.inf)
        return np.where(involved.any(axis=1), fewest, np.nan)

    def joint(self, L: Array) -> tuple[float, float]:
        return float(self.df(L).min()), 1.0


@dataclass(frozen=True)
class JointTest:
    """A test of several contrasts at once.

    Attributes
    ----------
    num_df : int
        Rank of the hypothesis.
    den_df : float
        inf for the chi-squared test divided by its degrees of freedom.
    F : float
        Already scaled where Kenward and Roger's method scales it.
    p : float
    """

    num_df: int
    den_df: float
    F: float
    p: float


@dataclass(frozen=True)
class FixedInference:
    """Covariance and degrees of freedom of the fixed effects by one method.

    Attributes
    ----------
    method : str
        What was used: "satterthwaite", "kenward-roger" (which gives way to Satterthwaite where a
        covariance is not linear in its parameters), "containment", "residual", "normal", or the
        name of a robust covariance.
    note : str
        Empty, or a sentence for the user.
    estimates : array of shape (p,)
    covariance : array of shape (p, p)
        Of the estimates, adjusted by Kenward-Roger, in the user's units.
    denominator : Denominator
    inflation : float
        What tests multiply the covariance with: ``n / (n - p)`` after lme by maximum likelihood.
    """

    method: str
    note: str
    estimates: Array
    covariance: Array
    denominator: Denominator
    inflation: float = 1.0

    @property
    def described(self) -> str:
        """The method in words, to follow a comma."""
        return _DESCRIBED[self.method]

    @property
    def sentence(self) -> str:
        """The method in words, as a sentence."""
        return f"{self.described[0].upper()}{self.described[1:]}."

    @property
    def for_means(self) -> FixedInference:
        """The same for means over the groups: containment then counts the groups."""
        if not isinstance(self.denominator, _Contained):
            return self
        return replace(
            self, denominator=replace(self.denominator, of_columns=self.denominator.of_means)
        )

    def df(self, L: Array) -> Array:
        """Degrees of freedom of each row of L on its own, shape (m, p) to (m,)."""
        return self.denominator.df(L)

    def se(self, L: Array) -> Array:
        """Standard error of each row of L, shape (m, p) to (m,)."""
        variances = np.einsum("ia,ab,ib->i", L, self.covariance, L, optimize=True)
        return np.sqrt(self.inflation * np.maximum(variances, 0.0))

    def joint(self, L: Array, value: Array | None = None) -> JointTest:
        """Test all rows of L at once.

        Parameters
        ----------
        L : array of shape (q, p)
        value : array of shape (q,), optional
            What ``L b`` is under the hypothesis; by default zero.

        Returns
        -------
        JointTest
            With ``num_df`` 0 and no number else where L has no rank.

        Raises
        ------
        ModelError
            If rows that repeat others ask for different values.
        """
        value = np.zeros(len(L)) if value is None else value
        L, value = _independent_rows(L, value, self.covariance)
        q = len(L)
        if q == 0:
            return JointTest(0, np.nan, np.nan, np.nan)
        rest = L @ self.estimates - value
        F = float(rest @ np.linalg.solve(L @ self.covariance @ L.T, rest)) / q
        den_df, scale = self.denominator.joint(L)
        F *= scale / self.inflation
        return JointTest(q, den_df, F, f_tail(F, q, den_df))


def _independent_rows(L: Array, value: Array, covariance: Array) -> tuple[Array, Array]:
    """The hypothesis ``L b = value`` in as many rows as it has rank.

    Rows that are independent stay as they are; others become uncorrelated combinations of them.
    """
    scale = np.sqrt(covariance.diagonal())
    length = np.linalg.norm(L * scale, axis=1)
    used = length > 0.0
    if np.any(value[~used] != 0.0):
        raise ModelError("a contrast of zeros cannot equal anything but zero")
    L, value, length = L[used], value[used], length[used]
    U, s, _ = np.linalg.svd(L * scale / length[:, None], full_matrices=False)
    rank = int((s > _REPEATED * s.max(initial=0.0)).sum())
    if rank == len(L):
        return L, value
    target = value / length
    rest = target - U[:, :rank] @ (U[:, :rank].T @ target)
    if np.abs(rest).max() > 1e-6 * np.abs(target).max():
        raise ModelError(
            "rows of the hypothesis repeat others but ask for different values; "
            "leave out the rows that repeat"
        )
    _, vectors = symmetric_eigen(L @ covariance @ L.T)
    rotation = vectors[:, len(L) - rank :].T
    return rotation @ L, rotation @ value


def default_ddf(fit: Fit) -> Ddf:
    """The degrees of freedom a fit's verb reports: those of lmerTest and nlme."""
    return _DEFAULTS[fit.verb]


_DEFAULTS: dict[str, Ddf] = {"lmer": "satterthwaite", "lme": "containment", "gls": "residual"}


def inference(fit: Fit, ddf: Ddf | None = None) -> FixedInference:
    """Covariance and degrees of freedom of the fixed effects.

    Parameters
    ----------
    fit : Fit
    ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
        By default the one the fit's verb reports.

    Returns
    -------
    FixedInference
        Kept with the fit: asked for again it costs nothing.

    Raises
    ------
    MixedfitError
        If ddf is none of the methods.
    ModelError
        For Kenward-Roger after maximum likelihood: it is a method for REML estimates.
    """
    ddf = default_ddf(fit) if ddf is None else check_ddf(ddf)
    key = f"inference {ddf}"
    if key not in fit.computed:
        with one_thread():
            fit.computed[key] = _with_verdict(fit, _MAKERS[ddf](fit))
    return cast("FixedInference", fit.computed[key])


def _with_verdict(fit: Fit, made: FixedInference) -> FixedInference:
    """The same with a warning where the search did not end at an optimum."""
    if fit.optimum.status != "stalled":
        return made
    warning = "The fit is stalled: do not trust standard errors, degrees of freedom or p-values."
    return replace(made, note=f"{warning} {made.note}".strip())


def check_ddf(ddf: str) -> Ddf:
    """The name of a method, or an error that lists them."""
    if ddf not in get_args(Ddf):
        allowed = ", ".join(repr(name) for name in get_args(Ddf))
        raise MixedfitError(f"ddf must be one of {allowed}, not {ddf!r}")
    return cast("Ddf", ddf)


def _made(fit: Fit, method: Ddf, denominator: Denominator, note: str = "") -> FixedInference:
    return FixedInference(method, note, fit.estimate.beta, model_covariance(fit), denominator)


def _satterthwaite(fit: Fit, note: str = "") -> FixedInference:
    total = fit.estimate.basis.fixed.total
    if fit.optimum.status == "boundary":
        note = (
            f"{note} " if note else ""
        ) + "A variance or correlation is at its limit: only the free ones count as uncertain."
    return _made(fit, "satterthwaite", satterthwaite(fit.evaluation).transformed(total), note)


def _kenward_roger(fit: Fit) -> FixedInference:
    if fit.method != "REML":
        raise ModelError(
            "Kenward-Roger's method is for REML estimates and this is a maximum likelihood fit: "
            "fit it with method='REML', or use ddf='satterthwaite'"
        )
    method = kenward_roger(fit.evaluation, _rows(fit))
    if method is None:
        return _satterthwaite(
            fit,
            "Satterthwaite's method was used: Kenward-Roger's needs covariances that are linear "
            "in their parameters.",
        )
    method = method.transformed(fit.estimate.basis.fixed.total)
    note = ""
    if fit.optimum.status == "boundary":
        note = (
            "A variance or correlation is at its limit: all variances count as uncertain, those "
            "estimated as zero too."
        )
    covariance = fit.estimate.sigma**2 * method.adjusted
    return FixedInference("kenward-roger", note, fit.estimate.beta, covariance, method)


def _rows(fit: Fit) -> ResidualDirections | None:
    """The directions of a residual covariance that is linear in its parameters."""
    point = fit.evaluation
    if not isinstance(point, ResidualEvaluation) or not len(point.delta):
        return None
    directions = ResidualDirections(point)
    return directions if directions.linear else None


def containment(fit: Fit) -> Containment:
    """The strata of a fit's columns."""
    return Containment(fit.design.X, tuple(factor.codes for factor in fit.design.factors))


def _containment(fit: Fit) -> FixedInference:
    rule = containment(fit)
    notes, inflation = [], 1.0
    if fit.verb == "lme" and fit.method == "ML":
        # Tests of nlme's summary and anova count the fixed effects in sigma; intervals() does not.
        notes.append(
            "Standard errors allow for the fixed effects in sigma: its square times n / (n - p)."
        )
        inflation = fit.n / (fit.n - fit.p)
    exhausted = ", ".join(fit.design.names[np.isnan(rule.of_columns)])
    if exhausted:
        notes.append(
            f"No degrees of freedom are left for {exhausted}: there are as many coefficients as "
            "levels to tell them by."
        )
    denominator = _Contained(rule.of_columns, rule.of_means)
    made = _made(fit, "containment", denominator, " ".join(notes))
    return replace(made, inflation=inflation)


def _residual(fit: Fit) -> FixedInference:
    return _made(fit, "residual", _Fixed(float(fit.n - fit.p)))


def _normal(fit: Fit) -> FixedInference:
    return _made(fit, "normal", _Fixed(np.inf))


_MAKERS = {
    "satterthwaite": _satterthwaite,
    "kenward-roger": _kenward_roger,
    "containment": _containment,
    "residual": _residual,
    "normal": _normal,
}

"""What the verdict on a fit means, in plain words and the user's columns."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mixedfit.arrays import Array, BoolArray
from mixedfit.covariance import Unstructured
from mixedfit.design import RandomTerm
from mixedfit.estimate import TermEstimate
from mixedfit.fit import Fit
from mixedfit.formula import backticked, without_random_terms
from mixedfit.matrices import TermColumns
from mixedfit.optimize import held_at_bounds
from mixedfit.reduction import separable
from mixedfit.summary import format_numbers

__all__ = ["Explanation", "explain", "zero_columns"]

# Levels below which a variance rests on very little.
_FEW_LEVELS = 6
# Share of a term's largest variance below which one counts as zero.
_ZERO = 1e-12


@dataclass(frozen=True, repr=False)
class Explanation:
    """A verdict explained: prints as text, shows as HTML in notebooks.

    Attributes
    ----------
    verdict : {"optimal", "boundary", "stalled"}
    findings : tuple of str
        What was found, a paragraph each.
    simpler : tuple of (str, str)
        Formulas of simpler models nested in this one that a boundary or flat fit suggests, each
        with what it leaves out.
    notes : tuple of str
        What else to know before trusting the variances.
    """

    verdict: str
    findings: tuple[str, ...]
    simpler: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"Verdict: {self.verdict}", *map(_filled, self.findings)]
        if self.simpler:
            parts.append("Simpler models nested in this one:")
            parts[-1] += "".join(f"\n  {formula}\n      {why}" for formula, why in self.simpler)
        if self.notes:
            parts.append("Note:" + "".join(f"\n{_filled(note, '- ')}" for note in self.notes))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        body = "".join(f"<p>{html.escape(finding)}</p>" for finding in self.findings)
        if self.simpler:
            items = "".join(
                f"<li><code>{html.escape(formula)}</code><br>{html.escape(why)}</li>"
                for formula, why in self.simpler
            )
            body += f"<p>Simpler models nested in this one:</p><ul>{items}</ul>"
        if self.notes:
            items = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
            body += f"<p>Note:</p><ul>{items}</ul>"
        return f"<div><p><strong>Verdict: {html.escape(self.verdict)}</strong></p>{body}</div>"


def _filled(text: str, bullet: str = "") -> str:
    return textwrap.fill(
        text,
        width=88,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )


def explain(fit: Fit) -> Explanation:
    """Say what the verdict on a fit means.

    Parameters
    ----------
    fit : Fit
    """
    optimum = fit.optimum
    simpler: list[tuple[str, str]] = []
    if optimum.status == "optimal":
        findings = [_optimal(fit)]
    elif optimum.status == "boundary":
        findings = [_boundary(fit)]
        for t in range(len(fit.design.terms)):
            found, formulas = _boundary_term(fit, t)
            findings += found
            simpler += formulas
        without = {t: gone for t in range(len(fit.design.terms)) if (gone := _gone(fit, t))}
        if len(without) > 1:
            simpler.insert(
                0, (_formula(fit, without), "without all that has no variance: fits as well")
            )
    else:
        findings = list(_stalled(fit))
    findings += [
        f"{name} of the residuals is at its limit: the likelihood only rises towards it, so that "
        "it has no standard error; a simpler residual structure is nested in this one."
        for name in optimum.limits
    ]
    return Explanation(
        optimum.status, tuple(findings), tuple(dict.fromkeys(simpler)), tuple(_notes(fit))
    )


def _criterion(fit: Fit) -> str:
    return "REML criterion" if fit.method == "REML" else "-2 log likelihood"


def _optimal(fit: Fit) -> str:
    optimum = fit.optimum
    if not len(optimum.gradient):
        return "There is no covariance to search for: the estimates follow in one step."
    return (
        f"The search ended in a strict minimum of the {_criterion(fit)}: its gradient is zero (a "
        f"further Newton step promises a decrease of {optimum.decrement / 2:.1g}) and its exact "
        f"Hessian is positive definite (smallest eigenvalue {optimum.smallest_eigenvalue:.3g}). "
        "Every variance is positive and no correlation is at its limit, so no variances near these "
        "fit the data better. This says that the numbers are the estimates, not that the model is "
        "right: see fit.diagnostics and fit.plot."
    )


def _boundary(fit: Fit) -> str:
    return (
        f"The {_criterion(fit)} has its minimum at the edge of what covariances can be: some "
        "combination of random effects is estimated to have no variance at all, or a correlation "
        "is at its limit, and the criterion rises as soon as it leaves the edge. This is a result, "
        "not a failure: the levels differ in that combination no more than the residual variation "
        "alone would make them seem to. The fixed effects and their standard errors hold for the "
        "variances found. Standard errors and Wald intervals of the variance concerned do not "
        "exist; profile intervals are one-sided."
    )


def _boundary_term(fit: Fit, t: int) -> tuple[list[str], list[tuple[str, str]]]:
    """What has no variance in one term, and the simpler models."""
    null = [d.weights for d in fit.optimum.singular if d.term == t]
    term = fit.design.terms[t]
    if not null:
        held = held_at_bounds(fit.evaluation)[fit.likelihood.slices[t]].any()
        at_limit = f"{term.effect.label}: a variance or correlation of it is at its limit."
        return [at_limit] if held else [], []
    zero = zero_columns(fit, t)
    label, group = term.effect.label, fit.design.factors[term.factor].name
    if zero.all():
        formula = _formula(fit, {t: _gone(fit, t)})
        return [
            f"{label}: its variance is zero. Once the rest of the model is accounted for, the "
            f"levels of {group} do not differ."
            if len(zero) == 1
            else f"{label}: all its variances are zero. Once the rest of the model is accounted "
            f"for, the levels of {group} do not differ."
        ], [(formula, f"without {label}{_ordinary(fit)}: fits as well")]
    if zero.any():
        return _zero_columns(fit, t, zero)
    return _line(fit, t, null)


def _ordinary(fit: Fit) -> str:
    return ", an ordinary regression" if len(fit.design.terms) == 1 else ""


def zero_columns(fit: Fit, t: int) -> BoolArray:
    """Which columns of a term have no variance, shape (k,): what they add to the rows counts."""
    Z = fit.design.terms[t].Z
    if sum(direction.term == t for direction in fit.optimum.singular) == Z.shape[1]:
        return np.ones(Z.shape[1], dtype=bool)
    added = np.square(fit.estimate.terms[t].root).sum(axis=1) * np.square(Z).mean(axis=0)
    return np.asarray(added <= _ZERO * max(float(added.max()), 1e-300))


def _gone(fit: Fit, t: int) -> list[str]:
    """Parts left of a term's bar that have no variance and can be left out."""
    term = fit.design.terms[t]
    zero = zero_columns(fit, t)
    if not any(d.term == t for d in fit.optimum.singular) or (_structured(term) and not zero.all()):
        return []
    parts = term.recipe.terms
    left = [own for own in parts if not zero[own.start : own.stop].all()]
    return [own.label for own in parts if own not in left and own in separable([own, *left])]


def _zero_columns(fit: Fit, t: int, zero: BoolArray) -> tuple[list[str], list[tuple[str, str]]]:
    term = fit.design.terms[t]
    names = [name for name, is_zero in zip(term.names, zero, strict=True) if is_zero]
    shown = _listed(names)
    were = "the variance of" if len(names) == 1 else "the variances of"
    verb = "is" if len(names) == 1 else "are"
    group = fit.design.factors[term.factor].name
    text = (
        f"{term.effect.label}: {were} {shown} {verb} zero. The levels of {group} do not differ in "
        f"{'it' if len(names) == 1 else 'them'}; their other effects do vary."
    )
    gone = _gone(fit, t)
    if not gone:
        return [text], []
    return [text], [
        (_formula(fit, {t: gone}), f"without {shown} in {term.effect.label}: fits as well")
    ]


def _structured(term: RandomTerm) -> bool:
    return term.effect.structure in ("cs", "ar1")


def _line(fit: Fit, t: int, null: list[Array]) -> tuple[list[str], list[tuple[str, str]]]:
    """A covariance of deficient rank with no variance at zero."""
    term, estimate = fit.design.terms[t], fit.estimate.terms[t]
    label, group, k = term.effect.label, fit.design.factors[term.factor].name, len(term.names)
    if k == 2:
        text = _two_columns(estimate, term, group)
    else:
        combinations = _listed([_combination(weights, estimate, term.names) for weights in null])
        number = "one combination" if len(null) == 1 else f"{len(null)} combinations"
        text = (
            f"{label}: its {k} effects vary in {k - len(null)} independent ways only; {number} of "
            f"them {'has' if len(null) == 1 else 'have'} no variance: {combinations}."
        )
    if _structured(term):
        return [f"{text} The correlation of {term.effect.structure}() is at its limit."], []
    return [text], list(_reduced(fit, t))


def _two_columns(estimate: TermEstimate, term: RandomTerm, group: str) -> str:
    T = estimate.root
    a, b = term.names
    sd = np.sqrt(np.square(T).sum(axis=1))
    sign = 1.0 if T[0] @ T[1] > 0.0 else -1.0
    slope = sign * sd[1] / sd[0]
    text = (
        f"{term.effect.label}: the correlation of {a} and {b} is {sign:+.0f}, so that each level's "
        f"effect on {b} is {_number(slope)} times its effect on {a}: the levels of {group} differ "
        "along one line."
    )
    if term.intercept == 0 and _is_numeric(term, 1):
        text += f" At {b} = {_number(-1.0 / slope)} they do not differ at all."
    return text


def _is_numeric(term: RandomTerm, column: int) -> bool:
    """Whether a column is a variable as it stands, so that its values can be named."""
    own = next(t for t in term.recipe.terms if t.start <= column < t.stop)
    name = term.names[column]
    return own.stop - own.start == 1 and own.variables == {name}


def _combination(weights: Array, estimate: TermEstimate, names: tuple[str, ...]) -> str:
    """A direction of the working columns' effects as a combination of the user's, written out."""
    own = np.linalg.solve(estimate.total.T, weights)
    own = own / own[np.argmax(np.abs(own))]
    parts: list[str] = []
    for value, name in zip(own, names, strict=True):
        if abs(value) < 1e-6:
            continue
        size = "" if np.isclose(abs(value), 1.0) else f"{_number(abs(value))} "
        sign = "- " if value < 0.0 else "+ "
        parts.append(f"{sign if parts or value < 0.0 else ''}{size}{name}")
    return " ".join(parts)


def _number(value: float) -> str:
    return format_numbers([float(value)], 3)[0]


def _reduced(fit: Fit, t: int) -> Iterator[tuple[str, str]]:
    """The term without its least variable part, and with uncorrelated effects."""
    term, estimate = fit.design.terms[t], fit.estimate.terms[t]
    if not isinstance(term.structure, Unstructured):
        return
    parts = [own for own in term.recipe.terms if own.label != "1"]
    if parts and len(term.recipe.terms) > 1:
        added = np.mean((term.Z[:, :, None] * estimate.root).reshape(len(term.Z), -1) ** 2, axis=0)
        by_column = added.reshape(len(term.names), -1).sum(axis=1)
        least = min(separable(parts), key=lambda own: float(by_column[own.start : own.stop].sum()))
        why = ", which adds the least variance" if len(parts) > 1 else ""
        yield (
            _formula(fit, {t: [least.label]}),
            f"without {least.label} in {term.effect.label}{why}",
        )
    plain = all(own.stop - own.start == 1 for own in term.recipe.terms)
    plain &= not term.recipe.categorical_expressions  # whose levels || keeps together
    if plain and len(term.names) > 1:
        inner, _, group = term.effect.label.strip("()").partition("|")
        yield (
            _formula(fit, {}, {t: f"({inner.strip()} || {group.strip()})"}),
            f"effects of {term.effect.label} uncorrelated",
        )


def _formula(
    fit: Fit, gone: Mapping[int, list[str]], written: Mapping[int, str] | None = None
) -> str:
    """The formula with some random terms changed.

    Parameters
    ----------
    fit : Fit
    gone : dict
        For each term, the parts left of its bar to leave out.
    written : dict, optional
        For each term, what to write instead.
    """
    labels = []
    for t, term in enumerate(fit.design.terms):
        if written and t in written:
            labels.append(written[t])
        elif t not in gone:
            labels.append(term.effect.label)
        elif kept := _columns_kept(term, gone[t]):
            bars = f"({kept} | {':'.join(map(backticked, term.effect.group))})"
            labels.append(
                f"diag{bars}" if term.effect.structure == "diag" and "+" in kept else bars
            )
    fixed = fit.design.formula.text.partition(", random = ")[0]  # lme shows both parts
    return " + ".join([without_random_terms(fixed), *labels])


def _columns_kept(term: RandomTerm, gone: list[str]) -> str:
    labels = [_written(own) for own in term.recipe.terms if own.label not in gone]
    if not labels:
        return ""
    if labels[0] != "1":
        labels = ["0", *labels]
    return " + ".join(labels)


def _written(part: TermColumns) -> str:
    """The part of a term as a formula has it."""
    label = part.label
    for name in part.variables:
        if backticked(name) not in label:
            label = label.replace(name, backticked(name))
    return label


def _stalled(fit: Fit) -> Iterator[str]:
    optimum = fit.optimum
    yield f"This is not a solution yet: {optimum.message}."
    if optimum.decrement > 1e-6:
        worst = int(np.argmax(np.abs(optimum.gradient)))
        likelihood = fit.likelihood
        what, instead = "The parameters of the residuals", "a simpler residual structure"
        if worst < likelihood.n_params:
            t = next(i for i, s in enumerate(likelihood.slices) if s.start <= worst < s.stop)
            term = fit.design.terms[t]
            what = f"The variances of {term.effect.label} ({_listed(list(term.names))})"
            instead = "fewer random effects"
        yield (
            f"{what} are the ones still moving. Give the search more evaluations, with "
            "control=mf.Control(max_evaluations=1000), or start it elsewhere with start=; if it "
            f"stalls again, fit {instead} and compare."
        )
    else:
        yield (
            "Some change of the variances leaves the criterion where it is, so that these data "
            "hold no information on them: other values fit exactly as well. Use fewer random "
            "effects, or levels with more rows."
        )


def _notes(fit: Fit) -> Iterator[str]:
    design = fit.design
    for factor in design.factors:
        J = factor.n_levels
        if J < _FEW_LEVELS:
            yield (
                f"{factor.name} has {J} levels: a variance between so few is known within a factor "
                f"of several at best (see fit.conf_int(method='profile')); {factor.name} as a "
                "fixed effect is the alternative."
            )
        counts = np.bincount(factor.codes, minlength=J)
        single = int((counts == 1).sum())
        if single > J / 2:
            yield (
                f"{single} of the {J} levels of {factor.name} have one row: they tell its variance "
                "from the residual's only through the others."
            )
    for f, factor in enumerate(design.factors):
        k = sum(len(term.names) for term in design.terms if term.factor == f)
        if k > 1 and factor.n_levels <= k + 2:
            yield (
                f"{factor.name} has {factor.n_levels} levels for {k} effects each: their "
                "correlations are hardly determined."
            )
    if not fit.optimum.identified:
        yield "Terms of this model share a variance: only its sum is determined, not its division."
    if design.n_missing:
        yield f"{design.n_missing} rows with missing values were left out."
    if design.dropped:
        yield f"Columns that repeat others were left out: {_listed(design.dropped)}."


def _listed(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"

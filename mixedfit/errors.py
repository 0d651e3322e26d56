"""The tree of errors and warnings."""

from __future__ import annotations

__all__ = ["DataError", "FormulaError", "MixedfitError", "MixedfitWarning", "ModelError"]


class MixedfitError(ValueError):
    """Base of every error mixedfit raises on purpose."""


class FormulaError(MixedfitError):
    """The formula cannot be read."""


class DataError(MixedfitError):
    """The data do not fit the formula: columns, levels, missing or impossible values."""


class ModelError(MixedfitError):
    """The model cannot be estimated from these data, or a result cannot be had from this fit."""


class MixedfitWarning(UserWarning):
    """Base of every warning mixedfit issues."""

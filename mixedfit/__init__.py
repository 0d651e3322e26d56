"""Mixed models and empirical Bayes."""

from mixedfit import datasets, eb
from mixedfit.crosscheck import CrossCheck, crosscheck
from mixedfit.errors import DataError, FormulaError, MixedfitError, MixedfitWarning, ModelError
from mixedfit.model import lmer
from mixedfit.optimize import Control
from mixedfit.results import MixedResults

__all__ = [
    "Control",
    "CrossCheck",
    "DataError",
    "FormulaError",
    "MixedResults",
    "MixedfitError",
    "MixedfitWarning",
    "ModelError",
    "crosscheck",
    "datasets",
    "eb",
    "lmer",
]

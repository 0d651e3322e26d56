"""Mixed models and empirical Bayes."""

from mixedfit import datasets, eb
from mixedfit.compare import anova, bootstrap_test
from mixedfit.correlation import CorAR1, CorARMA, CorCAR1, CorCompSymm, CorSymm
from mixedfit.correlation_spatial import CorExp, CorGaus, CorLin, CorRatio, CorSpher
from mixedfit.crosscheck import CrossCheck, crosscheck
from mixedfit.errors import DataError, FormulaError, MixedfitError, MixedfitWarning, ModelError
from mixedfit.model import gls, lme, lmer
from mixedfit.optimize import Control
from mixedfit.random_part import PdBlocked, PdCompSymm, PdDiag, PdIdent, PdSymm
from mixedfit.results import MixedResults
from mixedfit.stacking import stack_responses
from mixedfit.variance_function import (
    VarComb,
    VarConstPower,
    VarExp,
    VarFixed,
    VarIdent,
    VarPower,
)

__all__ = [
    "Control",
    "CorAR1",
    "CorARMA",
    "CorCAR1",
    "CorCompSymm",
    "CorExp",
    "CorGaus",
    "CorLin",
    "CorRatio",
    "CorSpher",
    "CorSymm",
    "CrossCheck",
    "DataError",
    "FormulaError",
    "MixedResults",
    "MixedfitError",
    "MixedfitWarning",
    "ModelError",
    "PdBlocked",
    "PdCompSymm",
    "PdDiag",
    "PdIdent",
    "PdSymm",
    "VarComb",
    "VarConstPower",
    "VarExp",
    "VarFixed",
    "VarIdent",
    "VarPower",
    "anova",
    "bootstrap_test",
    "crosscheck",
    "datasets",
    "eb",
    "gls",
    "lme",
    "lmer",
    "stack_responses",
]

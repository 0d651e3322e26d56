"""Mixed models and empirical Bayes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mixedfit import datasets
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

if TYPE_CHECKING:
    from mixedfit import eb

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


def __getattr__(name: str) -> Any:
    if name == "eb":  # with the special functions it needs, slow to import
        return importlib.import_module("mixedfit.eb")
    raise AttributeError(f"module 'mixedfit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Fits whose residuals have a structure, on made-up data."""

import mixedfit as mf
from tests.cases import frame

DATA = frame(160).assign(t=lambda d: d.groupby("g").cumcount(), v=lambda d: 1.0 / d["w"])
AR1 = mf.CorAR1(form="~ t | g")


def crossed(**options) -> mf.MixedResults:
    return mf.lmer("y ~ x + (1 | g) + (1 | h)", DATA, correlation=AR1, **options)

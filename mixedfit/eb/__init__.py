"""Empirical Bayes: units estimated together, each shrunk toward what the others say."""

from mixedfit.eb.many_variances import moderated_t, variances
from mixedfit.eb.prior import Beta, Gamma, Normal
from mixedfit.eb.shrinkage import Shrinkage

__all__ = ["Beta", "Gamma", "Normal", "Shrinkage", "moderated_t", "variances"]

"""Empirical Bayes: units estimated together, each shrunk toward what the others say."""

from mixedfit.eb.prior import Beta, Gamma, Normal
from mixedfit.eb.shrinkage import Shrinkage

__all__ = ["Beta", "Gamma", "Normal", "Shrinkage"]

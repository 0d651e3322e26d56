"""Empirical Bayes: units estimated together, each shrunk toward what the others say."""

from mixedfit.eb.counts import beta_binomial, gamma_poisson
from mixedfit.eb.grouped_variances import one_way, one_way_summary
from mixedfit.eb.hyperparameters import Bootstrap, Integrate
from mixedfit.eb.james_stein import james_stein
from mixedfit.eb.many_variances import moderated_t, variances
from mixedfit.eb.normal_means import normal_means
from mixedfit.eb.prior import Beta, Dirichlet, Gamma, Normal
from mixedfit.eb.shares import dirichlet_multinomial
from mixedfit.eb.shrinkage import Shrinkage
from mixedfit.eb.small_area import fay_herriot
from mixedfit.eb.unit_level import nested_error

__all__ = [
    "Beta",
    "Bootstrap",
    "Dirichlet",
    "Gamma",
    "Integrate",
    "Normal",
    "Shrinkage",
    "beta_binomial",
    "dirichlet_multinomial",
    "fay_herriot",
    "gamma_poisson",
    "james_stein",
    "moderated_t",
    "nested_error",
    "normal_means",
    "one_way",
    "one_way_summary",
    "variances",
]

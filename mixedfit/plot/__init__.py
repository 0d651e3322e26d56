"""Pictures of arrays on matplotlib Axes; knows nothing of models.

Every function draws on the Axes it is given, or on a figure of its own, and returns them. No
setting of matplotlib's is changed, and it is imported only when something is drawn.
"""

from mixedfit.plot.fits import fitted_lines, influence, profile_zeta
from mixedfit.plot.pooling import density, funnel, intervals, shrinkage_arrows, shrinkage_lines
from mixedfit.plot.residuals import (
    autocorrelation,
    quantile_quantile,
    residuals,
    scale_location,
    scaled_residuals,
    semivariogram,
)

__all__ = [
    "autocorrelation",
    "density",
    "fitted_lines",
    "funnel",
    "influence",
    "intervals",
    "profile_zeta",
    "quantile_quantile",
    "residuals",
    "scale_location",
    "scaled_residuals",
    "semivariogram",
    "shrinkage_arrows",
    "shrinkage_lines",
]

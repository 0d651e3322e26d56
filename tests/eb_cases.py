"""Small data of empirical Bayes: proportions, rates, estimates with errors, groups."""

import numpy as np

from mixedfit.eb.unequal_likelihood import Groups

SALES, VISITS = np.array([3, 5, 1, 9, 0, 30]), np.array([70, 27, 114, 95, 41, 200])
EVENTS, YEARS = np.array([8, 10, 2, 0, 21]), np.array([9.6, 7.2, 3.4, 5.1, 6.8])

SCHOOLS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

OTHERS = ["point-normal", "laplace", "point-laplace", "t", "scale-mixture", "unimodal", "npmle"]


def sparse(J=300, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(J) < 0.8, 0.0, rng.normal(0.0, 2.0, J))
    se = rng.uniform(0.5, 1.5, J)
    return truth, truth + se * rng.standard_normal(J), se


def simulated(J, seed, nu0=6.0, tau=1.5, smallest=1):
    rng = np.random.default_rng(seed)
    n = rng.integers(smallest, 12, J)
    sigma2 = 4.0 * nu0 / rng.chisquare(nu0, J) if np.isfinite(nu0) else np.full(J, 4.0)
    theta = rng.normal(10.0, tau, J)
    group = np.repeat(np.arange(J), n)
    return theta, sigma2, rng.normal(theta[group], np.sqrt(sigma2[group])), group


def groups_of(y, group):
    n = np.bincount(group).astype(float)
    mean = np.bincount(group, y) / n
    return Groups(n, mean, np.bincount(group, (y - mean[group]) ** 2))


Y_FEW, GROUP_FEW = simulated(7, 3)[2:]

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import MixedfitError
from mixedfit.seeds import generator_of


def test_a_generator_is_used_as_it_is():
    rng = np.random.default_rng(3)
    assert generator_of(rng) is rng


def test_the_same_seed_gives_the_same_draws():
    assert generator_of(5).normal() == np.random.default_rng(5).normal()


@pytest.mark.parametrize("seed", ["a", -1, 2.5])
def test_other_seeds_are_refused(seed):
    with pytest.raises(MixedfitError, match="seed must be a whole number"):
        generator_of(seed)


@pytest.mark.parametrize("method", ["simulate", "bootstrap"])
def test_results_refuse_them_too(method):
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff"))
    with pytest.raises(MixedfitError, match="seed must be"):
        getattr(fit, method)(2, seed="a")

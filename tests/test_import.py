import subprocess
import sys

import pytest

import mixedfit as mf

# Modules that are slow to import and used by some results only.
HEAVY = ("scipy.special", "scipy.stats", "matplotlib", "statsmodels", "mixedfit.eb")


@pytest.fixture(scope="module")
def loaded():
    code = "import sys, mixedfit; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("name", HEAVY)
def test_importing_the_package_does_not_load(loaded, name):
    assert name not in loaded


def test_empirical_bayes_is_loaded_when_asked_for():
    assert mf.eb.normal_means([1.0, 3.0], 1.0).posterior["mean"].sum() == pytest.approx(4.0)
    assert "eb" in dir(mf)
    with pytest.raises(AttributeError, match="module 'mixedfit' has no attribute 'glmer'"):
        mf.glmer  # noqa: B018

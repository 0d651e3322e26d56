import subprocess
import sys

import pytest

# Modules that take a tenth of a second or more and are used by some results only.
HEAVY = ("scipy.stats", "matplotlib", "statsmodels")


@pytest.fixture(scope="module")
def loaded():
    code = "import sys, mixedfit; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("name", HEAVY)
def test_importing_the_package_does_not_load(loaded, name):
    assert name not in loaded

from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from mixedfit.serial import autocorrelation, semivariogram
from tests import references

R = references.reference("diagnostics")


@pytest.fixture(scope="module")
def weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pearson residuals, rats and days."""
    data = references.data("bodyweight")
    fit = mf.lmer("weight ~ Time * Diet + (1 | Rat)", data)
    codes = fit.fit.design.factors[0].codes
    return fit.residuals("pearson").to_numpy(), codes, data["Time"].to_numpy(float)


def test_autocorrelation_is_that_of_nlme(weights: tuple[np.ndarray, ...]) -> None:
    found = autocorrelation(*weights[:2])
    expected = R["bodyweight_serial"]
    np.testing.assert_allclose(found.acf, expected["acf"], atol=1e-8)
    assert found.n_pairs.tolist() == expected["n_pairs"]
    assert found.lag.tolist() == expected["lag"]


def test_semivariogram_is_that_of_nlme(weights: tuple[np.ndarray, ...]) -> None:
    values, codes, time = weights
    expected = R["bodyweight_serial"]
    found = semivariogram(values, codes, coordinates=time)
    np.testing.assert_allclose(found.distance, expected["dist"])
    np.testing.assert_allclose(found.semivariance, expected["variog"], rtol=1e-8)
    assert found.n_pairs.tolist() == expected["variog_pairs"]
    robust = semivariogram(values, codes, coordinates=time, robust=True)
    np.testing.assert_allclose(robust.semivariance, expected["robust"], rtol=1e-8)


def test_classes_of_distance_are_those_of_nlme(weights: tuple[np.ndarray, ...]) -> None:
    values, codes, time = weights
    found, expected = semivariogram(values, codes, coordinates=time, n_classes=6), None
    expected = R["bodyweight_serial"]["six"]
    np.testing.assert_allclose(found.distance, expected["dist"])
    # nlme loses the pairs at the smallest distance of all: its classes are open there.
    np.testing.assert_allclose(found.semivariance[1:], expected["variog"][1:], rtol=1e-8)
    assert found.n_pairs.sum() == 16 * 11 * 10 // 2
    assert found.n_pairs[1:].tolist() == expected["n_pairs"][1:]


def test_rows_of_a_group_need_not_stand_together(weights: tuple[np.ndarray, ...]) -> None:
    values, codes, time = weights
    order = np.random.default_rng(1).permutation(len(values))
    one = autocorrelation(values, codes)
    other = autocorrelation(values[order], codes[order], time=time[order])
    np.testing.assert_allclose(other.acf, one.acf, atol=1e-12)
    here = semivariogram(values, codes, coordinates=time)
    there = semivariogram(values[order], codes[order], coordinates=time[order])
    np.testing.assert_allclose(there.semivariance, here.semivariance, rtol=1e-12)


def test_autocorrelation_of_a_known_process() -> None:
    rng = np.random.default_rng(2)
    e = rng.standard_normal((400, 60))
    for t in range(1, 60):
        e[:, t] = 0.6 * e[:, t - 1] + 0.8 * e[:, t]
    found = autocorrelation(e.ravel(), np.repeat(np.arange(400), 60), max_lag=5)
    np.testing.assert_allclose(found.acf, 0.6 ** np.arange(6), atol=0.03)


def test_white_noise_stays_within_the_bound() -> None:
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(50), 20)
    inside = [
        np.abs(found.acf[1:]) <= found.bound[1:]
        for found in (
            autocorrelation(rng.standard_normal(1000), codes, max_lag=8) for _ in range(200)
        )
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_distances_in_the_plane() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
    found = semivariogram(np.array([0.0, 2.0, 4.0]), np.zeros(3, dtype=int), coordinates=points)
    np.testing.assert_allclose(found.distance, [3.0, 4.0, 5.0])
    np.testing.assert_allclose(found.semivariance, [2.0, 8.0, 2.0])
    near = semivariogram(
        np.array([0.0, 2.0, 4.0]), np.zeros(3, dtype=int), coordinates=points, max_distance=4.5
    )
    np.testing.assert_allclose(near.distance, [3.0, 4.0])


def test_groups_that_hold_nothing_to_compare_are_refused() -> None:
    values, alone = np.arange(4.0), np.arange(4)
    with pytest.raises(DataError, match="every group has one row"):
        autocorrelation(values, alone)
    with pytest.raises(DataError, match="every group has one row"):
        semivariogram(values, alone)
    together = np.zeros(4, dtype=int)
    with pytest.raises(ModelError, match="max_lag must be a whole number of at least 1"):
        autocorrelation(values, together, max_lag=0)
    with pytest.raises(ModelError, match="n_classes must be a whole number of at least 1"):
        semivariogram(values, together, n_classes=0)
    with pytest.raises(DataError, match="no two rows"):
        semivariogram(values, together, max_distance=0.5)
    with pytest.raises(DataError, match="smaller groups"):
        semivariogram(np.zeros(8000), np.zeros(8000, dtype=int))

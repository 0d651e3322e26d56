"""Whitened cross-products against the same products with every matrix written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse

from mixedfit.crossproducts import CrossProducts, ProductsAdjoint
from mixedfit.whitened import WhitenedRows
from mixedfit.working import WorkingRows
from tests.cases import PATTERNS, Pattern, frame
from tests.dense_whitening import GROUPINGS, PowerAndDecay, structure

DELTA = np.array([0.4, 0.3])
MODELS = {
    "no random effects": Pattern("y ~ x"),
    **{name: PATTERNS[name] for name in ("slope, weighted, offset", "crossed slopes", "nested")},
    "nested and crossed": PATTERNS["nested and crossed"],
}


@dataclass(frozen=True)
class Case:
    """Rows, their residual structure, and the columns of the random effects one a level."""

    rows: WorkingRows
    residual: PowerAndDecay
    layout: WhitenedRows
    Z: list[np.ndarray]

    @property
    def E(self):
        return np.column_stack([self.rows.X.T, self.rows.y])


# Without random effects there is no largest factor.
CASES = [(m, g) for m in MODELS for g in GROUPINGS if (m, g) != ("no random effects", "largest")]


@pytest.fixture(params=CASES, ids=", ".join)
def case(request):
    model, grouping = request.param
    design = MODELS[model].design(frame(90))
    rows, residual = WorkingRows.of(design), structure(design, grouping)
    Z = []
    for codes, J, columns in zip(rows.codes, rows.n_levels, rows.Z, strict=True):
        at_level = codes[:, None] == np.arange(J)
        Z.append(np.hstack([z[:, None] * at_level for z in columns]))
    return Case(rows, residual, WhitenedRows(rows, residual.codes), Z)


def test_products_are_those_of_the_inverse(case):
    whitening = case.residual.at(DELTA)
    products = case.layout.at(whitening).products
    R_inverse = np.linalg.inv(whitening.R)
    scale = np.abs(R_inverse).max() * 90
    close = {"rtol": 1e-9, "atol": 1e-11 * scale}
    np.testing.assert_allclose(products.EE, case.E.T @ R_inverse @ case.E, **close)
    assert products.n == 90
    expected = case.rows.sum_log_weights - np.linalg.slogdet(whitening.R)[1]
    assert products.sum_log_weights == pytest.approx(expected)
    for f, (sums, Z) in enumerate(zip(products.factors, case.Z, strict=True)):
        k, J = sums.k, sums.n_levels
        ZZ = (Z.T @ R_inverse @ Z).reshape(k, J, k, J)
        np.testing.assert_allclose(sums.ZZ, np.einsum("ajbj->abj", ZZ), **close)
        ZE = (case.E.T @ R_inverse @ Z).reshape(-1, k, J)
        np.testing.assert_allclose(sums.ZE, ZE, **close)
        off = ZZ * (1.0 - np.eye(J))[None, :, None]
        own = products.pairs.get((f, f))
        assert own is not None or np.abs(off).max() < 1e-11 * scale
        for (a, b), M in (own or {}).items():
            np.testing.assert_allclose(M.toarray(), off[a, :, b], **close)
        for g in range(f + 1, len(case.Z)):
            other = products.factors[g]
            across = (Z.T @ R_inverse @ case.Z[g]).reshape(k, J, other.k, other.n_levels)
            for (a, b), M in products.pairs[f, g].items():
                np.testing.assert_allclose(M.toarray(), across[a, :, b], **close)


def random_adjoint(products: CrossProducts) -> ProductsAdjoint:
    """Numbers in the place of derivatives, symmetric where the products are."""
    rng = np.random.default_rng(5)
    ZZ = [rng.standard_normal(sums.ZZ.shape) for sums in products.factors]
    ZE = [rng.standard_normal(sums.ZE.shape) for sums in products.factors]
    pairs = {}
    for (f, g), pair in products.pairs.items():
        made = {}
        for (a, b), M in pair.items():
            data = rng.standard_normal(len(M.data))
            made[a, b] = sparse.csr_array((data, M.indices, M.indptr), shape=M.shape)
        if f == g:  # one number and its mirror image, both kept
            mirrored = {(a, b): (M + made[b, a].T).tocsr() for (a, b), M in made.items()}
            for M in mirrored.values():
                M.sort_indices()
            made = mirrored
        pairs[f, g] = made
    EE = rng.standard_normal(products.EE.shape)
    return ProductsAdjoint([z + z.transpose(1, 0, 2) for z in ZZ], ZE, pairs, EE + EE.T)


def weighed(bar: ProductsAdjoint, products: CrossProducts) -> float:
    """The function of the cross-products with these derivatives."""
    total = np.sum(bar.EE * products.EE)
    for ZZ, ZE, sums in zip(bar.ZZ, bar.ZE, products.factors, strict=True):
        total += np.sum(ZZ * sums.ZZ) + np.sum(ZE * sums.ZE)
    for fg, pair in bar.pairs.items():
        for ab, M in pair.items():
            total += np.sum(M.toarray() * products.pairs[fg][ab].toarray())
    return float(total)


def test_the_adjoint_is_the_derivative_of_a_function_of_the_products(case):
    whitened = case.layout.at(case.residual.at(DELTA))
    bar = random_adjoint(whitened.products)
    h = 1e-5
    numeric = [
        weighed(bar, case.layout.at(case.residual.at(DELTA + step)).products)
        - weighed(bar, case.layout.at(case.residual.at(DELTA - step)).products)
        for step in h * np.eye(2)
    ]
    expected = np.array(numeric) / (2.0 * h)
    got = whitened.adjoint(bar)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_rows_are_combined_and_multiplied_as_written_out(case):
    rng = np.random.default_rng(6)
    whitening = case.residual.at(DELTA)
    whitened = case.layout.at(whitening)
    sizes = zip(case.rows.Z, case.rows.n_levels, strict=True)
    effects = [rng.standard_normal((len(z), J)) for z, J in sizes]
    v = rng.standard_normal(case.E.shape[1])
    mean = case.E @ v + sum(Z @ t.ravel() for Z, t in zip(case.Z, effects, strict=True))
    expected = np.linalg.solve(whitening.R, mean)
    np.testing.assert_allclose(whitened.combine(effects, v), expected, rtol=1e-8, atol=1e-8)
    rows = rng.standard_normal((4, 90))
    of_Z, of_E = whitened.products_with(rows)
    np.testing.assert_allclose(of_E, rows @ whitening.W @ case.E, atol=1e-9)
    for got, Z in zip(of_Z, case.Z, strict=True):
        np.testing.assert_allclose(got.reshape(4, -1), rows @ whitening.W @ Z, atol=1e-9)


def test_another_response_changes_its_products_alone(case):
    y = np.cos(np.arange(90.0))
    rows = WorkingRows(**{**vars(case.rows), "y": y})
    whitening = case.residual.at(DELTA)
    got = case.layout.with_response(rows).at(whitening).products
    expected = WhitenedRows(rows, case.residual.codes).at(whitening).products
    np.testing.assert_allclose(got.EE, expected.EE)
    for one, two in zip(got.factors, expected.factors, strict=True):
        np.testing.assert_allclose(one.ZE, two.ZE)
    # The layout it came from still has its own response.
    before = case.layout.at(whitening).products.EE[-1, -1]
    assert before == pytest.approx(case.rows.y @ np.linalg.solve(whitening.R, case.rows.y))


def test_residuals_without_groups_are_weights():
    design = PATTERNS["crossed slopes"].design(frame(90))
    rows, residual = WorkingRows.of(design), structure(design, "within")
    alone = PowerAndDecay(np.arange(90), residual.t, residual.v)
    got = WhitenedRows(rows, None).at(alone.at(DELTA)).products
    sd = np.abs(residual.v) ** DELTA[0]
    scaled = WorkingRows(
        **{
            **vars(rows),
            "X": rows.X / sd,
            "y": rows.y / sd,
            "Z": tuple(Z / sd for Z in rows.Z),
        }
    )
    expected = CrossProducts.of_rows(scaled)
    np.testing.assert_allclose(got.EE, expected.EE)
    for one, two in zip(got.factors, expected.factors, strict=True):
        np.testing.assert_allclose(one.ZZ, two.ZZ, atol=1e-12)
        np.testing.assert_allclose(one.ZE, two.ZE, atol=1e-12)
    for fg, pair in expected.pairs.items():
        for ab, M in pair.items():
            np.testing.assert_allclose(got.pairs[fg][ab].toarray(), M.toarray(), atol=1e-12)

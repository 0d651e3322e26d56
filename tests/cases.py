"""Small made-up data of every pattern, and formulas that need every part of the engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixedfit.crossproducts import CrossProducts
from mixedfit.design import Design
from mixedfit.formula import parse
from mixedfit.likelihood import Likelihood
from mixedfit.rows import RowOptions


def frame(n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Rows with nested factors c in b in a, crossed factors g and h, numbers and labels.

    ``s`` and ``t`` are crossed but sparsely so: each level of one meets few of the other.
    """
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 5, n)
    b = a * 4 + rng.integers(0, 4, n)
    c = b * 3 + rng.integers(0, 3, n)
    s = rng.integers(0, n // 4, n)
    data = pd.DataFrame(
        {
            "a": a,
            "b": b,
            "c": c,
            "g": rng.integers(0, 12, n),
            "h": rng.integers(0, 7, n),
            "s": s,
            "t": (s // 3 + 5 * rng.integers(0, 2, n)) % (n // 10),
            "x": rng.standard_normal(n),
            "z": rng.standard_normal(n),
            "f": pd.Categorical(
                rng.choice(["lo", "mid", "hi", "top"], n), ["lo", "mid", "hi", "top"]
            ),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.standard_normal(n),
        }
    )
    effects = rng.standard_normal((60, 4))
    data["y"] = (
        2.0
        + data["x"]
        + effects[a, 0]
        + effects[data["g"], 1]
        + effects[data["g"], 3] * data["x"]
        + 0.7 * effects[data["h"], 2]
        + 0.5 * effects[b, 1]
        + rng.standard_normal(n)
    )
    return data


@dataclass(frozen=True)
class Pattern:
    """A formula, and whether rows are weighted and the mean has an offset."""

    formula: str
    weighted: bool = False
    offset: bool = False

    def design(self, data: pd.DataFrame | None = None) -> Design:
        rows = RowOptions(
            weights="w" if self.weighted else None, offset="o" if self.offset else None
        )
        return Design.build(parse(self.formula), frame() if data is None else data, rows)

    def likelihood(self, method: str = "REML", data: pd.DataFrame | None = None) -> Likelihood:
        design = self.design(data)
        structures = [(term.factor, term.structure) for term in design.terms]
        return Likelihood(CrossProducts.of(design), structures, method)  # type: ignore[arg-type]


# Every structure, one factor and several, nested and crossed.
PATTERNS = {
    "intercept": Pattern("y ~ x + (1 | g)"),
    "slope": Pattern("y ~ x + (x | g)"),
    "slope, weighted, offset": Pattern("y ~ x + (x | g)", weighted=True, offset=True),
    "three columns": Pattern("y ~ x + z + (x + z | g)"),
    "four columns": Pattern("y ~ f + (f | g)"),
    "no fixed effects": Pattern("y ~ 0 + (1 | g)"),
    "double bar": Pattern("y ~ x + (x || g)"),
    "diag": Pattern("y ~ f + diag(0 + f | g)"),
    "common variance": Pattern("y ~ f + diag(0 + f | g, hom = TRUE)"),
    "cs": Pattern("y ~ f + cs(0 + f | g)"),
    "cs, common variance": Pattern("y ~ f + cs(0 + f | g, hom = TRUE)"),
    "ar1": Pattern("y ~ f + ar1(0 + f | g)"),
    "ar1, own variances": Pattern("y ~ f + ar1(0 + f | g, hom = FALSE)", weighted=True),
    "nested": Pattern("y ~ x + (1 | a/b)"),
    "nested three deep, slopes": Pattern("y ~ x + (x | a) + (1 | b) + (x | c)"),
    "crossed": Pattern("y ~ x + (1 | g) + (1 | h)"),
    "crossed slopes": Pattern("y ~ x + (x | g) + (0 + z | g) + (x + z | h)", weighted=True),
    "crossed, sparse": Pattern("y ~ x + (1 | s) + (1 | t)"),
    "crossed, sparse, slopes": Pattern("y ~ x + (1 | s) + (x | t) + (1 | a)"),
    "nested and crossed": Pattern("y ~ x + (1 | c) + (x | a) + (1 | h)"),
}

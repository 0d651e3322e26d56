"""Steps of a fit of mixedfit at growing numbers of rows: ``python -m benchmarks.bench_growth``."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pandas as pd

from benchmarks.problems import GROWTH

if TYPE_CHECKING:
    from mixedfit.crossproducts import CrossProducts
    from mixedfit.design import Design

__all__ = ["main"]


@contextmanager
def _watched_cross_products() -> Iterator[list[tuple[float, CrossProducts]]]:
    """Collect what `CrossProducts.of` returns within the block, and the seconds it took."""
    from mixedfit.crossproducts import CrossProducts  # noqa: PLC0415  # peers import this package

    make, calls = CrossProducts.of, []

    def watched(*arguments: Any, **options: Any) -> CrossProducts:
        start = time.perf_counter()
        products = make(*arguments, **options)
        calls.append((time.perf_counter() - start, products))
        return products

    with patch.object(CrossProducts, "of", watched):
        yield calls


def _search_again(design: Design, products: CrossProducts) -> float:
    """Seconds of a fit that finds its cross-products ready."""
    from mixedfit.crossproducts import CrossProducts  # noqa: PLC0415
    from mixedfit.fit import fit_design  # noqa: PLC0415

    with patch.object(CrossProducts, "of", lambda *_: products):
        start = time.perf_counter()
        fit_design(design, GROWTH.method)
        return time.perf_counter() - start


def _steps(frame: pd.DataFrame) -> dict[str, float]:
    """Seconds of each step of one fit, and the number of evaluations."""
    from mixedfit.design import Design  # noqa: PLC0415
    from mixedfit.fit import fit_design  # noqa: PLC0415
    from mixedfit.formula import parse  # noqa: PLC0415

    start = time.perf_counter()
    design = Design.build(parse(GROWTH.formula), frame)
    built = time.perf_counter()
    with _watched_cross_products() as calls:
        fit = fit_design(design, GROWTH.method)
    end = time.perf_counter()
    ((products_s, products),) = calls
    return {
        "design": built - start,
        "cross_products": products_s,
        "search": end - built - products_s,
        "search_again": _search_again(design, products),
        "evaluations": fit.optimum.nfev,
    }


def _measure(rows: int, repeats: int) -> dict[str, Any]:
    """Medians over some fits, after one to warm up."""
    frame = GROWTH.make(rows)
    _steps(frame)
    runs = [_steps(frame) for _ in range(repeats)]
    return {"rows": rows} | {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def main() -> None:
    """Print one line of JSON for all sizes."""
    parser = argparse.ArgumentParser(description="Time the steps of a fit as rows grow.")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps({"sizes": [_measure(rows, arguments.repeats) for rows in GROWTH.sizes]}))


if __name__ == "__main__":
    main()

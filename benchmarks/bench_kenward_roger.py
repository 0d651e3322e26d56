"""Kenward-Roger beside pbkrtest's: ``python -m benchmarks.bench_kenward_roger``.

Crossed random intercepts and slopes at sizes pbkrtest can do, side by side, and at 45,000 rows with
300 + 60 levels, where pbkrtest needs n x n matrices of 16 GB each, mixedfit alone. Timed is the
adjusted covariance with the degrees of freedom of all coefficients, after the fit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

import mixedfit as mf
from mixedfit.ddf import inference

__all__ = ["main"]

_TWIN = Path(__file__).parent / "bench_kenward_roger.R"
_FORMULA = "y ~ x + f + (x | s) + (1 | i)"
_SMALL = {"600 rows, 30 + 12 levels": (600, 30, 12), "1,500 rows, 60 + 20 levels": (1500, 60, 20)}
_LARGE = {"45,000 rows, 300 + 60 levels": (45_000, 300, 60)}


def crossed(n: int, subjects: int, items: int) -> pd.DataFrame:
    """Responses of subjects to items, with a slope a subject."""
    rng = np.random.default_rng(20250612)
    s, i, x = rng.integers(0, subjects, n), rng.integers(0, items, n), rng.standard_normal(n)
    u, slope, v = (rng.standard_normal(k) for k in (subjects, subjects, items))
    f = rng.choice(list("abc"), n)
    y = 5 + 0.3 * x + (f == "b") + u[s] + 0.5 * slope[s] * x + v[i] + 1.5 * rng.standard_normal(n)
    return pd.DataFrame({"y": y, "x": x, "f": f, "s": s, "i": i})


def timed(fit: mf.MixedResults, repeats: int) -> list[float]:
    """Seconds of each repeat, each from the fit alone."""
    seconds = []
    for _ in range(repeats):
        fit.fit.computed.clear()
        start = time.perf_counter()
        inference(fit.fit, "kenward-roger").df(np.eye(fit.fit.p))
        seconds.append(time.perf_counter() - start)
    return seconds


def of_pbkrtest(rscript: str, data: pd.DataFrame) -> dict[str, Any]:
    """What the R twin says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        data.to_csv(path, index=False)
        run = subprocess.run(
            [rscript, str(_TWIN), f"data={path}", f"formula={_FORMULA}", "factors=f,s,i"],
            capture_output=True,
            check=True,
            text=True,
        )
    return json.loads(run.stdout.strip().splitlines()[-1])


def _rows(rscript: str, repeats: int) -> Iterator[str]:
    for name, size in {**_SMALL, **_LARGE}.items():
        data = crossed(*size)
        fit = mf.lmer(_FORMULA, data)
        ours = median(timed(fit, repeats))
        if name in _LARGE:
            yield f"| {name} | {1e3 * ours:.1f} | - | - | - |"
            continue
        theirs = of_pbkrtest(rscript, data)
        table = fit.coef_table(ddf="kenward-roger")
        differ = max(
            np.abs(table["se"] / theirs["se"] - 1).max(),
            np.abs(table["df"] / theirs["df"] - 1).max(),
        )
        seconds = theirs["seconds"]
        yield (
            f"| {name} | {1e3 * ours:.1f} | {1e3 * seconds:.0f} | {seconds / ours:.0f} "
            f"| {differ:.1g} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rscript", default="Rscript", help="Rscript that has pbkrtest")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| what | mixedfit ms | pbkrtest ms | pbkrtest/mixedfit | largest relative difference |")
    print("|---|---:|---:|---:|---:|")
    for row in _rows(options.rscript, options.repeats):
        print(row, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n`{_FORMULA}`; peak memory of mixedfit {peak:.0f} MB, libraries included")


if __name__ == "__main__":
    main()

"""Counts and variances beside VGAM and limma: ``python -m benchmarks.bench_eb_counts``.

Both read the same files; timed is the call alone, the best of three after one to warm up. R's
numbers are missing where Rscript or a package is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mixedfit as mf

SCRIPT = Path(__file__).with_name("bench_eb_counts.R")
# VGAM needs minutes for more stores than this.
STORES_IN_R = 20_000


def stores(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    visits = rng.integers(20, 200, n)
    return pd.DataFrame({"y": rng.binomial(visits, rng.beta(5, 95, n)), "n": visits})


def genes(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    x = rng.normal(size=n)
    sigma2 = np.exp(0.3 * x) * 6.0 / rng.chisquare(6.0, n)
    return pd.DataFrame({"s2": sigma2 * rng.chisquare(4.0, n) / 4.0, "df": 4.0, "x": x})


def best_ms(call: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of the fastest of three, and the result."""
    call()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times), result


def ours(kind: str, frame: pd.DataFrame) -> tuple[float, float]:
    """Milliseconds and the number to agree on."""
    if kind == "beta-binomial":
        ms, result = best_ms(lambda: mf.eb.beta_binomial(frame["y"], frame["n"]))
        return ms, float(result.prior["rho"])
    covariate = frame["x"] if kind == "trend" else None
    robust = kind == "robust"
    ms, result = best_ms(
        lambda: mf.eb.variances(frame["s2"], frame["df"], covariate=covariate, robust=robust)
    )
    return ms, float(result.posterior["mean"].sum())


def theirs(kind: str, path: Path) -> tuple[float, float]:
    """The same of R, missing where it cannot be had."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return np.nan, np.nan
    done = subprocess.run(
        [rscript, str(SCRIPT), kind, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return np.nan, np.nan
    out = json.loads(done.stdout)
    return float(out["ms"]), float(out["value"])


def main() -> None:
    rows = []
    problems = [("beta-binomial", n) for n in (1_000, 10_000, 100_000)]
    problems += [(kind, 20_000) for kind in ("constant", "trend", "robust")]
    with tempfile.TemporaryDirectory() as folder:
        for kind, n in problems:
            frame = stores(n) if kind == "beta-binomial" else genes(n)
            path = Path(folder) / "data.csv"
            frame.to_csv(path, index=False)
            ms, value = ours(kind, frame)
            too_many = kind == "beta-binomial" and n > STORES_IN_R
            peer_ms, peer = (np.nan, np.nan) if too_many else theirs(kind, path)
            library = "VGAM" if kind == "beta-binomial" else "limma"
            rows.append((kind, n, round(ms, 1), library, peer_ms, value, peer))
    names = ["problem", "units", "mixedfit ms", "peer", "peer ms", "value", "peer's value"]
    print(pd.DataFrame(rows, columns=names).to_string(index=False))


if __name__ == "__main__":
    main()

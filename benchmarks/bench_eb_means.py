"""Normal means beside metafor: ``python -m benchmarks.bench_eb_means``.

Both read the same files; timed is the call alone, the best of three after one to warm up. metafor
keeps matrices of units by units, so it is asked for few; its numbers are missing where Rscript or
metafor is. ``--large`` adds a million units under three priors, timed once.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import mixedfit as mf

SCRIPT = Path(__file__).with_name("bench_eb_means.R")
METHODS = {"REML": "reml", "DL": "dersimonian-laird", "PM": "paule-mandel"}


def units(n: int) -> pd.DataFrame:
    """Four in five true values are 0, the others normal."""
    rng = np.random.default_rng(3)
    truth = np.where(rng.random(n) < 0.8, 0.0, rng.normal(0.0, 2.0, n))
    se = rng.uniform(0.5, 1.5, n)
    return pd.DataFrame({"y": truth + se * rng.standard_normal(n), "se": se})


def ours(method: str, frame: pd.DataFrame) -> tuple[float, float]:
    """Milliseconds and tau2."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        result = mf.eb.normal_means(frame["y"], frame["se"], method=METHODS[method])
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:]), float(result.prior["tau2"])


def theirs(method: str, path: Path) -> tuple[float, float]:
    """The same of metafor, missing where it cannot be had."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return np.nan, np.nan
    done = subprocess.run(
        [rscript, str(SCRIPT), method, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return np.nan, np.nan
    out = json.loads(done.stdout)
    return float(out["ms"]), float(out["value"])


def compare() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        for n in (20, 200, 1000):
            frame = units(n)
            frame.to_csv(path, index=False)
            for method in METHODS:
                ms, value = ours(method, frame)
                peer_ms, peer = theirs(method, path)
                rows.append((method, n, round(ms, 2), peer_ms, value, peer))
    names = ["method", "units", "mixedfit ms", "metafor ms", "tau2", "metafor's tau2"]
    print(pd.DataFrame(rows, columns=names).to_string(index=False))


def large(n: int = 1_000_000) -> None:
    frame = units(n)
    for prior in ("normal", "point-normal", "npmle"):
        start = time.perf_counter()
        result = mf.eb.normal_means(frame["y"], frame["se"], prior=prior)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{prior:>14}: {seconds:6.2f} s, peak so far {peak:.2f} GiB, llf {result.llf:.4f}")


if __name__ == "__main__":
    compare()
    if "--large" in sys.argv:
        large()

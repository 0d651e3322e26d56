"""Bootstrap and profile intervals beside lme4's: ``python -m benchmarks.bench_intervals``.

Both time, after a warm-up and in turn, ``samples`` parametric bootstrap refits with all estimates
kept (`bootMer` there) and profile intervals of all parameters (`confint` there) of the random
slopes of sleepstudy. lme4 draws fewer samples, for it takes longer; its time is scaled to 1,000.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import mixedfit as mf

__all__ = ["main"]

_FORMULA = "Reaction ~ Days + (Days | Subject)"
_TWIN = Path(__file__).parent / "bench_intervals.R"


def timed(run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each repeat, after one to warm up."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def of_lme4(rscript: str, samples: int, repeats: int) -> dict[str, Any]:
    """What the R twin says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sleepstudy.csv"
        mf.datasets.load("sleepstudy").to_csv(path, index=False)
        arguments = {
            "data": path,
            "formula": _FORMULA,
            "factors": "Subject",
            "samples": samples,
            "repeats": repeats,
        }
        run = subprocess.run(
            [rscript, str(_TWIN), *(f"{key}={value}" for key, value in arguments.items())],
            capture_output=True,
            check=True,
            text=True,
        )
    return json.loads(run.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rscript", default="Rscript", help="Rscript that has lme4")
    parser.add_argument("--samples", type=int, default=100, help="bootstrap samples of lme4")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    fit = mf.lmer(_FORMULA, mf.datasets.load("sleepstudy"))
    boot = median(timed(lambda: fit.bootstrap(1000, seed=1), options.repeats))
    profile = median(timed(lambda: fit.conf_int(method="profile"), options.repeats))
    theirs = of_lme4(options.rscript, options.samples, options.repeats)
    boot_lme4 = median(theirs["boot"]) * 1000 / options.samples
    profile_lme4 = median(theirs["profile"])
    print("| what | mixedfit ms | lme4 ms | lme4/mixedfit |")
    print("|---|---:|---:|---:|")
    for what, ours, other in (
        ("1,000 bootstrap refits", boot, boot_lme4),
        ("profile intervals, 6 parameters", profile, profile_lme4),
    ):
        print(f"| {what} | {1e3 * ours:.1f} | {1e3 * other:.0f} | {other / ours:.0f} |")
    limits = fit.conf_int(method="profile").iloc[-1]
    # lme4 lists the standard deviations and correlations first, then sigma, then the fixed effects.
    found = np.array([theirs["lower"][3], theirs["upper"][3]])
    print(f"\n{theirs['version']}; limits of sigma differ by {np.abs(limits - found).max():.2g}")


if __name__ == "__main__":
    main()

"""Random data sets, fitted by metafor where R has it."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from tests.test_eb_heterogeneity import NAMES

SCRIPT = """
suppressMessages(library(metafor))
d <- read.csv(commandArgs(TRUE)[1])
control <- list(tau2.max = 1e5, threshold = 1e-12, maxiter = 5000, tol = 1e-12)
rows <- list()
for (k in unique(d$k)) for (m in c("REML", "ML", "DL", "HE", "HS", "SJ", "PM")) {
  e <- d[d$k == k, ]
  r <- suppressWarnings(rma(y, v, mods = ~ x, data = e, method = m, control = control))
  b <- blup(r)
  rows[[length(rows) + 1]] <- sprintf(
    "[%d,\\"%s\\",%.15g,%.15g,%.15g,%.15g,%.15g,%.15g,%.15g,%.15g]", k, m, r$tau2, r$se.tau2,
    r$beta[2], r$se[2], r$I2, r$QE, b$pred[1], b$se[1])
}
cat("[", paste(rows, collapse = ","), "]", sep = "")
"""


@pytest.mark.r
def test_random_data_sets(tmp_path):
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not here")
    rng = np.random.default_rng(77)
    frames = []
    for k in range(8):
        J = int(rng.integers(5, 30))
        v, x = np.exp(rng.normal(-1.0, 1.2, J)), rng.normal(size=J) * 10.0 ** rng.integers(-2, 3)
        spread = np.sqrt(v + rng.choice([0.0, 0.1, 1.0, 10.0]))
        y = 3.0 * rng.normal() + 0.4 * x / x.std() + spread * rng.standard_normal(J)
        frames.append(pd.DataFrame({"k": k, "y": y, "v": v, "x": x}))
    data = pd.concat(frames)
    data.to_csv(tmp_path / "d.csv", index=False)
    (tmp_path / "run.R").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [rscript, str(tmp_path / "run.R"), str(tmp_path / "d.csv")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "there is no package" in done.stderr:
        pytest.skip("metafor is not here")
    rows = json.loads(done.stdout)
    assert len(rows) == 56
    for k, method, tau2, tau2_se, b, b_se, I2, Q, mean, sd in rows:
        own = data[data["k"] == k]
        result = mf.eb.normal_means(own["y"], own["v"] ** 0.5, X=own["x"], method=NAMES[method])
        unit = result.posterior.iloc[0]
        ours = [
            result.prior["tau2"],
            result.prior_se["tau2"],
            result.coefficients["estimate"][1],
            result.coefficients["se"][1],
            result.heterogeneity["I2"],
            result.heterogeneity["Q"],
            unit["mean"],
            unit["sd"],
        ]
        theirs = [tau2, tau2_se, b, b_se, I2, Q, mean, sd]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)

"""The command line: ``mixedfit fit`` and ``mixedfit datasets``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from mixedfit import datasets
from mixedfit.ddf import Ddf
from mixedfit.errors import DataError, MixedfitError
from mixedfit.model import lmer
from mixedfit.results import MixedResults

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0, or 2 when the input cannot be used.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except MixedfitError as error:
        print(f"mixedfit: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mixedfit", description="Fit mixed models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fit = commands.add_parser(
        "fit",
        help="fit a linear mixed model",
        description='Fit a linear mixed model: mixedfit fit "Reaction ~ Days + (Days | Subject)" '
        "sleepstudy",
    )
    fit.add_argument("formula", metavar="FORMULA", help="in lme4's language, quoted")
    fit.add_argument("data", metavar="DATA", help="a .csv or .parquet file, or a bundled data set")
    fit.add_argument("--ml", action="store_true", help="maximum likelihood instead of REML")
    fit.add_argument("--weights", metavar="COLUMN", help="precision weights")
    fit.add_argument("--offset", metavar="COLUMN", help="a known part of the mean")
    fit.add_argument("--subset", metavar="EXPRESSION", help="rows to use, such as 'Days >= 2'")
    fit.add_argument(
        "--ddf",
        choices=get_args(Ddf),
        help="degrees of freedom (kenward-roger adjusts the standard errors too)",
    )
    fit.add_argument("--json", metavar="FILE", help="write the results as JSON ('-': print them)")
    fit.add_argument("--html", metavar="FILE", help="write the summary as a page")
    fit.set_defaults(run=_fit)
    listing = commands.add_parser("datasets", help="list the bundled data sets, or describe one")
    listing.add_argument("name", metavar="NAME", nargs="?")
    listing.set_defaults(run=_datasets)
    return parser


def _fit(options: argparse.Namespace) -> None:
    fit = lmer(
        options.formula,
        _read(options.data),
        method="ML" if options.ml else "REML",
        weights=options.weights,
        offset=options.offset,
        subset=options.subset,
    )
    summary = fit.summary(options.ddf)
    if options.json != "-":
        print(summary)
    if options.json:
        text = json.dumps(_as_json(fit, options.ddf), indent=2)
        if options.json == "-":
            print(text)
        else:
            _write(options.json, text + "\n")
    if options.html:
        _write(options.html, summary.as_html())


def _datasets(options: argparse.Namespace) -> None:
    if options.name:
        print(datasets.describe(options.name))
        return
    names = datasets.list()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {datasets.describe(name).splitlines()[0]}")


def _read(name: str) -> pd.DataFrame:
    """A file, or a bundled data set."""
    path = Path(name)
    suffixes = "".join(path.suffixes[-2:]).lower()
    if not path.is_file():
        if path.suffix or "/" in name:
            raise DataError(f"no file {name!r}")
        return datasets.load(name)
    try:
        if suffixes.endswith((".parquet", ".pq")):
            if find_spec("pyarrow") is None:
                raise DataError("Parquet files need pyarrow: pip install 'mixedfit[arrow]'")
            return pd.read_parquet(path)
        if suffixes.endswith((".csv", ".csv.gz")):
            return pd.read_csv(path)
    except (OSError, ValueError) as error:
        if isinstance(error, MixedfitError):
            raise
        raise DataError(f"{name!r} cannot be read: {error}") from None
    raise DataError(f"{name!r} is neither .csv, .csv.gz nor .parquet")


def _write(name: str, text: str) -> None:
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{name!r} cannot be written: {error.strerror}") from None


def _as_json(fit: MixedResults, ddf: Ddf | None) -> dict[str, Any]:
    """Everything the summary tells, in numbers."""
    optimum = fit.optimum
    coefficients = fit.coef_table(ddf).rename(columns={"se": "std_error", "p": "p_value"})
    return {
        "formula": fit.formula,
        "method": fit.method,
        "nobs": fit.nobs,
        "n_missing": fit.n_missing,
        "ngroups": fit.ngroups,
        "dropped_columns": fit.dropped_columns,
        "status": fit.status,
        "optimum": {
            "fun": float(optimum.fun),
            "gradient": optimum.gradient.tolist(),
            "decrement": float(optimum.decrement),
            "nfev": optimum.nfev,
            "message": optimum.message,
        },
        "llf": float(fit.llf),
        "aic": float(fit.aic),
        "bic": float(fit.bic),
        "sigma": fit.sigma,
        "ddf": coefficients.attrs["ddf"],
        "fixed": json.loads(coefficients.to_json(orient="records", double_precision=15)),
        "random": json.loads(fit.varcorr.to_frame().to_json(orient="records", double_precision=15)),
    }

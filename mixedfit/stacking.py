"""Several responses stacked into one column, for models of more than one response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixedfit.errors import DataError
from mixedfit.frames import Labels, as_pandas, column_names, read_frame

__all__ = ["stack_responses"]


def stack_responses(
    data: Any,
    responses: Sequence[str],
    *,
    response: str = "response",
    value: str = "value",
    row: str = "row",
) -> pd.DataFrame:
    """Stack the columns of several responses into one: a long frame.

    Parameters
    ----------
    data : pandas, polars or pyarrow frame, or dict of columns
        Not changed.
    responses : list of str
        Two or more numeric columns.
    response, value, row : str
        Names of the new columns: which response (categorical, in the order given), its value, and
        the number of the row it comes from.

    Returns
    -------
    DataFrame
        ``len(responses)`` rows for each row of the data, next to each other, with its other
        columns repeated. A missing response stays missing: fit with ``na_action="drop"``.

    Raises
    ------
    DataError
        If a column is missing, is not numeric, or would be overwritten.

    Notes
    -----
    A hierarchical normal model of a pair of responses, with group means ``m_l ~ N(mu, V)`` and rows
    ``y_i ~ N(m_l[i], Sigma)``, is lme on the long frame: random effects of the response within
    groups give V; `CorSymm` between the responses of one row, and `VarIdent` by response, give
    Sigma.

    Examples
    --------
    >>> import mixedfit as mf
    >>> wide = {"y1": [1.0, 2.0], "y2": [10.0, 20.0], "g": ["a", "b"]}
    >>> mf.stack_responses(wide, ["y1", "y2"])
       row response  value  g
    0    0       y1    1.0  a
    1    0       y2   10.0  a
    2    1       y1    2.0  b
    3    1       y2   20.0  b

    Scores on two tests, pupils within schools, as a hierarchical normal model:

    >>> import numpy as np
    >>> rng = np.random.default_rng(3)
    >>> school = np.repeat(np.arange(60), 10)
    >>> means = rng.multivariate_normal([50.0, 60.0], [[16.0, 8.0], [8.0, 9.0]], 60)
    >>> scores = means[school] + rng.multivariate_normal([0, 0], [[25.0, 9.0], [9.0, 36.0]], 600)
    >>> pupils = {"maths": scores[:, 0], "reading": scores[:, 1], "school": school}
    >>> fit = mf.lme(
    ...     "value ~ 0 + response",
    ...     "~ 0 + response | school",
    ...     mf.stack_responses(pupils, ["maths", "reading"]),
    ...     correlation=mf.CorSymm(form="~ response | school/row"),
    ...     weights=mf.VarIdent(form="~ 1 | response"),
    ... )
    >>> fit.varcorr.cov["school"].to_numpy().round(1)  # V
    array([[20.6, 10.1],
           [10.1,  9.3]])
    >>> fit.marginal_cov(0, "conditional").iloc[:2, :2].to_numpy().round(1)  # Sigma
    array([[25.7,  8.9],
           [ 8.9, 33.5]])
    """
    names = list(responses) if not isinstance(responses, str) else [responses]
    columns = column_names(data)
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"responses must be two or more different columns, not {responses!r}")
    others = [name for name in columns if name not in names]
    for new in (response, value, row):
        if new in others:
            raise DataError(
                f"the data have a column {new!r} already; name the new ones otherwise, as in "
                f"{'response' if new == response else 'value' if new == value else 'row'}="
                f"{new + '_'!r}"
            )
    frame = read_frame(data, names)
    for name in names:
        if isinstance(frame[name], Labels):
            raise DataError(f"response {name!r} must be numeric, but holds labels")
    k, n = len(names), frame.n
    values = np.column_stack([np.asarray(frame[name], dtype=float) for name in names]).ravel()
    which = pd.Categorical.from_codes(np.tile(np.arange(k), n), categories=pd.Index(names))
    rows = np.repeat(np.arange(n), k)
    kept = as_pandas(data, others).take(rows).reset_index(drop=True)
    return pd.concat([pd.DataFrame({row: rows, response: which, value: values}), kept], axis=1)

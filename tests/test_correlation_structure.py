"""What every correlation refuses: ties, single rows, forms and values it cannot hold."""

from __future__ import annotations

import pytest

from mixedfit.correlation import CorAR1, CorARMA, CorCAR1
from mixedfit.correlation_spatial import CorExp
from mixedfit.errors import MixedfitError, ModelError
from mixedfit.residual import bind_residual
from tests.residual_cases import bind_to_ties, refused_rows


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorAR1(form="~ t | g"), "time 't' is 1 in more than one row in group 'a'"),
        (lambda: CorCAR1(form="~ t | g"), "more than one row"),
        (lambda: CorARMA(form="~ t | g", p=2), "more than one row"),
        (lambda: CorExp(form="~ t | g"), "position 't' is 1 in more than one row"),
        (lambda: CorAR1(fixed=True), "needs the value to hold"),
        (lambda: CorExp(form="~ x", fixed=True), "needs the value to hold"),
        (lambda: CorAR1(form="~ fitted(.)"), "cannot use fitted values"),
    ],
)
def test_ties_and_what_no_structure_can_hold_are_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MixedfitError, match=message):
        bind_to_ties(make)


def test_rows_alone_in_their_group_have_no_correlation() -> None:
    with pytest.raises(ModelError, match="every group has one row"):
        bind_residual(CorAR1(form="~ 1 | i"), None, refused_rows())

"""The random effects of a call of nlme's lme."""

from __future__ import annotations

from typing import Any, TypeAlias

from mixedfit.formula import RandomEffect, parse

__all__ = ["Random", "read_random"]

Random: TypeAlias = Any


def read_random(random: Random) -> tuple[RandomEffect, ...]:
    """Read ``random=``: ``"~ age | Subject"`` or nested ``"~ 1 | School/Class"``."""
    return parse(f"y ~ 1 + ({random.lstrip().removeprefix('~')})").random

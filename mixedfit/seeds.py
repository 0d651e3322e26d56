"""Seeds as random number generators."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedfit.errors import MixedfitError

__all__ = ["generator_of"]


def generator_of(seed: Any) -> np.random.Generator:
    """The generator of a seed.

    Parameters
    ----------
    seed : int, sequence of int, numpy Generator or None
        None takes one from the operating system.

    Raises
    ------
    MixedfitError
        If it is none of these.

    Examples
    --------
    >>> int(generator_of(1).integers(100))
    47
    """
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise MixedfitError(
            f"seed must be a whole number of at least 0, a numpy Generator or None, not {seed!r}"
        ) from None

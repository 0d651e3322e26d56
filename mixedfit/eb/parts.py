"""Work in parts that fit in memory."""

from __future__ import annotations

__all__ = ["parts"]


def parts(total: int, width: int, held: int) -> list[slice]:
    """Slices of 0 to `total` that hold at most `held` numbers where a row has `width` of them.

    Examples
    --------
    >>> parts(5, 10, 20)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, held // max(width, 1))
    return [slice(start, min(start + step, total)) for start in range(0, total, step)]

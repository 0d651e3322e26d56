"""Compact letter displays: means that share a letter are not told apart."""

from __future__ import annotations

import numpy as np

from mixedfit.arrays import Array, BoolArray

__all__ = ["letters"]


def letters(values: Array, different: BoolArray) -> list[str]:
    """Letters for means such that two share one exactly when they are not different.

    Parameters
    ----------
    values : array of shape (m,)
        The means, nan where there is none; letters run from the largest down.
    different : bool array of shape (m, m)
        Which pairs are told apart, symmetric.

    Returns
    -------
    list of str
        One a mean, ``"ab"`` for two letters, empty where there is no mean.

    Notes
    -----
    Insert-absorb (Piepho 2004, J. Comput. Graph. Stat. 13): one set holds all means; each pair told
    apart splits the sets that hold both; sets within others are dropped.

    Examples
    --------
    >>> import numpy as np
    >>> far = np.abs(np.subtract.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])) > 1.5
    >>> letters(np.array([1.0, 2.0, 3.0]), far)
    ['b', 'ab', 'a']
    """
    present = np.flatnonzero(~np.isnan(values))
    order = present[np.argsort(-values[present], kind="stable")]
    sets = [frozenset(order.tolist())]
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            if different[i, j]:
                sets = _split(sets, int(i), int(j))
    rank = {int(i): place for place, i in enumerate(order)}
    sets.sort(key=lambda members: sorted(rank[i] for i in members))
    out = [""] * len(values)
    for k, members in enumerate(sets):
        for i in members:
            out[i] += _letter(k)
    return out


def _split(sets: list[frozenset[int]], i: int, j: int) -> list[frozenset[int]]:
    """Sets that hold no pair i, j, without those that others contain."""
    parts: list[frozenset[int]] = []
    for members in sets:
        both = i in members and j in members
        parts += [members - {i}, members - {j}] if both else [members]
    kept: list[frozenset[int]] = []
    for members in sorted(parts, key=len, reverse=True):
        if not any(members <= other for other in kept):
            kept.append(members)
    return kept


def _letter(k: int) -> str:
    """Small letters, then capitals, then numbers."""
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return alphabet[k] if k < len(alphabet) else f"({k + 1})"

"""How far a long run has come, told on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["reporter"]

# Seconds before the first word, and between words.
_PATIENCE = 2.0
_EVERY = 0.5


def _silent(done: int) -> None:
    """Say nothing."""
    del done


def reporter(what: str, total: int, shown: bool | None = None) -> Callable[[int], None]:
    """A function to tell how many of the total are done.

    Parameters
    ----------
    what : str
    total : int
    shown : bool, optional
        Write to standard error always or never; by default when it is a terminal. Runs that end
        within two seconds write nothing.
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        return _silent
    start = time.monotonic()
    last = start

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        written = last > start
        if done >= total:
            if written:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            return
        if now - start > _PATIENCE and now - last > _EVERY:
            left = (now - start) * (total - done) / max(done, 1)
            sys.stderr.write(f"\r{what}: {done} of {total}, about {left:.0f} s left\x1b[K")
            sys.stderr.flush()
            last = now

    return tell

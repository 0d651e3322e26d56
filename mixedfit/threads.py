"""How many threads BLAS may use.

OpenBLAS puts threads on triangular solves of order 4, which on a busy machine turns microseconds
into milliseconds; a fit therefore runs on one thread, and gets the others back only around dense
blocks large enough to gain from them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread", "threads_for"]

# Order of a dense block from which factoring and inverting it gain from more threads.
_WORTH_THREADS = 400


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _most_threads() -> int:
    return max((pool["num_threads"] for pool in _controller().info()), default=1)


def one_thread() -> AbstractContextManager[object]:
    """One BLAS thread within the block; the caller's setting comes back after it."""
    _most_threads()
    return _controller().limit(limits=1)


def threads_for(order: int) -> AbstractContextManager[object]:
    """As many threads within the block as a dense matrix of this order can use."""
    if order < _WORTH_THREADS:
        return nullcontext()
    return _controller().limit(limits=_most_threads())

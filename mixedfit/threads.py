"""How many threads BLAS may use.

OpenBLAS puts threads on triangular solves of order 4, and threads that wait for a core that others
use turn microseconds into milliseconds. A fit therefore runs on one thread, and gets the others
back only around dense blocks large enough to gain from them, and only while a core is idle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread", "threads_for"]

# Order of a dense block from which factoring and inverting it gain from more threads.
_WORTH_THREADS = 500

# What the caller of the outermost `one_thread` allowed.
_allowed: ContextVar[int | None] = ContextVar("_allowed", default=None)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _current() -> int:
    return max((library.num_threads for library in _controller().lib_controllers), default=1)


def _core_idle() -> bool:
    """Whether, over the last minute, a core was left beside the ones in use."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # not told on this system
        return False
    return load < (os.cpu_count() or 1) - 0.5


@contextmanager
def one_thread() -> Iterator[None]:
    """One BLAS thread within the block; the caller's setting comes back after it."""
    if _allowed.get() is not None:  # already inside such a block
        yield
        return
    token = _allowed.set(_current())
    try:
        with _controller().limit(limits=1):
            yield
    finally:
        _allowed.reset(token)


def threads_for(order: int) -> AbstractContextManager[object]:
    """As many of the caller's threads within the block as a dense matrix of this order can use."""
    allowed = _allowed.get()
    if order < _WORTH_THREADS or allowed is None or allowed == 1 or not _core_idle():
        return nullcontext()
    return _controller().limit(limits=allowed)

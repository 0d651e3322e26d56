import os

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mixedfit.threads import one_thread, threads_for


def most() -> int:
    return max(pool["num_threads"] for pool in threadpool_info())


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)


@pytest.mark.usefixtures("idle")
def test_a_fit_runs_on_one_thread_and_gives_the_others_back():
    before = most()
    with one_thread():
        assert most() == 1
        with threads_for(10):
            assert most() == 1
        with threads_for(10_000):
            assert most() == before
        assert most() == 1
        with one_thread():
            assert most() == 1
    assert most() == before


@pytest.mark.usefixtures("idle")
def test_the_callers_own_limit_holds():
    with threadpool_limits(1), one_thread(), threads_for(10_000):
        assert most() == 1


def test_a_busy_machine_keeps_its_cores(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 64.0, 64.0), raising=False)
    with one_thread(), threads_for(10_000):
        assert most() == 1


def test_a_system_that_does_not_tell_its_load(monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    with one_thread(), threads_for(10_000):
        assert most() == 1

from __future__ import annotations

import pytest

from mixedfit import progress


def test_long_runs_tell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    clock = iter([0.0, 1.0, 2.5, 2.6, 3.2, 4.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    tell = progress.reporter("case bootstrap", 10, shown=True)
    for done in (2, 5, 6, 8, 10):
        tell(done)
    text = capsys.readouterr().err
    assert "case bootstrap: 5 of 10, about 2 s left" in text
    assert "6 of 10" not in text  # too soon after the last word
    assert "8 of 10" in text
    assert text.endswith("\r\x1b[K")


def test_short_runs_and_files_stay_silent(capsys: pytest.CaptureFixture) -> None:
    for shown in (True, None, False):
        tell = progress.reporter("bootstrap", 3, shown)
        for done in (1, 2, 3):
            tell(done)
    assert capsys.readouterr().err == ""

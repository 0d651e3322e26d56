"""The README's example prints what it says, and its commands are those that exist."""

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_prints_what_it_says():
    (code,), (expected,) = blocks("python"), blocks("text")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == expected


def test_it_fits_on_a_screen_and_its_example_in_ten_lines():
    assert len(README.splitlines()) <= 75
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 10


def test_two_commands_install_fit_and_test():
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 2
    assert 'mixedfit fit "Reaction ~ Days + (Days | Subject)" sleepstudy' in commands[0]
    assert "[test]" in commands[1]
    assert "pytest" in commands[1]

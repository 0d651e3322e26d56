"""The code of documentation pages runs."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["quickstart", "which_verb", "diagnostics", "tests"])
def test_pages_run(page: str) -> None:
    plt.switch_backend("Agg")
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    cells = re.findall(r"```\{code-cell\}\n(.*?)```", text, flags=re.DOTALL)
    assert cells
    scope: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, f"{page}.md", "exec"), scope)
        plt.close("all")

"""docs/design/schedules.md shows what the tool says: its console blocks are run and compared.

In the conventions of tools/console_blocks.py, like the tutorials.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.console_blocks import ROOT, complaints, run_page


@pytest.mark.slow
def test_the_page_on_schedules_shows_what_the_tool_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "design" / "schedules.md").read_text(encoding="utf-8")
    outcomes = run_page(page, tmp_path)
    assert len(outcomes) > 5, "the page shows commands"
    wrong = complaints(outcomes)
    assert not wrong, "\n".join(wrong)

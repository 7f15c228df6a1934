"""The documentation points at what exists: links between pages, and files named in CONTRIBUTING.md.

In: every Markdown page of the repository. A page that is moved or renamed, or a file that a guide
names and that is gone, fails here with the page and the name.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "src/**/*.md", "benchmarks/*.md")
    for path in REPOSITORY.glob(pattern)
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"`((?:src|tests|tools|benchmarks|docs|examples)/[\w./-]+\.\w+)`")
# Files of the worked example, which readers add.
EXAMPLE = {"src/utvm/op/square.py", "tests/op/test_square.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    missing = [link for link in inside if not (page.parent / link).exists()]
    assert not missing


def test_files_that_contributing_names_exist() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(NAMED.findall(text))
    assert len(named) > 10
    assert not {name for name in named - EXAMPLE if not (REPOSITORY / name).exists()}

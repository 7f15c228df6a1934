"""The tutorials do what they say: every command of their console blocks is run and compared.

In: docs/tutorial/*.md, in the conventions of tools/console_blocks.py. Numbers that are measured may
differ from the page; ``tools/refresh_docs.py`` writes current ones. The first tests hold the
comparison itself against pages that are wrong.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.console_blocks import ROOT, complaints, refreshed_page, run_page, steps

TUTORIALS = sorted(ROOT.glob("docs/tutorial/*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_prints_what_it_shows(path: Path, tmp_path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    if "$ qemu-system-arm" in page and shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    outcomes = run_page(page, tmp_path)
    assert len(outcomes) > 5, "the page shows commands"
    wrong = complaints(outcomes)
    assert not wrong, "\n".join(wrong)


def page(info: str, command: str, *shown: str) -> str:
    """A page with one command."""
    return "\n".join([f"```{info}", f"$ {command}", *shown, "```", ""])


def shows_what_it_prints(tmp_path: Path, text: str) -> bool:
    return not complaints(run_page(text, tmp_path))


@pytest.mark.parametrize(
    ("shown", "right"),
    [
        (["one 1", "two  2", "three 3"], True),
        (["one 1", "two 2", "three 3"], True),
        (["one 1", "...", "three 3"], True),
        (["...", "three 3"], True),
        (["one 1", "...", "two  2", "three 3"], True),
        (["one 1", "two ...", "three 3"], True),
        (["one 1", "two  2"], False),
        (["one 1", "two  3", "three 3"], False),
        (["...", "two  2"], False),
        ([], False),
    ],
)
def test_plain_output_is_exact_but_for_dots_and_spaces(
    tmp_path: Path, shown: list[str], right: bool
) -> None:
    text = page("console", r"printf 'one 1\ntwo  2\nthree 3\n'", *shown)
    assert shows_what_it_prints(tmp_path, text) is right


@pytest.mark.parametrize(
    ("shown", "right"),
    [
        ("dense_0  1,024  2.5  ####  99.1%", True),
        ("dense_0  7  -3  #  0.1%", True),
        ("dense_0  7  -3  0.1%", True),
        ("dense_1  1,024  2.5  ####  99.1%", False),
        ("dense_0  1,024  2.5  ####  99.1", False),
        ("dense_0  1,024  -  ####  99.1%", False),
    ],
)
def test_measured_output_may_have_other_numbers(tmp_path: Path, shown: str, right: bool) -> None:
    text = page("console figures", "echo 'dense_0  1,024  2.5  ####  99.1%'", shown)
    assert shows_what_it_prints(tmp_path, text) is right


def test_refreshing_writes_measured_numbers_only(tmp_path: Path) -> None:
    text = page("console", "echo 7 rows", "7 rows")
    text += page("console figures", r"printf 'a 12 B\nb 3\nc 4\n'", "a  1 B", "...", "c ...")
    outcomes = run_page(text, tmp_path)
    assert refreshed_page(text, outcomes) == text.replace("a  1 B", "a 12 B")


def test_files_are_written_before_the_commands_behind_them(tmp_path: Path) -> None:
    text = "Save this as `note.txt`:\n\n```text\nhello\n```\n\n" + page("console", "cat note.txt")
    assert [step.name or step.command for step in steps(text)] == ["note.txt", "cat note.txt"]
    assert run_page(text, tmp_path)[0].printed == "hello\n"


def test_other_blocks_are_not_run() -> None:
    assert not steps("```sh\nmake demo\n```\n\n```text\n$ false\n```\n")

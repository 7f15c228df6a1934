"""What README.md says of the command line and of Python is true, and the demo runs.

The examples are executed as they stand; the tables of commands, options, operators and targets are
compared with the code.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.conftest import REPOSITORY
from tools.console_blocks import complaints, run_page
from utvm.cli.main import COMMANDS
from utvm.cli.run import command as run_command
from utvm.importers.tflite_ops import ROWS
from utvm.target.target import list_targets

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def row(heading: str) -> list[str]:
    """The words of the second column of a row."""
    line = next(line for line in README.splitlines() if line.startswith(f"| {heading} |"))
    return [word.strip("`,;") for word in line.split("|")[2].split()]


def test_examples_print_what_they_show(tmp_path: Path) -> None:
    outcomes = run_page(README, tmp_path)
    assert len(outcomes) == 2
    assert not complaints(outcomes)


def test_commands_are_all_there() -> None:
    for name in COMMANDS:
        assert f"| `utvm {name}" in README


def test_options_of_run_are_all_there() -> None:
    common = {"--params", "--json", "--debug"}
    for option in run_command.params:
        if isinstance(option, click.Option) and not common & set(option.opts):
            assert f"`{option.opts[0]}" in README


def test_targets_are_all_there() -> None:
    assert sorted(row("Targets")) == list(list_targets())


def test_demo_measures_the_accuracy() -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "digits" / "demo.py")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "450 test images, measured on Emulated Cortex-M7: 98.89% (445 right)" in done.stdout
    assert "bit for bit" in done.stdout
    assert "predicted 2        predicted 0" in done.stdout
    assert "cycles/MAC" in done.stdout and "flash" in done.stdout


@pytest.mark.parametrize("heading", ["Layers", "Elementwise", "Moving data"])
def test_listed_operators_are_translated(heading: str) -> None:
    assert set(row(heading)) <= set(ROWS)

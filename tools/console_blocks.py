"""Runs the commands that a Markdown page shows and compares what they print with what it shows.

In: a page, and a folder to work in. Out: the places where the page is wrong, and the page with its
figures brought up to date. Conventions, all of them visible to a reader:

- A line "Save this as `NAME`:" before a code block writes the block to that file.
- In a ```console block, lines after "$ " are commands, what follows is their output. "..." stands
  for anything, alone on a line for any number of lines. Spaces in a row count as one.
- In a ```console figures block, numbers are measured: any number is right, refreshing writes the
  current ones. Lines with "..." are left as they are.
- Other blocks, such as ```sh, are not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.M | re.S)
_SAVE = re.compile(r"^Save .*`(?P<name>[\w.-]+)`:\n+$", re.M)
_ANY_LINES = "..."
# A number, a bar of the table, a unit: what a measured figure may change. Then runs of spaces.
_FIGURE = re.compile(r" *#+ *|-?(?<!\w)\d[\d,]*(?:\.\d+)?|\b(?:[KM]i)?B\b| +")
_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Step:
    """A file to write (``name``) or a command; ``start``, ``end``: the place of ``text``."""

    start: int
    end: int
    text: str  # the file's content, or the shown output
    command: str = ""
    name: str = ""
    measured: bool = False


@dataclass(frozen=True)
class Outcome:
    """A command that was run. ``fresh`` is what the page should show; None: it contradicts."""

    step: Step
    printed: str
    fresh: str | None


def steps(page: str) -> list[Step]:
    """Files and commands in the order of the page."""
    found: list[Step] = []
    for fence in _FENCE.finditer(page):
        info, start = fence["info"].split(), fence.start("body")
        before = page[: fence.start()]
        saved = _SAVE.search(before, before.rfind("\n", 0, len(before.rstrip("\n"))) + 1)
        if saved:
            found.append(Step(start, fence.end("body"), fence["body"], name=saved["name"]))
        elif info[:1] == ["console"]:
            found += _commands(fence["body"], start, "figures" in info)
    return found


def _commands(body: str, start: int, measured: bool) -> list[Step]:
    """The commands of one block; a backslash at the end of a line continues a command."""
    pattern = re.compile(r"^\$ (?P<command>(?:.*\\\n)*.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.M)
    return [
        Step(
            start + match.start("output"),
            start + match.end("output"),
            match["output"],
            command=match["command"],
            measured=measured,
        )
        for match in pattern.finditer(body)
    ]


def run_page(page: str, folder: Path) -> list[Outcome]:
    """Does what the page says, in ``folder``; ``examples`` is there as at the root of the tree."""
    environment = _environment(folder)
    outcomes = []
    for step in steps(page):
        if step.name:
            (folder / step.name).write_text(step.text, encoding="utf-8")
            continue
        result = subprocess.run(
            step.command,
            shell=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        printed = "".join(f"{line.rstrip()}\n" for line in result.stdout.splitlines())
        outcomes.append(Outcome(step, printed, fresh_output(step, printed)))
    return outcomes


def _environment(folder: Path) -> dict[str, str]:
    """``utvm`` and ``python`` are this tree and this interpreter, wherever they are installed."""
    programs = folder / ".programs"
    programs.mkdir()
    for name, command in (("utvm", "-m utvm.cli"), ("python", "")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    (folder / "examples").symlink_to(ROOT / "examples")
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "LC_ALL": "C.UTF-8"}


def fresh_output(step: Step, printed: str) -> str | None:
    """The shown output with current figures, or None where ``printed`` is something else."""
    shown = step.text.splitlines()
    match = re.fullmatch("".join(_line_pattern(line, step.measured) for line in shown), printed)
    if match is None:
        return None
    groups = iter(match.groups())
    lines = [line if line == _ANY_LINES else (next(groups), line) for line in shown]
    return "".join(f"{_refreshed(line)}\n" for line in lines)


def _refreshed(line: str | tuple[str, str]) -> str:
    if isinstance(line, str):
        return line
    printed, shown = line
    return shown if _ANY_LINES in shown else printed


def _line_pattern(line: str, measured: bool) -> str:
    if line == _ANY_LINES:
        return r"(?:.*\n)*?"
    return f"({'.*?'.join(_text_pattern(p, measured) for p in line.split(_ANY_LINES))})\n"


def _text_pattern(text: str, measured: bool) -> str:
    pattern, at = "", 0
    for token in _FIGURE.finditer(text):
        pattern += re.escape(text[at : token.start()]) + _token_pattern(token[0], measured)
        at = token.end()
    return pattern + re.escape(text[at:])


def _token_pattern(token: str, measured: bool) -> str:
    if not token.strip():
        return "[ #]+" if measured else " +"
    if not measured:
        return re.escape(token)
    if "#" in token:
        return "[ #]*"
    return "(?:[KM]i)?B" if token.endswith("B") else r"-?\d[\d,]*(?:\.\d+)?"


def refreshed_page(page: str, outcomes: list[Outcome]) -> str:
    """The page with the outputs of ``outcomes``, of which none may contradict it.

    Where a measured block has nothing left out, its new output replaces it whatever it is.
    """
    for outcome in reversed(outcomes):
        step = outcome.step
        if not step.measured:
            continue
        fresh = outcome.fresh
        if fresh is None and _ANY_LINES not in step.text:
            fresh = outcome.printed
        if fresh is not None:
            page = page[: step.start] + fresh + page[step.end :]
    return page


def complaints(outcomes: list[Outcome]) -> list[str]:
    """What is wrong with a page, for people: command, shown and printed output."""
    return [
        f"$ {o.step.command}\n--- the page shows\n{o.step.text}--- printed\n{o.printed}"
        for o in outcomes
        if o.fresh is None
    ]

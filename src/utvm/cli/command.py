"""What all commands share: --json, --debug, and how errors reach the user.

A command is a function that takes ``as_json`` and returns an exit code. ``reporting`` adds the two
options and turns errors into one line on standard error and an exit code: 1 for the user's
mistakes, 70 for a defect of utvm. With --json the error is also the one JSON object that goes to
standard output.
"""

from __future__ import annotations

import functools
import json
import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import click

from utvm.support.errors import InternalError, UtvmError

EXIT_OK, EXIT_MISTAKE, EXIT_DEFECT, EXIT_INTERRUPTED = 0, 1, 70, 130
REPORT = (
    "this is a defect of utvm; please report it with the model and the command, as CONTRIBUTING.md "
    "describes (--debug shows where it happened)"
)
# What a wrong program raises. Not OSError (the machine's), MemoryError or KeyboardInterrupt.
_DEFECTS = (
    InternalError,
    AssertionError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)

Command = Callable[..., int]


def reporting(function: Command) -> Command:
    """Adds --json and --debug to a command and reports its errors."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
    @click.option("--debug", is_flag=True, help="On a defect of utvm, show the traceback.")
    @functools.wraps(function)
    def command(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> int:
        try:
            return function(*args, as_json=as_json, **kwargs)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except UtvmError as error:
            return _mistake(error, as_json)
        except BrokenPipeError:
            raise
        except OSError as error:
            what = error.strerror or type(error).__name__
            return _mistake(UtvmError(what, where=str(error.filename or "")), as_json)
        except MemoryError:
            return _mistake(UtvmError("this machine's memory does not suffice"), as_json)
        except _DEFECTS as error:
            if debug:
                traceback.print_exc()
            return _defect(error, as_json)

    return command


def print_json(content: Mapping[str, object]) -> None:
    """The one JSON object of a command that was called with --json."""
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def _mistake(error: UtvmError, as_json: bool) -> int:
    click.echo(f"utvm: error: {_one_line(str(error))}", err=True)
    if as_json:
        parts = {"kind": type(error).__name__, "message": str(error), "what": error.what}
        others = {name: getattr(error, name) for name in ("where", "expected", "found", "hint")}
        print_json({"error": {**parts, **others}})
    return EXIT_MISTAKE


def _defect(error: BaseException, as_json: bool) -> int:
    what = _one_line(f"{type(error).__name__}: {error}")
    click.echo(f"utvm: internal error: {what}; {REPORT}", err=True)
    if as_json:
        print_json({"error": {"kind": "InternalError", "message": what, "hint": REPORT}})
    return EXIT_DEFECT


def _one_line(text: str) -> str:
    """Line ends would break the rule of one line; other control characters, the terminal."""
    return "".join(c if c.isprintable() else " " for c in text.replace(os.linesep, " "))

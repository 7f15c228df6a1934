"""What ``utvm tune`` shows while it runs: a line that changes on a terminal, else a line at times.

In: updates of the tuner. Out: text on standard error: trials, rate, time left; on a terminal also
the curve of the best cycles so far.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.text import Text

from utvm.cli.output import count
from utvm.cli.tune_curve import curve_lines
from utvm.tune.curve import Point
from utvm.tune.tuner import Update

_LINE_SECONDS = 10.0


@contextmanager
def showing(quiet: bool) -> Iterator[Callable[[Update], None]]:
    """Yields what takes the updates."""
    if quiet:
        yield lambda update: None
    elif sys.stderr.isatty():
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        curve: list[Point] = []
        with console.status(Text("starting devices")) as status:

            def show(update: Update) -> None:
                if update.total is not None:
                    seconds = update.record.elapsed
                    curve.append(Point(update.done, update.total, seconds=seconds))
                chart = "\n".join(["", *curve_lines(curve, console)])
                status.update(Text(_line(update)).append(chart, style="cyan"))

            yield show
    else:
        yield _Lines().show


class _Lines:
    """A line for the first trial, then one every ten seconds, and one for the last."""

    def __init__(self) -> None:
        self.last = 0.0

    def show(self, update: Update) -> None:
        now = time.monotonic()
        if now - self.last >= _LINE_SECONDS or update.done == update.trials:
            self.last = now
            click.echo(_line(update), err=True)


def _line(update: Update) -> str:
    left = (update.trials - update.done) / update.rate if update.rate else 0.0
    return (
        f"{update.done}/{update.trials} trials, {update.rate:.1f} per second, "
        f"{left:.0f} s left, best {count(update.total)} cycles"
    )

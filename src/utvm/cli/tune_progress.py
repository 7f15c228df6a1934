"""What ``utvm tune`` shows while it runs: a line that changes on a terminal, else a line at times.

In: updates of the tuner. Out: text on standard error: trials, rate, time left, and the curve of the
best cycles so far as small bars, the highest for the first and the lowest for the best.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.text import Text

from utvm.cli.output import count
from utvm.tune.tuner import Update

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.-=*#"
_WIDTH = 32
_LINE_SECONDS = 10.0


@contextmanager
def showing(quiet: bool) -> Iterator[Callable[[Update], None]]:
    """Yields what takes the updates."""
    if quiet:
        yield lambda update: None
    elif sys.stderr.isatty():
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        curve: list[int] = []
        with console.status(Text("starting devices")) as status:

            def show(update: Update) -> None:
                if update.total is not None:
                    curve.append(update.total)
                line = Text(f"{_line(update)}  ").append(curve_text(curve, console), style="cyan")
                status.update(line)

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


def curve_text(curve: Sequence[int], console: Console) -> str:
    """The curve in at most 32 bars; of neighbours that share one, the last counts."""
    if not curve:
        return ""
    plain = not console.is_terminal or console.options.ascii_only
    bars = _PLAIN_BARS if plain else _BARS
    width = min(_WIDTH, len(curve))
    points = [curve[(at + 1) * len(curve) // width - 1] for at in range(width)]
    low, high = min(points), max(points)
    levels = [
        round((p - low) / (high - low) * (len(bars) - 1)) if high > low else 0 for p in points
    ]
    return "".join(bars[level] for level in levels)

"""Printing for people: tables, bars, numbers, and progress on a terminal.

In: what a command wants to show. Out: text on standard output, with colour and block characters on
a terminal, plain ASCII in a pipe; progress on standard error, and only if that is a terminal.
Markup is off everywhere: text from a model cannot style or break anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200  # wide enough that nothing is folded; a terminal knows its own width
WIDE = 110  # columns from which tables may be generous
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def stdout_console() -> Console:
    """The console for results."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)


@contextmanager
def progress(enabled: bool = True) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error while the block runs; yields the function that sets its text."""
    if not (enabled and sys.stderr.isatty()):
        yield lambda text: None
        return
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with console.status("") as status:
        yield lambda text: status.update(Text(text))


def plain_table(*headings: str, right: Sequence[str] = (), gap: int = 2) -> Table:
    """A table without lines; the columns named in ``right`` are numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for heading in headings:
        numeric = heading in right
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric)
    return table


def bar(share: float, console: Console) -> Text:
    """``share`` as a bar of blocks, or of # where blocks cannot be shown, and in per cent."""
    cells = 16 if console.width >= WIDE else 6
    number = f" {share:6.1%}"
    if not console.is_terminal or console.options.ascii_only:
        return Text(("#" * round(share * cells)).ljust(cells) + number)
    eighths = round(share * cells * 8)
    blocks = _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    return Text(blocks.ljust(cells), style="cyan").append(number, style="default")


def count(number: int | None) -> str:
    """1234567 as '1,234,567'; nothing measured as '-'."""
    return "-" if number is None else f"{number:,}"


def ratio(numerator: int | None, denominator: int) -> str:
    """Two decimals, or '-' where there is nothing to divide."""
    return "-" if numerator is None or not denominator else f"{numerator / denominator:.2f}"


def size(size_bytes: int) -> str:
    """Bytes, and in KiB where that helps."""
    if size_bytes < 10240:
        return f"{size_bytes:,} B"
    return (
        f"{size_bytes / 1024:,.1f} KiB"
        if size_bytes < 1 << 20
        else f"{size_bytes / 2**20:,.2f} MiB"
    )

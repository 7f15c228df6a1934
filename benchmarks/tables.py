"""Markdown tables of figures, and how figures are written.

In: headings and rows of text. Out: a section of a page; columns of numbers are set to the right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMERIC = re.compile(r"[\d,./ %*+x-]+")


def section(title: str, text: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A titled table below a text. Empty without rows."""
    return "\n".join([f"## {title}\n", text, table(heading, rows)]) if rows else ""


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table alone."""
    numeric = [all(_NUMERIC.fullmatch(row[i]) for row in rows) for i in range(len(heading))]
    rule = ["--:" if right else "---" for right in numeric]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heading, rule, *rows)]
    return "\n".join([*lines, ""])


def millions(number: float | None) -> str:
    """Four digits or so: 24.72, 0.582; a dash where nothing is known."""
    if not number:
        return "-"
    return f"{number / 1e6:.2f}" if number >= 1_000_000 else f"{number / 1e6:.3f}"


def count(number: int) -> str:
    return f"{number:,}"


def ratio(number: float, divisor: float) -> str:
    """With two digits; a dash where there is nothing to divide by."""
    return f"{number / divisor:.2f}" if number and divisor else "-"

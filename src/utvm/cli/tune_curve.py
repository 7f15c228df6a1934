"""The curve of a tuning run: on a terminal, in a pipe, and as a file for a browser.

In: the points of ``tune.curve``. Out: lines of text, a chart of the best cycles so far whose axis
begins near the best; or an SVG file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from utvm.cli.output import count
from utvm.support.errors import InputError
from utvm.support.files import replace_file
from utvm.tune.curve import Point, curve_svg
from utvm.tune.tuner import TuneReport

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PLAIN = " _-="
_ROWS, _COLUMNS = 5, 60
_MOST = 1.5  # times the best: what is above is cut


def curve_lines(curve: Sequence[Point], console: Console) -> list[str]:
    """The chart; of neighbours that share a column, the last counts."""
    if not curve:
        return []
    plain = not console.is_terminal or console.options.ascii_only
    cells, bar = (_PLAIN, "|") if plain else (_EIGHTHS, "│")
    low, high = curve[-1].best, min(max(p.best for p in curve), _MOST * curve[-1].best)
    width = min(_COLUMNS, len(curve), max(console.width - 20, 1))
    points = [curve[(at + 1) * len(curve) // width - 1] for at in range(width)]
    full = len(cells) - 1
    heights = [1 + _share(p.best, low, high) * (_ROWS * full - 1) for p in points]
    labels = [count(round(high)), *[""] * (_ROWS - 2), count(low)]
    lines = []
    for row, label in enumerate(labels):
        base = (_ROWS - 1 - row) * full
        filled = "".join(cells[max(0, min(full, round(h - base)))] for h in heights)
        lines.append(f"{label:>14} {bar}{filled}".rstrip())
    seconds = f", {curve[-1].seconds:.0f} s" if curve[-1].seconds else ""
    return [*lines, f"{'':>16}{curve[0].trial} to {curve[-1].trial} trials{seconds}"]


def _share(best: float, low: float, high: float) -> float:
    return (min(best, high) - low) / (high - low) if high > low else 0.0


def check_plot(path: Path | None) -> None:
    """Refuses a place where no file can be, before anything is tuned."""
    if path is not None and (path.suffix != ".svg" or not path.parent.is_dir()):
        raise InputError(
            "the curve cannot be drawn there",
            where=str(path),
            expected="a name that ends with .svg, in a folder that is there",
        )


def write_plot(path: Path, report: TuneReport, model: str) -> None:
    """The curve as a file."""
    if not report.curve:
        raise InputError("there is no curve to draw: not every kernel has been measured")
    title = f"{model}, {report.target.name}: cycles of the kernels that are tuned"
    drawing = curve_svg(report.curve, title, report.untuned)
    replace_file(path, lambda temporary: temporary.write_text(drawing, encoding="utf-8"))

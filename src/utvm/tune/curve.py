"""The curve of a tuning run: the best cycles so far, by trials and by seconds, as a drawing.

In: points in the order of their trials. Out: an SVG file, the same for the same points. The curve
is a staircase, since what was found holds until something better is; each trial is a dot. What
takes half as long again as the best is drawn at the upper edge: nobody would choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 16, 34, 54
_CURVE, _LIMIT, _DOT, _GRID, _TEXT = "#1f5fa8", "#c0392b", "#b9bec6", "#e3e6ea", "#333333"
_MOST = 1.5
_TICKS = 5


@dataclass(frozen=True)
class Point:
    """Behind trial number ``trial``, after so many seconds, the best is ``best`` cycles; with what
    this trial measured it would be ``tried``, if it measured anything."""

    trial: int
    best: int
    tried: int | None = None
    seconds: float = 0.0


Place = Callable[[float], float]


def curve_svg(curve: Sequence[Point], title: str, untuned: int | None = None) -> str:
    """The drawing. ``untuned`` cycles, where known, are a dashed line."""
    assert curve, "a curve has points"
    last = curve[-1]
    levels = [point.best for point in curve] + ([untuned] if untuned else [])
    low, high, step = _scale(last.best, min(max(levels), _MOST * last.best))

    def x(trial: float) -> float:
        return _LEFT + trial / last.trial * (_WIDTH - _LEFT - _RIGHT)

    def y(cycles: float) -> float:
        return _TOP + (high - min(cycles, high)) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 18, title, "start"),
        *_cycles_axis(low, high, step, y),
        *_trials_axis(curve, x),
        *(_dot(x(p.trial), y(p.tried)) for p in curve if p.tried is not None),
    ]
    right = _WIDTH - _RIGHT
    if untuned:
        parts.append(_line(_LEFT, y(untuned), right, y(untuned), _LIMIT, ' stroke-dasharray="5 4"'))
        parts.append(_text(right, y(untuned) - 5, f"untuned {untuned:,}", "end"))
    path = _staircase(curve, x, y)
    parts.append(f'<path d="{path}" fill="none" stroke="{_CURVE}" stroke-width="2"/>')
    parts.append(_text(right, y(last.best) + 14, f"best {last.best:,}", "end"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _scale(least: float, most: float) -> tuple[float, float, float]:
    """Ends of the axis and the distance of its lines: 1, 2 or 5 times a power of ten."""
    rough = max(most - least, most / 20, 1) / _TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough)
    return floor(max(least / step - 0.3, 0)) * step, ceil(most / step) * step, step


def _cycles_axis(low: float, high: float, step: float, y: Place) -> Iterator[str]:
    for at in range(round((high - low) / step) + 1):
        level = low + at * step
        yield _line(_LEFT, y(level), _WIDTH - _RIGHT, y(level), _GRID)
        yield _text(_LEFT - 6, y(level) + 4, f"{level:,.0f}", "end")


def _trials_axis(curve: Sequence[Point], x: Place) -> Iterator[str]:
    """Numbers of trials, and below them the seconds at which they were done."""
    base = _HEIGHT - _BOTTOM
    yield _text(_LEFT - 6, base + 18, "trials", "end")
    last = curve[-1]
    for at in range(_TICKS + 1):
        trial = round(last.trial * at / _TICKS)
        yield _line(x(trial), base, x(trial), base + 4, _TEXT)
        yield _text(x(trial), base + 18, str(trial), "middle")
        done = [point.seconds for point in curve if point.trial <= trial]
        if last.seconds and done:
            yield _text(x(trial), base + 33, f"{max(done):.0f} s", "middle")


def _staircase(curve: Sequence[Point], x: Place, y: Place) -> str:
    """Goes down where something better was found."""
    parts = [f"M{x(curve[0].trial):.1f} {y(curve[0].best):.1f}"]
    for before, point in pairwise(curve):
        if point.best != before.best:
            parts.append(f"H{x(point.trial):.1f}V{y(point.best):.1f}")
    return "".join([*parts, f"H{x(curve[-1].trial):.1f}"])


def _line(x1: float, y1: float, x2: float, y2: float, color: str, more: str = "") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{color}"{more}/>'


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{_DOT}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" fill="{_TEXT}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"

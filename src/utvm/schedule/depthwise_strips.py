"""What a depthwise micro function across channels walks: the image, or strips of it with padding.

In: a depthwise sum. Out: its parts, inside of the image and at its borders, where each may be taken
on its own; and for one of them whether its windows stay in the image, else the strips of four
channels that are copied; and along which axis its blocks lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from utvm.schedule.combine import at_phase
from utvm.schedule.depthwise_across import GROUP, Places, words_of_block
from utvm.schedule.depthwise_sum import DepthwiseSum

LOAD = 1.3
"""Cycles of a load behind others: some take two."""
TURN = 6
"""The end of a loop."""
CONSTANTS = 3
"""Bias and constants of the rescale, per filter."""


@dataclass(frozen=True)
class AcrossSchedule:
    """The knobs: pixels of a block, channels that are summed at a time (2 or 4), most bytes of a
    strip of the padded image; whether the borders are taken for themselves (``split``), so that
    nothing else need be copied; whether blocks are ``plain``, for cores without DSP instructions.
    """

    pixels: int = 2
    lanes: int = 4
    plane_bytes: int = 6144
    split: bool = False
    plain: bool = False


def parts_of(w: DepthwiseSum, split: bool) -> list[DepthwiseSum]:
    """The results whose windows stay inside of the image, and up to four borders; the sum itself
    where that is all, or where nothing is inside."""
    (top, bottom), (left, right) = (_inside(w, axis) for axis in range(2))
    if not split or top >= bottom or left >= right:
        return [w]
    spans = [
        (top, bottom, left, right),
        (0, top, 0, w.columns),
        (bottom, w.rows, 0, w.columns),
        (top, bottom, 0, left),
        (top, bottom, right, w.columns),
    ]
    return [_part(w, *span) for span in spans if span[0] < span[1] and span[2] < span[3]]


def _inside(w: DepthwiseSum, axis: int) -> tuple[int, int]:
    """The first result whose window stays inside of the image, and the first behind these."""
    step, origin, size = w.strides[axis], w.origin[axis], w.image[1 + axis]
    dilation = (w.row_dilation, w.column_dilation)[axis]
    count = (w.rows, w.columns)[axis]
    reach = (w.window[axis] - 1) * dilation + 1
    first = min(max(-(-origin // step), 0), count)
    return first, max(min((size - reach + origin) // step + 1, count), 0)


def _part(w: DepthwiseSum, top: int, bottom: int, left: int, right: int) -> DepthwiseSum:
    """Some rows and columns of results. An origin below zero is where the image is begun."""
    epilogue = at_phase(at_phase(w.epilogue, top, 1, w.axes[0]), left, 1, w.axes[1])
    return replace(
        w,
        rows=bottom - top,
        columns=right - left,
        origin=(w.origin[0] - top * w.strides[0], w.origin[1] - left * w.strides[1]),
        epilogue=epilogue,
    )


def overhead(w: DepthwiseSum, vertical: bool, pixels: int, lanes: int) -> float:
    """What the blocks of four channels take beside products and results: loads, expanded bytes,
    ends of loops."""
    axis = 0 if vertical else 1
    step, dilation = w.strides[axis], (w.row_dilation, w.column_dilation)[axis]
    count, rows = (w.rows, w.columns)[:: 1 - 2 * axis]
    length, lines = w.window[axis], w.window[1 - axis]
    wide = w.source.dtype.bits == 16
    total = 0.0
    whole, rest = divmod(count, pixels)
    for width, blocks in ((pixels, whole), (rest, 1)):
        if not width * blocks:
            continue
        taps = [k * dilation for k in range(length)]
        seen = lines * len(words_of_block(taps, width, step, step <= dilation))
        words = seen * (2 if wide else GROUP // lanes)
        loads = words + 2 * lines * length + GROUP * CONSTANTS
        total += blocks * (LOAD * loads + (0 if wide else 2 * seen) + TURN)
    return total * rows


@dataclass(frozen=True, eq=False)
class Strips:
    """What the micro function walks: the image, or strips of four channels of it."""

    w: DepthwiseSum
    schedule: AcrossSchedule

    @cached_property
    def spans(self) -> tuple[int, int]:
        """Lines and columns that the windows see."""
        w = self.w
        right = (w.columns - 1) * w.strides[1] + (w.window[1] - 1) * w.column_dilation + 1
        return self.lines(w.rows), right

    def lines(self, rows: int) -> int:
        """Lines that ``rows`` rows of results see."""
        w = self.w
        return (rows - 1) * w.strides[0] + (w.window[0] - 1) * w.row_dilation + 1

    @property
    def begin(self) -> tuple[int, int]:
        """The line and the column of the image that are read first."""
        return max(-self.w.origin[0], 0), max(-self.w.origin[1], 0)

    @property
    def direct(self) -> bool:
        """Whether all that windows see lies in the image."""
        sides = zip(self.w.origin, self.spans, self.w.image[1:3], strict=True)
        return all(origin <= 0 and span - origin <= size for origin, span, size in sides)

    @cached_property
    def rows(self) -> int:
        """Rows of results per strip."""
        w = self.w
        size = GROUP * w.source.dtype.size_bytes * self.spans[1]
        rows = w.rows
        while rows > 1 and size * self.lines(rows) > self.schedule.plane_bytes:
            rows -= 1
        strips = -(-w.rows // rows)
        return -(-w.rows // strips)

    @cached_property
    def places(self) -> Places:
        """How the micro function walks: blocks lie along the axis where they cost less; vertical
        ones need all rows at hand."""
        _, _, width, depth = self.w.image
        knobs = self.schedule.pixels, self.schedule.lanes
        vertical = self.direct or self.rows == self.w.rows
        vertical = vertical and overhead(self.w, True, *knobs) < overhead(self.w, False, *knobs)
        if self.direct:
            return Places(depth, width * depth, self.w.rows, vertical)
        return Places(GROUP, GROUP * self.spans[1], self.rows, vertical)

    @property
    def inside(self) -> tuple[int, int]:
        """Where the image begins in a line of a strip, and how many of its pixels are there."""
        begin = max(self.w.origin[1], 0)
        seen = min(self.w.image[2] - self.begin[1], self.spans[1] - begin)
        return begin, max(seen, 0)

"""What the two forms of a depthwise kernel cost, on planes and across channels: estimates.

In: a depthwise sum and the knobs of a schedule. Out: cycles of a run on a Cortex-M4, counted as a
block is made of instructions: products, loads, what bytes are spread or expanded by, the share of
what a block does once. Good for choosing between the forms; both leave out what they have in
common.
"""

from __future__ import annotations

import math

from utvm.schedule.depthwise_across import GROUP
from utvm.schedule.depthwise_block import DepthwiseBuilder
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, column_phases, planes_of
from utvm.schedule.depthwise_plain import elements_of_block
from utvm.schedule.depthwise_strips import (
    CONSTANTS,
    LOAD,
    TURN,
    AcrossSchedule,
    Strips,
    overhead,
    parts_of,
)
from utvm.schedule.depthwise_sum import DepthwiseSum

_CALL = 60
_RESULT = 6
"""Rescale, clamp, store."""
_COMPARED, _ALONE, _PACKED, _PARKED = 2.0, 1.0, 0.5, 2.5
"""More for bounds inside of the type: by comparing, by saturating each result, four at once, and
four of which two wait for the others."""
_PLAIN_LOAD, _PLAIN_RESULT = 1.25, 5.5
"""A load among others, and a result, where blocks are of one channel."""
_SPILL = 1.08
"""What blocks across channels take beyond their instructions, for want of registers."""


def planes_cycles(w: DepthwiseSum, schedule: DepthwiseSchedule, bounded: bool = False) -> float:
    """On planes: each line is spread once per strip; a block is some columns of one channel.
    ``bounded``: results have bounds inside of their type."""
    total = 0.0
    for part in column_phases(w):
        builder, strips, lines = planes_of(part, schedule)
        whole, rest = divmod(part.columns, builder.width)
        blocks = whole * _planes_block(builder, builder.width)
        blocks += _planes_block(builder, rest) if rest else 0.0
        seen = min(part.image[2] // part.column_step + 1, builder.layout.columns)
        groups = -(-part.image[3] // GROUP)
        spread = groups * strips * (lines * (9 * seen + 30) + _CALL)
        result = _RESULT + (_COMPARED if bounded else 0)
        results = part.rows * part.columns * part.filters
        total += part.image[0] * (part.rows * part.filters * blocks + spread + result * results)
    return total


def _planes_block(builder: DepthwiseBuilder, width: int) -> float:
    """A block of ``width`` columns, up to its sums."""
    w = builder.w
    kh, kw = w.window
    parities = [(builder.layout.shift + x * w.strides[1]) % 2 for x in range(width)]
    products = sum(len(builder.taps(parity)) for parity in parities)
    words = -(-((width - 1) * w.strides[1] + kw) // 2) + builder.row_words
    narrow = 0 if builder.wide else builder.words_per_row()
    return kh * (products + LOAD * words + narrow) + LOAD * CONSTANTS + TURN + width - 1


def across_cycles(w: DepthwiseSum, schedule: AcrossSchedule, bounded: bool = False) -> float:
    """Across channels: a block is some pixels of four channels."""
    wide = w.source.dtype.bits == 16
    result = float(_RESULT)
    if bounded and w.multiplier == 1:
        result += _PACKED if schedule.lanes == GROUP else _PARKED
    elif bounded:
        result += _ALONE
    total = 0.0
    for part in parts_of(w, schedule.split):
        strips = Strips(part, schedule)
        results = GROUP * part.rows * part.columns * (math.prod(part.window) + result)
        blocks = overhead(part, strips.places.vertical, schedule.pixels, schedule.lanes)
        total += _SPILL * part.multiplier * (results + blocks) + _CALL / max(w.image[3] // GROUP, 1)
        if not strips.direct:
            times = -(-part.rows // strips.rows)
            line = strips.inside[1] * (4.5 if wide else 2.5)
            total += times * (strips.lines(strips.rows) * (line + 30) + _CALL)
    return w.image[0] * -(-w.image[3] // GROUP) * total


def plain_cycles(w: DepthwiseSum, schedule: AcrossSchedule) -> float:
    """Without packed words: a block is some pixels of one channel."""
    total = 0.0
    for part in parts_of(w, schedule.split):
        strips = Strips(part, schedule)
        vertical = strips.places.vertical
        axis = 0 if vertical else 1
        count, outer = (part.rows, part.columns)[:: 1 if vertical else -1]
        length, lines = part.window[axis], part.window[1 - axis]
        dilation = (part.row_dilation, part.column_dilation)[axis]
        taps = [k * dilation for k in range(length)]
        block = 0.0
        for pixels, blocks in (
            (schedule.pixels, count // schedule.pixels),
            (count % schedule.pixels, 1),
        ):
            if pixels * blocks:
                seen = len(elements_of_block(taps, pixels, part.strides[axis], length))
                loads = lines * (length + seen) + CONSTANTS
                block += blocks * (
                    _PLAIN_LOAD * loads + pixels * (length * lines + _PLAIN_RESULT) + TURN
                )
        total += part.image[3] * part.multiplier * outer * block + _CALL
        if not strips.direct:
            times = -(-part.rows // strips.rows)
            line = strips.inside[1] * (4.5 if w.source.dtype.bits == 16 else 2.5)
            filled = strips.lines(strips.rows) * (line + 30) + _CALL
            total += -(-part.image[3] // GROUP) * times * filled
    return w.image[0] * total

"""What the two forms of a depthwise kernel cost, on planes and across channels: estimates.

In: a depthwise sum and the knobs of a schedule. Out: cycles of a run on a Cortex-M4, counted as a
block is made of instructions: products, loads, what bytes are spread or expanded by, the share of
what a block does once. Good for choosing between the forms; both leave out what they have in
common.
"""

from __future__ import annotations

from utvm.schedule.depthwise_across import GROUP, words_of_block
from utvm.schedule.depthwise_across_kernel import AcrossSchedule, Strips
from utvm.schedule.depthwise_block import DepthwiseBuilder
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, column_phases, planes_of
from utvm.schedule.depthwise_sum import DepthwiseSum

_LOAD = 1.3
"""Loads of two cycles and of one, behind others."""
_TURN = 6
"""The end of a loop."""
_CALL = 60
_RESULT = 6
"""Rescale, clamp, store."""
_BOUNDS, _PACKED, _PARKED = 2.0, 0.5, 2.5
"""More for bounds inside of the type: by comparing, by four results at once, and where two of these
wait for the others."""
_CONSTANTS = 3
"""Bias and constants of the rescale, per filter."""
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
        result = _RESULT + (_BOUNDS if bounded else 0)
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
    return kh * (products + _LOAD * words + narrow) + _LOAD * _CONSTANTS + _TURN + width - 1


def across_cycles(w: DepthwiseSum, schedule: AcrossSchedule, bounded: bool = False) -> float:
    """Across channels: a block is some pixels of four channels."""
    strips = Strips(w, schedule.plane_bytes)
    axis = 0 if strips.places.vertical else 1
    step, dilation = w.strides[axis], (w.row_dilation, w.column_dilation)[axis]
    count, rows = (w.rows, w.columns)[:: 1 - 2 * axis]
    length, lines = w.window[axis], w.window[1 - axis]
    wide = w.source.dtype.bits == 16
    result = float(_RESULT)
    if bounded and w.multiplier == 1:
        result += _PACKED if schedule.lanes == GROUP else _PARKED
    elif bounded:
        result += _BOUNDS
    total = 0.0
    whole, rest = divmod(count, schedule.pixels)
    for pixels, blocks in ((schedule.pixels, whole), (rest, 1)):
        if not pixels * blocks:
            continue
        taps = [k * dilation for k in range(length)]
        seen = len(words_of_block(taps, pixels, step, step <= dilation))
        words = lines * seen * (2 if wide else GROUP // schedule.lanes)
        loads = words + 2 * lines * length + GROUP * _CONSTANTS
        expands = 0 if wide else 2 * lines * seen
        block = GROUP * pixels * (lines * length + result) + _LOAD * loads + expands + _TURN
        total += _SPILL * blocks * rows * w.multiplier * block
    if not strips.direct:
        times = -(-w.rows // strips.rows)
        line = min(w.image[2], strips.spans[1]) * (4.5 if wide else 2.5)
        total += times * (strips.lines(strips.rows) * (line + 30) + _CALL)
    return w.image[0] * -(-w.image[3] // GROUP) * total

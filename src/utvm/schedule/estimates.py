"""What kernels take, as far as it decides between them: cycles of a Cortex-M4 without wait states.

In: a weighted sum. Out: cycles of a run, estimated from its shape: products at the rate of the
inner loop, results at that of the epilogue, pixels at that of line buffers and transforms. Good
enough to choose default schedules by; ``codegen/forecast.py`` tells what a chosen one takes.
"""

from __future__ import annotations

from utvm.schedule.conv_kernel import ConvSchedule
from utvm.schedule.line_buffer import has_expand
from utvm.schedule.raw_block import copied_line
from utvm.schedule.weighted_sum import WeightedSum
from utvm.schedule.window_layout import has_ring, window_layout
from utvm.schedule.winograd_block import DEFAULT
from utvm.schedule.winograd_transform import tile_of

# Cycles per product with two pixels and four filters: see docs/design/microkernels.md.
NARROW, WIDE = 1.13, 1.0
_EPILOGUE = 8.0
"""Cycles per result for rescale and store."""
_RESULT = 12.0
"""The same with biases and loops."""
_LOOPS = 3.0
"""Cycles per product of loops in C."""
_WORDS, _ELEMENTS = 1.7, 2.7
"""Cycles for an element of the line buffer, by words of the image or one by one."""
_BLOCK_TURN = 2.0
"""Cycles for two products in blocks of 2 x 4."""
_COPIED = 0.6
"""Cycles for a byte that is copied between padding."""
_PRODUCT, _LONG_SUM = 0.94, 0.04
"""Cycles per product of Winograd's algorithm, and what loops over many channels add."""
_MANY_CHANNELS = 32
_PLAIN_PRODUCTS = 2.2
"""Times the cycles of Winograd's algorithm with packed words."""
_SUMS, _SUM = 44.0, 6.0
"""Cycles for the results of a tile, and for each of the sums that they are made of."""
_VALUE = 3.6
"""Cycles for a value that a tile is transformed to; 3.2 where instructions do not pair."""
_EXPANSION = 40.0
"""Cycles for the values of a filter's channel that are made at run time."""


def direct_cycles(w: WeightedSum, schedule: ConvSchedule) -> float:
    """Register blocks on a line buffer, or on the image."""
    block = ConvSchedule()
    width = block.filters * (1 if w.columns > 1 else 2)
    pixels = schedule.pixels if w.filters < block.filters else block.pixels
    uneven = _unevenness(w.columns, pixels, w.filters, width, schedule.raw)
    taps = int(w.weights.size) // w.filters
    sums = taps * uneven * (WIDE if schedule.wide else NARROW)
    before = copying_cycles(w) if schedule.raw else filling_cycles(w, schedule.ring)
    return _results(w) * (sums + _RESULT) + before


def copying_cycles(w: WeightedSum) -> float:
    """Rows between padding as they are, in a ring."""
    elements = w.image[0] * _rows_filled(w, has_ring(w)) * copied_line(w)
    return elements * w.source.dtype.bits / 8 * _COPIED


def _rows_filled(w: WeightedSum, ring: bool) -> int:
    """Rows of all windows; of a ring each only once."""
    kh, stride = w.window[0], w.strides[0]
    return (w.rows - 1) * stride + kh if ring else w.rows * kh


def filling_cycles(w: WeightedSum, ring: bool) -> float:
    """Line buffers, filled anew for each row of results, or as a ring."""
    layout = window_layout(w, w.columns)
    elements = w.image[0] * _rows_filled(w, ring) * layout.columns * w.depth
    return elements * (_WORDS if has_expand(w, layout) else _ELEMENTS)


def loop_cycles(w: WeightedSum) -> float:
    """Loops in C."""
    return _results(w) * (int(w.weights.size) // w.filters * _LOOPS + _EPILOGUE)


def winograd_cycles(w: WeightedSum, expanded: bool, plain: bool = False) -> float:
    """Winograd's algorithm on whole words of channels; ``expanded``: weights transformed at each
    run; ``plain``: without packed words."""
    tile, columns = tile_of(w), -(-w.columns // 2)
    products = len(tile.products) * w.depth
    rate = _PRODUCT * _unevenness(columns, DEFAULT.tiles, w.filters, DEFAULT.filters)
    rate += _LONG_SUM if w.depth > _MANY_CHANNELS else 0
    rate *= _PLAIN_PRODUCTS if plain else 1
    each = rate * products + _SUMS + _SUM * len(tile.sums) + _VALUE * products / w.filters
    tiles = w.image[0] * -(-w.rows // 2) * columns
    return tiles * w.filters * each + (_EXPANSION * w.filters * w.depth if expanded else 0)


def _results(w: WeightedSum) -> int:
    return w.image[0] * w.rows * w.columns * w.filters


def _unevenness(columns: int, pixels: int, filters: int, width: int, raw: bool = False) -> float:
    """What products take in blocks of ``pixels`` x ``width`` and in what is left over, which loads
    more for each: times what whole blocks of 2 x 4 take."""

    def turn(columns: int, filters: int) -> float:
        """Products and loads, groups of which wait. Raw pixels are expanded, too."""
        if raw:
            return columns * filters + 1.5 * columns + 1.4 * filters + 1.2
        return columns * filters + (columns + filters) * 4 / 3

    pixels, width = min(pixels, columns), min(width, filters)
    total = 0.0
    for side, times in ((pixels, columns // pixels), (1, columns % pixels)):
        rest = turn(side, filters % width) if filters % width else 0
        total += times * (filters // width * turn(side, width) + rest)
    return total / (columns * filters) / _BLOCK_TURN


def step_cycles(w: WeightedSum, pixels: int) -> int:
    """Cycles for one step of a row of results in blocks of all filters: loads, then products."""
    whole, rest = divmod(w.columns, pixels)
    return whole * (pixels + w.filters + 1 + pixels * w.filters) + rest * (2 + 2 * w.filters)

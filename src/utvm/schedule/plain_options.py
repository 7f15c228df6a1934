"""What a convolution or dense layer may become on cores without DSP instructions.

In: what was read of an unscheduled kernel (one weighted sum, or those of the parts that it is made
of), the kernel and the module's constants. Out: options with estimates of cycles and bytes, the
default first. Weights stay as narrow as they are, since every one is a load of its own anyway. All
of them want the registers of Thumb-2: who calls knows that the target has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

from utvm.ir.loop import Call, Function, Imm, Stmt
from utvm.ir.rewrite import expressions
from utvm.schedule.conv_kernel import ConvSchedule
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.folded_block import is_folded
from utvm.schedule.knobs import (
    PLAIN_KNOBS,
    Option,
    Wanted,
    configs_of,
    default_config,
    schedule_of,
)
from utvm.schedule.plain_block import TURN, line_elements, plain_rows
from utvm.schedule.records import Config
from utvm.schedule.split_kernel import schedule_split
from utvm.schedule.weighted_sum import Array, WeightedSum

MOST_SUMS = 9
"""Of 14 registers."""
MOST_PRODUCTS = 128
"""Of a turn of the loop: longer ones gain less than a per cent."""
_STEPS, _LONE_STEPS = 4, 8
"""Taps of a turn, and those where blocks are of one pixel; twice as many where code may be."""
_LOAD = 1.35
"""Cycles of a load: some of them wait."""
_END = 6.0
"""Cycles of the end of a loop."""
_RESULT = 12.0
"""Cycles per result for bias, rescale, store and loops."""
_COPIED, _FOLDED = 0.6, 2.5
"""Cycles for a byte that is copied between padding, and for one that becomes half a word."""
_FOLDED_STEPS = 8
"""Taps of a turn, two a word."""
_APART = 2.6
"""Cycles per product where words of a line buffer are taken apart."""
_CALLS, _WITH_LITERALS = ("mulhi", "mulhi_long", "clz"), ("mulhi_rounding", "requantize_right")
_PIXELS = {1: 6, 2: 3, 3: 2}
"""Pixels of a block of few filters."""


def plain_options(
    w: WeightedSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    """Register blocks element by element."""
    weights = int(w.weights.size)
    default = _default_block(w)
    longer = replace(default, steps=2 * default.steps)
    rows = plain_rows(w)
    found = [default, longer] if rows and longer.steps <= rows.segment else [default]
    if is_folded(w):
        found += _folded_blocks(w)
    defaults = {default_config("direct", block): block for block in found}
    space = ((c, s) for c, s in _space(not w.narrow) if wanted(c) and _fits(w, s))
    for config, schedule in (defaults | dict(space)).items():
        yield Option(
            (folded_cycles if schedule.folded else plain_cycles)(w, schedule),
            weights * (2 if schedule.wide or schedule.folded else 1),
            partial(schedule_conv, function, constants, schedule),
            config,
            config in defaults,
            of_weights=weights,
            lavish=schedule.steps > (_FOLDED_STEPS if schedule.folded else default.steps),
        )


def has_calls(epilogue: tuple[Stmt, ...]) -> bool:
    """Whether Armv7-M's back end has all intrinsics of an epilogue; blocks in C are slower than
    loops, since compilers spill their sums."""
    calls = (e for e in expressions(epilogue) if isinstance(e, Call))
    return all(
        call.name in _CALLS or (call.name in _WITH_LITERALS and isinstance(call.args[-1], Imm))
        for call in calls
    )


def plain_split_options(
    sums: Sequence[WeightedSum], function: Function, constants: Mapping[str, Array]
) -> Iterator[Option]:
    """The same for each group and phase."""
    weights = sum(int(w.weights.size) for w in sums)
    wide = not all(w.narrow for w in sums)
    filters = min(ConvSchedule.filters, *(w.filters for w in sums))
    schedule = ConvSchedule(_PIXELS.get(filters, 2), filters, wide, _STEPS, plain=True)
    yield Option(
        sum(plain_cycles(w, schedule) for w in sums),
        weights * (2 if wide else 1),
        partial(schedule_split, function, constants, schedule),
        default_config("split", schedule),
        of_weights=weights,
    )


@cache
def _space(wide: bool) -> tuple[tuple[Config, ConvSchedule], ...]:
    """Every block; which of them fit depends on the layer."""
    first = ConvSchedule(wide=wide, plain=True)
    configs = configs_of("direct", first, PLAIN_KNOBS)
    return tuple((config, schedule_of(first, config)) for config in configs)


def _default_block(w: WeightedSum) -> ConvSchedule:
    """Two pixels and four filters; few filters take more pixels."""
    filters = min(w.filters, ConvSchedule.filters)
    pixels = min(_PIXELS.get(filters, 2), w.columns)
    steps = _LONE_STEPS if pixels == 1 else _STEPS
    return ConvSchedule(pixels, filters, not w.narrow, steps, plain=True)


def _fits(w: WeightedSum, schedule: ConvSchedule) -> bool:
    """Whether registers hold a block, and a row of a window has turns for it."""
    rows = plain_rows(w)
    sums = schedule.pixels * schedule.filters
    return (
        rows is not None
        and sums <= MOST_SUMS
        and sums * schedule.steps <= MOST_PRODUCTS
        and schedule.pixels <= w.columns
        and schedule.filters <= w.filters
        and (2 * schedule.steps <= rows.segment or schedule.steps == TURN)
        and (not schedule.folded or is_folded(w))
    )


def _folded_blocks(w: WeightedSum) -> list[ConvSchedule]:
    """The fastest block of two taps a word, and the same with longer turns."""
    shapes = [(2, 3), (3, 2), (2, 2), (1, 4)] if w.columns > 1 else [(1, 4)]
    blocks = [
        ConvSchedule(p, min(f, w.filters), not w.narrow, _FOLDED_STEPS, plain=True, folded=True)
        for p, f in shapes
        if p <= w.columns
    ]
    best = min(blocks, key=lambda block: folded_cycles(w, block))
    return [best, replace(best, steps=2 * best.steps)]


def plain_cycles(w: WeightedSum, schedule: ConvSchedule) -> float:
    """Cycles of a run: products and loads tap by tap, results, copies of rows."""
    taps = int(w.weights.size) // w.filters
    results = w.columns * w.filters
    each = _APART * results
    if plain_rows(w) is not None:
        each = sum(
            blocks * (sums + _LOAD * loads + _END / schedule.steps)
            for blocks, sums, loads in _sizes(w, schedule)
        )
    copied = w.window[0] * line_elements(w) * _COPIED
    return w.image[0] * w.rows * (taps * each + _RESULT * results + copied)


def folded_cycles(w: WeightedSum, schedule: ConvSchedule) -> float:
    """The same two taps at a time, and what their words take."""
    taps = int(w.weights.size) // w.filters
    each = sum(
        blocks * (sums + (_LOAD * loads + 2 * _END / schedule.steps) / 2)
        for blocks, sums, loads in _sizes(w, schedule)
    )
    seen = ((w.columns - 1) * w.strides[1] + w.window[1]) * w.depth * w.window[0]
    results = w.columns * w.filters
    return w.image[0] * w.rows * (taps * each + _RESULT * results + _FOLDED * seen)


def _sizes(w: WeightedSum, schedule: ConvSchedule) -> Iterator[tuple[int, int, int]]:
    """The blocks of a row of results: how many, their sums, and what they load for a tap."""
    width = min(schedule.filters, w.filters)
    pixels = min(schedule.pixels, w.columns)
    for side, columns in ((pixels, w.columns // pixels), (1, w.columns % pixels)):
        for filters, blocks in ((width, w.filters // width), (w.filters % width, 1)):
            if filters:
                yield columns * blocks, side * filters, side + filters

"""What a layer may become on cores that multiply words only: blocks of pixel pairs.

In: a weighted sum and the module's constants. Out: options with estimates of cycles, as for
Cortex-M0+: products at the rate of the inner loop, words of pixels as they are made, results; none
where windows are of another kind, or where loops in C are expected to be as fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from utvm.ir.loop import Call, Stmt
from utvm.ir.rewrite import expressions
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.knobs import Option, default_config
from utvm.schedule.pair_kernel import PairKernel, PairSchedule
from utvm.schedule.pair_layout import PairLayout, pair_layout
from utvm.schedule.weighted_sum import Array, WeightedSum

CALLS = ("mulhi",)
"""What Armv6-M's back end has of the intrinsics."""
_LOOP_PRODUCT, _LOOP_RESULT = 9.5, 60.0
"""Cycles of loops in C for a product and for a result."""
_TAP, _PIXELS, _GROUP, _RESULT, _WORD, _CALL = 4.0, 1.3, 3.0, 55.0, 13.0, 120.0
"""Cycles for two products, for loading the word of pixels that some filters share, for adding a
group, for a result, for making a word, and for what is called once per row."""
_CROWDED = 16.0
"""Cycles that a result takes more in blocks of three filters, measured on mlperf_kws_int8."""
_QUAD = 11.0
"""Cycles for the products of a single pixel and four filters."""


def pair_options(w: WeightedSum, constants: Mapping[str, Array]) -> Iterator[Option]:
    """Blocks of pixel pairs, if they are worth it."""
    if "c" not in w.variables or w.variables.get("x") is None:
        return
    layout = pair_layout(w)
    if layout is None:
        return
    widths = (PairSchedule(), PairSchedule(3)) if layout.lanes > 1 else (PairSchedule(),)
    for schedule in widths:
        cycles = pair_cycles(w, layout, schedule)
        more = schedule != PairSchedule()
        if cycles < _loop_cycles(w) and schedule.filters <= w.filters + (not more):
            build = partial(schedule_pairs, w, constants, schedule)
            weights = int(w.weights.size)
            config = default_config("pairs", schedule)
            # Three filters at a time are a little faster, but leave more blocks of other sizes.
            yield Option(cycles, weights, build, config, of_weights=weights, lavish=more)


def schedule_pairs(
    w: WeightedSum, constants: Mapping[str, Array], schedule: PairSchedule
) -> Scheduled | None:
    """The kernel, or None."""
    return PairKernel(w, constants, schedule).build()


def has_instructions(epilogue: tuple[Stmt, ...]) -> bool:
    """Whether the back end can make results."""
    return all(e.name in CALLS for e in expressions(epilogue) if isinstance(e, Call))


def pair_cycles(w: WeightedSum, layout: PairLayout, schedule: PairSchedule) -> float:
    """An estimate of a run."""
    pairs = -(-w.columns // layout.lanes)
    taps = int(w.weights.size) // w.filters
    whole, rest = divmod(w.filters, schedule.filters)
    shared = _PIXELS * (whole + (rest > 0)) / w.filters
    products = taps * (_TAP + shared) + taps / layout.group * (_GROUP + shared)
    if layout.lanes == 1:
        products = taps * _QUAD / 4 + taps / layout.group * (2 * _GROUP + _PIXELS) / 4
    result = _RESULT + (_CROWDED if schedule.filters > PairSchedule().filters else 0)
    results = pairs * w.filters * (products + layout.lanes * result)
    row = results + layout.words(pairs) * _WORD + _CALL * (2 + layout.rows)
    return w.image[0] * w.rows * row


def _loop_cycles(w: WeightedSum) -> float:
    taps = int(w.weights.size) // w.filters
    results = w.image[0] * w.rows * w.columns * w.filters
    return results * (taps * _LOOP_PRODUCT + _LOOP_RESULT)

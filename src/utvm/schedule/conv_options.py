"""What a convolution or a dense layer may become: register blocks, or Winograd's algorithm.

In: what was read of an unscheduled kernel (one weighted sum, or the several that a split or a
transposed convolution is made of), the kernel and the module's constants. Out: options with
estimates of cycles and bytes. Defaults come first; of the other configs come those that are
``wanted``, that registers hold and that make code of their own. All of them need packed words: who
calls knows that the target has DSP instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product

from utvm.ir.loop import Function
from utvm.schedule.conv_block import MOST_UNROLLED
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.estimates import NARROW, WIDE, direct_cycles, step_cycles, winograd_cycles
from utvm.schedule.knobs import (
    CONV_KNOBS,
    WINOGRAD_KNOBS,
    Option,
    Wanted,
    configs_of,
    default_config,
    schedule_of,
)
from utvm.schedule.raw_block import has_raw
from utvm.schedule.records import Config
from utvm.schedule.split_kernel import schedule_split
from utvm.schedule.transposed_kernel import schedule_transposed
from utvm.schedule.transposed_sum import Phases
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import has_ring, ring_turns
from utvm.schedule.winograd_block import DEFAULT, PLAIN
from utvm.schedule.winograd_kernel import schedule_winograd
from utvm.schedule.winograd_tiles import is_winograd, stream_bytes, whole_channels, winograd_form

MOST_ACCUMULATORS = 8
"""Of 14 registers. Blocks of 9 and 10 spill inside the loop and were slower by a quarter."""
MOST_UNROLLED_SUMS = 100
"""SMLADs in one turn of the loop: the gain of longer turns is below a per cent, their code is not,
and assembling them takes a second."""
MOST_EXPANDED = 16 << 10
"""Bytes of RAM that transformed weights may take."""
_WORTH_A_RING = 0.1
"""Part of a kernel's cycles that a ring should save to be worth its constants."""
_FEW_STEPS = 12
"""Steps of a turn of the loop where a step is short."""


def direct_options(
    w: WeightedSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    """Register blocks over line buffers."""
    weights = int(w.weights.size)
    widths = (False, True) if w.narrow else (True,)
    rings = (False, True) if has_ring(w) else (False,)
    blocks = [replace(_default_block(w, wide), ring=r) for r in rings for wide in widths]
    if _is_raw(w):
        least = {
            wide: min(direct_cycles(w, b) for b in blocks if b.wide == wide) for wide in widths
        }
        raw = [_raw_block(w, wide) for wide in widths]
        blocks += [b for b in raw if direct_cycles(w, b) < least[b.wide]]
    defaults = {default_config("direct", block): block for block in blocks}
    space = (
        (c, s)
        for c, s in _direct_space()
        if wanted(c)
        and s.wide in widths
        and (has_raw(w) if s.raw else s.ring in rings)
        and _fits(w, s)
    )
    for config, schedule in (defaults | dict(space)).items():
        cycles = direct_cycles(w, schedule)
        simple = direct_cycles(w, replace(schedule, ring=False, raw=False))
        turns = _turns(w, schedule)
        yield Option(
            cycles,
            weights * (2 if schedule.wide else 1) * turns,
            partial(schedule_conv, function, constants, schedule),
            config,
            config in defaults,
            of_weights=int(w.weights.size),
            lavish=turns > 1 and simple - cycles < _WORTH_A_RING * cycles,
        )


@cache
def _direct_space() -> tuple[tuple[Config, ConvSchedule], ...]:
    """Every block of a convolution; which of them fit depends on the layer."""
    configs = configs_of("direct", ConvSchedule(), CONV_KNOBS)
    return tuple((config, schedule_of(ConvSchedule(), config)) for config in configs)


def _is_raw(w: WeightedSum) -> bool:
    """Whether blocks on the image are among the defaults: int16 gains nothing by them."""
    return has_raw(w) and w.source.dtype.bits == 8


def _turns(w: WeightedSum, schedule: ConvSchedule) -> int:
    """How often the weights are there, since a ring turns."""
    turned = schedule.ring or (schedule.raw and w.padded)
    return ring_turns(w) if turned and has_ring(w) else 1


def _raw_block(w: WeightedSum, wide: bool) -> ConvSchedule:
    """Blocks on the image: more than two pixels take too many registers, but for one filter."""
    block = _default_block(w, wide)
    if w.filters > 1:
        block = replace(block, pixels=2, filters=min(w.filters, ConvSchedule.filters))
    return replace(block, raw=True)


def _default_block(w: WeightedSum, wide: bool) -> ConvSchedule:
    """Two pixels share four words of int16; four share a word of int8 for two filters. Few filters
    take more pixels, unless too many columns are left that fill no block."""
    if w.filters < ConvSchedule.filters:
        # Eight sums leave too few registers for all loads of a step.
        fitting = (p for p in (2, 3, 4) if p * w.filters < MOST_ACCUMULATORS)
        pixels = min(fitting, key=partial(step_cycles, w))
        steps = _FEW_STEPS if pixels * w.filters <= _FEW_STEPS // 2 else ConvSchedule.steps
        return ConvSchedule(pixels=pixels, filters=w.filters, wide=wide, steps=steps)
    if not wide and w.columns % 4 == 0 and w.filters % 2 == 0:
        return ConvSchedule(pixels=4, filters=2)
    return ConvSchedule(wide=wide)


def _fits(w: WeightedSum, schedule: ConvSchedule) -> bool:
    """Whether a block is one that registers hold, and no other one under another name."""
    pixels, filters, steps = schedule.pixels, schedule.filters, schedule.steps
    # Blocks of one pixel take twice the filters.
    accumulators = pixels * filters * (2 if pixels == 1 else 1)
    taps = int(w.weights.size) // w.filters
    unrolled = -(-taps // 2) <= MOST_UNROLLED
    return (
        accumulators <= MOST_ACCUMULATORS
        and not (schedule.ring and schedule.raw)
        and (unrolled or accumulators * steps <= MOST_UNROLLED_SUMS)
        and pixels <= w.columns
        and filters <= w.filters
        and (steps == ConvSchedule.steps if unrolled else 2 * steps <= taps)
    )


def winograd_options(
    w: WeightedSum,
    function: Function,
    constants: Mapping[str, Array],
    wanted: Wanted,
    plain: bool = False,
) -> Iterator[Option]:
    """Fewer products; all of the schedules that make different code."""
    if not is_winograd(w):
        return
    weights, w = int(w.weights.size), whole_channels(w)
    first = PLAIN if plain else DEFAULT
    defaults = [default_config("winograd", replace(first, expanded=e)) for e in (False, True)]
    others = configs_of("winograd", first, WINOGRAD_KNOBS)
    known: set[tuple[object, ...]] = set()
    for config in (*defaults, *others):
        schedule = schedule_of(DEFAULT, config)
        form = winograd_form(w, schedule)
        if form is None or form in known:
            continue
        known.add(form)
        if not (config in defaults or wanted(config)):
            continue
        if schedule.expanded and stream_bytes(w) > MOST_EXPANDED:
            continue
        yield Option(
            winograd_cycles(w, schedule.expanded, plain),
            int(w.weights.size) if schedule.expanded else stream_bytes(w),
            partial(schedule_winograd, function, constants, schedule),
            config,
            config in defaults,
            of_weights=weights,
        )


def transposed_options(
    phases: Phases, function: Function, constants: Mapping[str, Array]
) -> Iterator[Option]:
    """Register blocks for each pair of phases."""
    sums = [w for group in phases.groups for w in group]
    for schedule in _wide_or_narrow(sums):
        build = partial(schedule_transposed, function, constants, schedule)
        yield _blocks_option(sums, "transposed", schedule, build)


def split_options(
    sums: Sequence[WeightedSum], function: Function, constants: Mapping[str, Array]
) -> Iterator[Option]:
    """Register blocks for each group and phase, perhaps on rings or on the image."""
    forms: list[dict[str, bool]] = [{}]
    forms += [{"ring": True}] if any(map(has_ring, sums)) else []
    forms += [{"raw": True}] if all(map(_is_raw, sums)) else []
    for form, schedule in product(forms, _wide_or_narrow(sums)):
        schedule = replace(schedule, **form)
        build = partial(schedule_split, function, constants, schedule)
        option = _blocks_option(sums, "split", schedule, build)
        cycles = sum(direct_cycles(w, schedule) for w in sums)
        simple = sum(direct_cycles(w, replace(schedule, ring=False, raw=False)) for w in sums)
        turns = max(_turns(w, schedule) for w in sums)
        lavish = turns > 1 and simple - cycles < _WORTH_A_RING * cycles
        yield replace(option, cycles=cycles, bytes=option.bytes * turns, lavish=lavish)


def _wide_or_narrow(sums: Sequence[WeightedSum]) -> Iterator[ConvSchedule]:
    for wide in (False, True) if all(w.narrow for w in sums) else (True,):
        yield ConvSchedule(wide=wide)


def _blocks_option(
    sums: Sequence[WeightedSum],
    template: str,
    schedule: ConvSchedule,
    build: Callable[[], Scheduled | None],
) -> Option:
    """Register blocks for each of several sums that make a kernel."""
    weights = sum(int(w.weights.size) for w in sums)
    products = sum(w.image[0] * w.rows * w.columns * int(w.weights.size) for w in sums)
    return Option(
        products * (WIDE if schedule.wide else NARROW),
        weights * (2 if schedule.wide else 1),
        build,
        default_config(template, schedule),
        of_weights=weights,
    )

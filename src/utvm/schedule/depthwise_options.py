"""What a depthwise convolution may become: blocks on planes of int16, or across channels.

In: what was read of an unscheduled kernel, the kernel and the module's constants. Out: options with
estimates of cycles and bytes. Defaults come first; of the other configs come those that are
``wanted`` and that fit the layer. All of them need packed words: who calls knows that the target
has DSP instructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from utvm.ir.loop import Function
from utvm.schedule.clamp import is_bounded
from utvm.schedule.depthwise_across_kernel import has_groups, schedule_across
from utvm.schedule.depthwise_cost import across_cycles, plain_cycles, planes_cycles
from utvm.schedule.depthwise_kernel import (
    DepthwiseSchedule,
    column_phases,
    is_narrow,
    schedule_depthwise,
    stream_bytes,
)
from utvm.schedule.depthwise_strips import AcrossSchedule, parts_of
from utvm.schedule.depthwise_sum import DepthwiseSum
from utvm.schedule.knobs import (
    ACROSS_KNOBS,
    DEPTHWISE_KNOBS,
    Option,
    Wanted,
    configs_of,
    default_config,
    schedule_of,
)
from utvm.schedule.weighted_sum import Array

MOST_ACROSS = 12
"""Sums of a depthwise block across channels."""
PLAIN_PIXELS = (6, 5, 4, 3)
"""Sums of a block of one channel: three weights and two elements wait beside them."""
BORDER_CODE = 1 << 10
"""Bytes of code of a border that has a micro function for itself."""


def depthwise_options(
    w: DepthwiseSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    """Planes of int16, or across channels; nothing else serves these kernels."""
    if column_phases(w):
        yield from _planes_options(w, function, constants, wanted)
    if has_groups(w):
        yield from across_options(w, function, constants, wanted)


def _planes_options(
    w: DepthwiseSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    widths = (True, False) if is_narrow(w) else (True,)
    defaults = [default_config("depthwise", DepthwiseSchedule(wide=wide)) for wide in widths]
    bytes = {wide: stream_bytes(w, wide) for wide in widths}
    bounded = is_bounded(w.epilogue)
    others = filter(wanted, configs_of("depthwise", DepthwiseSchedule(), DEPTHWISE_KNOBS))
    for config in dict.fromkeys((*defaults, *others)):
        schedule = schedule_of(DepthwiseSchedule(), config)
        if config not in defaults and (schedule.width > w.columns or schedule.wide not in widths):
            continue
        yield Option(
            planes_cycles(w, schedule, bounded),
            bytes[schedule.wide],
            partial(schedule_depthwise, function, constants, schedule),
            config,
            config in defaults,
            of_weights=int(w.weights.size),
        )


def across_options(
    w: DepthwiseSum,
    function: Function,
    constants: Mapping[str, Array],
    wanted: Wanted,
    plain: bool = False,
) -> Iterator[Option]:
    """Blocks of two pixels of four channels, and of four of two, or of one channel (``plain``);
    borders apart if there are any."""
    if not has_groups(w):
        return
    bounded = is_bounded(w.epilogue)
    parts = len(parts_of(w, split=True))
    blocks = plain_blocks(w) if plain else [AcrossSchedule(8 // n, n) for n in (4, 2)]
    blocks += [replace(block, split=True) for block in blocks if parts > 1]
    defaults = [default_config("across", schedule) for schedule in blocks]
    knobs = {**ACROSS_KNOBS, "lanes": (1,)} if plain else ACROSS_KNOBS
    others = filter(wanted, configs_of("across", AcrossSchedule(plain=plain), knobs))
    for config in dict.fromkeys((*defaults, *others)):
        schedule = schedule_of(AcrossSchedule(), config)
        small = schedule.pixels * (1 if plain else schedule.lanes) <= MOST_ACROSS
        if config not in defaults and not (small and (parts > 1 or not schedule.split)):
            continue
        code = BORDER_CODE * (parts - 1) if schedule.split else 0
        cycles = plain_cycles(w, schedule) if plain else across_cycles(w, schedule, bounded)
        yield Option(
            cycles,
            2 * int(w.weights.size) + code,
            partial(schedule_across, function, constants, schedule),
            config,
            config in defaults,
            of_weights=int(w.weights.size),
            lavish=plain and schedule.split,
        )


def plain_blocks(w: DepthwiseSum) -> list[AcrossSchedule]:
    """As many pixels of a channel as take the fewest cycles."""
    blocks = [AcrossSchedule(pixels, lanes=1, plain=True) for pixels in PLAIN_PIXELS]
    return [min(blocks, key=lambda block: plain_cycles(w, block))]

"""What a kernel may become: the space of its schedules, each with what it costs.

In: an unscheduled kernel and the module's constants. Out: options, built only when chosen. An
option's ``config`` names its template and pins every knob, so that a tuning record can name it
again. ``default`` options are what is chosen from when nothing has been measured; the others exist
for the tuner. Cycles are estimates for a Cortex-M4 without wait states, good enough to choose
defaults by: products at the rate of the inner loop, results at that of the epilogue.

To add a knob: a field of the template's schedule, and a line with its values below.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as fields_of
from functools import cache, partial
from itertools import product
from typing import Any, TypeVar

from utvm.ir.loop import Function
from utvm.schedule.conv_block import MOST_UNROLLED
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.default import SCHEDULES, Blocking, schedule_function
from utvm.schedule.depthwise_across_kernel import has_groups, schedule_across
from utvm.schedule.depthwise_cost import across_cycles, planes_cycles
from utvm.schedule.depthwise_kernel import (
    DepthwiseSchedule,
    column_phases,
    is_narrow,
    schedule_depthwise,
)
from utvm.schedule.depthwise_kernel import stream_bytes as depthwise_bytes
from utvm.schedule.depthwise_strips import AcrossSchedule, parts_of
from utvm.schedule.depthwise_sum import DepthwiseSum, read_depthwise
from utvm.schedule.elementwise_kernel import schedule_elementwise, turn_elements
from utvm.schedule.estimates import (
    NARROW,
    WIDE,
    direct_cycles,
    loop_cycles,
    step_cycles,
    winograd_cycles,
)
from utvm.schedule.pool_kernel import MOST_RESULTS, most_together, schedule_pool
from utvm.schedule.pool_window import Pool, read_pool
from utvm.schedule.raw_block import has_raw
from utvm.schedule.records import Config, Record, config_of
from utvm.schedule.split_kernel import schedule_split
from utvm.schedule.split_sum import read_split_sum
from utvm.schedule.transposed_kernel import schedule_transposed
from utvm.schedule.transposed_sum import Phases, read_transposed
from utvm.schedule.weighted_sum import Array, WeightedSum, read_weighted_sum
from utvm.schedule.window_layout import has_ring, ring_turns
from utvm.schedule.winograd_block import DEFAULT
from utvm.schedule.winograd_kernel import schedule_winograd
from utvm.schedule.winograd_tiles import is_winograd, stream_bytes, whole_channels, winograd_form
from utvm.schedule.word_store import is_bounded
from utvm.target.target import Target

Knobs = Mapping[str, Sequence[int]]
S = TypeVar("S")

CONV_KNOBS: Knobs = {
    "pixels": (1, 2, 3, 4),
    "filters": (1, 2, 3, 4, 5, 6, 8),
    "wide": (0, 1),
    "steps": (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 25),
    "ring": (0, 1),
    "raw": (0, 1),
}
DEPTHWISE_KNOBS: Knobs = {
    "width": (1, 2, 3, 4, 5, 6, 7, 8, 10),
    "plane_bytes": (1536, 3072, 6144, 12288),
    "wide": (0, 1),
}
ACROSS_KNOBS: Knobs = {
    "pixels": (1, 2, 3, 4, 5, 6),
    "lanes": (2, 4),
    "plane_bytes": (1536, 3072, 6144, 12288),
    "split": (0, 1),
}
WINOGRAD_KNOBS: Knobs = {
    "tiles": (1, 2, 3, 4),
    "filters": (2, 4, 8),
    "steps": (2, 4, 8, 12),
    "results": (1, 2, 4),
    "together": (1, 2, 4),
    "value_bytes": (3 << 10, 9 << 10, 18 << 10),
    "expanded": (0, 1),
}
POOL_KNOBS: Knobs = {"together": (1, 2, 3, 4, 6)}
ELEMENT_KNOBS: Knobs = {"elements": (2, 4, 6, 8, 12, 16)}
LOOP_KNOBS: Knobs = {"columns": (1, 2, 3, 4), "channels": (1, 2, 4, 8), "depth": (1, 2, 4, 8)}

MOST_ACCUMULATORS = 8
"""Of 14 registers. Blocks of 9 and 10 spill inside the loop and were slower by a quarter."""
MOST_UNROLLED_SUMS = 100
"""SMLADs in one turn of the loop: the gain of longer turns is below a per cent, their code is not,
and assembling them takes a second."""

MOST_ACROSS = 12
"""Sums of a depthwise block across channels."""
BORDER_CODE = 1 << 10
"""Bytes of code of a border that has a micro function for itself."""

MOST_EXPANDED = 16 << 10
"""Bytes of RAM that transformed weights may take."""
_WORTH_A_RING = 0.1
"""Part of a kernel's cycles that a ring should save to be worth its constants."""
_FEW_STEPS = 12
"""Steps of a turn of the loop where a step is short."""
_UNNAMED = ("shared", "ring", "raw")


Wanted = Callable[[Config], bool]
"""Whether an option that is no default is asked for, by its config."""


def _every(config: Config) -> bool:
    return True


@dataclass(frozen=True, eq=False)
class Option:
    """``cycles`` per run and ``bytes`` of constants, both estimated; ``build`` may give None.

    ``of_weights`` are the bytes of the weights among the constants of the unscheduled kernel, which
    those of the option replace; ``code_bytes`` is known only of an option that was ``measured``.
    ``lavish``: many bytes for few cycles, so that only who wants cycles alone should take it.
    """

    cycles: float
    bytes: int
    build: Callable[[], Scheduled | None]
    config: Config = ()
    default: bool = True
    measured: bool = False
    code_bytes: int = 0
    of_weights: int = 0
    lavish: bool = False


def options_of(
    function: Function, constants: Mapping[str, Array], wanted: Wanted = _every
) -> list[Option]:
    """The whole space of a kernel; empty if only the schedules on loops serve it."""
    depthwise = read_depthwise(function, constants)
    if depthwise is not None:
        return list(_depthwise_options(depthwise, function, constants, wanted))
    w = read_weighted_sum(function, constants)
    if w is None:
        return []
    return [
        *_direct_options(w, function, constants, wanted),
        *_winograd_options(w, function, constants, wanted),
    ]


def kernel_options(
    function: Function,
    constants: Mapping[str, Array],
    target: Target,
    named: Collection[Config] | None = None,
) -> list[Option]:
    """The same for a target: packed words need its DSP instructions; loops serve what is left.

    ``named``: of the options that are no defaults only these, since costs take time.
    """
    wanted = _every if named is None else named.__contains__
    found = _packed_options(function, constants, target, wanted) if target.has("dsp") else []
    found = found or list(_loop_options(function, target))
    own = sum(constants[b.name].nbytes for b in function.constants if b.name in constants)
    return [replace(o, bytes=o.bytes + own - o.of_weights) for o in found]


def _packed_options(
    function: Function, constants: Mapping[str, Array], target: Target, wanted: Wanted
) -> list[Option]:
    pool = read_pool(function, constants)
    if pool is not None:
        return list(_pool_options(pool, function, constants))
    phases = read_transposed(function, constants)
    if phases is not None:
        return list(_transposed_options(phases, function, constants))
    split = read_split_sum(function, constants)
    if split is not None:
        return list(_split_options(split.parts, function, constants))
    if schedule_elementwise(function) is not None:
        return list(_element_options(function))
    options = options_of(function, constants, wanted)
    w = read_weighted_sum(function, constants)
    if w is not None and not w.narrow:
        options.append(_loops_option(w, function, target))
    return options


def _pool_options(
    pool: Pool, function: Function, constants: Mapping[str, Array]
) -> Iterator[Option]:
    """Windows that share columns. Nothing else serves these kernels."""
    most = most_together(pool)
    others = (n for n in POOL_KNOBS["together"] if n <= most and most > 1)
    for together in dict.fromkeys((MOST_RESULTS, *others)):
        config = config_of({"template": "pool", "together": together})
        build = partial(schedule_pool, function, constants, together)
        yield Option(0, 0, build, config, together == MOST_RESULTS)


def _element_options(function: Function) -> Iterator[Option]:
    """Elements a turn. Nothing else serves these kernels, either."""
    default, most = turn_elements(function)
    others = (n for n in ELEMENT_KNOBS["elements"] if n <= most)
    for elements in dict.fromkeys((default, *others)):
        config = config_of({"template": "elementwise", "elements": elements})
        build = partial(schedule_elementwise, function, elements)
        yield Option(0, 0, build, config, elements == default)


def _transposed_options(
    phases: Phases, function: Function, constants: Mapping[str, Array]
) -> Iterator[Option]:
    """Register blocks for each pair of phases."""
    sums = [w for group in phases.groups for w in group]
    for schedule in _wide_or_narrow(sums):
        build = partial(schedule_transposed, function, constants, schedule)
        yield _blocks_option(sums, "transposed", schedule, build)


def _split_options(
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


def _loop_options(function: Function, target: Target) -> Iterator[Option]:
    """Register blocks of loops in C. The default is what the target's own blocks make of it."""
    if function.op not in SCHEDULES:
        return
    yield Option(0, 0, partial(_looped, function, target, None), config_of({"template": "loops"}))
    for config in _configs("loops", Blocking(1, 1, 1), LOOP_KNOBS):
        block = _schedule_of(Blocking(1, 1, 1), config)
        if block.columns * block.channels <= (16 if target.has("fpu") else 8):
            yield Option(0, 0, partial(_looped, function, target, block), config, default=False)


def _looped(function: Function, target: Target, block: Blocking | None) -> Scheduled:
    return Scheduled(schedule_function(function, target, block))


def _loops_option(w: WeightedSum, function: Function, target: Target) -> Option:
    """Loops in C: they keep weights of uint8 with a zero point in one byte each."""
    weights = int(w.weights.size)
    return Option(
        loop_cycles(w),
        weights,
        partial(_looped, function, target, None),
        config_of({"template": "loops"}),
        of_weights=weights,
    )


def measured_options(options: Sequence[Option], records: Mapping[Config, Record]) -> list[Option]:
    """What to choose from: measured options, and defaults that were not measured.

    The estimates of the latter are corrected by what the measured defaults took beyond theirs;
    what gains little has to be measured.
    """
    found = [_measured(o, records[o.config]) for o in options if o.config in records]
    defaults = [o for o in options if o.default and not o.lavish]
    known = [(o, _measured(o, records[o.config])) for o in defaults if o.config in records]
    ratios = [m.cycles / o.cycles for o, m in known if o.cycles]
    scale = sum(ratios) / len(ratios) if ratios else 1.0
    more = max((m.bytes - o.bytes for o, m in known), default=0)
    others = [o for o in defaults if o.config not in records]
    return [*found, *(replace(o, cycles=o.cycles * scale, bytes=o.bytes + more) for o in others)]


def _measured(option: Option, record: Record) -> Option:
    """What was measured in place of the estimates."""
    return replace(
        option,
        cycles=float(record.cycles),
        bytes=record.constant_bytes,
        measured=True,
        code_bytes=record.code_bytes,
    )


@cache
def _direct_space() -> tuple[tuple[Config, ConvSchedule], ...]:
    """Every block of a convolution; which of them fit depends on the layer."""
    configs = _configs("direct", ConvSchedule(), CONV_KNOBS)
    return tuple((config, _schedule_of(ConvSchedule(), config)) for config in configs)


def _configs(template: str, schedule: object, knobs: Knobs) -> Iterator[Config]:
    """Every combination; a schedule's fields without knobs keep their defaults. A config names
    ``_UNNAMED`` only where they are on."""
    fields = asdict(schedule)  # type: ignore[call-overload]
    for values in product(*knobs.values()):
        chosen = {**fields, **dict(zip(knobs, values, strict=True))}
        numbers = {n: int(v) for n, v in chosen.items() if n not in _UNNAMED or v}
        yield config_of({"template": template, **numbers})


def default_config(template: str, schedule: object) -> Config:
    """The config that names a schedule."""
    return next(_configs(template, schedule, {}))


def _schedule_of(default: S, config: Config) -> S:
    """The schedule that a config pins."""
    kind: type = type(default)
    booleans = _booleans(kind)
    fields: dict[str, Any] = {n: bool(v) if n in booleans else v for n, v in config}
    del fields["template"]
    return type(default)(**fields)


@cache
def _booleans(kind: type) -> frozenset[str]:
    """The fields of a schedule that are true or false."""
    return frozenset(field.name for field in fields_of(kind) if field.type in (bool, "bool"))


def _direct_options(
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


def _winograd_options(
    w: WeightedSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    """Fewer products; all of the schedules that make different code."""
    if not is_winograd(w):
        return
    weights, w = int(w.weights.size), whole_channels(w)
    defaults = [default_config("winograd", replace(DEFAULT, expanded=e)) for e in (False, True)]
    others = _configs("winograd", DEFAULT, WINOGRAD_KNOBS)
    known: set[tuple[object, ...]] = set()
    for config in (*defaults, *others):
        schedule = _schedule_of(DEFAULT, config)
        form = winograd_form(w, schedule)
        if form is None or form in known:
            continue
        known.add(form)
        if not (config in defaults or wanted(config)):
            continue
        if schedule.expanded and stream_bytes(w) > MOST_EXPANDED:
            continue
        yield Option(
            winograd_cycles(w, schedule.expanded),
            int(w.weights.size) if schedule.expanded else stream_bytes(w),
            partial(schedule_winograd, function, constants, schedule),
            config,
            config in defaults,
            of_weights=weights,
        )


def _depthwise_options(
    w: DepthwiseSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    """Planes of int16, or across channels; nothing else serves these kernels."""
    if column_phases(w):
        yield from _planes_options(w, function, constants, wanted)
    if has_groups(w):
        yield from _across_options(w, function, constants, wanted)


def _planes_options(
    w: DepthwiseSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    widths = (True, False) if is_narrow(w) else (True,)
    defaults = [default_config("depthwise", DepthwiseSchedule(wide=wide)) for wide in widths]
    bytes = {wide: depthwise_bytes(w, wide) for wide in widths}
    bounded = is_bounded(w.epilogue)
    others = filter(wanted, _configs("depthwise", DepthwiseSchedule(), DEPTHWISE_KNOBS))
    for config in dict.fromkeys((*defaults, *others)):
        schedule = _schedule_of(DepthwiseSchedule(), config)
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


def _across_options(
    w: DepthwiseSum, function: Function, constants: Mapping[str, Array], wanted: Wanted
) -> Iterator[Option]:
    """Blocks of two pixels of four channels, and of four of two; borders apart if there are any."""
    bounded = is_bounded(w.epilogue)
    parts = len(parts_of(w, split=True))
    blocks = [AcrossSchedule(pixels=8 // lanes, lanes=lanes) for lanes in (4, 2)]
    blocks += [replace(block, split=True) for block in blocks if parts > 1]
    defaults = [default_config("across", schedule) for schedule in blocks]
    others = filter(wanted, _configs("across", AcrossSchedule(), ACROSS_KNOBS))
    for config in dict.fromkeys((*defaults, *others)):
        schedule = _schedule_of(AcrossSchedule(), config)
        small = schedule.pixels * schedule.lanes <= MOST_ACROSS
        if config not in defaults and not (small and (parts > 1 or not schedule.split)):
            continue
        code = BORDER_CODE * (parts - 1) if schedule.split else 0
        yield Option(
            across_cycles(w, schedule, bounded),
            2 * int(w.weights.size) + code,
            partial(schedule_across, function, constants, schedule),
            config,
            config in defaults,
            of_weights=int(w.weights.size),
        )

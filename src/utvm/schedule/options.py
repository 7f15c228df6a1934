"""What a kernel may become: the space of its schedules, each with what it costs.

In: an unscheduled kernel and the module's constants. Out: options, built only when chosen. An
option's ``config`` names its template and pins every knob, so that a tuning record can name it
again. ``default`` options are what is chosen from when nothing has been measured; the others exist
for the tuner. Cycles are estimates for a Cortex-M4 without wait states, good enough to choose
defaults by: products at the rate of the inner loop, results at that of the epilogue.

``conv_options.py`` and ``depthwise_options.py`` have the lists of their kernels; those of pooling,
of elements and of loops in C are here. Knobs and their values are in ``knobs.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from utvm.ir.loop import Function
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.conv_options import (
    direct_options,
    split_options,
    transposed_options,
    winograd_options,
)
from utvm.schedule.default import SCHEDULES, Blocking, schedule_function
from utvm.schedule.depthwise_bytes import byte_options
from utvm.schedule.depthwise_options import across_options, depthwise_options
from utvm.schedule.depthwise_sum import read_depthwise
from utvm.schedule.elementwise_kernel import schedule_elementwise, turn_elements
from utvm.schedule.estimates import loop_cycles
from utvm.schedule.knobs import (
    ELEMENT_KNOBS,
    LOOP_KNOBS,
    POOL_KNOBS,
    Option,
    Wanted,
    configs_of,
    schedule_of,
)
from utvm.schedule.pair_options import has_instructions, pair_options
from utvm.schedule.plain_options import has_calls, plain_options, plain_split_options
from utvm.schedule.pool_kernel import MOST_RESULTS, most_together, schedule_pool
from utvm.schedule.pool_window import Pool, read_pool
from utvm.schedule.records import Config, Record, config_of
from utvm.schedule.split_sum import read_split_sum
from utvm.schedule.transposed_sum import read_transposed
from utvm.schedule.weighted_sum import Array, WeightedSum, read_weighted_sum
from utvm.target.target import Target


def _every(config: Config) -> bool:
    return True


def options_of(
    function: Function, constants: Mapping[str, Array], wanted: Wanted = _every
) -> list[Option]:
    """The whole space of a kernel; empty if only the schedules on loops serve it."""
    depthwise = read_depthwise(function, constants)
    if depthwise is not None:
        return list(depthwise_options(depthwise, function, constants, wanted))
    w = read_weighted_sum(function, constants)
    if w is None:
        return []
    return [
        *direct_options(w, function, constants, wanted),
        *winograd_options(w, function, constants, wanted),
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
    found: list[Option] = []
    if target.has("dsp"):
        found = _packed_options(function, constants, target, wanted)
    elif target.has("thumb2"):
        found = _plain_options(function, constants, target, wanted)
    elif target.has("thumb1"):
        found = _word_options(function, constants, target)
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
        return list(transposed_options(phases, function, constants))
    split = read_split_sum(function, constants)
    if split is not None:
        return list(split_options(split.parts, function, constants))
    if schedule_elementwise(function) is not None:
        return list(_element_options(function))
    options = options_of(function, constants, wanted)
    w = read_weighted_sum(function, constants)
    if w is not None and not w.narrow:
        options.append(_loops_option(w, function, target))
    return options


def _plain_options(
    function: Function, constants: Mapping[str, Array], target: Target, wanted: Wanted
) -> list[Option]:
    """Register blocks without packed words, and loops where these take no longer."""
    split = read_split_sum(function, constants)
    if split is not None and has_calls(split.parts[0].epilogue):
        return list(plain_split_options(split.parts, function, constants))
    depthwise = read_depthwise(function, constants)
    if depthwise is not None:
        return list(across_options(depthwise, function, constants, wanted, plain=True))
    w = read_weighted_sum(function, constants)
    if w is None or not has_calls(w.epilogue):
        return []
    return [
        *plain_options(w, function, constants, wanted),
        *winograd_options(w, function, constants, wanted, plain=True),
        _loops_option(w, function, target),
    ]


def _word_options(
    function: Function, constants: Mapping[str, Array], target: Target
) -> list[Option]:
    """Blocks for cores that multiply words only, of what their back end has instructions for."""
    depthwise = read_depthwise(function, constants)
    w = read_weighted_sum(function, constants)
    found: list[Option] = []
    if depthwise is not None and has_instructions(depthwise.epilogue):
        found += byte_options(depthwise, function, constants)
    elif w is not None and has_instructions(w.epilogue):
        found += pair_options(w, constants)
    loops = _loop_options(function, target) if found else ()
    return [*found, *(replace(option, default=False) for option in loops)]


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


def _loop_options(function: Function, target: Target) -> Iterator[Option]:
    """Register blocks of loops in C. The default is what the target's own blocks make of it."""
    if function.op not in SCHEDULES:
        return
    yield Option(0, 0, partial(_looped, function, target, None), config_of({"template": "loops"}))
    for config in configs_of("loops", Blocking(1, 1, 1), LOOP_KNOBS):
        block = schedule_of(Blocking(1, 1, 1), config)
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

"""Which kernels of a network take micro functions that are made for no size in particular.

In: unscheduled kernels and what to save. Out: for some of them, an option by shared micro
functions, which takes the place of all others. They cost a tenth to a quarter of a kernel's
cycles, and save code as soon as two kernels invoke the same. So ``size`` takes them wherever two
do, ``balanced`` where kernels have few of the network's products, ``cycles`` nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from utvm.ir.loop import Function
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled, schedule_conv
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.depthwise_sum import read_depthwise
from utvm.schedule.options import Option, default_config
from utvm.schedule.panel_kernel import has_panels
from utvm.schedule.weighted_sum import Array, read_weighted_sum
from utvm.target.target import Target

STEPS = 4
"""Steps of a turn: few filled up with zeros, and little code."""
BALANCED_PART = 0.05
"""Of a network's products: so many are in kernels that ``balanced`` shares micro functions of."""
MOST_FILLED = 256
"""Bytes of zeros that a kernel's weights may have: less than the code of a block."""


def sharing_options(
    functions: Sequence[Function],
    constants: Mapping[str, Array],
    target: Target,
    objective: str,
) -> dict[str, Option]:
    """The options of the kernels that share, by their names."""
    if objective == "cycles" or not target.has("dsp"):
        return {}
    found: dict[str, tuple[Option, Scheduled]] = {}
    for function in _candidates(functions, objective):
        option = _option(function, constants)
        scheduled = None if option is None else option.build()
        if option is not None and scheduled is not None:
            found[function.name] = option, scheduled
    uses = Counter(_block(scheduled) for _, scheduled in found.values())
    return {
        name: replace(option, build=partial(_same, scheduled))
        for name, (option, scheduled) in found.items()
        if uses[_block(scheduled)] > 1
    }


def _candidates(functions: Sequence[Function], objective: str) -> Sequence[Function]:
    """All kernels for ``size``; for ``balanced`` the smallest, up to a part of all products."""
    if objective == "size":
        return functions
    left = BALANCED_PART * sum(function.macs for function in functions)
    small: list[Function] = []
    for function in sorted(functions, key=lambda f: f.macs):
        left -= function.macs
        if left >= 0:
            small.append(function)
    return small


def _block(scheduled: Scheduled) -> Function:
    """The micro function that computes: the first one. Its name tells nothing."""
    return replace(scheduled.micros[0], name="")


def _same(scheduled: Scheduled) -> Scheduled:
    return scheduled


def _option(function: Function, constants: Mapping[str, Array]) -> Option | None:
    """The kernel by shared micro functions, if there are any of its kind."""
    if read_depthwise(function, constants) is not None:
        planes = DepthwiseSchedule(shared=True)
        build = partial(schedule_depthwise, function, constants, planes)
        return Option(0, 0, build, default_config("depthwise", planes))
    w = read_weighted_sum(function, constants)
    if w is None or not has_panels(w):
        return None
    block = ConvSchedule(pixels=4, filters=2, steps=STEPS, shared=True)
    if not w.narrow:
        block = ConvSchedule(wide=True, steps=STEPS, shared=True)
    filled = w.filters * (-w.depth % (2 * STEPS)) * (1 if w.narrow else 2)
    if filled > max(MOST_FILLED, w.weights.size // 10):
        return None
    build = partial(schedule_conv, function, constants, block)
    return Option(0, 0, build, default_config("direct", block))

"""Which kernels of a network take micro functions that are made for no size in particular.

In: unscheduled kernels, the schedules that they would have alone, and what to save. Out: other
schedules for some of them, by micro functions that they share. Those cost a tenth to a quarter of a
kernel's cycles and save code where several kernels invoke the same, or one would need several. So
``size`` takes them where they are less code, ``balanced`` where they are much less, and only for
kernels that have few of the network's products, ``cycles`` nowhere. Winograd's algorithm stays: it
saves more cycles than these cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from utvm.ir.loop import For, Function, Let, Store
from utvm.ir.rewrite import statements
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, is_narrow, schedule_depthwise
from utvm.schedule.depthwise_sum import read_depthwise
from utvm.schedule.panel_kernel import has_panels
from utvm.schedule.weighted_sum import Array, read_weighted_sum
from utvm.target.target import Target

STEPS = 4
"""Steps of a turn: few filled up with zeros, and little code."""
BALANCED_PART = 0.03
"""Of a network's products: so many are in kernels that ``balanced`` shares micro functions of."""
MOST_FILLED = 256
"""Bytes of zeros that a kernel's weights may have: less than the code of a block."""
SIZE_CODE, BALANCED_CODE = 0.75, 0.4
"""Kernels share where that leaves less than so much of their code."""
LOOP_CODE, CALL_CODE = 3, 8
"""Statements that a loop, and the scalars of a shared micro function's calls, count for."""


def shared_schedules(
    functions: Sequence[Function],
    alone: Callable[[Function], Scheduled | None],
    constants: Mapping[str, Array],
    target: Target,
    objective: str,
) -> dict[str, Scheduled]:
    """The schedules of the kernels that share, by their names. ``alone`` gives the one that a
    kernel would have alone; None where it may not share."""
    if objective == "cycles" or not target.has("dsp"):
        return {}
    found: dict[str, Scheduled] = {}
    own: dict[str, Scheduled] = {}
    for function in _candidates(functions, objective):
        single = alone(function)
        scheduled = None if single is None else _shared(function, constants)
        if single is not None and scheduled is not None:
            found[function.name], own[function.name] = scheduled, single
    groups: dict[Function, list[str]] = {}
    for name, scheduled in found.items():
        groups.setdefault(_nameless(scheduled.micros[0]), []).append(name)
    worth = SIZE_CODE if objective == "size" else BALANCED_CODE
    result: dict[str, Scheduled] = {}
    for names in groups.values():
        code = _code([found[name] for name in names]) + CALL_CODE * len(names)
        if code < worth * _code([own[name] for name in names]):
            result |= {name: found[name] for name in names}
    return result


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


def _code(schedules: Iterable[Scheduled]) -> int:
    """Statements of all micro functions, equal ones once: about as many instructions."""
    micros = {_nameless(micro) for scheduled in schedules for micro in scheduled.micros}
    weights = {For: LOOP_CODE, Let: 1, Store: 1}
    bodies = [statements(micro.body) for micro in micros]
    return sum(weights.get(type(stmt), 0) for body in bodies for stmt in body)


def _nameless(micro: Function) -> Function:
    """A micro function by what it does."""
    return replace(micro, name="")


def _shared(function: Function, constants: Mapping[str, Array]) -> Scheduled | None:
    """The kernel by shared micro functions, if there are any of its kind."""
    depthwise = read_depthwise(function, constants)
    if depthwise is not None:
        planes = DepthwiseSchedule(shared=True, wide=not is_narrow(depthwise))
        return schedule_depthwise(function, constants, planes)
    w = read_weighted_sum(function, constants)
    if w is None or not has_panels(w):
        return None
    block = ConvSchedule(pixels=4, filters=2, steps=STEPS, shared=True)
    if not w.narrow:
        block = ConvSchedule(wide=True, steps=STEPS, shared=True)
    taps = w.weights.size // w.filters
    filled = w.filters * (-taps % (2 * STEPS)) * (1 if w.narrow else 2)
    if filled > max(MOST_FILLED, w.weights.size // 10):
        return None
    return schedule_conv(function, constants, block)

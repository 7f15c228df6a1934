"""Convolutions in parts, each in register blocks of its own: groups, phases of dilated columns.

In: an unscheduled kernel, the module's constants. Out: the kernel that computes one part behind
the other on the same line buffer, or None where the kernel is of another kind. Parts differ only
in constants and places, so their micro functions are mostly the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from utvm.ir.loop import Function
from utvm.schedule.combine import combined
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import kernel_of
from utvm.schedule.split_sum import read_split_sum
from utvm.schedule.weighted_sum import Array


def schedule_split(
    function: Function, constants: Mapping[str, Array], schedule: ConvSchedule
) -> Scheduled | None:
    """The kernel in register blocks, or None."""
    split = read_split_sum(function, constants)
    if split is None or not (schedule.wide or all(w.narrow for w in split.parts)):
        return None
    known = {**constants, **split.constants}
    scheduled: list[Scheduled] = []
    for number, part in enumerate(split.parts):
        own = replace(part.function, name=f"{function.name}_{number}")
        made = kernel_of(replace(part, function=own), known, schedule)
        if made is None:
            return None
        scheduled.append(made)
    return combined(function, scheduled)

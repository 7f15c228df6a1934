"""Which kernel a convolution or a dense layer becomes: on a line buffer, on panels, on the image.

In: an unscheduled kernel, the module's constants, the knobs. Out: the scheduled kernel, or None
where it is not of that kind, or the knobs ask for what cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping

from utvm.ir.loop import Function
from utvm.schedule.conv_block import Block
from utvm.schedule.conv_kernel import ConvKernel, ConvSchedule, Scheduled, plain_schedule
from utvm.schedule.folded_kernel import FoldedKernel
from utvm.schedule.line_buffer import may_raise
from utvm.schedule.panel_kernel import PanelKernel, has_panels
from utvm.schedule.plain_kernel import PlainKernel
from utvm.schedule.raw_kernel import RawKernel
from utvm.schedule.unbiased import sum_without_bias
from utvm.schedule.weighted_sum import Array, WeightedSum, read_weighted_sum


def schedule_conv(
    function: Function, constants: Mapping[str, Array], schedule: ConvSchedule
) -> Scheduled | None:
    """The kernel in register blocks, or None."""
    w = read_weighted_sum(function, constants)
    if w is None or w.variables.get("c") is None or not (schedule.wide or w.narrow):
        return None
    if not schedule.wide:
        w, constants = sum_without_bias(w, constants)
    elif may_raise(w) and not (schedule.shared or schedule.raw or schedule.plain):
        w, constants = sum_without_bias(w, constants, raised=True)
    if schedule.shared:
        return _on_panels(w, constants, schedule)
    return kernel_of(w, constants, schedule)


def kernel_of(
    w: WeightedSum, constants: Mapping[str, Array], schedule: ConvSchedule
) -> Scheduled | None:
    """The kernel of one weighted sum, on its own."""
    if schedule.folded:
        return FoldedKernel(w, constants, schedule).build()
    if schedule.plain:
        made = PlainKernel(w, constants, schedule).build()
        if made is not None:
            return made
    make = RawKernel if schedule.raw else ConvKernel
    found = make(w, constants, schedule).build()
    return plain_schedule(found) if found is not None and schedule.plain else found


def _on_panels(
    w: WeightedSum, constants: Mapping[str, Array], schedule: ConvSchedule
) -> Scheduled | None:
    if not has_panels(w) or "x" not in w.variables:
        return None
    block = Block(schedule.pixels, schedule.filters, schedule.wide, schedule.steps)
    built = PanelKernel(w, constants, block).build()
    return None if built is None else Scheduled(*built)

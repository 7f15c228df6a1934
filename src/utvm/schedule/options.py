"""What a kernel may become: its schedules with the cycles and constant bytes that they cost.

In: an unscheduled kernel and the module's constants. Out: options, built only when chosen. Cycles
are estimates for a Cortex-M4 without wait states, good enough to choose by: products at the rate of
the inner loop, results at that of the epilogue. The emulator tells the true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from utvm.ir.loop import Function
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled, schedule_conv
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.depthwise_sum import read_depthwise
from utvm.schedule.weighted_sum import Array, WeightedSum, read_weighted_sum
from utvm.schedule.winograd_kernel import is_winograd, schedule_winograd

# Cycles per product with two pixels and four filters: see docs/design/microkernels.md.
_NARROW, _WIDE = 1.13, 1.0
_EPILOGUE = 8.0
"""Cycles per result for rescale and store."""


@dataclass(frozen=True, eq=False)
class Option:
    """``cycles`` per run and ``bytes`` of constants, both estimated; ``build`` may give None."""

    cycles: float
    bytes: int
    build: Callable[[], Scheduled | None]


def options_of(function: Function, constants: Mapping[str, Array]) -> list[Option]:
    """The options of a kernel; none if only the schedules on loops serve it."""
    if read_depthwise(function, constants) is not None:
        schedule = DepthwiseSchedule()
        return [Option(0, 0, partial(schedule_depthwise, function, constants, schedule))]
    w = read_weighted_sum(function, constants)
    if w is None:
        return []
    weights = int(w.weights.size)
    results = w.image[0] * w.rows * w.columns * w.filters
    products = results * weights // w.filters
    options = [
        Option(
            products * rate + results * _EPILOGUE,
            weights * size,
            partial(schedule_conv, function, constants, ConvSchedule(wide=wide)),
        )
        for wide, size, rate in ((False, 1, _NARROW), (True, 2, _WIDE))
    ]
    if is_winograd(w):
        options.append(
            Option(
                results / 4 * _winograd_tile(w),
                2 * 16 * weights // 9,
                partial(schedule_winograd, function, constants),
            )
        )
    return options


def _winograd_tile(w: WeightedSum) -> float:
    """Cycles for the 2x2 results of one filter: products, sums and results, share of transforms."""
    return 15 * w.depth + 190 + 36 * w.depth / w.filters

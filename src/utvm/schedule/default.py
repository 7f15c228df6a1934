"""Default schedules: how each kernel's loops run when nobody has tuned them.

In: an unscheduled function and the target. Out: the scheduled function. One row per operator in
``SCHEDULES``; kernels without a row run as defined, with their loops over conditions partitioned.
Schedules look at loops by the names that definitions give them: n y x c around ky kx r (or i), g
for groups, pad_y pad_x for line copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from utvm.ir.loop import Alloc, Function
from utvm.ir.rewrite import statements
from utvm.schedule.compute_at import compute_at
from utvm.schedule.order import order_by_load
from utvm.schedule.partition import hoist_condition, partition
from utvm.schedule.primitives import extent, has_loop, loops, split, unroll, unroll_jam
from utvm.target.target import Target


@dataclass(frozen=True)
class Blocking:
    """Register blocks: output ``columns`` x ``channels``, ``depth`` taps per iteration."""

    columns: int
    channels: int
    depth: int


def schedule_function(
    function: Function, target: Target, block: Blocking | None = None
) -> Function:
    """The default schedule of one kernel on one target; or the same with other register blocks."""
    function = _line_buffer(function)
    schedule = SCHEDULES.get(function.op)
    return schedule(function, target, block) if schedule else function


def blocking(target: Target) -> Blocking:
    """As many accumulators as the registers hold beside operands and pointers.

    Thumb-2 cores have 13 usable registers, ARMv6-M has 8 that most instructions reach.
    """
    if target.is_native or target.has("thumb2"):
        return Blocking(2, 2, 4)
    return Blocking(1, 2, 2)


def _sums_floats(function: Function) -> bool:
    return any(isinstance(s, Alloc) and s.buffer.dtype.is_float for s in statements(function.body))


def _line_buffer(function: Function) -> Function:
    """Padded rows a few lines at a time, copied without a condition per element."""
    outer = next((name for name in ("y", "n") if has_loop(function, name)), None)
    if outer and any(buffer.name == "rows" for buffer in function.workspace):
        function = compute_at(function, "rows", outer)
    if has_loop(function, "pad_x"):
        function = partition(hoist_condition(function, "pad_x"), "pad_x")
    return function


def _blocked(function: Function, name: str, factor: int) -> Function:
    """A parallel loop in register blocks of ``factor``, its remainder in one smaller block."""
    if factor == 1 or not has_loop(function, name):
        return function
    function = split(function, name, factor)
    for part in (f"{name}_i", f"{name}_t"):
        if has_loop(function, part):
            function = unroll_jam(function, part)
    return function


def _unrolled(function: Function, name: str, factor: int) -> Function:
    """A reduction loop with ``factor`` steps per iteration, the remainder behind it.

    A loop of a few iterations is unrolled whole: what runs the loop would cost more.
    """
    if factor == 1 or not has_loop(function, name):
        return function
    if _size(function, name) <= 4 * factor:
        return unroll(function, name)
    function = split(function, name, factor)
    for part in (f"{name}_i", f"{name}_t"):
        if has_loop(function, part):
            function = unroll(function, part)
    return function


def _size(function: Function, name: str) -> int:
    """The extent of a loop; 1 where it has been simplified away."""
    return max((extent(stmt) for stmt in loops(function) if stmt.var.name == name), default=1)


def _pixels(function: Function) -> str:
    """The loop whose neighbours share elements: columns, or rows of an image of one column."""
    rows = [stmt for stmt in loops(function) if stmt.var.name == "y"]
    free = bool(rows) and all(stmt.parallel for stmt in rows)
    return "y" if free and not has_loop(function, "x") else "x"


def schedule_conv2d(function: Function, target: Target, block: Blocking | None) -> Function:
    """Blocks of output columns x channels; the taps of one window row in one loop."""
    in_fpu = target.has("fpu") and _sums_floats(function)
    block = block or (FLOAT_BLOCKING if in_fpu else blocking(target))
    function = _blocked(function, _pixels(function), block.columns)
    function = _blocked(function, "c", block.channels)
    return _unrolled(function, "r" if has_loop(function, "r") else "i", block.depth)


def schedule_dense(function: Function, target: Target, block: Blocking | None) -> Function:
    """Blocks of outputs that share each loaded input."""
    block = block or blocking(target)
    function = _blocked(function, "c", block.columns * block.channels)
    return _unrolled(function, "r", block.depth)


def schedule_window(function: Function, target: Target, block: Blocking | None) -> Function:
    """Depthwise and pooling: small windows unrolled whole for a few columns that share elements."""
    taps = [name for name in ("kx", "ky", "r") if has_loop(function, name)]
    if prod(_size(function, name) for name in taps) <= MOST_TAPS:
        for name in taps:
            function = unroll(function, name)
        pixels = _pixels(function)
        in_fpu = target.has("fpu") and _sums_floats(function)
        most = FLOAT_BLOCKING.columns if in_fpu else 2 * blocking(target).columns
        most, channels = (block.columns, block.channels) if block else (most, 2 if in_fpu else 1)
        function = _blocked(function, pixels, _even(_size(function, pixels), most))
        # Loads of floats reach 1 KB; two channels share the addresses of what lies further.
        function = _blocked(function, "c", channels)
        padded = any(buffer.name == "rows" for buffer in function.workspace)
        return order_by_load(function, "rows" if padded else function.inputs[0].name)
    return schedule_reduce(function, target, block)


def _even(extent: int, most: int) -> int:
    """Blocks of at most ``most`` that leave the smallest remainder: 3 + 2 rather than 4 + 1."""
    return -(-extent // -(-extent // most))


def schedule_reduce(function: Function, target: Target, block: Blocking | None) -> Function:
    """Reductions and large windows: adjacent channels share the address, a few steps per turn."""
    block = block or blocking(target)
    function = _blocked(function, "c", block.columns * block.channels)
    inner = next((name for name in ("r", "kx") if has_loop(function, name)), None)
    return _unrolled(function, inner, block.depth) if inner else function


FLOAT_BLOCKING = Blocking(4, 4, 1)
"""16 of an FPU's 32 registers are sums. On Cortex-M4 this takes 3.3 cycles per multiply-accumulate;
2x8 and 3x4 take 4.0 and 3.7, 2x2 takes 4.4."""

MOST_TAPS = 16
"""Windows up to this many taps are unrolled; larger ones would cost more code than cycles."""

SCHEDULES: dict[str, Callable[[Function, Target, Blocking | None], Function]] = {
    "conv2d": schedule_conv2d,
    "transpose_conv2d_phases": schedule_conv2d,
    "dense": schedule_dense,
    "depthwise_conv2d": schedule_window,
    "max_pool2d": schedule_window,
    "avg_pool2d": schedule_window,
    "mean": schedule_reduce,
    "sum": schedule_reduce,
    "reduce_max": schedule_reduce,
    "reduce_min": schedule_reduce,
}

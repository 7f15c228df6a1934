"""Schedules every kernel of a module for a target.

In: a lowered module. Out: the same network with scheduled kernels, the micro functions that they
invoke, equal ones only once, and the constants in the order in which kernels read them; constants
that nobody reads any more are gone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from utvm.ir.loop import Function, Invoke, Module, Stmt
from utvm.ir.rewrite import map_statements
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled, schedule_conv
from utvm.schedule.default import schedule_function
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.winograd_kernel import schedule_winograd
from utvm.target.target import Target


def schedule_module(module: Module, target: Target) -> Module:
    """The module with the default schedule of each kernel."""
    constants: dict[str, np.ndarray] = dict(module.constants)
    micros = _Micros()
    functions: list[Function] = []
    for function in module.functions:
        scheduled = _schedule(function, constants, target)
        functions.append(micros.added(scheduled))
        constants |= scheduled.constants or {}
    read = {buffer.name for function in functions for buffer in function.constants}
    return replace(
        module,
        functions=tuple(functions),
        micros=tuple(micros.functions),
        constants={name: data for name, data in constants.items() if name in read},
    )


def _schedule(function: Function, constants: dict[str, np.ndarray], target: Target) -> Scheduled:
    if target.has("dsp"):
        blocked = schedule_winograd(function, constants)
        if blocked is None:
            blocked = schedule_conv(function, constants, ConvSchedule())
        if blocked is None:
            blocked = schedule_depthwise(function, constants, DepthwiseSchedule())
        if blocked is not None:
            return blocked
    return Scheduled(schedule_function(function, target))


class _Micros:
    """Micro functions by what they do: equal ones of several kernels are one."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self._names: dict[Function, str] = {}

    def added(self, scheduled: Scheduled) -> Function:
        """The kernel with the names that its micro functions have in the module."""
        names: dict[str, str] = {}
        for micro in scheduled.micros:
            key = replace(micro, name="")
            if key not in self._names:
                self._names[key] = self._fresh(micro.name)
                self.functions.append(replace(micro, name=self._names[key]))
            names[micro.name] = self._names[key]

        def change(stmt: Stmt) -> Stmt:
            if isinstance(stmt, Invoke):
                return replace(stmt, function=names[stmt.function])
            return stmt

        kernel = scheduled.function
        return replace(kernel, body=map_statements(kernel.body, change)) if names else kernel

    def _fresh(self, name: str) -> str:
        taken = set(self._names.values())
        fresh, count = name, 1
        while fresh in taken:
            count += 1
            fresh = f"{name}_{count}"
        return fresh

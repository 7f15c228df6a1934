"""Schedules every kernel of a module for a target.

In: a lowered module, and what to save: ``cycles``, ``size`` or, ``balanced``, cycles as long as the
constants stay within 1.5 times the model's own. Out: the same network with scheduled kernels, the
micro functions that they invoke, equal ones only once, and the constants in the order in which
kernels read them; constants that nobody reads any more are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from utvm.ir.loop import Function, Invoke, Module, Stmt
from utvm.ir.rewrite import map_statements
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.default import schedule_function
from utvm.schedule.options import Option, options_of
from utvm.schedule.weighted_sum import Array
from utvm.target.target import Target

OBJECTIVES = ("balanced", "cycles", "size")
BALANCED_BYTES = 1.5


def schedule_module(module: Module, target: Target, objective: str = "balanced") -> Module:
    """The module with the default schedule of each kernel."""
    constants: dict[str, Array] = dict(module.constants)
    packed = target.has("dsp")
    options = [options_of(f, module.constants) if packed else [] for f in module.functions]
    budget = int(BALANCED_BYTES * sum(data.nbytes for data in constants.values()))
    chosen = _choose(options, objective, budget)
    micros = _Micros()
    functions: list[Function] = []
    for function, option in zip(module.functions, chosen, strict=True):
        scheduled = None if option is None else option.build()
        if scheduled is None:
            scheduled = Scheduled(schedule_function(function, target))
        functions.append(micros.added(scheduled))
        constants |= scheduled.constants or {}
    read = {buffer.name for function in functions for buffer in function.constants}
    return replace(
        module,
        functions=tuple(functions),
        micros=tuple(micros.functions),
        constants={name: data for name, data in constants.items() if name in read},
    )


def _choose(options: list[list[Option]], objective: str, budget: int) -> list[Option | None]:
    """One option per kernel; None where there is none.

    ``balanced`` begins with the smallest ones and takes what saves most cycles per byte, as long as
    it fits. That is the greedy answer to a knapsack problem, and close to the best one.
    """
    if objective == "cycles":
        return [min(o, key=lambda one: one.cycles) if o else None for o in options]
    chosen = [min(o, key=lambda one: (one.bytes, one.cycles)) if o else None for o in options]
    if objective == "size":
        return chosen
    left = budget - sum(one.bytes for one in chosen if one is not None)
    while True:
        best: tuple[float, int, Option] | None = None
        for i, (others, now) in enumerate(zip(options, chosen, strict=True)):
            for other in others:
                assert now is not None
                saved, more = now.cycles - other.cycles, other.bytes - now.bytes
                if saved > 0 and more <= left and (best is None or saved / max(more, 1) > best[0]):
                    best = (saved / max(more, 1), i, other)
        if best is None:
            return chosen
        _, i, option = best
        now = chosen[i]
        assert now is not None
        left -= option.bytes - now.bytes
        chosen[i] = option


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
        kernel = scheduled.function
        return replace(kernel, body=_renamed(kernel.body, names)) if names else kernel

    def _fresh(self, name: str) -> str:
        taken = set(self._names.values())
        fresh, count = name, 1
        while fresh in taken:
            count += 1
            fresh = f"{name}_{count}"
        return fresh


def _renamed(body: tuple[Stmt, ...], names: Mapping[str, str]) -> tuple[Stmt, ...]:
    def change(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Invoke):
            return replace(stmt, function=names[stmt.function])
        return stmt

    return map_statements(body, change)

"""Schedules every kernel of a module for a target.

In: a lowered module, and what to save: ``cycles``, ``size`` or, ``balanced``, cycles as long as the
constants stay within 1.5 times the model's own; and what was measured of schedules, if anything.
Out: the same network with scheduled kernels, the micro functions that they invoke, equal ones only
once, and the constants in the order in which kernels read them; constants that nobody reads any
more are gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from utvm.ir.loop import Function, Invoke, Module, Stmt
from utvm.ir.rewrite import map_statements
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.default import schedule_function
from utvm.schedule.knapsack import fewest_cycles
from utvm.schedule.knobs import Option
from utvm.schedule.options import kernel_options, measured_options
from utvm.schedule.records import NO_RECORDS, Config, Record, Records, balanced_score, size_score
from utvm.schedule.sharing import shared_schedules
from utvm.schedule.weighted_sum import Array
from utvm.schedule.workload import workload_of
from utvm.target.target import Target

OBJECTIVES = ("balanced", "cycles", "size")
BALANCED_BYTES = 1.5
SMALL = 1.08
"""Constants of so many times the fewest are few, too."""
SHARING = ("direct", "depthwise", "across")
"""Templates whose kernels may share micro functions instead."""


def schedule_module(
    module: Module,
    target: Target,
    objective: str = "balanced",
    records: Records = NO_RECORDS,
    parameter_bytes: int | None = None,
) -> Module:
    """The module with a schedule for each kernel: the best that was measured, else the default.

    ``parameter_bytes`` is the size of the model's own constants; default: those of the module.
    """
    constants: dict[str, Array] = dict(module.constants)
    measured = [_measured(function, records) for function in module.functions]
    spaces = [
        kernel_options(function, module.constants, target, named=known)
        for function, known in zip(module.functions, measured, strict=True)
    ]
    options = [
        _candidates(space, known, objective) for space, known in zip(spaces, measured, strict=True)
    ]
    if parameter_bytes is None:
        parameter_bytes = sum(data.nbytes for data in constants.values())
    fixed = sum(
        constants[buffer.name].nbytes
        for function, others in zip(module.functions, options, strict=True)
        for buffer in (() if others else function.constants)
    )
    budget = int(BALANCED_BYTES * parameter_bytes) - fixed
    builds = _Builds()
    choice = _choose(options, objective, budget)
    found = [builds.first(*one) for one in zip(module.functions, choice, options, strict=True)]
    shared: dict[str, Scheduled] = {}
    if objective != "cycles":
        # What is shared does not depend on records: those know kernels alone, and no others.
        defaults = [_defaults(space, objective) for space in spaces]
        chosen = _choose(defaults, objective, budget)
        may_share = {
            function.name: option
            for function, option in zip(module.functions, chosen, strict=True)
            if option is not None and _template(option) in SHARING
        }

        def alone(function: Function) -> Scheduled | None:
            option = may_share.get(function.name)
            return None if option is None else builds.of(function, option)

        shared = shared_schedules(module.functions, alone, module.constants, target, objective)
    micros = _Micros()
    functions: list[Function] = []
    for function, made in zip(module.functions, found, strict=True):
        made = shared.get(function.name, made)
        scheduled = made or Scheduled(schedule_function(function, target))
        functions.append(micros.added(scheduled))
        constants |= scheduled.constants or {}
    return with_functions(module, functions, micros.functions, constants)


def _template(option: Option) -> str:
    return str(dict(option.config).get("template"))


def schedule_alone(module: Module, scheduled: Scheduled) -> Module:
    """A module of one kernel with the schedule that it has been given."""
    micros = _Micros()
    function = micros.added(scheduled)
    constants = {**module.constants, **(scheduled.constants or {})}
    return with_functions(module, [function], micros.functions, constants)


def with_functions(
    module: Module,
    functions: Sequence[Function],
    micros: Sequence[Function],
    constants: Mapping[str, Array],
) -> Module:
    """The module with scheduled kernels, and of the constants those that they read."""
    read = {buffer.name for function in functions for buffer in function.constants}
    return replace(
        module,
        functions=tuple(functions),
        micros=tuple(micros),
        constants={name: data for name, data in constants.items() if name in read},
    )


def _measured(function: Function, records: Records) -> Mapping[Config, Record]:
    """What the records know of a kernel."""
    return records.of(workload_of(function).key) if records.by_workload else {}


def _candidates(
    space: Sequence[Option], known: Mapping[Config, Record], objective: str
) -> list[Option]:
    """What to choose from: the default options, or what the records know."""
    if space and known:
        measured = measured_options(space, known)
        return list(map(_with_code, measured)) if objective == "balanced" else measured
    return _defaults(space, objective)


def _defaults(space: Sequence[Option], objective: str) -> list[Option]:
    """What there is without records."""
    return [o for o in space if o.default and not (o.lavish and objective != "cycles")]


def _with_code(option: Option) -> Option:
    """The option with code counted as cycles, where it has been measured."""
    return replace(option, cycles=balanced_score(option.cycles, option.code_bytes))


class _Builds:
    """Schedules by kernel and option: each is built once, whoever asks."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Config], Scheduled | None] = {}

    def of(self, function: Function, option: Option) -> Scheduled | None:
        key = (function.name, option.config)
        if key not in self._known:
            self._known[key] = option.build()
        return self._known[key]

    def first(
        self, function: Function, option: Option | None, others: Sequence[Option]
    ) -> Scheduled | None:
        """The chosen schedule; where it can't be, another default one."""
        if option is None:
            return None
        rest = [o for o in others if o.default and o.config != option.config]
        for candidate in (option, *sorted(rest, key=lambda o: o.cycles)):
            scheduled = self.of(function, candidate)
            if scheduled is not None:
                return scheduled
        return None


def _choose(options: list[list[Option]], objective: str, budget: int) -> list[Option | None]:
    """One option per kernel; None where there is none. ``balanced`` takes the fewest cycles that
    its budget of constants allows; code that has been measured counts as cycles there."""
    if objective == "cycles":
        return [min(o, key=lambda one: one.cycles) if o else None for o in options]
    if objective == "size":
        return [_smallest(o) if o else None for o in options]
    return fewest_cycles(options, budget)


def _smallest(options: Sequence[Option]) -> Option:
    """Of those with the fewest constants, the fastest. Where code has been measured, half of it is
    worth 1.4 times the cycles, up to those that the default takes."""
    least = min(option.bytes for option in options)
    small = [option for option in options if option.bytes <= SMALL * least]
    first = min(small, key=lambda one: (not one.default, one.cycles))
    if not all(option.measured for option in small):
        return min(small, key=lambda one: (one.bytes, one.cycles))
    allowed = [o for o in small if o.cycles <= first.cycles or not first.default]
    return min(allowed, key=lambda one: size_score(int(one.cycles), one.code_bytes))


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
            name = self._names.get(key)
            if name is None:
                name = self._names[key] = self._fresh(micro.name)
                self.functions.append(replace(micro, name=name))
            names[micro.name] = name
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

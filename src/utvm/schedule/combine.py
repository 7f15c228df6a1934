"""Several schedules one behind the other as one kernel: phases of columns, groups of channels.

In: a kernel, and schedules that make a part of its results each. Out: one schedule. Buffers of
workspace that have the same name are one, as large as the largest; equal micro functions are one,
and constants of different contents get names of their own.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np

from utvm.ir.loop import Buffer, Expr, Function, Invoke, Stmt, Var
from utvm.ir.rewrite import map_statements, rename_buffers, simplify_body, substitute
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.weighted_sum import Array


def at_phase(body: tuple[Stmt, ...], phase: int, phases: int, name: str = "x") -> tuple[Stmt, ...]:
    """Statements in which loop ``name`` counts every ``phases``-th result from ``phase`` on."""
    place: Expr = Var(name) * phases + phase
    return simplify_body(substitute(body, {name: place}))


def combined(function: Function, parts: Sequence[Scheduled]) -> Scheduled:
    """All parts, in order, as the schedule of ``function``."""
    if len(parts) == 1:
        (part,) = parts
        return replace(part, function=replace(part.function, name=function.name))
    workspace = _largest([b for part in parts for b in part.function.workspace])
    micros: dict[Function, Function] = {}
    constants: dict[str, Array] = {}
    declared: dict[str, Buffer] = {}
    body: tuple[Stmt, ...] = ()
    for part in parts:
        names = {micro.name: _named(micro, micros) for micro in part.micros}
        buffers = dict(workspace)
        for buffer in part.function.constants:
            own = buffer
            if part.constants is not None and buffer.name in part.constants:
                data = part.constants[buffer.name]
                own = replace(buffer, name=_constant_name(buffer.name, data, constants))
                constants[own.name] = data
                buffers[buffer.name] = own
            declared[own.name] = own
        body += _renamed(rename_buffers(part.function.body, buffers), names)
    whole = replace(
        function,
        body=body,
        workspace=tuple(workspace.values()),
        constants=tuple(declared.values()),
    )
    return Scheduled(whole, tuple(micros.values()), constants)


def _largest(buffers: Sequence[Buffer]) -> dict[str, Buffer]:
    found: dict[str, Buffer] = {}
    for buffer in buffers:
        known = found.get(buffer.name)
        assert known is None or known.dtype is buffer.dtype, buffer
        if known is None or known.elements < buffer.elements:
            found[buffer.name] = buffer
    return found


def _named(micro: Function, known: dict[Function, Function]) -> str:
    """The name of a micro function among those of all parts."""
    key = replace(micro, name="")
    if key not in known:
        known[key] = replace(micro, name=_fresh(micro.name, {m.name for m in known.values()}))
    return known[key].name


def _constant_name(name: str, data: Array, known: Mapping[str, Array]) -> str:
    """The name of equal data of the same stem, or a new one."""
    for other, present in known.items():
        if other.startswith(name) and np.array_equal(present, data):
            return other
    return _fresh(name, known)


def _fresh(name: str, taken: Container[str]) -> str:
    fresh, count = name, 1
    while fresh in taken:
        count += 1
        fresh = f"{name}_{count}"
    return fresh


def _renamed(body: tuple[Stmt, ...], names: Mapping[str, str]) -> tuple[Stmt, ...]:
    def change(stmt: Stmt) -> Stmt:
        return replace(stmt, function=names[stmt.function]) if isinstance(stmt, Invoke) else stmt

    return map_statements(body, change)

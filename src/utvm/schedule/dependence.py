"""Whether two nested loops may change places: the dependence test behind ``reorder``.

In: a loop directly around another. Out: the reason why not, or nothing. Iterations of a parallel
outer loop touch different memory, so that it may go inside. Sums of integers in a register may be
added up in any order (no sum overflows in loop IR). Else each pair of accesses to one element must
stay in its order: with subscripts that are equal but for a constant, the iterations that meet are
at fixed distances (a direction vector, Allen and Kennedy 1984), and none may run forward in one
loop and backward in the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from utvm.ir.loop import Alloc, Binary, Buffer, For, If, Imm, Invoke, Load, Stmt, Store
from utvm.ir.rewrite import Linear, expressions, free_vars, statements
from utvm.schedule.region import loop_range, offset_of, range_of

_MOST_DISTANCES = 1 << 16


def obstacle(outer: For, inner: For) -> str:
    """Why two loops, one directly around the other, cannot be exchanged; empty if they can."""
    if any(outer.var.name in free_vars(bound) for bound in (inner.start, inner.stop)):
        return f"the bounds of {inner.var.name} depend on {outer.var.name}"
    if outer.parallel:
        return ""
    own = {s.buffer.name for s in statements(inner.body) if isinstance(s, Alloc)}
    accesses = [a for a in _accesses(inner.body) if a.buffer.name not in own]
    sums = _sums(inner.body)
    for name in {a.buffer.name for a in accesses if a.is_store}:
        same = [a for a in accesses if a.buffer.name == name]
        if name in sums:
            continue
        if any(_crosses(a, b, outer, inner) for a in same for b in same if a.is_store):
            return f"iterations depend on each other through {name}"
    return ""


@dataclass(frozen=True)
class _Access:
    """A load or a store at a flat offset, None where that is not linear."""

    buffer: Buffer
    offset: Linear | None
    lanes: int
    is_store: bool
    loops: tuple[For, ...]


def _accesses(body: tuple[Stmt, ...], loops: tuple[For, ...] = ()) -> Iterator[_Access]:
    for stmt in body:
        if isinstance(stmt, For):
            yield from _accesses(stmt.body, (*loops, stmt))
            continue
        if isinstance(stmt, If):
            yield from _accesses(stmt.then + stmt.orelse, loops)
            stmt = If(stmt.condition, ())
        if isinstance(stmt, Invoke):
            for pointer in stmt.pointers:
                yield _Access(pointer.buffer, None, 1, True, loops)
        if isinstance(stmt, Store):
            at = offset_of(stmt.buffer, stmt.indices)
            yield _Access(stmt.buffer, at, stmt.lanes, True, loops)
        for expr in expressions((stmt,)):
            if isinstance(expr, Load):
                at = offset_of(expr.buffer, expr.indices)
                yield _Access(expr.buffer, at, expr.lanes, False, loops)


def _sums(body: tuple[Stmt, ...]) -> set[str]:
    """Integer registers that a body only adds to, or only takes one extreme of."""
    operators: dict[str, set[str]] = {}
    for stmt in statements(body):
        if isinstance(stmt, For):
            continue
        if isinstance(stmt, If):
            stmt = If(stmt.condition, ())
        op = _accumulates(stmt)
        loads = [e.buffer.name for e in expressions((stmt,)) if isinstance(e, Load)]
        touched = {*loads, stmt.buffer.name} if isinstance(stmt, Store) else set(loads)
        for name in touched:
            alone = isinstance(stmt, Store) and stmt.buffer.name == name and loads.count(name) == 1
            operators.setdefault(name, set()).add(op if alone else "")
    return {name for name, found in operators.items() if len(found) == 1 and "" not in found}


def _accumulates(stmt: Stmt) -> str:
    """The operator of ``acc = acc op ...`` on an integer register."""
    match stmt:
        case Store(buffer, (), Binary("+" | "min" | "max" as op, Load(loaded, ()), _)):
            if loaded == buffer and not buffer.dtype.is_float:
                return op
    return ""


def _crosses(a: _Access, b: _Access, outer: For, inner: For) -> bool:
    """Whether a pair may meet with one loop running forward and the other backward between."""
    if a.offset is None or b.offset is None:
        return True
    names = outer.var.name, inner.var.name
    if any(a.offset.coefficient(name) != b.offset.coefficient(name) for name in names):
        return True
    try_loops = {around.var.name: around for around in (*a.loops, *b.loops)}
    difference = _difference(a, b, names, try_loops)
    if difference is None:
        return True
    low, high = difference
    steps = [_distances(one) for one in (outer, inner)]
    if steps[0] is None or steps[1] is None or len(steps[0]) * len(steps[1]) > _MOST_DISTANCES:
        return True
    forward, backward = (np.array(step, np.int64) for step in (steps[0], steps[1]))
    way = a.offset.coefficient(names[0]) * forward[:, None]
    way = way - a.offset.coefficient(names[1]) * backward[None, :]
    return bool(np.any((way >= low) & (way <= high)) or np.any((-way >= low) & (-way <= high)))


def _difference(
    a: _Access, b: _Access, names: tuple[str, str], loops: dict[str, For]
) -> tuple[int, int] | None:
    """How far apart the two are within one iteration, at least and at most; inner loops run on
    their own on either side."""
    assert a.offset is not None and b.offset is not None
    low, high = a.offset.constant - b.offset.constant, a.offset.constant - b.offset.constant
    for form, sign in ((a.offset, 1), (b.offset, -1)):
        for name, coefficient in form.terms:
            if name in loops:
                if not all(isinstance(x, Imm) for x in (loops[name].start, loops[name].stop)):
                    return None
                term = Linear(0, ((name, sign * coefficient),))
                ends = range_of(term, {name: loop_range(loops[name])})
                low, high = low + ends[0], high + ends[1]
            elif name not in names and a.offset.coefficient(name) != b.offset.coefficient(name):
                return None
    return low - (a.lanes - 1), high + (b.lanes - 1)


def _distances(stmt: For) -> range | None:
    """The distances between two iterations of a loop."""
    if not (isinstance(stmt.start, Imm) and isinstance(stmt.stop, Imm)):
        return None
    first, last = loop_range(stmt)
    return range(stmt.step, last - first + 1, stmt.step)

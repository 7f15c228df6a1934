"""compute-at: a buffer computed in full before a nest is computed piece by piece inside one of its
loops.

Only the part that one iteration reads is computed, in a buffer of that size: line buffers. The part
is found from the index expressions, which must be linear. What neighbouring iterations share is
computed again.

    rows[0..34] = f                      for y: rows[0..3] = f(y + ...)
    for y: use rows[y + ky]              ---
                                         for y: use rows[ky]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from utvm.ir.loop import Buffer, Expr, For, Function, If, Imm, Load, Stmt, Store, Var
from utvm.ir.rewrite import (
    Linear,
    expressions,
    from_linear,
    linear,
    map_body,
    simplify_body,
    simplify_index,
    statements,
    substitute,
)
from utvm.schedule.primitives import extent, rewrite_loops, writes
from utvm.support.errors import ScheduleError


@dataclass(frozen=True)
class _Region:
    """One axis of the part: it starts at ``start`` (in outer variables) and is ``size`` long."""

    start: Linear
    size: int


def compute_at(function: Function, buffer: str, name: str) -> Function:
    """Moves the nest that fills workspace ``buffer`` to the start of loop ``name``."""
    producers = [stmt for stmt in function.body if writes((stmt,), buffer)]
    if len(producers) != 1:
        raise ScheduleError("one nest must fill the buffer", where=function.name, found=buffer)
    producer = producers[0]
    rest = tuple(stmt for stmt in function.body if stmt is not producer)
    old = next(b for b in function.workspace if b.name == buffer)
    new = old

    def change(stmt: For) -> tuple[Stmt, ...]:
        nonlocal new
        region = _region(stmt, buffer, len(old.shape))
        new = replace(old, shape=tuple(axis.size for axis in region))
        local = _moved_producer(producer, old, new, region)
        return (replace(stmt, body=(*local, *_moved_reads(stmt.body, old, new, region))),)

    moved = rewrite_loops(replace(function, body=rest), name, change)
    workspace = tuple(new if b.name == buffer else b for b in function.workspace)
    body = simplify_body(_one_at_a_time(moved.body, buffer))
    return replace(moved, body=body, workspace=workspace)


def _one_at_a_time(body: tuple[Stmt, ...], buffer: str) -> tuple[Stmt, ...]:
    """Loops whose iterations share the buffer, since each fills it anew, are parallel no longer."""
    return tuple(
        replace(stmt, body=_one_at_a_time(stmt.body, buffer), parallel=False)
        if isinstance(stmt, For) and _fills(stmt.body, buffer)
        else stmt
        for stmt in body
    )


def _fills(body: tuple[Stmt, ...], buffer: str) -> bool:
    """Whether a body fills and reads the buffer."""
    reads = any(isinstance(e, Load) and e.buffer.name == buffer for e in expressions(body))
    return reads and writes(body, buffer)


def _region(stmt: For, buffer: str, rank: int) -> tuple[_Region, ...]:
    """What the body of a loop reads of a buffer, per axis."""
    reads = list(_reads(stmt.body, buffer, {}))
    if not reads:
        raise ScheduleError("the loop does not read the buffer", found=f"{buffer}, {stmt.var.name}")
    return tuple(
        _axis([(indices[axis], loops) for indices, loops in reads]) for axis in range(rank)
    )


def _reads(
    body: tuple[Stmt, ...], buffer: str, loops: dict[str, For]
) -> Iterator[tuple[tuple[Expr, ...], dict[str, For]]]:
    """The indices of every load from the buffer, with the loops around it by name."""
    for stmt in body:
        match stmt:
            case For(var, body=inner):
                yield from _reads(inner, buffer, {**loops, var.name: stmt})
            case If(_, then, orelse):
                yield from _reads(then + orelse, buffer, loops)
            case _:
                for expr in expressions((stmt,)):
                    if isinstance(expr, Load) and expr.buffer.name == buffer:
                        yield expr.indices, loops


def _axis(reads: list[tuple[Expr, dict[str, For]]]) -> _Region:
    starts, ends = [], []
    outer: tuple[tuple[str, int], ...] | None = None
    for index, inner in reads:
        form = linear(index)
        if form is None:
            raise ScheduleError("the index is not linear", found=str(index)[:80])
        fixed = tuple(term for term in form.terms if term[0] not in inner)
        if outer not in (None, fixed):
            raise ScheduleError("the reads move differently", found=str(index)[:80])
        outer = fixed
        low = high = form.constant
        for name, coefficient in form.terms:
            if name in inner:
                first, last = _range(inner[name])
                low += min(coefficient * first, coefficient * last)
                high += max(coefficient * first, coefficient * last)
        starts.append(low)
        ends.append(high)
    return _Region(Linear(min(starts), outer or ()), max(ends) - min(starts) + 1)


def _range(stmt: For) -> tuple[int, int]:
    assert isinstance(stmt.start, Imm)
    first = int(stmt.start.value)
    return first, first + (extent(stmt) - 1) * stmt.step


def _moved_producer(
    producer: Stmt, old: Buffer, new: Buffer, region: tuple[_Region, ...]
) -> tuple[Stmt, ...]:
    """The filling nest over the region only: each loop variable counts from the region's start."""
    stores = [s for s in statements((producer,)) if isinstance(s, Store)]
    if len(stores) != 1 or not all(isinstance(i, Var | Imm) for i in stores[0].indices):
        raise ScheduleError("the filling nest must store at its loop variables", found=old.name)
    store = stores[0]
    axes = [
        (index.name, axis)
        for index, axis in zip(store.indices, region, strict=True)
        if isinstance(index, Var)
    ]
    shifts = {
        name: from_linear(Linear(axis.start.constant, (*axis.start.terms, (name, 1))))
        for name, axis in axes
    }
    (value,) = substitute((replace(store, indices=()),), shifts)
    assert isinstance(value, Store)
    body: tuple[Stmt, ...] = (Store(new, store.indices, value.value),)
    for name, axis in reversed(axes):
        body = (For(Var(name), Imm(0), Imm(axis.size), body, parallel=True),)
    return body


def _moved_reads(
    body: tuple[Stmt, ...], old: Buffer, new: Buffer, region: tuple[_Region, ...]
) -> tuple[Stmt, ...]:
    def change(expr: Expr) -> Expr:
        if not (isinstance(expr, Load) and expr.buffer.name == old.name):
            return expr
        indices = (
            simplify_index(index - from_linear(axis.start))
            for index, axis in zip(expr.indices, region, strict=True)
        )
        return Load(new, tuple(indices))

    return map_body(body, change)

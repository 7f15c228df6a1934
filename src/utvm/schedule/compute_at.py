"""compute-at: a buffer computed in full before a nest is computed piece by piece inside one of its
loops (Halide's ``compute_at``, Ragan-Kelley et al., PLDI 2013).

Only the part that one iteration reads is computed, in a buffer of that size: line buffers. The part
is found from the index expressions, which must be linear. What neighbouring iterations share is
computed again.

    rows[0..34] = f                      for y: rows[0..3] = f(y + ...)
    for y: use rows[y + ky]              ---
                                         for y: use rows[ky]
"""

from __future__ import annotations

from dataclasses import replace

from utvm.ir.loop import Buffer, Expr, For, Function, Imm, Load, Stmt, Store, Var
from utvm.ir.rewrite import (
    Linear,
    expressions,
    from_linear,
    map_body,
    simplify_body,
    simplify_index,
    statements,
    substitute,
)
from utvm.schedule.primitives import rewrite_loops, writes
from utvm.schedule.region import Axis, reads, region
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError


@primitive
def compute_at(function: Function, buffer: str, name: str) -> Function:
    """Moves the nest that fills workspace ``buffer`` to the start of loop ``name``."""
    old = next((b for b in function.workspace if b.name == buffer), None)
    producers = [stmt for stmt in function.body if writes((stmt,), buffer)]
    if old is None or len(producers) != 1:
        raise ScheduleError("one nest must fill the buffer", where=function.name, found=buffer)
    producer = producers[0]
    _check_producer(function, producer, buffer)
    rest = tuple(stmt for stmt in function.body if stmt is not producer)
    where = f"{function.name}: loop {name}"
    new = old
    found: set[tuple[int, ...]] = set()

    def change(stmt: For) -> tuple[Stmt, ...]:
        nonlocal new
        accesses = reads(stmt, buffer)
        if not accesses:
            raise ScheduleError("the loop does not read the buffer", where=where, found=buffer)
        axes = region(accesses, where)
        if accesses[0].buffer.shape != old.shape:
            raise ScheduleError(
                "the loop reads the buffer in another shape than it is filled in",
                where=where,
                expected=str(old.shape),
                found=str(accesses[0].buffer.shape),
                hint="compute_at first, fuse then",
            )
        new = replace(old, shape=tuple(axis.size for axis in axes))
        found.add(new.shape)
        local = _moved_producer(producer, old, new, axes)
        return (replace(stmt, body=(*local, *moved_reads(stmt.body, old.name, new, axes))),)

    moved = rewrite_loops(replace(function, body=rest), name, change)
    if len(found) != 1 or _reads_shape(moved.body, old, new):
        raise ScheduleError(
            "the buffer is read outside of the loop, or in parts of several sizes",
            where=where,
            expected=f"all reads of {buffer} in one loop {name}",
            found=", ".join(map(str, sorted(found))),
        )
    workspace = tuple(new if b.name == buffer else b for b in function.workspace)
    body = simplify_body(one_at_a_time(moved.body, buffer))
    return replace(moved, body=body, workspace=workspace)


def _check_producer(function: Function, producer: Stmt, buffer: str) -> None:
    """It may run later and again: a plain nest, of what nobody else writes."""
    odd = [s for s in statements((producer,)) if not isinstance(s, For | Store)]
    if odd:
        raise ScheduleError(
            "the filling nest is not loops around a store",
            where=function.name,
            expected="loops and one store",
            found=type(odd[0]).__name__,
        )
    for expr in expressions((producer,)):
        if isinstance(expr, Load) and writes(function.body, expr.buffer.name):
            raise ScheduleError(
                "the filling nest reads what is computed here",
                where=function.name,
                expected=f"{buffer} made of inputs and constants",
                found=expr.buffer.name,
            )


def _reads_shape(body: tuple[Stmt, ...], old: Buffer, new: Buffer) -> bool:
    """Whether somebody still reads the buffer as it was."""
    return old.shape != new.shape and any(
        isinstance(e, Load) and e.buffer == old for e in expressions(body)
    )


def one_at_a_time(body: tuple[Stmt, ...], buffer: str) -> tuple[Stmt, ...]:
    """Loops whose iterations share the buffer, since each fills it anew, are parallel no longer."""
    return tuple(
        replace(stmt, body=one_at_a_time(stmt.body, buffer), parallel=False)
        if isinstance(stmt, For) and _fills(stmt.body, buffer)
        else stmt
        for stmt in body
    )


def _fills(body: tuple[Stmt, ...], buffer: str) -> bool:
    """Whether a body fills and reads the buffer."""
    reads = any(isinstance(e, Load) and e.buffer.name == buffer for e in expressions(body))
    return reads and writes(body, buffer)


def _moved_producer(
    producer: Stmt, old: Buffer, new: Buffer, axes: tuple[Axis, ...]
) -> tuple[Stmt, ...]:
    """The filling nest over the region only: each loop variable counts from the region's start."""
    stores = [s for s in statements((producer,)) if isinstance(s, Store)]
    if len(stores) != 1 or not _stores_at_variables(stores[0], axes):
        raise ScheduleError("the filling nest must store at its loop variables", found=old.name)
    store = stores[0]
    moved = [
        (index.name, axis)
        for index, axis in zip(store.indices, axes, strict=True)
        if isinstance(index, Var)
    ]
    shifts = {
        name: from_linear(Linear(axis.start.constant, (*axis.start.terms, (name, 1))))
        for name, axis in moved
    }
    (value,) = substitute((replace(store, indices=()),), shifts)
    assert isinstance(value, Store)
    indices = tuple(index if isinstance(index, Var) else Imm(0) for index in store.indices)
    body: tuple[Stmt, ...] = (Store(new, indices, value.value),)
    for name, axis in reversed(moved):
        body = (For(Var(name), Imm(0), Imm(axis.size), body, parallel=True),)
    return body


def _stores_at_variables(store: Store, axes: tuple[Axis, ...]) -> bool:
    """Each index is a variable of its own, or the one number that is ever read there."""
    names = [index.name for index in store.indices if isinstance(index, Var)]
    return (
        len(names) == len(set(names))
        and len(store.indices) == len(axes)
        and all(
            isinstance(index, Var)
            or (isinstance(index, Imm) and axis == Axis(Linear(int(index.value)), 1))
            for index, axis in zip(store.indices, axes, strict=True)
        )
    )


def moved_reads(
    body: tuple[Stmt, ...], old: str, new: Buffer, axes: tuple[Axis, ...]
) -> tuple[Stmt, ...]:
    """The body with loads from a buffer taken from the part of it that ``new`` holds."""

    def change(expr: Expr) -> Expr:
        if not (isinstance(expr, Load) and expr.buffer.name == old):
            return expr
        indices = (
            simplify_index(index - from_linear(axis.start))
            for index, axis in zip(expr.indices, axes, strict=True)
        )
        return Load(new, tuple(indices), expr.lanes)

    return map_body(body, change)

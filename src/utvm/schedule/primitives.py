"""Schedule primitives: rewrites of loop IR that keep its meaning, with the field's names.

Each takes a ``Function`` and names of loops and gives a new ``Function``; an illegal request is a
ScheduleError that says why. A name addresses every loop that bears it, because splitting copies
bodies into tails. ``split`` of loop ``x`` makes ``x`` (stepping), ``x_i`` inside it, and ``x_t``
for the remainder.

    for x in 0..10: B(x)         split(x, 4)      for x in 0..8 step 4: for x_i in 0..4: B(x + x_i)
                                                  for x_t in 8..10: B(x_t)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from utvm.ir.loop import (
    Alloc,
    Buffer,
    Expr,
    For,
    Function,
    If,
    Imm,
    Let,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import (
    rename_buffers,
    simplify_body,
    statements,
    substitute,
)
from utvm.schedule.dependence import obstacle
from utvm.schedule.region import hands_over
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError

LoopChange = Callable[[For], tuple[Stmt, ...]]


def rewrite_loops(function: Function, name: str, change: LoopChange) -> Function:
    """The function with every loop called ``name`` replaced; it must exist."""
    found = False

    def visit(stmt: Stmt) -> tuple[Stmt, ...]:
        nonlocal found
        match stmt:
            case For(var, body=body) if var.name != name:
                return (replace(stmt, body=visit_body(body)),)
            case For():
                found = True
                return change(stmt)
            case If(condition, then, orelse):
                return (If(condition, visit_body(then), visit_body(orelse)),)
        return (stmt,)

    def visit_body(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(new for stmt in body for new in visit(stmt))

    body = visit_body(function.body)
    if not found:
        raise ScheduleError(
            "no such loop", where=function.name, expected=_names(function), found=name
        )
    return replace(function, body=body)


def loops(function: Function) -> Iterator[For]:
    """Every loop of the function, outer before inner."""
    return (stmt for stmt in statements(function.body) if isinstance(stmt, For))


def has_loop(function: Function, name: str) -> bool:
    return any(found.var.name == name for found in loops(function))


def extent(stmt: For) -> int:
    """The number of iterations; ScheduleError if it is not a constant."""
    if not (isinstance(stmt.start, Imm) and isinstance(stmt.stop, Imm)):
        raise ScheduleError(
            "the loop's bounds are not constant",
            expected="numbers",
            found=stmt.var.name,
            hint="schedule it before loops around it are split",
        )
    return -(-int(stmt.stop.value - stmt.start.value) // stmt.step)


@primitive
def split(function: Function, name: str, factor: int) -> Function:
    """Loops ``name`` in steps of ``factor``, around ``name_i``; the rest becomes ``name_t``."""
    if factor < 1:
        raise ScheduleError(
            "a loop is split by a positive factor",
            where=f"{function.name}: loop {name}",
            expected="1 or more",
            found=str(factor),
        )

    def change(stmt: For) -> tuple[Stmt, ...]:
        if stmt.step != 1 or has_loop(function, f"{name}_i"):
            raise ScheduleError(
                "the loop is split already",
                where=function.name,
                found=name,
                hint=f"split {name}_i, or by the product at once",
            )
        count = extent(stmt)
        whole = count - count % factor
        assert isinstance(stmt.start, Imm)
        begin = int(stmt.start.value)
        inner, tail = Var(f"{name}_i"), Var(f"{name}_t")
        shifted = substitute(stmt.body, {name: stmt.var + inner})
        nest = For(inner, Imm(0), Imm(factor), shifted, parallel=stmt.parallel)
        main = For(stmt.var, stmt.start, Imm(begin + whole), (nest,), factor, stmt.parallel)
        # The tail may end up beside the main part, so its names are its own.
        remainder = substitute(stmt.body, {name: tail})
        rest = For(
            tail,
            Imm(begin + whole),
            Imm(begin + count),
            _suffixed(remainder, "_t") if whole else remainder,
            parallel=stmt.parallel,
        )
        return ((main,) if whole else ()) + ((rest,) if count % factor else ())

    return rewrite_loops(function, name, change)


@primitive
def reorder(function: Function, outer: str, inner: str) -> Function:
    """Exchanges two loops that are directly nested (loop interchange), where nothing that depends
    on the order of their iterations is turned around; ``dependence`` decides.
    """
    where = f"{function.name}: loops {outer}, {inner}"

    def change(stmt: For) -> tuple[Stmt, ...]:
        nested = stmt.body[0] if len(stmt.body) == 1 else None
        if not isinstance(nested, For) or nested.var.name != inner:
            raise ScheduleError(
                "the loops are not directly nested",
                where=where,
                expected=f"{inner} alone in {outer}",
                found=contents(stmt),
            )
        if reason := obstacle(stmt, nested):
            raise ScheduleError("the loops cannot be exchanged", where=where, found=reason)
        return (replace(nested, body=(replace(stmt, body=nested.body),)),)

    return rewrite_loops(function, outer, change)


@primitive
def unroll(function: Function, name: str) -> Function:
    """The loop's body once per iteration, in order."""

    def change(stmt: For) -> tuple[Stmt, ...]:
        return tuple(new for copy in _copies(stmt) for new in copy)

    return _simplified(rewrite_loops(function, name, change))


@primitive
def unroll_jam(function: Function, name: str) -> Function:
    """Runs the iterations of a parallel loop side by side: inner loops run once for all of them.

    Registers and lets get one copy per iteration, which is what makes register blocks:

        for c_i in 0..2: acc = 0; for r: acc += f(c_i, r)
        ---
        acc_0 = 0; acc_1 = 0; for r: { acc_0 += f(0, r); acc_1 += f(1, r) }
    """

    def change(stmt: For) -> tuple[Stmt, ...]:
        if not stmt.parallel:
            raise ScheduleError(
                "only a parallel loop can be jammed",
                where=function.name,
                found=name,
                hint="unroll keeps the order of iterations",
            )
        return _jam(list(_copies(stmt)))

    return _simplified(rewrite_loops(function, name, change))


def _copies(stmt: For) -> Iterator[tuple[Stmt, ...]]:
    count = extent(stmt)
    assert isinstance(stmt.start, Imm)
    for i in range(count):
        at = Imm(int(stmt.start.value) + i * stmt.step)
        body = substitute(stmt.body, {stmt.var.name: at})
        yield _suffixed(body, f"_{i}") if count > 1 else body


def _suffixed(body: tuple[Stmt, ...], suffix: str) -> tuple[Stmt, ...]:
    """``body`` with the registers and lets that it declares renamed."""
    registers: dict[str, Buffer] = {}
    lets: dict[str, Expr] = {}
    for stmt in statements(body):
        if isinstance(stmt, Alloc):
            registers[stmt.buffer.name] = replace(stmt.buffer, name=stmt.buffer.name + suffix)
        elif isinstance(stmt, Let):
            lets[stmt.var.name] = replace(stmt.var, name=stmt.var.name + suffix)
    renamed = rename_buffers(substitute(body, lets), registers)
    return _rename_lets(renamed, {name: v for name, v in lets.items() if isinstance(v, Var)})


def _rename_lets(body: tuple[Stmt, ...], names: dict[str, Var]) -> tuple[Stmt, ...]:
    def visit(stmt: Stmt) -> Stmt:
        match stmt:
            case Let(var, value) if var.name in names:
                return Let(names[var.name], value)
            case For(body=inner):
                return replace(stmt, body=tuple(map(visit, inner)))
            case If(condition, then, orelse):
                return If(condition, tuple(map(visit, then)), tuple(map(visit, orelse)))
        return stmt

    return tuple(map(visit, body))


def _jam(copies: list[tuple[Stmt, ...]]) -> tuple[Stmt, ...]:
    """Statement by statement: equal loops are merged, everything else stands side by side."""
    result: list[Stmt] = []
    for group in zip(*copies, strict=True):
        first = group[0]
        if isinstance(first, For) and all(_same_range(first, other) for other in group):
            bodies = [other.body for other in group if isinstance(other, For)]
            result.append(replace(first, body=_jam(bodies)))
        else:
            result.extend(group)
    return tuple(result)


def _same_range(a: For, b: Stmt) -> bool:
    return isinstance(b, For) and (a.var, a.start, a.stop, a.step) == (
        b.var,
        b.start,
        b.stop,
        b.step,
    )


def _simplified(function: Function) -> Function:
    return replace(function, body=simplify_body(function.body))


def contents(stmt: For) -> str:
    """What stands in a loop, in words."""
    words = (f"loop {s.var.name}" if isinstance(s, For) else type(s).__name__ for s in stmt.body)
    return ", ".join(words)


def _names(function: Function) -> str:
    return ", ".join(dict.fromkeys(stmt.var.name for stmt in loops(function))) or "no loops"


def writes(body: tuple[Stmt, ...], buffer: str) -> bool:
    """Whether a body stores to a buffer, or hands it to a micro function that may."""
    return any(
        (isinstance(s, Store) and s.buffer.name == buffer) or hands_over(s, buffer)
        for s in statements(body)
    )

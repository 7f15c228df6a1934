"""Conditions taken out of loops: ``hoist_condition`` and ``partition``.

Padding is defined with a condition per element. ``hoist_condition`` takes conditions that do not
depend on a loop out of it; ``partition`` cuts a loop where its remaining conditions change, so that
no iteration asks:

    for x in 0..34: r[x] = (1 <= x and x < 33) ? in[x - 1] : 0
    ---
    for x in 0..1: r[x] = 0;  for x in 1..33: r[x] = in[x - 1];  for x in 33..34: r[x] = 0
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from utvm.ir.loop import (
    Binary,
    Expr,
    For,
    Function,
    If,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Var,
    all_of,
)
from utvm.ir.rewrite import (
    FALSE,
    TRUE,
    expressions,
    fold,
    free_vars,
    linear,
    map_body,
    simplify_body,
    statements,
)
from utvm.schedule.primitives import extent, rewrite_loops
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError


@primitive
def hoist_condition(function: Function, name: str) -> Function:
    """Conditions of selects in loop ``name`` that do not depend on it, as an ``If`` around it."""

    def change(stmt: For) -> tuple[Stmt, ...]:
        inner = {stmt.var.name} | _defined(stmt.body)
        outer = [c for c in _conditions(stmt.body) if _is_fixed(c) and not free_vars(c) & inner]
        if not outer:
            return (stmt,)
        holds = _decided(stmt.body, dict.fromkeys(outer, TRUE))
        fails = _with_selects_false(stmt.body, outer)
        return (If(all_of(*outer), (replace(stmt, body=holds),), (replace(stmt, body=fails),)),)

    return _simplified(rewrite_loops(function, name, change))


@primitive
def partition(function: Function, name: str) -> Function:
    """Cuts loop ``name`` at the bounds its conditions compare it with."""

    def change(stmt: For) -> tuple[Stmt, ...]:
        if stmt.step != 1:
            raise ScheduleError(
                "a split loop cannot be partitioned",
                where=function.name,
                found=name,
                hint="partition first",
            )
        count = extent(stmt)
        assert isinstance(stmt.start, Imm)
        begin = int(stmt.start.value)
        end = begin + count
        bounds = {c: b for c in _conditions(stmt.body) if (b := _bound(c, name)) is not None}
        cuts = sorted({begin, end} | {b for b in bounds.values() if begin < b < end})
        parts: list[Stmt] = []
        for low, high in pairwise(cuts):
            facts = {c: _holds(c, bound, low) for c, bound in bounds.items()}
            body = _decided(stmt.body, facts)
            parts.append(replace(stmt, start=Imm(low), stop=Imm(high), body=body))
        return tuple(parts)

    return _simplified(rewrite_loops(function, name, change))


def _defined(body: tuple[Stmt, ...]) -> set[str]:
    """The variables that loops and lets in a body define."""
    return {stmt.var.name for stmt in statements(body) if isinstance(stmt, For | Let)}


def _is_fixed(condition: Expr) -> bool:
    """Whether a condition reads no memory, which the loop may write."""
    return not any(isinstance(e, Load) for e in expressions((Let(Var("condition"), condition),)))


def _conditions(body: tuple[Stmt, ...]) -> list[Expr]:
    """The comparisons that selects in a body are made of."""
    found: dict[Expr, None] = {}

    def visit(condition: Expr) -> None:
        if isinstance(condition, Binary) and condition.op == "and":
            visit(condition.a)
            visit(condition.b)
        else:
            found[condition] = None

    for expr in expressions(body):
        if isinstance(expr, Select):
            visit(expr.condition)
    return list(found)


def _bound(condition: Expr, name: str) -> int | None:
    """The first value of the variable at which ``var + k >= b`` or ``var + k < b`` changes."""
    if not (isinstance(condition, Binary) and condition.op in (">=", "<")):
        return None
    difference = linear(Binary("-", condition.a, condition.b))
    if difference is None or difference.terms != ((name, 1),):
        return None
    return -difference.constant


def _holds(condition: Expr, bound: int, value: int) -> Expr:
    assert isinstance(condition, Binary)
    above = value >= bound
    return TRUE if above == (condition.op == ">=") else FALSE


def _decided(body: tuple[Stmt, ...], facts: dict[Expr, Expr]) -> tuple[Stmt, ...]:
    """The body where some conditions are known."""
    return map_body(body, lambda expr: fold(facts.get(expr, expr)))


def _with_selects_false(body: tuple[Stmt, ...], conditions: list[Expr]) -> tuple[Stmt, ...]:
    """The body where not all of ``conditions`` hold: every select that needs them takes its second
    value.
    """
    wanted = set(conditions)

    def change(expr: Expr) -> Expr:
        if isinstance(expr, Select) and wanted <= set(_parts(expr.condition)):
            return expr.b
        return expr

    return map_body(body, change)


def _parts(condition: Expr) -> list[Expr]:
    if isinstance(condition, Binary) and condition.op == "and":
        return _parts(condition.a) + _parts(condition.b)
    return [condition]


def _simplified(function: Function) -> Function:
    return replace(function, body=simplify_body(function.body))

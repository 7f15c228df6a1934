"""order-by-load: unrolled taps of several outputs in the order of the elements they read.

Outputs side by side read overlapping windows. Taken tap by tap, an element is fetched again for
each output or held in a register for long; taken element by element, it is loaded once and used up:

    a += in[0] * u;  b += in[1] * u;  c += in[2] * u;  a += in[1] * v;  b += in[2] * v;  ...
    ---
    a += in[0] * u;  b += in[1] * u;  a += in[1] * v;  c += in[2] * u;  b += in[2] * v;  ...

Every register keeps the order of its own additions, so that floats round as before; where that is
impossible, nothing moves.
"""

from __future__ import annotations

from dataclasses import replace

from utvm.ir.loop import Expr, For, Function, If, Load, Stmt, Store
from utvm.ir.rewrite import Linear, map_expr
from utvm.schedule.region import offset_of
from utvm.schedule.steps import primitive


@primitive
def order_by_load(function: Function, buffer: str) -> Function:
    """Every run of register stores that load from ``buffer``, sorted by where they load."""
    return replace(function, body=_body(function.body, buffer))


def _body(body: tuple[Stmt, ...], buffer: str) -> tuple[Stmt, ...]:
    result: list[Stmt] = []
    run: list[tuple[Linear, Store]] = []
    for stmt in body:
        place = _place(stmt, buffer)
        if isinstance(stmt, Store) and place is not None:
            run.append((place, stmt))
            continue
        result += _sorted(run)
        run = []
        match stmt:
            case For(body=inner):
                stmt = replace(stmt, body=_body(inner, buffer))
            case If(condition, then, orelse):
                stmt = If(condition, _body(then, buffer), _body(orelse, buffer))
        result.append(stmt)
    return (*result, *_sorted(run))


def _place(stmt: Stmt, buffer: str) -> Linear | None:
    """The offset that a register store loads from, if it loads once from the buffer."""
    if not (isinstance(stmt, Store) and stmt.buffer.scope == "register"):
        return None
    loads: list[Load] = []

    def visit(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer.name == buffer:
            loads.append(expr)
        return expr

    map_expr(stmt.value, visit)
    return offset_of(loads[0].buffer, loads[0].indices) if len(loads) == 1 else None


def _sorted(run: list[tuple[Linear, Store]]) -> list[Stmt]:
    before = [store for _, store in run]
    if len({place.terms for place, _ in run}) != 1:
        return list(before)
    after = [store for _, store in sorted(run, key=lambda entry: entry[0].constant)]
    return list(after if _by_register(before) == _by_register(after) else before)


def _by_register(stores: list[Store]) -> dict[str, list[Store]]:
    """The stores of each register, in their order."""
    registers: dict[str, list[Store]] = {}
    for store in stores:
        registers.setdefault(store.buffer.name, []).append(store)
    return registers

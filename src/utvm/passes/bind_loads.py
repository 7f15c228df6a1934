"""bind-loads: in straight-line register code every element is loaded once and named.

Runs after scheduling. Within a run of stores to registers nothing can change memory, so equal loads
have equal values. What is evaluated only sometimes (the sides of a select) stays where it is, and
so does a load whose index is itself a register, which the run may change.

    acc_0 = acc_0 + in[r] * w[r];  acc_1 = acc_1 + in[r] * w[144 + r]
    ---
    a0 = in[r];  acc_0 = acc_0 + a0 * w[r];  acc_1 = acc_1 + a0 * w[144 + r]
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from utvm.ir.loop import Cast, Expr, For, Function, If, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import map_certain, map_expr, used_names


def bind_loads(function: Function) -> Function:
    """The function with repeated loads of register code bound to names ``a0``, ``a1``, ..."""
    return replace(function, body=_body(function.body, _Names(used_names(function))))


@dataclass
class _Names:
    """Numbers the names across one function, around those that are ``taken``."""

    taken: set[str]
    count: int = 0

    def fresh(self, expr: Expr) -> Var:
        while f"a{self.count}" in self.taken:
            self.count += 1
        self.count += 1
        return Var(f"a{self.count - 1}", expr.dtype)


def _body(body: tuple[Stmt, ...], fresh: _Names) -> tuple[Stmt, ...]:
    result: list[Stmt] = []
    run: list[Store] = []
    for stmt in body:
        if isinstance(stmt, Store) and stmt.buffer.scope == "register":
            run.append(stmt)
            continue
        result += _bound(run, fresh)
        run = []
        result.append(_inner(stmt, fresh))
    return (*result, *_bound(run, fresh))


def _inner(stmt: Stmt, fresh: _Names) -> Stmt:
    match stmt:
        case For(body=body):
            return replace(stmt, body=_body(body, fresh))
        case If(condition, then, orelse):
            return If(condition, _body(then, fresh), _body(orelse, fresh))
    return stmt


def _is_load(expr: Expr) -> bool:
    """A load from memory at an index of variables, with the widening around it."""
    load = expr.value if isinstance(expr, Cast) else expr
    return (
        isinstance(load, Load)
        and load.buffer.scope != "register"
        and not any(_reads_memory(index) for index in load.indices)
    )


def _reads_memory(expr: Expr) -> bool:
    found = False

    def visit(e: Expr) -> Expr:
        nonlocal found
        found = found or isinstance(e, Load)
        return e

    map_expr(expr, visit)
    return found


def _loads(value: Expr) -> list[Expr]:
    """The loads that evaluating ``value`` surely makes, in order, with repetitions."""
    found: list[Expr] = []

    def visit(expr: Expr) -> Expr:
        if _is_load(expr):
            found.append(expr)
        return expr

    map_certain(value, visit)
    return found


def _bound(run: list[Store], fresh: _Names) -> list[Stmt]:
    counts = Counter(load for store in run for load in _loads(store.value))
    widened = {e.value for e in counts if isinstance(e, Cast)}
    repeated = [e for e, count in counts.items() if count > 1 and e not in widened]
    names = {expr: fresh.fresh(expr) for expr in repeated}
    result: list[Stmt] = []
    done: set[Expr] = set()
    for store in run:
        needed = [e for e in dict.fromkeys(_loads(store.value)) if e in names]
        result += [Let(names[e], e) for e in needed if e not in done]
        done |= set(needed)
        value = map_certain(store.value, lambda e: names.get(e, e))
        result.append(replace(store, value=value))
    return result

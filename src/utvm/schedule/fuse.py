"""fuse: two loops, one directly around the other, become one (TVM's ``fuse``; loop collapsing).

Where an access runs through both without a gap, its address stays a plain sum and its buffer is
seen flat; elsewhere the two variables are the quotient and the remainder of the new one.

    for y in 0..4: for x in 0..6: b[y, x] = a[y, x]
    ---
    for y_x in 0..24: b.view(24)[y_x] = a.view(24)[y_x]
"""

from __future__ import annotations

from dataclasses import replace

from utvm.ir.loop import Binary, Buffer, Expr, For, Function, Imm, Load, Stmt, Store, Var, loop
from utvm.ir.rewrite import (
    Linear,
    from_linear,
    map_body,
    map_statements,
    simplify_body,
    substitute,
    used_names,
)
from utvm.schedule.primitives import contents, extent, rewrite_loops
from utvm.schedule.region import offset_of
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError


@primitive
def fuse(function: Function, outer: str, inner: str) -> Function:
    """Makes loops ``outer`` and ``inner`` one loop ``outer_inner``, which runs as both did."""
    where = f"{function.name}: loops {outer}, {inner}"
    fused = Var(f"{outer}_{inner}")
    if fused.name in used_names(function):
        raise ScheduleError("the name of the fused loop is taken", where=where, found=fused.name)

    def change(stmt: For) -> tuple[Stmt, ...]:
        nested = stmt.body[0] if len(stmt.body) == 1 else None
        if not isinstance(nested, For) or nested.var.name != inner:
            raise ScheduleError(
                "only a perfect nest can be fused",
                where=where,
                expected=f"{inner} alone in {outer}",
                found=contents(stmt),
            )
        for each in (stmt, nested):
            if each.step != 1 or each.start != Imm(0):
                raise ScheduleError(
                    "only loops from 0 in steps of 1 are fused",
                    where=where,
                    found=f"{each.var.name} in steps of {each.step}",
                    hint="fuse first, split then",
                )
        body = _Fused(outer, inner, fused, extent(nested)).body(nested.body)
        parallel = stmt.parallel and nested.parallel
        count = extent(stmt) * extent(nested)
        return (loop(fused, count, *body, parallel=parallel),)

    changed = rewrite_loops(function, outer, change)
    return replace(changed, body=simplify_body(changed.body))


class _Fused:
    """Rewrites a body from two variables to one."""

    def __init__(self, outer: str, inner: str, fused: Var, size: int) -> None:
        self.outer, self.inner, self.fused, self.size = outer, inner, fused, size

    def body(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        flat = map_statements(map_body(body, self._load), self._store)
        size = Imm(self.size)
        parts: dict[str, Expr] = {
            self.outer: Binary("/", self.fused, size),
            self.inner: Binary("%", self.fused, size),
        }
        return substitute(flat, parts)

    def _load(self, expr: Expr) -> Expr:
        if isinstance(expr, Load) and (at := self._flat(expr.buffer, expr.indices)):
            return Load(expr.buffer.view(expr.buffer.elements), at, expr.lanes)
        return expr

    def _store(self, stmt: Stmt) -> Stmt:
        if isinstance(stmt, Store) and (at := self._flat(stmt.buffer, stmt.indices)):
            return replace(stmt, buffer=stmt.buffer.view(stmt.buffer.elements), indices=at)
        return stmt

    def _flat(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The flat index in the fused variable; empty where it has none or needs none."""
        form = offset_of(buffer, indices)
        if form is None:
            return ()
        stride = form.coefficient(self.inner)
        if stride == 0 or form.coefficient(self.outer) != stride * self.size:
            return ()
        terms = [term for term in form.terms if term[0] not in (self.outer, self.inner)]
        return (from_linear(Linear(form.constant, (*terms, (self.fused.name, stride)))),)

"""outline: a loop becomes a micro function of its own, which the back end makes assembly of.

The kernel keeps an ``invoke`` with pointers to where the loop begins in each buffer; the micro
function sees flat memory from there on. So what it does must depend on the loops around it only
through these pointers.

    for y: for x in 0..8: b[y, x] = 2 * a[y + 1, x]
    ---
    for y: invoke twice(a[(y + 1) * 8], b[y * 8])       micro twice(a, b): for x: b[x] = 2 * a[x]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from utvm.ir.loop import (
    Alloc,
    Buffer,
    Expr,
    For,
    Function,
    If,
    Invoke,
    Let,
    Load,
    Pointer,
    Stmt,
    Store,
    Var,
)
from utvm.ir.print_loop import print_expr
from utvm.ir.rewrite import (
    Linear,
    expressions,
    from_linear,
    map_body,
    map_statements,
    statements,
)
from utvm.schedule.primitives import loops, rewrite_loops
from utvm.schedule.region import loop_range, offset_of, range_of
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError


@primitive
def outline(function: Function, name: str, micro: str) -> Function:
    """Replaces loop ``name`` by a call of ``micro``, which ``outlined`` makes."""
    parts = _parts(function, name)
    order = [p for p in parts if not p.written] + [p for p in parts if p.written]
    pointers = tuple(Pointer(p.buffer.view(p.buffer.elements), from_linear(p.start)) for p in order)
    changed = rewrite_loops(function, name, lambda stmt: (Invoke(micro, pointers),))
    # An operand in the result's memory would be seen through two pointers.
    return replace(changed, in_place=())


def outlined(function: Function, name: str, micro: str) -> Function:
    """Loop ``name`` as a micro function."""
    (stmt,) = [loop for loop in loops(function) if loop.var.name == name]
    parts = {part.buffer.name: part for part in _parts(function, name)}

    def index(buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        form, start = offset_of(buffer, indices), parts[buffer.name].start
        assert form is not None
        outer = {term[0] for term in start.terms}
        inner = tuple(term for term in form.terms if term[0] not in outer)
        return (from_linear(Linear(form.constant - start.constant, inner)),)

    def load(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer.name in parts:
            return Load(
                parts[expr.buffer.name].inside, index(expr.buffer, expr.indices), expr.lanes
            )
        return expr

    def store(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Store) and stmt.buffer.name in parts:
            at = index(stmt.buffer, stmt.indices)
            return replace(stmt, buffer=parts[stmt.buffer.name].inside, indices=at)
        return stmt

    body = map_statements(map_body((stmt,), load), store)
    about = f"Loop {name} of {function.name}."
    inputs = tuple(part.inside for part in parts.values() if not part.written)
    outputs = tuple(part.inside for part in parts.values() if part.written)
    return Function(micro, inputs, outputs, body, comment=(about,))


@dataclass(frozen=True)
class _Part:
    """What the loop touches of a buffer: ``size`` elements from ``start`` on."""

    buffer: Buffer
    start: Linear
    size: int
    written: bool

    @property
    def inside(self) -> Buffer:
        """The buffer of the micro function."""
        scope = "output" if self.written else "input"
        return Buffer(self.buffer.name, self.buffer.dtype, (self.size,), scope)


def _parts(function: Function, name: str) -> list[_Part]:
    where = f"{function.name}: loop {name}"
    found = [loop for loop in loops(function) if loop.var.name == name]
    if len(found) != 1:
        known = ", ".join(dict.fromkeys(loop.var.name for loop in loops(function)))
        raise ScheduleError(
            "a micro function is made of one loop",
            where=where,
            expected=f"one of {known}, once",
            found=f"{len(found)} loops",
        )
    (stmt,) = found
    odd = [s for s in statements((stmt,)) if not isinstance(s, For | Store | Let | Alloc | If)]
    if odd:
        raise ScheduleError(
            "a micro function has loops, stores and conditions only",
            where=where,
            found=type(odd[0]).__name__,
        )
    ranges = {s.var.name: loop_range(s) for s in statements((stmt,)) if isinstance(s, For)}
    own = {s.buffer.name for s in statements((stmt,)) if isinstance(s, Alloc)}
    stored = {s.buffer.name for s in statements((stmt,)) if isinstance(s, Store)} - own
    touched: dict[str, list[tuple[Buffer, Linear, int]]] = {}
    for buffer, indices, lanes in _accesses(stmt):
        if buffer.name in own:
            continue
        form = offset_of(buffer, indices)
        if form is None or buffer.scope == "register":
            raise ScheduleError(
                "the loop cannot be cut out",
                where=where,
                expected="addresses that are linear, and no register of the kernel",
                found=", ".join([buffer.name, *map(print_expr, indices)])[:80],
            )
        touched.setdefault(buffer.name, []).append((buffer, form, lanes))
    _check_values(stmt, where)
    return [_part(many, ranges, key in stored, where) for key, many in touched.items()]


def _accesses(stmt: For) -> list[tuple[Buffer, tuple[Expr, ...], int]]:
    loads = [(e.buffer, e.indices, e.lanes) for e in expressions((stmt,)) if isinstance(e, Load)]
    stores = [(s.buffer, s.indices, s.lanes) for s in statements((stmt,)) if isinstance(s, Store)]
    return loads + stores


def _part(
    many: list[tuple[Buffer, Linear, int]],
    ranges: dict[str, tuple[int, int]],
    written: bool,
    where: str,
) -> _Part:
    outers = {tuple(t for t in form.terms if t[0] not in ranges) for _, form, _ in many}
    if len(outers) != 1:
        raise ScheduleError(
            "the accesses move differently with loops around",
            where=where,
            expected="one pointer per buffer",
            found=many[0][0].name,
        )
    low, high = [], []
    for _, form, lanes in many:
        inner = Linear(form.constant, tuple(t for t in form.terms if t[0] in ranges))
        first, last = range_of(inner, ranges)
        low.append(first)
        high.append(last + lanes)
    return _Part(many[0][0], Linear(min(low), outers.pop()), max(high) - min(low), written)


def _check_values(stmt: For, where: str) -> None:
    """Variables of the kernel may be in addresses only."""

    def without_addresses(expr: Expr) -> Expr:
        return replace(expr, indices=()) if isinstance(expr, Load) else expr

    def without_address(inner: Stmt) -> Stmt:
        return replace(inner, indices=()) if isinstance(inner, Store) else inner

    defined = {s.var.name for s in statements((stmt,)) if isinstance(s, For | Let)}
    bare = map_body(map_statements((stmt,), without_address), without_addresses)
    outside = {e.name for e in expressions(bare) if isinstance(e, Var)} - defined
    if outside:
        raise ScheduleError(
            "the loop computes with what is outside of it",
            where=where,
            expected="variables of its own",
            found=", ".join(sorted(outside)),
        )

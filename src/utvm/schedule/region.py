"""Which part of a buffer one iteration of a loop touches: the ground of line and tile buffers.

In: a loop and a buffer. Out: per axis where the part starts, in variables of outer loops, and its
size. Index expressions must be linear, and loops inside must have constant bounds; what is not so
is refused with a ScheduleError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from utvm.ir.loop import Buffer, Expr, For, Function, If, Imm, Invoke, Load, Stmt, Store
from utvm.ir.print_loop import print_expr
from utvm.ir.rewrite import Linear, expressions, linear, statements
from utvm.support.errors import ScheduleError

Ranges = Mapping[str, tuple[int, int]]
"""By variable of a loop: its first and its last value."""


@dataclass(frozen=True)
class Axis:
    """One axis of the part: it starts at ``start`` (in outer variables) and is ``size`` long."""

    start: Linear
    size: int


@dataclass(frozen=True)
class Access:
    """One load or store: its view of the buffer, its indices, the loops around it in the body."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    loops: Mapping[str, For]
    guarded: bool  # inside an If
    lanes: int


def reads(stmt: For, buffer: str) -> list[Access]:
    """Every load from a buffer in the body of a loop."""
    return list(_accesses(stmt.body, buffer, {}, False, stores=False))


def stores(stmt: For, buffer: str) -> list[Access]:
    """Every store to a buffer in the body of a loop."""
    return list(_accesses(stmt.body, buffer, {}, False, stores=True))


def hands_over(stmt: Stmt, buffer: str) -> bool:
    """Whether a statement invokes a micro function on the buffer."""
    return isinstance(stmt, Invoke) and any(p.buffer.name == buffer for p in stmt.pointers)


def _accesses(
    body: tuple[Stmt, ...], buffer: str, loops: Mapping[str, For], guarded: bool, stores: bool
) -> Iterator[Access]:
    for stmt in body:
        match stmt:
            case For(var, body=inner):
                yield from _accesses(inner, buffer, {**loops, var.name: stmt}, guarded, stores)
            case If(_, then, orelse):
                yield from _accesses(then + orelse, buffer, loops, True, stores)
            case Invoke():
                if hands_over(stmt, buffer):
                    raise ScheduleError(
                        "a micro function uses the buffer",
                        where=stmt.function,
                        found=buffer,
                        hint="outline last",
                    )
            case Store() if stores:
                if stmt.buffer.name == buffer:
                    yield Access(stmt.buffer, stmt.indices, loops, guarded, stmt.lanes)
            case _ if not stores:
                for expr in expressions((stmt,)):
                    if isinstance(expr, Load) and expr.buffer.name == buffer:
                        yield Access(expr.buffer, expr.indices, loops, guarded, expr.lanes)


def region(accesses: Sequence[Access], where: str) -> tuple[Axis, ...]:
    """The smallest box that holds all accesses of one iteration."""
    shapes = {access.buffer.shape for access in accesses}
    if len(shapes) != 1:
        raise ScheduleError(
            "the buffer is seen in several shapes",
            where=where,
            expected="one shape",
            found=", ".join(map(str, sorted(shapes))),
        )
    return tuple(_axis(accesses, axis, where) for axis in range(len(shapes.pop())))


def _axis(accesses: Sequence[Access], axis: int, where: str) -> Axis:
    lows, highs = [], []
    outer: tuple[tuple[str, int], ...] | None = None
    for access in accesses:
        index = access.indices[axis]
        form = linear(index)
        if form is None:
            raise ScheduleError(
                "the index is not linear", where=where, found=print_expr(index)[:80]
            )
        fixed = tuple(term for term in form.terms if term[0] not in access.loops)
        if outer not in (None, fixed):
            raise ScheduleError(
                "the accesses move differently", where=where, found=print_expr(index)[:80]
            )
        outer = fixed
        inner = Linear(form.constant, tuple(t for t in form.terms if t[0] in access.loops))
        ranges = {name: loop_range(around) for name, around in access.loops.items()}
        low, high = range_of(inner, ranges)
        lows.append(low)
        highs.append(high + (access.lanes - 1 if axis == len(access.indices) - 1 else 0))
    return Axis(Linear(min(lows), outer or ()), max(highs) - min(lows) + 1)


def loop_range(stmt: For) -> tuple[int, int]:
    """The first and the last value of a loop's variable; its bounds must be constant."""
    if not (isinstance(stmt.start, Imm) and isinstance(stmt.stop, Imm)):
        raise ScheduleError("the loop's bounds are not constant", found=stmt.var.name)
    first = int(stmt.start.value)
    count = -(-(int(stmt.stop.value) - first) // stmt.step)
    return first, first + (count - 1) * stmt.step


def ranges_of(function: Function) -> dict[str, tuple[int, int]]:
    """The values of every loop variable with constant bounds; loops that share a name, together."""
    found: dict[str, tuple[int, int]] = {}
    for stmt in statements(function.body):
        if isinstance(stmt, For) and isinstance(stmt.start, Imm) and isinstance(stmt.stop, Imm):
            first, last = loop_range(stmt)
            low, high = found.get(stmt.var.name, (first, last))
            found[stmt.var.name] = min(low, first), max(high, last)
    return found


def multiples_of(function: Function) -> dict[str, int]:
    """By loop variable, a number that divides all its values."""
    found: dict[str, int] = {}
    for stmt in statements(function.body):
        if isinstance(stmt, For):
            start = int(stmt.start.value) if isinstance(stmt.start, Imm) else 1
            found[stmt.var.name] = gcd(found.get(stmt.var.name, 0), start, stmt.step)
    return found


def range_of(form: Linear, ranges: Ranges) -> tuple[int, int]:
    """The least and the greatest value of a linear form."""
    low = high = form.constant
    for name, coefficient in form.terms:
        ends = [coefficient * end for end in ranges[name]]
        low, high = low + min(ends), high + max(ends)
    return low, high


def stays_inside(form: Linear, ranges: Ranges, size: int, extent: int) -> bool:
    """Whether ``size`` elements from ``form`` on lie within an extent, whatever the variables."""
    if any(name not in ranges for name, _ in form.terms):
        return False
    low, high = range_of(form, ranges)
    return low >= 0 and high + size <= extent


def offset_of(buffer: Buffer, indices: tuple[Expr, ...]) -> Linear | None:
    """The flat offset of an element, in elements; None where it is not linear."""
    offset: Expr = Imm(0)
    for extent, index in zip(buffer.shape, indices, strict=True):
        offset = offset * extent + index
    return linear(offset)

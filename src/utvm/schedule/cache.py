"""cache-read, cache-write: a piece of a buffer lives in a small one while a loop works on it (TVM,
Chen et al., OSDI 2018).

``cache_read`` copies what an iteration reads to the front of it, in a wider type if asked: that
is how int8 rows become int16 once, and not at each use. ``cache_write`` lets an iteration write to
a small buffer and copies that out behind it.

    for y: for x: b[y, x] = 2 * a[y, x] + a[y, x + 1]
    ---  cache_read a at y                             ---  cache_write b at y
    for y: for i: a_cache[i] = a[y, i]                 for y: for x: b_cache[x] = ...
           for x: b[y, x] = 2 * a_cache[x] + ...              for i: b[y, i] = b_cache[i]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from math import prod

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Cast, Expr, For, Function, Imm, Load, Stmt, Store, Var
from utvm.ir.print_loop import print_expr
from utvm.ir.rewrite import (
    Linear,
    from_linear,
    linear,
    map_body,
    map_statements,
    simplify_body,
    simplify_index,
    used_names,
)
from utvm.schedule.compute_at import moved_reads, one_at_a_time
from utvm.schedule.primitives import rewrite_loops, writes
from utvm.schedule.region import (
    Access,
    Axis,
    loop_range,
    range_of,
    ranges_of,
    reads,
    region,
    stays_inside,
    stores,
)
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError

_MOST_STORES = 1 << 16


@primitive
def cache_read(function: Function, buffer: str, name: str, dtype: DType | None = None) -> Function:
    """Copies what an iteration of loop ``name`` reads of ``buffer`` to ``<buffer>_cache``; with an
    empty name, what the whole kernel reads.
    """
    where = f"{function.name}: loop {name}" if name else function.name
    source = _declared(function, buffer, ("input", "const", "workspace"))
    wide = dtype or source.dtype
    if not _holds(wide, source.dtype):
        raise ScheduleError(
            "the cache's type does not hold all values",
            where=where,
            expected=f"{source.dtype.value} or wider",
            found=wide.value,
        )
    cached = _Cached(function, f"{buffer}_cache", wide)

    def change(stmt: For) -> tuple[Stmt, ...]:
        if writes(stmt.body, buffer):
            raise ScheduleError("the loop writes what is to be cached", where=where, found=buffer)
        accesses = reads(stmt, buffer)
        if not accesses:
            raise ScheduleError("the loop does not read the buffer", where=where, found=buffer)
        axes = region(accesses, where)
        view = accesses[0].buffer
        _check_inside(function, view, axes, where)
        cache = cached.of(axes)
        if any(access.lanes > 1 for access in accesses) and wide is not source.dtype:
            raise ScheduleError("packed words keep their type", where=where, found=wide.value)
        fill = _copy(cache, view, axes, into_cache=True)
        body = _narrowed(moved_reads(stmt.body, buffer, cache, axes), cache, source.dtype)
        return (replace(stmt, body=(*fill, *body)),)

    if name:
        return cached.added(rewrite_loops(function, name, change), where)
    (whole,) = change(For(Var("kernel"), Imm(0), Imm(1), function.body))
    assert isinstance(whole, For)
    return cached.added(replace(function, body=whole.body), where)


@primitive
def cache_write(function: Function, buffer: str, name: str) -> Function:
    """Lets an iteration of loop ``name`` write to ``<buffer>_cache``, copied out behind it."""
    where = f"{function.name}: loop {name}"
    target = _declared(function, buffer, ("output", "workspace"))
    cached = _Cached(function, f"{buffer}_cache", target.dtype)

    def change(stmt: For) -> tuple[Stmt, ...]:
        accesses = stores(stmt, buffer)
        if not accesses:
            raise ScheduleError("the loop does not write the buffer", where=where, found=buffer)
        if reads(stmt, buffer):
            raise ScheduleError("the loop reads what it is to write", where=where, found=buffer)
        axes = region(accesses, where)
        _check_covered(accesses, axes, where)
        cache = cached.of(axes)
        drain = _copy(cache, accesses[0].buffer, axes, into_cache=False)
        return (replace(stmt, body=(*_moved_stores(stmt.body, buffer, cache, axes), *drain)),)

    return cached.added(rewrite_loops(function, name, change), where)


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether one type has all values of another."""
    if wide.is_integer and narrow.is_integer:
        return wide.minimum <= narrow.minimum and narrow.maximum <= wide.maximum
    return wide is narrow


def _declared(function: Function, buffer: str, scopes: tuple[str, ...]) -> Buffer:
    groups = (function.inputs, function.constants, function.workspace, function.outputs)
    known = [b for group in groups for b in group if b.scope in scopes]
    for found in known:
        if found.name == buffer:
            return found
    raise ScheduleError(
        "no such buffer",
        where=function.name,
        expected=", ".join(b.name for b in known),
        found=buffer,
    )


class _Cached:
    """The small buffer: one for all loops of a name, which must need equal sizes of it."""

    def __init__(self, function: Function, name: str, dtype: DType) -> None:
        taken = used_names(function)
        while name in taken:
            name += "_"
        self.name, self.dtype = name, dtype
        self.shapes: set[tuple[int, ...]] = set()

    def of(self, axes: tuple[Axis, ...]) -> Buffer:
        shape = tuple(axis.size for axis in axes)
        self.shapes.add(shape)
        return Buffer(self.name, self.dtype, shape, "workspace")

    def added(self, function: Function, where: str) -> Function:
        if len(self.shapes) != 1:
            raise ScheduleError(
                "loops of one name need caches of several sizes",
                where=where,
                found=", ".join(map(str, sorted(self.shapes))),
            )
        cache = Buffer(self.name, self.dtype, self.shapes.pop(), "workspace")
        body = simplify_body(one_at_a_time(function.body, cache.name))
        return replace(function, body=body, workspace=(*function.workspace, cache))


def _check_inside(function: Function, view: Buffer, axes: tuple[Axis, ...], where: str) -> None:
    """The whole part must lie in the buffer, since all of it is copied."""
    ranges = ranges_of(function)
    for axis, extent in zip(axes, view.shape, strict=True):
        if not stays_inside(axis.start, ranges, axis.size, extent):
            raise ScheduleError(
                "the part that is to be cached may lie outside of the buffer",
                where=where,
                expected=f"{axis.size} of {extent} elements of {view.name}",
                found=f"those from {print_expr(from_linear(axis.start))} on",
                hint="reads behind a condition; partition the loop first",
            )


def _check_covered(accesses: Iterable[Access], axes: tuple[Axis, ...], where: str) -> None:
    """Each iteration must write every element of its part, since all of it is copied back."""
    size = prod(axis.size for axis in axes)
    written: set[tuple[int, ...]] = set()
    for access in accesses:
        loops = [range(*_bounds(stmt)) for stmt in access.loops.values()]
        if access.guarded or prod(map(len, loops)) > _MOST_STORES or access.lanes > 1:
            continue
        for values in product(*loops):
            at = dict(zip(access.loops, values, strict=True))
            written.add(
                tuple(
                    _inner_value(index, at) - axis.start.constant
                    for index, axis in zip(access.indices, axes, strict=True)
                )
            )
    if len(written) != size:
        raise ScheduleError(
            "an iteration does not surely write all of its part",
            where=where,
            expected=f"{size} elements",
            found=f"{len(written)}",
            hint="cache at an outer loop, or where no condition is around the store",
        )


def _bounds(stmt: For) -> tuple[int, int, int]:
    first, last = loop_range(stmt)
    return first, last + 1, stmt.step


def _inner_value(index: Expr, values: dict[str, int]) -> int:
    """The index at some values of inner variables, with those of outer ones left out."""
    form = linear(index)
    assert form is not None
    inner = Linear(form.constant, tuple(t for t in form.terms if t[0] in values))
    return range_of(inner, {name: (value, value) for name, value in values.items()})[0]


def _copy(
    cache: Buffer, buffer: Buffer, axes: tuple[Axis, ...], *, into_cache: bool
) -> tuple[Stmt, ...]:
    """Loops that copy the part, in one direction or the other."""
    variables = [Var(f"{cache.name}_{n}") for n in range(len(axes))]
    place: tuple[Expr, ...] = tuple(
        Imm(0) if axis.size == 1 else var for var, axis in zip(variables, axes, strict=True)
    )
    there = tuple(
        simplify_index(from_linear(axis.start) + at) for axis, at in zip(axes, place, strict=True)
    )
    if into_cache:
        value: Expr = Load(buffer, there)
        if cache.dtype is not buffer.dtype:
            value = Cast(cache.dtype, value)
        body: tuple[Stmt, ...] = (Store(cache, place, value),)
    else:
        body = (Store(buffer, there, Load(cache, place)),)
    for var, axis in reversed(list(zip(variables, axes, strict=True))):
        if axis.size > 1:
            body = (For(var, Imm(0), Imm(axis.size), body, parallel=True),)
    return body


def _narrowed(body: tuple[Stmt, ...], cache: Buffer, dtype: DType) -> tuple[Stmt, ...]:
    """Loads from a wider cache, back in the type that the body expects; a cast that widens the
    element anyway takes it as it is."""
    if cache.dtype is dtype:
        return body

    def narrow(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer == cache:
            return Cast(dtype, expr)
        match expr:
            case Cast(wider, Cast(inner, Load(loaded) as load)) if loaded == cache:
                if inner is dtype and _holds(wider, dtype):
                    return load if wider is cache.dtype else Cast(wider, load)
        return expr

    return map_body(body, narrow)


def _moved_stores(
    body: tuple[Stmt, ...], old: str, cache: Buffer, axes: tuple[Axis, ...]
) -> tuple[Stmt, ...]:
    def change(stmt: Stmt) -> Stmt:
        if not (isinstance(stmt, Store) and stmt.buffer.name == old):
            return stmt
        indices = tuple(
            simplify_index(index - from_linear(axis.start))
            for index, axis in zip(stmt.indices, axes, strict=True)
        )
        return replace(stmt, buffer=cache, indices=indices)

    return map_statements(body, change)

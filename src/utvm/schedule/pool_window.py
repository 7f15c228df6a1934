"""Reads the loops of a max or average pool over bytes, and cuts its results where windows change.

In: an unscheduled function of ``max_pool2d`` or ``avg_pool2d``. Out: its geometry as numbers, or
None where the kernel is of another kind: other types, few channels, an epilogue that reads other
tensors. What hangs over the border counts nowhere, so a window at the border is a smaller window:
``segments`` are runs of results whose windows have one size. Windows as wide as the image, which
are one loop ``r`` over neighbouring rows, become windows of one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
    Expr,
    Function,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import Linear, expressions, map_expr, simplify, substitute_expr
from utvm.schedule.primitives import writes
from utvm.schedule.weighted_sum import Array, flat_form, peel, read_stage

WORD = 4
"""Channels in a packed word; a pool needs as many."""


@dataclass(frozen=True)
class Segment:
    """``count`` results from ``first`` on whose windows see ``size`` positions each, the first of
    them from ``begin`` on."""

    first: int
    count: int
    begin: int
    size: int


@dataclass(frozen=True, eq=False)
class Pool:
    """out[n, y, x, c] = epilogue(max or sum of the image over ky, kx).

    ``image`` is [batch, height, width, channels], ``results`` rows and columns of results, and
    ``origin`` the padding above and to the left. ``epilogue`` ends in the store of the result.
    """

    function: Function
    source: Buffer
    image: tuple[int, int, int, int]
    window: tuple[int, int]
    strides: tuple[int, int]
    origin: tuple[int, int]
    results: tuple[int, int]
    acc: Buffer
    lets: tuple[Let, ...]
    value: Expr
    takes_maximum: bool
    tables: Mapping[str, Array]
    turned: bool

    @property
    def channels(self) -> int:
        return self.image[3]

    def segments(self, axis: int) -> list[Segment]:
        """The results along rows (0) or columns (1), by size of their windows."""
        stride, origin, reach = self.strides[axis], self.origin[axis], self.window[axis]
        windows = []
        for at in range(self.results[axis]):
            begin, end = at * stride - origin, at * stride - origin + reach
            begin, end = max(begin, 0), min(end, self.image[1 + axis])
            # Windows of one size belong together while each is a stride behind the one before.
            windows.append((end - begin, begin - at * stride, at, begin))
        found = []
        for (size, _), run in groupby(windows, key=lambda window: window[:2]):
            first, *others = run
            found.append(Segment(first[2], 1 + len(others), first[3], size))
        return found

    def finished(self, acc: Expr, y: int, x: int) -> Expr:
        """The result in row ``y`` and column ``x`` for what was summed up; literals where constant
        tables are read."""
        place = {"y": Imm(y), "x": Imm(x)}
        if self.turned:
            place = {"y": Imm(x)}
        known: dict[str, Expr] = dict(place)

        def change(expr: Expr) -> Expr:
            match expr:
                case Load(buffer) if buffer == self.acc:
                    return acc
                case Load(buffer, indices) if buffer.name in self.tables:
                    at = tuple(simplify(index) for index in indices)
                    data = self.tables[buffer.name].reshape(buffer.shape)
                    if all(isinstance(i, Imm) for i in at):
                        literal = data[tuple(int(i.value) for i in at if isinstance(i, Imm))]
                        return Imm(int(literal), buffer.dtype)
            return expr

        for let in self.lets:
            value = simplify(map_expr(substitute_expr(let.value, known), change))
            known[let.var.name] = value
        return simplify(map_expr(substitute_expr(self.value, known), change))

    def lookups(self, y: int, x: int) -> tuple[Buffer, ...]:
        """The tables in which the sum of that result is looked up."""
        value = self.finished(Var("acc"), y, x)
        loads = [e for e in expressions((Store(self.acc, (), value),)) if isinstance(e, Load)]
        return tuple(dict.fromkeys(load.buffer for load in loads))


def read_pool(function: Function, constants: Mapping[str, Array]) -> Pool | None:
    """The geometry of a kernel, or None."""
    if function.op not in ("max_pool2d", "avg_pool2d") or len(function.inputs) != 1:
        return None
    stage = [s for s in function.body if writes((s,), "rows")]
    rest = [s for s in function.body if s not in stage]
    if len(rest) != 1 or len(stage) > 1:
        return None
    outer, body = peel(rest[0], parallel=True)
    if len(body) < 4 or not isinstance(body[0], Alloc):
        return None
    acc = body[0].buffer
    inner, update = peel(body[2], parallel=False)
    element = _element(update, acc)
    if element is None or {*outer, *inner} - {"n", "y", "x", "c", "ky", "kx", "r"}:
        return None
    load, takes_maximum = element
    *lets, store = body[3:]
    if not isinstance(store, Store) or not all(isinstance(s, Let) for s in lets):
        return None
    tables = {b.name: constants[b.name] for b in function.constants if b.name in constants}
    padding = read_stage(stage[0]) if stage else (load.buffer.name, (0, 0), 0)
    if padding is None or not _reads_only(body[3:], {acc.name, *tables}):
        return None
    reader = _Reader(function, outer, inner, load, store)
    geometry = reader.geometry(padding[1])
    if geometry is None:
        return None
    image, window, strides, origin, results = geometry
    return Pool(
        function,
        function.inputs[0],
        image,
        window,
        strides,
        origin,
        results,
        acc,
        tuple(s for s in lets if isinstance(s, Let)),
        store.value,
        takes_maximum,
        tables,
        "r" in inner,
    )


def _reads_only(body: tuple[Stmt, ...], names: set[str]) -> bool:
    return all(e.buffer.name in names for e in expressions(body) if isinstance(e, Load))


def _element(body: tuple[Stmt, ...], acc: Buffer) -> tuple[Load, bool] | None:
    """What ``acc = acc + element`` or ``acc = max(acc, element)`` reads, and which it is."""
    if len(body) != 1 or acc.dtype is not DType.INT32:
        return None
    match body[0]:
        case Store(buffer, _, Binary("+" | "max" as op, Load(before), Cast(_, Load() as x))) if (
            buffer == before == acc and x.buffer.dtype in (DType.INT8, DType.UINT8)
        ):
            return x, op == "max"
    return None


Geometry = tuple[
    tuple[int, int, int, int], tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]
]


@dataclass(frozen=True)
class _Reader:
    """Loops outside and inside of the register, the load and the store."""

    function: Function
    outer: dict[str, int]
    inner: dict[str, int]
    load: Load
    store: Store

    def geometry(self, origin: tuple[int, int]) -> Geometry | None:
        """Image, window, strides, origin, rows and columns of results."""
        n, height, width, channels = self.function.inputs[0].shape
        form = flat_form(self.load.buffer, self.load.indices)
        if form is None or channels < WORD or origin[1] % channels:
            return None
        line, whole = self.load.buffer.shape[-1], self.load.buffer.elements // n
        if self.outer.get("n", 1) != n or self.outer.get("c", 1) != channels:
            return None
        y, x = self.outer.get("y", 1), self.outer.get("x", 1)
        if "r" in self.inner:
            step, rest = divmod(form.coefficient("y"), channels)
            known = {"n": whole, "y": step * channels, "c": 1, "r": channels}
            if rest or x != 1 or not self._is(form, known) or not self._stores(y, 1):
                return None
            image = (n, 1, height * width, channels)
            return image, (1, self.inner["r"]), (1, max(step, 1)), (0, 0), (1, y)
        row, column = form.coefficient("y") // line, form.coefficient("x") // channels
        known = {"n": whole, "y": row * line, "x": column * channels, "c": 1}
        known |= {"ky": line, "kx": channels}
        if not self._is(form, known) or not self._stores(y, x):
            return None
        window = self.inner.get("ky", 1), self.inner.get("kx", 1)
        strides = max(row, 1), max(column, 1)
        image = (n, height, width, channels)
        return image, window, strides, (origin[0], origin[1] // channels), (y, x)

    def _is(self, form: Linear, wanted: dict[str, int]) -> bool:
        loops = {**self.outer, **self.inner}
        return form == Linear(0, tuple(sorted((k, c) for k, c in wanted.items() if k in loops)))

    def _stores(self, rows: int, columns: int) -> bool:
        """Whether results lie one behind the other."""
        channels = self.outer["c"]
        form = flat_form(self.store.buffer, self.store.indices)
        steps = {"n": rows * columns * channels, "y": columns * channels, "x": channels, "c": 1}
        terms = tuple(sorted((k, c) for k, c in steps.items() if k in self.outer))
        one_byte = self.store.buffer.dtype.size_bytes == np.dtype(np.int8).itemsize
        return form == Linear(0, terms) and one_byte and self.store.buffer.scope == "output"

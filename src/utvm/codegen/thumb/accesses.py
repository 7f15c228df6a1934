"""Prepares a function for selection: unique names, no views, memory accesses as byte offsets.

In: a micro function. Out: a ``Nest``, the same body with every access to memory replaced by a
numbered ``Fetch`` or ``Put``, and the table of these accesses, whose places are polynomials over
loop variables, scalars and opaque values. Loops of one round are gone; register buffers are
renamed apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from utvm.codegen.thumb.machine import NotSelectableError
from utvm.codegen.thumb.polynomial import ZERO, Polynomial, constant, polynomial, symbol
from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
    Comment,
    Expr,
    For,
    Function,
    If,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    View,
)
from utvm.ir.rewrite import map_expr

_ELEMENTS = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16)


@dataclass(frozen=True)
class Access:
    """One place in the text that touches memory: where, how much, inside which loops."""

    number: int
    buffer: str
    form: Polynomial
    dtype: DType  # of the value in a register: int32 for packed words
    size: int
    path: tuple[str, ...]
    stores: bool


@dataclass(frozen=True)
class Fetch(Expr):
    """The value that access ``number`` loads."""

    number: int
    type: DType

    @property
    def dtype(self) -> DType:
        return self.type


@dataclass(frozen=True)
class Put(Stmt):
    """The store of access ``number``."""

    number: int
    value: Expr


@dataclass
class Nest:
    """A prepared body. ``opaque`` are the values that addresses name; ``starts`` and ``stops``
    the bounds of loops by variable; ``forms``: what variables are in addresses."""

    function: Function
    body: tuple[Stmt, ...] = ()
    accesses: list[Access] = field(default_factory=list)
    opaque: dict[str, Expr] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    loops: dict[str, For] = field(default_factory=dict)
    starts: dict[str, Polynomial] = field(default_factory=dict)
    stops: dict[str, Polynomial] = field(default_factory=dict)
    forms: dict[str, Polynomial] = field(default_factory=dict)

    def rounds(self, var: str) -> int | None:
        """How often a loop runs, or None where only running tells."""
        extent = self.stops[var] - self.starts[var]
        return max(0, -(-extent.constant // self.loops[var].step)) if extent.is_constant else None

    def end(self, var: str) -> Polynomial | None:
        """The variable's value behind the loop, where it is known."""
        rounds, step = self.rounds(var), self.loops[var].step
        if rounds is not None:
            return self.starts[var] + constant(rounds * step)
        return self.stops[var] if step == 1 else None


def prepare(function: Function) -> Nest:
    """The nest of a function."""
    if function.workspace:
        raise NotSelectableError("a micro function has no workspace")
    nest = Nest(function)
    nest.body = _Preparer(nest, (), {}, {}, {}).body(function.body)
    return nest


@dataclass
class _Preparer:
    """``names``: the new names of variables, which no two share; ``registers``: the register
    buffers renamed; ``views``: pointers as buffer and offset in bytes."""

    nest: Nest
    path: tuple[str, ...]
    names: dict[str, Var]
    registers: dict[str, Buffer]
    views: dict[str, tuple[str, Polynomial]]

    def inside(self, path: tuple[str, ...]) -> _Preparer:
        return _Preparer(
            self.nest,
            path,
            dict(self.names),
            dict(self.registers),
            dict(self.views),
        )

    def body(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        result: list[Stmt] = []
        for stmt in body:
            result += self._stmt(stmt)
        return tuple(result)

    def _stmt(self, stmt: Stmt) -> tuple[Stmt, ...]:
        match stmt:
            case Comment():
                return (stmt,)
            case For():
                return self._for(stmt)
            case If(condition, then, orelse):
                condition = self.expr(condition)
                then = self.inside(self.path).body(then)
                return (If(condition, then, self.inside(self.path).body(orelse)),)
            case Let(var, value):
                value = self.expr(value)
                fresh = self._fresh(var)
                self.nest.forms[fresh.name] = self._affine(value, fresh)
                return (Let(fresh, value),)
            case Alloc(buffer):
                apart = replace(buffer, name=self._apart(buffer.name))
                self.registers[buffer.name] = apart
                return (Alloc(apart),)
            case View(pointer, base, offset):
                scaled = self._address(offset) * constant(base.dtype.size_bytes)
                root, before = self.views.get(base.name, (base.name, ZERO))
                self.views[pointer.name] = (root, before + scaled)
                return ()
            case Store(buffer, indices, value, lanes):
                value = self.expr(value)
                if buffer.scope == "register":
                    indices = tuple(self.expr(i) for i in indices)
                    return (Store(self._register(buffer), indices, value),)
                return (Put(self._access(buffer, indices, lanes, stores=True), value),)
        raise NotSelectableError(f"the statement {type(stmt).__name__}")

    def _for(self, stmt: For) -> tuple[Stmt, ...]:
        start, stop = self._address(stmt.start), self._address(stmt.stop)
        extent = stop - start
        if extent.is_constant and extent.constant <= 0:
            return ()
        if extent.is_constant and extent.constant <= stmt.step:
            inner = self.inside(self.path)
            fresh = inner._fresh(stmt.var)
            self.nest.forms[fresh.name] = start
            return (Let(fresh, self.expr(stmt.start)), *inner.body(stmt.body))
        inner = self.inside(self.path)
        fresh = inner._fresh(stmt.var)
        inner.path = (*self.path, fresh.name)
        bounds = self.expr(stmt.start), self.expr(stmt.stop)
        result = replace(stmt, var=fresh, start=bounds[0], stop=bounds[1], body=())
        self.nest.loops[fresh.name] = result
        self.nest.starts[fresh.name], self.nest.stops[fresh.name] = start, stop
        result = replace(result, body=inner.body(stmt.body))
        self.nest.loops[fresh.name] = result
        return (result,)

    def _fresh(self, var: Var) -> Var:
        """A name that nothing else in the function bears."""
        self.names[var.name] = Var(self._apart(var.name), var.type)
        return self.names[var.name]

    def _apart(self, name: str) -> str:
        apart = f"{name}.{len(self.nest.taken)}"
        self.nest.taken.add(apart)
        return apart

    def _affine(self, value: Expr, var: Var) -> Polynomial:
        """What a Let is in addresses: its sum, or its own name where it is none."""
        if var.type is not DType.INT32:
            return symbol(var.name)
        opaque: list[Expr] = []
        form = polynomial(value, self.nest.forms, lambda e: opaque.append(e) or ZERO)  # type: ignore[func-returns-value]
        return symbol(var.name) if opaque else form

    def _address(self, expr: Expr) -> Polynomial:
        return polynomial(self.expr(expr), self.nest.forms, self._opaque)

    def _opaque(self, expr: Expr) -> Polynomial:
        if not expr.dtype.is_integer or expr.dtype.bits > 32:
            raise NotSelectableError(f"an index of type {expr.dtype.value}")
        for name, value in self.nest.opaque.items():
            if value == expr and not _reads_registers(expr):
                return symbol(name)
        name = f"@{len(self.nest.opaque)}"
        self.nest.opaque[name] = expr
        return symbol(name)

    def expr(self, expr: Expr) -> Expr:
        return map_expr(expr, self._change)

    def _change(self, expr: Expr) -> Expr:
        match expr:
            case Var(name):
                return self.names.get(name, expr)
            case Load(buffer, indices, lanes):
                if buffer.scope == "register":
                    return Load(self._register(buffer), indices)
                number = self._access(buffer, indices, lanes, stores=False, prepared=True)
                return Fetch(number, expr.dtype)
            case Cast(dtype, Fetch(number)):
                return self._narrowed(expr, dtype, number, 0)
            case Cast(dtype, Binary(">>", Fetch(number), Imm(value=int(shift)))):
                return self._narrowed(expr, dtype, number, shift)
        return expr

    def _narrowed(self, expr: Expr, dtype: DType, number: int, shift: int) -> Expr:
        """An element of a word is loaded alone: nobody else reads what this access loads."""
        access = self.nest.accesses[number]
        inside = shift % dtype.bits == 0 and shift + dtype.bits <= 8 * access.size
        if dtype not in _ELEMENTS or access.size != 4 or not inside:
            return expr
        form = access.form + constant(shift // 8)
        own = replace(access, form=form, dtype=dtype, size=dtype.size_bytes)
        self.nest.accesses[number] = own
        return Fetch(number, dtype)

    def _register(self, buffer: Buffer) -> Buffer:
        renamed = self.registers[buffer.name]
        return renamed if renamed.shape == buffer.shape else replace(renamed, shape=buffer.shape)

    def _access(
        self,
        buffer: Buffer,
        indices: tuple[Expr, ...],
        lanes: int,
        *,
        stores: bool,
        prepared: bool = False,
    ) -> int:
        if buffer.dtype.is_float or buffer.dtype.bits > 32:
            raise NotSelectableError(f"a buffer of {buffer.dtype.value}")
        form = ZERO
        for extent, index in zip(buffer.shape, indices, strict=True):
            part = index if prepared else self.expr(index)
            form = form * constant(extent) + polynomial(part, self.nest.forms, self._opaque)
        form = form * constant(buffer.dtype.size_bytes)
        root, before = self.views.get(buffer.name, (buffer.name, ZERO))
        dtype = buffer.dtype if lanes == 1 else DType.INT32
        size = buffer.dtype.size_bytes * lanes
        number = len(self.nest.accesses)
        self.nest.accesses.append(
            Access(number, root, before + form, dtype, size, self.path, stores)
        )
        return number


def _reads_registers(expr: Expr) -> bool:
    """Whether the value may be another one later."""
    found: list[Expr] = []
    map_expr(expr, lambda e: found.append(e) or e)  # type: ignore[func-returns-value]
    return any(isinstance(e, Load) for e in found)

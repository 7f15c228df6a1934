"""What a kernel does with a finished sum, taken over into a micro function.

In: the statements of a kernel behind its accumulator. Out: the same statements for one result of a
block: rescale, activation, residual addition, table look-up. Constants by filter come from the
stream of the micro function, and with them, if it is to be, literals that no instruction holds: a
word loaded beside others costs less than two instructions that make it. Every other buffer becomes
an operand: the part of its index that no block changes goes into the pointer that the kernel
passes. Where layers are to share micro functions, what only differs by numbers becomes equal: few
literals and strides are scalars then (``Sharing``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import (
    Linear,
    expressions,
    free_vars,
    from_linear,
    map_expr,
    rename_buffers,
    simplify,
)
from utvm.schedule.weighted_sum import Array, flat_form

FEWEST_LITERALS = 2
"""So many long literals go into the stream; one alone may stay in a register."""
MOST_NUMBERS = 8
"""An epilogue with more literals keeps all of them: each one shared is a word on the stack."""


@dataclass(frozen=True)
class Sharing:
    """``strides`` are the scalars, or what is made of them, that stand for coefficients, by loop
    variable and coefficient."""

    strides: Mapping[tuple[str, int], Expr]


@dataclass(frozen=True)
class Operand:
    """A buffer of the kernel that the epilogue touches: its offset outside of the micro function,
    and how far apart neighbours are along each axis that the micro function walks."""

    buffer: Buffer
    outer: Expr
    steps: tuple[tuple[str, int], ...] = ()

    def step(self, variable: str) -> int:
        return dict(self.steps).get(variable, 0)


@dataclass
class Epilogue:
    """``filter_form`` is the index of a filter in the kernel's loop variables, ``last`` the
    greatest value of each variable that the micro function walks.

    ``operands`` grows as results are made; ``legal`` falls where something cannot be taken over.
    With ``sharing``, ``numbers`` are the scalars that its literals became.
    """

    statements: tuple[Stmt, ...]
    acc: Buffer
    filters: int
    filter_form: Linear
    last: Mapping[str, int]
    variables: frozenset[str]
    streams_literals: bool = False
    sharing: Sharing | None = None
    operands: dict[str, Operand] = field(default_factory=dict)
    reaches: dict[str, int] = field(default_factory=dict)
    literals: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    legal: bool = True

    def __post_init__(self) -> None:
        if self.sharing is not None:
            self._share()
        else:
            self._stream_literals()

    def _share(self) -> None:
        """Literals become scalars, in the order of the text."""
        found: dict[str, int] = {}

        def scalar(value: int) -> Expr:
            name = f"number_{len(found)}"
            found[name] = value
            return Var(name)

        statements = tuple(
            replace(stmt, value=_with_scalars(stmt.value, scalar))
            if isinstance(stmt, Let | Store)
            else stmt
            for stmt in self.statements
        )
        if len(found) <= MOST_NUMBERS:
            self.statements, self.numbers = statements, found

    def _stream_literals(self) -> None:
        values = [stmt.value for stmt in self.statements if isinstance(stmt, Let | Store)]
        found = list(dict.fromkeys(v for value in values for v in _long_literals(value)))
        if not self.streams_literals or len(found) < FEWEST_LITERALS or self.filters == 1:
            return
        self.literals = {f"literal_{i}": value for i, value in enumerate(found)}
        index = (from_linear(self.filter_form),)
        loads: dict[int, Expr] = {
            value: Load(Buffer(name, DType.INT32, (self.filters,), "const"), index)
            for name, value in self.literals.items()
        }
        self.statements = tuple(
            replace(stmt, value=_with_loads(stmt.value, loads))
            if isinstance(stmt, Let | Store)
            else stmt
            for stmt in self.statements
        )

    @cached_property
    def per_filter(self) -> list[str]:
        """Names of the int32 arrays that are read by filter, in the order of the stream."""
        loads = (e for e in expressions(self.statements) if isinstance(e, Load))
        return list(dict.fromkeys(e.buffer.name for e in loads if self._by_filter(e)))

    def streamed(self, constants: Mapping[str, Array]) -> list[Array]:
        """Those arrays, one element per filter."""
        return [
            np.full(self.filters, self.literals[name], np.int32)
            if name in self.literals
            else constants[name].reshape(-1)
            for name in self.per_filter
        ]

    @cached_property
    def left_shift(self) -> int:
        """k, if the statements read the sum only as ``sum * 2^k`` and for its sign; else 0."""
        reads = [e for e in expressions(self.statements) if e == Load(self.acc)]
        factors: set[int] = set()
        known = 0
        for expr in expressions(self.statements):
            match expr:
                case Binary("*", Load(buffer), Imm(value=int(factor))) if buffer == self.acc:
                    factors.add(factor)
                    known += 1
                case Binary(">>", Load(buffer), Imm(value=31)) if buffer == self.acc:
                    known += 1
        if known != len(reads) or len(factors) != 1:
            return 0
        (factor,) = factors
        return factor.bit_length() - 1 if factor & (factor - 1) == 0 else 0

    @cached_property
    def _uses(self) -> Counter[str]:
        """How often the statements read each variable."""
        return Counter(e.name for e in expressions(self.statements) if isinstance(e, Var))

    def _by_filter(self, load: Load) -> bool:
        return (
            load.buffer.scope == "const"
            and load.buffer.dtype is DType.INT32
            and load.buffer.elements == self.filters > 1
            and flat_form(load.buffer, load.indices) == self.filter_form
        )

    def result(
        self,
        inside: Mapping[str, Expr],
        acc: Buffer,
        word: Callable[[int], Expr],
        suffix: str,
        shifted: int = 0,
    ) -> list[Stmt]:
        """The statements for the result at ``inside``, whose sum is in ``acc``, perhaps
        ``shifted`` by ``left_shift``; ``word(i)`` is constant ``i`` of its filter. ``suffix`` makes
        names unique."""
        lets: dict[str, Expr] = {}

        def change(expr: Expr) -> Expr:
            match expr:
                case Var(name) if name in lets:
                    return lets[name]
                case Load(buffer) if buffer == self.acc:
                    return Load(acc)
                case Binary("*", Load(buffer), Imm(value)) if shifted and buffer == acc:
                    assert value == 1 << shifted
                    return Load(acc)
                case Load(buffer, indices, 1) if self._by_filter(expr):
                    return word(self.per_filter.index(buffer.name))
                case Load(buffer, indices, 1) if buffer.scope != "register":
                    return Load(*self._place(buffer, indices, inside))
            return expr

        result: list[Stmt] = []
        for stmt in self.statements:
            match stmt:
                case Let(var, Binary(">>", _, Imm()) as value) if self._uses[var.name] == 1:
                    # Saturating instructions shift what they saturate.
                    lets[var.name] = simplify(map_expr(value, change))
                case Let(var, value):
                    own = Var(f"{var.name}_{suffix}", var.dtype)
                    result.append(Let(own, simplify(map_expr(value, change))))
                    lets[var.name] = own
                case Store(buffer, indices, value, 1) if buffer.scope == "output":
                    place, index = self._place(buffer, indices, inside)
                    result.append(Store(place, index, simplify(map_expr(value, change))))
                case _:
                    self.legal = False
        return result

    def _place(
        self, buffer: Buffer, indices: tuple[Expr, ...], inside: Mapping[str, Expr]
    ) -> tuple[Buffer, tuple[Expr, ...]]:
        """An element of a kernel's buffer as one of the micro function's parameter.

        A table is looked up at whatever index, from its beginning.
        """
        form = flat_form(buffer, indices)
        if form is None:
            loops = {name for index in indices for name in free_vars(index)} & self.variables
            self.legal &= buffer.scope == "const" and not loops
            self._note(Operand(buffer, Imm(0)), buffer.elements)
            offset: Expr = Imm(0)
            for size, index in zip(buffer.shape, indices, strict=True):
                offset = offset * size + index
            return self._parameter(buffer), (simplify(offset),)
        moving = tuple(term for term in form.terms if term[0] in inside)
        fixed = Linear(form.constant, tuple(term for term in form.terms if term not in moving))
        self.legal &= all(coefficient > 0 for _, coefficient in moving)
        offset = Imm(0)
        strides = {} if self.sharing is None else self.sharing.strides
        for name, coefficient in moving:
            stride = strides.get((name, coefficient), Imm(coefficient))
            offset = offset + inside[name] * stride
        reach = 1 + sum(coefficient * self.last[name] for name, coefficient in moving)
        if self.sharing is not None:
            reach = 1
        self._note(Operand(buffer, from_linear(fixed), moving), reach)
        return self._parameter(buffer), (offset,)

    def _note(self, operand: Operand, reach: int) -> None:
        name = operand.buffer.name
        self.legal &= self.operands.setdefault(name, operand) == operand
        self.reaches[name] = max(reach, self.reaches.get(name, 0))

    def _parameter(self, buffer: Buffer) -> Buffer:
        """What an operand is called inside: by role and position, so that equal blocks compare
        equal. Its extent is known when all accesses are."""
        if buffer.scope == "output":
            return Buffer("out", buffer.dtype, (1,), "output")
        position = list(self.operands).index(buffer.name)
        return Buffer(f"in{position}", buffer.dtype, (1,), "input")

    def parameters(self) -> tuple[tuple[Buffer, ...], tuple[Buffer, ...]]:
        """The operands as inputs and outputs of the micro function, with their extents."""
        sized = [
            replace(self._parameter(operand.buffer), shape=(self.reaches[name],))
            for name, operand in self.operands.items()
        ]
        inputs = tuple(b for b in sized if b.scope == "input")
        return inputs, tuple(b for b in sized if b.scope == "output")

    def resized(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """``body`` with the parameters in their final extents."""
        return rename_buffers(body, {b.name: b for group in self.parameters() for b in group})


def _is_long(value: float | int) -> bool:
    """Whether a literal takes two instructions: beyond 16 bits and no eight bits, shifted."""
    size = abs(int(value))
    return size >= 1 << 16 and size // (size & -size) > 0xFF


def _long_literals(expr: Expr) -> list[int]:
    """Long int32 literals of an expression, but for those of indices."""
    match expr:
        case Imm(value, DType.INT32):
            return [int(value)] if _is_long(value) else []
        case Binary(_, a, b):
            return _long_literals(a) + _long_literals(b)
        case Cast(_, value):
            return _long_literals(value)
        case Select(condition, a, b):
            return [v for e in (condition, a, b) for v in _long_literals(e)]
        case Call(_, args):
            return [v for e in args for v in _long_literals(e)]
    return []


def _with_scalars(expr: Expr, scalar: Callable[[int], Expr]) -> Expr:
    """The expression with scalars in place of the literals that rescales differ by."""
    match expr:
        case Binary(">>", a, Imm(value=31)):
            return Binary(">>", _with_scalars(a, scalar), expr.b)
        case Binary("+" | "-" | "*" | ">>" as op, a, b):
            return Binary(op, *(_as_scalar(_with_scalars(e, scalar), scalar) for e in (a, b)))
        case Binary("min" | "max" as op, a, b):
            return Binary(op, _with_scalars(a, scalar), _with_scalars(b, scalar))
        case Cast(dtype, value):
            return Cast(dtype, _with_scalars(value, scalar))
        case Call(name, args, dtype):
            own = (_as_scalar(_with_scalars(e, scalar), scalar) for e in args)
            return Call(name, tuple(own), dtype)
    return expr


def _as_scalar(expr: Expr, scalar: Callable[[int], Expr]) -> Expr:
    match expr:
        case Imm(value, DType.INT32):
            return scalar(int(value))
    return expr


def _with_loads(expr: Expr, loads: Mapping[int, Expr]) -> Expr:
    """The expression with loads in place of the long literals."""
    match expr:
        case Imm(value, DType.INT32) if value in loads:
            return loads[int(value)]
        case Binary(op, a, b):
            return Binary(op, _with_loads(a, loads), _with_loads(b, loads))
        case Cast(dtype, value):
            return Cast(dtype, _with_loads(value, loads))
        case Select(condition, a, b):
            return Select(*(_with_loads(e, loads) for e in (condition, a, b)))
        case Call(name, args, dtype):
            return Call(name, tuple(_with_loads(a, loads) for a in args), dtype)
    return expr

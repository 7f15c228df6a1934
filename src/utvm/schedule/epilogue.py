"""What a kernel does with a finished sum, taken over into a micro function.

In: the statements of a kernel behind its accumulator. Out: the same statements for one result of a
block: rescale, activation, residual addition, table look-up. Constants by filter come from the
stream of the micro function. Every other buffer becomes an operand: the part of its index that no
block changes goes into the pointer that the kernel passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Expr, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import (
    Linear,
    expressions,
    free_vars,
    from_linear,
    map_expr,
    rename_buffers,
    simplify,
)
from utvm.schedule.weighted_sum import flat_form


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
    """

    statements: tuple[Stmt, ...]
    acc: Buffer
    filters: int
    filter_form: Linear
    last: Mapping[str, int]
    variables: frozenset[str]
    operands: dict[str, Operand] = field(default_factory=dict)
    reaches: dict[str, int] = field(default_factory=dict)
    legal: bool = True

    @cached_property
    def per_filter(self) -> list[str]:
        """Names of the int32 arrays that are read by filter, in the order of the stream."""
        loads = (e for e in expressions(self.statements) if isinstance(e, Load))
        return list(dict.fromkeys(e.buffer.name for e in loads if self._by_filter(e)))

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
    ) -> list[Stmt]:
        """The statements for the result at ``inside``, whose sum is in ``acc``; ``word(i)`` is
        constant ``i`` of its filter. ``suffix`` makes names unique."""
        lets: dict[str, Expr] = {}

        def change(expr: Expr) -> Expr:
            match expr:
                case Var(name) if name in lets:
                    return lets[name]
                case Load(buffer) if buffer == self.acc:
                    return Load(acc)
                case Load(buffer, indices, 1) if self._by_filter(expr):
                    return word(self.per_filter.index(buffer.name))
                case Load(buffer, indices, 1) if buffer.scope != "register":
                    return Load(*self._place(buffer, indices, inside))
            return expr

        result: list[Stmt] = []
        for stmt in self.statements:
            match stmt:
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
        for name, coefficient in moving:
            offset = offset + inside[name] * coefficient
        reach = 1 + sum(coefficient * self.last[name] for name, coefficient in moving)
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

"""What the three softmax operators share: the loops over rows and the search for a row's maximum.

In: a ``Definition`` whose operand 0 has rows along its last axis. Out: statements. Loops are named
n (rows; n0, n1, ... where the result keeps its axes) and, for the passes along a row, as the
operators like. Rows share workspace and registers, so no loop over rows is parallel.
"""

from __future__ import annotations

from math import prod

from utvm.ir.dtype import DType
from utvm.ir.loop import Expr, Imm, Let, Load, Stmt, Var, loop, maximum
from utvm.op.definition import Definition, cast, reduction, register

LOWEST_FLOAT = -3.4028234663852886e38


class Rows:
    """The rows of operand 0 and of the result.

    ``largest`` is the row's maximum, int32 or float32, behind the statements of ``find_largest``.
    """

    def __init__(self, d: Definition) -> None:
        *outer, self.depth = d.output.shape
        self._d = d
        self._extents = (prod(outer),) if d.flattenable else tuple(outer)
        names = ("n",) if d.flattenable else tuple(f"n{axis}" for axis in range(len(outer)))
        self._vars = tuple(Var(name) for name in names)
        self._x = d.buffers[0].view(*self._extents, self.depth)
        self._wide = DType.FLOAT32 if self._x.dtype.is_float else DType.INT32
        self.largest = Var("largest", self._wide)

    def element(self, at: Expr) -> Expr:
        """The operand at position ``at`` of the row, as int32 or float32."""
        return cast(Load(self._x, (*self._vars, at)), self._wide)

    def find_largest(self, r: Var) -> tuple[Stmt, ...]:
        """Names the row's maximum; ``r`` runs over the row."""
        top = register("top", self._wide)
        lowest = LOWEST_FLOAT if self._wide.is_float else self._x.dtype.minimum
        search = reduction(
            top,
            Imm(lowest, self._wide),
            ((r.name, self.depth),),
            lambda total: maximum(total, self.element(r)),
        )
        return (*search, Let(self.largest, Load(top)))

    def store(self, at: Expr, value: Expr) -> tuple[Stmt, ...]:
        """Stores the result at position ``at`` of the row."""
        return self._d.store((*self._vars, at), value, shape=(*self._extents, self.depth))

    def around(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """``body`` once per row."""
        for var, extent in zip(reversed(self._vars), reversed(self._extents), strict=True):
            body = (loop(var, extent, *body),)
        return body

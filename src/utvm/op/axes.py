"""What the operators that move data share: boxes of elements, copied with as few loops as possible.

A box of an operand goes to an equally large box of the result: one ``Move`` per axis. Axes are
merged where elements stay adjacent, so that innermost loops run over long contiguous pieces and
compilers make them copies of memory. Merging needs a result that may be stored in any shape
(``Definition.reshapeable``); otherwise every axis keeps its loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from utvm.ir.loop import Expr, Imm, Load, Stmt, Var
from utvm.op.definition import Definition, grid


@dataclass(frozen=True)
class Slice:
    """Elements ``begin``, ``begin + stride``, ... of an axis of ``size``."""

    size: int
    begin: int = 0
    stride: int = 1

    def at(self, i: Expr) -> Expr:
        """The position of element i of the slice on the axis."""
        scaled = i if self.stride == 1 else i * self.stride
        return scaled + self.begin if self.begin else scaled

    def in_front_of(self, inner: Slice) -> Slice:
        """``inner``, which is one element of this axis, as a slice of both axes together."""
        return Slice(self.size * inner.size, self.begin * inner.size + inner.begin, inner.stride)

    def times(self, elements: int) -> Slice:
        """This slice of stride 1, where each element is a whole axis of so many elements."""
        return Slice(self.size * elements, self.begin * elements)


@dataclass(frozen=True)
class Move:
    """``count`` elements along one axis, from a slice of the operand to one of the result."""

    count: int
    source: Slice
    target: Slice

    @property
    def is_whole(self) -> bool:
        return self.source == self.target == Slice(self.count)


def merged(moves: Sequence[Move]) -> tuple[Move, ...]:
    """The same copy over fewer axes.

    [whole 3][rows 1..4 of 9][whole 5][whole 2] becomes [whole 3][elements 10..40 of 90].
    """
    result: list[Move] = []
    for move in reversed(moves):
        s, t = move.source, move.target
        inner = result[0] if result else None
        if inner is not None and move.count == 1:
            result[0] = Move(inner.count, s.in_front_of(inner.source), t.in_front_of(inner.target))
        elif inner is not None and inner.is_whole and s.stride == t.stride == 1:
            n = inner.count
            result[0] = Move(move.count * n, s.times(n), t.times(n))
        else:
            result.insert(0, move)
    return tuple(result)


def copy_box(d: Definition, operand: int, moves: Sequence[Move], prefix: str) -> tuple[Stmt, ...]:
    """Copies a box of an operand; the loops are called prefix0, prefix1, ..."""
    if d.reshapeable:
        moves = merged(moves)
    variables = tuple(Var(f"{prefix}{i}") for i in range(len(moves)))
    source = d.buffers[operand].view(*(move.source.size for move in moves))
    at = tuple(move.source.at(i) for move, i in zip(moves, variables, strict=True))
    return _store_box(d, moves, variables, Load(source, at))


def fill_box(d: Definition, value: Imm, moves: Sequence[Move], prefix: str) -> tuple[Stmt, ...]:
    """Stores a constant in a box of the result; what the moves say of an operand does not count."""
    moves = [Move(move.count, move.target, move.target) for move in moves]
    if d.reshapeable:
        moves = list(merged(moves))
    variables = tuple(Var(f"{prefix}{i}") for i in range(len(moves)))
    return _store_box(d, moves, variables, value)


def _store_box(
    d: Definition, moves: Sequence[Move], variables: tuple[Var, ...], value: Expr
) -> tuple[Stmt, ...]:
    at = tuple(move.target.at(i) for move, i in zip(moves, variables, strict=True))
    view = tuple(move.target.size for move in moves)
    names = tuple(var.name for var in variables)
    return grid(names, tuple(move.count for move in moves), d.store(at, value, shape=view))

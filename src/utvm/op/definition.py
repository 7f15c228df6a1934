"""What an operator's meaning in loop IR is written against: ``Element`` and ``Definition``.

``Element`` is handed to ``Op.compute``: it asks for one output element at given indices.
``Definition`` is handed to ``Op.define``: it offers the operands as buffers, a ``store`` that also
applies the elementwise operators fused behind, and registers, workspace and constant tables. The
lowering pass fills both in; operators never see the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import (
    Alloc,
    Buffer,
    Cast,
    Expr,
    For,
    Imm,
    Load,
    Stmt,
    Store,
    Var,
    loop,
)

Index = tuple[Expr, ...]


@dataclass(frozen=True)
class Element:
    """One output element, asked of an operator's ``compute``.

    ``load(i, index)`` is element ``index`` of operand i in that operand's own shape. ``bind`` names
    a value that is used more than once, or that deserves a line of its own.
    """

    attrs: Any
    inputs: tuple[TensorType, ...]
    output: TensorType
    index: Index
    load: Callable[[int, Index], Expr]
    bind: Callable[[Expr], Expr]

    def arg(self, i: int) -> Expr:
        """Operand i at this element's index, broadcast by NumPy's rules."""
        return self.load(i, broadcast_index(self.index, self.inputs[i].shape))


def broadcast_index(index: Index, shape: tuple[int, ...]) -> Index:
    """The index into an operand of ``shape`` that broadcasts to the rank of ``index``."""
    aligned = index[len(index) - len(shape) :]
    return tuple(Imm(0) if extent == 1 else i for i, extent in zip(aligned, shape, strict=True))


StoreFunction = Callable[[Index, Expr, int, tuple[int, ...]], tuple[Stmt, ...]]


@dataclass
class Definition:
    """The operands, results and memory of one loop nest being defined.

    ``buffers`` are the operands in memory. ``flattenable`` says that the result may be
    stored through a view that merges all but the last axis, ``reshapeable`` that it may through
    any view of as many elements. ``table(name, data)`` is a constant array computed at compile
    time. ``workspaces`` collects the scratch memory that the nest asks for.
    """

    attrs: Any
    buffers: tuple[Buffer, ...]
    constants: tuple[np.ndarray | None, ...]
    outputs: tuple[TensorType, ...]
    flattenable: bool
    reshapeable: bool
    store_function: StoreFunction
    table: Callable[[str, np.ndarray], Buffer]
    workspaces: list[Buffer] = field(default_factory=list)

    @property
    def output(self) -> TensorType:
        return self.outputs[0]

    def load(self, i: int, *index: Expr) -> Load:
        return Load(self.buffers[i], tuple(index))

    def store(
        self, index: Index, value: Expr, output: int = 0, shape: tuple[int, ...] | None = None
    ) -> tuple[Stmt, ...]:
        """Stores one result element, after the operators fused behind.

        ``shape`` is a view of the result in which ``index`` counts (see ``flattenable``).
        """
        view = self.outputs[output].shape if shape is None else shape
        return self.store_function(index, value, output, view)

    def workspace(self, name: str, dtype: DType, *shape: int) -> Buffer:
        """Scratch memory for the duration of the kernel."""
        buffer = Buffer(name, dtype, shape, "workspace")
        self.workspaces.append(buffer)
        return buffer


def register(name: str, dtype: DType) -> Buffer:
    """A scalar accumulator."""
    return Buffer(name, dtype, (), "register")


def grid(
    names: tuple[str, ...], extents: tuple[int, ...], body: tuple[Stmt, ...]
) -> tuple[Stmt, ...]:
    """A nest of parallel loops, the first name outermost."""
    for name, extent in zip(reversed(names), reversed(extents), strict=True):
        body = (loop(Var(name), extent, *body, parallel=True),)
    return body


def reduction(
    acc: Buffer,
    initial: Expr,
    loops: tuple[tuple[str, int], ...],
    update: Callable[[Expr], Expr],
) -> tuple[Stmt, ...]:
    """``acc = initial; for loops: acc = update(acc)``, the first loop outermost."""
    body: tuple[Stmt, ...] = (Store(acc, (), update(Load(acc))),)
    for name, extent in reversed(loops):
        body = (For(Var(name), Imm(0), Imm(extent), body),)
    return (Alloc(acc), Store(acc, (), initial), *body)


def weighted_sum(
    acc: Buffer,
    bias: Expr | None,
    loops: tuple[tuple[str, int], ...],
    update: Callable[[Expr], Expr],
) -> tuple[tuple[Stmt, ...], Expr]:
    """A ``reduction`` and its result with the bias: integers start from it, floats add it last.

    For integers that is one addition less; for floats the order decides the last bit, and TFLite's
    reference kernels add the bias last. So does a sum that is narrower than its bias.
    """
    zero = Imm(0.0 if acc.dtype.is_float else 0, acc.dtype)
    if bias is None:
        return reduction(acc, zero, loops, update), Load(acc)
    if acc.dtype.is_float or bias.dtype is not acc.dtype:
        return reduction(acc, zero, loops, update), cast(Load(acc), bias.dtype) + bias
    return reduction(acc, bias, loops, update), Load(acc)


def sum_type(result: DType, x: DType, weights: np.ndarray | None) -> DType:
    """The type to sum products of ``x`` and ``weights`` [filters, taps] in: ``result``, or int32.

    int32 takes the place of int64 where the constant weights prove that no sum overflows it.
    """
    if result is not DType.INT64 or weights is None:
        return result
    reach = np.abs(weights.astype(np.int64)).sum(axis=1).max(initial=0)
    most = int(reach) * max(abs(x.minimum), x.maximum)
    return DType.INT32 if most <= DType.INT32.maximum else result


def cast(value: Expr, dtype: DType) -> Expr:
    """The value as ``dtype``; nothing to do when it has it already."""
    return value if value.dtype is dtype else Cast(dtype, value)

"""Padding: the same pixel everywhere, written by a micro function that all kernels share.

In: a place in a buffer of int8, uint8 or int16 and what to write. Out: a call; ``blanks_of`` gives
the micro functions of the calls in a body. Sizes are arguments, so that a network has few of them,
and C compilers have no loops to think about.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Expr, For, Function, Imm, Invoke, Pointer, Stmt, Store, Var
from utvm.ir.rewrite import simplify_body, statements

_COUNT, _WORDS, _PITCH, _VALUE = Var("count"), Var("words"), Var("pitch"), Var("value")
_PLACE, _WORD = Var("place"), Var("word")
_UNROLLED = (4, 2, 1)
_TYPES = (DType.INT8, DType.UINT8, DType.INT16)


def blank(buffer: Buffer, at: Expr, value: int, count: int, size: int, pitch: int = 0) -> Invoke:
    """Writes ``value`` to ``size`` elements, whole words, at ``count`` places ``pitch`` apart."""
    lanes = 32 // buffer.dtype.bits
    unroll = next(n for n in _UNROLLED if size // lanes % n == 0)
    word = int.from_bytes(
        np.full(lanes, value, buffer.dtype.numpy).tobytes(), "little", signed=True
    )
    scalars = (Imm(count), Imm(size // lanes), Imm(pitch), Imm(word))
    return Invoke(_micro(buffer.dtype, unroll).name, (Pointer(buffer, at),), scalars)


def blanks_of(body: Sequence[Stmt]) -> tuple[Function, ...]:
    """The micro functions of all calls of ``blank`` in a body."""
    called = {stmt.function for stmt in statements(tuple(body)) if isinstance(stmt, Invoke)}
    micros = (_micro(dtype, unroll) for dtype in _TYPES for unroll in _UNROLLED)
    return tuple(micro for micro in micros if micro.name in called)


@cache
def _micro(dtype: DType, unroll: int) -> Function:
    lanes = 32 // dtype.bits
    lines = Buffer("lines", dtype, (lanes * unroll,), "output")
    at = _PLACE * _PITCH + _WORD * lanes
    stores = tuple(Store(lines, (at + lanes * i,), _VALUE, lanes) for i in range(unroll))
    inner = For(_WORD, Imm(0), _WORDS, stores, unroll, parallel=True)
    return Function(
        f"blank_{dtype.value}_{unroll}",
        (),
        (lines,),
        simplify_body((For(_PLACE, Imm(0), _COUNT, (inner,), parallel=True),)),
        comment=("Padding: count times words of the same value, pitch elements apart.",),
        scalars=(_COUNT, _WORDS, _PITCH, _VALUE),
    )

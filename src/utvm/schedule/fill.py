"""Padding, and copies of pixels: micro functions that all kernels share.

In: a place in a buffer of int8, uint8 or int16 and what to write. Out: a call; ``fills_of`` gives
the micro functions of the calls in a body. Sizes are arguments, so that a network has few of them,
and C compilers have no loops to think about.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Buffer,
    Expr,
    For,
    Function,
    Imm,
    Invoke,
    Let,
    Load,
    Pointer,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import simplify_body, statements

_COUNT, _TURNS, _PITCH, _VALUE = Var("count"), Var("turns"), Var("pitch"), Var("value")
_PLACE, _TURN = Var("place"), Var("turn")
_UNROLLED = (8, 4, 2, 1)
_PIXELS = "copy_pixels_"
_TYPES = (DType.INT8, DType.UINT8, DType.INT16)


def blank(buffer: Buffer, at: Expr, value: int, count: int, size: int, pitch: int = 0) -> Invoke:
    """Writes ``value`` to ``size`` elements, whole words, at ``count`` places ``pitch`` apart."""
    lanes = 32 // buffer.dtype.bits
    unroll = next(n for n in _UNROLLED if size // lanes % n == 0)
    word = int.from_bytes(
        np.full(lanes, value, buffer.dtype.numpy).tobytes(), "little", signed=True
    )
    scalars = (Imm(count), Imm(size // lanes // unroll), Imm(pitch), Imm(word))
    return Invoke(_blank_micro(buffer.dtype, unroll).name, (Pointer(buffer, at),), scalars)


def copy(source: Pointer, buffer: Buffer, at: Expr, size: int) -> Invoke:
    """Copies ``size`` elements, whole words, of one type."""
    words = size * buffer.dtype.bits // 32
    unroll = next(n for n in _UNROLLED if words % n == 0)
    micro = _copy_micro(buffer.dtype, unroll)
    return Invoke(micro.name, (source, Pointer(buffer, at)), (Imm(words // unroll),))


def copy_pixels(source: Pointer, buffer: Buffer, at: Expr, count: int, depth: int) -> Invoke:
    """Copies ``count`` pixels of ``depth`` bytes, at least 4, each to whole words. What lies behind
    a pixel's last channel stays as it is."""
    micro = _pixels_micro(buffer.dtype, depth)
    return Invoke(micro.name, (source, Pointer(buffer, at)), (Imm(count),))


def fills_of(body: Sequence[Stmt]) -> tuple[Function, ...]:
    """The micro functions of all calls of ``blank`` and copies in a body."""
    called = {stmt.function for stmt in statements(tuple(body)) if isinstance(stmt, Invoke)}
    makers = (_blank_micro, _copy_micro)
    micros = (make(t, unroll) for make in makers for t in _TYPES for unroll in _UNROLLED)
    found = [micro for micro in micros if micro.name in called]
    for name in sorted(called):
        if name.startswith(_PIXELS):
            dtype, depth = name.removeprefix(_PIXELS).split("_")
            found.append(_pixels_micro(DType(dtype), int(depth)))
    return tuple(found)


@cache
def _blank_micro(dtype: DType, unroll: int) -> Function:
    lanes = 32 // dtype.bits
    lines = Buffer("lines", dtype, (lanes * unroll,), "output")
    at = _PLACE * _PITCH + _TURN * (lanes * unroll)
    stores = tuple(Store(lines, (at + lanes * i,), _VALUE, lanes) for i in range(unroll))
    inner = For(_TURN, Imm(0), _TURNS, stores, parallel=True)
    return Function(
        f"blank_{dtype.value}_{unroll}",
        (),
        (lines,),
        simplify_body((For(_PLACE, Imm(0), _COUNT, (inner,), parallel=True),)),
        comment=(f"Padding: count times turns of {unroll} words, pitch elements apart.",),
        scalars=(_COUNT, _TURNS, _PITCH, _VALUE),
    )


@cache
def _copy_micro(dtype: DType, unroll: int) -> Function:
    lanes = 32 // dtype.bits
    source = Buffer("x", dtype, (lanes * unroll,), "input")
    lines = Buffer("lines", dtype, (lanes * unroll,), "output")
    body: list[Stmt] = []
    for i in range(unroll):
        load = Load(source, (_TURN * (lanes * unroll) + lanes * i,), lanes)
        body.append(Let(Var(f"word_{i}"), load))
    for i in range(unroll):
        body.append(Store(lines, (_TURN * (lanes * unroll) + lanes * i,), Var(f"word_{i}"), lanes))
    return Function(
        f"copy_{dtype.value}_{unroll}",
        (source,),
        (lines,),
        simplify_body((For(_TURN, Imm(0), _TURNS, tuple(body), parallel=True),)),
        comment=(f"So many turns of {unroll} words of pixels.",),
        scalars=(_TURNS,),
    )


def _pixels_micro(dtype: DType, depth: int) -> Function:
    """The last word of a pixel overlaps the one before it."""
    pitch = depth + -depth % 4
    places = [*range(0, depth - 3, 4), *([depth - 4] if depth % 4 else [])]
    source = Buffer("x", dtype, (depth,), "input")
    lines = Buffer("lines", dtype, (depth,), "output")
    loads = tuple(
        Let(Var(f"word_{i}"), Load(source, (_TURN * depth + at,), 4)) for i, at in enumerate(places)
    )
    stores = tuple(
        Store(lines, (_TURN * pitch + at,), Var(f"word_{i}"), 4) for i, at in enumerate(places)
    )
    return Function(
        f"{_PIXELS}{dtype.value}_{depth}",
        (source,),
        (lines,),
        simplify_body((For(_TURN, Imm(0), _TURNS, (*loads, *stores), parallel=True),)),
        comment=(f"Pixels of {depth} bytes, {pitch} apart.",),
        scalars=(_TURNS,),
    )

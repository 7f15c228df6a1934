"""Spreads pixels that four bytes at a time do not serve: of int16, or of fewer than four channels.

In: the type of an image, the distance of its pixels, how many channels. Out: a micro function that
takes a row of pixels apart, each channel to its plane: two neighbouring pixels make a word there.
"""

from __future__ import annotations

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Call, Cast, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import simplify_body

I16 = DType.INT16
_PIXEL = Var("pixel")


def spread_few(dtype: DType, apart: int, channels: int, count: int, size: int) -> Function:
    """``count`` pixels, ``apart`` elements from each other, to planes of ``size`` elements."""
    source = Buffer("x", dtype, ((count - 1) * apart + channels,), "input")
    planes = Buffer("planes", I16, ((channels - 1) * size + count,), "output")
    neighbours = dtype.bits == 8 and apart == channels == 1
    step = 4 if neighbours else 2
    pair: list[Stmt] = _four(source, planes) if neighbours else []
    for first in range(0, 0 if neighbours else channels, 2):
        both = dtype is I16 and first + 1 < channels
        words: list[Var] = []
        for p in range(2):
            words.append(Var(f"word{first}_{p}"))
            index = _PIXEL * apart + (p * apart + first)
            pair.append(Let(words[-1], _element(source, index, 2 if both else 1)))
        pair.append(_store(planes, first * size, "pkhbt", words))
        if both:
            # The upper halves: the first operand's goes on top.
            pair.append(_store(planes, (first + 1) * size, "pkhtb", words[::-1]))
        elif first + 1 < channels:
            pair += _single(source, planes, apart, first + 1, size)
    body: tuple[Stmt, ...] = (
        For(_PIXEL, Imm(0), Imm(count - count % step), tuple(pair), step, parallel=True),
    )
    for at in range(count - count % step, count):
        for channel in range(channels):
            last = _halfword(Load(source, (Imm(at * apart + channel),)))
            body += (Store(planes, (Imm(at + channel * size),), last),)
    return Function(
        f"spread_{dtype.value}_{channels}_{apart}_{count}",
        (source,),
        (planes,),
        simplify_body(body),
        comment=(f"{channels} channels of {count} pixels, each to its own plane.",),
    )


def _four(source: Buffer, planes: Buffer) -> list[Stmt]:
    """Four neighbouring bytes."""
    expand = "sxtb16" if source.dtype.is_signed else "uxtb16"
    word, even, odd = Var("word"), Var("even"), Var("odd")
    return [
        Let(word, Load(source, (_PIXEL,), 4)),
        Let(even, Call(expand, (word,), DType.INT32)),
        Let(odd, Call(f"{expand}_ror8", (word,), DType.INT32)),
        _store(planes, 0, "pkhbt", [even, odd]),
        _store(planes, 2, "pkhtb", [odd, even]),
    ]


def _single(source: Buffer, planes: Buffer, apart: int, channel: int, size: int) -> list[Stmt]:
    """One channel of two pixels, each loaded alone."""
    words = [Var(f"word{channel}_{p}") for p in range(2)]
    lets: list[Stmt] = [
        Let(word, _element(source, _PIXEL * apart + (p * apart + channel), 1))
        for p, word in enumerate(words)
    ]
    return [*lets, _store(planes, channel * size, "pkhbt", words)]


def _store(planes: Buffer, at: int, name: str, words: list[Var]) -> Stmt:
    return Store(planes, (_PIXEL + at,), Call(name, tuple(words), DType.INT32), 2)


def _element(source: Buffer, index: Expr, lanes: int) -> Expr:
    load = Load(source, (index,), lanes)
    return load if lanes > 1 else Cast(DType.INT32, load)


def _halfword(load: Load) -> Expr:
    return load if load.buffer.dtype is I16 else Cast(I16, load)

"""A convolution or dense layer in blocks of two taps a word: the whole kernel.

In: a weighted sum and the knobs of its blocks. Out: the kernel, which makes words of the rows that
some windows see, padding included, and runs micro functions on them; None where pixels or weights
are of another kind. 1x1 windows are taken some columns at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Binary,
    Buffer,
    Cast,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    Load,
    Pointer,
    Stmt,
    Store,
    Var,
    all_of,
    loop,
)
from utvm.ir.rewrite import simplify_body
from utvm.schedule.conv_block import Block, BlockBuilder
from utvm.schedule.conv_kernel import CHUNK_COLUMNS, ConvKernel, Scheduled
from utvm.schedule.folded_block import FoldedBuilder, is_folded
from utvm.schedule.window_layout import WindowLayout

_Y, _N, _KY, _I, _FIRST = Var("y"), Var("n"), Var("ky"), Var("i"), Var("first")
_COUNT, _TURN = Var("count"), Var("turn")
_U32, _I32 = DType.UINT32, DType.INT32
_UNROLLED = (4, 2, 1)


@dataclass
class FoldedKernel(ConvKernel):
    """One weighted sum, two taps at a time."""

    def build(self) -> Scheduled | None:
        w = self.w
        if not is_folded(w):
            return None
        pixels = min(self.schedule.pixels, w.columns)
        most = CHUNK_COLUMNS - CHUNK_COLUMNS % pixels
        whole_rows = w.rows > 1 or w.window != (1, 1)
        chunk = w.columns if whole_rows else min(w.columns, most)
        layout = WindowLayout(self._words(chunk), w.window[0], 0, False, "words")
        blocks = self.blocks(layout, pixels)
        if blocks is None:
            return None

        def part(begin: Expr, columns: int) -> tuple[Stmt, ...]:
            calls = [c for b in blocks for c in self.calls(b, layout, begin, columns)]
            return (*self._fill(layout, begin, columns), *calls)

        full, rest = divmod(w.columns, chunk)
        row: tuple[Stmt, ...] = (loop(_FIRST, full, *part(_FIRST * chunk, chunk)),)
        if rest:
            row += part(Imm(full * chunk), rest)
        before = self._fill_all(layout) if w.padded else ()
        body = (loop(_N, w.image[0], *before, loop(_Y, w.rows, *row)),)
        made = simplify_body(body)
        micros = (*(part.micro for part in blocks), _fold_micro(self._unroll))
        return self.scheduled(made, layout, blocks, micros)

    def builder(self, layout: WindowLayout, block: Block, first: int, filters: int) -> BlockBuilder:
        return FoldedBuilder(self.w, layout, block, first, filters, self.constants)

    def window(self, layout: WindowLayout, start: int) -> Pointer:
        return Pointer(_buffer(layout), Imm(start * self.w.strides[1] * self.w.depth // 2))

    def workspace(self, layout: WindowLayout) -> tuple[Buffer, ...]:
        return (_buffer(layout),)

    def _words(self, columns: int) -> int:
        """Words of a row that so many windows see."""
        w = self.w
        return ((columns - 1) * w.strides[1] + w.window[1]) * w.depth // 2

    @property
    def _unroll(self) -> int:
        return next(n for n in _UNROLLED if self.w.depth // 2 % n == 0)

    def _fill_all(self, layout: WindowLayout) -> tuple[Stmt, ...]:
        """Padding everywhere; no row of results changes it left and right of the image."""
        return (self._blank(layout, Imm(0), layout.column * self.w.window[0]),)

    def _blank(self, layout: WindowLayout, at: Expr, words: int) -> Stmt:
        value = Imm(self.w.padding * 0x10001 & 0xFFFFFFFF, _U32)
        return loop(_I, words, Store(_buffer(layout), (at + _I,), value), parallel=True)

    def _fill(self, layout: WindowLayout, begin: Expr, columns: int) -> tuple[Stmt, ...]:
        """Words of the rows of the windows of ``columns`` results."""
        w = self.w
        _, height, width, depth = w.image
        left, skipped = max(w.origin[1], 0), max(-w.origin[1], 0)
        seen = (columns - 1) * w.strides[1] + w.window[1]
        count = max(min(width - skipped, seen - left), 0) * depth // 2
        row = _Y * w.strides[0] + _KY * w.row_dilation - w.origin[0]
        at = (_N * height + row) * (width * depth) + (begin * w.strides[1] + skipped) * depth
        to = _KY * layout.column + left * depth // 2
        source = Pointer(w.source.view(w.source.elements), at)
        turns = (Imm(count // self._unroll),)
        name = _fold_micro(self._unroll).name
        fill: Stmt = Invoke(name, (source, Pointer(_buffer(layout), to)), turns)
        if w.padded:
            inside = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
            fill = If(inside, (fill,), (self._blank(layout, to, count),))
        return (loop(_KY, w.window[0], fill),)


def _buffer(layout: WindowLayout) -> Buffer:
    """Rows of words; ``columns`` of the layout are rows here."""
    return Buffer(layout.name, _U32, (layout.column * layout.columns,), "workspace")


@cache
def _fold_micro(unroll: int) -> Function:
    """Bytes become words of two taps."""
    source = Buffer("x", DType.INT8, (2 * unroll,), "input")
    words = Buffer("words", _U32, (unroll,), "output")
    stores = [
        Store(words, (_TURN * unroll + i,), _folded(source, _TURN * (2 * unroll) + 2 * i))
        for i in range(unroll)
    ]
    return Function(
        f"fold_{unroll}",
        (source,),
        (words,),
        simplify_body((For(_TURN, Imm(0), _COUNT, tuple(stores), parallel=True),)),
        comment=(f"Two bytes a word, {unroll} words a turn.",),
        scalars=(_COUNT,),
    )


def _folded(source: Buffer, at: Expr) -> Expr:
    low, high = (Cast(_U32, Cast(_I32, Load(source, (at + i,)))) for i in range(2))
    return low + Binary("<<", high, Imm(16, _U32))

"""A convolution or dense layer in register blocks without packed words: the whole kernel.

In: a weighted sum and the knobs of its blocks. Out: the kernel, which runs micro functions on the
image itself or, where windows reach out of it, on copies of its rows between padding, as they are;
None where pixels of a window are no neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.ir.loop import (
    Binary,
    Buffer,
    If,
    Imm,
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
from utvm.schedule.conv_kernel import ConvKernel, Scheduled
from utvm.schedule.fill import blank, copy, fills_of
from utvm.schedule.plain_block import PlainBuilder, line_elements, plain_rows
from utvm.schedule.window_layout import WindowLayout

_Y, _N, _KY, _I = Var("y"), Var("n"), Var("ky"), Var("i")


@dataclass
class PlainKernel(ConvKernel):
    """One weighted sum, element by element."""

    def build(self) -> Scheduled | None:
        w = self.w
        if plain_rows(w) is None:
            return None
        layout = WindowLayout(line_elements(w), w.window[0], 0, False, "rows")
        blocks = self.blocks(layout, min(self.schedule.pixels, w.columns))
        if blocks is None:
            return None
        calls = [c for part in blocks for c in self.calls(part, layout, Imm(0), w.columns)]
        body: tuple[Stmt, ...] = (loop(_Y, w.rows, *self._rows(), *calls),)
        body = (loop(_N, w.image[0], *body),)
        if w.padded:
            body = (blank(self.buffer, Imm(0), w.padding, 1, self.buffer.elements), *body)
        whole = simplify_body(body)
        micros = (*(part.micro for part in blocks), *fills_of(whole))
        return self.scheduled(whole, layout, blocks, micros)

    def builder(self, layout: WindowLayout, block: Block, first: int, filters: int) -> BlockBuilder:
        return PlainBuilder(self.w, layout, block, first, filters, self.constants)

    def window(self, layout: WindowLayout, start: int) -> Pointer:
        w = self.w
        if w.padded:
            return Pointer(self.buffer, Imm(start * w.strides[1] * w.depth))
        _, height, width, _ = w.image
        row = _N * height + _Y * w.strides[0] - w.origin[0]
        column = row * width + (start * w.strides[1] - w.origin[1])
        at = column * w.pixel_pitch + w.first_channel
        return Pointer(w.source.view(w.source.elements), at)

    def workspace(self, layout: WindowLayout) -> tuple[Buffer, ...]:
        return (self.buffer,) if self.w.padded else ()

    @property
    def buffer(self) -> Buffer:
        """Rows between padding."""
        elements = self.w.window[0] * line_elements(self.w)
        return Buffer("rows", self.w.source.dtype, (elements,), "workspace")

    def _rows(self) -> tuple[Stmt, ...]:
        """The rows that the windows of row ``y`` of results see."""
        w, line = self.w, line_elements(self.w)
        if not w.padded:
            return ()
        _, height, width, depth = w.image
        # The image may begin left of what windows see, or right of it.
        left = max(w.origin[1], 0)
        skipped = max(-w.origin[1], 0)
        seen = (w.columns - 1) * w.strides[1] + w.window[1]
        count = max(min(width - skipped, seen - left), 0) * depth
        row = _Y * w.strides[0] + _KY * w.row_dilation - w.origin[0]
        at = (_N * height + row) * (width * depth) + skipped * depth
        to = _KY * line + left * depth
        source = w.source.view(w.source.elements)
        if count * w.source.dtype.bits % 32 == 0:
            copied: Stmt = copy(Pointer(source, at), self.buffer, to, count)
        else:
            element = Load(source, (at + _I,))
            copied = loop(_I, count, Store(self.buffer, (to + _I,), element), parallel=True)
        outside = blank(self.buffer, _KY * line, w.padding, 1, line)
        inside = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
        return (loop(_KY, w.window[0], If(inside, (copied,), (outside,))),)

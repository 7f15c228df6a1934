"""A convolution without a line buffer: register blocks on the image itself.

In: a weighted sum and the knobs of its blocks. Out: the kernel that runs micro functions straight
on the image; or None where windows are no whole words of it. Where windows reach out of the image,
its rows are copied between padding, as bytes, each once: they keep their place in a ring as long as
rows of results see them.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.ir.loop import Binary, Buffer, Expr, If, Imm, Pointer, Stmt, Var, all_of, loop
from utvm.ir.rewrite import simplify_body
from utvm.schedule.conv_block import Block, BlockBuilder
from utvm.schedule.conv_kernel import ConvKernel, Scheduled
from utvm.schedule.fill import blank, copy, fills_of
from utvm.schedule.raw_block import RawBuilder, copied_line, has_raw
from utvm.schedule.window_layout import WindowLayout, has_ring

_Y, _N = Var("y"), Var("n")


@dataclass
class RawKernel(ConvKernel):
    """One weighted sum on an image."""

    def build(self) -> Scheduled | None:
        w = self.w
        if not has_raw(w):
            return None
        layout = WindowLayout(copied_line(w), w.window[0], 0, False, "rows", self._ring)
        blocks = self.blocks(layout, min(self.schedule.pixels, w.columns))
        if blocks is None:
            return None
        calls = [c for part in blocks for c in self.calls(part, layout, Imm(0), w.columns)]
        kh, known = w.window[0], w.window[0] - w.strides[0] if self._ring else 0
        before, each = self._rows(Imm(0), range(known)), self._rows(_Y, range(known, kh))
        if not self._ring:
            before = ()
        body: tuple[Stmt, ...] = (*before, loop(_Y, w.rows, *each, *calls))
        body = (loop(_N, w.image[0], *body),)
        if w.padded:
            body = (blank(self.buffer, Imm(0), w.padding, 1, self.buffer.elements), *body)
        whole = simplify_body(body)
        micros = (*(part.micro for part in blocks), *fills_of(whole))
        return self.scheduled(whole, layout, blocks, micros)

    def builder(self, layout: WindowLayout, block: Block, first: int, filters: int) -> BlockBuilder:
        return RawBuilder(self.w, layout, block, first, filters, self.constants)

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

    # Rows between padding.

    @property
    def _ring(self) -> bool:
        return self.w.padded and has_ring(self.w)

    @property
    def buffer(self) -> Buffer:
        return Buffer(
            "rows", self.w.source.dtype, (self.w.window[0] * copied_line(self.w),), "workspace"
        )

    def _rows(self, y: Expr, rows: range) -> tuple[Stmt, ...]:
        """Some rows of the windows of row ``y`` of results."""
        w, line = self.w, copied_line(self.w)
        if not w.padded:
            return ()
        _, height, width, depth = w.image
        left = w.origin[1]
        ky = Var("ky") + rows.start
        count = min(width, line // depth - left) * depth
        row = y * w.strides[0] + ky * w.row_dilation - w.origin[0]
        slot = Binary("%", y * w.strides[0] + ky, Imm(w.window[0])) if self._ring else ky
        at = (_N * height + row) * (width * depth)
        to = slot * line + left * depth
        copied = copy(Pointer(w.source.view(w.source.elements), at), self.buffer, to, count)
        outside = blank(self.buffer, to, w.padding, 1, count)
        inside = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
        return (loop(Var("ky"), len(rows), If(inside, (copied,), (outside,))),)
